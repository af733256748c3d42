/*
 * test_writer.c: frames waiting to be sent (frame.h, PROTOCOL.md §2.1, §2.3.5), held against a plain string of bytes.
 * Must not know the writer's pieces: only its views, and what the meter saw.
 * Invariant: what was queued and not sent yet is `want` from `sent` on, and the views say exactly that.
 *
 * What does not speak of places in memory holds for sealed writers too (writer.h: extended connections): those tests run three times.
 */
#include "meter.h"
#include "splits.h"
#include "writer.h"
#include <framed/frame.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_VIEWS = 64, ARENA = 1 << 20, MAX = 100000 };

/* How frames leave in this run: as they are; sealed, with so many bytes behind each payload. */
static bool is_sealed;
static uint32_t trailer;

/* The writer and its model. */
struct rig {
    struct meter meter;
    struct framed_writer writer;
    struct framed_sealing sealing;
    uint64_t frames; /* ever queued */
    uint8_t *want;   /* all bytes ever queued */
    size_t want_len, want_cap;
    size_t sent;
    uint8_t *arena; /* memory lent to the writer */
    size_t used;    /* of the arena */
    uint64_t dice;
};

static void rig_init(struct rig *rig)
{
    *rig = (struct rig){.dice = 1};
    meter_init(&rig->meter);
    framed_writer_init(&rig->writer, &rig->meter.allocator);
    rig->sealing = (struct framed_sealing){.most = MAX - 1, .trailer = trailer, .next = {.from = FRAMED_ACCEPTOR}};
    if (is_sealed) framed_writer_seal(&rig->writer, &rig->sealing);
    rig->arena = malloc(ARENA);
    assert_non_null(rig->arena);
}

static void rig_fini(struct rig *rig)
{
    framed_writer_fini(&rig->writer);
    meter_fini(&rig->meter);
    free(rig->arena);
    free(rig->want);
}

static uint8_t content(size_t at)
{
    return (uint8_t)(at * 131 + (at >> 8));
}

/* The model queues a frame of n bytes. Returns its payload. */
static const uint8_t *expect(struct rig *rig, size_t n)
{
    size_t all = 4 + n + trailer;
    if (rig->want_len + all > rig->want_cap) {
        rig->want_cap = 2 * (rig->want_len + all);
        rig->want = realloc(rig->want, rig->want_cap);
        assert_non_null(rig->want);
    }
    uint8_t *at = rig->want + rig->want_len;
    for (size_t i = 0, word = n + trailer; i < 4; i++, word /= 256) at[3 - i] = (uint8_t)(word % 256);
    for (size_t i = 0; i < n; i++) at[4 + i] = content(rig->want_len + i);
    struct framed_sum_place place = {.from = FRAMED_ACCEPTOR, .counter = rig->frames++};
    uint32_t sum = framed_sum_of(framed_bytes_of(at + 4, n), &place);
    for (size_t i = 0; i < trailer; i++) at[4 + n + i] = (uint8_t)(sum >> 8 * (3 - i));
    rig->want_len += all;
    return at + 4;
}

static void check_views(const struct rig *rig, size_t most)
{
    struct framed_bytes views[MOST_VIEWS];
    size_t n = framed_writer_views(&rig->writer, views, most), at = rig->sent;
    assert_true(n <= most);
    for (size_t i = 0; i < n; i++) {
        assert_true(views[i].len > 0);
        assert_true(views[i].len <= rig->want_len - at);
        assert_memory_equal(views[i].at, rig->want + at, views[i].len);
        at += views[i].len;
    }
    assert_int_equal(framed_writer_unsent(&rig->writer), rig->want_len - rig->sent);
    if (n < most) assert_int_equal(at, rig->want_len); /* there was room for more views, so that was all */
}

static void check_rig(const struct rig *rig)
{
    check_views(rig, MOST_VIEWS);
    check_views(rig, 1);
    if (rig->sent == rig->want_len) assert_int_equal(meter_in_use((struct meter *)(uintptr_t)&rig->meter), 0);
}

