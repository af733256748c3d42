/*
 * generate.c: owns the options of a load generator and how it tells what it measured.
 * Must not know what is spoken, nor the library. Invariant: no figure is printed for a run in which a reply was missing or
 * wrong.
 */
#define _GNU_SOURCE 1
#include "generate.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const uint64_t TAIL = 10; /* with fewer beyond it, a percentile says nothing */

struct request {
    struct load_config config;
    double seconds;
    double warm_seconds;
    uint64_t count;
    pid_t server; /* 0: its processor time is not asked for */
    bool json;
};

static int usage(const char *name)
{
    fprintf(stderr,
            "%s 127.0.0.1:4464 -c 64 -p 16 -s 64 -d 2\n"
            "usage: %s HOST:PORT [-c CONNS] [-p INFLIGHT] [-s SIZE] [-r RATE] [-d SECONDS | -n COUNT] [-w SECONDS] [-P PID] "
            "[-j] [-b]\n"
            "  -c  connections (1)             -p  requests on the way per connection (1)\n"
            "  -s  payload: 64, 4KiB, 1MiB (64)  -d  seconds (2)    -n  messages, instead of -d\n"
            "  -r  messages a second, at even intervals; without it: as soon as there is place\n"
            "  -w  seconds that are not measured, before (0)       -P  the server, whose processor time is measured\n"
            "  -j  a JSON object               -b  never sleep: look for replies again and again (4-byte frames)\n",
            name, name);
    return 2;
}

/* Splits "HOST:PORT" or "[V6]:PORT" in place. */
static int split_address(char *address, const char **host, const char **port)
{
    char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address || colon[1] == '\0') return -1;
    *colon = '\0';
    *port = colon + 1;
    *host = address;
    if (*address == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        *host = address + 1;
    }
    return 0;
}

/* "64", "64KiB", "1MiB". */
static int parse_size(const char *text, uint32_t *size)
{
    char *end;
    if (*text < '0' || *text > '9') return -1;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    unsigned shift = strcmp(end, "KiB") == 0 ? 10 : strcmp(end, "MiB") == 0 ? 20 : 0;
    if (errno != 0 || (shift == 0 && *end != '\0') || n > 0x7fffffffu >> shift) return -1;
    *size = (uint32_t)(n << shift);
    return 0;
}

static int parse_unsigned(const char *text, unsigned long most, unsigned long *n)
{
    char *end;
    *n = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *n >= 1 && *n <= most ? 0 : -1;
}

static int parse_double(const char *text, double most, double *x)
{
    char *end;
    *x = strtod(text, &end);
    return *end == '\0' && *x > 0 && *x <= most ? 0 : -1;
}

static int parse(int argc, char **argv, struct request *r)
{
    unsigned long conns = 1;
    unsigned long inflight = 1;
    unsigned long count = 0;
    unsigned long pid = 0;
    int option;
    int bad = 0;
    while ((option = getopt(argc, argv, "c:p:s:r:d:n:w:P:jb")) != -1) {
        switch (option) {
        case 'c': bad |= parse_unsigned(optarg, 60000, &conns); break;
        case 'p': bad |= parse_unsigned(optarg, 1000000, &inflight); break;
        case 's': bad |= parse_size(optarg, &r->config.size); break;
        case 'r': bad |= parse_double(optarg, 1e6, &r->config.rate); break;
        case 'd': bad |= parse_double(optarg, 86400, &r->seconds); break;
        case 'n': bad |= parse_unsigned(optarg, 1000000000000, &count); break;
        case 'w': bad |= parse_double(optarg, 86400, &r->warm_seconds); break;
        case 'P': bad |= parse_unsigned(optarg, 0x7fffffff, &pid); break;
        case 'j': r->json = true; break;
        case 'b': r->config.busy = true; break;
        default: return -1;
        }
    }
    r->config.conns = (unsigned)conns;
    r->config.inflight = (unsigned)inflight;
    r->count = count;
    r->server = (pid_t)pid;
    return bad || optind + 1 != argc ? -1 : split_address(argv[optind], &r->config.host, &r->config.port);
}

/* Nanoseconds the server has been on a core, once it sleeps again. */
static uint64_t server_ns(const struct request *r)
{
    if (r->server == 0) return 0;
    poll(NULL, 0, 2);
    return load_cpu_ns(r->server);
}

static int measure(void *load, const struct generator *g, const struct request *r, struct load_result *result, uint64_t *cpu)
{
    if (r->warm_seconds > 0 && g->run(load, r->warm_seconds, 0, result) != 0) return -1;
    uint64_t before = server_ns(r);
    if (g->run(load, r->count > 0 ? 0 : r->seconds, r->count, result) != 0) return -1;
    *cpu = server_ns(r) - before;
    return 0;
}

static void print_percentile(const char *name, double us, double share, uint64_t messages)
{
    if ((1 - share) * (double)messages < (double)TAIL) {
        printf(", \"%s\": null", name);
    } else {
        printf(", \"%s\": %.3f", name, us);
    }
}

static void print_json(const struct request *r, const struct load_result *of, uint64_t cpu)
{
    printf("{\"messages\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"p50_us\": %.3f", (unsigned long long)of->messages,
           (unsigned long long)of->bytes, of->seconds, of->p50_us);
    print_percentile("p99_us", of->p99_us, 0.99, of->messages);
    print_percentile("p999_us", of->p999_us, 0.999, of->messages);
    printf(", \"max_us\": %.3f", of->max_us);
    if (r->server != 0) printf(", \"cpu_ns\": %llu", (unsigned long long)cpu);
    puts("}");
}

static void print_line(const struct request *r, const struct load_result *of, uint64_t cpu)
{
    printf("%u B x %u connections x %u in flight: %llu messages in %.2f s, %.0f/s, %.1f MB/s each way, p50 %.1f us, p99 "
           "%.1f us, max %.0f us, ",
           (unsigned)r->config.size, r->config.conns, r->config.inflight, (unsigned long long)of->messages, of->seconds,
           (double)of->messages / of->seconds, (double)of->bytes / of->seconds / 1e6, of->p50_us, of->p99_us, of->max_us);
    if (r->server != 0) printf("server %.0f ns/message, ", (double)cpu / (double)of->messages);
    puts("all replies as sent");
}

int generate(int argc, char **argv, const struct generator *g)
{
    struct request r = {.config = {.size = 64}, .seconds = 2};
    struct load_result result;
    uint64_t cpu;
    if (parse(argc, argv, &r) != 0) return usage(g->name);
    void *load = g->open(&r.config);
    if (load == NULL) {
        fprintf(stderr, "%s: %s\n", g->name, load_error());
        return 3;
    }
    int failed = measure(load, g, &r, &result, &cpu);
    if (failed) fprintf(stderr, "%s: %s\n", g->name, load_error());
    g->close(load);
    if (failed) return 1;
    if (r.json) {
        print_json(&r, &result, cpu);
    } else {
        print_line(&r, &result, cpu);
    }
    return fflush(stdout) == 0 ? 0 : 6;
}
