/* length.h: which lengths are allowed (PROTOCOL.md §2.2, §2.3). */
#ifndef FRAMED_LENGTH_H
#define FRAMED_LENGTH_H

#include "be.h"
#include <framed/frame.h>

/* A limit of 0 is the default; none is above what a length word can say (§2.2). */
static inline uint32_t length_limit(uint32_t asked)
{
    if (asked == 0) return FRAMED_FRAME_DEFAULT;
    return asked < FRAMED_FRAME_MOST ? asked : FRAMED_FRAME_MOST;
}

#endif
