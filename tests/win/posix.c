/*
 * posix.c: the few functions of POSIX that the rigs in tests/support use and MinGW has not: tests/win/posix/.
 * Must not know who uses them, nor do more than those need.
 * Invariants: none.
 */
#include <windows.h>
/* after windows.h */
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

/* ---- sys/mman.h ---- */

long sysconf(int name)
{
    SYSTEM_INFO info;
    (void)name;
    GetSystemInfo(&info);
    return (long)info.dwPageSize;
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, long offset)
{
    (void)protection, (void)flags, (void)fd, (void)offset;
    return VirtualAlloc(at, len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

int mprotect(void *at, size_t len, int protection)
{
    DWORD before;
    (void)protection; /* only ever PROT_NONE */
    return VirtualProtect(at, len, PAGE_NOACCESS, &before) ? 0 : -1;
}

int munmap(void *at, size_t len)
{
    (void)len;
    return VirtualFree(at, 0, MEM_RELEASE) ? 0 : -1;
}

/* ---- ucontext.h ---- */

int getcontext(ucontext_t *context)
{
    context->fiber = NULL;
    return 0;
}

static VOID CALLBACK enter(PVOID run)
{
    ((void (*)(void))(uintptr_t)run)();
}

void makecontext(ucontext_t *context, void (*run)(void), int arguments)
{
    (void)arguments;
    context->fiber = CreateFiberEx(0, context->uc_stack.ss_size, 0, enter, (PVOID)(uintptr_t)run);
}

int swapcontext(ucontext_t *from, const ucontext_t *to)
{
    static void *home; /* the test's own thread, as a fiber; only it has not been made by makecontext */
    if (home == NULL) home = ConvertThreadToFiber(NULL);
    if (from->fiber == NULL) from->fiber = home;
    if (from->fiber == NULL || to->fiber == NULL) return -1;
    SwitchToFiber(to->fiber);
    return 0;
}
