/*
 * inspect.h: shows the frames of streams of bytes: a file's, or those that pass between two ends. Bytes and times go in, lines
 * of text or of JSON come out through a sink. No system call, no clock; nothing is sent, nothing is changed.
 *
 * A stream may begin with an opening (PROTOCOL.md §7): then it is shown, checksums (§8) are checked and left out of what is
 * shown, and of what is encrypted (§9) it is said how much it is.
 *
 * Use: framed_inspect_init once. A file is one stream: framed_inspect_stream_init, bytes ..., end. A connection has two:
 * framed_inspect_open, then bytes and end for each of conn.way[...], framed_inspect_close. At last framed_inspect_finish. No
 * struct may move once it was initialised. One thread at a time.
 *
 * Memory is bounded: at most INSPECT_MEMORY for one inspection, however many streams it has and however large their frames are.
 * When there is none to be had, nothing fails: previews are shorter, times of replies are left out (and counted). Openings and
 * checksums need none of it: what they take, 160 bytes a stream, is part of struct inspect_stream.
 *
 * After a framing error, a wrong opening or checksum, or lost bytes, nothing more of that stream is interpreted (PROTOCOL.md §2.7):
 * the rest is counted.
 */
#ifndef FRAMED_CLI_INSPECT_H
#define FRAMED_CLI_INSPECT_H

#include "inspect_stats.h"
#include "output.h"
#include <framed/secure.h>
#include <stdbool.h>

#define INSPECT_MEMORY      (64u << 20) /* of all streams together */
#define INSPECT_PREVIEW     (64u << 10) /* payload bytes a JSON object shows, unless told otherwise */
#define INSPECT_OUTSTANDING 65536u      /* unanswered requests per connection whose times are kept */

struct inspect_config {
    bool json;                   /* an object a line, "schema":"framed.inspect/1" */
    bool hex;                    /* payloads as a dump below the line; in JSON "hex" instead of "text" or "base64" */
    uint32_t hex_bytes;          /* so many of each payload */
    uint32_t max_frame;          /* bytes of payload, without a checksum; 0: FRAMED_FRAME_DEFAULT */
    int32_t utc_offset_s;        /* what the time of day in lines is ahead of UTC: framed_inspect_utc_offset */
    struct inspect_stats *stats; /* all zero: count there, and print a summary instead of lines; or NULL. Borrowed */
    const struct framed_allocator *alloc; /* borrowed */
};

/* Which way a stream goes on a connection. */
enum inspect_way {
    INSPECT_REQUESTS, /* ">", client to target */
    INSPECT_REPLIES   /* "<", target to client */
};

/* The fields of all three are private. */
struct inspect {
    struct inspect_config config;
    struct framed_allocator alloc; /* config.alloc within INSPECT_MEMORY; for whoever is part of the inspection */
    size_t held;
    uint32_t keep; /* payload bytes kept of a frame that is not whole yet */
    enum framed_status found;
    struct cli_output out;
};

struct inspect_stream {
    struct inspect *inspect;
    struct inspect_conn *conn; /* NULL: a file */
    struct framed_scan scan;
    struct framed_buf kept; /* the first bytes of a frame whose rest comes later */
    uint64_t off;           /* of the next byte */
    uint64_t frame_off;     /* of the frame that is being read */
    uint64_t rest;          /* bytes not interpreted */
    uint8_t state;
    bool short_of_memory; /* nothing more of this frame is kept */
    bool extended;        /* its preface is known, by what follows: */
    uint8_t side, mode;
    uint8_t word[FRAMED_PREFACE_SIZE]; /* what may become a preface */
    uint64_t counter;                  /* frames before the one that is being read, a HELLO counts */
    uint32_t seen;                     /* bytes of its payload, and its trailer, so far */
    uint32_t sum, trailer;             /* of what has been seen; what was found */
    struct framed_opening opening;
};

struct inspect_conn {
    struct inspect_stream way[2]; /* by enum inspect_way */
    uint32_t number;
    bool counted;       /* its protection, in the statistics */
    uint64_t frames[2]; /* by enum inspect_way */
    uint64_t *times;    /* a ring: when the requests ended that are outstanding, the oldest at `first` */
    uint32_t first, outstanding, room;
    uint64_t first_number; /* of the oldest: its place among the requests, from 0 */
};

/* `sink` gets what is ready, in pieces that may end anywhere inside a line; framed_inspect_flush hands over the rest. */
void framed_inspect_init(struct inspect *inspect, const struct inspect_config *config, cli_sink_fn *sink, void *ctx);

