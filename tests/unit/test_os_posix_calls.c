/*
 * test_os_posix_calls.c: what one system call may answer that is neither success nor the connection's end, and how often one
 * turn asks. The calls of this program go through functions of its own, which fail as a test tells them and count.
 * Must not know how the platform waits.
 * Invariants: as in test_os.c; a failure is given out once, then the system answers again.
 */
#define _DEFAULT_SOURCE /* and not _GNU_SOURCE, with which accept4 takes a union of pointers that we could not define anew */
#include "os_rig.h"
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails_with; /* what the next call of any kind answers; 0: nothing */
static unsigned received, accepted, sent;

static bool fails(unsigned *count)
{
    ++*count;
    if (fails_with == 0) return false;
    errno = fails_with;
    fails_with = 0;
    return true;
}

ssize_t recv(int fd, void *at, size_t n, int flags)
{
    return fails(&received) ? -1 : (ssize_t)syscall(SYS_recvfrom, fd, at, n, flags, NULL, NULL);
}

ssize_t send(int fd, const void *at, size_t n, int flags)
{
    return fails(&sent) ? -1 : (ssize_t)syscall(SYS_sendto, fd, at, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    return fails(&sent) ? -1 : (ssize_t)syscall(SYS_sendmsg, fd, m, flags);
}

int accept4(int fd, struct sockaddr *at, socklen_t *len, int flags);
int accept4(int fd, struct sockaddr *at, socklen_t *len, int flags)
{
    return fails(&accepted) ? -1 : (int)syscall(SYS_accept4, fd, at, len, flags);
}

static struct os_poller *wakes_meanwhile; /* this one, as another thread might, just before the next read */
static unsigned written;

ssize_t read(int fd, void *at, size_t n)
{
    struct os_poller *p = wakes_meanwhile;
    wakes_meanwhile = NULL;
    if (p != NULL) framed_os_wake(p);
    return (ssize_t)syscall(SYS_read, fd, at, n);
}

ssize_t write(int fd, const void *at, size_t n)
{
    ++written;
    return (ssize_t)syscall(SYS_write, fd, at, n);
}

/* ---- one failure ---- */

static void receive_that_is_interrupted_or_has_nothing_goes_on(void **state)
{
    (void)state;
    const int errors[] = {EINTR, EAGAIN};
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        uint8_t got[5];
        send_all(p, &a, "bytes", sizeof got);
        fails_with = errors[i];
        receive_all(p, &b, got, sizeof got);
        assert_int_equal(fails_with, 0);
        assert_memory_equal(got, "bytes", sizeof got);
    }
    end_both(p, &a, &b);
}

static void offer_that_is_interrupted_goes_on_and_that_is_full_takes_nothing(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    for (size_t n = 1; n <= 2; n++) { /* one view and more than one go different ways */
        const struct framed_bytes views[] = {framed_bytes_of("b", 1), framed_bytes_of("c", 1)};
        size_t taken = 9;
        fails_with = EAGAIN;
        assert_int_equal(framed_os_offer(&a.s, views, n, &taken), FRAMED_OK);
        assert_int_equal(taken, 0);
        fails_with = EINTR;
        assert_int_equal(framed_os_offer(&a.s, views, n, &taken), FRAMED_OK);
        assert_int_equal(taken, n);
        assert_int_equal(fails_with, 0);
    }
    uint8_t got[3];
    receive_all(p, &b, got, sizeof got);
    assert_memory_equal(got, "bbc", sizeof got);
    end_both(p, &a, &b);
}

static void send_that_is_interrupted_or_full_completes_when_its_bytes_have_left(void **state)
{
    (void)state;
    const int errors[] = {EINTR, EAGAIN};
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        uint8_t got[5];
        fails_with = errors[i];
        send_all(p, &a, "bytes", sizeof got);
        assert_int_equal(fails_with, 0);
        receive_all(p, &b, got, sizeof got);
        assert_memory_equal(got, "bytes", sizeof got);
    }
    end_both(p, &a, &b);
}

