/*
 * test_os.c: the contract of os.h, asked of the real system: every operation, through each way of waiting. What only POSIX has
 * is in test_os_posix.c, what only Windows has in tests/win/test_win_os.c.
 * Must not know how a platform keeps it.
 * Invariants: a wait without a limit is used wherever something must happen (a lost event hangs, and the runner ends that); the
 * only times measured are lower bounds.
 */
#include "os_rig.h"

/* ---- pollers ---- */

static void wait_returns_when_its_time_is_up(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    uint64_t start = framed_os_clock_ns();
    wait_once(p, 0);
    wait_once(p, 30);
    assert_true(framed_os_clock_ns() - start >= UINT64_C(15) * 1000000);
    framed_os_poller_close(p);
    framed_os_poller_close(NULL);
}

static void wake_ends_the_next_wait(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    for (int i = 0; i < 3; i++) {
        framed_os_wake(p);
        wait_once(p, OS_FOREVER);
    }
    framed_os_poller_close(p);
}

static void wakes_without_number_block_nobody_and_end_one_wait(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    for (int i = 0; i < 200000; i++) framed_os_wake(p);
    wait_once(p, OS_FOREVER);
    assert_sleeps(p);
    framed_os_wake(p);
    wait_once(p, OS_FOREVER);
    framed_os_poller_close(p);
}

struct waking {
    struct os_poller *p;
    atomic_uint posted;
    atomic_uint seen;
};

static void wake_again_and_again(void *ctx)
{
    struct waking *w = ctx;
    for (unsigned i = 1; i <= 2000; i++) {
        atomic_store(&w->posted, i);
        framed_os_wake(w->p);
        if (i % 2 == 0) continue; /* every other one comes while the last is being taken */
        while (atomic_load(&w->seen) < i) framed_os_sleep_ms(0);
    }
}

static void wake_from_a_thread_is_never_lost(void **state)
{
    (void)state;
    struct waking w = {.p = poller_new()};
    struct os_thread *t = NULL;
    assert_int_equal(framed_os_thread_start(&t, wake_again_and_again, &w), FRAMED_OK);
    while (atomic_load(&w.seen) < 2000) {
        wait_once(w.p, OS_FOREVER);
        atomic_store(&w.seen, atomic_load(&w.posted));
    }
    framed_os_thread_join(t);
    framed_os_poller_close(w.p);
}

struct stingy {
    struct framed_allocator alloc;
    unsigned left; /* allocations until one fails */
    unsigned failed;
    int blocks;
};

static void *stingy_resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    struct stingy *s = ctx;
    (void)old_size;
    if (new_size == 0) {
        s->blocks -= at != NULL;
        free(at);
        return NULL;
    }
    if (s->left-- == 0) {
        s->failed++;
        return NULL;
    }
    s->blocks += at == NULL;
    return realloc(at, new_size);
}

static void poller_says_nomem_for_each_allocation_that_fails_and_leaks_nothing(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool reached = true; reached; n++) {
        struct stingy s = {.alloc.resize = stingy_resize, .left = n};
        s.alloc.ctx = &s;
        struct os_poller *p = NULL;
        enum framed_status st = framed_os_poller_open(&p, way, &s.alloc);
        struct os_lock *lock = NULL;
        enum framed_status lock_st = st == FRAMED_OK ? framed_os_lock_new(&lock, &s.alloc) : st;
        reached = s.failed > 0;
        assert_int_equal(lock_st, reached ? FRAMED_NOMEM : FRAMED_OK);
        if (lock_st == FRAMED_OK) framed_os_lock_free(lock, &s.alloc);
        if (st == FRAMED_OK) framed_os_poller_close(p);
        assert_int_equal(s.blocks, 0);
    }
    assert_true(n > 2);
}

/* Those of the past leave nothing behind. */
static void poller_needs_no_more_memory_however_many_sockets_came_and_went(void **state)
{
    (void)state;
    struct stingy s = {.alloc.resize = stingy_resize, .left = 1000};
    s.alloc.ctx = &s;
    struct os_poller *p = NULL;
    assert_int_equal(framed_os_poller_open(&p, way, &s.alloc), FRAMED_OK);
    for (int i = 0; i < 20; i++) {
        struct end a, b;
        pair(p, &a, &b);
        assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK); /* it is watched */
        finish_end(p, &a);
        finish_end(p, &b);
        if (i == 2) s.left = 0;
    }
    assert_int_equal(s.failed, 0);
    framed_os_poller_close(p);
    assert_int_equal(s.blocks, 0);
}

static void receive_says_nomem_when_nothing_can_be_lent(void **state)
{
    (void)state;
    struct stingy s = {.alloc.resize = stingy_resize, .left = 1000};
    s.alloc.ctx = &s;
    struct os_poller *p = NULL;
    assert_int_equal(framed_os_poller_open(&p, way, &s.alloc), FRAMED_OK);
    struct end a, b;
    pair(p, &a, &b);
    s.left = 0;
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_NOMEM);
    send_all(p, &b, "x", 1);
    settle(p);
    assert_int_equal(a.received, 0);
    s.left = 1000;
    receive_status(p, &a, FRAMED_OK);
    end_both(p, &a, &b);
    assert_int_equal(s.blocks, 0);
}

