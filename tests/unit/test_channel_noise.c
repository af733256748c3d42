/*
 * test_channel_noise.c: the handshake of encrypted connections (channel_noise.h): two of ours with each other in every split,
 * against a wire and peers that lie, against misuse, and what of secrets stays in memory.
 * Must not know how a handshake is computed.
 * Invariants: a peer that lies is our own code with libsodium meddled with while it acts (meddle.h), or plain Noise with a payload of
 * ours; what is fed lies in memory of exactly its length.
 */
#include "channel_noise.h"
#include "guard.h"
#include "meddle.h"
#include "splits.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, LEN = FRAMED_LENGTH_SIZE };

static const uint8_t modes[] = {0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1};
enum { MODES = sizeof modes };

static struct guard guard;

/* ---- two ends ---- */

struct opening {
    uint8_t at[FRAMED_OPENING_MOST];
    size_t len;
};

struct setup {
    uint8_t mode[2]; /* by side, as is everything */
    struct opening opening[2];
    uint8_t psk[2][KEY], ephemeral[2][KEY];
    struct framed_noise_keypair identity[2];
    struct framed_hello hello; /* the acceptor's */
};

struct ends {
    struct framed_handshake at[2];
};

/* A message, as a frame. */
struct letter {
    uint8_t at[FRAMED_HANDSHAKE_MOST + 64];
    size_t len;
};

static bool has_psk(uint8_t mode)
{
    return mode >> 4 != FRAMED_PINNED_KEYS;
}

static bool has_static(uint8_t mode)
{
    return mode >> 4 != FRAMED_SHARED_KEY;
}

static unsigned messages_of(uint8_t mode)
{
    return has_static(mode) ? 3 : 2;
}

static void fill(uint8_t key[KEY], uint8_t label)
{
    for (uint8_t i = 0; i < KEY; i++) key[i] = (uint8_t)(label + 37 * i);
}

static struct framed_noise_keypair identity_of(uint8_t label)
{
    struct framed_noise_keypair pair;
    uint8_t secret[KEY];
    fill(secret, label);
    assert_int_equal(framed_noise_keypair(&pair, secret), FRAMED_OK);
    return pair;
}

static struct setup setup_of(uint8_t mode)
{
    struct setup s = {.hello = {.max_frame = 1 << 20, .window = mode & 1 ? 32768 : 0, .max_calls = mode & 1 ? 9 : 0}};
    struct framed_hello connector = {.max_frame = 65536};
    struct framed_fault fault;
    if (has_psk(mode)) connector.key_id = framed_bytes_str("one of us");
    for (uint8_t side = 0; side < 2; side++) {
        s.mode[side] = mode;
        assert_int_equal(
            framed_opening_encode(s.opening[side].at, &s.opening[side].len, FRAMED_CONNECTOR, mode, &connector, &fault),
            FRAMED_OK);
        fill(s.psk[side], 1);
        fill(s.ephemeral[side], (uint8_t)(2 + side));
        s.identity[side] = identity_of((uint8_t)(4 + side));
    }
    return s;
}

static struct framed_handshake_config config_of(const struct setup *s, unsigned side)
{
    return (struct framed_handshake_config){
        .mode = s->mode[side],
        .side = (enum framed_side)side,
        .opening = framed_bytes_of(s->opening[side].at, s->opening[side].len),
        .ephemeral = s->ephemeral[side],
        .psk = has_psk(s->mode[side]) ? s->psk[side] : NULL,
        .identity = has_static(s->mode[side]) ? &s->identity[side] : NULL,
        .hello = side == FRAMED_ACCEPTOR ? &s->hello : NULL,
    };
}

static struct ends ends_of(const struct setup *s)
{
    struct ends e;
    for (unsigned side = 0; side < 2; side++) {
        struct framed_handshake_config config = config_of(s, side);
        memset(&e.at[side], 0xcc, sizeof e.at[side]);
        assert_int_equal(framed_handshake_init(&e.at[side], &config), FRAMED_OK);
    }
    return e;
}

static struct ends ends_new(uint8_t mode)
{
    struct setup s = setup_of(mode);
    return ends_of(&s);
}

/* Message i, from 0. */
static enum framed_status say(struct ends *e, unsigned i, struct letter *out)
{
    uint8_t *at = guard_take(&guard, FRAMED_HANDSHAKE_MOST);
    enum framed_status st = framed_handshake_say(&e->at[i % 2], at, &out->len);
    if (st == FRAMED_OK) memcpy(out->at, at, out->len);
    return st;
}

static enum framed_status feed(struct framed_handshake *hs, const uint8_t *at, size_t n, size_t *taken)
{
    struct framed_bytes in = framed_bytes_of(guard_copy(&guard, at, n), n);
    const uint8_t *end = in.at + in.len;
    enum framed_status st = framed_handshake_next(hs, &in);
    assert_ptr_equal(in.at + in.len, end);
    *taken = n - in.len;
    return st;
}

