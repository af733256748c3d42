/*
 * drive.c: one stream, one split, one way of using the reader or the scan, checked at every step.
 * Must not know how either works inside: only the contract of frame.h.
 * Invariant: fed is how many bytes of the input the reader has got, given where the last frame it gave out ends.
 */
#include "drive.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORD = 4, IDLE_ROUNDS = 2, SPARE = 4096, SCRIBBLE = 0x77 };

struct view {
    struct framed_bytes bytes;
    size_t frame; /* which */
    bool changed; /* overwritten with change_of(frame) */
};

struct run {
    const struct drive *d;
    const struct split *split;
    struct framed_reader reader;
    size_t fed;
    size_t frame; /* how many were given */
    size_t given; /* where the last of them ends in the input */
    size_t since; /* where the first frame begins that the reader may still hold or have given out */
    struct view *views;
    size_t view_count;
    struct framed_buf *taken;
    size_t taken_count;
    size_t taken_bytes; /* their capacities: the meter counts them too */
    size_t loan;        /* bytes of the guard lent now */
    bool lent;
};

#define WRONG(run, what, is, want) wrong((run)->d, (run)->split, (run)->fed, what, (long long)(is), (long long)(want))

/* Fails the test, and says where. */
_Noreturn static void wrong(const struct drive *d, const struct split *split, size_t fed, const char *what, long long is,
                            long long want)
{
    fail_msg("%s, %s, ways %u, %zu bytes in: %s: %lld, not %lld", d->name, split->name, d->ways, fed, what, is, want);
    abort();
}

static uint8_t change_of(size_t frame)
{
    return (uint8_t)(frame * 37 + 11);
}

static bool is_all(struct framed_bytes bytes, uint8_t value)
{
    for (size_t i = 0; i < bytes.len; i++)
        if (bytes.at[i] != value) return false;
    return true;
}

