/*
 * test_keyfile.c: files of keys (src/cli/keyfile.h) from their text, with libsodium and without.
 * Must not know files, or how a text is taken apart.
 * Invariants: every text ends where memory does; what is refused leaves what was there alone, keeps no memory, and is explained
 * without a piece of any key; what is freed was wiped.
 */
#include "cli/keyfile.h"
#include "guard.h"
#include "meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* As proto/PROTOCOL.md has no such texts, these were made by Python's base64: 32 times 01, 02 ... 05. */
#define P1 "framed-pub-1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
#define P2 "framed-pub-1:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
#define P3 "framed-pub-1:AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM"
#define S4 "framed-sec-1:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ"
#define K5 "framed-psk-1:BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
#define K6 "framed-psk-1:BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY"

#define NAME_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { SECRET = 3, KINDS }; /* behind enum keyfile_kind: the file of one secret key */

static struct guard guard;
static struct keyfile keys;
static struct framed_key secret;
static char error[KEYFILE_ERROR_ROOM];

static int make_guard(void **state)
{
    (void)state;
    guard_init(&guard, KEYFILE_MOST + 1);
    return 0;
}

static int free_guard(void **state)
{
    (void)state;
    guard_fini(&guard);
    return 0;
}

/* ---- memory that must be wiped before it goes ---- */

static struct meter meter;

static void *wiped_resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    const uint8_t *bytes = at;
    assert_true(at == NULL || new_size == 0); /* a move would leave a copy */
    for (size_t i = 0; i < old_size; i++) assert_int_equal(bytes[i], 0);
    return meter.allocator.resize(ctx, at, old_size, new_size);
}

static const struct framed_allocator *wiped(void)
{
    static struct framed_allocator allocator = {wiped_resize, NULL};
    allocator.ctx = meter.allocator.ctx;
    return &allocator;
}

/* ---- reading ---- */

static void nothing_of_a_key_is_in_the_error(void)
{
    static const char *const texts[] = {P1, P2, P3, S4, K5, K6};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char piece[5] = {0};
        memcpy(piece, texts[i] + 14, 4); /* each repeats itself every four characters */
        assert_null(strstr(error, piece));
    }
}

static enum framed_status read_secret(struct framed_bytes text)
{
    struct framed_key key, before;
    memset(&key, 0xa5, sizeof key);
    before = key;
    enum framed_status st = framed_keyfile_one(&key, FRAMED_KEY_SECRET, "F", text, error);
    if (st == FRAMED_OK)
        secret = key;
    else
        assert_memory_equal(&key, &before, sizeof key);
    return st;
}

/* Of any kind, SECRET too. Whatever was read is in `keys` or `secret`. */
static enum framed_status read_bytes(unsigned kind, struct framed_bytes text)
{
    struct keyfile read, before;
    framed_keyfile_free(&keys);
    memset(&read, 0xa5, sizeof read);
    before = read;
    memset(error, 0, sizeof error);
    text.at = guard_copy(&guard, text.at, text.len);
    enum framed_status st =
        kind == SECRET ? read_secret(text) : framed_keyfile_parse(&read, (enum keyfile_kind)kind, "F", text, wiped(), error);
    guard_spoil(&guard, text.len);
    assert_true((st == FRAMED_OK) == (error[0] == '\0'));
    nothing_of_a_key_is_in_the_error();
    if (kind != SECRET && st == FRAMED_OK)
        keys = read;
    else
        assert_memory_equal(&read, &before, sizeof read);
    if (st != FRAMED_OK) assert_int_equal(meter_in_use(&meter), 0);
    return st;
}

static int begin(void **state)
{
    (void)state;
    meter_init(&meter);
    return 0;
}

static int end(void **state)
{
    (void)state;
    framed_keyfile_free(&keys);
    meter_fini(&meter);
    return 0;
}

/* ---- with libsodium or without ---- */

