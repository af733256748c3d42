/*
 * tunnel.c: encrypted connections behind their opening (tunnel.h).
 * Must not know sockets, deadlines, nor what frames mean.
 * Invariants: a record is sealed once, into memory where it stays until it has left; the handshake is freed, and with it all that
 * only it needs, as soon as it is through or has failed; nothing is given out that did not open.
 */
#include "tunnel.h"
#include "../proto/alloc.h"
#include "os.h"
#include <string.h>

enum {
    VIEWS_AT_ONCE = 64,
    WIRE_LEAST = 128,                                                 /* message 2 has room there */
    HALVED_LEAST = 16 << 10,                                          /* bytes: below that one record is quicker */
    AT_ONCE_MOST = 4 * (RECORD_HEAD + RECORD_BODY_MOST + RECORD_TAIL) /* bytes sealed before any of them is sent */
};

_Static_assert(sizeof(struct tunnel) <= 256 && sizeof(struct tunnel_session) <= 256, "blocks of the pool: see its classes");

static bool has_identity(uint8_t mode)
{
    return framed_mode_protection(mode) != FRAMED_SHARED_KEY;
}

static bool has_shared_key(uint8_t mode)
{
    return framed_mode_protection(mode) != FRAMED_PINNED_KEYS;
}

enum framed_status framed_tunnel_start(void)
{
    return framed_noise_start();
}

enum framed_status framed_tunnel_identity(struct tunnel_keys *keys, const struct framed_key *secret)
{
    return framed_noise_keypair(&keys->identity, secret->bytes);
}

/* ---- what leaves ---- */

/* Room for n more bytes behind what waits. */
static enum framed_status reserve(struct tunnel *t, size_t n)
{
    if (t->at == t->end) t->at = t->end = 0;
    if (n <= t->cap - t->end) return FRAMED_OK;
    size_t cap = t->end + n < WIRE_LEAST ? WIRE_LEAST : t->end + n;
    uint8_t *wire = mem_resize(t->alloc, t->wire, t->cap, cap);
    if (wire == NULL) return FRAMED_NOMEM;
    t->wire = wire;
    t->cap = (uint32_t)cap;
    return FRAMED_OK;
}

/* So many bytes have been put behind what waits. */
static void put(struct tunnel *t, size_t n)
{
    t->end += (uint32_t)n;
}

void framed_tunnel_left(struct tunnel *t, size_t n)
{
    t->at += (uint32_t)n;
    if (t->at < t->end) return;
    mem_free(t->alloc, t->wire, t->cap);
    t->wire = NULL;
    t->cap = t->at = t->end = 0;
}

static enum framed_status seal(struct tunnel *t, enum record_type type, size_t n)
{
    enum framed_status st = framed_record_seal(&t->session->out, type, t->wire + t->end, n);
    if (st == FRAMED_OK) put(t, RECORD_HEAD + n + RECORD_TAIL);
    return st;
}

/* How many of n bytes that wait the next record takes: if that overlaps, of a long one half, then the rest. */
static size_t next_body(struct tunnel *t, size_t n, bool overlaps)
{
    t->halved = overlaps && !t->halved && n >= HALVED_LEAST && n / 2 < RECORD_BODY_MOST;
    if (t->halved) return n / 2;
    return n < RECORD_BODY_MOST ? n : RECORD_BODY_MOST;
}

/* A record of n bytes of frames; they are then added, all of them. */
static enum framed_status begin_record(struct tunnel *t, struct framed_noise_sealing *s, size_t n)
{
    enum framed_status st = reserve(t, RECORD_HEAD + n + RECORD_TAIL);
    return st == FRAMED_OK ? framed_record_seal_begin(&t->session->out, s, RECORD_DATA, t->wire + t->end, n) : st;
}

/* The first n bytes of views, or all that there are; returns how many. */
static size_t add(struct framed_noise_sealing *s, size_t n, const struct framed_bytes *views, size_t count)
{
    size_t got = 0;
    for (size_t i = 0; i < count && got < n; i++) {
        size_t k = views[i].len < n - got ? views[i].len : n - got;
        framed_noise_seal_more(s, views[i].at, k);
        got += k;
    }
    return got;
}

