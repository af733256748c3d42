/*
 * test_tool_input.c: standard input cut into messages (src/cli/input.c), at every place where a read may end.
 * Must not know descriptors.
 * Invariant: each case is run in one read, byte by byte, and in two reads with the cut at every place.
 */
#include "cli/input.h"
#include "meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_MESSAGES = 8, LONGEST = 64 };

struct expected {
    size_t n;
    struct {
        const char *at;
        size_t len;
    } message[MOST_MESSAGES];
    enum framed_status end;
};

#define M(text)                                                                                                             \
    {                                                                                                                       \
        text, sizeof text - 1                                                                                               \
    }

static void feed(struct cli_input *in, const char *at, size_t n)
{
    size_t room;
    uint8_t *to = framed_input_room(in, &room);
    assert_true(n <= room);
    if (n > 0) memcpy(to, at, n);
    if (n > 0) framed_input_filled(in, n);
}

/* Reads the text in pieces: up to `first` bytes, then `step` at a time. */
static void run_cut(enum cli_input_mode mode, const char *text, size_t len, size_t first, size_t step,
                    const struct expected *e)
{
    struct meter meter;
    struct cli_input in;
    meter_init(&meter);
    assert_int_equal(framed_input_init(&in, mode, LONGEST, &meter.allocator), FRAMED_OK);
    size_t at = 0, seen = 0, next = first;
    enum framed_status st;
    for (;;) {
        struct framed_bytes message;
        st = framed_input_next(&in, &message);
        if (st == FRAMED_OK) {
            assert_true(seen < e->n);
            assert_int_equal(message.len, e->message[seen].len);
            assert_true(message.len == 0 || memcmp(message.at, e->message[seen].at, message.len) == 0);
            seen++;
        } else if (st == FRAMED_MORE) {
            size_t n = next < len - at ? next : len - at;
            if (at == len)
                framed_input_end(&in);
            else
                feed(&in, text + at, n);
            at += n;
            next = step;
        } else {
            break;
        }
    }
    assert_int_equal(st, e->end);
    assert_int_equal(seen, e->n);
    framed_input_fini(&in);
    meter_fini(&meter);
}

static void run(enum cli_input_mode mode, const char *text, size_t len, const struct expected *e)
{
    run_cut(mode, text, len, len, len, e);
    run_cut(mode, text, len, 1, 1, e);
    for (size_t cut = 1; cut < len; cut++) run_cut(mode, text, len, cut, len, e);
}

#define RUN(mode, text, ...) run(mode, text, sizeof text - 1, &(const struct expected){__VA_ARGS__})

static void lines_are_messages_without_their_newline(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "one\ntwo\n", 2, {M("one"), M("two")}, FRAMED_CLOSED);
}

static void last_line_counts_without_newline(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "one\ntwo", 2, {M("one"), M("two")}, FRAMED_CLOSED);
}

static void empty_lines_are_empty_messages(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "\n\nx\n\n", 4, {M(""), M(""), M("x"), M("")}, FRAMED_CLOSED);
}

static void empty_input_is_no_line(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "", 0, {{0}}, FRAMED_CLOSED);
    RUN(INPUT_NULL, "", 0, {{0}}, FRAMED_CLOSED);
    RUN(INPUT_FRAMED, "", 0, {{0}}, FRAMED_CLOSED);
}

static void carriage_returns_and_zero_bytes_stay_in_lines(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "a\r\n\0b\0\n", 2, {M("a\r"), M("\0b\0")}, FRAMED_CLOSED);
}

static void zero_bytes_end_messages_and_newlines_stay(void **state)
{
    (void)state;
    RUN(INPUT_NULL, "a\nb\0\0c", 3, {M("a\nb"), M(""), M("c")}, FRAMED_CLOSED);
}

static void whole_input_is_one_message(void **state)
{
    (void)state;
    RUN(INPUT_WHOLE, "a\nb\0c\n", 1, {M("a\nb\0c\n")}, FRAMED_CLOSED);
}

static void empty_input_is_one_empty_message_when_taken_whole(void **state)
{
    (void)state;
    RUN(INPUT_WHOLE, "", 1, {M("")}, FRAMED_CLOSED);
}

static void frames_are_taken_out_of_their_frames(void **state)
{
    (void)state;
    RUN(INPUT_FRAMED, "\0\0\0\3a\nb\0\0\0\0\0\0\0\1\0", 3, {M("a\nb"), M(""), M("\0")}, FRAMED_CLOSED);
}

static void frame_cut_by_the_end_is_truncated(void **state)
{
    (void)state;
    RUN(INPUT_FRAMED, "\0\0\0\1x\0\0\0\3ab", 1, {M("x")}, FRAMED_TRUNCATED);
    RUN(INPUT_FRAMED, "\0\0\0", 0, {{0}}, FRAMED_TRUNCATED);
}

