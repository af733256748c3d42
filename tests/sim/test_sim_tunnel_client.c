/*
 * test_sim_tunnel_client.c: owns the proof of what a client does on encrypted connections (PROTOCOL.md §9): with an acceptor that is who
 * it must be, and with one that is not.
 * Must not know how it is done.
 * Invariants: each test is one world, or one after the other; the acceptor is made by hand (tunnel.h) and lies where the test says so.
 */
#include "tunnel.h"

static void assert_writable(struct framed_client *client)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, 10, &event), FRAMED_OK);
    assert_int_equal(event.kind, FRAMED_EVENT_WRITABLE);
}

static void step_on(struct framed_client *client)
{
    struct framed_event event;
    assert_int_equal(framed_client_next(client, 1, &event), FRAMED_MORE);
}

/* A client of ours, and an acceptor by hand. */
struct pair {
    struct sim_acceptor *acceptor;
    struct hand a;
    struct framed_client *client;
};

/* The client's first flight has come, and has not been looked at. */
static struct pair pair_begun_with(const struct framed_client_config *config)
{
    struct pair p = {.a = hand_of(FRAMED_ACCEPTOR, config->protection)};
    sim_start(0);
    p.acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_new(config, &p.client), FRAMED_OK);
    assert_int_equal(framed_client_connect(p.client, WHERE, 0), FRAMED_MORE);
    step_on(p.client);
    p.a.peer = sim_accept(p.acceptor);
    assert_non_null(p.a.peer);
    return p;
}

static struct pair pair_begun(enum framed_protection protection)
{
    struct framed_client_config config = keyed_config(protection);
    return pair_begun_with(&config);
}

/* The acceptor's answer has come, and what the client says to it. */
static void pair_open(struct pair *p)
{
    hand_compose_answer(&p->a);
    hand_send_raw(&p->a, p->a.flight, p->a.flight_len);
    assert_writable(p->client);
    sim_run_ms(0);
    if (needs_identity(p->a.protection)) assert_int_equal(hand_hear(&p->a), FRAMED_OK);
    hand_split(&p->a);
}

static struct pair pair_opened(enum framed_protection protection)
{
    struct pair p = pair_begun(protection);
    pair_open(&p);
    return p;
}

static void pair_stop(struct pair *p)
{
    hand_end(&p->a);
    framed_client_free(p->client);
    sim_stop();
}

/* Connecting comes to nothing: so says the event, and the error; a call is not begun. */
static enum framed_status assert_never_opens(struct pair *p, const char *words)
{
    struct framed_event event = next_event(p->client, 100000);
    uint64_t id;
    assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
    if (strstr(framed_client_error(p->client), words) == NULL) {
        print_error("not said: %s; but %s\n", words, framed_client_error(p->client));
        fail();
    }
    assert_int_equal(framed_client_start(p->client, framed_bytes_str("x"), 1000, &id), event.status);
    sim_run_ms(0);
    assert_int_equal(sim_peer_received(p->a.peer).len, 0); /* nothing has left behind the first flight */
    return event.status;
}

/* ---- as it should be ---- */

static void calls_go_and_come_as_records(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        struct framed_bytes got;
        uint64_t one = started(p.client, "hello", 1000);
        sim_run_ms(0);
        hand_hears(&p.a, "hello", 5);
        if (needs_identity(keyed[i])) assert_memory_equal(p.a.peer_key, ring()->public[CLIENT].bytes, FRAMED_KEY_SIZE);
        hand_say_frame(&p.a, "reply", 5, 3);
        struct framed_event event = next_event(p.client, 10);
        assert_int_equal(event.call, one);
        assert_bytes(event.payload, "reply", 5);
        assert_false(hand_frame(&p.a, &got));
        assert_int_equal(framed_client_finish(p.client), FRAMED_OK);
        sim_run_ms(0);
        assert_hand_closed(&p.a, 0);
        hand_say(&p.a, RECORD_CLOSE, "", 1);
        event = next_event(p.client, 10);
        assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
        assert_int_equal(event.status, FRAMED_CLOSED);
        pair_stop(&p);
    }
}

static void client_with_a_shared_key_shows_at_once_that_it_is_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        hand_gather(&p.a);
        assert_int_equal(p.a.failed, FRAMED_OK);
        assert_int_equal(p.a.records, keyed[i] == FRAMED_SHARED_KEY); /* an empty PAD; else message 3 has done it */
        assert_int_equal(p.a.text_len, 0);
        pair_stop(&p);
    }
}

static void free_says_close(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        (void)started(p.client, "taken over", 1000);
        sim_peer_finish(p.a.peer);
        framed_client_free(p.client);
        p.client = NULL;
        sim_run_ms(0);
        hand_hears(&p.a, "taken over", 10);
        assert_hand_closed(&p.a, 0);
        pair_stop(&p);
    }
}

