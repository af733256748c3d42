/*
 * Owns: the report of a load as people read it: what was done, the table of times, the picture, what failed, what to doubt.
 * Must not know: how the load was made; where it is printed.
 * Invariants: what failed is in the counts, and every kind of it is named; a percentile is told only when ten values lie beyond it;
 * the shares of the picture add up to all that was timed.
 */
#include "bench_report.h"
#include "options.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BAR_WIDTH = 40, ROWS_MOST = 12, BUSY_LIMIT = 90, LATE_LIMIT = 100 /* one in so many */ };

const unsigned framed_bench_shares[BENCH_SHARES] = {5000, 9000, 9900, 9990, 9999};
const char *const framed_bench_share_keys[BENCH_SHARES] = {"p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns"};
const char *const framed_bench_share_names[BENCH_SHARES] = {"p50", "p90", "p99", "p99.9", "p99.99"};
const char *const framed_bench_failures[LOAD_FAILURES] = {
    [LOAD_CONNECT] = "connect",   [LOAD_TIMEOUT] = "timeout",   [LOAD_CLOSED] = "closed",     [LOAD_RESET] = "reset",
    [LOAD_PROTOCOL] = "protocol", [LOAD_MISMATCH] = "mismatch", [LOAD_NOT_SENT] = "not_sent", [LOAD_UNASKED] = "unasked"};

/* ---- figures ---- */

uint64_t framed_bench_failed(const struct load_result *r)
{
    uint64_t sum = 0;
    for (int i = 0; i < LOAD_FAILURES; i++) sum += r->failed[i];
    return sum;
}

uint64_t framed_bench_sent(const struct load_result *r)
{
    return r->ok + r->pending + framed_bench_failed(r) - r->failed[LOAD_CONNECT] - r->failed[LOAD_NOT_SENT] -
           r->failed[LOAD_UNASKED];
}

uint64_t framed_bench_rate(const struct load_result *r)
{
    uint64_t ns = r->end_ns - r->begin_ns;
    return ns == 0 ? 0 : (uint64_t)((double)r->ok * 1e9 / (double)ns + 0.5);
}

unsigned framed_bench_busy(const struct load_result *r)
{
    if (r->ran_ns == 0 || r->idle_ns > r->ran_ns) return 0;
    return (unsigned)((double)(r->ran_ns - r->idle_ns) * 100 / (double)r->ran_ns + 0.5);
}

bool framed_bench_is_limit(const struct bench_report *report)
{
    const struct load_result *r = report->result;
    bool late = report->plan->rate > 0 && (r->late - r->held) * LATE_LIMIT > framed_bench_sent(r);
    return framed_bench_busy(r) >= BUSY_LIMIT || late;
}

/* ---- lines ---- */

