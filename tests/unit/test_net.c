/*
 * test_net.c: where a server listens, and how it ends, on real sockets.
 * Must not know the insides of the server: only addresses, bytes and counters.
 * Invariants: the linger time is so long that no test waits for it; who answers what is decided by the tests, not by speed.
 */
#define _GNU_SOURCE
#include "net.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- addresses ---- */

static void serve_and_call(const char *address, const char *begins)
{
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), address);
    assert_int_equal(strncmp(s.address, begins, strlen(begins)), 0);
    struct framed_client *client = net_client(s.address);
    for (uint32_t i = 0; i < 20; i++) net_call_echo(client, i * i * 100, i);
    framed_client_free(client);
    net_server_stop(&s);
}

static void server_is_called_by_ipv4(void **state)
{
    (void)state;
    serve_and_call("127.0.0.1:0", "127.0.0.1:");
}

static void server_is_called_by_name(void **state)
{
    (void)state;
    serve_and_call("localhost:0", "");
}

static void server_is_called_by_ipv6(void **state)
{
    (void)state;
    if (net_has_ipv6()) {
        serve_and_call("[::1]:0", "[::1]:");
        return;
    }
    struct net_server s; /* a machine without it says so, and nothing else */
    net_server_new(&s, net_config(net_echo, NULL));
    enum framed_status st = framed_server_listen(s.server, "[::1]:0");
    assert_true(st == FRAMED_UNREACHABLE || st == FRAMED_UNSUPPORTED);
    net_server_free(&s);
}

static void server_is_called_by_unix_path(void **state)
{
    (void)state;
    serve_and_call(net_unix("socket"), net_unix("socket"));
    assert_int_equal(access(net_path("socket"), F_OK), -1); /* removed by framed_server_free */
}

static void server_listens_on_several_addresses_at_once(void **state)
{
    (void)state;
    struct net_server s;
    char text[NET_ADDRESS_SIZE];
    net_server_new(&s, net_config(net_echo, NULL));
    net_server_listen(&s, "127.0.0.1:0");
    net_server_listen(&s, net_unix("one"));
    net_server_listen(&s, "127.0.0.1:0");
    net_server_run(&s);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(framed_server_address(s.server, i, text, sizeof text), FRAMED_OK);
        struct framed_client *client = net_client(text);
        net_call_echo(client, 10, 1);
        framed_client_free(client);
    }
    assert_int_equal(framed_server_address(s.server, 3, text, sizeof text), FRAMED_USAGE);
    net_server_stop(&s);
}

static void listening_descriptor_is_taken_over_and_its_path_is_left_alone(void **state)
{
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("theirs")};
    for (size_t i = 0; i < 2; i++) {
        char text[NET_ADDRESS_SIZE];
        int listener = net_listen(addresses[i], (struct net_buffers){0}, text);
        struct net_server s;
        net_server_start(&s, net_config(net_echo, NULL), net_fd(listener));
        assert_string_equal(s.address, text);
        struct framed_client *client = net_client(s.address);
        net_call_echo(client, 1000, 1);
        framed_client_free(client);
        net_server_stop(&s);
    }
    assert_int_equal(unlink(net_path("theirs")), 0);
}

/* ---- listening that fails ---- */

static void listen_says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        enum framed_status st;
    } cases[] = {
        {"", FRAMED_USAGE},
        {"127.0.0.1", FRAMED_USAGE},
        {":80", FRAMED_USAGE},
        {"127.0.0.1:", FRAMED_USAGE},
        {"127.0.0.1:65536", FRAMED_USAGE},
        {"127.0.0.1:http", FRAMED_USAGE},
        {"::1:80", FRAMED_USAGE},
        {"[::1]80", FRAMED_USAGE},
        {"unix:", FRAMED_USAGE},
        {"fd:", FRAMED_USAGE},
        {"fd:-1", FRAMED_USAGE},
        {"fd:2x", FRAMED_USAGE},
        {"fd:999999", FRAMED_USAGE},
        {"unix:/no/such/directory/socket", FRAMED_NOT_FOUND},
        {"192.0.2.1:0", FRAMED_UNREACHABLE}, /* RFC 5737: nobody's, so not this machine's */
    };
    struct net_server s;
    net_server_new(&s, net_config(net_echo, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum framed_status st = framed_server_listen(s.server, cases[i].address);
        if (st != cases[i].st) fail_msg("%s: %s", cases[i].address, framed_status_name(st));
    }
    assert_int_equal(framed_server_run(s.server), FRAMED_USAGE); /* on nothing */
    net_server_free(&s);
}

