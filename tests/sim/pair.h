/*
 * pair.h: a client in a simulated world, and the raw end that it is connected to.
 * Must not know what is tested.
 */
#ifndef FRAMED_TESTS_SIM_PAIR_H
#define FRAMED_TESTS_SIM_PAIR_H

#include "rig.h"

/* A world with a raw acceptor, a client connected to it, and the acceptor's end. */
struct pair {
    struct sim_acceptor *acceptor;
    struct sim_peer *peer;
    struct framed_client *client;
};

static inline struct pair pair_start(const struct framed_client_config *config)
{
    struct pair p;
    p.acceptor = sim_listen(WHERE);
    p.client = client_with(config);
    p.peer = sim_accept(p.acceptor);
    assert_non_null(p.peer);
    return p;
}

static inline void pair_stop(struct pair *p)
{
    framed_client_free(p->client);
    sim_stop();
}

static inline void assert_ends(struct framed_client *client, enum framed_status status)
{
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, status);
    assert_int_equal(framed_client_next(client, 1000, &event), status);
    assert_int_equal(framed_client_open_calls(client), 0);
}

static inline void assert_reply_event(struct framed_client *client, uint64_t call, const char *text)
{
    struct framed_event event = next_event(client, 1000);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.outcome, FRAMED_REPLY);
    assert_int_equal(event.status, FRAMED_OK);
    assert_int_equal(event.call, call);
    assert_bytes(event.payload, text, strlen(text));
}

static inline void assert_failed_event(struct framed_client *client, uint64_t call, enum framed_outcome outcome,
                                       enum framed_status status)
{
    struct framed_event event = next_event(client, 100000);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.call, call);
    assert_int_equal(event.outcome, outcome);
    assert_int_equal(event.status, status);
}

#endif
