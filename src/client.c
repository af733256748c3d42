/*
 * client.c: one connection, asked by one thread: calls out, replies in by their order (PROTOCOL.md §3).
 * Must not know how the system waits.
 * Invariants: every call that was begun gets exactly one REPLY event; a frame is taken from the connection only when the last
 * one has been given out, so that nothing piles up here; the ENDED event comes after all others.
 */
#include "../proto/alloc.h"
#include "../proto/be.h"
#include "../proto/ordered.h"
#include "address.h"
#include "client_config.h"
#include "conn.h"
#include <stdio.h>
#include <string.h>

enum { KEEPALIVE_GIVE_UP_MS = 30000, ERROR_SIZE = 960 };

/* A call on its way. It goes when it has been reported *and* its place in the order has come. */
struct pending {
    struct framed_place place;
    struct timer timer;
    struct framed_client *client;
    struct pending *next_done;
    uint64_t id;
    uint64_t from; /* where in the outgoing stream its first byte lies */
    enum framed_status status;
    enum framed_outcome outcome;
    bool abandoned; /* reported, or about to be; its reply, should it come, is thrown away */
    bool placed;    /* still has its place */
    bool reported;
};

enum client_state { CLIENT_NEW, CLIENT_CONNECTING, CLIENT_OPEN, CLIENT_ENDED };

/* A frame that came, on its way to the caller. */
enum slot { SLOT_EMPTY, SLOT_READY, SLOT_GIVEN };

struct framed_client {
    struct conn conn; /* first */
    struct framed_client_config config;
    struct loop loop;
    struct conn_kind kind;
    struct budget budget;
    struct framed_ordered calls;
    struct pending *done; /* calls that ended without a reply, to be reported */
    struct pending **done_end;
    struct framed_event event; /* the frame that came */
    struct framed_buf taken;   /* its memory, if it has some of its own */
    uint8_t *inbox;
    uint64_t last_id;
    uint64_t queued;      /* bytes put into the writer of this connection */
    uint64_t sent_before; /* bytes_out when this connection began */
    uint32_t overhead;    /* bytes that a frame has besides its payload */
    size_t live;          /* calls not yet reported */
    enum client_state state;
    enum slot slot;
    enum framed_status ended;
    bool conn_live; /* `gone` is still to come */
    bool end_reported;
    bool tell_writable;
    bool tell_connected; /* so too, even if the connection has ended since: whoever hears of an end knows of what */
    bool connected;      /* this attempt came to be, whatever became of it since */
    bool finishing;
    bool freeing; /* nobody hears any more how calls ended: what was taken over is still sent */
    atomic_bool woken;
    uint64_t corked_at;   /* when the first of what is held back was begun: ms of the loop */
    struct timer backoff; /* before the next attempt to connect */
    uint32_t attempts;    /* of framed_client_reconnect, since the last reply */
    size_t next_address;
    struct tunnel_keys keys;
    uint8_t peer_key[FRAMED_KEY_SIZE], peer_hash[FRAMED_KEY_SIZE];
    bool peer_known; /* of the last connection */
    struct address where;
    char address[256];
    char error[ERROR_SIZE];
    char never_open[CONN_WHY_SIZE]; /* why the last attempt was connected and came to nothing all the same; or "" */
};

static struct framed_client *client_of(struct conn *c)
{
    return (struct framed_client *)(void *)c;
}

static const struct framed_allocator *memory_of(struct framed_client *c)
{
    return &c->loop.pool.alloc;
}

/* ---- calls ---- */

static void pending_free_if_over(struct pending *p)
{
    if (p->placed || !p->reported) return;
    framed_wheel_clear(&p->client->loop.wheel, &p->timer);
    mem_free(memory_of(p->client), p, sizeof *p);
}

static struct pending *pending_of(struct framed_place *place)
{
    return (struct pending *)(void *)((uint8_t *)place - offsetof(struct pending, place));
}

/* The call ended without a reply; `next` will report it. */
static void abandon(struct pending *p, enum framed_status st, enum framed_outcome outcome)
{
    if (p->abandoned) return;
    struct framed_client *c = p->client;
    p->abandoned = true;
    p->status = st;
    p->outcome = outcome;
    framed_wheel_clear(&c->loop.wheel, &p->timer);
    *c->done_end = p;
    c->done_end = &p->next_done;
}

static void pending_late(struct timer *t)
{
    struct pending *p = (struct pending *)(void *)((uint8_t *)t - offsetof(struct pending, timer));
    abandon(p, FRAMED_TIMEOUT, FRAMED_MAYBE_EXECUTED); /* also if unsent: it is queued, and will leave */
}

