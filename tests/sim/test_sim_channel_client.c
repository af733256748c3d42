/*
 * test_sim_channel_client.c: owns the proof of what a client does with connections that open (PROTOCOL.md §7) and have checksums (§8).
 * Must not know how it is done.
 * Invariants: each test is one world; where the other end is raw, the test decides what it does and when.
 */
#include "channel.h"

static void assert_writable(struct framed_client *client)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, 10, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
}

static void step_on(struct framed_client *client)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, 1, &event), FRAMED_MORE);
}

static struct framed_client *begun(const struct framed_client_config *config)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    step_on(client);
    return client;
}

/* A client that wants checksums, and has an acceptor that is us. */
struct pair {
    struct sim_acceptor *acceptor;
    struct sim_peer *peer;
    struct framed_client *client;
};

/* Nothing of the opening has been read yet. */
static struct pair pair_begun_with(const struct framed_client_config *config)
{
    struct pair p = {.acceptor = sim_listen(WHERE), .client = begun(config)};
    p.peer = sim_accept(p.acceptor);
    assert_non_null(p.peer);
    return p;
}

static struct pair pair_begun(void)
{
    struct framed_client_config config = checked();
    struct pair p = pair_begun_with(&config);
    TAKE(p.peer, OPENING);
    return p;
}

static struct pair pair_opened(void)
{
    struct pair p = pair_begun();
    SEND(p.peer, ANSWER);
    assert_writable(p.client);
    return p;
}

static void pair_stop(struct pair *p)
{
    framed_client_free(p->client);
    sim_stop();
}

static void calls_go_and_come_with_their_trailers(void **state)
{
    const size_t sizes[] = {0, 1, 1024, 5000, 65524, 65528, 65536, 200000, 1000000};
    struct rig rig;
    (void)state;
    serve_with(&rig, 1u << FRAMED_CRC32C);
    struct framed_client_config config = checked();
    struct framed_client *client = client_with(&config);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct framed_event event;
        uint8_t *body = pattern(sizes[i]);
        assert_int_equal(framed_client_call(client, framed_bytes_of(body, sizes[i]), 10000, &event), FRAMED_OK);
        assert_bytes(event.payload, body, sizes[i]);
        free(body);
    }
    framed_client_free(client);
    rig_stop(&rig);
}

static void client_says_and_reads_what_the_protocol_has(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_opened();
    uint64_t id = started(p.client, "hello", 1000);
    sim_run_ms(0);
    TAKE(p.peer, HELLO_OF_ONE);
    SEND(p.peer, HELLO_OF_BACK);
    struct framed_event event = next_event(p.client, 10);
    assert_int_equal(event.call, id);
    assert_bytes(event.payload, "hello", 5);
    pair_stop(&p);
}

static void answer_may_come_in_any_split(void **state)
{
    static const char bytes[] = ANSWER;
    (void)state;
    for (size_t cut = 1; cut < SIZE(bytes); cut++) {
        sim_start(0);
        struct pair p = pair_begun();
        send_literal(p.peer, bytes, cut);
        step_on(p.client);
        uint64_t id = 0;
        assert_int_equal(framed_client_start(p.client, framed_bytes_str("x"), 1000, &id), FRAMED_FULL); /* not yet */
        send_literal(p.peer, bytes + cut, SIZE(bytes) - cut);
        assert_writable(p.client);
        started(p.client, "hello", 1000);
        sim_run_ms(0);
        TAKE(p.peer, HELLO_OF_ONE);
        pair_stop(&p);
    }
}

/* Connecting comes to nothing: so says the event, and the error. */
static void assert_never_opens(struct pair *p, enum framed_status status, const char *words)
{
    struct framed_event event = next_event(p->client, 100000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, status);
    if (strstr(framed_client_error(p->client), words) == NULL) {
        print_error("not said: %s; but %s\n", words, framed_client_error(p->client));
        fail();
    }
    sim_run_ms(0);
    assert_true(sim_peer_let_go(p->peer));
    pair_stop(p);
}

