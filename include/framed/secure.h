/*
 * framed/secure.h: how a connection begins that is not plain (proto/PROTOCOL.md §7), and the checksum behind its frames (§8), for who
 * moves the bytes himself: framed/net.h has all this behind `protection`. And keys, as they are written into files.
 *
 * Nothing is allocated, nothing is kept but what is handed in. An object belongs to one thread at a time; the functions without one
 * may be called from any.
 */
#ifndef FRAMED_SECURE_H
#define FRAMED_SECURE_H

#include <framed/base.h>
#include <framed/frame.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ================================ checksums ================================ */

/*
 * CRC-32 with Castagnoli's polynomial, reflected, all ones before and after, as in RFC 3720 (iSCSI): the sum over what `crc` is
 * already the sum of (0: nothing yet) and the n bytes at `at`. Pieces in order give what the whole gives. `at` may be NULL when n
 * is 0, and needs no alignment. It finds accidents: it stops nobody who means to change something.
 */
FRAMED_API uint32_t framed_crc32c(uint32_t crc, const void *at, size_t n);

/*
 * The trailer of a frame: a CRC32C, or with libsodium a BLAKE2b of 128 bits without a key (RFC 7693). Nothing is kept: the caller
 * counts the frames of each direction, from 0, which is the HELLO.
 */
#define FRAMED_SUM_SIZE 4u  /* bytes of a CRC32C trailer; the length word counts them */
#define FRAMED_SUM_MOST 16u /* of the longest */

/* Bytes of the trailers of this protection: 4 (FRAMED_CRC32C), 16 (FRAMED_BLAKE2B), or none. */
static inline uint32_t framed_sum_size(enum framed_protection protection)
{
    return protection == FRAMED_CRC32C ? FRAMED_SUM_SIZE : protection == FRAMED_BLAKE2B ? FRAMED_SUM_MOST : 0;
}

/* Whose bytes they are; the number is the direction byte of the sum. */
enum framed_side { FRAMED_CONNECTOR = 0, FRAMED_ACCEPTOR = 1 };

/* Which frame it is. */
struct framed_sum_place {
    enum framed_side from;       /* who sends it */
    enum framed_protection with; /* FRAMED_BLAKE2B, or else FRAMED_CRC32C */
    uint64_t counter;            /* frames before it in its direction */
    const uint8_t *preface;      /* of frame 0: the four bytes that went before it in its direction; else NULL */
};

/* Where a CRC32C trailer begins, for a payload of n bytes that comes in pieces: continued with framed_crc32c over them it is framed_sum_of. */
FRAMED_API uint32_t framed_sum_start(size_t n, const struct framed_sum_place *place);

/* The CRC32C trailer of a payload of at most FRAMED_FRAME_MOST - FRAMED_SUM_SIZE bytes in this place, as a number. */
FRAMED_API uint32_t framed_sum_of(struct framed_bytes payload, const struct framed_sum_place *place);

/* A trailer whose payload comes in pieces. Private. */
struct framed_sum {
    enum framed_protection with;
    uint32_t crc;
    uint64_t blake2b[56];
};

/* Begins the trailer of a payload of n bytes; more() adds them, piece by piece; end() writes framed_sum_size(place->with) bytes.
 * Without libsodium there is no FRAMED_BLAKE2B: a program that asks for it ends here. */
FRAMED_API void framed_sum_begin(struct framed_sum *sum, size_t n, const struct framed_sum_place *place);
FRAMED_API void framed_sum_more(struct framed_sum *sum, const void *at, size_t n);
FRAMED_API void framed_sum_end(struct framed_sum *sum, uint8_t trailer[FRAMED_SUM_MOST]);

/* The trailer of a payload of at most FRAMED_FRAME_MOST bytes less its own, all at once. */
FRAMED_API void framed_sum_put(struct framed_bytes payload, const struct framed_sum_place *place, uint8_t *trailer);

