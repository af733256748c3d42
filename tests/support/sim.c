/*
 * sim.c: owns the simulated world: its time, its network, and the order in which things happen.
 * Must not know the protocol, nor anything of server and client but what os.h says.
 * Invariants: an end is never reused within a world; bytes are in exactly one place (outbox, pipe, inbox); callbacks are made
 * only inside framed_os_wait; time moves only when nobody can do anything at the present moment.
 */
#define _XOPEN_SOURCE 700
#include "sim.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define STACKS_ARE_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACKS_ARE_WATCHED 1
#endif
#endif
#ifdef STACKS_ARE_WATCHED
#include <sanitizer/common_interface_defs.h>
#endif

enum {
    FIRST_HANDLE = 1000,
    STACK_SIZE = 256 << 10,
    MOST_FAILURES = 16,
    MOST_NAMES = 8,
    MOST_NAME_HOSTS = 4,
    MOST_PLACES = 8,
    SPIN_LIMIT = 20000, /* turns at one moment in which nothing happened */
    WANT_ACCEPT = 1,
    WANT_CONNECT = 2,
    WANT_RECEIVE = 4,
    WANT_SEND = 8,
    CLOSING = 16
};

/* What an address is inside: not the system's form, so that nobody can peek. */
enum place_kind { PLACE_NONE, PLACE_V4, PLACE_V6, PLACE_UNIX };

struct place {
    uint8_t kind;
    uint8_t port_high, port_low;
    uint8_t host[16];
    char path[104];
};

_Static_assert(sizeof(struct place) <= sizeof(((struct os_address *)0)->bytes), "a place must fit an address");

/* Bytes in order; grows as far as its user lets it. */
struct queue {
    uint8_t *at;
    size_t head;
    size_t len;
    size_t cap;
};

struct end {
    intptr_t handle;
    struct os_socket *socket; /* the framed owner, once attached */
    struct sim_peer *peer;    /* or the raw one */
    struct sim_acceptor *acceptor;
    struct end *other;
    struct end *next_waiting; /* in the queue of a listener */
    struct end *waiting;      /* of a listener: connections not yet accepted */
    struct place local;
    struct place remote;
    struct queue in; /* sent by the other end, not yet read here */
    size_t capacity; /* of `in` */
    const struct sim_script *script;
    struct sim_script script_copy;
    size_t receive_turn;
    size_t send_turn;
    uint64_t sent;
    uint32_t idle_ms, give_up_ms;
    uint64_t seal; /* over the views of the send under way */
    bool listening;
    bool counted;     /* among the open handles */
    bool connecting;  /* not yet told */
    bool blackhole;   /* and never will be */
    bool in_finished; /* nothing comes behind what is in `in` */
    bool out_finished;
    bool broken;       /* reads and writes fail with RESET */
    bool breaks_later; /* ... once `in` is empty */
    bool silent;       /* what this end sends goes nowhere */
    bool closed;
    bool to_self;
    bool keepalive_said;
};

struct sim_peer {
    struct end *end;
    struct queue inbox;
    struct queue outbox;
    size_t taken_frame; /* bytes at the front of the inbox that sim_peer_frame lent last */
    uint64_t allowance; /* bytes it may still read; UINT64_MAX: all */
    uint64_t ended_ms;
    enum sim_peer_state state;
    bool finish;
    char address[OS_ADDRESS_TEXT_SIZE];
};

struct sim_acceptor {
    struct end *end;
};

struct os_poller {
    const struct framed_allocator *alloc;
    struct os_socket **sockets;
    size_t count, cap;
    struct os_socket *closing; /* chained in order of closing by next_closing */
    struct os_socket **closing_tail;
    bool woken;
    bool waiting; /* inside its framed_os_wait */
};

struct os_lock {
    bool held;
};

/* Runs on a stack of its own until it waits. */
struct sim_actor {
    void (*run)(void *ctx);
    void *ctx;
    ucontext_t here;
    uint8_t *stack;
    void *shadow;             /* the sanitizer's */
    struct os_poller *poller; /* waits for it, or NULL */
    uint64_t deadline_ns;
    uint64_t steps;
    bool stopping;
    bool done;
};

struct event {
    uint64_t when_ns;
    uint64_t number; /* those of one moment happen in the order they were asked for */
    void (*fn)(void *ctx);
    void *ctx;
};

struct failure {
    enum sim_op op;
    enum framed_status status;
    uint64_t at;
    bool onward;
    bool used;
};

struct name {
    char text[64];
    struct place hosts[MOST_NAME_HOSTS];
    size_t n;
};

#define LIST(type)                                                                                                          \
    struct {                                                                                                                \
        type *at;                                                                                                           \
        size_t n, cap;                                                                                                      \
    }

static struct world {
    bool exists;
    uint64_t now_ns;
    uint64_t seed;
    uint64_t dice; /* 0: none */
    uint64_t random;
    struct meter meter;
    LIST(struct end *) ends;
    LIST(struct sim_peer *) peers;
    LIST(struct sim_actor *) actors;
    LIST(struct sim_acceptor *) acceptors;
    LIST(struct event) events;
    uint64_t event_number;
    struct sim_actor *stepping;
    ucontext_t home; /* the test's own thread */
    void *home_shadow;
    const void *home_stack;
    size_t home_stack_size;
    size_t next_actor;
    uint64_t idle_turns;
    size_t capacity;
    size_t max_handles;
    size_t handles;
    size_t events_per_wait;
    size_t pollers, locks, locks_held;
    uintptr_t thread;
    uint16_t next_port;
    bool to_self;
    uint64_t ops[OP_COUNT];
    struct failure failures[MOST_FAILURES];
    size_t failure_count;
    uint64_t failures_reached;
    struct sim_script scripts[2];
    bool scripted[2];
    struct name names[MOST_NAMES];
    size_t name_count;
    struct place blackholes[MOST_PLACES];
    size_t blackhole_count;
} world;

#define START_NS UINT64_C(1000000000000) /* so that nobody mistakes 0 for a time */
#define MS       UINT64_C(1000000)

/* ---- small things ---- */

static const char *const op_names[OP_COUNT] = {
    "poller_open", "wait",  "listen", "adopt", "attach", "accept",  "accepted",     "connect", "connected", "receive",
    "received",    "offer", "send",   "sent",  "finish", "resolve", "address_unix", "random",  "lock_new"};

static void must(bool holds, const char *what)
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

static void *grown(void *at, size_t count, size_t *cap, size_t item)
{
    if (count < *cap) return at;
    *cap = *cap ? *cap * 2 : 16;
    at = realloc(at, *cap * item);
    must(at != NULL, "the simulator itself is out of memory");
    return at;
}

#define APPEND(list, item)                                                                                                  \
    ((list).at = grown((list).at, (list).n, &(list).cap, sizeof *(list).at), (void)((list).at[(list).n++] = (item)))

