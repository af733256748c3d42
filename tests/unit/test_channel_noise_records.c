/*
 * test_channel_noise_records.c: the records of encrypted connections (channel_noise.h), against a wire that lies and against misuse.
 * Must not know how a direction got its key: a handshake's, or one that the test made up.
 * Invariant: what a record must be is reckoned here, with libsodium's own functions.
 */
#include "channel_noise.h"
#include "guard.h"
#include "meddle.h"
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, FRAME_MOST = RECORD_HEAD + RECORD_BODY_MOST + RECORD_TAIL };

/* ---- one direction ---- */

static void fill(uint8_t key[KEY], uint8_t label)
{
    for (uint8_t i = 0; i < KEY; i++) key[i] = (uint8_t)(label + 37 * i);
}

/* Either end of it: they are alike. */
static struct framed_records direction(uint8_t label)
{
    struct framed_records r = {.cipher = {.keyed = true}};
    fill(r.cipher.key, label);
    return r;
}

struct record {
    uint8_t at[64]; /* the outer frame */
    size_t len;
};

static struct record seal(struct framed_records *out, enum record_type type, const char *body)
{
    struct record r = {.len = RECORD_HEAD + strlen(body) + RECORD_TAIL};
    assert_true(r.len <= sizeof r.at);
    memcpy(r.at + RECORD_HEAD, body, strlen(body));
    assert_int_equal(framed_record_seal(out, type, r.at, strlen(body)), FRAMED_OK);
    return r;
}

/* A record that we would not seal. */
static struct record forge(struct framed_records *out, uint8_t type, size_t n)
{
    struct record r = {.at = {0, 0, 0, (uint8_t)(1 + n + TAG), type}, .len = RECORD_HEAD + n + RECORD_TAIL};
    assert_int_equal(framed_noise_encrypt(&out->cipher, framed_bytes_of(NULL, 0), r.at + FRAMED_LENGTH_SIZE, 1 + n),
                     FRAMED_OK);
    return r;
}

static bool all_zero(const void *at, size_t n)
{
    return sodium_is_zero(at, n) == 1;
}

/* Failed for good: the same again for what would have been right, and no key left. */
static void assert_dead(struct framed_records *in, enum framed_status why)
{
    uint8_t bytes[64] = {0};
    enum record_type type;
    struct framed_bytes body;
    assert_int_equal(framed_record_open(in, bytes, 40, &type, &body), why);
    assert_int_equal(framed_record_open(in, bytes, 0, &type, &body), why);
    assert_true(all_zero(&in->cipher, sizeof in->cipher));
}

/* The payload of the frame `r`, as it came: `len` bytes of it. */
static enum framed_status open_bytes(struct framed_records *in, const struct record *r, size_t len, enum record_type *type,
                                     struct framed_bytes *body, uint8_t at[sizeof r->at])
{
    memcpy(at, r->at + FRAMED_LENGTH_SIZE, sizeof r->at - FRAMED_LENGTH_SIZE);
    return framed_record_open(in, at, len, type, body);
}

static void assert_opens(struct framed_records *in, const struct record *r, enum record_type type, const char *text)
{
    uint8_t at[sizeof r->at];
    enum record_type is = (enum record_type)99;
    struct framed_bytes body = {0};
    assert_int_equal(open_bytes(in, r, r->len - FRAMED_LENGTH_SIZE, &is, &body, at), FRAMED_OK);
    assert_int_equal(is, type);
    assert_int_equal(body.len, strlen(text));
    assert_memory_equal(body.at, text, body.len);
    assert_ptr_equal(body.at, at + 1);
}

/* `in` is a copy: the direction itself goes on. */
static void assert_refuses_len(struct framed_records in, const struct record *r, size_t len, enum framed_status why)
{
    uint8_t at[sizeof r->at];
    enum record_type type = (enum record_type)99;
    struct framed_bytes body = framed_bytes_str("untouched");
    assert_int_equal(open_bytes(&in, r, len, &type, &body, at), why);
    assert_int_equal(type, 99);
    assert_int_equal(body.len, 9);
    assert_dead(&in, why);
}

