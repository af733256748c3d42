/*
 * test_record.c: records of what passed through a tap (src/cli/record.h), and files shown again (src/cli/replay.h).
 * Must not know files, or how the reader keeps its state.
 * Invariant: what a record says is compared with entries the test has written down, or with the page in record.h byte by byte.
 */
#include "cli/replay.h"
#include "meter.h"
#include "splits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANDOM_CUTS = 20, ROOM = 1 << 20 };

static struct meter meter;

/* ---- a record that is being written ---- */

static uint8_t written[ROOM];
static size_t len;

static void write_raw(const void *at, size_t n)
{
    assert_true(n <= sizeof written - len);
    if (n > 0) memcpy(written + len, at, n);
    len += n;
}

static void begin_record(void)
{
    len = 0;
    write_raw(framed_record_magic, RECORD_MAGIC_SIZE);
}

static void write_entry(enum record_type type, unsigned way, uint32_t connection, uint64_t time_ns, const void *at, size_t n)
{
    struct record_entry entry = {.type = type,
                                 .way = way,
                                 .connection = connection,
                                 .time_ns = time_ns,
                                 .bytes = framed_bytes_of(at, n),
                                 .lost = type == RECORD_LOST ? n : 0};
    assert_true(framed_record_size(&entry) <= sizeof written - len);
    size_t done = framed_record_write(written + len, &entry);
    assert_int_equal(done, framed_record_size(&entry));
    len += done;
}

/* A frame that need not be an entry. */
static void write_payload(const void *at, size_t n)
{
    uint8_t word[4];
    assert_int_equal(framed_length_encode(word, n, FRAMED_FRAME_MOST), FRAMED_OK);
    write_raw(word, 4);
    write_raw(at, n);
}

/* A small record with everything in it. */
static const struct record_entry sample[] = {
    {.type = RECORD_OPENED, .connection = 1, .time_ns = 1000, .bytes = {(const uint8_t *)"peer", 4}},
    {.type = RECORD_DATA, .connection = 1, .time_ns = 2000, .bytes = {(const uint8_t *)"\0\0\0\5hel", 7}},
    {.type = RECORD_OPENED, .connection = 4000000000u, .time_ns = 2500},
    {.type = RECORD_DATA, .connection = 1, .time_ns = 3000, .bytes = {(const uint8_t *)"lo", 2}},
    {.type = RECORD_DATA, .way = 1, .connection = 1, .time_ns = 8000, .bytes = {(const uint8_t *)"\0\0\0\1y", 5}},
    {.type = RECORD_LOST, .way = 1, .connection = 4000000000u, .time_ns = 8500, .lost = 70000},
    {.type = RECORD_END, .way = 1, .connection = 1, .time_ns = 9000},
    {.type = RECORD_END, .way = 0, .connection = 1, .time_ns = UINT64_MAX},
    {.type = RECORD_CLOSED, .connection = 1, .time_ns = 9500},
};
enum { SAMPLE = sizeof sample / sizeof *sample };

static void write_sample(void)
{
    begin_record();
    for (const struct record_entry *e = sample; e < sample + SAMPLE; e++)
        write_entry(e->type, e->way, e->connection, e->time_ns, e->bytes.at,
                    e->type == RECORD_LOST ? (size_t)e->lost : e->bytes.len);
}

/* ---- a record that is being read ---- */

static struct record_reader reader;
static size_t entries;

static bool same(const struct record_entry *a, const struct record_entry *b)
{
    return a->type == b->type && a->way == b->way && a->connection == b->connection && a->time_ns == b->time_ns &&
           a->lost == b->lost && a->bytes.len == b->bytes.len &&
           (a->bytes.len == 0 || memcmp(a->bytes.at, b->bytes.at, a->bytes.len) == 0);
}

