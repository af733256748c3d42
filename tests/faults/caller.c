/*
 * caller.c: makes calls, and keeps account of each until it ends.
 * Must not know how its client waits.
 * Invariants: an open call is in `open` exactly while its event is to come.
 */
#include "swarm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOST_MS = 60000 }; /* so long after its deadline, on however slow a machine, a call that has not ended never will */

void caller_begin(struct caller *c, struct ledger *l, const struct target *to, uint32_t worker)
{
    memset(c, 0, sizeof *c);
    c->ledger = l;
    c->to = to;
    c->worker = worker;
    c->seed = ledger_seed();
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    config.max_calls = CALLER_OPEN;
    config.max_unsent = (64u << 10) << ledger_below(&c->seed, 5);
    config.send_ms = 4000;
    config.frame_ms = 4000;
    config.linger_ms = 300;
    config.backoff_ms = 20;
    config.backoff_max_ms = 300;
    way_of_client(&config, to->way);
    if (framed_client_new(&config, &c->client) != FRAMED_OK) {
        fprintf(stderr, "no client\n");
        exit(2);
    }
}

static void ended(struct caller *c, uint64_t n)
{
    ledger_add(&c->ledger->workers[c->worker].ended, n);
}

void caller_end(struct caller *c)
{
    uint64_t was = framed_client_open_calls(c->client);
    if (was != c->n) ledger_add(&c->ledger->unended, was > c->n ? was - c->n : c->n - was);
    framed_client_free(c->client);
    ledger_add(&c->ledger->abandoned, c->n);
    ended(c, c->n);
    c->n = 0;
    memset(c->open, 0, sizeof c->open);
}

/* ---- beginning calls ---- */

static size_t any_size(struct caller *c)
{
    uint64_t dice = ledger_below(&c->seed, 100);
    size_t most = dice < 80 ? 600 : dice < 95 ? 9000 : dice < 99 ? 80000 : CALLER_LARGEST;
    return LEDGER_HEAD + (size_t)ledger_below(&c->seed, most - LEDGER_HEAD);
}

static enum ledger_what any_what(struct caller *c)
{
    uint64_t dice = ledger_below(&c->seed, 10000);
    if (c->gentle || dice >= 50) return (enum ledger_what)(dice % (WHAT_LATER_COPY + 1));
    return dice < 20 ? WHAT_FAIL : dice < 35 ? WHAT_LATER_FAIL : dice < 45 ? WHAT_DROP : WHAT_TOO_LATE;
}

static struct framed_bytes new_request(struct caller *c, struct open_call *call, uint32_t timeout_ms)
{
    struct ledger_worker *w = &c->ledger->workers[c->worker];
    call->len = any_size(c);
    call->what = any_what(c);
    call->serial = atomic_fetch_add(&w->serial, 1) + 1;
    call->due_ms = ledger_clock_ms() + timeout_ms;
    ledger_request(c->request, call->len, c->worker, call->serial, call->what);
    return framed_bytes_of(c->request, call->len);
}

static uint32_t any_timeout(struct caller *c)
{
    if (c->gentle) return 120000;
    return (uint32_t)(ledger_below(&c->seed, 20) == 0 ? 1 + ledger_below(&c->seed, 50) : 500 + ledger_below(&c->seed, 4000));
}

static void misused(struct caller *c, enum framed_status st, const char *what)
{
    if (st != FRAMED_USAGE && st != FRAMED_NOMEM && st != FRAMED_OS) return;
    fprintf(stderr, "%s: %s %s\n", what, framed_status_name(st), framed_client_error(c->client));
    ledger_add(&c->ledger->misuses, 1);
}

enum framed_status caller_start(struct caller *c)
{
    struct open_call *call = c->open;
    while (call->id != 0) call++;
    uint32_t timeout_ms = any_timeout(c);
    struct framed_bytes request = new_request(c, call, timeout_ms);
    uint64_t id = 0;
    struct ledger_worker *w = &c->ledger->workers[c->worker];
    ledger_add(&w->started, 1); /* before: this process may be killed any time */
    enum framed_status st = framed_client_start(c->client, request, timeout_ms, &id);
    misused(c, st, __func__);
    if (st != FRAMED_OK) {
        ledger_add(&w->started, (uint64_t)-1);
        ledger_denied(c->ledger, c->worker, call->serial); /* never begun, so never executed */
        return st;
    }
    ledger_add(&c->ledger->started, 1);
    call->id = id;
    c->n++;
    return FRAMED_OK;
}

