/*
 * conn.h: where a socket meets frames: receives into the reader, sends from the writer, keeps the deadlines of both, and
 * closes in order. The server and the client are its owners.
 *
 * A connection has two halves, which end apart:
 *   in    OPENING -> OPEN    what both agree to, unless that is plain frames from the start (channel.h)
 *         OPEN -> OVER       the peer's end, an error, or the owner: no further frame is interpreted
 *   out   OPEN -> FINISHING -> FINISHED   conn_finish: flush, then half-close
 *         OPEN -> BROKEN                  sending failed; an owner that keeps frames still gets those that have come
 * With in OVER and out FINISHED it lingers (reads and discards until the peer's end, PROTOCOL.md §2.9), then closes.
 *
 * What an idle connection does not need (reader, writer, views of a send) lies in a block of its own that comes and goes.
 */
#ifndef FRAMED_CONN_H
#define FRAMED_CONN_H

#include "channel.h"
#include "loop.h"

struct conn;

struct conn_ops {
    /* A client's connect ended, and its opening. On failure nothing more comes but `gone`. */
    void (*connected)(struct conn *c, enum framed_status st);
    /* A frame, lent until this returns. (An owner that holds the connection meanwhile, and gave the memory that is received
     * into, may keep it until conn_resume.) */
    void (*frame)(struct conn *c, struct framed_bytes payload);
    /* The in half is over: FRAMED_CLOSED at a clean end, or why. Once. The owner finishes the out half when it has said all. */
    void (*over)(struct conn *c, enum framed_status why);
    /* The owner's own next deadline (or WHEEL_NEVER), and that it has passed. Both NULL: it has none. */
    uint64_t (*due)(struct conn *c);
    void (*late)(struct conn *c);
    /* Does anything wait for an answer? Then the connection is not idle. */
    bool (*busy)(const struct conn *c);
    /* The socket is gone; the memory may go. */
    void (*gone)(struct conn *c);
};

/* What all connections of one owner share. Borrowed by its connections. */
struct conn_kind {
    const struct conn_ops *ops;
    struct loop *loop;
    struct channel_terms terms;
    uint8_t *inbox; /* FRAMED_RECEIVE_SIZE bytes to receive into, for an owner that keeps frames; NULL: the loop's, lent */
    uint32_t max_frame;
    size_t max_unsent; /* with so many bytes to be sent, or owed, no further frame is taken */
    uint32_t frame_ms; /* FRAMED_NEVER switches one off, 0 does not occur */
    uint32_t frame_rate;
    uint32_t idle_ms;
    uint32_t send_ms;
    uint32_t linger_ms;
    uint32_t opening_ms;
    _Atomic uint64_t frames_in; /* given to `frame` */
    _Atomic uint64_t bytes_in;
    _Atomic uint64_t bytes_out;
    _Atomic uint64_t deadlines; /* connections that one of them ended */
};

enum conn_in { IN_CONNECTING, IN_OPENING, IN_OPEN, IN_OVER };
/* Which deadline ended it, after `over` with FRAMED_TIMEOUT; LATE_NOT: none of ours. The owner sets the last two. */
enum conn_late { LATE_NOT, LATE_OPENING, LATE_FRAME, LATE_SEND, LATE_IDLE, LATE_DRAIN, LATE_FREED };

enum conn_out { OUT_OPEN, OUT_FINISHING, OUT_FINISHED, OUT_BROKEN };

enum { CONN_VIEWS = 16 };

/* What only a busy connection has. */
struct conn_io {
    struct framed_reader reader;
    struct framed_writer writer;
    void (*frame)(struct conn *c, struct framed_bytes payload);
    uint8_t *loan; /* the bytes now lent to the reader; NULL when none are */
    size_t loan_len;
    uint64_t frame_since; /* of the frame that is unfinished */
    uint64_t send_since;  /* the last time that 64 KiB had left; 0: nothing waits */
    size_t send_taken;    /* since then */
    uint32_t claimed;
    bool spoiled; /* a trailer or a record was wrong */
    bool paused;  /* something received waits, and nobody is willing to take it */
    bool sending; /* a send is outstanding; `views` belong to the system */
    struct framed_bytes views[CONN_VIEWS];
};

struct conn {
    struct os_socket sock;
    struct timer timer;
    struct conn_kind *kind;
    struct conn_io *io;
    struct channel *channel; /* of an extended connection, from its opening on */
    uint32_t calls;          /* the owner's: requests that have no answer yet */
    uint32_t
        quiet_since; /* the low half of the loop's time at the last byte or answer; IN_OPENING: at its begin; in OVER + FINISHED:
                        at the half-close */
    uint16_t port; /* the owner's */
    uint8_t in;
    uint8_t out;
    uint8_t late;
    int8_t broken;       /* why sending failed */
    bool held : 1;       /* the owner's: take no further frame; then conn_resume */
    bool corked : 1;     /* the owner's: send nothing yet, more is to come; then conn_uncork */
    bool said : 1;       /* the owner's */
    bool peer_ended : 1; /* the peer's end has been read */
    bool drained : 1;    /* takes what it has received already, and no more */
    bool closing : 1;
    bool stranger : 1; /* the owner's: it has not proven yet who it is */
    bool pumping : 1;  /* frames are being taken: what resumes now is done by the pump itself */
};

