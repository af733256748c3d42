/*
 * bench.c: the driver of `make bench`: our echo, and our tap before a bare one, against the bare one (floor.c), in alternating
 * short runs, and the bare one against itself for the noise; our load generator against the bare one (loadgen.c) in the same way;
 * two workers against one, in echo and where the handler is the limit (busy.c); our load and our echo with checksums against the same
 * without; then the programs walk and idle.
 * Must not know how either server works. Invariants: a child is ended by its process id, also on SIGINT and when this process
 * dies; every wait has an end; a run with a wrong or missing reply gives no figure but a failure.
 */
#define _GNU_SOURCE 1
#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 5000, ROUNDS_MOST = 101, PATH_SIZE = 512 };

static const double RUN_SECONDS = 0.7;
static const double WARM_SECONDS = 0.1;
static const double DISTURBED = 0.10; /* of one core: a run during which others took more is made again */
static const double UNSTEADY = 0.05;  /* a spread above this is no excuse for missing a target */

/* ---- cores ---- */

static int server_core = -1; /* -1: unpinned */
static int load_core = -1;

static cpu_set_t allowed;

static void choose_cores(void)
{
    int found = 0;
    int cores[2];
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
        if (CPU_ISSET((size_t)i, &allowed)) cores[found++] = i;
    if (found < 2) {
        puts("only one core: server and load share it, unpinned; the targets do not apply as they stand");
        return;
    }
    server_core = cores[0];
    load_core = cores[1];
}

static void pin_to(int core)
{
    cpu_set_t set;
    if (core < 0) return;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) perror("bench: sched_setaffinity");
}

/* Nobody has a core to himself. */
static void use_all_cores(void)
{
    if (server_core >= 0 && sched_setaffinity(0, sizeof allowed, &allowed) != 0) perror("bench: sched_setaffinity");
    server_core = load_core = -1;
}

/* ---- children ---- */

enum child { SERVER, TARGET, PROGRAM, CHILDREN };

struct server {
    enum child as;
    pid_t pid;
    int talk; /* its stderr */
    char port[8];
};

static volatile sig_atomic_t child_pids[CHILDREN]; /* for the signal handler; 0: none */

static void on_signal(int number)
{
    for (int i = 0; i < CHILDREN; i++)
        if (child_pids[i] > 0) kill((pid_t)child_pids[i], SIGKILL);
    _exit(128 + number);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
}

/* Starts a program; its stderr goes to `talk`, and its stdout nowhere, unless that is -1. Signals wait until child_pids is
 * right. */
static pid_t spawn(enum child as, char *const argv[], int core, int talk)
{
    sigset_t all;
    sigset_t before;
    pid_t parent = getpid();
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        pin_to(core);
        if (talk >= 0) {
            dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
            dup2(talk, STDERR_FILENO);
        }
        signal(SIGPIPE, SIG_DFL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        execv(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    if (pid > 0) child_pids[as] = (sig_atomic_t)pid;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* Reads the ready line, "NAME: listening on 127.0.0.1:PORT...", and keeps the port. */
static int read_ready_line(struct server *s, const char *path)
{
    static const char mark[] = "listening on 127.0.0.1:";
    char text[512];
    size_t have = 0;
    for (;;) {
        struct pollfd p = {.fd = s->talk, .events = POLLIN};
        if (have + 1 == sizeof text || poll(&p, 1, READY_MS) != 1) break;
        ssize_t n = read(s->talk, text + have, sizeof text - 1 - have);
        if (n <= 0) break;
        have += (size_t)n;
        text[have] = '\0';
        const char *at = strstr(text, mark);
        if (at == NULL || strchr(at, '\n') == NULL) continue;
        at += sizeof mark - 1;
        size_t digits = strspn(at, "0123456789");
        if (digits == 0 || digits >= sizeof s->port) break;
        memcpy(s->port, at, digits);
        s->port[digits] = '\0';
        return 0;
    }
    text[have] = '\0';
    fprintf(stderr, "bench: no ready line from %s: %s\n", path, text);
    return -1;
}

static void server_stop(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    child_pids[s->as] = 0;
    close(s->talk);
}

static int server_start(struct server *s, enum child as, char *const argv[])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        perror("bench: pipe");
        return -1;
    }
    s->as = as;
    s->pid = spawn(as, argv, as == SERVER ? server_core : load_core, ends[1]);
    s->talk = ends[0];
    close(ends[1]);
    if (s->pid < 0) {
        perror("bench: fork");
        close(s->talk);
        return -1;
    }
    if (read_ready_line(s, argv[0]) == 0) return 0;
    server_stop(s);
    return -1;
}

/* Runs a program to its end. */
static int run_program(char *const argv[])
{
    int status;
    fflush(stdout);
    pid_t pid = spawn(PROGRAM, argv, load_core, -1);
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("bench");
        return -1;
    }
    child_pids[PROGRAM] = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* ---- processor time ---- */

/* Seconds that all cores were busy so far, stolen time included. */
static double machine_busy_s(void)
{
    unsigned long long user, nice, system, idle, wait, irq, soft, stolen;
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL) return 0;
    int n =
        fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &soft, &stolen);
    fclose(f);
    return n == 8 ? (double)(user + nice + system + irq + soft + stolen) / (double)sysconf(_SC_CLK_TCK) : 0;
}

