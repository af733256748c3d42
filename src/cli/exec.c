/*
 * Owns: the line of requests that wait for a command, the helper threads that run them, and how a failed one is answered.
 * Must not know: processes, pipes, signals; sockets.
 * Invariants: every call is answered exactly once; while something waits and somebody sleeps, the bell has rung; all calls
 * have the same time and are begun in the order they came, so what waits is never due before what runs: when it is too late for
 * one that waits, a helper is free to say so.
 */
#include "exec.h"
#include "host.h"
#include "options.h"
#include "os.h"
#include <inttypes.h>

enum {
    GRACE_MS = 5000, /* for the command to be killed and its call to be answered, before the server does */
    LINES_A_SECOND = 10,
    WHY_SIZE = 200
};

struct waiting {
    struct waiting *next;
    struct framed_call *call;
    struct framed_bytes input;
};

struct exec {
    struct exec_config config;
    struct os_thread *helpers[EXEC_AT_ONCE];
    struct host_bell *bell;
    struct os_lock *lock; /* guards what follows */
    struct waiting *head;
    struct waiting **tail;
    bool stopping;
    uint64_t log_second; /* of the clock; lines in it, and left out since the last one */
    unsigned log_lines;
    uint64_t log_left_out;
};

uint32_t framed_exec_call_ms(uint32_t timeout_ms)
{
    return timeout_ms < FRAMED_NEVER - GRACE_MS ? timeout_ms + GRACE_MS : FRAMED_NEVER;
}

/* ---- how a run ended ---- */

static void say_end(const struct exec *e, const struct host_run *run, char *text)
{
    char amount[40];
    switch (run->end) {
    case HOST_EXITED: (void)snprintf(text, WHY_SIZE, "the command ended with status %d", run->code); return;
    case HOST_KILLED: (void)snprintf(text, WHY_SIZE, "the command was killed by signal %d", run->code); return;
    case HOST_TOO_LATE:
        framed_duration_text(e->config.timeout_ms, amount, sizeof amount);
        (void)snprintf(text, WHY_SIZE, "the command was not done after %s (--call-timeout)", amount);
        return;
    case HOST_TOO_LONG:
        framed_size_text(e->config.most, amount, sizeof amount);
        if (run->status == FRAMED_NOMEM)
            (void)snprintf(text, WHY_SIZE, "there was no memory for what the command wrote");
        else
            (void)snprintf(text, WHY_SIZE, "the command wrote more than %s (--max-frame)", amount);
        return;
    case HOST_STOPPED: (void)snprintf(text, WHY_SIZE, "the command was stopped with the server"); return;
    case HOST_NOT_STARTED:
        (void)snprintf(text, WHY_SIZE, "the command could not be started: %s",
                       run->status == FRAMED_LIMIT ? "no more descriptors or processes" : framed_status_text(run->status));
        return;
    }
}

static enum framed_code code_of(const struct host_run *run)
{
    switch (run->end) {
    case HOST_TOO_LATE: return FRAMED_CODE_DEADLINE_EXCEEDED;
    case HOST_TOO_LONG:
    case HOST_NOT_STARTED: return FRAMED_CODE_RESOURCE_EXHAUSTED;
    case HOST_STOPPED: return FRAMED_CODE_UNAVAILABLE;
    default: return FRAMED_CODE_UNKNOWN;
    }
}

/* As the server does with its own lines: so many a second, the rest is counted. */
static bool may_log(struct exec *e, uint64_t *left_out)
{
    uint64_t second = framed_os_clock_ns() / 1000000000u;
    framed_os_lock(e->lock);
    if (second != e->log_second) {
        e->log_second = second;
        e->log_lines = 0;
    }
    bool may = e->log_lines < LINES_A_SECOND;
    *left_out = e->log_left_out;
    if (may) e->log_lines++;
    e->log_left_out = may ? 0 : *left_out + 1;
    framed_os_unlock(e->lock);
    return may;
}

static void say_left_out(uint64_t lines)
{
    if (lines > 0) framed_host_say("%" PRIu64 " lines about failed commands were left out", lines);
}

static void answer_anyway(struct exec *e, struct framed_call *call, const char *why)
{
    uint64_t left_out;
    if (may_log(e, &left_out)) {
        say_left_out(left_out);
        framed_host_say("%s answered with --on-error: %s", framed_call_peer(call), why);
    }
    framed_call_reply(call, framed_bytes_str(e->config.on_error));
}

