/*
 * test_tool_bench.c: when the requests of a load are due (src/cli/load.h), how times change during it (series.c), and what is said of
 * it (bench_report.c, bench_data.c, bench_limit.c, bench_plot.c).
 * Must not know: sockets; how a load is made.
 * Invariant: figures are held against values that were put in, one by one.
 */
#include "cli/bench_report.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the schedule ---- */

static void requests_are_due_at_even_distances_without_drift(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 3, 7, 1000, 999983, 100000000};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        uint64_t rate = rates[i], last = 5;
        for (uint64_t n = 0; n < 3000; n++) {
            uint64_t due = load_due_ns(5, n, rate);
            assert_true(due >= last);
            assert_true((due - 5) * rate <= n * UINT64_C(1000000000)); /* never early by more than the cut nanosecond */
            assert_true((due - 5 + 1) * rate > n * UINT64_C(1000000000));
            last = due;
        }
        uint64_t year = UINT64_C(365) * 86400;
        assert_true(load_due_ns(0, rate * year, rate) == year * UINT64_C(1000000000));
    }
}

static void as_many_are_due_before_a_time_as_the_schedule_says(void **state)
{
    (void)state;
    static const uint64_t rates[] = {1, 3, 7, 1000, 999983};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        for (uint64_t ns = 0; ns < 4000000000; ns += 123456789) {
            uint64_t n = load_due_before(ns, rates[i]);
            assert_true(n == 0 || load_due_ns(0, n - 1, rates[i]) < ns);
            assert_true(load_due_ns(0, n, rates[i]) >= ns);
        }
    }
}

/* Whatever the numbers: every request is one thread's, once, and each thread meets its own in their order. */
static void threads_share_out_all_requests(void **state)
{
    (void)state;
    enum { N = 500 };
    for (uint32_t conns = 1; conns <= 9; conns++) {
        for (uint32_t threads = 1; threads <= conns; threads++) {
            unsigned seen[N] = {0};
            for (uint32_t t = 0; t < threads; t++) {
                uint32_t mine = conns / threads + (t < conns % threads);
                uint64_t last = 0, n;
                for (uint64_t m = 0; (n = load_number(t, m, mine, threads, conns)) < N; m++) {
                    assert_true(m == 0 || n > last);
                    assert_int_equal(load_share(t, n, mine, threads, conns), m);
                    assert_int_equal(load_share(t, n + 1, mine, threads, conns), m + 1);
                    assert_int_equal(n % conns % threads, t);
                    seen[n]++;
                    last = n;
                }
            }
            for (int n = 0; n < N; n++) assert_int_equal(seen[n], 1);
        }
    }
}

/* ---- the series ---- */

static struct cli_series series[3];

static void a_series_keeps_every_value_however_long_it_lasts(void **state)
{
    (void)state;
    framed_series_init(&series[0], 1000);
    for (uint64_t i = 0; i < 100000; i++) framed_series_add(&series[0], i * 10, i < 50000 ? 100 : 1000);
    uint64_t all = 0, ns = 0;
    for (unsigned i = 0; i < series[0].used; i++) {
        all += series[0].count[i];
        assert_true(framed_series_at(&series[0], i, 99, &ns));
        bool first_half = (i + 1) * series[0].width_ns <= 500000, second_half = i * series[0].width_ns >= 500000;
        if (first_half) assert_true(ns >= 100 && ns <= 100 + 100 / 8);
        if (second_half) assert_true(ns >= 1000 && ns <= 1000 + 1000 / 8);
    }
    assert_int_equal(all, 100000);
    assert_int_equal(series[0].width_ns, 16000);
    assert_int_equal(series[0].used, 63);
    assert_false(framed_series_at(&series[0], 63, 99, &ns));
}

