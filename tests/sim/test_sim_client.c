/*
 * test_sim_client.c: owns the proof of what the client promises: every call ends once, and says truly how.
 * Must not know how the client is made.
 * Invariants: each test is one world; where the other end is raw, the test decides what it does and when.
 */
#include "pair.h"

/* ---- calls ---- */

static void call_gets_its_reply(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(NULL);
    assert_call_echoes(client, "hello");
    assert_call_echoes(client, "");
    assert_call_echoes(client, "again");
    framed_client_free(client);
    rig_stop(&rig);
}

static void call_gets_replies_of_every_size(void **state)
{
    const size_t sizes[] = {0, 1, 4095, 4096, 65531, 65532, 65536, 65537, 200000, 16 << 20};
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct framed_event event;
        uint8_t *body = pattern(sizes[i]);
        assert_int_equal(framed_client_call(client, framed_bytes_of(body, sizes[i]), 10000, &event), FRAMED_OK);
        assert_int_equal(event.outcome, FRAMED_REPLY);
        assert_bytes(event.payload, body, sizes[i]);
        free(body);
    }
    framed_client_free(client);
    rig_stop(&rig);
}

static void call_that_times_out_leaves_the_connection_usable_and_its_late_reply_goes_to_nobody(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("one"), 500, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(sim_now_ms(), 500);
    assert_int_equal(framed_client_open_calls(p.client), 0);
    uint64_t two = started(p.client, "two", 10000);
    sim_run_ms(100);
    sim_peer_send_frame_text(p.peer, "late reply to one");
    sim_peer_send_frame_text(p.peer, "reply to two");
    assert_reply_event(p.client, two, "reply to two");
    assert_frame_text(p.peer, "one");
    assert_frame_text(p.peer, "two");
    pair_stop(&p);
}

static void late_replies_of_many_timeouts_are_counted_off(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    for (int i = 0; i < 10; i++) {
        struct framed_event event;
        assert_int_equal(framed_client_call(p.client, framed_bytes_str("x"), 10, &event), FRAMED_TIMEOUT);
    }
    uint64_t id = started(p.client, "y", 10000);
    for (int i = 0; i < 10; i++) sim_peer_send_frame_text(p.peer, "late");
    sim_peer_send_frame_text(p.peer, "right");
    assert_reply_event(p.client, id, "right");
    /* an eleventh is one that nobody asked for */
    sim_peer_send_frame_text(p.peer, "too much");
    assert_ends(p.client, FRAMED_MALFORMED);
    pair_stop(&p);
}

