/*
 * asking.c: owns the clients of a trial.
 * Must not know the servers, nor what befalls the network.
 * Invariants: a call is written down as begun before anybody can see it; whatever a client is told is written down as it is.
 */
#include "payload.h"
#include "trial.h"
#include <stdio.h>
#include <string.h>

enum { CONNECT_MS = 3000, WAIT_MS = 500, RETRY_MS = 5, FINISH_MS = 20000 };

/* ---- writing down ---- */

static void begun(struct asker *a)
{
    struct record r = {.kind = HISTORY_BEGUN, .who = a->index, .call = a->number, .len = a->len};
    r.limit_ms = a->plan->limit_ms == FRAMED_NEVER ? 0 : a->plan->limit_ms;
    r.digest = payload_digest(a->payload, a->len);
    tell(a->trial, r);
    a->begun++;
    a->number = 0;
    weather_call(a->trial);
}

static void told(struct asker *a, uint32_t call, uint32_t conn, enum history_outcome outcome, enum framed_status st,
                 struct framed_bytes bytes)
{
    struct record r = {.kind = HISTORY_TOLD,
                       .who = a->index,
                       .call = call,
                       .conn = conn,
                       .outcome = outcome,
                       .status = framed_status_name(st)};
    if (outcome == HISTORY_REPLY) {
        r.len = (uint32_t)bytes.len;
        r.digest = payload_digest(bytes.at, bytes.len);
    }
    tell(a->trial, r);
}

static enum history_outcome outcome_of(const struct framed_event *event)
{
    switch (event->outcome) {
    case FRAMED_REPLY: return HISTORY_REPLY;
    case FRAMED_NOT_EXECUTED: return HISTORY_NOT_EXECUTED;
    default: return HISTORY_MAYBE_EXECUTED;
    }
}

static uint32_t port_now(const struct asker *a)
{
    return sim_actor_port(a->actor);
}

/* ---- requests ---- */

static uint32_t some_size(struct asker *a)
{
    uint32_t largest = a->trial->plan.largest;
    switch (throw_below(&a->dice, 8)) {
    case 0: return throw_below(&a->dice, PAYLOAD_NAMED);
    case 1:
    case 2: return throw_below(&a->dice, largest);
    default: return throw_below(&a->dice, largest < 300 ? largest : 300);
    }
}

/* The next request; the last one again, if that was not begun. */
static struct framed_bytes request(struct asker *a)
{
    if (a->number == 0) {
        a->number = ++a->trial->numbers;
        a->len = some_size(a);
        payload_fill(a->payload, a->len, a->number);
    }
    return framed_bytes_of(a->payload, a->len);
}

static bool has_more(const struct asker *a)
{
    return a->begun < a->plan->calls;
}

static void think(struct asker *a)
{
    if (a->plan->think_ms > 0 && throw_one_in(&a->dice, 8)) framed_os_sleep_ms(throw_below(&a->dice, a->plan->think_ms) + 1);
}

/* Nobody waits any longer for what is under way. */
static void give_up(struct asker *a)
{
    for (uint32_t i = 0; i < a->asked_count; i++)
        told(a, a->asked[i].call, a->asked[i].conn, HISTORY_MAYBE_EXECUTED, FRAMED_CLOSED, (struct framed_bytes){0});
    a->asked_count = 0;
    framed_client_free(a->client);
    a->client = NULL;
    a->has_address = false;
}

/* ---- one call after the other ---- */

/* False: perhaps the connection is over; reconnecting will tell. */
static bool asked_one(struct asker *a)
{
    struct framed_event event = {0};
    struct framed_bytes bytes = request(a);
    uint32_t call = a->number;
    begun(a);
    enum framed_status st = framed_client_call(a->client, bytes, a->plan->limit_ms, &event);
    if (st == FRAMED_USAGE) trial_fail(a->trial, "client %u: framed_client_call says USAGE", a->index);
    told(a, call, port_now(a), outcome_of(&event), st, event.payload);
    think(a);
    return st == FRAMED_OK || (st == FRAMED_TIMEOUT && event.outcome == FRAMED_MAYBE_EXECUTED);
}

