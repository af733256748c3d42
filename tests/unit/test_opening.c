/*
 * test_opening.c: how extended connections begin (framed/secure.h, PROTOCOL.md §7, §8): every case of
 * vectors/opening.txt and every example of PROTOCOL.md in every split, and what the cases cannot say.
 * Must not know how the library parses anything.
 * Invariant: each test of the cases runs all of them.
 */
#include "guard.h"
#include "splits.h"
#include "vectors.h"
#include <framed/secure.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t all_modes[] = {0x00, 0x01, 0x10, 0x11, 0x20, 0x21, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1};
enum { MODES = sizeof all_modes };

/* ---- the cases ---- */

static void begin(struct framed_opening *o, const struct opening_case *c)
{
    struct framed_accept accepts = {.plain = c->plain};
    memset(o, 0xee, sizeof *o);
    if (!c->to_acceptor) {
        assert_int_equal(framed_opening_connect(o, c->modes[0]), FRAMED_OK);
        return;
    }
    for (size_t i = 0; i < c->mode_count; i++) assert_int_equal(framed_accept_add(&accepts, c->modes[i]), FRAMED_OK);
    assert_int_equal(framed_opening_accept(o, &accepts), FRAMED_OK);
}

static void opens_as_expected(struct framed_opening *o, const struct opening_case *c, size_t left)
{
    assert_int_equal(o->plain, c->opens_plain);
    assert_int_equal(left, c->opens_plain ? c->input_len : c->rest);
    assert_int_equal(framed_opening_has_hello(o), c->has_hello);
    if (!c->opens_plain) assert_int_equal(o->mode, c->mode);
    if (!c->has_hello) return;
    struct framed_hello hello = framed_opening_hello(o);
    assert_int_equal(hello.max_frame, c->max_frame);
    assert_int_equal(hello.max_calls, c->max_calls);
    assert_int_equal(hello.window, c->window);
    assert_int_equal(hello.max_message, c->max_message);
    assert_int_equal(hello.key_id.len, c->key_id_len);
    if (hello.key_id.len > 0) assert_memory_equal(hello.key_id.at, c->key_id, c->key_id_len);
}

static void fails_as_expected(struct framed_opening *o, const struct opening_case *c)
{
    const struct framed_fault *fault = framed_opening_fault(o);
    uint8_t more[8] = {0};
    struct framed_bytes in = framed_bytes_of(more, sizeof more);
    assert_string_equal(framed_fault_name((enum framed_fault_kind)fault->what), c->fault);
    assert_int_equal(fault->at, c->at);
    for (int i = 0; i < 2; i++) { /* it stays so, and nothing more is consumed */
        assert_int_equal(framed_opening_next(o, &in), c->ends);
        assert_int_equal(framed_opening_end(o), c->ends);
        assert_int_equal(in.len, sizeof more);
        assert_false(framed_opening_has_hello(o));
    }
}

struct drive {
    const struct opening_case *c;
    struct guard *guard;
};

static void run_split(void *ctx, const struct split *split)
{
    const struct drive *d = ctx;
    const struct opening_case *c = d->c;
    struct framed_opening o;
    enum framed_status st = FRAMED_MORE;
    size_t from = 0, left = 0;
    begin(&o, c);
    for (size_t i = 0; i < split->n && st == FRAMED_MORE; from = split->ends[i++]) {
        size_t n = split->ends[i] - from;
        assert_int_equal(framed_opening_next(&o, &(struct framed_bytes){0}), FRAMED_MORE); /* of nothing comes nothing */
        uint8_t *piece = guard_copy(d->guard, c->input + from, n);
        struct framed_bytes in = framed_bytes_of(piece, n);
        st = framed_opening_next(&o, &in);
        assert_ptr_equal(in.at + in.len, piece + n);
        left = in.len + (c->input_len - split->ends[i]);
        if (st == FRAMED_MORE) assert_int_equal(in.len, 0);
        guard_spoil(d->guard, n); /* what it needs of it, it has kept */
    }
    if (st == FRAMED_MORE) {
        if (c->ends == FRAMED_CLOSED || c->ends == FRAMED_TRUNCATED) st = framed_opening_end(&o);
    } else {
        assert_int_not_equal(c->ends, FRAMED_TRUNCATED);
    }
    if (st != c->ends)
        fail_msg("%s, %s: %s, not %s", c->name, split->name, framed_status_name(st), framed_status_name(c->ends));
    if (st == FRAMED_OK) {
        opens_as_expected(&o, c, left);
        assert_int_equal(framed_opening_next(&o, &(struct framed_bytes){0}), FRAMED_OK); /* asked again */
        assert_int_equal(framed_opening_end(&o), FRAMED_CLOSED);
    } else if (st < FRAMED_OK) {
        fails_as_expected(&o, c);
    }
}

