/*
 * test_sim_workers.c: a server with several loops, loops that spin, and what else is set for all loops and sockets, in simulated
 * time: what depends on who comes first.
 * Must not know anything private but loop.h.
 * Invariants: many seeds stand for many orders; each world ends with nothing left (sim_stop).
 */
#include "loop.h"
#include "rig.h"

enum { WORKERS = 3, PEERS = 7, SEEDS = 300 };

static void serve_with_workers(struct rig *rig, uint64_t seed)
{
    rig_start(rig, seed);
    rig->config.workers = WORKERS;
}

/* ---- workers ---- */

static void call_once(struct sim_peer *peer, const char *text)
{
    struct framed_bytes got = {0};
    sim_peer_send_frame_text(peer, text);
    sim_run_ms(20);
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(got.len, strlen(text));
}

static void every_connection_is_served_whichever_worker_has_it(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS / 10; seed++) {
        struct rig rig;
        struct sim_peer *peers[PEERS];
        serve_with_workers(&rig, seed);
        rig_serve(&rig);
        for (size_t i = 0; i < PEERS; i++) peers[i] = connected();
        for (size_t i = 0; i < PEERS; i++) call_once(peers[i], "hello");
        assert_int_equal(rig.started, PEERS);
        for (size_t i = 0; i < PEERS; i++) sim_peer_finish(peers[i]);
        assert_int_equal(rig_drain(&rig, 1000), FRAMED_OK);
        rig_stop(&rig);
    }
}

/* Peers come before, at and after the moment of the drain, which a request begins: so some are on their way to a worker when it
 * hears of it. Each one's request is answered or never read, and each one sees an end, also those who say nothing. */
static void drain_forgets_nobody_whoever_comes_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        struct sim_peer *peers[PEERS];
        serve_with_workers(&rig, seed);
        rig.config.drain_ms = FRAMED_NEVER;
        rig_serve(&rig);
        struct sim_peer *first = connected();
        if (seed % 2 == 0) sim_run_ms(0); /* else some workers have not had a turn yet when they hear of it */
        size_t before = (size_t)(seed % PEERS);
        for (size_t i = 0; i < PEERS; i++) {
            if (i == before) sim_peer_send_frame_text(first, "Q");
            peers[i] = sim_connect(WHERE); /* NULL when nobody listens any more */
            if (peers[i] == NULL) continue;
            if (i % 2 == 0) sim_peer_send_frame_text(peers[i], "x");
            if (seed % 5 == 0) sim_run_ms(0);
        }
        assert_true(sim_run_until(rig_is_done, &rig, 10000)); /* every peer's linger; an idle one would stay for 300 s */
        assert_int_equal(rig.run_status, FRAMED_OK);
        struct framed_server_stats stats = rig_stats(&rig);
        assert_int_equal(stats.accepted, stats.closed);
        assert_int_equal(stats.requests, stats.replies);
        rig_stop(&rig);
    }
}

/* Between making and running, so much time that a drain reckoned from the making would be late at once. */
static void serve_long_after_it_was_made(struct rig *rig)
{
    rig->config.drain_ms = 20;
    assert_int_equal(framed_server_new(&rig->config, &rig->server), FRAMED_OK);
    assert_int_equal(framed_server_listen(rig->server, WHERE), FRAMED_OK);
    sim_run_ms(30);
}

static void drain_before_anybody_came_closes_nobody(void **state)
{
    (void)state;
    struct rig rig;
    serve_with_workers(&rig, 0);
    serve_long_after_it_was_made(&rig);
    framed_server_drain(rig.server);
    rig.actor = sim_add_actor(rig_run, &rig);
    assert_true(sim_run_until(rig_is_done, &rig, 1000));
    assert_int_equal(rig.run_status, FRAMED_OK);
    rig_stop(&rig);
}

static void finish_peer(void *peer)
{
    sim_peer_finish(peer);
}

/* Some workers hear of the drain in their first turn, and of a connection that was given to them before. */
static void drain_gives_all_its_time_to_who_was_on_the_way_to_a_worker_without_a_turn(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS / 10; seed++) {
        struct rig rig;
        serve_with_workers(&rig, seed);
        serve_long_after_it_was_made(&rig);
        struct sim_peer *first = connected();
        sim_peer_send_frame_text(first, "Q");
        sim_at(10, finish_peer, first);
        for (size_t i = 1; i < PEERS; i++) sim_at(10, finish_peer, connected());
        rig.actor = sim_add_actor(rig_run, &rig);
        assert_true(sim_run_until(rig_is_done, &rig, 1000));
        assert_int_equal(rig.run_status, FRAMED_OK);
        rig_stop(&rig);
    }
}

/* The last peer finishes in the very millisecond in which the drain would cut it off, a little before or a little after that is
 * seen. TIMEOUT says that it was cut off; otherwise nobody was. */