static enum framed_status hear(struct ends *e, unsigned i, const struct letter *in)
{
    size_t taken;
    return feed(&e->at[1 - i % 2], in->at, in->len, &taken);
}

static void play(struct ends *e, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        struct letter letter;
        assert_int_equal(say(e, i, &letter), FRAMED_OK);
        assert_int_equal(hear(e, i, &letter), FRAMED_OK);
    }
}

static bool both_done(const struct ends *e)
{
    return framed_handshake_is_done(&e->at[0]) && framed_handshake_is_done(&e->at[1]);
}

/* Failed for good: it says so again, whatever is asked, and knows nothing any more. */
static void assert_dead(const struct framed_handshake *hs, enum framed_status why)
{
    struct framed_handshake dead = *hs;
    struct framed_records out, in;
    struct letter letter = {.len = 0};
    uint8_t hash[KEY];
    size_t taken;
    assert_int_equal(framed_handshake_say(&dead, letter.at, &letter.len), why);
    assert_int_equal(feed(&dead, letter.at, 100, &taken), why);
    assert_int_equal(taken, 0);
    assert_int_equal(framed_handshake_split(&dead, &out, &in, hash), why);
    assert_int_equal(framed_handshake_wants(&dead), 0);
    assert_null(framed_handshake_peer_key(&dead));
    assert_false(framed_handshake_has_hello(&dead));
    assert_false(framed_handshake_is_done(&dead));
    dead.state = 0;
    dead.failed = 0;
    assert_int_equal(sodium_is_zero((const uint8_t *)&dead, sizeof dead), 1);
}

/* ---- what goes through ---- */

static void assert_same_connection(struct ends *e, const struct setup *s)
{
    struct framed_records r[2][2];
    uint8_t hash[2][KEY];
    memset(r, 0xcc, sizeof r);
    assert_true(both_done(e));
    for (unsigned side = 0; side < 2; side++) {
        const uint8_t *key = framed_handshake_peer_key(&e->at[side]);
        if (has_static(s->mode[0]))
            assert_memory_equal(key, s->identity[1 - side].public, KEY);
        else
            assert_null(key);
        assert_int_equal(framed_handshake_split(&e->at[side], &r[side][0], &r[side][1], hash[side]), FRAMED_OK);
        assert_ptr_equal(framed_handshake_peer_key(&e->at[side]), key); /* it stays */
        assert_true(framed_handshake_is_done(&e->at[side]));
    }
    assert_memory_equal(hash[0], hash[1], KEY);
    for (unsigned side = 0; side < 2; side++) {
        for (unsigned way = 0; way < 2; way++)
            assert_true(r[side][way].pads == 0 && !r[side][way].closed && r[side][way].failed == 0);
        uint8_t at[RECORD_HEAD + 4 + RECORD_TAIL] = {0, 0, 0, 0, 0, 't', 'e', 'x', 't'};
        enum record_type type;
        struct framed_bytes body;
        assert_int_equal(framed_record_seal(&r[side][0], RECORD_DATA, at, 4), FRAMED_OK);
        assert_int_equal(framed_record_open(&r[1 - side][1], at + LEN, sizeof at - LEN, &type, &body), FRAMED_OK);
        assert_memory_equal(body.at, "text", 4);
    }
    struct framed_hello hello = framed_handshake_hello(&e->at[0]);
    assert_int_equal(hello.max_frame, s->hello.max_frame);
    assert_int_equal(hello.max_calls, s->hello.max_calls);
    assert_int_equal(hello.window, s->hello.window);
}

/* A message on its way: to whom it goes, and who else there is. */
struct passage {
    const struct setup *setup;
    struct ends ends; /* as they are before it is heard */
    unsigned i;
    struct letter letter;
};

static void hear_in_pieces(void *ctx, const struct split *split)
{
    const struct passage *p = ctx;
    struct ends e = p->ends;
    struct framed_handshake *hs = &e.at[1 - p->i % 2];
    size_t from = 0;
    for (size_t k = 0; k < split->n; k++) {
        size_t end = split->ends[k], taken, behind = end == p->letter.len ? 3 : 0; /* bytes of whatever follows */
        if (from == p->letter.len) break;
        size_t wants = framed_handshake_wants(hs), left = p->letter.len - from;
        assert_in_range(wants, 1, left);
        if (from >= LEN || p->i != 1) assert_int_equal(wants, left);
        enum framed_status st = feed(hs, p->letter.at + from, end - from + behind, &taken);
        assert_int_equal(taken, end - from);
        assert_int_equal(st, end == p->letter.len ? FRAMED_OK : FRAMED_MORE);
        from = end;
    }
    assert_int_equal(framed_handshake_wants(hs), 0);
    play(&e, p->i + 1, messages_of(p->setup->mode[0]));
    assert_same_connection(&e, p->setup);
}

