/*
 * swarm.h: what the clients of swarm.c have in common: a caller, which knows its open calls and sees that each ends once.
 */
#ifndef FRAMED_TESTS_SWARM_H
#define FRAMED_TESTS_SWARM_H

#include "ledger.h"
#include "ways.h"

enum { CALLER_OPEN = 32, CALLER_LARGEST = 300 << 10 };

struct open_call {
    uint64_t id; /* 0: free */
    uint64_t serial;
    uint64_t due_ms;
    size_t len;
    enum ledger_what what;
};

struct caller {
    struct ledger *ledger;
    struct framed_client *client;
    const struct target *to;
    bool gentle; /* asks for nothing but replies, patiently: whatever fails is the server's doing */
    bool good;   /* no fault is on its way either: a call without a reply is said */
    bool tried;  /* to connect */
    uint32_t worker;
    uint64_t seed;
    size_t n;
    struct open_call open[CALLER_OPEN];
    uint8_t request[CALLER_LARGEST];
};

void caller_begin(struct caller *c, struct ledger *l, const struct target *to, uint32_t worker);
/* Frees the client; what was open is abandoned. */
void caller_end(struct caller *c);

/* Begins a call, if there is room. The status of framed_client_start. */
enum framed_status caller_start(struct caller *c);
/* A blocking call. False: the connection may be of no use any more. */
bool caller_call(struct caller *c);
/* Takes an event. False: the connection has ended. */
bool caller_event(struct caller *c, const struct framed_event *event);
/* Calls whose time was up long ago, and of which nothing was heard, are lost. */
void caller_look(struct caller *c);
/* Connects, or tries to, for a while. */
enum framed_status caller_connect(struct caller *c, uint32_t wait_ms);

/* Raw sockets that do whatever should not be done, one connection after the other until told to stop. */
void rude(struct ledger *l, const char *address, const atomic_bool *stop);

#endif