static void peer_that_does_not_open_is_said_to_be_none(void **state)
{
    static const struct {
        const char *says;
        size_t len;
        enum framed_status status;
        const char *words;
    } peers[] = {
        {"\0\0\0\x05hello", 9, FRAMED_MALFORMED, "no framed peer here: byte 0: no preface"},
        {"HTTP/1.1 400 Bad Request\r\n", 26, FRAMED_MALFORMED, "no framed peer here: byte 0: no preface"},
        {"\xff\xff\xff\xff", 4, FRAMED_TOO_LARGE, "no framed peer here: byte 0: neither a length nor a preface"},
        {OPENING, SIZE(OPENING), FRAMED_MALFORMED, "it does not open as it should: byte 1: the preface of the same side"},
        {"\xf7\x66\x01\x00\0\0\0\0", 8, FRAMED_MALFORMED,
         "it does not open as it should: byte 3: not the mode that was asked for: 00 (no checksum); allowed 10 (crc32c)"},
        {"\xf7\x66\x01\x10\0\0\0\x04\0\0\0\0", 12, FRAMED_MALFORMED, "the checksum of the HELLO"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        sim_start(0);
        struct pair p = pair_begun();
        send_literal(p.peer, peers[i].says, peers[i].len);
        assert_never_opens(&p, peers[i].status, peers[i].words);
    }
}

static void peer_that_closes_or_resets_or_is_silent_is_said_to_be_none(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    sim_peer_finish(p.peer);
    assert_never_opens(&p, FRAMED_TRUNCATED, "no framed peer here: it ended inside the opening");
    sim_start(0);
    p = pair_begun();
    sim_peer_reset(p.peer);
    assert_never_opens(&p, FRAMED_RESET, "no framed peer here: ");
    sim_start(0);
    p = pair_begun();
    uint64_t began = sim_now_ms();
    struct framed_event event = next_event(p.client, 100000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms() - began, 4990, 5010);
    assert_non_null(
        strstr(framed_client_error(p.client), "no framed peer here, or a busy one: the opening was not finished in time"));
    pair_stop(&p);
}

static void blocking_connect_waits_for_the_opening_and_no_longer(void **state)
{
    struct framed_client *client = NULL;
    struct framed_client_config config = checked();
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 700), FRAMED_TIMEOUT);
    assert_int_equal(sim_now_ms(), 700);
    assert_non_null(
        strstr(framed_client_error(client), ": timed out")); /* the caller's patience: nothing is known of the peer */
    assert_int_equal(framed_client_reconnect(client, 100000), FRAMED_TIMEOUT); /* handshake_ms */
    assert_in_range(sim_now_ms(), 5700, 5900);
    struct framed_event event;
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 10, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    sim_acceptor_close(acceptor);
    framed_client_free(client);
    sim_stop();
}

/* Why an attempt came to nothing is not said of the next, to somewhere else. */
static void reason_goes_with_its_attempt(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    SEND(p.peer, "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(next_event(p.client, 100).kind, FRAMED_EVENT_ENDED);
    assert_non_null(strstr(framed_client_error(p.client), "no framed peer here"));
    assert_int_equal(framed_client_connect(p.client, "nosuch.invalid:1", 100), FRAMED_NOT_FOUND);
    assert_null(strstr(framed_client_error(p.client), "no framed peer here"));
    assert_int_not_equal(framed_client_connect(p.client, "127.0.0.1:notaport", 100), FRAMED_OK);
    assert_null(strstr(framed_client_error(p.client), "no framed peer here"));
    assert_int_equal(framed_client_longest(p.client), 16 << 20);
    pair_stop(&p);
}

static void plain_server_and_checked_client_part_at_once(void **state)
{
    struct rig rig;
    struct framed_client *client = NULL;
    struct framed_client_config config = checked();
    (void)state;
    serve_with(&rig, 1u << FRAMED_UNPROTECTED);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_TRUNCATED);
    assert_non_null(strstr(framed_client_error(client), "no framed peer here: it ended inside the opening"));
    assert_int_equal(rig_logged(&rig, "an extended framed connection"), 1);
    framed_client_free(client);
    rig_stop(&rig);
}

static void checked_server_and_plain_client_part_at_once(void **state)
{
    struct rig rig;
    struct framed_event event;
    (void)state;
    serve_with(&rig, 1u << FRAMED_CRC32C);
    struct framed_client *client = client_with(NULL);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_CLOSED);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(rig.started, 0);
    framed_client_free(client);
    rig_stop(&rig);
}

static void wrong_reply_ends_the_connection_and_reaches_nobody(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_opened();
    uint64_t id = started(p.client, "hello", 1000);
    sim_run_ms(0);
    SEND(p.peer, HELLO_OF_ONE); /* what it said itself */
    struct framed_event event = next_event(p.client, 10);
    assert_int_equal(event.call, id);
    assert_int_equal(event.status, FRAMED_MALFORMED);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_non_null(strstr(framed_client_error(p.client), "a checksum was wrong"));
    pair_stop(&p);
}

