/*
 * cases.h: known answers of Noise handshakes, from three kinds of files: proto/vectors/noise.txt (its head says how it is
 * written), and two in which others publish theirs: JSON as of cacophony, snow and noise-c, and key=value lines as of flynn.
 */
#ifndef FRAMED_TESTS_NOISE_CASES_H
#define FRAMED_TESTS_NOISE_CASES_H

#include "noise.h"

enum { NOISE_CASE_BYTES = 512, NOISE_CASE_MESSAGES = 24, NOISE_CASES_MOST = 64 };

struct noise_bytes {
    uint8_t at[NOISE_CASE_BYTES];
    size_t len;
};

struct noise_message {
    enum noise_role from;
    bool rekey; /* no message: the key of that direction changes */
    struct noise_bytes payload, message;
};

enum noise_field {
    NOISE_PROLOGUE,
    NOISE_PSK,
    NOISE_STATIC, /* secret keys: of the initiator, then of the responder */
    NOISE_EPHEMERAL = NOISE_STATIC + 2,
    NOISE_HASH = NOISE_EPHEMERAL + 2, /* no bytes: not said */
    NOISE_FIELDS
};

struct noise_case {
    char name[96];
    enum noise_pattern pattern;
    struct noise_bytes field[NOISE_FIELDS];
    struct noise_message messages[NOISE_CASE_MESSAGES];
    size_t count;
};

struct noise_cases {
    struct noise_case at[NOISE_CASES_MOST];
    size_t n;
    size_t others; /* cases of the file whose pattern we have not */
};

/* How many messages a handshake has. */
size_t noise_handshake_messages(enum noise_pattern pattern);

/*
 * Each reads its whole file; "*.json" and "flynn.txt" tell by their names how they are written. False: there is no such file.
 * What cannot be understood fails the running cmocka test.
 */
bool noise_cases_load(struct noise_cases *cases, const char *path);

/* What a pattern asks for (§7.5, §9.4). */
static inline bool noise_has_psk(enum noise_pattern pattern)
{
    return pattern != NOISE_XX;
}

static inline bool noise_has_static(enum noise_pattern pattern)
{
    return pattern != NOISE_NNPSK0;
}

#endif