static void assert_refuses(struct framed_records in, const struct record *r, enum framed_status why)
{
    assert_refuses_len(in, r, r->len - FRAMED_LENGTH_SIZE, why);
}

/* ---- what goes through ---- */

static void record_is_length_type_body_tag(void **state)
{
    (void)state;
    static const uint8_t nonces[2][12] = {{0}, {0, 0, 0, 0, 1}};
    struct framed_records out = direction(1);
    for (unsigned i = 0; i < 2; i++) {
        struct record r = seal(&out, RECORD_DATA, "hello");
        uint8_t text[6], key[KEY];
        fill(key, 1);
        assert_int_equal(r.len, 4 + 22);
        assert_memory_equal(r.at, ((uint8_t[]){0, 0, 0, 22}), 4);
        assert_int_equal(crypto_aead_chacha20poly1305_ietf_decrypt(text, NULL, NULL, r.at + 4, 22, NULL, 0, nonces[i], key),
                         0);
        assert_memory_equal(text, "\0hello", 6);
    }
}

static void record_opens_with_what_was_sealed_in_it(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    struct record r = seal(&out, RECORD_PAD, "");
    assert_opens(&in, &r, RECORD_PAD, "");
    r = seal(&out, RECORD_DATA, "a");
    assert_opens(&in, &r, RECORD_DATA, "a");
    r = seal(&out, RECORD_PAD, "zzzz");
    assert_opens(&in, &r, RECORD_PAD, "zzzz");
    r = seal(&out, RECORD_CLOSE, "r");
    assert_false(in.closed);
    assert_opens(&in, &r, RECORD_CLOSE, "r");
    assert_true(in.closed);
}

/* And not one byte of the memory round it is touched. */
static void record_holds_up_to_the_most(void **state)
{
    (void)state;
    static uint8_t copy[FRAME_MOST];
    struct guard guard;
    guard_init(&guard, FRAME_MOST);
    for (unsigned t = 0; t < 2; t++) {
        enum record_type type = t == 0 ? RECORD_DATA : RECORD_PAD, is;
        struct framed_records out = direction(1), in = direction(1);
        struct framed_bytes body;
        uint8_t *at = guard_take(&guard, FRAME_MOST);
        memset(at, 'x', FRAME_MOST);
        assert_int_equal(framed_record_seal(&out, type, at, RECORD_BODY_MOST), FRAMED_OK);
        assert_memory_equal(at, ((uint8_t[]){0, 0, 0xff, 0xff}), 4);
        memcpy(copy, at, FRAME_MOST);
        at = guard_copy(&guard, copy + 4, RECORD_MOST);
        assert_int_equal(framed_record_open(&in, at, RECORD_MOST, &is, &body), FRAMED_OK);
        assert_int_equal(is, type);
        assert_int_equal(body.len, RECORD_BODY_MOST);
        for (size_t i = 0; i < body.len; i++) assert_int_equal(body.at[i], 'x');
    }
    guard_fini(&guard);
}

/* ---- a wire that lies (security.md §9: 2, 3, 5, 6, 13, 15, 19, 22) ---- */

static void record_with_any_bit_flipped_is_refused(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    for (unsigned i = 0; i < 3; i++) {
        struct record r = seal(&out, RECORD_DATA, "small");
        for (size_t bit = 8 * FRAMED_LENGTH_SIZE; bit < 8 * r.len; bit++) {
            struct record flipped = r;
            flipped.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_refuses(in, &flipped, FRAMED_AUTH);
        }
        assert_opens(&in, &r, RECORD_DATA, "small");
    }
}

static void record_cut_or_extended_is_refused(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    struct record r = seal(&out, RECORD_DATA, "small");
    for (size_t len = 0; len <= sizeof r.at - FRAMED_LENGTH_SIZE; len++)
        if (len != r.len - FRAMED_LENGTH_SIZE)
            assert_refuses_len(in, &r, len, len < RECORD_LEAST ? FRAMED_MALFORMED : FRAMED_AUTH);
    assert_opens(&in, &r, RECORD_DATA, "small");
}

