/*
 * framed/net.h: a server that answers frames and a client that asks (proto/PROTOCOL.md §3).
 *
 * Addresses are text: "HOST:PORT", "[V6]:PORT", "unix:PATH", "fd:N" (a listening socket for a server, a connected one for
 * a client). Times are milliseconds, sizes are bytes. In every config a field of zero means the documented default, never
 * "unlimited"; FRAMED_NEVER switches a deadline off.
 */
#ifndef FRAMED_NET_H
#define FRAMED_NET_H

#include <framed/base.h>
#include <framed/frame.h>
#include <framed/secure.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FRAMED_NEVER           UINT32_MAX
#define FRAMED_ADDRESS_DEFAULT "127.0.0.1:4464"

/* What goes with a frame on the whole of a connection (PROTOCOL.md §3.1, §3.6). */
enum framed_replies {
    FRAMED_REPLIES_ORDERED = 0, /* the n-th reply answers the n-th request */
    FRAMED_REPLIES_NONE = 1     /* nothing answers anything: frames go each way as they please */
};

/* How the system is asked for events. */
enum framed_wait {
    FRAMED_WAIT_BEST = 0, /* epoll where there is one */
    FRAMED_WAIT_EPOLL = 1,
    FRAMED_WAIT_POLL = 2
};

enum framed_log_level { FRAMED_LOG_INFO = 0, FRAMED_LOG_WARNING = 1 };

/* Gets one line, without newline, valid until it returns; bytes that came from a peer are escaped. Called on a loop's thread; one
 * line at a time, also when several loops serve. It must not answer calls, nor free the server. */
typedef void framed_log_fn(void *ctx, enum framed_log_level level, const char *line);

/* ================================ keys ================================ */

/* The other end of an encrypted connection, as it has proven to be. Borrowed, as long as said where it is handed out. */
struct framed_peer {
    enum framed_protection protection;
    const uint8_t *key;         /* its public key, FRAMED_KEY_SIZE bytes; NULL with FRAMED_SHARED_KEY, which proves none */
    struct framed_bytes key_id; /* which shared key it has; empty with FRAMED_PINNED_KEYS */
    const uint8_t *hash; /* FRAMED_KEY_SIZE bytes that both ends have alike, and no other connection: for binding to it */
    const char *address; /* as framed_call_peer */
    /* for framed_authorize_fn to fill in */
    char *name;         /* FRAMED_PEER_NAME_SIZE bytes with the NUL; "" before */
    uint32_t max_frame; /* longest request accepted from it, if that is less than the config's; 0: the config's */
};

#define FRAMED_PEER_NAME_SIZE 65u

/*
 * Whether this peer may come in. Called on a loop's thread when it has proven who it is, before its first request, and again by
 * framed_server_recheck; with more than one worker on several threads at once. It may write a name for it, for handlers and the log. False: it is told that it may
 * not, and the connection is closed.
 */
typedef bool framed_authorize_fn(void *ctx, struct framed_peer *peer);

/*
 * The shared key of this id (at most FRAMED_KEY_ID_MOST bytes, which a stranger may have made up). False: there is none; what
 * the stranger sees then is the same as with a wrong key. Called like framed_authorize_fn, but before anything is proven.
 */
typedef bool framed_shared_key_fn(void *ctx, struct framed_bytes id, struct framed_key *key);

/* ================================ server ================================ */

struct framed_server;
struct framed_call;

/*
 * Called on the loop's thread for every request, in the order they came on its connection. It answers with framed_call_reply or
 * _fail, now or (after framed_call_defer) later; a call that it neither answers nor defers fails with INTERNAL. It must not
 * block: while it runs, nobody else is served by this loop. Under FRAMED_REPLIES_NONE it just returns. With more than one worker
 * it is called on several threads at once: what they share is for it to guard.
 */
typedef void framed_handler_fn(void *ctx, struct framed_call *call);

