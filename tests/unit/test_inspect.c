/*
 * test_inspect.c: what `framed inspect` says of streams of bytes (src/cli/inspect.h).
 * Must not know files, or how the engine keeps its state.
 * Invariant: what is compared is all that reached the sink; expectations are written out, or put together from the frames.
 */
#include "cli/inspect.h"
#include "meter.h"
#include "splits.h"
#include "vectors.h"
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_CUTS = 4 };

/* ---- text that grows ---- */

struct text {
    char *at;
    size_t len, cap;
};

static void add(struct text *text, const void *at, size_t n)
{
    if (n > text->cap - text->len) {
        text->cap = 2 * text->cap + n + 256;
        text->at = realloc(text->at, text->cap);
        assert_non_null(text->at);
    }
    if (n > 0) memcpy(text->at + text->len, at, n);
    text->len += n;
}

static void say(struct text *text, const char *format, ...)
{
    char line[400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof line);
    add(text, line, (size_t)n);
}

/* ---- one inspection ---- */

static struct text sunk;
static struct meter meter;
static struct inspect inspect;
static struct inspect_stats stats;
static struct inspect_config config;

static enum framed_status sink(void *ctx, const uint8_t *at, size_t n)
{
    assert_ptr_equal(ctx, &sunk);
    add(&sunk, at, n);
    return FRAMED_OK;
}

static int set_up(void **state)
{
    (void)state;
    meter_init(&meter);
    config = (struct inspect_config){.alloc = &meter.allocator};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    meter_fini(&meter);
    free(sunk.at);
    sunk = (struct text){0};
    return 0;
}

static void begin(void)
{
    sunk.len = 0;
    memset(&stats, 0, sizeof stats);
    framed_inspect_init(&inspect, &config, sink, &sunk);
}

/* All that was said until now is this, and the next begins with nothing. */
static void said_exactly(const char *what, size_t n)
{
    assert_int_equal(framed_inspect_flush(&inspect), FRAMED_OK);
    if (sunk.len != n || (n > 0 && memcmp(sunk.at, what, n) != 0))
        fail_msg("said:\n%.*s\nnot:\n%.*s", (int)sunk.len, sunk.at, (int)n, what);
    sunk.len = 0;
}

static void said(const char *what)
{
    said_exactly(what, strlen(what));
}

static enum framed_status show_file(const void *at, size_t n)
{
    struct inspect_stream stream;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    framed_inspect_bytes(&stream, 0, at, n);
    framed_inspect_end(&stream, 0);
    assert_int_equal(framed_inspect_finish(&inspect), FRAMED_OK);
    return framed_inspect_found(&inspect);
}

/* A literal's bytes; what was found; what is said. */
#define SHOWS(bytes, found, lines)                                                                                          \
    do {                                                                                                                    \
        assert_int_equal(show_file(bytes, sizeof bytes - 1), found);                                                        \
        said(lines);                                                                                                        \
    } while (0)

/* A frame of n bytes 'x'; owned by the caller. */
static uint8_t *frame_of(size_t n)
{
    uint8_t *at = malloc(n + 4);
    assert_non_null(at);
    assert_int_equal(framed_length_encode(at, n, FRAMED_FRAME_MOST), FRAMED_OK);
    memset(at + 4, 'x', n);
    return at;
}

/* ---- files ---- */

static void a_line_per_frame_names_offset_length_and_text(void **state)
{
    (void)state;
    SHOWS("\0\0\0\5hello\0\0\0\0\0\0\0\1!", FRAMED_OK,
          "off 0  len 5  \"hello\"\noff 9  len 0  \"\"\noff 13  len 1  \"!\"\n");
}

static void an_empty_stream_says_nothing(void **state)
{
    (void)state;
    SHOWS("", FRAMED_OK, "");
    config.json = true;
    SHOWS("", FRAMED_OK, "");
}

static void a_frame_is_shown_when_its_last_byte_is_there(void **state)
{
    (void)state;
    struct inspect_stream stream;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\5hell", 8);
    said("");
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"o", 1);
    said("off 0  len 5  \"hello\"\n");
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\0", 4); /* nothing to wait for */
    said("off 9  len 0  \"\"\n");
    framed_inspect_end(&stream, 0);
}

static void a_cut_frame_is_named_with_what_is_there(void **state)
{
    (void)state;
    SHOWS("\0\0\0\5hel", FRAMED_TRUNCATED, "off 0  len 5  TRUNCATED: have 3 of 5 bytes\n");
    SHOWS("\0\0\0\1x\0\0\0\5", FRAMED_TRUNCATED, "off 0  len 1  \"x\"\noff 5  len 5  TRUNCATED: have 0 of 5 bytes\n");
    config.json = true;
    SHOWS("\0\0\0\5hel", FRAMED_TRUNCATED,
          "{\"schema\":\"framed.inspect/1\",\"event\":\"truncated\",\"off\":0,\"len\":5,\"have\":3,\"text\":\"hel\"}\n");
}

static void a_cut_length_word_is_named_as_one(void **state)
{
    (void)state;
    SHOWS("\0\0\0\0\0", FRAMED_TRUNCATED, "off 0  len 0  \"\"\noff 4  TRUNCATED: have 1 of 4 bytes of a length word\n");
    SHOWS("\0\0\0", FRAMED_TRUNCATED, "off 0  TRUNCATED: have 3 of 4 bytes of a length word\n");
    config.json = true;
    SHOWS("\0\0\0", FRAMED_TRUNCATED,
          "{\"schema\":\"framed.inspect/1\",\"event\":\"truncated\",\"off\":0,\"have_of_length\":3}\n");
}

static void a_frame_too_large_names_both_lengths_and_the_rest_is_counted(void **state)
{
    (void)state;
    config.max_frame = 16;
    SHOWS("\0\0\0\1a\0\0\0\21\0\0\0\1b", FRAMED_TOO_LARGE,
          "off 0  len 1  \"a\"\noff 5  len 17  TOO LARGE: at most 16 allowed\noff 9  not interpreted: 5 bytes\n");
    SHOWS("\0\0\0\21\0", FRAMED_TOO_LARGE, "off 0  len 17  TOO LARGE: at most 16 allowed\noff 4  not interpreted: 1 byte\n");
    SHOWS("\0\0\0\21", FRAMED_TOO_LARGE, "off 0  len 17  TOO LARGE: at most 16 allowed\n");
    config.max_frame = 0;
    SHOWS("\377\377\377\377", FRAMED_TOO_LARGE, "off 0  len 4294967295  TOO LARGE: at most 16777216 allowed\n");
    config.max_frame = UINT32_MAX;
    SHOWS("\200\0\0\1", FRAMED_TOO_LARGE, "off 0  len 2147483649  TOO LARGE: at most 2147483647 allowed\n");
    config = (struct inspect_config){.json = true, .alloc = &meter.allocator};
    SHOWS(
        "\200\0\0\1\0", FRAMED_TOO_LARGE,
        "{\"schema\":\"framed.inspect/1\",\"event\":\"too_large\",\"off\":0,\"claimed\":2147483649,\"max_frame\":16777216}\n"
        "{\"schema\":\"framed.inspect/1\",\"event\":\"not_interpreted\",\"off\":4,\"bytes\":1}\n");
}

