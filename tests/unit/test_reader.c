/*
 * test_reader.c: whole frames out of any split (frame.h, PROTOCOL.md §2.3-2.7), and what it costs in memory.
 * Must not know the reader's states or fields: only what its functions answer and what the meter saw.
 * Invariant: every reader here allocates from a meter that, in the end, saw no leak and no misuse.
 */
#include "stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SPARE = 4096, ALL_WAYS = 128 };

/* ---- frames ---- */

static void reader_lends_frames_that_arrived_whole_without_memory_of_its_own(void **state)
{
    (void)state;
    uint8_t loan[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 1, 'd'};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes a, b, c, none;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &a), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &b), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &c), FRAMED_OK);
    assert_ptr_equal(a.at, loan + 4);
    assert_int_equal(a.len, 3);
    assert_int_equal(b.len, 0);
    assert_ptr_equal(c.at, loan + 15);
    assert_int_equal(c.len, 1);
    assert_int_equal(framed_reader_next(&reader, &none), FRAMED_MORE);
    assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
    framed_reader_fini(&reader);
    assert_int_equal(meter_read(&meter).calls, 0);
    meter_fini(&meter);
}

static void reader_lends_a_payload_that_arrived_whole_behind_a_cut_length_word(void **state)
{
    (void)state;
    uint8_t word[] = {0, 0, 0}, rest[] = {2, 'a', 'b'}, word_again[] = {0, 0, 0, 2};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, word, 3), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(framed_reader_feed(&reader, rest, 3), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_ptr_equal(payload.at, rest + 1);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(framed_reader_feed(&reader, word_again, 4), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(framed_reader_feed(&reader, rest + 1, 2), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_ptr_equal(payload.at, rest + 1);
    framed_reader_fini(&reader);
    assert_int_equal(meter_read(&meter).calls, 0);
    meter_fini(&meter);
}

static void reader_yields_an_empty_frame_without_more_input(void **state)
{
    (void)state;
    uint8_t word[] = {0, 0, 0, 0};
    for (size_t cut = 0; cut <= 4; cut++) {
        struct meter meter;
        struct framed_reader reader;
        struct framed_bytes payload = {NULL, 77};
        meter_init(&meter);
        framed_reader_init(&reader, 16, 0, &meter.allocator);
        assert_int_equal(framed_reader_feed(&reader, word, cut), FRAMED_OK);
        if (cut < 4) {
            assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
            assert_int_equal(framed_reader_feed(&reader, word + cut, 4 - cut), FRAMED_OK);
        }
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
        assert_int_equal(payload.len, 0);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
        framed_reader_fini(&reader);
        meter_fini(&meter);
    }
}

/* Runs the stream in many splits, in every combination of ways. */
static void every_way(struct stream *stream, const char *name, uint32_t max_frame, enum framed_status ends, unsigned random)
{
    struct guard guard;
    guard_init(&guard, stream->len);
    for (unsigned ways = 0; ways < ALL_WAYS; ways++) {
        struct meter meter;
        meter_init(&meter);
        struct drive d = stream_drive(stream, name, max_frame, ends, ways, &guard, &meter);
        if (ways % 8 == 0)
            splits_each(stream->len, random, drive_reader_split, &d);
        else
            splits_some(stream->len, random, stream->starts, stream->frame_count, drive_reader_split, &d);
        meter_fini(&meter);
    }
    guard_fini(&guard);
}

static void reader_gives_the_frames_of_random_streams_in_every_split_and_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct stream stream = {0};
        stream_random(&stream, seed, 12, 200);
        every_way(&stream, "a random stream", 200, FRAMED_CLOSED, 24);
        stream_free(&stream);
    }
}

