/*
 * test_sim_faults.c: owns the proof that whatever fails, whenever: nothing crashes, leaks or hangs, every call ends exactly
 * once, and afterwards the server serves.
 * Must not know where memory and system are asked for.
 * Invariants: each run is one world; the n-th occurrence of a failure is tried for n = 1, 2, ... until a run ends without
 * reaching it; how many that were is printed.
 */
#include "rig.h"
#include "splits.h"

/* ---- one conversation that goes everywhere ---- */

enum { CALLS = 6 };

/* What the client speaks; the server takes both. With keys: test_sim_tunnel_faults.c. */
static const enum framed_protection spoken[] = {FRAMED_UNPROTECTED, FRAMED_CRC32C};
enum { SPOKEN = sizeof spoken / sizeof *spoken };

struct talk {
    struct rig rig; /* first: what the handler gets */
    struct framed_client *client;
    enum framed_protection protection; /* the client's */
    uint64_t ids[CALLS];
    int ended[CALLS];
    size_t begun;
    bool executed[CALLS];     /* the handler has seen it */
    bool not_executed[CALLS]; /* and the client has said that it has not */
    size_t right;             /* replies with the bytes they should have */
    bool serving;
};

static void answer_later(void *ctx)
{
    struct rig *rig = ctx;
    rig_answer_all(rig);
}

static void note_event(struct talk *t, const struct framed_event *event)
{
    if (event->kind != FRAMED_EVENT_REPLY) return;
    for (size_t i = 0; i < t->begun; i++) {
        if (t->ids[i] != event->call) continue;
        t->ended[i]++;
        if (event->outcome == FRAMED_REPLY) {
            assert_int_equal(event->status, FRAMED_OK);
            t->right += event->payload.len > 0;
        } else {
            assert_true(event->status != FRAMED_OK);
            t->not_executed[i] = event->outcome == FRAMED_NOT_EXECUTED;
        }
        return;
    }
    fail_msg("an event for a call that was never begun");
}

/* The last byte of a pipelined request says which it is. */
static void note_execution(struct rig *rig, struct framed_call *call)
{
    struct talk *t = (struct talk *)rig;
    struct framed_bytes body = framed_call_body(call);
    uint8_t last = body.len ? body.at[body.len - 1] : 0;
    if (last < CALLS) t->executed[last] = true;
}

/* Calls of three kinds, all at once, then their ends; the client may break at any point. */
static void talk_pipelined(struct talk *t, const uint8_t *big, size_t n)
{
    struct framed_event event;
    static uint8_t bodies[3][150000] = {"", "Dlater?", "echo?"};
    const size_t sizes[] = {n, 7, 5};
    memcpy(bodies[0], big, n);
    for (size_t i = 0; i < CALLS; i++) {
        bodies[i % 3][sizes[i % 3] - 1] = (uint8_t)t->begun;
        struct framed_bytes body = framed_bytes_of(bodies[i % 3], sizes[i % 3]);
        enum framed_status st = framed_client_start(t->client, body, 5000, &t->ids[t->begun]);
        if (st == FRAMED_OK)
            t->begun++;
        else if (st == FRAMED_FULL && framed_client_next(t->client, 100, &event) == FRAMED_OK)
            note_event(t, &event);
    }
    for (int i = 0; i < 100 && framed_client_open_calls(t->client) > 0; i++) {
        enum framed_status st = framed_client_next(t->client, 1000, &event);
        if (st == FRAMED_OK)
            note_event(t, &event);
        else if (st != FRAMED_MORE)
            break;
        rig_answer_all(&t->rig);
    }
    if (framed_client_finish(t->client) != FRAMED_OK) return;
    for (int i = 0; i < 10 && framed_client_next(t->client, 3000, &event) == FRAMED_OK; i++) note_event(t, &event);
}

