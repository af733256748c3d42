/*
 * Owns: the keys that a command was given, from its options to the library's config.
 * Must not know: how a file is read or checked (host.h), nor what its lines look like (keyfile.h).
 * Invariants: there is a connection only with every key that was named; a secret is wiped on every way out; no message repeats
 * what may be a key.
 */
#include "keyring.h"
#include "os.h"
#include <stdio.h>
#include <string.h>

static const struct framed_allocator *memory(void)
{
    return framed_os_allocator();
}

/* ---- files ---- */

bool framed_is_path(const char *path)
{
    if (path[0] == '\0') {
        framed_host_say("the name of a file is missing: it is empty");
        return false;
    }
    if (framed_key_within(path, true) == NULL) return true;
    framed_host_say("that is a key, where the name of a file is wanted; if it is secret, it may be known to others now");
    return false;
}

enum cli_exit framed_load_keys(const char *path, enum host_keys kind, struct framed_buf *text)
{
    if (!framed_is_path(path)) return CLI_USAGE;
    const char *reason = framed_status_text(FRAMED_NOMEM);
    enum framed_status st = framed_host_load_keys(path, kind, KEYFILE_MOST, text, memory(), &reason);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    if (st == FRAMED_OS) reason = framed_host_error();
    if (st == FRAMED_TOO_LARGE) reason = "too large; a file of keys has at most 1 MiB";
    framed_host_say("%.200s: %s", path, reason);
    return CLI_LOCAL;
}

void framed_forget_keys(struct framed_buf *text)
{
    framed_wipe(text->at, text->cap);
    framed_buf_fini(text, memory());
}

