/*
 * test_pool.c: owns the proof that a loop's memory keeps its contents, its budget and its promises when memory runs out.
 * Must not know how the pool keeps what was freed.
 * Invariants: every block is full of bytes that tell whose they are; the parent is a meter, which sees stray writes to the
 * blocks it gave and wrong sizes; everything is bounded by counts and seeded.
 */
#include "meter.h"
#include "pool.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 48, STEPS = 6000, LONG_STEP = 911, MIB = 1 << 20 };

struct block {
    uint8_t *at;
    size_t n;
    uint8_t mark;
};

static struct {
    struct meter meter;
    struct budget budget;
    struct pool pool;
    struct block blocks[BLOCKS];
    uint64_t dice;
    unsigned long refused;
} world;

static uint64_t dice(void) /* xorshift64 */
{
    world.dice ^= world.dice << 13;
    world.dice ^= world.dice >> 7;
    world.dice ^= world.dice << 17;
    return world.dice;
}

static size_t below(size_t n)
{
    return (size_t)(dice() % n);
}

static void begin(size_t limit, uint64_t seed)
{
    memset(&world, 0, sizeof world);
    world.dice = seed;
    meter_init(&world.meter);
    world.budget.limit = limit;
    framed_pool_init(&world.pool, &world.meter.allocator, &world.budget);
}

static void *get(void *at, size_t old_size, size_t n)
{
    return world.pool.alloc.resize(world.pool.alloc.ctx, at, old_size, n);
}

static void end(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        if (world.blocks[i].at) (void)get(world.blocks[i].at, world.blocks[i].n, 0);
    framed_pool_fini(&world.pool);
    assert_int_equal(world.budget.used, 0);
    meter_fini(&world.meter);
}

/* Every byte of a small one, some and the ends of a large one. */
static size_t after(size_t i, size_t n)
{
    size_t next = n > 4096 ? i + LONG_STEP : i + 1;
    return next >= n && i < n - 1 ? n - 1 : next;
}

static void fill(struct block *b)
{
    b->mark = (uint8_t)dice();
    for (size_t i = 0; i < b->n; i = after(i, b->n)) b->at[i] = (uint8_t)(b->mark + i * 7);
}

/* The first n bytes are what they were. `step` of the block they were written as. */
static void assert_kept(const struct block *b, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i = after(i, b->n)) {
        if (at[i] != (uint8_t)(b->mark + i * 7)) fail_msg("byte %zu of %zu has changed", i, b->n);
    }
}

static void assert_honest(void)
{
    struct meter_count count = meter_read(&world.meter);
    assert_int_equal(world.budget.used, count.in_use);
    assert_true(world.budget.used <= world.budget.limit);
    assert_int_equal(count.faults, 0);
}

/* Around the sizes of classes, and anything up to 300 KiB. */
static size_t some_size(void)
{
    switch (below(6)) {
    case 0: return 1 + below(300 << 10);
    case 1: return 65536 - 2 + below(5);
    default: {
        size_t n = ((size_t)1 << below(18)) + below(3) - 1;
        return n > 0 ? n : 1;
    }
    }
}

static void resize(struct block *b, size_t n)
{
    size_t old = b->at != NULL ? b->n : 0;
    uint8_t *at = get(b->at, old, n);
    if (at == NULL) { /* and the old block is as it was */
        world.refused++;
        if (b->at != NULL) assert_kept(b, b->at, b->n);
        return;
    }
    assert_int_equal((uintptr_t)at % 16, 0);
    if (old > 0) assert_kept(b, at, old < n ? old : n);
    b->at = at;
    b->n = n;
    fill(b);
}

static void one_step(void)
{
    struct block *b = &world.blocks[below(BLOCKS)];
    if (b->at != NULL) assert_kept(b, b->at, b->n);
    size_t what = below(4);
    if (what == 0 && b->at != NULL) {
        assert_null(get(b->at, b->n, 0));
        b->at = NULL;
    } else if (what == 1 && b->at == NULL) {
        b->n = some_size();
        b->at = framed_pool_outside(&world.pool, b->n);
        if (b->at != NULL)
            fill(b);
        else
            world.refused++;
    } else {
        resize(b, some_size());
    }
}

static void pool_keeps_every_block_s_bytes_and_counts_every_byte_it_took(void **state)
{
    (void)state;
    begin(SIZE_MAX, 11);
    for (unsigned i = 0; i < STEPS; i++) {
        one_step();
        if (i % 16 == 0) assert_honest();
    }
    assert_int_equal(world.refused, 0);
    end();
}

static void pool_never_exceeds_its_budget_and_loses_nothing_when_it_says_no(void **state)
{
    (void)state;
    begin(MIB, 22);
    for (unsigned i = 0; i < STEPS; i++) {
        one_step();
        if (world.budget.used >
            world.budget.limit) /* only what other threads took on top of what is kept, until asked again */
            assert_true(world.budget.used - world.pool.kept <= world.budget.limit);
        assert_int_equal(world.budget.used, meter_in_use(&world.meter));
    }
    assert_true(world.refused > 100);
    end();
}

static void pool_loses_nothing_when_allocations_fail(void **state)
{
    (void)state;
    begin(SIZE_MAX, 33);
    for (unsigned i = 0; i < STEPS; i++) {
        if (below(8) == 0) meter_fail_at(&world.meter, 1 + below(3), below(2) ? METER_ONCE : METER_ONWARD);
        one_step();
        if (below(4) == 0) meter_fail_at(&world.meter, 0, METER_ONCE);
        if (i % 16 == 0) assert_honest();
    }
    assert_true(world.refused > 100);
    end();
}

