/*
 * Owns: the report of a load as a picture in a file: an SVG that needs nothing else, neither script nor font, light or dark as its
 * reader has it. Three panels: times by percentile, times as they went, replies as they came.
 * Must not know: how the load was made; where it is written.
 * Invariants: of what comes from outside only plain ASCII that is no markup is shown, else a question mark; a curve of percentiles ends where fewer than ten values lie beyond it; what a
 * colour tells the dashes tell too.
 */
#include "bench_report.h"
#include "options.h"
#include <inttypes.h>
#include <stdio.h>

enum {
    WIDTH = 800,
    LEFT = 80,
    WIDE = 600, /* of a panel's field; right of it are its lines' names */
    FIRST = 110,
    HIGH = 190,
    APART = 265,
    PANELS = 3,
    LINES_MOST = 3,
    DECADES_MOST = 9,
    ADDRESS_SHOWN = 40, /* bytes of an address, or the rest of its line would be lost */
    BEYOND = 10,        /* so many values must lie beyond what is drawn */
    TENTHS = 10,
    TICKS = 5,
    DOT = 4,   /* as wide is a point that stands alone */
    LITTLE = 4 /* less than one in so many of a slot */
};

/* How lines are told apart: the classes of the style sheet. */
static const char *const looks[LINES_MOST] = {"a", "b", "c"};

static const char style[] =
    "<style>\n"
    "svg{background:#fff;color:#222;font:12px sans-serif}text{fill:currentColor}.t{font-size:15px}\n"
    ".r{text-anchor:end}.m{text-anchor:middle}path{fill:none;stroke-width:2;stroke-linecap:round}.g{stroke:currentColor;"
    "stroke-width:1;opacity:.15}\n"
    ".a{stroke:#0072b2}.b{stroke:#d55e00;stroke-dasharray:8 4}.c{stroke:#777;stroke-dasharray:2 3}\n"
    "@media(prefers-color-scheme:dark){svg{background:#181818;color:#ddd}\n"
    ".a{stroke:#56b4e9}.b{stroke:#e69f00}.c{stroke:#aaa}}\n"
    "</style>\n";

/* A field with its axes: from 0 to the greatest of each. */
struct panel {
    double top, x_most, y_most;
};

static double at_x(const struct panel *p, double x)
{
    return LEFT + x / p->x_most * WIDE;
}

static double at_y(const struct panel *p, double y)
{
    return p->top + HIGH - y / p->y_most * HIGH;
}

/* ---- axes ---- */

/* 1, 2 or 5 times a power of ten: at most TICKS of them make `most`. */
static double step_for(double most)
{
    static const double factors[] = {2, 2.5, 2};
    double step = 1;
    for (int i = 0; step * TICKS < most; i++) step *= factors[i % 3];
    return step;
}

typedef const char *label_fn(double value, char *text, size_t room);

static const char *time_label(double ns, char *text, size_t room)
{
    double unit = ns < 1e6 ? 1e3 : ns < 1e9 ? 1e6 : 1e9;
    (void)snprintf(text, room, "%g %s", ns / unit, ns < 1e6 ? "us" : ns < 1e9 ? "ms" : "s");
    return text;
}

static const char *count_label(double value, char *text, size_t room)
{
    (void)snprintf(text, room, "%.0f", value);
    return text;
}

/* Begins a panel, with y from 0 to at least `most`. */
static struct panel begin_panel(struct cli_output *out, int index, const char *title, double x_most, double most,
                                label_fn *label)
{
    double step = step_for(most);
    struct panel p = {FIRST + (double)index * APART, x_most, step};
    char text[40];
    while (p.y_most < most) p.y_most += step;
    framed_output_print(out, "<text class=\"t\" x=\"%d\" y=\"%.0f\">%s</text>\n", LEFT, p.top - 14, title);
    for (int i = 0; i * step <= p.y_most; i++) {
        double y = at_y(&p, i * step);
        framed_output_print(out, "<path class=\"g\" d=\"M%d %.1fh%d\"/><text class=\"r\" x=\"%d\" y=\"%.1f\">%s</text>\n",
                            LEFT, y, WIDE, LEFT - 8, y + 4, label(i * step, text, sizeof text));
    }
    return p;
}

