/*
 * history.c: owns the rules that every history of calls must keep.
 * Must not know framed, the simulator, or whoever wrote the history: only history.h and the C library.
 * Invariant: looking at a history changes nothing in it.
 */
#include "history.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOWHERE UINT32_MAX

/* What is known of a call: places in the history. */
struct call {
    uint32_t begun, saw, told;
};

/* Of a connection: its requests in the order they were begun, and places in the history of what became of each. */
struct request {
    uint32_t call; /* 0: seen, and never begun here */
    uint32_t saw, answered;
};

struct conn {
    struct request *requests;
    uint32_t n, cap;
    uint32_t seen;
    uint32_t ended;
    bool hit;
    uint32_t replies_told; /* requests from here on may still be told a reply */
};

struct check {
    const struct history *h;
    const struct history_rules *rules;
    struct call *calls;
    struct conn *conns;
    uint32_t call_count, conn_count; /* with the 0th, which is none */
    char *why;
    size_t size;
};

/* ---- writing it down ---- */

static void *enough(void *at)
{
    if (at != NULL) return at;
    fprintf(stderr, "history: out of memory\n");
    abort();
}

void history_add(struct history *h, const struct record *r)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 1024;
        h->at = enough(realloc(h->at, h->cap * sizeof *h->at));
    }
    h->at[h->n++] = *r;
}

void history_forget(struct history *h)
{
    h->n = 0;
}

void history_free(struct history *h)
{
    free(h->at);
    memset(h, 0, sizeof *h);
}

size_t history_count(const struct history *h, enum history_outcome outcome)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) n += h->at[i].kind == HISTORY_TOLD && h->at[i].outcome == outcome;
    return n;
}

uint64_t history_hash(const struct history *h)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < h->n; i++) {
        const struct record *r = &h->at[i];
        const uint64_t words[] = {r->at_us,
                                  (uint64_t)r->kind << 32 | r->who,
                                  (uint64_t)r->conn << 32 | r->call,
                                  r->nth,
                                  r->len,
                                  (uint64_t)r->answer << 32 | r->outcome,
                                  r->digest};
        for (size_t k = 0; k < sizeof words / sizeof *words; k++)
            hash = ((hash << 7 | hash >> 57) ^ words[k]) * UINT64_C(0x9fb21c651e98df25);
    }
    return hash;
}

static const char *answer_text(enum history_answer answer)
{
    static const char *const names[] = {"?", "gives", "gives in vain", "fails"};
    return names[answer];
}

static const char *outcome_text(enum history_outcome outcome)
{
    static const char *const names[] = {"?", "a reply", "NOT_EXECUTED", "MAYBE_EXECUTED"};
    return names[outcome];
}

void history_text(const struct record *r, char *line, size_t size)
{
    char what[160];
    const char *by = r->kind == HISTORY_SAW || r->kind == HISTORY_ANSWERED ? "server" : r->by != NULL ? r->by : "client";
    switch (r->kind) {
    case HISTORY_BEGUN:
        snprintf(what, sizeof what, "begins call %u: %u bytes, within %u ms", r->call, r->len, r->limit_ms);
        break;
    case HISTORY_SAW:
        snprintf(what, sizeof what, "sees request %u of :%u, call %u: %u bytes", r->nth, r->conn, r->call, r->len);
        break;
    case HISTORY_ANSWERED:
        snprintf(what, sizeof what, "%s for request %u of :%u: %u bytes", answer_text(r->answer), r->nth, r->conn, r->len);
        break;
    case HISTORY_TOLD:
        snprintf(what, sizeof what, "is told %s for call %u on :%u: %u bytes", outcome_text(r->outcome), r->call, r->conn,
                 r->len);
        break;
    case HISTORY_ENDED: snprintf(what, sizeof what, "is told the end of :%u", r->conn); break;
    case HISTORY_HIT: snprintf(what, sizeof what, "%s befalls :%u", r->text, r->conn); break;
    default: snprintf(what, sizeof what, r->limit_ms > 0 ? "%s for %u ms" : "%s", r->text, r->limit_ms);
    }
    char who[16] = "";
    if (r->who > 0) snprintf(who, sizeof who, "%u", r->who);
    snprintf(line, size, "%8" PRIu64 ".%03u ms  %-7s %-2s  %s%s%s", r->at_us / 1000, (unsigned)(r->at_us % 1000), by, who,
             what, r->status != NULL ? ", " : "", r->status != NULL ? r->status : "");
}

/* ---- reading it ---- */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static bool
broken(struct check *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, c->size, format, args);
    va_end(args);
    return false;
}

static const struct record *at(const struct check *c, uint32_t i)
{
    return &c->h->at[i];
}

