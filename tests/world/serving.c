/*
 * serving.c: owns the servers of a trial, one life after the other, and what their handlers do.
 * Must not know the clients, nor what befalls the network.
 * Invariants: what a handler saw is written down before anything is done with it; every call is answered, failed or dropped
 * once, though its connection and its server may be gone by then.
 */
#include "payload.h"
#include "trial.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 20, DRAIN_SLACK_MS = 200 };

/* ---- answers ---- */

/* What is answered: the request, a part of it, nothing, or bytes of our own. */
static struct framed_bytes answer_of(struct trial *t, struct framed_bytes body, uint64_t word)
{
    uint32_t what = word & 7;
    struct dice dice = {word};
    if (what < 4) return body;
    if (what == 4) return framed_bytes_of(NULL, 0);
    if (what == 5 && body.len > 0) {
        uint32_t from = throw_below(&dice, (uint32_t)body.len);
        return framed_bytes_of(body.at + from, throw_range(&dice, 0, (uint32_t)body.len - from));
    }
    uint32_t n = throw_below(&dice, what == 6 ? 64 : t->plan.largest);
    payload_fill(t->scratch, n, (uint32_t)word);
    return framed_bytes_of(t->scratch, n);
}

static void answer(struct trial *t, struct framed_call *call, struct framed_bytes body, struct record r, uint64_t word)
{
    struct framed_bytes bytes = answer_of(t, body, word);
    r.kind = HISTORY_ANSWERED;
    r.call = 0;
    r.len = (uint32_t)bytes.len;
    r.digest = payload_digest(bytes.at, bytes.len);
    enum framed_status st = framed_call_reply(call, bytes);
    r.status = framed_status_name(st);
    r.answer = st == FRAMED_OK ? HISTORY_GIVEN : HISTORY_VOID;
    tell(t, r);
}

static void answer_kept(struct kept *k)
{
    if (!k->open) return;
    k->open = false;
    k->trial->kept_open--;
    (void)framed_call_left_ms(k->call);
    answer(k->trial, k->call, k->body, (struct record){.who = k->life->index, .conn = k->conn, .nth = k->nth}, k->word);
}

/* Another thread, so to speak. */
static void answer_later(void *ctx)
{
    answer_kept(ctx);
}

static bool defer(struct life *life, struct framed_call *call, const struct record *r, uint64_t word)
{
    struct trial *t = life->trial;
    struct kept *k = &t->kept[t->kept_count];
    struct dice dice = {word};
    if (t->kept_count == MOST_CALLS || framed_call_defer(call, &k->call, &k->body) != FRAMED_OK) return false;
    t->kept_count++;
    t->kept_open++;
    k->trial = t;
    k->life = life;
    k->conn = r->conn;
    k->nth = r->nth;
    k->word = word;
    k->open = true;
    sim_at(throw_below(&dice, t->plan.defer_ms + 1), answer_later, k);
    return true;
}

/* From inside a handler: one that was deferred, on the loop's own thread. */
static void answer_one_of_kept(struct life *life, uint64_t word)
{
    struct trial *t = life->trial;
    if (t->kept_count == 0) return;
    struct kept *k = &t->kept[word % t->kept_count];
    if (k->life == life) answer_kept(k);
}

static void be_unkind(struct life *life, struct framed_call *call, struct framed_bytes body, struct record r, uint64_t word)
{
    struct trial *t = life->trial;
    if (word % 3 == 0 && !t->late) {
        answer(t, call, body, r, word >> 2);
        serving_drain(t, life);
        return;
    }
    if (word % 3 == 1) (void)framed_call_fail(call, FRAMED_CODE_UNKNOWN, "as planned");
    r.kind = HISTORY_ANSWERED;
    r.call = r.len = 0;
    r.digest = 0;
    r.answer = HISTORY_FAILED;
    tell(t, r);
}

/* ---- the handler ---- */

static uint32_t port_of(const struct framed_call *call)
{
    const char *colon = strrchr(framed_call_peer(call), ':');
    return colon != NULL ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0;
}

static bool is_stranger(const struct trial *t, uint32_t port)
{
    for (uint32_t i = 0; i < t->stranger_count; i++)
        if (t->stranger_ports[i] == port) return true;
    return false;
}

