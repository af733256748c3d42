/*
 * Owns: the text of files of keys, and the memory of what was read from them.
 * Must not know: the operating system, where a file lies, who is let in.
 * Invariants: whole or nothing; no error has a byte of the text in it; whatever held a key is wiped before its memory goes.
 */
#include "keyfile.h"
#include "options.h"
#include <framed/frame.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_MOST = 5, SIZE_ROOM = 32 };

/* Where we are, and what is to be said of it. */
struct parse {
    const char *file;
    char *error;
    struct framed_bytes rest; /* of the text */
    uint32_t line;            /* of the line at hand, from 1 */
    struct framed_bytes words[WORDS_MOST];
    size_t n_words;
};

/* ---- refusals ---- */

/* `other`, unless 0: the line that has the same. */
static enum framed_status refuse_as(const struct parse *p, enum framed_status st, const char *why, uint32_t other)
{
    int n = snprintf(p->error, KEYFILE_ERROR_ROOM, "%.200s:%u: %s", p->file, (unsigned)p->line, why);
    if (other != 0) snprintf(p->error + n, KEYFILE_ERROR_ROOM - (size_t)n, " %u", (unsigned)other);
    return st;
}

static enum framed_status refuse(const struct parse *p, const char *why)
{
    return refuse_as(p, FRAMED_MALFORMED, why, 0);
}

/* ---- lines and words ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool is_graph(uint8_t c)
{
    return c > 0x20 && c < 0x7f;
}

/* Takes a line, without its newline; false: there is none any more. */
static bool take_line(struct parse *p, struct framed_bytes *line)
{
    if (p->rest.len == 0) return false;
    const uint8_t *end = memchr(p->rest.at, '\n', p->rest.len);
    size_t len = end != NULL ? (size_t)(end - p->rest.at) : p->rest.len, taken = len + (end != NULL);
    *line = framed_bytes_of(p->rest.at, len);
    p->rest = framed_bytes_of(p->rest.at + taken, p->rest.len - taken);
    p->line++;
    return true;
}

static struct framed_bytes trimmed(struct framed_bytes line)
{
    while (line.len > 0 && is_blank(line.at[0])) line = framed_bytes_of(line.at + 1, line.len - 1);
    while (line.len > 0 && is_blank(line.at[line.len - 1])) line.len--;
    return line;
}

static enum framed_status split_words(struct parse *p, struct framed_bytes line)
{
    p->n_words = 0;
    for (size_t at = 0; at < line.len;) {
        size_t from = at;
        while (at < line.len && is_graph(line.at[at])) at++;
        if (at == from) return refuse(p, "a byte that is neither printable ASCII nor a space nor a tab");
        if (p->n_words == WORDS_MOST) return refuse(p, "too many words in this line");
        p->words[p->n_words++] = framed_bytes_of(line.at + from, at - from);
        while (at < line.len && is_blank(line.at[at])) at++;
    }
    return FRAMED_OK;
}

/* The words of the next line that says something. FRAMED_CLOSED: there is none. */
static enum framed_status next_words(struct parse *p)
{
    struct framed_bytes line;
    while (take_line(p, &line)) {
        if (line.len > 0 && memchr(line.at, '\r', line.len) != NULL)
            return refuse(p, "a carriage return (CRLF); lines end with a newline alone");
        if (line.len > 0 && memchr(line.at, '\0', line.len) != NULL) return refuse(p, "a zero byte; this is no text");
        line = trimmed(line);
        if (line.len > 0 && line.at[0] != '#') return split_words(p, line);
    }
    return FRAMED_CLOSED;
}

/* ---- what words may be ---- */

static bool begins(struct framed_bytes word, const char *with)
{
    size_t n = strlen(with);
    return word.len >= n && memcmp(word.at, with, n) == 0;
}

static struct framed_bytes behind(struct framed_bytes word, const char *what)
{
    size_t n = strlen(what);
    return framed_bytes_of(word.at + n, word.len - n);
}

bool framed_keyfile_looks_like_key(struct framed_bytes text)
{
    return begins(text, "framed-sec-") || begins(text, "framed-psk-") || begins(text, "framed-pub-");
}

bool framed_keyfile_name_ok(struct framed_bytes name, const char **reason)
{
    *reason = "a name or an id is 1 to 64 printable characters of ASCII without spaces, of which the first is not #";
    if (name.len == 0 || name.len > KEYFILE_NAME_MOST || name.at[0] == '#') return false;
    for (size_t i = 0; i < name.len; i++)
        if (!is_graph(name.at[i])) return false;
    *reason = "that is a key, where a name or an id is wanted";
    return !framed_keyfile_looks_like_key(name);
}

