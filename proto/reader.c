/*
 * reader.c: whole frames out of any split (PROTOCOL.md §2.5): the partial-read state machine.
 * Must not know where bytes come from or who takes the frames; reads the wire through the scan only.
 * Invariants: own_len <= own_cap; what is allocated is at most twice the bytes received of the frame plus 4 KiB, or, while
 * a loan is parked, what was parked; between frames nothing is.
 *
 *   WANT_LENGTH    scan.state < 4     the loan gives whole frames as views; a cut length word stays in the scan
 *   WANT_PAYLOAD   scan.state == 4    holds == CUT: the payload so far is own[0, own_len)
 *   ENDED, FAILED  ended != OK        sticky
 *
 * `own` serves one frame cut in the past: CUT while it grows, WHOLE from the moment it is given out to the end of the loan.
 * A parked loan is copied behind it, so that going on needs no second buffer.
 */
#include "alloc.h"
#include "length.h"
#include <stdbool.h>
#include <string.h>

enum { NOTHING, CUT, WHOLE };
enum { OWN_LEAST = 4096, LOAN_MOST = 0x7fffffff };

void framed_reader_init(struct framed_reader *r, uint32_t max_frame, uint32_t copy_max, const struct framed_allocator *alloc)
{
    *r = (struct framed_reader){.alloc = alloc, .copy_max = copy_max != 0 ? copy_max : FRAMED_RECEIVE_SIZE};
    framed_scan_init(&r->scan, max_frame);
}

/* What is left of the loan. */
static uint32_t lent(const struct framed_reader *r)
{
    return (uint32_t)(r->end - r->at);
}

static void release_own(struct framed_reader *r)
{
    mem_free(r->alloc, r->own, r->own_cap);
    r->own = NULL;
    r->own_len = r->own_cap = r->copied = 0;
    r->holds = NOTHING;
    r->parked = false;
}

static enum framed_status fail(struct framed_reader *r, enum framed_status st)
{
    release_own(r);
    r->at = r->end = NULL;
    r->ended = (int8_t)st;
    return st;
}

/* How much to own for `received` bytes of a frame of `length`: room to grow, but bought with bytes, not with a claim. */
static uint32_t worth(uint32_t received, uint32_t length)
{
    uint32_t cap = received < OWN_LEAST / 2 ? OWN_LEAST : received > length / 2 ? length : received * 2;
    return cap < length ? cap : length;
}

static enum framed_status resize_own(struct framed_reader *r, uint32_t cap)
{
    uint8_t *own = mem_resize(r->alloc, r->own, r->own_cap, cap);
    if (own == NULL) return FRAMED_NOMEM;
    r->own = own;
    r->own_cap = cap;
    return FRAMED_OK;
}

/* Adds payload bytes of a cut frame to what we own. */
static enum framed_status collect(struct framed_reader *r, struct framed_bytes data)
{
    if (r->holds == WHOLE) { /* its loan ends here: a cut frame is always the last thing in a loan */
        if (!r->parked) release_own(r);
        r->own_len = r->copied = 0;
    }
    r->holds = CUT;
    uint32_t n = (uint32_t)data.len;
    if (r->parked) { /* the bytes are ours already, perhaps even in the right place */
        if (data.at != r->own + r->own_len) memmove(r->own + r->own_len, data.at, n);
    } else {
        if (n > r->own_cap - r->own_len) {
            enum framed_status st = resize_own(r, worth(r->own_len + n, r->scan.length));
            if (st != FRAMED_OK) return st;
        }
        check(r->own != NULL);
        memcpy(r->own + r->own_len, data.at, n);
    }
    r->own_len += n;
    r->copied += n;
    return FRAMED_OK;
}

/* The loan is used up. What only lived as long goes with it. Never inlined, like take_cut: what they need of the stack is not to
 * be paid for by those whose frames came whole. */
__attribute__((noinline)) static void end_loan(struct framed_reader *r)
{
    r->at = r->end = NULL;
    if (r->holds != CUT) {
        if (r->own != NULL) release_own(r);
    } else if (r->parked) {
        uint32_t cap = worth(r->own_len, r->scan.length);
        if (cap < r->own_cap) (void)resize_own(r, cap); /* a failure to shrink loses nothing */
    }
    r->parked = false;
}

enum framed_status framed_reader_feed(struct framed_reader *r, uint8_t *at, size_t n)
{
    if (r->ended != FRAMED_OK || lent(r) > 0 || n > LOAN_MOST) return FRAMED_USAGE;
    if (r->own != NULL) end_loan(r); /* whoever lends again does not need what he lent before */
    r->at = at;
    r->end = n > 0 ? at + n : at;
    return FRAMED_OK;
}

