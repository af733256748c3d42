/*
 * fuzz_handshake.c: the handshake of encrypted connections with fixed keys: one of its messages arrives otherwise than it was said.
 * Must not know what is in a message: the ends say them.
 * Invariants: any split gives the same verdict, uses up the same bytes and leaves the same state; both ends are done only if what
 * arrived is what was said; every piece is a block of its own, exactly as long as it is.
 *
 * Input: the mode; which message, and how it arrives (WAY_*); the program: the lengths of the pieces, over and over; the rest: what
 * the way makes of it.
 */
#include "channel_noise.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

enum way {
    WAY_PATCHED, /* the rest is pairs: a place, and what its byte is changed by */
    WAY_RAW,     /* the rest, and not what was said */
    WAY_PAYLOAD, /* it is right but for its payload, which is the rest */
    WAY_OPENING, /* the acceptor has seen an opening that is patched so */
    WAY_COUNT
};

enum { ROOM = 600, WORD = 4 };

static const uint8_t modes[] = {0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1};

struct ends {
    struct framed_handshake at[2];
};

struct bytes {
    uint8_t at[ROOM];
    size_t len;
};

static unsigned messages_of(uint8_t mode)
{
    return mode >> 4 == FRAMED_SHARED_KEY ? 2 : 3;
}

static struct framed_noise_keypair identity_of(uint8_t label)
{
    struct framed_noise_keypair pair;
    uint8_t secret[NOISE_KEY_SIZE];
    memset(secret, label, sizeof secret);
    fuzz_must(framed_noise_keypair(&pair, secret) == FRAMED_OK, "a secret has a public key");
    return pair;
}

static struct framed_bytes patch(struct bytes *to, struct framed_bytes pairs)
{
    while (pairs.len >= 2 && to->len > 0) {
        size_t place = fuzz_byte(&pairs) % to->len;
        to->at[place] ^= fuzz_byte(&pairs);
    }
    return framed_bytes_of(to->at, to->len);
}

/* False: the acceptor could not begin with that opening. */
static bool begin(struct ends *e, uint8_t mode, struct framed_bytes patches, bool *same_opening)
{
    struct framed_hello hello = {.max_frame = 65536}, acceptors = {.max_frame = 1 << 20};
    struct framed_fault fault;
    struct bytes opening = {.len = 0}, original;
    if (mode >> 4 != FRAMED_PINNED_KEYS) hello.key_id = framed_bytes_str("id");
    fuzz_must(framed_opening_encode(opening.at, &opening.len, FRAMED_CONNECTOR, mode, &hello, &fault) == FRAMED_OK,
              "an opening can be written");
    original = opening;
    for (uint8_t side = 0; side < 2; side++) {
        uint8_t ephemeral[NOISE_KEY_SIZE], psk[NOISE_KEY_SIZE];
        struct framed_noise_keypair identity = identity_of((uint8_t)(3 + side));
        memset(ephemeral, 1 + side, sizeof ephemeral);
        memset(psk, 5, sizeof psk);
        struct framed_handshake_config config = {
            .mode = mode,
            .side = (enum framed_side)side,
            .opening = side == FRAMED_ACCEPTOR ? patch(&opening, patches) : framed_bytes_of(opening.at, opening.len),
            .ephemeral = ephemeral,
            .psk = mode >> 4 != FRAMED_PINNED_KEYS ? psk : NULL,
            .identity = mode >> 4 != FRAMED_SHARED_KEY ? &identity : NULL,
            .hello = side == FRAMED_ACCEPTOR ? &acceptors : NULL};
        enum framed_status st = framed_handshake_init(&e->at[side], &config);
        fuzz_must(st == FRAMED_OK || (patches.len > 0 && st == FRAMED_USAGE), "what belongs together begins");
        if (st != FRAMED_OK) return false;
    }
    *same_opening = memcmp(opening.at, original.at, opening.len) == 0; /* two patches may undo each other */
    return true;
}

static enum framed_status say(struct ends *e, unsigned i, struct bytes *out)
{
    return framed_handshake_say(&e->at[i % 2], out->at, &out->len);
}

static void is_dead(const struct framed_handshake *hs, enum framed_status why)
{
    struct framed_handshake nothing;
    memset(&nothing, 0, sizeof nothing);
    nothing.state = hs->state;
    nothing.failed = (int8_t)why;
    fuzz_must(memcmp(hs, &nothing, sizeof nothing) == 0, "a failure leaves nothing but itself");
}

/* The place that a message has: PROTOCOL.md §9.1. */
struct place {
    size_t least, most; /* bytes of the message */
};

