/*
 * channel_noise.c: handshake and records of encrypted connections (channel_noise.h; PROTOCOL.md §9).
 * Must not know who brings the bytes, whom to trust, nor what the records carry.
 * Invariants: what has FAILED, and a direction that is closed, holds no secret; have <= what the state waits for; the peer's bytes
 * are taken only up to the length that their place demands.
 *
 *   state          waits for                         then
 *   UNUSED         init                              SAY (connector), WANT_LENGTH (acceptor)
 *   SAY            say                               WANT_LENGTH; DONE after the last message; FAILED
 *   WANT_LENGTH    4 bytes                           WANT_MESSAGE, FAILED
 *   WANT_MESSAGE   as many as that says              SAY; DONE after the last message; FAILED
 *   DONE           split                             SPLIT
 *   SPLIT, FAILED  nothing
 */
#include "channel_noise.h"
#include "be.h"
#include <framed/frame.h>
#include <sodium.h>
#include <string.h>

enum { UNUSED, SAY, WANT_LENGTH, WANT_MESSAGE, DONE, SPLIT, FAILED };

static const char name[] = "framed/1 noise";

enum {
    NAME_SIZE = sizeof name - 1,
    HEAD = FRAMED_PREFACE_SIZE + FRAMED_LENGTH_SIZE,
    PROLOGUE_MOST = NAME_SIZE + HEAD + FRAMED_HELLO_MOST,
    HELLO_AT = HANDSHAKE_MESSAGE_MOST - (int)FRAMED_HELLO_MOST /* in `in` */
};

_Static_assert(sizeof(struct framed_handshake) <= 512, "a stranger has one for nothing");
_Static_assert(NOISE_KEY_SIZE + 2 * NOISE_TAG_SIZE <= HELLO_AT,
               "what an acceptor reads, of XX the message 3, ends before its HELLO");
_Static_assert(HANDSHAKE_MESSAGE_MOST <= UINT8_MAX, "`have` and `need` are bytes");
_Static_assert(RECORD_HEAD == FRAMED_LENGTH_SIZE + 1, "length word, type");

/* ---- records ---- */

/* Whether a record of this type may have n bytes of body. */
static bool body_fits(unsigned type, size_t n)
{
    switch (type) {
    case RECORD_DATA: return n >= 1 && n <= RECORD_BODY_MOST;
    case RECORD_CLOSE: return n == 1;
    case RECORD_PAD: return n <= RECORD_BODY_MOST;
    default: return false;
    }
}

/* A record is through: the next key, if it is time, and no key at all behind the last record. */
static void advance(struct framed_records *r, enum record_type type)
{
    r->pads = type == RECORD_PAD ? (uint8_t)(r->pads + 1) : 0;
    r->closed = type == RECORD_CLOSE;
    if (r->closed) framed_noise_cipher_fini(&r->cipher);
}

/* Both ends count alike, so nothing is said on the wire. */
static void rekey_in_time(struct framed_noise_cipher *c)
{
    if (c->n % RECORDS_A_KEY == 0) check(framed_noise_rekey(c) == FRAMED_OK);
}

enum framed_status framed_record_seal_begin(struct framed_records *out, struct framed_noise_sealing *s,
                                            enum record_type type, uint8_t *record, size_t n)
{
    uint8_t type_byte = (uint8_t)type;
    if (!body_fits(type, n) || (type == RECORD_PAD && out->pads == RECORD_PADS_MOST)) return FRAMED_USAGE;
    /* Closed, too. Asked here, because who has no key may have no record either, behind whose start nothing lies. */
    if (!out->cipher.keyed || out->cipher.n == UINT64_MAX) return FRAMED_USAGE;
    check(framed_noise_seal_begin(s, &out->cipher, record + FRAMED_LENGTH_SIZE) == FRAMED_OK);
    be32_put(record, (uint32_t)(1 + n + RECORD_TAIL));
    framed_noise_seal_more(s, &type_byte, 1);
    return FRAMED_OK;
}

void framed_record_seal_end(struct framed_records *out, struct framed_noise_sealing *s, enum record_type type)
{
    check(be32_get(s->at - FRAMED_LENGTH_SIZE) == s->len + RECORD_TAIL);
    framed_noise_seal_end(s);
    rekey_in_time(&out->cipher);
    advance(out, type);
}

enum framed_status framed_record_seal(struct framed_records *out, enum record_type type, uint8_t *record, size_t n)
{
    struct framed_noise_sealing s;
    enum framed_status st = framed_record_seal_begin(out, &s, type, record, n);
    if (st != FRAMED_OK) return st;
    framed_noise_seal_more(&s, record + RECORD_HEAD, n);
    framed_record_seal_end(out, &s, type);
    return FRAMED_OK;
}

static enum framed_status fail_records(struct framed_records *in, enum framed_status why)
{
    framed_records_fini(in);
    in->failed = (int8_t)why;
    return why;
}

