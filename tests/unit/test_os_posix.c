/*
 * test_os_posix.c: what POSIX has beyond test_os.c: signal handlers, descriptors, Unix sockets, a reset told as one.
 * Must not know how the platform keeps it.
 * Invariants: as in test_os.c.
 */
#define _GNU_SOURCE
#include "os_posix.h"
#include "os_rig.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void receive_tells_a_reset(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "unread", 6);
    finish_end(p, &b);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    until(p, &a.received, 1);
    assert_int_equal(a.status, FRAMED_RESET);
    assert_sleeps(p);
    finish_end(p, &a);
    framed_os_poller_close(p);
}

/* ---- a system that fails to wait: these stand before libc's ---- */

static int waits_to_fail, fail_with;

static bool wait_fails(void)
{
    if (waits_to_fail == 0) return false;
    waits_to_fail--;
    errno = fail_with;
    return true;
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    return wait_fails() ? -1 : epoll_pwait(fd, events, most, timeout_ms, NULL);
}

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    return wait_fails() ? -1 : ppoll(fds, n, timeout_ms < 0 ? NULL : &timeout, NULL);
}

static void waiting_that_fails_is_the_systems_failure_not_wrong_use(void **state)
{
    (void)state;
    static const int errors[] = {EBADF, EINVAL, EFAULT};
    struct os_poller *p = poller_new();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        waits_to_fail =
            way == FRAMED_WAIT_POLL && errors[i] == EINVAL ? 2 : 1; /* that may be a limit: once more, in pieces */
        fail_with = errors[i];
        assert_int_equal(framed_os_wait(p, 0), FRAMED_OS);
        assert_int_equal(waits_to_fail, 0);
    }
    framed_os_poller_close(p);
}

static void waiting_goes_on_when_the_limit_of_descriptors_falls_below_those_there_are(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b, c, d;
    struct rlimit limit, low;
    pair(p, &a, &b);
    pair(p, &c, &d);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_receive(&d.s, NULL, 0), FRAMED_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    for (low.rlim_cur = 0; low.rlim_cur < 4; low.rlim_cur++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        wait_once(p, 1); /* nothing comes: it ends by itself */
        if (low.rlim_cur == 0) continue;
        unsigned times = (unsigned)low.rlim_cur;
        send_all(p, &a, "on", 2);
        send_all(p, &c, "on", 2);
        until(p, &b.received, times);
        until(p, &d.received, times);
        assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
        assert_int_equal(framed_os_receive(&d.s, NULL, 0), FRAMED_OK);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    finish_end(p, &c);
    finish_end(p, &d);
    end_both(p, &a, &b);
}

static void waiting_goes_on_when_interrupted_or_short_of_memory(void **state)
{
    (void)state;
    static const int errors[] = {EINTR, ENOMEM, EAGAIN}; /* the last two only poll can meet */
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    for (size_t i = 0; i < (way == FRAMED_WAIT_POLL ? 3u : 1u); i++) {
        waits_to_fail = 1;
        fail_with = errors[i];
        wait_once(p, OS_FOREVER);
        assert_int_equal(waits_to_fail, 0);
        assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
        send_all(p, &a, "on", 2);
        until(p, &b.received, (unsigned)i + 1);
    }
    end_both(p, &a, &b);
}

static struct os_poller *signalled;

static void wake_on_signal(int number)
{
    (void)number;
    framed_os_wake(signalled);
}

static void on_signal(int number, void (*handler)(int))
{
    struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
    assert_int_equal(sigaction(number, &act, NULL), 0);
}

static void wake_from_a_signal_handler_ends_the_next_wait_and_keeps_errno(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    signalled = p;
    on_signal(SIGUSR1, wake_on_signal);
    errno = 1234;
    for (int i = 0; i < 100000; i++) (void)raise(SIGUSR1);
    assert_int_equal(errno, 1234);
    wait_once(p, OS_FOREVER);
    on_signal(SIGUSR1, SIG_DFL);
    framed_os_poller_close(p);
}

static void wake_from_a_signal_handler_ends_the_wait_under_way(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    signalled = p;
    on_signal(SIGALRM, wake_on_signal);
    struct itimerval soon = {.it_value.tv_usec = 20000};
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    wait_once(p, OS_FOREVER);
    on_signal(SIGALRM, SIG_DFL);
    (void)alarm(120);
    framed_os_poller_close(p);
}

static void every_descriptor_is_closed_on_exec_and_closed_at_the_end(void **state)
{
    (void)state;
    int before = open("/dev/null", O_RDONLY);
    assert_true(before >= 0);
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    int last = (int)b.s.handle;
    for (int fd = before + 1; fd <= last; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0) assert_true(flags & FD_CLOEXEC);
    }
    finish_end(p, &l);
    end_both(p, &a, &b);
    for (int fd = before + 1; fd <= last; fd++) assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(close(before), 0);
}

