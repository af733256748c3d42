/*
 * server.h: what the server's files know of each other.
 *   server.c   its life: listening, accepting, draining, counting
 *   worker.c   one of its loops, and the connections that live on it
 *   guest.c    one connection: requests in, replies out in their order
 *   call.c     one request in a handler's hands
 */
#ifndef FRAMED_SERVER_H
#define FRAMED_SERVER_H

#include "../proto/ordered.h"
#include "../proto/writer.h"
#include "conn.h"
#include "hosts.h"
#include "log.h"
#include "strangers.h"

struct guest;
struct worker;

enum call_state {
    CALL_FRESH,    /* in the handler, not answered */
    CALL_KEPT,     /* deferred, or answered before its turn: an object of its own */
    CALL_CONSUMED, /* answered, or failed */
};

struct framed_call {
    struct worker *worker;
    struct guest *guest;      /* NULL when its connection is gone; the loop's thread only */
    struct framed_bytes body; /* lent while FRESH, else in `memory` */
    uint8_t state;
    bool failed;
    uint16_t port;
    uint32_t code;
    uint32_t peer_most; /* of a kept one: bytes of payload that its peer accepts */
    struct framed_place place;
    struct letter letter;
    struct framed_buf memory;
    struct framed_buf reply;    /* the answer: memory of its own, ... */
    struct framed_bytes answer; /* ... or this part of the body */
    uint64_t due;
    atomic_bool over; /* its answer will go nowhere */
    struct os_host host;
    char *text; /* why it failed: FAIL_TEXT_SIZE bytes, or NULL */
    char peer[OS_ADDRESS_TEXT_SIZE];
};

enum { FAIL_TEXT_SIZE = 257 };

/* One connection of the server. It lives and dies on one worker. */
struct guest {
    struct conn conn;            /* first, so that one is the other; its kind is its worker's, NULL: it is spare */
    struct framed_ordered calls; /* kept, in the order of their requests */
    struct guest *next; /* of those that have something to flush at the end of the turn, itself: the last; or spare */
    struct host *host;
};

struct listener {
    struct os_socket sock; /* first */
    struct framed_server *server;
    struct listener *next;
    struct os_address bound;
    bool asked;
    bool closed;
    bool adopted; /* somebody else's descriptor: its path is not ours to remove */
};

struct guest_chunk;

/* A loop and what it serves. Only its own thread touches it while the server runs, but for the inbox, `load` and the counters. */
struct worker {
    struct framed_call fresh;           /* the call in the handler's hands */
    struct framed_server_config config; /* the server's: a copy, so that nobody writes near what a loop reads all the time */
    struct framed_server *server;
    struct loop loop;
    struct conn_kind kind;
    struct guest *dirty;
    struct guest *spare; /* slots of the chunks, linked by next */
    struct guest_chunk *chunks;
    size_t sockets; /* guests, and on the first worker listeners, whose `closed` is to come */
    struct timer drain_timer;
    bool draining;
    bool drain_late;
    struct strangers strangers;
    unsigned rechecked; /* of the server's rechecks */
    atomic_size_t load; /* connections given to it that are not gone */
    _Atomic uint64_t replies;
    _Atomic uint64_t failed_calls;
    _Atomic uint64_t framing_errors;
    _Atomic uint64_t open_calls; /* kept and unanswered */
    enum framed_status ended;    /* how its loop ended */
    struct os_thread *thread;    /* of all but the first */
};

static inline struct worker *worker_of(const struct guest *g)
{
    return (struct worker *)(void *)((uint8_t *)g->conn.kind - offsetof(struct worker, kind));
}

/* Listeners, accepting and the timer for that are the first worker's. */
struct framed_server {
    struct framed_server_config config;
    struct tunnel_keys keys;
    struct worker *workers; /* config.workers of them */
    struct log log;
    struct budget budget;
    struct hosts hosts;
    struct listener *listeners;
    struct timer accept_timer;
    const struct framed_allocator *alloc;
    size_t next_worker;      /* whose turn it is when all have as much to do */
    bool ran;                /* it runs, or has run: once only */
    bool accept_failing;     /* since the last attempt ... */
    bool accept_failed;      /* ... and since the last success */
    atomic_bool drain_asked; /* apart from the plain flags: other threads and signal handlers set it */
    atomic_bool draining;    /* no connection is given to a worker any more */
    atomic_bool stopping;    /* a loop has failed, or the server is freed: nobody waits for anything */
    atomic_uint rechecks;    /* how often framed_server_recheck was called */
    atomic_bool full;        /* accepting pauses: who closes a connection wakes the first worker */
    atomic_size_t refs;      /* the owner's, and one for each kept call */
    _Atomic uint64_t accepted;
    _Atomic uint64_t refused;
    _Atomic uint64_t closed;
    _Atomic uint64_t accept_failures;
};

