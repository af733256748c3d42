/*
 * test_sim_regress.c: owns one test for each defect that an attack on server and client once found.
 * Must not know how they were mended.
 * Invariants: each test is one world, and went red before the mending.
 */
#include "rig.h"

/* A client in a world of its own, with its raw peer. */
struct world {
    struct sim_acceptor *acceptor;
    struct sim_peer *peer;
    struct framed_client *client;
};

enum { SMALL_CAPACITY = 1000, BODY = 900 };

static struct world world_start(const struct framed_client_config *config, size_t capacity)
{
    struct world w;
    sim_start(1);
    if (capacity > 0) sim_capacity(capacity);
    w.acceptor = sim_listen(WHERE);
    w.client = client_with(config);
    w.peer = sim_accept(w.acceptor);
    assert_non_null(w.peer);
    return w;
}

static struct world world_of_defaults(void)
{
    struct framed_client_config config = client_config();
    return world_start(&config, 0);
}

/* The client is freed already, or is now. */
static void world_stop(struct world *w)
{
    framed_client_free(w->client);
    sim_acceptor_close(w->acceptor);
    sim_peer_close(w->peer);
    sim_stop();
}

static struct framed_client_config messages_config(void)
{
    struct framed_client_config config = client_config();
    config.replies = FRAMED_REPLIES_NONE;
    return config;
}

static void assert_reply(struct framed_client *client, uint64_t call, const char *text)
{
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.call, call);
    assert_int_equal(event.outcome, FRAMED_REPLY);
    assert_bytes(event.payload, text, strlen(text));
}

static void assert_no_reply(struct framed_client *client, uint64_t call, enum framed_outcome outcome, enum framed_status st)
{
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.call, call);
    assert_int_equal(event.outcome, outcome);
    assert_int_equal(event.status, st);
}

static void assert_ended(struct framed_client *client, enum framed_status st)
{
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, st);
}

static void step_for(struct framed_client *client, unsigned times, uint64_t each_ms)
{
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(framed_client_step(client), FRAMED_OK);
        sim_run_ms(each_ms);
    }
}

/* ---- how calls end ---- */

static void client_never_sends_what_it_reported_as_not_executed(void **state)
{
    (void)state;
    enum { CALLS = 4, WHOLE = BODY + FRAMED_LENGTH_SIZE };
    struct framed_client_config config = client_config();
    struct world w = world_start(&config, SMALL_CAPACITY);
    uint8_t *body = pattern(BODY);
    sim_peer_stop_reading(w.peer);
    for (size_t i = 0; i < CALLS; i++) {
        uint64_t id;
        assert_int_equal(framed_client_start(w.client, framed_bytes_of(body, BODY), FRAMED_NEVER, &id), FRAMED_OK);
    }
    sim_peer_finish(w.peer);
    size_t maybe = 0;
    for (size_t i = 0; i < CALLS; i++) {
        struct framed_event event = next_event(w.client, 1000);
        assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
        assert_int_not_equal(event.outcome, FRAMED_REPLY);
        if (event.outcome == FRAMED_MAYBE_EXECUTED) assert_int_equal(maybe++, i); /* they left in order */
    }
    assert_in_range(maybe, 1, CALLS - 1);
    assert_ended(w.client, FRAMED_CLOSED);
    sim_peer_start_reading(w.peer); /* who has room now would be sent the rest */
    step_for(w.client, 20, 10);
    framed_client_free(w.client);
    w.client = NULL;
    sim_run_ms(10);
    assert_in_range(sim_peer_received(w.peer).len, 1, maybe * WHOLE);
    free(body);
    world_stop(&w);
}

