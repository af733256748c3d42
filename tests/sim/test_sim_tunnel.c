/*
 * test_sim_tunnel.c: owns the proof of what a server does with encrypted connections (PROTOCOL.md §9): who may come in, whatever the
 * split and the size, and how they end.
 * Must not know how it is done.
 * Invariants: each test is one world, or one after the other; the other end is made by hand (tunnel.h).
 */
#include "tunnel.h"

/* ---- as it should be ---- */

static void whole_session_tells_the_handler_who_asks(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        assert_hand_echoes(&a, "hello");
        assert_int_equal(h.protection, keyed[i]);
        assert_memory_equal(h.hash, a.hash, sizeof a.hash);
        assert_int_equal(h.has_key, needs_identity(keyed[i]));
        if (h.has_key) assert_memory_equal(h.key, ring()->public[CLIENT].bytes, FRAMED_KEY_SIZE);
        if (h.has_key) assert_memory_equal(a.peer_key, ring()->public[SERVER].bytes, FRAMED_KEY_SIZE);
        assert_string_equal(h.id, needs_shared(keyed[i]) ? KEY_ID : "");
        assert_string_equal(h.name, "our client");
        assert_string_equal(h.address, sim_peer_address(a.peer));
        assert_int_equal(h.judged, 1);
        assert_int_equal(h.asked, needs_shared(keyed[i]));
        assert_hand_echoes(&a, "");
        hand_say(&a, RECORD_CLOSE, "", 1);
        sim_run_ms(0);
        assert_hand_closed(&a, 0);
        assert_int_equal(rig_logged(&h.rig, "closed: the peer closed the connection"), 1);
        assert_int_equal(h.rig.started, 2);
        hand_end(&a);
        house_stop(&h);
    }
}

static void log_names_the_peer_and_stays_one_line(void **state)
{
    static const struct {
        const char *name, *line;
    } named[] = {
        {"alice", " (alice) closed: the peer closed the connection"},
        {"a\n\x1b[2J", " (a\\x0a\\x1b[2J) closed: the peer closed the connection"},
        {"", " closed: the peer closed the connection"},
    };
    const size_t n_named = sizeof named / sizeof *named;
    char longest[FRAMED_PEER_NAME_SIZE];
    (void)state;
    for (size_t i = 0; i <= n_named; i++) {
        struct house h;
        house_start(&h, only(FRAMED_PINNED_KEYS));
        memset(longest, '\n', sizeof longest - 1);
        longest[sizeof longest - 1] = '\0';
        h.names = i < n_named ? named[i].name : longest;
        rig_serve(&h.rig);
        struct hand a = entered(FRAMED_PINNED_KEYS);
        hand_say(&a, RECORD_CLOSE, "", 1);
        sim_run_ms(0);
        assert_int_equal(rig_logged(&h.rig, i < n_named ? named[i].line : "\\x0a) closed: the peer"), 1);
        assert_int_equal(rig_logged(&h.rig, "("), h.names[0] != '\0');
        hand_end(&a);
        house_stop(&h);
    }
}

static void identity_is_gone_when_the_call_was_deferred_and_there_is_none_without_keys(void **state)
{
    struct house h;
    struct framed_peer peer;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS) | only(FRAMED_UNPROTECTED));
    rig_serve(&h.rig);
    struct hand a = entered(FRAMED_PINNED_KEYS);
    hand_ask(&a, "Dlater");
    assert_int_equal(h.protection, FRAMED_PINNED_KEYS);
    assert_int_equal(h.rig.kept_count, 1);
    assert_false(framed_call_identity(h.rig.kept[0], &peer));
    assert_int_equal(rig_answer(&h.rig, 0), FRAMED_OK);
    sim_run_ms(0);
    hand_hears(&a, "Dlater", 6);
    assert_serves();
    assert_int_equal(h.protection, FRAMED_UNPROTECTED);
    hand_end(&a);
    house_stop(&h);
}

static void plain_checked_and_encrypted_live_on_one_port_when_named(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_UNPROTECTED) | only(FRAMED_CRC32C) | only(FRAMED_SHARED_KEY) | only(FRAMED_PINNED_KEYS) |
                        only(FRAMED_SHARED_AND_PINNED));
    rig_serve(&h.rig);
    struct framed_client_config checked = client_config();
    checked.protection = FRAMED_CRC32C;
    struct framed_client *client = client_with(&checked);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < KEYED; i++) {
            struct hand a = entered(keyed[i]);
            assert_hand_echoes(&a, "encrypted");
            hand_end(&a);
        }
        assert_call_echoes(client, "checked");
        assert_serves();
    }
    framed_client_free(client);
    house_stop(&h);
}

