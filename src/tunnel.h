/*
 * tunnel.h: an encrypted connection behind its opening (PROTOCOL.md §9): the handshake; then frames that leave as records, and
 * records that come as the bytes of frames. Bytes in, bytes out: the socket is conn.c's.
 *
 *   handshake -framed_tunnel_next-> established   framed_tunnel_seal puts what waits into a record, framed_tunnel_text opens one
 *             -> failed                           nothing more leaves, but what was said before
 *
 * What leaves on the wire lies in the tunnel's own memory (tunnel_waiting), sealed once, whatever the system takes of it.
 *
 * A stranger is to hold little: a tunnel is made when the opening has come, and has a handshake or, when that is through, a session.
 */
#ifndef FRAMED_TUNNEL_H
#define FRAMED_TUNNEL_H

#include "../proto/channel_noise.h"
#include <framed/net.h>
#include <string.h>

/* What one owner's connections prove themselves with, and whom they believe. Borrowed by its terms. */
struct tunnel_keys {
    struct framed_noise_keypair identity; /* with protections 9 and 10 */

    /* Of who connects: */
    struct framed_key pinned[FRAMED_PEER_KEYS_MOST]; /* with 9 and 10: the peer has one of them */
    size_t pinned_count;
    struct framed_key shared; /* with 8 and 10 */
    uint8_t key_id[FRAMED_KEY_ID_MOST];
    size_t key_id_len;

    /* Of who listens; `owner` as given to the tunnel: */
    framed_shared_key_fn *shared_key;
    void *shared_key_ctx;
    struct framed_key nobody; /* stands for keys that nobody has: an unknown id then fails like a wrong key, and as late */
    void (*enters)(void *owner);                           /* one more that has proven nothing begins to */
    bool (*begins)(void *owner);                           /* whether a handshake with public keys may begin */
    bool (*trusts)(void *owner, struct framed_peer *peer); /* whether this peer, who has proven what it says, may go on */
};

/* What who listens says when the peer is who it says, and may not come in: the reason in a CLOSE record. */
enum tunnel_close { TUNNEL_DONE = 0, TUNNEL_NOT_ALLOWED = 1 };

/* What there is behind a handshake. */
struct tunnel_session {
    struct framed_records in, out;
    struct framed_reader reader; /* of records */
    struct framed_bytes first;   /* what the record said that proved the peer; nobody has asked for it yet */
    uint8_t hash[NOISE_KEY_SIZE];
};

struct tunnel {
    const struct tunnel_keys *keys;
    void *owner;
    const struct framed_allocator *alloc;
    struct framed_handshake *handshake; /* until it is through, or has failed */
    struct tunnel_session *session;     /* then, if it is through */
    uint8_t *wire;                      /* what has been sealed, or is part of the handshake */
    uint64_t passed;                    /* bytes of frames that have been sealed */
    uint32_t cap, at, end;              /* of `wire`: from `at` to `end` it has not left */
    uint32_t most;                      /* bytes of a frame's payload that the peer accepts */
    uint32_t limit;                     /* of its own, if that is less than for others; 0: none */
    uint8_t mode;
    bool halved : 1;
    bool connects : 1;
    bool proven : 1;  /* that the peer is there now: of NNpsk0, by its first record */
    bool refused : 1; /* one of the two is who it says, and may not */
    uint8_t key[NOISE_KEY_SIZE];
    uint8_t id[FRAMED_KEY_ID_MOST];
    uint8_t id_len;
    char name[FRAMED_PEER_NAME_SIZE];
};

/* Whether it is one of the pinned. All are looked at, each whole. */
static inline bool tunnel_pins(const struct tunnel_keys *keys, const uint8_t key[NOISE_KEY_SIZE])
{
    struct framed_key it;
    bool there = false;
    memcpy(it.bytes, key, sizeof it.bytes);
    for (size_t i = 0; i < keys->pinned_count; i++) there |= framed_key_same(&it, &keys->pinned[i]);
    return there;
}

/* What is told of the other end. Views into *t. `hash`: NULL before there is one. */
static inline struct framed_peer framed_tunnel_peer(struct tunnel *t)
{
    enum framed_protection protection = framed_mode_protection(t->mode);
    return (struct framed_peer){.protection = protection,
                                .key = protection != FRAMED_SHARED_KEY ? t->key : NULL,
                                .key_id = framed_bytes_of(t->id, t->id_len),
                                .hash = t->session != NULL ? t->session->hash : NULL,
                                .name = t->name};
}

#ifdef FRAMED_SODIUM

/* Protections that are built, bits 1u << enum framed_protection. */
enum { TUNNEL_BUILT = 1u << FRAMED_SHARED_KEY | 1u << FRAMED_PINNED_KEYS | 1u << FRAMED_SHARED_AND_PINNED };

/* Before any tunnel, once or more: FRAMED_OS if libsodium cannot run here. */
enum framed_status framed_tunnel_start(void);

/* Ours is the pair of this secret key. FRAMED_USAGE: it is all zero. */
enum framed_status framed_tunnel_identity(struct tunnel_keys *keys, const struct framed_key *secret);

/* For who connects: makes its opening and message 1, which wait to leave. `keys` are borrowed. FRAMED_NOMEM, FRAMED_OS (no
 * randomness). */
enum framed_status framed_tunnel_connect(struct tunnel **made, const struct tunnel_keys *keys, uint8_t mode,
                                         uint32_t max_frame, const struct framed_allocator *alloc);

/* For who listens, when this opening has come; `o` is open. `owner` is for the questions that keys ask. Likewise; FRAMED_LIMIT: it may
 * not begin. */