static void answer(struct exec *e, struct framed_call *call, const struct host_run *run)
{
    if (run->end == HOST_EXITED && run->code == 0) {
        framed_call_reply(call, framed_bytes_of(run->output.at, run->output.len));
        return;
    }
    char why[WHY_SIZE];
    say_end(e, run, why);
    if (e->config.on_error != NULL && run->end != HOST_STOPPED)
        answer_anyway(e, call, why);
    else
        framed_call_fail(call, code_of(run), why);
}

/* ---- the helpers ---- */

static void serve(struct exec *e, struct waiting *w)
{
    struct host_run run = {.command = e->config.command,
                           .input = w->input,
                           .most = e->config.most,
                           .timeout_ms = framed_call_left_ms(w->call),
                           .alloc = e->config.alloc,
                           .end = HOST_TOO_LATE};
    if (run.timeout_ms != FRAMED_NEVER) run.timeout_ms -= run.timeout_ms < GRACE_MS ? run.timeout_ms : GRACE_MS;
    if (run.timeout_ms > 0) framed_host_run(&run);
    answer(e, w->call, &run);
    framed_buf_fini(&run.output, run.alloc);
    e->config.alloc->resize(e->config.alloc->ctx, w, sizeof *w, 0);
}

/* Takes the first of the line, and wakes somebody for the next. NULL: *over says whether there will be no more. */
static struct waiting *take(struct exec *e, bool *over)
{
    framed_os_lock(e->lock);
    struct waiting *w = e->head;
    if (w != NULL) e->head = w->next;
    if (e->head == NULL) e->tail = &e->head;
    *over = e->stopping;
    bool more = e->head != NULL || e->stopping;
    framed_os_unlock(e->lock);
    if (more) framed_host_bell_ring(e->bell);
    return w;
}

static void help(void *ctx)
{
    struct exec *e = ctx;
    for (;;) {
        bool over;
        struct waiting *w = take(e, &over);
        if (w != NULL)
            serve(e, w);
        else if (over)
            return;
        else
            framed_host_bell_wait(e->bell, OS_FOREVER);
    }
}

void framed_exec_answer(void *ctx, struct framed_call *call)
{
    struct exec *e = ctx;
    const struct framed_allocator *alloc = e->config.alloc;
    struct waiting *w = alloc->resize(alloc->ctx, NULL, 0, sizeof *w);
    if (w == NULL || framed_call_defer(call, &w->call, &w->input) != FRAMED_OK) {
        if (w != NULL) alloc->resize(alloc->ctx, w, sizeof *w, 0);
        framed_call_fail(call, FRAMED_CODE_RESOURCE_EXHAUSTED, "no memory to run the command");
        return;
    }
    w->next = NULL;
    framed_os_lock(e->lock);
    *e->tail = w;
    e->tail = &w->next;
    framed_os_unlock(e->lock);
    framed_host_bell_ring(e->bell);
}

/* ---- life ---- */

enum framed_status framed_exec_start(struct exec **exec, const struct exec_config *config)
{
    const struct framed_allocator *alloc = config->alloc;
    struct exec *e = alloc->resize(alloc->ctx, NULL, 0, sizeof *e);
    if (e == NULL) return FRAMED_NOMEM;
    *e = (struct exec){.config = *config};
    e->tail = &e->head;
    enum framed_status st = framed_os_lock_new(&e->lock, alloc);
    if (st == FRAMED_OK) st = framed_host_bell_new(&e->bell, alloc);
    for (size_t i = 0; i < EXEC_AT_ONCE && st == FRAMED_OK; i++) st = framed_os_thread_start(&e->helpers[i], help, e);
    if (st != FRAMED_OK) {
        framed_exec_stop(e);
        return st;
    }
    *exec = e;
    return FRAMED_OK;
}

static void end_helpers(struct exec *e)
{
    framed_host_stop_runs();
    framed_os_lock(e->lock);
    e->stopping = true;
    framed_os_unlock(e->lock);
    framed_host_bell_ring(e->bell);
    for (size_t i = 0; i < EXEC_AT_ONCE; i++)
        if (e->helpers[i] != NULL) framed_os_thread_join(e->helpers[i]);
    say_left_out(e->log_left_out);
}

void framed_exec_stop(struct exec *e)
{
    if (e == NULL) return;
    if (e->bell != NULL) end_helpers(e);
    framed_host_bell_free(e->bell, e->config.alloc);
    if (e->lock != NULL) framed_os_lock_free(e->lock, e->config.alloc);
    e->config.alloc->resize(e->config.alloc->ctx, e, sizeof *e, 0);
}
