/*
 * ucontext.h for MinGW: as much of it as tests/support/sim_stack.c uses, in tests/win/posix.c, on fibers. A fiber brings a stack of
 * its own; the one given is left alone. Fibers are never freed: a test has a few, and ends.
 */
#ifndef FRAMED_TESTS_WIN_UCONTEXT_H
#define FRAMED_TESTS_WIN_UCONTEXT_H

#include <stddef.h>

typedef struct {
    void *fiber;
    struct {
        void *ss_sp;
        size_t ss_size;
    } uc_stack;
    void *uc_link;
} ucontext_t;

int getcontext(ucontext_t *context);
void makecontext(ucontext_t *context, void (*run)(void), int arguments);
int swapcontext(ucontext_t *from, const ucontext_t *to);

#endif
