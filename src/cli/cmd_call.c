/*
 * Owns: `framed call`: messages from arguments, files or standard input; the calls in flight; their timeouts; what is said at
 * the end.
 * Must not know: how to wait, read or write (host.h), how messages are cut (input.h) or printed (output.h); the wire.
 * Invariants: memory is bounded (input is read only when a message can be sent); every message that was taken is reported
 * once; time in which standard output takes nothing counts towards no timeout; the process never outlives a peer that has gone.
 *
 *     CONNECTING -> RUNNING -> (FINISHING) -> over
 *
 * RUNNING takes input and prints what comes. FINISHING (only --no-reply): all is sent and half-closed, the peer's end is awaited.
 */
#include "commands.h"
#include "host.h"
#include "input.h"
#include "keyring.h"
#include "os.h"
#include "output.h"
#include <assert.h>
#include <framed/framed.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    EVENTS_A_ROUND = 64, /* then signals and standard input have their turn */
    LOOK_MS = 100,       /* the end of standard input is waited for no longer when the peer has ended */
};

enum call_state { CONNECTING, RUNNING, FINISHING };
enum call_manner { ONE_REPLY_EACH, NO_REPLIES, FOLLOW };

/* One unanswered message. */
struct flight {
    uint64_t id;
    uint64_t seq;
    uint64_t begun_ns;
};

struct call {
    const struct cli_options *options;
    const struct framed_allocator *alloc;
    const char *address;
    enum call_state state;
    enum call_manner manner;
    uint32_t max_frame;
    const char *congestion;
    uint64_t timeout_ns; /* OS_FOREVER: none */
    struct framed_client *client;
    struct keyring keys;

    /* messages on their way in */
    bool from_arguments;
    int cursor;             /* in the arguments */
    struct framed_buf file; /* the message of the last -f */
    struct cli_input input;
    bool starving;     /* standard input must be read first */
    bool input_over;   /* there are no more messages, or none can be had */
    bool have_message; /* `message` waits to be sent */
    struct framed_bytes message;
    uint64_t taken; /* messages taken so far */

    /* calls in flight: a ring of `pipeline`, answered in order */
    struct flight *flights;
    size_t pipeline, first, in_flight;

    struct cli_output out;
    uint64_t received;   /* frames that answer nothing (--follow) */
    uint64_t unsent;     /* messages that were surely not executed */
    uint64_t unanswered; /* messages that may have been executed */
    uint64_t blocked_ns; /* how long standard output has taken nothing */
    uint64_t since_ns;   /* CONNECTING, FINISHING: since when the peer is silent */

    bool ended;               /* the connection is over, */
    enum framed_status end;   /* because of this */
    enum cli_exit input_code; /* what was wrong with the input */
};

/* ---- time and output ---- */

static uint64_t now_ns(const struct call *c)
{
    return framed_os_clock_ns() - c->blocked_ns;
}

static enum framed_status write_out(void *ctx, const uint8_t *at, size_t n)
{
    struct call *c = ctx;
    uint64_t before = framed_os_clock_ns();
    enum framed_status st = framed_host_write(at, n);
    c->blocked_ns += framed_os_clock_ns() - before;
    return st;
}

/* Nothing more can be printed: what is under way is of no use to anyone. */
static _Noreturn void output_failed(enum framed_status st)
{
    if (st == FRAMED_CLOSED) framed_host_quit(CLI_SUCCESS); /* the reader has what he wanted: | head */
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    framed_host_quit(CLI_LOCAL);
}

static void print(struct call *c, const struct cli_result *result)
{
    enum framed_status st = framed_output_result(&c->out, result);
    if (st != FRAMED_OK) output_failed(st);
}

static void flush(struct call *c)
{
    enum framed_status st = framed_output_flush(&c->out);
    if (st != FRAMED_OK) output_failed(st);
}