/* ---- listening, accepting, connecting ---- */

static void listen_tells_the_real_port_and_refuses_a_second_listener(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, second;
    struct os_address bound, other;
    listen_any(p, &l, &bound);
    struct os_host host;
    assert_true(framed_os_address_host(&bound, &host) != 0);
    end_init(&second);
    assert_int_equal(framed_os_listen(p, &second.s, &bound, &other), FRAMED_IN_USE);
    finish_end(p, &l);
    end_init(&second);
    assert_int_equal(framed_os_listen(p, &second.s, &bound, &other), FRAMED_OK);
    finish_end(p, &second);
    framed_os_poller_close(p);
}

static void listen_on_a_foreign_address_is_unreachable(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l;
    struct os_address foreign = loopback("192.0.2.1", "0"), bound; /* RFC 5737: nobody's */
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &foreign, &bound), FRAMED_UNREACHABLE);
    framed_os_poller_close(p);
}

static void listen_over_a_connection_that_just_ended_works(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound, again;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    finish_end(p, &l);
    finish_end(p, &b); /* the listening side ends first, and keeps the port in TIME_WAIT */
    receive_status(p, &a, FRAMED_CLOSED);
    finish_end(p, &a);
    end_init(&l);
    assert_int_equal(framed_os_listen(p, &l.s, &bound, &again), FRAMED_OK);
    finish_end(p, &l);
    framed_os_poller_close(p);
}

static void accept_gives_one_connection_for_one_request(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b, x, y;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    dial(p, &b, &bound);
    until(p, &a.connected, 1);
    until(p, &b.connected, 1);
    take(p, &l, &x);
    char text[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(&l.peer, text, sizeof text);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    settle(p);
    assert_int_equal(l.accepted, 1);
    assert_sleeps(p);
    take(p, &l, &y);
    assert_int_equal(l.accepted, 2);
    finish_end(p, &l);
    finish_end(p, &a);
    finish_end(p, &b);
    end_both(p, &x, &y);
}

static void accept_taken_back_gives_nothing_until_asked_again(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    framed_os_accept_stop(&l.s);
    framed_os_accept_stop(&l.s);
    dial(p, &a, &bound);
    until(p, &a.connected, 1);
    settle(p);
    assert_int_equal(l.accepted, 0);
    take(p, &l, &b);
    finish_end(p, &l);
    end_both(p, &a, &b);
}

static void discard_closes_what_nobody_attached(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    until(p, &l.accepted, 1);
    until(p, &a.connected, 1);
    framed_os_discard(l.handle);
    receive_status(p, &a, FRAMED_CLOSED);
    end_both(p, &l, &a);
}

static void an_accepted_connection_can_live_on_another_poller(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_poller *q = poller_new();
    struct end a, b;
    pair_across(p, &a, q, &b);
    send_all(p, &a, "across", 6);
    uint8_t got[6];
    receive_all(q, &b, got, sizeof got);
    assert_memory_equal(got, "across", 6);
    finish_end(q, &b);
    framed_os_poller_close(q);
    receive_status(p, &a, FRAMED_CLOSED);
    finish_end(p, &a);
    framed_os_poller_close(p);
}

static void connect_to_nobody_is_refused(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a;
    struct os_address bound;
    listen_any(p, &l, &bound);
    finish_end(p, &l);
    dial(p, &a, &bound);
    assert_int_equal(a.connected, 0);
    until(p, &a.connected, 1);
    assert_int_equal(a.status, FRAMED_REFUSED);
    assert_sleeps(p);
    end_close(&a);
    until(p, &a.closed, 1);
    assert_int_equal(a.connected, 1);
    framed_os_poller_close(p);
}

static void connect_tells_from_inside_wait_only(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    assert_int_equal(a.connected, 0);
    until(p, &a.connected, 1);
    assert_int_equal(a.status, FRAMED_OK);
    assert_false(framed_os_connected_to_itself(&a.s));
    end_both(p, &l, &a);
}

/* ---- receiving ---- */

static void receive_lends_what_came(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    settle(p);
    assert_int_equal(b.received, 0);
    send_all(p, &a, "twelve bytes", 12);
    until(p, &b.received, 1);
    assert_int_equal(b.n, 12);
    assert_memory_equal(b.at, "twelve bytes", 12);
    end_both(p, &a, &b);
}

static void receive_into_place_writes_no_byte_beyond_the_room(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "twelve bytes", 12);
    uint8_t got[8] = "--------";
    assert_int_equal(framed_os_receive(&b.s, got, 6), FRAMED_OK);
    until(p, &b.received, 1);
    assert_int_equal(b.status, FRAMED_OK);
    assert_true(b.at == got);
    assert_int_equal(b.n, 6);
    assert_memory_equal(got, "twelve--", 8);
    receive_status(p, &b, FRAMED_OK);
    assert_int_equal(b.n, 6);
    assert_memory_equal(b.at, " bytes", 6);
    end_both(p, &a, &b);
}