static enum framed_status take_key(const struct parse *p, struct framed_bytes word, enum framed_key_kind kind,
                                   struct framed_key *key)
{
    const char *reason;
    enum framed_status st = framed_key_parse(key, kind, word, &reason);
    return st == FRAMED_OK ? FRAMED_OK : refuse_as(p, st, reason, 0);
}

static enum framed_status take_name(const struct parse *p, struct framed_bytes word, struct framed_bytes *name)
{
    const char *reason;
    if (!framed_keyfile_name_ok(word, &reason)) return refuse(p, reason);
    *name = word;
    return FRAMED_OK;
}

/* A decimal number of exactly so many digits. */
static bool digits(const uint8_t *at, size_t n, unsigned *value)
{
    *value = 0;
    for (size_t i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9') return false;
        *value = *value * 10 + (unsigned)(at[i] - '0');
    }
    return true;
}

/* The port: 1 to 65535, as people write it. */
static bool is_port(struct framed_bytes text)
{
    unsigned port;
    return text.len >= 1 && text.len <= 5 && text.at[0] != '0' && digits(text.at, text.len, &port) && port <= 65535;
}

/* HOST:PORT or [V6]:PORT, as framed_address_find takes them; nobody is asked whether the host exists. */
static bool is_address(struct framed_bytes word)
{
    size_t colon = word.len;
    while (colon > 0 && word.at[colon - 1] != ':') colon--;
    if (colon < 2 || word.len > KEYFILE_ADDRESS_MOST) return false;
    struct framed_bytes host = framed_bytes_of(word.at, colon - 1);
    if (!is_port(framed_bytes_of(word.at + colon, word.len - colon))) return false;
    if (host.at[0] == '[') return host.len >= 3 && host.at[host.len - 1] == ']';
    return memchr(host.at, ':', host.len) == NULL;
}

static enum framed_status take_address(const struct parse *p, struct framed_bytes word, struct framed_bytes *address)
{
    if (framed_keyfile_looks_like_key(word))
        return refuse(p, "that is a key, where an address is wanted: HOST:PORT KEY [NEXT-KEY]");
    if (!is_address(word))
        return refuse(p, "that is no address; allowed are HOST:PORT and [V6]:PORT, with a port from 1 to 65535");
    *address = word;
    return FRAMED_OK;
}

/* ---- the options of a peer ---- */

