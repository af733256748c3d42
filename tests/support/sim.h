/*
 * sim.h: the third implementation of os.h: one thread, simulated time, a network that does what the test says.
 *
 * Link it instead of src/os: server and client run unmodified. Time passes only while everybody waits. Who waits:
 *   - the test itself, inside framed_os_wait (a blocking client, say) or sim_run_ms and friends;
 *   - actors: functions with a stack of their own (framed_server_run, say), inside framed_os_wait or framed_os_sleep_ms. A thread that the
 *     library starts is an actor too.
 * Runs with the same seed are the same. When everybody waits for ever, or somebody turns without end, the world says so and
 * aborts; so it does when os.h is used against its contract.
 *
 * TCP as it is at its worst: closing with unread input, or input that comes after a close, resets the connection, and a reset
 * takes away whatever the other end has not read yet.
 */
#ifndef FRAMED_TESTS_SIM_H
#define FRAMED_TESTS_SIM_H

#include "meter.h"
#include "os.h"

struct sim_actor;
struct sim_peer;
struct sim_acceptor;

/* ---- the world ---- */

/* A new world. It has no server, no client, and 64 KiB in each direction of a connection. seed 0: everything in order; else who
 * comes first is thrown by dice. */
void sim_start(uint64_t seed);

/* The end. Aborts when a socket, poller, lock or handle was not given back; meter_fini's checks apply to framed_os_allocator. */
void sim_stop(void);

/* Something is wrong, and has been said: the world is left behind as it is. */
void sim_abandon(void);

/* What framed_os_allocator gives. */
struct meter *sim_meter(void);

/* Bytes that each direction of connections made from now on can hold. */
void sim_capacity(size_t bytes);

/* accepting fails with FRAMED_LIMIT while this many handles are open; 0: no such limit. */
void sim_max_handles(size_t n);
size_t sim_handles(void);

/* How many sockets at most one framed_os_wait serves; 0: all. */
void sim_events_per_wait(size_t n);

/* The test's own framed_os_thread_self from now on; 1 at the start. Each actor has another. */
void sim_thread(uintptr_t self);

/* ---- time ---- */

uint64_t sim_now_ms(void); /* since sim_start */
uint64_t sim_now_us(void);

/* Lets this much time pass. 0: until nobody has anything to do now. */
void sim_run_ms(uint64_t ms);

/* The same, but returns true as soon as done(ctx) says so, false when the time is over. */
bool sim_run_until(bool (*done)(void *ctx), void *ctx, uint64_t ms);

/* The world calls fn(ctx) ms from now. */
void sim_at(uint64_t ms, void (*fn)(void *ctx), void *ctx);

/* The clock that server and client read leaps forward, as after a suspend: whoever waits has waited too long. What is on its
 * way, and what sim_at was asked for, is as far off as before; so is the end of the sim_run_until under way. */
void sim_clock_jump(uint64_t ms);

/* Framed_client_want's wait: until the handle is ready for what is wanted, or timeout_ms (FRAMED_NEVER: no limit) passed. From
 * inside an actor, too. */
void sim_wait_want(const struct framed_want *want);

/* ---- actors ---- */

/* `run` begins when time does; its stack has 256 KiB. It must have returned before sim_stop. */
struct sim_actor *sim_add_actor(void (*run)(void *ctx), void *ctx);
bool sim_actor_done(const struct sim_actor *actor);
uint64_t sim_actor_steps(const struct sim_actor *actor); /* how often it went on after a wait */

/* From now on its framed_os_wait gives FRAMED_OS; returns when it has ended. */
void sim_actor_stop(struct sim_actor *actor);

/* Its next framed_os_wait gives FRAMED_OS, once. */
void sim_actor_break(struct sim_actor *actor);

/* It does nothing for so long, whatever happens. */
void sim_actor_stall(struct sim_actor *actor, uint64_t ms);

/* The port of the connection that the actor made last; 0: none yet. */
unsigned sim_actor_port(const struct sim_actor *actor);

/* ---- faults ---- */

enum sim_op {
    OP_POLLER_OPEN,
    OP_WAIT,
    OP_LISTEN,
    OP_ADOPT,
    OP_ATTACH,
    OP_ACCEPT,    /* asking */
    OP_ACCEPTED,  /* being told; the connection stays where it was */
    OP_CONNECT,   /* asking */
    OP_CONNECTED, /* being told */
    OP_RECEIVE,   /* asking; the connection is as it was */
    OP_RECEIVED,  /* being told; the connection is broken */
    OP_OFFER,     /* the connection is broken */
    OP_SEND,      /* asking; the connection is broken */
    OP_SENT,      /* being told; the connection is broken */
    OP_FINISH,    /* the connection is broken */
    OP_RESOLVE,
    OP_ADDRESS_UNIX,
    OP_RANDOM,
    OP_LOCK_NEW,
    OP_THREAD_START,
    OP_COUNT
};

const char *sim_op_name(enum sim_op op);

/* The n-th time (from 1, counted from now) that operation gives `status` instead. Several can wait at once (at most 16). */
void sim_fail(enum sim_op op, uint64_t n, enum framed_status status);

/* The same, and all times after it. */
void sim_fail_onward(enum sim_op op, uint64_t n, enum framed_status status);

/* One in so many, as the dice say; 0: none. */
void sim_fail_odds(enum sim_op op, uint32_t one_in, enum framed_status status);

/* Failures are over, and what was counted. */
void sim_fail_never(void);

