/*
 * test_sim_channel.c: owns the proof of what server and client do with connections that open (PROTOCOL.md §7) and have checksums
 * (§8): whatever the split, whoever the peer.
 * Must not know how it is done.
 * Invariants: each test is one world; the bytes of the first tests are those of PROTOCOL.md §8.3.
 */
#include "rig.h"
#include <framed/secure.h>

#define OPENING       "\xf7\x46\x01\x10\0\0\0\x04\x3b\x44\xc1\x92"
#define ANSWER        "\xf7\x66\x01\x10\0\0\0\x04\x27\xda\xa8\x89"
#define HELLO_OF_ONE  "\0\0\0\x09hello\x52\x46\x08\xfe"
#define HELLO_OF_BACK "\0\0\0\x09hello\x5d\x2f\x0a\xd5"
#define SIZE(literal) (sizeof(literal) - 1)

static void send_literal(struct sim_peer *peer, const char *bytes, size_t n)
{
    sim_peer_send(peer, bytes, n);
    sim_run_ms(0);
}
#define SEND(peer, literal) send_literal(peer, literal, SIZE(literal))

/* What has come is this, and nothing else; it is taken away. */
static void take_exactly(struct sim_peer *peer, const void *bytes, size_t n)
{
    struct framed_bytes got = sim_peer_received(peer);
    assert_int_equal(got.len, n);
    assert_memory_equal(got.at, bytes, n);
    sim_peer_take(peer, n);
}
#define TAKE(peer, literal) take_exactly(peer, literal, SIZE(literal))

/* A frame with its trailer, in that place. */
static void send_summed(struct sim_peer *peer, enum framed_side from, uint64_t counter, const void *payload, size_t n)
{
    uint8_t *frame = malloc(n + FRAMED_SUM_SIZE);
    assert_non_null(frame);
    if (n > 0) memcpy(frame, payload, n);
    assert_int_equal(framed_sum_add(frame, n, &(struct framed_sum_place){.from = from, .counter = counter}), FRAMED_OK);
    sim_peer_send_frame(peer, frame, n + FRAMED_SUM_SIZE);
    free(frame);
}

static void take_summed(struct sim_peer *peer, enum framed_side from, uint64_t counter, const void *payload, size_t n)
{
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(framed_sum_check(&got, &(struct framed_sum_place){.from = from, .counter = counter}), FRAMED_OK);
    assert_int_equal(got.len, n);
    if (n > 0) assert_memory_equal(got.at, payload, n);
}

static void serve_with(struct rig *rig, uint32_t protections)
{
    rig_start(rig, 0);
    rig->config.protections = protections;
    rig_serve(rig);
}

static struct sim_peer *opened(void)
{
    struct sim_peer *peer = connected();
    SEND(peer, OPENING);
    TAKE(peer, ANSWER);
    return peer;
}

/* ---- the server ---- */

static void opening_and_frames_are_those_of_the_protocol(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = connected();
    SEND(peer, OPENING HELLO_OF_ONE);
    TAKE(peer, ANSWER HELLO_OF_BACK);
    SEND(peer, "\0\0\0\x04\x0b\xe3\xed\xa3");
    take_summed(peer, FRAMED_ACCEPTOR, 2, "", 0);
    sim_peer_finish(peer);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_logged(&rig, "closed: the peer closed the connection"), 1);
    assert_int_equal(rig_stats(&rig).framing_errors, 0);
    rig_stop(&rig);
}

static void any_split_of_an_opening_gives_the_same(void **state)
{
    static const char bytes[] = OPENING HELLO_OF_ONE;
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    for (size_t cut = 0; cut <= SIZE(bytes); cut++) {
        struct sim_peer *peer = connected();
        send_literal(peer, bytes, cut);
        send_literal(peer, bytes + cut, SIZE(bytes) - cut);
        TAKE(peer, ANSWER HELLO_OF_BACK);
        sim_peer_close(peer);
    }
    struct sim_peer *peer = connected();
    for (size_t i = 0; i < SIZE(bytes); i++) send_literal(peer, bytes + i, 1);
    TAKE(peer, ANSWER HELLO_OF_BACK);
    rig_stop(&rig);
}

static void plain_and_checked_connections_live_on_one_port(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = opened();
    assert_serves();
    send_summed(peer, FRAMED_CONNECTOR, 1, "summed", 6);
    sim_run_ms(0);
    take_summed(peer, FRAMED_ACCEPTOR, 1, "summed", 6);
    rig_stop(&rig);
}