static void sends(struct rig *rig, size_t n)
{
    framed_writer_sent(&rig->writer, n);
    rig->sent += n;
}

/* ---- the ways to queue; each returns what the writer said, and keeps the model in step ---- */

static enum framed_status take_back(struct rig *rig, enum framed_status st, size_t n)
{
    if (st == FRAMED_OK) return FRAMED_OK;
    rig->want_len -= 4 + n + trailer;
    rig->frames--;
    return st;
}

static enum framed_status copies(struct rig *rig, size_t n)
{
    const uint8_t *payload = expect(rig, n);
    uint8_t *mine = malloc(n + 1);
    assert_non_null(mine);
    memcpy(mine, payload, n);
    enum framed_status st = framed_writer_copy(&rig->writer, framed_bytes_of(mine, n), MAX);
    memset(mine, 0xdb, n); /* copied: what happens to the original is nobody's business */
    free(mine);
    return take_back(rig, st, n);
}

/* Lends from the arena, `gap` bytes behind what was lent last. */
static enum framed_status lends(struct rig *rig, size_t n, size_t gap)
{
    assert_true(rig->used + gap + 4 + n + trailer <= ARENA);
    uint8_t *at = rig->arena + rig->used + gap;
    memset(at, 0xcc, 4);
    memcpy(at + 4, expect(rig, n), n);
    enum framed_status st = framed_writer_in_place(&rig->writer, at + 4, n, MAX);
    if (st == FRAMED_OK) rig->used += gap + 4 + n + trailer;
    return take_back(rig, st, n);
}

/* Hands over a buffer in which the payload lies somewhere. */
static enum framed_status hands_over(struct rig *rig, size_t n, size_t before, size_t behind)
{
    struct framed_buf buf = {0};
    if (before + n + behind > 0)
        if (framed_buf_reserve(&buf, before + n + behind, SIZE_MAX, &rig->meter.allocator) != FRAMED_OK) return FRAMED_NOMEM;
    buf.len = before + n;
    if (n > 0) memcpy(buf.at + before, expect(rig, n), n);
    if (n == 0) (void)expect(rig, n);
    struct framed_buf was = buf;
    enum framed_status st =
        framed_writer_take(&rig->writer, &buf, framed_bytes_of(buf.at != NULL ? buf.at + before : NULL, n), MAX);
    if (st == FRAMED_OK) {
        assert_null(buf.at);
        assert_int_equal(buf.len, 0);
        assert_int_equal(buf.cap, 0);
    } else {
        assert_memory_equal(&buf, &was, sizeof buf);
        framed_buf_fini(&buf, &rig->meter.allocator);
    }
    return take_back(rig, st, n);
}

static enum framed_status keeps(struct rig *rig)
{
    enum framed_status st = framed_writer_keep(&rig->writer);
    if (st == FRAMED_OK) { /* the lender has his memory back */
        memset(rig->arena, 0xdb, rig->used);
        rig->used = 0;
    }
    return st;
}

static size_t roll(struct rig *rig, size_t bound)
{
    return (size_t)(splits_random(&rig->dice) >> 16) % bound;
}

static size_t some_length(struct rig *rig)
{
    static const size_t bounds[] = {1, 20, 20, 300, 1030, 6000};
    return roll(rig, bounds[roll(rig, sizeof bounds / sizeof *bounds)] + 1);
}

static enum framed_status random_step(struct rig *rig)
{
    size_t n = some_length(rig);
    switch (roll(rig, 12)) {
    case 0:
    case 1:
    case 2: return copies(rig, n);
    case 3:
    case 4:
    case 5:
    case 6: return lends(rig, n, roll(rig, 4) == 0 ? 1 + roll(rig, 9) : 0);
    case 7: return hands_over(rig, n, roll(rig, 2) * roll(rig, 50), roll(rig, 2) * roll(rig, 50));
    case 8: return keeps(rig);
    default: sends(rig, roll(rig, framed_writer_unsent(&rig->writer) / (1 + roll(rig, 3)) + 1)); return FRAMED_OK;
    }
}

/* ---- what goes out ---- */

