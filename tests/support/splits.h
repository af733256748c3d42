/*
 * splits.h: the ways to cut the same bytes into pieces: at once, byte by byte, at every cut point, and at random.
 *
 * A fixed seed gives the same cuts every time.
 */
#ifndef FRAMED_TESTS_SPLITS_H
#define FRAMED_TESTS_SPLITS_H

#include <stddef.h>
#include <stdint.h>

/* One way to cut. Piece i ends at ends[i]; pieces may be empty; the last one ends at the length. */
struct split {
    const size_t *ends;
    size_t n;         /* pieces, at least one */
    const char *name; /* "whole", "cut at 7", ...: for messages; valid until the callback returns */
};

typedef void split_fn(void *ctx, const struct split *split);

/* Calls `run` with every way: whole, byte by byte, each single cut from 0 to len, and `random` seeded cuts into many pieces. */
void splits_each(size_t len, unsigned random, split_fn *run, void *ctx);

/* As splits_each, but of a long input (above 16 KiB) only every 997th single cut, those within 8 bytes of the ends, of powers of
 * two and of the `near` places given. With FRAMED_EVERY_CUT set in the environment (make check-long): every one.
 * With FRAMED_FEW_CUTS (make check and make cover: slow code, and make test has made the cuts), both do so with everything above 64 bytes. */
void splits_some(size_t len, unsigned random, const size_t *near, size_t near_count, split_fn *run, void *ctx);

/* A small random generator (xorshift*) for whoever needs repeatable dice. The state must not be 0. */
uint64_t splits_random(uint64_t *state);

#endif
