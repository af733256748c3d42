/*
 * test_net_client.c: the client on real sockets, against our server and against raw peers.
 * Must not know the insides of the client; what a raw peer sees is what counts.
 * Invariant: wherever order matters, the raw peer is the test itself. How much can flow is asked in test_net_flow.c.
 */
#define _GNU_SOURCE
#include "net.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

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

/* ---- finishing ---- */

/* The peers here are Unix sockets: a half-close is seen there the moment it is done. */
static void finish_half_closes_only_after_the_last_reply(void **state)
{
    (void)state;
    int raw;
    struct framed_event event;
    struct framed_client *client = net_client_pair(net_client_config(), &raw);
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

static void finish_waits_for_the_late_reply_of_a_call_that_timed_out(void **state)
{
    (void)state;
    int raw;
    struct framed_event event;
    struct framed_client *client = net_client_pair(net_client_config(), &raw);
    uint64_t a = start(client, "a", 10);
    next_is_without_reply(client, a, FRAMED_TIMEOUT, FRAMED_MAYBE_EXECUTED);
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_MORE);
    raw_reads(raw, "a");
    assert_true(net_is_silent(raw));
    raw_says(raw, "A");
    assert_int_equal(framed_client_next(client, 0, &event), FRAMED_MORE);
    net_read_end(raw);
    net_finish(raw);
    next_is_ended(client, FRAMED_CLOSED);
    framed_client_free(client);
    assert_int_equal(close(raw), 0);
}

static void finish_half_closes_at_once_when_nothing_is_open(void **state)
{
    (void)state;
    int raw;
    struct framed_client *client = net_client_pair(net_client_config(), &raw);
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
    for (uint32_t i = 0; i < CALLS; i++) {
        uint8_t bytes[100];
        uint64_t id;
        net_fill(bytes, i % 100, i);
        assert_int_equal(framed_client_start(client, framed_bytes_of(bytes, i % 100), FRAMED_NEVER, &id), FRAMED_OK);
    }
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    for (uint32_t i = 0; i < CALLS; i++) {
        struct framed_event event;
        assert_int_equal(framed_client_next(client, NET_PATIENCE_MS, &event), FRAMED_OK);
        assert_int_equal(event.outcome, FRAMED_REPLY);
        assert_int_equal(event.payload.len, i % 100);
        assert_true(net_filled(event.payload.at, i % 100, i));
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
    struct framed_client *client = net_client_pair(config, &raw);
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
    struct framed_client *client = net_client_pair(net_client_config(), &raw);
    uint64_t a = start(client, "a", FRAMED_NEVER), b = start(client, "b", FRAMED_NEVER);
    assert_int_equal(framed_client_step(client), FRAMED_OK); /* b leaves with the next turn */
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
    assert_int_equal(framed_client_connect(client, net_fd(listener), NET_PATIENCE_MS), FRAMED_USAGE);
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
        struct framed_client *client = net_client_pair(net_client_config(), &raw);
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
        NET_TEST(finish_half_closes_only_after_the_last_reply),
        NET_TEST(finish_waits_for_the_late_reply_of_a_call_that_timed_out),
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
