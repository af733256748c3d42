/*
 * output.h: how replies are written: as text, hex, bytes, frames or JSON lines. Knows neither sockets nor descriptors; what is
 * ready goes to a sink.
 */
#ifndef FRAMED_CLI_OUTPUT_H
#define FRAMED_CLI_OUTPUT_H

#include <framed/base.h>
#include <stdbool.h>

enum cli_format {
    FORMAT_TEXT,   /* escaped, a line each */
    FORMAT_HEX,    /* two digits a byte, a line each */
    FORMAT_RAW,    /* the bytes alone */
    FORMAT_FRAMED, /* length word and bytes */
    FORMAT_JSON,   /* an object a line */
    FORMAT_LINE,   /* the bytes and a newline */
    FORMAT_NUL     /* the bytes and a zero byte */
};

/* Takes all n bytes. FRAMED_CLOSED: nobody reads them any more. FRAMED_OS: it failed. */
typedef enum framed_status cli_sink_fn(void *ctx, const uint8_t *at, size_t n);

struct cli_output {
    enum cli_format format;
    cli_sink_fn *sink;
    void *ctx;
    enum framed_status status; /* the first failure of the sink; then nothing more is written */
    size_t len;
    uint8_t at[16 << 10];
};

/* How one message ended. */
struct cli_result {
    uint64_t seq;        /* number of the message, from 1 */
    const char *outcome; /* "reply", "message", "not_executed", "maybe_executed" */
    const char *error;   /* why there is no payload; NULL: there is one */
    struct framed_bytes payload;
    bool timed;
    uint64_t rtt_ns; /* when timed */
};

void framed_output_init(struct cli_output *out, enum cli_format format, cli_sink_fn *sink, void *ctx);

/* Writes one result; those without payload only as JSON. May be held back until the next flush. Returns out->status. */
enum framed_status framed_output_result(struct cli_output *out, const struct cli_result *result);

/* Everything written so far reaches the sink. Returns out->status. */
enum framed_status framed_output_flush(struct cli_output *out);

/* ---- the pieces of which lines are made ---- */

void framed_output_bytes(struct cli_output *out, const void *at, size_t n);
void framed_output_text(struct cli_output *out, const char *text);
/* As printf; cut behind 599 bytes. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void framed_output_print(struct cli_output *out, const char *format, ...);

void framed_output_number(struct cli_output *out, uint64_t number);
void framed_output_hex(struct cli_output *out, struct framed_bytes bytes);

/* As FORMAT_TEXT, without its newline. */
void framed_output_escaped(struct cli_output *out, struct framed_bytes bytes);

/* In double quotes, escaped as FORMAT_TEXT is and \" besides; as much as is at most `width` wide. Returns the bytes shown. */
size_t framed_output_quoted(struct cli_output *out, struct framed_bytes bytes, size_t width);

/* A JSON string; "unprintable" when it is not UTF-8. */
void framed_output_json_string(struct cli_output *out, struct framed_bytes text);

/* ,"text":"..." when it is UTF-8, else ,"base64":"...". `cut`: more bytes follow that are not here, so a character cut at
 * the end is left out. Returns the bytes shown. */
size_t framed_output_json_payload(struct cli_output *out, struct framed_bytes bytes, bool cut);

/* Length of the valid UTF-8 sequence (RFC 3629) that begins at `at`, of which n > 0 bytes are there; 0: there is none. */
size_t framed_utf8_sequence(const uint8_t *at, size_t n);

#endif
