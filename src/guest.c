/*
 * guest.c: one connection of a server: every request to the handler, every reply in its turn (PROTOCOL.md §3.2-3.5).
 * Must not know sockets; other threads only as letters.
 * Invariants: replies leave in the order of their requests; after a failed call nothing is started and nothing later leaves;
 * the out half is finished when the in half is over and every call before the failed one has been answered.
 */
#include "../proto/alloc.h"
#include "server.h"
#include <stdio.h>

enum { COPY_SMALL = 4096 }; /* an answer of its own that is as small is cheaper copied than sent as a piece */

static struct guest *guest_of(struct conn *c)
{
    return (struct guest *)(void *)c;
}

/* ---- log ---- */

/* By what it has proven: it may be in nobody's list any more. */
static enum log_of log_of(const struct guest *g)
{
    const struct channel *ch = g->conn.channel;
    bool proven = ch != NULL && ch->tunnel != NULL && ch->tunnel->proven;
    return (worker_of(g)->config.protections & CHANNEL_KEYED) != 0 && !proven ? LOG_OF_STRANGER : LOG_OF_ANYBODY;
}

static void log_end(struct guest *g, enum framed_log_level level, const char *why)
{
    if (g->conn.said) return;
    g->conn.said = true;
    if (worker_of(g)->server->log.write == NULL) return;
    char peer[OS_ADDRESS_TEXT_SIZE];
    framed_os_host_text(&g->host->is, g->conn.port, peer, sizeof peer);
    const struct channel *ch = g->conn.channel;
    char name[4 * FRAMED_PEER_NAME_SIZE] = ""; /* a program's own, which may have taken it from the peer's key_id */
    if (ch != NULL && ch->tunnel != NULL) framed_log_escape(ch->tunnel->name, name, sizeof name);
    framed_log(&worker_of(g)->server->log, &worker_of(g)->loop, level, log_of(g), "%s%s%s%s closed: %s", peer,
               name[0] != '\0' ? " (" : "", name, name[0] != '\0' ? ")" : "", why);
}

static void log_over(struct guest *g, enum framed_status why)
{
    char text[CONN_WHY_SIZE];
    framed_conn_why(&g->conn, why, text, sizeof text);
    log_end(g, why == FRAMED_CLOSED ? FRAMED_LOG_INFO : FRAMED_LOG_WARNING,
            g->conn.drained && why == FRAMED_CLOSED ? "drained" : text);
}

static void log_failed_call(struct guest *g, unsigned code, const char *text)
{
    char why[FAIL_TEXT_SIZE + 64];
    (void)snprintf(why, sizeof why, "a call failed: %s%s%s", framed_code_name(code), text != NULL ? ": " : "",
                   text != NULL ? text : "");
    log_end(g, FRAMED_LOG_WARNING, why);
    count(&worker_of(g)->failed_calls, 1);
}

/* ---- replies ---- */

/* All is said that will be. */
static void finish_if_done(struct guest *g)
{
    if (g->conn.in == IN_OVER && ordered_is_empty(&g->calls)) framed_conn_finish(&g->conn);
}

/* A small part of a large body is copied, so that it does not hold all of it while it waits. */
static bool worth_keeping(struct framed_bytes part, size_t whole)
{
    return part.len > COPY_SMALL && part.len >= whole / 4;
}

/* Puts an answer into the writer by the cheapest way there is. */
static enum framed_status put(struct guest *g, struct framed_call *call, struct framed_bytes bytes)
{
    uint32_t max = worker_of(g)->config.max_send;
    if (call->state == CALL_FRESH && conn_in_place(&g->conn, call->body, bytes))
        return framed_writer_in_place(&g->conn.io->writer, (uint8_t *)(uintptr_t)bytes.at, bytes.len, max);
    struct framed_writer *w = framed_conn_writer(&g->conn);
    if (w == NULL) return FRAMED_NOMEM;
    if (bytes_inside(bytes, call->body) && worth_keeping(bytes, call->body.len)) {
        if (call->state == CALL_FRESH) (void)framed_conn_take(&g->conn, call->body, &call->memory);
        if (call->memory.at != NULL) return framed_writer_take(w, &call->memory, bytes, max);
    } else if (call->reply.at != NULL && worth_keeping(bytes, call->reply.cap)) {
        return framed_writer_take(w, &call->reply, bytes, max);
    }
    return framed_writer_copy(w, bytes, max);
}

