/*
 * test_channel_noise_answers.c: whole encrypted connections (channel_noise.h) against known answers, vectors/encrypted.txt and the
 * example of PROTOCOL.md §9, which another implementation made: as either end, the other being the file.
 * Must not know how a handshake or a record is computed.
 * Invariant: a case that passes fails when any digit of any of its values is another.
 */
#include "channel_noise.h"
#include "meddle.h"
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEY = NOISE_KEY_SIZE, LEN = FRAMED_LENGTH_SIZE, BYTES = 256, CASES = 16, THEN = 12, FIELDS = 9 };

#define NEED(truth)                                                                                                         \
    if (!(truth)) return "not so: " #truth

struct bytes {
    uint8_t at[BYTES];
    size_t len;
};

/* What is sent behind the flights. */
struct sent {
    unsigned from; /* enum framed_side */
    bool is_message;
    enum record_type type;
    struct bytes body, frame;
};

struct flight {
    struct bytes preface, hello, message;
};

struct a_case {
    char name[64];
    struct bytes mode, psk, secret[2], ephemeral[2], hash;
    struct flight flight[2];
    struct sent then[THEN];
    size_t count;
};

static struct a_case cases[CASES];
static size_t case_count;

/* ---- reading the file ---- */

_Noreturn static void bad(const char *why, const char *what)
{
    fail_msg("encrypted.txt: %s: %.80s", why, what);
    abort();
}

