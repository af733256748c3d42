/*
 * Owns: the output formats: escaped text, hex, frames, JSON lines (text when it is UTF-8, else base64).
 * Must not know: sockets, descriptors, options; who reads.
 * Invariants: a format is reversible or exact; a control byte of a peer never reaches a terminal (FORMAT_TEXT, FORMAT_HEX, FORMAT_JSON);
 * after the sink failed once it is never called again.
 */
#include "output.h"
#include <framed/frame.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

void framed_output_init(struct cli_output *out, enum cli_format format, cli_sink_fn *sink, void *ctx)
{
    out->format = format;
    out->sink = sink;
    out->ctx = ctx;
    out->status = FRAMED_OK;
    out->len = 0;
}

enum framed_status framed_output_flush(struct cli_output *out)
{
    if (out->len > 0 && out->status == FRAMED_OK) out->status = out->sink(out->ctx, out->at, out->len);
    out->len = 0;
    return out->status;
}

static void put(struct cli_output *out, const void *at, size_t n)
{
    if (n > sizeof out->at - out->len) framed_output_flush(out);
    if (n > sizeof out->at) {
        if (out->status == FRAMED_OK) out->status = out->sink(out->ctx, at, n);
        return;
    }
    if (n > 0) memcpy(out->at + out->len, at, n);
    out->len += n;
}

static void put_byte(struct cli_output *out, uint8_t byte)
{
    if (out->len == sizeof out->at) framed_output_flush(out);
    out->at[out->len++] = byte;
}

static void put_text(struct cli_output *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_number(struct cli_output *out, uint64_t number)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, number);
    put(out, digits, (size_t)n);
}

size_t framed_utf8_sequence(const uint8_t *at, size_t n)
{
    /* The first byte says how long, and what its second may be; that excludes overlong forms, surrogates and > U+10FFFF. */
    uint8_t low = 0x80, high = 0xbf;
    size_t len;
    if (at[0] < 0x80) return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf)
        len = 2;
    else if (at[0] >= 0xe0 && at[0] <= 0xef)
        len = 3;
    else if (at[0] >= 0xf0 && at[0] <= 0xf4)
        len = 4;
    else
        return 0;
    if (at[0] == 0xe0) low = 0xa0;
    if (at[0] == 0xed) high = 0x9f;
    if (at[0] == 0xf0) low = 0x90;
    if (at[0] == 0xf4) high = 0x8f;
    if (len > n || at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return len;
}

static bool is_utf8(struct framed_bytes bytes)
{
    for (size_t i = 0; i < bytes.len;) {
        size_t n = framed_utf8_sequence(bytes.at + i, bytes.len - i);
        if (n == 0) return false;
        i += n;
    }
    return true;
}

static void put_escape(struct cli_output *out, uint8_t byte)
{
    static const char with_name[] = {'\n', '\r', '\t', '\\'};
    const char *named = memchr(with_name, byte, sizeof with_name);
    put_byte(out, '\\');
    if (named != NULL) {
        put_byte(out, byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte == '\t' ? 't' : '\\');
        return;
    }
    put_byte(out, 'x');
    put_byte(out, (uint8_t)hex_digits[byte >> 4]);
    put_byte(out, (uint8_t)hex_digits[byte & 15]);
}

/* What a terminal would obey instead of show: C0, DEL, and C1 in its UTF-8 form. */
static bool is_control(const uint8_t *at, size_t n)
{
    return (n == 1 && (at[0] < 0x20 || at[0] == 0x7f)) || (n == 2 && at[0] == 0xc2 && at[1] < 0xa0);
}

static void put_escaped(struct cli_output *out, struct framed_bytes bytes)
{
    for (size_t i = 0; i < bytes.len;) {
        const uint8_t *at = bytes.at + i;
        size_t n = framed_utf8_sequence(at, bytes.len - i);
        if (n == 0 || is_control(at, n) || at[0] == '\\') {
            n = n == 0 ? 1 : n;
            for (size_t k = 0; k < n; k++) put_escape(out, at[k]);
        } else {
            put(out, at, n);
        }
        i += n;
    }
}

