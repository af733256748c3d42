/*
 * os_posix.c: sockets and pollers on POSIX systems.
 * Must not know anything of frames, connections' meaning or deadlines.
 * Invariants: every descriptor is non-blocking and close-on-exec; a socket whose armed events nobody wants any more is
 * disarmed the first time it reports one, so that nothing spins; sends never raise SIGPIPE.
 */
#define _GNU_SOURCE
#include "os_posix.h"
#include "../../proto/alloc.h"
#include "../../proto/be.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* What a caller has asked for (os_socket.wants). */
enum { WANT_ACCEPT = 1, WANT_CONNECT = 2, WANT_RECEIVE = 4, WANT_SEND = 8, CLOSING = 16 };

enum {
    ACCEPTS_PER_TURN = 64, /* so that a flood of connections does not keep the others waiting */
    VIEWS_PER_SEND = 64,
    BACKLOG = 4096
};

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* systems without it have SO_NOSIGPIPE, set in prepare() */
#endif

enum framed_status framed_os_classify(int error)
{
    switch (error) {
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPROTO: return FRAMED_RESET;
    case ECONNREFUSED: return FRAMED_REFUSED;
    case ETIMEDOUT: return FRAMED_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOSPC:
    case EAGAIN: return FRAMED_LIMIT; /* where would-block is an answer it never gets here: a full Unix backlog */
    case ENOMEM: return FRAMED_NOMEM;
    case EADDRINUSE:
    case EEXIST: return FRAMED_IN_USE;
    case EACCES:
    case EPERM:
    case EROFS: return FRAMED_DENIED;
    case EADDRNOTAVAIL:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN: return FRAMED_UNREACHABLE;
    case ENOENT:
    case ENOTDIR: return FRAMED_NOT_FOUND;
    case ENOTSOCK:
    case EBADF:
    case EINVAL: return FRAMED_USAGE;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP: return FRAMED_UNSUPPORTED;
    default: return FRAMED_OS;
    }
}

static bool would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

static int fd_of(const struct os_socket *s)
{
    return (int)s->handle;
}

/* ---- pollers ---- */

/* Close-on-exec from the first moment where the system can do that, so that no fork in between inherits it. */
static int make_socket(int family)
{
#ifdef SOCK_CLOEXEC
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
#else
    return socket(family, SOCK_STREAM, 0);
#endif
}

static int make_pipe(int ends[2])
{
#ifdef __linux__
    return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
#else
    return pipe(ends);
#endif
}

static enum framed_status prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        enum framed_status st = framed_os_classify(errno);
        return st == FRAMED_USAGE ? FRAMED_OS : st; /* it is a descriptor: nobody has used anything wrongly */
    }
#ifdef SO_NOSIGPIPE
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    return FRAMED_OK;
}

enum framed_status framed_os_poller_open(struct os_poller **poller, enum framed_wait way,
                                         const struct framed_allocator *alloc)
{
    const struct os_way *chosen = way == FRAMED_WAIT_POLL ? framed_os_poll() : framed_os_epoll();
    if (chosen == NULL && way == FRAMED_WAIT_BEST) chosen = framed_os_poll();
    if (chosen == NULL) return FRAMED_UNSUPPORTED;

    struct os_poller *p = mem_new(alloc, sizeof *p);
    if (p == NULL) return FRAMED_NOMEM;
    *p = (struct os_poller){.way = chosen, .alloc = alloc};
    atomic_init(&p->woken, false);

    enum framed_status st = FRAMED_OK;
    int ends[2];
    if (make_pipe(ends) != 0) {
        st = framed_os_classify(errno);
        goto fail;
    }
    p->wake_read = ends[0];
    p->wake_write = ends[1];
    st = prepare(ends[0]);
    if (st == FRAMED_OK) st = prepare(ends[1]);
    if (st == FRAMED_OK) st = chosen->open(p);
    if (st != FRAMED_OK) goto fail_pipe;
    *poller = p;
    return FRAMED_OK;

fail_pipe:
    (void)close(p->wake_read);
    (void)close(p->wake_write);
fail:
    mem_free(alloc, p, sizeof *p);
    return st;
}

