/*
 * cmocka.h: as much of cmocka as tests/unit/test_os.c uses, since there is no cmocka for MinGW in Debian.
 * Must not know what is tested. Only tests/win/run.sh puts this folder on the include path.
 * Invariant: a failed assertion ends its test, is counted, and makes the group's result non-zero.
 */
#ifndef FRAMED_TESTS_WIN_CMOCKA_H
#define FRAMED_TESTS_WIN_CMOCKA_H

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(f)                                                                                                 \
    {                                                                                                                       \
#f, f                                                                                                               \
    }

static jmp_buf cmocka_failed;

static inline _Noreturn void cmocka_fail(const char *what, const char *file, int line)
{
    printf("%s:%d: %s\n", file, line, what);
    longjmp(cmocka_failed, 1);
}

static inline void cmocka_equal(intmax_t a, intmax_t b, const char *what, const char *file, int line)
{
    if (a == b) return;
    printf("%jd != %jd\n", a, b);
    cmocka_fail(what, file, line);
}

#define CMOCKA_ASSERT(truth, what) ((truth) ? (void)0 : cmocka_fail(what, __FILE__, __LINE__))

#define assert_true(x)               CMOCKA_ASSERT(x, #x)
#define assert_false(x)              CMOCKA_ASSERT(!(x), "not " #x)
#define assert_non_null(x)           CMOCKA_ASSERT((x) != NULL, #x)
#define assert_null(x)               CMOCKA_ASSERT((x) == NULL, #x)
#define assert_int_equal(a, b)       cmocka_equal((intmax_t)(a), (intmax_t)(b), #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)   CMOCKA_ASSERT((a) != (b), #a " != " #b)
#define assert_string_equal(a, b)    CMOCKA_ASSERT(strcmp(a, b) == 0, #a " is " #b)
#define assert_memory_equal(a, b, n) CMOCKA_ASSERT(memcmp(a, b, n) == 0, #a " holds " #b)

static inline int cmocka_run(const char *group, const struct CMUnitTest *tests, size_t n)
{
    /* static: what changes between setjmp and longjmp must not live in registers */
    static size_t i;
    static int failed;
    failed = 0;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (i = 0; i < n; i++) {
        printf("[ RUN ] %s\n", tests[i].name);
        void *state = NULL;
        if (setjmp(cmocka_failed) == 0)
            tests[i].run(&state);
        else
            failed++, printf("[ FAILED ] %s\n", tests[i].name);
    }
    printf("%s: %d passed, %d failed\n", group, (int)n - failed, failed);
    return failed;
}

#define cmocka_run_group_tests_name(group, tests, setup, teardown)                                                          \
    cmocka_run(group, tests, sizeof(tests) / sizeof((tests)[0]))

#endif
