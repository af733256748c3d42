/*
 * test_noise.c: Noise handshakes and cipher states (noise.h) with each other, against peers that lie, and against misuse.
 * Must not know how a handshake is computed: only what it says, what of it stays in memory, and what it asks of libsodium.
 * Invariant: a peer that lies is our own code with libsodium meddled with while it acts (meddle.h), so that all it says is right
 * but for the lie.
 */
#include "cases.h"
#include "meddle.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, PATTERNS = 3 };

/* ---- two ends ---- */

struct setup {
    enum noise_pattern pattern;
    struct framed_bytes prologue[2];
    uint8_t psk[2][KEY], ephemeral[2][KEY];
    struct framed_noise_keypair identity[2];
};

struct ends {
    struct framed_noise at[2]; /* by role */
};

struct letter {
    uint8_t at[512];
    size_t len;
};

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

static struct setup setup_of(enum noise_pattern pattern)
{
    struct setup s = {.pattern = pattern};
    for (uint8_t role = 0; role < 2; role++) {
        s.prologue[role] = framed_bytes_str("framed/1 noise, and so on");
        fill(s.psk[role], 1);
        fill(s.ephemeral[role], (uint8_t)(2 + role));
        s.identity[role] = identity_of((uint8_t)(4 + role));
    }
    return s;
}

static struct framed_noise_config config_of(const struct setup *s, unsigned role)
{
    return (struct framed_noise_config){
        .pattern = s->pattern,
        .role = (enum noise_role)role,
        .prologue = s->prologue[role],
        .ephemeral = s->ephemeral[role],
        .psk = noise_has_psk(s->pattern) ? s->psk[role] : NULL,
        .identity = noise_has_static(s->pattern) ? &s->identity[role] : NULL,
    };
}

static struct ends ends_of(const struct setup *s)
{
    struct ends e;
    for (unsigned role = 0; role < 2; role++) {
        struct framed_noise_config config = config_of(s, role);
        assert_int_equal(framed_noise_init(&e.at[role], &config), FRAMED_OK);
    }
    return e;
}

static struct ends ends_new(enum noise_pattern pattern)
{
    struct setup s = setup_of(pattern);
    return ends_of(&s);
}

static unsigned messages_of(enum noise_pattern pattern)
{
    return (unsigned)noise_handshake_messages(pattern);
}

static struct framed_bytes payload_of(unsigned i)
{
    static const char *const texts[] = {"one", "the second", "3"};
    return framed_bytes_str(texts[i]);
}

static enum framed_status say(struct ends *e, unsigned i, struct letter *out)
{
    return framed_noise_write(&e->at[i % 2], payload_of(i), out->at, sizeof out->at, &out->len);
}

static enum framed_status hear(struct ends *e, unsigned i, const struct letter *in)
{
    struct letter copy = *in;
    struct framed_bytes payload;
    enum framed_status st = framed_noise_read(&e->at[1 - i % 2], copy.at, copy.len, &payload);
    if (st != FRAMED_OK) return st;
    assert_in_range(payload.at - copy.at, 0, sizeof copy.at);
    assert_true(payload.at + payload.len <= copy.at + copy.len);
    return st;
}

static void play(struct ends *e, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        struct letter letter;
        assert_int_equal(say(e, i, &letter), FRAMED_OK);
        assert_int_equal(hear(e, i, &letter), FRAMED_OK);
    }
}

static bool both_established(const struct ends *e)
{
    return framed_noise_hash(&e->at[0]) != NULL && framed_noise_hash(&e->at[1]) != NULL;
}

/* Failed for good: it says so again, whatever is asked, and knows nothing any more. */
static void assert_dead(const struct framed_noise *hs, enum framed_status why)
{
    struct framed_noise dead = *hs, nothing;
    struct framed_noise_cipher a, b;
    struct framed_bytes payload;
    uint8_t room[512] = {0};
    size_t len;
    assert_int_equal(framed_noise_write(&dead, framed_bytes_of(NULL, 0), room, sizeof room, &len), why);
    assert_int_equal(framed_noise_read(&dead, room, sizeof room, &payload), why);
    assert_int_equal(framed_noise_split(&dead, &a, &b), why);
    assert_null(framed_noise_hash(&dead));
    assert_null(framed_noise_remote_static(&dead));
    assert_int_equal(framed_noise_overhead(&dead), 0);
    memset(&nothing, 0, sizeof nothing);
    nothing.stage = NOISE_FAILED;
    nothing.failure = (int8_t)why;
    assert_memory_equal(&dead, &nothing, sizeof dead);
}

