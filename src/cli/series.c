/*
 * Owns: the coarse histograms of a run, slot by slot.
 * Must not know: what was timed, how it is shown; a clock.
 * Invariants: a slot's bins add up to its count; the width only ever doubles, so two series that began alike can be made alike.
 */
#include "series.h"
#include <string.h>

enum { LINEAR = 1 << SERIES_BITS };

static unsigned bin_of(uint64_t ns)
{
    if (ns < LINEAR) return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SERIES_BITS;
    return (shift + 1) * LINEAR + (unsigned)(ns >> shift) - LINEAR;
}

static uint64_t end_of(unsigned bin)
{
    if (bin < LINEAR) return bin;
    unsigned shift = bin / LINEAR - 1;
    return ((uint64_t)(LINEAR + bin % LINEAR) << shift) + ((UINT64_C(1) << shift) - 1);
}

void framed_series_init(struct cli_series *s, uint64_t width_ns)
{
    memset(s, 0, sizeof *s);
    s->width_ns = width_ns;
}

static void add_slot(struct cli_series *s, unsigned to, const struct cli_series *from, unsigned slot)
{
    s->count[to] += from->count[slot];
    for (unsigned i = 0; i < SERIES_BINS; i++) s->bin[to][i] += from->bin[slot][i];
}

static void clear_slot(struct cli_series *s, unsigned slot)
{
    s->count[slot] = 0;
    memset(s->bin[slot], 0, sizeof s->bin[slot]);
}

/* Every two slots become one. */
static void widen(struct cli_series *s)
{
    for (unsigned i = 1; i < s->used; i++) {
        add_slot(s, i / 2, s, i); /* whose own values have moved on already, or it is the first */
        clear_slot(s, i);
    }
    s->used = (s->used + 1) / 2;
    s->width_ns *= 2;
}

void framed_series_add(struct cli_series *s, uint64_t at_ns, uint64_t ns)
{
    while (at_ns / s->width_ns >= SERIES_SLOTS) widen(s);
    unsigned slot = (unsigned)(at_ns / s->width_ns);
    if (slot >= s->used) s->used = slot + 1;
    s->count[slot]++;
    s->bin[slot][bin_of(ns)]++;
}

void framed_series_merge(struct cli_series *s, struct cli_series *more)
{
    while (s->width_ns < more->width_ns) widen(s);
    while (more->width_ns < s->width_ns) widen(more);
    for (unsigned i = 0; i < more->used; i++) add_slot(s, i, more, i);
    if (more->used > s->used) s->used = more->used;
}

bool framed_series_at(const struct cli_series *s, unsigned slot, unsigned percent, uint64_t *ns)
{
    if (slot >= s->used || s->count[slot] == 0) return false;
    uint64_t need = s->count[slot] - s->count[slot] * (100 - percent) / 100, seen = 0;
    unsigned bin = 0;
    for (; bin < SERIES_BINS - 1; bin++) {
        seen += s->bin[slot][bin];
        if (seen >= need) break;
    }
    *ns = end_of(bin);
    return true;
}
