/*
 * keyfile.h: the four files of keys, from their text: the secret key of an end, the peers that a server takes, the servers that
 * a client knows, keys that both ends share.
 *
 *     a secret key          KEY                 framed-sec-1:...; one, alone
 *     authorized peers      KEY NAME [max-frame=SIZE] [expires=YYYY-MM-DD]     KEY is framed-pub-1:...
 *     known servers         HOST:PORT KEY [NEXT-KEY]                           likewise
 *     shared keys           ID KEY                                             KEY is framed-psk-1:...
 *
 * A line each; words are separated by spaces or tabs. Blank lines, and lines that begin with '#', say nothing. Lines end with a
 * newline alone. Names and ids are 1 to 64 printable characters of ASCII without spaces, of which the first is not '#'.
 *
 * A file is taken whole or not at all. What is refused is explained as "FILE:LINE: what was wrong; what is allowed", in which
 * nothing of the line is repeated: it may be a key in the wrong place.
 */
#ifndef FRAMED_CLI_KEYFILE_H
#define FRAMED_CLI_KEYFILE_H

#include <framed/secure.h>

enum {
    KEYFILE_MOST = 1 << 20,     /* bytes of a file */
    KEYFILE_LINES_MOST = 4096,  /* that say something */
    KEYFILE_NAME_MOST = 64,     /* bytes of a name or an id */
    KEYFILE_ADDRESS_MOST = 263, /* [HOST]:PORT, RFC 1035 §2.3.4 */
    KEYFILE_ERROR_ROOM = 400
};

#define KEYFILE_NEVER UINT64_MAX

enum keyfile_kind { KEYFILE_PEERS, KEYFILE_SERVERS, KEYFILE_SHARED };

/* A line. What the kind of file has no word for is zero. */
struct keyfile_entry {
    struct framed_key key;
    struct framed_key next;   /* servers: the one that will replace it; all zero: none was named */
    struct framed_bytes name; /* of the peer; the address; the id */
    uint64_t expires_s;       /* peers: from then on, in seconds since 1970 UTC, it is not to be let in; KEYFILE_NEVER */
    uint32_t max_frame;       /* peers: 0: what the server says */
    uint32_t line;
};

/* All zero is an empty one. The entries and their names are one block of memory. */
struct keyfile {
    struct keyfile_entry *entries; /* as they stand in the file */
    size_t n;
    size_t bytes; /* of the block */
    const struct framed_allocator *alloc;
};

/*
 * Reads the text of a file, which `file` names in errors; allocates once. FRAMED_MALFORMED, FRAMED_TOO_LARGE (KEYFILE_MOST,
 * KEYFILE_LINES_MOST), FRAMED_UNSUPPORTED (no libsodium), FRAMED_NOMEM: *keys is untouched, and `error` says why.
 */
FRAMED_MUST_USE enum framed_status framed_keyfile_parse(struct keyfile *keys, enum keyfile_kind kind, const char *file,
                                                        struct framed_bytes text, const struct framed_allocator *alloc,
                                                        char error[KEYFILE_ERROR_ROOM]);

/* The one key, secret or public, of a file that has nothing else; otherwise as above. The caller wipes it. */
FRAMED_MUST_USE enum framed_status framed_keyfile_one(struct framed_key *key, enum framed_key_kind kind, const char *file,
                                                      struct framed_bytes text, char error[KEYFILE_ERROR_ROOM]);

/* The entry with this name, address or id, byte for byte; NULL: there is none. */
const struct keyfile_entry *framed_keyfile_by_name(const struct keyfile *keys, struct framed_bytes name);

/* The entry with this key, in a time that does not depend on what is in the keys; NULL: there is none. A server's next key is
 * not looked at: whoever calls it knows which entry is meant. */
const struct keyfile_entry *framed_keyfile_by_key(const struct keyfile *keys, const struct framed_key *key);

/* Wipes and frees everything; *keys is an empty one then. */
void framed_keyfile_free(struct keyfile *keys);

/* Whether it may be the name of a peer or the id of a key; if not, what is wrong and what is allowed. */
bool framed_keyfile_name_ok(struct framed_bytes name, const char **reason);

/* Whether it begins as the text of a key does. */
bool framed_keyfile_looks_like_key(struct framed_bytes text);

#endif
