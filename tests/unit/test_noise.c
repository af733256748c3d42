/*
 * test_noise.c: Noise handshakes and cipher states (noise.h) against known answers, against peers that lie, and against misuse.
 * Must not know how a handshake is computed: only what it says, what of it stays in memory, and what it asks of libsodium.
 * Invariant: a peer that lies is our own code with libsodium meddled with while it acts (-Wl,--wrap), so that all it says is right
 * but for the lie.
 */
#include "cases.h"
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, PATTERNS = 3 };

/* ---- libsodium, meddled with ---- */

int __real_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __wrap_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __real_crypto_scalarmult_base(uint8_t *q, const uint8_t *n);
int __wrap_crypto_scalarmult_base(uint8_t *q, const uint8_t *n);
int __real_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len);
int __wrap_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len);
int __real_sodium_memcmp(const void *a, const void *b, size_t len);
int __wrap_sodium_memcmp(const void *a, const void *b, size_t len);
void __real_sodium_memzero(void *at, size_t len);
void __wrap_sodium_memzero(void *at, size_t len);
int __real_sodium_init(void);
int __wrap_sodium_init(void);
size_t crypto_auth_hmacsha256_statebytes(void);

static struct {
    /* what the liar gets */
    bool blind;                /* it takes no key for its own */
    const uint8_t *liars_key;  /* all that is multiplied with it is zero, when `low` */
    const uint8_t *liars_face; /* the public key that is made of it; NULL: the true one */
    bool low;
    /* what is seen */
    unsigned multiplied;
    struct {
        const uint8_t *at;
        size_t len;
    } secret[32]; /* not wiped yet */
    size_t secrets;
    bool broken; /* sodium_init fails */
} meddle;

static void secret_at(const void *at, size_t len)
{
    for (size_t i = 0; i < meddle.secrets; i++)
        if (meddle.secret[i].at == at) return;
    assert_true(meddle.secrets < sizeof meddle.secret / sizeof *meddle.secret);
    meddle.secret[meddle.secrets].at = at;
    meddle.secret[meddle.secrets++].len = len;
}

int __wrap_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p)
{
    meddle.multiplied++;
    secret_at(q, KEY);
    if (meddle.low && meddle.liars_key != NULL && memcmp(n, meddle.liars_key, KEY) == 0) {
        memset(q, 0, KEY);
        return 0;
    }
    int st = __real_crypto_scalarmult(q, n, p);
    if (st != 0) memset(q, 0, KEY); /* what it is of a low-order point, and what the liar reckons with */
    return st;
}

int __wrap_crypto_scalarmult_base(uint8_t *q, const uint8_t *n)
{
    meddle.multiplied++;
    if (meddle.liars_face == NULL || memcmp(n, meddle.liars_key, KEY) != 0) return __real_crypto_scalarmult_base(q, n);
    memcpy(q, meddle.liars_face, KEY);
    return 0;
}

int __wrap_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len)
{
    secret_at(state, crypto_auth_hmacsha256_statebytes());
    return __real_crypto_auth_hmacsha256_init(state, key, len);
}

int __wrap_sodium_memcmp(const void *a, const void *b, size_t len)
{
    return meddle.blind ? -1 : __real_sodium_memcmp(a, b, len);
}

void __wrap_sodium_memzero(void *at, size_t len)
{
    const uint8_t *from = at;
    for (size_t i = meddle.secrets; i-- > 0;)
        if (meddle.secret[i].at >= from && meddle.secret[i].at + meddle.secret[i].len <= from + len)
            meddle.secret[i] = meddle.secret[--meddle.secrets];
    __real_sodium_memzero(at, len);
}

int __wrap_sodium_init(void)
{
    return meddle.broken ? -1 : __real_sodium_init();
}

static int honest(void **state)
{
    (void)state;
    memset(&meddle, 0, sizeof meddle);
    return 0;
}

/* Whatever a test did, no product of a multiplication and no state of a MAC is left behind. */
static int all_wiped(void **state)
{
    (void)state;
    if (meddle.secrets > 0) print_error("%zu secrets were not wiped\n", meddle.secrets);
    return meddle.secrets == 0 ? 0 : -1;
}

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

