/*
 * test_sim_deadlines.c: owns the proof that every deadline of a plain connection fires when it should, and only then.
 * Must not know how the server keeps its timers.
 * Invariants: all times are simulated; each test is one world; peers sit still unless a test lets them do something.
 */
#include "rig.h"

static const uint8_t word_4096[4] = {0, 0, 0x10, 0};

static void wait_until(uint64_t ms)
{
    sim_run_ms(ms - sim_now_ms());
}

/* ---- frame: 10 s + length at 4 KiB a second, while we are willing to read ---- */

static void frame_deadline_ends_a_frame_that_stays_cut(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(1000);
    sim_peer_send(peer, word_4096, 4);
    sim_run_ms(20000);
    assert_ended_at(peer, 1000 + 10000 + 1000);
    assert_int_equal(rig_stats(&rig).deadlines, 1);
    assert_int_equal(rig.started, 0);
    assert_int_equal(rig.line_count, 1);
    rig_stop(&rig);
}

static void frame_deadline_ends_a_cut_length_word(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, word_4096, 1);
    sim_run_ms(20000);
    assert_ended_at(peer, 10000);
    rig_stop(&rig);
}

struct trickle {
    struct sim_peer *peer;
    size_t left, step;
    uint64_t every_ms;
};

static void trickle(void *ctx)
{
    static const uint8_t zeros[65536];
    struct trickle *t = ctx;
    size_t n = t->step < t->left ? t->step : t->left;
    if (sim_peer_state(t->peer) != SIM_OPEN) return;
    sim_peer_send(t->peer, zeros, n);
    t->left -= n;
    if (t->left > 0) sim_at(t->every_ms, trickle, t);
}

static void frame_deadline_is_not_put_off_by_single_bytes(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct trickle t = {.peer = connected(), .left = 4096, .step = 1, .every_ms = 500};
    sim_peer_send(t.peer, word_4096, 4);
    trickle(&t);
    sim_run_ms(20000);
    assert_ended_at(t.peer, 11000);
    rig_stop(&rig);
}

static void frame_deadline_lets_a_slow_frame_above_the_rate_through(void **state)
{
    struct rig rig;
    const uint8_t word[4] = {0, 0x10, 0, 0};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct trickle t = {.peer = connected(), .left = 1 << 20, .step = 5000, .every_ms = 1000};
    sim_peer_send(t.peer, word, 4);
    trickle(&t);
    sim_run_ms(215000); /* 1 MiB at 5000 bytes a second: 210 s; allowed are 266 s */
    assert_int_equal(rig.started, 1);
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(t.peer, &got));
    assert_int_equal(got.len, 1 << 20);
    assert_int_equal(sim_peer_state(t.peer), SIM_OPEN);
    rig_stop(&rig);
}

static void frame_deadline_is_cleared_by_the_whole_frame(void **state)
{
    struct rig rig;
    const uint8_t frame[] = {0, 0, 0, 2, 'o', 'k'};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 5; i++) { /* each takes 9 s: together far more than one may */
        sim_peer_send(peer, frame, 5);
        sim_run_ms(9000);
        sim_peer_send(peer, frame + 5, 1);
        sim_run_ms(0);
        assert_frame_text(peer, "ok");
    }
    sim_run_ms(100000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void frame_deadline_starts_anew_for_a_frame_that_begins_with_the_end_of_another(void **state)
{
    struct rig rig;
    const uint8_t frame[] = {0, 0, 0, 2, 'o', 'k'};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, frame, 5);
    sim_run_ms(9000);
    sim_peer_send(peer, "k\0\0", 3); /* the last byte, and half of the next word */
    sim_run_ms(30000);
    assert_frame_text(peer, "ok");
    assert_ended_at(peer, 19000);
    rig_stop(&rig);
}

