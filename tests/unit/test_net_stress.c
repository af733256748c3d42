/*
 * test_net_stress.c: owns the proof that replies stay whole and in order when everything happens at once on real sockets: all
 * ways of answering, slow and paused readers, resets, half-closes, foreign openings, small limits, and a drain in between.
 * Must not know the insides of the server: only bytes.
 * Invariants: seeded, and bounded by numbers of connections and requests; a connection may end early, but what it got is right.
 */
#define _GNU_SOURCE
#include "net.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 3, PEERS = 40, CONNECTIONS = 90, BURSTS = 10, HEAD = 5, FOREIGN = 12, LONGEST = 60000, MOST_SENT = 80000 };

/* The first byte of a request of at least HEAD bytes; then comes its seed, then net_fill by that seed. Others are echoed. */
enum mode {
    ECHO,
    PART,
    TAIL,
    OTHER,
    EMPTY,
    LONG,
    LATER = 8, /* the same, deferred */
    FAIL = 16,
    DROP = 17,
    FAIL_LATER = LATER | FAIL
};

static size_t long_len(uint32_t seed)
{
    return seed % MOST_SENT;
}

static uint32_t seed_of(const uint8_t *request)
{
    uint32_t seed;
    memcpy(&seed, request + 1, sizeof seed);
    return seed;
}

/* What answers the request; *made is to be freed. */
static struct framed_bytes answer_to(struct framed_bytes request, uint8_t **made)
{
    *made = NULL;
    if (request.len < HEAD) return request;
    uint32_t seed = seed_of(request.at);
    size_t n = request.len - HEAD;
    switch (request.at[0] & ~LATER) {
    case PART: return framed_bytes_of(request.at + HEAD, n / 2);
    case TAIL: return framed_bytes_of(request.at + request.len - n / 3, n / 3);
    case EMPTY: return framed_bytes_of(NULL, 0);
    case OTHER: n = FOREIGN; break;
    case LONG: n = long_len(seed); break;
    default: return request;
    }
    *made = malloc(n + 1);
    if (*made == NULL) abort();
    net_fill(*made, n, seed);
    return framed_bytes_of(*made, n);
}

/* ---- the server's side ---- */

static bool fails(struct framed_bytes body)
{
    return body.len >= HEAD && (body.at[0] & FAIL) != 0;
}

static void answer(struct framed_call *call, struct framed_bytes body)
{
    uint8_t *made;
    if (body.len >= HEAD && !net_filled(body.at + HEAD, body.len - HEAD, seed_of(body.at)))
        net_fault("a request of %zu bytes came changed", body.len);
    if (fails(body)) {
        (void)framed_call_fail(call, FRAMED_CODE_UNKNOWN, "as was asked\n");
        return;
    }
    (void)framed_call_reply(call, answer_to(body, &made));
    free(made);
}

static void answer_task(void *ctx, struct net_task task)
{
    (void)ctx;
    answer(task.call, task.body);
}

static void handle(void *ctx, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    if (body.len >= HEAD && body.at[0] == DROP) return;
    if (body.len >= HEAD && (body.at[0] & LATER) != 0)
        net_defer(ctx, call);
    else
        answer(call, body);
}

/* ---- the peers' side, all of it on the test's thread ---- */

struct asked {
    struct asked *next;
    size_t n;
    uint8_t request[]; /* n bytes */
};

struct peer {
    int fd; /* -1: none */
    unsigned bursts;
    bool finished;
    bool paused;
    uint8_t *out;
    size_t out_n, out_at;
    struct asked *first, **end;
    uint8_t in[FRAMED_LENGTH_SIZE + MOST_SENT];
    size_t in_n;
};

static struct {
    struct peer peers[PEERS];
    uint64_t seed;
    unsigned opened;
    unsigned long replies;
    char addresses[2][NET_ADDRESS_SIZE];
} world;

static size_t below(size_t n)
{
    return net_below(&world.seed, n);
}

static void peer_open(struct peer *p)
{
    struct net_buffers buffers = {.receive_bytes = below(3) == 0 ? 4096 : 0};
    memset(p, 0, offsetof(struct peer, in));
    p->in_n = 0;
    p->end = &p->first;
    p->fd = net_connect_small(world.addresses[below(2)], buffers);
    assert_int_not_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), -1);
    p->bursts = (unsigned)below(BURSTS);
    world.opened++;
}

