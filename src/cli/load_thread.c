/*
 * Owns: one thread of a load: its connecting, when its requests are due, when it is over.
 * Must not know: how requests and replies travel (load_conn.c), the other threads, what is printed.
 * Invariants: `sockets` is how many `closed` are still to come; every wait has an end: a tick, or the next request that is due;
 * every request of the run is begun, or told as not sent, unless we are stopped.
 *
 *     connecting -> ready -> (start) running -> stopping -> over
 */
#include "load_thread.h"
#include "keyring.h"
#include <stdio.h>
#include <string.h>

enum {
    CONNECTING_MOST = 128, /* at once, of a thread: a listener's queue is finite */
    TICK_LEAST_MS = 1,
    TICK_MOST_MS = 50,
    SPIN_NS = 2 * NS_A_MS, /* the last of a wait for what is due is not slept: waking up takes longer than many a reply */
    RETRY_MS = 100,        /* after an attempt to connect that failed */
    GIVE_UP_MS = 30000     /* without any connection, when there is no timeout */
};

/* ---- what the connections need ---- */

uint64_t load_now(struct load_thread *t)
{
    uint64_t now = framed_os_clock_ns();
    if (t->in_wait) t->result.idle_ns += now - t->wait_from_ns;
    t->in_wait = false;
    return now;
}

void load_fail(struct load_thread *t, enum load_failure kind, uint64_t n)
{
    t->result.failed[kind] += n;
    uint64_t sum = 0;
    for (int i = 0; i < LOAD_FAILURES; i++) sum += t->result.failed[i];
    atomic_store_explicit(&t->failed_so_far, sum, memory_order_relaxed);
}

void load_trouble(struct load_thread *t, enum framed_status st)
{
    if (t->result.status == FRAMED_OK) t->result.status = st;
}

/* ---- connecting ---- */

static void decided(struct load_conn *c)
{
    if (!c->undecided) return;
    c->undecided = false;
    c->thread->undecided--;
}

static void attempt_failed(struct load_conn *c, enum framed_status st, uint64_t now)
{
    struct load_thread *t = c->thread;
    t->result.connect_status = st;
    load_fail(t, LOAD_CONNECT, 1);
    decided(c);
    c->failures++;
    c->tried = 0;
    c->state = CONN_DOWN;
    c->since_ns = now + (uint64_t)RETRY_MS * NS_A_MS;
}

/* Tries the addresses that are left. */
static void connect_next(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    const struct address *where = &t->plan->where;
    enum framed_status st = FRAMED_NOT_FOUND;
    while (c->tried < where->n) {
        const struct os_address *to = &where->found[(t->good + c->tried++) % where->n];
        c->sock = (struct os_socket){.ops = &load_conn_ops};
        st = framed_os_connect(t->poller, &c->sock, to);
        if (st != FRAMED_OK) continue;
        if (t->plan->congestion != NULL) framed_os_congestion(&c->sock, t->plan->congestion);
        c->state = CONN_CONNECTING;
        c->since_ns = now;
        c->asked_ns = 0;
        t->sockets++;
        t->connecting++;
        return;
    }
    attempt_failed(c, st, now);
}

static void adopt(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    struct os_address peer;
    c->sock = (struct os_socket){.ops = &load_conn_ops};
    c->since_ns = now;
    enum framed_status st = c->failures > 0 || c->number > 0
                                ? FRAMED_CLOSED /* it cannot be had again */
                                : framed_os_adopt(t->poller, &c->sock, t->plan->where.fd, false, &peer);
    if (st != FRAMED_OK) {
        attempt_failed(c, st, now);
        return;
    }
    t->sockets++;
    t->connecting++;
    load_conn_connected(&c->sock, FRAMED_OK);
}

static void connect_one(struct load_conn *c, uint64_t now)
{
    c->tried = 0;
    if (c->thread->plan->where.fd != OS_NO_HANDLE)
        adopt(c, now);
    else
        connect_next(c, now);
}