static void frame_deadline_stands_still_while_we_do_not_read(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_calls = 1;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    sim_peer_send(peer, word_4096, 4); /* arrives while the one place is taken */
    sim_run_ms(60000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(30000);
    assert_frame_text(peer, "D");
    assert_ended_at(peer, 60000 + 11000);
    rig_stop(&rig);
}

static void frame_deadline_stands_still_while_a_cut_frame_waits_behind_a_call(void **state)
{
    struct rig rig;
    const uint8_t both[] = {0, 0, 0, 1, 'D', 0, 0, 0, 2, 'o'};
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_calls = 1;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, both, sizeof both); /* the cut one comes in the same receive */
    sim_run_ms(60000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(5000);
    sim_peer_send(peer, "k", 1);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    assert_frame_text(peer, "ok");
    rig_stop(&rig);
}

static void frame_deadline_stands_still_while_replies_are_not_taken(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(3000);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(100);
    rig.config.max_unsent = 1000;
    rig.config.send_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    body[0] = 'D';
    sim_peer_send_frame(peer, body, 3000);
    sim_peer_send(peer, word_4096, 4);
    sim_run_ms(1000);
    assert_int_equal(sim_peer_unsent(peer), 0);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK); /* now more waits than may: nothing is read, half a frame or not */
    sim_run_ms(60000);
    assert_false(sim_peer_let_go(peer));
    sim_peer_start_reading(peer);
    sim_run_ms(30000);
    assert_frame(peer, body, 3000);
    assert_ended_at(peer, 61000 + 11000);
    free(body);
    rig_stop(&rig);
}

static void frame_deadline_follows_the_config(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.frame_ms = 1000;
    rig.config.frame_rate = 1024;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, word_4096, 4);
    sim_run_ms(20000);
    assert_ended_at(peer, 5000);
    rig_stop(&rig);
}

static void frame_deadline_never_fires_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.frame_ms = FRAMED_NEVER;
    rig.config.idle_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, word_4096, 4);
    sim_run_ms(100 * 3600 * 1000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

/* ---- idle: 300 s with no bytes and no open call ---- */

static void idle_deadline_ends_a_connection_that_says_nothing(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(400000);
    assert_ended_at(peer, 300000);
    assert_int_equal(rig_stats(&rig).deadlines, 1);
    assert_int_equal(rig.line_count, 1);
    rig_stop(&rig);
}

static void idle_deadline_starts_anew_with_every_request(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 4; i++) {
        sim_run_ms(200000);
        sim_peer_send_frame_text(peer, "e");
        sim_run_ms(0);
        assert_frame_text(peer, "e");
    }
    sim_run_ms(400000);
    assert_ended_at(peer, 800000 + 300000);
    rig_stop(&rig);
}

static void idle_deadline_waits_for_an_open_call(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(1000000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(400000);
    assert_frame_text(peer, "D");
    assert_ended_at(peer, 1300000);
    rig_stop(&rig);
}

static void idle_deadline_follows_the_config(void **state)
{
    const uint32_t ms[] = {1, 50, 7000, 86400000};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct rig rig;
        rig_start(&rig, 0);
        rig.config.idle_ms = ms[i];
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        sim_run_ms(ms[i] * 2 + 10);
        assert_ended_at(peer, ms[i]);
        rig_stop(&rig);
    }
}

static void idle_deadline_never_fires_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.idle_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(UINT64_C(60) * 24 * 3600 * 1000); /* more than 2^32 ms */
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_peer_send_frame_text(peer, "e");
    sim_run_ms(0);
    assert_frame_text(peer, "e");
    rig_stop(&rig);
}

static void idle_deadline_of_a_client_is_never(void **state)
{
    struct framed_client *client = NULL;
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    client = client_with(NULL);
    struct sim_peer *peer = sim_accept(acceptor);
    assert_int_equal(framed_client_next(client, 0, &event) == FRAMED_OK && event.kind != FRAMED_EVENT_WRITABLE, 0);
    assert_int_equal(framed_client_next(client, 40u * 24 * 3600 * 1000, &event), FRAMED_MORE);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_peer_close(peer);
    framed_client_free(client);
    sim_stop();
}