#define TOO_LARGE(len) "off 0  len " len "  TOO LARGE: at most 16777216 allowed"

static void what_a_rejected_word_looks_like_is_said(void **state)
{
    (void)state;
    SHOWS("GET ", FRAMED_TOO_LARGE, TOO_LARGE("1195725856") "; this looks like HTTP\n");
    SHOWS("\26\3\1\2", FRAMED_TOO_LARGE, TOO_LARGE("369295618") "; this looks like TLS\n");
    SHOWS("SSH-", FRAMED_TOO_LARGE, TOO_LARGE("1397966893") "; this looks like SSH\n");
    SHOWS("\367G\1\0", FRAMED_TOO_LARGE, TOO_LARGE("4148625664") "\n"); /* nearly an opening */
    config.json = true;
    SHOWS("GET ", FRAMED_TOO_LARGE,
          "{\"schema\":\"framed.inspect/1\",\"event\":\"too_large\",\"off\":0,\"claimed\":1195725856,\"max_frame\":16777216,"
          "\"looks_like\":\"HTTP\"}\n");
}

static void a_little_endian_length_is_said_with_its_value(void **state)
{
    (void)state;
    SHOWS("\5\0\0\0hello", FRAMED_TOO_LARGE,
          TOO_LARGE("83886080") "; this looks like a little-endian length of 5\noff 4  not interpreted: 5 bytes\n");
    SHOWS("\377\377\0\0", FRAMED_TOO_LARGE, TOO_LARGE("4294901760") "; this looks like a little-endian length of 65535\n");
    config.json = true;
    SHOWS("\5\0\0\0", FRAMED_TOO_LARGE,
          "{\"schema\":\"framed.inspect/1\",\"event\":\"too_large\",\"off\":0,\"claimed\":83886080,\"max_frame\":16777216,"
          "\"looks_like\":\"a little-endian length\",\"little_endian\":5}\n");
}

/* ---- previews ---- */

/* One frame with this payload; what its line says behind off and len. */
static void previews(const char *payload, size_t n, const char *what)
{
    char line[400];
    uint8_t *frame = frame_of(n);
    memcpy(frame + 4, payload, n);
    assert_int_equal(show_file(frame, n + 4), FRAMED_OK);
    snprintf(line, sizeof line, "off 0  len %zu  %s\n", n, what);
    said(line);
    free(frame);
}

#define PREVIEWS(payload, what) previews(payload, sizeof payload - 1, what)
#define TEN                     "0123456789"
#define FIFTY                   TEN TEN TEN TEN TEN

static void a_preview_escapes_what_is_not_to_be_shown(void **state)
{
    (void)state;
    PREVIEWS("say \"hi\" \\o/", "\"say \\\"hi\\\" \\\\o/\"");
    PREVIEWS("a\nb\tc\rd\0e\033[2Jf\177", "\"a\\nb\\tc\\rd\\x00e\\x1b[2Jf\\x7f\"");
    PREVIEWS("gr\303\274n \342\202\254", "\"gr\303\274n \342\202\254\"");
    PREVIEWS("\377\303", "\"\\xff\\xc3\"");
    PREVIEWS("\302\233", "\"\\xc2\\x9b\""); /* CSI as a C1 control */
}

static void a_preview_is_sixty_wide_and_counts_what_is_missing(void **state)
{
    (void)state;
    PREVIEWS(FIFTY TEN, "\"" FIFTY TEN "\"");
    PREVIEWS(FIFTY TEN "x", "\"" FIFTY TEN "\"... 1 more");
    PREVIEWS(FIFTY TEN TEN, "\"" FIFTY TEN "\"... 10 more");
    PREVIEWS(FIFTY "012345678\"", "\"" FIFTY "012345678\"... 1 more"); /* the escape is two wide */
    PREVIEWS(FIFTY "01234567\"", "\"" FIFTY "01234567\\\"\"");
    PREVIEWS(FIFTY "0123456\377", "\"" FIFTY "0123456\"... 1 more"); /* four wide */
    PREVIEWS(FIFTY "012345\377", "\"" FIFTY "012345\\xff\"");
}

static void a_preview_never_cuts_a_character(void **state)
{
    (void)state;
    PREVIEWS(FIFTY "012345678\342\202\254\342\202\254", "\"" FIFTY "012345678\342\202\254\"... 3 more");
    /* Sixty of the longest characters there are, and one more. */
    char payload[61 * 4], what[300] = "\"";
    for (size_t i = 0; i < sizeof payload; i += 4) memcpy(payload + i, "\360\237\230\200", 4);
    memcpy(what + 1, payload, 240);
    strcpy(what + 241, "\"");
    previews(payload, 240, what);
    strcpy(what + 241, "\"... 4 more");
    previews(payload, 244, what);
}

static void hex_dumps_the_first_bytes_instead(void **state)
{
    (void)state;
    config.hex = true;
    config.hex_bytes = 18;
    SHOWS("\0\0\0\22abcdefghijklmno\377\0z", FRAMED_OK,
          "off 0  len 18\n"
          "    00000000  61 62 63 64 65 66 67 68  69 6a 6b 6c 6d 6e 6f ff  |abcdefghijklmno.|\n"
          "    00000010  00 7a                                             |.z|\n");
    config.hex_bytes = 2;
    SHOWS("\0\0\0\3abc\0\0\0\0", FRAMED_OK,
          "off 0  len 3\n"
          "    00000000  61 62                                             |ab|\n"
          "    1 more\n"
          "off 7  len 0\n");
    SHOWS("\0\0\0\5abc", FRAMED_TRUNCATED,
          "off 0  len 5  TRUNCATED: have 3 of 5 bytes\n"
          "    00000000  61 62                                             |ab|\n"
          "    1 more\n");
    config.hex_bytes = 0;
    SHOWS("\0\0\0\3abc", FRAMED_OK, "off 0  len 3\n");
}

/* ---- JSON ---- */

