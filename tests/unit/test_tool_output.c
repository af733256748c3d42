/*
 * test_tool_output.c: the tool's output formats (src/cli/output.c).
 * Must not know descriptors.
 * Invariant: what is compared is what reached the sink, whole.
 */
#include "cli/output.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    uint8_t at[1 << 20];
    size_t len;
    unsigned calls;
    enum framed_status answer;
} sunk;

static enum framed_status sink(void *ctx, const uint8_t *at, size_t n)
{
    assert_ptr_equal(ctx, &sunk);
    sunk.calls++;
    if (sunk.answer != FRAMED_OK) return sunk.answer;
    assert_true(n <= sizeof sunk.at - sunk.len);
    memcpy(sunk.at + sunk.len, at, n);
    sunk.len += n;
    return FRAMED_OK;
}

static struct cli_output out;

static void begin(enum cli_format format)
{
    sunk.len = 0;
    sunk.calls = 0;
    sunk.answer = FRAMED_OK;
    framed_output_init(&out, format, sink, &sunk);
}

static enum framed_status put(struct framed_bytes payload)
{
    return framed_output_result(&out, &(struct cli_result){.seq = 1, .outcome = "reply", .payload = payload});
}

static void sank(const char *text, size_t len)
{
    assert_int_equal(framed_output_flush(&out), FRAMED_OK);
    if (sunk.len != len || memcmp(sunk.at, text, len) != 0)
        fail_msg("got %.*s, not %s", (int)sunk.len, (char *)sunk.at, text);
}

static void writes(enum cli_format format, const char *payload, size_t n, const char *text, size_t len)
{
    begin(format);
    assert_int_equal(put(framed_bytes_of(payload, n)), FRAMED_OK);
    sank(text, len);
}

#define WRITES(format, payload, text) writes(format, payload, sizeof payload - 1, text, sizeof text - 1)

static void text_is_printed_as_it_is_and_ended_by_a_newline(void **state)
{
    (void)state;
    WRITES(FORMAT_TEXT, "hello, \"w\"", "hello, \"w\"\n");
    WRITES(FORMAT_TEXT, "", "\n");
    WRITES(FORMAT_TEXT, "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n");
}

static void text_escapes_controls_and_backslashes(void **state)
{
    (void)state;
    WRITES(FORMAT_TEXT, "a\nb\rc\td\\e\0f", "a\\nb\\rc\\td\\\\e\\x00f\n");
    WRITES(FORMAT_TEXT, "\x1b[2J\x7f", "\\x1b[2J\\x7f\n");
    WRITES(FORMAT_TEXT, "\xc2\x9b", "\\xc2\\x9b\n"); /* CSI as a C1 control */
    WRITES(FORMAT_TEXT, "\xc2\xa0", "\xc2\xa0\n");
}

static void text_escapes_what_is_not_utf8(void **state)
{
    (void)state;
    WRITES(FORMAT_TEXT, "a\xffz", "a\\xffz\n");
    WRITES(FORMAT_TEXT, "\xc3", "\\xc3\n");                            /* cut */
    WRITES(FORMAT_TEXT, "\xc0\xaf", "\\xc0\\xaf\n");                   /* overlong */
    WRITES(FORMAT_TEXT, "\xed\xa0\x80", "\\xed\\xa0\\x80\n");          /* surrogate */
    WRITES(FORMAT_TEXT, "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80\n"); /* above U+10FFFF */
}

static void hex_has_two_digits_a_byte(void **state)
{
    (void)state;
    WRITES(FORMAT_HEX, "\x00\x0f\xf0\xff", "000ff0ff\n");
    WRITES(FORMAT_HEX, "", "\n");
}

static void raw_is_the_bytes_alone(void **state)
{
    (void)state;
    WRITES(FORMAT_RAW, "a\0\n\xff", "a\0\n\xff");
    WRITES(FORMAT_RAW, "", "");
}

