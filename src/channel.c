/*
 * channel.c: opens extended connections, and says what was wrong with them.
 * Must not know sockets, deadlines, nor what frames mean.
 * Invariant: u.received is valid once is_open, u.opening before; of who listens only until a tunnel has it, then it is NULL.
 */
#include "channel.h"
#include "../proto/alloc.h"
#include "../proto/be.h"
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct channel) <= 64, "the smallest block of the pool");

/* What we say that we accept. A limit below the least that can be announced holds all the same. */
static uint32_t announced(uint32_t max_frame)
{
    return max_frame < FRAMED_PARAMETER_LEAST ? FRAMED_PARAMETER_LEAST : max_frame;
}

struct channel_terms framed_channel_listens(uint32_t protections, uint32_t max_frame)
{
    bool plain = protections & 1u << FRAMED_UNPROTECTED;
    return (struct channel_terms){
        .accepts = {.with = {[FRAMED_ORDERED] = (uint16_t)protections}, .plain = plain},
        .plain = protections == 1u << FRAMED_UNPROTECTED,
        .max_frame = announced(max_frame),
    };
}

struct channel_terms framed_channel_connects(enum framed_protection protection, uint32_t max_frame)
{
    return (struct channel_terms){
        .connects = true,
        .mode = framed_mode(protection, FRAMED_ORDERED),
        .plain = protection == FRAMED_UNPROTECTED,
        .max_frame = announced(max_frame),
    };
}

enum framed_status framed_channel_take_keys(struct tunnel_keys *keys, const struct framed_client_config *config)
{
    if (!framed_encrypts(config->protection)) return FRAMED_OK;
    enum framed_status st = framed_tunnel_start();
    if (st == FRAMED_OK && config->secret_key != NULL) st = framed_tunnel_identity(keys, config->secret_key);
    keys->pinned_count = config->peer_key_count;
    for (size_t i = 0; i < keys->pinned_count; i++) keys->pinned[i] = config->peer_keys[i];
    if (st == FRAMED_OK && tunnel_pins(keys, keys->identity.public)) st = FRAMED_USAGE; /* it would reflect us */
    if (config->shared_key != NULL) keys->shared = *config->shared_key;
    keys->key_id_len = config->key_id.len;
    if (config->key_id.len > 0) memcpy(keys->key_id, config->key_id.at, config->key_id.len);
    return st;
}

enum framed_status framed_channel_new(struct channel **made, const struct channel_terms *terms, void *owner,
                                      const struct framed_allocator *alloc)
{
    struct channel *ch = mem_new(alloc, sizeof *ch);
    struct channel_opening *opening = ch != NULL ? mem_new(alloc, sizeof *opening) : NULL;
    if (opening == NULL) {
        mem_free(alloc, ch, sizeof *ch);
        return FRAMED_NOMEM;
    }
    *ch = (struct channel){.terms = terms, .u.opening = opening};
    opening->owner = owner;
    enum framed_status st = terms->connects ? framed_opening_connect(&opening->reads, terms->mode)
                                            : framed_opening_accept(&opening->reads, &terms->accepts);
    check(st == FRAMED_OK); /* the owner has tried its terms */
    if (terms->connects && framed_encrypts(framed_mode_protection(terms->mode)))
        st = framed_tunnel_connect(&ch->tunnel, terms->keys, terms->mode, terms->max_frame, alloc);
    if (st == FRAMED_OK)
        *made = ch;
    else
        framed_channel_free(ch, alloc);
    return st;
}

void framed_channel_free(struct channel *ch, const struct framed_allocator *alloc)
{
    if (ch == NULL) return;
    framed_tunnel_free(ch->tunnel);
    if (!ch->is_open) mem_free(alloc, ch->u.opening, sizeof *ch->u.opening);
    mem_free(alloc, ch, sizeof *ch);
}

size_t framed_channel_opening(const struct channel *ch, uint8_t bytes[FRAMED_OPENING_MOST])
{
    size_t n;
    struct framed_fault fault;
    const struct framed_hello hello = {.max_frame = ch->terms->max_frame};
    bool connects = ch->terms->connects;
    if (ch->tunnel != NULL) return 0;
    enum framed_status st = framed_opening_encode(bytes, &n, connects ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR,
                                                  connects ? ch->terms->mode : ch->mode, &hello, &fault);
    check(st == FRAMED_OK);
    return n;
}

