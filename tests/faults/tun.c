/*
 * tun.c: a bad cable between two network namespaces: a TUN device in each, and here what a packet meets between them: delay,
 * jitter (which lets packets overtake each other), loss, duplication, a rate; and what they carry is spoilt, so that TCP does not
 * notice.
 *
 *     tun NAMESPACE NAMESPACE [--delay MS] [--jitter MS] [--loss PERCENT] [--double PERCENT] [--rate KBIT] [--spoil PERCENT] [--seed N]
 *
 * Both devices are called "cable"; who starts this gives them addresses after the line "ready". SIGUSR1 cuts the cable (every
 * packet is lost, also those under way), SIGUSR2 mends it. SIGTERM prints what happened and ends. Linux, root.
 * Must not know what is in the packets, but where those of TCP carry something.
 * Invariants: `line` is a heap by (due, number); a packet that finds it full is lost, like any other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 2048, MOST_PACKETS = 8192 };

struct packet {
    uint64_t due_ns;
    uint64_t number; /* in the order in which they were read */
    int from;        /* end 0 or 1 */
    size_t len;
    uint8_t bytes[MOST_BYTES];
};

static struct packet *line[MOST_PACKETS];
static size_t waiting;
static int ends[2];
static double delay_ms, jitter_ms, loss, twice, rate_kbit, spoiling;
static uint64_t dice = 1;
static uint64_t free_ns[2]; /* until when each direction is busy sending, at the rate */
static uint64_t newest[2];  /* the highest number delivered in each direction */
static uint64_t read_count, lost, doubled, overtaken, spoilt;
static volatile sig_atomic_t cut, over;

