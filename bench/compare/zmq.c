/*
 * zmq.c: ZeroMQ's echo, a ROUTER that sends back what comes, and a load of DEALERs, one for each connection.
 * Must not know the library, nor 4-byte frames. Invariants as in load.c: a reply must carry the number of the request whose turn
 * it is; a slot is rewritten only after its reply.
 */
#define _GNU_SOURCE 1
#include "peer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { NUMBER = 8, SILENCE_MS = 5000, BACKLOG = 4096, COPIED = 16 << 10 };

static int failed(const char *what)
{
    return load_fail("%s: %s", what, zmq_strerror(errno));
}

/* ---- serving ---- */

static int echo(void *router)
{
    zmq_msg_t who, body;
    for (;;) {
        zmq_msg_init(&who);
        zmq_msg_init(&body);
        if (zmq_msg_recv(&who, router, 0) < 0 || zmq_msg_recv(&body, router, 0) < 0) return 6;
        if (zmq_msg_send(&who, router, ZMQ_SNDMORE) < 0 || zmq_msg_send(&body, router, 0) < 0) return 6;
    }
}

static int serve(void)
{
    static const int backlog = BACKLOG;
    char endpoint[64];
    size_t len = sizeof endpoint;
    void *context = zmq_ctx_new();
    void *router = zmq_socket(context, ZMQ_ROUTER);
    if (zmq_setsockopt(router, ZMQ_BACKLOG, &backlog, sizeof backlog) != 0 || zmq_bind(router, "tcp://127.0.0.1:*") != 0 ||
        zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &len) != 0) {
        fprintf(stderr, "zmq: %s\n", zmq_strerror(errno));
        return 3;
    }
    fprintf(stderr, "zmq: listening on %s\n", endpoint + strlen("tcp://"));
    return echo(router);
}

/* ---- a load ---- */

struct conn {
    void *dealer;
    uint64_t due;
    uint64_t replied;
    uint8_t *slots;
    uint64_t *due_ns;
};

struct load_zmq {
    void *context;
    struct load_config config;
    struct conn *conn;
    zmq_pollitem_t *items;
    uint64_t left_to_issue;
    uint64_t outstanding;
    struct tally tally;
};

static void leave(void *at, void *hint)
{
    (void)at;
    (void)hint;
}

static size_t number_size(const struct load_zmq *l)
{
    return l->config.size < NUMBER ? l->config.size : NUMBER;
}

/* A large message is sent from its slot, as load.c does. */
static int send_one(const struct load_zmq *l, struct conn *c, uint64_t now)
{
    zmq_msg_t message;
    uint8_t *slot = c->slots + c->due % l->config.inflight * l->config.size;
    memcpy(slot, &c->due, number_size(l));
    if (l->config.size > COPIED) {
        zmq_msg_init_data(&message, slot, l->config.size, leave, NULL);
    } else {
        if (zmq_msg_init_size(&message, l->config.size) != 0) return failed("zmq_msg_init_size");
        memcpy(zmq_msg_data(&message), slot, l->config.size);
    }
    c->due_ns[c->due % l->config.inflight] = now;
    return zmq_msg_send(&message, c->dealer, 0) < 0 ? failed("zmq_msg_send") : 0;
}

static int issue(struct load_zmq *l, struct conn *c, uint64_t now)
{
    while (c->due - c->replied < l->config.inflight && l->left_to_issue > 0) {
        if (send_one(l, c, now) != 0) return -1;
        c->due++;
        l->outstanding++;
        if (l->left_to_issue != UINT64_MAX) l->left_to_issue--;
    }
    return 0;
}

/* 1: a reply was taken, 0: there is none yet. */
static int take_one(struct load_zmq *l, struct conn *c, int flags, uint64_t *now)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, c->dealer, flags) < 0)
        return errno == EAGAIN && flags == ZMQ_DONTWAIT ? 0 : failed("zmq_msg_recv");
    *now = load_clock_ns();
    int right = c->replied < c->due && zmq_msg_size(&message) == l->config.size &&
                memcmp(zmq_msg_data(&message), &c->replied, number_size(l)) == 0;
    zmq_msg_close(&message);
    if (!right) return load_fail("reply %llu is not its request", (unsigned long long)c->replied);
    tally_note(&l->tally, *now - c->due_ns[c->replied % l->config.inflight]);
    c->replied++;
    l->outstanding--;
    return 1;
}

/* Every reply that is there, on all connections; with one only it waits in the receive itself. */
static int sweep(struct load_zmq *l, uint64_t stop_ns, uint64_t *now)
{
    int taken = 0;
    for (unsigned i = 0; i < l->config.conns; i++) {
        struct conn *c = &l->conn[i];
        int before = taken;
        int got = 0;
        while (c->replied < c->due &&
               (got = take_one(l, c, l->config.conns == 1 && taken == 0 ? 0 : ZMQ_DONTWAIT, now)) == 1)
            taken++;
        if (got < 0) return -1;
        if (*now >= stop_ns) l->left_to_issue = 0;
        if (taken > before && issue(l, c, *now) != 0) return -1;
    }
    return taken;
}