/* Every call still in the order ends with the connection. */
static void abandon_all(struct framed_client *c, enum framed_status why)
{
    if (ordered_is_empty(&c->calls)) return; /* perhaps there never was a connection */
    uint64_t out = framed_conn_passed(&c->conn) - c->sent_before;
    struct framed_place *place;
    while (framed_ordered_reply(&c->calls, &place) == FRAMED_OK) {
        struct pending *p = pending_of(place);
        p->placed = false;
        c->conn.calls--;
        abandon(p, why, out <= p->from ? FRAMED_NOT_EXECUTED : FRAMED_MAYBE_EXECUTED);
        pending_free_if_over(p);
    }
}

static void half_close_if_answered(struct framed_client *c)
{
    if (c->finishing && ordered_is_empty(&c->calls) && c->live == 0 && c->conn_live) framed_conn_finish(&c->conn);
}

/* ---- the connection's side ---- */

static bool has_room(const struct framed_client *c)
{
    return c->state == CLIENT_OPEN && framed_conn_unsent(&c->conn) < c->config.max_unsent &&
           c->conn.calls < c->config.max_calls;
}

static bool is_writable_to_tell(const struct framed_client *c)
{
    return c->tell_connected || (c->tell_writable && has_room(c));
}

static void told_writable(struct framed_client *c)
{
    c->tell_writable = c->tell_connected = false;
}

/* Where calls lie in the outgoing stream (pending.from) is counted from its frames on. */
static void count_from_here(struct framed_client *c)
{
    c->sent_before = framed_conn_passed(&c->conn);
    c->queued = c->conn.io != NULL ? c->conn.io->writer.unsent : 0;
    c->overhead = FRAMED_LENGTH_SIZE + framed_conn_trailer(&c->conn);
}

/* Its key has come, and it has proven that it has it. */
static void note_peer(struct framed_client *c, enum framed_status st)
{
    const struct tunnel *t = c->conn.channel != NULL ? c->conn.channel->tunnel : NULL;
    c->peer_known = t != NULL && (st == FRAMED_OK || t->refused);
    if (!c->peer_known) return;
    memcpy(c->peer_key, t->key, sizeof c->peer_key);
    if (t->session != NULL)
        memcpy(c->peer_hash, t->session->hash, sizeof c->peer_hash);
    else
        memset(c->peer_hash, 0, sizeof c->peer_hash);
}

static void conn_connected(struct conn *conn, enum framed_status st)
{
    struct framed_client *c = client_of(conn);
    note_peer(c, st);
    if (st == FRAMED_OK) {
        c->state = CLIENT_OPEN;
        c->connected = true;
        c->tell_connected = c->tell_writable;
        count_from_here(c);
        half_close_if_answered(c);
    } else {
        c->ended = st;
        bool of_peer = st != FRAMED_TIMEOUT || conn->late != LATE_NOT; /* and not the caller's patience */
        if (!c->kind.terms.plain && conn->io != NULL && of_peer)
            framed_conn_why(conn, st, c->never_open, sizeof c->never_open);
    }
}

/* Of a payload that does not lie in our inbox, which stays. False: no memory. */
static bool keep_other(struct framed_client *c, struct framed_bytes *payload)
{
    if (framed_conn_take(&c->conn, *payload, &c->taken) == FRAMED_OK || payload->len == 0) return true;
    uint8_t *at = mem_new(memory_of(c), payload->len); /* it came in a record that had to be put together */
    if (at == NULL) return false;
    memcpy(at, payload->at, payload->len);
    c->taken = (struct framed_buf){.at = at, .len = payload->len, .cap = payload->len};
    payload->at = at;
    return true;
}

/* Makes sure that the payload stays, whatever becomes of the connection. (Where it begins in our inbox, it lies there whole.) */
static inline bool keep(struct framed_client *c, struct framed_bytes *payload)
{
    return (uintptr_t)payload->at - (uintptr_t)c->inbox < FRAMED_RECEIVE_SIZE || keep_other(c, payload);
}

static inline bool fill_slot(struct framed_client *c, enum framed_event_kind kind, struct framed_bytes payload)
{
    if (!keep(c, &payload)) return false;
    c->slot = SLOT_READY;
    c->conn.held = true;
    c->event = (struct framed_event){.kind = kind, .outcome = FRAMED_REPLY, .payload = payload};
    return true;
}

