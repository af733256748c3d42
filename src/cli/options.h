/*
 * options.h: what the tool can be told. One table of commands and one of options drive the parser and the help; they are
 * plain data, so that a man page or a shell completion can be made from them too.
 */
#ifndef FRAMED_CLI_OPTIONS_H
#define FRAMED_CLI_OPTIONS_H

#include <framed/base.h>
#include <stdbool.h>
#include <stdio.h>

enum cli_command_id {
    CLI_SERVE,
    CLI_CALL,
    CLI_INSPECT,
    CLI_PING,
    CLI_BENCH,
    CLI_KEYGEN,
    CLI_PUBKEY,
    CLI_SCAN,
    CLI_COMPLETION,
    CLI_VERSION,
    CLI_COMMANDS
};

enum cli_option_id {
    /* serve */
    OPT_ECHO,
    OPT_DISCARD,
    OPT_REPLY,
    OPT_EXEC,
    OPT_ON_ERROR,
    OPT_DELAY,
    OPT_MAX_CONNS,
    OPT_MAX_CALLS,
    OPT_MAX_UNSENT,
    OPT_IDLE_TIMEOUT,
    OPT_FRAME_TIMEOUT,
    OPT_CALL_TIMEOUT,
    OPT_SEND_TIMEOUT,
    OPT_DRAIN,
    OPT_WORKERS,
    OPT_SPIN,
    OPT_MAX_MEMORY,
    OPT_CONGESTION,
    OPT_CHECKSUM,
    OPT_KEY,
    OPT_PSK_FILE,
    OPT_AUTHORIZED_PEERS,
    OPT_PEER_KEY,
    OPT_KNOWN_SERVERS,
    OPT_WAIT,
    /* call */
    OPT_MESSAGE,
    OPT_FILE,
    OPT_LINES,
    OPT_NULL,
    OPT_WHOLE,
    OPT_FRAMED,
    OPT_OUTPUT,
    OPT_TIMEOUT,
    OPT_PIPELINE,
    OPT_NO_REPLY,
    OPT_FOLLOW,
    /* inspect */
    OPT_HEX,
    OPT_STATS,
    OPT_TAP,
    OPT_RECORD,
    /* ping */
    OPT_COUNT,
    OPT_INTERVAL,
    /* bench */
    OPT_SELF,
    OPT_CONNECTIONS,
    OPT_THREADS,
    OPT_DURATION,
    OPT_NUMBER,
    OPT_RATE,
    OPT_DEPTH,
    OPT_BODY,
    OPT_WARMUP,
    OPT_VERIFY,
    OPT_HDR,
    OPT_PLOT,
    OPT_BASELINE,
    OPT_FAIL_IF,
    /* keygen */
    OPT_KEY_FILE,
    OPT_PSK,
    OPT_ID,
    /* several */
    OPT_JSON,
    OPT_MAX_FRAME,
    OPT_HELP,
    CLI_OPTIONS,
    OPT_OPERAND /* not an option: what framed_options_next calls an argument without dashes */
};

enum cli_option_kind {
    CLI_FLAG,
    CLI_TEXT,
    CLI_SIZE,     /* bytes: 4096, 64KiB, 16MB */
    CLI_COUNT,    /* 64, 10k */
    CLI_DURATION, /* milliseconds: 250ms, 10s; a bare number is seconds */
    CLI_BRIEF,    /* microseconds: 50us, 1ms; a bare number is seconds */
    CLI_RATE,     /* a second: 500, 10k/s */
    CLI_SHARE,    /* millionths: 0.1% */
    CLI_CHOICE    /* one of `choices`; the number is its place among them */
};

#define CLI_NEVER UINT64_MAX /* the number of a duration given as "never" */
#define CLI_FILES "FILE"     /* the name of a value, or an operand, that is the path of a file */

struct cli_option {
    enum cli_option_id id;
    char letter;          /* 'm', or 0 */
    const char *name;     /* "message" */
    const char *value;    /* what its value is called: "TEXT"; NULL for a flag */
    const char *help;     /* one sentence, or a few; wrapped when printed */
    const char *fallback; /* the default as one would type it, or NULL */
    const char *choices;  /* "auto|text|hex" */
    uint64_t least, most;
    enum cli_option_kind kind;
    unsigned commands; /* 1 << enum cli_command_id for each command that takes it */
    unsigned group;    /* options of one group exclude each other; 0 is no group */
    bool never;        /* a duration that may be "never" */
};

struct cli_command {
    enum cli_command_id id;
    const char *name;
    const char *summary;
    const char *synopsis;  /* what follows its name */
    const char *examples;  /* lines, separated by newlines */
    const char *notes;     /* paragraphs for the end of the help, or NULL */
    const char *operands;  /* what they are: CLI_FILES, or the words allowed, "bash|zsh"; NULL: addresses, or none */
    unsigned max_operands; /* arguments without dashes */
};

extern const struct cli_option framed_option_table[CLI_OPTIONS]; /* indexed by id */
extern const struct cli_command framed_command_table[CLI_COMMANDS];

struct cli_value {
    bool given;       /* by the user; else the default, if there is one */
    const char *text; /* as typed */
    uint64_t number;  /* SIZE, COUNT, DURATION, BRIEF, RATE, CHOICE */
};

struct cli_options {
    const struct cli_command *command;
    int argc;
    char **argv; /* borrowed: texts point into it */
    struct cli_value value[CLI_OPTIONS];
    unsigned operands;
    char error[400];
};

/* NULL when there is no such command. */
const struct cli_command *framed_command_find(const char *name);

/* The command that was meant by something very like its name; NULL: none. */
const struct cli_command *framed_command_near(const char *name);

/* Whether `text` is one of the words of "auto|text|hex", and which. */
bool framed_choice_find(const char *choices, const char *text, uint64_t *number);

/*
 * Reads the arguments that follow the command's name; argv is borrowed. FRAMED_OK: every value is legal; ask
 * value[OPT_HELP].given first. FRAMED_USAGE: options->error says in one line which option, the value given, and what is allowed.
 */
enum framed_status framed_options_parse(struct cli_options *options, const struct cli_command *command, int argc,
                                        char **argv);

/*
 * Options and operands in the order they were given, for those that may be repeated. *cursor begins at 0. False at the end.
 * Only after framed_options_parse returned FRAMED_OK.
 */
bool framed_options_next(const struct cli_options *options, int *cursor, enum cli_option_id *id, const char **text);

/* The help of one command, or of the whole tool (command NULL): examples first. */
void framed_options_help(FILE *to, const struct cli_command *command);

/* Reads a number of this kind (SIZE to SHARE), whatever its range. False: it is none. */
bool framed_number_read(enum cli_option_kind kind, const char *text, uint64_t *number);

/* "16 MiB", "1000 bytes": exact, for people. Writes at most `room` bytes with the NUL. */
void framed_size_text(uint64_t bytes, char *text, size_t room);

/* "250 ms", "10 s", for people. */
void framed_duration_text(uint64_t ms, char *text, size_t room);

/* "41 us", "1.24 ms", "2.50 s": what was measured. Returns `text`. */
const char *framed_time_text(uint64_t ns, char *text, size_t room);

#endif
