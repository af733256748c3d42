/*
 * test_status.c: names and words for statuses, codes and outcomes (base.h).
 * Must not know where they occur.
 * Invariant: every name is written out here once, by hand.
 */
#include <framed/base.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define NAMED(status)                                                                                                       \
    {                                                                                                                       \
        FRAMED_##status, #status                                                                                            \
    }

static const struct {
    enum framed_status status;
    const char *name;
} statuses[] = {
    NAMED(OK),        NAMED(MORE),        NAMED(FULL),      NAMED(CLOSED), NAMED(TOO_LARGE),
    NAMED(TRUNCATED), NAMED(MALFORMED),   NAMED(AUTH),      NAMED(RESET),  NAMED(REFUSED),
    NAMED(NOMEM),     NAMED(OS),          NAMED(TIMEOUT),   NAMED(LIMIT),  NAMED(IN_USE),
    NAMED(DENIED),    NAMED(UNREACHABLE), NAMED(NOT_FOUND), NAMED(USAGE),  NAMED(UNSUPPORTED),
};

static void status_has_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        assert_string_equal(framed_status_name(statuses[i].status), statuses[i].name);
}

static void status_has_words_of_its_own_without_a_full_stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        const char *text = framed_status_text(statuses[i].status);
        size_t n = strlen(text);
        assert_true(n > 3);
        assert_true(text[n - 1] != '.');
        assert_string_not_equal(text, framed_status_text((enum framed_status)9999));
        for (size_t j = 0; j < i; j++) assert_string_not_equal(text, framed_status_text(statuses[j].status));
    }
}

static void status_that_is_none_has_a_name_too(void **state)
{
    (void)state;
    size_t known = 0;
    for (int i = -200; i <= 200; i++)
        if (strcmp(framed_status_name((enum framed_status)i), "UNKNOWN_STATUS") != 0) known++;
    assert_int_equal(known, sizeof statuses / sizeof *statuses);
    assert_string_equal(framed_status_text((enum framed_status)200), "unknown status");
}

static void status_tells_failures_by_their_sign(void **state)
{
    (void)state;
    assert_int_equal(FRAMED_OK, 0);
    assert_true(FRAMED_MORE > 0 && FRAMED_FULL > 0 && FRAMED_CLOSED > 0);
    for (size_t i = 4; i < sizeof statuses / sizeof *statuses; i++) assert_true(statuses[i].status < 0);
}

static void code_has_the_name_and_number_that_grpc_gives_it(void **state)
{
    (void)state;
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    for (unsigned i = 0; i < 17; i++) assert_string_equal(framed_code_name(i), names[i]);
    assert_int_equal(FRAMED_CODE_INTERNAL, 13);
    assert_int_equal(FRAMED_CODE_UNAUTHENTICATED, 16);
    assert_string_equal(framed_code_name(17), "UNKNOWN_CODE");
    assert_string_equal(framed_code_name(255), "UNKNOWN_CODE");
    assert_string_equal(framed_code_name(256), "APPLICATION");
    assert_string_equal(framed_code_name(65535), "APPLICATION");
}

static void outcome_has_its_name_and_one_that_is_none_too(void **state)
{
    (void)state;
    assert_string_equal(framed_outcome_name((enum framed_outcome)17), "UNKNOWN_OUTCOME");
    assert_string_equal(framed_outcome_name(FRAMED_REPLY), "REPLY");
    assert_string_equal(framed_outcome_name(FRAMED_NOT_EXECUTED), "NOT_EXECUTED");
    assert_string_equal(framed_outcome_name(FRAMED_MAYBE_EXECUTED), "MAYBE_EXECUTED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_has_its_name),
        cmocka_unit_test(status_has_words_of_its_own_without_a_full_stop),
        cmocka_unit_test(status_that_is_none_has_a_name_too),
        cmocka_unit_test(status_tells_failures_by_their_sign),
        cmocka_unit_test(code_has_the_name_and_number_that_grpc_gives_it),
        cmocka_unit_test(outcome_has_its_name_and_one_that_is_none_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