/* accept(2): errors of the new connection come before it does; the others in the backlog are fine. */
static void connection_that_died_in_the_backlog_is_passed_over(void **state)
{
    (void)state;
    const int errors[] = {EINTR,     ECONNABORTED, EPROTO,      ENOPROTOOPT, ENETDOWN,
                          EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT};
    struct os_poller *p = poller_new();
    struct end l;
    struct os_address bound;
    listen_any(p, &l, &bound);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct end a, b;
        dial(p, &a, &bound);
        until(p, &a.connected, 1);
        fails_with = errors[i];
        take(p, &l, &b);
        assert_int_equal(fails_with, 0);
        finish_end(p, &a);
        finish_end(p, &b);
    }
    finish_end(p, &l);
    framed_os_poller_close(p);
}

static void accept_without_descriptors_is_asked_once(void **state)
{
    (void)state;
    const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    until(p, &a.connected, 1);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        accepted = 0;
        fails_with = errors[i];
        assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
        until(p, &l.accepted, l.accepted + 1);
        assert_int_equal(accepted, 1);
        assert_int_equal(l.status, errors[i] == ENOMEM ? FRAMED_NOMEM : FRAMED_LIMIT);
    }
    take(p, &l, &b);
    finish_end(p, &l);
    end_both(p, &a, &b);
}

/* ---- how much one turn does for one socket ---- */

static void receive_again(struct end *e)
{
    if (e->status == FRAMED_OK) assert_int_equal(framed_os_receive(&e->s, e->ctx, 1), FRAMED_OK);
}

static void socket_that_always_has_more_is_read_once_a_turn(void **state)
{
    (void)state;
    enum { TURNS = 20 };
    uint8_t to;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "much more than is taken", 23);
    b.then = receive_again;
    b.ctx = &to;
    assert_int_equal(framed_os_receive(&b.s, &to, 1), FRAMED_OK);
    received = 0;
    until(p, &b.received, 1);
    for (int i = 1; i < TURNS; i++) wait_once(p, OS_FOREVER);
    assert_int_equal(received, TURNS);
    end_both(p, &a, &b);
}

enum { FLOOD = 150 };

static void accept_again(struct end *l)
{
    framed_os_discard(l->handle);
    if (l->accepted < FLOOD) assert_int_equal(framed_os_accept(&l->s), FRAMED_OK);
}

static void listener_that_is_flooded_leaves_each_turn_to_others(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l;
    static struct end callers[FLOOD];
    struct os_address bound;
    listen_any(p, &l, &bound);
    for (size_t i = 0; i < FLOOD; i++) {
        dial(p, &callers[i], &bound);
        until(p, &callers[i].connected, 1);
    }
    l.then = accept_again;
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    until(p, &l.accepted, 1);
    assert_in_range(l.accepted, 1, FLOOD / 2);
    until(p, &l.accepted, FLOOD);
    finish_end(p, &l);
    for (size_t i = 0; i < FLOOD; i++) finish_end(p, &callers[i]);
    framed_os_poller_close(p);
}

/* ---- wakes ---- */

static void wake_while_another_is_being_taken_in_silences_none_after_it(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    framed_os_wake(p);
    wakes_meanwhile = p;
    wait_once(p, OS_FOREVER);
    assert_null(wakes_meanwhile);
    written = 0;
    framed_os_wake(p);
    assert_int_equal(written, 1); /* a byte that will end the next wait */
    wait_once(p, OS_FOREVER);
    framed_os_poller_close(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(receive_that_is_interrupted_or_has_nothing_goes_on),
    cmocka_unit_test(offer_that_is_interrupted_goes_on_and_that_is_full_takes_nothing),
    cmocka_unit_test(send_that_is_interrupted_or_full_completes_when_its_bytes_have_left),
    cmocka_unit_test(connection_that_died_in_the_backlog_is_passed_over),
    cmocka_unit_test(accept_without_descriptors_is_asked_once),
    cmocka_unit_test(socket_that_always_has_more_is_read_once_a_turn),
    cmocka_unit_test(listener_that_is_flooded_leaves_each_turn_to_others),
    cmocka_unit_test(wake_while_another_is_being_taken_in_silences_none_after_it),
};

int main(void)
{
    (void)alarm(120); /* a test that hangs ends */
    way = FRAMED_WAIT_BEST;
    int failed = cmocka_run_group_tests_name("os.h and its system calls, best way", tests, NULL, NULL);
    way = FRAMED_WAIT_POLL;
    return failed + cmocka_run_group_tests_name("os.h and its system calls, poll", tests, NULL, NULL);
}