static void every_split_of(const char *path, const char *fence)
{
    struct opening_cases cases;
    opening_cases_load(&cases, path, fence);
    for (size_t i = 0; i < cases.n; i++) {
        struct guard guard;
        guard_init(&guard, cases.at[i].input_len);
        splits_each(cases.at[i].input_len, 8, run_split, &(struct drive){&cases.at[i], &guard});
        guard_fini(&guard);
    }
    opening_cases_free(&cases);
}

static void opening_gives_what_every_vector_says_in_every_split(void **state)
{
    (void)state;
    every_split_of(FRAMED_VECTORS "/opening.txt", NULL);
}

static void opening_gives_what_the_examples_of_the_protocol_say_in_every_split(void **state)
{
    (void)state;
    every_split_of(FRAMED_VECTORS "/../PROTOCOL.md", "opening");
}

/* What a HELLO said can be said again, and then means the same. */
static void opening_of_every_vector_that_opens_is_encoded_and_read_again(void **state)
{
    (void)state;
    struct opening_cases cases;
    size_t opened = 0;
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    for (size_t i = 0; i < cases.n; i++) {
        const struct opening_case *c = &cases.at[i];
        struct framed_bytes in = framed_bytes_of(c->input, c->input_len);
        struct framed_opening o;
        struct framed_fault fault;
        uint8_t again[FRAMED_OPENING_MOST];
        size_t n = 0;
        begin(&o, c);
        if (framed_opening_next(&o, &in) != FRAMED_OK || !framed_opening_has_hello(&o)) continue;
        struct framed_hello hello = framed_opening_hello(&o);
        enum framed_side from = c->to_acceptor ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
        assert_int_equal(framed_opening_encode(again, &n, from, o.mode, &hello, &fault), FRAMED_OK);
        struct opening_case second = *c;
        second.input = again;
        second.input_len = n;
        second.rest = 0;
        struct guard guard;
        guard_init(&guard, n);
        splits_each(n, 2, run_split, &(struct drive){&second, &guard});
        guard_fini(&guard);
        opened++;
    }
    assert_true(opened >= 25);
    opening_cases_free(&cases);
}

/* Who asks each time how many bytes are the opening's, and brings no more, has none left over; also when a byte less comes than that. */
static void opening_wants_no_byte_that_is_not_its_own(void **state)
{
    struct opening_cases cases;
    size_t opened = 0;
    (void)state;
    opening_cases_load(&cases, FRAMED_VECTORS "/opening.txt", NULL);
    for (size_t i = 0; i < 2 * cases.n; i++) {
        const struct opening_case *c = &cases.at[i / 2];
        struct framed_opening o;
        size_t at = 0;
        enum framed_status st = FRAMED_MORE;
        begin(&o, c);
        while (st == FRAMED_MORE && at < c->input_len) {
            size_t n = framed_opening_wants(&o), left = c->input_len - at;
            assert_in_range(n, 1, FRAMED_HELLO_MOST + FRAMED_SUM_SIZE);
            if (i % 2 && n > 1) n--;
            if (n > left) n = left;
            struct framed_bytes in = framed_bytes_of(c->input + at, n);
            st = framed_opening_next(&o, &in);
            at += n;
            if (st == FRAMED_OK) assert_int_equal(in.len, o.plain ? 1 : 0); /* a plain connection's byte is its frame's */
        }
        opened += st == FRAMED_OK;
    }
    assert_true(opened >= 50);
    opening_cases_free(&cases);
}

/* ---- what goes out, byte for byte ---- */

