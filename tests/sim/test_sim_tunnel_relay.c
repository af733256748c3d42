/*
 * test_sim_tunnel_relay.c: owns the proof that client and server of ours, both encrypted (PROTOCOL.md §9), are right with each other, and
 * with a man in the middle who changes, drops, repeats, swaps, splices, reflects, holds back or cuts what goes by.
 * Must not know how it is done.
 * Invariants: each run is one world; whatever befalls it, the handler sees a front part of what was asked, in its order, each once;
 * a reply is the one that was given; what is said to be not executed was not; the end is clean only where nobody meddled.
 */
#include "tunnel.h"

#define FRONT "127.0.0.1:4465"

/* ---- the man in the middle ---- */

enum meddling { LEAVES_ALONE, FLIPS, DROPS, REPEATS, SWAPS, SPLICES, REFLECTS, HOLDS, CUTS, ENDS, RESETS };
enum way { TO_SERVER, TO_CLIENT };
enum { UNITS_MOST = 64, BYTES_MOST = 4096, HELD_BACK_MS = 40 };

/* A unit is the opening, a preface, a message of the handshake or a record. */
struct relay {
    struct sim_acceptor *front;
    struct sim_peer *end[2]; /* of each way: where its bytes come from */
    enum meddling does;
    enum way way;
    size_t unit, at;       /* which one, and the bit (FLIPS) or the bytes that still go through (CUTS) */
    bool other_dice;       /* another session than without it */
    const uint8_t *splice; /* instead of it */
    size_t splice_len;
    bool done, over[2]; /* it has happened; that way nothing more goes */
    size_t units[2];
    uint8_t kept[BYTES_MOST]; /* SWAPS: until the next one has gone */
    size_t kept_len;
    uint64_t holds_until;
    uint8_t seen[2][UNITS_MOST][256]; /* for another session */
    size_t seen_len[2][UNITS_MOST];
};

static void forward(struct relay *r, enum way way, const uint8_t *at, size_t n)
{
    if (!r->over[way]) sim_peer_send(r->end[!way], at, n);
}

static void end_way(struct relay *r, enum way way)
{
    if (!r->over[way]) sim_peer_finish(r->end[!way]);
    r->over[way] = true;
}

static void meddle(struct relay *r, enum way way, uint8_t *unit, size_t n)
{
    r->done = true;
    switch (r->does) {
    case FLIPS:
        unit[r->at / 8] ^= (uint8_t)(1 << r->at % 8);
        forward(r, way, unit, n);
        return;
    case DROPS: return;
    case REPEATS:
        forward(r, way, unit, n);
        forward(r, way, unit, n);
        return;
    case SWAPS: memcpy(r->kept, unit, r->kept_len = n); return;
    case SPLICES: forward(r, way, r->splice, r->splice_len); return;
    case REFLECTS: forward(r, !way, unit, n); return;
    case CUTS:
        forward(r, way, unit, r->at);
        end_way(r, way);
        return;
    case ENDS:
        forward(r, way, unit, n);
        end_way(r, way);
        return;
    case RESETS:
        r->over[0] = r->over[1] = true;
        sim_peer_reset(r->end[way]);
        sim_peer_reset(r->end[!way]);
        return;
    default: forward(r, way, unit, n); return;
    }
}

static size_t unit_len(const struct relay *r, enum way way, struct framed_bytes got)
{
    if (r->units[way] == 0) return way == TO_CLIENT ? PREFACE : got.len < HEAD ? SIZE_MAX : HEAD + (size_t)got.at[7];
    if (got.len < FRAMED_LENGTH_SIZE) return SIZE_MAX;
    return FRAMED_LENGTH_SIZE + ((size_t)got.at[1] << 16 | (size_t)got.at[2] << 8 | got.at[3]);
}

