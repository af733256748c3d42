/*
 * log.c: a bounded stream of lines.
 * Must not know where they go.
 * Invariant: every line is written or counted.
 */
#include "log.h"
#include "conn.h"
#include <stdarg.h>
#include <stdio.h>

enum framed_status framed_log_init(struct log *log, framed_log_fn *write, void *ctx, uint32_t most,
                                   const struct framed_allocator *alloc)
{
    *log = (struct log){.write = write, .ctx = ctx, .most = most};
    return framed_os_lock_new(&log->lock, alloc);
}

void framed_log_fini(struct log *log, const struct framed_allocator *alloc)
{
    framed_os_lock_free(log->lock, alloc);
}

static void say_left_out(struct log *log)
{
    if (log->left_out == 0) return;
    char line[64];
    (void)snprintf(line, sizeof line, "%llu log lines were left out", (unsigned long long)log->left_out);
    log->left_out = 0;
    log->write(log->ctx, FRAMED_LOG_WARNING, line);
}

void framed_log_settle(struct log *log)
{
    if (log->write == NULL) return;
    framed_os_lock(log->lock);
    say_left_out(log);
    framed_os_unlock(log->lock);
}

/* May one more be said in this second? Loops read the clock at different times: an older second is no new one. */
static bool may_say(struct log *log, uint64_t second, enum log_of of)
{
    if (second > log->second) {
        log->second = second;
        log->written = log->of_strangers = 0;
        say_left_out(log);
    }
    if (log->written < log->most && !(of == LOG_OF_STRANGER && log->of_strangers >= (log->most + 1) / 2)) {
        log->written++;
        log->of_strangers += of == LOG_OF_STRANGER;
        return true;
    }
    log->left_out++;
    count(&log->suppressed, 1);
    return false;
}

void framed_log(struct log *log, struct loop *loop, enum framed_log_level level, enum log_of of, const char *format, ...)
{
    if (log->write == NULL) return;
    uint64_t second = framed_loop_now(loop) / 1000;
    va_list args;
    va_start(args, format);
    framed_os_lock(log->lock);
    if (may_say(log, second, of)) {
        char line[LOG_LINE_SIZE];
        (void)vsnprintf(line, sizeof line, format, args);
        log->write(log->ctx, level, line);
    }
    framed_os_unlock(log->lock);
    va_end(args);
}

void framed_log_escape(const char *text, char *to, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = c >= 0x20 && c < 0x7f;
        size_t need = plain ? 1 : 4;
        if (need >= size - n) break;
        if (plain) {
            to[n++] = (char)c;
            continue;
        }
        to[n++] = '\\';
        to[n++] = 'x';
        to[n++] = hex[c >> 4];
        to[n++] = hex[c & 15];
    }
    to[n] = '\0';
}