static double own_busy_s(void)
{
    double sum = 0;
    static const int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (size_t i = 0; i < 2; i++) {
        struct rusage u;
        if (getrusage(who[i], &u) != 0) continue;
        sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    }
    return sum;
}

/* ---- figures ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that a share of the n values lies below. */
static double quantile(const double *values, size_t n, double share)
{
    double sorted[ROUNDS_MOST];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    double place = share * (double)(n - 1);
    size_t i = (size_t)place;
    if (i + 1 >= n) return sorted[n - 1];
    return sorted[i] + (sorted[i + 1] - sorted[i]) * (place - (double)i);
}

static double median(const double *values, size_t n)
{
    return quantile(values, n, 0.5);
}

/* Half of the range in which the middle half of the values lies. */
static double spread(const double *values, size_t n)
{
    return (quantile(values, n, 0.75) - quantile(values, n, 0.25)) / 2;
}

enum metric { CPU, RATE, P50, METRICS };

static const char *const metric_name[METRICS] = {"CPU, ns/message", "messages/s", "p50, us"};

/* What is measured, and against what; for the workers one of them is the "floor". */
enum subject {
    ECHO,      /* our echo against a bare one */
    TAP,       /* our tap before a bare echo against that */
    GENERATOR, /* our generator on a bare echo against a bare one */
    SPARE,     /* our echo with two workers, one of them with nothing to do, against one */
    BUSY,      /* a handler that works for 20 us with two workers against one */
    SUMS,      /* our generator on our echo with checksums against both without */
    SUBJECTS
};

static const char *const subject_names[SUBJECTS] = {"echo", "tap", "generator", "spare", "busy", "sums"};

struct workload {
    const char *name;
    unsigned conns;
    unsigned inflight;
    uint32_t size;
    double target[METRICS]; /* of ours / floor; 0: the figure is printed without one */
    enum subject subject;
};

static const struct workload workloads[] = {
    {"64 B, 1 connection, 256 in flight", 1, 256, 64, {1.10, 0.95, 0}, ECHO},
    {"64 B, 64 connections, 16 in flight", 64, 16, 64, {1.10, 0, 0}, ECHO},
    {"1 KiB, 64 connections, 16 in flight", 64, 16, 1024, {1.10, 0, 0}, ECHO},
    {"1 MiB, 1 connection, 8 in flight", 1, 8, 1u << 20, {1.10, 0.95, 0}, ECHO},
    {"64 B, 1 connection, 1 in flight", 1, 1, 64, {0, 0, 1.05}, ECHO},
    {"tap: 64 B, 1 connection, 256 in flight", 1, 256, 64, {2.20, 0, 0}, TAP},
    {"tap: 64 B, 64 connections, 16 in flight", 64, 16, 64, {2.20, 0, 0}, TAP},
    {"generator: 64 B, 64 connections, 16 in flight", 64, 16, 64, {1.20, 0, 0}, GENERATOR},
    {"spare: 64 B, 1 connection, 256 in flight", 1, 256, 64, {1.03, 0, 0}, SPARE},
    {"busy: 64 B, 16 connections, 4 in flight", 16, 4, 64, {0, 1.30, 0}, BUSY},
    {"sums: 64 B, 1 connection, 256 in flight", 1, 256, 64, {0, 0.95, 0}, SUMS},
    {"sums: 1 MiB, 1 connection, 8 in flight", 1, 8, 1u << 20, {0, 0, 0}, SUMS},
};

