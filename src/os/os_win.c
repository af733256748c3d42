/*
 * os_win.c: sockets on Winsock.
 * Must not know anything of frames, nor what a socket is for.
 * Invariants: every socket is non-blocking and inherited by no child process; nobody can listen where we listen.
 */
#include "os_win.h"
/* after winsock2.h, on which it stands */
#include <mstcpip.h>

#include "../../proto/alloc.h"
#include "../../proto/be.h"
#include <limits.h>

#ifndef TCP_MAXRT
#define TCP_MAXRT 5
#endif

enum {
    ACCEPTS_PER_TURN = 64, /* so that a flood of connections does not keep the others waiting */
    VIEWS_MOST = 64,
    SEND_MOST = 1 << 20,  /* Windows takes a whole non-blocking send into kernel memory, however large, if it takes any */
    KEEPALIVE_PROBES = 10 /* fixed since Windows Vista */
};

/* ---- sockets by handle ---- */

void framed_os_set_option(SOCKET handle, int level, int name, int value)
{
    (void)setsockopt(handle, level, name, (const char *)&value, sizeof value);
}

enum framed_status framed_os_set_nonblocking(SOCKET handle)
{
    u_long on = 1;
    return ioctlsocket(handle, (long)FIONBIO, &on) == 0 ? FRAMED_OK : framed_os_last_error();
}

static void set_keepalive(SOCKET handle, uint32_t idle_ms, uint32_t give_up_ms)
{
    struct tcp_keepalive wish = {.onoff = idle_ms > 0, .keepalivetime = idle_ms};
    wish.keepaliveinterval = give_up_ms / KEEPALIVE_PROBES;
    if (wish.keepaliveinterval == 0) wish.keepaliveinterval = 1;
    DWORD n = 0;
    (void)WSAIoctl(handle, SIO_KEEPALIVE_VALS, &wish, sizeof wish, NULL, 0, &n, NULL, NULL);

    uint64_t seconds = ((uint64_t)idle_ms + give_up_ms + 999) / 1000;
    if (idle_ms > 0 && seconds < INT_MAX) framed_os_set_option(handle, IPPROTO_TCP, TCP_MAXRT, (int)seconds);
}

/* A new TCP socket that no child process inherits. */
static enum framed_status open_tcp(int family, SOCKET *made)
{
    SOCKET handle = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (handle == INVALID_SOCKET) return framed_os_last_error();
    enum framed_status st = framed_os_set_nonblocking(handle);
    if (st != FRAMED_OK) {
        (void)closesocket(handle);
        return st;
    }
    *made = handle;
    return FRAMED_OK;
}

/* The error that is pending on a socket; 0 for none. */
static int pending_error(SOCKET handle)
{
    int error = 0, len = sizeof error;
    return getsockopt(handle, SOL_SOCKET, SO_ERROR, (char *)&error, &len) == 0 ? error : WSAGetLastError();
}

/* ---- addresses in the system's form ---- */

enum framed_status framed_os_local_address(SOCKET handle, struct os_address *a)
{
    int len = sizeof a->bytes;
    if (getsockname(handle, (struct sockaddr *)(void *)a->bytes, &len) != 0) return framed_os_last_error();
    a->len = (uint32_t)len;
    return FRAMED_OK;
}

static enum framed_status peer_address(SOCKET handle, struct os_address *a)
{
    int len = sizeof a->bytes;
    if (getpeername(handle, (struct sockaddr *)(void *)a->bytes, &len) != 0) return framed_os_last_error();
    a->len = (uint32_t)len;
    return FRAMED_OK;
}

/* ---- asking and completing ---- */

static enum framed_status ask(struct os_socket *s, uint8_t want)
{
    if (s->wants & CLOSING) return FRAMED_USAGE;
    s->wants |= want;
    framed_os_table_update(s);
    return FRAMED_OK;
}

/* False once it is completed, taken back, or the socket is being closed. */
static bool asked(const struct os_socket *s, uint8_t want)
{
    return (s->wants & want) != 0;
}