static void files_that_say_nothing_are_empty_and_cost_nothing(void **state)
{
    (void)state;
    static const char *const none[] = {
        "", "\n", "\n\n", " \t \n", "# said\n\n  # " S4 "\n", "#", "# any byte \x01\xc3\xa4\xff\n"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        for (unsigned kind = 0; kind < SECRET; kind++) {
            assert_int_equal(read_bytes(kind, framed_bytes_str(none[i])), FRAMED_OK);
            assert_int_equal(keys.n, 0);
            assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("")));
        }
    assert_int_equal(meter_read(&meter).calls, 0);
    uint8_t *large = malloc(KEYFILE_MOST + 1);
    assert_non_null(large);
    memset(large, '#', KEYFILE_MOST + 1);
    for (unsigned kind = 0; kind < KINDS; kind++) {
        enum framed_status st = read_bytes(kind, framed_bytes_of(large, KEYFILE_MOST));
        assert_int_equal(st, kind == SECRET ? FRAMED_MALFORMED : FRAMED_OK);
        assert_int_equal(read_bytes(kind, framed_bytes_of(large, KEYFILE_MOST + 1)), FRAMED_TOO_LARGE);
        assert_string_equal(error, "F: too large; a file of keys has at most 1 MiB");
    }
    free(large);
}

static void names_are_short_and_printable_and_no_keys(void **state)
{
    (void)state;
    static const char *const right[] = {"a", "!", "~", "a#", "db-1.example.org", NAME_64, "framed", "Framed-sec-1:"};
    static const char *const wrong[] = {"", "#", "#a", "a b", "a\tb", "a\n", "\x7f", "\xc3\xa4", NAME_64 "0"};
    const char *reason;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_true(framed_keyfile_name_ok(framed_bytes_str(right[i]), &reason));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(framed_keyfile_name_ok(framed_bytes_str(wrong[i]), &reason));
        assert_non_null(strstr(reason, "1 to 64 printable characters of ASCII without spaces"));
    }
    assert_false(framed_keyfile_name_ok(framed_bytes_of("a\0", 2), &reason));
    assert_false(framed_keyfile_name_ok(framed_bytes_str(S4), &reason));
    assert_string_equal(reason, "that is a key, where a name or an id is wanted");
}

#ifdef FRAMED_SODIUM

static void read_text(unsigned kind, const char *text)
{
    enum framed_status st = read_bytes(kind, framed_bytes_str(text));
    if (st != FRAMED_OK) fail_msg("%s", error);
}

static struct framed_key filled(uint8_t with)
{
    struct framed_key key;
    memset(key.bytes, with, sizeof key.bytes);
    return key;
}

static void is_entry(size_t i, const char *name, uint8_t key, uint8_t next, uint32_t max_frame, uint64_t expires_s,
                     uint32_t line)
{
    struct framed_key first = filled(key), second = filled(next);
    assert_true(i < keys.n);
    const struct keyfile_entry *e = &keys.entries[i];
    assert_int_equal(e->name.len, strlen(name));
    assert_memory_equal(e->name.at, name, e->name.len);
    assert_true(framed_key_same(&e->key, &first));
    assert_true(framed_key_same(&e->next, &second));
    assert_int_equal(e->max_frame, max_frame);
    assert_true(e->expires_s == expires_s);
    assert_int_equal(e->line, line);
    assert_ptr_equal(framed_keyfile_by_name(&keys, framed_bytes_str(name)), e);
}

/* ---- what is taken ---- */

static const char peers_text[] =
    "# who may call\n" P1 " alice\n\n\t" P2 "\t bob@example.org max-frame=64KiB  expires=2027-01-31 \n" P3 " " NAME_64
    " expires=1970-01-01 max-frame=2147483647";
static const char servers_text[] =
    "db.example.org:7000 " P1 "\n# both\n[2001:db8::1]:65535 " P2 " " P3 "\n127.0.0.1:1 " P1 "\n";
static const char shared_text[] = "db " K5 "\n\n# and\n two " K6 "\n";
static const char secret_text[] = "# mine\n" S4 "\n";
static const char *const valid[KINDS] = {peers_text, servers_text, shared_text, secret_text};

static void peers_have_a_key_a_name_and_perhaps_options(void **state)
{
    (void)state;
    struct framed_key key = filled(2), none = filled(9);
    read_text(KEYFILE_PEERS, peers_text);
    assert_int_equal(keys.n, 3);
    is_entry(0, "alice", 1, 0, 0, KEYFILE_NEVER, 2);
    is_entry(1, "bob@example.org", 2, 0, 65536, 1801353600, 4);
    is_entry(2, NAME_64, 3, 0, 2147483647, 0, 5);
    assert_ptr_equal(framed_keyfile_by_key(&keys, &key), &keys.entries[1]);
    assert_null(framed_keyfile_by_key(&keys, &none));
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("alic")));
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("alicf")));
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("")));
}