static void series_of_different_widths_are_put_together(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) framed_series_init(&series[i], 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        framed_series_add(&series[i % 2], i * (i % 2 == 0 ? 10 : 1000), i);
        framed_series_add(&series[2], i * (i % 2 == 0 ? 10 : 1000), i);
    }
    assert_true(series[0].width_ns < series[1].width_ns);
    framed_series_merge(&series[0], &series[1]);
    assert_memory_equal(&series[0], &series[2], sizeof series[0]);
}

static void a_slot_without_values_has_no_percentile(void **state)
{
    (void)state;
    uint64_t ns = 7;
    framed_series_init(&series[0], 1000);
    framed_series_add(&series[0], 2500, 1);
    assert_false(framed_series_at(&series[0], 0, 99, &ns));
    assert_false(framed_series_at(&series[0], 1, 99, &ns));
    assert_int_equal(ns, 7);
    assert_true(framed_series_at(&series[0], 2, 99, &ns));
    assert_int_equal(ns, 1);
}

/* ---- reports ---- */

static struct load_plan plan;
static struct load_result result;
static struct bench_report report;
static struct cli_output out;
static char said[20000];
static size_t said_len;

static enum framed_status keep(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    assert_true(n < sizeof said - said_len);
    memcpy(said + said_len, at, n);
    said_len += n;
    return FRAMED_OK;
}

/* 10,000 replies of 1 to 10,000 us, in 2 s. */
static void begin(void)
{
    memset(&plan, 0, sizeof plan);
    memset(&result, 0, sizeof result);
    plan.conns = plan.threads = plan.pipeline = 1;
    plan.size_least = plan.size_most = 64;
    plan.duration_ns = 2000000000;
    framed_series_init(&result.series, 1000000000);
    for (uint64_t i = 1; i <= 10000; i++) {
        framed_histogram_add(&result.response, i * 1000);
        framed_series_add(&result.series, i * 200000, i * 1000);
    }
    result.ok = 10000;
    result.begin_ns = 1000000000;
    result.end_ns = 3000000000;
    result.ran_ns = 2000000000;
    result.idle_ns = 1500000000;
    report = (struct bench_report){.address = "somewhere:1", .sizes = "64 B", .plan = &plan, .result = &result};
}

static const char *text_of(void (*put)(const struct bench_report *, struct cli_output *))
{
    framed_output_init(&out, FORMAT_TEXT, keep, NULL);
    said_len = 0;
    put(&report, &out);
    assert_int_equal(framed_output_flush(&out), FRAMED_OK);
    said[said_len] = '\0';
    return said;
}

static void says(const char *words)
{
    if (strstr(said, words) == NULL) fail_msg("\"%s\" is not in:\n%s", words, said);
}

static void says_not(const char *words)
{
    if (strstr(said, words) != NULL) fail_msg("\"%s\" is in:\n%s", words, said);
}

static void the_table_tells_what_was_done_and_how_long_it_took(void **state)
{
    (void)state;
    begin();
    text_of(framed_bench_text);
    says("bench somewhere:1  1 connection  1 thread  64 B  closed loop  2 s\n");
    says("latency   (closed loop: it waits for replies, tails look better than users see)\n");
    says("p50        5.01 ms\n");
    says("p99.9     10.00 ms\n"); /* the end of a bin, but never above the greatest */
    says("p99.99           -\n"); /* one value lies beyond it */
    says("max       10.00 ms\n");
    says("sent 10000  ok 10000  failed 0  5000/s\n");
    says("generator busy 25%\n");
    says_not("warning");
    says_not("service");
    says_not("verified");
}

static void the_picture_has_every_value_in_its_row(void **state)
{
    (void)state;
    begin();
    text_of(framed_bench_text);
    says("  5-10 ms      ########################################   50.");
    says("  2-5 ms       ");
    says("   29.");
    says("  1-2 us       #");
    says("p99 by second  -#");
    report.utf8 = true;
    text_of(framed_bench_text);
    says("  1-2 us       \u258f ");
    says("p99 by second  \u2584\u2588");
    double sum = 0;
    for (const char *at = strstr(said, "1-2 us"); (at = strchr(at, '%')) != NULL && strstr(at, "sent") != NULL; at++)
        sum += strtod(at - 5, NULL);
    assert_true(sum > 99 && sum < 101);
}

