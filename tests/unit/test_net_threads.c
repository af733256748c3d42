/*
 * test_net_threads.c: what other threads do with a server on real sockets: answer, outlive, look, drain.
 * Must not know how answers find their way to the loop.
 * Invariants: nothing here depends on who is quicker, unless a test's name says that both orders are meant; under
 * -fsanitize=thread these are the tests that show a race.
 */
#define _GNU_SOURCE
#include "net.h"
#include "os.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKERS = 4 };

/* ---- replies from four threads at once ---- */

enum { CALLERS = 4, CALLS_EACH = 1500, IN_FLIGHT = 48 };

struct caller {
    const char *address;
    uint32_t number;
    size_t replies;
};

/* A call's size and contents follow from whose it is and its place. */
static uint32_t seed_of(uint32_t caller, uint64_t call)
{
    return caller * 1000000 + (uint32_t)call;
}

static size_t size_of(uint32_t caller, uint64_t call)
{
    uint64_t seed = seed_of(caller, call);
    uint64_t dice = net_below(&seed, 100);
    return dice == 0 ? 70000 + net_below(&seed, 1000) : dice < 10 ? net_below(&seed, 3) : net_below(&seed, 2000);
}

static bool start_one(struct framed_client *client, const struct caller *me, uint64_t call)
{
    static _Thread_local uint8_t bytes[72000];
    size_t n = size_of(me->number, call);
    net_fill(bytes, n, seed_of(me->number, call));
    uint64_t id = 0;
    enum framed_status st = framed_client_start(client, framed_bytes_of(bytes, n), FRAMED_NEVER, &id);
    if (st == FRAMED_FULL) return false;
    if (st != FRAMED_OK || id != call) net_fault("start of call %llu: %s", (unsigned long long)call, framed_status_name(st));
    return true;
}

static bool is_reply_of(const struct framed_event *event, const struct caller *me, uint64_t call)
{
    size_t n = size_of(me->number, call);
    return event->outcome == FRAMED_REPLY && event->status == FRAMED_OK && event->call == call && event->payload.len == n &&
           net_filled(event->payload.at, n, seed_of(me->number, call));
}

static void converse(struct framed_client *client, struct caller *me)
{
    uint64_t started = 0;
    while (me->replies < CALLS_EACH) {
        while (started < CALLS_EACH && started - me->replies < IN_FLIGHT && start_one(client, me, started + 1)) started++;
        struct framed_event event;
        enum framed_status st = framed_client_next(client, NET_PATIENCE_MS, &event);
        if (st == FRAMED_OK && event.kind == FRAMED_EVENT_WRITABLE) continue;
        if (st != FRAMED_OK || event.kind != FRAMED_EVENT_REPLY || !is_reply_of(&event, me, me->replies + 1)) {
            net_fault("caller %u, after %zu replies: %s", me->number, me->replies, framed_status_name(st));
            return;
        }
        me->replies++;
    }
}

static void *call_much(void *ctx)
{
    struct caller *me = ctx;
    struct framed_client *client = NULL;
    if (framed_client_new(NULL, &client) != FRAMED_OK ||
        framed_client_connect(client, me->address, NET_PATIENCE_MS) != FRAMED_OK)
        net_fault("caller %u cannot connect", me->number);
    else
        converse(client, me);
    framed_client_free(client);
    return NULL;
}

static void replies_from_four_threads_at_once_are_each_calls_own_and_in_order(void **state)
{
    (void)state;
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, WORKERS, net_work_echo, NULL);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    struct caller callers[CALLERS];
    pthread_t threads[CALLERS];
    for (uint32_t i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.address = s.address, .number = i};
        threads[i] = net_thread(call_much, &callers[i]);
    }
    for (uint32_t i = 0; i < CALLERS; i++) {
        net_join(threads[i]);
        assert_int_equal(callers[i].replies, CALLS_EACH);
    }
    net_workers_stop(&workers);
    struct framed_server_stats stats = net_stats(&s);
    assert_int_equal(stats.requests, CALLERS * CALLS_EACH);
    assert_int_equal(stats.replies, CALLERS * CALLS_EACH);
    assert_int_equal(stats.open_calls, 0);
    net_server_stop(&s);
}

/* ---- replies that come too late ---- */

/* What an answer returned. */
struct answers {
    pthread_mutex_t lock;
    unsigned ok;
    unsigned closed;
    unsigned other;
};

