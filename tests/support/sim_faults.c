/*
 * sim_faults.c: owns which operation fails, and when.
 * Must not know what an operation does, nor what failing does to a connection.
 * Invariant: every operation is counted, whether it fails or not.
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const op_names[OP_COUNT] = {
    "poller_open", "wait",  "listen", "adopt", "attach", "accept",  "accepted",     "connect", "connected", "receive",
    "received",    "offer", "send",   "sent",  "finish", "resolve", "address_unix", "random",  "lock_new",  "thread_start"};

const char *sim_op_name(enum sim_op op)
{
    return op_names[op];
}

static void add_failure(enum sim_op op, uint64_t n, enum framed_status status, bool onward)
{
    must(world.failure_count < MOST_FAILURES && n > 0, "sim_fail: too many failures, or the 0th time");
    struct failure *f = &world.failures[world.failure_count++];
    *f = (struct failure){.op = op, .status = status, .at = world.ops[op] + n, .onward = onward};
}

void sim_fail(enum sim_op op, uint64_t n, enum framed_status status)
{
    add_failure(op, n, status, false);
}

void sim_fail_onward(enum sim_op op, uint64_t n, enum framed_status status)
{
    add_failure(op, n, status, true);
}

void sim_fail_odds(enum sim_op op, uint32_t one_in, enum framed_status status)
{
    world.odds[op] = (struct odds){one_in, status};
}

void sim_fail_never(void)
{
    world.failure_count = 0;
    memset(world.odds, 0, sizeof world.odds);
}

uint64_t sim_ops(enum sim_op op)
{
    return world.ops[op];
}

uint64_t sim_failures_reached(void)
{
    return world.failures_reached;
}

/* Counts one occurrence; true when it is to fail. */
bool fails(enum sim_op op, enum framed_status *status)
{
    uint64_t n = ++world.ops[op];
    for (size_t i = 0; i < world.failure_count; i++) {
        struct failure *f = &world.failures[i];
        if (f->op != op || n < f->at || (n > f->at && !f->onward)) continue;
        world.failures_reached++;
        *status = f->status;
        return true;
    }
    const struct odds *odds = &world.odds[op];
    if (odds->one_in == 0 || thrown(odds->one_in) != 0) return false;
    world.failures_reached++;
    *status = odds->status;
    return true;
}
