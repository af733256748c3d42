/*
 * Owns: the relay of `inspect --tap`: its listener, the pairs of connections, what was received and not yet sent on.
 * Must not know: what the bytes mean; how, or whether, they are shown; how they cross over to a target that wants keys (crossing.h).
 * Invariants: a side is read only while nothing of it waits to be sent, so a pair holds at most one receive each way; memory is
 * held only while bytes wait; what was received is offered to the other side before anybody looks at it; `sockets` is how many
 * `closed` are still to come.
 *
 *   a side            what it does to the pair
 *   ends              the other is half-closed; once both have ended, the pair is closed
 *   cannot be sent to the other is not read any more, but what this one still has to say is passed on until it ends
 *   breaks            the pair is closed
 */
#include "tap.h"
#include "crossing.h"
#include "keyring.h"
#include <stdio.h>
#include <string.h>

enum { ACCEPT_PAUSE_MS = 100, OPENING_MS = 5000, WHY_ROOM = 360, KEEPALIVE_MS = 60000, KEEPALIVE_GIVE_UP_MS = 30000 };

static const size_t MEMORY_MOST = (size_t)1 << 30; /* of all pairs; whoever would exceed it is closed */

/* One end of a pair. */
struct side {
    struct os_socket sock;
    struct tap_pair *pair;
    struct framed_bytes rest; /* received here, not yet taken by the other side; the end of `held` */
    struct framed_buf held;
    bool ends;  /* it has ended, behind `rest` */
    bool ended; /* nothing more is read from it */
    bool told;  /* nothing more can be sent to it: half-closed, or it failed */
};

enum pair_state { CONNECTING, OPENING /* only where the target wants more than plain frames */, RELAYING, CLOSING };

struct tap_pair {
    struct tap *tap;
    struct tap_pair *next;
    struct tap_pair **link;
    struct side client, target;
    struct crossing *crossing; /* NULL: bytes pass as they come */
    struct timer opening_timer;
    struct watched watched;
    enum pair_state state;
    enum framed_status why; /* the connecting failed so */
    uint8_t tried;          /* addresses of the target */
    uint8_t sockets;        /* `closed` still to come */
    bool is_opening;        /* and counted in tap->opening */
};

static struct side *side_of(struct os_socket *s)
{
    return (struct side *)(void *)s; /* its first member */
}

static struct side *other_of(struct side *s)
{
    return s == &s->pair->client ? &s->pair->target : &s->pair->client;
}

static enum inspect_way way_from(const struct side *s)
{
    return s == &s->pair->client ? INSPECT_REQUESTS : INSPECT_REPLIES;
}

/* ---- memory ---- */

static void *take(struct tap *tap, size_t n)
{
    const struct framed_allocator *alloc = &tap->loop.pool.alloc;
    return alloc->resize(alloc->ctx, NULL, 0, n);
}

static void give(struct tap *tap, void *at, size_t n)
{
    const struct framed_allocator *alloc = &tap->loop.pool.alloc;
    if (at != NULL) alloc->resize(alloc->ctx, at, n, 0);
}

static void drop_rest(struct side *s)
{
    framed_buf_fini(&s->held, &s->pair->tap->loop.pool.alloc);
    s->rest = framed_bytes_of(NULL, 0);
}

/* ---- the end of a pair ---- */

static void close_both(struct tap_pair *p)
{
    p->state = CLOSING;
    framed_wheel_clear(&p->tap->loop.wheel, &p->opening_timer);
    framed_os_close(&p->client.sock);
    if (p->sockets > 1) framed_os_close(&p->target.sock);
}

/* A target that wants keys is told that this is an end and no cut, as far as there is room for it. */
static void part(struct tap_pair *p)
{
    struct framed_buf *held = &p->client.held;
    if (p->state != RELAYING || p->crossing == NULL || p->target.told || p->client.rest.len > 0) return;
    size_t taken;
    if (framed_crossing_end(p->crossing, held) != FRAMED_OK || held->len == 0) return;
    const struct framed_bytes bytes = framed_bytes_of(held->at, held->len);
    (void)framed_os_offer(&p->target.sock, &bytes, 1, &taken);
}

/* Why: NULL when both ends had finished, or we do. */
static void pair_close(struct tap_pair *p, const char *why)
{
    if (p->state == CLOSING) return;
    framed_watch_closed(p->tap->watch, &p->watched, framed_os_clock_ns(), why);
    if (why == NULL) part(p);
    close_both(p);
}

