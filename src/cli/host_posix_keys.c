/*
 * Owns: files of keys on POSIX: whom a file must belong to before a byte of it is believed, and how one is made.
 * Must not know: what is in them.
 * Invariants: what is checked is the open descriptor, so that nothing can be put in its place between; opening and reading never
 * wait; before a secret is read, or when one is to be written, this process is kept from dumps; a secret lies in one block of memory,
 * which is wiped unless it is handed out; nothing that was there is overwritten, and nothing half made stays.
 */
#define _POSIX_C_SOURCE 200809L
#include "host.h"
#include "host_posix.h"
#include <errno.h>
#include <fcntl.h>
#include <framed/secure.h>
#include <string.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/prctl.h>
#else
#include <sys/resource.h>
#endif
#include <unistd.h>

static enum framed_status refuse(const char **reason, const char *why)
{
    *reason = why;
    return FRAMED_DENIED;
}

/* A process that crashes leaves no secret behind. Where that cannot be had, keys are used all the same. */
static void keep_from_dumps(void)
{
#ifdef __linux__
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* what --exec runs is not concerned */
#else
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* what --exec runs has it, too */
#endif
}

/* ---- reading ---- */

static enum framed_status suits(const struct stat *about, enum host_keys kind, const char **reason)
{
    if (!S_ISREG(about->st_mode)) return refuse(reason, "not a regular file");
    if (about->st_uid != geteuid() && about->st_uid != 0)
        return refuse(reason, "belongs to another user; it must be ours or root's");
    if (kind == HOST_KEYS_SECRET && (about->st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return refuse(reason, "others than its owner have rights to it, which has secrets in it; chmod 600 takes them away");
    if ((about->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return refuse(reason, "others than its owner may write it; chmod go-w takes that away");
    return FRAMED_OK;
}

/* One byte more than there should be tells whether somebody is writing it. */
static enum framed_status read_all(int fd, size_t size, struct framed_buf *buf, const char **reason)
{
    while (buf->len <= size) {
        ssize_t got = read(fd, buf->at + buf->len, size + 1 - buf->len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return framed_host_failed(errno);
        if (got == 0) break;
        buf->len += (size_t)got;
    }
    return buf->len == size ? FRAMED_OK : refuse(reason, "was changed while it was read");
}

static enum framed_status load(int fd, enum host_keys kind, size_t most, struct framed_buf *buf,
                               const struct framed_allocator *alloc, const char **reason)
{
    struct stat about;
    if (fstat(fd, &about) != 0) return framed_host_failed(errno);
    enum framed_status st = suits(&about, kind, reason);
    if (st != FRAMED_OK) return st;
    if ((uint64_t)about.st_size > most) return FRAMED_TOO_LARGE;
    size_t size = (size_t)about.st_size;
    st = framed_buf_reserve(buf, size + 1, size + 1, alloc);
    if (st != FRAMED_OK) return st;
    st = read_all(fd, size, buf, reason);
    if (st == FRAMED_OK) return FRAMED_OK;
    framed_wipe(buf->at, buf->cap);
    framed_buf_fini(buf, alloc);
    return st;
}

enum framed_status framed_host_load_keys(const char *path, enum host_keys kind, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc, const char **reason)
{
    if (kind == HOST_KEYS_SECRET) keep_from_dumps();
    int fd, flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (kind == HOST_KEYS_SECRET ? O_NOFOLLOW : 0);
    do fd = open(path, flags);
    while (fd < 0 && errno == EINTR);
    if (fd < 0 && (errno == ELOOP || errno == EMLINK))
        return refuse(reason, "a symbolic link, where the file itself is wanted");
    if (fd < 0) return framed_host_failed(errno);
    enum framed_status st = load(fd, kind, most, buf, alloc, reason);
    close(fd);
    return st;
}

/* ---- making ---- */

/* Others can read it where the file system keeps no modes. */
static enum framed_status keep_private(int fd, const char **reason)
{
    struct stat about;
    (void)fchmod(fd, S_IRUSR | S_IWUSR); /* a umask may have taken more than we need; what came of it is looked at */
    if (fstat(fd, &about) != 0) return framed_host_failed(errno);
    if ((about.st_mode & (S_IRWXG | S_IRWXO)) == 0) return FRAMED_OK;
    return refuse(reason, "nothing can be kept from others in this file system");
}

/* The name, too, must outlive a crash. Some file systems cannot tell. */
static enum framed_status sync_folder(const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    if (len >= sizeof folder) return FRAMED_OK; /* there is no such path */
    memcpy(folder, slash == NULL ? "." : path, len);
    folder[len] = '\0';
    int fd = open(folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0) return FRAMED_OK; /* we may write into it, and not look */
    int error = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP ? errno : 0;
    close(fd);
    return error == 0 ? FRAMED_OK : framed_host_failed(error);
}

static enum framed_status fill(int fd, struct framed_bytes content, const char **reason)
{
    enum framed_status st = keep_private(fd, reason);
    if (st == FRAMED_OK) st = framed_host_write_file(fd, content.at, content.len);
    if (st == FRAMED_OK && fsync(fd) != 0) st = framed_host_failed(errno);
    return st;
}

/* What we have made, and nothing that has taken its name since. */
static void take_back(const char *path, const struct stat *made)
{
    struct stat there;
    if (lstat(path, &there) == 0 && there.st_dev == made->st_dev && there.st_ino == made->st_ino) (void)unlink(path);
}

enum framed_status framed_host_create_keys(const char *path, struct framed_bytes content, const char **reason)
{
    int fd;
    struct stat made = {0};
    keep_from_dumps();
    do fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, S_IRUSR | S_IWUSR);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return errno == EEXIST ? FRAMED_IN_USE : framed_host_failed(errno);
    enum framed_status st = fstat(fd, &made) == 0 ? fill(fd, content, reason) : framed_host_failed(errno);
    if (close(fd) != 0 && st == FRAMED_OK && errno != EINTR) st = framed_host_failed(errno);
    if (st == FRAMED_OK) st = sync_folder(path);
    if (st != FRAMED_OK) take_back(path, &made);
    return st;
}