static void print_failure(struct call *c, uint64_t seq, enum framed_outcome outcome, const char *why)
{
    bool unsent = outcome == FRAMED_NOT_EXECUTED;
    if (unsent)
        c->unsent++;
    else
        c->unanswered++;
    print(c, &(struct cli_result){.seq = seq, .outcome = unsent ? "not_executed" : "maybe_executed", .error = why});
}

/* ---- messages ---- */

static void too_long(struct call *c, const char *what, uint64_t seq, uint64_t claimed, bool exact)
{
    framed_host_say("%s %" PRIu64 " has %" PRIu64 " bytes%s; at most %" PRIu32 " are allowed (--max-frame)", what, seq,
                    claimed, exact ? "" : " or more", c->max_frame);
    c->input_code = CLI_LOCAL;
}

static void file_failed(struct call *c, const char *path, uint64_t seq, enum framed_status st, uint64_t size)
{
    if (st == FRAMED_TOO_LARGE) {
        framed_host_say("%.200s: message %" PRIu64 " has %" PRIu64 " bytes%s; at most %" PRIu32 " are allowed (--max-frame)",
                        path, seq, size > 0 ? size : (uint64_t)c->max_frame + 1, size > 0 ? "" : " or more", c->max_frame);
    } else {
        framed_host_say("%.200s: %s", path, st == FRAMED_OS ? framed_host_error() : framed_status_text(st));
    }
    c->input_code = CLI_LOCAL;
}

/* The next -m or -f. FRAMED_CLOSED: there are no more. */
static enum framed_status next_argument(struct call *c, enum cli_option_id *id, const char **text)
{
    while (framed_options_next(c->options, &c->cursor, id, text))
        if (*id == OPT_MESSAGE || *id == OPT_FILE) return FRAMED_OK;
    return FRAMED_CLOSED;
}

/* What can be known to be wrong with the arguments is said before anything is sent. */
static enum cli_exit check_arguments(struct call *c)
{
    enum cli_option_id id;
    const char *text;
    for (uint64_t seq = 1; next_argument(c, &id, &text) == FRAMED_OK; seq++) {
        uint64_t size = strlen(text);
        if (id == OPT_MESSAGE && size > c->max_frame) {
            too_long(c, "message", seq, size, true);
            c->input_code = CLI_USAGE; /* two options that contradict each other */
        }
        if (id == OPT_FILE) {
            enum framed_status st = framed_host_check_file(text, c->max_frame, &size);
            if (st != FRAMED_OK) file_failed(c, text, seq, st, size);
        }
        if (c->input_code != CLI_SUCCESS) return c->input_code;
    }
    c->cursor = 0;
    return CLI_SUCCESS;
}

static enum framed_status message_from_arguments(struct call *c)
{
    enum cli_option_id id;
    const char *text;
    enum framed_status st = next_argument(c, &id, &text);
    if (st != FRAMED_OK) return st;
    if (id == OPT_MESSAGE) {
        c->message = framed_bytes_str(text);
        return FRAMED_OK;
    }
    framed_buf_fini(&c->file, c->alloc);
    st = framed_host_load_file(text, c->max_frame, &c->file, c->alloc);
    if (st != FRAMED_OK) file_failed(c, text, c->taken + 1, st, 0);
    c->message = framed_bytes_of(c->file.at, c->file.len);
    return st;
}

static enum framed_status message_from_input(struct call *c)
{
    enum framed_status st = framed_input_next(&c->input, &c->message);
    bool exact = false;
    switch (st) {
    case FRAMED_OK:
    case FRAMED_MORE:
    case FRAMED_CLOSED: break;
    case FRAMED_TOO_LARGE:
        too_long(c, c->input.mode == INPUT_LINES ? "line" : "message", c->taken + 1, framed_input_claimed(&c->input, &exact),
                 c->input.exact);
        break;
    case FRAMED_TRUNCATED:
        framed_host_say("standard input ends inside message %" PRIu64, c->taken + 1);
        c->input_code = CLI_LOCAL;
        break;
    default:
        framed_host_say("message %" PRIu64 ": %s", c->taken + 1, framed_status_text(st));
        c->input_code = CLI_LOCAL;
        break;
    }
    return st;
}