/* The connection on this side is gone, or we cannot go on with it. */
static void pair_broke(const struct side *s, enum framed_status st)
{
    char text[WHY_ROOM], why[WHY_ROOM + 16];
    bool of_target = s == &s->pair->target;
    if (of_target && s->pair->crossing != NULL)
        framed_crossing_why(s->pair->crossing, st, text, sizeof text);
    else
        (void)snprintf(text, sizeof text, "%s", framed_status_text(st));
    (void)snprintf(why, sizeof why, "%s: %s", of_target ? "target" : "client", text);
    pair_close(s->pair, why);
}

static void no_longer_opening(struct tap_pair *p)
{
    p->tap->opening -= p->is_opening;
    p->is_opening = false;
}

static void pair_free(struct tap_pair *p)
{
    struct tap *tap = p->tap;
    no_longer_opening(p);
    drop_rest(&p->client);
    drop_rest(&p->target);
    if (p->crossing != NULL) framed_crossing_fini(p->crossing);
    give(tap, p->crossing, sizeof *p->crossing);
    *p->link = p->next;
    if (p->next != NULL) p->next->link = p->link;
    give(tap, p, sizeof *p);
    tap->pair_count--;
}

/* While stopping: a pair goes as soon as nothing is under way on it. */
static bool is_at_rest(const struct tap_pair *p)
{
    return p->state == CONNECTING || p->state == OPENING ||
           (p->client.rest.len == 0 && p->target.rest.len == 0 && framed_watch_at_rest(&p->watched));
}

static void close_if_over(struct tap_pair *p)
{
    bool over = p->client.ended && p->target.ended && p->client.rest.len == 0 && p->target.rest.len == 0;
    if (over || (p->tap->stopping && is_at_rest(p))) pair_close(p, NULL);
}

/* ---- passing on ---- */

/* Nothing can be sent to this side any more: what the other says is lost, as it would be without us. What this side has said
 * before it went still arrives. */
static void cannot_send(struct side *to)
{
    struct side *from = other_of(to);
    to->told = true;
    from->ended = true;
    framed_os_receive_stop(&from->sock);
    drop_rest(from);
}

/* The connection has gone: its own receive tells how. Anything else that keeps us from sending ends both: what is left out of a
 * stream is not to be hidden. */
static bool is_gone(enum framed_status st)
{
    return st == FRAMED_RESET || st == FRAMED_TIMEOUT || st == FRAMED_UNREACHABLE;
}

/* What is due to the other side has left: its end, or we go on. */
static enum framed_status passed_on(struct side *from)
{
    struct side *to = other_of(from);
    drop_rest(from);
    if (!from->ends) return framed_os_receive(&from->sock, NULL, 0);
    from->ended = true;
    if (to->told) return FRAMED_OK;
    to->told = true;
    if (framed_os_finish(&to->sock) != FRAMED_OK) cannot_send(to);
    return FRAMED_OK;
}

/* Keeps what the other side did not take, and asks to send it. */
static enum framed_status keep_rest(struct side *from, struct framed_bytes rest)
{
    if (from->held.at == NULL) {
        enum framed_status st = framed_buf_append(&from->held, rest, SIZE_MAX, &from->pair->tap->loop.pool.alloc);
        if (st != FRAMED_OK) return st;
        rest = framed_bytes_of(from->held.at, rest.len);
    }
    from->rest = rest;
    return framed_os_send(&other_of(from)->sock, &from->rest, 1);
}

/* So it went when `bytes`, lent for now or those of `held`, were offered to the other side. */
static enum framed_status offered(struct side *from, enum framed_status st, struct framed_bytes bytes, size_t taken)
{
    struct side *to = other_of(from);
    if (is_gone(st)) {
        cannot_send(to);
        return FRAMED_OK;
    }
    if (st != FRAMED_OK) {
        pair_broke(to, st);
        return FRAMED_OK;
    }
    if (taken == bytes.len) return passed_on(from);
    return keep_rest(from, framed_bytes_of(bytes.at + taken, bytes.len - taken));
}

static enum framed_status offer(struct side *to, struct framed_bytes bytes, size_t *taken)
{
    *taken = 0;
    return bytes.len > 0 ? framed_os_offer(&to->sock, &bytes, 1, taken) : FRAMED_OK;
}