static void record_longer_than_the_most_is_malformed_unread(void **state)
{
    (void)state;
    static const size_t lies[] = {0, 16, 65536, 0x7fffffff, UINT32_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct framed_records in = direction(1);
        enum record_type type;
        struct framed_bytes body;
        assert_int_equal(framed_record_open(&in, NULL, lies[i], &type, &body), FRAMED_MALFORMED);
        assert_dead(&in, FRAMED_MALFORMED);
    }
}

static void record_dropped_repeated_swapped_or_of_another_connection_is_refused(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1), other = direction(2);
    struct record r[12], spliced[12];
    for (unsigned i = 0; i < 12; i++) {
        r[i] = seal(&out, RECORD_DATA, "text");
        spliced[i] = seal(&other, RECORD_DATA, "text");
    }
    for (unsigned i = 0; i < 11; i++) {
        if (i == 0 || i == 1 || i == 10) {
            assert_refuses(in, &r[i + 1], FRAMED_AUTH); /* i is dropped, or comes later */
            if (i > 0) assert_refuses(in, &r[i - 1], FRAMED_AUTH);
            if (i > 0) assert_refuses(in, &r[0], FRAMED_AUTH);
            assert_refuses(in, &spliced[i], FRAMED_AUTH);
        }
        assert_opens(&in, &r[i], RECORD_DATA, "text");
    }
}

static void record_behind_forged_ones_opens_for_who_has_not_heard_them(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    struct record forged = {.len = 40};
    for (unsigned i = 0; i < 3; i++) {
        struct record r = seal(&out, RECORD_DATA, "genuine");
        assert_refuses(in, &forged, FRAMED_AUTH); /* that connection is dead */
        assert_opens(&in, &r, RECORD_DATA, "genuine");
    }
}

static void direction_is_closed_by_close_alone_wherever_it_is_cut(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    struct record r[4] = {seal(&out, RECORD_DATA, "a"), seal(&out, RECORD_PAD, ""), seal(&out, RECORD_DATA, "b"),
                          seal(&out, RECORD_CLOSE, "r")};
    for (unsigned i = 0; i < 4; i++) {
        assert_false(in.closed);
        for (size_t len = 0; len < r[i].len - FRAMED_LENGTH_SIZE; len++) { /* who takes a cut frame for a whole one */
            struct framed_records cut = in;
            uint8_t at[sizeof r[i].at];
            enum record_type type;
            struct framed_bytes body;
            assert_true(open_bytes(&cut, &r[i], len, &type, &body, at) < FRAMED_OK);
            assert_false(cut.closed);
        }
        uint8_t at[sizeof r[i].at];
        enum record_type type;
        struct framed_bytes body;
        assert_int_equal(open_bytes(&in, &r[i], r[i].len - FRAMED_LENGTH_SIZE, &type, &body, at), FRAMED_OK);
    }
    assert_true(in.closed);
}

static void anything_behind_close_is_malformed_and_close_forgets_the_key(void **state)
{
    (void)state;
    for (uint8_t type = 0; type < 4; type++) {
        struct framed_records out = direction(1), in = direction(1), again;
        struct record r = seal(&out, RECORD_CLOSE, "r");
        assert_true(all_zero(&out.cipher, sizeof out.cipher));
        again = direction(1);
        again.cipher.n = 1;
        assert_opens(&in, &r, RECORD_CLOSE, "r");
        assert_true(all_zero(&in.cipher, sizeof in.cipher));
        r = forge(&again, type, type == RECORD_PAD ? 0 : 1);
        assert_refuses(in, &r, FRAMED_MALFORMED);
    }
}

static void nothing_is_sealed_behind_close(void **state)
{
    (void)state;
    for (unsigned type = 0; type < 3; type++) {
        struct framed_records out = direction(1), before;
        uint8_t at[64] = {0};
        seal(&out, RECORD_CLOSE, "r");
        before = out;
        assert_int_equal(framed_record_seal(&out, (enum record_type)type, at, type == RECORD_PAD ? 0 : 1), FRAMED_USAGE);
        assert_memory_equal(&out, &before, sizeof out);
        assert_true(all_zero(at, sizeof at));
    }
}