static void answer_may_come_in_any_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_begun(keyed[i]);
        uint64_t id;
        hand_compose_answer(&p.a);
        for (size_t n = 0; n + 1 < p.a.flight_len; n++) {
            hand_send_raw(&p.a, p.a.flight + n, 1);
            step_on(p.client);
            assert_int_equal(framed_client_start(p.client, framed_bytes_str("x"), 1000, &id), FRAMED_FULL); /* not yet */
            assert_int_equal(sim_peer_received(p.a.peer).len, 0);
        }
        hand_send_raw(&p.a, p.a.flight + p.a.flight_len - 1, 1);
        assert_writable(p.client);
        sim_run_ms(0);
        if (needs_identity(keyed[i])) assert_int_equal(hand_hear(&p.a), FRAMED_OK);
        hand_split(&p.a);
        (void)started(p.client, "now", 1000);
        sim_run_ms(0);
        hand_hears(&p.a, "now", 3);
        size_t len;
        uint8_t *frame = framed_text("reply", 5), *record = hand_seal(&p.a, RECORD_DATA, frame, 9, &len);
        for (size_t n = 0; n < len; n++) {
            hand_send_raw(&p.a, record + n, 1);
            if (n + 1 < len) step_on(p.client);
        }
        assert_bytes(next_event(p.client, 10).payload, "reply", 5);
        free(frame);
        free(record);
        pair_stop(&p);
    }
}

/* Replies that lie in one record, in many, and across; taken one by one. */
static void replies_that_share_records_are_given_out_one_by_one(void **state)
{
    const size_t pieces[] = {1, 3, 7, 20, 0};
    (void)state;
    for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
        struct pair p = pair_opened(FRAMED_PINNED_KEYS);
        uint64_t ids[5];
        uint8_t text[200];
        size_t n = 0;
        for (size_t i = 0; i < 5; i++) ids[i] = started(p.client, "x", 1000);
        for (size_t i = 0; i < 5; i++) {
            uint8_t *frame = framed_text("a reply, which is the same", 20 + i);
            memcpy(text + n, frame, 24 + i);
            n += 24 + i;
            free(frame);
        }
        for (size_t at = 0, piece = pieces[k] ? pieces[k] : n; at < n; at += piece)
            hand_say(&p.a, RECORD_DATA, text + at, n - at < piece ? n - at : piece);
        hand_say(&p.a, RECORD_CLOSE, "", 1);
        sim_peer_finish(p.a.peer);
        for (size_t i = 0; i < 5; i++) {
            struct framed_event event = next_event(p.client, 10);
            assert_int_equal(event.call, ids[i]);
            assert_bytes(event.payload, "a reply, which is the same", 20 + i);
        }
        assert_int_equal(next_event(p.client, 10).status, FRAMED_CLOSED);
        pair_stop(&p);
    }
}

/* The first leaves at once, since nothing is under way that it could wait for; what is begun behind it leaves together. */
static void small_requests_of_one_turn_share_a_record(void **state)
{
    enum { MANY = 30, EACH = FRAMED_LENGTH_SIZE + 4 };
    const size_t first[] = {EACH, (MANY - 1) * EACH}, then[] = {MANY * EACH};
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        for (size_t k = 0; k < MANY; k++) (void)started(p.client, "asks", 1000);
        step_on(p.client);
        assert_hand_heard_records(&p.a, MANY, 4, first, 2);
        for (size_t k = 0; k < MANY; k++) (void)started(p.client, "asks", 1000);
        step_on(p.client);
        assert_hand_heard_records(&p.a, MANY, 4, then, 1);
        pair_stop(&p);
    }
}

static void long_request_leaves_in_halves_of_65518_bytes_at_most(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        for (size_t k = 0; k < LONG_ONES; k++) {
            uint8_t *body = pattern(long_ones[k].n);
            uint64_t id;
            assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, long_ones[k].n), 1000, &id), FRAMED_OK);
            step_on(p.client);
            assert_hand_heard_records(&p.a, 1, long_ones[k].n, long_ones[k].bodies, long_ones[k].count);
            hand_say_frame(&p.a, "done", 4, 0);
            assert_bytes(next_event(p.client, 10).payload, "done", 4);
            free(body);
        }
        pair_stop(&p);
    }
}

static void frames_that_answer_nothing_go_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct framed_client_config config = keyed_config(keyed[i]);
        struct framed_bytes frame;
        config.replies = FRAMED_REPLIES_NONE;
        struct pair p = pair_begun_with(&config);
        pair_open(&p);
        hand_say_frame(&p.a, "pushed", 6, 0);
        hand_say_frame(&p.a, "twice", 5, 2);
        assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_OK);
        assert_bytes(frame, "pushed", 6);
        assert_int_equal(framed_client_send(p.client, frame, 1000), FRAMED_OK); /* what lies in the event */
        assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_OK);
        assert_bytes(frame, "twice", 5);
        sim_run_ms(0);
        hand_hears(&p.a, "pushed", 6);
        hand_say(&p.a, RECORD_CLOSE, "", 1);
        assert_int_equal(framed_client_recv(p.client, 1000, &frame), FRAMED_CLOSED);
        pair_stop(&p);
    }
}

static void request_longer_than_the_peer_accepts_is_refused_and_harms_nothing(void **state)
{
    uint8_t *body = pattern(16385);
    uint64_t id;
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_begun(keyed[i]);
        p.a.max_frame = 16384;
        pair_open(&p);
        assert_int_equal(framed_client_longest(p.client), 16384);
        assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 16385), 1000, &id), FRAMED_TOO_LARGE);
        assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 16384), 1000, &id), FRAMED_OK);
        sim_run_ms(0);
        hand_hears(&p.a, body, 16384);
        pair_stop(&p);
    }
    free(body);
}