enum framed_status framed_channel_say(const struct channel *ch, struct framed_writer *writer)
{
    uint8_t bytes[FRAMED_OPENING_MOST];
    size_t n = framed_channel_opening(ch, bytes);
    return n > 0 ? framed_writer_raw(writer, framed_bytes_of(bytes, n)) : FRAMED_OK;
}

static void open_up(struct channel *ch, const struct framed_allocator *alloc)
{
    struct channel_opening *opening = ch->u.opening;
    uint32_t most = ch->tunnel != NULL ? ch->tunnel->most : framed_opening_hello(&opening->reads).max_frame;
    ch->is_open = true;
    mem_free(alloc, opening, sizeof *opening);
    enum framed_protection with = framed_mode_protection(ch->mode);
    uint32_t trailer = framed_sum_size(with);
    /* HELLO was frame 0, both ways. */
    ch->u.received = 1;
    ch->out = (struct framed_sealing){
        .most = most < FRAMED_FRAME_MOST - trailer ? most : FRAMED_FRAME_MOST - trailer,
        .trailer = trailer,
        .next = {.from = ch->terms->connects ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR, .with = with, .counter = 1},
    };
}

/* The opening has come; with it who listens has made its tunnel, and is done with it: strangers are to hold little. */
static enum framed_status agree(struct channel *ch, const struct framed_allocator *alloc)
{
    struct channel_opening *opening = ch->u.opening;
    ch->agreed = true;
    ch->mode = opening->reads.mode;
    if (!framed_encrypts(framed_mode_protection(ch->mode)) || ch->tunnel != NULL) return FRAMED_OK;
    enum framed_status st =
        framed_tunnel_accept(&ch->tunnel, ch->terms->keys, &opening->reads, ch->terms->max_frame, opening->owner, alloc);
    mem_free(alloc, opening, sizeof *opening);
    ch->u.opening = NULL;
    return st;
}

enum framed_status framed_channel_next(struct channel *ch, struct framed_bytes *in, const struct framed_allocator *alloc)
{
    enum framed_status st = FRAMED_OK;
    if (!ch->agreed) {
        st = framed_opening_next(&ch->u.opening->reads, in);
        if (st == FRAMED_OK) st = agree(ch, alloc);
    }
    if (st == FRAMED_OK && ch->tunnel != NULL) st = framed_tunnel_next(ch->tunnel, in);
    if (st == FRAMED_OK) open_up(ch, alloc);
    return st;
}

enum framed_status framed_channel_end(struct channel *ch)
{
    return ch->agreed ? FRAMED_TRUNCATED : framed_opening_end(&ch->u.opening->reads);
}

size_t framed_channel_wants(const struct channel *ch)
{
    size_t n = ch->agreed ? framed_tunnel_wants(ch->tunnel) : framed_opening_wants(&ch->u.opening->reads);
    return n < sizeof ch->u.opening->room ? n : sizeof ch->u.opening->room;
}

uint32_t framed_channel_trailer(const struct channel *ch)
{
    return ch->out.trailer;
}

bool framed_channel_still_trusts(struct channel *ch)
{
    struct tunnel *t = ch->tunnel;
    return t == NULL || !ch->is_open || framed_tunnel_trusts(t);
}

static const struct framed_fault *fault_of(const struct channel *ch, enum framed_status why)
{
    if (ch->agreed || (why != FRAMED_TOO_LARGE && why != FRAMED_MALFORMED)) return NULL;
    return framed_opening_fault(&ch->u.opening->reads);
}

/* It is no length: to who listens for plain frames, too, that is as on a plain connection. */
static bool is_plain_fault(const struct channel *ch, const struct framed_fault *fault)
{
    return fault != NULL && fault->what == FRAMED_FAULT_WORD && ch->terms->accepts.plain;
}

uint32_t framed_channel_claimed(const struct channel *ch)
{
    return ch->agreed ? 0 : framed_opening_fault(&ch->u.opening->reads)->found;
}

