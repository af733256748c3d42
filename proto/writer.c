/*
 * writer.c: frames waiting to be sent, taken off in any split.
 * Must not know when or where they are sent.
 * Invariants: every piece has len > 0; unsent is the sum of all len; head and tail are both NULL or neither; of a sealed
 * writer no payload is below `below`: every one goes the long way, and those of plain connections pay nothing for it.
 */
#include "writer.h"
#include "alloc.h"
#include "be.h"
#include <string.h>

enum { CHUNK_LEAST = 1024, CHUNK_MOST = 64 << 10, SMALL = 1024 };

void framed_writer_init(struct framed_writer *w, const struct framed_allocator *alloc)
{
    *w = (struct framed_writer){.alloc = alloc, .below = FRAMED_FRAME_MOST + 1u};
}

void framed_writer_seal(struct framed_writer *w, struct framed_sealing *sealing)
{
    w->sealing = sealing;
    w->below = 0;
}

static struct framed_piece *piece_new(struct framed_writer *w, enum piece_kind kind, size_t room)
{
    if (room > SIZE_MAX - sizeof(struct framed_piece)) return NULL;
    struct framed_piece *p = mem_new(w->alloc, sizeof *p + room);
    if (p == NULL) return NULL;
    *p = (struct framed_piece){.kind = kind, .at = p->room, .end = p->room, .cap = room};
    return p;
}

static void piece_free(struct framed_writer *w, struct framed_piece *p)
{
    if (p->kind == TAKEN) mem_free(w->alloc, p->mem, p->cap);
    mem_free(w->alloc, p, sizeof *p + (p->kind == COPIED || p->kind == KEPT ? p->cap : 0));
}

static size_t left_of(const struct framed_piece *p)
{
    return (size_t)(p->end - p->at);
}

static void push(struct framed_writer *w, struct framed_piece *p)
{
    if (w->tail != NULL)
        w->tail->next = p;
    else
        w->head = p;
    w->tail = p;
    w->unsent += left_of(p);
}

/* The bytes of a copied piece that are still free. */
static size_t room_left(const struct framed_piece *p)
{
    return p->cap - (size_t)(p->end - p->room);
}

static bool tail_has_room(const struct framed_writer *w, size_t n)
{
    return w->tail != NULL && w->tail->kind == COPIED && n <= room_left(w->tail);
}

/* A place for n copied bytes: at the end of the last piece, or in a new one not yet pushed (*fresh). */
static uint8_t *place(struct framed_writer *w, size_t n, struct framed_piece **fresh)
{
    *fresh = NULL;
    if (tail_has_room(w, n)) return w->tail->end;
    /* A run of copies gets larger pieces the more waits; a copy that lies between other pieces will not be added to. */
    size_t total = CHUNK_LEAST;
    if (w->tail != NULL && w->tail->kind == COPIED && w->unsent > CHUNK_LEAST)
        total = w->unsent < CHUNK_MOST ? w->unsent : CHUNK_MOST;
    size_t room = total - sizeof(struct framed_piece);
    *fresh = piece_new(w, COPIED, n > room ? n : room);
    return *fresh != NULL ? (*fresh)->room : NULL;
}

static void placed(struct framed_writer *w, struct framed_piece *fresh, size_t n)
{
    if (fresh != NULL) {
        fresh->end = fresh->at + n;
        push(w, fresh);
    } else {
        w->tail->end += n;
        w->unsent += n;
    }
}

static bool allowed(const struct framed_writer *w, size_t len, uint32_t max)
{
    return len <= max && len < w->below;
}

/* Likewise of a frame that is sealed. */
static bool allowed_sealed(const struct framed_writer *w, size_t len, uint32_t max)
{
    return w->sealing != NULL && len <= max && len <= w->sealing->most;
}

/* Writes the next trailer. */
static void put_sum(struct framed_writer *w, struct framed_bytes payload, uint8_t *to)
{
    const struct framed_sum_place place = sealing_next(w->sealing);
    framed_sum_put(payload, &place, to);
}

