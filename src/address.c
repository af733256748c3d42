/*
 * address.c: what an address means, from its text.
 * Must not know who listens or connects there.
 * Invariant: a success has a descriptor or at least one system address.
 */
#include "address.h"
#include <string.h>

enum { HOST_MOST = 255, PORT_MOST = 5 }; /* RFC 1035 §2.3.4; 65535 */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* A decimal number of at most `most`, and nothing else. */
static bool number(const char *text, size_t len, unsigned long most, unsigned long *value)
{
    unsigned long v = 0;
    if (len == 0) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        v = v * 10 + (unsigned long)(text[i] - '0');
        if (v > most) return false;
    }
    *value = v;
    return true;
}

static bool cut(const char *from, size_t len, char *to, size_t size)
{
    if (len == 0 || len >= size) return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* "HOST:PORT" or "[V6]:PORT"; the port is a number. */
static bool split(const char *text, char host[HOST_MOST + 1], char port[PORT_MOST + 1])
{
    const char *colon = strrchr(text, ':');
    unsigned long n;
    if (colon == NULL || !number(colon + 1, strlen(colon + 1), 65535, &n)) return false;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[') {
        if (len < 3 || text[len - 1] != ']') return false;
        text++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return false; /* an IPv6 address without brackets: where would its port begin? */
    }
    return cut(text, len, host, HOST_MOST + 1) && cut(colon + 1, strlen(colon + 1), port, PORT_MOST + 1);
}

enum framed_status framed_address_find(const char *text, bool passive, struct address *a)
{
    *a = (struct address){.fd = OS_NO_HANDLE};
    if (begins(text, "fd:")) {
        unsigned long fd;
        if (!number(text + 3, strlen(text + 3), INT32_MAX, &fd)) return FRAMED_USAGE;
        a->fd = (intptr_t)fd;
        return FRAMED_OK;
    }
    if (begins(text, "unix:")) {
        a->n = 1;
        return framed_os_address_unix(text + 5, &a->found[0]);
    }
    char host[HOST_MOST + 1];
    char port[PORT_MOST + 1];
    if (!split(text, host, port)) return FRAMED_USAGE;
    a->n = ADDRESSES_MOST;
    return framed_os_resolve(host, port, passive, a->found, &a->n);
}