static void reply_longer_than_the_client_accepts_is_an_error(void **state)
{
    struct framed_client_config config = keyed_config(FRAMED_SHARED_AND_PINNED);
    (void)state;
    config.max_frame = 20000;
    struct pair p = pair_begun_with(&config);
    pair_open(&p);
    (void)started(p.client, "x", 1000);
    sim_run_ms(0);
    hand_say(&p.a, RECORD_DATA, "\0\0\x4e\x21", 4);
    struct framed_event event = next_event(p.client, 10);
    assert_int_equal(event.status, FRAMED_TOO_LARGE);
    assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    assert_non_null(strstr(framed_client_error(p.client), "20001"));
    pair_stop(&p);
}

/* The record in which the first one's end lies has not left whole; those behind it lie in none. */
static void what_is_in_no_record_was_not_executed(void **state)
{
    uint8_t *body = pattern(200000);
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        uint64_t one, two;
        sim_peer_stop_reading(p.a.peer);
        assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 200000), 1000, &one), FRAMED_OK);
        assert_int_equal(framed_client_start(p.client, framed_bytes_str("two"), 1000, &two), FRAMED_OK);
        step_on(p.client);
        sim_peer_finish(p.a.peer);
        struct framed_event first = next_event(p.client, 10), second = next_event(p.client, 10);
        assert_int_equal(first.call, one);
        assert_int_equal(first.status, FRAMED_TRUNCATED);
        assert_int_equal(first.outcome, FRAMED_MAYBE_EXECUTED);
        assert_int_equal(second.call, two);
        assert_int_equal(second.outcome, FRAMED_NOT_EXECUTED);
        pair_stop(&p);
    }
    free(body);
}

static void config_without_the_keys_it_needs_is_refused(void **state)
{
    const struct framed_key zeros = {{0}};
    const struct framed_key pins[5] = {{{1}}, {{2}}, {{3}}, {{4}}, {{5}}};
    struct framed_client *client = NULL;
    (void)state;
    sim_start(0);
    for (size_t i = 0; i < KEYED; i++) {
        struct framed_client_config whole = keyed_config(keyed[i]), c[16];
        size_t n = 0;
        for (size_t k = 0; k < 16; k++) c[k] = whole;
        if (needs_shared(keyed[i])) {
            c[n++].shared_key = NULL;
            c[n++].key_id.len = FRAMED_KEY_ID_MOST + 1;
            c[n++].shared_key = &zeros;
        } else {
            c[n++].shared_key = &ring()->shared;
            c[n++].key_id = framed_bytes_str("x");
        }
        if (needs_identity(keyed[i])) {
            c[n++].secret_key = NULL;
            c[n++].secret_key = &zeros;
            c[n++].peer_keys = NULL;
            c[n++].peer_key_count = 0;
            c[n].peer_keys = pins;
            c[n++].peer_key_count = 5;
            c[n].peer_keys = &ring()->public[CLIENT]; /* its own */
            c[n++].peer_key_count = 1;
        } else {
            c[n++].secret_key = &ring()->secret[CLIENT];
            c[n].peer_keys = pins;
            c[n++].peer_key_count = 1;
        }
        for (size_t k = 0; k < n; k++) {
            if (framed_client_new(&c[k], &client) != FRAMED_USAGE) {
                print_error("protection %d, config %zu\n", (int)keyed[i], k);
                fail();
            }
        }
        assert_int_equal(framed_client_new(&whole, &client), FRAMED_OK);
        framed_client_free(client);
    }
    sim_stop();
}

/* ---- the acceptor is another ---- */

static void impostor_is_not_shown_the_clients_key(void **state)
{
    (void)state;
    for (size_t i = 1; i < KEYED; i++) {
        struct pair p = pair_begun(keyed[i]);
        memcpy(p.a.identity.secret, ring()->secret[STRANGER].bytes, NOISE_KEY_SIZE);
        memcpy(p.a.identity.public, ring()->public[STRANGER].bytes, NOISE_KEY_SIZE);
        hand_compose_answer(&p.a);
        hand_send_raw(&p.a, p.a.flight, p.a.flight_len);
        assert_int_equal(assert_never_opens(&p, "the peer has another key than it must have"), FRAMED_AUTH);
        assert_true(sim_peer_let_go(p.a.peer));
        pair_stop(&p);
        p = pair_begun(keyed[i]); /* with the right public key, and a secret of its own */
        memcpy(p.a.identity.secret, ring()->secret[STRANGER].bytes, NOISE_KEY_SIZE);
        hand_compose_answer(&p.a);
        hand_send_raw(&p.a, p.a.flight, p.a.flight_len);
        assert_int_equal(assert_never_opens(&p, "the handshake failed"), FRAMED_AUTH);
        pair_stop(&p);
    }
    for (size_t i = 0; i < KEYED; i += 2) { /* without the shared key */
        struct pair p = pair_begun(keyed[i]);
        struct framed_bytes got = sim_peer_received(p.a.peer);
        uint8_t answer[PREFACE + 4 + 104] = {0xf7, 0x66, 1, p.a.mode, 0, 0, 0, keyed[i] == FRAMED_SHARED_KEY ? 48 : 96};
        memset(answer + HEAD, 9, sizeof answer - HEAD);
        sim_peer_take(p.a.peer, got.len);
        hand_send_raw(&p.a, answer, HEAD + (size_t)answer[7]);
        assert_int_equal(assert_never_opens(&p, "the handshake failed"), FRAMED_AUTH);
        pair_stop(&p);
    }
}