/* Sees to it that a message waits to be sent. False: there is none, or not yet. */
static bool take_message(struct call *c)
{
    if (c->have_message) return true;
    if (c->input_over) return false;
    enum framed_status st = c->from_arguments ? message_from_arguments(c) : message_from_input(c);
    c->starving = st == FRAMED_MORE;
    c->have_message = st == FRAMED_OK;
    c->input_over = st != FRAMED_OK && st != FRAMED_MORE;
    if (c->have_message) c->taken++;
    return c->have_message;
}

static void read_input(struct call *c)
{
    size_t room, n;
    uint8_t *at = framed_input_room(&c->input, &room);
    enum framed_status st = framed_host_read(at, room, &n);
    if (st == FRAMED_MORE) return;
    c->starving = false;
    if (st == FRAMED_OK) {
        framed_input_filled(&c->input, n);
        return;
    }
    if (st != FRAMED_CLOSED) {
        /* Half a message is not sent; those before it are, and their replies awaited. */
        framed_host_say("cannot read standard input: %s", framed_host_error());
        c->input_code = CLI_LOCAL;
        c->input_over = true;
    }
    framed_input_end(&c->input);
}

/* ---- the connection ---- */

static void on_reply(struct call *c, const struct framed_event *event)
{
    assert(c->in_flight > 0 && c->flights[c->first].id == event->call); /* the n-th reply answers the n-th request */
    struct flight flight = c->flights[c->first];
    c->first = (c->first + 1) % c->pipeline;
    c->in_flight--;
    if (event->outcome != FRAMED_REPLY) {
        print_failure(c, flight.seq, event->outcome, framed_status_text(event->status));
        return;
    }
    print(c, &(struct cli_result){.seq = flight.seq,
                                  .outcome = "reply",
                                  .payload = event->payload,
                                  .timed = true,
                                  .rtt_ns = now_ns(c) - flight.begun_ns});
}

static void on_event(struct call *c, const struct framed_event *event)
{
    switch (event->kind) {
    case FRAMED_EVENT_REPLY: on_reply(c, event); break;
    case FRAMED_EVENT_MESSAGE:
        c->since_ns = now_ns(c);
        if (c->manner == FOLLOW)
            print(c, &(struct cli_result){.seq = ++c->received, .outcome = "message", .payload = event->payload});
        break;
    case FRAMED_EVENT_WRITABLE:
        if (c->state == CONNECTING) c->state = RUNNING;
        break;
    case FRAMED_EVENT_ENDED:
        c->ended = true;
        c->end = event->status;
        break;
    }
}

/* True when there was any. */
static bool take_events(struct call *c)
{
    for (int i = 0; i < EVENTS_A_ROUND && !c->ended; i++) {
        struct framed_event event;
        enum framed_status st = framed_client_next(c->client, 0, &event);
        if (st == FRAMED_MORE) return i > 0;
        if (st == FRAMED_OK) {
            on_event(c, &event);
        } else {
            c->ended = true;
            c->end = st;
        }
    }
    return true;
}

/* FRAMED_FULL: not now. */
static enum framed_status send_message(struct call *c)
{
    if (c->manner != ONE_REPLY_EACH) return framed_client_send(c->client, c->message, 0);
    if (c->in_flight == c->pipeline) return FRAMED_FULL;
    struct flight *flight = &c->flights[(c->first + c->in_flight) % c->pipeline];
    flight->seq = c->taken;
    flight->begun_ns = now_ns(c); /* before: it may leave at once */
    enum framed_status st = framed_client_start(c->client, c->message, FRAMED_NEVER, &flight->id);
    if (st != FRAMED_OK) return st;
    c->in_flight++;
    return FRAMED_OK;
}

