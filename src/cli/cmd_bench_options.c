/*
 * Owns: what `framed bench` was told: sizes and payloads, limits, the earlier run, the file of percentiles.
 * Must not know: how a load is made; sockets.
 * Invariants: what can be refused is refused here, before anything is sent; a file is emptied only when nothing else is wrong.
 */
#include "cmd_bench.h"
#include "host.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NS_A_MS = 1000000, OPEN_LOOP_PIPELINE = 1024 };

static uint64_t number(const struct bench_told *b, enum cli_option_id id)
{
    return b->options->value[id].number;
}

static enum cli_exit check_options(const struct bench_told *b)
{
    const char *wrong = NULL;
    if (bench_given(b, OPT_SELF) && b->options->operands > 0)
        wrong = "--self: it is a server of its own; there is no address to give";
    else if (bench_given(b, OPT_SELF) && (bench_given(b, OPT_KEY) || bench_given(b, OPT_PSK_FILE)))
        wrong = "--self: its server has no keys; framed serve has";
    else if (number(b, OPT_THREADS) > number(b, OPT_CONNECTIONS))
        wrong = "-T: more threads than connections (-c) would have nothing to do";
    else if (bench_given(b, OPT_BASELINE) && bench_given(b, OPT_JSON))
        wrong = "--baseline: not with --json, which says what this run did";
    else if (strncmp(b->address, "fd:", 3) == 0 && number(b, OPT_CONNECTIONS) > 1)
        wrong = "-c: a descriptor is one connection";
    if (wrong == NULL) return CLI_SUCCESS;
    framed_host_say("%s", wrong);
    return CLI_USAGE;
}

/* "64", "1KiB-4KiB". */
static bool read_sizes(struct bench_told *b, const char *text)
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

static enum cli_exit load_body(struct bench_told *b, const char *path)
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
static enum cli_exit make_body(struct bench_told *b)
{
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    size_t n = b->plan.size_most;
    if (n == 0) return CLI_SUCCESS;
    enum framed_status st = framed_buf_reserve(&b->body, n, n, framed_os_allocator());
    if (st != FRAMED_OK) {
        framed_host_say("cannot make the payloads: %s", framed_status_text(st));
        return framed_exit_of(st);
    }
    for (size_t i = 0; i < n; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        b->body.at[i] = (uint8_t)(random >> 32);
    }
    b->body.len = n;
    return CLI_SUCCESS;
}

static enum cli_exit set_sizes(struct bench_told *b)
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
    b->plan.body = framed_bytes_of(b->body.at != NULL ? (const void *)b->body.at : "", b->body.len);
    return code;
}

static enum cli_exit read_limits(struct bench_told *b)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    while (framed_options_next(b->options, &cursor, &id, &text)) {
        if (id != OPT_FAIL_IF) continue;
        if (b->limit_count < BENCH_LIMITS_MOST && framed_bench_read_limit(text, &b->limits[b->limit_count])) {
            b->limit_count++;
            continue;
        }
        framed_host_say(
            "--fail-if %.80s: wanted is one of p50, p90, p99, p99.9, p99.99, min, mean, max, rate, failed, late, then "
            "one of > >= < <=, then a value, at most %d times",
            text, BENCH_LIMITS_MOST);
        return CLI_USAGE;
    }
    return CLI_SUCCESS;
}

static enum cli_exit read_baseline(struct bench_told *b)
{
    if (!bench_given(b, OPT_BASELINE)) return CLI_SUCCESS;
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

static enum cli_exit create(const struct bench_told *b, enum cli_option_id id, intptr_t *file)
{
    if (!bench_given(b, id)) return CLI_SUCCESS;
    const char *path = b->options->value[id].text;
    if (framed_host_create(path, file) == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot write %.200s: %s", path, framed_host_error());
    return CLI_LOCAL;
}

static void set_plan(struct bench_told *b)
{
    struct load_plan *p = &b->plan;
    p->conns = (uint32_t)number(b, OPT_CONNECTIONS);
    p->threads = (uint32_t)number(b, OPT_THREADS);
    p->rate = number(b, OPT_RATE);
    p->pipeline = bench_given(b, OPT_DEPTH) ? (uint32_t)number(b, OPT_DEPTH) : p->rate > 0 ? OPEN_LOOP_PIPELINE : 1;
    p->count = number(b, OPT_NUMBER);
    p->duration_ns = number(b, OPT_DURATION) * NS_A_MS;
    p->warmup_ns = number(b, OPT_WARMUP) * NS_A_MS;
    p->timeout_ns = number(b, OPT_TIMEOUT) == CLI_NEVER ? OS_FOREVER : number(b, OPT_TIMEOUT) * NS_A_MS;
    p->max_frame = (uint32_t)number(b, OPT_MAX_FRAME);
    p->verify = bench_given(b, OPT_VERIFY);
}

static enum cli_exit set_keys(struct bench_told *b)
{
    enum cli_exit code = framed_keyring_load(&b->ring, b->options, b->address);
    b->plan.protection = b->ring.protection;
    return code == CLI_SUCCESS ? framed_keyring_terms(&b->ring, b->plan.max_frame, &b->plan.terms) : code;
}

/* What a frame with a checksum has room for. */
static enum cli_exit check_sizes(const struct bench_told *b)
{
    const uint32_t most = FRAMED_FRAME_MOST - framed_sum_size(b->plan.protection);
    if (b->plan.protection == FRAMED_UNPROTECTED || b->plan.size_most <= most) return CLI_SUCCESS;
    framed_host_say("--size: %" PRIu32 " bytes; at most %" PRIu32 " are allowed with --checksum", b->plan.size_most, most);
    return CLI_USAGE;
}

enum cli_exit framed_bench_read_options(struct bench_told *b, const struct cli_options *options)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    b->options = options;
    b->hdr = b->plot = HOST_NO_FILE;
    b->address = FRAMED_ADDRESS_DEFAULT;
    while (framed_options_next(options, &cursor, &id, &text))
        if (id == OPT_OPERAND) b->address = text;
    set_plan(b);
    enum cli_exit code = framed_option_congestion(options, &b->plan.congestion);
    if (code == CLI_SUCCESS) code = check_options(b);
    if (code == CLI_SUCCESS) code = set_keys(b);
    if (code == CLI_SUCCESS) code = read_limits(b);
    if (code == CLI_SUCCESS) code = set_sizes(b);
    if (code == CLI_SUCCESS) code = check_sizes(b);
    if (code == CLI_SUCCESS) code = read_baseline(b);
    return code;
}

void framed_bench_forget(struct bench_told *b)
{
    framed_keyring_free(&b->ring);
    framed_buf_fini(&b->body, framed_os_allocator());
}

enum cli_exit framed_bench_open_files(struct bench_told *b)
{
    enum cli_exit code = create(b, OPT_HDR, &b->hdr);
    return code == CLI_SUCCESS ? create(b, OPT_PLOT, &b->plot) : code;
}
