/*
 * test_sim_tunnel_faults.c: owns the proof that encrypted connections (PROTOCOL.md §9) carry frames of every size both ways, many at
 * once, and that whatever fails, whenever: nothing crashes, leaks or hangs, what is said of a call is true, and afterwards the server
 * serves.
 * Must not know where memory and system are asked for.
 * Invariants: each run is one world; the n-th occurrence of a failure is tried for n = 1, 2, ... until a run ends without reaching it.
 */
#include "tunnel.h"

/* ---- sizes ---- */

static const size_t sizes[] = {0,     1,     5,     100,   1023,  4096,   16384,  65513,
                               65514, 65515, 65518, 65519, 65536, 131032, 131036, 200000};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* Many calls at once, with bodies of every size; the replies are taken as they come. */
static void ask_in_every_size(struct framed_client *client, struct house *h, size_t from, uint8_t first)
{
    uint8_t *body = pattern(200000);
    size_t begun = 0, replied = 0;
    uint64_t ids[SIZES];
    body[0] = first;
    while (replied < SIZES) {
        struct framed_event event;
        enum framed_status st = FRAMED_FULL;
        if (begun < SIZES) {
            struct framed_bytes request = framed_bytes_of(body, sizes[(begun + from) % SIZES]);
            st = framed_client_start(client, request, 60000, &ids[begun]);
        }
        if (st == FRAMED_OK) {
            begun++;
            continue;
        }
        assert_int_equal(st, FRAMED_FULL);
        st = framed_client_next(client, 100, &event);
        if (st == FRAMED_OK && event.kind == FRAMED_EVENT_REPLY) {
            size_t n = sizes[(replied + from) % SIZES], times = n > 0 && first == 'B' ? 10 : 1;
            assert_int_equal(event.call, ids[replied]);
            assert_int_equal(event.status, FRAMED_OK);
            assert_int_equal(event.payload.len, n * times);
            for (size_t i = 0; i < times && n > 0; i++) assert_memory_equal(event.payload.at + i * n, body, n);
            replied++;
        }
        for (size_t i = h->rig.kept_count; i-- > 0;) /* the youngest first */
            if (h->rig.kept[i] != NULL) assert_int_equal(rig_answer(&h->rig, i), FRAMED_OK);
        h->rig.kept_count = 0;
    }
    free(body);
}

static void frames_of_every_size_go_both_ways_many_at_once(void **state)
{
    const size_t capacities[] = {64 << 10, 20000, 1000};
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        for (size_t k = 0; k < sizeof capacities / sizeof *capacities; k++) {
            struct house h;
            house_start(&h, only(keyed[i]));
            sim_capacity(capacities[k]);
            rig_serve(&h.rig);
            struct framed_client_config config = keyed_config(keyed[i]);
            struct framed_client *client = client_with(&config);
            ask_in_every_size(client, &h, 0, 'e');
            ask_in_every_size(client, &h, 3, 'D');
            ask_in_every_size(client, &h, 7, 'B');
            assert_int_equal(h.rig.started, 3 * SIZES);
            framed_client_free(client);
            sim_run_ms(0);
            assert_int_equal(rig_logged(&h.rig, "closed: the peer closed the connection"), 1);
            house_stop(&h);
        }
    }
}

/* Wherever receives and sends are cut. */
static void sizes_of_receives_and_sends_change_nothing(void **state)
{
    const size_t pieces[] = {1, 2, 3, 5, 8, 4096, 13, 65535, 0, 21};
    const struct sim_script script = {.receives = pieces, .receive_count = 10, .sends = pieces + 1, .send_count = 9};
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct house h;
        house_start(&h, only(keyed[i]));
        sim_script(SIM_ACCEPTOR, &script);
        sim_script(SIM_CONNECTOR, &script);
        rig_serve(&h.rig);
        struct framed_client_config config = keyed_config(keyed[i]);
        struct framed_client *client = client_with(&config);
        ask_in_every_size(client, &h, 5, 'e');
        ask_in_every_size(client, &h, 1, 'D');
        framed_client_free(client);
        house_stop(&h);
    }
}

/* ---- whatever fails ---- */

enum { CALLS = 6 };

struct talk {
    struct house h; /* first: what the handler gets */
    struct framed_client *client;
    uint64_t ids[CALLS];
    size_t begun, ended[CALLS], right;
    bool executed[CALLS], not_executed[CALLS], serving;
};

