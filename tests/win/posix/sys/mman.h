/* sys/mman.h for MinGW: as much of it, and of sysconf, as tests/support/guard.c uses; in tests/win/posix.c. */
#ifndef FRAMED_TESTS_WIN_MMAN_H
#define FRAMED_TESTS_WIN_MMAN_H

#include <stddef.h>

enum { PROT_NONE, PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, _SC_PAGESIZE };
#define MAP_FAILED NULL

long sysconf(int name);
void *mmap(void *at, size_t len, int protection, int flags, int fd, long offset);
int mprotect(void *at, size_t len, int protection);
int munmap(void *at, size_t len);

#endif
