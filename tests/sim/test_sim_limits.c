/*
 * test_sim_limits.c: owns the proof that every limit of a plain server is reached, holds, and lets go again.
 * Must not know how the server counts.
 * Invariants: each test is one world; who is innocent notices nothing.
 */
#include "rig.h"

static void send_pieces(struct sim_peer *peer, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++) sim_peer_send_frame_text(peer, text);
}

/* ---- frames ---- */

static void max_frame_refuses_a_longer_claim_and_names_both_sizes(void **state)
{
    struct rig rig;
    const uint8_t word[4] = {0, 0, 0x30, 0x39};
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_frame = 777;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, word, 4);
    sim_run_ms(0);
    assert_ended_at(peer, 0);
    assert_int_equal(rig.line_count, 1);
    assert_int_equal(rig_logged(&rig, "12345"), 1);
    assert_int_equal(rig_logged(&rig, "777"), 1);
    assert_int_equal(rig_logged(&rig, sim_peer_address(peer)), 1);
    assert_int_equal(rig_stats(&rig).framing_errors, 1);
    assert_int_equal(rig.started, 0);
    rig_stop(&rig);
}

static void max_frame_lets_the_longest_frame_through(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(778);
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_frame = 777;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame(peer, body, 777);
    sim_run_ms(0);
    assert_frame(peer, body, 777);
    sim_peer_send_frame(peer, body, 778);
    sim_run_ms(0);
    assert_ended_at(peer, 0);
    assert_no_frame(peer);
    free(body);
    rig_stop(&rig);
}

static void max_frame_is_16_mib_unless_told_otherwise(void **state)
{
    struct rig rig;
    const uint8_t most[4] = {1, 0, 0, 0}, more[4] = {1, 0, 0, 1};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *allowed = connected(), *refused = connected();
    sim_peer_send(allowed, most, 4);
    sim_peer_send(refused, more, 4);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(allowed), SIM_OPEN);
    assert_int_equal(sim_peer_state(refused), SIM_ENDED);
    assert_int_equal(rig_logged(&rig, "16777217"), 1);
    assert_int_equal(rig_logged(&rig, "16777216"), 1);
    rig_stop(&rig);
}

static void max_frame_still_answers_what_came_before_the_refused_word(void **state)
{
    struct rig rig;
    const uint8_t both[] = {0, 0, 0, 2, 'o', 'k', 0xff, 0xff, 0xff, 0xff};
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, both, sizeof both);
    sim_run_ms(0);
    assert_frame_text(peer, "ok");
    assert_ended_at(peer, 0);
    rig_stop(&rig);
}

static void max_send_refuses_a_longer_reply_and_fails_the_call(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_send = 20;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "BB"); /* is answered with exactly 20 */
    sim_run_ms(0);
    assert_int_equal(rig.last_reply, FRAMED_OK);
    assert_frame_text(peer, "BBBBBBBBBBBBBBBBBBBB");
    sim_peer_send_frame_text(peer, "BBB");
    sim_run_ms(0);
    assert_int_equal(rig.last_reply, FRAMED_TOO_LARGE);
    assert_no_frame(peer);
    assert_ended_at(peer, 0);
    assert_int_equal(rig_stats(&rig).failed_calls, 1);
    assert_serves();
    rig_stop(&rig);
}

static void max_send_holds_for_a_deferred_reply(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_send = 20;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "first");
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    struct framed_call *call = rig.kept[0];
    rig.kept[0] = NULL;
    assert_int_equal(framed_call_reply(call, framed_bytes_str("more than twenty bytes")), FRAMED_TOO_LARGE);
    sim_run_ms(0);
    assert_frame_text(peer, "first");
    assert_no_frame(peer);
    assert_ended_at(peer, 0);
    rig_stop(&rig);
}

/* ---- connections ---- */

