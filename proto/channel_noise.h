/*
 * channel_noise.h: encrypted connections (PROTOCOL.md §9): the handshake behind an opening, and the records that follow it. Over
 * noise.h alone, which has the cryptography and says how keys must be given.
 *
 * It is: bytes in, bytes out. No input or output, no clock, no allocation, no randomness. It is not the opening (framed/secure.h),
 * which brings the mode and the HELLO; not the reader that cuts the stream into outer frames, nor the one of the frames inside;
 * not the limits of time and number; and it does not know which keys are trusted.
 *
 *   connector                                     acceptor
 *   preface, HELLO, message 1        ------->
 *                                    <-------     preface, message 2 (in it: the acceptor's HELLO)
 *   message 3, unless NNpsk0         ------->
 *   records                          <------>     records
 *
 * Established, and no earlier, is: the connector when message 2 has come, and message 3 is said where there is one; the acceptor of XX
 * and XXpsk0 with message 3, if it trusts the key in it; the acceptor of NNpsk0 with the first record that opens, since message 1 may
 * be a recorded one.
 *
 * FRAMED_USAGE is the caller's defect, and nothing has changed. FRAMED_MALFORMED and FRAMED_AUTH are the peer's doing and final:
 * all that is secret is wiped, every later call says the same again, and nothing is answered on the wire.
 *
 * An object belongs to one thread at a time. All zero is one, too, with which everything is FRAMED_USAGE. Fields are private.
 */
#ifndef FRAMED_CHANNEL_NOISE_H
#define FRAMED_CHANNEL_NOISE_H

#include "noise.h"
#include <framed/secure.h>

/* ---- records ---- */

enum record_type {
    RECORD_DATA = 0,  /* 1 to RECORD_BODY_MOST bytes, the next of the inner stream */
    RECORD_CLOSE = 1, /* 1 byte, the reason: the end of this direction */
    RECORD_PAD = 2    /* 0 to RECORD_BODY_MOST bytes, to be ignored */
};

enum {
    RECORD_HEAD = 5,                               /* bytes before the body: length word, type */
    RECORD_TAIL = NOISE_TAG_SIZE,                  /* and behind it */
    RECORD_LEAST = 1 + RECORD_TAIL,                /* payload of the outer frame */
    RECORD_MOST = NOISE_MESSAGE_MOST,              /* likewise: 65,535 */
    RECORD_BODY_MOST = RECORD_MOST - RECORD_LEAST, /* 65,518 */
    RECORDS_A_KEY = 65536,                         /* after so many a direction has a new key */
    RECORD_PADS_MOST = 16                          /* in a row */
};

/* One direction. */
struct framed_records {
    struct framed_noise_cipher cipher;
    uint8_t pads;  /* in a row, up to now */
    bool closed;   /* CLOSE is through: nothing comes behind it */
    int8_t failed; /* the sticky status; 0: none */
};

/*
 * Seals the n bytes at record + RECORD_HEAD, in place, and writes what stands before and behind them: RECORD_HEAD + n + RECORD_TAIL
 * bytes at `record` are then the outer frame, whole. They are to be sent as they are, however often it takes: sealed again they
 * would be another record. FRAMED_USAGE (nothing written): behind CLOSE, a body that is too long or too short for its type, a PAD
 * too many in a row, the counter at its end.
 */
FRAMED_MUST_USE enum framed_status framed_record_seal(struct framed_records *out, enum record_type type, uint8_t *record,
                                                      size_t n);

/* Likewise of a body that comes in pieces, n bytes together: begin, each to framed_noise_seal_more(), end. */
FRAMED_MUST_USE enum framed_status framed_record_seal_begin(struct framed_records *out, struct framed_noise_sealing *s,
                                                            enum record_type type, uint8_t *record, size_t n);
void framed_record_seal_end(struct framed_records *out, struct framed_noise_sealing *s, enum record_type type);

/*
 * Opens a record, the payload of an outer frame, in place: *body is a view into it. FRAMED_AUTH: it is not the next one of this
 * peer. FRAMED_MALFORMED: a length that no record has, an unknown type, a body that is too long or too short for its type, a PAD
 * too many in a row, anything behind CLOSE.
 */
FRAMED_MUST_USE enum framed_status framed_record_open(struct framed_records *in, uint8_t *record, size_t len,
                                                      enum record_type *type, struct framed_bytes *body);

/* Wipes everything, in any state. */
void framed_records_fini(struct framed_records *r);

/* ---- the handshake ---- */

