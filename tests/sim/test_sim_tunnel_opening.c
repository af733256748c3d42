/*
 * test_sim_tunnel_opening.c: owns the proof of how an opening with keys meets what surrounds it: what is still being sent, what comes
 * in one piece with its last byte, deadlines that are not its own, and the words when it ends between its messages and its proof.
 * Must not know: the library's insides.
 * Invariants: each test is one world, or one after the other; the other end is made by hand (tunnel.h).
 */
#include "tunnel.h"

enum { HANDSHAKE_MS = 5000, FRAME_MS = 10000 }; /* the defaults */
enum { ANSWER_MOST = FRAMED_PREFACE_SIZE + FRAMED_HANDSHAKE_MOST, HELD_BACK = 8 };

/* In worlds that begin alike the server's answer is the same. */
static struct hand knocks_as_ever(enum framed_protection p)
{
    struct hand a = hand_of(FRAMED_CONNECTOR, p);
    memset(a.ephemeral, 0x66, sizeof a.ephemeral);
    return a;
}

static size_t answer_of(enum framed_protection p, uint8_t answer[ANSWER_MOST])
{
    struct house h;
    house_serves(&h, p);
    struct hand a = knocks_as_ever(p);
    hand_begin(&a);
    struct framed_bytes got = sim_peer_received(a.peer);
    size_t n = got.len;
    assert_in_range(n, HELD_BACK + 1, ANSWER_MOST);
    memcpy(answer, got.at, n);
    hand_end(&a);
    house_stop(&h);
    return n;
}

/* Who can tell the end of our answer before it has come need not wait for it. */
static void nothing_is_heard_before_our_answer_has_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        uint8_t answer[ANSWER_MOST];
        size_t n = answer_of(keyed[i], answer);
        struct house h;
        house_start(&h, only(keyed[i]));
        h.nobody = true; /* is let in: CLOSE follows the answer */
        rig_serve(&h.rig);
        struct hand a = knocks_as_ever(keyed[i]);
        sim_capacity(n - HELD_BACK);
        a.peer = connected();
        sim_peer_stop_reading(a.peer);
        hand_begin(&a);
        struct framed_bytes in = framed_bytes_of(answer + FRAMED_PREFACE_SIZE, n - FRAMED_PREFACE_SIZE);
        assert_int_equal(framed_handshake_next(&a.hs, &in), FRAMED_OK);
        a.flight_len = 0;
        if (needs_identity(keyed[i])) assert_int_equal(framed_handshake_say(&a.hs, a.flight, &a.flight_len), FRAMED_OK);
        hand_split(&a);
        if (a.flight_len > 0)
            hand_send_raw(&a, a.flight, a.flight_len);
        else
            hand_say(&a, RECORD_PAD, "", 0);
        sim_run_ms(100);
        assert_int_equal(h.judged, 0);
        sim_peer_start_reading(a.peer);
        sim_run_ms(100);
        assert_int_equal(h.judged, 1);
        assert_true(sim_peer_received(a.peer).len > n);
        assert_memory_equal(sim_peer_received(a.peer).at, answer, n);
        sim_peer_take(a.peer, n);
        assert_hand_closed(&a, 1);
        hand_end(&a);
        house_stop(&h);
    }
}

