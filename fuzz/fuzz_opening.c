/*
 * fuzz_opening.c: how an extended connection begins: what is read of it, and what is written.
 * Must not know what the parameters are called, nor which fault is which.
 * Invariants: any split gives the same verdict, uses up the same bytes and tells the same fault; what was read can be written
 * again, and written means the same; every piece is a block of its own, exactly as long as it is.
 *
 * Input: setup (SETUP_*); for a connector which mode, for an acceptor which modes (2 bytes, a bit each); the program: the lengths
 * of the pieces, over and over; the stream.
 */
#include "fuzz.h"
#include <framed/secure.h>
#include <stdlib.h>
#include <string.h>

enum setup {
    SETUP_CONNECTOR = 1, /* who reads */
    SETUP_PLAIN = 2,     /* accepted, too */
    SETUP_WRITE = 4      /* the stream is not read: its bytes are what a HELLO says */
};

static const uint8_t modes[] = FUZZ_MODES;
enum { MODES = sizeof modes };

struct reading {
    bool connector, plain;
    uint16_t chosen; /* a bit for each of `modes`; of the connector the lowest */
};

/* Which of `modes` that is; the last if none is chosen. */
static size_t lowest_of(uint16_t chosen)
{
    size_t i = 0;
    while (i + 1 < MODES && (chosen >> i & 1) == 0) i++;
    return i;
}

static void begin(struct framed_opening *o, const struct reading *how)
{
    struct framed_accept accepts = {.plain = how->plain};
    enum framed_status st = FRAMED_OK;
    memset(o, 0xcc, sizeof *o);
    if (how->connector) {
        fuzz_must(framed_opening_connect(o, modes[lowest_of(how->chosen)]) == FRAMED_OK,
                  "a mode that exists can be asked for");
        return;
    }
    for (size_t i = 0; i < MODES && st == FRAMED_OK; i++)
        if (how->chosen >> i & 1) st = framed_accept_add(&accepts, modes[i]);
    if (st == FRAMED_OK) st = framed_opening_accept(o, &accepts);
    fuzz_must(st == FRAMED_OK, "what exists and is built can be accepted");
}

/* What became of a stream. */
struct verdict {
    enum framed_status status, end;
    size_t used;
    struct framed_opening o;
};

static void read_stream(struct verdict *v, const struct reading *how, struct framed_bytes stream,
                        struct framed_bytes program)
{
    begin(&v->o, how);
    v->status = FRAMED_MORE;
    v->used = 0;
    for (size_t steps = 0; v->status == FRAMED_MORE && v->used < stream.len; steps++) {
        size_t n = stream.len - v->used;
        if (program.len > 0 && steps < 2 * stream.len + 16) {
            size_t asked = fuzz_length(program.at[steps % program.len]);
            if (asked < n) n = asked;
        }
        uint8_t *piece = malloc(n > 0 ? n : 1);
        fuzz_must(piece != NULL, "there is memory for the harness");
        if (n > 0) memcpy(piece, stream.at + v->used, n);
        struct framed_bytes in = framed_bytes_of(piece, n);
        v->status = framed_opening_next(&v->o, &in);
        fuzz_must(in.at + in.len == piece + n, "it takes bytes off the front");
        fuzz_must(v->status != FRAMED_MORE || in.len == 0, "MORE means that all is used up");
        v->used += n - in.len;
        free(piece);
    }
    v->end = framed_opening_end(&v->o);
    fuzz_must(framed_opening_end(&v->o) == v->end, "the end stays what it is");
}

static bool same_hello(const struct framed_hello *a, const struct framed_hello *b)
{
    return a->max_frame == b->max_frame && a->max_calls == b->max_calls && a->window == b->window &&
           a->max_message == b->max_message && fuzz_same(a->key_id, b->key_id);
}

static bool same_fault(const struct framed_fault *a, const struct framed_fault *b)
{
    return a->what == b->what && a->at == b->at && a->key == b->key && a->found == b->found && a->least == b->least &&
           a->most == b->most;
}

static void fault_is_told(const struct framed_fault *fault, size_t used)
{
    char text[FRAMED_FAULT_ROOM], cut[40];
    fuzz_must(fault->what != FRAMED_FAULT_NONE, "a failure has a fault");
    fuzz_must(fault->at <= used, "the fault lies in what was read, or right behind it");
    framed_fault_say(fault, text, sizeof text);
    framed_fault_say(fault, cut, sizeof cut);
    fuzz_must(strlen(text) < sizeof text - 1, "what is said fits");
    fuzz_must(strlen(cut) < sizeof cut && strncmp(text, cut, strlen(cut)) == 0, "what is cut is the same, only shorter");
}

