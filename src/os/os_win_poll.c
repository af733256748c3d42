/*
 * os_win_poll.c: pollers: the table of sockets that WSAPoll waits for, and the socket that wakes it.
 * Must not know what a socket is for.
 * Invariants: entry 0 of the table is the wake socket; a socket has an entry (slot > 0) exactly while it wants something; the
 * table always has room for every socket of the poller; all callbacks are made from inside framed_os_wait.
 */
#include "../../proto/alloc.h"
#include "../../proto/be.h"
#include "os_win.h"
#include <string.h>

enum {
    TABLE_FIRST = 16,
    HELD_UP_MS = 10,        /* how often a held-up send is tried */
    SLEEP_MOST_MS = 1 << 30 /* a legal int */
};

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

enum framed_status framed_os_table_reserve(struct os_poller *p)
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
void framed_os_table_update(struct os_socket *s)
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

void framed_os_table_release(struct os_socket *s)
{
    if (s->slot != 0) entry_remove(s);
    s->poller->sockets--;
}

/* ---- waking ---- */

/* A UDP socket connected to its own loopback address: takes datagrams from nobody else, and needs no second handle. */
static enum framed_status open_wake(SOCKET *made)
{
    SOCKET handle = WSASocketW(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (handle == INVALID_SOCKET) return framed_os_last_error();
    struct sockaddr_in self = {.sin_family = AF_INET};
    self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct os_address at = {.len = sizeof self};
    memcpy(at.bytes, &self, sizeof self);
    framed_os_set_option(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);

    enum framed_status st = framed_os_set_nonblocking(handle);
    if (st == FRAMED_OK && bind(handle, sockaddr_of(&at), (int)at.len) != 0) st = framed_os_last_error();
    if (st == FRAMED_OK) st = framed_os_local_address(handle, &at);
    if (st == FRAMED_OK && connect(handle, sockaddr_of(&at), (int)at.len) != 0) st = framed_os_last_error();
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

uint64_t framed_os_completions(const struct os_poller *p)
{
    return p->completions;
}

static void take_wakes(struct os_poller *p)
{
    p->completions++;
    char byte;
    while (recv(p->wake, &byte, sizeof byte, 0) > 0) continue;
    (void)atomic_exchange(&p->woken, false); /* what was done before the wake is seen after this */
}

/* ---- pollers ---- */

enum framed_status framed_os_poller_open(struct os_poller **poller, enum framed_wait way,
                                         const struct framed_allocator *alloc)
{
    if (way != FRAMED_WAIT_BEST && way != FRAMED_WAIT_POLL) return FRAMED_UNSUPPORTED;
    enum framed_status st = framed_os_winsock();
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

/* ---- waiting ---- */

static void deliver_closed(struct os_poller *p)
{
    while (p->closing != NULL) {
        struct os_socket *s = p->closing;
        p->closing = s->next_closing;
        p->completions++;
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
        if (events != 0) framed_os_dispatch(p->owners[i], events);
    }
}

enum framed_status framed_os_wait(struct os_poller *p, uint64_t timeout_ms)
{
    int ready = WSAPoll(p->fds, p->used, poll_ms(p, timeout_ms));
    enum framed_status st = ready != SOCKET_ERROR || framed_os_would_block(WSAGetLastError()) ? FRAMED_OK : FRAMED_OS;
    if (p->fds[0].revents != 0 || atomic_load(&p->woken)) take_wakes(p);
    if (ready > 0 || p->held_up > 0) visit(p);
    deliver_closed(p);
    return st;
}
