/*
 * test_sim_tunnel_limits.c: owns the proof that who costs a server of encrypted connections (PROTOCOL.md §9) time or memory gets little
 * of it: lengths that lie, handshakes that do not go on, floods.
 * Must not know how it is done.
 * Invariants: each test is one world, or one after the other; the other end is made by hand (tunnel.h).
 */
#include "tunnel.h"

/* ---- lengths that lie ---- */

static void lengths_that_no_message_or_record_has_end_it_before_anything_is_held(void **state)
{
    const uint32_t lengths[] = {0, 1, 16, 65536, 1u << 24, 0x7fffffff, 0xffffffff};
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            const uint8_t word[] = {(uint8_t)(lengths[k] >> 24), (uint8_t)(lengths[k] >> 16), (uint8_t)(lengths[k] >> 8),
                                    (uint8_t)lengths[k]};
            struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]); /* in the place of message 1 */
            a.peer = connected();
            hand_compose(&a);
            size_t opening = HEAD + (size_t)a.flight[7];
            sim_peer_send(a.peer, a.flight, opening);
            hand_send_raw(&a, word, 4);
            assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
            assert_true(sim_peer_received(a.peer).len <= PREFACE);
            hand_end(&a);
            if (needs_identity(keyed[i])) { /* of message 3 */
                a = hand_of(FRAMED_CONNECTOR, keyed[i]);
                hand_knock(&a);
                hand_send_raw(&a, word, 4);
                assert_hand_cut(&a);
                hand_end(&a);
            }
            a = entered(keyed[i]); /* of a record */
            assert_hand_echoes(&a, "in");
            uint64_t before = rig_stats(&h.rig).memory;
            hand_send_raw(&a, word, 4);
            if (lengths[k] < 17) hand_send_raw(&a, "sixteen bytes...", lengths[k]); /* no record: known when it is there */
            assert_hand_cut(&a);
            assert_true(rig_stats(&h.rig).memory <= before);
            hand_end(&a);
        }
        house_stop(&h);
    }
}

static void memory_follows_the_bytes_that_came_and_not_what_was_claimed(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        assert_hand_echoes(&a, "in");
        uint64_t before = rig_stats(&h.rig).memory;
        hand_send_raw(&a, "\0\0\xff\xff", 4); /* a record of 65,535 bytes */
        assert_true(rig_stats(&h.rig).memory <= before + 8192);
        hand_end(&a);
        struct hand b = entered(keyed[i]);
        hand_say(&b, RECORD_DATA, "\0\xff\xff\xff", 4); /* a frame of 16 MiB - 1 */
        sim_run_ms(0);
        assert_true(rig_stats(&h.rig).memory <= before + 3 * 8192);
        hand_end(&b);
        house_stop(&h);
    }
}

/* ---- slow ones ---- */

static void handshake_has_a_deadline_that_dribbling_does_not_move(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand good = entered(keyed[i]);
        assert_hand_echoes(&good, "in");
        struct sim_peer *silent = connected();
        struct hand dribbles = hand_of(FRAMED_CONNECTOR, keyed[i]), half = hand_of(FRAMED_CONNECTOR, keyed[i]);
        dribbles.peer = connected();
        hand_compose(&dribbles);
        hand_knock(&half); /* and then message 3, or a first record, byte by byte */
        size_t len = half.flight_len;
        size_t ignored = 0;
        uint8_t *record = hand_seal(&half, RECORD_PAD, "", 0, len > 0 ? &ignored : &len);
        for (size_t n = 0; n < 12; n++) {
            sim_peer_send(dribbles.peer, dribbles.flight + n, 1);
            if (n >= 2 && n - 2 < len) sim_peer_send(half.peer, (half.flight_len > 0 ? half.flight : record) + n - 2, 1);
            sim_run_ms(480);
        }
        assert_ended_at(silent, 5000);
        assert_ended_at(dribbles.peer, 5000);
        assert_ended_at(half.peer, 5000);
        assert_int_equal(sim_peer_received(half.peer).len, 0); /* nobody has proven to be there: no CLOSE either */
        assert_hand_echoes(&good, "still in");
        assert_int_equal(rig_logged(&h.rig, "was not finished in time"), 3);
        free(record);
        hand_end(&good);
        hand_end(&dribbles);
        hand_end(&half);
        house_stop(&h);
    }
}

