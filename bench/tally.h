/*
 * tally.h: what a load counted, whatever it loads: latencies in fixed memory, the figures of a run, the processor time of the
 * server, and what went wrong. Every load of bench/ measures with this and nothing else.
 */
#ifndef FRAMED_BENCH_TALLY_H
#define FRAMED_BENCH_TALLY_H

#include <stdint.h>
#include <sys/types.h>

/* Log-linear: 256 steps for each doubling, so a value is known to 0.4 %. */
enum { TALLY_STEP_BITS = 8, TALLY_STEPS = 1 << TALLY_STEP_BITS, TALLY_BUCKETS = 37 * TALLY_STEPS };

/* All zero is empty. */
struct tally {
    uint64_t messages;
    uint64_t longest_ns;
    uint64_t buckets[TALLY_BUCKETS];
};

/* What one run measured. Latencies count from when a request was due, so time spent waiting for room in a socket is in them. */
struct load_result {
    uint64_t messages; /* replies, all of them right */
    uint64_t bytes;    /* of these replies, length words included; as many went the other way */
    double seconds;    /* from the first request to the last reply */
    double p50_us;
    double p99_us;
    double p999_us;
    double max_us;
};

void tally_note(struct tally *t, uint64_t ns);

/* `each`: bytes of a reply. */
struct load_result tally_result(const struct tally *t, uint64_t each, double seconds);

uint64_t load_clock_ns(void);

/* Nanoseconds on a core so far, of all threads of a process. Exact once they sleep. */
uint64_t load_cpu_ns(pid_t pid);

/* What went wrong, in one line. Static storage. */
const char *load_error(void);

/* Says what went wrong; -1. */
__attribute__((format(printf, 1, 2))) int load_fail(const char *format, ...);

#endif
