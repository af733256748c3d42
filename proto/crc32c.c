/*
 * crc32c.c: the checksum, by the processor's instruction where there is one, else eight bytes at a time by tables.
 * Must not know what is summed.
 * Invariant: both ways give the same for the same bytes in the same pieces. Nothing here is ever written: the tables are
 * constant, and what the processor can do was found out by the compiler's own runtime before any of our code ran.
 */
#include "crc32c.h"
#include "be.h"
#include <stdbool.h>

/*
 * Slicing by 8 (Kounavis and Berry, 2005): tables[k][n] is what the byte n does to the sum when k bytes follow it. That is linear
 * in the bits of n, so eight numbers make a table: those of the bytes 01, 02, 04 ... 80. Each row read backwards, and the rows one
 * after the other, they are one sequence: x^(32+i) modulo the polynomial, bit-reversed, each the one before shifted by a bit.
 */
#define BIT(n, bit, value) (((n) >> (bit)&1u) * (value))
#define ENTRY(n, a, b, c, d, e, f, g, h)                                                                                    \
    (BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f) ^ BIT(n, 6, g) ^ BIT(n, 7, h))
#define FOUR(n, ...)    ENTRY(n, __VA_ARGS__), ENTRY(n + 1, __VA_ARGS__), ENTRY(n + 2, __VA_ARGS__), ENTRY(n + 3, __VA_ARGS__)
#define SIXTEEN(n, ...) FOUR(n, __VA_ARGS__), FOUR(n + 4, __VA_ARGS__), FOUR(n + 8, __VA_ARGS__), FOUR(n + 12, __VA_ARGS__)
#define SIXTY_FOUR(n, ...)                                                                                                  \
    SIXTEEN(n, __VA_ARGS__), SIXTEEN(n + 16, __VA_ARGS__), SIXTEEN(n + 32, __VA_ARGS__), SIXTEEN(n + 48, __VA_ARGS__)
#define TABLE(...)                                                                                                          \
    {                                                                                                                       \
        SIXTY_FOUR(0u, __VA_ARGS__), SIXTY_FOUR(64u, __VA_ARGS__), SIXTY_FOUR(128u, __VA_ARGS__),                           \
            SIXTY_FOUR(192u, __VA_ARGS__)                                                                                   \
    }

static const uint32_t tables[8][256] = {
    /* clang-format off */
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
    /* clang-format on */
};

/* Bytes one by one. The functions below work on the register, which is the sum inverted. */
static uint32_t by_bytes(uint32_t reg, const uint8_t *at, size_t n)
{
    for (; n > 0; n--) reg = reg >> 8 ^ tables[0][(reg ^ *at++) & 0xff];
    return reg;
}

uint32_t framed_crc32c_by_tables(uint32_t crc, const void *at, size_t n)
{
    uint32_t reg = ~crc;
    const uint8_t *p = at;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low = reg ^ le32_get(p), high = le32_get(p + 4);
        reg = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^
              tables[3][high & 0xff] ^ tables[2][high >> 8 & 0xff] ^ tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
    }
    return ~by_bytes(reg, p, n);
}

uint32_t framed_crc32c_headed_by_tables(uint32_t crc, const struct crc32c_head *head, const void *at, size_t n)
{
    uint8_t bytes[1 + 8 + 4];
    bytes[0] = head->direction;
    be64_put(bytes + 1, head->counter);
    be32_put(bytes + 9, head->length);
    return framed_crc32c_by_tables(framed_crc32c_by_tables(crc, bytes, sizeof bytes), at, n);
}

#if defined(__x86_64__) || defined(__i386__)

static bool has_instruction(void)
{
#ifdef __SSE4_2__
    return true; /* the program was built for nothing less */
#else
    return __builtin_cpu_supports("sse4.2");
#endif
}

#ifdef __x86_64__

__attribute__((target("sse4.2"))) static inline uint64_t eight(uint64_t reg, const uint8_t *p)
{
    return __builtin_ia32_crc32di(reg, le32_get(p) | (uint64_t)le32_get(p + 4) << 32);
}