struct framed_server_config {
    size_t size; /* set by framed_server_config_init */
    framed_handler_fn *handler;
    void *handler_ctx;
    framed_log_fn *log; /* default: nothing is logged */
    void *log_ctx;
    const struct framed_allocator
        *allocator; /* default: malloc and friends; borrowed until the server and its last call are gone */
    enum framed_replies replies;
    enum framed_wait wait;

    uint32_t
        max_frame; /* longest request accepted: 16 MiB; at most 2^31-1; with a protection 16 KiB is the least that peers are told */
    uint32_t max_send;              /* longest reply sent: as max_frame */
    uint32_t max_conns;             /* connections at once: 10,000; then accepting pauses */
    uint32_t max_conns_per_address; /* from one IP address: as max_conns; then the newcomer is closed */
    uint32_t max_calls;             /* unanswered calls per connection: 64; then reading pauses */
    size_t max_unsent;              /* bytes waiting to be sent per connection: 1 MiB; then reading pauses */
    size_t max_memory;              /* memory of all connections together: 1 GiB; who would exceed it is closed */
    uint32_t max_log_lines;         /* log lines a second: 10, with keys half at most of strangers; the rest is counted */

    uint32_t frame_ms;     /* a frame must be whole within this: 10 s ... */
    uint32_t frame_rate;   /* ... plus its length at this many bytes a second: 4096 */
    uint32_t idle_ms;      /* no bytes and no open call: 300 s */
    uint32_t call_ms;      /* from the request's end to the handler's answer: 300 s */
    uint32_t send_ms;      /* in which the peer must take 64 KiB, or all that waits: 30 s */
    uint32_t drain_ms;     /* from framed_server_drain to the last close: 30 s */
    uint32_t linger_ms;    /* after our half-close, for the peer to finish: 2 s */
    uint32_t keepalive_ms; /* TCP keepalive after this silence, the peer is given up 30 s later: 60 s */

    uint32_t
        workers; /* loops that serve, each on a thread of its own, the first on that of framed_server_run: 1; at most 1024 */
    uint32_t
        spin_us; /* before it sleeps, a busy loop looks for work so long: 0, not at all; 50 is a good value; at most 1,000,000 */
    const char *congestion; /* TCP's congestion control, by name: the system's; borrowed until the server is freed */

    /* Which protections a connection may have, bits 1u << enum framed_protection. FRAMED_UNPROTECTED stands for plain frames. Who
     * connects chooses among them. By default without keys all that need none; with keys the one that needs all of them, and nothing
     * else: what is plain beside it must be named. */
    uint32_t protections;
    uint32_t handshake_ms; /* for the opening of a connection that is not plain, and its handshake: 5 s */

    /* Connections with keys that have not proven yet who they are, of all workers, each of which has its part, at least 1 (more in
     * all, if there are more workers): at once, 256 or half of max_conns if that is less, and from one address (of IPv6: one /64),
     * 16; then a random one of them is closed for the next. And handshakes with public keys begun in a second (where there is a
     * shared key, too, by who has it): 500, an eighth of them from one address; then who begins one is closed. */
    uint32_t max_half_open;
    uint32_t max_half_open_per_address;
    uint32_t max_handshakes;

    const struct framed_key *secret_key; /* ours, for FRAMED_PINNED_KEYS and _SHARED_AND_PINNED: none; copied */
    framed_shared_key_fn *shared_key;    /* for FRAMED_SHARED_KEY and _SHARED_AND_PINNED: none */
    framed_authorize_fn *authorize; /* with secret_key it must be there; else default: who has a shared key may come in */
    void *keys_ctx;                 /* of both */
};

/* Fills *config with zeros and its size. Always pass sizeof *config: it lets the struct grow. */
FRAMED_API void framed_server_config_init(struct framed_server_config *config, size_t size);

