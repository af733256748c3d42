/*
 * crc32c.h: the checksum of protection 1 (PROTOCOL.md §8.2): CRC-32 with Castagnoli's polynomial, reflected, all ones before and
 * after, as in RFC 3720 (iSCSI). It finds accidents: it stops nobody who means to change something.
 *
 * Every function may be called from any thread.
 */
#ifndef FRAMED_CRC32C_H
#define FRAMED_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * The sum over what `crc` is already the sum of (0: nothing yet) and the n bytes at `at`: pieces in order give what the whole
 * gives. `at` may be NULL when n is 0, and needs no alignment.
 */
uint32_t framed_crc32c(uint32_t crc, const void *at, size_t n);

/* The same without the processor's instruction, whether it has one or not: what framed_crc32c falls back on, for the tests too. */
uint32_t framed_crc32c_by_tables(uint32_t crc, const void *at, size_t n);

#endif