static uint32_t connecting_most(const struct load_plan *plan)
{
    if (!framed_encrypts(plan->protection)) return CONNECTING_MOST;
    return plan->threads < HANDSHAKES_MOST ? HANDSHAKES_MOST / plan->threads : 1;
}

/* May one more begin to shake hands? Then the next does not at once. */
static bool take_turn(struct load_thread *t, uint64_t now)
{
    const struct load_plan *plan = t->plan;
    if (t->connecting >= connecting_most(plan) || now < t->open_ns) return false;
    if (keyring_is_public(plan->protection) || (framed_encrypts(plan->protection) && plan->threads > HANDSHAKES_MOST))
        t->open_ns = now + (uint64_t)HANDSHAKE_PAUSE_MS * NS_A_MS * plan->threads;
    return true;
}

/* The first attempts, not all at once. */
static void connect_more(struct load_thread *t, uint64_t now)
{
    while (t->next_to_open < t->conn_count && take_turn(t, now)) connect_one(&t->conns[t->next_to_open++], now);
}

/* Or in a tick when it has a turn. */
static void connect_again(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    if (!framed_encrypts(t->plan->protection) || take_turn(t, now))
        connect_one(c, now);
    else if (t->open_ns > now && t->open_ns < t->tick_ns)
        t->tick_ns = t->open_ns;
}

void load_conn_connected(struct os_socket *s, enum framed_status st)
{
    struct load_conn *c = (struct load_conn *)(void *)s;
    struct load_thread *t = c->thread;
    if (st == FRAMED_OK && framed_os_connected_to_itself(s)) st = FRAMED_REFUSED;
    if (st == FRAMED_OK && t->plan->protection != FRAMED_UNPROTECTED) {
        c->asked_ns = load_now(t);
        c->state = CONN_CONNECTING; /* of an adopted one, too */
        st = load_conn_ask(c);
        if (st == FRAMED_OK) return; /* load_conn_agreed tells */
    }
    load_conn_agreed(c, st);
}

void load_conn_agreed(struct load_conn *c, enum framed_status st)
{
    struct load_thread *t = c->thread;
    uint64_t now = load_now(t);
    t->connecting--;
    if (st != FRAMED_OK) {
        t->result.connect_status = st;
        c->state = CONN_CLOSING; /* load_conn_closed tries the next address */
        framed_os_close(&c->sock);
        return;
    }
    if (t->plan->where.n > 0) t->good = (uint8_t)((t->good + c->tried - 1u) % t->plan->where.n);
    if (c->undecided)
        t->result.opened++;
    else
        t->result.reconnected++;
    decided(c);
    c->failures = 0;
    c->tried = 0;
    c->state = CONN_OPEN;
    t->open++;
    load_conn_opened(c, now);
}

void load_conn_closed(struct os_socket *s)
{
    struct load_conn *c = (struct load_conn *)(void *)s;
    struct load_thread *t = c->thread;
    uint64_t now = load_now(t);
    load_conn_forget(c);
    t->sockets--;
    c->state = CONN_DOWN;
    c->since_ns = now;
    if (t->stopping && t->live == 0) return;
    if (c->tried == 0 && !c->undecided &&
        (c->number == c->number_before || c->turned_away)) { /* it was of no use: not at once again */
        c->since_ns = now + (uint64_t)RETRY_MS * NS_A_MS;
        return;
    }
    if (c->tried == 0 && !c->undecided)
        connect_again(c, now);
    else if (c->tried < t->plan->where.n)
        connect_next(c, now);
    else
        attempt_failed(c, t->result.connect_status, now);
}

/* An attempt that takes too long. */
static void give_up_connecting(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    t->connecting--;
    t->result.connect_status = FRAMED_TIMEOUT;
    if (c->asked_ns != 0) (void)framed_channel_why(c->channel, FRAMED_TIMEOUT, t->result.opening, sizeof t->result.opening);
    c->tried = (uint8_t)t->plan->where.n;
    c->state = CONN_CLOSING;
    (void)now;
    framed_os_close(&c->sock);
}