static void lines_and_zero_bytes_end_what_is_otherwise_exact(void **state)
{
    (void)state;
    WRITES(FORMAT_LINE, "a\0\xff", "a\0\xff\n");
    WRITES(FORMAT_NUL, "a\n\xff", "a\n\xff\0");
}

static void frames_have_their_length(void **state)
{
    (void)state;
    WRITES(FORMAT_FRAMED, "abc", "\0\0\0\3abc");
    WRITES(FORMAT_FRAMED, "", "\0\0\0\0");
}

#define JSON(rest) "{\"schema\":\"framed.call/1\",\"seq\":1,\"outcome\":\"reply\"," rest "}\n"

static void json_holds_text_when_it_is_utf8(void **state)
{
    (void)state;
    WRITES(FORMAT_JSON, "hello", JSON("\"len\":5,\"text\":\"hello\""));
    WRITES(FORMAT_JSON, "", JSON("\"len\":0,\"text\":\"\""));
    WRITES(FORMAT_JSON, "\"\\\n\x1f\x7f", JSON("\"len\":5,\"text\":\"\\\"\\\\\\u000a\\u001f\\u007f\""));
    WRITES(FORMAT_JSON, "\xc3\xa9\xc2\x85", JSON("\"len\":4,\"text\":\"\xc3\xa9\\u0085\""));
    WRITES(FORMAT_JSON, "a\0b", JSON("\"len\":3,\"text\":\"a\\u0000b\""));
}

static void json_holds_base64_when_it_is_not(void **state)
{
    (void)state;
    WRITES(FORMAT_JSON, "\xff", JSON("\"len\":1,\"base64\":\"/w==\""));
    WRITES(FORMAT_JSON, "\xff\xfe", JSON("\"len\":2,\"base64\":\"//4=\""));
    WRITES(FORMAT_JSON, "\xff\xfe\xfd", JSON("\"len\":3,\"base64\":\"//79\""));
    WRITES(FORMAT_JSON, "\x00\x10\x83\x10\x51\x87\x20\x92\x8b", JSON("\"len\":9,\"base64\":\"ABCDEFGHIJKL\""));
}

static void json_holds_time_and_failures(void **state)
{
    (void)state;
    begin(FORMAT_JSON);
    framed_output_result(
        &out,
        &(struct cli_result){
            .seq = 7, .outcome = "reply", .payload = framed_bytes_str("x"), .timed = true, .rtt_ns = UINT64_C(12345678901)});
    framed_output_result(&out, &(struct cli_result){.seq = 8, .outcome = "not_executed", .error = "it \"broke\""});
    static const char expected[] =
        "{\"schema\":\"framed.call/1\",\"seq\":7,\"outcome\":\"reply\",\"len\":1,\"text\":\"x\",\"rtt_ns\":12345678901}\n"
        "{\"schema\":\"framed.call/1\",\"seq\":8,\"outcome\":\"not_executed\",\"error\":\"it \\\"broke\\\"\"}\n";
    sank(expected, sizeof expected - 1);
}

static void failures_print_nothing_but_in_json(void **state)
{
    (void)state;
    for (int format = FORMAT_TEXT; format <= FORMAT_NUL; format++) {
        if (format == FORMAT_JSON) continue;
        begin((enum cli_format)format);
        framed_output_result(&out, &(struct cli_result){.seq = 8, .outcome = "not_executed", .error = "why"});
        sank("", 0);
    }
}