static void connection_agrees_in_every_mode_and_every_split(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        for (unsigned i = 0; i < messages_of(modes[m]); i++) {
            struct passage p = {.setup = &s, .i = i, .letter = {.len = 0}};
            assert_int_equal(say(&e, i, &p.letter), FRAMED_OK);
            p.ends = e;
            splits_each(p.letter.len, 20, hear_in_pieces, &p);
            assert_int_equal(hear(&e, i, &p.letter), FRAMED_OK);
        }
        assert_same_connection(&e, &s);
    }
}

static void messages_have_the_sizes_of_their_places(void **state)
{
    (void)state;
    static const size_t sizes[3][3] = {{48, 48, 0}, {32, 96, 64}, {48, 96, 64}};
    for (unsigned m = 0; m < MODES; m++) {
        for (unsigned full = 0; full < 2; full++) {
            struct setup s = setup_of(modes[m]);
            if (!full) s.hello = (struct framed_hello){0}; /* nothing is said */
            uint8_t parameters[FRAMED_HELLO_MOST];
            struct framed_fault fault;
            size_t n;
            assert_int_equal(framed_hello_encode(parameters, &n, FRAMED_ACCEPTOR, modes[m], &s.hello, &fault), FRAMED_OK);
            assert_int_equal(n > 0, full);
            struct ends e = ends_of(&s);
            for (unsigned i = 0; i < messages_of(modes[m]); i++) {
                struct letter letter;
                assert_int_equal(say(&e, i, &letter), FRAMED_OK);
                assert_int_equal(letter.len, LEN + sizes[m / 2][i] + (i == 1 ? n : 0));
                assert_memory_equal(letter.at, ((uint8_t[]){0, 0, 0, (uint8_t)(letter.len - LEN)}), LEN);
                assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
            }
        }
    }
}

static void peer_key_is_known_before_the_own_one_is_shown(void **state)
{
    (void)state;
    for (unsigned m = 2; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        play(&e, 0, 1);
        assert_null(framed_handshake_peer_key(&e.at[0]));
        assert_null(framed_handshake_peer_key(&e.at[1]));
        assert_false(framed_handshake_has_hello(&e.at[0]));
        play(&e, 1, 2);
        assert_memory_equal(framed_handshake_peer_key(&e.at[0]), s.identity[1].public, KEY);
        assert_null(framed_handshake_peer_key(&e.at[1]));
        assert_true(framed_handshake_has_hello(&e.at[0]));
        assert_false(framed_handshake_is_done(&e.at[0]));
        play(&e, 2, 3);
        assert_memory_equal(framed_handshake_peer_key(&e.at[1]), s.identity[0].public, KEY);
        assert_false(framed_handshake_has_hello(&e.at[1]));
    }
}

/* ---- a wire that lies (security.md §9: 1, 3, 4, 13, 19, 29) ---- */

/* Message i arrives as `letter`; the rest is as it should be. Returns what the reader of it said. */
static enum framed_status never_both(struct ends e, unsigned i, const struct letter *letter)
{
    unsigned n = messages_of(e.at[0].mode);
    enum framed_status first = hear(&e, i, letter), st = first;
    if (st < FRAMED_OK) assert_dead(&e.at[1 - i % 2], st);
    for (i++; i < n && st == FRAMED_OK; i++) {
        struct letter next;
        st = say(&e, i, &next);
        if (st == FRAMED_OK) st = hear(&e, i, &next);
        if (st < FRAMED_OK) assert_dead(&e.at[1 - i % 2], st);
    }
    assert_int_not_equal(st, FRAMED_OK);
    assert_int_not_equal(st, FRAMED_USAGE);
    assert_false(both_done(&e));
    return first;
}

static void handshake_fails_with_any_bit_of_any_message_flipped(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct ends e = ends_new(modes[m]);
        for (unsigned i = 0; i < messages_of(modes[m]); i++) {
            struct letter letter;
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            for (size_t bit = 0; bit < 8 * letter.len; bit++) {
                struct letter flipped = letter;
                flipped.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
                enum framed_status st = never_both(e, i, &flipped);
                /* Only of message 2 may a length be another's, too: then its bytes are waited for. */
                if (bit < 8 * LEN && i != 1) assert_int_equal(st, FRAMED_MALFORMED);
            }
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        assert_true(both_done(&e));
    }
}

/* What an acceptor of all modes makes of the connector's flight. False: it ended there, or waits for what never comes. */
static bool accept_flight(struct setup *s, struct framed_handshake *hs, const uint8_t *at, size_t n)
{
    struct framed_accept all = {0};
    struct framed_opening o;
    struct framed_bytes in = framed_bytes_of(at, n);
    for (unsigned m = 0; m < MODES; m++) assert_int_equal(framed_accept_add(&all, modes[m]), FRAMED_OK);
    assert_int_equal(framed_opening_accept(&o, &all), FRAMED_OK);
    if (framed_opening_next(&o, &in) != FRAMED_OK) return false;
    s->mode[1] = o.mode;
    s->opening[1].len = n - in.len;
    memcpy(s->opening[1].at, at, n - in.len);
    if ((o.mode & 1) == 0) s->hello.window = s->hello.max_calls = 0;
    struct framed_handshake_config config = config_of(s, 1);
    assert_int_equal(framed_handshake_init(hs, &config), FRAMED_OK);
    return framed_handshake_next(hs, &in) == FRAMED_OK && in.len == 0;
}

