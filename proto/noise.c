/*
 * noise.c: Noise handshakes and cipher states (noise.h; § are sections of the Noise specification, revision 34).
 * Must not know who the peer may be, what is in a payload, where bytes come from or go to.
 * Invariants: a state that is not GOING or DONE holds no secret; a nonce is used once per key; what came from outside is only
 * copied, hashed, decrypted or multiplied before it is authenticated: nothing branches on it but for its length, for being a
 * key of our own, and for a product of zero.
 */
#include "noise.h"
#include "be.h"
#include <sodium.h>
#include <string.h>

/* crypto_scalarmult() says of an all-zero result that it failed; incremental HMAC-SHA-256 is older. */
#if SODIUM_LIBRARY_VERSION_MAJOR < 10 || (SODIUM_LIBRARY_VERSION_MAJOR == 10 && SODIUM_LIBRARY_VERSION_MINOR < 3)
#error "libsodium 1.0.18 or newer is needed"
#endif

enum { SIZE = NOISE_KEY_SIZE, TAG = NOISE_TAG_SIZE, MESSAGES_MOST = 3, TOKENS_MOST = 5 };

_Static_assert(crypto_scalarmult_BYTES == SIZE && crypto_scalarmult_SCALARBYTES == SIZE, "DHLEN");
_Static_assert(crypto_hash_sha256_BYTES == SIZE && crypto_auth_hmacsha256_BYTES == SIZE, "HASHLEN");
_Static_assert(crypto_aead_chacha20poly1305_ietf_KEYBYTES == SIZE && crypto_aead_chacha20poly1305_ietf_ABYTES == TAG &&
                   crypto_aead_chacha20poly1305_ietf_NPUBBYTES == NOISE_NONCE_SIZE,
               "key, tag, nonce");
_Static_assert(crypto_stream_chacha20_ietf_KEYBYTES == SIZE && crypto_onetimeauth_poly1305_BYTES == TAG, "the AEAD's parts");

/* ---- patterns (§7.5, §9.4) ---- */

enum token { END, E, S, EE, ES, SE, PSK };

static const struct {
    const char *name;
    bool has_psk, has_static;
    unsigned messages;
    uint8_t tokens[MESSAGES_MOST][TOKENS_MOST];
} patterns[] = {
    [NOISE_NNPSK0] = {"Noise_NNpsk0_25519_ChaChaPoly_SHA256", true, false, 2, {{PSK, E}, {E, EE}}},
    [NOISE_XX] = {"Noise_XX_25519_ChaChaPoly_SHA256", false, true, 3, {{E}, {E, EE, S, ES}, {S, SE}}},
    [NOISE_XXPSK0] = {"Noise_XXpsk0_25519_ChaChaPoly_SHA256", true, true, 3, {{PSK, E}, {E, EE, S, ES}, {S, SE}}},
};

static const uint8_t *tokens_of(const struct framed_noise *hs)
{
    return patterns[hs->pattern].tokens[hs->message];
}

/* ---- the cipher (§4.2, §12.3) ---- */

/* 32 zero bits, then n, little-endian. */
static void nonce_of(uint8_t nonce[NOISE_NONCE_SIZE], uint64_t n)
{
    memset(nonce, 0, 4);
    le64_put(nonce + 4, n);
}

/* ENCRYPT: in place, with room for the tag behind. */
static void seal(const uint8_t key[SIZE], uint64_t n, struct framed_bytes ad, uint8_t *at, size_t len)
{
    uint8_t nonce[NOISE_NONCE_SIZE];
    nonce_of(nonce, n);
    crypto_aead_chacha20poly1305_ietf_encrypt(at, NULL, at, len, ad.at, ad.len, NULL, nonce, key);
}

/* DECRYPT: in place; false: the tag is wrong. */
static bool unseal(const uint8_t key[SIZE], uint64_t n, struct framed_bytes ad, uint8_t *at, size_t len)
{
    uint8_t nonce[NOISE_NONCE_SIZE];
    nonce_of(nonce, n);
    return crypto_aead_chacha20poly1305_ietf_decrypt(at, NULL, NULL, at, len, ad.at, ad.len, nonce, key) == 0;
}

