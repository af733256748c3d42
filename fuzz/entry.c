/*
 * entry.c: the way in for libFuzzer and for AFL++'s driver of the same shape. The program's own name says which harness.
 * Must not know what a harness does.
 * Invariant: whoever fails a cmocka assertion on the way (the meter, say) ends as a crash, not as an exit.
 */
#define _POSIX_C_SOURCE 200809L
#include "fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *at, size_t n);

static const struct fuzz_harness *harness;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    const char *slash = strrchr((*argv)[0], '/');
    const char *name = slash != NULL ? slash + 1 : (*argv)[0];
    harness = fuzz_find(name);
    if (harness == NULL) {
        fprintf(stderr, "fuzz: there is no harness called %s\n", name);
        exit(2);
    }
    return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t n)
{
    return harness->run(at, n);
}
