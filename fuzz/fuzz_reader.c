/*
 * fuzz_reader.c: the scan and the reader, fed in whatever pieces and ways the input says.
 * Must not know how they work: what must come out is the oracle's.
 * Invariants: every piece is a block of its own, gone when its loan is over; all that is said in frame.h about frames, held
 * bytes, memory and failures is asked after every call.
 *
 * Input: max_frame (4 bytes), copy_max (1), the program in pairs (how long the next piece is, what is done with it: `WAY_`),
 * over and over; the stream. No program: the stream in one piece.
 */
#include "fuzz.h"
#include "meter.h"
#include <framed/frame.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = FRAMED_LENGTH_SIZE, SPARE = 4096, MOST_VIEWS = 32, MOST_TAKEN = 8, LOAN_TOO_LONG = 0x7fffffff };

enum way {
    WAY_DIRECT = 1,    /* receive in place, if the reader has room for it */
    WAY_PARK = 2,      /* before the first next() */
    WAY_PARK_LATE = 4, /* after each frame */
    WAY_TAKE = 8,      /* take the memory of each frame, if it has some; with WAY_WRONG a little late */
    WAY_CHANGE = 16,   /* overwrite each frame once it was seen, as decryption would */
    WAY_IDLE = 32,     /* nothing new: park, feed nothing, ask again */
    WAY_WRONG = 64,    /* calls that are not allowed now */
    WAY_NO_MEMORY = 128
};

struct run {
    struct meter meter;
    struct framed_reader reader;
    const struct fuzz_frames *frames;
    struct framed_bytes stream;
    struct framed_bytes program;
    size_t next_step;
    size_t fed;     /* bytes of the stream that the reader has had */
    size_t given;   /* bytes of the frames it gave, length words included */
    size_t settled; /* those of loans that are over */
    size_t frame;   /* frames given */
    uint8_t *loan;  /* the block that is lent, or NULL */
    size_t loan_len;
    struct framed_bytes views[MOST_VIEWS]; /* given in this loan ... */
    size_t view_frames[MOST_VIEWS];        /* ... and which they are */
    size_t view_count;
    struct framed_buf taken[MOST_TAKEN];
    size_t taken_frames[MOST_TAKEN];
    size_t taken_count;
    size_t taken_bytes;
    bool unshrunk; /* a block could not be made smaller, as was asked: the bound on memory waits for the next pause */
};

/* ---- what must hold ---- */

static size_t in_use(struct run *r)
{
    return meter_in_use(&r->meter) - r->taken_bytes;
}

static void views_hold(const struct run *r)
{
    for (size_t i = 0; i < r->view_count; i++)
        fuzz_must(fuzz_same(r->views[i], r->frames->at[r->view_frames[i]]), "a view reads the same as long as its loan");
}

static void memory_holds(struct run *r)
{
    size_t peak = meter_read(&r->meter).peak - r->taken_bytes;
    r->unshrunk |= meter_reached(&r->meter) > 0;
    fuzz_must(r->unshrunk || peak <= 2 * (r->fed - r->settled) + SPARE,
              "memory is at most twice what was received, plus 4 KiB");
}

static void all_holds(struct run *r)
{
    fuzz_must(framed_reader_held(&r->reader) == r->fed - r->given, "held() is what was received and not given");
    memory_holds(r);
    views_hold(r);
}

static void loan_is_over(struct run *r)
{
    memory_holds(r);
    meter_peak_reset(&r->meter);
    r->view_count = 0;
    r->settled = r->given;
    if (r->loan != NULL) memset(r->loan, 0xdd, r->loan_len);
    free(r->loan);
    r->loan = NULL;
}

/* Everything was given out that came, up to a cut frame. */
static void pause_holds(struct run *r)
{
    all_holds(r);
    if (r->fed == r->given) {
        fuzz_must(in_use(r) == 0, "between frames the reader has no memory");
        fuzz_must(framed_reader_held(&r->reader) == 0, "between frames nothing is held");
        r->unshrunk = false;
    }
}

