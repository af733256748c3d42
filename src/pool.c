/*
 * pool.c: free lists by size class, a few large blocks kept warm, one budget.
 * Must not know what the memory is for.
 * Invariants: a block of n <= 64 KiB has its class's size; a larger one carries its capacity in front; budget->used is what
 * the parent has given and not got back; several loops' pools that share a budget keep at most a quarter of it.
 *
 * A large request is given the largest kept block, also a much bigger one: a frame that grows as its bytes come then moves at
 * most once. Memory so lent was bought by bytes once received, and is bounded by what is kept.
 */
#include "pool.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include <stdbool.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED
#endif
#endif
#ifdef WATCHED
#include <sanitizer/asan_interface.h>
#else
#define __asan_poison_memory_region(at, n)   (void)(at), (void)(n)
#define __asan_unpoison_memory_region(at, n) (void)(at), (void)(n)
#endif

enum {
    CLASS_LEAST = 64,
    CLASS_MOST = CLASS_LEAST << (POOL_CLASSES - 1),
    KEEP_PER_CLASS = 512 << 10,
    KEEP_LARGE = 9 << 20, /* eight frames of 1 MiB in flight, with their capacities' overhead */
    FRONT = 16            /* before a large block; keeps it aligned for any object */
};

struct pool_block {
    union {
        struct pool_block *next; /* of a free small block */
        size_t cap;              /* of a large block, FRONT not counted */
    } u;
};

static unsigned class_of(size_t n)
{
    unsigned c = 0;
    while ((size_t)CLASS_LEAST << c < n) c++;
    return c;
}

static size_t class_size(unsigned c)
{
    return (size_t)CLASS_LEAST << c;
}

/* ---- for AddressSanitizer: what we keep, and what of a block was not asked for, is not to be touched ---- */

static inline void hide(void *at, size_t n)
{
    __asan_poison_memory_region(at, n);
}

static inline void show(void *at, size_t n)
{
    __asan_unpoison_memory_region(at, n);
}

/* ---- the parent, within the budget ---- */