static void idle_deadline_of_a_client_follows_the_config(void **state)
{
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    struct framed_client_config config = client_config();
    config.idle_ms = 5000;
    struct framed_client *client = client_with(&config);
    struct sim_peer *peer = sim_accept(acceptor);
    struct framed_event event = next_event(client, 60000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    sim_run_ms(0);
    assert_ended_at(peer, 5000);
    framed_client_free(client);
    sim_stop();
}

/* ---- call: 300 s from the request's end to the answer ---- */

static void call_deadline_ends_the_connection_of_a_call_nobody_answers(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(1000);
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(400000);
    assert_ended_at(peer, 301000);
    assert_no_frame(peer);
    assert_int_equal(rig_stats(&rig).failed_calls, 1);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_CLOSED);
    rig_stop(&rig);
}

static void call_deadline_says_how_much_is_left(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = 5000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    assert_int_equal(framed_call_left_ms(rig.kept[0]), 5000);
    sim_run_ms(3000);
    sim_peer_send_frame_text(peer, "D"); /* a turn, so that the loop knows what time it is */
    sim_run_ms(0);
    assert_int_equal(framed_call_left_ms(rig.kept[0]), 2000);
    assert_int_equal(framed_call_left_ms(rig.kept[1]), 5000);
    rig_stop(&rig);
}

static void call_deadline_sends_earlier_replies_and_drops_later_ones(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = 10000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "first");
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send_frame_text(peer, "D2");
    sim_peer_send_frame_text(peer, "later");
    sim_run_ms(5000);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK); /* D1 in time, D2 never */
    sim_run_ms(4000);
    sim_peer_send_frame_text(peer, "after");
    sim_run_ms(20000);
    assert_frame_text(peer, "first");
    assert_frame_text(peer, "D1");
    assert_no_frame(peer);
    assert_ended_at(peer, 10000);
    assert_int_equal(rig_answer(&rig, 1), FRAMED_CLOSED);
    rig_stop(&rig);
}

static void call_deadline_is_cleared_by_the_answer(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = 10000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(9999);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(100000);
    assert_frame_text(peer, "D");
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_stats(&rig).failed_calls, 0);
    rig_stop(&rig);
}

static void call_deadline_of_an_answered_call_behind_a_slow_one_is_cleared(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = 10000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send_frame_text(peer, "D2");
    sim_run_ms(1000);
    assert_int_equal(rig_answer(&rig, 1), FRAMED_OK);
    sim_run_ms(8000);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(100000);
    assert_frame_text(peer, "D1");
    assert_frame_text(peer, "D2");
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void call_deadline_never_fires_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.call_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(UINT64_C(60) * 24 * 3600 * 1000);
    assert_int_equal(framed_call_left_ms(rig.kept[0]), FRAMED_NEVER);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    rig_stop(&rig);
}

/* ---- send: 30 s for each 64 KiB, or for all that waits ---- */

/* A server with a megabyte of replies for a peer that reads nothing. */
static struct sim_peer *peer_that_is_owed_a_megabyte(struct rig *rig)
{
    uint8_t *body = pattern(1 << 20);
    rig_serve(rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame(peer, body, 1 << 20);
    sim_peer_stop_reading(peer);
    free(body);
    return peer;
}

/* TCP has its own: a keepalive without answer, or bytes never acknowledged. */
static void peer_that_the_system_has_given_up_is_told_as_such_and_not_as_a_deadline_of_ours(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = sim_connect(WHERE);
    sim_run_ms(1);
    sim_fail(OP_RECEIVED, 1, FRAMED_TIMEOUT);
    sim_peer_send_frame_text(peer, "e");
    sim_run_ms(1);
    assert_int_equal(sim_failures_reached(), 1);
    assert_int_equal(rig_stats(&rig).deadlines, 0);
    assert_int_equal(rig.line_count, 1);
    assert_int_equal(rig_logged(&rig, "the peer's system does not answer any more"), 1);
    rig_stop(&rig);
}

static void send_deadline_ends_a_peer_that_reads_nothing(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    struct sim_peer *peer = peer_that_is_owed_a_megabyte(&rig);
    assert_in_range(let_go_within(peer, 60000), 30000, 30005);
    assert_int_equal(rig_stats(&rig).deadlines, 1);
    assert_int_equal(rig.line_count, 1);
    assert_int_equal(rig_logged(&rig, "does not take"), 1);
    rig_stop(&rig);
}

struct sipper {
    struct sim_peer *peer;
    size_t bytes;
    uint64_t every_ms;
};

static void sip(void *ctx)
{
    struct sipper *s = ctx;
    sim_peer_read_more(s->peer, s->bytes);
    if (!sim_peer_let_go(s->peer)) sim_at(s->every_ms, sip, s);
}

static void send_deadline_spares_a_peer_that_takes_64_kib_each_29_s(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    struct sipper s = {.peer = peer_that_is_owed_a_megabyte(&rig), .bytes = 64 << 10, .every_ms = 29000};
    sim_at(29000, sip, &s);
    sim_run_ms(17 * 29000);
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(s.peer, &got));
    assert_int_equal(got.len, 1 << 20);
    assert_int_equal(rig_stats(&rig).deadlines, 0);
    rig_stop(&rig);
}