/* Multiplies polynomials, bit-reversed, modulo the sum's own. */
static uint32_t times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (int i = 31; i >= 0; i--) {
        product ^= b & (0u - (a >> i & 1));
        b = b >> 1 ^ (0x82f63b78 & (0u - (b & 1)));
    }
    return product;
}

/*
 * The instruction takes three cycles and can begin in each: three streams go on at once. What a register becomes when so many zeros
 * follow is its product with x^(8n); by that the first two are moved to where they belong, and all three added.
 */
static const size_t stream = 2048, streams = (size_t)3 * 2048;
static const uint32_t one_stream = 0x0d65762a, two_streams = 0x35d73a62;

__attribute__((target("sse4.2"))) static uint32_t three_streams(uint32_t reg, const uint8_t *p)
{
    uint64_t first = reg, second = 0, third = 0;
    for (const uint8_t *end = p + stream; p < end; p += 8) {
        first = eight(first, p);
        second = eight(second, p + stream);
        third = eight(third, p + 2 * stream);
    }
    return times(two_streams, (uint32_t)first) ^ times(one_stream, (uint32_t)second) ^ (uint32_t)third;
}
#endif

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *at, size_t n)
{
    uint32_t reg = ~crc;
    const uint8_t *p = at;
#ifdef __x86_64__
    for (; n >= streams; n -= streams, p += streams) reg = three_streams(reg, p);
    for (; n >= 8; n -= 8, p += 8) reg = (uint32_t)eight(reg, p);
#endif
    for (; n >= 4; n -= 4, p += 4) reg = __builtin_ia32_crc32si(reg, le32_get(p));
    for (; n > 0; n--) reg = __builtin_ia32_crc32qi(reg, *p++);
    return ~reg;
}

#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>

static bool has_instruction(void)
{
    return true; /* the program was built for nothing less */
}

static uint32_t by_instruction(uint32_t crc, const void *at, size_t n)
{
    uint32_t reg = ~crc;
    const uint8_t *p = at;
    for (; n >= 8; n -= 8, p += 8) reg = __crc32cd(reg, le32_get(p) | (uint64_t)le32_get(p + 4) << 32);
    for (; n > 0; n--) reg = __crc32cb(reg, *p++);
    return ~reg;
}

#else

static bool has_instruction(void)
{
    return false;
}

static uint32_t by_instruction(uint32_t crc, const void *at, size_t n)
{
    return framed_crc32c_by_tables(crc, at, n);
}

#endif

uint32_t framed_crc32c(uint32_t crc, const void *at, size_t n)
{
    return has_instruction() ? by_instruction(crc, at, n) : framed_crc32c_by_tables(crc, at, n);
}

#ifdef __x86_64__
/* Most frames are small: their head does not go through memory. */
__attribute__((target("sse4.2"))) static uint32_t headed_by_instruction(uint32_t crc, const struct crc32c_head *head,
                                                                        const void *at, size_t n)
{
    uint64_t counter = __builtin_bswap64(head->counter);
    uint32_t length = __builtin_bswap32(head->length);
    uint64_t reg = __builtin_ia32_crc32di(~crc, head->direction | counter << 8);
    reg = __builtin_ia32_crc32si((uint32_t)reg, (uint32_t)(counter >> 56) | length << 8);
    reg = __builtin_ia32_crc32qi((uint32_t)reg, (uint8_t)(length >> 24));
    if (n >= streams) return by_instruction(~(uint32_t)reg, at, n);
    const uint8_t *p = at;
    for (; n >= 32; n -= 32, p += 32) reg = eight(eight(eight(eight(reg, p), p + 8), p + 16), p + 24);
    for (; n >= 8; n -= 8, p += 8) reg = eight(reg, p);
    if (n & 4) {
        reg = __builtin_ia32_crc32si((uint32_t)reg, le32_get(p));
        p += 4;
    }
    for (n &= 3; n > 0; n--) reg = __builtin_ia32_crc32qi((uint32_t)reg, *p++);
    return ~(uint32_t)reg;
}
#endif

uint32_t framed_crc32c_headed(uint32_t crc, const struct crc32c_head *head, const void *at, size_t n)
{
#ifdef __x86_64__
    if (has_instruction()) return headed_by_instruction(crc, head, at, n);
#endif
    return framed_crc32c_headed_by_tables(crc, head, at, n);
}