/* The table follows at the end of the dispatch, since most callbacks ask for the same again. */
static void complete(struct os_socket *s, uint8_t want)
{
    s->wants &= (uint8_t)~want;
}

static void take_back(struct os_socket *s, uint8_t want)
{
    if (!asked(s, want)) return;
    complete(s, want);
    framed_os_table_update(s);
}

/* ---- what happens when a socket is ready ---- */

/* The system reports an error, but no operation fails with it. */
static enum framed_status broken(SOCKET handle)
{
    int error = pending_error(handle);
    return error != 0 ? framed_os_classify(error) : FRAMED_RESET;
}

/* False: there is no more to accept just now. */
static bool try_accept(struct os_socket *s, SHORT events)
{
    struct os_address peer = {0};
    int len = sizeof peer.bytes;
    SOCKET handle = accept(socket_of(s), (struct sockaddr *)(void *)peer.bytes, &len);
    enum framed_status st = FRAMED_OK;
    if (handle == INVALID_SOCKET) {
        int error = WSAGetLastError();
        if (framed_os_would_block(error) && (events & POLLERR) == 0) return false;
        st = framed_os_would_block(error) ? broken(socket_of(s)) : framed_os_classify(error);
        if (!framed_os_would_block(error) && st == FRAMED_RESET)
            return true; /* gone before we came to it; the others are fine */
    } else {
        peer.len = (uint32_t)len;
        (void)SetHandleInformation((HANDLE)handle, HANDLE_FLAG_INHERIT, 0);
        const struct os_poller *p = s->poller;
        if (p->keepalive_idle_ms > 0) set_keepalive(handle, p->keepalive_idle_ms, p->keepalive_give_up_ms);
    }
    complete(s, WANT_ACCEPT);
    s->ops->accepted(s, st, st == FRAMED_OK ? (intptr_t)handle : OS_NO_HANDLE, &peer);
    return st == FRAMED_OK;
}

static void accept_ready(struct os_socket *s, SHORT events)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && asked(s, WANT_ACCEPT); i++) {
        if (!try_accept(s, events)) return;
    }
}

static void connect_ready(struct os_socket *s)
{
    int error = pending_error(socket_of(s));
    complete(s, WANT_CONNECT);
    s->ops->connected(s, error == 0 ? FRAMED_OK : framed_os_classify(error));
}

static void receive_ready(struct os_socket *s, SHORT events)
{
    uint8_t *at = s->dest != NULL ? s->dest : s->poller->lent;
    int n = recv(socket_of(s), (char *)at, (int)s->room, 0);
    enum framed_status st = n > 0 ? FRAMED_OK : FRAMED_CLOSED;
    if (n < 0) {
        int error = WSAGetLastError();
        if (framed_os_would_block(error) && (events & POLLERR) == 0) return;
        st = framed_os_would_block(error) ? broken(socket_of(s)) : framed_os_classify(error);
    }
    complete(s, WANT_RECEIVE);
    s->ops->received(s, st, n > 0 ? at : NULL, n > 0 ? (size_t)n : 0);
}

/* One gathered send of what the system takes at once: *left bytes, perhaps 0. */
static enum framed_status send_some(SOCKET handle, const struct framed_bytes *views, size_t n, size_t *left)
{
    WSABUF bufs[VIEWS_MOST];
    DWORD count = 0;
    size_t room = SEND_MOST;
    for (size_t i = 0; i < n && count < VIEWS_MOST && room > 0; i++) {
        size_t len = views[i].len < room ? views[i].len : room;
        if (len == 0) continue;
        bufs[count].len = (ULONG)len;
        bufs[count].buf = (char *)(uintptr_t)views[i].at; /* it is only read */
        count++;
        room -= len;
    }
    *left = 0;
    if (count == 0) return FRAMED_OK;
    DWORD sent = 0;
    if (WSASend(handle, bufs, count, &sent, 0, NULL, NULL) != 0) {
        int error = WSAGetLastError();
        return framed_os_would_block(error) ? FRAMED_OK : framed_os_classify(error);
    }
    *left = sent;
    return FRAMED_OK;
}

