/*
 * vectors.c: a reader of the case files, written from their heads alone.
 * Must not know how the library parses anything.
 * Invariant: a line that is not understood fails the test; none is skipped but comments and empty ones.
 */
#include "vectors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FIELDS = 4, MAX_BYTES = 64 << 20 };

struct lines {
    FILE *file;
    const char *path;
    const char *fence;   /* NULL: every line counts */
    const char *heading; /* NULL, or: the rows of tables below it, but their own heads */
    bool inside;         /* between the fences, or below the heading */
    char *line;
    unsigned number;
    char *fields[FIELDS];
};

_Noreturn static void bad_line(const struct lines *in, const char *why)
{
    fail_msg("%s:%u: %s", in->path, in->number, why);
    abort();
}

static void lines_open(struct lines *in, const char *path)
{
    *in = (struct lines){.path = path, .file = fopen(path, "r")};
    if (in->file == NULL) fail_msg("%s cannot be opened (tests run from the root of the repository)", path);
}

static void lines_close(struct lines *in, size_t cases)
{
    if (ferror(in->file)) bad_line(in, "read error");
    fclose(in->file);
    free(in->line);
    if (cases == 0) fail_msg("%s has no case", in->path);
}

static void *grow(void *at, size_t n, size_t size)
{
    if ((n & (n - 1)) != 0) return at; /* room was made up to the next power of two */
    void *more = realloc(at, (n == 0 ? 1 : 2 * n) * size);
    if (more == NULL) abort();
    return more;
}

static bool get_line(struct lines *in)
{
    size_t n = 0;
    for (int c = getc(in->file); c != EOF && c != '\n'; c = getc(in->file)) {
        in->line = grow(in->line, n, 1);
        in->line[n++] = (char)c;
    }
    if (n == 0 && feof(in->file)) return false;
    in->line = grow(in->line, n, 1);
    in->line[n] = '\0';
    in->number++;
    return true;
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1]) != NULL) text[--n] = '\0';
    return text;
}

/* Whether this line is a row that says who sends something. Its outer bars go, and four fields are left. */
static bool is_row(struct lines *in)
{
    size_t n = strlen(in->line);
    if (in->line[0] == '#') in->inside = strcmp(in->line, in->heading) == 0;
    if (!in->inside || strncmp(in->line, "| the ", 6) != 0) return false;
    if (in->line[n - 1] != '|') bad_line(in, "a row ends with its bar");
    in->line[0] = in->line[n - 1] = ' ';
    return true;
}

/* Whether this line is a case, and not a fence, nor outside of one. */
static bool counts(struct lines *in)
{
    if (in->heading != NULL) return is_row(in);
    if (in->line[strspn(in->line, " \t\r")] == '\0' || in->line[0] == '#') return false;
    if (in->fence == NULL) return true;
    if (strncmp(in->line, "```", 3) != 0) return in->inside;
    in->inside = !in->inside && strcmp(in->line + 3, in->fence) == 0;
    return false;
}

/* The next line that says something, cut at its bars. */
static bool lines_next(struct lines *in)
{
    do {
        if (!get_line(in)) return false;
    } while (!counts(in));
    size_t n = 0;
    char *rest = in->line;
    while (rest != NULL) {
        char *bar = strchr(rest, '|');
        if (bar != NULL) *bar++ = '\0';
        if (n == FIELDS) bad_line(in, "too many fields");
        in->fields[n++] = trim(rest);
        rest = bar;
    }
    if (n != FIELDS) bad_line(in, "a case has four fields");
    return true;
}

static uint32_t number_of(const struct lines *in, const char *text)
{
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || n > UINT32_MAX) bad_line(in, "not a number");
    return (uint32_t)n;
}

static unsigned digit_of(const struct lines *in, char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    if (at == NULL) bad_line(in, "not a hex digit");
    return (unsigned)(at - digits);
}

struct bytes {
    uint8_t *at;
    size_t len;
};

static void add_byte(struct bytes *out, uint8_t byte)
{
    out->at = grow(out->at, out->len, 1);
    out->at[out->len++] = byte;
}

/* A BYTES token: "-", "0a0b", or "0a0b*300": those bytes so many times over. */
static void add_bytes(const struct lines *in, struct bytes *out, const char *token)
{
    if (strcmp(token, "-") == 0) return;
    size_t from = out->len;
    for (; *token != '\0' && *token != '*'; token += 2)
        add_byte(out, (uint8_t)(digit_of(in, token[0]) << 4 | digit_of(in, token[1])));
    size_t once = out->len - from;
    if (*token != '*') return;
    uint32_t times = number_of(in, token + 1);
    if (times == 0 || times * once > MAX_BYTES) bad_line(in, "so many times is a mistake");
    for (size_t i = once; i < times * once; i++) add_byte(out, out->at[from + i - once]);
}

