/*
 * loadgen.c: the load generator for 4-byte frames as a program: loads HOST:PORT and prints one line.
 * Must not know the library: `make demo` needs no more than a C compiler.
 */
#include "generate.h"

static void *open_frames(const struct load_config *config)
{
    return load_open(config);
}

static int run_frames(void *load, double seconds, uint64_t count, struct load_result *result)
{
    return load_run(load, seconds, count, result);
}

static void close_frames(void *load)
{
    load_close(load);
}

int main(int argc, char **argv)
{
    static const struct generator frames = {"loadgen", open_frames, run_frames, close_frames};
    return generate(argc, argv, &frames);
}