enum side { OURS, FLOOR, FLOOR_AGAIN, SIDES };

struct samples {
    double of[SIDES][METRICS][ROUNDS_MOST];
};

struct options {
    const char *build; /* directory */
    unsigned rounds;
    double seconds;
};

static int measure(struct server *s, const struct load_config *config, double seconds, double figures[METRICS])
{
    struct load_result r;
    struct load *load = load_open(config);
    int failed = load == NULL || load_run(load, WARM_SECONDS, 0, &r) != 0;
    if (!failed) {
        poll(NULL, 0, 2); /* the server has gone back to sleep: its processor time is exact */
        uint64_t before = load_cpu_ns(s->pid);
        failed = load_run(load, seconds, 0, &r) != 0;
        if (!failed) {
            poll(NULL, 0, 2);
            figures[CPU] = (double)(load_cpu_ns(s->pid) - before) / (double)r.messages;
            figures[RATE] = (double)r.messages / r.seconds;
            figures[P50] = r.p50_us;
        }
    }
    if (failed) fprintf(stderr, "bench: %s\n", load_error());
    load_close(load);
    return failed ? -1 : 0;
}

/* One run against a fresh process, so that where its memory happened to lie is part of the spread and not of the figure. */
static int start_side(const struct options *o, enum subject subject, enum side side, struct server *s)
{
    char path[PATH_SIZE];
    char *workers = side == OURS && subject != ECHO ? "2" : "1";
    bool busy = subject == BUSY, ours = side == OURS || subject == SPARE;
    snprintf(path, sizeof path, busy ? "%s/bench/busy" : ours ? "%s/framed" : "%s/bench/floor", o->build);
    char *framed[] = {path, "serve", "127.0.0.1:0", "--echo", "--max-conns", "19000", "--workers", workers, NULL};
    char *floor[] = {path, busy ? workers : "0", NULL};
    return server_start(s, SERVER, ours && !busy ? framed : floor);
}

/* A tap that shows what passes to nobody, and behind it the bare echo, which shares the core of the load. */
static int start_tap(const struct options *o, struct server *tap, struct server *target)
{
    char floor_path[PATH_SIZE], tap_path[PATH_SIZE], between[64];
    snprintf(floor_path, sizeof floor_path, "%s/bench/floor", o->build);
    snprintf(tap_path, sizeof tap_path, "%s/framed", o->build);
    char *floor[] = {floor_path, "0", NULL};
    char *ours[] = {tap_path, "inspect", "--tap", between, NULL};
    if (server_start(target, TARGET, floor) != 0) return -1;
    snprintf(between, sizeof between, "127.0.0.1:0=127.0.0.1:%s", target->port);
    if (server_start(tap, SERVER, ours) == 0) return 0;
    server_stop(target);
    return -1;
}

/* How many requests a generator makes. */
static unsigned messages_of(const struct workload *w)
{
    return w->subject == GENERATOR ? 500000 : w->size > 1024 ? 2000 : 2000000;
}