static void handshake_fails_with_any_bit_of_the_opening_flipped(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        unsigned answered = 0;
        for (size_t bit = 0;; bit++) {
            struct setup s = setup_of(modes[m]);
            struct ends e = ends_of(&s);
            struct letter letter;
            uint8_t flight[sizeof s.opening->at + sizeof letter.at];
            size_t n = s.opening[0].len;
            if (bit == 8 * n) break;
            assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
            memcpy(flight, s.opening[0].at, n);
            memcpy(flight + n, letter.at, letter.len);
            flight[bit / 8] ^= (uint8_t)(1 << bit % 8);
            bool heard = accept_flight(&s, &e.at[1], flight, n + letter.len);
            if (!heard) continue;
            assert_false(has_psk(modes[m])); /* message 1 is already sealed with it */
            answered++;
            if (say(&e, 1, &letter) == FRAMED_OK && hear(&e, 1, &letter) == FRAMED_OK)
                fail_msg("mode %x, bit %zu: the connector goes on", modes[m], bit);
            assert_false(framed_handshake_is_done(&e.at[0]));
        }
        assert_int_equal(answered > 0, !has_psk(modes[m]));
        struct setup s = setup_of(modes[m]); /* and as it is, it goes through */
        struct ends e = ends_of(&s);
        struct letter letter;
        uint8_t flight[sizeof s.opening->at + sizeof letter.at];
        assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
        memcpy(flight, s.opening[0].at, s.opening[0].len);
        memcpy(flight + s.opening[0].len, letter.at, letter.len);
        assert_true(accept_flight(&s, &e.at[1], flight, s.opening[0].len + letter.len));
        play(&e, 1, messages_of(modes[m]));
        assert_same_connection(&e, &s);
    }
}

/* With everything right but its length. */
static void message_of_any_other_length_is_refused(void **state)
{
    (void)state;
    static const uint32_t far[] = {193, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000, UINT32_MAX};
    for (unsigned m = 0; m < MODES; m++) {
        struct ends e = ends_new(modes[m]);
        for (unsigned i = 0; i < messages_of(modes[m]); i++) {
            struct letter letter = {.len = 0};
            size_t least = framed_handshake_wants(&e.at[1 - i % 2]) - LEN, most = least + (i == 1 ? FRAMED_HELLO_MOST : 0);
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            for (uint32_t k = 0; k < 193 + sizeof far / sizeof *far; k++) {
                uint32_t len = k < 193 ? k : far[k - 193];
                if (len == letter.len - LEN) continue;
                struct letter other = letter;
                struct framed_handshake hs = e.at[1 - i % 2];
                size_t taken;
                for (unsigned b = 0; b < LEN; b++) other.at[b] = (uint8_t)(len >> (24 - 8 * b));
                enum framed_status st = feed(&hs, other.at, FRAMED_HANDSHAKE_MOST, &taken);
                assert_int_equal(st, len < least || len > most ? FRAMED_MALFORMED : FRAMED_AUTH);
                assert_int_equal(taken, st == FRAMED_MALFORMED ? LEN : LEN + len);
                assert_dead(&hs, st);
            }
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
    }
}

static void message_sent_back_to_who_said_it_is_refused(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct ends e = ends_new(modes[m]);
        struct letter letter;
        assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
        struct framed_handshake hs = e.at[0];
        size_t taken;
        enum framed_status st = feed(&hs, letter.at, letter.len, &taken);
        assert_true(st == FRAMED_AUTH || st == FRAMED_MALFORMED);
        assert_dead(&hs, st);
        assert_int_equal(hear(&e, 0, &letter), FRAMED_OK);
        assert_int_equal(say(&e, 1, &letter), FRAMED_OK);
        if (messages_of(modes[m]) == 2) continue;
        hs = e.at[1];
        st = feed(&hs, letter.at, letter.len, &taken);
        assert_true(st == FRAMED_AUTH || st == FRAMED_MALFORMED);
        assert_dead(&hs, st);
    }
}

static struct letter record_of(struct framed_records *out)
{
    struct letter r = {.at = {0, 0, 0, 0, 0, 't', 'e', 'x', 't'}, .len = RECORD_HEAD + 4 + RECORD_TAIL};
    assert_int_equal(framed_record_seal(out, RECORD_DATA, r.at, 4), FRAMED_OK);
    return r;
}