static void max_conns_pauses_accepting_and_goes_on_when_one_is_gone(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_conns = 2;
    rig_serve(&rig);
    struct sim_peer *a = connected(), *b = connected(), *c = connected();
    sim_peer_send_frame_text(a, "a");
    sim_peer_send_frame_text(b, "b");
    sim_peer_send_frame_text(c, "c");
    sim_run_ms(1000);
    assert_frame_text(a, "a");
    assert_frame_text(b, "b");
    assert_no_frame(c);
    assert_int_equal(rig_stats(&rig).connections, 2);
    assert_int_equal(sim_peer_state(c), SIM_OPEN); /* it waits, and is not turned away */
    sim_peer_finish(a);
    sim_run_ms(0);
    assert_frame_text(c, "c");
    assert_int_equal(rig_stats(&rig).connections, 2);
    assert_int_equal(rig_stats(&rig).refused, 0);
    rig_stop(&rig);
}

static void max_conns_does_not_make_the_loop_spin(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_conns = 1;
    rig_serve(&rig);
    for (int i = 0; i < 10; i++) (void)connected();
    sim_run_ms(100);
    uint64_t before = sim_actor_steps(rig.actor);
    sim_run_ms(100000);
    assert_in_range(sim_actor_steps(rig.actor) - before, 0, 200);
    rig_stop(&rig);
}

static void max_conns_per_address_closes_the_newcomer(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_conns_per_address = 2;
    rig_serve(&rig);
    struct sim_peer *mine[3];
    for (int i = 0; i < 3; i++) mine[i] = sim_connect_from(WHERE, "10.0.0.7");
    struct sim_peer *other = sim_connect_from(WHERE, "10.0.0.8");
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(mine[2]), SIM_ENDED);
    assert_int_equal(rig_stats(&rig).refused, 1);
    assert_int_equal(rig_logged(&rig, sim_peer_address(mine[2])), 1);
    sim_peer_send_frame_text(mine[0], "0");
    sim_peer_send_frame_text(mine[1], "1");
    sim_peer_send_frame_text(other, "other");
    sim_run_ms(0);
    assert_frame_text(mine[0], "0");
    assert_frame_text(mine[1], "1");
    assert_frame_text(other, "other");
    sim_peer_finish(mine[0]);
    sim_run_ms(0);
    struct sim_peer *again = sim_connect_from(WHERE, "10.0.0.7");
    sim_peer_send_frame_text(again, "again");
    sim_run_ms(0);
    assert_frame_text(again, "again");
    rig_stop(&rig);
}

static void max_conns_per_address_counts_hundreds_of_addresses_apart(void **state)
{
    struct rig rig;
    char host[32];
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_conns_per_address = 1;
    rig_serve(&rig);
    for (int round = 0; round < 2; round++) {
        struct sim_peer *peers[300];
        for (int i = 0; i < 300; i++) {
            snprintf(host, sizeof host, "10.1.%d.%d", i / 100, i % 100);
            peers[i] = sim_connect_from(WHERE, host);
            sim_peer_send_frame_text(peers[i], host);
        }
        sim_run_ms(0);
        for (int i = 0; i < 300; i++) {
            snprintf(host, sizeof host, "10.1.%d.%d", i / 100, i % 100);
            assert_frame_text(peers[i], host);
            sim_peer_finish(peers[i]);
        }
        sim_run_ms(0);
    }
    assert_int_equal(rig_stats(&rig).refused, 0);
    assert_int_equal(rig_stats(&rig).connections, 0);
    rig_stop(&rig);
}

