/*
 * test_net_copies.c: owns the proof that large frames are received where they stay and sent from there: how many bytes framed
 * copies for each MiB that it sends back.
 * Must not know where it copies: the linker hands us all its calls of memcpy and memmove (Makefile), and the peers here make
 * none. What the allocator moves is counted and bounded apart.
 * Invariants: one server, one loop; counts, no clocks.
 */
#define _GNU_SOURCE
#include "net.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_ITS_OWN_MEMCPY
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HAS_ITS_OWN_MEMCPY
#endif
#endif

enum { MIB = 1 << 20, FRAMES = 512, WARM_UP = 64, IN_FLIGHT = 8 };

/* A frame's first part lies in the receive buffer, which is needed again. And the first time that so many frames are there at
 * once, one more than in flight since the client may have a reply before the server knows, memory for each is made by growing:
 * what that moves, in the pool or below it, is less than twice what it comes to. */
enum { COPIED_MOST = 64 << 10, MOVED_MOST = 2 * (IN_FLIGHT + 1) * MIB / FRAMES };

static _Atomic uint64_t copied, moved;

void *__real_memcpy(void *to, const void *from, size_t n);
void *__real_memmove(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__wrap_memmove(void *to, const void *from, size_t n);

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    atomic_fetch_add(&copied, n);
    return __real_memcpy(to, from, n);
}

void *__wrap_memmove(void *to, const void *from, size_t n)
{
    atomic_fetch_add(&copied, n);
    return __real_memmove(to, from, n);
}

/* Every block moves, as with the worst of allocators. */
static void *resize(void *ctx, void *at, size_t old, size_t n)
{
    (void)ctx;
    void *now = n > 0 ? malloc(n) : NULL;
    if (at != NULL && now != NULL) {
        size_t kept = old < n ? old : n;
        atomic_fetch_add(&moved, kept);
        __real_memcpy(now, at, kept);
    }
    if (n == 0 || now != NULL) free(at);
    return now;
}

static const struct framed_allocator counted = {.resize = resize};
static uint8_t sent[4 + MIB], got[4 + MIB];

static void write_whole(int fd, const uint8_t *at, size_t n)
{
    while (n > 0) {
        ssize_t went = write(fd, at, n);
        if (went <= 0) {
            net_fault("write: %zd", went);
            return;
        }
        at += went;
        n -= (size_t)went;
    }
}

static void read_back(int fd)
{
    for (size_t n = 0; n < sizeof got;) {
        ssize_t came = read(fd, got + n, sizeof got - n);
        assert_true(came > 0);
        n += (size_t)came;
    }
    assert_memory_equal(got, sent, sizeof got);
}

struct writer {
    int fd;
    size_t frames, in_flight;
    struct net_count back;
};

static void *write_all(void *ctx)
{
    struct writer *w = ctx;
    for (size_t i = 0; i < w->frames; i++) {
        if (i >= w->in_flight && !net_reached(&w->back, i - w->in_flight + 1)) break;
        write_whole(w->fd, sent, sizeof sent);
    }
    return NULL;
}

static void echo(int fd, size_t frames, size_t in_flight)
{
    struct writer w = {.fd = fd, .frames = frames, .in_flight = in_flight, .back = NET_COUNT_INIT};
    pthread_t writer = net_thread(write_all, &w);
    for (size_t i = 0; i < frames; i++) {
        read_back(fd);
        net_add(&w.back, 1);
    }
    net_join(writer);
}

static void echo_costs_at_most_64_kib_of_copying_per_mib(void **state)
{
    (void)state;
    struct net_server s;
    struct framed_server_config config = net_config(net_echo, NULL);
    config.allocator = &counted;
    config.max_unsent = IN_FLIGHT * MIB;
    net_server_start(&s, config, "127.0.0.1:0");
    net_fill(sent + 4, MIB, 7);
    sent[1] = 0x10; /* 0x00100000 */
    int fd = net_connect(s.address);
    echo(fd, WARM_UP, IN_FLIGHT);
    for (size_t in_flight = 1; in_flight <= IN_FLIGHT; in_flight *= IN_FLIGHT) {
        uint64_t copied_before = atomic_load(&copied), moved_before = atomic_load(&moved);
        echo(fd, FRAMES, in_flight);
        uint64_t copies = (atomic_load(&copied) - copied_before) / FRAMES,
                 moves = (atomic_load(&moved) - moved_before) / FRAMES;
        printf("1 MiB sent back, %zu in flight: %llu bytes copied; resize moved %llu\n", in_flight,
               (unsigned long long)copies, (unsigned long long)moves);
        assert_true(copies <= COPIED_MOST + (in_flight > 1 ? MOVED_MOST : 0));
        assert_true(moves <= MOVED_MOST);
#ifndef HAS_ITS_OWN_MEMCPY
        assert_true(copies > 0); /* the beginning of a frame comes with the end of the one before: we do count */
#endif
    }
    close(fd);
    net_server_stop(&s);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {NET_TEST(echo_costs_at_most_64_kib_of_copying_per_mib)};
    return NET_RUN("copies of large frames", tests);
}
