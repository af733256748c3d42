/*
 * Owns: `framed bench`: in which order its parts begin and end, the server of --self, the line while it runs, its exit code.
 * Must not know: how it was told (cmd_bench.h), how a load is made (load.h), how it is reported (bench_report.h); the wire.
 * Invariants: nothing is sent unless somebody was reached; an interrupted run is reported as far as it came.
 */
#include "cmd_bench.h"
#include "host.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NS_A_MS = 1000000,
    REDRAW_MS = 250,
    LOOK_MS = 1000, /* a bell that was not heard costs no more */
    LINE_WIDTH = 79,
    DESCRIPTOR_MARGIN = 32,
    DESCRIPTORS_A_THREAD = 4
};

/* The echo server of --self. */
struct self {
    struct framed_server *server;
    struct os_thread *thread;
    char address[OS_ADDRESS_TEXT_SIZE];
};

struct bench {
    struct bench_told told;
    struct self self;
    struct host_bell *bell;
    struct load *load;
    struct load_result result;
    struct cli_output out;
};

static enum cli_exit failed(const char *what, enum framed_status st)
{
    framed_host_say("%s: %s", what, framed_status_text(st));
    return framed_exit_of(st);
}

/* ---- the server of --self ---- */

static void answer_echo(void *ctx, struct framed_call *call)
{
    (void)ctx;
    (void)framed_call_reply(call, framed_call_body(call)); /* the server counts what fails */
}

static void serve_self(void *ctx)
{
    struct self *self = ctx;
    enum framed_status st = framed_server_run(self->server);
    if (st != FRAMED_OK && st != FRAMED_TIMEOUT) framed_host_say("the server failed: %s", framed_status_text(st));
}

static enum cli_exit start_self(struct bench *b)
{
    struct framed_server_config config;
    framed_server_config_init(&config, sizeof config);
    config.handler = answer_echo;
    config.max_frame = b->told.plan.max_frame;
    config.max_conns = b->told.plan.conns + DESCRIPTOR_MARGIN;
    config.drain_ms = 1000;
    enum framed_status st = framed_server_new(&config, &b->self.server);
    if (st == FRAMED_OK) st = framed_server_listen(b->self.server, "127.0.0.1:0");
    if (st == FRAMED_OK) st = framed_server_address(b->self.server, 0, b->self.address, sizeof b->self.address);
    if (st == FRAMED_OK) st = framed_os_thread_start(&b->self.thread, serve_self, &b->self);
    b->told.address = b->self.address;
    return st == FRAMED_OK ? CLI_SUCCESS : failed("cannot start a server", st);
}

static void stop_self(struct bench *b)
{
    if (b->self.server != NULL) framed_server_drain(b->self.server);
    if (b->self.thread != NULL) framed_os_thread_join(b->self.thread);
    framed_server_free(b->self.server);
}

/* ---- the run ---- */

static enum cli_exit cannot_connect(const struct bench *b, enum framed_status st)
{
    if (st == FRAMED_USAGE)
        framed_say_wrong_address(b->told.address, "connected");
    else if (b->result.peer_most != 0)
        framed_host_say("cannot connect to %.120s: a frame has up to %" PRIu32
                        " bytes; the other end accepts at most %" PRIu32,
                        b->told.address, b->told.plan.size_most, b->result.peer_most);
    else
        framed_host_say("cannot connect to %.120s: %s", b->told.address,
                        b->result.opening[0] != '\0' ? b->result.opening : framed_status_text(st));
    return b->result.peer_most != 0 ? CLI_LOCAL : framed_exit_of_opening(st);
}

static enum cli_exit fit_descriptors(const struct bench *b)
{
    uint64_t have, need = DESCRIPTOR_MARGIN + (uint64_t)b->told.plan.threads * DESCRIPTORS_A_THREAD;
    need += b->told.plan.conns * (bench_given(&b->told, OPT_SELF) ? UINT64_C(2) : UINT64_C(1));
    framed_host_descriptors(need, &have);
    if (have >= need) return CLI_SUCCESS;
    framed_host_say("the limit of %" PRIu64 " open files does not allow %" PRIu32 " connections", have, b->told.plan.conns);
    return CLI_LOCAL;
}

