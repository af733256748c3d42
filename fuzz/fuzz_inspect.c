/*
 * fuzz_inspect.c: what `framed inspect` makes of a file: frames, behind an opening or not, or a record, in text or JSON, frames or
 * counts.
 * Must not know what its lines say, but that frames are shown once each.
 * Invariants: a file ends as its frames do, read here one by one, with framed_opening_next and framed_sum_check for what has an
 * opening; the same file gives the same text in whatever pieces it is read; every byte printed is fit for a terminal, every
 * line of JSON is JSON; memory follows what was read; each entry of a record is written back as it was.
 *
 * Input: setup (SETUP_*), how much is dumped, max_frame (4 bytes), when memory or the sink fails; the program: the lengths of
 * the pieces, over and over; the file.
 */
#include "cli/inspect.h"
#include "cli/record.h"
#include "cli/replay.h"
#include "fuzz.h"
#include "meter.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLACK = 256 << 10, MOST_DEPTH = 8 };

enum setup {
    SETUP_JSON = 1,
    SETUP_HEX = 2,
    SETUP_STATS = 4,
    SETUP_NO_MEMORY = 8,
    SETUP_SINK_FAILS = 16,
    SETUP_RECORD = 32 /* the first frame of a record is put before the file */
};

/* What was printed. */
struct text {
    uint8_t *at;
    size_t len, cap;
    size_t most; /* then the sink fails */
    bool failed;
};

struct printed {
    struct text text;
    enum framed_status status; /* of the reading */
    enum framed_status found;
};

static enum framed_status sink(void *ctx, const uint8_t *at, size_t n)
{
    struct text *text = ctx;
    fuzz_must(!text->failed, "nothing is written after the sink has failed");
    if (n > text->most - text->len) {
        text->failed = true;
        return FRAMED_CLOSED;
    }
    if (text->cap - text->len < n) {
        text->cap = (text->len + n) * 2;
        text->at = realloc(text->at, text->cap);
        fuzz_must(text->at != NULL, "there is memory for the harness");
    }
    memcpy(text->at + text->len, at, n);
    text->len += n;
    return FRAMED_OK;
}

/* ---- is it JSON? (RFC 8259; at the byte given, *at moves behind it) ---- */

static void json_string(const uint8_t **at, const uint8_t *end)
{
    fuzz_must(*at < end && **at == '"', "JSON: a string begins with a quote");
    for (++*at; *at < end && **at != '"'; ++*at) {
        fuzz_must(**at >= 0x20, "JSON: no control character in a string");
        if (**at != '\\') continue;
        ++*at;
        fuzz_must(*at < end && strchr("\"\\/bfnrtu", **at) != NULL, "JSON: an escape that exists");
        for (int i = 0; **at == 'u' && i < 4; i++)
            fuzz_must(end - *at > 4 && strchr("0123456789abcdefABCDEF", (*at)[1 + i]) != NULL, "JSON: four hex digits");
    }
    fuzz_must(*at < end, "JSON: a string ends");
    ++*at;
}

static void json_number(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *from = *at;
    while (*at < end && strchr("0123456789.", **at) != NULL) ++*at;
    fuzz_must(*at > from && from[0] != '.' && (*at)[-1] != '.', "JSON: a number has digits");
    fuzz_must(from[0] != '0' || *at == from + 1 || from[1] == '.', "JSON: no leading zero");
}

/* Returns true when there was a comma. */
static bool json_more(const uint8_t **at, const uint8_t *end, uint8_t close)
{
    fuzz_must(*at < end && (**at == ',' || **at == close), "JSON: a comma, or the end");
    return *(*at)++ == ',';
}

static void json_value(const uint8_t **at, const uint8_t *end, int depth)
{
    fuzz_must(*at < end && depth < MOST_DEPTH, "JSON: a value");
    if (**at == '"') {
        json_string(at, end);
    } else if (**at == '{' || **at == '[') {
        uint8_t open = *(*at)++, close = open == '{' ? '}' : ']';
        bool more = *at < end && **at != close;
        if (!more) ++*at;
        while (more) {
            if (open == '{') {
                json_string(at, end);
                fuzz_must(*at < end && *(*at)++ == ':', "JSON: a colon behind the key");
            }
            json_value(at, end, depth + 1);
            more = json_more(at, end, close);
        }
    } else if (end - *at >= 4 && (memcmp(*at, "true", 4) == 0 || memcmp(*at, "null", 4) == 0)) {
        *at += 4;
    } else if (end - *at >= 5 && memcmp(*at, "false", 5) == 0) {
        *at += 5;
    } else {
        json_number(at, end);
    }
}

/* ---- what must hold ---- */