static void reader_gives_frames_around_the_sizes_at_which_its_memory_grows(void **state)
{
    (void)state;
    static const size_t sizes[] = {2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193, 12000, 16384, 40000};
    struct stream stream = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        stream_frame(&stream, sizes[i]);
        stream_frame(&stream, i % 3);
    }
    struct guard guard;
    guard_init(&guard, stream.len);
    for (unsigned ways = 0; ways < ALL_WAYS; ways++) {
        struct meter meter;
        meter_init(&meter);
        struct drive d = stream_drive(&stream, "frames that grow", 40000, FRAMED_CLOSED, ways, &guard, &meter);
        size_t whole[] = {stream.len};
        struct split split = {.ends = whole, .n = 1, .name = "whole"};
        drive_reader_split(&d, &split);
        for (size_t step = 1000; step < 30000; step += 1777) { /* receives of one size, as a socket gives them */
            size_t ends[256], n = 0;
            for (size_t at = 0; at < stream.len; n++) {
                at += step < stream.len - at ? step : stream.len - at;
                ends[n] = at;
            }
            split = (struct split){.ends = ends, .n = n, .name = "receives of one size"};
            drive_reader_split(&d, &split);
        }
        meter_fini(&meter);
    }
    guard_fini(&guard);
    stream_free(&stream);
}

