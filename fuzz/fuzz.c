/*
 * fuzz.c: what the harnesses share: the choices in an input, the oracle of the wire, the end when a property fails.
 * Must not know how the library parses anything: the oracle is written from PROTOCOL.md §2 alone.
 * Invariant: reading past the end of an input gives zeros, never an error: every input means something.
 */
#include "fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct fuzz_harness fuzz_harnesses[] = {
    {"reader", framed_fuzz_reader},
    {"writer", framed_fuzz_writer},
    {"server", framed_fuzz_server},
    {"client", framed_fuzz_client},
    {"options", framed_fuzz_options},
    {"inspect", framed_fuzz_inspect},
    {"opening", framed_fuzz_opening},
    {"key_files", framed_fuzz_key_files},
#ifdef FRAMED_SODIUM
    {"handshake", framed_fuzz_handshake},
    {"records", framed_fuzz_records},
#endif
    {NULL, NULL},
};

const struct fuzz_harness *fuzz_find(const char *name)
{
    const struct fuzz_harness *h = fuzz_harnesses;
    while (h->name != NULL && strcmp(h->name, name) != 0) h++;
    return h->name != NULL ? h : NULL;
}

void fuzz_must(bool holds, const char *property)
{
    if (holds) return;
    fprintf(stderr, "fuzz: this does not hold: %s\n", property);
    abort();
}

uint8_t fuzz_byte(struct framed_bytes *in)
{
    if (in->len == 0) return 0;
    in->len--;
    return *in->at++;
}

uint32_t fuzz_word(struct framed_bytes *in)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) word = word << 8 | fuzz_byte(in);
    return word;
}

uint32_t fuzz_choice(struct framed_bytes *in, const uint32_t *of, size_t n)
{
    return of[fuzz_byte(in) % n];
}

struct framed_bytes fuzz_program(struct framed_bytes *in)
{
    size_t n = fuzz_byte(in);
    if (n > in->len) n = in->len;
    struct framed_bytes program = {in->at, n};
    in->at += n;
    in->len -= n;
    return program;
}

size_t fuzz_length(uint8_t byte)
{
    if (byte < 192) return byte;
    if (byte == 255) return SIZE_MAX;
    return (size_t)(byte - 191) * 65; /* up to 4095 */
}

struct framed_bytes fuzz_long_frames(struct framed_bytes in, uint8_t **memory)
{
    enum { MOST = 512 << 10, STEP = 17, LONGEST = 70000 };
    uint8_t *at = malloc(MOST);
    size_t n = 0;
    fuzz_must(at != NULL, "there is memory for the harness");
    *memory = at;
    while (in.len >= 2) {
        uint8_t first = fuzz_byte(&in);
        size_t len = fuzz_length(fuzz_byte(&in));
        len = len > 5000 ? LONGEST : len * STEP;
        if (4 + len > MOST - n) break;
        at[n++] = (uint8_t)(len >> 24);
        at[n++] = (uint8_t)(len >> 16);
        at[n++] = (uint8_t)(len >> 8);
        at[n++] = (uint8_t)len;
        for (size_t i = 0; i < len; i++) at[n + i] = (uint8_t)(i * 7 + n + i / 251);
        if (len > 0) at[n] = first;
        n += len;
    }
    return framed_bytes_of(at, n);
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)(at[0] * 16777216u + at[1] * 65536u + at[2] * 256u + at[3]);
}

void fuzz_frames_read(struct fuzz_frames *frames, struct framed_bytes stream, uint32_t max_frame)
{
    uint32_t most = max_frame == 0 ? 16777216u : max_frame > 2147483647u ? 2147483647u : max_frame;
    *frames = (struct fuzz_frames){.at = calloc(stream.len / 4 + 1, sizeof *frames->at), .ends = FRAMED_CLOSED};
    fuzz_must(frames->at != NULL, "there is memory for the oracle");
    while (stream.len >= 4) {
        uint32_t len = word_at(stream.at);
        if (len > most) {
            frames->ends = FRAMED_TOO_LARGE;
            frames->claimed = len;
            return;
        }
        if (stream.len - 4 < len) break;
        frames->at[frames->n++] = (struct framed_bytes){stream.at + 4, len};
        stream.at += 4 + len;
        stream.len -= 4 + len;
    }
    if (stream.len > 0) frames->ends = FRAMED_TRUNCATED;
}

void fuzz_frames_free(struct fuzz_frames *frames)
{
    free(frames->at);
}

bool fuzz_same(struct framed_bytes a, struct framed_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}
