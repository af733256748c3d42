/*
 * plan.c: owns what a seed decides beforehand.
 * Must not know how it is carried out.
 * Invariants: a plan has at least LEAST_CALLS calls and one fault; no fault, limit or handler of it excuses more than the plan
 * says.
 */
#include "payload.h"
#include "trial.h"
#include <stdlib.h>
#include <string.h>

const char *const fault_names[FAULT_COUNT] = {"stalled wire",
                                              "stalled server",
                                              "stalled client",
                                              "few events a wait",
                                              "out of descriptors",
                                              "stranger",
                                              "reset",
                                              "end",
                                              "silence",
                                              "drain",
                                              "server's memory",
                                              "client's memory",
                                              "clock leap",
                                              "failing operation",
                                              "crash"};

uint64_t throw_word(struct dice *dice)
{
    return mixed(dice->state += UINT64_C(0x9e3779b97f4a7c15));
}

uint32_t throw_below(struct dice *dice, uint32_t n)
{
    return (uint32_t)((throw_word(dice) >> 32) * n >> 32);
}

uint32_t throw_range(struct dice *dice, uint32_t least, uint32_t most)
{
    return least + throw_below(dice, most - least + 1);
}

bool throw_one_in(struct dice *dice, uint32_t n)
{
    return n > 0 && throw_below(dice, n) == 0;
}

enum { PATIENT_MS = 600000 }; /* longer than anything is held up */

