/*
 * test_world_history.c: owns the proof that the checker of histories finds what is wrong with one.
 * Must not know framed.
 * Invariant: each bad history is the good one with one thing changed, and is refused for that.
 */
#include "history.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CONN = 40000, LIMIT_MS = 100 };

static const struct history_rules rules = {.slack_ms = 10};

static struct history history;
static char why[200];

static void add(struct record r)
{
    r.at_us = history.n > 0 ? history.at[history.n - 1].at_us + 1000 : 0;
    history_add(&history, &r);
}

static void begun(uint32_t call)
{
    add((struct record){.kind = HISTORY_BEGUN, .who = 1, .call = call, .limit_ms = LIMIT_MS, .len = 10, .digest = call});
}

static void saw(uint32_t nth, uint32_t call)
{
    add((struct record){.kind = HISTORY_SAW, .who = 1, .conn = CONN, .nth = nth, .call = call, .len = 10, .digest = call});
}

/* The reply to call N is N + 100. */
static void given(uint32_t nth, uint32_t call)
{
    add((struct record){
        .kind = HISTORY_ANSWERED, .who = 1, .conn = CONN, .nth = nth, .answer = HISTORY_GIVEN, .digest = call + 100});
}

static void answered(uint32_t nth, enum history_answer answer)
{
    add((struct record){.kind = HISTORY_ANSWERED, .who = 1, .conn = CONN, .nth = nth, .answer = answer});
}

static void told(uint32_t call, enum history_outcome outcome)
{
    struct record r = {.kind = HISTORY_TOLD, .who = 1, .conn = CONN, .call = call, .outcome = outcome};
    if (outcome == HISTORY_REPLY) r.digest = call + 100;
    add(r);
}

static void ended(void)
{
    add((struct record){.kind = HISTORY_ENDED, .who = 1, .conn = CONN});
}

static int start(void **state)
{
    (void)state;
    history_free(&history);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    history_free(&history);
    return 0;
}

static void assert_holds(void)
{
    if (!history_holds(&history, &rules, why, sizeof why)) fail_msg("refused: %s", why);
}

static void assert_refused(const char *because)
{
    assert_false(history_holds(&history, &rules, why, sizeof why));
    if (strstr(why, because) == NULL) fail_msg("refused, but because: %s", why);
}

/* Calls 1 to 3: replied; 4: seen, and the connection ends; 5: not executed. */
static void good(void)
{
    for (uint32_t call = 1; call <= 4; call++) begun(call);
    for (uint32_t call = 1; call <= 4; call++) saw(call - 1, call);
    for (uint32_t call = 3; call >= 1; call--) given(call - 1, call);
    begun(5);
    for (uint32_t call = 1; call <= 3; call++) told(call, HISTORY_REPLY);
    told(4, HISTORY_MAYBE_EXECUTED);
    told(5, HISTORY_NOT_EXECUTED);
    ended();
    answered(3, HISTORY_VOID);
}

/* The place of the only record of that kind with that call, or nth. */
static struct record *find(enum history_kind kind, uint32_t number)
{
    for (size_t i = 0; i < history.n; i++) {
        struct record *r = &history.at[i];
        if (r->kind == kind && (kind == HISTORY_ANSWERED ? r->nth : r->call) == number) return r;
    }
    fail_msg("there is none");
    return NULL;
}

static void take_out(struct record *r)
{
    size_t i = (size_t)(r - history.at);
    memmove(r, r + 1, (history.n - i - 1) * sizeof *r);
    history.n--;
}

static void swap(struct record *a, struct record *b)
{
    struct record r = *a;
    *a = *b;
    *b = r;
}

static void history_accepts_a_good_one(void **state)
{
    (void)state;
    assert_holds(); /* nothing at all */
    good();
    assert_holds();
    assert_int_equal(history_count(&history, HISTORY_REPLY), 3);
}

static void history_accepts_requests_too_short_to_say_their_number(void **state)
{
    (void)state;
    good();
    find(HISTORY_SAW, 2)->call = 0;
    assert_holds();
}

static void history_refuses_a_call_without_end(void **state)
{
    (void)state;
    good();
    take_out(find(HISTORY_TOLD, 5));
    assert_refused("call 5 never ends");
}

static void history_refuses_a_call_that_ends_twice(void **state)
{
    (void)state;
    good();
    told(5, HISTORY_NOT_EXECUTED);
    assert_refused("call 5 ends twice");
}

