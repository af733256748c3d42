/*
 * sim_world.h: what the files of the simulator know of each other. Not for tests: theirs is sim.h.
 *   sim.c         the world: its beginning and end, dice, memory, locks
 *   sim_time.c    time, actors, the order in which things happen
 *   sim_stack.c   stacks for actors to run on
 *   sim_net.c     the ends of connections and the bytes between them
 *   sim_wire.c    what has been sent and has not arrived, and what befalls connections
 *   sim_socket.c  framed sockets: what os.h asks, and what it tells
 *   sim_peer.c    raw peers
 *   sim_place.c   addresses and names
 *   sim_faults.c  which operation fails, and when
 */
#ifndef FRAMED_TESTS_SIM_WORLD_H
#define FRAMED_TESTS_SIM_WORLD_H

#include "sim.h"

enum {
    FIRST_HANDLE = 1000,
    MOST_FAILURES = 16,
    MOST_NAMES = 8,
    MOST_NAME_HOSTS = 4,
    MOST_PLACES = 8,
    WANT_ACCEPT = 1,
    WANT_CONNECT = 2,
    WANT_RECEIVE = 4,
    WANT_SEND = 8,
    CLOSING = 16
};

/* What an address is inside: not the system's form, so that nobody can peek. */
enum place_kind { PLACE_NONE, PLACE_V4, PLACE_V6, PLACE_UNIX };

struct place {
    uint8_t kind;
    uint8_t port_high, port_low;
    uint8_t host[16];
    char path[104];
};

_Static_assert(sizeof(struct place) <= sizeof(((struct os_address *)0)->bytes), "a place must fit an address");

/* Bytes in order; grows as far as its user lets it. */
struct queue {
    uint8_t *at;
    size_t head;
    size_t len;
    size_t cap;
};

/* Something on its way to an end. What travels one way arrives in order. */
enum parcel_kind { PARCEL_BYTES, PARCEL_END, PARCEL_RESET, PARCEL_RESET_AFTER_ALL };

struct parcel {
    uint64_t when_ns;
    size_t n; /* PARCEL_BYTES: of what lies in `wire` */
    enum parcel_kind kind;
};

#define LIST(type)                                                                                                          \
    struct {                                                                                                                \
        type *at;                                                                                                           \
        size_t n, cap;                                                                                                      \
    }

struct end {
    intptr_t handle;
    struct os_socket *socket; /* the framed owner, once attached */
    struct sim_peer *peer;    /* or the raw one */
    struct sim_acceptor *acceptor;
    struct end *other;
    struct end *next_waiting; /* in the queue of a listener */
    struct end *waiting;      /* of a listener: connections not yet accepted */
    struct place local;
    struct place remote;
    struct queue in;   /* sent by the other end, not yet read here */
    struct queue wire; /* and not even here yet */
    LIST(struct parcel) parcels;
    size_t next_parcel;
    size_t capacity; /* of `in` and `wire` together */
    uint64_t delay_ns;
    uint64_t jitter_ns;
    uint64_t stalled_until_ns;
    bool awaited; /* an event will bring the next parcel */
    const struct sim_script *script;
    struct sim_script script_copy;
    size_t receive_turn;
    size_t send_turn;
    uint64_t sent;
    uint32_t idle_ms, give_up_ms;
    uint64_t seal; /* over the views of the send under way */
    bool listening;
    bool counted;     /* among the open handles */
    bool connecting;  /* not yet told */
    bool travels;     /* ... since nobody has answered yet */
    bool blackhole;   /* and never will be */
    bool in_finished; /* nothing comes behind what is in `in` */
    bool out_finished;
    bool broken;       /* reads and writes fail with RESET */
    bool breaks_later; /* ... once `in` is empty */
    bool silent;       /* what this end sends goes nowhere */
    bool closed;
    bool to_self;
    bool keepalive_said;
    const char *congestion;
};

struct sim_peer {
    struct end *end;
    struct queue inbox;
    struct queue outbox;
    size_t taken_frame; /* bytes at the front of the inbox that sim_peer_frame lent last */
    uint64_t allowance; /* bytes it may still read; UINT64_MAX: all */
    uint64_t ended_ms;
    enum sim_peer_state state;
    bool finish;
    char address[OS_ADDRESS_TEXT_SIZE];
};

struct sim_acceptor {
    struct end *end;
};

struct os_poller {
    const struct framed_allocator *alloc;
    struct os_socket **sockets;
    size_t count, cap;
    struct os_socket *closing; /* chained in order of closing by next_closing */
    struct os_socket **closing_tail;
    uint64_t completions;
    bool woken;
    bool waiting; /* inside its framed_os_wait */
};

struct os_lock {
    bool held;
};

struct event {
    uint64_t when_ns;
    uint64_t number; /* those of one moment happen in the order they were asked for */
    void (*fn)(void *ctx);
    void *ctx;
};

struct failure {
    enum sim_op op;
    enum framed_status status;
    uint64_t at;
    bool onward;
    bool used;
};

/* One in so many fails, by the dice. */
struct odds {
    uint32_t one_in; /* 0: none */
    enum framed_status status;
};

struct name {
    char text[64];
    struct place hosts[MOST_NAME_HOSTS];
    size_t n;
};