static bool pass_one(struct relay *r, enum way way)
{
    struct framed_bytes got = sim_peer_received(r->end[way]);
    size_t n = unit_len(r, way, got), which = r->units[way];
    if (n > got.len || got.len == 0) return false;
    bool its_turn = r->way == way && r->unit == which && !r->done;
    if (its_turn && r->does == HOLDS && r->holds_until == 0) r->holds_until = sim_now_ms() + HELD_BACK_MS;
    if (its_turn && r->does == HOLDS && sim_now_ms() < r->holds_until) return false;
    uint8_t *unit = malloc(n);
    assert_non_null(unit);
    memcpy(unit, got.at, n);
    sim_peer_take(r->end[way], n);
    if (which < UNITS_MOST && n <= sizeof r->seen[way][which])
        memcpy(r->seen[way][which], unit, r->seen_len[way][which] = n);
    r->units[way]++;
    if (its_turn && r->does != LEAVES_ALONE) {
        meddle(r, way, unit, n);
    } else {
        forward(r, way, unit, n);
        if (r->way == way && r->kept_len > 0) forward(r, way, r->kept, r->kept_len), r->kept_len = 0;
    }
    free(unit);
    return true;
}

static void relay_tick(void *ctx)
{
    struct relay *r = ctx;
    if (r->end[TO_SERVER] == NULL && (r->end[TO_SERVER] = sim_accept(r->front)) != NULL) r->end[TO_CLIENT] = connected();
    for (int way = 0; way < 2 && r->end[0] != NULL; way++) {
        while (!r->over[way] && pass_one(r, (enum way)way)) continue;
        bool waits = r->does == HOLDS && !r->done && sim_peer_received(r->end[way]).len > 0;
        if (sim_peer_state(r->end[way]) == SIM_ENDED && !waits) end_way(r, (enum way)way);
        if (sim_peer_state(r->end[way]) == SIM_RESET && !r->over[way]) {
            r->over[way] = true;
            sim_peer_reset(r->end[!way]);
        }
    }
    sim_at(1, relay_tick, r);
}

/* ---- two of ours, and him between them ---- */

enum { CALLS = 3 };

struct meet {
    struct house h; /* first: what the handler gets */
    struct relay relay;
    struct framed_client *client;
    uint64_t ids[CALLS];
    size_t begun, executed, replied;
    enum framed_status opened, ended; /* how connecting and the connection ended */
    bool not_executed[CALLS];
};

static const char *const asks[CALLS] = {"the first", "the second, which is longer", "3"};

static void note_what_is_asked(struct rig *rig, struct framed_call *call)
{
    struct meet *m = (struct meet *)rig;
    struct framed_bytes body = framed_call_body(call);
    house_note(rig, call);
    assert_true(m->executed < CALLS);
    assert_bytes(body, asks[m->executed], strlen(asks[m->executed]));
    m->executed++;
}

static void meet_calls(struct meet *m)
{
    struct framed_event event;
    while (m->begun < CALLS &&
           framed_client_start(m->client, framed_bytes_str(asks[m->begun]), 20000, &m->ids[m->begun]) == FRAMED_OK)
        m->begun++;
    bool finished = false;
    for (;;) {
        enum framed_status st = framed_client_next(m->client, 30000, &event);
        event.status =
            st == FRAMED_MORE ? FRAMED_TIMEOUT : event.status; /* what was dropped was the last: its calls have timed out */
        if (st == FRAMED_MORE) break;
        assert_int_equal(st, FRAMED_OK);
        if (event.kind == FRAMED_EVENT_ENDED) break;
        if (event.kind != FRAMED_EVENT_REPLY) continue;
        size_t i = 0;
        while (i < m->begun && m->ids[i] != event.call) i++;
        assert_true(i < m->begun);
        if (event.outcome == FRAMED_REPLY) {
            assert_int_equal(i, m->replied);
            assert_bytes(event.payload, asks[i], strlen(asks[i]));
            m->replied++;
        }
        m->not_executed[i] = event.outcome == FRAMED_NOT_EXECUTED;
        if (i + 1 == m->begun && !finished) finished = framed_client_finish(m->client) == FRAMED_OK;
    }
    m->ended = event.status;
}