static void encodes(enum framed_side from, uint8_t mode, const struct framed_hello *hello, const char *bytes, size_t n)
{
    uint8_t to[FRAMED_OPENING_MOST];
    size_t len = 0;
    struct framed_fault fault;
    assert_int_equal(framed_opening_encode(to, &len, from, mode, hello, &fault), FRAMED_OK);
    assert_int_equal(len, n);
    assert_memory_equal(to, bytes, n);
}

#define ENCODES(from, mode, hello, bytes) encodes(from, mode, hello, bytes, sizeof(bytes) - 1)

static void opening_is_written_as_short_as_it_can_be(void **state)
{
    (void)state;
    struct framed_hello none = {0},
                        absent = {.max_frame = 16u << 20, .max_calls = 128, .window = 256u << 10, .max_message = 16u << 20};
    ENCODES(FRAMED_CONNECTOR, 0x00, &none, "\xf7\x46\x01\x00\0\0\0\0");
    ENCODES(FRAMED_ACCEPTOR, 0x01, &none, "\xf7\x66\x01\x01\0\0\0\0");
    ENCODES(FRAMED_ACCEPTOR, 0x01, &absent, "\xf7\x66\x01\x01\0\0\0\0");
    ENCODES(FRAMED_CONNECTOR, 0x10, &none, "\xf7\x46\x01\x10\0\0\0\x04\x3b\x44\xc1\x92");
    ENCODES(FRAMED_ACCEPTOR, 0x80, &none, "\xf7\x66\x01\x80");                  /* the HELLO comes in the handshake */
    ENCODES(FRAMED_CONNECTOR, 0x80, &none, "\xf7\x46\x01\x80\0\0\0\x02\x04\0"); /* the id must be there */
}

static void opening_writes_every_parameter_in_the_order_of_the_keys(void **state)
{
    (void)state;
    struct framed_hello acceptor = {.max_frame = 0x10000, .max_calls = 10, .window = 0x4000, .max_message = 0x7fffffff};
    struct framed_hello connector = {
        .max_frame = 0x10000, .window = 0x4001, .key_id = framed_bytes_str("alice"), .max_message = 0x20000};
    ENCODES(FRAMED_ACCEPTOR, 0x01, &acceptor,
            "\xf7\x66\x01\x01\0\0\0\x16\x01\x04\0\x01\0\0\x02\x02\0\x0a\x03\x04\0\0\x40\0\x05\x04\x7f\xff\xff\xff");
    ENCODES(FRAMED_CONNECTOR, 0xa1, &connector,
            "\xf7\x46\x01\xa1\0\0\0\x19\x01\x04\0\x01\0\0\x03\x04\0\0\x40\x01\x04\x05"
            "alice\x05\x04\0\x02\0\0");
}

static void is_refused(enum framed_side from, uint8_t mode, struct framed_hello hello, enum framed_fault_kind what,
                       uint8_t key)
{
    uint8_t to[FRAMED_OPENING_MOST] = {0x5a};
    size_t n = 77;
    struct framed_fault fault = {0};
    assert_int_equal(framed_opening_encode(to, &n, from, mode, &hello, &fault), FRAMED_USAGE);
    assert_int_equal(n, 77);
    assert_int_equal(to[0], 0x5a);
    assert_int_equal(fault.what, what);
    assert_int_equal(fault.key, key);
}

