/*
 * tally.c: owns the latencies of a run and what is computed of them.
 * Must not know what is loaded, nor how. Invariant: the buckets add up to `messages`.
 */
#define _GNU_SOURCE 1
#include "tally.h"
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static char error_text[160];

const char *load_error(void)
{
    return error_text;
}

int load_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error_text, sizeof error_text, format, args);
    va_end(args);
    return -1;
}

uint64_t load_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t load_cpu_ns(pid_t pid)
{
    char path[64];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) return 0;
    for (struct dirent *d; (d = readdir(tasks)) != NULL;) {
        char file[sizeof path + sizeof d->d_name + 16];
        unsigned long long ns;
        if (d->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s/schedstat", path, d->d_name);
        FILE *f = fopen(file, "re");
        if (f == NULL) continue;
        if (fscanf(f, "%llu", &ns) == 1) sum += ns;
        fclose(f);
    }
    closedir(tasks);
    return sum;
}

static unsigned bucket_of(uint64_t ns)
{
    if (ns < TALLY_STEPS) return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - TALLY_STEP_BITS;
    unsigned bucket = (shift + 1) * TALLY_STEPS + (unsigned)((ns >> shift) - TALLY_STEPS);
    return bucket < TALLY_BUCKETS ? bucket : TALLY_BUCKETS - 1;
}

static double bucket_start(unsigned bucket)
{
    if (bucket < TALLY_STEPS) return bucket;
    unsigned shift = bucket / TALLY_STEPS - 1;
    return (double)((uint64_t)(TALLY_STEPS + bucket % TALLY_STEPS) << shift);
}

static double percentile_us(const struct tally *t, double share)
{
    double rank = share * (double)t->messages;
    double below = 0;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
        double here = (double)t->buckets[i];
        if (here > 0 && below + here >= rank) {
            double start = bucket_start(i);
            return (start + (bucket_start(i + 1) - start) * (rank - below) / here) / 1000;
        }
        below += here;
    }
    return 0;
}

void tally_note(struct tally *t, uint64_t ns)
{
    t->buckets[bucket_of(ns)]++;
    if (ns > t->longest_ns) t->longest_ns = ns;
    t->messages++;
}

struct load_result tally_result(const struct tally *t, uint64_t each, double seconds)
{
    return (struct load_result){
        .messages = t->messages,
        .bytes = t->messages * each,
        .seconds = seconds,
        .p50_us = percentile_us(t, 0.50),
        .p99_us = percentile_us(t, 0.99),
        .p999_us = percentile_us(t, 0.999),
        .max_us = (double)t->longest_ns / 1000,
    };
}