static void cipher_key(struct framed_noise_cipher *c, const uint8_t key[SIZE])
{
    memcpy(c->key, key, SIZE);
    c->n = 0;
    c->keyed = true;
}

enum framed_status framed_noise_encrypt(struct framed_noise_cipher *c, struct framed_bytes ad, uint8_t *at, size_t len)
{
    if (!c->keyed || c->n == UINT64_MAX || len > NOISE_MESSAGE_MOST - TAG) return FRAMED_USAGE;
    seal(c->key, c->n, ad, at, len);
    c->n++;
    return FRAMED_OK;
}

enum framed_status framed_noise_decrypt(struct framed_noise_cipher *c, struct framed_bytes ad, uint8_t *at, size_t len)
{
    if (!c->keyed || c->n == UINT64_MAX) return FRAMED_USAGE;
    if (len < TAG || len > NOISE_MESSAGE_MOST) return FRAMED_MALFORMED;
    if (!unseal(c->key, c->n, ad, at, len)) return FRAMED_AUTH;
    c->n++;
    return FRAMED_OK;
}

/*
 * The same once more, of pieces (RFC 8439 §2.8): the first block of the key stream is the key of the tag, the others encrypt. Long
 * pieces go through the cipher on their way, by whole blocks; to copy them first would take a twentieth of the time.
 */
enum { BLOCK = 64, STRIDE = 8 * BLOCK /* which fast implementations take at once */, COPIED_BELOW = 4 * STRIDE };

enum framed_status framed_noise_seal_begin(struct framed_noise_sealing *s, struct framed_noise_cipher *c, uint8_t *at)
{
    if (!c->keyed || c->n == UINT64_MAX) return FRAMED_USAGE;
    *s = (struct framed_noise_sealing){.cipher = c, .at = at};
    nonce_of(s->nonce, c->n);
    return FRAMED_OK;
}

/* The next n bytes; all before them are whole blocks. */
static void encipher(struct framed_noise_sealing *s, const uint8_t *from, size_t n)
{
    if (n == 0) return;
    uint32_t block = 1 + (uint32_t)(s->done / BLOCK);
    crypto_stream_chacha20_ietf_xor_ic(s->at + s->done, from, n, s->nonce, block, s->cipher->key);
    s->done += n;
}

static void put(struct framed_noise_sealing *s, const uint8_t *from, size_t n)
{
    if (n > 0 && from != s->at + s->len) memcpy(s->at + s->len, from, n);
    s->len += n;
}

void framed_noise_seal_more(struct framed_noise_sealing *s, const uint8_t *from, size_t len)
{
    if (len >= COPIED_BELOW) {
        size_t fill = (STRIDE - s->len % STRIDE) % STRIDE, whole = (len - fill) / STRIDE * STRIDE;
        put(s, from, fill);
        encipher(s, s->at + s->done, s->len - s->done);
        encipher(s, from + fill, whole);
        s->len += whole;
        from += fill + whole;
        len -= fill + whole;
    }
    put(s, from, len);
}

void framed_noise_seal_end(struct framed_noise_sealing *s)
{
    static const uint8_t zeros[TAG];
    crypto_onetimeauth_poly1305_state mac;
    uint8_t key[crypto_onetimeauth_poly1305_KEYBYTES], lengths[16] = {0};
    encipher(s, s->at + s->done, s->len - s->done);
    crypto_stream_chacha20_ietf(key, sizeof key, s->nonce, s->cipher->key);
    crypto_onetimeauth_poly1305_init(&mac, key);
    crypto_onetimeauth_poly1305_update(&mac, s->at, s->len);
    crypto_onetimeauth_poly1305_update(&mac, zeros, (TAG - s->len % TAG) % TAG);
    le64_put(lengths + 8, s->len);
    crypto_onetimeauth_poly1305_update(&mac, lengths, sizeof lengths);
    crypto_onetimeauth_poly1305_final(&mac, s->at + s->len);
    sodium_memzero(key, sizeof key);
    sodium_memzero(&mac, sizeof mac);
    s->cipher->n++;
}