/* The server knows who we are, and does not let us in: that is said. It may have done so
 * before, and have begun what was asked. */
static void client_that_is_turned_away_knows_it_and_not_what_was_executed(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        uint64_t one = started(p.client, "one", 1000), two = started(p.client, "two", 1000);
        step_on(p.client);
        hand_say(&p.a, RECORD_CLOSE, "\1", 1);
        sim_peer_finish(p.a.peer);
        struct framed_event first = next_event(p.client, 10), second = next_event(p.client, 10);
        assert_int_equal(first.call, one);
        assert_int_equal(first.status, FRAMED_AUTH);
        assert_int_equal(first.outcome, FRAMED_MAYBE_EXECUTED);
        assert_int_equal(second.call, two);
        assert_int_equal(second.outcome, FRAMED_MAYBE_EXECUTED);
        assert_int_equal(next_event(p.client, 10).status, FRAMED_AUTH);
        assert_non_null(strstr(framed_client_error(p.client), "our key is not allowed there"));
        pair_stop(&p);
        /* and behind a reply */
        p = pair_opened(keyed[i]);
        (void)started(p.client, "one", 1000);
        step_on(p.client);
        hand_say_frame(&p.a, "reply", 5, 0);
        assert_bytes(next_event(p.client, 10).payload, "reply", 5);
        (void)started(p.client, "two", 1000);
        step_on(p.client);
        hand_say(&p.a, RECORD_CLOSE, "\1", 1);
        second = next_event(p.client, 10);
        assert_int_equal(second.status, FRAMED_AUTH);
        assert_int_equal(second.outcome, FRAMED_MAYBE_EXECUTED);
        pair_stop(&p);
    }
}

static void client_that_the_server_does_not_know_is_told_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        struct framed_client_config config = keyed_config(keyed[i]);
        struct framed_event event;
        struct framed_client *client;
        house_start(&h, only(keyed[i]));
        h.nobody = keyed[i] == FRAMED_SHARED_KEY;
        rig_serve(&h.rig);
        if (needs_identity(keyed[i])) config.secret_key = &ring()->secret[STRANGER];
        assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
        assert_int_equal(framed_client_connect(client, WHERE, 1000), FRAMED_OK);
        assert_int_equal(framed_client_call(client, framed_bytes_str("x"), 1000, &event), FRAMED_AUTH);
        assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
        assert_non_null(strstr(framed_client_error(client), "our key is not allowed there"));
        assert_int_equal(h.rig.started, 0);
        assert_int_equal(rig_logged(&h.rig, "is not allowed here"), 1);
        framed_client_free(client);
        house_stop(&h);
    }
}

static void client_that_is_not_let_in_any_more_is_told_that_its_call_may_have_been_executed(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        struct framed_client_config config = keyed_config(keyed[i]);
        house_serves(&h, keyed[i]);
        struct framed_client *client = client_with(&config);
        uint64_t id = started(client, "Dlater", 1000);
        sim_run_ms(0);
        assert_int_equal(h.rig.started, 1); /* the handler has it, and nothing has been answered yet */
        h.nobody = true;
        framed_server_recheck(h.rig.server);
        struct framed_event event = next_event(client, 100);
        assert_int_equal(event.call, id);
        assert_int_equal(event.status, FRAMED_AUTH);
        assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
        framed_client_free(client);
        house_stop(&h);
    }
}

/* Of ours with ours, with keys that do not belong together: what each says of it. */
static void keys_that_do_not_belong_together_open_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        for (int wrong = 0; wrong < 3; wrong++) { /* the shared key, its id, the pin */
            if (wrong < 2 ? !needs_shared(keyed[i]) : !needs_identity(keyed[i])) continue;
            struct house h;
            struct framed_client_config config = keyed_config(keyed[i]);
            struct framed_client *client;
            house_serves(&h, keyed[i]);
            if (wrong == 0) config.shared_key = &ring()->other;
            if (wrong == 1) config.key_id = framed_bytes_str("client-8");
            if (wrong == 2) config.peer_keys = &ring()->public[STRANGER];
            assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
            assert_int_equal(framed_client_connect(client, WHERE, 1000), wrong < 2 ? FRAMED_TRUNCATED : FRAMED_AUTH);
            assert_non_null(
                strstr(framed_client_error(client), wrong < 2 ? "it ended inside the handshake: the other end does not agree"
                                                              : "the peer has another key than it must have"));
            sim_run_ms(0);
            assert_int_equal(rig_logged(&h.rig, wrong < 2 ? "the handshake failed: the two ends have other keys"
                                                          : "it ended inside the handshake"),
                             1);
            assert_int_equal(h.judged, 0);
            assert_int_equal(h.rig.started, 0);
            framed_client_free(client);
            house_stop(&h);
        }
    }
}

