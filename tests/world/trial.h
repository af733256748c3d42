/*
 * trial.h: what the files of one seed's trial know of each other.
 *   plan.c     what the seed decides beforehand: limits, clients, faults
 *   serving.c  servers, one life after the other, and what their handlers do
 *   asking.c   clients, each in its own way
 *   weather.c  the faults, as the calls go on
 *   trial.c    a trial from its beginning to its verdict
 */
#ifndef FRAMED_TESTS_TRIAL_H
#define FRAMED_TESTS_TRIAL_H

#include "history.h"
#include "sim.h"
#include <framed/net.h>

#define TRIAL_WHERE "127.0.0.1:4464"

enum {
    MOST_CLIENTS = 8,
    MOST_FAULTS = 12,
    MOST_LIVES = 32,
    ENOUGH_LIVES = MOST_LIVES - MOST_FAULTS - 1, /* then nobody is asked to drain any more */
    LEAST_CALLS = 200,
    MOST_CALLS = 300,
    MOST_AT_ONCE = 64,
    MOST_PAYLOAD = 128 << 10,
    MOST_STRANGERS = MOST_FAULTS
};

/* ---- dice of its own, so that what is thrown here is not thrown elsewhere ---- */

struct dice {
    uint64_t state;
};

uint64_t throw_word(struct dice *dice);
uint32_t throw_below(struct dice *dice, uint32_t n);                    /* 0 .. n-1 */
uint32_t throw_range(struct dice *dice, uint32_t least, uint32_t most); /* both included */
bool throw_one_in(struct dice *dice, uint32_t n);

/* ---- the plan ---- */

enum way {
    WAY_BLOCKING,  /* framed_client_call, one after the other */
    WAY_PIPELINED, /* start and next */
    WAY_STEPPED,   /* want, step, next: in somebody else's loop */
    WAY_SENDING    /* FRAMED_REPLIES_NONE */
};

enum fault_kind {
    FAULT_STALL_WIRE, /* these excuse no lost call ... */
    FAULT_STALL_SERVER,
    FAULT_STALL_CLIENT,
    FAULT_FEW_EVENTS,
    FAULT_DESCRIPTORS,
    FAULT_STRANGER,
    FAULT_RESET, /* ... these do on one connection ... */
    FAULT_END,
    FAULT_SILENCE,
    FAULT_DRAIN,         /* ... this one those that were given no reply ... */
    FAULT_SERVER_MEMORY, /* ... and these all */
    FAULT_CLIENT_MEMORY,
    FAULT_CLOCK,
    FAULT_OPERATION,
    FAULT_CRASH,
    FAULT_COUNT
};

extern const char *const fault_names[FAULT_COUNT];

struct fault {
    enum fault_kind kind;
    uint32_t after_calls; /* begins when so many calls have begun */
    uint32_t ms;          /* how long */
    uint32_t one_in;      /* how often */
    uint32_t which;       /* client, operation, stranger's behaviour */
};

struct client_plan {
    enum way way;
    uint32_t calls;
    uint32_t at_once;  /* calls under way */
    uint32_t limit_ms; /* of each call; FRAMED_NEVER */
    uint32_t think_ms; /* at most, now and then */
    bool finishes;     /* half-closes at the end, and waits for the other's */
    struct framed_client_config config;
};

struct plan {
    uint64_t seed;
    enum history_excuse excuse; /* but for HISTORY_ANY, no limit, deadline or fault would excuse more */
    enum framed_replies replies;
    uint32_t calls;
    uint32_t client_count;
    struct client_plan clients[MOST_CLIENTS];
    struct framed_server_config server;
    struct framed_key secret_keys[2], public_keys[2]; /* the server's, the clients' */
    uint32_t fault_count;
    struct fault faults[MOST_FAULTS];
    struct sim_delay delay;
    size_t capacity;
    uint32_t largest;       /* payload */
    uint32_t defer_one_in;  /* of the calls */
    uint32_t defer_ms;      /* at most */
    uint32_t unkind_one_in; /* a handler fails, drops or drains; 0: never */
    uint32_t slack_ms;
};

void plan_make(struct plan *plan, uint64_t seed);

/* ---- memory that is counted, and fails when the weather says so ---- */

