/*
 * Owns: `framed bench`: what it was told, in which order its parts begin and end, the line while it runs, its exit code.
 * Must not know: how a load is made (load.h), how it is reported (bench_report.h); the wire.
 * Invariants: what can be refused is refused before anything is sent; an interrupted run is reported as far as it came; files are
 * opened before the run, so that none is made in vain.
 */
#include "bench_report.h"
#include "commands.h"
#include "host.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NS_A_MS = 1000000,
    REDRAW_MS = 250,
    LINE_WIDTH = 79,
    OPEN_LOOP_PIPELINE = 1024,
    LIMITS_MOST = 16,
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
    const struct cli_options *options;
    const char *address;
    struct load_plan plan;
    struct framed_buf body;
    char sizes[60];
    struct bench_limit limits[LIMITS_MOST];
    size_t limit_count;
    struct bench_baseline baseline;
    intptr_t hdr;
    struct self self;
    struct host_bell *bell;
    struct load *load;
    struct load_result result;
    struct cli_output out;
};

static uint64_t number(const struct bench *b, enum cli_option_id id)
{
    return b->options->value[id].number;
}

static bool given(const struct bench *b, enum cli_option_id id)
{
    return b->options->value[id].given;
}

static enum cli_exit failed(const char *what, enum framed_status st)
{
    framed_host_say("%s: %s", what, framed_status_text(st));
    return framed_exit_of(st);
}

/* ---- what it was told ---- */

static enum cli_exit check_options(const struct bench *b)
{
    const char *wrong = NULL;
    if (given(b, OPT_SELF) && b->options->operands > 0)
        wrong = "--self: it is a server of its own; there is no address to give";
    else if (number(b, OPT_THREADS) > number(b, OPT_CONNECTIONS))
        wrong = "-T: more threads than connections (-c) would have nothing to do";
    else if (given(b, OPT_BASELINE) && given(b, OPT_JSON))
        wrong = "--baseline: not with --json, which says what this run did";
    else if (strncmp(b->address, "fd:", 3) == 0 && number(b, OPT_CONNECTIONS) > 1)
        wrong = "-c: a descriptor is one connection";
    if (wrong == NULL) return CLI_SUCCESS;
    framed_host_say("%s", wrong);
    return CLI_USAGE;
}

/* "64", "1KiB-4KiB". */
static bool read_sizes(struct bench *b, const char *text)
{
    char low[40];
    const char *dash = strchr(text, '-');
    uint64_t least, most;
    if (dash == NULL) {
        if (!framed_number_read(CLI_SIZE, text, &least)) return false;
        most = least;
    } else {
        if ((size_t)(dash - text) >= sizeof low) return false;
        memcpy(low, text, (size_t)(dash - text));
        low[dash - text] = '\0';
        if (!framed_number_read(CLI_SIZE, low, &least) || !framed_number_read(CLI_SIZE, dash + 1, &most)) return false;
    }
    if (least > most || most > FRAMED_FRAME_MOST) return false;
    b->plan.size_least = (uint32_t)least;
    b->plan.size_most = (uint32_t)most;
    return true;
}

static enum cli_exit too_long(uint64_t size, uint64_t most)
{
    framed_host_say("--size: a payload of %" PRIu64 " bytes; at most %" PRIu64 " are allowed (--max-frame)", size, most);
    return CLI_USAGE;
}

static enum cli_exit load_body(struct bench *b, const char *path)
{
    uint64_t most = number(b, OPT_MAX_FRAME), size = most + 1;
    enum framed_status st = framed_host_check_file(path, most, &size);
    if (st == FRAMED_OK) st = framed_host_load_file(path, (size_t)most, &b->body, framed_os_allocator());
    if (st == FRAMED_TOO_LARGE) return too_long(size, most);
    if (st != FRAMED_OK) {
        framed_host_say("cannot read %.200s: %s", path, st == FRAMED_OS ? framed_host_error() : framed_status_text(st));
        return CLI_LOCAL;
    }
    b->plan.whole = true;
    b->plan.size_least = b->plan.size_most = (uint32_t)b->body.len;
    (void)snprintf(b->sizes, sizeof b->sizes, "%zu B of %.40s", b->body.len, path);
    return CLI_SUCCESS;
}

