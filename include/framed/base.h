/*
 * framed/base.h: the words everything else is said in: statuses, codes, outcomes, views, buffers, the allocator.
 *
 * Freestanding: needs nothing but <stddef.h> and <stdint.h>. Every function here may be called from any thread.
 */
#ifndef FRAMED_BASE_H
#define FRAMED_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__ELF__) || defined(__MACH__) /* elsewhere the linker is told what to export */
#define FRAMED_API __attribute__((visibility("default")))
#else
#define FRAMED_API
#endif

#if defined(__GNUC__)
#define FRAMED_MUST_USE __attribute__((warn_unused_result))
#else
#define FRAMED_MUST_USE
#endif

/*
 * What functions return. 0 is success; positive is not an error; negative is a failure, grouped by whose it is.
 * Data goes through out-parameters, which stay untouched unless the return is FRAMED_OK, but for those that say why it is not:
 * *event of framed_client_call, `reason` and `fault` (secure.h).
 */
enum framed_status {
    FRAMED_OK = 0,

    FRAMED_MORE = 1,   /* nothing wrong: more input (or more time) is needed first */
    FRAMED_FULL = 2,   /* nothing wrong: a limit of ours is reached; take what has come, then try again */
    FRAMED_CLOSED = 3, /* nothing wrong: the stream ended between two frames (PROTOCOL.md §2.6) */

    /* the peer's doing */
    FRAMED_TOO_LARGE = -1, /* a length above the limit (PROTOCOL.md §2.3) */
    FRAMED_TRUNCATED = -2, /* the stream ended inside a frame (PROTOCOL.md §2.6) */
    FRAMED_MALFORMED = -3, /* a reply nobody asked for, no opening, a wrong checksum (PROTOCOL.md §3.3, §7, §8) */
    FRAMED_AUTH = -4,      /* not who it must be, or its bytes were changed (PROTOCOL.md §9) */
    FRAMED_RESET = -5,     /* the connection was reset or broke */
    FRAMED_REFUSED = -6,   /* nobody listens there */

    /* ours, or our system's */
    FRAMED_NOMEM = -16,       /* the allocator, or the memory limit, said no */
    FRAMED_OS = -17,          /* the operating system failed in a way that has no better name here */
    FRAMED_TIMEOUT = -18,     /* a deadline passed */
    FRAMED_LIMIT = -19,       /* out of descriptors or kernel buffers */
    FRAMED_IN_USE = -20,      /* the address is in use */
    FRAMED_DENIED = -21,      /* the system does not permit it */
    FRAMED_UNREACHABLE = -22, /* no way to that address, or it does not exist on this machine */
    FRAMED_NOT_FOUND = -23,   /* no such host, service or path */

    /* the caller's */
    FRAMED_USAGE = -32,       /* an argument, or the moment, is wrong: a defect in the program */
    FRAMED_UNSUPPORTED = -33, /* this build or this platform cannot */
};

/* "TOO_LARGE" and the like; "UNKNOWN_STATUS" for a number that is none. Static storage. */
FRAMED_API const char *framed_status_name(enum framed_status status);

/* A few words for people, without a full stop: "a length above the limit". Static storage. */
FRAMED_API const char *framed_status_text(enum framed_status status);

/* How a call ended, in gRPC's words and numbers; 256 and up are the application's own. */
enum framed_code {
    FRAMED_CODE_OK = 0,
    FRAMED_CODE_CANCELLED = 1,
    FRAMED_CODE_UNKNOWN = 2,
    FRAMED_CODE_INVALID_ARGUMENT = 3,
    FRAMED_CODE_DEADLINE_EXCEEDED = 4,
    FRAMED_CODE_NOT_FOUND = 5,
    FRAMED_CODE_ALREADY_EXISTS = 6,
    FRAMED_CODE_PERMISSION_DENIED = 7,
    FRAMED_CODE_RESOURCE_EXHAUSTED = 8,
    FRAMED_CODE_FAILED_PRECONDITION = 9,
    FRAMED_CODE_ABORTED = 10,
    FRAMED_CODE_OUT_OF_RANGE = 11,
    FRAMED_CODE_UNIMPLEMENTED = 12,
    FRAMED_CODE_INTERNAL = 13,
    FRAMED_CODE_UNAVAILABLE = 14,
    FRAMED_CODE_DATA_LOSS = 15,
    FRAMED_CODE_UNAUTHENTICATED = 16,
    FRAMED_CODE_APPLICATION = 256
};