static void assert_opens_not(struct framed_records *in, const struct letter *r)
{
    struct letter copy = *r;
    enum record_type type;
    struct framed_bytes body;
    assert_int_equal(framed_record_open(in, copy.at + LEN, copy.len - LEN, &type, &body), FRAMED_AUTH);
    assert_int_equal(sodium_is_zero((const uint8_t *)&in->cipher, sizeof in->cipher), 1);
}

static void recorded_stream_of_a_connector_comes_to_nothing(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        struct letter recorded[3], answer;
        struct framed_records out, in;
        uint8_t hash[2][KEY];
        for (unsigned i = 0; i < messages_of(modes[m]); i++) {
            assert_int_equal(say(&e, i, &recorded[i]), FRAMED_OK);
            assert_int_equal(hear(&e, i, &recorded[i]), FRAMED_OK);
        }
        assert_int_equal(framed_handshake_split(&e.at[0], &out, &in, hash[0]), FRAMED_OK);
        struct letter record = record_of(&out);
        fill(s.ephemeral[1], 77); /* the same acceptor, another time */
        struct ends again = ends_of(&s);
        assert_int_equal(hear(&again, 0, &recorded[0]), FRAMED_OK);
        assert_int_equal(say(&again, 1, &answer), FRAMED_OK);
        if (has_static(modes[m])) {
            assert_int_equal(hear(&again, 2, &recorded[2]), FRAMED_AUTH);
            assert_dead(&again.at[1], FRAMED_AUTH);
            continue;
        }
        assert_int_equal(framed_handshake_split(&again.at[1], &out, &in, hash[1]), FRAMED_OK);
        assert_memory_not_equal(hash[0], hash[1], KEY);
        assert_opens_not(&in, &record);
    }
}

static void record_sent_back_to_who_sealed_it_is_refused(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        for (unsigned side = 0; side < 2; side++) {
            struct ends e = ends_new(modes[m]);
            struct framed_records out, in;
            uint8_t hash[KEY];
            play(&e, 0, messages_of(modes[m]));
            assert_int_equal(framed_handshake_split(&e.at[side], &out, &in, hash), FRAMED_OK);
            struct letter record = record_of(&out);
            assert_opens_not(&in, &record);
        }
    }
}

/* ---- peers that lie (security.md §9: 9, 11, 12, 13) ---- */

/* Who answers first when something is not alike at both ends: the reader of message `at`. */
static void assert_fails_at(const struct setup *s, unsigned at)
{
    struct ends e = ends_of(s);
    struct letter letter;
    play(&e, 0, at);
    assert_int_equal(say(&e, at, &letter), FRAMED_OK);
    assert_int_equal(hear(&e, at, &letter), FRAMED_AUTH);
    assert_dead(&e.at[1 - at % 2], FRAMED_AUTH);
}

static void handshake_fails_with_another_psk_at_the_first_message(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        if (!has_psk(modes[m])) continue;
        s.psk[0][31] ^= 0x80;
        meddle.multiplied = 0;
        assert_fails_at(&s, 0);
        assert_int_equal(meddle.multiplied, 1); /* the connector's ephemeral: a stranger costs the acceptor none */
    }
}

static void handshake_fails_when_the_ends_saw_different_openings(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        for (size_t i = FRAMED_PREFACE_SIZE + LEN; i < 13; i++) {
            struct setup s = setup_of(modes[m]);
            s.opening[1].at[i] ^= 1;
            assert_fails_at(&s, has_psk(modes[m]) ? 0 : 1);
        }
    }
}

/* What both ends hash, said once more: 14 bytes, preface, HELLO frame. */
static void prologue_is_name_preface_and_hello(void **state)
{
    (void)state;
    static const enum noise_pattern patterns[] = {NOISE_NNPSK0, NOISE_XX, NOISE_XXPSK0};
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        uint8_t prologue[256] = "framed/1 noise";
        struct framed_noise plain;
        struct letter letter;
        struct framed_bytes payload;
        memcpy(prologue + 14, s.opening[0].at, s.opening[0].len);
        struct framed_noise_config config = {.pattern = patterns[m / 2],
                                             .role = NOISE_RESPONDER,
                                             .prologue = framed_bytes_of(prologue, 14 + s.opening[0].len),
                                             .ephemeral = s.ephemeral[1],
                                             .psk = has_psk(modes[m]) ? s.psk[1] : NULL,
                                             .identity = has_static(modes[m]) ? &s.identity[1] : NULL};
        assert_int_equal(framed_noise_init(&plain, &config), FRAMED_OK);
        assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
        assert_int_equal(framed_noise_read(&plain, letter.at + LEN, letter.len - LEN, &payload), FRAMED_OK);
        assert_int_equal(payload.len, 0);
        /* And its answer has parameters that we would not send: only unknown ones, up to the most; or nonsense. */
        for (unsigned k = 0; k < 4; k++) {
            static const size_t sizes[] = {FRAMED_HELLO_MOST, FRAMED_HELLO_MOST + 1, 3, 0};
            static const enum framed_status wanted[] = {FRAMED_OK, FRAMED_MALFORMED, FRAMED_MALFORMED, FRAMED_OK};
            uint8_t parameters[FRAMED_HELLO_MOST + 1] = {k == 2 ? 6 : 200, k == 2 ? 1 : FRAMED_HELLO_MOST - 2};
            struct framed_noise copy = plain;
            struct framed_handshake hs = e.at[0];
            size_t n, taken;
            assert_int_equal(framed_noise_write(&copy, framed_bytes_of(parameters, sizes[k]), letter.at + LEN,
                                                sizeof letter.at - LEN, &n),
                             FRAMED_OK);
            memcpy(letter.at, ((uint8_t[]){0, 0, 0, (uint8_t)n}), LEN);
            assert_int_equal(feed(&hs, letter.at, LEN + n, &taken), wanted[k]);
            if (wanted[k] != FRAMED_OK)
                assert_dead(&hs, wanted[k]);
            else
                assert_int_equal(framed_handshake_hello(&hs).max_frame, 16 << 20);
        }
    }
}

