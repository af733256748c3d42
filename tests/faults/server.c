/*
 * server.c: a server for the rigs: the library's, with handlers that answer at once, from other threads, late, not at all, or
 * fail, as each request asks; it marks in the ledger what it executes. Clients speak in any way (ways.h).
 *
 *   server LEDGER ADDRESS [epoll|poll [WORKERS]]
 *
 * SIGUSR2 drains it and starts another in the same process, whose memory must all have come back before; SIGTERM drains and
 * ends. Prints "listening on ADDRESS" once. Deadlines are short, so that they are met.
 * Must not know: the insides of the library.
 */
#define _GNU_SOURCE
#include "ledger.h"
#include "ways.h"
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 2, CALL_MS = 2000, TOO_LATE_MS = 2500, LATER_MOST_MS = 20 };

struct task {
    struct task *next;
    struct framed_call *call;
    struct framed_bytes body;
    enum ledger_what what;
    uint64_t due_ms;
};

static struct ledger *ledger;
static struct framed_server *_Atomic running;
static atomic_bool ending;
static atomic_size_t tasks; /* deferred and not yet answered */
static struct task *todo;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* ---- memory, counted ---- */

/* What malloc takes for a block: the size that it can use, and a word in front. */
static size_t size_of(void *at)
{
    return at != NULL ? malloc_usable_size(at) + sizeof(size_t) : 0;
}

static void *resize(void *ctx, void *at, size_t old, size_t n)
{
    size_t before = size_of(at);
    (void)ctx, (void)old;
    if (n == 0) {
        free(at);
        at = NULL;
    } else {
        at = realloc(at, n);
        if (at == NULL) return NULL;
    }
    ledger_add(&ledger->allocated, size_of(at) - before);
    return at;
}

static const struct framed_allocator counted = {.resize = resize};

/* ---- handlers ---- */

static void answer(struct framed_call *call, struct framed_bytes body, enum ledger_what what)
{
    uint8_t *copy = NULL;
    switch (what) {
    case WHAT_PART:
    case WHAT_LATER_PART: (void)framed_call_reply(call, framed_bytes_of(body.at, body.len / 2)); return;
    case WHAT_EMPTY: (void)framed_call_reply(call, framed_bytes_of(NULL, 0)); return;
    case WHAT_FAIL:
    case WHAT_LATER_FAIL: (void)framed_call_fail(call, FRAMED_CODE_ABORTED, "as asked"); return;
    case WHAT_COPY:
    case WHAT_LATER_COPY:
        copy = malloc(body.len);
        if (copy == NULL) break;
        memcpy(copy, body.at, body.len);
        (void)framed_call_reply(call, framed_bytes_of(copy, body.len));
        free(copy);
        return;
    default: break;
    }
    (void)framed_call_reply(call, body);
}

static bool put_off(struct framed_call *call, enum ledger_what what)
{
    static _Thread_local uint64_t seed; /* each loop's */
    struct task *t = malloc(sizeof *t);
    if (t == NULL) return false;
    *t = (struct task){.what = what};
    t->due_ms = ledger_clock_ms() + (what == WHAT_TOO_LATE ? TOO_LATE_MS : ledger_below(&seed, LATER_MOST_MS));
    if (framed_call_defer(call, &t->call, &t->body) != FRAMED_OK) {
        free(t);
        return false;
    }
    atomic_fetch_add(&tasks, 1);
    pthread_mutex_lock(&lock);
    t->next = todo;
    todo = t;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    return true;
}

static void handle(void *ctx, struct framed_call *call)
{
    (void)ctx;
    struct framed_bytes body = framed_call_body(call);
    uint32_t worker;
    uint64_t serial;
    enum ledger_what what = WHAT_ECHO;
    if (ledger_read(body, &worker, &serial, &what)) ledger_executed(ledger, body);
    bool later = what == WHAT_LATER || what == WHAT_LATER_PART || what == WHAT_LATER_COPY || what == WHAT_LATER_FAIL ||
                 what == WHAT_TOO_LATE;
    if (what == WHAT_DROP) return;
    if (!later || !put_off(call, what)) answer(call, body, what);
}

/* One that is due, out of the whole; NULL: none is. The lock is held. */
static struct task *take_due(void)
{
    uint64_t now = ledger_clock_ms();
    for (struct task **at = &todo; *at != NULL; at = &(*at)->next) {
        struct task *t = *at;
        if (t->due_ms > now && !atomic_load(&ending)) continue;
        *at = t->next;
        return t;
    }
    return NULL;
}

