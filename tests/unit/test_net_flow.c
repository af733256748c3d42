/*
 * test_net_flow.c: a client that sends much: pipelined, through tiny buffers, without correlation, in somebody else's loop.
 * Must not know the insides of the client.
 * Invariants: every payload tells whose it is; where a deadlock is what is tested, nothing is waited for longer than
 * NET_PATIENCE_MS.
 */
#define _GNU_SOURCE
#include "net.h"
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* How many requests, of what size, and how much of it before events are taken. */
struct load {
    struct framed_client_config config;
    uint32_t calls;
    size_t least;
    size_t most;
};

struct progress {
    uint32_t started;
    uint32_t replies;
    uint32_t full;
    uint32_t writable;
};

static size_t load_size(const struct load *load, uint32_t call)
{
    uint64_t dice = call;
    return load->least + net_below(&dice, load->most - load->least + 1);
}

static enum framed_status start_numbered(struct framed_client *client, const struct load *load, uint32_t call)
{
    size_t n = load_size(load, call);
    uint8_t *bytes = net_bytes(n, call);
    uint64_t id;
    enum framed_status st = framed_client_start(client, framed_bytes_of(bytes, n), FRAMED_NEVER, &id);
    free(bytes);
    return st;
}

/* Starts calls until FULL, takes events until there is room again, until every reply is here. */
static struct progress pipeline(struct framed_client *client, const struct load *load)
{
    struct progress p = {0};
    bool full = false;
    while (p.replies < load->calls) {
        while (!full && p.started < load->calls) {
            enum framed_status st = start_numbered(client, load, p.started);
            if (st == FRAMED_OK) p.started++;
            if (st == FRAMED_OK) continue;
            assert_int_equal(st, FRAMED_FULL);
            full = true;
            p.full++;
        }
        struct framed_event event;
        assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
        if (event.kind == FRAMED_EVENT_WRITABLE) {
            assert_true(full);
            full = false;
            p.writable++;
            continue;
        }
        assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
        assert_int_equal(event.outcome, FRAMED_REPLY);
        assert_int_equal(event.payload.len, load_size(load, p.replies));
        assert_true(net_filled(event.payload.at, event.payload.len, p.replies));
        p.replies++;
    }
    return p;
}

static void many_calls_in_flight_are_answered_and_writable_comes_after_full(void **state)
{
    (void)state;
    struct load loads[] = {
        {net_client_config(), 5000, 0, 500},
        {net_client_config(), 2000, 0, 500},
        {net_client_config(), 60, 10000, 300000},
    };
    loads[0].config.max_calls = 16;
    loads[1].config.max_unsent = 4000;
    loads[2].config.max_calls = 2;
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), "127.0.0.1:0");
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        struct framed_client *client = net_client_with(loads[i].config, s.address);
        struct progress p = pipeline(client, &loads[i]);
        if (i != 1) assert_true(p.full > 0); /* whether bytes stay unsent is the system's affair: see the tiny buffers */
        assert_in_range(p.writable, p.full > 0 ? p.full - 1 : 0, p.full);
        framed_client_free(client);
    }
    net_server_stop(&s);
}

/* ---- tiny buffers ---- */

enum { TINY = 4096 };

static const struct net_buffers tiny = {TINY, TINY};

static void any_amount_pipelined_through_tiny_buffers_does_not_deadlock(void **state)
{
    enum { MIB = 24 };
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("tiny")};
    struct load loads[] = {
        {net_client_config(), MIB * 16, 1 << 15, 3 << 15}, /* until FULL, then events */
        {net_client_config(), MIB * 16, 1 << 15, 3 << 15}, /* everything before the first event is taken */
        {net_client_config(), MIB * 4, 0, 1 << 19},
    };
    loads[1].config.max_unsent = 1u << 30;
    for (size_t i = 0; i < 2; i++) {
        char text[NET_ADDRESS_SIZE];
        int listener = net_listen(addresses[i], tiny, text);
        struct net_server s;
        net_server_start(&s, net_config(net_echo, NULL), net_fd(listener));
        for (size_t k = 0; k < sizeof loads / sizeof loads[0]; k++) {
            struct framed_client *client = net_client_with(loads[k].config, net_fd(net_connect_small(text, tiny)));
            struct progress p = pipeline(client, &loads[k]);
            if (k == 0) assert_true(p.full > 0);
            if (k == 1) assert_int_equal(p.full, 0);
            framed_client_free(client);
        }
        net_server_stop(&s);
    }
    assert_int_equal(unlink(net_path("tiny")), 0);
}