static void conn_frame(struct conn *conn, struct framed_bytes payload)
{
    struct framed_client *c = client_of(conn);
    if (c->config.replies == FRAMED_REPLIES_NONE) {
        if (!fill_slot(c, FRAMED_EVENT_MESSAGE, payload)) framed_conn_deafen(conn, FRAMED_NOMEM);
        return;
    }
    struct framed_place *first = ordered_first(&c->calls);
    if (first == NULL) {
        framed_conn_deafen(conn, FRAMED_MALFORMED); /* §3.3: a reply that nobody asked for */
        return;
    }
    struct pending *p = pending_of(first);
    if (!p->abandoned) {
        if (!fill_slot(c, FRAMED_EVENT_REPLY, payload)) {
            framed_conn_deafen(conn, FRAMED_NOMEM);
            return;
        }
        c->event.call = p->id;
        p->reported = true;
    }
    struct framed_place *place;
    check(framed_ordered_reply(&c->calls, &place) == FRAMED_OK);
    c->conn.calls--;
    p->placed = false;
    c->attempts = 0;
    pending_free_if_over(p);
    half_close_if_answered(c); /* it may have been the last, thrown away */
}

static void conn_over(struct conn *conn, enum framed_status why)
{
    struct framed_client *c = client_of(conn);
    char text[CONN_WHY_SIZE];
    c->state = CLIENT_ENDED;
    c->ended = why;
    if (why == FRAMED_MALFORMED && conn->io != NULL && !conn->io->spoiled)
        (void)snprintf(text, sizeof text, "a reply came that nobody asked for");
    else
        framed_conn_why(conn, why, text, sizeof text);
    (void)snprintf(c->error, sizeof c->error, "%s: %s", c->address, text);
    abandon_all(c, why);
    if (c->config.replies == FRAMED_REPLIES_ORDERED && !c->freeing && framed_conn_unsent(conn) > 0)
        framed_conn_break(conn, why); /* what was reported as not executed must not leave any more */
    else
        framed_conn_finish(conn);
}

static bool conn_busy(const struct conn *conn)
{
    return ((const struct framed_client *)(const void *)conn)->live > 0;
}

static void conn_gone(struct conn *conn)
{
    client_of(conn)->conn_live = false;
}

static const struct conn_ops client_ops = {
    .connected = conn_connected,
    .frame = conn_frame,
    .over = conn_over,
    .busy = conn_busy,
    .gone = conn_gone,
};

/* The wait before a reconnection is over: the turn that fires this connects (turn()). */
static void backoff_over(struct timer *t)
{
    (void)t;
}

/* ---- beginning ---- */

static enum framed_status take_keys(struct framed_client *c)
{
    enum framed_status st = framed_channel_take_keys(&c->keys, &c->config);
    c->config.secret_key = c->config.peer_keys = c->config.shared_key = NULL; /* from now on they are the caller's alone */
    c->config.key_id = framed_bytes_of(c->keys.key_id, c->keys.key_id_len);
    return st;
}

static void forget_keys(struct framed_client *c)
{
    framed_wipe(&c->keys, sizeof c->keys);
}

enum framed_status framed_client_new(const struct framed_client_config *config, struct framed_client **client)
{
    struct framed_client_config config_whole;
    enum framed_status st = framed_client_config_read(config, &config_whole);
    if (st != FRAMED_OK) return st;
    const struct framed_allocator *alloc = config_whole.allocator;
    struct framed_client *c = mem_new(alloc, sizeof *c);
    if (c == NULL) return FRAMED_NOMEM;
    memset(c, 0, sizeof *c);
    c->config = config_whole;
    c->budget.limit = SIZE_MAX;
    c->done_end = &c->done;
    c->inbox = mem_new(alloc, FRAMED_RECEIVE_SIZE);
    if (c->inbox == NULL) {
        st = FRAMED_NOMEM;
        goto fail;
    }
    st = framed_loop_init(&c->loop, FRAMED_WAIT_POLL, alloc, &c->budget); /* for one socket, poll is the quickest way */
    if (st != FRAMED_OK) goto fail_inbox;
    c->loop.spin_us = config_whole.spin_us;
    c->backoff.fired = backoff_over;
    struct conn_kind *k = &c->kind;
    k->ops = &client_ops;
    k->loop = &c->loop;
    k->inbox = c->inbox;
    k->max_frame = config_whole.max_frame;
    k->max_unsent = SIZE_MAX; /* it always reads while a write is blocked */
    k->frame_ms = config_whole.frame_ms;
    k->frame_rate = config_whole.frame_rate;
    k->idle_ms = config_whole.idle_ms;
    k->send_ms = config_whole.send_ms;
    k->linger_ms = config_whole.linger_ms;
    k->opening_ms = config_whole.handshake_ms;
    k->terms = framed_channel_connects(config_whole.protection, config_whole.max_frame);
    k->terms.keys = &c->keys;
    st = take_keys(c);
    if (st != FRAMED_OK) goto fail_loop;
    *client = c;
    return FRAMED_OK;

fail_loop:
    framed_loop_fini(&c->loop);
    framed_loop_fini_rest(&c->loop);
fail_inbox:
    mem_free(alloc, c->inbox, FRAMED_RECEIVE_SIZE);
fail:
    forget_keys(c);
    mem_free(alloc, c, sizeof *c);
    return st;
}

