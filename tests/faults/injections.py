"""What strace.py injects: for each system call the errors that Linux documents for it and that a caller like ours can meet.

Owns: the table; which occurrences a sample takes; what an injection may not do to anyone. Must not know how a run is made.

An injected call is skipped, so an error is honest only where a failing call has done nothing, and a return value only where
"nothing" is a possible result: 0 from read and recv (the end), from poll and epoll_wait (a timeout). Short counts cannot be
had this way (the bytes would be lost or garbage): tests/unit/test_os.c and tests/sim have them all.
"""

import errno
import os
import re

# "=0" is the return value 0, injected for calls that have an honest one.
MEMORY = ["ENOMEM"]
DESCRIPTORS = ["EMFILE", "ENFILE", "ENOMEM"]
FILE = ["EACCES", "EIO", "ENOENT", "ENOMEM"]
SENDING = ["EINTR", "EAGAIN", "ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "ETIMEDOUT", "EHOSTUNREACH", "EPERM"]
ERRNOS = {
    "accept4": ["EINTR", "EAGAIN", "ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM", "EPROTO",
                "ETIMEDOUT", "ENETDOWN", "EHOSTUNREACH", "ENOPROTOOPT"],
    "access": FILE,
    "bind": ["EADDRINUSE", "EACCES", "EADDRNOTAVAIL", "ENOMEM", "ENOENT", "EROFS"],
    "brk": ["=0"],  # the kernel tells a failure by the old break, never by an errno; 0 is below every break asked for
    "clone3": ["EAGAIN"],
    "close": ["EINTR", "EIO"],
    "connect": ["ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "EACCES", "EPERM", "EADDRNOTAVAIL", "EAGAIN",
                "ENOENT", "ECONNRESET", "EINVAL"],  # EINTR and EINPROGRESS say that it goes on, which a skipped call does not
    "epoll_create1": DESCRIPTORS,
    "epoll_ctl": ["ENOMEM", "ENOSPC", "EPERM"],
    "epoll_wait": ["EINTR", "EINVAL", "EBADF", "=0"],
    "fcntl": ["EPERM", "ENOMEM", "EINVAL"],
    "fstat": FILE,
    "getpeername": ["ENOBUFS", "ENOTCONN"],
    "getrandom": ["EINTR", "ENOSYS", "EIO"],
    "getsockname": ["ENOBUFS"],
    "getsockopt": ["ENOBUFS", "ENOPROTOOPT"],
    "ioctl": ["EIO"],
    "listen": ["EADDRINUSE", "EOPNOTSUPP", "ENOBUFS"],
    "lseek": ["ESPIPE", "EINVAL"],
    "madvise": ["EINVAL"],
    "mmap": MEMORY,
    "mprotect": MEMORY,
    "mremap": MEMORY,
    "munmap": MEMORY,
    "newfstatat": FILE,
    "openat": ["EACCES", "EIO", "ENOENT", "ENOMEM", "EMFILE", "ENFILE", "EINTR", "ELOOP"],
    "pipe2": ["EMFILE", "ENFILE"],
    "poll": ["EINTR", "ENOMEM", "EINVAL", "=0"],
    "prctl": ["EINVAL"],
    "prlimit64": ["EPERM", "EINVAL"],
    "read": ["EINTR", "EAGAIN", "EIO", "=0"],
    "recvfrom": ["EINTR", "EAGAIN", "ECONNRESET", "ETIMEDOUT", "ENOMEM", "ENOBUFS", "EHOSTUNREACH", "EPERM", "=0"],
    "sendmsg": SENDING,
    "sendto": SENDING,
    "setsockopt": ["ENOPROTOOPT", "EINVAL", "ENOMEM", "EPERM"],
    "shutdown": ["ENOTCONN", "ENOBUFS"],
    "socket": DESCRIPTORS + ["ENOBUFS", "EACCES", "EAFNOSUPPORT"],
    "uname": ["EFAULT"],
    "unlink": ["EACCES", "ENOENT", "EBUSY", "EROFS"],
    "write": ["EINTR", "EAGAIN", "EIO", "ENOSPC", "EPIPE", "EFBIG"],
}

# What cannot fail with the arguments it has, or never returns.
CANNOT_FAIL = {"exit", "exit_group", "futex", "geteuid", "getpid", "gettid", "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
               "set_robust_list"}

# Without its memory a sanitizer ends the process.
SANITIZERS = {"brk", "mmap", "mremap", "munmap", "getrandom", "prlimit64"}


def fits(name, what, args):
    """Whether this call, made with these arguments, can honestly end so."""
    if name == "read" and re.search(r", 64$", args):  # the bytes of wake-ups: a pipe of ours, which does not end
        return what in ("EINTR", "EAGAIN")
    if name == "read" and not args.startswith("0,"):  # a file
        return what != "EAGAIN"
    if name == "write" and not re.match(r"[12],", args):  # a wake-up: there is always room, and always a reader
        return what == "EINTR"
    if name == "getrandom" and args.endswith(", 16, 0"):  # libsodium's, when it begins: without these it ends the process
        return what == "EINTR"
    if name == "fcntl":
        return "F_SETFD" not in args or what == "EINVAL"
    return True


# The connection or the process goes on as if nothing had happened.
HARMLESS = {
    ("nothing", ""),
    ("recvfrom", "EINTR"), ("recvfrom", "EAGAIN"), ("sendto", "EINTR"), ("sendto", "EAGAIN"), ("sendmsg", "EINTR"),
    ("sendmsg", "EAGAIN"), ("read", "EINTR"), ("write", "EINTR"), ("write", "EAGAIN"), ("openat", "EINTR"),
    ("epoll_wait", "EINTR"), ("epoll_wait", "=0"), ("poll", "EINTR"), ("poll", "=0"), ("getrandom", "EINTR"), ("brk", "=0"),
}
# The same whatever the error: wishes; what ends what is over anyway; and accept, since who was not accepted waits on.
HARMLESS_CALLS = {"accept4", "close", "ioctl", "madvise", "munmap", "prctl", "prlimit64", "setsockopt"}


def is_harmless(name, what):
    return name in HARMLESS_CALLS or (name, what) in HARMLESS


# What a line may say of an error: the words of framed_status_text, or the system's own.
REASONS = {
    "was reset": ("ECONNRESET", "ECONNABORTED", "EPIPE", "ENOTCONN", "EPROTO"),
    "connection refused": ("ECONNREFUSED",),
    "timed out": ("ETIMEDOUT",),
    "out of descriptors or kernel buffers": ("EMFILE", "ENFILE", "ENOBUFS", "ENOSPC", "EAGAIN"),
    "out of memory": ("ENOMEM",),
    "already in use": ("EADDRINUSE",),
    "a symbolic link": ("ELOOP",),
    "permission denied": ("EACCES", "EPERM", "EROFS"),
    "unreachable": ("EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH", "ENETDOWN", "EINVAL"),  # EINVAL: a blackhole route
    "no such host, service or path": ("ENOENT",),
    "not supported by this build or platform": ("EAFNOSUPPORT", "EOPNOTSUPP"),
    "the operating system failed": ("EBADF", "EINVAL", "EIO", "ENOPROTOOPT", "ENOSYS", "EFBIG", "ENOMEM"),
}


def explained(what, line):
    if what.startswith("=") or os.strerror(getattr(errno, what)) in line:
        return True
    if what == "ENOMEM" and "cannot start a thread: out of descriptors or kernel buffers" in line:
        return True  # whatever pthread_create lacks, it says EAGAIN
    return any(what in errnos and words in line for words, errnos in REASONS.items())


def occurrences(total, most):
    """Which of so many occurrences of one call are injected: all, or the first and last ones and an even choice between."""
    if total <= most:
        return list(range(1, total + 1))
    head, tail = most // 2, most // 4
    step = (total - head - tail) / (most - head - tail + 1)
    middle = {head + round(step * (i + 1)) for i in range(most - head - tail)}
    return sorted(set(range(1, head + 1)) | middle | set(range(total - tail + 1, total + 1)))
