/*
 * shower.h: the other ends of the spools of a tap: what turns notes (watch.h) into lines on standard output, and what writes the
 * record. Each runs on the thread of its spool, so that a terminal that stands still does not hold up the record, nor a slow disk
 * the terminal.
 */
#ifndef FRAMED_CLI_SHOWER_H
#define FRAMED_CLI_SHOWER_H

#include "watch.h"

struct shower {
    struct spool spool;
    struct inspect inspect;
    void (*nobody_reads)(void *ctx); /* standard output was closed at its other end; once */
    void *ctx;
    enum framed_status status; /* FRAMED_OS: standard output failed; once it has ended */
};

/* Fill nobody_reads and ctx first, zero the rest. NOMEM, LIMIT, OS. */
enum framed_status framed_shower_start(struct shower *shower, const struct inspect_config *config);

struct recorder {
    struct spool spool;
    intptr_t file;
    const char *path;
    atomic_bool *failed; /* set when it could not write; said by then */
    size_t len;
    uint8_t held[64 << 10];
};

/* The file is open, and will be closed. Fill file, path and failed first, zero the rest. NOMEM, LIMIT, OS. */
enum framed_status framed_recorder_start(struct recorder *recorder);

#endif
