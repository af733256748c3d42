/*
 * net.h: real sockets for tests: a server on a thread of its own, raw peers that say whatever they like, threads that answer
 * deferred calls, and bytes that tell where they belong.
 *
 * Nothing here sleeps to let things happen: all waiting is for a condition, for at most NET_PATIENCE_MS, and running out of
 * patience is a failure. Functions that fail the running cmocka test may be called by the test's own thread only; the others
 * are marked "any thread", and report with net_fault.
 */
#ifndef FRAMED_TESTS_NET_H
#define FRAMED_TESTS_NET_H

#include "meter.h"
#include <framed/net.h>
#include <pthread.h>
#include <stdbool.h>

enum { NET_PATIENCE_MS = 60000, NET_ADDRESS_SIZE = 160 };

/* ---- around each test ---- */

extern enum framed_wait net_way; /* how the servers of this group wait */
extern struct meter net_meter;   /* the allocator of all servers and clients of this test */

/* Setup and teardown of every test. The teardown fails the test when a descriptor or a block of memory is left over, a path
 * is left in the test's directory, or a thread reported a fault. */
int net_setup(void **state);
int net_teardown(void **state);

#define NET_TEST(f) cmocka_unit_test_setup_teardown(f, net_setup, net_teardown)

/* Runs the group once for each way of waiting. */
#define NET_RUN(name, tests) net_run(name, tests, sizeof(tests) / sizeof((tests)[0]))
struct CMUnitTest;
int net_run(const char *name, const struct CMUnitTest *tests, size_t n);

/* Something went wrong where no test can fail: printed and counted. Any thread. */
void net_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "unix:DIR/NAME" and "DIR/NAME", DIR being this test's own. Static storage. */
const char *net_unix(const char *name);
const char *net_path(const char *name);

int net_descriptors(void); /* open now */

/* ---- threads ---- */

/* A number that others wait for. Initialise with NET_COUNT_INIT. Any thread. */
struct net_count {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t value;
};
#define NET_COUNT_INIT                                                                                                      \
    {                                                                                                                       \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                                              \
    }
void net_add(struct net_count *count, uint64_t n);
uint64_t net_value(struct net_count *count);
bool net_reached(struct net_count *count, uint64_t least); /* waits; false, and a fault, when patience runs out */

uint64_t net_clock_ms(void); /* to tell whether patience ran out, nothing finer */

pthread_t net_thread(void *(*run)(void *ctx), void *ctx);
void net_join(pthread_t thread);

/* ---- contents ---- */

uint64_t net_random(uint64_t *seed); /* any thread */
size_t net_below(uint64_t *seed, size_t n);

/* Bytes that depend on their position and on `seed`, so that no stretch of them can stand for another. Any thread. */
void net_fill(uint8_t *at, size_t n, uint32_t seed);
bool net_filled(const uint8_t *at, size_t n, uint32_t seed);
uint8_t *net_bytes(size_t n, uint32_t seed); /* freed by the caller */

/* ---- a server on its own thread ---- */

struct net_log {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *text;
    size_t len;
    size_t cap;
};

struct net_server {
    struct framed_server *server;
    pthread_t thread;
    bool runs;
    enum framed_status ran; /* what run returned */
    struct net_log log;
    char address[NET_ADDRESS_SIZE]; /* the first one listened on */
};

/* A config with this group's way of waiting, the test's allocator, no bound on the log, and deadlines that no slow machine
 * reaches: those are tested in simulated time. */
struct framed_server_config net_config(framed_handler_fn *handler, void *ctx);

void net_server_new(struct net_server *s, struct framed_server_config config); /* the log goes to s->log */
void net_server_listen(struct net_server *s, const char *address);
void net_server_run(struct net_server *s);

/* All three. */
void net_server_start(struct net_server *s, struct framed_server_config config, const char *address);

enum framed_status net_server_join(struct net_server *s);  /* waits for run to return */
enum framed_status net_server_drain(struct net_server *s); /* drains, joins */
struct framed_server_stats net_stats(const struct net_server *s);