/* A blocking call that may fail, but says truly how. */
static void talk_once(struct talk *t, struct framed_bytes body)
{
    struct framed_event event = {.outcome = (enum framed_outcome)99};
    enum framed_status st = framed_client_call(t->client, body, 2000, &event);
    assert_int_equal(event.outcome == FRAMED_REPLY, st == FRAMED_OK);
    assert_int_equal(framed_client_open_calls(t->client), 0);
}

static void talk_as_client(struct talk *t, const uint8_t *big, size_t n)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    config.protection = t->protection;
    if (framed_client_new(&config, &t->client) != FRAMED_OK) return;
    if (framed_client_connect(t->client, WHERE, 1000) == FRAMED_OK) {
        talk_once(t, framed_bytes_str("hello"));
        sim_at(10, answer_later, &t->rig);
        talk_once(t, framed_bytes_str("D"));
        talk_once(t, framed_bytes_of(big, n));
        talk_once(t, framed_bytes_str("Bbbbbbbbbbbbbbb"));
        talk_pipelined(t, big, n);
        if (framed_client_open_calls(t->client) == 0) {
            for (size_t i = 0; i < t->begun; i++) assert_int_equal(t->ended[i], 1);
        }
        for (size_t i = 0; i < t->begun; i++) assert_in_range(t->ended[i], 0, 1);
        if (framed_client_reconnect(t->client, 1000) == FRAMED_OK) talk_once(t, framed_bytes_str("again"));
    }
    framed_client_free(t->client);
}

static void talk_as_strangers(const uint8_t *big)
{
    struct sim_peer *peers[5];
    for (int i = 0; i < 5; i++) peers[i] = sim_connect(WHERE);
    if (peers[0]) sim_peer_send(peers[0], "GET / HTTP/1.1\r\n\r\n", 18);
    if (peers[1]) sim_peer_send(peers[1], "\0\0\x10\0cut", 7);
    if (peers[1]) sim_peer_finish(peers[1]);
    if (peers[2]) sim_peer_send_frame_text(peers[2], "F");
    if (peers[3]) sim_peer_send_frame(peers[3], big, 5000);
    if (peers[3]) sim_peer_stop_reading(peers[3]);
    if (peers[4]) sim_peer_send_frame_text(peers[4], "Dfirst");
    if (peers[4]) sim_peer_send_frame_text(peers[4], "second");
    if (peers[4]) sim_peer_send_frame_text(peers[4], "Dthird");
    sim_run_ms(50);
    if (peers[4]) sim_peer_reset(peers[4]);
    if (peers[3]) sim_peer_start_reading(peers[3]);
    sim_run_ms(50);
}

static void talk_start(struct talk *t, enum framed_protection protection, uint64_t seed)
{
    *t = (struct talk){.protection = protection};
    rig_start(&t->rig, seed);
    t->rig.config.workers = 2;
    t->rig.before = note_execution;
    sim_capacity(20000);
    t->rig.config.drain_ms = 5000;
}

/* Everything, once; whoever calls it has arranged what is to fail. */
static void talk_all(struct talk *t)
{
    uint8_t *big = pattern(150000);
    t->serving = rig_try_serve(&t->rig) == FRAMED_OK;
    sim_run_ms(0);
    talk_as_client(t, big, 150000);
    talk_as_strangers(big);
    rig_answer_all(&t->rig);
    free(big);
}

/* Afterwards, with nothing failing any more: whoever still runs, serves; and then drains. */
static void talk_end(struct talk *t)
{
    struct rig *rig = &t->rig;
    sim_run_ms(3000);
    while (rig->kept_count > 0) { /* answering may start what waited behind them */
        rig_answer_all(rig);
        rig->kept_count = 0;
        sim_run_ms(10);
    }
    if (t->serving && !sim_actor_done(rig->actor)) {
        struct framed_client *client = client_with(NULL);
        assert_call_echoes(client, "afterwards");
        framed_client_free(client);
        assert_serves();
        framed_server_drain(rig->server);
        assert_true(sim_run_until(rig_is_done, rig, 20000));
    }
    for (size_t i = 0; i < t->begun; i++) assert_false(t->executed[i] && t->not_executed[i]);
    rig_stop(rig);
}

