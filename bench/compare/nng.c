/*
 * nng.c: nng's echo, a REP with 256 contexts, and a load of REQs, one for each connection, with a context for each request on the way.
 * Must not know the library, nor 4-byte frames. Invariants: a reply must carry the number of its request; what the callbacks share
 * is touched only under the lock.
 */
#define _GNU_SOURCE 1
#include "peer.h"
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/util/platform.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONTEXTS = 256, NUMBER = 8, SILENCE_MS = 5000 };

static int failed(const char *what, int error)
{
    return load_fail("%s: %s", what, nng_strerror(error));
}

/* ---- serving ---- */

struct worker {
    nng_ctx context;
    nng_aio *aio;
    bool sends;
};

static void on_served(void *arg)
{
    struct worker *w = arg;
    int error = nng_aio_result(w->aio);
    if (error == NNG_ECLOSED) return;
    w->sends = !w->sends && error == 0;
    if (!w->sends) {
        nng_ctx_recv(w->context, w->aio);
        return;
    }
    nng_aio_set_msg(w->aio, nng_aio_get_msg(w->aio)); /* the request is the reply */
    nng_ctx_send(w->context, w->aio);
}

static int serve(void)
{
    static struct worker workers[CONTEXTS];
    nng_socket rep;
    nng_listener listener;
    nng_sockaddr at;
    int error = nng_rep0_open(&rep);
    if (error == 0) error = nng_socket_set_size(rep, NNG_OPT_RECVMAXSZ, 0);
    for (unsigned i = 0; i < CONTEXTS && error == 0; i++) {
        error = nng_ctx_open(&workers[i].context, rep);
        if (error == 0) error = nng_aio_alloc(&workers[i].aio, on_served, &workers[i]);
        if (error == 0) nng_ctx_recv(workers[i].context, workers[i].aio);
    }
    if (error == 0) error = nng_listen(rep, "tcp://127.0.0.1:0", &listener, 0);
    if (error == 0) error = nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &at);
    if (error != 0) {
        fprintf(stderr, "nng: %s\n", nng_strerror(error));
        return 3;
    }
    const uint8_t *port = (const uint8_t *)&at.s_in.sa_port;
    fprintf(stderr, "nng: listening on 127.0.0.1:%u\n", (unsigned)port[0] << 8 | port[1]);
    for (;;) pause();
}

/* ---- a load ---- */

struct load_nng;

struct request {
    struct load_nng *load;
    nng_ctx context;
    nng_aio *aio;
    nng_msg *message; /* while nothing is on the way */
    bool receives;
    uint64_t number;
    uint64_t due_ns;
};

struct load_nng {
    struct load_config config;
    nng_socket *sockets;
    unsigned opened;
    struct request *requests;
    unsigned allocated;
    nng_mtx *lock;
    nng_cv *all_done;
    uint64_t stop_ns;
    uint64_t left_to_issue;
    uint64_t outstanding;
    uint64_t end_ns;
    int error;
    struct tally tally;
};

/* `r->message` is the next request. */
static void send_next(struct request *r, uint64_t now)
{
    size_t size = r->load->config.size;
    r->number++;
    r->due_ns = now;
    r->receives = false;
    memcpy(nng_msg_body(r->message), &r->number, size < NUMBER ? size : NUMBER);
    nng_aio_set_msg(r->aio, r->message);
    r->message = NULL;
    nng_ctx_send(r->context, r->aio);
}

static void end_with(struct load_nng *l, int error)
{
    nng_mtx_lock(l->lock);
    if (l->error == 0) l->error = error;
    l->outstanding--;
    nng_cv_wake(l->all_done);
    nng_mtx_unlock(l->lock);
}

/* Whether another request is to follow. */
static bool count_reply(struct load_nng *l, uint64_t took_ns, uint64_t now)
{
    nng_mtx_lock(l->lock);
    tally_note(&l->tally, took_ns);
    if (now >= l->stop_ns || l->error != 0) l->left_to_issue = 0;
    bool more = l->left_to_issue > 0;
    if (more && l->left_to_issue != UINT64_MAX) l->left_to_issue--;
    if (!more) {
        l->end_ns = now;
        if (--l->outstanding == 0) nng_cv_wake(l->all_done);
    }
    nng_mtx_unlock(l->lock);
    return more;
}

static void on_done(void *arg)
{
    struct request *r = arg;
    size_t size = r->load->config.size;
    int error = nng_aio_result(r->aio);
    if (error == 0 && !r->receives) {
        r->receives = true;
        nng_ctx_recv(r->context, r->aio);
        return;
    }
    if (error != 0) {
        if (!r->receives) r->message = nng_aio_get_msg(r->aio);
        end_with(r->load, error);
        return;
    }
    uint64_t now = load_clock_ns();
    r->message = nng_aio_get_msg(r->aio);
    if (nng_msg_len(r->message) != size ||
        memcmp(nng_msg_body(r->message), &r->number, size < NUMBER ? size : NUMBER) != 0) {
        end_with(r->load, NNG_EPROTO);
    } else if (count_reply(r->load, now - r->due_ns, now)) {
        send_next(r, now);
    }
}

