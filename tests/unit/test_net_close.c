/*
 * test_net_close.c: connections that break off, and connections that the server breaks off, on real sockets.
 * Must not know the insides of the server: only bytes, counters and its log.
 * Invariants: the linger time is so long that no test waits for it; each end that a peer reads here was a half-close.
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

/* ---- connections that are cut ---- */

enum { CUTS = 1000, OPEN_AT_ONCE = 48, FRAMES = 8, CONVERSATION_MOST = FRAMES * (4 + 20000) };

struct cut {
    int fd;
    uint32_t seed;
    size_t len; /* bytes sent of the conversation */
};

/* The conversation of that seed: frames of 0 to 20,000 bytes, mostly small. */
static size_t conversation(uint8_t at[CONVERSATION_MOST], uint32_t seed)
{
    uint64_t dice = seed;
    size_t len = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        size_t n = net_below(&dice, net_below(&dice, 8) == 0 ? 20000 : 300);
        assert_int_equal(framed_length_encode(at + len, n, FRAMED_FRAME_DEFAULT), FRAMED_OK);
        net_fill(at + len + 4, n, seed + i);
        len += 4 + n;
    }
    return len;
}

/* The bytes of the whole frames among the first `len`: what an echo sends back. */
static size_t whole_frames(const uint8_t *at, size_t len)
{
    size_t pos = 0;
    while (len - pos >= 4) {
        uint32_t n = 0;
        assert_int_equal(framed_length_decode(at + pos, FRAMED_FRAME_DEFAULT, &n), FRAMED_OK);
        if (len - pos - 4 < n) break;
        pos += 4 + n;
    }
    return pos;
}

static void cut_begin(struct cut *c, const char *address, uint32_t seed)
{
    static uint8_t bytes[CONVERSATION_MOST];
    uint64_t dice = seed ^ 0xc07u;
    *c = (struct cut){.fd = net_connect(address), .seed = seed};
    c->len = net_below(&dice, conversation(bytes, seed) + 1);
    size_t first = net_below(&dice, c->len + 1);
    net_write(c->fd, bytes, first);
    net_write(c->fd, bytes + first, c->len - first);
}

/* In order: half-close, everything whole is answered, then the end. */
static void cut_end_in_order(struct cut *c)
{
    static uint8_t bytes[CONVERSATION_MOST], back[CONVERSATION_MOST];
    size_t want, got;
    (void)conversation(bytes, c->seed);
    want = whole_frames(bytes, c->len);
    net_finish(c->fd);
    assert_int_equal(net_get(c->fd, back, sizeof back, &got), NET_ENDED);
    assert_int_equal(got, want);
    assert_memory_equal(back, bytes, want);
    assert_int_equal(close(c->fd), 0);
}

static void cut_end(struct cut *c, uint64_t *dice)
{
    switch (net_below(dice, 3)) {
    case 0: net_reset(c->fd); break;
    case 1: assert_int_equal(close(c->fd), 0); break; /* with replies unread: a reset, too, but in the middle of things */
    default: cut_end_in_order(c);
    }
    c->fd = -1;
}

static void echo_or_defer(void *ctx, struct framed_call *call)
{
    if (framed_call_body(call).len % 3 == 0)
        net_defer(ctx, call);
    else
        net_echo(NULL, call);
}

static void a_thousand_connections_cut_anywhere_leave_nothing_behind(void **state)
{
    (void)state;
    struct net_workers workers;
    struct net_server s;
    struct cut open[OPEN_AT_ONCE];
    uint64_t dice = 1000;
    char other[NET_ADDRESS_SIZE];
    net_workers_start(&workers, 2, net_work_echo, NULL);
    net_server_new(&s, net_config(echo_or_defer, &workers));
    net_server_listen(&s, "127.0.0.1:0");
    net_server_listen(&s, net_unix("cut"));
    assert_int_equal(framed_server_address(s.server, 1, other, sizeof other), FRAMED_OK);
    net_server_run(&s);
    for (size_t i = 0; i < OPEN_AT_ONCE; i++) open[i].fd = -1;
    for (uint32_t i = 0; i < CUTS; i++) {
        struct cut *c = &open[net_below(&dice, OPEN_AT_ONCE)];
        if (c->fd >= 0) cut_end(c, &dice);
        cut_begin(c, net_below(&dice, 4) == 0 ? other : s.address, i);
    }
    for (size_t i = 0; i < OPEN_AT_ONCE; i++)
        if (open[i].fd >= 0) cut_end(&open[i], &dice);
    struct framed_client *client = net_client(s.address);
    for (uint32_t i = 0; i < 100; i++) net_call_echo(client, i * 50, i);
    framed_client_free(client);
    net_server_closed(&s, CUTS + 1);
    net_workers_stop(&workers);
    struct framed_server_stats stats = net_stats(&s);
    assert_int_equal(stats.accepted, CUTS + 1);
    assert_int_equal(stats.connections, 0);
    assert_int_equal(stats.deadlines, 0);
    net_server_stop(&s);
}