/* A stream that is a file: lines name the offset of each frame, and no time. */
void framed_inspect_stream_init(struct inspect_stream *stream, struct inspect *inspect);

/* Frees what a file's stream still holds: nothing after its end. */
void framed_inspect_stream_fini(struct inspect_stream *stream);

/*
 * A connection was opened. `number` is how lines call it, `peer` who opened it (any bytes; escaped; may be empty).
 * time_ns, here and below: nanoseconds since 1970; for replies to be timed right it must not follow a clock that is being set:
 * take framed_host_time_ns once, and add what the monotonic clock says since. Files: 0.
 */
void framed_inspect_open(struct inspect_conn *conn, struct inspect *inspect, uint32_t number, uint64_t time_ns,
                         struct framed_bytes peer);

/* n bytes came, all of them at time_ns; borrowed for the call. Not after end. */
void framed_inspect_bytes(struct inspect_stream *stream, uint64_t time_ns, const uint8_t *at, size_t n);

/* n bytes came inside a payload, behind what is shown of it, and end before its checksum if it has one: then `sum` is what the
 * checksum is so far, over them and all that goes before (framed_sum_start). */
void framed_inspect_blank(struct inspect_stream *stream, uint64_t time_ns, uint64_t n, uint32_t sum);

/* n bytes came that nobody has any more. What follows them is counted, not interpreted. */
void framed_inspect_lost(struct inspect_stream *stream, uint64_t time_ns, uint64_t n);

/* n bytes came that are not shown, and `frames` frames (a HELLO counts) ended in them; what follows begins a new one, so that
 * checksums can be checked on. `preface`: the one with which the stream began, as a number, if framed_inspect_follows it; else 0. */
void framed_inspect_skipped(struct inspect_stream *stream, uint64_t time_ns, uint64_t n, uint64_t frames, uint32_t preface);

/* Whether what follows these first four bytes of a stream, as a number, is understood. */
bool framed_inspect_follows(uint32_t preface);

/* Of such a stream: the longest frame, with all that is in it, when payloads may have max_frame bytes (0: the default). */
uint32_t framed_inspect_limit(uint32_t max_frame, uint32_t preface);

/* Whether its frames have checksums; and whether it is encrypted. */
bool framed_inspect_is_checked(uint32_t preface);
bool framed_inspect_is_encrypted(uint32_t preface);

/* Where the checksum begins of its frame of `len` bytes, the checksum's own among them, with `counter` frames before it, of which
 * one is the HELLO. */
uint32_t framed_inspect_sum(uint32_t preface, uint64_t counter, uint32_t len);

/* The stream ended, in order. At most once. */
void framed_inspect_end(struct inspect_stream *stream, uint64_t time_ns);

/* Whether it has. */
bool framed_inspect_ended(const struct inspect_stream *stream);

/* The connection is gone. A direction that did not end has been broken off. */
void framed_inspect_close(struct inspect_conn *conn, uint64_t time_ns);

/* The inspection is over although the connection is not. */
void framed_inspect_leave(struct inspect_conn *conn, uint64_t time_ns);

/* Frees what the connection still holds: nothing after close or leave. */
void framed_inspect_conn_fini(struct inspect_conn *conn);

/* Everything said so far reaches the sink. Returns what framed_inspect_status does. */
enum framed_status framed_inspect_flush(struct inspect *inspect);

/* FRAMED_OK, or the first failure of the sink; then nothing more is written. */
enum framed_status framed_inspect_status(const struct inspect *inspect);

/* FRAMED_OK, or the first thing that was wrong with what came: TRUNCATED, TOO_LARGE, MALFORMED (an opening, a checksum, a damaged
 * record). */
enum framed_status framed_inspect_found(const struct inspect *inspect);

/* A record is damaged at `off`; `rest` bytes from there on could not be read. `why` is for people. */
void framed_inspect_damaged(struct inspect *inspect, uint64_t off, const char *why, uint64_t rest);

/* The summary, if one was asked for; then flushes. All streams have ended. Returns what framed_inspect_status does. */
enum framed_status framed_inspect_finish(struct inspect *inspect);

/* What config.utc_offset_s is, from the two ways of saying now: "12:00:01.204", and nanoseconds since 1970. */
int32_t framed_inspect_utc_offset(const char *time_text, uint64_t time_ns);

#endif
