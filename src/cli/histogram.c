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
    if (ns < LINEAR) return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    return (shift + 1) * LINEAR + (unsigned)(ns >> shift) - LINEAR;
}

/* The greatest value of a bin. */
static uint64_t end_of(unsigned bin)
{
    if (bin < LINEAR) return bin;
    unsigned shift = bin / LINEAR - 1;
    uint64_t first = (uint64_t)(LINEAR + bin % LINEAR) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

void framed_histogram_add(struct cli_histogram *h, uint64_t ns)
{
    if (h->count == 0 || ns < h->least) h->least = ns;
    if (ns > h->most) h->most = ns;
    h->count++;
    h->sum += ns;
    h->sum_high += h->sum < ns; /* it has wrapped */
    h->bin[bin_of(ns)]++;
}

void framed_histogram_merge(struct cli_histogram *h, const struct cli_histogram *more)
{
    if (more->count == 0) return;
    if (h->count == 0 || more->least < h->least) h->least = more->least;
    if (more->most > h->most) h->most = more->most;
    h->count += more->count;
    h->sum += more->sum;
    h->sum_high += more->sum_high + (h->sum < more->sum);
    for (unsigned i = 0; i < HISTOGRAM_BINS; i++) h->bin[i] += more->bin[i];
}

/* By hand, bit for bit: the rest stays below the count, and the mean below the most, so both fit. */
uint64_t framed_histogram_mean(const struct cli_histogram *h)
{
    if (h->count == 0) return 0;
    uint64_t rest = h->sum_high, mean = 0;
    for (unsigned bit = 64; bit-- > 0;) {
        bool carry = rest >> 63 != 0;
        rest = rest << 1 | (h->sum >> bit & 1);
        bool fits = carry || rest >= h->count;
        if (fits) rest -= h->count;
        mean = mean << 1 | (fits ? 1u : 0u);
    }
    return mean;
}

uint64_t framed_histogram_rank(const struct cli_histogram *h, uint64_t rank)
{
    uint64_t seen = 0;
    unsigned bin = 0;
    for (; bin < HISTOGRAM_BINS - 1; bin++) {
        seen += h->bin[bin];
        if (seen >= rank) break;
    }
    uint64_t end = end_of(bin);
    return end < h->most ? end : h->most;
}

bool framed_histogram_share(const struct cli_histogram *h, uint64_t part, uint64_t whole, uint64_t *ns)
{
    uint64_t times = h->count / whole, left = h->count % whole;
    uint64_t need = times * part + (left * part + whole - 1) / whole; /* count * part / whole, rounded up */
    if (h->count == 0 || (part > whole / 2 && h->count - need < TAIL)) return false;
    *ns = framed_histogram_rank(h, need);
    return true;
}

bool framed_histogram_at(const struct cli_histogram *h, unsigned permille, uint64_t *ns)
{
    return framed_histogram_share(h, permille, 1000, ns);
}

uint64_t framed_histogram_up_to(const struct cli_histogram *h, uint64_t ns)
{
    uint64_t n = 0;
    for (unsigned bin = 0; bin < HISTOGRAM_BINS && end_of(bin) <= ns; bin++) n += h->bin[bin];
    return n;
}
