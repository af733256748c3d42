/*
 * Owns: `framed inspect --tap`: what it was told, in which order its parts begin and end, the ready line.
 * Must not know: how bytes are relayed, shown or recorded.
 * Invariants: an existing record is emptied only once everything else stands; the process ends although standard output, or the
 * file, takes nothing more.
 */
#include "commands.h"
#include "host.h"
#include "inspect_show.h"
#include "keyring.h"
#include "shower.h"
#include "tap.h"
#include <inttypes.h>
#include <string.h>

enum {
    PAIRS_MOST = 4096,      /* connections, of two descriptors each */
    DESCRIPTOR_MARGIN = 32, /* standard streams, listener, record, what loop and bells need */
    SHOWN_MOST = 10000,     /* frames a second: more than anybody reads, less than would cost the relay its speed */
    SHOW_WAIT_MS = 2000,    /* at the end, for standard output to take what waits */
    RECORD_WAIT_MS = 30000  /* ... and for the disk */
};

struct command {
    const struct cli_options *options;
    char listen[160], target[160];
    struct keyring ring;
    struct channel_terms terms;
    struct watch watch;
    struct tap tap;
    struct shower shower;
    struct inspect_stats stats;
    struct recorder recorder;
};

static bool is_recording(const struct command *c)
{
    return c->options->value[OPT_RECORD].given;
}

/* ---- what it was told ---- */

static bool read_address(const char *from, size_t n, char *to, size_t room)
{
    if (n == 0 || n >= room) return false;
    memcpy(to, from, n);
    to[n] = '\0';
    return true;
}

static bool read_addresses(struct command *c)
{
    const char *text = c->options->value[OPT_TAP].text, *equals = strchr(text, '=');
    if (equals != NULL && read_address(text, (size_t)(equals - text), c->listen, sizeof c->listen) &&
        read_address(equals + 1, strlen(equals + 1), c->target, sizeof c->target))
        return true;
    framed_host_say("--tap: %.120s: wanted is LISTEN=TARGET, two addresses", text);
    return false;
}

static enum cli_exit cannot(const char *what, const char *address, enum framed_status st, const char *state)
{
    if (st == FRAMED_USAGE)
        framed_say_wrong_address(address, state);
    else
        framed_host_say("cannot %s %.120s: %s", what, address, framed_status_text(st));
    return framed_exit_of_opening(st);
}

static enum cli_exit set_target(struct command *c)
{
    if (strncmp(c->target, "fd:", 3) == 0) {
        framed_host_say("--tap: %.120s: one descriptor cannot be the target of many connections", c->target);
        return CLI_USAGE;
    }
    enum framed_status st = framed_tap_target(&c->tap, c->target);
    return st == FRAMED_OK ? CLI_SUCCESS : cannot("connect to", c->target, st, "connected");
}

/* How it is spoken to: as options for that say, else in plain frames, byte for byte. */
static enum cli_exit set_protection(struct command *c)
{
    enum cli_exit code = framed_keyring_load(&c->ring, c->options, c->target);
    if (code != CLI_SUCCESS || c->ring.protection == FRAMED_UNPROTECTED) return code;
    framed_tap_protect(&c->tap, &c->terms);
    return framed_keyring_terms(&c->ring, FRAMED_FRAME_MOST, &c->terms);
}

static enum cli_exit listen_there(struct command *c)
{
    enum framed_status st = framed_tap_listen(&c->tap, c->listen);
    if (st != FRAMED_OK) return cannot("listen on", c->listen, st, "listening");
    if (!framed_tap_is_loop(&c->tap)) return CLI_SUCCESS;
    framed_host_say("--tap: %.120s would be connected to itself", c->target);
    return CLI_USAGE;
}

/* How many connections can have their two descriptors. */
static enum cli_exit fit_descriptors(uint32_t *pairs)
{
    uint64_t have, need = 2 * (uint64_t)PAIRS_MOST + DESCRIPTOR_MARGIN;
    framed_host_descriptors(need, &have);
    *pairs = PAIRS_MOST;
    if (have >= need) return CLI_SUCCESS;
    if (have < DESCRIPTOR_MARGIN + 2) {
        framed_host_say("a limit of %" PRIu64 " open files leaves none for connections", have);
        return CLI_LOCAL;
    }
    *pairs = (uint32_t)(have - DESCRIPTOR_MARGIN) / 2;
    framed_host_say("the limit of %" PRIu64 " open files allows %" PRIu32 " connections at once, not %d", have, *pairs,
                    PAIRS_MOST);
    return CLI_SUCCESS;
}

/* ---- beginning ---- */

static enum cli_exit failed(enum framed_status st)
{
    framed_host_say("cannot start a tap: %s", framed_status_text(st));
    return framed_exit_of(st);
}

static void stop(void *ctx)
{
    struct command *c = ctx;
    framed_tap_stop(&c->tap);
}

/* Without a record there is nothing left to do it for. */
static void nobody_reads(void *ctx)
{
    struct command *c = ctx;
    if (!is_recording(c)) framed_tap_stop(&c->tap);
}

static struct inspect_config inspect_config(struct command *c)
{
    const struct cli_value *value = c->options->value;
    char time[32];
    framed_host_time_text(time, sizeof time);
    return (struct inspect_config){.json = value[OPT_JSON].given,
                                   .stats = value[OPT_STATS].given ? &c->stats : NULL,
                                   .hex = value[OPT_HEX].given,
                                   .hex_bytes = (uint32_t)value[OPT_HEX].number,
                                   .max_frame = (uint32_t)value[OPT_MAX_FRAME].number,
                                   .utc_offset_s = framed_inspect_utc_offset(time, framed_host_time_ns()),
                                   .alloc = framed_os_allocator()};
}