static void changed(void *ctx)
{
    struct bench *b = ctx;
    framed_host_bell_ring(b->bell);
}

static void stop(void *ctx)
{
    struct bench *b = ctx;
    framed_load_stop(b->load);
}

static bool is_watched(void)
{
    const char *term = getenv("TERM");
    return framed_host_is_terminal(HOST_ERROR) && (term == NULL || strcmp(term, "dumb") != 0);
}

/* Redrawn in place; an empty text clears it. */
static void draw(const char *text)
{
    char line[LINE_WIDTH + 3];
    int n = snprintf(line, sizeof line, "\r%-*.*s\r", LINE_WIDTH, LINE_WIDTH, text);
    if (n > 0) framed_host_write_error((const uint8_t *)line, strlen(line));
}

static void draw_progress(const struct bench *b)
{
    struct load_progress progress;
    char text[160], time[40], of[40] = "";
    framed_load_progress(b->load, &progress);
    uint64_t ns = progress.begun_ns > 0 ? framed_os_clock_ns() - progress.begun_ns : 0;
    framed_duration_text(ns / (1000 * (uint64_t)NS_A_MS) * 1000, time, sizeof time);
    framed_duration_text((b->told.plan.duration_ns + b->told.plan.warmup_ns) / NS_A_MS, of, sizeof of);
    (void)snprintf(text, sizeof text, "%s%s%s  ok %" PRIu64 "  failed %" PRIu64, time, b->told.plan.count > 0 ? "" : " of ",
                   b->told.plan.count > 0 ? "" : of, progress.ok, progress.failed);
    draw(text);
}

static void wait_for_end(struct bench *b)
{
    bool watched = is_watched();
    while (!framed_load_is_over(b->load)) {
        framed_host_bell_wait(b->bell, watched ? REDRAW_MS : LOOK_MS);
        if (watched) draw_progress(b);
    }
    if (watched) draw("");
}

/* Connects, and begins if anybody could be reached and there is where to write. */
static enum cli_exit run(struct bench *b, bool *reached)
{
    while (!framed_load_is_ready(b->load)) framed_host_bell_wait(b->bell, LOOK_MS);
    *reached = framed_load_opened(b->load) > 0;
    enum cli_exit code = *reached ? framed_bench_open_files(&b->told) : CLI_SUCCESS;
    if (*reached && code == CLI_SUCCESS)
        framed_load_go(b->load);
    else
        framed_load_stop(b->load);
    wait_for_end(b);
    framed_host_off_stop();
    framed_load_finish(b->load, &b->result);
    return code;
}

static enum cli_exit start(struct bench *b)
{
    enum framed_status st = framed_address_find(b->told.address, false, &b->told.plan.where);
    if (st != FRAMED_OK) return cannot_connect(b, st);
    st = framed_host_bell_new(&b->bell, framed_os_allocator());
    if (st != FRAMED_OK) return failed("cannot start", st);
    b->told.plan.changed = changed;
    b->told.plan.ctx = b;
    st = framed_load_start(&b->load, &b->told.plan);
    if (st != FRAMED_OK) return failed("cannot start a load", st);
    if (framed_host_on_stop(stop, b) == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot catch signals: %s", framed_host_error());
    framed_load_stop(b->load);
    framed_load_finish(b->load, &b->result);
    return CLI_LOCAL;
}

/* ---- the report ---- */

/* By the environment, as every program does. */
static bool is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || value[0] == '\0') continue;
        return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL;
    }
    return false;
}

static enum framed_status write_out(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    return framed_host_write(at, n);
}

static enum framed_status write_file(void *ctx, const uint8_t *at, size_t n)
{
    return framed_host_write_file(*(intptr_t *)ctx, at, n);
}

static enum cli_exit report(struct bench *b, const struct bench_report *r)
{
    framed_output_init(&b->out, FORMAT_JSON, write_out, b);
    if (bench_given(&b->told, OPT_JSON))
        framed_bench_json(r, &b->out);
    else
        framed_bench_text(r, &b->out);
    if (framed_output_flush(&b->out) != FRAMED_OS) return CLI_SUCCESS;
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    return CLI_LOCAL;
}

