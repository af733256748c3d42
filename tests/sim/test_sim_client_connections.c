/*
 * test_sim_client_connections.c: owns the proof of how a client comes to its connection and to the next, of clients without
 * correlation, and of those in somebody else's loop.
 * Must not know how the client is made.
 * Invariants: each test is one world; where the other end is raw, the test decides what it does and when.
 */
#include "pair.h"

/* ---- without correlation ---- */

static void frames_go_both_ways_without_correlation(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_bytes frame;
    (void)state;
    config.replies = FRAMED_REPLIES_NONE;
    sim_start(0);
    struct pair p = pair_start(&config);
    assert_int_equal(framed_client_recv(p.client, 100, &frame), FRAMED_MORE);
    sim_peer_send_frame_text(p.peer, "pushed");
    sim_peer_send_frame_text(p.peer, "");
    assert_int_equal(framed_client_recv(p.client, 100, &frame), FRAMED_OK);
    assert_bytes(frame, "pushed", 6);
    assert_int_equal(framed_client_recv(p.client, 100, &frame), FRAMED_OK);
    assert_bytes(frame, "", 0);
    for (int i = 0; i < 3; i++) assert_int_equal(framed_client_send(p.client, framed_bytes_str("out"), 100), FRAMED_OK);
    sim_run_ms(0);
    for (int i = 0; i < 3; i++) assert_frame_text(p.peer, "out");
    sim_peer_finish(p.peer);
    assert_int_equal(framed_client_recv(p.client, 100, &frame), FRAMED_CLOSED);
    assert_int_equal(framed_client_recv(p.client, 100, &frame), FRAMED_CLOSED);
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("x"), 100), FRAMED_CLOSED);
    pair_stop(&p);
}

static void send_says_full_when_a_frame_must_be_taken_first(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_bytes frame;
    enum framed_status st;
    int n = 0;
    (void)state;
    config.replies = FRAMED_REPLIES_NONE;
    config.max_unsent = 500;
    sim_start(0);
    sim_capacity(100);
    struct pair p = pair_start(&config);
    sim_peer_stop_reading(p.peer);
    while ((st = framed_client_send(p.client, framed_bytes_str("0123456789"), 50)) == FRAMED_OK) assert_true(++n < 100);
    assert_int_equal(st, FRAMED_FULL); /* no room, and nothing to take */
    sim_peer_send_frame_text(p.peer, "take me");
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("0123456789"), 1000), FRAMED_FULL);
    assert_int_equal(framed_client_recv(p.client, 0, &frame), FRAMED_OK);
    assert_bytes(frame, "take me", 7);
    sim_peer_start_reading(p.peer);
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("0123456789"), 1000), FRAMED_OK);
    assert_int_equal(framed_client_recv(p.client, 10, &frame), FRAMED_MORE);
    for (int i = 0; i < n + 1; i++) assert_frame_text(p.peer, "0123456789");
    assert_no_frame(p.peer);
    pair_stop(&p);
}

static void send_that_was_full_is_told_when_there_is_room(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    int n = 0;
    (void)state;
    config.replies = FRAMED_REPLIES_NONE;
    config.max_unsent = 500;
    sim_start(0);
    sim_capacity(100);
    struct pair p = pair_start(&config);
    sim_peer_stop_reading(p.peer);
    while (framed_client_send(p.client, framed_bytes_str("0123456789"), 0) == FRAMED_OK) assert_true(++n < 100);
    assert_int_equal(framed_client_next(p.client, 10, &event), FRAMED_MORE);
    sim_peer_start_reading(p.peer);
    assert_int_equal(framed_client_next(p.client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("0123456789"), 0), FRAMED_OK);
    assert_int_equal(framed_client_next(p.client, 10, &event), FRAMED_MORE); /* told once */
    pair_stop(&p);
}

static void connection_that_ends_before_anybody_looked_is_told_first_as_connected_then_as_ended(void **state)
{
    struct framed_event event;
    struct framed_client *client;
    (void)state;
    sim_start(0);
    struct sim_acceptor *listener = sim_listen(WHERE);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_step(client), FRAMED_OK);
    struct sim_peer *peer = sim_accept(listener);
    assert_non_null(peer);
    sim_peer_close(peer);
    assert_int_equal(framed_client_step(client), FRAMED_OK);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_CLOSED);
    framed_client_free(client);
    sim_acceptor_close(listener);
    sim_stop();
}