static void any_of_the_pinned_keys_will_do(void **state)
{
    struct framed_key pins[2] = {ring()->public[STRANGER], ring() -> public[SERVER]};
    (void)state;
    for (size_t i = 1; i < KEYED; i++) {
        struct framed_client_config config = keyed_config(keyed[i]);
        config.peer_keys = pins;
        config.peer_key_count = 2;
        struct pair p = pair_begun_with(&config);
        memset(pins, 0, sizeof pins); /* they have been copied */
        pair_open(&p);
        (void)started(p.client, "x", 1000);
        sim_run_ms(0);
        hand_hears(&p.a, "x", 1);
        pair_stop(&p);
        pins[0] = ring()->public[STRANGER];
        pins[1] = ring()->public[SERVER];
    }
}

/* One that answers in a weaker way: nothing of the application leaves, and the client does not do with less. */
static void client_does_with_nothing_less(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        const struct {
            uint8_t says[16];
            size_t len;
        } answers[] = {
            {"\0\0\0\x05hello", 9},                                      /* plain */
            {"\0\0\0\0", 4},                                             /* likewise */
            {"\xf7\x66\x01\0\0\0\0\0", 8},                               /* unprotected */
            {"\xf7\x66\x01\x10\0\0\0\0\0", 8},                           /* checksums */
            {{0xf7, 0x66, 2, framed_mode(keyed[i], FRAMED_ORDERED)}, 4}, /* a version */
            {{0xf7, 0x66, 0, framed_mode(keyed[i], FRAMED_ORDERED)}, 4},
            {{0xf7, 0x66, 1, framed_mode(keyed[(i + 1) % KEYED], FRAMED_ORDERED)}, 4}, /* another mode with keys */
            {{0xf7, 0x66, 1, framed_mode(keyed[i], FRAMED_SESSION)}, 4},
            {{0xf7, 0x46, 1, framed_mode(keyed[i], FRAMED_ORDERED)}, 4}, /* a mirror */
            {"HTTP/1.1 400 ", 13},
            {"\xff\xff\xff\xff", 4},
        };
        for (size_t k = 0; k < sizeof answers / sizeof *answers; k++) {
            struct pair p = pair_begun(keyed[i]);
            sim_peer_take(p.a.peer, sim_peer_received(p.a.peer).len);
            hand_send_raw(&p.a, answers[k].says, answers[k].len);
            enum framed_status st = assert_never_opens(&p, "");
            assert_true(st == FRAMED_MALFORMED || st == FRAMED_TOO_LARGE);
            assert_true(sim_peer_let_go(p.a.peer));
            pair_stop(&p);
        }
    }
}

static void nobody_who_answers_ends_the_connecting(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_begun(keyed[i]);
        sim_peer_take(p.a.peer, sim_peer_received(p.a.peer).len);
        sim_peer_reset(p.a.peer);
        assert_int_equal(assert_never_opens(&p, "too many come at once"), FRAMED_RESET);
        pair_stop(&p);
        p = pair_begun(keyed[i]);
        sim_peer_take(p.a.peer, sim_peer_received(p.a.peer).len);
        assert_int_equal(assert_never_opens(&p, "in time"), FRAMED_TIMEOUT);
        assert_in_range(sim_now_ms(), 4990, 5010);
        pair_stop(&p);
        p = pair_begun(keyed[i]);
        hand_compose_answer(&p.a);
        for (size_t n = 0; n < 11; n++) { /* dribbles */
            sim_peer_send(p.a.peer, p.a.flight + n, 1);
            struct framed_event event;
            if (framed_client_next(p.client, 480, &event) == FRAMED_OK) break;
        }
        assert_in_range(sim_now_ms(), 4990, 5010);
        pair_stop(&p);
    }
}

/* What the client says is no answer to it. */
static void reflection_opens_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_begun(keyed[i]);
        struct framed_bytes got = sim_peer_received(p.a.peer);
        uint8_t said[256];
        size_t n = got.len, opening = HEAD + (size_t)got.at[7];
        assert_in_range(n, opening + 1, sizeof said);
        memcpy(said, got.at, n);
        sim_peer_take(p.a.peer, n);
        hand_send_raw(&p.a, said, n);
        assert_int_equal(assert_never_opens(&p, "the preface of the same side"), FRAMED_MALFORMED);
        pair_stop(&p);
        p = pair_begun(keyed[i]); /* with the acceptor's preface, and its own message 1 as message 2 */
        got = sim_peer_received(p.a.peer);
        memcpy(said, got.at, n);
        sim_peer_take(p.a.peer, n);
        said[1] = 0x66;
        sim_peer_send(p.a.peer, said, PREFACE);
        hand_send_raw(&p.a, said + opening, n - opening);
        enum framed_status st = assert_never_opens(&p, "");
        assert_int_equal(st, keyed[i] == FRAMED_SHARED_KEY ? FRAMED_AUTH : FRAMED_MALFORMED); /* XX: another length */
        pair_stop(&p);
    }
}

/* ---- bits of the answer ---- */

