/*
 * pool.h: a loop's memory. An allocator that keeps what was freed for the next one who asks, so that after warm-up a request
 * costs no allocation; and a budget, above which it says no (whoever asked is then closed).
 *
 * A pool belongs to its loop's thread. Only framed_pool_outside may be called from others.
 */
#ifndef FRAMED_POOL_H
#define FRAMED_POOL_H

#include <framed/base.h>
#include <stdatomic.h>

/* Bytes taken from the parent allocator, caches included, by all pools that share it. */
struct budget {
    atomic_size_t used;
    size_t limit;
    size_t pools; /* that share it, one for each loop; 0: one */
};

enum { POOL_CLASSES = 11, POOL_LARGE = 16 }; /* 64 B to 64 KiB, by powers of two; and how many larger blocks are kept */

struct pool_block;

struct pool {
    struct framed_allocator alloc; /* hand this to whoever allocates */
    const struct framed_allocator *parent;
    struct budget *budget;
    struct pool_block *free[POOL_CLASSES];
    size_t free_bytes[POOL_CLASSES];
    struct pool_block *large[POOL_LARGE];
    size_t large_bytes;
    size_t keep_most;   /* of several pools each keeps little, since none can give up what another keeps */
    atomic_size_t kept; /* bytes in all these lists: the loop would give them up before it says no */
};

/* parent and budget are borrowed until fini. */
void framed_pool_init(struct pool *pool, const struct framed_allocator *parent, struct budget *budget);

/* Gives all that is kept back to the parent. What is handed out must have been freed. */
void framed_pool_fini(struct pool *pool);

/* Allocates n bytes as the pool itself would, but without touching what it keeps: from any thread. Freed by the pool. */
void *framed_pool_outside(struct pool *pool, size_t n);

#endif
