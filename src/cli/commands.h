/*
 * commands.h: the commands of the tool, and what the process says at its end.
 */
#ifndef FRAMED_CLI_COMMANDS_H
#define FRAMED_CLI_COMMANDS_H

#include "options.h"

enum cli_exit {
    CLI_SUCCESS = 0,
    CLI_SOME_FAILED = 1, /* some requests have no reply */
    CLI_USAGE = 2,
    CLI_CONNECT = 3, /* cannot resolve, connect or bind */
    CLI_TIMED_OUT = 4,
    CLI_PROTOCOL = 5,
    CLI_LOCAL = 6, /* a file, or a resource of this machine */
    CLI_NOT_BUILT = 7,
    CLI_CROSSED = 99 /* a --fail-if limit */
};

/* The exit code for a connection, or a server, that ended so. */
enum cli_exit framed_exit_of(enum framed_status status);

/* The same while opening it: what has no better name is CLI_CONNECT there. */
enum cli_exit framed_exit_of_opening(enum framed_status status);

/* One function per command; each returns the exit code. */
int framed_command_serve(const struct cli_options *options);
int framed_command_call(const struct cli_options *options);
int framed_command_inspect(const struct cli_options *options);
int framed_command_tap(const struct cli_options *options); /* inspect --tap */
int framed_command_ping(const struct cli_options *options);
int framed_command_bench(const struct cli_options *options);
int framed_command_keygen(const struct cli_options *options);
int framed_command_pubkey(const struct cli_options *options);
int framed_command_scan(const struct cli_options *options);
int framed_command_completion(const struct cli_options *options);

/* Says why an address gave FRAMED_USAGE; fd:N must be a socket that is `state` ("connected", "listening"). */
void framed_say_wrong_address(const char *address, const char *state);

/* Says that what needs it ("keys need") is without libsodium; CLI_NOT_BUILT. */
enum cli_exit framed_say_not_built(const char *what_needs);

/* What --congestion names, NULL if nothing; CLI_NOT_BUILT, and a line said, if that is not to be had here. */
enum cli_exit framed_option_congestion(const struct cli_options *options, const char **name);

/* The 32-bit milliseconds a config wants, of an option that may be "never". */
uint32_t framed_option_ms(const struct cli_options *options, enum cli_option_id id);

#endif
