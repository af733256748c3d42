/*
 * net_raw.c: sockets of the tests' own, which know frames and nothing else.
 * Must not know who is at the other end.
 * Invariants: every socket is close-on-exec; whatever blocks gives up after NET_PATIENCE_MS; no write raises SIGPIPE.
 */
#define _GNU_SOURCE
#include "net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

union any_address {
    struct sockaddr generic;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static socklen_t parse(const char *text, union any_address *a)
{
    *a = (union any_address){0};
    if (strncmp(text, "unix:", 5) == 0) {
        a->un.sun_family = AF_UNIX;
        assert_true(strlen(text + 5) < sizeof a->un.sun_path);
        memcpy(a->un.sun_path, text + 5, strlen(text + 5) + 1);
        return sizeof a->un;
    }
    const char *colon = strrchr(text, ':');
    assert_non_null(colon);
    uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (text[0] == '[') {
        assert_int_equal(strncmp(text, "[::1]:", 6), 0);
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_addr = in6addr_loopback;
        a->in6.sin6_port = port;
        return sizeof a->in6;
    }
    a->in.sin_family = AF_INET;
    a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a->in.sin_port = port;
    return sizeof a->in;
}

static void set_buffers(int fd, struct net_buffers b)
{
    if (b.send_bytes > 0) assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &b.send_bytes, sizeof b.send_bytes), 0);
    if (b.receive_bytes > 0)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &b.receive_bytes, sizeof b.receive_bytes), 0);
}

static int with_patience(int fd)
{
    struct timeval t = {.tv_sec = NET_PATIENCE_MS / 1000};
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t), 0);
    return fd;
}

int net_connect_small(const char *address, struct net_buffers buffers)
{
    union any_address a;
    socklen_t len = parse(address, &a);
    int fd = with_patience(socket(a.generic.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set_buffers(fd, buffers); /* before connecting: the window is agreed on then */
    assert_int_equal(connect(fd, &a.generic, len), 0);
    return fd;
}

int net_connect(const char *address)
{
    return net_connect_small(address, (struct net_buffers){0});
}

int net_listen(const char *address, struct net_buffers buffers, char text[NET_ADDRESS_SIZE])
{
    union any_address a;
    socklen_t len = parse(address, &a);
    int fd = with_patience(socket(a.generic.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set_buffers(fd, buffers);
    assert_int_equal(bind(fd, &a.generic, len), 0);
    assert_int_equal(listen(fd, 16), 0);
    (void)snprintf(text, NET_ADDRESS_SIZE, "%s", address);
    if (a.generic.sa_family != AF_UNIX) net_name(fd, text);
    return fd;
}

void net_name(int fd, char text[NET_ADDRESS_SIZE])
{
    union any_address a;
    socklen_t len = sizeof a;
    assert_int_equal(getsockname(fd, &a.generic, &len), 0);
    if (a.generic.sa_family == AF_INET)
        (void)snprintf(text, NET_ADDRESS_SIZE, "127.0.0.1:%u", ntohs(a.in.sin_port));
    else
        (void)snprintf(text, NET_ADDRESS_SIZE, "[::1]:%u", ntohs(a.in6.sin6_port));
}

int net_accept(int listener)
{
    return with_patience(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}

bool net_has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool has = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    (void)close(fd);
    return has;
}

void net_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    (void)with_patience(fds[0]);
}

bool net_put(int fd, const void *at, size_t n)
{
    const uint8_t *from = at;
    while (n > 0) {
        ssize_t k = send(fd, from, n, MSG_NOSIGNAL);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return false;
        from += k;
        n -= (size_t)k;
    }
    return true;
}

void net_write(int fd, const void *at, size_t n)
{
    assert_true(net_put(fd, at, n));
}

void net_write_frame(int fd, const void *at, size_t n)
{
    uint8_t word[FRAMED_LENGTH_SIZE];
    assert_int_equal(framed_length_encode(word, n, FRAMED_FRAME_MOST), FRAMED_OK);
    net_write(fd, word, sizeof word);
    if (n > 0) net_write(fd, at, n);
}

enum net_end net_get(int fd, void *at, size_t n, size_t *got)
{
    uint8_t *to = at;
    *got = 0;
    while (*got < n) {
        ssize_t k = recv(fd, to + *got, n - *got, 0);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return NET_BROKEN;
        if (k == 0) return NET_ENDED;
        *got += (size_t)k;
    }
    return NET_FULL;
}

void net_read(int fd, void *at, size_t n)
{
    size_t got;
    assert_int_equal(net_get(fd, at, n, &got), NET_FULL);
}

size_t net_read_frame(int fd, uint8_t *at, size_t room)
{
    uint8_t word[FRAMED_LENGTH_SIZE];
    uint32_t len = 0;
    net_read(fd, word, sizeof word);
    assert_int_equal(framed_length_decode(word, FRAMED_FRAME_MOST, &len), FRAMED_OK);
    assert_true(len <= room);
    net_read(fd, at, len);
    return len;
}

void net_read_end(int fd)
{
    uint8_t byte;
    size_t got;
    assert_int_equal(net_get(fd, &byte, 1, &got), NET_ENDED);
}

bool net_is_silent(int fd)
{
    uint8_t byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void net_finish(int fd)
{
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
}

void net_reset(int fd)
{
    struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    assert_int_equal(close(fd), 0);
}

const char *net_fd(int fd)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "fd:%d", fd);
    return text;
}