static void send_deadline_ends_a_peer_that_takes_less_than_64_kib_in_30_s(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    struct sipper s = {.peer = peer_that_is_owed_a_megabyte(&rig), .bytes = 10 << 10, .every_ms = 10000};
    sim_at(10000, sip, &s);
    assert_in_range(let_go_within(s.peer, 60000), 30000, 30005);
    rig_stop(&rig);
}

static void send_deadline_spares_a_peer_that_takes_all_that_waits(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    rig_serve(&rig);
    uint8_t *body = pattern(8000);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 5; i++) { /* 8 KB each 29 s is no 64 KiB, but it is all there is */
        sim_peer_stop_reading(peer);
        sim_peer_send_frame(peer, body, 8000);
        sim_run_ms(29000);
        sim_peer_start_reading(peer);
        sim_run_ms(0);
        assert_frame(peer, body, 8000);
    }
    sim_run_ms(100000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    free(body);
    rig_stop(&rig);
}

static void send_deadline_follows_the_config(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    rig.config.send_ms = 700;
    struct sim_peer *peer = peer_that_is_owed_a_megabyte(&rig);
    assert_in_range(let_go_within(peer, 60000), 700, 705);
    rig_stop(&rig);
}

static void send_deadline_never_fires_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    rig.config.send_ms = FRAMED_NEVER;
    rig.config.idle_ms = FRAMED_NEVER;
    struct sim_peer *peer = peer_that_is_owed_a_megabyte(&rig);
    sim_run_ms(3600 * 1000);
    sim_peer_start_reading(peer);
    sim_run_ms(0);
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(peer, &got));
    rig_stop(&rig);
}

static void send_deadline_of_a_client_ends_the_call_as_maybe_executed(void **state)
{
    uint8_t *body = pattern(1 << 20);
    struct framed_event event;
    (void)state;
    sim_start(0);
    sim_capacity(4096);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    struct framed_client *client = client_with(NULL);
    struct sim_peer *peer = sim_accept(acceptor);
    sim_peer_stop_reading(peer);
    assert_int_equal(framed_client_call(client, framed_bytes_of(body, 1 << 20), FRAMED_NEVER, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_in_range(sim_now_ms(), 30000, 30005);
    framed_client_free(client);
    free(body);
    sim_stop();
}

/* ---- drain: 30 s ---- */

static void drain_deadline_ends_a_call_nobody_answers(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(1000);
    assert_int_equal(rig_drain(&rig, 60000), FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms(), 31000, 31005);
    assert_true(sim_peer_let_go(peer));
    assert_int_equal(rig_answer(&rig, 0), FRAMED_CLOSED);
    rig_stop(&rig);
}

static void drain_deadline_follows_the_config(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.drain_ms = 100;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    assert_int_equal(rig_drain(&rig, 60000), FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms(), 100, 105);
    rig_stop(&rig);
}

static void drain_deadline_never_fires_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.drain_ms = FRAMED_NEVER;
    rig.config.call_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    framed_server_drain(rig.server);
    sim_run_ms(3600 * 1000);
    assert_false(sim_actor_done(rig.actor));
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    assert_int_equal(rig_drain(&rig, 2100), FRAMED_OK);
    assert_frame_text(peer, "D");
    rig_stop(&rig);
}

static void drain_ends_at_once_when_nothing_is_open(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    sim_run_ms(0);
    assert_int_equal(rig_drain(&rig, 0), FRAMED_OK);
    rig_stop(&rig);
}

/* ---- linger: 2 s after our half-close for the peer to finish ---- */

static void linger_ends_after_two_seconds(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "F");
    sim_run_ms(0);
    assert_ended_at(peer, 0);
    assert_false(sim_peer_let_go(peer));
    assert_in_range(let_go_within(peer, 10000), 2000, 2005);
    rig_stop(&rig);
}

