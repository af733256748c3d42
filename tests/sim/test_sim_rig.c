/*
 * test_sim_rig.c: owns the proof that the simulated world does what os.h promises, and what sim.h says beyond that.
 * Must not know anything above os.h.
 * Invariants: each test is one world; nothing here takes real time.
 */
#include "sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WHERE "127.0.0.1:4464"

/* An echo on bare os.h: the smallest thing that uses all of it. */
struct echo {
    struct os_socket socket; /* first: the callbacks get it back */
    uint8_t held[1024];
    struct framed_bytes view;
    struct echo_server *server;
    bool ended;
};

struct echo_server {
    struct os_socket socket;
    struct os_poller *poller;
    struct echo conns[4];
    size_t count;
    size_t receives;
    size_t biggest;
    enum framed_status last;
    struct sim_actor *actor;
};

static void echo_closed(struct os_socket *s)
{
    memset(s, 0, sizeof *s);
}

static void echo_ask(struct echo *e)
{
    assert_int_equal(framed_os_receive(&e->socket, NULL, 0), FRAMED_OK);
}

static void echo_send(struct echo *e)
{
    if (e->view.len == 0)
        echo_ask(e);
    else
        assert_int_equal(framed_os_send(&e->socket, &e->view, 1), FRAMED_OK);
}

static void echo_sent(struct os_socket *s, enum framed_status st, size_t n)
{
    struct echo *e = (struct echo *)s;
    if (st != FRAMED_OK) {
        e->server->last = st;
        framed_os_close(s);
        return;
    }
    e->view.at += n;
    e->view.len -= n;
    echo_send(e);
}

static void echo_received(struct os_socket *s, enum framed_status st, uint8_t *at, size_t n)
{
    struct echo *e = (struct echo *)s;
    e->server->last = st;
    if (st != FRAMED_OK) {
        framed_os_close(s);
        return;
    }
    e->server->receives++;
    if (n > e->server->biggest) e->server->biggest = n;
    assert_true(n <= sizeof e->held);
    memcpy(e->held, at, n);
    e->view = framed_bytes_of(e->held, n);
    size_t taken = 0;
    if (framed_os_offer(s, &e->view, 1, &taken) != FRAMED_OK) {
        framed_os_close(s);
        return;
    }
    e->view.at += taken;
    e->view.len -= taken;
    echo_send(e);
}

static const struct os_socket_ops conn_ops = {.received = echo_received, .sent = echo_sent, .closed = echo_closed};

static void echo_accepted(struct os_socket *s, enum framed_status st, intptr_t handle, const struct os_address *peer)
{
    struct echo_server *server = (struct echo_server *)s;
    server->last = st;
    if (st == FRAMED_OK) {
        struct echo *e = &server->conns[server->count++];
        char text[OS_ADDRESS_TEXT_SIZE];
        framed_os_address_text(peer, text, sizeof text);
        assert_memory_equal(text, "127.0.0.1:", 10);
        e->server = server;
        e->socket.ops = &conn_ops;
        assert_int_equal(framed_os_attach(server->poller, &e->socket, handle), FRAMED_OK);
        echo_ask(e);
    }
    if (st == FRAMED_OK) assert_int_equal(framed_os_accept(s), FRAMED_OK);
}

static const struct os_socket_ops listen_ops = {.accepted = echo_accepted, .closed = echo_closed};

static void echo_start(struct echo_server *server)
{
    struct os_address at, bound;
    size_t n = 1;
    memset(server, 0, sizeof *server);
    server->socket.ops = &listen_ops;
    assert_int_equal(framed_os_resolve("127.0.0.1", "4464", true, &at, &n), FRAMED_OK);
    assert_int_equal(framed_os_poller_open(&server->poller, FRAMED_WAIT_BEST, framed_os_allocator()), FRAMED_OK);
    assert_int_equal(framed_os_listen(server->poller, &server->socket, &at, &bound), FRAMED_OK);
    assert_int_equal(framed_os_accept(&server->socket), FRAMED_OK);
}

static void echo_stop(struct echo_server *server)
{
    sim_actor_stop(server->actor);
    framed_os_close(&server->socket);
    for (size_t i = 0; i < server->count; i++) {
        if (server->conns[i].socket.ops) framed_os_close(&server->conns[i].socket);
    }
    assert_int_equal(framed_os_wait(server->poller, 0), FRAMED_OK);
    framed_os_poller_close(server->poller);
}

static void echo_run(void *ctx)
{
    struct echo_server *server = ctx;
    while (framed_os_wait(server->poller, OS_FOREVER) == FRAMED_OK) {}
}