static void client_delivers_replies_that_have_come_although_a_send_failed(void **state)
{
    (void)state;
    struct world w = world_of_defaults();
    uint64_t id[4];
    for (size_t i = 0; i < 3; i++) id[i] = started(w.client, "q", FRAMED_NEVER);
    sim_run_ms(1);
    sim_peer_send_frame_text(w.peer, "one");
    sim_peer_send_frame_text(w.peer, "two");
    sim_peer_send_frame_text(w.peer, "three");
    sim_run_ms(1);
    assert_reply(w.client, id[0], "one"); /* the others are in our memory now */
    sim_fail(OP_OFFER, 1, FRAMED_RESET);
    id[3] = started(w.client, "again", FRAMED_NEVER);
    assert_reply(w.client, id[1], "two");
    assert_reply(w.client, id[2], "three");
    assert_no_reply(w.client, id[3], FRAMED_NOT_EXECUTED, FRAMED_RESET);
    assert_ended(w.client, FRAMED_RESET);
    world_stop(&w);
}

static void client_says_maybe_executed_when_the_end_comes_instead_of_the_reply(void **state)
{
    (void)state;
    struct world w = world_of_defaults();
    uint64_t id = started(w.client, "q", FRAMED_NEVER);
    sim_run_ms(1);
    sim_peer_finish(w.peer);
    assert_no_reply(w.client, id, FRAMED_MAYBE_EXECUTED, FRAMED_CLOSED);
    assert_ended(w.client, FRAMED_CLOSED);
    world_stop(&w);
}

/* ---- finishing and freeing ---- */

static void client_half_closes_once_connected_when_it_was_finished_before(void **state)
{
    (void)state;
    struct framed_client_config config = client_config();
    struct framed_event event;
    struct world w = {0};
    sim_start(1);
    w.acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_new(&config, &w.client), FRAMED_OK);
    assert_int_equal(framed_client_connect(w.client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_finish(w.client), FRAMED_OK);
    enum framed_status st;
    while ((st = framed_client_next(w.client, 1000, &event)) == FRAMED_OK)
        assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    assert_int_equal(st, FRAMED_MORE); /* the peer has not ended yet */
    w.peer = sim_accept(w.acceptor);
    assert_non_null(w.peer);
    assert_int_equal(sim_peer_state(w.peer), SIM_ENDED);
    sim_peer_finish(w.peer);
    assert_ended(w.client, FRAMED_CLOSED);
    world_stop(&w);
}

static void client_that_finished_waits_for_the_late_reply_of_a_call_that_timed_out(void **state)
{
    (void)state;
    struct world w = world_of_defaults();
    struct framed_event event;
    uint64_t id = started(w.client, "q", 10);
    assert_int_equal(framed_client_finish(w.client), FRAMED_OK);
    assert_no_reply(w.client, id, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT);
    step_for(w.client, 5, 10);
    assert_int_equal(sim_peer_state(w.peer), SIM_OPEN); /* the peer may drop a reply when it sees the end first */
    sim_peer_send_frame_text(w.peer, "late");
    assert_int_equal(framed_client_next(w.client, 100, &event), FRAMED_MORE); /* thrown away */
    assert_int_equal(sim_peer_state(w.peer), SIM_ENDED);
    sim_peer_finish(w.peer);
    assert_ended(w.client, FRAMED_CLOSED);
    world_stop(&w);
}

static void client_sends_what_it_took_over_when_it_is_freed_after_the_end(void **state)
{
    (void)state;
    struct framed_client_config config = messages_config();
    struct world w = world_start(&config, SMALL_CAPACITY);
    uint8_t *body = pattern(BODY);
    struct framed_bytes frame;
    sim_peer_stop_reading(w.peer);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(framed_client_send(w.client, framed_bytes_of(body, BODY), 1000), FRAMED_OK);
    sim_peer_finish(w.peer);
    assert_int_equal(framed_client_recv(w.client, 1000, &frame), FRAMED_CLOSED);
    sim_peer_start_reading(w.peer);
    framed_client_free(w.client);
    w.client = NULL;
    sim_run_ms(100);
    for (size_t i = 0; i < 4; i++) assert_frame(w.peer, body, BODY);
    assert_no_frame(w.peer);
    assert_int_equal(sim_peer_state(w.peer), SIM_ENDED);
    free(body);
    world_stop(&w);
}

