/*
 * peer.h: the three things a program here can be that is both ends of a protocol of its own: `serve`, an echo on a free port;
 * `load HOST:PORT ...`, a load generator (generate.h); `hold HOST:PORT N...`, a holder of N connections.
 */
#ifndef FRAMED_BENCH_PEER_H
#define FRAMED_BENCH_PEER_H

#include "generate.h"

struct peer {
    struct generator load;
    int (*serve)(void); /* says "NAME: listening on 127.0.0.1:PORT" on stderr, and does not return but with a status */

    /* Holding: from `have` to `n` connections, each used for one echo. 0, or -1: load_fail has been told. */
    int (*hold)(const char *address, unsigned have, unsigned n);
};

/* A main. After each N of `hold` "held N" is printed and a line read from stdin. */
int peer_main(int argc, char **argv, const struct peer *peer);

#endif