/* Reads what was written, in these pieces; the entries must be the first of `expected`. Returns what the last call did. */
static enum framed_status read_split(const struct split *split, const struct record_entry *expected, size_t most)
{
    struct record_entry entry;
    enum framed_status st = FRAMED_MORE;
    entries = 0;
    framed_record_init(&reader, &meter.allocator);
    for (size_t i = 0, from = 0; i < split->n && st == FRAMED_MORE; from = split->ends[i++]) {
        size_t n = split->ends[i] - from;
        uint8_t *piece = malloc(n + 1);
        assert_non_null(piece);
        memcpy(piece, written + from, n);
        if (framed_record_feed(&reader, piece, n) != FRAMED_OK) fail_msg("%s: not fed", split->name);
        while ((st = framed_record_next(&reader, &entry)) == FRAMED_OK) {
            if (entries >= most || !same(&entry, &expected[entries]))
                fail_msg("%s: entry %zu differs", split->name, entries);
            entries++;
        }
        free(piece);
    }
    return st == FRAMED_MORE ? framed_record_end(&reader) : st;
}

static struct split whole(void)
{
    return (struct split){.ends = &len, .n = 1, .name = "whole"};
}

static enum framed_status read_whole(const struct record_entry *expected, size_t most)
{
    struct split split = whole();
    return read_split(&split, expected, most);
}

/* ---- the format ---- */

static void a_record_is_what_the_page_says_byte_by_byte(void **state)
{
    (void)state;
    static const char expected[] = "\0\0\0\20"
                                   "framed record 1\n"
                                   "\0\0\0\20\1\0\0\0\0\2\20\21\22\23\24\25\26\27hi"
                                   "\0\0\0\21\2\1\0\0\0\2\0\0\0\0\0\0\0\3abc"
                                   "\0\0\0\16\3\0\0\0\0\2\0\0\0\0\0\0\0\3"
                                   "\0\0\0\26\5\1\0\0\0\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0\1\2"
                                   "\0\0\0\16\4\0\0\0\0\2\0\0\0\0\0\0\0\5";
    begin_record();
    write_entry(RECORD_OPENED, 0, 2, UINT64_C(0x1011121314151617), "hi", 2);
    write_entry(RECORD_DATA, 1, 2, 3, "abc", 3);
    write_entry(RECORD_END, 0, 2, 3, NULL, 0);
    write_entry(RECORD_LOST, 1, 2, 4, NULL, 258);
    write_entry(RECORD_CLOSED, 0, 2, 5, NULL, 0);
    assert_int_equal(len, sizeof expected - 1);
    assert_memory_equal(written, expected, len);
}

static void a_head_is_an_entry_without_its_bytes(void **state)
{
    (void)state;
    uint8_t head[RECORD_HEAD];
    const struct record_entry entry = {
        .type = RECORD_DATA, .way = 1, .connection = 77, .time_ns = 88, .bytes = framed_bytes_of("other", 5)};
    begin_record();
    write_entry(RECORD_DATA, 1, 77, 88, "bytes", 5);
    framed_record_head(head, &entry);
    assert_memory_equal(head, written + RECORD_MAGIC_SIZE, RECORD_HEAD);
}

static void what_is_too_long_for_an_entry_is_left_out(void **state)
{
    (void)state;
    static uint8_t big[RECORD_MOST + 1];
    memset(big, 'x', sizeof big);
    begin_record();
    write_entry(RECORD_OPENED, 0, 1, 0, big, 300);
    write_entry(RECORD_DATA, 0, 1, 0, big, sizeof big);
    struct record_entry expected[] = {
        {.type = RECORD_OPENED, .connection = 1, .bytes = {big, 255}},
        {.type = RECORD_DATA, .connection = 1, .bytes = {big, RECORD_MOST}},
    };
    assert_int_equal(read_whole(expected, 2), FRAMED_CLOSED);
    assert_int_equal(entries, 2);
    framed_record_fini(&reader);
}

static void reads_back(void *ctx, const struct split *split)
{
    (void)ctx;
    enum framed_status st = read_split(split, sample, SAMPLE);
    if (st != FRAMED_CLOSED || entries != SAMPLE) fail_msg("%s: %d after %zu entries", split->name, st, entries);
    framed_record_fini(&reader);
}

static void entries_are_read_as_written_under_every_split(void **state)
{
    (void)state;
    write_sample();
    splits_each(len, RANDOM_CUTS, reads_back, NULL);
}

