/*
 * sim.c: owns the simulated world: its beginning and end, its dice, memory and locks (its other parts: sim_world.h).
 * Must not know the protocol, nor anything of server and client but what os.h says.
 * Invariants: nothing outlives sim_stop, and whatever os.h gave out must have been given back by then.
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world world;

/* ---- small things ---- */

void must(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "sim: seed %llu, at %llu ms: %s\n", (unsigned long long)world.seed, (unsigned long long)sim_now_ms(),
            what);
    for (size_t i = 0; i < world.failure_count; i++) {
        const struct failure *f = &world.failures[i];
        fprintf(stderr, "sim: %s was to fail with %s, %s time %llu\n", op_names[f->op], framed_status_name(f->status),
                f->onward ? "from" : "at", (unsigned long long)f->at);
    }
    abort();
}

void *grown(void *at, size_t count, size_t *cap, size_t item)
{
    if (count < *cap) return at;
    *cap = *cap ? *cap * 2 : 16;
    at = realloc(at, *cap * item);
    must(at != NULL, "the simulator itself is out of memory");
    return at;
}

void *made(size_t size)
{
    void *at = calloc(1, size);
    must(at != NULL, "the simulator itself is out of memory");
    return at;
}

uint64_t next_of(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* 0 .. n-1; always 0 in a world without dice. */
size_t thrown(size_t n)
{
    if (!world.dice || n < 2) return 0;
    return (size_t)((next_of(&world.dice) >> 16) % n);
}

uint64_t after_ms(uint64_t ms)
{
    if (ms >= (UINT64_MAX - world.now_ns) / MS) return UINT64_MAX;
    return world.now_ns + ms * MS;
}

void happened(void)
{
    world.idle_turns = 0;
}

/* ---- the world ---- */

void sim_start(uint64_t seed)
{
    if (world.exists) fprintf(stderr, "sim: the last world was not ended; that test must have failed\n");
    memset(&world, 0, sizeof world);
    world.exists = true;
    world.now_ns = START_NS;
    world.seed = world.dice = seed;
    world.random = seed * 2 + UINT64_C(0x9e3779b97f4a7c15);
    world.capacity = 64 << 10;
    world.thread = 1;
    meter_init(&world.meter);
    if (seed) {
        for (int i = 0; i < 8; i++) (void)next_of(&world.dice);
    }
}

static void free_ends(void)
{
    for (size_t i = 0; i < world.ends.n; i++) {
        struct end *e = world.ends.at[i];
        queue_free(&e->in);
        forget_parcels(e);
        free(e);
    }
    free(world.ends.at);
}

static void free_peers(void)
{
    for (size_t i = 0; i < world.peers.n; i++) {
        queue_free(&world.peers.at[i]->inbox);
        queue_free(&world.peers.at[i]->outbox);
        free(world.peers.at[i]);
    }
    free(world.peers.at);
}

void sim_stop(void)
{
    must(world.pollers == 0, "a poller was not closed");
    must(world.handles == 0, "a handle was not given back");
    must(world.locks == 0 && world.locks_held == 0, "a lock was not freed");
    free_ends();
    free_peers();
    free_actors();
    for (size_t i = 0; i < world.acceptors.n; i++) free(world.acceptors.at[i]);
    free(world.acceptors.at);
    free(world.events.at);
    free(world.live.at);
    world.exists = false;
    meter_fini(&world.meter);
}

void sim_abandon(void)
{
    world.exists = false;
}

struct meter *sim_meter(void)
{
    return &world.meter;
}

void sim_capacity(size_t bytes)
{
    world.capacity = bytes;
}

void sim_max_handles(size_t n)
{
    world.max_handles = n;
}

size_t sim_handles(void)
{
    return world.handles;
}

void sim_events_per_wait(size_t n)
{
    world.events_per_wait = n;
}

void sim_thread(uintptr_t self)
{
    world.thread = self;
}

void sim_script(enum sim_side side, const struct sim_script *script)
{
    world.scripted[side] = script != NULL;
    if (script) world.scripts[side] = *script;
}

void sim_blackhole(const char *address)
{
    must(world.blackhole_count < MOST_PLACES, "sim_blackhole: too many");
    world.blackholes[world.blackhole_count++] = parse_address(address);
}

void sim_connect_to_self(void)
{
    world.to_self = true;
}

/* ---- clock, dice, memory, threads, locks ---- */

uint64_t framed_os_clock_ns(void)
{
    return world.now_ns;
}

enum framed_status framed_os_random(void *at, size_t n)
{
    enum framed_status st;
    if (fails(OP_RANDOM, &st)) return st;
    for (size_t i = 0; i < n; i++) ((uint8_t *)at)[i] = (uint8_t)(next_of(&world.random) >> 32);
    return FRAMED_OK;
}

const struct framed_allocator *framed_os_allocator(void)
{
    return &world.meter.allocator;
}

uintptr_t framed_os_thread_self(void)
{
    return world.stepping ? (uintptr_t)world.stepping : world.thread;
}

enum framed_status framed_os_lock_new(struct os_lock **lock, const struct framed_allocator *alloc)
{
    enum framed_status st;
    if (fails(OP_LOCK_NEW, &st)) return st;
    struct os_lock *l = alloc->resize(alloc->ctx, NULL, 0, sizeof *l);
    if (l == NULL) return FRAMED_NOMEM;
    l->held = false;
    world.locks++;
    *lock = l;
    return FRAMED_OK;
}

void framed_os_lock_free(struct os_lock *lock, const struct framed_allocator *alloc)
{
    if (lock == NULL) return;
    must(!lock->held, "a lock is freed while it is held");
    alloc->resize(alloc->ctx, lock, sizeof *lock, 0);
    world.locks--;
}

void framed_os_lock(struct os_lock *lock)
{
    must(!lock->held, "a lock is taken twice: here the real ones would hang");
    lock->held = true;
    world.locks_held++;
}

void framed_os_unlock(struct os_lock *lock)
{
    must(lock->held, "a lock is given back that nobody holds");
    lock->held = false;
    world.locks_held--;
}
