/*
 * conn.c: one connection: socket, reader, writer, deadlines, orderly close.
 * Must not know what frames mean, nor who owns it.
 * Invariants: a receive is asked for only when nothing received is left over and somebody is willing to take more; lent
 * bytes are copied or gone when the callback that lent them returns; after `closing` nothing but `gone` happens.
 */
#include "conn.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include <stdio.h>

enum { VIEWS_AT_ONCE = 64, SEND_UNIT = 64 << 10, HALF_LEAST = 4 << 10 };

static struct conn *conn_of(struct os_socket *s)
{
    return (struct conn *)(void *)((uint8_t *)s - offsetof(struct conn, sock));
}

static uint64_t now_of(const struct conn *c)
{
    return framed_loop_now(c->kind->loop);
}

static const struct framed_allocator *memory_of(const struct conn *c)
{
    return &c->kind->loop->pool.alloc;
}

/* ---- the block that comes and goes ---- */

static void channel_frame(struct conn *c, struct framed_bytes payload);

/* Frames go as the channel has them, which is open. */
static void arm(struct conn *c)
{
    struct conn_io *io = c->io;
    struct channel *ch = c->channel;
    uint32_t trailer = framed_channel_trailer(ch), most = c->kind->max_frame;
    if (trailer > 0) io->frame = channel_frame;
    framed_writer_seal(&io->writer, &ch->out);
    framed_reader_init(&io->reader, most < FRAMED_FRAME_MOST - trailer ? most + trailer : FRAMED_FRAME_MOST, 0,
                       memory_of(c));
}

static struct conn_io *io_of(struct conn *c)
{
    if (c->io != NULL) return c->io;
    struct conn_io *io = mem_new(memory_of(c), sizeof *io);
    if (io == NULL) return NULL;
    framed_reader_init(&io->reader, c->kind->max_frame, 0, memory_of(c));
    framed_writer_init(&io->writer, memory_of(c));
    io->frame = c->kind->ops->frame;
    io->loan = NULL;
    io->frame_since = io->send_since = 0;
    io->send_taken = 0;
    io->claimed = 0;
    io->paused = io->sending = io->spoiled = false;
    c->io = io;
    if (c->channel != NULL && c->channel->is_open) arm(c);
    return io;
}

static void io_free(struct conn *c)
{
    struct conn_io *io = c->io;
    if (io == NULL) return;
    framed_reader_fini(&io->reader);
    framed_writer_fini(&io->writer);
    mem_free(memory_of(c), io, sizeof *io);
    c->io = NULL;
}

/* Of an encrypted connection, from its handshake on. */
static struct tunnel *tunnel_of(const struct conn *c)
{
    return c->channel != NULL ? c->channel->tunnel : NULL;
}

uint64_t framed_conn_passed(const struct conn *c)
{
    const struct tunnel *t = tunnel_of(c);
    return t != NULL ? t->passed : atomic_load_explicit(&c->kind->bytes_out, memory_order_relaxed);
}

uint32_t framed_conn_peer_most(const struct conn *c)
{
    const struct channel *ch = c->channel;
    return ch != NULL && ch->is_open ? ch->out.most : FRAMED_FRAME_MOST;
}

uint32_t framed_conn_trailer(const struct conn *c)
{
    return c->channel != NULL ? framed_channel_trailer(c->channel) : 0;
}

struct framed_writer *framed_conn_writer(struct conn *c)
{
    struct conn_io *io = io_of(c);
    return io != NULL ? &io->writer : NULL;
}

static const char *late_text(uint8_t late)
{
    switch (late) {
    case LATE_OPENING: return "the opening was not finished in time";
    case LATE_FRAME: return "a frame was not finished in time";
    case LATE_SEND: return "the peer does not take what is sent";
    case LATE_IDLE: return "idle for too long";
    case LATE_DRAIN: return "the drain deadline passed";
    case LATE_FREED: return "the server was freed";
    default: return "timed out: the peer's system does not answer any more"; /* TCP itself has given up */
    }
}

bool framed_conn_is_mute(const struct conn *c)
{
    return c->io != NULL && c->io->spoiled && tunnel_of(c) != NULL;
}

