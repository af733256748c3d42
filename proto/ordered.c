/*
 * ordered.c: requests and replies matched by their order alone (PROTOCOL.md §3.2).
 * Must not know what waits in a place, nor when.
 * Invariants: count is the length of the list; first and last are both NULL or neither.
 */
#include "ordered.h"

void framed_ordered_begin(struct framed_ordered *o, struct framed_place *place)
{
    *place = (struct framed_place){0};
    if (o->last != NULL)
        o->last->next = place;
    else
        o->first = place;
    o->last = place;
    o->count++;
}

void framed_ordered_finish(struct framed_place *place)
{
    place->finished = true;
}

static struct framed_place *pop(struct framed_ordered *o)
{
    struct framed_place *place = o->first;
    o->first = place->next;
    if (o->first == NULL) o->last = NULL;
    o->count--;
    return place;
}

struct framed_place *framed_ordered_turn(struct framed_ordered *o)
{
    return o->first != NULL && o->first->finished ? pop(o) : NULL;
}

enum framed_status framed_ordered_reply(struct framed_ordered *o, struct framed_place **place)
{
    if (o->first == NULL) return FRAMED_MALFORMED;
    *place = pop(o);
    return FRAMED_OK;
}