static void client_freed_after_a_protocol_error_closes_without_a_reset(void **state)
{
    (void)state;
    struct world w = world_of_defaults();
    sim_peer_stop_reading(w.peer); /* a reset would take away what it has not read */
    uint64_t id = started(w.client, "q", FRAMED_NEVER);
    sim_run_ms(1);
    sim_peer_send_frame_text(w.peer, "r");
    sim_peer_send_frame_text(w.peer, "unasked");
    sim_run_ms(1);
    assert_reply(w.client, id, "r");
    assert_ended(w.client, FRAMED_MALFORMED);
    sim_peer_send_frame_text(w.peer, "more");
    uint64_t from = sim_now_ms();
    framed_client_free(w.client);
    w.client = NULL;
    assert_in_range(sim_now_ms() - from, 0, 2005); /* linger_ms */
    sim_peer_start_reading(w.peer);
    sim_run_ms(10);
    assert_frame_text(w.peer, "q");
    assert_int_equal(sim_peer_state(w.peer), SIM_ENDED);
    world_stop(&w);
}

/* ---- somebody else's loop ---- */

static void client_lets_the_foreign_loop_sleep_while_it_lingers(void **state)
{
    (void)state;
    enum { LINGER_MS = 2000 };
    struct world w = world_of_defaults();
    sim_peer_send_frame_text(w.peer, "unasked");
    sim_run_ms(1);
    assert_ended(w.client, FRAMED_MALFORMED);
    uint64_t from = sim_now_ms();
    struct framed_want want;
    unsigned steps = 0;
    for (; steps < 20; steps++) {
        assert_int_equal(framed_client_want(w.client, &want), FRAMED_OK);
        if (want.timeout_ms == FRAMED_NEVER) break; /* nothing more to do */
        if (sim_now_ms() < from + LINGER_MS) assert_int_not_equal(want.timeout_ms, 0);
        sim_wait_want(&want);
        assert_int_equal(framed_client_step(w.client), FRAMED_OK);
    }
    assert_in_range(steps, 1, 19);
    assert_int_equal(want.socket, OS_NO_HANDLE);
    assert_in_range(sim_now_ms() - from, LINGER_MS, LINGER_MS + 5);
    world_stop(&w);
}

/* ---- what lies in the last event ---- */

/* So long that it has memory of its own, and so long that it has not. */
static const size_t event_sizes[] = {1, 1000, 70000, 300000};
enum { EVENT_SIZES = sizeof event_sizes / sizeof event_sizes[0] };

static void client_call_sends_unchanged_what_lies_in_the_last_event(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 1);
    rig_serve(&rig);
    struct framed_client_config config = client_config();
    struct framed_client *client = client_with(&config);
    for (size_t i = 0; i < EVENT_SIZES; i++) {
        uint8_t *body = pattern(event_sizes[i]);
        struct framed_event event;
        assert_int_equal(framed_client_call(client, framed_bytes_of(body, event_sizes[i]), 10000, &event), FRAMED_OK);
        for (unsigned again = 0; again < 3; again++) {
            assert_int_equal(framed_client_call(client, event.payload, 10000, &event), FRAMED_OK);
            assert_bytes(event.payload, body, event_sizes[i]);
        }
        free(body);
    }
    framed_client_free(client);
    rig_stop(&rig);
}

/* Reads again when everything that it had to send has been taken. */
struct stubborn {
    struct sim_peer *peer;
    unsigned looks;
};

static void look_again(void *ctx)
{
    struct stubborn *s = ctx;
    if (sim_peer_unsent(s->peer) == 0)
        sim_peer_start_reading(s->peer);
    else if (s->looks++ < 500)
        sim_at(1, look_again, s);
}

