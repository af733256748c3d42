/*
 * os_rig.h: what the tests of os.h share: one end of a connection, or a listener, that counts what it is told; pollers and pairs.
 * Must not know how a platform keeps the contract.
 */
#ifndef FRAMED_TESTS_OS_RIG_H
#define FRAMED_TESTS_OS_RIG_H

#include "os.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the rig: one end of a connection, or a listener, that counts what it is told ---- */

struct end;
typedef void end_fn(struct end *e);

struct end {
    struct os_socket s; /* first: an os_socket of ours is an end */
    unsigned accepted;
    unsigned connected;
    unsigned received;
    unsigned sent;
    unsigned closed;
    enum framed_status status; /* of the last completion */
    intptr_t handle;           /* of the last accepted */
    struct os_address peer;
    uint8_t *at;    /* of the last received */
    size_t n;       /* of the last received or sent */
    end_fn *then;   /* what to do inside each callback but `closed` */
    end_fn *at_end; /* what to do inside `closed` */
    void *ctx;
};

static enum framed_wait way;     /* of the group that runs */
static bool inside_close;        /* framed_os_close is on the stack */
static unsigned closed_in_close; /* how often it called `closed` */
static unsigned told_outside;    /* callbacks that came when framed_os_wait was not running */
static bool inside_wait;

static inline struct end *end_of(struct os_socket *s)
{
    return (struct end *)(void *)s;
}

static inline void told(struct end *e, unsigned *count, enum framed_status status)
{
    if (!inside_wait) told_outside++;
    (*count)++;
    e->status = status;
    if (e->then != NULL) e->then(e);
}

static inline void on_accepted(struct os_socket *s, enum framed_status status, intptr_t handle,
                               const struct os_address *peer)
{
    end_of(s)->handle = handle;
    end_of(s)->peer = *peer;
    told(end_of(s), &end_of(s)->accepted, status);
}

static inline void on_connected(struct os_socket *s, enum framed_status status)
{
    told(end_of(s), &end_of(s)->connected, status);
}

static inline void on_received(struct os_socket *s, enum framed_status status, uint8_t *at, size_t n)
{
    end_of(s)->at = at;
    end_of(s)->n = n;
    told(end_of(s), &end_of(s)->received, status);
}

static inline void on_sent(struct os_socket *s, enum framed_status status, size_t n)
{
    end_of(s)->n = n;
    told(end_of(s), &end_of(s)->sent, status);
}

static inline void on_closed(struct os_socket *s)
{
    struct end *e = end_of(s);
    if (inside_close) closed_in_close++;
    if (!inside_wait) told_outside++;
    e->closed++;
    if (e->at_end != NULL) e->at_end(e);
}

static const struct os_socket_ops ops = {on_accepted, on_connected, on_received, on_sent, on_closed};

static inline void end_init(struct end *e)
{
    *e = (struct end){.s.ops = &ops, .handle = OS_NO_HANDLE};
}

static inline void end_close(struct end *e)
{
    inside_close = true;
    framed_os_close(&e->s);
    inside_close = false;
}

static inline struct os_poller *poller_new(void)
{
    struct os_poller *p = NULL;
    assert_int_equal(framed_os_poller_open(&p, way, framed_os_allocator()), FRAMED_OK);
    return p;
}

static inline void wait_once(struct os_poller *p, uint64_t timeout_ms)
{
    inside_wait = true;
    enum framed_status st = framed_os_wait(p, timeout_ms);
    inside_wait = false;
    assert_int_equal(st, FRAMED_OK);
}

static inline void until(struct os_poller *p, const unsigned *count, unsigned least)
{
    while (*count < least) wait_once(p, OS_FOREVER);
}

/* Time for what must not happen: it can miss a fault, not invent one. */
static inline void settle(struct os_poller *p)
{
    for (int i = 0; i < 5; i++) wait_once(p, 1);
}

/* The poller sleeps, instead of being woken again and again by what nobody asked for. */
static inline void assert_sleeps(struct os_poller *p)
{
    enum { WAITS = 10, WAIT_MS = 10 };
    settle(p);
    uint64_t start = framed_os_clock_ns();
    for (int i = 0; i < WAITS; i++) wait_once(p, WAIT_MS);
    assert_true(framed_os_clock_ns() - start >= WAITS * (WAIT_MS / 2) * UINT64_C(1000000));
}

static inline void finish_end(struct os_poller *p, struct end *e)
{
    end_close(e);
    until(p, &e->closed, 1);
}