static void history_refuses_an_end_of_what_was_never_begun(void **state)
{
    (void)state;
    good();
    told(6, HISTORY_NOT_EXECUTED);
    assert_refused("call 6 ends, and was never begun");
}

static void history_refuses_an_end_told_to_another_client(void **state)
{
    (void)state;
    good();
    find(HISTORY_TOLD, 2)->who = 2;
    assert_refused("call 2 of client 1 is told to client 2");
}

static void history_refuses_a_call_that_ends_late(void **state)
{
    (void)state;
    good();
    find(HISTORY_TOLD, 5)->at_us = find(HISTORY_BEGUN, 5)->at_us + (LIMIT_MS + 10) * 1000;
    assert_holds();
    find(HISTORY_TOLD, 5)->at_us++;
    assert_refused("call 5, to end within 100 ms");
}

static void history_refuses_the_reply_of_another_call(void **state)
{
    (void)state;
    good();
    find(HISTORY_TOLD, 2)->digest = 101;
    assert_refused("call 2 has a reply that is not its own");
}

static void history_refuses_a_reply_before_it_was_given(void **state)
{
    (void)state;
    good();
    swap(find(HISTORY_TOLD, 1), find(HISTORY_ANSWERED, 0));
    assert_refused("call 1 has a reply that no handler has given yet");
}

static void history_refuses_a_reply_that_was_given_in_vain(void **state)
{
    (void)state;
    good();
    find(HISTORY_ANSWERED, 2)->answer = HISTORY_VOID;
    assert_refused("call 3 has a reply, and its handler gives in vain");
}

static void history_refuses_a_reply_to_a_failed_call(void **state)
{
    (void)state;
    good();
    find(HISTORY_ANSWERED, 2)->answer = HISTORY_FAILED;
    assert_refused("call 3 has a reply, and its handler fails");
}

static void history_refuses_a_reply_behind_a_failed_call(void **state)
{
    (void)state;
    good();
    find(HISTORY_ANSWERED, 1)->answer = HISTORY_FAILED;
    find(HISTORY_TOLD, 2)->outcome = HISTORY_MAYBE_EXECUTED;
    assert_refused("call 3 has a reply, though request 1");
}

static void history_refuses_a_reply_that_overtakes(void **state)
{
    (void)state;
    good();
    swap(find(HISTORY_TOLD, 2), find(HISTORY_TOLD, 3));
    assert_refused("the reply to call 2 comes out of its order");
}

static void history_refuses_a_reply_to_what_was_never_seen(void **state)
{
    (void)state;
    begun(1);
    told(1, HISTORY_REPLY);
    assert_refused("call 1 has a reply that no handler has given yet");
}

static void history_refuses_not_executed_when_a_handler_saw_it(void **state)
{
    (void)state;
    good();
    find(HISTORY_TOLD, 4)->outcome = HISTORY_NOT_EXECUTED;
    assert_refused("call 4 was told NOT_EXECUTED, and a handler saw it");
}

static void history_refuses_more_requests_than_were_sent(void **state)
{
    (void)state;
    good();
    find(HISTORY_TOLD, 4)->outcome = HISTORY_NOT_EXECUTED;
    find(HISTORY_SAW, 4)->call = 0; /* it does not say so, but there is no other that it could be */
    assert_refused("request 3 of :40000 was never sent there");
}

static void history_refuses_requests_out_of_order(void **state)
{
    (void)state;
    good();
    struct record *two = find(HISTORY_SAW, 2), *three = find(HISTORY_SAW, 3);
    two->call = 3;
    three->call = 2;
    assert_refused("request 1 of :40000 is call 3; call 2 was due");
}

static void history_refuses_a_request_left_out(void **state)
{
    (void)state;
    good();
    take_out(find(HISTORY_SAW, 2));
    assert_refused("request 2 of :40000 is seen when 1 was due");
}

static void history_refuses_a_request_seen_twice(void **state)
{
    (void)state;
    good();
    saw(4, 3);
    answered(4, HISTORY_VOID);
    assert_refused("call 3 is seen twice");
}

static void history_refuses_a_request_seen_before_it_was_begun(void **state)
{
    (void)state;
    good();
    swap(find(HISTORY_BEGUN, 1), find(HISTORY_SAW, 1));
    assert_refused("request 0 of :40000 was not begun before it was seen");
}

static void history_refuses_other_bytes_than_were_sent(void **state)
{
    (void)state;
    good();
    find(HISTORY_SAW, 2)->len++;
    assert_refused("request 1 of :40000 has other bytes than call 2");
}

