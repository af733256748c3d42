/*
 * fuzz_writer.c: the writer under a program of operations: whatever was queued in whatever way comes out, once, in order.
 * Must not know how it queues; writer_extend, the inside short way, is used as guest.c uses it.
 * Invariants: what is lent is a block of its own, gone as soon as the contract says that it may go; after an operation that
 * failed, the views say what they said before.
 *
 * Input: operations of four bytes: what, a length, a limit or a place, and how much of it; until the input is used up. How many bytes
 * are over says whether frames go as they are (0; 3: and what is not sent is freed with the writer), sealed with trailers (1), or
 * sealed without (2).
 */
#include "fuzz.h"
#include "meter.h"
#include "writer.h"
#include <stdlib.h>
#include <string.h>

enum { WORD = FRAMED_LENGTH_SIZE, MOST_LENT = 64, MOST_VIEWS = 9, MOST_BYTES = 256 << 10 };

enum operation { OP_COPY, OP_IN_PLACE, OP_RUN, OP_EXTEND, OP_TAKE, OP_KEEP, OP_SEND, OP_SEND_ALL, OP_TOO_LARGE, OP_COUNT };

struct bytes {
    uint8_t *at;
    size_t len, cap;
};

struct run {
    struct meter meter;
    struct framed_writer writer;
    struct framed_sealing sealing;
    size_t trailer;
    uint32_t most;       /* bytes of a payload */
    struct bytes queued; /* all that must come out */
    struct bytes out;    /* what has */
    uint8_t *lent[MOST_LENT];
    size_t lent_len[MOST_LENT];
    size_t lent_count;
    size_t frames;
    size_t aside; /* memory of a buffer that is not taken yet */
    uint8_t tint; /* payloads differ from each other */
};

/* The fields of one operation. */
struct step {
    enum operation what;
    bool no_memory;
    size_t len;
    uint32_t max;
    uint8_t much;
};

static uint8_t *made(size_t n)
{
    uint8_t *at = malloc(n > 0 ? n : 1);
    fuzz_must(at != NULL, "there is memory for the harness");
    return at;
}

static void append(struct bytes *to, const void *at, size_t n)
{
    if (to->cap - to->len < n) {
        to->cap = (to->len + n) * 2;
        to->at = realloc(to->at, to->cap);
        fuzz_must(to->at != NULL, "there is memory for the harness");
    }
    if (n > 0) memcpy(to->at + to->len, at, n);
    to->len += n;
}

static void queued(struct run *r, const uint8_t *payload, size_t n)
{
    size_t all = n + r->trailer;
    uint8_t word[WORD] = {(uint8_t)(all >> 24), (uint8_t)(all >> 16), (uint8_t)(all >> 8), (uint8_t)all};
    append(&r->queued, word, WORD);
    append(&r->queued, payload, n);
    uint32_t sum = framed_sum_of(framed_bytes_of(payload, n), &(struct framed_sum_place){.counter = r->frames++});
    uint8_t trailer[FRAMED_SUM_SIZE] = {(uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8), (uint8_t)sum};
    append(&r->queued, trailer, r->trailer);
}

/* From a fixed text of bytes, each time from somewhere else in it. */
static void fill(struct run *r, uint8_t *at, size_t n)
{
    static uint8_t text[4096 + 256];
    if (text[1] == 0)
        for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7 + i / 251);
    r->tint = (uint8_t)(r->tint * 5 + 1);
    for (size_t i = 0; i < n; i += 4096) memcpy(at + i, text + r->tint, n - i < 4096 ? n - i : 4096);
}

/* ---- what must hold ---- */