/* So many come, one after the other, and say nothing; how many are there then. */
static size_t left_of(struct sim_peer **peer, size_t n)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++) {
        peer[i] = connected();
        sim_run_ms(20);
    }
    for (size_t i = 0; i < n; i++) open += sim_peer_state(peer[i]) == SIM_OPEN;
    return open;
}

/* Many that do not go on: who is in notices nothing, and who comes is served. */
static void flood_of_half_open_ones_holds_up_nobody(void **state)
{
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_SHARED_AND_PINNED);
    struct hand good = entered(FRAMED_SHARED_AND_PINNED);
    assert_hand_echoes(&good, "in");
    for (size_t i = 0; i < 256; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_AND_PINNED);
        if (i % 2 == 0)
            a.peer = connected();
        else
            hand_knock(&a);
        hand_end(&a);
    }
    assert_hand_echoes(&good, "in");
    assert_int_equal(rig_stats(&h.rig).refused, 256 - 16); /* all have one address: others are not touched */
    struct hand late = entered(FRAMED_SHARED_AND_PINNED);
    assert_hand_echoes(&late, "new");
    sim_run_ms(6000);
    assert_int_equal(rig_stats(&h.rig).deadlines, 15); /* one had to go for who came late */
    assert_hand_echoes(&late, "and on");
    hand_end(&late);
    hand_end(&good);
    house_stop(&h);
}

/* From many addresses, to the limit of all together. */
static void flood_from_many_addresses_holds_up_nobody_either(void **state)
{
    struct house h;
    char from[20];
    (void)state;
    house_serves(&h, FRAMED_PINNED_KEYS);
    struct hand good = entered(FRAMED_PINNED_KEYS);
    assert_hand_echoes(&good, "in");
    for (int i = 0; i < 300; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
        snprintf(from, sizeof from, "192.0.2.%d", 1 + i / 10);
        a.peer = sim_connect_from(WHERE, from);
        if (i % 2 == 0)
            sim_run_ms(0);
        else
            hand_knock(&a);
        hand_end(&a);
    }
    assert_int_equal(rig_stats(&h.rig).refused, 300 - 256);
    assert_hand_echoes(&good, "still in");
    struct hand late = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
    late.peer = sim_connect_from(WHERE, "198.51.100.1");
    hand_enter(&late);
    assert_hand_echoes(&late, "new");
    assert_int_equal(rig_stats(&h.rig).refused, 300 - 256 + 1);
    sim_run_ms(6000);
    assert_hand_echoes(&good, "and on");
    hand_end(&late);
    hand_end(&good);
    house_stop(&h);
}

/* A network of IPv6 is one address: whoever has one there has 2^64. */
static void addresses_of_one_ipv6_network_are_one(void **state)
{
    static const char *const from[] = {"2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3", "2001:db8:0:1::1"};
    struct sim_peer *peer[4];
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_half_open_per_address = 2;
    h.rig.config.max_handshakes = 8; /* of one address two */
    rig_serve(&h.rig);
    sim_run_ms(1000);
    for (size_t i = 0; i < 4; i++) {
        peer[i] = sim_connect_from(WHERE, from[i]);
        sim_run_ms(0);
    }
    assert_int_equal(rig_stats(&h.rig).refused, 1); /* of the first three */
    assert_int_equal(sim_peer_state(peer[3]), SIM_OPEN);
    sim_run_ms(6000);
    for (size_t i = 0; i < 4; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
        a.peer = sim_connect_from(WHERE, from[i]);
        hand_begin(&a);
        assert_int_equal(sim_peer_received(a.peer).len > 0, i != 2);
        hand_end(&a);
    }
    house_stop(&h);
}