/* ---- waiting ---- */

struct patience {
    uint64_t until;
    bool for_ever;
};

static struct patience wait_for(struct framed_client *c, uint32_t ms)
{
    framed_loop_forget_now(&c->loop);
    return (struct patience){.until = framed_loop_now(&c->loop) + ms, .for_ever = ms == FRAMED_NEVER};
}

static uint64_t left_of(struct framed_client *c, struct patience p)
{
    uint64_t now = framed_loop_now(&c->loop);
    if (p.for_ever) return OS_FOREVER;
    return p.until > now ? p.until - now : 0;
}

static uint32_t left32(struct framed_client *c, struct patience p)
{
    uint64_t left = left_of(c, p);
    return left > FRAMED_NEVER ? FRAMED_NEVER : (uint32_t)left;
}

/* The caller is done with the last event's payload. */
static void release_given(struct framed_client *c)
{
    if (c->slot != SLOT_GIVEN) return;
    c->slot = SLOT_EMPTY;
    c->conn.held = false;
    framed_buf_fini(&c->taken, memory_of(c));
}

/* ---- connecting ---- */

static void begin_connection(struct framed_client *c)
{
    c->conn_live = true;
    count_from_here(c);
    uint32_t keepalive = c->config.keepalive_ms;
    framed_os_keepalive(&c->conn.sock, keepalive == FRAMED_NEVER ? 0 : keepalive, KEEPALIVE_GIVE_UP_MS);
    if (c->config.congestion != NULL) framed_os_congestion(&c->conn.sock, c->config.congestion);
}

/* Tries the addresses that are left until one is under way. */
static enum framed_status try_next(struct framed_client *c)
{
    c->conn.held = c->slot != SLOT_EMPTY; /* a frame of the last connection may still have to be given out */
    while (c->next_address < c->where.n) {
        const struct os_address *to = &c->where.found[c->next_address++];
        c->never_open[0] = '\0';
        enum framed_status st = framed_conn_connect(&c->conn, &c->kind, to);
        if (st != FRAMED_OK) {
            c->ended = st;
            continue;
        }
        begin_connection(c);
        return FRAMED_OK;
    }
    return c->ended;
}

static enum framed_status give_up_connecting(struct framed_client *c, enum framed_status st)
{
    c->state = CLIENT_ENDED;
    c->ended = st;
    told_writable(c);
    (void)snprintf(c->error, sizeof c->error, "cannot connect to %s: %s", c->address,
                   c->never_open[0] != '\0' ? c->never_open : framed_status_text(st));
    return st;
}

/* Lets out what send_begun held back. False: nothing was. */
static bool uncork(struct framed_client *c)
{
    if (!c->conn.corked) return false;
    framed_conn_uncork(&c->conn);
    return true;
}

/* While events are there without a turn, what is held back waits no longer than the clock's millisecond. */
static bool held_too_long(struct framed_client *c)
{
    if (!c->conn.corked) return false;
    framed_loop_forget_now(&c->loop);
    return framed_loop_now(&c->loop) != c->corked_at;
}

/* One turn; when an attempt has failed and its socket is gone, the next address. */
static enum framed_status turn(struct framed_client *c, uint64_t wait_ms)
{
    enum framed_status st = framed_loop_turn(&c->loop, wait_ms);
    if (st != FRAMED_OK) return st;
    if (c->state == CLIENT_CONNECTING && !c->conn_live && !timer_is_set(&c->backoff)) {
        st = try_next(c);
        if (st != FRAMED_OK) (void)give_up_connecting(c, st);
    }
    return FRAMED_OK;
}

static enum framed_status wait_connected(struct framed_client *c, struct patience p)
{
    while (c->state == CLIENT_CONNECTING) {
        uint64_t left = left_of(c, p);
        if (left == 0) {
            framed_wheel_clear(&c->loop.wheel, &c->backoff);
            if (c->conn_live) framed_conn_break(&c->conn, FRAMED_TIMEOUT);
            return give_up_connecting(c, FRAMED_TIMEOUT);
        }
        enum framed_status st = turn(c, left);
        if (st != FRAMED_OK) return st;
    }
    return c->connected ? FRAMED_OK : c->ended;
}