static void note_execution(struct rig *rig, struct framed_call *call)
{
    struct talk *t = (struct talk *)rig;
    struct framed_bytes body = framed_call_body(call);
    uint8_t last = body.len > 0 ? body.at[body.len - 1] : 0xff;
    house_note(rig, call);
    if (last < CALLS) {
        assert_false(t->executed[last]);
        t->executed[last] = true;
    }
}

static void note_event(struct talk *t, const struct framed_event *event)
{
    size_t i = 0;
    if (event->kind != FRAMED_EVENT_REPLY) return;
    while (i < t->begun && t->ids[i] != event->call) i++;
    assert_true(i < t->begun);
    t->ended[i]++;
    if (event->outcome == FRAMED_REPLY) {
        assert_int_equal(event->payload.at[event->payload.len - 1], i);
        t->right++;
    }
    t->not_executed[i] = event->outcome == FRAMED_NOT_EXECUTED;
}

static void talk_pipelined(struct talk *t)
{
    static uint8_t bodies[3][100000] = {"big", "Dlater", "echo"};
    const size_t lens[] = {100000, 7, 5};
    struct framed_event event;
    for (size_t i = 0; i < CALLS; i++) {
        bodies[i % 3][lens[i % 3] - 1] = (uint8_t)t->begun;
        struct framed_bytes body = framed_bytes_of(bodies[i % 3], lens[i % 3]);
        if (framed_client_start(t->client, body, 5000, &t->ids[t->begun]) == FRAMED_OK) t->begun++;
    }
    for (int i = 0; i < 100 && framed_client_open_calls(t->client) > 0; i++) {
        enum framed_status st = framed_client_next(t->client, 1000, &event);
        if (st == FRAMED_OK)
            note_event(t, &event);
        else if (st != FRAMED_MORE)
            break;
        rig_answer_all(&t->h.rig);
    }
    if (framed_client_finish(t->client) != FRAMED_OK) return;
    for (int i = 0; i < 10 && framed_client_next(t->client, 3000, &event) == FRAMED_OK; i++) note_event(t, &event);
}

static void talk_once(struct talk *t, const char *text)
{
    struct framed_event event = {.outcome = (enum framed_outcome)99};
    size_t before = t->h.rig.started;
    enum framed_status st = framed_client_call(t->client, framed_bytes_str(text), 2000, &event);
    assert_int_equal(event.outcome == FRAMED_REPLY, st == FRAMED_OK);
    if (st == FRAMED_OK) assert_bytes(event.payload, text, strlen(text));
    if (event.outcome == FRAMED_NOT_EXECUTED) assert_int_equal(t->h.rig.started, before);
}

/* A session, once; whoever calls it has arranged what is to fail. */
static void talk_all(struct talk *t, enum framed_protection p)
{
    struct framed_client_config config = keyed_config(p);
    t->serving = rig_try_serve(&t->h.rig) == FRAMED_OK;
    sim_run_ms(0);
    if (framed_client_new(&config, &t->client) == FRAMED_OK) {
        if (framed_client_connect(t->client, WHERE, 1000) == FRAMED_OK) {
            talk_once(t, "hello");
            talk_pipelined(t);
            for (size_t i = 0; i < t->begun; i++) assert_in_range(t->ended[i], 0, 1);
            if (framed_client_reconnect(t->client, 1000) == FRAMED_OK) talk_once(t, "again");
        } else {
            assert_int_equal(t->h.rig.started, 0);
        }
        framed_client_free(t->client);
    }
    struct sim_peer *stranger = sim_connect(WHERE); /* one who does not go on, and one who says something else */
    if (stranger != NULL) sim_peer_send(stranger, "\xf7\x46\x01", 3);
    stranger = sim_connect(WHERE);
    if (stranger != NULL) sim_peer_send(stranger, "GET / HTTP/1.1\r\n", 16);
    sim_run_ms(50);
    rig_answer_all(&t->h.rig);
}

static void talk_start(struct talk *t, enum framed_protection p)
{
    memset(t, 0, sizeof *t);
    house_start(&t->h, only(p));
    t->h.rig.before = note_execution;
    t->h.rig.config.drain_ms = 8000;
    sim_capacity(20000);
}