/* Workers share what strangers may have. */
static void strangers_of_all_workers_are_limited_together(void **state)
{
    struct sim_peer *peer[30];
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.workers = 3;
    h.rig.config.max_half_open = 12;
    h.rig.config.max_half_open_per_address = 100;
    rig_serve(&h.rig);
    assert_int_equal(left_of(peer, 30), 12);
    assert_int_equal(rig_stats(&h.rig).refused, 18);
    house_stop(&h);
}

/* Where few connections are allowed, strangers have half of them: accepting does not wait until their time is over. */
static void strangers_leave_room_for_others(void **state)
{
    (void)state;
    for (uint32_t most = 2; most <= 10; most += 4) {
        struct house h;
        house_start(&h, only(FRAMED_PINNED_KEYS));
        h.rig.config.max_conns = most;
        rig_serve(&h.rig);
        for (size_t i = 0; i < 30; i++) {
            struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
            a.peer = connected();
            sim_run_ms(0);
            hand_end(&a);
        }
        struct hand good = entered(FRAMED_PINNED_KEYS);
        assert_hand_echoes(&good, "new");
        assert_in_range(rig_stats(&h.rig).refused, 30 - most / 2, 30 - most / 2 + 1); /* perhaps one for who came late */
        assert_int_equal(rig_stats(&h.rig).deadlines, 0);
        hand_end(&good);
        house_stop(&h);
    }
}

/* Who has proven something and is refused has his line, however many strangers have had theirs in the same second. */
static void strangers_do_not_fill_the_log(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.nobody = true;
    rig_serve(&h.rig);
    for (size_t i = 0; i < 40; i++) {
        struct sim_peer *peer = connected();
        sim_peer_send(peer, "GET / HTTP/1.1", 14);
        sim_run_ms(0);
    }
    assert_int_equal(rig_logged(&h.rig, "looks like HTTP"), 5);
    struct hand a = entered(FRAMED_PINNED_KEYS);
    assert_hand_closed(&a, 1);
    assert_int_equal(rig_logged(&h.rig, "not allowed here: framed-pub-1:"), 1);
    hand_end(&a);
    sim_run_ms(2000);
    sim_peer_send(connected(), "GET / HTTP/1.1", 14);
    sim_run_ms(0);
    assert_int_equal(rig_logged(&h.rig, "looks like HTTP"), 6); /* another second has lines of its own */
    house_stop(&h);
}

/* Who is turned away at the door has proven nothing either. */
static void lines_of_who_is_turned_away_are_strangers(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_conns_per_address = 1;
    rig_serve(&h.rig);
    struct hand in = entered(FRAMED_PINNED_KEYS);
    for (size_t i = 0; i < 20; i++) {
        connected();
        sim_run_ms(0);
    }
    assert_int_equal(rig_logged(&h.rig, "too many connections from its address"), 5);
    hand_end(&in);
    house_stop(&h);
}

/* With 64 bits: what a server has for it, all caches and the rests of blocks among it. */
static void idle_one_costs_768_bytes_at_most(void **state)
{
    enum { MANY = 300 };
    static struct hand in[MANY];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand first = entered(keyed[i]);
        assert_hand_echoes(&first, "the caches are warm");
        uint64_t before = rig_stats(&h.rig).memory;
        for (size_t k = 0; k < MANY; k++) {
            in[k] = entered(keyed[i]);
            assert_hand_echoes(&in[k], "and then nothing");
        }
        sim_run_ms(1000);
        uint64_t each = (rig_stats(&h.rig).memory - before) / MANY;
        print_message("an idle connection of protection %d: %u bytes\n", (int)keyed[i], (unsigned)each);
        assert_in_range(each, 1, 768);
        for (size_t k = 0; k < MANY; k++) assert_hand_echoes(&in[k], "and again");
        for (size_t k = 0; k < MANY; k++) hand_end(&in[k]);
        hand_end(&first);
        house_stop(&h);
    }
}

static void half_open_ones_are_limited_in_all_too(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_half_open = 5;
    h.rig.config.max_half_open_per_address = 100;
    h.rig.config.max_log_lines = 100; /* half of them for strangers */
    rig_serve(&h.rig);
    struct sim_peer *waiting[12];
    assert_int_equal(left_of(waiting, 12), 5);
    assert_int_equal(sim_peer_state(waiting[11]), SIM_OPEN); /* whoever comes, comes in */
    assert_int_equal(rig_logged(&h.rig, "too many at once that have not proven who they are"), 7);
    assert_int_equal(rig_stats(&h.rig).refused, 7);
    sim_run_ms(5000);
    assert_int_equal(rig_stats(&h.rig).deadlines, 5);
    house_stop(&h);
}

