/*
 * test_net_secrets.c: owns the proof that nothing secret is left in the memory of a process when a server and a client that had it are
 * gone, and nothing of a handshake when that is through.
 * Must not know where secrets lie: all memory that this process can write to is searched, stacks of threads that have ended included.
 * Invariant: the test itself keeps them masked, and compares them byte by byte.
 */
#define _GNU_SOURCE
#include "net.h"
#include "server.h"
#include <framed/framed.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MASK = 0x5a, HALF = FRAMED_KEY_SIZE / 2, RANDOM_MOST = 8 };
enum { SHARED, OF_SERVER, OF_CLIENT, SEALS, OPENS, KINDS };
static const size_t REGION_MOST = (size_t)256 << 20; /* a sanitizer's own are larger */

struct masked {
    uint8_t bytes[FRAMED_KEY_SIZE];
};

static struct masked secrets[KINDS];
static struct masked randoms[RANDOM_MOST]; /* whatever was drawn of that size: ephemeral keys, and what stands for a key */
static atomic_uint random_count;

static void hide(struct masked *to, const uint8_t *secret)
{
    for (size_t i = 0; i < FRAMED_KEY_SIZE; i++) to->bytes[i] = secret[i] ^ MASK;
}

static void show(struct framed_key *to, const struct masked *from)
{
    for (size_t i = 0; i < FRAMED_KEY_SIZE; i++) to->bytes[i] = from->bytes[i] ^ MASK;
}

enum framed_status __real_framed_os_random(void *at, size_t n);
enum framed_status __wrap_framed_os_random(void *at, size_t n);
enum framed_status __wrap_framed_os_random(void *at, size_t n)
{
    enum framed_status st = __real_framed_os_random(at, n);
    unsigned i = n == FRAMED_KEY_SIZE ? atomic_fetch_add(&random_count, 1) : RANDOM_MOST;
    if (i < RANDOM_MOST) hide(&randoms[i], at);
    return st;
}

/* ---- the search ---- */

/* Whatever is there may be read, also what others are about to write. */
__attribute__((no_sanitize("address", "thread", "undefined"))) static size_t found_in(const volatile uint8_t *at, size_t n,
                                                                                      const uint8_t *masked)
{
    size_t found = 0;
    for (size_t i = 0; i + HALF <= n; i++) {
        size_t k = 0;
        while (k < HALF && (at[i + k] ^ MASK) == masked[k]) k++;
        found += k == HALF;
    }
    return found;
}

/* How often a half of it is somewhere. */
static size_t found(const struct masked *secret)
{
    char line[512];
    size_t n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        char may[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, may) != 3 || may[0] != 'r' || may[1] != 'w') continue;
        if (to - from > REGION_MOST) continue;
        for (size_t half = 0; half < 2; half++)
            n += found_in((const volatile uint8_t *)from, to - from, secret->bytes + half * HALF);
    }
    (void)fclose(maps);
    return n;
}

/* ---- a server and a client ---- */

static bool shared_key(void *ctx, struct framed_bytes id, struct framed_key *key)
{
    (void)ctx, (void)id;
    show(key, &secrets[SHARED]);
    return true;
}

static bool anybody(void *ctx, struct framed_peer *peer)
{
    (void)ctx, (void)peer;
    return true;
}

static void echo(void *ctx, struct framed_call *call)
{
    const struct tunnel_session *t = call->guest->conn.channel->tunnel->session;
    (void)ctx;
    hide(&secrets[SEALS], t->out.cipher.key);
    hide(&secrets[OPENS], t->in.cipher.key);
    (void)framed_call_reply(call, framed_call_body(call));
}

static void draw(struct masked *secret)
{
    struct framed_key key;
    assert_int_equal(__real_framed_os_random(key.bytes, sizeof key.bytes), FRAMED_OK);
    hide(secret, key.bytes);
    framed_wipe(&key, sizeof key);
}

