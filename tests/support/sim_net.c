/*
 * sim_net.c: owns the ends of connections and the bytes between them.
 * Must not know who holds an end (sim_socket.c, sim_peer.c), nor make a callback.
 * Invariants: an end is never reused within a world; bytes are in exactly one place (outbox, pipe, inbox).
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- queues ---- */

void queue_put(struct queue *q, const uint8_t *at, size_t n)
{
    if (n == 0) return;
    if (q->cap - q->head - q->len < n && q->head > 0) {
        memmove(q->at, q->at + q->head, q->len);
        q->head = 0;
    }
    if (q->cap - q->head - q->len < n) {
        size_t cap = q->cap ? q->cap : 256;
        while (cap - q->len < n) cap *= 2;
        q->at = realloc(q->at, cap);
        must(q->at != NULL, "the simulator itself is out of memory");
        q->cap = cap;
    }
    memcpy(q->at + q->head + q->len, at, n);
    q->len += n;
}

void queue_drop(struct queue *q, size_t n)
{
    q->head += n;
    q->len -= n;
    if (q->len == 0) q->head = 0;
}

void queue_free(struct queue *q)
{
    free(q->at);
    memset(q, 0, sizeof *q);
}

/* ---- ends ---- */

struct end *end_new(void)
{
    struct end *e = made(sizeof *e);
    e->handle = (intptr_t)(FIRST_HANDLE + world.ends.n);
    e->capacity = world.capacity;
    APPEND(world.ends, e);
    return e;
}

struct end *end_of_handle(intptr_t handle)
{
    bool known = handle >= FIRST_HANDLE && (size_t)(handle - FIRST_HANDLE) < world.ends.n;
    return known ? world.ends.at[handle - FIRST_HANDLE] : NULL;
}

struct end *end_of(const struct os_socket *s)
{
    struct end *e = end_of_handle(s->handle);
    must(e != NULL && e->socket == s, "a socket that is none (never opened, moved, or used after its end)");
    return e;
}

void count_handle(struct end *e)
{
    must(!e->counted, "a handle counted twice");
    e->counted = true;
    world.handles++;
}

void uncount_handle(struct end *e)
{
    must(e->counted, "a handle given back twice");
    e->counted = false;
    world.handles--;
}

/* ---- bytes on their way ---- */

/* The end learns of a reset: what it has not read is gone. */
void break_end(struct end *e)
{
    if (e->closed || e->broken) return;
    e->broken = true;
    queue_free(&e->in);
    forget_parcels(e);
    happened();
}

void break_connection(struct end *e)
{
    break_end(e);
    if (e->other) break_end(e->other);
}

void give_script(struct end *e, enum sim_side side)
{
    if (!world.scripted[side]) return;
    e->script_copy = world.scripts[side];
    e->script = &e->script_copy;
}

/* The end's own `closed` must be set first. */
void close_end(struct end *e)
{
    struct end *other = e->other;
    bool unread = e->in.len > 0;
    e->closed = true;
    queue_free(&e->in);
    happened();
    if (other == NULL || is_gone(other)) return;
    if (unread && !other->silent)
        carry(other, PARCEL_RESET);
    else if (!e->silent)
        carry(other, PARCEL_END);
}

static void execute_cut(struct end *e)
{
    enum sim_cut cut = e->script->cut;
    e->script = NULL;
    e->silent = true;
    happened();
    if (cut == SIM_CUT_SILENT) return;
    carry(e->other, cut == SIM_CUT_END ? PARCEL_END : PARCEL_RESET_AFTER_ALL);
    break_end(e);
}

/* Whoever sends to it is answered with a reset. */
bool is_gone(const struct end *e)
{
    return e->closed || e->broken;
}

/* How much of n bytes would leave now. */
size_t room_to_send(const struct end *e, size_t n)
{
    const struct end *to = e->other;
    if (e->silent) return 0;
    if (is_gone(to) && is_instant(to)) return n; /* the reset comes afterwards */
    size_t held = to->in.len + to->wire.len;
    return least(n, to->capacity > held ? to->capacity - held : 0);
}

/* Moves what fits of n bytes. */
size_t push(struct end *e, const uint8_t *at, size_t n)
{
    n = room_to_send(e, n);
    if (n == 0) return 0;
    happened();
    e->sent += n;
    if (is_gone(e->other) && is_instant(e->other))
        break_end(e);
    else
        carry_bytes(e->other, at, n);
    return n;
}

size_t turn_of(const size_t *list, size_t count, size_t *turn)
{
    if (list == NULL || count == 0) return SIZE_MAX;
    return list[(*turn)++ % count];
}

/* What a framed socket sends: limited by its script. */
size_t push_views(struct end *e, const struct framed_bytes *views, size_t n)
{
    size_t total = 0;
    size_t most = e->script ? turn_of(e->script->sends, e->script->send_count, &e->send_turn) : SIZE_MAX;
    for (size_t i = 0; i < n && total < most && !e->broken; i++) {
        size_t want = least(views[i].len, most - total);
        bool cut_here = e->script && e->script->cut != SIM_NO_CUT && e->script->cut_after - e->sent <= want;
        if (cut_here) want = (size_t)(e->script->cut_after - e->sent);
        size_t went = push(e, views[i].at, want);
        total += went;
        if (cut_here && went == want) {
            execute_cut(e);
            break;
        }
        if (went < views[i].len) break;
    }
    return total;
}

/* ---- listeners, and who comes ---- */

struct end *find_listener(const struct place *to)
{
    for (size_t i = 0; i < world.ends.n; i++) {
        struct end *e = world.ends.at[i];
        if (!e->listening || e->closed) continue;
        if (same_place(&e->local, to)) return e;
        if (to->kind != PLACE_UNIX && e->local.kind == to->kind && port_of(&e->local) == port_of(to) &&
            is_any_host(&e->local)) {
            return e;
        }
    }
    return NULL;
}

/* Makes the other end of `e`, and puts it where `listener` finds it. */
void join_listener(struct end *e, struct end *listener, const struct place *to)
{
    struct end *far = end_new();
    struct end **last = &listener->waiting;
    e->other = far;
    far->other = e;
    e->remote = *to;
    far->local = *to;
    far->remote = e->local;
    far->acceptor = listener->acceptor;
    far->idle_ms = listener->idle_ms;
    far->give_up_ms = listener->give_up_ms;
    far->keepalive_said = listener->keepalive_said;
    far->congestion = listener->congestion;
    e->to_self = far->to_self = world.to_self;
    give_delay(far);
    APPEND(world.live, e);
    if (listener->acceptor == NULL) give_script(far, SIM_ACCEPTOR);
    while (*last) last = &(*last)->next_waiting;
    *last = far;
    happened();
    if (far->script && far->script->cut != SIM_NO_CUT && far->script->cut_after == 0) execute_cut(far);
}

void close_listener(struct end *e)
{
    e->closed = true;
    for (struct end *w = e->waiting; w; w = w->next_waiting) {
        break_connection(w);
        w->closed = true;
    }
    e->waiting = NULL;
    happened();
}

intptr_t sim_fd_listening(const char *address)
{
    struct end *e = end_new();
    e->listening = true;
    e->local = parse_address(address);
    return e->handle;
}

intptr_t sim_fd_connected(struct sim_peer **peer)
{
    struct end *a = end_new(), *b = end_new();
    struct place to = parse_address("127.0.0.1:4000");
    a->other = b;
    b->other = a;
    a->local = b->remote = near_place(&to, NULL);
    b->local = a->remote = to;
    *peer = peer_new(b);
    return a->handle;
}
