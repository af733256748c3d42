/*
 * test_sim_usage.c: what callers of the library may do wrong: each is told so, and nothing else happens.
 * Must not know anything private.
 * Invariant: after every refusal the same object still works, or its world ends without a leak (the rig's sanitizers see it).
 */
#include "rig.h"

/* ---- configurations ---- */

static void server_refuses_a_config_that_cannot_be(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    struct framed_server *server = NULL;
    assert_int_equal(framed_server_new(NULL, &server), FRAMED_USAGE);
    struct framed_server_config bad[6];
    for (size_t i = 0; i < 6; i++) bad[i] = rig.config;
    bad[0].size = 0;
    bad[1].size = sizeof bad[1] + 1; /* of a newer header */
    bad[2].handler = NULL;
    bad[3].max_frame = FRAMED_FRAME_MOST + 1u;
    bad[4].max_send = FRAMED_FRAME_MOST + 1u;
    bad[5].replies = (enum framed_replies)7;
    for (size_t i = 0; i < 6; i++) assert_int_equal(framed_server_new(&bad[i], &server), FRAMED_USAGE);
    assert_null(server);
    rig_serve(&rig);
    assert_serves();
    rig_stop(&rig);
}

static void client_refuses_a_config_that_cannot_be(void **state)
{
    (void)state;
    sim_start(0);
    struct framed_client *client = NULL;
    struct framed_client_config bad[5];
    for (size_t i = 0; i < 5; i++) bad[i] = client_config();
    bad[0].size = 0;
    bad[1].size = sizeof bad[1] + 1;
    bad[2].max_frame = FRAMED_FRAME_MOST + 1u;
    bad[3].max_send = FRAMED_FRAME_MOST + 1u;
    bad[4].replies = (enum framed_replies)7;
    for (size_t i = 0; i < 5; i++) assert_int_equal(framed_client_new(&bad[i], &client), FRAMED_USAGE);
    assert_null(client);
    sim_stop();
}

static void address_is_refused_where_there_is_no_room_for_it(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig_serve(&rig);
    char text[1] = "x";
    assert_int_equal(framed_server_address(rig.server, 0, text, 0), FRAMED_USAGE);
    assert_int_equal(text[0], 'x');
    rig_stop(&rig);
}

static void addresses_that_cannot_be_are_refused_before_anybody_is_asked(void **state)
{
    (void)state;
    char longest[600];
    memset(longest, 'h', sizeof longest);
    memcpy(longest + sizeof longest - 4, ":80", 4);
    const char *const bad[] = {"[]:80", "[::1:80", "[:80", "h:00000000000000000080", ":80", longest};
    sim_start(0);
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(framed_client_connect(client, bad[i], 1000), FRAMED_USAGE);
    framed_client_free(client);
    sim_stop();
}

/* ---- a client out of turn ---- */

static void client_that_never_connected_refuses_everything_but_connecting(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = NULL;
    struct framed_event event;
    uint64_t id;
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_USAGE);
    assert_int_equal(framed_client_start(client, framed_bytes_str("x"), 1000, &id), FRAMED_USAGE);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_USAGE);
    assert_int_equal(framed_client_finish(client), FRAMED_USAGE);
    assert_int_equal(framed_client_reconnect(client, 1000), FRAMED_USAGE);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    assert_call_echoes(client, "now");
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_USAGE); /* it is */
    assert_call_echoes(client, "still");
    framed_client_free(client);
    rig_stop(&rig);
}

static void client_with_calls_unreported_does_not_connect_anew(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(NULL);
    uint64_t id = started(client, "F", 60000); /* the server fails it: the connection ends */
    struct framed_want want;
    for (int i = 0; i < 20; i++) {
        sim_run_ms(100);
        assert_int_equal(framed_client_step(client), FRAMED_OK);
    }
    assert_int_equal(framed_client_want(client, &want), FRAMED_OK);
    assert_int_equal(want.timeout_ms, 0); /* there is something to be told */
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_USAGE);
    assert_int_equal(framed_client_reconnect(client, 1000), FRAMED_USAGE);
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.call, id);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    assert_call_echoes(client, "anew");
    framed_client_free(client);
    rig_stop(&rig);
}

static void client_that_finishes_begins_nothing_more(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(NULL);
    struct framed_event event;
    uint64_t id = started(client, "last", 1000), other;
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    assert_int_equal(framed_client_start(client, framed_bytes_str("x"), 1000, &other), FRAMED_USAGE);
    event = next_event(client, 1000);
    assert_int_equal(event.call, id);
    assert_bytes(event.payload, "last", 4);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_USAGE);
    event = next_event(client, 10000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    framed_client_free(client);
    rig_stop(&rig);
}

static void client_without_keepalive_asks_for_no_probes(void **state)
{
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen("127.0.0.1:4465");
    assert_non_null(acceptor);
    struct framed_client_config config = client_config();
    config.keepalive_ms = FRAMED_NEVER; /* and no probes either */
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, "127.0.0.1:4465", 1000), FRAMED_OK);
    struct sim_peer *peer = sim_accept(acceptor);
    uint32_t idle_ms = 1, give_up_ms;
    assert_true(sim_keepalive(peer, &idle_ms, &give_up_ms));
    assert_int_equal(idle_ms, 0);
    struct framed_event event;
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 100, &event), FRAMED_TIMEOUT);
    framed_client_free(client);
    sim_stop();
}

