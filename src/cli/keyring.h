/*
 * keyring.h: the keys that a command was given: read from their files, checked against each other, handed to the library.
 */
#ifndef FRAMED_CLI_KEYRING_H
#define FRAMED_CLI_KEYRING_H

#include "channel.h"
#include "commands.h"
#include "host.h"
#include "keyfile.h"
#include <framed/net.h>

/* How many handshakes of ours are under way at once, and how long after one the next with public keys begins: a server lets 16 of one
 * address be under way, and begin 62 of the second kind in a second. */
enum { HANDSHAKES_MOST = 6, HANDSHAKE_PAUSE_MS = 20 };

static inline bool keyring_is_public(enum framed_protection protection)
{
    return protection >= FRAMED_PINNED_KEYS;
}

/* All zero is an empty one. */
struct keyring {
    enum framed_protection protection; /* what all of them together are for, or --checksum */
    struct framed_key secret, own;     /* ours, with pinned keys, and its public one */
    struct framed_key pins[2];         /* those that the server may have */
    size_t pin_count;
    const char *peers_path, *shared_path; /* where those come from; NULL: there are none */
    struct os_lock *lock;                 /* of who serves: guards what follows, which may be read anew */
    struct keyfile peers;                 /* whom we let in */
    struct keyfile shared;                /* for a call: just one */
    struct tunnel_keys keys;              /* of framed_keyring_terms */
};

/*
 * Reads what --key, --peer-key, --known-servers, --authorized-peers and --psk name, and says in a line what is wrong. `address`: the
 * server's, for who calls; NULL for who serves. CLI_USAGE, CLI_LOCAL (a file), CLI_NOT_BUILT.
 */
enum cli_exit framed_keyring_load(struct keyring *ring, const struct cli_options *options, const char *address);

/* Makes the config ask for it. Both are borrowed, while the server or client is made; by a server until it is freed. */
void framed_keyring_serves(struct keyring *ring, struct framed_server_config *config);
void framed_keyring_calls(const struct keyring *ring, struct framed_client_config *config);

/* For who opens connections himself: *terms borrow the ring. */
enum cli_exit framed_keyring_terms(struct keyring *ring, uint32_t max_frame, struct channel_terms *terms);

/* Reads the lists of keys anew, whole or not at all, and says what came of it; from any thread. False: the old ones stay. */
bool framed_keyring_reload(struct keyring *ring);

/* "plain or with checksums", "encrypted: pinned keys": what a server with it speaks. Static storage. */
const char *framed_keyring_speaks(const struct keyring *ring);

/* Wipes and frees everything. */
void framed_keyring_free(struct keyring *ring);

/* False, and a line said: that is no name of a file, but a key, or a line with one; it is not repeated. */
bool framed_is_path(const char *path);

/* Reads a file of keys whole; *text is to be wiped and freed. CLI_LOCAL, CLI_USAGE (it is a key), and a line said. */
enum cli_exit framed_load_keys(const char *path, enum host_keys kind, struct framed_buf *text);

/* Wipes and frees it. */
void framed_forget_keys(struct framed_buf *text);

#endif
