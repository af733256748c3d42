/*
 * test_crc32c.c: the checksum against known answers, against the definition bit by bit, and its two ways against each other
 * (proto/crc32c.h, PROTOCOL.md §8.2).
 * Must not know how the sum is computed.
 * Invariant: each test asks both ways. On a machine without the instruction both are the same one.
 */
#include "be.h"
#include "crc32c.h"
#include "guard.h"
#include "splits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 300, ALIGNMENTS = 16 };

typedef uint32_t crc_fn(uint32_t crc, const void *at, size_t n);

static crc_fn *const ways[] = {framed_crc32c, framed_crc32c_by_tables};
enum { WAYS = sizeof ways / sizeof *ways };

/* The definition: one bit after the other through a register of 32. */
static uint32_t by_bits(const uint8_t *at, size_t n)
{
    uint32_t reg = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        reg ^= at[i];
        for (int bit = 0; bit < 8; bit++) reg = (reg & 1) != 0 ? reg >> 1 ^ 0x82f63b78 : reg >> 1;
    }
    return reg ^ 0xffffffff;
}

static void fill(uint8_t *at, size_t n)
{
    uint64_t dice = 3;
    for (size_t i = 0; i < n; i++) at[i] = (uint8_t)(splits_random(&dice) >> 32);
}

static void crc32c_gives_the_known_answers(void **state)
{
    (void)state;
    static const uint8_t read_command[48] = {
        0x01, 0xc0, [16] = 0x14, [22] = 0x04, [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02};
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    for (uint8_t i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = i;
        down[i] = (uint8_t)(31 - i);
    }
    const struct {
        const void *at;
        size_t n;
        uint32_t crc;
    } known[] = {
        {"123456789", 9, 0xe3069283}, {NULL, 0, 0},
        {"a", 1, 0xc1d04330},         {zeros, 32, 0x8a9136aa}, /* from here on: RFC 3720, B.4 */
        {ones, 32, 0x62a8ab43},       {up, 32, 0x46dd794e},
        {down, 32, 0x113fdb5c},       {read_command, 48, 0xd9963a56},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (size_t way = 0; way < WAYS; way++) assert_int_equal(ways[way](0, known[i].at, known[i].n), known[i].crc);
}

static void crc32c_is_the_definition_for_every_length_at_every_alignment(void **state)
{
    (void)state;
    _Alignas(ALIGNMENTS) static uint8_t room[ALIGNMENTS + LONGEST];
    uint8_t bytes[LONGEST];
    fill(bytes, sizeof bytes);
    for (size_t n = 0; n <= LONGEST; n++) {
        uint32_t want = by_bits(bytes, n);
        for (size_t from = 0; from < ALIGNMENTS; from++) {
            memcpy(room + from, bytes, n);
            for (size_t way = 0; way < WAYS; way++) assert_int_equal(ways[way](0, room + from, n), want);
        }
    }
}

/* Both ways agree where the streams that go on at once begin and end, and each byte of them counts. */
static void crc32c_of_long_bytes_is_the_same_by_both_ways(void **state)
{
    enum { MOST = 40000 };
    static uint8_t bytes[MOST];
    static const size_t near[] = {2048, 4096, 6144, 8192, 12288, 18432, MOST};
    (void)state;
    fill(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof near / sizeof *near; i++)
        for (size_t n = near[i] - 17; n <= near[i] + 17 && n <= MOST; n++)
            assert_int_equal(framed_crc32c(7, bytes, n), framed_crc32c_by_tables(7, bytes, n));
    assert_int_equal(framed_crc32c(0, bytes, 6200), by_bits(bytes, 6200));
    uint32_t right = framed_crc32c(0, bytes, 6200);
    for (size_t i = 0; i < 6200; i++) {
        bytes[i] ^= 0x10;
        assert_int_not_equal(framed_crc32c(0, bytes, 6200), right);
        bytes[i] ^= 0x10;
    }
}

static void crc32c_of_a_head_and_a_payload_is_that_of_their_bytes(void **state)
{
    enum { HEAD = 13 };
    uint8_t bytes[HEAD + LONGEST];
    (void)state;
    fill(bytes, sizeof bytes);
    for (size_t n = 0; n <= LONGEST; n++) {
        bytes[0] = (uint8_t)(n & 1);
        for (size_t i = 1; i < HEAD; i++) bytes[i] = (uint8_t)(bytes[i] * 31 + n);
        const struct crc32c_head head = {.direction = bytes[0],
                                         .counter = (uint64_t)be32_get(bytes + 1) << 32 | be32_get(bytes + 5),
                                         .length = be32_get(bytes + 9)};
        uint32_t want = by_bits(bytes, HEAD + n), further = framed_crc32c(99, bytes, HEAD + n);
        assert_int_equal(framed_crc32c_headed(0, &head, bytes + HEAD, n), want);
        assert_int_equal(framed_crc32c_headed_by_tables(0, &head, bytes + HEAD, n), want);
        assert_int_equal(framed_crc32c_headed(99, &head, bytes + HEAD, n), further);
    }
    static uint8_t longer[HEAD + 7000];
    const struct crc32c_head none = {.direction = 0};
    fill(longer + HEAD, sizeof longer - HEAD);
    assert_int_equal(framed_crc32c_headed(0, &none, longer + HEAD, 7000), framed_crc32c_by_tables(0, longer, sizeof longer));
}

/* Each byte in each place of a block of the tables: no entry is left out. */
static void crc32c_is_the_definition_for_every_byte_in_every_place(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t place = 0; place < 17; place++) {
            uint8_t bytes[17] = {0};
            bytes[place] = (uint8_t)byte;
            for (size_t way = 0; way < WAYS; way++)
                assert_int_equal(ways[way](0, bytes, sizeof bytes), by_bits(bytes, sizeof bytes));
        }
    }
}