/* The views are the front of what was queued and has not come out. */
static void views_hold(struct run *r)
{
    struct framed_bytes views[MOST_VIEWS];
    size_t at = r->out.len, n = framed_writer_views(&r->writer, views, MOST_VIEWS);
    fuzz_must(framed_writer_unsent(&r->writer) == r->queued.len - r->out.len, "unsent() is what was queued and not sent");
    fuzz_must(n <= MOST_VIEWS && (n > 0) == (r->queued.len > r->out.len), "there are views while there is something");
    for (size_t i = 0; i < n; i++) {
        fuzz_must(views[i].len > 0 && views[i].len <= r->queued.len - at, "no view is empty, or goes too far");
        fuzz_must(memcmp(views[i].at, r->queued.at + at, views[i].len) == 0, "views say what was queued");
        at += views[i].len;
    }
    fuzz_must(n == MOST_VIEWS || at == r->queued.len, "there are as many views as are asked for, or all");
    if (r->queued.len == r->out.len) fuzz_must(meter_in_use(&r->meter) == r->aside, "an empty writer has no memory");
}

static void give_back(struct run *r)
{
    for (size_t i = 0; i < r->lent_count; i++) {
        memset(r->lent[i], 0xdd, r->lent_len[i]);
        free(r->lent[i]);
    }
    r->lent_count = 0;
}

/* True: it was queued. False: it was refused, for a reason, and nothing is different. */
static bool judged(struct run *r, enum framed_status st, size_t len, uint32_t max)
{
    bool allowed = len <= max && len <= r->most;
    if (st == FRAMED_NOMEM)
        fuzz_must(meter_reached(&r->meter) > 0 && allowed, "NOMEM has a reason");
    else
        fuzz_must(st == (allowed ? FRAMED_OK : FRAMED_TOO_LARGE), "a frame is queued if it is allowed");
    if (st != FRAMED_OK) views_hold(r);
    return st == FRAMED_OK;
}

/* ---- operations ---- */

static void copy(struct run *r, const struct step *s)
{
    uint8_t *payload = made(s->len);
    fill(r, payload, s->len);
    if (judged(r, framed_writer_copy(&r->writer, framed_bytes_of(payload, s->len), s->max), s->len, s->max))
        queued(r, payload, s->len);
    if (s->len > 0) memset(payload, 0xdd, s->len);
    free(payload);
}

/* A frame that somebody else has made. */
static void raw(struct run *r, const struct step *s)
{
    uint8_t *frame = made(WORD + s->len);
    fill(r, frame, WORD + s->len);
    for (int i = 0; i < WORD; i++) frame[i] = (uint8_t)(s->len >> 8 * (WORD - 1 - i));
    enum framed_status st = framed_writer_raw(&r->writer, framed_bytes_of(frame, WORD + s->len));
    fuzz_must(st == FRAMED_OK || (st == FRAMED_NOMEM && meter_reached(&r->meter) > 0), "raw() fails only without memory");
    if (st == FRAMED_OK) queued(r, frame + WORD, s->len);
    free(frame);
}

static uint8_t *lend(struct run *r, size_t n)
{
    uint8_t *at = made(n);
    fill(r, at, n);
    r->lent_len[r->lent_count] = n;
    r->lent[r->lent_count++] = at;
    return at;
}

/* `count` frames of one receive, sent back as they came, the payload a little shorter each time if `cut`. */
static void in_place(struct run *r, const struct step *s, size_t count, size_t cut)
{
    if (r->lent_count == MOST_LENT) return;
    size_t one = WORD + s->len + r->trailer;
    uint8_t *at = lend(r, count * one);
    for (size_t i = 0; i < count; i++, at += one) {
        size_t n = s->len - (cut < s->len ? cut : s->len);
        uint8_t *copied = made(n);
        if (n > 0) memcpy(copied, at + WORD, n);
        if (judged(r, framed_writer_in_place(&r->writer, at + WORD, n, s->max), n, s->max)) queued(r, copied, n);
        free(copied);
        views_hold(r);
    }
}