/* A payload's length word before it, and its trailer behind. */
static void seal(struct framed_writer *w, uint8_t *payload, size_t len)
{
    be32_put(payload - FRAMED_LENGTH_SIZE, (uint32_t)len + w->sealing->trailer);
    put_sum(w, framed_bytes_of(payload, len), payload + len);
}

static inline enum framed_status copy(struct framed_writer *w, struct framed_bytes payload, size_t trailer)
{
    struct framed_piece *fresh;
    size_t n = FRAMED_LENGTH_SIZE + payload.len + trailer; /* at most 2^31+3: no wrap, also with 32 bits */
    uint8_t *at = place(w, n, &fresh);
    if (at == NULL) return FRAMED_NOMEM;
    if (trailer == 0) be32_put(at, (uint32_t)payload.len);
    if (payload.len > 0) memcpy(at + FRAMED_LENGTH_SIZE, payload.at, payload.len);
    if (trailer > 0) seal(w, at + FRAMED_LENGTH_SIZE, payload.len);
    placed(w, fresh, n);
    return FRAMED_OK;
}

/* Never inlined: plain frames would pay for its stack frame. */
__attribute__((noinline)) static enum framed_status copy_sealed(struct framed_writer *w, struct framed_bytes payload,
                                                                uint32_t max)
{
    return allowed_sealed(w, payload.len, max) ? copy(w, payload, w->sealing->trailer) : FRAMED_TOO_LARGE;
}

enum framed_status framed_writer_copy(struct framed_writer *w, struct framed_bytes payload, uint32_t max)
{
    return allowed(w, payload.len, max) ? copy(w, payload, 0) : copy_sealed(w, payload, max);
}

enum framed_status framed_writer_raw(struct framed_writer *w, struct framed_bytes bytes)
{
    struct framed_piece *fresh;
    uint8_t *at = place(w, bytes.len, &fresh);
    if (at == NULL) return FRAMED_NOMEM;
    memcpy(at, bytes.at, bytes.len);
    placed(w, fresh, bytes.len);
    return FRAMED_OK;
}

static enum framed_status lend(struct framed_writer *w, enum piece_kind kind, uint8_t *at, size_t n)
{
    struct framed_piece *p = piece_new(w, kind, 0);
    if (p == NULL) return FRAMED_NOMEM;
    p->at = at;
    p->end = at + n;
    push(w, p);
    return FRAMED_OK;
}

/* Is it cheaper to copy a frame than to make a piece of it? Where it makes no run, and is small. */
static bool too_small_to_lend(const struct framed_writer *w, size_t len)
{
    return w->tail != NULL && len <= SMALL;
}

static enum framed_status sealed_in_place(struct framed_writer *w, uint8_t *payload, size_t len)
{
    uint8_t *at = payload - FRAMED_LENGTH_SIZE;
    size_t n = FRAMED_LENGTH_SIZE + len + w->sealing->trailer;
    struct framed_piece *tail = w->tail;
    if (tail != NULL && tail->kind == LENT_SEALED && tail->end == at) {
        tail->end += n;
        w->unsent += n;
    } else {
        if (w->sealing->trailer == 0 || too_small_to_lend(w, len))
            return copy(w, framed_bytes_of(payload, len), w->sealing->trailer);
        enum framed_status st = lend(w, LENT_SEALED, at, n);
        if (st != FRAMED_OK) return st;
    }
    seal(w, payload, len);
    return FRAMED_OK;
}

enum framed_status framed_writer_in_place(struct framed_writer *w, uint8_t *payload, size_t len, uint32_t max)
{
    if (!allowed(w, len, max)) return allowed_sealed(w, len, max) ? sealed_in_place(w, payload, len) : FRAMED_TOO_LARGE;
    uint8_t *at = payload - FRAMED_LENGTH_SIZE;
    size_t n = FRAMED_LENGTH_SIZE + len;
    struct framed_piece *tail = w->tail;
    if (tail != NULL && tail->kind == LENT && tail->end == at) {
        be32_put(at, (uint32_t)len);
        tail->end += n;
        w->unsent += n;
        return FRAMED_OK;
    }
    if (too_small_to_lend(w, len)) return copy(w, framed_bytes_of(payload, len), 0);
    enum framed_status st = lend(w, LENT, at, n);
    if (st == FRAMED_OK) be32_put(at, (uint32_t)len);
    return st;
}

