/*
 * Owns: `framed ping`: when each message is due, which are on their way, what became of them, the summary.
 * Must not know: how to wait or write (host.h), how times are kept (histogram.h); the wire.
 * Invariants: the n-th message is due at start + (n-1) x interval, whether or not earlier replies have come, and is timed from
 * then; memory is bounded; every message that was due is counted once: replied, lost, not sent, or pending at the end.
 *
 *     CONNECTING -> RUNNING -> over
 */
#include "commands.h"
#include "histogram.h"
#include "host.h"
#include "keyring.h"
#include "os.h"
#include "output.h"
#include <framed/framed.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MOST_IN_FLIGHT = 1024,
    ROUND = 64,       /* events taken, messages sent: then signals have their turn */
    NS_A_MS = 1000000 /* the finest that can be waited for */
};

static const char default_message[] = "ping";

enum ping_state { CONNECTING, RUNNING };

struct flight {
    uint64_t id;
    uint64_t seq;
    uint64_t due_ns;
};

struct ping {
    const struct cli_options *options;
    const char *address;
    struct keyring keys;
    enum ping_state state;
    struct framed_bytes message;
    uint64_t timeout_ns;  /* OS_FOREVER: none */
    uint64_t interval_ns; /* 0: the next as soon as the last has its reply */
    uint64_t count;       /* 0: without end */
    bool json;
    struct framed_client *client;

    uint64_t taken;  /* messages whose time has come, and that were sent or given up */
    uint64_t due_ns; /* when the next one is to go */
    bool full;       /* it cannot go just now */
    struct flight flights[MOST_IN_FLIGHT];
    size_t first, in_flight;

    uint64_t sent, replies, lost, not_sent;
    uint64_t late; /* sent more than a millisecond after they were due */
    struct cli_histogram times;
    struct cli_output out;
    uint64_t blocked_ns; /* how long standard output has taken nothing */
    uint64_t since_ns;   /* CONNECTING: since when */

    bool ended;
    enum framed_status end;
};

/* Time in which standard output takes nothing is nobody's: it delays what is due and counts as no reply's time. */
static uint64_t now_ns(const struct ping *p)
{
    return framed_os_clock_ns() - p->blocked_ns;
}

/* ---- output ---- */

static _Noreturn void output_failed(enum framed_status st)
{
    if (st == FRAMED_CLOSED) framed_host_quit(CLI_SUCCESS); /* the reader has what he wanted: | head */
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    framed_host_quit(CLI_LOCAL);
}

static enum framed_status write_out(void *ctx, const uint8_t *at, size_t n)
{
    struct ping *p = ctx;
    uint64_t before = framed_os_clock_ns();
    enum framed_status st = framed_host_write(at, n);
    p->blocked_ns += framed_os_clock_ns() - before;
    return st;
}

static void flush(struct ping *p)
{
    enum framed_status st = framed_output_flush(&p->out);
    if (st != FRAMED_OK) output_failed(st);
}

static void print_lost(struct ping *p, uint64_t seq, const char *what, const char *why)
{
    if (!p->json) framed_output_print(&p->out, "%s %.120s: seq %" PRIu64 "  %s\n", what, p->address, seq, why);
}

/* ---- flights ---- */

static struct flight take_first(struct ping *p)
{
    struct flight flight = p->flights[p->first];
    p->first = (p->first + 1) % MOST_IN_FLIGHT;
    p->in_flight--;
    return flight;
}

/* The next message, sent or not, has had its turn. */
static void take_turn(struct ping *p)
{
    p->taken++;
    p->due_ns += p->interval_ns;
    p->full = false;
}

/* Without an interval the end of one message is the beginning of the next. */
static void next_may_go(struct ping *p, uint64_t now)
{
    if (p->interval_ns == 0) p->due_ns = now;
}

static bool all_taken(const struct ping *p)
{
    return p->count != 0 && p->taken == p->count;
}