static void linger_ends_when_the_peer_finishes(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "F");
    sim_run_ms(500);
    assert_false(sim_peer_let_go(peer));
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_true(sim_peer_let_go(peer));
    rig_stop(&rig);
}

static void linger_follows_the_idle_deadline(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(300000);
    assert_ended_at(peer, 300000);
    assert_false(sim_peer_let_go(peer));
    assert_in_range(let_go_within(peer, 10000), 302000, 302005);
    rig_stop(&rig);
}

/* A peer that is slow with its request, and slower with reading its last reply: it gets all of it. */
static void linger_follows_the_frame_deadline(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1000);
    rig_serve(&rig);
    uint8_t *body = pattern(5000);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    sim_peer_send_frame(peer, body, 5000);
    sim_run_ms(0);
    sim_peer_send(peer, word_4096, 4);
    sim_run_ms(11500);
    sim_peer_start_reading(peer);
    sim_run_ms(0);
    assert_frame(peer, body, 5000);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    free(body);
    rig_stop(&rig);
}

static void linger_is_not_put_off_by_a_peer_that_goes_on_sending(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    static const uint8_t junk[100];
    struct sim_peer *peer = connected();
    sim_peer_send(peer, "GET / HTTP/1.1\r\n", 16);
    sim_run_ms(0);
    assert_ended_at(peer, 0);
    while (!sim_peer_let_go(peer) && sim_now_ms() < 10000) {
        sim_peer_send(peer, junk, sizeof junk);
        sim_run_ms(10);
    }
    assert_in_range(sim_now_ms(), 2000, 2020);
    rig_stop(&rig);
}

static void linger_follows_the_config(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.linger_ms = 150;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "F");
    assert_in_range(let_go_within(peer, 10000), 150, 155);
    rig_stop(&rig);
}

static void linger_never_ends_when_it_is_never(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.linger_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "F");
    sim_run_ms(24 * 3600 * 1000);
    assert_ended_at(peer, 0);
    assert_false(sim_peer_let_go(peer));
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_true(sim_peer_let_go(peer));
    rig_stop(&rig);
}

static void linger_of_a_client_that_is_freed_ends_after_two_seconds(void **state)
{
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    struct framed_client *client = client_with(NULL);
    struct sim_peer *peer = sim_accept(acceptor);
    sim_run_ms(0);
    framed_client_free(client);
    assert_in_range(sim_now_ms(), 2000, 2005);
    assert_ended_at(peer, 0);
    assert_true(sim_peer_let_go(peer));
    sim_stop();
}

/* ---- the client's frame deadline ---- */

static void frame_deadline_of_a_client_ends_a_reply_that_stays_cut(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    struct framed_client *client = client_with(NULL);
    struct sim_peer *peer = sim_accept(acceptor);
    sim_peer_send(peer, word_4096, 4);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 60000, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_in_range(sim_now_ms(), 11000, 11005);
    /* not only this call: the connection is over */
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 60000, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    framed_client_free(client);
    sim_stop();
}

/* ---- no timer makes the loop turn for nothing ---- */