/* A call waits for the connection, but does not take away what connecting without waiting has promised to tell. */
static void connection_that_ends_under_a_call_that_waited_for_it_is_told_as_connected_too(void **state)
{
    static const struct sim_script ends = {.cut = SIM_CUT_END};
    struct rig rig;
    struct framed_event event;
    struct framed_client *client;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    sim_run_ms(0);
    sim_script(SIM_ACCEPTOR, &ends);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_CLOSED);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    framed_client_free(client);
    rig_stop(&rig);
}

static void connection_that_a_send_waited_for_is_told_as_connected_too(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    struct framed_client *client;
    (void)state;
    config.replies = FRAMED_REPLIES_NONE;
    sim_start(0);
    struct sim_acceptor *listener = sim_listen(WHERE);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_send(client, framed_bytes_str("x"), 1000), FRAMED_OK);
    struct sim_peer *peer = sim_accept(listener);
    assert_non_null(peer);
    sim_peer_finish(peer);
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    framed_client_free(client);
    sim_acceptor_close(listener);
    sim_stop();
}

/* The last connection came to be and ended, and nobody asked; this one did not come to be. */
static void connecting_that_fails_is_not_told_as_connected(void **state)
{
    static const struct sim_script ends = {.cut = SIM_CUT_END};
    struct rig rig;
    struct framed_event event;
    struct framed_client *client;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    sim_run_ms(0);
    sim_script(SIM_ACCEPTOR, &ends);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    for (int i = 0; i < 3; i++) {
        sim_run_ms(0);
        assert_int_equal(framed_client_step(client), FRAMED_OK);
    }
    assert_int_equal(framed_client_connect(client, "nowhere.example:1", 0), FRAMED_NOT_FOUND);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_NOT_FOUND);
    framed_client_free(client);
    rig_stop(&rig);
}

static void connecting_succeeds_although_the_connection_has_ended_since(void **state)
{
    static const struct sim_script ends = {.cut = SIM_CUT_END};
    struct rig rig;
    struct framed_event event;
    struct framed_client *client;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    sim_run_ms(0);
    sim_script(SIM_ACCEPTOR, &ends);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_CLOSED);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    framed_client_free(client);
    rig_stop(&rig);
}

static void call_begun_while_replies_are_ready_leaves_before_they_are_all_taken(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    for (int i = 0; i < 5; i++) (void)started(p.client, "x", 10000);
    assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_MORE);
    for (int i = 0; i < 4; i++) sim_peer_send_frame_text(p.peer, "y");
    assert_int_equal(framed_client_next(p.client, 10, &event), FRAMED_OK);
    uint64_t before = sim_ops(OP_OFFER);
    (void)started(p.client, "z", 10000);
    assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_OK);
    assert_int_equal(sim_ops(OP_OFFER), before); /* others may still join it */
    sim_run_ms(5);
    assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_OK);
    assert_int_equal(sim_ops(OP_OFFER) - before, 1);
    pair_stop(&p);
}

static void call_after_one_that_timed_out_leaves_at_once(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("lost"), 100, &event), FRAMED_TIMEOUT);
    uint64_t before = sim_ops(OP_OFFER);
    (void)started(p.client, "next", 1000);
    assert_int_equal(sim_ops(OP_OFFER) - before, 1);
    pair_stop(&p);
}

static void finish_without_correlation_half_closes_at_once_and_goes_on_receiving(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_bytes frame;
    (void)state;
    config.replies = FRAMED_REPLIES_NONE;
    sim_start(0);
    struct pair p = pair_start(&config);
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("last"), 100), FRAMED_OK);
    assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
    assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_MORE);
    assert_frame_text(p.peer, "last");
    assert_int_equal(sim_peer_state(p.peer), SIM_ENDED);
    for (int i = 0; i < 5; i++) {
        sim_peer_send_frame_text(p.peer, "still");
        assert_int_equal(framed_client_recv(p.client, 10000, &frame), FRAMED_OK);
        assert_bytes(frame, "still", 5);
        sim_run_ms(5000);
    }
    sim_peer_finish(p.peer);
    assert_int_equal(framed_client_recv(p.client, 10000, &frame), FRAMED_CLOSED);
    pair_stop(&p);
}

