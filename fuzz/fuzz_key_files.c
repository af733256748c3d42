/*
 * fuzz_key_files.c: files of keys, from their text.
 * Must not know how a text is taken apart, or where a key lies in a line.
 * Invariants: a file is taken whole or not at all; what was taken and is written out in one canonical form is taken again, and is the
 * same; what is refused is explained in one line, and no long word of the text is in it; memory is one block, wiped when freed.
 *
 * Input: which kind of file (1 byte, the fourth a secret key; from 128 up: without memory), then its text. In it a byte from
 * 0x80 to 0x9f stands for a whole key, and 0xa0 for a long name: fuzzers find no keys.
 */
#include "cli/keyfile.h"
#include "cli/options.h"
#include "fuzz.h"
#include "meter.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET = 3, KINDS, KEYS = 32, LONG_WORD = 24 };

static struct meter meter;

static void *wiped_resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    const uint8_t *bytes = at;
    for (size_t i = 0; new_size == 0 && i < old_size; i++) fuzz_must(bytes[i] == 0, "what is freed was wiped");
    return meter.allocator.resize(ctx, at, old_size, new_size);
}

static const struct framed_allocator *wiped(void)
{
    static struct framed_allocator allocator = {wiped_resize, NULL};
    allocator.ctx = meter.allocator.ctx;
    return &allocator;
}

/* ---- the text ---- */

static void append(struct framed_buf *text, const void *at, size_t n)
{
    enum framed_status st = framed_buf_append(text, framed_bytes_of(at, n), SIZE_MAX / 4, &meter.allocator);
    fuzz_must(st == FRAMED_OK, "there is memory for the harness");
}

static void append_str(struct framed_buf *text, const char *more)
{
    append(text, more, strlen(more));
}

/* Without libsodium there are none. */
static void append_key(struct framed_buf *text, enum framed_key_kind kind, const struct framed_key *key)
{
    char word[FRAMED_KEY_TEXT_SIZE];
    if (framed_key_format(word, kind, key) == FRAMED_OK) append_str(text, word);
}

static struct framed_key numbered(unsigned n)
{
    struct framed_key key;
    for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = (uint8_t)(1 + n + 37 * i);
    return key;
}

static enum framed_key_kind kind_of_key(unsigned kind)
{
    return kind == SECRET ? FRAMED_KEY_SECRET : kind == KEYFILE_SHARED ? FRAMED_KEY_SHARED : FRAMED_KEY_PUBLIC;
}

/* Every eighth key is of the wrong kind. */
static void expand(struct framed_buf *text, unsigned kind, struct framed_bytes in)
{
    for (size_t i = 0; i < in.len; i++) {
        unsigned n = (unsigned)in.at[i] - 0x80u;
        if (n < KEYS) {
            struct framed_key key = numbered(n);
            append_key(text, n % 8 == 7 ? (enum framed_key_kind)(n / 8 % 3) : kind_of_key(kind), &key);
        } else if (n == KEYS) {
            append_str(text, "a-name-of-just-as-many-characters-as-one-may-have-and-no-more---");
        } else {
            append(text, in.at + i, 1);
        }
    }
}

/* ---- what must hold ---- */

/* One line, and in it no word of the text that is as long as no word of ours. */
static void error_holds(const char *error, struct framed_bytes text)
{
    const char *end = memchr(error, '\0', KEYFILE_ERROR_ROOM);
    fuzz_must(end != NULL && end > error && strncmp(error, "F:", 2) == 0, "what is refused is explained, within bounds");
    for (const char *c = error; c < end; c++) fuzz_must(*c >= 0x20 && *c < 0x7f, "an error is one line of ASCII");
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        char word[LONG_WORD + 1] = {0};
        run = text.at[i] > 0x20 && text.at[i] < 0x7f ? run + 1 : 0;
        if (run < LONG_WORD) continue;
        memcpy(word, text.at + i + 1 - LONG_WORD, LONG_WORD);
        fuzz_must(strstr(error, word) == NULL, "nothing of the text is in an error");
    }
}

static void refusal_holds(enum framed_status st, const char *error, struct framed_bytes text)
{
    bool excused = st == FRAMED_UNSUPPORTED || (st == FRAMED_NOMEM && meter_reached(&meter) > 0);
    fuzz_must(st == FRAMED_MALFORMED || st == FRAMED_TOO_LARGE || excused, "a file is right or wrong");
    error_holds(error, text);
}

/* ---- written again ---- */