static void receive_asked_again_replaces_the_request(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    uint8_t first[4] = "----", second[4] = "----";
    assert_int_equal(framed_os_receive(&b.s, first, sizeof first), FRAMED_OK);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_receive(&b.s, second, 2), FRAMED_OK);
    send_all(p, &a, "abcd", 4);
    until(p, &b.received, 1);
    settle(p);
    assert_int_equal(b.received, 1);
    assert_memory_equal(first, "----", 4);
    assert_memory_equal(second, "ab--", 4);
    end_both(p, &a, &b);
}

static void receive_completes_once_and_the_poller_sleeps_on_what_nobody_wants(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "a", 1);
    uint8_t got[1];
    receive_all(p, &b, got, 1);
    send_all(p, &a, "b", 1);
    assert_sleeps(p);
    assert_int_equal(b.received, 1);
    receive_all(p, &b, got, 1);
    assert_int_equal(got[0], 'b');
    end_both(p, &a, &b);
}

static void receive_taken_back_gives_nothing_until_asked_again(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    framed_os_receive_stop(&b.s);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    wait_once(p, 0);
    framed_os_receive_stop(&b.s);
    framed_os_receive_stop(&b.s);
    send_all(p, &a, "kept", 4);
    assert_sleeps(p);
    assert_int_equal(b.received, 0);
    uint8_t got[4];
    receive_all(p, &b, got, sizeof got);
    assert_memory_equal(got, "kept", 4);
    end_both(p, &a, &b);
}

static void finish_lets_the_peer_read_everything_and_then_the_end(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "last words", 10);
    assert_int_equal(framed_os_finish(&a.s), FRAMED_OK);
    uint8_t got[10];
    receive_all(p, &b, got, sizeof got);
    assert_memory_equal(got, "last words", 10);
    receive_status(p, &b, FRAMED_CLOSED);
    assert_sleeps(p);
    send_all(p, &b, "still open", 10); /* the other way goes on */
    receive_all(p, &a, got, sizeof got);
    assert_memory_equal(got, "still open", 10);
    end_both(p, &a, &b);
}

/* ---- sending ---- */

static void offer_takes_part_with_small_buffers_and_send_completes_when_there_is_room(void **state)
{
    (void)state;
    enum { SIZE = 8 << 20 };
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    framed_os_buffers(&a.s, 4096, 0);
    framed_os_buffers(&b.s, 0, 65536);
    uint8_t *data = memory(SIZE), *got = memory(SIZE);
    fill(data, SIZE);

    size_t sent = stuff(p, &a, data, SIZE);
    struct framed_bytes rest = framed_bytes_of(data + sent, SIZE - sent);
    assert_int_equal(framed_os_send(&a.s, &rest, 1), FRAMED_OK);
    assert_int_equal(a.sent, 0);

    size_t have = 0;
    while (have < SIZE) {
        if (b.s.wants == 0) assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
        unsigned sends = a.sent, receives = b.received;
        while (a.sent == sends && b.received == receives) wait_once(p, OS_FOREVER);
        if (b.received > receives) {
            assert_int_equal(b.status, FRAMED_OK);
            assert_true(b.n <= SIZE - have);
            memcpy(got + have, b.at, b.n);
            have += b.n;
        }
        if (a.sent > sends) {
            assert_int_equal(a.status, FRAMED_OK);
            assert_true(a.n > 0 && a.n <= rest.len);
            rest = framed_bytes_of(rest.at + a.n, rest.len - a.n);
            if (rest.len > 0) assert_int_equal(framed_os_send(&a.s, &rest, 1), FRAMED_OK);
        }
    }
    assert_int_equal(rest.len, 0);
    assert_memory_equal(data, got, SIZE);
    free(data);
    free(got);
    end_both(p, &a, &b);
}

static void offer_of_nothing_takes_nothing(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    struct framed_bytes none[2] = {framed_bytes_of(NULL, 0), framed_bytes_of("", 0)};
    for (size_t n = 1; n <= 2; n++) {
        size_t taken = 7;
        assert_int_equal(framed_os_offer(&a.s, none, n, &taken), FRAMED_OK);
        assert_int_equal(taken, 0);
    }
    end_both(p, &a, &b);
}

static void send_keeps_the_order_of_more_views_than_the_system_takes_at_once(void **state)
{
    (void)state;
    enum { VIEWS = 5000 };
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    static uint8_t data[VIEWS], got[VIEWS];
    static struct framed_bytes views[VIEWS];
    fill(data, VIEWS);
    for (size_t i = 0; i < VIEWS; i++) views[i] = framed_bytes_of(data + i, 1);
    for (size_t sent = 0; sent < VIEWS; sent += a.n) {
        assert_int_equal(framed_os_send(&a.s, views + sent, VIEWS - sent), FRAMED_OK);
        unsigned before = a.sent;
        until(p, &a.sent, before + 1);
        assert_int_equal(a.status, FRAMED_OK);
    }
    receive_all(p, &b, got, VIEWS);
    assert_memory_equal(data, got, VIEWS);
    end_both(p, &a, &b);
}