void framed_conn_why(const struct conn *c, enum framed_status why, char *text, size_t size)
{
    const struct channel *ch = c->channel;
    bool of_peer = why != FRAMED_TIMEOUT || c->late == LATE_OPENING; /* and not of a deadline of ours, or the caller's */
    if (ch != NULL && of_peer && framed_channel_why(ch, why, text, size)) return;
    bool opening = ch != NULL && !ch->is_open;
    if (why != FRAMED_TOO_LARGE || (c->io == NULL && !opening)) {
        (void)snprintf(text, size, "%s", why == FRAMED_TIMEOUT ? late_text(c->late) : framed_status_text(why));
        return;
    }
    uint32_t trailer = framed_conn_trailer(c);
    uint32_t claimed = opening ? framed_channel_claimed(ch) : c->io->claimed;
    uint32_t most = opening ? c->kind->max_frame : c->io->reader.scan.max_frame - trailer;
    const char *hint = framed_length_hint(claimed);
    if (claimed <= FRAMED_FRAME_MOST) claimed -= trailer; /* it is above a limit that is not below that */
    (void)snprintf(text, size, "a frame of %lu bytes was claimed, at most %lu are allowed%s%s", (unsigned long)claimed,
                   (unsigned long)most, hint != NULL ? "; this looks like " : "", hint != NULL ? hint : "");
}

/* Of records; NULL: there are none, or not yet. */
static struct framed_reader *outer_of(const struct conn *c)
{
    const struct tunnel *t = tunnel_of(c);
    return t != NULL && t->session != NULL ? &t->session->reader : NULL;
}

/* What the bytes from the wire go through first. */
static struct framed_reader *outermost(struct conn *c)
{
    struct framed_reader *outer = outer_of(c);
    return outer != NULL ? outer : &c->io->reader;
}

/* Has been received and not been taken yet. */
static bool waits(const struct conn *c)
{
    const struct conn_io *io = c->io;
    if (io->reader.at != io->reader.end) return true;
    const struct framed_reader *outer = outer_of(c);
    return outer != NULL && outer->at != outer->end;
}

static inline bool reader_is_empty(const struct framed_reader *r)
{
    return r->at == r->end && r->scan.state == 0;
}

/* Nothing is unfinished, and nothing waits. */
static inline bool is_empty(const struct conn *c)
{
    const struct framed_reader *outer = outer_of(c);
    return reader_is_empty(&c->io->reader) && (outer == NULL || reader_is_empty(outer));
}

static void io_free_if_idle(struct conn *c)
{
    const struct conn_io *io = c->io;
    if (io == NULL || c->closing || c->in != IN_OPEN || io->loan != NULL) return;
    if (is_empty(c) && framed_conn_unsent(c) == 0) io_free(c);
}

/* ---- deadlines ---- */

static uint64_t after(uint64_t since, uint64_t ms)
{
    return ms == FRAMED_NEVER ? WHEEL_NEVER : since + ms;
}

/* The time whose low half is kept. Nothing asks 49 days later: by then its deadline, if there is one, has passed. */
static uint64_t quiet_since(const struct conn *c)
{
    uint64_t now = now_of(c);
    return now - (uint32_t)((uint32_t)now - c->quiet_since);
}

static bool lingering(const struct conn *c)
{
    return c->in == IN_OVER && c->out == OUT_FINISHED;
}

/* Is one more frame wanted, while so much waits to be sent? (What is closing is never IN_OPEN: framed_conn_break.) */
static inline bool willing_with(const struct conn *c, size_t unsent)
{
    return c->in == IN_OPEN && !c->held && unsent + c->sock.spare < c->kind->max_unsent;
}

static inline bool willing(const struct conn *c)
{
    return c->in == IN_OPEN && !c->held && willing_with(c, framed_conn_unsent(c));
}

/* Who listens, and takes plain connections too, waits for a first byte as for any. */
static uint64_t opening_due(const struct conn *c)
{
    if (c->channel == NULL && c->kind->terms.accepts.plain) return WHEEL_NEVER;
    return after(quiet_since(c), c->kind->opening_ms);
}