static struct bytes bytes_of(const char *text)
{
    static const char digits[] = "0123456789abcdef";
    struct bytes out = {.len = 0};
    if (text == NULL) bad("too few tokens", "");
    if (strcmp(text, "-") == 0) return out;
    for (; text[0] != '\0'; text += 2) {
        const char *high = strchr(digits, text[0]), *low = text[1] != '\0' ? strchr(digits, text[1]) : NULL;
        if (high == NULL || low == NULL || out.len == BYTES) bad("not bytes", text);
        out.at[out.len++] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return out;
}

static void read_sent(struct sent *s, char *token)
{
    static const char *const types[] = {"data", "close", "pad"};
    char *rest = strchr(token, ':'), *last = strrchr(token, ':');
    if ((*token != '>' && *token != '<') || rest == NULL) bad("neither > nor <", token);
    s->from = *token == '>' ? FRAMED_CONNECTOR : FRAMED_ACCEPTOR;
    *rest++ = '\0';
    *last++ = '\0';
    s->is_message = strcmp(token + 1, "message") == 0;
    s->frame = bytes_of(last);
    if (s->is_message) return;
    unsigned type = 0;
    while (type < 3 && strcmp(types[type], token + 1) != 0) type++;
    if (type == 3) bad("no such type", token);
    s->type = (enum record_type)type;
    s->body = bytes_of(rest);
}

static void read_case(struct a_case *c, char *line)
{
    char *field[FIELDS], *end = line;
    for (size_t i = 0; i < FIELDS; i++) {
        if (end == NULL) bad("too few fields", line);
        field[i] = end;
        end = strchr(end, '|');
        if (end != NULL) *end++ = '\0';
    }
    if (end != NULL) bad("too many fields", line);
    snprintf(c->name, sizeof c->name, "%s", strtok(field[0], " \n"));
    c->mode = bytes_of(strtok(field[1], " \n"));
    c->psk = bytes_of(strtok(field[2], " \n"));
    c->hash = bytes_of(strtok(field[5], " \n"));
    for (unsigned side = 0; side < 2; side++) {
        c->secret[side] = bytes_of(strtok(field[3 + side], " \n"));
        c->ephemeral[side] = bytes_of(strtok(NULL, " \n"));
        c->flight[side].preface = bytes_of(strtok(field[6 + side], " \n"));
        c->flight[side].hello = bytes_of(strtok(NULL, " \n"));
        c->flight[side].message = bytes_of(strtok(NULL, " \n"));
    }
    for (char *token = strtok(field[8], " \n"); token != NULL; token = strtok(NULL, " \n")) {
        if (c->count == THEN) bad("too much is sent", c->name);
        read_sent(&c->then[c->count++], token);
    }
}

static void another(char *text)
{
    if (case_count == CASES) bad("too many cases", text);
    read_case(&cases[case_count++], text);
}

/* The example of the protocol, whose lines are broken, is the last case. */
static void load_example(void)
{
    static char text[4096], line[512];
    bool inside = false;
    FILE *file = fopen(FRAMED_VECTORS "/../PROTOCOL.md", "r");
    if (file == NULL) bad("PROTOCOL.md cannot be opened", "");
    while (fgets(line, sizeof line, file) != NULL) {
        if (inside && strcmp(line, "```\n") == 0) break;
        if (inside && strlen(text) + strlen(line) < sizeof text) strcat(text, line);
        inside = inside || strcmp(line, "```encrypted\n") == 0;
    }
    fclose(file);
    another(text);
}

static int load(void **state)
{
    (void)state;
    static char line[8192];
    FILE *file = fopen(FRAMED_VECTORS "/encrypted.txt", "r");
    if (file == NULL) bad("cannot be opened (tests run from the root of the repository)", "");
    while (fgets(line, sizeof line, file) != NULL)
        if (line[0] != '#' && line[0] != '\n') another(line);
    fclose(file);
    load_example();
    return framed_noise_start() == FRAMED_OK ? 0 : -1;
}

/* ---- playing one end ---- */

static bool same(const void *at, size_t n, const struct bytes *wanted)
{
    return n == wanted->len && memcmp(at, wanted->at, n) == 0;
}

static struct framed_bytes view_of(const struct bytes *b)
{
    return framed_bytes_of(b->at, b->len);
}

/* The connector's preface and HELLO frame, as an acceptor of that mode reads them. */
static const char *answer_opening(const struct a_case *c, struct bytes *opening)
{
    struct framed_accept accept = {0};
    struct framed_opening o;
    const struct flight *f = &c->flight[0];
    NEED(f->preface.len + f->hello.len <= BYTES);
    memcpy(opening->at, f->preface.at, f->preface.len);
    memcpy(opening->at + f->preface.len, f->hello.at, f->hello.len);
    opening->len = f->preface.len + f->hello.len;
    struct framed_bytes in = view_of(opening);
    NEED(framed_accept_add(&accept, c->mode.at[0]) == FRAMED_OK);
    NEED(framed_opening_accept(&o, &accept) == FRAMED_OK);
    NEED(framed_opening_next(&o, &in) == FRAMED_OK && in.len == 0);
    NEED(framed_opening_connect(&o, c->mode.at[0]) == FRAMED_OK);
    in = view_of(&c->flight[1].preface);
    NEED(framed_opening_next(&o, &in) == FRAMED_OK && in.len == 0);
    return NULL;
}

static const char *answer_message(struct framed_handshake *hs, bool ours, const struct bytes *frame)
{
    uint8_t at[FRAMED_HANDSHAKE_MOST];
    size_t n = 0;
    struct framed_bytes in = view_of(frame);
    if (ours) {
        NEED(framed_handshake_say(hs, at, &n) == FRAMED_OK);
        NEED(same(at, n, frame));
    } else {
        NEED(framed_handshake_next(hs, &in) == FRAMED_OK);
        NEED(in.len == 0);
    }
    return NULL;
}

static const char *answer_record(struct framed_records *out, struct framed_records *in, bool ours, const struct sent *s)
{
    uint8_t at[BYTES + RECORD_HEAD + RECORD_TAIL];
    enum record_type type;
    struct framed_bytes body;
    if (ours) {
        memcpy(at + RECORD_HEAD, s->body.at, s->body.len);
        NEED(framed_record_seal(out, s->type, at, s->body.len) == FRAMED_OK);
        NEED(same(at, RECORD_HEAD + s->body.len + RECORD_TAIL, &s->frame));
    } else {
        NEED(s->frame.len >= LEN && s->frame.at[3] == s->frame.len - LEN &&
             (s->frame.at[0] | s->frame.at[1] | s->frame.at[2]) == 0);
        memcpy(at, s->frame.at, s->frame.len);
        NEED(framed_record_open(in, at + LEN, s->frame.len - LEN, &type, &body) == FRAMED_OK);
        NEED(type == s->type && same(body.at, body.len, &s->body));
    }
    return NULL;
}

static const char *answer_then(const struct a_case *c, unsigned side, struct framed_handshake *hs)
{
    struct framed_records out, in;
    uint8_t hash[KEY];
    bool split = false;
    for (size_t i = 0; i < c->count; i++) {
        const struct sent *s = &c->then[i];
        const char *wrong;
        if (s->is_message) {
            wrong = answer_message(hs, s->from == side, &s->frame);
            if (wrong != NULL) return wrong;
            continue;
        }
        if (!split) {
            NEED(framed_handshake_split(hs, &out, &in, hash) == FRAMED_OK);
            NEED(same(hash, KEY, &c->hash));
            split = true;
        }
        wrong = answer_record(&out, &in, s->from == side, s);
        if (wrong != NULL) return wrong;
    }
    NEED(split && out.closed && in.closed);
    return NULL;
}

static const char *answer(const struct a_case *c, unsigned side)
{
    struct framed_noise_keypair own, peer;
    struct framed_handshake hs;
    struct framed_hello hello;
    struct framed_fault fault;
    struct bytes opening;
    NEED(c->mode.len == 1 && c->ephemeral[side].len == KEY && (c->psk.len == 0 || c->psk.len == KEY));
    bool has_static = c->secret[0].len > 0;
    if (has_static) NEED(framed_noise_keypair(&own, c->secret[side].at) == FRAMED_OK);
    if (has_static) NEED(framed_noise_keypair(&peer, c->secret[!side].at) == FRAMED_OK);
    const char *wrong = answer_opening(c, &opening);
    if (wrong != NULL) return wrong;
    NEED(framed_hello_decode(view_of(&c->flight[1].hello), FRAMED_ACCEPTOR, c->mode.at[0], &hello, &fault) == FRAMED_OK);
    struct framed_handshake_config config = {.mode = c->mode.at[0],
                                             .side = (enum framed_side)side,
                                             .opening = view_of(&opening),
                                             .ephemeral = c->ephemeral[side].at,
                                             .psk = c->psk.len > 0 ? c->psk.at : NULL,
                                             .identity = has_static ? &own : NULL,
                                             .hello = side == FRAMED_ACCEPTOR ? &hello : NULL};
    NEED(framed_handshake_init(&hs, &config) == FRAMED_OK);
    for (unsigned i = 0; i < 2; i++) {
        wrong = answer_message(&hs, side == i, &c->flight[i].message);
        if (wrong != NULL) return wrong;
    }
    if (side == FRAMED_CONNECTOR) {
        struct framed_hello heard = framed_handshake_hello(&hs);
        NEED(heard.max_frame == hello.max_frame && heard.max_calls == hello.max_calls);
        NEED(heard.window == hello.window && heard.max_message == hello.max_message);
    }
    wrong = answer_then(c, side, &hs);
    if (wrong != NULL) return wrong;
    NEED((framed_handshake_peer_key(&hs) != NULL) == has_static);
    NEED(!has_static || memcmp(framed_handshake_peer_key(&hs), peer.public, KEY) == 0);
    return NULL;
}

/* ---- the tests ---- */

static void connection_says_what_another_implementation_says(void **state)
{
    (void)state;
    unsigned modes = 0;
    for (size_t i = 0; i < case_count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            const char *wrong = answer(&cases[i], side);
            if (wrong != NULL) fail_msg("%s, the %s: %s", cases[i].name, side == 0 ? "connector" : "acceptor", wrong);
        }
        modes |= 1u << ((unsigned)(cases[i].mode.at[0] >> 4) - 8) * 2 << (cases[i].mode.at[0] & 1);
    }
    assert_int_equal(modes, 0x3f); /* all six */
}