static void put_hdr(const struct bench_report *r, struct cli_output *out)
{
    framed_bench_hdr(&r->result->response, out);
}

/* Into the file that option `id` named, if it was given. */
static enum cli_exit report_into(struct bench *b, const struct bench_report *r, enum cli_option_id id, intptr_t *file,
                                 void (*put)(const struct bench_report *, struct cli_output *))
{
    if (*file == HOST_NO_FILE) return CLI_SUCCESS;
    framed_output_init(&b->out, FORMAT_TEXT, write_file, file);
    put(r, &b->out);
    enum framed_status st = framed_output_flush(&b->out);
    if (st == FRAMED_OK) st = framed_host_close_file(*file);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot write %.200s: %s", b->told.options->value[id].text,
                    st == FRAMED_OS ? framed_host_error() : framed_status_text(st));
    return CLI_LOCAL;
}

static enum cli_exit judge(const struct bench *b, const struct bench_report *r)
{
    enum cli_exit code = CLI_SUCCESS;
    for (size_t i = 0; i < b->told.limit_count; i++) {
        bool unknown;
        char now[40];
        if (!framed_bench_is_crossed(r, &b->told.limits[i], &unknown, now, sizeof now)) continue;
        framed_host_say("--fail-if %.80s: %s%s", b->told.limits[i].text, unknown ? "too few replies to tell" : "it is ",
                        unknown ? "" : now);
        code = CLI_CROSSED;
    }
    return code;
}

static enum cli_exit code_of_failures(const struct load_result *r)
{
    if (r->failed[LOAD_PROTOCOL] + r->failed[LOAD_UNASKED] > 0) return CLI_PROTOCOL;
    return framed_bench_failed(r) > 0 ? CLI_SOME_FAILED : CLI_SUCCESS;
}

static enum cli_exit worse(enum cli_exit a, enum cli_exit b)
{
    return a != CLI_SUCCESS ? a : b;
}

static int sum_up(struct bench *b)
{
    struct bench_report r = {.address = b->told.address,
                             .sizes = b->told.sizes,
                             .plan = &b->told.plan,
                             .result = &b->result,
                             .baseline = b->told.baseline,
                             .interrupted = framed_host_stopped() != 0,
                             .utf8 = is_utf8()};
    enum cli_exit written = report(b, &r), hdr = report_into(b, &r, OPT_HDR, &b->told.hdr, put_hdr),
                  plot = report_into(b, &r, OPT_PLOT, &b->told.plot, framed_bench_plot);
    if (b->result.status != FRAMED_OK) {
        framed_host_say("it could not go on: %s", framed_status_text(b->result.status));
        return CLI_LOCAL;
    }
    if (b->result.opening[0] != '\0') framed_host_say("a connection was of no use: %s", b->result.opening);
    enum cli_exit crossed = judge(b, &r);
    if (r.interrupted) return 128 + framed_host_stopped();
    return (int)worse(worse(written, worse(hdr, plot)), worse(crossed, code_of_failures(&b->result)));
}

/* After a run: what became of it. */
static int tell(struct bench *b, bool reached)
{
    if (reached) return sum_up(b);
    if (framed_host_stopped() != 0) return 128 + framed_host_stopped();
    return (int)cannot_connect(b, b->result.status != FRAMED_OK ? b->result.status : b->result.connect_status);
}

static enum cli_exit prepare(struct bench *b, const struct cli_options *options)
{
    enum cli_exit code = framed_bench_read_options(&b->told, options);
    if (code == CLI_SUCCESS) code = fit_descriptors(b);
    if (code == CLI_SUCCESS && bench_given(&b->told, OPT_SELF)) code = start_self(b);
    if (code == CLI_SUCCESS) code = start(b);
    return code;
}

int framed_command_bench(const struct cli_options *options)
{
    static struct bench b; /* large */
    bool reached = false;
    int code = (int)prepare(&b, options);
    if (code == CLI_SUCCESS) code = (int)run(&b, &reached);
    if (code == CLI_SUCCESS) code = tell(&b, reached);
    stop_self(&b);
    framed_host_bell_free(b.bell, framed_os_allocator());
    framed_bench_forget(&b.told);
    return code;
}