static void fail(const char *what)
{
    (void)fprintf(stderr, "tun: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*, in [0, 1): the same for the same seed. */
static double chance(void)
{
    dice ^= dice >> 12;
    dice ^= dice << 25;
    dice ^= dice >> 27;
    return (double)((dice * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* ---- the line: a heap ---- */

static bool before(const struct packet *a, const struct packet *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void push(struct packet *p)
{
    size_t i = waiting++;
    for (; i > 0 && before(p, line[(i - 1) / 2]); i = (i - 1) / 2) line[i] = line[(i - 1) / 2];
    line[i] = p;
}

static struct packet *pop(void)
{
    struct packet *first = line[0], *last = line[--waiting];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= waiting) break;
        if (child + 1 < waiting && before(line[child + 1], line[child])) child++;
        if (!before(line[child], last)) break;
        line[i] = line[child];
        i = child;
    }
    line[i] = last;
    return first;
}

/* ---- packets ---- */

/* Two 16-bit words of what a packet of TCP carries change places: its checksum, which is their sum, stays as it was. False: they are
 * alike, or it carries less than two. The headers have no extensions but TCP's options. */
static bool spoil(uint8_t *bytes, size_t len)
{
    bool six = bytes[0] >> 4 == 6;
    size_t at = six ? 40 : (size_t)(bytes[0] & 15) * 4;
    if (len < at + 20 || bytes[six ? 6 : 9] != IPPROTO_TCP) return false;
    at += (size_t)(bytes[at + 12] >> 4) * 4;
    if (len < at + 4) return false;
    size_t words = (len - at) / 2;
    uint8_t *one = bytes + at + 2 * (size_t)(chance() * (double)words),
            *other = bytes + at + 2 * (size_t)(chance() * (double)words);
    uint8_t was[2];
    memcpy(was, one, 2);
    memcpy(one, other, 2);
    memcpy(other, was, 2);
    return memcmp(one, other, 2) != 0;
}

static void send_off(int from, const uint8_t *bytes, size_t len, uint64_t now)
{
    struct packet *p = waiting < MOST_PACKETS ? malloc(sizeof *p) : NULL;
    if (cut || chance() * 100 < loss || p == NULL) {
        free(p);
        lost++;
        return;
    }
    if (free_ns[from] < now) free_ns[from] = now;
    if (rate_kbit > 0) free_ns[from] += (uint64_t)((double)len * 8e6 / rate_kbit);
    p->due_ns = free_ns[from] + (uint64_t)((delay_ms + chance() * jitter_ms) * 1e6);
    p->number = read_count;
    p->from = from;
    p->len = len;
    memcpy(p->bytes, bytes, len);
    push(p);
}

static void take(int from)
{
    uint8_t bytes[MOST_BYTES];
    ssize_t n;
    while ((n = read(ends[from], bytes, sizeof bytes)) > 0) {
        uint64_t now = now_ns();
        read_count++;
        if (chance() * 100 < spoiling && spoil(bytes, (size_t)n)) spoilt++;
        send_off(from, bytes, (size_t)n, now);
        if (chance() * 100 < twice) {
            doubled++;
            send_off(from, bytes, (size_t)n, now);
        }
    }
}

static void deliver_due(void)
{
    while (waiting > 0 && line[0]->due_ns <= now_ns()) {
        struct packet *p = pop();
        if (cut || write(ends[!p->from], p->bytes, p->len) < 0) lost++; /* the device is down, or its queue is full */
        if (p->number < newest[p->from])
            overtaken++;
        else
            newest[p->from] = p->number;
        free(p);
    }
}

/* ---- beginning and end ---- */

static int open_end(const char *namespace)
{
    char path[256];
    (void)snprintf(path, sizeof path, "/run/netns/%.200s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) fail(path);
    (void)close(ns);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("/dev/net/tun");
    struct ifreq device = {.ifr_name = "cable", .ifr_flags = IFF_TUN | IFF_NO_PI};
    if (ioctl(fd, TUNSETIFF, &device) != 0) fail("TUNSETIFF");
    return fd;
}

static void on_signal(int number)
{
    if (number == SIGUSR1) cut = 1;
    if (number == SIGUSR2) cut = 0;
    if (number == SIGTERM) over = 1;
}

static void read_options(int argc, char **argv)
{
    for (int i = 3; i + 1 < argc; i += 2) {
        double value = strtod(argv[i + 1], NULL);
        if (strcmp(argv[i], "--delay") == 0)
            delay_ms = value;
        else if (strcmp(argv[i], "--jitter") == 0)
            jitter_ms = value;
        else if (strcmp(argv[i], "--loss") == 0)
            loss = value;
        else if (strcmp(argv[i], "--double") == 0)
            twice = value;
        else if (strcmp(argv[i], "--rate") == 0)
            rate_kbit = value;
        else if (strcmp(argv[i], "--spoil") == 0)
            spoiling = value;
        else if (strcmp(argv[i], "--seed") == 0)
            dice = (uint64_t)value * 2 + 1; /* never 0 */
        else
            argc = 0;
    }
    if (argc < 3 || argc % 2 == 0) {
        (void)fprintf(stderr,
                      "usage: tun NAMESPACE NAMESPACE [--delay MS] [--jitter MS] [--loss PERCENT] [--double PERCENT] "
                      "[--rate KBIT] [--spoil PERCENT] [--seed N]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    for (int i = 0; i < 2; i++) ends[i] = open_end(argv[1 + i]);
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM};
    sigset_t ours, none;
    sigemptyset(&ours);
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction act = {.sa_handler = on_signal};
        (void)sigaction(signals[i], &act, NULL);
        sigaddset(&ours, signals[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &ours, NULL); /* they come while we wait, and only then */
    (void)puts("ready");
    (void)fflush(stdout);
    while (!over) {
        struct pollfd p[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLIN}};
        uint64_t now = now_ns();
        uint64_t left = waiting == 0 ? UINT64_C(3600000000000) : line[0]->due_ns > now ? line[0]->due_ns - now : 0;
        struct timespec until = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        if (ppoll(p, 2, &until, &none) < 0 && errno != EINTR) fail("ppoll");
        deliver_due();
        for (int i = 0; i < 2; i++) take(i);
    }
    (void)printf("%llu packets, %llu lost, %llu doubled, %llu overtaken, %llu spoilt\n", (unsigned long long)read_count,
                 (unsigned long long)lost, (unsigned long long)doubled, (unsigned long long)overtaken,
                 (unsigned long long)spoilt);
    while (waiting > 0) free(pop());
    return 0;
}