/* Keeps the call with its answer until those before it have theirs. */
static enum framed_status answer_in_turn(struct guest *g, struct framed_call *fresh, struct framed_bytes bytes)
{
    struct framed_call *call = framed_call_keep(fresh);
    if (call == NULL) return FRAMED_NOMEM;
    if (bytes.len > 0 && bytes_inside(bytes, fresh->body)) { /* an empty body may lie nowhere */
        call->answer = framed_bytes_of(call->body.at + (bytes.at - fresh->body.at), bytes.len);
    } else {
        enum framed_status st = framed_buf_append(&call->reply, bytes, SIZE_MAX, &worker_of(g)->loop.pool.alloc);
        call->answer = framed_bytes_of(call->reply.at, bytes.len);
        call->failed = st != FRAMED_OK;
        call->code = FRAMED_CODE_RESOURCE_EXHAUSTED;
    }
    framed_guest_answered(call);
    return call->failed ? FRAMED_NOMEM : FRAMED_OK;
}

enum framed_status framed_guest_answer(struct guest *g, struct framed_call *call, struct framed_bytes bytes)
{
    bool its_turn = ordered_is_empty(&g->calls);
    enum framed_status st = its_turn ? put(g, call, bytes) : answer_in_turn(g, call, bytes);
    call->state = CALL_CONSUMED;
    if (st == FRAMED_OK) {
        if (its_turn) count(&worker_of(g)->replies, 1);
        return FRAMED_OK;
    }
    framed_buf_fini(&call->memory, &worker_of(g)->loop.pool.alloc); /* if put() took it, and then could not use it */
    framed_conn_break(&g->conn, st);                                /* the reply is lost, and with it the order */
    return st;
}

static void drop_later_calls(struct guest *g)
{
    struct framed_place *place;
    while (framed_ordered_reply(&g->calls, &place) == FRAMED_OK) {
        struct framed_call *call = (struct framed_call *)(void *)((uint8_t *)place - offsetof(struct framed_call, place));
        call->guest = NULL;
        atomic_store(&call->over, true);
        if (place->finished) framed_call_free(call); /* else it is the handler's, who will still answer it */
    }
    *conn_owed(&g->conn) = g->conn.calls = 0;
    g->conn.held = false;
}

/* Lets out what has its turn. */
static void advance(struct guest *g)
{
    struct framed_place *place;
    while ((place = framed_ordered_turn(&g->calls)) != NULL) {
        struct framed_call *call = (struct framed_call *)(void *)((uint8_t *)place - offsetof(struct framed_call, place));
        bool failed = call->failed;
        enum framed_status st = FRAMED_OK;
        g->conn.calls--;
        if (!failed) {
            uint32_t *owed = conn_owed(&g->conn);
            *owed -= call->answer.len > *owed ? *owed : (uint32_t)call->answer.len;
            st = put(g, call, call->answer);
            if (st == FRAMED_OK) count(&worker_of(g)->replies, 1);
        }
        framed_call_free(call);
        if (st != FRAMED_OK) {
            framed_conn_break(&g->conn, st);
            return;
        }
        if (failed) drop_later_calls(g);
    }
    g->conn.held = g->conn.calls >= worker_of(g)->config.max_calls;
    finish_if_done(g);
}

static void mark_dirty(struct guest *g)
{
    if (g->next != NULL) return;
    struct worker *w = worker_of(g);
    g->next = w->dirty != NULL ? w->dirty : g;
    w->dirty = g;
}

