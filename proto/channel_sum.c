/*
 * channel_sum.c: adds and checks CRC32C trailers (PROTOCOL.md §8).
 * Must not know which frame comes next: it is told.
 * Invariant: what add() writes, check() accepts in the same place, and nowhere else but by chance (one in 2^32).
 */
#include "be.h"
#include <framed/secure.h>

enum { HEAD = 1 + 8 + 4 }; /* direction, counter, length as on the wire */

uint32_t framed_sum_start(size_t n, const struct framed_sum_place *place)
{
    uint8_t head[HEAD];
    head[0] = (uint8_t)place->from;
    be64_put(head + 1, place->counter);
    be32_put(head + 9, (uint32_t)(n + FRAMED_SUM_SIZE));
    uint32_t crc = place->preface != NULL ? framed_crc32c(0, place->preface, 4) : 0;
    return framed_crc32c(crc, head, sizeof head);
}

uint32_t framed_sum_of(struct framed_bytes payload, const struct framed_sum_place *place)
{
    return framed_crc32c(framed_sum_start(payload.len, place), payload.at, payload.len);
}

enum framed_status framed_sum_add(uint8_t *payload, size_t n, const struct framed_sum_place *place)
{
    if (n > FRAMED_FRAME_MOST - FRAMED_SUM_SIZE) return FRAMED_TOO_LARGE;
    be32_put(payload + n, framed_sum_of(framed_bytes_of(payload, n), place));
    return FRAMED_OK;
}

enum framed_status framed_sum_check(struct framed_bytes *payload, const struct framed_sum_place *place)
{
    if (payload->len < FRAMED_SUM_SIZE) return FRAMED_MALFORMED;
    struct framed_bytes inner = framed_bytes_of(payload->at, payload->len - FRAMED_SUM_SIZE);
    if (be32_get(inner.at + inner.len) != framed_sum_of(inner, place)) return FRAMED_MALFORMED;
    *payload = inner;
    return FRAMED_OK;
}