/*
 * A server, not yet listening. The config is copied. FRAMED_USAGE: no handler, or a value out of range.
 * FRAMED_UNSUPPORTED: that way of waiting, or that congestion control, does not exist here or is not permitted; or a protection
 * is not built, or keys are given to a library without libsodium. FRAMED_USAGE also: a protection without its keys, a secret key
 * without framed_authorize_fn. Also FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_server_new(const struct framed_server_config *config,
                                                                struct framed_server **server);

/*
 * Listens on one more address; before run. A host name listens on the first of its addresses that works. A Unix socket's
 * path is removed again by framed_server_free; a stale one (nobody listens) is replaced. FRAMED_USAGE: not an address, or run
 * has begun.
 * FRAMED_IN_USE, FRAMED_DENIED, FRAMED_UNREACHABLE, FRAMED_NOT_FOUND, FRAMED_UNSUPPORTED, FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_server_listen(struct framed_server *server, const char *address);

/* The i-th listening address as text, with the real port where 0 was asked: writes at most `size` bytes with the NUL.
 * FRAMED_USAGE: there is no i-th. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_server_address(const struct framed_server *server, size_t i, char *text,
                                                                    size_t size);

/*
 * Serves on the calling thread, and on config.workers - 1 others that it starts and joins, until a drain has ended. A new
 * connection goes to the worker that has fewest, and stays there. FRAMED_OK: every connection ended by itself. FRAMED_TIMEOUT:
 * the drain deadline closed some. Other statuses: a loop failed, or a thread could not be started (FRAMED_LIMIT, FRAMED_NOMEM);
 * all have stopped, and what is left is framed_server_free. FRAMED_USAGE: it listens nowhere, or has run before. Handlers run
 * inside.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_server_run(struct framed_server *server);

/*
 * Stops accepting, answers whole requests already read, closes every connection, then makes run return. Safe from signal
 * handlers and any thread, any number of times, before run too; not after free.
 */
FRAMED_API void framed_server_drain(struct framed_server *server);

/*
 * Asks framed_authorize_fn again about everybody who has been let in, and closes those who are refused: their requests that are
 * under way are dropped, and they are told that they may not. Safe as framed_server_drain is. Each worker does it in its next turn.
 */
FRAMED_API void framed_server_recheck(struct framed_server *server);

/* Frees the server; not during run. Deferred calls stay valid, and must still be answered (which then does nothing). NULL is fine. */
FRAMED_API void framed_server_free(struct framed_server *server);

/* Counters since framed_server_new, and gauges of now. Each is exact by itself; together they are no snapshot. */
struct framed_server_stats {
    size_t size;
    /* counters */
    uint64_t accepted;     /* connections accepted */
    uint64_t refused;      /* of these, closed because of the per-address limit, or of those of connections half open */
    uint64_t closed;       /* connections that are gone */
    uint64_t bytes_in;     /* bytes received, length words included */
    uint64_t bytes_out;    /* bytes handed to the system */
    uint64_t requests;     /* whole frames given to the handler; those of a receive are counted after the last of them */
    uint64_t replies;      /* replies queued */
    uint64_t failed_calls; /* calls failed by the handler, dropped, or past their deadline */
    uint64_t
        framing_errors; /* connections ended by a length that was not allowed, a cut frame or stream, a wrong checksum, opening or key */
    uint64_t deadlines;       /* connections ended by a deadline */
    uint64_t accept_failures; /* times accepting failed (out of descriptors, memory, ...) */
    uint64_t log_suppressed;  /* log lines left out */
    /* gauges */
    uint64_t connections; /* open now */
    uint64_t open_calls;  /* given to the handler and unanswered, those of closed connections included */
    uint64_t memory;      /* bytes held for connections, calls and queues, caches included */
};

/* Fills *stats; pass sizeof *stats. From any thread, between new and free. */
FRAMED_API void framed_server_stats(const struct framed_server *server, struct framed_server_stats *stats, size_t size);

/* ---- inside a handler, or after framed_call_defer ---- */

/* The request's payload. Valid until the handler returns or the call is answered; after framed_call_defer see there. */
FRAMED_API struct framed_bytes framed_call_body(const struct framed_call *call);

/* Who asks, as text ("192.0.2.7:51234", "unix"). Valid as long as the call. */
FRAMED_API const char *framed_call_peer(const struct framed_call *call);

/* Who that has proven to be, on an encrypted connection, for as long as the handler runs: false if it is none, or the call was
 * deferred. *peer is borrowed. */
