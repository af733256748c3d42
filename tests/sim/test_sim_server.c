/*
 * test_sim_server.c: owns the proof of how a plain server treats its peers: order, ends, failures, draining, lingering.
 * Must not know how the server is made.
 * Invariants: each test is one world; peers are raw: what they read is what the wire carried.
 */
#include "rig.h"

/* ---- strangers ---- */

struct stranger {
    const char *says;
    size_t len;
    const char *looks_like; /* a word of the log line */
};

#define SAYS(text, looks_like)                                                                                              \
    {                                                                                                                       \
        text, sizeof(text) - 1, looks_like                                                                                  \
    }

static const struct stranger strangers[] = {
    SAYS("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
    SAYS("POST /x HTTP/1.1\r\n\r\n", "HTTP"),
    SAYS("HTTP/1.1 200 OK\r\n\r\n", "HTTP"),
    SAYS("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
    SAYS("SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    SAYS("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "PROXY"),
    SAYS("\r\n\r\n\0\r\nQUIT\n", "PROXY"),
    SAYS("\x05\x00\x00\x00hello", "little-endian"),
    SAYS("\xf7\x46\x01\x01", "a mode that is not accepted here"),
    SAYS("\xff\xff\xff\xff", "4294967295"),
};

static void stranger_reads_the_end_within_a_second_and_is_named_in_the_log(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        struct rig rig;
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *innocent = connected(), *peer = connected();
        sim_peer_send_frame_text(innocent, "D");
        sim_peer_send(peer, strangers[i].says, strangers[i].len);
        sim_run_ms(1000);
        assert_int_equal(sim_peer_state(peer), SIM_ENDED);
        assert_in_range(sim_peer_ended_ms(peer), 0, 999);
        assert_int_equal(sim_peer_received(peer).len, 0);
        assert_false(sim_peer_let_go(peer)); /* it lingers: what the stranger still sends must not reset him */
        assert_int_equal(rig.line_count, 1);
        if (rig_logged(&rig, strangers[i].looks_like) != 1) {
            print_error("stranger %zu is not said to be %s: %s\n", i, strangers[i].looks_like, rig.lines[0]);
            fail();
        }
        assert_int_equal(rig_logged(&rig, sim_peer_address(peer)), 1);
        assert_in_range(let_go_within(peer, 2000), 2000, 2005);
        assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
        sim_run_ms(0);
        assert_frame_text(innocent, "D");
        assert_serves();
        rig_stop(&rig);
    }
}

static void stranger_cut_inside_the_first_word_is_only_known_when_it_is_whole(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, "GET", 3);
    sim_run_ms(100);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_peer_send(peer, " ", 1);
    sim_run_ms(0);
    assert_ended_at(peer, 100);
    rig_stop(&rig);
}

static void stranger_in_the_middle_of_a_good_connection_is_treated_the_same(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_peer_send_frame_text(peer, "ok");
    sim_peer_send(peer, "GET /", 5);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN); /* what came before is answered first */
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    assert_frame_text(peer, "ok");
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    rig_stop(&rig);
}

/* ---- ends ---- */

