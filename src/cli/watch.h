/*
 * watch.h: what the relay's thread does to show and to record what passes: it finds where frames begin and end, and puts notes
 * into a spool for the thread that shows them, and entries into another for the one that records. Never waits: what does not fit
 * is counted, and told when there is room again.
 *
 * The ends of frames are found here, so that they are known whatever could not be shown; the same goes for whether a connection
 * is between two calls.
 */
#ifndef FRAMED_CLI_WATCH_H
#define FRAMED_CLI_WATCH_H

#include "inspect.h"
#include "spool.h"

/* ---- notes: the entries of the spool that shows ---- */

enum note_type {
    NOTE_OPENED,  /* bytes: who */
    NOTE_BYTES,   /* bytes: what passed */
    NOTE_BLANK,   /* n bytes passed inside a payload, of which only the number matters, and their sum */
    NOTE_SKIPPED, /* n bytes passed that are not shown, with the ends of `frames` frames; a new one comes next */
    NOTE_END,
    NOTE_CLOSED, /* bytes: struct note_missing[2] */
    NOTE_SAY     /* bytes: a line for stderr */
};

struct note {
    struct inspect_conn *conn; /* allocated with framed_os_allocator; whoever takes NOTE_CLOSED frees it */
    uint64_t time_ns;
    uint64_t n;
    uint64_t frames;
    uint32_t number;
    uint32_t preface; /* NOTE_SKIPPED: with which this way began, or 0 (framed_inspect_skipped) */
    uint32_t sum;     /* NOTE_BLANK (framed_inspect_blank) */
    uint8_t type;
    uint8_t way; /* enum inspect_way */
    /* bytes follow */
};

/* What was not told of one way until its connection was closed. */
struct note_missing {
    uint64_t n, frames;
    uint32_t preface; /* as of NOTE_SKIPPED */
    bool between;     /* two frames, in the end */
    bool ended;
};

/* ---- the watch ---- */

/* Of one way of a connection. Private, like the following. */
struct watched_way {
    struct framed_scan scan; /* of a frame that is cut, or begins */
    uint64_t seen;           /* payload bytes of that frame, its checksum among them */
    uint32_t sum;            /* over it, so far, if it has one */
    uint64_t frames;         /* whole ones so far */
    uint64_t missing, missing_frames;
    uint64_t unrecorded;
    uint32_t preface;   /* with which it began; 0: none, or one that framed_inspect_follows not */
    uint32_t max_frame; /* the longest, with all that is in it */
    bool between;       /* two frames */
    bool foreign;       /* no frames; nothing more is interpreted */
    bool hidden;        /* what passes is counted, up to the end of a frame */
    bool end_untold, end_unrecorded;
};

struct watched {
    struct inspect_conn *shown; /* NULL: not shown */
    struct watched *next;       /* among those with something missing */
    struct watched **link;      /* NULL: not among them */
    uint32_t number;
    bool recorded;
    struct watched_way way[2]; /* by enum inspect_way */
};

struct watch {
    struct spool *show;
    struct spool *record;      /* NULL: none is kept */
    atomic_bool record_failed; /* set by its thread: nothing more is recorded */
    const char *target;        /* for lines */
    uint32_t max_frame;
    uint32_t keep;   /* payload bytes of a frame that matter */
    uint32_t most;   /* frames shown in a second; 0: no limit */
    uint64_t ahead;  /* of the monotonic clock is the time since 1970 */
    uint64_t second; /* in which ... */
    uint64_t left;   /* ... so many frames may still be shown, */
    uint64_t said;   /* so many lines were said */
    uint64_t unsaid; /* lines, since the last that was */
    uint64_t swept;  /* when what is missing was told last */
    struct watched *missing;
    uint64_t unshown_conns, unrecorded_conns, unrecorded_bytes;
};

/* All times: nanoseconds of framed_os_clock_ns. */
void framed_watch_opened(struct watch *w, struct watched *p, uint32_t number, uint64_t now, const struct os_address *client);
void framed_watch_refused(struct watch *w, struct watched *p, uint64_t now, const char *why);
void framed_watch_passed(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now, struct framed_bytes bytes);
void framed_watch_ended(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now);

/* Both ways; `why` is said if it is not NULL. Then *p may go. */
void framed_watch_closed(struct watch *w, struct watched *p, uint64_t now, const char *why);

/* Whether it is between two calls, or none are made on it. */
bool framed_watch_at_rest(const struct watched *p);

/* A line on stderr, from the other thread; at most ten a second. */
void framed_watch_say(struct watch *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At the end of each turn. Returns in how many milliseconds it wants to be called again, OS_FOREVER if it does not. */
uint64_t framed_watch_turn(struct watch *w);

#endif
