/*
 * Owns: what becomes of a tap's notes: lines on standard output, and entries in a file.
 * Must not know: sockets; how frames are found; the form of a line.
 * Invariants: a stream that failed is written to no more, and said to have failed once; spools are emptied all the same.
 */
#include "shower.h"
#include "record.h"
#include <string.h>

/* ---- showing ---- */

static enum framed_status to_stdout(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    return framed_host_write(at, n);
}

static void closed(const struct note *note, const struct note_missing missing[2])
{
    const struct framed_allocator *alloc = framed_os_allocator();
    for (unsigned way = 0; way < 2; way++) {
        struct inspect_stream *stream = &note->conn->way[way];
        const struct note_missing *m = &missing[way];
        if (m->n > 0 && m->between)
            framed_inspect_skipped(stream, note->time_ns, m->n, m->frames, m->preface);
        else if (m->n > 0)
            framed_inspect_lost(stream, note->time_ns, m->n);
        if (m->ended) framed_inspect_end(stream, note->time_ns);
    }
    framed_inspect_close(note->conn, note->time_ns);
    alloc->resize(alloc->ctx, note->conn, sizeof *note->conn, 0);
}

static void show(void *ctx, uint8_t *at, size_t size) // NOLINT(readability-non-const-parameter): a spool's callback
{
    struct shower *s = ctx;
    const struct note *note = (const struct note *)(const void *)at;
    struct framed_bytes bytes = framed_bytes_of(note + 1, size - sizeof *note);
    struct inspect_stream *stream = note->conn != NULL ? &note->conn->way[note->way] : NULL;
    switch ((enum note_type)note->type) {
    case NOTE_OPENED: framed_inspect_open(note->conn, &s->inspect, note->number, note->time_ns, bytes); break;
    case NOTE_BYTES: framed_inspect_bytes(stream, note->time_ns, bytes.at, bytes.len); break;
    case NOTE_BLANK: framed_inspect_blank(stream, note->time_ns, note->n, note->sum); break;
    case NOTE_SKIPPED: framed_inspect_skipped(stream, note->time_ns, note->n, note->frames, note->preface); break;
    case NOTE_END: framed_inspect_end(stream, note->time_ns); break;
    case NOTE_CLOSED: closed(note, (const struct note_missing *)(const void *)bytes.at); break;
    case NOTE_SAY: framed_host_say("%s", (const char *)bytes.at); break;
    }
}

static void check_stdout(struct shower *s, enum framed_status st)
{
    if (st == FRAMED_OK || s->status != FRAMED_OK) return;
    s->status = st;
    if (st == FRAMED_CLOSED)
        s->nobody_reads(s->ctx);
    else
        framed_host_say("cannot write to standard output: %s; nothing more is shown", framed_host_error());
}

static void show_waiting(void *ctx)
{
    struct shower *s = ctx;
    check_stdout(s, framed_inspect_flush(&s->inspect));
}

static void show_end(void *ctx)
{
    struct shower *s = ctx;
    check_stdout(s, framed_inspect_finish(&s->inspect));
}

enum framed_status framed_shower_start(struct shower *s, const struct inspect_config *config)
{
    const struct spool_work work = {.take = show, .idle = show_waiting, .end = show_end, .ctx = s};
    framed_inspect_init(&s->inspect, config, to_stdout, s);
    return framed_spool_start(&s->spool, &work);
}

/* ---- recording ---- */

static void check_file(struct recorder *r, enum framed_status st)
{
    if (st == FRAMED_OK || atomic_exchange(r->failed, true)) return;
    framed_host_say("cannot write %.200s: %s; the record ends here", r->path,
                    st == FRAMED_CLOSED ? "nobody reads it" : framed_host_error());
}

static void write_file(struct recorder *r, const uint8_t *at, size_t n)
{
    if (n == 0 || atomic_load_explicit(r->failed, memory_order_relaxed)) return;
    check_file(r, framed_host_write_file(r->file, at, n));
}

static void write_held(void *ctx)
{
    struct recorder *r = ctx;
    write_file(r, r->held, r->len);
    r->len = 0;
}

static void record(void *ctx, uint8_t *at, size_t n)
{
    struct recorder *r = ctx;
    if (n > sizeof r->held - r->len) write_held(r);
    if (n > sizeof r->held / 2) {
        write_held(r);
        write_file(r, at, n);
        return;
    }
    memcpy(r->held + r->len, at, n);
    r->len += n;
}

static void record_end(void *ctx)
{
    struct recorder *r = ctx;
    write_held(r);
    check_file(r, framed_host_close_file(r->file));
}

enum framed_status framed_recorder_start(struct recorder *r)
{
    const struct spool_work work = {.take = record, .idle = write_held, .end = record_end, .ctx = r};
    memcpy(r->held, framed_record_magic, RECORD_MAGIC_SIZE);
    r->len = RECORD_MAGIC_SIZE;
    return framed_spool_start(&r->spool, &work);
}
