/*
 * ordered.c: requests and replies matched by their order alone (PROTOCOL.md §3.2).
 * Must not know what waits in a place, nor when.
 * Invariants: count is the length of the list; last is NULL if it is empty.
 */
#include "ordered.h"

void framed_ordered_begin(struct framed_ordered *o, struct framed_place *place)
{
    *place = (struct framed_place){.next = place};
    if (o->last != NULL) {
        place->next = o->last->next;
        o->last->next = place;
    }
    o->last = place;
}

void framed_ordered_finish(struct framed_place *place)
{
    place->finished = true;
}

static struct framed_place *pop(struct framed_ordered *o)
{
    struct framed_place *place = o->last->next;
    if (place == o->last)
        o->last = NULL;
    else
        o->last->next = place->next;
    return place;
}

struct framed_place *framed_ordered_turn(struct framed_ordered *o)
{
    return o->last != NULL && o->last->next->finished ? pop(o) : NULL;
}

enum framed_status framed_ordered_reply(struct framed_ordered *o, struct framed_place **place)
{
    if (o->last == NULL) return FRAMED_MALFORMED;
    *place = pop(o);
    return FRAMED_OK;
}
