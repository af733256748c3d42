/* log.h: lines for people, at most so many a second; those left out are counted and said. From any loop's thread, one at a time. */
#ifndef FRAMED_LOG_H
#define FRAMED_LOG_H

#include "loop.h"

enum { LOG_LINE_SIZE = 512 };

struct log {
    framed_log_fn *write;
    void *ctx;
    struct os_lock *lock;  /* guards what follows, and `write` */
    uint32_t most;         /* lines a second */
    uint32_t written;      /* in this second */
    uint32_t of_strangers; /* of these */
    uint64_t second;
    uint64_t left_out; /* since the last line that said so */
    _Atomic uint64_t suppressed;
};

/* write NULL: nothing is said. FRAMED_NOMEM, FRAMED_OS. */
enum framed_status framed_log_init(struct log *log, framed_log_fn *write, void *ctx, uint32_t most,
                                   const struct framed_allocator *alloc);
void framed_log_fini(struct log *log, const struct framed_allocator *alloc);

/* Of whom a line is. A stranger could prove who he is, and has not: such lines are half of all at most, so that they do not hide who
 * came in, and who was refused. */
enum log_of { LOG_OF_ANYBODY, LOG_OF_STRANGER };

/* One line, printf's way, cut at LOG_LINE_SIZE, at the time of the loop whose thread says it. What comes from a peer goes through
 * framed_log_escape first. */
void framed_log(struct log *log, struct loop *loop, enum framed_log_level level, enum log_of of, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Says how many lines were left out, if any were and it was not said yet. */
void framed_log_settle(struct log *log);

/* Printable ASCII as it is, the rest as \xHH; cut to fit, always ended by NUL. */
void framed_log_escape(const char *text, char *to, size_t size);

#endif