void framed_os_poller_close(struct os_poller *p)
{
    if (p == NULL) return;
    check(p->closing == NULL);
    p->way->close(p);
    (void)close(p->wake_read);
    (void)close(p->wake_write);
    mem_free(p->alloc, p->lent, FRAMED_RECEIVE_SIZE);
    mem_free(p->alloc, p, sizeof *p);
}

static void deliver_closed(struct os_poller *p)
{
    while (p->closing != NULL) {
        struct os_socket *s = p->closing;
        p->closing = s->next_closing;
        p->completions++;
        s->ops->closed(s); /* s is gone now */
    }
}

enum framed_status framed_os_wait(struct os_poller *p, uint64_t timeout_ms)
{
    int timeout = timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms;
    if (timeout_ms == OS_FOREVER) timeout = -1;
    if (p->closing != NULL) timeout = 0;
    enum framed_status st = p->way->wait(p, timeout);
    deliver_closed(p);
    return st;
}

void framed_os_wake(struct os_poller *p)
{
    if (atomic_exchange(&p->woken, true)) return;
    int saved = errno; /* we may be in a signal handler */
    ssize_t n;
    do n = write(p->wake_write, "", 1);
    while (n < 0 && errno == EINTR);
    errno = saved;
}

uint64_t framed_os_completions(const struct os_poller *p)
{
    return p->completions;
}

void framed_os_woken(struct os_poller *p)
{
    p->completions++;
    char bin[64];
    while (read(p->wake_read, bin, sizeof bin) > 0) continue;
    /* Cleared after draining: a wake in between leaves no byte, but what it announced is seen after this wait. */
    (void)atomic_exchange(&p->woken, false);
}

/* ---- asking and completing ---- */

static uint8_t interest(const struct os_socket *s)
{
    uint8_t events = 0;
    if (s->wants & (WANT_ACCEPT | WANT_RECEIVE)) events |= OS_READ;
    if (s->wants & (WANT_CONNECT | WANT_SEND)) events |= OS_WRITE;
    return events;
}

/* Only ever adds: what is no longer wanted is disarmed when it reports, which in the steady state is never. */
static enum framed_status ask(struct os_socket *s, uint8_t want)
{
    if (s->wants & CLOSING) return FRAMED_USAGE;
    s->wants |= want;
    uint8_t events = interest(s) | s->armed;
    if (events == s->armed) return FRAMED_OK;
    enum framed_status st = s->poller->way->arm(s->poller, s, events);
    if (st != FRAMED_OK) s->wants &= (uint8_t)~want;
    return st;
}

/* False if the socket is being closed or this was not asked for. */
static bool complete(struct os_socket *s, uint8_t want)
{
    if (s->wants & CLOSING || !(s->wants & want)) return false;
    s->wants &= (uint8_t)~want;
    return true;
}

static bool asked(const struct os_socket *s, uint8_t want)
{
    return !(s->wants & CLOSING) && (s->wants & want);
}

static enum framed_status transmit(struct os_socket *s, const struct framed_bytes *views, size_t n, size_t *taken)
{
    ssize_t sent;
    do {
        if (n == 1) {
            sent = send(fd_of(s), views->at, views->len, MSG_NOSIGNAL);
        } else {
            struct iovec iov[VIEWS_PER_SEND];
            size_t count = n < VIEWS_PER_SEND ? n : VIEWS_PER_SEND;
            for (size_t i = 0; i < count; i++) iov[i] = (struct iovec){(void *)(uintptr_t)views[i].at, views[i].len};
            struct msghdr m = {.msg_iov = iov};
            m.msg_iovlen = (__typeof__(m.msg_iovlen))count;
            sent = sendmsg(fd_of(s), &m, MSG_NOSIGNAL);
        }
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && !would_block(errno)) return framed_os_classify(errno);
    *taken = sent < 0 ? 0 : (size_t)sent;
    return FRAMED_OK;
}

