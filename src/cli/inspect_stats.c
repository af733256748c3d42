/*
 * Owns: the counts of an inspection, and the summary made of them.
 * Must not know: streams, connections.
 * Invariants: log2 and sizes.count count the same frames; what is not exact says "about" ("median_exact":false).
 */
#include "inspect_stats.h"
#include "inspect_show.h"

enum { BAR_WIDTH = 40 };

/* 0: 0, 1: 1, 2: 2 and 3, 3: 4 to 7, ... */
static unsigned class_of(uint32_t len)
{
    unsigned class = 0;
    for (; len > 0; len >>= 1) class ++;
    return class;
}

static uint64_t class_first(unsigned class)
{
    return class == 0 ? 0 : UINT64_C(1) << (class - 1);
}

static uint64_t class_last(unsigned class)
{
    return (UINT64_C(1) << class) - 1;
}

void framed_stats_frame(struct inspect_counts *counts, uint32_t len)
{
    counts->payload += len;
    counts->log2[class_of(len)]++;
    framed_histogram_add(&counts->sizes, len);
}

void framed_stats_reply(struct inspect_stats *stats, bool timed, uint64_t reply_ns)
{
    if (timed)
        framed_histogram_add(&stats->reply_ns, reply_ns);
    else
        stats->untimed++;
}

/* The histogram knows a value below its bins' growth exactly, and every value when all are the same. */
static uint64_t median_of(const struct cli_histogram *h, bool *exact)
{
    uint64_t median = 0;
    framed_histogram_at(h, 500, &median);
    *exact = median < UINT64_C(1) << (HISTOGRAM_BITS + 1) || h->least == h->most;
    return median;
}

/* What is only said when there is any. */
struct mishap {
    const char *text, *key;
    uint64_t n;
};

enum { MISHAPS = 7 };

static void mishaps_of(const struct inspect_counts *c, struct mishap mishaps[MISHAPS])
{
    mishaps[0] = (struct mishap){"cut frames", "truncated", c->truncated};
    mishaps[1] = (struct mishap){"frames too large", "too_large", c->too_large};
    mishaps[2] = (struct mishap){"wrong openings", "wrong_openings", c->wrong_opening};
    mishaps[3] = (struct mishap){"wrong checksums", "wrong_checksums", c->wrong_sum};
    mishaps[4] = (struct mishap){"bytes lost", "bytes_lost", c->lost};
    mishaps[5] = (struct mishap){"bytes not interpreted", "bytes_not_interpreted", c->rest};
    mishaps[6] = (struct mishap){"frames not shown", "not_shown", c->skipped};
}

/* ---- text ---- */

static void put_pair(struct cli_output *out, const char *name, uint64_t number)
{
    framed_output_text(out, name);
    framed_output_number(out, number);
}

static void put_line(struct cli_output *out, const char *name, uint64_t number)
{
    put_pair(out, name, number);
    framed_output_text(out, "\n");
}

static size_t digits_of(uint64_t number)
{
    size_t n = 1;
    while ((number /= 10) > 0) n++;
    return n;
}

static void put_times(struct cli_output *out, const char *text, uint64_t times)
{
    for (; times > 0; times--) framed_output_text(out, text);
}

static void put_aligned(struct cli_output *out, uint64_t number, size_t width)
{
    put_times(out, " ", width - digits_of(number));
    framed_output_number(out, number);
}

/* The frames by size, one line for each power of two. */
static void put_picture(struct cli_output *out, const struct inspect_counts *c)
{
    unsigned first = class_of((uint32_t)c->sizes.least), last = class_of((uint32_t)c->sizes.most);
    uint64_t most = 1;
    for (unsigned i = first; i <= last; i++)
        if (c->log2[i] > most) most = c->log2[i];
    for (unsigned i = first; i <= last; i++) {
        framed_output_text(out, "  ");
        put_aligned(out, class_first(i), digits_of(class_last(last)));
        framed_output_text(out, " to ");
        put_aligned(out, class_last(i), digits_of(class_last(last)));
        framed_output_text(out, " B  ");
        put_aligned(out, c->log2[i], digits_of(most));
        if (c->log2[i] > 0) framed_output_text(out, "  #"); /* at least one mark for what is there at all */
        put_times(out, "#", c->log2[i] * (BAR_WIDTH - 1) / most);
        framed_output_text(out, "\n");
    }
}

