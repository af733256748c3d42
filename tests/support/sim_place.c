/*
 * sim_place.c: owns addresses and names.
 * Must not know connections.
 * Invariants: what lies in an address is a place, not the system's form; a port is given out once, until all have been.
 */
#include "sim_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place place_of(const struct os_address *address)
{
    struct place p;
    must(address->len == sizeof p, "an address that the platform never made");
    memcpy(&p, address->bytes, sizeof p);
    return p;
}

void address_of(struct os_address *address, const struct place *p)
{
    memset(address, 0, sizeof *address);
    address->len = sizeof *p;
    memcpy(address->bytes, p, sizeof *p);
}

unsigned port_of(const struct place *p)
{
    return (unsigned)p->port_high << 8 | p->port_low;
}

void set_port(struct place *p, unsigned port)
{
    p->port_high = (uint8_t)(port >> 8);
    p->port_low = (uint8_t)port;
}

static bool parse_v4(const char *text, struct place *p)
{
    unsigned a, b, c, d;
    char rest;
    if (sscanf(text, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &rest) != 4 || a > 255 || b > 255 || c > 255 || d > 255)
        return false;
    memset(p, 0, sizeof *p);
    p->kind = PLACE_V4;
    uint8_t mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, (uint8_t)a, (uint8_t)b, (uint8_t)c, (uint8_t)d};
    memcpy(p->host, mapped, sizeof mapped);
    return true;
}

/* Enough of IPv6 for tests: hexadecimal groups with at most one "::". */
static bool parse_v6(const char *text, struct place *p)
{
    unsigned groups[8] = {0};
    int n = 0, gap = -1;
    const char *at = text;
    if (strchr(text, ':') == NULL) return false;
    while (*at) {
        if (at[0] == ':' && at[1] == ':') {
            if (gap >= 0) return false;
            gap = n;
            at += 2;
        } else if (*at == ':' && n > 0) {
            at++;
        }
        if (!*at) break;
        char *stop;
        unsigned long v = strtoul(at, &stop, 16);
        if (stop == at || v > 0xffff || n == 8) return false;
        groups[n++] = (unsigned)v;
        at = stop;
    }
    if (gap < 0 && n != 8) return false;
    memset(p, 0, sizeof *p);
    p->kind = PLACE_V6;
    for (int i = 0; i < n; i++) {
        int where = gap >= 0 && i >= gap ? 8 - n + i : i;
        p->host[2 * where] = (uint8_t)(groups[i] >> 8);
        p->host[2 * where + 1] = (uint8_t)groups[i];
    }
    return true;
}

bool parse_host(const char *text, struct place *p)
{
    return parse_v4(text, p) || parse_v6(text, p);
}

struct place parse_address(const char *text)
{
    struct place p;
    memset(&p, 0, sizeof p);
    if (strncmp(text, "unix:", 5) == 0) {
        p.kind = PLACE_UNIX;
        snprintf(p.path, sizeof p.path, "%s", text + 5);
        return p;
    }
    char host[64];
    const char *colon = strrchr(text, ':');
    must(colon != NULL, "a test's address has no port");
    size_t n = (size_t)(colon - text);
    bool brackets = n > 1 && text[0] == '[' && text[n - 1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(brackets ? n - 2 : n), brackets ? text + 1 : text);
    must(parse_host(host, &p), "a test's address is no address");
    set_port(&p, (unsigned)strtoul(colon + 1, NULL, 10));
    return p;
}

bool is_any_host(const struct place *p)
{
    static const uint8_t any4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
    static const uint8_t any6[16] = {0};
    return memcmp(p->host, any4, 16) == 0 || memcmp(p->host, any6, 16) == 0;
}

bool same_place(const struct place *a, const struct place *b)
{
    return a->kind == b->kind && port_of(a) == port_of(b) && memcmp(a->host, b->host, 16) == 0 &&
           strcmp(a->path, b->path) == 0;
}