static void failure_stays(struct run *r, enum framed_status st)
{
    uint8_t byte = 0, *at = NULL;
    size_t room = 7;
    struct framed_bytes payload = {&byte, 7};
    for (int i = 0; i < 2; i++) {
        fuzz_must(framed_reader_next(&r->reader, &payload) == st && payload.len == 7, "next() fails as before");
        fuzz_must(framed_reader_feed(&r->reader, &byte, 1) == FRAMED_USAGE, "nothing can be fed after the end");
        fuzz_must(framed_reader_park(&r->reader) == st, "park() fails as before");
        fuzz_must(framed_reader_space(&r->reader, &at, &room) == st && room == 7, "space() fails as before");
        fuzz_must(framed_reader_filled(&r->reader, 0) == FRAMED_USAGE, "nothing can be filled after the end");
        fuzz_must(framed_reader_end(&r->reader) == st, "end() fails as before");
        fuzz_must(framed_reader_held(&r->reader) == 0, "nothing is held after the end");
    }
    fuzz_must(in_use(r) == 0, "there is no memory after the end");
}

static void failed(struct run *r, enum framed_status st)
{
    if (st == FRAMED_NOMEM) {
        fuzz_must(meter_reached(&r->meter) > 0, "NOMEM has a reason");
    } else {
        fuzz_must(st == FRAMED_TOO_LARGE && r->frames->ends == st, "it fails as the stream does");
        fuzz_must(r->frame == r->frames->n, "every frame before the failure was given");
        fuzz_must(framed_reader_claimed(&r->reader) == r->frames->claimed, "claimed() is the word that was rejected");
    }
    loan_is_over(r);
    failure_stays(r, st);
}

/* ---- what is done ---- */

static void take(struct run *r, struct framed_bytes payload, size_t frame)
{
    struct framed_buf buf = {0};
    enum framed_status st = framed_reader_take(&r->reader, payload, &buf);
    if (st == FRAMED_MORE) {
        fuzz_must(buf.at == NULL, "take() touches nothing when there is nothing to take");
        return;
    }
    fuzz_must(st == FRAMED_OK && buf.at == payload.at && buf.len == payload.len && buf.cap >= buf.len,
              "what is taken is the frame");
    if (r->taken_count == MOST_TAKEN) {
        r->taken_bytes -= r->taken[--r->taken_count].cap;
        framed_buf_fini(&r->taken[r->taken_count], &r->meter.allocator);
    }
    r->taken_bytes += buf.cap;
    r->taken_frames[r->taken_count] = frame;
    r->taken[r->taken_count++] = buf;
    meter_peak_reset(&r->meter); /* a peak from before counts what is no longer the reader's */
}

/* Later: when the second frame of the loan is here, that one and then the first. */
static void take_now_or_later(struct run *r, struct framed_bytes payload, unsigned ways)
{
    bool later = (ways & WAY_WRONG) != 0;
    if (!later || r->view_count > 0) take(r, payload, ways & WAY_CHANGE ? SIZE_MAX : r->frame - 1);
    if (later && r->view_count == 1) take(r, r->views[0], r->view_frames[0]);
}

static void free_taken(struct run *r)
{
    for (size_t i = 0; i < r->taken_count; i++) {
        struct framed_buf *buf = &r->taken[i];
        size_t frame = r->taken_frames[i];
        fuzz_must(frame == SIZE_MAX || fuzz_same(framed_bytes_of(buf->at, buf->len), r->frames->at[frame]),
                  "what was taken stays as it was");
        framed_buf_fini(buf, &r->meter.allocator);
    }
    r->taken_count = r->taken_bytes = 0;
}

static void got(struct run *r, struct framed_bytes payload, unsigned ways)
{
    fuzz_must(r->frame < r->frames->n, "no more frames come than the stream has");
    fuzz_must(fuzz_same(payload, r->frames->at[r->frame]), "a frame is what the stream says");
    r->given += WORD + payload.len;
    fuzz_must(r->given <= r->fed, "no frame is given before all of it came");
    r->frame++;
    if (ways & WAY_TAKE) take_now_or_later(r, payload, ways);
    if (ways & WAY_CHANGE) {
        if (payload.len > 0) memset((uint8_t *)(uintptr_t)payload.at, 0xcc, payload.len);
    } else if (r->view_count < MOST_VIEWS) {
        r->view_frames[r->view_count] = r->frame - 1;
        r->views[r->view_count++] = payload;
    }
    all_holds(r);
}

