/*
 * Owns: what a file is: plain frames or a record; the connections of a record.
 * Must not know: where the bytes come from; how entries are written (record.c), or frames shown (inspect.c).
 * Invariants: `conns` has ascending numbers, `open` of them with a connection; memory is the inspection's, and within its bound.
 *
 *   state     input                                          next state
 *   UNKNOWN   the first bytes of every record                UNKNOWN, then RECORD
 *             anything else, or the end                      PLAIN
 *   PLAIN     bytes                                          PLAIN
 *   RECORD    an entry that suits those before               RECORD
 *             anything else                                  DAMAGED
 *   DAMAGED   anything                                       counted
 */
#include "replay.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { UNKNOWN, PLAIN, RECORD, DAMAGED };
enum { CONNS_FIRST = 16 };

void framed_replay_init(struct replay *r, struct inspect *inspect)
{
    memset(r, 0, sizeof *r);
    r->inspect = inspect;
}

/* ---- connections ---- */

static struct replay_conn *find(const struct replay *r, uint32_t number)
{
    size_t low = 0, high = r->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->conns[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n && r->conns[low].number == number ? &r->conns[low] : NULL;
}

/* Forgets the closed ones. */
static void compact(struct replay *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->conns[i].conn != NULL) r->conns[kept++] = r->conns[i];
    r->n = kept;
}

static enum framed_status make_room(struct replay *r)
{
    if (r->n < r->room) return FRAMED_OK;
    if (r->open <= r->room / 2 && r->room > 0) {
        compact(r);
        return FRAMED_OK;
    }
    const struct framed_allocator *alloc = &r->inspect->alloc;
    size_t room = r->room == 0 ? CONNS_FIRST : 2 * r->room;
    struct replay_conn *conns = alloc->resize(alloc->ctx, r->conns, r->room * sizeof *conns, room * sizeof *conns);
    if (conns == NULL) return FRAMED_NOMEM;
    r->conns = conns;
    r->room = room;
    return FRAMED_OK;
}

static enum framed_status open_conn(struct replay *r, const struct record_entry *entry)
{
    const struct framed_allocator *alloc = &r->inspect->alloc;
    enum framed_status st = make_room(r);
    if (st != FRAMED_OK) return st;
    struct inspect_conn *conn = alloc->resize(alloc->ctx, NULL, 0, sizeof *conn);
    if (conn == NULL) return FRAMED_NOMEM;
    framed_inspect_open(conn, r->inspect, entry->connection, entry->time_ns, entry->bytes);
    r->conns[r->n++] = (struct replay_conn){.number = entry->connection, .conn = conn};
    r->last_number = entry->connection;
    r->open++;
    return FRAMED_OK;
}

/* Its place goes when the next one is made. */
static void drop_conn(struct replay *r, struct replay_conn *at)
{
    const struct framed_allocator *alloc = &r->inspect->alloc;
    framed_inspect_conn_fini(at->conn);
    alloc->resize(alloc->ctx, at->conn, sizeof *at->conn, 0);
    at->conn = NULL;
    r->open--;
}

static void close_conn(struct replay *r, struct replay_conn *at, uint64_t time_ns)
{
    framed_inspect_close(at->conn, time_ns);
    drop_conn(r, at);
}

/* ---- records ---- */

static enum framed_status begin_record(struct replay *r)
{
    uint8_t magic[RECORD_MAGIC_SIZE];
    struct record_entry entry;
    memcpy(magic, framed_record_magic, sizeof magic);
    framed_record_init(&r->record, &r->inspect->alloc);
    if (r->inspect->config.stats != NULL) r->inspect->config.stats->record = true;
    r->state = RECORD;
    enum framed_status st = framed_record_feed(&r->record, magic, sizeof magic);
    if (st == FRAMED_OK) st = framed_record_next(&r->record, &entry);
    return st == FRAMED_MORE ? FRAMED_OK : st;
}

/* NULL: the entry suits those before it. */
static const char *misfit(const struct replay *r, const struct replay_conn *at, const struct record_entry *entry)
{
    if (entry->type == RECORD_OPENED) return entry->connection > r->last_number ? NULL : "numbers must ascend";
    if (at == NULL || at->conn == NULL) return "it is not open";
    if (entry->type != RECORD_CLOSED && framed_inspect_ended(&at->conn->way[entry->way])) return "that way has ended";
    return NULL;
}

