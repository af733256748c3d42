/*
 * os_win.c: os.h on Winsock and Win32, waiting with WSAPoll.
 * Must not know anything of frames, nor what a socket is for.
 * Invariants: entry 0 of the poll table is the wake socket; a socket has an entry (slot > 0) exactly while it wants something;
 * the table always has room for every socket of the poller; all callbacks are made from inside framed_os_wait.
 */
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
/* after winsock2.h, on which all of these stand */
#include <bcrypt.h>
#include <mstcpip.h>
#include <process.h>
#include <windows.h>
#include <ws2tcpip.h>

#include "../../proto/alloc.h"
#include "../../proto/be.h"
#include "os.h"
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TCP_MAXRT
#define TCP_MAXRT 5
#endif

/* What a caller has asked for (os_socket.wants). */
enum { WANT_ACCEPT = 1, WANT_CONNECT = 2, WANT_RECEIVE = 4, WANT_SEND = 8, CLOSING = 16 };

/* What else is known of a socket (os_socket.armed): the peer has finished, and the system took nothing of what is to be sent. */
enum { HELD_UP = 1 };

enum {
    TABLE_FIRST = 16,
    ACCEPTS_PER_TURN = 64, /* so that a flood of connections does not keep the others waiting */
    VIEWS_MOST = 64,
    SEND_MOST = 1 << 20,    /* Windows takes a whole non-blocking send into kernel memory, however large, if it takes any */
    HELD_UP_MS = 10,        /* how often a held-up send is tried */
    KEEPALIVE_PROBES = 10,  /* fixed since Windows Vista */
    SLEEP_MOST_MS = 1 << 30 /* below INFINITE, and a legal int */
};

struct os_poller {
    const struct framed_allocator *alloc;
    WSAPOLLFD *fds;            /* one block: `cap` of these ... */
    struct os_socket **owners; /* ... then `cap` of these; owners[0] is NULL */
    struct os_socket *closing;
    uint8_t *lent; /* FRAMED_RECEIVE_SIZE bytes, made when first needed */
    SOCKET wake;   /* a UDP socket connected to itself */
    uint32_t used;
    uint32_t cap;
    uint32_t sockets;           /* open ones, with or without an entry */
    uint32_t held_up;           /* entries that are skipped, see entry_update */
    uint32_t keepalive_idle_ms; /* of the listeners, for what they accept */
    uint32_t keepalive_give_up_ms;
    atomic_bool woken;
};

/* ---- errors ---- */

static enum framed_status classify(int error)
{
    static const struct {
        int error;
        enum framed_status status;
    } table[] = {
        {WSAECONNRESET, FRAMED_RESET},
        {WSAECONNABORTED, FRAMED_RESET},
        {WSAENETRESET, FRAMED_RESET},
        {WSAENOTCONN, FRAMED_RESET},
        {WSAESHUTDOWN, FRAMED_RESET},
        {WSAEDISCON, FRAMED_RESET},
        {ERROR_NETNAME_DELETED, FRAMED_RESET},
        {WSAECONNREFUSED, FRAMED_REFUSED},
        {WSAETIMEDOUT, FRAMED_TIMEOUT},
        {WSAEMFILE, FRAMED_LIMIT},
        {WSAENOBUFS, FRAMED_LIMIT},
        {WSAEPROCLIM, FRAMED_LIMIT},
        {WSA_NOT_ENOUGH_MEMORY, FRAMED_NOMEM},
        {WSAEADDRINUSE, FRAMED_IN_USE},
        {WSAEACCES, FRAMED_DENIED},
        {WSAEADDRNOTAVAIL, FRAMED_UNREACHABLE},
        {WSAENETUNREACH, FRAMED_UNREACHABLE},
        {WSAEHOSTUNREACH, FRAMED_UNREACHABLE},
        {WSAENETDOWN, FRAMED_UNREACHABLE},
        {WSAEHOSTDOWN, FRAMED_UNREACHABLE},
        {WSAEINVAL, FRAMED_USAGE},
        {WSAENOTSOCK, FRAMED_USAGE},
        {WSAEFAULT, FRAMED_USAGE},
        {WSAEAFNOSUPPORT, FRAMED_UNSUPPORTED},
        {WSAEPROTONOSUPPORT, FRAMED_UNSUPPORTED},
        {WSAEOPNOTSUPP, FRAMED_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].error == error) return table[i].status;
    }
    return FRAMED_OS;
}