static void assert_received(struct sim_peer *peer, const char *text)
{
    struct framed_bytes got = sim_peer_received(peer);
    assert_int_equal(got.len, strlen(text));
    assert_memory_equal(got.at, text, got.len);
}

static void sim_carries_bytes_both_ways(void **state)
{
    struct echo_server server;
    (void)state;
    sim_start(0);
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    struct sim_peer *peer = sim_connect(WHERE);
    sim_peer_send(peer, "hello", 5);
    sim_run_ms(0);
    assert_received(peer, "hello");
    assert_int_equal(sim_now_ms(), 0);
    echo_stop(&server);
    sim_stop();
}

static void sim_passes_the_end_and_a_reset_on(void **state)
{
    struct echo_server server;
    (void)state;
    sim_start(0);
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    struct sim_peer *ends = sim_connect(WHERE), *resets = sim_connect(WHERE);
    sim_peer_send(ends, "x", 1);
    sim_peer_finish(ends);
    sim_run_ms(0);
    assert_int_equal(server.last, FRAMED_CLOSED);
    assert_received(ends, "x");
    assert_int_equal(sim_peer_state(ends), SIM_ENDED);
    assert_true(sim_peer_let_go(ends));
    sim_peer_reset(resets);
    sim_run_ms(0);
    assert_int_equal(server.last, FRAMED_RESET);
    echo_stop(&server);
    sim_stop();
}

static void sim_resets_whoever_is_left_with_unread_input(void **state)
{
    struct echo_server server;
    (void)state;
    sim_start(0);
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    struct sim_peer *peer = sim_connect(WHERE);
    sim_peer_stop_reading(peer);
    sim_peer_send(peer, "lost", 4);
    sim_run_ms(0);
    framed_os_close(&server.conns[0].socket);
    sim_peer_send(peer, "too late", 8);
    sim_run_ms(0);
    sim_peer_start_reading(peer);
    assert_int_equal(sim_peer_state(peer), SIM_RESET);
    assert_received(peer, "");
    echo_stop(&server);
    sim_stop();
}

static void sim_bounds_what_a_connection_holds(void **state)
{
    struct echo_server server;
    (void)state;
    sim_start(0);
    sim_capacity(10);
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    struct sim_peer *peer = sim_connect(WHERE);
    sim_peer_stop_reading(peer);
    sim_peer_send(peer, "0123456789abcdefghijklmnopqrstuvwxyz", 36);
    sim_run_ms(0);
    /* ten bytes on the way back, ten in the hands of the echo, ten on the way there */
    assert_int_equal(sim_peer_unsent(peer), 6);
    sim_peer_read_more(peer, 4);
    sim_run_ms(0);
    assert_received(peer, "0123");
    sim_peer_start_reading(peer);
    sim_run_ms(0);
    assert_received(peer, "0123456789abcdefghijklmnopqrstuvwxyz");
    echo_stop(&server);
    sim_stop();
}

static void sim_follows_scripts_of_short_reads_and_writes(void **state)
{
    struct echo_server server;
    const size_t receives[] = {3, 0, 1}, sends[] = {0, 2};
    (void)state;
    sim_start(0);
    sim_script(SIM_ACCEPTOR,
               &(struct sim_script){.receives = receives, .receive_count = 3, .sends = sends, .send_count = 2});
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    struct sim_peer *peer = sim_connect(WHERE);
    sim_peer_send(peer, "abcdefgh", 8);
    sim_run_ms(0);
    assert_received(peer, "abcdefgh");
    assert_int_equal(server.receives, 4); /* abc d efg h */
    assert_int_equal(server.biggest, 3);
    echo_stop(&server);
    sim_stop();
}

static void sim_cuts_where_the_script_says(void **state)
{
    const enum sim_peer_state ends[] = {[SIM_CUT_END] = SIM_ENDED, [SIM_CUT_RESET] = SIM_RESET, [SIM_CUT_SILENT] = SIM_OPEN};
    (void)state;
    for (int cut = SIM_CUT_END; cut <= SIM_CUT_SILENT; cut++) {
        struct echo_server server;
        sim_start(0);
        sim_script(SIM_ACCEPTOR, &(struct sim_script){.cut = (enum sim_cut)cut, .cut_after = 3});
        echo_start(&server);
        server.actor = sim_add_actor(echo_run, &server);
        struct sim_peer *peer = sim_connect(WHERE);
        sim_peer_send(peer, "abcdefgh", 8);
        sim_run_ms(0);
        assert_received(peer, "abc");
        assert_int_equal(sim_peer_state(peer), ends[cut]);
        echo_stop(&server);
        sim_stop();
    }
}