static void record_whose_type_or_body_is_none_is_malformed(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        size_t n;
    } wrong[] = {{RECORD_DATA, 0}, {RECORD_CLOSE, 0}, {RECORD_CLOSE, 2}, {3, 0}, {3, 1}, {127, 1}, {128, 1}, {255, 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct framed_records out = direction(1), before = out, in = out;
        uint8_t at[64] = {0};
        assert_int_equal(framed_record_seal(&out, (enum record_type)wrong[i].type, at, wrong[i].n), FRAMED_USAGE);
        assert_memory_equal(&out, &before, sizeof out);
        assert_true(all_zero(at, sizeof at));
        struct record r = forge(&out, wrong[i].type, wrong[i].n);
        assert_refuses(in, &r, FRAMED_MALFORMED);
    }
}

static void body_above_the_most_is_not_sealed(void **state)
{
    (void)state;
    static const size_t lens[] = {RECORD_BODY_MOST + 1, 65535, 65536, SIZE_MAX - RECORD_TAIL, SIZE_MAX};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct framed_records out = direction(1), before = out;
        assert_int_equal(framed_record_seal(&out, RECORD_DATA, NULL, lens[i]), FRAMED_USAGE);
        assert_int_equal(framed_record_seal(&out, RECORD_PAD, NULL, lens[i]), FRAMED_USAGE);
        assert_memory_equal(&out, &before, sizeof out);
    }
}

static void pads_in_a_row_above_the_most_are_refused_at_both_ends(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < RECORD_PADS_MOST; i++) {
            struct record r = seal(&out, RECORD_PAD, i % 2 ? "pad" : "");
            assert_opens(&in, &r, RECORD_PAD, i % 2 ? "pad" : "");
        }
        uint8_t at[64] = {0};
        struct framed_records before = out, liar = out;
        assert_int_equal(framed_record_seal(&out, RECORD_PAD, at, 0), FRAMED_USAGE);
        assert_memory_equal(&out, &before, sizeof out);
        struct record r = forge(&liar, RECORD_PAD, 0);
        assert_refuses(in, &r, FRAMED_MALFORMED);
        r = seal(&out, RECORD_DATA, "d"); /* and the count begins anew */
        assert_opens(&in, &r, RECORD_DATA, "d");
    }
}

/* ---- counters and keys (security.md §9: 16, 17, 18) ---- */

static void counter_ends_at_its_end_for_ever(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in;
    out.cipher.n = UINT64_MAX - 1;
    in = out;
    struct record r = seal(&out, RECORD_DATA, "last");
    assert_opens(&in, &r, RECORD_DATA, "last");
    assert_true(out.cipher.n == UINT64_MAX && in.cipher.n == UINT64_MAX);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t at[64] = {0};
        assert_int_equal(framed_record_seal(&out, RECORD_DATA, at, 4), FRAMED_USAGE);
        assert_true(all_zero(at, sizeof at) && out.cipher.n == UINT64_MAX);
    }
    assert_refuses(in, &r, FRAMED_MALFORMED);
}

static void sealing_counts_once_and_the_same_again_is_another_record(void **state)
{
    (void)state;
    struct framed_records out = direction(1), in = direction(1);
    struct record r[3];
    for (unsigned i = 0; i < 3; i++) {
        r[i] = seal(&out, RECORD_DATA, "the same text");
        assert_true(out.cipher.n == i + 1);
        for (unsigned k = 0; k < i; k++) assert_memory_not_equal(r[k].at, r[i].at, r[i].len);
    }
    for (unsigned i = 0; i < 3; i++) assert_opens(&in, &r[i], RECORD_DATA, "the same text");
}

/* What the key of record n is, reckoned from the first one: (n / 65,536) times Rekey(), Noise §4.2. */
static void key_of(uint8_t key[KEY], const uint8_t first[KEY], uint64_t n)
{
    static const uint8_t zeros[KEY], last[12] = {0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    uint8_t out[KEY + TAG];
    memcpy(key, first, KEY);
    for (uint64_t i = 0; i < n / 65536; i++) {
        crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, zeros, KEY, NULL, 0, NULL, last, key);
        memcpy(key, out, KEY);
    }
}