static void reader_keeps_the_views_of_one_loan_valid_to_its_end(void **state)
{
    (void)state;
    uint8_t first[] = {0, 0, 0, 6, 'c', 'u', 't'},
            second[] = {'o', 'f', 'f', 0, 0, 0, 2, 'h', 'i', 0, 0, 0, 0, 0, 0, 0, 1, 'x'};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes kept[4], none;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, first, sizeof first), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &none), FRAMED_MORE);
    memset(first, 0xdb, sizeof first);
    assert_int_equal(framed_reader_feed(&reader, second, sizeof second), FRAMED_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(framed_reader_next(&reader, &kept[i]), FRAMED_OK);
    assert_int_equal(kept[0].len, 6);
    assert_memory_equal(kept[0].at, "cutoff", 6);
    assert_int_equal(kept[1].len, 2);
    assert_memory_equal(kept[1].at, "hi", 2);
    assert_int_equal(kept[2].len, 0);
    assert_int_equal(kept[3].len, 1);
    assert_memory_equal(kept[3].at, "x", 1);
    assert_int_equal(framed_reader_next(&reader, &none), FRAMED_MORE);
    assert_int_equal(meter_in_use(&meter), 0);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

/* ---- park ---- */

static void reader_goes_on_after_a_park_with_frames_and_a_cut_one_left(void **state)
{
    (void)state;
    for (size_t parks_after = 0; parks_after <= 3; parks_after++) {
        uint8_t loan[] = {0, 0, 0, 1, 'a', 0, 0, 0, 2, 'b', 'b', 0, 0, 0, 3, 'c', 'c', 'c', 0, 0, 0, 4, 'd'},
                rest[] = {'d', 'd', 'd'};
        static const char *const want[] = {"a", "bb", "ccc", "dddd"};
        struct meter meter;
        struct framed_reader reader;
        struct framed_bytes payload;
        meter_init(&meter);
        framed_reader_init(&reader, 16, 0, &meter.allocator);
        assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
        for (size_t i = 0; i < 3; i++) {
            if (i == parks_after) {
                assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
                memset(loan, 0xdb, sizeof loan);
                assert_int_equal(framed_reader_park(&reader), FRAMED_OK); /* twice is as good as once */
            }
            assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
            assert_int_equal(payload.len, strlen(want[i]));
            assert_memory_equal(payload.at, want[i], payload.len);
        }
        if (parks_after == 3) {
            assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
            memset(loan, 0xdb, sizeof loan);
        }
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_true(meter_in_use(&meter) <= SPARE + 2);
        assert_int_equal(framed_reader_feed(&reader, rest, sizeof rest), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
        assert_int_equal(payload.len, 4);
        assert_memory_equal(payload.at, "dddd", 4);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_int_equal(meter_in_use(&meter), 0);
        framed_reader_fini(&reader);
        meter_fini(&meter);
    }
}

static void reader_holds_no_more_than_the_loan_when_it_is_parked(void **state)
{
    (void)state;
    struct stream stream = {0};
    for (int i = 0; i < 60; i++) stream_frame(&stream, 1000);
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 1000, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, stream.input, stream.len), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
    assert_true(meter_read(&meter).peak <= stream.len);
    for (int i = 1; i < 60; i++) assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_true(meter_read(&meter).peak <= stream.len);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(meter_in_use(&meter), 0);
    framed_reader_fini(&reader);
    meter_fini(&meter);
    stream_free(&stream);
}

/* The last frame of a parked loan was given out, and the next loan comes before next() was asked once more. */
static void reader_takes_a_new_loan_right_after_the_last_frame_of_a_parked_one(void **state)
{
    (void)state;
    for (size_t len = 1; len <= 300; len += 13) {
        struct stream stream = {0};
        stream_frame(&stream, 5);
        stream_frame(&stream, len);
        (void)stream_drive(&stream, "", 0, FRAMED_CLOSED, 0, NULL, NULL);
        struct meter meter;
        struct framed_reader reader;
        struct framed_bytes payload;
        meter_init(&meter);
        framed_reader_init(&reader, 1000, 0, &meter.allocator);
        uint8_t *second = stream.input + 9;
        assert_int_equal(framed_reader_feed(&reader, stream.input, 9), FRAMED_OK);
        assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
        assert_int_equal(framed_reader_feed(&reader, second, 4 + len - 1), FRAMED_OK);
        assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
        uint8_t last = second[4 + len - 1];
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_int_equal(framed_reader_feed(&reader, &last, 1), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
        assert_int_equal(payload.len, len);
        assert_memory_equal(payload.at, stream.frames[1].at, len);
        framed_reader_fini(&reader);
        meter_fini(&meter);
        stream_free(&stream);
    }
}

/* ---- take ---- */

/* A reader that has just given the frame "cutoff" from its own memory, with "hi" still in the loan. */
static void give_a_cut_frame(struct framed_reader *reader, struct meter *meter, uint8_t loan[9],
                             struct framed_bytes *payload)
{
    static uint8_t first[] = {0, 0, 0, 6, 'c', 'u', 't'};
    memcpy(loan, "off\0\0\0\2hi", 9);
    framed_reader_init(reader, 16, 0, &meter->allocator);
    assert_int_equal(framed_reader_feed(reader, first, sizeof first), FRAMED_OK);
    assert_int_equal(framed_reader_next(reader, payload), FRAMED_MORE);
    assert_int_equal(framed_reader_feed(reader, loan, 9), FRAMED_OK);
    assert_int_equal(framed_reader_next(reader, payload), FRAMED_OK);
}

static void reader_gives_the_memory_of_a_collected_frame_to_who_takes_it(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload, hi;
    struct framed_buf buf = {0}, other = {0};
    uint8_t loan[9];
    meter_init(&meter);
    give_a_cut_frame(&reader, &meter, loan, &payload);
    uint64_t calls = meter_read(&meter).calls;
    assert_int_equal(framed_reader_take(&reader, payload, &buf), FRAMED_OK);
    assert_ptr_equal(buf.at, payload.at); /* not a copy */
    assert_int_equal(buf.len, 6);
    assert_int_equal(meter_read(&meter).calls, calls);
    assert_int_equal(framed_reader_take(&reader, payload, &other), FRAMED_MORE); /* only once */
    assert_null(other.at);
    assert_int_equal(framed_reader_next(&reader, &hi), FRAMED_OK);
    assert_memory_equal(hi.at, "hi", 2);
    assert_int_equal(framed_reader_next(&reader, &hi), FRAMED_MORE);
    framed_reader_fini(&reader);
    assert_memory_equal(buf.at, "cutoff", 6);
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void reader_gives_a_collected_frame_away_also_after_later_frames_of_the_loan(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload, hi;
    struct framed_buf buf = {0};
    uint8_t loan[9];
    meter_init(&meter);
    give_a_cut_frame(&reader, &meter, loan, &payload);
    assert_int_equal(framed_reader_next(&reader, &hi), FRAMED_OK);
    assert_int_equal(framed_reader_take(&reader, hi, &buf), FRAMED_MORE);
    assert_null(buf.at);
    assert_int_equal(framed_reader_take(&reader, payload, &buf), FRAMED_OK);
    framed_reader_fini(&reader);
    assert_memory_equal(buf.at, "cutoff", 6);
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void reader_gives_no_memory_away_when_the_frame_lies_in_lent_bytes(void **state)
{
    (void)state;
    uint8_t loan[] = {0, 0, 0, 1, 'a', 0, 0, 0, 0};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload, empty;
    struct framed_buf buf = {.at = loan, .len = 1, .cap = 2};
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_int_equal(framed_reader_take(&reader, payload, &buf), FRAMED_MORE);
    assert_int_equal(framed_reader_next(&reader, &empty), FRAMED_OK);
    assert_int_equal(framed_reader_take(&reader, empty, &buf), FRAMED_MORE);
    assert_ptr_equal(buf.at, loan);
    assert_int_equal(buf.len, 1);
    assert_int_equal(buf.cap, 2);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

/* ---- memory ---- */

static uint8_t claim_16_mib[] = {1, 0, 0, 0};

/* One payload byte, in place if the reader wants that. *at_most is raised to the memory ever allowed. */
static void receive_byte(struct framed_reader *reader, uint8_t byte, bool in_place)
{
    uint8_t *at;
    size_t room;
    static uint8_t lent;
    if (in_place && framed_reader_space(reader, &at, &room) == FRAMED_OK) {
        *at = byte;
        assert_int_equal(framed_reader_filled(reader, 1), FRAMED_OK);
        return;
    }
    lent = byte;
    assert_int_equal(framed_reader_feed(reader, &lent, 1), FRAMED_OK);
}

static void reader_buys_memory_with_bytes_received_not_with_the_length_claimed(void **state)
{
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        struct meter meter;
        struct framed_reader reader;
        struct framed_bytes payload;
        uint8_t some[100] = {0}, *at;
        size_t room;
        meter_init(&meter);
        framed_reader_init(&reader, 16u << 20, in_place ? 1 : 0, &meter.allocator);
        assert_int_equal(framed_reader_feed(&reader, claim_16_mib, 4), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_true(meter_read(&meter).peak <= SPARE);
        assert_int_equal(framed_reader_feed(&reader, some, sizeof some), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        if (in_place) assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_OK);
        assert_true(meter_read(&meter).peak <= SPARE + 2 * sizeof some);
        assert_int_equal(framed_reader_held(&reader), 4 + sizeof some);
        framed_reader_fini(&reader);
        meter_fini(&meter);
    }
}

static void reader_spends_linear_work_and_twice_the_bytes_on_16_mib_in_single_bytes(void **state)
{
    (void)state;
    enum { SIZE = 16 << 20 };
    for (int in_place = 0; in_place < 2; in_place++) {
        struct meter meter;
        struct framed_reader reader;
        struct framed_bytes payload = {NULL, 0};
        meter_init(&meter);
        framed_reader_init(&reader, SIZE, in_place ? 1 : 0, &meter.allocator);
        assert_int_equal(framed_reader_feed(&reader, claim_16_mib, 4), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        uint64_t calls = 0;
        for (size_t n = 1; n <= SIZE; n++) {
            receive_byte(&reader, (uint8_t)(n * 31 >> 8), in_place);
            enum framed_status st = framed_reader_next(&reader, &payload);
            if (st != (n < SIZE ? FRAMED_MORE : FRAMED_OK)) fail_msg("status %d after %zu bytes", st, n);
            size_t in_use = meter.count.in_use; /* nobody else allocates: no need for the lock, 33 million times */
            if (in_use > SPARE + 2 * n) fail_msg("%zu bytes for %zu received", in_use, n);
            if (meter.count.calls != calls) {
                calls = meter.count.calls;
                if (calls > 20) fail_msg("%u allocations for %zu bytes", (unsigned)calls, n);
                if (meter.count.moved > 2 * n)
                    fail_msg("%llu bytes moved for %zu", (unsigned long long)meter.count.moved, n);
            }
        }
        assert_int_equal(payload.len, SIZE);
        for (size_t n = 1; n <= SIZE; n++)
            if (payload.at[n - 1] != (uint8_t)(n * 31 >> 8)) fail_msg("byte %zu differs", n);
        assert_true(meter_read(&meter).peak <= SIZE);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_int_equal(meter_in_use(&meter), 0);
        framed_reader_fini(&reader);
        meter_fini(&meter);
    }
}

/* Receives of 64 KiB, following the reader's advice. Returns how many payload bytes of the one frame were lent, not received in place. */
static size_t lent_bytes_of(struct framed_reader *reader, uint32_t size, size_t first)
{
    static uint8_t loan[FRAMED_RECEIVE_SIZE];
    uint8_t *at;
    size_t lent = 0, got = 0, room, receive = first;
    struct framed_bytes payload = {NULL, 0};
    enum framed_status st = framed_length_encode(loan, size, size);
    assert_int_equal(st, FRAMED_OK);
    memset(loan + 4, 'z', sizeof loan - 4);
    for (size_t skip = 4; got < size; skip = 0, receive = sizeof loan) {
        size_t n = receive < size + skip - got ? receive : size + skip - got;
        if (framed_reader_space(reader, &at, &room) == FRAMED_OK) {
            n = n < room ? n : room;
            memset(at, 'z', n);
            assert_int_equal(framed_reader_filled(reader, n), FRAMED_OK);
        } else {
            assert_int_equal(framed_reader_feed(reader, loan, n), FRAMED_OK);
            lent += n - skip;
        }
        got += n - skip;
        st = framed_reader_next(reader, &payload);
        assert_int_equal(st, got < size ? FRAMED_MORE : FRAMED_OK);
        memset(loan, 'z', 4);
    }
    assert_int_equal(payload.len, size);
    assert_int_equal(framed_reader_next(reader, &payload), FRAMED_MORE);
    return lent;
}

static void reader_copies_at_most_one_receive_of_a_frame_however_large(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {70000, 100000, 131072, 131073, 200000, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t first = 4; first <= FRAMED_RECEIVE_SIZE; first += first < 10 ? 1 : 1021) {
            struct meter meter;
            struct framed_reader reader;
            meter_init(&meter);
            framed_reader_init(&reader, sizes[i], 0, &meter.allocator);
            size_t lent = lent_bytes_of(&reader, sizes[i], first);
            if (lent > FRAMED_RECEIVE_SIZE)
                fail_msg("%zu bytes of %u copied, first receive %zu", lent, (unsigned)sizes[i], first);
            framed_reader_fini(&reader);
            meter_fini(&meter);
        }
    }
}

static void reader_asks_for_nothing_in_place_when_copying_the_rest_is_within_the_limit(void **state)
{
    (void)state;
    uint8_t begin[] = {0, 0, 0x40, 0, 'a'}, *at = NULL;
    size_t room = 0;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    for (uint32_t copy_max = 0x3fff; copy_max <= 0x4000; copy_max++) {
        framed_reader_init(&reader, 0x4000, copy_max, &meter.allocator);
        assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_MORE); /* nothing is cut yet */
        assert_int_equal(framed_reader_feed(&reader, begin, sizeof begin), FRAMED_OK);
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
        assert_int_equal(framed_reader_space(&reader, &at, &room), copy_max < 0x4000 ? FRAMED_OK : FRAMED_MORE);
        framed_reader_fini(&reader);
    }
    meter_fini(&meter);
}

/* ---- failures ---- */

/* Every allocation fails once, or from then on: the reader says NOMEM and stays so, or gets along; it never loses a byte. */
static unsigned deny_each(struct drive *d, const struct split *split, enum meter_failing failing)
{
    unsigned n = 0;
    for (bool reached = true; reached; n++) {
        meter_fail_at(d->meter, n + 1, failing);
        enum framed_status st = drive_reader(d, split);
        reached = meter_reached(d->meter) > 0;
        if (!reached) assert_int_equal(st, FRAMED_OK);
    }
    meter_fail_at(d->meter, 0, METER_ONCE);
    return n - 1;
}

static void reader_stays_out_of_memory_at_whichever_allocation_it_happens(void **state)
{
    (void)state;
    static const size_t sizes[] = {3, 0, 5000, 100, 9000, 0, 20000, 1, 6000};
    struct stream stream = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) stream_frame(&stream, sizes[i]);
    struct guard guard;
    struct meter meter;
    guard_init(&guard, stream.len);
    meter_init(&meter);
    unsigned most = 0;
    for (unsigned ways = 0; ways < ALL_WAYS; ways++) {
        if (ways & DRIVE_IDLE) continue; /* adds nothing here */
        struct drive d = stream_drive(&stream, "out of memory", 20000, FRAMED_CLOSED, ways, &guard, &meter);
        for (size_t step = 700; step < 16000; step += 1501) {
            size_t ends[80], n = 0;
            for (size_t at = 0; at < stream.len; n++) {
                at += step < stream.len - at ? step : stream.len - at;
                ends[n] = at;
            }
            struct split split = {.ends = ends, .n = n, .name = "receives of one size"};
            unsigned once = deny_each(&d, &split, METER_ONCE), onward = deny_each(&d, &split, METER_ONWARD);
            assert_int_equal(once, onward);
            if (once > most) most = once;
        }
    }
    assert_true(most > 5); /* the loop has denied something */
    print_message("allocations failed one by one: up to %u a run\n", most);
    meter_fini(&meter);
    guard_fini(&guard);
    stream_free(&stream);
}

static void reader_rejects_a_length_above_its_limit_for_good(void **state)
{
    (void)state;
    uint8_t loan[] = {0, 0, 0, 2, 'o', 'k', 0, 0, 0, 17, 'x', 0, 0, 0, 1, 'y'}, *at;
    size_t room;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 1, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_memory_equal(payload.at, "ok", 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_TOO_LARGE);
        assert_int_equal(framed_reader_claimed(&reader), 17);
        assert_int_equal(framed_reader_feed(&reader, loan, 1), FRAMED_USAGE);
        assert_int_equal(framed_reader_park(&reader), FRAMED_TOO_LARGE);
        assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_TOO_LARGE);
        assert_int_equal(framed_reader_end(&reader), FRAMED_TOO_LARGE);
        assert_int_equal(framed_reader_held(&reader), 0);
    }
    framed_reader_fini(&reader);
    assert_int_equal(meter_read(&meter).calls, 0); /* before a byte of it was stored */
    meter_fini(&meter);
}

static enum framed_status judge(uint32_t max_frame, uint32_t word)
{
    uint8_t at[4] = {(uint8_t)(word >> 24), (uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, max_frame, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, at, 4), FRAMED_OK);
    enum framed_status st = framed_reader_next(&reader, &payload);
    if (st == FRAMED_TOO_LARGE) assert_int_equal(framed_reader_claimed(&reader), word);
    framed_reader_fini(&reader);
    meter_fini(&meter);
    return st;
}

static void reader_takes_limits_as_the_scan_does(void **state)
{
    (void)state;
    assert_int_equal(judge(0, 16u << 20), FRAMED_MORE);
    assert_int_equal(judge(0, (16u << 20) + 1), FRAMED_TOO_LARGE);
    assert_int_equal(judge(UINT32_MAX, 0x7fffffffu), FRAMED_MORE);
    assert_int_equal(judge(UINT32_MAX, 0x80000000u), FRAMED_TOO_LARGE);
    assert_int_equal(judge(UINT32_MAX, UINT32_MAX), FRAMED_TOO_LARGE);
    assert_int_equal(judge(1, 1), FRAMED_MORE);
    assert_int_equal(judge(1, 2), FRAMED_TOO_LARGE);
}

/* ---- the end, and misuse ---- */

static void reader_tells_a_clean_end_from_a_cut_frame_at_every_byte(void **state)
{
    (void)state;
    static const uint8_t stream[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'c'};
    static const char clean[] = "x.....x...x....x"; /* x: between two frames */
    for (size_t n = 0; n <= sizeof stream; n++) {
        for (int parked = 0; parked < 2; parked++) {
            uint8_t loan[sizeof stream];
            memcpy(loan, stream, sizeof stream);
            struct meter meter;
            struct framed_reader reader;
            struct framed_bytes payload;
            meter_init(&meter);
            framed_reader_init(&reader, 16, 0, &meter.allocator);
            assert_int_equal(framed_reader_feed(&reader, loan, n), FRAMED_OK);
            if (parked) assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
            while (framed_reader_next(&reader, &payload) == FRAMED_OK) continue;
            assert_int_equal(framed_reader_held(&reader) == 0, clean[n] == 'x');
            enum framed_status end = framed_reader_end(&reader);
            assert_int_equal(end, clean[n] == 'x' ? FRAMED_CLOSED : FRAMED_TRUNCATED);
            assert_int_equal(framed_reader_end(&reader), end);
            assert_int_equal(framed_reader_next(&reader, &payload), end);
            assert_int_equal(framed_reader_feed(&reader, loan, 1), FRAMED_USAGE);
            assert_int_equal(framed_reader_feed(&reader, loan, 0), FRAMED_USAGE);
            assert_int_equal(meter_in_use(&meter), 0);
            framed_reader_fini(&reader);
            meter_fini(&meter);
        }
    }
}

static void reader_does_not_end_while_a_loan_is_not_used_up(void **state)
{
    (void)state;
    uint8_t loan[] = {0, 0, 0, 1, 'a', 0, 0, 0, 1, 'b'};
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_end(&reader), FRAMED_USAGE);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_int_equal(framed_reader_end(&reader), FRAMED_USAGE);
    assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
    assert_int_equal(framed_reader_end(&reader), FRAMED_USAGE);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK); /* and nothing was lost by asking */
    assert_memory_equal(payload.at, "b", 1);
    assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

