/*
 * tunnel.h: what the tests of encrypted connections have in common: keys, a server that asks for them, and the other end by hand,
 * which says and hears what proto/channel_noise.h makes of it.
 * Must not know anything private of src/.
 * Invariants: hand_end frees what a hand has gathered; keys are the same in every run.
 */
#ifndef FRAMED_TESTS_SIM_TUNNEL_H
#define FRAMED_TESTS_SIM_TUNNEL_H

#include "channel_noise.h"
#include "rig.h"
#include <framed/secure.h>

#define KEY_ID        "client-7"
#define SIZE(literal) (sizeof(literal) - 1)

static const enum framed_protection keyed[] = {FRAMED_SHARED_KEY, FRAMED_PINNED_KEYS, FRAMED_SHARED_AND_PINNED};
enum { KEYED = sizeof keyed / sizeof *keyed, PREFACE = 4, HEAD = 8 };

/* ---- keys ---- */

enum who { SERVER, CLIENT, STRANGER, WHO_COUNT };

struct ring {
    struct framed_key secret[WHO_COUNT], public[WHO_COUNT];
    struct framed_key shared, other;
};

static inline const struct ring *ring(void)
{
    static struct ring r;
    for (size_t i = 0; i < WHO_COUNT; i++) {
        memset(&r.secret[i], (int)(0x21 + i), sizeof r.secret[i]);
        assert_int_equal(framed_key_public(&r.public[i], &r.secret[i]), FRAMED_OK);
    }
    memset(&r.shared, 0x51, sizeof r.shared);
    memset(&r.other, 0x52, sizeof r.other);
    return &r;
}

static inline bool needs_shared(enum framed_protection p)
{
    return p != FRAMED_PINNED_KEYS;
}

static inline bool needs_identity(enum framed_protection p)
{
    return p != FRAMED_SHARED_KEY;
}

static inline uint32_t only(enum framed_protection p)
{
    return 1u << p;
}

/* ---- the server ---- */

struct house {
    struct rig rig;    /* first: what the handler gets */
    size_t asked;      /* for a shared key */
    size_t judged;     /* peers that the hook has seen */
    bool nobody;       /* may come in */
    const char *names; /* them so */
    uint8_t hash[32];  /* of the connection of the last request */
    uint8_t key[32];   /* likewise */
    bool has_key;
    char id[FRAMED_KEY_ID_MOST + 1], name[FRAMED_PEER_NAME_SIZE], address[64];
    enum framed_protection protection;
};

static inline bool house_shared_key(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    struct house *h = ctx;
    h->asked++;
    if (id.len != SIZE(KEY_ID) || memcmp(id.at, KEY_ID, id.len) != 0) return false;
    *key = ring()->shared;
    return true;
}

static inline bool house_authorize(void *ctx, struct framed_peer *peer)
{
    struct house *h = ctx;
    h->judged++;
    if (!h->nobody) assert_string_equal(peer->name, ""); /* asked again, it is the one that was given */
    assert_non_null(strchr(peer->address, ':'));
    if (h->nobody || (peer->key != NULL && memcmp(peer->key, ring()->public[CLIENT].bytes, FRAMED_KEY_SIZE) != 0))
        return false;
    snprintf(peer->name, FRAMED_PEER_NAME_SIZE, "%s", h->names);
    return true;
}

/* rig.before: writes down who asks. */
static inline void house_note(struct rig *rig, struct framed_call *call)
{
    struct house *h = (struct house *)rig;
    struct framed_peer peer;
    h->protection = FRAMED_UNPROTECTED;
    if (!framed_call_identity(call, &peer)) return;
    h->protection = peer.protection;
    h->has_key = peer.key != NULL;
    if (peer.key != NULL) memcpy(h->key, peer.key, sizeof h->key);
    memcpy(h->hash, peer.hash, sizeof h->hash);
    snprintf(h->id, sizeof h->id, "%.*s", (int)peer.key_id.len, peer.key_id.len > 0 ? (const char *)peer.key_id.at : "");
    snprintf(h->name, sizeof h->name, "%s", peer.name);
    snprintf(h->address, sizeof h->address, "%s", peer.address);
}

/* A new world, and a configuration; then change it, then house_serve. `protections`: bits. */
static inline void house_start(struct house *h, uint32_t protections)
{
    *h = (struct house){.names = "our client"};
    rig_start(&h->rig, 0);
    h->rig.config.protections = protections;
    h->rig.config.secret_key = &ring()->secret[SERVER];
    h->rig.config.shared_key = house_shared_key;
    h->rig.config.authorize = house_authorize;
    h->rig.config.keys_ctx = h;
    h->rig.config.max_handshakes = UINT32_MAX; /* test_sim_tunnel_limits has the limit */
    h->rig.before = house_note;
}