static void replies_of_every_kind_have_their_trailers(void **state)
{
    const size_t sizes[] = {0, 1, 60, 1023, 1024, 1025, 4095, 65523, 65524, 65528, 65536, 200000, 3000000};
    struct rig rig;
    uint64_t n = 1;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = opened();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *body = pattern(sizes[i]);
        send_summed(peer, FRAMED_CONNECTOR, n, body, sizes[i]);
        send_summed(peer, FRAMED_CONNECTOR, n + 1, body, sizes[i] < 100 ? sizes[i] : 100); /* a run of two */
        sim_run_ms(0);
        take_summed(peer, FRAMED_ACCEPTOR, n++, body, sizes[i]);
        take_summed(peer, FRAMED_ACCEPTOR, n++, body, sizes[i] < 100 ? sizes[i] : 100);
        if (sizes[i] > 0) { /* kept, and answered later with its own body; with ten times as much */
            body[0] = 'D';
            send_summed(peer, FRAMED_CONNECTOR, n, body, sizes[i]);
            sim_run_ms(0);
            assert_int_equal(rig_answer(&rig, rig.kept_count - 1), FRAMED_OK);
            sim_run_ms(0);
            take_summed(peer, FRAMED_ACCEPTOR, n++, body, sizes[i]);
        }
        if (sizes[i] > 0 && sizes[i] < 100000) {
            body[0] = 'B';
            send_summed(peer, FRAMED_CONNECTOR, n, body, sizes[i]);
            sim_run_ms(0);
            struct framed_bytes got = {0};
            assert_true(sim_peer_frame(peer, &got));
            assert_int_equal(got.len, 10 * sizes[i] + FRAMED_SUM_SIZE);
            assert_int_equal(framed_sum_check(&got, &(struct framed_sum_place){.from = FRAMED_ACCEPTOR, .counter = n++}),
                             FRAMED_OK);
        }
        free(body);
    }
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void frame_that_is_not_as_it_was_sent_ends_the_connection_unread(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    for (size_t bit = 0; bit < 8 * SIZE(HELLO_OF_ONE); bit++) {
        if (bit < 8 * FRAMED_LENGTH_SIZE) continue; /* another length: another test's */
        char frame[] = HELLO_OF_ONE;
        frame[bit / 8] ^= (char)(1 << bit % 8);
        struct sim_peer *peer = opened();
        send_literal(peer, frame, SIZE(HELLO_OF_ONE));
        assert_int_equal(sim_peer_state(peer), SIM_ENDED);
        assert_int_equal(sim_peer_received(peer).len, 0);
    }
    assert_int_equal(rig.started, 0);
    assert_true(rig_logged(&rig, "a checksum was wrong") >= 10);
    assert_int_equal(rig_stats(&rig).framing_errors, 8 * (SIZE(HELLO_OF_ONE) - FRAMED_LENGTH_SIZE));
    rig_stop(&rig);
}

static void frame_lost_doubled_or_without_a_trailer_is_found(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = opened();
    send_summed(peer, FRAMED_CONNECTOR, 2, "the first was lost", 18);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    peer = opened();
    SEND(peer, HELLO_OF_ONE HELLO_OF_ONE);
    TAKE(peer, HELLO_OF_BACK); /* the first was right, and has its reply */
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    peer = opened();
    SEND(peer, HELLO_OF_BACK); /* what the other side says */
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    peer = opened();
    sim_peer_send_frame_text(peer, "abc");
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig.started, 1);
    rig_stop(&rig);
}

static void limit_counts_the_payload_without_its_trailer(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(20001);
    (void)state;
    rig_start(&rig, 0);
    rig.config.max_frame = 20000;
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    SEND(peer, OPENING);
    struct framed_bytes hello = sim_peer_received(peer);
    assert_int_equal(hello.len, 4 + 4 + 6 + 4); /* it says so: max_frame */
    assert_memory_equal(hello.at + 8, "\x01\x04\0\0\x4e\x20", 6);
    sim_peer_take(peer, hello.len);
    send_summed(peer, FRAMED_CONNECTOR, 1, body, 20000);
    sim_run_ms(0);
    take_summed(peer, FRAMED_ACCEPTOR, 1, body, 20000);
    send_summed(peer, FRAMED_CONNECTOR, 2, body, 20001);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_logged(&rig, "a frame of 20001 bytes was claimed, at most 20000 are allowed"), 1);
    free(body);
    rig_stop(&rig);
}

