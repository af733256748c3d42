/*
 * test_sim_tunnel_attacks.c: owns the proof of what a server does with those who attack an encrypted connection (PROTOCOL.md §9): whoever
 * lies on the way, records, guesses, or pretends to be somebody.
 * Must not know how it is done.
 * Invariants: each test is one world, or one after the other; the other end is made by hand (tunnel.h) and lies where the test
 * says so.
 */
#include "tunnel.h"

/* ---- bits of the handshake ---- */

/* Whatever has been changed: nothing reaches the handler, and the connection is over at the latest when its time is. */
static void assert_turned_away(struct hand *a, struct house *h)
{
    if (sim_peer_state(a->peer) == SIM_OPEN) sim_run_ms(5100);
    assert_int_equal(sim_peer_state(a->peer), SIM_ENDED);
    assert_int_equal(h->rig.started, 0);
    sim_peer_close(a->peer);
    hand_end(a);
}

static void no_bit_of_the_first_flight_may_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand all = hand_of(FRAMED_CONNECTOR, keyed[i]);
        hand_compose(&all);
        for (size_t bit = 0; bit < 8 * all.flight_len; bit++) {
            struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
            a.peer = connected();
            hand_compose(&a);
            a.flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
            hand_send_raw(&a, a.flight, a.flight_len);
            struct framed_bytes got = sim_peer_received(a.peer);
            if (got.len > PREFACE) { /* XX has nothing to prove yet: the change shows when message 2 is read */
                assert_int_equal(keyed[i], FRAMED_PINNED_KEYS);
                sim_peer_take(a.peer, PREFACE);
                assert_int_equal(hand_hear(&a), FRAMED_AUTH);
                sim_peer_finish(a.peer);
                sim_run_ms(0);
            }
            assert_turned_away(&a, &h);
        }
        assert_int_equal(h.judged, 0);
        hand_end(&all);
        house_stop(&h);
    }
}

static void no_bit_of_message_3_may_change(void **state)
{
    (void)state;
    for (size_t i = 1; i < KEYED; i++) {
        struct house h;
        size_t bits = 1;
        house_serves(&h, keyed[i]);
        for (size_t bit = 0; bit < bits; bit++) {
            struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
            hand_knock(&a);
            bits = 8 * a.flight_len;
            a.flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
            sim_peer_send(a.peer, a.flight, a.flight_len);
            hand_ask(&a, "request");
            assert_int_equal(sim_peer_received(a.peer).len, 0);
            assert_turned_away(&a, &h);
        }
        assert_int_equal(bits, 8 * 68);
        assert_int_equal(h.judged, 0);
        house_stop(&h);
    }
}

/* ---- replay ---- */

/* ---- strangers ---- */

static void strangers_at_a_port_that_wants_keys_hear_nothing(void **state)
{
    static const struct {
        const char *says;
        size_t len;
    } strangers[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27},
        {"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 11},
        {"\0\0\0\x05hello", 9},
        {"\0\0\0\0", 4},
        {"SSH-2.0-x\r\n", 11},
        {"\x8f\x10\xc3\x77\x01\x02\x03\x04\x05", 9},
        {"\xf7\x46\x01\x10\0\0\0\x04\x3b\x44\xc1\x92", 12}, /* checksums */
        {"\xf7\x46\x01\0\0\0\0\0", 8},
        {"\xf7\x66\x01\x90\0\0\0\0", 8}, /* a mirror */
        {"\xf7\x46\x01\x81\0\0\0\0", 8}, /* a session */
        {"\xf7\x46\x02\x90\0\0\0\0", 8},
    };
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        for (size_t k = 0; k < sizeof strangers / sizeof *strangers; k++) {
            for (size_t piece = 1; piece <= strangers[k].len; piece += strangers[k].len - 1) {
                struct hand a = {.peer = connected()};
                for (size_t n = 0; n < strangers[k].len; n += piece) hand_send_raw(&a, strangers[k].says + n, piece);
                assert_hand_cut(&a);
                sim_peer_finish(a.peer);
                sim_run_ms(0);
                assert_true(sim_peer_let_go(a.peer));
            }
        }
        assert_int_equal(h.rig.started, 0);
        assert_int_equal(h.judged, 0);
        house_stop(&h);
    }
}

