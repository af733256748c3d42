/*
 * server.c: a server's life: listening, accepting, draining, counting.
 * Must not know frames (guest.c), nor what its workers do with the connections they are given (worker.c).
 * Invariants: an accept is asked for exactly while there is room for one more connection, accepting is not failing, and no drain
 * has begun; the first worker does it all, and gives each connection to the worker that has fewest.
 */
#include "server.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include "../proto/length.h"
#include "address.h"
#include <string.h>

enum { ACCEPT_PAUSE_MS = 100, KEEPALIVE_GIVE_UP_MS = 30000, WORKERS_MOST = 1024, HALF_OPEN = 256, HALF_OPEN_MOST = 4096 };

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
    default_to(&c->workers, 1);
    default_to(&c->handshake_ms, 5000);
    default_to(&c->max_half_open,
               c->max_conns >= 2 * HALF_OPEN ? HALF_OPEN : (c->max_conns + 1) / 2); /* others have room, too */
    default_to(&c->max_half_open_per_address, 16);
    default_to(&c->max_handshakes, 500);
}

/* Which protections there are by default, and whether each has its keys. */
static enum framed_status suit_keys(struct framed_server_config *c)
{
    const uint32_t shared = 1u << FRAMED_SHARED_KEY, pinned = 1u << FRAMED_PINNED_KEYS,
                   both = 1u << FRAMED_SHARED_AND_PINNED;
    bool has_shared = c->shared_key != NULL, has_pinned = c->secret_key != NULL;
    if (has_pinned && c->authorize == NULL) return FRAMED_USAGE; /* it would let in whoever has any key */
    uint32_t all = has_shared && has_pinned ? both
                   : has_shared             ? shared
                   : has_pinned             ? pinned
                                            : CHANNEL_BUILT & ~CHANNEL_KEYED;
    default_to(&c->protections, all);
    if ((c->protections & ~(uint32_t)CHANNEL_BUILT) != 0) return FRAMED_UNSUPPORTED;
    if (!has_shared && (c->protections & (shared | both)) != 0) return FRAMED_USAGE;
    return has_pinned || (c->protections & (pinned | both)) == 0 ? FRAMED_OK : FRAMED_USAGE;
}

