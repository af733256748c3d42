/*
 * fuzz_records.c: the records of encrypted connections: one direction that seals, for a receiver that hears it all, and one that opens
 * what a liar makes who has the key, or who has not.
 * Must not know how a record is made: the liar has Noise's cipher, and counts for itself.
 * Invariants: every record is a block of its own, exactly as long as it is; the model is written from PROTOCOL.md §9 alone.
 *
 * Input: a byte that says at which record it begins; then operations of four bytes: what, a type, a length, and a place in it; until
 * the input is used up.
 */
#include "channel_noise.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

enum operation { OP_SEAL, OP_FORGE, OP_FLIP, OP_CUT, OP_EXTEND, OP_AGAIN, OP_RAW, OP_COUNT };

enum { WORD = 4, TAG = 16, BODY_MOST = 65518, LAST = 512 };

/* What a direction may do next. */
struct model {
    uint64_t n;
    unsigned pads;
    bool closed;
    enum framed_status failed;
};

struct run {
    struct framed_records out, twin, in;
    struct framed_noise_cipher liar; /* has the key that `in` has */
    struct model sealed, opened;
    uint8_t last[LAST]; /* what `in` heard last, if it is not longer than this */
    size_t last_len;
};

struct step {
    enum operation what;
    uint8_t type;
    size_t len;
    uint8_t where;
};

static uint8_t *made(size_t n)
{
    uint8_t *at = malloc(n > 0 ? n : 1);
    fuzz_must(at != NULL, "there is memory for the harness");
    memset(at, 0x5a, n);
    return at;
}

static bool may(const struct model *m, unsigned type, size_t n)
{
    if (m->failed != FRAMED_OK || m->closed || m->n == UINT64_MAX || n > BODY_MOST) return false;
    return (type == 0 && n > 0) || (type == 1 && n == 1) || (type == 2 && m->pads < 16);
}

static void count(struct model *m, unsigned type)
{
    m->n++;
    m->pads = type == 2 ? m->pads + 1 : 0;
    m->closed = type == 1;
}

static void agrees(const struct framed_records *r, const struct model *m)
{
    static const struct framed_noise_cipher nothing;
    bool over = m->closed || m->failed != FRAMED_OK;
    fuzz_must(r->closed == (m->closed && m->failed == FRAMED_OK), "it is closed by CLOSE, and by nothing else");
    fuzz_must(!over || memcmp(&r->cipher, &nothing, sizeof nothing) == 0, "behind the last record there is no key");
    fuzz_must(over || (r->cipher.keyed && r->cipher.n == m->n), "it counts its records");
}

/* Hands `len` bytes to `in`, which must say `wanted`, and what is in them if that is OK. */
static void hear(struct run *r, const uint8_t *at, size_t len, enum framed_status wanted, unsigned type)
{
    uint8_t *record = made(len);
    enum record_type is = (enum record_type)99;
    struct framed_bytes body = {0};
    memcpy(record, at, len);
    if (r->opened.failed != FRAMED_OK)
        wanted = r->opened.failed;
    else if (r->opened.closed || r->opened.n == UINT64_MAX || len < 1 + TAG || len > 65535)
        wanted = FRAMED_MALFORMED;
    enum framed_status st = framed_record_open(&r->in, record, len, &is, &body);
    fuzz_must(st == wanted, "a record opens if it is the next one, and says so if it is not");
    if (st == FRAMED_OK) {
        fuzz_must(is == type && body.at == record + 1 && body.len == len - 1 - TAG, "it opens with what was sealed in it");
        for (size_t i = 0; i < body.len; i++) fuzz_must(body.at[i] == 0x5a, "it opens with what was sealed in it");
        count(&r->opened, type);
    } else {
        fuzz_must(is == 99 && body.at == NULL, "a failure says nothing");
        r->opened.failed = st;
    }
    agrees(&r->in, &r->opened);
    free(record);
}