/* Not even with the other's secret (KCI): the acceptor's is stolen, and its thief poses as somebody to it. */
static void handshake_fails_with_a_static_key_whose_secret_the_peer_has_not(void **state)
{
    (void)state;
    for (unsigned m = 2; m < MODES; m++) {
        for (unsigned liar = 0; liar < 2; liar++) {
            for (unsigned stolen = 0; stolen < 2; stolen++) {
                struct setup s = setup_of(modes[m]);
                fill(s.identity[liar].secret, 66);
                if (stolen) memcpy(s.identity[liar].secret, s.identity[1 - liar].secret, KEY);
                assert_fails_at(&s, liar == FRAMED_ACCEPTOR ? 1 : 2);
            }
        }
    }
}

/* Plays until the honest end says no; the liar is let everything. Returns the number of the message at which that was. */
static unsigned play_liar(struct ends *e, unsigned liar, bool low)
{
    unsigned n = messages_of(e->at[0].mode);
    for (unsigned i = 0; i < n; i++) {
        struct letter letter = {.len = 0};
        for (unsigned reading = 0; reading < 2; reading++) {
            unsigned who = reading ? 1 - i % 2 : i % 2;
            meddle.blind = who == liar;
            meddle.low = low && who == liar;
            enum framed_status st = reading ? hear(e, i, &letter) : say(e, i, &letter);
            meddle.blind = meddle.low = false;
            if (st == FRAMED_OK) continue;
            assert_int_equal(who, 1 - liar);
            assert_int_equal(st, FRAMED_AUTH);
            assert_dead(&e->at[who], FRAMED_AUTH);
            return i;
        }
    }
    return n;
}