enum { PLACES = 8, EVICTIONS = 400, WORLDS = 3 };

/* They come one after the other where PLACES of them are already, of all or of their address: which goes for each, counted from the
 * oldest. The world's dice have been thrown `thrown` times before. */
static void who_goes(size_t thrown, bool of_their_address, uint8_t went[EVICTIONS])
{
    struct sim_peer *there[PLACES + 1], *others[PLACES];
    struct house h;
    uint8_t byte;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_half_open = of_their_address ? 2 * PLACES : PLACES;
    h.rig.config.max_half_open_per_address = of_their_address ? PLACES : 2 * PLACES;
    for (size_t i = 0; i < thrown; i++) assert_int_equal(framed_os_random(&byte, 1), FRAMED_OK);
    rig_serve(&h.rig);
    for (size_t i = 0; i < PLACES && of_their_address; i++) others[i] = sim_connect_from(WHERE, "192.0.2.77");
    assert_int_equal(left_of(there, PLACES), PLACES);
    for (size_t i = 0; i < EVICTIONS; i++) {
        size_t gone = 0;
        there[PLACES] = connected();
        sim_run_ms(0);
        while (gone < PLACES && sim_peer_state(there[gone]) == SIM_OPEN) gone++;
        assert_in_range(gone, 0, PLACES - 1); /* not who has just come */
        went[i] = (uint8_t)gone;
        for (size_t k = gone; k < PLACES; k++) there[k] = there[k + 1];
        for (size_t k = 0; k < PLACES; k++) assert_int_equal(sim_peer_state(there[k]), SIM_OPEN); /* no other */
    }
    for (size_t i = 0; i < PLACES && of_their_address; i++) assert_int_equal(sim_peer_state(others[i]), SIM_OPEN);
    assert_int_equal(rig_stats(&h.rig).refused, EVICTIONS);
    house_stop(&h);
}

/* Each goes an eighth of the time, 50 times of 400. A world's dice are the same in every run, so this cannot fail by chance; should what
 * is drawn from them change, then in one case of 200 million: for one place the odds of fewer than 14 or more than 100 are 8 in 10^11,
 * and there are 48 places. Whoever keeps the oldest, the newest or any order of theirs is far outside, or the same in two worlds. */
static void any_of_the_half_open_ones_may_have_to_go_and_nobody_knows_which(void **state)
{
    (void)state;
    for (int of_their_address = 0; of_their_address < 2; of_their_address++) {
        uint8_t went[WORLDS][EVICTIONS];
        for (size_t w = 0; w < WORLDS; w++) {
            size_t times[PLACES] = {0};
            who_goes(w, of_their_address, went[w]);
            for (size_t i = 0; i < EVICTIONS; i++) times[went[w][i]]++;
            for (size_t place = 0; place < PLACES; place++) assert_in_range(times[place], 14, 100);
            for (size_t other = 0; other < w; other++) assert_memory_not_equal(went[w], went[other], EVICTIONS);
        }
    }
}

/* They have nothing to prove. */
static void connections_with_checksums_are_no_strangers(void **state)
{
    static const char opening[] = "\xf7\x46\x01\x10\0\0\0\x04\x3b\x44\xc1\x92";
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_CRC32C) | only(FRAMED_SHARED_KEY));
    h.rig.config.max_half_open_per_address = 2;
    rig_serve(&h.rig);
    struct sim_peer *p[5];
    for (size_t i = 0; i < 5; i++) {
        p[i] = connected();
        sim_peer_send(p[i], opening, sizeof opening - 1);
        sim_run_ms(0);
        assert_int_equal(sim_peer_received(p[i]).len, sizeof opening - 1);
    }
    for (size_t i = 0; i < 5; i++) assert_int_equal(sim_peer_state(p[i]), SIM_OPEN);
    assert_int_equal(rig_stats(&h.rig).refused, 0);
    house_stop(&h);
}