/* The days of a month, told without the parser. */
static unsigned days_of(unsigned year, unsigned month)
{
    bool leap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
    if (month == 2) return leap ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static void append_expiry(struct framed_buf *text, uint64_t seconds)
{
    unsigned year = 1970, month = 1;
    char word[40];
    uint64_t days = seconds / 86400;
    fuzz_must(seconds % 86400 == 0, "a key expires when a day begins");
    while (days >= days_of(year, month)) {
        days -= days_of(year, month);
        year += month == 12;
        month = month % 12 + 1;
    }
    fuzz_must(year <= 9999, "years have four digits");
    snprintf(word, sizeof word, " expires=%04u-%02u-%02u", year, month, (unsigned)days + 1);
    append_str(text, word);
}

static void append_peer(struct framed_buf *text, const struct keyfile_entry *entry)
{
    char word[40];
    append_key(text, FRAMED_KEY_PUBLIC, &entry->key);
    append_str(text, " ");
    append(text, entry->name.at, entry->name.len);
    if (entry->expires_s != KEYFILE_NEVER) append_expiry(text, entry->expires_s);
    snprintf(word, sizeof word, " max-frame=%" PRIu32, entry->max_frame);
    if (entry->max_frame != 0) append_str(text, word);
}

static void append_entry(struct framed_buf *text, unsigned kind, const struct keyfile_entry *entry)
{
    static const struct framed_key none = {{0}};
    if (kind == KEYFILE_PEERS) {
        append_peer(text, entry);
    } else {
        append(text, entry->name.at, entry->name.len);
        append_str(text, " ");
        append_key(text, kind_of_key(kind), &entry->key);
        if (!framed_key_same(&entry->next, &none)) append_str(text, " ");
        append_key(text, kind_of_key(kind), &entry->next); /* nothing, for none */
    }
    append_str(text, "\n");
}

static void same(const struct keyfile *a, const struct keyfile *b)
{
    fuzz_must(a->n == b->n, "as many lines");
    for (size_t i = 0; i < a->n; i++) {
        const struct keyfile_entry *one = &a->entries[i], *two = &b->entries[i];
        fuzz_must(framed_key_same(&one->key, &two->key) && framed_key_same(&one->next, &two->next), "the same keys");
        fuzz_must(fuzz_same(one->name, two->name), "the same names");
        fuzz_must(one->expires_s == two->expires_s && one->max_frame == two->max_frame, "the same options");
    }
}

static void entries_hold(const struct keyfile *keys, unsigned kind)
{
    uint32_t line = 0;
    for (size_t i = 0; i < keys->n; i++) {
        const struct keyfile_entry *entry = &keys->entries[i];
        fuzz_must(entry->line > line, "lines are counted");
        line = entry->line;
        fuzz_must(framed_keyfile_by_name(keys, entry->name) == entry, "a name is there once");
        const struct keyfile_entry *found = framed_keyfile_by_key(keys, &entry->key);
        fuzz_must(kind == KEYFILE_SERVERS ? found != NULL : found == entry, "a key is there once");
    }
}

static void list_holds(unsigned kind, struct framed_bytes text)
{
    struct keyfile keys = {0}, again = {0};
    char error[KEYFILE_ERROR_ROOM];
    enum framed_status st = framed_keyfile_parse(&keys, (enum keyfile_kind)kind, "F", text, wiped(), error);
    if (st != FRAMED_OK) {
        fuzz_must(keys.entries == NULL && keys.n == 0, "what is refused leaves nothing");
        refusal_holds(st, error, text);
        return;
    }
    struct framed_buf written = {0};
    entries_hold(&keys, kind);
    for (size_t i = 0; i < keys.n; i++) append_entry(&written, kind, &keys.entries[i]);
    st =
        framed_keyfile_parse(&again, (enum keyfile_kind)kind, "F", framed_bytes_of(written.at, written.len), wiped(), error);
    fuzz_must(st == FRAMED_OK, "what was taken is taken again");
    same(&keys, &again);
    framed_buf_fini(&written, &meter.allocator);
    framed_keyfile_free(&again);
    framed_keyfile_free(&keys);
}

static void secret_holds(struct framed_bytes text)
{
    static const struct framed_key none = {{0}};
    struct framed_key key = none, again;
    char error[KEYFILE_ERROR_ROOM], word[FRAMED_KEY_TEXT_SIZE];
    enum framed_status st = framed_keyfile_one(&key, FRAMED_KEY_SECRET, "F", text, error);
    if (st != FRAMED_OK) {
        fuzz_must(framed_key_same(&key, &none), "what is refused leaves nothing");
        refusal_holds(st, error, text);
        return;
    }
    fuzz_must(framed_key_format(word, FRAMED_KEY_SECRET, &key) == FRAMED_OK, "a key has a text");
    fuzz_must(framed_keyfile_one(&again, FRAMED_KEY_SECRET, "F", framed_bytes_str(word), error) == FRAMED_OK,
              "what was taken is taken again");
    fuzz_must(framed_key_same(&key, &again), "the same key");
}

int framed_fuzz_key_files(const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    struct framed_buf text = {0};
    unsigned setup = fuzz_byte(&in), kind = setup % KINDS;
    meter_init(&meter);
    expand(&text, kind, in);
    uint8_t *exact = malloc(text.len > 0 ? text.len : 1); /* so that a sanitizer sees the end */
    fuzz_must(exact != NULL, "there is memory for the harness");
    if (text.len > 0) memcpy(exact, text.at, text.len);
    if (setup >= 128) meter_fail_at(&meter, 1, METER_ONCE);
    if (kind == SECRET)
        secret_holds(framed_bytes_of(exact, text.len));
    else
        list_holds(kind, framed_bytes_of(exact, text.len));
    free(exact);
    framed_buf_fini(&text, &meter.allocator);
    meter_fini(&meter);
    return 0;
}