/* REKEY (§4.2): the first 32 bytes of 32 zeros encrypted under the nonce that no message has. */
enum framed_status framed_noise_rekey(struct framed_noise_cipher *c)
{
    if (!c->keyed) return FRAMED_USAGE;
    uint8_t fresh[SIZE + TAG] = {0};
    seal(c->key, UINT64_MAX, framed_bytes_of(NULL, 0), fresh, SIZE);
    memcpy(c->key, fresh, SIZE);
    sodium_memzero(fresh, sizeof fresh);
    return FRAMED_OK;
}

void framed_noise_cipher_fini(struct framed_noise_cipher *c)
{
    sodium_memzero(c, sizeof *c);
}

/* ---- hash and chaining key (§4.3, §5.2) ---- */

/* HKDF: `count` outputs of 32 bytes. */
static void hkdf(const uint8_t ck[SIZE], const uint8_t *input, size_t len, uint8_t out[][SIZE], uint8_t count)
{
    crypto_auth_hmacsha256_state mac;
    uint8_t temp[SIZE];
    crypto_auth_hmacsha256_init(&mac, ck, SIZE);
    crypto_auth_hmacsha256_update(&mac, input, len);
    crypto_auth_hmacsha256_final(&mac, temp);
    for (uint8_t i = 1; i <= count; i++) {
        crypto_auth_hmacsha256_init(&mac, temp, SIZE);
        if (i > 1) crypto_auth_hmacsha256_update(&mac, out[i - 2], SIZE);
        crypto_auth_hmacsha256_update(&mac, &i, 1);
        crypto_auth_hmacsha256_final(&mac, out[i - 1]);
    }
    sodium_memzero(temp, sizeof temp);
    sodium_memzero(&mac, sizeof mac);
}

/* MixHash */
static void mix_hash(struct framed_noise *hs, struct framed_bytes data)
{
    crypto_hash_sha256_state hash;
    crypto_hash_sha256_init(&hash);
    crypto_hash_sha256_update(&hash, hs->h, SIZE);
    crypto_hash_sha256_update(&hash, data.at, data.len);
    crypto_hash_sha256_final(&hash, hs->h);
    sodium_memzero(&hash, sizeof hash); /* with a psk, h is made of secrets, too */
}

/* MixKey */
static void mix_key(struct framed_noise *hs, const uint8_t input[SIZE])
{
    uint8_t out[2][SIZE];
    hkdf(hs->ck, input, SIZE, out, 2);
    memcpy(hs->ck, out[0], SIZE);
    cipher_key(&hs->cipher, out[1]);
    sodium_memzero(out, sizeof out);
}

/* MixKeyAndHash; of the psk alone (§9.2), which is not needed again. */
static void mix_psk(struct framed_noise *hs)
{
    uint8_t out[3][SIZE];
    hkdf(hs->ck, hs->u.psk, SIZE, out, 3);
    sodium_memzero(hs->u.psk, sizeof hs->u.psk);
    memcpy(hs->ck, out[0], SIZE);
    mix_hash(hs, framed_bytes_of(out[1], SIZE));
    cipher_key(&hs->cipher, out[2]);
    sodium_memzero(out, sizeof out);
}

/* EncryptAndHash: in place; returns how long it has become. Before the first key the text stays as it is. */
static size_t seal_and_hash(struct framed_noise *hs, uint8_t *at, size_t len)
{
    if (hs->cipher.keyed) {
        seal(hs->cipher.key, hs->cipher.n++, framed_bytes_of(hs->h, SIZE), at, len);
        len += TAG;
    }
    mix_hash(hs, framed_bytes_of(at, len));
    return len;
}

