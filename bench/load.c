/*
 * load.c: the load generator of `make bench` and `make demo`.
 * Must not know the library, nor what it measures; it must never be the reason for a slow figure, so it makes no system call
 * and copies no payload per message. Invariants: for each connection replied <= sent <= due <= replied + inflight; the slot of
 * a request is rewritten only after its reply.
 */
#define _GNU_SOURCE 1
#include "load.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    WORD = 4,
    NUMBER = 8,
    WHOLE_SLOT = 16 << 10, /* up to this size a request lies in its slot whole, and neighbours leave as one view */
    RECEIVE = 256 << 10,
    VIEWS = 128,
    EVENTS = 128,
    SILENCE_MS = 5000
};

struct conn {
    int fd;
    bool waits_for_room; /* EPOLLOUT is armed */
    uint64_t due;        /* requests that may leave */
    uint64_t sent;       /* requests that have left whole */
    size_t sent_bytes;   /* of request number `sent` */
    uint64_t replied;
    size_t head_have; /* of a cut head: bytes in `head` */
    size_t tail_left; /* of the reply being received: bytes after the head still to come */
    uint8_t head[WORD + NUMBER];
    uint8_t *slots;   /* `inflight` requests, or their heads; number n lies in slot n % inflight */
    uint64_t *due_ns; /* when each was due */
};

struct load {
    unsigned conns;
    unsigned inflight;
    double rate;
    bool busy;
    int epoll;
    int timer;     /* of a run at a rate; else -1 */
    size_t frame;  /* bytes of a frame */
    size_t head;   /* of it, the part that is checked: length word and number */
    size_t stride; /* of it, the part that lies in a slot; the rest is `filler`, shared by all */
    uint8_t *filler;
    uint8_t *receive;
    struct conn *conn;

    uint64_t left_to_issue; /* of a counted run; else UINT64_MAX */
    uint64_t outstanding;
    uint64_t paced; /* requests issued by a run at a rate */
    struct tally tally;
};

/* ---- sending ---- */

static uint8_t *slot_of(const struct load *l, const struct conn *c, uint64_t number)
{
    return c->slots + (number % l->inflight) * l->stride;
}

static bool has_place(const struct load *l, const struct conn *c)
{
    return c->due - c->replied < l->inflight && l->left_to_issue > 0;
}

static void issue_one(struct load *l, struct conn *c, uint64_t due)
{
    memcpy(slot_of(l, c, c->due) + WORD, &c->due, l->head - WORD);
    c->due_ns[c->due % l->inflight] = due;
    c->due++;
    l->outstanding++;
    if (l->left_to_issue != UINT64_MAX) l->left_to_issue--;
}

static void issue(struct load *l, struct conn *c, uint64_t now)
{
    while (has_place(l, c)) issue_one(l, c, now);
}

/* The bytes of requests [sent, due) as views; *n of them. Requests that lie side by side are one view. */
static size_t gather(const struct load *l, const struct conn *c, struct iovec views[VIEWS])
{
    size_t n = 0;
    size_t skip = c->sent_bytes;
    uint64_t number = c->sent;
    while (number < c->due && n + 2 <= VIEWS) {
        if (l->stride == l->frame) {
            uint64_t slot = number % l->inflight;
            uint64_t run = l->inflight - slot < c->due - number ? l->inflight - slot : c->due - number;
            views[n++] = (struct iovec){slot_of(l, c, number) + skip, run * l->stride - skip};
            number += run;
        } else {
            if (skip < l->stride) views[n++] = (struct iovec){slot_of(l, c, number) + skip, l->stride - skip};
            size_t gone = skip > l->stride ? skip - l->stride : 0;
            views[n++] = (struct iovec){l->filler + gone, l->frame - l->stride - gone};
            number++;
        }
        skip = 0;
    }
    return n;
}

static int wait_for_room(struct load *l, struct conn *c, bool wait)
{
    if (c->waits_for_room == wait) return 0;
    struct epoll_event e = {.events = wait ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    c->waits_for_room = wait;
    return epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e) == 0 ? 0 : load_fail("epoll: %s", strerror(errno));
}

static int flush(struct load *l, struct conn *c)
{
    if (c->sent < c->due) {
        struct iovec views[VIEWS];
        struct msghdr message = {.msg_iov = views, .msg_iovlen = gather(l, c, views)};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) return load_fail("send: %s", strerror(errno));
        size_t bytes = c->sent_bytes + (sent > 0 ? (size_t)sent : 0);
        c->sent += bytes / l->frame;
        c->sent_bytes = bytes % l->frame;
    }
    return wait_for_room(l, c, c->sent < c->due);
}

/* ---- receiving ---- */

