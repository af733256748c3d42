/*
 * worker.c: one of a server's loops, and the connections that live on it.
 * Must not know frames, nor who listens.
 * Invariants: `sockets` is how many `closed` are still to come; whoever was given to a worker before the drain began is in its
 * inbox when it sees the drain; a newcomer is either a guest, or turned away, or still the giver's.
 */
#include "../proto/alloc.h"
#include "../proto/be.h"
#include "server.h"

enum { CHUNK_SIZE = 16 << 10 };

/* As many as fit into a block of the pool. */
enum { GUESTS_PER_CHUNK = (CHUNK_SIZE - sizeof(void *)) / sizeof(struct guest) };

struct guest_chunk {
    struct guest_chunk *next;
    struct guest guests[GUESTS_PER_CHUNK];
};

/* ---- guests ---- */

static struct guest *guest_new(struct worker *w)
{
    if (w->spare == NULL) {
        struct guest_chunk *chunk = mem_new(&w->loop.pool.alloc, sizeof *chunk);
        if (chunk == NULL) return NULL;
        chunk->next = w->chunks;
        w->chunks = chunk;
        for (size_t i = 0; i < GUESTS_PER_CHUNK; i++) {
            chunk->guests[i].conn.kind = NULL;
            chunk->guests[i].next = w->spare;
            w->spare = &chunk->guests[i];
        }
    }
    struct guest *g = w->spare;
    w->spare = g->next;
    *g = (struct guest){.conn.kind = &w->kind};
    w->sockets++;
    return g;
}

static void guest_put_back(struct guest *g)
{
    struct worker *w = worker_of(g);
    g->conn.kind = NULL;
    g->next = w->spare;
    w->spare = g;
    w->sockets--;
}

/* Every guest there is; none goes meanwhile (`gone` comes later). True: some visit was. */
static bool each_guest(struct worker *w, bool (*visit)(struct guest *g, enum conn_late why), enum conn_late why)
{
    bool any = false;
    for (struct guest_chunk *chunk = w->chunks; chunk != NULL; chunk = chunk->next)
        for (size_t i = 0; i < GUESTS_PER_CHUNK; i++)
            if (chunk->guests[i].conn.kind != NULL && visit(&chunk->guests[i], why)) any = true;
    return any;
}

void framed_worker_guest_free(struct guest *g)
{
    struct worker *w = worker_of(g);
    framed_strangers_leave(&w->strangers, g);
    framed_hosts_leave(&w->server->hosts, g->host);
    guest_put_back(g);
    framed_server_gone(w);
}

/* ---- newcomers ---- */

enum framed_status framed_worker_take(struct worker *w, const struct newcomer *n)
{
    struct guest *g = guest_new(w);
    if (g == NULL) return FRAMED_NOMEM;
    g->host = n->host;
    g->conn.port = n->port;
    enum framed_status st = framed_guest_begin(g, n->handle);
    if (st != FRAMED_OK) {
        framed_strangers_leave(&w->strangers, g);
        guest_put_back(g);
    } else if (w->draining) {
        framed_conn_drain(&g->conn);
    }
    return st;
}

/* A newcomer on his way to another loop. */
struct gift {
    struct letter letter; /* first */
    struct worker *to;
    struct newcomer newcomer;
};

static void gift_arrived(struct letter *l)
{
    struct gift gift = *(struct gift *)(void *)l;
    struct worker *w = gift.to;
    mem_free(w->server->alloc, l, sizeof gift);
    enum framed_status st = atomic_load(&w->server->stopping) ? FRAMED_CLOSED : framed_worker_take(w, &gift.newcomer);
    if (st != FRAMED_OK) framed_server_turn_away(w, &w->loop, &gift.newcomer, st);
}

enum framed_status framed_worker_give(struct worker *w, const struct newcomer *n)
{
    struct gift *gift = mem_new(w->server->alloc, sizeof *gift);
    if (gift == NULL) return FRAMED_NOMEM;
    *gift = (struct gift){.letter.deliver = gift_arrived, .to = w, .newcomer = *n};
    (void)framed_inbox_send(&w->loop.inbox, &gift->letter); /* the inbox is open as long as somebody accepts */
    return FRAMED_OK;
}

/* ---- draining ---- */

/* False: nobody was left but who was closed already. */
static bool break_guest(struct guest *g, enum conn_late why)
{
    if (g->conn.closing) return false;
    g->conn.late = (uint8_t)why;
    framed_conn_break(&g->conn, FRAMED_TIMEOUT);
    return true;
}

static bool drain_guest(struct guest *g, enum conn_late why)
{
    (void)why;
    framed_conn_drain(&g->conn);
    return true;
}

static void drain_timer_fired(struct timer *t)
{
    struct worker *w = (struct worker *)(void *)((uint8_t *)t - offsetof(struct worker, drain_timer));
    w->drain_late = each_guest(w, break_guest, LATE_DRAIN);
}

static void begin_drain(struct worker *w)
{
    w->draining = true;
    framed_loop_forget_now(&w->loop); /* it may be the first turn, long after the server was made */
    if (w->config.drain_ms != FRAMED_NEVER)
        framed_wheel_set(&w->loop.wheel, &w->drain_timer, framed_loop_now(&w->loop) + w->config.drain_ms);
    (void)each_guest(w, drain_guest, LATE_NOT);
}