/* Afterwards, with nothing failing any more: whoever still runs, serves; and then drains. */
static void talk_end(struct talk *t, enum framed_protection p)
{
    struct rig *rig = &t->h.rig;
    sim_run_ms(3000);
    rig_answer_all(rig);
    if (t->serving && !sim_actor_done(rig->actor)) {
        struct framed_client_config config = keyed_config(p);
        struct framed_client *client = client_with(&config);
        assert_call_echoes(client, "afterwards");
        framed_client_free(client);
        framed_server_drain(rig->server);
        assert_true(sim_run_until(rig_is_done, rig, 20000));
    }
    for (size_t i = 0; i < t->begun; i++) assert_false(t->executed[i] && t->not_executed[i]);
    rig_stop(rig);
}

static void session_without_failures_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        struct talk t;
        talk_start(&t, keyed[i]);
        talk_all(&t, keyed[i]);
        assert_int_equal(t.begun, CALLS);
        assert_int_equal(t.right, CALLS);
        assert_int_equal(t.h.rig.started, CALLS + 2);
        talk_end(&t, keyed[i]);
    }
}

static void each_allocation_fails(enum meter_failing failing, const char *how)
{
    for (size_t i = 0; i < KEYED; i++) {
        uint64_t n = 0;
        for (bool reached = true; reached;) {
            struct talk t;
            talk_start(&t, keyed[i]);
            meter_fail_at(sim_meter(), ++n, failing);
            talk_all(&t, keyed[i]);
            reached = meter_reached(sim_meter()) > 0;
            meter_fail_at(sim_meter(), 0, METER_ONCE);
            talk_end(&t, keyed[i]);
        }
        print_message("protection %d: %llu allocations failed, %s\n", (int)keyed[i], (unsigned long long)n - 1, how);
        assert_true(n > 20);
    }
}

static void any_allocation_may_fail_once(void **state)
{
    (void)state;
    each_allocation_fails(METER_ONCE, "each once");
}

static void memory_may_run_out_at_any_point(void **state)
{
    (void)state;
    each_allocation_fails(METER_ONWARD, "that and all after it");
}

/* How often it was reached. */
static uint64_t each_time_fails(enum sim_op op, enum framed_protection p, enum framed_status status)
{
    uint64_t n = 0;
    for (bool reached = true; reached && n < 400;) {
        struct talk t;
        talk_start(&t, p);
        sim_fail(op, ++n, status);
        talk_all(&t, p);
        reached = sim_failures_reached() > 0;
        sim_fail_never();
        talk_end(&t, p);
    }
    return n - 1;
}

/* With what it says of itself, and with what only a decoder says. */
static void any_operation_of_the_system_may_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        for (int op = 0; op < OP_COUNT; op++) {
            enum framed_status own = op == OP_RECEIVED || op == OP_SENT ? FRAMED_RESET : FRAMED_OS;
            uint64_t n = each_time_fails((enum sim_op)op, keyed[i], own);
            (void)each_time_fails((enum sim_op)op, keyed[i], FRAMED_MALFORMED);
            if (n > 0)
                print_message("protection %d: %s failed %llu times\n", (int)keyed[i], sim_op_name((enum sim_op)op),
                              (unsigned long long)n);
        }
    }
}

/* A handshake whose key cannot be thrown is none: it is not one with a key that somebody knows. */
static void no_randomness_is_no_connection(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        for (uint64_t n = 1; n <= 2; n++) { /* the client's, the server's */
            struct house h;
            struct framed_client_config config = keyed_config(keyed[i]);
            struct framed_client *client;
            house_serves(&h, keyed[i]);
            assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
            sim_fail(OP_RANDOM, n, FRAMED_OS);
            enum framed_status st = framed_client_connect(client, WHERE, 1000);
            assert_int_not_equal(st, FRAMED_OK);
            if (n == 1) assert_int_equal(st, FRAMED_OS);
            assert_int_equal(sim_failures_reached(), 1);
            sim_fail_never();
            assert_int_equal(framed_client_reconnect(client, 1000), FRAMED_OK);
            assert_call_echoes(client, "again");
            framed_client_free(client);
            house_stop(&h);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_every_size_go_both_ways_many_at_once),
        cmocka_unit_test(sizes_of_receives_and_sends_change_nothing),
        cmocka_unit_test(session_without_failures_is_right),
        cmocka_unit_test(any_allocation_may_fail_once),
        cmocka_unit_test(memory_may_run_out_at_any_point),
        cmocka_unit_test(any_operation_of_the_system_may_fail),
        cmocka_unit_test(no_randomness_is_no_connection),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_faults", tests, NULL, NULL);
}