static void writer_sends_the_bytes_of_its_frames_under_any_mix_and_any_split(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rig rig;
        rig_init(&rig);
        rig.dice = seed;
        for (int step = 0; step < 200; step++) {
            if (rig.used > ARENA - 8192) assert_int_equal(keeps(&rig), FRAMED_OK);
            assert_int_equal(random_step(&rig), FRAMED_OK);
            check_rig(&rig);
        }
        sends(&rig, framed_writer_unsent(&rig.writer));
        check_rig(&rig);
        rig_fini(&rig);
    }
}

static void queue_some(struct rig *rig)
{
    assert_int_equal(copies(rig, 3), FRAMED_OK);
    assert_int_equal(lends(rig, 1500, 0), FRAMED_OK);
    assert_int_equal(lends(rig, 2, 0), FRAMED_OK);
    assert_int_equal(hands_over(rig, 40, 5, 5), FRAMED_OK);
    assert_int_equal(hands_over(rig, 1100, 5, 5), FRAMED_OK);
    assert_int_equal(copies(rig, 0), FRAMED_OK);
    assert_int_equal(lends(rig, 2000, 3), FRAMED_OK);
    assert_int_equal(hands_over(rig, 0, 0, 0), FRAMED_OK);
}

static void writer_sends_the_same_bytes_at_every_cut_with_a_keep_there_or_not(void **state)
{
    (void)state;
    size_t step = getenv("FRAMED_FEW_CUTS") != NULL ? 23 : 1; /* tests/support/splits.h */
    for (int keep = 0; keep < 2; keep++) {
        for (size_t cut = 0;; cut += step) {
            struct rig rig;
            rig_init(&rig);
            queue_some(&rig);
            size_t all = framed_writer_unsent(&rig.writer);
            sends(&rig, cut);
            check_rig(&rig);
            if (keep) assert_int_equal(keeps(&rig), FRAMED_OK);
            check_rig(&rig);
            assert_int_equal(copies(&rig, 5), FRAMED_OK);
            check_rig(&rig);
            sends(&rig, framed_writer_unsent(&rig.writer));
            check_rig(&rig);
            rig_fini(&rig);
            if (cut + step > all) break;
        }
    }
}

static void writer_sends_byte_by_byte(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    queue_some(&rig);
    while (framed_writer_unsent(&rig.writer) > 0) {
        sends(&rig, 1);
        check_rig(&rig);
    }
    rig_fini(&rig);
}