static void text_of_counts(const struct inspect_counts *c, struct cli_output *out)
{
    put_pair(out, "frames ", c->sizes.count);
    put_pair(out, "  empty ", c->log2[0]);
    put_pair(out, "  payload ", c->payload);
    put_pair(out, " B  all ", c->bytes);
    framed_output_text(out, " B\n");
    if (c->sizes.count > 0) {
        bool exact;
        uint64_t median = median_of(&c->sizes, &exact);
        put_pair(out, "sizes  smallest ", c->sizes.least);
        put_pair(out, exact ? " B  median " : " B  median about ", median);
        put_pair(out, " B  largest ", c->sizes.most);
        framed_output_text(out, " B\n");
        put_picture(out, c);
    }
    if (c->records > 0) {
        put_pair(out, "encrypted records ", c->records);
        put_pair(out, "  ", c->sealed);
        framed_output_text(out, " B\n");
    }
    struct mishap mishaps[MISHAPS];
    mishaps_of(c, mishaps);
    for (size_t i = 0; i < MISHAPS; i++) {
        if (mishaps[i].n == 0) continue;
        framed_output_text(out, mishaps[i].text);
        put_line(out, " ", mishaps[i].n);
    }
}

static void put_percentile(struct cli_output *out, const char *name, const struct cli_histogram *h, unsigned permille)
{
    uint64_t ns;
    framed_output_text(out, name);
    if (framed_histogram_at(h, permille, &ns))
        framed_inspect_duration(out, ns);
    else
        framed_output_text(out, "-"); /* too few to say */
}

static void text_of_replies(const struct inspect_stats *stats, struct cli_output *out)
{
    const struct cli_histogram *h = &stats->reply_ns;
    put_pair(out, "reply times ", h->count);
    put_percentile(out, "  p50 ", h, 500);
    put_percentile(out, "  p99 ", h, 990);
    framed_output_text(out, "  max ");
    if (h->count > 0)
        framed_inspect_duration(out, h->most);
    else
        framed_output_text(out, "-");
    if (stats->untimed > 0) put_pair(out, "  without a time ", stats->untimed);
    framed_output_text(out, "\n");
}

/* "openings  crc32c 2; encrypted, shared key 1" */
static void text_of_protections(const struct inspect_stats *stats, struct cli_output *out)
{
    const char *between = "openings  ";
    for (unsigned i = 0; i < sizeof stats->protections / sizeof *stats->protections; i++) {
        if (stats->protections[i] == 0) continue;
        framed_output_text(out, between);
        framed_output_text(out, framed_inspect_protection(i, false));
        put_pair(out, " ", stats->protections[i]);
        between = "; ";
    }
    if (between[0] == ';') framed_output_text(out, "\n");
}

void framed_stats_text(const struct inspect_stats *stats, struct cli_output *out)
{
    if (!stats->record) {
        text_of_counts(&stats->way[0], out);
        text_of_protections(stats, out);
        return;
    }
    put_line(out, "connections ", stats->connections);
    text_of_protections(stats, out);
    framed_output_text(out, "\n> requests\n");
    text_of_counts(&stats->way[0], out);
    framed_output_text(out, "\n< replies\n");
    text_of_counts(&stats->way[1], out);
    framed_output_text(out, "\n");
    text_of_replies(stats, out);
}

/* ---- JSON ---- */

static void put_key(struct cli_output *out, const char *key)
{
    framed_output_text(out, ",\"");
    framed_output_text(out, key);
    framed_output_text(out, "\":");
}

