/*
 * test_vectors.c: every case of proto/vectors, in every split and every way of using the scan and the reader.
 * Must not know what the cases say: the files do.
 * Invariant: each test runs every case of its file.
 */
#include "drive.h"
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_CUTS = 4, MOST_NEAR = 512 };

static struct vectors vectors;

static int load(void **state)
{
    (void)state;
    vectors_load(&vectors, FRAMED_VECTORS "/frames.txt");
    return 0;
}

static int unload(void **state)
{
    (void)state;
    vectors_free(&vectors);
    return 0;
}

/* Where frames end: the cuts around them matter most. */
static size_t ends_of(const struct vector *v, size_t near[MOST_NEAR])
{
    size_t n = 0, at = 0;
    for (; n < v->frame_count && n < MOST_NEAR; n++) {
        at += FRAMED_LENGTH_SIZE + v->frames[n].len;
        near[n] = at;
    }
    return n;
}

static void every_case(split_fn *run, unsigned ways)
{
    for (size_t i = 0; i < vectors.n; i++) {
        const struct vector *v = &vectors.at[i];
        struct guard guard;
        struct meter meter;
        guard_init(&guard, v->input_len);
        meter_init(&meter);
        struct drive d = {.name = v->name,
                          .max_frame = v->max_frame,
                          .input = framed_bytes_of(v->input, v->input_len),
                          .frames = v->frames,
                          .frame_count = v->frame_count,
                          .ends = v->ends,
                          .ways = ways,
                          .guard = &guard,
                          .meter = &meter};
        size_t near[MOST_NEAR];
        size_t near_count = ends_of(v, near);
        splits_some(v->input_len, RANDOM_CUTS, near, near_count, run, &d);
        meter_fini(&meter);
        guard_fini(&guard);
    }
}

static void scan_gives_the_frames_of_every_vector_in_every_split(void **state)
{
    (void)state;
    every_case(drive_scan_split, 0);
    every_case(drive_scan_split, DRIVE_IDLE);
}

static void reader_gives_the_frames_of_every_vector_in_every_split_when_bytes_are_lent(void **state)
{
    (void)state;
    every_case(drive_reader_split, 0);
}

static void reader_gives_the_frames_of_every_vector_in_every_split_when_received_in_place(void **state)
{
    (void)state;
    every_case(drive_reader_split, DRIVE_DIRECT);
}

static void reader_loses_nothing_to_a_timeout_at_any_place_of_any_vector(void **state)
{
    (void)state;
    every_case(drive_reader_split, DRIVE_IDLE);
    every_case(drive_reader_split, DRIVE_IDLE | DRIVE_DIRECT);
}

static void reader_loses_nothing_to_a_park_at_any_place_of_any_vector(void **state)
{
    (void)state;
    every_case(drive_reader_split, DRIVE_PARK);
    every_case(drive_reader_split, DRIVE_PARK_LATE);
    every_case(drive_reader_split, DRIVE_PARK_EACH);
    every_case(drive_reader_split, DRIVE_PARK_LATE | DRIVE_DIRECT | DRIVE_IDLE);
}

static void reader_gives_the_frames_of_every_vector_when_they_are_taken_and_changed(void **state)
{
    (void)state;
    every_case(drive_reader_split, DRIVE_TAKE);
    every_case(drive_reader_split, DRIVE_TAKE | DRIVE_CHANGE | DRIVE_DIRECT);
    every_case(drive_reader_split, DRIVE_CHANGE | DRIVE_PARK);
    every_case(drive_reader_split, DRIVE_TAKE | DRIVE_CHANGE | DRIVE_PARK_LATE | DRIVE_DIRECT);
}

static void hint_is(const char *hint, const struct word_case *c)
{
    assert_string_equal(hint != NULL ? hint : "", c->hint);
}

static uint32_t number_of(const uint8_t word[4])
{
    return (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
}

static void every_word_of_the_vectors_is_judged_as_they_say(void **state)
{
    (void)state;
    struct word_cases cases;
    word_cases_load(&cases, FRAMED_VECTORS "/words.txt");
    struct guard guard;
    guard_init(&guard, 4);
    for (size_t i = 0; i < cases.n; i++) {
        const struct word_case *c = &cases.at[i];
        const uint8_t *word = guard_copy(&guard, c->word, 4);
        uint32_t len = 4711;
        enum framed_status st = framed_length_decode(word, c->max_frame, &len);
        assert_int_equal(st, c->is_legal ? FRAMED_OK : FRAMED_TOO_LARGE);
        assert_int_equal(len, c->is_legal ? c->len : 4711);

        struct framed_scan scan;
        struct framed_bytes in = framed_bytes_of(word, 4);
        struct framed_token token;
        framed_scan_init(&scan, c->max_frame);
        assert_int_equal(framed_scan_next(&scan, &in, &token), c->is_legal ? FRAMED_OK : FRAMED_TOO_LARGE);
        assert_int_equal(scan.length, number_of(c->word));

        if (c->is_legal) {
            uint8_t again[4] = {0};
            assert_int_equal(framed_length_encode(again, c->len, c->max_frame), FRAMED_OK);
            assert_memory_equal(again, c->word, 4);
        } else {
            hint_is(framed_length_hint(number_of(c->word)), c);
        }
    }
    print_message("vectors: %zu streams, %zu words\n", vectors.n, cases.n);
    guard_fini(&guard);
    word_cases_free(&cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_gives_the_frames_of_every_vector_in_every_split),
        cmocka_unit_test(reader_gives_the_frames_of_every_vector_in_every_split_when_bytes_are_lent),
        cmocka_unit_test(reader_gives_the_frames_of_every_vector_in_every_split_when_received_in_place),
        cmocka_unit_test(reader_loses_nothing_to_a_timeout_at_any_place_of_any_vector),
        cmocka_unit_test(reader_loses_nothing_to_a_park_at_any_place_of_any_vector),
        cmocka_unit_test(reader_gives_the_frames_of_every_vector_when_they_are_taken_and_changed),
        cmocka_unit_test(every_word_of_the_vectors_is_judged_as_they_say),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