static void listen_on_a_descriptor_of_the_wrong_kind_is_a_misuse_and_leaves_it_open(void **state)
{
    (void)state;
    int pair[2], file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    net_pair(pair);
    struct net_server s;
    net_server_new(&s, net_config(net_echo, NULL));
    assert_int_equal(framed_server_listen(s.server, net_fd(pair[0])), FRAMED_USAGE);
    assert_int_equal(framed_server_listen(s.server, net_fd(file)), FRAMED_USAGE);
    net_server_free(&s);
    assert_int_equal(close(pair[0]) + close(pair[1]) + close(file), 0);
}

static void listen_on_an_address_in_use_says_so_and_harms_nobody(void **state)
{
    (void)state;
    const char *const addresses[] = {"127.0.0.1:0", net_unix("taken")};
    for (size_t i = 0; i < 2; i++) {
        struct net_server first, second;
        net_server_start(&first, net_config(net_echo, NULL), addresses[i]);
        net_server_new(&second, net_config(net_echo, NULL));
        assert_int_equal(framed_server_listen(second.server, first.address), FRAMED_IN_USE);
        net_server_free(&second);
        struct framed_client *client = net_client(first.address); /* its path is there still */
        net_call_echo(client, 10, 1);
        framed_client_free(client);
        net_server_stop(&first);
    }
}

static void unix_path_of_a_server_that_died_is_replaced(void **state)
{
    (void)state;
    char text[NET_ADDRESS_SIZE];
    assert_int_equal(close(net_listen(net_unix("stale"), (struct net_buffers){0}, text)), 0);
    assert_int_equal(access(net_path("stale"), F_OK), 0);
    serve_and_call(text, text);
    assert_int_equal(access(net_path("stale"), F_OK), -1);
}