static void end_inside_a_frame_is_logged_as_truncated(void **state)
{
    const uint8_t frame[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l'};
    (void)state;
    for (size_t n = 1; n <= sizeof frame; n++) {
        struct rig rig;
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        sim_peer_send_frame_text(peer, "whole");
        sim_peer_send(peer, frame, n);
        sim_peer_finish(peer);
        sim_run_ms(0);
        assert_frame_text(peer, "whole");
        assert_no_frame(peer);
        assert_int_equal(sim_peer_state(peer), SIM_ENDED);
        assert_true(sim_peer_let_go(peer));
        assert_int_equal(rig.line_count, 1);
        assert_int_equal(rig_logged(&rig, framed_status_text(FRAMED_TRUNCATED)), 1);
        assert_int_equal(rig_stats(&rig).framing_errors, 1);
        rig_stop(&rig);
    }
}

static void end_between_frames_is_clean(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *silent = connected(), *peer = connected();
    sim_peer_finish(silent);
    sim_peer_send_frame(peer, "", 0);
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_frame(peer, "", 0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(sim_peer_state(silent), SIM_ENDED);
    assert_int_equal(rig_stats(&rig).framing_errors, 0);
    assert_int_equal(rig_logged(&rig, framed_status_text(FRAMED_TRUNCATED)), 0);
    assert_int_equal(rig.line_count, 2);
    assert_int_equal(rig_stats(&rig).connections, 0);
    rig_stop(&rig);
}

static void half_close_with_requests_outstanding_gets_its_replies_and_then_the_end(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send_frame_text(peer, "two");
    sim_peer_send_frame_text(peer, "D3");
    sim_peer_finish(peer);
    sim_run_ms(5000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 1), FRAMED_OK);
    sim_run_ms(5000);
    assert_no_frame(peer);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D1");
    assert_frame_text(peer, "two");
    assert_frame_text(peer, "D3");
    assert_ended_at(peer, 10000);
    assert_true(sim_peer_let_go(peer));
    rig_stop(&rig);
}

static void half_close_behind_more_requests_than_the_limit_gets_all_replies(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_calls = 3;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 20; i++) sim_peer_send_frame_text(peer, "D");
    sim_peer_finish(peer);
    while (rig.kept_count < 20) {
        size_t before = rig.kept_count;
        rig_answer_all(&rig);
        sim_run_ms(10);
        assert_true(rig.kept_count > before);
    }
    rig_answer_all(&rig);
    sim_run_ms(0);
    for (int i = 0; i < 20; i++) assert_frame_text(peer, "D");
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    rig_stop(&rig);
}

static void last_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends(void **state)
{
    struct rig rig;
    uint8_t *big = pattern(200000);
    static const uint8_t junk[3000];
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(4096);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    sim_peer_send_frame(peer, big, 200000); /* echoed */
    sim_peer_send_frame_text(peer, "F");    /* and then the server closes */
    for (int i = 0; i < 10; i++) {          /* while this goes on and on */
        sim_peer_send(peer, junk, sizeof junk);
        sim_run_ms(100);
        sim_peer_read_more(peer, 10000);
    }
    sim_peer_start_reading(peer);
    for (int i = 0; i < 10; i++) {
        sim_peer_send(peer, junk, sizeof junk);
        sim_run_ms(10);
    }
    assert_frame(peer, big, 200000);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED); /* and not SIM_RESET */
    assert_int_equal(rig.started, 2);
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_true(sim_peer_let_go(peer));
    free(big);
    rig_stop(&rig);
}

static void reset_by_the_peer_is_logged_and_harms_nobody(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "x");
    sim_run_ms(0);
    sim_peer_reset(peer);
    sim_run_ms(0);
    assert_true(sim_peer_let_go(peer));
    assert_int_equal(rig.line_count, 1);
    assert_int_equal(rig_logged(&rig, sim_peer_address(peer)), 1);
    assert_serves();
    rig_stop(&rig);
}

/* ---- order ---- */

static void replies_keep_the_order_of_requests_whatever_the_order_of_answers(void **state)
{
    static const int orders[][5] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}, {1, 0, 3, 2, 4}, {3, 4, 0, 2, 1}};
    static const char *const bodies[] = {"D0", "D1", "D2", "D3", "D4"};
    (void)state;
    for (size_t o = 0; o < 5; o++) {
        for (int together = 0; together < 2; together++) {
            struct rig rig;
            rig_start(&rig, 0);
            rig_serve(&rig);
            struct sim_peer *peer = connected();
            for (int i = 0; i < 5; i++) {
                sim_peer_send_frame_text(peer, bodies[i]);
                sim_peer_send_frame_text(peer, "between");
            }
            sim_run_ms(0);
            for (int i = 0; i < 5; i++) {
                assert_int_equal(rig_answer(&rig, (size_t)orders[o][i]), FRAMED_OK);
                if (!together) sim_run_ms(0);
            }
            sim_run_ms(0);
            for (int i = 0; i < 5; i++) {
                assert_frame_text(peer, bodies[i]);
                assert_frame_text(peer, "between");
            }
            assert_no_frame(peer);
            rig_stop(&rig);
        }
    }
}

