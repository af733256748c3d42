/*
 * Owns: the threads of a load as a whole: their beginning, start, stop and end, and the sum of what they found.
 * Must not know: what a thread does (load_thread.c).
 * Invariants: the threads share nothing but the plan, the start and the stop; all of them are joined before anything is freed.
 */
#include "load_thread.h"
#include <string.h>

static void free_load(struct load *load)
{
    for (uint32_t i = 0; i < load->plan->threads; i++) load_thread_fini(&load->threads[i]);
    load_give_memory(load->threads, load->plan->threads * sizeof *load->threads);
    load_give_memory(load, sizeof *load);
}

enum framed_status framed_load_start(struct load **made, const struct load_plan *plan)
{
    struct load *load = load_take_memory(sizeof *load);
    if (load == NULL) return FRAMED_NOMEM;
    load->plan = plan;
    load->threads = load_take_memory(plan->threads * sizeof *load->threads);
    if (load->threads == NULL) {
        load_give_memory(load, sizeof *load);
        return FRAMED_NOMEM;
    }
    enum framed_status st = FRAMED_OK;
    for (uint32_t i = 0; i < plan->threads && st == FRAMED_OK; i++) st = load_thread_init(&load->threads[i], load, plan, i);
    for (; load->started < plan->threads && st == FRAMED_OK; load->started++) {
        struct load_thread *t = &load->threads[load->started];
        st = framed_os_thread_start(&t->handle, load_thread_run, t);
        if (st != FRAMED_OK) break;
    }
    if (st == FRAMED_OK) {
        *made = load;
        return FRAMED_OK;
    }
    framed_load_stop(load);
    for (uint32_t i = 0; i < load->started; i++) framed_os_thread_join(load->threads[i].handle);
    free_load(load);
    return st;
}

bool framed_load_is_ready(const struct load *load)
{
    return atomic_load(&load->ready) == load->plan->threads;
}

uint64_t framed_load_opened(const struct load *load)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < load->plan->threads; i++) sum += load->threads[i].result.opened;
    return sum;
}

bool framed_load_is_over(const struct load *load)
{
    return atomic_load(&load->over) == load->plan->threads;
}

static void wake_all(struct load *load)
{
    for (uint32_t i = 0; i < load->plan->threads; i++)
        if (load->threads[i].poller != NULL) framed_os_wake(load->threads[i].poller);
}

void framed_load_go(struct load *load)
{
    atomic_store(&load->start_ns, framed_os_clock_ns());
    wake_all(load);
}

void framed_load_stop(struct load *load)
{
    atomic_store(&load->stop, true);
    wake_all(load);
}

void framed_load_progress(const struct load *load, struct load_progress *progress)
{
    *progress = (struct load_progress){.begun_ns = atomic_load(&load->start_ns)};
    for (uint32_t i = 0; i < load->plan->threads; i++) {
        progress->ok += atomic_load_explicit(&load->threads[i].ok_so_far, memory_order_relaxed);
        progress->failed += atomic_load_explicit(&load->threads[i].failed_so_far, memory_order_relaxed);
    }
}

static void add_result(struct load_result *sum, struct load_result *part)
{
    sum->ok += part->ok;
    sum->pending += part->pending;
    for (int i = 0; i < LOAD_FAILURES; i++) sum->failed[i] += part->failed[i];
    sum->late += part->late;
    sum->held += part->held;
    sum->late_replies += part->late_replies;
    sum->warmup += part->warmup;
    sum->reconnected += part->reconnected;
    sum->bytes += part->bytes;
    if (part->begin_ns > 0) sum->begin_ns = part->begin_ns;
    if (part->end_ns > sum->end_ns) sum->end_ns = part->end_ns;
    sum->idle_ns += part->idle_ns;
    sum->ran_ns += part->ran_ns;
    sum->opened += part->opened;
    if (part->connected_ns > sum->connected_ns) sum->connected_ns = part->connected_ns;
    if (part->connect_status != FRAMED_OK) sum->connect_status = part->connect_status;
    if (part->peer_most != 0) sum->peer_most = part->peer_most;
    if (part->opening[0] != '\0') memcpy(sum->opening, part->opening, sizeof sum->opening);
    if (part->status != FRAMED_OK) sum->status = part->status;
    framed_histogram_merge(&sum->response, &part->response);
    framed_histogram_merge(&sum->service, &part->service);
    framed_series_merge(&sum->series, &part->series);
}

void framed_load_finish(struct load *load, struct load_result *result)
{
    framed_series_init(&result->series, UINT64_C(1000000000));
    for (uint32_t i = 0; i < load->started; i++) framed_os_thread_join(load->threads[i].handle);
    for (uint32_t i = 0; i < load->plan->threads; i++) add_result(result, &load->threads[i].result);
    free_load(load);
}