static void assert_record(const struct record *r, const uint8_t first[KEY], uint64_t n)
{
    uint8_t key[KEY], nonce[12] = {0}, wanted[64] = {0, 0, 0, 19, 0, 'i', 't'};
    for (unsigned i = 0; i < 8; i++) nonce[4 + i] = (uint8_t)(n >> 8 * i);
    key_of(key, first, n);
    crypto_aead_chacha20poly1305_ietf_encrypt(wanted + 4, NULL, wanted + 4, 3, NULL, 0, NULL, nonce, key);
    assert_int_equal(r->len, 23);
    assert_memory_equal(r->at, wanted, 23);
}

static void direction_has_a_new_key_after_every_65536th_record_however_many_go_the_other_way(void **state)
{
    (void)state;
    static const uint64_t counts[2] = {3 * 65536 + 2, 65535};
    for (unsigned way = 0; way < 2; way++) {
        struct framed_records out = direction((uint8_t)(1 + way)), in = out;
        uint8_t first[KEY];
        fill(first, (uint8_t)(1 + way));
        for (uint64_t n = 0; n < counts[way]; n++) {
            struct record r = seal(&out, RECORD_DATA, "it");
            uint64_t near = (n + 2) % 65536; /* 65,534 to 65,538 and the like */
            if (near <= 4) assert_record(&r, first, n);
            uint8_t at[sizeof r.at];
            enum record_type type;
            struct framed_bytes body;
            assert_int_equal(open_bytes(&in, &r, r.len - FRAMED_LENGTH_SIZE, &type, &body, at), FRAMED_OK);
            if (near <= 4) assert_memory_equal(body.at, "it", 2);
        }
        uint8_t last[KEY];
        key_of(last, first, counts[way]);
        assert_memory_equal(out.cipher.key, last, KEY);
        assert_memory_equal(in.cipher.key, last, KEY);
        assert_int_equal(memcmp(last, first, KEY) == 0, way == 1);
    }
}

/* ---- misuse, and what stays in memory ---- */

static void records_without_a_key_say_usage(void **state)
{
    (void)state;
    struct framed_records r = direction(1);
    uint8_t at[64] = {0};
    enum record_type type;
    struct framed_bytes body;
    seal(&r, RECORD_PAD, "");
    r.closed = true;
    r.failed = 1;
    framed_records_fini(&r);
    assert_true(all_zero(&r, sizeof r));
    assert_int_equal(framed_record_seal(&r, RECORD_DATA, at, 1), FRAMED_USAGE);
    assert_int_equal(framed_record_open(&r, at, 40, &type, &body), FRAMED_USAGE);
    assert_true(all_zero(&r, sizeof r) && all_zero(at, sizeof at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOISE_TEST(record_is_length_type_body_tag),
        NOISE_TEST(record_opens_with_what_was_sealed_in_it),
        NOISE_TEST(record_holds_up_to_the_most),
        NOISE_TEST(record_with_any_bit_flipped_is_refused),
        NOISE_TEST(record_cut_or_extended_is_refused),
        NOISE_TEST(record_longer_than_the_most_is_malformed_unread),
        NOISE_TEST(record_dropped_repeated_swapped_or_of_another_connection_is_refused),
        NOISE_TEST(record_behind_forged_ones_opens_for_who_has_not_heard_them),
        NOISE_TEST(direction_is_closed_by_close_alone_wherever_it_is_cut),
        NOISE_TEST(anything_behind_close_is_malformed_and_close_forgets_the_key),
        NOISE_TEST(nothing_is_sealed_behind_close),
        NOISE_TEST(record_whose_type_or_body_is_none_is_malformed),
        NOISE_TEST(body_above_the_most_is_not_sealed),
        NOISE_TEST(pads_in_a_row_above_the_most_are_refused_at_both_ends),
        NOISE_TEST(counter_ends_at_its_end_for_ever),
        NOISE_TEST(sealing_counts_once_and_the_same_again_is_another_record),
        NOISE_TEST(direction_has_a_new_key_after_every_65536th_record_however_many_go_the_other_way),
        NOISE_TEST(records_without_a_key_say_usage),
    };
    return framed_noise_start() == FRAMED_OK ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