static void conversation_without_failures_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPOKEN; i++) {
        struct talk t;
        talk_start(&t, spoken[i], 0);
        talk_all(&t);
        assert_int_equal(t.begun, CALLS);
        assert_int_equal(t.right, CALLS);
        assert_int_equal(t.rig.started, 4 + CALLS + 1 + 1 + 1 + 3);
        talk_end(&t);
    }
}

/* ---- memory ---- */

static void each_allocation_fails(enum meter_failing failing, enum framed_protection protection, uint64_t seed,
                                  const char *how)
{
    uint64_t n = 0;
    bool reached = true;
    while (reached) {
        struct talk t;
        talk_start(&t, protection, seed);
        meter_fail_at(sim_meter(), ++n, failing);
        talk_all(&t);
        reached = meter_reached(sim_meter()) > 0;
        meter_fail_at(sim_meter(), 0, METER_ONCE);
        talk_end(&t);
    }
    print_message("allocations failing %s: %llu\n", how, (unsigned long long)n - 1);
    assert_true(n > 20);
}

static void every_allocation_may_fail_once(void **state)
{
    (void)state;
    each_allocation_fails(METER_ONCE, FRAMED_UNPROTECTED, 0, "once");
    each_allocation_fails(METER_ONCE, FRAMED_UNPROTECTED, 5, "once, with dice");
    each_allocation_fails(METER_ONCE, FRAMED_CRC32C, 0, "once, with checksums");
}

static void every_allocation_may_fail_from_then_on(void **state)
{
    (void)state;
    each_allocation_fails(METER_ONWARD, FRAMED_UNPROTECTED, 0, "from then on");
    each_allocation_fails(METER_ONWARD, FRAMED_CRC32C, 0, "from then on, with checksums");
}

/* ---- the system ---- */

static const enum framed_status failures[] = {FRAMED_TOO_LARGE,   FRAMED_TRUNCATED, FRAMED_MALFORMED, FRAMED_AUTH,
                                              FRAMED_RESET,       FRAMED_REFUSED,   FRAMED_NOMEM,     FRAMED_OS,
                                              FRAMED_TIMEOUT,     FRAMED_LIMIT,     FRAMED_IN_USE,    FRAMED_DENIED,
                                              FRAMED_UNREACHABLE, FRAMED_NOT_FOUND, FRAMED_USAGE,     FRAMED_UNSUPPORTED};

enum { FAILURES = sizeof failures / sizeof *failures };

/* Gives how often the operation occurred. */
static uint64_t each_time_fails(enum sim_op op, enum framed_protection protection, enum framed_status status, bool onward)
{
    uint64_t n = 0;
    bool reached = true;
    while (reached) {
        struct talk t;
        talk_start(&t, protection, 0);
        n++;
        if (onward)
            sim_fail_onward(op, n, status);
        else
            sim_fail(op, n, status);
        talk_all(&t);
        reached = sim_failures_reached() > 0;
        sim_fail_never();
        talk_end(&t);
    }
    return n - 1;
}

static void every_operation_of_the_system_may_fail_with_every_status(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        if (op == OP_ADOPT || op == OP_ADDRESS_UNIX) continue; /* not part of this conversation: below */
        for (size_t k = 0; k < SPOKEN; k++) {
            uint64_t n = 0;
            for (size_t i = 0; i < FAILURES; i++) n = each_time_fails((enum sim_op)op, spoken[k], failures[i], false);
            print_message("%s fails at each of %llu times, with each of %d statuses%s\n", sim_op_name((enum sim_op)op),
                          (unsigned long long)n, (int)FAILURES, k > 0 ? ", with checksums" : "");
            assert_true(n > 0);
        }
    }
}

static void every_operation_of_the_system_may_fail_from_then_on(void **state)
{
    (void)state;
    for (int op = 0; op < OP_COUNT; op++) {
        if (op == OP_ADOPT || op == OP_ADDRESS_UNIX) continue;
        for (size_t k = 0; k < SPOKEN; k++) assert_true(each_time_fails((enum sim_op)op, spoken[k], FRAMED_OS, true) > 0);
    }
}

