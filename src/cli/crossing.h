/*
 * crossing.h: what passes between a client that speaks plain frames and a server that wants checksums or keys (PROTOCOL.md §7 to §9):
 * bytes in, bytes out; the sockets are tap.c's. Frames are not put together: a long one passes in pieces.
 *
 *   framed_crossing_begin -> framed_crossing_open ... FRAMED_OK -> framed_crossing_out, framed_crossing_in -> framed_crossing_end
 *
 * What is to be sent is appended to a buffer of the caller's, who knows `alloc`, too. Whatever fails is final; why, says
 * framed_crossing_why.
 */
#ifndef FRAMED_CLI_CROSSING_H
#define FRAMED_CLI_CROSSING_H

#include "channel.h"
#include "summed.h"

/* One way, with checksums: inside the frame that passes. */
struct crossing_way {
    struct framed_scan scan;
    struct summed summed;
};

/* All fields are private; zero it before framed_crossing_begin. */
struct crossing {
    struct channel *channel;
    const struct framed_allocator *alloc;
    struct crossing_way out, in;
    bool early; /* the server said something before anything was asked */
};

/* Makes our opening. `terms` are borrowed until fini, `alloc` too. FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_crossing_begin(struct crossing *x, const struct channel_terms *terms,
                                         const struct framed_allocator *alloc, struct framed_buf *to_server);

/* Takes what the server says to that. FRAMED_MORE: there is more to come. FRAMED_OK: it is open. Else as framed_channel_next. */
enum framed_status framed_crossing_open(struct crossing *x, struct framed_bytes from_server, struct framed_buf *to_server);

/* From the client. FRAMED_TOO_LARGE: that is no frame, or has no room for a checksum. FRAMED_NOMEM. */
enum framed_status framed_crossing_out(struct crossing *x, struct framed_bytes from_client, struct framed_buf *to_server);

/* From the server. FRAMED_CLOSED: it has ended its direction behind what was appended. FRAMED_MALFORMED, FRAMED_AUTH, FRAMED_TOO_LARGE,
 * FRAMED_NOMEM. */
enum framed_status framed_crossing_in(struct crossing *x, struct framed_bytes from_server, struct framed_buf *to_client);

/* The client has ended its direction. FRAMED_NOMEM. */
enum framed_status framed_crossing_end(struct crossing *x, struct framed_buf *to_server);

/* The server's stream is at its end: FRAMED_CLOSED if that may be, else what framed_crossing_why explains. */
enum framed_status framed_crossing_ended(const struct crossing *x);

void framed_crossing_why(const struct crossing *x, enum framed_status why, char *text, size_t size);

void framed_crossing_fini(struct crossing *x);

#endif
