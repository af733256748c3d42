/*
 * server.c: a server's life: listening, accepting, draining, counting.
 * Must not know frames; its guests do that (guest.c).
 * Invariants: `sockets` is how many `closed` are still to come; an accept is asked for exactly while there is room for one
 * more guest, accepting is not failing, and no drain has begun.
 */
#include "server.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include "../proto/length.h"
#include "address.h"
#include <string.h>

enum { CHUNK_SIZE = 16 << 10, ACCEPT_PAUSE_MS = 100, KEEPALIVE_GIVE_UP_MS = 30000 };

/* As many as fit into a block of the pool. */
enum { GUESTS_PER_CHUNK = (CHUNK_SIZE - sizeof(void *)) / sizeof(struct guest) };

struct guest_chunk {
    struct guest_chunk *next;
    struct guest guests[GUESTS_PER_CHUNK];
};

/* ---- config ---- */

void framed_server_config_init(struct framed_server_config *config, size_t size)
{
    memset(config, 0, size);
    config->size = size;
}

static void fill_defaults(struct framed_server_config *c)
{
    if (c->allocator == NULL) c->allocator = framed_os_allocator();
    c->max_frame = length_limit(c->max_frame);
    default_to(&c->max_send, c->max_frame);
    default_to(&c->max_conns, 10000);
    default_to(&c->max_conns_per_address, c->max_conns);
    default_to(&c->max_calls, 64);
    if (c->max_unsent == 0) c->max_unsent = 1u << 20;
    if (c->max_memory == 0) c->max_memory = 1u << 30;
    default_to(&c->max_log_lines, 10);
    default_to(&c->frame_ms, 10000);
    default_to(&c->frame_rate, 4096);
    default_to(&c->idle_ms, 300000);
    default_to(&c->call_ms, 300000);
    default_to(&c->send_ms, 30000);
    default_to(&c->drain_ms, 30000);
    default_to(&c->linger_ms, 2000);
    default_to(&c->keepalive_ms, 60000);
}

