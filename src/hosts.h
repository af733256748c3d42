/* hosts.h: how many connections each host has. From any thread: connections come on one loop and go on others. */
#ifndef FRAMED_HOSTS_H
#define FRAMED_HOSTS_H

#include "os/os.h"
#include "pool.h"

/* Entries are kept for those who come and go: but few, since no loop could give them up for anything else. */
enum { HOST_BUCKETS = 1024, HOSTS_KEEP_BYTES = 4096 };

struct host {
    struct host *next;
    struct os_host is; /* stays as it is while the host has a connection */
    uint32_t conns;
};

struct hosts {
    struct os_lock *lock; /* guards what follows */
    struct host *buckets[HOST_BUCKETS];
    struct pool pool;
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
};

/* alloc and budget are borrowed until fini. FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_hosts_init(struct hosts *hosts, uint64_t seed, const struct framed_allocator *alloc,
                                     struct budget *budget);

/* When nobody has a connection any more. */
void framed_hosts_fini(struct hosts *hosts);

/* One more connection of this host. FRAMED_FULL: it has `most` already. FRAMED_NOMEM. */
enum framed_status framed_hosts_enter(struct hosts *hosts, const struct os_host *is, uint32_t most, struct host **host);

/* One less; the entry goes with the last. */
void framed_hosts_leave(struct hosts *hosts, struct host *host);

#endif