static void put_times(struct cli_output *out, const char *text, uint64_t times)
{
    for (; times > 0; times--) framed_output_text(out, text);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void print_head(const struct bench_report *b, struct cli_output *out)
{
    const struct load_plan *p = b->plan;
    char time[40];
    framed_output_print(out, "bench %.120s  %" PRIu32 " connection%s  %" PRIu32 " thread%s", b->address, p->conns,
                        plural(p->conns), p->threads, plural(p->threads));
    if (p->rate == 0 && p->pipeline > 1) framed_output_print(out, "  %" PRIu32 " in flight each", p->pipeline);
    framed_output_print(out, "  %.60s", b->sizes);
    if (p->rate > 0)
        framed_output_print(out, "  open loop %" PRIu64 "/s", p->rate);
    else
        framed_output_print(out, "  closed loop");
    framed_duration_text(p->duration_ns / 1000000, time, sizeof time);
    if (p->count > 0)
        framed_output_print(out, "  %" PRIu64 " request%s", p->count, plural(p->count));
    else
        framed_output_print(out, "  %s", time);
    framed_duration_text(p->warmup_ns / 1000000, time, sizeof time);
    if (p->warmup_ns > 0) framed_output_print(out, " (+%s warm-up)", time);
    framed_output_print(out, b->interrupted ? "  INTERRUPTED\n" : "\n");
}

/* ---- the table ---- */

struct column {
    const char *name;
    const struct cli_histogram *h; /* NULL: the baseline's */
};

enum { COLUMNS_MOST = 3, COLUMN_WIDTH = 12 };

static bool share_of(const struct bench_report *b, const struct column *c, int share, uint64_t *ns)
{
    if (c->h != NULL) return framed_histogram_share(c->h, framed_bench_shares[share], 10000, ns);
    *ns = b->baseline.share_ns[share];
    return b->baseline.known[share];
}

static void print_cell(struct cli_output *out, bool known, uint64_t ns)
{
    char text[40];
    framed_output_print(out, "%*s", COLUMN_WIDTH, known ? framed_time_text(ns, text, sizeof text) : "-");
}

static size_t columns_of(const struct bench_report *b, struct column c[COLUMNS_MOST])
{
    size_t n = 0;
    bool open = b->plan->rate > 0;
    c[n++] = (struct column){open ? "response" : "latency", &b->result->response};
    if (open) c[n++] = (struct column){"service", &b->result->service};
    if (b->baseline.path != NULL) c[n++] = (struct column){"baseline", NULL};
    return n;
}

static void print_table(const struct bench_report *b, struct cli_output *out)
{
    struct column c[COLUMNS_MOST];
    size_t n = columns_of(b, c);
    framed_output_print(out, "\n%8s", "");
    for (size_t i = 0; i < n; i++) framed_output_print(out, "%*s", COLUMN_WIDTH, c[i].name);
    framed_output_print(out, b->plan->rate > 0
                                 ? "   (response: from the intended send; service: from the actual send)\n"
                                 : "   (closed loop: it waits for replies, tails look better than users see)\n");
    for (int share = 0; share < BENCH_SHARES; share++) {
        framed_output_print(out, "  %-6s", framed_bench_share_names[share]);
        for (size_t i = 0; i < n; i++) {
            uint64_t ns = 0;
            bool known = share_of(b, &c[i], share, &ns);
            print_cell(out, known, ns);
        }
        framed_output_print(out, "\n");
    }
    framed_output_print(out, "  %-6s", "max");
    for (size_t i = 0; i < n; i++)
        print_cell(out, c[i].h == NULL || c[i].h->count > 0, c[i].h != NULL ? c[i].h->most : b->baseline.max_ns);
    framed_output_print(out, "\n");
}

/* ---- the picture ---- */

/* 1, 2, 5, 10, 20, 50, ... ns; or 1, 10, 100, ... */
static uint64_t next_bound(uint64_t bound, bool decades)
{
    uint64_t leading = bound;
    while (leading >= 10) leading /= 10;
    return decades ? bound * 10 : leading == 2 ? bound / 2 * 5 : bound * 2;
}

static uint64_t first_bound(uint64_t least, bool decades)
{
    uint64_t bound = 1;
    while (next_bound(bound, decades) <= least) bound = next_bound(bound, decades);
    return bound;
}

static unsigned rows_of(const struct cli_histogram *h, bool decades)
{
    unsigned rows = 0;
    uint64_t bound = first_bound(h->least, decades);
    while (bound < h->most) {
        bound = next_bound(bound, decades);
        rows++;
    }
    return rows > 0 ? rows : 1;
}

/* "20-50 us", "0.5-1 ms": in the unit of the greater. */
static void range_text(uint64_t low, uint64_t high, char *text, size_t room)
{
    double unit = high < 1000000 ? 1e3 : high < 1000000000 ? 1e6 : 1e9;
    const char *name = high < 1000000 ? "us" : high < 1000000000 ? "ms" : "s";
    (void)snprintf(text, room, "%g-%g %s", (double)low / unit, (double)high / unit, name);
}

static void print_bar(const struct bench_report *b, struct cli_output *out, uint64_t n, uint64_t most, uint64_t all)
{
    uint64_t eighths = (uint64_t)((double)n * BAR_WIDTH * 8 / (double)most);
    static const char *const parts[] = {"", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589"};
    uint64_t whole = eighths / 8, drawn = whole + (eighths % 8 > 0);
    if (eighths == 0 && n > 0) drawn = 1; /* at least one mark for what is there at all */
    if (b->utf8) {
        put_times(out, "\u2588", whole);
        framed_output_text(out, parts[eighths == 0 && n > 0 ? 1 : eighths % 8]);
    } else {
        put_times(out, "#", drawn);
    }
    put_times(out, " ", BAR_WIDTH - drawn);
    framed_output_print(out, "  %5.1f%%\n", (double)n * 100 / (double)all);
}

static void print_picture(const struct bench_report *b, struct cli_output *out)
{
    const struct cli_histogram *h = &b->result->response;
    if (h->count == 0) return;
    bool decades = rows_of(h, false) > ROWS_MOST;
    unsigned rows = rows_of(h, decades);
    uint64_t counts[64] = {0}, most = 1, before = 0;
    uint64_t low = first_bound(h->least, decades), bound = low;
    if (rows > 64) rows = 64;
    for (unsigned i = 0; i < rows; i++) {
        bound = next_bound(bound, decades);
        uint64_t up_to = i + 1 == rows ? h->count : framed_histogram_up_to(h, bound);
        counts[i] = up_to - before;
        before = up_to;
        if (counts[i] > most) most = counts[i];
    }
    framed_output_print(out, "\n");
    for (unsigned i = 0; i < rows; i++, low = next_bound(low, decades)) {
        char range[60];
        range_text(low, next_bound(low, decades), range, sizeof range);
        framed_output_print(out, "  %-12s ", range);
        print_bar(b, out, counts[i], most, h->count);
    }
}

static void print_series(const struct bench_report *b, struct cli_output *out)
{
    static const char *const blocks[] = {"\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588"};
    static const char *const marks[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
    const struct cli_series *s = &b->result->series;
    uint64_t ns, most = 1;
    char time[40];
    if (s->used < 2) return;
    for (unsigned i = 0; i < s->used; i++)
        if (framed_series_at(s, i, 99, &ns) && ns > most) most = ns;
    framed_duration_text(s->width_ns / 1000000, time, sizeof time);
    framed_output_print(out, "  p99 by %s  ", s->width_ns == UINT64_C(1000000000) ? "second" : time);
    for (unsigned i = 0; i < s->used; i++) {
        if (!framed_series_at(s, i, 99, &ns))
            framed_output_text(out, " "); /* no reply at all */
        else
            framed_output_text(out, (b->utf8 ? blocks : marks)[(unsigned)((double)ns * 7 / (double)most)]);
    }
    framed_output_print(out, "  (up to %s)\n", framed_time_text(most, time, sizeof time));
}

/* ---- the counts ---- */

static void print_failures(const struct load_result *r, struct cli_output *out)
{
    const char *before = ": ";
    for (int i = 0; i < LOAD_FAILURES; i++) {
        if (r->failed[i] == 0) continue;
        framed_output_print(out, "%s%s %" PRIu64, before, framed_bench_failures[i], r->failed[i]);
        before = ", ";
    }
}

static void print_counts(const struct bench_report *b, struct cli_output *out)
{
    const struct load_result *r = b->result;
    const struct load_plan *p = b->plan;
    uint64_t rate = framed_bench_rate(r);
    framed_output_print(out, "\n  sent %" PRIu64 "  ok %" PRIu64 "  failed %" PRIu64, framed_bench_sent(r), r->ok,
                        framed_bench_failed(r));
    print_failures(r, out);
    if (r->pending > 0) framed_output_print(out, "  pending %" PRIu64, r->pending);
    if (p->verify) framed_output_print(out, r->failed[LOAD_MISMATCH] > 0 ? "  verified NO" : "  verified yes");
    if (p->rate > 0)
        framed_output_print(out, "  achieved %" PRIu64 "/s of %" PRIu64 "/s", rate, p->rate);
    else
        framed_output_print(out, "  %" PRIu64 "/s", rate);
    if (b->baseline.path != NULL) framed_output_print(out, "  (baseline %" PRIu64 "/s)", b->baseline.rate);
    framed_output_print(out, "\n  generator busy %u%%", framed_bench_busy(r));
    uint64_t sent = framed_bench_sent(r);
    if (p->rate > 0) {
        framed_output_print(out, "  late sends %.2f%%", sent > 0 ? (double)r->late * 100 / (double)sent : 0);
        if (r->held > 0)
            framed_output_print(out, " (%.2f%% because the connection was full)", (double)r->held * 100 / (double)sent);
    }
    if (r->reconnected > 0) framed_output_print(out, "  reconnected %" PRIu64, r->reconnected);
    if (r->late_replies > 0) framed_output_print(out, "  late replies %" PRIu64, r->late_replies);
    framed_output_print(out, "\n");
    if (framed_bench_is_limit(b)) framed_output_print(out, "  warning: the generator, not the server, may be the limit\n");
}

void framed_bench_text(const struct bench_report *report, struct cli_output *out)
{
    print_head(report, out);
    print_table(report, out);
    print_picture(report, out);
    print_series(report, out);
    print_counts(report, out);
}
