/*
 * Owns: the parser of the command line, units, and the help; the tables are in option_table.c.
 * Must not know: what any option does; the operating system.
 * Invariants: the default of every option passes the same parser as the user's value; nothing is allocated.
 */
#include "options.h"
#include <inttypes.h>
#include <string.h>

#define ALLOWED_SIZE   "sizes are like 4096, 64KiB, 16MiB, 1GiB (1024s) or 64kB, 16MB, 1GB (1000s)"
#define ALLOWED_COUNT  "counts are like 64, 10k, 1M"
#define ALLOWED_PERIOD "durations are like 250ms, 10s, 5m, 1h (a bare number is seconds)"
#define ALLOWED_RATE   "rates are like 500, 10k/s, 1M/s"
#define ALLOWED_BRIEF  "short durations are like 50us, 1ms (a bare number is seconds)"

static const char exit_codes[] = "Exit codes: 0 success; 1 some requests failed; 2 usage; 3 cannot resolve,\n"
                                 "connect or bind; 4 timeout; 5 protocol; 6 local file or resource; 7 not built\n"
                                 "in; 99 a --fail-if limit crossed; 128+N ended by signal N (a drained serve exits\n"
                                 "with 0).\n";

const struct cli_command *framed_command_find(const char *name)
{
    for (size_t i = 0; i < CLI_COMMANDS; i++)
        if (strcmp(framed_command_table[i].name, name) == 0) return &framed_command_table[i];
    return NULL;
}

/* ---- what may have been meant ---- */

enum { NEAR = 2, LONGEST_NAME = 40 };

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be added, left out, changed, or swapped with a neighbour (Damerau and Levenshtein, the short form). */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][LONGEST_NAME + 1], *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least_of(last[j - 1] + (a[i - 1] != b[j - 1]), least_of(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = least_of(row[j], before[j - 2] + 1);
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[m];
}

/* 0: the same; NEAR + 1: not like it. The beginning of a name, and two slips in it, are like it; two letters of three are not. */
static size_t unlikeness(const char *typed, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    if (len < 2 || len > name_len + NEAR || name_len > LONGEST_NAME) return NEAR + 1;
    size_t d = distance(typed, len, name, name_len);
    if (d > 1 && len < name_len && memcmp(typed, name, len) == 0) return NEAR;
    return d <= least_of(NEAR, len / 2) ? d : NEAR + 1;
}

const struct cli_command *framed_command_near(const char *name)
{
    const struct cli_command *best = NULL;
    size_t least = NEAR + 1;
    for (size_t i = 0; i < CLI_COMMANDS; i++) {
        size_t d = unlikeness(name, strlen(name), framed_command_table[i].name);
        if (d >= least) continue;
        least = d;
        best = &framed_command_table[i];
    }
    return best;
}

static bool takes(unsigned commands, const struct cli_option *option)
{
    return (option->commands & commands) != 0;
}

/* Of these commands. */
static const struct cli_option *option_near(unsigned commands, const char *name, size_t len)
{
    const struct cli_option *best = NULL;
    size_t least = NEAR + 1;
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        size_t d = takes(commands, option) ? unlikeness(name, len, option->name) : least;
        if (d >= least) continue;
        least = d;
        best = option;
    }
    return best;
}

/* "serve, call". */
static void list_commands(unsigned commands, char *text, size_t room)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < CLI_COMMANDS && n < room; i++)
        if ((commands & 1u << i) != 0)
            n += (size_t)snprintf(text + n, room - n, "%s%s", n > 0 ? ", " : "", framed_command_table[i].name);
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
static const struct unit brief_units[] = {{"", 1000000}, {"us", 1}, {"ms", 1000}, {"s", 1000000}, {NULL, 0}};

static const struct unit rate_units[] = {{"", 1},        {"/s", 1},        {"k", 1000}, {"k/s", 1000},
                                         {"M", 1000000}, {"M/s", 1000000}, {NULL, 0}};
static const struct unit share_units[] = {{"%", 10000}, {NULL, 0}};

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

static const struct unit *units_of(enum cli_option_kind kind)
{
    switch (kind) {
    case CLI_SIZE: return size_units;
    case CLI_COUNT: return count_units;
    case CLI_BRIEF: return brief_units;
    case CLI_RATE: return rate_units;
    case CLI_SHARE: return share_units;
    default: return duration_units;
    }
}

bool framed_number_read(enum cli_option_kind kind, const char *text, uint64_t *number)
{
    return read_number(text, units_of(kind), number) == NUMBER_OK;
}

