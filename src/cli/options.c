/*
 * Owns: the tables of commands and options, the parser of the command line, units, and the help.
 * Must not know: what any option does; the operating system.
 * Invariants: the default of every option passes the same parser as the user's value; nothing is allocated.
 */
#include "options.h"
#include <framed/frame.h>
#include <framed/net.h>
#include <inttypes.h>
#include <string.h>

enum { GROUP_NONE, GROUP_ACTION, GROUP_INPUT, GROUP_REPLIES };

#define SERVE           (1u << CLI_SERVE)
#define CALL            (1u << CLI_CALL)
#define VERSION         (1u << CLI_VERSION)
#define LONGEST_MS      UINT64_C(3600000000) /* 1000 h: fits 32 bits and leaves FRAMED_NEVER free */
#define ALLOWED_SIZE    "sizes are like 4096, 64KiB, 16MiB, 1GiB (1024s) or 64kB, 16MB, 1GB (1000s)"
#define ALLOWED_COUNT   "counts are like 64, 10k, 1M"
#define ALLOWED_PERIOD  "durations are like 250ms, 10s, 5m, 1h (a bare number is seconds)"
#define SPAN(low, high) .least = (low), .most = (high)

const struct cli_option framed_option_table[CLI_OPTIONS] = {
    [OPT_ECHO] = {.id = OPT_ECHO,
                  .name = "echo",
                  .kind = CLI_FLAG,
                  .commands = SERVE,
                  .group = GROUP_ACTION,
                  .help = "answer every request with itself; the default action"},
    [OPT_DISCARD] = {.id = OPT_DISCARD,
                     .name = "discard",
                     .kind = CLI_FLAG,
                     .commands = SERVE,
                     .group = GROUP_ACTION,
                     .help = "take every frame and answer none"},
    [OPT_REPLY] = {.id = OPT_REPLY,
                   .name = "reply",
                   .value = "TEXT",
                   .kind = CLI_TEXT,
                   .commands = SERVE,
                   .group = GROUP_ACTION,
                   .help = "answer every request with TEXT"},
    [OPT_DELAY] = {.id = OPT_DELAY,
                   .name = "delay",
                   .value = "D",
                   .kind = CLI_DURATION,
                   .commands = SERVE,
                   SPAN(0, LONGEST_MS),
                   .fallback = "0s",
                   .help = "answer each request this long after it came; others are served meanwhile"},
    [OPT_MAX_CONNS] = {.id = OPT_MAX_CONNS,
                       .name = "max-conns",
                       .value = "N",
                       .kind = CLI_COUNT,
                       .commands = SERVE,
                       SPAN(1, 1000000),
                       .fallback = "10000",
                       .help = "connections at once; then accepting pauses"},
    [OPT_MAX_CALLS] = {.id = OPT_MAX_CALLS,
                       .name = "max-calls",
                       .value = "N",
                       .kind = CLI_COUNT,
                       .commands = SERVE,
                       SPAN(1, 1000000),
                       .fallback = "64",
                       .help = "unanswered requests per connection; then reading from it pauses"},
    [OPT_MAX_UNSENT] = {.id = OPT_MAX_UNSENT,
                        .name = "max-unsent",
                        .value = "SIZE",
                        .kind = CLI_SIZE,
                        .commands = SERVE,
                        SPAN(1, FRAMED_FRAME_MOST),
                        .fallback = "1MiB",
                        .help = "bytes waiting to be sent per connection; then reading from it pauses"},
    [OPT_IDLE_TIMEOUT] = {.id = OPT_IDLE_TIMEOUT,
                          .name = "idle-timeout",
                          .value = "D",
                          .kind = CLI_DURATION,
                          .commands = SERVE,
                          SPAN(1, LONGEST_MS),
                          .never = true,
                          .fallback = "300s",
                          .help = "close a connection that has been silent this long, with nothing to answer"},
    [OPT_FRAME_TIMEOUT] = {.id = OPT_FRAME_TIMEOUT,
                           .name = "frame-timeout",
                           .value = "D",
                           .kind = CLI_DURATION,
                           .commands = SERVE,
                           SPAN(1, LONGEST_MS),
                           .never = true,
                           .fallback = "10s",
                           .help = "a frame must be whole this long after its first byte, plus its length at 4 KiB/s"},
    [OPT_CALL_TIMEOUT] = {.id = OPT_CALL_TIMEOUT,
                          .name = "call-timeout",
                          .value = "D",
                          .kind = CLI_DURATION,
                          .commands = SERVE,
                          SPAN(1, LONGEST_MS),
                          .never = true,
                          .fallback = "300s",
                          .help = "a request must be answered within this, or its connection is closed"},
    [OPT_SEND_TIMEOUT] = {.id = OPT_SEND_TIMEOUT,
                          .name = "send-timeout",
                          .value = "D",
                          .kind = CLI_DURATION,
                          .commands = SERVE,
                          SPAN(1, LONGEST_MS),
                          .never = true,
                          .fallback = "30s",
                          .help = "a peer must take 64 KiB of its replies, or all of them, within this"},
    [OPT_DRAIN] = {.id = OPT_DRAIN,
                   .name = "drain",
                   .value = "D",
                   .kind = CLI_DURATION,
                   .commands = SERVE,
                   SPAN(1, LONGEST_MS),
                   .never = true,
                   .fallback = "30s",
                   .help = "after SIGINT or SIGTERM: how long running requests may take"},
    [OPT_WAIT] = {.id = OPT_WAIT,
                  .name = "wait",
                  .value = "HOW",
                  .kind = CLI_CHOICE,
                  .commands = SERVE,
                  .choices = "epoll|poll",
                  .help = "epoll or poll: the system call that waits; by default the best there is"},
    [OPT_MESSAGE] = {.id = OPT_MESSAGE,
                     .letter = 'm',
                     .name = "message",
                     .value = "TEXT",
                     .kind = CLI_TEXT,
                     .commands = CALL,
                     .help = "send TEXT as one frame; may be repeated"},
    [OPT_FILE] = {.id = OPT_FILE,
                  .letter = 'f',
                  .name = "file",
                  .value = "FILE",
                  .kind = CLI_TEXT,
                  .commands = CALL,
                  .help = "send the bytes of FILE as one frame; may be repeated"},
    [OPT_LINES] = {.id = OPT_LINES,
                   .name = "lines",
                   .kind = CLI_FLAG,
                   .commands = CALL,
                   .group = GROUP_INPUT,
                   .help = "each line of standard input is a frame, without its newline; "
                           "the default without -m and -f"},
    [OPT_NULL] = {.id = OPT_NULL,
                  .name = "null",
                  .kind = CLI_FLAG,
                  .commands = CALL,
                  .group = GROUP_INPUT,
                  .help = "as --lines, but messages end with a zero byte"},
    [OPT_WHOLE] = {.id = OPT_WHOLE,
                   .name = "whole",
                   .kind = CLI_FLAG,
                   .commands = CALL,
                   .group = GROUP_INPUT,
                   .help = "all of standard input is one frame"},
    [OPT_FRAMED] = {.id = OPT_FRAMED,
                    .name = "framed",
                    .kind = CLI_FLAG,
                    .commands = CALL,
                    .group = GROUP_INPUT,
                    .help = "standard input is frames already: lengths and payloads"},
    [OPT_OUTPUT] = {.id = OPT_OUTPUT,
                    .letter = 'o',
                    .name = "output",
                    .value = "FORMAT",
                    .kind = CLI_CHOICE,
                    .commands = CALL,
                    .choices = "auto|text|hex|raw|framed|json",
                    .fallback = "auto",
                    .help =
                        "auto, text (escaped, a line each), hex (a line each), raw (the bytes alone), framed (as frames) or "
                        "json (an object a line); auto is text on a terminal, else as the input came: lines, zero bytes, "
                        "frames, or the exact bytes"},
    [OPT_TIMEOUT] = {.id = OPT_TIMEOUT,
                     .letter = 't',
                     .name = "timeout",
                     .value = "D",
                     .kind = CLI_DURATION,
                     .commands = CALL,
                     SPAN(1, LONGEST_MS),
                     .never = true,
                     .fallback = "30s",
                     .help = "for connecting, and for each message until its reply"},
    [OPT_PIPELINE] = {.id = OPT_PIPELINE,
                      .name = "pipeline",
                      .value = "N",
                      .kind = CLI_COUNT,
                      .commands = CALL,
                      SPAN(1, 1000000),
                      .fallback = "16",
                      .help = "messages sent before their replies have come"},
    [OPT_NO_REPLY] = {.id = OPT_NO_REPLY,
                      .name = "no-reply",
                      .kind = CLI_FLAG,
                      .commands = CALL,
                      .group = GROUP_REPLIES,
                      .help = "expect no replies: send, half-close, end when the peer does"},
    [OPT_FOLLOW] = {.id = OPT_FOLLOW,
                    .name = "follow",
                    .kind = CLI_FLAG,
                    .commands = CALL,
                    .group = GROUP_REPLIES,
                    .help = "print every frame that comes until the peer ends; -t is for connecting only"},
    [OPT_MAX_FRAME] = {.id = OPT_MAX_FRAME,
                       .name = "max-frame",
                       .value = "SIZE",
                       .kind = CLI_SIZE,
                       .commands = SERVE | CALL,
                       SPAN(1, FRAMED_FRAME_MOST),
                       .fallback = "16MiB",
                       .help = "longest frame accepted, and sent"},
    [OPT_HELP] = {.id = OPT_HELP,
                  .letter = 'h',
                  .name = "help",
                  .kind = CLI_FLAG,
                  .commands = SERVE | CALL | VERSION,
                  .help = "print this"},
};

