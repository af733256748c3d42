/*
 * Owns: the output formats: escaped text, hex, frames, JSON lines (text when it is UTF-8, else base64).
 * Must not know: sockets, descriptors, options; who reads.
 * Invariants: a format is reversible or exact; a control byte of a peer never reaches a terminal (FORMAT_TEXT, FORMAT_HEX, FORMAT_JSON);
 * after the sink failed once it is never called again.
 */
#include "output.h"
#include <framed/frame.h>
#include <stdarg.h>
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

void framed_output_bytes(struct cli_output *out, const void *at, size_t n)
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

void framed_output_text(struct cli_output *out, const char *text)
{
    framed_output_bytes(out, text, strlen(text));
}

void framed_output_print(struct cli_output *out, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0) framed_output_text(out, text);
}

void framed_output_number(struct cli_output *out, uint64_t number)
{
    char digits[20]; /* 2^64 has so many */
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    framed_output_bytes(out, digits + first, sizeof digits - first);
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

/* How many of the bytes are UTF-8, from the first. */
static size_t utf8_length(struct framed_bytes bytes)
{
    size_t i = 0;
    while (i < bytes.len) {
        size_t n = framed_utf8_sequence(bytes.at + i, bytes.len - i);
        if (n == 0) return i;
        i += n;
    }
    return i;
}

static bool is_utf8(struct framed_bytes bytes)
{
    return utf8_length(bytes) == bytes.len;
}

/* Whether n > 0 bytes are the beginning, and no more, of some valid sequence. */
static bool begins_sequence(const uint8_t *at, size_t n)
{
    static const uint8_t seconds[] = {0x80, 0x90, 0xa0}; /* each first byte allows one of these, or nothing */
    if (n > 3) return false;
    for (size_t i = 0; i < sizeof seconds; i++) {
        uint8_t whole[4] = {0, seconds[i], 0x80, 0x80};
        memcpy(whole, at, n);
        if (framed_utf8_sequence(whole, sizeof whole) > n) return true;
    }
    return false;
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

/* Writes the first character of n > 0 bytes, or the first byte where there is none; returns how many bytes that was. */
static size_t put_character(struct cli_output *out, const uint8_t *at, size_t n)
{
    size_t len = framed_utf8_sequence(at, n);
    if (len != 0 && !is_control(at, len) && at[0] != '\\') {
        framed_output_bytes(out, at, len);
        return len;
    }
    len = len == 0 ? 1 : len;
    for (size_t i = 0; i < len; i++) put_escape(out, at[i]);
    return len;
}

void framed_output_escaped(struct cli_output *out, struct framed_bytes bytes)
{
    for (size_t i = 0; i < bytes.len;) i += put_character(out, bytes.at + i, bytes.len - i);
}

static bool has_short_escape(uint8_t byte)
{
    return byte == '\n' || byte == '\r' || byte == '\t';
}

/* How wide put_character makes it; every character counts as one. */
static size_t width_of(const uint8_t *at, size_t n)
{
    size_t len = framed_utf8_sequence(at, n);
    if (len == 0) return 4;
    if (is_control(at, len)) return has_short_escape(at[0]) ? 2 : 4 * len;
    return at[0] == '\\' || at[0] == '"' ? 2 : 1;
}

/* How many of n bytes need no escape and are one wide, from the first: most of most text. */
static size_t plain_length(const uint8_t *at, size_t n)
{
    size_t i = 0;
    while (i < n && at[i] >= 0x20 && at[i] < 0x7f && at[i] != '\\' && at[i] != '"') i++;
    return i;
}

size_t framed_output_quoted(struct cli_output *out, struct framed_bytes bytes, size_t width)
{
    put_byte(out, '"');
    size_t i = plain_length(bytes.at, bytes.len < width ? bytes.len : width);
    framed_output_bytes(out, bytes.at, i);
    width -= i;
    while (i < bytes.len) {
        size_t wide = width_of(bytes.at + i, bytes.len - i);
        if (wide > width) break;
        width -= wide;
        if (bytes.at[i] == '"') put_byte(out, '\\');
        i += put_character(out, bytes.at + i, bytes.len - i);
    }
    put_byte(out, '"');
    return i;
}

void framed_output_hex(struct cli_output *out, struct framed_bytes bytes)
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
            framed_output_text(out, "\\u00");
            put_byte(out, (uint8_t)hex_digits[byte >> 4]);
            put_byte(out, (uint8_t)hex_digits[byte & 15]);
        } else if (byte == 0xc2 && text.at[i + 1] < 0xa0) {
            framed_output_text(out, "\\u00"); /* C1: U+0080 to U+009F */
            put_byte(out, (uint8_t)hex_digits[text.at[i + 1] >> 4]);
            put_byte(out, (uint8_t)hex_digits[text.at[i + 1] & 15]);
            i++;
        } else {
            put_byte(out, byte);
        }
    }
    put_byte(out, '"');
}

void framed_output_json_string(struct cli_output *out, struct framed_bytes text)
{
    put_json_string(out, is_utf8(text) ? text : framed_bytes_str("unprintable"));
}

size_t framed_output_json_payload(struct cli_output *out, struct framed_bytes bytes, bool cut)
{
    size_t n = utf8_length(bytes);
    if (n == bytes.len || (cut && begins_sequence(bytes.at + n, bytes.len - n))) {
        framed_output_text(out, ",\"text\":");
        put_json_string(out, framed_bytes_of(bytes.at, n));
        return n;
    }
    framed_output_text(out, ",\"base64\":\"");
    put_base64(out, bytes);
    framed_output_text(out, "\"");
    return bytes.len;
}

static void put_json(struct cli_output *out, const struct cli_result *result)
{
    framed_output_text(out, "{\"schema\":\"framed.call/1\",\"seq\":");
    framed_output_number(out, result->seq);
    framed_output_text(out, ",\"outcome\":\"");
    framed_output_text(out, result->outcome);
    framed_output_text(out, "\"");
    if (result->error == NULL) {
        framed_output_text(out, ",\"len\":");
        framed_output_number(out, result->payload.len);
        framed_output_json_payload(out, result->payload, false);
    } else {
        framed_output_text(out, ",\"error\":");
        framed_output_json_string(out, framed_bytes_str(result->error));
    }
    if (result->timed) {
        framed_output_text(out, ",\"rtt_ns\":");
        framed_output_number(out, result->rtt_ns);
    }
    framed_output_text(out, "}\n");
}

static void put_frame(struct cli_output *out, struct framed_bytes payload)
{
    uint8_t word[FRAMED_LENGTH_SIZE];
    if (framed_length_encode(word, payload.len, FRAMED_FRAME_MOST) != FRAMED_OK) return; /* it came as a frame */
    framed_output_bytes(out, word, sizeof word);
    framed_output_bytes(out, payload.at, payload.len);
}

enum framed_status framed_output_result(struct cli_output *out, const struct cli_result *result)
{
    if (out->format == FORMAT_JSON) {
        put_json(out, result);
        return out->status;
    }
    if (result->error != NULL) return out->status;
    switch (out->format) {
    case FORMAT_TEXT: framed_output_escaped(out, result->payload); break;
    case FORMAT_HEX: framed_output_hex(out, result->payload); break;
    case FORMAT_FRAMED: put_frame(out, result->payload); return out->status;
    default: framed_output_bytes(out, result->payload.at, result->payload.len); break;
    }
    if (out->format == FORMAT_NUL)
        put_byte(out, '\0');
    else if (out->format != FORMAT_RAW)
        put_byte(out, '\n');
    return out->status;
}