static void a_record_cut_anywhere_is_truncated_at_the_entry_that_was_cut(void **state)
{
    (void)state;
    write_sample();
    size_t all = len, boundary = 0, expected = 0;
    for (len = 0; len < all; len++) {
        if (len == boundary + 4 + written[boundary + 2] * 256u + written[boundary + 3]) {
            expected += boundary > 0;
            boundary = len;
        }
        enum framed_status st = read_whole(sample, SAMPLE);
        assert_int_equal(entries, expected);
        if (len == boundary && len > 0) {
            assert_int_equal(st, FRAMED_CLOSED);
        } else {
            assert_int_equal(st, FRAMED_TRUNCATED);
            assert_int_equal(framed_record_off(&reader), boundary);
            assert_string_equal(framed_record_fault(&reader), len == 0 ? "not a record" : "it ends inside an entry");
        }
        framed_record_fini(&reader);
    }
    assert_int_equal(expected, SAMPLE - 1);
}

static void entries_of_later_versions_are_skipped(void **state)
{
    (void)state;
    static uint8_t later[RECORD_MOST + 14] = {128, 99};
    begin_record();
    write_payload(later, 14);
    write_entry(RECORD_OPENED, 0, 1, 5, NULL, 0);
    later[0] = 255;
    write_payload(later, sizeof later);
    write_entry(RECORD_CLOSED, 0, 1, 6, NULL, 0);
    struct record_entry expected[] = {{.type = RECORD_OPENED, .connection = 1, .time_ns = 5},
                                      {.type = RECORD_CLOSED, .connection = 1, .time_ns = 6}};
    assert_int_equal(read_whole(expected, 2), FRAMED_CLOSED);
    assert_int_equal(entries, 2);
    framed_record_fini(&reader);
}

/* After one good entry a bad one: where, and why. And it is final. */
static void refuses(const void *payload, size_t n, const char *fault)
{
    static const struct record_entry good = {.type = RECORD_OPENED, .connection = 1, .time_ns = 5};
    struct record_entry entry;
    begin_record();
    write_entry(RECORD_OPENED, 0, 1, 5, NULL, 0);
    size_t off = len;
    write_payload(payload, n);
    write_entry(RECORD_CLOSED, 0, 1, 6, NULL, 0);
    assert_int_equal(read_whole(&good, 1), FRAMED_MALFORMED);
    assert_int_equal(entries, 1);
    assert_int_equal(framed_record_off(&reader), off);
    assert_string_equal(framed_record_fault(&reader), fault);
    assert_int_equal(framed_record_next(&reader, &entry), FRAMED_MALFORMED);
    assert_int_equal(framed_record_feed(&reader, written, 1), FRAMED_MALFORMED);
    assert_int_equal(framed_record_end(&reader), FRAMED_MALFORMED);
    framed_record_fini(&reader);
}

#define REST                    "\0\0\0\1\0\0\0\0\0\0\0\1"
#define REFUSES(payload, fault) refuses(payload, sizeof payload - 1, fault)

static void a_malformed_entry_is_named_with_its_place(void **state)
{
    (void)state;
    static uint8_t big[RECORD_MOST + 15] = {RECORD_DATA};
    REFUSES("", "an entry of 0 bytes, which is too short");
    REFUSES("\2\0\0\0\0\1\0\0\0\0\0\0\0", "an entry of 13 bytes, which is too short");
    REFUSES("\0\0" REST, "an entry of the unknown type 0");
    REFUSES("\6\0" REST, "an entry of the unknown type 6");
    REFUSES("\177\0" REST, "an entry of the unknown type 127");
    REFUSES("\1\1" REST, "\"opened\" that goes the way 1");
    REFUSES("\2\2" REST "x", "\"data\" that goes the way 2");
    REFUSES("\2\0" REST, "\"data\" with 0 bytes");
    REFUSES("\3\0" REST "xx", "\"end\" with 2 bytes");
    REFUSES("\4\1" REST, "\"closed\" that goes the way 1");
    REFUSES("\4\0" REST "xx", "\"closed\" with 2 bytes");
    REFUSES("\5\0" REST "\0\0\0\0\0\0\1", "\"lost\" with 7 bytes");
    REFUSES("\5\0" REST "\0\0\0\0\0\0\0\0", "\"lost\" of no bytes");
    refuses(big, sizeof big, "an entry of 65551 bytes; at most 65550 are allowed");
    big[0] = RECORD_OPENED;
    refuses(big, 14 + 256, "\"opened\" with 256 bytes");
}