static void tick_below(struct cli_output *out, const struct panel *p, double x, const char *text)
{
    framed_output_print(out, "<path class=\"g\" d=\"M%.1f %.1fv%d\"/><text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
                        at_x(p, x), p->top, HIGH, at_x(p, x), p->top + HIGH + 18, text);
}

/* ---- lines ---- */

/* One line of a panel, point by point; where nothing is known it is broken, and a point by itself is a dot. */
struct line {
    struct cli_output *out;
    const struct panel *panel;
    const char *look;
    bool begun, joined;
};

static void add_point(struct line *l, double x, double y)
{
    if (!l->begun) framed_output_print(l->out, "<path class=\"%s\" d=\"", l->look);
    double left = at_x(l->panel, x) - (l->joined ? 0 : DOT / 2.0);
    framed_output_print(l->out, "%s%.1f %.1f", l->joined ? "L" : "M", left, at_y(l->panel, y));
    if (!l->joined) framed_output_print(l->out, "h%d", DOT);
    l->begun = l->joined = true;
}

/* Its name stands to the right, in a row of its own. */
static void end_line(struct line *l, const char *name, int row)
{
    if (!l->begun) return;
    double y = l->panel->top + 12 + 18 * row;
    framed_output_print(l->out, "\"/>\n<path class=\"%s\" d=\"M%d %.1fh24\"/><text x=\"%d\" y=\"%.1f\">%s</text>\n", l->look,
                        LEFT + WIDE + 8, y - 4, LEFT + WIDE + 38, y, name);
}

/* ---- times by percentile ---- */

/* What lies beyond a tenth of a decade, two tenths, ...: 10^(-i/10). */
static const double tenths[TENTHS] = {1,          0.79432823, 0.63095734, 0.50118723, 0.39810717,
                                      0.31622777, 0.25118864, 0.19952623, 0.15848932, 0.12589254};

/* The value that all but so many tenths of decades of them pass not. False: fewer than ten lie beyond. */
static bool value_beyond(const struct cli_histogram *h, int decade, int tenth, uint64_t *ns)
{
    double left = tenths[tenth];
    for (int i = 0; i < decade; i++) left /= 10;
    uint64_t beyond = (uint64_t)(left * (double)h->count);
    if (h->count == 0 || beyond < BEYOND) return false;
    *ns = framed_histogram_rank(h, beyond < h->count ? h->count - beyond : 1);
    return true;
}

static double decades_of(const struct cli_histogram *h, uint64_t *most)
{
    int n = 0;
    uint64_t ns;
    for (; n < DECADES_MOST * TENTHS && value_beyond(h, n / TENTHS, n % TENTHS, &ns); n++)
        if (ns > *most) *most = ns;
    return n > 0 ? (double)(n - 1) / TENTHS : 0;
}

static void draw_shares(struct line l, const struct cli_histogram *h, const char *name, int row)
{
    uint64_t ns;
    for (int i = 0; i < DECADES_MOST * TENTHS && value_beyond(h, i / TENTHS, i % TENTHS, &ns); i++)
        add_point(&l, (double)i / TENTHS, (double)ns);
    end_line(&l, name, row);
}

static void draw_baseline(struct line l, const struct bench_baseline *b, int row)
{
    static const double decades[BENCH_SHARES] = {0.30103, 1, 2, 3, 4}; /* log 1/(1-p) of framed_bench_shares */
    for (int i = 0; i < BENCH_SHARES && b->known[i]; i++) add_point(&l, decades[i], (double)b->share_ns[i]);
    end_line(&l, "baseline", row);
}

