/*
 * spool.h: entries from one thread to another, through a ring of fixed size. The thread that adds never waits and never calls
 * the system but to wake a sleeper: when there is no room, it is told so and goes on. The thread that takes is the spool's own.
 *
 * It is not woken for each entry: while entries keep coming it sleeps SPOOL_NAP_MS at a time, and only after a while of silence
 * until it is called.
 */
#ifndef FRAMED_CLI_SPOOL_H
#define FRAMED_CLI_SPOOL_H

#include "host.h"
#include "os.h"
#include <stdatomic.h>

enum { SPOOL_SIZE = 4 << 20, SPOOL_NAP_MS = 20 };

/* What its thread does. */
struct spool_work {
    void (*take)(void *ctx, uint8_t *at, size_t n); /* one entry; its bytes may be changed */
    void (*idle)(void *ctx);                        /* nothing waits: what was held back goes out */
    void (*end)(void *ctx);                         /* nothing more will come */
    void *ctx;
};

/* All fields are private. */
struct spool {
    uint8_t *ring;
    struct spool_work work;
    struct host_bell *bell, *over;
    struct os_thread *thread;

    size_t added;    /* by the one who adds: where its next entry goes; places only ever grow */
    size_t freed;    /* what it knows of `taken` */
    size_t reserved; /* bytes that only framed_spool_reserved may use */
    size_t wanted;   /* of the room given last */
    bool jammed;     /* was full: no room until half of it is free */

    _Alignas(64) atomic_size_t ready; /* entries up to here may be taken */
    _Alignas(64) atomic_size_t taken;
    atomic_int mood;
    atomic_bool ending, ended;
};

/* Starts the thread. NOMEM, LIMIT, OS. */
enum framed_status framed_spool_start(struct spool *spool, const struct spool_work *work);

/* Room for an entry of n bytes, aligned for any object, to be filled and added; or NULL: full. */
void *framed_spool_room(struct spool *spool, size_t n);
void framed_spool_add(struct spool *spool);

/* Sets room for one more entry of at most `most` bytes aside; false: there is none. framed_spool_reserved gives n of it, always,
 * framed_spool_unreserve takes it back; either with the same `most`. */
bool framed_spool_reserve(struct spool *spool, size_t most);
void framed_spool_unreserve(struct spool *spool, size_t most);
void *framed_spool_reserved(struct spool *spool, size_t most, size_t n);

/* Hands over what was added since the last time. */
void framed_spool_publish(struct spool *spool);

/* Nothing more will be added. Waits at most wait_ms until everything was taken. False: the thread still works, for ever perhaps,
 * and the spool must stay; true: the thread is gone, and so is what the spool held. A spool never started has ended. */
bool framed_spool_end(struct spool *spool, uint64_t wait_ms);

#endif
