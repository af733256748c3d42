/*
 * sim_time.c: owns time, actors, and the order in which things happen.
 * Must not know connections, but for whether somebody's socket is ready.
 * Invariant: time moves only when nobody can do anything at the present moment.
 */
#include "sim_world.h"
#include <stdlib.h>

enum { SPIN_LIMIT = 20000 }; /* turns at one moment in which nothing happened */

/* Runs on a stack of its own until it waits. */
struct sim_actor {
    struct stack *stack;
    struct os_poller *poller;       /* waits for it, or NULL */
    const struct framed_want *want; /* or for that */
    uint64_t deadline_ns;
    uint64_t stalled_until_ns;
    uint64_t steps;
    unsigned port;
    const struct sim_actor *awaited; /* waits for its end, or NULL */
    bool stopping;
    bool breaks;
    bool done;
};

uint64_t sim_now_ms(void)
{
    return (world.now_ns - START_NS) / MS;
}

uint64_t sim_now_us(void)
{
    return (world.now_ns - START_NS) / 1000;
}

static bool is_before(const struct event *a, const struct event *b)
{
    return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->number < b->number;
}

static void swap_events(size_t i, size_t k)
{
    struct event event = world.events.at[i];
    world.events.at[i] = world.events.at[k];
    world.events.at[k] = event;
}

void at_ns(uint64_t when_ns, void (*fn)(void *ctx), void *ctx)
{
    struct event event = {when_ns, world.event_number++, fn, ctx};
    APPEND(world.events, event);
    struct event *at = world.events.at;
    for (size_t i = world.events.n - 1; i > 0 && is_before(&at[i], &at[(i - 1) / 2]); i = (i - 1) / 2)
        swap_events(i, (i - 1) / 2);
}

void sim_at(uint64_t ms, void (*fn)(void *ctx), void *ctx)
{
    at_ns(after_ms(ms), fn, ctx);
}

static struct event take_event(void)
{
    struct event *at = world.events.at;
    struct event first = at[0];
    size_t n = --world.events.n;
    at[0] = at[n];
    for (size_t i = 0, k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && is_before(&at[k + 1], &at[k])) k++;
        if (!is_before(&at[k], &at[i])) break;
        swap_events(i, k);
    }
    return first;
}

void sim_clock_jump(uint64_t ms)
{
    world.now_ns += ms * MS;
    world.leapt_ns += ms * MS;
    for (size_t i = 0; i < world.events.n; i++) world.events.at[i].when_ns += ms * MS; /* its order stays */
    for (size_t i = 0; i < world.ends.n; i++) shift_parcels(world.ends.at[i], ms * MS);
    happened();
}

/* ---- actors ---- */

struct sim_actor *sim_add_actor(void (*run)(void *ctx), void *ctx)
{
    struct sim_actor *a = made(sizeof *a);
    a->stack = stack_new(run, ctx);
    APPEND(world.actors, a);
    return a;
}

bool sim_actor_done(const struct sim_actor *actor)
{
    return actor->done;
}

uint64_t sim_actor_steps(const struct sim_actor *actor)
{
    return actor->steps;
}

void free_actors(void)
{
    for (size_t i = 0; i < world.actors.n; i++) {
        must(world.actors.at[i]->done, "an actor has not ended");
        free(world.actors.at[i]);
    }
    free(world.actors.at);
}

static bool want_ready(const struct framed_want *want)
{
    const struct end *e = end_of_handle(want->socket);
    if (e == NULL) return false;
    const struct os_socket *s = e->socket;
    if (s && s->poller->closing) return true;
    if (e->connecting) return want->events && can_connect(e);
    if ((want->events & FRAMED_WANT_READ) && can_receive(e)) return true;
    return (want->events & FRAMED_WANT_WRITE) && can_send(e);
}

static bool is_stalled(const struct sim_actor *a)
{
    return a->stalled_until_ns > world.now_ns;
}

static bool actor_can_step(const struct sim_actor *a)
{
    if (a->done || is_stalled(a)) return false;
    if (a->awaited) return a->awaited->done;
    if (a->stopping || a->breaks || world.now_ns >= a->deadline_ns) return true;
    return (a->poller && poller_ready(a->poller)) || (a->want && want_ready(a->want));
}

