/*
 * Owns: the tool's side of POSIX: signals, standard streams, files, poll on standard input and a socket, RLIMIT_NOFILE.
 * Must not know: frames, options, what a command does.
 * Invariants: a signal handler does only what signal-safety(7) allows, and keeps errno; standard streams keep their flags.
 */
#define _POSIX_C_SOURCE 200809L
#include "host_posix.h"
#include "host.h"
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local int last_error;

enum framed_status framed_host_failed(int error)
{
    last_error = error;
    return FRAMED_OS;
}

const char *framed_host_error(void)
{
    return strerror(last_error);
}

/* Both ends non-blocking and closed on exec. */
static bool open_pipe(int ends[2])
{
    if (pipe(ends) != 0) return false;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    return true;
}

/* ---- signals ---- */

static volatile sig_atomic_t stop_signal;
static volatile sig_atomic_t stop_armed;
static void (*stop_call)(void *ctx);
static void *stop_ctx;
static int stop_pipe[2] = {-1, -1}; /* wakes framed_host_wait */

/* At once, and no command is left running. */
static _Noreturn void end_by(int number)
{
    framed_host_stop_runs();
    _exit(128 + number);
}

static void on_signal(int number)
{
    int saved = errno;
    if (!stop_armed || stop_signal != 0) end_by(number);
    stop_signal = number;
    stop_call(stop_ctx);
    ssize_t n = write(stop_pipe[1], "", 1); /* never full: one signal, one byte */
    (void)n;
    errno = saved;
}

static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

enum framed_status framed_host_on_stop(void (*stop)(void *ctx), void *ctx)
{
    stop_call = stop;
    stop_ctx = ctx;
    if (!open_pipe(stop_pipe)) return framed_host_failed(errno);
    stop_armed = 1;
    return FRAMED_OK;
}

/* ---- SIGHUP ---- */

static int hangup_pipe[2] = {-1, -1};

static void on_hangup(int number)
{
    int saved = errno;
    (void)number;
    ssize_t n = write(hangup_pipe[1], "h", 1); /* full: there is one to come already */
    (void)n;
    errno = saved;
}

enum framed_status framed_host_catch_hangup(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_hangup;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    if (!open_pipe(hangup_pipe)) return framed_host_failed(errno);
    fcntl(hangup_pipe[0], F_SETFL, 0); /* the reader waits */
    if (sigaction(SIGHUP, &action, NULL) != 0) return framed_host_failed(errno);
    return FRAMED_OK;
}

bool framed_host_hangup(void)
{
    char bytes[256]; /* however many signals came: they want the same */
    ssize_t n;
    do n = read(hangup_pipe[0], bytes, sizeof bytes);
    while (n < 0 && errno == EINTR);
    return n > 0 && memchr(bytes, 'e', (size_t)n) == NULL;
}

void framed_host_end_hangup(void)
{
    ssize_t n;
    do n = write(hangup_pipe[1], "e", 1);
    while (n < 0 && (errno == EAGAIN || errno == EINTR)); /* a flood of signals, which are being read */
}

/* A blocking call was interrupted: by a signal that wants us to end? Then we do not wait for it once more. */
static void leave_if_stopped(void)
{
    if (stop_signal != 0) end_by(stop_signal);
}

void framed_host_off_stop(void)
{
    stop_armed = 0;
}

int framed_host_stopped(void)
{
    return stop_signal;
}

/* ---- standard streams ---- */

void framed_host_begin(void)
{
    /* Opened the wrong way round, so that using a stream that was closed at the start still fails. */
    static const int ways[3] = {O_WRONLY, O_RDONLY, O_RDONLY};
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", ways[fd]) != fd) _exit(6);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
    catch_signals();
}

_Noreturn void framed_host_quit(int code)
{
    _exit(code);
}

bool framed_host_is_terminal(enum host_stream stream)
{
    static const int fds[] = {[HOST_INPUT] = STDIN_FILENO, [HOST_OUTPUT] = STDOUT_FILENO, [HOST_ERROR] = STDERR_FILENO};
    return isatty(fds[stream]) == 1;
}

enum framed_status framed_host_read(uint8_t *at, size_t room, size_t *n)
{
    ssize_t got = read(STDIN_FILENO, at, room);
    if (got > 0) {
        *n = (size_t)got;
        return FRAMED_OK;
    }
    if (got == 0) return FRAMED_CLOSED;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return FRAMED_MORE;
    return framed_host_failed(errno);
}

/* Somebody may have made the other end of our terminal or pipe non-blocking: wait then, as a blocking write would. */
static void wait_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    poll(&p, 1, -1);
}

static enum framed_status write_all(int fd, const uint8_t *at, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done >= 0) {
            at += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            wait_writable(fd);
        } else if (errno == EPIPE) {
            return FRAMED_CLOSED;
        } else if (errno != EINTR) {
            return framed_host_failed(errno);
        } else if (fd == STDOUT_FILENO) {
            leave_if_stopped();
        }
    }
    return FRAMED_OK;
}

