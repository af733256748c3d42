/*
 * payload.h: bytes that say which call they belong to, if they are long enough, and numbers that stand for bytes.
 */
#ifndef FRAMED_TESTS_PAYLOAD_H
#define FRAMED_TESTS_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PAYLOAD_NAMED = 8 };        /* from this length on a payload says its number */
#define PAYLOAD_FOREIGN UINT32_MAX /* it says something else */

static inline uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline void payload_fill(uint8_t *at, size_t n, uint32_t number)
{
    uint64_t word = (uint64_t)number << 32 | (uint32_t)mixed(number);
    for (size_t i = 0; i < n; i += 8) {
        memcpy(at + i, &word, n - i < 8 ? n - i : 8);
        word = i == 0 ? mixed(number + UINT64_C(0x100000000)) : word + UINT64_C(0x9e3779b97f4a7c15);
    }
}

/* 0: too short to say. */
static inline uint32_t payload_number(const uint8_t *at, size_t n)
{
    uint64_t word;
    if (n < PAYLOAD_NAMED) return 0;
    memcpy(&word, at, 8);
    uint32_t number = (uint32_t)(word >> 32);
    return (uint32_t)word == (uint32_t)mixed(number) ? number : PAYLOAD_FOREIGN;
}

static inline uint64_t payload_digest(const uint8_t *at, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, at + i, n - i < 8 ? n - i : 8);
        hash = ((hash << 5 | hash >> 59) ^ word) * UINT64_C(0x9fb21c651e98df25);
    }
    return hash;
}

#endif
