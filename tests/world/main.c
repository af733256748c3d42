/*
 * main.c: the program `sim`: trials by their seeds.
 *   sim FIRST COUNT    so many; says what they came to. The first that fails ends it, once it has shown its trace.
 *   sim SEED           that one, with its trace: times, who, what. It is the same whenever it is run.
 * Must not know what a trial is made of.
 * Invariant: however a trial ends, its seed is said.
 */
#include "trial.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define ON_DEATH(fn) __sanitizer_set_death_callback(fn)
#else
#define ON_DEATH(fn) (void)0
#endif

static uint64_t running;

static void say_which(void)
{
    fprintf(stderr, "sim: seed %" PRIu64 " ended the program; again, with its trace: make sim SEED=%" PRIu64 "\n", running,
            running);
}

static void on_signal(int number)
{
    say_which();
    signal(number, SIG_DFL);
    raise(number);
}

static double seconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool show(uint64_t seed)
{
    struct trial_result r;
    running = seed;
    trial_run(seed, true, &r);
    printf("seed %" PRIu64
           ": %u calls: %u replies, %u NOT_EXECUTED, %u MAYBE_EXECUTED; %u faults, %u servers; trace %016" PRIx64 "\n",
           seed, r.calls, r.replies, r.not_executed, r.maybe_executed, r.faults, r.lives, r.hash);
    if (r.why[0] != '\0') printf("FAILED: %s\n", r.why);
    return r.why[0] == '\0';
}

static void sum_up(const struct trial_result *sum, uint64_t count, double took)
{
    printf("faults:");
    for (int i = 0; i < FAULT_COUNT; i++) printf("%s %s %u", i > 0 ? "," : "", fault_names[i], sum->felt[i]);
    printf("\n%u calls: %u replies, %u NOT_EXECUTED, %u MAYBE_EXECUTED; %u faults, %u servers; traces %016" PRIx64 "\n",
           sum->calls, sum->replies, sum->not_executed, sum->maybe_executed, sum->faults, sum->lives, sum->hash);
    printf("%" PRIu64 " seeds in %.1f s: %.0f completed calls a second, %.0f seeds a second, %.0f simulated hours\n", count,
           took, sum->calls / took, (double)count / took, (double)sum->simulated_ms / 3600000);
}

static bool run(uint64_t first, uint64_t count)
{
    struct trial_result sum = {0};
    double began = seconds();
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct trial_result r;
        running = seed;
        trial_run(seed, false, &r);
        if (r.why[0] != '\0') {
            (void)show(seed);
            return false;
        }
        sum.calls += r.calls;
        sum.replies += r.replies;
        sum.not_executed += r.not_executed;
        sum.maybe_executed += r.maybe_executed;
        sum.faults += r.faults;
        sum.lives += r.lives;
        sum.simulated_ms += r.simulated_ms;
        sum.hash = sum.hash * 31 + r.hash;
        for (int i = 0; i < FAULT_COUNT; i++) sum.felt[i] += r.felt[i];
    }
    sum_up(&sum, count, seconds() - began);
    trial_forget();
    return true;
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (first == 0 || count == 0) {
        fprintf(stderr, "usage: sim FIRST COUNT, or sim SEED; seeds begin with 1\n");
        return 2;
    }
    ON_DEATH(say_which);
    signal(SIGABRT, on_signal);
    signal(SIGSEGV, on_signal);
    bool well = argc > 2 ? run(first, count) : show(first);
    if (well) return 0;
    fflush(stdout);
    _Exit(1); /* what a failed trial leaves behind is no news */
}
