/*
 * weather.c: owns the faults of a trial: when they begin, what they do, when they are over.
 * Must not know what clients ask, nor what handlers answer.
 * Invariants: a fault begins when so many calls have begun, or later if it finds nobody to befall; it counts when it does; all
 * are over when the last call has been begun and its time has passed.
 */
#include "trial.h"
#include <string.h>

/* A fault that has found nobody so often takes a client. */
enum { TRIES = 15, SILENCE_MS = 90000 /* keepalive finds out */ };

/* ---- what can fail, and how ---- */

static const struct {
    enum sim_op op;
    enum framed_status status;
} failing[] = {{OP_ACCEPT, FRAMED_NOMEM},     {OP_ACCEPTED, FRAMED_LIMIT},    {OP_ATTACH, FRAMED_LIMIT},
               {OP_CONNECT, FRAMED_LIMIT},    {OP_CONNECTED, FRAMED_REFUSED}, {OP_RECEIVE, FRAMED_NOMEM},
               {OP_RECEIVED, FRAMED_RESET},   {OP_OFFER, FRAMED_RESET},       {OP_SEND, FRAMED_NOMEM},
               {OP_SENT, FRAMED_RESET},       {OP_FINISH, FRAMED_RESET},      {OP_WAIT, FRAMED_OS},
               {OP_LISTEN, FRAMED_LIMIT},     {OP_RANDOM, FRAMED_OS},         {OP_LOCK_NEW, FRAMED_NOMEM},
               {OP_POLLER_OPEN, FRAMED_LIMIT}};

enum { FAILING = sizeof failing / sizeof *failing };

/* ---- the end of a fault ---- */

static void memory_is_back(void *ctx)
{
    struct trial *t = ctx;
    t->server_memory_one_in = t->client_memory_one_in = 0;
    note(t, "weather", 0, "memory is back");
}

static void descriptors_are_back(void *ctx)
{
    sim_max_handles(0);
    note(ctx, "weather", 0, "descriptors are back");
}

static void all_events_are_back(void *ctx)
{
    sim_events_per_wait(0);
    note(ctx, "weather", 0, "all events are back");
}

static void operations_work(void *ctx)
{
    sim_fail_never();
    note(ctx, "weather", 0, "operations work again");
}

static void stranger_leaves(void *ctx)
{
    sim_peer_reset(ctx);
}

/* ---- strangers ---- */

/* Connects, and does not behave. */
static bool stranger_comes(struct trial *t, const struct fault *f)
{
    struct sim_peer *peer = sim_connect(TRIAL_WHERE);
    struct dice dice = {f->which};
    uint8_t bytes[64];
    if (peer == NULL) return false;
    const char *colon = strrchr(sim_peer_address(peer), ':');
    uint32_t port = 0;
    for (colon++; *colon != '\0'; colon++) port = port * 10 + (uint32_t)(*colon - '0');
    t->stranger_ports[t->stranger_count] = port;
    t->strangers[t->stranger_count++] = peer;
    for (uint32_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)throw_word(&dice);
    if (throw_below(&dice, 2) == 0) sim_peer_stop_reading(peer);
    uint32_t frames = throw_below(&dice, 100);
    for (uint32_t i = 0; i < frames; i++) sim_peer_send_frame(peer, bytes, throw_below(&dice, sizeof bytes));
    sim_peer_send(peer, bytes, throw_below(&dice, sizeof bytes)); /* a part of a frame, or of something else */
    switch (throw_below(&dice, 3)) {
    case 0: sim_peer_finish(peer); break;
    case 1: sim_peer_close(peer); break;
    default: break; /* stays */
    }
    sim_at(f->ms * 10, stranger_leaves, peer);
    return true;
}

/* ---- the beginning of a fault ---- */

/* On one connection, which is an excuse for what becomes of its calls. */
static bool hit(struct trial *t, const struct fault *f, enum sim_hit what, uint64_t ms)
{
    unsigned port = sim_hit(what, ms);
    if (port == 0) return false;
    tell(t, (struct record){.kind = HISTORY_HIT, .conn = port, .by = "weather", .text = fault_names[f->kind]});
    return true;
}