const struct cli_command framed_command_table[CLI_COMMANDS] = {
    [CLI_SERVE] = {.id = CLI_SERVE,
                   .name = "serve",
                   .summary = "answer frames",
                   .synopsis = "[ADDR...] [options]",
                   .max_operands = 1000,
                   .examples = "framed serve                             echo on 127.0.0.1:4464\n"
                               "framed serve 0.0.0.0:7000 '[::1]:7000'   on two addresses\n"
                               "framed serve unix:/run/echo.sock         on a Unix socket\n"
                               "framed serve --reply OK --delay 250ms    a slow canned answer\n"
                               "framed serve --discard --max-frame 1GiB  a sink for large frames",
                   .notes = "ADDR is HOST:PORT, [V6]:PORT, unix:PATH or fd:N (a listening socket). Port 0\n"
                            "takes a free one; the line \"framed: listening on ...\" on stderr names it.\n"
                            "SIGINT and SIGTERM let running requests finish, then it exits with 0; a second\n"
                            "one ends it at once. Timeouts may be \"never\"."},
    [CLI_CALL] = {.id = CLI_CALL,
                  .name = "call",
                  .summary = "send messages as frames, print the replies",
                  .synopsis = "[ADDR] [options]",
                  .max_operands = 1,
                  .examples = "framed call -m hello                     one request to 127.0.0.1:4464\n"
                              "seq 3 | framed call example.org:7000     one request per line\n"
                              "framed call -f request.bin > reply.bin   a file, byte for byte\n"
                              "framed call -m a -m b -o json            replies as JSON lines\n"
                              "framed call --follow < /dev/null         print what the peer sends",
                  .notes = "ADDR is HOST:PORT, [V6]:PORT, unix:PATH or fd:N (a connected socket). Without\n"
                           "-m and -f messages are read from standard input. Payload bytes are never\n"
                           "altered. A timeout may be \"never\"."},
    [CLI_VERSION] = {.id = CLI_VERSION,
                     .name = "version",
                     .summary = "print the version",
                     .synopsis = "",
                     .max_operands = 0,
                     .examples = "framed version"},
};

