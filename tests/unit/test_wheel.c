/*
 * test_wheel.c: owns the proof that the timing wheel fires what a sorted list would, when it would.
 * Must not know how the wheel is made.
 * Invariants: `world.due` is the truth, 0 for a timer that is not set; everything is bounded by counts and seeded.
 */
#include "wheel.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TIMERS = 100, STEPS = 600, NEAR = 100 };

static struct {
    struct wheel wheel;
    struct timer timers[TIMERS];
    uint64_t due[TIMERS];
    uint64_t target; /* of the advance under way */
    uint64_t last;   /* due time of what fired last in it */
    uint64_t dice;
    unsigned long fired;
    void (*then)(size_t i); /* what a timer that fired does */
} world;

static uint64_t dice(void) /* xorshift64 */
{
    world.dice ^= world.dice << 13;
    world.dice ^= world.dice >> 7;
    world.dice ^= world.dice << 17;
    return world.dice;
}

static uint64_t below(uint64_t n)
{
    return dice() % n;
}

static void set(size_t i, uint64_t due)
{
    framed_wheel_set(&world.wheel, &world.timers[i], due);
    world.due[i] = due == WHEEL_NEVER ? 0 : due <= world.wheel.now ? world.wheel.now + 1 : due;
    assert_int_equal(timer_is_set(&world.timers[i]), due != WHEEL_NEVER);
}

static void clear(size_t i)
{
    framed_wheel_clear(&world.wheel, &world.timers[i]);
    world.due[i] = 0;
    assert_false(timer_is_set(&world.timers[i]));
}

static uint64_t earliest(void)
{
    uint64_t least = WHEEL_NEVER;
    for (size_t i = 0; i < TIMERS; i++)
        if (world.due[i] != 0 && world.due[i] < least) least = world.due[i];
    return least;
}

static void fired(struct timer *t)
{
    size_t i = (size_t)(t - world.timers);
    assert_false(timer_is_set(t));
    assert_int_not_equal(world.due[i], 0);
    assert_in_range(world.due[i], world.last, world.target);
    assert_int_equal(world.due[i], earliest());
    world.last = world.due[i];
    world.due[i] = 0;
    world.fired++;
    if (world.then) world.then(i);
}

static void begin(uint64_t now, uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.dice = seed;
    framed_wheel_init(&world.wheel, now);
    for (size_t i = 0; i < TIMERS; i++) world.timers[i].fired = fired;
}

static void advance(uint64_t now)
{
    world.target = now;
    world.last = 0;
    framed_wheel_advance(&world.wheel, now);
    assert_true(earliest() > now); /* nothing is late */
    assert_true(framed_wheel_next(&world.wheel) > now);
    assert_true(framed_wheel_next(&world.wheel) <= earliest());
}

/* Now, the edges of the wheel's levels, the past, and far away. */
static uint64_t some_time(uint64_t from)
{
    uint64_t unit = UINT64_C(1) << (6 * (1 + below(5)));
    switch (below(7)) {
    case 0: return from;
    case 1: return from + unit;
    case 2: return from + unit - from % unit + below(3) - 1;
    case 3: return from - below(from < NEAR ? from + 1 : NEAR);
    case 4: return below(8) == 0 ? WHEEL_NEVER : from + below(NEAR);
    default: return from + below(UINT64_C(1) << below(36));
    }
}

static void do_anything(size_t i)
{
    if (below(3) == 0) set(i, some_time(below(2) ? world.wheel.now : world.target));
    if (below(3) == 0) clear((size_t)below(TIMERS));
    if (below(3) == 0) set((size_t)below(TIMERS), some_time(world.target));
}

static uint64_t some_moment(uint64_t now)
{
    uint64_t next = framed_wheel_next(&world.wheel), due = earliest();
    uint64_t to;
    switch (below(5)) {
    case 0: to = next; break;
    case 1: to = due - 1; break;
    case 2: to = due; break;
    default: to = some_time(now); break;
    }
    if (to == WHEEL_NEVER || to == WHEEL_NEVER - 1) to = now + 1;
    return to > now ? to : now;
}