/* The same, but whole frames that lie one behind the other only make the run longer. */
static void extend(struct run *r, const struct step *s)
{
    if (r->lent_count == MOST_LENT) return;
    size_t count = 2 + s->much % 4, one = WORD + s->len + r->trailer;
    uint8_t *at = lend(r, count * one);
    for (size_t i = 0; i < count; i++) {
        uint8_t *payload = at + i * one + WORD, *copied = made(s->len);
        if (s->len > 0) memcpy(copied, payload, s->len);
        payload[-4] = (uint8_t)(s->len >> 24);
        payload[-3] = (uint8_t)(s->len >> 16);
        payload[-2] = (uint8_t)(s->len >> 8);
        payload[-1] = (uint8_t)s->len;
        if (writer_extend(&r->writer, framed_bytes_of(payload, s->len)) ||
            judged(r, framed_writer_in_place(&r->writer, payload, s->len, s->max), s->len, s->max))
            queued(r, copied, s->len);
        free(copied);
        views_hold(r);
    }
}

static void take(struct run *r, const struct step *s)
{
    struct framed_buf buf = {0}, before;
    size_t front = s->much % 5, back = s->much / 5 % 5;
    meter_fail_at(&r->meter, 0, METER_ONCE);
    if (framed_buf_reserve(&buf, front + s->len + back, SIZE_MAX, &r->meter.allocator) != FRAMED_OK)
        fuzz_must(false, "there is memory when none is denied");
    if (s->no_memory) meter_fail_at(&r->meter, 1 + s->much % 3, METER_ONCE);
    if (buf.cap > 0) fill(r, buf.at, buf.cap);
    buf.len = buf.cap;
    before = buf;
    uint8_t *copied = made(s->len);
    struct framed_bytes payload = framed_bytes_of(buf.at != NULL ? buf.at + front : NULL, s->len);
    if (s->len > 0) memcpy(copied, payload.at, s->len);
    r->aside = buf.cap;
    bool taken = judged(r, framed_writer_take(&r->writer, &buf, payload, s->max), s->len, s->max);
    r->aside = 0;
    if (taken) {
        fuzz_must(buf.at == NULL && buf.len == 0 && buf.cap == 0, "a buffer that was taken is empty");
        queued(r, copied, s->len);
    } else {
        fuzz_must(memcmp(&buf, &before, sizeof buf) == 0, "a buffer that was not taken is as it was");
        framed_buf_fini(&buf, &r->meter.allocator);
    }
    free(copied);
}

static void keep(struct run *r)
{
    enum framed_status st = framed_writer_keep(&r->writer);
    fuzz_must(st == FRAMED_OK || (st == FRAMED_NOMEM && meter_reached(&r->meter) > 0), "keep() fails only without memory");
    views_hold(r);
    if (st == FRAMED_OK) give_back(r);
}

static void send_some(struct run *r, size_t n)
{
    struct framed_bytes views[MOST_VIEWS];
    size_t count = framed_writer_views(&r->writer, views, 1 + n % MOST_VIEWS), left = n;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t k = views[i].len < left ? views[i].len : left;
        append(&r->out, views[i].at, k);
        left -= k;
    }
    framed_writer_sent(&r->writer, n - left);
    if (framed_writer_unsent(&r->writer) == 0) give_back(r); /* lent until they are sent */
}

/* A length that no frame may have is refused before a byte is looked at. */
static void too_large(struct run *r, const struct step *s)
{
    uint8_t byte[WORD + 1] = {1, 2, 3, 4, 5};
    size_t len = s->much % 2 ? (size_t)FRAMED_FRAME_MOST + 1 : (size_t)s->max + 1;
    uint32_t max = s->much % 2 ? UINT32_MAX : s->max;
    struct framed_buf buf = {.at = byte, .len = 5, .cap = 5};
    if (len <= 1024) return; /* take() copies what is small, and would look */
    fuzz_must(framed_writer_copy(&r->writer, framed_bytes_of(byte, len), max) == FRAMED_TOO_LARGE, "copy() has a limit");
    fuzz_must(framed_writer_in_place(&r->writer, byte + WORD, len, max) == FRAMED_TOO_LARGE, "in_place() has a limit");
    fuzz_must(framed_writer_take(&r->writer, &buf, framed_bytes_of(byte, len), max) == FRAMED_TOO_LARGE && buf.at == byte,
              "take() has a limit");
    fuzz_must(byte[0] == 1, "what is refused is not written to");
}

