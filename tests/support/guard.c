/*
 * guard.c: a mapping with an inaccessible page right behind the bytes handed out.
 * Must not know what is parsed.
 * Invariant: end is the first inaccessible byte, and room bytes before it are usable.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "guard.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OUTSIDE = 0xee, SPOILED = 0xdb, MARGIN = 64 };

static void give_up(const char *what)
{
    perror(what);
    abort();
}

void guard_init(struct guard *guard, size_t room)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (room + MARGIN + page - 1) / page * page;
    guard->map_len = usable + page;
    guard->map = mmap(NULL, guard->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guard->map == MAP_FAILED) give_up("guard: mmap");
    if (mprotect(guard->map + usable, page, PROT_NONE) != 0) give_up("guard: mprotect");
    guard->end = guard->map + usable;
    guard->room = usable - MARGIN;
}

uint8_t *guard_take(struct guard *guard, size_t n)
{
    if (n > guard->room) {
        fprintf(stderr, "guard: %zu bytes asked for, %zu there\n", n, guard->room);
        abort();
    }
    uint8_t *at = guard->end - n;
    memset(at - MARGIN, OUTSIDE, MARGIN);
    return at;
}

uint8_t *guard_copy(struct guard *guard, const void *from, size_t n)
{
    uint8_t *at = guard_take(guard, n);
    if (n > 0) memcpy(at, from, n);
    return at;
}

void guard_spoil(struct guard *guard, size_t n)
{
    memset(guard->end - n, SPOILED, n);
}

void guard_fini(struct guard *guard)
{
    if (munmap(guard->map, guard->map_len) != 0) give_up("guard: munmap");
    *guard = (struct guard){0};
}
