/*
 * ledger.h: what the clients and the server of one rig know together, in a file that all of them map: counters, and for every
 * call whether it has been executed. So it shows when a call was executed twice, or although its caller was told
 * NOT_EXECUTED, or answered without having been executed.
 *
 * A request is HEAD bytes (worker, serial, what is to be done with it) and a filling that follows from its serial; no two are
 * equal. Everything here may be called from any thread and process.
 */
#ifndef FRAMED_TESTS_LEDGER_H
#define FRAMED_TESTS_LEDGER_H

#include <framed/base.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Losses first: each of them must be 0. */
#define LEDGER_LOSSES(X)                                                                                                    \
    X(unended)        /* calls that ended in no way */                                                                      \
    X(ended_twice)    /* or twice, or were never begun */                                                                   \
    X(wrong_replies)  /* replies that are not the call's own */                                                             \
    X(executed_twice) /* calls that reached the handler twice */                                                            \
    X(denied)         /* reported as NOT_EXECUTED, and executed */                                                          \
    X(invented)       /* replies to calls that were never executed */                                                       \
    X(misuses)        /* a function said USAGE, NOMEM or OS where that cannot be */                                         \
    X(leaked)         /* bytes that were not given back when a server was freed */
#define LEDGER_FIGURES(X)                                                                                                   \
    X(started)                                                                                                              \
    X(replies)                                                                                                              \
    X(checked) /* of these, with checksums */                                                                               \
    X(sealed)  /* and with keys */                                                                                          \
    X(not_executed)                                                                                                         \
    X(maybe_executed)                                                                                                       \
    X(timeouts)  /* of these, because their time was up */                                                                  \
    X(abandoned) /* their client was freed */                                                                               \
    X(killed)    /* their process was killed */                                                                             \
    X(latest_ms) /* the longest that a call ended after its deadline */                                                     \
    X(connects)                                                                                                             \
    X(unconnected) /* attempts that failed */                                                                               \
    X(kills)                                                                                                                \
    X(rudeness) /* connections of peers that misbehave */                                                                   \
    X(faults)   /* things that the proxy did to connections */                                                              \
    X(executed)                                                                                                             \
    X(servers) /* servers that have run to their end */                                                                     \
    X(late_drains)                                                                                                          \
    X(accepted) /* by the server that runs now */                                                                           \
    X(accept_failures)                                                                                                      \
    X(framing_errors)                                                                                                       \
    X(deadlines)                                                                                                            \
    X(log_lines)                                                                                                            \
    X(allocated)   /* by the server, now: bytes, with what malloc adds to each block */                                     \
    X(in_use)      /* of its process, when all were hushed: bytes that malloc has given out to anybody */                   \
    X(looks)       /* so often the last was renewed, the heap trimmed */                                                    \
    X(connections) /* now */                                                                                                \
    X(open_calls)  /* now */
#define LEDGER_FIELDS(X) LEDGER_LOSSES(X) LEDGER_FIGURES(X)

enum { LEDGER_WORKERS = 32, LEDGER_MARKS = 1 << 16, LEDGER_HEAD = 16 };

/* One who makes calls, by itself or in a process that took over from one that was killed. */
struct ledger_worker {
    _Atomic uint64_t serial; /* the last one given out */
    _Atomic uint64_t started;
    _Atomic uint64_t ended;
    _Atomic uint64_t marks[LEDGER_MARKS]; /* by serial: serial * 4 + what is known */
};

struct ledger {
#define X(name) _Atomic uint64_t name;
    LEDGER_FIELDS(X)
#undef X
    _Atomic uint64_t hush; /* not 0: clients end what they have begun, close, and wait until it is 0 */
    _Atomic uint64_t workers_used;
    struct ledger_worker workers[LEDGER_WORKERS];
};

/* What a handler does with a request. */
enum ledger_what {
    WHAT_ECHO,       /* at once, from where it lies */
    WHAT_PART,       /* its first half */
    WHAT_COPY,       /* as much from elsewhere */
    WHAT_EMPTY,      /* nothing, as a reply */
    WHAT_LATER,      /* from another thread */
    WHAT_LATER_PART, /* likewise */
    WHAT_LATER_COPY,
    WHAT_FAIL, /* at once */
    WHAT_LATER_FAIL,
    WHAT_DROP,     /* no answer */
    WHAT_TOO_LATE, /* after the call's deadline */
    WHATS
};

struct ledger *ledger_open(const char *path); /* makes it if need be; exits when it cannot */
void ledger_show(const struct ledger *l);     /* "NAME FIGURE" lines */
uint64_t ledger_losses(const struct ledger *l);

static inline void ledger_add(_Atomic uint64_t *figure, uint64_t n)
{
    atomic_fetch_add_explicit(figure, n, memory_order_relaxed);
}

void ledger_most(_Atomic uint64_t *figure, uint64_t n);

/* Writes a request of n >= LEDGER_HEAD bytes. */
void ledger_request(uint8_t *at, size_t n, uint32_t worker, uint64_t serial, enum ledger_what what);
/* Of a request: false, it is nobody's (a rude peer's). */
bool ledger_read(struct framed_bytes request, uint32_t *worker, uint64_t *serial, enum ledger_what *what);
/* Is this the reply to that request of n bytes? */
bool ledger_answers(struct framed_bytes reply, size_t n, uint32_t worker, uint64_t serial, enum ledger_what what);

void ledger_executed(struct ledger *l, struct framed_bytes request);     /* a handler has it */
void ledger_denied(struct ledger *l, uint32_t worker, uint64_t serial);  /* its caller was told NOT_EXECUTED */
void ledger_replied(struct ledger *l, uint32_t worker, uint64_t serial); /* its caller has a reply */

uint64_t ledger_clock_ms(void);
uint64_t ledger_random(uint64_t *seed);
uint64_t ledger_below(uint64_t *seed, uint64_t n);
uint64_t ledger_seed(void);
void ledger_pause(unsigned ms);

#endif