/* ---- the schedule ---- */

static uint64_t next_number(const struct load_thread *t)
{
    return load_number(t->index, t->released, t->conn_count, t->plan->threads, t->plan->conns);
}

/* OS_FOREVER: no more is due. */
static uint64_t next_due(const struct load_thread *t)
{
    if (t->plan->rate == 0 || t->stopping) return OS_FOREVER;
    return load_due_ns(t->measure_ns - t->plan->warmup_ns, next_number(t), t->plan->rate);
}

static void release_due(struct load_thread *t, uint64_t now)
{
    while (!t->stopping && next_due(t) <= now) {
        struct load_conn *c = &t->conns[t->released % t->conn_count];
        t->released++;
        c->released++;
        t->waiting++;
        load_conn_send(c, now);
        t->stopping = next_number(t) >= t->end;
    }
}

static void give_up_waiting(struct load_thread *t)
{
    if (t->waiting > 0) load_fail(t, LOAD_NOT_SENT, t->waiting);
    for (uint32_t i = 0; i < t->conn_count; i++) t->conns[i].taken = t->conns[i].released;
    t->waiting = 0;
}

/* ---- turns ---- */

static bool is_stopped(const struct load_thread *t)
{
    return atomic_load_explicit(&t->load->stop, memory_order_relaxed) || t->result.status != FRAMED_OK;
}

static uint64_t tick_length(const struct load_plan *plan)
{
    uint64_t tick = plan->timeout_ns / 10;
    if (tick < (uint64_t)TICK_LEAST_MS * NS_A_MS) tick = (uint64_t)TICK_LEAST_MS * NS_A_MS;
    return tick > (uint64_t)TICK_MOST_MS * NS_A_MS ? (uint64_t)TICK_MOST_MS * NS_A_MS : tick;
}

/* There is no connection, nor will there be: a run that is bounded by a count would not end. */
static void give_up_if_gone(struct load_thread *t, uint64_t now)
{
    const struct load_plan *plan = t->plan;
    uint64_t patience = plan->timeout_ns != OS_FOREVER ? plan->timeout_ns : (uint64_t)GIVE_UP_MS * NS_A_MS;
    bool for_good = plan->where.fd != OS_NO_HANDLE;
    if (t->open > 0 || (!for_good && (plan->count == 0 || now < t->down_since_ns + patience))) return;
    if (plan->rate > 0) {
        load_fail(t, LOAD_NOT_SENT, load_share(t->index, t->end, t->conn_count, plan->threads, plan->conns) - t->released);
        give_up_waiting(t);
    } else if (t->left != UINT64_MAX) {
        load_fail(t, LOAD_NOT_SENT, t->left);
    }
    t->left = 0;
    t->stopping = true;
}

/* Until when connecting may last, and once connected the opening. */
static uint64_t connect_limit(const struct load_conn *c)
{
    uint64_t timeout = c->thread->plan->timeout_ns, limit = timeout == OS_FOREVER ? OS_FOREVER : c->since_ns + timeout;
    uint64_t opening = c->asked_ns == 0 ? OS_FOREVER : c->asked_ns + (uint64_t)OPENING_MS * NS_A_MS;
    return limit < opening ? limit : opening;
}

static void tick(struct load_thread *t, uint64_t now)
{
    if (now < t->tick_ns) return;
    t->tick_ns = now + tick_length(t->plan);
    for (uint32_t i = 0; i < t->conn_count; i++) {
        struct load_conn *c = &t->conns[i];
        if (c->state == CONN_CONNECTING && now >= connect_limit(c)) give_up_connecting(c, now);
        if (!t->running) continue;
        load_conn_expire(c, now);
        bool wanted = !t->stopping || c->released > c->taken;
        if (c->state == CONN_DOWN && now >= c->since_ns && wanted) connect_again(c, now);
    }
    if (t->running && (!t->stopping || t->waiting > 0)) give_up_if_gone(t, now);
    atomic_store_explicit(&t->ok_so_far, t->result.ok, memory_order_relaxed);
}

