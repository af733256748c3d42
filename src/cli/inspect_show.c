/*
 * Owns: the look of an inspection: text for people, JSON for programs (schema framed.inspect/1).
 * Must not know: how frames are found.
 * Invariants: a line, or an object, for each note; keys keep their order; no byte of a peer reaches a terminal unescaped.
 *
 *   off 0  len 5  "hello"
 *   12:00:01.204 #1 >  5 B  "hello"
 *   {"schema":"framed.inspect/1","event":"frame","time_ns":..,"conn":1,"way":">","off":0,"len":5,"text":"hello"}
 *
 * Events of connections that begin with an opening, behind the same first keys:
 *   opening         side ("connector", "acceptor"), mode, protection ("none", "crc32c", "shared_key", ...), max_frame if it is known;
 *                   key_id, or key_id_hex when it is not UTF-8, if there is one
 *   wrong_opening   error
 *   wrong_checksum  len; found, expected; or neither, when the frame is too short for one
 *   handshake       message (1 to 3), len
 *   encrypted       len
 */
#include "inspect_show.h"
#include <string.h>

enum { PREVIEW_WIDTH = 60, PREVIEW_BYTES = 4 * PREVIEW_WIDTH, DUMP_WIDTH = 16 };

uint32_t framed_inspect_shown(const struct inspect_config *config)
{
    if (config->hex) return config->hex_bytes;
    return config->json ? INSPECT_PREVIEW : PREVIEW_BYTES;
}

/* ---- pieces ---- */

static void put_count(struct cli_output *out, uint64_t n, const char *what)
{
    framed_output_number(out, n);
    framed_output_text(out, what);
    if (n != 1) framed_output_text(out, "s");
}

/* n < 1000, with leading zeros. */
static void put_padded(struct cli_output *out, uint64_t n, size_t digits)
{
    char text[3];
    for (size_t i = digits; i-- > 0; n /= 10) text[i] = (char)('0' + n % 10);
    framed_output_bytes(out, text, digits);
}

/* "12:00:01.204" */
static void put_time(struct cli_output *out, uint64_t time_ns, int32_t utc_offset_s)
{
    enum { DAY_S = 24 * 60 * 60 };
    uint64_t s = (time_ns / 1000000000 % DAY_S + DAY_S + (uint64_t)utc_offset_s) % DAY_S;
    put_padded(out, s / 3600, 2);
    framed_output_text(out, ":");
    put_padded(out, s / 60 % 60, 2);
    framed_output_text(out, ":");
    put_padded(out, s % 60, 2);
    framed_output_text(out, ".");
    put_padded(out, time_ns / 1000000 % 1000, 3);
}

/* ns in units of `unit`, cut after `decimals` digits. */
static void put_fraction(struct cli_output *out, uint64_t ns, uint64_t unit, unsigned decimals, const char *name)
{
    framed_output_number(out, ns / unit);
    uint64_t rest = ns % unit;
    if (decimals > 0) framed_output_text(out, ".");
    for (; decimals > 0; decimals--) {
        unit /= 10;
        framed_output_number(out, rest / unit);
        rest %= unit;
    }
    framed_output_text(out, name);
}

void framed_inspect_duration(struct cli_output *out, uint64_t ns)
{
    if (ns < 1000)
        put_fraction(out, ns, 1, 0, " ns");
    else if (ns < 1000000)
        put_fraction(out, ns, 1000, 0, " us");
    else if (ns < 1000000000)
        put_fraction(out, ns, 1000000, 1, " ms");
    else
        put_fraction(out, ns, 1000000000, 2, " s");
}

/* What a rejected length word looks like, or NULL; a little-endian length says which. */
static const char *hint_of(const struct inspect_note *note, uint32_t *swapped)
{
    uint32_t word = note->len;
    const char *hint = note->extended ? NULL : framed_length_hint(word);
    *swapped = word >> 24 | (word >> 8 & 0xff00) | (word << 8 & 0xff0000) | word << 24;
    if (hint == NULL || strcmp(hint, "a little-endian length") != 0) *swapped = 0; /* no such hint is given for 0 */
    return hint;
}

const char *framed_inspect_protection(unsigned protection, bool json)
{
    switch (protection) {
    case FRAMED_UNPROTECTED: return json ? "none" : "no checksum";
    case FRAMED_CRC32C: return "crc32c";
    case FRAMED_SHARED_KEY: return json ? "shared_key" : "encrypted, shared key";
    case FRAMED_PINNED_KEYS: return json ? "pinned_keys" : "encrypted, pinned keys";
    case FRAMED_SHARED_AND_PINNED: return json ? "shared_and_pinned" : "encrypted, shared and pinned keys";
    default: return "blake2b";
    }
}