static void what_begins_otherwise_is_no_record(void **state)
{
    (void)state;
    len = 0;
    write_payload("framed record 2\n", 16);
    assert_int_equal(read_whole(NULL, 0), FRAMED_MALFORMED);
    assert_string_equal(framed_record_fault(&reader), "not a record");
    assert_int_equal(framed_record_off(&reader), 0);
    framed_record_fini(&reader);
    len = 0;
    write_payload("framed record 1", 15);
    assert_int_equal(read_whole(NULL, 0), FRAMED_MALFORMED);
    framed_record_fini(&reader);
}

static void a_reader_without_memory_says_so_for_good(void **state)
{
    (void)state;
    struct record_entry entry;
    write_sample();
    framed_record_init(&reader, &meter.allocator);
    assert_int_equal(framed_record_feed(&reader, written, 30), FRAMED_OK); /* inside an entry, which must be kept */
    meter_fail_at(&meter, 1, METER_ONCE);
    assert_int_equal(framed_record_next(&reader, &entry), FRAMED_NOMEM);
    assert_int_equal(framed_record_next(&reader, &entry), FRAMED_NOMEM);
    assert_int_equal(framed_record_end(&reader), FRAMED_NOMEM);
    framed_record_fini(&reader);
}

/* ---- files shown again ---- */

static struct inspect inspect;
static struct inspect_stats stats;
static struct inspect_config config;
static struct replay replay;
static char sunk[ROOM];
static size_t sunk_len;

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

static enum framed_status sink(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    assert_true(n < sizeof sunk - sunk_len);
    memcpy(sunk + sunk_len, at, n);
    sunk_len += n;
    sunk[sunk_len] = '\0';
    return FRAMED_OK;
}

static void begin_replay(void)
{
    sunk_len = 0;
    sunk[0] = '\0';
    memset(&stats, 0, sizeof stats);
    framed_inspect_init(&inspect, &config, sink, NULL);
    framed_replay_init(&replay, &inspect);
}

static enum framed_status replay_split(const struct split *split)
{
    enum framed_status st = FRAMED_OK;
    begin_replay();
    for (size_t i = 0, from = 0; i < split->n && st == FRAMED_OK; from = split->ends[i++]) {
        size_t n = split->ends[i] - from;
        uint8_t *piece = malloc(n + 1);
        assert_non_null(piece);
        memcpy(piece, written + from, n);
        st = framed_replay_bytes(&replay, piece, n);
        free(piece);
    }
    if (st == FRAMED_OK) st = framed_replay_end(&replay);
    if (st == FRAMED_OK) st = framed_inspect_finish(&inspect);
    framed_replay_fini(&replay);
    return st;
}

static enum framed_status replay_whole(void)
{
    struct split split = whole();
    return replay_split(&split);
}

/* What was written is shown as these lines, and this is found. */
static void shows(enum framed_status found, const char *lines)
{
    assert_int_equal(replay_whole(), FRAMED_OK);
    assert_int_equal(framed_inspect_found(&inspect), found);
    if (strcmp(sunk, lines) != 0) fail_msg("shown:\n%s\nnot:\n%s", sunk, lines);
}

/* `ctx` is the lines. */
static void shows_always(void *ctx, const struct split *split)
{
    enum framed_status st = replay_split(split);
    if (st != FRAMED_OK) fail_msg("%s: %d", split->name, st);
    if (strcmp(sunk, ctx) != 0) fail_msg("%s: shown:\n%s\nnot:\n%s", split->name, sunk, (char *)ctx);
}

