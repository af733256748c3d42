/*
 * test_sim_channel.c: owns the proof of what a server does with connections that open (PROTOCOL.md §7) and have checksums
 * (§8): whatever the split, whoever the peer.
 * Must not know how it is done.
 * Invariants: each test is one world; the bytes of the first tests are those of PROTOCOL.md §8.3.
 */
#include "channel.h"

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
    struct rig rig;
    uint8_t *body = pattern(2000);
    (void)state;
    serve_with(&rig, 0);
    struct sim_peer *peer = connected();
    open_for_16_kib(peer);
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
        {"\xff\xff\xff\xff", 4, "neither a length nor a preface"},
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
#ifndef FRAMED_SODIUM
        FRAMED_BLAKE2B,
#endif
        FRAMED_SHARED_KEY,
        FRAMED_PINNED_KEYS,
        FRAMED_SHARED_AND_PINNED,
        (enum framed_protection)3,
        (enum framed_protection)77};
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
#ifdef FRAMED_SODIUM
        const enum framed_status want = absent[i] >= FRAMED_SHARED_KEY && absent[i] <= FRAMED_SHARED_AND_PINNED
                                            ? FRAMED_USAGE
                                            : FRAMED_UNSUPPORTED; /* no keys */
#else
        const enum framed_status want = FRAMED_UNSUPPORTED;
#endif
        asks.protection = absent[i];
        assert_int_equal(framed_client_new(&asks, &client), want);
        rig.config.protections = 1u << (absent[i] & 31) | 1;
        assert_int_equal(framed_server_new(&rig.config, &rig.server), want);
    }
    sim_stop();
}

static void frame_with_a_wrong_checksum_is_no_request(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = opened();
    send_summed(peer, FRAMED_CONNECTOR, 7, "wrong", 5);
    sim_run_ms(0);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig.started, 0);
    assert_int_equal(rig_stats(&rig).framing_errors, 1);
    assert_int_equal(rig_stats(&rig).requests, 0); /* "given to the handler" */
    rig_stop(&rig);
}

static void drain_of_a_silent_connection_says_drained(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *silent = connected();
    sim_run_ms(10);
    assert_int_equal(rig_drain(&rig, 5000), FRAMED_OK);
    (void)silent;
    assert_int_equal(rig_logged(&rig, "closed: drained"), 1);
    rig_stop(&rig);
}

static void fin_behind_opening_and_frame_is_answered(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, OPENING, SIZE(OPENING));
    send_summed(peer, FRAMED_CONNECTOR, 1, "last", 4);
    sim_peer_finish(peer);
    sim_run_ms(1);
    sim_peer_take(peer, 12);
    struct framed_bytes got;
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(framed_sum_check(&got, &(struct framed_sum_place){.from = FRAMED_ACCEPTOR, .counter = 1}), FRAMED_OK);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_true(sim_peer_let_go(peer));
    rig_stop(&rig);
}

/* Three kept calls; the second's answer is longer than the peer accepts. */
static void kept_reply_too_long_for_the_peer(void **state)
{
    struct rig rig;
    uint8_t *body = pattern(20000);
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    open_for_16_kib(peer);
    body[0] = 'D';
    send_summed(peer, FRAMED_CONNECTOR, 1, body, 100);
    send_summed(peer, FRAMED_CONNECTOR, 2, body, 20000);
    send_summed(peer, FRAMED_CONNECTOR, 3, body, 100);
    sim_run_ms(1);
    assert_int_equal(rig.kept_count, 3);
    for (size_t i = 3; i-- > 0;) assert_int_equal(rig_answer(&rig, i), i == 1 ? FRAMED_TOO_LARGE : FRAMED_OK);
    sim_run_ms(1);
    struct framed_bytes got;
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(got.len, 104);
    assert_no_frame(peer);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_int_equal(rig_stats(&rig).failed_calls, 1);
    assert_int_equal(rig_stats(&rig).replies, 1);
    free(body);
    rig_stop(&rig);
}

/* The word that came is what is looked at. */
static void hint_is_about_the_word_that_came(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, OPENING "GET / HTTP/1.1\r\n", SIZE(OPENING) + 16);
    sim_run_ms(1);
    assert_int_equal(rig_logged(&rig, "this looks like HTTP"), 1);
    rig_stop(&rig);
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
        cmocka_unit_test(frame_with_a_wrong_checksum_is_no_request),
        cmocka_unit_test(drain_of_a_silent_connection_says_drained),
        cmocka_unit_test(fin_behind_opening_and_frame_is_answered),
        cmocka_unit_test(kept_reply_too_long_for_the_peer),
        cmocka_unit_test(hint_is_about_the_word_that_came),
    };
    return cmocka_run_group_tests_name("test_sim_channel", tests, NULL, NULL);
}
