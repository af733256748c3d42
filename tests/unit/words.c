/*
 * words.c: all 2^32 length words through decoder, encoder and scan, against a count that knows no shifts; with an argument, one
 * in so many and those close to a power of two. Run by `make check-long`, and one in 61 by `make check`. Prints one line, and
 * exits 1 at the first word that is judged wrongly.
 * Must not know how a word is put together or taken apart: four nested loops count the bytes, one variable the words.
 * Invariant: `n` is the number that the bytes b[0..3] spell.
 */
#include <framed/frame.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNTOUCHED = 0x5a, SAMPLE = 509 };

static const uint32_t limits[] = {FRAMED_FRAME_MOST, FRAMED_FRAME_DEFAULT};

_Noreturn static void wrong(const char *what, uint64_t n, uint32_t limit)
{
    printf("words: %s judges %08llx wrongly under the limit %u\n", what, (unsigned long long)n, (unsigned)limit);
    exit(1);
}

static void decode(const uint8_t b[4], uint64_t n, uint32_t limit)
{
    uint32_t len = UNTOUCHED;
    enum framed_status st = framed_length_decode(b, limit, &len);
    bool right = n <= limit ? st == FRAMED_OK && len == n : st == FRAMED_TOO_LARGE && len == UNTOUCHED;
    if (!right) wrong("framed_length_decode", n, limit);
}

static void encode(const uint8_t b[4], uint64_t n, uint32_t limit)
{
    static const uint8_t untouched[4] = {UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED};
    uint8_t word[4] = {UNTOUCHED, UNTOUCHED, UNTOUCHED, UNTOUCHED};
    enum framed_status st = framed_length_encode(word, (size_t)n, limit);
    bool right =
        n <= limit ? st == FRAMED_OK && memcmp(word, b, 4) == 0 : st == FRAMED_TOO_LARGE && memcmp(word, untouched, 4) == 0;
    if (!right) wrong("framed_length_encode", n, limit);
}

static bool is_begin(enum framed_status st, const struct framed_token *token, uint64_t n)
{
    return st == FRAMED_OK && token->kind == FRAMED_BEGIN && token->length == n;
}

static void scan(const uint8_t b[4], uint64_t n, uint32_t limit)
{
    struct framed_scan s;
    struct framed_bytes in = framed_bytes_of(b, 4);
    struct framed_token token;
    framed_scan_init(&s, limit);
    enum framed_status st = framed_scan_next(&s, &in, &token);
    bool right = n <= limit ? is_begin(st, &token, n) : st == FRAMED_TOO_LARGE && s.length == n;
    if (!right || in.len != 0) wrong("framed_scan_next", n, limit);
}

/* The word in up to four pieces: bit i of `cuts` cuts behind byte i. */
static void scan_cut(const uint8_t b[4], uint64_t n, uint32_t limit, unsigned cuts)
{
    struct framed_scan s;
    struct framed_token token;
    framed_scan_init(&s, limit);
    enum framed_status st = FRAMED_MORE;
    for (size_t from = 0, to = 1; to <= 4; to++) {
        if (to < 4 && (cuts & 1u << (to - 1)) == 0) continue;
        struct framed_bytes in = framed_bytes_of(b + from, to - from);
        st = framed_scan_next(&s, &in, &token);
        if (in.len != 0 || (to < 4 && st != FRAMED_MORE)) wrong("framed_scan_next (cut)", n, limit);
        if (to < 4 && framed_scan_end(&s) != FRAMED_TRUNCATED) wrong("framed_scan_end", n, limit);
        from = to;
    }
    bool right = n <= limit ? is_begin(st, &token, n) : st == FRAMED_TOO_LARGE && s.length == n;
    if (!right) wrong("framed_scan_next (cut)", n, limit);
    if (n > limit && framed_scan_end(&s) != FRAMED_TOO_LARGE) wrong("framed_scan_end", n, limit);
}

static bool is_close_to_a_power(uint64_t n)
{
    return ((n + 2) & (n - 2)) < 8;
}

static void judge(const uint8_t b[4], uint64_t n)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        decode(b, n, limits[i]);
        encode(b, n, limits[i]);
        scan(b, n, limits[i]);
    }
    if (n % SAMPLE != 0 && !is_close_to_a_power(n)) return;
    for (unsigned cuts = 0; cuts < 8; cuts++) {
        scan_cut(b, n, FRAMED_FRAME_MOST, cuts);
        scan_cut(b, n, n > 0 && n <= FRAMED_FRAME_MOST ? (uint32_t)n : 1, cuts);
        if (n > 1 && n <= FRAMED_FRAME_MOST) scan_cut(b, n, (uint32_t)n - 1, cuts);
    }
}

int main(int argc, char **argv)
{
    uint64_t n = 0, judged = 0, stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    if (stride == 0) return 2;
    uint8_t b[4] = {0, 0, 0, 0};
    do {
        do {
            do {
                do {
                    if (n % stride == 0 || is_close_to_a_power(n)) {
                        judge(b, n);
                        judged++;
                    }
                    n++;
                } while (++b[3] != 0);
            } while (++b[2] != 0);
        } while (++b[1] != 0);
    } while (++b[0] != 0);

    for (unsigned bit = 32; bit < 8 * sizeof(size_t);
         bit++) { /* lengths that no word can say, with a low part that one can */
        uint8_t word[4];
        size_t len = ((size_t)1 << bit) + 5;
        if (framed_length_encode(word, len, FRAMED_FRAME_MOST) != FRAMED_TOO_LARGE) wrong("encode", len, FRAMED_FRAME_MOST);
        if (framed_length_encode(word, len, UINT32_MAX) != FRAMED_TOO_LARGE) wrong("encode", len, UINT32_MAX);
    }
    printf("words: %llu words judged rightly by decoder, encoder and scan\n", (unsigned long long)judged);
    return 0;
}