/* Message i arrives as `letter`; the rest is as it should be. Returns what the reader of it said. */
static enum framed_status never_both(struct ends e, unsigned i, const struct letter *letter)
{
    unsigned n = messages_of(e.at[0].pattern);
    enum framed_status first = hear(&e, i, letter), st = first;
    if (st != FRAMED_OK) assert_dead(&e.at[1 - i % 2], st);
    for (i++; i < n && st == FRAMED_OK; i++) {
        struct letter next;
        st = say(&e, i, &next);
        if (st == FRAMED_OK) st = hear(&e, i, &next);
    }
    assert_true(st == FRAMED_AUTH || st == FRAMED_MALFORMED);
    assert_false(both_established(&e));
    return first;
}

/* ---- what goes through ---- */

static void handshake_agrees_on_hash_keys_and_identities(void **state)
{
    (void)state;
    static const size_t overheads[PATTERNS][3] = {{48, 48, 0}, {32, 96, 64}, {48, 96, 64}};
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct ends e = ends_of(&s);
        for (unsigned i = 0; i < messages_of(s.pattern); i++) {
            struct letter letter;
            assert_int_equal(framed_noise_overhead(&e.at[0]), overheads[p][i]);
            assert_int_equal(framed_noise_overhead(&e.at[1]), overheads[p][i]);
            assert_null(framed_noise_hash(&e.at[0]));
            assert_null(framed_noise_hash(&e.at[1]));
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            assert_int_equal(letter.len, overheads[p][i] + payload_of(i).len);
            struct framed_bytes payload;
            assert_int_equal(framed_noise_read(&e.at[1 - i % 2], letter.at, letter.len, &payload), FRAMED_OK);
            assert_int_equal(payload.len, payload_of(i).len);
            assert_memory_equal(payload.at, payload_of(i).at, payload.len);
        }
        assert_int_equal(framed_noise_overhead(&e.at[0]), 0);
        assert_memory_equal(framed_noise_hash(&e.at[0]), framed_noise_hash(&e.at[1]), KEY);
        struct framed_noise_cipher c[2][2];
        for (unsigned role = 0; role < 2; role++) {
            assert_int_equal(framed_noise_split(&e.at[role], &c[role][0], &c[role][1]), FRAMED_OK);
            assert_true(c[role][0].keyed && c[role][1].keyed && c[role][0].n == 0 && c[role][1].n == 0);
            if (noise_has_static(s.pattern))
                assert_memory_equal(framed_noise_remote_static(&e.at[role]), s.identity[1 - role].public, KEY);
            else
                assert_null(framed_noise_remote_static(&e.at[role]));
        }
        assert_memory_equal(framed_noise_hash(&e.at[0]), framed_noise_hash(&e.at[1]), KEY);
        assert_memory_equal(c[0][0].key, c[1][1].key, KEY);
        assert_memory_equal(c[0][1].key, c[1][0].key, KEY);
        assert_memory_not_equal(c[0][0].key, c[0][1].key, KEY);
    }
}

static void remote_static_is_known_before_the_own_one_is_shown(void **state)
{
    (void)state;
    for (unsigned p = NOISE_XX; p <= NOISE_XXPSK0; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct ends e = ends_of(&s);
        assert_null(framed_noise_remote_static(&e.at[0]));
        play(&e, 0, 1);
        assert_null(framed_noise_remote_static(&e.at[0]));
        assert_null(framed_noise_remote_static(&e.at[1]));
        play(&e, 1, 2);
        assert_memory_equal(framed_noise_remote_static(&e.at[0]), s.identity[1].public, KEY);
        assert_null(framed_noise_remote_static(&e.at[1]));
        play(&e, 2, 3);
        assert_memory_equal(framed_noise_remote_static(&e.at[1]), s.identity[0].public, KEY);
    }
}

static void handshake_of_other_ephemerals_has_another_hash(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct ends a = ends_of(&s);
        fill(s.ephemeral[1], 99);
        struct ends b = ends_of(&s);
        play(&a, 0, messages_of(s.pattern));
        play(&b, 0, messages_of(s.pattern));
        assert_memory_not_equal(framed_noise_hash(&a.at[0]), framed_noise_hash(&b.at[0]), KEY);
    }
}

/* ---- what must not go through ---- */

static void handshake_fails_with_any_bit_of_any_message_flipped(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct ends e = ends_new((enum noise_pattern)p);
        for (unsigned i = 0; i < messages_of((enum noise_pattern)p); i++) {
            struct letter letter;
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            for (size_t bit = 0; bit < 8 * letter.len; bit++) {
                struct letter flipped = letter;
                flipped.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
                meddle.multiplied = 0;
                never_both(e, i, &flipped);
                /* A static key whose own tag is wrong is not worked with. */
                if (i == 2 && bit < 8 * (KEY + TAG)) assert_int_equal(meddle.multiplied, 0);
            }
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        assert_true(both_established(&e));
    }
}

