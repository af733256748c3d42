/*
 * Owns: an inspection: its streams, which reply answers which request, what is kept of a frame until it is whole.
 * Must not know: how it looks (inspect_show.c); where bytes and times come from.
 * Invariants: held <= INSPECT_MEMORY; `kept` holds the first bytes of the frame that is being read, at most `keep`; the ring of
 * times holds requests first_number to first_number + outstanding - 1, of which none is answered.
 *
 *   a stream      input                    next state
 *   BETWEEN       a length word            IN_FRAME; a longer one than allowed: STOPPED
 *   IN_FRAME      its last byte            BETWEEN
 *   both          lost bytes               STOPPED
 *   STOPPED       anything                 counted
 *   all           the end                  ENDED
 */
#include "inspect_show.h"
#include <string.h>

enum { BETWEEN, IN_FRAME, STOPPED, ENDED };
enum { TIMES_FIRST = 16 };

/* ---- the inspection ---- */

static void *resize_within(void *ctx, void *at, size_t old_size, size_t new_size)
{
    struct inspect *inspect = ctx;
    const struct framed_allocator *alloc = inspect->config.alloc;
    if (new_size > old_size && new_size - old_size > INSPECT_MEMORY - inspect->held) return NULL;
    void *now = alloc->resize(alloc->ctx, at, old_size, new_size);
    if (now != NULL || new_size == 0) inspect->held = inspect->held - old_size + new_size;
    return now;
}

void framed_inspect_init(struct inspect *inspect, const struct inspect_config *config, cli_sink_fn *sink, void *ctx)
{
    inspect->config = *config;
    inspect->alloc = (struct framed_allocator){.resize = resize_within, .ctx = inspect};
    inspect->held = 0;
    inspect->found = FRAMED_OK;
    inspect->keep = config->stats != NULL ? 0 : framed_inspect_shown(config);
    framed_output_init(&inspect->out, config->json ? FORMAT_JSON : FORMAT_TEXT, sink, ctx);
}

static void found(struct inspect *inspect, enum framed_status status)
{
    if (inspect->found == FRAMED_OK) inspect->found = status;
}

void framed_inspect_damaged(struct inspect *inspect, uint64_t off, const char *why, uint64_t rest)
{
    found(inspect, FRAMED_MALFORMED);
    if (inspect->config.stats != NULL) {
        inspect->config.stats->record = true;
        inspect->config.stats->damaged++;
    }
    framed_inspect_show(inspect, &(struct inspect_note){.kind = SHOW_DAMAGED, .off = off, .why = why, .n = rest});
}

enum framed_status framed_inspect_flush(struct inspect *inspect)
{
    return framed_output_flush(&inspect->out);
}

enum framed_status framed_inspect_status(const struct inspect *inspect)
{
    return inspect->out.status;
}

enum framed_status framed_inspect_found(const struct inspect *inspect)
{
    return inspect->found;
}

enum framed_status framed_inspect_finish(struct inspect *inspect)
{
    const struct inspect_stats *stats = inspect->config.stats;
    if (stats != NULL && inspect->config.json) framed_stats_json(stats, &inspect->out);
    if (stats != NULL && !inspect->config.json) framed_stats_text(stats, &inspect->out);
    return framed_inspect_flush(inspect);
}

/* Digits of "12:00:01.204" that are where they should be; anything else counts as 0. */
static uint32_t two_digits(const char *at)
{
    return (uint32_t)(at[0] - '0') % 10 * 10 + (uint32_t)(at[1] - '0') % 10;
}

int32_t framed_inspect_utc_offset(const char *time_text, uint64_t time_ns)
{
    enum {
        DAY_MIN = 24 * 60,
        QUARTER = 15
    }; /* zones differ by quarters of an hour; the two were not asked in the same instant */
    if (strlen(time_text) < 5) return 0;
    int32_t here = (int32_t)(two_digits(time_text) * 60 + two_digits(time_text + 3));
    int32_t there = (int32_t)(time_ns / UINT64_C(60000000000) % DAY_MIN);
    int32_t quarters = ((here - there + 2 * DAY_MIN + QUARTER / 2) % DAY_MIN) / QUARTER;
    int32_t minutes = quarters * QUARTER;
    if (minutes > 14 * 60) minutes -= DAY_MIN; /* +14:00 is the most there is */
    return minutes * 60;
}

/* ---- times of requests ---- */