static void server_with_keys_takes_only_what_needs_them_all_unless_told(void **state)
{
    static const struct {
        bool shared, pinned;
        enum framed_protection takes;
    } servers[] = {
        {true, false, FRAMED_SHARED_KEY}, {false, true, FRAMED_PINNED_KEYS}, {true, true, FRAMED_SHARED_AND_PINNED}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct house h;
        house_start(&h, 0);
        if (!servers[i].shared) h.rig.config.shared_key = NULL;
        if (!servers[i].pinned) h.rig.config.secret_key = NULL;
        rig_serve(&h.rig);
        for (size_t k = 0; k < KEYED; k++) {
            struct hand a = hand_of(FRAMED_CONNECTOR, keyed[k]);
            if (keyed[k] == servers[i].takes) {
                hand_enter(&a);
                assert_hand_echoes(&a, "in");
            } else {
                hand_begin(&a);
                assert_hand_cut(&a);
            }
            hand_end(&a);
        }
        struct sim_peer *plain = connected();
        sim_peer_send_frame_text(plain, "plain");
        sim_run_ms(0);
        assert_int_equal(sim_peer_received(plain).len, 0);
        assert_int_equal(sim_peer_state(plain), SIM_ENDED);
        assert_int_equal(h.rig.started, 1);
        house_stop(&h);
    }
}

static void config_without_the_keys_it_needs_is_refused(void **state)
{
    const struct framed_key zeros = {{0}};
    struct house h;
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        house_start(&h, only(keyed[i]));
        struct framed_server_config *c = &h.rig.config, whole = *c;
        if (needs_shared(keyed[i])) {
            c->shared_key = NULL;
            assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_USAGE);
            *c = whole;
        }
        if (needs_identity(keyed[i])) {
            c->secret_key = NULL;
            assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_USAGE);
            *c = whole;
            c->secret_key = &zeros;
            assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_USAGE);
            *c = whole;
            c->authorize = NULL;
            assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_USAGE);
            *c = whole;
        }
        c->protections |= 1u << 3; /* no protection */
        assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_UNSUPPORTED);
        *c = whole;
        c->protections = 1u << 31;
        assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_UNSUPPORTED);
        *c = whole;
        assert_int_equal(framed_server_new(c, &h.rig.server), FRAMED_OK);
        framed_server_free(h.rig.server);
        sim_stop();
    }
}

static void shared_key_without_a_hook_lets_in_who_has_it(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, 0);
    h.rig.config.secret_key = NULL;
    h.rig.config.authorize = NULL;
    rig_serve(&h.rig);
    struct hand a = entered(FRAMED_SHARED_KEY);
    assert_hand_echoes(&a, "in");
    assert_string_equal(h.name, "");
    hand_end(&a);
    house_stop(&h);
}

static void any_split_of_what_comes_gives_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        a.peer = connected();
        hand_compose(&a);
        for (size_t n = 0; n < a.flight_len; n++) hand_send_raw(&a, a.flight + n, 1);
        sim_peer_take(a.peer, PREFACE);
        assert_int_equal(hand_hear(&a), FRAMED_OK);
        size_t len = 0, record_len;
        uint8_t rest[256];
        if (needs_identity(keyed[i])) assert_int_equal(framed_handshake_say(&a.hs, rest, &len), FRAMED_OK);
        hand_split(&a);
        uint8_t *frame = framed_text("one", 3), *record = hand_seal(&a, RECORD_DATA, frame, 7, &record_len);
        memcpy(rest + len, record, record_len);
        for (size_t n = 0; n < len + record_len; n++) hand_send_raw(&a, rest + n, 1);
        hand_hears(&a, "one", 3);
        free(frame);
        free(record);
        hand_end(&a);
        /* message 3 and the first requests together */
        a = hand_of(FRAMED_CONNECTOR, keyed[i]);
        hand_knock(&a);
        sim_peer_send(a.peer, a.flight, a.flight_len);
        hand_say_frame(&a, "first", 5, 2); /* records of two bytes: lengths and payloads are cut */
        hand_say(&a, RECORD_PAD, "pad", 3);
        hand_say_frame(&a, "second", 6, 0);
        sim_run_ms(0);
        hand_hears(&a, "first", 5);
        hand_hears(&a, "second", 6);
        hand_end(&a);
        assert_int_equal(rig_stats(&h.rig).requests, 3);
        house_stop(&h);
    }
}

