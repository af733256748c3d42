/*
 * load.h: a load on a server of frames, and what became of it: connections shared out among threads, requests sent as fast as
 * replies come (closed loop) or when they are due (open loop). Prints nothing.
 *
 * Open loop: request n of the whole run is due n/rate seconds after the start, on connection n modulo conns; it is sent then even
 * if earlier replies are missing, and a reply is timed from when its request was due, not from when it could be sent. So a server
 * that stops for a while is seen by every request of that while (there is no coordinated omission).
 *
 * A reply answers the oldest request of its connection (PROTOCOL.md §3.3). A request that is not answered in time is counted, and
 * its reply, should it still come, is counted off; a connection on which nothing else is under way is then replaced. One that
 * ends fails what was under way on it, and is replaced.
 */
#ifndef FRAMED_CLI_LOAD_H
#define FRAMED_CLI_LOAD_H

#include "address.h"
#include "channel.h"
#include "histogram.h"
#include "os.h"
#include "series.h"
#include <framed/framed.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What failed: requests, but for the first and the last. */
enum load_failure {
    LOAD_CONNECT,  /* attempts to connect */
    LOAD_TIMEOUT,  /* no reply in time */
    LOAD_CLOSED,   /* the server closed the connection instead */
    LOAD_RESET,    /* the connection broke */
    LOAD_PROTOCOL, /* what came was no frame, or was cut off */
    LOAD_MISMATCH, /* the reply was not the request, under `verify` */
    LOAD_NOT_SENT, /* was due, and could not be sent */
    LOAD_UNASKED,  /* replies that nothing asked for */
    LOAD_FAILURES
};

struct load_plan {
    struct address where;
    uint32_t conns, threads; /* at least as many connections as threads */
    uint32_t pipeline;       /* requests under way per connection */
    uint64_t rate;           /* a second, of all connections together; 0: closed loop */
    uint64_t count;          /* requests behind the warm-up; 0: until duration_ns has passed */
    uint64_t duration_ns, warmup_ns;
    uint64_t timeout_ns;               /* OS_FOREVER: none */
    uint32_t size_least, size_most;    /* of payloads */
    uint32_t max_frame;                /* longest reply taken */
    const char *congestion;            /* of TCP; NULL: the system's */
    enum framed_protection protection; /* of the connections */
    struct channel_terms terms;        /* what they ask for, if that is not plain; its keys are borrowed */
    bool verify;                       /* replies must be their requests */
    bool whole;                        /* every payload is all of `body`; else its first 8 bytes number it */
    struct framed_bytes body;          /* at least size_most bytes */
    void (*changed)(void *ctx);        /* a thread is ready, or over; from any of them */
    void *ctx;
};

enum { LOAD_WHY_ROOM = 320 };

struct load_result {
    uint64_t ok;                    /* answered, after the warm-up */
    uint64_t pending;               /* under way when we were interrupted */
    uint64_t failed[LOAD_FAILURES]; /* in the warm-up too */
    uint64_t late, held;            /* sent over 1 ms after they were due; of these, because the connection was full */
    uint64_t late_replies;          /* came after their time */
    uint64_t warmup;                /* answered in the warm-up */
    uint64_t reconnected;
    uint64_t bytes;                    /* of payloads answered, after the warm-up */
    uint64_t begin_ns, end_ns;         /* of the clock: of what is counted */
    uint64_t idle_ns, ran_ns;          /* of the threads: the time they waited, of how much */
    uint64_t opened;                   /* connections, at the start */
    uint64_t connected_ns;             /* until all had been tried */
    enum framed_status connect_status; /* why the last attempt failed; OK: none has */
    char opening[LOAD_WHY_ROOM];   /* what was wrong with the last one that did not open, or whose records did not; or "" */
    uint32_t peer_most;            /* the server takes no more bytes in a frame, which is too little; 0: it takes ours */
    enum framed_status status;     /* why we could not go on: memory, the system */
    struct cli_histogram response; /* from when it was due (closed loop: sent) to the reply */
    struct cli_histogram service;  /* from when it was sent; only in the open loop */
    struct cli_series series;      /* of response */
};

/* When request n is due. */
static inline uint64_t load_due_ns(uint64_t start_ns, uint64_t n, uint64_t rate)
{
    return start_ns + n / rate * UINT64_C(1000000000) + n % rate * UINT64_C(1000000000) / rate;
}

/* How many requests are due before `ns` has passed. */
static inline uint64_t load_due_before(uint64_t ns, uint64_t rate)
{
    const uint64_t second = UINT64_C(1000000000);
    return ns / second * rate + (ns % second * rate + second - 1) / second;
}

/* Threads take turns with the connections, and so with the requests: the m-th of those that thread `index` has, as a number of the
 * whole run; `mine` connections are its own. */
static inline uint64_t load_number(uint32_t index, uint64_t m, uint32_t mine, uint32_t threads, uint32_t conns)
{
    return index + m % mine * threads + m / mine * conns;
}

/* How many of the first n requests of the run are that thread's. */
static inline uint64_t load_share(uint32_t index, uint64_t n, uint32_t mine, uint32_t threads, uint32_t conns)
{
    uint64_t rest = n % conns;
    return n / conns * mine + (rest > index ? (rest - index - 1) / threads + 1 : 0);
}

struct load;

/* Starts the threads, which connect. `plan` is borrowed until free. FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS. */
enum framed_status framed_load_start(struct load **made, const struct load_plan *plan);

/* Has every thread tried all its connections (or failed)? Then, once, framed_load_go begins, or framed_load_stop ends. */
bool framed_load_is_ready(const struct load *load);
void framed_load_go(struct load *load);

/* Once ready: connections that could be opened. */
uint64_t framed_load_opened(const struct load *load);

bool framed_load_is_over(const struct load *load);

/* Ends it as it is: what is under way is pending. Safe from signal handlers and any thread. */
void framed_load_stop(struct load *load);

/* So far; from any thread. */
struct load_progress {
    uint64_t ok, failed;
    uint64_t begun_ns; /* of the clock; 0: not yet */
};
void framed_load_progress(const struct load *load, struct load_progress *progress);

/* Waits for the threads, adds up what they found into *result (all zero before), and frees. */
void framed_load_finish(struct load *load, struct load_result *result);

#endif