static void draw_percentiles(const struct bench_report *b, struct cli_output *out)
{
    const struct load_result *r = b->result;
    bool open = b->plan->rate > 0;
    uint64_t most = 1;
    double decades = decades_of(&r->response, &most), other = decades_of(&r->service, &most);
    if (other > decades) decades = other;
    for (int i = 0; i < BENCH_SHARES; i++) {
        if (!b->baseline.known[i]) break;
        if (b->baseline.share_ns[i] > most) most = b->baseline.share_ns[i];
        if (decades < i) decades = i;
    }
    struct panel p = begin_panel(out, 0, "time by percentile, as far as ten values lie beyond", decades > 1 ? decades : 1,
                                 (double)most, time_label);
    static const char *const names[] = {"0%",      "90%",      "99%",       "99.9%",     "99.99%",
                                        "99.999%", "99.9999%", "99.99999%", "99.999999%"};
    for (int i = 0; i < DECADES_MOST && i <= p.x_most; i++) tick_below(out, &p, i, names[i]);
    draw_shares((struct line){.out = out, .panel = &p, .look = looks[0]}, &r->response, open ? "response" : "latency", 0);
    draw_shares((struct line){.out = out, .panel = &p, .look = looks[1]}, &r->service, "service", 1);
    if (b->baseline.path != NULL) draw_baseline((struct line){.out = out, .panel = &p, .look = looks[2]}, &b->baseline, 2);
}

/* ---- as it went ---- */

/* Slots whose rate is drawn: what is left of the last one, when that is little, would be mostly chance. */
static unsigned slots_of(const struct load_result *r)
{
    uint64_t whole = r->series.used * r->series.width_ns, ns = r->end_ns - r->begin_ns;
    bool little = r->series.used > 1 && whole > ns && whole - ns > r->series.width_ns / LITTLE * (LITTLE - 1);
    return r->series.used - little;
}

/* Seconds that a slot had: the last one not all. */
static double seconds_of(const struct load_result *r, unsigned slot)
{
    double whole = (double)r->series.width_ns / 1e9, left = (double)(r->end_ns - r->begin_ns) / 1e9 - whole * (double)slot;
    return left > 0 && left < whole ? left : whole;
}

/* The middle of that time, from the start; what came behind the end is drawn there. */
static double middle_of(const struct load_result *r, unsigned slot)
{
    double end = (double)(r->end_ns - r->begin_ns) / 1e9,
           middle = (double)r->series.width_ns / 1e9 * slot + seconds_of(r, slot) / 2;
    return middle < end ? middle : end;
}

static void draw_seconds(struct cli_output *out, const struct panel *p)
{
    double most_ns = p->x_most * 1e9, step = step_for(most_ns);
    char text[40];
    for (int i = 0; i * step <= most_ns; i++) tick_below(out, p, i * step / 1e9, time_label(i * step, text, sizeof text));
}

/* The greatest is known better than the series tells it. */
static bool time_at(const struct load_result *r, unsigned slot, unsigned percent, uint64_t *ns)
{
    if (!framed_series_at(&r->series, slot, percent, ns)) return false;
    if (*ns > r->response.most) *ns = r->response.most;
    return true;
}

static void draw_times(const struct bench_report *b, struct cli_output *out, double seconds)
{
    static const unsigned percents[LINES_MOST] = {50, 99, 100};
    static const char *const names[LINES_MOST] = {"p50", "p99", "max"};
    const struct load_result *r = b->result;
    struct panel p = begin_panel(out, 1, b->plan->rate > 0 ? "response time as it went" : "latency as it went", seconds,
                                 (double)r->response.most, time_label);
    draw_seconds(out, &p);
    for (int i = 0; i < LINES_MOST; i++) {
        struct line l = {.out = out, .panel = &p, .look = looks[i]};
        for (unsigned slot = 0; slot < r->series.used; slot++) {
            uint64_t ns;
            if (time_at(r, slot, percents[i], &ns))
                add_point(&l, middle_of(r, slot), (double)ns);
            else
                l.joined = false;
        }
        end_line(&l, names[i], i);
    }
}