static void answer_and_count(void *ctx, struct net_task task)
{
    struct answers *a = ctx;
    static const char own[] = "an answer from elsewhere";
    size_t n = task.body.len;
    enum framed_status st;
    if (n % 3 == 0)
        st = framed_call_reply(task.call, framed_bytes_of(own, sizeof own));
    else if (n % 3 == 1)
        st = framed_call_reply(task.call, task.body);
    else
        st = framed_call_fail(task.call, FRAMED_CODE_UNAVAILABLE, "a failure from elsewhere");
    (void)pthread_mutex_lock(&a->lock);
    if (st == FRAMED_OK)
        a->ok++;
    else if (st == FRAMED_CLOSED)
        a->closed++;
    else
        a->other++;
    (void)pthread_mutex_unlock(&a->lock);
}

enum { LATE_PEERS = 12, LATE_CALLS = 40 };

static void ask(int fd, unsigned calls)
{
    static const uint8_t zeros[64];
    for (unsigned i = 0; i < calls; i++) net_write_frame(fd, zeros, i % sizeof zeros);
}

static void leave(int fd, unsigned i)
{
    if (i % 2 == 0)
        net_reset(fd);
    else
        assert_int_equal(close(fd), 0);
}

static void replies_after_the_connection_is_gone_say_closed_and_harm_nobody(void **state)
{
    (void)state;
    struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct net_workers workers;
    struct net_server s;
    int fds[LATE_PEERS];
    net_workers_start(&workers, WORKERS, answer_and_count, &answers);
    net_workers_hold(&workers);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    for (unsigned i = 0; i < LATE_PEERS; i++) ask(fds[i] = net_connect(s.address), LATE_CALLS);
    assert_true(net_reached(&workers.deferred, LATE_PEERS * LATE_CALLS));
    for (unsigned i = 0; i < LATE_PEERS; i++) net_reset(fds[i]);
    net_server_closed(&s, LATE_PEERS);
    assert_int_equal(net_stats(&s).open_calls, LATE_PEERS * LATE_CALLS);
    net_workers_release(&workers);
    net_workers_stop(&workers);
    assert_int_equal(answers.closed, LATE_PEERS * LATE_CALLS);
    assert_int_equal(net_stats(&s).replies, 0);
    net_server_stop(&s);
}

static void replies_while_the_connections_go_are_taken_or_say_closed(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER};
        struct net_workers workers;
        struct net_server s;
        int fds[LATE_PEERS];
        net_workers_start(&workers, WORKERS, answer_and_count, &answers);
        net_workers_hold(&workers);
        net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
        for (unsigned i = 0; i < LATE_PEERS; i++) ask(fds[i] = net_connect(s.address), LATE_CALLS);
        assert_true(net_reached(&workers.deferred, LATE_PEERS * LATE_CALLS));
        net_workers_release(&workers);
        for (unsigned i = 0; i < LATE_PEERS; i++) leave(fds[i], i);
        net_workers_stop(&workers);
        assert_int_equal(answers.other, 0);
        assert_int_equal(answers.ok + answers.closed, LATE_PEERS * LATE_CALLS);
        net_server_stop(&s);
    }
}

static void replies_after_the_server_was_freed_say_closed(void **state)
{
    (void)state;
    struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct net_workers workers;
    struct net_server s;
    struct framed_server_config config = net_config(net_defer, &workers);
    config.drain_ms = 1;
    net_workers_start(&workers, WORKERS, answer_and_count, &answers);
    net_workers_hold(&workers);
    net_server_start(&s, config, "127.0.0.1:0");
    int fd = net_connect(s.address);
    ask(fd, LATE_CALLS);
    assert_true(net_reached(&workers.deferred, LATE_CALLS));
    assert_int_equal(net_server_drain(&s), FRAMED_TIMEOUT);
    net_server_free(&s);
    net_workers_release(&workers);
    net_workers_stop(&workers);
    assert_int_equal(answers.closed, LATE_CALLS);
    net_reset(fd);
}