static void opening_refuses_to_write_what_may_not_be_sent(void **state)
{
    (void)state;
    static const uint8_t id[65];
    is_refused(FRAMED_CONNECTOR, 0x00, (struct framed_hello){.max_frame = 16383}, FRAMED_FAULT_RANGE, 1);
    is_refused(FRAMED_CONNECTOR, 0x00, (struct framed_hello){.max_frame = 0x80000000}, FRAMED_FAULT_RANGE, 1);
    is_refused(FRAMED_ACCEPTOR, 0x01, (struct framed_hello){.max_calls = 65536}, FRAMED_FAULT_RANGE, 2);
    is_refused(FRAMED_CONNECTOR, 0x01, (struct framed_hello){.max_calls = 1}, FRAMED_FAULT_MISPLACED, 2);
    is_refused(FRAMED_ACCEPTOR, 0x10, (struct framed_hello){.max_calls = 1}, FRAMED_FAULT_MISPLACED, 2);
    is_refused(FRAMED_CONNECTOR, 0x10, (struct framed_hello){.window = 16384}, FRAMED_FAULT_MISPLACED, 3);
    is_refused(FRAMED_CONNECTOR, 0x01, (struct framed_hello){.window = 1}, FRAMED_FAULT_RANGE, 3);
    is_refused(FRAMED_CONNECTOR, 0x90, (struct framed_hello){.key_id = {id, 1}}, FRAMED_FAULT_MISPLACED, 4);
    is_refused(FRAMED_ACCEPTOR, 0x80, (struct framed_hello){.key_id = {id, 1}}, FRAMED_FAULT_MISPLACED, 4);
    is_refused(FRAMED_CONNECTOR, 0x80, (struct framed_hello){.key_id = {id, 65}}, FRAMED_FAULT_SIZE, 4);
    is_refused(FRAMED_CONNECTOR, 0x00, (struct framed_hello){.max_message = 16384}, FRAMED_FAULT_MISPLACED, 5);
    is_refused(FRAMED_CONNECTOR, 0x31, (struct framed_hello){0}, FRAMED_FAULT_MODE, 0);
    is_refused(FRAMED_CONNECTOR, 0x02, (struct framed_hello){0}, FRAMED_FAULT_MODE, 0);
}

static void opening_promises_blake2b_only_with_libsodium(void **state)
{
    (void)state;
    struct framed_opening o;
    struct framed_accept accepts = {.plain = true};
    struct framed_fault fault;
    uint8_t to[FRAMED_OPENING_MOST];
    size_t n = 0;
    assert_int_equal(framed_accept_add(&accepts, 0x21), FRAMED_OK);
#ifdef FRAMED_SODIUM
    const enum framed_status want = FRAMED_OK;
#else
    const enum framed_status want = FRAMED_UNSUPPORTED;
#endif
    assert_int_equal(framed_opening_accept(&o, &accepts), want);
    assert_int_equal(framed_opening_connect(&o, 0x20), want);
    assert_int_equal(framed_opening_encode(to, &n, FRAMED_CONNECTOR, 0x20, &(struct framed_hello){0}, &fault), want);
    assert_int_equal(framed_opening_connect(&o, 0x32), FRAMED_USAGE);
}

/* A handshake's payload is decoded by itself, and may be of any length. */
static void hello_above_96_bytes_is_rejected_by_itself_too(void **state)
{
    (void)state;
    static const uint8_t bytes[300] = {0x80, 94, [96] = 0x81, 0xca};
    struct framed_hello hello = {.max_calls = 7};
    struct framed_fault fault = {0};
    assert_int_equal(framed_hello_decode(framed_bytes_of(bytes, 300), FRAMED_ACCEPTOR, 0x80, &hello, &fault),
                     FRAMED_TOO_LARGE);
    assert_int_equal(framed_hello_decode(framed_bytes_of(bytes, 97), FRAMED_ACCEPTOR, 0x80, &hello, &fault),
                     FRAMED_TOO_LARGE);
    assert_int_equal(fault.what, FRAMED_FAULT_LENGTH);
    assert_int_equal(fault.found, 97);
    assert_int_equal(hello.max_calls, 7);
    assert_int_equal(framed_hello_decode(framed_bytes_of(bytes, 96), FRAMED_ACCEPTOR, 0x80, &hello, &fault), FRAMED_OK);
    assert_int_equal(hello.max_calls, 0);
}

static void hello_has_the_least_values_until_it_has_come(void **state)
{
    (void)state;
    struct framed_hello session = framed_hello_least(FRAMED_ACCEPTOR, 0x11),
                        ordered = framed_hello_least(FRAMED_ACCEPTOR, 0x10);
    assert_int_equal(session.max_frame, 16384);
    assert_int_equal(session.max_calls, 1);
    assert_int_equal(session.window, 16384);
    assert_int_equal(session.max_message, 16384);
    assert_int_equal(ordered.max_frame, 16384);
    assert_int_equal(ordered.max_calls | ordered.window | ordered.max_message, 0);
}

/* ---- what a listener accepts ---- */