static uint64_t deadline_of(const struct ping *p, uint64_t due_ns)
{
    return p->timeout_ns == OS_FOREVER ? OS_FOREVER : due_ns + p->timeout_ns;
}

/* Those whose time is over; a reply that comes later is thrown away. */
static void give_up_late(struct ping *p)
{
    char limit[40], why[60];
    uint64_t now = now_ns(p);
    bool late = p->in_flight > 0 && deadline_of(p, p->flights[p->first].due_ns) <= now;
    bool unsent = p->full && !all_taken(p) && deadline_of(p, p->due_ns) <= now;
    if (!late && !unsent) return;
    framed_duration_text(p->timeout_ns / NS_A_MS, limit, sizeof limit);
    snprintf(why, sizeof why, "within %s", limit);
    while (p->in_flight > 0 && deadline_of(p, p->flights[p->first].due_ns) <= now) {
        p->lost++;
        next_may_go(p, now);
        print_lost(p, take_first(p).seq, "no reply from", why);
    }
    while (p->full && !all_taken(p) && deadline_of(p, p->due_ns) <= now) {
        p->not_sent++;
        take_turn(p);
        next_may_go(p, now);
        p->full = true;
        print_lost(p, p->taken, "not sent to", why);
    }
}

/* The connection is over: nothing on its way will be answered. */
static void give_up_all(struct ping *p)
{
    while (p->in_flight > 0) {
        p->lost++;
        print_lost(p, take_first(p).seq, "no reply from", "the connection ended");
    }
}

/* ---- the connection ---- */

static void on_reply(struct ping *p, const struct framed_event *event)
{
    char text[40];
    if (event->outcome != FRAMED_REPLY) return;                              /* the ENDED event follows */
    if (p->in_flight == 0 || p->flights[p->first].id != event->call) return; /* it was given up */
    struct flight flight = take_first(p);
    uint64_t now = now_ns(p);
    uint64_t ns = now - flight.due_ns;
    p->replies++;
    framed_histogram_add(&p->times, ns);
    next_may_go(p, now);
    if (!p->json)
        framed_output_print(&p->out, "reply from %.120s: seq %" PRIu64 "  %" PRIu64 " B  %s\n", p->address, flight.seq,
                            (uint64_t)event->payload.len, framed_time_text(ns, text, sizeof text));
}

static void on_event(struct ping *p, const struct framed_event *event)
{
    p->full = false;
    switch (event->kind) {
    case FRAMED_EVENT_REPLY: on_reply(p, event); break;
    case FRAMED_EVENT_MESSAGE: break;
    case FRAMED_EVENT_WRITABLE:
        if (p->state == CONNECTING) p->due_ns = now_ns(p);
        p->state = RUNNING;
        break;
    case FRAMED_EVENT_ENDED:
        p->ended = true;
        p->end = event->status;
        break;
    }
}

/* True when there may be more. */
static bool take_events(struct ping *p)
{
    for (int i = 0; i < ROUND && !p->ended; i++) {
        struct framed_event event;
        enum framed_status st = framed_client_next(p->client, 0, &event);
        if (st == FRAMED_MORE) return false;
        if (st == FRAMED_OK) {
            on_event(p, &event);
        } else {
            p->ended = true;
            p->end = st;
        }
    }
    return true;
}

static bool may_send(const struct ping *p)
{
    return p->state == RUNNING && !p->ended && !all_taken(p) && !p->full && (p->interval_ns > 0 || p->in_flight == 0);
}

static void send_one(struct ping *p, uint64_t now)
{
    struct flight *flight = &p->flights[(p->first + p->in_flight) % MOST_IN_FLIGHT];
    enum framed_status st = FRAMED_FULL;
    if (p->in_flight < MOST_IN_FLIGHT) st = framed_client_start(p->client, p->message, FRAMED_NEVER, &flight->id);
    p->full = st == FRAMED_FULL;
    if (st == FRAMED_NOMEM || st == FRAMED_TOO_LARGE) {
        p->ended = true;
        p->end = st;
    }
    if (st != FRAMED_OK) return; /* the connection has ended: its ENDED event says why */
    flight->due_ns = p->due_ns;
    if (now - p->due_ns > NS_A_MS) p->late++;
    take_turn(p);
    flight->seq = p->taken;
    p->in_flight++;
    p->sent++;
}

