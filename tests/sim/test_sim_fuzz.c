/*
 * test_sim_fuzz.c: the inputs that the fuzzers found worth keeping (fuzz/corpus), and those made of the vectors, through the
 * same harnesses, without any fuzzer.
 * Must not know what a harness does.
 * Invariant: a folder without inputs is a failure, and a failure names its input.
 */
#include "fuzz.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_INPUT = 64 << 10 };

static char running[512]; /* the input at hand */

/* A harness that finds something aborts. */
static void say_which(int signal_number)
{
    fprintf(stderr, "fuzz: with the input %s\n", running);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* The memory is exactly as long as the input, so that a sanitizer sees who reads too far. */
static void run_file(const struct fuzz_harness *harness, const char *path)
{
    uint8_t *buffer = malloc(MOST_INPUT);
    FILE *file = fopen(path, "rb");
    assert_non_null(buffer);
    assert_non_null(file);
    size_t n = fread(buffer, 1, MOST_INPUT, file);
    assert_true(feof(file) && !ferror(file));
    fclose(file);
    uint8_t *input = malloc(n > 0 ? n : 1);
    assert_non_null(input);
    memcpy(input, buffer, n);
    free(buffer);
    snprintf(running, sizeof running, "%s", path);
    assert_int_equal(harness->run(input, n), 0);
    free(input);
}

static size_t run_folder(const struct fuzz_harness *harness)
{
    char folder[256], path[512];
    size_t n = 0;
    snprintf(folder, sizeof folder, "fuzz/corpus/%s", harness->name);
    DIR *dir = opendir(folder);
    if (dir == NULL) fail_msg("%s cannot be opened (tests run from the root of the repository)", folder);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
        run_file(harness, path);
        n++;
    }
    closedir(dir);
    return n;
}

static void run_seed(void *ctx, const char *name, const uint8_t *at, size_t n)
{
    const struct fuzz_harness *harness = ctx;
    snprintf(running, sizeof running, "made of %s", name);
    assert_int_equal(harness->run(at, n), 0);
}

static void every_input_kept_for_this_harness_holds(void **state)
{
    const struct fuzz_harness *harness = *state;
    assert_true(run_folder(harness) > 0);
}

static void every_vector_holds_in_the_harnesses(void **state)
{
    (void)state;
    for (const struct fuzz_harness *h = fuzz_harnesses; h->name != NULL; h++)
        fuzz_seeds(h->name, run_seed, (void *)(uintptr_t)h);
}

int main(void)
{
    struct CMUnitTest tests[16] = {cmocka_unit_test(every_vector_holds_in_the_harnesses)};
    static char names[16][80];
    size_t n = 1;
    signal(SIGABRT, say_which);
    for (const struct fuzz_harness *h = fuzz_harnesses; h->name != NULL; h++, n++) {
        snprintf(names[n], sizeof names[n], "every_input_kept_for_the_%s_harness_holds", h->name);
        tests[n] = (struct CMUnitTest){
            .name = names[n], .test_func = every_input_kept_for_this_harness_holds, .initial_state = (void *)(uintptr_t)h};
    }
    return _cmocka_run_group_tests("the fuzzers' inputs", tests, n, NULL, NULL);
}