void place_text(const struct place *p, char *text, size_t size)
{
    const uint8_t *h = p->host;
    if (p->kind == PLACE_UNIX && p->path[0]) {
        snprintf(text, size, "unix:%s", p->path);
    } else if (p->kind == PLACE_UNIX || p->kind == PLACE_NONE) {
        snprintf(text, size, "unix");
    } else if (p->kind == PLACE_V4) {
        snprintf(text, size, "%u.%u.%u.%u:%u", h[12], h[13], h[14], h[15], port_of(p));
    } else {
        char groups[48] = "";
        static const uint8_t loopback[16] = {[15] = 1};
        size_t n = 0;
        if (memcmp(h, loopback, 16) == 0)
            snprintf(groups, sizeof groups, "::1");
        else
            for (int i = 0; i < 16; i += 2) {
                n += (size_t)snprintf(groups + n, sizeof groups - n, "%s%x", i ? ":" : "", (unsigned)h[i] << 8 | h[i + 1]);
            }
        snprintf(text, size, "[%s]:%u", groups, port_of(p));
    }
}

/* ---- ports ---- */

unsigned fresh_port(void)
{
    if (world.next_port < 40000) world.next_port = 40000;
    return world.next_port++;
}

struct place near_place(const struct place *to, const char *host)
{
    struct place p;
    memset(&p, 0, sizeof p);
    p.kind = to->kind;
    if (p.kind == PLACE_UNIX) return p;
    if (host)
        must(parse_host(host, &p), "a test's host is no address");
    else
        must(parse_host(p.kind == PLACE_V4 ? "127.0.0.1" : "::1", &p), "never");
    set_port(&p, fresh_port());
    return p;
}

/* ---- names, and what os.h asks ---- */

void sim_name(const char *name, const char *const *hosts, size_t n)
{
    must(world.name_count < MOST_NAMES && n <= MOST_NAME_HOSTS, "sim_name: too many");
    struct name *entry = &world.names[world.name_count++];
    snprintf(entry->text, sizeof entry->text, "%s", name);
    for (size_t i = 0; i < n; i++) must(parse_host(hosts[i], &entry->hosts[i]), "sim_name: not an address");
    entry->n = n;
}

static const struct name *find_name(const char *host)
{
    for (size_t i = 0; i < world.name_count; i++) {
        if (strcmp(world.names[i].text, host) == 0) return &world.names[i];
    }
    return NULL;
}

enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n)
{
    enum framed_status st;
    struct name one = {.n = 1};
    if (fails(OP_RESOLVE, &st)) return st;
    const struct name *name = find_name(host);
    char *stop;
    unsigned long number = strtoul(port, &stop, 10);
    if (*port == '\0' || *stop || number > 65535 || *n == 0) return FRAMED_NOT_FOUND;
    if (name == NULL) {
        name = &one;
        if (*host == '\0') host = passive ? "0.0.0.0" : "127.0.0.1";
        if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
        if (!parse_host(host, &one.hosts[0])) return FRAMED_NOT_FOUND;
    }
    *n = least(*n, name->n);
    for (size_t i = 0; i < *n; i++) {
        struct place p = name->hosts[i];
        set_port(&p, (unsigned)number);
        address_of(&found[i], &p);
    }
    return FRAMED_OK;
}

enum framed_status framed_os_address_unix(const char *path, struct os_address *address)
{
    enum framed_status st;
    struct place p;
    if (fails(OP_ADDRESS_UNIX, &st)) return st;
    if (*path == '\0' || strlen(path) >= sizeof p.path) return FRAMED_USAGE;
    memset(&p, 0, sizeof p);
    p.kind = PLACE_UNIX;
    memcpy(p.path, path, strlen(path));
    address_of(address, &p);
    return FRAMED_OK;
}

void framed_os_address_text(const struct os_address *address, char *text, size_t size)
{
    struct place p = place_of(address);
    place_text(&p, text, size);
}

uint16_t framed_os_address_host(const struct os_address *address, struct os_host *host)
{
    struct place p = place_of(address);
    memcpy(host->bytes, p.host, sizeof host->bytes);
    return (uint16_t)port_of(&p);
}

void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size)
{
    static const uint8_t none[16] = {0};
    static const uint8_t mapped[12] = {[10] = 255, [11] = 255};
    struct place p;
    memset(&p, 0, sizeof p);
    memcpy(p.host, host->bytes, sizeof p.host);
    set_port(&p, port);
    p.kind = PLACE_V6;
    if (memcmp(p.host, none, sizeof none) == 0)
        p.kind = PLACE_UNIX;
    else if (memcmp(p.host, mapped, sizeof mapped) == 0)
        p.kind = PLACE_V4;
    place_text(&p, text, size);
}

void framed_os_address_remove(const struct os_address *address)
{
    (void)place_of(address);
}