static inline void house_serves(struct house *h, enum framed_protection p)
{
    house_start(h, 1u << p);
    rig_serve(&h->rig);
}

static inline void house_stop(struct house *h)
{
    rig_stop(&h->rig);
}

/* ---- the other end, by hand ---- */

enum { FLIGHT_MOST = FRAMED_OPENING_MOST + FRAMED_HANDSHAKE_MOST, BODIES_KEPT = 8 };

struct hand {
    struct sim_peer *peer;
    enum framed_side side;
    enum framed_protection protection;
    uint8_t mode;
    const char *id;
    struct framed_key shared;
    struct framed_noise_keypair identity;
    uint32_t max_frame;
    uint8_t ephemeral[NOISE_KEY_SIZE];
    struct framed_handshake hs;
    struct framed_records out, in;
    uint8_t hash[NOISE_KEY_SIZE], peer_key[NOISE_KEY_SIZE];
    uint8_t flight[FLIGHT_MOST]; /* what was composed last */
    size_t flight_len;
    uint8_t *text; /* of the peer's frames: what its records held */
    size_t text_len, text_at, text_cap;
    size_t records;                         /* that have been opened */
    size_t bodies[BODIES_KEPT], body_count; /* lengths, of those that are DATA (assert_hand_heard_records) */
    bool closed;
    uint8_t reason;
    enum framed_status failed; /* opening one of them; else FRAMED_OK */
};

static inline struct hand hand_of(enum framed_side side, enum framed_protection p)
{
    static uint8_t dice;
    enum who who = side == FRAMED_CONNECTOR ? CLIENT : SERVER;
    struct hand h = {
        .side = side, .protection = p, .mode = framed_mode(p, FRAMED_ORDERED), .id = KEY_ID, .shared = ring()->shared};
    memcpy(h.identity.secret, ring()->secret[who].bytes, NOISE_KEY_SIZE);
    memcpy(h.identity.public, ring()->public[who].bytes, NOISE_KEY_SIZE);
    memset(h.ephemeral, 0x77, sizeof h.ephemeral);
    h.ephemeral[5] = ++dice;
    return h;
}

static inline void hand_end(struct hand *h)
{
    free(h->text);
    h->text = NULL;
    framed_handshake_fini(&h->hs);
}

static inline void hand_init(struct hand *h, struct framed_bytes opening)
{
    const struct framed_hello hello = {.max_frame = h->max_frame};
    const struct framed_handshake_config config = {
        .mode = h->mode,
        .side = h->side,
        .opening = opening,
        .ephemeral = h->ephemeral,
        .psk = needs_shared(h->protection) ? h->shared.bytes : NULL,
        .identity = needs_identity(h->protection) ? &h->identity : NULL,
        .hello = h->side == FRAMED_ACCEPTOR ? &hello : NULL,
    };
    assert_int_equal(framed_handshake_init(&h->hs, &config), FRAMED_OK);
}

/* The connector's opening and message 1. */
static inline void hand_compose(struct hand *h)
{
    struct framed_hello hello = {.max_frame = h->max_frame};
    struct framed_fault fault;
    size_t n, m;
    if (needs_shared(h->protection)) hello.key_id = framed_bytes_str(h->id);
    assert_int_equal(framed_opening_encode(h->flight, &n, FRAMED_CONNECTOR, h->mode, &hello, &fault), FRAMED_OK);
    hand_init(h, framed_bytes_of(h->flight, n));
    assert_int_equal(framed_handshake_say(&h->hs, h->flight + n, &m), FRAMED_OK);
    h->flight_len = n + m;
}

static inline void hand_split(struct hand *h)
{
    const uint8_t *key = framed_handshake_peer_key(&h->hs);
    if (key != NULL) memcpy(h->peer_key, key, sizeof h->peer_key);
    assert_int_equal(framed_handshake_split(&h->hs, &h->out, &h->in, h->hash), FRAMED_OK);
}

/* The peer's next message, off what has come. */
static inline enum framed_status hand_hear(struct hand *h)
{
    struct framed_bytes got = sim_peer_received(h->peer), in = got;
    enum framed_status st = framed_handshake_next(&h->hs, &in);
    sim_peer_take(h->peer, got.len - in.len);
    return st;
}

static inline void hand_send_raw(struct hand *h, const void *at, size_t n)
{
    sim_peer_send(h->peer, at, n);
    sim_run_ms(0);
}