static bool park(struct run *r)
{
    views_hold(r);
    enum framed_status st = framed_reader_park(&r->reader);
    if (st != FRAMED_OK) {
        failed(r, st);
        return false;
    }
    loan_is_over(r);
    all_holds(r);
    return true;
}

static void wrong_while_lent(struct run *r)
{
    uint8_t byte = 0, *at = NULL;
    size_t room = 7;
    fuzz_must(framed_reader_feed(&r->reader, &byte, 1) == FRAMED_USAGE, "no loan before the last one is used up");
    fuzz_must(framed_reader_space(&r->reader, &at, &room) == FRAMED_USAGE && room == 7, "no room while bytes are lent");
    fuzz_must(framed_reader_filled(&r->reader, 0) == FRAMED_USAGE, "nothing is filled while bytes are lent");
    fuzz_must(framed_reader_end(&r->reader) == FRAMED_USAGE, "no end while bytes are lent");
}

static void wrong_while_idle(struct run *r)
{
    uint8_t byte = 0;
    fuzz_must(framed_reader_feed(&r->reader, &byte, (size_t)LOAN_TOO_LONG + 1) == FRAMED_USAGE, "no loan of 2^31");
    fuzz_must(framed_reader_filled(&r->reader, SIZE_MAX) == FRAMED_USAGE, "nothing is filled beyond the room");
    fuzz_must(framed_reader_filled(&r->reader, (size_t)1 << 30) == FRAMED_USAGE, "nothing is filled beyond the frame");
}

/* Frames until there is no whole one any more. False: it has failed. */
static bool take_frames(struct run *r, unsigned ways)
{
    if ((ways & WAY_PARK) && !park(r)) return false;
    for (;;) {
        struct framed_bytes payload = {NULL, 7};
        enum framed_status st = framed_reader_next(&r->reader, &payload);
        if (st == FRAMED_OK) {
            got(r, payload, ways);
            if ((ways & WAY_PARK_LATE) && !park(r)) return false;
            continue;
        }
        fuzz_must(payload.len == 7, "the payload is untouched without a frame");
        if (st < FRAMED_OK) {
            failed(r, st);
            return false;
        }
        fuzz_must(st == FRAMED_MORE, "next() gives a frame, asks for more, or fails");
        loan_is_over(r);
        pause_holds(r);
        return true;
    }
}

/* A timeout: nothing new has come. */
static bool idle(struct run *r)
{
    if (!park(r)) return false;
    if (framed_reader_feed(&r->reader, NULL, 0) != FRAMED_OK) fuzz_must(false, "nothing can be fed at any time");
    if (!take_frames(r, 0)) return false;
    return take_frames(r, WAY_PARK);
}

/* The next n bytes, received where the reader wants them. False: it has no such place. *ok: it has not failed. */
static bool receive_in_place(struct run *r, size_t n, unsigned ways, bool *ok)
{
    uint8_t *at = NULL;
    size_t room = 0;
    enum framed_status st = framed_reader_space(&r->reader, &at, &room);
    if (st == FRAMED_MORE) return false;
    if (st != FRAMED_OK) {
        failed(r, st);
        *ok = false;
        return true;
    }
    size_t left = r->frame < r->frames->n ? WORD + r->frames->at[r->frame].len - (r->fed - r->given) : SIZE_MAX;
    fuzz_must(room > 0 && room <= left, "the room is not more than the frame");
    if (ways & WAY_WRONG) fuzz_must(framed_reader_filled(&r->reader, room + 1) == FRAMED_USAGE, "filled() has a limit");
    if (n > room) n = room;
    memcpy(at, r->stream.at + r->fed, n);
    fuzz_must(framed_reader_filled(&r->reader, n) == FRAMED_OK, "what fits can be filled");
    r->fed += n;
    all_holds(r);
    if (ways & WAY_WRONG) { /* asked before next(): there may be more room, or (the frame being whole) none */
        st = framed_reader_space(&r->reader, &at, &room);
        fuzz_must(st == FRAMED_OK || st == FRAMED_MORE || st == FRAMED_NOMEM, "space() may be asked again");
        *ok = st != FRAMED_NOMEM;
        if (!*ok) failed(r, st);
    }
    return true;
}