static void operations_of_descriptors_and_paths_may_fail_with_every_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAILURES; i++) {
        for (int op = 0; op < 3; op++) {
            struct rig rig;
            struct framed_client *client;
            struct sim_peer *peer;
            char text[32];
            rig_start(&rig, 0);
            assert_int_equal(framed_server_new(&rig.config, &rig.server), FRAMED_OK);
            assert_int_equal(framed_client_new(NULL, &client), FRAMED_OK);
            sim_fail_onward(op == 2 ? OP_ADDRESS_UNIX : OP_ADOPT, 1, failures[i]);
            if (op == 0) {
                snprintf(text, sizeof text, "fd:%ld", (long)sim_fd_listening("127.0.0.1:7"));
                assert_int_equal(framed_server_listen(rig.server, text), failures[i]);
            } else if (op == 1) {
                snprintf(text, sizeof text, "fd:%ld", (long)sim_fd_connected(&peer));
                assert_int_equal(framed_client_connect(client, text, 100), failures[i]);
            } else {
                assert_int_equal(framed_server_listen(rig.server, "unix:/x"), failures[i]);
                assert_int_equal(framed_client_connect(client, "unix:/x", 100), failures[i]);
            }
            assert_int_equal(sim_failures_reached(), op == 2 ? 2 : 1);
            sim_fail_never();
            framed_client_free(client);
            rig_stop(&rig);
        }
    }
}

static void accepting_that_fails_for_a_while_goes_on_afterwards(void **state)
{
    (void)state;
    for (size_t i = 0; i < FAILURES; i++) {
        struct rig rig;
        rig_start(&rig, 0);
        sim_fail_onward(OP_ACCEPTED, 1, failures[i]);
        rig_serve(&rig);
        struct sim_peer *peer = connected();
        sim_peer_send_frame_text(peer, "patience");
        sim_run_ms(0);
        uint64_t before = sim_actor_steps(rig.actor);
        sim_run_ms(60000);
        assert_in_range(sim_actor_steps(rig.actor) - before, 1, 6000);
        assert_in_range(rig.line_count, 1, 60);
        assert_no_frame(peer);
        sim_fail_never();
        sim_run_ms(2000);
        assert_frame_text(peer, "patience");
        rig_stop(&rig);
    }
}

/* ---- cuts ---- */

static void thousand_connections_cut_at_random_bytes_leave_nothing_behind(void **state)
{
    uint64_t dice = 1;
    size_t served = 0;
    struct rig rig;
    uint8_t *body = pattern(3000);
    (void)state;
    rig_start(&rig, 99);
    rig.config.idle_ms = 1000;
    rig.config.frame_ms = 1000;
    rig.config.send_ms = 1000;
    rig.config.call_ms = 1000;
    rig_serve(&rig);
    for (int round = 0; round < 10; round++) {
        struct sim_peer *peers[100];
        for (int i = 0; i < 100; i++) {
            struct sim_script script = {.cut = (enum sim_cut)(splits_random(&dice) % 4),
                                        .cut_after = splits_random(&dice) % 8000};
            sim_script(SIM_ACCEPTOR, &script);
            peers[i] = connected();
            uint64_t until = splits_random(&dice) % 12000, sent = 0;
            for (int k = 0; k < 4 && sent < until; k++) {
                uint8_t frame[3004] = {0, 0, 3000 >> 8, 3000 & 0xff};
                size_t n = sizeof frame < until - sent ? sizeof frame : (size_t)(until - sent);
                memcpy(frame + 4, body, 3000);
                frame[4] = splits_random(&dice) % 5 == 0 ? 'D' : 'e';
                sim_peer_send(peers[i], frame, n);
                sent += n;
            }
        }
        sim_run_ms(splits_random(&dice) % 3);
        for (int i = 0; i < 100; i++) {
            switch (splits_random(&dice) % 4) {
            case 0: sim_peer_reset(peers[i]); break;
            case 1: sim_peer_close(peers[i]); break;
            case 2: sim_peer_finish(peers[i]); break;
            default: break;
            }
        }
        sim_run_ms(splits_random(&dice) % 3);
        rig_answer_all(&rig);
        rig.kept_count = 0;
        sim_run_ms(10000);
        for (int i = 0; i < 100; i++) {
            struct framed_bytes got;
            assert_true(sim_peer_let_go(peers[i]));
            while (sim_peer_frame(peers[i], &got)) {
                assert_int_equal(got.len, 3000);
                assert_memory_equal(got.at + 1, body + 1, 2999);
                served++;
            }
        }
        rig_answer_all(&rig);
        rig.kept_count = 0;
        sim_run_ms(0);
        assert_int_equal(rig_stats(&rig).connections, 0);
        assert_int_equal(rig_stats(&rig).open_calls, 0);
    }
    sim_script(SIM_ACCEPTOR, NULL);
    assert_int_equal(rig_stats(&rig).closed, 1000);
    assert_true(served > 300);
    assert_serves();
    free(body);
    rig_stop(&rig);
}