/* Connects after pause_ms. */
static enum framed_status connect_after(struct framed_client *c, uint64_t pause_ms, uint32_t wait_ms)
{
    while (c->conn_live) { /* the last connection's socket goes first */
        framed_conn_break(&c->conn, FRAMED_CLOSED);
        enum framed_status st = framed_loop_turn(&c->loop, 0);
        if (st != FRAMED_OK) return st;
    }
    struct patience p = wait_for(c, wait_ms);
    c->connected = c->finishing = c->end_reported = false;
    told_writable(c);
    c->next_address = 0;
    c->error[0] = c->never_open[0] = '\0';
    c->peer_known = false;
    c->ended = FRAMED_NOT_FOUND;
    c->state = CLIENT_CONNECTING;
    if (c->where.fd != OS_NO_HANDLE) {
        if (c->kind.terms.plain) c->state = CLIENT_OPEN;
        c->conn.held = c->slot != SLOT_EMPTY;
        enum framed_status st = framed_conn_adopt(&c->conn, &c->kind, c->where.fd);
        if (st != FRAMED_OK) return give_up_connecting(c, st);
        begin_connection(c);
        if (c->state == CLIENT_OPEN) return FRAMED_OK;
    } else if (pause_ms > 0) {
        framed_wheel_set(&c->loop.wheel, &c->backoff, framed_loop_now(&c->loop) + pause_ms);
    } else {
        enum framed_status st = try_next(c);
        if (st != FRAMED_OK) return give_up_connecting(c, st);
    }
    if (wait_ms > 0) return wait_connected(c, p);
    c->tell_writable = true;
    return FRAMED_MORE;
}

enum framed_status framed_client_connect(struct framed_client *c, const char *address, uint32_t wait_ms)
{
    release_given(c);
    if (c->state == CLIENT_CONNECTING || c->state == CLIENT_OPEN || c->live > 0) return FRAMED_USAGE;
    (void)snprintf(c->address, sizeof c->address, "%s", address);
    c->never_open[0] = '\0';
    enum framed_status st = framed_address_find(address, false, &c->where);
    if (st != FRAMED_OK) return give_up_connecting(c, st);
    return connect_after(c, 0, wait_ms);
}

enum framed_status framed_client_reconnect(struct framed_client *c, uint32_t wait_ms)
{
    release_given(c);
    if (c->state != CLIENT_ENDED || c->live > 0 || c->where.fd != OS_NO_HANDLE) return FRAMED_USAGE;
    uint64_t bound = c->config.backoff_ms;
    for (uint32_t i = 0; i < c->attempts && bound < c->config.backoff_max_ms; i++) bound *= 2;
    if (bound > c->config.backoff_max_ms) bound = c->config.backoff_max_ms;
    if (c->attempts < UINT32_MAX) c->attempts++;
    uint64_t dice;
    enum framed_status st = framed_os_random(&dice, sizeof dice);
    if (st == FRAMED_OK && c->where.n == 0) st = framed_address_find(c->address, false, &c->where); /* not found last time */
    if (st != FRAMED_OK) return give_up_connecting(c, st);
    return connect_after(c, dice % (bound + 1), wait_ms);
}

/* ---- events ---- */

static bool report_done(struct framed_client *c, struct framed_event *event)
{
    struct pending *p = c->done;
    if (p == NULL) return false;
    c->done = p->next_done;
    if (c->done == NULL) c->done_end = &c->done;
    *event = (struct framed_event){.kind = FRAMED_EVENT_REPLY, .outcome = p->outcome, .status = p->status, .call = p->id};
    p->reported = true;
    c->live--;
    pending_free_if_over(p);
    half_close_if_answered(c);
    return true;
}

static bool take_event(struct framed_client *c, struct framed_event *event)
{
    if (c->slot == SLOT_READY) {
        c->slot = SLOT_GIVEN;
        *event = c->event;
        if (c->event.kind == FRAMED_EVENT_REPLY) c->live--;
        half_close_if_answered(c);
        return true;
    }
    if (report_done(c, event)) return true;
    if (is_writable_to_tell(c)) {
        told_writable(c);
        *event = (struct framed_event){.kind = FRAMED_EVENT_WRITABLE};
        return true;
    }
    if (c->state == CLIENT_ENDED && !c->end_reported) {
        c->end_reported = true;
        *event = (struct framed_event){.kind = FRAMED_EVENT_ENDED, .status = c->ended};
        return true;
    }
    return false;
}