static void *made(size_t size)
{
    void *at = calloc(1, size);
    must(at != NULL, "the simulator itself is out of memory");
    return at;
}

static uint64_t next_of(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* 0 .. n-1; always 0 in a world without dice. */
static size_t thrown(size_t n)
{
    if (!world.dice || n < 2) return 0;
    return (size_t)((next_of(&world.dice) >> 16) % n);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static uint64_t after_ms(uint64_t ms)
{
    if (ms >= (UINT64_MAX - world.now_ns) / MS) return UINT64_MAX;
    return world.now_ns + ms * MS;
}

static void happened(void)
{
    world.idle_turns = 0;
}

/* ---- queues ---- */

static void queue_put(struct queue *q, const uint8_t *at, size_t n)
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

static void queue_drop(struct queue *q, size_t n)
{
    q->head += n;
    q->len -= n;
    if (q->len == 0) q->head = 0;
}

static void queue_free(struct queue *q)
{
    free(q->at);
    memset(q, 0, sizeof *q);
}

/* ---- failures ---- */

const char *sim_op_name(enum sim_op op)
{
    return op_names[op];
}

static void add_failure(enum sim_op op, uint64_t n, enum framed_status status, bool onward)
{
    must(world.failure_count < MOST_FAILURES && n > 0, "sim_fail: too many failures, or the 0th time");
    struct failure *f = &world.failures[world.failure_count++];
    *f = (struct failure){.op = op, .status = status, .at = world.ops[op] + n, .onward = onward};
}

void sim_fail(enum sim_op op, uint64_t n, enum framed_status status)
{
    add_failure(op, n, status, false);
}

void sim_fail_onward(enum sim_op op, uint64_t n, enum framed_status status)
{
    add_failure(op, n, status, true);
}

void sim_fail_never(void)
{
    world.failure_count = 0;
}

uint64_t sim_ops(enum sim_op op)
{
    return world.ops[op];
}

uint64_t sim_failures_reached(void)
{
    return world.failures_reached;
}

/* Counts one occurrence; true when it is to fail. */
static bool fails(enum sim_op op, enum framed_status *status)
{
    uint64_t n = ++world.ops[op];
    for (size_t i = 0; i < world.failure_count; i++) {
        struct failure *f = &world.failures[i];
        if (f->op != op || n < f->at || (n > f->at && !f->onward)) continue;
        world.failures_reached++;
        *status = f->status;
        return true;
    }
    return false;
}

/* ---- places and addresses ---- */

static struct place place_of(const struct os_address *address)
{
    struct place p;
    must(address->len == sizeof p, "an address that the platform never made");
    memcpy(&p, address->bytes, sizeof p);
    return p;
}

static void address_of(struct os_address *address, const struct place *p)
{
    memset(address, 0, sizeof *address);
    address->len = sizeof *p;
    memcpy(address->bytes, p, sizeof *p);
}

static unsigned port_of(const struct place *p)
{
    return (unsigned)p->port_high << 8 | p->port_low;
}

static void set_port(struct place *p, unsigned port)
{
    p->port_high = (uint8_t)(port >> 8);
    p->port_low = (uint8_t)port;
}

static bool parse_v4(const char *text, struct place *p)
{
    unsigned a, b, c, d;
    char rest;
    if (sscanf(text, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) != 4 || a > 255 || b > 255 || c > 255 || d > 255)
        return false;
    memset(p, 0, sizeof *p);
    p->kind = PLACE_V4;
    uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, (uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d};
    memcpy(p->host, mapped, sizeof mapped);
    return true;
}

/* Enough of IPv6 for tests: hexadecimal groups with at most one "::". */
static bool parse_v6(const char *text, struct place *p)
{
    unsigned groups[8] = {0};
    int n = 0, gap = -1;
    const char *at = text;
    if (strchr(text, ':') == NULL) return false;
    while (*at) {
        if (at[0] == ':' && at[1] == ':') {
            if (gap >= 0) return false;
            gap = n;
            at += 2;
        } else if (*at == ':' && n > 0) {
            at++;
        }
        if (!*at) break;
        char *stop;
        unsigned long v = strtoul(at, &stop, 16);
        if (stop == at || v > 0xffff || n == 8) return false;
        groups[n++] = (unsigned)v;
        at = stop;
    }
    if (gap < 0 && n != 8) return false;
    memset(p, 0, sizeof *p);
    p->kind = PLACE_V6;
    for (int i = 0; i < n; i++) {
        int where = gap >= 0 && i >= gap ? 8 - n + i : i;
        p->host[2 * where] = (uint8_t)(groups[i] >> 8);
        p->host[2 * where + 1] = (uint8_t)groups[i];
    }
    return true;
}

static bool parse_host(const char *text, struct place *p)
{
    return parse_v4(text, p) || parse_v6(text, p);
}

static struct place parse_address(const char *text)
{
    struct place p;
    memset(&p, 0, sizeof p);
    if (strncmp(text, "unix:", 5) == 0) {
        p.kind = PLACE_UNIX;
        snprintf(p.path, sizeof p.path, "%s", text + 5);
        return p;
    }
    char host[64];
    const char *colon = strrchr(text, ':');
    must(colon != NULL, "a test's address has no port");
    size_t n = (size_t)(colon - text);
    bool brackets = n > 1 && text[0] == '[' && text[n - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(brackets ? n - 2 : n), brackets ? text + 1 : text);
    must(parse_host(host, &p), "a test's address is no address");
    set_port(&p, (unsigned)strtoul(colon + 1, NULL, 10));
    return p;
}

static bool is_any_host(const struct place *p)
{
    static const uint8_t any4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
    static const uint8_t any6[16] = {0};
    return memcmp(p->host, any4, 16) == 0 || memcmp(p->host, any6, 16) == 0;
}

static bool same_place(const struct place *a, const struct place *b)
{
    return a->kind == b->kind && port_of(a) == port_of(b) && memcmp(a->host, b->host, 16) == 0 &&
           strcmp(a->path, b->path) == 0;
}

static void place_text(const struct place *p, char *text, size_t size)
{
    const uint8_t *h = p->host;
    if (p->kind == PLACE_UNIX && p->path[0]) {
        snprintf(text, size, "unix:%s", p->path);
    } else if (p->kind == PLACE_UNIX || p->kind == PLACE_NONE) {
        snprintf(text, size, "unix");
    } else if (p->kind == PLACE_V4) {
        snprintf(text, size, "%u.%u.%u.%u:%u", h[12], h[13], h[14], h[15], port_of(p));
    } else {
        char groups[48] = "";
        static const uint8_t loopback[16] = {[15] = 1};
        size_t n = 0;
        if (memcmp(h, loopback, 16) == 0)
            snprintf(groups, sizeof groups, "::1");
        else
            for (int i = 0; i < 16; i += 2) {
                n += (size_t)snprintf(groups + n, sizeof groups - n, "%s%x", i ? ":" : "", (unsigned)h[i] << 8 | h[i + 1]);
            }
        snprintf(text, size, "[%s]:%u", groups, port_of(p));
    }
}

/* ---- ends ---- */

static struct end *end_new(void)
{
    struct end *e = made(sizeof *e);
    e->handle = (intptr_t)(FIRST_HANDLE + world.ends.n);
    e->capacity = world.capacity;
    APPEND(world.ends, e);
    return e;
}

static struct end *end_of_handle(intptr_t handle)
{
    bool known = handle >= FIRST_HANDLE && (size_t)(handle - FIRST_HANDLE) < world.ends.n;
    return known ? world.ends.at[handle - FIRST_HANDLE] : NULL;
}

static struct end *end_of(const struct os_socket *s)
{
    struct end *e = end_of_handle(s->handle);
    must(e != NULL && e->socket == s, "a socket that is none (never opened, moved, or used after its end)");
    return e;
}

static void count_handle(struct end *e)
{
    must(!e->counted, "a handle counted twice");
    e->counted = true;
    world.handles++;
}

static void uncount_handle(struct end *e)
{
    must(e->counted, "a handle given back twice");
    e->counted = false;
    world.handles--;
}

/* The end learns of a reset: what it has not read is gone. */
static void break_end(struct end *e)
{
    if (e->closed || e->broken) return;
    e->broken = true;
    queue_free(&e->in);
    happened();
}

static void break_connection(struct end *e)
{
    break_end(e);
    if (e->other) break_end(e->other);
}

static void give_script(struct end *e, enum sim_side side)
{
    if (!world.scripted[side]) return;
    e->script_copy = world.scripts[side];
    e->script = &e->script_copy;
}

/* The end's own `closed` must be set first. */
static void close_end(struct end *e)
{
    struct end *other = e->other;
    bool unread = e->in.len > 0;
    e->closed = true;
    queue_free(&e->in);
    happened();
    if (other == NULL || other->closed || other->broken) return;
    if (unread && !other->silent)
        break_end(other);
    else if (!e->silent)
        other->in_finished = true;
}

static void execute_cut(struct end *e)
{
    enum sim_cut cut = e->script->cut;
    e->script = NULL;
    e->silent = true;
    happened();
    if (cut == SIM_CUT_SILENT) return;
    if (cut == SIM_CUT_END)
        e->other->in_finished = true;
    else
        e->other->breaks_later = true;
    break_end(e);
}

/* Whoever sends to it is answered with a reset. */
static bool is_gone(const struct end *e)
{
    return e->closed || e->broken;
}

/* How much of n bytes would leave now. */
static size_t room_to_send(const struct end *e, size_t n)
{
    const struct end *to = e->other;
    if (e->silent) return 0;
    if (is_gone(to)) return n; /* the reset comes afterwards */
    return least(n, to->capacity > to->in.len ? to->capacity - to->in.len : 0);
}

/* Moves what fits of n bytes. */
static size_t push(struct end *e, const uint8_t *at, size_t n)
{
    n = room_to_send(e, n);
    if (n == 0) return 0;
    happened();
    if (is_gone(e->other)) {
        e->sent += n;
        break_end(e);
        return n;
    }
    queue_put(&e->other->in, at, n);
    e->sent += n;
    return n;
}

static size_t turn_of(const size_t *list, size_t count, size_t *turn)
{
    if (list == NULL || count == 0) return SIZE_MAX;
    return list[(*turn)++ % count];
}

/* What a framed socket sends: limited by its script. */
static size_t push_views(struct end *e, const struct framed_bytes *views, size_t n)
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

/* ---- raw peers ---- */

static void peer_end(struct sim_peer *p, enum sim_peer_state state)
{
    if (p->state != SIM_OPEN) return;
    p->state = state;
    p->ended_ms = sim_now_ms();
    happened();
}

static void peer_pump_out(struct sim_peer *p)
{
    struct end *e = p->end;
    if (e->closed || e->broken) return;
    while (p->outbox.len > 0 && !e->broken) {
        size_t n = push(e, p->outbox.at + p->outbox.head, p->outbox.len);
        if (n == 0) break;
        queue_drop(&p->outbox, n);
    }
    if (p->finish && p->outbox.len == 0 && !e->out_finished && !e->broken) {
        e->out_finished = true;
        if (!e->silent) e->other->in_finished = true;
        happened();
    }
}

static void peer_pump_in(struct sim_peer *p)
{
    struct end *e = p->end;
    if (e->closed) return;
    size_t n = e->in.len;
    if (p->allowance < n) n = (size_t)p->allowance;
    if (n > 0) {
        queue_put(&p->inbox, e->in.at + e->in.head, n);
        queue_drop(&e->in, n);
        if (p->allowance != UINT64_MAX) p->allowance -= n;
        happened();
    }
    if (e->breaks_later && e->in.len == 0) break_end(e);
    if (e->broken)
        peer_end(p, SIM_RESET);
    else if (e->in_finished && e->in.len == 0 && p->allowance > 0)
        peer_end(p, SIM_ENDED);
}

static void pump(void)
{
    for (size_t i = 0; i < world.peers.n; i++) {
        peer_pump_out(world.peers.at[i]);
        peer_pump_in(world.peers.at[i]);
    }
}

static struct end *find_listener(const struct place *to)
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

static unsigned fresh_port(void)
{
    if (world.next_port < 40000) world.next_port = 40000;
    return world.next_port++;
}

/* Makes the other end of `e`, and puts it where `listener` finds it. */
static void join_listener(struct end *e, struct end *listener, const struct place *to)
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
    e->to_self = far->to_self = world.to_self;
    if (listener->acceptor == NULL) give_script(far, SIM_ACCEPTOR);
    while (*last) last = &(*last)->next_waiting;
    *last = far;
    happened();
}

static struct place near_place(const struct place *to, const char *host)
{
    struct place p;
    memset(&p, 0, sizeof p);
    p.kind = to->kind;
    if (p.kind == PLACE_UNIX) return p;
    if (host)
        must(parse_host(host, &p), "a test's host is no address");
    else
        must(parse_host(p.kind == PLACE_V4 ? "127.0.0.1" : "::1", &p), "never");
    set_port(&p, fresh_port());
    return p;
}

static struct sim_peer *peer_new(struct end *e)
{
    struct sim_peer *p = made(sizeof *p);
    p->end = e;
    p->allowance = UINT64_MAX;
    e->peer = p;
    APPEND(world.peers, p);
    place_text(&e->local, p->address, sizeof p->address);
    return p;
}

struct sim_peer *sim_connect_from(const char *address, const char *host)
{
    struct place to = parse_address(address);
    struct end *listener = find_listener(&to);
    if (listener == NULL) return NULL;
    struct end *e = end_new();
    e->local = near_place(&to, host);
    join_listener(e, listener, &to);
    return peer_new(e);
}

struct sim_peer *sim_connect(const char *address)
{
    return sim_connect_from(address, NULL);
}

struct sim_acceptor *sim_listen(const char *address)
{
    struct sim_acceptor *a = made(sizeof *a);
    a->end = end_new();
    a->end->listening = true;
    a->end->acceptor = a;
    a->end->local = parse_address(address);
    APPEND(world.acceptors, a);
    return a;
}

struct sim_peer *sim_accept(struct sim_acceptor *acceptor)
{
    struct end *e = acceptor->end->waiting;
    if (e == NULL) return NULL;
    acceptor->end->waiting = e->next_waiting;
    struct sim_peer *p = peer_new(e);
    pump();
    return p;
}

static void close_listener(struct end *e)
{
    e->closed = true;
    for (struct end *w = e->waiting; w; w = w->next_waiting) {
        break_connection(w);
        w->closed = true;
    }
    e->waiting = NULL;
    happened();
}

void sim_acceptor_close(struct sim_acceptor *acceptor)
{
    close_listener(acceptor->end);
}

void sim_peer_send(struct sim_peer *peer, const void *at, size_t n)
{
    must(!peer->finish && !peer->end->closed, "a peer sends after its end");
    queue_put(&peer->outbox, at, n);
    peer_pump_out(peer);
}

void sim_peer_send_frame(struct sim_peer *peer, const void *payload, size_t n)
{
    uint8_t word[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    sim_peer_send(peer, word, sizeof word);
    sim_peer_send(peer, payload, n);
}

void sim_peer_send_frame_text(struct sim_peer *peer, const char *payload)
{
    sim_peer_send_frame(peer, payload, strlen(payload));
}

size_t sim_peer_unsent(const struct sim_peer *peer)
{
    return peer->outbox.len;
}

void sim_peer_finish(struct sim_peer *peer)
{
    peer->finish = true;
    peer_pump_out(peer);
}

void sim_peer_reset(struct sim_peer *peer)
{
    if (peer->end->closed) return;
    struct end *other = peer->end->other;
    peer->end->closed = true;
    queue_free(&peer->end->in);
    queue_free(&peer->outbox);
    if (!peer->end->silent) break_end(other);
    happened();
}

void sim_peer_close(struct sim_peer *peer)
{
    if (peer->end->closed) return;
    if (peer->outbox.len > 0) {
        sim_peer_reset(peer);
        return;
    }
    close_end(peer->end);
}

void sim_peer_stop_reading(struct sim_peer *peer)
{
    peer->allowance = 0;
}

void sim_peer_read_more(struct sim_peer *peer, size_t n)
{
    peer->allowance = n;
    peer_pump_in(peer);
}

void sim_peer_start_reading(struct sim_peer *peer)
{
    peer->allowance = UINT64_MAX;
    peer_pump_in(peer);
}

struct framed_bytes sim_peer_received(const struct sim_peer *peer)
{
    size_t n = peer->inbox.len - peer->taken_frame;
    return framed_bytes_of(n > 0 ? peer->inbox.at + peer->inbox.head + peer->taken_frame : NULL, n);
}

void sim_peer_take(struct sim_peer *peer, size_t n)
{
    must(n <= peer->inbox.len - peer->taken_frame, "a test takes more than has come");
    queue_drop(&peer->inbox, peer->taken_frame + n);
    peer->taken_frame = 0;
}

bool sim_peer_frame(struct sim_peer *peer, struct framed_bytes *payload)
{
    struct framed_bytes all = sim_peer_received(peer);
    if (all.len < 4) return false;
    size_t n = (size_t)all.at[0] << 24 | (size_t)all.at[1] << 16 | (size_t)all.at[2] << 8 | all.at[3];
    if (all.len - 4 < n) return false;
    sim_peer_take(peer, 0);
    all = sim_peer_received(peer);
    peer->taken_frame = 4 + n;
    *payload = framed_bytes_of(all.at + 4, n);
    return true;
}

enum sim_peer_state sim_peer_state(const struct sim_peer *peer)
{
    return peer->state;
}

uint64_t sim_peer_ended_ms(const struct sim_peer *peer)
{
    return peer->ended_ms;
}

bool sim_peer_let_go(const struct sim_peer *peer)
{
    return peer->end->other->closed;
}

const char *sim_peer_address(const struct sim_peer *peer)
{
    return peer->address;
}

bool sim_keepalive(struct sim_peer *peer, uint32_t *idle_ms, uint32_t *give_up_ms)
{
    struct end *e = peer->end->other;
    *idle_ms = e->idle_ms;
    *give_up_ms = e->give_up_ms;
    return e->keepalive_said;
}

/* ---- pollers ---- */

enum framed_status framed_os_poller_open(struct os_poller **poller, enum framed_wait way,
                                         const struct framed_allocator *alloc)
{
    enum framed_status st;
    (void)way;
    must(world.exists, "no world: sim_start was not called");
    if (fails(OP_POLLER_OPEN, &st)) return st;
    struct os_poller *p = alloc->resize(alloc->ctx, NULL, 0, sizeof *p);
    if (p == NULL) return FRAMED_NOMEM;
    memset(p, 0, sizeof *p);
    p->alloc = alloc;
    p->closing_tail = &p->closing;
    world.pollers++;
    *poller = p;
    return FRAMED_OK;
}

void framed_os_poller_close(struct os_poller *poller)
{
    if (poller == NULL) return;
    must(poller->count == 0 && poller->closing == NULL, "a poller is closed before its sockets");
    must(!poller->waiting, "a poller is closed inside its own wait");
    free(poller->sockets);
    poller->alloc->resize(poller->alloc->ctx, poller, sizeof *poller, 0);
    world.pollers--;
}

static void enlist(struct os_poller *poller, struct os_socket *s, struct end *e)
{
    must(s->ops != NULL && s->ops->closed != NULL, "a socket without ops");
    poller->sockets = grown(poller->sockets, poller->count, &poller->cap, sizeof(struct os_socket *));
    s->slot = (uint32_t)poller->count;
    poller->sockets[poller->count++] = s;
    s->poller = poller;
    s->handle = e->handle;
    s->dest = NULL;
    s->views = NULL;
    s->room = 0;
    s->view_count = 0;
    s->wants = 0;
    s->armed = 0;
    s->next_closing = NULL;
    e->socket = s;
}

static void delist(struct os_socket *s)
{
    struct os_poller *poller = s->poller;
    struct os_socket *last = poller->sockets[--poller->count];
    poller->sockets[s->slot] = last;
    last->slot = s->slot;
}

static bool can_receive(const struct end *e)
{
    return e->broken || e->breaks_later || e->in.len > 0 || e->in_finished;
}

/* A reset that has come is seen by whoever writes before whoever reads. */
static bool writes_fail(const struct end *e)
{
    return e->broken || e->breaks_later;
}

static bool can_send(const struct end *e)
{
    return writes_fail(e) || room_to_send(e, 1) > 0;
}

/* Room for one more handle, or the news that there is none. */
static bool can_accept(const struct end *e)
{
    return e->waiting != NULL;
}

static bool socket_ready(const struct os_socket *s)
{
    const struct end *e = end_of_handle(s->handle);
    if ((s->wants & WANT_ACCEPT) && can_accept(e)) return true;
    if ((s->wants & WANT_CONNECT) && !e->blackhole) return true;
    if (e->connecting) return false;
    if ((s->wants & WANT_RECEIVE) && can_receive(e)) return true;
    return (s->wants & WANT_SEND) && can_send(e);
}

static bool poller_ready(const struct os_poller *poller)
{
    if (poller->woken || poller->closing) return true;
    for (size_t i = 0; i < poller->count; i++) {
        if (socket_ready(poller->sockets[i])) return true;
    }
    return false;
}

static void do_accept(struct os_socket *s, struct end *e)
{
    enum framed_status st;
    struct end *far = e->waiting;
    s->wants &= (uint8_t)~WANT_ACCEPT;
    if (!fails(OP_ACCEPTED, &st)) {
        st = world.max_handles && world.handles >= world.max_handles ? FRAMED_LIMIT : FRAMED_OK;
    }
    if (st != FRAMED_OK) {
        s->ops->accepted(s, st, OS_NO_HANDLE, NULL);
        return;
    }
    struct os_address peer;
    e->waiting = far->next_waiting;
    far->next_waiting = NULL;
    count_handle(far);
    address_of(&peer, &far->remote);
    s->ops->accepted(s, FRAMED_OK, far->handle, &peer);
}

static void do_connect(struct os_socket *s, struct end *e)
{
    enum framed_status st;
    struct end *listener = find_listener(&e->remote);
    s->wants &= (uint8_t)~WANT_CONNECT;
    if (!fails(OP_CONNECTED, &st)) st = listener ? FRAMED_OK : FRAMED_REFUSED;
    e->connecting = false;
    if (st == FRAMED_OK) {
        struct place to = e->remote;
        join_listener(e, listener, &to);
        give_script(e, SIM_CONNECTOR);
    } else {
        e->broken = true;
    }
    s->ops->connected(s, st);
}

static void do_receive(struct os_socket *s, struct end *e)
{
    enum framed_status st;
    size_t n = least(e->in.len, s->dest ? s->room : FRAMED_RECEIVE_SIZE);
    if (e->script) n = least(n, turn_of(e->script->receives, e->script->receive_count, &e->receive_turn));
    if (n > 0 && world.dice && thrown(4) == 0) n = 1 + thrown(n);
    if (e->breaks_later && e->in.len == 0) break_end(e);
    if (n == 0 && e->in.len > 0) return; /* scripted: nothing this time */
    uint8_t *at = s->dest;
    s->wants &= (uint8_t)~WANT_RECEIVE;
    s->dest = NULL;
    if (fails(OP_RECEIVED, &st)) {
        break_connection(e);
        s->ops->received(s, st, NULL, 0);
    } else if (e->broken) {
        s->ops->received(s, FRAMED_RESET, NULL, 0);
    } else if (e->in.len == 0) {
        s->ops->received(s, FRAMED_CLOSED, NULL, 0);
    } else {
        /* Lent memory is exactly as long as what came, and gone afterwards: a sanitizer sees whoever keeps a view. */
        uint8_t *lent = at ? NULL : malloc(n);
        must(at || lent, "the simulator itself is out of memory");
        memcpy(at ? at : lent, e->in.at + e->in.head, n);
        queue_drop(&e->in, n);
        s->ops->received(s, FRAMED_OK, at ? at : lent, n);
        if (lent) memset(lent, 0xdd, n);
        free(lent);
    }
}

/* Over the views and a few bytes of each, to catch whoever moves them while they are lent. */
static uint64_t seal_of(const struct framed_bytes *views, size_t n)
{
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) {
        size_t few = least(views[i].len, 32);
        for (size_t k = 0; k < few; k++)
            h = (h ^ views[i].at[k] ^ ((uint64_t)views[i].at[views[i].len - 1 - k] << 8)) * 1099511628211u;
        h = (h ^ (uintptr_t)views[i].at ^ views[i].len) * 1099511628211u;
    }
    return h;
}

static void do_send(struct os_socket *s, struct end *e)
{
    enum framed_status st;
    size_t n = 0;
    must(e->seal == seal_of(s->views, s->view_count), "views or bytes changed while a send was outstanding");
    bool failed = fails(OP_SENT, &st);
    if (failed) {
        break_connection(e);
    } else if (writes_fail(e)) {
        failed = true;
        st = FRAMED_RESET;
    } else {
        n = push_views(e, s->views, s->view_count);
        if (n == 0 && e->broken)
            failed = true, st = FRAMED_RESET;
        else if (n == 0)
            return; /* scripted: nothing this time */
    }
    s->wants &= (uint8_t)~WANT_SEND;
    s->views = NULL;
    if (failed)
        s->ops->sent(s, st, 0);
    else
        s->ops->sent(s, FRAMED_OK, n);
}

/* A socket may be closed, but not freed, by any callback made here: `closed` comes only afterwards. */
static void serve_socket(struct os_socket *s)
{
    struct end *e = end_of_handle(s->handle);
    if ((s->wants & WANT_ACCEPT) && can_accept(e)) do_accept(s, e);
    if (!(s->wants & CLOSING) && (s->wants & WANT_CONNECT) && !e->blackhole) do_connect(s, e);
    if (e->connecting) return;
    bool send_first = thrown(2) == 1;
    if (send_first && !(s->wants & CLOSING) && (s->wants & WANT_SEND) && can_send(e)) do_send(s, e);
    if (!(s->wants & CLOSING) && (s->wants & WANT_RECEIVE) && can_receive(e)) do_receive(s, e);
    if (!send_first && !(s->wants & CLOSING) && (s->wants & WANT_SEND) && can_send(e)) do_send(s, e);
}

static void serve_closings(struct os_poller *poller)
{
    while (poller->closing) {
        struct os_socket *s = poller->closing;
        poller->closing = s->next_closing;
        if (poller->closing == NULL) poller->closing_tail = &poller->closing;
        end_of_handle(s->handle)->socket = NULL;
        s->ops->closed(s);
    }
}

/* Makes the callbacks that can be made now; returns how many sockets it served. */
static size_t serve(struct os_poller *poller)
{
    size_t n = 0, count = poller->count;
    struct os_socket **ready = count ? made(count * sizeof(struct os_socket *)) : NULL;
    must(!poller->waiting, "framed_os_wait was called from inside itself");
    poller->waiting = true;
    poller->woken = false;
    for (size_t i = 0; i < count; i++) {
        if (socket_ready(poller->sockets[i])) ready[n++] = poller->sockets[i];
    }
    for (size_t i = 0; world.dice && i + 1 < n; i++) {
        size_t k = i + thrown(n - i);
        struct os_socket *other = ready[k];
        ready[k] = ready[i];
        ready[i] = other;
    }
    if (world.events_per_wait) n = least(n, world.events_per_wait);
    for (size_t i = 0; i < n; i++) {
        if (!(ready[i]->wants & CLOSING)) serve_socket(ready[i]);
    }
    free(ready);
    n += poller->closing != NULL;
    serve_closings(poller);
    poller->waiting = false;
    return n;
}

/* ---- time and actors ---- */

uint64_t sim_now_ms(void)
{
    return (world.now_ns - START_NS) / MS;
}

void sim_at(uint64_t ms, void (*fn)(void *ctx), void *ctx)
{
    struct event event = {after_ms(ms), world.event_number++, fn, ctx};
    APPEND(world.events, event);
}

/* ---- actors ---- */

static void leave_home(struct sim_actor *a)
{
#ifdef STACKS_ARE_WATCHED
    __sanitizer_start_switch_fiber(&world.home_shadow, a->stack, STACK_SIZE);
#endif
    must(swapcontext(&world.home, &a->here) == 0, "no way to an actor's stack");
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(world.home_shadow, NULL, NULL);
#endif
}

static void go_home(struct sim_actor *a)
{
#ifdef STACKS_ARE_WATCHED
    __sanitizer_start_switch_fiber(a->done ? NULL : &a->shadow, world.home_stack, world.home_stack_size);
#endif
    must(swapcontext(&a->here, &world.home) == 0, "no way back from an actor's stack");
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(a->shadow, &world.home_stack, &world.home_stack_size);
#endif
}

static void actor_main(void)
{
    struct sim_actor *a = world.stepping;
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(NULL, &world.home_stack, &world.home_stack_size);
#endif
    a->run(a->ctx);
    a->done = true;
    go_home(a);
}

struct sim_actor *sim_add_actor(void (*run)(void *ctx), void *ctx)
{
    struct sim_actor *a = made(sizeof *a);
    a->run = run;
    a->ctx = ctx;
    a->stack = made(STACK_SIZE);
    must(getcontext(&a->here) == 0, "no context");
    a->here.uc_stack.ss_sp = a->stack;
    a->here.uc_stack.ss_size = STACK_SIZE;
    a->here.uc_link = NULL;
    makecontext(&a->here, actor_main, 0);
    APPEND(world.actors, a);
    return a;
}

bool sim_actor_done(const struct sim_actor *actor)
{
    return actor->done;
}

uint64_t sim_actor_steps(const struct sim_actor *actor)
{
    return actor->steps;
}

static bool actor_can_step(const struct sim_actor *a)
{
    if (a->done) return false;
    return a->stopping || world.now_ns >= a->deadline_ns || (a->poller && poller_ready(a->poller));
}

/* Lets the actor run until it waits again, or ends. */
static void step_actor(struct sim_actor *a)
{
    must(world.stepping == NULL, "an actor steps inside an actor");
    must(++world.idle_turns < SPIN_LIMIT, "somebody turns and turns, and nothing happens");
    world.stepping = a;
    a->steps++;
    a->poller = NULL;
    leave_home(a);
    world.stepping = NULL;
    if (a->done) {
        free(a->stack);
        a->stack = NULL;
        happened();
    }
}

/* Inside an actor: others may go on. */
static void wait_as_actor(struct sim_actor *a, struct os_poller *poller, uint64_t deadline_ns)
{
    a->poller = poller;
    a->deadline_ns = deadline_ns;
    go_home(a);
    a->poller = NULL;
}

void sim_actor_stop(struct sim_actor *actor)
{
    must(world.stepping == NULL, "an actor cannot stop one");
    actor->stopping = true;
    for (int i = 0; i < 100 && !actor->done; i++) step_actor(actor);
    must(actor->done, "an actor does not stop");
}

/* True when some actor had something to do. */
static bool step_some_actor(void)
{
    size_t n = world.actors.n;
    size_t first = world.dice ? thrown(n) : world.next_actor;
    for (size_t i = 0; i < n; i++) {
        size_t k = (first + i) % n;
        if (!actor_can_step(world.actors.at[k])) continue;
        world.next_actor = k + 1;
        step_actor(world.actors.at[k]);
        return true;
    }
    return false;
}

static bool run_due_event(void)
{
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < world.events.n; i++) {
        const struct event *e = &world.events.at[i];
        if (e->when_ns > world.now_ns) continue;
        if (found == SIZE_MAX || e->number < world.events.at[found].number) found = i;
    }
    if (found == SIZE_MAX) return false;
    struct event event = world.events.at[found];
    world.events.at[found] = world.events.at[--world.events.n];
    event.fn(event.ctx);
    happened();
    return true;
}

