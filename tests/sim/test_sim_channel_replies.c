/*
 * test_sim_channel_replies.c: owns the proof that replies of every kind are right on connections that open: parts of bodies, at once and
 * later, whoever reads slowly; and that one too long for the peer leaves nothing behind.
 * Must not know how it is done.
 * Invariants: each test is one world, or one for each seed.
 */
#include "channel.h"

#define PLAIN_OPENING "\xf7\x46\x01\x00\0\0\0\0"

enum { ROUNDS = 60, FRAMES = 200 };

static uint64_t dice_state;
static uint32_t dice(uint32_t n)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice_state >> 33) % n;
}

/* The body says in its first bytes what to do: how, from, len (32 bits each, machine order). */
static void handle(void *ctx, struct framed_call *call)
{
    struct rig *rig = ctx;
    struct framed_bytes body = framed_call_body(call);
    uint32_t what[3];
    assert_true(body.len >= 12);
    memcpy(what, body.at, 12);
    rig->started++;
    if (what[0] == 1 && rig->kept_count < RIG_KEPT) {
        if (framed_call_defer(call, &rig->kept[rig->kept_count], &rig->bodies[rig->kept_count]) == FRAMED_OK)
            rig->kept_count++;
        return;
    }
    (void)framed_call_reply(call, framed_bytes_of(body.at + what[1], what[2]));
}

static void answer_some(struct rig *rig)
{
    for (size_t i = 0; i < rig->kept_count; i++) {
        if (rig->kept[i] == NULL || dice(2) == 0) continue;
        uint32_t what[3];
        memcpy(what, rig->bodies[i].at, 12);
        struct framed_call *call = rig->kept[i];
        rig->kept[i] = NULL;
        (void)framed_call_reply(call, framed_bytes_of(rig->bodies[i].at + what[1], what[2]));
    }
    size_t n = 0;
    for (size_t i = 0; i < rig->kept_count; i++) {
        if (rig->kept[i] == NULL) continue;
        rig->kept[n] = rig->kept[i];
        rig->bodies[n++] = rig->bodies[i];
    }
    rig->kept_count = n;
}

static void one_round(uint64_t seed, bool summed)
{
    struct rig rig;
    dice_state = seed * 77 + 5;
    rig_start(&rig, seed);
    rig.config.handler = handle;
    rig.config.max_calls = 1 + dice(8);
    rig.config.max_unsent = 1 + dice(200000);
    rig_serve(&rig);
    sim_capacity(1000 + dice(200000));
    struct sim_peer *peer = connected();
    if (summed)
        sim_peer_send(peer, OPENING, SIZE(OPENING));
    else
        sim_peer_send(peer, PLAIN_OPENING, SIZE(PLAIN_OPENING));
    size_t opening = summed ? 12 : 8;
    uint8_t *want[FRAMES];
    size_t want_len[FRAMES];
    for (uint32_t i = 0; i < FRAMES; i++) {
        uint32_t kinds[] = {40, 1500, 9000, 70000, 200000};
        uint32_t n = 12 + dice(kinds[dice(5)]);
        uint8_t *frame = malloc(n + 4);
        assert_non_null(frame);
        for (uint32_t k = 0; k < n; k++) frame[k] = (uint8_t)dice(256);
        uint32_t what[3] = {dice(4) == 0, 0, n};
        uint32_t kind = dice(4);
        if (kind == 1) what[2] = dice(n + 1);
        if (kind == 2) {
            what[1] = dice(n + 1);
            what[2] = n - what[1];
        }
        if (kind == 3) {
            what[1] = dice(n + 1);
            what[2] = dice(n - what[1] + 1);
        }
        memcpy(frame, what, 12);
        want_len[i] = what[2];
        want[i] = malloc(what[2] + 1);
        memcpy(want[i], frame + what[1], what[2]);
        size_t whole = n;
        if (summed) {
            assert_int_equal(framed_sum_add(frame, n, &(struct framed_sum_place){.counter = i + 1}), FRAMED_OK);
            whole += 4;
        }
        sim_peer_send_frame(peer, frame, whole);
        free(frame);
        if (dice(5) == 0) sim_peer_stop_reading(peer);
        if (dice(5) == 0) sim_peer_start_reading(peer);
        if (dice(3) == 0) sim_run_ms(dice(2));
        if (dice(3) == 0) answer_some(&rig);
    }
    sim_peer_start_reading(peer);
    for (int i = 0; i < 3000 && (rig.started < FRAMES || rig.kept_count > 0); i++) {
        sim_run_ms(1);
        answer_some(&rig);
    }
    sim_run_ms(100);
    assert_int_equal(rig.started, FRAMES);
    sim_peer_take(peer, opening);
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct framed_bytes got = {0};
        assert_true(sim_peer_frame(peer, &got));
        if (summed)
            assert_int_equal(framed_sum_check(&got, &(struct framed_sum_place){.from = FRAMED_ACCEPTOR, .counter = i + 1}),
                             FRAMED_OK);
        assert_int_equal(got.len, want_len[i]);
        if (got.len > 0) assert_memory_equal(got.at, want[i], got.len);
        free(want[i]);
    }
    assert_int_equal(rig_stats(&rig).requests, FRAMES);
    assert_int_equal(rig_stats(&rig).replies, FRAMES);
    rig_stop(&rig);
}

static void parts_of_bodies_have_right_trailers(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROUNDS; i++) one_round(i, true);
}

static void parts_of_bodies_go_without_trailers_in_mode_00(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROUNDS / 2; i++) one_round(1000 + i, false);
}