static void answer_the_first_when_the_third_comes(struct rig *rig, struct framed_call *call)
{
    (void)call;
    if (rig->started == 3) assert_int_equal(rig_answer(rig, 0), FRAMED_OK);
}

static void answer_given_inside_another_handler_keeps_the_order(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.before = answer_the_first_when_the_third_comes;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_peer_send_frame_text(peer, "two");
    sim_peer_send_frame_text(peer, "three");
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    assert_frame_text(peer, "two");
    assert_frame_text(peer, "three");
    rig_stop(&rig);
}

static void replies_of_every_size_come_back_unchanged_through_tiny_buffers(void **state)
{
    const size_t sizes[] = {0, 1, 3, 4, 5, 63, 4092, 4095, 4096, 4097, 65531, 65532, 65536, 65537, 70000, 1 << 20};
    const size_t capacities[] = {1, 7, 1000, 65536};
    (void)state;
    for (size_t c = 0; c < 4; c++) {
        struct rig rig;
        rig_start(&rig, 0);
        sim_capacity(capacities[c]);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            if (sizes[i] / capacities[c] > 80000) continue;
            uint8_t *body = pattern(sizes[i]);
            for (int deferred = 0; deferred < 2; deferred++) {
                if (sizes[i] > 0) body[0] = deferred ? 'D' : 'e';
                sim_peer_send_frame(peer, body, sizes[i]);
                sim_run_ms(1);
                rig_answer_all(&rig);
                rig.kept_count = 0;
                sim_run_ms(1);
                assert_frame(peer, body, sizes[i]);
            }
            free(body);
        }
        rig_stop(&rig);
    }
}

/* ---- failures ---- */

static void failed_call_closes_after_earlier_replies_and_starts_nothing_further(void **state)
{
    const char kinds[] = {'F', 'X'};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct rig rig;
        const char what[] = {kinds[k], '\0'};
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        sim_peer_send_frame_text(peer, "one");
        sim_peer_send_frame_text(peer, "D");
        sim_peer_send_frame_text(peer, what);
        sim_peer_send_frame_text(peer, "never");
        sim_run_ms(5000);
        assert_int_equal(rig.started, 3);
        assert_int_equal(sim_peer_state(peer), SIM_OPEN);
        assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
        sim_run_ms(0);
        assert_frame_text(peer, "one");
        assert_frame_text(peer, "D");
        assert_no_frame(peer);
        assert_ended_at(peer, 5000);
        assert_int_equal(rig.started, 3);
        assert_int_equal(rig.line_count, 1);
        assert_int_equal(rig_logged(&rig, kinds[k] == 'F' ? "UNKNOWN" : "INTERNAL"), 1);
        assert_int_equal(rig_logged(&rig, kinds[k] == 'F' ? "as was asked" : "answer"), 1);
        assert_int_equal(rig_stats(&rig).failed_calls, 1);
        assert_serves();
        rig_stop(&rig);
    }
}