#define OBJECT(rest) "{\"schema\":\"framed.inspect/1\"," rest "}\n"

static void json_has_text_or_base64(void **state)
{
    (void)state;
    config.json = true;
    SHOWS("\0\0\0\5he\"lo\0\0\0\0\0\0\0\2\377\376", FRAMED_OK,
          OBJECT("\"event\":\"frame\",\"off\":0,\"len\":5,\"text\":\"he\\\"lo\"")
              OBJECT("\"event\":\"frame\",\"off\":9,\"len\":0,\"text\":\"\"")
                  OBJECT("\"event\":\"frame\",\"off\":13,\"len\":2,\"base64\":\"//4=\""));
}

static void json_of_a_payload_that_ends_inside_a_character_is_base64(void **state)
{
    (void)state;
    config.json = true;
    SHOWS("\0\0\0\3a\342\202", FRAMED_OK, OBJECT("\"event\":\"frame\",\"off\":0,\"len\":3,\"base64\":\"YeKC\""));
}

static void json_with_hex_has_that_instead(void **state)
{
    (void)state;
    config.json = config.hex = true;
    config.hex_bytes = 2;
    SHOWS("\0\0\0\3abc\0\0\0\2ab", FRAMED_OK,
          OBJECT("\"event\":\"frame\",\"off\":0,\"len\":3,\"hex\":\"6162\",\"cut\":1")
              OBJECT("\"event\":\"frame\",\"off\":7,\"len\":2,\"hex\":\"6162\""));
    config.hex_bytes = 0;
    SHOWS("\0\0\0\1a", FRAMED_OK, OBJECT("\"event\":\"frame\",\"off\":0,\"len\":1,\"hex\":\"\",\"cut\":1"));
}

/* n bytes 'x' with `tail` at INSPECT_PREVIEW - before. */
static void json_shows(size_t n, const char *tail, size_t before, const char *key, size_t shown)
{
    struct text expected = {0};
    uint8_t *frame = frame_of(n);
    memcpy(frame + 4 + INSPECT_PREVIEW - before, tail, strlen(tail));
    assert_int_equal(show_file(frame, n + 4), FRAMED_OK);
    say(&expected, "{\"schema\":\"framed.inspect/1\",\"event\":\"frame\",\"off\":0,\"len\":%zu,\"%s\":\"", n, key);
    if (strcmp(key, "text") == 0) {
        add(&expected, frame + 4, shown);
        say(&expected, "\",\"cut\":%zu}\n", n - shown);
        said_exactly(expected.at, expected.len);
    } else if (sunk.len < expected.len || memcmp(sunk.at, expected.at, expected.len) != 0) {
        fail_msg("not %s, but %.100s", key, sunk.at);
    }
    free(expected.at);
    free(frame);
}

static void json_shows_64_kib_and_says_how_much_is_cut(void **state)
{
    (void)state;
    config.json = true;
    const size_t most = INSPECT_PREVIEW;
    json_shows(most + 1, "", 0, "text", most);
    json_shows(most + 9, "\342\202\254", 3, "text", most);
    json_shows(most + 9, "\342\202\254", 2, "text", most - 2); /* a character is left out, not cut */
    json_shows(most + 9, "\342\202\254", 1, "text", most - 1);
    json_shows(most + 9, "\360\237\230\200", 3, "text", most - 3);
    json_shows(most + 9, "\340\240\200", 1, "text", most - 1); /* the first byte allows only some second ones */
    json_shows(most + 9, "\355\237\277", 1, "text", most - 1);
    json_shows(most + 9, "\364\217\277\277", 2, "text", most - 2);
    json_shows(most + 9, "\355\240\200", 2, "base64", 0); /* no cut character: a surrogate */
    json_shows(most + 9, "\377", 1, "base64", 0);
    json_shows(most + 9, "\200", 1, "base64", 0);
    json_shows(most + 9, "\360\237\230x", 4, "base64", 0);
}

/* ---- every split ---- */

static void show_split(const uint8_t *at, const struct split *split)
{
    struct inspect_stream stream;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    for (size_t i = 0, from = 0; i < split->n; from = split->ends[i++])
        framed_inspect_bytes(&stream, 0, at + from, split->ends[i] - from);
    framed_inspect_end(&stream, 0);
    assert_int_equal(framed_inspect_finish(&inspect), FRAMED_OK);
}

struct compare {
    const struct vector *v;
    struct text expected;
};

static void compare(void *ctx, const struct split *split)
{
    struct compare *c = ctx;
    show_split(c->v->input, split);
    if (framed_inspect_found(&inspect) != (c->v->ends == FRAMED_CLOSED ? FRAMED_OK : c->v->ends))
        fail_msg("%s, %s: found %d", c->v->name, split->name, framed_inspect_found(&inspect));
    if (sunk.len != c->expected.len || (sunk.len > 0 && memcmp(sunk.at, c->expected.at, sunk.len) != 0))
        fail_msg("%s, %s: said\n%.*s\nnot\n%.*s", c->v->name, split->name, (int)sunk.len, sunk.at, (int)c->expected.len,
                 c->expected.at);
}