/* The drain deadline passes, run returns and the server is freed, all while four threads answer. */
static void replies_while_the_server_is_freed_are_taken_or_say_closed(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        struct answers answers = {.lock = PTHREAD_MUTEX_INITIALIZER};
        struct net_workers workers;
        struct net_server s;
        struct framed_server_config config = net_config(net_defer, &workers);
        config.drain_ms = 1;
        net_workers_start(&workers, WORKERS, answer_and_count, &answers);
        net_workers_hold(&workers);
        net_server_start(&s, config, "127.0.0.1:0");
        int fds[LATE_PEERS];
        for (unsigned i = 0; i < LATE_PEERS; i++) ask(fds[i] = net_connect(s.address), LATE_CALLS);
        assert_true(net_reached(&workers.deferred, LATE_PEERS * LATE_CALLS));
        framed_server_drain(s.server);
        net_workers_release(&workers);
        enum framed_status ran = net_server_join(&s);
        assert_true(ran == FRAMED_OK || ran == FRAMED_TIMEOUT);
        net_server_free(&s);
        net_workers_stop(&workers);
        assert_int_equal(answers.other, 0);
        assert_int_equal(answers.ok + answers.closed, LATE_PEERS * LATE_CALLS);
        for (unsigned i = 0; i < LATE_PEERS; i++) net_reset(fds[i]);
    }
}

/* ---- bodies ---- */

static const size_t body_sizes[] = {0, 1, 100, 4096, 65532, 70000, 300000, 3000000};
enum { BODIES = sizeof body_sizes / sizeof body_sizes[0] };

static void check_body(void *ctx, struct net_task task)
{
    struct net_count *seen = ctx;
    size_t i = 0;
    while (i < BODIES && body_sizes[i] != task.body.len) i++;
    if (i == BODIES || !net_filled(task.body.at, task.body.len, (uint32_t)i))
        net_fault("the body of %zu bytes has changed", task.body.len);
    size_t from = task.body.len / 3;
    if (framed_call_reply(task.call, framed_bytes_of(task.body.at + from, task.body.len - from)) != FRAMED_CLOSED)
        net_fault("a reply after a reset was taken");
    net_add(seen, 1);
}

/* Requests of the smallest size go to the echo, so that others can make the server busy meanwhile. */
static void defer_or_echo(void *ctx, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    if (body.len > 0 && body.at[0] == 'e')
        net_echo(NULL, call);
    else
        net_defer(ctx, call);
}

static void write_bodies(int fd)
{
    for (uint32_t i = 0; i < BODIES; i++) {
        uint8_t *bytes = net_bytes(body_sizes[i], i);
        assert_true(body_sizes[i] == 0 || bytes[0] != 'e');
        net_write_frame(fd, bytes, body_sizes[i]);
        free(bytes);
    }
}

/* Uses and frees memory of all those sizes. */
static void make_busy(struct net_server *s)
{
    struct framed_client *client = net_client(s->address);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 1; i < BODIES; i++) {
            uint8_t *bytes = malloc(body_sizes[i]);
            assert_non_null(bytes);
            memset(bytes, 'e', body_sizes[i]);
            struct framed_event event;
            assert_int_equal(framed_client_call(client, framed_bytes_of(bytes, body_sizes[i]), NET_PATIENCE_MS, &event),
                             FRAMED_OK);
            free(bytes);
        }
    }
    framed_client_free(client);
}

static void deferred_body_stays_readable_after_a_reset(void **state)
{
    (void)state;
    struct net_count seen = NET_COUNT_INIT;
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, 2, check_body, &seen);
    net_workers_hold(&workers);
    net_server_start(&s, net_config(defer_or_echo, &workers), "127.0.0.1:0");
    int fd = net_connect(s.address);
    write_bodies(fd);
    assert_true(net_reached(&workers.deferred, BODIES));
    net_reset(fd);
    net_server_closed(&s, 1);
    make_busy(&s);
    net_workers_release(&workers);
    assert_true(net_reached(&seen, BODIES));
    net_workers_stop(&workers);
    net_server_stop(&s);
}

static void deferred_body_stays_readable_after_the_server_was_freed(void **state)
{
    (void)state;
    struct net_count seen = NET_COUNT_INIT;
    struct net_workers workers;
    struct net_server s;
    struct framed_server_config config = net_config(defer_or_echo, &workers);
    config.drain_ms = 1;
    net_workers_start(&workers, 2, check_body, &seen);
    net_workers_hold(&workers);
    net_server_start(&s, config, "127.0.0.1:0");
    int fd = net_connect(s.address);
    write_bodies(fd);
    assert_true(net_reached(&workers.deferred, BODIES));
    assert_int_equal(net_server_drain(&s), FRAMED_TIMEOUT);
    net_server_free(&s);
    net_workers_release(&workers);
    assert_true(net_reached(&seen, BODIES));
    net_workers_stop(&workers);
    net_reset(fd);
}