static void the_wrong_kind_of_sending_is_a_misuse(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    struct framed_bytes frame;
    uint64_t id;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_send(p.client, framed_bytes_str("x"), 10), FRAMED_USAGE);
    assert_int_equal(framed_client_recv(p.client, 10, &frame), FRAMED_USAGE);
    assert_int_equal(framed_client_connect(p.client, WHERE, 10), FRAMED_USAGE);
    pair_stop(&p);
    config.replies = FRAMED_REPLIES_NONE;
    sim_start(0);
    p = pair_start(&config);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("x"), 10, &event), FRAMED_USAGE);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("x"), 10, &id), FRAMED_USAGE);
    pair_stop(&p);
}

/* ---- in somebody else's loop ---- */

static void client_in_somebody_elses_loop_answers_what_it_wants(void **state)
{
    struct rig rig;
    struct framed_client *client;
    struct framed_want want;
    struct framed_event event;
    uint8_t *body = pattern(30000);
    int sent = 0, replies = 0, turns = 0;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1000);
    rig_serve(&rig);
    sim_run_ms(0);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    while (replies < 20) {
        uint64_t id;
        while (sent < 20 && framed_client_start(client, framed_bytes_of(body, 30000), 60000, &id) == FRAMED_OK) sent++;
        assert_int_equal(framed_client_want(client, &want), FRAMED_OK);
        sim_wait_want(&want);
        assert_int_equal(framed_client_step(client), FRAMED_OK);
        enum framed_status st;
        while ((st = framed_client_next(client, 0, &event)) == FRAMED_OK) {
            if (event.kind == FRAMED_EVENT_WRITABLE) continue;
            assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
            assert_int_equal(event.outcome, FRAMED_REPLY);
            assert_bytes(event.payload, body, 30000);
            replies++;
        }
        assert_int_equal(st, FRAMED_MORE);
        assert_true(++turns < 100000);
    }
    assert_int_equal(sim_now_ms(), 0);
    framed_client_free(client);
    free(body);
    rig_stop(&rig);
}

static void client_in_somebody_elses_loop_is_told_of_timeouts(void **state)
{
    struct framed_want want;
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_want(p.client, &want), FRAMED_OK);
    assert_int_equal(want.events & FRAMED_WANT_READ, FRAMED_WANT_READ);
    assert_int_not_equal(want.socket, -1);
    (void)started(p.client, "x", 5000);
    int turns = 0;
    for (;;) {
        assert_int_equal(framed_client_want(p.client, &want), FRAMED_OK);
        assert_int_not_equal(want.timeout_ms, FRAMED_NEVER);
        sim_wait_want(&want);
        assert_int_equal(framed_client_step(p.client), FRAMED_OK);
        if (framed_client_next(p.client, 0, &event) == FRAMED_OK && event.kind == FRAMED_EVENT_REPLY) break;
        assert_true(++turns < 100);
    }
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms(), 5000, 5005);
    pair_stop(&p);
}

static void wake(void *ctx)
{
    framed_client_wake(ctx);
}

static void wake_ends_a_wait_without_an_event(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    sim_at(700, wake, p.client);
    assert_int_equal(framed_client_next(p.client, 5000, &event), FRAMED_MORE);
    assert_int_equal(sim_now_ms(), 700);
    framed_client_wake(p.client); /* before the wait */
    assert_int_equal(framed_client_next(p.client, 5000, &event), FRAMED_MORE);
    assert_int_equal(sim_now_ms(), 700);
    assert_int_equal(framed_client_next(p.client, 5000, &event), FRAMED_MORE);
    assert_int_equal(sim_now_ms(), 5700);
    pair_stop(&p);
}

/* ---- connecting ---- */

static void connect_gives_up_after_its_time(void **state)
{
    struct framed_client *client;
    (void)state;
    sim_start(0);
    sim_blackhole(WHERE);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1500), FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms(), 1500, 1505);
    assert_non_null(strstr(framed_client_error(client), WHERE));
    framed_client_free(client);
    sim_stop();
}

static void connect_tries_each_address_in_turn(void **state)
{
    const char *hosts[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3"};
    struct framed_client *client;
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_name("three.test", hosts, 3);
    assert_int_equal(framed_server_new(&rig.config, &rig.server), FRAMED_OK);
    assert_int_equal(framed_server_listen(rig.server, "10.0.0.3:9"), FRAMED_OK);
    rig.actor = sim_add_actor(rig_run, &rig);
    sim_run_ms(0);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, "three.test:9", 1000), FRAMED_OK);
    assert_call_echoes(client, "found");
    framed_client_free(client);
    rig_stop(&rig);
}