static void client_call_sends_unchanged_what_lies_in_the_last_event_when_it_must_wait_for_room(void **state)
{
    (void)state;
    struct framed_client_config config = client_config();
    config.max_unsent = 2 * BODY;
    struct world w = world_start(&config, SMALL_CAPACITY);
    uint8_t *body = pattern(5 * BODY);
    struct framed_event event;
    uint64_t first = started(w.client, "first", FRAMED_NEVER), second;
    sim_run_ms(1);
    assert_frame_text(w.peer, "first");
    sim_peer_stop_reading(w.peer);
    assert_int_equal(framed_client_start(w.client, framed_bytes_of(body, 5 * BODY), 10, &second), FRAMED_OK);
    assert_no_reply(w.client, second, FRAMED_MAYBE_EXECUTED, FRAMED_TIMEOUT); /* and yet most of it waits to be sent */
    sim_peer_send_frame(w.peer, body, BODY);
    event = next_event(w.client, 1000);
    assert_int_equal(event.call, first);
    assert_bytes(event.payload, body, BODY);

    /* The late reply, bytes unlike those of the event, is read while the call waits, and only then does the peer read on. */
    uint8_t late[5 * BODY];
    memset(late, 'x', sizeof late);
    sim_peer_send_frame(w.peer, late, sizeof late);
    struct stubborn stubborn = {.peer = w.peer};
    sim_at(1, look_again, &stubborn);
    assert_int_equal(framed_client_call(w.client, event.payload, 900, &event), FRAMED_TIMEOUT); /* nobody answers it */
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);                                     /* but it was sent */
    assert_frame(w.peer, body, 5 * BODY);
    assert_frame(w.peer, body, BODY);
    free(body);
    world_stop(&w);
}

static void client_send_sends_unchanged_what_lies_in_the_last_event_when_it_must_wait_for_room(void **state)
{
    (void)state;
    struct framed_client_config config = messages_config();
    config.max_unsent = 2 * BODY;
    struct world w = world_start(&config, SMALL_CAPACITY);
    uint8_t *body = pattern(5 * BODY);
    struct framed_bytes frame;
    sim_peer_stop_reading(w.peer);
    sim_peer_send_frame(w.peer, body, BODY);
    assert_int_equal(framed_client_send(w.client, framed_bytes_of(body, 5 * BODY), 1000), FRAMED_OK);
    assert_int_equal(framed_client_recv(w.client, 1000, &frame), FRAMED_OK);
    assert_bytes(frame, body, BODY);
    uint8_t other[BODY / 2] = {0, 0, 4, 0}; /* the beginning of a frame, which lands where the last one lay */
    memset(other + FRAMED_LENGTH_SIZE, 'x', sizeof other - FRAMED_LENGTH_SIZE);
    sim_peer_send(w.peer, other, sizeof other);
    sim_run_ms(1);
    struct stubborn stubborn = {.peer = w.peer};
    sim_at(5, look_again, &stubborn);
    assert_int_equal(framed_client_send(w.client, frame, 1000), FRAMED_OK);
    sim_peer_start_reading(w.peer);
    step_for(w.client, 20, 1);
    assert_frame(w.peer, body, 5 * BODY);
    assert_frame(w.peer, body, BODY);
    free(body);
    world_stop(&w);
}

/* ---- connecting again ---- */

static void client_backs_off_in_later_turns_when_reconnect_may_not_wait(void **state)
{
    (void)state;
    enum { ATTEMPTS = 12, BOUND_MS = 1000 };
    sim_start(1);
    struct framed_client_config config = client_config();
    config.backoff_ms = BOUND_MS;
    struct framed_client *client;
    struct framed_event event;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_REFUSED); /* nobody listens */
    uint64_t from = sim_now_ms(), most = 0;
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        uint64_t before = sim_now_ms();
        assert_int_equal(framed_client_reconnect(client, 0), FRAMED_MORE);
        assert_int_equal(sim_now_ms(), before); /* not here */
        do assert_int_equal(framed_client_next(client, FRAMED_NEVER, &event), FRAMED_OK);
        while (event.kind != FRAMED_EVENT_ENDED);
        assert_int_equal(event.status, FRAMED_REFUSED);
        most += (uint64_t)BOUND_MS << (i < 4 ? i : 4);
        if (i >= 4) most -= (16 - 10) * BOUND_MS; /* at most 10 s */
    }
    assert_in_range(sim_now_ms() - from, most / 4, most + ATTEMPTS * 5); /* half of it is to be expected */
    framed_client_free(client);
    sim_stop();
}