static void send_to_a_peer_that_reset_fails_and_raises_no_signal(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "unread", 6);
    finish_end(p, &b); /* with unread input: a reset */
    static const uint8_t data[1000];
    struct framed_bytes view = framed_bytes_of(data, sizeof data);
    enum framed_status st = FRAMED_OK;
    for (size_t taken; st == FRAMED_OK;) {
        st = framed_os_offer(&a.s, &view, 1, &taken);
        wait_once(p, 1);
    }
    assert_int_equal(st, FRAMED_RESET);
    assert_int_equal(framed_os_send(&a.s, &view, 1), FRAMED_OK);
    until(p, &a.sent, 2);
    assert_int_equal(a.status, FRAMED_RESET);
    assert_sleeps(p);
    finish_end(p, &a);
    framed_os_poller_close(p);
}

static void a_reset_wakes_nobody_who_wants_nothing(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    send_all(p, &a, "unread", 6);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    wait_once(p, 0);
    framed_os_receive_stop(&a.s);
    finish_end(p, &b);
    assert_sleeps(p);
    assert_int_equal(a.received, 0);
    finish_end(p, &a);
    framed_os_poller_close(p);
}

static void a_send_held_up_after_the_peer_finished_lets_the_poller_sleep_and_goes_on(void **state)
{
    (void)state;
    enum { SIZE = 16 << 20 };
    struct os_poller *p = poller_new();
    struct os_poller *q = poller_new(); /* so that nothing but the send itself wakes p */
    struct end a, b;
    pair_across(p, &a, q, &b);
    uint8_t *data = memory(SIZE), *got = memory(SIZE);
    fill(data, SIZE);
    assert_int_equal(framed_os_finish(&b.s), FRAMED_OK);
    receive_status(p, &a, FRAMED_CLOSED);
    size_t sent = stuff(p, &a, data, SIZE);
    struct framed_bytes rest = framed_bytes_of(data + sent, SIZE - sent);
    assert_int_equal(framed_os_send(&a.s, &rest, 1), FRAMED_OK);
    for (unsigned before = 0;; before = a.sent) {
        assert_sleeps(p);
        if (a.sent == before) break;
        sent += a.n; /* the system found some more room after all */
        assert_true(sent < SIZE);
        rest = framed_bytes_of(data + sent, SIZE - sent);
        assert_int_equal(framed_os_send(&a.s, &rest, 1), FRAMED_OK);
    }
    unsigned before = a.sent;
    receive_all(q, &b, got, sent);
    until(p, &a.sent, before + 1);
    assert_int_equal(a.status, FRAMED_OK);
    receive_all(q, &b, got + sent, a.n);
    assert_memory_equal(data, got, sent + a.n);
    free(data);
    free(got);
    finish_end(q, &b);
    framed_os_poller_close(q);
    finish_end(p, &a);
    framed_os_poller_close(p);
}

/* ---- closing ---- */

static void close_itself(struct end *e)
{
    end_close(e);
    end_close(e);
}

static void close_in_accepted_ends_in_one_closed(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    l.then = close_itself;
    dial(p, &a, &bound);
    dial(p, &b, &bound);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    until(p, &l.closed, 1);
    assert_int_equal(l.accepted, 1);
    framed_os_discard(l.handle);
    until(p, &a.connected, 1);
    until(p, &b.connected, 1);
    settle(p);
    assert_int_equal(l.closed, 1);
    end_both(p, &a, &b);
}

static void close_in_connected_ends_in_one_closed(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a;
    struct os_address bound;
    listen_any(p, &l, &bound);
    dial(p, &a, &bound);
    a.then = close_itself;
    until(p, &a.closed, 1);
    assert_int_equal(a.connected, 1);
    finish_end(p, &l);
    dial(p, &a, &bound); /* refused now */
    a.then = close_itself;
    until(p, &a.closed, 1);
    assert_int_equal(a.status, FRAMED_REFUSED);
    settle(p);
    assert_int_equal(a.closed, 1);
    assert_int_equal(closed_in_close, 0);
    framed_os_poller_close(p);
}

static void close_in_received_and_in_sent_ends_in_one_closed(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    struct framed_bytes view = framed_bytes_of("bye", 3);
    a.then = b.then = close_itself;
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_send(&a.s, &view, 1), FRAMED_OK);
    until(p, &a.closed, 1);
    until(p, &b.closed, 1);
    settle(p);
    assert_int_equal(a.sent, 1);
    assert_int_equal(a.received, 0);
    assert_int_equal(b.received, 1);
    end_both(p, &a, &b); /* closing again does nothing */
}

static void close_while_everything_is_asked_for_completes_nothing_but_closed(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b, l, c;
    struct os_address bound;
    pair(p, &a, &b);
    listen_any(p, &l, &bound);
    struct framed_bytes view = framed_bytes_of("never", 5);
    send_all(p, &b, "unread", 6);
    dial(p, &c, &bound);
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_send(&a.s, &view, 1), FRAMED_OK);
    end_close(&a);
    end_close(&l);
    end_close(&c);
    assert_int_equal(a.closed + l.closed + c.closed, 0);
    wait_once(p, OS_FOREVER); /* does not sleep on it */
    assert_int_equal(a.closed, 1);
    assert_int_equal(l.closed, 1);
    assert_int_equal(c.closed, 1);
    settle(p);
    assert_int_equal(a.received + a.sent + l.accepted + c.connected, 0);
    end_both(p, &a, &b);
}

static void close_the_other(struct end *e)
{
    end_close(e->ctx);
}

