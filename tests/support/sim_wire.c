/*
 * sim_wire.c: owns what has been sent and has not arrived, and what befalls connections from outside.
 * Must not know who holds an end, nor make a callback.
 * Invariants: what travels one way arrives in the order it was sent; an end that is broken or closed has nothing coming, and
 * answers what comes all the same with a reset.
 */
#include "sim_world.h"
#include <stdlib.h>
#include <string.h>

void sim_delay(const struct sim_delay *delay)
{
    world.delay = delay != NULL ? *delay : (struct sim_delay){0};
}

void give_delay(struct end *e)
{
    const struct sim_delay *d = &world.delay;
    e->delay_ns = (uint64_t)(d->least_us + thrown((size_t)d->most_us - d->least_us + 1)) * 1000;
    e->jitter_ns = (uint64_t)d->jitter_us * 1000;
}

uint64_t travel_ns(const struct end *e)
{
    return e->delay_ns + thrown((size_t)e->jitter_ns + 1);
}

/* Without delay nothing is ever on its way. */
bool is_instant(const struct end *to)
{
    return to->delay_ns == 0 && to->jitter_ns == 0 && to->next_parcel == to->parcels.n &&
           to->stalled_until_ns <= world.now_ns;
}

void forget_parcels(struct end *e)
{
    queue_free(&e->wire);
    free(e->parcels.at);
    memset(&e->parcels, 0, sizeof e->parcels);
    e->next_parcel = 0;
}

static void arrive(struct end *to, enum parcel_kind kind, size_t n)
{
    if (kind == PARCEL_BYTES) {
        queue_put(&to->in, to->wire.at + to->wire.head, n);
        queue_drop(&to->wire, n);
    } else if (kind == PARCEL_END) {
        to->in_finished = true;
    } else if (kind == PARCEL_RESET_AFTER_ALL) {
        to->breaks_later = true;
    } else {
        break_end(to);
    }
}

static void await_next(struct end *to);

static void next_arrives(void *ctx)
{
    struct end *to = ctx;
    to->awaited = false;
    if (is_gone(to)) {
        bool asks = to->next_parcel < to->parcels.n && to->parcels.at[to->next_parcel].kind == PARCEL_BYTES;
        forget_parcels(to);
        if (asks && !to->silent) carry(to->other, PARCEL_RESET);
        return;
    }
    while (to->next_parcel < to->parcels.n && to->stalled_until_ns <= world.now_ns) {
        struct parcel p = to->parcels.at[to->next_parcel];
        if (p.when_ns > world.now_ns) break;
        to->next_parcel++;
        arrive(to, p.kind, p.n);
        if (is_gone(to)) return; /* by that, and the rest with it */
    }
    if (to->next_parcel == to->parcels.n) to->next_parcel = to->parcels.n = 0;
    await_next(to);
}

static void await_next(struct end *to)
{
    if (to->awaited || to->next_parcel == to->parcels.n) return;
    uint64_t when = to->parcels.at[to->next_parcel].when_ns;
    to->awaited = true;
    at_ns(when > to->stalled_until_ns ? when : to->stalled_until_ns, next_arrives, to);
}

static void put_parcel(struct end *to, enum parcel_kind kind, size_t n)
{
    struct parcel p = {world.now_ns + travel_ns(to), n, kind};
    if (to->parcels.n > to->next_parcel && to->parcels.at[to->parcels.n - 1].when_ns > p.when_ns)
        p.when_ns = to->parcels.at[to->parcels.n - 1].when_ns;
    APPEND(to->parcels, p);
    await_next(to);
}

void carry(struct end *to, enum parcel_kind kind)
{
    if (is_gone(to)) return;
    happened();
    if (is_instant(to))
        arrive(to, kind, 0);
    else
        put_parcel(to, kind, 0);
}

void carry_bytes(struct end *to, const uint8_t *at, size_t n)
{
    if (is_instant(to)) {
        queue_put(&to->in, at, n);
    } else {
        queue_put(&to->wire, at, n);
        put_parcel(to, PARCEL_BYTES, n);
    }
}

void shift_parcels(struct end *e, uint64_t ns)
{
    for (size_t i = e->next_parcel; i < e->parcels.n; i++) e->parcels.at[i].when_ns += ns;
    e->stalled_until_ns += ns;
}

/* ---- what befalls connections ---- */

/* The connecting end of one that is not over on both sides. */
static struct end *some_connection(void)
{
    size_t n = 0;
    for (size_t i = 0; i < world.live.n; i++) {
        struct end *e = world.live.at[i];
        if (!is_gone(e) || !is_gone(e->other)) world.live.at[n++] = e;
    }
    world.live.n = n;
    return n > 0 ? world.live.at[thrown(n)] : NULL;
}

static void give_up_on(void *ctx)
{
    break_connection(ctx);
}

unsigned sim_hit(enum sim_hit what, uint64_t ms)
{
    struct end *e = some_connection();
    if (e == NULL) return 0;
    unsigned port = port_of(&e->local);
    if (thrown(2) == 1) e = e->other;
    happened();
    switch (what) {
    case SIM_HIT_RESET: break_connection(e); break;
    case SIM_HIT_END:
        carry(e->other, PARCEL_END);
        e->silent = true;
        break_end(e);
        break;
    case SIM_HIT_SILENT:
        e->silent = true;
        at_ns(world.now_ns + ms * MS, give_up_on, e);
        break;
    case SIM_HIT_STALL: e->stalled_until_ns = world.now_ns + ms * MS; break;
    }
    return port;
}
