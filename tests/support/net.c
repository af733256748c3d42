/*
 * net.c: the rig for tests on real sockets: servers, clients and threads; the raw peers are in net_raw.c.
 * Must not know what is tested with it, nor the insides of the library.
 * Invariants: whatever is begun here is ended by the test that began it, and the teardown proves it; cmocka is told of failures
 * by the test's thread alone, since its assertions jump.
 */
#define _GNU_SOURCE
#include "net.h"
#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- around each test ---- */

enum framed_wait net_way = FRAMED_WAIT_EPOLL;
struct meter net_meter;

static atomic_uint faults;
static unsigned running; /* servers and workers whose threads have not been joined */
static int descriptors_before;
static char directory[] = "/tmp/framed-net-XXXXXX";

void net_fault(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "fault: %s\n", text);
    atomic_fetch_add(&faults, 1);
}

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) return -1;
    int n = 0;
    while (readdir(dir) != NULL) n++;
    (void)closedir(dir);
    return n;
}

int net_descriptors(void)
{
    return entries("/proc/self/fd");
}

int net_setup(void **state)
{
    (void)state;
    if (running != 0) {
        fprintf(stderr, "a test that failed has left threads behind: what came after it would mean nothing\n");
        _exit(1);
    }
    atomic_store(&faults, 0);
    memcpy(directory + sizeof directory - 7, "XXXXXX", 6);
    if (mkdtemp(directory) == NULL) return -1;
    meter_init(&net_meter);
    descriptors_before = net_descriptors();
    return 0;
}

int net_teardown(void **state)
{
    (void)state;
    int descriptors = net_descriptors();
    bool empty = rmdir(directory) == 0;
    meter_fini(&net_meter);
    assert_int_equal(descriptors, descriptors_before);
    assert_true(empty);
    assert_int_equal(atomic_load(&faults), 0);
    return 0;
}

int net_run(const char *name, const struct CMUnitTest *tests, size_t n)
{
    static const enum framed_wait ways[] = {FRAMED_WAIT_EPOLL, FRAMED_WAIT_POLL};
    static const char *const names[] = {"epoll", "poll"};
    int failed = 0;
    for (size_t i = 0; i < 2; i++) {
        char group[64];
        (void)snprintf(group, sizeof group, "%s, %s", name, names[i]);
        net_way = ways[i];
        failed += _cmocka_run_group_tests(group, tests, n, NULL, NULL);
    }
    return failed;
}

const char *net_path(const char *name)
{
    static char path[NET_ADDRESS_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

const char *net_unix(const char *name)
{
    static char address[NET_ADDRESS_SIZE];
    (void)snprintf(address, sizeof address, "unix:%s/%s", directory, name);
    return address;
}

/* ---- threads ---- */

static struct timespec patience_end(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t); /* what pthread_cond_timedwait counts by */
    t.tv_sec += NET_PATIENCE_MS / 1000;
    return t;
}

uint64_t net_clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void net_add(struct net_count *count, uint64_t n)
{
    (void)pthread_mutex_lock(&count->lock);
    count->value += n;
    (void)pthread_cond_broadcast(&count->changed);
    (void)pthread_mutex_unlock(&count->lock);
}

uint64_t net_value(struct net_count *count)
{
    (void)pthread_mutex_lock(&count->lock);
    uint64_t value = count->value;
    (void)pthread_mutex_unlock(&count->lock);
    return value;
}

bool net_reached(struct net_count *count, uint64_t least)
{
    struct timespec end = patience_end();
    int error = 0;
    (void)pthread_mutex_lock(&count->lock);
    while (count->value < least && error == 0) error = pthread_cond_timedwait(&count->changed, &count->lock, &end);
    bool reached = count->value >= least;
    uint64_t value = count->value;
    (void)pthread_mutex_unlock(&count->lock);
    if (!reached) net_fault("waited for %llu, there are %llu", (unsigned long long)least, (unsigned long long)value);
    return reached;
}

pthread_t net_thread(void *(*run)(void *ctx), void *ctx)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, ctx), 0);
    return thread;
}

void net_join(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- contents ---- */

uint64_t net_random(uint64_t *seed)
{
    uint64_t x = *seed + 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea, Flood 2014): any seed will do, also 0 */
    *seed = x;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

size_t net_below(uint64_t *seed, size_t n)
{
    return (size_t)(net_random(seed) % n);
}

static uint8_t byte_at(size_t i, uint32_t seed)
{
    uint32_t x = ((uint32_t)i ^ seed) * 2654435761u;
    return (uint8_t)(x >> 24);
}

void net_fill(uint8_t *at, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) at[i] = byte_at(i, seed);
}