enum framed_status framed_host_write(const uint8_t *at, size_t n)
{
    return write_all(STDOUT_FILENO, at, n);
}

void framed_host_write_error(const uint8_t *at, size_t n)
{
    enum framed_status st = write_all(STDERR_FILENO, at, n);
    (void)st; /* there is nowhere left to tell it */
}

/* ---- files ---- */

enum framed_status framed_host_check_file(const char *path, uint64_t most, uint64_t *size)
{
    struct stat about;
    if (stat(path, &about) != 0) return framed_host_failed(errno);
    if (S_ISDIR(about.st_mode)) return framed_host_failed(EISDIR);
    if (access(path, R_OK) != 0) return framed_host_failed(errno);
    if (!S_ISREG(about.st_mode) || (uint64_t)about.st_size <= most) return FRAMED_OK;
    *size = (uint64_t)about.st_size;
    return FRAMED_TOO_LARGE;
}

static enum framed_status load(int fd, size_t most, struct framed_buf *buf, const struct framed_allocator *alloc)
{
    size_t base = buf->len;
    for (;;) {
        /* One byte more than is allowed tells a file that is just long enough from one that is too long. */
        size_t left = most - (buf->len - base) + 1;
        enum framed_status st = framed_buf_reserve(buf, left < (64u << 10) ? left : (64u << 10), base + most + 1, alloc);
        if (st != FRAMED_OK) return st;
        size_t room = buf->cap - buf->len;
        ssize_t got = read(fd, buf->at + buf->len, room < left ? room : left);
        if (got == 0) return FRAMED_OK;
        if (got > 0) buf->len += (size_t)got;
        if (got < 0 && errno != EINTR) return framed_host_failed(errno);
        if (got < 0) leave_if_stopped();
        if (buf->len - base > most) return FRAMED_TOO_LARGE;
    }
}

enum framed_status framed_host_load_file(const char *path, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc)
{
    int fd;
    while ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 && errno == EINTR)
        leave_if_stopped(); /* a pipe's may block for ever */
    if (fd < 0) return framed_host_failed(errno);
    enum framed_status st = load(fd, most, buf, alloc);
    close(fd);
    return st;
}

/* ---- waiting ---- */

static int poll_timeout(uint32_t ms)
{
    if (ms == FRAMED_NEVER) return -1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

enum framed_status framed_host_wait(struct host_wait *wait)
{
    short socket_events = 0;
    if ((wait->socket.events & FRAMED_WANT_READ) != 0) socket_events |= POLLIN;
    if ((wait->socket.events & FRAMED_WANT_WRITE) != 0) socket_events |= POLLOUT;
    struct pollfd p[4] = {
        {.fd = stop_pipe[0], .events = POLLIN},
        {.fd = wait->want_input ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = wait->watch_output ? STDOUT_FILENO : -1}, /* an error is reported unasked */
        /* A socket nobody waits for is left out: it would report its end again and again. */
        {.fd = socket_events != 0 ? (int)wait->socket.socket : -1, .events = socket_events},
    };
    int n = poll(p, 4, poll_timeout(wait->socket.timeout_ms));
    if (n < 0 && errno != EINTR) return framed_host_failed(errno);
    if (n < 0) n = 0;
    wait->input = n > 0 && p[1].revents != 0;
    wait->output_gone = n > 0 && (p[2].revents & POLLERR) != 0;
    return FRAMED_OK;
}

/* ---- the rest ---- */

void framed_host_descriptors(uint64_t need, uint64_t *have)
{
    struct rlimit limit;
    *have = need;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < need) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > need ? (rlim_t)need : limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
        *have = limit.rlim_cur;
    }
}

/* A pipe: what has rung waits in it. */
struct host_bell {
    int ends[2];
};

enum framed_status framed_host_bell_new(struct host_bell **bell, const struct framed_allocator *alloc)
{
    struct host_bell *b = alloc->resize(alloc->ctx, NULL, 0, sizeof *b);
    if (b == NULL) return FRAMED_NOMEM;
    if (!open_pipe(b->ends)) {
        alloc->resize(alloc->ctx, b, sizeof *b, 0);
        return framed_host_failed(errno);
    }
    *bell = b;
    return FRAMED_OK;
}

void framed_host_bell_ring(struct host_bell *bell)
{
    ssize_t n;
    do n = write(bell->ends[1], "", 1); /* full is rung too */
    while (n < 0 && errno == EINTR);
    (void)n;
}

void framed_host_bell_wait(struct host_bell *bell, uint64_t timeout_ms)
{
    char rung[64];
    struct pollfd p = {.fd = bell->ends[0], .events = POLLIN};
    int n = poll(&p, 1, timeout_ms > INT_MAX ? -1 : (int)timeout_ms);
    while (n > 0 && read(bell->ends[0], rung, sizeof rung) == (ssize_t)sizeof rung) continue;
}

void framed_host_bell_free(struct host_bell *bell, const struct framed_allocator *alloc)
{
    if (bell == NULL) return;
    close(bell->ends[0]);
    close(bell->ends[1]);
    alloc->resize(alloc->ctx, bell, sizeof *bell, 0);
}