/* What the vector's own frames say must come out, as JSON with everything in hex. */
static void put_together(struct compare *c)
{
    const struct vector *v = c->v;
    size_t off = 0;
    for (size_t i = 0; i < v->frame_count; i++) {
        say(&c->expected, "{\"schema\":\"framed.inspect/1\",\"event\":\"frame\",\"off\":%zu,\"len\":%zu,\"hex\":\"", off,
            v->frames[i].len);
        for (size_t k = 0; k < v->frames[i].len; k++) say(&c->expected, "%02x", v->frames[i].at[k]);
        say(&c->expected, "\"}\n");
        off += 4 + v->frames[i].len;
    }
    size_t left = v->input_len - off;
    const uint8_t *at = v->input + off;
    uint32_t word = left < 4 ? 0 : (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    if (v->ends == FRAMED_TRUNCATED && left < 4)
        say(&c->expected, OBJECT("\"event\":\"truncated\",\"off\":%zu,\"have_of_length\":%zu"), off, left);
    if (v->ends == FRAMED_TRUNCATED && left >= 4) {
        say(&c->expected,
            "{\"schema\":\"framed.inspect/1\",\"event\":\"truncated\",\"off\":%zu,\"len\":%" PRIu32
            ",\"have\":%zu,\"hex\":\"",
            off, word, left - 4);
        for (size_t k = 4; k < left; k++) say(&c->expected, "%02x", at[k]);
        say(&c->expected, "\"}\n");
    }
    if (v->ends == FRAMED_TOO_LARGE) {
        const char *hint = framed_length_hint(word);
        say(&c->expected,
            "{\"schema\":\"framed.inspect/1\",\"event\":\"too_large\",\"off\":%zu,\"claimed\":%" PRIu32
            ",\"max_frame\":%" PRIu32,
            off, word, v->max_frame);
        if (hint != NULL) say(&c->expected, ",\"looks_like\":\"%s\"", hint);
        if (hint != NULL && strstr(hint, "little") != NULL) say(&c->expected, ",\"little_endian\":%u", at[0] + 256u * at[1]);
        say(&c->expected, "}\n");
        if (left > 4)
            say(&c->expected, OBJECT("\"event\":\"not_interpreted\",\"off\":%zu,\"bytes\":%zu"), off + 4, left - 4);
    }
}

/* Frames of an opening are told otherwise (test_inspect_opening.c). */
static bool is_opening(const struct vector *v)
{
    return v->input_len > 1 && v->input[0] == 0xf7 && (v->input[1] | 0x20) == 0x66;
}

static void every_vector_is_shown_frame_by_frame_under_every_split(void **state)
{
    (void)state;
    struct vectors vectors;
    vectors_load(&vectors, FRAMED_VECTORS "/frames.txt");
    for (size_t i = 0; i < vectors.n; i++) {
        struct compare c = {.v = &vectors.at[i]};
        config = (struct inspect_config){
            .json = true, .hex = true, .hex_bytes = 1u << 20, .max_frame = c.v->max_frame, .alloc = &meter.allocator};
        if (is_opening(c.v)) continue;
        put_together(&c);
        if (c.v->input_len < 2000)
            splits_each(c.v->input_len, RANDOM_CUTS, compare, &c);
        else
            splits_some(c.v->input_len, RANDOM_CUTS, NULL, 0, compare, &c);
        free(c.expected.at);
    }
    vectors_free(&vectors);
}

static void every_look_is_the_same_under_every_split(void **state)
{
    (void)state;
    static const struct inspect_config looks[] = {
        {.json = false}, {.hex = true, .hex_bytes = 5}, {.json = true}, {.stats = &stats}, {.stats = &stats, .json = true},
    };
    struct vectors vectors;
    vectors_load(&vectors, FRAMED_VECTORS "/frames.txt");
    for (size_t i = 0; i < vectors.n; i++) {
        for (size_t k = 0; k < sizeof looks / sizeof *looks; k++) {
            struct compare c = {.v = &vectors.at[i]};
            config = looks[k];
            config.max_frame = c.v->max_frame;
            config.alloc = &meter.allocator;
            if (c.v->input_len > 400 || is_opening(c.v)) continue;
            show_split(c.v->input, &(struct split){.ends = &c.v->input_len, .n = 1, .name = "whole"});
            add(&c.expected, sunk.at, sunk.len);
            if (k < 4 && c.v->input_len > 0) assert_true(c.expected.len > 0);
            splits_each(c.v->input_len, 1, compare, &c);
            free(c.expected.at);
        }
    }
    vectors_free(&vectors);
}

/* ---- connections ---- */

static const uint64_t midnight = UINT64_C(1699920000) * 1000000000; /* UTC */

static struct inspect_conn conn;

static void open_conn(void)
{
    begin();
    framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
    said("00:00:00.000 #1 opened\n");
}

static void pass(enum inspect_way way, uint64_t time_ns, const char *payload)
{
    size_t n = strlen(payload);
    uint8_t *frame = frame_of(n);
    memcpy(frame + 4, payload, n);
    framed_inspect_bytes(&conn.way[way], midnight + time_ns, frame, n + 4);
    free(frame);
}

static void request(uint64_t time_ns)
{
    pass(INSPECT_REQUESTS, time_ns, "");
}

static void reply(uint64_t time_ns)
{
    pass(INSPECT_REPLIES, time_ns, "");
}

static void close_conn(void)
{
    framed_inspect_close(&conn, midnight);
}

static void a_connection_is_shown_from_opening_to_closing(void **state)
{
    (void)state;
    begin();
    framed_inspect_open(&conn, &inspect, 7, midnight, framed_bytes_str("127.0.0.1:5\n"));
    pass(INSPECT_REQUESTS, 43201204000000, "hello");
    pass(INSPECT_REPLIES, 43201204041000, "hello");
    framed_inspect_end(&conn.way[INSPECT_REQUESTS], midnight + 86399999999999);
    framed_inspect_end(&conn.way[INSPECT_REPLIES], midnight + 86400000000000);
    framed_inspect_close(&conn, midnight + 86400000000000);
    said("00:00:00.000 #7 opened 127.0.0.1:5\\n\n"
         "12:00:01.204 #7 >  5 B  \"hello\"\n"
         "12:00:01.204 #7 <  5 B  \"hello\"  41 us\n"
         "23:59:59.999 #7 > ended\n"
         "00:00:00.000 #7 < ended\n"
         "00:00:00.000 #7 closed\n");
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
}

static void json_of_a_connection_has_times_and_ways(void **state)
{
    (void)state;
    config.json = true;
    begin();
    framed_inspect_open(&conn, &inspect, 7, 5, framed_bytes_str("a\"b"));
    framed_inspect_bytes(&conn.way[0], 6, (const uint8_t *)"\0\0\0\1x\0\0\0\0\0\0\0\0", 13);
    framed_inspect_bytes(&conn.way[1], 9, (const uint8_t *)"\0\0\0\1y", 5);
    framed_inspect_end(&conn.way[1], 10);
    framed_inspect_close(&conn, 11);
#define CONN(event, time) "\"event\":\"" event "\",\"time_ns\":" time ",\"conn\":7"
    said(OBJECT(CONN("opened", "5") ",\"peer\":\"a\\\"b\"")
             OBJECT(CONN("frame", "6") ",\"way\":\">\",\"off\":0,\"len\":1,\"text\":\"x\"")
                 OBJECT(CONN("frame", "6") ",\"way\":\">\",\"off\":5,\"len\":0,\"text\":\"\"")
                     OBJECT(CONN("frame", "6") ",\"way\":\">\",\"off\":9,\"len\":0,\"text\":\"\"")
                         OBJECT(CONN("frame", "9") ",\"way\":\"<\",\"off\":0,\"len\":1,\"text\":\"y\",\"reply_ns\":3")
                             OBJECT(CONN("ended", "10") ",\"way\":\"<\"") OBJECT(CONN("closed", "11") ",\"unanswered\":2"));
}

static void times_of_day_are_those_of_the_place(void **state)
{
    (void)state;
    static const struct {
        int32_t offset_s;
        const char *line;
    } places[] = {{0, "00:00:00.000 #1 opened\n"},          {3600, "01:00:00.000 #1 opened\n"},
                  {-3600, "23:00:00.000 #1 opened\n"},      {14 * 3600, "14:00:00.000 #1 opened\n"},
                  {-12 * 3600, "12:00:00.000 #1 opened\n"}, {20700, "05:45:00.000 #1 opened\n"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        config.utc_offset_s = places[i].offset_s;
        begin();
        framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
        said(places[i].line);
        close_conn();
    }
}

static void the_place_is_found_from_two_ways_of_saying_now(void **state)
{
    (void)state;
    const uint64_t s = 1000000000;
    assert_int_equal(framed_inspect_utc_offset("00:00:00.000", midnight), 0);
    assert_int_equal(framed_inspect_utc_offset("13:30:00.000", midnight + 43200 * s), 5400);
    assert_int_equal(framed_inspect_utc_offset("23:00:00.000", midnight), -3600);
    assert_int_equal(framed_inspect_utc_offset("14:00:00.000", midnight), 14 * 3600);
    assert_int_equal(framed_inspect_utc_offset("14:30:00.000", midnight + 86399 * s), -9 * 3600 - 1800); /* Marquesas */
    assert_int_equal(framed_inspect_utc_offset("12:00:00.000", midnight), 12 * 3600);
    assert_int_equal(framed_inspect_utc_offset("05:45:00.999", midnight), 20700);
    assert_int_equal(framed_inspect_utc_offset("00:59:59.999", midnight), 3600); /* asked across a minute's end */
    assert_int_equal(framed_inspect_utc_offset("01:00:01.000", midnight - s), 3600);
    assert_int_equal(framed_inspect_utc_offset("", midnight), 0);
}

static void the_nth_reply_is_timed_from_the_nth_request(void **state)
{
    (void)state;
    open_conn();
    request(1000000);
    request(2000000);
    reply(3000000);
    request(4000000);
    reply(1004000000);
    reply(61004000000);
    said("00:00:00.001 #1 >  0 B  \"\"\n"
         "00:00:00.002 #1 >  0 B  \"\"\n"
         "00:00:00.003 #1 <  0 B  \"\"  2.0 ms\n"
         "00:00:00.004 #1 >  0 B  \"\"\n"
         "00:00:01.004 #1 <  0 B  \"\"  1.00 s\n"
         "00:01:01.004 #1 <  0 B  \"\"  61.00 s\n");
    close_conn();
    said("00:00:00.000 #1 closed\n");
}

static void a_reply_is_timed_from_the_last_byte_to_the_last_byte(void **state)
{
    (void)state;
    open_conn();
    framed_inspect_bytes(&conn.way[0], midnight, (const uint8_t *)"\0\0\0\2a", 5);
    framed_inspect_bytes(&conn.way[0], midnight + 100, (const uint8_t *)"b", 1);
    framed_inspect_bytes(&conn.way[1], midnight + 200, (const uint8_t *)"\0\0\0\2a", 5);
    framed_inspect_bytes(&conn.way[1], midnight + 999, (const uint8_t *)"b", 1);
    said("00:00:00.000 #1 >  2 B  \"ab\"\n00:00:00.000 #1 <  2 B  \"ab\"  899 ns\n");
    close_conn();
}

static void durations_are_cut_to_what_one_reads(void **state)
{
    (void)state;
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "0 ns"},
                 {999, "999 ns"},
                 {1000, "1 us"},
                 {999999, "999 us"},
                 {1000000, "1.0 ms"},
                 {999999999, "999.9 ms"},
                 {1000000000, "1.00 s"},
                 {1059999999, "1.05 s"},
                 {UINT64_C(86400000000000), "86400.00 s"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[80];
        open_conn();
        request(0);
        framed_inspect_flush(&inspect);
        sunk.len = 0;
        config.utc_offset_s = 0;
        reply(cases[i].ns);
        framed_inspect_flush(&inspect);
        snprintf(line, sizeof line, " #1 <  0 B  \"\"  %s\n", cases[i].text);
        size_t n = strlen(line);
        assert_int_equal(sunk.len, 12 + n);
        assert_memory_equal(sunk.at + 12, line, n);
        close_conn();
    }
}

static void what_comes_before_its_request_is_no_reply(void **state)
{
    (void)state;
    open_conn();
    reply(1000000);   /* pushed: the first frame this way */
    request(2000000); /* the first that way: they are paired, and not timed */
    request(3000000);
    reply(3500000);
    said("00:00:00.001 #1 <  0 B  \"\"\n"
         "00:00:00.002 #1 >  0 B  \"\"\n"
         "00:00:00.003 #1 >  0 B  \"\"\n"
         "00:00:00.003 #1 <  0 B  \"\"  500 us\n");
    close_conn();
}

static void a_time_that_goes_back_times_nothing(void **state)
{
    (void)state;
    open_conn();
    request(2000000);
    reply(1000000);
    said("00:00:00.002 #1 >  0 B  \"\"\n00:00:00.001 #1 <  0 B  \"\"\n");
    close_conn();
}

static void closing_says_how_many_were_unanswered(void **state)
{
    (void)state;
    open_conn();
    request(0);
    request(0);
    reply(0);
    framed_inspect_flush(&inspect);
    sunk.len = 0;
    close_conn();
    said("00:00:00.000 #1 closed  1 unanswered\n");
}

static void failures_of_a_connection_name_way_and_offset(void **state)
{
    (void)state;
    open_conn();
    framed_inspect_bytes(&conn.way[0], midnight, (const uint8_t *)"\0\0\0\1aGET / HTTP", 15);
    framed_inspect_bytes(&conn.way[1], midnight, (const uint8_t *)"\0\0\0\0\0\0\0\5ab", 10);
    framed_inspect_bytes(&conn.way[0], midnight, (const uint8_t *)"more", 4);
    framed_inspect_end(&conn.way[1], midnight);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_TOO_LARGE); /* the first */
    close_conn();
    said("00:00:00.000 #1 >  1 B  \"a\"\n"
         "00:00:00.000 #1 > off 5  len 1195725856  TOO LARGE: at most 16777216 allowed; this looks like HTTP\n"
         "00:00:00.000 #1 <  0 B  \"\"  0 ns\n"
         "00:00:00.000 #1 < off 4  len 5  TRUNCATED: have 2 of 5 bytes\n"
         "00:00:00.000 #1 < ended\n"
         "00:00:00.000 #1 > off 9  not interpreted: 10 bytes\n"
         "00:00:00.000 #1 closed\n");
}