static char sample_lines[] = "00:00:00.000 #1 opened peer\n"
                             "00:00:00.000 #4000000000 opened\n"
                             "00:00:00.000 #1 >  5 B  \"hello\"\n"
                             "00:00:00.000 #1 <  1 B  \"y\"  5 us\n"
                             "00:00:00.000 #4000000000 < off 0  LOST: 70000 bytes\n"
                             "00:00:00.000 #1 < ended\n"
                             "23:34:33.709 #1 > ended\n"
                             "00:00:00.000 #1 closed\n"
                             "00:00:00.000 #4000000000 still open\n";

static void a_record_is_shown_as_it_passed_under_every_split(void **state)
{
    (void)state;
    write_sample();
    splits_each(len, RANDOM_CUTS, shows_always, sample_lines);
    shows(FRAMED_OK, sample_lines);
}

static void a_record_without_entries_shows_nothing(void **state)
{
    (void)state;
    begin_record();
    shows(FRAMED_OK, "");
    config.stats = &stats;
    config.json = true;
    assert_int_equal(replay_whole(), FRAMED_OK);
    assert_non_null(strstr(sunk, "\"connections\":0"));
}

static void what_only_begins_like_a_record_is_plain_frames(void **state)
{
    (void)state;
    char lines[200];
    for (size_t n = 0; n < 16; n++) {
        len = 0;
        write_raw(framed_record_magic, 4 + n);
        snprintf(lines, sizeof lines, "off 0  len 16  TRUNCATED: have %zu of 16 bytes\n", n);
        splits_each(len, 0, shows_always, lines);
    }
    len = 0;
    write_payload("framed record 9\n", 16);
    write_payload("x", 1);
    snprintf(lines, sizeof lines, "off 0  len 16  \"framed record 9\\n\"\noff 20  len 1  \"x\"\n");
    splits_each(len, RANDOM_CUTS, shows_always, lines);
    len = 0;
    write_payload("", 0);
    write_payload("framed record 1\n", 16); /* not the first */
    snprintf(lines, sizeof lines, "off 0  len 0  \"\"\noff 4  len 16  \"framed record 1\\n\"\n");
    splits_each(len, RANDOM_CUTS, shows_always, lines);
}

static void a_cut_record_says_where_and_what_was_open(void **state)
{
    (void)state;
    begin_record();
    write_entry(RECORD_OPENED, 0, 1, 0, NULL, 0);
    write_entry(RECORD_DATA, 0, 1, 0, "\0\0\0\5hello", 9);
    len -= 3;
    shows(FRAMED_MALFORMED, "00:00:00.000 #1 opened\n"
                            "off 38  DAMAGED RECORD: it ends inside an entry; from here on not read: 24 bytes\n"
                            "00:00:00.000 #1 still open\n");
    config.json = true;
    shows(FRAMED_MALFORMED,
          "{\"schema\":\"framed.inspect/1\",\"event\":\"opened\",\"time_ns\":0,\"conn\":1,\"peer\":\"\"}\n"
          "{\"schema\":\"framed.inspect/1\",\"event\":\"damaged\",\"off\":38,\"error\":\"it ends inside an "
          "entry\",\"not_read\":24}\n"
          "{\"schema\":\"framed.inspect/1\",\"event\":\"still_open\",\"time_ns\":0,\"conn\":1,\"unanswered\":0}\n");
}

static void a_damaged_record_is_counted_to_its_end_under_every_split(void **state)
{
    (void)state;
    char lines[] = "00:00:00.000 #1 opened\n"
                   "off 38  DAMAGED RECORD: an entry of the unknown type 9; from here on not read: 218 bytes\n"
                   "00:00:00.000 #1 still open\n";
    begin_record();
    write_entry(RECORD_OPENED, 0, 1, 0, NULL, 0);
    write_payload("\t\0\0\0\0\1\0\0\0\0\0\0\0\0", 14);
    memset(written + len, 0xff, 200);
    len += 200;
    splits_each(len, RANDOM_CUTS, shows_always, lines);
}

