/*
 * test_net_workers.c: a server with several loops on real sockets: who serves whom, that limits stay exact, and how it ends.
 * Must not know how connections find their way from one loop to another.
 * Invariants: as in test_net_threads.c; which thread serves is told by the handler's replies alone. Unix sockets,
 * where nothing waits for a delayed acknowledgement; TCP where addresses are counted.
 */
#define _GNU_SOURCE
#include "net.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKERS = 3, PEERS = 12 };

/* Answers with the thread it runs on. */
static void who_serves(void *ctx, struct framed_call *call)
{
    (void)ctx;
    pthread_t self = pthread_self();
    framed_call_reply(call, framed_bytes_of(&self, sizeof self));
}

static pthread_t server_of(int peer)
{
    pthread_t it;
    net_write_frame(peer, "?", 1);
    assert_int_equal(net_read_frame(peer, (uint8_t *)&it, sizeof it), sizeof it);
    return it;
}

/* How many of the peers (-1: none) are served by that thread. */
static size_t served_by(const int *peers, size_t n, pthread_t thread)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += peers[i] >= 0 && pthread_equal(server_of(peers[i]), thread) != 0;
    return count;
}

static struct framed_server_config config_of(framed_handler_fn *handler, void *ctx, uint32_t workers)
{
    struct framed_server_config config = net_config(handler, ctx);
    config.workers = workers;
    return config;
}

static void connect_all(int *peers, size_t n, const char *address)
{
    for (size_t i = 0; i < n; i++) peers[i] = net_connect(address);
}

static void close_all(const int *peers, size_t n)
{
    for (size_t i = 0; i < n; i++) close(peers[i]);
}

static void workers_have_as_many_connections_each_and_keep_them(void **state)
{
    (void)state;
    struct net_server s;
    int peers[PEERS];
    net_server_start(&s, config_of(who_serves, NULL, WORKERS), net_unix("workers"));
    connect_all(peers, PEERS, s.address);
    for (size_t i = 0; i < PEERS; i++) {
        pthread_t thread = server_of(peers[i]);
        assert_int_equal(served_by(peers, PEERS, thread), PEERS / WORKERS);
        assert_true(pthread_equal(server_of(peers[i]), thread));
    }
    close_all(peers, PEERS);
    net_server_stop(&s);
}

static void newcomer_goes_to_the_worker_that_has_fewest(void **state)
{
    (void)state;
    struct net_server s;
    int peers[PEERS];
    net_server_start(&s, config_of(who_serves, NULL, WORKERS), net_unix("workers"));
    connect_all(peers, PEERS, s.address);
    pthread_t emptied = server_of(peers[0]);
    uint64_t gone = 0;
    for (size_t i = 0; i < PEERS; i++) {
        if (!pthread_equal(server_of(peers[i]), emptied)) continue;
        close(peers[i]);
        peers[i] = -1;
        gone++;
    }
    net_server_closed(&s, gone);
    for (size_t i = 0; i < PEERS; i++) {
        if (peers[i] >= 0) continue;
        peers[i] = net_connect(s.address);
        assert_true(pthread_equal(server_of(peers[i]), emptied));
    }
    close_all(peers, PEERS);
    net_server_stop(&s);
}

static void one_worker_is_the_thread_that_runs(void **state)
{
    (void)state;
    struct net_server s;
    net_server_start(&s, config_of(who_serves, NULL, 0), net_unix("workers"));
    int peer = net_connect(s.address);
    assert_true(pthread_equal(server_of(peer), s.thread));
    close(peer);
    net_server_stop(&s);
}

static void connections_at_once_are_never_more_than_the_limit(void **state)
{
    (void)state;
    enum { MOST = 4, TURNS = 60 };
    struct net_server s;
    int peers[MOST + 1];
    struct framed_server_config config = config_of(who_serves, NULL, WORKERS);
    config.max_conns = MOST;
    net_server_start(&s, config, net_unix("workers"));
    connect_all(peers, MOST, s.address);
    for (size_t i = 0; i < MOST; i++) (void)server_of(peers[i]);
    for (size_t turn = 0; turn < TURNS; turn++) {
        peers[MOST] = net_connect(s.address); /* it waits in the backlog, whichever worker closes one */
        net_write_frame(peers[MOST], "?", 1);
        for (size_t i = 0; i < MOST; i++) (void)server_of(peers[i]);
        assert_true(net_is_silent(peers[MOST]));
        assert_int_equal(net_stats(&s).connections, MOST);
        size_t leaves = turn % MOST;
        close(peers[leaves]);
        pthread_t it;
        assert_int_equal(net_read_frame(peers[MOST], (uint8_t *)&it, sizeof it), sizeof it);
        peers[leaves] = peers[MOST];
    }
    close_all(peers, MOST);
    net_server_stop(&s);
}

