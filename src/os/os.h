/*
 * os.h: the only door to the operating system.
 *
 * Completion-shaped: a caller asks for an accept, a connect, a receive or a send, and is told later "this came", "this much
 * left", "the peer finished", "it failed, so". Nobody outside src/os sees readiness or would-block, errno or a WSA code:
 * the platform classifies them into enum framed_status in one table.
 *
 * Platforms: os_posix.c, os_win.c, and tests/support/sim*.c in simulated time; one is chosen at link time. How a poller waits
 * is chosen at run time (enum framed_wait).
 *
 * Threads: a poller and its sockets belong to one thread at a time; framed_os_wake, the clock, random, locks and threads
 * are free. Callbacks are made from inside framed_os_wait only, and may call anything here, framed_os_close included.
 */
#ifndef FRAMED_OS_H
#define FRAMED_OS_H

#include <framed/base.h>
#include <framed/net.h>
#include <stdbool.h>

#define OS_FOREVER           UINT64_MAX
#define OS_NO_HANDLE         ((intptr_t)-1)
#define OS_ADDRESS_TEXT_SIZE 128u /* enough for framed_os_address_text, a Unix path included */

struct os_poller;

/* A socket address in the system's own form. */
struct os_address {
    uint32_t len;
    _Alignas(8) uint8_t bytes[124];
};

/* Which host an address belongs to, so that connections can be counted by it: 16 bytes; all zero for local sockets. */
struct os_host {
    uint8_t bytes[16];
};

struct os_socket;

/*
 * What an owner is told. All members may be NULL where the owner never asks for it; `closed` is required.
 */
struct os_socket_ops {
    /* A connection came in answer to framed_os_accept. FRAMED_OK: `handle` is the receiver's, to attach or to discard.
     * Otherwise accepting failed (FRAMED_LIMIT: out of descriptors; FRAMED_OS, ...). The request is over either way. */
    void (*accepted)(struct os_socket *s, enum framed_status status, intptr_t handle, const struct os_address *peer);
    /* framed_os_connect ended. */
    void (*connected)(struct os_socket *s, enum framed_status status);
    /* framed_os_receive ended. FRAMED_OK: n > 0 bytes are at `at` (the destination named, or memory lent until this returns).
     * FRAMED_CLOSED: the peer finished. Otherwise the connection broke. */
    void (*received)(struct os_socket *s, enum framed_status status, uint8_t *at, size_t n);
    /* framed_os_send ended. FRAMED_OK: the first n > 0 bytes left. Otherwise the connection broke. */
    void (*sent)(struct os_socket *s, enum framed_status status, size_t n);
    /* framed_os_close is done; the memory of the socket, its destinations and views may go. Exactly once, never from inside
     * framed_os_close itself. */
    void (*closed)(struct os_socket *s);
};

/* Embedded in its owner. Set `ops` and zero the rest before the first call; then the fields are the platform's. */
struct os_socket {
    const struct os_socket_ops *ops;
    struct os_poller *poller;
    intptr_t handle;
    uint8_t *dest; /* of the receive asked for, or NULL */
    union {
        const struct framed_bytes *views; /* of the send asked for */
        struct os_socket *next_closing;   /* once it closes: no send is outstanding then */
    };
    uint32_t room;
    uint32_t slot;
    uint16_t view_count;
    uint8_t wants;  /* what has been asked for */
    uint8_t armed;  /* what the system has been told */
    uint32_t spare; /* the owner's, in what would be a gap; 0 when it begins */
};

/* ---- pollers ---- */

/* FRAMED_UNSUPPORTED: no such way of waiting here. FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS. `alloc` is borrowed until close. */
enum framed_status framed_os_poller_open(struct os_poller **poller, enum framed_wait way,
                                         const struct framed_allocator *alloc);

/* All its sockets must be closed (and their `closed` delivered). NULL is fine. */
void framed_os_poller_close(struct os_poller *poller);

/* Waits until something has completed, framed_os_wake was called, or timeout_ms (OS_FOREVER: no limit) have passed; makes the
 * callbacks. FRAMED_OK also when nothing happened; a signal may end it early. FRAMED_OS: the poller itself failed. */
enum framed_status framed_os_wait(struct os_poller *poller, uint64_t timeout_ms);

/* How often something has completed or a wake was noticed, up to now: whoever waits without patience sees whether it paid. On the
 * poller's thread. */
uint64_t framed_os_completions(const struct os_poller *poller);

/* Ends the framed_os_wait under way, or the next one. Safe from any thread and from signal handlers. */
void framed_os_wake(struct os_poller *poller);

/* ---- sockets ---- */

/* Opens a listening socket. *bound gets the real address. A Unix path nobody listens on any more is replaced. */
enum framed_status framed_os_listen(struct os_poller *poller, struct os_socket *s, const struct os_address *at,
                                    struct os_address *bound);

/* Takes over a descriptor: listening (listening true) or connected. *bound gets its own address (listening) or its peer's. */
enum framed_status framed_os_adopt(struct os_poller *poller, struct os_socket *s, intptr_t handle, bool listening,
                                   struct os_address *bound);

/* Takes over a handle that `accepted` gave. On failure the handle is still the caller's. */
enum framed_status framed_os_attach(struct os_poller *poller, struct os_socket *s, intptr_t handle);

