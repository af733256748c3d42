/*
 * ways.h: how a client of the rigs speaks: plain, with checksums or with keys; and the keys that both ends have, the same in every
 * process. Without libsodium there are the first two.
 */
#ifndef FRAMED_TESTS_WAYS_H
#define FRAMED_TESTS_WAYS_H

#include <framed/net.h>

/* Where to, and how. */
struct target {
    const char *address;
    enum framed_protection way;
};

/* By its name: plain, crc32c, psk, pinned or both; exits where there is none. */
enum framed_protection way_named(const char *name);

/* The server takes all ways that are built, on one port. */
void ways_of_server(struct framed_server_config *config);
/* The client has one. What the config points to is static. */
void way_of_client(struct framed_client_config *config, enum framed_protection way);

#endif