static void failed_deferred_call_has_its_turn_and_drops_what_is_later(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D0");
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send_frame_text(peer, "D2");
    sim_peer_send_frame_text(peer, "three");
    sim_run_ms(0);
    struct framed_call *fails = rig.kept[1];
    rig.kept[1] = NULL;
    assert_int_equal(framed_call_fail(fails, FRAMED_CODE_UNAVAILABLE, "no luck \x1b[31m"), FRAMED_OK);
    sim_run_ms(0);
    sim_peer_send_frame_text(peer, "never");
    sim_run_ms(1000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D0");
    assert_no_frame(peer);
    assert_ended_at(peer, 1000);
    assert_int_equal(rig.started, 4);
    assert_int_equal(rig_logged(&rig, "UNAVAILABLE"), 1);
    assert_int_equal(rig_logged(&rig, "\x1b"), 0);
    assert_int_equal(rig_answer(&rig, 2), FRAMED_CLOSED);
    rig_stop(&rig);
}

/* ---- deferred calls outlive what they came from ---- */

static void deferred_call_survives_a_reset_and_its_body_stays_readable(void **state)
{
    const size_t sizes[] = {1, 100, 5000, 300000};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct rig rig;
        uint8_t *body = pattern(sizes[i]);
        body[0] = 'D';
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        sim_peer_send_frame(peer, body, sizes[i]);
        sim_run_ms(0);
        assert_int_equal(rig.kept_count, 1);
        assert_int_equal(rig_stats(&rig).open_calls, 1);
        assert_true(framed_call_left_ms(rig.kept[0]) > 0);
        sim_peer_reset(peer);
        sim_run_ms(10000);
        assert_true(sim_peer_let_go(peer));
        assert_int_equal(framed_call_left_ms(rig.kept[0]), 0); /* whatever its deadline was: nobody waits for it */
        assert_serves();                                       /* whatever memory was freed is in use again */
        assert_bytes(rig.bodies[0], body, sizes[i]);
        assert_bytes(framed_call_body(rig.kept[0]), body, sizes[i]);
        assert_string_equal(framed_call_peer(rig.kept[0]), sim_peer_address(peer));
        assert_int_equal(rig_stats(&rig).open_calls, 1);
        assert_int_equal(rig_answer(&rig, 0), FRAMED_CLOSED);
        sim_run_ms(0);
        assert_int_equal(rig_stats(&rig).open_calls, 0);
        free(body);
        rig_stop(&rig);
    }
}

static void deferred_calls_are_answered_after_the_server_is_gone(void **state)
{
    (void)state;
    for (int settled = 0; settled < 2; settled++) {
        struct rig rig;
        uint8_t *body = pattern(100000);
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *peer = connected(), *gone = connected();
        sim_peer_send_frame_text(peer, "D0");
        sim_run_ms(0);
        sim_peer_send_frame_text(gone, "D1");
        sim_run_ms(0);
        body[0] = 'D';
        sim_peer_send_frame(peer, body, 100000);
        sim_run_ms(0);
        sim_peer_reset(gone);
        if (settled) sim_run_ms(0);
        assert_int_equal(rig.kept_count, 3);
        struct framed_call *early = rig.kept[1]; /* answered, and the server is freed before it takes the answer */
        rig.kept[1] = NULL;
        (void)framed_call_reply(early, framed_bytes_str("in the inbox"));
        rig_free_server(&rig);
        assert_bytes(rig.bodies[0], "D0", 2);
        assert_int_equal(rig_answer(&rig, 0), FRAMED_CLOSED);
        assert_bytes(framed_call_body(rig.kept[2]), body, 100000);
        assert_int_equal(framed_call_fail(rig.kept[2], FRAMED_CODE_ABORTED, "too late"), FRAMED_CLOSED);
        free(body);
        sim_stop();
    }
}

static void reply_with_a_part(void *ctx, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    (void)ctx;
    (void)framed_call_reply(call, framed_bytes_of(body.at + 3, body.len - 7));
}

static void reply_with_part_of_the_own_body_is_sent_from_where_it_lies(void **state)
{
    const size_t sizes[] = {10, 11, 5000, 65536, 200000};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct rig rig;
        uint8_t *body = pattern(sizes[i]);
        rig_start(&rig, 0);
        rig.config.handler = reply_with_a_part;
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        for (int k = 0; k < 3; k++) sim_peer_send_frame(peer, body, sizes[i]);
        sim_run_ms(0);
        for (int k = 0; k < 3; k++) assert_frame(peer, body + 3, sizes[i] - 7);
        free(body);
        rig_stop(&rig);
    }
}

/* Whole and in parts by turns: a run of echoes must not take a part for one more. */
static void reply_with_every_second_one_cut(void *ctx, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    unsigned *calls = ctx;
    (void)framed_call_reply(call, framed_bytes_of(body.at, body.len - (*calls)++ % 2));
}