static void lend(struct run *r, size_t n)
{
    r->loan = malloc(n > 0 ? n : 1);
    fuzz_must(r->loan != NULL, "there is memory for the loan");
    if (n > 0) memcpy(r->loan, r->stream.at + r->fed, n);
    r->loan_len = n;
    fuzz_must(framed_reader_feed(&r->reader, r->loan, n) == FRAMED_OK, "a loan is taken when there is none");
    r->fed += n;
}

static uint8_t next_step(struct run *r)
{
    return r->program.at[r->next_step++ % r->program.len];
}

/* One piece. False: it has failed. */
static bool step(struct run *r)
{
    size_t n = r->program.len > 0 ? fuzz_length(next_step(r)) : SIZE_MAX;
    unsigned ways = r->program.len > 0 ? next_step(r) : 0;
    if (n > r->stream.len - r->fed) n = r->stream.len - r->fed;
    meter_fail_at(&r->meter, ways & WAY_NO_MEMORY ? 1 + n % 3 : 0, METER_ONCE);
    if (ways & WAY_WRONG) wrong_while_idle(r);
    bool ok = true;
    if (!(ways & WAY_DIRECT) || !receive_in_place(r, n, ways, &ok)) {
        lend(r, n);
        if ((ways & WAY_WRONG) && n > 0) wrong_while_lent(r);
    }
    return ok && take_frames(r, ways) && (!(ways & WAY_IDLE) || idle(r));
}

static void finish(struct run *r)
{
    enum framed_status st = framed_reader_end(&r->reader);
    fuzz_must(st == r->frames->ends, "the end means what the stream says");
    fuzz_must(r->frame == r->frames->n, "every frame was given");
    failure_stays(r, st);
}

/* A program of nothing but empty pieces would never end: from some point on the rest comes at once. */
static void read_stream(const struct fuzz_frames *frames, struct framed_bytes stream, struct framed_bytes program,
                        uint32_t max_frame, uint32_t copy_max)
{
    struct run r = {.frames = frames, .stream = stream, .program = program};
    meter_init(&r.meter);
    framed_reader_init(&r.reader, max_frame, copy_max, &r.meter.allocator);
    bool ok = true;
    for (size_t steps = 0; ok && r.fed < stream.len; steps++) {
        if (steps > 2 * stream.len + 16) r.program.len = 0;
        ok = step(&r);
    }
    meter_fail_at(&r.meter, 0, METER_ONCE);
    if (ok) finish(&r);
    free_taken(&r);
    framed_reader_fini(&r.reader);
    meter_fini(&r.meter);
}

/* ---- the scan, over the same pieces ---- */

struct scanned {
    const struct fuzz_frames *frames;
    size_t begun, ended; /* frames */
    size_t seen;         /* bytes of the payload under way */
};

static void token_holds(struct scanned *s, const struct framed_token *token)
{
    bool whole = s->begun > 0 && s->begun <= s->frames->n; /* else it is the one that is cut */
    struct framed_bytes payload = whole ? s->frames->at[s->begun - 1] : (struct framed_bytes){0};
    switch (token->kind) {
    case FRAMED_BEGIN:
        fuzz_must(s->begun++ == s->ended, "a frame begins after the last one has ended");
        if (s->begun <= s->frames->n)
            fuzz_must(token->length == s->frames->at[s->begun - 1].len, "BEGIN has the length");
        else
            fuzz_must(s->frames->ends == FRAMED_TRUNCATED && s->begun == s->frames->n + 1, "only the last frame is cut");
        s->seen = 0;
        break;
    case FRAMED_DATA:
        fuzz_must(s->begun == s->ended + 1 && token->data.len > 0, "DATA lies between BEGIN and END");
        if (whole) {
            fuzz_must(token->data.len <= payload.len - s->seen, "there is no more DATA than the length says");
            fuzz_must(memcmp(token->data.at, payload.at + s->seen, token->data.len) == 0, "DATA is the payload");
        }
        s->seen += token->data.len;
        break;
    case FRAMED_END:
        fuzz_must(s->begun == ++s->ended && whole && s->seen == payload.len, "END comes behind the whole payload");
        break;
    }
}

