/*
 * test_net_restart.c: owns the proof that a server can take over a Unix path from one that ends.
 * Must not know the insides of the server: only paths, calls and addresses.
 * Invariants: the old server is never freed before the new one listens; nothing sleeps but to look again.
 */
#define _GNU_SOURCE
#include "net.h"
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static void wait_until_gone(const char *path)
{
    uint64_t until = net_clock_ms() + NET_PATIENCE_MS;
    while (access(path, F_OK) == 0) {
        if (net_clock_ms() > until) fail_msg("%s is still there", path);
        (void)poll(NULL, 0, 1);
    }
}

static void call_once(const char *address, uint32_t seed)
{
    struct framed_client *client = net_client(address);
    net_call_echo(client, 1000, seed);
    framed_client_free(client);
}

static void unix_path_belongs_to_the_next_server_once_the_last_one_has_drained(void **state)
{
    (void)state;
    struct net_server last, next;
    net_server_start(&last, net_config(net_echo, NULL), net_unix("restart"));
    call_once(net_unix("restart"), 1);
    assert_int_equal(net_server_drain(&last), FRAMED_OK);
    assert_int_equal(access(net_path("restart"), F_OK), -1);
    net_server_start(&next, net_config(net_echo, NULL), net_unix("restart"));
    net_server_free(&last);
    assert_int_equal(access(net_path("restart"), F_OK), 0); /* this one is not the last server's any more */
    call_once(net_unix("restart"), 2);
    net_server_stop(&next);
    assert_int_equal(access(net_path("restart"), F_OK), -1);
}

static void unix_path_is_free_for_the_next_server_while_the_last_one_still_answers(void **state)
{
    (void)state;
    struct net_server last, next;
    struct net_workers workers;
    uint8_t reply[8];
    net_workers_start(&workers, 1, net_work_echo, NULL);
    net_workers_hold(&workers);
    net_server_start(&last, net_config(net_defer, &workers), net_unix("restart"));
    int peer = net_connect(net_unix("restart"));
    net_write_frame(peer, "late", 4);
    assert_true(net_reached(&workers.deferred, 1));

    framed_server_drain(last.server);
    wait_until_gone(net_path("restart"));
    net_server_start(&next, net_config(net_echo, NULL), net_unix("restart"));
    call_once(net_unix("restart"), 1);

    net_workers_release(&workers);
    assert_int_equal(net_read_frame(peer, reply, sizeof reply), 4);
    net_read_end(peer);
    assert_int_equal(close(peer), 0);
    assert_int_equal(net_server_join(&last), FRAMED_OK);
    net_server_free(&last);
    net_workers_stop(&workers);
    call_once(net_unix("restart"), 2);
    net_server_stop(&next);
}

static void unix_path_of_a_server_that_never_ran_is_removed_when_it_is_freed(void **state)
{
    (void)state;
    struct net_server s;
    net_server_new(&s, net_config(net_echo, NULL));
    net_server_listen(&s, net_unix("restart"));
    assert_int_equal(access(net_path("restart"), F_OK), 0);
    net_server_free(&s);
    assert_int_equal(access(net_path("restart"), F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(unix_path_belongs_to_the_next_server_once_the_last_one_has_drained),
        NET_TEST(unix_path_is_free_for_the_next_server_while_the_last_one_still_answers),
        NET_TEST(unix_path_of_a_server_that_never_ran_is_removed_when_it_is_freed),
    };
    return NET_RUN("restart", tests);
}
