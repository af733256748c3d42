/*
 * load.h: a closed-loop load generator for anything that echoes frames: one thread, sockets and epoll of its own, nothing of
 * the library. Each connection keeps `inflight` requests on the way; a reply that is right makes place for the next.
 *
 * Every reply's length word is checked, and the first 8 bytes of its payload, which carry the request's number.
 */
#ifndef FRAMED_BENCH_LOAD_H
#define FRAMED_BENCH_LOAD_H

#include "tally.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load;

struct load_config {
    const char *host;
    const char *port;
    unsigned conns;    /* at least 1 */
    unsigned inflight; /* requests on the way per connection, at least 1 */
    uint32_t size;     /* payload bytes, at most 2^31-1 */
    double rate;       /* messages a second, due at even intervals whatever is answered; 0: as soon as there is place */
    bool busy;         /* it looks for replies again and again instead of sleeping until they come */
};

/* Connects. NULL: it could not; load_error says why. */
struct load *load_open(const struct load_config *config);

/*
 * Sends and receives until `seconds` have passed or `count` messages are answered (0: no such bound; one is needed), then
 * waits for what is outstanding. 0, and *result; or -1: a connection ended, a reply was wrong, or none came for 5 seconds;
 * load_error says which. May be called again after success.
 */
int load_run(struct load *load, double seconds, uint64_t count, struct load_result *result);

/* Closes all connections and frees. NULL is fine. */
void load_close(struct load *load);

#endif
