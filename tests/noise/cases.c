/*
 * cases.c: readers of files with known answers of Noise handshakes.
 * Must not know how the library makes them.
 * Invariant: a case of a pattern we have is read whole, or fails the test; a case of another pattern is counted.
 */
#include "cases.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct input {
    const char *path;
    struct noise_cases *cases;
    struct noise_case *now; /* the case being read; NULL: none, or one that we have not */
};

_Noreturn static void bad(const struct input *in, const char *why, const char *what)
{
    fail_msg("%s: %s: %.80s", in->path, why, what);
    abort();
}

size_t noise_handshake_messages(enum noise_pattern pattern)
{
    return pattern == NOISE_NNPSK0 ? 2 : 3;
}

static bool pattern_of(const char *name, enum noise_pattern *pattern)
{
    static const char *const names[] = {[NOISE_NNPSK0] = "NNpsk0", [NOISE_XX] = "XX", [NOISE_XXPSK0] = "XXpsk0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *pattern = (enum noise_pattern)i;
        return true;
    }
    return false;
}

static unsigned digit_of(const struct input *in, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = *text != '\0' ? strchr(digits, *text) : NULL;
    if (at == NULL) bad(in, "not hex digits", text);
    return (unsigned)(at - digits);
}

/* Hex digits; "-" and nothing are no bytes. */
static void read_bytes(const struct input *in, struct noise_bytes *out, const char *text)
{
    *out = (struct noise_bytes){0};
    if (strcmp(text, "-") == 0) return;
    for (; *text != '\0'; text += 2) {
        if (out->len == NOISE_CASE_BYTES) bad(in, "too many bytes", text);
        out->at[out->len++] = (uint8_t)(digit_of(in, text) << 4 | digit_of(in, text + 1));
    }
}

static void begin(struct input *in, const char *name, const char *pattern)
{
    enum noise_pattern p;
    in->now = NULL;
    if (!pattern_of(pattern, &p)) {
        in->cases->others++;
        return;
    }
    if (in->cases->n == NOISE_CASES_MOST) bad(in, "too many cases", name);
    in->now = &in->cases->at[in->cases->n++];
    *in->now = (struct noise_case){.pattern = p};
    snprintf(in->now->name, sizeof in->now->name, "%s", name);
}

static struct noise_message *add_message(struct input *in, enum noise_role from)
{
    if (in->now->count == NOISE_CASE_MESSAGES) bad(in, "too many messages", in->now->name);
    struct noise_message *m = &in->now->messages[in->now->count++];
    m->from = from;
    return m;
}

/* ---- noise.txt ---- */

static char *trim(char *text)
{
    text += strspn(text, " \r\n");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \r\n", text[n - 1]) != NULL) text[--n] = '\0';
    return text;
}

static void read_pair(struct input *in, char *text, enum noise_role role)
{
    char *ephemeral = strchr(text, ' ');
    if (ephemeral == NULL) bad(in, "an end has two keys", text);
    *ephemeral++ = '\0';
    read_bytes(in, &in->now->field[NOISE_STATIC + role], text);
    read_bytes(in, &in->now->field[NOISE_EPHEMERAL + role], ephemeral);
}

static void read_token(struct input *in, char *token)
{
    if (*token != '>' && *token != '<') bad(in, "neither > nor <", token);
    struct noise_message *m = add_message(in, *token == '>' ? NOISE_INITIATOR : NOISE_RESPONDER);
    m->rekey = strcmp(token + 1, "rekey") == 0;
    if (m->rekey) return;
    char *message = strchr(token, ':');
    if (message == NULL) bad(in, "PAYLOAD:MESSAGE", token);
    *message++ = '\0';
    read_bytes(in, &m->payload, token + 1);
    read_bytes(in, &m->message, message);
}

static void read_line(struct input *in, char *line)
{
    char *fields[8];
    size_t n = 0;
    for (char *rest = line; rest != NULL; n++) {
        char *bar = strchr(rest, '|');
        if (bar != NULL) *bar++ = '\0';
        if (n == 8) bad(in, "more than eight fields", line);
        fields[n] = trim(rest);
        rest = bar;
    }
    if (n != 8) bad(in, "not eight fields", line);
    begin(in, fields[0], fields[1]);
    if (in->now == NULL) bad(in, "no such pattern", fields[1]);
    read_bytes(in, &in->now->field[NOISE_PROLOGUE], fields[2]);
    read_bytes(in, &in->now->field[NOISE_PSK], fields[3]);
    read_pair(in, fields[4], NOISE_INITIATOR);
    read_pair(in, fields[5], NOISE_RESPONDER);
    read_bytes(in, &in->now->field[NOISE_HASH], fields[6]);
    for (char *token = strtok(fields[7], " "); token != NULL; token = strtok(NULL, " ")) read_token(in, token);
}

static void read_ours(struct input *in, char *text)
{
    for (char *next; *text != '\0'; text = next) {
        next = text + strcspn(text, "\n");
        if (*next == '\n') *next++ = '\0';
        text = trim(text);
        if (*text != '\0' && *text != '#') read_line(in, text);
    }
}

/* ---- what others publish: a key, then its value ---- */