/* Sends back what comes, a little at a time, and reads nothing while it writes. */
static void *echo_bytes(void *ctx)
{
    const int *raw = ctx;
    static uint8_t bytes[10000];
    ssize_t n;
    while ((n = recv(*raw, bytes, sizeof bytes, 0)) > 0)
        if (!net_put(*raw, bytes, (size_t)n)) break;
    if (n != 0) net_fault("the raw echo broke off");
    (void)shutdown(*raw, SHUT_WR);
    return NULL;
}

static void exchange(struct framed_client *client, uint32_t frames)
{
    struct load load = {.least = 0, .most = 100000};
    uint32_t sent = 0, received = 0, full = 0;
    while (received < frames) {
        if (sent < frames) {
            size_t n = load_size(&load, sent);
            uint8_t *bytes = net_bytes(n, sent);
            enum framed_status st = framed_client_send(client, framed_bytes_of(bytes, n), NET_PATIENCE_MS);
            free(bytes);
            if (st == FRAMED_OK) sent++;
            if (st == FRAMED_OK) continue;
            assert_int_equal(st, FRAMED_FULL);
            full++;
        }
        struct framed_bytes frame;
        assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_OK);
        assert_int_equal(frame.len, load_size(&load, received));
        assert_true(net_filled(frame.at, frame.len, received));
        received++;
    }
    assert_true(full > 0);
}

static void sending_and_receiving_through_tiny_buffers_does_not_deadlock(void **state)
{
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("tiny")};
    for (size_t i = 0; i < 2; i++) {
        char text[NET_ADDRESS_SIZE];
        int listener = net_listen(addresses[i], tiny, text);
        struct framed_client_config config = net_client_config();
        config.replies = FRAMED_REPLIES_NONE;
        struct framed_client *client = net_client_with(config, net_fd(net_connect_small(text, tiny)));
        int raw = net_accept(listener);
        pthread_t echo = net_thread(echo_bytes, &raw);
        exchange(client, 400);
        assert_int_equal(framed_client_finish(client), FRAMED_OK);
        struct framed_bytes frame;
        assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_CLOSED);
        net_join(echo);
        framed_client_free(client);
        assert_int_equal(close(raw) + close(listener), 0);
    }
    assert_int_equal(unlink(net_path("tiny")), 0);
}

/* ---- without correlation ---- */

static void count_frame(void *ctx, struct framed_call *call)
{
    if (framed_call_body(call).len != 3) net_fault("a frame of %zu bytes", framed_call_body(call).len);
    net_add(ctx, 1);
}

static void frames_sent_to_a_server_without_replies_all_arrive(void **state)
{
    (void)state;
    struct net_count frames = NET_COUNT_INIT;
    struct net_server s;
    struct framed_server_config server_config = net_config(count_frame, &frames);
    server_config.replies = FRAMED_REPLIES_NONE;
    net_server_start(&s, server_config, "127.0.0.1:0");
    struct framed_client_config config = net_client_config();
    config.replies = FRAMED_REPLIES_NONE;
    struct framed_client *client = net_client_with(config, s.address);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(framed_client_send(client, framed_bytes_str("abc"), NET_PATIENCE_MS), FRAMED_OK);
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    struct framed_bytes frame;
    assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_CLOSED);
    assert_int_equal(net_value(&frames), 10000); /* the server's end comes after all of it was read */
    framed_client_free(client);
    net_server_stop(&s);
}

static void frames_that_a_peer_pushes_are_received_in_order(void **state)
{
    (void)state;
    int raw;
    struct framed_client_config config = net_client_config();
    config.replies = FRAMED_REPLIES_NONE;
    struct framed_client *client = net_client_pair(config, &raw);
    struct framed_bytes frame;
    assert_int_equal(framed_client_recv(client, 0, &frame), FRAMED_MORE);
    for (uint32_t i = 0; i < 1000; i++) {
        uint8_t *bytes = net_bytes(i, i);
        net_write_frame(raw, bytes, i);
        free(bytes);
        if (i % 10 != 9) continue;
        for (uint32_t k = i - 9; k <= i; k++) {
            assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_OK);
            assert_int_equal(frame.len, k);
            assert_true(net_filled(frame.at, k, k));
        }
    }
    net_write_frame(raw, "last", 4);
    net_finish(raw);
    assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_OK);
    assert_memory_equal(frame.at, "last", 4);
    assert_int_equal(framed_client_recv(client, NET_PATIENCE_MS, &frame), FRAMED_CLOSED);
    framed_client_free(client);
    assert_int_equal(close(raw), 0);
}