static void sim_fails_the_nth_time(void **state)
{
    struct echo_server server;
    (void)state;
    sim_start(0);
    sim_fail(OP_ACCEPTED, 2, FRAMED_LIMIT);
    echo_start(&server);
    server.actor = sim_add_actor(echo_run, &server);
    (void)sim_connect(WHERE);
    struct sim_peer *second = sim_connect(WHERE);
    sim_run_ms(0);
    assert_int_equal(server.count, 1);
    assert_int_equal(server.last, FRAMED_LIMIT);
    assert_int_equal(sim_failures_reached(), 1);
    /* the connection stayed where it was, and is there when somebody asks again */
    assert_int_equal(framed_os_accept(&server.socket), FRAMED_OK);
    sim_fail(OP_RECEIVED, 1, FRAMED_OS);
    sim_peer_send(second, "x", 1);
    sim_run_ms(0);
    assert_int_equal(server.count, 2);
    assert_int_equal(server.last, FRAMED_OS);
    assert_int_equal(sim_peer_state(second), SIM_RESET);
    echo_stop(&server);
    sim_stop();
}

static void note_time(void *ctx)
{
    *(uint64_t *)ctx = sim_now_ms();
}

static void sim_time_moves_only_while_all_wait(void **state)
{
    struct os_poller *poller;
    uint64_t noted = 0;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_os_poller_open(&poller, FRAMED_WAIT_BEST, framed_os_allocator()), FRAMED_OK);
    uint64_t before = framed_os_clock_ns();
    sim_at(40, note_time, &noted);
    assert_int_equal(framed_os_wait(poller, 100), FRAMED_OK);
    assert_int_equal(framed_os_clock_ns() - before, 100 * UINT64_C(1000000));
    assert_int_equal(noted, 40);
    framed_os_wake(poller);
    assert_int_equal(framed_os_wait(poller, OS_FOREVER), FRAMED_OK);
    assert_int_equal(sim_now_ms(), 100);
    framed_os_sleep_ms(7);
    assert_int_equal(sim_now_ms(), 107);
    framed_os_poller_close(poller);
    sim_stop();
}

struct napper {
    struct os_poller *poller;
    uint64_t woke_ms[4];
    size_t n;
};

static void nap(void *ctx)
{
    struct napper *napper = ctx;
    for (napper->n = 0; napper->n < 3; napper->n++) {
        napper->woke_ms[napper->n] = sim_now_ms();
        assert_int_equal(framed_os_wait(napper->poller, 30), FRAMED_OK);
    }
    framed_os_sleep_ms(30);
    napper->woke_ms[3] = sim_now_ms();
}

static void sim_wakes_an_actor_when_its_timeout_is_due(void **state)
{
    struct napper napper = {0};
    (void)state;
    sim_start(0);
    assert_int_equal(framed_os_poller_open(&napper.poller, FRAMED_WAIT_BEST, framed_os_allocator()), FRAMED_OK);
    struct sim_actor *actor = sim_add_actor(nap, &napper);
    sim_run_ms(1000);
    assert_true(sim_actor_done(actor));
    const uint64_t due[] = {0, 30, 60, 120};
    assert_memory_equal(napper.woke_ms, due, sizeof due);
    framed_os_poller_close(napper.poller);
    sim_stop();
}

/* A client's side on bare os.h. */
struct caller {
    struct os_socket socket;
    enum framed_status connected, received;
    char got[16];
    size_t len;
    bool told, closed;
};

static void caller_connected(struct os_socket *s, enum framed_status st)
{
    ((struct caller *)s)->connected = st;
    ((struct caller *)s)->told = true;
}

static void caller_received(struct os_socket *s, enum framed_status st, uint8_t *at, size_t n)
{
    struct caller *c = (struct caller *)s;
    c->received = st;
    if (st == FRAMED_OK) memcpy(c->got, at, n);
    c->len = n;
}

static void caller_closed(struct os_socket *s)
{
    ((struct caller *)s)->closed = true;
}

static const struct os_socket_ops caller_ops = {
    .connected = caller_connected, .received = caller_received, .closed = caller_closed};

static enum framed_status dial(struct os_poller *poller, struct caller *c, const char *port)
{
    struct os_address to;
    size_t n = 1;
    memset(c, 0, sizeof *c);
    c->socket.ops = &caller_ops;
    assert_int_equal(framed_os_resolve("127.0.0.1", port, false, &to, &n), FRAMED_OK);
    assert_int_equal(framed_os_connect(poller, &c->socket, &to), FRAMED_OK);
    assert_int_equal(framed_os_wait(poller, 1000), FRAMED_OK);
    return c->told ? c->connected : FRAMED_TIMEOUT;
}