uint64_t sim_ops(enum sim_op op);    /* how many times since sim_start */
uint64_t sim_failures_reached(void); /* how many failures happened since sim_start */

/* What happens to the ends that framed sockets hold, from the connections made from now on. */
enum sim_side { SIM_CONNECTOR, SIM_ACCEPTOR };
enum sim_cut {
    SIM_NO_CUT,
    SIM_CUT_END,   /* the other end reads the end of the stream; this one is broken */
    SIM_CUT_RESET, /* the other end reads what came before and then a reset; this one is broken */
    SIM_CUT_SILENT /* nothing more goes through, and nobody is told */
};
struct sim_script {
    const size_t
        *receives; /* the most that each receive brings, in turn, then from the front; borrowed. 0: nothing this time */
    size_t receive_count; /* 0: no limit */
    const size_t *sends;  /* the most that each offer or send takes, the same way */
    size_t send_count;
    enum sim_cut cut;   /* of what this end sends */
    uint64_t cut_after; /* bytes; 0, of an acceptor: it is there when the connection is */
};
void sim_script(enum sim_side side, const struct sim_script *script); /* NULL: none again */

/* How long things take from end to end, of connections made from now on: each direction has a time of its own between least
 * and most, to which each thing sent adds some of the jitter. What one end sends arrives in the order it was sent; connections
 * overtake each other. NULL: no time at all, as at the start. */
struct sim_delay {
    uint32_t least_us;
    uint32_t most_us;
    uint32_t jitter_us;
};
void sim_delay(const struct sim_delay *delay);

/* Something happens to one of the connections that there are, thrown by dice, or to one direction of it. Gives the
 * port of the end that connected; 0: there is none. */
enum sim_hit {
    SIM_HIT_RESET,  /* both ends are told */
    SIM_HIT_END,    /* one end reads the end of the stream, the other is broken */
    SIM_HIT_SILENT, /* nothing more goes through one way, and nobody is told; after `ms` both ends are: keepalive */
    SIM_HIT_STALL   /* nothing arrives at one end for `ms` */
};
unsigned sim_hit(enum sim_hit what, uint64_t ms);

/* ---- names and places ---- */

/* framed_os_resolve knows numbers, "localhost" (127.0.0.1), and what is told here: up to 4 texts of numbers. */
void sim_name(const char *name, const char *const *hosts, size_t n);

/* Connecting to "HOST:PORT" never ends from now on. */
void sim_blackhole(const char *address);

/* Connections made from now on say that they are connected to themselves. */
void sim_connect_to_self(void);

/* A listening handle for "fd:N", or a connected one with its raw peer. */
intptr_t sim_fd_listening(const char *address);
intptr_t sim_fd_connected(struct sim_peer **peer);

/* What framed_os_keepalive said last for an accepted or connected socket: false when it never did. */
bool sim_keepalive(struct sim_peer *peer, uint32_t *idle_ms, uint32_t *give_up_ms);

/* The congestion control it was given; NULL: none. */
const char *sim_congestion(struct sim_peer *peer);

/* ---- raw peers: the test as client or server ---- */

enum sim_peer_state { SIM_OPEN, SIM_ENDED, SIM_RESET };

/* Connects to a listening framed server ("127.0.0.1:4464", "[::1]:80", "unix:PATH"); NULL when nobody listens there. */
struct sim_peer *sim_connect(const char *address);
struct sim_peer *sim_connect_from(const char *address, const char *host);

/* Listens for framed clients; they are connected as soon as it exists. */
struct sim_acceptor *sim_listen(const char *address);
struct sim_peer *sim_accept(struct sim_acceptor *acceptor); /* NULL: nobody is waiting */
void sim_acceptor_close(struct sim_acceptor *acceptor);

/* Peers reading what comes at once, without limit, unless told otherwise; what they send goes out as the connection has room. */
void sim_peer_send(struct sim_peer *peer, const void *at, size_t n);
void sim_peer_send_frame(struct sim_peer *peer, const void *payload, size_t n);
void sim_peer_send_frame_text(struct sim_peer *peer, const char *payload);
size_t sim_peer_unsent(const struct sim_peer *peer); /* bytes that did not fit yet */
void sim_peer_finish(struct sim_peer *peer);         /* half-close, after what is to be sent */
void sim_peer_reset(struct sim_peer *peer);
void sim_peer_close(struct sim_peer *peer); /* at once; resets when something is unread, unsent, or comes later */

void sim_peer_stop_reading(struct sim_peer *peer);
void sim_peer_read_more(struct sim_peer *peer, size_t n); /* so many bytes, then stop again */
void sim_peer_start_reading(struct sim_peer *peer);

/* What has been read, and how many bytes of it were taken away by sim_peer_take. */
struct framed_bytes sim_peer_received(const struct sim_peer *peer);
void sim_peer_take(struct sim_peer *peer, size_t n);
/* The next whole frame of it, taken away; false: there is none. Borrowed until the next one or until more is read. */
bool sim_peer_frame(struct sim_peer *peer, struct framed_bytes *payload);
enum sim_peer_state sim_peer_state(const struct sim_peer *peer); /* as far as it has read */
uint64_t sim_peer_ended_ms(const struct sim_peer *peer);         /* sim_now_ms of that */
bool sim_peer_let_go(const struct sim_peer *peer);               /* the framed end has closed its socket */
const char *sim_peer_address(const struct sim_peer *peer);       /* as framed_os_address_text gives it at the framed end */

#endif