/*
 * Writes the trailer behind the n bytes at `payload`, which has room for it. The frame's length is then n + framed_sum_size.
 * FRAMED_TOO_LARGE (nothing written): that is more than a length word can say.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_sum_add(uint8_t *payload, size_t n,
                                                             const struct framed_sum_place *place);

/*
 * Takes the trailer off the end of *payload, a whole frame's, if it is the right one. FRAMED_MALFORMED (*payload untouched): the
 * frame is shorter than a trailer, or the trailer is not that of these bytes in this place.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_sum_check(struct framed_bytes *payload,
                                                               const struct framed_sum_place *place);

/* ================================ the opening ================================ */

#define FRAMED_PREFACE_SIZE    4u
#define FRAMED_HELLO_MOST      96u /* bytes of parameters; a trailer is not among them (§7.3) */
#define FRAMED_KEY_ID_MOST     64u
#define FRAMED_OPENING_MOST    (FRAMED_PREFACE_SIZE + FRAMED_LENGTH_SIZE + FRAMED_HELLO_MOST + FRAMED_SUM_MOST)
#define FRAMED_PARAMETER_LEAST (16u << 10) /* least of every size in a HELLO */

/* ---- modes ---- */

/* The higher half is an enum framed_protection (base.h), the lower one of these. */
enum framed_application { FRAMED_ORDERED = 0, FRAMED_SESSION = 1 };

/* The last byte of a preface. */
static inline uint8_t framed_mode(enum framed_protection protection, enum framed_application application)
{
    return (uint8_t)((unsigned)protection << 4 | (unsigned)application);
}

static inline enum framed_protection framed_mode_protection(uint8_t mode)
{
    return (enum framed_protection)(mode >> 4);
}

/* Whether it is one of those with keys (§9). */
static inline bool framed_encrypts(enum framed_protection protection)
{
    return protection >= FRAMED_SHARED_KEY;
}

/* Whether §7.2 knows this mode. */
FRAMED_API bool framed_mode_exists(uint8_t mode);

/* ---- what a listener accepts ---- */

/* A set of modes, by value; all zero is the empty one. */
struct framed_accept {
    uint16_t with[2]; /* by application: bit p is protection p */
    bool plain;       /* and plain connections */
};

/* FRAMED_USAGE (nothing added): there is no such mode. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_accept_add(struct framed_accept *accept, uint8_t mode);

FRAMED_API bool framed_accept_has(const struct framed_accept *accept, uint8_t mode);

/* Which keys a listener was given; they add up. */
enum framed_keys { FRAMED_NO_KEYS = 0, FRAMED_KEYS_SHARED = 1, FRAMED_KEYS_PINNED = 2 };

/*
 * What a listener accepts that was not told (§7.6), of what is built: without keys plain and protections 0, 1 and 2; with keys the
 * one protection that asks for all of them, and nothing plain. `keys`: enum framed_keys.
 */
FRAMED_API struct framed_accept framed_accept_default(const struct framed_accept *built, unsigned keys);

/* ---- faults: what was wrong, where, and what was allowed ---- */

enum framed_fault_kind {
    FRAMED_FAULT_NONE,
    FRAMED_FAULT_NO_PREFACE, /* plain frames where a preface must come */
    FRAMED_FAULT_WORD,       /* neither a length nor a preface */
    FRAMED_FAULT_REFLECTED,  /* the preface of the side that reads it */
    FRAMED_FAULT_VERSION,
    FRAMED_FAULT_MODE,   /* the acceptor does not accept it */
    FRAMED_FAULT_ANSWER, /* the acceptor answered another one than was asked for */
    FRAMED_FAULT_LENGTH, /* of the HELLO */
    FRAMED_FAULT_SUM,    /* the trailer of the HELLO */
    FRAMED_FAULT_ORDER,
    FRAMED_FAULT_UNKNOWN,
    FRAMED_FAULT_MISPLACED, /* a key of another mode, or of the other side */
    FRAMED_FAULT_SIZE,      /* of a value */
    FRAMED_FAULT_CUT,       /* a parameter that goes on behind the end of the HELLO */
    FRAMED_FAULT_RANGE,
    FRAMED_FAULT_MISSING,
    FRAMED_FAULT_END /* of the stream */
};