static void close_of_another_that_is_ready_in_the_same_turn_silences_it(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b, x, y;
    pair(p, &a, &x);
    pair(p, &b, &y);
    send_all(p, &x, "one", 3);
    send_all(p, &y, "two", 3);
    a.ctx = &b;
    b.ctx = &a;
    a.then = b.then = close_the_other;
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    assert_int_equal(framed_os_receive(&b.s, NULL, 0), FRAMED_OK);
    while (a.closed + b.closed == 0) wait_once(p, OS_FOREVER);
    settle(p);
    assert_int_equal(a.received + b.received, 1);
    assert_int_equal(a.closed + b.closed, 1);
    finish_end(p, &x);
    finish_end(p, &y);
    end_both(p, &a, &b);
}

static void a_socket_that_closes_refuses_everything_and_forgets_nobody(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    struct framed_bytes view = framed_bytes_str("late");
    size_t taken;
    end_close(&b);
    end_close(&a); /* b waits behind it to be told */
    assert_int_equal(framed_os_send(&a.s, &view, 1), FRAMED_USAGE);
    assert_int_equal(framed_os_offer(&a.s, &view, 1, &taken), FRAMED_USAGE);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_USAGE);
    assert_int_equal(framed_os_finish(&a.s), FRAMED_USAGE);
    settle(p);
    assert_int_equal(a.closed, 1);
    assert_int_equal(b.closed, 1);
    framed_os_poller_close(p);
}

static void free_itself(struct end *e)
{
    unsigned *gone = e->ctx;
    (*gone)++;
    free(e);
}

enum { CROWD = 40 };

static struct end *crowd[CROWD];

static void close_everybody(struct end *e)
{
    (void)e;
    for (size_t i = 0; i < CROWD; i++) end_close(crowd[i]);
}

/* Forty ends that are ready at once, and free themselves when they are closed. */
static void crowd_ends_by(end_fn *then)
{
    struct os_poller *p = poller_new();
    unsigned gone = 0;
    for (size_t i = 0; i < CROWD; i++) crowd[i] = memory(sizeof *crowd[i]);
    for (size_t i = 0; i < CROWD; i += 2) {
        pair(p, crowd[i], crowd[i + 1]);
        send_all(p, crowd[i], "x", 1);
        send_all(p, crowd[i + 1], "y", 1);
    }
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i]->ctx = &gone;
        crowd[i]->then = then;
        crowd[i]->at_end = free_itself;
        assert_int_equal(framed_os_receive(&crowd[i]->s, NULL, 0), FRAMED_OK);
    }
    until(p, &gone, CROWD);
    assert_sleeps(p);
    assert_int_equal(gone, CROWD);
    assert_int_equal(closed_in_close, 0);
    framed_os_poller_close(p);
}

static void memory_of_a_socket_may_go_in_closed(void **state)
{
    (void)state;
    crowd_ends_by(close_itself);
    crowd_ends_by(close_everybody);
}

/* ---- many ---- */

struct echo {
    struct end e; /* first */
    struct framed_bytes view;
    size_t size;   /* of each message */
    size_t got;    /* bytes of this round */
    unsigned left; /* rounds */
    unsigned *done;
    uint8_t data[70000];
};

static struct echo *echo_of(struct end *e)
{
    return (struct echo *)(void *)e;
}

/* The server's side: what came goes back, one thing at a time. */
static void echo_back(struct end *e)
{
    struct echo *c = echo_of(e);
    if (e->status != FRAMED_OK) {
        end_close(e);
        return;
    }
    if (c->view.len == 0) {
        memcpy(c->data, e->at, e->n); /* it was lent */
        c->view = framed_bytes_of(c->data, e->n);
    } else {
        c->view = framed_bytes_of(c->view.at + e->n, c->view.len - e->n);
    }
    enum framed_status st = c->view.len > 0 ? framed_os_send(&e->s, &c->view, 1) : framed_os_receive(&e->s, NULL, 0);
    if (st != FRAMED_OK) end_close(e);
}

static void take_one_more(struct end *l)
{
    struct echo *c = l->status == FRAMED_OK ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) return;
    end_init(&c->e);
    c->e.then = echo_back;
    c->e.ctx = l->ctx;
    c->e.at_end = free_itself;
    if (framed_os_attach(l->s.poller, &c->e.s, l->handle) == FRAMED_OK) (void)framed_os_receive(&c->e.s, NULL, 0);
    (void)framed_os_accept(&l->s);
}

/* The client's side: sends all, compares all, again. It is never told two things at once that it must tell apart: whether a
 * completion is a send or a receive shows in what is outstanding. */
