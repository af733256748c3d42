/*
 * keys.c: keys and their texts (framed/secure.h).
 * Must not know where a text comes from, or who has which key.
 * Invariants: no reason has anything of the text in it; what was decoded and is not handed out is wiped; nothing branches on a
 * secret but for its being no key at all.
 */
#include <framed/secure.h>
#include <string.h>

#ifdef FRAMED_SODIUM
#include <sodium.h>

enum { PREFIX = 13, LETTERS = 43, TEXT = PREFIX + LETTERS, KINDS = 3, VARIANT = sodium_base64_VARIANT_URLSAFE_NO_PADDING };

_Static_assert(FRAMED_KEY_TEXT_SIZE == TEXT + 1, "the text of a key");
_Static_assert(crypto_scalarmult_BYTES == FRAMED_KEY_SIZE && crypto_scalarmult_SCALARBYTES == FRAMED_KEY_SIZE, "a key");

static const char prefixes[KINDS][PREFIX + 1] = {
    [FRAMED_KEY_PUBLIC] = "framed-pub-1:", [FRAMED_KEY_SECRET] = "framed-sec-1:", [FRAMED_KEY_SHARED] = "framed-psk-1:"};

/* By what it is, then what was wanted. */
static const char *const confused[KINDS][KINDS] = {
    [FRAMED_KEY_PUBLIC] = {NULL, "that is a public key, where a secret one is wanted",
                           "that is a public key, where a shared one is wanted"},
    [FRAMED_KEY_SECRET] = {"that is a secret key, where a public one is wanted", NULL,
                           "that is a secret key, where a shared one is wanted"},
    [FRAMED_KEY_SHARED] = {"that is a shared key, where a public one is wanted",
                           "that is a shared key, where a secret one is wanted", NULL},
};
static const char *const foreign[KINDS] = {[FRAMED_KEY_PUBLIC] = "that is no key: a public one begins with framed-pub-1:",
                                           [FRAMED_KEY_SECRET] = "that is no key: a secret one begins with framed-sec-1:",
                                           [FRAMED_KEY_SHARED] = "that is no key: a shared one begins with framed-psk-1:"};

static const char no_letter[] = "a character that no key has: behind its colon are A to Z, a to z, 0 to 9, - and _";

static enum framed_status refuse(const char **reason, const char *why)
{
    *reason = why;
    return FRAMED_MALFORMED;
}

/* KINDS: none. A prefix is no secret. */
static unsigned kind_of(struct framed_bytes text)
{
    unsigned kind = 0;
    if (text.len < PREFIX) return KINDS;
    while (kind < KINDS && memcmp(text.at, prefixes[kind], PREFIX) != 0) kind++;
    return kind;
}

static enum framed_status decode(struct framed_key *key, struct framed_bytes letters, const char **reason)
{
    const char *at = (const char *)letters.at, *end;
    if (letters.len < LETTERS) return refuse(reason, "that key is cut: 43 characters follow its colon");
    if (letters.len > LETTERS) return refuse(reason, "that key goes on too long: 43 characters follow its colon");
    uint8_t all = 0;
    for (size_t i = 0; i < LETTERS; i++) all |= letters.at[i];
    if (all >= 0x80) return refuse(reason, no_letter); /* libsodium 1.0.18 takes some of these bytes for letters */
    int st = sodium_base642bin(key->bytes, sizeof key->bytes, at, LETTERS, NULL, NULL, &end, VARIANT);
    if (end != at + LETTERS) return refuse(reason, no_letter);
    if (st != 0) return refuse(reason, "that key was changed: its last character belongs to none");
    if (sodium_is_zero(key->bytes, sizeof key->bytes)) return refuse(reason, "that key is all zero, which is none");
    return FRAMED_OK;
}

enum framed_status framed_key_parse(struct framed_key *key, enum framed_key_kind kind, struct framed_bytes text,
                                    const char **reason)
{
    struct framed_key decoded;
    if ((unsigned)kind >= KINDS) {
        *reason = "there is no such kind of key";
        return FRAMED_USAGE;
    }
    unsigned found = kind_of(text);
    if (found == KINDS) return refuse(reason, foreign[kind]);
    if (found != (unsigned)kind) return refuse(reason, confused[found][kind]);
    enum framed_status st = decode(&decoded, framed_bytes_of(text.at + PREFIX, text.len - PREFIX), reason);
    if (st == FRAMED_OK) *key = decoded;
    framed_wipe(&decoded, sizeof decoded);
    return st;
}

enum framed_status framed_key_format(char text[FRAMED_KEY_TEXT_SIZE], enum framed_key_kind kind,
                                     const struct framed_key *key)
{
    if ((unsigned)kind >= KINDS || sodium_is_zero(key->bytes, sizeof key->bytes)) return FRAMED_USAGE;
    memcpy(text, prefixes[kind], PREFIX);
    (void)sodium_bin2base64(text + PREFIX, LETTERS + 1, key->bytes, sizeof key->bytes, VARIANT);
    return FRAMED_OK;
}

enum framed_status framed_key_public(struct framed_key *public_key, const struct framed_key *secret_key)
{
    struct framed_key made;
    if (sodium_is_zero(secret_key->bytes, sizeof secret_key->bytes)) return FRAMED_USAGE;
    if (sodium_init() < 0) return FRAMED_OS;
    if (crypto_scalarmult_base(made.bytes, secret_key->bytes) != 0) return FRAMED_OS;
    *public_key = made;
    return FRAMED_OK;
}

bool framed_key_same(const struct framed_key *a, const struct framed_key *b)
{
    return sodium_memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void framed_wipe(void *at, size_t n)
{
    sodium_memzero(at, n);
}

#else

enum framed_status framed_key_parse(struct framed_key *key, enum framed_key_kind kind, struct framed_bytes text,
                                    const char **reason)
{
    (void)key, (void)kind, (void)text;
    *reason = "keys need libsodium, without which this was built";
    return FRAMED_UNSUPPORTED;
}

enum framed_status framed_key_format(char text[FRAMED_KEY_TEXT_SIZE], enum framed_key_kind kind,
                                     const struct framed_key *key)
{
    (void)text, (void)kind, (void)key;
    return FRAMED_UNSUPPORTED;
}

enum framed_status framed_key_public(struct framed_key *public_key, const struct framed_key *secret_key)
{
    (void)public_key, (void)secret_key;
    return FRAMED_UNSUPPORTED;
}

bool framed_key_same(const struct framed_key *a, const struct framed_key *b)
{
    volatile uint8_t differ = 0;
    for (size_t i = 0; i < sizeof a->bytes; i++) differ = (uint8_t)(differ | (a->bytes[i] ^ b->bytes[i]));
    return differ == 0;
}

void framed_wipe(void *at, size_t n)
{
    volatile uint8_t *byte = at;
    while (n-- > 0) *byte++ = 0;
}

#endif
