/*
 * test_keys.c: keys and their texts (framed/secure.h), with libsodium and without.
 * Must not know how a text is decoded.
 * Invariant: what is right was computed elsewhere: texts by Python's base64, the pair of keys by RFC 7748 §6.1 (Bob's).
 */
#include "guard.h"
#include <framed/secure.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t bob_secret[] = {0x5d, 0xab, 0x08, 0x7e, 0x62, 0x4a, 0x8a, 0x4b, 0x79, 0xe1, 0x7f,
                                     0x8b, 0x83, 0x80, 0x0e, 0xe6, 0x6f, 0x3b, 0xb1, 0x29, 0x26, 0x18,
                                     0xb6, 0xfd, 0x1c, 0x2f, 0x8b, 0x27, 0xff, 0x88, 0xe0, 0xeb};
static const char shared_text[] = "framed-psk-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"; /* 00 01 ... 1f */

static const struct framed_key untouched = {{0xa5, 1, 2, 3}};

static struct framed_key key_of(const void *bytes)
{
    struct framed_key key;
    memcpy(key.bytes, bytes, sizeof key.bytes);
    return key;
}

/* ---- with libsodium or without ---- */

static void keys_are_the_same_when_every_bit_is(void **state)
{
    (void)state;
    const struct framed_key key = key_of(bob_secret);
    struct framed_key other = key;
    assert_true(framed_key_same(&key, &other));
    for (size_t bit = 0; bit < 8 * FRAMED_KEY_SIZE; bit++) {
        other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(framed_key_same(&key, &other));
        other.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void wiping_zeroes_all_of_it_and_nothing_else(void **state)
{
    (void)state;
    uint8_t bytes[12], expected[12] = {7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
    memset(bytes, 7, sizeof bytes);
    framed_wipe(bytes + 1, sizeof bytes - 2);
    assert_memory_equal(bytes, expected, sizeof bytes);
    framed_wipe(bytes, 0);
    framed_wipe(NULL, 0);
    assert_memory_equal(bytes, expected, sizeof bytes);
}

#ifdef FRAMED_SODIUM

enum { TEXT = FRAMED_KEY_TEXT_SIZE - 1, PREFIX = 13, KINDS = 3 };

static const char bob_secret_text[] = "framed-sec-1:XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os";
static const char bob_public_text[] = "framed-pub-1:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08";
static const char *const texts[KINDS] = {bob_public_text, bob_secret_text, shared_text};

/* Whether it has four bytes in a row that stand behind the prefix in `text`. */
static bool repeats(const char *reason, struct framed_bytes text)
{
    for (size_t i = PREFIX; i + 4 <= text.len; i++) {
        char piece[5] = {0};
        memcpy(piece, text.at + i, 4);
        if (strlen(piece) == 4 && strstr(reason, piece) != NULL) return true;
    }
    return false;
}

/* Parses a copy that ends where memory does. FRAMED_MALFORMED must leave the key alone, and say why without saying what. */
static enum framed_status parse_bytes(enum framed_key_kind kind, struct framed_bytes text, struct framed_key *key,
                                      const char **reason)
{
    static struct guard guard;
    if (guard.end == NULL) guard_init(&guard, 256);
    uint8_t *at = guard_copy(&guard, text.at, text.len);
    *key = untouched;
    *reason = NULL;
    enum framed_status st = framed_key_parse(key, kind, framed_bytes_of(at, text.len), reason);
    assert_true(st == FRAMED_OK || st == FRAMED_MALFORMED);
    assert_true((st == FRAMED_OK) == (*reason == NULL));
    if (st == FRAMED_OK) return st;
    assert_memory_equal(key, &untouched, sizeof untouched);
    assert_false(repeats(*reason, text));
    return st;
}

static void refused(enum framed_key_kind kind, const char *text, const char *why)
{
    struct framed_key key;
    const char *reason;
    assert_int_equal(parse_bytes(kind, framed_bytes_str(text), &key, &reason), FRAMED_MALFORMED);
    assert_string_equal(reason, why);
}

/* ---- libsodium, meddled with (the Makefile wraps these) ---- */

void __real_sodium_memzero(void *const at, const size_t n);
void __wrap_sodium_memzero(void *const at, const size_t n);
int __real_sodium_init(void);
int __wrap_sodium_init(void);
int __real_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);
int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);

static unsigned wiped;     /* times that a key was, whatever of it was known by then */
static uint8_t wiped_last; /* its first byte before */
static bool init_fails, multiply_fails;

void __wrap_sodium_memzero(void *const at, const size_t n)
{
    if (n == sizeof(struct framed_key)) {
        wiped++;
        wiped_last = *(const uint8_t *)at;
    }
    __real_sodium_memzero(at, n);
}

int __wrap_sodium_init(void)
{
    return init_fails ? -1 : __real_sodium_init();
}

int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n)
{
    return multiply_fails ? -1 : __real_crypto_scalarmult_base(q, n);
}