static enum framed_status scan_piece(struct framed_scan *scan, struct scanned *s, struct framed_bytes piece)
{
    for (;;) {
        struct framed_token token;
        size_t before = piece.len;
        enum framed_status st = framed_scan_next(scan, &piece, &token);
        if (st != FRAMED_OK) {
            fuzz_must(st == FRAMED_TOO_LARGE || (st == FRAMED_MORE && piece.len == 0), "MORE means that all is used up");
            return st;
        }
        fuzz_must(piece.len < before || token.kind == FRAMED_END, "only END takes nothing");
        token_holds(s, &token);
        bool between = s->ended == s->begun || s->seen == token.length;
        fuzz_must(framed_scan_end(scan) == (between ? FRAMED_CLOSED : FRAMED_TRUNCATED), "the end has its meaning anywhere");
    }
}

static void scan_stream(const struct fuzz_frames *frames, struct framed_bytes stream, struct framed_bytes program,
                        uint32_t max_frame)
{
    struct framed_scan scan;
    struct scanned s = {.frames = frames};
    enum framed_status st = FRAMED_MORE;
    size_t at = 0, steps = 0;
    framed_scan_init(&scan, max_frame);
    for (; at < stream.len && st == FRAMED_MORE; steps++) {
        size_t n = program.len > 1 && steps < 2 * stream.len ? fuzz_length(program.at[2 * steps % program.len]) : SIZE_MAX;
        if (n > stream.len - at) n = stream.len - at;
        st = scan_piece(&scan, &s, framed_bytes_of(stream.at + at, n));
        at += n;
    }
    fuzz_must(framed_scan_end(&scan) == frames->ends && s.ended == frames->n, "the scan ends as the stream does");
    if (st != FRAMED_TOO_LARGE) return;
    struct framed_bytes more = stream;
    struct framed_token token;
    fuzz_must(framed_scan_next(&scan, &more, &token) == st && more.len == stream.len, "the failure of a scan stays");
    fuzz_must(scan.length == frames->claimed, "it has the word that was rejected");
}

/* ---- the length word alone ---- */

static void word_holds(struct framed_bytes stream, uint32_t max_frame)
{
    uint8_t word[4] = {0}, again[4] = {0};
    memcpy(word, stream.at, stream.len < 4 ? stream.len : 4);
    uint32_t value = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3], len = 7;
    bool legal = value <= max_frame && value < 0x80000000u;
    enum framed_status st = framed_length_decode(word, max_frame, &len);
    fuzz_must(st == (legal ? FRAMED_OK : FRAMED_TOO_LARGE), "a word is judged by the limit");
    fuzz_must(len == (legal ? value : 7), "a word is read as big-endian, or not at all");
    fuzz_must(framed_length_encode(again, value, max_frame) == st, "what may be read may be written");
    fuzz_must(!legal || memcmp(word, again, 4) == 0, "a length is written as it is read");
    const char *hint = framed_length_hint(value);
    fuzz_must(hint == NULL || (strlen(hint) > 0 && strlen(hint) < 40), "a hint is a few words");
}

int framed_fuzz_reader(const uint8_t *at, size_t n)
{
    static const uint32_t copies[] = {0, 1, 2, 3, 16, 64, 100, 1000};
    struct framed_bytes in = framed_bytes_of(at, n);
    uint32_t max_frame = fuzz_word(&in);
    uint32_t copy_max = fuzz_choice(&in, copies, sizeof copies / sizeof *copies);
    struct framed_bytes program = fuzz_program(&in);
    struct fuzz_frames frames;
    fuzz_frames_read(&frames, in, max_frame);
    scan_stream(&frames, in, program, max_frame);
    read_stream(&frames, in, program, max_frame, copy_max);
    if (program.len > 0) read_stream(&frames, in, (struct framed_bytes){0}, max_frame, 0);
    word_holds(in, max_frame);
    fuzz_frames_free(&frames);
    return 0;
}