/* ---- the server closes first ---- */

enum { REPLY_SIZE = 200000, STILL_SENT = 8 << 20 };

/* "r": a reply; anything else fails. */
static void reply_or_fail(void *ctx, struct framed_call *call)
{
    struct framed_bytes body = framed_call_body(call);
    if (body.len == 1 && body.at[0] == 'r')
        (void)framed_call_reply(call, framed_bytes_of(ctx, REPLY_SIZE));
    else
        (void)framed_call_fail(call, FRAMED_CODE_INTERNAL, "on purpose");
}

/* What makes the server close, and what it says then. */
static const struct {
    const char *bytes;
    size_t len;
    const char *log;
} endings[] = {
    {"\0\0\0\1f", 5, "INTERNAL: on purpose"},
    {"\x7f\xff\xff\xff", 4, "a frame of 2147483647 bytes was claimed"},
    {"GET / HTTP/1.1\r\n\r\n", 18, "looks like HTTP"},
};

static void last_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends(void **state)
{
    (void)state;
    uint8_t *reply = net_bytes(REPLY_SIZE, 7), *back = malloc(REPLY_SIZE), *more = calloc(1, STILL_SENT);
    assert_true(back != NULL && more != NULL);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        struct net_server s;
        net_server_start(&s, net_config(reply_or_fail, reply), "127.0.0.1:0");
        int fd = net_connect(s.address);
        net_write_frame(fd, "r", 1);
        net_write(fd, endings[i].bytes, endings[i].len);
        net_write(fd, more, STILL_SENT); /* all of it before the first byte is read */
        assert_int_equal(net_read_frame(fd, back, REPLY_SIZE), REPLY_SIZE);
        assert_memory_equal(back, reply, REPLY_SIZE);
        net_read_end(fd);
        assert_true(net_log_has(&s, endings[i].log));
        assert_true(net_stats(&s).requests <= 2); /* nothing behind the failure was begun */
        assert_int_equal(close(fd), 0);
        net_server_stop(&s);
    }
    free(reply);
    free(back);
    free(more);
}

static void defer_or_fail(void *ctx, struct framed_call *call)
{
    if (framed_call_body(call).at[0] == 'r')
        net_defer(ctx, call);
    else
        (void)framed_call_fail(call, FRAMED_CODE_INTERNAL, "on purpose");
}

static void reply_late(void *ctx, struct net_task task)
{
    (void)framed_call_reply(task.call, framed_bytes_of(ctx, REPLY_SIZE));
}

struct sender {
    int fd;
    const uint8_t *bytes;
};

static void *still_send(void *ctx)
{
    const struct sender *s = ctx;
    if (!net_put(s->fd, s->bytes, STILL_SENT)) net_fault("the peer could not send on");
    return NULL;
}

/* The same, when most of the reply has not even been handed to the system yet. */
static void last_reply_beyond_the_systems_buffers_is_not_lost_either(void **state)
{
    (void)state;
    static const struct net_buffers tiny = {4096, 4096};
    uint8_t *reply = net_bytes(REPLY_SIZE, 7), *back = malloc(REPLY_SIZE), *more = calloc(1, STILL_SENT);
    assert_true(back != NULL && more != NULL);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char address[NET_ADDRESS_SIZE];
        int listener = net_listen("127.0.0.1:0", tiny, address);
        struct net_server s;
        net_server_start(&s, net_config(reply_or_fail, reply), net_fd(listener));
        int fd = net_connect_small(address, tiny);
        net_write_frame(fd, "r", 1);
        net_write(fd, endings[i].bytes, endings[i].len);
        net_log_says(&s, endings[i].log);
        struct sender sender = {fd, more};
        pthread_t sends = net_thread(still_send, &sender);
        assert_int_equal(net_read_frame(fd, back, REPLY_SIZE), REPLY_SIZE);
        assert_memory_equal(back, reply, REPLY_SIZE);
        net_read_end(fd);
        net_join(sends);
        assert_int_equal(close(fd), 0);
        net_server_stop(&s);
    }
    free(reply);
    free(back);
    free(more);
}

