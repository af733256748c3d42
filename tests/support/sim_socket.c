/*
 * sim_socket.c: owns pollers, and what a framed socket asks for and is told, as os.h has it.
 * Must not know time.
 * Invariants: callbacks are made only inside framed_os_wait; who uses os.h against its contract ends the program.
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- who is ready ---- */

bool can_receive(const struct end *e)
{
    return e->broken || e->breaks_later || e->in.len > 0 || e->in_finished;
}

/* A reset that has come is seen by whoever writes before whoever reads. */
static bool writes_fail(const struct end *e)
{
    return e->broken || e->breaks_later;
}

bool can_send(const struct end *e)
{
    return writes_fail(e) || room_to_send(e, 1) > 0;
}

/* Room for one more handle, or the news that there is none. */
static bool can_accept(const struct end *e)
{
    return e->waiting != NULL;
}

bool can_connect(const struct end *e)
{
    return !e->blackhole && !e->travels;
}

static bool socket_ready(const struct os_socket *s)
{
    const struct end *e = end_of_handle(s->handle);
    if ((s->wants & WANT_ACCEPT) && can_accept(e)) return true;
    if ((s->wants & WANT_CONNECT) && can_connect(e)) return true;
    if (e->connecting) return false;
    if ((s->wants & WANT_RECEIVE) && can_receive(e)) return true;
    return (s->wants & WANT_SEND) && can_send(e);
}

bool poller_ready(const struct os_poller *poller)
{
    if (poller->woken || poller->closing) return true;
    for (size_t i = 0; i < poller->count; i++) {
        if (socket_ready(poller->sockets[i])) return true;
    }
    return false;
}

/* ---- what happens to the ready ---- */

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
        note_port(port_of(&e->local));
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
    if (!(s->wants & CLOSING) && (s->wants & WANT_CONNECT) && can_connect(e)) do_connect(s, e);
    if (e->connecting) return;
    bool send_first = thrown(2) == 1;
    if (send_first && !(s->wants & CLOSING) && (s->wants & WANT_SEND) && can_send(e)) do_send(s, e);
    if (!(s->wants & CLOSING) && (s->wants & WANT_RECEIVE) && can_receive(e)) do_receive(s, e);
    if (!send_first && !(s->wants & CLOSING) && (s->wants & WANT_SEND) && can_send(e)) do_send(s, e);
}

void serve_closings(struct os_poller *poller)
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
size_t serve(struct os_poller *poller)
{
    size_t n = 0, count = poller->count;
    struct os_socket **ready = count ? made(count * sizeof(struct os_socket *)) : NULL;
    must(!poller->waiting, "framed_os_wait was called from inside itself");
    poller->waiting = true;
    poller->completions += poller->woken;
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
    poller->completions += n;
    serve_closings(poller);
    poller->waiting = false;
    return n;
}

/* ---- what os.h asks ---- */

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

static void answered(void *ctx)
{
    ((struct end *)ctx)->travels = false;
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
    give_delay(e);
    if (e->delay_ns > 0) {
        e->travels = true;
        at_ns(world.now_ns + travel_ns(e) + travel_ns(e), answered, e);
    }
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
    if (!e->silent) carry(e->other, PARCEL_END);
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

/* There is "reno" alone, which changes nothing. */
enum framed_status framed_os_congestion_check(const char *name)
{
    return strcmp(name, "reno") == 0 ? FRAMED_OK : FRAMED_UNSUPPORTED;
}

void framed_os_congestion(struct os_socket *s, const char *name)
{
    open_end(s)->congestion = name;
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

bool framed_os_connected_to_itself(const struct os_socket *s)
{
    return end_of(s)->to_self;
}