static void history_refuses_bytes_that_nobody_sent(void **state)
{
    (void)state;
    good();
    find(HISTORY_SAW, 3)->call = UINT32_MAX - 1;
    assert_false(history_holds(&history, &rules, why, sizeof why));
}

static void history_refuses_a_request_never_answered(void **state)
{
    (void)state;
    good();
    take_out(find(HISTORY_ANSWERED, 3));
    assert_refused("request 3 of :40000 is never answered");
}

static void history_refuses_a_request_answered_twice(void **state)
{
    (void)state;
    good();
    answered(3, HISTORY_VOID);
    assert_refused("request 3 of :40000 is answered twice");
}

static void history_refuses_an_answer_to_nothing(void **state)
{
    (void)state;
    good();
    answered(7, HISTORY_VOID);
    assert_refused("request 7 of :40000 is answered, and was never seen");
}

static void history_refuses_anything_told_after_the_end(void **state)
{
    (void)state;
    good();
    swap(find(HISTORY_ENDED, 0), find(HISTORY_TOLD, 4));
    assert_refused("call 5 is told after the end");
}

static void history_refuses_a_call_without_reply_when_nothing_excuses_it(void **state)
{
    (void)state;
    const struct history_rules strict = {.slack_ms = 10, .excuse = HISTORY_NONE};
    begun(1);
    saw(0, 1);
    given(0, 1);
    told(1, HISTORY_REPLY);
    assert_true(history_holds(&history, &strict, why, sizeof why));
    begun(2);
    told(2, HISTORY_MAYBE_EXECUTED);
    assert_holds();
    assert_false(history_holds(&history, &strict, why, sizeof why));
    assert_non_null(strstr(why, "call 2 on :40000 has no reply"));
    add((struct record){.kind = HISTORY_HIT, .conn = CONN, .text = "something"});
    assert_true(history_holds(&history, &strict, why, sizeof why));
}

static void history_refuses_a_given_reply_that_does_not_arrive(void **state)
{
    (void)state;
    const struct history_rules strict = {.slack_ms = 10, .excuse = HISTORY_UNGIVEN};
    good();
    assert_true(history_holds(&history, &strict, why, sizeof why)); /* the fourth was given in vain */
    find(HISTORY_ANSWERED, 3)->answer = HISTORY_GIVEN;
    assert_holds();
    assert_false(history_holds(&history, &strict, why, sizeof why));
    assert_non_null(strstr(why, "call 4 on :40000 has no reply"));
    add((struct record){.kind = HISTORY_HIT, .conn = CONN, .text = "something"});
    assert_true(history_holds(&history, &strict, why, sizeof why));
}

static void history_has_another_hash_when_anything_is_different(void **state)
{
    (void)state;
    good();
    uint64_t hash = history_hash(&history);
    assert_true(hash == history_hash(&history));
    history.at[3].at_us++;
    assert_true(hash != history_hash(&history));
    history.at[3].at_us--;
    assert_true(hash == history_hash(&history));
    swap(&history.at[0], &history.at[1]);
    assert_true(hash != history_hash(&history));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(history_accepts_a_good_one, start, stop),
        cmocka_unit_test_setup_teardown(history_accepts_requests_too_short_to_say_their_number, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_call_without_end, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_call_that_ends_twice, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_an_end_of_what_was_never_begun, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_an_end_told_to_another_client, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_call_that_ends_late, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_the_reply_of_another_call, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_before_it_was_given, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_that_was_given_in_vain, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_to_a_failed_call, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_behind_a_failed_call, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_that_overtakes, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_reply_to_what_was_never_seen, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_not_executed_when_a_handler_saw_it, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_more_requests_than_were_sent, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_requests_out_of_order, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_request_left_out, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_request_seen_twice, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_request_seen_before_it_was_begun, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_other_bytes_than_were_sent, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_bytes_that_nobody_sent, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_request_never_answered, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_request_answered_twice, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_an_answer_to_nothing, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_anything_told_after_the_end, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_call_without_reply_when_nothing_excuses_it, start, stop),
        cmocka_unit_test_setup_teardown(history_refuses_a_given_reply_that_does_not_arrive, start, stop),
        cmocka_unit_test_setup_teardown(history_has_another_hash_when_anything_is_different, start, stop),
    };
    return cmocka_run_group_tests_name("world_history", tests, NULL, NULL);
}