static void ask_one_by_one(struct asker *a)
{
    while (has_more(a) && asked_one(a)) continue;
}

/* ---- frames that nobody answers ---- */

static void send_frames(struct asker *a)
{
    while (has_more(a)) {
        struct framed_bytes bytes = request(a), got;
        uint32_t call = a->number;
        begun(a);
        enum framed_status st = framed_client_send(a->client, bytes, WAIT_MS);
        bool goes_on = st == FRAMED_OK || st == FRAMED_FULL || st == FRAMED_TIMEOUT || st == FRAMED_TOO_LARGE;
        /* What waited for a connection that never came went nowhere: connecting goes on when a turn of the loop has failed. */
        bool never = st != FRAMED_OK && (goes_on || port_now(a) == 0);
        told(a, call, port_now(a), never ? HISTORY_NOT_EXECUTED : HISTORY_MAYBE_EXECUTED, st, (struct framed_bytes){0});
        if (!goes_on) {
            give_up(a); /* whether it was taken over is not known; nothing may follow it */
            return;
        }
        if (throw_one_in(&a->dice, 4) && framed_client_recv(a->client, 0, &got) != FRAMED_MORE) return;
        think(a);
    }
}

/* ---- many at once ---- */

/* False: no more for now. */
static bool start_one(struct asker *a)
{
    struct framed_bytes bytes = request(a);
    uint32_t call = a->number;
    uint64_t id = 0;
    enum framed_status st = framed_client_start(a->client, bytes, a->plan->limit_ms, &id);
    if (st == FRAMED_FULL) return false;
    if (st == FRAMED_USAGE) trial_fail(a->trial, "client %u: framed_client_start says USAGE", a->index);
    if (st == FRAMED_OK) a->asked[a->asked_count++] = (struct asked){id, call, port_now(a)};
    begun(a);
    if (st == FRAMED_OK) return true;
    told(a, call, 0, HISTORY_NOT_EXECUTED, st, (struct framed_bytes){0});
    a->is_cut = st != FRAMED_TOO_LARGE && st != FRAMED_NOMEM;
    return false;
}

static void start_some(struct asker *a)
{
    while (a->asked_count < a->plan->at_once && has_more(a) && !a->is_cut && start_one(a)) continue;
}

static void reply_came(struct asker *a, const struct framed_event *event)
{
    for (uint32_t i = 0; i < a->asked_count; i++) {
        struct asked asked = a->asked[i];
        if (asked.id != event->call) continue;
        a->asked[i] = a->asked[--a->asked_count];
        told(a, asked.call, asked.conn, outcome_of(event), event->status, event->payload);
        return;
    }
    trial_fail(a->trial, "client %u is told of call id %llu, which is not under way", a->index,
               (unsigned long long)event->call);
}

/* False: that was the end of the connection. */
static bool took_event(struct asker *a, const struct framed_event *event)
{
    if (event->kind == FRAMED_EVENT_REPLY) reply_came(a, event);
    if (event->kind != FRAMED_EVENT_ENDED) return true;
    if (a->asked_count > 0)
        trial_fail(a->trial, "client %u is told the end, with %u calls to be reported", a->index, a->asked_count);
    tell(a->trial,
         (struct record){
             .kind = HISTORY_ENDED, .who = a->index, .conn = port_now(a), .status = framed_status_name(event->status)});
    return false;
}

/* Somebody else's loop waits, at most so long. */
static void wait_outside(struct asker *a, uint32_t ms)
{
    struct framed_want want;
    if (framed_client_want(a->client, &want) != FRAMED_OK) trial_fail(a->trial, "framed_client_want fails");
    if (want.timeout_ms > ms) want.timeout_ms = ms;
    sim_wait_want(&want);
    if (framed_client_step(a->client) != FRAMED_OK) framed_os_sleep_ms(RETRY_MS);
}