/*
 * What one that has proven nothing makes the server hold: all that is allocated for its connection from its first byte on (the block of
 * a busy connection, the opening, the handshake, our answer), whatever it sends, byte by byte. Its slot among the connections and its address
 * are had before, by any that has connected.
 */
enum { HELD_MOST = 4096 };

static void stranger_makes_the_server_hold_little(void **state)
{
    size_t most = 0;
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        a.peer = connected();
        sim_run_ms(0);
        uint64_t before = rig_stats(&h.rig).memory;
        hand_compose(&a);
        for (size_t n = 0; n < a.flight_len; n++) {
            hand_send_raw(&a, a.flight + n, 1);
            uint64_t now = rig_stats(&h.rig).memory;
            if (now > before && now - before > most) most = (size_t)(now - before);
        }
        uint8_t much[3000];
        memset(much, 0xff, sizeof much);
        hand_send_raw(&a, much, sizeof much);
        assert_true(rig_stats(&h.rig).memory <= before + HELD_MOST);
        hand_end(&a);
        house_stop(&h);
    }
    print_message("a stranger's connection holds %zu bytes at most, of which a handshake's state is %zu\n", most,
                  sizeof(struct framed_handshake));
    assert_in_range(most, 1, HELD_MOST);
    assert_true(sizeof(struct framed_handshake) + sizeof(struct framed_opening) <= 1024);
}

/* ---- who it is ---- */

static void unknown_client_is_told_so_and_asks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_start(&h, only(keyed[i]));
        h.nobody = keyed[i] == FRAMED_SHARED_KEY;
        rig_serve(&h.rig);
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        memcpy(a.identity.secret, ring()->secret[STRANGER].bytes, NOISE_KEY_SIZE);
        memcpy(a.identity.public, ring()->public[STRANGER].bytes, NOISE_KEY_SIZE);
        hand_knock(&a);
        sim_peer_send(a.peer, a.flight, a.flight_len);
        hand_ask(&a, "request");
        assert_hand_closed(&a, 1);
        hand_ask(&a, "request");
        assert_int_equal(h.rig.started, 0);
        assert_int_equal(h.judged, 1);
        assert_int_equal(rig_logged(&h.rig, "the peer's key is not allowed here"), 1);
        hand_end(&a);
        house_stop(&h);
    }
}

/* The server's secret was stolen: with it alone nobody is one of its clients. */
static void servers_own_secret_makes_nobody_a_client(void **state)
{
    (void)state;
    for (size_t i = 1; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        memcpy(a.identity.secret, ring()->secret[SERVER].bytes, NOISE_KEY_SIZE); /* and the client's public key */
        hand_knock(&a);
        sim_peer_send(a.peer, a.flight, a.flight_len);
        hand_ask(&a, "request");
        assert_hand_cut(&a);
        hand_end(&a);
        struct hand b = hand_of(FRAMED_CONNECTOR, keyed[i]); /* and as itself */
        memcpy(b.identity.secret, ring()->secret[SERVER].bytes, NOISE_KEY_SIZE);
        memcpy(b.identity.public, ring()->public[SERVER].bytes, NOISE_KEY_SIZE);
        b.peer = connected();
        hand_compose(&b);
        hand_send_raw(&b, b.flight, b.flight_len);
        sim_peer_take(b.peer, PREFACE);
        assert_int_equal(hand_hear(&b), FRAMED_AUTH); /* a key of its own: it goes no further */
        hand_end(&b);
        assert_int_equal(h.judged, 0);
        assert_int_equal(h.rig.started, 0);
        house_stop(&h);
    }
}

/* ---- which ids there are ---- */

