/*
 * who.c: who SECRET SHARED: a server that answers every request with what it knows of who asks: the protection in a byte, the
 * handshake hash, the public key (zeros if none was shown), the id of the shared key. "-" for a key that there is none of.
 * Must not know anything but the public headers.
 * Invariants: it lets in everybody who has proven to be somebody, and every id has the same shared key.
 */
#include <framed/framed.h>
#include <framed/secure.h>
#include <stdio.h>
#include <string.h>

static bool parse(struct framed_key *key, enum framed_key_kind kind, const char *text)
{
    const char *reason;
    return framed_key_parse(key, kind, framed_bytes_str(text), &reason) == FRAMED_OK;
}

static bool shared_key(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    (void)id;
    *key = *(const struct framed_key *)ctx;
    return true;
}

static bool authorize(void *ctx, struct framed_peer *peer)
{
    (void)ctx, (void)peer;
    return true;
}

static void answer(void *ctx, struct framed_call *call)
{
    uint8_t reply[1 + 2 * FRAMED_KEY_SIZE + FRAMED_KEY_ID_MOST] = {0};
    struct framed_peer peer;
    (void)ctx;
    if (!framed_call_identity(call, &peer)) {
        framed_call_fail(call, FRAMED_CODE_UNKNOWN, "nobody");
        return;
    }
    reply[0] = (uint8_t)peer.protection;
    memcpy(reply + 1, peer.hash, FRAMED_KEY_SIZE);
    if (peer.key != NULL) memcpy(reply + 1 + FRAMED_KEY_SIZE, peer.key, FRAMED_KEY_SIZE);
    if (peer.key_id.len > 0) memcpy(reply + 1 + 2 * FRAMED_KEY_SIZE, peer.key_id.at, peer.key_id.len);
    framed_call_reply(call, framed_bytes_of(reply, 1 + 2 * FRAMED_KEY_SIZE + peer.key_id.len));
}

int main(int argc, char **argv)
{
    struct framed_server_config config;
    struct framed_server *server;
    struct framed_key secret, shared;
    char address[64];
    framed_server_config_init(&config, sizeof config);
    config.handler = answer;
    config.authorize = authorize;
    config.keys_ctx = &shared;
    if (argc != 3) return 2;
    if (parse(&secret, FRAMED_KEY_SECRET, argv[1])) config.secret_key = &secret;
    if (parse(&shared, FRAMED_KEY_SHARED, argv[2])) config.shared_key = shared_key;
    if (framed_server_new(&config, &server) != FRAMED_OK || framed_server_listen(server, "127.0.0.1:0") != FRAMED_OK)
        return 1;
    if (framed_server_address(server, 0, address, sizeof address) != FRAMED_OK) return 1;
    printf("listening on %s\n", address);
    fflush(stdout);
    return framed_server_run(server) == FRAMED_OK ? 0 : 1;
}