/* The frame that ends a loan, or lies in more than one. */
__attribute__((noinline)) static enum framed_status take_cut(struct framed_reader *r, struct framed_bytes *payload)
{
    struct framed_bytes view = {0};
    for (;;) {
        struct framed_bytes in = {r->at, lent(r)};
        struct framed_token token;
        enum framed_status st = framed_scan_next(&r->scan, &in, &token);
        if (st < FRAMED_OK) return fail(r, st);
        r->at = (uint8_t *)in.at; /* lent to us as uint8_t *: the const is the scan's promise, not the lender's */
        if (st == FRAMED_MORE) {
            end_loan(r);
            return FRAMED_MORE;
        }
        switch (token.kind) {
        case FRAMED_BEGIN: break;
        case FRAMED_DATA:
            if (r->holds != CUT && token.data.len == token.length) {
                view = token.data;
            } else {
                st = collect(r, token.data);
                if (st != FRAMED_OK) return fail(r, st);
            }
            break;
        case FRAMED_END:
            if (r->holds == CUT) {
                view = framed_bytes_of(r->own, r->own_len);
                r->holds = WHOLE;
            }
            *payload = view;
            return FRAMED_OK;
        }
    }
}

enum framed_status framed_reader_next_cut(struct framed_reader *r, struct framed_bytes *payload)
{
    if (r->ended != FRAMED_OK) return (enum framed_status)r->ended;
    if (r->at == r->end && r->own == NULL) return FRAMED_MORE;
    return take_cut(r, payload);
}

/* The symbol for those who do not compile the header's inline one. */
extern inline enum framed_status framed_reader_next(struct framed_reader *r, struct framed_bytes *payload);

enum framed_status framed_reader_park(struct framed_reader *r)
{
    if (r->ended != FRAMED_OK) return (enum framed_status)r->ended;
    if (r->parked) return FRAMED_OK;
    uint32_t left = lent(r);
    if (left == 0) {
        end_loan(r);
        return FRAMED_OK;
    }
    if (r->holds == WHOLE) release_own(r);
    if (left > r->own_cap - r->own_len) { /* each is at most 2^31-1: LOAN_MOST, FRAMED_FRAME_MOST */
        enum framed_status st = resize_own(r, r->own_len + left);
        if (st != FRAMED_OK) return fail(r, st);
    }
    check(r->own != NULL);
    memcpy(r->own + r->own_len, r->at, left);
    r->at = r->own + r->own_len;
    r->end = r->at + left;
    r->parked = true;
    return FRAMED_OK;
}

enum framed_status framed_reader_take(struct framed_reader *r, struct framed_bytes payload, struct framed_buf *buf)
{
    if (r->holds != WHOLE || r->parked || payload.at != r->own) return FRAMED_MORE;
    *buf = (struct framed_buf){.at = r->own, .len = r->own_len, .cap = r->own_cap};
    r->own = NULL;
    r->own_len = r->own_cap = r->copied = 0;
    r->holds = NOTHING;
    return FRAMED_OK;
}

enum framed_status framed_reader_space(struct framed_reader *r, uint8_t **at, size_t *room)
{
    if (r->ended != FRAMED_OK) return (enum framed_status)r->ended;
    if (lent(r) > 0) return FRAMED_USAGE;
    /* Copying the rest is cheaper as long as all that was copied of the frame stays within one receive's worth. */
    if (r->holds != CUT || r->scan.left == 0) return FRAMED_MORE;
    if (r->copied <= r->copy_max && r->scan.left <= r->copy_max - r->copied) return FRAMED_MORE;
    if (r->own_len == r->own_cap) {
        enum framed_status st = resize_own(r, worth(r->own_len, r->scan.length));
        if (st != FRAMED_OK) return fail(r, st);
    }
    *at = r->own + r->own_len;
    *room = r->own_cap - r->own_len;
    if (*room > r->scan.left) *room = r->scan.left; /* a block that could not be shrunk may reach behind the frame */
    return FRAMED_OK;
}

enum framed_status framed_reader_filled(struct framed_reader *r, size_t n)
{
    if (r->ended != FRAMED_OK || lent(r) > 0 || r->holds != CUT) return FRAMED_USAGE;
    if (n > r->own_cap - r->own_len || n > r->scan.left) return FRAMED_USAGE;
    if (n == 0) return FRAMED_OK;
    struct framed_bytes in = {r->own + r->own_len, n};
    struct framed_token token;
    check(framed_scan_next(&r->scan, &in, &token) == FRAMED_OK && token.kind == FRAMED_DATA && in.len == 0);
    r->own_len += (uint32_t)n;
    return FRAMED_OK;
}

enum framed_status framed_reader_end(struct framed_reader *r)
{
    if (r->ended != FRAMED_OK) return (enum framed_status)r->ended;
    if (lent(r) > 0) return FRAMED_USAGE;
    return fail(r, framed_scan_end(&r->scan));
}

size_t framed_reader_held(const struct framed_reader *r)
{
    if (r->ended != FRAMED_OK) return 0;
    return (size_t)lent(r) + r->scan.state + (r->holds == CUT ? r->own_len : 0);
}

uint32_t framed_reader_claimed(const struct framed_reader *r)
{
    return r->scan.length;
}

void framed_reader_fini(struct framed_reader *r)
{
    release_own(r);
    r->at = r->end = NULL;
}