static void an_open_loop_has_both_times_and_its_late_sends(void **state)
{
    (void)state;
    begin();
    plan.rate = 6000;
    framed_histogram_merge(&result.service, &result.response);
    result.late = 150;
    result.held = 120;
    text_of(framed_bench_text);
    says("open loop 6000/s");
    says("response     service   (response: from the intended send; service: from the actual send)\n");
    says("p50        5.01 ms     5.01 ms\n");
    says("achieved 5000/s of 6000/s\n");
    says("late sends 1.50% (1.20% because the connection was full)\n");
    says_not("warning"); /* 30 in 10,000 are the generator's */
    result.held = 0;
    text_of(framed_bench_text);
    says("warning: the generator, not the server, may be the limit\n");
}

static void a_busy_generator_is_warned_of(void **state)
{
    (void)state;
    begin();
    result.idle_ns = result.ran_ns / 10;
    assert_true(framed_bench_is_limit(&report));
    result.idle_ns = result.ran_ns / 9;
    assert_false(framed_bench_is_limit(&report));
}

static void every_kind_of_failure_is_named_and_counted(void **state)
{
    (void)state;
    begin();
    plan.verify = true;
    for (int i = 0; i < LOAD_FAILURES; i++) result.failed[i] = 1u << i;
    result.pending = 1000;
    report.interrupted = true;
    text_of(framed_bench_text);
    says("INTERRUPTED");
    says("sent 11062  ok 10000  failed 255: connect 1, timeout 2, closed 4, reset 8, protocol 16, mismatch 32, not_sent 64, "
         "unasked "
         "128  pending 1000  verified NO");
    text_of(framed_bench_json);
    says("\"interrupted\":true");
    says("\"sent\":11062,\"ok\":10000,\"pending\":1000,\"failed\":255,\"failures\":{\"connect\":1,\"timeout\":2,\"closed\":"
         "4,\"reset\":8,"
         "\"protocol\":16,\"mismatch\":32,\"not_sent\":64,\"unasked\":128}");
}

static void a_run_without_replies_is_told_too(void **state)
{
    (void)state;
    begin();
    memset(&result.response, 0, sizeof result.response);
    framed_series_init(&result.series, 1000000000);
    result.ok = 0;
    result.failed[LOAD_TIMEOUT] = 3;
    text_of(framed_bench_text);
    says("p50              -\n");
    says("max              -\n");
    says("sent 3  ok 0  failed 3: timeout 3  0/s\n");
    text_of(framed_bench_json);
    says("\"response\":{\"count\":0,\"min_ns\":null,\"mean_ns\":null,\"p50_ns\":null");
}

/* ---- an earlier run, limits ---- */

static void what_json_says_is_read_as_a_baseline(void **state)
{
    (void)state;
    begin();
    text_of(framed_bench_json);
    struct bench_baseline b = {.path = "before"};
    assert_true(framed_bench_read_baseline(framed_bytes_of(said, said_len), &b));
    assert_int_equal(b.rate, 5000);
    assert_int_equal(b.max_ns, 10000000);
    for (int i = 0; i < BENCH_SHARES; i++) {
        uint64_t ns = 0;
        assert_int_equal(b.known[i], framed_histogram_share(&result.response, framed_bench_shares[i], 10000, &ns));
        if (b.known[i]) assert_int_equal(b.share_ns[i], ns);
    }
    report.baseline = b;
    text_of(framed_bench_text);
    says("p90        9.04 ms     9.04 ms\n");
    says("p99.99           -           -\n");
    says("(baseline 5000/s)");
    for (size_t n = 0; n < 200; n++) assert_false(framed_bench_read_baseline(framed_bytes_of(said, n), &b));
}