static void handshake_fails_with_any_message_cut_or_extended(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct ends e = ends_new((enum noise_pattern)p);
        for (unsigned i = 0; i < messages_of((enum noise_pattern)p); i++) {
            struct letter letter = {.len = 0};
            size_t overhead = framed_noise_overhead(&e.at[0]);
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            for (size_t len = 0; len < letter.len + 2 * TAG; len++) {
                struct letter other = letter;
                if (len == letter.len) continue;
                other.len = len;
                enum framed_status st = never_both(e, i, &other);
                assert_int_equal(st == FRAMED_MALFORMED, len < overhead);
            }
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        assert_true(both_established(&e));
    }
}

static void handshake_message_above_the_most_is_malformed(void **state)
{
    (void)state;
    static uint8_t large[NOISE_MESSAGE_MOST + 1];
    struct framed_bytes payload;
    struct ends e = ends_new(NOISE_XX), same = e;
    large[0] = 9;
    assert_int_equal(framed_noise_read(&e.at[1], large, sizeof large, &payload), FRAMED_MALFORMED);
    assert_dead(&e.at[1], FRAMED_MALFORMED);
    assert_int_equal(framed_noise_read(&same.at[1], large, sizeof large - 1, &payload), FRAMED_OK);
    assert_int_equal(payload.len, NOISE_MESSAGE_MOST - KEY);
}

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

static void handshake_fails_with_another_psk_before_anything_is_multiplied(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        if (!noise_has_psk((enum noise_pattern)p)) continue;
        struct setup s = setup_of((enum noise_pattern)p);
        s.psk[0][31] ^= 0x80;
        meddle.multiplied = 0;
        assert_fails_at(&s, 0);
        assert_int_equal(meddle.multiplied, 1); /* the initiator's ephemeral */
    }
}

static void handshake_fails_with_another_prologue(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        s.prologue[1].len--;
        assert_fails_at(&s, noise_has_psk((enum noise_pattern)p) ? 0 : 1);
    }
}

static void handshake_fails_with_a_static_key_whose_secret_the_peer_has_not(void **state)
{
    (void)state;
    for (unsigned p = NOISE_XX; p <= NOISE_XXPSK0; p++) {
        for (unsigned liar = 0; liar < 2; liar++) {
            struct setup s = setup_of((enum noise_pattern)p);
            fill(s.identity[liar].secret, 66);
            assert_fails_at(&s, liar == NOISE_RESPONDER ? 1 : 2);
        }
    }
}

static void recorded_initiator_comes_to_nothing(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct letter recorded[3], answer_to_it;
        struct ends e = ends_of(&s);
        unsigned n = messages_of(s.pattern);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(say(&e, i, &recorded[i]), FRAMED_OK);
            assert_int_equal(hear(&e, i, &recorded[i]), FRAMED_OK);
        }
        struct framed_noise_cipher send, unused, receive;
        uint8_t record[TAG];
        assert_int_equal(framed_noise_split(&e.at[0], &send, &unused), FRAMED_OK);
        assert_int_equal(framed_noise_encrypt(&send, framed_bytes_of(NULL, 0), record, 0), FRAMED_OK);

        fill(s.ephemeral[1], 77); /* the same responder, another time */
        struct ends again = ends_of(&s);
        assert_int_equal(hear(&again, 0, &recorded[0]), FRAMED_OK);
        assert_int_equal(say(&again, 1, &answer_to_it), FRAMED_OK);
        if (n == 3) {
            assert_int_equal(hear(&again, 2, &recorded[2]), FRAMED_AUTH);
            continue;
        }
        assert_int_equal(framed_noise_split(&again.at[1], &unused, &receive), FRAMED_OK);
        assert_int_equal(framed_noise_decrypt(&receive, framed_bytes_of(NULL, 0), record, TAG), FRAMED_AUTH);
    }
}

/* ---- peers that lie ---- */