static void reply_with_the_beginning_of_the_own_body_is_not_taken_for_all_of_it(void **state)
{
    struct rig rig;
    unsigned calls = 0;
    (void)state;
    rig_start(&rig, 0);
    rig.config.handler = reply_with_every_second_one_cut;
    rig.config.handler_ctx = &calls;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int k = 0; k < 4; k++) sim_peer_send_frame_text(peer, "12345678");
    sim_run_ms(0);
    for (int k = 0; k < 4; k++) assert_frame_text(peer, k % 2 == 0 ? "12345678" : "1234567");
    assert_no_frame(peer);
    rig_stop(&rig);
}

/* ---- draining ---- */

static void drain_answers_what_was_read_and_drops_the_partial_frame(void **state)
{
    struct rig rig;
    const uint8_t partial[] = {0, 0, 0, 9, 'c', 'u', 't'};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected(), *idle = connected();
    sim_peer_send_frame_text(peer, "D0");
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send(peer, partial, sizeof partial);
    sim_run_ms(1000);
    framed_server_drain(rig.server);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(idle), SIM_ENDED);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_null(sim_connect(WHERE));
    sim_peer_send(peer, "rest..", 6); /* too late */
    sim_peer_send_frame_text(peer, "never");
    sim_run_ms(1000);
    assert_int_equal(rig.started, 2);
    assert_int_equal(rig_answer(&rig, 1), FRAMED_OK);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D0");
    assert_frame_text(peer, "D1");
    assert_no_frame(peer);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    sim_peer_finish(peer);
    sim_peer_finish(idle);
    sim_run_ms(0);
    assert_true(sim_actor_done(rig.actor));
    assert_int_equal(rig.run_status, FRAMED_OK);
    assert_int_equal(rig.started, 2);
    rig_stop(&rig);
}

static void drain_answers_requests_that_wait_behind_the_limit(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_calls = 1;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_peer_send_frame_text(peer, "D"); /* read together with the first, but not started */
    sim_run_ms(0);
    framed_server_drain(rig.server);
    sim_run_ms(10);
    assert_int_equal(rig.kept_count, 1);
    rig_answer_all(&rig);
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 2);
    rig_answer_all(&rig);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    assert_frame_text(peer, "D");
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_drain(&rig, 2100), FRAMED_OK);
    rig_stop(&rig);
}

static void drain_may_be_asked_for_many_times_and_before_run(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    for (int i = 0; i < 3; i++) framed_server_drain(rig.server);
    sim_run_ms(0);
    assert_true(sim_actor_done(rig.actor));
    assert_int_equal(rig.run_status, FRAMED_OK);
    framed_server_drain(rig.server);
    rig_stop(&rig);

    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    for (int i = 0; i < 10; i++) {
        framed_server_drain(rig.server);
        sim_run_ms((uint64_t)i);
    }
    rig_answer_all(&rig);
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    assert_int_equal(rig.run_status, FRAMED_OK);
    rig_stop(&rig);
}

static void drain_inside_a_handler_sends_its_reply(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "Q");
    sim_run_ms(0);
    assert_frame_text(peer, "Q");
    assert_ended_at(peer, 0);
    assert_int_equal(rig_drain(&rig, 2100), FRAMED_OK);
    rig_stop(&rig);
}

static void drain_of_a_connection_with_unread_replies_flushes_them(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(100000);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1000);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    sim_peer_send_frame(peer, body, 100000);
    sim_run_ms(0);
    framed_server_drain(rig.server);
    sim_run_ms(5000);
    assert_false(sim_actor_done(rig.actor));
    sim_peer_start_reading(peer);
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_frame(peer, body, 100000);
    assert_true(sim_actor_done(rig.actor));
    assert_int_equal(rig.run_status, FRAMED_OK);
    free(body);
    rig_stop(&rig);
}

/* ---- no replies at all ---- */

static void server_without_replies_answers_nothing_and_reads_on(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.replies = FRAMED_REPLIES_NONE;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 500; i++) sim_peer_send_frame_text(peer, "message");
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_int_equal(rig.started, 500);
    assert_int_equal(sim_peer_received(peer).len, 0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_stats(&rig).failed_calls, 0);
    rig_stop(&rig);
}