/* In the middle: both ends of a secret key have bits that do not count. */
static unsigned assert_digit_counts(const struct a_case *c, struct bytes *in)
{
    if (in->len == 0) return 0;
    in->at[in->len / 2] ^= 0x20;
    if (answer(c, 0) == NULL && answer(c, 1) == NULL) fail_msg("%s: holds with another digit", c->name);
    in->at[in->len / 2] ^= 0x20;
    return 1;
}

static void answer_does_not_hold_with_another_digit(void **state)
{
    (void)state;
    unsigned changes = 0;
    for (size_t i = 0; i < case_count; i++) {
        struct a_case *c = &cases[i];
        struct bytes *fields[] = {&c->mode, &c->psk, &c->hash};
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) changes += assert_digit_counts(c, fields[f]);
        for (unsigned side = 0; side < 2; side++) {
            struct flight *f = &c->flight[side];
            changes += assert_digit_counts(c, &c->secret[side]) + assert_digit_counts(c, &c->ephemeral[side]);
            changes += assert_digit_counts(c, &f->preface) + assert_digit_counts(c, &f->hello);
            changes += assert_digit_counts(c, &f->message);
        }
        for (size_t k = 0; k < c->count; k++)
            changes += assert_digit_counts(c, &c->then[k].body) + assert_digit_counts(c, &c->then[k].frame);
        assert_null(answer(c, 0));
    }
    assert_true(changes > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        NOISE_TEST(connection_says_what_another_implementation_says),
        NOISE_TEST(answer_does_not_hold_with_another_digit),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