static size_t utf8_length(const uint8_t *at, size_t n)
{
    static const struct {
        uint8_t from, to;
        uint32_t least;
    } kinds[] = {{0xc0, 0xdf, 0x80}, {0xe0, 0xef, 0x800}, {0xf0, 0xf7, 0x10000}};
    if (*at < 0x80) return 1;
    for (size_t k = 0; k < 3; k++) {
        if (*at < kinds[k].from || *at > kinds[k].to || n < k + 2) continue;
        uint32_t c = *at - kinds[k].from;
        for (size_t i = 1; i <= k + 1; i++) {
            if ((at[i] & 0xc0) != 0x80) return 0;
            c = c << 6 | (at[i] & 0x3f);
        }
        bool is_right = c >= kinds[k].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        return is_right ? k + 2 : 0;
    }
    return 0;
}

/* Fit for a terminal: printable, UTF-8, whole lines. */
static void text_holds(const struct text *text)
{
    for (size_t i = 0; i < text->len;) {
        uint8_t c = text->at[i];
        fuzz_must((c >= 0x20 && c != 0x7f) || c == '\n', "no control character is printed");
        size_t n = utf8_length(text->at + i, text->len - i);
        fuzz_must(n > 0, "what is printed is UTF-8");
        fuzz_must(n != 2 || c != 0xc2 || text->at[i + 1] >= 0xa0, "no control character above 0x7f is printed");
        i += n;
    }
    fuzz_must(text->len == 0 || text->at[text->len - 1] == '\n', "lines are ended");
}

/* Whether a line of JSON has that event: a quote inside a string would be escaped. */
static bool is_event(const uint8_t *line, const uint8_t *end, const char *name)
{
    char event[40];
    size_t n = (size_t)snprintf(event, sizeof event, "\"event\":\"%s\"", name);
    for (; n <= (size_t)(end - line); line++)
        if (memcmp(line, event, n) == 0) return true;
    return false;
}

/* Returns how many of the objects are about a whole frame. */
static size_t json_holds(const struct text *text)
{
    size_t frames = 0;
    if (text->len == 0) return 0;
    const uint8_t *at = text->at, *end = at + text->len;
    while (at < end) {
        const uint8_t *line = at;
        fuzz_must(*at == '{', "JSON: a line is an object");
        json_value(&at, end, 0);
        fuzz_must(at < end && *at == '\n', "JSON: a line is one object");
        frames += is_event(line, at, "frame") || is_event(line, at, "handshake") || is_event(line, at, "encrypted");
        at++;
    }
    return frames;
}

static bool is_record(struct framed_bytes file)
{
    return file.len >= RECORD_MAGIC_SIZE && memcmp(file.at, framed_record_magic, RECORD_MAGIC_SIZE) == 0;
}

/* ---- files with an opening ---- */

static bool is_opened(struct framed_bytes file)
{
    return file.len >= FRAMED_PREFACE_SIZE && file.at[0] == 0xf7 && (file.at[1] == 0x46 || file.at[1] == 0x66);
}

/* Takes the opening off the front of *file. FRAMED_OK, or how the file ends. */
static enum framed_status take_opening(struct framed_bytes *file)
{
    struct framed_opening opening;
    struct framed_accept built = {0};
    uint8_t mode = file->at[3];
    bool is_built = framed_mode_exists(mode) && mode >> 4 != FRAMED_BLAKE2B;
    enum framed_status st = FRAMED_OK;
    if (!is_built) return FRAMED_MALFORMED;
    if (file->at[1] == 0x46) {
        fuzz_must(framed_accept_add(&built, mode) == FRAMED_OK, "a mode that exists can be accepted");
        st = framed_opening_accept(&opening, &built);
    } else {
        st = framed_opening_connect(&opening, mode);
    }
    fuzz_must(st == FRAMED_OK, "an opening can be read");
    st = framed_opening_next(&opening, file);
    return st == FRAMED_MORE ? FRAMED_TRUNCATED : st == FRAMED_OK ? FRAMED_OK : FRAMED_MALFORMED;
}

