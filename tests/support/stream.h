/*
 * stream.h: streams made by the tests themselves: frames of chosen lengths with contents that tell them apart.
 */
#ifndef FRAMED_TESTS_STREAM_H
#define FRAMED_TESTS_STREAM_H

#include "drive.h"
#include <framed/base.h>

enum { STREAM_FRAMES = 512 };

/* All zero is the empty stream. Frames point into `input` only after stream_done. */
struct stream {
    uint8_t *input;
    size_t len;
    struct framed_bytes frames[STREAM_FRAMES];
    size_t frame_count;
    size_t starts[STREAM_FRAMES]; /* of their payloads in the input */
};

/* Appends a frame of n bytes. */
void stream_frame(struct stream *stream, size_t n);

/* Appends a length word alone, and `n` bytes behind it: a frame that is cut, or none at all. */
void stream_word(struct stream *stream, uint32_t word, size_t n);

/* Appends `count` frames of random lengths: mostly small, some empty, a few up to `most`. */
void stream_random(struct stream *stream, uint64_t seed, size_t count, size_t most);

/* What drive_reader and drive_scan need of it. Nothing may be appended afterwards. */
struct drive stream_drive(struct stream *stream, const char *name, uint32_t max_frame, enum framed_status ends,
                          unsigned ways, struct guard *guard, struct meter *meter);

void stream_free(struct stream *stream);

#endif