/* One thing that can happen now, apart from the waiting test itself. */
static bool world_moves(void)
{
    pump();
    if (run_due_event()) return true;
    return step_some_actor();
}

/* Nobody has anything to do: on to the next moment at which somebody has, at most `limit_ns`. */
static void pass_time(uint64_t limit_ns)
{
    uint64_t next = limit_ns;
    for (size_t i = 0; i < world.actors.n; i++) {
        const struct sim_actor *a = world.actors.at[i];
        if (!a->done && a->deadline_ns < next) next = a->deadline_ns;
    }
    for (size_t i = 0; i < world.events.n; i++) {
        if (world.events.at[i].when_ns < next) next = world.events.at[i].when_ns;
    }
    must(next != UINT64_MAX, "everybody waits for ever");
    must(next > world.now_ns, "time stands still");
    world.now_ns = next;
    happened();
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

bool sim_run_until(bool (*done)(void *ctx), void *ctx, uint64_t ms)
{
    uint64_t limit_ns = after_ms(ms);
    must(world.stepping == NULL, "an actor cannot let time pass");
    for (;;) {
        pump();
        if (done(ctx)) return true;
        if (world_moves()) continue;
        if (world.now_ns >= limit_ns) return false;
        pass_time(limit_ns);
    }
}

void sim_run_ms(uint64_t ms)
{
    (void)sim_run_until(never, NULL, ms);
}

static bool want_ready(void *ctx)
{
    const struct framed_want *want = ctx;
    const struct end *e = end_of_handle(want->socket);
    if (e == NULL) return false;
    const struct os_socket *s = e->socket;
    if (s && s->poller->closing) return true;
    if (e->connecting) return want->events && !e->blackhole;
    if ((want->events & FRAMED_WANT_READ) && can_receive(e)) return true;
    return (want->events & FRAMED_WANT_WRITE) && can_send(e);
}

void sim_wait_want(const struct framed_want *want)
{
    struct framed_want copy = *want;
    (void)sim_run_until(want_ready, &copy, want->timeout_ms == FRAMED_NEVER ? OS_FOREVER : want->timeout_ms);
}

/* A poller that fails tells at least what is closed, as the real ones do. */
static enum framed_status failed_wait(struct os_poller *poller, enum framed_status st)
{
    must(!poller->waiting, "framed_os_wait was called from inside itself");
    poller->waiting = true;
    serve_closings(poller);
    poller->waiting = false;
    return st;
}

enum framed_status framed_os_wait(struct os_poller *poller, uint64_t timeout_ms)
{
    enum framed_status st;
    uint64_t limit_ns = after_ms(timeout_ms);
    struct sim_actor *self = world.stepping;
    if (self && self->stopping) return failed_wait(poller, FRAMED_OS);
    if (fails(OP_WAIT, &st)) return failed_wait(poller, st);
    must(self || ++world.idle_turns < SPIN_LIMIT, "the test's own thread waits and waits, and nothing happens");
    for (;;) {
        pump();
        /* A wait that does not wait still lets the others go on, as they would on their own processors. */
        bool others_first = timeout_ms == 0 || thrown(2) == 1;
        if (others_first && !self && world_moves()) continue;
        if (others_first && self) {
            wait_as_actor(self, poller, world.now_ns);
            if (self->stopping) return failed_wait(poller, FRAMED_OS);
            pump();
        }
        if (poller_ready(poller)) {
            (void)serve(poller);
            return FRAMED_OK;
        }
        if (!self && world_moves()) continue;
        if (world.now_ns >= limit_ns) return FRAMED_OK;
        if (!self) {
            pass_time(limit_ns);
            continue;
        }
        wait_as_actor(self, poller, limit_ns);
        if (self->stopping) return failed_wait(poller, FRAMED_OS);
    }
}

void framed_os_wake(struct os_poller *poller)
{
    poller->woken = true;
}

/* ---- sockets ---- */

enum framed_status framed_os_listen(struct os_poller *poller, struct os_socket *s, const struct os_address *at,
                                    struct os_address *bound)
{
    enum framed_status st;
    if (fails(OP_LISTEN, &st)) return st;
    struct place p = place_of(at);
    if (p.kind != PLACE_UNIX && port_of(&p) == 0) set_port(&p, fresh_port());
    for (size_t i = 0; i < world.ends.n; i++) {
        struct end *other = world.ends.at[i];
        if (other->listening && !other->closed && same_place(&other->local, &p)) return FRAMED_IN_USE;
    }
    struct end *e = end_new();
    e->listening = true;
    e->local = p;
    count_handle(e);
    enlist(poller, s, e);
    address_of(bound, &p);
    return FRAMED_OK;
}

enum framed_status framed_os_adopt(struct os_poller *poller, struct os_socket *s, intptr_t handle, bool listening,
                                   struct os_address *bound)
{
    enum framed_status st;
    if (fails(OP_ADOPT, &st)) return st;
    struct end *e = end_of_handle(handle);
    if (e == NULL || e->socket || e->peer || e->closed || e->listening != listening) return FRAMED_USAGE;
    if (!e->counted) count_handle(e);
    enlist(poller, s, e);
    address_of(bound, listening ? &e->local : &e->remote);
    return FRAMED_OK;
}

enum framed_status framed_os_attach(struct os_poller *poller, struct os_socket *s, intptr_t handle)
{
    enum framed_status st;
    struct end *e = end_of_handle(handle);
    must(e != NULL && e->counted && e->socket == NULL, "attach: not a handle that was accepted");
    if (fails(OP_ATTACH, &st)) return st;
    enlist(poller, s, e);
    return FRAMED_OK;
}

void framed_os_discard(intptr_t handle)
{
    struct end *e = end_of_handle(handle);
    must(e != NULL && e->counted && e->socket == NULL, "discard: not a handle that was accepted");
    uncount_handle(e);
    close_end(e);
}

static struct end *open_end(const struct os_socket *s)
{
    struct end *e = end_of(s);
    must(!(s->wants & CLOSING), "a closed socket is used");
    return e;
}

enum framed_status framed_os_accept(struct os_socket *s)
{
    enum framed_status st;
    struct end *e = open_end(s);
    must(e->listening && s->ops->accepted, "accept: not a listening socket");
    must(!(s->wants & WANT_ACCEPT), "accept: asked twice");
    if (fails(OP_ACCEPT, &st)) return st;
    s->wants |= WANT_ACCEPT;
    return FRAMED_OK;
}

void framed_os_accept_stop(struct os_socket *s)
{
    s->wants &= (uint8_t)~WANT_ACCEPT;
}

enum framed_status framed_os_connect(struct os_poller *poller, struct os_socket *s, const struct os_address *to)
{
    enum framed_status st;
    if (fails(OP_CONNECT, &st)) return st;
    if (world.max_handles && world.handles >= world.max_handles) return FRAMED_LIMIT;
    struct end *e = end_new();
    e->remote = place_of(to);
    e->local = near_place(&e->remote, NULL);
    e->connecting = true;
    for (size_t i = 0; i < world.blackhole_count; i++) e->blackhole |= same_place(&world.blackholes[i], &e->remote);
    count_handle(e);
    enlist(poller, s, e);
    must(s->ops->connected != NULL, "connect: nobody to tell");
    s->wants |= WANT_CONNECT;
    return FRAMED_OK;
}

enum framed_status framed_os_receive(struct os_socket *s, uint8_t *dest, size_t room)
{
    enum framed_status st;
    struct end *e = open_end(s);
    must(!e->listening && !e->connecting && s->ops->received, "receive: not a connected socket");
    must(dest == NULL || room > 0, "receive: a destination without room");
    if (fails(OP_RECEIVE, &st)) return st;
    s->dest = dest;
    s->room = (uint32_t)(room > UINT32_MAX ? UINT32_MAX : room);
    s->wants |= WANT_RECEIVE;
    return FRAMED_OK;
}

void framed_os_receive_stop(struct os_socket *s)
{
    s->wants &= (uint8_t)~WANT_RECEIVE;
    s->dest = NULL;
}

static struct end *sending_end(const struct os_socket *s)
{
    struct end *e = open_end(s);
    must(!e->listening && !e->connecting, "send: not a connected socket");
    must(!(s->wants & WANT_SEND), "send: one is outstanding");
    must(!e->out_finished, "send: after the half-close");
    return e;
}

enum framed_status framed_os_offer(struct os_socket *s, const struct framed_bytes *views, size_t n, size_t *taken)
{
    enum framed_status st;
    struct end *e = sending_end(s);
    if (fails(OP_OFFER, &st)) {
        break_connection(e);
        return st;
    }
    if (writes_fail(e)) return FRAMED_RESET;
    size_t went = push_views(e, views, n);
    if (went == 0 && e->broken) return FRAMED_RESET;
    *taken = went;
    return FRAMED_OK;
}

enum framed_status framed_os_send(struct os_socket *s, const struct framed_bytes *views, size_t n)
{
    enum framed_status st;
    struct end *e = sending_end(s);
    size_t total = 0;
    must(n >= 1 && n <= UINT16_MAX && s->ops->sent, "send: no views, or too many");
    for (size_t i = 0; i < n; i++) total += views[i].len;
    must(total > 0, "send: of nothing");
    if (fails(OP_SEND, &st)) {
        break_connection(e);
        return st;
    }
    s->views = views;
    s->view_count = (uint16_t)n;
    s->wants |= WANT_SEND;
    e->seal = seal_of(views, n);
    return FRAMED_OK;
}

enum framed_status framed_os_finish(struct os_socket *s)
{
    enum framed_status st;
    struct end *e = open_end(s);
    must(!e->listening && !e->connecting && !(s->wants & WANT_SEND), "finish: not connected, or a send is outstanding");
    if (fails(OP_FINISH, &st)) {
        break_connection(e);
        return st;
    }
    if (writes_fail(e)) return FRAMED_RESET;
    e->out_finished = true;
    if (!e->silent) e->other->in_finished = true;
    happened();
    return FRAMED_OK;
}

void framed_os_close(struct os_socket *s)
{
    if (s->wants & CLOSING) return;
    struct end *e = end_of(s);
    struct os_poller *poller = s->poller;
    delist(s);
    s->wants = CLOSING;
    s->views = NULL;
    s->dest = NULL;
    s->next_closing = NULL;
    *poller->closing_tail = s;
    poller->closing_tail = &s->next_closing;
    uncount_handle(e);
    if (e->listening)
        close_listener(e);
    else
        close_end(e);
}

void framed_os_keepalive(struct os_socket *s, uint32_t idle_ms, uint32_t give_up_ms)
{
    struct end *e = open_end(s);
    e->idle_ms = idle_ms;
    e->give_up_ms = give_up_ms;
    e->keepalive_said = true;
}

void framed_os_buffers(struct os_socket *s, uint32_t send_bytes, uint32_t receive_bytes)
{
    struct end *e = open_end(s);
    if (receive_bytes) e->capacity = receive_bytes;
    if (send_bytes && e->other) e->other->capacity = send_bytes;
}

void framed_os_interest(const struct os_socket *s, intptr_t *handle, unsigned *events)
{
    *handle = s->handle;
    *events = 0;
    if (s->wants & (WANT_RECEIVE | WANT_ACCEPT)) *events |= FRAMED_WANT_READ;
    if (s->wants & (WANT_SEND | WANT_CONNECT)) *events |= FRAMED_WANT_WRITE;
}

/* ---- addresses ---- */

static const struct name *find_name(const char *host)
{
    for (size_t i = 0; i < world.name_count; i++) {
        if (strcmp(world.names[i].text, host) == 0) return &world.names[i];
    }
    return NULL;
}

enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n)
{
    enum framed_status st;
    struct name one = {.n = 1};
    if (fails(OP_RESOLVE, &st)) return st;
    const struct name *name = find_name(host);
    char *stop;
    unsigned long number = strtoul(port, &stop, 10);
    if (*port == '\0' || *stop || number > 65535 || *n == 0) return FRAMED_NOT_FOUND;
    if (name == NULL) {
        name = &one;
        if (*host == '\0') host = passive ? "0.0.0.0" : "127.0.0.1";
        if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
        if (!parse_host(host, &one.hosts[0])) return FRAMED_NOT_FOUND;
    }
    *n = least(*n, name->n);
    for (size_t i = 0; i < *n; i++) {
        struct place p = name->hosts[i];
        set_port(&p, (unsigned)number);
        address_of(&found[i], &p);
    }
    return FRAMED_OK;
}