static void crc32c_of_pieces_is_that_of_the_whole_in_every_split(void **state)
{
    (void)state;
    uint8_t bytes[LONGEST];
    fill(bytes, sizeof bytes);
    for (size_t n = 0; n <= LONGEST; n++) {
        uint32_t want = by_bits(bytes, n);
        for (size_t cut = 0; cut <= n; cut++)
            for (size_t way = 0; way < WAYS; way++)
                assert_int_equal(ways[way](ways[1 - way](0, bytes, cut), bytes + cut, n - cut), want);
    }
    for (size_t way = 0; way < WAYS; way++) { /* and byte by byte */
        uint32_t crc = 0;
        for (size_t i = 0; i < LONGEST; i++) {
            crc = ways[way](crc, bytes + i, 1);
            assert_int_equal(ways[way](crc, NULL, 0), crc);
        }
        assert_int_equal(crc, by_bits(bytes, LONGEST));
    }
}

static void crc32c_reads_not_a_byte_too_far(void **state)
{
    (void)state;
    struct guard guard;
    uint8_t bytes[LONGEST];
    fill(bytes, sizeof bytes);
    guard_init(&guard, LONGEST);
    for (size_t n = 0; n <= LONGEST; n++) {
        const uint8_t *at = guard_copy(&guard, bytes, n);
        for (size_t way = 0; way < WAYS; way++) assert_int_equal(ways[way](0, at, n), by_bits(bytes, n));
        const struct crc32c_head head = {.length = (uint32_t)n};
        assert_int_equal(framed_crc32c_headed(0, &head, at, n), framed_crc32c_headed_by_tables(0, &head, at, n));
    }
    guard_fini(&guard);
}

static void crc32c_tells_every_single_flipped_bit(void **state)
{
    (void)state;
    uint8_t bytes[LONGEST];
    fill(bytes, sizeof bytes);
    for (size_t way = 0; way < WAYS; way++) {
        uint32_t right = ways[way](0, bytes, LONGEST);
        for (size_t bit = 0; bit < (size_t)LONGEST * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_not_equal(ways[way](0, bytes, LONGEST), right);
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_known_answers),
        cmocka_unit_test(crc32c_is_the_definition_for_every_length_at_every_alignment),
        cmocka_unit_test(crc32c_of_long_bytes_is_the_same_by_both_ways),
        cmocka_unit_test(crc32c_of_a_head_and_a_payload_is_that_of_their_bytes),
        cmocka_unit_test(crc32c_is_the_definition_for_every_byte_in_every_place),
        cmocka_unit_test(crc32c_of_pieces_is_that_of_the_whole_in_every_split),
        cmocka_unit_test(crc32c_reads_not_a_byte_too_far),
        cmocka_unit_test(crc32c_tells_every_single_flipped_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