/* True when any was sent. */
static bool send_messages(struct call *c)
{
    bool any = false;
    while (c->state == RUNNING && !c->ended && (c->manner != ONE_REPLY_EACH || c->in_flight < c->pipeline) &&
           take_message(c)) {
        enum framed_status st = send_message(c);
        if (st == FRAMED_FULL) return any;
        if (st == FRAMED_TOO_LARGE) { /* it is below --max-frame: so it is the peer's limit */
            framed_host_say("message %" PRIu64 " has %zu bytes; the other end accepts at most %" PRIu32, c->taken,
                            c->message.len, framed_client_longest(c->client));
            c->have_message = false;
            c->input_over = true;
            c->input_code = CLI_LOCAL;
            return true;
        }
        if (st == FRAMED_NOMEM) {
            c->ended = true;
            c->end = st;
        }
        if (st != FRAMED_OK) return true; /* the connection has ended: its ENDED event says why */
        c->have_message = false;
        any = true;
    }
    return any;
}

static bool all_done(const struct call *c)
{
    return c->input_over && !c->have_message && c->in_flight == 0;
}

/* The good end. A call that failed is not answered: then the connection is ending, and its ENDED event says why. */
static bool all_answered(const struct call *c)
{
    return c->manner == ONE_REPLY_EACH && c->state == RUNNING && all_done(c) && c->unsent == 0 && c->unanswered == 0;
}

static void finish_sending(struct call *c)
{
    enum framed_status st = framed_client_finish(c->client);
    if (st != FRAMED_OK) {
        c->ended = true;
        c->end = st;
    }
    c->state = FINISHING;
    c->since_ns = now_ns(c);
}

/* ---- waiting ---- */

/* When the clock for the timeout that runs now was started; OS_FOREVER: none runs. */
static uint64_t clock_start(const struct call *c)
{
    if (c->timeout_ns == OS_FOREVER) return OS_FOREVER;
    if (c->state != RUNNING) return c->since_ns;
    return c->in_flight > 0 ? c->flights[c->first].begun_ns : OS_FOREVER;
}

/* Nanoseconds until the timeout; 0: it has passed; OS_FOREVER: none runs. */
static uint64_t time_left(const struct call *c)
{
    uint64_t start = clock_start(c);
    if (start == OS_FOREVER) return OS_FOREVER;
    uint64_t passed = now_ns(c) - start;
    return passed < c->timeout_ns ? c->timeout_ns - passed : 0;
}

static enum framed_status wait_for_something(struct call *c, bool progress)
{
    struct host_wait wait = {.want_input = c->starving, .watch_output = c->manner != NO_REPLIES};
    enum framed_status st = framed_client_want(c->client, &wait.socket);
    if (st != FRAMED_OK) return st;
    /* While our own bytes still leave, it is not the peer who is late; a peer who takes none meets the send deadline. */
    if (c->state == FINISHING && (wait.socket.events & FRAMED_WANT_WRITE) != 0) c->since_ns = now_ns(c);
    uint64_t left = time_left(c);
    if (left != OS_FOREVER && left / 1000000 < wait.socket.timeout_ms)
        wait.socket.timeout_ms = (uint32_t)(left / 1000000) + 1;
    if (progress) wait.socket.timeout_ms = 0;
    st = framed_host_wait(&wait);
    if (st != FRAMED_OK) return st;
    if (wait.output_gone) output_failed(FRAMED_CLOSED);
    if (wait.input && c->starving) read_input(c);
    return framed_client_step(c->client);
}

/* The peer has ended. If all that was sent has its reply, one look tells whether that was the end of the input too: a read
 * brings that end, or more to ask. */
