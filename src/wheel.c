/*
 * wheel.c: a hierarchical timing wheel.
 * Must not know what its timers are for, nor read a clock.
 * Invariants: a timer lies at the level of the highest base-64 digit in which its due time differs from now, in the slot of
 * that digit; so within a level all used slots lie ahead of now's own digit, and a lower level is always due first.
 */
#include "wheel.h"
#include "../proto/be.h"
#include <stddef.h>

enum { DIGIT = 6 };

void framed_wheel_init(struct wheel *w, uint64_t now)
{
    *w = (struct wheel){.now = now};
}

static void link_at(struct timer **slot, struct timer *t)
{
    t->next = *slot;
    if (t->next != NULL) t->next->link = &t->next;
    t->link = slot;
    *slot = t;
}

static void unlink_timer(struct timer *t)
{
    *t->link = t->next;
    if (t->next != NULL) t->next->link = t->link;
    t->link = NULL;
}

static unsigned digit_of(uint64_t time, unsigned level)
{
    return (unsigned)(time >> (DIGIT * level)) & (WHEEL_SLOTS - 1);
}

static void insert(struct wheel *w, struct timer *t)
{
    unsigned level = (63u - (unsigned)__builtin_clzll(w->now ^ t->due)) / DIGIT;
    check(level < WHEEL_LEVELS);
    unsigned slot = digit_of(t->due, level);
    link_at(&w->slots[level][slot], t);
    w->used[level] |= UINT64_C(1) << slot;
}

void framed_wheel_set(struct wheel *w, struct timer *t, uint64_t due)
{
    framed_wheel_clear(w, t);
    if (due == WHEEL_NEVER) return;
    const uint64_t farthest = (UINT64_C(1) << (DIGIT * WHEEL_LEVELS)) - 1; /* 139 years after the clock's zero */
    check(w->now < farthest);
    t->due = due <= w->now ? w->now + 1 : due > farthest ? farthest : due;
    insert(w, t);
}

void framed_wheel_clear(struct wheel *w, struct timer *t)
{
    if (!timer_is_set(t)) return;
    unlink_timer(t);
    /* The slot's bit may stay on over an empty slot: it costs one look when its time comes. */
    (void)w;
}

/* The next slot to look into: its level, or WHEEL_LEVELS when there is none, and the time at which it begins. */
static unsigned next_slot(const struct wheel *w, uint64_t *begins)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        unsigned here = digit_of(w->now, level);
        uint64_t ahead = here == WHEEL_SLOTS - 1 ? 0 : w->used[level] & (UINT64_MAX << (here + 1));
        if (ahead == 0) continue;
        unsigned slot = (unsigned)__builtin_ctzll(ahead);
        uint64_t above = w->now >> (DIGIT * (level + 1)) << (DIGIT * (level + 1));
        *begins = above | (uint64_t)slot << (DIGIT * level);
        return level;
    }
    return WHEEL_LEVELS;
}

uint64_t framed_wheel_next(const struct wheel *w)
{
    uint64_t begins;
    return next_slot(w, &begins) < WHEEL_LEVELS ? begins : WHEEL_NEVER;
}

void framed_wheel_advance(struct wheel *w, uint64_t now)
{
    uint64_t begins;
    for (;;) {
        unsigned level = next_slot(w, &begins);
        if (level == WHEEL_LEVELS || begins > now) break;
        w->now = begins;
        unsigned slot = digit_of(begins, level);
        w->used[level] &= ~(UINT64_C(1) << slot);
        struct timer *list = w->slots[level][slot];
        w->slots[level][slot] = NULL;
        if (list != NULL) list->link = &list;
        while (list != NULL) {
            struct timer *t = list;
            unlink_timer(t);
            if (t->due <= w->now)
                t->fired(t);
            else
                insert(w, t); /* one level down */
        }
    }
    if (now > w->now) w->now = now;
}
