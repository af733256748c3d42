/*
 * client_config.c: what a client was told: defaults, and what does not go together.
 * Must not know what becomes of it.
 */
#include "client_config.h"
#include "../proto/length.h"
#include "conn.h"
#include <string.h>

void framed_client_config_init(struct framed_client_config *config, size_t size)
{
    memset(config, 0, size);
    config->size = size;
}

/* Every key that the protection needs, and none besides; zeros are one that somebody forgot. */
static bool keys_suit(const struct framed_client_config *c)
{
    static const struct framed_key zeros;
    bool pinned = c->protection == FRAMED_PINNED_KEYS || c->protection == FRAMED_SHARED_AND_PINNED;
    bool shared = c->protection == FRAMED_SHARED_KEY || c->protection == FRAMED_SHARED_AND_PINNED;
    if (pinned != (c->secret_key != NULL) || pinned != (c->peer_key_count > 0)) return false;
    if (c->peer_key_count > FRAMED_PEER_KEYS_MOST || (pinned && c->peer_keys == NULL)) return false;
    if (c->shared_key != NULL && framed_key_same(c->shared_key, &zeros)) return false;
    return shared == (c->shared_key != NULL) && (shared || c->key_id.len == 0) && c->key_id.len <= FRAMED_KEY_ID_MOST;
}

enum framed_status framed_client_config_read(const struct framed_client_config *given, struct framed_client_config *c)
{
    *c = (struct framed_client_config){0};
    if (given != NULL) {
        if (given->size == 0 || given->size > sizeof *c) return FRAMED_USAGE;
        memcpy(c, given, given->size);
    }
    if (c->max_frame > FRAMED_FRAME_MOST || c->max_send > FRAMED_FRAME_MOST) return FRAMED_USAGE;
    if (c->replies != FRAMED_REPLIES_ORDERED && c->replies != FRAMED_REPLIES_NONE) return FRAMED_USAGE;
    if (c->spin_us > LOOP_SPIN_MOST_US) return FRAMED_USAGE;
    if (c->allocator == NULL) c->allocator = framed_os_allocator();
    c->max_frame = length_limit(c->max_frame);
    default_to(&c->max_send, c->max_frame);
    default_to(&c->max_calls, 1024);
    if (c->max_unsent == 0) c->max_unsent = 1u << 20;
    default_to(&c->frame_ms, 10000);
    default_to(&c->frame_rate, 4096);
    default_to(&c->idle_ms, FRAMED_NEVER);
    default_to(&c->send_ms, 30000);
    default_to(&c->linger_ms, 2000);
    default_to(&c->keepalive_ms, 60000);
    default_to(&c->backoff_ms, 100);
    default_to(&c->backoff_max_ms, 10000);
    default_to(&c->handshake_ms, 5000);
    if ((unsigned)c->protection >= 32 || (CHANNEL_BUILT >> c->protection & 1) == 0) return FRAMED_UNSUPPORTED;
    if (!keys_suit(c)) return FRAMED_USAGE;
    return c->congestion != NULL ? framed_os_congestion_check(c->congestion) : FRAMED_OK;
}
