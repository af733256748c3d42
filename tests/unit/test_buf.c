/*
 * test_buf.c: bytes with an owner and a ceiling, and the small helpers of base.h.
 * Must not know how a buffer chooses its capacity, only what that may cost.
 * Invariant: every buffer allocates from a meter that saw no leak and no misuse.
 */
#include "meter.h"
#include <framed/base.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void buf_appends_copies(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_buf buf = {0};
    char text[] = "abc";
    meter_init(&meter);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str(text), 100, &meter.allocator), FRAMED_OK);
    text[0] = 'x';
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str("defg"), 100, &meter.allocator), FRAMED_OK);
    assert_int_equal(buf.len, 7);
    assert_memory_equal(buf.at, "abcdefg", 7);
    framed_buf_fini(&buf, &meter.allocator);
    assert_null(buf.at);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf.cap, 0);
    framed_buf_fini(&buf, &meter.allocator); /* an empty one has nothing to free */
    meter_fini(&meter);
}

static void buf_appends_nothing_without_memory(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_buf buf = {0};
    meter_init(&meter);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_of(NULL, 0), 0, &meter.allocator), FRAMED_OK);
    assert_int_equal(framed_buf_reserve(&buf, 0, 0, &meter.allocator), FRAMED_OK);
    assert_null(buf.at);
    assert_int_equal(meter_read(&meter).calls, 0);
    meter_fini(&meter);
}

static void buf_reserves_room_and_asks_only_once_for_it(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_buf buf = {0};
    meter_init(&meter);
    assert_int_equal(framed_buf_reserve(&buf, 100, 1000, &meter.allocator), FRAMED_OK);
    assert_true(buf.cap >= 100 && buf.cap <= 1000);
    assert_int_equal(buf.len, 0);
    memset(buf.at, 1, 100);
    buf.len = 60;
    assert_int_equal(framed_buf_reserve(&buf, 40, 1000, &meter.allocator), FRAMED_OK);
    assert_int_equal(meter_read(&meter).calls, 1);
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void buf_never_grows_above_its_ceiling(void **state)
{
    (void)state;
    for (size_t ceiling = 1; ceiling <= 70; ceiling++) {
        for (size_t step = 1; step <= 9; step++) {
            struct meter meter;
            struct framed_buf buf = {0};
            size_t want = 0;
            meter_init(&meter);
            for (; want + step <= ceiling; want += step) {
                assert_int_equal(framed_buf_append(&buf, framed_bytes_of("123456789", step), ceiling, &meter.allocator),
                                 FRAMED_OK);
                assert_true(buf.cap <= ceiling);
            }
            struct framed_buf was = buf;
            assert_int_equal(framed_buf_append(&buf, framed_bytes_of("123456789", step), ceiling, &meter.allocator),
                             FRAMED_TOO_LARGE);
            assert_memory_equal(&buf, &was, sizeof buf);
            assert_int_equal(framed_buf_reserve(&buf, ceiling - want, ceiling, &meter.allocator),
                             FRAMED_OK); /* exactly to it */
            framed_buf_fini(&buf, &meter.allocator);
            meter_fini(&meter);
        }
    }
}

static void buf_does_not_wrap_when_asked_for_everything(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_buf buf = {0};
    meter_init(&meter);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str("abc"), SIZE_MAX, &meter.allocator), FRAMED_OK);
    struct framed_buf was = buf;
    meter_fail_at(&meter, 1, METER_ONWARD); /* a sum that wrapped would look small: it must not get as far as that */
    assert_int_equal(framed_buf_reserve(&buf, SIZE_MAX, SIZE_MAX, &meter.allocator), FRAMED_TOO_LARGE);
    assert_int_equal(framed_buf_reserve(&buf, SIZE_MAX - 2, SIZE_MAX, &meter.allocator), FRAMED_TOO_LARGE);
    assert_int_equal(meter_reached(&meter), 0);
    assert_int_equal(framed_buf_reserve(&buf, SIZE_MAX - 3, SIZE_MAX, &meter.allocator), FRAMED_NOMEM);
    assert_int_equal(framed_buf_reserve(&buf, 1, 2, &meter.allocator), buf.cap > 3 ? FRAMED_OK : FRAMED_TOO_LARGE);
    assert_memory_equal(&buf, &was, sizeof buf);
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void buf_stays_as_it_was_when_memory_runs_out(void **state)
{
    (void)state;
    struct meter meter;
    struct framed_buf buf = {0}, was;
    meter_init(&meter);
    meter_fail_at(&meter, 1, METER_ONCE);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str("abc"), 100, &meter.allocator), FRAMED_NOMEM);
    assert_null(buf.at);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str("abc"), 100, &meter.allocator), FRAMED_OK);
    was = buf;
    meter_fail_at(&meter, 1, METER_ONCE);
    assert_int_equal(framed_buf_reserve(&buf, 90, 100, &meter.allocator), FRAMED_NOMEM);
    assert_memory_equal(&buf, &was, sizeof buf);
    assert_memory_equal(buf.at, "abc", 3);
    assert_int_equal(framed_buf_append(&buf, framed_bytes_str("def"), 100, &meter.allocator), FRAMED_OK);
    assert_memory_equal(buf.at, "abcdef", 6);
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void buf_grows_at_linear_cost_and_to_at_most_twice_its_bytes(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    struct meter meter;
    struct framed_buf buf = {0};
    meter_init(&meter);
    for (size_t n = 1; n <= SIZE; n++) {
        uint8_t byte = (uint8_t)(n * 7);
        assert_int_equal(framed_buf_append(&buf, framed_bytes_of(&byte, 1), SIZE_MAX, &meter.allocator), FRAMED_OK);
        if (buf.cap > 2 * n) fail_msg("capacity %zu for %zu bytes", buf.cap, n);
        if (meter.count.calls > 32) fail_msg("%u allocations for %zu bytes", (unsigned)meter.count.calls, n);
    }
    struct meter_count count = meter_read(&meter);
    assert_true(count.moved <= 2 * SIZE);
    for (size_t n = 1; n <= SIZE; n++) assert_int_equal(buf.at[n - 1], (uint8_t)(n * 7));
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
}

static void bytes_view_a_string_without_its_nul(void **state)
{
    (void)state;
    const char *text = "abc";
    struct framed_bytes view = framed_bytes_str(text);
    assert_ptr_equal(view.at, text);
    assert_int_equal(view.len, 3);
    assert_int_equal(framed_bytes_str("").len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_appends_copies),
        cmocka_unit_test(buf_appends_nothing_without_memory),
        cmocka_unit_test(buf_reserves_room_and_asks_only_once_for_it),
        cmocka_unit_test(buf_never_grows_above_its_ceiling),
        cmocka_unit_test(buf_does_not_wrap_when_asked_for_everything),
        cmocka_unit_test(buf_stays_as_it_was_when_memory_runs_out),
        cmocka_unit_test(buf_grows_at_linear_cost_and_to_at_most_twice_its_bytes),
        cmocka_unit_test(bytes_view_a_string_without_its_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