/* ---- what a call tells ---- */

struct glance {
    pthread_mutex_t lock;
    char peer[NET_ADDRESS_SIZE];
    uint32_t most_ms;
    uint32_t least_ms;
};

/* Twice each: the text is made when first asked for. */
static void look_at_call(void *ctx, struct net_task task)
{
    struct glance *g = ctx;
    for (int i = 0; i < 2; i++) {
        const char *peer = framed_call_peer(task.call);
        uint32_t left = framed_call_left_ms(task.call);
        (void)pthread_mutex_lock(&g->lock);
        if (strcmp(peer, g->peer) != 0) net_fault("the peer is %s, not %s", peer, g->peer);
        if (left > g->most_ms || left < g->least_ms) net_fault("%u ms are left", left);
        (void)pthread_mutex_unlock(&g->lock);
    }
    (void)framed_call_reply(task.call, task.body);
}

static void peer_and_time_left_are_told_on_other_threads(void **state)
{
    enum { CALLS = 200 };
    static const uint32_t deadlines[] = {0, 7200000, FRAMED_NEVER};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        uint32_t ms = deadlines[i] == 0 ? 300000 : deadlines[i];
        struct glance glance = {.lock = PTHREAD_MUTEX_INITIALIZER,
                                .most_ms = ms,
                                .least_ms = ms == FRAMED_NEVER ? ms : ms - 2 * NET_PATIENCE_MS};
        struct net_workers workers;
        struct net_server s;
        struct framed_server_config config = net_config(net_defer, &workers);
        config.call_ms = deadlines[i];
        config.max_calls = CALLS + 1; /* at its limit it would not read, and so not see the reset */
        net_workers_start(&workers, WORKERS, look_at_call, &glance);
        net_workers_hold(&workers);
        net_server_start(&s, config, "127.0.0.1:0");
        int fd = net_connect(s.address);
        net_name(fd, glance.peer);
        ask(fd, CALLS);
        assert_true(net_reached(&workers.deferred, CALLS));
        if (i == 1) { /* also of a peer that is gone: nobody waits any more */
            net_reset(fd);
            net_server_closed(&s, 1);
            glance.least_ms = glance.most_ms = 0;
        }
        net_workers_release(&workers);
        net_workers_stop(&workers);
        if (i != 1) net_reset(fd);
        net_server_stop(&s);
    }
}

static void peer_of_a_unix_socket_is_told_on_other_threads(void **state)
{
    (void)state;
    struct glance glance = {.lock = PTHREAD_MUTEX_INITIALIZER, .peer = "unix", .most_ms = 300000};
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, WORKERS, look_at_call, &glance);
    net_server_start(&s, net_config(net_defer, &workers), net_unix("peer"));
    struct framed_client *client = net_client(s.address);
    for (uint32_t i = 0; i < 50; i++) net_call_echo(client, i, i);
    framed_client_free(client);
    net_workers_stop(&workers);
    net_server_stop(&s);
}

/* ---- drain from many threads ---- */

struct drainers {
    struct framed_server *server;
    struct net_count *may_begin;
};

static void *drain_often(void *ctx)
{
    struct drainers *d = ctx;
    if (!net_reached(d->may_begin, 1)) return NULL;
    for (int i = 0; i < 2000; i++) framed_server_drain(d->server);
    return NULL;
}

static void drain_from_many_threads_many_times_is_one_drain(void **state)
{
    enum { THREADS = 8, PEERS = 6, CALLS = 30 };
    (void)state;
    struct net_workers workers;
    struct net_server s;
    struct net_count may_begin = NET_COUNT_INIT;
    net_workers_start(&workers, WORKERS, net_work_echo, NULL);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    struct drainers drainers = {s.server, &may_begin};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) threads[i] = net_thread(drain_often, &drainers);
    net_workers_hold(&workers);
    int fds[PEERS];
    for (unsigned i = 0; i < PEERS; i++) ask(fds[i] = net_connect(s.address), CALLS);
    assert_true(net_reached(&workers.deferred, PEERS * CALLS));
    net_add(&may_begin, 1);
    net_workers_release(&workers);
    for (unsigned i = 0; i < PEERS; i++) {
        uint8_t reply[64];
        for (unsigned k = 0; k < CALLS; k++) assert_int_equal(net_read_frame(fds[i], reply, sizeof reply), k);
        net_read_end(fds[i]);
        assert_int_equal(close(fds[i]), 0);
    }
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    for (unsigned i = 0; i < THREADS; i++) net_join(threads[i]); /* some drain what has been drained already */
    framed_server_drain(s.server);
    assert_int_equal(net_stats(&s).connections, 0);
    net_server_free(&s);
    net_workers_stop(&workers);
}