/* The frames behind an opening: how many are whole, and how the file ends. */
static enum framed_status take_frames(struct framed_bytes in, enum framed_side side, uint8_t mode, uint32_t most, size_t *n)
{
    uint32_t trailer = mode >> 4 == FRAMED_CRC32C ? FRAMED_SUM_SIZE : 0;
    struct framed_sum_place place = {.from = side, .counter = 1};
    if (most == 0) most = FRAMED_FRAME_DEFAULT;
    if (most > FRAMED_FRAME_MOST - trailer) most = FRAMED_FRAME_MOST - trailer;
    if (mode >> 4 >= FRAMED_SHARED_KEY) most = 65535;
    for (; in.len > 0; place.counter++, ++*n) {
        if (in.len < FRAMED_LENGTH_SIZE) return FRAMED_TRUNCATED;
        uint32_t len = (uint32_t)in.at[0] << 24 | (uint32_t)in.at[1] << 16 | (uint32_t)in.at[2] << 8 | in.at[3];
        in = framed_bytes_of(in.at + FRAMED_LENGTH_SIZE, in.len - FRAMED_LENGTH_SIZE);
        if (len > most + trailer) return FRAMED_TOO_LARGE;
        if (len < trailer) return FRAMED_MALFORMED;
        if (len > in.len) return FRAMED_TRUNCATED;
        struct framed_bytes frame = framed_bytes_of(in.at, len);
        if (trailer > 0 && framed_sum_check(&frame, &place) != FRAMED_OK) return FRAMED_MALFORMED;
        in = framed_bytes_of(in.at + len, in.len - len);
    }
    return FRAMED_CLOSED;
}

static enum framed_status read_opened(struct framed_bytes file, uint32_t max_frame, size_t *frames)
{
    enum framed_side side = file.at[1] == 0x46 ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
    uint8_t mode = file.at[3];
    if (file.at[2] == 1 && framed_mode_exists(mode) && mode >> 4 == FRAMED_BLAKE2B)
        return FRAMED_CLOSED; /* nothing is wrong with it, and nothing behind it is interpreted */
    enum framed_status st = take_opening(&file);
    return st == FRAMED_OK ? take_frames(file, side, mode, max_frame, frames) : st;
}

static void frames_hold(const struct printed *printed, struct framed_bytes file, unsigned setup, uint32_t max_frame)
{
    struct fuzz_frames frames;
    fuzz_frames_read(&frames, file, max_frame);
    size_t n = frames.n;
    enum framed_status ends = is_opened(file) ? read_opened(file, max_frame, &n) : frames.ends;
    fuzz_must(printed->found == (ends == FRAMED_CLOSED ? FRAMED_OK : ends), "found() is how the file ends");
    if ((setup & SETUP_JSON) && !(setup & SETUP_STATS))
        fuzz_must(json_holds(&printed->text) == n, "every frame is shown once");
    fuzz_frames_free(&frames);
}

/* ---- the inspection ---- */

static size_t piece_of(struct framed_bytes program, size_t *step, size_t left)
{
    size_t n = SIZE_MAX;
    if (program.len > 0 && *step < 100000) n = fuzz_length(program.at[(*step)++ % program.len]);
    return n < left ? n : left;
}

static enum framed_status read_file(struct replay *replay, struct framed_bytes file, struct framed_bytes program)
{
    size_t step = 0;
    while (file.len > 0) {
        size_t n = piece_of(program, &step, file.len);
        uint8_t *piece = malloc(n > 0 ? n : 1);
        fuzz_must(piece != NULL, "there is memory for the harness");
        if (n > 0) memcpy(piece, file.at, n);
        enum framed_status st = framed_replay_bytes(replay, piece, n);
        fuzz_must(n == 0 || memcmp(piece, file.at, n) == 0, "the bytes of the file are not changed");
        memset(piece, 0xdd, n > 0 ? n : 1);
        free(piece);
        if (st != FRAMED_OK) return st;
        file.at += n;
        file.len -= n;
    }
    return framed_replay_end(replay);
}

static struct printed inspect_file(const struct inspect_config *asked, struct framed_bytes file, struct framed_bytes program,
                                   uint8_t fails_at, size_t sink_takes)
{
    static struct inspect_stats stats;
    static struct inspect inspect;
    struct meter meter;
    struct replay replay;
    struct inspect_config config = *asked;
    struct printed printed = {.text = {.most = sink_takes}};
    meter_init(&meter);
    meter_fail_at(&meter, fails_at, METER_ONCE);
    config.alloc = &meter.allocator;
    if (config.stats != NULL) {
        stats = (struct inspect_stats){0};
        config.stats = &stats;
    }
    framed_inspect_init(&inspect, &config, sink, &printed.text);
    framed_replay_init(&replay, &inspect);
    printed.status = read_file(&replay, file, program);
    framed_replay_fini(&replay);
    enum framed_status st = framed_inspect_finish(&inspect);
    printed.found = framed_inspect_found(&inspect);
    fuzz_must(st == framed_inspect_status(&inspect), "finish() says how the sink is");
    fuzz_must((st != FRAMED_OK) == printed.text.failed, "a failure of the sink is told");
    bool excused = printed.text.failed || (printed.status == FRAMED_NOMEM && meter_reached(&meter) > 0);
    fuzz_must(printed.status == FRAMED_OK || excused, "a file can be read, whatever is in it");
    fuzz_must(meter_read(&meter).peak <= SLACK + 64 * file.len, "memory follows what was read");
    meter_fini(&meter);
    return printed;
}

