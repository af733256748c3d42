/*
 * Owns: what is said on standard error, the same on every system.
 * Must not know: how bytes get there (framed_host_write_error).
 * Invariants: one line in one piece; no control byte but its newline, whatever it quotes.
 */
#include "host.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *framed_key_within(const char *text, bool also_public)
{
    for (const char *at = text; (at = strstr(at, "framed-")) != NULL;) {
        at += strlen("framed-");
        bool is_kind =
            strncmp(at, "sec-", 4) == 0 || strncmp(at, "psk-", 4) == 0 || (also_public && strncmp(at, "pub-", 4) == 0);
        size_t version = is_kind ? strspn(at + 4, "0123456789") : 0;
        if (version > 0 && at[4 + version] == ':') return at + 4 + version + 1;
    }
    return NULL;
}

static bool is_of_a_key(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Somebody has put a secret where something else belongs, which we repeat: the line may go into a log. */
static void hide_secrets(char *line)
{
    const char *key;
    for (size_t at = 0; (key = framed_key_within(line + at, false)) != NULL;)
        for (at = (size_t)(key - line); is_of_a_key(line[at]); at++) line[at] = '*';
}

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
    line[used] = '\0';
    hide_secrets(line);
    line[used++] = '\n';
    framed_host_write_error((const uint8_t *)line, used);
}