static inline struct os_address loopback(const char *host, const char *port)
{
    struct os_address a = {0};
    size_t n = 1;
    assert_int_equal(framed_os_resolve(host, port, true, &a, &n), FRAMED_OK);
    assert_int_equal(n, 1);
    return a;
}

static inline void listen_any(struct os_poller *p, struct end *l, struct os_address *bound)
{
    struct os_address any = loopback("127.0.0.1", "0");
    end_init(l);
    assert_int_equal(framed_os_listen(p, &l->s, &any, bound), FRAMED_OK);
}

static inline void dial(struct os_poller *p, struct end *e, const struct os_address *to)
{
    end_init(e);
    assert_int_equal(framed_os_connect(p, &e->s, to), FRAMED_OK);
}

static inline void take(struct os_poller *p, struct end *l, struct end *e)
{
    assert_int_equal(framed_os_accept(&l->s), FRAMED_OK);
    until(p, &l->accepted, l->accepted + 1);
    assert_int_equal(l->status, FRAMED_OK);
    end_init(e);
    assert_int_equal(framed_os_attach(p, &e->s, l->handle), FRAMED_OK);
}

/* A connection: a connected, b accepted it. */
static inline void pair_across(struct os_poller *p, struct end *a, struct os_poller *q, struct end *b)
{
    struct end l;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, a, &bound);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    until(p, &l.accepted, 1);
    assert_int_equal(l.status, FRAMED_OK);
    end_init(b);
    assert_int_equal(framed_os_attach(q, &b->s, l.handle), FRAMED_OK);
    until(p, &a->connected, 1);
    assert_int_equal(a->status, FRAMED_OK);
    finish_end(p, &l);
}

static inline void pair(struct os_poller *p, struct end *a, struct end *b)
{
    pair_across(p, a, p, b);
}

static inline void send_all(struct os_poller *p, struct end *e, const void *at, size_t n)
{
    struct framed_bytes view = framed_bytes_of(at, n);
    while (view.len > 0) {
        assert_int_equal(framed_os_send(&e->s, &view, 1), FRAMED_OK);
        until(p, &e->sent, e->sent + 1);
        assert_int_equal(e->status, FRAMED_OK);
        assert_true(e->n > 0 && e->n <= view.len);
        view = framed_bytes_of(view.at + e->n, view.len - e->n);
    }
}

/* Receives exactly n bytes into `to`, in memory lent by the system. */
static inline void receive_all(struct os_poller *p, struct end *e, uint8_t *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        size_t most = n - got;
        assert_int_equal(framed_os_receive(&e->s, to + got, most), FRAMED_OK);
        until(p, &e->received, e->received + 1);
        assert_int_equal(e->status, FRAMED_OK);
        assert_true(e->n > 0 && e->n <= most);
        got += e->n;
    }
}

static inline void receive_status(struct os_poller *p, struct end *e, enum framed_status status)
{
    assert_int_equal(framed_os_receive(&e->s, NULL, 0), FRAMED_OK);
    until(p, &e->received, e->received + 1);
    assert_int_equal(e->status, status);
}

static inline void end_both(struct os_poller *p, struct end *a, struct end *b)
{
    end_close(a);
    end_close(b);
    until(p, &a->closed, 1);
    until(p, &b->closed, 1);
    settle(p);
    assert_int_equal(a->closed, 1);
    assert_int_equal(b->closed, 1);
    assert_int_equal(closed_in_close, 0);
    assert_int_equal(told_outside, 0);
    framed_os_poller_close(p);
}

static inline void fill(uint8_t *at, size_t n)
{
    uint32_t x = 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        at[i] = (uint8_t)(x >> 24);
    }
}

static inline void *memory(size_t n)
{
    void *at = malloc(n);
    assert_non_null(at);
    return at;
}

/* Offers until the system takes nothing any more, also after it had time to carry some away; returns how much it took. */
static inline size_t stuff(struct os_poller *p, struct end *e, const uint8_t *at, size_t n)
{
    size_t sent = 0;
    for (int refused = 0; refused < 3 && sent < n;) {
        struct framed_bytes views[] = {framed_bytes_of(NULL, 0), framed_bytes_of(at + sent, n - sent)};
        size_t taken = 0;
        assert_int_equal(framed_os_offer(&e->s, views, 2, &taken), FRAMED_OK);
        sent += taken;
        refused = taken == 0 ? refused + 1 : 0;
        if (taken == 0) settle(p);
    }
    assert_true(sent > 0 && sent < n);
    return sent;
}

#endif
