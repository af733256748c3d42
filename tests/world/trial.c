/*
 * trial.c: owns one seed's trial, from its beginning to its verdict.
 * Must not know how anything is carried out.
 * Invariant: whatever the seed decides, a trial ends: with all calls told, all servers drained, and nothing left.
 */
#include "trial.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOUR_MS = 3600 * 1000, LONGEST_MS = 100 * HOUR_MS };

static struct trial *shared; /* large, and the same for all trials */

/* ---- memory ---- */

static bool is_denied(struct purse *purse)
{
    struct trial *t = purse->trial;
    return throw_one_in(&t->dice, purse->is_servers ? t->server_memory_one_in : t->client_memory_one_in);
}

/* Always moves, so that a sanitizer sees stale pointers. */
static void *resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    struct purse *purse = ctx;
    if (new_size > 0 && is_denied(purse)) return NULL;
    void *moved = new_size > 0 ? malloc(new_size) : NULL;
    if (new_size > 0 && moved == NULL) return NULL;
    if (moved != NULL && at != NULL) memcpy(moved, at, old_size < new_size ? old_size : new_size);
    free(at);
    purse->in_use += new_size - old_size;
    return moved;
}

void purse_open(struct purse *purse, struct trial *t, bool is_servers)
{
    *purse = (struct purse){.trial = t, .is_servers = is_servers};
    purse->allocator.resize = resize;
    purse->allocator.ctx = purse;
}

/* ---- writing down ---- */

void tell(struct trial *t, struct record r)
{
    r.at_us = sim_now_us();
    history_add(&t->history, &r);
    if (!t->loud) return;
    char line[256];
    history_text(&r, line, sizeof line);
    puts(line);
    fflush(stdout); /* what comes next may be the end */
}

void note(struct trial *t, const char *by, uint32_t who, const char *text)
{
    tell(t, (struct record){.kind = HISTORY_NOTE, .by = by, .who = who, .text = text});
}

void note_for(struct trial *t, const char *text, uint32_t ms)
{
    tell(t, (struct record){.kind = HISTORY_NOTE, .by = "weather", .text = text, .limit_ms = ms});
}

void trial_fail(struct trial *t, const char *format, ...)
{
    if (t->why[0] != '\0') return;
    va_list args;
    va_start(args, format);
    vsnprintf(t->why, sizeof t->why, format, args);
    va_end(args);
}

/* ---- its parts ---- */

static bool all_have_asked(void *ctx)
{
    const struct trial *t = ctx;
    return t->askers_done == t->plan.client_count || t->why[0] != '\0';
}

static bool all_is_answered(void *ctx)
{
    return ((const struct trial *)ctx)->kept_open == 0;
}

/* The last life serves, and all others are over. */
static bool one_serves(void *ctx)
{
    const struct trial *t = ctx;
    for (uint32_t i = 0; i + 1 < t->life_count; i++)
        if (!t->lives[i].ended) return false;
    const struct life *last = &t->lives[t->life_count - 1];
    return last->serves && !last->doomed;
}

static bool all_lives_are_over(void *ctx)
{
    const struct trial *t = ctx;
    for (uint32_t i = 0; i < t->life_count; i++)
        if (!t->lives[i].ended) return false;
    return true;
}

static void clear_up(struct trial *t)
{
    t->late = true;
    t->next_fault = t->plan.fault_count;
    t->server_memory_one_in = t->client_memory_one_in = 0;
    sim_fail_never();
    sim_max_handles(0);
    sim_events_per_wait(0);
    for (uint32_t i = 0; i < t->stranger_count; i++) sim_peer_reset(t->strangers[i]);
}

/* A server that nobody asks anything does not so much as look at the clock. */
static void check_quiet(struct trial *t)
{
    const struct life *last = &t->lives[t->life_count - 1];
    sim_run_ms(HOUR_MS);
    if (last->server == NULL) {
        trial_fail(t, "the last server has ended by itself");
        return;
    }
    uint64_t steps = sim_actor_steps(last->actor);
    struct framed_server_stats stats;
    framed_server_stats(last->server, &stats, sizeof stats);
    if (stats.connections != 0 || stats.open_calls != 0)
        trial_fail(t, "an hour after the last call: %llu connections, %llu open calls",
                   (unsigned long long)stats.connections, (unsigned long long)stats.open_calls);
    sim_run_ms(HOUR_MS);
    if (sim_actor_steps(last->actor) != steps) trial_fail(t, "a server without connections does not rest");
}

