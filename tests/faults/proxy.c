/*
 * proxy.c: passes bytes between clients and a server, and does to each connection what networks, peers and middle boxes do:
 *
 *   proxy LEDGER LISTEN-PORT(0: any) TARGET-PORT
 *
 * After so many bytes of one direction it cuts (reset, or end), half-closes, stalls for a while or for good, goes on byte by
 * byte, or puts a length that is not allowed where a frame would begin; of what begins with a preface, so that it has checksums or
 * keys, it changes a bit anywhere. Prints "listening on ADDRESS". 127.0.0.1 only.
 * Must not know: the library. It follows frames only to know where garbage cannot be taken for a payload.
 * Invariants: but for that bit bytes that are passed on are passed unchanged and in order.
 */
#define _GNU_SOURCE
#include "ledger.h"
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS = 400, PIECE = 16384, GIVE_UP_MS = 9000, PREFACE = 0xf7 };

enum fate { FATE_NONE, FATE_RESET, FATE_END, FATE_HALF, FATE_STALL, FATE_SILENCE, FATE_TRICKLE, FATE_GARBAGE, FATES };

/* One direction: from `from` to the other end. */
struct way {
    uint8_t held[PIECE];
    size_t n, at;
    uint64_t passed;
    uint64_t fate_at;     /* bytes passed when it strikes; UINT64_MAX: never */
    uint64_t still_until; /* ms */
    uint32_t frame_left;  /* of the frame that passes: payload bytes */
    uint8_t word[4], word_n;
    bool ended;    /* the end came, or garbage went */
    bool finished; /* and was passed on */
    bool trickle;
    bool guarded; /* with checksums or keys, as its first byte says */
    bool spoil;   /* the next byte */
};

struct link {
    int fd[2]; /* 0: the client's, 1: the server's; -1: closed */
    struct way way[2];
    enum fate fate;
    uint64_t touched_ms;
};

static struct ledger *ledger;
static struct link *links[LINKS];
static size_t n_links;
static uint64_t seed;
static uint16_t target;
static volatile sig_atomic_t stop;

static void on_term(int number)
{
    (void)number;
    stop = 1;
}

static void reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void drop(struct link *l, bool reset)
{
    for (int i = 0; i < 2; i++) {
        if (l->fd[i] < 0) continue;
        if (reset) reset_on_close(l->fd[i]);
        (void)close(l->fd[i]);
        l->fd[i] = -1;
    }
}

/* A number of bytes such that every magnitude is as likely: 1 to 2^20. */
static uint64_t some_bytes(void)
{
    uint64_t most = UINT64_C(1) << ledger_below(&seed, 21);
    return 1 + ledger_below(&seed, most);
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(target), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    (void)close(fd);
    return -1;
}

static void welcome(int fd)
{
    struct link *l = n_links < LINKS ? calloc(1, sizeof *l) : NULL;
    int to = l != NULL ? dial() : -1;
    if (to < 0) {
        reset_on_close(fd);
        (void)close(fd);
        free(l);
        return;
    }
    l->fd[0] = fd;
    l->fd[1] = to;
    l->touched_ms = ledger_clock_ms();
    l->fate = ledger_below(&seed, 10) < 3 ? FATE_NONE : (enum fate)ledger_below(&seed, FATES);
    l->way[0].fate_at = l->way[1].fate_at = UINT64_MAX;
    if (l->fate != FATE_NONE) l->way[ledger_below(&seed, 2)].fate_at = some_bytes();
    links[n_links++] = l;
}

/* ---- passing on ---- */

/* How many of these bytes may pass before a frame begins; SIZE_MAX: none begins here. Advances over those that pass. */
static void follow(struct way *w, const uint8_t *at, size_t n)
{
    if (w->passed == 0 && n > 0) w->guarded = at[0] == PREFACE;
    if (w->guarded) return;
    for (size_t i = 0; i < n;) {
        if (w->frame_left > 0) {
            size_t skip = w->frame_left < n - i ? w->frame_left : n - i;
            w->frame_left -= (uint32_t)skip;
            i += skip;
            continue;
        }
        w->word[w->word_n++] = at[i++];
        if (w->word_n < 4) continue;
        w->frame_left = (uint32_t)w->word[0] << 24 | (uint32_t)w->word[1] << 16 | (uint32_t)w->word[2] << 8 | w->word[3];
        w->word_n = 0;
    }
}

static bool between_frames(const struct way *w)
{
    return w->guarded || (w->frame_left == 0 && w->word_n == 0);
}

/* Its moment has come. False: the link is gone. */
static bool strike(struct link *l, struct way *w, int to)
{
    static const uint8_t garbage[4] = {0xde, 0xad, 0xbe, 0xef};
    if (l->fate == FATE_GARBAGE && !between_frames(w)) {
        w->fate_at = w->passed + (w->frame_left > 0 ? w->frame_left : 1);
        return true;
    }
    w->fate_at = UINT64_MAX;
    ledger_add(&ledger->faults, 1);
    switch (l->fate) {
    case FATE_RESET: drop(l, true); return false;
    case FATE_END: drop(l, false); return false;
    case FATE_HALF: w->ended = true; break;
    case FATE_STALL: w->still_until = ledger_clock_ms() + ledger_below(&seed, 4000); break;
    case FATE_SILENCE: w->still_until = UINT64_MAX; break;
    case FATE_TRICKLE: w->trickle = true; break;
    default:
        if (w->guarded) {
            w->spoil = true;
            break;
        }
        (void)send(to, garbage, 1 + (size_t)ledger_below(&seed, sizeof garbage), MSG_NOSIGNAL | MSG_DONTWAIT);
        w->ended = true;
        break;
    }
    w->n = w->ended ? w->at : w->n; /* nothing more passes */
    return true;
}

