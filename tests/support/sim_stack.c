/*
 * sim_stack.c: owns stacks to run something on, and the switch between them and the test's own.
 * Must not know what runs there.
 * Invariants: one stack at a time is entered, from the test's own; what has returned leaves its stack to others, also of later
 * worlds, since making one costs more than a short life on it.
 */
#define _XOPEN_SOURCE 700
#include "sim_world.h"
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#define STACKS_ARE_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACKS_ARE_WATCHED 1
#endif
#endif
#ifdef STACKS_ARE_WATCHED
#include <sanitizer/common_interface_defs.h>
#endif

/* swapcontext asks the system for the signal mask each time, which takes a third of a trial. Where setjmp is known to do no
 * more than it must, it does instead, but for the first time. */
#if defined(__GLIBC__) && !defined(STACKS_ARE_WATCHED) && !defined(__SANITIZE_THREAD__) && !defined(_FORTIFY_SOURCE)
#define SWITCHES_BY_JUMP 1
#else
#define SWITCHES_BY_JUMP 0
#endif

enum { STACK_SIZE = 256 << 10 };

/* Where somebody is to go on. */
struct place_to_be {
    ucontext_t context;
    jmp_buf jump;
    void *shadow; /* the sanitizer's */
};

struct stack {
    void (*run)(void *ctx);
    void *ctx;
    struct place_to_be here;
    uint8_t *memory;
    struct stack *next; /* spare */
    bool entered;
    bool over;
};

static struct {
    struct place_to_be here;
    struct stack *entered;
    const void *memory;
    size_t size;
} home;

static struct stack *spare;

/* ---- the switch ---- */

static void jump(struct place_to_be *from, struct place_to_be *to, bool first)
{
#if SWITCHES_BY_JUMP
    if (_setjmp(from->jump) != 0) return;
    if (!first) _longjmp(to->jump, 1);
    (void)setcontext(&to->context);
    abort();
#else
    (void)first;
    must(swapcontext(&from->context, &to->context) == 0, "no way to another stack");
#endif
}

bool stack_enter(struct stack *s)
{
    bool first = !s->entered;
    s->entered = true;
    home.entered = s;
#ifdef STACKS_ARE_WATCHED
    __sanitizer_start_switch_fiber(&home.here.shadow, s->memory, STACK_SIZE);
#endif
    jump(&home.here, &s->here, first);
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(home.here.shadow, NULL, NULL);
#endif
    home.entered = NULL;
    return !s->over;
}

void stack_leave(struct stack *s)
{
#ifdef STACKS_ARE_WATCHED
    __sanitizer_start_switch_fiber(&s->here.shadow, home.memory, home.size);
#endif
    jump(&s->here, &home.here, false);
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(s->here.shadow, &home.memory, &home.size);
#endif
}

static void begin(void)
{
#ifdef STACKS_ARE_WATCHED
    __sanitizer_finish_switch_fiber(NULL, &home.memory, &home.size);
#endif
    for (;;) { /* one life after the other */
        struct stack *s = home.entered;
        s->run(s->ctx);
        s->over = true;
        stack_leave(s);
    }
}

/* ---- beginning and end ---- */

static struct stack *fresh(void)
{
    struct stack *s = made(sizeof *s);
    s->memory = made(STACK_SIZE);
    must(getcontext(&s->here.context) == 0, "no context");
    s->here.context.uc_stack.ss_sp = s->memory;
    s->here.context.uc_stack.ss_size = STACK_SIZE;
    s->here.context.uc_link = NULL;
    makecontext(&s->here.context, begin, 0);
    return s;
}

struct stack *stack_new(void (*run)(void *ctx), void *ctx)
{
    struct stack *s = spare;
    if (s != NULL)
        spare = s->next;
    else
        s = fresh();
    s->run = run;
    s->ctx = ctx;
    s->over = false;
    return s;
}

void stack_free(struct stack *s)
{
    s->next = spare;
    spare = s;
}