static void show(struct side *from, uint64_t now, struct framed_bytes bytes)
{
    framed_watch_passed(from->pair->tap->watch, &from->pair->watched, way_from(from), now, bytes);
}

static void show_end(struct side *from)
{
    framed_watch_ended(from->pair->tap->watch, &from->pair->watched, way_from(from), framed_os_clock_ns());
}

/* On the other side they are others, which `held` is for. */
static enum framed_status cross(struct side *from, struct framed_bytes bytes)
{
    struct crossing *x = from->pair->crossing;
    bool of_client = from == &from->pair->client;
    uint64_t now = framed_os_clock_ns();
    size_t taken;
    enum framed_status st =
        of_client ? framed_crossing_out(x, bytes, &from->held) : framed_crossing_in(x, bytes, &from->held);
    const struct framed_bytes made = framed_bytes_of(from->held.at, from->held.len);
    enum framed_status sent = offer(other_of(from), made, &taken);
    show(from, now, of_client ? bytes : made);
    from->ends = st == FRAMED_CLOSED;
    if (from->ends) show_end(from);
    return st == FRAMED_OK || st == FRAMED_CLOSED ? offered(from, sent, made, taken) : st;
}

static enum framed_status pass(struct side *from, struct framed_bytes bytes)
{
    if (from->pair->crossing != NULL) return cross(from, bytes);
    uint64_t now = framed_os_clock_ns();
    size_t taken;
    enum framed_status st = offer(other_of(from), bytes, &taken);
    show(from, now, bytes);
    return offered(from, st, bytes, taken);
}

/* Behind all that it has said, which has left. */
static enum framed_status pass_end(struct side *from)
{
    struct crossing *x = from->pair->crossing;
    enum framed_status st = FRAMED_CLOSED;
    size_t taken;
    if (x != NULL) st = from == &from->pair->target ? framed_crossing_ended(x) : framed_crossing_end(x, &from->held);
    if (st != FRAMED_OK && st != FRAMED_CLOSED) return st;
    show_end(from);
    from->ends = true;
    const struct framed_bytes made = framed_bytes_of(from->held.at, from->held.len);
    st = offer(other_of(from), made, &taken);
    return offered(from, st, made, taken);
}

static void opening_received(struct tap_pair *p, enum framed_status st, struct framed_bytes in);

static void side_received(struct os_socket *s, enum framed_status st, uint8_t *at, size_t n)
{
    struct side *from = side_of(s);
    struct tap_pair *p = from->pair;
    if (p->state == OPENING) {
        opening_received(p, st, framed_bytes_of(at, n));
        return;
    }
    if (st == FRAMED_OK)
        st = pass(from, framed_bytes_of(at, n));
    else if (st == FRAMED_CLOSED)
        st = pass_end(from);
    if (st != FRAMED_OK)
        pair_broke(from, st);
    else
        close_if_over(p);
}

static void side_sent(struct os_socket *s, enum framed_status st, size_t n)
{
    struct side *to = side_of(s), *from = other_of(to);
    struct tap_pair *p = to->pair;
    if (is_gone(st)) {
        cannot_send(to);
        st = FRAMED_OK;
    } else if (st == FRAMED_OK && n < from->rest.len) {
        from->rest = framed_bytes_of(from->rest.at + n, from->rest.len - n);
        st = framed_os_send(s, &from->rest, 1);
    } else if (st == FRAMED_OK) {
        st = passed_on(from);
    }
    if (st != FRAMED_OK)
        pair_broke(to, st);
    else
        close_if_over(p);
}

/* ---- connecting ---- */

static void connect_next(struct tap_pair *p);

static void cannot_connect(struct tap_pair *p)
{
    framed_wheel_clear(&p->tap->loop.wheel, &p->opening_timer);
    framed_watch_refused(p->tap->watch, &p->watched, framed_os_clock_ns(), framed_status_text(p->why));
    p->state = CLOSING;
    framed_os_close(&p->client.sock);
}

static void accept_more(struct tap *tap);

static void side_closed(struct os_socket *s)
{
    struct tap_pair *p = side_of(s)->pair;
    struct tap *tap = p->tap;
    tap->sockets--;
    p->sockets--;
    if (p->state == CONNECTING)
        connect_next(p);
    else if (p->sockets == 0) {
        pair_free(p);
        accept_more(tap);
    }
}

