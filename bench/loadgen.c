/*
 * loadgen.c: the load generator as a program: loads HOST:PORT and prints one line.
 * Must not know the library: `make demo` needs no more than a C compiler. Invariant: no figure is printed for a run in which
 * a reply was missing or wrong.
 */
#define _GNU_SOURCE 1
#include "load.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int usage(void)
{
    fputs("loadgen 127.0.0.1:4464 -c 64 -p 16 -s 64 -d 2\n"
          "usage: loadgen HOST:PORT [-c CONNS] [-p INFLIGHT] [-s SIZE] [-d SECONDS | -n COUNT]\n"
          "  -c  connections (1)             -p  requests on the way per connection (1)\n"
          "  -s  payload: 64, 4KiB, 1MiB (64)  -d  seconds (2)    -n  messages, instead of -d\n",
          stderr);
    return 2;
}

static int parse_unsigned(const char *text, unsigned long most, unsigned long *n)
{
    char *end;
    *n = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *n >= 1 && *n <= most ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct load_config config = {.size = 64};
    unsigned long conns = 1;
    unsigned long inflight = 1;
    unsigned long count = 0;
    double seconds = 2;
    char *end;
    int option;
    int bad = 0;
    while ((option = getopt(argc, argv, "c:p:s:d:n:")) != -1) {
        switch (option) {
        case 'c': bad |= parse_unsigned(optarg, 60000, &conns); break;
        case 'p': bad |= parse_unsigned(optarg, 1000000, &inflight); break;
        case 's': bad |= load_parse_size(optarg, &config.size); break;
        case 'd':
            seconds = strtod(optarg, &end);
            bad |= *end != '\0' || !(seconds > 0 && seconds <= 86400);
            break;
        case 'n': bad |= parse_unsigned(optarg, 1000000000000, &count); break;
        default: return usage();
        }
    }
    if (bad || optind + 1 != argc || load_split_address(argv[optind], &config.host, &config.port) != 0) return usage();
    config.conns = (unsigned)conns;
    config.inflight = (unsigned)inflight;

    struct load *load = load_open(&config);
    if (load == NULL) {
        fprintf(stderr, "loadgen: %s\n", load_error());
        return 3;
    }
    struct load_result r;
    if (load_run(load, count > 0 ? 0 : seconds, count, &r) != 0) {
        fprintf(stderr, "loadgen: %s\n", load_error());
        load_close(load);
        return 1;
    }
    load_close(load);
    printf("%u B x %lu connections x %lu in flight: %llu messages in %.2f s, %.0f/s, %.1f MB/s each way, p50 %.1f us, p99 "
           "%.1f us, "
           "max %.0f us, all replies as sent\n",
           (unsigned)config.size, conns, inflight, (unsigned long long)r.messages, r.seconds, (double)r.messages / r.seconds,
           (double)r.bytes / r.seconds / 1e6, r.p50_us, r.p99_us, r.max_us);
    return fflush(stdout) == 0 ? 0 : 6;
}