static void waiting_costs_few_turns(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    for (int i = 0; i < 20; i++) {
        sim_peer_send(connected(), word_4096, 4);
        (void)connected();
    }
    wait_until(1000);
    uint64_t before = sim_actor_steps(rig.actor);
    wait_until(290000);
    assert_in_range(sim_actor_steps(rig.actor) - before, 1, 400);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_deadline_ends_a_frame_that_stays_cut),
        cmocka_unit_test(frame_deadline_ends_a_cut_length_word),
        cmocka_unit_test(frame_deadline_is_not_put_off_by_single_bytes),
        cmocka_unit_test(frame_deadline_lets_a_slow_frame_above_the_rate_through),
        cmocka_unit_test(frame_deadline_is_cleared_by_the_whole_frame),
        cmocka_unit_test(frame_deadline_starts_anew_for_a_frame_that_begins_with_the_end_of_another),
        cmocka_unit_test(frame_deadline_stands_still_while_we_do_not_read),
        cmocka_unit_test(frame_deadline_stands_still_while_a_cut_frame_waits_behind_a_call),
        cmocka_unit_test(frame_deadline_stands_still_while_replies_are_not_taken),
        cmocka_unit_test(frame_deadline_follows_the_config),
        cmocka_unit_test(frame_deadline_never_fires_when_it_is_never),
        cmocka_unit_test(idle_deadline_ends_a_connection_that_says_nothing),
        cmocka_unit_test(idle_deadline_starts_anew_with_every_request),
        cmocka_unit_test(idle_deadline_waits_for_an_open_call),
        cmocka_unit_test(idle_deadline_follows_the_config),
        cmocka_unit_test(idle_deadline_never_fires_when_it_is_never),
        cmocka_unit_test(idle_deadline_of_a_client_is_never),
        cmocka_unit_test(idle_deadline_of_a_client_follows_the_config),
        cmocka_unit_test(call_deadline_ends_the_connection_of_a_call_nobody_answers),
        cmocka_unit_test(call_deadline_says_how_much_is_left),
        cmocka_unit_test(call_deadline_sends_earlier_replies_and_drops_later_ones),
        cmocka_unit_test(call_deadline_is_cleared_by_the_answer),
        cmocka_unit_test(call_deadline_of_an_answered_call_behind_a_slow_one_is_cleared),
        cmocka_unit_test(call_deadline_never_fires_when_it_is_never),
        cmocka_unit_test(peer_that_the_system_has_given_up_is_told_as_such_and_not_as_a_deadline_of_ours),
        cmocka_unit_test(send_deadline_ends_a_peer_that_reads_nothing),
        cmocka_unit_test(send_deadline_spares_a_peer_that_takes_64_kib_each_29_s),
        cmocka_unit_test(send_deadline_ends_a_peer_that_takes_less_than_64_kib_in_30_s),
        cmocka_unit_test(send_deadline_spares_a_peer_that_takes_all_that_waits),
        cmocka_unit_test(send_deadline_follows_the_config),
        cmocka_unit_test(send_deadline_never_fires_when_it_is_never),
        cmocka_unit_test(send_deadline_of_a_client_ends_the_call_as_maybe_executed),
        cmocka_unit_test(drain_deadline_ends_a_call_nobody_answers),
        cmocka_unit_test(drain_deadline_follows_the_config),
        cmocka_unit_test(drain_deadline_never_fires_when_it_is_never),
        cmocka_unit_test(drain_ends_at_once_when_nothing_is_open),
        cmocka_unit_test(linger_ends_after_two_seconds),
        cmocka_unit_test(linger_ends_when_the_peer_finishes),
        cmocka_unit_test(linger_follows_the_idle_deadline),
        cmocka_unit_test(linger_follows_the_frame_deadline),
        cmocka_unit_test(linger_is_not_put_off_by_a_peer_that_goes_on_sending),
        cmocka_unit_test(linger_follows_the_config),
        cmocka_unit_test(linger_never_ends_when_it_is_never),
        cmocka_unit_test(linger_of_a_client_that_is_freed_ends_after_two_seconds),
        cmocka_unit_test(frame_deadline_of_a_client_ends_a_reply_that_stays_cut),
        cmocka_unit_test(waiting_costs_few_turns),
    };
    return cmocka_run_group_tests_name("sim_deadlines", tests, NULL, NULL);
}
