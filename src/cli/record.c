/*
 * Owns: the format of a record (record.h): its entries, into bytes and back.
 * Must not know: files; what entries mean together.
 * Invariants: an entry given out is a legal one; the reader holds at most one entry; a failure is final.
 *
 *   state         frame                      next state
 *   WANT_MAGIC    the magic text             WANT_ENTRY
 *   WANT_ENTRY    an entry; or to be skipped WANT_ENTRY
 *   either        anything else              FAILED
 */
#include "record.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WANT_MAGIC, WANT_ENTRY, FAILED };
enum {
    ENTRY_HEAD = RECORD_HEAD - FRAMED_LENGTH_SIZE,
    OPENED_MOST = 255,
    LOST_SIZE = 8,
    OPTIONAL_TYPES = 128 /* from here on: skipped by who does not know them */
};

const uint8_t framed_record_magic[RECORD_MAGIC_SIZE] = {0,   0,   0,   16,  'f', 'r', 'a', 'm', 'e', 'd',
                                                        ' ', 'r', 'e', 'c', 'o', 'r', 'd', ' ', '1', '\n'};

static void put_number(uint8_t *at, unsigned bytes, uint64_t number)
{
    for (unsigned i = bytes; i-- > 0; number >>= 8) at[i] = (uint8_t)number;
}

static uint64_t get_number(const uint8_t *at, unsigned bytes)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; i++) number = number << 8 | at[i];
    return number;
}

/* ---- writing ---- */

static size_t bytes_of(const struct record_entry *entry)
{
    if (entry->type == RECORD_LOST) return LOST_SIZE;
    size_t most = entry->type == RECORD_OPENED ? OPENED_MOST : RECORD_MOST;
    return entry->bytes.len < most ? entry->bytes.len : most;
}

size_t framed_record_size(const struct record_entry *entry)
{
    return RECORD_HEAD + bytes_of(entry);
}

void framed_record_head(uint8_t at[RECORD_HEAD], const struct record_entry *entry)
{
    put_number(at, 4, ENTRY_HEAD + bytes_of(entry));
    at[4] = (uint8_t)entry->type;
    at[5] = (uint8_t)entry->way;
    put_number(at + 6, 4, entry->connection);
    put_number(at + 10, 8, entry->time_ns);
}

size_t framed_record_write(uint8_t *at, const struct record_entry *entry)
{
    size_t n = bytes_of(entry);
    framed_record_head(at, entry);
    if (entry->type == RECORD_LOST)
        put_number(at + RECORD_HEAD, LOST_SIZE, entry->lost);
    else if (n > 0)
        memcpy(at + RECORD_HEAD, entry->bytes.at, n);
    return RECORD_HEAD + n;
}

/* ---- reading ---- */

void framed_record_init(struct record_reader *r, const struct framed_allocator *alloc)
{
    memset(r, 0, sizeof *r);
    framed_reader_init(&r->reader, ENTRY_HEAD + RECORD_MOST, 0, alloc);
}

enum framed_status framed_record_feed(struct record_reader *r, uint8_t *at, size_t n)
{
    return r->state == FAILED ? r->failed : framed_reader_feed(&r->reader, at, n);
}

static enum framed_status fail(struct record_reader *r, enum framed_status status)
{
    r->state = FAILED;
    r->failed = status;
    return status;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static enum framed_status
malformed(struct record_reader *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->fault, sizeof r->fault, format, args);
    va_end(args);
    return fail(r, FRAMED_MALFORMED);
}

/* What each type demands. */
static const struct rule {
    const char *name;
    unsigned ways;
    size_t least, most;
} rules[] = {
    [RECORD_OPENED] = {"opened", 1, 0, OPENED_MOST},
    [RECORD_DATA] = {"data", 2, 1, RECORD_MOST},
    [RECORD_END] = {"end", 2, 0, 0},
    [RECORD_CLOSED] = {"closed", 1, 0, 0},
    [RECORD_LOST] = {"lost", 2, LOST_SIZE, LOST_SIZE},
};

/* FRAMED_MORE: one to be skipped. */
static enum framed_status read_entry(struct record_reader *r, struct framed_bytes payload, struct record_entry *entry)
{
    if (payload.len < ENTRY_HEAD) return malformed(r, "an entry of %u bytes, which is too short", (unsigned)payload.len);
    uint8_t type = payload.at[0], way = payload.at[1];
    if (type >= OPTIONAL_TYPES) return FRAMED_MORE;
    if (type == 0 || type > RECORD_LOST) return malformed(r, "an entry of the unknown type %u", type);

    const struct rule *rule = &rules[type];
    size_t n = payload.len - ENTRY_HEAD;
    if (way >= rule->ways) return malformed(r, "\"%s\" that goes the way %u", rule->name, way);
    if (n < rule->least || n > rule->most) return malformed(r, "\"%s\" with %u bytes", rule->name, (unsigned)n);
    uint64_t lost = type == RECORD_LOST ? get_number(payload.at + ENTRY_HEAD, LOST_SIZE) : 0;
    if (type == RECORD_LOST && lost == 0) return malformed(r, "\"lost\" of no bytes");

    *entry = (struct record_entry){.type = (enum record_type)type,
                                   .way = way,
                                   .connection = (uint32_t)get_number(payload.at + 2, 4),
                                   .time_ns = get_number(payload.at + 6, 8),
                                   .lost = lost};
    if (type != RECORD_LOST) entry->bytes = framed_bytes_of(payload.at + ENTRY_HEAD, n);
    return FRAMED_OK;
}

static enum framed_status read_magic(struct record_reader *r, struct framed_bytes payload)
{
    size_t n = RECORD_MAGIC_SIZE - FRAMED_LENGTH_SIZE;
    if (payload.len != n || memcmp(payload.at, framed_record_magic + FRAMED_LENGTH_SIZE, n) != 0)
        return malformed(r, "not a record");
    r->state = WANT_ENTRY;
    return FRAMED_MORE;
}

enum framed_status framed_record_next(struct record_reader *r, struct record_entry *entry)
{
    if (r->state == FAILED) return r->failed;
    for (;;) {
        struct framed_bytes payload;
        enum framed_status st = framed_reader_next(&r->reader, &payload);
        if (st == FRAMED_MORE) return st;
        r->off = r->next;
        if (st == FRAMED_TOO_LARGE)
            return malformed(r, "an entry of %" PRIu32 " bytes; at most %u are allowed", framed_reader_claimed(&r->reader),
                             ENTRY_HEAD + RECORD_MOST);
        if (st != FRAMED_OK) return fail(r, st);
        r->next = r->off + FRAMED_LENGTH_SIZE + payload.len;
        st = r->state == WANT_MAGIC ? read_magic(r, payload) : read_entry(r, payload, entry);
        if (st != FRAMED_MORE) return st;
    }
}

enum framed_status framed_record_end(struct record_reader *r)
{
    if (r->state == FAILED) return r->failed;
    enum framed_status st = framed_reader_end(&r->reader);
    bool nothing = st == FRAMED_CLOSED && r->state == WANT_MAGIC;
    if (st == FRAMED_CLOSED && !nothing) return st;
    r->off = r->next;
    snprintf(r->fault, sizeof r->fault, "%s", nothing ? "not a record" : "it ends inside an entry");
    return fail(r, nothing ? FRAMED_TRUNCATED : st);
}

const char *framed_record_fault(const struct record_reader *r)
{
    return r->fault;
}

uint64_t framed_record_off(const struct record_reader *r)
{
    return r->off;
}

void framed_record_fini(struct record_reader *r)
{
    framed_reader_fini(&r->reader);
}