/* ---- a handler that answers too often, or oddly ---- */

static enum framed_status second[4];

static void answers_again(struct rig *rig, struct framed_call *call)
{
    (void)rig;
    struct framed_call *kept = NULL;
    struct framed_bytes body;
    assert_true(framed_call_left_ms(call) > 0);
    second[0] = framed_call_reply(call, framed_bytes_str("first"));
    second[1] = framed_call_reply(call, framed_bytes_str("second"));
    second[2] = framed_call_fail(call, FRAMED_CODE_INTERNAL, "third");
    second[3] = framed_call_defer(call, &kept, &body);
    assert_null(kept);
}

static void call_takes_one_answer_and_refuses_the_others(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.before = answers_again;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "x");
    sim_run_ms(0);
    assert_frame_text(peer, "first");
    assert_no_frame(peer);
    assert_int_equal(second[0], FRAMED_OK);
    for (int i = 1; i < 4; i++) assert_int_equal(second[i], FRAMED_USAGE);
    assert_int_equal(rig.last_reply, FRAMED_USAGE);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void fails_without_words(struct rig *rig, struct framed_call *call)
{
    (void)rig;
    second[0] = framed_call_fail(call, FRAMED_CODE_OK, NULL); /* a failure that is none */
}

static void call_that_fails_with_ok_and_no_text_fails_as_unknown(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.before = fails_without_words;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "x");
    sim_run_ms(100);
    assert_int_equal(second[0], FRAMED_OK);
    assert_no_frame(peer);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_logged(&rig, "UNKNOWN"), 1);
    rig_stop(&rig);
}

static void fails_at_length(struct rig *rig, struct framed_call *call)
{
    (void)rig;
    char text[2000];
    memset(text, '\xe4', sizeof text);
    memcpy(text, "plain\x7f", 6);
    text[sizeof text - 1] = '\0';
    second[0] = framed_call_fail(call, FRAMED_CODE_INTERNAL, text);
}

static void text_of_a_failure_is_escaped_and_cut(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.before = fails_at_length;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "x");
    sim_run_ms(100);
    assert_int_equal(second[0], FRAMED_OK);
    assert_int_equal(rig_logged(&rig, "plain\\x7f\\xe4\\xe4"), 1);
    for (size_t i = 0; i < rig.line_count; i++) assert_true(strlen(rig.lines[i]) < RIG_LINE - 1);
    rig_stop(&rig);
}

static void answers_the_kept_one(struct rig *rig, struct framed_call *call)
{
    if (rig->kept_count == 0 || framed_call_body(call).at[0] == 'D') return;
    struct framed_call *kept = rig->kept[0];
    rig->kept[0] = NULL;
    if (kept != NULL) second[0] = framed_call_reply(kept, framed_bytes_str("of another call's handler"));
}

/* On the loop's own thread, with bytes that must be copied: they come out of the loop's own memory, and go back to it. */
static void call_kept_is_answered_by_the_handler_of_another(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.before = answers_the_kept_one;
    rig_serve(&rig);
    struct sim_peer *peer = connected(), *other = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(0);
    assert_no_frame(peer);
    sim_peer_send_frame_text(other, "now");
    sim_run_ms(0);
    assert_int_equal(second[0], FRAMED_OK);
    assert_frame_text(peer, "of another call's handler");
    assert_frame_text(other, "now");
    rig_stop(&rig);
}

static void call_kept_without_a_deadline_has_for_ever(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.config.call_ms = FRAMED_NEVER;
    rig.config.keepalive_ms = FRAMED_NEVER;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(1000000);
    assert_int_equal(rig.kept_count, 1);
    assert_int_equal(framed_call_left_ms(rig.kept[0]), FRAMED_NEVER);
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(0);
    assert_frame_text(peer, "D");
    rig_stop(&rig);
}

static void server_without_a_log_says_nothing_and_works(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 0);
    rig.config.log = NULL;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "F");
    sim_run_ms(100);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    struct sim_peer *cut = connected();
    sim_peer_send(cut, "\xff\xff\xff\xff", 4);
    sim_run_ms(100);
    assert_int_equal(sim_peer_state(cut), SIM_ENDED);
    assert_serves();
    assert_int_equal(rig.line_count, 0);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_refuses_a_config_that_cannot_be),
        cmocka_unit_test(client_refuses_a_config_that_cannot_be),
        cmocka_unit_test(address_is_refused_where_there_is_no_room_for_it),
        cmocka_unit_test(addresses_that_cannot_be_are_refused_before_anybody_is_asked),
        cmocka_unit_test(client_that_never_connected_refuses_everything_but_connecting),
        cmocka_unit_test(client_with_calls_unreported_does_not_connect_anew),
        cmocka_unit_test(client_that_finishes_begins_nothing_more),
        cmocka_unit_test(client_without_keepalive_asks_for_no_probes),
        cmocka_unit_test(call_takes_one_answer_and_refuses_the_others),
        cmocka_unit_test(call_that_fails_with_ok_and_no_text_fails_as_unknown),
        cmocka_unit_test(text_of_a_failure_is_escaped_and_cut),
        cmocka_unit_test(call_kept_is_answered_by_the_handler_of_another),
        cmocka_unit_test(call_kept_without_a_deadline_has_for_ever),
        cmocka_unit_test(server_without_a_log_says_nothing_and_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