struct framed_fault {
    uint8_t what; /* enum framed_fault_kind */
    uint8_t at;   /* the first byte that is wrong, from the first of the preface (framed_hello_*: of the parameters) */
    uint8_t key;  /* of the parameter; 0: none */
    uint32_t found;
    uint32_t least, most;         /* allowed; UNKNOWN and MISPLACED: bit k of `most` is key k */
    struct framed_accept accepts; /* NO_PREFACE, MODE: allowed */
};

/* "version", "out_of_order" and the like: the words of vectors/opening.txt. Static storage. */
FRAMED_API const char *framed_fault_name(enum framed_fault_kind what);

#define FRAMED_FAULT_ROOM 512u

/* "byte 10: a parameter out of its range: max_frame 100; allowed 16384 to 2147483647". Ends with a NUL, and is cut off if
 * room, at least 1, is too small for it; FRAMED_FAULT_ROOM never is. */
FRAMED_API void framed_fault_say(const struct framed_fault *fault, char *to, size_t room);

/* ---- HELLO ---- */

/* What the sender of a HELLO accepts (§7.4). For encoding 0 means what an absent one means; decoded, what does not belong in this
 * HELLO is 0. */
struct framed_hello {
    uint32_t max_frame;         /* bytes */
    uint32_t max_calls;         /* of a session, from the acceptor */
    uint32_t window;            /* bytes; of a session */
    uint32_t max_message;       /* bytes; of a session */
    struct framed_bytes key_id; /* protections 8 and 10, from the connector, where it must be; borrowed */
};

/* What the connector may count on before the acceptor's HELLO has come (§7.5). */
FRAMED_API struct framed_hello framed_hello_least(enum framed_side from, uint8_t mode);

/*
 * Writes the parameters, *n bytes. FRAMED_USAGE (*n untouched, *fault says why, `at` 0): a value is out of range, or does not belong
 * in a HELLO of this mode from this side. What equals its absent value is left out.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_hello_encode(uint8_t to[FRAMED_HELLO_MOST], size_t *n,
                                                                  enum framed_side from, uint8_t mode,
                                                                  const struct framed_hello *hello,
                                                                  struct framed_fault *fault);

/* Reads parameters; hello->key_id is a view into them. FRAMED_MALFORMED, or FRAMED_TOO_LARGE for more than
 * FRAMED_HELLO_MOST bytes (*hello untouched): *fault says why. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_hello_decode(struct framed_bytes parameters, enum framed_side from,
                                                                  uint8_t mode, struct framed_hello *hello,
                                                                  struct framed_fault *fault);

/* ---- a whole opening ---- */

/*
 * Writes the preface and, but for an acceptor whose HELLO travels in the handshake, the HELLO frame with its trailer: *n bytes.
 * FRAMED_USAGE as framed_hello_encode, or there is no such mode (FRAMED_FAULT_MODE). FRAMED_UNSUPPORTED: BLAKE2b, without libsodium.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_opening_encode(uint8_t to[FRAMED_OPENING_MOST], size_t *n,
                                                                    enum framed_side from, uint8_t mode,
                                                                    const struct framed_hello *hello,
                                                                    struct framed_fault *fault);

/* At most 128 bytes. Initialise with framed_opening_accept or framed_opening_connect; private but for `mode` and `plain`. */
struct framed_opening {
    union {
        uint8_t bytes[FRAMED_HELLO_MOST + FRAMED_SUM_MOST]; /* of the preface, the length word or the HELLO */
        struct framed_fault fault;                          /* once it has failed */
    } u;
    struct framed_accept accepts; /* what the acceptor accepts; the one mode of the connector */
    int8_t failed;                /* the sticky status */
    uint8_t state;
    uint8_t have; /* bytes of what it waits for */
    uint8_t need; /* bytes of the HELLO, its trailer included */
    uint8_t from; /* whose bytes are read: enum framed_side */
    uint8_t mode; /* asked for; for an acceptor, once it is open */
    bool plain;   /* once it is open: it is a plain connection after all, and no byte was consumed */
};