static void modes_are_those_of_the_table(void **state)
{
    (void)state;
    size_t n = 0;
    for (unsigned mode = 0; mode < 256; mode++) {
        struct framed_accept accepts = {0};
        bool exists = memchr(all_modes, (int)mode, MODES) != NULL;
        assert_int_equal(framed_mode_exists((uint8_t)mode), exists);
        assert_int_equal(framed_accept_add(&accepts, (uint8_t)mode), exists ? FRAMED_OK : FRAMED_USAGE);
        for (unsigned other = 0; other < 256; other++)
            assert_int_equal(framed_accept_has(&accepts, (uint8_t)other), exists && other == mode);
        n += exists;
    }
    assert_int_equal(n, MODES);
    assert_int_equal(framed_mode(FRAMED_SHARED_AND_PINNED, FRAMED_SESSION), 0xa1);
}

static void accepts_exactly(struct framed_accept accepts, bool plain, const char *modes, size_t n)
{
    assert_int_equal(accepts.plain, plain);
    for (unsigned mode = 0; mode < 256; mode++)
        assert_int_equal(framed_accept_has(&accepts, (uint8_t)mode), memchr(modes, (int)mode, n) != NULL);
}

static void listener_without_keys_accepts_plain_and_what_is_unencrypted(void **state)
{
    (void)state;
    struct framed_accept all = {.plain = true}, ordered = {.with = {0x703}, .plain = true}, none = {0};
    for (size_t i = 0; i < MODES; i++) assert_int_equal(framed_accept_add(&all, all_modes[i]), FRAMED_OK);
    accepts_exactly(framed_accept_default(&all, FRAMED_NO_KEYS), true, "\x00\x01\x10\x11\x20\x21", 6);
    accepts_exactly(framed_accept_default(&ordered, FRAMED_NO_KEYS), true, "\x00\x10", 2); /* only what is built */
    accepts_exactly(framed_accept_default(&none, FRAMED_NO_KEYS), false, "", 0);
}

static void listener_with_keys_accepts_only_what_they_serve_and_nothing_plain(void **state)
{
    (void)state;
    struct framed_accept all = {.plain = true}, none = {.with = {3, 3}, .plain = true};
    for (size_t i = 0; i < MODES; i++) assert_int_equal(framed_accept_add(&all, all_modes[i]), FRAMED_OK);
    accepts_exactly(framed_accept_default(&all, FRAMED_KEYS_SHARED), false, "\x80\x81", 2);
    accepts_exactly(framed_accept_default(&all, FRAMED_KEYS_PINNED), false, "\x90\x91", 2);
    accepts_exactly(framed_accept_default(&all, FRAMED_KEYS_SHARED | FRAMED_KEYS_PINNED), false, "\xa0\xa1", 2);
    accepts_exactly(framed_accept_default(&none, FRAMED_KEYS_SHARED), false, "", 0); /* rather nothing than less */
}

/* ---- words ---- */

static void says(const char *who, const char *hex, const char *want)
{
    struct framed_opening o;
    struct framed_accept accepts = {.plain = true};
    uint8_t bytes[64];
    size_t n = 0;
    for (; hex[2 * n] != '\0'; n++) {
        unsigned byte = 0;
        for (int i = 0; i < 2; i++)
            byte = byte << 4 | (unsigned)(strchr("0123456789abcdef", hex[2 * n + (size_t)i]) - "0123456789abcdef");
        bytes[n] = (uint8_t)byte;
    }
    if (strcmp(who, "connector") == 0) {
        assert_int_equal(framed_opening_connect(&o, 0x11), FRAMED_OK);
    } else {
        accepts.plain = strcmp(who, "mixed") == 0;
        assert_int_equal(framed_accept_add(&accepts, 0x10), FRAMED_OK);
        assert_int_equal(framed_accept_add(&accepts, 0x01), FRAMED_OK);
        assert_int_equal(framed_accept_add(&accepts, 0x80), FRAMED_OK);
        assert_int_equal(framed_opening_accept(&o, &accepts), FRAMED_OK);
    }
    struct framed_bytes in = framed_bytes_of(bytes, n);
    if (framed_opening_next(&o, &in) == FRAMED_MORE) assert_int_equal(framed_opening_end(&o), FRAMED_TRUNCATED);
    char text[FRAMED_FAULT_ROOM];
    framed_fault_say(framed_opening_fault(&o), text, sizeof text);
    assert_string_equal(text, want);
}

