/*
 * test_rigs.c: the rigs themselves: a rig that sees nothing makes every test above it worthless.
 * Must not know the library.
 * Invariant: each misuse here is one that the rig must notice.
 */
#define _DEFAULT_SOURCE /* fork, setrlimit */
#include "guard.h"
#include "meter.h"
#include "splits.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void *resize(struct meter *meter, void *at, size_t old_size, size_t new_size)
{
    return meter->allocator.resize(meter->allocator.ctx, at, old_size, new_size);
}

static void meter_counts_bytes_blocks_calls_and_what_was_moved(void **state)
{
    (void)state;
    struct meter meter;
    meter_init(&meter);
    uint8_t *a = resize(&meter, NULL, 0, 100), *b = resize(&meter, NULL, 0, 50);
    memset(a, 7, 100);
    a = resize(&meter, a, 100, 300);
    assert_int_equal(a[99], 7);
    a = resize(&meter, a, 300, 10);
    struct meter_count count = meter_read(&meter);
    assert_int_equal(count.in_use, 60);
    assert_int_equal(count.peak, 350); /* a resize counts as its new size, not as both */
    assert_int_equal(count.blocks, 2);
    assert_int_equal(count.calls, 4);
    assert_int_equal(count.moved, 110);
    assert_null(resize(&meter, a, 10, 0));
    assert_null(resize(&meter, b, 50, 0));
    assert_int_equal(meter_read(&meter).frees, 2);
    assert_int_equal(meter_in_use(&meter), 0);
    meter_peak_reset(&meter);
    assert_int_equal(meter_read(&meter).peak, 0);
    meter_fini(&meter);
}

static void meter_fails_the_nth_call_once_or_from_then_on(void **state)
{
    (void)state;
    struct meter meter;
    meter_init(&meter);
    uint8_t *a = resize(&meter, NULL, 0, 10);
    meter_fail_at(&meter, 2, METER_ONCE);
    a = resize(&meter, a, 10, 20);
    assert_non_null(a);
    a[19] = 5;
    assert_null(resize(&meter, a, 20, 30)); /* and the old block stays as it was */
    assert_int_equal(a[19], 5);
    assert_int_equal(meter_in_use(&meter), 20);
    assert_int_equal(meter_reached(&meter), 1);
    a = resize(&meter, a, 20, 30);
    assert_non_null(a);

    meter_fail_at(&meter, 1, METER_ONWARD);
    assert_int_equal(meter_reached(&meter), 0);
    for (int i = 0; i < 3; i++) assert_null(resize(&meter, NULL, 0, 1));
    assert_int_equal(meter_reached(&meter), 3);
    assert_null(resize(&meter, a, 30, 0)); /* giving back never fails */
    assert_int_equal(meter_in_use(&meter), 0);
    meter_fini(&meter);
}

static uint64_t faults_of(struct meter *meter)
{
    uint64_t faults = meter_read(meter).faults;
    meter->count.faults = 0;
    return faults;
}

static void meter_notices_a_wrong_old_size_a_second_free_and_a_foreign_pointer(void **state)
{
    (void)state;
    struct meter meter;
    uint8_t foreign[64] = {0};
    meter_init(&meter);
    meter.quiet = true;
    uint8_t *a = resize(&meter, NULL, 0, 10);
    a = resize(&meter, a, 11, 20);
    assert_int_equal(faults_of(&meter), 1);
    (void)resize(&meter, a, 19, 0);
    assert_int_equal(faults_of(&meter), 1);
    (void)resize(&meter, a, 20, 0);
    assert_int_equal(faults_of(&meter), 1);
    (void)resize(&meter, foreign + 16, 8, 0);
    assert_int_equal(faults_of(&meter), 1);
    (void)resize(&meter, NULL, 8, 0);
    assert_int_equal(faults_of(&meter), 1);
    assert_int_equal(meter_in_use(&meter), 0);
    meter_fini(&meter);
}

static void meter_notices_bytes_written_outside_of_a_block(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    return; /* the sanitizer would end the program: it sees the same, earlier */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return;
#endif
#endif
    struct meter meter;
    meter_init(&meter);
    meter.quiet = true;
    volatile uint8_t *a = resize(&meter, NULL, 0, 10);
    a[10] = 0;
    (void)resize(&meter, (void *)(uintptr_t)a, 10, 0);
    assert_int_equal(faults_of(&meter), 1);
    uintptr_t before = (uintptr_t)resize(&meter, NULL, 0, 10);
    *(volatile uint8_t *)(before - 1) = 0;
    (void)resize(&meter, (void *)before, 10, 0);
    assert_int_equal(faults_of(&meter), 1);
    meter_fini(&meter);
}

