/*
 * tap.h: the relay of `inspect --tap`: every connection to the listener gets one of its own to the target, and what either end
 * sends reaches the other byte for byte, with its half-closes. A watch (watch.h) sees what passes. Where the target wants checksums
 * or keys, clients speak plain frames all the same, and what is seen, and passes on their side, is what they and the target say.
 *
 * One thread, but for framed_tap_stop.
 */
#ifndef FRAMED_CLI_TAP_H
#define FRAMED_CLI_TAP_H

#include "address.h"
#include "channel.h"
#include "loop.h"
#include "watch.h"

struct tap_pair;

/* All fields are private; zero it before framed_tap_init. */
struct tap {
    struct loop loop;
    struct budget budget;
    struct watch *watch;
    struct address target;
    const struct channel_terms *terms; /* of the target; NULL: plain */
    struct os_socket listener;
    struct os_address bound;
    struct tap_pair *pairs;
    uint32_t last_number;
    uint32_t pair_count, pairs_most;
    uint32_t opening; /* pairs that are not through their opening yet */
    uint32_t sockets; /* `closed` still to come */
    struct timer accept_timer, stop_timer;
    bool listening, adopted, accept_failing, stopping;
    atomic_bool stop;
};

/* pairs_most: connections at once; further ones wait in the backlog. `watch` is borrowed until fini. NOMEM, LIMIT, OS. */
enum framed_status framed_tap_init(struct tap *tap, uint32_t pairs_most, struct watch *watch);

/* Where to connect to: HOST:PORT, [V6]:PORT, unix:PATH; resolved here, once. As framed_address_find. */
enum framed_status framed_tap_target(struct tap *tap, const char *address);

/* The target is spoken to so; borrowed until fini. */
void framed_tap_protect(struct tap *tap, const struct channel_terms *terms);

/* Where to listen: HOST:PORT, [V6]:PORT, unix:PATH, fd:N. What framed_address_find and framed_os_listen say. */
enum framed_status framed_tap_listen(struct tap *tap, const char *address);

/* Whether what listens there would connect to itself, as far as the two addresses tell. After both. */
bool framed_tap_is_loop(const struct tap *tap);

/* Relays until framed_tap_stop, and then as long as that says. FRAMED_OS: the waiting failed; everything is closed. */
enum framed_status framed_tap_run(struct tap *tap);

/* No further connections; those between two calls are closed at once, the others when they are, or after TAP_STOP_MS. Safe in
 * a signal handler and from any thread. */
enum { TAP_STOP_MS = 5000 };
void framed_tap_stop(struct tap *tap);

void framed_tap_fini(struct tap *tap);

#endif