static void no_bit_of_the_answer_may_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        size_t bits = 1;
        for (size_t bit = 0; bit < bits; bit++) {
            struct pair p = pair_begun(keyed[i]);
            hand_compose_answer(&p.a);
            bits = 8 * p.a.flight_len;
            p.a.flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
            hand_send_raw(&p.a, p.a.flight, p.a.flight_len);
            enum framed_status st = assert_never_opens(&p, "");
            assert_true(st == FRAMED_AUTH || st == FRAMED_MALFORMED || st == FRAMED_TOO_LARGE || st == FRAMED_TIMEOUT);
            if (bit >= 8 * HEAD) assert_int_equal(st, FRAMED_AUTH);
            pair_stop(&p);
        }
    }
}

/* ---- records ---- */

/* Two calls are under way; their replies are made, and not sent yet. */
struct pause {
    struct pair p;
    uint64_t ids[2];
    uint8_t *one, *two;
    size_t len;
};

static void pause_begin(struct pause *s, enum framed_protection protection, size_t before)
{
    *s = (struct pause){.p = pair_opened(protection)};
    struct hand *a = &s->p.a;
    for (size_t i = 0; i < before; i++) {
        (void)started(s->p.client, "x", 1000);
        hand_say_frame(a, "before", 6, 0);
        assert_bytes(next_event(s->p.client, 10).payload, "before", 6);
    }
    s->ids[0] = started(s->p.client, "first", 1000);
    s->ids[1] = started(s->p.client, "second", 1000);
    step_on(s->p.client);
    uint8_t *frame = framed_text("one", 3);
    s->one = hand_seal(a, RECORD_DATA, frame, 7, &s->len);
    memcpy(frame + FRAMED_LENGTH_SIZE, "two", 3);
    s->two = hand_seal(a, RECORD_DATA, frame, 7, &s->len);
    free(frame);
    hand_gather(a);
    sim_peer_take(a->peer, sim_peer_received(a->peer).len);
}

/* `replies` of the calls have their right reply, the others none; nothing more is said to whoever is there. */
static void pause_is_over(struct pause *s, size_t replies, enum framed_status status)
{
    for (size_t i = 0; i < 2; i++) {
        struct framed_event event = next_event(s->p.client, 10);
        assert_int_equal(event.call, s->ids[i]);
        if (i < replies) {
            assert_bytes(event.payload, i == 0 ? "one" : "two", 3);
            continue;
        }
        assert_int_equal(event.status, status);
        assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
    }
    assert_int_equal(next_event(s->p.client, 10).status, status);
    const char *words = status == FRAMED_AUTH        ? "a record that did not open"
                        : status == FRAMED_TRUNCATED ? "the stream was cut off"
                                                     : "no record, where one must come";
    assert_non_null(strstr(framed_client_error(s->p.client), words));
    sim_run_ms(0);
    if (status != FRAMED_TRUNCATED) assert_int_equal(sim_peer_received(s->p.a.peer).len, 0);
    free(s->one);
    free(s->two);
    pair_stop(&s->p);
}

static void no_bit_of_a_reply_may_change(void **state)
{
    (void)state;
    for (size_t bit = 8 * FRAMED_LENGTH_SIZE; bit < 8 * (RECORD_HEAD + 7 + RECORD_TAIL); bit++) {
        struct pause s;
        pause_begin(&s, keyed[bit % KEYED], 1);
        s.one[bit / 8] ^= (uint8_t)(1 << bit % 8);
        sim_peer_send(s.p.a.peer, s.one, s.len);
        sim_peer_send(s.p.a.peer, s.two, s.len);
        pause_is_over(&s, 0, FRAMED_AUTH);
    }
}

static void no_reply_is_lost_repeated_swapped_reflected_or_anothers(void **state)
{
    const size_t places[] = {0, 1, 7};
    (void)state;
    for (size_t i = 0; i < KEYED * 3; i++) {
        struct pause s;
        pause_begin(&s, keyed[i / 3], places[i % 3]); /* lost */
        sim_peer_send(s.p.a.peer, s.two, s.len);
        pause_is_over(&s, 0, FRAMED_AUTH);
        pause_begin(&s, keyed[i / 3], places[i % 3]); /* repeated */
        sim_peer_send(s.p.a.peer, s.one, s.len);
        sim_peer_send(s.p.a.peer, s.one, s.len);
        pause_is_over(&s, 1, FRAMED_AUTH);
        pause_begin(&s, keyed[i / 3], places[i % 3]); /* swapped */
        sim_peer_send(s.p.a.peer, s.two, s.len);
        sim_peer_send(s.p.a.peer, s.one, s.len);
        pause_is_over(&s, 0, FRAMED_AUTH);
        pause_begin(&s, keyed[i / 3], places[i % 3]); /* of another session, with the same keys, in the same place */
        uint8_t others[RECORD_HEAD + 7 + RECORD_TAIL];
        memcpy(others, s.one, s.len);
        free(s.one), free(s.two);
        pair_stop(&s.p);
        pause_begin(&s, keyed[i / 3], places[i % 3]);
        s.p.a.ephemeral[0]++;
        sim_peer_send(s.p.a.peer, others, s.len);
        pause_is_over(&s, 0, FRAMED_AUTH);
    }
    for (size_t i = 0; i < KEYED; i++) { /* what the client says itself */
        struct pair p = pair_opened(keyed[i]);
        uint64_t id = started(p.client, "hello", 1000);
        sim_run_ms(0);
        struct framed_bytes got = sim_peer_received(p.a.peer);
        uint8_t said[128];
        assert_in_range(got.len, 1, sizeof said);
        memcpy(said, got.at, got.len);
        sim_peer_send(p.a.peer, said, got.len);
        struct framed_event event = next_event(p.client, 10);
        assert_int_equal(event.call, id);
        assert_int_equal(event.status, FRAMED_AUTH);
        assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
        pair_stop(&p);
    }
}