static bool more_room(struct inspect_conn *conn)
{
    uint32_t room = conn->room == 0 ? TIMES_FIRST : conn->room * 2;
    if (room > INSPECT_OUTSTANDING) return false;
    const struct framed_allocator *alloc = &conn->way[0].inspect->alloc;
    uint64_t *times = alloc->resize(alloc->ctx, conn->times, conn->room * sizeof *times, room * sizeof *times);
    if (times == NULL) return false;
    /* The ring was full: what lay before `first` follows the old end now. */
    memcpy(times + conn->room, times, conn->first * sizeof *times);
    conn->times = times;
    conn->room = room;
    return true;
}

static void request_came(struct inspect_conn *conn, uint64_t time_ns)
{
    uint64_t number = conn->frames[INSPECT_REQUESTS]++;
    if (number < conn->frames[INSPECT_REPLIES]) return; /* its reply was here before it: they are not request and reply */
    if (conn->outstanding == 0) conn->first_number = number;
    /* Once a time was left out, the ring must run empty before the numbers fit again. */
    if (conn->first_number + conn->outstanding != number) return;
    if (conn->outstanding == conn->room && !more_room(conn)) return;
    conn->times[(conn->first + conn->outstanding++) % conn->room] = time_ns;
}

static void forget_oldest(struct inspect_conn *conn)
{
    conn->first = (conn->first + 1) % conn->room;
    conn->first_number++;
    conn->outstanding--;
}

/* Frames whose times nobody knows. */
static void frames_skipped(struct inspect_conn *conn, enum inspect_way way, uint64_t frames)
{
    conn->frames[way] += frames;
    while (conn->outstanding > 0 && conn->first_number < conn->frames[INSPECT_REPLIES]) forget_oldest(conn);
}

/* True: *reply_ns is how long after its request. */
static bool reply_came(struct inspect_conn *conn, uint64_t time_ns, uint64_t *reply_ns)
{
    uint64_t number = conn->frames[INSPECT_REPLIES]++;
    if (conn->outstanding == 0 || conn->first_number != number) return false;
    uint64_t begun = conn->times[conn->first];
    forget_oldest(conn);
    if (time_ns < begun) return false;
    *reply_ns = time_ns - begun;
    return true;
}

static uint64_t unanswered(const struct inspect_conn *conn)
{
    const uint64_t *frames = conn->frames;
    return frames[INSPECT_REQUESTS] > frames[INSPECT_REPLIES] ? frames[INSPECT_REQUESTS] - frames[INSPECT_REPLIES] : 0;
}

/* ---- streams ---- */

static void stream_begin(struct inspect_stream *s, struct inspect *inspect, struct inspect_conn *conn)
{
    memset(s, 0, sizeof *s);
    s->inspect = inspect;
    s->conn = conn;
    framed_scan_init(&s->scan, inspect->config.max_frame);
}

void framed_inspect_stream_init(struct inspect_stream *stream, struct inspect *inspect)
{
    stream_begin(stream, inspect, NULL);
}

void framed_inspect_stream_fini(struct inspect_stream *stream)
{
    framed_buf_fini(&stream->kept, &stream->inspect->alloc);
}

static enum inspect_way way_of(const struct inspect_stream *s)
{
    return s->conn != NULL && s == &s->conn->way[INSPECT_REPLIES] ? INSPECT_REPLIES : INSPECT_REQUESTS;
}

/* NULL: nobody counts. */
static struct inspect_counts *counts_of(const struct inspect_stream *s)
{
    struct inspect_stats *stats = s->inspect->config.stats;
    return stats != NULL ? &stats->way[way_of(s)] : NULL;
}

static struct inspect_note note_of(const struct inspect_stream *s, enum inspect_show_kind kind, uint64_t time_ns)
{
    return (struct inspect_note){.kind = kind, .conn = s->conn, .way = way_of(s), .time_ns = time_ns, .off = s->frame_off};
}

/* Keeps what will be shown. Without memory that is less, but never with a hole in it. */
static void keep(struct inspect_stream *s, struct framed_bytes data)
{
    if (s->short_of_memory) return;
    size_t room = s->inspect->keep - s->kept.len;
    if (data.len > room) data.len = room;
    s->short_of_memory = framed_buf_append(&s->kept, data, s->inspect->keep, &s->inspect->alloc) != FRAMED_OK;
}

