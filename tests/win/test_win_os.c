/*
 * test_win_os.c: what only the Windows platform has: its error table, its wake socket, exclusive ports, handles that no child
 * inherits. What every platform has is in tests/unit/test_os.c.
 * Must not know what a connection is for.
 */
#include "os_win.h"
/* after windows.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000 };

static struct os_poller *poller_new(void)
{
    struct os_poller *p = NULL;
    assert_int_equal(framed_os_poller_open(&p, FRAMED_WAIT_BEST, framed_os_allocator()), FRAMED_OK);
    return p;
}

static void closed(struct os_socket *s)
{
    (void)s;
}

static void accepted(struct os_socket *s, enum framed_status status, intptr_t handle, const struct os_address *peer)
{
    (void)s, (void)peer;
    assert_int_equal(status, FRAMED_OK);
    DWORD flags = HANDLE_FLAG_INHERIT;
    assert_true(GetHandleInformation((HANDLE)handle, &flags));
    assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
    framed_os_discard(handle);
    framed_os_close(s);
}

static const struct os_socket_ops ops = {.accepted = accepted, .closed = closed};

static struct os_address loopback(const char *port)
{
    struct os_address a;
    size_t n = 1;
    assert_int_equal(framed_os_resolve("127.0.0.1", port, false, &a, &n), FRAMED_OK);
    return a;
}

/* A plain socket of somebody else's, of `type`. */
static SOCKET stranger(int type)
{
    SOCKET s = socket(AF_INET, type, 0);
    assert_true(s != INVALID_SOCKET);
    return s;
}

static void name_of(SOCKET s, struct os_address *a)
{
    int len = sizeof a->bytes;
    assert_int_equal(getsockname(s, (struct sockaddr *)(void *)a->bytes, &len), 0);
    a->len = (uint32_t)len;
}

/* ---- tests ---- */

static void errors_have_the_statuses_that_posix_gives_them(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum framed_status status;
    } table[] = {
        {WSAECONNRESET, FRAMED_RESET},
        {WSAECONNABORTED, FRAMED_RESET},
        {WSAENETRESET, FRAMED_RESET},
        {WSAENOTCONN, FRAMED_RESET},
        {WSAESHUTDOWN, FRAMED_RESET},
        {WSAECONNREFUSED, FRAMED_REFUSED},
        {WSAETIMEDOUT, FRAMED_TIMEOUT},
        {WSAEMFILE, FRAMED_LIMIT},
        {WSAENOBUFS, FRAMED_LIMIT},
        {WSA_NOT_ENOUGH_MEMORY, FRAMED_NOMEM},
        {WSAEADDRINUSE, FRAMED_IN_USE},
        {WSAEACCES, FRAMED_DENIED},
        {WSAEADDRNOTAVAIL, FRAMED_UNREACHABLE},
        {WSAENETUNREACH, FRAMED_UNREACHABLE},
        {WSAEHOSTUNREACH, FRAMED_UNREACHABLE},
        {WSAHOST_NOT_FOUND, FRAMED_NOT_FOUND},
        {WSANO_DATA, FRAMED_NOT_FOUND},
        {WSAEINVAL, FRAMED_USAGE},
        {WSAENOTSOCK, FRAMED_USAGE},
        {WSAEAFNOSUPPORT, FRAMED_UNSUPPORTED},
        {WSAEOPNOTSUPP, FRAMED_UNSUPPORTED},
        {WSASYSCALLFAILURE, FRAMED_OS},
        {12345678, FRAMED_OS},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(framed_os_classify(table[i].error), table[i].status);
}

/* Every number that Winsock has is a failure, and would-block is never taken for one. */
static void no_error_counts_as_success(void **state)
{
    (void)state;
    for (int error = WSABASEERR; error < WSABASEERR + 1100; error++) assert_true(framed_os_classify(error) < 0);
    assert_true(framed_os_would_block(WSAEWOULDBLOCK));
    assert_false(framed_os_would_block(WSAECONNRESET));
}