struct purse {
    struct framed_allocator allocator;
    struct trial *trial;
    size_t in_use;
    bool is_servers;
};

/* ---- under way ---- */

struct asked {
    uint64_t id;
    uint32_t call, conn;
};

struct asker {
    struct trial *trial;
    const struct client_plan *plan;
    struct purse purse;
    struct dice dice;
    struct sim_actor *actor;
    struct framed_client *client;
    uint8_t payload[MOST_PAYLOAD];
    struct asked asked[MOST_AT_ONCE]; /* calls under way */
    uint32_t asked_count;
    uint32_t number; /* of the call in `payload`; 0: none is made */
    uint32_t len;
    uint32_t begun;
    uint32_t index;
    bool has_address; /* has connected, or tried to */
    bool finishing;   /* has said so */
    bool is_cut;      /* has been told that its connection takes no more calls */
};

struct life {
    struct trial *trial;
    struct framed_server_config config;
    struct purse purse;
    struct framed_server *server; /* NULL when it has been freed */
    struct sim_actor *actor;
    enum framed_status run_status;
    uint64_t stalled_until_ms;
    uint64_t drain_by_ms; /* 0: no drain has been asked for */
    uint32_t index;
    uint64_t handled; /* by its handler */
    bool serves;
    bool doomed; /* is to drain, or to crash */
    bool ended;
};

/* A request that was deferred. */
struct kept {
    struct trial *trial;
    struct framed_call *call;
    struct framed_bytes body;
    struct life *life;
    uint32_t conn, nth;
    uint64_t word; /* decides the answer */
    bool open;
};

struct trial {
    struct plan plan;
    struct history history;
    struct dice dice; /* of the weather */
    struct asker askers[MOST_CLIENTS];
    struct life lives[MOST_LIVES];
    uint32_t life_count;
    struct kept kept[MOST_CALLS];
    uint32_t kept_count, kept_open;
    uint32_t seen_on[1 << 16];     /* by port: how many requests a handler saw of it */
    uint8_t scratch[MOST_PAYLOAD]; /* for replies */
    uint32_t begun;                /* calls, in all */
    uint32_t next_fault, tries;
    uint32_t felt[FAULT_COUNT];
    uint32_t server_memory_one_in, client_memory_one_in; /* 0: none fails */
    uint64_t held_up_ms;                                 /* by leaps of the clock and stalled servers, in all */
    uint32_t numbers;                                    /* of calls, given out */
    struct sim_peer *strangers[MOST_STRANGERS];
    uint32_t stranger_ports[MOST_STRANGERS];
    uint32_t stranger_count;
    uint32_t askers_done;
    bool late; /* all have asked: what handlers still see, from the backlog perhaps, drains nobody */
    bool over; /* no further life */
    bool loud; /* prints the trace as it goes */
    char why[256];
};

void purse_open(struct purse *purse, struct trial *t, bool is_servers);

/* Writes down one thing, at the present time. */
void tell(struct trial *t, struct record r);
void note(struct trial *t, const char *by, uint32_t who, const char *text);
void note_for(struct trial *t, const char *text, uint32_t ms); /* the weather's */

/* The first reason to fail is kept. */
void trial_fail(struct trial *t, const char *format, ...);

/* serving.c */
void serving_begin(struct trial *t);       /* the next life */
struct life *serving_now(struct trial *t); /* the one that serves; NULL: none */
void serving_drain(struct trial *t, struct life *life);
void serving_log(void *ctx, enum framed_log_level level, const char *line);

/* asking.c */
void asking_begin(struct trial *t);

/* weather.c: a call has begun. */
void weather_call(struct trial *t);

/* ---- a trial ---- */

struct trial_result {
    uint64_t hash;
    uint64_t simulated_ms; /* the clock's leaps included */
    uint32_t calls, replies, not_executed, maybe_executed;
    uint32_t faults;
    uint32_t felt[FAULT_COUNT];
    uint32_t lives;
    char why[256]; /* "": all is well */
};

/* The same for the same seed (from 1), always. loud: the trace goes to stdout. */
void trial_run(uint64_t seed, bool loud, struct trial_result *result);

/* Gives back the memory that trials share. */
void trial_forget(void);

#endif
