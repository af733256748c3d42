/*
 * opening.c: preface and HELLO, written and read (PROTOCOL.md §7).
 * Must not know who brings the bytes, nor what comes behind the opening.
 * Invariants: have <= what the state waits for; need <= FRAMED_HELLO_MOST + a trailer; u.fault is valid in FAILED, u.bytes elsewhere.
 *
 *   state          waits for                           then
 *   WANT_PREFACE   a first byte                        OPEN, if it is a length's and plain is accepted: nothing is consumed
 *                  4 bytes                             WANT_LENGTH; OPEN, if the HELLO travels in the handshake; FAILED
 *   WANT_LENGTH    4 bytes                             WANT_HELLO, FAILED
 *   WANT_HELLO     as many as that says (perhaps 0)    OPEN, FAILED
 *   OPEN, FAILED   nothing
 */
#include "be.h"
#include "channel_sum.h"
#include <framed/secure.h>
#include <string.h>

enum { WANT_PREFACE, WANT_LENGTH, WANT_HELLO, OPEN, FAILED };

#define HEAD (FRAMED_PREFACE_SIZE + FRAMED_LENGTH_SIZE) /* what goes before the parameters */

enum { MAGIC = 0xf7, VERSION = 1, FIRST_IGNORED_KEY = 128 };

enum { MAX_FRAME = 1, MAX_CALLS = 2, WINDOW = 3, KEY_ID = 4, MAX_MESSAGE = 5, LAST_KEY = 5 };

_Static_assert(sizeof(struct framed_opening) <= 128, "an opening is small");

static const uint8_t letters[] = {[FRAMED_CONNECTOR] = 0x46, [FRAMED_ACCEPTOR] = 0x66};

/* ---- modes ---- */

static bool is_session(uint8_t mode)
{
    return (mode & 15) == FRAMED_SESSION;
}

bool framed_mode_exists(uint8_t mode)
{
    unsigned p = framed_mode_protection(mode);
    return (mode & 15) <= FRAMED_SESSION &&
           (p <= FRAMED_BLAKE2B || (p >= FRAMED_SHARED_KEY && p <= FRAMED_SHARED_AND_PINNED));
}

static size_t trailer_of(uint8_t mode)
{
    return framed_sum_size(framed_mode_protection(mode));
}

/* With encryption the acceptor's HELLO is inside the second message of the handshake (§7.5). */
static bool has_hello(enum framed_side from, uint8_t mode)
{
    return from == FRAMED_CONNECTOR || !framed_encrypts(framed_mode_protection(mode));
}

/* ---- what a listener accepts ---- */

enum framed_status framed_accept_add(struct framed_accept *accept, uint8_t mode)
{
    if (!framed_mode_exists(mode)) return FRAMED_USAGE;
    accept->with[mode & 15] |= (uint16_t)(1u << framed_mode_protection(mode));
    return FRAMED_OK;
}

bool framed_accept_has(const struct framed_accept *accept, uint8_t mode)
{
    return framed_mode_exists(mode) && (accept->with[mode & 15] >> framed_mode_protection(mode) & 1) != 0;
}

struct framed_accept framed_accept_default(const struct framed_accept *built, unsigned keys)
{
    static const uint16_t by_keys[] = {
        [FRAMED_NO_KEYS] = 1u << FRAMED_UNPROTECTED | 1u << FRAMED_CRC32C | 1u << FRAMED_BLAKE2B,
        [FRAMED_KEYS_SHARED] = 1u << FRAMED_SHARED_KEY,
        [FRAMED_KEYS_PINNED] = 1u << FRAMED_PINNED_KEYS,
        [FRAMED_KEYS_SHARED | FRAMED_KEYS_PINNED] = 1u << FRAMED_SHARED_AND_PINNED,
    };
    uint16_t protections = by_keys[keys & (FRAMED_KEYS_SHARED | FRAMED_KEYS_PINNED)];
    return (struct framed_accept){.with = {built->with[0] & protections, built->with[1] & protections},
                                  .plain = built->plain && keys == FRAMED_NO_KEYS};
}

/* ---- faults ---- */

enum shown { NOTHING, NUMBER, BYTE, WORD, MODE, MODES, KEYS };