/* Plays until the honest end says no; the liar is let everything. Returns the number of the message at which that was. */
static unsigned play_liar(struct ends *e, unsigned liar, bool low)
{
    unsigned n = messages_of(e->at[0].pattern);
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

/* The points of low order, in all their encodings that differ below the top bit. */
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

/* Each point, with the top bit clear and set. */
static void each_low_point(void (*check)(enum noise_pattern pattern, unsigned liar, const uint8_t point[KEY]))
{
    for (unsigned p = 0; p < PATTERNS; p++)
        for (unsigned i = 0; i < 14; i++)
            for (unsigned liar = 0; liar < 2; liar++) {
                uint8_t point[KEY];
                memcpy(point, low_points[i / 2], KEY);
                if (i % 2 == 1) point[31] |= 0x80;
                check((enum noise_pattern)p, liar, point);
            }
}

static void assert_low_ephemeral_refused(enum noise_pattern pattern, unsigned liar, const uint8_t point[KEY])
{
    struct setup s = setup_of(pattern);
    struct ends e = ends_of(&s);
    meddle.liars_key = s.ephemeral[liar];
    meddle.liars_face = point;
    assert_int_equal(play_liar(&e, liar, true), 1); /* the responder as it answers, the initiator as it reads the answer */
    meddle.liars_key = meddle.liars_face = NULL;
}

static void handshake_refuses_an_ephemeral_key_of_low_order(void **state)
{
    (void)state;
    each_low_point(assert_low_ephemeral_refused);
}

static void assert_low_static_refused(enum noise_pattern pattern, unsigned liar, const uint8_t point[KEY])
{
    if (!noise_has_static(pattern)) return;
    struct setup s = setup_of(pattern);
    memcpy(s.identity[liar].public, point, KEY);
    struct ends e = ends_of(&s);
    meddle.liars_key = s.identity[liar].secret;
    assert_int_equal(play_liar(&e, liar, true), liar == NOISE_RESPONDER ? 1 : 2);
    meddle.liars_key = NULL;
}

static void handshake_refuses_a_static_key_of_low_order(void **state)
{
    (void)state;
    each_low_point(assert_low_static_refused);
}

static void static_key_written_another_way_is_shown_as_it_came(void **state)
{
    (void)state;
    for (unsigned liar = 0; liar < 2; liar++) {
        struct setup s = setup_of(NOISE_XX);
        uint8_t pin[KEY];
        memcpy(pin, s.identity[liar].public, KEY);
        s.identity[liar].public[31] |= 0x80; /* the same point to X25519 */
        struct ends e = ends_of(&s);
        play(&e, 0, 3);
        assert_memory_equal(framed_noise_remote_static(&e.at[1 - liar]), s.identity[liar].public, KEY);
        assert_memory_not_equal(framed_noise_remote_static(&e.at[1 - liar]), pin, KEY);
    }
}

/* Whoever sends back our own ephemeral key has no other. With the top bit set it is the same point. */
static void handshake_refuses_its_own_ephemeral_key(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        for (unsigned turn = 0; turn < 4; turn++) {
            unsigned liar = turn % 2;
            struct setup s = setup_of((enum noise_pattern)p);
            uint8_t face[KEY];
            memcpy(s.ephemeral[liar], s.ephemeral[1 - liar], KEY);
            __real_crypto_scalarmult_base(face, s.ephemeral[liar]);
            if (turn >= 2) face[31] ^= 0x80;
            struct ends e = ends_of(&s);
            struct letter letter;
            meddle.liars_key = s.ephemeral[liar];
            if (liar == NOISE_INITIATOR) {
                meddle.liars_face = face;
                assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
                meddle.liars_face = NULL;
                assert_int_equal(hear(&e, 0, &letter), FRAMED_OK);
                assert_int_equal(say(&e, 1, &letter), FRAMED_AUTH);
                assert_dead(&e.at[1], FRAMED_AUTH);
            } else {
                assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
                assert_int_equal(hear(&e, 0, &letter), FRAMED_OK);
                meddle.liars_face = face;
                meddle.blind = true;
                assert_int_equal(say(&e, 1, &letter), FRAMED_OK);
                meddle.blind = false;
                meddle.liars_face = NULL;
                meddle.multiplied = 0;
                assert_int_equal(hear(&e, 1, &letter), FRAMED_AUTH);
                assert_int_equal(meddle.multiplied, 0);
                assert_dead(&e.at[0], FRAMED_AUTH);
            }
            meddle.liars_key = NULL;
        }
    }
}

static void handshake_refuses_its_own_static_key(void **state)
{
    (void)state;
    for (unsigned p = NOISE_XX; p <= NOISE_XXPSK0; p++) {
        for (unsigned turn = 0; turn < 4; turn++) {
            unsigned liar = turn % 2;
            struct setup s = setup_of((enum noise_pattern)p);
            s.identity[liar] = s.identity[1 - liar];
            if (turn >= 2) s.identity[liar].public[31] ^= 0x80;
            struct ends e = ends_of(&s);
            assert_int_equal(play_liar(&e, liar, false), liar == NOISE_RESPONDER ? 1 : 2);
        }
    }
}

