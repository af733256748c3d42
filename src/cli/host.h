/*
 * host.h: what the tool needs from the machine around it and os.h does not give: signals, standard streams, files, waiting for
 * standard input and a socket together, the descriptor limit, commands of the shell. host_posix*.c and host_win*.c; no other
 * file of the tool knows an OS header.
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

enum host_stream { HOST_INPUT, HOST_OUTPUT, HOST_ERROR };

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

/* Where in `text` what is secret of a key begins, behind the colon; NULL: there is no key in it. */
const char *framed_key_within(const char *text, bool also_public);

/* All of it to standard error, as it is. Call framed_host_say instead. */
void framed_host_write_error(const uint8_t *at, size_t n);

/* Why the last function here failed with FRAMED_OS, in the system's words. */
const char *framed_host_error(void);

/* ---- files ---- */

/* Whether a file can be read and holds at most `most` bytes, without opening it (it might be a pipe). FRAMED_TOO_LARGE: *size.
 * FRAMED_OS. */
enum framed_status framed_host_check_file(const char *path, uint64_t most, uint64_t *size);

/* Reads a whole file behind what *buf holds; at most `most` bytes. FRAMED_TOO_LARGE, FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_host_load_file(const char *path, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc);

/* A file read or written piece by piece. */
#define HOST_NO_FILE ((intptr_t)-1)

/* Opens for reading; a directory is refused. FRAMED_OS. */
enum framed_status framed_host_open(const char *path, intptr_t *file);

/* Opens for writing, made (for its owner alone) if it is missing, emptied if it is not. Only one at a time: FRAMED_OS while
 * another of us writes it. */
enum framed_status framed_host_create(const char *path, intptr_t *file);

/* Reads what is there, waiting for at least a byte. FRAMED_OK: *n > 0. FRAMED_CLOSED: its end. FRAMED_OS. */
enum framed_status framed_host_read_file(intptr_t file, uint8_t *at, size_t room, size_t *n);

/* Writes all of it. FRAMED_CLOSED: a pipe that nobody reads any more. FRAMED_OS (a full disk is one). */
enum framed_status framed_host_write_file(intptr_t file, const uint8_t *at, size_t n);

/* FRAMED_OS: something written may not have arrived. */
enum framed_status framed_host_close_file(intptr_t file);

/* ---- files of keys ---- */

enum host_keys {
    HOST_KEYS_SECRET, /* nobody else may read it, and it is no symbolic link */
    HOST_KEYS_PUBLIC  /* nobody else may write it */
};

/*
 * Reads a whole file of keys into *buf, an empty one, without ever waiting; what is checked is what was opened: a regular file, ours
 * or root's (on Windows SYSTEM's or the administrators'), which gives others no right that its kind does not allow. FRAMED_DENIED: it is
 * refused, and *reason says why. FRAMED_TOO_LARGE: more than `most` bytes. FRAMED_NOMEM, FRAMED_OS. One allocation, of which nothing
 * leaves a copy: the caller wipes its `cap` bytes.
 */
enum framed_status framed_host_load_keys(const char *path, enum host_keys kind, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc, const char **reason);

/* Writes a file that was not there, for its owner alone: whole, and as safe as the system makes it, or not at all. FRAMED_IN_USE:
 * there is something of that name, which stays as it was. FRAMED_DENIED: others could read it there; *reason. FRAMED_OS. */
enum framed_status framed_host_create_keys(const char *path, struct framed_bytes content, const char **reason);

/* ---- commands of the shell ---- */

enum host_end {
    HOST_EXITED,     /* by itself; `code` is its exit status */
    HOST_KILLED,     /* by a signal that was not ours; `code` is its number */
    HOST_TOO_LATE,   /* was killed at the deadline */
    HOST_TOO_LONG,   /* was killed because its output was longer than `most`, or (`status` NOMEM) than there is memory */
    HOST_STOPPED,    /* was killed by framed_host_stop_runs, or not begun */
    HOST_NOT_STARTED /* `status`: NOMEM, LIMIT, OS */
};

/* One run of a command. The caller fills the first part, framed_host_run the second. */
struct host_run {
    const char *command;       /* for `sh -c`, or `cmd /c` */
    struct framed_bytes input; /* for its standard input; it need not read it */
    size_t most;               /* longest output taken */
    uint32_t timeout_ms;       /* FRAMED_NEVER: none */
    const struct framed_allocator *alloc;

    struct framed_buf output; /* all it wrote to standard output, the caller's; empty unless EXITED */
    enum host_end end;
    enum framed_status status;
    int code;
};

/*
 * Runs a command in a process group (a job object) of its own, standard error being ours, and waits until it has ended and its
 * output is closed. Whatever happens the whole group is killed before this returns; what the system does not let us kill (it
 * has become another user's) is waited for a second at most. From several threads at once.
 */
void framed_host_run(struct host_run *run);

/* Kills all that runs, and everything begun later at once. From any thread, and from signal handlers: a second signal, which
 * ends this process, does the same. */
void framed_host_stop_runs(void);

/* ---- signals ---- */

/* From now on the first SIGINT or SIGTERM calls stop(ctx), which must be safe in a signal handler, and a second one ends the
 * process at once with 128+N. Before, the first one does that. FRAMED_OS. */
enum framed_status framed_host_on_stop(void (*stop)(void *ctx), void *ctx);

/* Before ctx goes: a first signal then ends the process at once, as before. */
void framed_host_off_stop(void);

/* From now on SIGHUP does not end the process, but one framed_host_hangup. FRAMED_UNSUPPORTED where there is none. FRAMED_OS. */
enum framed_status framed_host_catch_hangup(void);

/* Waits for the next SIGHUP. False: framed_host_end_hangup was called. */
bool framed_host_hangup(void);
void framed_host_end_hangup(void);

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

/* The time of day here: "12:00:01.204". */
void framed_host_time_text(char *text, size_t room);

/* The same instant in nanoseconds since 1970 (UTC). */
uint64_t framed_host_time_ns(void);

/* Raises the number of descriptors this process may have to `need`, as far as it is allowed to. *have: what it is now. */
void framed_host_descriptors(uint64_t need, uint64_t *have);

/* Something to sleep on that another thread can end. Several may wait: one ring then wakes at least one of them. */
struct host_bell;
enum framed_status framed_host_bell_new(struct host_bell **bell, const struct framed_allocator *alloc);
void framed_host_bell_ring(struct host_bell *bell);
/* Returns when the bell has rung since the last wait, or timeout_ms (OS_FOREVER: no limit) have passed; perhaps earlier. */
void framed_host_bell_wait(struct host_bell *bell, uint64_t timeout_ms);
void framed_host_bell_free(struct host_bell *bell, const struct framed_allocator *alloc);

#endif
