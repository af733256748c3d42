/*
 * buf.c: bytes with an owner and a ceiling.
 * Must not know what the bytes mean.
 * Invariant: len <= cap, and cap is exactly what was asked of the allocator.
 */
#include "alloc.h"
#include "be.h"
#include <string.h>

enum framed_status framed_buf_reserve(struct framed_buf *buf, size_t more, size_t ceiling,
                                      const struct framed_allocator *alloc)
{
    check(buf->len <= buf->cap);
    if (more <= buf->cap - buf->len) return FRAMED_OK;
    if (buf->len > ceiling || more > ceiling - buf->len) return FRAMED_TOO_LARGE;

    size_t need = buf->len + more;
    size_t cap = buf->cap <= ceiling / 2 ? buf->cap * 2 : ceiling; /* doubling keeps the cost of growing linear */
    if (cap < need) cap = need;
    uint8_t *at = mem_resize(alloc, buf->at, buf->cap, cap);
    if (at == NULL) return FRAMED_NOMEM;
    buf->at = at;
    buf->cap = cap;
    return FRAMED_OK;
}

enum framed_status framed_buf_append(struct framed_buf *buf, struct framed_bytes bytes, size_t ceiling,
                                     const struct framed_allocator *alloc)
{
    enum framed_status st = framed_buf_reserve(buf, bytes.len, ceiling, alloc);
    if (st != FRAMED_OK) return st;
    if (bytes.len > 0) memcpy(buf->at + buf->len, bytes.at, bytes.len);
    buf->len += bytes.len;
    return FRAMED_OK;
}

void framed_buf_fini(struct framed_buf *buf, const struct framed_allocator *alloc)
{
    mem_free(alloc, buf->at, buf->cap);
    *buf = (struct framed_buf){0};
}