/* DecryptAndHash: in place. The hash is of what came, so it is taken first. */
static enum framed_status unseal_and_hash(struct framed_noise *hs, uint8_t *at, size_t len)
{
    uint8_t ad[SIZE];
    memcpy(ad, hs->h, SIZE);
    mix_hash(hs, framed_bytes_of(at, len));
    if (!hs->cipher.keyed) return FRAMED_OK;
    return unseal(hs->cipher.key, hs->cipher.n++, framed_bytes_of(ad, SIZE), at, len) ? FRAMED_OK : FRAMED_AUTH;
}

/* ---- keys (§4.1, §12.1) ---- */

enum framed_status framed_noise_start(void)
{
    return sodium_init() < 0 ? FRAMED_OS : FRAMED_OK;
}

enum framed_status framed_noise_keypair(struct framed_noise_keypair *pair, const uint8_t secret[SIZE])
{
    if (sodium_is_zero(secret, SIZE)) return FRAMED_USAGE;
    memcpy(pair->secret, secret, SIZE);
    crypto_scalarmult_base(pair->public, pair->secret);
    return FRAMED_OK;
}

/* Whether X25519 takes both for the same point: it does not look at the top bit. Who sends us our own key reflects us. */
static bool same_point(const uint8_t a[SIZE], const uint8_t b[SIZE])
{
    uint8_t x[SIZE], y[SIZE];
    memcpy(x, a, SIZE);
    memcpy(y, b, SIZE);
    x[SIZE - 1] &= 0x7f;
    y[SIZE - 1] &= 0x7f;
    return sodium_memcmp(x, y, SIZE) == 0;
}

/*
 * MixKey(DH(..)): ee, es or se. An all-zero result is refused, which §12.1 allows: it comes only of points with which nothing is
 * agreed, so it would let a peer in that has no secret.
 */
static enum framed_status mix_dh(struct framed_noise *hs, enum token token)
{
    bool initiator = hs->role == NOISE_INITIATOR;
    const uint8_t *ours = token == EE || (token == ES) == initiator ? hs->e.secret : hs->s.secret;
    const uint8_t *theirs = token == EE || (token == ES) != initiator ? hs->re : hs->u.rs;
    uint8_t shared[SIZE];
    bool agreed = crypto_scalarmult(shared, ours, theirs) == 0;
    if (agreed) mix_key(hs, shared);
    sodium_memzero(shared, sizeof shared);
    return agreed ? FRAMED_OK : FRAMED_AUTH;
}

/* What a public ephemeral key does to both ends alike; with a psk it is key material, too (§9.2). */
static void mix_e(struct framed_noise *hs, const uint8_t public[SIZE])
{
    mix_hash(hs, framed_bytes_of(public, SIZE));
    if (patterns[hs->pattern].has_psk) mix_key(hs, public);
}

/* ---- the handshake (§5.3) ---- */

static bool config_is_sound(const struct framed_noise_config *c)
{
    if ((unsigned)c->pattern >= sizeof patterns / sizeof *patterns || (unsigned)c->role > NOISE_RESPONDER) return false;
    if (c->ephemeral == NULL || sodium_is_zero(c->ephemeral, SIZE)) return false;
    /* A key that the pattern does not use is one that its owner wrongly relies on. */
    if ((c->psk != NULL) != patterns[c->pattern].has_psk) return false;
    if ((c->identity != NULL) != patterns[c->pattern].has_static) return false;
    if (c->psk != NULL && sodium_is_zero(c->psk, SIZE)) return false;
    return c->identity == NULL || !sodium_is_zero(c->identity->secret, SIZE);
}

/* A name of up to 32 bytes is filled up with zeros, a longer one hashed (§5.2: InitializeSymmetric). */
static void name_hash(uint8_t h[SIZE], const char *name)
{
    struct framed_bytes n = framed_bytes_str(name);
    memset(h, 0, SIZE);
    if (n.len <= SIZE)
        memcpy(h, n.at, n.len);
    else
        crypto_hash_sha256(h, n.at, n.len);
}

