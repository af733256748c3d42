/*
 * series.h: how times changed during a run, in fixed memory: so many slots of equal width, each with a coarse histogram (a value is
 * told at most 1/8 too high). A run that outlasts them makes the slots twice as wide.
 */
#ifndef FRAMED_CLI_SERIES_H
#define FRAMED_CLI_SERIES_H

#include <stdbool.h>
#include <stdint.h>

enum { SERIES_SLOTS = 64, SERIES_BITS = 3, SERIES_BINS = (64 - SERIES_BITS + 1) << SERIES_BITS };

struct cli_series {
    uint64_t width_ns;
    unsigned used; /* slots up to the last that has a value */
    uint64_t count[SERIES_SLOTS];
    uint32_t bin[SERIES_SLOTS][SERIES_BINS];
};

void framed_series_init(struct cli_series *s, uint64_t width_ns);

/* Something that took `ns` happened so long after the start. */
void framed_series_add(struct cli_series *s, uint64_t at_ns, uint64_t ns);

/* `more` is made as wide as *s in passing, or the other way round. Both began with the same width. */
void framed_series_merge(struct cli_series *s, struct cli_series *more);

/* The value that `percent` of this slot do not pass (100: the greatest). False: there is none at all. */
bool framed_series_at(const struct cli_series *s, unsigned slot, unsigned percent, uint64_t *ns);

#endif
