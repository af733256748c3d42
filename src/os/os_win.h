/* os_win.h: what the files of the Windows platform know of each other. Their only way of waiting is WSAPoll (os_win_poll.c). */
#ifndef FRAMED_OS_WIN_H
#define FRAMED_OS_WIN_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
/* after winsock2.h, on which they stand */
#include <windows.h>
#include <ws2tcpip.h>

#include "os.h"
#include <stdatomic.h>

/* What a caller has asked for (os_socket.wants). */
enum { WANT_ACCEPT = 1, WANT_CONNECT = 2, WANT_RECEIVE = 4, WANT_SEND = 8, CLOSING = 16 };

/* What else is known of a socket (os_socket.armed): the peer has finished, and the system took nothing of what is to be sent. */
enum { HELD_UP = 1 };

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
    uint32_t held_up;           /* entries that are skipped, see framed_os_table_update */
    uint32_t keepalive_idle_ms; /* of the listeners, for what they accept */
    uint32_t keepalive_give_up_ms;
    uint64_t completions;
    atomic_bool woken;
};

/* ---- os_win_misc.c ---- */

/* The one table from Winsock's errors to statuses. */
enum framed_status framed_os_classify(int error);
enum framed_status framed_os_last_error(void);

/* Nothing wrong, only nothing yet. */
bool framed_os_would_block(int error);

/* Starts Winsock, once. Never undone: there is no moment at which a library knows that nobody in the process uses it any more. */
enum framed_status framed_os_winsock(void);

/* ---- os_win.c ---- */

/* Options are wishes: where the system knows one not, the socket still works. */
void framed_os_set_option(SOCKET handle, int level, int name, int value);
enum framed_status framed_os_set_nonblocking(SOCKET handle);
enum framed_status framed_os_local_address(SOCKET handle, struct os_address *a);

/* Does what WSAPoll says is ready; any event may mean failure, of whatever is asked for. */
void framed_os_dispatch(struct os_socket *s, SHORT events);

/* ---- os_win_poll.c ---- */

/* Counts one more socket, and makes sure that the table has room for it whenever it wants something. */
enum framed_status framed_os_table_reserve(struct os_poller *p);

/* Makes the table say what the socket wants. */
void framed_os_table_update(struct os_socket *s);

/* The socket is gone. */
void framed_os_table_release(struct os_socket *s);

static inline SOCKET socket_of(const struct os_socket *s)
{
    return (SOCKET)s->handle;
}

static inline const struct sockaddr *sockaddr_of(const struct os_address *a)
{
    return (const struct sockaddr *)(const void *)a->bytes;
}

static inline int family_of(const struct os_address *a)
{
    return a->len >= sizeof(struct sockaddr) ? sockaddr_of(a)->sa_family : AF_UNSPEC;
}

#endif
