/* channel_sum.h: what framed/secure.h does not say of trailers. */
#ifndef FRAMED_CHANNEL_SUM_H
#define FRAMED_CHANNEL_SUM_H

#include <framed/secure.h>
#include <stdbool.h>

/* Whether this build has FRAMED_BLAKE2B. */
bool framed_has_blake2b(void);

#endif
