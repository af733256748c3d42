/*
 * record.h: a record of what passed through a tap: its format, writing it, reading it. Knows no files.
 *
 * A record is a stream of frames (PROTOCOL.md §2). The payload of the first is the 16 bytes "framed record 1\n"; so a record
 * begins with the bytes
 *
 *     00000010 6672616d6564207265636f726420310a
 *
 * Every other frame is an entry. Its payload, numbers big-endian:
 *
 *     byte 0        type, u8
 *     byte 1        way, u8: 0 from the client to the target, 1 from the target to the client; 0 where it does not matter
 *     bytes 2..5    connection, u32
 *     bytes 6..13   time, u64: nanoseconds since 1970 (UTC)
 *     bytes 14..    0 to 65,536 bytes, by type
 *
 *     type            way   bytes
 *     1  opened       0     who connected, as text for people; 0 to 255 bytes
 *     2  data         0, 1  1 to 65,536 bytes that came in one piece, as they came
 *     3  end          0, 1  none: the last of that way was received, in order (the half-close)
 *     4  closed       0     none: the connection is gone, both ways
 *     5  lost         0, 1  u64 > 0: so many bytes passed here that are not in the record
 *     128 to 255            any; for later versions: a reader skips them, whatever their way, connection and bytes are
 *
 * Anything else is malformed. Of one connection: `opened` is first and `closed` last; per way the `data` in their order are the
 * bytes that passed, exactly, except where `lost` says so; nothing of a way follows its `end`. Numbers of
 * connections ascend strictly in the order of their `opened`, the first being at least 1. A connection that is open when the record ends was
 * open when the recording ended. The record may end behind any entry; ending inside one, it was cut. Times never matter for
 * what is read.
 */
#ifndef FRAMED_CLI_RECORD_H
#define FRAMED_CLI_RECORD_H

#include <framed/frame.h>

#define RECORD_MAGIC_SIZE 20u         /* the first frame, with its length word */
#define RECORD_HEAD       18u         /* an entry without its bytes, with its length word */
#define RECORD_MOST       (64u << 10) /* bytes of an entry */

enum record_type { RECORD_OPENED = 1, RECORD_DATA = 2, RECORD_END = 3, RECORD_CLOSED = 4, RECORD_LOST = 5 };

struct record_entry {
    enum record_type type;
    unsigned way; /* 0, 1: as enum inspect_way */
    uint32_t connection;
    uint64_t time_ns;
    struct framed_bytes bytes;
    uint64_t lost; /* RECORD_LOST; `bytes` are ignored when it is written, and empty when it was read */
};

/* ---- writing ---- */

/* The first frame. */
extern const uint8_t framed_record_magic[RECORD_MAGIC_SIZE];

/* How many bytes framed_record_write needs. */
size_t framed_record_size(const struct record_entry *entry);

/*
 * Writes a whole entry to `at`, which has room for framed_record_size; returns that. The entry must be a legal one: at most
 * RECORD_MOST bytes (opened: 255, the rest is left out), data not empty, lost not 0.
 */
size_t framed_record_write(uint8_t *at, const struct record_entry *entry);

/* Only the first RECORD_HEAD bytes, for whoever writes entry->bytes behind them himself. Not for RECORD_LOST. */
void framed_record_head(uint8_t at[RECORD_HEAD], const struct record_entry *entry);

/* ---- reading ---- */

/* Treat the fields as private. */
struct record_reader {
    struct framed_reader reader;
    uint64_t off;  /* of the frame that is being read */
    uint64_t next; /* of the one behind it */
    uint8_t state;
    enum framed_status failed;
    char fault[120];
};

/* `alloc` is borrowed until fini. Holds at most one entry, cut by the end of a piece. */
void framed_record_init(struct record_reader *r, const struct framed_allocator *alloc);

/* Lends n bytes, fewer than 2^31, until framed_record_next returns anything but FRAMED_OK. They are not changed. */
enum framed_status framed_record_feed(struct record_reader *r, uint8_t *at, size_t n);

/*
 * The next entry that is to be understood. FRAMED_OK: entry->bytes is a view, valid as long as the loan. FRAMED_MORE: feed more.
 * FRAMED_MALFORMED: this is no record, or a damaged one. FRAMED_NOMEM. The last two are final; framed_record_fault says why.
 * What is checked is each entry by itself, and not whether it suits those before.
 */
enum framed_status framed_record_next(struct record_reader *r, struct record_entry *entry);

/* The record has ended: FRAMED_CLOSED behind an entry, FRAMED_TRUNCATED inside one or before the first frame; or the failure. */
enum framed_status framed_record_end(struct record_reader *r);

/* After a failure, what was wrong, for people. */
const char *framed_record_fault(const struct record_reader *r);

/* Where in the record, in bytes: the frame that was given last, or that is at fault. */
uint64_t framed_record_off(const struct record_reader *r);

void framed_record_fini(struct record_reader *r);

#endif
