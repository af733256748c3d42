/* alloc.h: the allocator's one function, said in three words. */
#ifndef FRAMED_ALLOC_H
#define FRAMED_ALLOC_H

#include <framed/base.h>

static inline void *mem_new(const struct framed_allocator *alloc, size_t size)
{
    return alloc->resize(alloc->ctx, NULL, 0, size);
}

static inline void *mem_resize(const struct framed_allocator *alloc, void *at, size_t old_size, size_t size)
{
    return alloc->resize(alloc->ctx, at, old_size, size);
}

static inline void mem_free(const struct framed_allocator *alloc, void *at, size_t size)
{
    if (at != NULL) (void)alloc->resize(alloc->ctx, at, size, 0);
}

#endif