static void end_record(struct tunnel *t, struct framed_noise_sealing *s, size_t n)
{
    framed_record_seal_end(&t->session->out, s, RECORD_DATA);
    t->passed += n;
    put(t, RECORD_HEAD + n + RECORD_TAIL);
}

static enum framed_status seal_next(struct tunnel *t, struct framed_writer *writer, bool overlaps)
{
    struct framed_noise_sealing s;
    size_t n = next_body(t, framed_writer_unsent(writer), overlaps);
    enum framed_status st = begin_record(t, &s, n);
    if (st != FRAMED_OK) return st;
    for (size_t got = 0; got < n;) {
        struct framed_bytes views[VIEWS_AT_ONCE];
        size_t count = framed_writer_views(writer, views, VIEWS_AT_ONCE);
        size_t more = add(&s, n - got, views, count);
        framed_writer_sent(writer, more);
        got += more;
    }
    end_record(t, &s, n);
    return FRAMED_OK;
}

enum framed_status framed_tunnel_seal(struct tunnel *t, struct framed_writer *writer, bool overlaps)
{
    enum framed_status st;
    size_t n = framed_writer_unsent(writer);
    if (n == 0 || t->at < t->end) return FRAMED_OK;
    if (n > AT_ONCE_MOST) (void)reserve(t, AT_ONCE_MOST); /* else for one there may be room */
    do st = seal_next(t, writer, overlaps);
    while (st == FRAMED_OK && framed_writer_unsent(writer) >= RECORD_BODY_MOST &&
           t->end + RECORD_HEAD + RECORD_BODY_MOST + RECORD_TAIL <= t->cap);
    return st;
}

enum framed_status framed_tunnel_seal_views(struct tunnel *t, const struct framed_bytes *views, size_t count, bool overlaps,
                                            size_t *sealed)
{
    struct framed_noise_sealing s;
    size_t n = 0;
    *sealed = 0;
    for (size_t i = 0; i < count; i++) n += views[i].len;
    if (n == 0 || t->at < t->end) return FRAMED_OK;
    n = next_body(t, n, overlaps);
    enum framed_status st = begin_record(t, &s, n);
    if (st != FRAMED_OK) return st;
    *sealed = add(&s, n, views, count);
    end_record(t, &s, n);
    return FRAMED_OK;
}

enum framed_status framed_tunnel_close(struct tunnel *t, enum tunnel_close reason)
{
    if (t->session == NULL || !t->proven || !t->session->out.cipher.keyed) return FRAMED_OK;
    enum framed_status st = reserve(t, RECORD_HEAD + 1 + RECORD_TAIL);
    if (st != FRAMED_OK) return st;
    t->wire[t->end + RECORD_HEAD] = (uint8_t)reason;
    return seal(t, RECORD_CLOSE, 1);
}

/* ---- the handshake ---- */

static void drop_handshake(struct tunnel *t)
{
    if (t->handshake == NULL) return;
    framed_handshake_fini(t->handshake);
    mem_free(t->alloc, t->handshake, sizeof *t->handshake);
    t->handshake = NULL;
}

static void forget_keys(struct tunnel_session *s)
{
    framed_records_fini(&s->in);
    framed_records_fini(&s->out);
}

void framed_tunnel_free(struct tunnel *t)
{
    if (t == NULL) return;
    drop_handshake(t);
    if (t->session != NULL) {
        forget_keys(t->session);
        framed_reader_fini(&t->session->reader);
        mem_free(t->alloc, t->session, sizeof *t->session);
    }
    mem_free(t->alloc, t->wire, t->cap);
    mem_free(t->alloc, t, sizeof *t);
}

static enum framed_status say(struct tunnel *t)
{
    size_t n = framed_handshake_says(t->handshake);
    enum framed_status st = reserve(t, n);
    if (st == FRAMED_OK) st = framed_handshake_say(t->handshake, t->wire + t->end, &n);
    if (st == FRAMED_OK) put(t, n);
    return st;
}