static void fault_says_what_was_wrong_where_and_what_was_allowed(void **state)
{
    (void)state;
    says("strict", "47455420",
         "byte 0: no preface, where one must come: 47455420, this looks like HTTP; allowed 01 (no checksum, session), 10 "
         "(crc32c), 80 (a shared key)");
    says("strict", "00000001",
         "byte 0: no preface, where one must come: 00000001; allowed 01 (no checksum, session), 10 (crc32c), 80 (a shared "
         "key)");
    says("connector", "00000001", "byte 0: no preface, where one must come: 00000001; allowed 11 (crc32c, session)");
    says("mixed", "ffffffff",
         "byte 0: neither a length nor a preface: ffffffff; allowed plain frames, 01 (no checksum, session), 10 (crc32c), "
         "80 (a shared key)");
    says("mixed", "f7660101", "byte 1: the preface of the same side, as a mirror sends it: 66; allowed 46");
    says("mixed", "f7460201", "byte 2: a version that is not spoken here: 2; allowed 1");
    says("mixed", "f74601a0",
         "byte 3: a mode that is not accepted here: a0 (both keys); allowed plain frames, 01 (no checksum, session), 10 "
         "(crc32c), 80 (a shared key)");
    says("connector", "f7660101",
         "byte 3: not the mode that was asked for: 01 (no checksum, session); allowed 11 (crc32c, session)");
    says("mixed", "f746011000000065", "byte 4: the length of the HELLO: 101; allowed 4 to 100");
    says("mixed", "f746011000000004deadbeef", "byte 8: the checksum of the HELLO is not that of its bytes: deadbeef");
    says("mixed", "f74601010000000480008000", "byte 10: a key that is not above the one before: 128; allowed 129 to 255");
    says("mixed",
         "f746010100000002"
         "0600",
         "byte 8: an unknown key below 128: 6; allowed 1 3 5");
    says("mixed",
         "f746010100000004"
         "02020001",
         "byte 8: a parameter of another mode or of the other side: max_calls 2; allowed 1 3 5");
    says("mixed",
         "f746010100000004"
         "03020001",
         "byte 9: the size of a parameter: window 2; allowed 4");
    says("mixed",
         "f746010100000004"
         "05040001",
         "byte 9: a parameter behind the end of the HELLO: max_message 4; allowed 0 to 2");
    says("mixed",
         "f746010100000006"
         "010400000064",
         "byte 10: a parameter out of its range: max_frame 100; allowed 16384 to 2147483647");
    says("mixed", "f7460133",
         "byte 3: a mode that is not accepted here: 33; allowed plain frames, 01 (no checksum, session), 10 (crc32c), 80 (a "
         "shared key)");
    says("mixed", "f746018000000000", "byte 8: a parameter that must be there is missing: key id");
    says("mixed", "f74601800000", "byte 6: the stream ended inside the opening");
}

static void fault_of_every_kind_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int what = FRAMED_FAULT_NONE; what <= FRAMED_FAULT_END; what++)
        for (int other = FRAMED_FAULT_NONE; other < what; other++)
            assert_string_not_equal(framed_fault_name((enum framed_fault_kind)what),
                                    framed_fault_name((enum framed_fault_kind)other));
}

static void fault_is_said_within_its_room_however_long(void **state)
{
    (void)state;
    char text[FRAMED_FAULT_ROOM + 1];
    for (int what = FRAMED_FAULT_NONE; what <= FRAMED_FAULT_END; what++) {
        struct framed_fault fault = {.what = (uint8_t)what,
                                     .at = 255,
                                     .key = 5,
                                     .found = 0x0d0a0d0a,
                                     .least = 0xfffffffe,
                                     .most = 0xffffffff,
                                     .accepts = {.with = {0xffff, 0xffff}, .plain = true}};
        memset(text, 'x', sizeof text);
        framed_fault_say(&fault, text, FRAMED_FAULT_ROOM);
        assert_non_null(memchr(text, '\0', FRAMED_FAULT_ROOM - 1)); /* nothing was cut off */
        assert_int_equal(text[FRAMED_FAULT_ROOM], 'x');
        for (size_t room = 1; room <= strlen(text); room++) {
            char cut[FRAMED_FAULT_ROOM];
            memset(cut, 'x', sizeof cut);
            framed_fault_say(&fault, cut, room);
            assert_memory_equal(cut, text, room - 1);
            assert_int_equal(cut[room - 1], '\0');
            assert_int_equal(cut[room], 'x');
        }
    }
}