static void servers_are_found_by_their_address_as_it_is_written(void **state)
{
    (void)state;
    read_text(KEYFILE_SERVERS, servers_text);
    assert_int_equal(keys.n, 3);
    is_entry(0, "db.example.org:7000", 1, 0, 0, 0, 1);
    is_entry(1, "[2001:db8::1]:65535", 2, 3, 0, 0, 3);
    is_entry(2, "127.0.0.1:1", 1, 0, 0, 0, 4); /* one server may have several addresses */
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("db.example.org:700")));
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_str("DB.example.org:7000")));
}

static void shared_keys_are_found_by_their_id(void **state)
{
    (void)state;
    read_text(KEYFILE_SHARED, shared_text);
    assert_int_equal(keys.n, 2);
    is_entry(0, "db", 5, 0, 0, 0, 1);
    is_entry(1, "two", 6, 0, 0, 0, 4);
    assert_null(framed_keyfile_by_name(&keys, framed_bytes_of("db\0", 3)));
}

static void a_secret_key_stands_alone(void **state)
{
    (void)state;
    struct framed_key four = filled(4);
    static const char *const right[] = {secret_text, S4, S4 "\n\n\n", "  " S4 " \t", S4 "\n# " S4};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        memset(&secret, 0, sizeof secret);
        read_text(SECRET, right[i]);
        assert_true(framed_key_same(&secret, &four));
    }
}

static void days_are_counted_from_1970_with_their_leap_years(void **state)
{
    (void)state;
    static const struct {
        const char *day;
        uint64_t seconds; /* by Python's datetime */
    } right[] = {{"1970-01-01", 0},           {"1970-12-31", 31449600},   {"1972-02-29", 68169600},
                 {"1972-03-01", 68256000},    {"2000-02-29", 951782400},  {"2000-03-01", 951868800},
                 {"2026-11-29", 1795910400},  {"2100-02-28", 4107456000}, {"2100-03-01", 4107542400},
                 {"9999-12-31", 253402214400}};
    static const char *const wrong[] = {"",           "2027",        "2027-1-31",  "2027-01-1",  "27-01-31",
                                        "2027-00-10", "2027-13-10",  "2027-01-00", "2027-01-32", "2027-04-31",
                                        "2027-02-29", "2100-02-29",  "1969-12-31", "0000-01-01", "2027/01/31",
                                        "2027-01-3x", "2027-01-31T", "+027-01-31", "2027-01-310"};
    char text[200];
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        snprintf(text, sizeof text, P1 " a expires=%s", right[i].day);
        read_text(KEYFILE_PEERS, text);
        assert_true(keys.entries[0].expires_s == right[i].seconds);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text, P1 " a expires=%s", wrong[i]);
        assert_int_equal(read_bytes(KEYFILE_PEERS, framed_bytes_str(text)), FRAMED_MALFORMED);
        assert_string_equal(error, "F:1: expires: not a day; days are like 2027-01-31, from 1970 on");
    }
}

/* ---- what is refused, and how ---- */

#define PEER_LINE   "; a line is KEY NAME [max-frame=SIZE] [expires=YYYY-MM-DD]"
#define SERVER_LINE "; a line is HOST:PORT KEY [NEXT-KEY]"
#define NAMES       "a name or an id is 1 to 64 printable characters of ASCII without spaces, of which the first is not #"
#define ADDRESSES   "that is no address; allowed are HOST:PORT and [V6]:PORT, with a port from 1 to 65535"
#define SIZES       "max-frame: not a size from 16KiB to 2147483647; sizes are like 65536, 64KiB, 16MiB"
#define BYTES       "a byte that is neither printable ASCII nor a space nor a tab"

