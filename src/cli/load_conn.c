/*
 * Owns: one connection of a load: its requests under way, what is sent, how replies are taken and failures told.
 * Must not know: when requests are due (load.c gives them out), how many connections there are, what is printed.
 * Invariants: every request begun ends as one of ok, a failure, or pending; a long request is never copied, and of small ones only
 * what the system did not take at once; memory is bounded by the pipeline and the batch.
 */
#include "load_thread.h"
#include <stdio.h>
#include <string.h>

_Static_assert(FRAMED_LENGTH_SIZE + BATCHED_MOST + FRAMED_SUM_MOST <= BATCH, "a frame that is batched fits in one batch");

enum { RING_FIRST = 16, MUTE_MS = 1000 /* how long what is received may take to tell why sending failed */ };

static struct flight *flight_at(const struct load_conn *c, uint32_t i)
{
    return &c->ring[(c->first + i) & (c->cap - 1)];
}

/* ---- payloads ---- */

/* The first bytes of a payload say which request it is: no two of a run are alike, as far as they have room. */
static void stamp(const struct load_conn *c, uint64_t number, uint8_t out[STAMP])
{
    uint64_t key = ((uint64_t)c->index << 40) + number;
    for (unsigned i = 0; i < STAMP; i++) out[i] = (uint8_t)(key >> 8 * i);
}

static uint32_t stamped(const struct load_plan *plan, uint32_t len)
{
    return plan->whole ? 0 : len < STAMP ? len : STAMP;
}

/* Is this what the request had from `got` on? */
static bool is_as_sent(const struct load_conn *c, struct framed_bytes data)
{
    const struct load_plan *plan = c->thread->plan;
    uint32_t got = c->got, n = stamped(plan, flight_at(c, 0)->len);
    if (got < n) {
        uint8_t key[STAMP];
        stamp(c, c->number - c->in_flight, key);
        size_t here = n - got < data.len ? n - got : data.len;
        if (memcmp(data.at, key + got, here) != 0) return false;
        data = framed_bytes_of(data.at + here, data.len - here);
        got += (uint32_t)here;
    }
    return data.len == 0 || memcmp(data.at, plan->body.at + got, data.len) == 0;
}

/* xorshift, from a seed of its own: the same run has the same sizes. */
static uint32_t draw_len(struct load_conn *c)
{
    const struct load_plan *plan = c->thread->plan;
    if (plan->size_least == plan->size_most) return plan->size_least;
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return plan->size_least + (uint32_t)(c->random % ((uint64_t)plan->size_most - plan->size_least + 1));
}

static uint32_t next_len(struct load_conn *c)
{
    if (!c->has_next) c->next_len = draw_len(c);
    c->has_next = true;
    return c->next_len;
}

/* ---- beginning requests ---- */

static bool grow_ring(struct load_conn *c)
{
    uint32_t cap = c->cap > 0 ? c->cap * 2 : RING_FIRST;
    struct flight *ring = load_take_memory(cap * sizeof *ring);
    if (ring == NULL) return false;
    for (uint32_t i = 0; i < c->in_flight; i++) ring[i] = *flight_at(c, i);
    load_give_memory(c->ring, c->cap * sizeof *ring);
    c->ring = ring;
    c->cap = cap;
    c->first = 0;
    return true;
}

static bool is_wanted(const struct load_conn *c)
{
    const struct load_thread *t = c->thread;
    if (t->plan->rate > 0) return c->released > c->taken;
    return t->left > 0 && !t->stopping;
}

static bool may_begin(struct load_conn *c)
{
    if (c->in_flight >= c->thread->plan->pipeline || !is_wanted(c)) return false;
    if (c->in_flight < c->cap || grow_ring(c)) return true;
    load_trouble(c->thread, FRAMED_NOMEM);
    return false;
}

uint64_t load_conn_due(const struct load_conn *c)
{
    const struct load_plan *plan = c->thread->plan;
    uint64_t start = c->thread->measure_ns - plan->warmup_ns;
    return load_due_ns(start, c->index + c->taken * plan->conns, plan->rate);
}

