/*
 * Owns: where the frames of what passes begin and end; what of it is shown, recorded, or only counted.
 * Must not know: sockets; how anything is shown; files.
 * Invariants: nothing here waits or fails; bytes that are not handed on are counted, and the count is handed on before anything
 * that follows them; for each connection that was handed on there is room to say that it was closed, and what is missing of it.
 *
 * Of one way:
 *   between, shown     whole frames are handed on as they came, as long as this second allows it and there is room
 *   in a frame, shown  its bytes are, up to `keep`, then only how many, and their sum; what has a checksum, that too
 *   hidden             bytes and ends of frames are counted, until a frame ends and frames may be shown again
 *   foreign            a length above the limit has come: bytes are counted
 * A preface counts as the beginning of the frame behind it: nothing is between the two.
 */
#include "watch.h"
#include "record.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SAY_MOST = 10, SAY_SIZE = 256, SWEEP_MS = 1000 };

static const uint64_t SECOND_NS = 1000000000;

/* ---- notes ---- */

static bool tell(struct watch *w, const struct note *note, struct framed_bytes bytes)
{
    struct note *to = framed_spool_room(w->show, sizeof *to + bytes.len);
    if (to == NULL) return false;
    *to = *note;
    if (bytes.len > 0) memcpy(to + 1, bytes.at, bytes.len);
    framed_spool_add(w->show);
    return true;
}

