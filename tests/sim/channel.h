/*
 * channel.h: what the tests of connections that open have in common: bytes of PROTOCOL.md §8.3, frames with trailers.
 * Must not know anything private.
 */
#ifndef FRAMED_TESTS_SIM_CHANNEL_H
#define FRAMED_TESTS_SIM_CHANNEL_H

#include "rig.h"
#include <framed/secure.h>

#define OPENING       "\xf7\x46\x01\x10\0\0\0\x04\x3b\x44\xc1\x92"
#define ANSWER        "\xf7\x66\x01\x10\0\0\0\x04\x27\xda\xa8\x89"
#define HELLO_OF_ONE  "\0\0\0\x09hello\x52\x46\x08\xfe"
#define HELLO_OF_BACK "\0\0\0\x09hello\x5d\x2f\x0a\xd5"
#define SIZE(literal) (sizeof(literal) - 1)

static inline void send_literal(struct sim_peer *peer, const char *bytes, size_t n)
{
    sim_peer_send(peer, bytes, n);
    sim_run_ms(0);
}
#define SEND(peer, literal) send_literal(peer, literal, SIZE(literal))

/* What has come is this, and nothing else; it is taken away. */
static inline void take_exactly(struct sim_peer *peer, const void *bytes, size_t n)
{
    struct framed_bytes got = sim_peer_received(peer);
    assert_int_equal(got.len, n);
    assert_memory_equal(got.at, bytes, n);
    sim_peer_take(peer, n);
}
#define TAKE(peer, literal) take_exactly(peer, literal, SIZE(literal))

/* A frame with its trailer, in that place. */
static inline void send_summed(struct sim_peer *peer, enum framed_side from, uint64_t counter, const void *payload, size_t n)
{
    uint8_t *frame = malloc(n + FRAMED_SUM_SIZE);
    assert_non_null(frame);
    if (n > 0) memcpy(frame, payload, n);
    assert_int_equal(framed_sum_add(frame, n, &(struct framed_sum_place){.from = from, .counter = counter}), FRAMED_OK);
    sim_peer_send_frame(peer, frame, n + FRAMED_SUM_SIZE);
    free(frame);
}

static inline void take_summed(struct sim_peer *peer, enum framed_side from, uint64_t counter, const void *payload, size_t n)
{
    struct framed_bytes got = {0};
    assert_true(sim_peer_frame(peer, &got));
    assert_int_equal(framed_sum_check(&got, &(struct framed_sum_place){.from = from, .counter = counter}), FRAMED_OK);
    assert_int_equal(got.len, n);
    if (n > 0) assert_memory_equal(got.at, payload, n);
}

static inline void serve_with(struct rig *rig, uint32_t protections)
{
    rig_start(rig, 0);
    rig->config.protections = protections;
    rig_serve(rig);
}

static inline struct sim_peer *opened(void)
{
    struct sim_peer *peer = connected();
    SEND(peer, OPENING);
    TAKE(peer, ANSWER);
    return peer;
}

/* Sent by a peer that accepts 16 KiB and no more. */
static inline void open_for_16_kib(struct sim_peer *peer)
{
    uint8_t opening[4 + 4 + 6 + FRAMED_SUM_SIZE] = "\xf7\x46\x01\x10\0\0\0\x0a\x01\x04\0\0\x40\0";
    assert_int_equal(framed_sum_add(opening + 8, 6, &(struct framed_sum_place){.preface = opening}), FRAMED_OK);
    sim_peer_send(peer, opening, sizeof opening);
    sim_run_ms(0);
    TAKE(peer, ANSWER);
}

static inline struct framed_client_config checked(void)
{
    struct framed_client_config config = client_config();
    config.protection = FRAMED_CRC32C;
    return config;
}

#endif