static void echo_round(struct end *e)
{
    struct echo *c = echo_of(e);
    static uint8_t pattern[70000];
    if (pattern[0] == 0 && pattern[1] == 0) fill(pattern, sizeof pattern);
    if (e->status != FRAMED_OK) {
        end_close(e);
        return;
    }
    if (e->at != NULL) { /* received */
        if (memcmp(e->at, pattern + c->got, e->n) != 0) c->left = 1000;
        e->at = NULL;
        c->got += e->n;
        if (c->got == c->size && --c->left == 0) {
            (*c->done)++;
            end_close(e);
            return;
        }
        if (c->got == c->size) c->got = 0;
        if (c->got == 0) c->view = framed_bytes_of(pattern, c->size);
        if (c->got > 0 || framed_os_send(&e->s, &c->view, 1) != FRAMED_OK) {
            (void)framed_os_receive(&e->s, NULL, 0);
            return;
        }
    } else if (c->view.len > 0 && c->view.at != NULL) { /* sent */
        c->view = framed_bytes_of(c->view.at + e->n, c->view.len - e->n);
        if (c->view.len > 0) (void)framed_os_send(&e->s, &c->view, 1);
        return;
    } else { /* connected */
        c->view = framed_bytes_of(pattern, c->size);
        (void)framed_os_send(&e->s, &c->view, 1);
    }
    (void)framed_os_receive(&e->s, NULL, 0);
}

static void a_hundred_connections_echo_ten_times(void **state)
{
    (void)state;
    enum { CONNS = 100, ROUNDS = 10 };
    static const size_t sizes[] = {1, 100, 4096, 70000};
    struct os_poller *p = poller_new();
    unsigned done = 0, gone = 0;
    struct end l;
    struct os_address bound;
    listen_any(p, &l, &bound);
    l.then = take_one_more;
    l.ctx = &gone;
    assert_int_equal(framed_os_accept(&l.s), FRAMED_OK);
    struct echo *clients = calloc(CONNS, sizeof *clients);
    assert_non_null(clients);
    for (size_t i = 0; i < CONNS; i++) {
        dial(p, &clients[i].e, &bound);
        clients[i].e.then = echo_round;
        clients[i].size = sizes[i % 4];
        clients[i].left = ROUNDS;
        clients[i].done = &done;
    }
    until(p, &done, CONNS);
    until(p, &gone, CONNS);
    for (size_t i = 0; i < CONNS; i++) assert_int_equal(clients[i].e.closed, 1);
    free(clients);
    finish_end(p, &l);
    framed_os_poller_close(p);
}

/* ---- the caller's own loop, options ---- */

static void interest_says_what_is_asked_for(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end a, b;
    pair(p, &a, &b);
    intptr_t handle = OS_NO_HANDLE;
    unsigned events = 9;
    framed_os_interest(&a.s, &handle, &events);
    assert_true(handle != OS_NO_HANDLE);
    assert_int_equal(events, 0);
    assert_int_equal(framed_os_receive(&a.s, NULL, 0), FRAMED_OK);
    framed_os_interest(&a.s, &handle, &events);
    assert_int_equal(events, FRAMED_WANT_READ);
    struct framed_bytes view = framed_bytes_of("x", 1);
    assert_int_equal(framed_os_send(&a.s, &view, 1), FRAMED_OK);
    framed_os_interest(&a.s, &handle, &events);
    assert_int_equal(events, FRAMED_WANT_READ | FRAMED_WANT_WRITE);
    until(p, &a.sent, 1);
    framed_os_receive_stop(&a.s);
    framed_os_interest(&a.s, &handle, &events);
    assert_int_equal(events, 0);
    end_both(p, &a, &b);
}

static void keepalive_and_buffers_leave_a_connection_working(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct end l, a, b;
    struct os_address bound;
    listen_any(p, &l, &bound);
    framed_os_keepalive(&l.s, 60000, 30000);
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    framed_os_keepalive(&a.s, 60000, 30000);
    framed_os_keepalive(&a.s, 1, 1);
    framed_os_keepalive(&a.s, 0, 0);
    framed_os_buffers(&a.s, 0, 0);
    framed_os_buffers(&b.s, 8192, 8192);
    send_all(p, &a, "works", 5);
    uint8_t got[5];
    receive_all(p, &b, got, 5);
    finish_end(p, &l);
    end_both(p, &a, &b);
}

/* ---- addresses ---- */

static void resolve_gives_what_can_be_connected_to(void **state)
{
    (void)state;
    struct os_address a[8];
    char text[OS_ADDRESS_TEXT_SIZE];
    size_t n = 8;
    assert_int_equal(framed_os_resolve("127.0.0.1", "4464", false, a, &n), FRAMED_OK);
    assert_int_equal(n, 1);
    framed_os_address_text(&a[0], text, sizeof text);
    assert_string_equal(text, "127.0.0.1:4464");
    n = 8;
    assert_int_equal(framed_os_resolve("::1", "80", false, a, &n), FRAMED_OK);
    framed_os_address_text(&a[0], text, sizeof text);
    assert_string_equal(text, "[::1]:80");
    n = 8;
    assert_int_equal(framed_os_resolve("localhost", "80", false, a, &n), FRAMED_OK);
    assert_true(n >= 1 && n <= 8);
    n = 1;
    assert_int_equal(framed_os_resolve("localhost", "80", false, a, &n), FRAMED_OK);
    assert_int_equal(n, 1);
}

static void resolve_of_an_empty_host_to_listen_on_is_every_address(void **state)
{
    (void)state;
    struct os_address a[8];
    size_t n = 8;
    assert_int_equal(framed_os_resolve("", "80", true, a, &n), FRAMED_OK);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        char text[OS_ADDRESS_TEXT_SIZE];
        framed_os_address_text(&a[i], text, sizeof text);
        if (strcmp(text, "0.0.0.0:80") == 0 || strcmp(text, "[::]:80") == 0) any = true;
    }
    assert_true(any);
}

