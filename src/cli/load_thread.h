/*
 * load_thread.h: what load.c (the whole), load_thread.c (a thread's schedule and connecting) and load_conn.c (requests and
 * replies) know of each other.
 */
#ifndef FRAMED_CLI_LOAD_THREAD_H
#define FRAMED_CLI_LOAD_THREAD_H

#include "load.h"
#include "summed.h"

enum { NS_A_MS = 1000000, STAMP = 8, BATCH = 64 << 10, HALF_BATCH = 10 << 10, BATCHED_MOST = 16 << 10, OPENING_MS = 5000 };

/* A request under way. */
struct flight {
    uint64_t due_ns, sent_ns;
    uint32_t len;
    bool expired; /* its time is over: counted, and its reply will be thrown away */
};

enum conn_state {
    CONN_DOWN, /* no socket; to be connected at since_ns */
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_CLOSING /* `closed` is still to come */
};

struct load {
    const struct load_plan *plan;
    struct load_thread *threads;
    uint32_t started;
    _Atomic uint32_t ready, over;
    _Atomic uint64_t start_ns; /* 0: not yet */
    atomic_bool stop;
};

struct load_conn {
    struct os_socket sock; /* first */
    struct load_thread *thread;
    uint32_t index; /* among those of all threads */
    enum conn_state state;
    uint64_t since_ns; /* CONNECTING: when it began; DOWN: when to try again; OPEN and mute: since when */
    uint32_t failures; /* attempts in a row */
    uint8_t tried;     /* addresses, in this attempt */
    bool undecided;    /* its first attempt is not over yet */
    bool mute;         /* sending failed: what is received tells why */
    bool sending;      /* a send is outstanding */

    struct flight *ring; /* cap of them, a power of two */
    uint32_t cap, first, in_flight, expired;
    uint64_t number;          /* of the next request, on this connection or those before it */
    uint64_t number_before;   /* when it was opened */
    uint64_t released, taken; /* open loop: requests that were due; of these, sent or given up */
    uint64_t free_since_ns;   /* since when it could have sent */
    uint64_t random;
    uint32_t next_len;
    bool has_next; /* next_len has been drawn */

    uint64_t asked_ns;       /* since when it opens; 0: it does not yet */
    bool turned_away;        /* our key is not allowed there */
    struct channel *channel; /* from then on */
    struct framed_scan scan; /* the reply */
    uint32_t got;            /* bytes of its payload */
    bool wrong;

    /* With a checksum: */
    struct summed summed;                     /* the reply */
    uint8_t request_trailer[FRAMED_SUM_MOST]; /* of a long request */

    uint8_t *held; /* of a batch, what was not taken at once */
    size_t held_size;
    uint8_t head[FRAMED_LENGTH_SIZE + STAMP]; /* of a long request */
    struct framed_bytes views[3];             /* encrypted: what is still to be sealed */
    unsigned view_count;
    struct framed_bytes wire; /* encrypted: what the system sends */
};

struct load_thread {
    const struct load_plan *plan;
    struct load *load;
    struct os_thread *handle;
    struct os_poller *poller;
    struct load_conn *conns;
    uint32_t conn_count, index;
    uint32_t connecting, undecided, open, sockets, next_to_open;
    uint8_t good; /* the address that worked */

    uint64_t left;     /* closed loop: requests still to be begun; UINT64_MAX: no such bound */
    uint64_t released; /* open loop: of this thread's requests */
    uint64_t end;      /* open loop: number of the first that is not wanted any more */
    uint64_t live;     /* under way, and their time not over */
    uint64_t waiting;  /* open loop: due, and neither sent nor given up */
    uint64_t measure_ns, stop_ns, tick_ns, down_since_ns;
    uint64_t open_ns; /* before that nothing more begins to shake hands */
    uint64_t wait_from_ns;
    bool in_wait;     /* nothing has happened yet */
    bool running;     /* requests are made */
    bool stopping;    /* no more are */
    bool turned_away; /* a connection was: that is why, whatever else happens */
    uint8_t *batch;

    _Atomic uint64_t ok_so_far, failed_so_far;
    struct load_result result;
};

/* Of load_thread.c */
enum framed_status load_thread_init(struct load_thread *t, struct load *load, const struct load_plan *plan, uint32_t index);
void load_thread_run(void *thread);
void load_thread_fini(struct load_thread *t);
uint64_t load_now(struct load_thread *t); /* the clock; what was waited ends here */
void load_fail(struct load_thread *t, enum load_failure kind, uint64_t n);
void load_trouble(struct load_thread *t, enum framed_status st); /* we cannot go on */

void *load_take_memory(size_t n); /* zeros, or NULL */
void load_give_memory(void *at, size_t n);

/* Of load_conn.c */
extern const struct os_socket_ops load_conn_ops;
void load_conn_closed(struct os_socket *s);                           /* load_thread.c's: the socket is gone */
void load_conn_connected(struct os_socket *s, enum framed_status st); /* load_thread.c's */
void load_conn_agreed(struct load_conn *c, enum framed_status st);    /* load_thread.c's: the opening has ended so */
void load_conn_opened(struct load_conn *c, uint64_t now);
enum framed_status load_conn_ask(struct load_conn *c);  /* for the protection that is wanted */
void load_conn_send(struct load_conn *c, uint64_t now); /* what may be sent */
void load_conn_expire(struct load_conn *c, uint64_t now);
void load_conn_end(struct load_conn *c, enum load_failure kind);
void load_conn_part(
    struct load_conn *c); /* the orderly end of one on which nothing is under way, as far as there is room for it */
void load_conn_forget(struct load_conn *c); /* what belongs to a socket that is gone */
void load_conn_free(struct load_conn *c);
uint64_t load_conn_due(const struct load_conn *c); /* open loop: when its next request is */

#endif
