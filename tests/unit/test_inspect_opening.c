/*
 * test_inspect_opening.c: what `framed inspect` says of connections that begin with an opening: with checksums, and encrypted
 * (src/cli/inspect.h).
 * Must not know files, keys, or how the engine keeps its state.
 * Invariant: frames and trailers come from PROTOCOL.md and vectors/, or are made here, with a CRC of their own.
 */
#include "cli/inspect.h"
#include "meter.h"
#include "splits.h"
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 1 << 16 };

/* ---- one inspection ---- */

static struct meter meter;
static struct inspect inspect;
static struct inspect_stats stats;
static struct inspect_config config;
static char sunk[MOST];
static size_t sunk_len;

static enum framed_status sink(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    assert_true(n < sizeof sunk - sunk_len);
    memcpy(sunk + sunk_len, at, n);
    sunk_len += n;
    sunk[sunk_len] = '\0';
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
    return 0;
}

static void begin(void)
{
    sunk_len = 0;
    sunk[0] = '\0';
    memset(&stats, 0, sizeof stats);
    framed_inspect_init(&inspect, &config, sink, NULL);
}

static void said(const char *what)
{
    assert_int_equal(framed_inspect_flush(&inspect), FRAMED_OK);
    if (strcmp(sunk, what) != 0) fail_msg("said:\n%s\nnot:\n%s", sunk, what);
    sunk_len = 0;
    sunk[0] = '\0';
}

/* ---- bytes ---- */

struct bytes {
    uint8_t at[8192];
    size_t n;
};

/* Hex; spaces do not count. */
static void add_hex(struct bytes *b, const char *hex)
{
    for (unsigned byte; *hex != '\0'; hex += 2) {
        while (*hex == ' ') hex++;
        if (*hex == '\0') break;
        assert_true(b->n < sizeof b->at && sscanf(hex, "%2x", &byte) == 1);
        b->at[b->n++] = (uint8_t)byte;
    }
}

static struct bytes of_hex(const char *hex)
{
    struct bytes b = {.n = 0};
    add_hex(&b, hex);
    return b;
}

/* Bit by bit: nothing of ours takes part. */
static uint32_t crc_of(uint32_t crc, const uint8_t *at, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= at[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (0x82f63b78 & (0 - (crc & 1)));
    }
    return ~crc;
}

static void put32(struct bytes *b, uint32_t n)
{
    for (int shift = 24; shift >= 0; shift -= 8) b->at[b->n++] = (uint8_t)(n >> shift);
}

/* A frame with its trailer (§8.1), behind a HELLO. */
static void add_frame(struct bytes *b, unsigned direction, unsigned counter, const char *payload)
{
    uint8_t head[13] = {(uint8_t)direction, [8] = (uint8_t)counter};
    size_t n = strlen(payload), from = b->n;
    put32(b, (uint32_t)n + 4);
    memcpy(head + 9, b->at + from, 4);
    memcpy(b->at + b->n, payload, n);
    b->n += n;
    put32(b, crc_of(crc_of(0, head, sizeof head), (const uint8_t *)payload, n));
}

#define CONNECTOR_10 "f7460110 00000004 3b44c192"
#define ACCEPTOR_10  "f7660110 00000004 27daa889"
#define CONNECTOR_80 "f7460180 00000004 0402 6d65" /* key id "me" */

static enum framed_status show(const struct bytes *b)
{
    struct inspect_stream stream;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    framed_inspect_bytes(&stream, 0, b->at, b->n);
    framed_inspect_end(&stream, 0);
    assert_int_equal(framed_inspect_finish(&inspect), FRAMED_OK);
    return framed_inspect_found(&inspect);
}

static void shows(const char *hex, enum framed_status found, const char *lines)
{
    struct bytes b = of_hex(hex);
    assert_int_equal(show(&b), found);
    said(lines);
}

#define OBJECT(rest) "{\"schema\":\"framed.inspect/1\"," rest "}\n"

/* ---- openings ---- */

static void an_opening_names_side_protection_and_max_frame(void **state)
{
    (void)state;
    shows("f7460100 00000000 00000001 61", FRAMED_OK,
          "off 0  opening of a connector: no checksum; max frame 16 MiB\noff 8  len 1  \"a\"\n");
    shows("f7460100 00000006 0104 00010000", FRAMED_OK, "off 0  opening of a connector: no checksum; max frame 64 KiB\n");
    shows("f7660100 00000006 0104 00004001", FRAMED_OK, "off 0  opening of an acceptor: no checksum; max frame 16385 B\n");
    shows(CONNECTOR_10, FRAMED_OK, "off 0  opening of a connector: crc32c; max frame 16 MiB\n");
    shows("f7660111 0000000e 0104 00010000 0202 000a 61c6b0bf", FRAMED_OK,
          "off 0  opening of an acceptor: crc32c, session; max frame 64 KiB\n");
    shows(CONNECTOR_80, FRAMED_OK,
          "off 0  opening of a connector: encrypted, shared key; max frame 16 MiB; key id \"me\"\n");
    shows("f7660180", FRAMED_OK, "off 0  opening of an acceptor: encrypted, shared key\n");
    shows("f7660190", FRAMED_OK, "off 0  opening of an acceptor: encrypted, pinned keys\n");
    shows("f76601a0", FRAMED_OK, "off 0  opening of an acceptor: encrypted, shared and pinned keys\n");
}