/* ---- with libsodium ---- */

static void keys_have_the_texts_that_another_program_makes(void **state)
{
    (void)state;
    uint8_t bytes[FRAMED_KEY_SIZE];
    char text[FRAMED_KEY_TEXT_SIZE];
    for (uint8_t i = 0; i < sizeof bytes; i++) bytes[i] = i;
    struct framed_key key = key_of(bytes);
    assert_int_equal(framed_key_format(text, FRAMED_KEY_SHARED, &key), FRAMED_OK);
    assert_string_equal(text, shared_text);
    memset(key.bytes, 0xff, sizeof key.bytes);
    assert_int_equal(framed_key_format(text, FRAMED_KEY_PUBLIC, &key), FRAMED_OK);
    assert_string_equal(text, "framed-pub-1:__________________________________________8");
    for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = i % 2 == 0 ? 0xfb : 0xef;
    assert_int_equal(framed_key_format(text, FRAMED_KEY_SECRET, &key), FRAMED_OK);
    assert_string_equal(text, "framed-sec-1:--_77_vv--_77_vv--_77_vv--_77_vv--_77_vv--8");
    key = key_of(bob_secret);
    assert_int_equal(framed_key_format(text, FRAMED_KEY_SECRET, &key), FRAMED_OK);
    assert_string_equal(text, bob_secret_text);
}

static void public_key_is_the_one_of_rfc_7748(void **state)
{
    (void)state;
    struct framed_key secret = key_of(bob_secret), public_key;
    char text[FRAMED_KEY_TEXT_SIZE];
    assert_int_equal(framed_key_public(&public_key, &secret), FRAMED_OK);
    assert_int_equal(framed_key_format(text, FRAMED_KEY_PUBLIC, &public_key), FRAMED_OK);
    assert_string_equal(text, bob_public_text);
    assert_memory_equal(secret.bytes, bob_secret, sizeof bob_secret);
    assert_int_equal(framed_key_public(&secret, &secret), FRAMED_OK); /* in place */
    assert_true(framed_key_same(&secret, &public_key));
}

static void keys_come_back_from_their_texts(void **state)
{
    (void)state;
    uint32_t dice = 12345;
    for (int round = 0; round < 1000; round++) {
        struct framed_key key, back;
        char text[FRAMED_KEY_TEXT_SIZE];
        const char *reason;
        for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = (uint8_t)((dice = dice * 1664525 + 1013904223) >> 24);
        enum framed_key_kind kind = (enum framed_key_kind)(round % KINDS);
        memset(text, 'x', sizeof text);
        assert_int_equal(framed_key_format(text, kind, &key), FRAMED_OK);
        assert_int_equal(strlen(text), TEXT);
        assert_int_equal(parse_bytes(kind, framed_bytes_str(text), &back, &reason), FRAMED_OK);
        assert_true(framed_key_same(&key, &back));
    }
}

static void parse_refuses_a_key_where_another_kind_is_wanted(void **state)
{
    (void)state;
    static const char *const kinds[KINDS] = {"public", "secret", "shared"};
    for (unsigned is = 0; is < KINDS; is++)
        for (unsigned wanted = 0; wanted < KINDS; wanted++) {
            struct framed_key key;
            const char *reason;
            char why[100];
            if (is == wanted) {
                assert_int_equal(parse_bytes((enum framed_key_kind)wanted, framed_bytes_str(texts[is]), &key, &reason),
                                 FRAMED_OK);
                continue;
            }
            snprintf(why, sizeof why, "that is a %s key, where a %s one is wanted", kinds[is], kinds[wanted]);
            refused((enum framed_key_kind)wanted, texts[is], why);
        }
    /* also when it is cut, so that half a secret is not taken for something else */
    refused(FRAMED_KEY_PUBLIC, "framed-sec-1:XasIfm", "that is a secret key, where a public one is wanted");
}