static int run(void *load, double seconds, uint64_t count, struct load_result *result)
{
    struct load_zmq *l = load;
    memset(&l->tally, 0, sizeof l->tally);
    l->left_to_issue = count > 0 ? count : UINT64_MAX;
    uint64_t start = load_clock_ns();
    uint64_t stop = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
    uint64_t now = start;
    for (unsigned i = 0; i < l->config.conns; i++)
        if (issue(l, &l->conn[i], start) != 0) return -1;
    while (l->outstanding > 0) {
        int taken = sweep(l, stop, &now);
        if (taken < 0) return -1;
        if (taken > 0 || l->outstanding == 0) continue;
        int ready = zmq_poll(l->items, (int)l->config.conns, SILENCE_MS);
        if (ready < 0 && errno != EINTR) return failed("zmq_poll");
        if (ready == 0) return load_fail("no reply came for 5 s");
    }
    *result = tally_result(&l->tally, l->config.size, (double)(now - start) / 1e9);
    return 0;
}

static void close_load(void *load)
{
    struct load_zmq *l = load;
    for (unsigned i = 0; l->conn != NULL && i < l->config.conns; i++) {
        if (l->conn[i].dealer != NULL) zmq_close(l->conn[i].dealer);
    }
    zmq_ctx_term(l->context);
    for (unsigned i = 0; l->conn != NULL && i < l->config.conns; i++) {
        free(l->conn[i].slots);
        free(l->conn[i].due_ns);
    }
    free(l->conn);
    free(l->items);
    free(l);
}

static void *dealer_open(void *context)
{
    static const int none = 0;
    static const int patience = SILENCE_MS;
    void *dealer = zmq_socket(context, ZMQ_DEALER);
    if (dealer == NULL || zmq_setsockopt(dealer, ZMQ_LINGER, &none, sizeof none) != 0 ||
        zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &patience, sizeof patience) != 0) {
        failed("zmq_socket");
        if (dealer != NULL) zmq_close(dealer);
        return NULL;
    }
    return dealer;
}

static int conn_open(struct load_zmq *l, unsigned i, const char *endpoint)
{
    struct conn *c = &l->conn[i];
    size_t slots = (size_t)l->config.inflight * l->config.size;
    c->slots = malloc(slots + 1);
    c->due_ns = calloc(l->config.inflight, sizeof *c->due_ns);
    if (c->slots == NULL || c->due_ns == NULL) return load_fail("out of memory");
    memset(c->slots, 'f', slots);
    c->dealer = dealer_open(l->context);
    if (c->dealer == NULL) return -1;
    l->items[i] = (zmq_pollitem_t){.socket = c->dealer, .events = ZMQ_POLLIN};
    return zmq_connect(c->dealer, endpoint) == 0 ? 0 : failed("zmq_connect");
}

static void *open_load(const struct load_config *config)
{
    char endpoint[128];
    struct load_zmq *l = calloc(1, sizeof *l);
    if (l == NULL || config->rate > 0) {
        load_fail("out of memory, or asked for a rate");
        free(l);
        return NULL;
    }
    snprintf(endpoint, sizeof endpoint, "tcp://%s:%s", config->host, config->port);
    l->config = *config;
    l->context = zmq_ctx_new();
    l->conn = calloc(config->conns, sizeof *l->conn);
    l->items = calloc(config->conns, sizeof *l->items);
    int st = l->conn != NULL && l->items != NULL ? 0 : load_fail("out of memory");
    for (unsigned i = 0; i < config->conns && st == 0; i++) st = conn_open(l, i, endpoint);
    if (st == 0) return l;
    close_load(l);
    return NULL;
}

/* ---- holding ---- */

/*
 * One DEALER that connects many times, from an address of 127.0.0.0/8 each, since to the same endpoint it would be connected
 * only once. What is sent goes to each connection in turn.
 */
static int hold(const char *address, unsigned have, unsigned n)
{
    static void *dealer;
    static const int patience = 30000; /* all of them shake hands meanwhile */
    static const int from_now_on = 1;
    char endpoint[128];
    char reply[8];
    if (dealer == NULL) {
        dealer = dealer_open(zmq_ctx_new());
        if (dealer == NULL || zmq_setsockopt(dealer, ZMQ_IMMEDIATE, &from_now_on, sizeof from_now_on) != 0 ||
            zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &patience, sizeof patience) != 0 ||
            zmq_setsockopt(dealer, ZMQ_SNDTIMEO, &patience, sizeof patience) != 0)
            return failed("zmq_socket");
    }
    for (unsigned i = have; i < n; i++) {
        snprintf(endpoint, sizeof endpoint, "tcp://127.1.%u.%u:0;%s", i >> 8 & 255, i & 255, address);
        if (zmq_connect(dealer, endpoint) != 0) return failed("zmq_connect");
        if (zmq_send(dealer, "one echo", sizeof reply, 0) < 0 ||
            zmq_recv(dealer, reply, sizeof reply, 0) != (int)sizeof reply)
            return failed("an echo");
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct peer peer = {{"zmq", open_load, run, close_load}, serve, hold};
    return peer_main(argc, argv, &peer);
}
