/*
 * os_posix_epoll.c: waiting with epoll, level-triggered.
 * Must not know what sockets are for.
 * Invariant: a socket is registered exactly while armed != 0; its memory outlives the batch in which it is closed.
 */
#define _GNU_SOURCE
#include "os_posix.h"

#ifdef __linux__
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 256 };

static int epoll_of(const struct os_poller *p)
{
    return (int)(intptr_t)p->state - 1; /* kept one up, so that a zeroed poller has none */
}

static enum framed_status epoll_open(struct os_poller *p)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) return framed_os_classify(errno);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(fd, EPOLL_CTL_ADD, p->wake_read, &e) != 0) {
        enum framed_status st = framed_os_classify(errno);
        (void)close(fd);
        return st;
    }
    p->state = (void *)((intptr_t)fd + 1);
    return FRAMED_OK;
}

static void epoll_close(struct os_poller *p)
{
    (void)close(epoll_of(p));
}

static enum framed_status epoll_arm(struct os_poller *p, struct os_socket *s, uint8_t events)
{
    struct epoll_event e = {.data.ptr = s};
    if (events & OS_READ) e.events |= EPOLLIN;
    if (events & OS_WRITE) e.events |= EPOLLOUT;
    int op = events == 0 ? EPOLL_CTL_DEL : s->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll_of(p), op, (int)s->handle, &e) != 0 && events != 0) return framed_os_classify(errno);
    s->armed = events;
    return FRAMED_OK;
}

static enum framed_status epoll_way_wait(struct os_poller *p, int timeout_ms)
{
    struct epoll_event batch[BATCH];
    int n = epoll_wait(epoll_of(p), batch, BATCH, timeout_ms);
    if (n < 0) return errno == EINTR ? FRAMED_OK : FRAMED_OS;
    for (int i = 0; i < n; i++) {
        if (batch[i].data.ptr == p) {
            framed_os_woken(p);
            continue;
        }
        uint8_t events = 0;
        if (batch[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) events |= OS_READ;
        if (batch[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) events |= OS_WRITE;
        framed_os_ready(batch[i].data.ptr, events);
    }
    return FRAMED_OK;
}

const struct os_way *framed_os_epoll(void)
{
    static const struct os_way way = {epoll_open, epoll_close, epoll_arm, epoll_way_wait};
    return &way;
}
#else
const struct os_way *framed_os_epoll(void)
{
    return NULL;
}
#endif
