/*
 * echo.c: one server and a hundred clients of the library in one program: ten echoes each, then a drain.
 * Must not know the system it runs on: tests/win/run.sh runs it under Wine, and it is no less true elsewhere.
 * Invariants: every wait has a limit; each of the checks below is counted once, as passed or as failed.
 */
#include <framed/framed.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

enum { CLIENTS = 100, ROUNDS = 10, LARGEST = 70000, WAIT_MS = 60000 };

static const size_t sizes[] = {0, 1, 100, LARGEST};

static unsigned passed;
static unsigned failed;

static bool expect(bool truth, const char *what, const char *why)
{
    if (truth) {
        passed++;
        return true;
    }
    failed++;
    printf("failed: %s (%s)\n", what, why);
    return false;
}

static bool expect_status(enum framed_status status, enum framed_status wanted, const char *what)
{
    return expect(status == wanted, what, framed_status_name(status));
}

/* ---- the server, on a thread of its own ---- */

struct serving {
    struct framed_server *server;
    enum framed_status ended;
    char address[128];
};

static void echo(void *ctx, struct framed_call *call)
{
    (void)ctx;
    (void)framed_call_reply(call, framed_call_body(call));
}

static void log_line(void *ctx, enum framed_log_level level, const char *line)
{
    (void)ctx;
    if (level == FRAMED_LOG_WARNING) printf("server: %s\n", line);
}

static void serve(void *ctx)
{
    struct serving *s = ctx;
    s->ended = framed_server_run(s->server);
}

static bool unix_is_told(struct framed_server *server)
{
#ifdef _WIN32
    return expect_status(framed_server_listen(server, "unix:C:\\framed"), FRAMED_UNSUPPORTED, "no Unix sockets on Windows");
#else
    (void)server;
    return true;
#endif
}

static bool serving_open(struct serving *s)
{
    struct framed_server_config config;
    framed_server_config_init(&config, sizeof config);
    config.handler = echo;
    config.log = log_line;
    return expect_status(framed_server_new(&config, &s->server), FRAMED_OK, "a server is made") &&
           expect_status(framed_server_listen(s->server, "127.0.0.1:0"), FRAMED_OK, "it listens") &&
           expect_status(framed_server_address(s->server, 0, s->address, sizeof s->address), FRAMED_OK, "it tells where") &&
           expect_status(framed_server_listen(s->server, s->address), FRAMED_IN_USE, "nobody can listen there again") &&
           unix_is_told(s->server);
}

/* ---- the clients ---- */

/* What client c sends in round r: bytes that no other client sends at the same place. */
static struct framed_bytes message(uint8_t *at, unsigned c, unsigned r)
{
    size_t n = sizes[(c + r) % (sizeof sizes / sizeof sizes[0])];
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(i * 31 + c * 7 + r);
    return framed_bytes_of(at, n);
}

static void start(struct framed_client *client, unsigned c, unsigned r, uint64_t *id)
{
    static uint8_t request[LARGEST];
    expect_status(framed_client_start(client, message(request, c, r), WAIT_MS, id), FRAMED_OK, "a call is begun");
}

static void compare(struct framed_client *client, unsigned c, unsigned r, uint64_t id)
{
    static uint8_t request[LARGEST];
    struct framed_bytes sent = message(request, c, r);
    struct framed_event event;
    enum framed_status st = framed_client_next(client, WAIT_MS, &event);
    while (st == FRAMED_OK && event.kind == FRAMED_EVENT_WRITABLE) st = framed_client_next(client, WAIT_MS, &event);
    bool same = st == FRAMED_OK && event.kind == FRAMED_EVENT_REPLY && event.outcome == FRAMED_REPLY && event.call == id &&
                event.payload.len == sent.len && (sent.len == 0 || memcmp(event.payload.at, sent.at, sent.len) == 0);
    expect(same, "the reply is the request",
           st != FRAMED_OK ? framed_client_error(client) : "another reply, or other bytes");
}

static void finish(struct framed_client *client)
{
    struct framed_event event = {0};
    enum framed_status st = framed_client_finish(client);
    while (st == FRAMED_OK && event.kind != FRAMED_EVENT_ENDED) st = framed_client_next(client, WAIT_MS, &event);
    expect(st == FRAMED_OK && event.status == FRAMED_CLOSED, "the connection ends cleanly", framed_client_error(client));
}

/* Every other client finishes by itself; the drain ends the others. */
static void hundred_clients(const char *address)
{
    static struct framed_client *clients[CLIENTS];
    static uint64_t ids[CLIENTS];
    unsigned n = 0;
    for (; n < CLIENTS; n++) {
        if (!expect_status(framed_client_new(NULL, &clients[n]), FRAMED_OK, "a client is made")) break;
        enum framed_status st = framed_client_connect(clients[n], address, WAIT_MS);
        if (!expect(st == FRAMED_OK, "it connects", framed_client_error(clients[n]))) break;
    }
    for (unsigned r = 0; r < ROUNDS && n == CLIENTS; r++) {
        for (unsigned c = 0; c < n; c++) start(clients[c], c, r, &ids[c]);
        for (unsigned c = 0; c < n; c++) compare(clients[c], c, r, ids[c]);
    }
    for (unsigned c = 0; c < n; c += 2) finish(clients[c]);
    for (unsigned c = 0; c < CLIENTS; c++) framed_client_free(clients[c]);
}

static void blocking_call(const char *address)
{
    struct framed_client *client = NULL;
    struct framed_event event;
    if (!expect_status(framed_client_new(NULL, &client), FRAMED_OK, "a client is made")) return;
    expect_status(framed_client_connect(client, address, WAIT_MS), FRAMED_OK, "it connects");
    enum framed_status st = framed_client_call(client, framed_bytes_str("hello"), WAIT_MS, &event);
    expect(st == FRAMED_OK && event.payload.len == 5 && memcmp(event.payload.at, "hello", 5) == 0, "a call is answered",
           framed_status_name(st));
    framed_client_free(client);
}

static void refused(const char *address)
{
    struct framed_client *client = NULL;
    if (!expect_status(framed_client_new(NULL, &client), FRAMED_OK, "a client is made")) return;
    expect_status(framed_client_connect(client, address, WAIT_MS), FRAMED_REFUSED, "nobody listens there any more");
    framed_client_free(client);
}

int main(void)
{
    static struct serving s;
    struct os_thread *thread = NULL;
    (void)setvbuf(stdout, NULL, _IONBF, 0);
    if (serving_open(&s) &&
        expect_status(framed_os_thread_start(&thread, serve, &s), FRAMED_OK, "a thread is started for it")) {
        hundred_clients(s.address);
        blocking_call(s.address);
        framed_server_drain(s.server);
        framed_os_thread_join(thread);
        expect_status(s.ended, FRAMED_OK, "the drain ends every connection");
        struct framed_server_stats stats;
        framed_server_stats(s.server, &stats, sizeof stats);
        expect(stats.requests == CLIENTS * ROUNDS + 1 && stats.replies == stats.requests, "every request is counted",
               "stats");
        expect(stats.accepted == CLIENTS + 1 && stats.closed == stats.accepted, "every connection is counted", "stats");
    }
    framed_server_free(s.server);
    refused(s.address);
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