/* ---- in somebody else's loop ---- */

/* One turn of it. Returns whether the socket was ready. */
static bool foreign_turn(struct framed_client *client, unsigned *seen)
{
    struct framed_want want;
    assert_int_equal(framed_client_want(client, &want), FRAMED_OK);
    *seen |= want.events;
    struct pollfd p = {.fd = (int)want.socket};
    if (want.events & FRAMED_WANT_READ) p.events |= POLLIN;
    if (want.events & FRAMED_WANT_WRITE) p.events |= POLLOUT;
    int n = poll(&p, 1, want.timeout_ms < NET_PATIENCE_MS ? (int)want.timeout_ms : NET_PATIENCE_MS);
    assert_true(n > 0 || want.timeout_ms <= NET_PATIENCE_MS); /* else it waits for something that does not come */
    assert_int_equal(framed_client_step(client), FRAMED_OK);
    return n > 0;
}

static void client_works_in_somebody_elses_poll_loop(void **state)
{
    enum { CALLS = 300 };
    (void)state;
    char text[NET_ADDRESS_SIZE];
    int listener = net_listen("127.0.0.1:0", (struct net_buffers){TINY * 16, TINY * 16}, text);
    struct net_server s;
    struct load load = {net_client_config(), CALLS, 0, 60000};
    net_server_start(&s, net_config(net_echo, NULL), net_fd(listener));
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(&load.config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, text, 0), FRAMED_MORE);
    struct progress p = {0};
    bool may_start = false, was_full = false;
    unsigned seen = 0;
    while (p.replies < CALLS) {
        while (may_start && p.started < CALLS) {
            enum framed_status st = start_numbered(client, &load, p.started);
            if (st == FRAMED_OK) p.started++;
            if (st == FRAMED_OK) continue;
            assert_int_equal(st, FRAMED_FULL);
            may_start = false;
            was_full = true;
        }
        (void)foreign_turn(client, &seen);
        struct framed_event event;
        enum framed_status st;
        while ((st = framed_client_next(client, 0, &event)) == FRAMED_OK) {
            if (event.kind == FRAMED_EVENT_WRITABLE) {
                may_start = true;
                continue;
            }
            assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
            assert_int_equal(event.outcome, FRAMED_REPLY);
            assert_int_equal(event.payload.len, load_size(&load, p.replies));
            assert_true(net_filled(event.payload.at, event.payload.len, p.replies));
            p.replies++;
        }
        assert_int_equal(st, FRAMED_MORE);
    }
    assert_true(was_full);
    assert_int_equal(seen, FRAMED_WANT_READ | FRAMED_WANT_WRITE);

    struct framed_want want;
    assert_int_equal(framed_client_want(client, &want), FRAMED_OK);
    assert_int_equal(want.events, FRAMED_WANT_READ); /* it would spin else: there is always room to write now */
    framed_client_free(client);
    net_server_stop(&s);
}

static void client_in_somebody_elses_loop_is_told_of_a_timeout_and_of_the_end(void **state)
{
    (void)state;
    int raw;
    unsigned seen = 0;
    struct framed_event event;
    struct framed_client *client = net_client_pair(net_client_config(), &raw);
    uint64_t id = 0;
    assert_int_equal(framed_client_start(client, framed_bytes_str("x"), 20, &id), FRAMED_OK);
    enum framed_status st;
    while ((st = framed_client_next(client, 0, &event)) == FRAMED_MORE) assert_false(foreign_turn(client, &seen));
    assert_int_equal(st, FRAMED_OK);
    assert_int_equal(event.call, id);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    net_finish(raw);
    while ((st = framed_client_next(client, 0, &event)) == FRAMED_MORE) (void)foreign_turn(client, &seen);
    assert_int_equal(st, FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, FRAMED_CLOSED);
    framed_client_free(client);
    assert_int_equal(close(raw), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(many_calls_in_flight_are_answered_and_writable_comes_after_full),
        NET_TEST(any_amount_pipelined_through_tiny_buffers_does_not_deadlock),
        NET_TEST(sending_and_receiving_through_tiny_buffers_does_not_deadlock),
        NET_TEST(frames_sent_to_a_server_without_replies_all_arrive),
        NET_TEST(frames_that_a_peer_pushes_are_received_in_order),
        NET_TEST(client_works_in_somebody_elses_poll_loop),
        NET_TEST(client_in_somebody_elses_loop_is_told_of_a_timeout_and_of_the_end),
    };
    return NET_RUN("client with much to send", tests);
}
