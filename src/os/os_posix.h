/* os_posix.h: what os_posix.c and the ways of waiting (one file each) know of each other. */
#ifndef FRAMED_OS_POSIX_H
#define FRAMED_OS_POSIX_H

#include "os.h"
#include <stdatomic.h>

/* What the system is told about a socket (os_socket.armed), and what it reports. */
enum { OS_READ = 1, OS_WRITE = 2 };

struct os_way {
    enum framed_status (*open)(struct os_poller *p);
    void (*close)(struct os_poller *p);
    /* Reports OS_READ and OS_WRITE of the socket from now on as in `events`; 0 forgets it, which cannot fail. */
    enum framed_status (*arm)(struct os_poller *p, struct os_socket *s, uint8_t events);
    /* Waits; calls framed_os_ready for sockets, framed_os_woken for the wake pipe. -1: no limit. */
    enum framed_status (*wait)(struct os_poller *p, int timeout_ms);
};

struct os_poller {
    const struct os_way *way;
    const struct framed_allocator *alloc;
    struct os_socket *closing;
    uint8_t *lent; /* FRAMED_RECEIVE_SIZE bytes, made when first needed */
    void *state;   /* the way's own */
    int wake_read;
    int wake_write;
    uint64_t completions;
    atomic_bool woken;
};

const struct os_way *framed_os_epoll(void); /* NULL where there is none */
const struct os_way *framed_os_poll(void);

/* The socket is ready for `events`. An error counts as both. */
void framed_os_ready(struct os_socket *s, uint8_t events);
void framed_os_woken(struct os_poller *p);

/* The one table from errno to statuses. */
enum framed_status framed_os_classify(int error);

#endif
