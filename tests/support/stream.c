/*
 * stream.c: builds streams byte by byte.
 * Must not know the library's encoder: the words are put together here.
 * Invariant: every byte behind a word depends on its place, so that frames cannot be mistaken for each other.
 */
#include "stream.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t *append(struct stream *s, size_t n)
{
    s->input = realloc(s->input, s->len + n + 1);
    if (s->input == NULL) abort();
    s->len += n;
    return s->input + s->len - n;
}

void stream_word(struct stream *s, uint32_t word, size_t n)
{
    uint8_t *at = append(s, 4);
    for (int i = 3; i >= 0; i--, word /= 256) at[i] = (uint8_t)(word % 256);
    size_t from = s->len;
    at = append(s, n);
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)((from + i) * 167 + (from + i) / 251);
}

void stream_frame(struct stream *s, size_t n)
{
    assert_true(s->frame_count < STREAM_FRAMES);
    stream_word(s, (uint32_t)n, n);
    s->starts[s->frame_count] = s->len - n;
    s->frames[s->frame_count++].len = n;
}

void stream_random(struct stream *s, uint64_t seed, size_t count, size_t most)
{
    uint64_t state = seed * 2 + 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t dice = splits_random(&state), n = splits_random(&state) >> 8;
        size_t bound = dice % 16 == 0 ? most : dice % 16 < 4 ? 1 : dice % 16 < 8 ? most / 16 : 24;
        stream_frame(s, (size_t)(n % (bound + 1)));
    }
}

struct drive stream_drive(struct stream *s, const char *name, uint32_t max_frame, enum framed_status ends, unsigned ways,
                          struct guard *guard, struct meter *meter)
{
    for (size_t i = 0; i < s->frame_count; i++) s->frames[i].at = s->input + s->starts[i];
    return (struct drive){.name = name,
                          .max_frame = max_frame,
                          .input = framed_bytes_of(s->input, s->len),
                          .frames = s->frames,
                          .frame_count = s->frame_count,
                          .ends = ends,
                          .ways = ways,
                          .guard = guard,
                          .meter = meter};
}

void stream_free(struct stream *s)
{
    free(s->input);
    *s = (struct stream){0};
}