static void a_connection_broken_off_inside_a_frame_is_truncated(void **state)
{
    (void)state;
    open_conn();
    framed_inspect_bytes(&conn.way[1], midnight, (const uint8_t *)"\0\0", 2);
    close_conn();
    said("00:00:00.000 #1 < off 0  TRUNCATED: have 2 of 4 bytes of a length word\n00:00:00.000 #1 closed\n");
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_TRUNCATED);
}

static void a_connection_that_is_left_is_still_open_and_nothing_is_wrong(void **state)
{
    (void)state;
    open_conn();
    request(0);
    framed_inspect_bytes(&conn.way[1], midnight, (const uint8_t *)"\0\0\0\5ab", 6);
    framed_inspect_leave(&conn, midnight);
    said("00:00:00.000 #1 >  0 B  \"\"\n"
         "00:00:00.000 #1 < off 0  len 5  unfinished: have 2 of 5 bytes\n"
         "00:00:00.000 #1 still open  1 unanswered\n");
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
}

static void after_lost_bytes_nothing_is_interpreted(void **state)
{
    (void)state;
    open_conn();
    framed_inspect_bytes(&conn.way[0], midnight, (const uint8_t *)"\0\0\0\5ab", 6);
    framed_inspect_lost(&conn.way[0], midnight, 3);
    framed_inspect_bytes(&conn.way[0], midnight, (const uint8_t *)"\0\0\0\0", 4);
    framed_inspect_lost(&conn.way[0], midnight, 1);
    framed_inspect_end(&conn.way[0], midnight);
    close_conn();
    said("00:00:00.000 #1 > off 0  len 5  unfinished: have 2 of 5 bytes\n"
         "00:00:00.000 #1 > off 6  LOST: 3 bytes\n"
         "00:00:00.000 #1 > off 13  LOST: 1 byte\n"
         "00:00:00.000 #1 > off 9  not interpreted: 4 bytes\n"
         "00:00:00.000 #1 > ended\n"
         "00:00:00.000 #1 closed\n");
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
}

