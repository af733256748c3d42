/*
 * replay.c: runs inputs through a harness, outside of any fuzzer; makes the seeds and the dictionary.
 *
 *   replay HARNESS FILE...       these inputs
 *   replay --vectors HARNESS     those made of proto/vectors
 *   replay --seeds HARNESS DIR   writes those into a folder
 *   replay --names               the harnesses, one a line
 *   replay --dictionary          words for the fuzzers
 *
 * Must not know what a harness does.
 * Invariant: what cannot be read or written ends it with 2.
 */
#define _POSIX_C_SOURCE 200809L
#include "cli/options.h"
#include "fuzz.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_INPUT = 1 << 20 };

static const struct fuzz_harness *harness;

static void give_up(const char *name)
{
    fprintf(stderr, "replay: %s: %s\n", name, strerror(errno));
    exit(2);
}

static void replay(const char *path)
{
    uint8_t *buffer = malloc(MOST_INPUT);
    FILE *file = fopen(path, "rb");
    if (file == NULL || buffer == NULL) give_up(path);
    size_t n = fread(buffer, 1, MOST_INPUT, file);
    if (ferror(file)) give_up(path);
    fclose(file);
    uint8_t *input = malloc(n > 0 ? n : 1); /* exactly as long, so that a sanitizer sees the end */
    if (input == NULL) give_up(path);
    memcpy(input, buffer, n);
    free(buffer);
    (void)harness->run(input, n);
    free(input);
}

static void run_seed(void *ctx, const char *name, const uint8_t *at, size_t n)
{
    (void)name;
    (void)harness->run(at, n);
    ++*(size_t *)ctx;
}

static void write_seed(void *ctx, const char *name, const uint8_t *at, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(at, 1, n, file) != n || fclose(file) != 0) give_up(path);
}

static void word(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') putchar('\\');
        putchar(*text);
    }
    puts("\"");
}

/* The option table as a fuzzer's dictionary, then length words. */
static void dictionary(void)
{
    char name[80];
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *o = &framed_option_table[i];
        snprintf(name, sizeof name, "--%s", o->name);
        word(name);
        if (o->fallback != NULL) word(o->fallback);
        if (o->letter == 0) continue;
        snprintf(name, sizeof name, "-%c", o->letter);
        word(name);
    }
    puts("\"KiB\"\n\"MB\"\n\"ms\"\n\"never\"\n\"--\\x00\"\n\"\\x00\"\n\"=\"");
    puts("\"\\x00\\x00\\x00\\x00\"\n\"\\x00\\x00\\x00\\x01\"\n\"\\x00\\x00\\x00\\x10\"\n\"\\x00\\x00\\x10\\x00\"");
    puts("\"\\x00\\x01\\x00\\x00\"\n\"\\x7f\\xff\\xff\\xff\"\n\"\\x80\\x00\\x00\\x00\"\n\"\\xff\\xff\\xff\\xff\"\n\"GET \"");
}

int main(int argc, char **argv)
{
    size_t n = 0;
    const char *how = argc > 1 ? argv[1] : "";
    bool option = how[0] == '-';
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    if (strcmp(how, "--names") == 0) {
        for (const struct fuzz_harness *h = fuzz_harnesses; h->name != NULL; h++) puts(h->name);
        return 0;
    }
    if (strcmp(how, "--dictionary") == 0) {
        dictionary();
        return 0;
    }
    harness = argc > 1 + option ? fuzz_find(argv[1 + option]) : NULL;
    if (harness == NULL) {
        fprintf(stderr,
                "usage: replay HARNESS FILE... | --vectors HARNESS | --seeds HARNESS DIR | --names | --dictionary\n");
        return 2;
    }
    if (strcmp(how, "--vectors") == 0) {
        fuzz_seeds(harness->name, run_seed, &n);
    } else if (strcmp(how, "--seeds") == 0 && argc == 4) {
        fuzz_seeds(harness->name, write_seed, argv[3]);
    } else {
        for (int i = 2; i < argc; i++, n++) replay(argv[i]);
    }
    if (n > 0) printf("%s: %zu inputs\n", harness->name, n);
    return 0;
}