static void a_key_id_reaches_no_terminal_unescaped(void **state)
{
    (void)state;
    shows("f7460180 00000005 0403 1b0aff", FRAMED_OK,
          "off 0  opening of a connector: encrypted, shared key; max frame 16 MiB; key id \"\\x1b\\n\\xff\"\n");
    config.json = true;
    shows("f7460180 00000005 0403 1b0aff", FRAMED_OK,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"connector\",\"mode\":128,\"protection\":\"shared_key\","
                 "\"max_frame\":16777216,\"key_id_hex\":\"1b0aff\""));
}

static void json_of_an_opening_has_mode_and_protection(void **state)
{
    (void)state;
    config.json = true;
    shows(CONNECTOR_80, FRAMED_OK,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"connector\",\"mode\":128,\"protection\":\"shared_key\","
                 "\"max_frame\":16777216,\"key_id\":\"me\""));
    shows("f76601a1", FRAMED_OK,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"acceptor\",\"mode\":161,\"protection\":\"shared_and_pinned\""));
}

static void an_opening_that_is_known_and_not_followed_is_no_fault(void **state)
{
    (void)state;
    shows("f7460120 00000010", FRAMED_OK, "off 0  opening of a connector: blake2b\noff 4  not interpreted: 4 bytes\n");
    shows("f7660121", FRAMED_OK, "off 0  opening of an acceptor: blake2b, session\n");
}

static void a_wrong_opening_says_why_and_the_rest_is_counted(void **state)
{
    (void)state;
    shows(
        "f7460100 00000061 00", FRAMED_MALFORMED,
        "off 0  MALFORMED OPENING: byte 4: the length of the HELLO: 97; allowed 0 to 96\noff 8  not interpreted: 1 byte\n");
    shows("f7660230", FRAMED_MALFORMED,
          "off 0  MALFORMED OPENING: byte 2: a version that is not spoken here: 2; allowed 1\n");
    shows("f7660130", FRAMED_MALFORMED, "off 0  MALFORMED OPENING: byte 3: a mode that is not accepted here: 30\n");
    config.json = true;
    shows(
        "f7460300 0000", FRAMED_MALFORMED,
        OBJECT("\"event\":\"wrong_opening\",\"off\":0,\"error\":\"byte 2: a version that is not spoken here: 3; allowed 1\"")
            OBJECT("\"event\":\"not_interpreted\",\"off\":4,\"bytes\":2"));
}

static void a_first_word_that_is_no_preface_is_too_large_as_ever(void **state)
{
    (void)state;
    shows("f7450100 00000000", FRAMED_TOO_LARGE,
          "off 0  len 4148494592  TOO LARGE: at most 16777216 allowed\noff 4  not interpreted: 4 bytes\n");
    shows("00000000 f7460100", FRAMED_TOO_LARGE,
          "off 0  len 0  \"\"\n"
          "off 4  len 4148560128  TOO LARGE: at most 16777216 allowed; this looks like an extended framed connection\n");
}

static void a_cut_opening_is_named_as_one(void **state)
{
    (void)state;
    shows("f7", FRAMED_TRUNCATED, "off 0  TRUNCATED: have 1 byte of an opening\n");
    shows("f7460110 00000004 3b44c1", FRAMED_TRUNCATED, "off 0  TRUNCATED: have 11 bytes of an opening\n");
    config.json = true;
    shows("f74601", FRAMED_TRUNCATED, OBJECT("\"event\":\"truncated\",\"off\":0,\"have_of_opening\":3"));
}

/* ---- checksums ---- */

