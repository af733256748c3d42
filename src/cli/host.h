/*
 * host.h: what the tool needs from the machine around it and os.h does not give: signals, standard streams, files, waiting for
 * standard input and a socket together, the descriptor limit. host_posix.c; no other file of the tool knows an OS header.
 */
#ifndef FRAMED_CLI_HOST_H
#define FRAMED_CLI_HOST_H

#include <framed/base.h>
#include <framed/net.h>
#include <stdbool.h>

/* First of all: streams that are missing become unusable instead of being taken by a socket; all are binary; writing to a
 * stream nobody reads is an error, not a signal. */
void framed_host_begin(void);

/* Ends the process without waiting for anything: open connections are closed by the system. */
_Noreturn void framed_host_quit(int code);

/* ---- standard streams ---- */

enum host_stream { HOST_INPUT, HOST_OUTPUT };

bool framed_host_is_terminal(enum host_stream stream);

/* Reads from standard input what is there. FRAMED_OK: *n > 0. FRAMED_CLOSED: its end. FRAMED_MORE: nothing yet.
 * FRAMED_OS: see framed_host_error. */
enum framed_status framed_host_read(uint8_t *at, size_t room, size_t *n);

/* Writes all of it to standard output, however long that takes. FRAMED_CLOSED: nobody reads it any more. FRAMED_OS. */
enum framed_status framed_host_write(const uint8_t *at, size_t n);

/* "framed: ..." and a newline on standard error, in one piece. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void framed_host_say(const char *format, ...);

/* Why the last function here failed with FRAMED_OS, in the system's words. */
const char *framed_host_error(void);

/* ---- files ---- */

/* Whether a file can be read and holds at most `most` bytes, without opening it (it might be a pipe). FRAMED_TOO_LARGE: *size.
 * FRAMED_OS. */
enum framed_status framed_host_check_file(const char *path, uint64_t most, uint64_t *size);

/* Reads a whole file behind what *buf holds; at most `most` bytes. FRAMED_TOO_LARGE, FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_host_load_file(const char *path, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc);

/* ---- signals ---- */

/* From now on the first SIGINT or SIGTERM calls stop(ctx), which must be safe in a signal handler, and a second one ends the
 * process at once with 128+N. Before, the first one does that. FRAMED_OS. */
enum framed_status framed_host_on_stop(void (*stop)(void *ctx), void *ctx);

/* Before ctx goes: a first signal then ends the process at once, as before. */
void framed_host_off_stop(void);

/* The signal that came, or 0. */
int framed_host_stopped(void);

/* ---- waiting ---- */

struct host_wait {
    struct framed_want socket; /* what the client wants; its timeout too */
    bool want_input;           /* wait for standard input as well */
    bool watch_output;         /* notice when nobody reads standard output any more */
    bool input;                /* result: standard input can be read */
    bool output_gone;          /* result */
};

/* Waits for whatever comes first; a signal that was caught counts. FRAMED_OS. */
enum framed_status framed_host_wait(struct host_wait *wait);

/* ---- the rest ---- */

/* Raises the number of descriptors this process may have to `need`, as far as it is allowed to. *have: what it is now. */
void framed_host_descriptors(uint64_t need, uint64_t *have);

/* Something to sleep on that another thread can end. */
struct host_bell;
enum framed_status framed_host_bell_new(struct host_bell **bell, const struct framed_allocator *alloc);
void framed_host_bell_ring(struct host_bell *bell);
/* Returns when the bell has rung since the last wait, or timeout_ms (OS_FOREVER: no limit) have passed; perhaps earlier. */
void framed_host_bell_wait(struct host_bell *bell, uint64_t timeout_ms);
void framed_host_bell_free(struct host_bell *bell, const struct framed_allocator *alloc);

#endif