enum framed_status framed_noise_init(struct framed_noise *hs, const struct framed_noise_config *config)
{
    memset(hs, 0, sizeof *hs);
    if (!config_is_sound(config)) return FRAMED_USAGE;
    hs->stage = NOISE_GOING;
    hs->pattern = (uint8_t)config->pattern;
    hs->role = (uint8_t)config->role;
    memcpy(hs->e.secret, config->ephemeral, SIZE);
    if (config->psk != NULL) memcpy(hs->u.psk, config->psk, SIZE);
    if (config->identity != NULL) hs->s = *config->identity;
    name_hash(hs->h, patterns[hs->pattern].name);
    memcpy(hs->ck, hs->h, SIZE);
    mix_hash(hs, config->prologue);
    return FRAMED_OK;
}

void framed_noise_fini(struct framed_noise *hs)
{
    sodium_memzero(hs, sizeof *hs);
}

static enum framed_status fail(struct framed_noise *hs, enum framed_status why)
{
    framed_noise_fini(hs);
    hs->stage = NOISE_FAILED;
    hs->failure = (int8_t)why;
    return why;
}

/* Whether it is `role`'s turn to write: else what a call has to say. */
static enum framed_status turn(const struct framed_noise *hs, enum noise_role role)
{
    if (hs->stage == NOISE_FAILED) return (enum framed_status)hs->failure;
    if (hs->stage != NOISE_GOING) return FRAMED_USAGE;
    return (hs->message % 2 == 0) == (role == NOISE_INITIATOR) ? FRAMED_OK : FRAMED_USAGE;
}

static enum noise_role other(enum noise_role role)
{
    return role == NOISE_INITIATOR ? NOISE_RESPONDER : NOISE_INITIATOR;
}

size_t framed_noise_overhead(const struct framed_noise *hs)
{
    if (hs->stage != NOISE_GOING) return 0;
    bool keyed = hs->cipher.keyed;
    size_t size = 0;
    for (const uint8_t *token = tokens_of(hs); *token != END; token++) {
        if (*token == E)
            size += SIZE; /* in the clear; where it makes a key, psk has made one before */
        else if (*token == S)
            size += SIZE + TAG; /* in all our patterns there is a key by then */
        else
            keyed = true;
    }
    return size + (keyed ? TAG : 0);
}

/* A message is through. After the last one only the chaining key is still needed, for split. */
static void advance(struct framed_noise *hs)
{
    hs->message++;
    if (hs->message < patterns[hs->pattern].messages) return;
    sodium_memzero(&hs->e, sizeof hs->e);
    sodium_memzero(&hs->s, sizeof hs->s);
    framed_noise_cipher_fini(&hs->cipher);
    hs->stage = NOISE_DONE;
}

/* Our ephemeral's public half is made here and not earlier: a stranger with a wrong psk costs no multiplication. */
static enum framed_status write_e(struct framed_noise *hs, uint8_t *at)
{
    crypto_scalarmult_base(hs->e.public, hs->e.secret);
    if (same_point(hs->e.public, hs->re)) return FRAMED_AUTH;
    memcpy(at, hs->e.public, SIZE);
    mix_e(hs, hs->e.public);
    return FRAMED_OK;
}

static enum framed_status write_token(struct framed_noise *hs, enum token token, uint8_t **at)
{
    enum framed_status st = FRAMED_OK;
    switch (token) {
    case PSK: mix_psk(hs); break;
    case E:
        st = write_e(hs, *at);
        *at += SIZE;
        break;
    case S:
        memcpy(*at, hs->s.public, SIZE);
        *at += seal_and_hash(hs, *at, SIZE);
        break;
    default: st = mix_dh(hs, token);
    }
    return st;
}

