/*
 * replay.h: the bytes of a file into an inspection: plain frames, or a record (record.h), which is known by its first frame.
 */
#ifndef FRAMED_CLI_REPLAY_H
#define FRAMED_CLI_REPLAY_H

#include "inspect.h"
#include "record.h"

/* A connection of the record that is open, or (conn NULL) was. */
struct replay_conn {
    uint32_t number;
    struct inspect_conn *conn;
};

/* Treat the fields as private. */
struct replay {
    struct inspect *inspect;
    uint8_t state;
    uint64_t off;   /* bytes of the file so far */
    size_t matched; /* so many of them are how every record begins */
    struct inspect_stream plain;
    struct record_reader record;
    uint64_t time_ns; /* of the last entry */
    uint64_t damaged_off;
    char why[160];             /* it is damaged there */
    struct replay_conn *conns; /* ascending numbers: found by halving */
    size_t n, open, room;
    uint32_t last_number;
};

/* `inspect` is borrowed until fini. */
void framed_replay_init(struct replay *r, struct inspect *inspect);

/* The next n bytes of the file, fewer than 2^31; borrowed for the call, not changed. FRAMED_OK; FRAMED_NOMEM, which is final;
 * or the failure of the inspection's sink. What is wrong with the file is no failure: it is said, and framed_inspect_found. */
enum framed_status framed_replay_bytes(struct replay *r, uint8_t *at, size_t n);

/* The file has ended. */
enum framed_status framed_replay_end(struct replay *r);

void framed_replay_fini(struct replay *r);

#endif
