/*
 * rig.h: a framed server as an actor of the simulated world, its log and its handler, for the tests in this folder.
 * Must not know anything private.
 * Invariants: rig_start and rig_stop frame one world; what the handler keeps is answered at rig_stop at the latest.
 *
 * The first byte of a request says what the handler does with it:
 *   'D' keeps it (rig->kept, rig_answer)   'F' fails it   'X' drops it   'B' replies with ten times the body
 *   'Q' echoes and drains                  anything else, and nothing at all: echoes it
 */
#ifndef FRAMED_TESTS_SIM_RIG_H
#define FRAMED_TESTS_SIM_RIG_H

#include "sim.h"
#include <framed/net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WHERE "127.0.0.1:4464"

enum { RIG_LINES = 64, RIG_LINE = 600, RIG_KEPT = 256 };

struct rig {
    struct framed_server_config config;
    struct framed_server *server;
    struct sim_actor *actor;
    enum framed_status run_status;   /* when the actor is done */
    char lines[RIG_LINES][RIG_LINE]; /* the first ones */
    size_t line_count;
    struct framed_call *kept[RIG_KEPT];
    struct framed_bytes bodies[RIG_KEPT];
    size_t kept_count;
    size_t started;                                            /* how often the handler was called */
    enum framed_status last_reply;                             /* what the handler's own last answer returned */
    void (*before)(struct rig *rig, struct framed_call *call); /* at the start of every call of the handler */
};

static inline void rig_log(void *ctx, enum framed_log_level level, const char *line)
{
    struct rig *rig = ctx;
    (void)level;
    if (rig->line_count < RIG_LINES) snprintf(rig->lines[rig->line_count], RIG_LINE, "%s", line);
    rig->line_count++;
    if (getenv("SIM_LOG")) fprintf(stderr, "%8llu ms: %s\n", (unsigned long long)sim_now_ms(), line);
}

/* How many of the lines contain the text. */
static inline size_t rig_logged(const struct rig *rig, const char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < rig->line_count && i < RIG_LINES; i++) n += strstr(rig->lines[i], text) != NULL;
    return n;
}

static inline enum framed_status rig_reply_tenfold(struct framed_call *call, struct framed_bytes body)
{
    size_t n = body.len * 10;
    uint8_t *big = malloc(n);
    assert_non_null(big);
    for (size_t i = 0; i < n; i += body.len) memcpy(big + i, body.at, body.len);
    enum framed_status st = framed_call_reply(call, framed_bytes_of(big, n));
    free(big);
    return st;
}

static inline void rig_handle(void *ctx, struct framed_call *call)
{
    struct rig *rig = ctx;
    struct framed_bytes body = framed_call_body(call);
    char what = body.len ? (char)body.at[0] : 'E';
    rig->started++;
    if (rig->before) rig->before(rig, call);
    if (rig->config.replies == FRAMED_REPLIES_NONE) return;
    if (what == 'D' && rig->kept_count < RIG_KEPT) {
        struct framed_call **kept = &rig->kept[rig->kept_count];
        rig->last_reply = framed_call_defer(call, kept, &rig->bodies[rig->kept_count]);
        if (rig->last_reply == FRAMED_OK) {
            rig->kept_count++;
            return;
        }
    }
    if (what == 'X') return;
    if (what == 'F')
        rig->last_reply = framed_call_fail(call, FRAMED_CODE_UNKNOWN, "as was asked");
    else if (what == 'B')
        rig->last_reply = rig_reply_tenfold(call, body);
    else
        rig->last_reply = framed_call_reply(call, body);
    if (what == 'Q') framed_server_drain(rig->server);
}

/* Answers a kept call with its own body. */
static inline enum framed_status rig_answer(struct rig *rig, size_t i)
{
    struct framed_call *call = rig->kept[i];
    assert_non_null(call);
    rig->kept[i] = NULL;
    return framed_call_reply(call, rig->bodies[i]);
}

static inline void rig_answer_all(struct rig *rig)
{
    for (size_t i = 0; i < rig->kept_count; i++) {
        if (rig->kept[i]) (void)rig_answer(rig, i);
    }
}

static inline void rig_run(void *ctx)
{
    struct rig *rig = ctx;
    rig->run_status = framed_server_run(rig->server);
}

/* A new world, and a configuration with all defaults; then change it, then rig_serve. */
static inline void rig_start(struct rig *rig, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    sim_start(seed);
    framed_server_config_init(&rig->config, sizeof rig->config);
    rig->config.handler = rig_handle;
    rig->config.handler_ctx = rig;
    rig->config.log = rig_log;
    rig->config.log_ctx = rig;
}