enum framed_status framed_noise_write(struct framed_noise *hs, struct framed_bytes payload, uint8_t *out, size_t room,
                                      size_t *len)
{
    enum framed_status st = turn(hs, hs->role);
    if (st != FRAMED_OK) return st;
    size_t overhead = framed_noise_overhead(hs);
    if (payload.len > NOISE_MESSAGE_MOST - overhead || room < overhead + payload.len) return FRAMED_USAGE;
    uint8_t *at = out;
    for (const uint8_t *token = tokens_of(hs); *token != END; token++) {
        st = write_token(hs, *token, &at);
        if (st != FRAMED_OK) return fail(hs, st);
    }
    if (payload.len > 0) memcpy(at, payload.at, payload.len);
    at += seal_and_hash(hs, at, payload.len);
    *len = (size_t)(at - out);
    advance(hs);
    return FRAMED_OK;
}

static enum framed_status read_e(struct framed_noise *hs, const uint8_t *at)
{
    memcpy(hs->re, at, SIZE);
    if (hs->message > 0 && same_point(hs->re, hs->e.public)) return FRAMED_AUTH; /* before, ours is not made */
    mix_e(hs, hs->re);
    return FRAMED_OK;
}

static enum framed_status read_s(struct framed_noise *hs, uint8_t *at)
{
    enum framed_status st = unseal_and_hash(hs, at, SIZE + TAG);
    if (st != FRAMED_OK) return st;
    memcpy(hs->u.rs, at, SIZE);
    return same_point(hs->u.rs, hs->s.public) ? FRAMED_AUTH : FRAMED_OK;
}

static enum framed_status read_token(struct framed_noise *hs, enum token token, uint8_t **at)
{
    enum framed_status st = FRAMED_OK;
    switch (token) {
    case PSK: mix_psk(hs); break;
    case E:
        st = read_e(hs, *at);
        *at += SIZE;
        break;
    case S:
        st = read_s(hs, *at);
        *at += SIZE + TAG;
        break;
    default: st = mix_dh(hs, token);
    }
    return st;
}

enum framed_status framed_noise_read(struct framed_noise *hs, uint8_t *message, size_t len, struct framed_bytes *payload)
{
    enum framed_status st = turn(hs, other(hs->role));
    if (st != FRAMED_OK) return st;
    size_t overhead = framed_noise_overhead(hs);
    if (len < overhead || len > NOISE_MESSAGE_MOST) return fail(hs, FRAMED_MALFORMED);
    uint8_t *at = message;
    for (const uint8_t *token = tokens_of(hs); *token != END; token++) {
        st = read_token(hs, *token, &at);
        if (st != FRAMED_OK) return fail(hs, st);
    }
    st = unseal_and_hash(hs, at, len - (size_t)(at - message));
    if (st != FRAMED_OK) return fail(hs, st);
    *payload = framed_bytes_of(at, len - overhead);
    advance(hs);
    return FRAMED_OK;
}

const uint8_t *framed_noise_remote_static(const struct framed_noise *hs)
{
    /* It came with message 2 or 3, and is as good as the payload's tag behind it. After a failure `message` is 0. */
    bool known = patterns[hs->pattern].has_static && hs->message > (hs->role == NOISE_INITIATOR ? 1 : 2);
    return known ? hs->u.rs : NULL;
}

const uint8_t *framed_noise_hash(const struct framed_noise *hs)
{
    return hs->stage == NOISE_DONE || hs->stage == NOISE_SPLIT ? hs->h : NULL;
}

enum framed_status framed_noise_split(struct framed_noise *hs, struct framed_noise_cipher *send,
                                      struct framed_noise_cipher *receive)
{
    if (hs->stage == NOISE_FAILED) return (enum framed_status)hs->failure;
    if (hs->stage != NOISE_DONE) return FRAMED_USAGE;
    uint8_t out[2][SIZE];
    hkdf(hs->ck, NULL, 0, out, 2);
    cipher_key(send, out[hs->role == NOISE_INITIATOR ? 0 : 1]);
    cipher_key(receive, out[hs->role == NOISE_INITIATOR ? 1 : 0]);
    sodium_memzero(out, sizeof out);
    sodium_memzero(hs->ck, sizeof hs->ck);
    hs->stage = NOISE_SPLIT;
    return FRAMED_OK;
}