/* A whole session; then what must hold whatever he did. */
static void meet_whole(struct meet *m, enum framed_protection p, const struct relay *relay)
{
    memset(m, 0, sizeof *m);
    house_start(&m->h, only(p));
    m->relay = *relay;
    if (relay->other_dice) assert_int_equal(framed_os_random(&(uint64_t){0}, sizeof(uint64_t)), FRAMED_OK);
    m->h.rig.before = note_what_is_asked;
    rig_serve(&m->h.rig);
    m->relay.front = sim_listen(FRONT);
    sim_at(0, relay_tick, &m->relay);
    struct framed_client_config config = keyed_config(p);
    assert_int_equal(framed_client_new(&config, &m->client), FRAMED_OK);
    m->ended = FRAMED_USAGE;
    m->opened = framed_client_connect(m->client, FRONT, 20000);
    if (m->opened == FRAMED_OK)
        meet_calls(m);
    else
        assert_int_equal(m->executed, 0);
    framed_client_free(m->client);
    sim_run_ms(6000);
    for (size_t i = 0; i < m->executed; i++) assert_false(m->not_executed[i]);
    assert_true(m->replied <= m->executed);
    assert_int_equal(m->h.rig.started, m->executed);
    /* A clean end, and calls unanswered: then it is the server that has noticed, and has said so to its log. */
    if (m->opened == FRAMED_OK && m->ended == FRAMED_CLOSED && m->replied < CALLS) {
        assert_int_equal(relay->way, TO_SERVER);
        assert_int_equal(rig_logged(&m->h.rig, "closed: the peer closed the connection"), 0);
    }
}

static void meet_stop(struct meet *m)
{
    house_stop(&m->h);
}

/* Nothing was changed, and all is as it should be. */
static void assert_undisturbed(const struct meet *m)
{
    assert_int_equal(m->opened, FRAMED_OK);
    assert_int_equal(m->ended, FRAMED_CLOSED);
    assert_int_equal(m->replied, CALLS);
    assert_int_equal(rig_logged(&m->h.rig, "closed: the peer closed the connection"), 1);
    assert_int_equal(rig_stats(&m->h.rig).framing_errors, 0);
}

/* How many units go each way, how long they are, and how many of each belong to the handshake. */
static void learn_from(enum framed_protection p, bool other_dice, struct relay *r, size_t handshake[2])
{
    static struct meet m;
    const struct relay idle = {.does = LEAVES_ALONE, .other_dice = other_dice};
    meet_whole(&m, p, &idle);
    assert_undisturbed(&m);
    *r = m.relay;
    handshake[TO_SERVER] = needs_identity(p) ? 3 : 2;
    handshake[TO_CLIENT] = 2;
    meet_stop(&m);
}

static void learn(enum framed_protection p, struct relay *r, size_t handshake[2])
{
    learn_from(p, false, r, handshake);
}

static void session_through_a_relay_that_does_nothing_is_right(void **state)
{
    struct relay r;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &r, handshake);
        assert_true(r.units[TO_SERVER] >= handshake[TO_SERVER] + 2); /* requests, CLOSE */
        assert_true(r.units[TO_CLIENT] >= handshake[TO_CLIENT] + 2);
    }
}

/* What nobody may say who was deceived: that all is well. */
static void assert_noticed(const struct meet *m, bool in_handshake)
{
    static const enum framed_status words[] = {FRAMED_AUTH,      FRAMED_MALFORMED, FRAMED_TRUNCATED, FRAMED_TIMEOUT,
                                               FRAMED_TOO_LARGE, FRAMED_RESET,     FRAMED_CLOSED};
    enum framed_status st = m->opened != FRAMED_OK ? m->opened : m->ended;
    bool known = false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) known |= st == words[i];
    if (m->relay.way == TO_CLIENT) known &= st != FRAMED_CLOSED; /* the other way it may be the server that has noticed */
    if (!known) print_error("the client says %s\n", framed_status_name(st));
    assert_true(known);
    if (in_handshake) assert_int_equal(m->executed, 0);
}

