/*
 * test_net_client.c: the client on real sockets, against our server and against raw peers.
 * Must not know the insides of the client; what a raw peer sees is what counts.
 * Invariants: a raw peer is the test itself wherever order matters; where a deadlock is what is tested, nothing is waited for
 * longer than NET_PATIENCE_MS.
 */
#include "net.h"
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const char *fd_address(int fd)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "fd:%d", fd);
    return text;
}

static struct framed_client *client_with(struct framed_client_config config, const char *address)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, address, NET_PATIENCE_MS), FRAMED_OK);
    return client;
}

/* A client whose peer is the test: `*raw` is the other end. */
static struct framed_client *client_of(struct framed_client_config config, int *raw)
{
    int fds[2];
    net_pair(fds);
    *raw = fds[0];
    return client_with(config, fd_address(fds[1]));
}

static uint64_t start(struct framed_client *client, const char *request, uint32_t timeout_ms)
{
    uint64_t id = 0;
    assert_int_equal(framed_client_start(client, framed_bytes_str(request), timeout_ms, &id), FRAMED_OK);
    return id;
}

static void next_is_reply(struct framed_client *client, uint64_t id, const char *reply)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.outcome, FRAMED_REPLY);
    assert_int_equal(event.call, id);
    assert_int_equal(event.payload.len, strlen(reply));
    assert_memory_equal(event.payload.at, reply, strlen(reply));
}

static void next_is_without_reply(struct framed_client *client, uint64_t id, enum framed_status st,
                                  enum framed_outcome outcome)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.outcome, outcome);
    assert_int_equal(event.status, st);
    assert_int_equal(event.call, id);
}

static void next_is_ended(struct framed_client *client, enum framed_status st)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    assert_int_equal(event.status, st);
    assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), st);
}

static void raw_reads(int raw, const char *request)
{
    uint8_t frame[256];
    assert_int_equal(net_read_frame(raw, frame, sizeof frame), strlen(request));
    assert_memory_equal(frame, request, strlen(request));
}

static void raw_says(int raw, const char *reply)
{
    net_write_frame(raw, reply, strlen(reply));
}

/* ---- calls ---- */

static void blocking_calls_of_every_size_get_their_reply(void **state)
{
    static const size_t sizes[] = {0, 1, 70000, 5 << 20, 0, 65532, 65533, 1};
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("calls")};
    for (size_t i = 0; i < 2; i++) {
        struct net_server s;
        net_server_start(&s, net_config(net_echo, NULL), addresses[i]);
        struct framed_client *client = net_client(s.address);
        for (uint32_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) net_call_echo(client, sizes[k], k);
        assert_int_equal(framed_client_open_calls(client), 0);
        framed_client_free(client);
        net_server_stop(&s);
    }
}

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
        struct framed_client *client = client_with(loads[i].config, s.address);
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
        net_server_start(&s, net_config(net_echo, NULL), fd_address(listener));
        for (size_t k = 0; k < sizeof loads / sizeof loads[0]; k++) {
            struct framed_client *client = client_with(loads[k].config, fd_address(net_connect_small(text, tiny)));
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
        struct framed_client *client = client_with(config, fd_address(net_connect_small(text, tiny)));
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
    struct framed_client *client = client_with(config, s.address);
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
    struct framed_client *client = client_of(config, &raw);
    struct framed_bytes frame;
    assert_int_equal(framed_client_recv(client, 0, &frame), FRAMED_TIMEOUT);
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
    raw_says(raw, "last");
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
    net_server_start(&s, net_config(net_echo, NULL), fd_address(listener));
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
    struct framed_client *client = client_of(net_client_config(), &raw);
    uint64_t id = start(client, "x", 20);
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

/* ---- finishing ---- */

/* The peers here are Unix sockets: a half-close is seen there the moment it is done. */
static void finish_half_closes_only_after_the_last_reply(void **state)
{
    (void)state;
    int raw;
    struct framed_event event;
    struct framed_client *client = client_of(net_client_config(), &raw);
    uint64_t a = start(client, "a", FRAMED_NEVER), b = start(client, "b", FRAMED_NEVER),
             c = start(client, "c", FRAMED_NEVER);
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    raw_reads(raw, "a");
    raw_reads(raw, "b");
    raw_reads(raw, "c");
    assert_true(net_is_silent(raw));
    raw_says(raw, "A");
    next_is_reply(client, a, "A");
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_MORE);
    assert_true(net_is_silent(raw));
    raw_says(raw, "B");
    raw_says(raw, "C");
    next_is_reply(client, b, "B");
    assert_true(net_is_silent(raw));
    next_is_reply(client, c, "C");
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_MORE);
    net_read_end(raw);
    uint64_t id;
    assert_int_equal(framed_client_start(client, framed_bytes_str("d"), 1000, &id), FRAMED_USAGE);
    net_finish(raw);
    next_is_ended(client, FRAMED_CLOSED);
    framed_client_free(client);
    assert_int_equal(close(raw), 0);
}

