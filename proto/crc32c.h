/* crc32c.h: the inside of framed_crc32c (framed/secure.h), for its tests. */
#ifndef FRAMED_CRC32C_H
#define FRAMED_CRC32C_H

#include <framed/secure.h>

/* The same without the processor's instruction, whether it has one or not: what framed_crc32c falls back on. */
uint32_t framed_crc32c_by_tables(uint32_t crc, const void *at, size_t n);

#endif