/* True when there may be more to send at once. */
static bool send_due(struct ping *p)
{
    for (int i = 0; i < ROUND && may_send(p); i++) {
        uint64_t now = now_ns(p);
        if (now < p->due_ns) return false;
        send_one(p, now);
    }
    return may_send(p) && now_ns(p) >= p->due_ns;
}

/* ---- waiting ---- */

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When something must be done even if nothing comes. */
static uint64_t next_time(const struct ping *p)
{
    if (p->state == CONNECTING) return deadline_of(p, p->since_ns);
    uint64_t at = p->in_flight > 0 ? deadline_of(p, p->flights[p->first].due_ns) : OS_FOREVER;
    if (p->full) return least_of(at, deadline_of(p, p->due_ns));
    return may_send(p) ? least_of(at, p->due_ns) : at;
}

/* The last millisecond before a message is due is not slept: waking up takes longer than many a reply. */
static enum framed_status wait_for_something(struct ping *p, bool at_once)
{
    struct host_wait wait = {.watch_output = true};
    enum framed_status st = framed_client_want(p->client, &wait.socket);
    if (st != FRAMED_OK) return st;
    uint64_t at = next_time(p), now = now_ns(p);
    uint64_t left_ms = at <= now || at_once ? 0 : (at - now) / NS_A_MS;
    if (at != OS_FOREVER && left_ms < wait.socket.timeout_ms) wait.socket.timeout_ms = (uint32_t)left_ms;
    st = framed_host_wait(&wait);
    if (st != FRAMED_OK) return st;
    if (wait.output_gone) output_failed(FRAMED_CLOSED);
    return framed_client_step(p->client);
}

/* ---- the end ---- */

static const char *permille_text(const struct cli_histogram *h, unsigned permille, char *text, size_t room)
{
    uint64_t ns;
    return framed_histogram_at(h, permille, &ns) ? framed_time_text(ns, text, room) : "-";
}

static void print_times(struct ping *p)
{
    char least[40], mean[40], p50[40], p90[40], p99[40], most[40];
    const struct cli_histogram *h = &p->times;
    framed_output_print(&p->out, "min %s  mean %s  p50 %s  p90 %s  p99 %s  max %s\n",
                        framed_time_text(h->least, least, sizeof least),
                        framed_time_text(framed_histogram_mean(h), mean, sizeof mean),
                        permille_text(h, 500, p50, sizeof p50), permille_text(h, 900, p90, sizeof p90),
                        permille_text(h, 990, p99, sizeof p99), framed_time_text(h->most, most, sizeof most));
}

static void print_summary(struct ping *p)
{
    framed_output_print(&p->out, "--- %.120s: %" PRIu64 " sent, %" PRIu64 " replied, %" PRIu64 " lost", p->address, p->sent,
                        p->replies, p->lost);
    if (p->not_sent > 0) framed_output_print(&p->out, ", %" PRIu64 " not sent", p->not_sent);
    if (p->in_flight > 0) framed_output_print(&p->out, ", %" PRIu64 " pending", (uint64_t)p->in_flight);
    if (p->late > 0) framed_output_print(&p->out, ", %" PRIu64 " sent late", p->late);
    framed_output_print(&p->out, "\n");
    if (p->replies > 0) print_times(p);
    flush(p);
}

static void put_count(struct ping *p, const char *name, uint64_t count)
{
    framed_output_text(&p->out, ",\"");
    framed_output_text(&p->out, name);
    framed_output_text(&p->out, "\":");
    framed_output_number(&p->out, count);
}

/* `known` false: null. */
static void put_time(struct ping *p, const char *name, bool known, uint64_t ns)
{
    if (known) {
        put_count(p, name, ns);
        return;
    }
    framed_output_text(&p->out, ",\"");
    framed_output_text(&p->out, name);
    framed_output_text(&p->out, "\":null");
}