/* True: an event, or false: none within that time. */
static bool next_event(struct asker *a, uint32_t ms, struct framed_event *event)
{
    if (a->plan->way == WAY_STEPPED) {
        enum framed_status st = framed_client_next(a->client, 0, event);
        if (st == FRAMED_OK) return true;
        wait_outside(a, ms);
        ms = 0;
    }
    enum framed_status st = framed_client_next(a->client, ms, event);
    if (st != FRAMED_OK && st != FRAMED_MORE) framed_os_sleep_ms(RETRY_MS); /* the loop failed: later, perhaps */
    return st == FRAMED_OK;
}

/* No more requests, though replies are still to come. */
static void finish_early(struct asker *a)
{
    if (!a->plan->finishes || a->finishing || a->asked_count == 0) return;
    a->finishing = framed_client_finish(a->client) == FRAMED_OK;
}

static void ask_many(struct asker *a)
{
    struct framed_event event;
    for (;;) {
        start_some(a);
        if (!has_more(a)) finish_early(a);
        if (a->asked_count == 0 && !has_more(a)) return;
        if (next_event(a, WAIT_MS, &event) && !took_event(a, &event)) return;
        if (a->asked_count == 0) think(a); /* else calls would be told late, and it were our fault */
    }
}

/* ---- from connection to connection ---- */

static bool connected(struct asker *a)
{
    if (a->client == NULL && framed_client_new(&a->plan->config, &a->client) != FRAMED_OK) return false;
    uint32_t ms = a->plan->way == WAY_STEPPED && throw_one_in(&a->dice, 2) ? 0 : CONNECT_MS;
    enum framed_status st =
        a->has_address ? framed_client_reconnect(a->client, ms) : framed_client_connect(a->client, TRIAL_WHERE, ms);
    a->has_address = true;
    a->is_cut = false;
    tell(a->trial,
         (struct record){
             .kind = HISTORY_NOTE, .by = "client", .who = a->index, .text = "connects", .status = framed_status_name(st)});
    /* USAGE: it is connected still. */
    return st == FRAMED_OK || st == FRAMED_MORE || st == FRAMED_USAGE;
}

static void ask(struct asker *a)
{
    switch (a->plan->way) {
    case WAY_BLOCKING: ask_one_by_one(a); break;
    case WAY_SENDING: send_frames(a); break;
    default: ask_many(a);
    }
}

/* Half-closes, and waits for the end, but not for ever. */
static void finish(struct asker *a)
{
    struct framed_event event;
    uint64_t until = sim_now_ms() + FINISH_MS;
    if (!a->finishing && framed_client_finish(a->client) != FRAMED_OK) return;
    while (sim_now_ms() < until)
        if (next_event(a, WAIT_MS, &event) && !took_event(a, &event)) return;
}

static void run(void *ctx)
{
    struct asker *a = ctx;
    while (has_more(a)) {
        if (!connected(a)) {
            framed_os_sleep_ms(RETRY_MS);
            if (a->client != NULL && throw_one_in(&a->dice, 4)) give_up(a);
            continue;
        }
        ask(a);
        if (a->client != NULL && has_more(a) && throw_one_in(&a->dice, 16)) give_up(a);
    }
    if (a->client != NULL && a->plan->finishes) finish(a);
    if (a->client != NULL) give_up(a);
    a->trial->askers_done++;
    note(a->trial, "client", a->index, "is done");
}

void asking_begin(struct trial *t)
{
    for (uint32_t i = 0; i < t->plan.client_count; i++) {
        struct asker *a = &t->askers[i];
        a->trial = t;
        a->plan = &t->plan.clients[i];
        a->index = i + 1;
        a->dice.state = mixed(t->plan.seed + i * UINT64_C(0x5851f42d4c957f2d));
        purse_open(&a->purse, t, false);
        t->plan.clients[i].config.allocator = &a->purse.allocator;
        a->actor = sim_add_actor(run, a);
    }
}