static void parse_refuses_what_begins_otherwise(void **state)
{
    (void)state;
    static const char *const none[] = {"",
                                       "f",
                                       "framed-pub-1",
                                       "framed-pub-2:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
                                       "Framed-pub-1:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
                                       " framed-pub-1:3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08",
                                       "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        refused(FRAMED_KEY_PUBLIC, none[i], "that is no key: a public one begins with framed-pub-1:");
        refused(FRAMED_KEY_SECRET, none[i], "that is no key: a secret one begins with framed-sec-1:");
        refused(FRAMED_KEY_SHARED, none[i], "that is no key: a shared one begins with framed-psk-1:");
    }
}

static void parse_refuses_a_key_that_is_cut_or_goes_on(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        char text[TEXT + 3];
        for (size_t n = PREFIX; n < TEXT; n++) {
            snprintf(text, sizeof text, "%.*s", (int)n, texts[kind]);
            refused((enum framed_key_kind)kind, text, "that key is cut: 43 characters follow its colon");
        }
        for (const char *more = "A= \nx8"; *more != '\0'; more++) {
            snprintf(text, sizeof text, "%s%c", texts[kind], *more);
            refused((enum framed_key_kind)kind, text, "that key goes on too long: 43 characters follow its colon");
        }
    }
}

/* 256 bits are 42 characters and 4 bits of the last, whose other two must be zero: one key, one text. */
static void parse_refuses_a_last_character_that_belongs_to_no_key(void **state)
{
    (void)state;
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[FRAMED_KEY_TEXT_SIZE];
    unsigned taken = 0;
    memcpy(text, bob_secret_text, sizeof text);
    for (size_t i = 0; i < 64; i++) {
        struct framed_key key;
        const char *reason;
        text[TEXT - 1] = letters[i];
        if (i % 4 != 0) {
            refused(FRAMED_KEY_SECRET, text, "that key was changed: its last character belongs to none");
            continue;
        }
        assert_int_equal(parse_bytes(FRAMED_KEY_SECRET, framed_bytes_str(text), &key, &reason), FRAMED_OK);
        taken++;
    }
    assert_int_equal(taken, 16);
}

static void parse_takes_a_changed_text_only_as_the_key_whose_text_it_is(void **state)
{
    (void)state;
    for (size_t at = 0; at < TEXT; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            struct framed_key key;
            const char *reason;
            char text[FRAMED_KEY_TEXT_SIZE], again[FRAMED_KEY_TEXT_SIZE];
            memcpy(text, bob_secret_text, sizeof text);
            text[at] = (char)byte;
            if (parse_bytes(FRAMED_KEY_SECRET, framed_bytes_of(text, TEXT), &key, &reason) != FRAMED_OK) continue;
            assert_true(at >= PREFIX || byte == (uint8_t)bob_secret_text[at]);
            assert_int_equal(framed_key_format(again, FRAMED_KEY_SECRET, &key), FRAMED_OK);
            assert_memory_equal(again, text, sizeof text);
        }
    refused(FRAMED_KEY_PUBLIC,
            "framed-pub-1:\x80p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08", /* which libsodium 1.0.18 takes for _ */
            "a character that no key has: behind its colon are A to Z, a to z, 0 to 9, - and _");
    refused(FRAMED_KEY_PUBLIC, "framed-pub-1:3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08", /* plain base64 */
            "a character that no key has: behind its colon are A to Z, a to z, 0 to 9, - and _");
}