static void check_nothing_left(struct trial *t)
{
    if (sim_handles() != 0) trial_fail(t, "%zu descriptors are left", sim_handles());
    for (uint32_t i = 0; i < t->plan.client_count; i++)
        if (t->askers[i].purse.in_use != 0) trial_fail(t, "client %u leaves %zu bytes", i + 1, t->askers[i].purse.in_use);
    for (uint32_t i = 0; i < t->life_count; i++)
        if (t->lives[i].purse.in_use != 0) trial_fail(t, "server %u leaves %zu bytes", i + 1, t->lives[i].purse.in_use);
}

/* Steps of the trial; a later one means nothing when one before it has failed. */
static void go_on(struct trial *t)
{
    if (!sim_run_until(all_have_asked, t, LONGEST_MS)) {
        trial_fail(t, "some client has not come to its end after %u hours", LONGEST_MS / HOUR_MS);
        return;
    }
    sim_run_ms(0); /* a fault of this very moment */
    if (t->why[0] != '\0') return;
    clear_up(t);
    note(t, "trial", 0, "all have asked");
    if (!sim_run_until(all_is_answered, t, HOUR_MS) || !sim_run_until(one_serves, t, HOUR_MS)) {
        trial_fail(t, "there is no server in the end");
        return;
    }
    check_quiet(t);
    if (t->why[0] != '\0') return;
    t->over = true;
    serving_drain(t, &t->lives[t->life_count - 1]);
    if (!sim_run_until(all_lives_are_over, t, HOUR_MS)) {
        trial_fail(t, "the last drain does not end");
        return;
    }
    check_nothing_left(t);
}

static void judge(struct trial *t)
{
    char why[sizeof t->why];
    struct history_rules rules = {.slack_ms = t->plan.slack_ms};
    rules.excuse = t->plan.replies == FRAMED_REPLIES_ORDERED ? t->plan.excuse : HISTORY_ANY;
    if (t->why[0] == '\0' && !history_holds(&t->history, &rules, why, sizeof why)) trial_fail(t, "%s", why);
    if (t->begun < LEAST_CALLS) trial_fail(t, "only %u calls", t->begun);
    uint32_t faults = 0;
    for (int i = 0; i < FAULT_COUNT; i++) faults += t->felt[i];
    if (faults == 0) trial_fail(t, "no fault had an effect");
}

static void sum_up(const struct trial *t, struct trial_result *result)
{
    memset(result, 0, sizeof *result);
    result->hash = history_hash(&t->history);
    result->simulated_ms = sim_now_ms();
    result->calls = t->begun;
    result->replies = (uint32_t)history_count(&t->history, HISTORY_REPLY);
    result->not_executed = (uint32_t)history_count(&t->history, HISTORY_NOT_EXECUTED);
    result->maybe_executed = (uint32_t)history_count(&t->history, HISTORY_MAYBE_EXECUTED);
    result->lives = t->life_count;
    for (int i = 0; i < FAULT_COUNT; i++) result->faults += result->felt[i] = t->felt[i];
    snprintf(result->why, sizeof result->why, "%s", t->why);
}

void trial_run(uint64_t seed, bool loud, struct trial_result *result)
{
    if (shared == NULL) shared = calloc(1, sizeof *shared);
    struct trial *t = shared;
    if (t == NULL) abort();
    struct history history = t->history;
    memset(t, 0, sizeof *t);
    t->history = history;
    history_forget(&t->history);
    t->loud = loud;
    t->dice.state = seed ^ UINT64_C(0xa0761d6478bd642f);
    plan_make(&t->plan, seed);
    sim_start(seed);
    sim_capacity(t->plan.capacity);
    sim_delay(&t->plan.delay);
    serving_begin(t);
    asking_begin(t);
    go_on(t);
    judge(t);
    sum_up(t, result);
    if (t->why[0] == '\0')
        sim_stop();
    else
        sim_abandon();
}

void trial_forget(void)
{
    if (shared != NULL) history_free(&shared->history);
    free(shared);
    shared = NULL;
}