static void accept_ready(struct os_socket *s)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && asked(s, WANT_ACCEPT); i++) {
        struct os_address peer = {.len = sizeof peer.bytes};
        socklen_t len = sizeof peer.bytes;
#ifdef __linux__
        int fd = accept4(fd_of(s), (struct sockaddr *)(void *)peer.bytes, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
        int fd = accept(fd_of(s), (struct sockaddr *)(void *)peer.bytes, &len);
#endif
        enum framed_status st = FRAMED_OK;
        if (fd < 0) {
            if (would_block(errno)) return;
            /* One connection that died in the backlog: Linux reports its error here. The others are fine. */
            st = framed_os_classify(errno);
            if (errno == EINTR || st == FRAMED_RESET || st == FRAMED_UNREACHABLE || st == FRAMED_TIMEOUT ||
                errno == ENOPROTOOPT)
                continue;
        } else {
            peer.len = len > sizeof peer.bytes ? sizeof peer.bytes : (uint32_t)len;
#ifndef __linux__
            st = prepare(fd);
            if (st != FRAMED_OK) {
                (void)close(fd);
                fd = -1;
            }
#endif
        }
        (void)complete(s, WANT_ACCEPT);
        s->ops->accepted(s, st, fd, &peer);
        if (st != FRAMED_OK) return;
    }
}

static void connect_ready(struct os_socket *s)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd_of(s), SOL_SOCKET, SO_ERROR, &error, &len) != 0) error = errno;
    if (complete(s, WANT_CONNECT)) s->ops->connected(s, error == 0 ? FRAMED_OK : framed_os_classify(error));
}

static void send_ready(struct os_socket *s)
{
    size_t taken = 0;
    enum framed_status st = transmit(s, s->views, s->view_count, &taken);
    if (st == FRAMED_OK && taken == 0) return;
    (void)complete(s, WANT_SEND);
    s->ops->sent(s, st, taken);
}

static void receive_ready(struct os_socket *s)
{
    uint8_t *at = s->dest;
    size_t room = s->room;
    if (at == NULL) {
        at = s->poller->lent;
        room = FRAMED_RECEIVE_SIZE;
    }
    ssize_t n;
    do n = recv(fd_of(s), at, room, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0 && would_block(errno)) return;
    (void)complete(s, WANT_RECEIVE);
    if (n > 0)
        s->ops->received(s, FRAMED_OK, at, (size_t)n);
    else
        s->ops->received(s, n == 0 ? FRAMED_CLOSED : framed_os_classify(errno), NULL, 0);
}

void framed_os_ready(struct os_socket *s, uint8_t events)
{
    s->poller->completions++;
    if (events & OS_READ && asked(s, WANT_ACCEPT)) accept_ready(s);
    if (events & OS_WRITE && asked(s, WANT_CONNECT)) connect_ready(s);
    if (events & OS_WRITE && asked(s, WANT_SEND)) send_ready(s);
    if (events & OS_READ && asked(s, WANT_RECEIVE)) receive_ready(s);
    /* Level-triggered: what is reported and not wanted would be reported for ever. */
    if (!(s->wants & CLOSING) && events & s->armed & ~interest(s)) (void)s->poller->way->arm(s->poller, s, interest(s));
}

enum framed_status framed_os_accept(struct os_socket *s)
{
    return ask(s, WANT_ACCEPT);
}

void framed_os_accept_stop(struct os_socket *s)
{
    (void)complete(s, WANT_ACCEPT);
}

enum framed_status framed_os_receive(struct os_socket *s, uint8_t *dest, size_t room)
{
    struct os_poller *p = s->poller;
    if (dest == NULL && p->lent == NULL) {
        p->lent = mem_new(p->alloc, FRAMED_RECEIVE_SIZE);
        if (p->lent == NULL) return FRAMED_NOMEM;
    }
    s->dest = dest;
    s->room = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    return ask(s, WANT_RECEIVE);
}

void framed_os_receive_stop(struct os_socket *s)
{
    (void)complete(s, WANT_RECEIVE);
}

enum framed_status framed_os_offer(struct os_socket *s, const struct framed_bytes *views, size_t n, size_t *taken)
{
    if (s->wants & (CLOSING | WANT_SEND)) return FRAMED_USAGE;
    return transmit(s, views, n, taken);
}

enum framed_status framed_os_send(struct os_socket *s, const struct framed_bytes *views, size_t n)
{
    if (s->wants & (CLOSING | WANT_SEND) || n == 0 || n > UINT16_MAX) return FRAMED_USAGE;
    s->views = views;
    s->view_count = (uint16_t)n;
    return ask(s, WANT_SEND);
}

enum framed_status framed_os_finish(struct os_socket *s)
{
    if (s->wants & (CLOSING | WANT_SEND)) return FRAMED_USAGE;
    return shutdown(fd_of(s), SHUT_WR) == 0 ? FRAMED_OK : framed_os_classify(errno);
}