static void calls_time_out_each_at_its_own_time(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t slow = started(p.client, "slow", 3000), quick = started(p.client, "quick", 100);
    uint64_t never = started(p.client, "never", FRAMED_NEVER);
    assert_failed_event(p.client, quick, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_int_equal(sim_now_ms(), 100);
    assert_failed_event(p.client, slow, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_int_equal(sim_now_ms(), 3000);
    struct framed_event event;
    assert_int_equal(framed_client_next(p.client, 100000, &event), FRAMED_MORE);
    sim_peer_send_frame_text(p.peer, "1");
    sim_peer_send_frame_text(p.peer, "2");
    sim_peer_send_frame_text(p.peer, "3");
    assert_reply_event(p.client, never, "3");
    pair_stop(&p);
}

static void replies_answer_the_calls_in_their_order(void **state)
{
    struct rig rig;
    uint64_t ids[20];
    char text[20][16];
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(NULL);
    for (int i = 0; i < 20; i++) {
        snprintf(text[i], sizeof text[i], "%c%d", i % 3 ? 'e' : 'D', i);
        ids[i] = started(client, text[i], 10000);
    }
    assert_int_equal(framed_client_step(client), FRAMED_OK);
    sim_run_ms(10);
    assert_int_equal(framed_client_open_calls(client), 20);
    for (size_t i = rig.kept_count; i-- > 0;) assert_int_equal(rig_answer(&rig, i), FRAMED_OK);
    for (int i = 0; i < 20; i++) {
        assert_reply_event(client, ids[i], text[i]);
        for (int k = 0; k < i; k++) assert_int_not_equal(ids[i], ids[k]);
    }
    assert_int_equal(framed_client_open_calls(client), 0);
    framed_client_free(client);
    rig_stop(&rig);
}

static void calls_begun_while_others_are_open_leave_together_with_the_next_turn(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t before = sim_ops(OP_OFFER);
    (void)started(p.client, "first", 10000);
    assert_int_equal(sim_ops(OP_OFFER) - before, 1); /* nobody to wait for */
    for (int i = 0; i < 100; i++) (void)started(p.client, "more", 10000);
    assert_int_equal(sim_ops(OP_OFFER) - before, 1);
    assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_MORE);
    assert_int_equal(sim_ops(OP_OFFER) - before, 2);
    assert_int_equal(sim_peer_received(p.peer).len, 9 + 100 * 8);
    pair_stop(&p);
}

static void calls_begun_leave_without_a_turn_once_they_fill_a_send(void **state)
{
    static char big[9000];
    uint64_t id;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t before = sim_ops(OP_OFFER);
    for (int i = 0; i < 9; i++) /* the first, then eight: more than 64 KiB */
        assert_int_equal(framed_client_start(p.client, framed_bytes_of(big, sizeof big), 10000, &id), FRAMED_OK);
    assert_true(sim_ops(OP_OFFER) - before >= 2);
    pair_stop(&p);
}

static void calls_begun_together_towards_a_peer_that_takes_nothing_end_at_the_send_deadline(void **state)
{
    static char request[8000];
    struct framed_client_config config = client_config();
    struct framed_event event;
    uint64_t id;
    (void)state;
    config.send_ms = 1000;
    sim_start(0);
    sim_capacity(100000);
    struct pair p = pair_start(&config);
    sim_peer_stop_reading(p.peer);
    for (int i = 0; i < 14; i++) { /* more than the system takes, and little enough at a time to be held back */
        assert_int_equal(framed_client_start(p.client, framed_bytes_of(request, sizeof request), FRAMED_NEVER, &id),
                         FRAMED_OK);
        if (i < 13) assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_MORE);
    }
    assert_int_equal(framed_client_next(p.client, FRAMED_NEVER, &event),
                     FRAMED_OK); /* this one turn must know when to end */
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    assert_int_equal(sim_now_ms(), 1000);
    pair_stop(&p);
}

static void calls_begun_leave_when_the_client_is_freed(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    (void)started(p.client, "first", 10000);
    (void)started(p.client, "second", 10000);
    framed_client_free(p.client);
    p.client = NULL;
    assert_int_equal(sim_peer_received(p.peer).len, 9 + 10);
    pair_stop(&p);
}

static void blocking_call_among_started_ones_is_a_misuse(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    (void)started(p.client, "x", 1000);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("y"), 1000, &event), FRAMED_USAGE);
    pair_stop(&p);
}

/* ---- how calls end with the connection ---- */

static void reply_nobody_asked_for_ends_the_connection_as_malformed(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    sim_peer_send_frame_text(p.peer, "hello");
    assert_ends(p.client, FRAMED_MALFORMED);
    assert_true(strlen(framed_client_error(p.client)) > 0);
    pair_stop(&p);
}

static void end_of_the_peer_with_calls_open_says_maybe_executed(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t a = started(p.client, "a", 10000), b = started(p.client, "b", 10000), c = started(p.client, "c", 10000);
    sim_run_ms(0);
    sim_peer_send_frame_text(p.peer, "A");
    sim_peer_finish(p.peer);
    assert_reply_event(p.client, a, "A");
    assert_failed_event(p.client, b, FRAMED_MAYBE_EXECUTED, FRAMED_CLOSED);
    assert_failed_event(p.client, c, FRAMED_MAYBE_EXECUTED, FRAMED_CLOSED);
    assert_ends(p.client, FRAMED_CLOSED);
    pair_stop(&p);
}

static void call_after_the_end_is_not_executed(void **state)
{
    struct framed_event event;
    uint64_t id = 77;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    sim_peer_finish(p.peer);
    assert_ends(p.client, FRAMED_CLOSED);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("x"), 1000, &event), FRAMED_CLOSED);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("x"), 1000, &id), FRAMED_CLOSED);
    assert_int_equal(id, 77);
    pair_stop(&p);
}