static uint64_t frame_due(const struct conn *c)
{
    const struct conn_kind *k = c->kind;
    const struct conn_io *io = c->io;
    if (c->in == IN_OPENING) return opening_due(c);
    if (io == NULL || c->drained || waits(c) || is_empty(c)) return WHEEL_NEVER; /* none unfinished */
    if (k->frame_ms == FRAMED_NEVER || !willing(c)) return WHEEL_NEVER;
    uint64_t ms = k->frame_ms;
    const struct framed_reader *inner = &io->reader, *outer = outer_of(c);
    if (inner->scan.state == FRAMED_LENGTH_SIZE) ms += (uint64_t)inner->scan.length * 1000 / k->frame_rate;
    if (outer != NULL && outer->scan.state == FRAMED_LENGTH_SIZE) ms += (uint64_t)outer->scan.length * 1000 / k->frame_rate;
    return io->frame_since + ms;
}

static uint64_t send_due(const struct conn *c)
{
    const struct conn_io *io = c->io;
    return io != NULL && framed_conn_unsent(c) > 0 && io->send_since != 0 ? after(io->send_since, c->kind->send_ms)
                                                                          : WHEEL_NEVER;
}

static uint64_t idle_due(const struct conn *c)
{
    if (c->in == IN_OPENING) return c->channel == NULL ? after(quiet_since(c), c->kind->idle_ms) : WHEEL_NEVER;
    if (c->in != IN_OPEN || framed_conn_unsent(c) > 0 || (c->io != NULL && !is_empty(c))) return WHEEL_NEVER;
    return c->kind->ops->busy(c) ? WHEEL_NEVER : after(quiet_since(c), c->kind->idle_ms);
}