static bool is_cut(const struct inspect_note *note)
{
    return note->kind == SHOW_TRUNCATED || note->kind == SHOW_UNFINISHED;
}

static bool has_length(const struct inspect_note *note)
{
    return !is_cut(note) || note->in == IN_PAYLOAD || note->in == IN_SUM;
}

static bool has_payload(const struct inspect *inspect, const struct inspect_note *note)
{
    bool has = note->kind <= SHOW_ENCRYPTED ? note->kind != SHOW_OPENING : is_cut(note) && has_length(note);
    return has && (!note->sealed || inspect->config.hex);
}

/* How much of the payload came. */
static uint32_t payload_size(const struct inspect_note *note)
{
    return is_cut(note) && note->in == IN_PAYLOAD ? note->have : note->len;
}

/* ---- text ---- */

/* "    00000010  68 65 6c 6c 6f                                    |hello|" */
static void put_dump_line(struct cli_output *out, uint32_t off, const uint8_t *at, size_t n)
{
    char line[4 + 8 + 2 + 3 * DUMP_WIDTH + 2];
    static const char digits[] = "0123456789abcdef";
    memset(line, ' ', sizeof line);
    for (unsigned i = 0; i < 8; i++) line[4 + i] = digits[off >> (28 - 4 * i) & 15];
    for (size_t i = 0; i < n; i++) {
        size_t place = 14 + 3 * i + (i >= DUMP_WIDTH / 2); /* a gap in the middle */
        line[place] = digits[at[i] >> 4];
        line[place + 1] = digits[at[i] & 15];
    }
    framed_output_bytes(out, line, sizeof line);
    char text[DUMP_WIDTH];
    for (size_t i = 0; i < n; i++) text[i] = (char)(at[i] >= 0x20 && at[i] < 0x7f ? at[i] : '.');
    framed_output_text(out, "|");
    framed_output_bytes(out, text, n);
    framed_output_text(out, "|\n");
}

static void put_dump(struct cli_output *out, struct framed_bytes bytes, uint32_t len)
{
    for (size_t i = 0; i < bytes.len; i += DUMP_WIDTH)
        put_dump_line(out, (uint32_t)i, bytes.at + i, bytes.len - i < DUMP_WIDTH ? bytes.len - i : DUMP_WIDTH);
    if (bytes.len == 0 || bytes.len == len) return;
    framed_output_text(out, "    ");
    framed_output_number(out, len - bytes.len);
    framed_output_text(out, " more\n");
}

static void put_preview(struct cli_output *out, const struct inspect_note *note)
{
    framed_output_text(out, "  ");
    size_t shown = framed_output_quoted(out, note->payload, PREVIEW_WIDTH);
    if (shown == payload_size(note)) return;
    framed_output_text(out, "... ");
    framed_output_number(out, payload_size(note) - shown);
    framed_output_text(out, " more");
}

static void put_off(struct cli_output *out, uint64_t off)
{
    framed_output_text(out, "off ");
    framed_output_number(out, off);
}

static void put_off_and_len(struct cli_output *out, const struct inspect_note *note)
{
    put_off(out, note->off);
    if (!has_length(note)) return;
    framed_output_text(out, "  len ");
    framed_output_number(out, note->len);
}

/* What a line about something whole begins with. */
static void put_place(struct cli_output *out, const struct inspect_note *note)
{
    if (note->conn == NULL) {
        put_off_and_len(out, note);
        return;
    }
    framed_output_text(out, " ");
    framed_output_number(out, note->len);
    framed_output_text(out, " B");
}

static void text_of_frame(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    put_place(out, note);
    if (!inspect->config.hex) put_preview(out, note);
    if (note->timed) {
        framed_output_text(out, "  ");
        framed_inspect_duration(out, note->reply_ns);
    }
}

static void put_size(struct cli_output *out, uint32_t n)
{
    unsigned shift = n % (1u << 20) == 0 ? 20 : n % (1u << 10) == 0 ? 10 : 0;
    framed_output_number(out, n >> shift);
    framed_output_text(out, shift == 20 ? " MiB" : shift == 10 ? " KiB" : " B");
}