static const struct {
    unsigned kind;
    const char *text, *error;
} refusals[] = {
    {KEYFILE_PEERS, P1 " a\r\n", "F:1: a carriage return (CRLF); lines end with a newline alone"},
    {KEYFILE_PEERS, "# said\r\n", "F:1: a carriage return (CRLF); lines end with a newline alone"},
    {KEYFILE_PEERS, P1 " a\n\xef\xbb\xbf" P2 " b\n", "F:2: " BYTES},
    {KEYFILE_PEERS,
     P1 "\v"
        "a\n",
     "F:1: " BYTES},
    {KEYFILE_PEERS, S4 " a\n", "F:1: that is a secret key, where a public one is wanted"},
    {KEYFILE_PEERS, "alice " P1 "\n", "F:1: that is no key: a public one begins with framed-pub-1:"},
    {KEYFILE_PEERS, P1 "\n", "F:1: the name of the peer is missing" PEER_LINE},
    {KEYFILE_PEERS, P1 " " NAME_64 "0\n", "F:1: " NAMES},
    {KEYFILE_PEERS, P1 " #a\n", "F:1: " NAMES},
    {KEYFILE_PEERS, P1 " " S4 "\n", "F:1: that is a key, where a name or an id is wanted"},
    {KEYFILE_PEERS, P1 " a # said\n", "F:1: no such option; there are max-frame=SIZE and expires=YYYY-MM-DD"},
    {KEYFILE_PEERS, P1 " a role=admin\n", "F:1: no such option; there are max-frame=SIZE and expires=YYYY-MM-DD"},
    {KEYFILE_PEERS, P1 " a Expires=2027-01-31\n", "F:1: no such option; there are max-frame=SIZE and expires=YYYY-MM-DD"},
    {KEYFILE_PEERS, P1 " a " S4 "\n", "F:1: no such option; there are max-frame=SIZE and expires=YYYY-MM-DD"},
    {KEYFILE_PEERS, P1 " a max-frame=\n", "F:1: " SIZES},
    {KEYFILE_PEERS, P1 " a max-frame=16383\n", "F:1: " SIZES},
    {KEYFILE_PEERS, P1 " a max-frame=2GiB\n", "F:1: " SIZES},
    {KEYFILE_PEERS, P1 " a max-frame=64KB\n", "F:1: " SIZES},
    {KEYFILE_PEERS, P1 " a max-frame=" S4 "\n", "F:1: " SIZES},
    {KEYFILE_PEERS, P1 " a max-frame=1MiB max-frame=1MiB\n", "F:1: max-frame twice"},
    {KEYFILE_PEERS, P1 " a expires=2027-01-31 expires=2027-01-31\n", "F:1: expires twice"},
    {KEYFILE_PEERS, P1 " a expires=" S4 "\n", "F:1: expires: not a day; days are like 2027-01-31, from 1970 on"},
    {KEYFILE_PEERS, P1 " a b c d e\n", "F:1: too many words in this line"},
    {KEYFILE_PEERS, P1 " a\n\n" P2 " a\n", "F:3: the same name as in line 1"},
    {KEYFILE_PEERS, "\n" P1 " a\n" P1 " b\n", "F:3: the same key as in line 2"},
    {KEYFILE_SERVERS, P1 "\n", "F:1: that is a key, where an address is wanted: HOST:PORT KEY [NEXT-KEY]"},
    {KEYFILE_SERVERS, "db.example.org " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db: " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, ":7000 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db:0 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db:07000 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db:65536 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db:7000x " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "2001:db8::1:7000 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "[]:7000 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "[::1:7000 " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "unix:/run/db.sock " P1 "\n", "F:1: " ADDRESSES},
    {KEYFILE_SERVERS, "db:7000\n", "F:1: the key of the server is missing" SERVER_LINE},
    {KEYFILE_SERVERS, "db:7000 " P1 " " P2 " " P3 "\n", "F:1: words behind the keys" SERVER_LINE},
    {KEYFILE_SERVERS, "db:7000 " S4 "\n", "F:1: that is a secret key, where a public one is wanted"},
    {KEYFILE_SERVERS, "db:7000 " P1 " " K5 "\n", "F:1: that is a shared key, where a public one is wanted"},
    {KEYFILE_SERVERS, "db:7000 " P1 " " P1 "\n", "F:1: the next key is the same as the key"},
    {KEYFILE_SERVERS, "db:7000 " P1 "\ndb:7000 " P2 "\n", "F:2: the same address as in line 1"},
    {KEYFILE_SHARED, "db\n", "F:1: the key is missing; a line is ID KEY"},
    {KEYFILE_SHARED, "db " K5 " x\n", "F:1: words behind the key; a line is ID KEY"},
    {KEYFILE_SHARED, "db client " K5 "\n", "F:1: words behind the key; a line is ID KEY"},
    {KEYFILE_SHARED, K5 " db\n", "F:1: that is a key, where a name or an id is wanted"},
    {KEYFILE_SHARED, NAME_64 "0 " K5 "\n", "F:1: " NAMES},
    {KEYFILE_SHARED, "db " S4 "\n", "F:1: that is a secret key, where a shared one is wanted"},
    {KEYFILE_SHARED, "a " K5 "\na " K6 "\n", "F:2: the same id as in line 1"},
    {KEYFILE_SHARED, "a " K5 "\nb " K5 "\n", "F:2: the same key as in line 1"},
    {SECRET, "", "F:1: there is no key; a secret-key file is one line, framed-sec-1: and 43 characters"},
    {SECRET, "# " S4 "\n\n", "F:2: there is no key; a secret-key file is one line, framed-sec-1: and 43 characters"},
    {SECRET, P1 "\n", "F:1: that is a public key, where a secret one is wanted"},
    {SECRET, "db " K5 "\n", "F:1: that is no key: a secret one begins with framed-sec-1:"},
    {SECRET, S4 " mine\n", "F:1: words behind the key; a secret-key file is one key, alone"},
    {SECRET, S4 "\n" S4 "\n", "F:2: a second line; a secret-key file is one key, alone"},
    {SECRET, S4 "\r\n", "F:1: a carriage return (CRLF); lines end with a newline alone"},
    {SECRET, S4 "\n# \r\n", "F:2: a carriage return (CRLF); lines end with a newline alone"},
};

static void each_line_that_is_wrong_is_named_with_what_is_allowed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        assert_int_equal(read_bytes(refusals[i].kind, framed_bytes_str(refusals[i].text)), FRAMED_MALFORMED);
        assert_string_equal(error, refusals[i].error);
    }
    for (unsigned kind = 0; kind < KINDS; kind++) {
        assert_int_equal(read_bytes(kind, framed_bytes_of("# \0\n", 4)), FRAMED_MALFORMED);
        assert_string_equal(error, "F:1: a zero byte; this is no text");
    }
}