static bool has_psk(enum noise_pattern pattern)
{
    return pattern != NOISE_XX;
}

static bool has_static(enum noise_pattern pattern)
{
    return pattern != NOISE_NNPSK0;
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
        .psk = has_psk(s->pattern) ? s->psk[role] : NULL,
        .identity = has_static(s->pattern) ? &s->identity[role] : NULL,
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
    nothing.failure = why;
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

/* ---- known answers ---- */

#define NEED(truth)                                                                                                         \
    if (!(truth)) return "not so: " #truth

static bool same(struct framed_bytes is, const struct noise_bytes *wanted)
{
    return is.len == wanted->len && (is.len == 0 || memcmp(is.at, wanted->at, is.len) == 0);
}

static struct framed_bytes view_of(const struct noise_bytes *b)
{
    return framed_bytes_of(b->at, b->len);
}

static const char *answer_handshake(const struct noise_case *c, enum noise_role role, struct framed_noise *hs)
{
    for (size_t i = 0; i < noise_handshake_messages(c->pattern); i++) {
        const struct noise_message *m = &c->messages[i];
        uint8_t at[NOISE_CASE_BYTES];
        size_t len = 0;
        struct framed_bytes payload;
        NEED(m->from == (i % 2 == 0 ? NOISE_INITIATOR : NOISE_RESPONDER) && !m->rekey);
        NEED(framed_noise_overhead(hs) == m->message.len - m->payload.len);
        if (m->from == role) {
            NEED(framed_noise_write(hs, view_of(&m->payload), at, sizeof at, &len) == FRAMED_OK);
            NEED(same(framed_bytes_of(at, len), &m->message));
        } else {
            memcpy(at, m->message.at, m->message.len);
            NEED(framed_noise_read(hs, at, m->message.len, &payload) == FRAMED_OK);
            NEED(same(payload, &m->payload));
        }
    }
    return NULL;
}

static const char *answer_records(const struct noise_case *c, enum noise_role role, struct framed_noise_cipher *send,
                                  struct framed_noise_cipher *receive)
{
    for (size_t i = noise_handshake_messages(c->pattern); i < c->count; i++) {
        const struct noise_message *m = &c->messages[i];
        struct framed_bytes ad = framed_bytes_of(NULL, 0);
        uint8_t at[NOISE_CASE_BYTES];
        if (m->rekey) {
            NEED(framed_noise_rekey(m->from == role ? send : receive) == FRAMED_OK);
        } else if (m->from == role) {
            memcpy(at, m->payload.at, m->payload.len);
            NEED(framed_noise_encrypt(send, ad, at, m->payload.len) == FRAMED_OK);
            NEED(same(framed_bytes_of(at, m->payload.len + TAG), &m->message));
        } else {
            memcpy(at, m->message.at, m->message.len);
            NEED(framed_noise_decrypt(receive, ad, at, m->message.len) == FRAMED_OK);
            NEED(same(framed_bytes_of(at, m->message.len - TAG), &m->payload));
        }
    }
    return NULL;
}

/* One end of a case, the other being the file. What is wrong; NULL: nothing. */
static const char *answer(const struct noise_case *c, enum noise_role role)
{
    const struct noise_bytes *ephemeral = &c->field[NOISE_EPHEMERAL + role], *secret = &c->field[NOISE_STATIC + role];
    const struct noise_bytes *psk = &c->field[NOISE_PSK], *hash = &c->field[NOISE_HASH];
    struct framed_noise_keypair own, other;
    struct framed_noise hs;
    struct framed_noise_cipher send, receive;
    NEED(c->count > noise_handshake_messages(c->pattern));
    NEED(ephemeral->len == KEY && psk->len == (has_psk(c->pattern) ? KEY : 0));
    if (has_static(c->pattern)) {
        NEED(secret->len == KEY && framed_noise_keypair(&own, secret->at) == FRAMED_OK);
        NEED(framed_noise_keypair(&other, c->field[NOISE_STATIC + !role].at) == FRAMED_OK);
    }
    struct framed_noise_config config = {.pattern = c->pattern,
                                         .role = role,
                                         .prologue = view_of(&c->field[NOISE_PROLOGUE]),
                                         .ephemeral = ephemeral->at,
                                         .psk = psk->len > 0 ? psk->at : NULL,
                                         .identity = has_static(c->pattern) ? &own : NULL};
    NEED(framed_noise_init(&hs, &config) == FRAMED_OK);
    const char *wrong = answer_handshake(c, role, &hs);
    if (wrong != NULL) return wrong;
    NEED(framed_noise_hash(&hs) != NULL);
    NEED(hash->len == 0 || same(framed_bytes_of(framed_noise_hash(&hs), KEY), hash));
    NEED((framed_noise_remote_static(&hs) != NULL) == has_static(c->pattern));
    NEED(!has_static(c->pattern) || memcmp(framed_noise_remote_static(&hs), other.public, KEY) == 0);
    NEED(framed_noise_split(&hs, &send, &receive) == FRAMED_OK);
    return answer_records(c, role, &send, &receive);
}

static bool holds(const struct noise_case *c)
{
    return answer(c, NOISE_INITIATOR) == NULL && answer(c, NOISE_RESPONDER) == NULL;
}

/* With one hex digit changed, the case no longer holds. In the middle: both ends of a secret key have bits that do not count. */
static unsigned assert_digit_counts(struct noise_case *c, struct noise_bytes *in)
{
    if (in->len == 0) return 0;
    in->at[in->len / 2] ^= 0x20;
    if (holds(c)) fail_msg("%s: holds with another digit", c->name);
    in->at[in->len / 2] ^= 0x20;
    return 1;
}

/* Every case of a file holds at both ends, and none with a digit of any of its values changed. Returns how many changes. */
static unsigned assert_cases(struct noise_cases *cases)
{
    unsigned changes = 0;
    for (size_t i = 0; i < cases->n; i++) {
        struct noise_case *c = &cases->at[i];
        for (unsigned role = 0; role < 2; role++) {
            const char *wrong = answer(c, (enum noise_role)role);
            if (wrong != NULL) fail_msg("%s, the %s: %s", c->name, role == 0 ? "initiator" : "responder", wrong);
        }
        for (unsigned f = 0; f < NOISE_FIELDS; f++) changes += assert_digit_counts(c, &c->field[f]);
        for (size_t m = 0; m < c->count; m++) {
            changes += assert_digit_counts(c, &c->messages[m].payload);
            changes += assert_digit_counts(c, &c->messages[m].message);
        }
        assert_true(holds(c));
    }
    return changes;
}

static struct noise_cases cases; /* too large for a stack */

static void count_patterns(unsigned count[PATTERNS])
{
    memset(count, 0, PATTERNS * sizeof *count);
    for (size_t i = 0; i < cases.n; i++) count[cases.at[i].pattern]++;
}

static void noise_says_what_another_implementation_says(void **state)
{
    (void)state;
    unsigned count[PATTERNS];
    assert_true(noise_cases_load(&cases, FRAMED_VECTORS "/noise.txt"));
    count_patterns(count);
    for (unsigned p = 0; p < PATTERNS; p++) assert_int_equal(count[p], 4);
    assert_int_equal(cases.others, 0);
    assert_true(assert_cases(&cases) > 100);
}

static void noise_says_what_others_have_published(void **state)
{
    (void)state;
    static const char *const files[] = {"cacophony.json", "snow.json", "noise-c.json", "flynn.txt"};
    const char *named = getenv("FRAMED_NOISE_VECTORS"), *folder = named != NULL ? named : "../shared/vectors/noise";
    unsigned found = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        if (!noise_cases_load(&cases, path)) {
            print_message("%s: not here\n", files[i]);
            if (named != NULL) fail_msg("FRAMED_NOISE_VECTORS has no %s", files[i]);
            continue;
        }
        unsigned count[PATTERNS], changes = assert_cases(&cases);
        count_patterns(count);
        print_message("%s: NNpsk0 %u, XX %u, XXpsk0 %u, as both ends; none of them with one of %u digits changed; %zu of "
                      "other patterns\n",
                      files[i], count[NOISE_NNPSK0], count[NOISE_XX], count[NOISE_XXPSK0], changes, cases.others);
        assert_true(cases.n > 0);
        found++;
    }
    if (found == 0) skip();
}

