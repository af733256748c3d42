/*
 * uv.c: a libuv echo of 4-byte frames as it is written by hand: all connections read into one buffer, replies are written from
 * where they lie as far as the socket takes them at once, and only what is cut or left over is copied.
 * Must not know the library. Invariant: a connection holds nothing (`in` is NULL) or the beginning of one cut frame.
 */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { WORD = 4, MOST = 16 << 20, BUFFER = 64 << 10 };

struct conn {
    uv_tcp_t tcp;
    char *in;
    size_t have;
};

struct reply {
    uv_write_t request;
    char bytes[];
};

static char shared[BUFFER];

static size_t frame_size(const char *at)
{
    const unsigned char *w = (const unsigned char *)at;
    return WORD + ((size_t)w[0] << 24 | (size_t)w[1] << 16 | (size_t)w[2] << 8 | w[3]);
}

static void on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    free(c->in);
    free(c);
}

static void close_conn(struct conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp)) uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* A frame larger than the shared buffer is received in place. */
static int is_large(const struct conn *c)
{
    return c->have >= WORD && frame_size(c->in) > BUFFER;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    (void)suggested;
    if (is_large(c)) {
        *buf = uv_buf_init(c->in + c->have, (unsigned)(frame_size(c->in) - c->have));
    } else {
        if (c->have > 0) memcpy(shared, c->in, c->have);
        *buf = uv_buf_init(shared + c->have, (unsigned)(BUFFER - c->have));
    }
}

static void on_written(uv_write_t *request, int status)
{
    if (status < 0) close_conn(request->handle->data);
    free(request);
}

static int reply(struct conn *c, char *at, size_t n)
{
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    uv_buf_t buf = uv_buf_init(at, (unsigned)n);
    int sent = uv_try_write(stream, &buf, 1);
    if (sent == (int)n) return 0;
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) return sent;
    struct reply *r = malloc(sizeof *r + n - (size_t)sent);
    if (r == NULL) return UV_ENOMEM;
    memcpy(r->bytes, at + sent, n - (size_t)sent);
    buf = uv_buf_init(r->bytes, (unsigned)(n - (size_t)sent));
    return uv_write(&r->request, stream, &buf, 1, on_written);
}

/* Keeps the beginning of a cut frame, with room for all of a large one. */
static int keep(struct conn *c, const char *at, size_t n)
{
    char *in = NULL;
    if (n > 0) {
        size_t size = n >= WORD ? frame_size(at) : 0;
        if (size > WORD + (size_t)MOST) return UV_EMSGSIZE;
        in = malloc(size > BUFFER ? size : n);
        if (in == NULL) return UV_ENOMEM;
        memcpy(in, at, n);
    }
    free(c->in);
    c->in = in;
    c->have = n;
    return 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    (void)buf;
    if (n < 0) {
        close_conn(c);
        return;
    }
    char *at = is_large(c) ? c->in : shared;
    size_t whole = 0;
    size_t have = c->have + (size_t)n;
    if (at == c->in && have < frame_size(at)) {
        c->have = have;
        return;
    }
    while (have - whole >= WORD && frame_size(at + whole) <= have - whole) whole += frame_size(at + whole);
    if ((whole > 0 && reply(c, at, whole) < 0) || keep(c, at + whole, have - whole) < 0) close_conn(c);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct conn *c = status == 0 ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) return;
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0 || uv_tcp_nodelay(&c->tcp, 1) < 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) < 0)
        close_conn(c);
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in at;
    int len = sizeof at;
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_init(loop, &listener);
    int st = uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0);
    if (st == 0) st = uv_listen((uv_stream_t *)&listener, 4096, on_connection);
    if (st == 0) st = uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &len);
    if (st < 0) {
        fprintf(stderr, "uv: %s\n", uv_strerror(st));
        return 3;
    }
    fprintf(stderr, "uv: listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    return uv_run(loop, UV_RUN_DEFAULT);
}