static enum framed_status of_reply, of_defer;

static void try_to_answer(void *ctx, struct framed_call *call)
{
    struct rig *rig = ctx;
    struct framed_call *kept;
    struct framed_bytes body;
    of_defer = framed_call_defer(call, &kept, &body);
    of_reply = framed_call_reply(call, framed_bytes_str("x"));
    rig->started++;
}

static void server_without_replies_calls_answering_a_misuse(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.replies = FRAMED_REPLIES_NONE;
    rig.config.handler = try_to_answer;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "1");
    sim_run_ms(0);
    assert_int_equal(of_reply, FRAMED_USAGE);
    assert_int_equal(of_defer, FRAMED_USAGE);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    assert_int_equal(sim_peer_received(peer).len, 0);
    rig_stop(&rig);
}

/* ---- addresses ---- */

static void server_listens_on_several_addresses_and_says_where(void **state)
{
    struct rig rig;
    char text[64];
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_int_equal(framed_server_listen(rig.server, "[::1]:5000"), FRAMED_OK);
    assert_int_equal(framed_server_listen(rig.server, "unix:/run/x.sock"), FRAMED_OK);
    assert_int_equal(framed_server_listen(rig.server, "127.0.0.1:0"), FRAMED_OK);
    assert_int_equal(framed_server_listen(rig.server, WHERE), FRAMED_IN_USE);
    assert_int_equal(framed_server_address(rig.server, 0, text, sizeof text), FRAMED_OK);
    assert_string_equal(text, WHERE);
    assert_int_equal(framed_server_address(rig.server, 1, text, sizeof text), FRAMED_OK);
    assert_string_equal(text, "[::1]:5000");
    assert_int_equal(framed_server_address(rig.server, 3, text, sizeof text), FRAMED_OK);
    assert_string_not_equal(text, "127.0.0.1:0");
    struct sim_peer *peers[] = {sim_connect("[::1]:5000"), sim_connect("unix:/run/x.sock"), sim_connect(text)};
    for (int i = 0; i < 3; i++) {
        assert_non_null(peers[i]);
        sim_peer_send_frame_text(peers[i], "hello");
        sim_run_ms(0);
        assert_frame_text(peers[i], "hello");
    }
    assert_int_equal(framed_server_address(rig.server, 4, text, sizeof text), FRAMED_USAGE);
    rig_stop(&rig);
}

static void server_takes_over_a_listening_descriptor(void **state)
{
    struct rig rig;
    char text[32];
    (void)state;
    rig_start(&rig, 0);
    intptr_t fd = sim_fd_listening("127.0.0.1:7777");
    assert_int_equal(framed_server_new(&rig.config, &rig.server), FRAMED_OK);
    snprintf(text, sizeof text, "fd:%ld", (long)fd);
    assert_int_equal(framed_server_listen(rig.server, text), FRAMED_OK);
    rig.actor = sim_add_actor(rig_run, &rig);
    struct sim_peer *peer = sim_connect("127.0.0.1:7777");
    assert_non_null(peer);
    sim_peer_send_frame_text(peer, "hello");
    sim_run_ms(0);
    assert_frame_text(peer, "hello");
    rig_stop(&rig);
}

static void server_switches_keepalive_on(void **state)
{
    struct rig rig;
    uint32_t idle_ms, give_up_ms;
    (void)state;
    rig_start(&rig, 0);
    rig.config.keepalive_ms = 12345;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_run_ms(0);
    assert_true(sim_keepalive(peer, &idle_ms, &give_up_ms));
    assert_int_equal(idle_ms, 12345);
    assert_int_equal(give_up_ms, 30000);
    rig_stop(&rig);
}

/* ---- counters ---- */

