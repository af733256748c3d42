/*
 * be.h: the only byte-order code. And check(), which is how the pure floor says "this cannot be": it traps, without libc,
 * also in release builds. Nothing that a peer sends may reach it.
 */
#ifndef FRAMED_BE_H
#define FRAMED_BE_H

#include <stdint.h>

#define check(truth) ((truth) ? (void)0 : __builtin_trap())

static inline uint32_t be32_get(const uint8_t at[4])
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static inline void be32_put(uint8_t at[4], uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void be64_put(uint8_t at[8], uint64_t value)
{
    be32_put(at, (uint32_t)(value >> 32));
    be32_put(at + 4, (uint32_t)value);
}

static inline void le64_put(uint8_t at[8], uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint32_t le32_get(const uint8_t at[4])
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | (uint32_t)at[0];
}

#endif