/* Opened #5, ended one way; then the entry: the record is damaged there. */
static void unsuitable(enum record_type type, unsigned way, uint32_t connection, const char *why)
{
    char lines[400];
    begin_record();
    write_entry(RECORD_OPENED, 0, 5, 0, NULL, 0);
    write_entry(RECORD_END, 0, 5, 0, NULL, 0);
    size_t off = len;
    write_entry(type, way, connection, 0, "xxxxx", type == RECORD_DATA || type == RECORD_LOST ? 5 : 0);
    write_entry(RECORD_CLOSED, 0, 5, 0, NULL, 0);
    snprintf(lines, sizeof lines,
             "00:00:00.000 #5 opened\n00:00:00.000 #5 > ended\n"
             "off %zu  DAMAGED RECORD: %s; from here on not read: %zu bytes\n00:00:00.000 #5 still open\n",
             off, why, len - off);
    shows(FRAMED_MALFORMED, lines);
}

static void an_entry_that_does_not_suit_those_before_is_damage(void **state)
{
    (void)state;
    unsuitable(RECORD_OPENED, 0, 5, "\"opened\" of connection 5, but numbers must ascend");
    unsuitable(RECORD_OPENED, 0, 4, "\"opened\" of connection 4, but numbers must ascend");
    unsuitable(RECORD_OPENED, 0, 0, "\"opened\" of connection 0, but numbers must ascend");
    unsuitable(RECORD_DATA, 1, 4, "\"data\" of connection 4, but it is not open");
    unsuitable(RECORD_DATA, 1, 6, "\"data\" of connection 6, but it is not open");
    unsuitable(RECORD_CLOSED, 0, 0, "\"closed\" of connection 0, but it is not open");
    unsuitable(RECORD_DATA, 0, 5, "\"data\" of connection 5, but that way has ended");
    unsuitable(RECORD_LOST, 0, 5, "\"lost\" of connection 5, but that way has ended");
    unsuitable(RECORD_END, 0, 5, "\"end\" of connection 5, but that way has ended");
}

static void nothing_follows_closed(void **state)
{
    (void)state;
    begin_record();
    write_entry(RECORD_OPENED, 0, 5, 0, NULL, 0);
    write_entry(RECORD_CLOSED, 0, 5, 0, NULL, 0);
    write_entry(RECORD_END, 0, 5, 0, NULL, 0);
    shows(FRAMED_MALFORMED,
          "00:00:00.000 #5 opened\n00:00:00.000 #5 closed\n"
          "off 56  DAMAGED RECORD: \"end\" of connection 5, but it is not open; from here on not read: 18 bytes\n");
}

static void many_connections_at_once_are_kept_apart(void **state)
{
    (void)state;
    enum { CONNS = 3000 };
    config.stats = &stats;
    begin_replay();
    begin_record();
    assert_int_equal(framed_replay_bytes(&replay, written, len), FRAMED_OK);
    for (uint32_t i = 1; i <= CONNS; i++) { /* of each ten, nine are closed again: the table must forget them */
        len = 0;
        write_entry(RECORD_OPENED, 0, i, 0, NULL, 0);
        write_entry(RECORD_DATA, 0, i, i, "\0\0\0\0", 4);
        if (i % 10 != 0) write_entry(RECORD_CLOSED, 0, i, 0, NULL, 0);
        assert_int_equal(framed_replay_bytes(&replay, written, len), FRAMED_OK);
    }
    for (uint32_t i = CONNS; i > 0; i -= 10) {
        len = 0;
        stats.reply_ns = (struct cli_histogram){0};
        write_entry(RECORD_DATA, 1, i, 2 * CONNS, "\0\0\0\0", 4);
        write_entry(RECORD_CLOSED, 0, i, 0, NULL, 0);
        assert_int_equal(framed_replay_bytes(&replay, written, len), FRAMED_OK);
        assert_int_equal(stats.reply_ns.most, 2 * CONNS - i);
    }
    assert_int_equal(framed_replay_end(&replay), FRAMED_OK);
    assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
    assert_int_equal(stats.connections, CONNS);
    framed_replay_fini(&replay);
}