static void frames_of_every_size_go_and_come(void **state)
{
    const size_t sizes[] = {0, 1, 1023, 4096, 65513, 65514, 65515, 65518, 65536, 131036, 200000};
    const size_t pieces[] = {0, 1000, 65517};
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_SHARED_AND_PINNED);
    struct hand a = entered(FRAMED_SHARED_AND_PINNED);
    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            uint8_t *body = pattern(sizes[i]);
            hand_say_frame(&a, body, sizes[i], pieces[k]);
            hand_say_frame(&a, body, sizes[i] < 50 ? sizes[i] : 50, pieces[k]);
            sim_run_ms(0);
            hand_hears(&a, body, sizes[i]);
            hand_hears(&a, body, sizes[i] < 50 ? sizes[i] : 50);
            if (sizes[i] > 0) { /* kept, and answered later with its own body; with ten times as much */
                body[0] = 'D';
                hand_say_frame(&a, body, sizes[i], pieces[k]);
                sim_run_ms(0);
                assert_int_equal(rig_answer(&h.rig, h.rig.kept_count - 1), FRAMED_OK);
                sim_run_ms(0);
                hand_hears(&a, body, sizes[i]);
                body[0] = 'B';
                struct framed_bytes got = {0};
                hand_say_frame(&a, body, sizes[i], pieces[k]);
                sim_run_ms(0);
                assert_true(hand_frame(&a, &got));
                assert_int_equal(got.len, 10 * sizes[i]);
                assert_memory_equal(got.at + 9 * sizes[i], body, sizes[i]);
            }
            free(body);
        }
    }
    assert_int_equal(sim_peer_state(a.peer), SIM_OPEN);
    hand_end(&a);
    house_stop(&h);
}

static void limits_hold_for_payloads_and_not_for_records(void **state)
{
    uint8_t *body = pattern(20001);
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_start(&h, only(keyed[i]));
        h.rig.config.max_frame = 20000;
        rig_serve(&h.rig);
        struct hand a = entered(keyed[i]);
        assert_int_equal(framed_handshake_hello(&a.hs).max_frame, 20000);
        hand_say(&a, RECORD_PAD, "", 0); /* with a shared key the first record is a short one */
        hand_say_frame(&a, body, 20000, 0);
        sim_run_ms(0);
        hand_hears(&a, body, 20000);
        size_t before = meter_in_use(sim_meter());
        hand_say(&a, RECORD_DATA, "\0\0\x4e\x21", 4); /* the length alone, of 20,001 */
        sim_run_ms(0);
        assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
        assert_true(meter_in_use(sim_meter()) <= before + 1024);
        assert_int_equal(rig_logged(&h.rig, "a frame of 20001 bytes was claimed, at most 20000 are allowed"), 1);
        assert_int_equal(h.rig.started, 1);
        hand_end(&a);
        house_stop(&h);
    }
    free(body);
}

static void reply_longer_than_the_peer_accepts_fails_its_call(void **state)
{
    struct house h;
    uint8_t *body = pattern(2000);
    struct framed_bytes got;
    (void)state;
    house_serves(&h, FRAMED_PINNED_KEYS);
    struct hand a = hand_of(FRAMED_CONNECTOR, FRAMED_PINNED_KEYS);
    a.max_frame = 16384;
    hand_enter(&a);
    body[0] = 'B';
    hand_say_frame(&a, body, 1638, 0);
    sim_run_ms(0);
    assert_true(hand_frame(&a, &got));
    assert_int_equal(got.len, 16380);
    hand_say_frame(&a, body, 1639, 0);
    sim_run_ms(0);
    assert_hand_closed(&a, 0);
    assert_int_equal(rig_logged(&h.rig, "longer than the peer accepts"), 1);
    hand_end(&a);
    house_stop(&h);
    free(body);
}

/* ---- how many records ---- */

enum { SMALL_ONES = 50, SMALL = 20, SMALL_ONES_LEN = SMALL_ONES * (FRAMED_LENGTH_SIZE + SMALL) };

