/*
 * channel.h: what both ends of an extended connection agree to before its first frame (PROTOCOL.md §7), and what guards the
 * frames since (§8, §9). Bytes in, bytes out: the socket is conn.c's.
 *
 *   opening -framed_channel_next-> open       frames leave as `out` seals them, and channel_check judges those that come; or,
 *                                             where there is a tunnel, they leave and come as its records
 *                               -> failed     framed_channel_why says why
 */
#ifndef FRAMED_CHANNEL_H
#define FRAMED_CHANNEL_H

#include "../proto/writer.h"
#include "tunnel.h"
#include <framed/secure.h>

/* What the connections of one owner agree to. */
struct channel_terms {
    struct framed_accept accepts; /* of who listens: plain, too, or only one of these modes */
    uint8_t mode;                 /* of who connects: what is asked for, in the place of a plain connection */
    bool connects;
    bool plain;                     /* nothing but plain connections: there is no channel */
    uint32_t max_frame;             /* as it is announced */
    const struct tunnel_keys *keys; /* with protections from 8 up */
};

/* What is only needed until a connection is open. */
struct channel_opening {
    struct framed_opening reads;
    void *owner;
    uint8_t room[FRAMED_HELLO_MOST + FRAMED_SUM_MOST]; /* who connects receives the opening here: not a byte more of it */
};

/* At most 64 bytes: an idle connection has it, too. */
struct channel {
    const struct channel_terms *terms;
    struct tunnel *tunnel; /* of an encrypted connection, from the moment that it is known to be one */
    union {
        struct channel_opening *opening; /* until it is open; of who listens only until there is a tunnel */
        uint64_t received;               /* then: frames that have come, the HELLO among them */
    } u;
    struct framed_sealing out; /* once it is open */
    uint8_t mode;
    bool agreed; /* the opening has come */
    bool is_open;
};

/* Protections that are built, bits 1u << enum framed_protection. */
#ifdef FRAMED_SODIUM
enum { CHANNEL_BUILT = 1u << FRAMED_UNPROTECTED | 1u << FRAMED_CRC32C | 1u << FRAMED_BLAKE2B | (unsigned)TUNNEL_BUILT };
#else
enum { CHANNEL_BUILT = 1u << FRAMED_UNPROTECTED | 1u << FRAMED_CRC32C };
#endif
/* Of these, those that need keys. */
enum { CHANNEL_KEYED = 1u << FRAMED_SHARED_KEY | 1u << FRAMED_PINNED_KEYS | 1u << FRAMED_SHARED_AND_PINNED };

/* What a listener agrees to that accepts these protections (CHANNEL_BUILT or fewer), and what who wants this one asks for. */
struct channel_terms framed_channel_listens(uint32_t protections, uint32_t max_frame);
struct channel_terms framed_channel_connects(enum framed_protection protection, uint32_t max_frame);

/* Copies what a client's config has of keys for its protection; to be wiped. FRAMED_OS: libsodium cannot run here. FRAMED_USAGE: a
 * secret key of zeros, or our own public key among those that the server may have. */
enum framed_status framed_channel_take_keys(struct tunnel_keys *keys, const struct framed_client_config *config);

/* Begins to open, when a first byte has shown that it is no plain connection, or must be none; FRAMED_NOMEM, FRAMED_OS. `terms` are
 * borrowed; `owner` is for what terms->keys asks. Freed with framed_channel_free. */
enum framed_status framed_channel_new(struct channel **made, const struct channel_terms *terms, void *owner,
                                      const struct framed_allocator *alloc);
void framed_channel_free(struct channel *ch, const struct framed_allocator *alloc);

/* Our own opening; 0 bytes of one with a tunnel, which has its own. */
size_t framed_channel_opening(const struct channel *ch, uint8_t bytes[FRAMED_OPENING_MOST]);

/* Queues it, but for a tunnel, which has its own memory for that: who connects at once, who listens when it is open.
 * FRAMED_NOMEM. */
enum framed_status framed_channel_say(const struct channel *ch, struct framed_writer *writer);

/*
 * Takes what belongs to the peer's opening, and to a handshake, off *in. FRAMED_MORE: there is more to come, and the tunnel, if there
 * is one, may have something to send. FRAMED_OK: it is open, *in is what follows. Else it has failed.
 */
enum framed_status framed_channel_next(struct channel *ch, struct framed_bytes *in, const struct framed_allocator *alloc);

/* The stream has ended inside the opening: as framed_opening_end. */
enum framed_status framed_channel_end(struct channel *ch);

/* How many bytes of the stream belong to the opening for certain, at most sizeof room; at least 1. */
size_t framed_channel_wants(const struct channel *ch);

/* Bytes behind each payload that comes, once it is open. */
uint32_t framed_channel_trailer(const struct channel *ch);

/* Where the next trailer that comes stands; counts it. */
static inline struct framed_sum_place channel_place_in(struct channel *ch)
{
    return (struct framed_sum_place){.from = ch->terms->connects ? FRAMED_ACCEPTOR : FRAMED_CONNECTOR,
                                     .with = ch->out.next.with,
                                     .counter = ch->u.received++};
}

/* Judges a frame that has a trailer, and takes it off. False: it was wrong. */
static inline bool channel_check(struct channel *ch, struct framed_bytes *payload)
{
    const struct framed_sum_place place = channel_place_in(ch);
    return framed_sum_check(payload, &place) == FRAMED_OK;
}

/* Asks once more about a peer who has been let in; true of one that nobody was asked about. */
bool framed_channel_still_trusts(struct channel *ch);

/* Why the opening came to nothing, or what was wrong since, for people. False: it is not the channel that was wrong. */
bool framed_channel_why(const struct channel *ch, enum framed_status why, char *text, size_t size);

/* Once opening has failed: the word or number that was wrong, or 0. */
uint32_t framed_channel_claimed(const struct channel *ch);

#endif