static void accept_without_descriptors_is_a_limit_and_works_again_afterwards(void **state)
{
    (void)state;
    enum { MOST = 4096 };
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    until(p, &a.connected, 1);
    static int fds[MOST];
    size_t n = 0;
    while (n < MOST && (fds[n] = dup(0)) >= 0) n++; /* main() set the limit below MOST */
    assert_true(n < MOST);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    until(p, &l.accepted, 1);
    assert_int_equal(l.status, FRAMED_LIMIT);
    assert_sleeps(p);
    struct os_poller *q = NULL;
    assert_int_equal(framed_os_poller_open(&q, way, framed_os_allocator()), FRAMED_LIMIT);
    end_init(&b);
    assert_int_equal(framed_os_connect(p, &b.s, &bound), FRAMED_LIMIT);
    while (n > 0) assert_int_equal(close(fds[--n]), 0);
    take(p, &l, &b);
    finish_end(p, &l);
    end_both(p, &a, &b);
}

static void accepted_connections_inherit_keepalive_and_send_at_once(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    framed_os_keepalive(&l.s, 60000, 30000);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    int value = 0;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt((int)b.s.handle, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
    assert_true(value != 0);
#ifdef TCP_KEEPIDLE
    assert_int_equal(getsockopt((int)b.s.handle, IPPROTO_TCP, TCP_KEEPIDLE, &value, &len), 0);
    assert_int_equal(value, 60);
#endif
#ifdef TCP_USER_TIMEOUT
    assert_int_equal(getsockopt((int)b.s.handle, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len), 0);
    assert_int_equal(value, 90000);
#endif
    for (int i = 0; i < 2; i++) {
        int fd = (int)(i == 0 ? a.s.handle : b.s.handle);
        value = 0;
        assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
        assert_true(value != 0);
    }
    finish_end(p, &l);
    end_both(p, &a, &b);
}

/* A folder of the test's own, and a path in it. */
static void folder(char dir[64], char path[96])
{
    (void)snprintf(dir, 64, "/tmp/framed-test-os-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, 96, "%s/s", dir);
}

static void unix_sockets_connect_and_leave_no_path(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    char dir[64], path[96], text[OS_ADDRESS_TEXT_SIZE], expected[OS_ADDRESS_TEXT_SIZE];
    folder(dir, path);
    struct os_address at, bound;
    struct end l, a, b;
    assert_int_equal(framed_os_address_unix(path, &at), FRAMED_OK);
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_OK);
    framed_os_address_text(&bound, text, sizeof text);
    (void)snprintf(expected, sizeof expected, "unix:%s", path);
    assert_string_equal(text, expected);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    framed_os_address_text(&l.peer, text, sizeof text);
    assert_string_equal(text, "unix");
    static const struct os_host local;
    struct os_host host;
    assert_int_equal(framed_os_address_host(&l.peer, &host), 0);
    assert_memory_equal(&host, &local, sizeof host);
    framed_os_host_text(&host, 0, text, sizeof text);
    assert_string_equal(text, "unix");
    assert_false(framed_os_connected_to_itself(&a.s));
    framed_os_keepalive(&a.s, 60000, 30000);
    send_all(p, &a, "local", 5);
    uint8_t got[5];
    receive_all(p, &b, got, 5);
    assert_memory_equal(got, "local", 5);
    finish_end(p, &l);
    framed_os_address_remove(&bound);
    assert_int_equal(rmdir(dir), 0);
    struct os_address tcp = loopback("127.0.0.1", "80");
    framed_os_address_remove(&tcp);
    end_both(p, &a, &b);
}

#ifdef TCP_CONGESTION
static void accepted_and_connected_sockets_have_the_congestion_control_they_were_given(void **state)
{
    (void)state;
    if (framed_os_congestion_check("reno") != FRAMED_OK) skip(); /* every Linux has it, but not every emulator */
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    assert_int_equal(framed_os_congestion_check("no such"), FRAMED_UNSUPPORTED);
    assert_int_equal(framed_os_congestion_check(""), FRAMED_UNSUPPORTED);
    listen_any(p, &l, &bound);
    framed_os_congestion(&l.s, "reno");
    framed_os_congestion(&l.s, "no such"); /* which changes nothing */
    dial(p, &a, &bound);
    framed_os_congestion(&a.s, "reno");
    take(p, &l, &b);
    until(p, &a.connected, 1);
    for (int i = 0; i < 2; i++) {
        char name[16] = "";
        socklen_t len = sizeof name;
        assert_int_equal(getsockopt((int)(i == 0 ? a.s.handle : b.s.handle), IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
        assert_string_equal(name, "reno");
    }
    finish_end(p, &l);
    end_both(p, &a, &b);
}
#endif

/* A refused connect may be known at once, where there is no socket, or be told. */
static enum framed_status dial_status(struct os_poller *p, const struct os_address *to)
{
    struct end a;
    end_init(&a);
    enum framed_status st = framed_os_connect(p, &a.s, to);
    if (st != FRAMED_OK) return st;
    until(p, &a.connected, 1);
    st = a.status;
    finish_end(p, &a);
    return st;
}

static void a_unix_path_is_replaced_only_when_nobody_listens_there(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    char dir[64], path[96];
    folder(dir, path);
    struct os_address at, bound;
    struct end l, second;
    assert_int_equal(framed_os_address_unix(path, &at), FRAMED_OK);
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_OK);
    end_init(&second);
    assert_int_equal(framed_os_listen(p, &second.s, &at, &bound), FRAMED_IN_USE);
    assert_int_equal(dial_status(p, &at), FRAMED_OK); /* the first one is still there */

    finish_end(p, &l); /* the path stays behind */
    assert_int_equal(dial_status(p, &at), FRAMED_REFUSED);
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_OK);
    finish_end(p, &l);
    framed_os_address_remove(&at);

    int fd = open(path, O_CREAT | O_WRONLY, 0600); /* somebody's file */
    assert_true(fd >= 0 && write(fd, "mine", 4) == 4 && close(fd) == 0);
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_IN_USE);
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, 4);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    framed_os_poller_close(p);
}

