/*
 * channel_sum.c: makes and checks the trailers of frames (PROTOCOL.md §8).
 * Must not know which frame comes next: it is told.
 * Invariant: what add() writes, check() accepts in the same place, and nowhere else but by chance (one in 2^32, or in 2^128).
 */
#include "channel_sum.h"
#include "be.h"
#include "crc32c.h"
#include <string.h>
#ifdef FRAMED_SODIUM
#include <sodium.h>
#endif

/* ---- CRC32C ---- */

static inline uint32_t crc32c_of(size_t len, const struct framed_sum_place *place, const void *at, size_t n)
{
    const struct crc32c_head head = {
        .counter = place->counter, .length = (uint32_t)(len + FRAMED_SUM_SIZE), .direction = (uint8_t)place->from};
    uint32_t crc = place->preface != NULL ? framed_crc32c(0, place->preface, FRAMED_PREFACE_SIZE) : 0;
    return framed_crc32c_headed(crc, &head, at, n);
}

uint32_t framed_sum_start(size_t n, const struct framed_sum_place *place)
{
    return crc32c_of(n, place, NULL, 0);
}

uint32_t framed_sum_of(struct framed_bytes payload, const struct framed_sum_place *place)
{
    return crc32c_of(payload.len, place, payload.at, payload.len);
}

/* ---- BLAKE2b ---- */

#ifdef FRAMED_SODIUM

enum { HEAD = 1 + 8 + 4 }; /* direction, counter, length as on the wire */

static void put_head(uint8_t head[HEAD], size_t n, const struct framed_sum_place *place, size_t trailer)
{
    head[0] = (uint8_t)place->from;
    be64_put(head + 1, place->counter);
    be32_put(head + 9, (uint32_t)(n + trailer));
}

bool framed_has_blake2b(void)
{
    return true;
}

/* libsodium wants its state on a border of 64 bytes; the sum may lie anywhere, but must not move. */
static crypto_generichash_blake2b_state *state_of(struct framed_sum *s)
{
    _Static_assert(sizeof(crypto_generichash_blake2b_state) + 56 <= sizeof s->blake2b, "room to move it");
    return (crypto_generichash_blake2b_state *)(((uintptr_t)s->blake2b + 63) & ~(uintptr_t)63);
}

static void blake2b_begin(struct framed_sum *s, size_t n, const struct framed_sum_place *place)
{
    uint8_t head[HEAD];
    put_head(head, n, place, FRAMED_SUM_MOST);
    (void)crypto_generichash_blake2b_init(state_of(s), NULL, 0, FRAMED_SUM_MOST);
    if (place->preface != NULL) (void)crypto_generichash_blake2b_update(state_of(s), place->preface, 4);
    (void)crypto_generichash_blake2b_update(state_of(s), head, sizeof head);
}

static void blake2b_more(struct framed_sum *s, const void *at, size_t n)
{
    (void)crypto_generichash_blake2b_update(state_of(s), at, n);
}

static void blake2b_end(struct framed_sum *s, uint8_t *trailer)
{
    (void)crypto_generichash_blake2b_final(state_of(s), trailer, FRAMED_SUM_MOST);
}

#else

bool framed_has_blake2b(void)
{
    return false;
}

static void blake2b_begin(struct framed_sum *s, size_t n, const struct framed_sum_place *place)
{
    (void)n, (void)place;
    check(s == NULL); /* whoever asks for it has not looked whether it is built */
}

static void blake2b_more(struct framed_sum *s, const void *at, size_t n)
{
    (void)s, (void)at, (void)n;
}

static void blake2b_end(struct framed_sum *s, uint8_t *trailer)
{
    (void)s;
    memset(trailer, 0, FRAMED_SUM_MOST);
}

#endif

/* ---- both ---- */

void framed_sum_begin(struct framed_sum *s, size_t n, const struct framed_sum_place *place)
{
    s->with = place->with;
    if (s->with == FRAMED_BLAKE2B)
        blake2b_begin(s, n, place);
    else
        s->crc = framed_sum_start(n, place);
}

void framed_sum_more(struct framed_sum *s, const void *at, size_t n)
{
    if (s->with == FRAMED_BLAKE2B)
        blake2b_more(s, at, n);
    else
        s->crc = framed_crc32c(s->crc, at, n);
}

void framed_sum_end(struct framed_sum *s, uint8_t trailer[FRAMED_SUM_MOST])
{
    if (s->with == FRAMED_BLAKE2B)
        blake2b_end(s, trailer);
    else
        be32_put(trailer, s->crc);
}

/* Never inlined: a CRC32C needs no room for the state. */
__attribute__((noinline)) static void put_blake2b(struct framed_bytes payload, const struct framed_sum_place *place,
                                                  uint8_t *trailer)
{
    struct framed_sum s;
    framed_sum_begin(&s, payload.len, place);
    blake2b_more(&s, payload.at, payload.len);
    blake2b_end(&s, trailer);
}

void framed_sum_put(struct framed_bytes payload, const struct framed_sum_place *place, uint8_t *trailer)
{
    if (place->with == FRAMED_BLAKE2B)
        put_blake2b(payload, place, trailer);
    else
        be32_put(trailer, framed_sum_of(payload, place));
}

/* Of the trailers there are. */
static size_t size_of(const struct framed_sum_place *place)
{
    return place->with == FRAMED_BLAKE2B ? FRAMED_SUM_MOST : FRAMED_SUM_SIZE;
}

enum framed_status framed_sum_add(uint8_t *payload, size_t n, const struct framed_sum_place *place)
{
    if (n > FRAMED_FRAME_MOST - size_of(place)) return FRAMED_TOO_LARGE;
    framed_sum_put(framed_bytes_of(payload, n), place, payload + n);
    return FRAMED_OK;
}

/* No comparison in constant time: nobody is kept out by it. */
__attribute__((noinline)) static bool blake2b_is_right(struct framed_bytes inner, const struct framed_sum_place *place)
{
    uint8_t sum[FRAMED_SUM_MOST];
    put_blake2b(inner, place, sum);
    return memcmp(sum, inner.at + inner.len, sizeof sum) == 0;
}

enum framed_status framed_sum_check(struct framed_bytes *payload, const struct framed_sum_place *place)
{
    size_t size = size_of(place);
    if (payload->len < size) return FRAMED_MALFORMED;
    struct framed_bytes inner = framed_bytes_of(payload->at, payload->len - size);
    bool right = place->with == FRAMED_BLAKE2B ? blake2b_is_right(inner, place)
                                               : be32_get(inner.at + inner.len) == framed_sum_of(inner, place);
    if (!right) return FRAMED_MALFORMED;
    *payload = inner;
    return FRAMED_OK;
}