static void note_lateness(struct load_conn *c, uint64_t due, uint64_t now)
{
    if (now < due + NS_A_MS || due < c->thread->measure_ns) return;
    c->thread->result.late++;
    if (c->free_since_ns > due) c->thread->result.held++;
}

/* The request is on its way from here on. */
static void begin_request(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    struct flight *f = flight_at(c, c->in_flight++);
    *f = (struct flight){.due_ns = now, .sent_ns = now, .len = c->next_len};
    c->has_next = false;
    c->number++;
    t->live++;
    if (t->plan->rate > 0) {
        f->due_ns = load_conn_due(c);
        c->taken++;
        t->waiting--;
        note_lateness(c, f->due_ns, now);
    } else if (t->left != UINT64_MAX && now >= t->measure_ns) {
        t->left--;
    }
}

/* Bytes behind each payload. */
static uint32_t trailer_of(const struct load_plan *plan)
{
    return framed_sum_size(plan->protection);
}

/* The length word and the number; returns the bytes they have. */
static size_t put_head(const struct load_conn *c, uint8_t *out)
{
    uint32_t len = c->next_len, n = stamped(c->thread->plan, len);
    uint8_t key[STAMP];
    enum framed_status st = framed_length_encode(out, len + trailer_of(c->thread->plan), FRAMED_FRAME_MOST);
    (void)st; /* the options allow no longer one */
    stamp(c, c->number, key);
    memcpy(out + FRAMED_LENGTH_SIZE, key, n);
    return FRAMED_LENGTH_SIZE + n;
}

/* ---- sending ---- */

static void drop_held(struct load_conn *c)
{
    load_give_memory(c->held, c->held_size);
    c->held = NULL;
    c->view_count = 0;
}

/* What the views still have behind the first n bytes. */
static void advance(struct load_conn *c, size_t n)
{
    while (c->view_count > 0 && n >= c->views[0].len) {
        n -= c->views[0].len;
        c->views[0] = c->views[1];
        c->views[1] = c->views[2];
        c->view_count--;
    }
    if (c->view_count > 0) c->views[0] = framed_bytes_of(c->views[0].at + n, c->views[0].len - n);
}

static void sending_failed(struct load_conn *c)
{
    c->mute = true;
    c->since_ns = framed_os_clock_ns();
    c->sending = false;
    drop_held(c);
}

static struct tunnel *tunnel_of(const struct load_conn *c)
{
    return c->channel != NULL ? c->channel->tunnel : NULL;
}

/* What is left of a batch: the next connection writes there. */
static bool hold(struct load_conn *c)
{
    c->held_size = c->views[0].len;
    c->held = load_take_memory(c->held_size);
    if (c->held == NULL) {
        load_trouble(c->thread, FRAMED_NOMEM);
        c->view_count = 0;
        return false;
    }
    memcpy(c->held, c->views[0].at, c->held_size);
    c->views[0].at = c->held;
    return true;
}

/* Seals the views, record by record, and offers each to the system; what is left of one is sent when there is room, and the rest
 * behind it. */
static void send_sealed(struct load_conn *c, bool batched)
{
    struct tunnel *t = tunnel_of(c);
    bool alone = c->thread->conn_count == 1;
    enum framed_status st = FRAMED_OK;
    size_t done = 0;
    while (st == FRAMED_OK) {
        st = framed_tunnel_seal_views(t, c->views, c->view_count, alone, &done);
        if (st != FRAMED_OK) {
            load_trouble(c->thread, st);
            return;
        }
        advance(c, done);
        c->wire = tunnel_waiting(t);
        if (c->wire.len == 0) return;
        st = framed_os_offer(&c->sock, &c->wire, 1, &done);
        if (st != FRAMED_OK) break;
        framed_tunnel_left(t, done);
        c->wire = tunnel_waiting(t);
        if (c->wire.len == 0) continue;
        if (batched && c->view_count > 0 && !hold(c)) return;
        st = framed_os_send(&c->sock, &c->wire, 1);
        c->sending = st == FRAMED_OK;
        if (c->sending) return;
    }
    sending_failed(c);
}