static void reader_refuses_a_loan_before_the_last_one_is_used_up(void **state)
{
    (void)state;
    uint8_t loan[] = {0, 0, 0, 1, 'a', 0, 0, 0, 1, 'b'}, other[] = {'x'}, *at;
    size_t room;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 1, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_feed(&reader, other, 1), FRAMED_USAGE);
    assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_USAGE);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_int_equal(framed_reader_feed(&reader, other, 1), FRAMED_USAGE);
    assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
    assert_int_equal(framed_reader_feed(&reader, other, 1), FRAMED_USAGE);
    assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_USAGE);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_memory_equal(payload.at, "b", 1);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

static void reader_refuses_a_loan_of_2_gib_or_more(void **state)
{
    (void)state;
    uint8_t byte = 0;
    struct meter meter;
    struct framed_reader reader;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 0, &meter.allocator);
    assert_int_equal(framed_reader_feed(&reader, &byte, 0x80000000u), FRAMED_USAGE);
    assert_int_equal(framed_reader_feed(&reader, &byte, SIZE_MAX), FRAMED_USAGE);
#if SIZE_MAX > UINT32_MAX
    assert_int_equal(framed_reader_feed(&reader, &byte, ((size_t)1 << 32) + 1), FRAMED_USAGE);
#endif
    assert_int_equal(framed_reader_held(&reader), 0);
    assert_int_equal(framed_reader_end(&reader), FRAMED_CLOSED);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