/* For tests in which anything may fail. */
static inline enum framed_status rig_try_serve(struct rig *rig)
{
    enum framed_status st = framed_server_new(&rig->config, &rig->server);
    if (st != FRAMED_OK) return st;
    st = framed_server_listen(rig->server, WHERE);
    if (st != FRAMED_OK) return st;
    rig->actor = sim_add_actor(rig_run, rig);
    return FRAMED_OK;
}

static inline void rig_serve(struct rig *rig)
{
    assert_int_equal(rig_try_serve(rig), FRAMED_OK);
}

static inline void rig_free_server(struct rig *rig)
{
    if (rig->actor && !sim_actor_done(rig->actor)) sim_actor_stop(rig->actor);
    framed_server_free(rig->server);
    rig->server = NULL;
}

static inline void rig_stop(struct rig *rig)
{
    rig_free_server(rig);
    rig_answer_all(rig);
    sim_stop();
}

static inline bool rig_is_done(void *ctx)
{
    return sim_actor_done(((struct rig *)ctx)->actor);
}

/* Drains, and gives what framed_server_run would have returned; fails when it did not end within ms. */
static inline enum framed_status rig_drain(struct rig *rig, uint64_t ms)
{
    framed_server_drain(rig->server);
    assert_true(sim_run_until(rig_is_done, rig, ms));
    return rig->run_status;
}

static inline struct framed_server_stats rig_stats(const struct rig *rig)
{
    struct framed_server_stats stats;
    framed_server_stats(rig->server, &stats, sizeof stats);
    return stats;
}

/* ---- what peers see ---- */

static inline struct sim_peer *connected(void)
{
    struct sim_peer *peer = sim_connect(WHERE);
    assert_non_null(peer);
    return peer;
}

static inline void assert_frame(struct sim_peer *peer, const void *payload, size_t n)
{
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(got.len, n);
    assert_memory_equal(got.at, payload, n);
}

static inline void assert_frame_text(struct sim_peer *peer, const char *text)
{
    assert_frame(peer, text, strlen(text));
}

static inline void assert_no_frame(struct sim_peer *peer)
{
    struct framed_bytes got = {0};
    assert_false(sim_peer_frame(peer, &got));
}

/* The peer has read the end of the stream at that time of the world, give or take the coarseness of a timer. */
static inline void assert_ended_at(const struct sim_peer *peer, uint64_t ms)
{
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    assert_in_range(sim_peer_ended_ms(peer), ms, ms + 5);
}

static inline bool is_let_go(void *ctx)
{
    return sim_peer_let_go(ctx);
}

/* The server closes its socket within ms from now; returns when, in the time of the world. */
static inline uint64_t let_go_within(struct sim_peer *peer, uint64_t ms)
{
    assert_true(sim_run_until(is_let_go, peer, ms));
    return sim_now_ms();
}

/* Asks and gets the echo now: the server works. */
static inline void assert_serves(void)
{
    struct sim_peer *peer = connected();
    sim_peer_send_frame_text(peer, "still there?");
    sim_run_ms(0);
    assert_frame_text(peer, "still there?");
    sim_peer_finish(peer);
    sim_run_ms(0);
}

/* Bytes that differ from place to place; the first is 'e', so that they are echoed. */
static inline uint8_t *pattern(size_t n)
{
    uint8_t *at = malloc(n ? n : 1);
    assert_non_null(at);
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(i * 31 + i / 251 + i / 65536);
    if (n) at[0] = 'e';
    return at;
}

/* ---- clients ---- */

static inline struct framed_client *client_with(const struct framed_client_config *config)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
    return client;
}

static inline struct framed_client_config client_config(void)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    return config;
}

static inline void assert_bytes(struct framed_bytes got, const void *at, size_t n)
{
    assert_int_equal(got.len, n);
    if (n) assert_memory_equal(got.at, at, n);
}

static inline void assert_call_echoes(struct framed_client *client, const char *text)
{
    struct framed_event event;
    assert_int_equal(framed_client_call(client, framed_bytes_str(text), 10000, &event), FRAMED_OK);
    assert_bytes(event.payload, text, strlen(text));
}

static inline uint64_t started(struct framed_client *client, const char *text, uint32_t timeout_ms)
{
    uint64_t id = 0;
    assert_int_equal(framed_client_start(client, framed_bytes_str(text), timeout_ms, &id), FRAMED_OK);
    return id;
}

/* The next event that is no WRITABLE. */
static inline struct framed_event next_event(struct framed_client *client, uint32_t wait_ms)
{
    struct framed_event event = {0};
    do assert_int_equal(framed_client_next(client, wait_ms, &event), FRAMED_OK);
    while (event.kind == FRAMED_EVENT_WRITABLE);
    return event;
}

#endif