/* `beyond`: bytes that are about to be given up elsewhere. */
static bool charge(struct budget *b, size_t n, size_t beyond)
{
    size_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    size_t limit = b->limit > SIZE_MAX - beyond ? SIZE_MAX : b->limit + beyond;
    do {
        if (used > limit || n > limit - used) return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + n, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void refund(struct budget *b, size_t n)
{
    atomic_fetch_sub_explicit(&b->used, n, memory_order_relaxed);
}

static void *parent_new(struct pool *p, size_t n, size_t beyond)
{
    if (!charge(p->budget, n, beyond)) return NULL;
    void *at = mem_new(p->parent, n);
    if (at == NULL) refund(p->budget, n);
    return at;
}

static void parent_free(struct pool *p, void *at, size_t n)
{
    mem_free(p->parent, at, n);
    refund(p->budget, n);
}

static void keep_more(struct pool *p, size_t n)
{
    size_t kept = atomic_load_explicit(&p->kept, memory_order_relaxed); /* only the loop's thread writes it */
    atomic_store_explicit(&p->kept, kept + n, memory_order_relaxed);
}

static void keep_less(struct pool *p, size_t n)
{
    size_t kept = atomic_load_explicit(&p->kept, memory_order_relaxed);
    atomic_store_explicit(&p->kept, kept - n, memory_order_relaxed);
}

/* May n bytes more be kept? */
static bool may_keep(const struct pool *p, size_t n)
{
    size_t kept = atomic_load_explicit(&p->kept, memory_order_relaxed);
    return n <= p->keep_most && kept <= p->keep_most - n;
}

static void drop_kept(struct pool *p)
{
    for (unsigned c = 0; c < POOL_CLASSES; c++) {
        while (p->free[c] != NULL) {
            struct pool_block *b = p->free[c];
            p->free[c] = b->u.next;
            show(b, class_size(c));
            parent_free(p, b, class_size(c));
        }
        p->free_bytes[c] = 0;
    }
    for (unsigned i = 0; i < POOL_LARGE; i++) {
        struct pool_block *b = p->large[i];
        p->large[i] = NULL;
        if (b == NULL) continue;
        show(b, FRONT + b->u.cap);
        parent_free(p, b, FRONT + b->u.cap);
    }
    p->large_bytes = 0;
    atomic_store_explicit(&p->kept, 0, memory_order_relaxed);
}

/* What we keep unused must not be the reason to say no. */
static void *parent_new_hard(struct pool *p, size_t n)
{
    void *at = parent_new(p, n, 0);
    if (at != NULL) return at;
    drop_kept(p);
    return parent_new(p, n, 0);
}

/* Another thread has used what we keep: then it is not there to be handed out again. */
static void settle(struct pool *p)
{
    if (atomic_load_explicit(&p->budget->used, memory_order_relaxed) > p->budget->limit) drop_kept(p);
}

/* ---- small blocks ---- */

static void *small_new(struct pool *p, size_t n)
{
    unsigned c = class_of(n);
    settle(p);
    struct pool_block *b = p->free[c];
    if (b == NULL) return parent_new_hard(p, class_size(c));
    p->free[c] = b->u.next;
    p->free_bytes[c] -= class_size(c);
    keep_less(p, class_size(c));
    show(b, class_size(c));
    return b;
}

static void small_free(struct pool *p, void *at, size_t n)
{
    unsigned c = class_of(n);
    if (p->free_bytes[c] + class_size(c) > KEEP_PER_CLASS || !may_keep(p, class_size(c))) {
        parent_free(p, at, class_size(c));
        return;
    }
    struct pool_block *b = at;
    b->u.next = p->free[c];
    p->free[c] = b;
    p->free_bytes[c] += class_size(c);
    keep_more(p, class_size(c));
    hide(b + 1, class_size(c) - sizeof *b);
}

/* ---- large blocks: the caller's memory begins FRONT bytes behind the block ---- */

static struct pool_block *block_of(void *at)
{
    return (struct pool_block *)(void *)((uint8_t *)at - FRONT);
}

static void *memory_of(struct pool_block *b)
{
    return (uint8_t *)b + FRONT;
}

static void *kept_large(struct pool *p, size_t n)
{
    settle(p);
    struct pool_block **largest = NULL;
    for (unsigned i = 0; i < POOL_LARGE; i++)
        if (p->large[i] != NULL && (largest == NULL || p->large[i]->u.cap > (*largest)->u.cap)) largest = &p->large[i];
    if (largest == NULL || (*largest)->u.cap < n) return NULL;
    struct pool_block *b = *largest;
    *largest = NULL;
    p->large_bytes -= b->u.cap;
    keep_less(p, b->u.cap);
    show(memory_of(b), b->u.cap);
    return memory_of(b);
}

static void *large_new(struct pool *p, size_t n)
{
    void *at = kept_large(p, n);
    if (at != NULL) return at;
    if (n > SIZE_MAX - FRONT) return NULL;
    struct pool_block *b = parent_new_hard(p, FRONT + n);
    if (b == NULL) return NULL;
    b->u.cap = n;
    return memory_of(b);
}

static void large_free(struct pool *p, void *at)
{
    struct pool_block *b = block_of(at);
    unsigned place = 0;
    while (place < POOL_LARGE && p->large[place] != NULL) place++;
    if (place == POOL_LARGE || b->u.cap > KEEP_LARGE || p->large_bytes > KEEP_LARGE - b->u.cap || !may_keep(p, b->u.cap)) {
        parent_free(p, b, FRONT + b->u.cap);
        return;
    }
    p->large[place] = b;
    p->large_bytes += b->u.cap;
    keep_more(p, b->u.cap);
    hide(memory_of(b), b->u.cap);
}

/* ---- growing ---- */

/* Lets the parent resize a block, front included, to `n` bytes; the budget knows. */
static struct pool_block *parent_resize(struct pool *p, struct pool_block *b, size_t old_size, size_t n)
{
    if (!charge(p->budget, n - old_size, 0)) {
        drop_kept(p);
        if (!charge(p->budget, n - old_size, 0)) return NULL;
    }
    struct pool_block *moved = mem_resize(p->parent, b, old_size, n);
    if (moved == NULL) refund(p->budget, n - old_size);
    return moved;
}

/* A kept block that n bytes fit into, without asking the parent. */
static void *kept(struct pool *p, size_t n)
{
    if (n > CLASS_MOST) return kept_large(p, n);
    return p->free[class_of(n)] != NULL ? small_new(p, n) : NULL;
}

static void *large_grow(struct pool *p, void *at, size_t n)
{
    struct pool_block *b = parent_resize(p, block_of(at), FRONT + block_of(at)->u.cap, FRONT + n);
    if (b == NULL) return NULL;
    b->u.cap = n;
    return memory_of(b);
}

/* The block itself grows, and is kept nowhere in its old size: what is held stays what is used. */
static void *small_grow(struct pool *p, void *at, size_t old_size, size_t n)
{
    bool large = n > CLASS_MOST;
    struct pool_block *b = parent_resize(p, at, class_size(class_of(old_size)), large ? FRONT + n : class_size(class_of(n)));
    if (b == NULL || !large) return b;
    memmove(memory_of(b), b, old_size);
    b->u.cap = n;
    return memory_of(b);
}

/* ---- the allocator ---- */

static void *pool_resize(void *ctx, void *at, size_t old_size, size_t n)
{
    struct pool *p = ctx;
    if (n == 0) {
        if (old_size > CLASS_MOST)
            large_free(p, at);
        else if (at != NULL)
            small_free(p, at, old_size);
        return NULL;
    }
    if (at == NULL) return n > CLASS_MOST ? large_new(p, n) : small_new(p, n);
    bool was_large = old_size > CLASS_MOST;
    if (was_large && n > CLASS_MOST && n <= block_of(at)->u.cap) return at;
    if (!was_large && n <= CLASS_MOST && class_of(old_size) == class_of(n)) return at;
    void *moved = kept(p, n);
    if (moved == NULL && n > old_size) return was_large ? large_grow(p, at, n) : small_grow(p, at, old_size, n);
    if (moved == NULL) moved = small_new(p, n); /* shrinking */
    if (moved == NULL) return NULL;
    memcpy(moved, at, old_size < n ? old_size : n);
    (void)pool_resize(p, at, old_size, 0);
    return moved;
}

#ifdef WATCHED
static size_t room_of(void *at, size_t size)
{
    return size > CLASS_MOST ? block_of(at)->u.cap : class_size(class_of(size));
}

/* The same, and of a block only what was asked for may be touched. */
static void *watched_resize(void *ctx, void *at, size_t old_size, size_t n)
{
    if (at != NULL) show(at, room_of(at, old_size));
    uint8_t *now = pool_resize(ctx, at, old_size, n);
    if (now != NULL)
        hide(now + n, room_of(now, n) - n);
    else if (at != NULL && n > 0) /* it is still what it was */
        hide((uint8_t *)at + old_size, room_of(at, old_size) - old_size);
    return now;
}
#else
#define watched_resize pool_resize
#endif

void framed_pool_init(struct pool *p, const struct framed_allocator *parent, struct budget *budget)
{
    *p = (struct pool){.alloc = {.resize = watched_resize, .ctx = p}, .parent = parent, .budget = budget};
    p->keep_most = budget->pools > 1 ? budget->limit / 4 / budget->pools : SIZE_MAX;
}

void framed_pool_fini(struct pool *p)
{
    drop_kept(p);
}

void *framed_pool_outside(struct pool *p, size_t n)
{
    if (n > SIZE_MAX - FRONT) return NULL;
    size_t kept = atomic_load_explicit(&p->kept, memory_order_relaxed); /* the loop will give it up when it next needs any */
    struct pool_block *b = parent_new(p, n > CLASS_MOST ? FRONT + n : class_size(class_of(n)), kept);
    if (b == NULL || n <= CLASS_MOST) return b;
    b->u.cap = n;
    return memory_of(b);
}