/* So many small requests, whose first bytes say what is done with them: in a record of their own each, or all in one. */
static void ask_small_ones(struct hand *h, char what, bool in_one)
{
    uint8_t text[SMALL_ONES_LEN], body[SMALL];
    memset(body, what, sizeof body);
    for (size_t i = 0; i < SMALL_ONES; i++) {
        uint8_t *frame = framed_text(body, SMALL);
        memcpy(text + i * (FRAMED_LENGTH_SIZE + SMALL), frame, FRAMED_LENGTH_SIZE + SMALL);
        free(frame);
        if (!in_one) hand_say_frame(h, body, SMALL, 0);
    }
    if (in_one) hand_say(h, RECORD_DATA, text, sizeof text);
    sim_run_ms(0);
}

static void small_replies_of_one_turn_share_a_record(void **state)
{
    const size_t one_record[] = {SMALL_ONES_LEN};
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        hand_say(&a, RECORD_PAD, "", 0); /* with a shared key the first record is a short one */
        for (int in_one = 0; in_one < 2; in_one++) {
            ask_small_ones(&a, 'e', in_one);
            assert_hand_heard_records(&a, SMALL_ONES, SMALL, one_record, 1);
            ask_small_ones(&a, 'D', in_one); /* kept; answered together later */
            assert_hand_heard_records(&a, 0, 0, NULL, 0);
            rig_answer_all(&h.rig);
            sim_run_ms(0);
            assert_hand_heard_records(&a, SMALL_ONES, SMALL, one_record, 1);
        }
        hand_end(&a);
        house_stop(&h);
    }
}

static void replies_of_two_turns_have_a_record_each(void **state)
{
    const size_t one_record[] = {FRAMED_LENGTH_SIZE + 3};
    struct house h;
    (void)state;
    house_serves(&h, FRAMED_PINNED_KEYS);
    struct hand a = entered(FRAMED_PINNED_KEYS);
    for (size_t i = 0; i < 3; i++) {
        hand_ask(&a, "now");
        assert_hand_heard_records(&a, 1, 3, one_record, 1);
    }
    hand_end(&a);
    house_stop(&h);
}

static void long_reply_leaves_in_halves_of_65518_bytes_at_most(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        hand_say(&a, RECORD_PAD, "", 0);
        for (size_t k = 0; k < LONG_ONES; k++) {
            uint8_t *body = pattern(long_ones[k].n);
            hand_say_frame(&a, body, long_ones[k].n, 0);
            sim_run_ms(0);
            assert_hand_heard_records(&a, 1, long_ones[k].n, long_ones[k].bodies, long_ones[k].count);
            free(body);
        }
        hand_end(&a);
        house_stop(&h);
    }
}

/* Of so many bytes, if each is as long as it may be. */
static size_t whole_records(size_t len, size_t bodies[BODIES_KEPT])
{
    size_t count = 0;
    for (; len > RECORD_BODY_MOST; len -= RECORD_BODY_MOST) bodies[count++] = RECORD_BODY_MOST;
    bodies[count++] = len;
    return count;
}

/* Where others wait for the server, too, halves would help nobody: records are as long as they may be. */
static void long_reply_leaves_in_whole_records_where_the_server_is_busy(void **state)
{
    struct house h;
    (void)state;
    house_start(&h, only(FRAMED_PINNED_KEYS));
    sim_capacity(1 << 20); /* it leaves in the turn in which it is made */
    rig_serve(&h.rig);
    struct hand a = entered(FRAMED_PINNED_KEYS), others[] = {entered(FRAMED_PINNED_KEYS), entered(FRAMED_PINNED_KEYS)};
    for (size_t k = 0; k < LONG_ONES; k++) {
        size_t n = long_ones[k].n, bodies[BODIES_KEPT], count = whole_records(FRAMED_LENGTH_SIZE + n, bodies);
        uint8_t *body = pattern(n);
        body[0] = 'D';
        hand_say_frame(&a, body, n, 0);
        sim_run_ms(0);
        for (size_t i = 0; i < 2; i++) hand_say_frame(&others[i], "at once", 7, 0);
        assert_int_equal(rig_answer(&h.rig, h.rig.kept_count - 1), FRAMED_OK);
        sim_run_ms(0);
        assert_hand_heard_records(&a, 1, n, bodies, count);
        for (size_t i = 0; i < 2; i++) hand_hears(&others[i], "at once", 7);
        free(body);
    }
    hand_end(&a);
    for (size_t i = 0; i < 2; i++) hand_end(&others[i]);
    house_stop(&h);
}

/* ---- where the system takes little ---- */