static struct place place_of(uint8_t mode, unsigned i)
{
    static const size_t sizes[3][3] = {{48, 48, 0}, {32, 96, 64}, {48, 96, 64}};
    size_t size = sizes[(mode >> 4) - FRAMED_SHARED_KEY][i];
    return (struct place){size, size + (i == 1 ? FRAMED_HELLO_MOST : 0)};
}

/* What of a stream is a message's in that place; *whole: all of it is there, and its length is allowed. */
static size_t takes(const struct place *place, struct framed_bytes stream, bool *whole)
{
    *whole = false;
    if (stream.len < WORD) return stream.len;
    size_t len = (size_t)stream.at[0] << 24 | (size_t)stream.at[1] << 16 | (size_t)stream.at[2] << 8 | stream.at[3];
    if (len < place->least || len > place->most) return WORD;
    *whole = stream.len - WORD >= len;
    return *whole ? WORD + len : stream.len;
}

/* What became of what arrived. */
struct verdict {
    enum framed_status status;
    size_t used;
    struct framed_handshake hs;
};

static struct verdict hear(const struct framed_handshake *hs, struct framed_bytes stream, struct framed_bytes program)
{
    struct verdict v = {.status = FRAMED_MORE, .hs = *hs};
    size_t certain = 0;
    for (size_t steps = 0; v.status == FRAMED_MORE && v.used < stream.len; steps++) {
        size_t n = stream.len - v.used;
        if (program.len > 0 && steps < 2 * stream.len + 16) {
            size_t asked = fuzz_length(program.at[steps % program.len]);
            if (asked < n) n = asked;
        }
        size_t wants = framed_handshake_wants(&v.hs);
        fuzz_must(wants > 0, "who waits wants something");
        if (v.used + wants > certain) certain = v.used + wants;
        uint8_t *piece = malloc(n > 0 ? n : 1);
        fuzz_must(piece != NULL, "there is memory for the harness");
        memcpy(piece, stream.at + v.used, n);
        struct framed_bytes in = framed_bytes_of(piece, n);
        v.status = framed_handshake_next(&v.hs, &in);
        fuzz_must(in.at + in.len == piece + n, "it takes bytes off the front");
        fuzz_must(v.status != FRAMED_MORE || in.len == 0, "MORE means that all is used up");
        v.used += n - in.len;
        free(piece);
    }
    fuzz_must(v.status == FRAMED_OK || v.status == FRAMED_MORE || v.status == FRAMED_MALFORMED || v.status == FRAMED_AUTH,
              "what comes is through, or not yet, or the peer's fault");
    if (v.status == FRAMED_OK)
        fuzz_must(v.used >= certain, "what it wanted for certain was its own");
    else if (v.status != FRAMED_MORE)
        is_dead(&v.hs, v.status);
    return v;
}

static struct verdict hear_all(const struct framed_handshake *hs, const struct place *place, struct framed_bytes stream,
                               struct framed_bytes program)
{
    static const uint8_t one = 1;
    bool is_whole;
    size_t taken = takes(place, stream, &is_whole);
    fuzz_must(framed_handshake_wants(hs) == WORD + place->least, "it wants what its place demands at least");
    struct verdict whole = hear(hs, stream, (struct framed_bytes){0});
    fuzz_must(whole.used == taken, "it takes what is the message's, and of a length that lies the word");
    fuzz_must(is_whole || whole.status == FRAMED_MORE || (whole.status == FRAMED_MALFORMED && taken == WORD),
              "a length that lies is malformed, and what is cut is not through");
    fuzz_must(!is_whole || whole.status != FRAMED_MORE, "a whole message is judged");
    for (unsigned i = 0; i < 2; i++) {
        struct verdict v = hear(hs, stream, i == 0 ? framed_bytes_of(&one, 1) : program);
        fuzz_must(v.status == whole.status, "any split gives the same verdict");
        fuzz_must(v.used == whole.used, "any split uses up the same bytes");
        fuzz_must(memcmp(&v.hs, &whole.hs, sizeof v.hs) == 0, "any split leaves the same state");
    }
    return whole;
}

/* Message i, as it should be. */
static enum framed_status pass(struct ends *e, unsigned i, struct framed_bytes program)
{
    struct bytes letter;
    enum framed_status st = say(e, i, &letter);
    if (st != FRAMED_OK) return st;
    struct verdict v = hear(&e->at[1 - i % 2], framed_bytes_of(letter.at, letter.len), program);
    e->at[1 - i % 2] = v.hs;
    return v.status;
}

