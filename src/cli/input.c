/*
 * Owns: the splitting of standard input into messages, and the memory of a message that was cut between two reads.
 * Must not know: descriptors, sockets, what becomes of a message.
 * Invariants: payload bytes are never altered; `partial` never grows beyond max_frame; a chunk is filled only when it is used up.
 */
#include "input.h"
#include <string.h>

enum framed_status framed_input_init(struct cli_input *in, enum cli_input_mode mode, uint32_t max_frame,
                                     const struct framed_allocator *alloc)
{
    memset(in, 0, sizeof *in);
    in->chunk = alloc->resize(alloc->ctx, NULL, 0, FRAMED_RECEIVE_SIZE);
    if (in->chunk == NULL) return FRAMED_NOMEM;
    in->mode = mode;
    in->max_frame = max_frame;
    in->alloc = alloc;
    framed_reader_init(&in->reader, max_frame, 0, alloc);
    return FRAMED_OK;
}

void framed_input_fini(struct cli_input *in)
{
    if (in->chunk == NULL) return;
    framed_reader_fini(&in->reader);
    framed_buf_fini(&in->partial, in->alloc);
    in->alloc->resize(in->alloc->ctx, in->chunk, FRAMED_RECEIVE_SIZE, 0);
    in->chunk = NULL;
}

uint8_t *framed_input_room(struct cli_input *in, size_t *room)
{
    *room = FRAMED_RECEIVE_SIZE;
    return in->chunk;
}

void framed_input_filled(struct cli_input *in, size_t n)
{
    in->pos = 0;
    in->len = n;
    if (in->mode == INPUT_FRAMED) {
        enum framed_status st = framed_reader_feed(&in->reader, in->chunk, n);
        (void)st; /* its failures are sticky, and next() tells them */
    }
}

void framed_input_end(struct cli_input *in)
{
    in->ended = true;
}

uint64_t framed_input_claimed(const struct cli_input *in, bool *exact)
{
    *exact = in->exact;
    return in->claimed;
}

static enum framed_status refuse(struct cli_input *in, uint64_t claimed, bool exact)
{
    in->claimed = claimed;
    in->exact = exact;
    return FRAMED_TOO_LARGE;
}

/* Copies n bytes of the chunk, after which the message goes on unless `last`. Refused before anything is stored. */
static enum framed_status keep(struct cli_input *in, size_t n, bool last)
{
    if (n > in->max_frame - in->partial.len) return refuse(in, (uint64_t)in->partial.len + n, last);
    enum framed_status st =
        framed_buf_append(&in->partial, framed_bytes_of(in->chunk + in->pos, n), in->max_frame, in->alloc);
    if (st == FRAMED_OK) in->pos += n;
    return st;
}

static enum framed_status give_partial(struct cli_input *in, struct framed_bytes *message)
{
    *message = framed_bytes_of(in->partial.at, in->partial.len);
    in->given = true;
    in->number++;
    return FRAMED_OK;
}

/* The memory of a message that was given out goes, unless it is small enough to be worth keeping. */
static void drop_partial(struct cli_input *in)
{
    in->given = false;
    if (in->partial.cap > FRAMED_RECEIVE_SIZE) framed_buf_fini(&in->partial, in->alloc);
    in->partial.len = 0;
}

static enum framed_status next_piece(struct cli_input *in, uint8_t end, struct framed_bytes *message)
{
    const uint8_t *at = in->chunk + in->pos;
    size_t left = in->len - in->pos;
    const uint8_t *found = left > 0 ? memchr(at, end, left) : NULL;
    size_t n = found != NULL ? (size_t)(found - at) : left;
    if (found != NULL && in->partial.len == 0) {
        if (n > in->max_frame) return refuse(in, n, true);
        *message = framed_bytes_of(at, n);
        in->pos += n + 1;
        in->number++;
        return FRAMED_OK;
    }
    enum framed_status st = keep(in, n, found != NULL);
    if (st != FRAMED_OK) return st;
    if (found != NULL) {
        in->pos++;
        return give_partial(in, message);
    }
    if (!in->ended) return FRAMED_MORE;
    if (in->partial.len == 0) return FRAMED_CLOSED; /* nothing after the last newline: no message */
    return give_partial(in, message);
}

static enum framed_status next_whole(struct cli_input *in, struct framed_bytes *message)
{
    enum framed_status st = keep(in, in->len - in->pos, false);
    if (st != FRAMED_OK) return st;
    if (!in->ended) return FRAMED_MORE;
    if (in->number > 0) return FRAMED_CLOSED;
    return give_partial(in, message);
}

static enum framed_status next_frame(struct cli_input *in, struct framed_bytes *message)
{
    enum framed_status st = in->ended ? framed_reader_end(&in->reader) : framed_reader_next(&in->reader, message);
    if (st == FRAMED_TOO_LARGE) return refuse(in, framed_reader_claimed(&in->reader), true);
    if (st == FRAMED_OK) in->number++;
    return st;
}

enum framed_status framed_input_next(struct cli_input *in, struct framed_bytes *message)
{
    if (in->given) drop_partial(in);
    switch (in->mode) {
    case INPUT_LINES: return next_piece(in, '\n', message);
    case INPUT_NULL: return next_piece(in, '\0', message);
    case INPUT_WHOLE: return next_whole(in, message);
    default: return next_frame(in, message);
    }
}
