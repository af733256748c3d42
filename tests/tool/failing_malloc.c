/*
 * failing_malloc.c: preloaded into the tool by test_memory.py; makes its n-th allocation fail, or that one and all after it.
 * Must not know the tool.
 * Invariant: FAIL_AT and FAIL_ONWARD come from the environment; the file FAIL_REACHED is created when n was reached.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *at, size_t n);

static atomic_long count;
static long fail_at;
static bool onward;
static const char *reached;

/* For who asks for memory after the tool has ended: see tests/cover/exit.c. */
void failing_malloc_end(void);
void failing_malloc_end(void)
{
    fail_at = 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("FAIL_AT");
    onward = getenv("FAIL_ONWARD") != NULL;
    reached = getenv("FAIL_REACHED");
    unsetenv("LD_PRELOAD");  /* what the tool starts is not the tool */
    atomic_store(&count, 0); /* what the loader asked for is not the tool's */
    fail_at = at != NULL ? atol(at) : 0;
}

static bool fails(void)
{
    if (fail_at == 0) return false;
    long n = atomic_fetch_add(&count, 1) + 1;
    if (n == fail_at && reached != NULL) close(open(reached, O_CREAT | O_WRONLY, 0600));
    if (n != fail_at && !(onward && n > fail_at)) return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *at, size_t n)
{
    return fails() ? NULL : __libc_realloc(at, n);
}