static const struct {
    const char *name;
    const char *words;
    enum shown found, allowed;
} faults[] = {
    [FRAMED_FAULT_NONE] = {"none", "nothing is wrong", NOTHING, NOTHING},
    [FRAMED_FAULT_NO_PREFACE] = {"no_preface", "no preface, where one must come", WORD, MODES},
    [FRAMED_FAULT_WORD] = {"word", "neither a length nor a preface", WORD, MODES},
    [FRAMED_FAULT_REFLECTED] = {"reflected", "the preface of the same side, as a mirror sends it", BYTE, BYTE},
    [FRAMED_FAULT_VERSION] = {"version", "a version that is not spoken here", NUMBER, NUMBER},
    [FRAMED_FAULT_MODE] = {"mode", "a mode that is not accepted here", MODE, MODES},
    [FRAMED_FAULT_ANSWER] = {"answer", "not the mode that was asked for", MODE, MODE},
    [FRAMED_FAULT_LENGTH] = {"length", "the length of the HELLO", NUMBER, NUMBER},
    [FRAMED_FAULT_SUM] = {"sum", "the checksum of the HELLO is not that of its bytes", WORD, NOTHING},
    [FRAMED_FAULT_ORDER] = {"out_of_order", "a key that is not above the one before", NUMBER, NUMBER},
    [FRAMED_FAULT_UNKNOWN] = {"unknown", "an unknown key below 128", NUMBER, KEYS},
    [FRAMED_FAULT_MISPLACED] = {"misplaced", "a parameter of another mode or of the other side", NUMBER, KEYS},
    [FRAMED_FAULT_SIZE] = {"size", "the size of a parameter", NUMBER, NUMBER},
    [FRAMED_FAULT_CUT] = {"cut", "a parameter behind the end of the HELLO", NUMBER, NUMBER},
    [FRAMED_FAULT_RANGE] = {"range", "a parameter out of its range", NUMBER, NUMBER},
    [FRAMED_FAULT_MISSING] = {"missing", "a parameter that must be there is missing", NOTHING, NOTHING},
    [FRAMED_FAULT_END] = {"end", "the stream ended inside the opening", NOTHING, NOTHING},
};

const char *framed_fault_name(enum framed_fault_kind what)
{
    return faults[what].name;
}

struct text {
    char *at, *end; /* the NUL's place is kept free */
};

static void say(struct text *t, const char *words)
{
    while (*words != '\0' && t->at < t->end) *t->at++ = *words++;
}

