/* client_config.h: what a client was told. */
#ifndef FRAMED_CLIENT_CONFIG_H
#define FRAMED_CLIENT_CONFIG_H

#include <framed/net.h>

/* *c is what was given (NULL: nothing) with every default filled in. FRAMED_USAGE, FRAMED_UNSUPPORTED, and as
 * framed_os_congestion_check. What it points to is still the caller's. */
enum framed_status framed_client_config_read(const struct framed_client_config *given, struct framed_client_config *c);

#endif