static void operate(struct run *r, const struct step *s)
{
    meter_fail_at(&r->meter, s->no_memory ? 1 + s->much % 2 : 0, METER_ONCE);
    switch (s->what) {
    case OP_COPY:
        if (r->writer.sealing != NULL && r->trailer == 0 && s->much >= 254)
            raw(r, s);
        else
            copy(r, s);
        break;
    case OP_IN_PLACE: in_place(r, s, 1, 0); break;
    case OP_RUN: in_place(r, s, 1 + s->much % 4, s->much / 4 % 3); break;
    case OP_EXTEND: extend(r, s); break;
    case OP_TAKE: take(r, s); break;
    case OP_KEEP: keep(r); break;
    case OP_SEND: send_some(r, s->len); break;
    case OP_SEND_ALL: send_some(r, framed_writer_unsent(&r->writer)); break;
    default: too_large(r, s); break;
    }
    meter_fail_at(&r->meter, 0, METER_ONCE);
    views_hold(r);
}

/* All that came out, read back, is the frames that were put in. */
static void reads_back(struct run *r)
{
    struct framed_reader reader;
    struct framed_bytes payload;
    struct fuzz_frames frames;
    size_t n = 0;
    framed_reader_init(&reader, FRAMED_FRAME_MOST, 0, &r->meter.allocator);
    fuzz_frames_read(&frames, framed_bytes_of(r->queued.at, r->queued.len), FRAMED_FRAME_MOST);
    fuzz_must(r->out.len == r->queued.len && frames.n == r->frames && frames.ends == FRAMED_CLOSED, "all has come out");
    fuzz_must(framed_reader_feed(&reader, r->out.at, r->out.len) == FRAMED_OK, "it can be read");
    for (; framed_reader_next(&reader, &payload) == FRAMED_OK; n++)
        fuzz_must(n < frames.n && fuzz_same(payload, frames.at[n]), "what was put in comes out");
    fuzz_must(n == frames.n && framed_reader_end(&reader) == FRAMED_CLOSED, "no frame is missing");
    framed_reader_fini(&reader);
    fuzz_frames_free(&frames);
}

int framed_fuzz_writer(const uint8_t *at, size_t n)
{
    static const uint32_t limits[] = {FRAMED_FRAME_MOST, UINT32_MAX, 0, 1, 100, 1024, 1025, 4000};
    struct framed_bytes in = framed_bytes_of(at, n);
    struct run r = {.frames = 0};
    meter_init(&r.meter);
    framed_writer_init(&r.writer, &r.meter.allocator);
    bool leave = n % 4 == 3; /* what is not sent is freed with the writer */
    bool sealed = n % 4 == 1 || n % 4 == 2;
    r.trailer = n % 4 == 1 ? FRAMED_SUM_SIZE : 0;
    r.most = !sealed ? FRAMED_FRAME_MOST : n % 8 < 4 ? FRAMED_FRAME_MOST - FRAMED_SUM_SIZE : 3000;
    r.sealing = (struct framed_sealing){.most = r.most, .trailer = (uint32_t)r.trailer};
    if (sealed) framed_writer_seal(&r.writer, &r.sealing);
    while (in.len > 0 && r.queued.len < MOST_BYTES) {
        struct step s;
        uint8_t what = fuzz_byte(&in);
        s.what = (enum operation)(what % OP_COUNT);
        s.no_memory = what >= 192;
        s.len = fuzz_length(fuzz_byte(&in));
        if (s.len > 5000) s.len = 70000;
        s.max = fuzz_choice(&in, limits, sizeof limits / sizeof *limits);
        s.much = fuzz_byte(&in);
        operate(&r, &s);
    }
    while (!leave && framed_writer_unsent(&r.writer) > 0) send_some(&r, SIZE_MAX);
    if (!leave) reads_back(&r);
    framed_writer_fini(&r.writer);
    give_back(&r);
    meter_fini(&r.meter);
    free(r.queued.at);
    free(r.out.at);
    return 0;
}
