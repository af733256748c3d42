/* length.h: reading one length word (PROTOCOL.md §2.1-2.3), inlined into whoever parses. */
#ifndef FRAMED_LENGTH_H
#define FRAMED_LENGTH_H

#include "be.h"
#include <framed/frame.h>
#include <stdbool.h>

/* A limit of 0 is the default; none is above what a length word can say (§2.2). */
static inline uint32_t length_limit(uint32_t asked)
{
    if (asked == 0) return FRAMED_FRAME_DEFAULT;
    return asked < FRAMED_FRAME_MOST ? asked : FRAMED_FRAME_MOST;
}

/* The first frame of `at`, if it is there whole and allowed. The fast path of whoever has many small frames in one buffer. */
static inline bool length_whole(const uint8_t *at, size_t n, uint32_t max_frame, uint32_t *len)
{
    if (n < FRAMED_LENGTH_SIZE) return false;
    *len = be32_get(at);
    return *len <= max_frame && *len <= n - FRAMED_LENGTH_SIZE;
}

#endif
