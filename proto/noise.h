/*
 * noise.h: the Noise Protocol Framework, revision 34 (noiseprotocol.org/noise.html; § below are its sections): the handshakes
 * NNpsk0, XX and XXpsk0, each of 25519_ChaChaPoly_SHA256, and the cipher states that they end in. Over libsodium's primitives.
 *
 * It is: bytes in, bytes out. No input or output, no clock, no allocation, no randomness: what must be random is handed in.
 * It is not a protected connection: no lengths, no preface, no records, no limits of time or number, no key files, and nothing
 * that decides who may speak. It does not choose when to rekey. Without libsodium (FRAMED_SODIUM) there is none of it.
 *
 * How keys must be given:
 *   ephemeral  32 bytes fresh from the system's random source, of one handshake alone. Twice the same gives away what both
 *              handshakes protect; so a failed handshake begins again with another.
 *   identity   (XX, XXpsk0) the long-lived static key, by framed_noise_keypair from 32 random bytes that are kept secret. Also
 *              a handshake that fails has used it: that is harmless.
 *   psk        (NNpsk0, XXpsk0) 32 random bytes that both ends have: never a password, which can be guessed from one recorded
 *              handshake. One key serves one pair of ends, each always in the same role.
 * A key of 32 zeros is a key that somebody forgot: FRAMED_USAGE. All are copied; the caller wipes its own. What is not needed
 * any more is wiped here as soon as that is so.
 *
 * Who the peer is: XX proves only that it holds the static key it sent. After each read ask framed_noise_remote_static, and
 * compare it, in constant time and whole, with the pinned keys: the initiator before it writes message 3, which shows its own
 * key to whoever answered. With NNpsk0 and XXpsk0 message 1 may be a recorded one: a responder knows that somebody is there only
 * with the next message that it can decrypt (for NNpsk0 the first record).
 *
 * Payloads of handshake messages are not for applications (§7.7): that of XX's message 1 goes in the clear, and before the last
 * message nobody has proven to the responder that it is there now.
 *
 * Statuses: FRAMED_USAGE is the caller's defect (not its turn, no room, a key too many or too few): nothing has changed.
 * FRAMED_MALFORMED (a length that cannot be) and FRAMED_AUTH (a tag, a point, a key of our own) are the peer's doing and final
 * in a handshake: everything is wiped, and every later call says the same again. A cipher state goes on after a forged message
 * as if it had not come (§5.1); whoever has an ordered stream below must end there.
 *
 * A state belongs to one thread at a time; the functions keep none of their own. All zero is a state, too: one with which
 * everything is FRAMED_USAGE. Fields are for noise.c and its tests.
 */
#ifndef FRAMED_NOISE_H
#define FRAMED_NOISE_H

#include <framed/base.h>
#include <stdbool.h>

enum {
    NOISE_KEY_SIZE = 32, /* of every key, and of a hash: DHLEN, HASHLEN (§4) */
    NOISE_TAG_SIZE = 16,
    NOISE_NONCE_SIZE = 12,
    NOISE_MESSAGE_MOST = 65535 /* of every message, tag included (§3) */
};

enum noise_pattern { NOISE_NNPSK0, NOISE_XX, NOISE_XXPSK0 };
enum noise_role { NOISE_INITIATOR, NOISE_RESPONDER };

struct framed_noise_keypair {
    uint8_t secret[NOISE_KEY_SIZE];
    uint8_t public[NOISE_KEY_SIZE];
};

struct framed_noise_config {
    enum noise_pattern pattern;
    enum noise_role role;
    struct framed_bytes prologue;                /* what both ends must have seen alike before; of any length (§6) */
    const uint8_t *ephemeral;                    /* NOISE_KEY_SIZE bytes */
    const uint8_t *psk;                          /* likewise; NULL with XX */
    const struct framed_noise_keypair *identity; /* NULL with NNpsk0 */
};

/* One direction's key and counter (§5.1: CipherState). */
struct framed_noise_cipher {
    uint8_t key[NOISE_KEY_SIZE];
    uint64_t n;
    bool keyed;
};

/*
 * A handshake (§5.2, §5.3: SymmetricState, HandshakeState). Messages 1 and 3 are the initiator's, 2 is the responder's.
 *
 *   UNUSED -init-> GOING -the last message-> DONE -split-> SPLIT
 *                  GOING -anything wrong from the peer-> FAILED
 */
enum noise_stage { NOISE_UNUSED, NOISE_GOING, NOISE_DONE, NOISE_SPLIT, NOISE_FAILED };

struct framed_noise {
    struct framed_noise_cipher cipher;
    uint8_t ck[NOISE_KEY_SIZE], h[NOISE_KEY_SIZE];
    struct framed_noise_keypair e, s;
    uint8_t re[NOISE_KEY_SIZE];
    union {
        uint8_t psk[NOISE_KEY_SIZE]; /* until message 1, which takes it first of all */
        uint8_t rs[NOISE_KEY_SIZE];  /* from a later message on; zeros between */
    } u;
    uint8_t stage;   /* enum noise_stage */
    int8_t failure;  /* FAILED: the status that every call says */
    uint8_t pattern; /* enum noise_pattern */
    uint8_t role;    /* enum noise_role */
    uint8_t message; /* the next one, from 0 */
};

/* Before all else, once or more, from any thread: lets libsodium choose its code for this processor. FRAMED_OS: it cannot run. */
FRAMED_MUST_USE enum framed_status framed_noise_start(void);