/* For the acceptor: reads what a connector sends. FRAMED_UNSUPPORTED: the set has BLAKE2b in it, and there is no libsodium. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_opening_accept(struct framed_opening *o,
                                                                    const struct framed_accept *accepts);

/* For the connector, which has sent its own opening in this mode: reads the acceptor's. FRAMED_USAGE: there is no such mode.
 * FRAMED_UNSUPPORTED: as above. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_opening_connect(struct framed_opening *o, uint8_t mode);

/*
 * Takes what belongs to the opening off the front of *in; any split of the same bytes gives the same.
 * FRAMED_MORE: *in is used up. FRAMED_OK: it is open, as o->plain and o->mode say; the rest of *in are frames.
 * FRAMED_TOO_LARGE, FRAMED_MALFORMED: framed_opening_fault says why; sticky, and nothing more is consumed.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_opening_next(struct framed_opening *o, struct framed_bytes *in);

/* While it says FRAMED_MORE: how many of the bytes to come are the opening's for certain, at least 1. */
FRAMED_API size_t framed_opening_wants(const struct framed_opening *o);

/*
 * The stream has ended. FRAMED_CLOSED: before a connector's first byte, or behind the opening. FRAMED_TRUNCATED: inside it, or
 * before the acceptor's first byte. Else the sticky failure.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_opening_end(struct framed_opening *o);

/* Why it has failed; valid as long as *o. NULL: it has not. */
FRAMED_API const struct framed_fault *framed_opening_fault(const struct framed_opening *o);

/* Whether a HELLO came with it: not on a plain connection, and not from an acceptor whose HELLO travels in the handshake. */
FRAMED_API bool framed_opening_has_hello(const struct framed_opening *o);

/* That HELLO. Its key id is a view into *o. */
FRAMED_API struct framed_hello framed_opening_hello(const struct framed_opening *o);

/* ================================ keys ================================ */

/*
 * A key is 32 bytes: an X25519 public key, the secret one that it belongs to, or a shared key that both ends have. In files each
 * is a word: 43 characters of base64url (RFC 4648 §5) without padding, behind a prefix that says which it is, so that a secret
 * one is not pasted where a public one belongs:
 *
 *     framed-pub-1:...    framed-sec-1:...    framed-psk-1:...
 *
 * One key has one text. What is secret is encoded, decoded and compared in a time that does not depend on it. Whoever has a
 * secret key, or its text, wipes it (framed_wipe); what these functions need on the way they wipe themselves.
 *
 * Without libsodium parse, format and public are FRAMED_UNSUPPORTED.
 */
#define FRAMED_KEY_SIZE      32u
#define FRAMED_KEY_TEXT_SIZE 57u /* of every kind, with the NUL */

enum framed_key_kind { FRAMED_KEY_PUBLIC, FRAMED_KEY_SECRET, FRAMED_KEY_SHARED };

struct framed_key {
    uint8_t bytes[FRAMED_KEY_SIZE];
};

/*
 * Reads the whole of `text` as a key of this kind. FRAMED_MALFORMED: it is none, and *reason says why, in words that repeat
 * nothing of it: "that is a secret key, where a public one is wanted". FRAMED_UNSUPPORTED, with a reason, too. *reason is static
 * storage, and untouched on FRAMED_OK. 32 zero bytes are no key: somebody forgot one. FRAMED_USAGE: there is no such kind.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_key_parse(struct framed_key *key, enum framed_key_kind kind,
                                                               struct framed_bytes text, const char **reason);

/* Writes it as text, with a NUL. FRAMED_USAGE: there is no such kind, or the key is all zero. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_key_format(char text[FRAMED_KEY_TEXT_SIZE], enum framed_key_kind kind,
                                                                const struct framed_key *key);

/* The public key of a secret one, which may be any 32 unpredictable bytes. FRAMED_USAGE: they are all zero. FRAMED_OS:
 * libsodium cannot run here. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_key_public(struct framed_key *public_key,
                                                                const struct framed_key *secret_key);

/* Whether they are the same, in a time that does not depend on them. */
FRAMED_API FRAMED_MUST_USE bool framed_key_same(const struct framed_key *a, const struct framed_key *b);

/* Zeroes n bytes, also where a compiler sees that nobody reads them again. `at` may be NULL when n is 0. */
FRAMED_API void framed_wipe(void *at, size_t n);

#ifdef __cplusplus
}
#endif
#endif