static void reader_refuses_bytes_in_place_for_which_it_gave_no_room(void **state)
{
    (void)state;
    uint8_t begin[] = {0, 0, 0, 9, 'a', 'b'}, loan[] = {'c', 'd', 'e', 'f', 'g', 'h', 'i'}, *at;
    size_t room;
    struct meter meter;
    struct framed_reader reader;
    struct framed_bytes payload;
    meter_init(&meter);
    framed_reader_init(&reader, 16, 1, &meter.allocator);
    assert_int_equal(framed_reader_filled(&reader, 1), FRAMED_USAGE); /* between frames */
    assert_int_equal(framed_reader_feed(&reader, begin, sizeof begin), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    assert_int_equal(framed_reader_space(&reader, &at, &room), FRAMED_OK);
    assert_int_equal(room, 7);
    assert_int_equal(framed_reader_filled(&reader, 8), FRAMED_USAGE);
    assert_int_equal(framed_reader_filled(&reader, SIZE_MAX), FRAMED_USAGE);
    assert_int_equal(framed_reader_filled(&reader, 0), FRAMED_OK);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);

    assert_int_equal(framed_reader_feed(&reader, loan, sizeof loan), FRAMED_OK);
    assert_int_equal(framed_reader_filled(&reader, 1), FRAMED_USAGE); /* the bytes come from the loan now */
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_OK);
    assert_int_equal(payload.len, 9);
    assert_memory_equal(payload.at, "abcdefghi", 9);
    assert_int_equal(framed_reader_filled(&reader, 1), FRAMED_USAGE);
    assert_int_equal(framed_reader_next(&reader, &payload), FRAMED_MORE);
    framed_reader_fini(&reader);
    meter_fini(&meter);
}