static enum framed_status read_config(const struct framed_server_config *given, struct framed_server_config *c)
{
    *c = (struct framed_server_config){0};
    if (given == NULL || given->size == 0 || given->size > sizeof *c) return FRAMED_USAGE; /* larger: a newer caller */
    memcpy(c, given, given->size);
    if (c->handler == NULL || c->max_frame > FRAMED_FRAME_MOST || c->max_send > FRAMED_FRAME_MOST) return FRAMED_USAGE;
    if (c->replies != FRAMED_REPLIES_ORDERED && c->replies != FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    fill_defaults(c);
    return FRAMED_OK;
}

/* ---- guests ---- */

struct guest *framed_server_guest_new(struct framed_server *srv)
{
    if (srv->spare == NULL) {
        struct guest_chunk *chunk = mem_new(&srv->loop.pool.alloc, sizeof *chunk);
        if (chunk == NULL) return NULL;
        chunk->next = srv->chunks;
        srv->chunks = chunk;
        for (size_t i = 0; i < GUESTS_PER_CHUNK; i++) {
            chunk->guests[i].next = srv->spare;
            srv->spare = &chunk->guests[i];
        }
    }
    struct guest *g = srv->spare;
    srv->spare = g->next;
    *g = (struct guest){.server = srv, .next = srv->guests, .link = &srv->guests};
    if (g->next != NULL) g->next->link = &g->next;
    srv->guests = g;
    srv->sockets++;
    return g;
}

static void guest_forget(struct guest *g)
{
    struct framed_server *srv = g->server;
    *g->link = g->next;
    if (g->next != NULL) g->next->link = g->link;
    if (g->host != NULL) framed_hosts_leave(&srv->hosts, g->host);
    g->next = srv->spare;
    srv->spare = g;
    srv->sockets--;
}

static uint64_t connections(const struct framed_server *srv)
{
    return atomic_load_explicit(&srv->accepted, memory_order_relaxed) -
           atomic_load_explicit(&srv->closed, memory_order_relaxed);
}

void framed_server_guest_free(struct guest *g)
{
    struct framed_server *srv = g->server;
    guest_forget(g);
    count(&srv->closed, 1); /* the next turn may accept again */
}

/* ---- accepting ---- */

/* Out of descriptors or memory: the backlog keeps those who come, and we try again a little later, not at once. */
static void accept_failed(struct framed_server *srv, enum framed_status st)
{
    count(&srv->accept_failures, 1);
    if (!srv->accept_failed)
        framed_log(&srv->log, FRAMED_LOG_WARNING, "accepting failed: %s; trying again", framed_status_text(st));
    srv->accept_failing = srv->accept_failed = true;
    framed_wheel_set(&srv->loop.wheel, &srv->accept_timer, framed_loop_now(&srv->loop) + ACCEPT_PAUSE_MS);
}

static void accept_more(struct framed_server *srv)
{
    if (srv->draining || srv->accept_failing || connections(srv) >= srv->config.max_conns) return;
    for (struct listener *l = srv->listeners; l != NULL; l = l->next) {
        if (l->asked) continue;
        enum framed_status st = framed_os_accept(&l->sock);
        l->asked = st == FRAMED_OK;
        if (st != FRAMED_OK) {
            accept_failed(srv, st);
            return;
        }
    }
}

static void accept_timer_fired(struct timer *t)
{
    struct framed_server *srv =
        (struct framed_server *)(void *)((uint8_t *)t - offsetof(struct framed_server, accept_timer));
    srv->accept_failing = false;
    accept_more(srv);
}

static void stop_accepting(struct framed_server *srv)
{
    for (struct listener *l = srv->listeners; l != NULL; l = l->next) {
        framed_os_accept_stop(&l->sock);
        l->asked = false;
    }
}

static void refuse(struct framed_server *srv, const struct os_address *peer, const char *why)
{
    count(&srv->closed, 1);
    if (srv->log.write == NULL) return;
    char text[OS_ADDRESS_TEXT_SIZE];
    char plain[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(peer, text, sizeof text);
    framed_log_escape(text, plain, sizeof plain);
    framed_log(&srv->log, FRAMED_LOG_WARNING, "%s refused: %s", plain, why);
}

static enum framed_status welcome(struct framed_server *srv, intptr_t handle, const struct os_address *peer)
{
    static const struct os_host local;
    struct guest *g = framed_server_guest_new(srv);
    if (g == NULL) return FRAMED_NOMEM;
    struct os_host host;
    g->port = framed_os_address_host(peer, &host);
    bool is_local = g->port == 0 && memcmp(&host, &local, sizeof host) == 0; /* a Unix socket has no address to count by */
    enum framed_status st =
        framed_hosts_enter(&srv->hosts, &host, is_local ? UINT32_MAX : srv->config.max_conns_per_address, &g->host);
    if (st == FRAMED_OK) st = framed_guest_begin(g, handle);
    if (st != FRAMED_OK) guest_forget(g);
    return st;
}

static void listener_accepted(struct os_socket *s, enum framed_status st, intptr_t handle, const struct os_address *peer)
{
    struct listener *l = (struct listener *)(void *)s;
    struct framed_server *srv = l->server;
    l->asked = false;
    if (st != FRAMED_OK) {
        accept_failed(srv, st);
        return;
    }
    srv->accept_failed = false;
    count(&srv->accepted, 1);
    st = welcome(srv, handle, peer);
    if (st != FRAMED_OK) {
        framed_os_discard(handle);
        count(st == FRAMED_FULL ? &srv->refused : &srv->accept_failures, 1);
        refuse(srv, peer, st == FRAMED_FULL ? "too many connections from its address" : framed_status_text(st));
    }
    if (connections(srv) >= srv->config.max_conns)
        stop_accepting(srv); /* the other listeners' requests too: the limit is exact */
    else
        accept_more(srv);
}

static void listener_closed(struct os_socket *s)
{
    struct listener *l = (struct listener *)(void *)s;
    l->server->sockets--;
}

static const struct os_socket_ops listener_ops = {.accepted = listener_accepted, .closed = listener_closed};

static enum framed_status listen_at(struct listener *l, const struct address *where)
{
    struct os_poller *poller = l->server->loop.poller;
    if (where->fd != OS_NO_HANDLE) {
        l->adopted = true;
        return framed_os_adopt(poller, &l->sock, where->fd, true, &l->bound);
    }
    enum framed_status st = FRAMED_NOT_FOUND;
    for (size_t i = 0; i < where->n; i++) {
        st = framed_os_listen(poller, &l->sock, &where->found[i], &l->bound);
        if (st == FRAMED_OK) break;
    }
    return st;
}

enum framed_status framed_server_listen(struct framed_server *srv, const char *address)
{
    struct address where;
    enum framed_status st = framed_address_find(address, true, &where);
    if (st != FRAMED_OK) return st;
    struct listener *l = mem_new(srv->alloc, sizeof *l);
    if (l == NULL) return FRAMED_NOMEM;
    *l = (struct listener){.sock.ops = &listener_ops, .server = srv};
    st = listen_at(l, &where);
    if (st != FRAMED_OK) {
        mem_free(srv->alloc, l, sizeof *l);
        return st;
    }
    uint32_t keepalive = srv->config.keepalive_ms;
    framed_os_keepalive(&l->sock, keepalive == FRAMED_NEVER ? 0 : keepalive, KEEPALIVE_GIVE_UP_MS);
    struct listener **end = &srv->listeners;
    while (*end != NULL) end = &(*end)->next;
    *end = l;
    srv->sockets++;
    return FRAMED_OK;
}

enum framed_status framed_server_address(const struct framed_server *srv, size_t i, char *text, size_t size)
{
    const struct listener *l = srv->listeners;
    while (l != NULL && i-- > 0) l = l->next;
    if (l == NULL || size == 0) return FRAMED_USAGE;
    framed_os_address_text(&l->bound, text, size);
    return FRAMED_OK;
}

/* ---- draining ---- */

void framed_server_drain(struct framed_server *srv)
{
    atomic_store(&srv->drain_asked, true);
    framed_os_wake(srv->loop.poller);
}

static void break_guests(struct framed_server *srv, enum conn_late why)
{
    for (struct guest *g = srv->guests; g != NULL; g = g->next) {
        g->conn.late = (uint8_t)why;
        framed_conn_break(&g->conn, FRAMED_TIMEOUT);
    }
}

static void drain_timer_fired(struct timer *t)
{
    struct framed_server *srv = (struct framed_server *)(void *)((uint8_t *)t - offsetof(struct framed_server, drain_timer));
    srv->drain_late = true;
    break_guests(srv, LATE_DRAIN);
}

static void close_listeners(struct framed_server *srv)
{
    for (struct listener *l = srv->listeners; l != NULL; l = l->next) {
        if (l->closed) continue;
        l->closed = true;
        framed_os_close(&l->sock);
        if (!l->adopted) framed_os_address_remove(&l->bound); /* at once: a successor may take the path while we drain */
    }
}

static void begin_drain(struct framed_server *srv)
{
    srv->draining = true;
    framed_wheel_clear(&srv->loop.wheel, &srv->accept_timer);
    close_listeners(srv);
    if (srv->config.drain_ms != FRAMED_NEVER)
        framed_wheel_set(&srv->loop.wheel, &srv->drain_timer, framed_loop_now(&srv->loop) + srv->config.drain_ms);
    for (struct guest *g = srv->guests; g != NULL; g = g->next) framed_conn_drain(&g->conn); /* guests go later, in `gone` */
}

enum framed_status framed_server_turn(struct framed_server *srv, uint64_t wait_ms)
{
    if (atomic_load(&srv->drain_asked) && !srv->draining) begin_drain(srv);
    if (srv->draining && srv->sockets == 0) return FRAMED_CLOSED;
    if (!srv->draining) accept_more(srv);
    enum framed_status st = framed_loop_turn(&srv->loop, wait_ms);
    framed_guest_flush_dirty(srv);
    return st;
}

enum framed_status framed_server_run(struct framed_server *srv)
{
    if (srv->listeners == NULL) return FRAMED_USAGE;
    enum framed_status st;
    do st = framed_server_turn(srv, OS_FOREVER);
    while (st == FRAMED_OK);
    framed_wheel_clear(&srv->loop.wheel, &srv->drain_timer);
    framed_log_settle(&srv->log);
    atomic_store_explicit(&srv->loop.thread, 0, memory_order_relaxed); /* this thread is the loop's no longer */
    if (st != FRAMED_CLOSED) return st;
    return srv->drain_late ? FRAMED_TIMEOUT : FRAMED_OK;
}

/* ---- beginning and end ---- */

static void fill_kind(struct framed_server *srv)
{
    const struct framed_server_config *c = &srv->config;
    struct conn_kind *k = &srv->kind;
    k->ops = &framed_guest_ops;
    k->loop = &srv->loop;
    k->max_frame = c->max_frame;
    k->max_unsent = c->max_unsent;
    k->frame_ms = c->frame_ms;
    k->frame_rate = c->frame_rate;
    k->idle_ms = c->idle_ms;
    k->send_ms = c->send_ms;
    k->linger_ms = c->linger_ms;
}

enum framed_status framed_server_new(const struct framed_server_config *config, struct framed_server **server)
{
    struct framed_server_config c;
    enum framed_status st = read_config(config, &c);
    if (st != FRAMED_OK) return st;
    uint64_t seed;
    st = framed_os_random(&seed, sizeof seed);
    if (st != FRAMED_OK) return st;

    struct framed_server *srv = mem_new(c.allocator, sizeof *srv);
    if (srv == NULL) return FRAMED_NOMEM;
    memset(srv, 0, sizeof *srv);
    srv->config = c;
    srv->alloc = c.allocator;
    srv->budget.limit = c.max_memory;
    st = framed_loop_init(&srv->loop, c.wait, c.allocator, &srv->budget);
    if (st != FRAMED_OK) {
        mem_free(c.allocator, srv, sizeof *srv);
        return st;
    }
    atomic_init(&srv->refs, 1);
    srv->fresh.server = srv;
    srv->fresh.state = CALL_CONSUMED;
    srv->log = (struct log){.write = c.log, .ctx = c.log_ctx, .loop = &srv->loop, .most = c.max_log_lines};
    srv->accept_timer.fired = accept_timer_fired;
    srv->drain_timer.fired = drain_timer_fired;
    framed_hosts_init(&srv->hosts, seed, &srv->loop.pool.alloc);
    fill_kind(srv);
    *server = srv;
    return FRAMED_OK;
}

void framed_server_unref(struct framed_server *srv)
{
    if (atomic_fetch_sub(&srv->refs, 1) > 1) return;
    while (srv->chunks != NULL) {
        struct guest_chunk *chunk = srv->chunks;
        srv->chunks = chunk->next;
        mem_free(&srv->loop.pool.alloc, chunk, sizeof *chunk);
    }
    framed_loop_fini_rest(&srv->loop);
    const struct framed_allocator *alloc = srv->alloc;
    mem_free(alloc, srv, sizeof *srv);
}

void framed_server_free(struct framed_server *srv)
{
    if (srv == NULL) return;
    srv->draining = true;
    close_listeners(srv);
    break_guests(srv, LATE_FREED);
    while (srv->sockets > 0 && framed_os_wait(srv->loop.poller, 0) == FRAMED_OK) continue;
    framed_wheel_clear(&srv->loop.wheel, &srv->accept_timer);
    framed_wheel_clear(&srv->loop.wheel, &srv->drain_timer);
    while (srv->listeners != NULL) {
        struct listener *l = srv->listeners;
        srv->listeners = l->next;
        mem_free(srv->alloc, l, sizeof *l);
    }
    framed_loop_fini(&srv->loop);
    framed_server_unref(srv);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void framed_server_stats(const struct framed_server *srv, struct framed_server_stats *stats, size_t size)
{
    struct framed_server_stats all = {
        .size = size,
        .accepted = read_counter(&srv->accepted),
        .refused = read_counter(&srv->refused),
        .closed = read_counter(&srv->closed),
        .bytes_in = read_counter(&srv->kind.bytes_in),
        .bytes_out = read_counter(&srv->kind.bytes_out),
        .requests = read_counter(&srv->kind.frames_in),
        .replies = read_counter(&srv->replies),
        .failed_calls = read_counter(&srv->failed_calls),
        .framing_errors = read_counter(&srv->framing_errors),
        .deadlines = read_counter(&srv->kind.deadlines),
        .accept_failures = read_counter(&srv->accept_failures),
        .log_suppressed = read_counter(&srv->log.suppressed),
        .open_calls = read_counter(&srv->open_calls),
        .memory = atomic_load_explicit(&srv->budget.used, memory_order_relaxed),
    };
    all.connections = all.accepted > all.closed ? all.accepted - all.closed : 0;
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
}