/* The connector: says opening and message 1. */
static inline void hand_begin(struct hand *h)
{
    if (h->peer == NULL) h->peer = connected();
    hand_compose(h);
    hand_send_raw(h, h->flight, h->flight_len);
}

/* That, and hears preface and message 2; message 3, if there is one, is composed. */
static inline void hand_knock(struct hand *h)
{
    hand_begin(h);
    struct framed_bytes got = sim_peer_received(h->peer);
    const uint8_t preface[] = {0xf7, 0x66, 1, h->mode};
    assert_true(got.len > PREFACE);
    assert_memory_equal(got.at, preface, PREFACE);
    sim_peer_take(h->peer, PREFACE);
    assert_int_equal(hand_hear(h), FRAMED_OK);
    h->flight_len = 0;
    if (needs_identity(h->protection)) assert_int_equal(framed_handshake_say(&h->hs, h->flight, &h->flight_len), FRAMED_OK);
    hand_split(h);
}

/* That, and message 3. */
static inline void hand_enter(struct hand *h)
{
    hand_knock(h);
    if (h->flight_len > 0) hand_send_raw(h, h->flight, h->flight_len);
}

static inline struct hand entered(enum framed_protection p)
{
    struct hand h = hand_of(FRAMED_CONNECTOR, p);
    hand_enter(&h);
    return h;
}

/* The acceptor: hears opening and message 1, and composes preface and message 2. */
static inline void hand_compose_answer(struct hand *h)
{
    struct framed_bytes got = sim_peer_received(h->peer);
    size_t n;
    assert_true(got.len >= HEAD);
    assert_int_equal(got.at[3], h->mode);
    size_t opening = HEAD + got.at[7];
    assert_true(got.len > opening);
    hand_init(h, framed_bytes_of(got.at, opening));
    sim_peer_take(h->peer, opening);
    assert_int_equal(hand_hear(h), FRAMED_OK);
    const uint8_t preface[] = {0xf7, 0x66, 1, h->mode};
    memcpy(h->flight, preface, PREFACE);
    assert_int_equal(framed_handshake_say(&h->hs, h->flight + PREFACE, &n), FRAMED_OK);
    h->flight_len = PREFACE + n;
}

/* ---- records ---- */

/* A record as it goes onto the wire; the caller frees it. */
static inline uint8_t *hand_seal(struct hand *h, enum record_type type, const void *body, size_t n, size_t *len)
{
    uint8_t *record = malloc(RECORD_HEAD + n + RECORD_TAIL);
    assert_non_null(record);
    if (n > 0) memcpy(record + RECORD_HEAD, body, n);
    assert_int_equal(framed_record_seal(&h->out, type, record, n), FRAMED_OK);
    *len = RECORD_HEAD + n + RECORD_TAIL;
    return record;
}

static inline void hand_say(struct hand *h, enum record_type type, const void *body, size_t n)
{
    size_t len;
    uint8_t *record = hand_seal(h, type, body, n, &len);
    sim_peer_send(h->peer, record, len);
    free(record);
}

/* A frame of n bytes as it lies in the inner stream; the caller frees it. */
static inline uint8_t *framed_text(const void *payload, size_t n)
{
    uint8_t *frame = malloc(FRAMED_LENGTH_SIZE + n);
    assert_non_null(frame);
    frame[0] = (uint8_t)(n >> 24), frame[1] = (uint8_t)(n >> 16), frame[2] = (uint8_t)(n >> 8), frame[3] = (uint8_t)n;
    if (n > 0) memcpy(frame + FRAMED_LENGTH_SIZE, payload, n);
    return frame;
}

/* A frame, in records as large as they may be, or of `piece` bytes. */
static inline void hand_say_frame(struct hand *h, const void *payload, size_t n, size_t piece)
{
    uint8_t *frame = framed_text(payload, n);
    size_t len = FRAMED_LENGTH_SIZE + n;
    if (piece == 0) piece = RECORD_BODY_MOST;
    for (size_t at = 0; at < len; at += piece) hand_say(h, RECORD_DATA, frame + at, len - at < piece ? len - at : piece);
    free(frame);
}

static inline void hand_ask(struct hand *h, const char *text)
{
    hand_say_frame(h, text, strlen(text), 0);
    sim_run_ms(0);
}

