/*
 * drive.h: runs the scan, or the reader in every way it can be used, over one stream in one split, and holds each step
 * against what must come out.
 *
 * What is held after every single call of the reader:
 *   - the frames given so far are the expected ones, and every view of the running loan still reads as it did;
 *   - framed_reader_held is exactly the bytes received and not given out;
 *   - memory is at most twice what was received of the frames at hand plus 4 KiB, and none between frames.
 * Every piece lies right before an inaccessible page, and is overwritten once its loan has ended.
 */
#ifndef FRAMED_TESTS_DRIVE_H
#define FRAMED_TESTS_DRIVE_H

#include "guard.h"
#include "meter.h"
#include "splits.h"
#include <framed/frame.h>

/* Ways to use the reader; any may be combined. */
enum drive_way {
    DRIVE_DIRECT = 1,    /* receive in place whenever framed_reader_space allows it (copy_max is 1) */
    DRIVE_PARK = 2,      /* park every loan at once, before the first next() */
    DRIVE_PARK_EACH = 4, /* park after every frame, and again before every next() */
    DRIVE_PARK_LATE = 8, /* park after the first frame of each loan */
    DRIVE_IDLE = 16,     /* a timeout at every pause: next(), park() and an empty feed() again and again */
    DRIVE_TAKE = 32,     /* take every frame that can be taken */
    DRIVE_CHANGE = 64    /* overwrite every view once it has been compared, as decryption would */
};

struct drive {
    const char *name; /* for messages */
    uint32_t max_frame;
    struct framed_bytes input;
    const struct framed_bytes *frames; /* expected */
    size_t frame_count;
    enum framed_status ends; /* expected: FRAMED_CLOSED, FRAMED_TRUNCATED, FRAMED_TOO_LARGE */
    unsigned ways;
    struct guard *guard; /* room for the input */
    struct meter *meter; /* nothing in use */
};

/* FRAMED_OK: everything came out as expected. FRAMED_NOMEM: the meter denied something and the reader said so, properly.
 * Everything else fails the running cmocka test. Nothing is in use afterwards. */
enum framed_status drive_reader(const struct drive *drive, const struct split *split);

/* The same stream through framed_scan_next. */
void drive_scan(const struct drive *drive, const struct split *split);

/* For splits_each: ctx is a const struct drive. */
void drive_reader_split(void *ctx, const struct split *split);
void drive_scan_split(void *ctx, const struct split *split);

#endif