static void client_gives_a_message_of_the_last_connection_after_connecting_again_by_descriptor(void **state)
{
    (void)state;
    struct framed_client_config config = messages_config();
    struct framed_client *client;
    struct sim_peer *one, *two;
    struct framed_bytes frame;
    struct framed_want want;
    char where[32];
    config.idle_ms = 1000; /* ends the first connection although its message was not taken */
    sim_start(1);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    snprintf(where, sizeof where, "fd:%d", (int)sim_fd_connected(&one));
    assert_int_equal(framed_client_connect(client, where, 100), FRAMED_OK);
    sim_peer_send_frame_text(one, "first");
    step_for(client, 15, 100);
    assert_string_not_equal(framed_client_error(client), "");

    snprintf(where, sizeof where, "fd:%d", (int)sim_fd_connected(&two));
    assert_int_equal(framed_client_connect(client, where, 100), FRAMED_OK);
    sim_peer_send_frame_text(two, "SECOND");
    step_for(client, 2, 1);
    assert_int_equal(framed_client_want(client, &want), FRAMED_OK); /* nor does this make room for the second */
    step_for(client, 2, 1);
    assert_int_equal(framed_client_recv(client, 100, &frame), FRAMED_OK);
    assert_bytes(frame, "first", 5);
    assert_int_equal(framed_client_recv(client, 100, &frame), FRAMED_OK);
    assert_bytes(frame, "SECOND", 6);
    framed_client_free(client);
    sim_peer_close(one);
    sim_peer_close(two);
    sim_stop();
}

/* ---- the server ---- */

static void server_accepts_on_when_asking_for_a_connection_failed_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 1);
    sim_fail(OP_ACCEPT, 1, FRAMED_NOMEM);
    rig_serve(&rig);
    sim_run_ms(5);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "hello");
    sim_run_ms(2000);
    assert_frame_text(peer, "hello");
    assert_int_equal(rig_stats(&rig).accept_failures, 1);
    rig_stop(&rig);
}

static void server_counts_each_reply_once_also_when_it_waited_for_its_turn(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 1);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D1");
    sim_peer_send_frame_text(peer, "e2");
    sim_peer_send_frame_text(peer, "D3");
    sim_run_ms(1);
    assert_int_equal(rig_stats(&rig).replies, 0);
    rig_answer_all(&rig);
    sim_run_ms(1);
    sim_peer_send_frame_text(peer, "e4");
    sim_run_ms(1);
    assert_int_equal(rig_stats(&rig).requests, 4);
    assert_int_equal(rig_stats(&rig).replies, 4);
    rig_stop(&rig);
}

static void work_for_three_seconds(struct rig *rig, struct framed_call *call)
{
    (void)rig;
    (void)call;
    framed_os_sleep_ms(3000);
}

static void server_keeps_a_deadline_although_a_handler_took_long(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 1);
    rig.before = work_for_three_seconds;
    rig.config.call_ms = 5000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    uint64_t from = sim_now_ms();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(20000);
    assert_ended_at(peer, from + 5000);
    rig_stop(&rig);
}

static void server_counts_a_call_deadline_among_the_deadlines(void **state)
{
    (void)state;
    struct rig rig;
    rig_start(&rig, 1);
    rig.config.call_ms = 1000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(500);
    assert_int_equal(rig_stats(&rig).deadlines, 0);
    sim_run_ms(4500);
    assert_int_equal(rig_stats(&rig).deadlines, 1);
    assert_int_equal(rig_stats(&rig).failed_calls, 1);
    rig_stop(&rig);
}