/* Nobody has to go for somebody who may not come in. */
static void who_may_not_begin_costs_nobody_his_place(void **state)
{
    struct house h;
    struct hand a[6];
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS) | only(FRAMED_UNPROTECTED));
    h.rig.config.max_handshakes = 16; /* of one address three */
    h.rig.config.max_half_open_per_address = 3;
    rig_serve(&h.rig);
    sim_run_ms(1000);
    for (size_t i = 0; i < 6; i++) {
        a[i] = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
        hand_begin(&a[i]);
    }
    for (size_t i = 0; i < 6; i++) assert_int_equal(sim_peer_state(a[i].peer) == SIM_OPEN, i < 3);
    assert_int_equal(rig_logged(&h.rig, "too many at once"), 0);
    assert_int_equal(rig_logged(&h.rig, "too many handshakes a second"), 3);
    for (size_t i = 0; i < 6; i++) hand_end(&a[i]);
    house_stop(&h);
}

static void one_address_begins_an_eighth_of_the_handshakes_and_leaves_the_rest(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_handshakes = 50;
    rig_serve(&h.rig);
    sim_run_ms(1000);
    for (size_t i = 0; i < 60; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
        hand_begin(&a);
        hand_end(&a);
    }
    assert_int_equal(rig_stats(&h.rig).refused, 60 - (50 / 8 + 1));
    struct hand other = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
    other.peer = sim_connect_from(WHERE, "192.0.2.77");
    assert_non_null(other.peer);
    hand_enter(&other);
    assert_hand_echoes(&other, "from elsewhere");
    hand_end(&other);
    house_stop(&h);
}

/* Its requests are under way, and it says no more itself. */
static void who_has_half_closed_is_asked_about_again_too(void **state)
{
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_PINNED_KEYS);
    struct hand a = entered(FRAMED_PINNED_KEYS);
    hand_ask(&a, "Deferred");
    hand_say(&a, RECORD_CLOSE, "\0", 1);
    sim_peer_finish(a.peer);
    sim_run_ms(0);
    h.nobody = true;
    size_t judged = h.judged;
    framed_server_recheck(h.rig.server);
    sim_run_ms(0);
    assert_int_equal(h.judged, judged + 1);
    rig_answer_all(&h.rig);
    sim_run_ms(0);
    hand_gather(&a);
    assert_int_equal(a.text_len, 0);
    assert_true(a.closed);
    assert_int_equal(a.reason, 1);
    hand_end(&a);
    house_stop(&h);
}

/* As on a plain connection: ten seconds and what it needs at 4 KiB a second. */
static void slow_record_has_the_time_of_its_length(void **state)
{
    static uint8_t big[65000];
    struct house h;
    size_t len;
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    struct hand a = entered(FRAMED_SHARED_KEY);
    assert_hand_echoes(&a, "in"); /* proven */
    memset(big, 'x', sizeof big);
    uint8_t *frame = framed_text(big, sizeof big - 4), *record = hand_seal(&a, RECORD_DATA, frame, sizeof big, &len);
    for (size_t at = 0; at < len; at += 500) { /* 13 seconds */
        sim_peer_send(a.peer, record + at, len - at < 500 ? len - at : 500);
        sim_run_ms(100);
    }
    assert_int_equal(rig_logged(&h.rig, "a frame was not finished in time"), 0);
    hand_gather(&a);
    assert_int_equal(a.text_len, sizeof big); /* and it is answered */
    free(record);
    free(frame);
    hand_end(&a);
    house_stop(&h);
}

static void reply_and_close_share_a_send(void **state)
{
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    struct hand a = entered(FRAMED_SHARED_KEY);
    hand_ask(&a, "Deferred");
    hand_say(&a, RECORD_CLOSE, "\0", 1);
    sim_peer_finish(a.peer);
    sim_run_ms(0);
    rig_answer_all(&h.rig);
    sim_run_ms(0);
    hand_gather(&a);
    assert_true(a.text_len > 4);
    assert_true(a.closed);
    hand_end(&a);
    house_stop(&h);
}