/* A frame sealed by ours, for the receiver that hears it all. */
static void seal(struct run *r, const struct step *s)
{
    size_t n = 5 + s->len + TAG;
    uint8_t *record = made(n), *before = made(n);
    bool can = may(&r->sealed, s->type, s->len);
    enum framed_status st = framed_record_seal(&r->out, (enum record_type)s->type, record, s->len);
    fuzz_must(st == (can ? FRAMED_OK : FRAMED_USAGE), "what may be sealed is sealed, and nothing else");
    if (!can) {
        fuzz_must(memcmp(record, before, n) == 0, "what is not sealed is not touched");
    } else {
        enum record_type is;
        struct framed_bytes body;
        fuzz_must(record[0] == 0 && record[1] == 0 && record[2] == (n - WORD) >> 8 && record[3] == ((n - WORD) & 255),
                  "the length word counts type, body and tag");
        fuzz_must(framed_record_open(&r->twin, record + WORD, n - WORD, &is, &body) == FRAMED_OK, "what is sealed opens");
        fuzz_must(is == s->type && body.len == s->len && memcmp(body.at, before, body.len) == 0,
                  "it opens with what was sealed in it");
        count(&r->sealed, s->type);
    }
    agrees(&r->out, &r->sealed);
    agrees(&r->twin, &r->sealed);
    free(record);
    free(before);
}

/* What a peer with the key sends, and what becomes of it on the way. */
static void lie(struct run *r, const struct step *s)
{
    size_t n = 1 + s->len + TAG, spare = s->what == OP_EXTEND ? 1u + s->where : 0;
    uint8_t *record = made(n + spare);
    record[0] = s->type;
    struct framed_noise_cipher next = r->liar;
    bool sealed = framed_noise_encrypt(&next, framed_bytes_of(NULL, 0), record, n - TAG) == FRAMED_OK;
    if (s->what == OP_FORGE && sealed) {
        bool can = may(&r->opened, s->type, s->len);
        hear(r, record, n, can ? FRAMED_OK : FRAMED_MALFORMED, s->type);
        if (next.n % 65536 == 0) fuzz_must(framed_noise_rekey(&next) == FRAMED_OK, "a cipher with a key has another");
        r->liar = next;
        r->last_len = n <= LAST ? n : 0;
        memcpy(r->last, record, r->last_len);
    } else if (s->what == OP_CUT) {
        hear(r, record, s->where % n, FRAMED_AUTH, 0);
    } else if (s->what == OP_EXTEND) {
        hear(r, record, n + spare, FRAMED_AUTH, 0);
    } else {
        record[s->where % n] ^= (uint8_t)(1u << s->where % 8);
        hear(r, record, n, FRAMED_AUTH, 0);
    }
    free(record);
}

static void step(struct run *r, const struct step *s, struct framed_bytes rest)
{
    switch (s->what) {
    case OP_SEAL: seal(r, s); break;
    case OP_AGAIN: hear(r, r->last, r->last_len, FRAMED_AUTH, 0); break;
    case OP_RAW: hear(r, rest.at, rest.len, FRAMED_AUTH, 0); break;
    default: lie(r, s);
    }
}

static struct framed_records direction(uint8_t label, uint64_t n)
{
    struct framed_records r = {.cipher = {.keyed = true, .n = n}};
    memset(r.cipher.key, label, sizeof r.cipher.key);
    return r;
}

int framed_fuzz_records(const uint8_t *at, size_t n)
{
    static const uint64_t begins[] = {0, 65534, UINT64_MAX - 3, 131071};
    struct framed_bytes in = framed_bytes_of(at, n);
    uint64_t first = begins[fuzz_byte(&in) % 4];
    struct run r = {.out = direction(1, first), .in = direction(2, first), .sealed = {.n = first}, .opened = {.n = first}};
    r.twin = r.out;
    r.liar = r.in.cipher;
    while (in.len > 0) {
        struct step s = {.what = fuzz_byte(&in) % OP_COUNT, .type = fuzz_byte(&in)};
        uint8_t len = fuzz_byte(&in);
        s.len = len == 255 ? BODY_MOST : len == 254 ? BODY_MOST + 1 : fuzz_length(len);
        s.where = fuzz_byte(&in);
        step(&r, &s, in);
    }
    framed_records_fini(&r.out);
    framed_records_fini(&r.in);
    fuzz_must(framed_record_seal(&r.out, RECORD_DATA, NULL, 1) == FRAMED_USAGE, "nothing is sealed without a key");
    return 0;
}