static void frames_are_shown_without_their_trailers(void **state)
{
    (void)state;
    static const char both[] = CONNECTOR_10 " 00000009 68656c6c6f 524608fe 00000004 0be3eda3"; /* of PROTOCOL.md §8.3 */
    shows(both, FRAMED_OK,
          "off 0  opening of a connector: crc32c; max frame 16 MiB\noff 12  len 5  \"hello\"\noff 25  len 0  \"\"\n");
    shows(ACCEPTOR_10 " 00000009 68656c6c6f 5d2f0ad5", FRAMED_OK,
          "off 0  opening of an acceptor: crc32c; max frame 16 MiB\noff 12  len 5  \"hello\"\n");
    config.json = true;
    shows(both, FRAMED_OK,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"connector\",\"mode\":16,\"protection\":\"crc32c\","
                 "\"max_frame\":16777216") OBJECT("\"event\":\"frame\",\"off\":12,\"len\":5,\"text\":\"hello\"")
              OBJECT("\"event\":\"frame\",\"off\":25,\"len\":0,\"text\":\"\""));
}

#define OPENED "off 0  opening of a connector: crc32c; max frame 16 MiB\n"

static void a_wrong_checksum_is_shown_and_the_rest_is_counted(void **state)
{
    (void)state;
    static const char doubled[] = CONNECTOR_10 " 00000009 68656c6c6f 524608fe 00000009 68656c6c6f 524608fe 00";
    struct bytes twice = {.n = 0};
    char lines[400];
    add_frame(&twice, 0, 2, "hello");
    snprintf(lines, sizeof lines,
             OPENED "off 12  len 5  \"hello\"\n"
                    "off 25  len 5  CHECKSUM WRONG: 524608fe came, %02x%02x%02x%02x would be right here\n"
                    "off 38  not interpreted: 1 byte\n",
             twice.at[9], twice.at[10], twice.at[11], twice.at[12]);
    shows(doubled, FRAMED_MALFORMED, lines);
    shows(CONNECTOR_10 " 00000003 616263", FRAMED_MALFORMED,
          OPENED "off 12  len 3  CHECKSUM WRONG: no room for one\noff 16  not interpreted: 3 bytes\n");
    config.json = true;
    shows(CONNECTOR_10 " 00000003 616263", FRAMED_MALFORMED,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"connector\",\"mode\":16,\"protection\":\"crc32c\","
                 "\"max_frame\":16777216") OBJECT("\"event\":\"wrong_checksum\",\"off\":12,\"len\":3")
              OBJECT("\"event\":\"not_interpreted\",\"off\":16,\"bytes\":3"));
    shows(CONNECTOR_10 " 00000009 68656c6c6f 524608ff", FRAMED_MALFORMED,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"connector\",\"mode\":16,\"protection\":\"crc32c\","
                 "\"max_frame\":16777216")
              OBJECT("\"event\":\"wrong_checksum\",\"off\":12,\"len\":5,\"found\":1380321535,\"expected\":1380321534"));
}

static void limits_count_payloads(void **state)
{
    (void)state;
    struct bytes b = of_hex(CONNECTOR_10);
    config.max_frame = 5;
    add_frame(&b, 0, 1, "hello");
    add_frame(&b, 0, 2, "hello!");
    assert_int_equal(show(&b), FRAMED_TOO_LARGE);
    said(OPENED "off 12  len 5  \"hello\"\n"
                "off 25  len 6  TOO LARGE: at most 5 allowed\noff 29  not interpreted: 10 bytes\n");
    for (unsigned less = 0; less < 4; less++) { /* the most there is: a trailer does not fit */
        config.max_frame = FRAMED_FRAME_MOST - less;
        shows(CONNECTOR_10 " 80000000", FRAMED_TOO_LARGE,
              less == 0   ? OPENED "off 12  len 2147483644  TOO LARGE: at most 2147483647 allowed\n"
              : less == 1 ? OPENED "off 12  len 2147483644  TOO LARGE: at most 2147483646 allowed\n"
              : less == 2 ? OPENED "off 12  len 2147483644  TOO LARGE: at most 2147483645 allowed\n"
                          : OPENED "off 12  len 2147483644  TOO LARGE: at most 2147483644 allowed\n");
    }
}

static void a_frame_cut_in_its_checksum_says_so(void **state)
{
    (void)state;
    shows(CONNECTOR_10 " 00000009 6865", FRAMED_TRUNCATED, OPENED "off 12  len 5  TRUNCATED: have 2 of 5 bytes\n");
    shows(CONNECTOR_10 " 00000009 68656c6c6f 52", FRAMED_TRUNCATED,
          OPENED "off 12  len 5  TRUNCATED: have 1 of 4 bytes of a checksum\n");
    config.json = true;
    shows(ACCEPTOR_10 " 00000009 68656c6c6f", FRAMED_TRUNCATED,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"acceptor\",\"mode\":16,\"protection\":\"crc32c\","
                 "\"max_frame\":16777216")
              OBJECT("\"event\":\"truncated\",\"off\":12,\"len\":5,\"have_of_checksum\":0,\"text\":\"hello\""));
}