/* Replies with all but the first byte of the body, from where it lies. */
static void reply_with_a_part(void *ctx, struct framed_call *call)
{
    struct rig *rig = ctx;
    struct framed_bytes body = framed_call_body(call);
    rig->last_reply = framed_call_reply(call, framed_bytes_of(body.at + 1, body.len - 1));
}

static void serve_parts(struct rig *rig)
{
    rig_start(rig, 0);
    rig->config.handler = reply_with_a_part;
    rig_serve(rig);
}

/* A body of its own memory, a part of it as the reply, and a peer that accepts less. */
static void too_long_for_the_peer(struct rig *rig)
{
    uint8_t *body = pattern(200000);
    struct sim_peer *peer = connected();
    open_for_16_kib(peer);
    send_summed(peer, FRAMED_CONNECTOR, 1, body, 200000);
    sim_run_ms(0);
    assert_int_equal(rig->last_reply, FRAMED_TOO_LARGE);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    sim_peer_close(peer);
    sim_run_ms(5000);
    free(body);
}

static void reply_too_long_for_the_peer_holds_no_memory(void **state)
{
    struct rig rig;
    (void)state;
    serve_parts(&rig);
    too_long_for_the_peer(&rig);
    uint64_t once = rig_stats(&rig).memory;
    for (int i = 0; i < 5; i++) too_long_for_the_peer(&rig);
    assert_true(rig_stats(&rig).memory < once + 100000);
    rig_stop(&rig);
}

static void reply_too_long_for_the_peer_spoils_no_other_connection(void **state)
{
    struct rig rig;
    (void)state;
    serve_parts(&rig);
    too_long_for_the_peer(&rig);
    sim_capacity(65536);

    /* A plain peer that takes nothing for now: its reply has to wait. */
    uint8_t *body = pattern(60000), *other = malloc(60000);
    assert_non_null(other);
    memset(other, '!', 60000);
    struct sim_peer *slow = connected();
    sim_peer_stop_reading(slow);
    sim_peer_send_frame(slow, body, 50000); /* its reply fills the pipe */
    sim_run_ms(1);
    uint8_t word[4] = {0, 0, 60000 >> 8, 60000 & 255};
    sim_peer_send(slow, word, 4);
    sim_run_ms(1); /* the word alone: the body then lies at the start of what is received */
    sim_peer_send(slow, body, 60000);
    sim_run_ms(1);
    /* Somebody else's bytes come meanwhile, into the same receive buffer. */
    struct sim_peer *secret = connected();
    sim_peer_send_frame(secret, other, 60000);
    sim_run_ms(1);
    sim_peer_start_reading(slow);
    sim_run_ms(100);
    assert_frame(slow, body + 1, 49999);
    assert_frame(slow, body + 1, 59999);
    free(body);
    free(other);
    rig_stop(&rig);
}

enum { ROW = 200, OF_ROW = 64 };
static uint64_t left_at_the_last; /* bytes that had left when the last of a row was answered */

static void note_what_has_left(void *ctx, struct framed_call *call)
{
    struct rig *rig = ctx;
    if (++rig->started % ROW == 0) left_at_the_last = rig_stats(rig).bytes_out;
    (void)framed_call_reply(call, framed_call_body(call));
}

/* A row of small frames in one piece, behind an opening. */
static struct sim_peer *row_from(const char *opening, size_t n, bool summed)
{
    static uint8_t row[ROW * (FRAMED_LENGTH_SIZE + OF_ROW + FRAMED_SUM_SIZE)];
    const size_t len = OF_ROW + (summed ? FRAMED_SUM_SIZE : 0);
    struct sim_peer *peer = connected();
    sim_peer_send(peer, opening, n);
    sim_run_ms(5);
    for (size_t i = 0; i < ROW; i++) {
        uint8_t *frame = row + i * (FRAMED_LENGTH_SIZE + len);
        assert_int_equal(framed_length_encode(frame, (uint32_t)len, FRAMED_FRAME_MOST), FRAMED_OK);
        if (summed)
            assert_int_equal(
                framed_sum_add(frame + FRAMED_LENGTH_SIZE, OF_ROW, &(struct framed_sum_place){.counter = i + 1}), FRAMED_OK);
    }
    sim_peer_send(peer, row, ROW * (FRAMED_LENGTH_SIZE + len));
    return peer;
}

static void half_of_a_row_of_answers_with_checksums_leaves_while_the_rest_is_made(void **state)
{
    struct rig rig;
    (void)state;
    rig_start(&rig, 0);
    rig.config.handler = note_what_has_left;
    rig_serve(&rig);
    (void)row_from(OPENING, SIZE(OPENING), true);
    sim_run_ms(5);
    assert_int_equal(rig.started, ROW);
    assert_in_range(left_at_the_last, ROW * OF_ROW / 3, ROW * (OF_ROW + 8) * 2 / 3);
    (void)row_from(PLAIN_OPENING, SIZE(PLAIN_OPENING), false); /* without them it would only cost a send */
    uint64_t before = rig_stats(&rig).bytes_out;
    sim_run_ms(5);
    assert_int_equal(rig.started, 2 * ROW);
    assert_int_equal(left_at_the_last, before);
    rig_stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_bodies_have_right_trailers),
        cmocka_unit_test(parts_of_bodies_go_without_trailers_in_mode_00),
        cmocka_unit_test(half_of_a_row_of_answers_with_checksums_leaves_while_the_rest_is_made),
        cmocka_unit_test(reply_too_long_for_the_peer_holds_no_memory),
        cmocka_unit_test(reply_too_long_for_the_peer_spoils_no_other_connection),
    };
    return cmocka_run_group_tests_name("test_sim_channel_replies", tests, NULL, NULL);
}