static void writer_queues_frames_without_bytes(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(framed_writer_copy(&rig.writer, framed_bytes_of(NULL, 0), 0), FRAMED_OK);
    (void)expect(&rig, 0);
    assert_int_equal(lends(&rig, 0, 0), FRAMED_OK);
    assert_int_equal(hands_over(&rig, 0, 0, 0), FRAMED_OK);
    assert_int_equal(hands_over(&rig, 0, 10, 0), FRAMED_OK);
    assert_int_equal(framed_writer_unsent(&rig.writer), 16);
    check_rig(&rig);
    sends(&rig, 16);
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_gives_no_views_of_nothing(void **state)
{
    (void)state;
    struct rig rig;
    struct framed_bytes view = {NULL, 77};
    rig_init(&rig);
    assert_int_equal(framed_writer_views(&rig.writer, &view, 1), 0);
    assert_int_equal(framed_writer_unsent(&rig.writer), 0);
    framed_writer_sent(&rig.writer, 0);
    assert_int_equal(framed_writer_keep(&rig.writer), FRAMED_OK);
    queue_some(&rig);
    assert_int_equal(framed_writer_views(&rig.writer, &view, 0), 0);
    assert_int_equal(view.len, 77);
    sends(&rig, 0);
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_frees_what_it_holds_when_it_ends_half_sent(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 4600; cut += 97) {
        struct rig rig;
        rig_init(&rig);
        queue_some(&rig);
        sends(&rig, cut);
        rig_fini(&rig); /* the meter says what was left */
    }
}

/* ---- without copying ---- */

static void writer_makes_one_view_of_neighbours_in_memory(void **state)
{
    (void)state;
    struct rig rig;
    struct framed_bytes views[2];
    rig_init(&rig);
    for (size_t i = 0; i < 100; i++) assert_int_equal(lends(&rig, i % 7, 0), FRAMED_OK);
    assert_int_equal(framed_writer_views(&rig.writer, views, 2), 1);
    assert_ptr_equal(views[0].at, rig.arena);
    assert_int_equal(meter_read(&rig.meter).calls, 1);
    sends(&rig, 9); /* also when the first of them have left */
    assert_int_equal(lends(&rig, 50, 0), FRAMED_OK);
    assert_int_equal(framed_writer_views(&rig.writer, views, 2), 1);
    assert_ptr_equal(views[0].at, rig.arena + 9);
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_sends_large_lent_frames_from_where_they_lie(void **state)
{
    (void)state;
    struct rig rig;
    struct framed_bytes views[3];
    rig_init(&rig);
    assert_int_equal(lends(&rig, 50000, 0), FRAMED_OK);
    assert_int_equal(lends(&rig, 50000, 8), FRAMED_OK);
    assert_int_equal(framed_writer_views(&rig.writer, views, 3), 2);
    assert_ptr_equal(views[0].at, rig.arena);
    assert_ptr_equal(views[1].at, rig.arena + 50004 + 8);
    assert_true(meter_in_use(&rig.meter) < 1024);
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_sends_a_taken_payload_from_where_it_lies_and_frees_it_then(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_writer writer;
    struct framed_buf buf = {0};
    struct framed_bytes views[3];
    meter_init(&meter);
    framed_writer_init(&writer, &meter.allocator);
    static const uint8_t body[2000] = "..payload..";
    assert_int_equal(framed_buf_append(&buf, framed_bytes_of(body, sizeof body), sizeof body, &meter.allocator), FRAMED_OK);
    const uint8_t *payload = buf.at + 2;
    assert_int_equal(framed_writer_take(&writer, &buf, framed_bytes_of(payload, 1500), 1500), FRAMED_OK);
    assert_int_equal(framed_writer_views(&writer, views, 3), 2);
    assert_int_equal(views[0].len, 4);
    assert_memory_equal(views[0].at, "\0\0\5\334", 4);
    assert_ptr_equal(views[1].at, payload);
    assert_int_equal(views[1].len, 1500);
    framed_writer_sent(&writer, 1504);
    assert_int_equal(meter_in_use(&meter), 0);
    framed_writer_fini(&writer);
    meter_fini(&meter);
}

static void writer_keep_gives_lent_memory_back_and_copies_it_only_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    queue_some(&rig);
    sends(&rig, 1000);
    assert_int_equal(keeps(&rig), FRAMED_OK);
    check_rig(&rig);
    uint64_t calls = meter_read(&rig.meter).calls;
    assert_int_equal(keeps(&rig), FRAMED_OK);
    assert_int_equal(meter_read(&rig.meter).calls, calls);
    check_rig(&rig);
    rig_fini(&rig);
}

/* ---- limits and failures ---- */

static void writer_refuses_a_frame_above_the_limit_and_stays_as_it_was(void **state)
{
    (void)state;
    uint8_t lent[24], before[24];
    memset(lent, 0xcc, sizeof lent);
    memcpy(before, lent, sizeof lent);
    for (int filled = 0; filled < 2; filled++) {
        struct rig rig;
        rig_init(&rig);
        if (filled) queue_some(&rig);
        struct framed_buf buf = {0};
        assert_int_equal(framed_buf_append(&buf, framed_bytes_of(lent, 17), 64, &rig.meter.allocator), FRAMED_OK);
        struct framed_buf was = buf;
        uint64_t calls = meter_read(&rig.meter).calls;
        assert_int_equal(framed_writer_copy(&rig.writer, framed_bytes_of(lent, 17), 16), FRAMED_TOO_LARGE);
        assert_int_equal(framed_writer_in_place(&rig.writer, lent + 4, 17, 16), FRAMED_TOO_LARGE);
        assert_int_equal(framed_writer_take(&rig.writer, &buf, framed_bytes_of(buf.at, 17), 16), FRAMED_TOO_LARGE);
        assert_int_equal(framed_writer_copy(&rig.writer, framed_bytes_of(lent, 1), 0), FRAMED_TOO_LARGE);
        assert_memory_equal(&buf, &was, sizeof buf);
        assert_memory_equal(lent, before, sizeof lent);
        assert_int_equal(meter_read(&rig.meter).calls, calls);
        framed_buf_fini(&buf, &rig.meter.allocator);
        check_rig(&rig);
        assert_int_equal(copies(&rig, 16), FRAMED_OK);
        check_rig(&rig);
        rig_fini(&rig);
    }
}

static void writer_refuses_a_frame_that_the_peer_does_not_accept(void **state)
{
    static uint8_t lent[8 + MAX + FRAMED_SUM_SIZE];
    struct rig rig;
    (void)state;
    rig_init(&rig);
    rig.sealing.most = 5000;
    struct framed_buf buf = {0};
    assert_int_equal(framed_buf_append(&buf, framed_bytes_of(lent, 5001), 6000, &rig.meter.allocator), FRAMED_OK);
    assert_int_equal(framed_writer_copy(&rig.writer, framed_bytes_of(lent, 5001), MAX), FRAMED_TOO_LARGE);
    assert_int_equal(framed_writer_in_place(&rig.writer, lent + 4, 5001, MAX), FRAMED_TOO_LARGE);
    assert_int_equal(framed_writer_take(&rig.writer, &buf, framed_bytes_of(buf.at, 5001), MAX), FRAMED_TOO_LARGE);
    framed_buf_fini(&buf, &rig.meter.allocator);
    assert_int_equal(framed_writer_unsent(&rig.writer), 0);
    assert_int_equal(copies(&rig, 5000), FRAMED_OK);
    assert_int_equal(lends(&rig, 5000, 0), FRAMED_OK);
    assert_int_equal(hands_over(&rig, 5000, 1, 1), FRAMED_OK);
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_refuses_what_no_length_word_can_say_whatever_the_limit(void **state)
{
    (void)state;
    uint8_t lent[8] = {0};
    struct rig rig;
    rig_init(&rig);
    struct framed_buf buf = {.at = lent, .len = 8, .cap = 8};
    static const size_t lengths[] = {0x80000000u, UINT32_MAX, SIZE_MAX - 3, SIZE_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(framed_writer_copy(&rig.writer, framed_bytes_of(lent, lengths[i]), UINT32_MAX), FRAMED_TOO_LARGE);
        assert_int_equal(framed_writer_in_place(&rig.writer, lent + 4, lengths[i], UINT32_MAX), FRAMED_TOO_LARGE);
        assert_int_equal(framed_writer_take(&rig.writer, &buf, framed_bytes_of(lent, lengths[i]), UINT32_MAX),
                         FRAMED_TOO_LARGE);
    }
    assert_ptr_equal(buf.at, lent);
    check_rig(&rig);
    rig_fini(&rig);
}

/* Runs a script in which steps may be denied memory: a denied step changes nothing, and the others go on. */
static bool runs_out_of_memory(uint64_t seed, uint64_t n, enum meter_failing failing)
{
    struct rig rig;
    rig_init(&rig);
    rig.dice = seed;
    meter_fail_at(&rig.meter, n, failing);
    for (int step = 0; step < 60; step++) {
        uint64_t before = meter_reached(&rig.meter);
        enum framed_status st = random_step(&rig);
        if (st != FRAMED_OK) {
            assert_int_equal(st, FRAMED_NOMEM);
            assert_true(meter_reached(&rig.meter) > before);
        }
        check_rig(&rig);
    }
    bool reached = meter_reached(&rig.meter) > 0;
    meter_fail_at(&rig.meter, 0, METER_ONCE);
    sends(&rig, framed_writer_unsent(&rig.writer));
    check_rig(&rig);
    rig_fini(&rig);
    return reached;
}

static void writer_stays_as_it_was_when_memory_runs_out(void **state)
{
    (void)state;
    uint64_t most = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (int failing = METER_ONCE; failing <= METER_ONWARD; failing++) {
            uint64_t n = 1;
            while (runs_out_of_memory(seed, n, (enum meter_failing)failing)) n++;
            if (n > most) most = n;
        }
    }
    assert_true(most > 10);
    print_message("allocations failed one by one: up to %u a run\n", (unsigned)(most - 1));
}

/* ---- memory of what waits ---- */

/* Twice what waits, a chunk that is being filled and one that is being sent (64 KiB each), and 160 bytes a piece. */
static void check_memory(struct rig *rig, size_t pieces)
{
    size_t in_use = meter_in_use(&rig->meter), unsent = framed_writer_unsent(&rig->writer);
    size_t most = 2 * unsent + 2 * (64u << 10) + 160 * pieces;
    if (in_use > most) fail_msg("%zu bytes of memory for %zu unsent, at most %zu", in_use, unsent, most);
}

static void writer_holds_no_more_than_twice_what_waits_of_small_copies(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    for (int i = 0; i < 50000; i++) {
        assert_int_equal(copies(&rig, 1 + (size_t)i % 20), FRAMED_OK);
        check_memory(&rig, 0);
        if (i == 10) assert_true(meter_in_use(&rig.meter) <= 4096);
    }
    while (framed_writer_unsent(&rig.writer) > 0) {
        size_t unsent = framed_writer_unsent(&rig.writer);
        sends(&rig, unsent < 1000 ? unsent : 1000);
        check_memory(&rig, 0);
    }
    assert_int_equal(meter_in_use(&rig.meter), 0);
    rig_fini(&rig);
}

static void writer_holds_no_more_than_what_waits_of_small_taken_payloads(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(copies(&rig, 70000), FRAMED_OK);
    for (size_t i = 1; i <= 500; i++) {
        assert_int_equal(hands_over(&rig, 1, 0, 0), FRAMED_OK);
        check_memory(&rig, 2 * i);
    }
    rig_fini(&rig);
}

static void writer_holds_no_more_than_what_waits_when_copies_and_loans_alternate(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(copies(&rig, 70000), FRAMED_OK);
    for (size_t i = 1; i <= 300; i++) {
        assert_int_equal(lends(&rig, 1100, 4), FRAMED_OK);
        assert_int_equal(copies(&rig, 1), FRAMED_OK);
        check_memory(&rig, 2 * i);
    }
    rig_fini(&rig);
}

static void writer_holds_no_more_than_twice_what_waits_when_copies_follow_loans_that_were_kept(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    assert_int_equal(copies(&rig, 70000), FRAMED_OK);
    for (size_t i = 1; i <= 100; i++) { /* each receive ends one frame, brings others whole, and is given back */
        assert_int_equal(copies(&rig, 4000), FRAMED_OK);
        assert_int_equal(lends(&rig, 8000, 0), FRAMED_OK);
        assert_int_equal(keeps(&rig), FRAMED_OK);
        check_memory(&rig, 2 * i);
    }
    check_rig(&rig);
    rig_fini(&rig);
}

static void writer_holds_one_connection_in_balance_forever(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig);
    for (int i = 0; i < 30000; i++) { /* as much goes as comes, and it is never empty: nothing may pile up */
        assert_int_equal(copies(&rig, 50), FRAMED_OK);
        if (i >= 3) sends(&rig, 54);
        if (meter_in_use(&rig.meter) > 8192) fail_msg("%zu bytes after %d frames", meter_in_use(&rig.meter), i);
    }
    check_rig(&rig);
    rig_fini(&rig);
}

/* ---- and back ---- */

static void writer_and_reader_together_are_the_identity(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rig rig;
        rig_init(&rig);
        rig.dice = seed;
        struct framed_reader reader;
        framed_reader_init(&reader, MAX, 0, &rig.meter.allocator);
        size_t lengths[40], starts[40], got = 0;
        for (size_t i = 0; i < 40; i++) {
            lengths[i] = some_length(&rig);
            starts[i] = rig.want_len + 4;
            assert_int_equal(i % 3 == 0 ? copies(&rig, lengths[i]) : lends(&rig, lengths[i], i % 2), FRAMED_OK);
        }
        while (framed_writer_unsent(&rig.writer) > 0) {
            struct framed_bytes view, payload;
            uint8_t loan[3000];
            assert_int_equal(framed_writer_views(&rig.writer, &view, 1), 1);
            size_t n = 1 + roll(&rig, view.len < sizeof loan ? view.len : sizeof loan);
            memcpy(loan, view.at, n);
            sends(&rig, n);
            assert_int_equal(framed_reader_feed(&reader, loan, n), FRAMED_OK);
            for (; framed_reader_next(&reader, &payload) == FRAMED_OK; got++) {
                assert_int_equal(payload.len, lengths[got]);
                if (payload.len > 0) assert_memory_equal(payload.at, rig.want + starts[got], payload.len);
            }
        }
        assert_int_equal(got, 40);
        assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
        framed_reader_fini(&reader);
        rig_fini(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writer_sends_the_bytes_of_its_frames_under_any_mix_and_any_split),
        cmocka_unit_test(writer_sends_the_same_bytes_at_every_cut_with_a_keep_there_or_not),
        cmocka_unit_test(writer_sends_byte_by_byte),
        cmocka_unit_test(writer_queues_frames_without_bytes),
        cmocka_unit_test(writer_gives_no_views_of_nothing),
        cmocka_unit_test(writer_frees_what_it_holds_when_it_ends_half_sent),
        cmocka_unit_test(writer_makes_one_view_of_neighbours_in_memory),
        cmocka_unit_test(writer_sends_large_lent_frames_from_where_they_lie),
        cmocka_unit_test(writer_sends_a_taken_payload_from_where_it_lies_and_frees_it_then),
        cmocka_unit_test(writer_keep_gives_lent_memory_back_and_copies_it_only_once),
        cmocka_unit_test(writer_refuses_a_frame_above_the_limit_and_stays_as_it_was),
        cmocka_unit_test(writer_refuses_what_no_length_word_can_say_whatever_the_limit),
        cmocka_unit_test(writer_stays_as_it_was_when_memory_runs_out),
        cmocka_unit_test(writer_holds_no_more_than_twice_what_waits_of_small_copies),
        cmocka_unit_test(writer_holds_no_more_than_what_waits_of_small_taken_payloads),
        cmocka_unit_test(writer_holds_no_more_than_what_waits_when_copies_and_loans_alternate),
        cmocka_unit_test(writer_holds_no_more_than_twice_what_waits_when_copies_follow_loans_that_were_kept),
        cmocka_unit_test(writer_holds_one_connection_in_balance_forever),
        cmocka_unit_test(writer_and_reader_together_are_the_identity),
    };
    const struct CMUnitTest sealed[] = {
        cmocka_unit_test(writer_sends_the_bytes_of_its_frames_under_any_mix_and_any_split),
        cmocka_unit_test(writer_sends_the_same_bytes_at_every_cut_with_a_keep_there_or_not),
        cmocka_unit_test(writer_sends_byte_by_byte),
        cmocka_unit_test(writer_frees_what_it_holds_when_it_ends_half_sent),
        cmocka_unit_test(writer_keep_gives_lent_memory_back_and_copies_it_only_once),
        cmocka_unit_test(writer_refuses_a_frame_above_the_limit_and_stays_as_it_was),
        cmocka_unit_test(writer_refuses_a_frame_that_the_peer_does_not_accept),
        cmocka_unit_test(writer_refuses_what_no_length_word_can_say_whatever_the_limit),
        cmocka_unit_test(writer_stays_as_it_was_when_memory_runs_out),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    is_sealed = true;
    failed += cmocka_run_group_tests_name("sealed", sealed, NULL, NULL);
    trailer = FRAMED_SUM_SIZE;
    return failed + cmocka_run_group_tests_name("sealed, with trailers", sealed, NULL, NULL);
}