static void serve(struct net_server *server, enum framed_protection protection)
{
    struct framed_key secret;
    struct framed_server_config config = net_config(echo, NULL);
    show(&secret, &secrets[OF_SERVER]);
    config.allocator = NULL; /* what is freed stays as it is */
    config.protections = 1u << protection;
    config.shared_key = protection != FRAMED_PINNED_KEYS ? shared_key : NULL;
    config.secret_key = protection != FRAMED_SHARED_KEY ? &secret : NULL;
    config.authorize = anybody;
    net_server_start(server, config, "127.0.0.1:0");
    framed_wipe(&secret, sizeof secret);
}

static struct framed_client *client_of(enum framed_protection protection)
{
    struct framed_key shared, secret, servers;
    struct framed_client *client = NULL;
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    show(&shared, &secrets[SHARED]);
    show(&secret, &secrets[OF_SERVER]);
    assert_int_equal(framed_key_public(&servers, &secret), FRAMED_OK);
    show(&secret, &secrets[OF_CLIENT]);
    config.protection = protection;
    if (protection != FRAMED_PINNED_KEYS) {
        config.shared_key = &shared;
        config.key_id = framed_bytes_str("me");
    }
    if (protection != FRAMED_SHARED_KEY) {
        config.secret_key = &secret;
        config.peer_keys = &servers;
        config.peer_key_count = 1;
    }
    assert_int_equal(framed_client_new(&config, &client), FRAMED_OK);
    framed_wipe(&shared, sizeof shared);
    framed_wipe(&secret, sizeof secret);
    return client;
}

static void no_secret_is_left_of(enum framed_protection protection)
{
    struct net_server server;
    struct framed_event event;
    bool needs[KINDS] = {protection != FRAMED_PINNED_KEYS, protection != FRAMED_SHARED_KEY, protection != FRAMED_SHARED_KEY,
                         true, true};
    atomic_store(&random_count, 0);
    for (size_t i = 0; i <= OF_CLIENT; i++) draw(&secrets[i]);
    serve(&server, protection);
    struct framed_client *client = client_of(protection);
    assert_int_equal(framed_client_connect(client, server.address, NET_PATIENCE_MS), FRAMED_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(framed_client_call(client, framed_bytes_str("a question"), NET_PATIENCE_MS, &event), FRAMED_OK);
    unsigned drawn = atomic_load(&random_count);
    assert_in_range(drawn, 3, RANDOM_MOST); /* what stands for a key, and two ephemeral ones */
    for (size_t i = 0; i < KINDS; i++)      /* the search finds what is there */
        if (needs[i] && found(&secrets[i]) == 0) fail_msg("secret %zu of protection %d was not found", i, (int)protection);
    assert_int_equal(found(&randoms[1]) + found(&randoms[2]), 0); /* of the handshake, which is through */
    framed_client_free(client);
    net_server_stop(&server);
    for (size_t i = 0; i < KINDS; i++)
        if (found(&secrets[i]) > 0)
            fail_msg("secret %zu of protection %d is left %zu times", i, (int)protection, found(&secrets[i]));
    for (size_t i = 0; i < drawn; i++) assert_int_equal(found(&randoms[i]), 0);
}

static void no_secret_is_left_in_memory_with_a_shared_key(void **state)
{
    (void)state;
    no_secret_is_left_of(FRAMED_SHARED_KEY);
}

static void no_secret_is_left_in_memory_with_pinned_keys(void **state)
{
    (void)state;
    no_secret_is_left_of(FRAMED_PINNED_KEYS);
}

static void no_secret_is_left_in_memory_with_both(void **state)
{
    (void)state;
    no_secret_is_left_of(FRAMED_SHARED_AND_PINNED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NET_TEST(no_secret_is_left_in_memory_with_a_shared_key),
        NET_TEST(no_secret_is_left_in_memory_with_pinned_keys),
        NET_TEST(no_secret_is_left_in_memory_with_both),
    };
    return NET_RUN("secrets", tests);
}