bool net_filled(const uint8_t *at, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] != byte_at(i, seed)) return false;
    return true;
}

uint8_t *net_bytes(size_t n, uint32_t seed)
{
    uint8_t *at = malloc(n + 1);
    assert_non_null(at);
    net_fill(at, n, seed);
    return at;
}

/* ---- a server on its own thread ---- */

static void take_line(void *ctx, enum framed_log_level level, const char *line)
{
    struct net_log *log = ctx;
    (void)level;
    size_t n = strlen(line);
    (void)pthread_mutex_lock(&log->lock);
    if (log->len + n + 2 > log->cap) {
        size_t cap = 2 * (log->len + n + 2);
        char *text = realloc(log->text, cap);
        if (text == NULL) abort();
        log->text = text;
        log->cap = cap;
    }
    memcpy(log->text + log->len, line, n);
    log->len += n + 1;
    log->text[log->len - 1] = '\n';
    log->text[log->len] = '\0';
    (void)pthread_cond_broadcast(&log->changed);
    (void)pthread_mutex_unlock(&log->lock);
}

static bool has(const struct net_log *log, const char *part)
{
    return log->text != NULL && strstr(log->text, part) != NULL;
}

bool net_log_has(struct net_server *s, const char *part)
{
    (void)pthread_mutex_lock(&s->log.lock);
    bool found = has(&s->log, part);
    (void)pthread_mutex_unlock(&s->log.lock);
    return found;
}

void net_log_says(struct net_server *s, const char *part)
{
    struct timespec end = patience_end();
    int error = 0;
    (void)pthread_mutex_lock(&s->log.lock);
    while (!has(&s->log, part) && error == 0) error = pthread_cond_timedwait(&s->log.changed, &s->log.lock, &end);
    bool found = has(&s->log, part);
    if (!found) fprintf(stderr, "no \"%s\" in the log:\n%s", part, s->log.text != NULL ? s->log.text : "");
    (void)pthread_mutex_unlock(&s->log.lock);
    assert_true(found);
}

struct framed_server_config net_config(framed_handler_fn *handler, void *ctx)
{
    struct framed_server_config config;
    framed_server_config_init(&config, sizeof config);
    config.handler = handler;
    config.handler_ctx = ctx;
    config.allocator = &net_meter.allocator;
    config.wait = net_way;
    config.max_log_lines = UINT32_MAX;
    config.frame_ms = FRAMED_NEVER;
    config.send_ms = FRAMED_NEVER;
    config.drain_ms = NET_PATIENCE_MS;
    config.linger_ms = NET_PATIENCE_MS;
    return config;
}

void net_server_new(struct net_server *s, struct framed_server_config config)
{
    *s = (struct net_server){.log = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}};
    config.log = take_line;
    config.log_ctx = &s->log;
    assert_int_equal(framed_server_new(&config, &s->server), FRAMED_OK);
}

void net_server_listen(struct net_server *s, const char *address)
{
    assert_int_equal(framed_server_listen(s->server, address), FRAMED_OK);
    assert_int_equal(framed_server_address(s->server, 0, s->address, sizeof s->address), FRAMED_OK);
}

static void *run_server(void *ctx)
{
    struct net_server *s = ctx;
    s->ran = framed_server_run(s->server);
    return NULL;
}

void net_server_run(struct net_server *s)
{
    running++;
    s->thread = net_thread(run_server, s);
    s->runs = true;
}

void net_server_start(struct net_server *s, struct framed_server_config config, const char *address)
{
    net_server_new(s, config);
    net_server_listen(s, address);
    net_server_run(s);
}

enum framed_status net_server_join(struct net_server *s)
{
    assert_true(s->runs);
    struct timespec end = patience_end();
    assert_int_equal(pthread_timedjoin_np(s->thread, NULL, &end), 0);
    running--;
    s->runs = false;
    return s->ran;
}

enum framed_status net_server_drain(struct net_server *s)
{
    framed_server_drain(s->server);
    return net_server_join(s);
}

struct framed_server_stats net_stats(const struct net_server *s)
{
    struct framed_server_stats stats;
    framed_server_stats(s->server, &stats, sizeof stats);
    return stats;
}

void net_server_free(struct net_server *s)
{
    framed_server_free(s->server);
    free(s->log.text);
    *s = (struct net_server){0};
}

void net_server_stop(struct net_server *s)
{
    assert_int_equal(net_server_drain(s), FRAMED_OK);
    struct framed_server_stats stats = net_stats(s);
    assert_int_equal(stats.connections, 0);
    assert_int_equal(stats.closed, stats.accepted);
    net_server_free(s);
}