FRAMED_API FRAMED_MUST_USE bool framed_call_identity(const struct framed_call *call, struct framed_peer *peer);

/* Milliseconds left until the call fails by its deadline; FRAMED_NEVER when there is none, 0 once nobody can get its answer
 * any more. From any thread once deferred. */
FRAMED_API uint32_t framed_call_left_ms(const struct framed_call *call);

/*
 * Answers. The bytes are copied, except a view inside the call's own body, which is sent from where it lies. Consumes the
 * call, whatever it returns. From any thread once deferred. FRAMED_TOO_LARGE: above max_send, or above what the peer of a connection
 * that is not plain said that it accepts; the call fails with INTERNAL.
 * FRAMED_CLOSED: the connection is gone, or the call is past its deadline. FRAMED_NOMEM: the call fails.
 * FRAMED_USAGE: this server answers nothing.
 */
FRAMED_API enum framed_status framed_call_reply(struct framed_call *call, struct framed_bytes bytes);

/*
 * Fails the call with a code (enum framed_code; OK counts as UNKNOWN) and a text for the log (copied, cut at 256 bytes; NULL is none).
 * A plain connection has no words for it: nothing further is started on it, earlier replies are sent, it is closed
 * (PROTOCOL.md §3.4). Consumes the call. From any thread once deferred.
 */
FRAMED_API enum framed_status framed_call_fail(struct framed_call *call, enum framed_code code, const char *text);

/*
 * Keeps the call beyond the handler: it must then be answered once, from any thread. It survives its connection, and even
 * the server, and holds its place among the calls of the connection until it is answered. *body is where the request lies
 * from now on, valid until the answer; its bytes are copied only if they were lent. FRAMED_NOMEM: the call is not deferred,
 * and still the handler's to answer. FRAMED_USAGE: this server answers nothing, or it was deferred before.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_call_defer(struct framed_call *call, struct framed_call **kept,
                                                                struct framed_bytes *body);

/* ================================ client ================================ */

/* One connection, used by one thread at a time (framed_client_wake apart); no callbacks, no threads of its own. */
struct framed_client;

struct framed_client_config {
    size_t size;                              /* set by framed_client_config_init */
    const struct framed_allocator *allocator; /* default: malloc and friends; borrowed until framed_client_free */
    enum framed_replies replies;
    uint32_t max_frame;                /* longest frame accepted: 16 MiB */
    uint32_t max_send;                 /* longest frame sent: as max_frame */
    uint32_t max_calls;                /* unanswered calls: 1024; then FRAMED_FULL */
    size_t max_unsent;                 /* bytes waiting to be sent: 1 MiB; then FRAMED_FULL */
    uint32_t frame_ms;                 /* as the server's: 10 s ... */
    uint32_t frame_rate;               /* ... plus its length at 4096 bytes a second */
    uint32_t idle_ms;                  /* never */
    uint32_t send_ms;                  /* as the server's: 30 s */
    uint32_t linger_ms;                /* as the server's: 2 s */
    uint32_t keepalive_ms;             /* as the server's: 60 s */
    uint32_t backoff_ms;               /* framed_client_reconnect: first wait at most 100 ms ... */
    uint32_t backoff_max_ms;           /* ... doubled each time up to 10 s */
    uint32_t spin_us;                  /* as the server's: 0, not at all */
    const char *congestion;            /* as the server's: the system's; borrowed until framed_client_free */
    enum framed_protection protection; /* FRAMED_UNPROTECTED: plain frames. Else this, or no connection */
    uint32_t handshake_ms;             /* for the peer to agree to that: 5 s */
    /* What that protection needs; all are copied. */
    const struct framed_key *secret_key; /* ours */
    const struct framed_key
        *peer_keys; /* the public keys that the server may have, at most FRAMED_PEER_KEYS_MOST: the one it has,
                                            and the one that it will have; never our own */
    size_t peer_key_count;
    const struct framed_key *shared_key;
    struct framed_bytes key_id; /* the id of shared_key: at most FRAMED_KEY_ID_MOST bytes */
};

#define FRAMED_PEER_KEYS_MOST 4u

