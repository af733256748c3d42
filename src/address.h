/* address.h: addresses as people write them: "HOST:PORT", "[V6]:PORT", "unix:PATH", "fd:N". */
#ifndef FRAMED_ADDRESS_H
#define FRAMED_ADDRESS_H

#include "os/os.h"

enum { ADDRESSES_MOST = 16 }; /* of one name */

struct address {
    intptr_t fd; /* OS_NO_HANDLE, or the descriptor; then there is nothing to find */
    size_t n;
    struct os_address found[ADDRESSES_MOST];
};

/*
 * Reads the text and, for a name, resolves it (which blocks). FRAMED_USAGE: not an address. FRAMED_NOT_FOUND: no such name.
 * FRAMED_UNSUPPORTED, FRAMED_NOMEM, FRAMED_OS.
 */
enum framed_status framed_address_find(const char *text, bool passive, struct address *address);

#endif
