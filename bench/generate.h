/*
 * generate.h: a load generator as a program, whatever it speaks: the options, the warm-up, the run, and the line or the JSON
 * object that tells of it. loadgen.c speaks 4-byte frames; compare/ has the ones that speak ZeroMQ's and nng's protocols.
 */
#ifndef FRAMED_BENCH_GENERATE_H
#define FRAMED_BENCH_GENERATE_H

#include "load.h"

/* The functions of load.h, or others that keep their promises. */
struct generator {
    const char *name;
    void *(*open)(const struct load_config *config);
    int (*run)(void *load, double seconds, uint64_t count, struct load_result *result);
    void (*close)(void *load);
};

/* A main. The status: 0, or 1: the run failed, 2: usage, 3: nobody there, 6: it cannot be told. */
int generate(int argc, char **argv, const struct generator *generator);

#endif