/* A copied piece of n bytes, to be pushed behind others. */
static struct framed_piece *copied(struct framed_writer *w, size_t n)
{
    struct framed_piece *p = piece_new(w, COPIED, CHUNK_LEAST - sizeof *p);
    if (p != NULL) p->end = p->at + n;
    return p;
}

enum framed_status framed_writer_take(struct framed_writer *w, struct framed_buf *buf, struct framed_bytes payload,
                                      uint32_t max)
{
    if (payload.len <= SMALL) { /* cheaper copied than as a piece of its own */
        enum framed_status st = framed_writer_copy(w, payload, max);
        if (st == FRAMED_OK) framed_buf_fini(buf, w->alloc);
        return st;
    }
    size_t trailer = w->sealing != NULL ? w->sealing->trailer : 0;
    if (!allowed(w, payload.len, max) && !allowed_sealed(w, payload.len, max)) return FRAMED_TOO_LARGE;
    struct framed_piece *body = piece_new(w, TAKEN, 0);
    if (body == NULL) return FRAMED_NOMEM;
    struct framed_piece *sum = trailer > 0 ? copied(w, trailer) : NULL;
    struct framed_piece *fresh;
    uint8_t *word = trailer == 0 || sum != NULL ? place(w, FRAMED_LENGTH_SIZE, &fresh) : NULL;
    if (word == NULL) {
        if (sum != NULL) piece_free(w, sum);
        mem_free(w->alloc, body, sizeof *body);
        return FRAMED_NOMEM;
    }
    be32_put(word, (uint32_t)(payload.len + trailer));
    placed(w, fresh, FRAMED_LENGTH_SIZE);
    body->at = buf->at + (payload.at - buf->at);
    body->end = body->at + payload.len;
    body->mem = buf->at;
    body->cap = buf->cap;
    push(w, body);
    if (sum != NULL) {
        put_sum(w, payload, sum->at);
        push(w, sum);
    }
    *buf = (struct framed_buf){0};
    return FRAMED_OK;
}

/* Replaces the run of lent pieces at *link by one copied piece. */
static enum framed_status keep_run(struct framed_writer *w, struct framed_piece **link)
{
    size_t n = 0;
    struct framed_piece *end = *link;
    for (; end != NULL && end->kind >= LENT; end = end->next) n += left_of(end);
    struct framed_piece *kept = piece_new(w, KEPT, n);
    if (kept == NULL) return FRAMED_NOMEM;
    for (struct framed_piece *p = *link, *next; p != end; p = next) {
        next = p->next;
        memcpy(kept->end, p->at, left_of(p));
        kept->end += left_of(p);
        piece_free(w, p);
    }
    *link = kept;
    kept->next = end;
    if (end == NULL) w->tail = kept;
    return FRAMED_OK;
}

enum framed_status framed_writer_keep(struct framed_writer *w)
{
    for (struct framed_piece **link = &w->head; *link != NULL; link = &(*link)->next) {
        if ((*link)->kind < LENT) continue;
        enum framed_status st = keep_run(w, link);
        if (st != FRAMED_OK) return st;
    }
    return FRAMED_OK;
}

size_t framed_writer_views(const struct framed_writer *w, struct framed_bytes *views, size_t most)
{
    size_t n = 0;
    for (const struct framed_piece *p = w->head; p != NULL && n < most; p = p->next)
        views[n++] = framed_bytes_of(p->at, left_of(p));
    return n;
}

void framed_writer_sent(struct framed_writer *w, size_t n)
{
    check(n <= w->unsent);
    w->unsent -= n;
    while (n > 0) {
        struct framed_piece *p = w->head;
        check(p != NULL);
        size_t k = n < left_of(p) ? n : left_of(p);
        p->at += k;
        n -= k;
        if (p->at < p->end) return;
        w->head = p->next;
        if (w->head == NULL) w->tail = NULL;
        piece_free(w, p);
    }
}

size_t framed_writer_unsent(const struct framed_writer *w)
{
    return w->unsent;
}

void framed_writer_fini(struct framed_writer *w)
{
    framed_writer_sent(w, w->unsent);
}
