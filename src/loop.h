/*
 * loop.h: one thread's turn: wait, complete, take what other threads sent, fire timers. Owns the poller, the timers and the
 * pool of one worker.
 *
 * Spinning: waking a sleeping processor costs more than all else of a short request. A loop with spin_us looks again and again
 * for so long before it sleeps; each time that was in vain, it sleeps at once for twice as many turns before it tries again, so
 * that an idle loop does not spin and a busy one does not sleep.
 */
#ifndef FRAMED_LOOP_H
#define FRAMED_LOOP_H

#include "os/os.h"
#include "pool.h"
#include "wheel.h"

enum { LOOP_SPIN_MOST_US = 1000000 };

/* Something another thread hands to the loop; embedded in what is handed. */
struct letter {
    struct letter *next;
    void (*deliver)(struct letter *l);
};

/* Where letters wait. Outlives the loop as long as somebody may still send; then a letter is delivered at once, on the
 * sender's thread and under the lock, which also guards the pool from then on. */
struct inbox {
    struct os_lock *lock;
    struct letter *first;
    struct letter *last;
    struct os_poller *poller; /* to wake; NULL once closed */
    const struct framed_allocator *alloc;
    atomic_bool full; /* a hint, so that an empty inbox costs no lock */
};

struct loop {
    struct os_poller *poller;
    struct wheel wheel;
    struct pool pool;
    struct inbox inbox;
    uint64_t now_ms;
    bool now_known;           /* the clock is read before a wait and after it, and only if somebody asks */
    _Atomic uintptr_t thread; /* whose turn it last was; 0: nobody's */
    uint32_t spin_us;         /* the owner's, after init; 0: never */
    uint32_t spin_skips;      /* turns that will not spin ... */
    uint8_t spin_vain;        /* ... because so often in a row it was in vain */
    bool crowded;             /* in the last turn there was more than one thing to do */
};

enum framed_status framed_loop_init(struct loop *loop, enum framed_wait way, const struct framed_allocator *alloc,
                                    struct budget *budget);

/* All sockets must be closed and `closed` delivered, all timers cleared. The inbox and the pool stay (framed_loop_fini_rest). */
void framed_loop_fini(struct loop *loop);

/* The rest: when nobody can send any more. */
void framed_loop_fini_rest(struct loop *loop);

/* One turn; waits at most wait_ms (OS_FOREVER), less if a timer is due. */
enum framed_status framed_loop_turn(struct loop *loop, uint64_t wait_ms);

/* Milliseconds, as of this turn; between turns, of the last one until framed_loop_forget_now. */
uint64_t framed_loop_now(struct loop *loop);

/* The loop was left alone for a while (a client's, between two calls): the clock is to be read again. */
static inline void framed_loop_forget_now(struct loop *loop)
{
    loop->now_known = false;
}

/* Is there a letter? On the loop's thread: whatever was sent before something it has seen is seen too. */
static inline bool framed_inbox_waits(const struct inbox *inbox)
{
    return atomic_load_explicit(&inbox->full, memory_order_acquire);
}

/* Hands a letter to the loop. From any thread. False: there is no loop any more, and it has been delivered here. */
bool framed_inbox_send(struct inbox *inbox, struct letter *l);

#endif
