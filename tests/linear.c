/*
 * linear.c: one frame of the given size through the scan or the reader, a byte at a time; for counting its instructions.
 * Must not know what counts them (linear.sh does).
 * Invariant: everything beyond the start of the program is work that grows with the size.
 */
#include <framed/frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Always moves, here in this program: whoever counts instructions sees the price of growing. */
static void *resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx;
    uint8_t *fresh = new_size > 0 ? malloc(new_size) : NULL;
    if (fresh != NULL && at != NULL) memcpy(fresh, at, old_size < new_size ? old_size : new_size);
    if (fresh != NULL || new_size == 0) free(at);
    return fresh;
}

static const struct framed_allocator allocator = {.resize = resize};

static int through_scan(const uint8_t word[4], size_t size)
{
    struct framed_scan scan;
    framed_scan_init(&scan, FRAMED_FRAME_MOST);
    enum framed_token_kind last = FRAMED_BEGIN;
    for (size_t i = 0; i < 4 + size; i++) {
        uint8_t byte = i < 4 ? word[i] : 'x';
        struct framed_bytes in = framed_bytes_of(&byte, 1);
        struct framed_token token;
        while (framed_scan_next(&scan, &in, &token) == FRAMED_OK) last = token.kind;
    }
    return last == FRAMED_END;
}

/* Receives one byte, in place (copy_max is 1 then) or lent. */
static enum framed_status receive(struct framed_reader *reader, uint8_t byte, int in_place)
{
    uint8_t *at;
    size_t room;
    static uint8_t lent;
    if (in_place && framed_reader_space(reader, &at, &room) == FRAMED_OK) {
        *at = byte;
        return framed_reader_filled(reader, 1);
    }
    lent = byte;
    return framed_reader_feed(reader, &lent, 1);
}

static int through_reader(const uint8_t word[4], size_t size, int in_place)
{
    struct framed_reader reader;
    framed_reader_init(&reader, FRAMED_FRAME_MOST, in_place ? 1 : 0, &allocator);
    struct framed_bytes payload = {NULL, 0};
    size_t frames = 0;
    for (size_t i = 0; i < 4 + size; i++) {
        if (receive(&reader, i < 4 ? word[i] : 'x', in_place) != FRAMED_OK) return 0;
        while (framed_reader_next(&reader, &payload) == FRAMED_OK) frames++;
    }
    framed_reader_fini(&reader);
    return frames == 1 && payload.len == size;
}

int main(int argc, char **argv)
{
    uint8_t word[4];
    size_t size = argc == 3 ? (size_t)strtoul(argv[2], NULL, 10) : 0;
    if (argc != 3 || framed_length_encode(word, size, FRAMED_FRAME_MOST) != FRAMED_OK) {
        fputs("usage: linear scan|lent|direct BYTES\n", stderr);
        return 2;
    }
    int right = strcmp(argv[1], "scan") == 0     ? through_scan(word, size)
                : strcmp(argv[1], "direct") == 0 ? through_reader(word, size, 1)
                                                 : through_reader(word, size, 0);
    return right ? 0 : 1;
}
