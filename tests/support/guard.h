/*
 * guard.h: memory whose last byte is the last one before an inaccessible page, so that reading or writing one byte too far
 * ends the program, with or without a sanitizer.
 */
#ifndef FRAMED_TESTS_GUARD_H
#define FRAMED_TESTS_GUARD_H

#include <stddef.h>
#include <stdint.h>

struct guard {
    uint8_t *end; /* the inaccessible page begins here */
    size_t room;  /* bytes usable before it */
    uint8_t *map;
    size_t map_len;
};

/* Room for at least `room` bytes. Ends the program when the system refuses. */
void guard_init(struct guard *guard, size_t room);

/* The last n bytes before the inaccessible page, n at most the room; the 64 before them read as 0xEE. */
uint8_t *guard_take(struct guard *guard, size_t n);

/* The last n bytes before the inaccessible page, with a copy of `from` in them. */
uint8_t *guard_copy(struct guard *guard, const void *from, size_t n);

/* Overwrites what guard_take gave last: a view kept too long no longer reads what it did. */
void guard_spoil(struct guard *guard, size_t n);

void guard_fini(struct guard *guard);

#endif