/* The acceptor reads nothing, so the system takes so many bytes and no more; then the connection breaks. Of three calls of 10
 * bytes each on the wire, those of which a byte left may have been executed, and only those. */
static void call_is_not_executed_exactly_when_nothing_of_it_left(void **state)
{
    (void)state;
    for (size_t taken = 1; taken <= 30; taken++) {
        sim_start(0);
        sim_capacity(taken);
        struct pair p = pair_start(NULL);
        sim_peer_stop_reading(p.peer);
        uint64_t ids[3];
        for (int i = 0; i < 3; i++) ids[i] = started(p.client, "123456", 10000);
        struct framed_event event;
        assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_MORE);
        sim_peer_reset(p.peer);
        for (size_t i = 0; i < 3; i++) {
            assert_failed_event(p.client, ids[i], taken > 10 * i ? FRAMED_MAYBE_EXECUTED : FRAMED_NOT_EXECUTED,
                                FRAMED_RESET);
        }
        assert_ends(p.client, FRAMED_RESET);
        pair_stop(&p);
    }
}

/* "Not executed" would invite to ask again, and the peer would then be asked twice. */
static void call_that_times_out_before_it_has_left_is_maybe_executed_for_it_still_leaves(void **state)
{
    (void)state;
    struct framed_bytes got;
    sim_start(0);
    sim_capacity(10);
    struct pair p = pair_start(NULL);
    sim_peer_stop_reading(p.peer);
    uint64_t first = started(p.client, "123456", 10), second = started(p.client, "unsent", 20);
    assert_failed_event(p.client, first, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_failed_event(p.client, second, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    sim_peer_start_reading(p.peer);
    assert_int_equal(framed_client_next(p.client, 100, &(struct framed_event){0}), FRAMED_MORE);
    assert_true(sim_peer_frame(p.peer, &got) && sim_peer_frame(p.peer, &got));
    assert_bytes(got, "unsent", 6);
    pair_stop(&p);
}

static void call_that_never_found_a_listener_is_not_executed(void **state)
{
    struct framed_client *client;
    struct framed_event event;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_REFUSED);
    assert_non_null(strstr(framed_client_error(client), WHERE));
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_REFUSED);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    framed_client_free(client);
    sim_stop();
}

static void connecting_without_waiting_ends_when_it_is_refused(void **state)
{
    struct framed_client *client;
    struct framed_event event;
    uint64_t id;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_start(client, framed_bytes_str("x"), 1000, &id), FRAMED_FULL);
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_REFUSED);
    framed_client_free(client);
    sim_stop();
}

static void connecting_without_waiting_tells_once_when_it_is_done(void **state)
{
    struct rig rig;
    struct framed_client *client;
    struct framed_event event;
    uint64_t id;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    sim_run_ms(0);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_start(client, framed_bytes_str("x"), 1000, &id), FRAMED_FULL);
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    uint64_t a = started(client, "a", 1000), b = started(client, "b", 1000);
    assert_reply_event(client, a, "a");
    assert_reply_event(client, b, "b");
    assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_MORE);
    framed_client_free(client);
    rig_stop(&rig);
}

static void blocking_call_while_connecting_waits_for_it(void **state)
{
    struct rig rig;
    struct framed_client *client;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    sim_run_ms(0);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_call_echoes(client, "at once");
    framed_client_free(client);
    rig_stop(&rig);
}

static void truncated_reply_is_named(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t id = started(p.client, "x", 10000);
    sim_run_ms(0);
    sim_peer_send(p.peer, "\0\0\0\x05hel", 7);
    sim_peer_finish(p.peer);
    assert_failed_event(p.client, id, FRAMED_MAYBE_EXECUTED, FRAMED_TRUNCATED);
    assert_ends(p.client, FRAMED_TRUNCATED);
    assert_non_null(strstr(framed_client_error(p.client), framed_status_text(FRAMED_TRUNCATED)));
    pair_stop(&p);
}