static enum framed_status apply(struct replay *r, struct replay_conn *at, const struct record_entry *entry)
{
    if (at == NULL) return open_conn(r, entry);
    struct inspect_stream *stream = &at->conn->way[entry->way]; /* misfit() has looked */
    switch (entry->type) {
    case RECORD_OPENED: break;
    case RECORD_DATA: framed_inspect_bytes(stream, entry->time_ns, entry->bytes.at, entry->bytes.len); break;
    case RECORD_LOST: framed_inspect_lost(stream, entry->time_ns, entry->lost); break;
    case RECORD_END: framed_inspect_end(stream, entry->time_ns); break;
    case RECORD_CLOSED: close_conn(r, at, entry->time_ns); break;
    }
    return framed_inspect_status(r->inspect);
}

/* The record cannot be read on. What is left of the file is counted. */
static enum framed_status damaged(struct replay *r, const char *why)
{
    snprintf(r->why, sizeof r->why, "%s", why);
    r->damaged_off = framed_record_off(&r->record);
    r->state = DAMAGED;
    return framed_inspect_status(r->inspect);
}

static enum framed_status take_entry(struct replay *r, const struct record_entry *entry)
{
    static const char *const names[] = {"nothing", "opened", "data", "end", "closed", "lost"};
    struct replay_conn *at = entry->type == RECORD_OPENED ? NULL : find(r, entry->connection);
    const char *misfits = misfit(r, at, entry);
    if (misfits == NULL) {
        r->time_ns = entry->time_ns;
        return apply(r, at, entry);
    }
    char why[sizeof r->why];
    snprintf(why, sizeof why, "\"%s\" of connection %" PRIu32 ", but %s", names[entry->type], entry->connection, misfits);
    return damaged(r, why);
}

static enum framed_status take_record(struct replay *r, uint8_t *at, size_t n)
{
    struct record_entry entry;
    enum framed_status st = framed_record_feed(&r->record, at, n);
    while (st == FRAMED_OK && r->state == RECORD) {
        st = framed_record_next(&r->record, &entry);
        if (st == FRAMED_MORE) return framed_inspect_status(r->inspect);
        if (st == FRAMED_MALFORMED) return damaged(r, framed_record_fault(&r->record));
        if (st == FRAMED_OK) st = take_entry(r, &entry);
    }
    return st;
}

/* ---- files ---- */

/* How many of the n bytes go on like the beginning of a record. */
static size_t match(const struct replay *r, const uint8_t *at, size_t n)
{
    size_t left = RECORD_MAGIC_SIZE - r->matched, i = 0;
    while (i < n && i < left && at[i] == framed_record_magic[r->matched + i]) i++;
    return i;
}

static void begin_plain(struct replay *r)
{
    framed_inspect_stream_init(&r->plain, r->inspect);
    framed_inspect_bytes(&r->plain, 0, framed_record_magic, r->matched);
    r->state = PLAIN;
}

enum framed_status framed_replay_bytes(struct replay *r, uint8_t *at, size_t n)
{
    r->off += n;
    if (r->state == UNKNOWN) {
        size_t more = match(r, at, n);
        r->matched += more;
        at += more;
        n -= more;
        enum framed_status st = r->matched == RECORD_MAGIC_SIZE ? begin_record(r) : FRAMED_OK;
        if (st != FRAMED_OK) return st;
        if (r->state == UNKNOWN && n > 0) begin_plain(r);
    }
    if (n > 0 && r->state == RECORD) return take_record(r, at, n);
    if (r->state == PLAIN) framed_inspect_bytes(&r->plain, 0, at, n);
    return framed_inspect_status(r->inspect);
}

enum framed_status framed_replay_end(struct replay *r)
{
    if (r->state == UNKNOWN) begin_plain(r);
    if (r->state == PLAIN) framed_inspect_end(&r->plain, 0);
    if (r->state == RECORD && framed_record_end(&r->record) != FRAMED_CLOSED) damaged(r, framed_record_fault(&r->record));
    if (r->state == DAMAGED) framed_inspect_damaged(r->inspect, r->damaged_off, r->why, r->off - r->damaged_off);
    for (size_t i = 0; i < r->n; i++)
        if (r->conns[i].conn != NULL) framed_inspect_leave(r->conns[i].conn, r->time_ns);
    return framed_inspect_status(r->inspect);
}

void framed_replay_fini(struct replay *r)
{
    const struct framed_allocator *alloc = &r->inspect->alloc;
    if (r->state == PLAIN) framed_inspect_stream_fini(&r->plain);
    if (r->state == RECORD || r->state == DAMAGED) framed_record_fini(&r->record);
    for (size_t i = 0; i < r->n; i++)
        if (r->conns[i].conn != NULL) drop_conn(r, &r->conns[i]);
    if (r->conns != NULL) alloc->resize(alloc->ctx, r->conns, r->room * sizeof *r->conns, 0);
}