static void connect_says_what_is_wrong(void **state)
{
    struct framed_client *client;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, "nowhere.test:80", 1000), FRAMED_NOT_FOUND);
    assert_non_null(strstr(framed_client_error(client), "nowhere.test"));
    assert_int_equal(framed_client_connect(client, "no port", 1000), FRAMED_USAGE);
    assert_int_equal(framed_client_connect(client, "", 1000), FRAMED_USAGE);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_REFUSED);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    sim_acceptor_close(acceptor);
    framed_client_free(client);
    sim_stop();
}

static void connection_to_itself_is_refused(void **state)
{
    struct framed_client *client;
    (void)state;
    sim_start(0);
    sim_connect_to_self();
    (void)sim_listen(WHERE);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_REFUSED);
    framed_client_free(client);
    sim_stop();
}

static void client_takes_over_a_connected_descriptor(void **state)
{
    struct framed_client *client;
    struct sim_peer *peer;
    char text[32];
    (void)state;
    sim_start(0);
    snprintf(text, sizeof text, "fd:%ld", (long)sim_fd_connected(&peer));
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, text, 1000), FRAMED_OK);
    uint64_t id = started(client, "x", 1000);
    sim_run_ms(0);
    assert_frame_text(peer, "x");
    sim_peer_send_frame_text(peer, "y");
    assert_reply_event(client, id, "y");
    framed_client_free(client);
    sim_stop();
}

static void client_switches_keepalive_on(void **state)
{
    struct framed_client_config config = client_config();
    uint32_t idle_ms, give_up_ms;
    (void)state;
    config.keepalive_ms = 4321;
    sim_start(0);
    struct pair p = pair_start(&config);
    assert_true(sim_keepalive(p.peer, &idle_ms, &give_up_ms));
    assert_int_equal(idle_ms, 4321);
    assert_int_equal(give_up_ms, 30000);
    pair_stop(&p);
}

/* ---- reconnecting ---- */

static void reconnect_works_after_the_end_and_starts_with_a_clean_slate(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t lost = started(p.client, "lost", 60000);
    assert_int_equal(framed_client_reconnect(p.client, 1000), FRAMED_USAGE); /* it is not over */
    sim_run_ms(0);
    sim_peer_send(p.peer, "\0\0\0\x09half", 8); /* of this nothing may be left */
    sim_peer_finish(p.peer);
    assert_failed_event(p.client, lost, FRAMED_MAYBE_EXECUTED, FRAMED_TRUNCATED);
    assert_ends(p.client, FRAMED_TRUNCATED);
    assert_int_equal(framed_client_reconnect(p.client, 10000), FRAMED_OK);
    assert_string_equal(framed_client_error(p.client), "");
    p.peer = sim_accept(p.acceptor);
    assert_non_null(p.peer);
    uint64_t id = started(p.client, "new", 60000);
    assert_true(id > lost);
    sim_run_ms(0);
    assert_frame_text(p.peer, "new"); /* the lost one is not sent again */
    sim_peer_send_frame_text(p.peer, "reply");
    assert_reply_event(p.client, id, "reply");
    assert_int_equal(framed_client_next(p.client, 10, &event), FRAMED_MORE);
    pair_stop(&p);
}

static void reconnect_forgets_the_late_replies_of_the_last_connection(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("x"), 10, &event), FRAMED_TIMEOUT);
    sim_peer_reset(p.peer);
    assert_ends(p.client, FRAMED_RESET);
    assert_int_equal(framed_client_reconnect(p.client, 10000), FRAMED_OK);
    p.peer = sim_accept(p.acceptor);
    uint64_t id = started(p.client, "y", 1000);
    sim_run_ms(0);
    sim_peer_send_frame_text(p.peer, "for y");
    assert_reply_event(p.client, id, "for y");
    pair_stop(&p);
}

static void reconnect_waits_longer_each_time_with_full_jitter(void **state)
{
    struct framed_client_config config = client_config();
    uint64_t most[12] = {0}, least_wait[12];
    (void)state;
    config.backoff_ms = 100;
    config.backoff_max_ms = 3000;
    for (int k = 0; k < 12; k++) least_wait[k] = UINT64_MAX;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        sim_start(seed);
        struct pair p = pair_start(&config);
        sim_acceptor_close(p.acceptor);
        sim_peer_reset(p.peer);
        assert_ends(p.client, FRAMED_RESET);
        uint64_t bound = 100;
        for (int k = 0; k < 12; k++) {
            uint64_t before = sim_now_ms();
            assert_int_equal(framed_client_reconnect(p.client, 60000), FRAMED_REFUSED);
            uint64_t waited = sim_now_ms() - before;
            assert_in_range(waited, 0, bound);
            if (waited > most[k]) most[k] = waited;
            if (waited < least_wait[k]) least_wait[k] = waited;
            bound = bound * 2 > 3000 ? 3000 : bound * 2;
        }
        framed_client_free(p.client);
        sim_stop();
    }
    uint64_t bound = 100;
    for (int k = 0; k < 12; k++) { /* the whole range is used */
        assert_true(most[k] > bound * 3 / 4);
        assert_true(least_wait[k] < bound / 4);
        bound = bound * 2 > 3000 ? 3000 : bound * 2;
    }
}