static bool crosses(const char *text, bool *unknown)
{
    struct bench_limit limit;
    char now[40];
    if (!framed_bench_read_limit(text, &limit)) fail_msg("%s", text);
    return framed_bench_is_crossed(&report, &limit, unknown, now, sizeof now);
}

static void limits_are_compared(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool crossed;
    } limits[] = {
        {"p50>5ms", true},      {"p50>5100us", false}, {"p99<10ms", true},   {"max>=10ms", true},  {"max>10ms", false},
        {"max<=10ms", true},    {"min<1us", false},    {"min<=1us", true},   {"mean>5ms", true},   {"mean>5.1ms", false},
        {"rate<5k", false},     {"rate<=5k/s", true},  {"rate>5001", false}, {"failed>99", true},  {"failed>100", false},
        {"failed>0.99%", true}, {"failed>1%", false},  {"late>0.5%", false}, {"late>=0.4%", true},
    };
    begin();
    result.ok = 9900;
    result.failed[LOAD_MISMATCH] = 100;
    result.end_ns = result.begin_ns + 1980000000;
    result.late = 40;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        bool unknown;
        if (crosses(limits[i].text, &unknown) != limits[i].crossed || unknown) fail_msg("%s", limits[i].text);
    }
}

static void a_limit_that_cannot_be_told_is_crossed(void **state)
{
    (void)state;
    bool unknown;
    begin();
    assert_true(crosses("p99.99>1000s", &unknown));
    assert_true(unknown);
}

static void what_is_no_limit_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",          "p99",    "p99>",      "p98>5ms",  "p99=5ms",  "p99==5ms", "p99<>5ms",
        "p99>>5ms",  ">5ms",   "p99>5",     "p99>5k",   "p99>-1ms", "rate<5ms", "failed>1ms",
        "failed>x%", "late>5", "p99>=5ms ", "p99 >5ms", "P99>5ms",  "p99=>5ms", "nothingofthekind>5ms"};
    struct bench_limit limit;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (strcmp(wrong[i], "p99>5") == 0) continue; /* a bare number is seconds, as everywhere */
        if (framed_bench_read_limit(wrong[i], &limit)) fail_msg("%s", wrong[i]);
    }
}

/* ---- HdrHistogram's text ---- */

static void the_percentiles_for_plotters_rise_to_all_values(void **state)
{
    (void)state;
    begin();
    framed_output_init(&out, FORMAT_TEXT, keep, NULL);
    said_len = 0;
    framed_bench_hdr(&result.response, &out);
    (void)framed_output_flush(&out);
    said[said_len] = '\0';
    const char *at = said, *head = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n";
    assert_memory_equal(at, head, strlen(head));
    double value, share, inverse, last_value = 0, last_share = -1;
    unsigned long long count, last_count = 0, rows = 0;
    for (at += strlen(head); *at != '#'; at = strchr(at, '\n') + 1, rows++) {
        int fields = sscanf(at, "%lf %lf %llu %lf", &value, &share, &count, &inverse);
        assert_true(fields >= 3);
        assert_true(value >= last_value && share > last_share && count >= last_count);
        assert_true((double)count >= share * 10000 - 1e-6);
        assert_true(value >= share * 10 - 1e-9 &&
                    value <= share * 10 * 129 / 128 + 0.0021); /* ms; the values are 1 to 10,000 us */
        if (share < 1) assert_true(inverse > 0.994 / (1 - share) && inverse < 1.006 / (1 - share));
        last_value = value;
        last_share = share;
        last_count = count;
    }
    assert_true(last_share == 1 && last_count == 10000 && last_value == 10.0);
    assert_true(rows > 60);
    says("#[Mean    =        5.000, StdDeviation   =        2.8");
    says("#[Max     =       10.000, Total count    =        10000]\n");
}

/* ---- the drawing ---- */

static const char *behind(const char *at, const char *text)
{
    at = strstr(at, text);
    assert_non_null(at);
    return at + strlen(text);
}