static void handshakes_with_public_keys_are_limited_by_the_second(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    h.rig.config.max_handshakes = 16; /* of one address three */
    rig_serve(&h.rig);
    struct hand good = entered(FRAMED_PINNED_KEYS);
    sim_run_ms(1000);
    for (int second = 0; second < 2; second++) {
        for (int i = 0; i < 3; i++) {
            struct hand in = entered(FRAMED_PINNED_KEYS);
            assert_hand_echoes(&in, "in time");
            hand_end(&in);
        }
        struct hand beyond = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
        hand_begin(&beyond);
        sim_run_ms(0);
        assert_int_equal(sim_peer_received(beyond.peer).len, 0);
        hand_end(&beyond);
        assert_int_equal(rig_logged(&h.rig, "too many handshakes a second"), second + 1);
        assert_hand_echoes(&good, "in all the time");
        sim_run_ms(1001);
    }
    hand_end(&good);
    house_stop(&h);
}

/* With both keys there is nothing to be done for who has not the shared one: his handshakes keep out nobody. */
static void who_has_not_the_shared_key_begins_no_handshake_with_public_keys(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_SHARED_AND_PINNED));
    h.rig.config.max_handshakes = 16; /* of one address three */
    h.rig.config.max_log_lines = 100;
    rig_serve(&h.rig);
    sim_run_ms(1000);
    for (int i = 0; i < 10; i++) {
        struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_AND_PINNED);
        a.shared = ring()->other;
        hand_begin(&a);
        assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
        hand_end(&a);
    }
    for (int i = 0; i < 3; i++) {
        struct hand in = entered(FRAMED_SHARED_AND_PINNED);
        assert_hand_echoes(&in, "in time");
        hand_end(&in);
    }
    assert_int_equal(rig_stats(&h.rig).refused, 0);
    struct hand beyond = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_AND_PINNED);
    hand_begin(&beyond);
    assert_int_equal(sim_peer_received(beyond.peer).len, 0);
    assert_int_equal(rig_logged(&h.rig, "too many handshakes a second"), 1);
    hand_end(&beyond);
    house_stop(&h);
}

/* Its handshake is through, but it is not known to be there before its first record. */
static void unproven_one_hears_nothing_behind_message_2_whatever_ends_it(void **state)
{
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    struct hand drained = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY), ended = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY),
                wrong = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY);
    hand_knock(&ended);
    sim_peer_finish(ended.peer);
    sim_run_ms(0);
    assert_hand_cut(&ended);
    hand_knock(&wrong);
    hand_send_raw(&wrong, "\0\0\0\x11seventeen bytes!!", 21);
    assert_hand_cut(&wrong);
    hand_knock(&drained);
    framed_server_drain(h.rig.server);
    sim_run_ms(0);
    assert_hand_cut(&drained);
    assert_int_equal(h.judged, 0);
    hand_end(&drained);
    hand_end(&ended);
    hand_end(&wrong);
    house_stop(&h);
}

/* What begins with its proof has the time of any frame, from then on. */
static void frame_that_begins_with_the_proof_has_its_whole_time(void **state)
{
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY);
    hand_knock(&a);
    sim_run_ms(4000);
    hand_say(&a, RECORD_DATA, "\0\0\0\x03o", 5);
    sim_run_ms(9500); /* frame_ms: 10 s */
    assert_int_equal(sim_peer_state(a.peer), SIM_OPEN);
    hand_say(&a, RECORD_DATA, "ne", 2);
    sim_run_ms(0);
    hand_hears(&a, "one", 3);
    hand_end(&a);
    house_stop(&h);
}

/* ---- floods ---- */