static void finish_half_closes_at_once_when_nothing_is_open(void **state)
{
    (void)state;
    int raw;
    struct framed_client *client = client_of(net_client_config(), &raw);
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    net_read_end(raw);
    net_finish(raw);
    next_is_ended(client, FRAMED_CLOSED);
    framed_client_free(client);
    assert_int_equal(close(raw), 0);
}

static void finish_towards_our_server_gets_every_reply_and_a_clean_end(void **state)
{
    enum { CALLS = 500 };
    (void)state;
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, 2, net_work_echo, NULL);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    struct framed_client *client = net_client(s.address);
    struct load load = {net_client_config(), CALLS, 0, 100};
    for (uint32_t i = 0; i < CALLS; i++) assert_int_equal(start_numbered(client, &load, i), FRAMED_OK);
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    for (uint32_t i = 0; i < CALLS; i++) {
        struct framed_event event;
        assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
        assert_int_equal(event.outcome, FRAMED_REPLY);
        assert_true(net_filled(event.payload.at, event.payload.len, i));
    }
    next_is_ended(client, FRAMED_CLOSED);
    framed_client_free(client);
    net_workers_stop(&workers);
    net_server_stop(&s);
}

/* ---- timeouts, outcomes ---- */

static void late_reply_of_a_call_that_timed_out_is_thrown_away(void **state)
{
    (void)state;
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, 2, net_work_echo, NULL);
    net_workers_hold(&workers);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    struct framed_client *client = net_client(s.address);
    for (uint32_t i = 0; i < 3; i++) {
        struct framed_event event;
        assert_int_equal(framed_client_call(client, framed_bytes_str("nobody waits for me"), 10, &event), FRAMED_TIMEOUT);
        assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    }
    assert_true(net_reached(&workers.deferred, 3));
    net_workers_release(&workers);
    for (uint32_t i = 0; i < 10; i++) net_call_echo(client, i, i);
    assert_int_equal(net_stats(&s).replies, 13);
    framed_client_free(client);
    net_workers_stop(&workers);
    net_server_stop(&s);
}

static void calls_end_as_not_executed_exactly_when_nothing_of_them_left(void **state)
{
    (void)state;
    int raw;
    struct framed_event event;
    struct framed_client_config config = net_client_config();
    config.max_unsent = 1u << 30;
    struct framed_client *client = client_of(config, &raw);
    size_t n = 4 << 20; /* more than the system takes */
    uint8_t *bytes = net_bytes(n, 1);
    uint64_t a, b, c;
    assert_int_equal(framed_client_start(client, framed_bytes_of(bytes, 10), FRAMED_NEVER, &a), FRAMED_OK);
    assert_int_equal(framed_client_start(client, framed_bytes_of(bytes, n), FRAMED_NEVER, &b), FRAMED_OK);
    assert_int_equal(framed_client_start(client, framed_bytes_of(bytes, 10), FRAMED_NEVER, &c), FRAMED_OK);
    free(bytes);
    assert_int_equal(framed_client_open_calls(client), 3);
    assert_int_equal(close(raw), 0); /* with input unread: a reset */
    next_is_without_reply(client, a, FRAMED_RESET, FRAMED_MAYBE_EXECUTED);
    next_is_without_reply(client, b, FRAMED_RESET, FRAMED_MAYBE_EXECUTED);
    next_is_without_reply(client, c, FRAMED_RESET, FRAMED_NOT_EXECUTED);
    next_is_ended(client, FRAMED_RESET);
    assert_string_not_equal(framed_client_error(client), "");
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_RESET);
    assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    framed_client_free(client);
}

static void call_that_a_peer_reads_and_leaves_unanswered_is_maybe_executed(void **state)
{
    (void)state;
    int raw;
    struct framed_client *client = client_of(net_client_config(), &raw);
    uint64_t a = start(client, "a", FRAMED_NEVER), b = start(client, "b", FRAMED_NEVER);
    raw_reads(raw, "a");
    raw_reads(raw, "b");
    raw_says(raw, "A");
    assert_int_equal(close(raw), 0);
    next_is_reply(client, a, "A");
    next_is_without_reply(client, b, FRAMED_CLOSED, FRAMED_MAYBE_EXECUTED);
    next_is_ended(client, FRAMED_CLOSED);
    framed_client_free(client);
}

