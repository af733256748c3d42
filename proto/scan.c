/*
 * scan.c: the one parser of the wire: any input to BEGIN, DATA, END (PROTOCOL.md §2).
 * Must not know who keeps the bytes; it keeps none but a cut length word.
 * Invariants: max_frame <= 2^31-1; in the payload, left <= length <= max_frame.
 *
 *   state            input                       token, next state
 *   0..3 (of word)   a byte                      none; one more
 *                    the last byte of the word   BEGIN, PAYLOAD; or TOO_LARGE, FAILED
 *   PAYLOAD          bytes, left > 0             DATA
 *                    left == 0                   END, 0 (also without input: an empty frame has nothing to wait for)
 *   FAILED           anything                    TOO_LARGE
 */
#include "length.h"
#include <stdbool.h>

enum { PAYLOAD = 4, FAILED = 5 };

enum framed_status framed_length_encode(uint8_t word[4], size_t len, uint32_t max)
{
    if (len > max || len > FRAMED_FRAME_MOST) return FRAMED_TOO_LARGE;
    be32_put(word, (uint32_t)len);
    return FRAMED_OK;
}

enum framed_status framed_length_decode(const uint8_t word[4], uint32_t max, uint32_t *len)
{
    uint32_t claimed = be32_get(word);
    if (claimed > max || claimed > FRAMED_FRAME_MOST) return FRAMED_TOO_LARGE;
    *len = claimed;
    return FRAMED_OK;
}

static bool is_text(uint32_t word)
{
    for (unsigned shift = 0; shift < 32; shift += 8) {
        uint8_t c = (uint8_t)(word >> shift);
        if ((c < 0x20 || c > 0x7e) && c != '\t' && c != '\r' && c != '\n') return false;
    }
    return true;
}

const char *framed_length_hint(uint32_t word)
{
    static const struct {
        uint32_t word;
        const char *is;
    } openings[] = {
        {0x47455420, "HTTP"}, /* "GET " */
        {0x504f5354, "HTTP"}, /* "POST" */
        {0x48545450, "HTTP"}, /* "HTTP" */
        {0x48454144, "HTTP"}, /* "HEAD" */
        {0x50555420, "HTTP"}, /* "PUT " */
        {0x44454c45, "HTTP"}, /* "DELE" */
        {0x4f505449, "HTTP"}, /* "OPTI" */
        {0x50415443, "HTTP"}, /* "PATC" */
        {0x434f4e4e, "HTTP"}, /* "CONN" */
        {0x50524920, "HTTP"}, /* "PRI ", HTTP/2 */
        {0x5353482d, "SSH"},  /* "SSH-" */
        {0x50524f58, "the PROXY protocol"},
        {0x0d0a0d0a, "the PROXY protocol"},
    };
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
        if (openings[i].word == word) return openings[i].is;
    if (word >> 16 == 0x1603 && (word >> 8 & 0xff) <= 4) return "TLS"; /* a handshake record of SSL 3.0 to TLS 1.3 */
    if ((word >> 8 | 0x2000) == 0xf76601) return "an extended framed connection"; /* f7 46 01 or f7 66 01 */
    if (is_text(word)) return "text";
    uint32_t swapped = word >> 24 | (word >> 8 & 0xff00) | (word << 8 & 0xff0000) | word << 24;
    if (swapped >= 1 && swapped <= 0xffff) return "a little-endian length";
    return NULL;
}

void framed_scan_init(struct framed_scan *scan, uint32_t max_frame)
{
    *scan = (struct framed_scan){.max_frame = length_limit(max_frame)};
}

/* Takes bytes of the length word until it is whole. */
static enum framed_status take_word(struct framed_scan *scan, struct framed_bytes *in, uint32_t *claimed)
{
    if (scan->state == 0 && in->len >= FRAMED_LENGTH_SIZE) {
        *claimed = be32_get(in->at);
        in->at += FRAMED_LENGTH_SIZE;
        in->len -= FRAMED_LENGTH_SIZE;
        return FRAMED_OK;
    }
    while (in->len > 0) {
        uint8_t byte = *in->at;
        in->at++;
        in->len--;
        if (scan->state == FRAMED_LENGTH_SIZE - 1) {
            uint8_t word[4] = {scan->word[0], scan->word[1], scan->word[2], byte};
            *claimed = be32_get(word);
            return FRAMED_OK;
        }
        scan->word[scan->state++] = byte;
    }
    return FRAMED_MORE;
}

enum framed_status framed_scan_next(struct framed_scan *scan, struct framed_bytes *in, struct framed_token *token)
{
    if (scan->state == FAILED) return FRAMED_TOO_LARGE;
    if (scan->state < PAYLOAD) {
        enum framed_status st = take_word(scan, in, &scan->length);
        if (st != FRAMED_OK) return st;
        if (scan->length > scan->max_frame) {
            scan->state = FAILED;
            return FRAMED_TOO_LARGE;
        }
        scan->left = scan->length;
        scan->state = PAYLOAD;
        *token = (struct framed_token){.kind = FRAMED_BEGIN, .length = scan->length};
        return FRAMED_OK;
    }
    if (scan->left == 0) {
        scan->state = 0;
        *token = (struct framed_token){.kind = FRAMED_END, .length = scan->length};
        return FRAMED_OK;
    }
    if (in->len == 0) return FRAMED_MORE;
    size_t n = in->len < scan->left ? in->len : scan->left;
    *token = (struct framed_token){.kind = FRAMED_DATA, .length = scan->length, .data = {in->at, n}};
    scan->left -= (uint32_t)n;
    in->at += n;
    in->len -= n;
    return FRAMED_OK;
}

enum framed_status framed_scan_end(const struct framed_scan *scan)
{
    if (scan->state == FAILED) return FRAMED_TOO_LARGE;
    bool between = scan->state == 0 || (scan->state == PAYLOAD && scan->left == 0);
    return between ? FRAMED_CLOSED : FRAMED_TRUNCATED;
}
