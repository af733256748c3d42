/*
 * hosts.c: connections counted by host, in a seeded hash table.
 * Must not know what a connection is.
 * Invariant: an entry exists exactly while its host has connections.
 */
#include "hosts.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include <string.h>

enum framed_status framed_hosts_init(struct hosts *hosts, uint64_t seed, const struct framed_allocator *alloc,
                                     struct budget *budget)
{
    *hosts = (struct hosts){.seed = seed};
    framed_pool_init(&hosts->pool, alloc, budget);
    hosts->pool.keep_most = HOSTS_KEEP_BYTES;
    return framed_os_lock_new(&hosts->lock, alloc);
}

void framed_hosts_fini(struct hosts *hosts)
{
    const struct framed_allocator *alloc = hosts->pool.parent;
    framed_pool_fini(&hosts->pool);
    framed_os_lock_free(hosts->lock, alloc);
}

static struct host **bucket_of(struct hosts *hosts, const struct os_host *is)
{
    uint64_t h = hosts->seed;
    for (size_t i = 0; i < sizeof is->bytes; i++) {
        h = (h ^ is->bytes[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return &hosts->buckets[h % HOST_BUCKETS];
}

static enum framed_status enter(struct hosts *hosts, const struct os_host *is, uint32_t most, struct host **host)
{
    struct host **bucket = bucket_of(hosts, is);
    struct host *h = *bucket;
    while (h != NULL && memcmp(&h->is, is, sizeof *is) != 0) h = h->next;
    if (h == NULL) {
        h = mem_new(&hosts->pool.alloc, sizeof *h);
        if (h == NULL) return FRAMED_NOMEM;
        *h = (struct host){.next = *bucket, .is = *is};
        *bucket = h;
    }
    if (h->conns >= most) return FRAMED_FULL;
    h->conns++;
    *host = h;
    return FRAMED_OK;
}

static void leave(struct hosts *hosts, struct host *host)
{
    check(host->conns > 0);
    if (--host->conns > 0) return;
    struct host **link = bucket_of(hosts, &host->is);
    while (*link != host) link = &(*link)->next;
    *link = host->next;
    mem_free(&hosts->pool.alloc, host, sizeof *host);
}

enum framed_status framed_hosts_enter(struct hosts *hosts, const struct os_host *is, uint32_t most, struct host **host)
{
    framed_os_lock(hosts->lock);
    enum framed_status st = enter(hosts, is, most, host);
    framed_os_unlock(hosts->lock);
    return st;
}

void framed_hosts_leave(struct hosts *hosts, struct host *host)
{
    framed_os_lock(hosts->lock);
    leave(hosts, host);
    framed_os_unlock(hosts->lock);
}
