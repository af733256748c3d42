/*
 * test_length.c: one length word: written, read, and recognised when it is none (PROTOCOL.md §2.1-2.3, §2.8).
 * Must not know how; words.c goes through all 2^32 of them.
 * Invariant: bytes and numbers are written out by hand.
 */
#include <framed/frame.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    uint8_t word[4];
    uint32_t len;
} lengths[] = {
    {{0x00, 0x00, 0x00, 0x00}, 0},        {{0x00, 0x00, 0x00, 0x01}, 1},          {{0x00, 0x00, 0x00, 0xff}, 255},
    {{0x00, 0x00, 0x01, 0x00}, 256},      {{0x00, 0x01, 0x86, 0x9f}, 99999},      {{0x01, 0x00, 0x00, 0x00}, 16777216},
    {{0x01, 0x02, 0x03, 0x04}, 16909060}, {{0x7f, 0xff, 0xff, 0xff}, 2147483647},
};

static void length_encodes_big_endian(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t word[6] = {0xee, 0xee, 0xee, 0xee, 0xee, 0xee};
        assert_int_equal(framed_length_encode(word + 1, lengths[i].len, FRAMED_FRAME_MOST), FRAMED_OK);
        assert_memory_equal(word + 1, lengths[i].word, 4);
        assert_int_equal(word[0], 0xee);
        assert_int_equal(word[5], 0xee);
    }
}

static void length_decodes_big_endian(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint32_t len = 4711;
        assert_int_equal(framed_length_decode(lengths[i].word, FRAMED_FRAME_MOST, &len), FRAMED_OK);
        assert_int_equal(len, lengths[i].len);
    }
}

static void length_encode_refuses_more_than_the_limit_and_writes_nothing(void **state)
{
    (void)state;
    static const uint8_t before[4] = {1, 2, 3, 4};
    uint8_t word[4] = {1, 2, 3, 4};
    assert_int_equal(framed_length_encode(word, 17, 16), FRAMED_TOO_LARGE);
    assert_int_equal(framed_length_encode(word, 1, 0), FRAMED_TOO_LARGE);
    assert_memory_equal(word, before, 4);
    assert_int_equal(framed_length_encode(word, 16, 16), FRAMED_OK);
    assert_int_equal(framed_length_encode(word, 0, 0), FRAMED_OK);
}

static void length_encode_refuses_what_no_word_can_say_whatever_the_limit(void **state)
{
    (void)state;
    static const uint8_t before[4] = {1, 2, 3, 4};
    uint8_t word[4] = {1, 2, 3, 4};
    assert_int_equal(framed_length_encode(word, 0x80000000u, UINT32_MAX), FRAMED_TOO_LARGE);
    assert_int_equal(framed_length_encode(word, UINT32_MAX, UINT32_MAX), FRAMED_TOO_LARGE);
    assert_int_equal(framed_length_encode(word, SIZE_MAX, UINT32_MAX), FRAMED_TOO_LARGE);
#if SIZE_MAX > UINT32_MAX
    assert_int_equal(framed_length_encode(word, (size_t)1 << 32, UINT32_MAX), FRAMED_TOO_LARGE); /* whose low part is 0 */
    assert_int_equal(framed_length_encode(word, ((size_t)1 << 40) + 5, 16), FRAMED_TOO_LARGE);
#endif
    assert_memory_equal(word, before, 4);
}

static void length_decode_rejects_more_than_the_limit_and_says_nothing(void **state)
{
    (void)state;
    static const uint8_t seventeen[4] = {0, 0, 0, 17}, top_bit[4] = {0x80, 0, 0, 0}, all_bits[4] = {0xff, 0xff, 0xff, 0xff};
    uint32_t len = 4711;
    assert_int_equal(framed_length_decode(seventeen, 16, &len), FRAMED_TOO_LARGE);
    assert_int_equal(framed_length_decode(top_bit, UINT32_MAX, &len), FRAMED_TOO_LARGE);
    assert_int_equal(framed_length_decode(all_bits, UINT32_MAX, &len), FRAMED_TOO_LARGE);
    assert_int_equal(len, 4711);
    assert_int_equal(framed_length_decode(seventeen, 17, &len), FRAMED_OK);
}

static uint32_t word_of(const char text[4])
{
    const uint8_t *at = (const uint8_t *)text;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void hint_names_other_protocols_by_their_first_four_bytes(void **state)
{
    (void)state;
    static const char http[][5] = {"GET ", "POST", "HTTP", "HEAD", "PUT ", "DELE", "OPTI", "PATC", "CONN", "PRI "};
    for (size_t i = 0; i < sizeof http / sizeof *http; i++)
        assert_string_equal(framed_length_hint(word_of(http[i])), "HTTP");
    for (uint32_t minor = 0; minor <= 4; minor++)
        assert_string_equal(framed_length_hint(0x16030000u | minor << 8 | 0x37), "TLS");
    assert_string_equal(framed_length_hint(word_of("SSH-")), "SSH");
    assert_string_equal(framed_length_hint(word_of("PROX")), "the PROXY protocol");
    assert_string_equal(framed_length_hint(0x0d0a0d0a), "the PROXY protocol");
    for (uint32_t mode = 0; mode < 256; mode++)
        for (uint32_t side = 0; side <= 0x00200000; side += 0x00200000) /* a connector's preface, a listener's */
            assert_string_equal(framed_length_hint(0xf7460100u | side | mode), "an extended framed connection");
}

static void hint_names_a_length_written_backwards(void **state)
{
    (void)state;
    static const uint32_t backwards[] = {0x01000000, 0x05000000, 0xff000000, 0x00010000, 0x00ff0000, 0xffff0000, 0x80000000};
    for (size_t i = 0; i < sizeof backwards / sizeof *backwards; i++)
        assert_string_equal(framed_length_hint(backwards[i]), "a little-endian length");
}

static void hint_names_text(void **state)
{
    (void)state;
    static const char text[][5] = {"EHLO", "HELO", "USER", "220 ", "{\"a\"", "~~~~", "    ", "a\r\n\t", "get ", "\n\n\n\n"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        assert_string_equal(framed_length_hint(word_of(text[i])), "text");
}

static void hint_is_silent_about_everything_else(void **state)
{
    (void)state;
    static const uint32_t words[] = {0xffffffff, 0x80000001, 0x16030500, 0x16040100, 0x15030100, 0xf7460200,
                                     0xf7660200, 0x7f7f7f7f, 0x41424300, 0x41421f43, 0x4142430b, 0xe9e9e9e9,
                                     0x00000000, 0x00000100, 0x01000100, 0x0d0a0d00};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *hint = framed_length_hint(words[i]);
        if (hint != NULL) fail_msg("%08x is taken for %s", (unsigned)words[i], hint);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(length_encodes_big_endian),
        cmocka_unit_test(length_decodes_big_endian),
        cmocka_unit_test(length_encode_refuses_more_than_the_limit_and_writes_nothing),
        cmocka_unit_test(length_encode_refuses_what_no_word_can_say_whatever_the_limit),
        cmocka_unit_test(length_decode_rejects_more_than_the_limit_and_says_nothing),
        cmocka_unit_test(hint_names_other_protocols_by_their_first_four_bytes),
        cmocka_unit_test(hint_names_a_length_written_backwards),
        cmocka_unit_test(hint_names_text),
        cmocka_unit_test(hint_is_silent_about_everything_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