static const char exit_codes[] = "Exit codes: 0 success; 1 some requests failed; 2 usage; 3 cannot resolve,\n"
                                 "connect or bind; 4 timeout; 5 protocol; 6 local file or resource; 7 not built\n"
                                 "in; 128+N ended by signal N (a drained serve exits with 0).\n";

const struct cli_command *framed_command_find(const char *name)
{
    for (size_t i = 0; i < CLI_COMMANDS; i++)
        if (strcmp(framed_command_table[i].name, name) == 0) return &framed_command_table[i];
    return NULL;
}

/* ---- values ---- */

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {{"", 1},           {"B", 1},           {"KiB", 1u << 10},
                                         {"MiB", 1u << 20}, {"GiB", 1u << 30},  {"kB", 1000},
                                         {"MB", 1000000},   {"GB", 1000000000}, {NULL, 0}};
static const struct unit count_units[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {NULL, 0}};
static const struct unit duration_units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

enum number_status { NUMBER_OK, NUMBER_NONE, NUMBER_UNIT, NUMBER_PART, NUMBER_HUGE };

/* "1.5KiB": digits, perhaps a point and at most six more, then one of the units. The result must be a whole number. */
static enum number_status read_number(const char *text, const struct unit *unit, uint64_t *number)
{
    const uint64_t most = UINT64_C(1) << 50; /* far above every limit, far below where the arithmetic could wrap */
    uint64_t whole = 0, millionths = 0, place = 1000000;
    if (!is_digit(*text)) return NUMBER_NONE;
    for (; is_digit(*text); text++) {
        whole = whole * 10 + (uint64_t)(*text - '0');
        if (whole > most) return NUMBER_HUGE;
    }
    if (*text == '.') {
        text++;
        if (!is_digit(*text)) return NUMBER_NONE;
        for (; is_digit(*text); text++) {
            place /= 10;
            if (place == 0) return NUMBER_PART;
            millionths += place * (uint64_t)(*text - '0');
        }
    }
    while (unit->name != NULL && strcmp(unit->name, text) != 0) unit++;
    if (unit->name == NULL) return NUMBER_UNIT;
    if (whole > most / unit->factor) return NUMBER_HUGE;
    if (millionths * unit->factor % 1000000 != 0) return NUMBER_PART;
    *number = whole * unit->factor + millionths * unit->factor / 1000000;
    return NUMBER_OK;
}