/* 0: every reply has come. */
static int wait_for_all(struct load_nng *l)
{
    nng_mtx_lock(l->lock);
    while (l->outstanding > 0 && l->error == 0) {
        uint64_t before = l->tally.messages;
        bool late = nng_cv_until(l->all_done, nng_clock() + SILENCE_MS) == NNG_ETIMEDOUT;
        if (late && l->tally.messages == before) l->error = NNG_ETIMEDOUT;
    }
    int error = l->error;
    nng_mtx_unlock(l->lock);
    return error == 0 ? 0 : failed("a request", error);
}

static int run(void *load, double seconds, uint64_t count, struct load_result *result)
{
    struct load_nng *l = load;
    uint64_t all = (uint64_t)l->config.conns * l->config.inflight;
    uint64_t first = count > 0 && count < all ? count : all;
    uint64_t start = load_clock_ns();
    memset(&l->tally, 0, sizeof l->tally);
    l->left_to_issue = count > 0 ? count - first : UINT64_MAX;
    l->stop_ns = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
    l->outstanding = first;
    for (uint64_t i = 0; i < first; i++) send_next(&l->requests[i], start);
    if (wait_for_all(l) != 0) return -1;
    *result = tally_result(&l->tally, l->config.size, (double)(l->end_ns - start) / 1e9);
    return 0;
}

static void close_load(void *load)
{
    struct load_nng *l = load;
    for (unsigned i = 0; i < l->opened; i++) nng_close(l->sockets[i]);
    for (unsigned i = 0; i < l->allocated; i++) {
        if (l->requests[i].aio != NULL) nng_aio_free(l->requests[i].aio);
        if (l->requests[i].message != NULL) nng_msg_free(l->requests[i].message);
    }
    if (l->all_done != NULL) nng_cv_free(l->all_done);
    if (l->lock != NULL) nng_mtx_free(l->lock);
    free(l->requests);
    free(l->sockets);
    free(l);
}

static int request_open(struct load_nng *l, nng_socket req)
{
    struct request *r = &l->requests[l->allocated++];
    r->load = l;
    int error = nng_ctx_open(&r->context, req);
    if (error == 0) error = nng_aio_alloc(&r->aio, on_done, r);
    if (error == 0) error = nng_msg_alloc(&r->message, l->config.size);
    if (error == 0) memset(nng_msg_body(r->message), 'f', l->config.size);
    return error == 0 ? 0 : failed("a context", error);
}

static int conn_open(struct load_nng *l, const char *url)
{
    nng_socket *req = &l->sockets[l->opened];
    int error = nng_req0_open(req);
    if (error != 0) return failed("nng_req0_open", error);
    l->opened++;
    error = nng_socket_set_size(*req, NNG_OPT_RECVMAXSZ, 0);
    if (error == 0) error = nng_dial(*req, url, NULL, 0);
    if (error != 0) return failed("nng_dial", error);
    for (unsigned i = 0; i < l->config.inflight; i++)
        if (request_open(l, *req) != 0) return -1;
    return 0;
}

static void *open_load(const struct load_config *config)
{
    char url[128];
    struct load_nng *l = calloc(1, sizeof *l);
    if (l == NULL || config->rate > 0) {
        load_fail("out of memory, or asked for a rate");
        free(l);
        return NULL;
    }
    snprintf(url, sizeof url, "tcp://%s:%s", config->host, config->port);
    l->config = *config;
    l->sockets = calloc(config->conns, sizeof *l->sockets);
    l->requests = calloc((size_t)config->conns * config->inflight, sizeof *l->requests);
    int st =
        l->sockets != NULL && l->requests != NULL && nng_mtx_alloc(&l->lock) == 0 && nng_cv_alloc(&l->all_done, l->lock) == 0
            ? 0
            : load_fail("out of memory");
    for (unsigned i = 0; i < config->conns && st == 0; i++) st = conn_open(l, url);
    if (st == 0) return l;
    close_load(l);
    return NULL;
}

/* ---- holding ---- */

/* One REQ that dials many times: what is sent goes to each in turn. */
static int hold(const char *address, unsigned have, unsigned n)
{
    static nng_socket req;
    char url[128];
    int error = 0;
    snprintf(url, sizeof url, "tcp://%s", address);
    if (have == 0) error = nng_req0_open(&req);
    for (unsigned i = have; i < n && error == 0; i++) {
        char reply[8];
        size_t len = sizeof reply;
        error = nng_dial(req, url, NULL, 0);
        if (error == 0) error = nng_send(req, "one echo", sizeof reply, 0);
        if (error == 0) error = nng_recv(req, reply, &len, 0);
    }
    return error == 0 ? 0 : failed("holding", error);
}

int main(int argc, char **argv)
{
    static const struct peer peer = {{"nng", open_load, run, close_load}, serve, hold};
    return peer_main(argc, argv, &peer);
}