void net_server_closed(struct net_server *s, uint64_t least)
{
    struct timespec now, end = patience_end();
    do { /* nobody is told of this one: look again, and let the loop's thread run meanwhile */
        if (net_stats(s).closed >= least) return;
        (void)sched_yield();
        (void)clock_gettime(CLOCK_REALTIME, &now);
    } while (now.tv_sec < end.tv_sec);
    fail_msg("%llu connections were to be closed, %llu are", (unsigned long long)least,
             (unsigned long long)net_stats(s).closed);
}

void net_echo(void *ctx, struct framed_call *call)
{
    (void)ctx;
    (void)framed_call_reply(call, framed_call_body(call));
}

/* ---- threads that answer deferred calls ---- */

void net_defer(void *ctx, struct framed_call *call)
{
    struct net_workers *w = ctx;
    struct net_task task;
    if (framed_call_defer(call, &task.call, &task.body) != FRAMED_OK) {
        net_fault("a call could not be deferred");
        return;
    }
    (void)pthread_mutex_lock(&w->lock);
    if (w->count == w->cap) {
        w->cap = w->cap * 2 + 64;
        w->tasks = realloc(w->tasks, w->cap * sizeof *w->tasks);
        if (w->tasks == NULL) abort();
    }
    w->tasks[w->count++] = task;
    (void)pthread_cond_signal(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
    net_add(&w->deferred, 1);
}

static bool next_task(struct net_workers *w, struct net_task *task)
{
    (void)pthread_mutex_lock(&w->lock);
    while (!w->ending && (w->held || w->count == 0)) (void)pthread_cond_wait(&w->changed, &w->lock);
    bool any = w->count > 0;
    if (any) {
        size_t i = net_below(&w->seed, w->count);
        *task = w->tasks[i];
        w->tasks[i] = w->tasks[--w->count];
    }
    (void)pthread_mutex_unlock(&w->lock);
    return any;
}

static void *work(void *ctx)
{
    struct net_workers *w = ctx;
    struct net_task task;
    while (next_task(w, &task)) w->work(w->ctx, task);
    return NULL;
}

void net_workers_start(struct net_workers *w, unsigned n, net_work_fn *how, void *ctx)
{
    *w = (struct net_workers){.n = n, .work = how, .ctx = ctx, .seed = n, .deferred = NET_COUNT_INIT};
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->changed, NULL);
    running++;
    for (unsigned i = 0; i < n; i++) w->threads[i] = net_thread(work, w);
}

static void tell(struct net_workers *w, bool *flag, bool value)
{
    (void)pthread_mutex_lock(&w->lock);
    *flag = value;
    (void)pthread_cond_broadcast(&w->changed);
    (void)pthread_mutex_unlock(&w->lock);
}

void net_workers_hold(struct net_workers *w)
{
    tell(w, &w->held, true);
}

void net_workers_release(struct net_workers *w)
{
    tell(w, &w->held, false);
}

void net_workers_stop(struct net_workers *w)
{
    tell(w, &w->ending, true);
    for (unsigned i = 0; i < w->n; i++) net_join(w->threads[i]);
    running--;
    assert_int_equal(w->count, 0);
    free(w->tasks);
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->changed);
}

void net_work_echo(void *ctx, struct net_task task)
{
    (void)ctx;
    if (task.body.len % 2 == 0) {
        (void)framed_call_reply(task.call, task.body);
        return;
    }
    uint8_t *copy = malloc(task.body.len);
    if (copy == NULL) abort();
    memcpy(copy, task.body.at, task.body.len);
    (void)framed_call_reply(task.call, framed_bytes_of(copy, task.body.len));
    free(copy);
}

/* ---- clients ---- */

struct framed_client_config net_client_config(void)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    config.allocator = &net_meter.allocator;
    config.frame_ms = FRAMED_NEVER;
    config.send_ms = FRAMED_NEVER;
    config.backoff_ms = 1;
    return config;
}

struct framed_client *net_client_with(struct framed_client_config config, const char *address)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, address, NET_PATIENCE_MS), FRAMED_OK);
    return client;
}

struct framed_client *net_client(const char *address)
{
    return net_client_with(net_client_config(), address);
}

struct framed_client *net_client_pair(struct framed_client_config config, int *raw)
{
    int fds[2];
    net_pair(fds);
    *raw = fds[0];
    return net_client_with(config, net_fd(fds[1]));
}

void net_call_echo(struct framed_client *client, size_t n, uint32_t seed)
{
    uint8_t *request = net_bytes(n, seed);
    struct framed_event event;
    assert_int_equal(framed_client_call(client, framed_bytes_of(request, n), NET_PATIENCE_MS, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.outcome, FRAMED_REPLY);
    assert_int_equal(event.payload.len, n);
    assert_true(net_filled(event.payload.at, n, seed));
    free(request);
}
