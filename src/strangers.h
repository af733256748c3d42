/*
 * strangers.h: the connections of a worker that have not proven yet who they are. There are few at once, and when another comes
 * to many, a random one of them goes: whoever floods a server with handshakes mostly closes his own, and who is quick gets through.
 */
#ifndef FRAMED_STRANGERS_H
#define FRAMED_STRANGERS_H

#include <framed/base.h>
#include <stdbool.h>

struct guest;

/* One address may begin so small a part of the handshakes of a second. */
enum { STRANGERS_PART = 8, STRANGERS_SHARES = 64 };

/* All zero: there are no limits. */
struct strangers {
    struct guest **list;
    uint32_t count, room;
    uint32_t per_address;
    uint32_t a_second; /* handshakes with public keys that may be begun in a second */
    uint64_t second;   /* ms: since when those below were begun */
    uint32_t begun;
    uint32_t begun_by[STRANGERS_SHARES]; /* of them, by the addresses that share a place */
    uint64_t seed;                       /* so that nobody can choose with whom */
    uint64_t dice;
};

/* FRAMED_NOMEM. Freed with fini. */
enum framed_status framed_strangers_init(struct strangers *s, uint32_t room, uint32_t per_address, uint32_t a_second,
                                         uint64_t seed, const struct framed_allocator *alloc);
void framed_strangers_fini(struct strangers *s, const struct framed_allocator *alloc);

/* One more, if it is none yet. Who has to go for it is closed (framed_guest_evict). */
void framed_strangers_enter(struct strangers *s, struct guest *g);

/* It has proven who it is, or it is gone. */
void framed_strangers_leave(struct strangers *s, struct guest *g);

/* Whether one more handshake with public keys may begin now; counts it. */
bool framed_strangers_may_begin(struct strangers *s, const struct guest *g, uint64_t now_ms);

#endif