/* Offers the views to the system; what is left is kept and sent when there is room. */
static void send_plain(struct load_conn *c, bool batched)
{
    size_t taken = 0;
    enum framed_status st = framed_os_offer(&c->sock, c->views, c->view_count, &taken);
    if (st == FRAMED_OK) advance(c, taken);
    if (st == FRAMED_OK && c->view_count == 0) return;
    if (st == FRAMED_OK && batched && !hold(c)) return;
    if (st == FRAMED_OK) st = framed_os_send(&c->sock, c->views, c->view_count);
    c->sending = st == FRAMED_OK;
    if (st != FRAMED_OK) sending_failed(c);
}

/* As many small requests as there may be, in one piece. */
static void fill_batch(struct load_conn *c, uint64_t now)
{
    const struct load_plan *plan = c->thread->plan;
    uint8_t *at = c->thread->batch;
    uint32_t trailer = trailer_of(plan);
    size_t used = 0, room = trailer > 0 && c->thread->conn_count == 1 ? (size_t)HALF_BATCH : (size_t)BATCH;
    while (may_begin(c)) {
        uint32_t len = next_len(c), n = stamped(plan, len);
        bool fits = used == 0 || used + FRAMED_LENGTH_SIZE + len + trailer <= room; /* one does always */
        if (len > BATCHED_MOST || !fits) break;
        used += put_head(c, at + used);
        memcpy(at + used, plan->body.at + n, len - n);
        used += len - n;
        if (trailer > 0) {
            const struct framed_sum_place place = sealing_next(&c->channel->out);
            enum framed_status st = framed_sum_add(at + used - len, len, &place);
            (void)st; /* the options allow no longer one */
            used += trailer;
        }
        begin_request(c, now);
    }
    c->views[0] = framed_bytes_of(at, used);
    c->view_count = used > 0;
}

static void take_long(struct load_conn *c, uint64_t now)
{
    const struct load_plan *plan = c->thread->plan;
    uint32_t len = c->next_len, n = stamped(plan, len);
    c->views[0] = framed_bytes_of(c->head, put_head(c, c->head));
    c->views[1] = framed_bytes_of(plan->body.at + n, len - n);
    c->view_count = 2;
    if (trailer_of(plan) > 0) {
        const struct framed_sum_place place = sealing_next(&c->channel->out);
        struct framed_sum sum;
        framed_sum_begin(&sum, len, &place);
        framed_sum_more(&sum, c->head + FRAMED_LENGTH_SIZE, n);
        framed_sum_more(&sum, c->views[1].at, c->views[1].len);
        framed_sum_end(&sum, c->request_trailer);
        c->views[c->view_count++] = framed_bytes_of(c->request_trailer, trailer_of(plan));
    }
    begin_request(c, now);
}

void load_conn_send(struct load_conn *c, uint64_t now)
{
    while (c->state == CONN_OPEN && !c->mute && !c->sending && may_begin(c)) {
        bool batched = next_len(c) <= BATCHED_MOST;
        if (batched)
            fill_batch(c, now);
        else
            take_long(c, now);
        if (tunnel_of(c) != NULL)
            send_sealed(c, batched);
        else
            send_plain(c, batched);
    }
    bool blocked = c->state != CONN_OPEN || c->mute || c->sending || c->in_flight >= c->thread->plan->pipeline;
    if (blocked) c->free_since_ns = UINT64_MAX; /* until it is told so */
}

/* From now on the connection can send, if it could not before. */
static void freed(struct load_conn *c, uint64_t now)
{
    if (c->free_since_ns == UINT64_MAX) c->free_since_ns = now;
}