static void oversize_reply_is_named_with_both_sizes_and_what_it_looks_like(void **state)
{
    struct framed_client_config config = client_config();
    (void)state;
    config.max_frame = 777;
    sim_start(0);
    config.allocator = NULL;
    struct pair p = pair_start(&config);
    uint64_t id = started(p.client, "x", 10000);
    sim_run_ms(0);
    sim_peer_send(p.peer, "\0\0\x30\x39", 4);
    assert_failed_event(p.client, id, FRAMED_MAYBE_EXECUTED, FRAMED_TOO_LARGE);
    assert_ends(p.client, FRAMED_TOO_LARGE);
    assert_non_null(strstr(framed_client_error(p.client), "12345"));
    assert_non_null(strstr(framed_client_error(p.client), "777"));
    pair_stop(&p);

    sim_start(0);
    p = pair_start(NULL);
    id = started(p.client, "x", 10000);
    sim_run_ms(0);
    sim_peer_send(p.peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    assert_failed_event(p.client, id, FRAMED_MAYBE_EXECUTED, FRAMED_TOO_LARGE);
    assert_non_null(strstr(framed_client_error(p.client), "HTTP"));
    pair_stop(&p);
}

static void oversize_request_is_refused_before_it_is_begun(void **state)
{
    struct framed_client_config config = client_config();
    uint64_t id = 77;
    (void)state;
    config.max_send = 5;
    sim_start(0);
    struct pair p = pair_start(&config);
    struct framed_event event;
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("123456"), 1000, &id), FRAMED_TOO_LARGE);
    assert_int_equal(id, 77);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("123456"), 1000, &event), FRAMED_TOO_LARGE);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    id = started(p.client, "12345", 1000);
    sim_run_ms(0);
    assert_frame_text(p.peer, "12345");
    sim_peer_send_frame_text(p.peer, "ok");
    assert_reply_event(p.client, id, "ok");
    pair_stop(&p);
}

/* ---- full, writable ---- */

static void full_at_max_calls_and_writable_when_there_is_room(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    uint64_t id = 0;
    (void)state;
    config.max_calls = 3;
    sim_start(0);
    struct pair p = pair_start(&config);
    uint64_t first = started(p.client, "1", 10000);
    (void)started(p.client, "2", 10000);
    (void)started(p.client, "3", 10000);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("4"), 1000, &id), FRAMED_FULL);
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_MORE);
    sim_peer_send_frame_text(p.peer, "one");
    assert_reply_event(p.client, first, "one");
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("4"), 1000, &id), FRAMED_OK);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("5"), 1000, &id), FRAMED_FULL);
    pair_stop(&p);
}

/* The peer may still be at work on it: giving up is no way to have more done at once. */
static void full_at_max_calls_until_the_replies_of_calls_that_timed_out_have_come(void **state)
{
    struct framed_client_config config = client_config();
    uint64_t id = 0;
    (void)state;
    config.max_calls = 2;
    sim_start(0);
    struct pair p = pair_start(&config);
    uint64_t first = started(p.client, "1", 10), second = started(p.client, "2", 20);
    assert_failed_event(p.client, first, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_failed_event(p.client, second, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("3"), 1000, &id), FRAMED_FULL);
    sim_peer_send_frame_text(p.peer, "late");
    assert_int_equal(framed_client_next(p.client, 100, &(struct framed_event){0}), FRAMED_OK); /* WRITABLE */
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("3"), 1000, &id), FRAMED_OK);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("4"), 1000, &id), FRAMED_FULL);
    pair_stop(&p);
}

static void call_without_room_leaves_who_was_full_before_to_be_told(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    uint64_t id = 0;
    (void)state;
    config.max_calls = 1;
    sim_start(0);
    struct pair p = pair_start(&config);
    uint64_t first = started(p.client, "1", 10);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("2"), 1000, &id), FRAMED_FULL);
    assert_failed_event(p.client, first, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("3"), 10, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    sim_peer_send_frame_text(p.peer, "late");
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_MORE); /* told once */
    pair_stop(&p);
}