static void record_behind_close_ends_it_as_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pause s;
        pause_begin(&s, keyed[i], 1);
        sim_peer_send(s.p.a.peer, s.one, s.len);
        sim_peer_send(s.p.a.peer, s.two, s.len);
        hand_say(&s.p.a, RECORD_CLOSE, "", 1);
        sim_peer_send(s.p.a.peer, s.two, s.len);
        sim_peer_finish(s.p.a.peer);
        pause_is_over(&s, 2, FRAMED_MALFORMED);
    }
}

static void seventeenth_pad_in_a_row_is_an_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct pair p = pair_opened(keyed[i]);
        for (int k = 0; k < 16; k++) hand_say(&p.a, RECORD_PAD, "pad", (size_t)k % 4);
        step_on(p.client);
        (void)started(p.client, "x", 1000);
        hand_say_frame(&p.a, "reply", 5, 0);
        assert_bytes(next_event(p.client, 10).payload, "reply", 5);
        for (int k = 0; k < 16; k++) hand_say(&p.a, RECORD_PAD, "", 0);
        p.a.out.pads = 0;
        hand_say(&p.a, RECORD_PAD, "", 0);
        assert_int_equal(next_event(p.client, 10).status, FRAMED_MALFORMED);
        pair_stop(&p);
    }
}

/* ---- the end ---- */

static void end_of_the_stream_is_clean_behind_close_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        size_t flight = 1, reply = RECORD_HEAD + 9 + RECORD_TAIL, whole = 1;
        for (size_t cut = 0; cut <= whole; cut++) {
            struct pair p = pair_begun(keyed[i]);
            hand_compose_answer(&p.a);
            flight = p.a.flight_len;
            whole = flight + reply + RECORD_HEAD + 1 + RECORD_TAIL;
            hand_send_raw(&p.a, p.a.flight, cut < flight ? cut : flight);
            if (cut < flight) {
                sim_peer_finish(p.a.peer);
                assert_int_equal(assert_never_opens(&p, "it ended inside"), FRAMED_TRUNCATED);
                pair_stop(&p);
                continue;
            }
            assert_writable(p.client);
            sim_run_ms(0);
            if (needs_identity(keyed[i])) assert_int_equal(hand_hear(&p.a), FRAMED_OK);
            hand_split(&p.a);
            uint64_t one = started(p.client, "x", 1000);
            sim_run_ms(0);
            uint8_t rest[128], *frame = framed_text("reply", 5);
            size_t n, m;
            uint8_t *record = hand_seal(&p.a, RECORD_DATA, frame, 9, &n), *last = hand_seal(&p.a, RECORD_CLOSE, "", 1, &m);
            memcpy(rest, record, n);
            memcpy(rest + n, last, m);
            hand_send_raw(&p.a, rest, cut - flight);
            sim_peer_finish(p.a.peer);
            struct framed_event event = next_event(p.client, 10);
            assert_int_equal(event.call, one);
            assert_int_equal(event.outcome, cut < flight + reply ? FRAMED_MAYBE_EXECUTED : FRAMED_REPLY);
            if (cut < flight + reply) assert_int_equal(event.status, FRAMED_TRUNCATED);
            event = next_event(p.client, 10);
            assert_int_equal(event.kind, FRAMED_EVENT_ENDED);
            assert_int_equal(event.status, cut < whole ? FRAMED_TRUNCATED : FRAMED_CLOSED);
            free(frame), free(record), free(last);
            pair_stop(&p);
        }
    }
}

/* ---- bytes ---- */

static size_t said_with(enum framed_protection protection, const size_t *sends, size_t count, uint8_t *said)
{
    const struct sim_script script = {.sends = sends, .send_count = count};
    struct framed_client_config config = keyed_config(protection);
    struct pair p = {.a = hand_of(FRAMED_ACCEPTOR, protection)};
    uint8_t *body = pattern(700);
    struct framed_event event = {0};
    size_t n = 0;
    sim_start(0);
    p.acceptor = sim_listen(WHERE);
    p.a.ephemeral[5] = 1;
    sim_script(SIM_CONNECTOR, &script);
    assert_int_equal(framed_client_new(&config, &p.client), FRAMED_OK);
    assert_int_equal(framed_client_connect(p.client, WHERE, 0), FRAMED_MORE);
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_MORE);
    p.a.peer = sim_accept(p.acceptor);
    assert_non_null(p.a.peer);
    struct framed_bytes got = sim_peer_received(p.a.peer);
    memcpy(said, got.at, n = got.len);
    hand_compose_answer(&p.a);
    hand_send_raw(&p.a, p.a.flight, p.a.flight_len);
    assert_writable(p.client);
    uint64_t id;
    assert_int_equal(framed_client_start(p.client, framed_bytes_of(body, 700), 1000, &id), FRAMED_OK);
    assert_int_equal(framed_client_start(p.client, framed_bytes_str("x"), 1000, &id), FRAMED_OK);
    assert_int_equal(framed_client_next(p.client, 100, &event), FRAMED_MORE);
    got = sim_peer_received(p.a.peer);
    memcpy(said + n, got.at, got.len);
    n += got.len;
    if (needs_identity(protection)) assert_int_equal(hand_hear(&p.a), FRAMED_OK);
    hand_split(&p.a);
    hand_hears(&p.a, body, 700);
    hand_hears(&p.a, "x", 1);
    free(body);
    pair_stop(&p);
    return n;
}