/* The messages behind message i. True: both ends are done. */
static bool goes_on(struct ends *e, unsigned i, unsigned count)
{
    enum framed_status st = FRAMED_OK;
    for (i++; i < count && st == FRAMED_OK; i++) st = pass(e, i, (struct framed_bytes){0});
    return st == FRAMED_OK && framed_handshake_is_done(&e->at[0]) && framed_handshake_is_done(&e->at[1]);
}

/* Both ends have the same: each the keys of the other, the other way round. */
static void agree(struct ends *e)
{
    struct framed_records out[2], in[2];
    uint8_t hash[2][NOISE_KEY_SIZE];
    for (unsigned side = 0; side < 2; side++)
        fuzz_must(framed_handshake_split(&e->at[side], &out[side], &in[side], hash[side]) == FRAMED_OK,
                  "who is done splits");
    fuzz_must(memcmp(hash[0], hash[1], sizeof hash[0]) == 0, "both ends have the same hash");
    fuzz_must(framed_handshake_hello(&e->at[0]).max_frame == 1 << 20, "the HELLO is the one that was said");
    for (unsigned side = 0; side < 2; side++) {
        uint8_t record[RECORD_HEAD + 1 + RECORD_TAIL] = {0};
        enum record_type type;
        struct framed_bytes body;
        fuzz_must(framed_record_seal(&out[side], RECORD_DATA, record, 1) == FRAMED_OK &&
                      framed_record_open(&in[1 - side], record + WORD, sizeof record - WORD, &type, &body) == FRAMED_OK,
                  "what one end seals the other opens");
    }
}

/* Right but for its payload: that is what the acceptor's HELLO is in, and nothing else's. */
static void any_payload(struct ends *e, unsigned i, uint8_t mode, struct framed_bytes payload, struct framed_bytes program)
{
    struct bytes letter;
    struct framed_hello hello, heard;
    struct framed_fault fault;
    size_t n = 0;
    if (payload.len > 150) payload.len = 150;
    fuzz_must(framed_noise_write(&e->at[i % 2].noise, payload, letter.at + WORD, ROOM - WORD, &n) == FRAMED_OK,
              "Noise carries any payload");
    memcpy(letter.at, ((uint8_t[]){0, 0, (uint8_t)(n >> 8), (uint8_t)n}), WORD);
    struct place place = place_of(mode, i);
    struct verdict v = hear_all(&e->at[1 - i % 2], &place, framed_bytes_of(letter.at, WORD + n), program);
    bool good = i == 1 ? framed_hello_decode(payload, FRAMED_ACCEPTOR, mode, &hello, &fault) == FRAMED_OK : payload.len == 0;
    fuzz_must(v.status == (good ? FRAMED_OK : FRAMED_MALFORMED), "message 2 carries a HELLO, and the others nothing");
    if (i != 1 || !good) return;
    heard = framed_handshake_hello(&v.hs);
    fuzz_must(heard.max_frame == hello.max_frame && heard.max_calls == hello.max_calls && heard.window == hello.window &&
                  heard.max_message == hello.max_message,
              "the HELLO is the one that was said");
}

int framed_fuzz_handshake(const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    uint8_t mode = modes[fuzz_byte(&in) % sizeof modes], how = fuzz_byte(&in);
    enum way way = (how >> 4) % WAY_COUNT;
    unsigned count = messages_of(mode), i = way == WAY_OPENING ? 0 : how % 16 % count;
    struct framed_bytes program = fuzz_program(&in), none = {0}, stream;
    struct ends e;
    struct bytes letter, said = {.len = 0};
    struct place place = place_of(mode, i);
    bool same;
    if (!begin(&e, mode, way == WAY_OPENING ? in : none, &same)) return 0;
    for (unsigned k = 0; k < i; k++) fuzz_must(pass(&e, k, program) == FRAMED_OK, "what is said is heard");
    if (way == WAY_PAYLOAD) {
        any_payload(&e, i, mode, in, program);
        return 0;
    }
    fuzz_must(say(&e, i, &said) == FRAMED_OK, "whose turn it is may speak");
    letter = said;
    stream = way == WAY_RAW ? in : way == WAY_PATCHED ? patch(&letter, in) : framed_bytes_of(said.at, said.len);
    same = same && stream.len >= said.len && memcmp(stream.at, said.at, said.len) == 0;
    struct verdict v = hear_all(&e.at[1 - i % 2], &place, stream, program);
    e.at[1 - i % 2] = v.hs;
    bool done = v.status == FRAMED_OK && goes_on(&e, i, count);
    fuzz_must(done == same, "both are done only with the opening and the message that were said");
    if (done) agree(&e);
    framed_handshake_fini(&e.at[0]);
    framed_handshake_fini(&e.at[1]);
    return 0;
}