static uint64_t linger_due(const struct conn *c)
{
    bool waits_for_end = lingering(c) || (c->out == OUT_BROKEN && c->in == IN_OPEN && willing(c));
    return waits_for_end ? after(quiet_since(c), c->kind->linger_ms) : WHEEL_NEVER;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t earliest_due(struct conn *c)
{
    uint64_t due = least(least(frame_due(c), send_due(c)), least(idle_due(c), linger_due(c)));
    return c->kind->ops->due != NULL ? least(due, c->kind->ops->due(c)) : due;
}

/* Deadlines mostly move away, with every byte. The timer is only ever moved nearer; when it fires, it looks again. */
static void watch(struct conn *c)
{
    if (c->closing) return;
    uint64_t due = earliest_due(c);
    if (due != WHEEL_NEVER && (!timer_is_set(&c->timer) || due < c->timer.due))
        framed_wheel_set(&c->kind->loop->wheel, &c->timer, due);
}

static void timer_fired(struct timer *t)
{
    struct conn *c = (struct conn *)(void *)((uint8_t *)t - offsetof(struct conn, timer));
    uint64_t now = now_of(c);
    if (linger_due(c) <= now) {
        framed_conn_break(c, c->out == OUT_BROKEN ? (enum framed_status)c->broken : FRAMED_CLOSED);
        return;
    }
    c->late = frame_due(c) <= now  ? c->in == IN_OPENING ? LATE_OPENING : LATE_FRAME
              : send_due(c) <= now ? LATE_SEND
              : idle_due(c) <= now ? LATE_IDLE
                                   : LATE_NOT;
    if (c->late != LATE_NOT) count(&c->kind->deadlines, 1);
    if (c->late == LATE_SEND) {
        framed_conn_break(c, FRAMED_TIMEOUT); /* who takes nothing will not read an orderly end either */
        return;
    }
    if (c->late != LATE_NOT) {
        framed_conn_deafen(c, FRAMED_TIMEOUT);
        if (c->closing) return;
    }
    if (c->kind->ops->due != NULL && c->kind->ops->due(c) <= now) c->kind->ops->late(c);
    watch(c);
}

/* ---- closing ---- */

static void linger(struct conn *c);

void framed_conn_deafen(struct conn *c, enum framed_status why)
{
    if (c->in == IN_OVER) return;
    bool never_open = c->in == IN_OPENING && c->kind->terms.connects;
    c->in = IN_OVER;
    framed_os_receive_stop(&c->sock);
    if (never_open)
        c->kind->ops->connected(c, why);
    else
        c->kind->ops->over(c, why);
    if (c->out == OUT_BROKEN || never_open)
        framed_conn_break(c, why);
    else
        linger(c);
}

void framed_conn_break(struct conn *c, enum framed_status why)
{
    if (c->closing) return;
    c->closing = true;
    framed_wheel_clear(&c->kind->loop->wheel, &c->timer);
    framed_os_close(&c->sock);
    framed_conn_deafen(c, why);
}

static void sock_closed(struct os_socket *s)
{
    struct conn *c = conn_of(s);
    io_free(c);
    framed_channel_free(c->channel, memory_of(c));
    c->channel = NULL;
    c->kind->ops->gone(c); /* c is gone now */
}

/* Both halves are at their ends: wait for the peer's, so that it can read what we sent (§2.9). */
static void linger(struct conn *c)
{
    if (c->closing || !lingering(c)) return;
    if (c->peer_ended || framed_os_receive(&c->sock, NULL, 0) != FRAMED_OK) {
        framed_conn_break(c, FRAMED_CLOSED);
        return;
    }
    conn_touch(c);
    watch(c);
}

static void half_close_if_flushed(struct conn *c)
{
    if (c->closing || c->out != OUT_FINISHING || framed_conn_unsent(c) > 0) return;
    c->out = OUT_FINISHED;
    enum framed_status st = framed_os_finish(&c->sock);
    if (st != FRAMED_OK)
        framed_conn_break(c, st);
    else
        linger(c);
}

/* ---- sending ---- */

/* Nothing can be sent any more. An owner that keeps frames is still given those that have come, here or in the system. */
static void sending_failed(struct conn *c, enum framed_status st)
{
    if (c->in != IN_OPEN || c->kind->inbox == NULL) {
        framed_conn_break(c, st);
        return;
    }
    if (c->io != NULL) framed_writer_fini(&c->io->writer);
    struct tunnel *t = tunnel_of(c);
    if (t != NULL) framed_tunnel_left(t, tunnel_waiting(t).len);
    c->out = OUT_BROKEN;
    c->broken = (int8_t)st;
    conn_touch(c);
}

static void left(struct conn *c, size_t n)
{
    struct conn_io *io = c->io;
    struct tunnel *t = tunnel_of(c);
    if (t == NULL)
        framed_writer_sent(&io->writer, n);
    else
        framed_tunnel_left(t, n);
    count(&c->kind->bytes_out, n);
    if (c->in != IN_OPENING) conn_touch(c);
    if (io == NULL) return;
    io->send_taken += n;
    if (io->writer.unsent == 0 && framed_conn_unsent(c) == 0) {
        io->send_since = 0;
        io->send_taken = 0;
    } else if (io->send_taken >= SEND_UNIT) {
        io->send_since = now_of(c);
        io->send_taken = 0;
    }
}

/* What goes onto the wire next, in order; *n of views. */
static enum framed_status wire_views(struct conn *c, struct framed_bytes *views, size_t most, size_t *n)
{
    struct framed_writer *writer = c->io != NULL ? &c->io->writer : NULL; /* that of a stranger is his tunnel */
    struct tunnel *t = tunnel_of(c);
    if (t == NULL) {
        *n = framed_writer_views(writer, views, most);
        return FRAMED_OK;
    }
    enum framed_status st = writer != NULL ? framed_tunnel_seal(t, writer, !c->kind->loop->crowded) : FRAMED_OK;
    if (st == FRAMED_OK && c->out == OUT_FINISHING && (writer == NULL || writer->unsent == 0))
        st = framed_tunnel_close(t, t->refused ? TUNNEL_NOT_ALLOWED : TUNNEL_DONE);
    views[0] = tunnel_waiting(t);
    *n = views[0].len > 0;
    return st;
}

/* Offers what waits. What is not taken is handed over as a send, having been copied if it was lent. */
static enum framed_status send_waiting(struct conn *c)
{
    for (;;) {
        struct framed_bytes views[VIEWS_AT_ONCE];
        size_t n;
        enum framed_status st = wire_views(c, views, VIEWS_AT_ONCE, &n);
        if (st != FRAMED_OK) return st;
        if (n == 0) return FRAMED_OK;
        size_t offered = 0;
        for (size_t i = 0; i < n; i++) offered += views[i].len;
        size_t taken = 0;
        st = framed_os_offer(&c->sock, views, n, &taken);
        if (st != FRAMED_OK) return st;
        if (taken > 0) left(c, taken);
        if (taken < offered) break;
    }
    struct conn_io *io = io_of(c);
    if (io == NULL) return FRAMED_NOMEM;
    if (io->send_since == 0) io->send_since = now_of(c);
    enum framed_status st = framed_writer_keep(&io->writer);
    size_t n;
    if (st == FRAMED_OK) st = wire_views(c, io->views, CONN_VIEWS, &n);
    if (st != FRAMED_OK) return st;
    st = framed_os_send(&c->sock, io->views, n);
    if (st == FRAMED_OK) io->sending = true;
    return st;
}

void framed_conn_flush(struct conn *c)
{
    if (c->closing || c->corked || c->out == OUT_BROKEN || c->in == IN_CONNECTING) return;
    bool last = c->out == OUT_FINISHING && tunnel_of(c) != NULL; /* says CLOSE */
    if ((c->io == NULL || !c->io->sending) && (last || framed_conn_unsent(c) > 0)) {
        enum framed_status st = send_waiting(c);
        if (st != FRAMED_OK) {
            sending_failed(c, st);
            return;
        }
    }
    half_close_if_flushed(c);
}

void framed_conn_uncork(struct conn *c)
{
    c->corked = false;
    framed_conn_flush(c);
    watch(c); /* while it was corked, nothing was late */
}

static void receive_opening(struct conn *c);

static void sock_sent(struct os_socket *s, enum framed_status st, size_t n)
{
    struct conn *c = conn_of(s);
    c->io->sending = false;
    if (st != FRAMED_OK) {
        sending_failed(c, st);
    } else {
        left(c, n);
        framed_conn_flush(c);
    }
    if (c->in != IN_OPENING)
        framed_conn_resume(c);
    else if (!c->closing)
        receive_opening(c);
}

/* ---- receiving ---- */

enum framed_status framed_conn_take(struct conn *c, struct framed_bytes payload, struct framed_buf *buf)
{
    return framed_reader_take(&c->io->reader, payload, buf);
}

/* Half of a long row of answers leaves while the rest is still made, and half of that, down to HALF_LEAST, if nobody else waits for us:
 * checksums take both ends so long that they had better work at once. */
static void flush_half(struct conn *c)
{
    const struct conn_io *io = c->io;
    size_t left = (size_t)(io->reader.end - io->reader.at);
    if (left >= HALF_LEAST && io->writer.unsent >= left && !c->kind->loop->crowded) framed_conn_flush(c);
}

/* Of a connection with checksums. */
static void channel_frame(struct conn *c, struct framed_bytes payload)
{
    if (channel_check(c->channel, &payload)) {
        c->kind->ops->frame(c, payload);
        if (c->io->writer.unsent >= HALF_LEAST) flush_half(c);
        return;
    }
    c->io->spoiled = true;
    framed_conn_deafen(c, FRAMED_MALFORMED);
}

/* The next record's bytes are the reader's. FRAMED_MORE: there is none. */
static enum framed_status open_record(struct conn *c)
{
    struct conn_io *io = c->io;
    struct framed_bytes text;
    enum framed_status st = framed_tunnel_text(tunnel_of(c), &text);
    if (st == FRAMED_CLOSED) return framed_reader_end(&io->reader);
    io->spoiled = st == FRAMED_AUTH || st == FRAMED_MALFORMED;
    if (io->spoiled) framed_writer_fini(&io->writer); /* §9.3: nothing is sent any more */
    if (st != FRAMED_OK) return st;
    uint32_t limit = tunnel_of(c)->limit; /* of this peer's own */
    if (limit > 0 && limit < io->reader.scan.max_frame) io->reader.scan.max_frame = limit;
    return framed_reader_feed(&io->reader, (uint8_t *)(uintptr_t)text.at, text.len);
}

/* Takes frames as long as there are whole ones and they are wanted. */
static inline enum framed_status take_whole(struct conn *c, uint64_t *taken)
{
    struct conn_io *io = c->io;
    enum framed_status st = FRAMED_OK;
    struct framed_bytes payload;
    uint64_t n = 0;
    while (willing_with(c, io->writer.unsent) && (st = framed_reader_next(&io->reader, &payload)) == FRAMED_OK) {
        io->frame(c, payload);
        n++;
    }
    *taken += n;
    return st;
}

/* Likewise out of records. Never inlined: plain frames would pay for it. */
__attribute__((noinline)) static enum framed_status take_out_of_records(struct conn *c, uint64_t *taken)
{
    enum framed_status st;
    do st = take_whole(c, taken);
    while (st == FRAMED_MORE && (st = open_record(c)) == FRAMED_OK);
    return st;
}

static void take_frames(struct conn *c)
{
    struct conn_io *io = c->io;
    uint64_t taken = 0;
    enum framed_status st = tunnel_of(c) == NULL ? take_whole(c, &taken) : take_out_of_records(c, &taken);
    if (taken > 0) {
        count(&c->kind->frames_in, taken - (io->spoiled && tunnel_of(c) == NULL)); /* a trailer is known behind its frame */
        io->frame_since = now_of(c);
    }
    if (st < FRAMED_OK) {
        io->claimed = framed_reader_claimed(&io->reader);
        framed_conn_deafen(c, st);
    } else if (st == FRAMED_CLOSED || (st == FRAMED_MORE && c->drained)) {
        framed_conn_deafen(c, FRAMED_CLOSED);
    }
}

/* Makes sure that nothing lent is needed any more. */
static enum framed_status give_back(struct conn *c)
{
    struct conn_io *io = c->io;
    if (io->loan == NULL) return FRAMED_OK;
    if (c->kind->inbox != NULL && waits(c)) return FRAMED_OK; /* the owner's memory: it stays */
    io->loan = NULL;
    enum framed_status st = c->in == IN_OPEN ? framed_reader_park(&io->reader) : FRAMED_OK;
    if (st == FRAMED_OK && c->in == IN_OPEN && outer_of(c) != NULL) st = framed_reader_park(outer_of(c));
    return st == FRAMED_OK ? framed_writer_keep(&io->writer) : st;
}

static enum framed_status ask_for_more(struct conn *c)
{
    if (c->in != IN_OPEN || c->drained) return FRAMED_OK;
    if (!willing(c)) {
        framed_os_receive_stop(&c->sock);
        if (c->io != NULL) c->io->paused = true;
        return FRAMED_OK;
    }
    uint8_t *at = c->kind->inbox;
    size_t room = at != NULL ? FRAMED_RECEIVE_SIZE : 0;
    if (c->io != NULL) {
        if (waits(c)) return FRAMED_OK;
        c->io->paused = false;
        enum framed_status st = framed_reader_space(outermost(c), &at, &room);
        if (st < FRAMED_OK) return st;
    }
    return framed_os_receive(&c->sock, at, room);
}

/* An owner that keeps frames takes one at a time. Has it been given one of those that wait, and is paused still? Then nothing
 * else has changed, and no deadline has come nearer. */
static bool gave_one_more(const struct conn *c)
{
    const struct conn_io *io = c->io;
    return c->kind->inbox != NULL && io != NULL && io->paused && c->in == IN_OPEN && c->held && waits(c) &&
           (c->corked || io->writer.unsent == 0);
}

/* Takes what is there, answers, and asks for more. */
static void pump(struct conn *c)
{
    c->pumping = true;
    for (;;) {
        if (c->io != NULL) take_frames(c);
        if (gave_one_more(c)) {
            c->pumping = false;
            return;
        }
        framed_conn_flush(c);
        bool again = !c->closing && c->io != NULL && (waits(c) || c->drained) && willing(c);
        if (!again) break;
    }
    c->pumping = false;
    if (c->closing) return;
    if (c->in == IN_OVER && c->io != NULL) { /* nothing of it will be looked at again */
        framed_reader_fini(outermost(c));
        framed_reader_fini(&c->io->reader);
    }
    enum framed_status st = c->io != NULL ? give_back(c) : FRAMED_OK;
    if (st == FRAMED_OK) st = ask_for_more(c);
    if (st != FRAMED_OK) {
        framed_conn_break(c, st);
        return;
    }
    io_free_if_idle(c);
    watch(c);
}

void framed_conn_resume(struct conn *c)
{
    if (c->pumping || c->closing || c->in <= IN_OPENING) return;
    if (c->io != NULL && c->io->paused && willing(c))
        c->io->frame_since = now_of(c); /* the frame's clock stood still meanwhile: it begins anew */
    pump(c);
}

static void discard_rest(struct conn *c)
{
    if (framed_os_receive(&c->sock, NULL, 0) != FRAMED_OK) framed_conn_break(c, FRAMED_CLOSED);
}

/* ---- opening ---- */

/*
 * Who connects takes the opening alone: what follows it is received where the owner wants it. While a part of a handshake is being sent
 * nothing that the peer may honestly say can have come, and what lies in the tunnel must not be added to. (Without keys there is none:
 * the peer may answer early.)
 */
static void receive_opening(struct conn *c)
{
    struct channel *ch = c->channel;
    bool alone = c->kind->terms.connects, sending = tunnel_of(c) != NULL && c->io != NULL && c->io->sending;
    enum framed_status st = FRAMED_OK;
    if (!sending) st = framed_os_receive(&c->sock, alone ? ch->u.opening->room : NULL, alone ? framed_channel_wants(ch) : 0);
    if (st != FRAMED_OK)
        framed_conn_break(c, st);
    else
        watch(c);
}

static enum framed_status channel_of(struct conn *c)
{
    return framed_channel_new(&c->channel, &c->kind->terms, c, memory_of(c));
}

/* Both have agreed: frames follow. */
static enum framed_status opened(struct conn *c)
{
    if (c->io != NULL) arm(c); /* else io_of does */
    struct conn_io *io = io_of(c);
    if (io == NULL) return FRAMED_NOMEM;
    io->frame_since = now_of(c);
    return c->channel->terms->connects ? FRAMED_OK : framed_channel_say(c->channel, &io->writer);
}

/* Takes the opening off what has come; FRAMED_OK: what is left are frames. */
static enum framed_status open_with(struct conn *c, struct framed_bytes *in)
{
    const struct channel_terms *terms = &c->kind->terms;
    if (c->channel == NULL && terms->accepts.plain && in->at[0] < 0x80)
        return FRAMED_OK; /* the shortest way: a length's first byte */
    enum framed_status st = FRAMED_OK;
    if (c->channel == NULL) {
        if (terms->accepts.plain) conn_touch(c); /* it has opened since then, else since it has been here */
        st = channel_of(c);
    }
    if (st == FRAMED_OK) st = framed_channel_next(c->channel, in, memory_of(c));
    return st == FRAMED_OK ? opened(c) : st;
}

/* Not for an open connection. True: now it is one, and *at, *n are frames. */
static bool received_before(struct conn *c, uint8_t **at, size_t *n)
{
    if (c->in == IN_OVER) {
        discard_rest(c);
        return false;
    }
    struct framed_bytes in = {*at, *n};
    enum framed_status st = open_with(c, &in);
    if (st == FRAMED_MORE) {
        framed_conn_flush(c);
        if (!c->closing) receive_opening(c);
        return false;
    }
    if (st != FRAMED_OK) {
        if (st == FRAMED_NOMEM || st == FRAMED_OS || st == FRAMED_LIMIT) {
            framed_conn_break(c, st);
            return false;
        }
        framed_conn_deafen(c, st);
        return false;
    }
    *at += *n - in.len;
    *n = in.len;
    c->in = IN_OPEN;
    if (c->kind->terms.connects) c->kind->ops->connected(c, FRAMED_OK);
    return c->in == IN_OPEN;
}

/* Who connects has a connection: says at once what it wants. */
static void begin_opening(struct conn *c)
{
    c->in = IN_OPENING;
    conn_touch(c);
    enum framed_status st = io_of(c) != NULL ? channel_of(c) : FRAMED_NOMEM;
    if (st == FRAMED_OK) st = framed_channel_say(c->channel, &c->io->writer);
    if (st != FRAMED_OK) {
        framed_conn_break(c, st);
        return;
    }
    framed_conn_flush(c);
    if (!c->closing) receive_opening(c);
}

static void input_ended(struct conn *c, enum framed_status st)
{
    if (c->out == OUT_BROKEN) {
        framed_conn_break(c, (enum framed_status)c->broken);
    } else if (st == FRAMED_CLOSED) {
        c->peer_ended = true;
        if (c->in == IN_OPEN && tunnel_of(c) != NULL)
            st = FRAMED_TRUNCATED; /* its end would have come as a record */
        else if (c->in == IN_OPEN && c->io != NULL)
            st = framed_reader_end(&c->io->reader);
        else if (c->in == IN_OPENING && c->channel != NULL)
            st = framed_channel_end(c->channel);
        framed_conn_deafen(c, st);
        framed_conn_flush(c);
        linger(c);
        watch(c);
    } else {
        framed_conn_break(c, st);
    }
}

static void sock_received(struct os_socket *s, enum framed_status st, uint8_t *at, size_t n)
{
    struct conn *c = conn_of(s);
    if (st != FRAMED_OK) {
        input_ended(c, st);
        return;
    }
    count(&c->kind->bytes_in, n);
    if (c->in != IN_OPEN && !received_before(c, &at, &n)) return;
    struct conn_io *io = io_of(c);
    if (io == NULL) {
        framed_conn_break(c, FRAMED_NOMEM);
        return;
    }
    conn_touch(c);
    struct framed_reader *reader = outermost(c);
    if (is_empty(c)) io->frame_since = now_of(c);
    bool direct = n > 0 && reader->own != NULL && at >= reader->own && at < reader->own + reader->own_cap;
    io->loan = direct ? NULL : at;
    io->loan_len = n;
    if (n > 0) /* else all is lent already, to whom the first record proved somebody */
        st = direct ? framed_reader_filled(reader, n) : framed_reader_feed(reader, at, n);
    check(st == FRAMED_OK);
    pump(c);
}

/* ---- beginning ---- */

static void sock_connected(struct os_socket *s, enum framed_status st)
{
    struct conn *c = conn_of(s);
    if (st == FRAMED_OK && framed_os_connected_to_itself(s))
        st = FRAMED_REFUSED; /* TCP simultaneous open: nobody listens there */
    if (st == FRAMED_OK && !c->kind->terms.plain) {
        begin_opening(c);
        return;
    }
    c->in = st == FRAMED_OK ? IN_OPEN : IN_OVER;
    c->kind->ops->connected(c, st);
    if (st != FRAMED_OK)
        framed_conn_break(c, st);
    else if (!c->closing)
        framed_conn_resume(c);
}

static const struct os_socket_ops sock_ops = {
    .connected = sock_connected,
    .received = sock_received,
    .sent = sock_sent,
    .closed = sock_closed,
};

static void begin(struct conn *c, struct conn_kind *kind, enum conn_in in)
{
    c->sock = (struct os_socket){.ops = &sock_ops};
    c->timer = (struct timer){.fired = timer_fired};
    c->kind = kind;
    c->io = NULL;
    c->channel = NULL;
    conn_touch(c);
    c->in = (uint8_t)in;
    c->out = OUT_OPEN;
    c->late = LATE_NOT;
    c->broken = FRAMED_OK;
    c->peer_ended = c->drained = c->closing = c->corked = c->pumping = false;
}

enum framed_status framed_conn_accept(struct conn *c, struct conn_kind *kind, intptr_t handle)
{
    begin(c, kind, kind->terms.plain ? IN_OPEN : IN_OPENING);
    enum framed_status st = framed_os_attach(kind->loop->poller, &c->sock, handle);
    if (st != FRAMED_OK) return st;
    if (kind->terms.plain) /* a failure closes it, and `gone` will tell */
        framed_conn_resume(c);
    else
        receive_opening(c);
    return FRAMED_OK;
}

enum framed_status framed_conn_connect(struct conn *c, struct conn_kind *kind, const struct os_address *to)
{
    begin(c, kind, IN_CONNECTING);
    return framed_os_connect(kind->loop->poller, &c->sock, to);
}

enum framed_status framed_conn_adopt(struct conn *c, struct conn_kind *kind, intptr_t handle)
{
    struct os_address peer;
    begin(c, kind, kind->terms.plain ? IN_OPEN : IN_CONNECTING);
    enum framed_status st = framed_os_adopt(kind->loop->poller, &c->sock, handle, false, &peer);
    if (st != FRAMED_OK) return st;
    if (kind->terms.plain)
        framed_conn_resume(c);
    else
        begin_opening(c);
    return FRAMED_OK;
}

void framed_conn_finish(struct conn *c)
{
    if (c->closing || c->out != OUT_OPEN) return;
    c->out = OUT_FINISHING;
    if (!c->pumping) framed_conn_flush(c);
}

void framed_conn_drain(struct conn *c)
{
    if (c->closing || c->in < IN_OPENING || c->in == IN_OVER || c->drained) return;
    c->drained = true;
    if (c->in == IN_OPENING) { /* nothing has been asked yet */
        framed_conn_deafen(c, FRAMED_CLOSED);
        return;
    }
    framed_os_receive_stop(&c->sock);
    if (c->io == NULL || !waits(c)) framed_conn_deafen(c, FRAMED_CLOSED);
    framed_conn_resume(c);
}