static enum framed_status read_choice(const char *choices, const char *text, uint64_t *number)
{
    size_t len = strlen(text);
    for (uint64_t i = 0;; i++) {
        size_t n = strcspn(choices, "|");
        if (n == len && memcmp(choices, text, n) == 0) {
            *number = i;
            return FRAMED_OK;
        }
        if (choices[n] == '\0') return FRAMED_USAGE;
        choices += n + 1;
    }
}

/* "auto|text|hex" as "auto, text, hex". */
static void list_choices(const char *choices, char *text, size_t room)
{
    size_t used = 0;
    for (; *choices != '\0' && used + 3 < room; choices++) {
        text[used++] = *choices == '|' ? ',' : *choices;
        if (*choices == '|') text[used++] = ' ';
    }
    text[used] = '\0';
}

/* What may be given instead, for the end of an error line. */
static void allowed(const struct cli_option *option, char *text, size_t room)
{
    uint64_t least = option->least, most = option->most;
    switch (option->kind) {
    case CLI_SIZE: snprintf(text, room, "%" PRIu64 " to %" PRIu64 " bytes", least, most); break;
    case CLI_COUNT: snprintf(text, room, "%" PRIu64 " to %" PRIu64, least, most); break;
    case CLI_DURATION:
        snprintf(text, room, "%" PRIu64 "ms to %" PRIu64 "h%s", least, most / 3600000, option->never ? ", or never" : "");
        break;
    default: list_choices(option->choices, text, room); break;
    }
}