struct effort {
    size_t bytes;
    uint8_t said[16];
    uint64_t calls, frees, ops, asked;
    size_t held;
    char line[RIG_LINE];
};

static struct effort effort_of(enum framed_protection p, const char *id, const struct framed_key *shared)
{
    struct house h;
    struct effort e = {0};
    house_serves(&h, p);
    struct hand a = hand_of(FRAMED_CONNECTOR, p);
    a.id = id;
    a.shared = *shared;
    a.peer = connected();
    sim_run_ms(0);
    hand_compose(&a);
    struct meter_count before = meter_read(sim_meter());
    uint64_t ops = 0;
    for (int op = 0; op < OP_COUNT; op++) ops += sim_ops((enum sim_op)op);
    hand_send_raw(&a, a.flight, a.flight_len);
    struct meter_count after = meter_read(sim_meter());
    for (int op = 0; op < OP_COUNT; op++) e.ops += sim_ops((enum sim_op)op);
    e.ops -= ops;
    e.calls = after.calls - before.calls;
    e.frees = after.frees - before.frees;
    e.held = after.in_use - before.in_use;
    e.asked = h.asked;
    e.bytes = sim_peer_received(a.peer).len;
    assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
    assert_in_range(e.bytes, 0, sizeof e.said);
    if (e.bytes > 0) memcpy(e.said, sim_peer_received(a.peer).at, e.bytes);
    const char *why = strstr(h.rig.lines[0], "closed: ");
    assert_non_null(why);
    snprintf(e.line, sizeof e.line, "%s", why);
    assert_int_equal(h.rig.started, 0);
    hand_end(&a);
    house_stop(&h);
    return e;
}

static void unknown_id_is_answered_like_a_wrong_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i += 2) {
        struct effort wrong = effort_of(keyed[i], KEY_ID, &ring()->other);
        const char *const ids[] = {"client-8", "CLIENT-7", "admin\n\x1b!"};
        for (size_t k = 0; k < 3; k++) {
            struct effort unknown = effort_of(keyed[i], ids[k], &ring()->shared);
            assert_memory_equal(&unknown, &wrong, sizeof wrong);
        }
        assert_true(wrong.bytes <= PREFACE);
        assert_int_equal(wrong.asked, 1);
    }
}

/* ---- ephemerals ---- */

static void no_key_of_the_servers_comes_twice(void **state)
{
    static uint8_t seen[300][NOISE_KEY_SIZE];
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_SHARED_KEY) | only(FRAMED_PINNED_KEYS) | only(FRAMED_SHARED_AND_PINNED));
    rig_serve(&h.rig);
    for (size_t i = 0; i < 300; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i % KEYED]);
        a.peer = connected();
        hand_compose(&a);
        hand_send_raw(&a, a.flight, a.flight_len);
        struct framed_bytes got = sim_peer_received(a.peer);
        assert_true(got.len >= PREFACE + FRAMED_LENGTH_SIZE + NOISE_KEY_SIZE);
        memcpy(seen[i], got.at + PREFACE + FRAMED_LENGTH_SIZE, NOISE_KEY_SIZE);
        for (size_t k = 0; k < i; k++) assert_memory_not_equal(seen[k], seen[i], NOISE_KEY_SIZE);
        sim_peer_close(a.peer);
        hand_end(&a);
    }
    house_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_bit_of_the_first_flight_may_change),
        cmocka_unit_test(no_bit_of_message_3_may_change),
        cmocka_unit_test(strangers_at_a_port_that_wants_keys_hear_nothing),
        cmocka_unit_test(stranger_makes_the_server_hold_little),
        cmocka_unit_test(unknown_client_is_told_so_and_asks_nothing),
        cmocka_unit_test(servers_own_secret_makes_nobody_a_client),
        cmocka_unit_test(unknown_id_is_answered_like_a_wrong_key),
        cmocka_unit_test(no_key_of_the_servers_comes_twice),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_attacks", tests, NULL, NULL);
}
