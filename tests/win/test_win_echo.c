/*
 * test_win_echo.c: one server and a hundred clients of the library in one program: ten echoes each, then a drain.
 * Must not know the system it runs on; it stands for tests/unit/test_net*, which speak through POSIX sockets.
 * Invariant: every wait has a limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <framed/framed.h>

#include "os.h"

enum { CLIENTS = 100, ROUNDS = 10, LARGEST = 70000, WAIT_MS = 60000 };

static const size_t sizes[] = {0, 1, 100, LARGEST};

/* ---- the server, on a thread of its own ---- */

static struct {
    struct framed_server *server;
    struct os_thread *thread;
    enum framed_status ended;
    char address[128];
} serving;

static void echo(void *ctx, struct framed_call *call)
{
    (void)ctx;
    (void)framed_call_reply(call, framed_call_body(call));
}

static void serve(void *ctx)
{
    (void)ctx;
    serving.ended = framed_server_run(serving.server);
}

static void serving_open(void)
{
    struct framed_server_config config;
    framed_server_config_init(&config, sizeof config);
    config.handler = echo;
    assert_int_equal(framed_server_new(&config, &serving.server), FRAMED_OK);
    assert_int_equal(framed_server_listen(serving.server, "127.0.0.1:0"), FRAMED_OK);
    assert_int_equal(framed_server_address(serving.server, 0, serving.address, sizeof serving.address), FRAMED_OK);
}

static void serving_begin(void)
{
    serving_open();
    assert_int_equal(framed_os_thread_start(&serving.thread, serve, NULL), FRAMED_OK);
}

static struct framed_server_stats serving_drain(void)
{
    framed_server_drain(serving.server);
    framed_os_thread_join(serving.thread);
    assert_int_equal(serving.ended, FRAMED_OK);
    struct framed_server_stats stats;
    framed_server_stats(serving.server, &stats, sizeof stats);
    framed_server_free(serving.server);
    return stats;
}

/* ---- the clients ---- */

static struct framed_client *connected(void)
{
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, serving.address, WAIT_MS), FRAMED_OK);
    return client;
}

/* What client c sends in round r: bytes that no other client sends at the same place. */
static struct framed_bytes message(unsigned c, unsigned r)
{
    static uint8_t at[LARGEST];
    size_t n = sizes[(c + r) % (sizeof sizes / sizeof sizes[0])];
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(i * 31 + c * 7 + r);
    return framed_bytes_of(at, n);
}

static void compare(struct framed_client *client, unsigned c, unsigned r, uint64_t id)
{
    struct framed_bytes sent = message(c, r);
    struct framed_event event;
    do assert_int_equal(framed_client_next(client, WAIT_MS, &event), FRAMED_OK);
    while (event.kind == FRAMED_EVENT_WRITABLE);
    assert_int_equal(event.kind, FRAMED_EVENT_REPLY);
    assert_int_equal(event.outcome, FRAMED_REPLY);
    assert_int_equal(event.call, id);
    assert_int_equal(event.payload.len, sent.len);
    if (sent.len > 0) assert_memory_equal(event.payload.at, sent.at, sent.len);
}

static void finish(struct framed_client *client)
{
    struct framed_event event = {0};
    assert_int_equal(framed_client_finish(client), FRAMED_OK);
    while (event.kind != FRAMED_EVENT_ENDED) assert_int_equal(framed_client_next(client, WAIT_MS, &event), FRAMED_OK);
    assert_int_equal(event.status, FRAMED_CLOSED);
}

/* ---- tests ---- */

/* Every other client finishes by itself; the drain ends the others. */
static void a_hundred_clients_are_echoed_and_drained(void **state)
{
    (void)state;
    static struct framed_client *clients[CLIENTS];
    static uint64_t ids[CLIENTS];
    serving_begin();
    for (unsigned c = 0; c < CLIENTS; c++) clients[c] = connected();
    for (unsigned r = 0; r < ROUNDS; r++) {
        for (unsigned c = 0; c < CLIENTS; c++)
            assert_int_equal(framed_client_start(clients[c], message(c, r), WAIT_MS, &ids[c]), FRAMED_OK);
        for (unsigned c = 0; c < CLIENTS; c++) compare(clients[c], c, r, ids[c]);
    }
    for (unsigned c = 0; c < CLIENTS; c += 2) finish(clients[c]);
    struct framed_server_stats stats = serving_drain();
    assert_int_equal(stats.requests, CLIENTS * ROUNDS);
    assert_int_equal(stats.replies, CLIENTS * ROUNDS);
    assert_int_equal(stats.accepted, CLIENTS);
    assert_int_equal(stats.closed, CLIENTS);
    for (unsigned c = 0; c < CLIENTS; c++) framed_client_free(clients[c]);
}

static void a_blocking_call_is_answered(void **state)
{
    (void)state;
    struct framed_event event;
    serving_begin();
    struct framed_client *client = connected();
    assert_int_equal(framed_client_call(client, framed_bytes_str("hello"), WAIT_MS, &event), FRAMED_OK);
    assert_int_equal(event.payload.len, 5);
    assert_memory_equal(event.payload.at, "hello", 5);
    framed_client_free(client);
    (void)serving_drain();
}

static void connecting_where_nobody_listens_any_more_is_refused(void **state)
{
    (void)state;
    serving_begin();
    (void)serving_drain();
    struct framed_client *client = NULL;
    assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, serving.address, WAIT_MS), FRAMED_REFUSED);
    framed_client_free(client);
}

static void nobody_can_listen_where_somebody_does(void **state)
{
    (void)state;
    serving_open();
    assert_int_equal(framed_server_listen(serving.server, serving.address), FRAMED_IN_USE);
    framed_server_free(serving.server);
}

static void unix_sockets_and_descriptors_are_told_to_be_unsupported(void **state)
{
    (void)state;
    serving_open();
    assert_int_equal(framed_server_listen(serving.server, "unix:C:\\framed"), FRAMED_UNSUPPORTED);
    assert_int_equal(framed_server_listen(serving.server, "fd:3"), FRAMED_UNSUPPORTED);
    framed_server_free(serving.server);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hundred_clients_are_echoed_and_drained),
        cmocka_unit_test(a_blocking_call_is_answered),
        cmocka_unit_test(connecting_where_nobody_listens_any_more_is_refused),
        cmocka_unit_test(nobody_can_listen_where_somebody_does),
        cmocka_unit_test(unix_sockets_and_descriptors_are_told_to_be_unsupported),
    };
    return cmocka_run_group_tests_name("library on Winsock", tests, NULL, NULL);
}