static void a_long_name_of_a_file_is_cut_and_the_reason_is_not(void **state)
{
    (void)state;
    char file[1000];
    memset(file, 'f', sizeof file - 1);
    file[sizeof file - 1] = '\0';
    memset(error, 'x', sizeof error);
    assert_int_equal(framed_keyfile_parse(&keys, KEYFILE_PEERS, file, framed_bytes_str(P1 " a\n" P1 " b"), wiped(), error),
                     FRAMED_MALFORMED);
    assert_non_null(memchr(error, '\0', sizeof error));
    assert_memory_equal(error, file, 200);
    assert_string_equal(error + 200, ":2: the same key as in line 1");
}

/* ---- whole or nothing ---- */

/* How many lines say something, told without the parser. */
static size_t lines_of(struct framed_bytes text)
{
    size_t n = 0;
    bool begun = false, said = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c == '\n') {
            begun = said = false;
        } else if (!begun && c != ' ' && c != '\t') {
            begun = true;
            said = c != '#';
            n += said;
        }
    }
    return n;
}

static void whole_or_nothing(unsigned kind, struct framed_bytes text)
{
    enum framed_status st = read_bytes(kind, text);
    if (st == FRAMED_OK && kind != SECRET) assert_int_equal(keys.n, lines_of(text));
    if (st == FRAMED_OK && kind == SECRET) assert_int_equal(lines_of(text), 1);
    if (st == FRAMED_OK) return;
    unsigned line;
    char colon;
    assert_int_equal(st, FRAMED_MALFORMED);
    assert_int_equal(sscanf(error, "F:%u%c", &line, &colon), 2);
    assert_true(line >= 1 && line <= 6 && colon == ':');
}

static void every_cut_of_a_file_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++)
        for (size_t n = 0; n <= strlen(valid[kind]); n++) whole_or_nothing(kind, framed_bytes_of(valid[kind], n));
}

static void every_byte_changed_in_a_file_is_taken_whole_or_not_at_all(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        char text[400];
        size_t n = strlen(valid[kind]), taken = 0;
        assert_true(n < sizeof text);
        memcpy(text, valid[kind], n);
        for (size_t at = 0; at < n; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                whole_or_nothing(kind, framed_bytes_of(text, n));
                taken += error[0] == '\0';
            }
            text[at] = valid[kind][at];
        }
        assert_true(taken > n && taken < 255 * n); /* some are taken, some are not */
    }
}