/* Both ends are framed; the connection between them is cut after each number of bytes, either way, in each manner. */
static void call_ends_truly_wherever_its_connection_is_cut(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        for (int cut = SIM_CUT_END; cut <= SIM_CUT_SILENT; cut++) {
            for (size_t after = 0; after <= 20; after++) {
                struct rig rig;
                struct framed_client_config config = client_config();
                struct framed_event event = {0};
                rig_start(&rig, 0);
                rig.config.frame_ms = config.frame_ms = 1000;
                rig.config.send_ms = config.send_ms = 1000;
                rig_serve(&rig);
                sim_run_ms(0);
                struct sim_script script = {.cut = (enum sim_cut)cut, .cut_after = after};
                sim_script((enum sim_side)side, &script);
                struct framed_client *client = client_with(&config);
                enum framed_status st = FRAMED_OK;
                size_t whole = 0; /* two calls of 9 bytes on the wire each way */
                for (; st == FRAMED_OK && whole < 2; whole += st == FRAMED_OK) {
                    st = framed_client_call(client, framed_bytes_str("12345"), 5000, &event);
                    if (st == FRAMED_OK) assert_bytes(event.payload, "12345", 5);
                }
                /* Our own end broken means that the reply to our last byte cannot be read any more. */
                bool deaf = side == SIM_CONNECTOR && cut != SIM_CUT_SILENT;
                size_t heard = deaf ? (after > 0 ? after - 1 : 0) / 9 : after / 9;
                assert_int_equal(whole, heard > 2 ? 2 : heard);
                if (whole < 2) {
                    assert_int_not_equal(event.outcome, FRAMED_REPLY);
                    if (rig.started > whole) assert_int_equal(event.outcome, FRAMED_MAYBE_EXECUTED);
                }
                framed_client_free(client);
                sim_run_ms(10000);
                sim_script((enum sim_side)side, NULL);
                assert_serves();
                rig_stop(&rig);
            }
        }
    }
}

/* ---- splits: the same replies whatever the pieces ---- */

struct transcript {
    uint8_t sent[4000];
    size_t sent_len;
    uint8_t expected[9000];
    size_t expected_len;
};

static void transcript_add(struct transcript *t, const char *text, size_t repeat)
{
    uint8_t payload[900];
    size_t n = 0;
    for (size_t i = 0; i < repeat; i++) {
        memcpy(payload + n, text, strlen(text));
        n += strlen(text);
    }
    const uint8_t word[4] = {0, 0, (uint8_t)(n >> 8), (uint8_t)n};
    memcpy(t->sent + t->sent_len, word, 4);
    memcpy(t->sent + t->sent_len + 4, payload, n);
    t->sent_len += 4 + n;
    memcpy(t->expected + t->expected_len, word, 4);
    memcpy(t->expected + t->expected_len + 4, payload, n);
    t->expected_len += 4 + n;
}

