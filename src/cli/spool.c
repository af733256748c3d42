/*
 * Owns: a ring of entries between two threads, and the sleep of the one that takes.
 * Must not know: what the entries are.
 * Invariants: taken <= ready <= added <= taken + SPOOL_SIZE, and what is reserved fits as well; an entry lies in one piece; only
 * whole entries are published; a sleeper that said so is woken by the next publish.
 */
#include "spool.h"

enum mood { AWAKE, NAPPING, ASLEEP };
enum { NAPS = 10, ALIGN = 16, MASK = SPOOL_SIZE - 1 };

/* Before each entry. A gap fills the ring's last bytes when an entry does not fit there. */
struct head {
    _Alignas(ALIGN) uint32_t size; /* with the head, rounded up */
    uint32_t n;
    bool is_gap;
};

static size_t size_of(size_t n)
{
    return (sizeof(struct head) + n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static struct head *head_at(struct spool *s, size_t place)
{
    return (struct head *)(void *)(s->ring + (place & MASK));
}

/* ---- adding ---- */

static size_t free_bytes(struct spool *s)
{
    return SPOOL_SIZE - (s->added - s->freed);
}

/* Bytes an entry takes where it would go now: its size, and the gap before it. */
static size_t cost(const struct spool *s, size_t size)
{
    size_t to_end = SPOOL_SIZE - (s->added & MASK);
    return size <= to_end ? size : to_end + size;
}

static bool fits(struct spool *s, size_t need)
{
    if (need <= free_bytes(s)) return true;
    s->freed = atomic_load_explicit(&s->taken, memory_order_acquire);
    return need <= free_bytes(s);
}

static void *place(struct spool *s, size_t n)
{
    size_t size = size_of(n), total = cost(s, size);
    if (total > size) {
        *head_at(s, s->added) = (struct head){.size = (uint32_t)(total - size), .is_gap = true};
        s->added += total - size;
    }
    struct head *h = head_at(s, s->added);
    *h = (struct head){.size = (uint32_t)size, .n = (uint32_t)n};
    s->wanted = size;
    return h + 1;
}

void *framed_spool_room(struct spool *s, size_t n)
{
    size_t need = s->reserved + cost(s, size_of(n));
    if (s->jammed && !fits(s, s->reserved + SPOOL_SIZE / 2)) return NULL;
    s->jammed = !fits(s, need);
    return s->jammed ? NULL : place(s, n);
}

/* Twice its size covers any gap before it: a gap is always smaller than the entry that did not fit. */
bool framed_spool_reserve(struct spool *s, size_t most)
{
    if (s->jammed || !fits(s, s->reserved + 2 * size_of(most))) return false;
    s->reserved += 2 * size_of(most);
    return true;
}

void framed_spool_unreserve(struct spool *s, size_t most)
{
    s->reserved -= 2 * size_of(most);
}

void *framed_spool_reserved(struct spool *s, size_t most, size_t n)
{
    framed_spool_unreserve(s, most);
    return place(s, n);
}

void framed_spool_add(struct spool *s)
{
    s->added += s->wanted;
}

static void wake(struct spool *s)
{
    if (atomic_exchange(&s->mood, AWAKE) != AWAKE) framed_host_bell_ring(s->bell);
}

void framed_spool_publish(struct spool *s)
{
    if (atomic_load_explicit(&s->ready, memory_order_relaxed) == s->added) return;
    atomic_store(&s->ready, s->added);
    int mood = atomic_load(&s->mood); /* after the store: either we see him asleep, or he sees the entry */
    if (mood == ASLEEP || (mood == NAPPING && free_bytes(s) < SPOOL_SIZE / 2 && !fits(s, SPOOL_SIZE / 2))) wake(s);
}

/* ---- taking ---- */

static bool is_empty(struct spool *s)
{
    return atomic_load(&s->ready) == atomic_load_explicit(&s->taken, memory_order_relaxed);
}

static void take_all(struct spool *s)
{
    size_t at = atomic_load_explicit(&s->taken, memory_order_relaxed);
    size_t ready = atomic_load_explicit(&s->ready, memory_order_acquire);
    while (at != ready) {
        struct head *h = head_at(s, at);
        if (!h->is_gap) s->work.take(s->work.ctx, (uint8_t *)(h + 1), h->n);
        at += h->size;
        atomic_store_explicit(&s->taken, at, memory_order_release);
    }
}

static void rest(struct spool *s, enum mood mood)
{
    atomic_store(&s->mood, mood);
    if (is_empty(s) && !atomic_load(&s->ending)) framed_host_bell_wait(s->bell, mood == ASLEEP ? OS_FOREVER : SPOOL_NAP_MS);
    atomic_store(&s->mood, AWAKE);
}

static void spool_thread(void *ctx)
{
    struct spool *s = ctx;
    int naps = 0;
    while (!(atomic_load(&s->ending) && is_empty(s))) {
        if (is_empty(s)) {
            rest(s, naps < NAPS ? NAPPING : ASLEEP);
            naps++;
            continue;
        }
        take_all(s);
        s->work.idle(s->work.ctx);
        naps = 0;
    }
    s->work.end(s->work.ctx);
    atomic_store(&s->ended, true);
    framed_host_bell_ring(s->over);
}

/* ---- life ---- */

static void release(struct spool *s)
{
    const struct framed_allocator *alloc = framed_os_allocator();
    framed_host_bell_free(s->bell, alloc);
    framed_host_bell_free(s->over, alloc);
    if (s->ring != NULL) alloc->resize(alloc->ctx, s->ring, SPOOL_SIZE, 0);
    *s = (struct spool){0};
}

enum framed_status framed_spool_start(struct spool *s, const struct spool_work *work)
{
    const struct framed_allocator *alloc = framed_os_allocator();
    *s = (struct spool){.work = *work};
    s->ring = alloc->resize(alloc->ctx, NULL, 0, SPOOL_SIZE);
    enum framed_status st = s->ring != NULL ? FRAMED_OK : FRAMED_NOMEM;
    if (st == FRAMED_OK) st = framed_host_bell_new(&s->bell, alloc);
    if (st == FRAMED_OK) st = framed_host_bell_new(&s->over, alloc);
    if (st == FRAMED_OK) st = framed_os_thread_start(&s->thread, spool_thread, s);
    if (st != FRAMED_OK) release(s);
    return st;
}

bool framed_spool_end(struct spool *s, uint64_t wait_ms)
{
    if (s->thread == NULL) return true;
    uint64_t now = framed_os_clock_ns() / 1000000, until = now + wait_ms;
    framed_spool_publish(s);
    atomic_store(&s->ending, true);
    wake(s);
    while (!atomic_load(&s->ended)) {
        if (now >= until) return false;
        framed_host_bell_wait(s->over, until - now);
        now = framed_os_clock_ns() / 1000000;
    }
    framed_os_thread_join(s->thread);
    release(s);
    return true;
}