static void skipped_frames_keep_count_and_offset(void **state)
{
    (void)state;
    open_conn();
    request(0);
    request(0);
    framed_inspect_bytes(&conn.way[1], midnight, (const uint8_t *)"\0\0\0\5ab", 6);
    framed_inspect_skipped(&conn.way[1], midnight, 3, 1, 0); /* its end */
    reply(5000);                                             /* answers the second */
    framed_inspect_skipped(&conn.way[0], midnight, 400, 100, 0);
    request(6000); /* the 103rd */
    framed_inspect_skipped(&conn.way[1], midnight, 400, 99, 0);
    reply(7000); /* the 102nd: its request was skipped */
    reply(8000);
    close_conn();
    said("00:00:00.000 #1 >  0 B  \"\"\n"
         "00:00:00.000 #1 >  0 B  \"\"\n"
         "00:00:00.000 #1 < off 0  len 5  unfinished: have 2 of 5 bytes\n"
         "00:00:00.000 #1 < off 6  not shown: 1 frame, 3 bytes\n"
         "00:00:00.000 #1 <  0 B  \"\"  5 us\n"
         "00:00:00.000 #1 > off 8  not shown: 100 frames, 400 bytes\n"
         "00:00:00.000 #1 >  0 B  \"\"\n"
         "00:00:00.000 #1 < off 13  not shown: 99 frames, 400 bytes\n"
         "00:00:00.000 #1 <  0 B  \"\"\n"
         "00:00:00.000 #1 <  0 B  \"\"  2 us\n"
         "00:00:00.000 #1 closed\n");
}

/* ---- bounds ---- */

/* Requests at 1, 2, 3, ... ns, each answered `later` ns after the last of them; returns how many replies were timed right. */
static uint64_t timed_after(uint64_t requests)
{
    uint64_t timed = 0, untimed = stats.untimed;
    for (uint64_t i = 1; i <= requests; i++) request(i);
    for (uint64_t i = 1; i <= requests; i++) {
        stats.reply_ns = (struct cli_histogram){0};
        reply(requests + 1);
        if (stats.reply_ns.count == 0) continue;
        assert_int_equal(stats.reply_ns.most, requests + 1 - i);
        timed++;
    }
    assert_int_equal(stats.untimed - untimed, requests - timed);
    return timed;
}

static void times_are_kept_for_so_many_requests_and_never_wrong(void **state)
{
    (void)state;
    config.stats = &stats;
    begin();
    framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
    assert_int_equal(timed_after(INSPECT_OUTSTANDING), INSPECT_OUTSTANDING);
    assert_int_equal(timed_after(INSPECT_OUTSTANDING + 1000), INSPECT_OUTSTANDING);
    assert_int_equal(timed_after(10), 10); /* it ran empty */
    assert_true(meter_in_use(&meter) <= INSPECT_OUTSTANDING * sizeof(uint64_t));
    close_conn();
    assert_int_equal(meter_in_use(&meter), 0);
}

static void a_request_after_one_whose_time_was_left_out_is_not_taken_for_it(void **state)
{
    (void)state;
    config.stats = &stats;
    begin();
    framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
    for (uint64_t i = 0; i < INSPECT_OUTSTANDING + 2; i++) request(0); /* two too many */
    for (uint64_t i = 0; i < 10; i++) reply(1);
    request(1000); /* there is room again, but two are missing between */
    for (uint64_t i = 10; i < INSPECT_OUTSTANDING; i++) reply(1);
    assert_int_equal(stats.reply_ns.count, INSPECT_OUTSTANDING);
    for (uint64_t i = 0; i < 3; i++) reply(2000);
    assert_int_equal(stats.reply_ns.count, INSPECT_OUTSTANDING);
    assert_int_equal(stats.untimed, 3);
    close_conn();
}

static void times_survive_the_growth_of_a_ring_that_has_turned(void **state)
{
    (void)state;
    config.stats = &stats;
    begin();
    framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
    for (uint64_t i = 0; i < 10; i++) request(i);
    for (uint64_t i = 0; i < 10; i++) reply(100);
    for (uint64_t i = 0; i < 100; i++) request(1000 + i); /* from the tenth place on */
    for (uint64_t i = 0; i < 100; i++) {
        stats.reply_ns = (struct cli_histogram){0};
        reply(5000);
        assert_int_equal(stats.reply_ns.most, 4000 - i);
    }
    close_conn();
}