/* Runs `what` in a child; true when the child ended well. Dumps no core. */
static int child_ends_well(void (*what)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        if (freopen("/dev/null", "w", stderr) == NULL || freopen("/dev/null", "w", stdout) == NULL) _exit(3);
        for (int i = 1; i < 32; i++) (void)signal(i, SIG_DFL); /* cmocka's handlers would report a failed test of ours */
        what();
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static struct guard guard;

static void touch_the_last_bytes(void)
{
    volatile uint8_t *at = guard_take(&guard, 5);
    // cppcheck-suppress selfAssignment ; reading and writing is what may not trap
    for (int i = 0; i < 5; i++) at[i] = at[i];
}

static void read_one_too_far(void)
{
    volatile uint8_t *at = guard_take(&guard, 5);
    (void)at[5];
}

static void write_one_too_far(void)
{
    volatile uint8_t *at = guard_take(&guard, 0);
    at[0] = 1;
}

static void guard_ends_who_reads_or_writes_behind_its_bytes(void **state)
{
    (void)state;
    guard_init(&guard, 10000);
    assert_true(child_ends_well(touch_the_last_bytes));
    assert_false(child_ends_well(read_one_too_far));
    assert_false(child_ends_well(write_one_too_far));
    uint8_t *at = guard_copy(&guard, "abc", 3);
    assert_memory_equal(at, "abc", 3);
    assert_ptr_equal(at + 3, guard.end);
    guard_spoil(&guard, 3);
    assert_memory_not_equal(at, "abc", 3);
    assert_ptr_equal(guard_take(&guard, 10000) + 10000, guard.end);
    guard_fini(&guard);
}

struct seen {
    size_t len, runs, whole, single, bytes, many;
    unsigned char cut[64];
};

static void see(void *ctx, const struct split *split)
{
    struct seen *seen = ctx;
    assert_true(split->n >= 1);
    assert_int_equal(split->ends[split->n - 1], seen->len);
    for (size_t i = 1; i < split->n; i++) assert_true(split->ends[i - 1] <= split->ends[i]);
    seen->runs++;
    if (strcmp(split->name, "whole") == 0) seen->whole += split->n == 1;
    if (strcmp(split->name, "byte by byte") == 0) seen->bytes += split->n == seen->len;
    if (strncmp(split->name, "cut at", 6) == 0) {
        assert_int_equal(split->n, 2);
        seen->single++;
        if (seen->len < sizeof seen->cut) seen->cut[split->ends[0]] = 1;
    }
    if (strncmp(split->name, "random", 6) == 0) seen->many++;
}

static void splits_cut_at_every_place(void **state)
{
    (void)state;
    for (size_t len = 0; len < 40; len++) {
        struct seen seen = {.len = len};
        splits_each(len, 7, see, &seen);
        assert_int_equal(seen.whole, 1);
        assert_int_equal(seen.bytes, len > 0);
        assert_int_equal(seen.single, len + 1);
        assert_int_equal(seen.many, 7);
        for (size_t i = 0; i <= len; i++) assert_int_equal(seen.cut[i], 1);
    }
}

static void splits_of_a_long_input_keep_to_the_places_that_matter(void **state)
{
    (void)state;
    if (getenv("FRAMED_EVERY_CUT") != NULL || getenv("FRAMED_FEW_CUTS") != NULL) return;
    static const size_t near[] = {50000};
    struct seen seen = {.len = 100000};
    splits_some(100000, 3, near, 1, see, &seen);
    assert_true(seen.single > 100 && seen.single < 1000);
    seen = (struct seen){.len = 2000};
    splits_some(2000, 3, near, 1, see, &seen);
    assert_int_equal(seen.single, 2001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(meter_counts_bytes_blocks_calls_and_what_was_moved),
        cmocka_unit_test(meter_fails_the_nth_call_once_or_from_then_on),
        cmocka_unit_test(meter_notices_a_wrong_old_size_a_second_free_and_a_foreign_pointer),
        cmocka_unit_test(meter_notices_bytes_written_outside_of_a_block),
        cmocka_unit_test(guard_ends_who_reads_or_writes_behind_its_bytes),
        cmocka_unit_test(splits_cut_at_every_place),
        cmocka_unit_test(splits_of_a_long_input_keep_to_the_places_that_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