void framed_os_close(struct os_socket *s)
{
    if (s->wants & CLOSING) return;
    if (s->armed != 0)
        (void)s->poller->way->arm(s->poller, s, 0); /* by hand: a descriptor we adopted may live on elsewhere */
    s->wants = CLOSING;
    (void)close(fd_of(s));
    s->handle = OS_NO_HANDLE;
    s->next_closing = s->poller->closing;
    s->poller->closing = s;
}

/* ---- opening ---- */

static void set_int(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value,
                     sizeof value); /* wishes, not needs: a socket that is not TCP has none of them */
}

static void open_socket(struct os_poller *p, struct os_socket *s, int fd)
{
    const struct os_socket_ops *ops = s->ops;
    *s = (struct os_socket){.ops = ops, .poller = p, .handle = fd};
}

static int family_of(const struct os_address *a)
{
    return ((const struct sockaddr *)(const void *)a->bytes)->sa_family;
}

static const struct sockaddr *sockaddr_of(const struct os_address *a)
{
    return (const struct sockaddr *)(const void *)a->bytes;
}

static enum framed_status new_socket(const struct os_address *a, int *fd)
{
    int made = make_socket(family_of(a));
    if (made < 0) return framed_os_classify(errno);
    enum framed_status st = prepare(made);
    if (st != FRAMED_OK) {
        (void)close(made);
        return st;
    }
    if (family_of(a) != AF_UNIX) set_int(made, IPPROTO_TCP, TCP_NODELAY, 1);
    *fd = made;
    return FRAMED_OK;
}

typedef int name_of_fn(int fd, struct sockaddr *to, socklen_t *len);

static enum framed_status name_of(int fd, name_of_fn *ask_name, struct os_address *a)
{
    socklen_t len = sizeof a->bytes;
    *a = (struct os_address){0};
    if (ask_name(fd, (struct sockaddr *)(void *)a->bytes, &len) != 0) return framed_os_classify(errno);
    a->len = len > sizeof a->bytes ? sizeof a->bytes : (uint32_t)len;
    return FRAMED_OK;
}

/* A path that is a socket nobody listens on was left behind by a server that died. */
static bool is_stale(const struct os_address *a)
{
    struct stat about;
    const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)a->bytes;
    if (lstat(un->sun_path, &about) != 0 || !S_ISSOCK(about.st_mode)) return false;
    int fd;
    if (new_socket(a, &fd) != FRAMED_OK) return false;
    bool refused = connect(fd, sockaddr_of(a), (socklen_t)a->len) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return refused;
}

enum framed_status framed_os_listen(struct os_poller *p, struct os_socket *s, const struct os_address *at,
                                    struct os_address *bound)
{
    int fd;
    enum framed_status st = new_socket(at, &fd);
    if (st != FRAMED_OK) return st;
    if (family_of(at) != AF_UNIX) set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* rebind over TIME_WAIT */
    if (family_of(at) == AF_INET6) set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);

    int error = bind(fd, sockaddr_of(at), (socklen_t)at->len) == 0 ? 0 : errno;
    if (error == EADDRINUSE && family_of(at) == AF_UNIX && is_stale(at)) { /* which has errnos of its own */
        framed_os_address_remove(at);
        error = bind(fd, sockaddr_of(at), (socklen_t)at->len) == 0 ? 0 : errno;
    }
    if (error != 0) {
        st = framed_os_classify(error);
        goto fail;
    }
    if (listen(fd, BACKLOG) != 0) {
        st = framed_os_classify(errno);
        goto fail_bound;
    }
    if (family_of(at) == AF_UNIX)
        *bound = *at;
    else if ((st = name_of(fd, getsockname, bound)) != FRAMED_OK)
        goto fail_bound;
    open_socket(p, s, fd);
    return FRAMED_OK;

fail_bound:
    framed_os_address_remove(at);
fail:
    (void)close(fd);
    return st;
}

