/*
 * test_ordered.c: the n-th reply answers the n-th request (proto/ordered.h, PROTOCOL.md §3.2, §3.3).
 * Must not know what waits in a place.
 * Invariant: places leave in the order in which they were begun.
 */
#include "ordered.h"
#include "splits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { PLACES = 8 };

static uint32_t count_of(const struct framed_ordered *o)
{
    uint32_t n = 0;
    for (const struct framed_place *p = ordered_first(o); p != NULL; p = ordered_next(o, p)) n++;
    assert_int_equal(ordered_is_empty(o), n == 0);
    return n;
}

static void ordered_gives_answers_in_the_order_of_the_requests(void **state)
{
    (void)state;
    struct framed_ordered o = {0};
    struct framed_place p[3];
    for (int i = 0; i < 3; i++) framed_ordered_begin(&o, &p[i]);
    assert_int_equal(count_of(&o), 3);
    assert_null(framed_ordered_turn(&o));
    framed_ordered_finish(&p[2]);
    assert_null(framed_ordered_turn(&o));
    framed_ordered_finish(&p[0]);
    assert_ptr_equal(framed_ordered_turn(&o), &p[0]);
    assert_null(framed_ordered_turn(&o)); /* the second is not finished, though the third is */
    framed_ordered_finish(&p[1]);
    assert_ptr_equal(framed_ordered_turn(&o), &p[1]);
    assert_ptr_equal(framed_ordered_turn(&o), &p[2]);
    assert_null(framed_ordered_turn(&o));
    assert_int_equal(count_of(&o), 0);
}

static void ordered_gives_the_oldest_place_to_each_reply(void **state)
{
    (void)state;
    struct framed_ordered o = {0};
    struct framed_place p[3], *place = NULL;
    for (int i = 0; i < 3; i++) framed_ordered_begin(&o, &p[i]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(framed_ordered_reply(&o, &place), FRAMED_OK);
        assert_ptr_equal(place, &p[i]);
        assert_int_equal(count_of(&o), 2 - i);
    }
}

static void ordered_rejects_a_reply_that_nobody_asked_for(void **state)
{
    (void)state;
    struct framed_ordered o = {0};
    struct framed_place p, *place = &p;
    assert_int_equal(framed_ordered_reply(&o, &place), FRAMED_MALFORMED);
    assert_ptr_equal(place, &p); /* untouched */
    framed_ordered_begin(&o, &p);
    place = NULL;
    assert_int_equal(framed_ordered_reply(&o, &place), FRAMED_OK);
    assert_ptr_equal(place, &p);
    place = NULL;
    assert_int_equal(framed_ordered_reply(&o, &place), FRAMED_MALFORMED); /* one reply each */
    assert_null(place);
}

static void ordered_begins_a_used_place_afresh(void **state)
{
    (void)state;
    struct framed_ordered o = {0};
    struct framed_place p[2];
    memset(p, 0xff, sizeof p);
    framed_ordered_begin(&o, &p[0]);
    assert_null(framed_ordered_turn(&o));
    framed_ordered_finish(&p[0]);
    assert_ptr_equal(framed_ordered_turn(&o), &p[0]);
    framed_ordered_begin(&o, &p[1]);
    framed_ordered_begin(&o, &p[0]);
    assert_null(framed_ordered_turn(&o)); /* neither has its answer yet */
    framed_ordered_finish(&p[1]);
    assert_ptr_equal(framed_ordered_turn(&o), &p[1]);
    assert_null(framed_ordered_turn(&o));
}

/* With the ring cut behind its second, whoever walked it would end there. */
static void ordered_begins_behind_the_last_without_walking_the_others(void **state)
{
    (void)state;
    struct framed_ordered o = {0};
    struct framed_place p[4];
    for (int i = 0; i < 3; i++) framed_ordered_begin(&o, &p[i]);
    p[1].next = NULL;
    framed_ordered_begin(&o, &p[3]);
    assert_null(p[1].next);
    assert_ptr_equal(ordered_first(&o), &p[0]);
    assert_ptr_equal(ordered_next(&o, &p[2]), &p[3]);
    assert_null(ordered_next(&o, &p[3]));
}

/* Against numbers: places are begun round and round, finished at random, and must come out in turn. */
static void ordered_keeps_the_order_whatever_finishes_when(void **state)
{
    (void)state;
    uint64_t dice = 7;
    struct framed_ordered o = {0};
    struct framed_place p[PLACES];
    bool finished[PLACES] = {false};
    size_t begun = 0, left = 0;
    for (int step = 0; step < 100000; step++) {
        size_t i = left + (size_t)(splits_random(&dice) >> 8) % PLACES;
        switch (splits_random(&dice) >> 8 & 3) {
        case 0:
            if (begun - left == PLACES) break;
            finished[begun % PLACES] = false;
            framed_ordered_begin(&o, &p[begun++ % PLACES]);
            break;
        case 1:
            if (i >= begun || finished[i % PLACES]) break;
            finished[i % PLACES] = true;
            framed_ordered_finish(&p[i % PLACES]);
            break;
        default: {
            struct framed_place *want = left < begun && finished[left % PLACES] ? &p[left % PLACES] : NULL;
            assert_ptr_equal(framed_ordered_turn(&o), want);
            if (want != NULL) left++;
        }
        }
        assert_int_equal(count_of(&o), begun - left);
    }
    assert_true(left > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordered_gives_answers_in_the_order_of_the_requests),
        cmocka_unit_test(ordered_gives_the_oldest_place_to_each_reply),
        cmocka_unit_test(ordered_rejects_a_reply_that_nobody_asked_for),
        cmocka_unit_test(ordered_begins_a_used_place_afresh),
        cmocka_unit_test(ordered_begins_behind_the_last_without_walking_the_others),
        cmocka_unit_test(ordered_keeps_the_order_whatever_finishes_when),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