/* Lets the actor run until it waits again, or ends. */
static void step_actor(struct sim_actor *a)
{
    must(world.stepping == NULL, "an actor steps inside an actor");
    must(++world.idle_turns < SPIN_LIMIT, "somebody turns and turns, and nothing happens");
    world.stepping = a;
    a->steps++;
    a->poller = NULL;
    a->done = !stack_enter(a->stack);
    world.stepping = NULL;
    if (a->done) {
        stack_free(a->stack);
        happened();
    }
}

/* Inside an actor: others may go on. */
static void wait_as_actor(struct sim_actor *a, struct os_poller *poller, uint64_t deadline_ns)
{
    a->poller = poller;
    a->deadline_ns = deadline_ns;
    stack_leave(a->stack);
    a->poller = NULL;
}

void sim_actor_break(struct sim_actor *actor)
{
    actor->breaks = true;
}

void sim_actor_stall(struct sim_actor *actor, uint64_t ms)
{
    actor->stalled_until_ns = after_ms(ms);
}

unsigned sim_actor_port(const struct sim_actor *actor)
{
    return actor->port;
}

void note_port(unsigned port)
{
    if (world.stepping) world.stepping->port = port;
}

static bool step_some_actor(void);

void sim_actor_stop(struct sim_actor *actor)
{
    must(world.stepping == NULL, "an actor cannot stop one");
    actor->stopping = true;
    for (int i = 0; i < 1000 && !actor->done; i++) {
        if (actor->awaited && !actor->awaited->done)
            (void)step_some_actor();
        else
            step_actor(actor);
    }
    must(actor->done, "an actor does not stop");
}

/* True when some actor had something to do. */
static bool step_some_actor(void)
{
    size_t n = world.actors.n;
    size_t first = world.dice ? thrown(n) : world.next_actor;
    for (size_t i = 0; i < n; i++) {
        size_t k = (first + i) % n;
        if (!actor_can_step(world.actors.at[k])) continue;
        world.next_actor = k + 1;
        step_actor(world.actors.at[k]);
        return true;
    }
    return false;
}

/* ---- what happens next ---- */

static bool run_due_event(void)
{
    if (world.events.n == 0 || world.events.at[0].when_ns > world.now_ns) return false;
    struct event event = take_event();
    event.fn(event.ctx);
    happened();
    return true;
}

/* One thing that can happen now, apart from the waiting test itself. */
static bool world_moves(void)
{
    pump();
    if (run_due_event()) return true;
    return step_some_actor();
}

