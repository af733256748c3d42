/*
 * test_tool_histogram.c: times kept in fixed memory (src/cli/histogram.c).
 * Must not know how bins are numbered.
 * Invariant: what it says is held against the sorted values themselves.
 */
#include "cli/histogram.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cli_histogram h;

static void begin(void)
{
    memset(&h, 0, sizeof h);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void an_empty_one_knows_nothing(void **state)
{
    (void)state;
    uint64_t ns = 7;
    begin();
    assert_false(framed_histogram_at(&h, 500, &ns));
    assert_int_equal(ns, 7);
}

static void one_value_is_all_it_knows(void **state)
{
    (void)state;
    uint64_t ns = 0;
    begin();
    framed_histogram_add(&h, 123456789);
    assert_true(framed_histogram_at(&h, 500, &ns));
    assert_int_equal(ns, 123456789);
    assert_int_equal(h.least, 123456789);
    assert_int_equal(h.most, 123456789);
    assert_int_equal(framed_histogram_mean(&h), 123456789);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    uint64_t ns = 0;
    begin();
    for (uint64_t i = 1; i <= 255; i++) framed_histogram_add(&h, i);
    assert_true(framed_histogram_at(&h, 500, &ns));
    assert_int_equal(ns, 128);
    assert_true(framed_histogram_at(&h, 900, &ns));
    assert_int_equal(ns, 230);
    assert_int_equal(framed_histogram_mean(&h), 128);
}

/* Of any size: percentiles are the nearest rank's value, or above it by less than 1/128. */
static void percentiles_are_near_the_sorted_values(void **state)
{
    (void)state;
    enum { N = 5000 };
    static uint64_t values[N];
    uint64_t seed = 88172645463325252;
    for (unsigned spread = 8; spread < 64; spread++) {
        begin();
        for (size_t i = 0; i < N; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            values[i] = seed >> (64 - spread + (seed & 7)) % 64;
            framed_histogram_add(&h, values[i]);
        }
        qsort(values, N, sizeof *values, by_size);
        assert_int_equal(h.least, values[0]);
        assert_int_equal(h.most, values[N - 1]);
        for (unsigned permille = 10; permille <= 990; permille += 10) {
            uint64_t ns = 0, exact = values[(size_t)N * permille / 1000 - 1];
            assert_true(framed_histogram_at(&h, permille, &ns));
            if (ns < exact || ns - exact > exact / 128) fail_msg("%u permille: %ju, not %ju", permille, ns, exact);
        }
    }
}

static void a_tail_of_fewer_than_ten_is_not_told(void **state)
{
    (void)state;
    uint64_t ns = 0;
    begin();
    for (int i = 1; i <= 1000; i++) {
        framed_histogram_add(&h, 5);
        assert_int_equal(framed_histogram_at(&h, 900, &ns), i - (i * 9 + 9) / 10 >= 10);
        assert_int_equal(framed_histogram_at(&h, 990, &ns), i == 1000);
        assert_true(framed_histogram_at(&h, 500, &ns));
    }
}

static void the_greatest_values_do_not_wrap(void **state)
{
    (void)state;
    uint64_t ns = 0;
    begin();
    for (int i = 0; i < 100; i++) framed_histogram_add(&h, UINT64_MAX);
    assert_true(framed_histogram_at(&h, 900, &ns));
    assert_true(ns == UINT64_MAX);
    assert_true(framed_histogram_mean(&h) == UINT64_MAX);
    for (int i = 0; i < 100; i++) framed_histogram_add(&h, 0);
    assert_true(framed_histogram_mean(&h) == UINT64_MAX / 2);
    assert_int_equal(h.least, 0);
}

static void the_mean_is_exact_in_any_order(void **state)
{
    (void)state;
    begin();
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        uint64_t value = i * 7919 % 1000 * (i % 2 == 0 ? 1 : 1000003);
        sum += value;
        framed_histogram_add(&h, value);
        assert_int_equal(framed_histogram_mean(&h), sum / i);
    }
}

/* Two halves, put together, are what one histogram of all would be. */
static void merging_is_adding_to_one(void **state)
{
    (void)state;
    static struct cli_histogram half[2];
    memset(half, 0, sizeof half);
    begin();
    for (uint64_t i = 0; i < 5000; i++) {
        uint64_t value = i * i * 7919 + (i % 3 == 0 ? UINT64_MAX / 2 : 0);
        framed_histogram_add(&h, value);
        framed_histogram_add(&half[i % 2], value);
    }
    framed_histogram_merge(&half[0], &half[1]);
    assert_memory_equal(&half[0], &h, sizeof h);
    memset(&half[1], 0, sizeof half[1]);
    framed_histogram_merge(&half[0], &half[1]); /* nothing changes it, not even its least */
    assert_memory_equal(&half[0], &h, sizeof h);
    framed_histogram_merge(&half[1], &half[0]);
    assert_memory_equal(&half[1], &h, sizeof h);
}

/* Finer shares than permille, and every rank, against the sorted values. */
static void ranks_are_near_the_sorted_values(void **state)
{
    (void)state;
    enum { N = 200000 };
    static uint64_t values[N];
    uint64_t seed = 2463534242;
    begin();
    for (size_t i = 0; i < N; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        values[i] = seed >> 20 >> (seed & 31);
        framed_histogram_add(&h, values[i]);
    }
    qsort(values, N, sizeof *values, by_size);
    static const unsigned shares[] = {5000, 9000, 9900, 9990, 9999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        uint64_t ns = 0, exact = values[(size_t)N / 10000 * shares[i] - 1];
        assert_true(framed_histogram_share(&h, shares[i], 10000, &ns));
        assert_true(ns >= exact && ns - exact <= exact / 128);
    }
    for (size_t rank = 1; rank <= N; rank += 997) {
        uint64_t ns = framed_histogram_rank(&h, rank), exact = values[rank - 1];
        assert_true(ns >= exact && ns - exact <= exact / 128);
        assert_true(framed_histogram_up_to(&h, ns) >= rank);
    }
    assert_true(framed_histogram_rank(&h, N) == values[N - 1]);
    assert_int_equal(framed_histogram_up_to(&h, UINT64_MAX), N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_knows_nothing),
        cmocka_unit_test(one_value_is_all_it_knows),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(percentiles_are_near_the_sorted_values),
        cmocka_unit_test(a_tail_of_fewer_than_ten_is_not_told),
        cmocka_unit_test(the_greatest_values_do_not_wrap),
        cmocka_unit_test(the_mean_is_exact_in_any_order),
        cmocka_unit_test(merging_is_adding_to_one),
        cmocka_unit_test(ranks_are_near_the_sorted_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