/* Closes a handle that `accepted` gave and that was not attached. */
void framed_os_discard(intptr_t handle);

/* Asks for one connection. One request at a time. */
enum framed_status framed_os_accept(struct os_socket *s);

/* Takes back framed_os_accept, if it is outstanding. */
void framed_os_accept_stop(struct os_socket *s);

/* Begins to connect; `connected` tells, also when it is done at once. A failure here means that there is no socket, and no
 * `closed` will come. */
enum framed_status framed_os_connect(struct os_poller *poller, struct os_socket *s, const struct os_address *to);

/* Asks to receive: up to `room` bytes at `dest`, or (dest NULL) up to FRAMED_RECEIVE_SIZE in lent memory. One request at a
 * time; asking again replaces the request. FRAMED_OS, FRAMED_NOMEM: the request could not be made. */
enum framed_status framed_os_receive(struct os_socket *s, uint8_t *dest, size_t room);

/* Takes back framed_os_receive, if it is outstanding. */
void framed_os_receive_stop(struct os_socket *s);

/* Hands the system what it takes at once: *taken bytes of the views, in order, perhaps 0; the rest was never lent. Not while
 * a framed_os_send is outstanding. A failure means that the connection broke. */
enum framed_status framed_os_offer(struct os_socket *s, const struct framed_bytes *views, size_t n, size_t *taken);

/* Asks to send; completes when at least one byte has left. One at a time; views and bytes must not move until `sent` (or
 * `closed`). n is 1 to 65535. */
enum framed_status framed_os_send(struct os_socket *s, const struct framed_bytes *views, size_t n);

/* Half-close: the peer reads the end of the stream once it has read everything. Not while a send is outstanding. */
enum framed_status framed_os_finish(struct os_socket *s);

/* Closes. Nothing completes on it any more but `closed`, once, from framed_os_wait. Idempotent until `closed`. */
void framed_os_close(struct os_socket *s);

/* TCP keepalive: probes after idle_ms of silence, gives up give_up_ms later, and gives up on unacknowledged data after both
 * together (TCP_USER_TIMEOUT). Accepted sockets inherit it from the listener where the system does that, else attach
 * carries it over. Sockets that are not TCP ignore it. 0 switches it off. */
void framed_os_keepalive(struct os_socket *s, uint32_t idle_ms, uint32_t give_up_ms);

/* TCP's congestion control by name: is there one, and may we have it? FRAMED_OK, FRAMED_UNSUPPORTED, FRAMED_LIMIT, FRAMED_OS. */
enum framed_status framed_os_congestion_check(const char *name);

/* The socket has it from now on, and what a listener accepts. Sockets that are not TCP ignore it, and so is a name that the check
 * has refused. */
void framed_os_congestion(struct os_socket *s, const char *name);

/* Kernel buffer sizes, for tests: 0 leaves one as it is. */
void framed_os_buffers(struct os_socket *s, uint32_t send_bytes, uint32_t receive_bytes);

/* For somebody else's loop: the system's socket and what would have to be waited for (FRAMED_WANT_READ, FRAMED_WANT_WRITE). */
void framed_os_interest(const struct os_socket *s, intptr_t *handle, unsigned *events);

/* ---- addresses ---- */

/* Resolves a name; blocks. At most *n results into `found`, *n set to how many (at least 1 on FRAMED_OK). `passive`: to listen
 * on; an empty host is then every address. FRAMED_NOT_FOUND, FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n);

/* FRAMED_USAGE: the path is empty or too long. FRAMED_UNSUPPORTED: no Unix sockets here. */
enum framed_status framed_os_address_unix(const char *path, struct os_address *address);

/* "192.0.2.7:80", "[::1]:80", "unix:/path", "unix" (no name). Cut at `size`, always ended by NUL. */
void framed_os_address_text(const struct os_address *address, char *text, size_t size);

/* The host (IPv4 mapped into IPv6) and the port (0 for local sockets). */
uint16_t framed_os_address_host(const struct os_address *address, struct os_host *host);

/* The text of a host and port as framed_os_address_host gave them. */
void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size);

/* Both ends have the same address: a TCP connection to itself. */
bool framed_os_connected_to_itself(const struct os_socket *s);

/* Removes the path of a Unix listening address; nothing for others. */
void framed_os_address_remove(const struct os_address *address);

/* ---- the rest ---- */

uint64_t framed_os_clock_ns(void);                       /* monotonic */
enum framed_status framed_os_random(void *at, size_t n); /* unpredictable bytes */
void framed_os_sleep_ms(uint32_t ms);
void framed_os_yield(void);                               /* lets another thread have the processor, if one waits for it */
const struct framed_allocator *framed_os_allocator(void); /* malloc, realloc, free */

uintptr_t framed_os_thread_self(void); /* equal for the same running thread, never 0 */
struct os_thread;
/* POSIX: signals are left to the other threads. */
enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx);
void framed_os_thread_join(struct os_thread *thread); /* waits for its end and frees it */

struct os_lock;
enum framed_status framed_os_lock_new(struct os_lock **lock, const struct framed_allocator *alloc);
void framed_os_lock_free(struct os_lock *lock, const struct framed_allocator *alloc);
void framed_os_lock(struct os_lock *lock);
void framed_os_unlock(struct os_lock *lock);

#endif