/* The same, when the reply comes after the request that made the server close. */
static void deferred_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends(void **state)
{
    (void)state;
    uint8_t *reply = net_bytes(REPLY_SIZE, 7), *back = malloc(REPLY_SIZE), *more = calloc(1, STILL_SENT);
    assert_true(back != NULL && more != NULL);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        struct net_workers workers;
        struct net_server s;
        net_workers_start(&workers, 1, reply_late, reply);
        net_workers_hold(&workers);
        net_server_start(&s, net_config(defer_or_fail, &workers), "127.0.0.1:0");
        int fd = net_connect(s.address);
        net_write_frame(fd, "r", 1);
        net_write(fd, endings[i].bytes, endings[i].len);
        net_log_says(&s, endings[i].log);
        assert_true(net_is_silent(fd)); /* the end does not overtake the reply */
        net_workers_release(&workers);
        net_write(fd, more, STILL_SENT);
        assert_int_equal(net_read_frame(fd, back, REPLY_SIZE), REPLY_SIZE);
        assert_memory_equal(back, reply, REPLY_SIZE);
        net_read_end(fd);
        assert_int_equal(close(fd), 0);
        net_workers_stop(&workers);
        net_server_stop(&s);
    }
    free(reply);
    free(back);
    free(more);
}

/* ---- strangers ---- */

static const struct {
    const char *bytes;
    size_t len;
    const char *what;
} strangers[] = {
    {"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35, "HTTP"},
    {"POST /x HTTP/1.1\r\n", 18, "HTTP"},
    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11, "TLS"},
    {"SSH-2.0-OpenSSH_9.2\r\n", 21, "SSH"},
    {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 37, "the PROXY protocol"},
    {"\x05\x00\x00\x00hello", 9, "a little-endian length"},
};

static void stranger_reads_the_end_is_named_in_the_log_and_disturbs_nobody(void **state)
{
    (void)state;
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), "127.0.0.1:0");
    struct framed_client *client = net_client(s.address);
    for (uint32_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        char name[NET_ADDRESS_SIZE], line[2 * NET_ADDRESS_SIZE];
        int fd = net_connect(s.address);
        net_name(fd, name);
        net_write(fd, strangers[i].bytes, strangers[i].len);
        net_read_end(fd);
        assert_int_equal(net_stats(&s).connections, 2); /* half-closed, not closed */
        assert_int_equal(net_stats(&s).framing_errors, i + 1);
        net_call_echo(client, 1000, i);
        assert_true(net_put(fd, strangers[i].bytes, strangers[i].len)); /* thrown away: nobody resets it */
        net_call_echo(client, 1000, i);
        assert_true(net_put(fd, strangers[i].bytes, strangers[i].len));
        (void)snprintf(line, sizeof line, "%s closed: a frame of", name);
        assert_true(net_log_has(&s, line));
        (void)snprintf(line, sizeof line, "this looks like %s\n", strangers[i].what);
        net_log_says(&s, line);
        assert_int_equal(close(fd), 0);
        net_server_closed(&s, i + 1);
    }
    framed_client_free(client);
    net_server_stop(&s);
}

/* ---- SIGPIPE ---- */

struct gone {
    struct net_count entered;
    struct net_count left;
};

/* Answers once the peer is gone, which the loop cannot have noticed: it is in here. */
static void echo_to_nobody(void *ctx, struct framed_call *call)
{
    struct gone *g = ctx;
    net_add(&g->entered, 1);
    (void)net_reached(&g->left, net_value(&g->entered));
    net_echo(NULL, call);
}

static void sending_to_a_peer_that_is_gone_raises_no_sigpipe(void **state)
{
    static const size_t sizes[] = {1, 1000, 100000}; /* one view, and many */
    (void)state;
    struct gone gone = {NET_COUNT_INIT, NET_COUNT_INIT};
    struct net_server s;
    struct sigaction usual = {.sa_handler = SIG_DFL}, before;
    assert_int_equal(sigaction(SIGPIPE, &usual, &before), 0); /* the process would end */
    net_server_start(&s, net_config(echo_to_nobody, &gone), net_unix("pipe"));
    for (unsigned i = 0; i < 3; i++) {
        int fd = net_connect(s.address);
        uint8_t *bytes = net_bytes(sizes[i], 1);
        net_write_frame(fd, bytes, sizes[i]);
        free(bytes);
        assert_true(net_reached(&gone.entered, i + 1));
        assert_int_equal(close(fd), 0);
        net_add(&gone.left, 1);
        net_server_closed(&s, i + 1);
    }
    net_server_stop(&s);
    assert_int_equal(sigaction(SIGPIPE, &before, NULL), 0);
    assert_true(before.sa_handler == SIG_DFL); /* nor has the library installed a handler */
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(a_thousand_connections_cut_anywhere_leave_nothing_behind),
        NET_TEST(last_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends),
        NET_TEST(last_reply_beyond_the_systems_buffers_is_not_lost_either),
        NET_TEST(deferred_reply_is_not_lost_when_the_server_closes_while_the_peer_still_sends),
        NET_TEST(stranger_reads_the_end_is_named_in_the_log_and_disturbs_nobody),
        NET_TEST(sending_to_a_peer_that_is_gone_raises_no_sigpipe),
    };
    return NET_RUN("server and broken connections", tests);
}