static void bytes_are_what_one_record_says_wherever_the_system_takes_no_more(void **state)
{
    static uint8_t free_said[2048], said[2048];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        size_t n = said_with(keyed[i], NULL, 0, free_said);
        assert_in_range(n, 700, 1100);
        for (size_t cut = 1; cut < n; cut += 1 + cut / 150) {
            const size_t sends[] = {cut, 0, 100000};
            size_t k = said_with(keyed[i], sends, 3, said);
            size_t same = k < n ? k : n; /* where it is held up, more may wait, and go into fewer records */
            if (k == n) assert_memory_equal(said, free_said, same);
            assert_true(k >= n - 2 * (RECORD_HEAD + RECORD_TAIL) && k <= n);
        }
    }
}

static void no_key_of_the_clients_comes_twice(void **state)
{
    static uint8_t seen[100][NOISE_KEY_SIZE];
    struct framed_client_config config = keyed_config(FRAMED_SHARED_AND_PINNED);
    struct framed_client *client;
    (void)state;
    sim_start(0);
    struct sim_acceptor *acceptor = sim_listen(WHERE);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    for (size_t i = 0; i < 100; i++) {
        if (i == 0)
            assert_int_equal(framed_client_connect(client, WHERE, 0), FRAMED_MORE);
        else
            assert_int_equal(framed_client_reconnect(client, 100000), FRAMED_TIMEOUT);
        struct framed_event event;
        while (i == 0 && framed_client_next(client, 10000, &event) == FRAMED_OK && event.kind != FRAMED_EVENT_ENDED)
            continue;
        struct sim_peer *peer = sim_accept(acceptor);
        assert_non_null(peer);
        struct framed_bytes got = sim_peer_received(peer);
        assert_true(got.len > HEAD + 2 + SIZE(KEY_ID) + FRAMED_LENGTH_SIZE + NOISE_KEY_SIZE);
        memcpy(seen[i], got.at + HEAD + 2 + SIZE(KEY_ID) + FRAMED_LENGTH_SIZE, NOISE_KEY_SIZE);
        for (size_t k = 0; k < i; k++) assert_memory_not_equal(seen[k], seen[i], NOISE_KEY_SIZE);
        sim_peer_close(peer);
    }
    framed_client_free(client);
    sim_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_go_and_come_as_records),
        cmocka_unit_test(client_with_a_shared_key_shows_at_once_that_it_is_there),
        cmocka_unit_test(free_says_close),
        cmocka_unit_test(answer_may_come_in_any_split),
        cmocka_unit_test(replies_that_share_records_are_given_out_one_by_one),
        cmocka_unit_test(small_requests_of_one_turn_share_a_record),
        cmocka_unit_test(long_request_leaves_in_halves_of_65518_bytes_at_most),
        cmocka_unit_test(frames_that_answer_nothing_go_both_ways),
        cmocka_unit_test(request_longer_than_the_peer_accepts_is_refused_and_harms_nothing),
        cmocka_unit_test(reply_longer_than_the_client_accepts_is_an_error),
        cmocka_unit_test(what_is_in_no_record_was_not_executed),
        cmocka_unit_test(config_without_the_keys_it_needs_is_refused),
        cmocka_unit_test(impostor_is_not_shown_the_clients_key),
        cmocka_unit_test(client_that_is_turned_away_knows_it_and_not_what_was_executed),
        cmocka_unit_test(client_that_the_server_does_not_know_is_told_so),
        cmocka_unit_test(client_that_is_not_let_in_any_more_is_told_that_its_call_may_have_been_executed),
        cmocka_unit_test(keys_that_do_not_belong_together_open_nothing),
        cmocka_unit_test(any_of_the_pinned_keys_will_do),
        cmocka_unit_test(client_does_with_nothing_less),
        cmocka_unit_test(nobody_who_answers_ends_the_connecting),
        cmocka_unit_test(reflection_opens_nothing),
        cmocka_unit_test(no_bit_of_the_answer_may_change),
        cmocka_unit_test(no_bit_of_a_reply_may_change),
        cmocka_unit_test(no_reply_is_lost_repeated_swapped_reflected_or_anothers),
        cmocka_unit_test(record_behind_close_ends_it_as_an_error),
        cmocka_unit_test(seventeenth_pad_in_a_row_is_an_error),
        cmocka_unit_test(end_of_the_stream_is_clean_behind_close_alone),
        cmocka_unit_test(bytes_are_what_one_record_says_wherever_the_system_takes_no_more),
        cmocka_unit_test(no_key_of_the_clients_comes_twice),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_client", tests, NULL, NULL);
}