static struct tunnel *make(const struct tunnel_keys *keys, uint8_t mode, void *owner, const struct framed_allocator *alloc)
{
    struct tunnel *t = mem_new(alloc, sizeof *t);
    if (t == NULL) return NULL;
    memset(t, 0, sizeof *t);
    t->keys = keys;
    t->owner = owner;
    t->alloc = alloc;
    t->mode = mode;
    return t;
}

/* `opening` is the connector's. */
static enum framed_status begin(struct tunnel *t, struct framed_bytes opening, const struct framed_key *shared,
                                const struct framed_hello *hello)
{
    uint8_t ephemeral[NOISE_KEY_SIZE];
    enum framed_status st = framed_os_random(ephemeral, sizeof ephemeral);
    if (st != FRAMED_OK) return FRAMED_OS;
    t->handshake = mem_new(t->alloc, sizeof *t->handshake);
    if (t->handshake == NULL) {
        st = FRAMED_NOMEM;
    } else {
        const struct framed_handshake_config config = {
            .mode = t->mode,
            .side = t->connects ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR,
            .opening = opening,
            .ephemeral = ephemeral,
            .psk = has_shared_key(t->mode) ? shared->bytes : NULL,
            .identity = has_identity(t->mode) ? &t->keys->identity : NULL,
            .hello = hello,
        };
        st = framed_handshake_init(t->handshake, &config);
    }
    framed_wipe(ephemeral, sizeof ephemeral);
    return st;
}

static void name_id(struct tunnel *t, struct framed_bytes id)
{
    if (id.len > 0) memcpy(t->id, id.at, id.len);
    t->id_len = (uint8_t)id.len;
}

static enum framed_status opening_and_message_1(struct tunnel *t, uint32_t max_frame)
{
    struct framed_hello hello = {.max_frame = max_frame};
    struct framed_fault fault;
    size_t n;
    if (has_shared_key(t->mode)) hello.key_id = framed_bytes_of(t->keys->key_id, t->keys->key_id_len);
    name_id(t, hello.key_id);
    enum framed_status st = reserve(t, FRAMED_OPENING_MOST);
    if (st == FRAMED_OK) st = framed_opening_encode(t->wire, &n, FRAMED_CONNECTOR, t->mode, &hello, &fault);
    if (st == FRAMED_OK) st = begin(t, framed_bytes_of(t->wire, n), &t->keys->shared, NULL);
    if (st != FRAMED_OK) return st;
    put(t, n);
    return say(t);
}

enum framed_status framed_tunnel_connect(struct tunnel **made, const struct tunnel_keys *keys, uint8_t mode,
                                         uint32_t max_frame, const struct framed_allocator *alloc)
{
    struct tunnel *t = make(keys, mode, NULL, alloc);
    if (t == NULL) return FRAMED_NOMEM;
    t->connects = t->proven = true;
    enum framed_status st = opening_and_message_1(t, max_frame);
    if (st == FRAMED_OK)
        *made = t;
    else
        framed_tunnel_free(t);
    return st;
}

/* The connector's opening as it was on the wire. */
static struct framed_bytes bytes_of(const struct framed_opening *o, uint8_t to[FRAMED_OPENING_MOST])
{
    const uint8_t head[] = {0xf7, 0x46, 0x01, o->mode, 0, 0, 0, o->need};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, o->u.bytes, o->need);
    return framed_bytes_of(to, sizeof head + o->need);
}