static void message_sent_back_to_its_writer_is_refused(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct ends e = ends_new((enum noise_pattern)p);
        struct letter letter;
        struct framed_bytes payload;
        assert_int_equal(say(&e, 0, &letter), FRAMED_OK);
        memset(letter.at + letter.len, 0, sizeof letter.at - letter.len);
        letter.len = 200; /* as long as an answer */
        assert_int_equal(framed_noise_read(&e.at[0], letter.at, letter.len, &payload), FRAMED_AUTH);
        assert_dead(&e.at[0], FRAMED_AUTH);
    }
}

/* ---- cipher states ---- */

static struct framed_noise_cipher cipher_at(uint64_t n)
{
    struct framed_noise_cipher c = {.keyed = true, .n = n};
    fill(c.key, 11);
    return c;
}

static void cipher_goes_on_with_the_genuine_message_after_forged_ones(void **state)
{
    (void)state;
    struct framed_noise_cipher send = cipher_at(0), receive = cipher_at(0);
    struct framed_bytes ad = framed_bytes_str("both know this");
    for (unsigned i = 0; i < 3; i++) {
        uint8_t text[4 + TAG] = {'t', 'e', 'x', 't'}, copy[sizeof text];
        assert_int_equal(framed_noise_encrypt(&send, ad, text, 4), FRAMED_OK);
        assert_true(send.n == i + 1);
        for (size_t bit = 0; bit < 8 * sizeof text; bit++) {
            memcpy(copy, text, sizeof text);
            copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(framed_noise_decrypt(&receive, ad, copy, sizeof copy), FRAMED_AUTH);
        }
        for (size_t len = 0; len < sizeof text; len++) {
            memcpy(copy, text, sizeof text);
            assert_int_equal(framed_noise_decrypt(&receive, ad, copy, len), len < TAG ? FRAMED_MALFORMED : FRAMED_AUTH);
        }
        memcpy(copy, text, sizeof text);
        assert_int_equal(framed_noise_decrypt(&receive, framed_bytes_str("both know thus"), copy, sizeof copy), FRAMED_AUTH);
        assert_true(receive.n == i);
        memcpy(copy, text, sizeof text);
        assert_int_equal(framed_noise_decrypt(&receive, ad, copy, sizeof copy), FRAMED_OK);
        assert_memory_equal(copy, "text", 4);
        memcpy(copy, text, sizeof text);
        assert_int_equal(framed_noise_decrypt(&receive, ad, copy, sizeof copy), FRAMED_AUTH); /* for the second time */
        assert_true(receive.n == i + 1);
    }
}

/* Of what is left: now and then a byte or none, a few, or many. */
static size_t piece_of(size_t left, uint32_t *random)
{
    static const size_t most[] = {1, 70, 600, 3000, NOISE_MESSAGE_MOST};
    *random = *random * 1664525 + 1013904223;
    size_t n = (*random >> 8) % (most[(*random >> 4) % (sizeof most / sizeof *most)] + 1);
    return n < left ? n : left;
}

static void message_in_pieces_is_the_message_of_one_piece(void **state)
{
    enum { TIMES = 40 };
    static const size_t lengths[] = {0,   1,   15,   16,   63,   64,   65,   511,
                                     512, 513, 2047, 2048, 2049, 2560, 9000, NOISE_MESSAGE_MOST - TAG};
    static uint8_t plain[NOISE_MESSAGE_MOST], whole[NOISE_MESSAGE_MOST], pieces[NOISE_MESSAGE_MOST + 1];
    uint32_t random = 1;
    (void)state;
    for (size_t i = 0; i < sizeof plain; i++) plain[i] = (uint8_t)(i * 31 >> 3);
    for (size_t i = 0; i < TIMES * sizeof lengths / sizeof *lengths; i++) {
        size_t len = lengths[i / TIMES];
        bool in_place = i % 4 == 0;
        struct framed_noise_cipher one = cipher_at(i), other = one;
        struct framed_noise_sealing s;
        memcpy(whole, plain, len);
        assert_int_equal(framed_noise_encrypt(&one, framed_bytes_of(NULL, 0), whole, len), FRAMED_OK);
        memset(pieces, 0x55, sizeof pieces);
        if (in_place) memcpy(pieces, plain, len);
        assert_int_equal(framed_noise_seal_begin(&s, &other, pieces), FRAMED_OK);
        for (size_t at = 0, n; at < len; at += n) {
            n = i % TIMES == 0 ? len : piece_of(len - at, &random);
            framed_noise_seal_more(&s, (in_place ? pieces : plain) + at, n);
        }
        framed_noise_seal_end(&s);
        assert_memory_equal(pieces, whole, len + TAG);
        assert_int_equal(pieces[len + TAG], 0x55);
        assert_memory_equal(&other, &one, sizeof one);
    }
}

