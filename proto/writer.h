/* writer.h: the inside of the writer, and the shortest way through it, for whoever sends back what came. */
#ifndef FRAMED_WRITER_H
#define FRAMED_WRITER_H

#include <framed/secure.h>
#include <stdbool.h>

enum piece_kind {
    COPIED,     /* bytes in `room`, behind the piece itself */
    KEPT,       /* likewise; they were lent, and no more will come */
    TAKEN,      /* bytes of `mem`, which is ours to free */
    LENT,       /* bytes of a lender: this one and what follows */
    LENT_SEALED /* likewise, of frames with trailers */
};

struct framed_piece {
    struct framed_piece *next;
    uint8_t *at;  /* what is still to be sent: from here ... */
    uint8_t *end; /* ... to here */
    uint8_t *mem;
    size_t cap; /* of mem, or of room */
    enum piece_kind kind;
    uint8_t room[];
};

/* How frames leave on an extended connection. */
struct framed_sealing {
    uint32_t most;                /* bytes of payload that the peer accepts, the trailer not counted */
    uint32_t trailer;             /* bytes of it; 0: none */
    struct framed_sum_place next; /* of the next trailer */
};

/* Where the next trailer stands; the one after it is another. */
static inline struct framed_sum_place sealing_next(struct framed_sealing *sealing)
{
    struct framed_sum_place place = sealing->next;
    sealing->next.counter++;
    sealing->next.preface = NULL;
    return place;
}

/*
 * From now on frames leave so. framed_writer_in_place then overwrites as many bytes behind the payload as a trailer has.
 * `sealing` is borrowed until fini.
 */
void framed_writer_seal(struct framed_writer *w, struct framed_sealing *sealing);

/* Queues bytes that are no frame. FRAMED_NOMEM: nothing was queued. */
FRAMED_MUST_USE enum framed_status framed_writer_raw(struct framed_writer *w, struct framed_bytes bytes);

/*
 * Queues a whole received frame once more, if it lies directly behind the lent one that was queued last: its length word is
 * still in front of it, so the run only grows. Otherwise false, and nothing is changed.
 */
static inline bool writer_extend(struct framed_writer *w, struct framed_bytes payload)
{
    struct framed_piece *last = w->tail;
    if (last == NULL || last->kind != LENT || last->end + FRAMED_LENGTH_SIZE != payload.at) return false;
    last->end = last->end + FRAMED_LENGTH_SIZE + payload.len;
    w->unsent += FRAMED_LENGTH_SIZE + payload.len;
    return true;
}

#endif
