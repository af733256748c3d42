/*
 * peer.c: owns the command line that zmq.c and nng.c share.
 * Must not know what they speak.
 */
#define _GNU_SOURCE 1
#include "peer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hold_all(char **argv, const struct peer *peer)
{
    unsigned have = 0;
    char line[16];
    for (char **n = argv + 1; *n != NULL; n++) {
        unsigned wanted = (unsigned)strtoul(*n, NULL, 10);
        if (peer->hold(argv[0], have, wanted) != 0) {
            fprintf(stderr, "%s: %s\n", peer->load.name, load_error());
            return 1;
        }
        have = wanted;
        printf("held %u\n", have);
        fflush(stdout);
        if (fgets(line, sizeof line, stdin) == NULL) return 0;
    }
    return 0;
}

int peer_main(int argc, char **argv, const struct peer *peer)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0) return peer->serve();
    if (argc > 2 && strcmp(argv[1], "load") == 0) return generate(argc - 1, argv + 1, &peer->load);
    if (argc > 3 && strcmp(argv[1], "hold") == 0) return hold_all(argv + 2, peer);
    fprintf(stderr, "usage: %s serve | load HOST:PORT ... | hold HOST:PORT N...\n", peer->load.name);
    return 2;
}
