/*
 * crossing.c: plain frames on one side, checksums or keys on the other (crossing.h).
 * Must not know sockets, nor who looks at what passes.
 * Invariant: of a frame with a checksum nothing behind its payload passes until the checksum was right.
 */
#include "crossing.h"
#include <stdio.h>
#include <string.h>

static struct tunnel *tunnel_of(const struct crossing *x)
{
    return x->channel->tunnel;
}

static enum framed_status put(const struct crossing *x, struct framed_buf *to, const void *at, size_t n)
{
    return framed_buf_append(to, framed_bytes_of(at, n), SIZE_MAX, x->alloc);
}

/* What the tunnel has to say. */
static enum framed_status put_waiting(struct crossing *x, struct framed_buf *to)
{
    struct tunnel *t = tunnel_of(x);
    if (t == NULL) return FRAMED_OK;
    struct framed_bytes wire = tunnel_waiting(t);
    if (wire.len == 0) return FRAMED_OK;
    enum framed_status st = put(x, to, wire.at, wire.len);
    if (st == FRAMED_OK) framed_tunnel_left(t, wire.len);
    return st;
}

/* ---- the opening ---- */

enum framed_status framed_crossing_begin(struct crossing *x, const struct channel_terms *terms,
                                         const struct framed_allocator *alloc, struct framed_buf *to_server)
{
    uint8_t bytes[FRAMED_OPENING_MOST];
    x->alloc = alloc;
    framed_scan_init(&x->out.scan, FRAMED_FRAME_MOST);
    framed_scan_init(&x->in.scan, FRAMED_FRAME_MOST);
    enum framed_status st = framed_channel_new(&x->channel, terms, x, alloc);
    if (st != FRAMED_OK) return st;
    st = put(x, to_server, bytes, framed_channel_opening(x->channel, bytes));
    return st == FRAMED_OK ? put_waiting(x, to_server) : st;
}

enum framed_status framed_crossing_open(struct crossing *x, struct framed_bytes from_server, struct framed_buf *to_server)
{
    enum framed_status st = framed_channel_next(x->channel, &from_server, x->alloc);
    if (st != FRAMED_OK && st != FRAMED_MORE) return st;
    x->early = st == FRAMED_OK && from_server.len > 0;
    if (x->early) return FRAMED_MALFORMED;
    enum framed_status put_st = put_waiting(x, to_server);
    return put_st == FRAMED_OK ? st : put_st;
}

/* ---- with checksums ---- */

static uint32_t trailer_of(const struct crossing *x)
{
    return framed_channel_trailer(x->channel);
}

static enum framed_status put_length(const struct crossing *x, struct framed_buf *to, uint64_t len)
{
    uint8_t word[FRAMED_LENGTH_SIZE];
    enum framed_status st =
        len > FRAMED_FRAME_MOST ? FRAMED_TOO_LARGE : framed_length_encode(word, (uint32_t)len, FRAMED_FRAME_MOST);
    return st == FRAMED_OK ? put(x, to, word, sizeof word) : st;
}

static enum framed_status add_sum(struct crossing *x, const struct framed_token *token, struct framed_buf *to)
{
    struct framed_sum *sum = &x->out.summed.sum;
    struct framed_sum_place place;
    uint8_t trailer[FRAMED_SUM_MOST];
    switch (token->kind) {
    case FRAMED_BEGIN:
        place = sealing_next(&x->channel->out);
        framed_sum_begin(sum, token->length, &place);
        return put_length(x, to, (uint64_t)token->length + trailer_of(x));
    case FRAMED_DATA:
        framed_sum_more(sum, token->data.at, token->data.len);
        return put(x, to, token->data.at, token->data.len);
    default: framed_sum_end(sum, trailer); return put(x, to, trailer, trailer_of(x));
    }
}

static enum framed_status take_sum(struct crossing *x, const struct framed_token *token, struct framed_buf *to)
{
    struct summed *summed = &x->in.summed;
    struct framed_sum_place place;
    struct framed_bytes payload;
    switch (token->kind) {
    case FRAMED_BEGIN:
        if (token->length < trailer_of(x)) return FRAMED_MALFORMED;
        place = channel_place_in(x->channel);
        summed_begin(summed, token->length - trailer_of(x), &place);
        return put_length(x, to, summed->left);
    case FRAMED_DATA: payload = summed_payload(summed, token->data); return put(x, to, payload.at, payload.len);
    default: return summed_is_right(summed) ? FRAMED_OK : FRAMED_MALFORMED;
    }
}

static enum framed_status each_token(struct crossing *x, struct crossing_way *way, struct framed_bytes in,
                                     struct framed_buf *to,
                                     enum framed_status (*pass)(struct crossing *, const struct framed_token *,
                                                                struct framed_buf *))
{
    struct framed_token token;
    enum framed_status st;
    while ((st = framed_scan_next(&way->scan, &in, &token)) == FRAMED_OK)
        if ((st = pass(x, &token, to)) != FRAMED_OK) return st;
    return st == FRAMED_MORE ? FRAMED_OK : st;
}

/* ---- both ---- */

enum framed_status framed_crossing_out(struct crossing *x, struct framed_bytes from_client, struct framed_buf *to_server)
{
    if (tunnel_of(x) == NULL) return each_token(x, &x->out, from_client, to_server, add_sum);
    enum framed_status st = FRAMED_OK;
    while (st == FRAMED_OK && from_client.len > 0) {
        size_t sealed = 0;
        st = framed_tunnel_seal_views(tunnel_of(x), &from_client, 1, false, &sealed);
        if (st == FRAMED_OK) st = put_waiting(x, to_server);
        from_client = framed_bytes_of(from_client.at + sealed, from_client.len - sealed);
    }
    return st;
}

enum framed_status framed_crossing_in(struct crossing *x, struct framed_bytes from_server, struct framed_buf *to_client)
{
    struct tunnel *t = tunnel_of(x);
    struct framed_bytes text;
    if (t == NULL) return each_token(x, &x->in, from_server, to_client, take_sum);
    enum framed_status st = framed_reader_feed(&t->session->reader, (uint8_t *)(uintptr_t)from_server.at, from_server.len);
    while (st == FRAMED_OK && (st = framed_tunnel_text(t, &text)) == FRAMED_OK) st = put(x, to_client, text.at, text.len);
    return st == FRAMED_MORE ? framed_reader_park(&t->session->reader) : st;
}

enum framed_status framed_crossing_end(struct crossing *x, struct framed_buf *to_server)
{
    if (tunnel_of(x) == NULL) return FRAMED_OK;
    enum framed_status st = framed_tunnel_close(tunnel_of(x), TUNNEL_DONE);
    return st == FRAMED_OK ? put_waiting(x, to_server) : st;
}

enum framed_status framed_crossing_ended(const struct crossing *x)
{
    if (!x->channel->is_open) return framed_channel_end(x->channel);
    return tunnel_of(x) != NULL ? FRAMED_TRUNCATED : framed_scan_end(&x->in.scan);
}

void framed_crossing_why(const struct crossing *x, enum framed_status why, char *text, size_t size)
{
    bool early = x != NULL && x->early;
    if (!early && x != NULL && x->channel != NULL && framed_channel_why(x->channel, why, text, size)) return;
    (void)snprintf(text, size, "%s", early ? "a frame came before anything was asked" : framed_status_text(why));
}

void framed_crossing_fini(struct crossing *x)
{
    if (x->channel != NULL) framed_channel_free(x->channel, x->alloc);
    x->channel = NULL;
}