static enum framed_status last_error(void)
{
    return classify(WSAGetLastError());
}

/* Nothing wrong, only nothing yet. */
static bool would_block(int error)
{
    return error == WSAEWOULDBLOCK || error == WSAEINTR;
}

/* ---- Winsock as a whole ---- */

static BOOL CALLBACK start_winsock(PINIT_ONCE once, PVOID param, PVOID *context)
{
    (void)once, (void)param, (void)context;
    WSADATA data;
    return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}

/* Never undone: there is no moment at which a library knows that nobody in the process uses sockets any more. */
static enum framed_status winsock(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    return InitOnceExecuteOnce(&once, start_winsock, NULL, NULL) ? FRAMED_OK : FRAMED_OS;
}

/* ---- sockets by handle ---- */

static SOCKET socket_of(const struct os_socket *s)
{
    return (SOCKET)s->handle;
}

/* Options are wishes: where the system knows one not, the socket still works. */
static void set_option(SOCKET handle, int level, int name, int value)
{
    (void)setsockopt(handle, level, name, (const char *)&value, sizeof value);
}

static enum framed_status set_nonblocking(SOCKET handle)
{
    u_long on = 1;
    return ioctlsocket(handle, (long)FIONBIO, &on) == 0 ? FRAMED_OK : last_error();
}

static void set_keepalive(SOCKET handle, uint32_t idle_ms, uint32_t give_up_ms)
{
    struct tcp_keepalive wish = {.onoff = idle_ms > 0, .keepalivetime = idle_ms};
    wish.keepaliveinterval = give_up_ms / KEEPALIVE_PROBES;
    if (wish.keepaliveinterval == 0) wish.keepaliveinterval = 1;
    DWORD n = 0;
    (void)WSAIoctl(handle, SIO_KEEPALIVE_VALS, &wish, sizeof wish, NULL, 0, &n, NULL, NULL);

    uint64_t seconds = ((uint64_t)idle_ms + give_up_ms + 999) / 1000;
    if (idle_ms > 0 && seconds < INT_MAX) set_option(handle, IPPROTO_TCP, TCP_MAXRT, (int)seconds);
}