static void reader_frees_what_it_owns_in_whatever_state_it_is_left(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 30; n++) {
        for (int parked = 0; parked < 2; parked++) {
            struct stream stream = {0};
            stream_frame(&stream, 3);
            stream_frame(&stream, 0);
            stream_frame(&stream, 15);
            struct meter meter;
            struct framed_reader reader;
            struct framed_bytes payload;
            meter_init(&meter);
            framed_reader_init(&reader, 16, 0, &meter.allocator);
            for (int again = 0; again < 2; again++) { /* a finished reader may be initialised again */
                for (size_t cut = 2; cut <= 16; cut += 7) {
                    size_t first = n < cut ? n : cut;
                    assert_int_equal(framed_reader_feed(&reader, stream.input, first), FRAMED_OK);
                    while (framed_reader_next(&reader, &payload) == FRAMED_OK) continue;
                    assert_int_equal(framed_reader_feed(&reader, stream.input + first, n - first), FRAMED_OK);
                    if (parked) assert_int_equal(framed_reader_park(&reader), FRAMED_OK);
                    framed_reader_fini(&reader);
                    assert_int_equal(meter_in_use(&meter), 0);
                    framed_reader_init(&reader, 16, 0, &meter.allocator);
                }
            }
            framed_reader_fini(&reader);
            meter_fini(&meter);
            stream_free(&stream);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_lends_frames_that_arrived_whole_without_memory_of_its_own),
        cmocka_unit_test(reader_lends_a_payload_that_arrived_whole_behind_a_cut_length_word),
        cmocka_unit_test(reader_yields_an_empty_frame_without_more_input),
        cmocka_unit_test(reader_gives_the_frames_of_random_streams_in_every_split_and_way),
        cmocka_unit_test(reader_gives_frames_around_the_sizes_at_which_its_memory_grows),
        cmocka_unit_test(reader_keeps_the_views_of_one_loan_valid_to_its_end),
        cmocka_unit_test(reader_goes_on_after_a_park_with_frames_and_a_cut_one_left),
        cmocka_unit_test(reader_holds_no_more_than_the_loan_when_it_is_parked),
        cmocka_unit_test(reader_takes_a_new_loan_right_after_the_last_frame_of_a_parked_one),
        cmocka_unit_test(reader_gives_the_memory_of_a_collected_frame_to_who_takes_it),
        cmocka_unit_test(reader_gives_a_collected_frame_away_also_after_later_frames_of_the_loan),
        cmocka_unit_test(reader_gives_no_memory_away_when_the_frame_lies_in_lent_bytes),
        cmocka_unit_test(reader_buys_memory_with_bytes_received_not_with_the_length_claimed),
        cmocka_unit_test(reader_spends_linear_work_and_twice_the_bytes_on_16_mib_in_single_bytes),
        cmocka_unit_test(reader_copies_at_most_one_receive_of_a_frame_however_large),
        cmocka_unit_test(reader_asks_for_nothing_in_place_when_copying_the_rest_is_within_the_limit),
        cmocka_unit_test(reader_stays_out_of_memory_at_whichever_allocation_it_happens),
        cmocka_unit_test(reader_rejects_a_length_above_its_limit_for_good),
        cmocka_unit_test(reader_takes_limits_as_the_scan_does),
        cmocka_unit_test(reader_tells_a_clean_end_from_a_cut_frame_at_every_byte),
        cmocka_unit_test(reader_does_not_end_while_a_loan_is_not_used_up),
        cmocka_unit_test(reader_refuses_a_loan_before_the_last_one_is_used_up),
        cmocka_unit_test(reader_refuses_a_loan_of_2_gib_or_more),
        cmocka_unit_test(reader_refuses_bytes_in_place_for_which_it_gave_no_room),
        cmocka_unit_test(reader_frees_what_it_owns_in_whatever_state_it_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