static void put_value(struct cli_output *out, const char *key, uint64_t number)
{
    put_key(out, key);
    framed_output_number(out, number);
}

static void put_known(struct cli_output *out, const char *key, bool known, uint64_t number)
{
    put_key(out, key);
    if (known)
        framed_output_number(out, number);
    else
        framed_output_text(out, "null");
}

/* [first, last, frames] for each power of two that has any. */
static void put_classes(struct cli_output *out, const struct inspect_counts *c)
{
    put_key(out, "sizes");
    framed_output_text(out, "[");
    const char *between = "[";
    for (unsigned i = 0; i < sizeof c->log2 / sizeof *c->log2; i++) {
        if (c->log2[i] == 0) continue;
        put_pair(out, between, class_first(i));
        put_pair(out, ",", class_last(i));
        put_pair(out, ",", c->log2[i]);
        framed_output_text(out, "]");
        between = ",[";
    }
    framed_output_text(out, "]");
}

static void json_of_counts(const struct inspect_counts *c, struct cli_output *out)
{
    const struct cli_histogram *h = &c->sizes;
    bool exact, any = h->count > 0;
    uint64_t median = median_of(h, &exact);
    put_pair(out, "\"frames\":", h->count);
    put_value(out, "empty", c->log2[0]);
    put_value(out, "bytes_payload", c->payload);
    put_value(out, "bytes", c->bytes);
    put_known(out, "smallest", any, h->least);
    put_known(out, "median", any, median);
    put_key(out, "median_exact");
    framed_output_text(out, exact ? "true" : "false");
    put_known(out, "largest", any, h->most);
    put_classes(out, c);
    put_value(out, "encrypted_records", c->records);
    put_value(out, "bytes_encrypted", c->sealed);
    struct mishap mishaps[MISHAPS];
    mishaps_of(c, mishaps);
    for (size_t i = 0; i < MISHAPS; i++) put_value(out, mishaps[i].key, mishaps[i].n);
}

static void json_of_replies(const struct inspect_stats *stats, struct cli_output *out)
{
    const struct cli_histogram *h = &stats->reply_ns;
    uint64_t p50 = 0, p99 = 0;
    bool has_p50 = framed_histogram_at(h, 500, &p50), has_p99 = framed_histogram_at(h, 990, &p99);
    put_key(out, "reply_times");
    put_pair(out, "{\"count\":", h->count);
    put_known(out, "p50_ns", has_p50, p50);
    put_known(out, "p99_ns", has_p99, p99);
    put_known(out, "max_ns", h->count > 0, h->most);
    put_value(out, "without", stats->untimed);
    framed_output_text(out, "}");
}

/* {"crc32c":2}: only those that there are. */
static void json_of_protections(const struct inspect_stats *stats, struct cli_output *out)
{
    const char *between = "\"";
    put_key(out, "openings");
    framed_output_text(out, "{");
    for (unsigned i = 0; i < sizeof stats->protections / sizeof *stats->protections; i++) {
        if (stats->protections[i] == 0) continue;
        framed_output_text(out, between);
        framed_output_text(out, framed_inspect_protection(i, true));
        put_pair(out, "\":", stats->protections[i]);
        between = ",\"";
    }
    framed_output_text(out, "}");
}

void framed_stats_json(const struct inspect_stats *stats, struct cli_output *out)
{
    framed_output_text(out, "{\"schema\":\"framed.inspect/1\",\"event\":\"stats\",");
    if (!stats->record) {
        json_of_counts(&stats->way[0], out);
    } else {
        put_pair(out, "\"connections\":", stats->connections);
        put_value(out, "damaged", stats->damaged);
        framed_output_text(out, ",\"requests\":{");
        json_of_counts(&stats->way[0], out);
        framed_output_text(out, "},\"replies\":{");
        json_of_counts(&stats->way[1], out);
        framed_output_text(out, "}");
        json_of_replies(stats, out);
    }
    json_of_protections(stats, out);
    framed_output_text(out, "}\n");
}
