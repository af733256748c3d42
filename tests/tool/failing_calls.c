/*
 * failing_calls.c: preloaded into the tool by test_failing_calls.py; makes the n-th call of one function of the system fail.
 * Must not know the tool.
 * Invariants: FAIL_CALL, FAIL_AT and FAIL_ERRNO come from the environment, and are not handed on to what is started;
 * the file FAIL_REACHED is created when n was reached.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *call, *reached;
static long fail_at;
static int error;
static atomic_long count;

/* For who needs the system after the tool has ended: see tests/cover/exit.c. */
void failing_malloc_end(void);
void failing_malloc_end(void)
{
    fail_at = 0;
}

__attribute__((constructor)) static void begin(void)
{
    static char copy[64], path[4096];
    const char *name = getenv("FAIL_CALL"), *where = getenv("FAIL_REACHED");
    if (name == NULL || where == NULL) return;
    call = strncpy(copy, name, sizeof copy - 1);
    reached = strncpy(path, where, sizeof path - 1);
    error = atoi(getenv("FAIL_ERRNO"));
    fail_at = atol(getenv("FAIL_AT"));
    unsetenv("LD_PRELOAD");
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static bool fails(const char *name)
{
    if (fail_at == 0 || strcmp(name, call) != 0) return false;
    if (atomic_fetch_add(&count, 1) + 1 != fail_at) return false;
    int (*real_open)(const char *, int, ...) = next("open");
    int (*real_close)(int) = next("close");
    real_close(real_open(reached, O_CREAT | O_WRONLY, 0600));
    errno = error;
    return true;
}

#define FAILING(type, name, parameters, ...)                                                                                \
    type name parameters                                                                                                    \
    {                                                                                                                       \
        if (fails(#name)) return -1;                                                                                        \
        type(*real) parameters = next(#name);                                                                               \
        return real(__VA_ARGS__);                                                                                           \
    }

FAILING(int, accept4, (int fd, struct sockaddr *at, socklen_t *n, int flags), fd, at, n, flags)
FAILING(int, access, (const char *path, int mode), path, mode)
FAILING(int, bind, (int fd, const struct sockaddr *at, socklen_t n), fd, at, n)
FAILING(int, dup2, (int from, int to), from, to)
FAILING(int, epoll_create1, (int flags), flags)
FAILING(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *e), fd, op, of, e)
FAILING(int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), fd, e, n, ms)
FAILING(int, fchmod, (int fd, mode_t mode), fd, mode)
FAILING(int, flock, (int fd, int how), fd, how)
FAILING(int, fork, (void), )
FAILING(int, fstat, (int fd, struct stat *about), fd, about)
FAILING(int, fsync, (int fd), fd)
FAILING(int, ftruncate, (int fd, off_t n), fd, n)
FAILING(int, getentropy, (void *at, size_t n), at, n)
FAILING(int, getpeername, (int fd, struct sockaddr *at, socklen_t *n), fd, at, n)
FAILING(int, getrlimit, (__rlimit_resource_t what, struct rlimit *limit), what, limit)
FAILING(int, getsockname, (int fd, struct sockaddr *at, socklen_t *n), fd, at, n)
FAILING(int, getsockopt, (int fd, int level, int option, void *at, socklen_t *n), fd, level, option, at, n)
FAILING(int, listen, (int fd, int n), fd, n)
FAILING(int, pipe, (int ends[2]), ends)
FAILING(int, pipe2, (int ends[2], int flags), ends, flags)
FAILING(int, poll, (struct pollfd * at, nfds_t n, int ms), at, n, ms)
FAILING(ssize_t, read, (int fd, void *at, size_t n), fd, at, n)
FAILING(ssize_t, recv, (int fd, void *at, size_t n, int flags), fd, at, n, flags)
FAILING(ssize_t, send, (int fd, const void *at, size_t n, int flags), fd, at, n, flags)
FAILING(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), fd, message, flags)
FAILING(int, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), what, limit)
FAILING(int, shutdown, (int fd, int how), fd, how)
FAILING(int, socket, (int family, int type, int protocol), family, type, protocol)
FAILING(int, waitid, (idtype_t what, id_t id, siginfo_t *how, int flags), what, id, how, flags)
FAILING(pid_t, waitpid, (pid_t pid, int *how, int flags), pid, how, flags)
FAILING(ssize_t, write, (int fd, const void *at, size_t n), fd, at, n)

/* It is closed all the same, as Linux does it. */
int close(int fd)
{
    int (*real)(int) = next("close");
    bool failing = fails("close");
    int done = real(fd);
    if (failing) errno = error;
    return failing ? -1 : done;
}

/* One that was interrupted goes on in the background. */
int connect(int fd, const struct sockaddr *at, socklen_t n)
{
    int (*real)(int, const struct sockaddr *, socklen_t) = next("connect");
    if (!fails("connect")) return real(fd, at, n);
    if (error == EINTR) (void)real(fd, at, n);
    errno = error;
    return -1;
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    int (*real)(const struct timespec *, struct timespec *) = next("nanosleep");
    if (!fails("nanosleep")) return real(time, left);
    if (left != NULL) *left = *time;
    return -1;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = (flags & O_CREAT) != 0 ? va_arg(more, int) : 0;
    va_end(more);
    if (fails("open")) return -1;
    int (*real)(const char *, int, ...) = next("open");
    return real(path, flags, mode);
}

/* Of all that it can do the tool needs an int at most. */
int fcntl(int fd, int what, ...)
{
    va_list more;
    va_start(more, what);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (fails("fcntl")) return -1;
    int (*real)(int, int, ...) = next("fcntl");
    return real(fd, what, argument);
}

/* These return what went wrong. */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = next("getaddrinfo");
    return fails("getaddrinfo") ? EAI_SYSTEM : real(host, port, hints, found);
}

int pthread_create(pthread_t *made, const pthread_attr_t *attributes, void *(*run)(void *), void *ctx)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = next("pthread_create");
    return fails("pthread_create") ? error : real(made, attributes, run, ctx);
}

int pthread_mutex_init(pthread_mutex_t *made, const pthread_mutexattr_t *attributes)
{
    int (*real)(pthread_mutex_t *, const pthread_mutexattr_t *) = next("pthread_mutex_init");
    return fails("pthread_mutex_init") ? error : real(made, attributes);
}
