/*
 * vectors.h: reads the language-neutral cases of proto/vectors (their format is in the head of each file).
 *
 * Tests run from the root of the repository; FRAMED_VECTORS names the directory for anybody else.
 */
#ifndef FRAMED_TESTS_VECTORS_H
#define FRAMED_TESTS_VECTORS_H

#include <framed/base.h>
#include <stdbool.h>

#ifndef FRAMED_VECTORS
#define FRAMED_VECTORS "proto/vectors"
#endif

/* frames.txt: what bytes mean. */
struct vector {
    char name[96];
    uint32_t max_frame;
    uint8_t *input;
    size_t input_len;
    struct framed_bytes *frames; /* expected, in order */
    size_t frame_count;
    enum framed_status ends; /* FRAMED_CLOSED, FRAMED_TRUNCATED or FRAMED_TOO_LARGE */
};

struct vectors {
    struct vector *at;
    size_t n;
};

/* words.txt: what a length word means. */
struct word_case {
    uint8_t word[4];
    uint32_t max_frame;
    bool is_legal;
    uint32_t len;  /* when legal */
    char hint[64]; /* "" when there is none */
};

struct word_cases {
    struct word_case *at;
    size_t n;
};

/* Each reads its whole file, and fails the running cmocka test, naming the line, when that cannot be understood. */
void vectors_load(struct vectors *vectors, const char *path);
void vectors_free(struct vectors *vectors);
void word_cases_load(struct word_cases *cases, const char *path);
void word_cases_free(struct word_cases *cases);

#endif