/* Passes on what is held. False: the link is gone. */
static bool pass(struct link *l, int i, uint64_t now)
{
    struct way *w = &l->way[i];
    int to = l->fd[1 - i];
    while (w->at < w->n && now >= w->still_until) {
        size_t n = w->n - w->at;
        if (w->trickle) n = 1;
        if (w->fate_at - w->passed < n) n = (size_t)(w->fate_at - w->passed);
        if (w->spoil && n > 0) {
            w->held[w->at] ^= (uint8_t)(1u << ledger_below(&seed, 8));
            w->spoil = false;
        }
        ssize_t sent = n > 0 ? send(to, w->held + w->at, n, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
        if (sent < 0) return true; /* no room, or broken: reading will tell */
        follow(w, w->held + w->at, (size_t)sent);
        w->at += (size_t)sent;
        w->passed += (uint64_t)sent;
        l->touched_ms = now;
        if (w->passed >= w->fate_at && !strike(l, w, to)) return false;
        if (w->trickle && ledger_below(&seed, 2000) == 0) w->trickle = false;
        if (w->trickle) break;
    }
    if (w->at == w->n && w->ended && !w->finished && now >= w->still_until) {
        (void)shutdown(to, SHUT_WR);
        w->finished = true;
    }
    return true;
}

static bool read_more(struct link *l, int i)
{
    struct way *w = &l->way[i];
    uint8_t sink[PIECE];
    bool away = w->ended; /* what still comes goes nowhere */
    ssize_t n = recv(l->fd[i], away ? sink : w->held, PIECE, MSG_DONTWAIT);
    if (n < 0) {
        drop(l, true);
        return false;
    }
    if (n == 0) w->ended = true;
    if (away && n == 0) drop(l, false);
    if (away) return n > 0;
    w->n = (size_t)n;
    w->at = 0;
    return true;
}

static void serve_link(struct link *l, const struct pollfd *p, uint64_t now)
{
    for (int i = 0; i < 2; i++) {
        if (l->fd[0] < 0) return;
        if ((p[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && l->way[i].at == l->way[i].n && !read_more(l, i)) return;
        if (!pass(l, i, now)) return;
    }
    bool both = l->way[0].finished && l->way[1].finished;
    if (both || now - l->touched_ms > GIVE_UP_MS) drop(l, !both);
}

static void want(const struct link *l, struct pollfd *p, uint64_t now)
{
    for (int i = 0; i < 2; i++) {
        const struct way *w = &l->way[i];
        bool holds = w->at < w->n;
        bool reads = !holds && (!w->finished || !l->way[1 - i].finished);
        p[i] = (struct pollfd){.fd = l->fd[i], .events = reads ? POLLIN : 0};
        (void)now;
    }
    for (int i = 0; i < 2; i++)
        if (l->way[i].at < l->way[i].n && now >= l->way[i].still_until) p[1 - i].events |= POLLOUT;
    for (int i = 0; i < 2; i++)
        if (p[i].events == 0) p[i].fd = -1; /* an end, or a reset, would wake us again and again */
}

static int open_listener(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 256) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len)) {
        perror("proxy");
        exit(2);
    }
    printf("listening on 127.0.0.1:%u\n", (unsigned)ntohs(at.sin_port));
    (void)fflush(stdout);
    return fd;
}

static void turn(int listener)
{
    static struct pollfd polled[1 + 2 * LINKS];
    uint64_t now = ledger_clock_ms();
    size_t n = n_links;
    polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < n; i++) want(links[i], polled + 1 + 2 * i, now);
    (void)poll(polled, (nfds_t)(1 + 2 * n), 5);
    if ((polled[0].revents & POLLIN) != 0) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) welcome(fd);
    }
    now = ledger_clock_ms();
    for (size_t i = 0; i < n; i++) serve_link(links[i], polled + 1 + 2 * i, now);
    for (size_t i = n_links; i-- > 0;) {
        if (links[i]->fd[0] >= 0) continue;
        free(links[i]);
        links[i] = links[--n_links];
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "proxy LEDGER LISTEN-PORT TARGET-PORT\n");
        return 2;
    }
    ledger = ledger_open(argv[1]);
    seed = ledger_seed();
    target = (uint16_t)strtoul(argv[3], NULL, 10);
    struct sigaction act = {.sa_handler = on_term};
    (void)sigaction(SIGTERM, &act, NULL);
    int listener = open_listener((uint16_t)strtoul(argv[2], NULL, 10));
    while (!stop) turn(listener);
    return 0;
}