/* A frame is whole; `payload` is its beginning, at least what will be shown. */
static void frame_came(struct inspect_stream *s, uint64_t time_ns, uint32_t len, struct framed_bytes payload)
{
    struct inspect_note note = note_of(s, SHOW_FRAME, time_ns);
    struct inspect_counts *counts = counts_of(s);
    note.len = len;
    note.payload = framed_bytes_of(payload.at, payload.len < s->inspect->keep ? payload.len : s->inspect->keep);
    if (counts != NULL) framed_stats_frame(counts, len);
    if (s->conn != NULL && note.way == INSPECT_REQUESTS) request_came(s->conn, time_ns);
    if (s->conn != NULL && note.way == INSPECT_REPLIES) {
        bool asked = s->conn->frames[INSPECT_REPLIES] < s->conn->frames[INSPECT_REQUESTS];
        note.timed = reply_came(s->conn, time_ns, &note.reply_ns);
        if (counts != NULL && asked) framed_stats_reply(s->inspect->config.stats, note.timed, note.reply_ns);
    }
    framed_inspect_show(s->inspect, &note);
}

/* Nothing from here on is interpreted. */
static void stop(struct inspect_stream *s)
{
    s->frame_off = s->off;
    s->state = STOPPED;
}

static void too_large(struct inspect_stream *s, uint64_t time_ns)
{
    struct inspect_note note = note_of(s, SHOW_TOO_LARGE, time_ns);
    note.len = s->scan.length;
    stop(s);
    found(s->inspect, FRAMED_TOO_LARGE);
    if (counts_of(s) != NULL) counts_of(s)->too_large++;
    framed_inspect_show(s->inspect, &note);
}

/* Interprets the front of *in, until a frame is whole, or nothing is left of it. */
static void read_frame(struct inspect_stream *s, uint64_t time_ns, struct framed_bytes *in)
{
    struct framed_token token;
    struct framed_bytes whole = {0};
    size_t before = in->len;
    enum framed_status st;
    while ((st = framed_scan_next(&s->scan, in, &token)) == FRAMED_OK && token.kind != FRAMED_END) {
        if (token.kind == FRAMED_BEGIN)
            s->state = IN_FRAME;
        else if (token.data.len == token.length)
            whole = token.data; /* its END comes next: no need to copy it */
        else
            keep(s, token.data);
    }
    s->off += before - in->len;
    if (st == FRAMED_TOO_LARGE) too_large(s, time_ns);
    if (st != FRAMED_OK) return;
    if (whole.len == 0) whole = framed_bytes_of(s->kept.at, s->kept.len);
    frame_came(s, time_ns, token.length, whole);
    framed_buf_fini(&s->kept, &s->inspect->alloc);
    s->short_of_memory = false;
    s->frame_off = s->off;
    s->state = BETWEEN;
}

void framed_inspect_bytes(struct inspect_stream *stream, uint64_t time_ns, const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    if (counts_of(stream) != NULL) counts_of(stream)->bytes += n;
    while (in.len > 0 && (stream->state == BETWEEN || stream->state == IN_FRAME)) read_frame(stream, time_ns, &in);
    stream->rest += in.len;
    stream->off += in.len;
}

/* Says how far a frame came that is not whole. */
static void cut_frame(struct inspect_stream *s, enum inspect_show_kind kind, uint64_t time_ns)
{
    uint64_t have = s->off - s->frame_off;
    struct inspect_note note = note_of(s, kind, time_ns);
    note.in_word = s->state == BETWEEN;
    note.len = note.in_word ? FRAMED_LENGTH_SIZE : s->scan.length;
    note.have = (uint32_t)(note.in_word ? have : have - FRAMED_LENGTH_SIZE);
    note.payload = framed_bytes_of(s->kept.at, s->kept.len);
    framed_inspect_show(s->inspect, &note);
}

static bool is_cut(const struct inspect_stream *s)
{
    return s->state == IN_FRAME || (s->state == BETWEEN && s->off != s->frame_off);
}

/* Whatever ends a stream: says what was not interpreted. */
static void leave(struct inspect_stream *s, uint64_t time_ns)
{
    if (s->rest > 0) {
        struct inspect_note note = note_of(s, SHOW_REST, time_ns);
        note.n = s->rest;
        if (counts_of(s) != NULL) counts_of(s)->rest += s->rest;
        framed_inspect_show(s->inspect, &note);
    }
    framed_inspect_stream_fini(s);
    s->state = ENDED;
}