/* Bytes of which no part looks like another, so that a shifted reply is seen. */
static enum cli_exit make_body(struct bench *b)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    size_t n = b->plan.size_most;
    if (n == 0) return CLI_SUCCESS;
    enum framed_status st = framed_buf_reserve(&b->body, n, n, framed_os_allocator());
    if (st != FRAMED_OK) return failed("cannot make the payloads", st);
    for (size_t i = 0; i < n; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        b->body.at[i] = (uint8_t)(random >> 32);
    }
    b->body.len = n;
    return CLI_SUCCESS;
}

static enum cli_exit set_sizes(struct bench *b)
{
    const char *text = b->options->value[OPT_BODY].text;
    enum cli_exit code;
    if (text[0] == '@') {
        code = load_body(b, text + 1);
    } else if (!read_sizes(b, text)) {
        framed_host_say("--size %.80s: wanted is a size like 64 or 4KiB, two with a dash between, or @ and a file", text);
        return CLI_USAGE;
    } else if (b->plan.size_most > number(b, OPT_MAX_FRAME)) {
        return too_long(b->plan.size_most, number(b, OPT_MAX_FRAME));
    } else {
        (void)snprintf(b->sizes, sizeof b->sizes,
                       b->plan.size_least == b->plan.size_most ? "%" PRIu32 " B" : "%" PRIu32 "-%" PRIu32 " B",
                       b->plan.size_least, b->plan.size_most);
        code = make_body(b);
    }
    b->plan.body = framed_bytes_of(b->body.at, b->body.len);
    return code;
}

static enum cli_exit read_limits(struct bench *b)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    while (framed_options_next(b->options, &cursor, &id, &text)) {
        if (id != OPT_FAIL_IF) continue;
        if (b->limit_count < LIMITS_MOST && framed_bench_read_limit(text, &b->limits[b->limit_count])) {
            b->limit_count++;
            continue;
        }
        framed_host_say(
            "--fail-if %.80s: wanted is one of p50, p90, p99, p99.9, p99.99, min, mean, max, rate, failed, late, then "
            "one of > >= < <=, then a value, at most %d times",
            text, LIMITS_MOST);
        return CLI_USAGE;
    }
    return CLI_SUCCESS;
}

static enum cli_exit read_baseline(struct bench *b)
{
    if (!given(b, OPT_BASELINE)) return CLI_SUCCESS;
    const char *path = b->options->value[OPT_BASELINE].text;
    struct framed_buf text = {0};
    enum framed_status st = framed_host_load_file(path, 1u << 20, &text, framed_os_allocator());
    bool good = st == FRAMED_OK && framed_bench_read_baseline(framed_bytes_of(text.at, text.len), &b->baseline);
    framed_buf_fini(&text, framed_os_allocator());
    b->baseline.path = path;
    if (good) return CLI_SUCCESS;
    framed_host_say("cannot read %.200s: %s", path,
                    st == FRAMED_OS      ? framed_host_error()
                    : st == FRAMED_NOMEM ? framed_status_text(st)
                                         : "it is not what framed bench --json prints");
    return CLI_LOCAL;
}

