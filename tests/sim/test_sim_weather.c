/*
 * test_sim_weather.c: owns the proof that the simulated network takes its time, and that what befalls connections, clocks and
 * actors is what sim.h says.
 * Must not know anything private of server and client.
 * Invariant: each test is one world.
 */
#include "rig.h"

static const struct sim_delay steady = {10000, 10000, 0};

static bool has_input(void *ctx)
{
    return sim_peer_received(ctx).len > 0;
}

static bool is_over(void *ctx)
{
    return sim_peer_state(ctx) != SIM_OPEN;
}

/* When the peer has an echo of its text, in ms from now. */
static uint64_t echo_after(struct sim_peer *peer, const char *text)
{
    uint64_t began = sim_now_ms();
    sim_peer_send_frame_text(peer, text);
    assert_true(sim_run_until(has_input, peer, 100000));
    assert_frame_text(peer, text);
    return sim_now_ms() - began;
}

static void delay_counts_both_ways(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    sim_delay(&steady);
    rig_serve(&rig);
    assert_int_equal(echo_after(connected(), "there and back"), 20);
    struct framed_client *client = client_with(NULL);
    assert_int_equal(sim_now_ms(), 40); /* connecting is a way there and back too */
    assert_call_echoes(client, "and the same");
    assert_int_equal(sim_now_ms(), 60);
    framed_client_free(client);
    rig_stop(&rig);
}

static void jitter_keeps_the_order_of_a_connection(void **state)
{
    const struct sim_delay delay = {0, 20000, 50000};
    struct rig rig;
    char text[32];
    (void)state;
    rig_start(&rig, 7);
    sim_delay(&delay);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "frame %d", i);
        sim_peer_send_frame_text(peer, text);
        sim_run_ms(1);
    }
    sim_run_ms(1000);
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "frame %d", i);
        assert_frame_text(peer, text);
    }
    rig_stop(&rig);
}

static void delay_lets_connections_overtake(void **state)
{
    const struct sim_delay slow = {50000, 50000, 0};
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    sim_delay(&slow);
    rig_serve(&rig);
    struct sim_peer *first = connected();
    sim_delay(NULL);
    struct sim_peer *second = connected();
    sim_peer_send_frame_text(first, "first");
    sim_peer_send_frame_text(second, "second");
    sim_run_ms(0);
    assert_frame_text(second, "second");
    assert_no_frame(first);
    sim_run_ms(100);
    assert_frame_text(first, "first");
    rig_stop(&rig);
}

static void end_arrives_behind_the_bytes(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    sim_delay(&steady);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "last words");
    sim_peer_finish(peer);
    assert_true(sim_run_until(is_over, peer, 1000));
    assert_int_equal(sim_now_ms(), 20);
    assert_frame_text(peer, "last words");
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    rig_stop(&rig);
}

static void whoever_sends_to_what_is_gone_learns_it_later(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    sim_delay(&steady);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    assert_int_equal(echo_after(peer, "hello"), 20);
    rig_free_server(&rig);
    sim_peer_send_frame_text(peer, "anybody there?");
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_run_ms(9);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_run_ms(20);
    assert_int_not_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void hit_resets_ends_or_stalls_a_connection(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 3);
    rig_serve(&rig);
    assert_int_equal(sim_hit(SIM_HIT_RESET, 0), 0); /* there is none */
    struct sim_peer *peer = connected();
    assert_int_equal(echo_after(peer, "before"), 0);
    assert_int_not_equal(sim_hit(SIM_HIT_STALL, 500), 0); /* of either direction */
    assert_int_equal(echo_after(peer, "during"), 500);
    assert_int_equal(echo_after(peer, "after"), 0);
    assert_int_not_equal(sim_hit(SIM_HIT_RESET, 0), 0);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_RESET);
    sim_run_ms(0);
    assert_int_equal(sim_hit(SIM_HIT_RESET, 0), 0);
    peer = connected();
    assert_int_equal(echo_after(peer, "another"), 0);
    assert_int_not_equal(sim_hit(SIM_HIT_SILENT, 90000), 0);
    sim_peer_send_frame_text(peer, "into nothing");
    sim_run_ms(89999);
    assert_no_frame(peer);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    sim_run_ms(1);
    assert_int_equal(sim_peer_state(peer), SIM_RESET);
    rig_stop(&rig);
}