static void drain_whose_last_connection_ends_at_the_deadline_is_not_late(void **state)
{
    (void)state;
    size_t in_time = 0;
    for (uint64_t seed = 0; seed < SEEDS / 10; seed++) {
        struct rig rig;
        serve_with_workers(&rig, seed);
        rig.config.drain_ms = 20;
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        call_once(peer, "hello");
        sim_at(20, finish_peer, peer);
        framed_server_drain(rig.server);
        assert_true(sim_run_until(rig_is_done, &rig, 1000));
        in_time += rig.run_status == FRAMED_OK;
        rig_stop(&rig);
    }
    assert_true(in_time > 0);
}

static void server_that_is_freed_with_connections_on_their_way_closes_them(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        serve_with_workers(&rig, seed);
        rig_serve(&rig);
        for (size_t i = 0; i < PEERS; i++) (void)connected();
        sim_fail(OP_WAIT, 1 + seed % 12, FRAMED_OS); /* some loop ends, and all with it */
        assert_true(sim_run_until(rig_is_done, &rig, 1000));
        assert_int_equal(rig.run_status, FRAMED_OS);
        struct framed_server_stats stats;
        framed_server_stats(rig.server, &stats, sizeof stats);
        assert_true(stats.accepted >= stats.closed);
        rig_stop(&rig); /* nothing leaks */
    }
}

/* Each worker has a call that is never answered: the drain ends late on all of them, or on all but the one that failed. */
static void loop_that_failed_is_told_although_a_drain_was_late(void **state)
{
    (void)state;
    size_t failed = 0, late = 0;
    for (uint64_t n = 0; n < 24; n++) {
        struct rig rig;
        serve_with_workers(&rig, 0);
        rig.config.drain_ms = 20;
        rig_serve(&rig);
        for (size_t i = 0; i < WORKERS; i++) sim_peer_send_frame_text(connected(), "D");
        sim_run_ms(5);
        assert_int_equal(rig.kept_count, WORKERS);
        framed_server_drain(rig.server);
        if (n > 0) sim_fail(OP_WAIT, n, FRAMED_OS);
        assert_true(sim_run_until(rig_is_done, &rig, 1000));
        bool reached = sim_failures_reached() > 0;
        assert_int_equal(rig.run_status, reached ? FRAMED_OS : FRAMED_TIMEOUT);
        failed += reached;
        late += !reached;
        sim_fail_never();
        rig_stop(&rig);
    }
    assert_true(failed > 3 && late > 3);
}

static void server_runs_once(void **state)
{
    (void)state;
    struct rig rig;
    serve_with_workers(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    call_once(peer, "hello");
    assert_int_equal(framed_server_listen(rig.server, "127.0.0.1:4465"), FRAMED_USAGE);
    sim_peer_finish(peer);
    assert_int_equal(rig_drain(&rig, 1000), FRAMED_OK);
    assert_int_equal(framed_server_run(rig.server), FRAMED_USAGE);
    assert_int_equal(framed_server_listen(rig.server, "127.0.0.1:4465"), FRAMED_USAGE);
    rig_stop(&rig);
}

static void thread_that_cannot_be_started_ends_the_run(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < WORKERS; n++) {
        struct rig rig;
        serve_with_workers(&rig, 0);
        sim_fail(OP_THREAD_START, n, FRAMED_LIMIT);
        rig_serve(&rig);
        assert_true(sim_run_until(rig_is_done, &rig, 1000));
        assert_int_equal(rig.run_status, FRAMED_LIMIT);
        rig_stop(&rig);
    }
}

static void newcomer_without_memory_is_turned_away_and_counted(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 12; n++) {
        struct rig rig;
        serve_with_workers(&rig, 0);
        rig_serve(&rig);
        sim_run_ms(1);
        meter_fail_at(sim_meter(), n, METER_ONCE);
        struct sim_peer *peers[PEERS];
        for (size_t i = 0; i < PEERS; i++) peers[i] = connected();
        sim_run_ms(1);
        meter_fail_at(sim_meter(), 0, METER_ONCE);
        for (size_t i = 0; i < PEERS; i++) sim_peer_close(peers[i]);
        sim_run_ms(1);
        struct framed_server_stats stats = rig_stats(&rig);
        assert_int_equal(stats.accepted, PEERS);
        assert_int_equal(stats.connections, 0);
        assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
        rig_stop(&rig);
    }
}

