/*
 * exit.c: linked into what counts coverage (tests/cover/cover.sh): also who leaves by _exit writes down what he counted, and what
 * the counting has to say (that a file is not to be written by this user) is not taken for what the tool says.
 * Must not know what is counted.
 * Invariant: nothing here happens before the program ends.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

extern void __gcov_dump(void);
extern _Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);

__attribute__((destructor)) static void end(void)
{
    /* Allocations that tests/tool/failing_malloc.c makes fail are the tool's. */
    void *found = dlsym(RTLD_DEFAULT, "failing_malloc_end");
    void (*stop)(void);
    memcpy(&stop, &found, sizeof stop);
    if (stop != NULL) stop();
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) (void)dup2(nowhere, STDERR_FILENO);
}

_Noreturn void __wrap__exit(int code)
{
    end();
    __gcov_dump();
    __real__exit(code);
}