static void parse_input(const struct lines *in, uint8_t **input, size_t *len, char *text)
{
    struct bytes out = {0};
    for (char *token = strtok(text, " \t"); token != NULL; token = strtok(NULL, " \t")) add_bytes(in, &out, token);
    *input = grow(out.at, out.len, 1); /* never NULL: pieces of it are pointed at */
    *len = out.len;
}

static bool parse_end(enum framed_status *end, const char *token)
{
    static const struct {
        const char *word;
        enum framed_status ends;
    } ends[] = {{"closed", FRAMED_CLOSED}, {"truncated", FRAMED_TRUNCATED}, {"too-large", FRAMED_TOO_LARGE}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (strcmp(ends[i].word, token) != 0) continue;
        *end = ends[i].ends;
        return true;
    }
    return false;
}

static void parse_expected(const struct lines *in, struct vector *v, char *text)
{
    bool ended = false;
    for (char *token = strtok(text, " \t"); token != NULL; token = strtok(NULL, " \t")) {
        if (ended) bad_line(in, "something follows the last word");
        ended = parse_end(&v->ends, token);
        if (ended) continue;
        struct bytes out = {0};
        add_bytes(in, &out, token);
        v->frames = grow(v->frames, v->frame_count, sizeof *v->frames);
        v->frames[v->frame_count++] = framed_bytes_of(out.at, out.len);
    }
    if (!ended) bad_line(in, "the last word must be closed, truncated or too-large");
}

void vectors_load(struct vectors *vectors, const char *path)
{
    struct lines in;
    lines_open(&in, path);
    *vectors = (struct vectors){0};
    while (lines_next(&in)) {
        struct vector v = {.max_frame = number_of(&in, in.fields[1])};
        snprintf(v.name, sizeof v.name, "%s", in.fields[0]);
        parse_input(&in, &v.input, &v.input_len, in.fields[2]);
        parse_expected(&in, &v, in.fields[3]);
        vectors->at = grow(vectors->at, vectors->n, sizeof *vectors->at);
        vectors->at[vectors->n++] = v;
    }
    lines_close(&in, vectors->n);
}

void vectors_free(struct vectors *vectors)
{
    for (size_t i = 0; i < vectors->n; i++) {
        struct vector *v = &vectors->at[i];
        for (size_t j = 0; j < v->frame_count; j++) free((void *)(uintptr_t)v->frames[j].at);
        free(v->frames);
        free(v->input);
    }
    free(vectors->at);
}

void word_cases_load(struct word_cases *cases, const char *path)
{
    struct lines in;
    lines_open(&in, path);
    *cases = (struct word_cases){0};
    while (lines_next(&in)) {
        struct word_case c = {.max_frame = number_of(&in, in.fields[1])};
        struct bytes word = {0};
        add_bytes(&in, &word, in.fields[0]);
        if (word.len != sizeof c.word) bad_line(&in, "a word is four bytes");
        memcpy(c.word, word.at, sizeof c.word);
        free(word.at);
        c.is_legal = strncmp(in.fields[2], "length ", 7) == 0;
        if (c.is_legal)
            c.len = number_of(&in, trim(in.fields[2] + 7));
        else if (strcmp(in.fields[2], "too-large") != 0)
            bad_line(&in, "a word is a length or too-large");
        if (strcmp(in.fields[3], "-") != 0) snprintf(c.hint, sizeof c.hint, "%s", in.fields[3]);
        cases->at = grow(cases->at, cases->n, sizeof *cases->at);
        cases->at[cases->n++] = c;
    }
    lines_close(&in, cases->n);
}

void word_cases_free(struct word_cases *cases)
{
    free(cases->at);
}

static uint8_t mode_of(const struct lines *in, const char *token)
{
    if (strlen(token) != 2) bad_line(in, "a mode is two hex digits");
    return (uint8_t)(digit_of(in, token[0]) << 4 | digit_of(in, token[1]));
}

static void parse_who(const struct lines *in, struct opening_case *c, char *text)
{
    const char *who = strtok(text, " \t");
    if (who == NULL) bad_line(in, "who reads must be said");
    c->to_acceptor = strcmp(who, "acceptor") == 0;
    if (!c->to_acceptor && strcmp(who, "connector") != 0) bad_line(in, "who reads is the acceptor or the connector");
    for (char *token = strtok(NULL, " \t"); token != NULL; token = strtok(NULL, " \t")) {
        if (c->to_acceptor && strcmp(token, "plain") == 0) {
            c->plain = true;
        } else {
            if (c->mode_count == sizeof c->modes) bad_line(in, "too many modes");
            c->modes[c->mode_count++] = mode_of(in, token);
        }
    }
    if (!c->to_acceptor && c->mode_count != 1) bad_line(in, "a connector asks for one mode");
}

