/* log.h: lines for people, at most so many a second; those left out are counted and said. */
#ifndef FRAMED_LOG_H
#define FRAMED_LOG_H

#include "loop.h"

enum { LOG_LINE_SIZE = 512 };

struct log {
    framed_log_fn *write;
    void *ctx;
    struct loop *loop;
    uint32_t most;    /* lines a second */
    uint32_t written; /* in this second */
    uint64_t second;
    uint64_t left_out; /* since the last line that said so */
    _Atomic uint64_t suppressed;
};

/* One line, printf's way, cut at LOG_LINE_SIZE. What comes from a peer goes through framed_log_escape first. */
void framed_log(struct log *log, enum framed_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Says how many lines were left out, if any were and it was not said yet. */
void framed_log_settle(struct log *log);

/* Printable ASCII as it is, the rest as \xHH; cut to fit, always ended by NUL. */
void framed_log_escape(const char *text, char *to, size_t size);

#endif