static struct framed_client *connecting(struct sim_acceptor *acceptor, const struct framed_client_config *config,
                                        struct sim_peer **peer)
{
    struct framed_client *client;
    struct framed_event event;
    assert_int_equal(framed_client_new(config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    for (*peer = NULL; *peer == NULL; *peer = sim_accept(acceptor))
        assert_int_equal(framed_client_next(client, 1, &event), FRAMED_MORE);
    return client;
}

static void client_hears_nothing_before_its_first_flight_has_left(void **state)
{
    static const char id[] = "0123456789012345678901234567890123456789012345678901234567890123";
    static uint8_t flight[FRAMED_OPENING_MOST + FRAMED_HANDSHAKE_MOST];
    size_t n = 0;
    (void)state;
    for (unsigned run = 0; run < 2; run++) {
        struct framed_client_config config = keyed_config(FRAMED_SHARED_KEY);
        const struct sim_delay delay = {.least_us = 2000, .most_us = 2000}; /* time to stop reading in */
        struct hand a = hand_of(FRAMED_ACCEPTOR, FRAMED_SHARED_KEY);
        struct framed_event event;
        config.key_id = framed_bytes_str(id);
        sim_start(1);
        if (run == 1) sim_capacity(n - HELD_BACK);
        sim_delay(&delay);
        struct framed_client *client = connecting(sim_listen(WHERE), &config, &a.peer);
        if (run == 1) sim_peer_stop_reading(a.peer);
        assert_int_equal(framed_client_next(client, 20, &event), FRAMED_MORE);
        if (run == 0) {
            n = sim_peer_received(a.peer).len;
            assert_in_range(n, HELD_BACK + 1, sizeof flight);
            memcpy(flight, sim_peer_received(a.peer).at, n);
        } else {
            size_t opening = FRAMED_PREFACE_SIZE + FRAMED_LENGTH_SIZE + flight[FRAMED_PREFACE_SIZE + FRAMED_LENGTH_SIZE - 1],
                   said;
            const uint8_t preface[] = {0xf7, 0x66, 1, a.mode};
            struct framed_bytes in = framed_bytes_of(flight + opening, n - opening);
            hand_init(&a, framed_bytes_of(flight, opening));
            assert_int_equal(framed_handshake_next(&a.hs, &in), FRAMED_OK);
            memcpy(a.flight, preface, sizeof preface);
            assert_int_equal(framed_handshake_say(&a.hs, a.flight + sizeof preface, &said), FRAMED_OK);
            sim_peer_send(a.peer, a.flight, sizeof preface + said);
            assert_int_equal(framed_client_next(client, 20, &event), FRAMED_MORE); /* it is not connected yet */
            sim_peer_start_reading(a.peer);
            assert_int_equal(framed_client_next(client, 20, &event), FRAMED_OK);
            assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
            assert_true(framed_client_next(client, 20, &event) == FRAMED_MORE);
            assert_memory_equal(sim_peer_received(a.peer).at, flight, n);
        }
        hand_end(&a);
        framed_client_free(client);
        sim_stop();
    }
}

/* net.h: with another key `hash` is all zero, also when there was one before. */
static void hash_of_a_peer_that_was_refused_is_zero(void **state)
{
    static const uint8_t zeros[NOISE_KEY_SIZE];
    static const char elsewhere[] = "127.0.0.1:7777";
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        if (!needs_identity(keyed[i])) continue;
        struct house h;
        struct framed_client_config config = keyed_config(keyed[i]);
        struct framed_event event;
        struct framed_client *client;
        struct framed_peer peer;
        house_serves(&h, keyed[i]);
        assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
        assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
        assert_true(framed_client_identity(client, &peer));
        assert_memory_not_equal(peer.hash, zeros, sizeof zeros);
        framed_server_drain(h.rig.server);
        while (framed_client_next(client, 100, &event) == FRAMED_OK && event.kind != FRAMED_EVENT_ENDED) continue;
        struct sim_acceptor *acceptor = sim_listen(elsewhere);
        assert_int_equal(framed_client_connect(client, elsewhere, 0), FRAMED_MORE);
        assert_int_equal(framed_client_next(client, 1, &event), FRAMED_MORE);
        struct hand a = hand_of(FRAMED_ACCEPTOR, keyed[i]);
        a.peer = sim_accept(acceptor);
        assert_non_null(a.peer);
        memcpy(a.identity.secret, ring()->secret[STRANGER].bytes, NOISE_KEY_SIZE);
        memcpy(a.identity.public, ring()->public[STRANGER].bytes, NOISE_KEY_SIZE);
        hand_compose_answer(&a);
        hand_send_raw(&a, a.flight, a.flight_len);
        assert_int_equal(framed_client_next(client, 1000, &event), FRAMED_OK);
        assert_int_equal(event.status, FRAMED_AUTH);
        assert_true(framed_client_identity(client, &peer));
        assert_memory_equal(peer.key, ring()->public[STRANGER].bytes, NOISE_KEY_SIZE);
        assert_memory_equal(peer.hash, zeros, sizeof zeros);
        hand_end(&a);
        framed_client_free(client);
        house_stop(&h);
    }
}

/* A frame, and a record, that begin in one piece with the record that proves somebody have their time from then on. */
static void what_begins_behind_the_proof_has_all_its_time(void **state)
{
    struct house h;
    size_t first, second;
    uint8_t both[200];
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    sim_run_ms(60000);
    struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY);
    hand_knock(&a);
    uint8_t *one = hand_seal(&a, RECORD_DATA, "\0\0\0\x03o", 5, &first), *two = hand_seal(&a, RECORD_DATA, "ne", 2, &second);
    memcpy(both, one, first);
    memcpy(both + first, two, second);
    free(one);
    free(two);
    hand_send_raw(&a, both, first + second / 2);
    sim_run_ms(FRAME_MS / 2);
    hand_send_raw(&a, both + first + second / 2, second - second / 2);
    hand_hears(&a, "one", 3);
    hand_end(&a);
    house_stop(&h);
}

