/*
 * test_scan.c: the one parser of the wire (frame.h, PROTOCOL.md §2).
 * Must not know how the scan keeps its state.
 * Invariant: every expectation comes from the page, or from a stream the test has put together itself.
 */
#include "stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum framed_status scan_word(uint32_t max_frame, uint32_t word, struct framed_scan *scan)
{
    uint8_t at[4] = {(uint8_t)(word >> 24), (uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
    struct framed_bytes in = framed_bytes_of(at, 4);
    struct framed_token token;
    framed_scan_init(scan, max_frame);
    enum framed_status st = framed_scan_next(scan, &in, &token);
    assert_int_equal(in.len, 0);
    if (st == FRAMED_OK) {
        assert_int_equal(token.kind, FRAMED_BEGIN);
        assert_int_equal(token.length, word);
    }
    return st;
}

static void scan_needs_no_more_than_16_bytes(void **state)
{
    (void)state;
    assert_true(sizeof(struct framed_scan) <= 16);
}

static void scan_accepts_a_length_at_the_limit_and_rejects_one_above_it(void **state)
{
    (void)state;
    static const uint32_t limits[] = {1, 2, 255, 256, 65535, 65536, 0x00ffffff, 0x01000000, 0x7ffffffe};
    struct framed_scan scan;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        assert_int_equal(scan_word(limits[i], limits[i], &scan), FRAMED_OK);
        assert_int_equal(scan_word(limits[i], limits[i] + 1, &scan), FRAMED_TOO_LARGE);
        assert_int_equal(scan.length, limits[i] + 1);
    }
}

static void scan_takes_a_limit_of_zero_for_the_default(void **state)
{
    (void)state;
    struct framed_scan scan;
    assert_int_equal(scan_word(0, 16u << 20, &scan), FRAMED_OK);
    assert_int_equal(scan_word(0, (16u << 20) + 1, &scan), FRAMED_TOO_LARGE);
}

static void scan_never_accepts_the_top_bit_whatever_the_limit(void **state)
{
    (void)state;
    static const uint32_t limits[] = {FRAMED_FRAME_MOST, FRAMED_FRAME_MOST + 1u, 0xf0000000u, UINT32_MAX};
    struct framed_scan scan;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        assert_int_equal(scan_word(limits[i], 0x7fffffff, &scan), FRAMED_OK);
        assert_int_equal(scan_word(limits[i], 0x80000000u, &scan), FRAMED_TOO_LARGE);
        assert_int_equal(scan_word(limits[i], UINT32_MAX, &scan), FRAMED_TOO_LARGE);
    }
}

static void scan_ends_an_empty_frame_without_more_input(void **state)
{
    (void)state;
    struct framed_scan scan;
    assert_int_equal(scan_word(16, 0, &scan), FRAMED_OK);
    struct framed_bytes in = {NULL, 0};
    struct framed_token token;
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_OK);
    assert_int_equal(token.kind, FRAMED_END);
    assert_int_equal(token.length, 0);
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_MORE);
    assert_int_equal(framed_scan_end(&scan), FRAMED_CLOSED);
}

static void scan_gives_the_input_itself_as_data(void **state)
{
    (void)state;
    static const uint8_t stream[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 1, 'd'};
    struct framed_bytes in = framed_bytes_of(stream, sizeof stream);
    struct framed_scan scan;
    struct framed_token token;
    framed_scan_init(&scan, 16);
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_OK);
    assert_ptr_equal(in.at, stream + 4);
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_OK);
    assert_int_equal(token.kind, FRAMED_DATA);
    assert_ptr_equal(token.data.at, stream + 4);
    assert_int_equal(token.data.len, 3);
    assert_ptr_equal(in.at, stream + 7);
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_OK);
    assert_int_equal(token.kind, FRAMED_END);
    assert_int_equal(in.len, 5);
}

static void scan_rejects_for_good_and_consumes_nothing_afterwards(void **state)
{
    (void)state;
    struct framed_scan scan;
    assert_int_equal(scan_word(16, 17, &scan), FRAMED_TOO_LARGE);
    static const uint8_t legal[] = {0, 0, 0, 1, 'a'};
    for (int i = 0; i < 3; i++) {
        struct framed_bytes in = framed_bytes_of(legal, sizeof legal);
        struct framed_token token = {.length = 99};
        assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_TOO_LARGE);
        assert_ptr_equal(in.at, legal);
        assert_int_equal(in.len, sizeof legal);
        assert_int_equal(token.length, 99);
        assert_int_equal(scan.length, 17);
        assert_int_equal(framed_scan_end(&scan), FRAMED_TOO_LARGE);
    }
}

static void scan_leaves_what_is_behind_a_rejected_word(void **state)
{
    (void)state;
    static const uint8_t stream[] = {0, 0, 0, 17, 1, 2, 3};
    struct framed_bytes in = framed_bytes_of(stream, sizeof stream);
    struct framed_scan scan;
    struct framed_token token;
    framed_scan_init(&scan, 16);
    assert_int_equal(framed_scan_next(&scan, &in, &token), FRAMED_TOO_LARGE);
    assert_ptr_equal(in.at, stream + 4);
}

static void scan_tells_a_clean_end_from_a_cut_frame_at_every_byte(void **state)
{
    (void)state;
    static const uint8_t stream[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 1, 'c'};
    static const char clean[] = "x.....x...x....x"; /* x: between two frames */
    for (size_t n = 0; n <= sizeof stream; n++) {
        struct framed_bytes in = framed_bytes_of(stream, n);
        struct framed_scan scan;
        struct framed_token token;
        framed_scan_init(&scan, 16);
        while (framed_scan_next(&scan, &in, &token) == FRAMED_OK) continue;
        assert_int_equal(framed_scan_end(&scan), clean[n] == 'x' ? FRAMED_CLOSED : FRAMED_TRUNCATED);
    }
}

static void scan_gives_the_frames_of_random_streams_in_every_split(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct stream stream = {0};
        stream_random(&stream, seed, 24, 300);
        struct guard guard;
        struct meter meter;
        guard_init(&guard, stream.len);
        meter_init(&meter);
        struct drive d = stream_drive(&stream, "a random stream", 300, FRAMED_CLOSED, 0, &guard, &meter);
        splits_each(stream.len, 32, drive_scan_split, &d);
        meter_fini(&meter);
        guard_fini(&guard);
        stream_free(&stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_needs_no_more_than_16_bytes),
        cmocka_unit_test(scan_accepts_a_length_at_the_limit_and_rejects_one_above_it),
        cmocka_unit_test(scan_takes_a_limit_of_zero_for_the_default),
        cmocka_unit_test(scan_never_accepts_the_top_bit_whatever_the_limit),
        cmocka_unit_test(scan_ends_an_empty_frame_without_more_input),
        cmocka_unit_test(scan_gives_the_input_itself_as_data),
        cmocka_unit_test(scan_rejects_for_good_and_consumes_nothing_afterwards),
        cmocka_unit_test(scan_leaves_what_is_behind_a_rejected_word),
        cmocka_unit_test(scan_tells_a_clean_end_from_a_cut_frame_at_every_byte),
        cmocka_unit_test(scan_gives_the_frames_of_random_streams_in_every_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