static void server_gives_a_thread_s_reply_what_its_loop_only_keeps(void **state)
{
    (void)state;
    enum { WHOLE = 6 << 20, REPLY = 4 << 20, LIMIT = 9 << 20 };
    struct rig rig;
    rig_start(&rig, 1);
    rig.config.max_memory = LIMIT;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    uint8_t *body = pattern(WHOLE);
    sim_peer_send_frame(peer, body, WHOLE);
    sim_run_ms(1000);
    assert_frame(peer, body, WHOLE);
    assert_true(rig_stats(&rig).memory + REPLY > LIMIT); /* kept, and in nobody's use */
    sim_peer_send_frame_text(peer, "D");
    sim_run_ms(1);
    assert_int_equal(rig.kept_count, 1);
    sim_thread(99);
    enum framed_status st = framed_call_reply(rig.kept[0], framed_bytes_of(body, REPLY));
    sim_thread(1);
    rig.kept[0] = NULL;
    assert_int_equal(st, FRAMED_OK);
    sim_run_ms(1000);
    assert_frame(peer, body, REPLY);
    free(body);
    rig_stop(&rig);
}

enum { SLICE = 20000, LARGE = 1 << 20 };

static void reply_with_a_slice(struct rig *rig, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    if (body.len == LARGE) rig->last_reply = framed_call_reply(call, framed_bytes_of(body.at + LARGE / 2, SLICE));
}

static void server_does_not_hold_a_large_body_for_a_small_slice_that_waits_to_be_sent(void **state)
{
    (void)state;
    enum { REQUESTS = 30 };
    struct rig rig;
    rig_start(&rig, 1);
    sim_capacity(SMALL_CAPACITY);
    rig.before = reply_with_a_slice;
    rig_serve(&rig);
    uint8_t *body = pattern(LARGE);
    body[0] = 'X'; /* the rig itself says nothing */
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    for (size_t i = 0; i < REQUESTS; i++) {
        sim_peer_send_frame(peer, body, LARGE);
        sim_run_ms(100);
        assert_int_equal(rig.last_reply, FRAMED_OK);
    }
    assert_int_equal(rig.started, REQUESTS);
    assert_in_range(rig_stats(&rig).memory, 0, 4 * LARGE); /* one in hand, and what is kept */
    sim_peer_start_reading(peer);
    sim_run_ms(100);
    for (size_t i = 0; i < REQUESTS; i++) assert_frame(peer, body + LARGE / 2, SLICE);
    free(body);
    rig_stop(&rig);
}

static void server_does_not_hold_a_large_body_for_a_small_slice_that_waits_for_its_turn(void **state)
{
    (void)state;
    enum { REQUESTS = 30 };
    struct rig rig;
    rig_start(&rig, 1);
    rig.before = reply_with_a_slice;
    rig_serve(&rig);
    uint8_t *body = pattern(LARGE);
    body[0] = 'X'; /* the rig itself says nothing */
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "D");
    for (size_t i = 0; i < REQUESTS; i++) {
        sim_peer_send_frame(peer, body, LARGE);
        sim_run_ms(100);
        assert_int_equal(rig.last_reply, FRAMED_OK);
    }
    assert_int_equal(rig.started, 1 + REQUESTS);
    assert_in_range(rig_stats(&rig).memory, 0, 4 * LARGE); /* one in hand, and what is kept */
    assert_int_equal(rig_answer(&rig, 0), FRAMED_OK);
    sim_run_ms(100);
    assert_frame_text(peer, "D");
    for (size_t i = 0; i < REQUESTS; i++) assert_frame(peer, body + LARGE / 2, SLICE);
    free(body);
    rig_stop(&rig);
}

static void server_ends_a_drained_connection_whose_last_request_filled_the_output(void **state)
{
    (void)state;
    enum { BYTES = 3000, ROUND = 3 };
    struct rig rig;
    rig_start(&rig, 1);
    sim_capacity(10000);
    rig.config.max_unsent = 500; /* less than any reply */
    rig_serve(&rig);
    uint8_t *body = pattern(BYTES);
    struct sim_peer *peer = connected();
    sim_peer_stop_reading(peer);
    for (size_t i = 0; i < ROUND; i++) sim_peer_send_frame(peer, body, BYTES); /* their replies fill the connection */
    sim_run_ms(1);
    assert_int_equal(rig.started, ROUND);
    for (size_t i = 0; i < ROUND; i++) sim_peer_send_frame(peer, body, BYTES);
    sim_run_ms(1);
    assert_int_equal(rig.started, ROUND + 1); /* the others have been read, and wait */
    framed_server_drain(rig.server);
    sim_run_ms(1);
    sim_peer_start_reading(peer);
    sim_peer_finish(peer);
    assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
    for (size_t i = 0; i < 2 * ROUND; i++) assert_frame(peer, body, BYTES);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    free(body);
    rig_stop(&rig);
}

