/*
 * loop.c: the turn of one worker.
 * Must not know what sockets, timers and letters are for.
 * Invariants: callbacks are made from framed_loop_turn only; a letter is delivered exactly once, in the order of sending.
 */
#include "loop.h"
#include "../proto/alloc.h"

enum framed_status framed_loop_init(struct loop *loop, enum framed_wait way, const struct framed_allocator *alloc,
                                    struct budget *budget)
{
    *loop = (struct loop){0};
    framed_pool_init(&loop->pool, alloc, budget);
    atomic_init(&loop->inbox.full, false);
    loop->inbox.alloc = alloc;
    enum framed_status st = framed_os_lock_new(&loop->inbox.lock, alloc);
    if (st != FRAMED_OK) return st;
    st = framed_os_poller_open(&loop->poller, way, alloc);
    if (st != FRAMED_OK) {
        framed_os_lock_free(loop->inbox.lock, alloc);
        return st;
    }
    loop->inbox.poller = loop->poller;
    framed_wheel_init(&loop->wheel, framed_loop_now(loop));
    return FRAMED_OK;
}

/* Takes all letters that wait; from now on senders find an empty inbox. */
static struct letter *take_letters(struct inbox *inbox)
{
    framed_os_lock(inbox->lock);
    struct letter *l = inbox->first;
    inbox->first = inbox->last = NULL;
    atomic_store_explicit(&inbox->full, false, memory_order_relaxed);
    framed_os_unlock(inbox->lock);
    return l;
}

static void deliver_letters(struct inbox *inbox)
{
    if (!framed_inbox_waits(inbox)) return;
    struct letter *l = take_letters(inbox);
    while (l != NULL) {
        struct letter *next = l->next;
        l->deliver(l); /* l may be gone now */
        l = next;
    }
}

void framed_loop_fini(struct loop *loop)
{
    deliver_letters(&loop->inbox);
    framed_os_lock(loop->inbox.lock);
    struct letter *late = loop->inbox.first;
    loop->inbox.first = loop->inbox.last = NULL;
    while (late != NULL) {
        struct letter *next = late->next;
        late->deliver(late);
        late = next;
    }
    loop->inbox.poller = NULL;
    framed_os_unlock(loop->inbox.lock);
    framed_os_poller_close(loop->poller);
    loop->poller = NULL;
}

void framed_loop_fini_rest(struct loop *loop)
{
    framed_pool_fini(&loop->pool);
    framed_os_lock_free(loop->inbox.lock, loop->inbox.alloc);
}

bool framed_inbox_send(struct inbox *inbox, struct letter *l)
{
    l->next = NULL;
    framed_os_lock(inbox->lock);
    bool open = inbox->poller != NULL;
    if (!open) {
        l->deliver(l);
    } else {
        if (inbox->last != NULL)
            inbox->last->next = l;
        else
            inbox->first = l;
        inbox->last = l;
        atomic_store_explicit(&inbox->full, true, memory_order_release);
        framed_os_wake(inbox->poller); /* under the lock: the poller cannot go meanwhile */
    }
    framed_os_unlock(inbox->lock);
    return open;
}

uint64_t framed_loop_now(struct loop *loop)
{
    if (!loop->now_known) {
        loop->now_ms = framed_os_clock_ns() / 1000000u;
        loop->now_known = true;
    }
    return loop->now_ms;
}

/* ---- the turn ---- */

enum { SPIN_VAIN_MOST = 10 }; /* after that many, one turn in 1,024 spins */

/* Looks for work without sleeping, at most *wait_ms, from which it takes what it needed. True: some came, or waiting failed; *st
 * as framed_os_wait gave it. */
static bool spin(struct loop *loop, uint64_t *wait_ms, enum framed_status *st)
{
    uint64_t had = framed_os_completions(loop->poller);
    uint64_t spin_ns = *wait_ms <= loop->spin_us / 1000 ? *wait_ms * 1000000 : (uint64_t)loop->spin_us * 1000;
    uint64_t began_ns = framed_os_clock_ns(), spent_ns;
    do {
        *st = framed_os_wait(loop->poller, 0);
        if (*st != FRAMED_OK || framed_os_completions(loop->poller) != had) {
            loop->spin_vain = 0;
            return true;
        }
        framed_os_yield();
        spent_ns = framed_os_clock_ns() - began_ns;
    } while (spent_ns < spin_ns);
    if (*wait_ms != OS_FOREVER) *wait_ms -= spent_ns / 1000000 < *wait_ms ? spent_ns / 1000000 : *wait_ms;
    if (loop->spin_vain < SPIN_VAIN_MOST) loop->spin_vain++;
    loop->spin_skips = 1u << loop->spin_vain;
    return false;
}

static enum framed_status wait(struct loop *loop, uint64_t wait_ms)
{
    enum framed_status st;
    if (loop->spin_us > 0 && wait_ms > 0) {
        if (loop->spin_skips > 0)
            loop->spin_skips--;
        else if (spin(loop, &wait_ms, &st))
            return st;
    }
    return framed_os_wait(loop->poller, wait_ms);
}

enum framed_status framed_loop_turn(struct loop *loop, uint64_t wait_ms)
{
    atomic_store_explicit(&loop->thread, framed_os_thread_self(), memory_order_relaxed);
    uint64_t next = framed_wheel_next(&loop->wheel);
    if (next != WHEEL_NEVER) {
        loop->now_known = false; /* the last turn may have been long */
        uint64_t now = framed_loop_now(loop);
        uint64_t until = next > now ? next - now : 0;
        if (until < wait_ms) wait_ms = until;
    }
    loop->now_known = false;
    uint64_t had = framed_os_completions(loop->poller);
    enum framed_status st = wait(loop, wait_ms);
    loop->crowded = framed_os_completions(loop->poller) - had > 1;
    deliver_letters(&loop->inbox);
    framed_wheel_advance(&loop->wheel, framed_loop_now(loop));
    return st;
}