static void look_for_more(struct call *c)
{
    if (c->manner != ONE_REPLY_EACH || c->state != RUNNING || c->in_flight > 0 || c->unsent > 0 || c->unanswered > 0) return;
    if (take_message(c) || c->input_over) return;
    struct host_wait wait = {.want_input = true, .socket.timeout_ms = LOOK_MS};
    if (framed_host_wait(&wait) != FRAMED_OK || !wait.input) return;
    read_input(c);
    (void)take_message(c);
}

/* ---- the end ---- */

/* Nothing more will be answered: every message that was taken, or named in the arguments, is accounted for. */
static void give_up(struct call *c, const char *why)
{
    if (c->manner == ONE_REPLY_EACH) {
        for (; c->in_flight > 0; c->in_flight--) {
            print_failure(c, c->flights[c->first].seq, FRAMED_MAYBE_EXECUTED, why);
            c->first = (c->first + 1) % c->pipeline;
        }
    }
    enum cli_option_id id;
    const char *text;
    if (c->have_message) print_failure(c, c->taken, FRAMED_NOT_EXECUTED, why);
    c->have_message = false;
    while (c->from_arguments && !c->input_over && next_argument(c, &id, &text) == FRAMED_OK)
        print_failure(c, ++c->taken, FRAMED_NOT_EXECUTED, why);
    flush(c);
}

/* "; 3 of 5 messages unanswered (1 not sent, 2 may have been executed)", or "". */
static void count_text(const struct call *c, char *text, size_t room)
{
    uint64_t n = c->unsent + c->unanswered;
    text[0] = '\0';
    if (c->manner != ONE_REPLY_EACH && c->unsent > 0)
        snprintf(text, room, "; %" PRIu64 " of %" PRIu64 " messages not sent", c->unsent, c->taken);
    else if (n > 0 && c->unsent == 0)
        snprintf(text, room, "; %" PRIu64 " of %" PRIu64 " messages unanswered (may have been executed)", n, c->taken);
    else if (n > 0 && c->unanswered == 0)
        snprintf(text, room, "; %" PRIu64 " of %" PRIu64 " messages unanswered (not executed)", n, c->taken);
    else if (n > 0)
        snprintf(text, room,
                 "; %" PRIu64 " of %" PRIu64 " messages unanswered (%" PRIu64 " not executed, %" PRIu64 " may have been)", n,
                 c->taken, c->unsent, c->unanswered);
}

/* Whether the peer may end the connection without that being a failure. */
static bool end_is_fine(const struct call *c)
{
    return c->end == FRAMED_CLOSED && !c->have_message && (c->manner == FOLLOW || c->state == FINISHING);
}

static int end_of_connection(struct call *c)
{
    if (end_is_fine(c)) {
        flush(c);
        return (int)c->input_code;
    }
    char why[300], count[120];
    const char *error = framed_client_error(c->client);
    if (c->end == FRAMED_CLOSED)
        snprintf(why, sizeof why, "%.120s closed the connection%s", c->address,
                 all_done(c) ? "" : " before all was answered");
    else
        snprintf(why, sizeof why, "%.250s", error[0] != '\0' ? error : framed_status_text(c->end));
    give_up(c, why);
    count_text(c, count, sizeof count);
    framed_host_say("%s%s", why, count);
    return (int)(c->state == CONNECTING ? framed_exit_of_opening(c->end) : framed_exit_of(c->end));
}

/* The two ends that do not wait for the peer any more: the process just goes. */
static _Noreturn void end_of_patience(struct call *c)
{
    char why[80], limit[40], count[120];
    framed_duration_text(c->timeout_ns / 1000000, limit, sizeof limit);
    uint64_t seq = c->in_flight > 0 ? c->flights[c->first].seq : 0;
    snprintf(why, sizeof why, "no reply within %s", limit);
    if (c->state == CONNECTING) snprintf(why, sizeof why, "not connected within %s", limit);
    if (c->state == FINISHING) snprintf(why, sizeof why, "the peer did not close within %s", limit);
    give_up(c, why);
    count_text(c, count, sizeof count);
    if (seq > 0)
        framed_host_say("message %" PRIu64 ": %s%s", seq, why, count);
    else
        framed_host_say("%.120s: %s%s", c->address, why, count);
    framed_host_quit(CLI_TIMED_OUT);
}