static void message_in_pieces_is_refused_without_a_key_and_at_the_counters_end(void **state)
{
    struct framed_noise_cipher none = {.keyed = false}, last = cipher_at(UINT64_MAX);
    struct framed_noise_sealing s;
    uint8_t at[TAG];
    (void)state;
    assert_int_equal(framed_noise_seal_begin(&s, &none, at), FRAMED_USAGE);
    assert_int_equal(framed_noise_seal_begin(&s, &last, at), FRAMED_USAGE);
}

static void cipher_counts_to_its_end_and_refuses_there_for_ever(void **state)
{
    (void)state;
    struct framed_noise_cipher send = cipher_at(UINT64_MAX - 1), receive = send;
    struct framed_bytes ad = framed_bytes_of(NULL, 0);
    uint8_t text[4 + TAG] = {'l', 'a', 's', 't'}, before[sizeof text];
    assert_int_equal(framed_noise_encrypt(&send, ad, text, 4), FRAMED_OK);
    assert_int_equal(framed_noise_decrypt(&receive, ad, text, sizeof text), FRAMED_OK);
    assert_memory_equal(text, "last", 4);
    memcpy(before, text, sizeof text);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(framed_noise_encrypt(&send, ad, text, 4), FRAMED_USAGE);
        assert_int_equal(framed_noise_decrypt(&receive, ad, text, sizeof text), FRAMED_USAGE);
        assert_true(send.n == UINT64_MAX && receive.n == UINT64_MAX);
        assert_memory_equal(text, before, sizeof text);
        assert_int_equal(framed_noise_rekey(&send), FRAMED_OK); /* keeps the counter: no way round */
    }
}

static void cipher_takes_messages_up_to_the_most(void **state)
{
    (void)state;
    static uint8_t large[NOISE_MESSAGE_MOST + 1];
    struct framed_noise_cipher send = cipher_at(5), receive = send;
    struct framed_bytes ad = framed_bytes_of(NULL, 0);
    assert_int_equal(framed_noise_encrypt(&send, ad, large, NOISE_MESSAGE_MOST - TAG + 1), FRAMED_USAGE);
    assert_int_equal(framed_noise_decrypt(&receive, ad, large, NOISE_MESSAGE_MOST + 1), FRAMED_MALFORMED);
    assert_true(send.n == 5 && receive.n == 5);
    assert_int_equal(framed_noise_encrypt(&send, ad, large, NOISE_MESSAGE_MOST - TAG), FRAMED_OK);
    assert_int_equal(framed_noise_decrypt(&receive, ad, large, NOISE_MESSAGE_MOST), FRAMED_OK);
    for (size_t i = 0; i < NOISE_MESSAGE_MOST - TAG; i++) assert_int_equal(large[i], 0);
}

static void cipher_without_a_key_refuses(void **state)
{
    (void)state;
    struct framed_noise_cipher c = cipher_at(3), nothing;
    uint8_t text[TAG] = {0};
    memset(&nothing, 0, sizeof nothing);
    framed_noise_cipher_fini(&c);
    assert_memory_equal(&c, &nothing, sizeof c);
    assert_int_equal(framed_noise_encrypt(&c, framed_bytes_of(NULL, 0), text, 0), FRAMED_USAGE);
    assert_int_equal(framed_noise_decrypt(&c, framed_bytes_of(NULL, 0), text, TAG), FRAMED_USAGE);
    assert_int_equal(framed_noise_rekey(&c), FRAMED_USAGE);
    assert_memory_equal(&c, &nothing, sizeof c);
}

/* ---- misuse ---- */

/* Everything that is not its turn is USAGE and changes nothing. */
static void assert_only(const struct framed_noise *hs, bool may_write, bool may_read, bool may_split)
{
    struct framed_noise copy = *hs;
    struct framed_noise_cipher a, b;
    struct framed_bytes payload = framed_bytes_of("untouched", 9);
    uint8_t room[512] = {0};
    size_t len = 777;
    if (!may_write)
        assert_int_equal(framed_noise_write(&copy, framed_bytes_of(NULL, 0), room, sizeof room, &len), FRAMED_USAGE);
    if (!may_read) assert_int_equal(framed_noise_read(&copy, room, sizeof room, &payload), FRAMED_USAGE);
    if (!may_split) assert_int_equal(framed_noise_split(&copy, &a, &b), FRAMED_USAGE);
    assert_memory_equal(&copy, hs, sizeof copy);
    assert_int_equal(len, 777);
    assert_int_equal(payload.len, 9);
}