bool framed_choice_find(const char *choices, const char *text, uint64_t *number)
{
    size_t len = strlen(text);
    for (uint64_t i = 0;; i++) {
        size_t n = strcspn(choices, "|");
        if (n == len && memcmp(choices, text, n) == 0) {
            *number = i;
            return true;
        }
        if (choices[n] == '\0') return false;
        choices += n + 1;
    }
}

/* "auto|text|hex" as "auto, text, hex". */
static void list_choices(const char *choices, char *text, size_t room)
{
    size_t used = 0;
    for (; *choices != '\0' && used + 3 < room; choices++) {
        text[used++] = (char)(*choices == '|' ? ',' : *choices);
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
    case CLI_RATE: snprintf(text, room, "%" PRIu64 " to %" PRIu64 " a second", least, most); break;
    case CLI_DURATION:
        snprintf(text, room, "%" PRIu64 "ms to %" PRIu64 "h%s", least, most / 3600000, option->never ? ", or never" : "");
        break;
    case CLI_BRIEF: snprintf(text, room, "%" PRIu64 "us to %" PRIu64 "ms", least, most / 1000); break;
    default: list_choices(option->choices, text, room); break;
    }
}

static const char *form_of(enum cli_option_kind kind)
{
    switch (kind) {
    case CLI_SIZE: return ALLOWED_SIZE;
    case CLI_COUNT: return ALLOWED_COUNT;
    case CLI_BRIEF: return ALLOWED_BRIEF;
    case CLI_RATE: return ALLOWED_RATE;
    default: return ALLOWED_PERIOD;
    }
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
        if (framed_choice_find(option->choices, text, number)) return FRAMED_OK;
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

/* By its letter (len 1 behind one dash) or its name, among those that any of the commands takes. */
static const struct cli_option *find_option(unsigned commands, const char *as, size_t len)
{
    bool by_name = as[1] == '-';
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        if (!takes(commands, option)) continue;
        if (by_name ? strlen(option->name) == len - 2 && memcmp(option->name, as + 2, len - 2) == 0
                    : option->letter == as[1])
            return option;
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
        size_t len = strcspn(word, "=");
        a->as_len = (int)len;
        if (word[len] == '=') attached = word + len + 1;
    } else {
        a->as_len = 2;
        if (word[2] != '\0') attached = word + 2;
    }
    a->option = find_option(1u << command->id, word, (size_t)a->as_len);
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

/* Says what may have been meant: this option of another command, or one of a name like it. */
static void say_unknown(struct cli_options *o, const struct argument *a)
{
    const char *command = o->command->name;
    size_t dashes = strspn(a->as, "-"), len = strcspn(a->as + dashes, "=");
    const struct cli_option *theirs = find_option(~0u, a->as, (size_t)a->as_len);
    const struct cli_option *ours = option_near(1u << o->command->id, a->as + dashes, len);
    int n =
        snprintf(o->error, sizeof o->error, "%.*s: no such option of %s", (int)least_of(dashes + len, 80), a->as, command);
    char *more = o->error + n;
    size_t room = sizeof o->error - (size_t)n;
    if (theirs != NULL && (dashes == 2 || ours == NULL)) {
        char others[80];
        list_commands(theirs->commands, others, sizeof others);
        snprintf(more, room, ", but of %s; see framed %s --help", others, command);
    } else if (ours != NULL) {
        snprintf(more, room, "; did you mean --%s?", ours->name);
    } else {
        snprintf(more, room, "; see framed %s --help", command);
    }
}

static enum framed_status take_argument(struct cli_options *o, const struct argument *a)
{
    const struct cli_option *option = a->option;
    char as[40];
    if (a->unknown) {
        say_unknown(o, a);
        return FRAMED_USAGE;
    }
    snprintf(as, sizeof as, "%.*s", a->as_len, a->as != NULL ? a->as : "");
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
        if (!o->value[i].given || one->group == 0) continue;
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
    if (strlen(left) >= HELP_COLUMN) { /* it has a line for itself */
        fprintf(to, "%s\n", left);
        left[0] = '\0';
    }
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

const char *framed_time_text(uint64_t ns, char *text, size_t room)
{
    if (ns < UINT64_C(1000) * 1000) { /* cut, not rounded: 999.9 us are no 1000 us */
        snprintf(text, room, "%" PRIu64 " us", ns / 1000);
        return text;
    }
    bool ms = ns < 1000 * UINT64_C(1000000);
    uint64_t hundredths = ns / (ms ? 10000 : 10000000);
    snprintf(text, room, "%" PRIu64 ".%02u %s", hundredths / 100, (unsigned)(hundredths % 100), ms ? "ms" : "s");
    return text;
}
