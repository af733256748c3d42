/*
 * summed.h: a frame with a checksum (PROTOCOL.md §8) that comes in pieces: the payload passes, the trailer is kept and compared.
 */
#ifndef FRAMED_CLI_SUMMED_H
#define FRAMED_CLI_SUMMED_H

#include <framed/secure.h>
#include <string.h>

struct summed {
    struct framed_sum sum;
    uint32_t left; /* of the payload */
    uint32_t got;  /* of the trailer */
    uint8_t trailer[FRAMED_SUM_MOST];
};

/* A frame whose payload has `len` bytes begins. */
static inline void summed_begin(struct summed *s, uint32_t len, const struct framed_sum_place *place)
{
    framed_sum_begin(&s->sum, len, place);
    s->left = len;
    s->got = 0;
}

/* The next bytes of it, of which no more may come than there are; returns those of the payload. */
static inline struct framed_bytes summed_payload(struct summed *s, struct framed_bytes data)
{
    size_t n = data.len < s->left ? data.len : s->left;
    s->left -= (uint32_t)n;
    framed_sum_more(&s->sum, data.at, n);
    for (size_t i = n; i < data.len; i++) s->trailer[s->got++] = data.at[i];
    return framed_bytes_of(data.at, n);
}

/* Behind its last byte. */
static inline bool summed_is_right(struct summed *s)
{
    uint8_t sum[FRAMED_SUM_MOST];
    framed_sum_end(&s->sum, sum);
    return memcmp(sum, s->trailer, s->got) == 0;
}

#endif
