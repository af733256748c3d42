/*
 * Owns: an inspection: its streams, which reply answers which request, what is kept of a frame until it is whole.
 * Must not know: how it looks (inspect_show.c); where bytes and times come from; keys.
 * Invariants: held <= INSPECT_MEMORY; `kept` holds the first bytes of the frame that is being read, at most `keep`; the ring of
 * times holds requests first_number to first_number + outstanding - 1, of which none is answered; nothing encrypted is kept but
 * for a dump.
 *
 *   a stream      input                    next state
 *   BETWEEN       its first byte is F7     OPENING
 *                 a length word            IN_FRAME; a longer one than allowed, or too short for its checksum: STOPPED
 *   OPENING       its last byte            BETWEEN; one that is wrong, or no opening: STOPPED
 *   IN_FRAME      its last byte            BETWEEN; a wrong checksum: STOPPED
 *   all three     lost bytes               STOPPED
 *   STOPPED       anything                 counted
 *   all           the end                  ENDED
 */
#include "inspect_show.h"
#include <string.h>

enum { BETWEEN, OPENING, IN_FRAME, STOPPED, ENDED };
enum { TIMES_FIRST = 16 };
enum { MAGIC = 0xf7, OF_CONNECTOR = 0x46, OF_ACCEPTOR = 0x66, VERSION = 1 }; /* PROTOCOL.md §7.2 */
enum { SEALED_MOST = 65535 };                                                /* §9.3 */

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

/* ---- what a preface says ---- */

static bool is_encrypted(const struct inspect_stream *s)
{
    return s->extended && framed_encrypts(framed_mode_protection(s->mode));
}

static uint32_t trailer_of(const struct inspect_stream *s)
{
    return s->extended && framed_mode_protection(s->mode) == FRAMED_CRC32C ? FRAMED_SUM_SIZE : 0;
}

/* With encryption the acceptor's HELLO is inside the second message (§7.5). */
static bool has_hello(const struct inspect_stream *s)
{
    return s->side == FRAMED_CONNECTOR || !is_encrypted(s);
}

/* Whether its n-th frame one way answers the n-th the other way, as far as anybody can see. */
static bool is_ordered(const struct inspect_stream *s)
{
    return !s->extended || (!is_encrypted(s) && (s->mode & 15) == FRAMED_ORDERED);
}

/* Whether frames of such a mode can be told apart. */
static bool is_known(uint8_t mode)
{
    return framed_mode_exists(mode) && framed_mode_protection(mode) != FRAMED_BLAKE2B;
}

static bool is_preface(uint32_t word)
{
    return word >> 24 == MAGIC && ((word >> 16 & 0xff) == OF_CONNECTOR || (word >> 16 & 0xff) == OF_ACCEPTOR);
}

bool framed_inspect_follows(uint32_t preface)
{
    return is_preface(preface) && (preface >> 8 & 0xff) == VERSION && is_known((uint8_t)preface);
}

bool framed_inspect_is_checked(uint32_t preface)
{
    return framed_mode_protection((uint8_t)preface) == FRAMED_CRC32C;
}

bool framed_inspect_is_encrypted(uint32_t preface)
{
    return framed_encrypts(framed_mode_protection((uint8_t)preface));
}

uint32_t framed_inspect_sum(uint32_t preface, uint64_t counter, uint32_t len)
{
    bool of_connector = (preface >> 16 & 0xff) == OF_CONNECTOR;
    struct framed_sum_place place = {.from = of_connector ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR, .counter = counter};
    return framed_sum_start(len - FRAMED_SUM_SIZE, &place);
}

static uint32_t payload_limit(uint32_t max_frame)
{
    return max_frame == 0 ? FRAMED_FRAME_DEFAULT : max_frame < FRAMED_FRAME_MOST ? max_frame : FRAMED_FRAME_MOST;
}