static void a_unix_path_whose_server_is_too_busy_to_tell_is_in_use(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    char dir[64], path[96];
    folder(dir, path);
    struct os_address at, bound;
    assert_int_equal(framed_os_address_unix(path, &at), FRAMED_OK);
    const struct sockaddr *sa = (const struct sockaddr *)(const void *)at.bytes;
    int busy = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(busy, sa, at.len), 0);
    assert_int_equal(listen(busy, 0), 0);
    int waiting[8];
    int n = 0, failed = 0;
    while (failed == 0 && n < 8) { /* until one more would have to wait for a place */
        waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        failed = connect(waiting[n++], sa, at.len);
    }
    assert_int_equal(failed, -1);
    assert_int_equal(errno, EAGAIN);
    struct end l;
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_IN_USE);
    while (n > 0) assert_int_equal(close(waiting[--n]), 0);
    assert_int_equal(close(busy), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    framed_os_poller_close(p);
}

static void unix_paths_that_cannot_be_are_told(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_address at, bound;
    struct sockaddr_un un;
    char path[sizeof un.sun_path + 1];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_int_equal(framed_os_address_unix("", &at), FRAMED_USAGE);
    assert_int_equal(framed_os_address_unix(path, &at), FRAMED_USAGE);
    path[sizeof path - 2] = '\0';
    assert_int_equal(framed_os_address_unix(path, &at), FRAMED_OK);
    char text[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(&at, text, sizeof text);
    assert_int_equal(strlen(text), 5 + strlen(path));
    assert_int_equal(framed_os_address_unix("/no/such/folder/s", &at), FRAMED_OK);
    struct end l;
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &at, &bound), FRAMED_NOT_FOUND);
    assert_int_equal(dial_status(p, &at), FRAMED_NOT_FOUND);
    framed_os_poller_close(p);
}

