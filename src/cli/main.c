/*
 * Owns: the choice of the command, and what statuses mean as exit codes.
 * Must not know: what commands do; sockets; the operating system.
 * Invariants: stdout is data, stderr is talk; every failure says one clear line and has its exit code (framed --help).
 */
#include "commands.h"
#include "host.h"
#include <framed/framed.h>
#include <string.h>

enum cli_exit framed_exit_of(enum framed_status status)
{
    switch (status) {
    case FRAMED_OK: return CLI_SUCCESS;
    case FRAMED_TOO_LARGE:
    case FRAMED_TRUNCATED:
    case FRAMED_MALFORMED:
    case FRAMED_AUTH: return CLI_PROTOCOL;
    case FRAMED_REFUSED:
    case FRAMED_IN_USE:
    case FRAMED_DENIED:
    case FRAMED_UNREACHABLE:
    case FRAMED_NOT_FOUND: return CLI_CONNECT;
    case FRAMED_TIMEOUT: return CLI_TIMED_OUT;
    case FRAMED_NOMEM:
    case FRAMED_LIMIT:
    case FRAMED_OS: return CLI_LOCAL;
    case FRAMED_USAGE: return CLI_USAGE;
    case FRAMED_UNSUPPORTED: return CLI_NOT_BUILT;
    default: return CLI_SOME_FAILED;
    }
}

enum cli_exit framed_exit_of_opening(enum framed_status status)
{
    enum cli_exit code = framed_exit_of(status);
    return status == FRAMED_OS || code == CLI_SOME_FAILED ? CLI_CONNECT : code;
}

enum cli_exit framed_say_not_built(const char *what_needs)
{
    framed_host_say("not built in: %s libsodium", what_needs);
    return CLI_NOT_BUILT;
}

void framed_say_wrong_address(const char *address, const char *state)
{
    size_t digits = strncmp(address, "fd:", 3) == 0 ? strspn(address + 3, "0123456789") : 0;
    if (digits > 0 && address[3 + digits] == '\0')
        framed_host_say("%.120s: not a %s socket of this process", address, state);
    else
        framed_host_say("%.120s: not an address; allowed are HOST:PORT, [V6]:PORT, unix:PATH, fd:N", address);
}

uint32_t framed_option_ms(const struct cli_options *options, enum cli_option_id id)
{
    uint64_t ms = options->value[id].number;
    return ms == CLI_NEVER ? FRAMED_NEVER : (uint32_t)ms;
}

/* What stdio still holds goes out: data on stdout that cannot be written is a failure. */
static int finish_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return CLI_SUCCESS;
    struct host_wait look = {.watch_output = true}; /* not a moment */
    if (framed_host_wait(&look) == FRAMED_OK && look.output_gone) return CLI_SUCCESS;
    framed_host_say("cannot write to standard output");
    return CLI_LOCAL;
}

static int finish(int code)
{
    return code == CLI_SUCCESS ? finish_stdout() : code;
}

static int command_version(void)
{
    printf("framed %s\n", framed_version());
    return finish_stdout();
}

static int help(const struct cli_command *command)
{
    framed_options_help(stdout, command);
    return finish_stdout();
}

static int usage(const char *what)
{
    char names[120] = "";
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        if (i > 0) strncat(names, ", ", sizeof names - strlen(names) - 1);
        strncat(names, framed_command_table[i].name, sizeof names - strlen(names) - 1);
    }
    const struct cli_command *near = what != NULL ? framed_command_near(what) : NULL;
    if (near != NULL)
        framed_host_say("%.80s: no such command; did you mean %s?", what, near->name);
    else if (what != NULL)
        framed_host_say("%.80s: no such command; there are %s; see framed --help", what, names);
    else
        framed_host_say("a command is missing; there are %s; see framed --help", names);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    framed_host_begin();
    if (argc < 2) return usage(NULL);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help(NULL);
    if (strcmp(argv[1], "--version") == 0) return command_version();

    const struct cli_command *command = framed_command_find(argv[1]);
    if (command == NULL) return usage(argv[1]);
    struct cli_options options;
    if (framed_options_parse(&options, command, argc - 2, argv + 2) != FRAMED_OK) {
        framed_host_say("%s", options.error);
        return CLI_USAGE;
    }
    if (options.value[OPT_HELP].given) return help(command);
    switch (command->id) {
    case CLI_SERVE: return framed_command_serve(&options);
    case CLI_CALL: return framed_command_call(&options);
    case CLI_INSPECT: return options.value[OPT_TAP].given ? framed_command_tap(&options) : framed_command_inspect(&options);
    case CLI_PING: return framed_command_ping(&options);
    case CLI_BENCH: return framed_command_bench(&options);
    case CLI_KEYGEN: return framed_command_keygen(&options);
    case CLI_PUBKEY: return framed_command_pubkey(&options);
    case CLI_SCAN: return framed_command_scan(&options);
    case CLI_COMPLETION: return finish(framed_command_completion(&options));
    default: return command_version();
    }
}