static void resolve_of_an_unknown_service_is_not_found(void **state)
{
    (void)state;
    struct os_address a;
    size_t n = 1;
    assert_int_equal(framed_os_resolve("127.0.0.1", "no-such-service", false, &a, &n), FRAMED_NOT_FOUND);
    assert_int_equal(n, 1);
}

static void an_address_has_a_host_and_a_port(void **state)
{
    (void)state;
    static const uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7};
    struct os_host host;
    struct os_address a = loopback("192.0.2.7", "513");
    assert_int_equal(framed_os_address_host(&a, &host), 513);
    assert_memory_equal(host.bytes, mapped, 16);
    char text[OS_ADDRESS_TEXT_SIZE];
    framed_os_host_text(&host, 513, text, sizeof text);
    assert_string_equal(text, "192.0.2.7:513");

    static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 0x17};
    a = loopback("2001:db8::17", "65535");
    assert_int_equal(framed_os_address_host(&a, &host), 65535);
    assert_memory_equal(host.bytes, v6, 16);
    framed_os_host_text(&host, 65535, text, sizeof text);
    assert_string_equal(text, "[2001:db8::17]:65535");

    char small[8] = "@@@@@@@";
    framed_os_address_text(&a, small, 5);
    assert_memory_equal(small, "[200\0@@", 8);
    framed_os_host_text(&host, 1, small, 1);
    assert_string_equal(small, "");
}

static void ipv6_connects_too(void **state)
{
    (void)state;
    struct os_poller *p = poller_new();
    struct os_address any = loopback("::1", "0"), bound;
    struct end l, a, b;
    end_init(&l);
    enum framed_status st = framed_os_listen(p, &l.s, &any, &bound);
    if (st != FRAMED_OK) { /* a machine without IPv6 says so, and nothing else */
        assert_true(st == FRAMED_UNREACHABLE || st == FRAMED_UNSUPPORTED);
        framed_os_poller_close(p);
        return;
    }
    dial(p, &a, &bound);
    take(p, &l, &b);
    until(p, &a.connected, 1);
    char text[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(&l.peer, text, sizeof text);
    assert_int_equal(strncmp(text, "[::1]:", 6), 0);
    finish_end(p, &l);
    end_both(p, &a, &b);
}

/* ---- the rest ---- */

static void clock_never_goes_back_and_sleep_takes_its_time(void **state)
{
    (void)state;
    uint64_t last = framed_os_clock_ns();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = framed_os_clock_ns();
        assert_true(now >= last);
        last = now;
    }
    framed_os_sleep_ms(20);
    assert_true(framed_os_clock_ns() - last >= UINT64_C(10) * 1000000);
    assert_true(framed_os_clock_ns() - last < UINT64_C(3600) * 1000000000);
}

static void random_bytes_differ_and_stay_in_their_place(void **state)
{
    (void)state;
    static uint8_t a[1002], b[1002];
    assert_int_equal(framed_os_random(a, 0), FRAMED_OK);
    assert_int_equal(a[0], 0);
    assert_int_equal(framed_os_random(a + 1, 1000), FRAMED_OK);
    assert_int_equal(framed_os_random(b + 1, 1000), FRAMED_OK);
    assert_true(memcmp(a + 1, b + 1, 1000) != 0);
    for (size_t i = 1; i + 32 <= 1001; i++) { /* every part was written: 32 zeros come once in 2^256 */
        static const uint8_t zeros[32];
        assert_true(memcmp(a + i, zeros, 32) != 0);
    }
    assert_int_equal(a[0] | a[1001] | b[0] | b[1001], 0);
}

static void allocator_resizes_and_frees(void **state)
{
    (void)state;
    const struct framed_allocator *alloc = framed_os_allocator();
    uint8_t *at = alloc->resize(alloc->ctx, NULL, 0, 10);
    assert_non_null(at);
    memcpy(at, "0123456789", 10);
    at = alloc->resize(alloc->ctx, at, 10, 100000);
    assert_non_null(at);
    assert_memory_equal(at, "0123456789", 10);
    assert_null(alloc->resize(alloc->ctx, at, 100000, 0));
}

struct counting {
    struct os_lock *lock;
    unsigned count;
    uintptr_t self;
    atomic_uint running;
};

enum { COUNTS = 50000 };

static void count_up(struct counting *c)
{
    atomic_fetch_add(&c->running, 1);
    while (atomic_load(&c->running) < 2) framed_os_sleep_ms(0); /* both at once, or nothing would show */
    for (int i = 0; i < COUNTS; i++) {
        framed_os_lock(c->lock);
        unsigned seen = c->count;
        if (i % 16 == 0) framed_os_sleep_ms(0); /* room for the other thread, were it let in */
        c->count = seen + 1;
        framed_os_unlock(c->lock);
    }
}

static void count_on_a_thread(void *ctx)
{
    struct counting *c = ctx;
    c->self = framed_os_thread_self();
    count_up(c);
}