static void relay(struct tap_pair *p)
{
    p->state = RELAYING;
    enum framed_status st = framed_os_receive(&p->target.sock, NULL, 0);
    if (st == FRAMED_OK) st = framed_os_receive(&p->client.sock, NULL, 0);
    if (st != FRAMED_OK) pair_broke(&p->target, st);
}

/* ---- to a target that wants more than plain frames ---- */

static void cannot_open(struct tap_pair *p, enum framed_status st)
{
    char why[WHY_ROOM];
    framed_crossing_why(p->crossing, st, why, sizeof why);
    framed_watch_refused(p->tap->watch, &p->watched, framed_os_clock_ns(), why);
    close_both(p);
}

/* What the opening has to say. A new connection has room for a few bytes, or is of no use. */
static enum framed_status say(struct tap_pair *p)
{
    struct framed_buf *held = &p->client.held;
    const struct framed_bytes bytes = framed_bytes_of(held->at, held->len);
    size_t taken;
    enum framed_status st = offer(&p->target, bytes, &taken);
    drop_rest(&p->client);
    return st == FRAMED_OK && taken < bytes.len ? FRAMED_LIMIT : st;
}

static void opening_received(struct tap_pair *p, enum framed_status st, struct framed_bytes in)
{
    if (st == FRAMED_CLOSED) st = framed_crossing_ended(p->crossing);
    if (st == FRAMED_OK) st = framed_crossing_open(p->crossing, in, &p->client.held);
    bool open = st == FRAMED_OK;
    if (open || st == FRAMED_MORE) st = say(p);
    if (st == FRAMED_OK && !open) st = framed_os_receive(&p->target.sock, NULL, 0);
    if (st != FRAMED_OK) {
        cannot_open(p, st);
    } else if (open) {
        framed_wheel_clear(&p->tap->loop.wheel, &p->opening_timer);
        no_longer_opening(p);
        relay(p);
        accept_more(p->tap);
    }
}

static void opening_timer_fired(struct timer *t)
{
    struct tap_pair *p = (struct tap_pair *)(void *)((uint8_t *)t - offsetof(struct tap_pair, opening_timer));
    if (p->state != CONNECTING) {
        cannot_open(p, FRAMED_TIMEOUT);
        return;
    }
    p->why = FRAMED_TIMEOUT;
    framed_os_close(&p->target.sock); /* side_closed tries the next address */
}

static void begin_opening(struct tap_pair *p)
{
    struct tap *tap = p->tap;
    p->state = OPENING;
    p->crossing = take(tap, sizeof *p->crossing);
    enum framed_status st = FRAMED_NOMEM;
    if (p->crossing != NULL) {
        *p->crossing = (struct crossing){0};
        st = framed_crossing_begin(p->crossing, tap->terms, &tap->loop.pool.alloc, &p->client.held);
    }
    if (st == FRAMED_OK) st = say(p);
    if (st == FRAMED_OK) st = framed_os_receive(&p->target.sock, NULL, 0);
    if (st != FRAMED_OK) cannot_open(p, st);
}

/* ---- connecting, once more ---- */

static void target_connected(struct os_socket *s, enum framed_status st)
{
    struct tap_pair *p = side_of(s)->pair;
    if (st == FRAMED_OK && framed_os_connected_to_itself(s)) st = FRAMED_REFUSED;
    if (st != FRAMED_OK) {
        p->why = st;
        framed_os_close(s); /* side_closed tries the next address */
        return;
    }
    framed_os_keepalive(s, KEEPALIVE_MS, KEEPALIVE_GIVE_UP_MS);
    if (p->tap->terms != NULL)
        begin_opening(p);
    else
        relay(p);
}

static const struct os_socket_ops side_ops = {
    .connected = target_connected, .received = side_received, .sent = side_sent, .closed = side_closed};

static void connect_next(struct tap_pair *p)
{
    struct tap *tap = p->tap;
    while (p->tried < tap->target.n) {
        p->target.sock = (struct os_socket){.ops = &side_ops};
        p->why = framed_os_connect(tap->loop.poller, &p->target.sock, &tap->target.found[p->tried++]);
        if (p->why != FRAMED_OK) continue;
        p->sockets++;
        tap->sockets++;
        if (tap->terms != NULL)
            framed_wheel_set(&tap->loop.wheel, &p->opening_timer, framed_loop_now(&tap->loop) + OPENING_MS);
        return;
    }
    cannot_connect(p);
}

