/*
 * ledger.c: the file that the processes of a rig share.
 * Must not know the library, but for its view of bytes.
 * Invariants: of each worker the marks of the last LEDGER_MARKS serials are kept; who comes with an older one learns nothing.
 */
#define _GNU_SOURCE
#include "ledger.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { MARK_EXECUTED = 1, MARK_DENIED = 2, MARK_BITS = 2 };

struct ledger *ledger_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct ledger)) != 0) goto fail;
    void *at = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) goto fail;
    (void)close(fd);
    return at;

fail:
    perror(path);
    exit(2);
}

void ledger_show(const struct ledger *l)
{
#define X(name) printf("%s %llu\n", #name, (unsigned long long)atomic_load(&l->name));
    LEDGER_FIELDS(X)
#undef X
}

uint64_t ledger_losses(const struct ledger *l)
{
    uint64_t sum = 0;
#define X(name) sum += atomic_load(&l->name);
    LEDGER_LOSSES(X)
#undef X
    return sum;
}

void ledger_most(_Atomic uint64_t *figure, uint64_t n)
{
    uint64_t was = atomic_load(figure);
    while (was < n && !atomic_compare_exchange_weak(figure, &was, n)) continue;
}

/* ---- contents ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 31;
    x *= UINT64_C(0x7fb5d329728ea185);
    x ^= x >> 27;
    x *= UINT64_C(0x81dadef4bc2dd44d);
    return x ^ x >> 33;
}

/* The filling's 8 bytes with number i; the last may be cut. */
static void fill(uint8_t *at, size_t n, uint64_t serial)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = mix(serial * UINT64_C(0x9e3779b97f4a7c15) + i);
        memcpy(at + i, &word, n - i < 8 ? n - i : 8);
    }
}

static bool filled(const uint8_t *at, size_t n, uint64_t serial)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = mix(serial * UINT64_C(0x9e3779b97f4a7c15) + i);
        if (memcmp(at + i, &word, n - i < 8 ? n - i : 8) != 0) return false;
    }
    return true;
}

/* What is to be done, and 24 bits that follow from whose it is: rude peers send zeros, too. */
static uint32_t kind_of(uint32_t worker, uint64_t serial, enum ledger_what what)
{
    return (uint32_t)what | (uint32_t)(mix(~(serial * LEDGER_WORKERS + worker)) << 8);
}

static void head(uint8_t at[LEDGER_HEAD], uint32_t worker, uint64_t serial, enum ledger_what what)
{
    uint32_t kind = kind_of(worker, serial, what);
    memcpy(at, &worker, 4);
    memcpy(at + 4, &kind, 4);
    memcpy(at + 8, &serial, 8);
}

void ledger_request(uint8_t *at, size_t n, uint32_t worker, uint64_t serial, enum ledger_what what)
{
    head(at, worker, serial, what);
    fill(at + LEDGER_HEAD, n - LEDGER_HEAD, serial * LEDGER_WORKERS + worker);
}

bool ledger_read(struct framed_bytes request, uint32_t *worker, uint64_t *serial, enum ledger_what *what)
{
    uint32_t kind;
    if (request.len < LEDGER_HEAD) return false;
    memcpy(worker, request.at, 4);
    memcpy(&kind, request.at + 4, 4);
    memcpy(serial, request.at + 8, 8);
    *what = (enum ledger_what)((kind & 0xff) % WHATS);
    return *worker < LEDGER_WORKERS && kind == kind_of(*worker, *serial, *what);
}

bool ledger_answers(struct framed_bytes reply, size_t n, uint32_t worker, uint64_t serial, enum ledger_what what)
{
    uint8_t first[LEDGER_HEAD];
    size_t want = what == WHAT_EMPTY ? 0 : what == WHAT_PART || what == WHAT_LATER_PART ? n / 2 : n;
    if (reply.len != want) return false;
    head(first, worker, serial, what);
    size_t of_head = want < LEDGER_HEAD ? want : LEDGER_HEAD;
    if (want > 0 && memcmp(reply.at, first, of_head) != 0) return false;
    return want == of_head || filled(reply.at + LEDGER_HEAD, want - LEDGER_HEAD, serial * LEDGER_WORKERS + worker);
}

/* ---- what happened to a call ---- */

/* Adds what is known now; what was known before, or 0 for a serial that is too old to be remembered. */
static uint64_t mark(struct ledger *l, uint32_t worker, uint64_t serial, uint64_t known)
{
    _Atomic uint64_t *at = &l->workers[worker].marks[serial % LEDGER_MARKS];
    uint64_t was = atomic_load(at);
    uint64_t before;
    do {
        if (was >> MARK_BITS > serial) return 0;
        before = was >> MARK_BITS == serial ? was & ((1 << MARK_BITS) - 1) : 0;
    } while (!atomic_compare_exchange_weak(at, &was, serial << MARK_BITS | before | known));
    return before;
}

void ledger_executed(struct ledger *l, struct framed_bytes request)
{
    uint32_t worker;
    uint64_t serial;
    enum ledger_what what;
    if (!ledger_read(request, &worker, &serial, &what)) return;
    uint64_t before = mark(l, worker, serial, MARK_EXECUTED);
    ledger_add(&l->executed, 1);
    if ((before & MARK_EXECUTED) != 0) ledger_add(&l->executed_twice, 1);
    if ((before & MARK_DENIED) != 0) ledger_add(&l->denied, 1);
}

void ledger_denied(struct ledger *l, uint32_t worker, uint64_t serial)
{
    if ((mark(l, worker, serial, MARK_DENIED) & MARK_EXECUTED) != 0) ledger_add(&l->denied, 1);
}

void ledger_replied(struct ledger *l, uint32_t worker, uint64_t serial)
{
    if ((mark(l, worker, serial, 0) & MARK_EXECUTED) == 0) ledger_add(&l->invented, 1);
}

/* ---- time and chance ---- */

uint64_t ledger_clock_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t ledger_random(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    return mix(*seed);
}

uint64_t ledger_below(uint64_t *seed, uint64_t n)
{
    return ledger_random(seed) % n;
}

uint64_t ledger_seed(void)
{
    uint64_t seed = 1;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) return (uint64_t)getpid();
    return seed;
}

void ledger_pause(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}