static void a_strangers_datagram_wakes_nobody(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_address wake;
    name_of(p->wake, &wake);
    SOCKET other = stranger(SOCK_DGRAM);
    assert_int_equal(sendto(other, "x", 1, 0, sockaddr_of(&wake), (int)wake.len), 1);
    WSAPOLLFD seen = {.fd = p->wake, .events = POLLRDNORM};
    assert_int_equal(WSAPoll(&seen, 1, 100), 0);
    framed_os_wake(p);
    assert_int_equal(WSAPoll(&seen, 1, PATIENCE_MS), 1);
    assert_int_equal(framed_os_wait(p, OS_FOREVER), FRAMED_OK);
    assert_int_equal(closesocket(other), 0);
    framed_os_poller_close(p);
}

static void the_wake_sockets_port_cannot_be_taken(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_address wake;
    name_of(p->wake, &wake);
    SOCKET thief = stranger(SOCK_DGRAM);
    BOOL yes = TRUE;
    assert_int_equal(setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, (const char *)&yes, sizeof yes), 0);
    assert_int_not_equal(bind(thief, sockaddr_of(&wake), (int)wake.len), 0);
    assert_int_equal(closesocket(thief), 0);
    framed_os_poller_close(p);
}

static void a_listeners_port_cannot_be_taken(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_socket listener = {.ops = &ops};
    struct os_address at = loopback("0"), bound;
    assert_int_equal(framed_os_listen(p, &listener, &at, &bound), FRAMED_OK);
    BOOL exclusive = FALSE, yes = TRUE;
    int len = sizeof exclusive;
    assert_int_equal(getsockopt(socket_of(&listener), SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (char *)&exclusive, &len), 0);
    assert_true(exclusive);
    SOCKET thief = stranger(SOCK_STREAM);
    assert_int_equal(setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, (const char *)&yes, sizeof yes), 0);
    assert_int_not_equal(bind(thief, sockaddr_of(&bound), (int)bound.len), 0);
    assert_int_equal(closesocket(thief), 0);
    framed_os_close(&listener);
    assert_int_equal(framed_os_wait(p, 0), FRAMED_OK);
    framed_os_poller_close(p);
}

static void no_child_inherits_a_listener_or_what_it_accepts(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_socket listener = {.ops = &ops};
    struct os_address at = loopback("0"), bound;
    assert_int_equal(framed_os_listen(p, &listener, &at, &bound), FRAMED_OK);
    DWORD flags = HANDLE_FLAG_INHERIT;
    assert_true(GetHandleInformation((HANDLE)listener.handle, &flags));
    assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
    SOCKET peer = stranger(SOCK_STREAM);
    assert_int_equal(connect(peer, sockaddr_of(&bound), (int)bound.len), 0);
    assert_int_equal(framed_os_accept(&listener), FRAMED_OK);
    while (listener.handle != OS_NO_HANDLE) assert_int_equal(framed_os_wait(p, PATIENCE_MS), FRAMED_OK);
    assert_int_equal(closesocket(peer), 0);
    framed_os_poller_close(p);
}

static void windows_has_no_epoll_no_unix_sockets_and_no_descriptors(void **state)
{
    (void)state;
    struct os_poller *p = NULL;
    struct os_address a;
    struct os_socket s = {0};
    assert_int_equal(framed_os_poller_open(&p, FRAMED_WAIT_EPOLL, framed_os_allocator()), FRAMED_UNSUPPORTED);
    p = poller_new();
    assert_int_equal(framed_os_address_unix("C:\\framed.sock", &a), FRAMED_UNSUPPORTED);
    assert_int_equal(framed_os_adopt(p, &s, 3, true, &a), FRAMED_UNSUPPORTED);
    framed_os_poller_close(p);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_has_no_epoll_no_unix_sockets_and_no_descriptors),
        cmocka_unit_test(errors_have_the_statuses_that_posix_gives_them),
        cmocka_unit_test(no_error_counts_as_success),
        cmocka_unit_test(a_strangers_datagram_wakes_nobody),
        cmocka_unit_test(the_wake_sockets_port_cannot_be_taken),
        cmocka_unit_test(a_listeners_port_cannot_be_taken),
        cmocka_unit_test(no_child_inherits_a_listener_or_what_it_accepts),
    };
    return cmocka_run_group_tests_name("os.h, Windows", tests, NULL, NULL);
}
