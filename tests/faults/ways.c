/*
 * ways.c: the protections of the rigs, and their keys.
 * Must not know who uses them. The keys are in the source: they protect nothing but a test.
 */
#include "ways.h"
#include <framed/secure.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_ID framed_bytes_str("rig")

static const struct framed_key shared = {{'s', 'h', 'a', 'r', 'e', 'd'}}, of_server = {{'s', 'e', 'r', 'v', 'e', 'r'}},
                               of_client = {{'c', 'l', 'i', 'e', 'n', 't'}};

static const struct {
    const char *name;
    enum framed_protection way;
} ways[] = {
    {"plain", FRAMED_UNPROTECTED},  {"crc32c", FRAMED_CRC32C},          {"psk", FRAMED_SHARED_KEY},
    {"pinned", FRAMED_PINNED_KEYS}, {"both", FRAMED_SHARED_AND_PINNED},
};
enum { WAYS = sizeof ways / sizeof *ways };

enum framed_protection way_named(const char *name)
{
    for (size_t i = 0; i < WAYS; i++)
        if (strcmp(ways[i].name, name) == 0) return ways[i].way;
    fprintf(stderr, "no such way: %s\n", name);
    exit(2);
}

static bool give_shared(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    (void)ctx;
    *key = shared;
    return id.len == KEY_ID.len && memcmp(id.at, KEY_ID.at, id.len) == 0;
}

/* Who has proven a public key must have proven the client's. */
static bool let_in(void *ctx, struct framed_peer *peer)
{
    struct framed_key client;
    (void)ctx;
    if (peer->key == NULL) return true;
    return framed_key_public(&client, &of_client) == FRAMED_OK && memcmp(client.bytes, peer->key, FRAMED_KEY_SIZE) == 0;
}

void ways_of_server(struct framed_server_config *config)
{
    struct framed_key built;
    bool keys = framed_key_public(&built, &of_server) == FRAMED_OK;
    for (size_t i = 0; i < WAYS; i++)
        if (keys || ways[i].way <= FRAMED_CRC32C) config->protections |= 1u << ways[i].way;
    if (!keys) return;
    config->secret_key = &of_server;
    config->shared_key = give_shared;
    config->authorize = let_in;
}

void way_of_client(struct framed_client_config *config, enum framed_protection way)
{
    static struct framed_key server;
    config->protection = way;
    if (way == FRAMED_SHARED_KEY || way == FRAMED_SHARED_AND_PINNED) {
        config->shared_key = &shared;
        config->key_id = KEY_ID;
    }
    if (way != FRAMED_PINNED_KEYS && way != FRAMED_SHARED_AND_PINNED) return;
    if (framed_key_public(&server, &of_server) != FRAMED_OK) {
        fprintf(stderr, "built without libsodium\n");
        exit(2);
    }
    config->secret_key = &of_client;
    config->peer_keys = &server;
    config->peer_key_count = 1;
}
