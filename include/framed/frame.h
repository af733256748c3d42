/*
 * framed/frame.h: frames without sockets. A frame is a 4-byte big-endian length and that many payload bytes
 * (proto/PROTOCOL.md §2).
 *
 *   framed_length_*   one length word
 *   framed_scan_*     the parser: bytes in, BEGIN, DATA, END out; keeps no bytes
 *   framed_reader_*   whole frames out of any split, on top of the scan
 *   framed_writer_*   frames waiting to be sent, taken off in any split
 *
 * Nothing here does I/O, reads a clock or starts a thread. An object belongs to one thread at a time.
 */
#ifndef FRAMED_FRAME_H
#define FRAMED_FRAME_H

#include <framed/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRAMED_LENGTH_SIZE   4u          /* bytes of a length word */
#define FRAMED_FRAME_MOST    0x7fffffffu /* the longest payload a frame can have: 2^31-1 (§2.2) */
#define FRAMED_FRAME_DEFAULT (16u << 20) /* the longest we accept unless told otherwise: 16 MiB (§2.3) */
#define FRAMED_RECEIVE_SIZE  (64u << 10) /* one receive's worth: what our own code copies of a frame at most */

/* ---- one length word ---- */

/* Writes the length word for `len` payload bytes. FRAMED_TOO_LARGE (nothing written) when len > max or len > FRAMED_FRAME_MOST. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_length_encode(uint8_t word[4], size_t len, uint32_t max);

/* Reads a length word. FRAMED_TOO_LARGE (*len untouched) when it says more than max or than FRAMED_FRAME_MOST. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_length_decode(const uint8_t word[4], uint32_t max, uint32_t *len);

/*
 * What a rejected length word looks like: "HTTP", "TLS", "SSH", "a little-endian length", ... or NULL when it looks like
 * nothing known (§2.8). `word` is the four bytes read as a big-endian number. Static storage.
 */
FRAMED_API const char *framed_length_hint(uint32_t word);

/* ---- scan: the one parser of the wire ---- */

/* 16 bytes; initialise with framed_scan_init, treat the fields as private. Nothing to free. */
struct framed_scan {
    uint32_t max_frame;
    uint32_t length; /* of the current frame; after TOO_LARGE, the rejected word */
    uint32_t left;   /* payload bytes still to come */
    uint8_t word[3]; /* a cut length word */
    uint8_t state;   /* 0..3: bytes of the word held; then in the payload; failed */
};

enum framed_token_kind {
    FRAMED_BEGIN, /* a frame of `length` payload bytes begins */
    FRAMED_DATA,  /* its next payload bytes, at least one: `data`, a view into the input */
    FRAMED_END    /* all its payload has been seen */
};

struct framed_token {
    enum framed_token_kind kind;
    uint32_t length;
    struct framed_bytes data;
};

/* max_frame: the longest payload accepted, in bytes; 0 means FRAMED_FRAME_DEFAULT, and more than FRAMED_FRAME_MOST means that. */
FRAMED_API void framed_scan_init(struct framed_scan *scan, uint32_t max_frame);

/*
 * Takes the next token off the front of *in, which it advances.
 * FRAMED_OK: *token is set; an END may come without consuming input. FRAMED_MORE: *in is used up.
 * FRAMED_TOO_LARGE: scan->length is the rejected word; sticky, and nothing more is consumed.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_scan_next(struct framed_scan *scan, struct framed_bytes *in,
                                                               struct framed_token *token);

/* What the end of the stream means here: FRAMED_CLOSED between frames, FRAMED_TRUNCATED inside one (§2.6), or the sticky failure. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_scan_end(const struct framed_scan *scan);

/* ---- reader: whole frames ---- */

/*
 * A partial-read state machine: WANT_LENGTH, WANT_PAYLOAD, ENDED, FAILED. Any split of the same bytes gives the same frames.
 *
 * Use: feed() bytes, take frames with next() until FRAMED_MORE, feed() again. A frame that arrived whole is a view into the
 * lent bytes: no copy, no allocation. A cut frame is collected in memory of the reader's own, which grows with the bytes
 * *received* (at most twice that, plus 4 KiB), never with the length claimed. Between frames the reader holds no memory.
 *
 * Initialise with framed_reader_init, treat the fields as private.
 */
struct framed_reader {
    struct framed_scan scan;
    const struct framed_allocator *alloc;
    uint8_t *at; /* what is left of the loan (once parked: it lies in `own`) */
    uint8_t *end;
    uint8_t *own;     /* memory of our own */
    uint32_t own_len; /* payload of the frame collected in `own`; a parked loan lies behind it */
    uint32_t own_cap;
    uint32_t copied; /* bytes of that frame that were copied, not received in place */
    uint32_t copy_max;
    int8_t ended;   /* the sticky status, or FRAMED_OK */
    uint8_t holds;  /* NOTHING, CUT or WHOLE: what the first own_len bytes are */
    uint8_t parked; /* the loan lies in `own` */
};

/*
 * max_frame as in framed_scan_init. `alloc` is borrowed until fini.
 * copy_max: how many bytes of one frame may be copied before framed_reader_space asks to receive in place;
 * 0 means FRAMED_RECEIVE_SIZE.
 */
FRAMED_API void framed_reader_init(struct framed_reader *reader, uint32_t max_frame, uint32_t copy_max,
                                   const struct framed_allocator *alloc);

