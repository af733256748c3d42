/*
 * Owns: the report of a load as programs read it: JSON, HdrHistogram's percentiles; and the reading of JSON of an earlier run.
 * Must not know: how the load was made; files.
 * Invariants: keys come in a fixed order and are only ever added; times are whole nanoseconds; what is not known is null.
 */
#include "bench_report.h"
#include <stdio.h>
#include <string.h>

/* ---- JSON ---- */

static void put_key(struct cli_output *out, const char *key)
{
    framed_output_text(out, ",\"");
    framed_output_text(out, key);
    framed_output_text(out, "\":");
}

static void put_number(struct cli_output *out, const char *key, bool known, uint64_t number)
{
    put_key(out, key);
    if (known)
        framed_output_number(out, number);
    else
        framed_output_text(out, "null");
}

static void put_bool(struct cli_output *out, const char *key, bool value)
{
    put_key(out, key);
    framed_output_text(out, value ? "true" : "false");
}

static void put_plan(const struct bench_report *b, struct cli_output *out)
{
    const struct load_plan *p = b->plan;
    put_number(out, "connections", true, p->conns);
    put_number(out, "threads", true, p->threads);
    put_number(out, "pipeline", true, p->pipeline);
    put_key(out, "loop");
    framed_output_text(out, p->rate > 0 ? "\"open\"" : "\"closed\"");
    put_number(out, "target_rate", p->rate > 0, p->rate);
    put_number(out, "size_min", true, p->size_least);
    put_number(out, "size_max", true, p->size_most);
    put_number(out, "planned_ns", p->count == 0, p->duration_ns);
    put_number(out, "planned_count", p->count > 0, p->count);
    put_number(out, "warmup_ns", true, p->warmup_ns);
    put_bool(out, "verify", p->verify);
}

static void put_counts(const struct bench_report *b, struct cli_output *out)
{
    const struct load_result *r = b->result;
    put_bool(out, "interrupted", b->interrupted);
    put_number(out, "elapsed_ns", true, r->end_ns - r->begin_ns);
    put_number(out, "opened", true, r->opened);
    put_number(out, "connected_ns", true, r->connected_ns);
    put_number(out, "sent", true, framed_bench_sent(r));
    put_number(out, "ok", true, r->ok);
    put_number(out, "pending", true, r->pending);
    put_number(out, "failed", true, framed_bench_failed(r));
    put_key(out, "failures");
    for (int i = 0; i < LOAD_FAILURES; i++) {
        framed_output_text(out, i == 0 ? "{\"" : ",\"");
        framed_output_text(out, framed_bench_failures[i]);
        framed_output_text(out, "\":");
        framed_output_number(out, r->failed[i]);
    }
    framed_output_text(out, "}");
    put_number(out, "rate", true, framed_bench_rate(r));
    put_number(out, "bytes_payload", true, r->bytes);
    put_number(out, "warmup_ok", true, r->warmup);
    put_number(out, "late_sends", true, r->late);
    put_number(out, "late_sends_full", true, r->held);
    put_number(out, "late_replies", true, r->late_replies);
    put_number(out, "reconnected", true, r->reconnected);
    put_number(out, "generator_busy_percent", true, framed_bench_busy(r));
    put_bool(out, "generator_may_be_the_limit", framed_bench_is_limit(b));
}

static void put_histogram(struct cli_output *out, const char *key, const struct cli_histogram *h)
{
    put_key(out, key);
    framed_output_text(out, "{\"count\":");
    framed_output_number(out, h->count);
    put_number(out, "min_ns", h->count > 0, h->least);
    put_number(out, "mean_ns", h->count > 0, framed_histogram_mean(h));
    for (int i = 0; i < BENCH_SHARES; i++) {
        uint64_t ns = 0;
        bool known = framed_histogram_share(h, framed_bench_shares[i], 10000, &ns);
        put_number(out, framed_bench_share_keys[i], known, ns);
    }
    put_number(out, "max_ns", h->count > 0, h->most);
    framed_output_text(out, "}");
}

static void put_series(struct cli_output *out, const struct cli_series *s)
{
    framed_output_text(out, ",\"series\":{\"width_ns\":");
    framed_output_number(out, s->width_ns);
    framed_output_text(out, ",\"ok\":[");
    for (unsigned i = 0; i < s->used; i++) {
        if (i > 0) framed_output_text(out, ",");
        framed_output_number(out, s->count[i]);
    }
    framed_output_text(out, "],\"p99_ns\":[");
    for (unsigned i = 0; i < s->used; i++) {
        uint64_t ns;
        if (i > 0) framed_output_text(out, ",");
        if (framed_series_at(s, i, 99, &ns))
            framed_output_number(out, ns);
        else
            framed_output_text(out, "null");
    }
    framed_output_text(out, "]}");
}