static void reply_that_nobody_asked_for_is_still_called_that(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_opened();
    SEND(p.peer, HELLO_OF_BACK);
    assert_int_equal(next_event(p.client, 10).status, FRAMED_MALFORMED);
    assert_non_null(strstr(framed_client_error(p.client), "a reply came that nobody asked for"));
    pair_stop(&p);
}

static void what_has_not_left_was_not_executed(void **state)
{
    (void)state;
    sim_start(0);
    sim_capacity(SIZE(HELLO_OF_ONE));
    struct pair p = pair_opened();
    sim_peer_stop_reading(p.peer);
    uint64_t one = started(p.client, "hello", 1000), two = started(p.client, "two", 1000);
    step_on(p.client);
    sim_peer_finish(p.peer);
    struct framed_event first = next_event(p.client, 10), second = next_event(p.client, 10);
    assert_int_equal(first.call, one);
    assert_int_equal(first.outcome, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(second.call, two);
    assert_int_equal(second.outcome, FRAMED_NOT_EXECUTED);
    sim_peer_start_reading(p.peer);
    sim_run_ms(0);
    TAKE(p.peer, HELLO_OF_ONE);
    pair_stop(&p);
}

static void request_longer_than_the_peer_accepts_is_refused_and_harms_nothing(void **state)
{
    uint8_t answer[4 + 4 + 6 + FRAMED_SUM_SIZE] = "\xf7\x66\x01\x10\0\0\0\x0a\x01\x04\0\0\x40\0";
    uint8_t *body = pattern(16385);
    uint64_t id;
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    assert_int_equal(framed_sum_add(answer + 8, 6, &(struct framed_sum_place){.from = FRAMED_ACCEPTOR, .preface = answer}),
                     FRAMED_OK);
    sim_peer_send(p.peer, answer, sizeof answer);
    assert_writable(p.client);
    assert_int_equal(framed_client_longest(p.client), 16384);
    assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 16385), 1000, &id), FRAMED_TOO_LARGE);
    assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 16384), 1000, &id), FRAMED_OK);
    sim_run_ms(0);
    take_summed(p.peer, FRAMED_CONNECTOR, 1, body, 16384);
    free(body);
    pair_stop(&p);
}

static void connected_descriptor_opens_like_any(void **state)
{
    struct framed_client *client = NULL;
    struct framed_client_config config = checked();
    struct sim_peer *peer;
    char address[32];
    (void)state;
    sim_start(0);
    snprintf(address, sizeof address, "fd:%d", (int)sim_fd_connected(&peer));
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, address, 0), FRAMED_MORE);
    step_on(client);
    TAKE(peer, OPENING);
    SEND(peer, ANSWER);
    assert_writable(client);
    framed_client_free(client);
    /* and comes to nothing like any */
    snprintf(address, sizeof address, "fd:%d", (int)sim_fd_connected(&peer));
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    sim_peer_finish(peer);
    assert_int_equal(framed_client_connect(client, address, 1000), FRAMED_TRUNCATED);
    framed_client_free(client);
    sim_stop();
}

static void client_asks_again_after_its_connection_has_ended(void **state)
{
    struct rig rig;
    struct framed_event event;
    struct framed_client_config config = checked();
    (void)state;
    serve_with(&rig, 1u << FRAMED_CRC32C);
    struct framed_client *client = client_with(&config);
    for (int i = 0; i < 3; i++) {
        assert_call_echoes(client, "before");
        assert_call_echoes(client, "and again");
        assert_int_not_equal(framed_client_call(client, framed_bytes_str("F"), 1000, &event), FRAMED_OK);
        while (framed_client_next(client, 10, &event) == FRAMED_OK) continue;
        assert_int_equal(framed_client_reconnect(client, 1000), FRAMED_OK);
    }
    framed_client_free(client);
    rig_stop(&rig);
}

