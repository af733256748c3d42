/*
 * framed: length-prefixed framed messaging. This header includes all the others.
 *
 * A server that answers every frame with itself:
 *
 *     static void echo(void *ctx, struct framed_call *call)
 *     {
 *         (void)ctx;
 *         framed_call_reply(call, framed_call_body(call));
 *     }
 *
 *     struct framed_server_config config;
 *     framed_server_config_init(&config, sizeof config);
 *     config.handler = echo;
 *     struct framed_server *server;
 *     if (framed_server_new(&config, &server) == FRAMED_OK && framed_server_listen(server, "127.0.0.1:4464") == FRAMED_OK)
 *         return framed_server_run(server);
 */
#ifndef FRAMED_FRAMED_H
#define FRAMED_FRAMED_H

#include <framed/base.h>
#include <framed/frame.h>
#include <framed/net.h>
#include <framed/secure.h>

#define FRAMED_VERSION_MAJOR 0
#define FRAMED_VERSION_MINOR 1
#define FRAMED_VERSION_PATCH 0
#define FRAMED_VERSION       "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked, "0.1.0". Static storage. */
FRAMED_API const char *framed_version(void);

#ifdef __cplusplus
}
#endif
#endif