/* A server that takes connections and ends them is no better than one that is not there. */
static void reconnect_waits_longer_each_time_also_when_connections_open_and_end_without_a_reply(void **state)
{
    (void)state;
    uint64_t most = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        sim_start(seed);
        struct pair p = pair_start(NULL);
        for (int k = 0; k < 8; k++) {
            sim_peer_reset(p.peer);
            assert_ends(p.client, FRAMED_RESET);
            uint64_t before = sim_now_ms();
            assert_int_equal(framed_client_reconnect(p.client, 60000), FRAMED_OK);
            if (sim_now_ms() - before > most) most = sim_now_ms() - before;
            p.peer = sim_accept(p.acceptor);
        }
        pair_stop(&p);
    }
    assert_in_range(most, 5000, 10000); /* of the default bounds, 100 ms to 10 s */
}

static void reconnect_starts_over_after_a_reply(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rig rig;
        rig_start(&rig, seed);
        rig_serve(&rig);
        struct framed_client *client = client_with(NULL);
        for (int k = 0; k < 10; k++) {
            assert_call_echoes(client, "x");
            uint64_t before = sim_now_ms();
            struct framed_event event;
            assert_int_equal(framed_client_call(client, framed_bytes_str("F"), 1000, &event), FRAMED_CLOSED);
            assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
            assert_int_equal(framed_client_reconnect(client, 60000), FRAMED_OK);
            assert_in_range(sim_now_ms() - before, 0, 100);
        }
        framed_client_free(client);
        rig_stop(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connection_that_ends_before_anybody_looked_is_told_first_as_connected_then_as_ended),
        cmocka_unit_test(connection_that_ends_under_a_call_that_waited_for_it_is_told_as_connected_too),
        cmocka_unit_test(connection_that_a_send_waited_for_is_told_as_connected_too),
        cmocka_unit_test(connecting_that_fails_is_not_told_as_connected),
        cmocka_unit_test(connecting_succeeds_although_the_connection_has_ended_since),
        cmocka_unit_test(call_begun_while_replies_are_ready_leaves_before_they_are_all_taken),
        cmocka_unit_test(call_after_one_that_timed_out_leaves_at_once),
        cmocka_unit_test(send_that_was_full_is_told_when_there_is_room),
        cmocka_unit_test(frames_go_both_ways_without_correlation),
        cmocka_unit_test(send_says_full_when_a_frame_must_be_taken_first),
        cmocka_unit_test(finish_without_correlation_half_closes_at_once_and_goes_on_receiving),
        cmocka_unit_test(the_wrong_kind_of_sending_is_a_misuse),
        cmocka_unit_test(client_in_somebody_elses_loop_answers_what_it_wants),
        cmocka_unit_test(client_in_somebody_elses_loop_is_told_of_timeouts),
        cmocka_unit_test(wake_ends_a_wait_without_an_event),
        cmocka_unit_test(connect_gives_up_after_its_time),
        cmocka_unit_test(connect_tries_each_address_in_turn),
        cmocka_unit_test(connect_says_what_is_wrong),
        cmocka_unit_test(connection_to_itself_is_refused),
        cmocka_unit_test(client_takes_over_a_connected_descriptor),
        cmocka_unit_test(client_switches_keepalive_on),
        cmocka_unit_test(reconnect_works_after_the_end_and_starts_with_a_clean_slate),
        cmocka_unit_test(reconnect_forgets_the_late_replies_of_the_last_connection),
        cmocka_unit_test(reconnect_waits_longer_each_time_with_full_jitter),
        cmocka_unit_test(reconnect_waits_longer_each_time_also_when_connections_open_and_end_without_a_reply),
        cmocka_unit_test(reconnect_starts_over_after_a_reply),
    };
    return cmocka_run_group_tests_name("sim_client_connections", tests, NULL, NULL);
}
