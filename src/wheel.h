/*
 * wheel.h: timers that cost O(1) to set and to clear, however many there are: a hierarchical timing wheel (Varghese and
 * Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987), seven levels of 64 slots of 1 ms, 64 ms, ...
 */
#ifndef FRAMED_WHEEL_H
#define FRAMED_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_NEVER UINT64_MAX

/* Embedded in its owner. Set `fired` and zero the rest; the memory must stay until it has fired or was cleared. */
struct timer {
    struct timer *next;
    struct timer **link; /* what points at this one; NULL: not set */
    uint64_t due;        /* milliseconds */
    void (*fired)(struct timer *t);
};

enum { WHEEL_LEVELS = 7, WHEEL_SLOTS = 64 };

struct wheel {
    uint64_t now;
    uint64_t used[WHEEL_LEVELS]; /* a bit per slot that is not empty */
    struct timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void framed_wheel_init(struct wheel *w, uint64_t now);

/* Fires at `due`, or at the next advance if that has passed; replaces an earlier setting. WHEEL_NEVER clears. */
void framed_wheel_set(struct wheel *w, struct timer *t, uint64_t due);
void framed_wheel_clear(struct wheel *w, struct timer *t);

static inline bool timer_is_set(const struct timer *t)
{
    return t->link != 0;
}

/* Moves on to `now` and fires what is due on the way, in the order of time. Timers may be set and cleared from `fired`. */
void framed_wheel_advance(struct wheel *w, uint64_t now);

/* When advance must be called next at the latest; WHEEL_NEVER when nothing is set. May be early, never late. */
uint64_t framed_wheel_next(const struct wheel *w);

#endif