static bool near(double a, double b, double by)
{
    return a - b < by && b - a < by;
}

/* The next point of a path; false: it ends. */
static bool point(const char **at, double *x, double *y)
{
    int used = 0;
    if (strncmp(*at, "h4", 2) == 0) *at += 2;
    if (sscanf(*at, "%*1[ML]%lf %lf%n", x, y, &used) != 2) return false;
    *at += used;
    return true;
}

static void a_drawing_shows_the_figures(void **state)
{
    (void)state;
    begin();
    double x, y, tail = 1;
    const char *at = behind(text_of(framed_bench_plot), "<path class=\"a\" d=\"");
    for (int i = 0; i <= 30; i++, tail *= 0.794328235) { /* down to ten of 10,000; three decades, 10 ms */
        assert_true(point(&at, &x, &y));
        assert_true(near(x + (i == 0 ? 2 : 0), 80 + 20.0 * i, 0.06)); /* the first is drawn as a dot */
        assert_true(near(y, 300 - 190 * (1 - tail), 190.0 / 128 + 0.1));
    }
    assert_false(point(&at, &x, &y));
    at = behind(behind(at, "replies a second"), "<path class=\"a\" d=\"");
    for (int i = 0; i < 2; i++) { /* 5,000 in each of two seconds: all of 0 to 5,000 */
        assert_true(point(&at, &x, &y));
        assert_true(near(x + (i == 0 ? 2 : 0), 80 + 150 + 300.0 * i, 0.06));
        assert_true(near(y, 110 + 2 * 265, 0.1));
    }
    assert_false(point(&at, &x, &y));
    says("framed bench somewhere:1, 1 connection, 64 B, closed loop");
    says("ok 10000, failed 0, 5000/s, p50 5.01 ms, max 10.00 ms<");
    assert_null(strstr(said, "service"));
    assert_string_equal(said + said_len - 7, "</svg>\n");
}

static void a_drawing_stays_in_its_frame(void **state)
{
    (void)state;
    static const uint64_t scales[] = {0, 1, 999, UINT64_C(1000000007), UINT64_MAX / 10000};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        for (int gap = 0; gap < 2; gap++) {
            begin();
            memset(&result.response, 0, sizeof result.response);
            framed_series_init(&result.series, 1000000000);
            for (uint64_t n = 1; n <= 10000; n++) {
                if (gap && n > 3000 && n < 7000) continue;
                framed_histogram_add(&result.response, n * scales[i]);
                framed_histogram_add(&result.service, n * scales[i] / 2);
                framed_series_add(&result.series, n * 6000000, n * scales[i]);
            }
            result.end_ns = result.begin_ns + UINT64_C(60000000000);
            plan.rate = 100;
            report.baseline = (struct bench_baseline){.path = "x", .known = {true, true}, .share_ns = {7, scales[i]}};
            const char *at = text_of(framed_bench_plot);
            int paths = 0, lines = 0;
            double x, y;
            for (; (at = strstr(at, " d=\"")) != NULL; paths++) {
                at += 4;
                while (point(&at, &x, &y)) {
                    lines++;
                    assert_true(x >= 78 && x <= 690 && y >= 110 && y <= 110 + 2 * 265 + 190);
                }
            }
            assert_true(paths > 20 && lines > 3 * 30);
            assert_null(strstr(said, "nan"));
            assert_null(strstr(said, "inf"));
            const char *p50 = behind(behind(said, "as it went"), "<path class=\"a\" d=\"");
            int pieces = 0;
            for (; *p50 != '"'; p50++) pieces += *p50 == 'M';
            assert_int_equal(pieces, 1 + gap); /* where nothing came the line is broken */
        }
    }
}