/* A new TCP socket that no child process inherits. */
static enum framed_status open_tcp(int family, SOCKET *made)
{
    SOCKET handle = WSASocketW(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (handle == INVALID_SOCKET) return last_error();
    enum framed_status st = set_nonblocking(handle);
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

static const struct sockaddr *sockaddr_of(const struct os_address *a)
{
    return (const struct sockaddr *)(const void *)a->bytes;
}

static int family_of(const struct os_address *a)
{
    return a->len >= sizeof(struct sockaddr) ? sockaddr_of(a)->sa_family : AF_UNSPEC;
}

static enum framed_status local_address(SOCKET handle, struct os_address *a)
{
    int len = sizeof a->bytes;
    if (getsockname(handle, (struct sockaddr *)(void *)a->bytes, &len) != 0) return last_error();
    a->len = (uint32_t)len;
    return FRAMED_OK;
}

static enum framed_status peer_address(SOCKET handle, struct os_address *a)
{
    int len = sizeof a->bytes;
    if (getpeername(handle, (struct sockaddr *)(void *)a->bytes, &len) != 0) return last_error();
    a->len = (uint32_t)len;
    return FRAMED_OK;
}

/* ---- the poll table ---- */

static size_t table_size(uint32_t cap)
{
    return cap * (sizeof(WSAPOLLFD) + sizeof(struct os_socket *));
}

static enum framed_status table_grow(struct os_poller *p, uint32_t cap)
{
    WSAPOLLFD *fds = mem_new(p->alloc, table_size(cap));
    if (fds == NULL) return FRAMED_NOMEM;
    struct os_socket **owners = (struct os_socket **)(void *)(fds + cap);
    if (p->used > 0) {
        memcpy(fds, p->fds, p->used * sizeof *fds);
        memcpy(owners, p->owners, p->used * sizeof *owners);
    }
    mem_free(p->alloc, p->fds, table_size(p->cap));
    p->fds = fds;
    p->owners = owners;
    p->cap = cap;
    return FRAMED_OK;
}

/* Counts one more socket, and makes sure that the table has room for it whenever it wants something. */
static enum framed_status table_reserve(struct os_poller *p)
{
    if (p->sockets + 1 == p->cap) {
        enum framed_status st = table_grow(p, p->cap * 2);
        if (st != FRAMED_OK) return st;
    }
    p->sockets++;
    return FRAMED_OK;
}

/* Whether an entry is skipped (WSAPoll ignores a negative fd), and its send tried each turn instead. */
static bool held_up(const struct os_poller *p, uint32_t slot)
{
    return p->fds[slot].fd == INVALID_SOCKET;
}

static void entry_add(struct os_socket *s)
{
    struct os_poller *p = s->poller;
    check(p->used < p->cap);
    s->slot = p->used++;
    p->owners[s->slot] = s;
    p->fds[s->slot] = (WSAPOLLFD){.fd = socket_of(s)};
}

static void entry_remove(struct os_socket *s)
{
    struct os_poller *p = s->poller;
    p->held_up -= held_up(p, s->slot);
    p->used--;
    p->fds[s->slot] = p->fds[p->used];
    p->owners[s->slot] = p->owners[p->used];
    p->owners[s->slot]->slot = s->slot;
    s->slot = 0;
}

/*
 * Makes the table say what the socket wants.
 *
 * WSAPoll reports the end of the peer's stream (POLLHUP) whether it was asked for or not. So a socket that only waits to send
 * would never let it sleep once the peer has half-closed: such an entry is skipped, and the send is tried every few
 * milliseconds.
 */
static void entry_update(struct os_socket *s)
{
    struct os_poller *p = s->poller;
    SHORT events = 0;
    if (s->wants & (WANT_ACCEPT | WANT_RECEIVE)) events |= POLLRDNORM;
    if (s->wants & (WANT_CONNECT | WANT_SEND)) events |= POLLWRNORM;
    if (events == 0) {
        if (s->slot != 0) entry_remove(s);
        return;
    }
    if (s->slot == 0) entry_add(s);
    p->held_up -= held_up(p, s->slot);
    p->fds[s->slot].events = events;
    p->fds[s->slot].fd = s->armed & HELD_UP && s->wants == WANT_SEND ? INVALID_SOCKET : socket_of(s);
    p->held_up += held_up(p, s->slot);
}

static enum framed_status ask(struct os_socket *s, uint8_t want)
{
    if (s->wants & CLOSING) return FRAMED_USAGE;
    s->wants |= want;
    entry_update(s);
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
    entry_update(s);
}

/* ---- waking ---- */

/* A UDP socket connected to its own loopback address: takes datagrams from nobody else, and needs no second handle. */
static enum framed_status open_wake(SOCKET *made)
{
    SOCKET handle = WSASocketW(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (handle == INVALID_SOCKET) return last_error();
    struct sockaddr_in self = {.sin_family = AF_INET};
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct os_address at = {.len = sizeof self};
    memcpy(at.bytes, &self, sizeof self);
    set_option(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);

    enum framed_status st = set_nonblocking(handle);
    if (st == FRAMED_OK && bind(handle, sockaddr_of(&at), (int)at.len) != 0) st = last_error();
    if (st == FRAMED_OK) st = local_address(handle, &at);
    if (st == FRAMED_OK && connect(handle, sockaddr_of(&at), (int)at.len) != 0) st = last_error();
    if (st != FRAMED_OK) {
        (void)closesocket(handle);
        return st;
    }
    *made = handle;
    return FRAMED_OK;
}

/*
 * Whoever sets `woken` sends the one datagram; the poller clears it only after it has taken the datagrams away, and then its
 * wait is over. A wait that finds it set does not sleep, so that even a lost datagram loses no wake.
 */
void framed_os_wake(struct os_poller *p)
{
    if (atomic_exchange(&p->woken, true)) return;
    int error = WSAGetLastError(); /* of whoever we interrupted */
    (void)send(p->wake, "", 1, 0);
    WSASetLastError(error);
}

static void take_wakes(struct os_poller *p)
{
    char byte;
    while (recv(p->wake, &byte, sizeof byte, 0) > 0) continue;
    (void)atomic_exchange(&p->woken, false); /* what was done before the wake is seen after this */
}

/* ---- pollers ---- */

enum framed_status framed_os_poller_open(struct os_poller **poller, enum framed_wait way,
                                         const struct framed_allocator *alloc)
{
    if (way != FRAMED_WAIT_BEST && way != FRAMED_WAIT_POLL) return FRAMED_UNSUPPORTED;
    enum framed_status st = winsock();
    if (st != FRAMED_OK) return st;
    struct os_poller *p = mem_new(alloc, sizeof *p);
    if (p == NULL) return FRAMED_NOMEM;
    *p = (struct os_poller){.alloc = alloc};
    atomic_init(&p->woken, false);

    st = table_grow(p, TABLE_FIRST);
    if (st != FRAMED_OK) goto fail;
    st = open_wake(&p->wake);
    if (st != FRAMED_OK) goto fail_table;
    p->fds[0] = (WSAPOLLFD){.fd = p->wake, .events = POLLRDNORM};
    p->owners[0] = NULL;
    p->used = 1;
    *poller = p;
    return FRAMED_OK;

fail_table:
    mem_free(alloc, p->fds, table_size(p->cap));
fail:
    mem_free(alloc, p, sizeof *p);
    check(st != FRAMED_OK);
    return st;
}

void framed_os_poller_close(struct os_poller *p)
{
    if (p == NULL) return;
    check(p->sockets == 0 && p->closing == NULL);
    (void)closesocket(p->wake);
    mem_free(p->alloc, p->lent, FRAMED_RECEIVE_SIZE);
    mem_free(p->alloc, p->fds, table_size(p->cap));
    mem_free(p->alloc, p, sizeof *p);
}

/* ---- what happens when a socket is ready ---- */

/* The system reports an error, but no operation fails with it. */
static enum framed_status broken(SOCKET handle)
{
    int error = pending_error(handle);
    return error != 0 ? classify(error) : FRAMED_RESET;
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
        if (would_block(error) && (events & POLLERR) == 0) return false;
        st = would_block(error) ? broken(socket_of(s)) : classify(error);
        if (!would_block(error) && st == FRAMED_RESET) return true; /* gone before we came to it; the others are fine */
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
    struct os_address peer;
    int error = pending_error(socket_of(s));
    enum framed_status st = error != 0 ? classify(error) : peer_address(socket_of(s), &peer);
    complete(s, WANT_CONNECT);
    s->ops->connected(s, st);
}

static void receive_ready(struct os_socket *s, SHORT events)
{
    uint8_t *at = s->dest != NULL ? s->dest : s->poller->lent;
    int n = recv(socket_of(s), (char *)at, (int)s->room, 0);
    enum framed_status st = n > 0 ? FRAMED_OK : FRAMED_CLOSED;
    if (n < 0) {
        int error = WSAGetLastError();
        if (would_block(error) && (events & POLLERR) == 0) return;
        st = would_block(error) ? broken(socket_of(s)) : classify(error);
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
        return would_block(error) ? FRAMED_OK : classify(error);
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
static void dispatch(struct os_socket *s, SHORT events)
{
    bool in = (events & ~POLLWRNORM) != 0;
    bool out = (events & ~POLLRDNORM) != 0;
    if (in && asked(s, WANT_ACCEPT)) accept_ready(s, events);
    if (out && asked(s, WANT_CONNECT)) connect_ready(s);
    if (out && asked(s, WANT_SEND)) send_ready(s, events);
    if (in && asked(s, WANT_RECEIVE)) receive_ready(s, events);
    entry_update(s);
}

static void deliver_closed(struct os_poller *p)
{
    while (p->closing != NULL) {
        struct os_socket *s = p->closing;
        p->closing = s->next_closing;
        s->ops->closed(s); /* it may be freed by that */
    }
}

static int poll_ms(const struct os_poller *p, uint64_t timeout_ms)
{
    if (p->closing != NULL || atomic_load(&p->woken)) return 0;
    if (p->held_up > 0 && timeout_ms > HELD_UP_MS) return HELD_UP_MS;
    if (timeout_ms == OS_FOREVER) return -1;
    return timeout_ms < SLEEP_MOST_MS ? (int)timeout_ms : SLEEP_MOST_MS;
}

/*
 * From the last entry to the first: removing one moves the last into its place, and that one has been visited already; what
 * is added meanwhile has no events yet.
 */
static void visit(struct os_poller *p)
{
    for (uint32_t i = p->used; i-- > 1;) {
        if (i >= p->used) continue;
        SHORT events = held_up(p, i) ? POLLHUP : p->fds[i].revents;
        p->fds[i].revents = 0;
        if (events != 0) dispatch(p->owners[i], events);
    }
}

enum framed_status framed_os_wait(struct os_poller *p, uint64_t timeout_ms)
{
    int ready = WSAPoll(p->fds, p->used, poll_ms(p, timeout_ms));
    enum framed_status st = ready != SOCKET_ERROR || would_block(WSAGetLastError()) ? FRAMED_OK : FRAMED_OS;
    if (p->fds[0].revents != 0 || atomic_load(&p->woken)) take_wakes(p);
    if (ready > 0 || p->held_up > 0) visit(p);
    deliver_closed(p);
    return st;
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
    set_option(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
    if (family_of(at) == AF_INET6) set_option(handle, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    struct os_address real = {0};
    if (bind(handle, sockaddr_of(at), (int)at->len) != 0 || listen(handle, SOMAXCONN) != 0) {
        st = last_error();
        /* A port that another process holds exclusively is refused with WSAEACCES. */
        if (st == FRAMED_DENIED) st = FRAMED_IN_USE;
        goto fail;
    }
    st = local_address(handle, &real);
    if (st != FRAMED_OK) goto fail;
    st = table_reserve(p);
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
    enum framed_status st = set_nonblocking((SOCKET)handle);
    if (st == FRAMED_OK) st = table_reserve(p);
    if (st != FRAMED_OK) return st;
    set_option((SOCKET)handle, IPPROTO_TCP, TCP_NODELAY, 1);
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
    set_option(handle, IPPROTO_TCP, TCP_NODELAY, 1);
    if (connect(handle, sockaddr_of(to), (int)to->len) != 0 && !would_block(WSAGetLastError())) {
        st = last_error();
        goto fail;
    }
    st = table_reserve(p);
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
    if (s->wants & WANT_SEND || n == 0 || n > UINT16_MAX) return FRAMED_USAGE;
    s->views = views;
    s->view_count = (uint16_t)n;
    return ask(s, WANT_SEND);
}

enum framed_status framed_os_finish(struct os_socket *s)
{
    if (s->wants & (CLOSING | WANT_SEND)) return FRAMED_USAGE;
    return shutdown(socket_of(s), SD_SEND) == 0 ? FRAMED_OK : last_error();
}

void framed_os_close(struct os_socket *s)
{
    struct os_poller *p = s->poller;
    if (s->wants & CLOSING) return;
    if (s->slot != 0) entry_remove(s);
    s->wants = CLOSING;
    (void)closesocket(socket_of(s));
    s->handle = OS_NO_HANDLE;
    p->sockets--;
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

void framed_os_buffers(struct os_socket *s, uint32_t send_bytes, uint32_t receive_bytes)
{
    if (send_bytes > 0) set_option(socket_of(s), SOL_SOCKET, SO_SNDBUF, (int)send_bytes);
    if (receive_bytes > 0) set_option(socket_of(s), SOL_SOCKET, SO_RCVBUF, (int)receive_bytes);
}

void framed_os_interest(const struct os_socket *s, intptr_t *handle, unsigned *events)
{
    *handle = s->handle;
    *events = 0;
    if (asked(s, WANT_ACCEPT | WANT_RECEIVE)) *events |= FRAMED_WANT_READ;
    if (asked(s, WANT_CONNECT | WANT_SEND)) *events |= FRAMED_WANT_WRITE;
}

/* ---- addresses ---- */

enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n)
{
    enum framed_status st = winsock();
    if (st != FRAMED_OK) return st;
    struct addrinfo hints = {.ai_flags = passive ? AI_PASSIVE : 0, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(host != NULL && host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (error != 0) return error == WSA_NOT_ENOUGH_MEMORY ? FRAMED_NOMEM : FRAMED_NOT_FOUND;
    size_t room = *n, got = 0;
    for (const struct addrinfo *a = list; a != NULL && got < room; a = a->ai_next) {
        if (a->ai_addrlen > sizeof found[got].bytes) continue;
        found[got].len = (uint32_t)a->ai_addrlen;
        memcpy(found[got].bytes, a->ai_addr, a->ai_addrlen);
        got++;
    }
    freeaddrinfo(list);
    if (got == 0) return FRAMED_NOT_FOUND;
    *n = got;
    return FRAMED_OK;
}

enum framed_status framed_os_address_unix(const char *path, struct os_address *address)
{
    (void)path, (void)address;
    return FRAMED_UNSUPPORTED;
}

uint16_t framed_os_address_host(const struct os_address *address, struct os_host *host)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    *host = (struct os_host){0};
    if (family_of(address) == AF_INET && address->len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address->bytes, sizeof v4);
        memcpy(host->bytes, mapped, sizeof mapped);
        memcpy(host->bytes + sizeof mapped, &v4.sin_addr, 4);
        return ntohs(v4.sin_port);
    }
    if (family_of(address) == AF_INET6 && address->len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address->bytes, sizeof v6);
        memcpy(host->bytes, &v6.sin6_addr, 16);
        return ntohs(v6.sin6_port);
    }
    return 0;
}

void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size)
{
    static const struct os_host local;
    char ip[INET6_ADDRSTRLEN] = "?";
    struct in6_addr v6;
    memcpy(&v6, host->bytes, sizeof v6);
    if (port == 0 && memcmp(host, &local, sizeof local) == 0) {
        (void)snprintf(text, size, "unix");
    } else if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        (void)inet_ntop(AF_INET, host->bytes + 12, ip, sizeof ip);
        (void)snprintf(text, size, "%s:%u", ip, (unsigned)port);
    } else {
        (void)inet_ntop(AF_INET6, &v6, ip, sizeof ip);
        (void)snprintf(text, size, "[%s]:%u", ip, (unsigned)port);
    }
}

void framed_os_address_text(const struct os_address *address, char *text, size_t size)
{
    struct os_host host;
    uint16_t port = framed_os_address_host(address, &host);
    framed_os_host_text(&host, port, text, size);
}

bool framed_os_connected_to_itself(const struct os_socket *s)
{
    struct os_address own, peer;
    if (local_address(socket_of(s), &own) != FRAMED_OK || peer_address(socket_of(s), &peer) != FRAMED_OK) return false;
    struct os_host own_host, peer_host;
    uint16_t own_port = framed_os_address_host(&own, &own_host), peer_port = framed_os_address_host(&peer, &peer_host);
    return own_port == peer_port && memcmp(&own_host, &peer_host, sizeof own_host) == 0;
}

void framed_os_address_remove(const struct os_address *address)
{
    (void)address;
}

/* ---- the rest ---- */

uint64_t framed_os_clock_ns(void)
{
    LARGE_INTEGER now, rate; /* both cannot fail since Windows XP */
    (void)QueryPerformanceCounter(&now);
    (void)QueryPerformanceFrequency(&rate);
    uint64_t ticks = (uint64_t)now.QuadPart, per_second = (uint64_t)rate.QuadPart, second = 1000000000u;
    return ticks / per_second * second + ticks % per_second * second / per_second;
}

enum framed_status framed_os_random(void *at, size_t n)
{
    for (uint8_t *to = at; n > 0;) {
        ULONG some = n < SEND_MOST ? (ULONG)n : SEND_MOST;
        if (BCryptGenRandom(NULL, to, some, BCRYPT_USE_SYSTEM_PREFERRED_RNG) != 0) return FRAMED_OS;
        to += some;
        n -= some;
    }
    return FRAMED_OK;
}

void framed_os_sleep_ms(uint32_t ms)
{
    Sleep(ms < SLEEP_MOST_MS ? ms : SLEEP_MOST_MS);
}

static void *heap_resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx, (void)old_size;
    if (new_size > 0) return realloc(at, new_size);
    free(at);
    return NULL;
}

const struct framed_allocator *framed_os_allocator(void)
{
    static const struct framed_allocator heap = {.resize = heap_resize};
    return &heap;
}

uintptr_t framed_os_thread_self(void)
{
    return GetCurrentThreadId();
}

struct os_thread {
    void (*run)(void *ctx);
    void *ctx;
    HANDLE handle;
};

static unsigned __stdcall thread_main(void *arg)
{
    struct os_thread *thread = arg;
    thread->run(thread->ctx);
    return 0;
}

enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx)
{
    struct os_thread *t = malloc(sizeof *t);
    if (t == NULL) return FRAMED_NOMEM;
    t->run = run;
    t->ctx = ctx;
    t->handle = (HANDLE)_beginthreadex(NULL, 0, thread_main, t, 0, NULL);
    if (t->handle == NULL) {
        free(t);
        return FRAMED_LIMIT;
    }
    *thread = t;
    return FRAMED_OK;
}

void framed_os_thread_join(struct os_thread *thread)
{
    (void)WaitForSingleObject(thread->handle, INFINITE);
    (void)CloseHandle(thread->handle);
    free(thread);
}

struct os_lock {
    SRWLOCK lock;
};

enum framed_status framed_os_lock_new(struct os_lock **lock, const struct framed_allocator *alloc)
{
    struct os_lock *l = mem_new(alloc, sizeof *l);
    if (l == NULL) return FRAMED_NOMEM;
    InitializeSRWLock(&l->lock);
    *lock = l;
    return FRAMED_OK;
}

void framed_os_lock_free(struct os_lock *lock, const struct framed_allocator *alloc)
{
    mem_free(alloc, lock, sizeof *lock); /* an SRWLOCK holds nothing */
}

void framed_os_lock(struct os_lock *lock)
{
    AcquireSRWLockExclusive(&lock->lock);
}

void framed_os_unlock(struct os_lock *lock)
{
    ReleaseSRWLockExclusive(&lock->lock);
}