static void put_permille(struct ping *p, const char *name, unsigned permille)
{
    uint64_t ns = 0;
    bool known = framed_histogram_at(&p->times, permille, &ns);
    put_time(p, name, known, ns);
}

static void print_json(struct ping *p)
{
    const struct cli_histogram *h = &p->times;
    framed_output_text(&p->out, "{\"schema\":\"framed.ping/1\",\"address\":");
    framed_output_json_string(&p->out, framed_bytes_str(p->address));
    put_count(p, "len", p->message.len);
    put_count(p, "interval_ns", p->interval_ns);
    put_count(p, "sent", p->sent);
    put_count(p, "replies", p->replies);
    put_count(p, "lost", p->lost);
    put_count(p, "not_sent", p->not_sent);
    put_count(p, "pending", p->in_flight);
    put_count(p, "late_sends", p->late);
    framed_output_text(&p->out, framed_host_stopped() != 0 ? ",\"interrupted\":true" : ",\"interrupted\":false");
    framed_output_text(&p->out, ",\"end\":\"");
    framed_output_text(&p->out, p->ended ? framed_status_name(p->end) : "OK");
    framed_output_text(&p->out, "\"");
    put_time(p, "min_ns", h->count > 0, h->least);
    put_time(p, "mean_ns", h->count > 0, framed_histogram_mean(h));
    put_permille(p, "p50_ns", 500);
    put_permille(p, "p90_ns", 900);
    put_permille(p, "p99_ns", 990);
    put_time(p, "max_ns", h->count > 0, h->most);
    framed_output_text(&p->out, "}\n");
    flush(p);
}

static enum cli_exit code_of_result(const struct ping *p)
{
    if (p->replies == 0) return CLI_TIMED_OUT;
    return p->lost + p->not_sent > 0 ? CLI_SOME_FAILED : CLI_SUCCESS;
}

static int sum_up(struct ping *p, enum cli_exit code)
{
    if (p->json)
        print_json(p);
    else
        print_summary(p);
    return (int)code;
}

static int end_of_connection(struct ping *p)
{
    const char *error = framed_client_error(p->client);
    give_up_all(p);
    flush(p);
    if (p->end == FRAMED_CLOSED)
        framed_host_say("%.120s closed the connection", p->address);
    else if (p->end == FRAMED_TOO_LARGE && error[0] == '\0') /* the connection is well: it is the message */
        framed_host_say("the message has %zu bytes; the other end accepts at most %" PRIu32, p->message.len,
                        framed_client_longest(p->client));
    else
        framed_host_say("%.250s", error[0] != '\0' ? error : framed_status_text(p->end));
    if (p->state == CONNECTING) return (int)framed_exit_of_opening(p->end);
    return sum_up(p, p->end == FRAMED_TOO_LARGE && error[0] == '\0' ? CLI_LOCAL : framed_exit_of(p->end));
}

static int end_of_patience(struct ping *p)
{
    char limit[40];
    framed_duration_text(p->timeout_ns / NS_A_MS, limit, sizeof limit);
    framed_host_say("%.120s: not connected within %s", p->address, limit);
    return CLI_TIMED_OUT;
}

/* ---- the loop ---- */

static bool all_done(const struct ping *p)
{
    return all_taken(p) && p->in_flight == 0;
}

static int run(struct ping *p)
{
    for (;;) {
        bool more = take_events(p);
        if (all_done(p) && (!p->ended || framed_exit_of(p->end) != CLI_PROTOCOL)) {
            p->ended = false; /* it has answered everything: that it has gone since is its own affair */
            return sum_up(p, code_of_result(p));
        }
        if (p->ended) return end_of_connection(p);
        more |= send_due(p);
        if (p->ended) continue; /* there was no memory to send */
        if (framed_host_stopped() != 0) return p->taken > 0 ? sum_up(p, code_of_result(p)) : 128 + framed_host_stopped();
        if (!more) give_up_late(p);
        if (p->state == CONNECTING && next_time(p) <= now_ns(p)) return end_of_patience(p);
        flush(p);
        enum framed_status st = all_done(p) ? FRAMED_OK : wait_for_something(p, more);
        if (st != FRAMED_OK) {
            framed_host_say("cannot wait: %s", framed_status_text(st));
            return CLI_LOCAL;
        }
    }
}