/* Each bit of the longest handshake, and some of each byte of the others; by hand every one of all is changed elsewhere. */
static void no_bit_of_a_handshake_may_change(void **state)
{
    static struct meet m;
    static struct relay all;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &all, handshake);
        for (size_t way = 0; way < 2; way++) {
            for (size_t unit = 0; unit < handshake[way]; unit++) {
                size_t step = keyed[i] == FRAMED_SHARED_AND_PINNED ? 1 : 5;
                for (size_t bit = unit % step; bit < 8 * all.seen_len[way][unit]; bit += step) {
                    const struct relay r = {.does = FLIPS, .way = (enum way)way, .unit = unit, .at = bit};
                    meet_whole(&m, keyed[i], &r);
                    assert_true(m.relay.done);
                    assert_noticed(&m, true);
                    meet_stop(&m);
                }
            }
        }
    }
}

static void no_bit_of_a_record_may_change(void **state)
{
    static struct meet m;
    static struct relay all;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &all, handshake);
        for (size_t way = 0; way < 2; way++) {
            for (size_t unit = handshake[way]; unit < all.units[way]; unit++) {
                for (size_t bit = unit % 3; bit < 8 * all.seen_len[way][unit]; bit += 3) {
                    const struct relay r = {.does = FLIPS, .way = (enum way)way, .unit = unit, .at = bit};
                    meet_whole(&m, keyed[i], &r);
                    assert_true(m.relay.done);
                    assert_noticed(&m, false);
                    if (way == TO_SERVER)
                        assert_int_equal(rig_logged(&m.h.rig, "closed: the peer closed the connection"), 0);
                    meet_stop(&m);
                }
            }
        }
    }
}

static void stream_that_ends_at_any_byte_is_noticed(void **state)
{
    static struct meet m;
    static struct relay all;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &all, handshake);
        for (size_t way = 0; way < 2; way++) {
            for (size_t unit = 0; unit < all.units[way]; unit++) {
                for (size_t at = 0; at < all.seen_len[way][unit]; at += 1 + at / 16) {
                    const struct relay r = {.does = CUTS, .way = (enum way)way, .unit = unit, .at = at};
                    meet_whole(&m, keyed[i], &r);
                    assert_true(m.relay.done);
                    if (way == TO_CLIENT) assert_int_equal(m.opened != FRAMED_OK ? m.opened : m.ended, FRAMED_TRUNCATED);
                    if (way == TO_SERVER && (unit > 0 || at > 0))
                        assert_int_equal(rig_logged(&m.h.rig, "closed: the peer closed the connection"), 0);
                    if (unit < handshake[way]) assert_int_equal(m.executed, 0);
                    meet_stop(&m);
                }
            }
        }
    }
}

static void unit_that_is_dropped_repeated_swapped_reflected_spliced_or_the_last_is_noticed(void **state)
{
    static const enum meddling ways_of[] = {DROPS, REPEATS, SWAPS, SPLICES, REFLECTS, ENDS, RESETS};
    static struct meet m;
    static struct relay all, other;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &all, handshake);
        learn_from(keyed[i], true, &other, handshake);
        assert_memory_not_equal(all.seen[TO_SERVER][1], other.seen[TO_SERVER][1], 36);
        for (size_t k = 0; k < sizeof ways_of / sizeof *ways_of; k++) {
            for (size_t way = 0; way < 2; way++) {
                for (size_t unit = 0; unit < all.units[way]; unit++) {
                    if (ways_of[k] == SPLICES && unit == 0) continue; /* every session begins alike */
                    const struct relay r = {.does = ways_of[k],
                                            .way = (enum way)way,
                                            .unit = unit,
                                            .splice = other.seen[way][unit],
                                            .splice_len = other.seen_len[way][unit]};
                    bool last = unit + 1 == all.units[way];
                    meet_whole(&m, keyed[i], &r);
                    assert_true(m.relay.done);
                    if (ways_of[k] == ENDS && last)
                        assert_undisturbed(&m); /* behind CLOSE the end comes anyway */
                    else if (!last)
                        assert_noticed(&m, unit + (ways_of[k] == ENDS || ways_of[k] == REPEATS) < handshake[way]);
                    else if (way == TO_CLIENT && ways_of[k] != REPEATS)
                        assert_int_not_equal(m.ended, FRAMED_CLOSED);
                    meet_stop(&m);
                }
            }
        }
    }
}