static void adopt_takes_over_a_listener_and_a_connection(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end first, l, a, b;
    struct os_address bound, same;
    listen_any(p, &first, &bound);
    int fd = dup((int)first.s.handle);
    assert_true(fd >= 0 && fcntl(fd, F_SETFL, 0) == 0); /* blocking, as a parent hands it down */
    end_init(&l);
    assert_int_equal(framed_os_adopt(p, &l.s, fd, false, &same), FRAMED_USAGE);
    assert_int_equal(framed_os_adopt(p, &l.s, fd, true, &same), FRAMED_OK);
    assert_memory_equal(same.bytes, bound.bytes, bound.len);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    finish_end(p, &l);
    finish_end(p, &first);
    end_both(p, &a, &b);

    p = poller_new();
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    end_init(&a);
    end_init(&b);
    assert_int_equal(framed_os_adopt(p, &a.s, ends[0], true, &same), FRAMED_USAGE);
    assert_int_equal(framed_os_adopt(p, &a.s, ends[0], false, &same), FRAMED_OK);
    assert_int_equal(framed_os_adopt(p, &b.s, ends[1], false, &same), FRAMED_OK);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    send_all(p, &a, "handed down", 11);
    until(p, &b.received, 1);
    assert_memory_equal(b.at, "handed down", 11);
    assert_true(fcntl(ends[0], F_GETFD) & FD_CLOEXEC);
    static const uint8_t more[4 << 20];
    (void)stuff(p, &a, more, sizeof more); /* would hang here if the descriptor still blocked */
    end_both(p, &a, &b);
}

static void adopt_refuses_what_is_no_socket(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end e;
    struct os_address bound;
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0);
    end_init(&e);
    assert_int_equal(framed_os_adopt(p, &e.s, fd, false, &bound), FRAMED_USAGE);
    assert_int_equal(close(fd), 0);
    assert_int_equal(framed_os_adopt(p, &e.s, fd, false, &bound), FRAMED_USAGE);
    int pair[2]; /* keeps boundaries, so it is no stream */
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(framed_os_adopt(p, &e.s, pair[0], false, &bound), FRAMED_USAGE);
    assert_int_equal(close(pair[0]), 0);
    assert_int_equal(close(pair[1]), 0);
    framed_os_poller_close(p);
}

static void a_connection_to_itself_is_told(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof self;
    assert_int_equal(bind(fd, (struct sockaddr *)&self, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&self, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&self, len), 0);
    struct end e;
    struct os_address peer;
    end_init(&e);
    assert_int_equal(framed_os_adopt(p, &e.s, fd, false, &peer), FRAMED_OK);
    assert_true(framed_os_connected_to_itself(&e.s));
    finish_end(p, &e);
    framed_os_poller_close(p);
}