static int check_head(const struct load *l, const struct conn *c, const uint8_t *head)
{
    if (c->replied == c->due) return load_fail("a reply that nothing asked for");
    const uint8_t *asked = slot_of(l, c, c->replied);
    if (memcmp(head, asked, WORD) != 0) {
        return load_fail("reply %llu has length word %02x%02x%02x%02x instead of %lu", (unsigned long long)c->replied,
                         head[0], head[1], head[2], head[3], (unsigned long)(l->frame - WORD));
    }
    if (memcmp(head, asked, l->head) != 0) return load_fail("reply %llu is not its request", (unsigned long long)c->replied);
    return 0;
}

static void reply_is_whole(struct load *l, struct conn *c, uint64_t now)
{
    tally_note(&l->tally, now - c->due_ns[c->replied % l->inflight]);
    c->replied++;
    l->outstanding--;
}

static int take(struct load *l, struct conn *c, const uint8_t *at, size_t n, uint64_t now)
{
    const uint8_t *end = at + n;
    while (at < end) {
        if (c->tail_left > 0) {
            size_t here = (size_t)(end - at) < c->tail_left ? (size_t)(end - at) : c->tail_left;
            at += here;
            c->tail_left -= here;
            if (c->tail_left == 0) reply_is_whole(l, c, now);
            continue;
        }
        const uint8_t *head = at;
        if (c->head_have == 0 && (size_t)(end - at) >= l->head) {
            at += l->head;
        } else {
            c->head[c->head_have++] = *at++;
            if (c->head_have < l->head) continue;
            head = c->head;
            c->head_have = 0;
        }
        if (check_head(l, c, head) != 0) return -1;
        c->tail_left = l->frame - l->head;
        if (c->tail_left == 0) reply_is_whole(l, c, now);
    }
    return 0;
}

static int on_readable(struct load *l, struct conn *c, uint64_t *now)
{
    ssize_t n = recv(c->fd, l->receive, RECEIVE, MSG_DONTWAIT);
    *now = load_clock_ns();
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0) return load_fail("receive: %s", strerror(errno));
    if (n == 0) return load_fail("the server closed a connection");
    return take(l, c, l->receive, (size_t)n, *now);
}

/* ---- a run ---- */

static int start_all(struct load *l)
{
    uint64_t now = load_clock_ns();
    for (unsigned i = 0; i < l->conns; i++) {
        issue(l, &l->conn[i], now);
        if (flush(l, &l->conn[i]) != 0) return -1;
    }
    return 0;
}

static int wait_for(const struct load *l, struct epoll_event events[EVENTS])
{
    if (!l->busy) return epoll_wait(l->epoll, events, EVENTS, SILENCE_MS);
    uint64_t until = load_clock_ns() + SILENCE_MS * UINT64_C(1000000);
    int n;
    do n = epoll_wait(l->epoll, events, EVENTS, 0);
    while (n == 0 && load_clock_ns() < until);
    return n;
}

static int run_until(struct load *l, uint64_t stop_ns, uint64_t *now)
{
    struct epoll_event events[EVENTS];
    while (l->outstanding > 0) {
        int n = wait_for(l, events);
        if (n < 0 && errno != EINTR) return load_fail("epoll: %s", strerror(errno));
        if (n == 0) return load_fail("%llu replies did not come within 5 s", (unsigned long long)l->outstanding);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if ((events[i].events & ~(unsigned)EPOLLOUT) != 0 && on_readable(l, c, now) != 0) return -1;
            if (*now >= stop_ns) l->left_to_issue = 0;
            issue(l, c, *now);
            if (flush(l, c) != 0) return -1;
        }
    }
    return 0;
}

/* Those whose time has come, in turn on all connections; number k is due at start + k * step. */
static int issue_due(struct load *l, uint64_t start, uint64_t step, uint64_t now)
{
    for (;;) {
        struct conn *c = &l->conn[l->paced % l->conns];
        uint64_t due = start + l->paced * step;
        if (due > now || !has_place(l, c)) return 0;
        issue_one(l, c, due);
        l->paced++;
        if (flush(l, c) != 0) return -1;
    }
}

static int run_paced(struct load *l, uint64_t start, uint64_t step, uint64_t *now)
{
    struct epoll_event events[EVENTS];
    uint64_t heard = start;
    l->paced = 0;
    for (;;) {
        uint64_t ticks;
        uint64_t before = l->tally.messages;
        if (issue_due(l, start, step, load_clock_ns()) != 0) return -1;
        if (l->left_to_issue == 0 && l->outstanding == 0) return 0;
        int n = wait_for(l, events);
        if (n < 0 && errno != EINTR) return load_fail("epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                if (read(l->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
                    return load_fail("timer: %s", strerror(errno));
                continue;
            }
            if ((events[i].events & ~(unsigned)EPOLLOUT) != 0 && on_readable(l, c, now) != 0) return -1;
            if (flush(l, c) != 0) return -1;
        }
        if (l->tally.messages > before || l->outstanding == 0) heard = load_clock_ns();
        if (load_clock_ns() - heard > SILENCE_MS * 1000000ull) return load_fail("no reply came for 5 s");
    }
}