/* Waits for what comes, at most until `until`; the end of that is waited for awake if `exact`. */
static void wait_until(struct load_thread *t, uint64_t now, uint64_t until, bool exact)
{
    uint64_t left = until > now ? until - now : 0;
    uint64_t ms = exact ? (left > SPIN_NS ? (left - NS_A_MS) / NS_A_MS : 0) : (left + NS_A_MS - 1) / NS_A_MS;
    t->wait_from_ns = now;
    t->in_wait = true;
    enum framed_status st = framed_os_wait(t->poller, ms);
    if (ms == 0 && t->in_wait && left > 0) framed_os_yield();
    (void)load_now(t);
    if (st != FRAMED_OK) load_trouble(t, st);
}

static void turn(struct load_thread *t)
{
    uint64_t now = framed_os_clock_ns();
    tick(t, now);
    uint64_t due = OS_FOREVER, until = t->tick_ns;
    if (t->next_to_open < t->conn_count && t->open_ns > now && t->open_ns < until) until = t->open_ns;
    if (t->running) {
        if (t->plan->rate > 0) release_due(t, now);
        if (now >= t->stop_ns) t->stopping = true;
        due = next_due(t);
        if (t->stop_ns > now && t->stop_ns < until) until = t->stop_ns;
    }
    wait_until(t, now, due < until ? due : until, due < until);
}

/* In a run of a certain time, what was due and has not left by its end never will. In one of a certain number it still goes when
 * its connection can take it. */
static bool is_done(struct load_thread *t)
{
    if (t->plan->rate == 0 && t->left == 0) t->stopping = true;
    if (!t->stopping) return false;
    if (t->plan->count == 0 && framed_os_clock_ns() < t->stop_ns) return false; /* nothing is due in the rest of it */
    if (t->waiting > 0 && t->plan->count == 0) give_up_waiting(t);
    return t->live == 0 && t->waiting == 0;
}

/* ---- a thread's life ---- */

static void begin_running(struct load_thread *t, uint64_t start)
{
    const struct load_plan *plan = t->plan;
    struct load_result *r = &t->result;
    t->measure_ns = start + plan->warmup_ns;
    t->stop_ns = plan->count > 0 ? OS_FOREVER : t->measure_ns + plan->duration_ns;
    t->left = UINT64_MAX;
    if (plan->rate > 0)
        t->end = plan->count > 0 ? load_due_before(plan->warmup_ns, plan->rate) + plan->count
                                 : load_due_before(plan->warmup_ns + plan->duration_ns, plan->rate);
    t->stopping = plan->rate > 0 && t->end <= t->index; /* there is none for this thread */
    if (plan->count > 0 && plan->rate == 0) t->left = plan->count / plan->threads + (t->index < plan->count % plan->threads);
    t->down_since_ns = start;
    t->running = true;
    r->begin_ns = t->measure_ns;
    for (uint32_t i = 0; i < t->conn_count; i++) {
        struct load_conn *c = &t->conns[i];
        if (c->state == CONN_OPEN) c->free_since_ns = start;
        if (plan->rate == 0) load_conn_send(c, start);
    }
}

static void end_running(struct load_thread *t, uint64_t start)
{
    struct load_result *r = &t->result;
    uint64_t now = framed_os_clock_ns();
    r->pending = t->live;
    if (t->waiting > 0) load_fail(t, LOAD_NOT_SENT, t->waiting);
    r->ran_ns = now - start;
    uint64_t end = t->stop_ns; /* of the time that it was to take */
    if (t->plan->count > 0) end = t->plan->rate > 0 ? load_due_ns(t->measure_ns, t->plan->count, t->plan->rate) : 0;
    if (end > now && (t->plan->count == 0 || is_stopped(t))) end = now;
    if (r->end_ns < end) r->end_ns = end;
    if (r->end_ns < r->begin_ns) r->end_ns = now > r->begin_ns ? now : r->begin_ns;
}