enum framed_status framed_tunnel_accept(struct tunnel **made, const struct tunnel_keys *keys, const struct framed_opening *o,
                                        uint32_t max_frame, void *owner, const struct framed_allocator *alloc);

/* Wipes and frees it. NULL is fine. */
void framed_tunnel_free(struct tunnel *t);

/*
 * Takes what belongs to the handshake off *in. FRAMED_MORE: there is more to come, and perhaps something to be sent. FRAMED_OK: it
 * is established, and the peer is there; *in is what follows. FRAMED_AUTH: the peer is not who it must be, or may not go on.
 * FRAMED_MALFORMED, FRAMED_NOMEM.
 *
 * With a shared key alone who listens knows that only by the first record (PROTOCOL.md §9.2.7), so that belongs to it, too: all of *in
 * is then lent to the session's reader, and framed_tunnel_text is to be called next. FRAMED_CLOSED: that record was an end.
 */
enum framed_status framed_tunnel_next(struct tunnel *t, struct framed_bytes *in);

/* Whether the peer, who has proven who it is, may go on. If not, the next close says so. */
bool framed_tunnel_trusts(struct tunnel *t);

/* How many of the bytes to come are the handshake's for certain. */
size_t framed_tunnel_wants(const struct tunnel *t);

/*
 * The next bytes of the peer's frames, in the loan of the session's reader. FRAMED_OK: *text, valid until the next call.
 * FRAMED_MORE: that needs more records. FRAMED_CLOSED: the peer has ended its direction, and nothing comes behind that. FRAMED_AUTH,
 * FRAMED_MALFORMED: a record was wrong, and nothing of ours is sealed any more, CLOSE neither. FRAMED_AUTH is also: one of the two
 * does not let the other in. FRAMED_NOMEM.
 */
enum framed_status framed_tunnel_text(struct tunnel *t, struct framed_bytes *text);

/*
 * Seals of what waits in the writer as much as is to be sent at once, if nothing else waits to leave: a record, or where there is a lot
 * several. `overlaps`: the other end waits for just this, and opens the first of it while we seal the rest; what is long then leaves
 * in more pieces. FRAMED_NOMEM.
 */
enum framed_status framed_tunnel_seal(struct tunnel *t, struct framed_writer *writer, bool overlaps);

/* Likewise of these views, one record; *sealed: how much of them that is. */
enum framed_status framed_tunnel_seal_views(struct tunnel *t, const struct framed_bytes *views, size_t count, bool overlaps,
                                            size_t *sealed);

/* Says that no more comes, behind what waits to leave; nothing if the peer has not proven to be there, or this was said.
 * FRAMED_NOMEM. */
enum framed_status framed_tunnel_close(struct tunnel *t, enum tunnel_close reason);

/* So many bytes of what waits have left. */
void framed_tunnel_left(struct tunnel *t, size_t n);

#else

enum { TUNNEL_BUILT = 0 };

static inline enum framed_status framed_tunnel_start(void)
{
    return FRAMED_UNSUPPORTED;
}
static inline enum framed_status framed_tunnel_identity(struct tunnel_keys *keys, const struct framed_key *secret)
{
    (void)keys, (void)secret;
    return FRAMED_UNSUPPORTED;
}
static inline enum framed_status framed_tunnel_connect(struct tunnel **made, const struct tunnel_keys *keys, uint8_t mode,
                                                       uint32_t max_frame, const struct framed_allocator *alloc)
{
    (void)made, (void)keys, (void)mode, (void)max_frame, (void)alloc;
    return FRAMED_UNSUPPORTED;
}
static inline enum framed_status framed_tunnel_accept(struct tunnel **made, const struct tunnel_keys *keys,
                                                      const struct framed_opening *o, uint32_t max_frame, void *owner,
                                                      const struct framed_allocator *alloc)
{
    (void)o, (void)owner;
    return framed_tunnel_connect(made, keys, 0, max_frame, alloc);
}
static inline void framed_tunnel_free(struct tunnel *t)
{
    (void)t;
}
static inline enum framed_status framed_tunnel_next(struct tunnel *t, struct framed_bytes *in)
{
    (void)t, (void)in;
    return FRAMED_UNSUPPORTED;
}
static inline bool framed_tunnel_trusts(struct tunnel *t)
{
    return t == NULL;
}
static inline size_t framed_tunnel_wants(const struct tunnel *t)
{
    (void)t;
    return 0;
}
static inline enum framed_status framed_tunnel_text(struct tunnel *t, struct framed_bytes *text)
{
    return framed_tunnel_next(t, text);
}
static inline enum framed_status framed_tunnel_seal(struct tunnel *t, struct framed_writer *writer, bool overlaps)
{
    (void)t, (void)writer, (void)overlaps;
    return FRAMED_UNSUPPORTED;
}
static inline enum framed_status framed_tunnel_seal_views(struct tunnel *t, const struct framed_bytes *views, size_t count,
                                                          bool overlaps, size_t *sealed)
{
    (void)views, (void)count, (void)sealed;
    return framed_tunnel_seal(t, NULL, overlaps);
}
static inline enum framed_status framed_tunnel_close(struct tunnel *t, enum tunnel_close reason)
{
    (void)t, (void)reason;
    return FRAMED_UNSUPPORTED;
}
static inline void framed_tunnel_left(struct tunnel *t, size_t n)
{
    (void)t, (void)n;
}

#endif

/* What waits to leave on the wire. */
static inline struct framed_bytes tunnel_waiting(const struct tunnel *t)
{
    return framed_bytes_of(t->wire != NULL ? t->wire + t->at : NULL, t->end - t->at);
}

#endif