static void each_wrong_byte_of_a_checked_stream_is_found(void **state)
{
    (void)state;
    struct bytes good = of_hex(CONNECTOR_10);
    for (unsigned i = 1; i < 6; i++) add_frame(&good, 0, i, i == 3 ? "" : "payload");
    assert_int_equal(show(&good), FRAMED_OK);
    for (size_t i = 0; i < good.n; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct bytes bad = good;
            bad.at[i] ^= (uint8_t)(1u << bit);
            if (show(&bad) == FRAMED_OK) fail_msg("byte %zu, bit %u: nothing was found", i, bit);
        }
    }
}

/* ---- encrypted ---- */

#define FORTY_EIGHT "000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f"
#define MESSAGE_48  "00000030" FORTY_EIGHT
#define RECORD_17   "00000011 4142434445464748494a4b4c4d4e4f5051"

static void of_encrypted_frames_it_is_said_how_long_they_are(void **state)
{
    (void)state;
    shows(CONNECTOR_80 MESSAGE_48 RECORD_17, FRAMED_OK,
          "off 0  opening of a connector: encrypted, shared key; max frame 16 MiB; key id \"me\"\n"
          "off 12  len 48  handshake message 1\noff 64  len 17  encrypted\n");
    shows("f7660180" MESSAGE_48 RECORD_17, FRAMED_OK,
          "off 0  opening of an acceptor: encrypted, shared key\n"
          "off 4  len 48  handshake message 2\noff 56  len 17  encrypted\n");
    shows("f7460190 00000000" MESSAGE_48 MESSAGE_48 RECORD_17, FRAMED_OK,
          "off 0  opening of a connector: encrypted, pinned keys; max frame 16 MiB\n"
          "off 8  len 48  handshake message 1\noff 60  len 48  handshake message 3\noff 112  len 17  encrypted\n");
    config.json = true;
    shows("f7660190" MESSAGE_48 RECORD_17 "00000011 4142", FRAMED_TRUNCATED,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"acceptor\",\"mode\":144,\"protection\":\"pinned_keys\"")
              OBJECT("\"event\":\"handshake\",\"off\":4,\"message\":2,\"len\":48")
                  OBJECT("\"event\":\"encrypted\",\"off\":56,\"len\":17")
                      OBJECT("\"event\":\"truncated\",\"off\":77,\"len\":17,\"have\":2"));
}

static void hex_asks_for_the_ciphertext(void **state)
{
    (void)state;
    config.hex = true;
    config.hex_bytes = 2;
    shows("f7660180" MESSAGE_48 RECORD_17, FRAMED_OK,
          "off 0  opening of an acceptor: encrypted, shared key\n"
          "off 4  len 48  handshake message 2\n"
          "    00000000  00 01                                             |..|\n"
          "    46 more\n"
          "off 56  len 17  encrypted\n"
          "    00000000  41 42                                             |AB|\n"
          "    15 more\n");
    config.json = true;
    shows("f7660180" MESSAGE_48 RECORD_17, FRAMED_OK,
          OBJECT("\"event\":\"opening\",\"off\":0,\"side\":\"acceptor\",\"mode\":128,\"protection\":\"shared_key\"")
              OBJECT("\"event\":\"handshake\",\"off\":4,\"message\":2,\"len\":48,\"hex\":\"0001\",\"cut\":46")
                  OBJECT("\"event\":\"encrypted\",\"off\":56,\"len\":17,\"hex\":\"4142\",\"cut\":15"));
}

static void a_record_longer_than_65535_is_too_large(void **state)
{
    (void)state;
    config.max_frame = 100; /* is of what is inside */
    shows("f7660180" MESSAGE_48 "00010000 00", FRAMED_TOO_LARGE,
          "off 0  opening of an acceptor: encrypted, shared key\noff 4  len 48  handshake message 2\n"
          "off 56  len 65536  TOO LARGE: at most 65535 allowed\noff 60  not interpreted: 1 byte\n");
    shows("f7660180" MESSAGE_48 "0000ffff 00", FRAMED_TRUNCATED,
          "off 0  opening of an acceptor: encrypted, shared key\noff 4  len 48  handshake message 2\n"
          "off 56  len 65535  TRUNCATED: have 1 of 65535 bytes\n");
}

static void a_record_in_pieces_needs_no_memory(void **state)
{
    (void)state;
    struct bytes b = of_hex("f7660180" MESSAGE_48 RECORD_17);
    struct inspect_stream stream;
    config.json = true;
    begin();
    framed_inspect_stream_init(&stream, &inspect);
    for (size_t i = 0; i < b.n; i++) framed_inspect_bytes(&stream, 0, b.at + i, 1);
    framed_inspect_end(&stream, 0);
    assert_int_equal(meter_read(&meter).peak, 0);
}