/* "opening of a connector: crc32c; max frame 16 MiB" */
static void text_of_opening(struct cli_output *out, const struct inspect_note *note)
{
    enum { ID_WIDTH = 4 * FRAMED_KEY_ID_MOST }; /* however it is escaped */
    if (note->conn == NULL) {
        put_off(out, note->off);
        framed_output_text(out, "  ");
    }
    framed_output_text(out, note->side == FRAMED_CONNECTOR ? "opening of a connector: " : "opening of an acceptor: ");
    framed_output_text(out, framed_inspect_protection(framed_mode_protection(note->mode), false));
    if ((note->mode & 15) == FRAMED_SESSION) framed_output_text(out, ", session");
    if (note->hello.max_frame != 0) {
        framed_output_text(out, "; max frame ");
        put_size(out, note->hello.max_frame);
    }
    if (note->hello.key_id.at == NULL) return;
    framed_output_text(out, "; key id ");
    framed_output_quoted(out, note->hello.key_id, ID_WIDTH);
}

static void text_of_sealed(struct cli_output *out, const struct inspect_note *note)
{
    put_place(out, note);
    framed_output_text(out, note->kind == SHOW_HANDSHAKE ? "  handshake message " : "  encrypted");
    if (note->kind == SHOW_HANDSHAKE) framed_output_number(out, note->message);
}

static void text_of_cut(struct cli_output *out, const struct inspect_note *note)
{
    static const char *const of[] = {" bytes", " bytes of a length word", " bytes of a checksum"};
    put_off_and_len(out, note);
    framed_output_text(out, note->kind == SHOW_TRUNCATED ? "  TRUNCATED: have " : "  unfinished: have ");
    if (note->in == IN_OPENING) {
        put_count(out, note->have, " byte");
        framed_output_text(out, " of an opening");
        return;
    }
    framed_output_number(out, note->have);
    framed_output_text(out, " of ");
    uint64_t whole = FRAMED_SUM_SIZE;
    if (note->in == IN_WORD) whole = FRAMED_LENGTH_SIZE;
    if (note->in == IN_PAYLOAD) whole = note->len;
    framed_output_number(out, whole);
    framed_output_text(out, of[note->in]);
}