static void say_number(struct text *t, uint32_t n)
{
    char digits[11] = {0}, *first = digits + 10;
    do {
        *--first = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    say(t, first);
}

static void say_hex(struct text *t, uint32_t n, unsigned digits)
{
    for (; digits > 0; digits--) {
        char c[2] = {"0123456789abcdef"[n >> 4 * (digits - 1) & 15], '\0'};
        say(t, c);
    }
}

/* "10 (crc32c)", "11 (crc32c, session)"; one that does not exist is its number alone. */
static void say_mode(struct text *t, uint8_t mode)
{
    static const char *const protections[] = {
        [FRAMED_UNPROTECTED] = "no checksum", [FRAMED_CRC32C] = "crc32c",
        [FRAMED_BLAKE2B] = "blake2b",         [FRAMED_SHARED_KEY] = "a shared key",
        [FRAMED_PINNED_KEYS] = "pinned keys", [FRAMED_SHARED_AND_PINNED] = "both keys"};
    say_hex(t, mode, 2);
    if (!framed_mode_exists(mode)) return;
    say(t, " (");
    say(t, protections[framed_mode_protection(mode)]);
    if (is_session(mode)) say(t, ", session");
    say(t, ")");
}

static void say_modes(struct text *t, const struct framed_accept *accepts)
{
    bool first = !accepts->plain;
    if (accepts->plain) say(t, "plain frames");
    for (unsigned mode = 0; mode < 256; mode++) {
        if (!framed_accept_has(accepts, (uint8_t)mode)) continue;
        if (!first) say(t, ", ");
        say_mode(t, (uint8_t)mode);
        first = false;
    }
}

static void say_found(struct text *t, const struct framed_fault *fault)
{
    static const char *const names[LAST_KEY + 1] = {"", " max_frame", " max_calls", " window", " key id", " max_message"};
    enum shown how = faults[fault->what].found;
    if (how != NOTHING || fault->key != 0) say(t, ":");
    if (fault->key <= LAST_KEY) say(t, names[fault->key]);
    if (how != NOTHING) say(t, " ");
    if (how == NUMBER) say_number(t, fault->found);
    if (how == BYTE) say_hex(t, fault->found, 2);
    if (how == MODE) say_mode(t, (uint8_t)fault->found);
    if (how != WORD) return;
    say_hex(t, fault->found, 8);
    const char *hint = fault->what == FRAMED_FAULT_SUM ? NULL : framed_length_hint(fault->found);
    if (hint == NULL) return;
    say(t, ", this looks like ");
    say(t, hint);
}

static void say_allowed(struct text *t, const struct framed_fault *fault)
{
    enum shown how = faults[fault->what].allowed;
    if (how == NOTHING) return;
    if (how == MODES && !fault->accepts.plain && fault->accepts.with[0] == 0 && fault->accepts.with[1] == 0) return;
    say(t, "; allowed ");
    if (how == MODES) say_modes(t, &fault->accepts);
    bool first = true;
    for (unsigned key = 1; how == KEYS && key <= LAST_KEY; key++) {
        if ((fault->most >> key & 1) == 0) continue;
        if (!first) say(t, " ");
        say_number(t, key);
        first = false;
    }
    if (how == BYTE) say_hex(t, fault->most, 2);
    if (how == MODE) say_mode(t, (uint8_t)fault->most);
    if (how != NUMBER) return;
    say_number(t, fault->least);
    if (fault->least == fault->most) return;
    say(t, " to ");
    say_number(t, fault->most);
}

void framed_fault_say(const struct framed_fault *fault, char *to, size_t room)
{
    struct text t = {to, to + room - 1};
    say(&t, "byte ");
    say_number(&t, fault->at);
    say(&t, ": ");
    say(&t, faults[fault->what].words);
    say_found(&t, fault);
    say_allowed(&t, fault);
    to[t.at - to] = '\0';
}

/* ---- parameters: the table of §7.4 ---- */

struct parameter {
    uint8_t size_least, size_most;
    uint32_t least, most, absent; /* of a number */
};

static const struct parameter parameters[LAST_KEY + 1] = {
    [MAX_FRAME] = {4, 4, FRAMED_PARAMETER_LEAST, FRAMED_FRAME_MOST, FRAMED_FRAME_DEFAULT},
    [MAX_CALLS] = {2, 2, 1, 65535, 128},
    [WINDOW] = {4, 4, FRAMED_PARAMETER_LEAST, FRAMED_FRAME_MOST, 256u << 10},
    [KEY_ID] = {0, FRAMED_KEY_ID_MOST, 0, 0, 0},
    [MAX_MESSAGE] = {4, 4, FRAMED_PARAMETER_LEAST, FRAMED_FRAME_MOST, FRAMED_FRAME_DEFAULT},
};

static bool belongs(unsigned key, enum framed_side from, uint8_t mode)
{
    unsigned p = framed_mode_protection(mode);
    if (key == MAX_FRAME) return true;
    if (key == MAX_CALLS) return is_session(mode) && from == FRAMED_ACCEPTOR;
    if (key == KEY_ID) return (p == FRAMED_SHARED_KEY || p == FRAMED_SHARED_AND_PINNED) && from == FRAMED_CONNECTOR;
    return is_session(mode);
}

static uint32_t keys_of(enum framed_side from, uint8_t mode)
{
    uint32_t keys = 0;
    for (unsigned key = 1; key <= LAST_KEY; key++)
        if (belongs(key, from, mode)) keys |= 1u << key;
    return keys;
}

/* Where the number of this key is kept. */
static uint32_t *number_of(struct framed_hello *hello, unsigned key)
{
    if (key == MAX_FRAME) return &hello->max_frame;
    if (key == MAX_CALLS) return &hello->max_calls;
    return key == WINDOW ? &hello->window : &hello->max_message;
}

struct framed_hello framed_hello_least(enum framed_side from, uint8_t mode)
{
    struct framed_hello hello = {0};
    for (unsigned key = 1; key <= LAST_KEY; key++)
        if (key != KEY_ID && belongs(key, from, mode)) *number_of(&hello, key) = parameters[key].least;
    return hello;
}

static bool number_fits(unsigned key, uint32_t n)
{
    return n >= parameters[key].least && n <= parameters[key].most;
}

static struct framed_fault range_fault(unsigned key, size_t at, uint32_t n)
{
    return (struct framed_fault){.what = FRAMED_FAULT_RANGE,
                                 .at = (uint8_t)at,
                                 .key = (uint8_t)key,
                                 .found = n,
                                 .least = parameters[key].least,
                                 .most = parameters[key].most};
}

static struct framed_fault misplaced(unsigned key, size_t at, enum framed_side from, uint8_t mode)
{
    return (struct framed_fault){.what = key >= 1 && key <= LAST_KEY ? FRAMED_FAULT_MISPLACED : FRAMED_FAULT_UNKNOWN,
                                 .at = (uint8_t)at,
                                 .key = (uint8_t)key,
                                 .found = key,
                                 .most = keys_of(from, mode)};
}

static struct framed_fault size_fault(unsigned key, size_t at, size_t size)
{
    return (struct framed_fault){.what = FRAMED_FAULT_SIZE,
                                 .at = (uint8_t)at,
                                 .key = (uint8_t)key,
                                 .found = (uint32_t)size,
                                 .least = parameters[key].size_least,
                                 .most = parameters[key].size_most};
}

/* ---- HELLO: writing ---- */

static size_t put_number(uint8_t *to, unsigned key, uint32_t n)
{
    uint8_t word[4], size = parameters[key].size_least;
    be32_put(word, n);
    to[0] = (uint8_t)key;
    to[1] = size;
    memcpy(to + 2, word + 4 - size, size);
    return 2u + size;
}

static size_t put_key_id(uint8_t *to, struct framed_bytes id)
{
    to[0] = KEY_ID;
    to[1] = (uint8_t)id.len;
    if (id.len > 0) memcpy(to + 2, id.at, id.len);
    return 2 + id.len;
}

/* Whether it may be sent: what does not belong must not be given. */
static bool can_send(unsigned key, struct framed_hello *hello, enum framed_side from, uint8_t mode,
                     struct framed_fault *fault)
{
    bool given = key == KEY_ID ? hello->key_id.len > 0 : *number_of(hello, key) != 0;
    if (!given) return true;
    if (!belongs(key, from, mode))
        *fault = misplaced(key, 0, from, mode);
    else if (key == KEY_ID && hello->key_id.len > FRAMED_KEY_ID_MOST)
        *fault = size_fault(key, 0, hello->key_id.len);
    else if (key != KEY_ID && !number_fits(key, *number_of(hello, key)))
        *fault = range_fault(key, 0, *number_of(hello, key));
    else
        return true;
    return false;
}

enum framed_status framed_hello_encode(uint8_t to[FRAMED_HELLO_MOST], size_t *n, enum framed_side from, uint8_t mode,
                                       const struct framed_hello *hello, struct framed_fault *fault)
{
    struct framed_hello h = *hello;
    size_t len = 0;
    for (unsigned key = 1; key <= LAST_KEY; key++)
        if (!can_send(key, &h, from, mode, fault)) return FRAMED_USAGE;
    for (unsigned key = 1; key <= LAST_KEY; key++) {
        if (!belongs(key, from, mode)) continue;
        if (key == KEY_ID)
            len += put_key_id(to + len, h.key_id);
        else if (*number_of(&h, key) != 0 && *number_of(&h, key) != parameters[key].absent)
            len += put_number(to + len, key, *number_of(&h, key));
    }
    *n = len;
    return FRAMED_OK;
}

/* ---- HELLO: reading ---- */

static uint32_t number_at(const uint8_t *at, size_t size)
{
    uint8_t word[4] = {0};
    memcpy(word + 4 - size, at, size);
    return be32_get(word);
}

static struct framed_fault cut_fault(unsigned key, size_t at, size_t wanted, size_t left)
{
    return (struct framed_fault){
        .what = FRAMED_FAULT_CUT, .at = (uint8_t)at, .key = (uint8_t)key, .found = (uint32_t)wanted, .most = (uint32_t)left};
}

/* One parameter off the front of what is at `at`, judged in the order of its bytes. False: *fault says why. */
static bool take_parameter(struct framed_bytes all, size_t *at, enum framed_side from, uint8_t mode,
                           struct framed_hello *hello, struct framed_fault *fault)
{
    unsigned key = all.at[*at];
    bool ignored = key >= FIRST_IGNORED_KEY;
    if (!ignored && (key < 1 || key > LAST_KEY || !belongs(key, from, mode))) {
        *fault = misplaced(key, *at, from, mode);
        return false;
    }
    size_t left = all.len - *at - 1;
    if (left == 0) {
        *fault = cut_fault(key, *at + 1, 1, 0);
        return false;
    }
    size_t size = all.at[*at + 1];
    if (!ignored && (size < parameters[key].size_least || size > parameters[key].size_most)) {
        *fault = size_fault(key, *at + 1, size);
        return false;
    }
    if (size > left - 1) {
        *fault = cut_fault(key, *at + 1, size, left - 1);
        return false;
    }
    const uint8_t *value = all.at + *at + 2;
    if (key == KEY_ID) hello->key_id = framed_bytes_of(value, size);
    if (!ignored && key != KEY_ID) {
        *number_of(hello, key) = number_at(value, size);
        if (!number_fits(key, *number_of(hello, key))) {
            *fault = range_fault(key, *at + 2, *number_of(hello, key));
            return false;
        }
    }
    *at += 2 + size;
    return true;
}

enum framed_status framed_hello_decode(struct framed_bytes all, enum framed_side from, uint8_t mode,
                                       struct framed_hello *hello, struct framed_fault *fault)
{
    struct framed_hello h = {0};
    for (unsigned key = 1; key <= LAST_KEY; key++)
        if (key != KEY_ID && belongs(key, from, mode)) *number_of(&h, key) = parameters[key].absent;
    if (all.len > FRAMED_HELLO_MOST) {
        *fault = (struct framed_fault){.what = FRAMED_FAULT_LENGTH, .found = (uint32_t)all.len, .most = FRAMED_HELLO_MOST};
        return FRAMED_TOO_LARGE;
    }
    int last = -1;
    for (size_t at = 0; at < all.len;) {
        uint8_t key = all.at[at];
        if (key <= last) {
            *fault = (struct framed_fault){.what = FRAMED_FAULT_ORDER,
                                           .at = (uint8_t)at,
                                           .key = key,
                                           .found = key,
                                           .least = (uint32_t)last + 1,
                                           .most = 255};
            return FRAMED_MALFORMED;
        }
        if (!take_parameter(all, &at, from, mode, &h, fault)) return FRAMED_MALFORMED;
        last = key;
    }
    if (belongs(KEY_ID, from, mode) && h.key_id.at == NULL) {
        *fault = (struct framed_fault){.what = FRAMED_FAULT_MISSING, .at = (uint8_t)all.len, .key = KEY_ID};
        return FRAMED_MALFORMED;
    }
    *hello = h;
    return FRAMED_OK;
}

/* ---- a whole opening ---- */

static void put_preface(uint8_t to[FRAMED_PREFACE_SIZE], enum framed_side from, uint8_t mode)
{
    to[0] = MAGIC;
    to[1] = letters[from];
    to[2] = VERSION;
    to[3] = mode;
}

enum framed_status framed_opening_encode(uint8_t to[FRAMED_OPENING_MOST], size_t *n, enum framed_side from, uint8_t mode,
                                         const struct framed_hello *hello, struct framed_fault *fault)
{
    size_t len = 0, trailer = trailer_of(mode);
    if (!framed_mode_exists(mode)) {
        *fault = (struct framed_fault){.what = FRAMED_FAULT_MODE, .at = 3, .found = mode};
        return FRAMED_USAGE;
    }
    if (framed_mode_protection(mode) == FRAMED_BLAKE2B && !framed_has_blake2b()) return FRAMED_UNSUPPORTED;
    enum framed_status st = framed_hello_encode(to + HEAD, &len, from, mode, hello, fault);
    if (st != FRAMED_OK) return st;
    put_preface(to, from, mode);
    *n = FRAMED_PREFACE_SIZE;
    if (!has_hello(from, mode)) return FRAMED_OK;
    be32_put(to + FRAMED_PREFACE_SIZE, (uint32_t)(len + trailer));
    *n = HEAD + len + trailer;
    if (trailer == 0) return FRAMED_OK;
    const struct framed_sum_place place = {.from = from, .with = framed_mode_protection(mode), .preface = to};
    return framed_sum_add(to + HEAD, len, &place);
}

static bool lacks_blake2b(const struct framed_accept *accepts)
{
    return ((accepts->with[0] | accepts->with[1]) >> FRAMED_BLAKE2B & 1) != 0 && !framed_has_blake2b();
}

enum framed_status framed_opening_accept(struct framed_opening *o, const struct framed_accept *accepts)
{
    if (lacks_blake2b(accepts)) return FRAMED_UNSUPPORTED;
    *o = (struct framed_opening){.accepts = *accepts, .from = FRAMED_CONNECTOR};
    return FRAMED_OK;
}

enum framed_status framed_opening_connect(struct framed_opening *o, uint8_t mode)
{
    struct framed_accept answer = {0};
    enum framed_status st = framed_accept_add(&answer, mode);
    if (st != FRAMED_OK) return st;
    if (lacks_blake2b(&answer)) return FRAMED_UNSUPPORTED;
    *o = (struct framed_opening){.accepts = answer, .from = FRAMED_ACCEPTOR, .mode = mode};
    return FRAMED_OK;
}

static enum framed_status fail(struct framed_opening *o, enum framed_status st, struct framed_fault fault)
{
    o->state = FAILED;
    o->failed = (int8_t)st;
    o->u.fault = fault;
    return st;
}

/* Takes bytes off *in until there are n of them. */
static bool collect(struct framed_opening *o, struct framed_bytes *in, size_t n)
{
    size_t more = n - o->have < in->len ? n - o->have : in->len;
    if (more > 0) { /* else `at` may be NULL */
        memcpy(o->u.bytes + o->have, in->at, more);
        *in = framed_bytes_of(in->at + more, in->len - more);
        o->have = (uint8_t)(o->have + more);
    }
    return o->have == n;
}

static enum framed_status go_on(struct framed_opening *o, uint8_t state)
{
    o->state = state;
    o->have = 0;
    return FRAMED_OK;
}

static enum framed_status judge_preface(struct framed_opening *o)
{
    const uint8_t *b = o->u.bytes;
    uint8_t theirs = letters[o->from];
    struct framed_fault fault = {.found = be32_get(b), .accepts = o->accepts};
    if (b[0] < 0x80) {
        fault.what = FRAMED_FAULT_NO_PREFACE;
        return fail(o, FRAMED_MALFORMED, fault);
    }
    if (b[0] != MAGIC || (b[1] != letters[0] && b[1] != letters[1])) {
        fault.what = FRAMED_FAULT_WORD;
        return fail(o, FRAMED_TOO_LARGE, fault); /* as on a plain connection: it is no length (§2.2) */
    }
    if (b[1] != theirs)
        fault =
            (struct framed_fault){.what = FRAMED_FAULT_REFLECTED, .at = 1, .found = b[1], .least = theirs, .most = theirs};
    else if (b[2] != VERSION)
        fault =
            (struct framed_fault){.what = FRAMED_FAULT_VERSION, .at = 2, .found = b[2], .least = VERSION, .most = VERSION};
    else if (o->from == FRAMED_ACCEPTOR && b[3] != o->mode)
        fault =
            (struct framed_fault){.what = FRAMED_FAULT_ANSWER, .at = 3, .found = b[3], .least = o->mode, .most = o->mode};
    else if (o->from == FRAMED_CONNECTOR && !framed_accept_has(&o->accepts, b[3]))
        fault = (struct framed_fault){.what = FRAMED_FAULT_MODE, .at = 3, .found = b[3], .accepts = o->accepts};
    if (fault.what != FRAMED_FAULT_NONE) return fail(o, FRAMED_MALFORMED, fault);
    o->mode = b[3];
    return go_on(o, has_hello(o->from, o->mode) ? WANT_LENGTH : OPEN);
}

static enum framed_status judge_length(struct framed_opening *o)
{
    uint32_t len = be32_get(o->u.bytes), least = (uint32_t)trailer_of(o->mode), most = FRAMED_HELLO_MOST + least;
    if (len < least || len > most)
        return fail(o, len > most ? FRAMED_TOO_LARGE : FRAMED_MALFORMED,
                    (struct framed_fault){.what = FRAMED_FAULT_LENGTH, .at = 4, .found = len, .least = least, .most = most});
    o->need = (uint8_t)len;
    return go_on(o, WANT_HELLO);
}

static struct framed_bytes parameters_in(const struct framed_opening *o)
{
    return framed_bytes_of(o->u.bytes, o->need - trailer_of(o->mode));
}

static enum framed_status judge_hello(struct framed_opening *o)
{
    struct framed_bytes whole = framed_bytes_of(o->u.bytes, o->need), params = parameters_in(o);
    struct framed_hello hello;
    struct framed_fault fault;
    uint8_t preface[FRAMED_PREFACE_SIZE];
    put_preface(preface, o->from, o->mode);
    struct framed_sum_place place = {.from = o->from, .with = framed_mode_protection(o->mode), .preface = preface};
    if (trailer_of(o->mode) > 0 && framed_sum_check(&whole, &place) != FRAMED_OK)
        return fail(o, FRAMED_MALFORMED,
                    (struct framed_fault){.what = FRAMED_FAULT_SUM,
                                          .at = (uint8_t)(HEAD + params.len),
                                          .found = be32_get(params.at + params.len)});
    enum framed_status st = framed_hello_decode(params, o->from, o->mode, &hello, &fault);
    if (st == FRAMED_OK) return go_on(o, OPEN);
    fault.at = (uint8_t)(fault.at + HEAD);
    return fail(o, st, fault);
}

static bool is_plain(const struct framed_opening *o, struct framed_bytes in)
{
    return o->state == WANT_PREFACE && o->accepts.plain && o->have == 0 && in.len > 0 && in.at[0] < 0x80;
}

enum framed_status framed_opening_next(struct framed_opening *o, struct framed_bytes *in)
{
    enum framed_status st = FRAMED_OK;
    if (is_plain(o, *in)) {
        o->plain = true;
        o->state = OPEN;
    }
    while (st == FRAMED_OK && o->state < OPEN) {
        if (!collect(o, in, o->state == WANT_HELLO ? o->need : 4)) return FRAMED_MORE;
        st = o->state == WANT_PREFACE ? judge_preface(o) : o->state == WANT_LENGTH ? judge_length(o) : judge_hello(o);
    }
    return o->state == FAILED ? (enum framed_status)o->failed : FRAMED_OK;
}

size_t framed_opening_wants(const struct framed_opening *o)
{
    if (o->state == WANT_HELLO) return (size_t)o->need - o->have;
    bool plain_yet = o->have == 0 && o->accepts.plain; /* a first byte may be a frame's */
    bool hello_follows = o->state == WANT_PREFACE && !plain_yet && o->from == FRAMED_ACCEPTOR && has_hello(o->from, o->mode);
    return (plain_yet ? 1u : 4u - o->have) + (hello_follows ? FRAMED_LENGTH_SIZE : 0u);
}

enum framed_status framed_opening_end(struct framed_opening *o)
{
    if (o->state == FAILED) return (enum framed_status)o->failed;
    bool nothing_came = o->state == WANT_PREFACE && o->have == 0 && o->from == FRAMED_CONNECTOR;
    if (o->state == OPEN || nothing_came) return FRAMED_CLOSED;
    size_t at = (o->state == WANT_PREFACE ? 0u : o->state == WANT_LENGTH ? FRAMED_PREFACE_SIZE : HEAD) + o->have;
    return fail(o, FRAMED_TRUNCATED, (struct framed_fault){.what = FRAMED_FAULT_END, .at = (uint8_t)at});
}

const struct framed_fault *framed_opening_fault(const struct framed_opening *o)
{
    return o->state == FAILED ? &o->u.fault : NULL;
}

bool framed_opening_has_hello(const struct framed_opening *o)
{
    return o->state == OPEN && !o->plain && has_hello(o->from, o->mode);
}

struct framed_hello framed_opening_hello(const struct framed_opening *o)
{
    struct framed_hello hello = {0};
    struct framed_fault fault;
    check(framed_opening_has_hello(o));
    check(framed_hello_decode(parameters_in(o), o->from, o->mode, &hello, &fault) == FRAMED_OK);
    return hello;
}