static void transcript_make(struct transcript *t)
{
    memset(t, 0, sizeof *t);
    transcript_add(t, "hello", 1);
    transcript_add(t, "", 0);
    transcript_add(t, "D first", 1);
    transcript_add(t, "between", 30);
    transcript_add(t, "D second", 3);
    transcript_add(t, "", 0);
    transcript_add(t, "x", 1);
    transcript_add(t, "longer ", 60);
}

static void run_split(void *ctx, const struct split *split)
{
    const struct transcript *t = ctx;
    struct rig rig;
    rig_start(&rig, 0);
    sim_capacity(300);
    rig_serve(&rig);
    struct sim_peer *peer = connected();
    for (size_t i = 0, at = 0; i < split->n; at = split->ends[i++]) {
        sim_peer_send(peer, t->sent + at, split->ends[i] - at);
        sim_run_ms(0);
        if (i % 2) rig_answer_all(&rig);
        sim_run_ms(0);
    }
    sim_peer_finish(peer);
    rig_answer_all(&rig);
    sim_run_ms(0);
    rig_answer_all(&rig);
    sim_run_ms(0);
    struct framed_bytes got = sim_peer_received(peer);
    if (got.len != t->expected_len || memcmp(got.at, t->expected, got.len) != 0)
        fail_msg("other replies when split: %s", split->name);
    assert_int_equal(sim_peer_state(peer), SIM_ENDED);
    rig_stop(&rig);
}

static void every_split_of_a_conversation_gives_the_same_replies(void **state)
{
    struct transcript t;
    (void)state;
    transcript_make(&t);
    splits_each(t.sent_len, 20, run_split, &t);
}

static void short_reads_and_writes_of_every_length_give_the_same_replies(void **state)
{
    struct transcript t;
    (void)state;
    transcript_make(&t);
    for (size_t reads = 1; reads <= 40; reads++) {
        for (size_t writes = 1; writes <= 40; writes += 3) {
            struct rig rig;
            const size_t receives[] = {reads, 0, reads % 7 + 1}, sends[] = {writes, 0, 0, writes % 5 + 1};
            struct sim_script script = {.receives = receives, .receive_count = 3, .sends = sends, .send_count = 4};
            rig_start(&rig, 0);
            sim_script(SIM_ACCEPTOR, &script);
            rig_serve(&rig);
            struct sim_peer *peer = connected();
            sim_peer_send(peer, t.sent, t.sent_len);
            sim_peer_finish(peer);
            for (int i = 0; i < 3; i++) {
                sim_run_ms(0);
                rig_answer_all(&rig);
            }
            sim_run_ms(0);
            assert_bytes(sim_peer_received(peer), t.expected, t.expected_len);
            assert_int_equal(sim_peer_state(peer), SIM_ENDED);
            rig_stop(&rig);
        }
    }
}

static void client_gets_the_same_replies_through_short_reads_and_writes(void **state)
{
    uint8_t *body = pattern(2000);
    (void)state;
    for (size_t k = 1; k <= 60; k++) {
        struct rig rig;
        const size_t receives[] = {k, 0}, sends[] = {k, 0, k / 2 + 1};
        struct sim_script script = {.receives = receives, .receive_count = 2, .sends = sends, .send_count = 3};
        rig_start(&rig, 0);
        sim_script(SIM_CONNECTOR, &script);
        rig_serve(&rig);
        struct framed_client *client = client_with(NULL);
        uint64_t id;
        const size_t sizes[] = {0, 1, 2000, 3, 0, 700};
        for (size_t i = 0; i < 6; i++) {
            assert_int_equal(framed_client_start(client, framed_bytes_of(body, sizes[i]), 10000, &id), FRAMED_OK);
        }
        for (size_t i = 0; i < 6; i++) {
            struct framed_event event = next_event(client, 1000);
            assert_int_equal(event.outcome, FRAMED_REPLY);
            assert_bytes(event.payload, body, sizes[i]);
        }
        framed_client_free(client);
        rig_stop(&rig);
    }
    free(body);
}