static void what_is_left_of_a_second_is_drawn_when_it_is_enough(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        double x, y;
        int points = 0;
        begin();
        framed_series_add(&result.series, 2000000001, 1);
        result.end_ns += i == 0 ? 200000000 : 300000000;
        const char *at = behind(behind(text_of(framed_bench_plot), "replies a second"), "<path class=\"a\" d=\"");
        while (point(&at, &x, &y)) points++;
        assert_int_equal(points, 2 + i);
    }
}

/* A stall at the end is in the picture, though its slot is too short to tell a rate. */
static void the_worst_time_is_drawn_wherever_it_was(void **state)
{
    (void)state;
    double x, y, least = 1000;
    begin();
    framed_histogram_add(&result.response, 20000000);
    framed_series_add(&result.series, 2000000001, 20000000);
    result.end_ns += 10000000;
    const char *at = behind(behind(text_of(framed_bench_plot), "as it went"), "<path class=\"c\" d=\"");
    while (point(&at, &x, &y))
        if (y < least) least = y;
    assert_true(near(least, 110 + 265, 0.1)); /* at the top: 20 ms */
}

static void a_rate_falls_to_nothing_when_nothing_comes(void **state)
{
    (void)state;
    double x = 0, y = 0;
    int points = 0;
    begin();
    result.end_ns += UINT64_C(4000000000); /* nothing in the last four of six seconds */
    const char *at = behind(behind(text_of(framed_bench_plot), "replies a second"), "<path class=\"a\" d=\"");
    while (point(&at, &x, &y)) points++;
    assert_int_equal(points, 5); /* one reply came at two seconds sharp */
    assert_true(near(x, 680, 0.1) && near(y, 110 + 2 * 265 + 190, 0.1));
}

static void a_drawing_shows_no_markup_of_others(void **state)
{
    (void)state;
    begin();
    report.address = "unix:/a<b>&\"c\n\x80";
    (void)text_of(framed_bench_plot);
    says("framed bench unix:/a?b??\"c??, 1 connection");
    report.interrupted = true;
    memset(&result, 0, sizeof result);
    (void)text_of(framed_bench_plot);
    says("<title>INTERRUPTED: framed bench ");
    assert_null(strstr(said, "time by percentile"));
    says("ok 0, failed 0, 0/s, p50 -, max 0 us<");
    assert_null(strstr(said, "as it went"));
    assert_string_equal(said + said_len - 7, "</svg>\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_due_at_even_distances_without_drift),
        cmocka_unit_test(as_many_are_due_before_a_time_as_the_schedule_says),
        cmocka_unit_test(threads_share_out_all_requests),
        cmocka_unit_test(a_series_keeps_every_value_however_long_it_lasts),
        cmocka_unit_test(series_of_different_widths_are_put_together),
        cmocka_unit_test(a_slot_without_values_has_no_percentile),
        cmocka_unit_test(the_table_tells_what_was_done_and_how_long_it_took),
        cmocka_unit_test(the_picture_has_every_value_in_its_row),
        cmocka_unit_test(an_open_loop_has_both_times_and_its_late_sends),
        cmocka_unit_test(a_busy_generator_is_warned_of),
        cmocka_unit_test(every_kind_of_failure_is_named_and_counted),
        cmocka_unit_test(a_run_without_replies_is_told_too),
        cmocka_unit_test(what_json_says_is_read_as_a_baseline),
        cmocka_unit_test(limits_are_compared),
        cmocka_unit_test(a_limit_that_cannot_be_told_is_crossed),
        cmocka_unit_test(what_is_no_limit_is_refused),
        cmocka_unit_test(the_percentiles_for_plotters_rise_to_all_values),
        cmocka_unit_test(a_drawing_shows_the_figures),
        cmocka_unit_test(a_drawing_stays_in_its_frame),
        cmocka_unit_test(what_is_left_of_a_second_is_drawn_when_it_is_enough),
        cmocka_unit_test(the_worst_time_is_drawn_wherever_it_was),
        cmocka_unit_test(a_rate_falls_to_nothing_when_nothing_comes),
        cmocka_unit_test(a_drawing_shows_no_markup_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
