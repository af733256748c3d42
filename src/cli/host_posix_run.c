/*
 * Owns: commands of the shell on POSIX: their processes, pipes and ends.
 * Must not know: frames, calls, what a command is for.
 * Invariants: a command leads a process group, which is reaped only after it was killed: until then its number is nobody
 * else's; a command has descriptors 0, 1, 2 and no other; between fork and exec only what signal-safety(7) allows; whoever ends the
 * process by framed_host_stop_runs leaves no group behind, not even one whose fork is under way.
 */
#define _GNU_SOURCE
#include "host.h"
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum {
    GROUPS = 64,
    GRACE_MS = 1000, /* for what was killed to be gone; longer only if the system does not let us kill it */
    STEP_MS = 10,    /* between two looks at a child, where its end cannot be waited for */
    READ_LEAST = 4096
};

struct group {
    _Atomic pid_t pid; /* its leader; FREE or TAKEN when there is none */
    bool left;         /* some of it had not ended when its run was over: to be reaped later */
};
enum { FREE = 0, TAKEN = -1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards choosing a group, and ready */
static struct group groups[GROUPS];
static bool ready;
static int wake_read = -1;
static atomic_int wake_write = -1;
static atomic_int forking; /* threads that may be about to write a pid into `groups` */
static atomic_bool stopping;

/* A command that runs. */
struct child {
    struct group *group;
    pid_t pid;
    int in, out; /* our ends of its pipes, or -1 */
    int end;     /* becomes readable when it has ended; -1: the system has nothing of that kind */
    struct framed_bytes input;
};

static enum framed_status reason(int error)
{
    return error == ENOMEM ? FRAMED_NOMEM : error == EMFILE || error == ENFILE || error == EAGAIN ? FRAMED_LIMIT : FRAMED_OS;
}

static void shut(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static enum framed_status open_pipe(int ends[2])
{
    if (pipe(ends) != 0) return reason(errno);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return FRAMED_OK;
}

/* ---- stopping them all ---- */

/* Safe in a signal handler: threads that fork have signals blocked, so this is none of them, and they go on meanwhile. */
void framed_host_stop_runs(void)
{
    atomic_store(&stopping, true);
    for (int ms = 0; ms < GRACE_MS && atomic_load(&forking) > 0; ms++) poll(NULL, 0, 1);
    for (size_t i = 0; i < GROUPS; i++) {
        pid_t pid = atomic_load(&groups[i].pid);
        if (pid > 0) kill(-pid, SIGKILL);
    }
    ssize_t n = atomic_load(&wake_write) >= 0 ? write(atomic_load(&wake_write), "", 1) : 0;
    (void)n;
}

/* A signal that ends us; its disposition is the default again. */
static void on_end(int number)
{
    framed_host_stop_runs();
    raise(number);
}

/* The terminal's hang-up and quit reach our group, not theirs. */
static void pass_on(int number)
{
    struct sigaction action = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND}, before;
    sigfillset(&action.sa_mask);
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_DFL) sigaction(number, &action, NULL);
}

/* glibc would keep the large outputs of every thread in heaps of their own, up to 600 MB after sixteen times 16 MiB; so they
 * go back to the system when they are freed. */