void framed_watch_say(struct watch *w, const char *format, ...)
{
    char line[SAY_SIZE];
    va_list args;
    if (w->said >= SAY_MOST) {
        w->unsaid++;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    w->said++;
    if (!tell(w, &(struct note){.type = NOTE_SAY}, framed_bytes_of(line, strlen(line) + 1))) w->unsaid++;
}

/* A new second: frames may be shown and lines said again. */
static void turn_second(struct watch *w, uint64_t now)
{
    uint64_t second = now / SECOND_NS;
    if (second == w->second) return;
    w->second = second;
    w->left = w->most != 0 ? w->most : UINT64_MAX;
    w->said = 0;
    uint64_t unsaid = w->unsaid;
    w->unsaid = 0;
    if (unsaid > 0) framed_watch_say(w, "%" PRIu64 " lines were left out", unsaid);
}

/* ---- what is missing ---- */

static void hide(struct watch *w, struct watched *p, enum inspect_way way, uint64_t n, uint64_t frames)
{
    struct watched_way *d = &p->way[way];
    d->hidden = true;
    d->missing += n;
    d->missing_frames += frames;
    if (p->link != NULL || p->shown == NULL) return;
    p->next = w->missing;
    p->link = &w->missing;
    if (p->next != NULL) p->next->link = &p->next;
    w->missing = p;
}

static void forget_missing(struct watched *p)
{
    if (p->link == NULL) return;
    *p->link = p->next;
    if (p->next != NULL) p->next->link = p->link;
    p->link = NULL;
}

/* Between two frames: says what is missing. False: there is no room for it, or nobody who knows the connection. */
static bool reveal(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now)
{
    struct watched_way *d = &p->way[way];
    if (p->shown == NULL) return false;
    struct note note = {.conn = p->shown,
                        .time_ns = now + w->ahead,
                        .n = d->missing,
                        .frames = d->missing_frames,
                        .preface = d->preface,
                        .type = NOTE_SKIPPED,
                        .way = (uint8_t)way};
    if (d->missing > 0 && !tell(w, &note, framed_bytes_of(NULL, 0))) return false;
    d->missing = d->missing_frames = 0;
    d->hidden = false;
    return true;
}

/* Those that have gone quiet meanwhile would never say what is missing. */
static void sweep(struct watch *w, uint64_t now)
{
    struct watched *next;
    for (struct watched *p = w->missing; p != NULL; p = next) {
        next = p->next;
        bool all = true;
        for (unsigned way = 0; way < 2; way++) {
            struct watched_way *d = &p->way[way];
            if (d->hidden && !d->foreign && !(d->between && reveal(w, p, (enum inspect_way)way, now))) all = false;
        }
        if (all) forget_missing(p);
    }
}

/* ---- showing ---- */

/* A piece of what came that will be handed on as it is, with the ends of frames in it. */
struct run {
    const uint8_t *at;
    size_t n;
    uint64_t ends;
};

struct look {
    struct watch *w;
    struct watched *p;
    enum inspect_way way;
    uint64_t now;
    struct framed_bytes in;
    struct run run;
};

static void tell_bytes(struct look *l, enum note_type type, struct framed_bytes bytes, uint64_t n, uint64_t ends)
{
    struct note note = {.conn = l->p->shown,
                        .time_ns = l->now + l->w->ahead,
                        .n = n,
                        .sum = l->p->way[l->way].sum,
                        .type = (uint8_t)type,
                        .way = (uint8_t)l->way};
    if (!tell(l->w, &note, bytes)) hide(l->w, l->p, l->way, n, ends);
}

static void tell_run(struct look *l)
{
    if (l->run.n > 0) tell_bytes(l, NOTE_BYTES, framed_bytes_of(l->run.at, l->run.n), l->run.n, l->run.ends);
    l->run = (struct run){.at = l->in.at};
}

/* n bytes were taken off the input, with so many ends of frames. */
static void took(struct look *l, size_t n, uint64_t ends)
{
    struct watched_way *d = &l->p->way[l->way];
    d->frames += ends;
    if (d->hidden) {
        d->missing += n;
        d->missing_frames += ends;
    } else {
        l->run.n += n;
        if (l->run.n > 0) l->run.ends += ends; /* else the last bytes before the end have been told */
    }
}

static void took_blank(struct look *l, size_t n)
{
    struct watched_way *d = &l->p->way[l->way];
    if (d->hidden) {
        d->missing += n;
        return;
    }
    tell_run(l);
    if (d->hidden)
        d->missing += n; /* there was no room for the run */
    else
        tell_bytes(l, NOTE_BLANK, framed_bytes_of(NULL, 0), n, 0);
}

/* Between two frames: at most `left` whole ones off the input. */
static uint64_t take_whole(struct look *l, uint64_t left)
{
    const uint8_t *from = l->in.at, *end = from + l->in.len, *at = from;
    uint32_t max_frame = l->p->way[l->way].max_frame;
    uint64_t frames = 0;
    uint32_t len;
    while (frames < left && (size_t)(end - at) >= FRAMED_LENGTH_SIZE &&
           framed_length_decode(at, max_frame, &len) == FRAMED_OK && len <= (size_t)(end - at) - FRAMED_LENGTH_SIZE) {
        at += FRAMED_LENGTH_SIZE + len;
        frames++;
    }
    l->in = framed_bytes_of(at, (size_t)(end - at));
    took(l, (size_t)(at - from), frames);
    return frames;
}

/* Between two frames, with input: takes whole ones. False: what comes next is not whole. */
static bool look_between(struct look *l)
{
    struct watch *w = l->w;
    struct watched_way *d = &l->p->way[l->way];
    if (w->left == 0 && !d->hidden) {
        tell_run(l);
        hide(w, l->p, l->way, 0, 0);
    } else if (w->left > 0 && d->hidden && reveal(w, l->p, l->way, l->now)) {
        l->run = (struct run){.at = l->in.at};
    }
    if (d->hidden) {
        take_whole(l, UINT64_MAX);
    } else {
        w->left -= take_whole(l, w->left);
        if (l->in.len == 0 || w->left == 0) return true;
        w->left--;
    }
    return l->in.len == 0;
}

/* The first word is none of a length: what follows may be frames all the same. */
static bool begin_extended(const struct watch *w, struct watched_way *d)
{
    uint32_t word = d->scan.length;
    if (d->frames > 0 || d->preface != 0 || !framed_inspect_follows(word)) return false;
    d->preface = word;
    d->max_frame = framed_inspect_limit(w->max_frame, word);
    framed_scan_init(&d->scan, d->max_frame);
    return true;
}

/* The HELLO matters whole. */
static uint64_t keep_of(const struct watch *w, const struct watched_way *d)
{
    return d->preface != 0 && d->frames == 0 ? UINT64_MAX : w->keep;
}

/* How much of these next bytes of a frame goes before its checksum; the sum goes on over it. */
static size_t summed(struct watched_way *d, const struct framed_token *token)
{
    if (d->preface == 0 || !framed_inspect_is_checked(d->preface)) return token->data.len;
    uint64_t len = token->length < FRAMED_SUM_SIZE ? 0 : token->length - FRAMED_SUM_SIZE,
             left = d->seen < len ? len - d->seen : 0;
    size_t n = token->data.len < left ? token->data.len : (size_t)left;
    if (d->seen == 0) d->sum = framed_inspect_sum(d->preface, d->frames, token->length);
    d->sum = framed_crc32c(d->sum, token->data.at, n);
    return n;
}

/* In a frame: takes a token. False: the input is used up. */
static bool look_inside(struct look *l)
{
    struct watched_way *d = &l->p->way[l->way];
    struct framed_token token;
    size_t before = l->in.len;
    enum framed_status st = framed_scan_next(&d->scan, &l->in, &token);
    size_t n = before - l->in.len;
    if (st != FRAMED_OK) {
        took(l, n, 0);
        d->foreign = st != FRAMED_MORE && !begin_extended(l->w, d);
        return st != FRAMED_MORE;
    }
    size_t before_sum = token.kind == FRAMED_DATA ? summed(d, &token) : 0;
    if (token.kind == FRAMED_DATA && d->seen >= keep_of(l->w, d)) {
        if (before_sum > 0) {
            took_blank(l, before_sum);
            l->run.at = l->in.at - (n - before_sum);
        }
        took(l, n - before_sum, 0);
    } else {
        took(l, n, token.kind == FRAMED_END);
    }
    d->seen = token.kind == FRAMED_DATA ? d->seen + n : 0;
    d->between = token.kind == FRAMED_END;
    return true;
}

static void look(struct look *l)
{
    struct watched_way *d = &l->p->way[l->way];
    for (;;) {
        if (d->foreign) {
            if (l->in.len > 0) took_blank(l, l->in.len);
            l->in.len = 0;
            break;
        }
        if (d->between) {
            if (l->in.len == 0) break;
            d->between = look_between(l);
        } else if (!look_inside(l)) {
            break;
        }
    }
    tell_run(l);
}

/* ---- recording ---- */

static bool record(struct watch *w, const struct record_entry *entry)
{
    uint8_t *to = framed_spool_room(w->record, framed_record_size(entry));
    if (to == NULL) return false;
    framed_record_write(to, entry);
    framed_spool_add(w->record);
    return true;
}

static bool is_recorded(const struct watch *w, const struct watched *p)
{
    return p->recorded && !atomic_load_explicit(&w->record_failed, memory_order_relaxed);
}

static struct record_entry entry_of(const struct watch *w, const struct watched *p, enum record_type type, unsigned way,
                                    uint64_t now)
{
    return (struct record_entry){.type = type, .way = way, .connection = p->number, .time_ns = now + w->ahead};
}

/* What is not in the record is said there first. False: no room even for that. */
static bool record_lost(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now)
{
    struct watched_way *d = &p->way[way];
    if (d->unrecorded == 0) return true;
    struct record_entry lost = entry_of(w, p, RECORD_LOST, way, now);
    lost.lost = d->unrecorded;
    if (!record(w, &lost)) return false;
    d->unrecorded = 0;
    return true;
}

static void record_bytes(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now, struct framed_bytes bytes)
{
    struct record_entry entry = entry_of(w, p, RECORD_DATA, way, now);
    while (bytes.len > 0) { /* a crossing may make none of what came, or more than an entry has */
        entry.bytes = framed_bytes_of(bytes.at, bytes.len < RECORD_MOST ? bytes.len : RECORD_MOST);
        if (!record_lost(w, p, way, now) || !record(w, &entry)) break;
        bytes = framed_bytes_of(bytes.at + entry.bytes.len, bytes.len - entry.bytes.len);
    }
    p->way[way].unrecorded += bytes.len;
    w->unrecorded_bytes += bytes.len;
}

/* The last of a connection, in one piece: what is missing of either way, then that it is gone. */
static size_t last_entries(struct watch *w, struct watched *p, uint64_t now, struct record_entry entries[5])
{
    size_t n = 0;
    for (unsigned way = 0; way < 2; way++) {
        if (p->way[way].unrecorded > 0) {
            entries[n] = entry_of(w, p, RECORD_LOST, way, now);
            entries[n++].lost = p->way[way].unrecorded;
        }
        if (p->way[way].end_unrecorded) entries[n++] = entry_of(w, p, RECORD_END, way, now);
    }
    entries[n++] = entry_of(w, p, RECORD_CLOSED, 0, now);
    return n;
}

enum { LAST_SIZE = 5 * RECORD_HEAD + 2 * 8 };

static void record_closed(struct watch *w, struct watched *p, uint64_t now)
{
    struct record_entry entries[5];
    size_t size = 0, n = last_entries(w, p, now, entries);
    uint8_t last[LAST_SIZE] = {0};
    for (size_t i = 0; i < n; i++) size += framed_record_write(last + size, &entries[i]);
    memcpy(framed_spool_reserved(w->record, LAST_SIZE, size), last, size);
    framed_spool_add(w->record);
}

/* ---- what happens ---- */

#define LAST_NOTE (sizeof(struct note) + 2 * sizeof(struct note_missing))

static void open_shown(struct watch *w, struct watched *p, uint64_t now, struct framed_bytes client)
{
    const struct framed_allocator *alloc = framed_os_allocator();
    struct note note = {.time_ns = now + w->ahead, .number = p->number, .type = NOTE_OPENED};
    note.conn = alloc->resize(alloc->ctx, NULL, 0, sizeof *note.conn);
    if (note.conn == NULL || !framed_spool_reserve(w->show, LAST_NOTE)) goto fail;
    if (!tell(w, &note, client)) {
        framed_spool_unreserve(w->show, LAST_NOTE);
        goto fail;
    }
    p->shown = note.conn;
    return;

fail:
    if (note.conn != NULL) alloc->resize(alloc->ctx, note.conn, sizeof *note.conn, 0);
    w->unshown_conns++;
}

static void open_recorded(struct watch *w, struct watched *p, uint64_t now, struct framed_bytes client)
{
    struct record_entry opened = entry_of(w, p, RECORD_OPENED, 0, now);
    opened.bytes = client;
    p->recorded = framed_spool_reserve(w->record, LAST_SIZE);
    if (p->recorded && !record(w, &opened)) {
        framed_spool_unreserve(w->record, LAST_SIZE);
        p->recorded = false;
    }
    if (!p->recorded) w->unrecorded_conns++;
}

void framed_watch_opened(struct watch *w, struct watched *p, uint32_t number, uint64_t now, const struct os_address *client)
{
    char text[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(client, text, sizeof text);
    *p = (struct watched){.number = number};
    for (unsigned way = 0; way < 2; way++) {
        framed_scan_init(&p->way[way].scan, w->max_frame);
        p->way[way].max_frame = w->max_frame;
        p->way[way].between = true;
    }
    turn_second(w, now);
    open_shown(w, p, now, framed_bytes_str(text));
    if (p->shown == NULL) p->way[0].hidden = p->way[1].hidden = true;
    if (w->record != NULL) open_recorded(w, p, now, framed_bytes_str(text));
}

void framed_watch_passed(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now, struct framed_bytes bytes)
{
    struct look l = {.w = w, .p = p, .way = way, .now = now, .in = bytes, .run = {.at = bytes.at}};
    turn_second(w, now);
    look(&l);
    if (is_recorded(w, p)) record_bytes(w, p, way, now, bytes);
}

void framed_watch_ended(struct watch *w, struct watched *p, enum inspect_way way, uint64_t now)
{
    struct watched_way *d = &p->way[way];
    struct note note = {.conn = p->shown, .time_ns = now + w->ahead, .type = NOTE_END, .way = (uint8_t)way};
    if (d->hidden && d->between) (void)reveal(w, p, way, now);
    d->end_untold = d->hidden || !tell(w, &note, framed_bytes_of(NULL, 0));
    if (!is_recorded(w, p)) return;
    struct record_entry end = entry_of(w, p, RECORD_END, way, now);
    d->end_unrecorded = !record_lost(w, p, way, now) || !record(w, &end);
}

static void close_shown(struct watch *w, struct watched *p, uint64_t now)
{
    struct note *note = framed_spool_reserved(w->show, LAST_NOTE, LAST_NOTE);
    struct note_missing *missing = (struct note_missing *)(void *)(note + 1);
    *note = (struct note){.conn = p->shown, .time_ns = now + w->ahead, .type = NOTE_CLOSED};
    for (unsigned way = 0; way < 2; way++) {
        const struct watched_way *d = &p->way[way];
        missing[way] = (struct note_missing){.n = d->missing,
                                             .frames = d->missing_frames,
                                             .preface = d->preface,
                                             .between = d->between,
                                             .ended = d->end_untold};
    }
    framed_spool_add(w->show);
    forget_missing(p);
}

void framed_watch_closed(struct watch *w, struct watched *p, uint64_t now, const char *why)
{
    turn_second(w, now);
    if (why != NULL) framed_watch_say(w, "#%" PRIu32 ": %s", p->number, why);
    if (p->shown != NULL) close_shown(w, p, now);
    if (p->recorded) record_closed(w, p, now);
}

void framed_watch_refused(struct watch *w, struct watched *p, uint64_t now, const char *why)
{
    char line[SAY_SIZE];
    (void)snprintf(line, sizeof line, "cannot connect to %.120s: %s", w->target, why);
    framed_watch_closed(w, p, now, line);
}

bool framed_watch_at_rest(const struct watched *p)
{
    const struct watched_way *requests = &p->way[INSPECT_REQUESTS], *replies = &p->way[INSPECT_REPLIES];
    if (requests->foreign || replies->foreign) return true;
    if (requests->preface != 0 && framed_inspect_is_encrypted(requests->preface)) return true; /* nobody can tell */
    return requests->between && replies->between && replies->frames >= requests->frames;
}

uint64_t framed_watch_turn(struct watch *w)
{
    if (w->missing != NULL) {
        uint64_t now = framed_os_clock_ns();
        turn_second(w, now);
        if (now - w->swept >= SWEEP_MS * UINT64_C(1000000)) {
            w->swept = now;
            sweep(w, now);
        }
    }
    framed_spool_publish(w->show);
    if (w->record != NULL) framed_spool_publish(w->record);
    return w->missing != NULL ? SWEEP_MS : OS_FOREVER;
}