enum framed_status framed_client_next(struct framed_client *c, uint32_t wait_ms, struct framed_event *event)
{
    release_given(c);
    if (c->state == CLIENT_NEW) return FRAMED_USAGE;
    if (held_too_long(c)) (void)uncork(c);
    if (c->conn_live) framed_conn_resume(&c->conn); /* what has come already */
    if (take_event(c, event)) return FRAMED_OK;
    struct patience p = wait_for(c, wait_ms);
    for (bool turned = false;; turned = true) {
        if (take_event(c, event)) return FRAMED_OK;
        if (uncork(c) && take_event(c, event)) return FRAMED_OK; /* sending may have failed */
        if (c->state == CLIENT_ENDED) return c->ended;
        if (atomic_exchange(&c->woken, false)) return FRAMED_MORE;
        uint64_t left = left_of(c, p);
        if (left == 0 && turned) return FRAMED_MORE;
        enum framed_status st = turn(c, left);
        if (st != FRAMED_OK) return st;
    }
}

/* ---- sending ---- */

static enum framed_status put(struct framed_client *c, struct framed_bytes payload)
{
    struct framed_writer *w = framed_conn_writer(&c->conn);
    if (w == NULL) return FRAMED_NOMEM;
    enum framed_status st = framed_writer_copy(w, payload, c->config.max_send);
    if (st == FRAMED_OK) c->queued += c->overhead + payload.len;
    return st;
}

/* May a frame be sent now? */
static enum framed_status may_send(struct framed_client *c, struct framed_bytes payload)
{
    if (c->state == CLIENT_NEW || c->finishing) return FRAMED_USAGE;
    if (c->state == CLIENT_ENDED) return c->ended;
    if (payload.len > c->config.max_send) return FRAMED_TOO_LARGE;
    if (!has_room(c)) (void)uncork(c); /* and perhaps sending fails */
    if (c->state == CLIENT_OPEN && c->conn.out == OUT_BROKEN) return (enum framed_status)c->conn.broken;
    if (has_room(c)) return FRAMED_OK;
    c->tell_writable = true;
    return FRAMED_FULL;
}

/* What is begun while others are under way leaves together, with the next turn, or when it is enough for a send. A failure
 * ends the connection, and every call with it: `next` will tell. */
static void send_begun(struct framed_client *c)
{
    if (!c->conn.corked) c->corked_at = framed_loop_now(&c->loop);
    c->conn.corked = c->live > 1 && framed_conn_unsent(&c->conn) < FRAMED_RECEIVE_SIZE;
    framed_conn_flush(&c->conn);
}

enum framed_status framed_client_start(struct framed_client *c, struct framed_bytes request, uint32_t timeout_ms,
                                       uint64_t *call)
{
    if (c->config.replies != FRAMED_REPLIES_ORDERED) return FRAMED_USAGE;
    enum framed_status st = may_send(c, request);
    if (st != FRAMED_OK) return st;
    struct pending *p = mem_new(memory_of(c), sizeof *p);
    if (p == NULL) return FRAMED_NOMEM;
    *p = (struct pending){.client = c, .id = ++c->last_id, .from = c->queued, .placed = true, .timer.fired = pending_late};
    st = put(c, request);
    if (st != FRAMED_OK) {
        mem_free(memory_of(c), p, sizeof *p);
        return st;
    }
    framed_ordered_begin(&c->calls, &p->place);
    c->conn.calls++;
    c->live++;
    *call = p->id;
    framed_loop_forget_now(&c->loop);
    if (timeout_ms != FRAMED_NEVER) framed_wheel_set(&c->loop.wheel, &p->timer, framed_loop_now(&c->loop) + timeout_ms);
    send_begun(c);
    return FRAMED_OK;
}

/* Nothing to give the caller, no room to send: a turn of the loop, or the reason why not. */
static enum framed_status wait_for_room(struct framed_client *c, struct patience p)
{
    if (c->slot == SLOT_READY) return FRAMED_FULL;
    uint64_t left = left_of(c, p);
    return left == 0 ? FRAMED_TIMEOUT : turn(c, left);
}

/* What the caller wants to send may lie in the event that the next turn overwrites: then it is copied first. */
static enum framed_status keep_if_given(struct framed_client *c, struct framed_bytes *bytes, struct framed_buf *kept)
{
    if (c->slot != SLOT_GIVEN || kept->at != NULL || bytes->len == 0) return FRAMED_OK;
    enum framed_status st = framed_buf_append(kept, *bytes, SIZE_MAX, memory_of(c));
    if (st == FRAMED_OK) *bytes = framed_bytes_of(kept->at, kept->len);
    return st;
}