static void path_that_is_no_socket_is_not_removed(void **state)
{
    (void)state;
    struct net_server s;
    int fd = open(net_path("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "precious", 8), 8);
    net_server_new(&s, net_config(net_echo, NULL));
    assert_int_equal(framed_server_listen(s.server, net_unix("file")), FRAMED_IN_USE);
    net_server_free(&s);
    struct stat about;
    assert_int_equal(fstat(fd, &about), 0);
    assert_int_equal(about.st_nlink, 1);
    assert_int_equal(about.st_size, 8);
    assert_int_equal(close(fd) + unlink(net_path("file")), 0);
}

/* ---- drain ---- */

static void write_numbered(int fd, unsigned n)
{
    uint8_t bytes[16 * 200];
    size_t len = 0;
    assert_true(n <= 200);
    for (unsigned i = 0; i < n; i++) { /* in one piece, so that one receive of the server brings all of it */
        assert_int_equal(framed_length_encode(bytes + len, 12, 12), FRAMED_OK);
        net_fill(bytes + len + 4, 12, i);
        len += 16;
    }
    net_write(fd, bytes, len);
}

static void read_numbered_and_the_end(int fd, unsigned n)
{
    uint8_t reply[12];
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(net_read_frame(fd, reply, sizeof reply), 12);
        assert_true(net_filled(reply, 12, i));
    }
    net_read_end(fd);
    assert_int_equal(close(fd), 0);
}

static void drain_answers_requests_in_flight_and_deferred(void **state)
{
    enum { PEERS = 10, CALLS = 50 };
    (void)state;
    struct net_workers workers;
    struct net_server s;
    net_workers_start(&workers, 2, net_work_echo, NULL);
    net_workers_hold(&workers);
    net_server_start(&s, net_config(net_defer, &workers), "127.0.0.1:0");
    int fds[PEERS];
    for (unsigned i = 0; i < PEERS; i++) write_numbered(fds[i] = net_connect(s.address), CALLS);
    assert_true(net_reached(&workers.deferred, PEERS * CALLS));
    framed_server_drain(s.server);
    net_log_says(&s, "drained");
    net_workers_release(&workers);
    for (unsigned i = 0; i < PEERS; i++) read_numbered_and_the_end(fds[i], CALLS);
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    assert_int_equal(net_stats(&s).replies, PEERS * CALLS);
    assert_int_equal(net_stats(&s).connections, 0);
    net_server_free(&s);
    net_workers_stop(&workers);
}

static void drain_answers_requests_that_were_read_and_not_begun(void **state)
{
    (void)state;
    struct net_workers workers;
    struct net_server s;
    struct framed_server_config config = net_config(net_defer, &workers);
    config.max_calls = 4;
    net_workers_start(&workers, 2, net_work_echo, NULL);
    net_workers_hold(&workers);
    net_server_start(&s, config, "127.0.0.1:0");
    int fd = net_connect(s.address);
    write_numbered(fd, 20);
    assert_true(net_reached(&workers.deferred, 4));
    framed_server_drain(s.server);
    net_workers_release(&workers);
    read_numbered_and_the_end(fd, 20);
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    net_server_free(&s);
    net_workers_stop(&workers);
}

static void drain_ends_idle_connections_and_cut_frames(void **state)
{
    (void)state;
    struct net_server s;
    net_server_start(&s, net_config(net_echo, NULL), "127.0.0.1:0");
    int idle = net_connect(s.address), cut = net_connect(s.address);
    net_write_frame(idle, "", 0);
    net_write(cut, "\0\0\0\0\0\0\0\5abc", 11);
    uint8_t none[1];
    assert_int_equal(net_read_frame(idle, none, 1), 0);
    assert_int_equal(net_read_frame(cut, none, 1), 0);
    framed_server_drain(s.server);
    net_read_end(idle);
    net_read_end(cut);
    assert_int_equal(close(idle) + close(cut), 0);
    assert_int_equal(net_server_join(&s), FRAMED_OK);
    net_server_free(&s);
}

static void drain_before_run_makes_run_return(void **state)
{
    (void)state;
    struct net_server s;
    net_server_new(&s, net_config(net_echo, NULL));
    net_server_listen(&s, "127.0.0.1:0");
    framed_server_drain(s.server);
    assert_int_equal(framed_server_run(s.server), FRAMED_OK);
    net_server_free(&s);
}

static struct framed_server *signalled;

static void drain_on_signal(int number)
{
    (void)number;
    framed_server_drain(signalled);
}

static void raise_and_echo(void *ctx, struct framed_call *call)
{
    net_echo(ctx, call);
    (void)raise(SIGUSR1);
}

enum whose_signal { THE_TESTS_THREAD, THE_LOOPS_THREAD, INSIDE_A_HANDLER };

static void signal_now(struct net_server *s, enum whose_signal whose, int fd)
{
    if (whose == THE_TESTS_THREAD) assert_int_equal(raise(SIGUSR1), 0);
    if (whose == THE_LOOPS_THREAD) assert_int_equal(pthread_kill(s->thread, SIGUSR1), 0);
    if (whose == INSIDE_A_HANDLER) write_numbered(fd, 1);
}

static void drain_from_a_signal_handler_ends_the_server(void **state)
{
    (void)state;
    struct sigaction drain = {.sa_handler = drain_on_signal}, before;
    assert_int_equal(sigaction(SIGUSR1, &drain, &before), 0);
    for (enum whose_signal whose = THE_TESTS_THREAD; whose <= INSIDE_A_HANDLER; whose++) {
        struct net_server s;
        net_server_start(&s, net_config(whose == INSIDE_A_HANDLER ? raise_and_echo : net_echo, NULL), "127.0.0.1:0");
        signalled = s.server;
        int fd = net_connect(s.address);
        if (whose != INSIDE_A_HANDLER) { /* the loop is running, then */
            uint8_t reply[12];
            write_numbered(fd, 1);
            assert_int_equal(net_read_frame(fd, reply, sizeof reply), 12);
        }
        signal_now(&s, whose, fd);
        read_numbered_and_the_end(fd, whose == INSIDE_A_HANDLER ? 1 : 0);
        assert_int_equal(net_server_join(&s), FRAMED_OK);
        net_server_free(&s);
    }
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        NET_TEST(server_is_called_by_ipv4),
        NET_TEST(server_is_called_by_name),
        NET_TEST(server_is_called_by_ipv6),
        NET_TEST(server_is_called_by_unix_path),
        NET_TEST(server_listens_on_several_addresses_at_once),
        NET_TEST(listening_descriptor_is_taken_over_and_its_path_is_left_alone),
        NET_TEST(listen_says_what_is_wrong),
        NET_TEST(listen_on_a_descriptor_of_the_wrong_kind_is_a_misuse_and_leaves_it_open),
        NET_TEST(listen_on_an_address_in_use_says_so_and_harms_nobody),
        NET_TEST(unix_path_of_a_server_that_died_is_replaced),
        NET_TEST(path_that_is_no_socket_is_not_removed),
        NET_TEST(drain_answers_requests_in_flight_and_deferred),
        NET_TEST(drain_answers_requests_that_were_read_and_not_begun),
        NET_TEST(drain_ends_idle_connections_and_cut_frames),
        NET_TEST(drain_before_run_makes_run_return),
        NET_TEST(drain_from_a_signal_handler_ends_the_server),
    };
    return NET_RUN("server on real sockets", tests);
}