/* ---- every split ---- */

struct compare {
    const char *name;
    const uint8_t *at;
    char expected[8192];
    enum framed_status found;
};

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

static void compare(void *ctx, const struct split *split)
{
    const struct compare *c = ctx;
    show_split(c->at, split);
    if (strcmp(sunk, c->expected) != 0) fail_msg("%s, %s: said\n%s\nnot\n%s", c->name, split->name, sunk, c->expected);
    if (framed_inspect_found(&inspect) != c->found)
        fail_msg("%s, %s: found %d, not %d", c->name, split->name, framed_inspect_found(&inspect), c->found);
}

/* Every look, in every split, is that of the whole. */
static void compare_all(const char *name, const uint8_t *at, size_t n)
{
    static const struct inspect_config looks[] = {
        {.json = false}, {.hex = true, .hex_bytes = 5}, {.json = true}, {.stats = &stats}, {.stats = &stats, .json = true},
    };
    for (size_t k = 0; k < sizeof looks / sizeof *looks; k++) {
        struct compare c = {.name = name, .at = at};
        config = looks[k];
        config.alloc = &meter.allocator;
        show_split(at, &(struct split){.ends = &n, .n = 1, .name = "whole"});
        assert_true(sunk_len < sizeof c.expected);
        memcpy(c.expected, sunk, sunk_len + 1);
        c.found = framed_inspect_found(&inspect);
        splits_each(n, 2, compare, &c);
    }
    assert_int_equal(meter_in_use(&meter), 0);
}

static void a_checked_stream_is_the_same_under_every_split(void **state)
{
    (void)state;
    struct bytes b = of_hex(ACCEPTOR_10);
    for (unsigned i = 1; i < 6; i++) add_frame(&b, 1, i, i == 3 ? "" : "hello");
    compare_all("right", b.at, b.n);
    b.at[40] ^= 1;
    compare_all("wrong", b.at, b.n);
    add_hex(&b, "00000000");
    compare_all("too short", b.at, b.n);
}

/* What opening.txt says of this input, if it is read without knowing what was accepted or asked for. */
static void opening_holds(const struct opening_case *c)
{
    bool begins = c->input_len >= 4 && c->input[0] == 0xf7 && (c->input[1] == 0x46 || c->input[1] == 0x66);
    bool by_its_reader = begins && (c->input[1] == 0x46) == c->to_acceptor;
    config = (struct inspect_config){.json = true, .alloc = &meter.allocator};
    show_split(c->input, &(struct split){.ends = &c->input_len, .n = 1, .name = "whole"});
    bool opened = strstr(sunk, "\"event\":\"opening\"") != NULL, wrong = strstr(sunk, "wrong_opening") != NULL;
    if (!begins && (opened || wrong)) fail_msg("%s: an opening in\n%s", c->name, sunk);
    if (by_its_reader && c->ends == FRAMED_OK && !opened) fail_msg("%s: no opening in\n%s", c->name, sunk);
    if (by_its_reader && c->ends != FRAMED_OK && c->ends != FRAMED_TRUNCATED && strcmp(c->fault, "mode") != 0 &&
        strcmp(c->fault, "answer") != 0 && !wrong)
        fail_msg("%s: no wrong opening in\n%s", c->name, sunk);
    if (opened && c->ends == FRAMED_OK && c->has_hello) {
        char max_frame[40];
        snprintf(max_frame, sizeof max_frame, "\"max_frame\":%lu", (unsigned long)c->max_frame);
        assert_non_null(strstr(sunk, max_frame));
    }
}

static void every_case_of_an_opening_is_shown_under_every_split(void **state)
{
    (void)state;
    struct opening_cases cases;
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    assert_true(cases.n > 50);
    for (size_t i = 0; i < cases.n; i++) {
        opening_holds(&cases.at[i]);
        compare_all(cases.at[i].name, cases.at[i].input, cases.at[i].input_len);
    }
    opening_cases_free(&cases);
}

/* A line of encrypted.txt: each side's bytes, in order, and how many frames they are behind the opening. */
static bool read_case(char *line, struct bytes side[2], size_t frames[2])
{
    char *fields[9], *token;
    if (line[0] == '#' || line[0] == '\n') return false;
    for (size_t i = 0; i < 9; i++) {
        fields[i] = line;
        line = strchr(line, '|');
        assert_true((line == NULL) == (i == 8));
        if (line != NULL) *line++ = '\0';
    }
    for (unsigned k = 0; k < 2; k++) {
        char *preface = strtok(fields[6 + k], " \n"), *hello = strtok(NULL, " \n");
        side[k].n = 0;
        frames[k] = 1;
        add_hex(&side[k], preface);
        if (k == 0) add_hex(&side[k], hello);
        add_hex(&side[k], strtok(NULL, " \n"));
    }
    for (token = strtok(fields[8], " \n"); token != NULL; token = strtok(NULL, " \n")) {
        unsigned k = token[0] == '<';
        add_hex(&side[k], strrchr(token, ':') + 1);
        frames[k]++;
    }
    return true;
}