static bool is_same(struct framed_bytes a, struct framed_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Where the next expected frame ends in the input; past the input when there is none. */
static size_t next_end(const struct run *r)
{
    return r->frame < r->d->frame_count ? r->given + WORD + r->d->frames[r->frame].len : SIZE_MAX;
}

/* The length word of the running frame, which must have been fed. */
static size_t running_length(const struct run *r)
{
    const uint8_t *word = r->d->input.at + r->given;
    return (size_t)word[0] << 24 | (size_t)word[1] << 16 | (size_t)word[2] << 8 | word[3];
}

static bool at_bad_word(const struct run *r)
{
    return r->frame == r->d->frame_count && r->d->ends == FRAMED_TOO_LARGE && r->fed >= r->given + WORD;
}

static void check_memory(const struct run *r)
{
    if (meter_reached(r->d->meter) > 0) return; /* memory that could not even be shrunk */
    size_t in_use = meter_in_use(r->d->meter) - r->taken_bytes;
    size_t most = SPARE + 2 * (r->fed - r->since);
    if (in_use > most) WRONG(r, "memory", in_use, most);
}

static void check_held(const struct run *r)
{
    size_t held = framed_reader_held(&r->reader), want = r->fed - r->given;
    if (held != want) WRONG(r, "held", held, want);
}

static void check_views(const struct run *r)
{
    for (size_t i = 0; i < r->view_count; i++) {
        const struct view *v = &r->views[i];
        bool same = v->changed ? is_all(v->bytes, change_of(v->frame)) : is_same(v->bytes, r->d->frames[v->frame]);
        if (!same) WRONG(r, "a view of this loan no longer reads as it did, frame", v->frame, v->frame);
    }
}

/* The loan is over: nothing may depend on the lent bytes any more, nor may we on the views. */
static void loan_ended(struct run *r)
{
    if (r->lent) guard_spoil(r->d->guard, r->loan);
    r->lent = false;
    r->view_count = 0;
}

/* After a failure nothing goes on, whatever is asked, and no memory stays. */
static enum framed_status failed(struct run *r, enum framed_status st)
{
    uint8_t byte = 0, *at = &byte;
    size_t room = 1;
    struct framed_bytes none = {&byte, 77};
    for (int i = 0; i < 2; i++) {
        if (framed_reader_next(&r->reader, &none) != st) WRONG(r, "next after a failure", 0, 0);
        if (none.at != &byte || none.len != 77) WRONG(r, "payload touched by a failure", 0, 0);
        if (framed_reader_feed(&r->reader, &byte, 1) != FRAMED_USAGE) WRONG(r, "feed after a failure", 0, 0);
        if (framed_reader_park(&r->reader) != st) WRONG(r, "park after a failure", 0, 0);
        if (framed_reader_space(&r->reader, &at, &room) != st) WRONG(r, "space after a failure", 0, 0);
        if (at != &byte || room != 1) WRONG(r, "room touched by a failure", 0, 0);
        if (framed_reader_end(&r->reader) != st) WRONG(r, "end after a failure", 0, 0);
        if (framed_reader_held(&r->reader) != 0) WRONG(r, "held after a failure", framed_reader_held(&r->reader), 0);
    }
    size_t in_use = meter_in_use(r->d->meter) - r->taken_bytes;
    if (in_use != 0) WRONG(r, "memory after a failure", in_use, 0);
    if (st == FRAMED_NOMEM && meter_reached(r->d->meter) == 0) WRONG(r, "NOMEM without a reason", 0, 0);
    return st;
}

static enum framed_status park(struct run *r)
{
    check_views(r);
    size_t held = framed_reader_held(&r->reader);
    enum framed_status st = framed_reader_park(&r->reader);
    if (st == FRAMED_NOMEM) return failed(r, st);
    if (st != FRAMED_OK) WRONG(r, "park returned", st, FRAMED_OK);
    if (framed_reader_held(&r->reader) != held) WRONG(r, "held after park", framed_reader_held(&r->reader), held);
    loan_ended(r);
    check_memory(r);
    return FRAMED_OK;
}

static void take(struct run *r, struct framed_bytes payload)
{
    static const uint8_t nothing;
    struct framed_buf untouched = {(uint8_t *)(uintptr_t)&nothing, 1, 1}, buf = untouched;
    enum framed_status st = framed_reader_take(&r->reader, payload, &buf);
    if (st == FRAMED_MORE) {
        if (memcmp(&buf, &untouched, sizeof buf) != 0) WRONG(r, "take said MORE and changed the buffer", 0, 0);
        return;
    }
    if (st != FRAMED_OK) WRONG(r, "take returned", st, FRAMED_OK);
    if (!is_same(framed_bytes_of(buf.at, buf.len), payload)) WRONG(r, "taken length", buf.len, payload.len);
    if (buf.cap < buf.len) WRONG(r, "taken capacity", buf.cap, buf.len);
    r->taken[r->taken_count++] = buf;
    r->taken_bytes += buf.cap;
}

static void got_frame(struct run *r, struct framed_bytes payload)
{
    if (r->frame == r->d->frame_count) WRONG(r, "frames", r->frame + 1, r->frame);
    if (!is_same(payload, r->d->frames[r->frame]))
        WRONG(r, "payload differs, length", payload.len, r->d->frames[r->frame].len);
    struct view v = {.bytes = payload, .frame = r->frame};
    if (r->d->ways & DRIVE_CHANGE) {
        uint8_t *at = (uint8_t *)(uintptr_t)payload.at; /* frame.h: may be changed in place by whoever gets the views */
        if (payload.len > 0) memset(at, change_of(v.frame), payload.len);
        v.changed = true;
    }
    r->given += WORD + payload.len;
    r->frame++;
    if (r->d->ways & DRIVE_TAKE) take(r, payload);
    r->views[r->view_count++] = v;
    check_held(r);
}

static void pause(struct run *r)
{
    if (r->fed == r->given && meter_in_use(r->d->meter) != r->taken_bytes)
        WRONG(r, "memory between frames", meter_in_use(r->d->meter) - r->taken_bytes, 0);
    check_held(r);
    check_memory(r);
}

/* A timeout: nothing new came, and the caller tries this and that. Nothing may change. */
static enum framed_status idle(struct run *r)
{
    struct framed_bytes none = {NULL, 77};
    size_t in_use = meter_in_use(r->d->meter);
    for (int i = 0; i < IDLE_ROUNDS; i++) {
        if (framed_reader_next(&r->reader, &none) != FRAMED_MORE) WRONG(r, "next with nothing new", 0, 0);
        if (framed_reader_park(&r->reader) != FRAMED_OK) WRONG(r, "park with nothing lent", 0, 0);
        if (framed_reader_feed(&r->reader, r->d->guard->end, 0) != FRAMED_OK) WRONG(r, "an empty feed", 0, 0);
        if (framed_reader_next(&r->reader, &none) != FRAMED_MORE) WRONG(r, "next after an empty feed", 0, 0);
        if (none.len != 77) WRONG(r, "payload touched by MORE", none.len, 77);
        if (meter_in_use(r->d->meter) != in_use) WRONG(r, "memory after a timeout", meter_in_use(r->d->meter), in_use);
        check_held(r);
    }
    return FRAMED_OK;
}

static bool parks_now(const struct run *r, size_t frames_of_loan)
{
    if (r->d->ways & DRIVE_PARK_EACH) return true;
    if (r->d->ways & DRIVE_PARK) return frames_of_loan == 0;
    return (r->d->ways & DRIVE_PARK_LATE) != 0 && frames_of_loan == 1;
}

/* All frames of what was fed, up to MORE. */
static enum framed_status drain(struct run *r)
{
    for (size_t n = 0;; n++) {
        enum framed_status st = parks_now(r, n) ? park(r) : FRAMED_OK;
        if (st != FRAMED_OK) return st;
        bool more_frames = next_end(r) <= r->fed;
        if (!more_frames) check_views(r); /* the last moment at which they are valid */
        struct framed_bytes payload;
        st = framed_reader_next(&r->reader, &payload);
        if (st == FRAMED_OK) {
            if (!more_frames) WRONG(r, "a frame came too early, length", payload.len, 0);
            got_frame(r, payload);
            check_memory(r);
            continue;
        }
        if (st == FRAMED_NOMEM) return failed(r, st);
        if (more_frames) WRONG(r, "a frame is missing, status", st, FRAMED_OK);
        if (st == FRAMED_TOO_LARGE) return st;
        if (st != FRAMED_MORE) WRONG(r, "next returned", st, FRAMED_MORE);
        loan_ended(r);
        r->since = r->given; /* not at a park: what was parked stays until all of it was given out */
        pause(r);
        return r->d->ways & DRIVE_IDLE ? idle(r) : FRAMED_OK;
    }
}

static enum framed_status feed(struct run *r, struct framed_bytes piece)
{
    uint8_t *at = guard_copy(r->d->guard, piece.at, piece.len);
    enum framed_status st = framed_reader_feed(&r->reader, at, piece.len);
    if (st != FRAMED_OK) WRONG(r, "feed returned", st, FRAMED_OK);
    if (piece.len > 0 && framed_reader_feed(&r->reader, at, 0) != FRAMED_USAGE)
        WRONG(r, "feed while a loan is not used up", 0, 0);
    r->loan = piece.len;
    r->lent = true;
    r->fed += piece.len;
    check_held(r);
    return drain(r);
}

/* One receive: in place if the reader wants that, else lent. *taken is how much of the piece went. */
static enum framed_status receive(struct run *r, struct framed_bytes piece, size_t *taken)
{
    uint8_t *at;
    size_t room;
    enum framed_status st = r->d->ways & DRIVE_DIRECT ? framed_reader_space(&r->reader, &at, &room) : FRAMED_MORE;
    if (st == FRAMED_NOMEM) return failed(r, st);
    *taken = piece.len;
    if (st == FRAMED_MORE) return feed(r, piece);
    if (st != FRAMED_OK) WRONG(r, "space returned", st, FRAMED_OK);

    check_memory(r);
    if (room == 0) WRONG(r, "room", 0, 1);
    size_t rest = r->given + WORD + running_length(r) - r->fed;
    if (room > rest) WRONG(r, "room reaches behind the frame", room, rest);
    size_t n = piece.len < room ? piece.len : room;
    memset(at, SCRIBBLE, room); /* a receive may do that behind what it brought */
    if (n > 0) memcpy(at, piece.at, n);
    if (framed_reader_filled(&r->reader, room + 1) != FRAMED_USAGE) WRONG(r, "filled beyond the room", room + 1, room);
    if (framed_reader_filled(&r->reader, n) != FRAMED_OK) WRONG(r, "filled within the room", n, room);
    *taken = n;
    r->fed += n;
    check_held(r);
    return drain(r);
}

static enum framed_status ends(struct run *r, enum framed_status st)
{
    const struct drive *d = r->d;
    if (st == FRAMED_OK) {
        st = framed_reader_end(&r->reader);
        if (st != d->ends) WRONG(r, "end returned", st, d->ends);
    } else if (st == FRAMED_TOO_LARGE) {
        if (!at_bad_word(r)) WRONG(r, "TOO_LARGE out of place", 0, 0);
        size_t claimed = running_length(r);
        if (framed_reader_claimed(&r->reader) != claimed) WRONG(r, "claimed", framed_reader_claimed(&r->reader), claimed);
    }
    if (r->frame != d->frame_count) WRONG(r, "frames in all", r->frame, d->frame_count);
    (void)failed(r, st); /* the end is as final as a failure */
    return FRAMED_OK;
}

static void check_taken(struct run *r)
{
    size_t frame = 0;
    for (size_t i = 0; i < r->taken_count; i++) {
        struct framed_bytes is = framed_bytes_of(r->taken[i].at, r->taken[i].len);
        bool found = false; /* in order, but not every frame could be taken */
        for (; frame < r->frame && !found; frame++)
            found = r->d->ways & DRIVE_CHANGE ? is.len == r->d->frames[frame].len && is_all(is, change_of(frame))
                                              : is_same(is, r->d->frames[frame]);
        if (!found) WRONG(r, "a taken frame changed", i, i);
        framed_buf_fini(&r->taken[i], &r->d->meter->allocator);
    }
}

enum framed_status drive_reader(const struct drive *d, const struct split *split)
{
    struct run r = {.d = d, .split = split};
    r.views = malloc((d->frame_count + 1) * sizeof *r.views);
    r.taken = malloc((d->frame_count + 1) * sizeof *r.taken);
    if (r.views == NULL || r.taken == NULL) abort();
    framed_reader_init(&r.reader, d->max_frame, d->ways & DRIVE_DIRECT ? 1 : 0, &d->meter->allocator);

    enum framed_status st = FRAMED_OK;
    for (size_t i = 0, from = 0; i < split->n && st == FRAMED_OK; i++) {
        do { /* at least one receive per piece, so that empty ones count */
            size_t taken = 0;
            st = receive(&r, framed_bytes_of(d->input.at + from, split->ends[i] - from), &taken);
            from += taken;
        } while (from < split->ends[i] && st == FRAMED_OK);
    }
    if (st != FRAMED_NOMEM) st = ends(&r, st);
    framed_reader_fini(&r.reader);
    check_taken(&r);
    free(r.views);
    free(r.taken);
    if (meter_in_use(d->meter) != 0) WRONG(&r, "memory after fini", meter_in_use(d->meter), 0);
    return st;
}

void drive_reader_split(void *ctx, const struct split *split)
{
    assert_int_equal(drive_reader(ctx, split), FRAMED_OK);
}

/* ---- the scan ---- */

struct scan_run {
    const struct drive *d;
    const struct split *split;
    struct framed_scan scan;
    size_t fed;
    size_t frame;
    size_t seen;   /* payload bytes of the running frame */
    bool in_frame; /* between BEGIN and END */
};

static void got_token(struct scan_run *r, const struct framed_token *token)
{
    const struct framed_bytes *want = r->frame < r->d->frame_count ? &r->d->frames[r->frame] : NULL;
    switch (token->kind) {
    case FRAMED_BEGIN:
        if (r->in_frame) WRONG(r, "BEGIN inside a frame", 0, 0);
        r->in_frame = true;
        r->seen = 0;
        if (want == NULL && r->d->ends != FRAMED_TRUNCATED) WRONG(r, "BEGIN of a frame not expected", r->frame, 0);
        if (want != NULL && token->length != want->len) WRONG(r, "length", token->length, want->len);
        break;
    case FRAMED_DATA:
        if (!r->in_frame || token->data.len == 0) WRONG(r, "DATA out of place", 0, 0);
        if (want != NULL &&
            (token->data.len > want->len - r->seen || memcmp(token->data.at, want->at + r->seen, token->data.len) != 0))
            WRONG(r, "DATA differs at", r->seen, 0);
        r->seen += token->data.len;
        break;
    case FRAMED_END:
        if (!r->in_frame || want == NULL || r->seen != want->len) WRONG(r, "END after", r->seen, 0);
        r->in_frame = false;
        r->frame++;
        break;
    }
}

static enum framed_status scan_piece(struct scan_run *r, struct framed_bytes piece)
{
    struct framed_bytes in = framed_bytes_of(guard_copy(r->d->guard, piece.at, piece.len), piece.len);
    const uint8_t *end = in.at + in.len;
    r->fed += piece.len;
    for (;;) {
        struct framed_token token = {.length = 12345};
        struct framed_bytes before = in;
        enum framed_status st = framed_scan_next(&r->scan, &in, &token);
        if (in.at + in.len != end || in.at < before.at) WRONG(r, "the input moved", 0, 0);
        if (st != FRAMED_OK && token.length != 12345) WRONG(r, "token touched without OK", 0, 0);
        if (st == FRAMED_MORE && in.len != 0) WRONG(r, "MORE with input left", in.len, 0);
        if (st == FRAMED_TOO_LARGE) {
            struct framed_bytes kept = in;
            for (int i = 0; i < 2; i++)
                if (framed_scan_next(&r->scan, &in, &token) != st || in.at != kept.at || in.len != kept.len)
                    WRONG(r, "input consumed after TOO_LARGE", in.len, kept.len);
        }
        if (st != FRAMED_OK) return st;
        got_token(r, &token);
    }
}

void drive_scan(const struct drive *d, const struct split *split)
{
    struct scan_run r = {.d = d, .split = split};
    framed_scan_init(&r.scan, d->max_frame);
    enum framed_status st = FRAMED_MORE;
    for (size_t i = 0, from = 0; i < split->n && st == FRAMED_MORE; from = split->ends[i++]) {
        st = scan_piece(&r, framed_bytes_of(d->input.at + from, split->ends[i] - from));
        if (st == FRAMED_MORE && d->ways & DRIVE_IDLE) st = scan_piece(&r, framed_bytes_of(d->input.at, 0));
    }
    if (st != (d->ends == FRAMED_TOO_LARGE ? FRAMED_TOO_LARGE : FRAMED_MORE)) WRONG(&r, "scan returned", st, 0);
    if (framed_scan_end(&r.scan) != d->ends) WRONG(&r, "the end is", framed_scan_end(&r.scan), d->ends);
    if (r.frame != d->frame_count) WRONG(&r, "frames in all", r.frame, d->frame_count);
}

void drive_scan_split(void *ctx, const struct split *split)
{
    drive_scan(ctx, split);
}