static void closed_connections_take_no_memory(void **state)
{
    (void)state;
    config.stats = &stats;
    begin_replay();
    begin_record();
    assert_int_equal(framed_replay_bytes(&replay, written, len), FRAMED_OK);
    for (uint32_t i = 1; i <= 10000; i++) {
        len = 0;
        write_entry(RECORD_OPENED, 0, i, 0, NULL, 0);
        write_entry(RECORD_DATA, 0, i, i, "\0\0\0\0\0\0\0\5hel", 11);
        write_entry(RECORD_CLOSED, 0, i, 0, NULL, 0);
        assert_int_equal(framed_replay_bytes(&replay, written, len), FRAMED_OK);
    }
    assert_true(meter_read(&meter).peak < 4096);
    assert_int_equal(framed_replay_end(&replay), FRAMED_OK);
    framed_replay_fini(&replay);
}

static void more_connections_than_memory_end_the_replay(void **state)
{
    (void)state;
    const struct framed_allocator *alloc = &inspect.alloc;
    const size_t taken = INSPECT_MEMORY - (1u << 20);
    begin_replay();
    void *block = alloc->resize(alloc->ctx, NULL, 0, taken);
    assert_non_null(block);
    begin_record();
    enum framed_status st = framed_replay_bytes(&replay, written, len);
    uint32_t i = 1;
    for (; st == FRAMED_OK && i < 100000; i++) {
        len = sunk_len = 0;
        write_entry(RECORD_OPENED, 0, i, 0, NULL, 0);
        st = framed_replay_bytes(&replay, written, len);
    }
    assert_int_equal(st, FRAMED_NOMEM);
    assert_true(i > 1000);
    assert_true(meter_read(&meter).peak <= INSPECT_MEMORY);
    framed_replay_fini(&replay);
    alloc->resize(alloc->ctx, block, taken, 0);
}

static void no_failing_allocation_leaks_or_lies(void **state)
{
    (void)state;
    write_sample();
    size_t ends[] = {30, 50, 90, 130, 170, len};
    struct split split = {.ends = ends, .n = 6, .name = "some"};
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        meter_fail_at(&meter, n, METER_ONCE);
        enum framed_status st = replay_split(&split);
        failed = meter_reached(&meter) > 0;
        meter_fail_at(&meter, 0, METER_ONCE);
        assert_int_equal(meter_in_use(&meter), 0);
        assert_true(st == FRAMED_OK || (st == FRAMED_NOMEM && failed));
        assert_int_equal(framed_inspect_found(&inspect), FRAMED_OK);
    }
    assert_string_equal(sunk, sample_lines);
}

static void no_changed_byte_breaks_anything(void **state)
{
    (void)state;
    write_sample();
    size_t all = len;
    uint64_t dice = 7;
    unsigned damaged = 0;
    for (size_t at = 0; at < all; at++) {
        for (unsigned i = 0; i < 4; i++) {
            write_sample();
            written[at] ^= (uint8_t)(i < 3 ? 1u << (2 * i) : 1 + splits_random(&dice) % 255);
            assert_int_equal(replay_whole(), FRAMED_OK);
            if (framed_inspect_found(&inspect) == FRAMED_MALFORMED) damaged++;
            assert_int_equal(meter_in_use(&meter), 0);
        }
    }
    assert_true(damaged > all); /* of four times as many */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_is_what_the_page_says_byte_by_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_head_is_an_entry_without_its_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_for_an_entry_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_are_read_as_written_under_every_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_cut_anywhere_is_truncated_at_the_entry_that_was_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_of_later_versions_are_skipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_malformed_entry_is_named_with_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_begins_otherwise_is_no_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reader_without_memory_says_so_for_good, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_is_shown_as_it_passed_under_every_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_without_entries_shows_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_only_begins_like_a_record_is_plain_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_record_says_where_and_what_was_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_record_is_counted_to_its_end_under_every_split, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_does_not_suit_those_before_is_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_follows_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_connections_at_once_are_kept_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closed_connections_take_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_connections_than_memory_end_the_replay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_failing_allocation_leaks_or_lies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_changed_byte_breaks_anything, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