static void sim_connects_refuses_and_swallows(void **state)
{
    struct os_poller *poller;
    struct caller c;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_os_poller_open(&poller, FRAMED_WAIT_BEST, framed_os_allocator()), FRAMED_OK);
    assert_int_equal(dial(poller, &c, "1"), FRAMED_REFUSED);
    framed_os_close(&c.socket);
    assert_int_equal(framed_os_wait(poller, 0), FRAMED_OK);
    assert_true(c.closed);
    assert_int_equal(sim_now_ms(), 0);

    sim_blackhole("127.0.0.1:2");
    assert_int_equal(dial(poller, &c, "2"), FRAMED_TIMEOUT);
    assert_int_equal(sim_now_ms(), 1000);
    framed_os_close(&c.socket);
    assert_int_equal(framed_os_wait(poller, 0), FRAMED_OK);

    struct sim_acceptor *acceptor = sim_listen("127.0.0.1:3");
    assert_int_equal(dial(poller, &c, "3"), FRAMED_OK);
    struct sim_peer *peer = sim_accept(acceptor);
    assert_non_null(peer);
    sim_peer_send(peer, "hi", 2);
    char dest[16];
    assert_int_equal(framed_os_receive(&c.socket, (uint8_t *)dest, sizeof dest), FRAMED_OK);
    assert_int_equal(framed_os_wait(poller, OS_FOREVER), FRAMED_OK);
    assert_int_equal(c.len, 2);
    assert_memory_equal(dest, "hi", 2);
    framed_os_close(&c.socket);
    assert_int_equal(framed_os_wait(poller, 0), FRAMED_OK);
    framed_os_poller_close(poller);
    sim_stop();
}

static void sim_is_the_same_for_the_same_seed(void **state)
{
    size_t receives[3];
    (void)state;
    for (int run = 0; run < 3; run++) {
        struct echo_server server;
        sim_start(run < 2 ? 7 : 8);
        echo_start(&server);
        server.actor = sim_add_actor(echo_run, &server);
        struct sim_peer *peer = sim_connect(WHERE);
        for (int i = 0; i < 100; i++) {
            sim_peer_send(peer, "0123456789", 10);
            sim_run_ms(0);
        }
        receives[run] = server.receives;
        assert_int_equal(sim_peer_received(peer).len, 1000);
        echo_stop(&server);
        sim_stop();
    }
    assert_int_equal(receives[0], receives[1]);
    assert_int_not_equal(receives[0], receives[2]);
}

static void sim_writes_addresses_as_the_platforms_do(void **state)
{
    struct os_address address;
    struct os_host host;
    char text[OS_ADDRESS_TEXT_SIZE];
    size_t n = 1;
    (void)state;
    sim_start(0);
    assert_int_equal(framed_os_resolve("::1", "80", false, &address, &n), FRAMED_OK);
    framed_os_address_text(&address, text, sizeof text);
    assert_string_equal(text, "[::1]:80");
    uint16_t port_of_it = framed_os_address_host(&address, &host);
    framed_os_host_text(&host, port_of_it, text, sizeof text);
    assert_string_equal(text, "[::1]:80");
    assert_int_equal(framed_os_resolve("192.0.2.7", "81", false, &address, &n), FRAMED_OK);
    port_of_it = framed_os_address_host(&address, &host);
    framed_os_host_text(&host, port_of_it, text, sizeof text);
    assert_string_equal(text, "192.0.2.7:81");
    assert_int_equal(framed_os_address_unix("/tmp/x", &address), FRAMED_OK);
    framed_os_address_text(&address, text, sizeof text);
    assert_string_equal(text, "unix:/tmp/x");
    port_of_it = framed_os_address_host(&address, &host);
    framed_os_host_text(&host, port_of_it, text, sizeof text);
    assert_string_equal(text, "unix");
    assert_int_equal(framed_os_resolve("nowhere.test", "80", false, &address, &n), FRAMED_NOT_FOUND);
    sim_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sim_carries_bytes_both_ways),
        cmocka_unit_test(sim_passes_the_end_and_a_reset_on),
        cmocka_unit_test(sim_resets_whoever_is_left_with_unread_input),
        cmocka_unit_test(sim_bounds_what_a_connection_holds),
        cmocka_unit_test(sim_follows_scripts_of_short_reads_and_writes),
        cmocka_unit_test(sim_cuts_where_the_script_says),
        cmocka_unit_test(sim_fails_the_nth_time),
        cmocka_unit_test(sim_time_moves_only_while_all_wait),
        cmocka_unit_test(sim_wakes_an_actor_when_its_timeout_is_due),
        cmocka_unit_test(sim_connects_refuses_and_swallows),
        cmocka_unit_test(sim_is_the_same_for_the_same_seed),
        cmocka_unit_test(sim_writes_addresses_as_the_platforms_do),
    };
    return cmocka_run_group_tests_name("sim_rig", tests, NULL, NULL);
}