/* Where anything may fail: what is said of the call is true. */
static void try_a_call(struct framed_client *client, const struct rig *rig)
{
    struct framed_event event;
    if (framed_client_connect(client, WHERE, 1000) != FRAMED_OK) {
        assert_int_equal(rig->started, 0);
        return;
    }
    enum framed_status st = framed_client_call(client, framed_bytes_str("x"), 1000, &event);
    if (event.outcome == FRAMED_NOT_EXECUTED) assert_int_equal(rig->started, 0);
    if (event.outcome == FRAMED_REPLY) assert_bytes(event.payload, "x", 1);
    assert_int_equal(st == FRAMED_OK, event.outcome == FRAMED_REPLY);
}

static void nobodys_failure_is_lost_in_an_opening(void **state)
{
    static const enum sim_op ops[] = {OP_ATTACH, OP_RECEIVE, OP_RECEIVED, OP_OFFER,
                                      OP_SEND,   OP_SENT,    OP_CONNECT,  OP_CONNECTED};
    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        bool reached = true;
        for (uint64_t n = 1; reached; n++) {
            struct rig rig;
            struct framed_client *client = NULL;
            struct framed_client_config config = checked();
            serve_with(&rig, 0);
            assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
            sim_fail(ops[i], n, FRAMED_OS);
            try_a_call(client, &rig);
            reached = sim_failures_reached() > 0;
            sim_fail_never();
            framed_client_free(client);
            assert_serves();
            rig_stop(&rig);
        }
    }
}

static void every_allocation_of_an_opening_may_fail(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct rig rig;
        struct framed_client *client = NULL;
        struct framed_client_config config = checked();
        serve_with(&rig, 0);
        assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
        meter_fail_at(sim_meter(), n, METER_ONCE);
        try_a_call(client, &rig);
        failed = meter_reached(sim_meter()) > 0;
        meter_fail_at(sim_meter(), 0, METER_ONCE);
        framed_client_free(client);
        assert_serves();
        rig_stop(&rig);
    }
}

static void finish_while_it_opens_half_closes_once_it_is_open(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(p.peer), SIM_OPEN);
    SEND(p.peer, ANSWER);
    assert_writable(p.client);
    sim_run_ms(1);
    assert_int_equal(sim_peer_state(p.peer), SIM_ENDED);
    sim_peer_finish(p.peer);
    struct framed_event event = next_event(p.client, 100);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    pair_stop(&p);
    /* nobody answers */
    sim_start(0);
    p = pair_begun();
    assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
    event = next_event(p.client, 60000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    assert_int_equal(framed_client_next(p.client, 10, &event), FRAMED_TIMEOUT);
    pair_stop(&p);
}

static void free_while_it_opens_takes_no_time(void **state)
{
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    uint64_t now = sim_now_ms();
    framed_client_free(p.client);
    assert_true(sim_now_ms() <= now + 1);
    sim_stop();
}

static void somebody_elses_loop_sees_the_deadline(void **state)
{
    struct framed_event event;
    int turns = 0;
    bool ended = false;
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    while (!ended && turns++ < 100) {
        struct framed_want want;
        assert_int_equal(framed_client_want(p.client, &want), FRAMED_OK);
        sim_wait_want(&want);
        assert_int_equal(framed_client_step(p.client), FRAMED_OK);
        while (framed_client_next(p.client, 0, &event) == FRAMED_OK) ended |= event.kind == FRAMED_EVENT_ENDED;
    }
    assert_true(turns < 10);
    assert_in_range(sim_now_ms(), 4990, 5020);
    pair_stop(&p);
}

static void wake_ends_a_wait_while_it_opens(void **state)
{
    struct framed_event event;
    (void)state;
    sim_start(0);
    struct pair p = pair_begun();
    framed_client_wake(p.client);
    assert_int_equal(framed_client_next(p.client, 1000, &event), FRAMED_MORE);
    assert_true(sim_now_ms() < 100);
    pair_stop(&p);
}

static void frames_that_answer_nothing_have_trailers_too(void **state)
{
    struct framed_client_config config = checked();
    struct framed_bytes frame;
    (void)state;
    sim_start(0);
    config.replies = FRAMED_REPLIES_NONE;
    struct pair p = pair_begun_with(&config);
    TAKE(p.peer, OPENING);
    sim_peer_send(p.peer, ANSWER, SIZE(ANSWER));
    send_summed(p.peer, FRAMED_ACCEPTOR, 1, "pushed", 6);
    send_summed(p.peer, FRAMED_ACCEPTOR, 2, "twice", 5);
    assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_OK);
    assert_bytes(frame, "pushed", 6);
    assert_int_equal(framed_client_send(p.client, frame, 1000), FRAMED_OK); /* what lies in the event */
    assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_OK);
    assert_bytes(frame, "twice", 5);
    sim_run_ms(0);
    take_summed(p.peer, FRAMED_CONNECTOR, 1, "pushed", 6);
    pair_stop(&p);
}