static enum framed_status answer(struct tunnel *t, const struct framed_opening *o, uint32_t max_frame)
{
    uint8_t bytes[FRAMED_OPENING_MOST];
    const struct framed_hello theirs = framed_opening_hello(o), ours = {.max_frame = max_frame};
    struct framed_key shared = t->keys->nobody;
    struct framed_fault fault;
    size_t n;
    name_id(t, theirs.key_id);
    t->most = theirs.max_frame;
    static const struct framed_key none; /* what somebody gives who forgot to fill one in */
    if (has_shared_key(t->mode) &&
        (!t->keys->shared_key(t->keys->shared_key_ctx, theirs.key_id, &shared) || framed_key_same(&shared, &none)))
        shared = t->keys->nobody;
    enum framed_status st = begin(t, bytes_of(o, bytes), &shared, &ours);
    framed_wipe(&shared, sizeof shared);
    if (st == FRAMED_OK) st = reserve(t, FRAMED_PREFACE_SIZE);
    if (st == FRAMED_OK) st = framed_opening_encode(bytes, &n, FRAMED_ACCEPTOR, t->mode, &ours, &fault);
    if (st != FRAMED_OK) return st;
    memcpy(t->wire, bytes, n);
    put(t, n);
    return FRAMED_OK;
}

enum framed_status framed_tunnel_accept(struct tunnel **made, const struct tunnel_keys *keys, const struct framed_opening *o,
                                        uint32_t max_frame, void *owner, const struct framed_allocator *alloc)
{
    if (!has_shared_key(o->mode) && !keys->begins(owner)) return FRAMED_LIMIT;
    keys->enters(owner);
    struct tunnel *t = make(keys, o->mode, owner, alloc);
    if (t == NULL) return FRAMED_NOMEM;
    enum framed_status st = answer(t, o, max_frame);
    if (st == FRAMED_OK)
        *made = t;
    else
        framed_tunnel_free(t);
    return st;
}

bool framed_tunnel_trusts(struct tunnel *t)
{
    if (t->connects) {
        t->refused = has_identity(t->mode) && !tunnel_pins(t->keys, t->key); /* else it has the shared one */
        return !t->refused;
    }
    char name[FRAMED_PEER_NAME_SIZE] = "";
    struct framed_peer peer = framed_tunnel_peer(t);
    peer.name = name;
    t->refused = !t->keys->trusts(t->owner, &peer);
    if (!t->refused || name[0] != '\0') memcpy(t->name, name, sizeof t->name); /* who is not known any more had one */
    t->limit = peer.max_frame;
    return !t->refused;
}

/* A message of the peer's is through. Who connects looks at its key before it shows its own. */
static enum framed_status judge(struct tunnel *t)
{
    const uint8_t *key = framed_handshake_peer_key(t->handshake);
    if (key != NULL) memcpy(t->key, key, sizeof t->key);
    if (!t->connects) return FRAMED_OK;
    t->most = framed_handshake_hello(t->handshake).max_frame;
    return framed_tunnel_trusts(t) ? FRAMED_OK : FRAMED_AUTH;
}

/* The peer is there now: records may be as long as they are. */
static enum framed_status prove(struct tunnel *t)
{
    t->proven = true;
    t->session->reader.scan.max_frame = RECORD_MOST;
    return framed_tunnel_trusts(t) ? FRAMED_OK : FRAMED_AUTH;
}

/* ---- what comes ---- */

/* §9.3: both directions forget their keys. */
static enum framed_status wrong_record(struct tunnel *t, enum framed_status why)
{
    forget_keys(t->session);
    return why;
}

/* The acceptor does not trust our key, or does not any more: it may have begun what we asked (framed_server_recheck). */
static enum framed_status turned_away(struct tunnel *t)
{
    t->refused = true;
    return wrong_record(t, FRAMED_AUTH);
}

/* Opens the next record; FRAMED_CLOSED: it was the last. */
static enum framed_status next_record(struct tunnel *t, enum record_type *type, struct framed_bytes *body)
{
    struct tunnel_session *s = t->session;
    struct framed_bytes record;
    enum framed_status st = framed_reader_next(&s->reader, &record);
    if (st != FRAMED_OK) return st == FRAMED_TOO_LARGE ? wrong_record(t, FRAMED_MALFORMED) : st;
    st = framed_record_open(&s->in, (uint8_t *)(uintptr_t)record.at, record.len, type, body);
    if (st != FRAMED_OK) return wrong_record(t, st);
    if (!t->proven && (st = prove(t)) != FRAMED_OK) return st;
    if (*type != RECORD_CLOSE) return FRAMED_OK;
    if (t->connects && body->at[0] == TUNNEL_NOT_ALLOWED) return turned_away(t);
    return s->reader.at == s->reader.end ? FRAMED_CLOSED : wrong_record(t, FRAMED_MALFORMED);
}