static void same_verdict(const struct verdict *a, const struct verdict *b)
{
    fuzz_must(a->status == b->status && a->end == b->end, "any split gives the same verdict");
    fuzz_must(a->used == b->used, "any split uses up the same bytes");
    if (a->end < FRAMED_OK)
        fuzz_must(same_fault(framed_opening_fault(&a->o), framed_opening_fault(&b->o)), "any split tells the same fault");
    if (a->status != FRAMED_OK) return;
    fuzz_must(a->o.mode == b->o.mode && a->o.plain == b->o.plain, "any split opens in the same mode");
    fuzz_must(framed_opening_has_hello(&a->o) == framed_opening_has_hello(&b->o), "any split has the HELLO");
    if (!framed_opening_has_hello(&a->o)) return;
    struct framed_hello one = framed_opening_hello(&a->o), two = framed_opening_hello(&b->o);
    fuzz_must(same_hello(&one, &two), "any split gives the same HELLO");
}

/* What was read, written, means the same to the same reader. */
static void writes_again(const struct verdict *v, const struct reading *how, struct framed_bytes program)
{
    uint8_t to[FRAMED_OPENING_MOST];
    size_t n = 0;
    struct framed_hello hello = framed_opening_hello(&v->o), again;
    struct framed_fault fault;
    struct verdict second;
    enum framed_side from = how->connector ? FRAMED_ACCEPTOR : FRAMED_CONNECTOR;
    fuzz_must(framed_opening_encode(to, &n, from, v->o.mode, &hello, &fault) == FRAMED_OK, "what was read can be written");
    fuzz_must(n <= sizeof to && n <= v->used, "it is written no longer than it was");
    read_stream(&second, how, framed_bytes_of(to, n), program);
    fuzz_must(second.status == FRAMED_OK && second.used == n && second.o.mode == v->o.mode, "what is written opens");
    again = framed_opening_hello(&second.o);
    fuzz_must(same_hello(&hello, &again), "what is written is what was read");
}

static void read_all(const struct reading *how, struct framed_bytes stream, struct framed_bytes program)
{
    static const uint8_t one = 1;
    struct verdict whole, bytes, pieces;
    read_stream(&whole, how, stream, (struct framed_bytes){0});
    read_stream(&bytes, how, stream, framed_bytes_of(&one, 1));
    read_stream(&pieces, how, stream, program);
    same_verdict(&whole, &bytes);
    same_verdict(&whole, &pieces);
    if (whole.end < FRAMED_OK) fault_is_told(framed_opening_fault(&whole.o), whole.used);
    if (whole.o.plain) fuzz_must(whole.used == 0, "nothing of a plain connection is used up");
    if (framed_opening_has_hello(&whole.o)) writes_again(&whole, how, program);
}

/* A HELLO that says anything: what may be written, reads as it was meant. */
static void write_any(const struct reading *how, struct framed_bytes in, struct framed_bytes program)
{
    struct framed_hello hello = {
        .max_frame = fuzz_word(&in), .max_calls = fuzz_word(&in), .window = fuzz_word(&in), .max_message = fuzz_word(&in)};
    struct framed_fault fault = {0};
    uint8_t to[FRAMED_OPENING_MOST];
    size_t n = 0, i = lowest_of(how->chosen);
    enum framed_side from = how->connector ? FRAMED_ACCEPTOR : FRAMED_CONNECTOR;
    hello.key_id = in;
    enum framed_status st = framed_opening_encode(to, &n, from, modes[i], &hello, &fault);
    if (st != FRAMED_OK) {
        fuzz_must(st == FRAMED_USAGE && n == 0, "what may not be sent is refused");
        fault_is_told(&fault, 0);
        return;
    }
    struct verdict v;
    read_stream(&v, &(struct reading){.connector = how->connector, .chosen = (uint16_t)(1u << i)}, framed_bytes_of(to, n),
                program);
    fuzz_must(v.status == FRAMED_OK && v.used == n && v.o.mode == modes[i], "what is written opens");
    if (!framed_opening_has_hello(&v.o)) return;
    struct framed_hello read = framed_opening_hello(&v.o);
    fuzz_must(hello.max_frame == 0 || hello.max_frame == read.max_frame, "a number is read as it was written");
    fuzz_must(hello.max_calls == 0 || hello.max_calls == read.max_calls, "a number is read as it was written");
    fuzz_must(hello.window == 0 || hello.window == read.window, "a number is read as it was written");
    fuzz_must(hello.max_message == 0 || hello.max_message == read.max_message, "a number is read as it was written");
    fuzz_must(fuzz_same(hello.key_id, read.key_id), "a key id is read as it was written");
}

int framed_fuzz_opening(const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    uint8_t setup = fuzz_byte(&in), high = fuzz_byte(&in);
    struct reading how = {.connector = (setup & SETUP_CONNECTOR) != 0,
                          .plain = (setup & SETUP_PLAIN) != 0,
                          .chosen = (uint16_t)(high << 8 | fuzz_byte(&in))};
    struct framed_bytes program = fuzz_program(&in);
    if (setup & SETUP_WRITE)
        write_any(&how, in, program);
    else
        read_all(&how, in, program);
    return 0;
}