static void pool_gives_what_was_freed_without_asking_for_more(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 65, 4000, 65536, 65537, 2 * MIB};
    begin(SIZE_MAX, 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *at = get(NULL, 0, sizes[i]);
        assert_non_null(at);
        (void)get(at, sizes[i], 0);
    }
    uint64_t calls = meter_read(&world.meter).calls;
    for (unsigned again = 0; again < 10; again++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *at = get(NULL, 0, sizes[i]);
            (void)get(at, sizes[i], 0);
        }
    }
    assert_int_equal(meter_read(&world.meter).calls, calls);
    end();
}

static void pool_gives_up_what_it_keeps_before_it_says_no(void **state)
{
    (void)state;
    static const size_t firsts[] = {3 * MIB, 60000};
    for (size_t i = 0; i < 2; i++) {
        begin(4 * MIB, 1);
        void *at[6];
        for (size_t k = 0; k < 6; k++) at[k] = get(NULL, 0, firsts[i] / 6);
        for (size_t k = 0; k < 6; k++) (void)get(at[k], firsts[i] / 6, 0);
        assert_true(world.budget.used >= firsts[i]);
        void *large = get(NULL, 0, 4 * MIB - 4096);
        assert_non_null(large);
        assert_honest();
        (void)get(large, 4 * MIB - 4096, 0);
        end();
    }
}

static void block_that_grows_moves_once_if_one_of_its_last_size_is_kept(void **state)
{
    (void)state;
    static const size_t kept[] = {128 << 10, 256 << 10, MIB, 512 << 10};
    void *at[4];
    begin(SIZE_MAX, 1);
    for (size_t i = 0; i < 4; i++) assert_non_null(at[i] = get(NULL, 0, kept[i]));
    for (size_t i = 0; i < 4; i++) (void)get(at[i], kept[i], 0);
    size_t n = 64 << 10, moves = 0;
    uint8_t *frame = get(NULL, 0, n);
    for (; n < MIB; n *= 2) {
        uint8_t *now = get(frame, n, 2 * n);
        assert_non_null(now);
        moves += now != frame;
        frame = now;
    }
    assert_int_equal(moves, 1);
    (void)get(frame, n, 0);
    end();
}

/* No pool can give up what another keeps: so all but a quarter is there for whichever needs it. */
static void pools_that_share_a_budget_keep_a_quarter_of_it(void **state)
{
    (void)state;
    enum { POOLS = 3, LIMIT = 12 * MIB };
    static const size_t sizes[] = {64, 4096, 65536, 200000, MIB};
    struct pool pools[POOLS];
    begin(LIMIT, 1);
    world.budget.pools = POOLS;
    for (size_t p = 0; p < POOLS; p++) {
        framed_pool_init(&pools[p], &world.meter.allocator, &world.budget);
        struct framed_allocator *alloc = &pools[p].alloc;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            void *at[BLOCKS];
            size_t n = sizes[i], count = 4 * MIB / n < BLOCKS ? 4 * MIB / n : BLOCKS;
            for (size_t k = 0; k < count; k++) assert_non_null(at[k] = alloc->resize(alloc->ctx, NULL, 0, n));
            for (size_t k = 0; k < count; k++) (void)alloc->resize(alloc->ctx, at[k], n, 0);
        }
        assert_true(pools[p].kept > LIMIT / 4 / POOLS / 2);
        assert_honest();
        assert_true(world.budget.used <= LIMIT / 4 * (p + 1) / POOLS);
    }
    struct framed_allocator *alloc = &pools[1].alloc;
    void *large = alloc->resize(alloc->ctx, NULL, 0, LIMIT * 3 / 4);
    assert_non_null(large);
    (void)alloc->resize(alloc->ctx, large, LIMIT * 3 / 4, 0);
    for (size_t p = 0; p < POOLS; p++) framed_pool_fini(&pools[p]);
    end();
}

static void pool_lets_a_thread_take_what_it_only_keeps_and_gives_it_up_later(void **state)
{
    (void)state;
    begin(4 * MIB, 1);
    void *kept = get(NULL, 0, 3 * MIB);
    assert_non_null(kept);
    assert_null(framed_pool_outside(&world.pool, 2 * MIB)); /* in use */
    (void)get(kept, 3 * MIB, 0);
    void *theirs = framed_pool_outside(&world.pool, 2 * MIB);
    assert_non_null(theirs);
    assert_null(framed_pool_outside(&world.pool, 3 * MIB)); /* not twice */
    void *ours = get(NULL, 0, MIB);
    assert_non_null(ours);
    (void)get(ours, MIB, 0);
    (void)get(theirs, 2 * MIB, 0); /* what a thread took, the loop frees */
    end();
}

static void pool_refuses_sizes_that_no_memory_has(void **state)
{
    (void)state;
    begin(SIZE_MAX, 1);
    assert_null(get(NULL, 0, SIZE_MAX));
    assert_null(framed_pool_outside(&world.pool, SIZE_MAX));
    assert_null(framed_pool_outside(&world.pool, SIZE_MAX - 8));
    assert_int_equal(world.budget.used, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_keeps_every_block_s_bytes_and_counts_every_byte_it_took),
        cmocka_unit_test(pool_never_exceeds_its_budget_and_loses_nothing_when_it_says_no),
        cmocka_unit_test(pool_loses_nothing_when_allocations_fail),
        cmocka_unit_test(pool_gives_what_was_freed_without_asking_for_more),
        cmocka_unit_test(pool_gives_up_what_it_keeps_before_it_says_no),
        cmocka_unit_test(block_that_grows_moves_once_if_one_of_its_last_size_is_kept),
        cmocka_unit_test(pools_that_share_a_budget_keep_a_quarter_of_it),
        cmocka_unit_test(pool_lets_a_thread_take_what_it_only_keeps_and_gives_it_up_later),
        cmocka_unit_test(pool_refuses_sizes_that_no_memory_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
