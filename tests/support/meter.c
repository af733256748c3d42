/*
 * meter.c: the allocator with which tests see, limit and break all memory.
 * Must not know who allocates or why.
 * Invariants: in_use is the sum of the live blocks' sizes; a block is in exactly one bucket while it lives; no pointer is
 * followed before it was found there.
 */
#include "meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CANARY 0x6d65746572656421u

enum { FRESH = 0xa5, STALE = 0xdd };

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif

#ifdef HAS_ASAN
enum { TAIL = 0 }; /* the sanitizer sees a write behind the block at once; a canary there would hide it */

/* Its default, 256 MiB of freed memory kept aside, costs more time than all tests together: they free that every second. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}
#else
enum { TAIL = 16 };
#endif

struct meter_block {
    _Alignas(16) struct meter_block *next;
    size_t size;
    uint64_t canary; /* next to the payload, where an underrun lands */
    uint64_t canary_too;
};

_Static_assert(sizeof(struct meter_block) % 16 == 0, "the payload must stay aligned for any object");

static uint8_t *payload_of(struct meter_block *block)
{
    return (uint8_t *)(block + 1);
}

static struct meter_block **bucket_of(struct meter *meter, const void *at)
{
    uintptr_t key = (uintptr_t)at >> 4;
    return &meter->buckets[(key ^ key >> 10 ^ key >> 20) % METER_BUCKETS];
}

static void fault(struct meter *meter, const char *what, const void *at, size_t old_size, size_t real_size)
{
    meter->count.faults++;
    if (!meter->quiet) fprintf(stderr, "meter: %s: block %p, said to be %zu bytes, is %zu\n", what, at, old_size, real_size);
}

static bool tail_is_whole(struct meter_block *block)
{
    const uint8_t *tail = payload_of(block) + block->size;
    for (int i = 0; i < TAIL; i++)
        if (tail[i] != FRESH) return false;
    return true;
}

/* Takes the block out of its bucket and holds it against what the caller believes. NULL: no such block lives. */
static struct meter_block *find(struct meter *meter, void *at, size_t old_size)
{
    struct meter_block **link = bucket_of(meter, at);
    while (*link != NULL && (void *)payload_of(*link) != at) link = &(*link)->next;
    struct meter_block *block = *link;
    if (block == NULL) {
        fault(meter, "not a live block (freed twice?)", at, old_size, 0);
        return NULL;
    }
    if (block->size != old_size) fault(meter, "wrong old size", at, old_size, block->size);
    if (block->canary != CANARY || block->canary_too != CANARY) {
        fault(meter, "bytes before the block were overwritten", at, old_size, block->size);
        block->canary = block->canary_too = CANARY;
    }
    if (!tail_is_whole(block)) fault(meter, "bytes behind the block were overwritten", at, old_size, block->size);
    *link = block->next;
    return block;
}

static void put(struct meter *meter, struct meter_block *block)
{
    struct meter_block **bucket = bucket_of(meter, payload_of(block));
    block->next = *bucket;
    *bucket = block;
}

static struct meter_block *block_new(size_t size)
{
    struct meter_block *block = malloc(sizeof *block + size + TAIL);
    if (block == NULL) return NULL;
    *block = (struct meter_block){.size = size, .canary = CANARY, .canary_too = CANARY};
    memset(payload_of(block), FRESH, size + TAIL);
    return block;
}

static void block_free(struct meter_block *block)
{
    memset(payload_of(block), STALE, block->size);
    free(block);
}

static bool fails_now(struct meter *meter)
{
    if (meter->until_failure == 0) return false;
    if (--meter->until_failure > 0) return false;
    if (meter->failing == METER_ONWARD) meter->until_failure = 1;
    meter->reached++;
    meter->count.denied++;
    return true;
}

static void *resize_locked(struct meter *meter, void *at, size_t old_size, size_t new_size)
{
    if (at == NULL && old_size != 0) fault(meter, "NULL with an old size", at, old_size, 0);
    if (new_size > 0) {
        meter->count.calls++;
        if (fails_now(meter)) return NULL;
    } else if (at != NULL) {
        meter->count.frees++;
    }
    struct meter_block *old = at != NULL ? find(meter, at, old_size) : NULL;
    if (at != NULL && old == NULL) return NULL;

    struct meter_block *fresh = NULL;
    if (new_size > 0) {
        fresh = block_new(new_size);
        if (fresh == NULL) { /* the machine's own limit */
            if (old != NULL) put(meter, old);
            return NULL;
        }
        put(meter, fresh);
        meter->count.blocks++;
    }
    if (old != NULL) {
        if (fresh != NULL) {
            size_t n = old->size < new_size ? old->size : new_size;
            memcpy(payload_of(fresh), payload_of(old), n);
            meter->count.moved += n;
        }
        meter->count.in_use -= old->size;
        meter->count.blocks--;
        block_free(old);
    }
    meter->count.in_use += new_size;
    if (meter->count.in_use > meter->count.peak) meter->count.peak = meter->count.in_use;
    return fresh != NULL ? payload_of(fresh) : NULL;
}

static void *resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    struct meter *meter = ctx;
    pthread_mutex_lock(&meter->lock);
    void *moved = resize_locked(meter, at, old_size, new_size);
    pthread_mutex_unlock(&meter->lock);
    return moved;
}

void meter_init(struct meter *meter)
{
    *meter = (struct meter){.allocator = {.resize = resize, .ctx = meter}};
    pthread_mutex_init(&meter->lock, NULL);
}

void meter_fail_at(struct meter *meter, uint64_t n, enum meter_failing failing)
{
    pthread_mutex_lock(&meter->lock);
    meter->until_failure = n;
    meter->failing = failing;
    meter->reached = 0;
    pthread_mutex_unlock(&meter->lock);
}

uint64_t meter_reached(struct meter *meter)
{
    pthread_mutex_lock(&meter->lock);
    uint64_t reached = meter->reached;
    pthread_mutex_unlock(&meter->lock);
    return reached;
}

struct meter_count meter_read(struct meter *meter)
{
    pthread_mutex_lock(&meter->lock);
    struct meter_count count = meter->count;
    pthread_mutex_unlock(&meter->lock);
    return count;
}

size_t meter_in_use(struct meter *meter)
{
    return meter_read(meter).in_use;
}

void meter_peak_reset(struct meter *meter)
{
    pthread_mutex_lock(&meter->lock);
    meter->count.peak = meter->count.in_use;
    pthread_mutex_unlock(&meter->lock);
}

void meter_fini(struct meter *meter)
{
    struct meter_count count = meter_read(meter);
    for (size_t i = 0; i < METER_BUCKETS; i++) {
        while (meter->buckets[i] != NULL) {
            struct meter_block *block = meter->buckets[i];
            meter->buckets[i] = block->next;
            block_free(block);
        }
    }
    pthread_mutex_destroy(&meter->lock);
    if (count.faults > 0) fail_msg("meter: %llu faults", (unsigned long long)count.faults);
    if (count.blocks > 0) fail_msg("meter: %zu blocks leaked, %zu bytes", count.blocks, count.in_use);
}
