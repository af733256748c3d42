/*
 * floor.c: the bare echo that every figure of `make bench` is divided by: one thread, level-triggered epoll, a 64 KiB buffer,
 * one receive and one send per readiness. It only frames: no limit, no deadline, no handler, and nothing of the library.
 * Must not know anything it is compared with. Invariants: a frame is sent back only when it is whole; a connection either
 * reads or has something to send, never both, so what waits is bounded by one receive or one large frame.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WORD = 4, BUFFER = 64 << 10, EVENTS = 256 };

/* `held` is [what a short send left][the beginning of a cut frame], or one large frame as far as it has come. */
struct conn {
    int fd;
    uint8_t *held;
    size_t cap;
    size_t len;
    size_t to_send; /* of `held`: waiting for writability; 0 while reading */
    size_t sent;    /* of `to_send` */
    size_t large;   /* size of the frame, word included, being received into `held`; else 0 */
};

static uint8_t buffer[BUFFER];

static size_t frame_size(const uint8_t *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return WORD + (size_t)__builtin_bswap32(word);
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    free(c->held);
    free(c);
}

static int want(int epoll, struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* The memory is kept for the next time: a fresh mapping for every large frame would be paid for in page faults. */
static int hold_room(struct conn *c, size_t need)
{
    if (need <= c->cap) return 0;
    uint8_t *at = realloc(c->held, need);
    if (at == NULL) return -1;
    c->held = at;
    c->cap = need;
    return 0;
}

/* Sends n bytes at `at`. 0: all left. 1: *left of them did not. -1: broken. */
static int send_some(struct conn *c, const uint8_t *at, size_t n, size_t *left)
{
    ssize_t sent = send(c->fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return -1;
    *left = sent < 0 ? n : n - (size_t)sent;
    return *left > 0;
}

static int large_receive(int epoll, struct conn *c)
{
    ssize_t got = recv(c->fd, c->held + c->len, c->large - c->len, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    c->len += (size_t)got;
    if (c->len < c->large) return 0;
    size_t left;
    int short_send = send_some(c, c->held, c->len, &left);
    if (short_send < 0) return -1;
    c->large = 0;
    if (!short_send) {
        c->len = 0;
        return 0;
    }
    c->to_send = c->len;
    c->sent = c->len - left;
    return want(epoll, c, EPOLLOUT);
}

/* Where the whole frames in n bytes end; *cut is the size of the frame that begins there, if that much is known. */
static size_t whole_frames(const uint8_t *at, size_t n, size_t *cut)
{
    size_t end = 0;
    *cut = 0;
    while (n - end >= WORD) {
        size_t size = frame_size(at + end);
        if (size > n - end) {
            *cut = size;
            break;
        }
        end += size;
    }
    return end;
}

static int small_receive(int epoll, struct conn *c)
{
    size_t n = c->len;
    if (n > 0) memcpy(buffer, c->held, n);
    ssize_t got = recv(c->fd, buffer + n, BUFFER - n, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    n += (size_t)got;

    size_t cut;
    size_t end = whole_frames(buffer, n, &cut);
    size_t left = 0;
    int short_send = end > 0 ? send_some(c, buffer, end, &left) : 0;
    if (short_send < 0) return -1;

    c->len = left + (n - end);
    if (c->len == 0) return 0;
    size_t large = cut > BUFFER ? cut : 0;
    if (hold_room(c, large > 0 && !short_send ? large : c->len) != 0) return -1;
    memcpy(c->held, buffer + end - left, c->len);
    if (!short_send) {
        c->large = large;
        return 0;
    }
    c->to_send = left;
    c->sent = 0;
    return want(epoll, c, EPOLLOUT);
}

static int on_writable(int epoll, struct conn *c)
{
    size_t left;
    int short_send = send_some(c, c->held + c->sent, c->to_send - c->sent, &left);
    if (short_send < 0) return -1;
    c->sent = c->to_send - left;
    if (short_send) return 0;
    c->len -= c->to_send;
    memmove(c->held, c->held + c->to_send, c->len);
    c->to_send = 0;
    if (c->len >= WORD && frame_size(c->held) > BUFFER) {
        c->large = frame_size(c->held);
        if (hold_room(c, c->large) != 0) return -1;
    }
    return want(epoll, c, EPOLLIN);
}

static void on_ready(int epoll, struct conn *c)
{
    int failed;
    if (c->to_send > 0) {
        failed = on_writable(epoll, c);
    } else if (c->large > 0) {
        failed = large_receive(epoll, c);
    } else {
        failed = small_receive(epoll, c);
    }
    if (failed) conn_close(c);
}

static void on_accept(int epoll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    int on = 1;
    struct conn *c = calloc(1, sizeof *c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (c == NULL || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) != 0) {
        close(fd);
        free(c);
        return;
    }
    c->fd = fd;
} /* NOLINT(clang-analyzer-unix.Malloc): epoll holds c */

static int listen_on(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(fd, SOMAXCONN) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

int main(int argc, char **argv)
{
    bool busy = argc == 3 && strcmp(argv[2], "busy") == 0;
    unsigned long asked = argc == 2 || busy ? strtoul(argv[1], NULL, 10) : 65536;
    if (asked > 65535) {
        fputs("usage: floor PORT [busy]    (0: any; the real one is printed; busy: it never sleeps)\n", stderr);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    uint16_t port = (uint16_t)asked;
    int listener = listen_on(&port);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e) != 0) {
        perror("floor");
        return 3;
    }
    fprintf(stderr, "floor: listening on 127.0.0.1:%u\n", (unsigned)port);

    static struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, busy ? 0 : -1);
        if (n < 0 && errno != EINTR) {
            perror("floor: epoll_wait");
            return 6;
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL) {
                on_accept(epoll, listener);
            } else {
                on_ready(epoll, events[i].data.ptr);
            }
        }
    }
}