/* One of these, the later ones more rarely. */
static uint32_t throw_one_of(struct dice *dice, const uint32_t *list, uint32_t n)
{
    uint32_t i = throw_below(dice, n), k = throw_below(dice, n);
    return list[i < k ? i : k];
}
#define ONE_OF(dice, ...)                                                                                                   \
    throw_one_of(dice, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void plan_server(struct plan *p, struct dice *d)
{
    struct framed_server_config *c = &p->server;
    framed_server_config_init(c, sizeof *c);
    c->replies = p->replies;
    c->max_calls = ONE_OF(d, 0, 4, 1, 16, 2);
    c->max_unsent = ONE_OF(d, 0, 64 << 10, 4096, 100, 1);
    c->max_log_lines = 1000;
    c->drain_ms = ONE_OF(d, 0, 1000, 100);
    c->linger_ms = ONE_OF(d, 0, 50, 500);
    if (p->excuse != HISTORY_ANY) {
        c->frame_ms = c->idle_ms = c->send_ms = c->drain_ms = FRAMED_NEVER;
        c->linger_ms = PATIENT_MS;
        return;
    }
    c->max_frame = ONE_OF(d, 0, 64 << 10, 20000);
    c->max_conns = ONE_OF(d, 0, 4, 2, 1);
    c->max_conns_per_address = ONE_OF(d, 0, 0, 0, 3);
    c->max_memory = ONE_OF(d, 0, 8 << 20, 0, 300 << 10);
    c->frame_ms = ONE_OF(d, 0, 2000, 200);
    c->idle_ms = ONE_OF(d, 0, 5000, 300);
    c->call_ms = ONE_OF(d, 0, 2000, 100);
    c->send_ms = ONE_OF(d, 0, 1000, 100);
}

static void plan_client(struct plan *p, struct client_plan *c, struct dice *d)
{
    struct framed_client_config *config = &c->config;
    framed_client_config_init(config, sizeof *config);
    c->way = p->replies == FRAMED_REPLIES_NONE ? WAY_SENDING : (enum way)throw_below(d, WAY_SENDING);
    c->at_once = c->way == WAY_PIPELINED || c->way == WAY_STEPPED ? ONE_OF(d, 4, 16, 64, 2) : 1;
    c->limit_ms = p->excuse != HISTORY_ANY ? FRAMED_NEVER : ONE_OF(d, 5000, 500, 30000, 50, FRAMED_NEVER);
    c->think_ms = ONE_OF(d, 0, 5, 50, 1000);
    c->finishes = throw_below(d, 2) == 0;
    config->replies = p->replies;
    config->max_calls = ONE_OF(d, 0, 8, 2);
    config->max_unsent = ONE_OF(d, 0, 4096, 100000, 1);
    config->backoff_ms = ONE_OF(d, 0, 10, 1000);
    config->linger_ms = ONE_OF(d, 0, 50);
    if (p->excuse != HISTORY_ANY) {
        config->frame_ms = config->send_ms = FRAMED_NEVER;
        config->linger_ms = PATIENT_MS;
        return;
    }
    config->max_frame = ONE_OF(d, 0, 0, 50000);
    config->frame_ms = ONE_OF(d, 0, 2000, 200);
    config->idle_ms = ONE_OF(d, 0, 0, 10000, 200);
    config->send_ms = ONE_OF(d, 0, 1000, 100);
}

static bool lends_shared_key(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    (void)ctx;
    memset(key, 7, sizeof *key);
    return id.len == 2 && memcmp(id.at, "me", 2) == 0;
}

static bool lets_in(void *ctx, struct framed_peer *peer)
{
    const struct plan *p = ctx;
    return peer->key == NULL || memcmp(peer->key, p->public_keys[1].bytes, sizeof p->public_keys[1].bytes) == 0;
}

/* A server with keys, that takes what has none, too; or one that wants encryption of all. */
static void plan_keys(struct plan *p, struct dice *d)
{
    const uint32_t encrypted = 1u << FRAMED_SHARED_KEY | 1u << FRAMED_PINNED_KEYS | 1u << FRAMED_SHARED_AND_PINNED;
    static const struct framed_key shared = {
        {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7}};
    memset(&p->secret_keys[0], 1, sizeof p->secret_keys[0]);
    memset(&p->secret_keys[1], 2, sizeof p->secret_keys[1]);
    for (int i = 0; i < 2; i++)
        if (framed_key_public(&p->public_keys[i], &p->secret_keys[i]) != FRAMED_OK) return; /* without libsodium */
    bool all = throw_one_in(d, 4);
    p->server.secret_key = &p->secret_keys[0];
    p->server.shared_key = lends_shared_key;
    p->server.authorize = lets_in;
    p->server.keys_ctx = p;
    p->server.protections = encrypted | (all ? 0 : 1u << FRAMED_UNPROTECTED | 1u << FRAMED_CRC32C | 1u << FRAMED_BLAKE2B);
    for (uint32_t i = 0; i < p->client_count; i++) {
        struct framed_client_config *c = &p->clients[i].config;
        if (!all && throw_one_in(d, 3)) continue; /* as it was */
        c->protection = ONE_OF(d, FRAMED_SHARED_KEY, FRAMED_PINNED_KEYS, FRAMED_SHARED_AND_PINNED);
        if (c->protection != FRAMED_PINNED_KEYS) {
            c->shared_key = &shared;
            c->key_id = framed_bytes_str("me");
        }
        if (c->protection != FRAMED_SHARED_KEY) {
            c->secret_key = &p->secret_keys[1];
            c->peer_keys = &p->public_keys[0];
            c->peer_key_count = 1;
        }
    }
}

/* Some clients ask for checksums; the server may want them all to. */
static void plan_openings(struct plan *p, struct dice *d)
{
    bool all = throw_one_in(d, 6);
#ifdef FRAMED_SODIUM
    const uint32_t longer = FRAMED_BLAKE2B;
#else
    const uint32_t longer = FRAMED_CRC32C;
#endif
    if (all) p->server.protections = 1u << FRAMED_CRC32C | 1u << longer;
    p->server.handshake_ms = p->excuse != HISTORY_ANY ? FRAMED_NEVER : ONE_OF(d, 0, 2000);
    for (uint32_t i = 0; i < p->client_count; i++) {
        struct framed_client_config *c = &p->clients[i].config;
        if (all || throw_one_in(d, 3)) c->protection = ONE_OF(d, FRAMED_CRC32C, FRAMED_CRC32C, longer);
        c->handshake_ms =
            p->excuse != HISTORY_ANY ? FRAMED_NEVER : ONE_OF(d, 0, 2000); /* an answer may take half a second */
    }
    if (throw_one_in(d, 3)) plan_keys(p, d);
}

static void plan_fault(struct plan *p, struct fault *f, struct dice *d)
{
    static const uint32_t kinds[] = {
        [HISTORY_NONE] = FAULT_DRAIN, [HISTORY_UNGIVEN] = FAULT_DRAIN + 1, [HISTORY_ANY] = FAULT_COUNT};
    f->kind = (enum fault_kind)throw_below(d, kinds[p->excuse]);
    f->after_calls = throw_range(d, 1, p->calls * 9 / 10);
    f->ms = ONE_OF(d, 20, 200, 1, 2000);
    f->one_in = ONE_OF(d, 20, 5, 100, 2, 1);
    f->which = (uint32_t)throw_word(d);
    if (f->kind == FAULT_CLOCK) f->ms = ONE_OF(d, 1000, 60000, 100, 10000, 3600000);
}

static int by_calls(const void *a, const void *b)
{
    const struct fault *x = a, *y = b;
    if (x->after_calls != y->after_calls) return x->after_calls < y->after_calls ? -1 : 1;
    return (x->which > y->which) - (x->which < y->which); /* the same with every qsort */
}

/* How late a client may be told: as long as it may be held up by what is planned, or by itself. */
static uint32_t slack_of(const struct plan *p)
{
    uint32_t ms = 1000;
    for (uint32_t i = 0; i < p->fault_count; i++)
        if (p->faults[i].kind == FAULT_STALL_CLIENT || p->faults[i].kind == FAULT_CLOCK) ms += p->faults[i].ms;
    return ms;
}

void plan_make(struct plan *p, uint64_t seed)
{
    struct dice dice = {seed}, *d = &dice;
    memset(p, 0, sizeof *p);
    p->seed = seed;
    p->excuse = (enum history_excuse)ONE_OF(d, HISTORY_ANY, HISTORY_ANY, HISTORY_NONE, HISTORY_UNGIVEN);
    p->replies = throw_one_in(d, 12) ? FRAMED_REPLIES_NONE : FRAMED_REPLIES_ORDERED;
    p->client_count = throw_range(d, 1, MOST_CLIENTS);
    p->calls = throw_range(d, LEAST_CALLS, MOST_CALLS);
    p->capacity = ONE_OF(d, 64 << 10, 4096, 200, 20000, 1 << 20);
    p->largest = ONE_OF(d, 300, 5000, 100, 30000, MOST_PAYLOAD);
    p->delay.least_us = ONE_OF(d, 0, 100, 5000, 50000);
    p->delay.most_us = p->delay.least_us * throw_range(d, 1, 4);
    p->delay.jitter_us = ONE_OF(d, 0, 200, 2000, 30000);
    p->defer_one_in = ONE_OF(d, 4, 2, 20, 1);
    p->defer_ms = ONE_OF(d, 10, 100, 1, 3000);
    p->unkind_one_in = p->excuse == HISTORY_NONE ? 0 : ONE_OF(d, 50, 0, 20, 200);
    plan_server(p, d);
    for (uint32_t i = 0; i < p->client_count; i++) {
        plan_client(p, &p->clients[i], d);
        p->clients[i].calls = p->calls / p->client_count + (i < p->calls % p->client_count);
    }
    p->fault_count = throw_range(d, 1, MOST_FAULTS);
    for (uint32_t i = 0; i < p->fault_count; i++) plan_fault(p, &p->faults[i], d);
    qsort(p->faults, p->fault_count, sizeof *p->faults, by_calls);
    p->slack_ms = slack_of(p);
    p->server.workers = ONE_OF(d, 1, 2, 3);
    p->server.spin_us = ONE_OF(d, 0, 50);
    for (uint32_t i = 0; i < p->client_count; i++) p->clients[i].config.spin_us = ONE_OF(d, 0, 50);
    plan_openings(p, d);
}