/* "INTERNAL" and the like; "APPLICATION" from 256 up; "UNKNOWN_CODE" between. Static storage. */
FRAMED_API const char *framed_code_name(unsigned code);

/* What the caller of a call knows when it has ended. */
enum framed_outcome {
    FRAMED_REPLY = 0,         /* the reply is here */
    FRAMED_NOT_EXECUTED = 1,  /* safe to retry: not one byte of it was handed to the system */
    FRAMED_MAYBE_EXECUTED = 2 /* it left, and no reply came: it may have been executed or not */
};

/* "REPLY", "NOT_EXECUTED", "MAYBE_EXECUTED". Static storage. */
FRAMED_API const char *framed_outcome_name(enum framed_outcome outcome);

/* What guards the frames of a connection (PROTOCOL.md §7.2). */
enum framed_protection {
    FRAMED_UNPROTECTED = 0,
    FRAMED_CRC32C = 1,     /* a checksum behind each frame: finds accidents, stops nobody */
    FRAMED_BLAKE2B = 2,    /* likewise, and a longer one; with libsodium */
    FRAMED_SHARED_KEY = 8, /* encrypted: both ends have the same key (Noise NNpsk0). This and what follows: with libsodium */
    FRAMED_PINNED_KEYS = 9,       /* encrypted: each end knows the other's public key (Noise XX) */
    FRAMED_SHARED_AND_PINNED = 10 /* encrypted: both (Noise XXpsk0) */
};

/* A borrowed view of bytes, passed by value. Whoever hands it out says how long it is valid. `at` may be NULL when len is 0. */
struct framed_bytes {
    const uint8_t *at;
    size_t len;
};

/* A view of n bytes at `at`. */
static inline struct framed_bytes framed_bytes_of(const void *at, size_t n)
{
    struct framed_bytes b;
    b.at = (const uint8_t *)at;
    b.len = n;
    return b;
}

/* A view of a C string, without its terminating NUL. */
static inline struct framed_bytes framed_bytes_str(const char *text)
{
    size_t n = 0;
    while (text[n] != '\0') n++;
    return framed_bytes_of(text, n);
}

/*
 * Where all memory comes from. One function does everything:
 *   resize(ctx, NULL, 0, n)      allocates n > 0 bytes, aligned for any object;
 *   resize(ctx, at, old, n)      changes a block of `old` bytes to n > 0, moving it if need be;
 *   resize(ctx, at, old, 0)      frees it and returns NULL.
 * NULL for n > 0 is a failure, and the old block stays as it was. It must be safe to call from several threads.
 */
struct framed_allocator {
    void *(*resize)(void *ctx, void *at, size_t old_size, size_t new_size);
    void *ctx;
};

/* Bytes that somebody owns: `len` in use of `cap` allocated. All zero is the empty buffer. */
struct framed_buf {
    uint8_t *at;
    size_t len;
    size_t cap;
};

/*
 * Makes room for at least `more` bytes behind `len`, but never a capacity above `ceiling`.
 * FRAMED_TOO_LARGE: it would pass the ceiling. FRAMED_NOMEM: the allocator said no. The buffer is unchanged then.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_buf_reserve(struct framed_buf *buf, size_t more, size_t ceiling,
                                                                 const struct framed_allocator *alloc);

/* Appends a copy of `bytes`; otherwise as framed_buf_reserve. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_buf_append(struct framed_buf *buf, struct framed_bytes bytes,
                                                                size_t ceiling, const struct framed_allocator *alloc);

/* Frees what the buffer owns and leaves it empty. */
FRAMED_API void framed_buf_fini(struct framed_buf *buf, const struct framed_allocator *alloc);

#ifdef __cplusplus
}
#endif
#endif