static const char *form_of(enum cli_option_kind kind)
{
    return kind == CLI_SIZE ? ALLOWED_SIZE : kind == CLI_COUNT ? ALLOWED_COUNT : ALLOWED_PERIOD;
}

static const struct unit *units_of(enum cli_option_kind kind)
{
    return kind == CLI_SIZE ? size_units : kind == CLI_COUNT ? count_units : duration_units;
}

/* Reads one value of the option, called `as` by the user. */
static enum framed_status read_value(const struct cli_option *option, const char *as, const char *text, uint64_t *number,
                                     char *error, size_t room)
{
    static const char *const wrong[] = {
        [NUMBER_NONE] = "not a number", [NUMBER_UNIT] = "no such unit", [NUMBER_PART] = "not a whole number"};
    char range[120];
    if (option->kind == CLI_FLAG || option->kind == CLI_TEXT) return FRAMED_OK;
    allowed(option, range, sizeof range);
    if (option->kind == CLI_CHOICE) {
        if (read_choice(option->choices, text, number) == FRAMED_OK) return FRAMED_OK;
        snprintf(error, room, "%s %.80s: no such choice; allowed are %s", as, text, range);
        return FRAMED_USAGE;
    }
    if (option->never && strcmp(text, "never") == 0) {
        *number = CLI_NEVER;
        return FRAMED_OK;
    }
    uint64_t value = 0;
    enum number_status st = read_number(text, units_of(option->kind), &value);
    if (st == NUMBER_HUGE || (st == NUMBER_OK && (value < option->least || value > option->most))) {
        snprintf(error, room, "%s %.80s: out of range; allowed are %s", as, text, range);
        return FRAMED_USAGE;
    }
    if (st != NUMBER_OK) {
        snprintf(error, room, "%s %.80s: %s; %s", as, text, wrong[st], form_of(option->kind));
        return FRAMED_USAGE;
    }
    *number = value;
    return FRAMED_OK;
}

/* ---- the command line ---- */

static const struct cli_option *find_letter(const struct cli_command *command, char letter)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        if (option->letter == letter && (option->commands & 1u << command->id) != 0) return option;
    }
    return NULL;
}

static const struct cli_option *find_name(const struct cli_command *command, const char *name, size_t len)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        if ((option->commands & 1u << command->id) == 0) continue;
        if (strlen(option->name) == len && memcmp(option->name, name, len) == 0) return option;
    }
    return NULL;
}

/* One argument as it was understood. */
struct argument {
    const struct cli_option *option; /* NULL: an operand, or unknown */
    const char *as;                  /* how the user wrote the option's name: `as_len` bytes */
    int as_len;
    const char *text; /* the value or operand; NULL when the option has none */
    bool unknown;
    bool unwanted; /* a flag was given a value */
};

/*
 * Takes the argument at *at, and its value. Options may come before, between and after operands; behind "--" all are operands,
 * which *at remembers by being negative. False at the end.
 */