static void clock_leaps_past_deadlines_and_moves_nothing_else(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    rig.config.idle_ms = 5000;
    rig_serve(&rig);
    struct sim_peer *idle = connected();
    assert_int_equal(echo_after(idle, "hello"), 0);
    const struct sim_delay slow = {100000, 100000, 0};
    sim_delay(&slow);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "on its way");
    sim_clock_jump(60000);
    assert_int_equal(sim_now_ms(), 60000);
    sim_run_ms(1);
    assert_int_equal(sim_peer_state(idle), SIM_ENDED);
    assert_int_equal(rig.started, 1);
    sim_run_ms(98);
    assert_int_equal(rig.started, 1);
    sim_run_ms(1);
    assert_int_equal(rig.started, 2); /* as far off as it was */
    rig_stop(&rig);
}

static void odds_fail_some_of_many(void **state)
{
    struct rig rig;
    size_t reset = 0;
    (void)state;
    rig_start(&rig, 5);
    rig_serve(&rig);
    sim_fail_odds(OP_OFFER, 4, FRAMED_RESET);
    for (int i = 0; i < 200; i++) {
        struct sim_peer *peer = connected();
        sim_peer_send_frame_text(peer, "echo");
        sim_run_ms(0);
        reset += sim_peer_state(peer) == SIM_RESET;
        sim_peer_close(peer);
        sim_run_ms(0);
    }
    assert_in_range(reset, 25, 75);
    assert_int_equal(sim_failures_reached(), reset);
    sim_fail_never();
    assert_serves();
    rig_stop(&rig);
}

static void stalled_actor_does_nothing_for_so_long(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    assert_int_equal(echo_after(peer, "hello"), 0);
    sim_actor_stall(rig.actor, 700);
    assert_int_equal(echo_after(peer, "hello?"), 700);
    rig_stop(&rig);
}

static void broken_actor_has_one_wait_that_fails(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    rig_serve(&rig);
    assert_serves();
    sim_actor_break(rig.actor);
    assert_true(sim_run_until(rig_is_done, &rig, 0));
    assert_int_equal(rig.run_status, FRAMED_OS);
    rig_stop(&rig);
}

/* ---- a client in somebody else's loop, itself an actor ---- */

struct stepper {
    struct framed_client *client;
    bool answered;
};

/* Asserts nothing: on a stack of its own there is no way back to cmocka. */
static void step_until_answered(void *ctx)
{
    struct stepper *s = ctx;
    struct framed_event event = {0};
    struct framed_want want;
    uint64_t id;
    if (framed_client_start(s->client, framed_bytes_str("stepped"), 5000, &id) != FRAMED_OK) return;
    while (event.kind != FRAMED_EVENT_REPLY) {
        if (framed_client_want(s->client, &want) != FRAMED_OK) return;
        sim_wait_want(&want);
        if (framed_client_step(s->client) != FRAMED_OK) return;
        if (framed_client_next(s->client, 0, &event) < FRAMED_OK) return;
    }
    s->answered = event.status == FRAMED_OK && event.payload.len == 7;
}

static void actor_waits_for_what_its_client_wants(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 1);
    sim_delay(&steady);
    rig_serve(&rig);
    struct stepper stepper = {.client = client_with(NULL)};
    struct sim_actor *actor = sim_add_actor(step_until_answered, &stepper);
    sim_run_ms(19);
    assert_false(sim_actor_done(actor));
    sim_run_ms(1);
    assert_true(sim_actor_done(actor));
    assert_true(stepper.answered);
    assert_true(sim_actor_steps(actor) < 6); /* it waited */
    framed_client_free(stepper.client);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay_counts_both_ways),
        cmocka_unit_test(jitter_keeps_the_order_of_a_connection),
        cmocka_unit_test(delay_lets_connections_overtake),
        cmocka_unit_test(end_arrives_behind_the_bytes),
        cmocka_unit_test(whoever_sends_to_what_is_gone_learns_it_later),
        cmocka_unit_test(hit_resets_ends_or_stalls_a_connection),
        cmocka_unit_test(clock_leaps_past_deadlines_and_moves_nothing_else),
        cmocka_unit_test(odds_fail_some_of_many),
        cmocka_unit_test(stalled_actor_does_nothing_for_so_long),
        cmocka_unit_test(broken_actor_has_one_wait_that_fails),
        cmocka_unit_test(actor_waits_for_what_its_client_wants),
    };
    return cmocka_run_group_tests_name("sim_weather", tests, NULL, NULL);
}