static void forget_asked(struct peer *p)
{
    struct asked *a = p->first;
    p->first = a->next;
    if (p->first == NULL) p->end = &p->first;
    free(a);
}

static void peer_close(struct peer *p)
{
    if (below(2))
        assert_int_equal(close(p->fd), 0);
    else
        net_reset(p->fd);
    p->fd = -1;
    free(p->out);
    while (p->first != NULL) forget_asked(p);
}

static uint8_t some_mode(void)
{
    static const uint8_t failing[] = {FAIL, DROP, FAIL_LATER};
    return below(60) == 0 ? failing[below(3)] : (uint8_t)(below(LONG + 1) | (below(2) ? LATER : 0));
}

static void ask(struct peer *p, size_t n)
{
    struct asked *a = malloc(sizeof *a + n);
    assert_non_null(a);
    a->next = NULL;
    a->n = n;
    uint32_t seed = (uint32_t)net_random(&world.seed);
    if (n >= HEAD) {
        a->request[0] = some_mode();
        memcpy(a->request + 1, &seed, sizeof seed);
        net_fill(a->request + HEAD, n - HEAD, seed);
    } else {
        net_fill(a->request, n, seed);
    }
    assert_int_equal(framed_length_encode(p->out + p->out_n, n, FRAMED_FRAME_MOST), FRAMED_OK);
    memcpy(p->out + p->out_n + FRAMED_LENGTH_SIZE, a->request, n);
    p->out_n += FRAMED_LENGTH_SIZE + n;
    *p->end = a;
    p->end = &a->next;
}

static void say_more(struct peer *p)
{
    size_t n = below(4) == 0 ? below(LONGEST) : below(3) == 0 ? below(9000) : below(200);
    size_t k = n < 1000 ? 1 + below(20) : 1;
    p->bursts--;
    free(p->out);
    p->out = malloc(k * (n + FRAMED_LENGTH_SIZE) + FRAMED_LENGTH_SIZE);
    assert_non_null(p->out);
    p->out_n = p->out_at = 0;
    for (size_t i = 0; i < k; i++) ask(p, n);
    if (below(60) == 0) { /* after that no word is believed */
        memcpy(p->out + p->out_n, "GET ", FRAMED_LENGTH_SIZE);
        p->out_n += FRAMED_LENGTH_SIZE;
        p->bursts = 0;
    }
}

static void peer_send(struct peer *p)
{
    size_t n = p->out_n - p->out_at;
    if (below(2) && n > 1) n = 1 + below(n);
    ssize_t k = send(p->fd, p->out + p->out_at, n, MSG_NOSIGNAL);
    if (k > 0) {
        p->out_at += (size_t)k;
    } else if (k < 0 && errno != EAGAIN && errno != EINTR) { /* broken for writing: reads on */
        p->out_at = p->out_n;
        p->bursts = 0;
        p->finished = true;
    }
}

static void check_reply(struct peer *p, const uint8_t *reply, size_t n)
{
    if (p->first == NULL) fail_msg("a reply came that nobody asked for");
    struct framed_bytes request = framed_bytes_of(p->first->request, p->first->n);
    uint8_t *made;
    if (fails(request) || (request.len >= HEAD && request.at[0] == DROP)) fail_msg("a call that failed was answered");
    struct framed_bytes right = answer_to(request, &made);
    assert_int_equal(n, right.len);
    if (n > 0 && memcmp(reply, right.at, n) != 0) fail_msg("a reply of %zu bytes is wrong", n);
    free(made);
    forget_asked(p);
    world.replies++;
}