static void set_up(struct ping *p)
{
    const struct cli_value *value = p->options->value;
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    p->address = FRAMED_ADDRESS_DEFAULT;
    while (framed_options_next(p->options, &cursor, &id, &text))
        if (id == OPT_OPERAND) p->address = text;
    p->message = framed_bytes_str(value[OPT_MESSAGE].given ? value[OPT_MESSAGE].text : default_message);
    p->count = value[OPT_COUNT].number;
    p->interval_ns = value[OPT_INTERVAL].number * NS_A_MS;
    p->timeout_ns = value[OPT_TIMEOUT].number == CLI_NEVER ? OS_FOREVER : value[OPT_TIMEOUT].number * NS_A_MS;
    p->json = value[OPT_JSON].given;
    framed_output_init(&p->out, p->json ? FORMAT_JSON : FORMAT_LINE, write_out, p);
}

static enum cli_exit check_message(const struct ping *p)
{
    uint64_t len = p->message.len, most = p->options->value[OPT_MAX_FRAME].number;
    if (len <= most) return CLI_SUCCESS;
    framed_host_say("the message has %" PRIu64 " bytes; at most %" PRIu64 " are allowed (--max-frame)", len, most);
    return CLI_USAGE;
}

static enum cli_exit connect_to_peer(struct ping *p)
{
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    config.max_frame = (uint32_t)p->options->value[OPT_MAX_FRAME].number;
    config.max_calls = MOST_IN_FLIGHT;
    config.frame_ms = FRAMED_NEVER; /* -t is the deadline here */
    config.send_ms = FRAMED_NEVER;
    framed_keyring_calls(&p->keys, &config);
    enum framed_status st = framed_client_new(&config, &p->client);
    if (st != FRAMED_OK) {
        framed_host_say("cannot start a client: %s", framed_status_text(st));
        return framed_exit_of(st);
    }
    p->since_ns = now_ns(p);
    st = framed_client_connect(p->client, p->address, 0);
    if (st == FRAMED_USAGE) {
        framed_say_wrong_address(p->address, "connected");
        return CLI_USAGE;
    }
    p->state = st == FRAMED_OK ? RUNNING : CONNECTING;
    p->due_ns = now_ns(p);
    if (st == FRAMED_OK || st == FRAMED_MORE) return CLI_SUCCESS;
    p->end = st;
    return (enum cli_exit)end_of_connection(p);
}

static void noted(void *ctx)
{
    (void)ctx; /* framed_host_wait returns, and framed_host_stopped tells */
}

static int ping(struct ping *p)
{
    enum cli_exit code = connect_to_peer(p);
    if (code != CLI_SUCCESS) return (int)code;
    if (framed_host_on_stop(noted, NULL) != FRAMED_OK) {
        framed_host_say("cannot catch signals: %s", framed_host_error());
        return CLI_LOCAL;
    }
    int result = run(p);
    if (result != CLI_SUCCESS || p->in_flight > 0) framed_host_quit(result); /* a peer this slow is not waited for */
    framed_host_off_stop(); /* a signal now need not wait for the peer's end */
    return result;
}

int framed_command_ping(const struct cli_options *options)
{
    static struct ping p; /* large */
    p.options = options;
    set_up(&p);
    enum cli_exit code = check_message(&p);
    if (code == CLI_SUCCESS) code = framed_keyring_load(&p.keys, options, p.address);
    int result = code == CLI_SUCCESS ? ping(&p) : (int)code;
    framed_client_free(p.client);
    framed_keyring_free(&p.keys);
    return result;
}
