/*
 * log.c: a bounded stream of lines.
 * Must not know where they go.
 * Invariant: every line is written or counted.
 */
#include "log.h"
#include "conn.h"
#include <stdarg.h>
#include <stdio.h>

static void say(struct log *log, enum framed_log_level level, const char *line)
{
    log->write(log->ctx, level, line);
}

void framed_log_settle(struct log *log)
{
    if (log->write == NULL || log->left_out == 0) return;
    char line[64];
    (void)snprintf(line, sizeof line, "%llu log lines were left out", (unsigned long long)log->left_out);
    log->left_out = 0;
    say(log, FRAMED_LOG_WARNING, line);
}

void framed_log(struct log *log, enum framed_log_level level, const char *format, ...)
{
    if (log->write == NULL) return;
    uint64_t second = framed_loop_now(log->loop) / 1000;
    if (second != log->second) {
        log->second = second;
        log->written = 0;
        framed_log_settle(log);
    }
    if (log->written >= log->most) {
        log->left_out++;
        count(&log->suppressed, 1);
        return;
    }
    log->written++;
    char line[LOG_LINE_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    say(log, level, line);
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