/*
 * Lends n bytes. They must stay, and may be changed in place by whoever gets the views, until next() returns anything but
 * FRAMED_OK, or until park(). FRAMED_USAGE: the last loan is not used up, n is 2^31 or more, or the reader has ended.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_feed(struct framed_reader *reader, uint8_t *at, size_t n);

/* framed_reader_next for all that is not a whole frame lying ready in the loan. Not to be called by itself. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_next_cut(struct framed_reader *reader,
                                                                     struct framed_bytes *payload);

/*
 * The next whole frame. FRAMED_OK: *payload is a view, valid as long as the loan.
 * FRAMED_MORE: the loan is over; feed more. FRAMED_TOO_LARGE: sticky; see framed_reader_claimed.
 * FRAMED_NOMEM: sticky, since bytes of the stream are lost with it.
 *
 * Inline, because walking many small frames costs as little as reading their lengths; the library has it as a symbol too.
 */
FRAMED_API FRAMED_MUST_USE inline enum framed_status framed_reader_next(struct framed_reader *reader,
                                                                        struct framed_bytes *payload)
{
    uint8_t *at = reader->at;
    size_t left = (size_t)(reader->end - at);
    if (left >= FRAMED_LENGTH_SIZE && reader->scan.state == 0) {
        uint32_t len = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
        if (len <= reader->scan.max_frame && len <= left - FRAMED_LENGTH_SIZE) {
            payload->at = at + FRAMED_LENGTH_SIZE;
            payload->len = len;
            reader->at = at + FRAMED_LENGTH_SIZE + len;
            return FRAMED_OK;
        }
    }
    return framed_reader_next_cut(reader, payload);
}

/* Ends the loan early: copies what is left of it, so that the lender gets his buffer back. next() goes on as if nothing happened. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_park(struct framed_reader *reader);

/*
 * Takes over the memory of a frame that next() gave in this loan, if the reader collected it in memory of its own:
 * FRAMED_OK, *buf is the caller's (`at` and `len` are the payload). FRAMED_MORE: the frame lies in lent bytes; copy it instead.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_take(struct framed_reader *reader, struct framed_bytes payload,
                                                                 struct framed_buf *buf);

/*
 * After FRAMED_MORE: where the rest of a large cut frame can be received without copying. FRAMED_OK: up to *room bytes may
 * be written at *at, then filled() says how many. FRAMED_MORE: feed() is better now. FRAMED_NOMEM: sticky.
 * FRAMED_USAGE: a loan is not used up.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_space(struct framed_reader *reader, uint8_t **at, size_t *room);

/* n bytes, at most the room that space() gave, were received there. Then ask next(). FRAMED_USAGE: n was more than the room,
 * or no room was given. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_filled(struct framed_reader *reader, size_t n);

/* The stream has ended: FRAMED_CLOSED between frames, FRAMED_TRUNCATED inside one (§2.6), or the sticky failure.
 * FRAMED_USAGE: a loan is not used up, so there may be whole frames left. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_reader_end(struct framed_reader *reader);

/* Bytes the reader still holds or borrows without having given them out: 0 between frames. */
FRAMED_API size_t framed_reader_held(const struct framed_reader *reader);

/* After FRAMED_TOO_LARGE: the length word that was rejected. */
FRAMED_API uint32_t framed_reader_claimed(const struct framed_reader *reader);

/* Frees what the reader owns. The struct may be initialised again. */
FRAMED_API void framed_reader_fini(struct framed_reader *reader);

/* ---- writer: frames waiting to be sent ---- */

/* A queue of bytes in pieces. Initialise with framed_writer_init, treat the fields as private. */
struct framed_writer {
    struct framed_piece *head;
    struct framed_piece *tail;
    const struct framed_allocator *alloc;
    size_t unsent;
    struct framed_sealing *sealing; /* of an extended connection */
    uint32_t below;                 /* payloads shorter than this go as they are */
};

/* `alloc` is borrowed until fini. An empty writer holds no memory. */
FRAMED_API void framed_writer_init(struct framed_writer *writer, const struct framed_allocator *alloc);

/*
 * Queues one frame; the payload is copied. FRAMED_TOO_LARGE: longer than `max` (or than FRAMED_FRAME_MOST), refused whole.
 * FRAMED_NOMEM: nothing was queued. Either way the writer is as it was.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_writer_copy(struct framed_writer *writer, struct framed_bytes payload,
                                                                 uint32_t max);

/*
 * Queues one frame without copying: the four bytes before the payload are overwritten with the length word, and word and
 * payload are lent until they are sent or framed_writer_keep is called. Neighbours in memory become one piece.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_writer_in_place(struct framed_writer *writer, uint8_t *payload,
                                                                     size_t len, uint32_t max);

/* Queues one frame whose payload lies inside *buf, and takes *buf over (it is empty after FRAMED_OK, untouched otherwise). */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_writer_take(struct framed_writer *writer, struct framed_buf *buf,
                                                                 struct framed_bytes payload, uint32_t max);

/* Copies everything that is still lent, so that the lender gets it back. FRAMED_NOMEM: something is still lent. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_writer_keep(struct framed_writer *writer);

/* Up to `most` views of what goes out next, in order, for one gathered send; returns how many. Valid until the next call on the writer. */
FRAMED_API size_t framed_writer_views(const struct framed_writer *writer, struct framed_bytes *views, size_t most);

/* The first n bytes, at most framed_writer_unsent, have left. */
FRAMED_API void framed_writer_sent(struct framed_writer *writer, size_t n);

/* Bytes waiting, length words included. */
FRAMED_API size_t framed_writer_unsent(const struct framed_writer *writer);

/* Frees everything, sent or not. */
FRAMED_API void framed_writer_fini(struct framed_writer *writer);

#ifdef __cplusplus
}
#endif
#endif