/* Message 1 may have been a recorded one: who listens believes what opens. */
static enum framed_status first_record(struct tunnel *t, struct framed_bytes *in)
{
    struct tunnel_session *s = t->session;
    struct framed_bytes body = {0};
    enum record_type type;
    enum framed_status st = framed_reader_feed(&s->reader, (uint8_t *)(uintptr_t)in->at, in->len);
    *in = framed_bytes_of(NULL, 0);
    if (st == FRAMED_OK) st = next_record(t, &type, &body);
    if (st == FRAMED_OK && type == RECORD_DATA) s->first = body;
    return st;
}

enum framed_status framed_tunnel_text(struct tunnel *t, struct framed_bytes *text)
{
    struct tunnel_session *s = t->session;
    enum record_type type = RECORD_DATA;
    enum framed_status st = FRAMED_OK;
    if (s->first.len > 0) {
        *text = s->first;
        s->first.len = 0;
        return FRAMED_OK;
    }
    do st = next_record(t, &type, text);
    while (st == FRAMED_OK && type != RECORD_DATA);
    return st;
}

/* ---- the handshake's end ---- */

/* In the place of the handshake, so that nobody has both. */
static enum framed_status make_session(struct tunnel *t)
{
    struct tunnel_session s = {.first = {0}};
    enum framed_status st = framed_handshake_split(t->handshake, &s.out, &s.in, s.hash);
    drop_handshake(t);
    framed_reader_init(&s.reader, t->proven ? RECORD_MOST : HANDSHAKE_MESSAGE_MOST, 0, t->alloc); /* §9.2.7 */
    if (st == FRAMED_OK && (t->session = mem_new(t->alloc, sizeof s)) == NULL) st = FRAMED_NOMEM;
    if (st == FRAMED_OK) *t->session = s;
    forget_keys(&s);
    return st;
}

/* The last message is through. */
static enum framed_status establish(struct tunnel *t, struct framed_bytes *in)
{
    enum framed_status st = make_session(t);
    if (st != FRAMED_OK) return st;
    if (!t->connects) return has_identity(t->mode) ? prove(t) : first_record(t, in);
    if (has_identity(t->mode)) return FRAMED_OK;
    st = reserve(t, RECORD_HEAD + RECORD_TAIL); /* else we would not be believed before our first frame */
    return st == FRAMED_OK ? seal(t, RECORD_PAD, 0) : st;
}

static enum framed_status step(struct tunnel *t, struct framed_bytes *in)
{
    enum framed_status st = framed_handshake_next(t->handshake, in);
    if (st == FRAMED_OK) st = judge(t);
    if (st != FRAMED_OK || framed_handshake_is_done(t->handshake)) return st;
    /* Who has the shared key has said message 1: only now is there anything to be done that costs. */
    if (!t->connects && has_shared_key(t->mode) && has_identity(t->mode) && !t->keys->begins(t->owner)) return FRAMED_LIMIT;
    return say(t);
}

enum framed_status framed_tunnel_next(struct tunnel *t, struct framed_bytes *in)
{
    enum framed_status st;
    if (t->session != NULL) return first_record(t, in);
    do st = step(t, in);
    while (st == FRAMED_OK && !framed_handshake_is_done(t->handshake));
    if (st == FRAMED_OK) return establish(t, in);
    if (st != FRAMED_MORE) drop_handshake(t);
    return st;
}

size_t framed_tunnel_wants(const struct tunnel *t)
{
    return t->handshake != NULL ? framed_handshake_wants(t->handshake) : 0;
}