static struct request *request_at(struct conn *conn, uint32_t nth)
{
    if (nth >= conn->cap) {
        uint32_t cap = conn->cap ? conn->cap : 8;
        while (cap <= nth) cap *= 2;
        conn->requests = enough(realloc(conn->requests, cap * sizeof *conn->requests));
        conn->cap = cap;
    }
    while (conn->n <= nth) conn->requests[conn->n++] = (struct request){0, NOWHERE, NOWHERE};
    return &conn->requests[nth];
}

static bool same_bytes(const struct record *a, const struct record *b)
{
    return a->len == b->len && a->digest == b->digest;
}

static void open_tables(struct check *c)
{
    for (size_t i = 0; i < c->h->n; i++) {
        const struct record *r = &c->h->at[i];
        bool is_ours = r->kind == HISTORY_BEGUN || r->kind == HISTORY_TOLD; /* what was seen may say anything */
        if (is_ours && r->call >= c->call_count) c->call_count = r->call + 1;
        if (r->conn >= c->conn_count) c->conn_count = r->conn + 1;
    }
    c->call_count += c->call_count == 0;
    c->conn_count += c->conn_count == 0;
    c->calls = enough(malloc(c->call_count * sizeof *c->calls));
    c->conns = enough(calloc(c->conn_count, sizeof *c->conns));
    for (uint32_t i = 0; i < c->call_count; i++) c->calls[i] = (struct call){NOWHERE, NOWHERE, NOWHERE};
    for (uint32_t i = 0; i < c->conn_count; i++) c->conns[i].ended = NOWHERE;
}

static void close_tables(struct check *c)
{
    for (uint32_t i = 0; i < c->conn_count; i++) free(c->conns[i].requests);
    free(c->conns);
    free(c->calls);
}

/* Every call begins once and ends once, in time. */
static bool calls_end_once(struct check *c)
{
    for (uint32_t i = 0; i < c->h->n; i++) {
        const struct record *r = at(c, i);
        if (r->kind == HISTORY_BEGUN) {
            if (r->call == 0 || c->calls[r->call].begun != NOWHERE) return broken(c, "call %u is begun twice", r->call);
            c->calls[r->call].begun = i;
        } else if (r->kind == HISTORY_TOLD) {
            struct call *call = &c->calls[r->call];
            if (r->call == 0 || call->begun == NOWHERE) return broken(c, "call %u ends, and was never begun", r->call);
            if (call->told != NOWHERE) return broken(c, "call %u ends twice", r->call);
            call->told = i;
            const struct record *begun = at(c, call->begun);
            if (begun->who != r->who)
                return broken(c, "call %u of client %u is told to client %u", r->call, begun->who, r->who);
            uint64_t until_us = begun->at_us + ((uint64_t)begun->limit_ms + c->rules->slack_ms) * 1000;
            if (begun->limit_ms > 0 && r->at_us > until_us)
                return broken(c, "call %u, to end within %u ms, ends after %" PRIu64, r->call, begun->limit_ms,
                              (r->at_us - begun->at_us) / 1000);
        }
    }
    for (uint32_t i = 1; i < c->call_count; i++)
        if (c->calls[i].begun != NOWHERE && c->calls[i].told == NOWHERE) return broken(c, "call %u never ends", i);
    return true;
}

/* Which request of its connection each call was, if it left. */
static bool place_calls(struct check *c)
{
    for (uint32_t i = 0; i < c->h->n; i++) {
        if (at(c, i)->kind != HISTORY_BEGUN) continue;
        const struct record *told = at(c, c->calls[at(c, i)->call].told);
        if (told->outcome == HISTORY_NOT_EXECUTED) continue;
        if (told->conn == 0) return broken(c, "call %u may have been executed, but went nowhere", told->call);
        struct conn *conn = &c->conns[told->conn];
        request_at(conn, conn->n)->call = told->call;
    }
    return true;
}

/* One more request is seen. */
static bool is_next_of_its_connection(struct check *c, uint32_t i)
{
    const struct record *r = at(c, i);
    struct conn *conn = &c->conns[r->conn];
    struct call *claimed = r->call < c->call_count ? &c->calls[r->call] : NULL;
    if (r->nth != conn->seen) return broken(c, "request %u of :%u is seen when %u was due", r->nth, r->conn, conn->seen);
    conn->seen++;
    if (r->call != 0) {
        if (claimed == NULL || claimed->begun == NOWHERE || claimed->begun > i)
            return broken(c, "request %u of :%u was not begun before it was seen", r->nth, r->conn);
        if (claimed->saw != NOWHERE) return broken(c, "call %u is seen twice", r->call);
        claimed->saw = i;
        if (at(c, claimed->told)->outcome == HISTORY_NOT_EXECUTED)
            return broken(c, "call %u was told NOT_EXECUTED, and a handler saw it", r->call);
    }
    if (r->nth >= conn->n) return broken(c, "request %u of :%u was never sent there", r->nth, r->conn);
    struct request *request = &conn->requests[r->nth];
    if (r->call != 0 && r->call != request->call)
        return broken(c, "request %u of :%u is call %u; call %u was due", r->nth, r->conn, r->call, request->call);
    if (c->calls[request->call].begun > i || !same_bytes(r, at(c, c->calls[request->call].begun)))
        return broken(c, "request %u of :%u has other bytes than call %u", r->nth, r->conn, request->call);
    request->saw = i;
    return true;
}

