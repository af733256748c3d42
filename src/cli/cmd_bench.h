/*
 * cmd_bench.h: what `framed bench` was told, understood and checked.
 */
#ifndef FRAMED_CLI_CMD_BENCH_H
#define FRAMED_CLI_CMD_BENCH_H

#include "bench_report.h"
#include "commands.h"
#include "keyring.h"

enum { BENCH_LIMITS_MOST = 16 };

struct bench_told {
    const struct cli_options *options;
    const char *address;
    struct load_plan plan; /* all but where to, and whom to tell */
    struct keyring ring;
    struct framed_buf body;
    char sizes[60]; /* of payloads, for people */
    struct bench_limit limits[BENCH_LIMITS_MOST];
    size_t limit_count;
    struct bench_baseline baseline;
    intptr_t hdr, plot; /* files opened for writing, or HOST_NO_FILE */
};

static inline bool bench_given(const struct bench_told *b, enum cli_option_id id)
{
    return b->options->value[id].given;
}

/* Reads the options and the files they name. What is wrong has been said. */
enum cli_exit framed_bench_read_options(struct bench_told *b, const struct cli_options *options);

/* Wipes and frees what that made. */
void framed_bench_forget(struct bench_told *b);

/* Opens what is to be written, and empties it: only once there will be something. What is wrong has been said. */
enum cli_exit framed_bench_open_files(struct bench_told *b);

#endif