static const struct {
    const char *key;
    unsigned field;
} keys[] = {
    {"init_prologue", NOISE_PROLOGUE},
    {"init_psks", NOISE_PSK},
    {"init_static", NOISE_STATIC},
    {"init_ephemeral", NOISE_EPHEMERAL},
    {"resp_static", NOISE_STATIC + NOISE_RESPONDER},
    {"resp_ephemeral", NOISE_EPHEMERAL + NOISE_RESPONDER},
    {"handshake_hash", NOISE_HASH},
    {"prologue", NOISE_PROLOGUE},
    {"preshared_key", NOISE_PSK},
    {"gen_init_ephemeral", NOISE_EPHEMERAL},
    {"gen_resp_ephemeral", NOISE_EPHEMERAL + NOISE_RESPONDER},
};

static bool read_field(struct input *in, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(keys[i].key, key) != 0) continue;
        read_bytes(in, &in->now->field[keys[i].field], value);
        return true;
    }
    return false;
}

/* "Noise_XX_25519_ChaChaPoly_SHA256"; another suite is another pattern to us. */
static void read_protocol(struct input *in, const char *name)
{
    char pattern[64] = "";
    size_t n = strlen(name), suite = sizeof "_25519_ChaChaPoly_SHA256" - 1;
    if (strncmp(name, "Noise_", 6) == 0 && n > 6 + suite && strcmp(name + n - suite, "_25519_ChaChaPoly_SHA256") == 0)
        snprintf(pattern, sizeof pattern, "%.*s", (int)(n - suite - 6), name + 6);
    begin(in, name, pattern);
}

/* All that is a string in JSON, in its order: one in front of a colon is a key, any other a value of the last key. */
static void read_json_value(struct input *in, const char *key, const char *value)
{
    if (strcmp(key, "protocol_name") == 0 || strcmp(key, "name") == 0) {
        read_protocol(in, value);
    } else if (in->now == NULL || strcmp(key, "pattern") == 0 || strcmp(key, "dh") == 0 || strcmp(key, "cipher") == 0 ||
               strcmp(key, "hash") == 0) {
        return; /* not a case of ours, or said in the name, too */
    } else if (strcmp(key, "payload") == 0) {
        struct noise_message *m = add_message(in, in->now->count % 2 == 0 ? NOISE_INITIATOR : NOISE_RESPONDER);
        read_bytes(in, &m->payload, value);
    } else if (strcmp(key, "ciphertext") == 0) {
        read_bytes(in, &in->now->messages[in->now->count - 1].message, value);
    } else if (strcmp(key, "resp_prologue") == 0 || strcmp(key, "resp_psks") == 0) {
        struct noise_bytes same, *first = &in->now->field[strcmp(key, "resp_psks") == 0 ? NOISE_PSK : NOISE_PROLOGUE];
        read_bytes(in, &same, value);
        if (same.len != first->len || memcmp(same.at, first->at, same.len) != 0)
            bad(in, "two ends that differ", in->now->name);
    } else if (!read_field(in, key, value)) {
        bad(in, "unknown key", key);
    }
}

static void read_json(struct input *in, char *text)
{
    char *key = NULL;
    while ((text = strchr(text, '"')) != NULL) {
        char *word = text + 1, *end = strchr(word, '"');
        if (end == NULL) bad(in, "a string without an end", text);
        *end = '\0';
        text = end + 1;
        if (text[strspn(text, " ")] == ':')
            key = word;
        else if (key != NULL)
            read_json_value(in, key, word);
        else
            bad(in, "a value without a key", word);
    }
}

/* msg_0_payload, msg_0_ciphertext: the first record is always the initiator's. */
static void read_flynn_message(struct input *in, const char *key, const char *value)
{
    char *what = NULL;
    size_t i = strtoul(key + 4, &what, 10), handshake = noise_handshake_messages(in->now->pattern);
    size_t turn = i < handshake ? i : i - handshake;
    enum noise_role from = turn % 2 == 0 ? NOISE_INITIATOR : NOISE_RESPONDER;
    if (strcmp(what, "_payload") == 0 && i == in->now->count)
        read_bytes(in, &add_message(in, from)->payload, value);
    else if (strcmp(what, "_ciphertext") == 0 && i + 1 == in->now->count)
        read_bytes(in, &in->now->messages[i].message, value);
    else
        bad(in, "not the next message", key);
}

static void read_flynn(struct input *in, char *text)
{
    for (char *line = strtok(text, "\r\n"); line != NULL; line = strtok(NULL, "\r\n")) {
        char *value = strchr(line, '=');
        if (value == NULL) bad(in, "not KEY=VALUE", line);
        *value++ = '\0';
        if (strcmp(line, "handshake") == 0)
            read_protocol(in, value);
        else if (in->now != NULL && strncmp(line, "msg_", 4) == 0)
            read_flynn_message(in, line, value);
        else if (in->now != NULL && !read_field(in, line, value))
            bad(in, "unknown key", line);
    }
}

/* ---- files ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

bool noise_cases_load(struct noise_cases *cases, const char *path)
{
    enum { MOST = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    char *text = malloc(MOST + 1);
    if (text == NULL) abort();
    size_t n = fread(text, 1, MOST, file);
    bool whole = feof(file) != 0;
    fclose(file);
    text[n] = '\0';
    *cases = (struct noise_cases){0};
    struct input in = {.path = path, .cases = cases};
    if (!whole || n == 0) bad(&in, "empty, unreadable or too long", "");
    if (ends_with(path, ".json"))
        read_json(&in, text);
    else if (ends_with(path, "flynn.txt"))
        read_flynn(&in, text);
    else
        read_ours(&in, text);
    free(text);
    return true;
}