static enum cli_exit open_hdr(struct bench *b)
{
    if (!given(b, OPT_HDR)) return CLI_SUCCESS;
    const char *path = b->options->value[OPT_HDR].text;
    if (framed_host_create(path, &b->hdr) == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot write %.200s: %s", path, framed_host_error());
    return CLI_LOCAL;
}

static void set_plan(struct bench *b)
{
    struct load_plan *p = &b->plan;
    p->conns = (uint32_t)number(b, OPT_CONNECTIONS);
    p->threads = (uint32_t)number(b, OPT_THREADS);
    p->rate = number(b, OPT_RATE);
    p->pipeline = given(b, OPT_DEPTH) ? (uint32_t)number(b, OPT_DEPTH) : p->rate > 0 ? OPEN_LOOP_PIPELINE : 1;
    p->count = number(b, OPT_NUMBER);
    p->duration_ns = number(b, OPT_DURATION) * NS_A_MS;
    p->warmup_ns = number(b, OPT_WARMUP) * NS_A_MS;
    p->timeout_ns = number(b, OPT_TIMEOUT) == CLI_NEVER ? OS_FOREVER : number(b, OPT_TIMEOUT) * NS_A_MS;
    p->max_frame = (uint32_t)number(b, OPT_MAX_FRAME);
    p->verify = given(b, OPT_VERIFY);
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
    config.max_frame = b->plan.max_frame;
    config.max_conns = b->plan.conns + DESCRIPTOR_MARGIN;
    config.drain_ms = 1000;
    enum framed_status st = framed_server_new(&config, &b->self.server);
    if (st == FRAMED_OK) st = framed_server_listen(b->self.server, "127.0.0.1:0");
    if (st == FRAMED_OK) st = framed_server_address(b->self.server, 0, b->self.address, sizeof b->self.address);
    if (st == FRAMED_OK) st = framed_os_thread_start(&b->self.thread, serve_self, &b->self);
    b->address = b->self.address;
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
        framed_say_wrong_address(b->address, "connected");
    else
        framed_host_say("cannot connect to %.120s: %s", b->address, framed_status_text(st));
    return framed_exit_of_opening(st);
}

static enum cli_exit fit_descriptors(const struct bench *b)
{
    uint64_t have, need = DESCRIPTOR_MARGIN + (uint64_t)b->plan.threads * DESCRIPTORS_A_THREAD;
    need += b->plan.conns * (given(b, OPT_SELF) ? UINT64_C(2) : UINT64_C(1));
    framed_host_descriptors(need, &have);
    if (have >= need) return CLI_SUCCESS;
    framed_host_say("the limit of %" PRIu64 " open files does not allow %" PRIu32 " connections", have, b->plan.conns);
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
    framed_duration_text((b->plan.duration_ns + b->plan.warmup_ns) / NS_A_MS, of, sizeof of);
    (void)snprintf(text, sizeof text, "%s%s%s  ok %" PRIu64 "  failed %" PRIu64, time, b->plan.count > 0 ? "" : " of ",
                   b->plan.count > 0 ? "" : of, progress.ok, progress.failed);
    draw(text);
}

static void wait_for_end(struct bench *b)
{
    bool watched = is_watched();
    while (!framed_load_is_over(b->load)) {
        framed_host_bell_wait(b->bell, watched ? REDRAW_MS : OS_FOREVER);
        if (watched) draw_progress(b);
    }
    if (watched) draw("");
}

/* Connects, and begins if anybody could be reached. */
static void run(struct bench *b, bool *reached)
{
    while (!framed_load_is_ready(b->load)) framed_host_bell_wait(b->bell, OS_FOREVER);
    *reached = framed_load_opened(b->load) > 0;
    if (*reached)
        framed_load_go(b->load);
    else
        framed_load_stop(b->load);
    wait_for_end(b);
    framed_host_off_stop();
    framed_load_finish(b->load, &b->result);
}

static enum cli_exit start(struct bench *b)
{
    enum framed_status st = framed_address_find(b->address, false, &b->plan.where);
    if (st != FRAMED_OK) return cannot_connect(b, st);
    st = framed_host_bell_new(&b->bell, framed_os_allocator());
    if (st != FRAMED_OK) return failed("cannot start", st);
    b->plan.changed = changed;
    b->plan.ctx = b;
    st = framed_load_start(&b->load, &b->plan);
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

static enum framed_status write_hdr(void *ctx, const uint8_t *at, size_t n)
{
    const struct bench *b = ctx;
    return framed_host_write_file(b->hdr, at, n);
}

static enum cli_exit report(struct bench *b, const struct bench_report *r)
{
    framed_output_init(&b->out, FORMAT_JSON, write_out, b);
    if (given(b, OPT_JSON))
        framed_bench_json(r, &b->out);
    else
        framed_bench_text(r, &b->out);
    if (framed_output_flush(&b->out) != FRAMED_OS) return CLI_SUCCESS;
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    return CLI_LOCAL;
}

static enum cli_exit report_hdr(struct bench *b)
{
    if (b->hdr == HOST_NO_FILE) return CLI_SUCCESS;
    framed_output_init(&b->out, FORMAT_TEXT, write_hdr, b);
    framed_bench_hdr(&b->result.response, &b->out);
    enum framed_status st = framed_output_flush(&b->out);
    if (st == FRAMED_OK) st = framed_host_close_file(b->hdr);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot write %.200s: %s", b->options->value[OPT_HDR].text,
                    st == FRAMED_OS ? framed_host_error() : framed_status_text(st));
    return CLI_LOCAL;
}

static enum cli_exit judge(const struct bench *b, const struct bench_report *r)
{
    enum cli_exit code = CLI_SUCCESS;
    for (size_t i = 0; i < b->limit_count; i++) {
        bool unknown;
        char now[40];
        if (!framed_bench_is_crossed(r, &b->limits[i], &unknown, now, sizeof now)) continue;
        framed_host_say("--fail-if %.80s: %s%s", b->limits[i].text, unknown ? "too few replies to tell" : "it is ",
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
    struct bench_report r = {.address = b->address,
                             .sizes = b->sizes,
                             .plan = &b->plan,
                             .result = &b->result,
                             .baseline = b->baseline,
                             .interrupted = framed_host_stopped() != 0,
                             .utf8 = is_utf8()};
    enum cli_exit written = report(b, &r), hdr = report_hdr(b);
    if (b->result.status != FRAMED_OK) {
        framed_host_say("it could not go on: %s", framed_status_text(b->result.status));
        return CLI_LOCAL;
    }
    enum cli_exit crossed = judge(b, &r);
    if (r.interrupted) return 128 + framed_host_stopped();
    return (int)worse(worse(written, hdr), worse(crossed, code_of_failures(&b->result)));
}

static enum cli_exit prepare(struct bench *b)
{
    enum cli_exit code = check_options(b);
    if (code == CLI_SUCCESS) code = read_limits(b);
    if (code == CLI_SUCCESS) code = set_sizes(b);
    if (code == CLI_SUCCESS) code = read_baseline(b);
    if (code == CLI_SUCCESS) code = open_hdr(b);
    if (code == CLI_SUCCESS) code = fit_descriptors(b);
    if (code == CLI_SUCCESS && given(b, OPT_SELF)) code = start_self(b);
    if (code == CLI_SUCCESS) code = start(b);
    return code;
}

int framed_command_bench(const struct cli_options *options)
{
    static struct bench b; /* large */
    int cursor = 0, code;
    enum cli_option_id id;
    const char *text;
    bool reached = false;
    b.options = options;
    b.hdr = HOST_NO_FILE;
    b.address = FRAMED_ADDRESS_DEFAULT;
    while (framed_options_next(options, &cursor, &id, &text))
        if (id == OPT_OPERAND) b.address = text;
    set_plan(&b);
    code = (int)prepare(&b);
    if (code == CLI_SUCCESS) {
        run(&b, &reached);
        if (reached)
            code = sum_up(&b);
        else if (framed_host_stopped() != 0)
            code = 128 + framed_host_stopped();
        else
            code = (int)cannot_connect(&b, b.result.status != FRAMED_OK ? b.result.status : b.result.connect_status);
    }
    stop_self(&b);
    framed_host_bell_free(b.bell, framed_os_allocator());
    framed_buf_fini(&b.body, framed_os_allocator());
    return code;
}
