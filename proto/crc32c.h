/* crc32c.h: the inside of framed_crc32c (framed/secure.h), for its tests. */
#ifndef FRAMED_CRC32C_H
#define FRAMED_CRC32C_H

#include <framed/secure.h>

/* The same without the processor's instruction, whether it has one or not: what framed_crc32c falls back on. */
uint32_t framed_crc32c_by_tables(uint32_t crc, const void *at, size_t n);

/* What goes before a payload in its sum: 13 bytes as on the wire (PROTOCOL.md §8). */
struct crc32c_head {
    uint64_t counter;
    uint32_t length;
    uint8_t direction;
};

/* As framed_crc32c over the head, and then over the n bytes at `at`. */
uint32_t framed_crc32c_headed(uint32_t crc, const struct crc32c_head *head, const void *at, size_t n);

/* Likewise without the instruction. */
uint32_t framed_crc32c_headed_by_tables(uint32_t crc, const struct crc32c_head *head, const void *at, size_t n);

#endif
