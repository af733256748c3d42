/*
 * ordered.h: the n-th reply answers the n-th request (PROTOCOL.md §3.2). A queue of places, embedded in whatever waits in
 * them. A server begins a place per request, finishes it when the handler has answered, in any order, and takes finished
 * ones off the front. A client begins a place per request and takes one off the front per reply.
 * Nothing is allocated; nothing is owned.
 */
#ifndef FRAMED_ORDERED_H
#define FRAMED_ORDERED_H

#include <framed/base.h>
#include <stdbool.h>
#include <stddef.h>

struct framed_place {
    struct framed_place *next; /* ordered_next */
    bool finished;
};

/* A ring: behind the youngest place comes the oldest. How many there are is for the owner to know, if he wants to. */
struct framed_ordered {
    struct framed_place *last;
};

static inline bool ordered_is_empty(const struct framed_ordered *o)
{
    return o->last == NULL;
}

/* The oldest place; NULL: there is none. */
static inline struct framed_place *ordered_first(const struct framed_ordered *o)
{
    return o->last != NULL ? o->last->next : NULL;
}

/* The one behind it; NULL: it is the youngest. */
static inline struct framed_place *ordered_next(const struct framed_ordered *o, const struct framed_place *place)
{
    return place != o->last ? place->next : NULL;
}

/* Takes the next place, behind all others. */
void framed_ordered_begin(struct framed_ordered *o, struct framed_place *place);

/* This place has its answer; it may not be its turn yet. */
void framed_ordered_finish(struct framed_place *place);

/* Takes the oldest place off if it is finished; NULL when it is not, or when there is none. */
struct framed_place *framed_ordered_turn(struct framed_ordered *o);

/* A reply came: takes the oldest place off, which it answers. FRAMED_MALFORMED: nobody asked (§3.3). */
enum framed_status framed_ordered_reply(struct framed_ordered *o, struct framed_place **place);

#endif