static void give_memory_back(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

/* Once, under the lock. */
static enum framed_status get_ready(void)
{
    int ends[2];
    enum framed_status st = open_pipe(ends);
    if (st != FRAMED_OK) return st;
    wake_read = ends[0];
    atomic_store(&wake_write, ends[1]);
    signal(SIGCHLD, SIG_DFL); /* whoever started us may have ignored it: then no status would ever come */
    give_memory_back();
    pass_on(SIGHUP);
    pass_on(SIGQUIT);
    pass_on(SIGABRT);
    pass_on(SIGALRM);
    pass_on(SIGUSR1);
    pass_on(SIGUSR2);
    ready = true;
    return FRAMED_OK;
}

/* Reaps what has ended of a group; true if it was the last. (Where we are init, orphans of the group are our children too.) */
static bool reap(pid_t pid)
{
    pid_t got;
    do {
        got = waitpid(-pid, NULL, WNOHANG);
    } while (got > 0 || (got < 0 && errno == EINTR));
    return got < 0;
}

/* Under the lock: the group was killed. While it is reaped its number may become somebody else's: nobody kills it then. */
static void let_go(struct group *g, pid_t pid)
{
    atomic_store(&g->pid, TAKEN);
    g->left = !reap(pid);
    atomic_store(&g->pid, g->left ? pid : FREE);
}

/* Under the lock. NULL: there are too many. */
static struct group *find_free(void)
{
    struct group *found = NULL;
    for (size_t i = 0; i < GROUPS; i++) {
        struct group *g = &groups[i];
        if (g->left) let_go(g, atomic_load(&g->pid));
        if (found == NULL && atomic_load(&g->pid) == FREE) found = g;
    }
    return found;
}

static enum framed_status take_group(struct group **group)
{
    pthread_mutex_lock(&lock);
    enum framed_status st = ready ? FRAMED_OK : get_ready();
    struct group *found = st == FRAMED_OK ? find_free() : NULL;
    if (found != NULL) atomic_store(&found->pid, TAKEN);
    pthread_mutex_unlock(&lock);
    *group = found;
    return st == FRAMED_OK && found == NULL ? FRAMED_LIMIT : st;
}

/* ---- starting one ---- */

static void close_from(int first, int last)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, UINT_MAX, 0u) == 0) return;
#endif
    for (int fd = first; fd <= last; fd++) close(fd);
}

/* In the child. Signals are blocked; what has come to us before we had a group of our own is not for the command. */
static _Noreturn void become(const char *command, int in, int out, int last)
{
    setpgid(0, 0);
    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_IGN);
        signal(number, SIG_DFL);
    }
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) _exit(127);
    close_from(STDERR_FILENO + 1, last);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    execl("/bin/sh", "sh", "-c", "--", command, (char *)NULL);
    _exit(127);
}

static int last_descriptor(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX) return 65535;
    return (int)limit.rlim_cur - 1;
}

static enum framed_status fork_leader(struct child *c, const char *command, int in, int out)
{
    int last = last_descriptor();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&forking, 1);
    c->pid = atomic_load(&stopping) ? -1 : fork();
    enum framed_status st = c->pid < 0 ? reason(errno) : FRAMED_OK;
    if (c->pid == 0) become(command, in, out, last);
    if (st == FRAMED_OK) setpgid(c->pid, c->pid); /* both do it: whoever is first, the group exists from here on */
    atomic_store(&c->group->pid, st == FRAMED_OK ? c->pid : FREE);
    atomic_fetch_sub(&forking, 1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

static int watch_end(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0u);
#else
    (void)pid;
    return -1;
#endif
}

static enum framed_status start(struct child *c, const char *command)
{
    int in[2], out[2];
    enum framed_status st = take_group(&c->group);
    if (st != FRAMED_OK) return st;
    st = open_pipe(in);
    if (st != FRAMED_OK) goto fail;
    st = open_pipe(out);
    if (st != FRAMED_OK) goto fail_in;
    st = fork_leader(c, command, in[0], out[1]);
    if (st != FRAMED_OK) goto fail_out;
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    fcntl(c->out, F_SETFL, O_NONBLOCK);
    c->end = watch_end(c->pid);
    return FRAMED_OK;

fail_out:
    close(out[0]);
    close(out[1]);
fail_in:
    close(in[0]);
    close(in[1]);
fail:
    atomic_store(&c->group->pid, FREE);
    return st;
}

/* ---- while it runs ---- */

static uint32_t ms_until(uint64_t due_ns)
{
    uint64_t now = framed_os_clock_ns();
    uint64_t ms = due_ns > now ? (due_ns - now - 1) / 1000000 + 1 : 0;
    return ms < INT_MAX ? (uint32_t)ms : INT_MAX;
}

/* Has it ended? It is not reaped yet. */
static bool has_ended(const struct child *c, siginfo_t *how)
{
    how->si_pid = 0;
    return waitid(P_PID, (id_t)c->pid, how, WEXITED | WNOHANG | WNOWAIT) == 0 && how->si_pid == c->pid;
}

