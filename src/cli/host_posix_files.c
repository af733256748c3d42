/*
 * Owns: files read and written piece by piece on POSIX, and the time of day.
 * Must not know: what is in them.
 * Invariants: a file is closed on exec; what is interrupted goes on, unless a signal wants the process to end.
 */
#define _DEFAULT_SOURCE 1 /* flock */
#include "host.h"
#include "host_posix.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- files ---- */

/* True: interrupted, and to be tried again. A file that is a pipe may block for ever. */
static bool again(void)
{
    if (errno != EINTR) return false;
    if (framed_host_stopped() != 0) framed_host_quit(128 + framed_host_stopped());
    return true;
}

static enum framed_status open_file(const char *path, int flags, intptr_t *file)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0600);
    while (fd < 0 && again());
    if (fd < 0) return framed_host_failed(errno);
    *file = fd;
    return FRAMED_OK;
}

enum framed_status framed_host_open(const char *path, intptr_t *file)
{
    struct stat about;
    enum framed_status st = open_file(path, O_RDONLY, file);
    if (st != FRAMED_OK) return st;
    if (fstat((int)*file, &about) == 0 && S_ISDIR(about.st_mode)) {
        close((int)*file);
        return framed_host_failed(EISDIR);
    }
    return FRAMED_OK;
}

enum framed_status framed_host_create(const char *path, intptr_t *file)
{
    struct stat about;
    enum framed_status st = open_file(path, O_WRONLY | O_CREAT, file);
    if (st != FRAMED_OK) return st;
    int fd = (int)*file;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return FRAMED_OK; /* a pipe, a terminal: nothing to empty */
    int error = 0;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        error = errno == EWOULDBLOCK                     ? EBUSY
                : errno == ENOLCK || errno == EOPNOTSUPP ? 0
                                                         : errno; /* some systems have no locks */
    if (error == 0 && ftruncate(fd, 0) != 0) error = errno;
    if (error == 0) return FRAMED_OK;
    close(fd);
    return framed_host_failed(error);
}

enum framed_status framed_host_read_file(intptr_t file, uint8_t *at, size_t room, size_t *n)
{
    ssize_t got;
    do got = read((int)file, at, room);
    while (got < 0 && again());
    if (got < 0) return framed_host_failed(errno);
    *n = (size_t)got;
    return got > 0 ? FRAMED_OK : FRAMED_CLOSED;
}

enum framed_status framed_host_write_file(intptr_t file, const uint8_t *at, size_t n)
{
    while (n > 0) {
        ssize_t done = write((int)file, at, n);
        if (done >= 0) {
            at += done;
            n -= (size_t)done;
        } else if (errno == EPIPE) {
            return FRAMED_CLOSED;
        } else if (errno != EINTR) { /* a signal that ends us is for others to notice: a record is written to its end */
            return framed_host_failed(errno);
        }
    }
    return FRAMED_OK;
}

enum framed_status framed_host_close_file(intptr_t file)
{
    if (close((int)file) == 0 || errno == EINTR) return FRAMED_OK;
    return framed_host_failed(errno);
}

/* ---- the time of day ---- */

void framed_host_time_text(char *text, size_t room)
{
    struct timespec now;
    struct tm here;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &here);
    snprintf(text, room, "%02d:%02d:%02d.%03d", here.tm_hour, here.tm_min, here.tm_sec, (int)(now.tv_nsec / 1000000));
}

uint64_t framed_host_time_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