static void timeout_at_every_byte_of_a_reply_loses_nothing(void **state)
{
    uint8_t *body = pattern(60);
    (void)state;
    for (size_t at = 0; at <= 64; at++) {
        struct framed_event event;
        sim_start(0);
        struct sim_acceptor *acceptor = sim_listen(WHERE);
        struct framed_client *client = client_with(NULL);
        struct sim_peer *peer = sim_accept(acceptor);
        uint8_t frame[64] = {0, 0, 0, 60};
        memcpy(frame + 4, body, 60);
        sim_peer_send(peer, frame, at);
        enum framed_status st = framed_client_call(client, framed_bytes_str("1"), 100, &event);
        assert_int_equal(st, at == 64 ? FRAMED_OK : FRAMED_TIMEOUT);
        uint64_t two = 0;
        assert_int_equal(framed_client_start(client, framed_bytes_str("2"), 1000, &two), FRAMED_OK);
        assert_int_equal(framed_client_next(client, 10, &event), FRAMED_MORE);
        sim_peer_send(peer, frame + at, 64 - at);
        sim_peer_send_frame_text(peer, "second");
        event = next_event(client, 1000);
        assert_int_equal(event.call, two);
        assert_bytes(event.payload, "second", 6);
        framed_client_free(client);
        sim_stop();
    }
    free(body);
}

/* ---- the peer goes, at every moment ---- */

enum { GO_RESET, GO_CLOSE, GO_FINISH, GO_WAYS };
static int way_to_go;
static struct sim_peer *who_goes;
static size_t goes_at;

static void go(struct sim_peer *peer)
{
    if (way_to_go == GO_RESET)
        sim_peer_reset(peer);
    else if (way_to_go == GO_CLOSE)
        sim_peer_close(peer);
    else
        sim_peer_finish(peer);
}

static void go_inside_the_handler(struct rig *rig, struct framed_call *call)
{
    (void)call;
    if (rig->started == goes_at && who_goes) go(who_goes);
}

static void peer_may_go_inside_every_handler(void **state)
{
    (void)state;
    for (int way = 0; way < GO_WAYS; way++) {
        for (goes_at = 1; goes_at <= 6; goes_at++) {
            struct rig rig;
            way_to_go = way;
            rig_start(&rig, 0);
            sim_capacity(100);
            rig.before = go_inside_the_handler;
            rig_serve(&rig);
            who_goes = connected();
            for (int i = 0; i < 2; i++) {
                sim_peer_send_frame_text(who_goes, "D1");
                sim_peer_send_frame_text(who_goes, "two");
                sim_peer_send_frame_text(who_goes, "Bbbbbbbbbbbbbbbbbbbbbbbb");
            }
            sim_run_ms(1);
            rig_answer_all(&rig);
            sim_run_ms(5000);
            who_goes = NULL;
            assert_serves();
            rig_stop(&rig);
        }
    }
}

/* In the log callback, the handler or between turns the test answers, drains, or lets the peer go: in every order. */
struct mischief {
    struct rig *rig;
    size_t countdown;
    int what;
    struct sim_peer *peer;
};

static struct mischief mischief;

static void do_mischief(void)
{
    if (mischief.countdown == 0 || --mischief.countdown > 0) return;
    if (mischief.what == 0) framed_server_drain(mischief.rig->server);
    if (mischief.what == 1) rig_answer_all(mischief.rig);
    if (mischief.what == 2) sim_peer_reset(mischief.peer);
}

static void mischief_in_log(void *ctx, enum framed_log_level level, const char *line)
{
    rig_log(ctx, level, line);
    do_mischief();
}

static void mischief_in_handler(struct rig *rig, struct framed_call *call)
{
    (void)rig;
    (void)call;
    do_mischief();
}

