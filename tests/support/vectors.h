/*
 * vectors.h: reads the language-neutral cases of proto/vectors (their format is in the head of each file), and examples of PROTOCOL.md.
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

/* opening.txt: how connections begin. */
struct opening_case {
    char name[96];
    bool to_acceptor;  /* who reads */
    uint8_t modes[16]; /* that the acceptor accepts; the connector's one */
    size_t mode_count;
    bool plain; /* the acceptor accepts plain connections too */
    uint8_t *input;
    size_t input_len;

    enum framed_status ends; /* FRAMED_OK: it opens */
    bool opens_plain;
    uint8_t mode;
    bool has_hello;
    uint32_t max_frame, max_calls, window, max_message; /* 0: does not belong */
    uint8_t *key_id;                                    /* NULL: does not belong */
    size_t key_id_len;
    size_t rest;
    char fault[32];
    uint32_t at;
};

struct opening_cases {
    struct opening_case *at;
    size_t n;
};

/* Tables of PROTOCOL.md §8.3: a frame with its trailer, in its place. */
struct sum_case {
    bool from_acceptor;
    uint64_t counter;
    char payload[16];
    uint8_t *frame; /* length word, payload, trailer */
    size_t frame_len;
};

struct sum_cases {
    struct sum_case *at;
    size_t n;
};

/* Each reads its whole file, and fails the running cmocka test, naming the line, when that cannot be understood. */
void vectors_load(struct vectors *vectors, const char *path);
void vectors_free(struct vectors *vectors);
void word_cases_load(struct word_cases *cases, const char *path);
void word_cases_free(struct word_cases *cases);

/* `fence`: only what stands between lines ```fence and ``` (PROTOCOL.md); NULL: the whole file. */
void opening_cases_load(struct opening_cases *cases, const char *path, const char *fence);
void opening_cases_free(struct opening_cases *cases);

/* Of PROTOCOL.md the rows of the tables below `heading`, a whole line of it. */
void sum_cases_load(struct sum_cases *cases, const char *path, const char *heading);
void sum_cases_free(struct sum_cases *cases);

#endif