static void send_ready(struct os_socket *s, SHORT events)
{
    size_t n = 0;
    enum framed_status st = send_some(socket_of(s), s->views, s->view_count, &n);
    if (st == FRAMED_OK && n == 0) {
        if ((events & POLLHUP) != 0) s->armed |= HELD_UP;
        if ((events & POLLERR) == 0) return;
        st = broken(socket_of(s));
    }
    s->armed &= (uint8_t)~HELD_UP;
    complete(s, WANT_SEND);
    s->ops->sent(s, st, n);
}

/* Any event may mean failure, of whatever is asked for. */
void framed_os_dispatch(struct os_socket *s, SHORT events)
{
    s->poller->completions++;
    bool in = (events & ~POLLWRNORM) != 0;
    bool out = (events & ~POLLRDNORM) != 0;
    if (in && asked(s, WANT_ACCEPT)) accept_ready(s, events);
    if (out && asked(s, WANT_CONNECT)) connect_ready(s);
    if (out && asked(s, WANT_SEND)) send_ready(s, events);
    if (in && asked(s, WANT_RECEIVE)) receive_ready(s, events);
    framed_os_table_update(s);
}

/* ---- sockets ---- */

static void open_socket(struct os_poller *p, struct os_socket *s, SOCKET handle)
{
    const struct os_socket_ops *ops = s->ops;
    *s = (struct os_socket){.ops = ops, .poller = p, .handle = (intptr_t)handle};
}