static void a_key_of_zeros_is_none(void **state)
{
    (void)state;
    struct framed_key zero = {{0}}, key = untouched;
    char text[FRAMED_KEY_TEXT_SIZE] = "before";
    refused(FRAMED_KEY_SECRET, "framed-sec-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "that key is all zero, which is none");
    for (unsigned kind = 0; kind < KINDS; kind++)
        assert_int_equal(framed_key_format(text, (enum framed_key_kind)kind, &zero), FRAMED_USAGE);
    assert_string_equal(text, "before");
    assert_int_equal(framed_key_public(&key, &zero), FRAMED_USAGE);
    assert_memory_equal(&key, &untouched, sizeof key);
}

static void a_kind_that_there_is_not_is_wrong_usage(void **state)
{
    (void)state;
    struct framed_key key = untouched;
    char text[FRAMED_KEY_TEXT_SIZE] = "before";
    const char *reason = NULL;
    enum framed_status st = framed_key_parse(&key, (enum framed_key_kind)KINDS, framed_bytes_str(shared_text), &reason);
    assert_int_equal(st, FRAMED_USAGE);
    assert_string_equal(reason, "there is no such kind of key");
    assert_memory_equal(&key, &untouched, sizeof key);
    assert_int_equal(framed_key_format(text, (enum framed_key_kind)KINDS, &key), FRAMED_USAGE);
    assert_string_equal(text, "before");
}

static void parse_wipes_what_it_decoded_and_so_does_a_failure(void **state)
{
    (void)state;
    struct framed_key key;
    const char *reason;
    char text[FRAMED_KEY_TEXT_SIZE];
    wiped = 0;
    assert_int_equal(parse_bytes(FRAMED_KEY_SECRET, framed_bytes_str(bob_secret_text), &key, &reason), FRAMED_OK);
    assert_int_equal(wiped, 1);
    assert_int_equal(wiped_last, bob_secret[0]);
    memcpy(text, bob_secret_text, sizeof text);
    text[TEXT - 1]++;
    assert_int_equal(parse_bytes(FRAMED_KEY_SECRET, framed_bytes_str(text), &key, &reason), FRAMED_MALFORMED);
    assert_int_equal(wiped, 2);
    assert_int_equal(wiped_last, bob_secret[0]);
}

static void public_key_that_cannot_be_made_is_the_systems_failure(void **state)
{
    (void)state;
    struct framed_key secret = key_of(bob_secret), key = untouched;
    init_fails = true;
    assert_int_equal(framed_key_public(&key, &secret), FRAMED_OS);
    init_fails = false;
    multiply_fails = true;
    assert_int_equal(framed_key_public(&key, &secret), FRAMED_OS);
    multiply_fails = false;
    assert_memory_equal(&key, &untouched, sizeof key);
    assert_int_equal(framed_key_public(&key, &secret), FRAMED_OK);
}

#else

/* ---- without ---- */

static void without_libsodium_keys_are_unsupported_and_nothing_is_touched(void **state)
{
    (void)state;
    struct framed_key key = untouched, secret = key_of(bob_secret);
    char text[FRAMED_KEY_TEXT_SIZE] = "before";
    const char *reason = NULL;
    assert_int_equal(framed_key_parse(&key, FRAMED_KEY_SHARED, framed_bytes_str(shared_text), &reason), FRAMED_UNSUPPORTED);
    assert_string_equal(reason, "keys need libsodium, without which this was built");
    assert_int_equal(framed_key_format(text, FRAMED_KEY_SECRET, &secret), FRAMED_UNSUPPORTED);
    assert_string_equal(text, "before");
    assert_int_equal(framed_key_public(&key, &secret), FRAMED_UNSUPPORTED);
    assert_memory_equal(&key, &untouched, sizeof key);
}

#endif

int main(void)
{
#ifdef FRAMED_SODIUM
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_the_texts_that_another_program_makes),
        cmocka_unit_test(public_key_is_the_one_of_rfc_7748),
        cmocka_unit_test(keys_come_back_from_their_texts),
        cmocka_unit_test(parse_refuses_a_key_where_another_kind_is_wanted),
        cmocka_unit_test(parse_refuses_what_begins_otherwise),
        cmocka_unit_test(parse_refuses_a_key_that_is_cut_or_goes_on),
        cmocka_unit_test(parse_refuses_a_last_character_that_belongs_to_no_key),
        cmocka_unit_test(parse_takes_a_changed_text_only_as_the_key_whose_text_it_is),
        cmocka_unit_test(a_key_of_zeros_is_none),
        cmocka_unit_test(a_kind_that_there_is_not_is_wrong_usage),
        cmocka_unit_test(parse_wipes_what_it_decoded_and_so_does_a_failure),
        cmocka_unit_test(public_key_that_cannot_be_made_is_the_systems_failure),
        cmocka_unit_test(keys_are_the_same_when_every_bit_is),
        cmocka_unit_test(wiping_zeroes_all_of_it_and_nothing_else),
    };
#else
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_libsodium_keys_are_unsupported_and_nothing_is_touched),
        cmocka_unit_test(keys_are_the_same_when_every_bit_is),
        cmocka_unit_test(wiping_zeroes_all_of_it_and_nothing_else),
    };
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