static void conn_sent(struct os_socket *s, enum framed_status st, size_t n)
{
    struct load_conn *c = (struct load_conn *)(void *)s;
    uint64_t now = load_now(c->thread);
    struct tunnel *t = tunnel_of(c);
    if (st != FRAMED_OK) {
        sending_failed(c);
        return;
    }
    c->sending = false;
    if (t != NULL) {
        framed_tunnel_left(t, n);
        send_sealed(c, false);
    } else {
        advance(c, n);
        if (c->view_count > 0) st = framed_os_send(s, c->views, c->view_count);
        c->sending = st == FRAMED_OK && c->view_count > 0;
        if (st != FRAMED_OK) sending_failed(c);
    }
    if (c->sending || c->mute) return;
    drop_held(c);
    freed(c, now);
    load_conn_send(c, now);
}

/* ---- replies ---- */

static void count_ok(struct load_thread *t, const struct flight *f, uint64_t now)
{
    struct load_result *r = &t->result;
    if (f->due_ns < t->measure_ns) {
        r->warmup++;
        return;
    }
    r->ok++;
    r->bytes += f->len;
    r->end_ns = now;
    framed_histogram_add(&r->response, now - f->due_ns);
    if (t->plan->rate > 0) framed_histogram_add(&r->service, now - f->sent_ns);
    framed_series_add(&r->series, now - t->measure_ns, now - f->due_ns);
}

/* Of those whose time is not over. */
static void expire_first(struct load_conn *c)
{
    flight_at(c, c->expired++)->expired = true;
    c->thread->live--;
    load_fail(c->thread, LOAD_TIMEOUT, 1);
}

static void reply_is_whole(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    const struct flight *f = flight_at(c, 0);
    if (!f->expired && t->plan->timeout_ns != OS_FOREVER && now - f->sent_ns > t->plan->timeout_ns) expire_first(c);
    if (f->expired) {
        c->expired--;
        t->result.late_replies++;
    } else {
        t->live--;
        if (c->wrong)
            load_fail(t, LOAD_MISMATCH, 1);
        else
            count_ok(t, f, now);
    }
    c->first = (c->first + 1) & (c->cap - 1);
    c->in_flight--;
}

/* A reply of so many bytes begins, trailer included. False: that cannot be. */
static bool begin_reply(struct load_conn *c, uint32_t len)
{
    const struct load_plan *plan = c->thread->plan;
    uint32_t trailer = trailer_of(plan);
    if (c->in_flight == 0 || len < trailer) return false;
    c->got = 0;
    c->wrong = plan->verify && len - trailer != flight_at(c, 0)->len;
    if (trailer > 0) {
        const struct framed_sum_place place = channel_place_in(c->channel);
        summed_begin(&c->summed, len - trailer, &place);
    }
    return true;
}

/* False: the connection has been ended. */
static bool take(struct load_conn *c, struct framed_bytes in, uint64_t now)
{
    const bool verify = c->thread->plan->verify, summed = trailer_of(c->thread->plan) > 0;
    struct framed_token token;
    enum framed_status st;
    bool good = true;
    while (good && (st = framed_scan_next(&c->scan, &in, &token)) == FRAMED_OK) {
        switch (token.kind) {
        case FRAMED_BEGIN: good = begin_reply(c, token.length); break;
        case FRAMED_DATA:
            if (summed) token.data = summed_payload(&c->summed, token.data);
            if (verify && !c->wrong) c->wrong = !is_as_sent(c, token.data);
            c->got += (uint32_t)token.data.len;
            break;
        case FRAMED_END:
            good = !summed || summed_is_right(&c->summed);
            if (good) reply_is_whole(c, now);
            break;
        }
    }
    if (good && st == FRAMED_MORE) return true;
    load_conn_end(c, LOAD_PROTOCOL);
    return false;
}

/* For people. That we are not let in explains whatever else happens. */
static void note_why(struct load_conn *c, enum framed_status st)
{
    struct load_thread *t = c->thread;
    if (t->turned_away) return;
    t->turned_away = c->turned_away;
    if (!framed_channel_why(c->channel, st, t->result.opening, sizeof t->result.opening))
        (void)snprintf(t->result.opening, sizeof t->result.opening, "%s", framed_status_text(st));
}

