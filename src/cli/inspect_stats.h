/*
 * inspect_stats.h: what an inspection counts, and the summary it prints.
 */
#ifndef FRAMED_CLI_INSPECT_STATS_H
#define FRAMED_CLI_INSPECT_STATS_H

#include "histogram.h"
#include "output.h"
#include <stdbool.h>

/* One direction, or a file. */
struct inspect_counts {
    uint64_t bytes;             /* of everything that came */
    uint64_t payload;           /* of whole frames */
    uint64_t empty;             /* frames without bytes */
    uint64_t truncated;         /* streams that ended inside a frame */
    uint64_t too_large;         /* streams with a length above the limit */
    uint64_t wrong_opening;     /* streams whose opening is none */
    uint64_t wrong_sum;         /* streams with a wrong checksum */
    uint64_t records, sealed;   /* encrypted records, which are no frames here, and their bytes */
    uint64_t rest;              /* bytes behind that: not interpreted */
    uint64_t lost;              /* bytes nobody has */
    uint64_t skipped;           /* frames not looked at */
    uint64_t log2[32];          /* frames of 0, 1, 2 to 3, 4 to 7, ... bytes */
    struct cli_histogram sizes; /* of the payloads of whole frames */
};

/* All zero is empty. About 180 KB. */
struct inspect_stats {
    bool record;                  /* connections, which have two directions; else one file */
    struct inspect_counts way[2]; /* a file: only the first */
    uint64_t connections;
    uint64_t protections[16]; /* openings, one of each connection, by enum framed_protection */
    uint64_t damaged;         /* places where a record could not be read on */
    uint64_t untimed;         /* replies whose request is known, but not its time */
    struct cli_histogram reply_ns;
};

void framed_stats_frame(struct inspect_counts *counts, uint32_t len);
void framed_stats_reply(struct inspect_stats *stats, bool timed, uint64_t reply_ns);

/* Prints the summary: text, or one JSON object and a newline. */
void framed_stats_text(const struct inspect_stats *stats, struct cli_output *out);
void framed_stats_json(const struct inspect_stats *stats, struct cli_output *out);

#endif