static void full_at_max_unsent_and_writable_when_the_peer_reads(void **state)
{
    struct framed_client_config config = client_config();
    struct framed_event event;
    uint64_t id;
    int n = 0;
    enum framed_status st;
    (void)state;
    config.max_unsent = 1000;
    sim_start(0);
    sim_capacity(100);
    struct pair p = pair_start(&config);
    sim_peer_stop_reading(p.peer);
    while ((st = framed_client_start(p.client, framed_bytes_str("12345678901234567890123456789012345678901234567890123456"),
                                     100000, &id)) == FRAMED_OK) {
        assert_true(++n < 100);
    }
    assert_int_equal(st, FRAMED_FULL);
    assert_in_range(n, 1000 / 60, 1100 / 60 + 2);
    assert_int_equal(framed_client_next(p.client, 1000, &event), FRAMED_MORE);
    sim_peer_start_reading(p.peer);
    assert_int_equal(framed_client_next(p.client, 1000, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("more"), 1000, &id), FRAMED_OK);
    pair_stop(&p);
}

/* ---- finishing ---- */

static void finish_half_closes_only_after_the_last_reply(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    uint64_t a = started(p.client, "a", 100000), b = started(p.client, "b", 100000);
    uint64_t id;
    assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("c"), 1000, &id), FRAMED_USAGE);
    struct framed_event event;
    assert_int_equal(framed_client_next(p.client, 5000, &event), FRAMED_MORE);
    assert_int_equal(sim_peer_state(p.peer), SIM_OPEN);
    sim_peer_send_frame_text(p.peer, "A");
    assert_reply_event(p.client, a, "A");
    assert_int_equal(framed_client_next(p.client, 5000, &event), FRAMED_MORE);
    assert_int_equal(sim_peer_state(p.peer), SIM_OPEN);
    sim_peer_send_frame_text(p.peer, "B");
    assert_reply_event(p.client, b, "B");
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(p.peer), SIM_ENDED);
    sim_peer_finish(p.peer);
    assert_ends(p.client, FRAMED_CLOSED);
    pair_stop(&p);
}

static void finish_waits_for_the_late_reply_of_a_call_that_timed_out(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_call(p.client, framed_bytes_str("x"), 100, &event), FRAMED_TIMEOUT);
    assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
    assert_int_equal(framed_client_next(p.client, 0, &event), FRAMED_MORE);
    sim_peer_send_frame_text(p.peer, "late");
    sim_run_ms(0);
    sim_peer_finish(p.peer);
    assert_ends(p.client, FRAMED_CLOSED); /* and not MALFORMED */
    pair_stop(&p);
}

static void free_sends_what_waits_and_ends_at_the_latest_after_the_linger_time(void **state)
{
    uint8_t *body = pattern(50000);
    uint64_t id;
    (void)state;
    sim_start(0);
    sim_capacity(1000);
    struct pair p = pair_start(NULL);
    assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 50000), 1000, &id), FRAMED_OK);
    framed_client_free(p.client);
    assert_in_range(sim_now_ms(), 2000, 2005);
    assert_frame(p.peer, body, 50000);
    assert_int_equal(sim_peer_state(p.peer), SIM_ENDED);
    free(body);
    sim_stop();
}

static void free_in_every_state_gives_everything_back(void **state)
{
    struct framed_client *client;
    struct framed_event event;
    (void)state;
    framed_client_free(NULL);
    for (int stage = 0; stage < 9; stage++) {
        sim_start(0);
        struct sim_acceptor *acceptor = stage == 3 ? NULL : sim_listen(WHERE);
        if (stage == 2) sim_blackhole(WHERE);
        assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
        if (stage >= 1) (void)!framed_client_connect(client, WHERE, stage == 1 ? 0 : 1000);
        struct sim_peer *peer = acceptor ? sim_accept(acceptor) : NULL;
        if (stage >= 5) (void)started(client, "x", 1000);
        if (stage == 6) (void)!framed_client_next(client, 10, &event);
        if (stage == 7) sim_peer_send_frame_text(peer, "reply");
        if (stage == 8) sim_peer_reset(peer);
        if (stage >= 7) (void)!framed_client_next(client, 10, &event);
        framed_client_free(client);
        sim_stop();
    }
}

/* ---- any amount, tiny buffers ---- */