/* All that the server says in a session, if the system takes so much at a time. */
static size_t said_with(enum framed_protection p, const size_t *sends, size_t count, uint8_t *said)
{
    struct house h;
    uint8_t *body = pattern(700);
    house_serves(&h, p);
    const struct sim_script script = {.sends = sends, .send_count = count};
    sim_script(SIM_ACCEPTOR, &script);
    struct hand a = hand_of(FRAMED_CONNECTOR, p);
    a.ephemeral[5] = 1;
    hand_begin(&a);
    sim_run_ms(100);
    struct framed_bytes got = sim_peer_received(a.peer);
    size_t n = got.len;
    memcpy(said, got.at, n);
    sim_peer_take(a.peer, PREFACE);
    assert_int_equal(hand_hear(&a), FRAMED_OK);
    if (needs_identity(p)) {
        assert_int_equal(framed_handshake_say(&a.hs, a.flight, &a.flight_len), FRAMED_OK);
        hand_send_raw(&a, a.flight, a.flight_len);
    }
    hand_split(&a);
    hand_say(&a, RECORD_PAD, "", 0); /* with a shared key the first record is a short one */
    hand_say_frame(&a, body, 700, 0);
    sim_run_ms(200);
    hand_say_frame(&a, "x", 1, 0);
    hand_say(&a, RECORD_CLOSE, "", 1);
    sim_run_ms(200);
    got = sim_peer_received(a.peer);
    memcpy(said + n, got.at, got.len);
    n += got.len;
    hand_hears(&a, body, 700);
    hand_hears(&a, "x", 1);
    assert_hand_closed(&a, 0);
    free(body);
    hand_end(&a);
    house_stop(&h);
    return n;
}

static void bytes_are_the_same_wherever_the_system_takes_no_more(void **state)
{
    static uint8_t free_said[2048], said[2048];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        size_t n = said_with(keyed[i], NULL, 0, free_said);
        assert_in_range(n, 700, sizeof said);
        for (size_t cut = 1; cut < n; cut += 1 + cut / 150) { /* would block there, once; then it takes all */
            const size_t sends[] = {cut, 0, 100000};
            assert_int_equal(said_with(keyed[i], sends, 3, said), n);
            assert_memory_equal(said, free_said, n);
        }
        const size_t ones[] = {1}, holes[] = {1, 0};
        assert_int_equal(said_with(keyed[i], ones, 1, said), n);
        assert_memory_equal(said, free_said, n);
        assert_int_equal(said_with(keyed[i], holes, 2, said), n);
        assert_memory_equal(said, free_said, n);
    }
}

/* ---- orderly ends ---- */

static void drain_answers_what_was_asked_and_says_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]), idle = entered(keyed[i]);
        assert_hand_echoes(&idle, "in");
        hand_ask(&a, "Dlater");
        framed_server_drain(h.rig.server);
        sim_run_ms(0);
        assert_hand_closed(&idle, 0);
        rig_answer_all(&h.rig);
        sim_run_ms(0);
        hand_hears(&a, "Dlater", 6);
        assert_hand_closed(&a, 0);
        sim_peer_finish(a.peer);
        sim_peer_finish(idle.peer);
        assert_int_equal(rig_drain(&h.rig, 1000), FRAMED_OK);
        hand_end(&a);
        hand_end(&idle);
        house_stop(&h);
    }
}

static void idle_one_is_closed_like_any(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_start(&h, only(keyed[i]));
        h.rig.config.idle_ms = 1000;
        rig_serve(&h.rig);
        struct hand a = entered(keyed[i]);
        assert_hand_echoes(&a, "in");
        sim_run_ms(2000);
        assert_ended_at(a.peer, 1000);
        assert_hand_closed(&a, 0);
        assert_int_equal(rig_logged(&h.rig, "idle for too long"), 1);
        hand_end(&a);
        house_stop(&h);
    }
}

/* ---- the end ---- */

