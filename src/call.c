/*
 * call.c: one request in a handler's hands.
 * Must not know sockets. A kept call is touched by one thread at a time: the handler's until it is answered, then the loop's.
 * Invariants: a call is consumed exactly once; a kept call holds a reference to its server, and `guest` is its worker's alone.
 */
#include "../proto/alloc.h"
#include "../proto/be.h"
#include "server.h"
#include <string.h>

static void deliver(struct letter *l);

static struct framed_call *call_of(struct letter *l)
{
    return (struct framed_call *)(void *)((uint8_t *)l - offsetof(struct framed_call, letter));
}

/* Gives the kept call a body that stays: the frame's own memory if it has some, else a copy. */
static enum framed_status keep_body(struct framed_call *call, struct framed_call *fresh)
{
    const struct framed_allocator *alloc = &call->worker->loop.pool.alloc;
    if (framed_conn_take(&fresh->guest->conn, fresh->body, &fresh->memory) != FRAMED_OK) {
        enum framed_status st = framed_buf_append(&call->memory, fresh->body, SIZE_MAX, alloc);
        call->body = framed_bytes_of(call->memory.at, fresh->body.len);
        return st;
    }
    call->memory = fresh->memory;
    fresh->memory = (struct framed_buf){0};
    call->body = fresh->body;
    return FRAMED_OK;
}

struct framed_call *framed_call_keep(struct framed_call *fresh)
{
    struct worker *w = fresh->worker;
    struct guest *g = fresh->guest;
    const struct framed_allocator *alloc = &w->loop.pool.alloc;
    struct framed_call *call = mem_new(alloc, sizeof *call);
    if (call == NULL) return NULL;
    *call = (struct framed_call){.worker = w,
                                 .guest = g,
                                 .state = CALL_KEPT,
                                 .port = g->conn.port,
                                 .host = g->host->is,
                                 .peer_most = framed_conn_peer_most(&g->conn)};
    atomic_init(&call->over, false);
    call->letter.deliver = deliver;
    if (keep_body(call, fresh) != FRAMED_OK) {
        mem_free(alloc, call, sizeof *call);
        return NULL;
    }
    uint32_t ms = w->config.call_ms;
    call->due = ms == FRAMED_NEVER ? WHEEL_NEVER : framed_loop_now(&w->loop) + ms;
    framed_ordered_begin(&g->calls, &call->place);
    g->conn.held = ++g->conn.calls >= w->config.max_calls;
    atomic_fetch_add(&w->server->refs, 1);
    return call;
}

void framed_call_free(struct framed_call *call)
{
    struct worker *w = call->worker;
    const struct framed_allocator *alloc = &w->loop.pool.alloc;
    framed_buf_fini(&call->memory, alloc);
    framed_buf_fini(&call->reply, alloc);
    mem_free(alloc, call->text, FAIL_TEXT_SIZE);
    mem_free(alloc, call, sizeof *call);
    if (w->loop.inbox.poller != NULL) framed_server_unref(w->server); /* else the sender does, once he has left the lock */
}

/* On the loop's thread: the answer of a kept call has come. */
static void deliver(struct letter *l)
{
    struct framed_call *call = call_of(l);
    count(&call->worker->open_calls, (uint64_t)-1);
    if (call->guest != NULL)
        framed_guest_answered(call);
    else
        framed_call_free(call);
}

/* Sends the answered call to its loop. */
static enum framed_status send_answer(struct framed_call *call)
{
    struct worker *w = call->worker;
    enum framed_status st = atomic_load(&call->over) ? FRAMED_CLOSED : FRAMED_OK;
    call->state = CALL_CONSUMED;
    if (!framed_inbox_send(&w->loop.inbox, &call->letter)) framed_server_unref(w->server);
    return st;
}

/* Memory for an answer: the pool's if we are its thread, else made so that the pool can free it. */
static void *answer_memory(struct worker *w, size_t n)
{
    bool ours = framed_os_thread_self() == atomic_load_explicit(&w->loop.thread, memory_order_relaxed) &&
                w->loop.inbox.poller != NULL;
    return ours ? mem_new(&w->loop.pool.alloc, n) : framed_pool_outside(&w->loop.pool, n);
}

static void fail_kept(struct framed_call *call, unsigned code, const char *text)
{
    call->failed = true;
    call->code = code;
    if (text == NULL || atomic_load(&call->over)) return;
    call->text = answer_memory(call->worker, FAIL_TEXT_SIZE);
    if (call->text == NULL) return; /* the code alone must do */
    framed_log_escape(text, call->text, FAIL_TEXT_SIZE);
}