static void handshake_says_usage_and_stays_as_it_is_out_of_turn(void **state)
{
    (void)state;
    struct framed_noise unused;
    memset(&unused, 0, sizeof unused);
    assert_only(&unused, false, false, false);
    assert_int_equal(framed_noise_overhead(&unused), 0);
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct ends e = ends_new((enum noise_pattern)p);
        unsigned n = messages_of((enum noise_pattern)p);
        for (unsigned i = 0; i < n; i++) {
            struct letter letter;
            assert_only(&e.at[i % 2], true, false, false);
            assert_only(&e.at[1 - i % 2], false, true, false);
            assert_int_equal(say(&e, i, &letter), FRAMED_OK);
            assert_only(&e.at[i % 2], false, i + 1 < n, i + 1 == n);
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        for (unsigned role = 0; role < 2; role++) {
            struct framed_noise_cipher a, b;
            assert_only(&e.at[role], false, false, true);
            assert_int_equal(framed_noise_split(&e.at[role], &a, &b), FRAMED_OK);
            assert_only(&e.at[role], false, false, false);
            framed_noise_fini(&e.at[role]);
            assert_memory_equal(&e.at[role], &unused, sizeof unused);
        }
    }
}

static void write_says_usage_without_enough_room_and_can_be_tried_again(void **state)
{
    (void)state;
    static uint8_t large[NOISE_MESSAGE_MOST + 1], payload[NOISE_MESSAGE_MOST];
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct ends e = ends_new((enum noise_pattern)p);
        for (unsigned i = 0; i < messages_of((enum noise_pattern)p); i++) {
            struct framed_noise *writer = &e.at[i % 2], before = *writer;
            size_t overhead = framed_noise_overhead(writer), most = NOISE_MESSAGE_MOST - overhead, len = 777;
            struct letter letter;
            assert_int_equal(framed_noise_write(writer, payload_of(i), large, overhead + payload_of(i).len - 1, &len),
                             FRAMED_USAGE);
            assert_int_equal(framed_noise_write(writer, framed_bytes_of(payload, most + 1), large, sizeof large, &len),
                             FRAMED_USAGE);
            assert_memory_equal(writer, &before, sizeof before);
            assert_int_equal(len, 777);
            assert_int_equal(framed_noise_write(writer, framed_bytes_of(payload, most), large, NOISE_MESSAGE_MOST, &len),
                             FRAMED_OK);
            assert_int_equal(len, NOISE_MESSAGE_MOST);
            *writer = before;
            assert_int_equal(framed_noise_write(writer, payload_of(i), letter.at, overhead + payload_of(i).len, &letter.len),
                             FRAMED_OK);
            assert_int_equal(hear(&e, i, &letter), FRAMED_OK);
        }
        assert_true(both_established(&e));
    }
}

static void assert_unsound(struct framed_noise_config config)
{
    struct framed_noise hs, unused;
    memset(&hs, 0x5a, sizeof hs);
    memset(&unused, 0, sizeof unused);
    assert_int_equal(framed_noise_init(&hs, &config), FRAMED_USAGE);
    assert_memory_equal(&hs, &unused, sizeof hs);
}

static void init_refuses_keys_that_are_missing_too_many_or_all_zero(void **state)
{
    (void)state;
    static const uint8_t zero[KEY];
    struct framed_noise_keypair pair = identity_of(9), zeros = pair;
    memset(zeros.secret, 0, KEY);
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct framed_noise_config sound = config_of(&s, NOISE_INITIATOR), c;
        c = sound, c.ephemeral = NULL, assert_unsound(c);
        c = sound, c.ephemeral = zero, assert_unsound(c);
        c = sound, c.psk = noise_has_psk(s.pattern) ? NULL : s.psk[0], assert_unsound(c);
        c = sound, c.identity = noise_has_static(s.pattern) ? NULL : &pair, assert_unsound(c);
        if (noise_has_psk(s.pattern)) c = sound, c.psk = zero, assert_unsound(c);
        if (noise_has_static(s.pattern)) c = sound, c.identity = &zeros, assert_unsound(c);
        c = sound, c.role = (enum noise_role)2, assert_unsound(c);
        c = sound, c.pattern = (enum noise_pattern)PATTERNS, assert_unsound(c);
        c.psk = NULL, c.identity = NULL, assert_unsound(c);
    }
}