/* Of the handshake, and of records. */
static const char *words_of_tunnel(const struct channel *ch, enum framed_status why)
{
    const struct tunnel *t = ch->tunnel;
    bool behind = t->session != NULL; /* the handshake */
    if (t->refused && ch->terms->connects)
        return ch->is_open ? "the peer does not let us in: our key is not allowed there"
                           : "the peer has another key than it must have";
    if (t->refused)
        return framed_mode_protection(t->mode) == FRAMED_SHARED_AND_PINNED ? "the peer's key, or its id, is not allowed here"
                                                                           : "the peer's key is not allowed here";
    switch (why) {
    case FRAMED_AUTH:
        return behind ? "a record that did not open: bytes were changed, or a record was lost or repeated"
                      : "the handshake failed: the two ends have other keys, or bytes were changed";
    case FRAMED_MALFORMED: return behind ? "no record, where one must come" : "no handshake, where one must come";
    case FRAMED_TRUNCATED:
        if (t->session != NULL && t->session->in.closed) return "the peer ended inside a frame";
        return behind ? "the stream was cut off: its end is not the peer's"
                      : "it ended inside the handshake: the other end does not agree";
    case FRAMED_TIMEOUT: return "the handshake was not finished in time";
    default: return framed_status_text(why);
    }
}

/* Behind the words: the public key of who was refused, so that he can be let in. An id of a shared key stands before them. */
static void name_key(struct tunnel *t, char text[FRAMED_KEY_TEXT_SIZE])
{
    struct framed_key key;
    const struct framed_peer peer = framed_tunnel_peer(t);
    text[0] = '\0';
    if (!t->refused || t->connects || peer.key == NULL) return;
    memcpy(key.bytes, peer.key, sizeof key.bytes);
    if (framed_key_format(text, FRAMED_KEY_PUBLIC, &key) != FRAMED_OK) text[0] = '\0';
}

static const char *words_for(enum framed_status why)
{
    switch (why) {
    case FRAMED_TIMEOUT: return "the opening was not finished in time";
    case FRAMED_TRUNCATED: return "it ended inside the opening";
    default: return framed_status_text(why);
    }
}

/* What a client may make of it. */
static const char *verdict(const struct channel *ch, enum framed_status why, const struct framed_fault *fault)
{
    if (!ch->terms->connects) return "";
    if (why == FRAMED_TIMEOUT) return "no framed peer here, or a busy one: ";
    if (fault == NULL || fault->what == FRAMED_FAULT_NO_PREFACE || fault->what == FRAMED_FAULT_WORD)
        return "no framed peer here: ";
    return "it does not open as it should: ";
}

/* Why the peer may have gone without a word. */
static const char *guess(const struct channel *ch, enum framed_status why)
{
    if (!ch->terms->connects || (why != FRAMED_TRUNCATED && why != FRAMED_RESET)) return "";
    if (ch->tunnel != NULL)
        return "; perhaps it wants no such keys, or too many come at once"; /* with bytes unread that is a reset */
    return why == FRAMED_TRUNCATED ? "; perhaps it speaks only plain frames, or wants another protection" : "";
}

bool framed_channel_why(const struct channel *ch, enum framed_status why, char *text, size_t size)
{
    if (ch->is_open && why != FRAMED_MALFORMED && ch->tunnel == NULL) return false;
    if (ch->tunnel != NULL && ch->agreed) {
        if (why != FRAMED_AUTH && why != FRAMED_MALFORMED && why != FRAMED_TRUNCATED &&
            (why != FRAMED_TIMEOUT || ch->is_open))
            return false;
        char key[FRAMED_KEY_TEXT_SIZE];
        name_key(ch->tunnel, key);
        (void)snprintf(text, size, "%s%s%s", words_of_tunnel(ch, why), key[0] != '\0' ? ": " : "", key);
        return true;
    }
    if (ch->is_open) {
        (void)snprintf(text, size, "a checksum was wrong: bytes were changed on their way, or a frame was lost or doubled");
        return true;
    }
    if (why == FRAMED_NOMEM || why == FRAMED_OS || why == FRAMED_LIMIT) return false; /* ours */
    const struct framed_fault *fault = fault_of(ch, why);
    if (is_plain_fault(ch, fault)) return false;
    char said[FRAMED_FAULT_ROOM];
    if (fault != NULL) framed_fault_say(fault, said, sizeof said);
    (void)snprintf(text, size, "%s%s%s", verdict(ch, why, fault), fault != NULL ? said : words_for(why), guess(ch, why));
    return true;
}
