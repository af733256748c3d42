/*
 * exec.h: `framed serve --exec`: a command of the shell for every request. Helper threads run at most EXEC_AT_ONCE of them at
 * a time, in the order the requests came; the loop waits for none of them.
 *
 * The server must be configured so: max_calls 1, then the requests of a connection run one after the other; call_ms as
 * framed_exec_call_ms says, so that a command that is late is told from a server that is.
 */
#ifndef FRAMED_CLI_EXEC_H
#define FRAMED_CLI_EXEC_H

#include <framed/net.h>

enum {
    EXEC_AT_ONCE = 16,
    EXEC_DESCRIPTORS = 5 * EXEC_AT_ONCE + 4 /* what they need at most */
};

struct exec_config {
    const char *command;
    const char *on_error; /* the reply when the command fails; NULL: the call fails */
    size_t most;          /* longest reply */
    uint32_t timeout_ms;  /* from the request to the command's end; FRAMED_NEVER */
    const struct framed_allocator *alloc;
};

struct exec;

/* What the server's call_ms must be: the command's time and a little more, to kill it and to say so. */
uint32_t framed_exec_call_ms(uint32_t timeout_ms);

/* Starts the helpers. All of *config is borrowed until stop. FRAMED_NOMEM, FRAMED_LIMIT, FRAMED_OS; nothing is left then. */
enum framed_status framed_exec_start(struct exec **exec, const struct exec_config *config);

/* The server's handler; ctx is the struct exec. */
void framed_exec_answer(void *ctx, struct framed_call *call);

/* Kills what runs, answers every call that is left, ends the helpers. After the server's run, before its free. NULL is fine. */
void framed_exec_stop(struct exec *exec);

#endif