/* In one second of all loops together. */
static void lines_of_all_workers_are_bounded_together_and_counted(void **state)
{
    (void)state;
    struct rig rig;
    struct sim_peer *peers[PEERS];
    serve_with_workers(&rig, 0);
    rig.config.max_log_lines = 2;
    rig_serve(&rig);
    for (size_t i = 0; i < PEERS; i++) peers[i] = connected();
    for (size_t i = 0; i < PEERS; i++) sim_peer_send(peers[i], "GET /", 5);
    sim_run_ms(1);
    assert_int_equal(rig_stats(&rig).framing_errors, PEERS);
    assert_int_equal(rig.line_count, 2);
    assert_int_equal(rig_stats(&rig).log_suppressed, PEERS - 2);
    for (size_t i = 0; i < PEERS; i++) sim_peer_close(peers[i]);
    assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
    assert_int_equal(rig_logged(&rig, "5 log lines were left out"), 1);
    rig_stop(&rig);
}

static void newcomer_whose_handle_no_loop_takes_is_turned_away_and_counted(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= PEERS; n++) {
        struct rig rig;
        struct sim_peer *peers[PEERS];
        serve_with_workers(&rig, n);
        rig.config.max_conns = PEERS;
        rig.config.max_conns_per_address = PEERS;
        rig_serve(&rig);
        sim_run_ms(1);
        sim_fail(OP_ATTACH, n, FRAMED_LIMIT);
        for (size_t i = 0; i < PEERS; i++) peers[i] = connected();
        sim_run_ms(1);
        assert_int_equal(rig_stats(&rig).connections, PEERS - 1);
        assert_int_equal(rig_stats(&rig).accept_failures, 1);
        assert_serves(); /* there is room for one, also from this address */
        for (size_t i = 0; i < PEERS; i++) sim_peer_close(peers[i]);
        sim_run_ms(1);
        assert_int_equal(rig_stats(&rig).connections, 0);
        assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
        rig_stop(&rig);
    }
}

/* ---- spinning ---- */

struct spinner {
    struct loop loop;
    struct budget budget;
    struct timer tick;
};

static void no_more(struct timer *t)
{
    (void)t;
}

static void spinner_start(struct spinner *s, uint32_t spin_us)
{
    sim_start(0);
    memset(s, 0, sizeof *s);
    s->budget.limit = SIZE_MAX;
    s->tick.fired = no_more;
    assert_int_equal(framed_loop_init(&s->loop, FRAMED_WAIT_BEST, framed_os_allocator(), &s->budget), FRAMED_OK);
    s->loop.spin_us = spin_us;
}

static void spinner_stop(struct spinner *s)
{
    framed_wheel_clear(&s->loop.wheel, &s->tick);
    framed_loop_fini(&s->loop);
    framed_loop_fini_rest(&s->loop);
    sim_stop();
}

/* How often one turn looked. */
static uint64_t looks_of_turn(struct spinner *s, uint64_t wait_ms)
{
    uint64_t before = sim_ops(OP_WAIT);
    assert_int_equal(framed_loop_turn(&s->loop, wait_ms), FRAMED_OK);
    return sim_ops(OP_WAIT) - before;
}

static void wakes_soon(void *ctx)
{
    struct spinner *s = ctx;
    framed_os_yield();
    framed_os_yield();
    framed_os_wake(s->loop.poller);
}

static void loop_without_spinning_looks_once_a_turn(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 0);
    for (size_t i = 0; i < 20; i++) assert_int_equal(looks_of_turn(&s, 1), 1);
    spinner_stop(&s);
}

static void what_comes_while_it_spins_needs_no_sleep(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 50);
    sim_add_actor(wakes_soon, &s);
    uint64_t looks = looks_of_turn(&s, 1000);
    assert_true(looks > 1);
    assert_int_equal(sim_now_ms(), 0);
    assert_int_equal(s.loop.spin_vain, 0);
    assert_int_equal(s.loop.spin_skips, 0);
    sim_run_ms(1);
    spinner_stop(&s);
}

static void loop_spins_twice_as_rarely_each_time_it_was_in_vain(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 50);
    uint64_t skipped = 0, expected = 2;
    for (size_t spins = 0; spins < 12;) {
        if (looks_of_turn(&s, 1) == 1) {
            skipped++;
            continue;
        }
        if (spins > 0) {
            assert_int_equal(skipped, expected);
            if (expected < 1024) expected *= 2;
        }
        skipped = 0;
        spins++;
    }
    assert_int_equal(expected, 1024);
    spinner_stop(&s);
}

static void loop_that_was_paid_for_spinning_spins_in_the_next_turn(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 50);
    for (size_t i = 0; i < 6; i++) (void)looks_of_turn(&s, 1); /* vain, two turns skipped, vain, two of four skipped */
    while (s.loop.spin_skips > 0) (void)looks_of_turn(&s, 1);
    sim_add_actor(wakes_soon, &s);
    assert_true(looks_of_turn(&s, 1000) > 1);
    assert_int_equal(s.loop.spin_vain, 0);
    assert_true(looks_of_turn(&s, 1) > 1);
    spinner_stop(&s);
}