/* Gives it what it takes of its input now. */
static void feed(struct child *c)
{
    ssize_t n = c->input.len > 0 ? write(c->in, c->input.at, c->input.len) : 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR) c->input.len = 0; /* EPIPE: it does not want the rest */
    if (n > 0) c->input = framed_bytes_of(c->input.at + n, c->input.len - (size_t)n);
    if (c->input.len == 0) shut(&c->in);
}

/* Takes what it has written. One byte more than is allowed tells an output that is just long enough from one that is too long. */
static enum framed_status take_output(struct child *c, struct host_run *run)
{
    struct framed_buf *output = &run->output;
    size_t left = run->most + 1 - output->len;
    enum framed_status st = framed_buf_reserve(output, left < READ_LEAST ? left : READ_LEAST, run->most + 1, run->alloc);
    if (st != FRAMED_OK) return st;
    size_t room = output->cap - output->len;
    ssize_t n = read(c->out, output->at + output->len, room < left ? room : left);
    if (n > 0) output->len += (size_t)n;
    if (n == 0) shut(&c->out);
    return output->len > run->most ? FRAMED_TOO_LARGE : FRAMED_OK;
}

/* Waits until something can be done, at most ms. The end of the command is waited for only when its output is at its end: what
 * it leaves running in the background may still write. */
static void wait_child(struct child *c, struct pollfd p[4], uint32_t ms)
{
    p[0] = (struct pollfd){.fd = c->in, .events = POLLOUT};
    p[1] = (struct pollfd){.fd = c->out, .events = POLLIN};
    p[2] = (struct pollfd){.fd = c->out < 0 ? c->end : -1, .events = POLLIN};
    p[3] = (struct pollfd){.fd = wake_read, .events = POLLIN};
    if (c->out < 0 && c->end < 0 && ms > STEP_MS) ms = STEP_MS;
    if (poll(p, 4, (int)ms) < 0) p[0].revents = p[1].revents = 0;
}

/* Talks with the command until it has ended, or must be. */
static enum host_end converse(struct child *c, struct host_run *run, uint64_t due_ns)
{
    feed(c);
    for (;;) {
        siginfo_t how;
        struct pollfd p[4];
        if (atomic_load(&stopping)) return HOST_STOPPED;
        if (c->out < 0 && has_ended(c, &how)) {
            run->code = how.si_status;
            return how.si_code == CLD_EXITED ? HOST_EXITED : HOST_KILLED;
        }
        uint32_t ms = ms_until(due_ns);
        if (ms == 0) return HOST_TOO_LATE;
        wait_child(c, p, ms);
        if (p[0].revents != 0) feed(c);
        if (p[1].revents != 0) run->status = take_output(c, run);
        if (run->status != FRAMED_OK) return HOST_TOO_LONG;
    }
}

/* Kills all of it, and waits until that is done: not for ever, the system may not let us. */
static void finish(struct child *c)
{
    siginfo_t how;
    uint64_t due_ns = framed_os_clock_ns() + GRACE_MS * UINT64_C(1000000);
    kill(-c->pid, SIGKILL);
    shut(&c->in);
    shut(&c->out);
    while (!has_ended(c, &how) && ms_until(due_ns) > 0) {
        struct pollfd p = {.fd = c->end, .events = POLLIN};
        poll(&p, 1, c->end >= 0 ? (int)ms_until(due_ns) : STEP_MS);
    }
    shut(&c->end);
    pthread_mutex_lock(&lock);
    let_go(c->group, c->pid);
    pthread_mutex_unlock(&lock);
}

void framed_host_run(struct host_run *run)
{
    struct child c = {.input = run->input};
    uint64_t due_ns =
        run->timeout_ms == FRAMED_NEVER ? UINT64_MAX : framed_os_clock_ns() + run->timeout_ms * UINT64_C(1000000);
    run->output = (struct framed_buf){0};
    run->code = 0;
    run->end = HOST_NOT_STARTED;
    run->status = start(&c, run->command);
    if (run->status == FRAMED_OK) {
        run->end = converse(&c, run, due_ns);
        finish(&c);
    } else if (atomic_load(&stopping)) {
        run->end = HOST_STOPPED;
    }
    if (run->end != HOST_EXITED) framed_buf_fini(&run->output, run->alloc);
}