enum framed_status framed_record_open(struct framed_records *in, uint8_t *record, size_t len, enum record_type *type,
                                      struct framed_bytes *body)
{
    if (in->failed != 0) return (enum framed_status)in->failed;
    if (in->closed || in->cipher.n == UINT64_MAX) return fail_records(in, FRAMED_MALFORMED);
    if (!in->cipher.keyed) return FRAMED_USAGE;
    if (len < RECORD_LEAST) return fail_records(in, FRAMED_MALFORMED); /* too long is so to Noise, too */
    enum framed_status st = framed_noise_decrypt(&in->cipher, framed_bytes_of(NULL, 0), record, len);
    if (st != FRAMED_OK) return fail_records(in, st);
    size_t n = len - RECORD_LEAST;
    if (!body_fits(record[0], n) || (record[0] == RECORD_PAD && in->pads == RECORD_PADS_MOST))
        return fail_records(in, FRAMED_MALFORMED);
    rekey_in_time(&in->cipher);
    *type = (enum record_type)record[0];
    *body = framed_bytes_of(record + 1, n);
    advance(in, *type);
    return FRAMED_OK;
}

void framed_records_fini(struct framed_records *r)
{
    sodium_memzero(r, sizeof *r);
}

/* ---- the handshake ---- */

static bool pattern_of(uint8_t mode, enum noise_pattern *pattern)
{
    switch (framed_mode_exists(mode) ? framed_mode_protection(mode) : FRAMED_UNPROTECTED) {
    case FRAMED_SHARED_KEY: *pattern = NOISE_NNPSK0; return true;
    case FRAMED_PINNED_KEYS: *pattern = NOISE_XX; return true;
    case FRAMED_SHARED_AND_PINNED: *pattern = NOISE_XXPSK0; return true;
    default: return false;
    }
}

/* What it says has been judged by whoever read it; here only: is it the whole opening of this mode? */
static bool opening_is_sound(struct framed_bytes opening, uint8_t mode)
{
    return opening.len >= HEAD && opening.len <= HEAD + FRAMED_HELLO_MOST && opening.at[FRAMED_PREFACE_SIZE - 1] == mode &&
           be32_get(opening.at + FRAMED_PREFACE_SIZE) == opening.len - HEAD;
}

/* The acceptor's HELLO, for message 2. */
static bool keep_hello(struct framed_handshake *hs, const struct framed_handshake_config *c)
{
    struct framed_fault fault;
    size_t n = 0;
    if (c->side == FRAMED_CONNECTOR) return c->hello == NULL;
    if (c->hello == NULL) return false;
    if (framed_hello_encode(hs->in + HELLO_AT, &n, FRAMED_ACCEPTOR, c->mode, c->hello, &fault) != FRAMED_OK) return false;
    hs->hello_len = (uint8_t)n;
    return true;
}

static bool begin(struct framed_handshake *hs, const struct framed_handshake_config *c)
{
    uint8_t prologue[PROLOGUE_MOST];
    struct framed_noise_config noise = {.role = c->side == FRAMED_CONNECTOR ? NOISE_INITIATOR : NOISE_RESPONDER,
                                        .prologue = framed_bytes_of(prologue, NAME_SIZE + c->opening.len),
                                        .ephemeral = c->ephemeral,
                                        .psk = c->psk,
                                        .identity = c->identity};
    if (!pattern_of(c->mode, &noise.pattern) || !opening_is_sound(c->opening, c->mode) || !keep_hello(hs, c)) return false;
    memcpy(prologue, name, NAME_SIZE);
    memcpy(prologue + NAME_SIZE, c->opening.at, c->opening.len);
    return framed_noise_init(&hs->noise, &noise) == FRAMED_OK;
}

enum framed_status framed_handshake_init(struct framed_handshake *hs, const struct framed_handshake_config *config)
{
    memset(hs, 0, sizeof *hs);
    if (!begin(hs, config)) {
        framed_handshake_fini(hs);
        return FRAMED_USAGE;
    }
    hs->mode = config->mode;
    hs->side = (uint8_t)config->side;
    hs->state = config->side == FRAMED_CONNECTOR ? SAY : WANT_LENGTH;
    return FRAMED_OK;
}

void framed_handshake_fini(struct framed_handshake *hs)
{
    sodium_memzero(hs, sizeof *hs);
}

static enum framed_status fail(struct framed_handshake *hs, enum framed_status why)
{
    framed_handshake_fini(hs);
    hs->state = FAILED;
    hs->failed = (int8_t)why;
    return why;
}

/* A message is through. */
static enum framed_status go_on(struct framed_handshake *hs, uint8_t state)
{
    hs->messages++;
    hs->have = 0;
    hs->state = framed_noise_hash(&hs->noise) != NULL ? DONE : state;
    return FRAMED_OK;
}

size_t framed_handshake_says(const struct framed_handshake *hs)
{
    if (hs->state != SAY) return 0;
    return FRAMED_LENGTH_SIZE + framed_noise_overhead(&hs->noise) + (hs->side == FRAMED_ACCEPTOR ? hs->hello_len : 0u);
}