static void set_watch(struct command *c, const struct inspect_config *config)
{
    struct watch *w = &c->watch;
    w->show = &c->shower.spool;
    w->record = is_recording(c) ? &c->recorder.spool : NULL;
    w->target = c->target;
    w->max_frame = config->max_frame;
    w->keep = config->stats != NULL ? 0 : framed_inspect_shown(config);
    w->most = config->stats != NULL ? 0 : SHOWN_MOST;
    w->ahead = framed_host_time_ns() - framed_os_clock_ns();
}

static enum cli_exit start_showing(struct command *c)
{
    struct inspect_config config = inspect_config(c);
    set_watch(c, &config);
    c->shower.nobody_reads = nobody_reads;
    c->shower.ctx = c;
    enum framed_status st = framed_shower_start(&c->shower, &config);
    return st == FRAMED_OK ? CLI_SUCCESS : failed(st);
}

static enum cli_exit start_recording(struct command *c)
{
    if (!is_recording(c)) return CLI_SUCCESS;
    struct recorder *r = &c->recorder;
    r->path = c->options->value[OPT_RECORD].text;
    r->failed = &c->watch.record_failed;
    if (framed_host_create(r->path, &r->file) != FRAMED_OK) {
        framed_host_say("cannot write %.200s: %s", r->path, framed_host_error());
        return CLI_LOCAL;
    }
    enum framed_status st = framed_recorder_start(r);
    return st == FRAMED_OK ? CLI_SUCCESS : failed(st);
}

static enum cli_exit begin(struct command *c)
{
    uint32_t pairs;
    enum cli_exit code = fit_descriptors(&pairs);
    if (code != CLI_SUCCESS) return code;
    enum framed_status st = framed_tap_init(&c->tap, pairs, &c->watch);
    if (st != FRAMED_OK) return failed(st);
    code = set_target(c);
    if (code == CLI_SUCCESS) code = set_protection(c);
    if (code == CLI_SUCCESS) code = listen_there(c);
    if (code == CLI_SUCCESS) code = start_showing(c);
    if (code == CLI_SUCCESS) code = start_recording(c);
    if (code != CLI_SUCCESS) return code;
    st = framed_host_on_stop(stop, c);
    return st == FRAMED_OK ? CLI_SUCCESS : failed(st);
}

/* ---- ending ---- */

static enum cli_exit end_record(struct command *c, bool *ended)
{
    const struct watch *w = &c->watch;
    *ended = framed_spool_end(&c->recorder.spool, RECORD_WAIT_MS);
    if (!*ended) framed_host_say("cannot write %.200s: it takes nothing; the record is not complete", c->recorder.path);
    if (w->unrecorded_conns > 0)
        framed_host_say("%" PRIu64 " connections are not in the record: it was written too slowly", w->unrecorded_conns);
    if (w->unrecorded_bytes > 0)
        framed_host_say("%" PRIu64 " bytes are not in the record: it was written too slowly", w->unrecorded_bytes);
    return !*ended || w->record_failed || w->unrecorded_conns > 0 || w->unrecorded_bytes > 0 ? CLI_LOCAL : CLI_SUCCESS;
}

static enum cli_exit end_showing(struct command *c, bool *ended)
{
    *ended = framed_spool_end(&c->shower.spool, SHOW_WAIT_MS);
    if (c->watch.unshown_conns > 0)
        framed_host_say("%" PRIu64 " connections were not shown: standard output took too little", c->watch.unshown_conns);
    if (!*ended) framed_host_say("standard output takes nothing: what was still to be shown is left out");
    return *ended && c->shower.status == FRAMED_OS ? CLI_LOCAL : CLI_SUCCESS;
}

static enum cli_exit run(struct command *c)
{
    char address[OS_ADDRESS_TEXT_SIZE];
    framed_os_address_text(&c->tap.bound, address, sizeof address);
    bool plain = c->ring.protection == FRAMED_UNPROTECTED;
    framed_host_say("listening on %s (tap of %s%s%s)", address, c->target, plain ? "" : ", ",
                    plain ? "" : framed_keyring_speaks(&c->ring));
    enum framed_status st = framed_tap_run(&c->tap);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("the tap failed: %s", framed_status_text(st));
    return framed_exit_of(st);
}

static enum cli_exit worse(enum cli_exit a, enum cli_exit b)
{
    return a != CLI_SUCCESS ? a : b;
}

int framed_command_tap(const struct cli_options *options)
{
    static struct command c;
    bool shown, recorded;
    c.options = options;
    if (options->operands > 0) {
        framed_host_say("--tap: there is no file to inspect as well");
        return CLI_USAGE;
    }
    if (!read_addresses(&c)) return CLI_USAGE;
    enum cli_exit code = begin(&c);
    if (code == CLI_SUCCESS) code = run(&c);
    code = worse(code, end_record(&c, &recorded));
    code = worse(code, end_showing(&c, &shown));
    if (!shown || !recorded) framed_host_quit((int)code); /* a thread stands in a write that does not end */
    framed_host_off_stop();
    framed_tap_fini(&c.tap);
    framed_keyring_free(&c.ring);
    return (int)code;
}