static size_t count_of(const char *text, const char *what)
{
    size_t n = 0;
    for (; (text = strstr(text, what)) != NULL; text++) n++;
    return n;
}

static void every_encrypted_connection_is_shown_under_every_split(void **state)
{
    (void)state;
    static char line[1 << 16];
    struct bytes side[2];
    size_t frames[2], cases = 0;
    FILE *file = fopen(FRAMED_VECTORS "/encrypted.txt", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        if (!read_case(line, side, frames)) continue;
        cases++;
        for (unsigned k = 0; k < 2; k++) {
            config = (struct inspect_config){.json = true, .alloc = &meter.allocator};
            assert_int_equal(show(&side[k]), FRAMED_OK);
            assert_int_equal(count_of(sunk, "\"event\":\"opening\""), 1);
            assert_int_equal(count_of(sunk, "\"event\":\"handshake\"") + count_of(sunk, "\"event\":\"encrypted\""),
                             frames[k]);
            assert_int_equal(count_of(sunk, "\n"), frames[k] + 1);
            assert_null(strstr(sunk, "\"text\""));
            compare_all("encrypted", side[k].at, side[k].n);
        }
    }
    assert_int_equal(ferror(file), 0);
    fclose(file);
    assert_true(cases >= 6);
}

/* ---- connections ---- */

static struct inspect_conn conn;

static void open_conn(void)
{
    begin();
    framed_inspect_open(&conn, &inspect, 1, 0, framed_bytes_str(""));
}

static void pass(enum inspect_way way, uint64_t time_ns, const char *hex)
{
    struct bytes b = of_hex(hex);
    framed_inspect_bytes(&conn.way[way], time_ns, b.at, b.n);
}

static void replies_with_checksums_are_timed_and_openings_are_none(void **state)
{
    (void)state;
    open_conn();
    pass(INSPECT_REQUESTS, 1000, CONNECTOR_10 " 00000009 68656c6c6f 524608fe");
    pass(INSPECT_REPLIES, 3000, ACCEPTOR_10 " 00000009 68656c6c6f 5d2f0ad5");
    framed_inspect_close(&conn, 0);
    said("00:00:00.000 #1 opened\n"
         "00:00:00.000 #1 > opening of a connector: crc32c; max frame 16 MiB\n"
         "00:00:00.000 #1 >  5 B  \"hello\"\n"
         "00:00:00.000 #1 < opening of an acceptor: crc32c; max frame 16 MiB\n"
         "00:00:00.000 #1 <  5 B  \"hello\"  2 us\n"
         "00:00:00.000 #1 closed\n");
}

static void replies_on_an_encrypted_connection_are_not_timed(void **state)
{
    (void)state;
    config.json = true;
    open_conn();
    pass(INSPECT_REQUESTS, 1, CONNECTOR_80 MESSAGE_48 RECORD_17);
    pass(INSPECT_REPLIES, 2, "f7660180" MESSAGE_48 RECORD_17);
    pass(INSPECT_REQUESTS, 3, RECORD_17 RECORD_17);
    framed_inspect_close(&conn, 4);
    framed_inspect_flush(&inspect);
    assert_null(strstr(sunk, "reply_ns"));
    assert_int_equal(count_of(sunk, "\"event\":\"encrypted\""), 4);
    assert_non_null(strstr(sunk, "\"event\":\"closed\",\"time_ns\":4,\"conn\":1,\"unanswered\":0}"));
}

static void an_answer_in_another_mode_or_a_reflection_is_wrong(void **state)
{
    (void)state;
    open_conn();
    pass(INSPECT_REQUESTS, 0, "f7460100 00000000");
    pass(INSPECT_REPLIES, 0, ACCEPTOR_10);
    framed_inspect_close(&conn, 0);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_MALFORMED);
    said("00:00:00.000 #1 opened\n"
         "00:00:00.000 #1 > opening of a connector: no checksum; max frame 16 MiB\n"
         "00:00:00.000 #1 < off 0  MALFORMED OPENING: byte 3: not the mode that was asked for: 10 (crc32c); allowed 00 (no "
         "checksum)\n"
         "00:00:00.000 #1 < off 4  not interpreted: 8 bytes\n"
         "00:00:00.000 #1 closed\n");
    open_conn();
    pass(INSPECT_REQUESTS, 0, CONNECTOR_10);
    pass(INSPECT_REPLIES, 0, CONNECTOR_10);
    framed_inspect_close(&conn, 0);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_MALFORMED);
    assert_int_equal(framed_inspect_flush(&inspect), FRAMED_OK);
    assert_non_null(strstr(sunk, "MALFORMED OPENING: byte 1: "));
}

