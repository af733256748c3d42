/* hosts.h: how many connections each host has. */
#ifndef FRAMED_HOSTS_H
#define FRAMED_HOSTS_H

#include "os/os.h"

enum { HOST_BUCKETS = 1024 };

struct host {
    struct host *next;
    struct os_host is;
    uint32_t conns;
};

struct hosts {
    struct host *buckets[HOST_BUCKETS];
    const struct framed_allocator *alloc;
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
};

void framed_hosts_init(struct hosts *hosts, uint64_t seed, const struct framed_allocator *alloc);

/* One more connection of this host. FRAMED_FULL: it has `most` already. FRAMED_NOMEM. */
enum framed_status framed_hosts_enter(struct hosts *hosts, const struct os_host *is, uint32_t most, struct host **host);

/* One less; the entry goes with the last. */
void framed_hosts_leave(struct hosts *hosts, struct host *host);

#endif