/* Between the last message and the first record. */
static void proof_that_is_none_is_told_as_what_it_is(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        static const char *const words[] = {"a record that did not open", "no record, where one must come",
                                            "the stream was cut off", "was not finished in time"};
        struct house h;
        size_t n;
        house_serves(&h, FRAMED_SHARED_KEY);
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY);
        hand_knock(&a);
        uint8_t *record = hand_seal(&a, RECORD_DATA, "\0\0\0\0", 4, &n);
        if (i == 0) record[n - 1] ^= 1;
        if (i == 1) memset(record, 0, FRAMED_LENGTH_SIZE);
        hand_send_raw(&a, record, i < 2 ? n : n - 1);
        free(record);
        if (i == 2) sim_peer_finish(a.peer);
        sim_run_ms(i == 3 ? HANDSHAKE_MS : 0);
        assert_int_equal(rig_logged(&h.rig, words[i]), 1);
        assert_int_equal(h.rig.started + h.judged, 0);
        hand_end(&a);
        house_stop(&h);
    }
}

/* The time of an opening is its own: it begins with the connection, and no other deadline cuts it short. */
static void opening_of_a_client_begins_when_it_is_connected(void **state)
{
    const struct sim_delay slow = {.least_us = 2000000, .most_us = 2000000};
    struct framed_client_config config = keyed_config(FRAMED_SHARED_KEY);
    struct framed_client *client;
    struct framed_event event;
    (void)state;
    config.handshake_ms = HANDSHAKE_MS;
    sim_start(1);
    sim_delay(&slow);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    uint64_t begun = sim_now_ms();
    assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_next(client, 60000, &event), FRAMED_OK);
    assert_int_equal(event.status, FRAMED_TIMEOUT);
    assert_in_range(sim_now_ms() - begun, 2000 + HANDSHAKE_MS, 4000 + HANDSHAKE_MS);
    assert_non_null(sim_accept(acceptor));
    framed_client_free(client);
    sim_stop();
}

static void opening_is_not_cut_short_by_a_shorter_idle_deadline(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_start(&h, only(keyed[i]));
        h.rig.config.idle_ms = 500;
        rig_serve(&h.rig);
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        a.peer = connected();
        hand_compose(&a);
        hand_send_raw(&a, a.flight, a.flight_len - 1);
        sim_run_ms(2000);
        assert_int_equal(sim_peer_state(a.peer), SIM_OPEN);
        sim_run_ms(HANDSHAKE_MS);
        assert_int_equal(rig_logged(&h.rig, "was not finished in time"), 1);
        hand_end(&a);
        house_stop(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_heard_before_our_answer_has_left),
        cmocka_unit_test(client_hears_nothing_before_its_first_flight_has_left),
        cmocka_unit_test(hash_of_a_peer_that_was_refused_is_zero),
        cmocka_unit_test(what_begins_behind_the_proof_has_all_its_time),
        cmocka_unit_test(proof_that_is_none_is_told_as_what_it_is),
        cmocka_unit_test(opening_of_a_client_begins_when_it_is_connected),
        cmocka_unit_test(opening_is_not_cut_short_by_a_shorter_idle_deadline),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_opening", tests, NULL, NULL);
}