static void checksums_are_checked_on_behind_frames_that_were_not_shown(void **state)
{
    (void)state;
    struct bytes b = {.n = 0};
    open_conn();
    pass(INSPECT_REQUESTS, 0, CONNECTOR_10 " 00000009 6865");
    framed_inspect_skipped(&conn.way[0], 0, 100, 3, 0xf7460110); /* the rest of frame 1; 2 and 3 */
    add_frame(&b, 0, 4, "four");
    add_frame(&b, 0, 4, "wrong");
    framed_inspect_bytes(&conn.way[0], 0, b.at, b.n);
    assert_int_equal(framed_inspect_flush(&inspect), FRAMED_OK);
    assert_non_null(strstr(sunk, "> off 12  len 5  unfinished: have 2 of 5 bytes\n"));
    assert_non_null(strstr(sunk, "not shown: 3 frames, 100 bytes\n00:00:00.000 #1 >  4 B  \"four\"\n"));
    assert_non_null(strstr(sunk, "len 5  CHECKSUM WRONG: "));
    framed_inspect_close(&conn, 0);
}

static void an_opening_that_was_not_shown_is_known_all_the_same(void **state)
{
    (void)state;
    struct bytes b = {.n = 0};
    config.json = true;
    for (int cut = 0; cut < 3; cut++) {
        open_conn();
        if (cut == 1) pass(INSPECT_REQUESTS, 0, "f746");
        if (cut == 2) pass(INSPECT_REQUESTS, 0, "f7460110 0000");
        framed_inspect_skipped(&conn.way[0], 1, 100, 2, 0xf7460110); /* HELLO, and a request */
        pass(INSPECT_REPLIES, 2, ACCEPTOR_10 " 00000009 68656c6c6f 5d2f0ad5");
        b.n = 0;
        add_frame(&b, 0, 2, "two");
        framed_inspect_bytes(&conn.way[0], 3, b.at, b.n);
        b.n = 0;
        add_frame(&b, 1, 2, "2");
        framed_inspect_bytes(&conn.way[1], 5, b.at, b.n);
        framed_inspect_close(&conn, 6);
        framed_inspect_flush(&inspect);
        assert_non_null(strstr(sunk, "\"len\":3,\"text\":\"two\""));
        assert_non_null(strstr(sunk, "\"len\":1,\"text\":\"2\",\"reply_ns\":2}"));
        assert_non_null(strstr(sunk, "\"unanswered\":0}"));
        assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
    }
    open_conn();
    framed_inspect_skipped(&conn.way[1], 1, 100, 1, 0xf7660190); /* message 2 */
    pass(INSPECT_REPLIES, 2, RECORD_17);
    framed_inspect_close(&conn, 6);
    framed_inspect_flush(&inspect);
    assert_non_null(strstr(sunk, "\"event\":\"encrypted\",\"time_ns\":2,\"conn\":1,\"way\":\"<\",\"off\":100,\"len\":17}"));
}

static void after_lost_bytes_nothing_of_a_checked_stream_is_interpreted(void **state)
{
    (void)state;
    open_conn();
    pass(INSPECT_REQUESTS, 0, "f7460110 0000");
    framed_inspect_lost(&conn.way[0], 0, 6);
    pass(INSPECT_REQUESTS, 0, "00000009 68656c6c6f 524608fe");
    framed_inspect_close(&conn, 0);
    said("00:00:00.000 #1 opened\n"
         "00:00:00.000 #1 > off 0  unfinished: have 6 bytes of an opening\n"
         "00:00:00.000 #1 > off 6  LOST: 6 bytes\n"
         "00:00:00.000 #1 > off 12  not interpreted: 13 bytes\n"
         "00:00:00.000 #1 closed\n");
}

static void prefaces_that_can_be_followed_are_those_of_known_modes(void **state)
{
    (void)state;
    unsigned follows = 0;
    for (unsigned mode = 0; mode < 256; mode++) {
        assert_int_equal(framed_inspect_follows(0xf7460100 | mode), framed_inspect_follows(0xf7660100 | mode));
        follows += framed_inspect_follows(0xf7460100 | mode);
        assert_false(framed_inspect_follows(0xf7460200 | mode) || framed_inspect_follows(0xf7470100 | mode) ||
                     framed_inspect_follows(0xf6460100 | mode));
    }
    assert_int_equal(follows, 10);
    assert_false(framed_inspect_follows(0xf7460120)); /* BLAKE2b is not built */
}

