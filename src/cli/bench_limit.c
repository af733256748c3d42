/*
 * Owns: what --fail-if says, and whether a run crosses it.
 * Must not know: how the load was made; exit codes.
 * Invariants: a limit of which the run says nothing is crossed: silence passes no gate.
 */
#include "bench_report.h"
#include "options.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a limit may be of, and how its value is read. */
static const struct {
    const char *name;
    enum cli_option_kind kind;
} names[] = {{"p50", CLI_BRIEF},    {"p90", CLI_BRIEF},    {"p99", CLI_BRIEF},  {"p99.9", CLI_BRIEF},
             {"p99.99", CLI_BRIEF}, {"min", CLI_BRIEF},    {"mean", CLI_BRIEF}, {"max", CLI_BRIEF},
             {"rate", CLI_RATE},    {"failed", CLI_COUNT}, {"late", CLI_SHARE}};

bool framed_bench_read_limit(const char *text, struct bench_limit *limit)
{
    size_t name = strcspn(text, "<>"), op = strspn(text + name, "<>=");
    const char *value = text + name + op;
    *limit = (struct bench_limit){.text = text};
    if (name == 0 || name >= sizeof limit->name || op == 0 || op > 2 || (op == 2 && text[name + 1] != '=')) return false;
    memcpy(limit->name, text, name);
    memcpy(limit->op, text + name, op);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].name, limit->name) != 0) continue;
        enum cli_option_kind kind = names[i].kind;
        if (kind == CLI_COUNT && strchr(value, '%') != NULL) kind = CLI_SHARE;
        limit->is_share = kind == CLI_SHARE;
        if (!framed_number_read(kind, value, &limit->value)) return false;
        if (kind == CLI_BRIEF) limit->value *= 1000;
        return true;
    }
    return false;
}

/* A time of the run. False: too few replies to tell. */
static bool time_of(const struct load_result *r, const char *name, uint64_t *ns)
{
    const struct cli_histogram *h = &r->response;
    for (int i = 0; i < BENCH_SHARES; i++)
        if (strcmp(name, framed_bench_share_names[i]) == 0)
            return framed_histogram_share(h, framed_bench_shares[i], 10000, ns);
    *ns = strcmp(name, "min") == 0 ? h->least : strcmp(name, "max") == 0 ? h->most : framed_histogram_mean(h);
    return h->count > 0;
}

/* In millionths. */
static uint64_t share_of(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (uint64_t)((double)part * 1e6 / (double)whole + 0.5);
}

static bool compare(uint64_t is, const char *op, uint64_t limit)
{
    bool equal = op[1] == '=' && is == limit;
    return equal || (op[0] == '>' ? is > limit : is < limit);
}

bool framed_bench_is_crossed(const struct bench_report *report, const struct bench_limit *limit, bool *unknown, char *now,
                             size_t room)
{
    const struct load_result *r = report->result;
    uint64_t is = 0, failed = framed_bench_failed(r);
    *unknown = false;
    if (strcmp(limit->name, "rate") == 0) {
        is = framed_bench_rate(r);
        (void)snprintf(now, room, "%" PRIu64 "/s", is);
    } else if (strcmp(limit->name, "failed") == 0 && !limit->is_share) {
        is = failed;
        (void)snprintf(now, room, "%" PRIu64, is);
    } else if (limit->is_share) {
        bool late = strcmp(limit->name, "late") == 0;
        is = late ? share_of(r->late, framed_bench_sent(r)) : share_of(failed, failed + r->ok + r->pending);
        (void)snprintf(now, room, "%.4f%%", (double)is / 10000);
    } else {
        *unknown = !time_of(r, limit->name, &is);
        (void)framed_time_text(is, now, room);
    }
    return *unknown || compare(is, limit->op, limit->value);
}