/* ---- the record alone ---- */

static void record_holds(struct framed_bytes file, struct framed_bytes program)
{
    struct meter meter;
    struct record_reader r;
    struct record_entry entry;
    uint8_t *again = malloc(RECORD_HEAD + RECORD_MOST), *copy = malloc(file.len > 0 ? file.len : 1);
    size_t step = 0, at = 0;
    enum framed_status st = FRAMED_MORE;
    fuzz_must(again != NULL && copy != NULL, "there is memory for the harness");
    if (file.len > 0) memcpy(copy, file.at, file.len);
    meter_init(&meter);
    framed_record_init(&r, &meter.allocator);
    while (at < file.len && st == FRAMED_MORE) {
        size_t n = piece_of(program, &step, file.len - at);
        fuzz_must(framed_record_feed(&r, copy + at, n) == FRAMED_OK, "a piece can be fed");
        at += n;
        while ((st = framed_record_next(&r, &entry)) == FRAMED_OK) {
            uint64_t off = framed_record_off(&r);
            size_t size = framed_record_size(&entry);
            fuzz_must(off <= file.len && size <= file.len - off && size <= RECORD_HEAD + RECORD_MOST, "an entry fits");
            fuzz_must(framed_record_write(again, &entry) == size, "an entry is as long as size() says");
            fuzz_must(memcmp(again, file.at + off, size) == 0, "an entry is written as it was read");
        }
    }
    if (st == FRAMED_MORE) st = framed_record_end(&r);
    fuzz_must(st == FRAMED_CLOSED || st == FRAMED_MALFORMED || st == FRAMED_TRUNCATED, "a record ends, or is damaged");
    fuzz_must((st == FRAMED_CLOSED) == (framed_record_fault(&r)[0] == '\0'), "what is damaged says so");
    fuzz_must(framed_record_next(&r, &entry) == st || st == FRAMED_CLOSED, "a failure stays");
    framed_record_fini(&r);
    meter_fini(&meter);
    free(again);
    free(copy);
}

static struct framed_bytes with_magic(struct framed_bytes file)
{
    uint8_t *at = malloc(RECORD_MAGIC_SIZE + file.len);
    fuzz_must(at != NULL, "there is memory for the harness");
    memcpy(at, framed_record_magic, RECORD_MAGIC_SIZE);
    if (file.len > 0) memcpy(at + RECORD_MAGIC_SIZE, file.at, file.len);
    return framed_bytes_of(at, RECORD_MAGIC_SIZE + file.len);
}

int framed_fuzz_inspect(const uint8_t *at, size_t n)
{
    static const uint32_t dumps[] = {0, 1, 16, 17, 64, 5000};
    static struct inspect_stats any;
    struct framed_bytes in = framed_bytes_of(at, n);
    unsigned setup = fuzz_byte(&in);
    struct inspect_config config = {.json = setup & SETUP_JSON, .hex = setup & SETUP_HEX};
    config.hex_bytes = fuzz_choice(&in, dumps, sizeof dumps / sizeof *dumps);
    config.max_frame = fuzz_word(&in);
    if (setup & SETUP_STATS) config.stats = &any;
    uint8_t fails_at = fuzz_byte(&in), sink_takes = fuzz_byte(&in);
    struct framed_bytes program = fuzz_program(&in);
    struct framed_bytes file = setup & SETUP_RECORD ? with_magic(in) : in;

    struct printed whole = inspect_file(&config, file, (struct framed_bytes){0}, 0, SIZE_MAX);
    text_holds(&whole.text);
    if (setup & SETUP_JSON) (void)json_holds(&whole.text);
    if (!is_record(file)) frames_hold(&whole, file, setup, config.max_frame);
    struct printed pieces = inspect_file(&config, file, program, setup & SETUP_NO_MEMORY ? fails_at : 0,
                                         setup & SETUP_SINK_FAILS ? (size_t)sink_takes * 16 : SIZE_MAX);
    if (!(setup & (SETUP_NO_MEMORY | SETUP_SINK_FAILS)))
        fuzz_must(
            fuzz_same(framed_bytes_of(whole.text.at, whole.text.len), framed_bytes_of(pieces.text.at, pieces.text.len)) &&
                whole.found == pieces.found,
            "the same file gives the same text in any pieces");
    if (!(setup & SETUP_SINK_FAILS)) text_holds(&pieces.text);
    record_holds(file, program);
    free(whole.text.at);
    free(pieces.text.at);
    if (setup & SETUP_RECORD) free((void *)(uintptr_t)file.at);
    return 0;
}