/* While an answer waits for its turn, it does not hold a large body of which it needs little or nothing. */
static void let_go_of_body(struct framed_call *call)
{
    const struct framed_allocator *alloc = &call->worker->loop.pool.alloc;
    if (call->memory.cap <= COPY_SMALL) return;
    if (call->answer.len > 0 && bytes_inside(call->answer, call->body)) {
        if (worth_keeping(call->answer, call->body.len)) return;
        if (framed_buf_append(&call->reply, call->answer, SIZE_MAX, alloc) != FRAMED_OK) return; /* held after all */
        call->answer = framed_bytes_of(call->reply.at, call->reply.len);
    }
    framed_buf_fini(&call->memory, alloc);
    call->body = (struct framed_bytes){0};
}

void framed_guest_answered(struct framed_call *call)
{
    struct guest *g = call->guest;
    framed_ordered_finish(&call->place);
    if (call->failed) {
        log_failed_call(g, call->code, call->text);
        framed_conn_deafen(&g->conn, FRAMED_CLOSED);
    } else {
        if (ordered_first(&g->calls) != &call->place) let_go_of_body(call); /* else it leaves this turn */
        uint32_t *owed = conn_owed(&g->conn);
        *owed = call->answer.len > UINT32_MAX - *owed ? UINT32_MAX : *owed + (uint32_t)call->answer.len;
    }
    mark_dirty(g); /* one gathered send per connection and turn, however many answers came */
}

void framed_guest_flush_dirty(struct worker *w)
{
    while (w->dirty != NULL) {
        struct guest *g = w->dirty;
        w->dirty = g->next == g ? NULL : g->next;
        g->next = NULL;
        if (g->conn.closing) continue;
        advance(g);
        conn_touch(&g->conn);
        framed_conn_resume(&g->conn);
    }
}

static void unmark_dirty(struct guest *g)
{
    if (g->next == NULL) return;
    struct worker *w = worker_of(g);
    if (w->dirty == g) {
        w->dirty = g->next == g ? NULL : g->next;
    } else {
        struct guest *before = w->dirty;
        while (before->next != g) before = before->next;
        before->next = g->next == g ? before : g->next;
    }
    g->next = NULL;
}

/* A fresh call fails. If others wait before it, its failure has its turn like an answer. */
void framed_guest_fail(struct guest *g, struct framed_call *fresh, unsigned code, const char *text)
{
    fresh->state = CALL_CONSUMED;
    log_failed_call(g, code, text);
    framed_conn_deafen(&g->conn, FRAMED_CLOSED); /* nothing is started any more, so nothing later needs to be dropped */
}

/* ---- the connection's side ---- */

static void unanswered(struct framed_call *call)
{
    if (call->worker->config.replies == FRAMED_REPLIES_ORDERED)
        framed_guest_fail(call->guest, call, FRAMED_CODE_INTERNAL, "the handler gave no answer");
}

static void guest_frame(struct conn *c, struct framed_bytes payload)
{
    struct worker *w = worker_of(guest_of(c));
    struct framed_call *call = &w->fresh;
    call->guest = guest_of(c);
    call->body = payload;
    call->state = CALL_FRESH;
    w->config.handler(w->config.handler_ctx, call);
    if (call->state == CALL_FRESH) unanswered(call);
}

static void guest_over(struct conn *c, enum framed_status why)
{
    struct guest *g = guest_of(c);
    if (why == FRAMED_TOO_LARGE || why == FRAMED_TRUNCATED || why == FRAMED_MALFORMED || why == FRAMED_AUTH)
        count(&worker_of(g)->framing_errors, 1);
    log_over(g, why);
    if (framed_conn_is_mute(c)) drop_later_calls(g);
    finish_if_done(g);
}

