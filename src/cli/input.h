/*
 * input.h: messages out of a stream of bytes: lines, pieces ended by zero bytes, frames, or the whole. Does not read by itself:
 * whoever has the descriptor fills it. Memory is bounded by one chunk and one message.
 */
#ifndef FRAMED_CLI_INPUT_H
#define FRAMED_CLI_INPUT_H

#include <framed/base.h>
#include <framed/frame.h>
#include <stdbool.h>

enum cli_input_mode { INPUT_LINES, INPUT_NULL, INPUT_WHOLE, INPUT_FRAMED };

/* Initialise with framed_input_init, treat the fields as private. */
struct cli_input {
    enum cli_input_mode mode;
    uint32_t max_frame;
    const struct framed_allocator *alloc;
    uint8_t *chunk; /* FRAMED_RECEIVE_SIZE bytes: the last read, of which [pos, len) is not yet taken */
    size_t pos, len;
    struct framed_buf partial; /* a message cut by the end of a chunk */
    struct framed_reader reader;
    uint64_t number;  /* messages given out */
    uint64_t claimed; /* after TOO_LARGE: the length found ... */
    bool exact;       /* ... all of it, not only what was read so far */
    bool given;       /* partial was given out, and goes with the next step */
    bool ended;
};

/* FRAMED_NOMEM. `alloc` is borrowed until fini. */
enum framed_status framed_input_init(struct cli_input *in, enum cli_input_mode mode, uint32_t max_frame,
                                     const struct framed_allocator *alloc);

/*
 * The next message. FRAMED_OK: *message is a view, valid until the next call here. FRAMED_MORE: read more, or say that it ended.
 * FRAMED_CLOSED: there are no more. FRAMED_TOO_LARGE: the next one is longer than max_frame. FRAMED_TRUNCATED: the input
 * ended inside a frame. FRAMED_NOMEM. All but the first two are final.
 */
enum framed_status framed_input_next(struct cli_input *in, struct framed_bytes *message);

/* After FRAMED_MORE: where the next bytes go. Then framed_input_filled, n > 0, or framed_input_end. */
uint8_t *framed_input_room(struct cli_input *in, size_t *room);
void framed_input_filled(struct cli_input *in, size_t n);
void framed_input_end(struct cli_input *in);

/* After FRAMED_TOO_LARGE: how long the message is. *exact false: longer than was read so far, which is what is returned. */
uint64_t framed_input_claimed(const struct cli_input *in, bool *exact);

void framed_input_fini(struct cli_input *in);

#endif