enum framed_status framed_os_address_unix(const char *path, struct os_address *address)
{
    enum framed_status st;
    struct place p;
    if (fails(OP_ADDRESS_UNIX, &st)) return st;
    if (*path == '\0' || strlen(path) >= sizeof p.path) return FRAMED_USAGE;
    memset(&p, 0, sizeof p);
    p.kind = PLACE_UNIX;
    memcpy(p.path, path, strlen(path));
    address_of(address, &p);
    return FRAMED_OK;
}

void framed_os_address_text(const struct os_address *address, char *text, size_t size)
{
    struct place p = place_of(address);
    place_text(&p, text, size);
}

uint16_t framed_os_address_host(const struct os_address *address, struct os_host *host)
{
    struct place p = place_of(address);
    memcpy(host->bytes, p.host, sizeof host->bytes);
    return (uint16_t)port_of(&p);
}

void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size)
{
    static const uint8_t none[16] = {0};
    static const uint8_t mapped[12] = {[10] = 255, [11] = 255};
    struct place p;
    memset(&p, 0, sizeof p);
    memcpy(p.host, host->bytes, sizeof p.host);
    set_port(&p, port);
    p.kind = PLACE_V6;
    if (memcmp(p.host, none, sizeof none) == 0)
        p.kind = PLACE_UNIX;
    else if (memcmp(p.host, mapped, sizeof mapped) == 0)
        p.kind = PLACE_V4;
    place_text(&p, text, size);
}