/* ---- memory ---- */

static void a_file_is_one_block_and_without_it_nothing_is_taken(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < SECRET; kind++) {
        uint64_t before = meter_read(&meter).calls;
        read_text(kind, valid[kind]);
        assert_int_equal(meter_read(&meter).calls - before, 1);
        framed_keyfile_free(&keys);
        assert_int_equal(keys.n, 0);
        framed_keyfile_free(&keys); /* once more */
        meter_fail_at(&meter, 1, METER_ONCE);
        assert_int_equal(read_bytes(kind, framed_bytes_str(valid[kind])), FRAMED_NOMEM);
        assert_int_equal(meter_reached(&meter), 1);
        assert_string_equal(error, "F: out of memory");
    }
}

/* Their keys differ in their first bytes. */
static size_t write_peers(char *text, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        struct framed_key key = filled(7);
        key.bytes[0] = (uint8_t)(i >> 8);
        key.bytes[1] = (uint8_t)i;
        assert_int_equal(framed_key_format(text + len, FRAMED_KEY_PUBLIC, &key), FRAMED_OK);
        len += FRAMED_KEY_TEXT_SIZE - 1;
        len += (size_t)sprintf(text + len, " peer-%u\n", i);
    }
    return len;
}

static void a_file_has_at_most_so_many_lines_that_say_something(void **state)
{
    (void)state;
    enum { LONGEST = FRAMED_KEY_TEXT_SIZE + 16 };
    char *text = malloc((KEYFILE_LINES_MOST + 1) * LONGEST);
    assert_non_null(text);
    size_t n = write_peers(text, KEYFILE_LINES_MOST);
    assert_int_equal(read_bytes(KEYFILE_PEERS, framed_bytes_of(text, n)), FRAMED_OK);
    assert_int_equal(keys.n, KEYFILE_LINES_MOST);
    const struct keyfile_entry *last = &keys.entries[KEYFILE_LINES_MOST - 1];
    assert_ptr_equal(framed_keyfile_by_name(&keys, framed_bytes_str("peer-4095")), last);
    assert_ptr_equal(framed_keyfile_by_key(&keys, &last->key), last);
    n = write_peers(text, KEYFILE_LINES_MOST + 1);
    assert_int_equal(read_bytes(KEYFILE_PEERS, framed_bytes_of(text, n)), FRAMED_TOO_LARGE);
    assert_string_equal(error, "F:4097: too many lines; allowed are at most 4096");
    free(text);
}

#else

static void without_libsodium_a_key_is_unsupported(void **state)
{
    (void)state;
    static const char *const texts[KINDS] = {P1 " a", "db:7000 " P1, "db " K5, S4};
    for (unsigned kind = 0; kind < KINDS; kind++) {
        assert_int_equal(read_bytes(kind, framed_bytes_str(texts[kind])), FRAMED_UNSUPPORTED);
        assert_string_equal(error, "F:1: keys need libsodium, without which this was built");
    }
    (void)secret;
}

#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_that_say_nothing_are_empty_and_cost_nothing),
        TEST(names_are_short_and_printable_and_no_keys),
#ifdef FRAMED_SODIUM
        TEST(peers_have_a_key_a_name_and_perhaps_options),
        TEST(servers_are_found_by_their_address_as_it_is_written),
        TEST(shared_keys_are_found_by_their_id),
        TEST(a_secret_key_stands_alone),
        TEST(days_are_counted_from_1970_with_their_leap_years),
        TEST(each_line_that_is_wrong_is_named_with_what_is_allowed),
        TEST(a_long_name_of_a_file_is_cut_and_the_reason_is_not),
        TEST(every_cut_of_a_file_is_taken_whole_or_not_at_all),
        TEST(every_byte_changed_in_a_file_is_taken_whole_or_not_at_all),
        TEST(a_file_is_one_block_and_without_it_nothing_is_taken),
        TEST(a_file_has_at_most_so_many_lines_that_say_something),
#else
        TEST(without_libsodium_a_key_is_unsupported),
#endif
    };
    return cmocka_run_group_tests(tests, make_guard, free_guard);
}