/* The oldest unanswered call is the first whose deadline passes: they have the same, and came in this order. */
static const struct framed_call *oldest_unanswered(const struct guest *g)
{
    for (const struct framed_place *p = ordered_first(&g->calls); p != NULL; p = ordered_next(&g->calls, p))
        if (!p->finished)
            return (const struct framed_call *)(const void *)((const uint8_t *)p - offsetof(struct framed_call, place));
    return NULL;
}

static uint64_t guest_due(struct conn *c)
{
    const struct framed_call *call = oldest_unanswered(guest_of(c));
    return call != NULL ? call->due : WHEEL_NEVER;
}

/* A call has passed its deadline: it fails, and a plain connection cannot say so but by closing (§3.4). */
static void guest_late(struct conn *c)
{
    struct guest *g = guest_of(c);
    advance(g); /* what has its answer goes first */
    const struct framed_call *call = oldest_unanswered(g);
    if (c->closing || call == NULL || call->due > framed_loop_now(&worker_of(g)->loop)) return;
    count(&worker_of(g)->kind.deadlines, 1);
    log_failed_call(g, FRAMED_CODE_DEADLINE_EXCEEDED, NULL);
    framed_conn_deafen(c, FRAMED_CLOSED);
    drop_later_calls(g);
    finish_if_done(g);
    framed_conn_flush(c);
}

static bool guest_busy(const struct conn *c)
{
    return c->calls > 0;
}

static void guest_gone(struct conn *c)
{
    struct guest *g = guest_of(c);
    drop_later_calls(g);
    unmark_dirty(g);
    framed_worker_guest_free(g);
}

void framed_guest_recheck(struct guest *g)
{
    struct channel *ch = g->conn.channel;
    if (ch == NULL || g->conn.closing || g->conn.out != OUT_OPEN || framed_channel_still_trusts(ch)) return;
    framed_conn_deafen(&g->conn, FRAMED_AUTH);
    drop_later_calls(g);
    finish_if_done(g);
    framed_conn_flush(&g->conn);
}

void framed_guest_evict(struct guest *g)
{
    atomic_fetch_add_explicit(&worker_of(g)->server->refused, 1, memory_order_relaxed);
    log_end(g, FRAMED_LOG_WARNING, "too many at once that have not proven who they are");
    framed_conn_break(&g->conn, FRAMED_LIMIT);
}

void framed_guest_enters(void *owner)
{
    struct guest *g = guest_of(owner);
    framed_strangers_enter(&worker_of(g)->strangers, g);
}

bool framed_guest_begins(void *owner)
{
    struct guest *g = guest_of(owner);
    struct worker *w = worker_of(g);
    if (framed_strangers_may_begin(&w->strangers, g, framed_loop_now(&w->loop))) return true;
    atomic_fetch_add_explicit(&w->server->refused, 1, memory_order_relaxed);
    log_end(g, FRAMED_LOG_WARNING, "too many handshakes a second");
    return false;
}

bool framed_guest_trusts(void *owner, struct framed_peer *peer)
{
    struct guest *g = guest_of(owner);
    framed_strangers_leave(&worker_of(g)->strangers, g);
    const struct framed_server_config *config = &worker_of(g)->config;
    char address[OS_ADDRESS_TEXT_SIZE];
    framed_os_host_text(&g->host->is, g->conn.port, address, sizeof address);
    peer->address = address;
    return config->authorize == NULL || config->authorize(config->keys_ctx, peer);
}

const struct conn_ops framed_guest_ops = {
    .frame = guest_frame,
    .over = guest_over,
    .due = guest_due,
    .late = guest_late,
    .busy = guest_busy,
    .gone = guest_gone,
};

enum framed_status framed_guest_begin(struct guest *g, intptr_t handle)
{
    struct worker *w = worker_of(g);
    if ((w->config.protections & ~(uint32_t)CHANNEL_KEYED) == 0) framed_strangers_enter(&w->strangers, g);
    return framed_conn_accept(&g->conn, g->conn.kind, handle);
}