/* The whole table, so that no number of the system gets another meaning unnoticed. */
static void errors_of_the_system_have_their_statuses(void **state)
{
    (void)state;
    static const struct {
        enum framed_status status;
        int errors[8];
    } rows[] = {
        {FRAMED_RESET, {ECONNRESET, ECONNABORTED, EPIPE, ENOTCONN, ESHUTDOWN, EPROTO}},
        {FRAMED_REFUSED, {ECONNREFUSED}},
        {FRAMED_TIMEOUT, {ETIMEDOUT}},
        {FRAMED_LIMIT, {EMFILE, ENFILE, ENOBUFS, ENOSPC, EAGAIN}},
        {FRAMED_NOMEM, {ENOMEM}},
        {FRAMED_IN_USE, {EADDRINUSE, EEXIST}},
        {FRAMED_DENIED, {EACCES, EPERM, EROFS}},
        {FRAMED_UNREACHABLE, {EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN}},
        {FRAMED_NOT_FOUND, {ENOENT, ENOTDIR}},
        {FRAMED_USAGE, {ENOTSOCK, EBADF, EINVAL}},
        {FRAMED_UNSUPPORTED, {EAFNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP}},
        {FRAMED_OS, {EIO, EFAULT, EDOM, 12345}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (const int *error = rows[i].errors; *error != 0; error++)
            if (framed_os_classify(*error) != rows[i].status)
                fail_msg("%s is %s", strerror(*error), framed_status_name(framed_os_classify(*error)));
}

static void sending_out_of_turn_is_refused(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    static uint8_t much[8 << 20];
    struct framed_bytes views[] = {{much, sizeof much}};
    size_t taken = 0;
    assert_int_equal(framed_os_send(&a.s, views, 0), FRAMED_USAGE);
    assert_int_equal(framed_os_send(&a.s, views, (size_t)UINT16_MAX + 1), FRAMED_USAGE);
    assert_int_equal(framed_os_send(&a.s, views, 1), FRAMED_OK);
    assert_int_equal(framed_os_send(&a.s, views, 1), FRAMED_USAGE); /* one at a time */
    assert_int_equal(framed_os_offer(&a.s, views, 1, &taken), FRAMED_USAGE);
    assert_int_equal(framed_os_finish(&a.s), FRAMED_USAGE);
    assert_int_equal(taken, 0);
    finish_end(p, &a);
    finish_end(p, &b);
    framed_os_poller_close(p);
}

static void random_bytes_of_forked_processes_differ(void **state)
{
    enum { CHILDREN = 4, SIZE = 32 };
    uint8_t drawn[CHILDREN + 2][SIZE];
    (void)state;
    assert_int_equal(framed_os_random(drawn[0], SIZE), FRAMED_OK); /* whatever is begun at the first time has begun */
    for (size_t i = 1; i <= CHILDREN; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            bool good = framed_os_random(drawn[i], SIZE) == FRAMED_OK && write(ends[1], drawn[i], SIZE) == SIZE;
            _exit(good ? 0 : 1);
        }
        assert_int_equal(read(ends[0], drawn[i], SIZE), SIZE);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_int_equal(how, 0);
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
    assert_int_equal(framed_os_random(drawn[CHILDREN + 1], SIZE), FRAMED_OK);
    for (size_t i = 0; i < CHILDREN + 2; i++)
        for (size_t k = 0; k < i; k++) assert_memory_not_equal(drawn[i], drawn[k], SIZE);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(random_bytes_of_forked_processes_differ),
    cmocka_unit_test(errors_of_the_system_have_their_statuses),
    cmocka_unit_test(sending_out_of_turn_is_refused),
    cmocka_unit_test(receive_tells_a_reset),
    cmocka_unit_test(waiting_that_fails_is_the_systems_failure_not_wrong_use),
    cmocka_unit_test(waiting_goes_on_when_the_limit_of_descriptors_falls_below_those_there_are),
    cmocka_unit_test(waiting_goes_on_when_interrupted_or_short_of_memory),
    cmocka_unit_test(wake_from_a_signal_handler_ends_the_next_wait_and_keeps_errno),
    cmocka_unit_test(wake_from_a_signal_handler_ends_the_wait_under_way),
    cmocka_unit_test(every_descriptor_is_closed_on_exec_and_closed_at_the_end),
    cmocka_unit_test(accept_without_descriptors_is_a_limit_and_works_again_afterwards),
    cmocka_unit_test(accepted_connections_inherit_keepalive_and_send_at_once),
#ifdef TCP_CONGESTION
    cmocka_unit_test(accepted_and_connected_sockets_have_the_congestion_control_they_were_given),
#endif
    cmocka_unit_test(unix_sockets_connect_and_leave_no_path),
    cmocka_unit_test(a_unix_path_is_replaced_only_when_nobody_listens_there),
    cmocka_unit_test(a_unix_path_whose_server_is_too_busy_to_tell_is_in_use),
    cmocka_unit_test(unix_paths_that_cannot_be_are_told),
    cmocka_unit_test(adopt_takes_over_a_listener_and_a_connection),
    cmocka_unit_test(adopt_refuses_what_is_no_socket),
    cmocka_unit_test(a_connection_to_itself_is_told),
};

int main(void)
{
    struct rlimit few; /* so that running out of descriptors is quick */
    if (getrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    few.rlim_cur = few.rlim_max < 1024 ? few.rlim_max : 1024;
    if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;

    int failed = 0;
    struct os_poller *p = NULL;
    way = FRAMED_WAIT_EPOLL;
    enum framed_status st = framed_os_poller_open(&p, way, framed_os_allocator());
    framed_os_poller_close(p);
    if (st != FRAMED_UNSUPPORTED) failed += cmocka_run_group_tests_name("os.h on POSIX, epoll", tests, NULL, NULL);
    way = FRAMED_WAIT_POLL;
    return failed + cmocka_run_group_tests_name("os.h on POSIX, poll", tests, NULL, NULL);
}