uint32_t framed_inspect_limit(uint32_t max_frame, uint32_t preface)
{
    uint32_t most = payload_limit(max_frame);
    if (framed_inspect_is_encrypted(preface)) return SEALED_MOST; /* the frames inside have limits of their own */
    if (!framed_inspect_is_checked(preface)) return most;
    return most < FRAMED_FRAME_MOST - FRAMED_SUM_SIZE ? most + FRAMED_SUM_SIZE : FRAMED_FRAME_MOST;
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

/* How much of a frame will be shown. */
static uint32_t keep_of(const struct inspect_stream *s)
{
    return is_encrypted(s) && !s->inspect->config.hex ? 0 : s->inspect->keep;
}

/* Keeps what will be shown. Without memory that is less, but never with a hole in it. */
static void keep(struct inspect_stream *s, struct framed_bytes data)
{
    if (s->short_of_memory) return;
    size_t room = keep_of(s) - s->kept.len;
    if (data.len > room) data.len = room;
    s->short_of_memory = framed_buf_append(&s->kept, data, keep_of(s), &s->inspect->alloc) != FRAMED_OK;
}

/* The next frame is a message of the handshake: which, from 1 (§9.1). 0: it is a record. */
static uint8_t message_of(const struct inspect_stream *s)
{
    if (s->side == FRAMED_ACCEPTOR) return s->counter == 0 ? 2 : 0;
    if (s->counter == 1) return 1;
    return s->counter == 2 && framed_mode_protection(s->mode) != FRAMED_SHARED_KEY ? 3 : 0;
}

static void sealed_came(struct inspect_stream *s, uint64_t time_ns, uint32_t len, struct framed_bytes payload)
{
    struct inspect_note note = note_of(s, SHOW_ENCRYPTED, time_ns);
    struct inspect_counts *counts = counts_of(s);
    note.message = message_of(s);
    if (note.message > 0) note.kind = SHOW_HANDSHAKE;
    note.len = len;
    note.payload = payload;
    note.sealed = true;
    if (counts != NULL && note.message == 0) {
        counts->records++;
        counts->sealed += len;
    }
    framed_inspect_show(s->inspect, &note);
}

/* A frame is whole; `payload` is its beginning, at least what will be shown. */
static void frame_came(struct inspect_stream *s, uint64_t time_ns, uint32_t len, struct framed_bytes payload)
{
    struct inspect_note note = note_of(s, SHOW_FRAME, time_ns);
    struct inspect_counts *counts = counts_of(s);
    if (payload.len > keep_of(s)) payload.len = keep_of(s);
    if (is_encrypted(s)) {
        sealed_came(s, time_ns, len, payload);
        return;
    }
    note.len = len;
    note.payload = payload;
    if (counts != NULL) framed_stats_frame(counts, len);
    if (s->conn != NULL && note.way == INSPECT_REQUESTS && is_ordered(s)) request_came(s->conn, time_ns);
    if (s->conn != NULL && note.way == INSPECT_REPLIES && is_ordered(s)) {
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
    note.len = s->scan.length - trailer_of(s);
    note.extended = s->extended;
    note.most = is_encrypted(s) ? SEALED_MOST : payload_limit(s->inspect->config.max_frame);
    stop(s);
    found(s->inspect, FRAMED_TOO_LARGE);
    if (counts_of(s) != NULL) counts_of(s)->too_large++;
    framed_inspect_show(s->inspect, &note);
}

/* ---- checksums ---- */

static bool is_too_short(const struct inspect_stream *s)
{
    return s->state == IN_FRAME && s->scan.length < trailer_of(s);
}

static void wrong_sum(struct inspect_stream *s, uint64_t time_ns)
{
    struct inspect_note note = note_of(s, SHOW_WRONG_SUM, time_ns);
    note.too_short = is_too_short(s);
    note.len = s->scan.length - (note.too_short ? 0 : FRAMED_SUM_SIZE);
    note.sum_found = s->trailer;
    note.sum = s->sum;
    stop(s);
    found(s->inspect, FRAMED_MALFORMED);
    if (counts_of(s) != NULL) counts_of(s)->wrong_sum++;
    framed_inspect_show(s->inspect, &note);
}

static void frame_begins(struct inspect_stream *s)
{
    uint32_t preface = (uint32_t)s->word[0] << 24 | (uint32_t)s->word[1] << 16 | (uint32_t)s->word[2] << 8 | s->word[3];
    s->state = IN_FRAME;
    s->seen = s->trailer = 0;
    if (trailer_of(s) > 0 && !is_too_short(s)) s->sum = framed_inspect_sum(preface, s->counter, s->scan.length);
}

/* Takes note of bytes of a frame; returns those that are not its trailer. */
static struct framed_bytes payload_in(struct inspect_stream *s, struct framed_bytes data)
{
    if (trailer_of(s) == 0) return data;
    uint32_t len = s->scan.length - FRAMED_SUM_SIZE, left = s->seen < len ? len - s->seen : 0;
    size_t n = data.len < left ? data.len : left;
    s->sum = framed_crc32c(s->sum, data.at, n);
    for (size_t i = n; i < data.len; i++) s->trailer = s->trailer << 8 | data.at[i];
    s->seen += (uint32_t)data.len;
    return framed_bytes_of(data.at, n);
}

/* ---- frames ---- */

/* A frame's last byte is here; `whole`: what is not its trailer, or nothing if it came in pieces. */
static void frame_ends(struct inspect_stream *s, uint64_t time_ns, struct framed_bytes whole)
{
    if (trailer_of(s) > 0 && s->sum != s->trailer) {
        wrong_sum(s, time_ns);
    } else {
        if (whole.len == 0) whole = framed_bytes_of(s->kept.at, s->kept.len);
        frame_came(s, time_ns, s->scan.length - trailer_of(s), whole);
        s->counter++;
        s->state = BETWEEN;
    }
    framed_buf_fini(&s->kept, &s->inspect->alloc);
    s->short_of_memory = false;
    s->frame_off = s->off;
}

/* Interprets the front of *in, until a frame is whole, or nothing is left of it. */
static void read_frame(struct inspect_stream *s, uint64_t time_ns, struct framed_bytes *in)
{
    struct framed_token token;
    struct framed_bytes whole = {0};
    size_t before = in->len;
    enum framed_status st;
    while ((st = framed_scan_next(&s->scan, in, &token)) == FRAMED_OK && token.kind != FRAMED_END) {
        if (token.kind == FRAMED_BEGIN) {
            frame_begins(s);
            if (is_too_short(s)) break;
            continue;
        }
        struct framed_bytes payload = payload_in(s, token.data);
        if (token.data.len == token.length)
            whole = payload; /* its END comes next: no need to copy it */
        else
            keep(s, payload);
    }
    s->off += before - in->len;
    if (st == FRAMED_TOO_LARGE) too_large(s, time_ns);
    if (st != FRAMED_OK) return;
    if (is_too_short(s))
        wrong_sum(s, time_ns);
    else
        frame_ends(s, time_ns, whole);
}

/* ---- openings ---- */

/* NULL: there is none whose opening is known. */
static const struct inspect_stream *other_way(const struct inspect_stream *s)
{
    const struct inspect_stream *other = s->conn != NULL ? &s->conn->way[1 - way_of(s)] : NULL;
    return other != NULL && other->extended ? other : NULL;
}

/* Of a connection once, by the opening that comes first. */
static void count_protection(struct inspect_stream *s)
{
    struct inspect_stats *stats = s->inspect->config.stats;
    if (s->conn != NULL) {
        if (s->conn->counted) return;
        s->conn->counted = true;
    }
    if (stats != NULL) stats->protections[framed_mode_protection(s->word[3])]++;
}

/* The preface is there: reads as its receiver does, who knows what he asked for. */
static enum framed_status judge_preface(struct inspect_stream *s)
{
    const struct inspect_stream *other = other_way(s);
    bool of_connector = other != NULL ? other->side == FRAMED_ACCEPTOR : s->word[1] == OF_CONNECTOR;
    struct framed_bytes word = framed_bytes_of(s->word, sizeof s->word);
    enum framed_status st;
    struct framed_accept known = {0};
    for (unsigned mode = 0; mode < 256; mode++)
        if (is_known((uint8_t)mode) && framed_accept_add(&known, (uint8_t)mode) != FRAMED_OK) return FRAMED_USAGE;
    uint8_t asked = other != NULL ? other->mode : is_known(s->word[3]) ? s->word[3] : 0;
    st = of_connector ? framed_opening_accept(&s->opening, &known) : framed_opening_connect(&s->opening, asked);
    if (st == FRAMED_OK) st = framed_opening_next(&s->opening, &word);
    if (st != FRAMED_OK && st != FRAMED_MORE) return st;
    count_protection(s);
    s->extended = true;
    s->side = of_connector ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
    s->mode = s->word[3];
    return st;
}

static void opened(struct inspect_stream *s, uint64_t time_ns)
{
    struct inspect_note note = note_of(s, SHOW_OPENING, time_ns);
    note.side = s->side;
    note.mode = s->mode;
    if (framed_opening_has_hello(&s->opening)) note.hello = framed_opening_hello(&s->opening);
    s->counter = has_hello(s) ? 1 : 0;
    framed_scan_init(&s->scan, framed_inspect_limit(s->inspect->config.max_frame, s->mode));
    s->frame_off = s->off;
    s->state = BETWEEN;
    framed_inspect_show(s->inspect, &note);
}

static void wrong_opening(struct inspect_stream *s, uint64_t time_ns)
{
    struct inspect_note note = note_of(s, SHOW_WRONG_OPENING, time_ns);
    struct framed_fault fault = *framed_opening_fault(&s->opening);
    char why[FRAMED_FAULT_ROOM];
    if (fault.what == FRAMED_FAULT_ANSWER &&
        other_way(s) == NULL) { /* we do not know what was asked for; but this nobody asks */
        fault = (struct framed_fault){.what = FRAMED_FAULT_MODE, .at = fault.at, .found = fault.found};
    }
    framed_fault_say(&fault, why, sizeof why);
    note.why = why;
    stop(s);
    found(s->inspect, FRAMED_MALFORMED);
    if (counts_of(s) != NULL) counts_of(s)->wrong_opening++;
    framed_inspect_show(s->inspect, &note);
}

/* An opening that we do not follow, but know: nothing is wrong with it, and nothing behind it is interpreted. */
static void foreign_opening(struct inspect_stream *s, uint64_t time_ns)
{
    struct inspect_note note = note_of(s, SHOW_OPENING, time_ns);
    note.side = s->word[1] == OF_CONNECTOR ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
    note.mode = s->word[3];
    count_protection(s);
    stop(s);
    framed_inspect_show(s->inspect, &note);
}

static bool is_foreign(const struct inspect_stream *s)
{
    return s->word[2] == VERSION && framed_mode_exists(s->word[3]) && !is_known(s->word[3]);
}

/* True: all four bytes are there, and may be a preface. */
static bool read_preface(struct inspect_stream *s, uint64_t time_ns, struct framed_bytes *in)
{
    struct framed_bytes word = framed_bytes_of(s->word, sizeof s->word);
    while (in->len > 0 && s->off < FRAMED_PREFACE_SIZE) {
        s->word[s->off++] = *in->at;
        *in = framed_bytes_of(in->at + 1, in->len - 1);
    }
    if (s->off < FRAMED_PREFACE_SIZE) return false;
    if (s->word[1] == OF_CONNECTOR || s->word[1] == OF_ACCEPTOR) return true;
    s->off = 0; /* no opening, but then no length either */
    read_frame(s, time_ns, &word);
    return false;
}

/* Interprets the front of *in, until the opening is whole, or nothing is left of it. */
static void read_opening(struct inspect_stream *s, uint64_t time_ns, struct framed_bytes *in)
{
    enum framed_status st = FRAMED_MORE;
    s->state = OPENING;
    if (s->off < FRAMED_PREFACE_SIZE) {
        if (!read_preface(s, time_ns, in)) return;
        st = judge_preface(s);
    }
    size_t before = in->len;
    if (st == FRAMED_MORE) st = framed_opening_next(&s->opening, in);
    s->off += before - in->len;
    if (st == FRAMED_OK)
        opened(s, time_ns);
    else if (st != FRAMED_MORE && is_foreign(s))
        foreign_opening(s, time_ns);
    else if (st != FRAMED_MORE)
        wrong_opening(s, time_ns);
}

static bool is_opening(const struct inspect_stream *s, struct framed_bytes in)
{
    return s->state == OPENING || (s->state == BETWEEN && s->off == 0 && in.at[0] == MAGIC);
}

void framed_inspect_bytes(struct inspect_stream *stream, uint64_t time_ns, const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    if (counts_of(stream) != NULL) counts_of(stream)->bytes += n;
    while (in.len > 0 && stream->state < STOPPED) {
        if (is_opening(stream, in))
            read_opening(stream, time_ns, &in);
        else
            read_frame(stream, time_ns, &in);
    }
    stream->rest += in.len;
    stream->off += in.len;
}

void framed_inspect_blank(struct inspect_stream *stream, uint64_t time_ns, uint64_t n, uint32_t sum)
{
    static const uint8_t nothing[FRAMED_RECEIVE_SIZE]; /* nobody looks at it */
    while (n > 0) {
        size_t now = n < sizeof nothing ? (size_t)n : sizeof nothing;
        framed_inspect_bytes(stream, time_ns, nothing, now);
        n -= now;
    }
    stream->sum = sum;
}

/* Says how far a frame came that is not whole. */
static void cut_frame(struct inspect_stream *s, enum inspect_show_kind kind, uint64_t time_ns)
{
    uint32_t have = (uint32_t)(s->off - s->frame_off);
    struct inspect_note note = note_of(s, kind, time_ns);
    note.in = s->state == OPENING ? IN_OPENING : s->state == BETWEEN ? IN_WORD : IN_PAYLOAD;
    note.have = have;
    note.sealed = is_encrypted(s);
    note.payload = framed_bytes_of(s->kept.at, s->kept.len);
    if (note.in == IN_PAYLOAD) {
        note.len = s->scan.length - trailer_of(s);
        note.have = have - FRAMED_LENGTH_SIZE;
    }
    if (note.in == IN_PAYLOAD && trailer_of(s) > 0 && note.have >= note.len) {
        note.in = IN_SUM;
        note.have -= note.len;
    }
    framed_inspect_show(s->inspect, &note);
}

static bool is_cut(const struct inspect_stream *s)
{
    return s->state == IN_FRAME || s->state == OPENING || (s->state == BETWEEN && s->off != s->frame_off);
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

/* Begins anew behind n bytes, at a frame, knowing what was known. */
static void go_on_behind(struct inspect_stream *s, uint64_t n, uint64_t frames, uint32_t preface)
{
    struct inspect_stream was = *s;
    framed_inspect_stream_fini(s);
    stream_begin(s, was.inspect, was.conn);
    s->off = s->frame_off = was.off + n;
    if (!was.extended && preface == 0) {
        s->counter = was.counter + frames;
        return;
    }
    if (was.extended) {
        memcpy(s->word, was.word, sizeof s->word);
    } else {
        const uint8_t word[] = {(uint8_t)(preface >> 24), (uint8_t)(preface >> 16), (uint8_t)(preface >> 8),
                                (uint8_t)preface};
        memcpy(s->word, word, sizeof s->word);
        count_protection(s);
    }
    s->extended = true;
    s->side = s->word[1] == OF_CONNECTOR ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
    s->mode = s->word[3];
    s->counter = was.counter + frames;
    framed_scan_init(&s->scan, framed_inspect_limit(s->inspect->config.max_frame, s->mode));
}

void framed_inspect_skipped(struct inspect_stream *stream, uint64_t time_ns, uint64_t n, uint64_t frames, uint32_t preface)
{
    if (stream->state >= STOPPED) {
        stream->rest += n;
        return;
    }
    uint64_t before = stream->counter;
    struct inspect_note note = note_of(stream, SHOW_SKIPPED, time_ns);
    note.n = n;
    note.frames = frames;
    note.off = stream->off;
    if (is_cut(stream)) cut_frame(stream, SHOW_UNFINISHED, time_ns);
    go_on_behind(stream, n, frames, preface);
    bool hello = stream->extended && has_hello(stream) && before == 0 && frames > 0; /* is no request, and no reply */
    if (stream->conn != NULL && is_ordered(stream)) frames_skipped(stream->conn, note.way, frames - hello);
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