static void without_memory_times_are_left_out_and_previews_are_shorter(void **state)
{
    (void)state;
    config.stats = &stats;
    begin();
    framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
    meter_fail_at(&meter, 2, METER_ONWARD); /* the first room is for 16 */
    assert_int_equal(timed_after(40), 16);
    meter_fail_at(&meter, 0, METER_ONCE);
    assert_int_equal(timed_after(40), 40);
    close_conn();

    struct inspect_stream stream;
    config.stats = NULL;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    meter_fail_at(&meter, 1, METER_ONWARD);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\5hel", 7);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"lo", 2);
    meter_fail_at(&meter, 0, METER_ONCE);
    said("off 0  len 5  \"\"... 5 more\n");
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\5hel", 7);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"lo", 2);
    said("off 9  len 5  \"hello\"\n");
    meter_fail_at(&meter, 1, METER_ONCE);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\5hel", 7);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"lo", 2); /* there is memory again, but "lo" is not how it begins */
    said("off 18  len 5  \"\"... 5 more\n");
    framed_inspect_end(&stream, 0);
}

static void a_huge_frame_needs_no_more_memory_than_its_preview(void **state)
{
    (void)state;
    static uint8_t zeros[1 << 16];
    struct inspect_stream stream;
    config.max_frame = FRAMED_FRAME_MOST;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\4\0\0\0", 4); /* 64 MiB */
    for (unsigned i = 0; i < (64u << 20) / sizeof zeros; i++) framed_inspect_bytes(&stream, 0, zeros, sizeof zeros);
    framed_inspect_flush(&inspect);
    assert_true(meter_read(&meter).peak <= 4096);
    assert_non_null(strstr((char *)sunk.at, "len 67108864"));
    framed_inspect_end(&stream, 0);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
    assert_int_equal(meter_in_use(&meter), 0);
}

static void all_streams_together_stay_within_the_bound(void **state)
{
    (void)state;
    enum { STREAMS = INSPECT_MEMORY / INSPECT_PREVIEW + 100 };
    static struct inspect_stream streams[STREAMS];
    uint8_t *frame = frame_of(INSPECT_PREVIEW + 1);
    config.json = true;
    begin();
    for (size_t i = 0; i < STREAMS; i++) {
        framed_inspect_stream_init(&streams[i], &inspect);
        framed_inspect_bytes(&streams[i], 0, frame, 4 + INSPECT_PREVIEW);
    }
    size_t held = meter_in_use(&meter);
    assert_true(held <= INSPECT_MEMORY && held > INSPECT_MEMORY / 2);
    for (size_t i = 0; i < STREAMS; i++) framed_inspect_bytes(&streams[i], 0, frame, 1);
    assert_int_equal(meter_in_use(&meter), 0);
    framed_inspect_flush(&inspect);
    sunk.len = 0;
    for (size_t i = 0; i < STREAMS; i++) framed_inspect_end(&streams[i], 0);
    said("");
    free(frame);
}

/* ---- summaries ---- */

static void a_summary_counts_frames_bytes_and_sizes(void **state)
{
    (void)state;
    config.stats = &stats;
    SHOWS("\0\0\0\5hello\0\0\0\0\0\0\0\1a\0\0\0\4abcd\0\0\0\7abcdefg", FRAMED_OK,
          "frames 5  empty 1  payload 17 B  all 37 B\n"
          "sizes  smallest 0 B  median 4 B  largest 7 B\n"
          "  0 to 0 B  1  ##############\n"
          "  1 to 1 B  1  ##############\n"
          "  2 to 3 B  0\n"
          "  4 to 7 B  3  ########################################\n");
}

static void a_summary_of_nothing_is_zeros(void **state)
{
    (void)state;
    config.stats = &stats;
    SHOWS("", FRAMED_OK, "frames 0  empty 0  payload 0 B  all 0 B\n");
    config.json = true;
    SHOWS("", FRAMED_OK,
          OBJECT("\"event\":\"stats\",\"frames\":0,\"empty\":0,\"bytes_payload\":0,\"bytes\":0,\"smallest\":null,"
                 "\"median\":null,\"median_exact\":true,\"largest\":null,\"sizes\":[],\"encrypted_records\":0,\"bytes_"
                 "encrypted\":0,\"truncated\":0,\"too_large\":0,"
                 "\"wrong_openings\":0,\"wrong_checksums\":0,\"bytes_lost\":0,\"bytes_not_interpreted\":0,\"not_shown\":0,"
                 "\"openings\":{}"));
}

static void a_summary_comes_after_what_was_wrong(void **state)
{
    (void)state;
    config.stats = &stats;
    SHOWS("\0\0\0\1a\0\0\0\5hel", FRAMED_TRUNCATED,
          "off 5  len 5  TRUNCATED: have 3 of 5 bytes\n"
          "frames 1  empty 0  payload 1 B  all 12 B\n"
          "sizes  smallest 1 B  median 1 B  largest 1 B\n"
          "  1 to 1 B  1  ########################################\n"
          "cut frames 1\n");
    SHOWS("GET / ", FRAMED_TOO_LARGE,
          TOO_LARGE("1195725856") "; this looks like HTTP\n"
                                  "off 4  not interpreted: 2 bytes\n"
                                  "frames 0  empty 0  payload 0 B  all 6 B\n"
                                  "frames too large 1\n"
                                  "bytes not interpreted 2\n");
}

static void a_summary_in_json_is_one_object(void **state)
{
    (void)state;
    config.stats = &stats;
    config.json = true;
    SHOWS("\0\0\0\1a\0\0\0\3abc\0\0\0\3abc\0\0\0\5hel", FRAMED_TRUNCATED,
          OBJECT("\"event\":\"stats\",\"frames\":3,\"empty\":0,\"bytes_payload\":7,\"bytes\":26,\"smallest\":1,"
                 "\"median\":3,\"median_exact\":true,\"largest\":3,\"sizes\":[[1,1,1],[2,3,2]],\"encrypted_records\":0,"
                 "\"bytes_encrypted\":0,\"truncated\":1,\"too_large\":0,"
                 "\"wrong_openings\":0,\"wrong_checksums\":0,\"bytes_lost\":0,\"bytes_not_interpreted\":0,\"not_shown\":0,"
                 "\"openings\":{}"));
}