static const uint8_t low_points[7][KEY] = {
    {0},
    {1},
    {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
     0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
    {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
     0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

static void handshake_refuses_points_of_low_order(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++)
        for (unsigned k = 0; k < 14; k++)
            for (unsigned liar = 0; liar < 2; liar++) {
                struct setup s = setup_of(modes[m]);
                uint8_t point[KEY];
                memcpy(point, low_points[k / 2], KEY);
                if (k % 2 == 1) point[31] |= 0x80;
                struct ends e = ends_of(&s);
                meddle.liars_key = s.ephemeral[liar];
                meddle.liars_face = point;
                assert_int_equal(play_liar(&e, liar, true),
                                 1); /* the acceptor as it answers, the connector as it hears it */
                meddle.liars_key = meddle.liars_face = NULL;
                if (!has_static(modes[m])) continue;
                memcpy(s.identity[liar].public, point, KEY);
                e = ends_of(&s);
                meddle.liars_key = s.identity[liar].secret;
                assert_int_equal(play_liar(&e, liar, true), liar == FRAMED_ACCEPTOR ? 1 : 2);
                meddle.liars_key = NULL;
            }
}

static void peer_key_written_another_way_is_shown_as_it_came(void **state)
{
    (void)state;
    for (unsigned liar = 0; liar < 2; liar++) {
        struct setup s = setup_of(0x90);
        uint8_t pin[KEY];
        memcpy(pin, s.identity[liar].public, KEY);
        s.identity[liar].public[31] |= 0x80; /* the same point to X25519 */
        struct ends e = ends_of(&s);
        play(&e, 0, 3);
        assert_memory_equal(framed_handshake_peer_key(&e.at[1 - liar]), s.identity[liar].public, KEY);
        assert_memory_not_equal(framed_handshake_peer_key(&e.at[1 - liar]), pin, KEY);
    }
}

static void handshake_refuses_its_own_static_key(void **state)
{
    (void)state;
    for (unsigned m = 2; m < MODES; m++)
        for (unsigned liar = 0; liar < 2; liar++) {
            struct setup s = setup_of(modes[m]);
            s.identity[liar] = s.identity[1 - liar];
            struct ends e = ends_of(&s);
            assert_int_equal(play_liar(&e, liar, false), liar == FRAMED_ACCEPTOR ? 1 : 2);
        }
}

/* ---- misuse ---- */

/* Everything that is not its turn changes nothing. */
static void assert_only(const struct framed_handshake *hs, bool may_say, bool may_hear, bool may_split)
{
    struct framed_handshake copy = *hs;
    struct framed_records out, in;
    struct letter letter = {.at = {0, 0, 0, 96}, .len = 777};
    uint8_t hash[KEY];
    size_t taken;
    bool used = hs->state != 0;
    assert_int_equal(framed_handshake_wants(hs) > 0, may_hear);
    if (!may_say) assert_int_equal(framed_handshake_say(&copy, letter.at, &letter.len), used ? FRAMED_MORE : FRAMED_USAGE);
    if (!may_hear) assert_int_equal(feed(&copy, letter.at, 100, &taken), FRAMED_USAGE);
    if (!may_hear) assert_int_equal(taken, 0);
    if (!may_split) assert_int_equal(framed_handshake_split(&copy, &out, &in, hash), FRAMED_USAGE);
    assert_memory_equal(&copy, hs, sizeof copy);
    assert_int_equal(letter.len, 777);
}

static void handshake_stays_as_it_is_out_of_turn(void **state)
{
    (void)state;
    struct framed_handshake unused;
    memset(&unused, 0, sizeof unused);
    assert_only(&unused, false, false, false);
    assert_null(framed_handshake_peer_key(&unused));
    for (unsigned m = 0; m < MODES; m++) {
        struct ends e = ends_new(modes[m]);
        unsigned n = messages_of(modes[m]);
        for (unsigned i = 0; i < n; i++) {
            struct letter letter;
            assert_only(&e.at[i % 2], true, false, false);
            assert_only(&e.at[1 - i % 2], false, true, false);
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            assert_only(&e.at[i % 2], false, i + 1 < n, i + 1 == n);
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        for (unsigned side = 0; side < 2; side++) {
            struct framed_records out, in;
            uint8_t hash[KEY];
            assert_only(&e.at[side], false, false, true);
            assert_int_equal(framed_handshake_split(&e.at[side], &out, &in, hash), FRAMED_OK);
            assert_only(&e.at[side], false, false, false);
            framed_handshake_fini(&e.at[side]);
            assert_memory_equal(&e.at[side], &unused, sizeof unused);
        }
    }
}

static void assert_unsound(struct framed_handshake_config config)
{
    struct framed_handshake hs;
    memset(&hs, 0x5a, sizeof hs);
    assert_int_equal(framed_handshake_init(&hs, &config), FRAMED_USAGE);
    assert_int_equal(sodium_is_zero((const uint8_t *)&hs, sizeof hs), 1);
}

static void init_refuses_what_does_not_belong_together(void **state)
{
    (void)state;
    static const uint8_t others[] = {0x00, 0x01, 0x10, 0x11, 0x20, 0x21, 0x70, 0x82, 0x8f, 0xb0, 0xf0};
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        for (unsigned side = 0; side < 2; side++) {
            struct framed_handshake_config sound = config_of(&s, side), c;
            struct framed_hello hello = {.max_frame = 1};
            for (size_t i = 0; i < sizeof others; i++) {
                struct opening same = s.opening[0];
                same.at[3] = others[i];
                c = sound, c.mode = others[i], c.opening.at = same.at, assert_unsound(c);
            }
            c = sound, c.mode ^= 1, assert_unsound(c);
            c = sound, c.opening.len--, assert_unsound(c);
            c = sound, c.opening = framed_bytes_of(guard_copy(&guard, c.opening.at, 7), 7), assert_unsound(c);
            c = sound, c.opening.len = 0, c.opening.at = NULL, assert_unsound(c);
            c = sound, c.ephemeral = NULL, assert_unsound(c);
            c = sound, c.psk = has_psk(modes[m]) ? NULL : s.psk[0], assert_unsound(c);
            c = sound, c.identity = has_static(modes[m]) ? NULL : &s.identity[0], assert_unsound(c);
            c = sound, c.hello = side == FRAMED_ACCEPTOR ? NULL : &s.hello, assert_unsound(c);
            c = sound, c.hello = &hello, assert_unsound(c);
            uint8_t large[FRAMED_PREFACE_SIZE + LEN + FRAMED_HELLO_MOST + 1] = {0xf7, 0x46, 1, modes[m],
                                                                                0,    0,    0, FRAMED_HELLO_MOST + 1};
            c = sound, c.opening = framed_bytes_of(large, sizeof large), assert_unsound(c);
        }
    }
}

/* ---- what stays in memory (security.md §9: 25) ---- */

static bool has(const void *in, size_t n, const uint8_t key[KEY])
{
    const uint8_t *at = in;
    for (size_t i = 0; i + KEY <= n; i++)
        if (memcmp(at + i, key, KEY) == 0) return true;
    return false;
}

static bool has_any(const struct framed_handshake *hs, const struct setup *s, unsigned side)
{
    return has(hs, sizeof *hs, s->ephemeral[side]) || has(hs, sizeof *hs, s->psk[side]) ||
           has(hs, sizeof *hs, s->identity[side].secret);
}

static void secrets_are_gone_as_soon_as_they_have_done_their_part(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        for (unsigned side = 0; side < 2; side++) {
            const struct framed_handshake *hs = &e.at[side];
            assert_true(has(hs, sizeof *hs, s.ephemeral[side])); /* they would be seen */
            assert_int_equal(has(hs, sizeof *hs, s.psk[side]), has_psk(modes[m]));
            assert_int_equal(has(hs, sizeof *hs, s.identity[side].secret), has_static(modes[m]));
        }
        play(&e, 0, 1);
        for (unsigned side = 0; side < 2; side++) assert_false(has(&e.at[side], sizeof e.at[side], s.psk[side]));
        play(&e, 1, messages_of(modes[m]));
        for (unsigned side = 0; side < 2; side++) {
            struct framed_handshake *hs = &e.at[side];
            struct framed_records r[2];
            uint8_t hash[KEY], ck[KEY];
            assert_false(has_any(hs, &s, side));
            memcpy(ck, hs->noise.ck, KEY);
            assert_int_equal(framed_handshake_split(hs, &r[0], &r[1], hash), FRAMED_OK);
            assert_false(has(hs, sizeof *hs, ck));
            for (unsigned k = 0; k < 2; k++) {
                assert_false(has(hs, sizeof *hs, r[k].cipher.key));
                framed_records_fini(&r[k]);
                assert_int_equal(sodium_is_zero((const uint8_t *)&r[k], sizeof r[k]), 1);
            }
        }
    }
}

/* Given up at any point: in the middle of a message, too. */
static void nothing_is_left_of_a_handshake_given_up_anywhere(void **state)
{
    (void)state;
    for (unsigned m = 0; m < MODES; m++) {
        struct setup s = setup_of(modes[m]);
        struct ends e = ends_of(&s);
        for (unsigned i = 0; i < messages_of(modes[m]); i++) {
            struct letter letter;
            struct framed_handshake hs[3] = {e.at[i % 2], e.at[1 - i % 2], e.at[1 - i % 2]};
            size_t taken;
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            assert_int_equal(feed(&hs[1], letter.at, letter.len - 1, &taken), FRAMED_MORE);
            assert_memory_equal(hs[1].in, letter.at + LEN, letter.len - 1 - LEN); /* something was there */
            assert_int_equal(feed(&hs[2], letter.at, letter.len, &taken), FRAMED_OK);
            for (unsigned k = 0; k < 3; k++) {
                framed_handshake_fini(&hs[k]);
                assert_int_equal(sodium_is_zero((const uint8_t *)&hs[k], sizeof hs[k]), 1);
            }
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
    }
}

static int begin(void **state)
{
    (void)state;
    guard_init(&guard, 4096);
    return framed_noise_start() == FRAMED_OK ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    guard_fini(&guard);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOISE_TEST(connection_agrees_in_every_mode_and_every_split),
        NOISE_TEST(messages_have_the_sizes_of_their_places),
        NOISE_TEST(peer_key_is_known_before_the_own_one_is_shown),
        NOISE_TEST(handshake_fails_with_any_bit_of_any_message_flipped),
        NOISE_TEST(handshake_fails_with_any_bit_of_the_opening_flipped),
        NOISE_TEST(message_of_any_other_length_is_refused),
        NOISE_TEST(message_sent_back_to_who_said_it_is_refused),
        NOISE_TEST(recorded_stream_of_a_connector_comes_to_nothing),
        NOISE_TEST(record_sent_back_to_who_sealed_it_is_refused),
        NOISE_TEST(handshake_fails_with_another_psk_at_the_first_message),
        NOISE_TEST(handshake_fails_when_the_ends_saw_different_openings),
        NOISE_TEST(prologue_is_name_preface_and_hello),
        NOISE_TEST(handshake_fails_with_a_static_key_whose_secret_the_peer_has_not),
        NOISE_TEST(handshake_refuses_points_of_low_order),
        NOISE_TEST(peer_key_written_another_way_is_shown_as_it_came),
        NOISE_TEST(handshake_refuses_its_own_static_key),
        NOISE_TEST(handshake_stays_as_it_is_out_of_turn),
        NOISE_TEST(init_refuses_what_does_not_belong_together),
        NOISE_TEST(secrets_are_gone_as_soon_as_they_have_done_their_part),
        NOISE_TEST(nothing_is_left_of_a_handshake_given_up_anywhere),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}