/* The pair that belongs to 32 secret bytes (§4.1: GENERATE_KEYPAIR without its dice). FRAMED_USAGE: they are all zero. */
FRAMED_MUST_USE enum framed_status framed_noise_keypair(struct framed_noise_keypair *pair,
                                                        const uint8_t secret[NOISE_KEY_SIZE]);

/* Begins a handshake (§5.3: Initialize). All that config points to is copied. FRAMED_USAGE leaves an unused state. */
FRAMED_MUST_USE enum framed_status framed_noise_init(struct framed_noise *hs, const struct framed_noise_config *config);

/* How much longer the next message is than its payload, whoever writes it; 0 when there is none. */
size_t framed_noise_overhead(const struct framed_noise *hs);

/*
 * Writes the next message (§5.3: WriteMessage) to `out`, which has `room` bytes; *len of them are the message. The payload must
 * not overlap `out`. FRAMED_USAGE: not our turn, no room, or more than NOISE_MESSAGE_MOST. FRAMED_AUTH: the point that the peer
 * sent earlier is none to agree with; nothing in `out` is to be sent.
 */
FRAMED_MUST_USE enum framed_status framed_noise_write(struct framed_noise *hs, struct framed_bytes payload, uint8_t *out,
                                                      size_t room, size_t *len);

/*
 * Reads the next message (§5.3: ReadMessage), in place: *payload is a view into it, and the rest of its bytes mean nothing
 * afterwards, nor do any of them after a failure. FRAMED_USAGE: not our turn. FRAMED_MALFORMED: too short or too long.
 * FRAMED_AUTH: not from whom it must be.
 */
FRAMED_MUST_USE enum framed_status framed_noise_read(struct framed_noise *hs, uint8_t *message, size_t len,
                                                     struct framed_bytes *payload);

/* The peer's static key, byte for byte as it came, once it is known; else, and after a failure, NULL. As long as hs. */
const uint8_t *framed_noise_remote_static(const struct framed_noise *hs);

/* The handshake hash (§11.2), the same at both ends and in no other handshake, when the last message is through; else NULL. */
const uint8_t *framed_noise_hash(const struct framed_noise *hs);

/*
 * After the last message, once: the cipher states of what we send and of what we receive (§5.2: Split). Hash and remote static
 * key stay readable. FRAMED_USAGE: too early, or for the second time.
 */
FRAMED_MUST_USE enum framed_status framed_noise_split(struct framed_noise *hs, struct framed_noise_cipher *send,
                                                      struct framed_noise_cipher *receive);

/* Wipes everything, in any state. */
void framed_noise_fini(struct framed_noise *hs);

/*
 * Encrypts `len` bytes in place, and puts the tag into the NOISE_TAG_SIZE bytes behind them (§5.1: EncryptWithAd). `ad` is what
 * the peer must know alike without being sent it; it may be empty. FRAMED_USAGE: no key, the message would be too long, or the
 * counter is at its end, 2^64-1 (§5.1), for ever. The counter advances on success alone.
 */
FRAMED_MUST_USE enum framed_status framed_noise_encrypt(struct framed_noise_cipher *c, struct framed_bytes ad, uint8_t *at,
                                                        size_t len);

/* A message that is being encrypted; it is not copied, and stays where it is. */
struct framed_noise_sealing {
    struct framed_noise_cipher *cipher;
    uint8_t *at; /* the ciphertext, whole blocks first: */
    size_t done; /* so many bytes of it are there, */
    size_t len;  /* and up to here plaintext lies behind them */
    uint8_t nonce[NOISE_NONCE_SIZE];
};

/*
 * Likewise, without `ad`, of a plaintext that comes in pieces: begin, more of it, end. It is encrypted on its way to `at`, which has
 * room for all of it and the tag; a piece that lies in its place there already stays there. All pieces together are at most
 * NOISE_MESSAGE_MOST - NOISE_TAG_SIZE bytes, which is the caller's to see to, and so is that until `end`, which advances the counter,
 * nothing else is done with the cipher.
 */
FRAMED_MUST_USE enum framed_status framed_noise_seal_begin(struct framed_noise_sealing *s, struct framed_noise_cipher *c,
                                                           uint8_t *at);
void framed_noise_seal_more(struct framed_noise_sealing *s, const uint8_t *from, size_t len);
void framed_noise_seal_end(struct framed_noise_sealing *s);

/*
 * Decrypts `len` bytes in place, of which the last NOISE_TAG_SIZE are the tag: the others are the text (§5.1: DecryptWithAd).
 * FRAMED_AUTH: the tag is wrong; FRAMED_MALFORMED: a length that no message has. Of the bytes nothing is to be used then.
 * FRAMED_USAGE: no key, or the counter is at its end. The counter advances on success alone.
 */
FRAMED_MUST_USE enum framed_status framed_noise_decrypt(struct framed_noise_cipher *c, struct framed_bytes ad, uint8_t *at,
                                                        size_t len);

/* Replaces the key by one that does not give away the old one; the counter goes on (§4.2, §11.3: Rekey). FRAMED_USAGE: no key. */
FRAMED_MUST_USE enum framed_status framed_noise_rekey(struct framed_noise_cipher *c);

/* Wipes a cipher state. */
void framed_noise_cipher_fini(struct framed_noise_cipher *c);

#endif