/* ---- accepting ---- */

static enum framed_protection protection_of(const struct tap *tap)
{
    return tap->terms != NULL ? framed_mode_protection(tap->terms->mode) : FRAMED_UNPROTECTED;
}

/* All come from our address: as many as a target lets do so. The backlog keeps the others. */
static void begin_handshake(struct tap_pair *p)
{
    struct tap *tap = p->tap;
    p->is_opening = framed_encrypts(protection_of(tap));
    tap->opening += p->is_opening;
    if (keyring_is_public(protection_of(tap)))
        framed_wheel_set(&tap->loop.wheel, &tap->accept_timer, framed_loop_now(&tap->loop) + HANDSHAKE_PAUSE_MS);
}

static enum framed_status pair_begin(struct tap *tap, intptr_t handle, const struct os_address *peer)
{
    struct tap_pair *p = take(tap, sizeof *p);
    if (p == NULL) return FRAMED_NOMEM;
    *p = (struct tap_pair){.tap = tap, .next = tap->pairs, .link = &tap->pairs};
    p->client.pair = p->target.pair = p;
    p->opening_timer.fired = opening_timer_fired;
    p->client.sock.ops = &side_ops;
    enum framed_status st = framed_os_attach(tap->loop.poller, &p->client.sock, handle);
    if (st != FRAMED_OK) {
        give(tap, p, sizeof *p);
        return st;
    }
    if (p->next != NULL) p->next->link = &p->next;
    tap->pairs = p;
    tap->pair_count++;
    begin_handshake(p);
    tap->sockets++;
    p->sockets = 1;
    framed_os_keepalive(&p->client.sock, KEEPALIVE_MS, KEEPALIVE_GIVE_UP_MS);
    framed_watch_opened(tap->watch, &p->watched, ++tap->last_number, framed_os_clock_ns(), peer);
    connect_next(p);
    return FRAMED_OK;
}

/* Out of descriptors or memory: the backlog keeps those who come, and we try again a little later, not at once. */
static void accept_failed(struct tap *tap, enum framed_status st)
{
    if (!tap->accept_failing) framed_watch_say(tap->watch, "accepting failed: %s; trying again", framed_status_text(st));
    tap->accept_failing = true;
    framed_wheel_set(&tap->loop.wheel, &tap->accept_timer, framed_loop_now(&tap->loop) + ACCEPT_PAUSE_MS);
}

static void accept_more(struct tap *tap)
{
    if (!tap->listening || tap->stopping || tap->pair_count >= tap->pairs_most || tap->opening >= HANDSHAKES_MOST ||
        timer_is_set(&tap->accept_timer))
        return;
    enum framed_status st = framed_os_accept(&tap->listener);
    if (st != FRAMED_OK) accept_failed(tap, st);
}

static void accept_timer_fired(struct timer *t)
{
    accept_more((struct tap *)(void *)((uint8_t *)t - offsetof(struct tap, accept_timer)));
}

static void listener_accepted(struct os_socket *s, enum framed_status st, intptr_t handle, const struct os_address *peer)
{
    struct tap *tap = (struct tap *)(void *)((uint8_t *)s - offsetof(struct tap, listener));
    if (st == FRAMED_OK) {
        st = pair_begin(tap, handle, peer);
        if (st != FRAMED_OK) framed_os_discard(handle);
    }
    if (st != FRAMED_OK) {
        accept_failed(tap, st);
        return;
    }
    tap->accept_failing = false;
    accept_more(tap);
}

static void listener_closed(struct os_socket *s)
{
    struct tap *tap = (struct tap *)(void *)((uint8_t *)s - offsetof(struct tap, listener));
    tap->sockets--;
}

static const struct os_socket_ops listener_ops = {.accepted = listener_accepted, .closed = listener_closed};

/* ---- stopping ---- */

static void close_pairs(struct tap *tap, bool all)
{
    struct tap_pair *next;
    for (struct tap_pair *p = tap->pairs; p != NULL; p = next) {
        next = p->next; /* p goes in a later turn */
        if (all || is_at_rest(p)) pair_close(p, NULL);
    }
}

