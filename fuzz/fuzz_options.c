/*
 * fuzz_options.c: the parser of the command line.
 * Must not know any option by name.
 * Invariants: every argument is a block of its own, exactly as long as it is; what is refused is explained in one line; what is
 * accepted means the same when it is written out in one canonical form and read again.
 *
 * Input: which command (1 byte), then the arguments, each ended by a zero byte.
 */
#include "cli/options.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_ARGUMENTS = 24 };

struct line {
    char *argv[2 * MOST_ARGUMENTS + 2];
    int argc;
};

static void add(struct line *line, const void *at, size_t n)
{
    char *text = malloc(n + 1);
    fuzz_must(text != NULL, "there is memory for the harness");
    if (n > 0) memcpy(text, at, n);
    text[n] = '\0';
    line->argv[line->argc++] = text;
}

static void split(struct line *line, struct framed_bytes in)
{
    while (in.len > 0 && line->argc < MOST_ARGUMENTS) {
        const uint8_t *zero = memchr(in.at, 0, in.len);
        size_t n = zero != NULL ? (size_t)(zero - in.at) : in.len;
        add(line, in.at, n);
        n += zero != NULL;
        in.at += n;
        in.len -= n;
    }
}

static void line_free(struct line *line)
{
    for (int i = 0; i < line->argc; i++) free(line->argv[i]);
}

static void error_holds(const struct cli_options *options)
{
    size_t n = 0;
    while (n < sizeof options->error && options->error[n] != '\0') n++;
    fuzz_must(n > 0 && n < sizeof options->error, "what is refused is explained, within bounds");
}

/* "--name=value", every operand behind "--". */
static void write_option(struct line *to, const struct cli_option *option, const char *text)
{
    char name[64];
    int n = snprintf(name, sizeof name, "--%s%s", option->name, option->value != NULL ? "=" : "");
    fuzz_must(n > 0 && n < (int)sizeof name, "names of options are short");
    if (option->value == NULL) {
        fuzz_must(text == NULL, "a flag has no value");
        add(to, name, (size_t)n);
        return;
    }
    fuzz_must(text != NULL, "an option that has a value is given with one");
    size_t len = strlen(text);
    char *whole = malloc((size_t)n + len);
    fuzz_must(whole != NULL, "there is memory for the harness");
    memcpy(whole, name, (size_t)n);
    if (len > 0) memcpy(whole + n, text, len);
    add(to, whole, (size_t)n + len);
    free(whole);
}

static void write_again(const struct cli_options *options, struct line *to)
{
    enum cli_option_id id;
    const char *text;
    unsigned operands = 0;
    for (int cursor = 0; framed_options_next(options, &cursor, &id, &text);) {
        fuzz_must(id <= OPT_OPERAND, "an argument is an option or an operand");
        if (id == OPT_OPERAND)
            operands++;
        else
            write_option(to, &framed_option_table[id], text);
    }
    fuzz_must(operands == options->operands, "operands are counted");
    add(to, "--", 2);
    for (int cursor = 0; framed_options_next(options, &cursor, &id, &text);)
        if (id == OPT_OPERAND) add(to, text, strlen(text));
}

static void same(const struct cli_options *a, const struct cli_options *b)
{
    fuzz_must(a->operands == b->operands, "as many operands");
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_value *one = &a->value[i], *two = &b->value[i];
        fuzz_must(one->given == two->given && one->number == two->number, "the same options, with the same numbers");
        fuzz_must((one->text == NULL) == (two->text == NULL), "the same options, with the same texts");
        if (one->text != NULL) fuzz_must(strcmp(one->text, two->text) == 0, "the same options, with the same texts");
    }
}

static void values_hold(const struct cli_options *options)
{
    for (size_t i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *option = &framed_option_table[i];
        const struct cli_value *value = &options->value[i];
        if (!value->given) continue;
        fuzz_must((option->commands & 1u << options->command->id) != 0, "a command has only its own options");
        if (option->kind != CLI_SIZE && option->kind != CLI_COUNT && option->kind != CLI_DURATION &&
            option->kind != CLI_BRIEF)
            continue;
        bool never = option->never && value->number == CLI_NEVER;
        fuzz_must(never || (value->number >= option->least && value->number <= option->most), "numbers are in their range");
    }
}

int framed_fuzz_options(const uint8_t *at, size_t n)
{
    struct framed_bytes in = framed_bytes_of(at, n);
    struct line line = {.argc = 0}, again = {.argc = 0};
    struct cli_options options, twice;
    const struct cli_command *command = &framed_command_table[fuzz_byte(&in) % CLI_COMMANDS];
    split(&line, in);
    if (line.argc > 0 && framed_command_find(line.argv[0]) != NULL)
        fuzz_must(framed_command_near(line.argv[0]) == framed_command_find(line.argv[0]), "nothing is nearer than the name");
    else if (line.argc > 0)
        (void)framed_command_near(line.argv[0]);
    enum framed_status st = framed_options_parse(&options, command, line.argc, line.argv);
    if (st != FRAMED_OK) {
        fuzz_must(st == FRAMED_USAGE, "a command line is right or wrong");
        error_holds(&options);
    } else if (!options.value[OPT_HELP].given) { /* behind --help anything may follow */
        values_hold(&options);
        write_again(&options, &again);
        fuzz_must(framed_options_parse(&twice, command, again.argc, again.argv) == FRAMED_OK, "it is right once more");
        same(&options, &twice);
    }
    line_free(&again);
    line_free(&line);
    return 0;
}