static void stats_add_up(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *a = connected(), *b = connected();
    sim_peer_send_frame_text(a, "12345678");
    sim_peer_send_frame_text(b, "D");
    sim_run_ms(0);
    struct framed_server_stats s = rig_stats(&rig);
    assert_int_equal(s.accepted, 2);
    assert_int_equal(s.closed, 0);
    assert_int_equal(s.connections, 2);
    assert_int_equal(s.bytes_in, 12 + 5);
    assert_int_equal(s.bytes_out, 12);
    assert_int_equal(s.requests, 2);
    assert_int_equal(s.replies, 1);
    assert_int_equal(s.open_calls, 1);
    assert_true(s.memory > 0);
    rig_answer_all(&rig);
    sim_peer_finish(a);
    sim_peer_finish(b);
    sim_run_ms(0);
    s = rig_stats(&rig);
    assert_int_equal(s.closed, 2);
    assert_int_equal(s.connections, 0);
    assert_int_equal(s.bytes_out, 17);
    assert_int_equal(s.replies, 2);
    assert_int_equal(s.open_calls, 0);
    assert_int_equal(s.failed_calls + s.framing_errors + s.deadlines + s.accept_failures + s.refused, 0);
    rig_stop(&rig);
}

static void peers_bytes_are_escaped_in_the_log(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    sim_peer_send(connected(), "\x1b[2J\x1b[31m", 9);
    sim_run_ms(0);
    assert_int_equal(rig.line_count, 1);
    for (const char *at = rig.lines[0]; *at; at++) assert_in_range((unsigned char)*at, 0x20, 0x7e);
    rig_stop(&rig);
}

/* ---- no allocation per request after warm-up ---- */

static uint64_t allocations_of(struct rig *rig, struct sim_peer *peer, const uint8_t *body, size_t n, size_t cut, int times)
{
    uint8_t *frame = malloc(n + 4);
    assert_non_null(frame);
    const uint8_t word[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(frame, word, 4);
    memcpy(frame + 4, body, n);
    uint64_t before = meter_read(sim_meter()).calls;
    for (int i = 0; i < times; i++) {
        sim_peer_send(peer, frame, cut);
        sim_run_ms(0);
        sim_peer_send(peer, frame + cut, n + 4 - cut);
        sim_run_ms(0);
        rig_answer_all(rig);
        rig->kept_count = 0;
        sim_run_ms(0);
        assert_frame(peer, body, n);
    }
    free(frame);
    return meter_read(sim_meter()).calls - before;
}

static void requests_allocate_nothing_after_warm_up(void **state)
{
    const struct {
        size_t n, cut;
        char what;
        int times;
    } kinds[] = {{64, 0, 'e', 1000},      {0, 0, 'e', 1000},       {64, 10, 'e', 1000},    {64, 2, 'e', 1000},
                 {64, 0, 'D', 1000},      {1 << 20, 0, 'e', 1000}, {1 << 20, 0, 'D', 200}, {100000, 70000, 'e', 1000},
                 {5000, 4000, 'D', 1000}, {20000, 3, 'e', 1000}};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct rig rig;
        uint8_t *body = pattern(kinds[i].n);
        if (kinds[i].n) body[0] = (uint8_t)kinds[i].what;
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        (void)allocations_of(&rig, peer, body, kinds[i].n, kinds[i].cut, 20);
        uint64_t calls = allocations_of(&rig, peer, body, kinds[i].n, kinds[i].cut, kinds[i].times);
        if (calls != 0) {
            print_error("%zu bytes, cut at %zu, '%c': %llu allocations in %d requests\n", kinds[i].n, kinds[i].cut,
                        kinds[i].what, (unsigned long long)calls, kinds[i].times);
            fail();
        }
        free(body);
        rig_stop(&rig);
    }
}