static void running_out_of_descriptors_pauses_accepting_and_goes_on(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_max_handles(3); /* the listener, and two */
    rig_serve(&rig);
    struct sim_peer *a = connected(), *b = connected(), *c = connected();
    sim_run_ms(0);
    uint64_t before = sim_actor_steps(rig.actor);
    sim_run_ms(10000);
    assert_in_range(sim_actor_steps(rig.actor) - before, 1, 1000); /* it tries again, but not all the time */
    assert_in_range(rig_stats(&rig).accept_failures, 1, 200);
    assert_in_range(rig.line_count, 1, 20); /* and does not fill the log with it */
    sim_peer_send_frame_text(a, "a");
    sim_peer_send_frame_text(c, "c");
    sim_run_ms(0);
    assert_frame_text(a, "a");
    assert_no_frame(c);
    sim_peer_finish(b);
    sim_run_ms(2000);
    assert_frame_text(c, "c");
    rig_stop(&rig);
}

/* ---- calls ---- */

static void max_calls_pauses_reading_and_goes_on(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(5); /* one request on the way */
    rig.config.max_calls = 2;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    send_pieces(peer, "D", 5);
    sim_run_ms(1000);
    assert_int_equal(rig.kept_count, 2);
    assert_int_equal(sim_peer_unsent(peer), 10);      /* two are with the handler, one on the way */
    assert_int_equal(rig_answer(&rig, 1), FRAMED_OK); /* not its turn: its place stays taken */
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 2);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 4);
    rig_answer_all(&rig);
    sim_run_ms(0);
    rig_answer_all(&rig);
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 5);
    for (int i = 0; i < 5; i++) assert_frame_text(peer, "D");
    rig_stop(&rig);
}

static void max_calls_is_64_unless_told_otherwise(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    send_pieces(peer, "D", 100); /* all in one receive */
    sim_run_ms(1000);
    assert_int_equal(rig.kept_count, 64);
    while (rig.kept_count < 100) {
        rig_answer_all(&rig);
        sim_run_ms(0);
    }
    rig_answer_all(&rig);
    sim_run_ms(0);
    for (int i = 0; i < 100; i++) assert_frame_text(peer, "D");
    rig_stop(&rig);
}

static void max_calls_of_one_connection_leaves_others_alone(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_calls = 1;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    send_pieces(peer, "D", 3);
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 1);
    assert_serves();
    rig_stop(&rig);
}

/* ---- bytes waiting to be sent ---- */

static void max_unsent_pauses_reading_and_goes_on(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(1000);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1500);
    rig.config.max_unsent = 4000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    for (int i = 0; i < 50; i++) sim_peer_send_frame(peer, body, 1000);
    sim_run_ms(1000);
    /* one and a half on the way back, 4 or 5 waiting */
    assert_in_range(rig.started, 4, 8);
    assert_true(sim_peer_unsent(peer) > 40000);
    size_t stopped_at = rig.started;
    sim_run_ms(20000);
    assert_int_equal(rig.started, stopped_at);
    sim_peer_start_reading(peer);
    sim_run_ms(0);
    assert_int_equal(rig.started, 50);
    for (int i = 0; i < 50; i++) assert_frame(peer, body, 1000);
    free(body);
    rig_stop(&rig);
}

static void max_unsent_is_1_mib_unless_told_otherwise(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(100 << 10);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1000);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    for (int i = 0; i < 50; i++) sim_peer_send_frame(peer, body, 100 << 10);
    sim_run_ms(1000);
    assert_in_range(rig.started, 10, 12);
    free(body);
    rig_stop(&rig);
}

static void max_unsent_always_takes_replies_that_are_finished(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(3000);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(1500);
    rig.config.max_unsent = 1000;
    rig.config.idle_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    body[0] = 'D';
    for (int i = 0; i < 10; i++) sim_peer_send_frame(peer, body, 3000);
    sim_run_ms(0);
    assert_int_equal(rig.kept_count, 10);
    for (size_t i = 0; i < 10; i++) assert_int_equal(rig_answer(&rig, i), FRAMED_OK);
    sim_run_ms(20000);
    assert_int_equal(rig_stats(&rig).replies, 10);
    sim_peer_start_reading(peer);
    sim_run_ms(0);
    for (int i = 0; i < 10; i++) assert_frame(peer, body, 3000);
    free(body);
    rig_stop(&rig);
}