/* A generator's own processor time, of a whole process, and the rate of its requests, its beginning and end included. */
static int generate(const struct options *o, const struct workload *w, enum side side, const char *port,
                    double figures[METRICS])
{
    const unsigned messages = messages_of(w);
    bool framed = side == OURS || w->subject == SUMS;
    char path[PATH_SIZE], address[64], conns[16], inflight[16], size[16], count[16];
    snprintf(path, sizeof path, "%s/%s", o->build, framed ? "framed" : "bench/loadgen");
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    snprintf(conns, sizeof conns, "%u", w->conns);
    snprintf(inflight, sizeof inflight, "%u", w->inflight);
    snprintf(size, sizeof size, "%u", (unsigned)w->size);
    snprintf(count, sizeof count, "%u", messages);
    char *ours[] = {path,     "bench", address, "--verify", "-c", conns,    "--pipeline", inflight,
                    "--size", size,    "-n",    count,      NULL, "crc32c", NULL};
    if (w->subject == SUMS && side == OURS) ours[sizeof ours / sizeof *ours - 3] = "--checksum";
    char *bare[] = {path, address, "-c", conns, "-p", inflight, "-s", size, "-n", count, NULL};
    int silence = open("/dev/null", O_WRONLY | O_CLOEXEC), status = -1;
    struct rusage used;
    uint64_t began = load_clock_ns();
    pid_t pid = spawn(PROGRAM, framed ? ours : bare, load_core, silence);
    close(silence);
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) return -1;
    child_pids[PROGRAM] = 0;
    double seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                     (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    figures[CPU] = seconds * 1e9 / messages;
    figures[RATE] = messages * 1e9 / (double)(load_clock_ns() - began);
    figures[P50] = 1; /* not of interest */
    if (status != 0) fprintf(stderr, "bench: a generator ended with status %d\n", status);
    return status == 0 ? 0 : -1;
}

static int generate_once(const struct options *o, const struct workload *w, enum side side, double figures[METRICS])
{
    struct server s;
    if (start_side(o, ECHO, FLOOR, &s) != 0) return -1;
    int failed = generate(o, w, side, s.port, figures);
    server_stop(&s);
    return failed;
}

/* The server's processor time, and the rate. */
static int sum_once(const struct options *o, const struct workload *w, enum side side, double figures[METRICS])
{
    struct server s;
    if (start_side(o, SPARE, FLOOR, &s) != 0) return -1; /* our echo, one worker */
    int failed = generate(o, w, side, s.port, figures);
    figures[CPU] = (double)load_cpu_ns(s.pid) / messages_of(w);
    server_stop(&s);
    return failed;
}

/* One run against a fresh process, so that where its memory happened to lie is part of the spread and not of the figure. */
static int run_once(const struct options *o, const struct workload *w, enum side side, double figures[METRICS])
{
    struct server s, target;
    if (w->subject == GENERATOR) return generate_once(o, w, side, figures);
    if (w->subject == SUMS) return sum_once(o, w, side, figures);
    bool tapped = w->subject == TAP && side == OURS;
    if ((tapped ? start_tap(o, &s, &target) : start_side(o, w->subject, side, &s)) != 0) return -1;
    struct load_config config = {"127.0.0.1", s.port, w->conns, w->inflight, w->size, 0, false};
    int failed = measure(&s, &config, o->seconds, figures);
    server_stop(&s);
    if (tapped) server_stop(&target);
    return failed;
}

/* What the machine and we had used at a moment, to learn what others took since then. */
struct moment {
    double busy;
    double own;
    uint64_t ns;
};

static struct moment now(void)
{
    return (struct moment){machine_busy_s(), own_busy_s(), load_clock_ns()};
}

/* The share of one core that others than this process and its children took. */
static double others_since(const struct moment *then)
{
    struct moment m = now();
    double seconds = (m.busy - then->busy) - (m.own - then->own);
    return seconds > 0 ? seconds * 1e9 / (double)(m.ns - then->ns) : 0;
}

/* `again`: how many runs may still be made again. */
static int run_undisturbed(const struct options *o, const struct workload *w, enum side side, double figures[METRICS],
                           unsigned *again)
{
    for (;;) {
        struct moment then = now();
        if (run_once(o, w, side, figures) != 0) return -1;
        if (*again == 0 || others_since(&then) <= DISTURBED) return 0;
        --*again;
    }
}

static int run_rounds(const struct options *o, const struct workload *w, struct samples *samples, unsigned *again)
{
    for (unsigned round = 0; round < o->rounds; round++) {
        for (unsigned i = 0; i < SIDES; i++) {
            enum side side = (enum side)((i + round) % SIDES); /* nobody always goes first */
            double figures[METRICS];
            if (run_undisturbed(o, w, side, figures, again) != 0) return -1;
            for (unsigned m = 0; m < METRICS; m++) samples->of[side][m][round] = figures[m];
        }
    }
    return 0;
}