static void peer_receive(struct peer *p)
{
    size_t room = sizeof p->in - p->in_n;
    if (below(2) && room > 3000) room = 1 + below(3000);
    ssize_t k = recv(p->fd, p->in + p->in_n, room, 0);
    if (k < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (k <= 0) {
        peer_close(p);
        return;
    }
    p->in_n += (size_t)k;
    size_t at = 0;
    uint32_t n = 0;
    while (p->in_n - at >= FRAMED_LENGTH_SIZE) {
        assert_int_equal(framed_length_decode(p->in + at, MOST_SENT, &n), FRAMED_OK);
        if (p->in_n - at - FRAMED_LENGTH_SIZE < n) break;
        check_reply(p, p->in + at + FRAMED_LENGTH_SIZE, n);
        at += FRAMED_LENGTH_SIZE + n;
    }
    memmove(p->in, p->in + at, p->in_n - at);
    p->in_n -= at;
}

/* What the peer waits for, having decided what it does next. */
static short peer_wants(struct peer *p, bool draining)
{
    if (below(64) == 0) p->paused = !p->paused;
    if (draining) p->paused = false;
    if (p->out_at == p->out_n && p->bursts > 0) say_more(p);
    if (p->out_at == p->out_n && p->bursts == 0 && !p->finished) {
        (void)shutdown(p->fd, SHUT_WR); /* it may be broken already */
        p->finished = true;
    }
    return (short)((p->paused ? 0 : POLLIN) | (p->out_at < p->out_n ? POLLOUT : 0));
}

/* Waits, and lets every peer do something; returns how many there are. */
static unsigned peers_turn(bool draining)
{
    struct pollfd fds[PEERS];
    unsigned living = 0;
    for (size_t i = 0; i < PEERS; i++) {
        struct peer *p = &world.peers[i];
        if (p->fd < 0 && world.opened < CONNECTIONS && !draining) peer_open(p);
        if (p->fd >= 0 && below(2000) == 0) peer_close(p);
        fds[i] = (struct pollfd){.fd = p->fd};
        if (p->fd < 0) continue;
        fds[i].events = peer_wants(p, draining);
        living++;
    }
    assert_true(poll(fds, PEERS, 2) >= 0);
    for (size_t i = 0; i < PEERS; i++) {
        struct peer *p = &world.peers[i];
        if (p->fd >= 0 && (fds[i].revents & POLLOUT) != 0) peer_send(p);
        if (p->fd >= 0 && (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !p->paused) peer_receive(p);
    }
    return living;
}

/* ---- rounds ---- */

static struct framed_server_config some_config(struct net_workers *workers)
{
    struct framed_server_config config = net_config(handle, workers);
    config.max_frame = LONGEST;
    config.max_send = MOST_SENT;
    config.linger_ms = 300;
    if (below(2)) config.max_calls = (uint32_t)(1 + below(8));
    if (below(2)) config.max_unsent = 1 + below(MOST_SENT);
    if (below(2)) config.max_conns = PEERS / 2;
    if (below(4) == 0) config.call_ms = (uint32_t)(1 + below(30));
    return config;
}

static void one_round(struct net_workers *workers, unsigned drain_after)
{
    struct net_server s;
    net_server_new(&s, some_config(workers));
    for (size_t i = 0; i < 2; i++) {
        net_server_listen(&s, i == 0 ? "127.0.0.1:0" : net_unix("stress"));
        assert_int_equal(framed_server_address(s.server, i, world.addresses[i], NET_ADDRESS_SIZE), FRAMED_OK);
    }
    net_server_run(&s);
    for (size_t i = 0; i < PEERS; i++) world.peers[i].fd = -1;
    world.opened = 0;
    uint64_t until = net_clock_ms() + NET_PATIENCE_MS;
    bool draining = false;
    while (peers_turn(draining) > 0) {
        if (!draining && world.opened >= drain_after) {
            framed_server_drain(s.server);
            draining = true;
        }
        if (net_clock_ms() > until) fail_msg("the peers never end");
    }
    if (!draining) framed_server_drain(s.server);
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    struct framed_server_stats stats = net_stats(&s);
    assert_int_equal(stats.accepted, stats.closed);
    assert_int_equal(stats.connections, 0);
    net_server_free(&s);
}

static void replies_stay_whole_and_in_order_whatever_happens_at_once(void **state)
{
    (void)state;
    struct net_workers workers;
    world.seed = 7 + (uint64_t)net_way;
    world.replies = 0;
    net_workers_start(&workers, 3, answer_task, NULL);
    for (unsigned round = 0; round < ROUNDS; round++)
        one_round(&workers, round % 2 == 0 ? CONNECTIONS + 1 : CONNECTIONS); /* by itself, or while the last are at it */
    net_workers_stop(&workers);
    assert_true(world.replies > 1000); /* else this test showed little */
}

int main(void)
{
    const struct CMUnitTest tests[] = {NET_TEST(replies_stay_whole_and_in_order_whatever_happens_at_once)};
    return NET_RUN("stress", tests);
}