static void any_amount_passes_tiny_buffers_without_a_deadlock(void **state)
{
    const size_t capacities[] = {1, 2, 5, 100, 3000};
    const size_t sizes[] = {0, 1, 7, 500, 20000};
    (void)state;
    for (size_t c = 0; c < 5; c++) {
        for (size_t z = 0; z < 5; z++) {
            struct rig rig;
            struct framed_client_config config = client_config();
            size_t n = sizes[z] > 1000 ? (capacities[c] < 10 ? 5 : 100) : 300;
            size_t sent = 0, replies = 0;
            uint8_t *body = pattern(sizes[z]);
            rig_start(&rig, 0);
            sim_capacity(capacities[c]);
            rig.config.max_calls = 4;
            rig.config.max_unsent = 100;
            config.max_unsent = 100;
            rig_serve(&rig);
            struct framed_client *client = client_with(&config);
            while (replies < n) {
                uint64_t id;
                enum framed_status st = FRAMED_FULL;
                if (sent < n) st = framed_client_start(client, framed_bytes_of(body, sizes[z]), FRAMED_NEVER, &id);
                if (st == FRAMED_OK) {
                    sent++;
                    continue;
                }
                assert_int_equal(st, FRAMED_FULL);
                struct framed_event event;
                assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
                if (event.kind == FRAMED_EVENT_WRITABLE) continue;
                assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
                assert_int_equal(event.outcome, FRAMED_REPLY);
                assert_bytes(event.payload, body, sizes[z]);
                replies++;
            }
            assert_int_equal(sim_now_ms(), 0); /* nobody ever waited for a deadline */
            framed_client_free(client);
            free(body);
            rig_stop(&rig);
        }
    }
}

static void writing_everything_before_reading_anything_passes_tiny_buffers(void **state)
{
    struct rig rig;
    struct framed_client_config config = client_config();
    uint8_t *body = pattern(1000);
    (void)state;
    rig_start(&rig, 0);
    sim_capacity(64);
    rig.config.max_unsent = 2000;
    config.max_unsent = SIZE_MAX;
    rig_serve(&rig);
    struct framed_client *client = client_with(&config);
    for (int i = 0; i < 1000; i++) {
        uint64_t id;
        assert_int_equal(framed_client_start(client, framed_bytes_of(body, 1000), FRAMED_NEVER, &id), FRAMED_OK);
    }
    for (int i = 0; i < 1000; i++) {
        struct framed_event event = next_event(client, 1000);
        assert_int_equal(event.outcome, FRAMED_REPLY);
        assert_bytes(event.payload, body, 1000);
    }
    assert_int_equal(sim_now_ms(), 0);
    framed_client_free(client);
    free(body);
    rig_stop(&rig);
}

/* ---- many clients, each in its own flow ---- */

struct caller {
    int number;
    bool done;
    size_t right;
};

static void call_fifty_times(void *ctx)
{
    struct caller *me = ctx;
    struct framed_client *client;
    char text[40];
    if (framed_client_new(NULL, &client) != FRAMED_OK) return;
    if (framed_client_connect(client, WHERE, 10000) == FRAMED_OK) {
        for (int i = 0; i < 50; i++) {
            struct framed_event event;
            snprintf(text, sizeof text, "caller %d says %d", me->number, i);
            if (framed_client_call(client, framed_bytes_str(text), 10000, &event) != FRAMED_OK) break;
            me->right += event.payload.len == strlen(text) && memcmp(event.payload.at, text, event.payload.len) == 0;
        }
    }
    framed_client_free(client);
    me->done = true;
}

static bool all_done(void *ctx)
{
    const struct caller *callers = ctx;
    for (int i = 0; i < 30; i++) {
        if (!callers[i].done) return false;
    }
    return true;
}

static void thirty_blocking_clients_each_get_their_own_replies(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct rig rig;
        struct caller callers[30] = {{0}};
        rig_start(&rig, seed);
        sim_capacity(50);
        sim_events_per_wait(seed % 3 ? 2 : 0);
        rig_serve(&rig);
        sim_run_ms(0);
        for (int i = 0; i < 30; i++) {
            callers[i].number = i;
            (void)sim_add_actor(call_fifty_times, &callers[i]);
        }
        assert_true(sim_run_until(all_done, callers, 100000));
        for (int i = 0; i < 30; i++) assert_int_equal(callers[i].right, 50);
        sim_run_ms(0);
        rig_stop(&rig);
    }
}

