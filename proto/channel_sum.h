/*
 * channel_sum.h: the CRC32C trailer of a frame (PROTOCOL.md §8): protection 1. It finds flipped bits, and lost, doubled or swapped
 * frames, where they happen by accident. It does not stop anybody.
 *
 * Nothing is kept: the caller counts the frames of each direction, from 0, which is the HELLO.
 */
#ifndef FRAMED_CHANNEL_SUM_H
#define FRAMED_CHANNEL_SUM_H

#include <framed/frame.h>

#define FRAMED_SUM_SIZE 4u /* bytes of the trailer; the length word counts them */

/* Whose bytes they are; the number is the direction byte of the sum. */
enum framed_side { FRAMED_CONNECTOR = 0, FRAMED_ACCEPTOR = 1 };

/* Which frame it is. */
struct framed_sum_place {
    enum framed_side from;  /* who sends it */
    uint64_t counter;       /* frames before it in its direction */
    const uint8_t *preface; /* of frame 0: the four bytes that went before it in its direction; else NULL */
};

/* The trailer of a payload of at most FRAMED_FRAME_MOST - FRAMED_SUM_SIZE bytes in this place, as a number. */
uint32_t framed_sum_of(struct framed_bytes payload, const struct framed_sum_place *place);

/*
 * Writes the trailer behind the n bytes at `payload`, which has room for it. The frame's length is then n + FRAMED_SUM_SIZE.
 * FRAMED_TOO_LARGE (nothing written): that is more than a length word can say.
 */
FRAMED_MUST_USE enum framed_status framed_sum_add(uint8_t *payload, size_t n, const struct framed_sum_place *place);

/*
 * Takes the trailer off the end of *payload, a whole frame's, if it is the right one. FRAMED_MALFORMED (*payload untouched): the
 * frame is shorter than a trailer, or the trailer is not that of these bytes in this place.
 */
FRAMED_MUST_USE enum framed_status framed_sum_check(struct framed_bytes *payload, const struct framed_sum_place *place);

#endif
