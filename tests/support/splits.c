/*
 * splits.c: the every-split runner.
 * Must not know what the pieces are fed to.
 * Invariants: ends ascend, and the last one is the length; the same length gives the same cuts.
 */
#include "splits.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONG = 16 << 10, SHORT = 64, CLOSE = 8, STRIDE = 997 };

struct cutter {
    size_t len;
    split_fn *run;
    void *ctx;
};

static void cut(const struct cutter *c, const size_t *ends, size_t n, const char *name)
{
    struct split split = {.ends = ends, .n = n, .name = name};
    c->run(c->ctx, &split);
}

static void cut_once(const struct cutter *c, size_t at)
{
    char name[40];
    snprintf(name, sizeof name, "cut at %zu", at);
    size_t ends[2] = {at, c->len};
    cut(c, ends, 2, name);
}

static void cut_to_bytes(const struct cutter *c, size_t *ends)
{
    if (c->len == 0) return;
    for (size_t i = 0; i < c->len; i++) ends[i] = i + 1;
    cut(c, ends, c->len, "byte by byte");
}

uint64_t splits_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1du;
}

/* Pieces of 0 bytes up to a bound that differs from run to run, so that small and large ones both occur. */
static void cut_at_random(const struct cutter *c, size_t *ends, unsigned run)
{
    uint64_t state = 0x9e3779b97f4a7c15u ^ ((uint64_t)c->len << 20) ^ run;
    size_t bound = (size_t)2 << (splits_random(&state) % 12);
    size_t n = 0, piece = 1;
    for (size_t at = 0; at < c->len; n++) {
        bool was_empty = piece == 0; /* never two empty ones in a row: `ends` has an end */
        piece = (size_t)(splits_random(&state) % bound);
        if (was_empty && piece == 0) piece = 1;
        at += piece < c->len - at ? piece : c->len - at;
        ends[n] = at;
    }
    if (n == 0) ends[n++] = 0;
    char name[40];
    snprintf(name, sizeof name, "random cuts, run %u", run);
    cut(c, ends, n, name);
}

static bool is_close(size_t a, size_t b)
{
    return (a < b ? b - a : a - b) <= CLOSE;
}

static bool is_interesting(size_t at, size_t len, size_t all_of, const size_t *near, size_t near_count)
{
    if (len <= all_of || at % STRIDE == 0 || is_close(at, 0) || is_close(at, len)) return true;
    for (size_t power = 1; power <= len && power > 0; power <<= 1)
        if (is_close(at, power)) return true;
    for (size_t i = 0; i < near_count; i++)
        if (is_close(at, near[i])) return true;
    return false;
}

static void every_way(size_t len, unsigned random, bool every_cut, const size_t *near, size_t near_count, split_fn *run,
                      void *ctx)
{
    struct cutter c = {.len = len, .run = run, .ctx = ctx};
    size_t *ends = malloc((2 * len + 2) * sizeof *ends);
    if (ends == NULL) abort();
    cut(&c, &len, 1, "whole");
    cut_to_bytes(&c, ends);
    bool few = getenv("FRAMED_FEW_CUTS") != NULL;
    for (size_t at = 0; at <= len; at++)
        if ((every_cut && !few) || is_interesting(at, len, few ? SHORT : LONG, near, near_count)) cut_once(&c, at);
    for (unsigned i = 0; i < random; i++) cut_at_random(&c, ends, i);
    free(ends);
}

void splits_each(size_t len, unsigned random, split_fn *run, void *ctx)
{
    every_way(len, random, true, NULL, 0, run, ctx);
}

void splits_some(size_t len, unsigned random, const size_t *near, size_t near_count, split_fn *run, void *ctx)
{
    every_way(len, random, getenv("FRAMED_EVERY_CUT") != NULL, near, near_count, run, ctx);
}
