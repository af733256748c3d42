/*
 * load.h: a closed-loop load generator for anything that echoes frames: one thread, sockets and epoll of its own, nothing of
 * the library. Each connection keeps `inflight` requests on the way; a reply that is right makes place for the next.
 *
 * Every reply's length word is checked, and the first 8 bytes of its payload, which carry the request's number.
 */
#ifndef FRAMED_BENCH_LOAD_H
#define FRAMED_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

struct load;

struct load_config {
    const char *host;
    const char *port;
    unsigned conns;    /* at least 1 */
    unsigned inflight; /* requests on the way per connection, at least 1 */
    uint32_t size;     /* payload bytes, at most 2^31-1 */
};

/* What one run measured. Latencies count from when a request was due, so time spent waiting for room in a socket is in them. */
struct load_result {
    uint64_t messages; /* replies, all of them right */
    uint64_t bytes;    /* of these replies, length words included; as many went the other way */
    double seconds;    /* from the first request to the last reply */
    double p50_us;
    double p99_us;
    double max_us;
};

/* Connects. NULL: it could not; load_error says why. */
struct load *load_open(const struct load_config *config);

/*
 * Sends and receives until `seconds` have passed or `count` messages are answered (0: no such bound; one is needed), then
 * waits for what is outstanding. 0, and *result; or -1: a connection ended, a reply was wrong, or none came for 5 seconds;
 * load_error says which. May be called again after success.
 */
int load_run(struct load *load, double seconds, uint64_t count, struct load_result *result);

/* What went wrong, in one line. Static storage. */
const char *load_error(void);

/* Closes all connections and frees. NULL is fine. */
void load_close(struct load *load);

/* Splits "HOST:PORT" or "[V6]:PORT" in place. 0, or -1: it is neither. */
int load_split_address(char *address, const char **host, const char **port);

/* "64", "64KiB", "1MiB". 0, or -1: not a size that a frame can have. */
int load_parse_size(const char *text, uint32_t *size);

uint64_t load_clock_ns(void);

#endif