static void keypair_refuses_a_secret_of_zeros(void **state)
{
    (void)state;
    static const uint8_t zero[KEY];
    struct framed_noise_keypair pair = identity_of(9), before = pair;
    assert_int_equal(framed_noise_keypair(&pair, zero), FRAMED_USAGE);
    assert_memory_equal(&pair, &before, sizeof pair);
}

static void start_says_whether_libsodium_runs(void **state)
{
    (void)state;
    assert_int_equal(framed_noise_start(), FRAMED_OK);
    assert_int_equal(framed_noise_start(), FRAMED_OK);
    meddle.broken = true;
    assert_int_equal(framed_noise_start(), FRAMED_OS);
}

/* ---- what stays in memory ---- */

static bool has(const struct framed_noise *hs, const uint8_t key[KEY])
{
    const uint8_t *at = (const uint8_t *)hs;
    for (size_t i = 0; i + KEY <= sizeof *hs; i++)
        if (memcmp(at + i, key, KEY) == 0) return true;
    return false;
}

static void handshake_forgets_each_secret_when_it_has_done_its_part(void **state)
{
    (void)state;
    for (unsigned p = 0; p < PATTERNS; p++) {
        struct setup s = setup_of((enum noise_pattern)p);
        struct ends e = ends_of(&s);
        for (unsigned role = 0; role < 2; role++) {
            assert_true(has(&e.at[role], s.ephemeral[role]));
            assert_int_equal(has(&e.at[role], s.psk[role]), noise_has_psk(s.pattern));
            assert_int_equal(has(&e.at[role], s.identity[role].secret), noise_has_static(s.pattern));
        }
        play(&e, 0, 1);
        for (unsigned role = 0; role < 2; role++) assert_false(has(&e.at[role], s.psk[role]));
        play(&e, 1, messages_of(s.pattern));
        for (unsigned role = 0; role < 2; role++) {
            struct framed_noise *hs = &e.at[role];
            uint8_t ck[KEY];
            struct framed_noise_cipher a, b;
            static const uint8_t zero[KEY];
            assert_false(has(hs, s.ephemeral[role]));
            assert_false(has(hs, s.identity[role].secret));
            assert_memory_equal(hs->cipher.key, zero, KEY);
            memcpy(ck, hs->ck, KEY);
            assert_int_equal(framed_noise_split(hs, &a, &b), FRAMED_OK);
            assert_false(has(hs, ck) || has(hs, a.key) || has(hs, b.key));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOISE_TEST(start_says_whether_libsodium_runs),
        NOISE_TEST(handshake_agrees_on_hash_keys_and_identities),
        NOISE_TEST(remote_static_is_known_before_the_own_one_is_shown),
        NOISE_TEST(handshake_of_other_ephemerals_has_another_hash),
        NOISE_TEST(handshake_fails_with_any_bit_of_any_message_flipped),
        NOISE_TEST(handshake_fails_with_any_message_cut_or_extended),
        NOISE_TEST(handshake_message_above_the_most_is_malformed),
        NOISE_TEST(handshake_fails_with_another_psk_before_anything_is_multiplied),
        NOISE_TEST(handshake_fails_with_another_prologue),
        NOISE_TEST(handshake_fails_with_a_static_key_whose_secret_the_peer_has_not),
        NOISE_TEST(recorded_initiator_comes_to_nothing),
        NOISE_TEST(handshake_refuses_an_ephemeral_key_of_low_order),
        NOISE_TEST(handshake_refuses_a_static_key_of_low_order),
        NOISE_TEST(static_key_written_another_way_is_shown_as_it_came),
        NOISE_TEST(handshake_refuses_its_own_ephemeral_key),
        NOISE_TEST(handshake_refuses_its_own_static_key),
        NOISE_TEST(message_sent_back_to_its_writer_is_refused),
        NOISE_TEST(cipher_goes_on_with_the_genuine_message_after_forged_ones),
        NOISE_TEST(message_in_pieces_is_the_message_of_one_piece),
        NOISE_TEST(message_in_pieces_is_refused_without_a_key_and_at_the_counters_end),
        NOISE_TEST(cipher_counts_to_its_end_and_refuses_there_for_ever),
        NOISE_TEST(cipher_takes_messages_up_to_the_most),
        NOISE_TEST(cipher_without_a_key_refuses),
        NOISE_TEST(handshake_says_usage_and_stays_as_it_is_out_of_turn),
        NOISE_TEST(write_says_usage_without_enough_room_and_can_be_tried_again),
        NOISE_TEST(init_refuses_keys_that_are_missing_too_many_or_all_zero),
        NOISE_TEST(keypair_refuses_a_secret_of_zeros),
        NOISE_TEST(handshake_forgets_each_secret_when_it_has_done_its_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