/* ---- summaries ---- */

static void a_summary_counts_encrypted_records_apart(void **state)
{
    (void)state;
    config.stats = &stats;
    shows("f7660180" MESSAGE_48 RECORD_17 RECORD_17, FRAMED_OK,
          "frames 0  empty 0  payload 0 B  all 98 B\nencrypted records 2  34 B\nopenings  encrypted, shared key 1\n");
    shows(CONNECTOR_10 " 00000004 00000000", FRAMED_MALFORMED,
          "off 12  len 0  CHECKSUM WRONG: 00000000 came, 43d05d57 would be right here\n"
          "frames 0  empty 0  payload 0 B  all 20 B\nwrong checksums 1\nopenings  crc32c 1\n");
    shows(
        "f7460112", FRAMED_MALFORMED,
        "off 0  MALFORMED OPENING: byte 3: a mode that is not accepted here: 12; allowed 00 (no checksum), 01 (no checksum, "
        "session), 10 (crc32c), 11 (crc32c, session), 80 (a shared key), 81 (a shared key, session), 90 (pinned keys), 91 "
        "(pinned keys, session), a0 (both keys), a1 (both keys, session)\n"
        "frames 0  empty 0  payload 0 B  all 4 B\nwrong openings 1\n");
}

static void a_summary_names_the_protection_of_each_connection(void **state)
{
    (void)state;
    config.stats = &stats;
    config.json = true;
    begin();
    static const char *const requests[] = {CONNECTOR_80 MESSAGE_48 RECORD_17, CONNECTOR_10, CONNECTOR_10, "00000000",
                                           "f7460120"};
    for (uint32_t i = 0; i < 5; i++) {
        framed_inspect_open(&conn, &inspect, i, 0, framed_bytes_str(""));
        pass(INSPECT_REQUESTS, 0, requests[i]);
        if (i == 4) pass(INSPECT_REPLIES, 0, "f7660120"); /* known, and not followed */
        if (i == 0) pass(INSPECT_REPLIES, 0, "f7660180" MESSAGE_48);
        if (i == 1) framed_inspect_skipped(&conn.way[0], 0, 12, 1, 0xf7460110); /* it is the same connection still */
        if (i == 1) pass(INSPECT_REPLIES, 0, ACCEPTOR_10);
        if (i == 2) framed_inspect_skipped(&conn.way[1], 0, 12, 1, 0xf7660110);
        framed_inspect_close(&conn, 0);
    }
    framed_inspect_finish(&inspect);
    assert_non_null(strstr(sunk, "\"connections\":5,"));
    assert_non_null(strstr(sunk, "\"encrypted_records\":1,\"bytes_encrypted\":17,"));
    assert_non_null(strstr(sunk, ",\"openings\":{\"crc32c\":2,\"blake2b\":1,\"shared_key\":1}}\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_opening_names_side_protection_and_max_frame),
        TEST(a_key_id_reaches_no_terminal_unescaped),
        TEST(json_of_an_opening_has_mode_and_protection),
        TEST(an_opening_that_is_known_and_not_followed_is_no_fault),
        TEST(a_wrong_opening_says_why_and_the_rest_is_counted),
        TEST(a_first_word_that_is_no_preface_is_too_large_as_ever),
        TEST(a_cut_opening_is_named_as_one),
        TEST(frames_are_shown_without_their_trailers),
        TEST(a_wrong_checksum_is_shown_and_the_rest_is_counted),
        TEST(limits_count_payloads),
        TEST(a_frame_cut_in_its_checksum_says_so),
        TEST(each_wrong_byte_of_a_checked_stream_is_found),
        TEST(of_encrypted_frames_it_is_said_how_long_they_are),
        TEST(hex_asks_for_the_ciphertext),
        TEST(a_record_longer_than_65535_is_too_large),
        TEST(a_record_in_pieces_needs_no_memory),
        TEST(a_checked_stream_is_the_same_under_every_split),
        TEST(every_case_of_an_opening_is_shown_under_every_split),
        TEST(every_encrypted_connection_is_shown_under_every_split),
        TEST(replies_with_checksums_are_timed_and_openings_are_none),
        TEST(replies_on_an_encrypted_connection_are_not_timed),
        TEST(an_answer_in_another_mode_or_a_reflection_is_wrong),
        TEST(checksums_are_checked_on_behind_frames_that_were_not_shown),
        TEST(an_opening_that_was_not_shown_is_known_all_the_same),
        TEST(after_lost_bytes_nothing_of_a_checked_stream_is_interpreted),
        TEST(prefaces_that_can_be_followed_are_those_of_known_modes),
        TEST(a_summary_counts_encrypted_records_apart),
        TEST(a_summary_names_the_protection_of_each_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
