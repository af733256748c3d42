/*
 * os_posix_poll.c: waiting with poll, which every POSIX system has.
 * Must not know what sockets are for.
 * Invariants: entry 0 is the wake pipe; armed sockets have their index in `slot`; entries of forgotten ones have fd -1 until
 * the next wait, so that no entry moves while they are walked.
 */
#include "../../proto/alloc.h"
#include "os_posix.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>

/* One block holds both arrays: `cap` sockets, then `cap` pollfds. */
struct entries {
    struct os_socket **sockets;
    struct pollfd *fds;
    size_t n;
    size_t cap;
    size_t gone; /* entries to be squeezed out */
};

enum { ENTRY_SIZE = sizeof(struct os_socket *) + sizeof(struct pollfd), ENTRIES_LEAST = 4, SHORT_REST_MS = 10 };

static enum framed_status grow(struct os_poller *p, struct entries *all, size_t cap)
{
    struct os_socket **sockets = mem_new(p->alloc, cap * ENTRY_SIZE);
    if (sockets == NULL) return FRAMED_NOMEM;
    struct pollfd *fds = (struct pollfd *)(void *)(sockets + cap);
    if (all->n > 0) {
        memcpy(sockets, all->sockets, all->n * sizeof *sockets); // NOLINT(bugprone-sizeof-expression): pointers are copied
        memcpy(fds, all->fds, all->n * sizeof *fds);
    }
    mem_free(p->alloc, all->sockets, all->cap * ENTRY_SIZE);
    all->sockets = sockets;
    all->fds = fds;
    all->cap = cap;
    return FRAMED_OK;
}

static void poll_close(struct os_poller *p)
{
    struct entries *all = p->state;
    mem_free(p->alloc, all->sockets, all->cap * ENTRY_SIZE);
    mem_free(p->alloc, all, sizeof *all);
}

static enum framed_status poll_open(struct os_poller *p)
{
    struct entries *all = mem_new(p->alloc, sizeof *all);
    if (all == NULL) return FRAMED_NOMEM;
    *all = (struct entries){0};
    p->state = all;
    enum framed_status st = grow(p, all, ENTRIES_LEAST);
    if (st != FRAMED_OK) {
        poll_close(p);
        return st;
    }
    all->fds[all->n++] = (struct pollfd){.fd = p->wake_read, .events = POLLIN};
    return FRAMED_OK;
}

static enum framed_status poll_arm(struct os_poller *p, struct os_socket *s, uint8_t events)
{
    struct entries *all = p->state;
    if (events == 0) {
        all->fds[s->slot].fd = -1;
        all->sockets[s->slot] = NULL;
        all->gone++;
        s->armed = 0;
        return FRAMED_OK;
    }
    if (s->armed == 0) {
        if (all->n == all->cap) {
            enum framed_status st = grow(p, all, all->cap * 2);
            if (st != FRAMED_OK) return st;
        }
        s->slot = (uint32_t)all->n++;
        all->sockets[s->slot] = s;
        all->fds[s->slot] = (struct pollfd){.fd = (int)s->handle};
    }
    all->fds[s->slot].events = (short)((events & OS_READ ? POLLIN : 0) | (events & OS_WRITE ? POLLOUT : 0));
    s->armed = events;
    return FRAMED_OK;
}

static void squeeze(struct entries *all)
{
    size_t to = 1;
    for (size_t i = 1; i < all->n; i++) {
        if (all->sockets[i] == NULL) continue;
        all->sockets[to] = all->sockets[i];
        all->fds[to] = all->fds[i];
        all->sockets[to]->slot = (uint32_t)to;
        to++;
    }
    all->n = to;
    all->gone = 0;
}

/* poll takes no more entries than the process may have descriptors, and that limit can be lowered while it has more. Then they
 * are looked at in pieces, and time passes resting. As poll. */
static int poll_pieces(struct pollfd *fds, size_t n, int timeout_ms)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
    size_t most = limit.rlim_cur < n ? (size_t)limit.rlim_cur : n;
    int ready = 0;
    for (size_t at = 0, piece; most > 0 && at < n; at += piece) {
        piece = most < n - at ? most : n - at;
        int some = poll(fds + at, (nfds_t)piece, 0);
        if (some < 0) return -1;
        ready += some;
    }
    if (ready == 0 && timeout_ms != 0)
        framed_os_sleep_ms(timeout_ms > 0 && timeout_ms < SHORT_REST_MS ? (uint32_t)timeout_ms : SHORT_REST_MS);
    return ready;
}

static enum framed_status poll_way_wait(struct os_poller *p, int timeout_ms)
{
    struct entries *all = p->state;
    if (all->gone > 0) squeeze(all);
    size_t n = all->n; /* what the callbacks add is not ready yet */
    int ready = poll(all->fds, (nfds_t)n, timeout_ms);
    if (ready < 0 && errno == EINVAL) ready = poll_pieces(all->fds, n, timeout_ms);
    if (ready < 0 && (errno == ENOMEM || errno == EAGAIN)) { /* the system is short of memory: soon it may not be */
        framed_os_sleep_ms(SHORT_REST_MS);
        return FRAMED_OK;
    }
    if (ready < 0) return errno == EINTR ? FRAMED_OK : FRAMED_OS;
    if (ready > 0 && all->fds[0].revents != 0) framed_os_woken(p);
    for (size_t i = 1; i < n && ready > 0; i++) {
        short got = all->fds[i].revents;
        if (got == 0 || all->sockets[i] == NULL) continue;
        uint8_t events = 0;
        if (got & (POLLIN | POLLERR | POLLHUP | POLLNVAL)) events |= OS_READ;
        if (got & (POLLOUT | POLLERR | POLLHUP | POLLNVAL)) events |= OS_WRITE;
        framed_os_ready(all->sockets[i], events);
    }
    return FRAMED_OK;
}

const struct os_way *framed_os_poll(void)
{
    static const struct os_way way = {poll_open, poll_close, poll_arm, poll_way_wait};
    return &way;
}