static bool stall_server(struct trial *t, const struct fault *f)
{
    struct life *life = serving_now(t);
    if (life == NULL) return false;
    sim_actor_stall(life->actor, f->ms);
    life->stalled_until_ms = sim_now_ms() + f->ms;
    t->held_up_ms += f->ms;
    return true;
}

static bool end_server(struct trial *t, const struct fault *f)
{
    struct life *life = serving_now(t);
    if (life == NULL || life->doomed || t->life_count >= ENOUGH_LIVES) return false;
    if (f->kind == FAULT_DRAIN) {
        serving_drain(t, life);
    } else {
        life->doomed = true;
        sim_actor_break(life->actor);
    }
    return true;
}

static bool fail_operation(struct trial *t, const struct fault *f)
{
    uint32_t i = f->which % FAILING;
    if (failing[i].op == OP_WAIT)
        sim_fail(OP_WAIT, f->one_in, FRAMED_OS); /* once: it is the end of a server */
    else
        sim_fail_odds(failing[i].op, f->one_in, failing[i].status);
    sim_at(f->ms, operations_work, t);
    tell(t, (struct record){.kind = HISTORY_NOTE,
                            .by = "weather",
                            .text = sim_op_name(failing[i].op),
                            .status = framed_status_name(failing[i].status)});
    return true;
}

static bool befalls(struct trial *t, const struct fault *f)
{
    struct asker *a = &t->askers[f->which % t->plan.client_count];
    switch (f->kind) {
    case FAULT_STALL_WIRE: return sim_hit(SIM_HIT_STALL, f->ms) != 0;
    case FAULT_STALL_SERVER: return stall_server(t, f);
    case FAULT_STALL_CLIENT: sim_actor_stall(a->actor, f->ms); return true;
    case FAULT_FEW_EVENTS:
        sim_events_per_wait(1);
        sim_at(f->ms, all_events_are_back, t);
        return true;
    case FAULT_DESCRIPTORS:
        sim_max_handles(sim_handles() > 1 ? sim_handles() - f->which % 2 : 1);
        sim_at(f->ms, descriptors_are_back, t);
        return true;
    case FAULT_RESET: return hit(t, f, SIM_HIT_RESET, 0);
    case FAULT_END: return hit(t, f, SIM_HIT_END, 0);
    case FAULT_SILENCE: return hit(t, f, SIM_HIT_SILENT, SILENCE_MS);
    case FAULT_SERVER_MEMORY:
        t->server_memory_one_in = f->one_in;
        sim_at(f->ms, memory_is_back, t);
        return true;
    case FAULT_CLIENT_MEMORY:
        t->client_memory_one_in = f->one_in;
        sim_at(f->ms, memory_is_back, t);
        return true;
    case FAULT_CLOCK:
        t->held_up_ms += f->ms;
        sim_clock_jump(f->ms);
        return true;
    case FAULT_OPERATION: return fail_operation(t, f);
    case FAULT_DRAIN:
    case FAULT_CRASH: return end_server(t, f);
    case FAULT_STRANGER: return stranger_comes(t, f);
    default: return true;
    }
}

static void begin(void *ctx)
{
    struct trial *t = ctx;
    while (t->next_fault < t->plan.fault_count && t->begun >= t->plan.faults[t->next_fault].after_calls) {
        struct fault *f = &t->plan.faults[t->next_fault];
        if (t->tries >= TRIES || t->begun == t->plan.calls) { /* there always is a client */
            f->kind = FAULT_STALL_CLIENT;
            f->ms = 1;
        }
        t->tries++;
        if (!befalls(t, f)) return; /* again with the next call */
        t->next_fault++;
        t->tries = 0;
        t->felt[f->kind]++;
        note_for(t, fault_names[f->kind], f->ms);
    }
}

void weather_call(struct trial *t)
{
    t->begun++;
    if (t->next_fault < t->plan.fault_count && t->begun >= t->plan.faults[t->next_fault].after_calls) sim_at(0, begin, t);
}