static _Noreturn void end_by_signal(struct call *c)
{
    char count[120];
    give_up(c, "interrupted");
    count_text(c, count, sizeof count);
    if (count[0] != '\0') framed_host_say("interrupted%s", count);
    framed_host_quit(128 + framed_host_stopped());
}

/* Whether what ended the connection is a failure even behind the last answer. That somebody cut an encrypted one is none there:
 * mostly we have gone before we could see it. */
static bool ended_badly(const struct call *c)
{
    if (c->end == FRAMED_TRUNCATED && framed_encrypts(c->keys.protection)) return false;
    return c->ended && framed_exit_of(c->end) == CLI_PROTOCOL;
}

/* ---- the loop ---- */

static int run(struct call *c)
{
    for (;;) {
        bool progress = take_events(c);
        progress |= send_messages(c);
        if (c->ended && !ended_badly(c)) look_for_more(c);
        if (all_answered(c) && !ended_badly(c)) break;
        if (c->ended) return end_of_connection(c);
        if (c->manner == FOLLOW && c->input_code != CLI_SUCCESS) break;
        if (c->manner == NO_REPLIES && c->state == RUNNING && all_done(c)) {
            finish_sending(c);
            progress = true;
        }
        flush(c);
        if (framed_host_stopped() != 0) end_by_signal(c);
        if (!progress && time_left(c) == 0) end_of_patience(c);
        enum framed_status st = wait_for_something(c, progress);
        if (st != FRAMED_OK) {
            framed_host_say("cannot wait: %s", framed_status_text(st));
            return CLI_LOCAL;
        }
    }
    flush(c);
    return (int)c->input_code;
}

static enum cli_format choose_format(const struct call *c)
{
    static const enum cli_format formats[] = {
        FORMAT_TEXT /* auto, see below */, FORMAT_TEXT, FORMAT_HEX, FORMAT_RAW, FORMAT_FRAMED, FORMAT_JSON};
    const struct cli_value *value = c->options->value;
    if (value[OPT_OUTPUT].number > 0) return formats[value[OPT_OUTPUT].number];
    if (framed_host_is_terminal(HOST_OUTPUT)) return FORMAT_TEXT;
    if (c->from_arguments || value[OPT_WHOLE].given) return FORMAT_RAW;
    if (value[OPT_NULL].given) return FORMAT_NUL;
    return value[OPT_FRAMED].given ? FORMAT_FRAMED : FORMAT_LINE;
}

static enum cli_input_mode choose_mode(const struct cli_value *value)
{
    if (value[OPT_NULL].given) return INPUT_NULL;
    if (value[OPT_WHOLE].given) return INPUT_WHOLE;
    return value[OPT_FRAMED].given ? INPUT_FRAMED : INPUT_LINES;
}

static enum cli_exit check_usage(const struct call *c)
{
    static const enum cli_option_id modes[] = {OPT_LINES, OPT_NULL, OPT_WHOLE, OPT_FRAMED};
    for (size_t i = 0; c->from_arguments && i < sizeof modes / sizeof *modes; i++) {
        if (!c->options->value[modes[i]].given) continue;
        framed_host_say("--%s: standard input is not read with -m or -f", framed_option_table[modes[i]].name);
        return CLI_USAGE;
    }
    return CLI_SUCCESS;
}

