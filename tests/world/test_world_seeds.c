/*
 * test_world_seeds.c: a fixed set of trials, and that a trial is what its seed says. `make sim` runs others.
 * Must not know what a trial is made of.
 */
#include "trial.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 400, TWICE = 25 };

static void well(uint64_t seed, struct trial_result *r)
{
    trial_run(seed, false, r);
    if (r->why[0] != '\0') fail_msg("seed %" PRIu64 ": %s; the trace: make sim SEED=%" PRIu64, seed, r->why, seed);
}

static void seeds_keep_every_rule(void **state)
{
    struct trial_result sum = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct trial_result r;
        well(seed, &r);
        assert_true(r.calls >= LEAST_CALLS);
        assert_true(r.faults >= 1);
        assert_int_equal(r.replies + r.not_executed + r.maybe_executed, r.calls);
        sum.replies += r.replies;
        sum.not_executed += r.not_executed;
        sum.maybe_executed += r.maybe_executed;
        for (int i = 0; i < FAULT_COUNT; i++) sum.felt[i] += r.felt[i];
    }
    /* A set in which something never happens would show nothing about it. */
    for (int i = 0; i < FAULT_COUNT; i++)
        if (sum.felt[i] == 0) fail_msg("no seed has a %s", fault_names[i]);
    assert_true(sum.replies > sum.maybe_executed && sum.maybe_executed > 0 && sum.not_executed > 0);
}

static void a_seed_is_the_same_every_time(void **state)
{
    uint64_t all = 0;
    (void)state;
    for (uint64_t seed = 1001; seed <= 1000 + TWICE; seed++) {
        struct trial_result first, second;
        well(seed, &first);
        well(seed, &second);
        if (first.hash != second.hash)
            fail_msg("seed %" PRIu64 " gives the trace %016" PRIx64 ", then %016" PRIx64, seed, first.hash, second.hash);
        assert_memory_equal(&first, &second, sizeof first);
        assert_true(first.hash != all);
        all = all * 31 + first.hash;
    }
    printf("traces of seeds 1001 to %d: %016" PRIx64 "\n", 1000 + TWICE, all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_keep_every_rule),
        cmocka_unit_test(a_seed_is_the_same_every_time),
    };
    int failed = cmocka_run_group_tests_name("world_seeds", tests, NULL, NULL);
    trial_forget();
    return failed;
}