/* NAME=VALUE of an open connection. */
static void parse_what(const struct lines *in, struct opening_case *c, char *token)
{
    char *value = strchr(token, '=');
    if (value == NULL) bad_line(in, "what a HELLO says is NAME=VALUE");
    *value++ = '\0';
    if (strcmp(token, "rest") == 0) {
        c->rest = number_of(in, value);
        return;
    }
    c->has_hello = true;
    if (strcmp(token, "key_id") == 0) {
        struct bytes id = {0};
        add_bytes(in, &id, value);
        c->key_id = grow(id.at, id.len, 1);
        c->key_id_len = id.len;
        return;
    }
    struct {
        const char *name;
        uint32_t *number;
    } names[] = {{"max_frame", &c->max_frame},
                 {"max_calls", &c->max_calls},
                 {"window", &c->window},
                 {"max_message", &c->max_message}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(token, names[i].name) != 0) continue;
        *names[i].number = number_of(in, value);
        return;
    }
    bad_line(in, "a HELLO has no such parameter");
}

static void parse_fault(const struct lines *in, struct opening_case *c, char *text)
{
    const char *fault = strtok(text, " \t"), *at = strtok(NULL, " \t");
    if (fault == NULL || at == NULL || strtok(NULL, " \t") != NULL) bad_line(in, "a failure is its word, FAULT and AT");
    snprintf(c->fault, sizeof c->fault, "%s", fault);
    c->at = number_of(in, at);
}

static void parse_opening(const struct lines *in, struct opening_case *c, char *text)
{
    size_t n = strcspn(text, " \t");
    char *rest = text + n + (text[n] != '\0');
    text[n] = '\0';
    if (strcmp(text, "plain") == 0) {
        c->opens_plain = true;
    } else if (strcmp(text, "open") == 0) {
        char *token = strtok(rest, " \t");
        if (token == NULL) bad_line(in, "an open connection has a mode");
        c->mode = mode_of(in, token);
        while ((token = strtok(NULL, " \t")) != NULL) parse_what(in, c, token);
        return;
    } else if (strcmp(text, "closed") == 0) {
        c->ends = FRAMED_CLOSED;
    } else if (strcmp(text, "malformed") == 0) {
        c->ends = FRAMED_MALFORMED;
        parse_fault(in, c, rest);
        return;
    } else {
        if (!parse_end(&c->ends, text)) bad_line(in, "what is expected is not understood");
        parse_fault(in, c, rest);
        return;
    }
    if (*rest != '\0') bad_line(in, "something follows the last word");
}

void opening_cases_load(struct opening_cases *cases, const char *path, const char *fence)
{
    struct lines in;
    lines_open(&in, path);
    in.fence = fence;
    *cases = (struct opening_cases){0};
    while (lines_next(&in)) {
        struct opening_case c = {.ends = FRAMED_OK};
        snprintf(c.name, sizeof c.name, "%s", in.fields[0]);
        parse_who(&in, &c, in.fields[1]);
        parse_input(&in, &c.input, &c.input_len, in.fields[2]);
        parse_opening(&in, &c, in.fields[3]);
        cases->at = grow(cases->at, cases->n, sizeof *cases->at);
        cases->at[cases->n++] = c;
    }
    lines_close(&in, cases->n);
}

void opening_cases_free(struct opening_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++) {
        free(cases->at[i].input);
        free(cases->at[i].key_id);
    }
    free(cases->at);
}

/* What stands between `these`. */
static char *unquoted(const struct lines *in, char *text)
{
    size_t n = strlen(text);
    if (n < 2 || text[0] != '`' || text[n - 1] != '`') bad_line(in, "not between `these`");
    text[n - 1] = '\0';
    return text + 1;
}

/* "7", or "2^32". */
static uint64_t counter_of(const struct lines *in, const char *text)
{
    if (strncmp(text, "2^", 2) != 0) return number_of(in, text);
    uint32_t power = number_of(in, text + 2);
    if (power > 63) bad_line(in, "no counter is as large");
    return (uint64_t)1 << power;
}

void sum_cases_load(struct sum_cases *cases, const char *path, const char *heading)
{
    struct lines in;
    lines_open(&in, path);
    in.heading = heading;
    *cases = (struct sum_cases){0};
    while (lines_next(&in)) {
        struct sum_case c = {.from_acceptor = strcmp(in.fields[0], "the acceptor") == 0,
                             .counter = counter_of(&in, in.fields[1])};
        if (!c.from_acceptor && strcmp(in.fields[0], "the connector") != 0)
            bad_line(&in, "it is from the connector or the acceptor");
        const char *payload = strcmp(in.fields[2], "none") != 0 ? unquoted(&in, in.fields[2]) : "";
        if (strlen(payload) >= sizeof c.payload) bad_line(&in, "too long a payload");
        strcpy(c.payload, payload);
        parse_input(&in, &c.frame, &c.frame_len, unquoted(&in, in.fields[3]));
        cases->at = grow(cases->at, cases->n, sizeof *cases->at);
        cases->at[cases->n++] = c;
    }
    lines_close(&in, cases->n);
}

void sum_cases_free(struct sum_cases *cases)
{
    for (size_t i = 0; i < cases->n; i++) free(cases->at[i].frame);
    free(cases->at);
}