static void large_payloads_arrive_whole_and_in_order(void **state)
{
    (void)state;
    static uint8_t big[100000];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (uint8_t)(i * 7 + i / 251);
    begin(FORMAT_RAW);
    put(framed_bytes_str("before"));
    put(framed_bytes_of(big, sizeof big));
    put(framed_bytes_str("after"));
    framed_output_flush(&out);
    assert_int_equal(sunk.len, 6 + sizeof big + 5);
    assert_memory_equal(sunk.at, "before", 6);
    assert_memory_equal(sunk.at + 6, big, sizeof big);
    assert_memory_equal(sunk.at + 6 + sizeof big, "after", 5);

    begin(FORMAT_HEX); /* byte by byte through the buffer's end */
    put(framed_bytes_of(big, sizeof big));
    framed_output_flush(&out);
    assert_int_equal(sunk.len, 2 * sizeof big + 1);
    for (size_t i = 0; i < sizeof big; i++) {
        static const char digits[] = "0123456789abcdef";
        assert_int_equal(sunk.at[2 * i], digits[big[i] >> 4]);
        assert_int_equal(sunk.at[2 * i + 1], digits[big[i] & 15]);
    }
}

static void sink_that_failed_is_not_asked_again(void **state)
{
    (void)state;
    begin(FORMAT_RAW);
    put(framed_bytes_str("x"));
    sunk.answer = FRAMED_OS;
    assert_int_equal(framed_output_flush(&out), FRAMED_OS);
    assert_int_equal(sunk.calls, 1);
    sunk.answer = FRAMED_OK;
    static uint8_t big[100000];
    assert_int_equal(put(framed_bytes_of(big, sizeof big)), FRAMED_OS);
    assert_int_equal(put(framed_bytes_str("y")), FRAMED_OS);
    assert_int_equal(framed_output_flush(&out), FRAMED_OS);
    assert_int_equal(sunk.calls, 1);
}

static void nothing_reaches_the_sink_before_a_flush_or_a_full_buffer(void **state)
{
    (void)state;
    begin(FORMAT_LINE);
    put(framed_bytes_str("x"));
    assert_int_equal(sunk.calls, 0);
    framed_output_flush(&out);
    assert_int_equal(sunk.calls, 1);
    framed_output_flush(&out);
    assert_int_equal(sunk.calls, 1);
}

/* The definition, by decoding: RFC 3629 as code points, for every sequence of one to four bytes that matters. */
static size_t decoded(const uint8_t *at, size_t n)
{
    size_t len = at[0] < 0x80 ? 1 : (at[0] & 0xe0) == 0xc0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : (at[0] & 0xf8) == 0xf0 ? 4 : 0;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (len == 0 || len > n) return 0;
    uint32_t point = len == 1 ? at[0] : at[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
        point = point << 6 | (at[i] & 0x3f);
    }
    if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
    return len;
}

static void utf8_is_told_as_the_standard_defines_it(void **state)
{
    (void)state;
    static const uint8_t third[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (size_t c = 0; c < sizeof third; c++)
                for (size_t d = 0; d < sizeof third; d++)
                    for (size_t n = 1; n <= 4; n++) {
                        uint8_t bytes[4] = {(uint8_t)a, (uint8_t)b, third[c], third[d]};
                        if (framed_utf8_sequence(bytes, n) != decoded(bytes, n))
                            fail_msg("%02x %02x %02x %02x, %zu of them", a, b, third[c], third[d], n);
                    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_printed_as_it_is_and_ended_by_a_newline),
        cmocka_unit_test(text_escapes_controls_and_backslashes),
        cmocka_unit_test(text_escapes_what_is_not_utf8),
        cmocka_unit_test(hex_has_two_digits_a_byte),
        cmocka_unit_test(raw_is_the_bytes_alone),
        cmocka_unit_test(lines_and_zero_bytes_end_what_is_otherwise_exact),
        cmocka_unit_test(frames_have_their_length),
        cmocka_unit_test(json_holds_text_when_it_is_utf8),
        cmocka_unit_test(json_holds_base64_when_it_is_not),
        cmocka_unit_test(json_holds_time_and_failures),
        cmocka_unit_test(failures_print_nothing_but_in_json),
        cmocka_unit_test(large_payloads_arrive_whole_and_in_order),
        cmocka_unit_test(sink_that_failed_is_not_asked_again),
        cmocka_unit_test(nothing_reaches_the_sink_before_a_flush_or_a_full_buffer),
        cmocka_unit_test(utf8_is_told_as_the_standard_defines_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
