/*
 * rude.c: peers that misbehave: they send what is no frame, half a frame, too much, too slowly, never read, reset, half-close,
 * or just sit there.
 * Must not know the library. Its frames are nobody's calls: the ledger ignores them.
 */
#define _GNU_SOURCE
#include "swarm.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 4096 };

static int dial(const char *address)
{
    char host[128];
    (void)snprintf(host, sizeof host, "%s", address);
    char *colon = strrchr(host, ':');
    if (colon == NULL) exit(2);
    *colon = '\0';
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1) exit(2);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(fd);
        fd = -1;
    }
    if (fd >= 0) (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* A frame of nobody's, or something that claims to be one. */
static size_t compose(uint8_t *at, uint64_t *seed)
{
    uint32_t claim = (uint32_t)ledger_below(seed, PIECE - 4);
    uint64_t dice = ledger_below(seed, 10);
    size_t n = 4 + claim;
    if (dice == 0) claim = (uint32_t)ledger_random(seed) | UINT32_C(0x80000000);
    if (dice == 1) n = 1 + (size_t)ledger_below(seed, n);
    if (dice == 2) n = 4, claim = 0;
    if (dice == 3) claim = UINT32_C(0xf7460100) | (UINT32_C(0x1080a090) >> 8 * ledger_below(seed, 4) & 0xff); /* a preface */
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)ledger_random(seed);
    uint32_t word = htonl(claim);
    memcpy(at, &word, n < 4 ? n : 4);
    if (n >= 8) memset(at + 4, 0xff, 4); /* the worker: none */
    return n;
}

static void wait_readable(int fd, unsigned ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    (void)poll(&p, 1, (int)ms);
}

static void read_some(int fd)
{
    uint8_t sink[PIECE];
    while (recv(fd, sink, sizeof sink, 0) > 0) continue;
}

static void end(int fd, uint64_t *seed)
{
    struct linger now = {.l_onoff = 1};
    switch (ledger_below(seed, 4)) {
    case 0: (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); break;
    case 1:
        (void)shutdown(fd, SHUT_WR);
        wait_readable(fd, 1000);
        read_some(fd);
        break;
    default: break;
    }
    (void)close(fd);
}

void rude(struct ledger *l, const char *address, const atomic_bool *stop)
{
    static uint64_t seed;
    uint8_t piece[PIECE];
    if (seed == 0) seed = ledger_seed();
    while (!atomic_load(stop) && atomic_load(&l->hush) == 0) {
        int fd = dial(address);
        if (fd < 0) {
            ledger_pause(20);
            continue;
        }
        ledger_add(&l->rudeness, 1);
        bool reads = ledger_below(&seed, 2) == 0;
        bool slow = ledger_below(&seed, 6) == 0;
        uint64_t pieces = ledger_below(&seed, ledger_below(&seed, 10) == 0 ? 2000 : 10);
        while (pieces-- > 0 && !atomic_load(stop)) {
            size_t n = compose(piece, &seed);
            if (slow) n = 1;
            if (send(fd, piece, n, MSG_NOSIGNAL) <= 0) break;
            if (reads) read_some(fd);
            if (slow) wait_readable(fd, 100);
        }
        if (ledger_below(&seed, 4) == 0) wait_readable(fd, (unsigned)ledger_below(&seed, 3000));
        end(fd, &seed);
    }
}
