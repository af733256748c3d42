/*
 * busy.c: a server whose handler works for 20 us of its thread's time for each request and sends it back, with as many workers as
 * it is told: what `make bench` measures where the handler is the limit.
 * Must not know what is measured. Invariant: work is processor time, so a worker that waits for a core has not worked.
 */
#define _GNU_SOURCE 1
#include <framed/framed.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WORK_NS = 20000 };

static long long thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void work(void *ctx, struct framed_call *call)
{
    (void)ctx;
    long long until = thread_ns() + WORK_NS;
    while (thread_ns() < until) continue;
    (void)framed_call_reply(call, framed_call_body(call)); /* who has gone needs none */
}

int main(int argc, char **argv)
{
    struct framed_server *server;
    struct framed_server_config config;
    char address[64];
    framed_server_config_init(&config, sizeof config);
    config.handler = work;
    config.workers = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
    enum framed_status st = framed_server_new(&config, &server);
    if (st == FRAMED_OK) st = framed_server_listen(server, "127.0.0.1:0");
    if (st == FRAMED_OK) st = framed_server_address(server, 0, address, sizeof address);
    if (st == FRAMED_OK) {
        fprintf(stderr, "busy: listening on %s\n", address);
        st = framed_server_run(server);
    }
    fprintf(stderr, "busy: %s\n", framed_status_text(st));
    return 1;
}