static void stop_timer_fired(struct timer *t)
{
    struct tap *tap = (struct tap *)(void *)((uint8_t *)t - offsetof(struct tap, stop_timer));
    if (tap->pair_count > 0)
        framed_watch_say(tap->watch, "stopped; connections with calls under way after %d s were closed", TAP_STOP_MS / 1000);
    close_pairs(tap, true);
}

static void stop_listening(struct tap *tap)
{
    if (!tap->listening) return;
    tap->listening = false;
    framed_wheel_clear(&tap->loop.wheel, &tap->accept_timer);
    framed_os_close(&tap->listener);
    if (!tap->adopted) framed_os_address_remove(&tap->bound);
}

static void begin_to_stop(struct tap *tap)
{
    tap->stopping = true;
    stop_listening(tap);
    close_pairs(tap, false);
    framed_wheel_set(&tap->loop.wheel, &tap->stop_timer, framed_loop_now(&tap->loop) + TAP_STOP_MS);
}

void framed_tap_stop(struct tap *tap)
{
    atomic_store(&tap->stop, true);
    framed_os_wake(tap->loop.poller);
}

/* ---- life ---- */

enum framed_status framed_tap_init(struct tap *tap, uint32_t pairs_most, struct watch *watch)
{
    tap->budget.limit = MEMORY_MOST;
    tap->watch = watch;
    tap->pairs_most = pairs_most;
    tap->accept_timer.fired = accept_timer_fired;
    tap->stop_timer.fired = stop_timer_fired;
    return framed_loop_init(&tap->loop, FRAMED_WAIT_BEST, framed_os_allocator(), &tap->budget);
}

enum framed_status framed_tap_target(struct tap *tap, const char *address)
{
    enum framed_status st = framed_address_find(address, false, &tap->target);
    return st == FRAMED_OK && tap->target.fd != OS_NO_HANDLE ? FRAMED_USAGE : st;
}

void framed_tap_protect(struct tap *tap, const struct channel_terms *terms)
{
    tap->terms = terms;
}

enum framed_status framed_tap_listen(struct tap *tap, const char *address)
{
    struct address at;
    enum framed_status st = framed_address_find(address, true, &at);
    if (st != FRAMED_OK) return st;
    tap->listener.ops = &listener_ops;
    tap->adopted = at.fd != OS_NO_HANDLE;
    if (tap->adopted) st = framed_os_adopt(tap->loop.poller, &tap->listener, at.fd, true, &tap->bound);
    for (size_t i = 0; i < at.n; i++) {
        st = framed_os_listen(tap->loop.poller, &tap->listener, &at.found[i], &tap->bound);
        if (st == FRAMED_OK) break;
    }
    if (st != FRAMED_OK) return st;
    tap->listening = true;
    tap->sockets++;
    return FRAMED_OK;
}

bool framed_tap_is_loop(const struct tap *tap)
{
    char here[OS_ADDRESS_TEXT_SIZE], there[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(&tap->bound, here, sizeof here);
    for (size_t i = 0; i < tap->target.n; i++) {
        framed_os_address_text(&tap->target.found[i], there, sizeof there);
        if (strcmp(here, there) == 0) return true;
    }
    return false;
}

enum framed_status framed_tap_run(struct tap *tap)
{
    enum framed_status st = FRAMED_OK;
    uint64_t wait_ms = OS_FOREVER;
    accept_more(tap);
    while (tap->sockets > 0) {
        enum framed_status waited = framed_loop_turn(&tap->loop, wait_ms);
        bool stop = atomic_load_explicit(&tap->stop, memory_order_relaxed);
        if (waited != FRAMED_OK && st == FRAMED_OK) {
            st = waited;
            stop = true;
        }
        if (stop && !tap->stopping) begin_to_stop(tap);
        if (st != FRAMED_OK) close_pairs(tap, true);
        wait_ms = framed_watch_turn(tap->watch);
    }
    framed_wheel_clear(&tap->loop.wheel, &tap->stop_timer);
    return st;
}

void framed_tap_fini(struct tap *tap)
{
    if (tap->loop.poller == NULL) return;
    stop_listening(tap);
    while (tap->sockets > 0) (void)framed_loop_turn(&tap->loop, 0);
    framed_loop_fini(&tap->loop);
    framed_loop_fini_rest(&tap->loop);
}