/* ---- no allocation per call after warm-up ---- */

static void calls_allocate_nothing_after_warm_up(void **state)
{
    const size_t sizes[] = {0, 64, 5000, 70000, 1 << 20};
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct rig rig;
        uint64_t before = 0;
        uint8_t *body = pattern(sizes[i]);
        rig_start(&rig, 0);
        rig_serve(&rig);
        struct framed_client *client = client_with(NULL);
        for (int k = 0; k < 300; k++) {
            struct framed_event event;
            if (k == 30) before = meter_read(sim_meter()).calls;
            assert_int_equal(framed_client_call(client, framed_bytes_of(body, sizes[i]), 10000, &event), FRAMED_OK);
            assert_int_equal(event.payload.len, sizes[i]);
        }
        assert_int_equal(meter_read(sim_meter()).calls - before, 0);
        framed_client_free(client);
        free(body);
        rig_stop(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_gets_its_reply),
        cmocka_unit_test(call_gets_replies_of_every_size),
        cmocka_unit_test(call_that_times_out_leaves_the_connection_usable_and_its_late_reply_goes_to_nobody),
        cmocka_unit_test(late_replies_of_many_timeouts_are_counted_off),
        cmocka_unit_test(calls_time_out_each_at_its_own_time),
        cmocka_unit_test(replies_answer_the_calls_in_their_order),
        cmocka_unit_test(calls_begun_while_others_are_open_leave_together_with_the_next_turn),
        cmocka_unit_test(calls_begun_leave_without_a_turn_once_they_fill_a_send),
        cmocka_unit_test(calls_begun_leave_when_the_client_is_freed),
        cmocka_unit_test(calls_begun_together_towards_a_peer_that_takes_nothing_end_at_the_send_deadline),
        cmocka_unit_test(blocking_call_among_started_ones_is_a_misuse),
        cmocka_unit_test(reply_nobody_asked_for_ends_the_connection_as_malformed),
        cmocka_unit_test(end_of_the_peer_with_calls_open_says_maybe_executed),
        cmocka_unit_test(call_after_the_end_is_not_executed),
        cmocka_unit_test(call_is_not_executed_exactly_when_nothing_of_it_left),
        cmocka_unit_test(call_that_times_out_before_it_has_left_is_maybe_executed_for_it_still_leaves),
        cmocka_unit_test(call_that_never_found_a_listener_is_not_executed),
        cmocka_unit_test(connecting_without_waiting_ends_when_it_is_refused),
        cmocka_unit_test(connecting_without_waiting_tells_once_when_it_is_done),
        cmocka_unit_test(blocking_call_while_connecting_waits_for_it),
        cmocka_unit_test(truncated_reply_is_named),
        cmocka_unit_test(oversize_reply_is_named_with_both_sizes_and_what_it_looks_like),
        cmocka_unit_test(oversize_request_is_refused_before_it_is_begun),
        cmocka_unit_test(full_at_max_calls_and_writable_when_there_is_room),
        cmocka_unit_test(full_at_max_calls_until_the_replies_of_calls_that_timed_out_have_come),
        cmocka_unit_test(call_without_room_leaves_who_was_full_before_to_be_told),
        cmocka_unit_test(full_at_max_unsent_and_writable_when_the_peer_reads),
        cmocka_unit_test(finish_half_closes_only_after_the_last_reply),
        cmocka_unit_test(finish_waits_for_the_late_reply_of_a_call_that_timed_out),
        cmocka_unit_test(free_sends_what_waits_and_ends_at_the_latest_after_the_linger_time),
        cmocka_unit_test(free_in_every_state_gives_everything_back),
        cmocka_unit_test(any_amount_passes_tiny_buffers_without_a_deadlock),
        cmocka_unit_test(writing_everything_before_reading_anything_passes_tiny_buffers),
        cmocka_unit_test(thirty_blocking_clients_each_get_their_own_replies),
        cmocka_unit_test(calls_allocate_nothing_after_warm_up),
    };
    return cmocka_run_group_tests_name("sim_client", tests, NULL, NULL);
}
