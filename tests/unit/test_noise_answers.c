/*
 * test_noise_answers.c: Noise handshakes and cipher states (noise.h) against known answers: the project's own, which another
 * implementation made, and published ones where they are present.
 * Must not know how a handshake is computed.
 * Invariant: a case that passes fails when any digit of any of its values is another.
 */
#include "cases.h"
#include "meddle.h"
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, PATTERNS = 3 };

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
            struct framed_noise_cipher as_records = *send; /* which come in pieces */
            struct framed_noise_sealing s;
            NEED(framed_noise_seal_begin(&s, &as_records, at) == FRAMED_OK);
            framed_noise_seal_more(&s, m->payload.at, m->payload.len / 2);
            framed_noise_seal_more(&s, m->payload.at + m->payload.len / 2, m->payload.len - m->payload.len / 2);
            framed_noise_seal_end(&s);
            NEED(same(framed_bytes_of(at, m->payload.len + TAG), &m->message));
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
    NEED(ephemeral->len == KEY && psk->len == (noise_has_psk(c->pattern) ? KEY : 0));
    if (noise_has_static(c->pattern)) {
        NEED(secret->len == KEY && framed_noise_keypair(&own, secret->at) == FRAMED_OK);
        NEED(framed_noise_keypair(&other, c->field[NOISE_STATIC + !role].at) == FRAMED_OK);
    }
    struct framed_noise_config config = {.pattern = c->pattern,
                                         .role = role,
                                         .prologue = view_of(&c->field[NOISE_PROLOGUE]),
                                         .ephemeral = ephemeral->at,
                                         .psk = psk->len > 0 ? psk->at : NULL,
                                         .identity = noise_has_static(c->pattern) ? &own : NULL};
    NEED(framed_noise_init(&hs, &config) == FRAMED_OK);
    const char *wrong = answer_handshake(c, role, &hs);
    if (wrong != NULL) return wrong;
    NEED(framed_noise_hash(&hs) != NULL);
    NEED(hash->len == 0 || same(framed_bytes_of(framed_noise_hash(&hs), KEY), hash));
    NEED((framed_noise_remote_static(&hs) != NULL) == noise_has_static(c->pattern));
    NEED(!noise_has_static(c->pattern) || memcmp(framed_noise_remote_static(&hs), other.public, KEY) == 0);
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
    unsigned changes = assert_cases(&cases);
    assert_true(changes > 100);
    print_message(
        "note: our own, from dissononce: 4 of each pattern, as both ends; none of them with one of %u digits changed\n",
        changes);
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
            print_message("note: %s: not here%s\n", files[i], named == NULL ? " (optional)" : "");
            if (named != NULL) fail_msg("FRAMED_NOISE_VECTORS has no %s", files[i]);
            continue;
        }
        unsigned count[PATTERNS], changes = assert_cases(&cases);
        count_patterns(count);
        print_message(
            "note: %s: NNpsk0 %u, XX %u, XXpsk0 %u, as both ends; none of them with one of %u digits changed; %zu of "
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOISE_TEST(noise_says_what_another_implementation_says),
        NOISE_TEST(noise_says_what_others_have_published),
        NOISE_TEST(rekey_gives_the_known_key_and_keeps_the_counter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