void framed_bench_json(const struct bench_report *report, struct cli_output *out)
{
    framed_output_text(out, "{\"schema\":\"framed.bench/1\",\"version\":");
    framed_output_json_string(out, framed_bytes_str(framed_version()));
    put_key(out, "address");
    framed_output_json_string(out, framed_bytes_str(report->address));
    put_plan(report, out);
    put_counts(report, out);
    put_histogram(out, "response", &report->result->response);
    if (report->plan->rate > 0)
        put_histogram(out, "service", &report->result->service);
    else
        framed_output_text(out, ",\"service\":null");
    put_series(out, &report->result->series);
    framed_output_text(out, "}\n");
}

/* ---- HdrHistogram ---- */

enum { TICKS = 5 }; /* rows for each halving of what is left */

/* Of the bins: each value counts as the end of its own. */
static double deviation_of(const struct cli_histogram *h)
{
    double mean = (double)framed_histogram_mean(h), sum = 0;
    uint64_t seen = 0;
    while (seen < h->count) {
        uint64_t value = framed_histogram_rank(h, seen + 1),
                 up_to = value < h->most ? framed_histogram_up_to(h, value) : h->count;
        sum += ((double)value - mean) * ((double)value - mean) * (double)(up_to - seen);
        seen = up_to;
    }
    double square = sum / (double)h->count, root = square > 1 ? square : 1;
    for (int i = 0; i < 100; i++) root = (root + square / root) / 2; /* Newton's way; math.h would need a library more */
    return square > 0 ? root : 0;
}

static void put_row(struct cli_output *out, const struct cli_histogram *h, double share)
{
    char line[120];
    double exact = share * (double)h->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0) rank++;
    if (rank > h->count) rank = h->count;
    uint64_t value = framed_histogram_rank(h, rank), count = value < h->most ? framed_histogram_up_to(h, value) : h->count;
    int n = snprintf(line, sizeof line, "%12.3f %2.12f %10llu", (double)value / 1e6, share, (unsigned long long)count);
    if (share < 1 && n > 0) (void)snprintf(line + n, sizeof line - (size_t)n, " %14.2f", 1 / (1 - share));
    framed_output_text(out, line);
    framed_output_text(out, "\n");
}

void framed_bench_hdr(const struct cli_histogram *h, struct cli_output *out)
{
    char line[200];
    framed_output_text(out, "       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    double left = 1, step = 1; /* what is not told yet; the half of it that is parted next */
    for (uint64_t rest = h->count; rest > 0; rest /= 2) {
        step /= 2;
        for (int tick = 0; tick < TICKS; tick++) put_row(out, h, 1 - left + step * tick / TICKS);
        left -= step;
    }
    if (h->count > 0) put_row(out, h, 1);
    (void)snprintf(line, sizeof line,
                   "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n#[Max     = %12.3f, Total count    = %12llu]\n"
                   "#[Buckets = %12d, SubBuckets     = %12d]\n",
                   (double)framed_histogram_mean(h) / 1e6, h->count > 0 ? deviation_of(h) / 1e6 : 0, (double)h->most / 1e6,
                   (unsigned long long)h->count, HISTOGRAM_BINS >> HISTOGRAM_BITS, 1 << HISTOGRAM_BITS);
    framed_output_text(out, line);
}

/* ---- an earlier run ---- */

/* Behind this text, in what is left of `in`. */
static bool find(struct framed_bytes *in, const char *text)
{
    size_t n = strlen(text);
    for (; in->len >= n; in->at++, in->len--) {
        if (memcmp(in->at, text, n) != 0) continue;
        *in = framed_bytes_of(in->at + n, in->len - n);
        return true;
    }
    return false;
}

static bool number_of(struct framed_bytes in, const char *key, uint64_t *number)
{
    char text[60];
    (void)snprintf(text, sizeof text, "\"%s\":", key);
    if (!find(&in, text) || in.len == 0 || *in.at < '0' || *in.at > '9') return false;
    for (*number = 0; in.len > 0 && *in.at >= '0' && *in.at <= '9'; in.at++, in.len--)
        *number = *number * 10 + (uint64_t)(*in.at - '0');
    return true;
}

bool framed_bench_read_baseline(struct framed_bytes in, struct bench_baseline *b)
{
    if (!find(&in, "{\"schema\":\"framed.bench/1\"") || !number_of(in, "rate", &b->rate) || !find(&in, "\"response\":{"))
        return false;
    for (int i = 0; i < BENCH_SHARES; i++) b->known[i] = number_of(in, framed_bench_share_keys[i], &b->share_ns[i]);
    return number_of(in, "max_ns", &b->max_ns);
}