static void max_unsent_counts_answers_that_wait_for_their_turn(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(3000);
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_unsent = 10000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    for (int i = 0; i < 50; i++) sim_peer_send_frame(peer, body, 3000);
    sim_run_ms(0);
    assert_in_range(rig.started, 4, 6);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    for (int i = 0; i < 50; i++) assert_frame(peer, body, 3000);
    free(body);
    rig_stop(&rig);
}

/* ---- memory ---- */

static void max_memory_closes_who_would_exceed_it(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(1 << 20);
    const uint8_t word[4] = {0, 0x10, 0, 0};
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_memory = 512 << 10;
    rig_serve(&rig);
    assert_serves();
    struct sim_peer *greedy = connected(), *modest = connected();
    sim_peer_send_frame_text(modest, "before");
    sim_peer_send(greedy, word, 4);
    sim_peer_send(greedy, body, (1 << 20) - 1);
    sim_run_ms(0);
    sim_peer_send_frame_text(modest, "after");
    sim_run_ms(0);
    assert_frame_text(modest, "before");
    assert_frame_text(modest, "after");
    assert_int_not_equal(sim_peer_state(greedy), SIM_OPEN);
    assert_int_equal(rig_logged(&rig, sim_peer_address(greedy)), 1);
    assert_true(rig_stats(&rig).memory <= 512 << 10);
    assert_serves();
    free(body);
    rig_stop(&rig);
}

static void max_memory_is_never_exceeded_by_many(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(100000);
    const uint8_t word[4] = {0, 0x10, 0, 0};
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_memory = 1 << 20;
    rig_serve(&rig);
    meter_peak_reset(sim_meter());
    struct sim_peer *peers[50];
    for (int i = 0; i < 50; i++) {
        peers[i] = connected();
        sim_peer_send(peers[i], word, 4);
        sim_peer_send(peers[i], body, 100000);
    }
    sim_run_ms(0);
    size_t open = 0;
    for (int i = 0; i < 50; i++) open += sim_peer_state(peers[i]) == SIM_OPEN;
    assert_in_range(open, 4, 11);                                        /* a reader may hold twice what came */
    assert_true(meter_read(sim_meter()).peak <= (1 << 20) + (64 << 10)); /* and what the server itself needs */
    free(body);
    rig_stop(&rig);
}

static void memory_after_a_claim_of_16_mib_and_100_bytes_follows_the_bytes(void **state)
{
    struct rig rig;
    const uint8_t word[4] = {1, 0, 0, 0};
    uint8_t *body = pattern(100);
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_serves();
    struct sim_peer *peer = connected();
    sim_run_ms(0);
    meter_peak_reset(sim_meter());
    size_t before = meter_in_use(sim_meter());
    sim_peer_send(peer, word, 4);
    sim_peer_send(peer, body, 100);
    sim_run_ms(0);
    assert_true(meter_read(sim_meter()).peak <= before + 4096 + 2 * 104);
    free(body);
    rig_stop(&rig);
}

static void memory_of_a_large_cut_frame_is_at_most_twice_what_came(void **state)
{
    struct rig rig;
    const uint8_t word[4] = {1, 0, 0, 0};
    uint8_t *body = pattern(5 << 20);
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_serves();
    struct sim_peer *peer = connected();
    sim_run_ms(0);
    size_t before = meter_in_use(sim_meter()), sent = 0;
    sim_peer_send(peer, word, 4);
    while (sent < 5 << 20) {
        size_t n = sent < 1 << 20 ? 10000 : 300000;
        if (n > (5u << 20) - sent) n = (5u << 20) - sent;
        sim_peer_send(peer, body + sent, n);
        sent += n;
        sim_run_ms(0);
        /* and the loop keeps the smaller blocks from which this one grew, for whoever comes next: once, not per connection */
        assert_true(meter_in_use(sim_meter()) <= before + 4096 + 2 * (sent + 4) + (96 << 10));
    }
    free(body);
    rig_stop(&rig);
}