static void end_of_the_stream_is_clean_behind_close_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        size_t whole = 1;
        for (size_t cut = 0; cut <= whole; cut++) {
            struct house h;
            house_serves(&h, keyed[i]);
            struct hand a = hand_of(FRAMED_CONNECTOR, keyed[i]);
            size_t len;
            hand_compose(&a);
            size_t flight = a.flight_len, left = cut;
            a.peer = connected();
            hand_send_raw(&a, a.flight, left < flight ? left : flight);
            left -= left < flight ? left : flight;
            if (cut >= flight) {
                uint8_t rest[256];
                size_t n = 0;
                sim_peer_take(a.peer, PREFACE);
                assert_int_equal(hand_hear(&a), FRAMED_OK);
                if (needs_identity(keyed[i])) assert_int_equal(framed_handshake_say(&a.hs, rest, &n), FRAMED_OK);
                hand_split(&a);
                uint8_t *frame = framed_text("pay", 3), *record = hand_seal(&a, RECORD_DATA, frame, 7, &len);
                memcpy(rest + n, record, len);
                size_t asked = n += len;
                free(record);
                record = hand_seal(&a, RECORD_CLOSE, "", 1, &len);
                memcpy(rest + n, record, len);
                n += len;
                free(record);
                free(frame);
                whole = flight + n;
                hand_send_raw(&a, rest, left);
                assert_int_equal(h.rig.started, left >= asked);
            }
            sim_peer_finish(a.peer);
            sim_run_ms(0);
            assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
            bool clean = cut == 0 || (cut == whole && whole > 1);
            assert_int_equal(rig_logged(&h.rig, "closed: the peer closed the connection"), clean);
            assert_int_equal(rig_stats(&h.rig).framing_errors, !clean);
            if (cut >= flight &&
                whole - cut <= (needs_identity(keyed[i]) ? 28 + 22 : 22)) { /* it is there: it hears our end */
                hand_gather(&a);
                assert_true(a.closed);
            }
            hand_end(&a);
            house_stop(&h);
            if (cut == 0 && whole == 1) whole = flight;
        }
    }
}

static void anything_behind_close_and_close_inside_a_frame_are_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_serves(&h, keyed[i]);
        struct hand a = entered(keyed[i]);
        size_t len;
        uint8_t *frame = framed_text("one", 3), *record = hand_seal(&a, RECORD_DATA, frame, 7, &len);
        hand_send_raw(&a, record, len);
        hand_hears(&a, "one", 3);
        hand_say(&a, RECORD_CLOSE, "", 1);
        hand_send_raw(&a, record, len); /* behind CLOSE no key is left to make another with */
        assert_int_equal(sim_peer_state(a.peer), SIM_ENDED);
        assert_int_equal(rig_logged(&h.rig, "no record, where one must come"), 1);
        assert_int_equal(h.rig.started, 1);
        hand_end(&a);
        struct hand b = entered(keyed[i]);
        hand_say(&b, RECORD_DATA, frame, 6);
        hand_say(&b, RECORD_CLOSE, "", 1);
        sim_run_ms(0);
        assert_int_equal(sim_peer_state(b.peer), SIM_ENDED);
        assert_int_equal(rig_logged(&h.rig, "the peer ended inside a frame"), 1);
        assert_int_equal(h.rig.started, 1);
        assert_int_equal(rig_stats(&h.rig).framing_errors, 2);
        free(frame);
        free(record);
        hand_end(&b);
        house_stop(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_session_tells_the_handler_who_asks),
        cmocka_unit_test(log_names_the_peer_and_stays_one_line),
        cmocka_unit_test(identity_is_gone_when_the_call_was_deferred_and_there_is_none_without_keys),
        cmocka_unit_test(plain_checked_and_encrypted_live_on_one_port_when_named),
        cmocka_unit_test(server_with_keys_takes_only_what_needs_them_all_unless_told),
        cmocka_unit_test(config_without_the_keys_it_needs_is_refused),
        cmocka_unit_test(shared_key_without_a_hook_lets_in_who_has_it),
        cmocka_unit_test(any_split_of_what_comes_gives_the_same),
        cmocka_unit_test(frames_of_every_size_go_and_come),
        cmocka_unit_test(limits_hold_for_payloads_and_not_for_records),
        cmocka_unit_test(reply_longer_than_the_peer_accepts_fails_its_call),
        cmocka_unit_test(small_replies_of_one_turn_share_a_record),
        cmocka_unit_test(replies_of_two_turns_have_a_record_each),
        cmocka_unit_test(long_reply_leaves_in_halves_of_65518_bytes_at_most),
        cmocka_unit_test(long_reply_leaves_in_whole_records_where_the_server_is_busy),
        cmocka_unit_test(bytes_are_the_same_wherever_the_system_takes_no_more),
        cmocka_unit_test(drain_answers_what_was_asked_and_says_close),
        cmocka_unit_test(idle_one_is_closed_like_any),
        cmocka_unit_test(end_of_the_stream_is_clean_behind_close_alone),
        cmocka_unit_test(anything_behind_close_and_close_inside_a_frame_are_errors),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel", tests, NULL, NULL);
}