static double rate_at(const struct load_result *r, unsigned slot)
{
    return (double)r->series.count[slot] / seconds_of(r, slot);
}

static void draw_rate(const struct load_result *r, struct cli_output *out, double seconds)
{
    double most = 1;
    for (unsigned slot = 0; slot < slots_of(r); slot++)
        if (rate_at(r, slot) > most) most = rate_at(r, slot);
    struct panel p = begin_panel(out, 2, "replies a second", seconds, most, count_label);
    draw_seconds(out, &p);
    struct line l = {.out = out, .panel = &p, .look = looks[0]};
    for (unsigned slot = 0; slot < slots_of(r); slot++) add_point(&l, middle_of(r, slot), rate_at(r, slot));
    double width = (double)r->series.width_ns / 1e9, silent = width * r->series.used;
    if (seconds - silent > width / LITTLE) { /* none came any more */
        add_point(&l, silent + width / 2 < seconds ? silent + width / 2 : seconds, 0);
        add_point(&l, seconds, 0);
    }
    end_line(&l, "replies", 0);
}

/* ---- the file ---- */

static void put_plain(struct cli_output *out, const char *text, size_t most)
{
    for (; *text != '\0' && most > 0; text++, most--) {
        bool plain = *text >= ' ' && *text <= '~' && *text != '<' && *text != '>' && *text != '&';
        framed_output_bytes(out, plain ? text : "?", 1);
    }
}

static void put_title(const struct bench_report *b, struct cli_output *out, size_t address_most)
{
    const struct load_plan *p = b->plan;
    framed_output_text(out, b->interrupted ? "INTERRUPTED: framed bench " : "framed bench ");
    put_plain(out, b->address, address_most);
    framed_output_print(out, ", %" PRIu32 " connection%s, ", p->conns, p->conns == 1 ? "" : "s");
    if (p->rate == 0 && p->pipeline > 1) framed_output_print(out, "%" PRIu32 " in flight each, ", p->pipeline);
    put_plain(out, b->sizes, SIZE_MAX);
    if (p->rate > 0)
        framed_output_print(out, ", open loop %" PRIu64 "/s", p->rate);
    else
        framed_output_text(out, ", closed loop");
}

void framed_bench_plot(const struct bench_report *report, struct cli_output *out)
{
    const struct load_result *r = report->result;
    int height = FIRST + PANELS * APART - (APART - HIGH) + 40;
    double seconds = (double)(r->end_ns - r->begin_ns) / 1e9;
    char p50[40] = "-", most[40];
    uint64_t ns;
    framed_output_print(
        out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        WIDTH, height, WIDTH, height);
    framed_output_text(out, style);
    framed_output_text(out, "<title>");
    put_title(report, out, SIZE_MAX);
    framed_output_print(out, "</title>\n<text class=\"t\" x=\"%d\" y=\"28\">", LEFT);
    put_title(report, out, ADDRESS_SHOWN);
    if (framed_histogram_share(&r->response, 1, 2, &ns)) (void)framed_time_text(ns, p50, sizeof p50);
    framed_output_print(
        out, "</text>\n<text x=\"%d\" y=\"50\">ok %" PRIu64 ", failed %" PRIu64 ", %" PRIu64 "/s, p50 %s, max %s%s</text>\n",
        LEFT, r->ok, framed_bench_failed(r), framed_bench_rate(r), p50,
        framed_time_text(r->response.most, most, sizeof most),
        framed_bench_is_limit(report) ? "; the generator, not the server, may be the limit" : "");
    if (r->response.count >= BEYOND || report->baseline.path != NULL) draw_percentiles(report, out);
    if (r->series.used > 0 && seconds > 0) {
        draw_times(report, out, seconds);
        draw_rate(r, out, seconds);
    }
    framed_output_text(out, "</svg>\n");
}