static void connect_says_what_is_wrong_and_calls_are_not_executed(void **state)
{
    (void)state;
    char nobody[NET_ADDRESS_SIZE], stale[NET_ADDRESS_SIZE];
    assert_int_equal(close(net_listen("127.0.0.1:0", (struct net_buffers){0}, nobody)), 0);
    assert_int_equal(close(net_listen(net_unix("stale"), (struct net_buffers){0}, stale)), 0);
    char absent[NET_ADDRESS_SIZE];
    (void)snprintf(absent, sizeof absent, "%s", net_unix("absent"));
    const struct {
        const char *address;
        enum framed_status st;
    } cases[] = {
        {nobody, FRAMED_REFUSED},   {stale, FRAMED_REFUSED},    {absent, FRAMED_NOT_FOUND},
        {"nonsense", FRAMED_USAGE}, {"fd:99999", FRAMED_USAGE}, {"", FRAMED_USAGE},
    };
    struct framed_client_config config = net_client_config();
    struct framed_client *client = NULL;
    struct framed_event event;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_USAGE); /* never connected */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum framed_status st = framed_client_connect(client, cases[i].address, NET_PATIENCE_MS);
        if (st != cases[i].st) fail_msg("%s: %s", cases[i].address, framed_status_name(st));
        assert_string_not_equal(framed_client_error(client), "");
        assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), cases[i].st);
        assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
    }
    framed_client_free(client);
    assert_int_equal(unlink(net_path("stale")), 0);
}

static void descriptor_that_listens_is_a_misuse_and_stays_open(void **state)
{
    (void)state;
    char text[NET_ADDRESS_SIZE];
    int listener = net_listen("127.0.0.1:0", (struct net_buffers){0}, text);
    struct framed_client_config config = net_client_config();
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, fd_address(listener), NET_PATIENCE_MS), FRAMED_USAGE);
    framed_client_free(client);
    assert_int_equal(close(listener), 0);
}

static void sending_to_a_peer_that_is_gone_raises_no_sigpipe(void **state)
{
    (void)state;
    struct sigaction usual = {.sa_handler = SIG_DFL}, before;
    assert_int_equal(sigaction(SIGPIPE, &usual, &before), 0); /* the process would end */
    for (size_t n = 1; n < 1000000; n *= 100) {
        int raw;
        struct framed_client *client = client_of(net_client_config(), &raw);
        uint8_t *bytes = net_bytes(n, 1);
        struct framed_event event;
        assert_int_equal(close(raw), 0);
        enum framed_status st = framed_client_call(client, framed_bytes_of(bytes, n), NET_PATIENCE_MS, &event);
        assert_true(st == FRAMED_RESET || st == FRAMED_CLOSED);
        assert_int_equal(event.outcome, FRAMED_NOT_EXECUTED);
        free(bytes);
        framed_client_free(client);
    }
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);
}

/* ---- again ---- */

static void client_reconnects_at_once_when_the_server_is_restarted_on_its_port(void **state)
{
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("restart")};
    for (size_t i = 0; i < 2; i++) {
        char address[NET_ADDRESS_SIZE];
        struct net_server s;
        net_server_start(&s, net_config(net_echo, NULL), addresses[i]);
        (void)snprintf(address, sizeof address, "%s", s.address);
        struct framed_client *client = net_client(address);
        for (uint32_t round = 0; round < 3; round++) {
            net_call_echo(client, 100, round);
            framed_server_drain(s.server); /* it ends first, so TIME_WAIT is on its side */
            next_is_ended(client, FRAMED_CLOSED);
            assert_int_equal(net_server_join(&s), FRAMED_OK);
            net_server_free(&s);
            assert_int_equal(framed_client_reconnect(client, NET_PATIENCE_MS), i == 0 ? FRAMED_REFUSED : FRAMED_NOT_FOUND);
            net_server_start(&s, net_config(net_echo, NULL), address);
            assert_int_equal(framed_client_reconnect(client, NET_PATIENCE_MS), FRAMED_OK);
        }
        net_call_echo(client, 100, 99);
        framed_client_free(client);
        net_server_stop(&s);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(blocking_calls_of_every_size_get_their_reply),
        NET_TEST(many_calls_in_flight_are_answered_and_writable_comes_after_full),
        NET_TEST(any_amount_pipelined_through_tiny_buffers_does_not_deadlock),
        NET_TEST(sending_and_receiving_through_tiny_buffers_does_not_deadlock),
        NET_TEST(frames_sent_to_a_server_without_replies_all_arrive),
        NET_TEST(frames_that_a_peer_pushes_are_received_in_order),
        NET_TEST(client_works_in_somebody_elses_poll_loop),
        NET_TEST(client_in_somebody_elses_loop_is_told_of_a_timeout_and_of_the_end),
        NET_TEST(finish_half_closes_only_after_the_last_reply),
        NET_TEST(finish_half_closes_at_once_when_nothing_is_open),
        NET_TEST(finish_towards_our_server_gets_every_reply_and_a_clean_end),
        NET_TEST(late_reply_of_a_call_that_timed_out_is_thrown_away),
        NET_TEST(calls_end_as_not_executed_exactly_when_nothing_of_them_left),
        NET_TEST(call_that_a_peer_reads_and_leaves_unanswered_is_maybe_executed),
        NET_TEST(connect_says_what_is_wrong_and_calls_are_not_executed),
        NET_TEST(descriptor_that_listens_is_a_misuse_and_stays_open),
        NET_TEST(sending_to_a_peer_that_is_gone_raises_no_sigpipe),
        NET_TEST(client_reconnects_at_once_when_the_server_is_restarted_on_its_port),
    };
    return NET_RUN("client on real sockets", tests);
}