/* Ticks every `step` from now on. */
static int start_timer(struct load *l, uint64_t step)
{
    struct timespec each = {.tv_sec = (time_t)(step / 1000000000u), .tv_nsec = (long)(step % 1000000000u)};
    struct itimerspec when = {.it_interval = each, .it_value = each};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (l->timer < 0) {
        l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &e) != 0)
            return load_fail("timer: %s", strerror(errno));
    }
    return timerfd_settime(l->timer, 0, &when, NULL) == 0 ? 0 : load_fail("timer: %s", strerror(errno));
}

static int run_at_rate(struct load *l, double seconds, uint64_t count, uint64_t start, uint64_t *now)
{
    uint64_t step = (uint64_t)(1e9 / l->rate);
    uint64_t of_seconds = seconds > 0 ? (uint64_t)(seconds * l->rate) + 1 : UINT64_MAX;
    l->left_to_issue = count > 0 && count < of_seconds ? count : of_seconds;
    return start_timer(l, step) == 0 ? run_paced(l, start, step, now) : -1;
}

int load_run(struct load *l, double seconds, uint64_t count, struct load_result *result)
{
    memset(&l->tally, 0, sizeof l->tally);
    l->left_to_issue = count > 0 ? count : UINT64_MAX;
    uint64_t start = load_clock_ns();
    uint64_t stop = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
    uint64_t now = start;
    if (l->rate > 0) {
        if (run_at_rate(l, seconds, count, start, &now) != 0) return -1;
    } else if (start_all(l) != 0 || run_until(l, stop, &now) != 0) {
        return -1;
    }
    *result = tally_result(&l->tally, l->frame, (double)(now - start) / 1e9);
    return 0;
}

/* ---- opening and closing ---- */

static int connect_one(const struct addrinfo *to)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return load_fail("socket: %s", strerror(errno));
    int on = 1;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        load_fail("connect: %s", strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

static int conn_open(struct load *l, struct conn *c, const struct addrinfo *to)
{
    c->slots = malloc(l->inflight * l->stride);
    c->due_ns = calloc(l->inflight, sizeof *c->due_ns);
    if (c->slots == NULL || c->due_ns == NULL) return load_fail("out of memory");
    uint32_t word = htonl((uint32_t)(l->frame - WORD));
    memset(c->slots, 'f', l->inflight * l->stride);
    for (unsigned i = 0; i < l->inflight; i++) memcpy(c->slots + i * l->stride, &word, sizeof word);
    c->fd = connect_one(to);
    if (c->fd < 0) return -1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0 ? 0 : load_fail("epoll: %s", strerror(errno));
}

static int open_all(struct load *l, const struct load_config *config)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *to;
    int failed = getaddrinfo(config->host, config->port, &hints, &to);
    if (failed != 0) return load_fail("%s:%s: %s", config->host, config->port, gai_strerror(failed));
    for (unsigned i = 0; i < l->conns && failed == 0; i++) failed = conn_open(l, &l->conn[i], to);
    freeaddrinfo(to);
    return failed;
}

struct load *load_open(const struct load_config *config)
{
    struct load *l = calloc(1, sizeof *l);
    if (l == NULL) {
        load_fail("out of memory");
        return NULL;
    }
    l->conns = config->conns;
    l->inflight = config->inflight;
    l->rate = config->rate;
    l->busy = config->busy;
    l->timer = -1;
    l->frame = WORD + (size_t)config->size;
    l->head = WORD + (config->size < NUMBER ? config->size : NUMBER);
    l->stride = config->size <= WHOLE_SLOT ? l->frame : l->head;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->conn = calloc(l->conns, sizeof *l->conn);
    l->receive = malloc(RECEIVE);
    l->filler = malloc(l->frame - l->stride + 1);
    for (unsigned i = 0; l->conn != NULL && i < l->conns; i++) l->conn[i].fd = -1;
    if (l->epoll < 0 || l->conn == NULL || l->receive == NULL || l->filler == NULL) {
        load_fail("out of memory or descriptors");
        load_close(l);
        return NULL;
    }
    memset(l->filler, 'f', l->frame - l->stride);
    if (open_all(l, config) != 0) {
        load_close(l);
        return NULL;
    }
    return l;
}

void load_close(struct load *l)
{
    if (l == NULL) return;
    for (unsigned i = 0; l->conn != NULL && i < l->conns; i++) {
        if (l->conn[i].fd >= 0) close(l->conn[i].fd);
        free(l->conn[i].slots);
        free(l->conn[i].due_ns);
    }
    if (l->epoll >= 0) close(l->epoll);
    if (l->timer >= 0) close(l->timer);
    free(l->conn);
    free(l->receive);
    free(l->filler);
    free(l);
}
