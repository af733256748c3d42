/*
 * Owns: `framed inspect` of a file or of standard input: reading it, and what is said at the end.
 * Must not know: frames, records, how they look.
 * Invariants: memory is bounded, whatever the file; what was read is shown before more is waited for.
 */
#include "commands.h"
#include "host.h"
#include "os.h"
#include "replay.h"
#include <string.h>

/* Too large for a stack; there is one command in a process. */
static struct inspect_stats counted;
static uint8_t piece[FRAMED_RECEIVE_SIZE];

struct source {
    const char *name;
    intptr_t file; /* HOST_NO_FILE: standard input */
};

static enum framed_status to_stdout(void *ctx, const uint8_t *at, size_t n)
{
    (void)ctx;
    return framed_host_write(at, n);
}

static void noted(void *ctx)
{
    (void)ctx; /* framed_host_wait returns, and framed_host_stopped tells */
}

/* FRAMED_MORE: interrupted. FRAMED_FULL: nobody reads standard output any more. */
static enum framed_status read_stdin(size_t *n)
{
    for (;;) {
        struct host_wait wait = {.want_input = true, .watch_output = true, .socket.timeout_ms = FRAMED_NEVER};
        enum framed_status st = framed_host_wait(&wait);
        if (st != FRAMED_OK) return st;
        if (framed_host_stopped() != 0) return FRAMED_MORE;
        if (wait.output_gone) return FRAMED_FULL;
        if (!wait.input) continue;
        st = framed_host_read(piece, sizeof piece, n);
        if (st != FRAMED_MORE) return st;
    }
}

static enum framed_status read_piece(const struct source *source, size_t *n)
{
    if (source->file != HOST_NO_FILE) return framed_host_read_file(source->file, piece, sizeof piece, n);
    return read_stdin(n);
}

static int output_failed(enum framed_status st)
{
    if (st == FRAMED_CLOSED) return CLI_SUCCESS; /* the reader has what he wanted: | head */
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    return CLI_LOCAL;
}

static int no_memory(void)
{
    framed_host_say("%s", framed_status_text(FRAMED_NOMEM));
    return CLI_LOCAL;
}

/* The input is over, because of `st`. */
static int finish(const struct source *source, struct inspect *inspect, struct replay *replay, enum framed_status st)
{
    int code = CLI_SUCCESS;
    if (st == FRAMED_FULL) return CLI_SUCCESS;
    if (st == FRAMED_MORE) {
        code = 128 + framed_host_stopped();
    } else if (st == FRAMED_CLOSED) {
        st = framed_replay_end(replay);
        if (st == FRAMED_NOMEM) return no_memory();
        code = (int)framed_exit_of(framed_inspect_found(inspect));
    } else {
        framed_host_say("%.200s: %s", source->name, framed_host_error());
        code = CLI_LOCAL;
    }
    st = framed_inspect_finish(inspect);
    return st == FRAMED_OK ? code : output_failed(st);
}

static int run(const struct source *source, struct inspect *inspect, struct replay *replay)
{
    size_t n;
    enum framed_status st;
    while ((st = read_piece(source, &n)) == FRAMED_OK) {
        st = framed_replay_bytes(replay, piece, n);
        if (st == FRAMED_NOMEM) return no_memory();
        if (st == FRAMED_OK) st = framed_inspect_flush(inspect);
        if (st != FRAMED_OK) return output_failed(st);
    }
    return finish(source, inspect, replay, st);
}

static struct inspect_config configure(const struct cli_options *options)
{
    const struct cli_value *value = options->value;
    char time[24];
    framed_host_time_text(time, sizeof time);
    return (struct inspect_config){
        .json = value[OPT_JSON].given,
        .hex = value[OPT_HEX].given,
        .hex_bytes = (uint32_t)value[OPT_HEX].number,
        .max_frame = (uint32_t)value[OPT_MAX_FRAME].number,
        .utc_offset_s = framed_inspect_utc_offset(time, framed_host_time_ns()),
        .stats = value[OPT_STATS].given ? &counted : NULL,
        .alloc = framed_os_allocator(),
    };
}

static int inspect(const struct cli_options *options, const struct source *source)
{
    struct inspect inspection;
    struct replay replay;
    struct inspect_config config = configure(options);
    framed_inspect_init(&inspection, &config, to_stdout, NULL);
    framed_replay_init(&replay, &inspection);
    int code = run(source, &inspection, &replay);
    framed_replay_fini(&replay);
    return code;
}

static const char *operand(const struct cli_options *options)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text, *path = "-";
    while (framed_options_next(options, &cursor, &id, &text))
        if (id == OPT_OPERAND) path = text;
    return path;
}

int framed_command_inspect(const struct cli_options *options)
{
    struct source source = {.name = operand(options), .file = HOST_NO_FILE};
    if (options->value[OPT_RECORD].given) {
        framed_host_say("--record goes with --tap: a file is there already");
        return CLI_USAGE;
    }
    static const enum cli_option_id of_target[] = {OPT_CHECKSUM, OPT_KEY, OPT_PEER_KEY, OPT_KNOWN_SERVERS, OPT_PSK_FILE};
    for (size_t i = 0; i < sizeof of_target / sizeof *of_target; i++) {
        if (!options->value[of_target[i]].given) continue;
        framed_host_say("--%s goes with --tap: it says how the target is spoken to", framed_option_table[of_target[i]].name);
        return CLI_USAGE;
    }
    if (strcmp(source.name, "-") == 0) {
        source.name = "standard input";
        if (framed_host_on_stop(noted, NULL) != FRAMED_OK) {
            framed_host_say("cannot catch signals: %s", framed_host_error());
            return CLI_LOCAL;
        }
        return inspect(options, &source);
    }
    if (framed_host_open(source.name, &source.file) != FRAMED_OK) {
        framed_host_say("%.200s: %s", source.name, framed_host_error());
        return CLI_LOCAL;
    }
    int code = inspect(options, &source);
    framed_host_close_file(source.file); /* nothing was written */
    return code;
}
