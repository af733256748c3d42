/*
 * Owns: the histogram: linear bins inside every power of two.
 * Must not know: what was timed, how it is printed.
 * Invariants: the bins add up to `count`; a bin is at most 1/128 of its values wide; nothing wraps, whatever is added.
 */
#include "histogram.h"

enum { LINEAR = 1 << HISTOGRAM_BITS, TAIL = 10 };

/* Below 2^7 a bin holds one value; from there on those whose first eight bits are the same. */
static unsigned bin_of(uint64_t ns)
{
    unsigned shift = 0;
    while (ns >> shift >= UINT64_C(2) * LINEAR) shift++;
    return ns < LINEAR ? (unsigned)ns : (shift + 1) * LINEAR + (unsigned)(ns >> shift) - LINEAR;
}

/* The greatest value of a bin. */
static uint64_t end_of(unsigned bin)
{
    if (bin < LINEAR) return bin;
    unsigned shift = bin / LINEAR - 1;
    uint64_t first = (uint64_t)(LINEAR + bin % LINEAR) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

/* The sum could pass 64 bits; mean and rest cannot: the rest stays below the count. */
static void add_to_mean(struct cli_histogram *h, uint64_t ns)
{
    if (ns >= h->mean) {
        uint64_t over = ns - h->mean;
        h->mean += over / h->count;
        h->rest += over % h->count;
    } else {
        uint64_t under = h->mean - ns;
        h->mean -= under / h->count;
        uint64_t part = under % h->count;
        if (part > h->rest) {
            h->mean--;
            h->rest += h->count;
        }
        h->rest -= part;
    }
    h->mean += h->rest / h->count;
    h->rest %= h->count;
}

void framed_histogram_add(struct cli_histogram *h, uint64_t ns)
{
    if (h->count == 0 || ns < h->least) h->least = ns;
    if (ns > h->most) h->most = ns;
    h->count++;
    add_to_mean(h, ns);
    h->bin[bin_of(ns)]++;
}

bool framed_histogram_at(const struct cli_histogram *h, unsigned permille, uint64_t *ns)
{
    uint64_t whole = h->count / 1000, part = h->count % 1000;
    uint64_t need = whole * permille + (part * permille + 999) / 1000; /* count * permille / 1000, rounded up */
    if (h->count == 0 || (permille > 500 && h->count - need < TAIL)) return false;
    uint64_t seen = 0;
    unsigned bin = 0;
    for (; bin < HISTOGRAM_BINS; bin++) {
        seen += h->bin[bin];
        if (seen >= need) break;
    }
    uint64_t end = end_of(bin);
    *ns = end < h->most ? end : h->most;
    return true;
}