static bool is_answered_once(struct check *c, uint32_t i)
{
    const struct record *r = at(c, i);
    struct conn *conn = &c->conns[r->conn];
    if (r->nth >= conn->seen) return broken(c, "request %u of :%u is answered, and was never seen", r->nth, r->conn);
    if (conn->requests[r->nth].answered != NOWHERE) return broken(c, "request %u of :%u is answered twice", r->nth, r->conn);
    conn->requests[r->nth].answered = i;
    return true;
}

static bool is_given(const struct check *c, const struct request *request)
{
    return request->answered != NOWHERE && at(c, request->answered)->answer == HISTORY_GIVEN;
}

/* A reply is told: of which request, and is it that one's? */
static bool is_its_own(struct check *c, uint32_t i)
{
    const struct record *r = at(c, i);
    struct conn *conn = &c->conns[r->conn];
    uint32_t nth = conn->replies_told;
    while (nth < conn->n && conn->requests[nth].call != r->call) nth++;
    if (nth == conn->n) return broken(c, "the reply to call %u comes out of its order on :%u", r->call, r->conn);
    for (uint32_t before = conn->replies_told; before < nth; before++)
        if (!is_given(c, &conn->requests[before]))
            return broken(c, "call %u has a reply, though request %u of :%u, before it, was given none", r->call, before,
                          r->conn);
    conn->replies_told = nth + 1;
    uint32_t answered = conn->requests[nth].answered;
    if (answered == NOWHERE) return broken(c, "call %u has a reply that no handler has given yet", r->call);
    if (at(c, answered)->answer != HISTORY_GIVEN)
        return broken(c, "call %u has a reply, and its handler %s", r->call, answer_text(at(c, answered)->answer));
    if (!same_bytes(r, at(c, answered))) return broken(c, "call %u has a reply that is not its own", r->call);
    return true;
}

static bool order_is_kept(struct check *c)
{
    for (uint32_t i = 0; i < c->h->n; i++) {
        const struct record *r = at(c, i);
        bool holds = true;
        if (r->kind == HISTORY_SAW) holds = is_next_of_its_connection(c, i);
        if (r->kind == HISTORY_ANSWERED) holds = is_answered_once(c, i);
        if (r->kind == HISTORY_TOLD && r->outcome == HISTORY_REPLY) holds = is_its_own(c, i);
        if (r->kind == HISTORY_TOLD && r->conn != 0 && c->conns[r->conn].ended != NOWHERE)
            holds = holds && broken(c, "call %u is told after the end of :%u", r->call, r->conn);
        if (r->kind == HISTORY_ENDED && r->conn != 0) c->conns[r->conn].ended = i;
        if (r->kind == HISTORY_HIT) c->conns[r->conn].hit = true;
        if (!holds) return false;
    }
    return true;
}

static bool all_are_answered(struct check *c)
{
    for (uint32_t i = 0; i < c->conn_count; i++)
        for (uint32_t nth = 0; nth < c->conns[i].seen; nth++)
            if (c->conns[i].requests[nth].answered == NOWHERE)
                return broken(c, "request %u of :%u is never answered", nth, i);
    return true;
}

static bool no_excuse(struct check *c, const struct record *told)
{
    return broken(c, "call %u on :%u has no reply (%s), and nothing excuses that", told->call, told->conn,
                  outcome_text(told->outcome));
}

static bool all_are_excused(struct check *c)
{
    for (uint32_t i = 0; i < c->h->n; i++) {
        const struct record *r = at(c, i);
        if (r->conn == 0 || c->conns[r->conn].hit) continue; /* what went nowhere was promised nothing */
        bool is_lost = r->kind == HISTORY_TOLD && r->outcome != HISTORY_REPLY;
        if (is_lost && c->rules->excuse == HISTORY_NONE) return no_excuse(c, r);
        if (r->kind != HISTORY_ANSWERED || r->answer != HISTORY_GIVEN || c->rules->excuse == HISTORY_ANY) continue;
        const struct record *told = at(c, c->calls[c->conns[r->conn].requests[r->nth].call].told);
        if (told->outcome != HISTORY_REPLY) return no_excuse(c, told);
    }
    return true;
}

bool history_holds(const struct history *h, const struct history_rules *rules, char *why, size_t size)
{
    struct check c = {.h = h, .rules = rules, .why = why, .size = size};
    open_tables(&c);
    bool holds = calls_end_once(&c) && place_calls(&c) && order_is_kept(&c) && all_are_answered(&c) && all_are_excused(&c);
    close_tables(&c);
    return holds;
}