static void *work(void *ctx)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    while (!atomic_load(&ending) || todo != NULL) {
        struct task *t = take_due();
        if (t == NULL) {
            struct timespec until;
            (void)clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 5000000;
            if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
            (void)pthread_cond_timedwait(&changed, &lock, &until);
            continue;
        }
        pthread_mutex_unlock(&lock);
        answer(t->call, t->body, t->what);
        free(t);
        atomic_fetch_sub(&tasks, 1);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- the server ---- */

static void count_line(void *ctx, enum framed_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
    ledger_add(&ledger->log_lines, 1);
}

static void on_signal(int number)
{
    if (number == SIGTERM) atomic_store(&ending, true);
    struct framed_server *s = atomic_load(&running);
    if (s != NULL) framed_server_drain(s);
}

/* Several workers spin too. */
static struct framed_server_config config_of(const char *way, uint32_t workers)
{
    struct framed_server_config c;
    framed_server_config_init(&c, sizeof c);
    c.handler = handle;
    c.log = count_line;
    c.allocator = &counted;
    c.wait = strcmp(way, "poll") == 0 ? FRAMED_WAIT_POLL : FRAMED_WAIT_BEST;
    c.workers = workers;
    c.spin_us = workers > 1 ? 20 : 0;
    c.max_frame = 4u << 20;
    c.frame_ms = 1500;
    c.idle_ms = 3000;
    c.call_ms = CALL_MS;
    c.send_ms = 3000;
    c.drain_ms = 3000;
    c.linger_ms = 500;
    c.handshake_ms = 1500;
    ways_of_server(&c);
    return c;
}

/* A server, though descriptors may be short for a while. */
static struct framed_server *begin(const struct framed_server_config *config, const char *address)
{
    for (unsigned i = 0; i < 3000; i++) {
        struct framed_server *s;
        if (framed_server_new(config, &s) == FRAMED_OK) {
            if (framed_server_listen(s, address) == FRAMED_OK) return s;
            framed_server_free(s);
        }
        ledger_pause(10);
    }
    fprintf(stderr, "cannot listen on %s\n", address);
    exit(2);
}

/* Figures of the running server. Counters go on over all servers: what each has had is added when it ends. */
static void *tell(void *ctx)
{
    (void)ctx;
    for (;;) {
        pthread_mutex_lock(&lock);
        struct framed_server *s = atomic_load(&running);
        if (s != NULL) {
            struct framed_server_stats now;
            framed_server_stats(s, &now, sizeof now);
            atomic_store(&ledger->connections, now.connections);
            atomic_store(&ledger->open_calls, now.open_calls);
            /* What the C library keeps for later is not ours: a sample is to see what we hold. */
            if (atomic_load(&ledger->hush) != 0 && now.connections == 0 && now.open_calls == 0) {
                (void)malloc_trim(0);
                const struct mallinfo2 info = mallinfo2();
                atomic_store(&ledger->in_use, info.uordblks + info.hblkhd);
                ledger_add(&ledger->looks, 1);
            }
        }
        pthread_mutex_unlock(&lock);
        ledger_pause(20);
    }
    return NULL;
}

static void add_up(struct framed_server *s)
{
    struct framed_server_stats all;
    framed_server_stats(s, &all, sizeof all);
    ledger_add(&ledger->accepted, all.accepted);
    ledger_add(&ledger->accept_failures, all.accept_failures);
    ledger_add(&ledger->framing_errors, all.framing_errors);
    ledger_add(&ledger->deadlines, all.deadlines);
    ledger_add(&ledger->servers, 1);
}

static void serve_once(const struct framed_server_config *config, char address[160])
{
    static bool told;
    struct framed_server *s = begin(config, address);
    if (framed_server_address(s, 0, address, 160) != FRAMED_OK) exit(2);
    if (!told) printf("listening on %s\n", address);
    told = true;
    (void)fflush(stdout);
    atomic_store(&running, s);
    if (atomic_load(&ending)) framed_server_drain(s);
    enum framed_status st = framed_server_run(s);
    if (st == FRAMED_TIMEOUT) ledger_add(&ledger->late_drains, 1);
    if (st != FRAMED_OK && st != FRAMED_TIMEOUT) ledger_add(&ledger->misuses, 1);
    pthread_mutex_lock(&lock); /* `tell` looks at it */
    atomic_store(&running, NULL);
    pthread_mutex_unlock(&lock);
    add_up(s);
    framed_server_free(s);
    while (atomic_load(&tasks) > 0) ledger_pause(5); /* deferred calls outlive their server */
    ledger_add(&ledger->leaked, atomic_load(&ledger->allocated));
    atomic_store(&ledger->allocated, 0);
    (void)malloc_trim(0);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "server LEDGER ADDRESS [epoll|poll [WORKERS]]\n");
        return 2;
    }
    ledger = ledger_open(argv[1]);
    atomic_store(&ledger->allocated, 0); /* of one that was killed */
    struct framed_server_config config = config_of(argc > 3 ? argv[3] : "epoll", argc > 4 ? (uint32_t)atoi(argv[4]) : 1);
    char address[160];
    (void)snprintf(address, sizeof address, "%s", argv[2]);
    struct sigaction act = {.sa_handler = on_signal};
    (void)sigaction(SIGTERM, &act, NULL);
    (void)sigaction(SIGUSR2, &act, NULL);
    sigset_t ours; /* of this thread: what a handler sees of `running` is then never about to be freed */
    (void)sigemptyset(&ours);
    (void)sigaddset(&ours, SIGTERM);
    (void)sigaddset(&ours, SIGUSR2);
    (void)pthread_sigmask(SIG_BLOCK, &ours, NULL);
    pthread_t threads[THREADS], teller;
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0) return 2;
    if (pthread_create(&teller, NULL, tell, NULL) != 0) return 2;
    (void)pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    do serve_once(&config, address);
    while (!atomic_load(&ending));
    for (unsigned i = 0; i < THREADS; i++) (void)pthread_join(threads[i], NULL);
    return 0;
}