/* Nobody has anything to do: on to the next moment at which somebody has, at most `limit_ns`. */
static void pass_time(uint64_t limit_ns)
{
    uint64_t next = limit_ns;
    for (size_t i = 0; i < world.actors.n; i++) {
        const struct sim_actor *a = world.actors.at[i];
        uint64_t then = is_stalled(a) ? a->stalled_until_ns : a->deadline_ns;
        if (!a->done && then < next) next = then;
    }
    if (world.events.n > 0 && world.events.at[0].when_ns < next) next = world.events.at[0].when_ns;
    must(next != UINT64_MAX, "everybody waits for ever");
    must(next > world.now_ns, "time stands still");
    world.now_ns = next;
    happened();
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

bool sim_run_until(bool (*done)(void *ctx), void *ctx, uint64_t ms)
{
    uint64_t began_ns = world.now_ns, leapt_ns = world.leapt_ns;
    uint64_t long_ns = after_ms(ms) - began_ns;
    must(world.stepping == NULL, "an actor cannot let time pass");
    for (;;) {
        pump();
        if (done(ctx)) return true;
        if (world_moves()) continue;
        uint64_t from_ns = began_ns + (world.leapt_ns - leapt_ns);
        uint64_t limit_ns = long_ns > UINT64_MAX - from_ns ? UINT64_MAX : from_ns + long_ns;
        if (world.now_ns >= limit_ns) return false;
        pass_time(limit_ns);
    }
}

void sim_run_ms(uint64_t ms)
{
    (void)sim_run_until(never, NULL, ms);
}

/* ---- waiting ---- */

static bool is_wanted(void *ctx)
{
    return want_ready(ctx);
}

void sim_wait_want(const struct framed_want *want)
{
    struct framed_want copy = *want;
    uint64_t ms = want->timeout_ms == FRAMED_NEVER ? OS_FOREVER : want->timeout_ms;
    struct sim_actor *self = world.stepping;
    if (self == NULL) {
        (void)sim_run_until(is_wanted, &copy, ms);
        return;
    }
    self->want = &copy;
    wait_as_actor(self, NULL, after_ms(ms));
    self->want = NULL;
}

/* A poller that fails tells at least what is closed, as the real ones do. */
static enum framed_status failed_wait(struct os_poller *poller, enum framed_status st)
{
    must(!poller->waiting, "framed_os_wait was called from inside itself");
    poller->waiting = true;
    serve_closings(poller);
    poller->waiting = false;
    return st;
}

static bool must_fail(struct sim_actor *self)
{
    if (self == NULL || !(self->stopping || self->breaks)) return false;
    self->breaks = false;
    return true;
}

enum framed_status framed_os_wait(struct os_poller *poller, uint64_t timeout_ms)
{
    enum framed_status st;
    uint64_t limit_ns = after_ms(timeout_ms);
    struct sim_actor *self = world.stepping;
    if (must_fail(self)) return failed_wait(poller, FRAMED_OS);
    if (fails(OP_WAIT, &st)) return failed_wait(poller, st);
    must(self || ++world.idle_turns < SPIN_LIMIT, "the test's own thread waits and waits, and nothing happens");
    for (;;) {
        pump();
        /* A wait that does not wait still lets the others go on, as they would on their own processors. */
        bool others_first = timeout_ms == 0 || thrown(2) == 1;
        if (others_first && !self && world_moves()) continue;
        if (others_first && self) {
            wait_as_actor(self, poller, world.now_ns);
            if (must_fail(self)) return failed_wait(poller, FRAMED_OS);
            pump();
        }
        if (poller_ready(poller)) {
            (void)serve(poller);
            return FRAMED_OK;
        }
        if (!self && world_moves()) continue;
        if (world.now_ns >= limit_ns) return FRAMED_OK;
        if (!self) {
            pass_time(limit_ns);
            continue;
        }
        wait_as_actor(self, poller, limit_ns);
        if (must_fail(self)) return failed_wait(poller, FRAMED_OS);
    }
}

void framed_os_wake(struct os_poller *poller)
{
    poller->woken = true;
}

uint64_t framed_os_completions(const struct os_poller *poller)
{
    return poller->completions;
}

static bool is_over(void *actor)
{
    return sim_actor_done(actor);
}

/* A thread that the library starts is an actor like others: one after the other, so that runs are repeatable. */
enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx)
{
    enum framed_status st;
    if (fails(OP_THREAD_START, &st)) return st;
    *thread = (struct os_thread *)(void *)sim_add_actor(run, ctx);
    return FRAMED_OK;
}

void framed_os_thread_join(struct os_thread *thread)
{
    struct sim_actor *self = world.stepping, *other = (struct sim_actor *)(void *)thread;
    if (self == NULL) {
        (void)sim_run_until(is_over, other, UINT64_MAX);
        return;
    }
    self->awaited = other;
    while (!other->done) wait_as_actor(self, NULL, UINT64_MAX);
    self->awaited = NULL;
}

/* Whoever turns without waiting lets the others go on, and a little time pass. */
void framed_os_yield(void)
{
    enum { TURN_NS = 10000 };
    uint64_t until_ns = world.now_ns + TURN_NS;
    if (world.stepping) {
        wait_as_actor(world.stepping, NULL, until_ns);
        return;
    }
    while (world.now_ns < until_ns) {
        pump();
        if (!world_moves()) pass_time(until_ns);
    }
}

void framed_os_sleep_ms(uint32_t ms)
{
    if (world.stepping)
        wait_as_actor(world.stepping, NULL, after_ms(ms));
    else
        sim_run_ms(ms);
}