static void limit_per_address_counts_the_connections_of_all_workers(void **state)
{
    (void)state;
    enum { MOST = 5 };
    struct net_server s;
    int peers[MOST];
    struct framed_server_config config = config_of(who_serves, NULL, WORKERS);
    config.max_conns_per_address = MOST;
    net_server_start(&s, config, "127.0.0.1:0");
    connect_all(peers, MOST, s.address);
    for (size_t i = 0; i < MOST; i++) (void)server_of(peers[i]);
    int refused = net_connect(s.address);
    net_read_end(refused);
    close(refused);
    net_log_says(&s, "too many connections from its address");
    close(peers[0]);
    net_server_closed(&s, 2);
    peers[0] = net_connect(s.address);
    (void)server_of(peers[0]);
    assert_int_equal(net_stats(&s).refused, 1);
    close_all(peers, MOST);
    net_server_stop(&s);
}

static void counters_are_those_of_all_workers_together(void **state)
{
    (void)state;
    struct net_server s;
    int peers[PEERS];
    net_server_start(&s, config_of(net_echo, NULL, WORKERS), net_unix("workers"));
    connect_all(peers, PEERS, s.address);
    uint8_t back[8];
    for (size_t i = 0; i < PEERS; i++) {
        net_write_frame(peers[i], "twelve", 6);
        assert_int_equal(net_read_frame(peers[i], back, sizeof back), 6);
    }
    close_all(peers, PEERS);
    net_server_closed(&s, PEERS);
    struct framed_server_stats stats = net_stats(&s);
    assert_int_equal(stats.accepted, PEERS);
    assert_int_equal(stats.requests, PEERS);
    assert_int_equal(stats.replies, PEERS);
    assert_int_equal(stats.bytes_in, PEERS * 10);
    assert_int_equal(stats.bytes_out, PEERS * 10);
    assert_int_equal(stats.connections, 0);
    net_server_stop(&s);
}

static void drain_lets_every_worker_answer_what_it_has(void **state)
{
    (void)state;
    struct net_server s;
    struct net_workers threads;
    int peers[PEERS];
    uint8_t back[16];
    net_workers_start(&threads, 2, net_work_echo, NULL);
    net_workers_hold(&threads);
    net_server_start(&s, config_of(net_defer, &threads, WORKERS), net_unix("workers"));
    connect_all(peers, PEERS, s.address);
    for (size_t i = 0; i < PEERS; i++) net_write_frame(peers[i], &i, sizeof i);
    assert_true(net_reached(&threads.deferred, PEERS));
    framed_server_drain(s.server);
    net_workers_release(&threads);
    for (size_t i = 0; i < PEERS; i++) {
        assert_int_equal(net_read_frame(peers[i], back, sizeof back), sizeof i);
        assert_memory_equal(back, &i, sizeof i);
        net_read_end(peers[i]);
        close(peers[i]);
    }
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    net_workers_stop(&threads);
    net_server_free(&s);
}

static void drain_deadline_ends_the_connections_of_every_worker(void **state)
{
    (void)state;
    struct net_server s;
    struct net_workers threads;
    int peers[PEERS];
    struct framed_server_config config = config_of(net_defer, &threads, WORKERS);
    config.drain_ms = 1;
    net_workers_start(&threads, 1, net_work_echo, NULL);
    net_workers_hold(&threads);
    net_server_start(&s, config, net_unix("workers"));
    connect_all(peers, PEERS, s.address);
    for (size_t i = 0; i < PEERS; i++) net_write_frame(peers[i], "x", 1);
    assert_true(net_reached(&threads.deferred, PEERS));
    assert_int_equal(net_server_drain(&s), FRAMED_TIMEOUT);
    assert_int_equal(net_stats(&s).connections, 0);
    close_all(peers, PEERS);
    net_server_free(&s); /* its calls are still to be answered, by each worker's way of its own */
    net_workers_release(&threads);
    net_workers_stop(&threads);
}

/* Whoever comes while a drain begins is served or closed, by whichever worker has him, and nobody is forgotten. */
static void drain_while_connections_come_forgets_none(void **state)
{
    (void)state;
    enum { TURNS = 40 };
    for (size_t turn = 0; turn < TURNS; turn++) {
        struct net_server s;
        int peers[PEERS];
        net_server_start(&s, config_of(net_echo, NULL, WORKERS), net_unix("drain"));
        connect_all(peers, turn % PEERS + 1, s.address);
        framed_server_drain(s.server);
        close_all(peers, turn % PEERS + 1);
        assert_int_equal(net_server_join(&s), FRAMED_OK);
        struct framed_server_stats stats = net_stats(&s);
        assert_int_equal(stats.accepted, stats.closed);
        net_server_free(&s);
    }
}

static void server_that_never_ran_is_freed_with_all_its_workers(void **state)
{
    (void)state;
    struct net_server s;
    net_server_new(&s, config_of(net_echo, NULL, WORKERS));
    net_server_listen(&s, net_unix("workers"));
    int peer = net_connect(s.address);
    net_server_free(&s);
    close(peer);
}