/* Drains, expects that run says OK and no connection is left, frees. */
void net_server_stop(struct net_server *s);
void net_server_free(struct net_server *s);

/* Waits until so many connections are gone. */
void net_server_closed(struct net_server *s, uint64_t least);

/* Waits for a line with this in it. */
void net_log_says(struct net_server *s, const char *part);
bool net_log_has(struct net_server *s, const char *part);

/* Handlers: the reply is the request; each call is deferred and put before the workers (`ctx`). */
void net_echo(void *ctx, struct framed_call *call);
void net_defer(void *ctx, struct framed_call *call);

/* ---- threads that answer deferred calls ---- */

struct net_task {
    struct framed_call *call;
    struct framed_bytes body;
};

typedef void net_work_fn(void *ctx, struct net_task task);

enum { NET_WORKERS_MOST = 8 };

/* Tasks are taken in random order while released. */
struct net_workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t threads[NET_WORKERS_MOST];
    unsigned n;
    struct net_task *tasks;
    size_t count;
    size_t cap;
    uint64_t seed;
    bool held;
    bool ending;
    net_work_fn *work;
    void *ctx;
    struct net_count deferred; /* how many calls there have ever been */
};

void net_workers_start(struct net_workers *w, unsigned n, net_work_fn *work, void *ctx);
void net_workers_hold(struct net_workers *w);    /* keep what comes */
void net_workers_release(struct net_workers *w); /* go on */
void net_workers_stop(struct net_workers *w);    /* when everything has been answered */

/* Work: the reply is the request, half of the time as a view, half of the time from elsewhere. */
void net_work_echo(void *ctx, struct net_task task);

/* ---- raw peers ---- */

/* Sizes of the kernel's buffers, 0 for the usual ones. */
struct net_buffers {
    int send_bytes;
    int receive_bytes;
};

/* A blocking socket; its reads and writes give up after NET_PATIENCE_MS. */
int net_connect(const char *address);
int net_connect_small(const char *address, struct net_buffers buffers);

/* A listening socket, and its address as text. */
int net_listen(const char *address, struct net_buffers buffers, char text[NET_ADDRESS_SIZE]);
int net_accept(int listener);
bool net_has_ipv6(void); /* has this machine an IPv6 loopback? */

/* The socket's own address, as its peer sees it. */
void net_name(int fd, char text[NET_ADDRESS_SIZE]);

const char *net_fd(int fd); /* "fd:N"; static storage */

/* Two connected Unix sockets; [0] is blocking, with patience, as net_connect gives it. */
void net_pair(int fds[2]);

bool net_put(int fd, const void *at, size_t n); /* any thread; false: the connection is broken */
void net_write(int fd, const void *at, size_t n);
void net_write_frame(int fd, const void *at, size_t n);

enum net_end {
    NET_FULL,  /* all n bytes are there */
    NET_ENDED, /* the peer's end came first */
    NET_BROKEN /* a reset, or patience ran out */
};
/* Reads until n bytes are there or no more come; *got says how many. Any thread. */
enum net_end net_get(int fd, void *at, size_t n, size_t *got);

void net_read(int fd, void *at, size_t n);               /* exactly n */
size_t net_read_frame(int fd, uint8_t *at, size_t room); /* its length */
void net_read_end(int fd);                               /* nothing but the end of the stream */
bool net_is_silent(int fd);                              /* neither a byte nor the end is there now */
void net_finish(int fd);                                 /* half-close */
void net_reset(int fd);                                  /* close, with an RST */

/* ---- clients ---- */

struct framed_client_config net_client_config(void);
struct framed_client *net_client_with(struct framed_client_config config, const char *address); /* connected */
struct framed_client *net_client(const char *address);
struct framed_client *net_client_pair(struct framed_client_config config, int *raw); /* its peer is the test, at *raw */
/* A blocking call with n bytes of pattern `seed`, whose reply must be the same. */
void net_call_echo(struct framed_client *client, size_t n, uint32_t seed);

#endif
