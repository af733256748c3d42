/*
 * histogram.h: how long things took: any number of times in fixed memory. Least, most, mean and count are exact; percentiles are
 * at most 1/128 above the true value.
 */
#ifndef FRAMED_CLI_HISTOGRAM_H
#define FRAMED_CLI_HISTOGRAM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HISTOGRAM_BITS = 7, /* every power of two is parted into 2^7 bins */
    HISTOGRAM_BINS = (64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS
};

/* All zero is empty. */
struct cli_histogram {
    uint64_t count, least, most;
    uint64_t sum, sum_high; /* low and high half of it */
    uint64_t bin[HISTOGRAM_BINS];
};

void framed_histogram_add(struct cli_histogram *h, uint64_t ns);
void framed_histogram_merge(struct cli_histogram *h, const struct cli_histogram *more);

/* Cut, not rounded; 0 when there is none. */
uint64_t framed_histogram_mean(const struct cli_histogram *h);

/*
 * The least recorded value that `permille` of all do not pass (500: the median), rounded up to the end of its bin, but never
 * above the most. False: the tail behind it is too thin to say, fewer than ten values; the median is told from the first.
 */
bool framed_histogram_at(const struct cli_histogram *h, unsigned permille, uint64_t *ns);

/* The same of part / whole, which is at most a million: 9999 of 10000. */
bool framed_histogram_share(const struct cli_histogram *h, uint64_t part, uint64_t whole, uint64_t *ns);

/* The rank-th of the values in order, from 1; rounded as above, and told however thin the tail. */
uint64_t framed_histogram_rank(const struct cli_histogram *h, uint64_t rank);

/* How many values lie in bins that end at `ns` or below. */
uint64_t framed_histogram_up_to(const struct cli_histogram *h, uint64_t ns);

#endif