/* Opens every record that has come whole. */
static inline void hand_gather(struct hand *h)
{
    struct framed_bytes record, body;
    while (h->failed == FRAMED_OK && sim_peer_frame(h->peer, &record)) {
        enum record_type type;
        h->failed = framed_record_open(&h->in, (uint8_t *)(uintptr_t)record.at, record.len, &type, &body);
        if (h->failed != FRAMED_OK) return;
        h->records++;
        if (type == RECORD_CLOSE) h->closed = true, h->reason = body.at[0];
        if (type != RECORD_DATA) continue;
        if (h->body_count < BODIES_KEPT) h->bodies[h->body_count] = body.len;
        h->body_count++;
        if (h->text_at == h->text_len) h->text_at = h->text_len = 0;
        if (h->text_len + body.len > h->text_cap) h->text = realloc(h->text, h->text_cap = 2 * (h->text_len + body.len));
        assert_non_null(h->text);
        memcpy(h->text + h->text_len, body.at, body.len);
        h->text_len += body.len;
    }
}

/* The next frame of the peer's. False: there is none. */
static inline bool hand_frame(struct hand *h, struct framed_bytes *payload)
{
    hand_gather(h);
    assert_int_equal(h->failed, FRAMED_OK);
    size_t have = h->text_len - h->text_at;
    if (have < FRAMED_LENGTH_SIZE) return false;
    const uint8_t *at = h->text + h->text_at;
    size_t n = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    if (have - FRAMED_LENGTH_SIZE < n) return false;
    *payload = framed_bytes_of(at + FRAMED_LENGTH_SIZE, n);
    h->text_at += FRAMED_LENGTH_SIZE + n;
    return true;
}

static inline void hand_hears(struct hand *h, const void *payload, size_t n)
{
    struct framed_bytes got = {0};
    assert_true(hand_frame(h, &got));
    assert_bytes(got, payload, n);
}

static inline void assert_hand_echoes(struct hand *h, const char *text)
{
    hand_ask(h, text);
    hand_hears(h, text, strlen(text));
}

/* Since this was asked last the peer has said so many frames, each of n bytes, in so many records, whose bodies have these lengths. */
static inline void assert_hand_heard_records(struct hand *h, size_t frames, size_t n, const size_t *bodies, size_t count)
{
    struct framed_bytes got;
    for (size_t i = 0; i < frames; i++) {
        assert_true(hand_frame(h, &got));
        assert_int_equal(got.len, n);
    }
    assert_false(hand_frame(h, &got));
    assert_int_equal(h->body_count, count);
    for (size_t i = 0; i < count; i++) assert_int_equal(h->bodies[i], bodies[i]);
    h->body_count = 0;
}

/* A frame of n bytes, and the bodies of the records in which it leaves when nobody else waits: from 16 KiB on each end works on a half
 * of what is left. */
struct long_one {
    size_t n, bodies[BODIES_KEPT], count;
};

static const struct long_one long_ones[] = {
    {(16 << 10) - 5, {(16 << 10) - 1}, 1}, /* with its length word one byte too short for that */
    {(16 << 10) - 4, {8 << 10, 8 << 10}, 2},
    {65514, {32759, 32759}, 2},
    {131031, {65517, 65518}, 2},        /* whose half is still short enough */
    {131032, {65518, 32759, 32759}, 3}, /* and one whose half is as long as a record may be */
    {200000, {65518, 65518, 34484, 34484}, 4},
};
enum { LONG_ONES = sizeof long_ones / sizeof *long_ones };

/* The peer has said nothing more but its CLOSE, with this reason, and ended. */
static inline void assert_hand_closed(struct hand *h, uint8_t reason)
{
    hand_gather(h);
    assert_int_equal(h->failed, FRAMED_OK);
    assert_true(h->closed);
    assert_int_equal(h->reason, reason);
    assert_int_equal(h->text_at, h->text_len);
    assert_int_equal(sim_peer_received(h->peer).len, 0);
    assert_int_equal(sim_peer_state(h->peer), SIM_ENDED);
}

/* The peer has ended, and said nothing at all. */
static inline void assert_hand_cut(struct hand *h)
{
    assert_int_equal(sim_peer_received(h->peer).len, 0);
    assert_int_equal(sim_peer_state(h->peer), SIM_ENDED);
}

/* ---- clients ---- */

static inline struct framed_client_config keyed_config(enum framed_protection p)
{
    struct framed_client_config config = client_config();
    config.protection = p;
    if (needs_shared(p)) {
        config.shared_key = &ring()->shared;
        config.key_id = framed_bytes_str(KEY_ID);
    }
    if (needs_identity(p)) {
        config.secret_key = &ring()->secret[CLIENT];
        config.peer_keys = &ring()->public[SERVER];
        config.peer_key_count = 1;
    }
    return config;
}

#endif