static void close_all(struct load_thread *t)
{
    t->stopping = true;
    t->live = 0;
    for (uint32_t i = 0; i < t->conn_count; i++) {
        struct load_conn *c = &t->conns[i];
        load_conn_part(c);
        if (c->state == CONN_CONNECTING || c->state == CONN_OPEN) framed_os_close(&c->sock);
    }
    while (t->sockets > 0 && framed_os_wait(t->poller, TICK_MOST_MS) == FRAMED_OK) continue;
}

void load_thread_run(void *thread)
{
    struct load_thread *t = thread;
    struct load *load = t->load;
    uint64_t start = 0, began = framed_os_clock_ns();
    if (framed_encrypts(t->plan->protection)) t->open_ns = began + t->index * (uint64_t)HANDSHAKE_PAUSE_MS * NS_A_MS;
    while (t->undecided > 0 && !is_stopped(t)) {
        connect_more(t, framed_os_clock_ns());
        if (t->undecided > 0) turn(t);
    }
    t->result.connected_ns = framed_os_clock_ns() - began;
    atomic_fetch_add(&load->ready, 1);
    load->plan->changed(load->plan->ctx);
    while (!is_stopped(t) && (start = atomic_load(&load->start_ns)) == 0) turn(t);
    if (start != 0) {
        t->result.idle_ns = 0;
        begin_running(t, start);
        while (!is_stopped(t) && !is_done(t)) turn(t);
        end_running(t, start);
    }
    close_all(t);
    atomic_fetch_add(&load->over, 1);
    load->plan->changed(load->plan->ctx);
}

/* ---- its memory ---- */

void *load_take_memory(size_t n)
{
    const struct framed_allocator *alloc = framed_os_allocator();
    void *at = alloc->resize(alloc->ctx, NULL, 0, n);
    if (at != NULL) memset(at, 0, n);
    return at;
}

void load_give_memory(void *at, size_t n)
{
    const struct framed_allocator *alloc = framed_os_allocator();
    if (at != NULL) alloc->resize(alloc->ctx, at, n, 0);
}

enum framed_status load_thread_init(struct load_thread *t, struct load *load, const struct load_plan *plan, uint32_t index)
{
    t->plan = plan;
    t->load = load;
    t->index = index;
    t->conn_count = plan->conns / plan->threads + (index < plan->conns % plan->threads);
    t->undecided = t->conn_count;
    t->stop_ns = OS_FOREVER;
    framed_series_init(&t->result.series, UINT64_C(1000000000));
    t->batch = load_take_memory(BATCH);
    t->conns = load_take_memory(t->conn_count * sizeof *t->conns);
    if (t->batch == NULL || t->conns == NULL) return FRAMED_NOMEM;
    for (uint32_t i = 0; i < t->conn_count; i++) {
        uint32_t number = index + i * plan->threads;
        t->conns[i] = (struct load_conn){.thread = t,
                                         .index = number,
                                         .undecided = true,
                                         .free_since_ns = UINT64_MAX,
                                         .random = (number + 1) * UINT64_C(0x9e3779b97f4a7c15)};
    }
    return framed_os_poller_open(&t->poller, FRAMED_WAIT_BEST, framed_os_allocator());
}

void load_thread_fini(struct load_thread *t)
{
    for (uint32_t i = 0; t->conns != NULL && i < t->conn_count; i++) load_conn_free(&t->conns[i]);
    framed_os_poller_close(t->poller);
    load_give_memory(t->conns, t->conn_count * sizeof *t->conns);
    load_give_memory(t->batch, BATCH);
}