/* Encrypted: opens the records that have come. False: the connection has been ended. */
static bool take_records(struct load_conn *c, struct framed_bytes in, uint64_t now)
{
    struct tunnel *t = tunnel_of(c);
    struct framed_bytes text;
    enum framed_status st = framed_reader_feed(&t->session->reader, (uint8_t *)(uintptr_t)in.at, in.len);
    while (st == FRAMED_OK && (st = framed_tunnel_text(t, &text)) == FRAMED_OK)
        if (!take(c, text, now)) return false;
    if (st == FRAMED_MORE) st = framed_reader_park(&t->session->reader);
    if (st == FRAMED_OK) return true;
    if (st == FRAMED_NOMEM) load_trouble(c->thread, st);
    c->turned_away = t->refused;
    if (st != FRAMED_CLOSED) note_why(c, st);
    bool orderly = st == FRAMED_CLOSED && framed_scan_end(&c->scan) == FRAMED_CLOSED;
    load_conn_end(c, orderly || (t->refused && c->in_flight == c->expired) ? LOAD_CLOSED : LOAD_PROTOCOL);
    return false;
}

/* ---- the opening ---- */

/* A new connection has room for a few bytes, or is of no use. */
static enum framed_status say(struct load_conn *c, struct framed_bytes bytes)
{
    size_t taken = 0;
    enum framed_status st = bytes.len > 0 ? framed_os_offer(&c->sock, &bytes, 1, &taken) : FRAMED_OK;
    return st == FRAMED_OK && taken < bytes.len ? FRAMED_LIMIT : st;
}

/* What the handshake wants to say. */
static enum framed_status say_handshake(struct load_conn *c)
{
    struct tunnel *t = tunnel_of(c);
    if (t == NULL) return FRAMED_OK;
    struct framed_bytes bytes = tunnel_waiting(t);
    enum framed_status st = say(c, bytes);
    if (st == FRAMED_OK && bytes.len > 0) framed_tunnel_left(t, bytes.len);
    return st;
}

enum framed_status load_conn_ask(struct load_conn *c)
{
    uint8_t bytes[FRAMED_OPENING_MOST];
    enum framed_status st = framed_channel_new(&c->channel, &c->thread->plan->terms, c, framed_os_allocator());
    if (st == FRAMED_OK) st = say(c, framed_bytes_of(bytes, framed_channel_opening(c->channel, bytes)));
    if (st == FRAMED_OK) st = say_handshake(c);
    return st == FRAMED_OK ? framed_os_receive(&c->sock, NULL, 0) : st;
}

/* While it opens. */
static void answer_came(struct load_conn *c, enum framed_status st, struct framed_bytes in)
{
    struct load_result *r = &c->thread->result;
    c->turned_away = false;
    if (st == FRAMED_CLOSED) st = framed_channel_end(c->channel);
    if (st == FRAMED_OK) st = framed_channel_next(c->channel, &in, framed_os_allocator());
    if (st != FRAMED_OK && st != FRAMED_MORE) {
        note_why(c, st);
        load_conn_agreed(c, st);
        return;
    }
    bool open = st == FRAMED_OK;
    st = say_handshake(c);
    if (st == FRAMED_OK && !open) {
        st = framed_os_receive(&c->sock, NULL, 0);
        if (st == FRAMED_OK) return;
    }
    if (st == FRAMED_OK && in.len > 0) {
        (void)snprintf(r->opening, sizeof r->opening, "a frame came before anything was asked");
        st = FRAMED_MALFORMED;
    }
    if (st == FRAMED_OK && c->channel->out.most < c->thread->plan->size_most) {
        r->peer_most = c->channel->out.most;
        st = FRAMED_TOO_LARGE;
    }
    load_conn_agreed(c, st);
}

static enum load_failure failure_of(const struct load_conn *c, enum framed_status st)
{
    if (st != FRAMED_CLOSED) return LOAD_RESET;
    if (tunnel_of(c) != NULL && c->in_flight > 0) return LOAD_PROTOCOL; /* its end would have come as a record */
    return framed_scan_end(&c->scan) == FRAMED_CLOSED ? LOAD_CLOSED : LOAD_PROTOCOL;
}