/* Found by a trial whose client went on calling on a connection that its send deadline had ended. */
static void client_call_that_timed_out_tells_whether_the_connection_is_over(void **state)
{
    static uint8_t large[200000];
    struct framed_client_config config = client_config();
    struct framed_event event;
    struct rig rig;
    (void)state;
    config.send_ms = 1000;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct framed_client *client = client_with(&config);
    assert_int_equal(framed_client_call(client, framed_bytes_str("D"), 100, &event), FRAMED_TIMEOUT);
    assert_string_equal(framed_client_error(client), "");
    assert_int_equal(framed_client_reconnect(client, 1000), FRAMED_USAGE); /* it is connected still */
    (void)rig_answer(&rig, 0);
    assert_call_echoes(client, "usable");
    sim_actor_stall(rig.actor, 5000);
    assert_int_equal(framed_client_call(client, framed_bytes_of(large, sizeof large), FRAMED_NEVER, &event), FRAMED_TIMEOUT);
    assert_non_null(strstr(framed_client_error(client), "does not take what is sent"));
    assert_int_equal(framed_client_call(client, framed_bytes_str("too late"), 100, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    assert_int_equal(framed_client_reconnect(client, 10000), FRAMED_OK);
    assert_call_echoes(client, "usable again");
    framed_client_free(client);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_never_sends_what_it_reported_as_not_executed),
        cmocka_unit_test(client_delivers_replies_that_have_come_although_a_send_failed),
        cmocka_unit_test(client_says_maybe_executed_when_the_end_comes_instead_of_the_reply),
        cmocka_unit_test(client_half_closes_once_connected_when_it_was_finished_before),
        cmocka_unit_test(client_that_finished_waits_for_the_late_reply_of_a_call_that_timed_out),
        cmocka_unit_test(client_sends_what_it_took_over_when_it_is_freed_after_the_end),
        cmocka_unit_test(client_freed_after_a_protocol_error_closes_without_a_reset),
        cmocka_unit_test(client_lets_the_foreign_loop_sleep_while_it_lingers),
        cmocka_unit_test(client_call_sends_unchanged_what_lies_in_the_last_event),
        cmocka_unit_test(client_call_sends_unchanged_what_lies_in_the_last_event_when_it_must_wait_for_room),
        cmocka_unit_test(client_send_sends_unchanged_what_lies_in_the_last_event_when_it_must_wait_for_room),
        cmocka_unit_test(client_backs_off_in_later_turns_when_reconnect_may_not_wait),
        cmocka_unit_test(client_gives_a_message_of_the_last_connection_after_connecting_again_by_descriptor),
        cmocka_unit_test(server_accepts_on_when_asking_for_a_connection_failed_once),
        cmocka_unit_test(server_counts_each_reply_once_also_when_it_waited_for_its_turn),
        cmocka_unit_test(server_keeps_a_deadline_although_a_handler_took_long),
        cmocka_unit_test(server_counts_a_call_deadline_among_the_deadlines),
        cmocka_unit_test(server_gives_a_thread_s_reply_what_its_loop_only_keeps),
        cmocka_unit_test(server_does_not_hold_a_large_body_for_a_small_slice_that_waits_to_be_sent),
        cmocka_unit_test(server_does_not_hold_a_large_body_for_a_small_slice_that_waits_for_its_turn),
        cmocka_unit_test(server_ends_a_drained_connection_whose_last_request_filled_the_output),
        cmocka_unit_test(client_call_that_timed_out_tells_whether_the_connection_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
