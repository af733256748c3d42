/*
 * fuzz.h: the shape that every harness has, and how it reads its choices out of the input.
 *
 * A harness is one function: it runs its input, holds what comes out against what must come out, and ends the program
 * (fuzz_must) when they differ. It leaves nothing behind, and does the same for the same input every time. libFuzzer, AFL++,
 * the replay in the tests and the coverage report all call the same functions.
 *
 * Inputs of the harnesses that have a stream of bytes begin with a few bytes of setup; then one byte n and a program of n
 * bytes, which says what is done with the stream; the rest is the stream, as it would be on the wire.
 */
#ifndef FRAMED_FUZZ_H
#define FRAMED_FUZZ_H

#include <framed/base.h>
#include <stdbool.h>

int framed_fuzz_reader(const uint8_t *at, size_t n);
int framed_fuzz_writer(const uint8_t *at, size_t n);
int framed_fuzz_server(const uint8_t *at, size_t n);
int framed_fuzz_client(const uint8_t *at, size_t n);
int framed_fuzz_options(const uint8_t *at, size_t n);
int framed_fuzz_inspect(const uint8_t *at, size_t n);
int framed_fuzz_opening(const uint8_t *at, size_t n);
int framed_fuzz_key_files(const uint8_t *at, size_t n);
#ifdef FRAMED_SODIUM
int framed_fuzz_handshake(const uint8_t *at, size_t n);
int framed_fuzz_records(const uint8_t *at, size_t n);
#endif

struct fuzz_harness {
    const char *name;
    int (*run)(const uint8_t *at, size_t n);
};

/* Ends with a NULL name. */
extern const struct fuzz_harness fuzz_harnesses[];

/* NULL: there is none of that name. */
const struct fuzz_harness *fuzz_find(const char *name);

/* Ends the program, saying so, when a property does not hold. */
void fuzz_must(bool holds, const char *property);

/* ---- reading the input ---- */

/* The modes of an opening that are built, in the order in which the inputs of harness `opening` choose among them. */
#define FUZZ_MODES                                                                                                          \
    {                                                                                                                       \
        0x00, 0x01, 0x10, 0x11, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1                                                          \
    }

/* Takes it off the front of *in; zero when *in is used up. */
uint8_t fuzz_byte(struct framed_bytes *in);
uint32_t fuzz_word(struct framed_bytes *in); /* four bytes, big-endian */

/* One of n numbers, chosen by the next byte. */
uint32_t fuzz_choice(struct framed_bytes *in, const uint32_t *of, size_t n);

/* Takes the byte n, and n bytes (fewer if there are not as many). */
struct framed_bytes fuzz_program(struct framed_bytes *in);

/* A length made of one byte: the small ones as they are, then in steps up to 4096 and, last, SIZE_MAX for all there is. */
size_t fuzz_length(uint8_t byte);

/* A stream of large frames out of few bytes: a frame for each pair (its first byte, how long it is: up to 70,000 bytes); at most
 * 512 KiB. *memory is the caller's to free. */
struct framed_bytes fuzz_long_frames(struct framed_bytes in, uint8_t **memory);

/* ---- what the wire says, told by an oracle that shares nothing with the library ---- */

struct fuzz_frames {
    struct framed_bytes *at; /* into the stream */
    size_t n;
    enum framed_status ends; /* FRAMED_CLOSED, FRAMED_TRUNCATED, FRAMED_TOO_LARGE */
    uint32_t claimed;        /* the word that was too large */
};

void fuzz_frames_read(struct fuzz_frames *frames, struct framed_bytes stream, uint32_t max_frame);
void fuzz_frames_free(struct fuzz_frames *frames);

bool fuzz_same(struct framed_bytes a, struct framed_bytes b);

/* ---- seeds ---- */

/* Calls seed(ctx, name, at, n) for each input that proto/vectors gives for this harness, the ones above 16 KiB left out. */
void fuzz_seeds(const char *harness, void (*seed)(void *ctx, const char *name, const uint8_t *at, size_t n), void *ctx);

#endif