static void spinning_ends_with_the_wait(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 1000000);
    (void)looks_of_turn(&s, 3);
    assert_int_equal(sim_now_ms(), 3);
    spinner_stop(&s);
}

static void spinning_ends_with_the_wait_also_within_its_last_millisecond(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 3999);
    (void)looks_of_turn(&s, 3);
    assert_int_equal(sim_now_us(), 3000);
    spinner_stop(&s);
}

static void vain_spin_makes_no_wait_longer(void **state)
{
    (void)state;
    struct spinner s;
    spinner_start(&s, 40000); /* not the whole of it */
    assert_true(looks_of_turn(&s, 100) > 2);
    assert_int_equal(sim_now_ms(), 100);
    spinner_stop(&s);
}

static void client_and_server_that_spin_understand_each_other(void **state)
{
    (void)state;
    struct rig rig;
    struct framed_client *client;
    struct framed_client_config config;
    rig_start(&rig, 7);
    rig.config.spin_us = 50;
    rig.config.workers = WORKERS;
    rig_serve(&rig);
    framed_client_config_init(&config, sizeof config);
    config.spin_us = 50;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    for (size_t i = 0; i < 20; i++) assert_call_echoes(client, "hello");
    framed_client_free(client);
    assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
    rig_stop(&rig);
}

static void sockets_have_the_congestion_control_of_the_configuration(void **state)
{
    (void)state;
    struct rig rig;
    struct framed_client *client;
    struct framed_client_config config;
    rig_start(&rig, 0);
    rig.config.congestion = "cubix";
    assert_int_equal(framed_server_new(&rig.config, &rig.server), FRAMED_UNSUPPORTED);
    rig.config.congestion = "reno";
    rig_serve(&rig);
    assert_string_equal(sim_congestion(connected()), "reno");

    struct sim_acceptor *listener = sim_listen("127.0.0.1:4465");
    framed_client_config_init(&config, sizeof config);
    config.congestion = "cubix";
    assert_int_equal(framed_client_new(&config, &client), FRAMED_UNSUPPORTED);
    config.congestion = "reno";
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, "127.0.0.1:4465", 1000), FRAMED_OK);
    assert_string_equal(sim_congestion(sim_accept(listener)), "reno");
    framed_client_free(client);
    rig_stop(&rig);
}

static void too_long_a_spin_is_refused(void **state)
{
    (void)state;
    struct framed_server *server = NULL;
    struct framed_client *client = NULL;
    struct framed_server_config sc;
    struct framed_client_config cc;
    sim_start(0);
    framed_server_config_init(&sc, sizeof sc);
    framed_client_config_init(&cc, sizeof cc);
    sc.handler = rig_handle;
    sc.spin_us = cc.spin_us = 1000001;
    assert_int_equal(framed_server_new(&sc, &server), FRAMED_USAGE);
    assert_int_equal(framed_client_new(&cc, &client), FRAMED_USAGE);
    sim_stop();
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_connection_is_served_whichever_worker_has_it),
        cmocka_unit_test(drain_forgets_nobody_whoever_comes_first),
        cmocka_unit_test(drain_before_anybody_came_closes_nobody),
        cmocka_unit_test(drain_gives_all_its_time_to_who_was_on_the_way_to_a_worker_without_a_turn),
        cmocka_unit_test(drain_whose_last_connection_ends_at_the_deadline_is_not_late),
        cmocka_unit_test(server_that_is_freed_with_connections_on_their_way_closes_them),
        cmocka_unit_test(loop_that_failed_is_told_although_a_drain_was_late),
        cmocka_unit_test(server_runs_once),
        cmocka_unit_test(thread_that_cannot_be_started_ends_the_run),
        cmocka_unit_test(newcomer_without_memory_is_turned_away_and_counted),
        cmocka_unit_test(lines_of_all_workers_are_bounded_together_and_counted),
        cmocka_unit_test(newcomer_whose_handle_no_loop_takes_is_turned_away_and_counted),
        cmocka_unit_test(loop_without_spinning_looks_once_a_turn),
        cmocka_unit_test(what_comes_while_it_spins_needs_no_sleep),
        cmocka_unit_test(loop_spins_twice_as_rarely_each_time_it_was_in_vain),
        cmocka_unit_test(loop_that_was_paid_for_spinning_spins_in_the_next_turn),
        cmocka_unit_test(spinning_ends_with_the_wait),
        cmocka_unit_test(spinning_ends_with_the_wait_also_within_its_last_millisecond),
        cmocka_unit_test(vain_spin_makes_no_wait_longer),
        cmocka_unit_test(client_and_server_that_spin_understand_each_other),
        cmocka_unit_test(too_long_a_spin_is_refused),
        cmocka_unit_test(sockets_have_the_congestion_control_of_the_configuration),
    };
    return cmocka_run_group_tests_name("workers and spinning", tests, NULL, NULL);
}