static void draining_answering_and_resetting_inside_every_callback_harms_nothing(void **state)
{
    (void)state;
    for (int what = 0; what < 3; what++) {
        for (size_t when = 1; when <= 12; when++) {
            struct rig rig;
            rig_start(&rig, 0);
            rig.config.log = mischief_in_log;
            rig.config.max_log_lines = 1000;
            rig.before = mischief_in_handler;
            rig_serve(&rig);
            struct sim_peer *peers[3] = {connected(), connected(), connected()};
            mischief = (struct mischief){.rig = &rig, .countdown = when, .what = what, .peer = peers[0]};
            for (int i = 0; i < 3; i++) {
                sim_peer_send_frame_text(peers[i], "D");
                sim_peer_send_frame_text(peers[i], "e");
                sim_peer_send_frame_text(peers[i], "D");
                if (i == 2)
                    sim_peer_send(peers[i], "GET ", 4);
                else if (i == 1)
                    sim_peer_send_frame_text(peers[i], "F");
            }
            sim_run_ms(1);
            rig_answer_all(&rig);
            sim_run_ms(5000);
            if (!sim_actor_done(rig.actor)) assert_serves();
            framed_server_drain(rig.server);
            assert_true(sim_run_until(rig_is_done, &rig, 60000));
            rig_stop(&rig);
        }
    }
}

/* ---- with dice ---- */

static void random_worlds_end_well(void **state)
{
    size_t worlds = getenv("SIM_WORLDS") ? strtoul(getenv("SIM_WORLDS"), NULL, 10) : 150;
    (void)state;
    for (uint64_t seed = 1; seed <= worlds; seed++) {
        struct talk t;
        uint64_t dice = seed * 7919;
        talk_start(&t, spoken[seed % SPOKEN], seed);
        sim_capacity(1 + (size_t)(splits_random(&dice) % 30000));
        sim_events_per_wait((size_t)(splits_random(&dice) % 4));
        t.rig.config.max_calls = (uint32_t)(splits_random(&dice) % 4);
        t.rig.config.workers = (uint32_t)(splits_random(&dice) % 4);
        t.rig.config.max_unsent = (size_t)(splits_random(&dice) % 3) * 5000;
        for (uint64_t k = splits_random(&dice) % 4; k > 0; k--) {
            enum sim_op op = (enum sim_op)(OP_ATTACH + splits_random(&dice) % (OP_FINISH - OP_ATTACH + 1));
            sim_fail(op, 1 + splits_random(&dice) % 30, failures[splits_random(&dice) % FAILURES]);
        }
        if (splits_random(&dice) % 4 == 0) meter_fail_at(sim_meter(), 1 + splits_random(&dice) % 60, METER_ONCE);
        talk_all(&t);
        meter_fail_at(sim_meter(), 0, METER_ONCE);
        sim_fail_never();
        talk_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversation_without_failures_is_right),
        cmocka_unit_test(every_allocation_may_fail_once),
        cmocka_unit_test(every_allocation_may_fail_from_then_on),
        cmocka_unit_test(every_operation_of_the_system_may_fail_with_every_status),
        cmocka_unit_test(every_operation_of_the_system_may_fail_from_then_on),
        cmocka_unit_test(operations_of_descriptors_and_paths_may_fail_with_every_status),
        cmocka_unit_test(accepting_that_fails_for_a_while_goes_on_afterwards),
        cmocka_unit_test(thousand_connections_cut_at_random_bytes_leave_nothing_behind),
        cmocka_unit_test(call_ends_truly_wherever_its_connection_is_cut),
        cmocka_unit_test(every_split_of_a_conversation_gives_the_same_replies),
        cmocka_unit_test(short_reads_and_writes_of_every_length_give_the_same_replies),
        cmocka_unit_test(client_gets_the_same_replies_through_short_reads_and_writes),
        cmocka_unit_test(timeout_at_every_byte_of_a_reply_loses_nothing),
        cmocka_unit_test(peer_may_go_inside_every_handler),
        cmocka_unit_test(draining_answering_and_resetting_inside_every_callback_harms_nothing),
        cmocka_unit_test(random_worlds_end_well),
    };
    return cmocka_run_group_tests_name("sim_faults", tests, NULL, NULL);
}