static void pads_are_ignored_and_the_seventeenth_in_a_row_is_an_error(void **state)
{
    static uint8_t zeros[RECORD_BODY_MOST];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        for (int k = 0; k < 16; k++) hand_say(&a, RECORD_PAD, zeros, k == 3 ? sizeof zeros : (size_t)k);
        assert_hand_echoes(&a, "in");
        uint64_t before = rig_stats(&h.rig).memory;
        for (int k = 0; k < 16; k++) hand_say(&a, RECORD_PAD, zeros, (size_t)k);
        sim_run_ms(0);
        assert_true(rig_stats(&h.rig).memory <= before);
        assert_hand_echoes(&a, "still in");
        for (int k = 0; k < 16; k++) hand_say(&a, RECORD_PAD, zeros, 0);
        a.out.pads = 0; /* what a decent sender's records do not allow */
        hand_say(&a, RECORD_PAD, zeros, 0);
        sim_run_ms(0);
        assert_hand_cut(&a);
        assert_int_equal(rig_logged(&h.rig, "no record, where one must come"), 1);
        hand_end(&a);
        house_stop(&h);
    }
}

/* Records of one byte cost what they bring: nothing is held or allocated for them. */
static void frame_in_records_of_one_byte_costs_no_more_memory(void **state)
{
    enum { LONG = 5000 };
    static uint8_t payload[LONG];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        assert_hand_echoes(&a, "in");
        uint8_t *frame = framed_text(payload, LONG);
        uint64_t most = 0, allocations = 0;
        for (size_t at = 0; at < FRAMED_LENGTH_SIZE + LONG; at++) {
            if (at == FRAMED_LENGTH_SIZE + LONG / 2) allocations = meter_read(sim_meter()).calls;
            hand_say(&a, RECORD_DATA, frame + at, 1);
            sim_run_ms(0);
            if (rig_stats(&h.rig).memory > most) most = rig_stats(&h.rig).memory;
            if (at == FRAMED_LENGTH_SIZE + LONG - 2) allocations = meter_read(sim_meter()).calls - allocations;
        }
        hand_hears(&a, payload, LONG);
        assert_true(most <= LONG * 22 / 2); /* half of what came */
        assert_true(allocations < 20);      /* for 2,500 records */
        free(frame);
        hand_end(&a);
        house_stop(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_that_no_message_or_record_has_end_it_before_anything_is_held),
        cmocka_unit_test(memory_follows_the_bytes_that_came_and_not_what_was_claimed),
        cmocka_unit_test(handshake_has_a_deadline_that_dribbling_does_not_move),
        cmocka_unit_test(flood_of_half_open_ones_holds_up_nobody),
        cmocka_unit_test(flood_from_many_addresses_holds_up_nobody_either),
        cmocka_unit_test(addresses_of_one_ipv6_network_are_one),
        cmocka_unit_test(strangers_of_all_workers_are_limited_together),
        cmocka_unit_test(who_has_not_the_shared_key_begins_no_handshake_with_public_keys),
        cmocka_unit_test(frame_in_records_of_one_byte_costs_no_more_memory),
        cmocka_unit_test(strangers_leave_room_for_others),
        cmocka_unit_test(strangers_do_not_fill_the_log),
        cmocka_unit_test(lines_of_who_is_turned_away_are_strangers),
        cmocka_unit_test(idle_one_costs_768_bytes_at_most),
        cmocka_unit_test(half_open_ones_are_limited_in_all_too),
        cmocka_unit_test(any_of_the_half_open_ones_may_have_to_go_and_nobody_knows_which),
        cmocka_unit_test(connections_with_checksums_are_no_strangers),
        cmocka_unit_test(who_may_not_begin_costs_nobody_his_place),
        cmocka_unit_test(one_address_begins_an_eighth_of_the_handshakes_and_leaves_the_rest),
        cmocka_unit_test(who_has_half_closed_is_asked_about_again_too),
        cmocka_unit_test(slow_record_has_the_time_of_its_length),
        cmocka_unit_test(reply_and_close_share_a_send),
        cmocka_unit_test(handshakes_with_public_keys_are_limited_by_the_second),
        cmocka_unit_test(unproven_one_hears_nothing_behind_message_2_whatever_ends_it),
        cmocka_unit_test(frame_that_begins_with_the_proof_has_its_whole_time),
        cmocka_unit_test(pads_are_ignored_and_the_seventeenth_in_a_row_is_an_error),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_limits", tests, NULL, NULL);
}