void framed_inspect_lost(struct inspect_stream *stream, uint64_t time_ns, uint64_t n)
{
    struct inspect_note note = note_of(stream, SHOW_LOST, time_ns);
    note.off = stream->off;
    note.n = n;
    if (is_cut(stream)) cut_frame(stream, SHOW_UNFINISHED, time_ns);
    stream->off += n;
    if (stream->state != STOPPED) stop(stream);
    if (counts_of(stream) != NULL) counts_of(stream)->lost += n;
    framed_inspect_show(stream->inspect, &note);
}

void framed_inspect_skipped(struct inspect_stream *stream, uint64_t time_ns, uint64_t n, uint64_t frames)
{
    if (stream->state != BETWEEN && stream->state != IN_FRAME) {
        stream->rest += n;
        return;
    }
    struct inspect_note note = note_of(stream, SHOW_SKIPPED, time_ns);
    note.n = n;
    note.frames = frames;
    note.off = stream->off;
    if (is_cut(stream)) cut_frame(stream, SHOW_UNFINISHED, time_ns);
    uint64_t off = stream->off + n;
    framed_inspect_stream_fini(stream);
    stream_begin(stream, stream->inspect, stream->conn);
    stream->off = stream->frame_off = off;
    if (stream->conn != NULL) frames_skipped(stream->conn, note.way, frames);
    if (counts_of(stream) != NULL) counts_of(stream)->skipped += frames;
    if (counts_of(stream) != NULL) counts_of(stream)->bytes += n;
    framed_inspect_show(stream->inspect, &note);
}

static void broke_off(struct inspect_stream *s, uint64_t time_ns)
{
    if (is_cut(s)) {
        found(s->inspect, FRAMED_TRUNCATED);
        if (counts_of(s) != NULL) counts_of(s)->truncated++;
        cut_frame(s, SHOW_TRUNCATED, time_ns);
    }
    leave(s, time_ns);
}

void framed_inspect_end(struct inspect_stream *stream, uint64_t time_ns)
{
    if (stream->state == ENDED) return;
    broke_off(stream, time_ns);
    struct inspect_note note = note_of(stream, SHOW_ENDED, time_ns);
    if (stream->conn != NULL) framed_inspect_show(stream->inspect, &note);
}

bool framed_inspect_ended(const struct inspect_stream *stream)
{
    return stream->state == ENDED;
}

/* ---- connections ---- */

void framed_inspect_open(struct inspect_conn *conn, struct inspect *inspect, uint32_t number, uint64_t time_ns,
                         struct framed_bytes peer)
{
    memset(conn, 0, sizeof *conn);
    for (size_t i = 0; i < 2; i++) stream_begin(&conn->way[i], inspect, conn);
    conn->number = number;
    if (inspect->config.stats != NULL) {
        inspect->config.stats->record = true;
        inspect->config.stats->connections++;
    }
    framed_inspect_show(inspect,
                        &(struct inspect_note){.kind = SHOW_OPENED, .conn = conn, .time_ns = time_ns, .payload = peer});
}

void framed_inspect_conn_fini(struct inspect_conn *conn)
{
    const struct framed_allocator *alloc = &conn->way[0].inspect->alloc;
    for (size_t i = 0; i < 2; i++) framed_inspect_stream_fini(&conn->way[i]);
    if (conn->times != NULL) alloc->resize(alloc->ctx, conn->times, conn->room * sizeof *conn->times, 0);
    conn->times = NULL;
    conn->room = conn->outstanding = 0;
}

static void conn_over(struct inspect_conn *conn, enum inspect_show_kind kind, uint64_t time_ns)
{
    framed_inspect_show(conn->way[0].inspect,
                        &(struct inspect_note){.kind = kind, .conn = conn, .time_ns = time_ns, .n = unanswered(conn)});
    framed_inspect_conn_fini(conn);
}

void framed_inspect_close(struct inspect_conn *conn, uint64_t time_ns)
{
    for (size_t i = 0; i < 2; i++)
        if (conn->way[i].state != ENDED) broke_off(&conn->way[i], time_ns);
    conn_over(conn, SHOW_CLOSED, time_ns);
}

void framed_inspect_leave(struct inspect_conn *conn, uint64_t time_ns)
{
    for (size_t i = 0; i < 2; i++) {
        if (is_cut(&conn->way[i])) cut_frame(&conn->way[i], SHOW_UNFINISHED, time_ns);
        if (conn->way[i].state != ENDED) leave(&conn->way[i], time_ns);
    }
    conn_over(conn, SHOW_STILL_OPEN, time_ns);
}