/* ---- waking a client ---- */

struct waker {
    struct framed_client *client;
    struct net_count woken;
    unsigned times;
};

static void *wake_in_turn(void *ctx)
{
    struct waker *w = ctx;
    for (unsigned i = 0; i < w->times && net_reached(&w->woken, i); i++) framed_client_wake(w->client);
    return NULL;
}

/* Each wake is given once the last one has been seen, so a lost one is a wait that runs out of patience. */
static void wake_from_another_thread_ends_each_wait(void **state)
{
    (void)state;
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), "127.0.0.1:0");
    struct waker w = {.client = net_client(s.address), .woken = NET_COUNT_INIT, .times = 2000};
    pthread_t thread = net_thread(wake_in_turn, &w);
    for (unsigned i = 0; i < w.times; i++) {
        struct framed_event event;
        uint64_t began = net_clock_ms();
        assert_int_equal(framed_client_next(w.client, NET_PATIENCE_MS, &event), FRAMED_MORE);
        assert_true(net_clock_ms() - began < NET_PATIENCE_MS);
        net_add(&w.woken, 1);
    }
    net_join(thread);
    net_call_echo(w.client, 100, 1); /* a blocking call is not disturbed */
    framed_client_free(w.client);
    net_server_stop(&s);
}

static void *wake_often(void *ctx)
{
    struct waker *w = ctx;
    for (unsigned i = 0; i < w->times; i++) framed_client_wake(w->client);
    return NULL;
}

static void wakes_in_the_middle_of_blocking_calls_lose_nothing(void **state)
{
    (void)state;
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), "127.0.0.1:0");
    struct waker w = {.client = net_client(s.address), .times = 20000};
    pthread_t threads[2] = {net_thread(wake_often, &w), net_thread(wake_often, &w)};
    for (uint32_t i = 0; i < 200; i++) net_call_echo(w.client, i * 100, i);
    net_join(threads[0]);
    net_join(threads[1]);
    framed_client_free(w.client);
    net_server_stop(&s);
}

static void mask_of_thread(void *ctx)
{
    pthread_sigmask(SIG_SETMASK, NULL, ctx);
}

static void thread_of_the_library_leaves_signals_to_the_others(void **state)
{
    struct os_thread *thread;
    sigset_t ours, its;
    (void)state;
    sigemptyset(&its);
    assert_int_equal(framed_os_thread_start(&thread, mask_of_thread, &its), FRAMED_OK);
    framed_os_thread_join(thread);
    pthread_sigmask(SIG_SETMASK, NULL, &ours);
    assert_int_equal(sigismember(&its, SIGTERM), 1);
    assert_int_equal(sigismember(&its, SIGINT), 1);
    assert_int_equal(sigismember(&ours, SIGTERM), 0); /* and ours are as they were */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(thread_of_the_library_leaves_signals_to_the_others),
        NET_TEST(replies_from_four_threads_at_once_are_each_calls_own_and_in_order),
        NET_TEST(replies_after_the_connection_is_gone_say_closed_and_harm_nobody),
        NET_TEST(replies_while_the_connections_go_are_taken_or_say_closed),
        NET_TEST(replies_after_the_server_was_freed_say_closed),
        NET_TEST(replies_while_the_server_is_freed_are_taken_or_say_closed),
        NET_TEST(deferred_body_stays_readable_after_a_reset),
        NET_TEST(deferred_body_stays_readable_after_the_server_was_freed),
        NET_TEST(peer_and_time_left_are_told_on_other_threads),
        NET_TEST(peer_of_a_unix_socket_is_told_on_other_threads),
        NET_TEST(drain_from_many_threads_many_times_is_one_drain),
        NET_TEST(wake_from_another_thread_ends_each_wait),
        NET_TEST(wakes_in_the_middle_of_blocking_calls_lose_nothing),
    };
    return NET_RUN("server and other threads", tests);
}