static void put_word(struct cli_output *out, uint32_t word)
{
    const uint8_t bytes[] = {(uint8_t)(word >> 24), (uint8_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word};
    framed_output_hex(out, framed_bytes_of(bytes, sizeof bytes));
}

static void text_of_wrong_sum(struct cli_output *out, const struct inspect_note *note)
{
    put_off_and_len(out, note);
    framed_output_text(out, "  CHECKSUM WRONG: ");
    if (note->too_short) {
        framed_output_text(out, "no room for one");
        return;
    }
    put_word(out, note->sum_found);
    framed_output_text(out, " came, ");
    put_word(out, note->sum);
    framed_output_text(out, " would be right here");
}

static void text_of_too_large(struct cli_output *out, const struct inspect_note *note)
{
    uint32_t swapped;
    const char *hint = hint_of(note, &swapped);
    put_off_and_len(out, note);
    framed_output_text(out, "  TOO LARGE: at most ");
    framed_output_number(out, note->most);
    framed_output_text(out, " allowed");
    if (hint == NULL) return;
    framed_output_text(out, "; this looks like ");
    framed_output_text(out, hint);
    if (swapped == 0) return;
    framed_output_text(out, " of ");
    framed_output_number(out, swapped);
}

static void text_of(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    switch (note->kind) {
    case SHOW_FRAME: text_of_frame(inspect, note); break;
    case SHOW_TRUNCATED:
    case SHOW_UNFINISHED: text_of_cut(out, note); break;
    case SHOW_OPENING: text_of_opening(out, note); break;
    case SHOW_HANDSHAKE:
    case SHOW_ENCRYPTED: text_of_sealed(out, note); break;
    case SHOW_TOO_LARGE: text_of_too_large(out, note); break;
    case SHOW_WRONG_OPENING:
        put_off(out, note->off);
        framed_output_text(out, "  MALFORMED OPENING: ");
        framed_output_text(out, note->why);
        break;
    case SHOW_WRONG_SUM: text_of_wrong_sum(out, note); break;
    case SHOW_LOST:
        put_off(out, note->off);
        framed_output_text(out, "  LOST: ");
        put_count(out, note->n, " byte");
        break;
    case SHOW_SKIPPED:
        put_off(out, note->off);
        framed_output_text(out, "  not shown: ");
        put_count(out, note->frames, " frame");
        framed_output_text(out, ", ");
        put_count(out, note->n, " byte");
        break;
    case SHOW_REST:
        put_off(out, note->off);
        framed_output_text(out, "  not interpreted: ");
        put_count(out, note->n, " byte");
        break;
    case SHOW_DAMAGED:
        put_off(out, note->off);
        framed_output_text(out, "  DAMAGED RECORD: ");
        framed_output_text(out, note->why);
        framed_output_text(out, "; from here on not read: ");
        put_count(out, note->n, " byte");
        break;
    case SHOW_OPENED:
        framed_output_text(out, "opened");
        if (note->payload.len > 0) {
            framed_output_text(out, " ");
            framed_output_escaped(out, note->payload);
        }
        break;
    case SHOW_ENDED: framed_output_text(out, "ended"); break;
    case SHOW_CLOSED:
    case SHOW_STILL_OPEN:
        framed_output_text(out, note->kind == SHOW_CLOSED ? "closed" : "still open");
        if (note->n > 0) {
            framed_output_text(out, "  ");
            framed_output_number(out, note->n);
            framed_output_text(out, " unanswered");
        }
        break;
    case SHOW_KINDS: break;
    }
    framed_output_text(out, "\n");
    if (inspect->config.hex && has_payload(inspect, note)) put_dump(out, note->payload, payload_size(note));
}

static bool has_way(const struct inspect_note *note)
{
    return note->kind <= SHOW_REST || note->kind == SHOW_ENDED;
}

static const char *way_text(const struct inspect_note *note)
{
    return note->way == INSPECT_REQUESTS ? ">" : "<";
}

static void show_text(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    if (note->conn != NULL) {
        put_time(out, note->time_ns, inspect->config.utc_offset_s);
        framed_output_text(out, " #");
        framed_output_number(out, note->conn->number);
        framed_output_text(out, " ");
        if (has_way(note)) {
            framed_output_text(out, way_text(note));
            framed_output_text(out, " ");
        }
    }
    text_of(inspect, note);
}

/* ---- JSON ---- */

static const char *const events[SHOW_KINDS] = {
    [SHOW_OPENING] = "opening",
    [SHOW_HANDSHAKE] = "handshake",
    [SHOW_ENCRYPTED] = "encrypted",
    [SHOW_WRONG_OPENING] = "wrong_opening",
    [SHOW_WRONG_SUM] = "wrong_checksum",
    [SHOW_FRAME] = "frame",
    [SHOW_TRUNCATED] = "truncated",
    [SHOW_UNFINISHED] = "unfinished",
    [SHOW_TOO_LARGE] = "too_large",
    [SHOW_LOST] = "lost",
    [SHOW_SKIPPED] = "not_shown",
    [SHOW_REST] = "not_interpreted",
    [SHOW_DAMAGED] = "damaged",
    [SHOW_OPENED] = "opened",
    [SHOW_ENDED] = "ended",
    [SHOW_CLOSED] = "closed",
    [SHOW_STILL_OPEN] = "still_open",
};

static void put_key(struct cli_output *out, const char *key, uint64_t number)
{
    framed_output_text(out, ",\"");
    framed_output_text(out, key);
    framed_output_text(out, "\":");
    framed_output_number(out, number);
}

/* "text", "base64" or "hex", and "cut": how many bytes are not shown. */
static void put_json_payload(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    size_t shown = note->payload.len;
    if (inspect->config.hex) {
        framed_output_text(out, ",\"hex\":\"");
        framed_output_hex(out, note->payload);
        framed_output_text(out, "\"");
    } else {
        shown = framed_output_json_payload(out, note->payload, shown < payload_size(note));
    }
    if (shown < payload_size(note)) put_key(out, "cut", payload_size(note) - shown);
}

static void put_text(struct cli_output *out, const char *key, const char *text)
{
    framed_output_text(out, ",\"");
    framed_output_text(out, key);
    framed_output_text(out, "\":");
    framed_output_json_string(out, framed_bytes_str(text));
}

static bool is_utf8(struct framed_bytes bytes)
{
    size_t n = 0;
    for (size_t at = 0; at < bytes.len; at += n)
        if ((n = framed_utf8_sequence(bytes.at + at, bytes.len - at)) == 0) return false;
    return true;
}

static void json_of_opening(struct cli_output *out, const struct inspect_note *note)
{
    const struct framed_hello *hello = &note->hello;
    put_text(out, "side", note->side == FRAMED_CONNECTOR ? "connector" : "acceptor");
    put_key(out, "mode", note->mode);
    put_text(out, "protection", framed_inspect_protection(framed_mode_protection(note->mode), true));
    if (hello->max_frame != 0) put_key(out, "max_frame", hello->max_frame);
    if (hello->key_id.at == NULL) return;
    if (is_utf8(hello->key_id)) {
        framed_output_text(out, ",\"key_id\":");
        framed_output_json_string(out, hello->key_id);
        return;
    }
    framed_output_text(out, ",\"key_id_hex\":\"");
    framed_output_hex(out, hello->key_id);
    framed_output_text(out, "\"");
}

static void json_of_wrong_sum(struct cli_output *out, const struct inspect_note *note)
{
    put_key(out, "len", note->len);
    if (note->too_short) return;
    put_key(out, "found", note->sum_found);
    put_key(out, "expected", note->sum);
}

static void json_of_cut(struct cli_output *out, const struct inspect_note *note)
{
    static const char *const have[] = {"have", "have_of_length", "have_of_checksum", "have_of_opening"};
    if (has_length(note)) put_key(out, "len", note->len);
    put_key(out, have[note->in], note->have);
}

static void json_of_too_large(struct cli_output *out, const struct inspect_note *note)
{
    uint32_t swapped;
    const char *hint = hint_of(note, &swapped);
    put_key(out, "claimed", note->len);
    put_key(out, "max_frame", note->most);
    if (hint == NULL) return;
    framed_output_text(out, ",\"looks_like\":");
    framed_output_json_string(out, framed_bytes_str(hint));
    if (swapped != 0) put_key(out, "little_endian", swapped);
}

static void json_of(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    switch (note->kind) {
    case SHOW_OPENING: json_of_opening(out, note); break;
    case SHOW_HANDSHAKE: put_key(out, "message", note->message); /* fallthrough */
    case SHOW_FRAME:
    case SHOW_ENCRYPTED: put_key(out, "len", note->len); break;
    case SHOW_TRUNCATED:
    case SHOW_UNFINISHED: json_of_cut(out, note); break;
    case SHOW_TOO_LARGE: json_of_too_large(out, note); break;
    case SHOW_WRONG_OPENING: put_text(out, "error", note->why); break;
    case SHOW_WRONG_SUM: json_of_wrong_sum(out, note); break;
    case SHOW_SKIPPED: put_key(out, "frames", note->frames); /* fallthrough */
    case SHOW_LOST:
    case SHOW_REST: put_key(out, "bytes", note->n); break;
    case SHOW_DAMAGED:
        put_text(out, "error", note->why);
        put_key(out, "not_read", note->n);
        break;
    case SHOW_OPENED:
        framed_output_text(out, ",\"peer\":");
        framed_output_json_string(out, note->payload);
        break;
    case SHOW_CLOSED:
    case SHOW_STILL_OPEN: put_key(out, "unanswered", note->n); break;
    case SHOW_ENDED:
    case SHOW_KINDS: break;
    }
    if (has_payload(inspect, note)) put_json_payload(inspect, note);
    if (note->timed) put_key(out, "reply_ns", note->reply_ns);
}

static void show_json(struct inspect *inspect, const struct inspect_note *note)
{
    struct cli_output *out = &inspect->out;
    framed_output_text(out, "{\"schema\":\"framed.inspect/1\",\"event\":\"");
    framed_output_text(out, events[note->kind]);
    framed_output_text(out, "\"");
    if (note->conn != NULL) {
        put_key(out, "time_ns", note->time_ns);
        put_key(out, "conn", note->conn->number);
        if (has_way(note)) {
            framed_output_text(out, ",\"way\":\"");
            framed_output_text(out, way_text(note));
            framed_output_text(out, "\"");
        }
    }
    if (note->kind <= SHOW_DAMAGED) put_key(out, "off", note->off);
    json_of(inspect, note);
    framed_output_text(out, "}\n");
}

/* What is worth a line beside a summary. */
static bool is_failure(const struct inspect_note *note)
{
    if (note->kind == SHOW_SKIPPED) return false;
    return note->kind == SHOW_TRUNCATED || (note->kind >= SHOW_TOO_LARGE && note->kind <= SHOW_DAMAGED);
}

void framed_inspect_show(struct inspect *inspect, const struct inspect_note *note)
{
    if (inspect->config.stats != NULL && (inspect->config.json || !is_failure(note))) return;
    if (inspect->config.json)
        show_json(inspect, note);
    else
        show_text(inspect, note);
}