static void what_is_held_back_comes_late_and_is_right(void **state)
{
    static struct meet m;
    static struct relay all;
    size_t handshake[2];
    (void)state;
    for (size_t i = 0; i < KEYED; i++) {
        learn(keyed[i], &all, handshake);
        for (size_t way = 0; way < 2; way++) {
            for (size_t unit = 0; unit < all.units[way]; unit++) {
                const struct relay r = {.does = HOLDS, .way = (enum way)way, .unit = unit};
                meet_whole(&m, keyed[i], &r);
                assert_true(m.relay.done);
                assert_undisturbed(&m);
                meet_stop(&m);
            }
        }
    }
}

/* Who has the shared key, and sits between the two, has two connections: those who compare hashes see it. */
static void two_sessions_that_were_glued_have_two_hashes(void **state)
{
    struct house h;
    struct framed_client *client;
    struct framed_client_config config = keyed_config(FRAMED_SHARED_KEY);
    struct framed_event event;
    (void)state;
    house_serves(&h, FRAMED_SHARED_KEY);
    struct hand front = hand_of(FRAMED_ACCEPTOR, FRAMED_SHARED_KEY), back = hand_of(FRAMED_CONNECTOR, FRAMED_SHARED_KEY);
    struct sim_acceptor *acceptor = sim_listen(FRONT);
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    assert_int_equal(framed_client_connect(client, FRONT, 0), FRAMED_MORE);
    assert_int_equal(framed_client_next(client, 1, &event), FRAMED_MORE);
    front.peer = sim_accept(acceptor);
    hand_compose_answer(&front);
    hand_send_raw(&front, front.flight, front.flight_len);
    assert_int_equal(framed_client_next(client, 1, &event), FRAMED_OK); /* WRITABLE */
    hand_split(&front);
    (void)started(client, "from one to the other", 1000);
    sim_run_ms(0);
    struct framed_bytes got = {0};
    assert_true(hand_frame(&front, &got));
    hand_enter(&back);
    hand_say_frame(&back, got.at, got.len, 0);
    sim_run_ms(0);
    hand_hears(&back, "from one to the other", 21);
    assert_memory_equal(h.hash, back.hash, sizeof h.hash);      /* the server's */
    assert_memory_not_equal(h.hash, front.hash, sizeof h.hash); /* the client's, since front and client agree */
    framed_client_free(client);
    hand_end(&front);
    hand_end(&back);
    house_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session_through_a_relay_that_does_nothing_is_right),
        cmocka_unit_test(no_bit_of_a_handshake_may_change),
        cmocka_unit_test(no_bit_of_a_record_may_change),
        cmocka_unit_test(stream_that_ends_at_any_byte_is_noticed),
        cmocka_unit_test(unit_that_is_dropped_repeated_swapped_reflected_spliced_or_the_last_is_noticed),
        cmocka_unit_test(what_is_held_back_comes_late_and_is_right),
        cmocka_unit_test(two_sessions_that_were_glued_have_two_hashes),
    };
    return cmocka_run_group_tests_name("test_sim_tunnel_relay", tests, NULL, NULL);
}