static void a_median_says_about_when_it_is_not_exact(void **state)
{
    (void)state;
    struct inspect_stream stream;
    static const size_t sizes[] = {255, 1001, 1001, 5000, 255};
    static const char *const medians[] = {"median 255 B", "median about 1003 B", "median about 1003 B"};
    for (size_t round = 0; round < 3; round++) {
        config.stats = &stats;
        begin();
        framed_inspect_stream_init(&stream, &inspect);
        for (size_t i = round; i < round + 3; i++) {
            uint8_t *frame = frame_of(round == 0 && i == 1 ? 255 : sizes[i]);
            framed_inspect_bytes(&stream, 0, frame, 4 + (round == 0 && i == 1 ? 255 : sizes[i]));
            free(frame);
        }
        framed_inspect_end(&stream, 0);
        framed_inspect_finish(&inspect);
        add(&sunk, "", 1);
        if (strstr(sunk.at, medians[round]) == NULL) fail_msg("no %s in %s", medians[round], sunk.at);
    }
    /* All the same: exact however large. */
    uint8_t *frame = frame_of(1001);
    assert_int_equal(show_file(frame, 1005), FRAMED_OK);
    add(&sunk, "", 1);
    assert_non_null(strstr(sunk.at, "median 1001 B"));
    free(frame);
}

static void a_summary_of_connections_has_both_ways_and_reply_times(void **state)
{
    (void)state;
    config.stats = &stats;
    for (int json = 0; json < 2; json++) {
        config.json = json == 1;
        begin();
        framed_inspect_open(&conn, &inspect, 1, midnight, framed_bytes_str(""));
        request(0);
        request(0);
        reply(2000);
        reply(4000);
        reply(4000);
        framed_inspect_lost(&conn.way[0], 0, 5);
        framed_inspect_close(&conn, midnight);
        framed_inspect_finish(&inspect);
        if (json == 0)
            said("00:00:00.000 #1 > off 8  LOST: 5 bytes\n"
                 "connections 1\n\n"
                 "> requests\n"
                 "frames 2  empty 2  payload 0 B  all 8 B\n"
                 "sizes  smallest 0 B  median 0 B  largest 0 B\n"
                 "  0 to 0 B  2  ########################################\n"
                 "bytes lost 5\n\n"
                 "< replies\n"
                 "frames 3  empty 3  payload 0 B  all 12 B\n"
                 "sizes  smallest 0 B  median 0 B  largest 0 B\n"
                 "  0 to 0 B  3  ########################################\n\n"
                 "reply times 2  p50 2 us  p99 -  max 4 us\n");
        else
            said(OBJECT(
                "\"event\":\"stats\",\"connections\":1,\"damaged\":0,\"requests\":{\"frames\":2,\"empty\":2,"
                "\"bytes_payload\":0,\"bytes\":8,\"smallest\":0,\"median\":0,\"median_exact\":true,\"largest\":0,"
                "\"sizes\":[[0,0,2]],\"encrypted_records\":0,\"bytes_encrypted\":0,\"truncated\":0,\"too_large\":0,\"wrong_"
                "openings\":0,\"wrong_checksums\":0,\"bytes_lost\":5,\"bytes_not_interpreted\":0,"
                "\"not_shown\":0},\"replies\":{\"frames\":3,\"empty\":3,\"bytes_payload\":0,\"bytes\":12,\"smallest\":0,"
                "\"median\":0,\"median_exact\":true,\"largest\":0,\"sizes\":[[0,0,3]],\"encrypted_records\":0,\"bytes_"
                "encrypted\":0,\"truncated\":0,\"too_large\":0,"
                "\"wrong_openings\":0,\"wrong_checksums\":0,\"bytes_lost\":0,\"bytes_not_interpreted\":0,\"not_shown\":0},"
                "\"reply_times\":{\"count\":2,"
                "\"p50_ns\":2007,\"p99_ns\":null,\"max_ns\":4000,\"without\":0},\"openings\":{}"));
    }
}

/* ---- the sink ---- */

static enum framed_status full_sink(void *ctx, const uint8_t *at, size_t n)
{
    (void)at, (void)n;
    ++*(unsigned *)ctx;
    return FRAMED_OS;
}

static void a_sink_that_fails_is_told_and_left_alone(void **state)
{
    (void)state;
    unsigned calls = 0;
    struct inspect_stream stream;
    framed_inspect_init(&inspect, &config, full_sink, &calls);
    framed_inspect_stream_init(&stream, &inspect);
    assert_int_equal(framed_inspect_status(&inspect), FRAMED_OK);
    framed_inspect_bytes(&stream, 0, (const uint8_t *)"\0\0\0\0\0", 5);
    assert_int_equal(framed_inspect_flush(&inspect), FRAMED_OS);
    framed_inspect_end(&stream, 0);
    assert_int_equal(framed_inspect_finish(&inspect), FRAMED_OS);
    assert_int_equal(framed_inspect_status(&inspect), FRAMED_OS);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_TRUNCATED); /* known all the same */
    assert_int_equal(calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_per_frame_names_offset_length_and_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_stream_says_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_is_shown_when_its_last_byte_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_frame_is_named_with_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_length_word_is_named_as_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_too_large_names_both_lengths_and_the_rest_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_rejected_word_looks_like_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_little_endian_length_is_said_with_its_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_preview_escapes_what_is_not_to_be_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_preview_is_sixty_wide_and_counts_what_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_preview_never_cuts_a_character, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hex_dumps_the_first_bytes_instead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_has_text_or_base64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_of_a_payload_that_ends_inside_a_character_is_base64, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_with_hex_has_that_instead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_shows_64_kib_and_says_how_much_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_vector_is_shown_frame_by_frame_under_every_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_look_is_the_same_under_every_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_is_shown_from_opening_to_closing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(json_of_a_connection_has_times_and_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_of_day_are_those_of_the_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_place_is_found_from_two_ways_of_saying_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_nth_reply_is_timed_from_the_nth_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reply_is_timed_from_the_last_byte_to_the_last_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(durations_are_cut_to_what_one_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_before_its_request_is_no_reply, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_time_that_goes_back_times_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closing_says_how_many_were_unanswered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_of_a_connection_name_way_and_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_broken_off_inside_a_frame_is_truncated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_connection_that_is_left_is_still_open_and_nothing_is_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_lost_bytes_nothing_is_interpreted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(skipped_frames_keep_count_and_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_are_kept_for_so_many_requests_and_never_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_request_after_one_whose_time_was_left_out_is_not_taken_for_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_survive_the_growth_of_a_ring_that_has_turned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_times_are_left_out_and_previews_are_shorter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_huge_frame_needs_no_more_memory_than_its_preview, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_streams_together_stay_within_the_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_summary_counts_frames_bytes_and_sizes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_summary_of_nothing_is_zeros, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_summary_comes_after_what_was_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_summary_in_json_is_one_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_median_says_about_when_it_is_not_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_summary_of_connections_has_both_ways_and_reply_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sink_that_fails_is_told_and_left_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