static void reply_longer_than_the_peer_accepts_fails_its_call(void **state)
{
    /* max_frame 16384, trailer included in the length */
    uint8_t opening[4 + 4 + 6 + FRAMED_SUM_SIZE] = "\xf7\x46\x01\x10\0\0\0\x0a\x01\x04\0\0\x40\0";
    struct rig rig;
    uint8_t *body = pattern(2000);
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = connected();
    assert_int_equal(framed_sum_add(opening + 8, 6, &(struct framed_sum_place){.preface = opening}), FRAMED_OK);
    sim_peer_send(peer, opening, sizeof opening);
    sim_run_ms(0);
    TAKE(peer, ANSWER);
    body[0] = 'B';
    send_summed(peer, FRAMED_CONNECTOR, 1, body, 1638);
    sim_run_ms(0);
    struct framed_bytes got;
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(got.len, 16380 + FRAMED_SUM_SIZE);
    send_summed(peer, FRAMED_CONNECTOR, 2, body, 1639);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(sim_peer_received(peer).len, 0);
    assert_int_equal(rig_logged(&rig, "longer than the peer accepts"), 1);
    assert_int_equal(rig_stats(&rig).failed_calls, 1);
    free(body);
    rig_stop(&rig);
}

static void listener_that_wants_checksums_takes_nothing_else(void **state)
{
    static const struct {
        const char *says;
        size_t len;
        const char *line;
    } others[] = {
        {"\0\0\0\x01q", 5, "no preface"},
        {"GET / HTTP/1.1\r\n\r\n", 18, "no preface"},
        {"\xf7\x46\x01\x00\0\0\0\0", 8, "a mode that is not accepted here"},
        {"\xf7\x46\x01\x20\0\0\0\0", 8, "a mode that is not accepted here"},
        {"\xf7\x66\x01\x10\0\0\0\0", 8, "mirror"},
        {"\xf7\x46\x02\x10", 4, "a version that is not spoken here"},
        {"\xff\xff\xff\xff", 4, "4294967295"},
        {OPENING, 11, "it ended inside the opening"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct rig rig;
        serve_with(&rig, 1u << FRAMED_CRC32C);
        struct sim_peer *good = opened(), *peer = connected();
        send_literal(peer, others[i].says, others[i].len);
        if (i == 7) sim_peer_finish(peer);
        sim_run_ms(0);
        assert_int_equal(sim_peer_state(peer), SIM_ENDED);
        assert_int_equal(sim_peer_received(peer).len, 0);
        if (rig_logged(&rig, others[i].line) != 1) {
            print_error("%zu: not said: %s; but %s\n", i, others[i].line, rig.lines[0]);
            fail();
        }
        assert_int_equal(rig.started, 0);
        send_summed(good, FRAMED_CONNECTOR, 1, "good", 4);
        sim_run_ms(0);
        take_summed(good, FRAMED_ACCEPTOR, 1, "good", 4);
        rig_stop(&rig);
    }
}

static void opening_has_a_deadline_that_dribbling_does_not_move(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *silent = connected(), *peer = connected();
    sim_run_ms(1000);
    for (size_t i = 0; i < 6; i++) {
        sim_peer_send(peer, &OPENING[i], 1);
        sim_run_ms(900);
    }
    assert_ended_at(peer, 6000); /* 5 s after its first byte */
    assert_int_equal(rig_logged(&rig, "the opening was not finished in time"), 1);
    assert_int_equal(sim_peer_state(silent), SIM_OPEN); /* it may be a plain one */
    rig_stop(&rig);
    /* Where nothing plain is accepted, silence is no opening either. */
    serve_with(&rig, 1u << FRAMED_CRC32C);
    silent = connected();
    peer = opened();
    sim_run_ms(6000);
    assert_ended_at(silent, 5000);
    assert_int_equal(sim_peer_state(peer), SIM_OPEN);
    rig_stop(&rig);
}

static void drain_ends_an_opening_and_answers_what_is_open(void **state)
{
    struct rig rig;
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = opened(), *half = connected(), *silent = connected();
    send_literal(half, OPENING, 7);
    send_summed(peer, FRAMED_CONNECTOR, 1, "Q", 1);
    sim_run_ms(0);
    take_summed(peer, FRAMED_ACCEPTOR, 1, "Q", 1);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(sim_peer_state(half), SIM_ENDED);
    assert_int_equal(sim_peer_state(silent), SIM_ENDED);
    sim_peer_finish(peer);
    sim_peer_finish(half);
    sim_peer_finish(silent);
    assert_int_equal(rig_drain(&rig, 1000), FRAMED_OK);
    rig_stop(&rig);
}

static void opened_connection_that_is_idle_is_closed_like_any(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.idle_ms = 1000;
    rig_serve(&rig);
    struct sim_peer *peer = opened(), *silent = connected();
    sim_run_ms(2000);
    assert_ended_at(peer, 1000);
    assert_ended_at(silent, 1000);
    assert_int_equal(rig_logged(&rig, "idle for too long"), 2);
    rig_stop(&rig);
}

static void protection_that_is_not_built_is_refused(void **state)
{
    struct framed_client *client = NULL;
    struct framed_client_config asks = client_config();
    const enum framed_protection absent[] = {
        FRAMED_BLAKE2B,           FRAMED_SHARED_KEY,         FRAMED_PINNED_KEYS,
        FRAMED_SHARED_AND_PINNED, (enum framed_protection)3, (enum framed_protection)77};
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        asks.protection = absent[i];
        assert_int_equal(framed_client_new(&asks, &client), FRAMED_UNSUPPORTED);
        rig.config.protections = 1u << (absent[i] & 31) | 1;
        assert_int_equal(framed_server_new(&rig.config, &rig.server), FRAMED_UNSUPPORTED);
    }
    sim_stop();
}