static void conn_received(struct os_socket *s, enum framed_status st, uint8_t *at, size_t n)
{
    struct load_conn *c = (struct load_conn *)(void *)s;
    struct load_thread *t = c->thread;
    uint64_t now = load_now(t);
    if (c->state == CONN_CONNECTING) {
        answer_came(c, st, framed_bytes_of(at, n));
        return;
    }
    if (st != FRAMED_OK) {
        load_conn_end(c, failure_of(c, st));
        return;
    }
    const struct framed_bytes in = framed_bytes_of(at, n);
    if (tunnel_of(c) != NULL ? !take_records(c, in, now) : !take(c, in, now)) return;
    if (now >= t->stop_ns && t->plan->rate == 0) t->stopping = true;
    freed(c, now);
    load_conn_send(c, now);
    st = framed_os_receive(s, NULL, 0);
    if (st != FRAMED_OK) load_trouble(t, st);
}

/* ---- its life ---- */

void load_conn_opened(struct load_conn *c, uint64_t now)
{
    uint32_t trailer = trailer_of(c->thread->plan), most = c->thread->plan->max_frame;
    framed_scan_init(&c->scan, most < FRAMED_FRAME_MOST - trailer ? most + trailer : FRAMED_FRAME_MOST);
    drop_held(c); /* of the last one */
    c->mute = c->sending = false;
    c->number_before = c->number;
    c->free_since_ns = c->thread->running ? now : 0;
    enum framed_status st = framed_os_receive(&c->sock, NULL, 0);
    if (st != FRAMED_OK) load_trouble(c->thread, st);
    if (c->thread->running) load_conn_send(c, now);
}

void load_conn_expire(struct load_conn *c, uint64_t now)
{
    struct load_thread *t = c->thread;
    uint64_t timeout = t->plan->timeout_ns;
    if (c->state == CONN_OPEN && c->mute && now >= c->since_ns + (uint64_t)MUTE_MS * NS_A_MS) load_conn_end(c, LOAD_RESET);
    if (timeout == OS_FOREVER) return;
    while (c->expired < c->in_flight) {
        if (now < flight_at(c, c->expired)->sent_ns + timeout) break; /* they were sent in this order */
        expire_first(c);
    }
    while (c->released > c->taken && now >= load_conn_due(c) + timeout) {
        c->taken++;
        t->waiting--;
        load_fail(t, LOAD_NOT_SENT, 1);
    }
    if (c->state == CONN_OPEN && c->expired > 0 && c->expired == c->in_flight) load_conn_end(c, LOAD_TIMEOUT);
}

void load_conn_end(struct load_conn *c, enum load_failure kind)
{
    struct load_thread *t = c->thread;
    uint32_t live = c->in_flight - c->expired;
    if (live > 0) load_fail(t, kind, live);
    if (live == 0 && kind == LOAD_PROTOCOL) load_fail(t, LOAD_UNASKED, 1);
    t->live -= live;
    c->first = c->in_flight = c->expired = 0;
    c->free_since_ns = UINT64_MAX;
    t->open--;
    if (t->open == 0) t->down_since_ns = framed_os_clock_ns();
    c->state = CONN_CLOSING;
    framed_os_close(&c->sock);
}

void load_conn_part(struct load_conn *c)
{
    struct tunnel *t = tunnel_of(c);
    if (t == NULL || c->state != CONN_OPEN || c->mute || c->sending) return;
    if (framed_tunnel_close(t, TUNNEL_DONE) == FRAMED_OK) (void)say(c, tunnel_waiting(t));
}

void load_conn_forget(struct load_conn *c)
{
    drop_held(c);
    framed_channel_free(c->channel, framed_os_allocator());
    c->channel = NULL;
}

void load_conn_free(struct load_conn *c)
{
    load_conn_forget(c);
    load_give_memory(c->ring, c->cap * sizeof *c->ring);
}

const struct os_socket_ops load_conn_ops = {
    .connected = load_conn_connected, .received = conn_received, .sent = conn_sent, .closed = load_conn_closed};