static void put_hex(struct cli_output *out, struct framed_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        put_byte(out, (uint8_t)hex_digits[bytes.at[i] >> 4]);
        put_byte(out, (uint8_t)hex_digits[bytes.at[i] & 15]);
    }
}

static void put_base64(struct cli_output *out, struct framed_bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)bytes.at[i] << 16;
        if (n > 1) group |= (uint32_t)bytes.at[i + 1] << 8;
        if (n > 2) group |= bytes.at[i + 2];
        put_byte(out, (uint8_t)digits[group >> 18]);
        put_byte(out, (uint8_t)digits[group >> 12 & 63]);
        put_byte(out, n > 1 ? (uint8_t)digits[group >> 6 & 63] : '=');
        put_byte(out, n > 2 ? (uint8_t)digits[group & 63] : '=');
    }
}

/* A JSON string (RFC 8259 §7) of valid UTF-8. */
static void put_json_string(struct cli_output *out, struct framed_bytes text)
{
    put_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.at[i];
        if (byte == '"' || byte == '\\') {
            put_byte(out, '\\');
            put_byte(out, byte);
        } else if (byte < 0x20 || byte == 0x7f) {
            put_text(out, "\\u00");
            put_byte(out, (uint8_t)hex_digits[byte >> 4]);
            put_byte(out, (uint8_t)hex_digits[byte & 15]);
        } else if (byte == 0xc2 && text.at[i + 1] < 0xa0) {
            put_text(out, "\\u00"); /* C1: U+0080 to U+009F */
            put_byte(out, (uint8_t)hex_digits[text.at[i + 1] >> 4]);
            put_byte(out, (uint8_t)hex_digits[text.at[i + 1] & 15]);
            i++;
        } else {
            put_byte(out, byte);
        }
    }
    put_byte(out, '"');
}

static void put_json(struct cli_output *out, const struct cli_result *result)
{
    put_text(out, "{\"schema\":\"framed.call/1\",\"seq\":");
    put_number(out, result->seq);
    put_text(out, ",\"outcome\":\"");
    put_text(out, result->outcome);
    put_text(out, "\"");
    if (result->error == NULL) {
        put_text(out, ",\"len\":");
        put_number(out, result->payload.len);
        if (is_utf8(result->payload)) {
            put_text(out, ",\"text\":");
            put_json_string(out, result->payload);
        } else {
            put_text(out, ",\"base64\":\"");
            put_base64(out, result->payload);
            put_text(out, "\"");
        }
    } else {
        struct framed_bytes error = framed_bytes_str(result->error);
        put_text(out, ",\"error\":");
        put_json_string(out, is_utf8(error) ? error : framed_bytes_str("unprintable"));
    }
    if (result->timed) {
        put_text(out, ",\"rtt_ns\":");
        put_number(out, result->rtt_ns);
    }
    put_text(out, "}\n");
}

static void put_frame(struct cli_output *out, struct framed_bytes payload)
{
    uint8_t word[FRAMED_LENGTH_SIZE];
    if (framed_length_encode(word, payload.len, FRAMED_FRAME_MOST) != FRAMED_OK) return; /* it came as a frame */
    put(out, word, sizeof word);
    put(out, payload.at, payload.len);
}

enum framed_status framed_output_result(struct cli_output *out, const struct cli_result *result)
{
    if (out->format == FORMAT_JSON) {
        put_json(out, result);
        return out->status;
    }
    if (result->error != NULL) return out->status;
    switch (out->format) {
    case FORMAT_TEXT: put_escaped(out, result->payload); break;
    case FORMAT_HEX: put_hex(out, result->payload); break;
    case FORMAT_FRAMED: put_frame(out, result->payload); return out->status;
    default: put(out, result->payload.at, result->payload.len); break;
    }
    if (out->format == FORMAT_NUL)
        put_byte(out, '\0');
    else if (out->format != FORMAT_RAW)
        put_byte(out, '\n');
    return out->status;
}