struct world {
    bool exists;
    uint64_t now_ns;
    uint64_t seed;
    uint64_t dice; /* 0: none */
    uint64_t random;
    struct meter meter;
    LIST(struct end *) ends;
    LIST(struct sim_peer *) peers;
    LIST(struct sim_actor *) actors;
    LIST(struct sim_acceptor *) acceptors;
    LIST(struct event) events; /* a heap: the next one first */
    uint64_t event_number;
    LIST(struct end *) live; /* connecting ends of connections, some of them over already */
    struct sim_delay delay;
    uint64_t leapt_ns; /* by which the clock has jumped in all */
    struct sim_actor *stepping;
    size_t next_actor;
    uint64_t idle_turns;
    size_t capacity;
    size_t max_handles;
    size_t handles;
    size_t events_per_wait;
    size_t pollers, locks, locks_held;
    uintptr_t thread;
    uint16_t next_port;
    bool to_self;
    uint64_t ops[OP_COUNT];
    struct failure failures[MOST_FAILURES];
    size_t failure_count;
    struct odds odds[OP_COUNT];
    uint64_t failures_reached;
    struct sim_script scripts[2];
    bool scripted[2];
    struct name names[MOST_NAMES];
    size_t name_count;
    struct place blackholes[MOST_PLACES];
    size_t blackhole_count;
};

extern struct world world;

#define START_NS UINT64_C(1000000000000) /* so that nobody mistakes 0 for a time */
#define MS       UINT64_C(1000000)

#define APPEND(list, item)                                                                                                  \
    ((list).at = grown((list).at, (list).n, &(list).cap, sizeof *(list).at), (void)((list).at[(list).n++] = (item)))

static inline size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- sim.c ---- */

/* Ends the program, saying when and in which world, unless that holds. */
void must(bool holds, const char *what);
void *grown(void *at, size_t count, size_t *cap, size_t item);
/* Zeroed memory of the simulator's own, which never fails; an array with room for one more. */
void *made(size_t size);
uint64_t next_of(uint64_t *state);
/* 0 .. n-1; always 0 in a world without dice. */
size_t thrown(size_t n);
uint64_t after_ms(uint64_t ms);
/* Something did: nobody turns for nothing. */
void happened(void);

/* ---- sim_time.c ---- */

/* All must have ended. */
void free_actors(void);
void at_ns(uint64_t when_ns, void (*fn)(void *ctx), void *ctx);
/* Whoever is running has a connection from this port now. */
void note_port(unsigned port);

/* ---- sim_stack.c ---- */

/* run(ctx) will begin when it is entered for the first time. */
struct stack *stack_new(void (*run)(void *ctx), void *ctx);
void stack_free(struct stack *s); /* what ran on it must have returned */
/* Goes on there, until it leaves (true) or returns (false). */
bool stack_enter(struct stack *s);
/* From what runs there: back to where it was entered. */
void stack_leave(struct stack *s);

/* ---- sim_faults.c ---- */

extern const char *const op_names[OP_COUNT];
/* Counts one occurrence; true when it is to fail. */
bool fails(enum sim_op op, enum framed_status *status);

/* ---- sim_place.c ---- */

struct place place_of(const struct os_address *address);
void address_of(struct os_address *address, const struct place *p);
unsigned port_of(const struct place *p);
void set_port(struct place *p, unsigned port);
bool parse_host(const char *text, struct place *p);
struct place parse_address(const char *text);
bool is_any_host(const struct place *p);
bool same_place(const struct place *a, const struct place *b);
void place_text(const struct place *p, char *text, size_t size);
unsigned fresh_port(void);
struct place near_place(const struct place *to, const char *host);

/* ---- sim_net.c ---- */

void queue_put(struct queue *q, const uint8_t *at, size_t n);
void queue_drop(struct queue *q, size_t n);
void queue_free(struct queue *q);
struct end *end_new(void);
struct end *end_of_handle(intptr_t handle);
struct end *end_of(const struct os_socket *s);
void count_handle(struct end *e);
void uncount_handle(struct end *e);
/* The end learns of a reset: what it has not read is gone. */
void break_end(struct end *e);
void break_connection(struct end *e);
void give_script(struct end *e, enum sim_side side);
void close_end(struct end *e);
/* Whoever sends to it is answered with a reset. */
bool is_gone(const struct end *e);
/* How much of n bytes would leave now. */
size_t room_to_send(const struct end *e, size_t n);
/* Moves what fits of n bytes. */
size_t push(struct end *e, const uint8_t *at, size_t n);
size_t turn_of(const size_t *list, size_t count, size_t *turn);
/* What a framed socket sends: limited by its script. */
size_t push_views(struct end *e, const struct framed_bytes *views, size_t n);
struct end *find_listener(const struct place *to);
/* Makes the other end of `e`, and puts it where `listener` finds it. */
void join_listener(struct end *e, struct end *listener, const struct place *to);
void close_listener(struct end *e);

/* ---- sim_wire.c ---- */

void give_delay(struct end *e);
/* How long one more thing takes to this end. */
uint64_t travel_ns(const struct end *e);
/* What is sent to it is there at once. */
bool is_instant(const struct end *to);
/* Sends bytes, or anything but bytes, to that end. */
void carry_bytes(struct end *to, const uint8_t *at, size_t n);
void carry(struct end *to, enum parcel_kind kind);
void forget_parcels(struct end *e);
/* The clock has leapt, and what is on its way is as far off as before. */
void shift_parcels(struct end *e, uint64_t ns);

/* ---- sim_peer.c ---- */

/* Lets the raw peers do what they can. */
void pump(void);
struct sim_peer *peer_new(struct end *e);

/* ---- sim_socket.c ---- */

bool can_receive(const struct end *e);
bool can_send(const struct end *e);
bool can_connect(const struct end *e);
bool poller_ready(const struct os_poller *poller);
void serve_closings(struct os_poller *poller);
/* Makes the callbacks that can be made now; returns how many sockets it served. */
size_t serve(struct os_poller *poller);

#endif