static void lock_lets_one_thread_in_at_a_time(void **state)
{
    (void)state;
    struct counting c = {0};
    struct os_thread *t = NULL;
    assert_int_equal(framed_os_lock_new(&c.lock, framed_os_allocator()), FRAMED_OK);
    assert_int_equal(framed_os_thread_start(&t, count_on_a_thread, &c), FRAMED_OK);
    count_up(&c);
    uintptr_t self = framed_os_thread_self();
    bool alike = self == c.self; /* while both run */
    framed_os_thread_join(t);
    assert_int_equal(c.count, 2 * COUNTS);
    assert_true(self != 0 && c.self != 0);
    assert_false(alike);
    assert_true(self == framed_os_thread_self());
    framed_os_lock_free(c.lock, framed_os_allocator());
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wait_returns_when_its_time_is_up),
    cmocka_unit_test(wake_ends_the_next_wait),
    cmocka_unit_test(wakes_without_number_block_nobody_and_end_one_wait),
    cmocka_unit_test(wake_from_a_thread_is_never_lost),
    cmocka_unit_test(poller_says_nomem_for_each_allocation_that_fails_and_leaks_nothing),
    cmocka_unit_test(poller_needs_no_more_memory_however_many_sockets_came_and_went),
    cmocka_unit_test(receive_says_nomem_when_nothing_can_be_lent),
    cmocka_unit_test(listen_tells_the_real_port_and_refuses_a_second_listener),
    cmocka_unit_test(listen_on_a_foreign_address_is_unreachable),
    cmocka_unit_test(listen_over_a_connection_that_just_ended_works),
    cmocka_unit_test(accept_gives_one_connection_for_one_request),
    cmocka_unit_test(accept_taken_back_gives_nothing_until_asked_again),
    cmocka_unit_test(discard_closes_what_nobody_attached),
    cmocka_unit_test(an_accepted_connection_can_live_on_another_poller),
    cmocka_unit_test(connect_to_nobody_is_refused),
    cmocka_unit_test(connect_tells_from_inside_wait_only),
    cmocka_unit_test(receive_lends_what_came),
    cmocka_unit_test(receive_into_place_writes_no_byte_beyond_the_room),
    cmocka_unit_test(receive_asked_again_replaces_the_request),
    cmocka_unit_test(receive_completes_once_and_the_poller_sleeps_on_what_nobody_wants),
    cmocka_unit_test(receive_taken_back_gives_nothing_until_asked_again),
    cmocka_unit_test(finish_lets_the_peer_read_everything_and_then_the_end),
    cmocka_unit_test(offer_takes_part_with_small_buffers_and_send_completes_when_there_is_room),
    cmocka_unit_test(offer_of_nothing_takes_nothing),
    cmocka_unit_test(send_keeps_the_order_of_more_views_than_the_system_takes_at_once),
    cmocka_unit_test(send_to_a_peer_that_reset_fails_and_raises_no_signal),
    cmocka_unit_test(a_reset_wakes_nobody_who_wants_nothing),
    cmocka_unit_test(a_send_held_up_after_the_peer_finished_lets_the_poller_sleep_and_goes_on),
    cmocka_unit_test(close_in_accepted_ends_in_one_closed),
    cmocka_unit_test(close_in_connected_ends_in_one_closed),
    cmocka_unit_test(close_in_received_and_in_sent_ends_in_one_closed),
    cmocka_unit_test(close_while_everything_is_asked_for_completes_nothing_but_closed),
    cmocka_unit_test(close_of_another_that_is_ready_in_the_same_turn_silences_it),
    cmocka_unit_test(memory_of_a_socket_may_go_in_closed),
    cmocka_unit_test(a_hundred_connections_echo_ten_times),
    cmocka_unit_test(a_socket_that_closes_refuses_everything_and_forgets_nobody),
    cmocka_unit_test(interest_says_what_is_asked_for),
    cmocka_unit_test(keepalive_and_buffers_leave_a_connection_working),
    cmocka_unit_test(resolve_gives_what_can_be_connected_to),
    cmocka_unit_test(resolve_of_an_empty_host_to_listen_on_is_every_address),
    cmocka_unit_test(resolve_of_an_unknown_service_is_not_found),
    cmocka_unit_test(an_address_has_a_host_and_a_port),
    cmocka_unit_test(ipv6_connects_too),
    cmocka_unit_test(clock_never_goes_back_and_sleep_takes_its_time),
    cmocka_unit_test(random_bytes_differ_and_stay_in_their_place),
    cmocka_unit_test(allocator_resizes_and_frees),
    cmocka_unit_test(lock_lets_one_thread_in_at_a_time),
};

int main(void)
{
    static const struct {
        enum framed_wait way;
        const char *name;
    } ways[] = {{FRAMED_WAIT_EPOLL, "os.h, epoll"}, {FRAMED_WAIT_POLL, "os.h, poll"}};
    int failed = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct os_poller *p = NULL;
        way = ways[i].way;
        enum framed_status st = framed_os_poller_open(&p, way, framed_os_allocator());
        framed_os_poller_close(p);
        if (st != FRAMED_UNSUPPORTED) failed += cmocka_run_group_tests_name(ways[i].name, tests, NULL, NULL);
    }
    return failed;
}
