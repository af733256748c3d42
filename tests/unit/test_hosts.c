/*
 * test_hosts.c: connections counted by host, and a table whose collisions nobody can choose.
 * Must not know how a host is hashed.
 * Invariant: every table ends without entries, and its memory with it.
 */
#include "hosts.h"
#include "meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct meter meter;
static struct budget budget = {.limit = SIZE_MAX};
static struct hosts hosts;

static int begin(void **state)
{
    (void)state;
    meter_init(&meter);
    return framed_hosts_init(&hosts, 1, &meter.allocator, &budget) == FRAMED_OK ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    framed_hosts_fini(&hosts); /* what was kept for later too */
    meter_fini(&meter);
    return 0;
}

static struct os_host host_of(uint64_t number)
{
    struct os_host is = {{0x20, 0x01, 0x0d, 0xb8}}; /* an attacker has a /64 to choose from */
    memcpy(is.bytes + 8, &number, sizeof number);
    return is;
}

static struct host *enter(const struct os_host *is)
{
    struct host *h = NULL;
    assert_int_equal(framed_hosts_enter(&hosts, is, UINT32_MAX, &h), FRAMED_OK);
    return h;
}

static size_t bucket_of(uint64_t seed, const struct os_host *is)
{
    hosts.seed = seed;
    struct host *h = enter(is);
    size_t found = HOST_BUCKETS;
    for (size_t i = 0; i < HOST_BUCKETS; i++)
        if (hosts.buckets[i] != NULL) found = i;
    assert_true(found < HOST_BUCKETS);
    framed_hosts_leave(&hosts, h);
    for (size_t i = 0; i < HOST_BUCKETS; i++) assert_null(hosts.buckets[i]);
    return found;
}

static void hosts_chosen_to_collide_lie_apart_under_another_seed(void **state)
{
    (void)state;
    enum { CHOSEN = 32 };
    uint64_t number = 0;
    bool used[HOST_BUCKETS] = {false};
    size_t apart = 0;
    for (size_t found = 0; found < CHOSEN; number++) {
        struct os_host is = host_of(number);
        if (bucket_of(1, &is) != 0) continue;
        found++;
        size_t other = bucket_of(UINT64_C(0x123456789abcdef1), &is);
        if (!used[other]) apart++;
        used[other] = true;
    }
    assert_true(apart > CHOSEN / 2);
}

static void host_is_counted_up_to_its_limit_and_forgotten_with_its_last_connection(void **state)
{
    (void)state;
    const struct os_host one = host_of(1), other = host_of(2);
    struct host *h = NULL, *again = NULL, *apart = NULL;
    assert_int_equal(framed_hosts_enter(&hosts, &one, 2, &h), FRAMED_OK);
    assert_int_equal(framed_hosts_enter(&hosts, &one, 2, &again), FRAMED_OK);
    assert_ptr_equal(h, again);
    assert_int_equal(framed_hosts_enter(&hosts, &one, 2, &again), FRAMED_FULL);
    assert_int_equal(framed_hosts_enter(&hosts, &other, 2, &apart), FRAMED_OK);
    framed_hosts_leave(&hosts, h);
    assert_int_equal(framed_hosts_enter(&hosts, &one, 2, &again), FRAMED_OK);
    framed_hosts_leave(&hosts, h);
    framed_hosts_leave(&hosts, h);
    framed_hosts_leave(&hosts, apart);
    for (size_t i = 0; i < HOST_BUCKETS; i++) assert_null(hosts.buckets[i]);
}

/* What is kept for later counts against all loops, and none of them can give it up. */
static void hosts_that_are_gone_hold_little_of_the_budget(void **state)
{
    (void)state;
    enum { HOSTS = 1000 };
    struct host *all[HOSTS];
    for (size_t i = 0; i < HOSTS; i++) {
        const struct os_host is = host_of(i);
        all[i] = enter(&is);
    }
    assert_true(atomic_load(&budget.used) >= HOSTS * sizeof **all);
    for (size_t i = 0; i < HOSTS; i++) framed_hosts_leave(&hosts, all[i]);
    assert_true(atomic_load(&budget.used) <= HOSTS_KEEP_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hosts_chosen_to_collide_lie_apart_under_another_seed, begin, end),
        cmocka_unit_test_setup_teardown(host_is_counted_up_to_its_limit_and_forgotten_with_its_last_connection, begin, end),
        cmocka_unit_test_setup_teardown(hosts_that_are_gone_hold_little_of_the_budget, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