static enum framed_status read_config(const struct framed_server_config *given, struct framed_server_config *c)
{
    *c = (struct framed_server_config){0};
    if (given == NULL || given->size == 0 || given->size > sizeof *c) return FRAMED_USAGE; /* larger: a newer caller */
    memcpy(c, given, given->size);
    if (c->handler == NULL || c->max_frame > FRAMED_FRAME_MOST || c->max_send > FRAMED_FRAME_MOST) return FRAMED_USAGE;
    if (c->replies != FRAMED_REPLIES_ORDERED && c->replies != FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    if (c->max_half_open > HALF_OPEN_MOST || c->max_half_open_per_address > HALF_OPEN_MOST) return FRAMED_USAGE;
    if (c->workers > WORKERS_MOST || c->spin_us > LOOP_SPIN_MOST_US) return FRAMED_USAGE;
    fill_defaults(c);
    enum framed_status st = suit_keys(c);
    if (st != FRAMED_OK) return st;
    return c->congestion != NULL ? framed_os_congestion_check(c->congestion) : FRAMED_OK;
}

/* ---- accepting ---- */

static struct worker *first_of(struct framed_server *srv)
{
    return srv->workers;
}

static struct loop *accept_loop(struct framed_server *srv)
{
    return &first_of(srv)->loop;
}

static uint64_t connections(const struct framed_server *srv)
{
    return atomic_load(&srv->accepted) - atomic_load(&srv->closed);
}

void framed_server_gone(struct worker *w)
{
    struct framed_server *srv = w->server;
    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    atomic_fetch_add(&srv->closed, 1);
    /* The first worker's next turn may accept again; if that is not ours, it has to be told. */
    if (w != first_of(srv) && atomic_load(&srv->full) && atomic_exchange(&srv->full, false))
        framed_worker_wake(first_of(srv));
}

/* May one more come? If not, whoever closes a connection will see that he has to say so. */
static bool has_room(struct framed_server *srv)
{
    if (connections(srv) < srv->config.max_conns) return true;
    atomic_store(&srv->full, true);
    return connections(srv) < srv->config.max_conns; /* one may have gone just before */
}

/* Out of descriptors or memory: the backlog keeps those who come, and we try again a little later, not at once. */
static void accept_failed(struct framed_server *srv, enum framed_status st)
{
    struct loop *loop = accept_loop(srv);
    atomic_fetch_add_explicit(&srv->accept_failures, 1, memory_order_relaxed);
    if (!srv->accept_failed)
        framed_log(&srv->log, loop, FRAMED_LOG_WARNING, LOG_OF_ANYBODY, "accepting failed: %s; trying again",
                   framed_status_text(st));
    srv->accept_failing = srv->accept_failed = true;
    framed_wheel_set(&loop->wheel, &srv->accept_timer, framed_loop_now(loop) + ACCEPT_PAUSE_MS);
}

void framed_server_accept_more(struct framed_server *srv)
{
    if (atomic_load(&srv->draining) || srv->accept_failing || !has_room(srv)) return;
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
    framed_server_accept_more(srv);
}

static void stop_accepting(struct framed_server *srv)
{
    for (struct listener *l = srv->listeners; l != NULL; l = l->next) {
        framed_os_accept_stop(&l->sock);
        l->asked = false;
    }
}

/* He will not be served: says why, and closes. FRAMED_CLOSED: it is we who have stopped. */
static void turn_away(struct worker *w, struct loop *here, intptr_t handle, const char *who, enum framed_status why)
{
    struct framed_server *srv = w->server;
    framed_os_discard(handle);
    atomic_fetch_add_explicit(why == FRAMED_FULL ? &srv->refused : &srv->accept_failures, 1, memory_order_relaxed);
    const char *text = why == FRAMED_FULL     ? "too many connections from its address"
                       : why == FRAMED_CLOSED ? "the server has stopped"
                                              : framed_status_text(why);
    enum log_of of = (srv->config.protections & CHANNEL_KEYED) != 0 ? LOG_OF_STRANGER : LOG_OF_ANYBODY;
    framed_log(&srv->log, here, FRAMED_LOG_WARNING, of, "%s refused: %s", who, text);
    framed_server_gone(w);
}

void framed_server_turn_away(struct worker *w, struct loop *here, const struct newcomer *n, enum framed_status why)
{
    char who[OS_ADDRESS_TEXT_SIZE];
    framed_os_host_text(&n->host->is, n->port, who, sizeof who);
    framed_hosts_leave(&w->server->hosts, n->host);
    turn_away(w, here, n->handle, who, why);
}

/* The worker with the fewest connections; among equals they take turns. */
static struct worker *least_loaded(struct framed_server *srv)
{
    size_t n = srv->config.workers;
    struct worker *least = &srv->workers[srv->next_worker % n];
    for (size_t i = 1; i < n; i++) {
        struct worker *w = &srv->workers[(srv->next_worker + i) % n];
        if (atomic_load_explicit(&w->load, memory_order_relaxed) < atomic_load_explicit(&least->load, memory_order_relaxed))
            least = w;
    }
    srv->next_worker = (size_t)(least - srv->workers) + 1;
    return least;
}

static void welcome(struct framed_server *srv, intptr_t handle, const struct os_address *peer)
{
    static const struct os_host local;
    struct os_host host;
    struct newcomer n = {.handle = handle};
    n.port = framed_os_address_host(peer, &host);
    bool is_local = n.port == 0 && memcmp(&host, &local, sizeof host) == 0; /* a Unix socket has no address to count by */
    struct worker *w = least_loaded(srv);
    atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
    enum framed_status st =
        framed_hosts_enter(&srv->hosts, &host, is_local ? UINT32_MAX : srv->config.max_conns_per_address, &n.host);
    if (st != FRAMED_OK) {
        char text[OS_ADDRESS_TEXT_SIZE];
        framed_os_host_text(&host, n.port, text, sizeof text);
        turn_away(w, accept_loop(srv), handle, text, st);
        return;
    }
    st = w == first_of(srv) ? framed_worker_take(w, &n) : framed_worker_give(w, &n);
    if (st != FRAMED_OK) framed_server_turn_away(w, accept_loop(srv), &n, st);
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
    atomic_fetch_add(&srv->accepted, 1);
    welcome(srv, handle, peer);
    if (!has_room(srv))
        stop_accepting(srv); /* the other listeners' requests too: the limit is exact */
    else
        framed_server_accept_more(srv);
}

static void listener_closed(struct os_socket *s)
{
    struct listener *l = (struct listener *)(void *)s;
    first_of(l->server)->sockets--;
}

static const struct os_socket_ops listener_ops = {.accepted = listener_accepted, .closed = listener_closed};

static enum framed_status listen_at(struct listener *l, const struct address *where)
{
    struct os_poller *poller = accept_loop(l->server)->poller;
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
    if (srv->ran) return FRAMED_USAGE;
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
    if (srv->config.congestion != NULL) framed_os_congestion(&l->sock, srv->config.congestion);
    struct listener **end = &srv->listeners;
    while (*end != NULL) end = &(*end)->next;
    *end = l;
    first_of(srv)->sockets++;
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
    framed_worker_wake(first_of(srv));
}

void framed_server_recheck(struct framed_server *srv)
{
    atomic_fetch_add(&srv->rechecks, 1);
    for (size_t i = 0; i < srv->config.workers; i++) framed_worker_wake(&srv->workers[i]);
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

static void wake_others(struct framed_server *srv)
{
    for (size_t i = 1; i < srv->config.workers; i++) framed_worker_wake(&srv->workers[i]);
}

void framed_server_begin_drain(struct framed_server *srv)
{
    framed_wheel_clear(&accept_loop(srv)->wheel, &srv->accept_timer);
    close_listeners(srv);
    atomic_store(&srv->draining, true);
    wake_others(srv);
}

/* ---- running ---- */

enum framed_status framed_server_turn(struct framed_server *srv, uint64_t wait_ms)
{
    return framed_worker_turn(first_of(srv), wait_ms);
}

static void stop_all(struct framed_server *srv)
{
    atomic_store(&srv->stopping, true);
    for (size_t i = 0; i < srv->config.workers; i++) framed_worker_wake(&srv->workers[i]);
}

static void run_worker(void *worker)
{
    struct worker *w = worker;
    if (!framed_worker_run(w)) stop_all(w->server); /* one that serves no more ends them all */
}

/* How all of them ended: a loop that failed tells more than a drain that was late. */
static enum framed_status how_they_ended(const struct framed_server *srv, size_t n)
{
    enum framed_status how = FRAMED_OK;
    for (size_t i = 0; i < n; i++) {
        enum framed_status st = srv->workers[i].ended;
        if (st != FRAMED_OK && (how == FRAMED_OK || how == FRAMED_TIMEOUT)) how = st;
    }
    return how;
}

enum framed_status framed_server_run(struct framed_server *srv)
{
    if (srv->listeners == NULL || srv->ran) return FRAMED_USAGE;
    srv->ran = true;
    enum framed_status st = FRAMED_OK;
    size_t n = 1;
    while (n < srv->config.workers && st == FRAMED_OK) {
        struct worker *w = &srv->workers[n];
        st = framed_os_thread_start(&w->thread, run_worker, w);
        if (st == FRAMED_OK) n++;
    }
    if (st == FRAMED_OK)
        run_worker(first_of(srv));
    else
        stop_all(srv);
    for (size_t i = 1; i < n; i++) framed_os_thread_join(srv->workers[i].thread);
    framed_log_settle(&srv->log);
    return st == FRAMED_OK ? how_they_ended(srv, n) : st;
}

/* ---- beginning and end ---- */

static void free_workers(struct framed_server *srv, size_t n)
{
    for (size_t i = 0; i < n; i++) framed_worker_fini_rest(&srv->workers[i]);
    mem_free(srv->alloc, srv->workers, srv->config.workers * sizeof *srv->workers);
}

static enum framed_status make_workers(struct framed_server *srv)
{
    size_t n = srv->config.workers;
    if (n > SIZE_MAX / sizeof *srv->workers) return FRAMED_NOMEM;
    srv->workers = mem_new(srv->alloc, n * sizeof *srv->workers);
    if (srv->workers == NULL) return FRAMED_NOMEM;
    for (size_t i = 0; i < n; i++) {
        enum framed_status st = framed_worker_init(&srv->workers[i], srv);
        if (st == FRAMED_OK) continue;
        for (size_t k = 0; k < i; k++) framed_worker_fini(&srv->workers[k]);
        free_workers(srv, i);
        return st;
    }
    return FRAMED_OK;
}

/* Copies what the keys are needed for: afterwards the caller's are not looked at. */
static enum framed_status take_keys(struct framed_server *srv)
{
    struct framed_server_config *c = &srv->config;
    if ((c->protections & CHANNEL_KEYED) == 0) return FRAMED_OK;
    srv->keys.enters = framed_guest_enters;
    srv->keys.begins = framed_guest_begins;
    srv->keys.trusts = framed_guest_trusts;
    srv->keys.shared_key = c->shared_key;
    srv->keys.shared_key_ctx = c->keys_ctx;
    enum framed_status st = framed_tunnel_start();
    if (st == FRAMED_OK) st = framed_os_random(srv->keys.nobody.bytes, sizeof srv->keys.nobody.bytes);
    if (st == FRAMED_OK && c->secret_key != NULL) st = framed_tunnel_identity(&srv->keys, c->secret_key);
    c->secret_key = NULL;
    return st;
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
    srv->budget.pools = c.workers;
    srv->accept_timer.fired = accept_timer_fired;
    atomic_init(&srv->refs, 1);
    st = take_keys(srv);
    if (st == FRAMED_OK) st = framed_log_init(&srv->log, c.log, c.log_ctx, c.max_log_lines, srv->alloc);
    if (st != FRAMED_OK) goto fail;
    st = framed_hosts_init(&srv->hosts, seed, srv->alloc, &srv->budget);
    if (st != FRAMED_OK) goto fail_log;
    st = make_workers(srv);
    if (st != FRAMED_OK) goto fail_hosts;
    *server = srv;
    return FRAMED_OK;

fail_hosts:
    framed_hosts_fini(&srv->hosts);
fail_log:
    framed_log_fini(&srv->log, srv->alloc);
fail:
    framed_wipe(&srv->keys, sizeof srv->keys);
    mem_free(c.allocator, srv, sizeof *srv);
    return st;
}

void framed_server_unref(struct framed_server *srv)
{
    if (atomic_fetch_sub(&srv->refs, 1) > 1) return;
    free_workers(srv, srv->config.workers);
    framed_hosts_fini(&srv->hosts);
    framed_log_fini(&srv->log, srv->alloc);
    const struct framed_allocator *alloc = srv->alloc;
    framed_wipe(&srv->keys, sizeof srv->keys);
    mem_free(alloc, srv, sizeof *srv);
}

void framed_server_free(struct framed_server *srv)
{
    if (srv == NULL) return;
    atomic_store(&srv->draining, true);
    atomic_store(&srv->stopping, true);
    close_listeners(srv);
    framed_wheel_clear(&accept_loop(srv)->wheel, &srv->accept_timer);
    for (size_t i = srv->config.workers; i-- > 0;) framed_worker_fini(&srv->workers[i]);
    while (srv->listeners != NULL) {
        struct listener *l = srv->listeners;
        srv->listeners = l->next;
        mem_free(srv->alloc, l, sizeof *l);
    }
    framed_server_unref(srv);
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_worker(struct framed_server_stats *all, const struct worker *w)
{
    all->bytes_in += read_counter(&w->kind.bytes_in);
    all->bytes_out += read_counter(&w->kind.bytes_out);
    all->requests += read_counter(&w->kind.frames_in);
    all->deadlines += read_counter(&w->kind.deadlines);
    all->replies += read_counter(&w->replies);
    all->failed_calls += read_counter(&w->failed_calls);
    all->framing_errors += read_counter(&w->framing_errors);
    all->open_calls += read_counter(&w->open_calls);
}

void framed_server_stats(const struct framed_server *srv, struct framed_server_stats *stats, size_t size)
{
    struct framed_server_stats all = {
        .size = size,
        .accepted = read_counter(&srv->accepted),
        .refused = read_counter(&srv->refused),
        .closed = read_counter(&srv->closed),
        .accept_failures = read_counter(&srv->accept_failures),
        .log_suppressed = read_counter(&srv->log.suppressed),
        .memory = atomic_load_explicit(&srv->budget.used, memory_order_relaxed),
    };
    for (size_t i = 0; i < srv->config.workers; i++) add_worker(&all, &srv->workers[i]);
    all.connections = all.accepted > all.closed ? all.accepted - all.closed : 0;
    memcpy(stats, &all, size < sizeof all ? size : sizeof all);
}