static void ratios(const double *a, const double *b, unsigned n, double *out)
{
    for (unsigned i = 0; i < n; i++) out[i] = a[i] / b[i];
}

static void print_figure(double x)
{
    printf(x < 100 ? "  %10.2f" : "  %10.0f", x);
}

static const char *verdict(double ratio, double target, enum metric m, double noise)
{
    double beyond = m == RATE ? target - ratio : ratio - target;
    if (beyond <= 0) return "ok";
    if (beyond > noise) return "MISSED";
    return noise <= UNSTEADY ? "ok, within the spread" : "UNCLEAR, too unsteady here";
}

static void print_metric(const struct workload *w, const struct samples *s, enum metric m, unsigned n)
{
    double against_floor[ROUNDS_MOST];
    double noise[ROUNDS_MOST];
    ratios(s->of[OURS][m], s->of[FLOOR][m], n, against_floor);
    ratios(s->of[FLOOR_AGAIN][m], s->of[FLOOR][m], n, noise);
    double ratio = median(against_floor, n);

    printf("  %-24s", metric_name[m]);
    print_figure(median(s->of[OURS][m], n));
    print_figure(median(s->of[FLOOR][m], n));
    printf("  %6.3f  %6.3f", ratio, spread(against_floor, n));
    if (w->target[m] > 0)
        printf("  %s %.2f %s", m == RATE ? ">=" : "<=", w->target[m], verdict(ratio, w->target[m], m, spread(noise, n)));
    printf("\n  %-24s", "  floor against itself");
    print_figure(median(s->of[FLOOR_AGAIN][m], n));
    print_figure(median(s->of[FLOOR][m], n));
    printf("  %6.3f  %6.3f\n", median(noise, n), spread(noise, n));
}

static int run_workload(const struct options *o, const struct workload *w)
{
    static struct samples samples;
    unsigned most_again = 2 * SIDES * o->rounds;
    unsigned again = most_again;
    struct moment then = now();
    if (run_rounds(o, w, &samples, &again) != 0) return -1;

    printf("%s", w->name);
    if (again < most_again)
        printf("   (others took %.0f %% of one core meanwhile; %u runs made again)", 100 * others_since(&then),
               most_again - again);
    putchar('\n');
    for (unsigned m = 0; m < (w->subject == GENERATOR ? 1u : w->subject == SUMS ? 2u : METRICS); m++)
        print_metric(w, &samples, (enum metric)m, o->rounds);
    fflush(stdout);
    return 0;
}

static void print_first_line_of(const char *label, const char *path)
{
    char line[128] = "unknown\n";
    FILE *f = fopen(path, "re");
    if (f != NULL) {
        if (fgets(line, sizeof line, f) == NULL) line[0] = '\n';
        fclose(f);
    }
    printf("%s%s", label, line);
}

/* The workloads of one subject. */
static int bench_subject(const struct options *o, enum subject subject, long only)
{
    static const char *const titles[SUBJECTS] = {
        [ECHO] = "echo: framed serve --echo against the bare echo",
        [TAP] = "tap: framed inspect --tap before a bare echo against the bare echo",
        [GENERATOR] = "generator: framed bench --verify against the bare generator",
        [SPARE] = "spare: framed serve --workers 2, one with nothing to do, against --workers 1",
        [BUSY] = "busy: a handler that works for 20 us, two workers against one, on all cores",
        [SUMS] = "sums: framed serve and framed bench --verify, with CRC32C against without"};
    printf("%s, %u rounds%s, alternating\n", titles[subject], o->rounds, subject == GENERATOR ? " of 500,000 messages" : "");
    if (subject != GENERATOR && subject != SUMS) printf("a round is %.1f s\n", o->seconds);
    if (server_core >= 0 && subject != BUSY)
        printf("%s on core %d, load%s on core %d\n", subject == TAP ? "tap" : "server", server_core,
               subject == TAP ? " and the echo behind it" : "", load_core);
    print_first_line_of("congestion control: ", "/proc/sys/net/ipv4/tcp_congestion_control");
    print_first_line_of("load average before: ", "/proc/loadavg");
    printf("ratio, spread: median of the rounds' ratios, half the range of their middle half. A target is met when the "
           "ratio is\n"
           "within it plus the spread of the floor against itself, unless that is above %.2f.\n\n"
           "  %-24s  %10s  %10s  %6s  %6s  target\n",
           UNSTEADY, "", "ours", "floor", "ratio", "spread");
    fflush(stdout);
    int server_was = server_core, load_was = load_core, failed = 0;
    if (subject == BUSY) use_all_cores();
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads && !failed; i++) {
        if (workloads[i].subject != subject || (only > 0 && (size_t)only != i + 1)) continue;
        failed = run_workload(o, &workloads[i]);
    }
    server_core = server_was;
    load_core = load_was;
    pin_to(load_core);
    return failed;
}