/* The owner's: bytes it will have to send, counted like those that wait. */
static inline uint32_t *conn_owed(struct conn *c)
{
    return &c->sock.spare;
}

/* Begins with a handle that was accepted. On failure the handle is still the caller's. */
enum framed_status framed_conn_accept(struct conn *c, struct conn_kind *kind, intptr_t handle);

/* Begins by connecting; `connected` tells. */
enum framed_status framed_conn_connect(struct conn *c, struct conn_kind *kind, const struct os_address *to);

/* Begins with a connected descriptor from elsewhere. */
enum framed_status framed_conn_adopt(struct conn *c, struct conn_kind *kind, intptr_t handle);

/* The writer to put frames into, made if need be; NULL without memory. Then framed_conn_flush, unless inside `frame`. */
struct framed_writer *framed_conn_writer(struct conn *c);

/* Bytes waiting to be sent. */
static inline size_t framed_conn_unsent(const struct conn *c)
{
    size_t unsent = c->io != NULL ? c->io->writer.unsent : 0;
    if (c->channel == NULL || c->channel->tunnel == NULL) return unsent;
    return unsent + tunnel_waiting(c->channel->tunnel).len;
}

/* Bytes of frames, and of what went before them, that have left or may have: where the next to be sent lies in the stream, less those
 * that wait in the writer. */
uint64_t framed_conn_passed(const struct conn *c);

/* Bytes of payload that the peer accepts at most. */
uint32_t framed_conn_peer_most(const struct conn *c);

/* Bytes behind each payload. */
uint32_t framed_conn_trailer(const struct conn *c);

/* Of the frame being handed out by `frame`: its memory, if it has some of its own (as framed_reader_take). */
enum framed_status framed_conn_take(struct conn *c, struct framed_bytes payload, struct framed_buf *buf);

/* Does this part lie in that whole? */
static inline bool bytes_inside(struct framed_bytes part, struct framed_bytes whole)
{
    uintptr_t at = (uintptr_t)part.at;
    uintptr_t from = (uintptr_t)whole.at;
    return at >= from && at - from <= whole.len && part.len <= whole.len - (at - from);
}

/* May the four bytes before this part of the frame being handed out be overwritten, and both stay lent until `frame`'s turn
 * is over? (framed_writer_in_place) */
static inline bool conn_in_place(const struct conn *c, struct framed_bytes payload, struct framed_bytes part)
{
    uintptr_t loan = (uintptr_t)c->io->loan;
    uintptr_t frame = (uintptr_t)payload.at;
    uintptr_t at = (uintptr_t)part.at;
    if (loan == 0 || frame < loan || frame - loan >= c->io->loan_len) return false; /* parked, or in memory of its own */
    return bytes_inside(part, payload) && at - loan >= FRAMED_LENGTH_SIZE;
}

/* Sends what waits, as far as the system takes it. */
void framed_conn_flush(struct conn *c);

/* The owner has begun what it had to begin: sends it. */
void framed_conn_uncork(struct conn *c);

/* The owner holds it no longer, or owes less, or has given an answer: goes on with what waits. Never calls `gone`. */
void framed_conn_resume(struct conn *c);

/* Ends the in half, if it is not over yet: `over` is told why. */
void framed_conn_deafen(struct conn *c, enum framed_status why);

/* Ends the out half in order: flush, half-close; then, the in half being over, linger and close. */
void framed_conn_finish(struct conn *c);

/* Takes no more from the socket; whole frames received already are still given out, then the in half is over (CLOSED). */
void framed_conn_drain(struct conn *c);

/* Closes at once. `over` is told if it was not. */
void framed_conn_break(struct conn *c, enum framed_status why);

/* A byte, or an answer, has come just now. */
static inline void conn_touch(struct conn *c)
{
    c->quiet_since = (uint32_t)framed_loop_now(c->kind->loop);
}

/* A record was wrong: nothing is sent any more, since nobody knows who would read it. */
bool framed_conn_is_mute(const struct conn *c);

/* Inside `over`: why, for people; a length that was not allowed with what was claimed, what is allowed, what it looks like. */
enum { CONN_WHY_SIZE = 640 };
void framed_conn_why(const struct conn *c, enum framed_status why, char *text, size_t size);

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
    /* One writer: no need for a locked add. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* A field of a config that was left at zero means its default. */
static inline void default_to(uint32_t *field, uint32_t value)
{
    if (*field == 0) *field = value;
}

#endif