bool framed_os_connected_to_itself(const struct os_socket *s)
{
    return end_of(s)->to_self;
}

void framed_os_address_remove(const struct os_address *address)
{
    (void)place_of(address);
}

/* ---- the rest ---- */

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

void framed_os_sleep_ms(uint32_t ms)
{
    if (world.stepping)
        wait_as_actor(world.stepping, NULL, after_ms(ms));
    else
        sim_run_ms(ms);
}

const struct framed_allocator *framed_os_allocator(void)
{
    return &world.meter.allocator;
}

uintptr_t framed_os_thread_self(void)
{
    return world.stepping ? (uintptr_t)world.stepping : world.thread;
}

enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx)
{
    (void)thread;
    (void)run;
    (void)ctx;
    return FRAMED_UNSUPPORTED; /* one thread is what makes runs repeatable */
}

void framed_os_thread_join(struct os_thread *thread)
{
    (void)thread;
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
    for (size_t i = 0; i < world.actors.n; i++) {
        must(world.actors.at[i]->done, "an actor has not ended");
        free(world.actors.at[i]);
    }
    free(world.actors.at);
    for (size_t i = 0; i < world.acceptors.n; i++) free(world.acceptors.at[i]);
    free(world.acceptors.at);
    free(world.events.at);
    world.exists = false;
    meter_fini(&world.meter);
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

void sim_name(const char *name, const char *const *hosts, size_t n)
{
    must(world.name_count < MOST_NAMES && n <= MOST_NAME_HOSTS, "sim_name: too many");
    struct name *entry = &world.names[world.name_count++];
    snprintf(entry->text, sizeof entry->text, "%s", name);
    for (size_t i = 0; i < n; i++) must(parse_host(hosts[i], &entry->hosts[i]), "sim_name: not an address");
    entry->n = n;
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