static enum framed_status answer_kept(struct framed_call *call, struct framed_bytes bytes)
{
    if (bytes.len == 0 || bytes_inside(bytes, call->body)) {
        call->answer = bytes;
        return send_answer(call);
    }
    enum framed_status st = FRAMED_OK;
    if (!atomic_load(&call->over)) {
        call->reply.at = answer_memory(call->worker, bytes.len);
        if (call->reply.at != NULL) {
            memcpy(call->reply.at, bytes.at, bytes.len);
            call->reply.len = call->reply.cap = bytes.len;
            call->answer = framed_bytes_of(call->reply.at, bytes.len);
        } else {
            fail_kept(call, FRAMED_CODE_RESOURCE_EXHAUSTED, "no memory for the reply");
            st = FRAMED_NOMEM;
        }
    }
    enum framed_status sent = send_answer(call);
    return st != FRAMED_OK ? st : sent;
}

/* A kept one may be in another thread than its connection. */
static uint32_t peer_most(const struct framed_call *call)
{
    return call->state == CALL_FRESH ? framed_conn_peer_most(&call->guest->conn) : call->peer_most;
}

/* Never inlined: its stack frame would be paid for on the short way. */
__attribute__((noinline)) static enum framed_status reply_at_length(struct framed_call *call, struct framed_bytes bytes)
{
    const struct framed_server_config *config = &call->worker->config;
    if (call->state == CALL_CONSUMED) return FRAMED_USAGE;
    if (config->replies == FRAMED_REPLIES_NONE) {
        call->state = CALL_CONSUMED;
        return FRAMED_USAGE;
    }
    if (bytes.len > config->max_send || bytes.len > peer_most(call)) {
        (void)framed_call_fail(call, FRAMED_CODE_INTERNAL,
                               bytes.len > config->max_send ? "the reply is longer than max_send"
                                                            : "the reply is longer than the peer accepts");
        return FRAMED_TOO_LARGE;
    }
    return call->state == CALL_FRESH ? framed_guest_answer(call->guest, call, bytes) : answer_kept(call, bytes);
}

enum framed_status framed_call_reply(struct framed_call *call, struct framed_bytes bytes)
{
    if (call->state != CALL_FRESH || !guest_echoes(call->guest, call, bytes)) return reply_at_length(call, bytes);
    call->state = CALL_CONSUMED;
    count(&call->worker->replies, 1);
    return FRAMED_OK;
}

enum framed_status framed_call_fail(struct framed_call *call, enum framed_code code, const char *text)
{
    if (call->state == CALL_CONSUMED) return FRAMED_USAGE;
    if (code == FRAMED_CODE_OK) code = FRAMED_CODE_UNKNOWN; /* a failure that is none */
    if (call->state == CALL_FRESH) {
        char line[FAIL_TEXT_SIZE];
        if (text != NULL) framed_log_escape(text, line, sizeof line);
        framed_guest_fail(call->guest, call, (unsigned)code, text != NULL ? line : NULL);
        return FRAMED_OK;
    }
    fail_kept(call, (unsigned)code, text);
    return send_answer(call);
}

enum framed_status framed_call_defer(struct framed_call *call, struct framed_call **kept, struct framed_bytes *body)
{
    struct worker *w = call->worker;
    if (call->state != CALL_FRESH || w->config.replies == FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    struct framed_call *made = framed_call_keep(call);
    if (made == NULL) return FRAMED_NOMEM;
    count(&w->open_calls, 1);
    call->state = CALL_CONSUMED;
    call->body = made->body; /* a handler that looks again finds the bytes where they are now */
    *kept = made;
    *body = made->body;
    return FRAMED_OK;
}

struct framed_bytes framed_call_body(const struct framed_call *call)
{
    return call->body;
}

bool framed_call_identity(const struct framed_call *call, struct framed_peer *peer)
{
    struct channel *ch = call->state == CALL_FRESH ? call->guest->conn.channel : NULL;
    if (ch == NULL || ch->tunnel == NULL) return false;
    *peer = framed_tunnel_peer(ch->tunnel);
    peer->address = framed_call_peer(call);
    return true;
}

const char *framed_call_peer(const struct framed_call *call)
{
    struct framed_call *c = (struct framed_call *)(uintptr_t)call; /* the text is made when first asked for */
    if (c->state == CALL_FRESH)
        framed_os_host_text(&c->guest->host->is, c->guest->conn.port, c->peer, sizeof c->peer);
    else if (c->peer[0] == '\0')
        framed_os_host_text(&c->host, c->port, c->peer, sizeof c->peer);
    return c->peer;
}

uint32_t framed_call_left_ms(const struct framed_call *call)
{
    if (call->state == CALL_FRESH) return call->worker->config.call_ms;
    if (atomic_load(&call->over)) return 0;
    if (call->due == WHEEL_NEVER) return FRAMED_NEVER;
    uint64_t now = framed_os_clock_ns() / 1000000u;
    return call->due > now ? (uint32_t)(call->due - now) : 0;
}