enum framed_status framed_handshake_say(struct framed_handshake *hs, uint8_t *to, size_t *n)
{
    if (hs->state == FAILED) return (enum framed_status)hs->failed;
    if (hs->state == UNUSED) return FRAMED_USAGE;
    if (hs->state != SAY) return FRAMED_MORE;
    struct framed_bytes payload = framed_bytes_of(hs->in + HELLO_AT, hs->side == FRAMED_ACCEPTOR ? hs->hello_len : 0);
    size_t len = 0, room = framed_handshake_says(hs) - FRAMED_LENGTH_SIZE;
    enum framed_status st = framed_noise_write(&hs->noise, payload, to + FRAMED_LENGTH_SIZE, room, &len);
    if (st != FRAMED_OK) return fail(hs, st);
    be32_put(to, (uint32_t)len);
    *n = FRAMED_LENGTH_SIZE + len;
    return go_on(hs, WANT_LENGTH);
}

/* Takes bytes off *in until there are n of them. */
static bool collect(struct framed_handshake *hs, struct framed_bytes *in, size_t n)
{
    size_t more = n - hs->have < in->len ? n - hs->have : in->len;
    if (more > 0) { /* else `at` may be NULL */
        memcpy(hs->in + hs->have, in->at, more);
        *in = framed_bytes_of(in->at + more, in->len - more);
        hs->have = (uint8_t)(hs->have + more);
    }
    return hs->have == n;
}

/* Each message has one length, but for message 2, in which the acceptor's HELLO is: that alone the connector reads. */
static enum framed_status judge_length(struct framed_handshake *hs)
{
    uint32_t len = be32_get(hs->in), least = (uint32_t)framed_noise_overhead(&hs->noise);
    uint32_t most = least + (hs->side == FRAMED_CONNECTOR ? FRAMED_HELLO_MOST : 0);
    if (len < least || len > most) return fail(hs, FRAMED_MALFORMED);
    hs->need = (uint8_t)len;
    hs->have = 0;
    hs->state = WANT_MESSAGE;
    return FRAMED_OK;
}

static enum framed_status judge_message(struct framed_handshake *hs)
{
    struct framed_bytes payload;
    struct framed_hello hello;
    struct framed_fault fault;
    enum framed_status st = framed_noise_read(&hs->noise, hs->in, hs->need, &payload);
    if (st == FRAMED_OK && hs->side == FRAMED_CONNECTOR) {
        st = framed_hello_decode(payload, FRAMED_ACCEPTOR, hs->mode, &hello, &fault);
        memmove(hs->in + HELLO_AT, payload.at, payload.len);
        hs->hello_len = (uint8_t)payload.len;
    }
    if (st != FRAMED_OK) return fail(hs, st);
    return go_on(hs, SAY);
}

enum framed_status framed_handshake_next(struct framed_handshake *hs, struct framed_bytes *in)
{
    enum framed_status st = FRAMED_OK;
    if (hs->state == FAILED) return (enum framed_status)hs->failed;
    if (hs->state != WANT_LENGTH && hs->state != WANT_MESSAGE) return FRAMED_USAGE;
    if (hs->state == WANT_LENGTH) {
        if (!collect(hs, in, FRAMED_LENGTH_SIZE)) return FRAMED_MORE;
        st = judge_length(hs);
        if (st != FRAMED_OK) return st;
    }
    return collect(hs, in, hs->need) ? judge_message(hs) : FRAMED_MORE;
}

size_t framed_handshake_wants(const struct framed_handshake *hs)
{
    if (hs->state == WANT_LENGTH) return FRAMED_LENGTH_SIZE - hs->have + framed_noise_overhead(&hs->noise);
    return hs->state == WANT_MESSAGE ? (size_t)hs->need - hs->have : 0;
}

const uint8_t *framed_handshake_peer_key(const struct framed_handshake *hs)
{
    return framed_noise_remote_static(&hs->noise);
}

bool framed_handshake_has_hello(const struct framed_handshake *hs)
{
    return hs->side == FRAMED_CONNECTOR && hs->messages >= 2;
}

struct framed_hello framed_handshake_hello(const struct framed_handshake *hs)
{
    struct framed_hello hello = {0};
    struct framed_fault fault;
    struct framed_bytes parameters = framed_bytes_of(hs->in + HELLO_AT, hs->hello_len);
    check(framed_handshake_has_hello(hs));
    check(framed_hello_decode(parameters, FRAMED_ACCEPTOR, hs->mode, &hello, &fault) == FRAMED_OK);
    return hello;
}

bool framed_handshake_is_done(const struct framed_handshake *hs)
{
    return hs->state == DONE || hs->state == SPLIT;
}

enum framed_status framed_handshake_split(struct framed_handshake *hs, struct framed_records *out, struct framed_records *in,
                                          uint8_t hash[NOISE_KEY_SIZE])
{
    if (hs->state == FAILED) return (enum framed_status)hs->failed;
    if (hs->state != DONE) return FRAMED_USAGE;
    memset(out, 0, sizeof *out);
    memset(in, 0, sizeof *in);
    memcpy(hash, framed_noise_hash(&hs->noise), NOISE_KEY_SIZE);
    check(framed_noise_split(&hs->noise, &out->cipher, &in->cipher) == FRAMED_OK);
    hs->state = SPLIT;
    return FRAMED_OK;
}