static void set_up(struct call *c)
{
    const struct cli_value *value = c->options->value;
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    c->address = FRAMED_ADDRESS_DEFAULT;
    while (framed_options_next(c->options, &cursor, &id, &text))
        if (id == OPT_OPERAND) c->address = text;
    c->from_arguments = value[OPT_MESSAGE].given || value[OPT_FILE].given;
    c->manner = value[OPT_NO_REPLY].given ? NO_REPLIES : value[OPT_FOLLOW].given ? FOLLOW : ONE_REPLY_EACH;
    c->max_frame = (uint32_t)value[OPT_MAX_FRAME].number;
    c->pipeline = (size_t)value[OPT_PIPELINE].number;
    c->timeout_ns = value[OPT_TIMEOUT].number == CLI_NEVER ? OS_FOREVER : value[OPT_TIMEOUT].number * 1000000;
    framed_output_init(&c->out, choose_format(c), write_out, c);
}

static enum framed_status get_memory(struct call *c)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    config.replies = c->manner == ONE_REPLY_EACH ? FRAMED_REPLIES_ORDERED : FRAMED_REPLIES_NONE;
    config.max_frame = c->max_frame;
    config.max_calls = (uint32_t)c->pipeline;
    /* -t is the deadline here, which does not count the time in which standard output takes nothing. */
    config.frame_ms = FRAMED_NEVER;
    config.send_ms = c->manner == NO_REPLIES ? framed_option_ms(c->options, OPT_TIMEOUT) : FRAMED_NEVER;
    config.congestion = c->congestion;
    framed_keyring_calls(&c->keys, &config);

    c->flights = c->alloc->resize(c->alloc->ctx, NULL, 0, c->pipeline * sizeof *c->flights);
    if (c->flights == NULL) return FRAMED_NOMEM;
    enum framed_status st = framed_input_init(&c->input, choose_mode(c->options->value), c->max_frame, c->alloc);
    if (st == FRAMED_OK) st = framed_client_new(&config, &c->client);
    return st;
}

static enum cli_exit connect_to_peer(struct call *c)
{
    enum framed_status st = framed_client_connect(c->client, c->address, 0);
    c->since_ns = now_ns(c);
    c->state = st == FRAMED_OK ? RUNNING : CONNECTING;
    if (st == FRAMED_OK || st == FRAMED_MORE) return CLI_SUCCESS;
    if (st == FRAMED_USAGE) {
        framed_say_wrong_address(c->address, "connected");
        return CLI_USAGE;
    }
    c->ended = true;
    c->end = st;
    return (enum cli_exit)end_of_connection(c);
}

static void noted(void *ctx)
{
    (void)ctx; /* framed_host_wait returns, and framed_host_stopped tells */
}

static int call(struct call *c)
{
    enum framed_status st = get_memory(c);
    if (st != FRAMED_OK) {
        framed_host_say("cannot start a client: %s", framed_status_text(st));
        return (int)framed_exit_of(st);
    }
    enum cli_exit code = connect_to_peer(c);
    if (code != CLI_SUCCESS) return (int)code;
    st = framed_host_on_stop(noted, NULL);
    if (st != FRAMED_OK) {
        framed_host_say("cannot catch signals: %s", framed_host_error());
        return CLI_LOCAL;
    }
    int result = run(c);
    framed_host_off_stop(); /* a signal now need not wait for the peer's end */
    return result;
}

int framed_command_call(const struct cli_options *options)
{
    struct call c = {.options = options, .alloc = framed_os_allocator()};
    set_up(&c);
    enum cli_exit code = check_usage(&c);
    if (code == CLI_SUCCESS) code = check_arguments(&c);
    if (code == CLI_SUCCESS) code = framed_option_congestion(options, &c.congestion);
    if (code == CLI_SUCCESS) code = framed_keyring_load(&c.keys, options, c.address);
    int result = code == CLI_SUCCESS ? call(&c) : (int)code;
    framed_client_free(c.client);
    framed_keyring_free(&c.keys);
    framed_input_fini(&c.input);
    framed_buf_fini(&c.file, c.alloc);
    if (c.flights != NULL) c.alloc->resize(c.alloc->ctx, c.flights, c.pipeline * sizeof *c.flights, 0);
    return result;
}