static void requests_allocate_nothing_after_warm_up_when_pipelined_or_slowly_read(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(300);
    uint64_t calls = 0;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(2000);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int round = 0; round < 60; round++) {
        if (round == 10) calls = meter_read(sim_meter()).calls;
        sim_peer_stop_reading(peer);
        for (int i = 0; i < 100; i++) {
            body[0] = i % 10 == 3 ? 'D' : 'e';
            sim_peer_send_frame(peer, body, 300);
        }
        for (int i = 0; i < 100; i++) {
            sim_peer_read_more(peer, 500);
            sim_run_ms(1);
            rig_answer_all(&rig);
            rig.kept_count = 0;
        }
        sim_peer_start_reading(peer);
        sim_run_ms(1);
        rig_answer_all(&rig);
        rig.kept_count = 0;
        sim_run_ms(1);
        for (int i = 0; i < 100; i++) {
            body[0] = i % 10 == 3 ? 'D' : 'e';
            assert_frame(peer, body, 300);
        }
    }
    assert_int_equal(meter_read(sim_meter()).calls - calls, 0);
    free(body);
    rig_stop(&rig);
}

static void connections_allocate_nothing_after_warm_up(void **state)
{
    struct rig rig;
    uint64_t calls = 0;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    for (int i = 0; i < 300; i++) {
        if (i == 100) calls = meter_read(sim_meter()).calls;
        assert_serves();
    }
    assert_int_equal(meter_read(sim_meter()).calls - calls, 0);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stranger_reads_the_end_within_a_second_and_is_named_in_the_log),
        cmocka_unit_test(stranger_cut_inside_the_first_word_is_only_known_when_it_is_whole),
        cmocka_unit_test(stranger_in_the_middle_of_a_good_connection_is_treated_the_same),
        cmocka_unit_test(end_inside_a_frame_is_logged_as_truncated),
        cmocka_unit_test(end_between_frames_is_clean),
        cmocka_unit_test(half_close_with_requests_outstanding_gets_its_replies_and_then_the_end),
        cmocka_unit_test(half_close_behind_more_requests_than_the_limit_gets_all_replies),
        cmocka_unit_test(last_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends),
        cmocka_unit_test(reset_by_the_peer_is_logged_and_harms_nobody),
        cmocka_unit_test(replies_keep_the_order_of_requests_whatever_the_order_of_answers),
        cmocka_unit_test(answer_given_inside_another_handler_keeps_the_order),
        cmocka_unit_test(replies_of_every_size_come_back_unchanged_through_tiny_buffers),
        cmocka_unit_test(failed_call_closes_after_earlier_replies_and_starts_nothing_further),
        cmocka_unit_test(failed_deferred_call_has_its_turn_and_drops_what_is_later),
        cmocka_unit_test(deferred_call_survives_a_reset_and_its_body_stays_readable),
        cmocka_unit_test(deferred_calls_are_answered_after_the_server_is_gone),
        cmocka_unit_test(reply_with_part_of_the_own_body_is_sent_from_where_it_lies),
        cmocka_unit_test(reply_with_the_beginning_of_the_own_body_is_not_taken_for_all_of_it),
        cmocka_unit_test(drain_answers_what_was_read_and_drops_the_partial_frame),
        cmocka_unit_test(drain_answers_requests_that_wait_behind_the_limit),
        cmocka_unit_test(drain_may_be_asked_for_many_times_and_before_run),
        cmocka_unit_test(drain_inside_a_handler_sends_its_reply),
        cmocka_unit_test(drain_of_a_connection_with_unread_replies_flushes_them),
        cmocka_unit_test(server_without_replies_answers_nothing_and_reads_on),
        cmocka_unit_test(server_without_replies_calls_answering_a_misuse),
        cmocka_unit_test(server_listens_on_several_addresses_and_says_where),
        cmocka_unit_test(server_takes_over_a_listening_descriptor),
        cmocka_unit_test(server_switches_keepalive_on),
        cmocka_unit_test(stats_add_up),
        cmocka_unit_test(peers_bytes_are_escaped_in_the_log),
        cmocka_unit_test(requests_allocate_nothing_after_warm_up),
        cmocka_unit_test(requests_allocate_nothing_after_warm_up_when_pipelined_or_slowly_read),
        cmocka_unit_test(connections_allocate_nothing_after_warm_up),
    };
    return cmocka_run_group_tests_name("sim_server", tests, NULL, NULL);
}