static bool recheck_guest(struct guest *g, enum conn_late why)
{
    (void)why;
    framed_guest_recheck(g);
    return true;
}

/* ---- the loop ---- */

void framed_worker_wake(struct worker *w)
{
    framed_os_wake(w->loop.poller);
}

static bool is_first(const struct worker *w)
{
    return w == w->server->workers;
}

enum framed_status framed_worker_turn(struct worker *w, uint64_t wait_ms)
{
    struct framed_server *srv = w->server;
    if (is_first(w) && atomic_load(&srv->drain_asked) && !w->draining) framed_server_begin_drain(srv);
    if (atomic_load(&srv->draining) && !w->draining) begin_drain(w);
    if (w->draining && w->sockets == 0 && !framed_inbox_waits(&w->loop.inbox)) return FRAMED_CLOSED;
    if (is_first(w) && !w->draining) framed_server_accept_more(srv);
    unsigned rechecks = atomic_load_explicit(&srv->rechecks, memory_order_acquire);
    if (rechecks != w->rechecked) {
        w->rechecked = rechecks;
        (void)each_guest(w, recheck_guest, LATE_NOT);
    }
    enum framed_status st = framed_loop_turn(&w->loop, wait_ms);
    framed_guest_flush_dirty(w);
    return st;
}

bool framed_worker_run(struct worker *w)
{
    enum framed_status st = FRAMED_OK;
    while (st == FRAMED_OK && !atomic_load(&w->server->stopping)) st = framed_worker_turn(w, OS_FOREVER);
    framed_wheel_clear(&w->loop.wheel, &w->drain_timer);
    atomic_store_explicit(&w->loop.thread, 0, memory_order_relaxed); /* this thread is the loop's no longer */
    w->ended = st == FRAMED_CLOSED ? (w->drain_late ? FRAMED_TIMEOUT : FRAMED_OK) : st;
    return st == FRAMED_CLOSED || st == FRAMED_OK;
}

/* ---- beginning and end ---- */

static void fill_kind(struct worker *w)
{
    const struct framed_server_config *c = &w->config;
    struct conn_kind *k = &w->kind;
    k->ops = &framed_guest_ops;
    k->loop = &w->loop;
    k->max_frame = c->max_frame;
    k->max_unsent = c->max_unsent;
    k->frame_ms = c->frame_ms;
    k->frame_rate = c->frame_rate;
    k->idle_ms = c->idle_ms;
    k->send_ms = c->send_ms;
    k->linger_ms = c->linger_ms;
    k->opening_ms = c->handshake_ms;
    k->terms = framed_channel_listens(c->protections, c->max_frame);
    k->terms.keys = &w->server->keys;
}

/* A worker's share, at least one. */
static uint32_t share(const struct worker *w, uint32_t of_all)
{
    uint32_t n = of_all / w->config.workers;
    return n > 0 ? n : 1;
}

/* Only who has keys knows strangers from others. */
static enum framed_status init_strangers(struct worker *w)
{
    const struct framed_server_config *c = &w->config;
    uint64_t seed;
    if ((c->protections & CHANNEL_KEYED) == 0) return FRAMED_OK;
    enum framed_status st = framed_os_random(&seed, sizeof seed);
    if (st == FRAMED_OK)
        st = framed_strangers_init(&w->strangers, share(w, c->max_half_open), share(w, c->max_half_open_per_address),
                                   share(w, c->max_handshakes), seed, w->server->alloc);
    if (st != FRAMED_OK) {
        framed_loop_fini(&w->loop);
        framed_loop_fini_rest(&w->loop);
    }
    return st;
}

enum framed_status framed_worker_init(struct worker *w, struct framed_server *srv)
{
    *w = (struct worker){.server = srv, .config = srv->config};
    w->fresh.worker = w;
    w->fresh.state = CALL_CONSUMED;
    w->drain_timer.fired = drain_timer_fired;
    fill_kind(w);
    enum framed_status st = framed_loop_init(&w->loop, w->config.wait, srv->alloc, &srv->budget);
    w->loop.spin_us = w->config.spin_us;
    return st == FRAMED_OK ? init_strangers(w) : st;
}

void framed_worker_fini(struct worker *w)
{
    w->draining = true;
    (void)each_guest(w, break_guest, LATE_FREED);
    while (w->sockets > 0 && framed_os_wait(w->loop.poller, 0) == FRAMED_OK) continue;
    framed_wheel_clear(&w->loop.wheel, &w->drain_timer);
    framed_loop_fini(&w->loop);
}

void framed_worker_fini_rest(struct worker *w)
{
    while (w->chunks != NULL) {
        struct guest_chunk *chunk = w->chunks;
        w->chunks = chunk->next;
        mem_free(&w->loop.pool.alloc, chunk, sizeof *chunk);
    }
    framed_strangers_fini(&w->strangers, w->server->alloc);
    framed_loop_fini_rest(&w->loop);
}