static int bench_walk(const struct options *o)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/bench/walk", o->build);
    char *argv[] = {path, NULL};
    return run_program(argv);
}

static int bench_idle(const struct options *o)
{
    static char *const kinds[] = {"used", "unused"};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_SIZE];
        char pid[16];
        struct server s;
        if (start_side(o, ECHO, OURS, &s) != 0) return -1;
        snprintf(path, sizeof path, "%s/bench/idle", o->build);
        snprintf(pid, sizeof pid, "%d", (int)s.pid);
        char *argv[] = {path, kinds[i], s.port, pid, NULL};
        int failed = run_program(argv);
        server_stop(&s);
        if (failed != 0) return -1;
    }
    return 0;
}

static int usage(void)
{
    fputs("usage: bench all|echo|tap|generator|spare|busy|sums|walk|idle BUILD_DIR [-r ROUNDS] [-t SECONDS] [-w WORKLOAD (1 "
          "to "
          "12)]\n"
          "for example: build/bench/bench all build\n",
          stderr);
    return 2;
}

/* A whole number from 1 to `most`; 0: it is none. */
static long number_in(const char *text, long most)
{
    char *end;
    long n = strtol(text, &end, 10);
    return *end == '\0' && n >= 1 && n <= most ? n : 0;
}

int main(int argc, char **argv)
{
    enum { WORKLOADS = sizeof workloads / sizeof *workloads };
    if (argc < 3) return usage();
    struct options o = {.build = argv[2], .rounds = 9, .seconds = RUN_SECONDS};
    long only = 0;
    int option;
    optind = 3;
    while ((option = getopt(argc, argv, "r:t:w:")) != -1) {
        switch (option) {
        case 'r': o.rounds = (unsigned)number_in(optarg, ROUNDS_MOST); break;
        case 't': o.seconds = strtod(optarg, NULL); break;
        case 'w':
            only = number_in(optarg, WORKLOADS);
            if (only == 0) return usage();
            break;
        default: return usage();
        }
    }
    if (optind != argc || o.rounds == 0 || !(o.seconds > 0 && o.seconds <= 60)) return usage();
    bool all = strcmp(argv[1], "all") == 0;
    bool walk = all || strcmp(argv[1], "walk") == 0;
    bool idle = all || strcmp(argv[1], "idle") == 0;
    bool known = (walk || idle) && (all || only == 0);
    int failed = 0;
    for (size_t i = 0; i < WORKLOADS; i++)
        if (strcmp(argv[1], subject_names[workloads[i].subject]) == 0 && (only == 0 || (size_t)only == i + 1)) known = true;
    if (!known) return usage();

    catch_signals();
    choose_cores();
    pin_to(load_core);
    for (int i = 0; i < SUBJECTS; i++) {
        if (!all && strcmp(argv[1], subject_names[i]) != 0) continue;
        if (bench_subject(&o, (enum subject)i, only) != 0) failed = 1;
    }
    if (walk && bench_walk(&o) != 0) failed = 1;
    if (idle && bench_idle(&o) != 0) failed = 1;
    return failed;
}
