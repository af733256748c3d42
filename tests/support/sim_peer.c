/*
 * sim_peer.c: owns the raw peers, in which the test itself is client or server.
 * Must not know framed sockets.
 * Invariant: what a peer was told to do is done as far as its connection allows, whenever anybody waits (pump).
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void peer_end(struct sim_peer *p, enum sim_peer_state state)
{
    if (p->state != SIM_OPEN) return;
    p->state = state;
    p->ended_ms = sim_now_ms();
    happened();
}

static void peer_pump_out(struct sim_peer *p)
{
    struct end *e = p->end;
    if (e->closed || e->broken) return;
    while (p->outbox.len > 0 && !e->broken) {
        size_t n = push(e, p->outbox.at + p->outbox.head, p->outbox.len);
        if (n == 0) break;
        queue_drop(&p->outbox, n);
    }
    if (p->finish && p->outbox.len == 0 && !e->out_finished && !e->broken) {
        e->out_finished = true;
        if (!e->silent) carry(e->other, PARCEL_END);
        happened();
    }
}

static void peer_pump_in(struct sim_peer *p)
{
    struct end *e = p->end;
    if (e->closed) return;
    size_t n = e->in.len;
    if (p->allowance < n) n = (size_t)p->allowance;
    if (n > 0) {
        queue_put(&p->inbox, e->in.at + e->in.head, n);
        queue_drop(&e->in, n);
        if (p->allowance != UINT64_MAX) p->allowance -= n;
        happened();
    }
    if (e->breaks_later && e->in.len == 0) break_end(e);
    if (e->broken)
        peer_end(p, SIM_RESET);
    else if (e->in_finished && e->in.len == 0 && p->allowance > 0)
        peer_end(p, SIM_ENDED);
}

void pump(void)
{
    for (size_t i = 0; i < world.peers.n; i++) {
        peer_pump_out(world.peers.at[i]);
        peer_pump_in(world.peers.at[i]);
    }
}

struct sim_peer *peer_new(struct end *e)
{
    struct sim_peer *p = made(sizeof *p);
    p->end = e;
    p->allowance = UINT64_MAX;
    e->peer = p;
    APPEND(world.peers, p);
    place_text(&e->local, p->address, sizeof p->address);
    return p;
}

struct sim_peer *sim_connect_from(const char *address, const char *host)
{
    struct place to = parse_address(address);
    struct end *listener = find_listener(&to);
    if (listener == NULL) return NULL;
    struct end *e = end_new();
    e->local = near_place(&to, host);
    give_delay(e);
    join_listener(e, listener, &to);
    return peer_new(e);
}

struct sim_peer *sim_connect(const char *address)
{
    return sim_connect_from(address, NULL);
}

struct sim_acceptor *sim_listen(const char *address)
{
    struct sim_acceptor *a = made(sizeof *a);
    a->end = end_new();
    a->end->listening = true;
    a->end->acceptor = a;
    a->end->local = parse_address(address);
    APPEND(world.acceptors, a);
    return a;
}

struct sim_peer *sim_accept(struct sim_acceptor *acceptor)
{
    struct end *e = acceptor->end->waiting;
    if (e == NULL) return NULL;
    acceptor->end->waiting = e->next_waiting;
    struct sim_peer *p = peer_new(e);
    pump();
    return p;
}

void sim_acceptor_close(struct sim_acceptor *acceptor)
{
    close_listener(acceptor->end);
}

void sim_peer_send(struct sim_peer *peer, const void *at, size_t n)
{
    must(!peer->finish && !peer->end->closed, "a peer sends after its end");
    queue_put(&peer->outbox, at, n);
    peer_pump_out(peer);
}

void sim_peer_send_frame(struct sim_peer *peer, const void *payload, size_t n)
{
    uint8_t word[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    sim_peer_send(peer, word, sizeof word);
    sim_peer_send(peer, payload, n);
}

void sim_peer_send_frame_text(struct sim_peer *peer, const char *payload)
{
    sim_peer_send_frame(peer, payload, strlen(payload));
}

size_t sim_peer_unsent(const struct sim_peer *peer)
{
    return peer->outbox.len;
}

void sim_peer_finish(struct sim_peer *peer)
{
    peer->finish = true;
    peer_pump_out(peer);
}

void sim_peer_reset(struct sim_peer *peer)
{
    if (peer->end->closed) return;
    struct end *other = peer->end->other;
    peer->end->closed = true;
    queue_free(&peer->end->in);
    queue_free(&peer->outbox);
    if (!peer->end->silent) carry(other, PARCEL_RESET);
    happened();
}

void sim_peer_close(struct sim_peer *peer)
{
    if (peer->end->closed) return;
    if (peer->outbox.len > 0) {
        sim_peer_reset(peer);
        return;
    }
    close_end(peer->end);
}

void sim_peer_stop_reading(struct sim_peer *peer)
{
    peer->allowance = 0;
}

void sim_peer_read_more(struct sim_peer *peer, size_t n)
{
    peer->allowance = n;
    peer_pump_in(peer);
}

void sim_peer_start_reading(struct sim_peer *peer)
{
    peer->allowance = UINT64_MAX;
    peer_pump_in(peer);
}

struct framed_bytes sim_peer_received(const struct sim_peer *peer)
{
    size_t n = peer->inbox.len - peer->taken_frame;
    return framed_bytes_of(n > 0 ? peer->inbox.at + peer->inbox.head + peer->taken_frame : NULL, n);
}

void sim_peer_take(struct sim_peer *peer, size_t n)
{
    must(n <= peer->inbox.len - peer->taken_frame, "a test takes more than has come");
    queue_drop(&peer->inbox, peer->taken_frame + n);
    peer->taken_frame = 0;
}

bool sim_peer_frame(struct sim_peer *peer, struct framed_bytes *payload)
{
    struct framed_bytes all = sim_peer_received(peer);
    if (all.len < 4) return false;
    size_t n = (size_t)all.at[0] << 24 | (size_t)all.at[1] << 16 | (size_t)all.at[2] << 8 | all.at[3];
    if (all.len - 4 < n) return false;
    sim_peer_take(peer, 0);
    all = sim_peer_received(peer);
    peer->taken_frame = 4 + n;
    *payload = framed_bytes_of(all.at + 4, n);
    return true;
}

enum sim_peer_state sim_peer_state(const struct sim_peer *peer)
{
    return peer->state;
}

uint64_t sim_peer_ended_ms(const struct sim_peer *peer)
{
    return peer->ended_ms;
}

bool sim_peer_let_go(const struct sim_peer *peer)
{
    return peer->end->other->closed;
}

const char *sim_peer_address(const struct sim_peer *peer)
{
    return peer->address;
}

bool sim_keepalive(struct sim_peer *peer, uint32_t *idle_ms, uint32_t *give_up_ms)
{
    struct end *e = peer->end->other;
    *idle_ms = e->idle_ms;
    *give_up_ms = e->give_up_ms;
    return e->keepalive_said;
}

const char *sim_congestion(struct sim_peer *peer)
{
    return peer->end->other->congestion;
}