/* ---- trailers of frames ---- */

/* The frames of the tables of §8.3 whose trailers are these; returns how many there are. */
static size_t sums_are_those_of_the_page(enum framed_protection with)
{
    struct sum_cases cases;
    size_t found = 0;
    sum_cases_load(&cases, FRAMED_VECTORS "/../PROTOCOL.md", "### 8.3 Examples");
    for (size_t i = 0; i < cases.n; i++) {
        const struct sum_case *c = &cases.at[i];
        struct framed_sum_place place = {
            .from = c->from_acceptor ? FRAMED_ACCEPTOR : FRAMED_CONNECTOR, .with = with, .counter = c->counter};
        size_t n = strlen(c->payload), trailer = framed_sum_size(with);
        if (c->frame_len != FRAMED_LENGTH_SIZE + n + trailer) continue; /* another table's */
        const uint8_t word[FRAMED_LENGTH_SIZE] = {0, 0, 0, (uint8_t)(n + trailer)};
        uint8_t frame[sizeof c->payload + FRAMED_SUM_MOST];
        memcpy(frame, c->payload, n);
        assert_int_equal(framed_sum_add(frame, n, &place), FRAMED_OK);
        assert_memory_equal(c->frame, word, sizeof word);
        assert_memory_equal(c->frame + sizeof word, frame, n + trailer);
        found++;
    }
    sum_cases_free(&cases);
    return found;
}

static void sum_is_that_of_the_examples(void **state)
{
    (void)state;
    assert_int_equal(sums_are_those_of_the_page(FRAMED_CRC32C), 4);
}

#ifdef FRAMED_SODIUM
static void blake2b_is_that_of_the_examples(void **state)
{
    (void)state;
    every_split_of(FRAMED_VECTORS "/../PROTOCOL.md", "opening-blake2b");
    assert_int_equal(sums_are_those_of_the_page(FRAMED_BLAKE2B), 3);
}

static void blake2b_comes_in_pieces_and_rejects_flipped_bits(void **state)
{
    (void)state;
    for (int from = 0; from < 2; from++) {
        uint8_t frame[5 + FRAMED_SUM_MOST] = "hello";
        struct framed_sum_place place = {.from = (enum framed_side)from, .with = FRAMED_BLAKE2B, .counter = 1};
        assert_int_equal(framed_sum_add(frame, 5, &place), FRAMED_OK);
        for (size_t bit = 0; bit < 8 * sizeof frame; bit++) {
            struct framed_bytes payload = framed_bytes_of(frame, sizeof frame);
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(framed_sum_check(&payload, &place), FRAMED_MALFORMED);
            frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_int_equal(framed_sum_check(&payload, &place), FRAMED_OK);
            assert_int_equal(payload.len, 5);
        }
        for (size_t cut = 0; cut <= 5; cut++) {
            struct framed_sum sum;
            uint8_t trailer[FRAMED_SUM_MOST];
            framed_sum_begin(&sum, 5, &place);
            framed_sum_more(&sum, frame, cut);
            framed_sum_more(&sum, frame + cut, 5 - cut);
            framed_sum_end(&sum, trailer);
            assert_memory_equal(trailer, frame + 5, FRAMED_SUM_MOST);
        }
    }
}
#endif

static void sum_goes_round_for_every_length_and_no_further_than_the_frame(void **state)
{
    (void)state;
    struct guard guard;
    guard_init(&guard, 304);
    for (size_t n = 0; n <= 300; n++) {
        uint8_t *frame = guard_take(&guard, n + FRAMED_SUM_SIZE);
        struct framed_sum_place place = {.from = FRAMED_ACCEPTOR, .counter = 0x0102030405060708 + n};
        for (size_t i = 0; i < n; i++) frame[i] = (uint8_t)(i * 7 + n);
        assert_int_equal(framed_sum_add(frame, n, &place), FRAMED_OK);
        struct framed_bytes payload = framed_bytes_of(frame, n + FRAMED_SUM_SIZE);
        assert_int_equal(framed_sum_check(&payload, &place), FRAMED_OK);
        assert_ptr_equal(payload.at, frame);
        assert_int_equal(payload.len, n);
    }
    guard_fini(&guard);
}