static bool is_leap(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* YYYY-MM-DD, a day that there is, from 1970 on: its first second. */
static bool date_of(struct framed_bytes text, uint64_t *seconds)
{
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    unsigned year, month, day;
    if (text.len != 10 || text.at[4] != '-' || text.at[7] != '-') return false;
    if (!digits(text.at, 4, &year) || !digits(text.at + 5, 2, &month) || !digits(text.at + 8, 2, &day)) return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
    bool leap = is_leap(year);
    unsigned last = (unsigned)(before[month] - before[month - 1]) + (month == 2 && leap);
    if (day > last) return false;
    uint64_t past = year - 1; /* whole years behind us, from the year 1 on; 719162 days of them before 1970 */
    uint64_t days = past * 365 + past / 4 - past / 100 + past / 400 - 719162;
    days += (unsigned)before[month - 1] + (unsigned)(month > 2 && leap) + day - 1;
    *seconds = days * 86400;
    return true;
}

static enum framed_status take_max_frame(const struct parse *p, struct framed_bytes text, struct keyfile_entry *entry)
{
    char size[SIZE_ROOM];
    uint64_t bytes = 0;
    if (entry->max_frame != 0) return refuse(p, "max-frame twice");
    bool fits = text.len < sizeof size;
    if (fits) memcpy(size, text.at, text.len);
    if (fits) size[text.len] = '\0';
    if (!fits || !framed_number_read(CLI_SIZE, size, &bytes) || bytes < FRAMED_PARAMETER_LEAST || bytes > FRAMED_FRAME_MOST)
        return refuse(p, "max-frame: not a size from 16KiB to 2147483647; sizes are like 65536, 64KiB, 16MiB");
    entry->max_frame = (uint32_t)bytes;
    return FRAMED_OK;
}

static enum framed_status take_option(const struct parse *p, struct framed_bytes word, struct keyfile_entry *entry)
{
    if (begins(word, "max-frame=")) return take_max_frame(p, behind(word, "max-frame="), entry);
    if (!begins(word, "expires=")) return refuse(p, "no such option; there are max-frame=SIZE and expires=YYYY-MM-DD");
    if (entry->expires_s != KEYFILE_NEVER) return refuse(p, "expires twice");
    if (!date_of(behind(word, "expires="), &entry->expires_s))
        return refuse(p, "expires: not a day; days are like 2027-01-31, from 1970 on");
    return FRAMED_OK;
}

/* ---- a line of each kind ---- */

static enum framed_status take_peer(const struct parse *p, struct keyfile_entry *entry)
{
    enum framed_status st = take_key(p, p->words[0], FRAMED_KEY_PUBLIC, &entry->key);
    if (st != FRAMED_OK) return st;
    if (p->n_words < 2)
        return refuse(p, "the name of the peer is missing; a line is KEY NAME [max-frame=SIZE] [expires=YYYY-MM-DD]");
    st = take_name(p, p->words[1], &entry->name);
    entry->expires_s = KEYFILE_NEVER;
    for (size_t i = 2; st == FRAMED_OK && i < p->n_words; i++) st = take_option(p, p->words[i], entry);
    return st;
}

static enum framed_status take_server(const struct parse *p, struct keyfile_entry *entry)
{
    enum framed_status st = take_address(p, p->words[0], &entry->name);
    if (st != FRAMED_OK) return st;
    if (p->n_words < 2) return refuse(p, "the key of the server is missing; a line is HOST:PORT KEY [NEXT-KEY]");
    if (p->n_words > 3) return refuse(p, "words behind the keys; a line is HOST:PORT KEY [NEXT-KEY]");
    st = take_key(p, p->words[1], FRAMED_KEY_PUBLIC, &entry->key);
    if (st != FRAMED_OK || p->n_words < 3) return st;
    st = take_key(p, p->words[2], FRAMED_KEY_PUBLIC, &entry->next);
    if (st != FRAMED_OK) return st;
    return framed_key_same(&entry->key, &entry->next) ? refuse(p, "the next key is the same as the key") : FRAMED_OK;
}

static enum framed_status take_shared(const struct parse *p, struct keyfile_entry *entry)
{
    enum framed_status st = take_name(p, p->words[0], &entry->name);
    if (st != FRAMED_OK) return st;
    if (p->n_words < 2) return refuse(p, "the key is missing; a line is ID KEY");
    if (p->n_words > 2) return refuse(p, "words behind the key; a line is ID KEY");
    return take_key(p, p->words[1], FRAMED_KEY_SHARED, &entry->key);
}

static const struct {
    enum framed_status (*take)(const struct parse *p, struct keyfile_entry *entry);
    const char *same_name;
    const char *same_key; /* NULL: it may stand there twice */
} kinds[] = {
    [KEYFILE_PEERS] = {take_peer, "the same name as in line", "the same key as in line"},
    [KEYFILE_SERVERS] = {take_server, "the same address as in line", NULL}, /* one server may have several */
    [KEYFILE_SHARED] = {take_shared, "the same id as in line", "the same key as in line"},
};

/* ---- a file ---- */

static enum framed_status begin(struct parse *p, const char *file, struct framed_bytes text, char *error)
{
    *p = (struct parse){.file = file, .error = error, .rest = text};
    if (text.len <= KEYFILE_MOST) return FRAMED_OK;
    snprintf(error, KEYFILE_ERROR_ROOM, "%.200s: too large; a file of keys has at most 1 MiB", file);
    return FRAMED_TOO_LARGE;
}

/* How many lines say something, and how long their words are together. */
static enum framed_status count(struct parse p, size_t *lines, size_t *bytes)
{
    enum framed_status st;
    *lines = 0;
    *bytes = p.rest.len;
    while ((st = next_words(&p)) == FRAMED_OK)
        if (++*lines > KEYFILE_LINES_MOST)
            return refuse_as(&p, FRAMED_TOO_LARGE, "too many lines; allowed are at most", KEYFILE_LINES_MOST);
    return st == FRAMED_CLOSED ? FRAMED_OK : st;
}

/* Refuses what stands there already. */
static enum framed_status compare(const struct parse *p, const struct keyfile *keys, const struct keyfile_entry *entry,
                                  enum keyfile_kind kind)
{
    const struct keyfile_entry *other = framed_keyfile_by_name(keys, entry->name);
    if (other != NULL) return refuse_as(p, FRAMED_MALFORMED, kinds[kind].same_name, other->line);
    other = kinds[kind].same_key != NULL ? framed_keyfile_by_key(keys, &entry->key) : NULL;
    if (other != NULL) return refuse_as(p, FRAMED_MALFORMED, kinds[kind].same_key, other->line);
    return FRAMED_OK;
}

/* Names are moved behind the entries: the text is the caller's. */
static enum framed_status fill(struct parse *p, enum keyfile_kind kind, struct keyfile *keys, uint8_t *names)
{
    enum framed_status st;
    while ((st = next_words(p)) == FRAMED_OK) {
        struct keyfile_entry *entry = &keys->entries[keys->n];
        *entry = (struct keyfile_entry){.line = p->line};
        st = kinds[kind].take(p, entry);
        if (st == FRAMED_OK) st = compare(p, keys, entry, kind);
        if (st != FRAMED_OK) return st;
        memcpy(names, entry->name.at, entry->name.len);
        entry->name.at = names;
        names += entry->name.len;
        keys->n++;
    }
    return st == FRAMED_CLOSED ? FRAMED_OK : st;
}

enum framed_status framed_keyfile_parse(struct keyfile *keys, enum keyfile_kind kind, const char *file,
                                        struct framed_bytes text, const struct framed_allocator *alloc,
                                        char error[KEYFILE_ERROR_ROOM])
{
    struct parse p;
    struct keyfile made = {.alloc = alloc};
    size_t lines, bytes;
    enum framed_status st = begin(&p, file, text, error);
    if (st == FRAMED_OK) st = count(p, &lines, &bytes);
    if (st != FRAMED_OK) return st;
    if (lines > 0) {
        made.bytes = lines * sizeof *made.entries + bytes;
        made.entries = alloc->resize(alloc->ctx, NULL, 0, made.bytes);
        if (made.entries == NULL) {
            snprintf(error, KEYFILE_ERROR_ROOM, "%.200s: %s", file, framed_status_text(FRAMED_NOMEM));
            return FRAMED_NOMEM;
        }
        st = fill(&p, kind, &made, (uint8_t *)(made.entries + lines));
    }
    if (st == FRAMED_OK)
        *keys = made;
    else
        framed_keyfile_free(&made);
    return st;
}

static enum framed_status only_key(struct parse *p, enum framed_key_kind kind, struct framed_key *key)
{
    bool public = kind == FRAMED_KEY_PUBLIC;
    enum framed_status st = next_words(p);
    if (st == FRAMED_CLOSED) {
        p->line = p->line > 0 ? p->line : 1;
        return refuse(p, public ? "there is no key; one line is wanted, framed-pub-1: and 43 characters"
                                : "there is no key; a secret-key file is one line, framed-sec-1: and 43 characters");
    }
    if (st != FRAMED_OK) return st;
    st = take_key(p, p->words[0], kind, key);
    if (st != FRAMED_OK) return st;
    if (p->n_words > 1)
        return refuse(p, public ? "words behind the key; it is wanted alone"
                                : "words behind the key; a secret-key file is one key, alone");
    st = next_words(p);
    if (st == FRAMED_OK)
        return refuse(p, public ? "a second line; one key is wanted, alone"
                                : "a second line; a secret-key file is one key, alone");
    return st == FRAMED_CLOSED ? FRAMED_OK : st;
}

enum framed_status framed_keyfile_one(struct framed_key *key, enum framed_key_kind kind, const char *file,
                                      struct framed_bytes text, char error[KEYFILE_ERROR_ROOM])
{
    struct parse p;
    struct framed_key found = {{0}};
    enum framed_status st = begin(&p, file, text, error);
    if (st == FRAMED_OK) st = only_key(&p, kind, &found);
    if (st == FRAMED_OK) *key = found;
    framed_wipe(&found, sizeof found);
    return st;
}

/* ---- looking up ---- */

const struct keyfile_entry *framed_keyfile_by_name(const struct keyfile *keys, struct framed_bytes name)
{
    const struct keyfile_entry *found = NULL;
    for (size_t i = 0; i < keys->n; i++) { /* to the end: how long it takes is not to say whether there is one */
        const struct framed_bytes *here = &keys->entries[i].name;
        if (here->len == name.len && (name.len == 0 || memcmp(here->at, name.at, name.len) == 0)) found = &keys->entries[i];
    }
    return found;
}

const struct keyfile_entry *framed_keyfile_by_key(const struct keyfile *keys, const struct framed_key *key)
{
    const struct keyfile_entry *found = NULL;
    for (size_t i = 0; i < keys->n; i++) /* to the end, also when it is found */
        if (framed_key_same(&keys->entries[i].key, key)) found = &keys->entries[i];
    return found;
}

void framed_keyfile_free(struct keyfile *keys)
{
    if (keys->entries != NULL) {
        framed_wipe(keys->entries, keys->bytes);
        keys->alloc->resize(keys->alloc->ctx, keys->entries, keys->bytes, 0);
    }
    *keys = (struct keyfile){0};
}