static bool next_argument(const struct cli_command *command, int argc, char **argv, int *at, struct argument *a)
{
    memset(a, 0, sizeof *a);
    if (*at >= 0 && *at < argc && strcmp(argv[*at], "--") == 0) *at = -(*at + 1);
    int i = *at < 0 ? -*at : *at;
    if (i >= argc) return false;
    const char *word = argv[i];
    if (*at < 0 || word[0] != '-' || word[1] == '\0') {
        a->text = word;
        *at += *at < 0 ? -1 : 1;
        return true;
    }
    const char *attached = NULL;
    a->as = word;
    if (word[1] == '-') {
        size_t len = strcspn(word + 2, "=");
        a->option = find_name(command, word + 2, len);
        a->as_len = (int)len + 2;
        if (word[2 + len] == '=') attached = word + 2 + len + 1;
    } else {
        a->option = find_letter(command, word[1]);
        a->as_len = 2;
        if (word[2] != '\0') attached = word + 2;
    }
    *at += 1;
    a->unknown = a->option == NULL;
    if (a->unknown) return true;
    if (a->option->value == NULL) {
        a->unwanted = attached != NULL;
    } else if (attached != NULL) {
        a->text = attached;
    } else if (*at < argc) {
        a->text = argv[*at];
        *at += 1;
    }
    return true;
}

static enum framed_status take_argument(struct cli_options *o, const struct argument *a)
{
    const struct cli_option *option = a->option;
    char as[40];
    snprintf(as, sizeof as, "%.*s", a->as_len, a->as != NULL ? a->as : "");
    if (a->unknown) {
        snprintf(o->error, sizeof o->error, "%.80s: no such option; see framed %s --help", a->as, o->command->name);
        return FRAMED_USAGE;
    }
    if (option == NULL) {
        if (o->operands == o->command->max_operands) {
            snprintf(o->error, sizeof o->error, "%.80s: one argument too many; see framed %s --help", a->text,
                     o->command->name);
            return FRAMED_USAGE;
        }
        o->operands++;
        return FRAMED_OK;
    }
    if (a->unwanted) {
        snprintf(o->error, sizeof o->error, "%.80s: %s takes no value", a->as, as);
        return FRAMED_USAGE;
    }
    if (option->value != NULL && a->text == NULL) {
        snprintf(o->error, sizeof o->error, "%s: its value %s is missing", as, option->value);
        return FRAMED_USAGE;
    }
    struct cli_value *value = &o->value[option->id];
    enum framed_status st = read_value(option, as, a->text, &value->number, o->error, sizeof o->error);
    if (st != FRAMED_OK) return st;
    value->given = true;
    value->text = a->text;
    return FRAMED_OK;
}

static enum framed_status check_groups(struct cli_options *o)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *one = &framed_option_table[i];
        if (!o->value[i].given || one->group == GROUP_NONE) continue;
        for (size_t k = i + 1; k < CLI_OPTIONS; k++) {
            if (!o->value[k].given || framed_option_table[k].group != one->group) continue;
            snprintf(o->error, sizeof o->error, "--%s and --%s exclude each other", one->name, framed_option_table[k].name);
            return FRAMED_USAGE;
        }
    }
    return FRAMED_OK;
}

static enum framed_status take_defaults(struct cli_options *o)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        if (option->fallback == NULL) continue;
        o->value[i].text = option->fallback;
        enum framed_status st =
            read_value(option, option->name, option->fallback, &o->value[i].number, o->error, sizeof o->error);
        if (st != FRAMED_OK) return st;
    }
    return FRAMED_OK;
}

enum framed_status framed_options_parse(struct cli_options *options, const struct cli_command *command, int argc,
                                        char **argv)
{
    memset(options, 0, sizeof *options);
    options->command = command;
    options->argc = argc;
    options->argv = argv;
    enum framed_status st = take_defaults(options);
    if (st != FRAMED_OK) return st;
    struct argument a;
    for (int at = 0; next_argument(command, argc, argv, &at, &a);) {
        st = take_argument(options, &a);
        if (st != FRAMED_OK) return st;
        if (options->value[OPT_HELP].given) return FRAMED_OK; /* whatever follows */
    }
    return check_groups(options);
}

bool framed_options_next(const struct cli_options *options, int *cursor, enum cli_option_id *id, const char **text)
{
    struct argument a;
    if (!next_argument(options->command, options->argc, options->argv, cursor, &a)) return false;
    *id = a.option != NULL ? a.option->id : OPT_OPERAND;
    *text = a.text;
    return true;
}