/* Fills *config with zeros and its size; pass sizeof *config. */
FRAMED_API void framed_client_config_init(struct framed_client_config *config, size_t size);

/* A client, not yet connected. config may be NULL for all defaults. FRAMED_UNSUPPORTED: as framed_server_new. FRAMED_USAGE,
 * FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_new(const struct framed_client_config *config,
                                                                struct framed_client **client);

/*
 * Resolves the name (which blocks as long as the system's resolver does) and connects, trying each address in turn.
 * FRAMED_OK: connected; should that have ended again already, framed_client_next tells. With wait_ms 0 it only begins,
 * FRAMED_MORE: a WRITABLE event tells that it is connected (until then framed_client_start says FRAMED_FULL), an ENDED event
 * without one before that it is not to be. With a protection it is connected once the peer has agreed to that; else
 * FRAMED_MALFORMED or FRAMED_TOO_LARGE (what came is not its opening), FRAMED_TRUNCATED (it closed: it may not know our keys),
 * FRAMED_AUTH (it is not the one that it must be; one that does not let us in says so a little later: the first calls end with
 * FRAMED_AUTH), FRAMED_RESET, and FRAMED_TIMEOUT after handshake_ms. FRAMED_TIMEOUT, FRAMED_REFUSED,
 * FRAMED_NOT_FOUND, FRAMED_UNREACHABLE, FRAMED_DENIED, FRAMED_USAGE (also: already connected, or calls of the last connection are still to be reported), FRAMED_UNSUPPORTED,
 * FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_connect(struct framed_client *client, const char *address,
                                                                    uint32_t wait_ms);

/*
 * Connects again to the same address after the connection has ended, having waited a random time between 0 and a bound
 * that doubles with every attempt since the last reply (exponential backoff, full jitter). Never called by itself. With
 * wait_ms 0 the waiting, too, is done by later turns. FRAMED_USAGE also for "fd:N", which cannot be had again. Otherwise as
 * framed_client_connect.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_reconnect(struct framed_client *client, uint32_t wait_ms);

enum framed_event_kind {
    FRAMED_EVENT_REPLY = 1,    /* a call ended: `call`, `outcome`, `status`, and with FRAMED_REPLY the payload */
    FRAMED_EVENT_MESSAGE = 2,  /* a frame came (FRAMED_REPLIES_NONE): the payload */
    FRAMED_EVENT_WRITABLE = 3, /* connected, or after FRAMED_FULL: there is room again */
    FRAMED_EVENT_ENDED = 4     /* the connection is over: `status` says why; every call has been reported before */
};

struct framed_event {
    enum framed_event_kind kind;
    enum framed_outcome outcome; /* REPLY */
    enum framed_status status;   /* REPLY: OK, or why there is none. ENDED: FRAMED_CLOSED for a clean end, or the failure */
    uint64_t call;               /* REPLY: the id that framed_client_start gave */
    struct framed_bytes payload; /* borrowed until the next call on the client */
};