static void memory_of_idle_connections_holds_no_buffers(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_serves();
    size_t before = meter_in_use(sim_meter());
    for (int i = 0; i < 1000; i++) {
        struct sim_peer *peer = connected();
        sim_peer_send_frame_text(peer, "hello");
        sim_run_ms(0);
        assert_frame_text(peer, "hello");
    }
    assert_true(meter_in_use(sim_meter()) - before <= 1000 * 256);
    rig_stop(&rig);
}

/* ---- log lines ---- */

static void log_gives_10_lines_a_second_and_counts_the_rest(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    for (int i = 0; i < 35; i++) {
        struct sim_peer *peer = connected();
        sim_peer_send(peer, "GET ", 4);
        sim_peer_finish(peer);
    }
    sim_run_ms(500);
    assert_int_equal(rig.line_count, 10);
    assert_int_equal(rig_stats(&rig).log_suppressed, 25);
    sim_run_ms(1000);
    sim_peer_send(connected(), "GET ", 4);
    sim_run_ms(0);
    assert_memory_equal(rig.lines[10], "25 ", 3); /* before the next one */
    assert_int_equal(rig.line_count, 12);
    rig_stop(&rig);
}

static void log_follows_the_config(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_log_lines = 3;
    rig_serve(&rig);
    for (int i = 0; i < 10; i++) sim_peer_send(connected(), "GET ", 4);
    sim_run_ms(0);
    assert_int_equal(rig.line_count, 3);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(max_frame_refuses_a_longer_claim_and_names_both_sizes),
        cmocka_unit_test(max_frame_lets_the_longest_frame_through),
        cmocka_unit_test(max_frame_is_16_mib_unless_told_otherwise),
        cmocka_unit_test(max_frame_still_answers_what_came_before_the_refused_word),
        cmocka_unit_test(max_send_refuses_a_longer_reply_and_fails_the_call),
        cmocka_unit_test(max_send_holds_for_a_deferred_reply),
        cmocka_unit_test(max_conns_pauses_accepting_and_goes_on_when_one_is_gone),
        cmocka_unit_test(max_conns_does_not_make_the_loop_spin),
        cmocka_unit_test(max_conns_per_address_closes_the_newcomer),
        cmocka_unit_test(max_conns_per_address_counts_hundreds_of_addresses_apart),
        cmocka_unit_test(running_out_of_descriptors_pauses_accepting_and_goes_on),
        cmocka_unit_test(max_calls_pauses_reading_and_goes_on),
        cmocka_unit_test(max_calls_is_64_unless_told_otherwise),
        cmocka_unit_test(max_calls_of_one_connection_leaves_others_alone),
        cmocka_unit_test(max_unsent_pauses_reading_and_goes_on),
        cmocka_unit_test(max_unsent_is_1_mib_unless_told_otherwise),
        cmocka_unit_test(max_unsent_always_takes_replies_that_are_finished),
        cmocka_unit_test(max_unsent_counts_answers_that_wait_for_their_turn),
        cmocka_unit_test(max_memory_closes_who_would_exceed_it),
        cmocka_unit_test(max_memory_is_never_exceeded_by_many),
        cmocka_unit_test(memory_after_a_claim_of_16_mib_and_100_bytes_follows_the_bytes),
        cmocka_unit_test(memory_of_a_large_cut_frame_is_at_most_twice_what_came),
        cmocka_unit_test(memory_of_idle_connections_holds_no_buffers),
        cmocka_unit_test(log_gives_10_lines_a_second_and_counts_the_rest),
        cmocka_unit_test(log_follows_the_config),
    };
    return cmocka_run_group_tests_name("sim_limits", tests, NULL, NULL);
}