/* ---- the client ---- */

static struct framed_client_config checked(void)
{
    struct framed_client_config config = client_config();
    config.protection = FRAMED_CRC32C;
    return config;
}

static struct framed_client *begun(const struct framed_client_config *config)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    return client;
}

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

/* A client that wants checksums, and has an acceptor that is us. */
struct pair {
    struct sim_acceptor *acceptor;
    struct sim_peer *peer;
    struct framed_client *client;
};

static struct pair pair_begun(void)
{
    struct framed_client_config config = checked();
    struct pair p = {.acceptor = sim_listen(WHERE), .client = begun(&config)};
    step_on(p.client);
    p.peer = sim_accept(p.acceptor);
    assert_non_null(p.peer);
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
        {OPENING, SIZE(OPENING), FRAMED_MALFORMED, "no framed peer here: byte 1: the preface of the same side"},
        {"\xf7\x66\x01\x00\0\0\0\0", 8, FRAMED_MALFORMED, "no framed peer here: byte 3: not the mode that was asked for"},
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
    assert_non_null(strstr(framed_client_error(p.client), "no framed peer here: the opening was not finished in time"));
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
    assert_non_null(strstr(framed_client_error(client), "no framed peer here: "));
    assert_int_equal(framed_client_reconnect(client, 100000), FRAMED_TIMEOUT); /* handshake_ms */
    assert_in_range(sim_now_ms(), 5700, 5900);
    struct framed_event event;
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 10, &event), FRAMED_TIMEOUT);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    sim_acceptor_close(acceptor);
    framed_client_free(client);
    sim_stop();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_and_frames_are_those_of_the_protocol),
        cmocka_unit_test(any_split_of_an_opening_gives_the_same),
        cmocka_unit_test(plain_and_checked_connections_live_on_one_port),
        cmocka_unit_test(replies_of_every_kind_have_their_trailers),
        cmocka_unit_test(frame_that_is_not_as_it_was_sent_ends_the_connection_unread),
        cmocka_unit_test(frame_lost_doubled_or_without_a_trailer_is_found),
        cmocka_unit_test(limit_counts_the_payload_without_its_trailer),
        cmocka_unit_test(reply_longer_than_the_peer_accepts_fails_its_call),
        cmocka_unit_test(listener_that_wants_checksums_takes_nothing_else),
        cmocka_unit_test(opening_has_a_deadline_that_dribbling_does_not_move),
        cmocka_unit_test(drain_ends_an_opening_and_answers_what_is_open),
        cmocka_unit_test(opened_connection_that_is_idle_is_closed_like_any),
        cmocka_unit_test(protection_that_is_not_built_is_refused),
        cmocka_unit_test(calls_go_and_come_with_their_trailers),
        cmocka_unit_test(client_says_and_reads_what_the_protocol_has),
        cmocka_unit_test(answer_may_come_in_any_split),
        cmocka_unit_test(peer_that_does_not_open_is_said_to_be_none),
        cmocka_unit_test(peer_that_closes_or_resets_or_is_silent_is_said_to_be_none),
        cmocka_unit_test(blocking_connect_waits_for_the_opening_and_no_longer),
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
    };
    return cmocka_run_group_tests_name("test_sim_channel", tests, NULL, NULL);
}