enum framed_status framed_os_listen(struct os_poller *p, struct os_socket *s, const struct os_address *at,
                                    struct os_address *bound)
{
    SOCKET handle;
    enum framed_status st = open_tcp(family_of(at), &handle);
    if (st != FRAMED_OK) return st;
    /* Here SO_REUSEADDR would let another process take the port away from us; over old connections we may bind anyway. */
    framed_os_set_option(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
    if (family_of(at) == AF_INET6) framed_os_set_option(handle, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    struct os_address real = {0};
    if (bind(handle, sockaddr_of(at), (int)at->len) != 0 || listen(handle, SOMAXCONN) != 0) {
        st = framed_os_last_error();
        /* A port that another process holds exclusively is refused with WSAEACCES. */
        if (st == FRAMED_DENIED) st = FRAMED_IN_USE;
        goto fail;
    }
    st = framed_os_local_address(handle, &real);
    if (st != FRAMED_OK) goto fail;
    st = framed_os_table_reserve(p);
    if (st != FRAMED_OK) goto fail;
    open_socket(p, s, handle);
    *bound = real;
    return FRAMED_OK;

fail:
    (void)closesocket(handle);
    check(st != FRAMED_OK);
    return st;
}

/* There are no small numbers that a parent hands down here: `fd:N` has no meaning on Windows. */
enum framed_status framed_os_adopt(struct os_poller *p, struct os_socket *s, intptr_t handle, bool listening,
                                   struct os_address *bound)
{
    (void)p, (void)s, (void)handle, (void)listening, (void)bound;
    return FRAMED_UNSUPPORTED;
}

enum framed_status framed_os_attach(struct os_poller *p, struct os_socket *s, intptr_t handle)
{
    enum framed_status st = framed_os_set_nonblocking((SOCKET)handle);
    if (st == FRAMED_OK) st = framed_os_table_reserve(p);
    if (st != FRAMED_OK) return st;
    framed_os_set_option((SOCKET)handle, IPPROTO_TCP, TCP_NODELAY, 1);
    open_socket(p, s, (SOCKET)handle);
    return FRAMED_OK;
}

void framed_os_discard(intptr_t handle)
{
    (void)closesocket((SOCKET)handle);
}

enum framed_status framed_os_accept(struct os_socket *s)
{
    return ask(s, WANT_ACCEPT);
}

void framed_os_accept_stop(struct os_socket *s)
{
    take_back(s, WANT_ACCEPT);
}

/* Before Windows 10 of May 2020, WSAPoll does not report a failed connect: there the caller's deadline ends it. */
enum framed_status framed_os_connect(struct os_poller *p, struct os_socket *s, const struct os_address *to)
{
    SOCKET handle;
    enum framed_status st = open_tcp(family_of(to), &handle);
    if (st != FRAMED_OK) return st;
    framed_os_set_option(handle, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(handle, sockaddr_of(to), (int)to->len) != 0 && !framed_os_would_block(WSAGetLastError())) {
        st = framed_os_last_error();
        goto fail;
    }
    st = framed_os_table_reserve(p);
    if (st != FRAMED_OK) goto fail;
    open_socket(p, s, handle);
    return ask(s, WANT_CONNECT);

fail:
    (void)closesocket(handle);
    check(st != FRAMED_OK);
    return st;
}

enum framed_status framed_os_receive(struct os_socket *s, uint8_t *dest, size_t room)
{
    struct os_poller *p = s->poller;
    if (dest == NULL && p->lent == NULL) {
        p->lent = mem_new(p->alloc, FRAMED_RECEIVE_SIZE);
        if (p->lent == NULL) return FRAMED_NOMEM;
    }
    s->dest = dest;
    s->room = dest == NULL ? FRAMED_RECEIVE_SIZE : room < INT_MAX ? (uint32_t)room : INT_MAX;
    return ask(s, WANT_RECEIVE);
}

void framed_os_receive_stop(struct os_socket *s)
{
    take_back(s, WANT_RECEIVE);
}

enum framed_status framed_os_offer(struct os_socket *s, const struct framed_bytes *views, size_t n, size_t *taken)
{
    if (s->wants & (CLOSING | WANT_SEND)) return FRAMED_USAGE;
    return send_some(socket_of(s), views, n, taken);
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
    return shutdown(socket_of(s), SD_SEND) == 0 ? FRAMED_OK : framed_os_last_error();
}

void framed_os_close(struct os_socket *s)
{
    struct os_poller *p = s->poller;
    if (s->wants & CLOSING) return;
    s->wants = CLOSING;
    (void)closesocket(socket_of(s));
    s->handle = OS_NO_HANDLE;
    framed_os_table_release(s);
    s->next_closing = p->closing;
    p->closing = s;
}

void framed_os_keepalive(struct os_socket *s, uint32_t idle_ms, uint32_t give_up_ms)
{
    BOOL listens = FALSE;
    int len = sizeof listens;
    if (getsockopt(socket_of(s), SOL_SOCKET, SO_ACCEPTCONN, (char *)&listens, &len) == 0 && listens) {
        s->poller->keepalive_idle_ms = idle_ms;
        s->poller->keepalive_give_up_ms = give_up_ms;
        return;
    }
    set_keepalive(socket_of(s), idle_ms, give_up_ms);
}

/* Windows chooses it for the whole system. */
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

void framed_os_buffers(struct os_socket *s, uint32_t send_bytes, uint32_t receive_bytes)
{
    if (send_bytes > 0) framed_os_set_option(socket_of(s), SOL_SOCKET, SO_SNDBUF, (int)send_bytes);
    if (receive_bytes > 0) framed_os_set_option(socket_of(s), SOL_SOCKET, SO_RCVBUF, (int)receive_bytes);
}

void framed_os_interest(const struct os_socket *s, intptr_t *handle, unsigned *events)
{
    *handle = s->handle;
    *events = 0;
    if (asked(s, WANT_ACCEPT | WANT_RECEIVE)) *events |= FRAMED_WANT_READ;
    if (asked(s, WANT_CONNECT | WANT_SEND)) *events |= FRAMED_WANT_WRITE;
}

bool framed_os_connected_to_itself(const struct os_socket *s)
{
    struct os_address own, peer;
    if (framed_os_local_address(socket_of(s), &own) != FRAMED_OK || peer_address(socket_of(s), &peer) != FRAMED_OK)
        return false;
    struct os_host own_host, peer_host;
    uint16_t own_port = framed_os_address_host(&own, &own_host), peer_port = framed_os_address_host(&peer, &peer_host);
    return own_port == peer_port && memcmp(&own_host, &peer_host, sizeof own_host) == 0;
}