/* What could not be read is said. */
static enum cli_exit told(enum framed_status st, const char *error)
{
    if (st == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("%s", error);
    return CLI_LOCAL;
}

static enum cli_exit load_list(struct keyfile *list, enum keyfile_kind kind, const char *path)
{
    struct framed_buf text = {0};
    char error[KEYFILE_ERROR_ROOM];
    enum cli_exit code = framed_load_keys(path, kind == KEYFILE_SHARED ? HOST_KEYS_SECRET : HOST_KEYS_PUBLIC, &text);
    if (code != CLI_SUCCESS) return code;
    code = told(framed_keyfile_parse(list, kind, path, framed_bytes_of(text.at, text.len), memory(), error), error);
    framed_forget_keys(&text);
    return code;
}

static enum cli_exit load_secret(struct keyring *ring, const char *path)
{
    struct framed_buf text = {0};
    char error[KEYFILE_ERROR_ROOM];
    enum cli_exit code = framed_load_keys(path, HOST_KEYS_SECRET, &text);
    if (code != CLI_SUCCESS) return code;
    code =
        told(framed_keyfile_one(&ring->secret, FRAMED_KEY_SECRET, path, framed_bytes_of(text.at, text.len), error), error);
    framed_forget_keys(&text);
    if (code == CLI_SUCCESS)
        code = told(framed_key_public(&ring->own, &ring->secret), "--key: its public key cannot be made");
    return code;
}

/* ---- whom an end trusts ---- */

static const char own_key[] = "that is our own key, of --key; the other end must have one that is its alone";

/* Who answers with our own key reflects us. */
static bool is_own(const struct keyring *ring, const struct framed_key *key)
{
    return framed_key_same(&ring->own, key);
}

static enum cli_exit load_peers(const struct keyring *ring, struct keyfile *peers)
{
    enum cli_exit code = load_list(peers, KEYFILE_PEERS, ring->peers_path);
    if (code != CLI_SUCCESS) return code;
    const struct keyfile_entry *found = framed_keyfile_by_key(peers, &ring->own);
    if (found == NULL) return code;
    framed_host_say("%.200s:%u: %s", ring->peers_path, (unsigned)found->line, own_key);
    framed_keyfile_free(peers);
    return CLI_LOCAL;
}

static void pin(struct keyring *ring, const struct framed_key *key)
{
    static const struct framed_key none;
    if (memcmp(key, &none, sizeof none) != 0) ring->pins[ring->pin_count++] = *key;
}

/* `wrong`: what it means that it is our own. */
static enum cli_exit pin_other(struct keyring *ring, const struct framed_key *key, const char *where, enum cli_exit wrong)
{
    if (is_own(ring, key)) {
        framed_host_say("%.200s: %s", where, own_key);
        return wrong;
    }
    pin(ring, key);
    return CLI_SUCCESS;
}

/* KEY, or the name of a file that has it and nothing else. */
static enum cli_exit pin_given(struct keyring *ring, const char *given)
{
    struct framed_buf file = {0};
    struct framed_key key;
    const char *reason;
    char error[KEYFILE_ERROR_ROOM];
    if (framed_keyfile_looks_like_key(framed_bytes_str(given))) {
        if (framed_key_parse(&key, FRAMED_KEY_PUBLIC, framed_bytes_str(given), &reason) == FRAMED_OK)
            return pin_other(ring, &key, "--peer-key", CLI_USAGE);
        framed_host_say("--peer-key: %s", reason);
        return CLI_USAGE;
    }
    enum cli_exit code = framed_load_keys(given, HOST_KEYS_PUBLIC, &file);
    if (code != CLI_SUCCESS) return code;
    code = told(framed_keyfile_one(&key, FRAMED_KEY_PUBLIC, given, framed_bytes_of(file.at, file.len), error), error);
    framed_forget_keys(&file);
    return code == CLI_SUCCESS ? pin_other(ring, &key, given, CLI_LOCAL) : code;
}

static enum cli_exit pin_known(struct keyring *ring, const char *path, const char *address)
{
    struct keyfile servers = {0};
    if (strncmp(address, "unix:", 5) == 0 || strncmp(address, "fd:", 3) == 0) {
        framed_host_say("--known-servers: has servers by HOST:PORT; the key of %.120s is told by --peer-key", address);
        return CLI_USAGE;
    }
    enum cli_exit code = load_list(&servers, KEYFILE_SERVERS, path);
    if (code != CLI_SUCCESS) return code;
    const struct keyfile_entry *server = framed_keyfile_by_name(&servers, framed_bytes_str(address));
    if (server == NULL) {
        framed_host_say(
            "%.200s: %.120s is not there, so nobody knows its key; `framed pubkey` tells it where the server has it", path,
            address);
        code = CLI_LOCAL;
    } else if (is_own(ring, &server->key) || is_own(ring, &server->next)) {
        framed_host_say("%.200s:%u: %s", path, (unsigned)server->line, own_key);
        code = CLI_LOCAL;
    } else {
        pin(ring, &server->key);
        pin(ring, &server->next);
    }
    framed_keyfile_free(&servers);
    return code;
}

/* ---- what was asked for ---- */

/* What goes together. */
static const char *wrong_together(const struct cli_value *value, bool serves)
{
    bool pinned = value[OPT_KEY].given;
    bool trusts = serves ? value[OPT_AUTHORIZED_PEERS].given : value[OPT_PEER_KEY].given || value[OPT_KNOWN_SERVERS].given;
    if (value[OPT_CHECKSUM].given && (pinned || trusts || value[OPT_PSK_FILE].given))
        return "--checksum: not with keys, whose encryption finds whatever was changed";
    if (pinned && !trusts && serves) return "--key: whom it is to let in is missing: --authorized-peers FILE";
    if (pinned && !trusts) return "--key: the server's key is missing: --peer-key KEY or --known-servers FILE";
    if (!pinned && trusts && serves) return "--authorized-peers: the server's own key is missing: --key FILE";
    if (!pinned && trusts) return "--peer-key, --known-servers: the own key is missing: --key FILE";
    if (value[OPT_PEER_KEY].given && value[OPT_KNOWN_SERVERS].given)
        return "--peer-key, --known-servers: one of them is enough";
    return NULL;
}

static enum framed_protection asked_for(const struct cli_options *options)
{
    const struct cli_value *value = options->value;
    if (value[OPT_KEY].given) return value[OPT_PSK_FILE].given ? FRAMED_SHARED_AND_PINNED : FRAMED_PINNED_KEYS;
    if (value[OPT_PSK_FILE].given) return FRAMED_SHARED_KEY;
    if (!value[OPT_CHECKSUM].given) return FRAMED_UNPROTECTED;
    return value[OPT_CHECKSUM].number == 0 ? FRAMED_CRC32C : FRAMED_BLAKE2B; /* as the choices stand in the table */
}

static enum cli_exit is_built(enum framed_protection protection)
{
    if (CHANNEL_BUILT & 1u << protection) return CLI_SUCCESS;
    return framed_say_not_built(framed_encrypts(protection) ? "keys need" : "--checksum blake2b needs");
}

static enum cli_exit load_shared(struct keyfile *shared, const char *path, bool serves)
{
    enum cli_exit code = load_list(shared, KEYFILE_SHARED, path);
    if (code != CLI_SUCCESS || shared->n == 1 || (serves && shared->n > 0)) return code;
    framed_host_say("%.200s: %zu keys; %s", path, shared->n,
                    serves ? "at least one is wanted" : "who connects has just one");
    return CLI_LOCAL;
}

/* Of who serves with keys, which may be read anew. */
static enum cli_exit make_lock(struct keyring *ring)
{
    if (!framed_encrypts(ring->protection)) return CLI_SUCCESS;
    enum framed_status st = framed_os_lock_new(&ring->lock, memory());
    if (st != FRAMED_OK) framed_host_say("cannot start a server: %s", framed_status_text(st));
    return framed_exit_of(st);
}

enum cli_exit framed_keyring_load(struct keyring *ring, const struct cli_options *options, const char *address)
{
    const struct cli_value *value = options->value;
    const char *wrong = wrong_together(value, address == NULL);
    if (wrong != NULL) {
        framed_host_say("%s", wrong);
        return CLI_USAGE;
    }
    ring->protection = asked_for(options);
    enum cli_exit code = is_built(ring->protection);
    if (code == CLI_SUCCESS && value[OPT_KEY].given) code = load_secret(ring, value[OPT_KEY].text);
    ring->peers_path = value[OPT_AUTHORIZED_PEERS].given ? value[OPT_AUTHORIZED_PEERS].text : NULL;
    ring->shared_path = value[OPT_PSK_FILE].given ? value[OPT_PSK_FILE].text : NULL;
    if (code == CLI_SUCCESS && ring->peers_path != NULL) code = load_peers(ring, &ring->peers);
    if (code == CLI_SUCCESS && value[OPT_PEER_KEY].given) code = pin_given(ring, value[OPT_PEER_KEY].text);
    if (code == CLI_SUCCESS && address != NULL && value[OPT_KNOWN_SERVERS].given)
        code = pin_known(ring, value[OPT_KNOWN_SERVERS].text, address);
    if (code == CLI_SUCCESS && ring->shared_path != NULL)
        code = load_shared(&ring->shared, ring->shared_path, address == NULL);
    return code == CLI_SUCCESS && address == NULL ? make_lock(ring) : code;
}

bool framed_keyring_reload(struct keyring *ring)
{
    struct keyfile peers = {0}, shared = {0};
    enum cli_exit code = CLI_SUCCESS;
    if (ring->peers_path != NULL) code = load_peers(ring, &peers);
    if (code == CLI_SUCCESS && ring->shared_path != NULL) code = load_list(&shared, KEYFILE_SHARED, ring->shared_path);
    bool good = code == CLI_SUCCESS;
    if (good) {
        framed_os_lock(ring->lock);
        struct keyfile old_peers = ring->peers, old_shared = ring->shared;
        ring->peers = peers;
        ring->shared = shared;
        framed_os_unlock(ring->lock);
        framed_host_say("keys read anew: %zu", peers.n + shared.n);
        peers = old_peers;
        shared = old_shared;
    } else {
        framed_host_say("the keys stay what they were");
    }
    framed_keyfile_free(&peers);
    framed_keyfile_free(&shared);
    return good;
}

void framed_keyring_free(struct keyring *ring)
{
    framed_keyfile_free(&ring->peers);
    framed_keyfile_free(&ring->shared);
    if (ring->lock != NULL) framed_os_lock_free(ring->lock, memory());
    framed_wipe(ring, sizeof *ring);
}

/* ---- to the library ---- */

static bool shared_key(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    const struct keyring *ring = ctx;
    framed_os_lock(ring->lock);
    const struct keyfile_entry *found = framed_keyfile_by_name(&ring->shared, id);
    bool known = found != NULL;
    if (known) *key = found->key;
    framed_os_unlock(ring->lock);
    return known;
}

static void name_peer(struct framed_peer *peer, struct framed_bytes name)
{
    size_t n = name.len < FRAMED_PEER_NAME_SIZE ? name.len : FRAMED_PEER_NAME_SIZE - 1;
    memcpy(peer->name, name.at, n);
    peer->name[n] = '\0';
}

/* A shared key must be in the file still; a public one must be there, and not have expired. */
static bool is_listed(const struct keyring *ring, struct framed_peer *peer)
{
    const struct keyfile_entry *shared = framed_keyfile_by_name(&ring->shared, peer->key_id), *found;
    struct framed_key key;
    if (peer->protection != FRAMED_PINNED_KEYS && shared == NULL) return false;
    if (peer->protection == FRAMED_SHARED_KEY) {
        name_peer(peer, shared->name);
        return true;
    }
    memcpy(key.bytes, peer->key, sizeof key.bytes);
    found = framed_keyfile_by_key(&ring->peers, &key);
    if (found == NULL) return false;
    name_peer(peer, found->name);
    peer->max_frame = found->max_frame;
    return found->expires_s == KEYFILE_NEVER || framed_host_time_ns() / 1000000000 < found->expires_s;
}

static bool authorize(void *ctx, struct framed_peer *peer)
{
    const struct keyring *ring = ctx;
    framed_os_lock(ring->lock);
    bool listed = is_listed(ring, peer);
    framed_os_unlock(ring->lock);
    return listed;
}

void framed_keyring_serves(struct keyring *ring, struct framed_server_config *config)
{
    if (ring->protection != FRAMED_UNPROTECTED) config->protections = 1u << ring->protection;
    if (keyring_is_public(ring->protection)) config->secret_key = &ring->secret;
    if (ring->shared.n > 0) config->shared_key = shared_key;
    config->authorize = authorize;
    config->keys_ctx = ring;
}

void framed_keyring_calls(const struct keyring *ring, struct framed_client_config *config)
{
    config->protection = ring->protection;
    if (ring->pin_count > 0) {
        config->secret_key = &ring->secret;
        config->peer_keys = ring->pins;
        config->peer_key_count = ring->pin_count;
    }
    if (ring->shared.n > 0) {
        config->shared_key = &ring->shared.entries[0].key;
        config->key_id = ring->shared.entries[0].name;
    }
}

enum cli_exit framed_keyring_terms(struct keyring *ring, uint32_t max_frame, struct channel_terms *terms)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    framed_keyring_calls(ring, &config);
    enum framed_status st = framed_channel_take_keys(&ring->keys, &config);
    *terms = framed_channel_connects(config.protection, max_frame);
    terms->keys = &ring->keys;
    if (st != FRAMED_OK) framed_host_say("cannot use the keys: %s", framed_status_text(st));
    return framed_exit_of(st);
}

const char *framed_keyring_speaks(const struct keyring *ring)
{
    switch (ring->protection) {
    case FRAMED_UNPROTECTED: return "plain or with checksums";
    case FRAMED_CRC32C: return "crc32c";
    case FRAMED_BLAKE2B: return "blake2b";
    case FRAMED_SHARED_KEY: return "encrypted, shared keys";
    case FRAMED_PINNED_KEYS: return "encrypted, pinned keys";
    case FRAMED_SHARED_AND_PINNED: return "encrypted, shared and pinned keys";
    default: return "";
    }
}
