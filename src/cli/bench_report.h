/*
 * bench_report.h: what `framed bench` says of a load that has been made: as a table and a picture, as JSON, as the percentiles that
 * HdrHistogram's plotters read, as a picture; an earlier run beside it; limits that must not be crossed.
 */
#ifndef FRAMED_CLI_BENCH_REPORT_H
#define FRAMED_CLI_BENCH_REPORT_H

#include "load.h"
#include "output.h"

/* The percentiles told, in parts of 10000. */
enum { BENCH_SHARES = 5 };
extern const unsigned framed_bench_shares[BENCH_SHARES];         /* 5000 ... 9999 */
extern const char *const framed_bench_share_keys[BENCH_SHARES];  /* "p50_ns" ... */
extern const char *const framed_bench_share_names[BENCH_SHARES]; /* "p50" ... */
extern const char *const framed_bench_failures[LOAD_FAILURES];   /* "connect" ... */

/* What an earlier run said. */
struct bench_baseline {
    const char *path; /* NULL: there is none */
    bool known[BENCH_SHARES];
    uint64_t share_ns[BENCH_SHARES], max_ns, rate;
};

struct bench_report {
    const char *address;
    const char *sizes; /* of payloads, for people */
    const struct load_plan *plan;
    const struct load_result *result;
    struct bench_baseline baseline;
    bool interrupted;
    bool utf8; /* bars may be drawn with block characters */
};

uint64_t framed_bench_sent(const struct load_result *r);       /* requests that left, the warm-up's failures included */
uint64_t framed_bench_failed(const struct load_result *r);     /* of every kind */
uint64_t framed_bench_rate(const struct load_result *r);       /* replies a second */
unsigned framed_bench_busy(const struct load_result *r);       /* percent of their time that the threads worked */
bool framed_bench_is_limit(const struct bench_report *report); /* the generator itself may be what limits the figures */

void framed_bench_text(const struct bench_report *report, struct cli_output *out);
void framed_bench_json(const struct bench_report *report, struct cli_output *out);

/* HdrHistogram's text form: value in ms, percentile, count, 1/(1-percentile). */
void framed_bench_hdr(const struct cli_histogram *h, struct cli_output *out);

/* A picture: SVG, whole. */
void framed_bench_plot(const struct bench_report *report, struct cli_output *out);

/* Reads what --json printed. False: it is not that. */
bool framed_bench_read_baseline(struct framed_bytes text, struct bench_baseline *baseline);

/* What --fail-if says: NAME OPERATOR VALUE. */
struct bench_limit {
    const char *text;
    char name[12];
    char op[3];
    uint64_t value; /* ns; a count; a second; of a share, millionths */
    bool is_share;
};

bool framed_bench_read_limit(const char *text, struct bench_limit *limit);

/* Is it crossed? Also if it cannot be told: then *unknown. `now`: what it is, for people. */
bool framed_bench_is_crossed(const struct bench_report *report, const struct bench_limit *limit, bool *unknown, char *now,
                             size_t room);

#endif