static enum framed_status send_when_room(struct framed_client *c, struct framed_bytes frame, struct patience p,
                                         struct framed_buf *kept)
{
    enum framed_status st = may_send(c, frame);
    while (st == FRAMED_FULL) { /* whoever is told so is told WRITABLE later */
        st = keep_if_given(c, &frame, kept);
        if (st != FRAMED_OK) return st;
        release_given(c);
        if (c->conn_live) framed_conn_resume(&c->conn);
        if (left_of(c, p) == 0) return FRAMED_FULL;
        st = wait_for_room(c, p);
        if (st != FRAMED_OK) return st;
        st = may_send(c, frame);
    }
    if (st != FRAMED_OK) return st;
    c->tell_writable = false; /* he knows; but whoever was to be told of the connection may be another */
    st = put(c, frame);
    if (st == FRAMED_OK) framed_conn_flush(&c->conn);
    return st;
}

enum framed_status framed_client_send(struct framed_client *c, struct framed_bytes frame, uint32_t timeout_ms)
{
    if (c->config.replies != FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    struct framed_buf kept = {0};
    enum framed_status st = send_when_room(c, frame, wait_for(c, timeout_ms), &kept);
    framed_buf_fini(&kept, memory_of(c));
    release_given(c);
    if (st != FRAMED_OK) return st;
    return c->state == CLIENT_ENDED ? c->ended : FRAMED_OK;
}

enum framed_status framed_client_recv(struct framed_client *c, uint32_t wait_ms, struct framed_bytes *frame)
{
    if (c->config.replies != FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    struct patience p = wait_for(c, wait_ms);
    for (;;) {
        struct framed_event event;
        enum framed_status st = framed_client_next(c, left32(c, p), &event);
        if (st != FRAMED_OK) return st;
        if (event.kind == FRAMED_EVENT_ENDED) return event.status;
        if (event.kind != FRAMED_EVENT_MESSAGE) continue;
        *frame = event.payload;
        return FRAMED_OK;
    }
}

/* The only call there is will not be waited for: the loop itself has failed. */
static void forget_call(struct framed_client *c)
{
    struct framed_event nobody;
    for (struct framed_place *place = ordered_first(&c->calls); place != NULL; place = ordered_next(&c->calls, place))
        if (!pending_of(place)->reported) abandon(pending_of(place), FRAMED_OS, FRAMED_MAYBE_EXECUTED);
    while (report_done(c, &nobody)) continue;
}

/* Begins the call, waiting for room: while still connecting, or behind requests that nobody waits for any more. */
static enum framed_status start_when_room(struct framed_client *c, struct framed_bytes request, struct patience p,
                                          uint64_t *id)
{
    struct framed_buf kept = {0};
    bool promised = c->tell_writable; /* before: to whoever began to connect, or was told FRAMED_FULL */
    enum framed_status st = framed_client_start(c, request, left32(c, p), id);
    while (st == FRAMED_FULL) {
        c->tell_writable = promised;
        st = keep_if_given(c, &request, &kept);
        if (st != FRAMED_OK) break;
        release_given(c);
        if (c->conn_live) framed_conn_resume(&c->conn);
        st = wait_for_room(c, p);
        if (st == FRAMED_OK) st = framed_client_start(c, request, left32(c, p), id);
    }
    framed_buf_fini(&kept, memory_of(c));
    return st;
}

enum framed_status framed_client_call(struct framed_client *c, struct framed_bytes request, uint32_t timeout_ms,
                                      struct framed_event *event)
{
    if (c->live > 0 || c->config.replies != FRAMED_REPLIES_ORDERED || c->state == CLIENT_NEW || c->finishing)
        return FRAMED_USAGE;
    uint64_t id = 0;
    enum framed_status st = start_when_room(c, request, wait_for(c, timeout_ms), &id);
    *event = (struct framed_event){.kind = FRAMED_EVENT_REPLY,
                                   .outcome = FRAMED_NOT_EXECUTED}; /* request may lie in its payload */
    while (st == FRAMED_OK || st == FRAMED_MORE) {
        struct framed_event got = {0};
        st = framed_client_next(c, FRAMED_NEVER, &got);
        if (st != FRAMED_OK || got.kind != FRAMED_EVENT_REPLY || got.call != id) continue;
        *event = got;
        return got.status;
    }
    if (id != 0) {
        forget_call(c);
        event->outcome = FRAMED_MAYBE_EXECUTED;
    }
    event->status = st;
    return st;
}

enum framed_status framed_client_finish(struct framed_client *c)
{
    if (c->state == CLIENT_NEW) return FRAMED_USAGE;
    if (c->state == CLIENT_ENDED) return c->ended;
    c->finishing = true;
    (void)uncork(c);
    if (c->state == CLIENT_OPEN) half_close_if_answered(c);
    return FRAMED_OK;
}

/* ---- somebody else's loop ---- */

enum framed_status framed_client_want(struct framed_client *c, struct framed_want *want)
{
    *want = (struct framed_want){.socket = OS_NO_HANDLE, .timeout_ms = FRAMED_NEVER};
    release_given(c);
    framed_loop_forget_now(&c->loop);
    (void)uncork(c);
    if (c->conn_live) {
        framed_conn_resume(&c->conn);
        framed_os_interest(&c->conn.sock, &want->socket, &want->events);
    }
    bool ready = c->slot == SLOT_READY || c->done != NULL || is_writable_to_tell(c) ||
                 (c->state == CLIENT_ENDED && !c->end_reported) || (c->conn_live && c->conn.closing) ||
                 (c->state == CLIENT_CONNECTING && !c->conn_live && !timer_is_set(&c->backoff));
    uint64_t next = framed_wheel_next(&c->loop.wheel);
    uint64_t now = framed_loop_now(&c->loop);
    if (ready || next <= now)
        want->timeout_ms = 0;
    else if (next != WHEEL_NEVER)
        want->timeout_ms = next - now < FRAMED_NEVER ? (uint32_t)(next - now) : FRAMED_NEVER - 1;
    return FRAMED_OK;
}

enum framed_status framed_client_step(struct framed_client *c)
{
    framed_loop_forget_now(&c->loop);
    (void)uncork(c);
    if (c->conn_live) framed_conn_resume(&c->conn); /* also so that what waits has its deadlines */
    return turn(c, 0);
}

void framed_client_wake(struct framed_client *c)
{
    atomic_store(&c->woken, true);
    framed_os_wake(c->loop.poller);
}

/* ---- the rest ---- */

const char *framed_client_error(const struct framed_client *c)
{
    return c->error;
}

bool framed_client_identity(const struct framed_client *c, struct framed_peer *peer)
{
    if (!c->peer_known) return false;
    *peer = (struct framed_peer){.protection = c->config.protection,
                                 .key = c->keys.pinned_count > 0 ? c->peer_key : NULL,
                                 .key_id = c->config.key_id,
                                 .hash = c->peer_hash,
                                 .name = "",
                                 .address = c->address};
    return true;
}

uint32_t framed_client_longest(const struct framed_client *c)
{
    uint32_t peers = c->conn_live ? framed_conn_peer_most(&c->conn) : FRAMED_FRAME_MOST;
    return c->config.max_send < peers ? c->config.max_send : peers;
}

size_t framed_client_open_calls(const struct framed_client *c)
{
    return c->live;
}

/* Flush, half-close, wait for the peer's end; whatever is not done after linger_ms is cut off. */
static void close_in_order(struct framed_client *c)
{
    struct patience p = wait_for(c, c->config.linger_ms);
    (void)uncork(c);
    if (c->state == CLIENT_CONNECTING) framed_conn_break(&c->conn, FRAMED_CLOSED);
    framed_conn_deafen(&c->conn, FRAMED_CLOSED);
    framed_conn_finish(&c->conn);
    while (c->conn_live && left_of(c, p) > 0)
        if (framed_loop_turn(&c->loop, left_of(c, p)) != FRAMED_OK) break;
    if (c->conn_live) framed_conn_break(&c->conn, FRAMED_CLOSED);
    while (c->conn_live && framed_loop_turn(&c->loop, 0) == FRAMED_OK) continue;
}

void framed_client_free(struct framed_client *c)
{
    if (c == NULL) return;
    c->freeing = true;
    release_given(c);
    framed_buf_fini(&c->taken, memory_of(c));
    framed_wheel_clear(&c->loop.wheel, &c->backoff);
    if (c->conn_live) close_in_order(c);
    abandon_all(c, FRAMED_CLOSED);
    struct framed_event nobody;
    while (report_done(c, &nobody)) continue;
    framed_buf_fini(&c->taken, memory_of(c));
    framed_loop_fini(&c->loop);
    framed_loop_fini_rest(&c->loop);
    const struct framed_allocator *alloc = c->config.allocator;
    mem_free(alloc, c->inbox, FRAMED_RECEIVE_SIZE);
    forget_keys(c);
    mem_free(alloc, c, sizeof *c);
}