/*
 * One request, one reply, blocking. FRAMED_OK: event->payload is the reply. Otherwise event->outcome says whether it may
 * have been executed (it is set on every return but FRAMED_USAGE); FRAMED_TIMEOUT leaves the connection usable, and the late
 * reply is thrown away when it comes, unless it was a deadline of the connection itself (send_ms, frame_ms, idle_ms) that
 * passed: then framed_client_error says so, and every call ends like this until framed_client_reconnect. timeout_ms counts from now; FRAMED_NEVER is allowed. FRAMED_USAGE: calls begun with
 * framed_client_start are still open.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_call(struct framed_client *client, struct framed_bytes request,
                                                                 uint32_t timeout_ms, struct framed_event *event);

/*
 * Begins a call; the request is copied. It ends with exactly one REPLY event, at the latest after timeout_ms (then always
 * MAYBE_EXECUTED: what was taken over cannot be called back). *call is its id, never used twice by one client.
 * The request leaves at once if no other call is open; else together with the others begun since, with the next
 * framed_client_next, _want, _step or _finish (while events are ready: within a millisecond; or when 64 KiB wait): one send for many.
 * FRAMED_FULL: too many calls or unsent bytes; take events, then again (a WRITABLE event tells when).
 * FRAMED_TOO_LARGE: above max_send, or above what the peer of a connection that is not plain said that it accepts. Also
 * FRAMED_NOMEM, FRAMED_USAGE, or the status the connection ended with (the call was not begun then).
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_start(struct framed_client *client, struct framed_bytes request,
                                                                  uint32_t timeout_ms, uint64_t *call);

/*
 * Sends and receives until there is an event, at most wait_ms. FRAMED_OK: *event. FRAMED_MORE: none (or framed_client_wake).
 * After the ENDED event: the status it had. It always reads while a write is blocked.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_next(struct framed_client *client, uint32_t wait_ms,
                                                                 struct framed_event *event);

/*
 * Under FRAMED_REPLIES_NONE: sends one frame (copied), waiting at most timeout_ms for room. FRAMED_FULL: there was none; or,
 * before that, a frame has come and must be taken with framed_client_recv first, else two ends that only write would wait for
 * each other for ever. FRAMED_OK means taken over, not received. Otherwise as framed_client_start.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_send(struct framed_client *client, struct framed_bytes frame,
                                                                 uint32_t timeout_ms);

/* Under FRAMED_REPLIES_NONE: the next frame, borrowed until the next call on the client. FRAMED_MORE: none within wait_ms
 * (or framed_client_wake). FRAMED_CLOSED: the peer finished cleanly. Otherwise the status the connection ended with. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_recv(struct framed_client *client, uint32_t wait_ms,
                                                                 struct framed_bytes *frame);

/*
 * No more requests from here: half-closes once everything is sent and (FRAMED_REPLIES_ORDERED) answered, since many servers
 * drop their replies when they see the end first (PROTOCOL.md §3.5). Events go on until ENDED.
 */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_finish(struct framed_client *client);

/* For somebody else's loop: wait until the socket is ready for `events` or timeout_ms has passed, then step, then take
 * events with framed_client_next(c, 0, &event) until FRAMED_MORE. Ask again each time. */
#define FRAMED_WANT_READ  1u
#define FRAMED_WANT_WRITE 2u
struct framed_want {
    intptr_t socket;     /* a descriptor, or a SOCKET on Windows; -1 when there is none */
    unsigned events;     /* FRAMED_WANT_READ, FRAMED_WANT_WRITE, or 0 */
    uint32_t timeout_ms; /* step at the latest then; FRAMED_NEVER: no need */
};
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_want(struct framed_client *client, struct framed_want *want);

/* Does what can be done without waiting. FRAMED_OK or what ended the loop itself. */
FRAMED_API FRAMED_MUST_USE enum framed_status framed_client_step(struct framed_client *client);

/* Makes a framed_client_next that waits return FRAMED_MORE. Safe from any thread and from signal handlers. */
FRAMED_API void framed_client_wake(struct framed_client *client);

/* Why the connection ended or could not be opened, in one line for people; "" when it did not. Valid until the next call. */
FRAMED_API const char *framed_client_error(const struct framed_client *client);

/*
 * Who the other end of the last connection is: *peer, whose `key` and `hash` are valid until the next call, and which has no name. Also
 * of one that came to nothing because it had another key than it must have (FRAMED_AUTH); then `hash` is all zero. False: it was not
 * encrypted, or the handshake did not come so far.
 */
FRAMED_API bool framed_client_identity(const struct framed_client *client, struct framed_peer *peer);

/* The longest frame that can be sent now, in bytes: max_send, or less where the peer of a connection that is not plain accepts less. */
FRAMED_API uint32_t framed_client_longest(const struct framed_client *client);

/* Calls begun and not yet reported. */
FRAMED_API size_t framed_client_open_calls(const struct framed_client *client);

/* Closes in order (flush, half-close, wait at most linger_ms for the peer's end) and frees. NULL is fine. */
FRAMED_API void framed_client_free(struct framed_client *client);

#ifdef __cplusplus
}
#endif
#endif
