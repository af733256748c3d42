/*
 * walk.c: framed_reader_next against a bare loop that walks the headers of the same 64 KiB, in alternating runs; with -j as a
 * line of JSON for each size, with memcpy of all of it beside.
 * Must not know how the reader works. Invariants: both loops touch the length and the payload's place of every frame, and both
 * see the same frames; the compiler cannot tell that nobody uses them.
 */
#define _GNU_SOURCE 1
#include "load.h"
#include <framed/frame.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 64 << 10, ROUNDS = 31, BYTES_PER_RUN = 192 << 20 };

static const double TARGET = 1.2;

static uint8_t buffer[BUFFER];

/* Where the reader and what it answers lie, in relation to the buffer, makes a difference to the processor: each round elsewhere. */
struct place {
    struct framed_reader reader;
    struct framed_bytes payload;
};
enum { PLACE_STEP = 208 };
static _Alignas(4096) uint8_t places[ROUNDS * PLACE_STEP + sizeof(struct place)];

/* Stands for a user of the frame: the compiler must have both values at hand here, and may forget them afterwards. */
static inline void use(const uint8_t *payload, size_t len)
{
    __asm__ volatile("" : : "r"(payload), "r"(len) : "memory");
}

/* The same value, but the compiler cannot conclude anything from what is found out about the copy. */
static inline size_t opaque(size_t value)
{
    __asm__ volatile("" : "+r"(value));
    return value;
}

static size_t fill(size_t payload)
{
    size_t used = 0;
    while (BUFFER - used >= FRAMED_LENGTH_SIZE + payload) {
        uint8_t word[FRAMED_LENGTH_SIZE] = {(uint8_t)(payload >> 24), (uint8_t)(payload >> 16), (uint8_t)(payload >> 8),
                                            (uint8_t)payload};
        memcpy(buffer + used, word, sizeof word);
        memset(buffer + used + sizeof word, 'f', payload);
        used += sizeof word + payload;
    }
    return used;
}

static inline uint32_t read_word(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Both loops return where the last whole frame ended, or where they began. */
__attribute__((noinline)) static const uint8_t *walk_bare(const uint8_t *at, size_t n)
{
    const uint8_t *end = at + n;
    while ((size_t)(end - at) >= FRAMED_LENGTH_SIZE) {
        uint32_t len = read_word(at);
        if (len > (size_t)(end - at) - FRAMED_LENGTH_SIZE) break;
        at += FRAMED_LENGTH_SIZE;
        use(at, len);
        at += len;
    }
    return at;
}

__attribute__((noinline)) static const uint8_t *walk_reader(struct place *p, uint8_t *at, size_t n)
{
    p->payload = framed_bytes_of(at, 0);
    if (framed_reader_feed(&p->reader, at, n) != FRAMED_OK) abort();
    while (framed_reader_next(&p->reader, &p->payload) == FRAMED_OK) use(p->payload.at, p->payload.len);
    return p->payload.at + p->payload.len;
}

static void *no_memory(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)at;
    (void)old_size;
    (void)new_size;
    return NULL; /* whole frames need none */
}

/* Nanoseconds per frame of copying all of it, which is what whoever wants the frames elsewhere pays. */
static double run_copy(size_t n, uint64_t frames)
{
    static uint8_t elsewhere[BUFFER];
    unsigned passes = BYTES_PER_RUN / BUFFER / 4;
    uint64_t start = load_clock_ns();
    for (unsigned i = 0; i < passes; i++) {
        memcpy(elsewhere, buffer, n);
        use(elsewhere, n);
    }
    return (double)(load_clock_ns() - start) / (double)(frames * passes);
}

/*
 * Nanoseconds per frame; `place` NULL: the bare loop. Where a pass begins is computed from where the one before ended, so
 * that no processor begins the next 64 KiB before it is through with these: in life a receive lies between.
 */
static double run(struct place *place, size_t n, uint64_t frames)
{
    unsigned passes = BYTES_PER_RUN / BUFFER;
    uint8_t *at = buffer;
    uint64_t start = load_clock_ns();
    for (unsigned i = 0; i < passes; i++) {
        const uint8_t *end = place != NULL ? walk_reader(place, at, n) : walk_bare(at, n);
        size_t missed = n - (size_t)(end - buffer);
        at = buffer + missed;
        if (opaque(missed) != 0) {
            fputs("walk: not every frame was found\n", stderr);
            exit(1);
        }
    }
    return (double)(load_clock_ns() - start) / (double)(frames * passes);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values; *spread is half of the range of their middle half. */
static double median(double values[ROUNDS], double *spread)
{
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    *spread = (values[ROUNDS * 3 / 4] - values[ROUNDS / 4]) / 2;
    return values[ROUNDS / 2];
}

static void compare(size_t payload, bool json)
{
    static const struct framed_allocator alloc = {no_memory, NULL};
    double ours[ROUNDS];
    double bare[ROUNDS];
    double ratio[ROUNDS];
    double noise[ROUNDS];
    double copy[ROUNDS];
    double ratio_spread;
    double noise_spread;
    double ignored;
    size_t n = fill(payload);
    uint64_t frames = n / (FRAMED_LENGTH_SIZE + payload);
    run(NULL, n, frames);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct place *place = (struct place *)(void *)(places + i * PLACE_STEP);
        framed_reader_init(&place->reader, 0, 0, &alloc);
        bare[i] = run(NULL, n, frames);
        ours[i] = run(place, n, frames);
        framed_reader_fini(&place->reader);
        noise[i] = run(NULL, n, frames) / bare[i];
        ratio[i] = ours[i] / bare[i];
        copy[i] = json ? run_copy(n, frames) : 0;
    }
    double middle = median(ratio, &ratio_spread);
    double noise_middle = median(noise, &noise_spread);
    double bare_middle = median(bare, &ignored);
    if (json) {
        printf(
            "{\"payload\": %zu, \"framed_ns\": %.3f, \"bare_ns\": %.3f, \"memcpy_ns\": %.3f, \"ratio\": %.4f, \"spread\": "
            "%.4f, \"noise\": %.4f}\n",
            payload, median(ours, &ignored), bare_middle, median(copy, &ignored), middle, ratio_spread, noise_spread);
        return;
    }
    printf("  %4zu B frames, ns/frame    %9.2f  %10.2f  %6.3f  %6.3f  <= %.2f %s\n", payload, median(ours, &ignored),
           bare_middle, middle, ratio_spread, TARGET, middle <= TARGET + noise_spread ? "ok" : "OVER");
    printf("    bare loop against itself %9s  %10.2f  %6.3f  %6.3f\n", "", bare_middle, noise_middle, noise_spread);
}

int main(int argc, char **argv)
{
    static const size_t payloads[] = {16, 64, 256, 1024};
    bool json = argc == 2 && strcmp(argv[1], "-j") == 0;
    if (argc > 1 && !json) {
        fputs("usage: walk [-j]\n", stderr);
        return 2;
    }
    if (!json) {
        printf("walk: framed_reader_next against a bare loop over 64 KiB\n  %-24s  %10s  %10s  %6s  %6s  target\n", "",
               "ours", "bare", "ratio", "spread");
    }
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) compare(payloads[i], json);
    return fflush(stdout) == 0 ? 0 : 6;
}
