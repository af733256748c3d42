/*
 * Owns: what is said on standard error, the same on every system.
 * Must not know: how bytes get there (framed_host_write_error).
 * Invariants: one line in one piece; no control byte but its newline, whatever it quotes.
 */
#include "host.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void framed_host_say(const char *format, ...)
{
    char line[1024] = "framed: ";
    size_t used = strlen(line), room = sizeof line - used - 1;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + used, room, format, args);
    va_end(args);
    if (n < 0) return;
    size_t end = used + ((size_t)n < room ? (size_t)n : room - 1);
    for (; used < end;
         used++) /* some of it may be somebody else's text: a line stays a line, and no terminal is told anything */
        if ((unsigned char)line[used] < 0x20 || line[used] == 0x7f) line[used] = '?';
    line[used++] = '\n';
    framed_host_write_error((const uint8_t *)line, used);
}