enum framed_status framed_os_adopt(struct os_poller *p, struct os_socket *s, intptr_t handle, bool listening,
                                   struct os_address *bound)
{
    int fd = (int)handle;
    int accepting = 0;
    socklen_t len = sizeof accepting;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &len) != 0) return framed_os_classify(errno);
    int type = 0;
    len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM) return FRAMED_USAGE;
    if ((accepting != 0) != listening) return FRAMED_USAGE;
    struct os_address name;
    enum framed_status st = name_of(fd, listening ? getsockname : getpeername, &name);
    if (st == FRAMED_OK) st = prepare(fd);
    if (st != FRAMED_OK) return st;
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    open_socket(p, s, fd);
    *bound = name;
    return FRAMED_OK;
}

enum framed_status framed_os_attach(struct os_poller *p, struct os_socket *s, intptr_t handle)
{
#ifndef __linux__
    set_int((int)handle, IPPROTO_TCP, TCP_NODELAY, 1); /* Linux inherits it from the listener */
#endif
    open_socket(p, s, (int)handle);
    return FRAMED_OK;
}

void framed_os_discard(intptr_t handle)
{
    (void)close((int)handle);
}

enum framed_status framed_os_connect(struct os_poller *p, struct os_socket *s, const struct os_address *to)
{
    int fd;
    enum framed_status st = new_socket(to, &fd);
    if (st != FRAMED_OK) return st;
    if (connect(fd, sockaddr_of(to), (socklen_t)to->len) != 0 && errno != EINPROGRESS && errno != EINTR) {
        st = errno == EINVAL ? FRAMED_UNREACHABLE : framed_os_classify(errno); /* Linux's word for a blackhole route */
        goto fail;
    }
    open_socket(p, s, fd);
    st = ask(s, WANT_CONNECT);
    if (st != FRAMED_OK) goto fail;
    return FRAMED_OK;

fail:
    (void)close(fd);
    return st;
}

void framed_os_keepalive(struct os_socket *s, uint32_t idle_ms, uint32_t give_up_ms)
{
    int fd = fd_of(s);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, idle_ms != 0);
    if (idle_ms == 0) return;
    enum { PROBES = 3 };
    int idle_s = (int)(idle_ms / 1000 != 0 ? idle_ms / 1000 : 1);
    int gap_s = (int)(give_up_ms / 1000 / PROBES != 0 ? give_up_ms / 1000 / PROBES : 1);
#ifdef TCP_KEEPIDLE
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, gap_s);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
#endif
#ifdef TCP_USER_TIMEOUT
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (idle_s + gap_s * PROBES) * 1000);
#endif
}

#ifdef TCP_CONGESTION
static bool set_congestion(int fd, const char *name)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
}

enum framed_status framed_os_congestion_check(const char *name)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return framed_os_classify(errno);
    enum framed_status st = set_congestion(fd, name) ? FRAMED_OK : FRAMED_UNSUPPORTED;
    (void)close(fd);
    return st;
}

void framed_os_congestion(struct os_socket *s, const char *name)
{
    (void)set_congestion(fd_of(s), name);
}
#else
enum framed_status framed_os_congestion_check(const char *name)
{
    (void)name;
    return FRAMED_UNSUPPORTED;
}

void framed_os_congestion(struct os_socket *s, const char *name)
{
    (void)s;
    (void)name;
}
#endif

void framed_os_buffers(struct os_socket *s, uint32_t send_bytes, uint32_t receive_bytes)
{
    if (send_bytes != 0) set_int(fd_of(s), SOL_SOCKET, SO_SNDBUF, (int)send_bytes);
    if (receive_bytes != 0) set_int(fd_of(s), SOL_SOCKET, SO_RCVBUF, (int)receive_bytes);
}

void framed_os_interest(const struct os_socket *s, intptr_t *handle, unsigned *events)
{
    uint8_t i = s->wants & CLOSING ? 0 : interest(s);
    *handle = s->handle;
    *events = (i & OS_READ ? FRAMED_WANT_READ : 0u) | (i & OS_WRITE ? FRAMED_WANT_WRITE : 0u);
}

bool framed_os_connected_to_itself(const struct os_socket *s)
{
    struct os_address here;
    struct os_address there;
    if (name_of(fd_of(s), getsockname, &here) != FRAMED_OK || name_of(fd_of(s), getpeername, &there) != FRAMED_OK)
        return false;
    if (family_of(&here) == AF_UNIX) return false;
    return here.len == there.len && memcmp(here.bytes, there.bytes, here.len) == 0;
}
