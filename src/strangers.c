/*
 * strangers.c: those who have not proven who they are (strangers.h).
 * Must not know sockets, nor what a handshake is.
 * Invariants: who is in the list is marked (conn.stranger), and nobody else; count <= room.
 */
#include "strangers.h"
#include "../proto/alloc.h"
#include "server.h"
#include <string.h>

enum { SECOND_MS = 1000 };

enum framed_status framed_strangers_init(struct strangers *s, uint32_t room, uint32_t per_address, uint32_t a_second,
                                         uint64_t seed, const struct framed_allocator *alloc)
{
    *s = (struct strangers){.room = room, .per_address = per_address, .a_second = a_second, .dice = seed | 1, .seed = seed};
    s->list = mem_new(alloc, room * sizeof *s->list); // NOLINT(bugprone-sizeof-expression): pointers are what it keeps
    return s->list != NULL ? FRAMED_OK : FRAMED_NOMEM;
}

void framed_strangers_fini(struct strangers *s, const struct framed_allocator *alloc)
{
    mem_free(alloc, s->list, s->room * sizeof *s->list); // NOLINT(bugprone-sizeof-expression): likewise
    *s = (struct strangers){0};
}

/* xorshift64: nobody outside sees what it gives. */
static uint32_t roll(struct strangers *s, uint32_t bound)
{
    s->dice ^= s->dice << 13;
    s->dice ^= s->dice >> 7;
    s->dice ^= s->dice << 17;
    return (uint32_t)(s->dice >> 32) % bound;
}

void framed_strangers_leave(struct strangers *s, struct guest *g)
{
    if (!g->conn.stranger) return;
    g->conn.stranger = false;
    uint32_t i = 0;
    while (s->list[i] != g) i++; /* a few hundred at most: nothing beside what a handshake costs */
    s->list[i] = s->list[--s->count];
}

static bool is_local(const struct os_host *is)
{
    static const struct os_host local;
    return memcmp(is, &local, sizeof local) == 0;
}

/* An IPv4 address, in the place of one of IPv6. */
static bool is_mapped(const struct os_host *is)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(is->bytes, mapped, sizeof mapped) == 0;
}

/* One IPv4 address, one network of IPv6 (a /64: whoever has one address there has them all). Local sockets have none. */
static bool same_address(const struct os_host *a, const struct os_host *b)
{
    return !is_local(a) && memcmp(a->bytes, b->bytes, is_mapped(a) ? sizeof a->bytes : 8) == 0;
}

/* Of those who came from there, the n-th; NULL: there are not so many, but *n fewer. */
static struct guest *from_address(const struct strangers *s, const struct os_host *is, uint32_t *n)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (same_address(&s->list[i]->host->is, is) && (*n)-- == 0) return s->list[i];
    return NULL;
}

/* Who has to go for one more from there; NULL: nobody. */
static struct guest *unlucky(struct strangers *s, const struct os_host *is)
{
    uint32_t left = s->per_address - 1;
    if (from_address(s, is, &left) != NULL) {
        uint32_t n = roll(s, s->per_address);
        return from_address(s, is, &n);
    }
    return s->count == s->room ? s->list[roll(s, s->count)] : NULL;
}

void framed_strangers_enter(struct strangers *s, struct guest *g)
{
    if (s->room == 0 || g->conn.stranger) return;
    struct guest *goes = unlucky(s, &g->host->is);
    if (goes != NULL) {
        framed_strangers_leave(s, goes);
        framed_guest_evict(goes);
    }
    s->list[s->count++] = g;
    g->conn.stranger = true;
}

/* Which of the shares is this address's: splitmix64's last steps over what same_address compares. */
static unsigned share_of(const struct strangers *s, const struct os_host *is)
{
    uint64_t words[2];
    memcpy(words, is->bytes, sizeof words);
    uint64_t x = words[0] ^ s->seed ^ (is_mapped(is) ? words[1] : 0);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)(x >> 32) % STRANGERS_SHARES;
}

bool framed_strangers_may_begin(struct strangers *s, const struct guest *g, uint64_t now_ms)
{
    if (s->room == 0) return true;
    if (now_ms - s->second >= SECOND_MS) {
        s->second = now_ms;
        s->begun = 0;
        memset(s->begun_by, 0, sizeof s->begun_by);
    }
    uint32_t none = 0, *share = is_local(&g->host->is) ? &none : &s->begun_by[share_of(s, &g->host->is)];
    if (s->begun >= s->a_second || *share >= s->a_second / STRANGERS_PART + 1) return false;
    s->begun++;
    ++*share;
    return true;
}