/* A connection that was accepted and is not yet a guest. */
struct newcomer {
    intptr_t handle;
    struct host *host;
    uint16_t port;
};

/* One turn of the first worker's loop, waiting at most wait_ms. FRAMED_CLOSED: drained, nothing is left to do. */
enum framed_status framed_server_turn(struct framed_server *srv, uint64_t wait_ms);

/* server.c, for the others */
void framed_server_accept_more(struct framed_server *srv);
void framed_server_begin_drain(struct framed_server *srv); /* the first worker's part of it */
void framed_server_gone(struct worker *w);                 /* a connection given to this worker is closed */
/* A newcomer that was meant for w, on the thread of the loop `here`: there is no room, or no memory, or we have stopped. */
void framed_server_turn_away(struct worker *w, struct loop *here, const struct newcomer *n, enum framed_status why);
void framed_server_unref(struct framed_server *srv); /* frees it with the last reference */

/* worker.c */
enum framed_status framed_worker_init(struct worker *w, struct framed_server *srv);
void framed_worker_fini(struct worker *w);      /* closes what is open; kept calls may still be answered */
void framed_worker_fini_rest(struct worker *w); /* when there are none */
enum framed_status framed_worker_turn(struct worker *w, uint64_t wait_ms);
/* Serves until drained or stopped; w->ended says how it went. False: its loop failed. */
bool framed_worker_run(struct worker *w);
void framed_worker_wake(struct worker *w);
/* Makes a guest of it, here or (give) in the other loop's next turn. A failure leaves all as it was. */
enum framed_status framed_worker_take(struct worker *w, const struct newcomer *n);
enum framed_status framed_worker_give(struct worker *w, const struct newcomer *n);
void framed_worker_guest_free(struct guest *g); /* its `gone` has come */

/* guest.c */
extern const struct conn_ops framed_guest_ops;
/* A stranger has to go. */
void framed_guest_evict(struct guest *g);
/* tunnel_keys.enters, begins and trusts */
void framed_guest_enters(void *owner);
bool framed_guest_begins(void *owner);
bool framed_guest_trusts(void *owner, struct framed_peer *peer);
enum framed_status framed_guest_begin(struct guest *g, intptr_t handle);
/* An inline answer; the call is the worker's fresh one. Consumes it. */
enum framed_status framed_guest_answer(struct guest *g, struct framed_call *call, struct framed_bytes bytes);
/* The shortest way of that, for whoever sends back what came: the whole frame, right behind the one sent back before it, whose
 * turn it was. Otherwise false, and nothing is done. */
static inline bool guest_echoes(struct guest *g, const struct framed_call *call, struct framed_bytes bytes)
{
    return bytes.at == call->body.at && bytes.len == call->body.len && bytes.len <= call->worker->config.max_send &&
           ordered_is_empty(&g->calls) && writer_extend(&g->conn.io->writer, bytes);
}
/* The call fails: nothing further is started, what was asked before is answered, the connection is closed. */
void framed_guest_fail(struct guest *g, struct framed_call *fresh, unsigned code, const char *text);
/* A kept call has its answer. */
void framed_guest_answered(struct framed_call *call);
/* Its peer may not be allowed any more: then it is closed. */
void framed_guest_recheck(struct guest *g);
/* Does what was put off to the end of the turn. */
void framed_guest_flush_dirty(struct worker *w);

/* call.c */
/* Makes an object of the fresh call, with the next place in its guest's order; its body is copied or taken. */
struct framed_call *framed_call_keep(struct framed_call *fresh);
/* Frees a kept call; on the loop's thread, or under the lock of a closed inbox. */
void framed_call_free(struct framed_call *call);

#endif