/* ---- help ---- */

enum { HELP_COLUMN = 26, HELP_WIDTH = 80 };

/* Prints words up to HELP_WIDTH columns, each line after the first behind HELP_COLUMN spaces. */
static void put_wrapped(FILE *to, const char *text)
{
    size_t room = HELP_WIDTH - HELP_COLUMN;
    while (strlen(text) > room) {
        size_t n = room;
        while (n > 0 && text[n] != ' ') n--;
        if (n == 0) n = room; /* one very long word */
        fprintf(to, "%.*s\n%*s", (int)n, text, HELP_COLUMN, "");
        text += text[n] == ' ' ? n + 1 : n;
    }
    fprintf(to, "%s\n", text);
}

static void put_option(FILE *to, const struct cli_option *option)
{
    char left[60], help[500];
    int n = option->letter != 0 ? snprintf(left, sizeof left, "  -%c, --%s", option->letter, option->name)
                                : snprintf(left, sizeof left, "      --%s", option->name);
    if (option->value != NULL) snprintf(left + n, sizeof left - (size_t)n, " %s", option->value);
    fprintf(to, "%-*s", HELP_COLUMN, left);
    n = snprintf(help, sizeof help, "%s", option->help);
    if (option->fallback != NULL) snprintf(help + n, sizeof help - (size_t)n, " (default %s)", option->fallback);
    put_wrapped(to, help);
}

/* Prints lines behind two spaces. */
static void put_examples(FILE *to, const char *examples)
{
    fprintf(to, "Examples:\n");
    for (const char *end; *examples != '\0'; examples = *end == '\n' ? end + 1 : end) {
        end = examples + strcspn(examples, "\n");
        fprintf(to, "  %.*s\n", (int)(end - examples), examples);
    }
}

static void put_command(FILE *to, const struct cli_command *command)
{
    fprintf(to, "framed %s: %s\n\n", command->name, command->summary);
    put_examples(to, command->examples);
    fprintf(to, "\nUsage: framed %s%s%s\n\n", command->name, command->synopsis[0] != '\0' ? " " : "", command->synopsis);
    for (size_t i = 0; i < CLI_OPTIONS; i++)
        if ((framed_option_table[i].commands & 1u << command->id) != 0) put_option(to, &framed_option_table[i]);
    if (command->notes != NULL) fprintf(to, "\n%s\n", command->notes);
    fprintf(to, "\n%s", exit_codes);
}

static void put_overview(FILE *to)
{
    fprintf(to, "framed: length-prefixed messages over TCP and Unix sockets\n\n");
    put_examples(to, "framed serve                             echo on 127.0.0.1:4464\n"
                     "framed call -m hello                     send it a message\n"
                     "seq 3 | framed call                      one message per line");
    fprintf(to, "\nUsage: framed COMMAND [ADDR] [options]\n\n");
    for (size_t i = 0; i < CLI_COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", framed_command_table[i].name, framed_command_table[i].summary);
    fprintf(to, "\nframed COMMAND --help says more. stdout is data, stderr is talk.\n\n%s", exit_codes);
}

void framed_options_help(FILE *to, const struct cli_command *command)
{
    if (command != NULL)
        put_command(to, command);
    else
        put_overview(to);
}

/* ---- for people ---- */

void framed_size_text(uint64_t bytes, char *text, size_t room)
{
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB"};
    size_t i = 0;
    while (i < 3 && bytes >= 1024 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    snprintf(text, room, "%" PRIu64 " %s", bytes, i == 0 && bytes == 1 ? "byte" : names[i]);
}

void framed_duration_text(uint64_t ms, char *text, size_t room)
{
    if (ms % 1000 == 0)
        snprintf(text, room, "%" PRIu64 " s", ms / 1000);
    else
        snprintf(text, room, "%" PRIu64 " ms", ms);
}