static void rekey_gives_the_known_key_and_keeps_the_counter(void **state)
{
    (void)state;
    static const uint8_t wanted[KEY] = {0x50, 0x83, 0x55, 0x43, 0xa2, 0x05, 0xb2, 0x2c, 0x93, 0x23, 0xf2,
                                        0x02, 0x2b, 0xc4, 0xf6, 0x7d, 0x83, 0x8f, 0x90, 0xe6, 0x1d, 0x5c,
                                        0xcf, 0x33, 0xc4, 0x51, 0x3e, 0x01, 0xf8, 0x5b, 0x50, 0x42};
    struct framed_noise_cipher c = {.keyed = true, .n = 77};
    for (uint8_t i = 0; i < KEY; i++) c.key[i] = i;
    assert_int_equal(framed_noise_rekey(&c), FRAMED_OK);
    assert_memory_equal(c.key, wanted, KEY);
    assert_true(c.keyed && c.n == 77);
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
            if (has_static(s.pattern))
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
        if (!has_psk((enum noise_pattern)p)) continue;
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
        assert_fails_at(&s, has_psk((enum noise_pattern)p) ? 0 : 1);
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
    if (!has_static(pattern)) return;
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
        c = sound, c.psk = has_psk(s.pattern) ? NULL : s.psk[0], assert_unsound(c);
        c = sound, c.identity = has_static(s.pattern) ? NULL : &pair, assert_unsound(c);
        if (has_psk(s.pattern)) c = sound, c.psk = zero, assert_unsound(c);
        if (has_static(s.pattern)) c = sound, c.identity = &zeros, assert_unsound(c);
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
            assert_int_equal(has(&e.at[role], s.psk[role]), has_psk(s.pattern));
            assert_int_equal(has(&e.at[role], s.identity[role].secret), has_static(s.pattern));
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

/* What a test leaves undone to the secrets in memory is that test's failure. */
#define test(name) cmocka_unit_test_setup_teardown(name, honest, all_wiped)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(start_says_whether_libsodium_runs),
        test(noise_says_what_another_implementation_says),
        test(noise_says_what_others_have_published),
        test(rekey_gives_the_known_key_and_keeps_the_counter),
        test(handshake_agrees_on_hash_keys_and_identities),
        test(remote_static_is_known_before_the_own_one_is_shown),
        test(handshake_of_other_ephemerals_has_another_hash),
        test(handshake_fails_with_any_bit_of_any_message_flipped),
        test(handshake_fails_with_any_message_cut_or_extended),
        test(handshake_message_above_the_most_is_malformed),
        test(handshake_fails_with_another_psk_before_anything_is_multiplied),
        test(handshake_fails_with_another_prologue),
        test(handshake_fails_with_a_static_key_whose_secret_the_peer_has_not),
        test(recorded_initiator_comes_to_nothing),
        test(handshake_refuses_an_ephemeral_key_of_low_order),
        test(handshake_refuses_a_static_key_of_low_order),
        test(static_key_written_another_way_is_shown_as_it_came),
        test(handshake_refuses_its_own_ephemeral_key),
        test(handshake_refuses_its_own_static_key),
        test(message_sent_back_to_its_writer_is_refused),
        test(cipher_goes_on_with_the_genuine_message_after_forged_ones),
        test(cipher_counts_to_its_end_and_refuses_there_for_ever),
        test(cipher_takes_messages_up_to_the_most),
        test(cipher_without_a_key_refuses),
        test(handshake_says_usage_and_stays_as_it_is_out_of_turn),
        test(write_says_usage_without_enough_room_and_can_be_tried_again),
        test(init_refuses_keys_that_are_missing_too_many_or_all_zero),
        test(keypair_refuses_a_secret_of_zeros),
        test(handshake_forgets_each_secret_when_it_has_done_its_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
