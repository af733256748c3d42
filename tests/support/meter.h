/*
 * meter.h: an allocator that counts, fails on demand, and notices misuse.
 *
 * Every block is exactly as long as asked for; a resize always moves, and what is freed or fresh is filled with a pattern, so
 * that stale pointers and uninitialised bytes show. A wrong old size, a second free, a foreign pointer, and bytes written
 * outside of a block are faults: printed at once, counted, and a failure of the test in meter_fini.
 *
 * Threads: any may allocate; the functions below too.
 */
#ifndef FRAMED_TESTS_METER_H
#define FRAMED_TESTS_METER_H

#include <framed/base.h>
#include <pthread.h>
#include <stdbool.h>

enum { METER_BUCKETS = 1024 };

/* One failure, or that one and all after it. */
enum meter_failing { METER_ONCE, METER_ONWARD };

struct meter_count {
    size_t in_use;   /* bytes now; a resize counts as its new size */
    size_t peak;     /* the most bytes ever (since meter_peak_reset) */
    size_t blocks;   /* now */
    uint64_t calls;  /* that asked for memory: new blocks and resizes, failed ones too */
    uint64_t frees;  /* that gave it back */
    uint64_t moved;  /* bytes that resizes carried over */
    uint64_t denied; /* calls that were made to fail */
    uint64_t faults; /* misuse */
};

struct meter {
    struct framed_allocator allocator; /* hand out &meter.allocator */
    pthread_mutex_t lock;
    struct meter_count count;
    struct meter_block *buckets[METER_BUCKETS];
    uint64_t until_failure; /* calls until the one that fails; 0: none will */
    enum meter_failing failing;
    uint64_t reached; /* failures since meter_fail_at */
    bool quiet;       /* do not print faults: for the test of this rig */
};

void meter_init(struct meter *meter);

/* The n-th call from now that asks for memory fails (n from 1), or that one and all later ones; n = 0: none. */
void meter_fail_at(struct meter *meter, uint64_t n, enum meter_failing failing);

/* How many calls failed since meter_fail_at: 0 means that the run ended without reaching n. */
uint64_t meter_reached(struct meter *meter);

/* All counts at one moment. */
struct meter_count meter_read(struct meter *meter);

size_t meter_in_use(struct meter *meter);

/* From now on peak starts at what is in use. */
void meter_peak_reset(struct meter *meter);

/* Fails the running cmocka test when something leaked or a fault was seen; frees what leaked. */
void meter_fini(struct meter *meter);

#endif