static void too_many_workers_are_refused(void **state)
{
    (void)state;
    struct framed_server *server = NULL;
    struct framed_server_config config = config_of(net_echo, NULL, 1025);
    assert_int_equal(framed_server_new(&config, &server), FRAMED_USAGE);
    assert_null(server);
}

/* ---- many clients at once, inline and deferred ---- */

enum { CALLERS = 4, CALLS_EACH = 800 };

struct mixed {
    struct net_workers threads;
};

/* Every third request is answered by another thread; replies keep their order all the same. */
static void inline_or_deferred(void *ctx, struct framed_call *call)
{
    struct mixed *mixed = ctx;
    struct framed_bytes body = framed_call_body(call);
    if (body.len > 0 && body.at[0] % 3 == 0)
        net_defer(&mixed->threads, call);
    else
        net_echo(NULL, call);
}

static void *call_much(void *address)
{
    struct framed_client *client = net_client(address);
    for (uint32_t i = 0; i < CALLS_EACH; i++) net_call_echo(client, i % 3000, i);
    framed_client_free(client);
    return NULL;
}

static void *converse(void *address)
{
    struct framed_client *client = net_client(address);
    uint64_t started = 0, replies = 0, id;
    struct framed_event event;
    while (replies < CALLS_EACH) {
        uint8_t bytes[64];
        net_fill(bytes, sizeof bytes, (uint32_t)started);
        while (started < CALLS_EACH && started - replies < 40 &&
               framed_client_start(client, framed_bytes_of(bytes, sizeof bytes), FRAMED_NEVER, &id) == FRAMED_OK)
            net_fill(bytes, sizeof bytes, (uint32_t)++started);
        enum framed_status st = framed_client_next(client, NET_PATIENCE_MS, &event);
        if (st == FRAMED_OK && event.kind == FRAMED_EVENT_WRITABLE) continue;
        if (st != FRAMED_OK || event.outcome != FRAMED_REPLY || !net_filled(event.payload.at, 64, (uint32_t)replies)) {
            net_fault("after %llu replies: %s", (unsigned long long)replies, framed_status_name(st));
            break;
        }
        replies++;
    }
    framed_client_free(client);
    return NULL;
}

static void every_call_of_many_clients_gets_its_own_reply(void **state)
{
    (void)state;
    struct net_server s;
    struct mixed mixed;
    pthread_t threads[CALLERS];
    net_workers_start(&mixed.threads, 2, net_work_echo, NULL);
    net_server_start(&s, config_of(inline_or_deferred, &mixed, WORKERS), net_unix("workers"));
    for (size_t i = 0; i < CALLERS; i++) threads[i] = net_thread(i % 2 == 0 ? call_much : converse, s.address);
    for (size_t i = 0; i < CALLERS; i++) net_join(threads[i]);
    net_workers_stop(&mixed.threads);
    assert_int_equal(net_stats(&s).replies, CALLERS * CALLS_EACH);
    net_server_stop(&s);
}

/* How many connections the log says were closed. */
static size_t lines_said(struct net_server *s)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&s->log.lock);
    for (const char *at = s->log.text; at != NULL && (at = strstr(at, " closed: ")) != NULL; at++) n++;
    (void)pthread_mutex_unlock(&s->log.lock);
    return n;
}

/* However the workers' lines come together. That they are bounded together, test_sim_workers.c shows in its own time. */
static void every_line_of_several_workers_is_said_or_counted(void **state)
{
    (void)state;
    struct net_server s;
    struct framed_server_config config = config_of(net_echo, NULL, WORKERS);
    config.max_log_lines = 1;
    net_server_start(&s, config, net_unix("workers"));
    for (size_t i = 0; i < PEERS; i++) {
        int peer = net_connect(s.address);
        net_write(peer, "GET / HTTP/1.1\r\n\r\n", 18);
        net_read_end(peer);
        close(peer);
    }
    net_server_closed(&s, PEERS);
    assert_int_equal(net_stats(&s).framing_errors, PEERS);
    assert_int_equal(lines_said(&s) + net_stats(&s).log_suppressed, PEERS);
    net_server_stop(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(workers_have_as_many_connections_each_and_keep_them),
        NET_TEST(newcomer_goes_to_the_worker_that_has_fewest),
        NET_TEST(one_worker_is_the_thread_that_runs),
        NET_TEST(connections_at_once_are_never_more_than_the_limit),
        NET_TEST(limit_per_address_counts_the_connections_of_all_workers),
        NET_TEST(counters_are_those_of_all_workers_together),
        NET_TEST(drain_lets_every_worker_answer_what_it_has),
        NET_TEST(drain_deadline_ends_the_connections_of_every_worker),
        NET_TEST(drain_while_connections_come_forgets_none),
        NET_TEST(server_that_never_ran_is_freed_with_all_its_workers),
        NET_TEST(too_many_workers_are_refused),
        NET_TEST(every_call_of_many_clients_gets_its_own_reply),
        NET_TEST(every_line_of_several_workers_is_said_or_counted),
    };
    return NET_RUN("workers", tests);
}