#define TEN   "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static void message_of_exactly_the_limit_passes(void **state)
{
    (void)state;
    RUN(INPUT_LINES, SIXTY "0123\nx", 2, {M(SIXTY "0123"), M("x")}, FRAMED_CLOSED);
    RUN(INPUT_WHOLE, SIXTY "0123", 1, {M(SIXTY "0123")}, FRAMED_CLOSED);
    RUN(INPUT_FRAMED, "\0\0\0\100" SIXTY "0123", 1, {M(SIXTY "0123")}, FRAMED_CLOSED);
}

static void message_above_the_limit_is_refused(void **state)
{
    (void)state;
    RUN(INPUT_LINES, "ok\n" SIXTY "01234\n", 1, {M("ok")}, FRAMED_TOO_LARGE);
    RUN(INPUT_LINES, SIXTY "01234", 0, {{0}}, FRAMED_TOO_LARGE);
    RUN(INPUT_NULL, SIXTY TEN, 0, {{0}}, FRAMED_TOO_LARGE);
    RUN(INPUT_WHOLE, SIXTY "01234", 0, {{0}}, FRAMED_TOO_LARGE);
    RUN(INPUT_FRAMED, "\0\0\0\101" SIXTY "01234", 0, {{0}}, FRAMED_TOO_LARGE);
}

/* Feeds one text and takes messages until there is no more; TOO_LARGE must be the end. */
static uint64_t claimed(enum cli_input_mode mode, const char *text, size_t len, bool *exact)
{
    struct meter meter;
    struct cli_input in;
    struct framed_bytes message;
    enum framed_status st;
    meter_init(&meter);
    assert_int_equal(framed_input_init(&in, mode, LONGEST, &meter.allocator), FRAMED_OK);
    feed(&in, text, len);
    while ((st = framed_input_next(&in, &message)) == FRAMED_OK) continue;
    assert_int_equal(st, FRAMED_TOO_LARGE);
    uint64_t n = framed_input_claimed(&in, exact);
    framed_input_fini(&in);
    meter_fini(&meter);
    return n;
}

#define CLAIMED(mode, text) claimed(mode, text, sizeof text - 1, &exact)

static void refused_message_tells_its_length(void **state)
{
    (void)state;
    bool exact;
    assert_int_equal(CLAIMED(INPUT_LINES, "x\n" SIXTY TEN "\nyyyy"), 70);
    assert_true(exact);
    assert_int_equal(CLAIMED(INPUT_LINES, "x\n" SIXTY TEN "yyyy"), 74);
    assert_false(exact);
    assert_int_equal(CLAIMED(INPUT_WHOLE, SIXTY TEN), 70);
    assert_false(exact);
    assert_int_equal(CLAIMED(INPUT_FRAMED, "\0\0\1\0x"), 256);
    assert_true(exact);
}

static void no_memory_is_reported_at_every_allocation(void **state)
{
    (void)state;
    static const enum cli_input_mode modes[] = {INPUT_LINES, INPUT_WHOLE, INPUT_FRAMED};
    static const char text[] = "\0\0\0\12ab";
    for (size_t m = 0; m < 3; m++) {
        uint64_t n = 0;
        for (bool reached = true; reached;) {
            struct meter meter;
            struct cli_input in;
            struct framed_bytes message;
            meter_init(&meter);
            meter_fail_at(&meter, ++n, METER_ONCE);
            enum framed_status st = framed_input_init(&in, modes[m], LONGEST, &meter.allocator);
            for (size_t i = 0; st == FRAMED_OK && i + 1 < sizeof text; i++) {
                feed(&in, text + i, 1);
                st = framed_input_next(&in, &message);
                if (st == FRAMED_MORE) st = FRAMED_OK;
            }
            reached = meter_reached(&meter) > 0;
            assert_int_equal(st, reached ? FRAMED_NOMEM : FRAMED_OK);
            framed_input_fini(&in);
            meter_fini(&meter);
        }
        assert_true(n > 2); /* the chunk, and at least one piece */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_messages_without_their_newline),
        cmocka_unit_test(last_line_counts_without_newline),
        cmocka_unit_test(empty_lines_are_empty_messages),
        cmocka_unit_test(empty_input_is_no_line),
        cmocka_unit_test(carriage_returns_and_zero_bytes_stay_in_lines),
        cmocka_unit_test(zero_bytes_end_messages_and_newlines_stay),
        cmocka_unit_test(whole_input_is_one_message),
        cmocka_unit_test(empty_input_is_one_empty_message_when_taken_whole),
        cmocka_unit_test(frames_are_taken_out_of_their_frames),
        cmocka_unit_test(frame_cut_by_the_end_is_truncated),
        cmocka_unit_test(message_of_exactly_the_limit_passes),
        cmocka_unit_test(message_above_the_limit_is_refused),
        cmocka_unit_test(refused_message_tells_its_length),
        cmocka_unit_test(no_memory_is_reported_at_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