enum {
    HANDSHAKE_MESSAGE_MOST = 2 * NOISE_KEY_SIZE + 2 * NOISE_TAG_SIZE + (int)FRAMED_HELLO_MOST, /* message 2 of XX, 192 */
    FRAMED_HANDSHAKE_MOST = (int)FRAMED_LENGTH_SIZE + HANDSHAKE_MESSAGE_MOST                   /* as a frame */
};

struct framed_handshake_config {
    uint8_t mode; /* of protection 8, 9 or 10 */
    enum framed_side side;
    struct framed_bytes opening;                 /* the connector's, as it was on the wire: preface and HELLO frame */
    const uint8_t *ephemeral;                    /* NOISE_KEY_SIZE bytes, fresh: noise.h */
    const uint8_t *psk;                          /* likewise, of protections 8 and 10; else NULL */
    const struct framed_noise_keypair *identity; /* of protections 9 and 10; else NULL */
    const struct framed_hello *hello;            /* the acceptor's own; the connector's, which is sent already, is NULL */
};

struct framed_handshake {
    struct framed_noise noise;
    uint8_t in[HANDSHAKE_MESSAGE_MOST]; /* of a length word, or of a message; its last FRAMED_HELLO_MOST bytes are the
                                           acceptor's parameters: at the acceptor from the start, at the connector from
                                           message 2 on, the longest and last that it reads */
    uint8_t hello_len;
    uint8_t state;
    uint8_t mode;
    uint8_t side;     /* enum framed_side */
    uint8_t messages; /* that are through */
    uint8_t have;     /* bytes in `in` */
    uint8_t need;     /* bytes of the message */
    int8_t failed;    /* the sticky status */
};

/* Begins a handshake. All that config points to is copied. FRAMED_USAGE (*hs is then all zero): a mode that is not encrypted, an
 * opening of another one, keys too many or too few, a HELLO that cannot be sent. */
FRAMED_MUST_USE enum framed_status framed_handshake_init(struct framed_handshake *hs,
                                                         const struct framed_handshake_config *config);

/* How many bytes the next frame of ours has, at most FRAMED_HANDSHAKE_MOST; 0 when it is not our turn. */
size_t framed_handshake_says(const struct framed_handshake *hs);

/*
 * Writes the next frame of ours, *n bytes, to `to`, which has room for as many as framed_handshake_says says. FRAMED_MORE: it is
 * not our turn, or we have said everything. FRAMED_AUTH: with what the peer sent earlier nothing can be agreed.
 *
 * The connector asks framed_handshake_peer_key, and ends here if it is not a key it trusts, BEFORE it says message 3: that shows who
 * it is, and makes the acceptor believe that it may speak.
 */
FRAMED_MUST_USE enum framed_status framed_handshake_say(struct framed_handshake *hs, uint8_t *to, size_t *n);

/*
 * Takes what belongs to the peer's next message off the front of *in; any split of the same bytes gives the same. FRAMED_MORE: *in
 * is used up. FRAMED_OK: the message is through, and the rest of *in is what follows it. FRAMED_MALFORMED: a length that is not the
 * one that its place demands (nothing behind the length word is taken), or a HELLO that is none. FRAMED_AUTH: not from whom it must
 * be. FRAMED_USAGE: no message of the peer's is due.
 */
FRAMED_MUST_USE enum framed_status framed_handshake_next(struct framed_handshake *hs, struct framed_bytes *in);

/* How many of the bytes to come are the handshake's for certain: while a message of the peer's is due at least 1, else 0. */
size_t framed_handshake_wants(const struct framed_handshake *hs);

/* The peer's static key, byte for byte as it came: for the connector from message 2 on, for the acceptor from message 3. Before,
 * with NNpsk0, and after a failure: NULL. To be compared whole and in constant time. As long as *hs. */
const uint8_t *framed_handshake_peer_key(const struct framed_handshake *hs);

/* Whether the acceptor's HELLO has come: at the connector, from message 2 on. */
bool framed_handshake_has_hello(const struct framed_handshake *hs);

/* That HELLO. */
struct framed_hello framed_handshake_hello(const struct framed_handshake *hs);

/* Whether the last message is through. */
bool framed_handshake_is_done(const struct framed_handshake *hs);

/*
 * Then, once: the two directions, and the hash of the handshake, which is the same at both ends and in no other connection. What has
 * been heard (key, HELLO) stays readable. FRAMED_USAGE: too early, or for the second time.
 */
FRAMED_MUST_USE enum framed_status framed_handshake_split(struct framed_handshake *hs, struct framed_records *out,
                                                          struct framed_records *in, uint8_t hash[NOISE_KEY_SIZE]);

/* Wipes everything, in any state. */
void framed_handshake_fini(struct framed_handshake *hs);

#endif