/* The peer answers before it has taken our opening; what waits behind it has not left. */
static void opening_that_has_not_left_yet_is_no_call(void **state)
{
    struct framed_client_config config = checked();
    struct framed_event event = {0};
    (void)state;
    sim_start(0);
    sim_capacity(5);
    struct pair p = pair_begun_with(&config);
    sim_peer_stop_reading(p.peer);
    sim_peer_send(p.peer, ANSWER, SIZE(ANSWER));
    for (int i = 0; i < 20 && event.kind != FRAMED_EVENT_WRITABLE; i++)
        if (framed_client_next(p.client, 1, &event) != FRAMED_OK) continue;
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
    uint64_t one = started(p.client, "hello", 1000);
    sim_peer_finish(p.peer);
    event = next_event(p.client, 100);
    assert_int_equal(event.call, one);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    pair_stop(&p);
}

/* What failed here is not said of the peer. */
static void own_failure_is_not_blamed_on_the_peer(void **state)
{
    static const enum sim_op ops[] = {OP_OFFER, OP_RECEIVE};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        sim_start(0);
        struct framed_client_config config = checked();
        struct framed_client *client = NULL;
        (void)sim_listen(WHERE);
        assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
        sim_fail(ops[i], 1, FRAMED_NOMEM);
        assert_int_equal(framed_client_connect(client, WHERE, 100), FRAMED_NOMEM);
        sim_fail_never();
        assert_null(strstr(framed_client_error(client), "no framed peer"));
        framed_client_free(client);
        sim_stop();
    }
}

/* Is the deadline named that has passed? */
static void deadline_on_sending_is_called_that(void **state)
{
    struct framed_client_config config = checked();
    (void)state;
    sim_start(0);
    sim_capacity(5);
    config.send_ms = 1000;
    struct pair p = pair_begun_with(&config);
    sim_peer_stop_reading(p.peer);
    assert_int_equal(next_event(p.client, 60000).status, FRAMED_TIMEOUT);
    assert_null(strstr(framed_client_error(p.client), "the opening was not finished in time"));
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_go_and_come_with_their_trailers),
        cmocka_unit_test(client_says_and_reads_what_the_protocol_has),
        cmocka_unit_test(answer_may_come_in_any_split),
        cmocka_unit_test(peer_that_does_not_open_is_said_to_be_none),
        cmocka_unit_test(peer_that_closes_or_resets_or_is_silent_is_said_to_be_none),
        cmocka_unit_test(blocking_connect_waits_for_the_opening_and_no_longer),
        cmocka_unit_test(reason_goes_with_its_attempt),
        cmocka_unit_test(plain_server_and_checked_client_part_at_once),
        cmocka_unit_test(checked_server_and_plain_client_part_at_once),
        cmocka_unit_test(wrong_reply_ends_the_connection_and_reaches_nobody),
        cmocka_unit_test(reply_that_nobody_asked_for_is_still_called_that),
        cmocka_unit_test(what_has_not_left_was_not_executed),
        cmocka_unit_test(request_longer_than_the_peer_accepts_is_refused_and_harms_nothing),
        cmocka_unit_test(connected_descriptor_opens_like_any),
        cmocka_unit_test(client_asks_again_after_its_connection_has_ended),
        cmocka_unit_test(nobodys_failure_is_lost_in_an_opening),
        cmocka_unit_test(every_allocation_of_an_opening_may_fail),
        cmocka_unit_test(finish_while_it_opens_half_closes_once_it_is_open),
        cmocka_unit_test(free_while_it_opens_takes_no_time),
        cmocka_unit_test(somebody_elses_loop_sees_the_deadline),
        cmocka_unit_test(wake_ends_a_wait_while_it_opens),
        cmocka_unit_test(frames_that_answer_nothing_have_trailers_too),
        cmocka_unit_test(opening_that_has_not_left_yet_is_no_call),
        cmocka_unit_test(own_failure_is_not_blamed_on_the_peer),
        cmocka_unit_test(deadline_on_sending_is_called_that),
    };
    return cmocka_run_group_tests_name("test_sim_channel_client", tests, NULL, NULL);
}