static void is_rejected(const uint8_t *frame, size_t n, struct framed_sum_place place)
{
    struct framed_bytes payload = framed_bytes_of(frame, n);
    assert_int_equal(framed_sum_check(&payload, &place), FRAMED_MALFORMED);
    assert_ptr_equal(payload.at, frame);
    assert_int_equal(payload.len, n);
}

static void sum_rejects_flipped_bits_and_frames_that_are_lost_doubled_or_sent_back(void **state)
{
    (void)state;
    static const uint8_t preface[] = {0xf7, 0x46, 0x01, 0x10};
    uint8_t frame[40 + FRAMED_SUM_SIZE] = "a frame of forty bytes, or thereabouts";
    struct framed_sum_place place = {.from = FRAMED_CONNECTOR, .counter = 0x100000000};
    assert_int_equal(framed_sum_add(frame, 40, &place), FRAMED_OK);
    for (size_t bit = 0; bit < sizeof frame * 8; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        is_rejected(frame, sizeof frame, place);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 64; bit++)
        is_rejected(frame, sizeof frame,
                    (struct framed_sum_place){.from = FRAMED_CONNECTOR, .counter = place.counter ^ (uint64_t)1 << bit});
    is_rejected(frame, sizeof frame, (struct framed_sum_place){.from = FRAMED_ACCEPTOR, .counter = place.counter});
    is_rejected(frame, sizeof frame, (struct framed_sum_place){.counter = place.counter, .preface = preface});
    is_rejected(frame, sizeof frame - 1, place);
    for (size_t n = 0; n < FRAMED_SUM_SIZE; n++) is_rejected(frame, n, place); /* shorter than a trailer */
}

static void sum_refuses_a_frame_that_no_length_word_can_say(void **state)
{
    (void)state;
    uint8_t byte = 7;
    struct framed_sum_place place = {.counter = 1};
    assert_int_equal(framed_sum_add(&byte, FRAMED_FRAME_MOST - 3, &place), FRAMED_TOO_LARGE);
    assert_int_equal(framed_sum_add(&byte, SIZE_MAX, &place), FRAMED_TOO_LARGE);
    assert_int_equal(byte, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_gives_what_every_vector_says_in_every_split),
        cmocka_unit_test(opening_gives_what_the_examples_of_the_protocol_say_in_every_split),
        cmocka_unit_test(opening_of_every_vector_that_opens_is_encoded_and_read_again),
        cmocka_unit_test(opening_wants_no_byte_that_is_not_its_own),
        cmocka_unit_test(opening_is_written_as_short_as_it_can_be),
        cmocka_unit_test(opening_writes_every_parameter_in_the_order_of_the_keys),
        cmocka_unit_test(opening_refuses_to_write_what_may_not_be_sent),
        cmocka_unit_test(opening_promises_blake2b_only_with_libsodium),
        cmocka_unit_test(hello_above_96_bytes_is_rejected_by_itself_too),
        cmocka_unit_test(hello_has_the_least_values_until_it_has_come),
        cmocka_unit_test(modes_are_those_of_the_table),
        cmocka_unit_test(listener_without_keys_accepts_plain_and_what_is_unencrypted),
        cmocka_unit_test(listener_with_keys_accepts_only_what_they_serve_and_nothing_plain),
        cmocka_unit_test(fault_says_what_was_wrong_where_and_what_was_allowed),
        cmocka_unit_test(fault_of_every_kind_has_a_name_of_its_own),
        cmocka_unit_test(fault_is_said_within_its_room_however_long),
        cmocka_unit_test(sum_is_that_of_the_examples),
#ifdef FRAMED_SODIUM
        cmocka_unit_test(blake2b_is_that_of_the_examples),
        cmocka_unit_test(blake2b_comes_in_pieces_and_rejects_flipped_bits),
#endif
        cmocka_unit_test(sum_goes_round_for_every_length_and_no_further_than_the_frame),
        cmocka_unit_test(sum_rejects_flipped_bits_and_frames_that_are_lost_doubled_or_sent_back),
        cmocka_unit_test(sum_refuses_a_frame_that_no_length_word_can_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