/* ---- how they end ---- */

static void judge(struct caller *c, const struct open_call *call, const struct framed_event *event)
{
    struct ledger *l = c->ledger;
    uint64_t now = ledger_clock_ms();
    if (now > call->due_ms) ledger_most(&l->latest_ms, now - call->due_ms);
    if (event->outcome == FRAMED_REPLY) {
        ledger_add(&l->replies, 1);
        if (c->to->way != FRAMED_UNPROTECTED) ledger_add(c->to->way == FRAMED_CRC32C ? &l->checked : &l->sealed, 1);
        if (event->status != FRAMED_OK || !ledger_answers(event->payload, call->len, c->worker, call->serial, call->what))
            ledger_add(&l->wrong_replies, 1);
        ledger_replied(l, c->worker, call->serial);
    } else if (event->outcome == FRAMED_NOT_EXECUTED) {
        ledger_add(&l->not_executed, 1);
        ledger_denied(l, c->worker, call->serial);
    } else {
        ledger_add(&l->maybe_executed, 1);
    }
    if (event->outcome != FRAMED_REPLY && event->status == FRAMED_OK) ledger_add(&l->misuses, 1);
    if (event->status == FRAMED_TIMEOUT) ledger_add(&l->timeouts, 1);
    if (event->outcome != FRAMED_REPLY && c->good)
        fprintf(stderr, "a call of %zu bytes (%d): %s, %s; %s\n", call->len, (int)call->what,
                framed_outcome_name(event->outcome), framed_status_name(event->status), framed_client_error(c->client));
    ended(c, 1);
}

bool caller_call(struct caller *c)
{
    struct open_call call;
    struct framed_event event = {0};
    uint32_t timeout_ms = any_timeout(c);
    struct framed_bytes request = new_request(c, &call, timeout_ms);
    ledger_add(&c->ledger->workers[c->worker].started, 1);
    ledger_add(&c->ledger->started, 1);
    enum framed_status st = framed_client_call(c->client, request, timeout_ms, &event);
    misused(c, st, __func__);
    if (st != event.status) ledger_add(&c->ledger->misuses, 1);
    judge(c, &call, &event);
    return st == FRAMED_OK || (st == FRAMED_TIMEOUT && event.outcome == FRAMED_MAYBE_EXECUTED);
}

bool caller_event(struct caller *c, const struct framed_event *event)
{
    if (event->kind == FRAMED_EVENT_REPLY) {
        struct open_call *call = c->open;
        while (call < c->open + CALLER_OPEN && call->id != event->call) call++;
        if (event->call == 0 || call == c->open + CALLER_OPEN) {
            ledger_add(&c->ledger->ended_twice, 1);
            return true;
        }
        judge(c, call, event);
        call->id = 0;
        c->n--;
    } else if (event->kind == FRAMED_EVENT_ENDED) {
        if (c->n > 0) { /* every call must have been reported before */
            ledger_add(&c->ledger->unended, c->n);
            ended(c, c->n);
            c->n = 0;
            memset(c->open, 0, sizeof c->open);
        }
        return false;
    } else if (event->kind != FRAMED_EVENT_WRITABLE) {
        ledger_add(&c->ledger->misuses, 1);
    }
    return true;
}

void caller_look(struct caller *c)
{
    uint64_t now = ledger_clock_ms();
    for (size_t i = 0; i < CALLER_OPEN; i++) {
        struct open_call *call = &c->open[i];
        if (call->id == 0 || now < call->due_ms + LOST_MS) continue;
        fprintf(stderr, "a call of %zu bytes never ended\n", call->len);
        ledger_add(&c->ledger->unended, 1);
        call->due_ms = now + LOST_MS; /* said once a minute */
    }
}

enum framed_status caller_connect(struct caller *c, uint32_t wait_ms)
{
    enum framed_status st =
        c->tried ? framed_client_reconnect(c->client, wait_ms) : framed_client_connect(c->client, c->to->address, wait_ms);
    c->tried = true;
    misused(c, st, __func__);
    ledger_add(st == FRAMED_OK || st == FRAMED_MORE ? &c->ledger->connects : &c->ledger->unconnected, 1);
    return st;
}