static void handle(void *ctx, struct framed_call *call)
{
    struct life *life = ctx;
    struct trial *t = life->trial;
    struct framed_bytes body = framed_call_body(call);
    uint32_t conn = port_of(call);
    life->handled++;
    if (is_stranger(t, conn)) {
        (void)framed_call_reply(call, body);
        return;
    }
    struct record r = {.kind = HISTORY_SAW, .who = life->index, .conn = conn, .nth = t->seen_on[conn]++};
    r.call = payload_number(body.at, body.len);
    r.len = (uint32_t)body.len;
    r.digest = payload_digest(body.at, body.len);
    tell(t, r);
    uint64_t word = mixed(t->plan.seed ^ (uint64_t)conn << 40 ^ (uint64_t)r.nth << 20 ^ 7);
    struct dice dice = {word};
    if (t->plan.replies == FRAMED_REPLIES_NONE) {
        r.kind = HISTORY_ANSWERED;
        r.call = r.len = 0;
        r.digest = 0;
        r.answer = HISTORY_VOID;
        tell(t, r);
        return;
    }
    if (throw_one_in(&dice, 8)) answer_one_of_kept(life, throw_word(&dice));
    if (throw_one_in(&dice, t->plan.unkind_one_in))
        be_unkind(life, call, body, r, throw_word(&dice));
    else if (!throw_one_in(&dice, t->plan.defer_one_in) || !defer(life, call, &r, word))
        answer(t, call, body, r, word);
}

/* ---- lives ---- */

void serving_log(void *ctx, enum framed_log_level level, const char *line)
{
    struct life *life = ctx;
    (void)level;
    if (life->trial->loud)
        printf("%12llu ms  server  %-2u  says: %s\n", (unsigned long long)sim_now_ms(), life->index, line);
}

struct life *serving_now(struct trial *t)
{
    for (uint32_t i = t->life_count; i > 0; i--)
        if (t->lives[i - 1].serves) return &t->lives[i - 1];
    return NULL;
}

static void check_end(struct life *life, enum framed_status st)
{
    struct trial *t = life->trial;
    struct framed_server_stats stats;
    framed_server_stats(life->server, &stats, sizeof stats);
    if (stats.requests != life->handled)
        trial_fail(t, "server %u counts %llu requests, and handled %llu", life->index, (unsigned long long)stats.requests,
                   (unsigned long long)life->handled);
    if (stats.replies > stats.requests) trial_fail(t, "server %u counts more replies than requests", life->index);
    if (st != FRAMED_OK && st != FRAMED_TIMEOUT) return; /* the loop failed; free will do the rest */
    if (stats.connections != 0)
        trial_fail(t, "server %u has drained, with %llu connections open", life->index,
                   (unsigned long long)stats.connections);
    if (life->drain_by_ms == 0) trial_fail(t, "server %u ended, and nobody had asked for it", life->index);
    if (life->config.drain_ms != FRAMED_NEVER && sim_now_ms() > life->drain_by_ms + t->held_up_ms)
        trial_fail(t, "server %u drained too late: at %llu ms, by %llu", life->index, (unsigned long long)sim_now_ms(),
                   (unsigned long long)(life->drain_by_ms + t->held_up_ms));
}

static void live(void *ctx)
{
    struct life *life = ctx;
    struct trial *t = life->trial;
    while (framed_server_new(&life->config, &life->server) != FRAMED_OK) framed_os_sleep_ms(RETRY_MS);
    while (framed_server_listen(life->server, TRIAL_WHERE) != FRAMED_OK) framed_os_sleep_ms(RETRY_MS);
    life->serves = true;
    note(t, "server", life->index, "listens");
    enum framed_status st = framed_server_run(life->server);
    life->serves = false;
    tell(t, (struct record){
                .kind = HISTORY_NOTE, .by = "server", .who = life->index, .text = "ends", .status = framed_status_name(st)});
    check_end(life, st);
    framed_server_free(life->server);
    life->server = NULL;
    life->ended = true;
    if (!t->over && life->index == t->life_count) serving_begin(t);
}

void serving_begin(struct trial *t)
{
    if (t->life_count == MOST_LIVES) {
        trial_fail(t, "there are no more lives");
        return;
    }
    struct life *life = &t->lives[t->life_count++];
    life->trial = t;
    life->index = t->life_count;
    purse_open(&life->purse, t, true);
    life->config = t->plan.server;
    life->config.allocator = &life->purse.allocator;
    life->config.handler = handle;
    life->config.handler_ctx = life;
    life->config.log = serving_log;
    life->config.log_ctx = life;
    life->actor = sim_add_actor(live, life);
}

void serving_drain(struct trial *t, struct life *life)
{
    if (life->doomed || (!t->over && t->life_count >= ENOUGH_LIVES)) return;
    uint32_t ms = life->config.drain_ms != 0 ? life->config.drain_ms : 30000;
    life->doomed = true;
    note(t, "server", life->index, "is to drain");
    uint64_t now = sim_now_ms();
    life->drain_by_ms = (now > life->stalled_until_ms ? now : life->stalled_until_ms) + ms + DRAIN_SLACK_MS - t->held_up_ms;
    framed_server_drain(life->server);
    if (!t->over && life->index == t->life_count && throw_one_in(&t->dice, 2))
        serving_begin(t); /* before the old one ends */
}
