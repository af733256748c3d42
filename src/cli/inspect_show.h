/*
 * inspect_show.h: how an inspection looks: the lines, or the objects, of what it found. Private to inspect*.c.
 */
#ifndef FRAMED_CLI_INSPECT_SHOW_H
#define FRAMED_CLI_INSPECT_SHOW_H

#include "inspect.h"

enum inspect_show_kind {
    SHOW_FRAME,
    SHOW_OPENING,
    SHOW_HANDSHAKE,  /* one of its messages */
    SHOW_ENCRYPTED,  /* a record */
    SHOW_TRUNCATED,  /* the stream ended inside a frame */
    SHOW_UNFINISHED, /* it did not end, and a frame is not whole */
    SHOW_TOO_LARGE,
    SHOW_WRONG_OPENING,
    SHOW_WRONG_SUM,
    SHOW_LOST,
    SHOW_SKIPPED,
    SHOW_REST, /* n bytes from `off` on were not interpreted */
    SHOW_DAMAGED,
    SHOW_OPENED,
    SHOW_ENDED,
    SHOW_CLOSED,
    SHOW_STILL_OPEN,
    SHOW_KINDS
};

/* Something to say. What is not named with a kind does not matter to it. */
struct inspect_note {
    enum inspect_show_kind kind;
    const struct inspect_conn *conn; /* NULL: a file */
    enum inspect_way way;            /* up to REST, and ENDED: of a connection */
    uint64_t time_ns;                /* of a connection */
    uint64_t off;                    /* up to DAMAGED: of the frame, or the bytes, in its stream */
    uint32_t len; /* a frame's: of its payload, without a checksum; TOO_LARGE: the one claimed; WRONG_SUM: see `too_short` */
    uint32_t most; /* TOO_LARGE: what is allowed */
    bool extended; /* TOO_LARGE: behind an opening, where nobody speaks another protocol */
    uint32_t have; /* TRUNCATED, UNFINISHED: bytes that came of what it is in: */
    enum inspect_cut { IN_PAYLOAD, IN_WORD, IN_SUM, IN_OPENING } in;
    bool sealed;                 /* the payload is encrypted: not shown but as a dump */
    uint8_t message;             /* HANDSHAKE: its number, from 1 */
    uint8_t side, mode;          /* OPENING */
    struct framed_hello hello;   /* OPENING; what is not known is 0 */
    bool too_short;              /* WRONG_SUM: len, all of the frame, leaves no room for one; else: */
    uint32_t sum_found, sum;     /* what came, and what would have been right */
    bool timed;                  /* FRAME: a reply whose time is known */
    uint64_t reply_ns;           /* so long after its request */
    struct framed_bytes payload; /* FRAME, HANDSHAKE, ENCRYPTED, TRUNCATED, UNFINISHED: its first bytes. OPENED: the peer */
    uint64_t n;                  /* LOST, SKIPPED, REST: bytes. CLOSED, STILL_OPEN: unanswered requests */
    uint64_t frames;             /* SKIPPED */
    const char *why;             /* DAMAGED, WRONG_OPENING */
};

/* Payload bytes that are shown at most. */
uint32_t framed_inspect_shown(const struct inspect_config *config);

/* Writes it; when there is a summary instead, only failures, and those only as text. */
void framed_inspect_show(struct inspect *inspect, const struct inspect_note *note);

/* What guards a connection: for people, or as a key of JSON. Static storage. */
const char *framed_inspect_protection(unsigned protection, bool json);

/* "41 us", "2.1 ms", "1.25 s". */
void framed_inspect_duration(struct cli_output *out, uint64_t ns);

#endif