static void wheel_fires_what_a_sorted_list_would_whatever_is_set_and_cleared_meanwhile(void **state)
{
    (void)state;
    unsigned long all = 0;
    for (uint64_t run = 1; run <= 12; run++) {
        begin(0, run * UINT64_C(0x9e3779b97f4a7c15));
        uint64_t now = run % 3 == 0 ? 0 : below(UINT64_C(1) << 40);
        begin(now, world.dice);
        world.then = do_anything;
        for (unsigned step = 0; step < STEPS; step++) {
            size_t i = (size_t)below(TIMERS);
            uint64_t what = below(4);
            if (what < 2)
                set(i, some_time(now));
            else if (what == 2)
                clear(i);
            else
                advance(now = some_moment(now));
            assert_true(framed_wheel_next(&world.wheel) <= earliest());
        }
        all += world.fired;
    }
    assert_true(all > 1000); /* else this test showed little */
}

static void wheel_fires_at_the_due_time_and_not_before_at_every_level(void **state)
{
    (void)state;
    for (uint64_t now = 0; now < 4097; now += 63) {
        for (unsigned shift = 0; shift < 40; shift++) {
            for (uint64_t near = 0; near < 3; near++) {
                uint64_t due = now + (UINT64_C(1) << shift) + near - 1;
                if (due <= now) continue;
                begin(now, 1);
                set(0, due);
                if (due - 1 > now) advance(due - 1);
                assert_int_equal(world.fired, 0);
                advance(due);
                assert_int_equal(world.fired, 1);
            }
        }
    }
}

static void wheel_that_is_woken_only_when_it_says_fires_on_time(void **state)
{
    (void)state;
    begin(123456, 7);
    for (size_t i = 0; i < TIMERS; i++) set(i, 123456 + 1 + below(UINT64_C(1) << below(36)));
    unsigned turns = 0;
    while (framed_wheel_next(&world.wheel) != WHEEL_NEVER) {
        advance(framed_wheel_next(&world.wheel));
        assert_true(++turns < TIMERS * 8); /* once a level and timer at most */
    }
    assert_int_equal(world.fired, TIMERS);
}

static void wheel_fires_a_time_that_has_passed_at_the_next_advance(void **state)
{
    (void)state;
    begin(1000, 1);
    set(0, 10);
    set(1, 1000);
    set(2, 0);
    assert_int_equal(framed_wheel_next(&world.wheel), 1001);
    advance(1001);
    assert_int_equal(world.fired, 3);
}

static void wheel_with_nothing_set_says_never(void **state)
{
    (void)state;
    begin(5, 1);
    assert_true(framed_wheel_next(&world.wheel) == WHEEL_NEVER);
    set(0, WHEEL_NEVER);
    assert_true(framed_wheel_next(&world.wheel) == WHEEL_NEVER);
    set(0, 50);
    set(0, WHEEL_NEVER); /* clears */
    advance(UINT64_C(1) << 40);
    assert_int_equal(world.fired, 0);
    clear(0); /* again */
}

static void set_next_again(size_t i)
{
    if (world.fired < 1000) set(i, world.wheel.now); /* "at once" is the next millisecond, never for ever in this one */
}

static void timer_that_sets_itself_again_does_not_hold_the_wheel(void **state)
{
    (void)state;
    begin(0, 1);
    world.then = set_next_again;
    set(0, 1);
    advance(500);
    assert_int_equal(world.fired, 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wheel_fires_what_a_sorted_list_would_whatever_is_set_and_cleared_meanwhile),
        cmocka_unit_test(wheel_fires_at_the_due_time_and_not_before_at_every_level),
        cmocka_unit_test(wheel_that_is_woken_only_when_it_says_fires_on_time),
        cmocka_unit_test(wheel_fires_a_time_that_has_passed_at_the_next_advance),
        cmocka_unit_test(wheel_with_nothing_set_says_never),
        cmocka_unit_test(timer_that_sets_itself_again_does_not_hold_the_wheel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
