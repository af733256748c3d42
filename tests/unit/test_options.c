/*
 * test_options.c: the parser of the tool's command line, its units and its help (src/cli/options.c).
 * Must not know what an option does.
 * Invariant: what holds for every option is asked of every option in the table.
 */
#include "cli/options.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_ARGS = 12 };

static struct cli_options options;
static char *arguments[MOST_ARGS]; /* borrowed by `options` */

/* Parses a command line given as one string; words are parted by single spaces. */
static enum framed_status parse(const char *command, const char *line)
{
    static char copy[400];
    int n = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(n < MOST_ARGS);
        arguments[n++] = word;
    }
    return framed_options_parse(&options, framed_command_find(command), n, arguments);
}

static void accepts(const char *command, const char *line, enum cli_option_id id, uint64_t number)
{
    if (parse(command, line) != FRAMED_OK) fail_msg("%s: %s", line, options.error);
    assert_true(options.value[id].given);
    if (options.value[id].number != number) fail_msg("%s: read as %llu", line, (unsigned long long)options.value[id].number);
}

/* It is refused, and the line says each of the words. */
static void refuses(const char *command, const char *line, const char *one, const char *two, const char *three)
{
    const char *words[] = {one, two, three};
    if (parse(command, line) != FRAMED_USAGE) fail_msg("%s: accepted", line);
    for (size_t i = 0; i < 3; i++)
        if (strstr(options.error, words[i]) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", line, options.error, words[i]);
}

static void sizes_have_binary_and_decimal_units(void **state)
{
    (void)state;
    accepts("serve", "--max-frame 4096", OPT_MAX_FRAME, 4096);
    accepts("serve", "--max-frame 4096B", OPT_MAX_FRAME, 4096);
    accepts("serve", "--max-frame 64KiB", OPT_MAX_FRAME, 65536);
    accepts("serve", "--max-frame 16MiB", OPT_MAX_FRAME, 16777216);
    accepts("serve", "--max-frame 1GiB", OPT_MAX_FRAME, 1073741824);
    accepts("serve", "--max-frame 64kB", OPT_MAX_FRAME, 64000);
    accepts("serve", "--max-frame 16MB", OPT_MAX_FRAME, 16000000);
    accepts("serve", "--max-frame 2GB", OPT_MAX_FRAME, 2000000000);
    accepts("serve", "--max-frame 1.5KiB", OPT_MAX_FRAME, 1536);
    accepts("serve", "--max-frame=0.5MiB", OPT_MAX_FRAME, 524288);
}

static void counts_have_decimal_units(void **state)
{
    (void)state;
    accepts("serve", "--max-conns 7", OPT_MAX_CONNS, 7);
    accepts("serve", "--max-conns 10k", OPT_MAX_CONNS, 10000);
    accepts("serve", "--max-conns 1M", OPT_MAX_CONNS, 1000000);
    accepts("call", "--pipeline 2.5k", OPT_PIPELINE, 2500);
}

static void durations_have_units_and_bare_numbers_are_seconds(void **state)
{
    (void)state;
    accepts("call", "-t 250ms", OPT_TIMEOUT, 250);
    accepts("call", "-t 10s", OPT_TIMEOUT, 10000);
    accepts("call", "-t 5m", OPT_TIMEOUT, 300000);
    accepts("call", "-t 1000h", OPT_TIMEOUT, UINT64_C(3600000000));
    accepts("call", "-t 5", OPT_TIMEOUT, 5000);
    accepts("call", "-t 1.5s", OPT_TIMEOUT, 1500);
    accepts("call", "-t never", OPT_TIMEOUT, CLI_NEVER);
    accepts("serve", "--delay 0", OPT_DELAY, 0);
}

static void unknown_units_are_refused_with_the_allowed_ones(void **state)
{
    (void)state;
    refuses("serve", "--max-frame 64K", "--max-frame", "64K", "64KiB");
    refuses("serve", "--max-frame 10x", "--max-frame", "10x", "KiB");
    refuses("serve", "--max-frame 16mib", "--max-frame", "16mib", "MiB");
    refuses("call", "-t 10sec", "-t", "10sec", "250ms");
    refuses("call", "--pipeline 5ms", "--pipeline", "5ms", "10k");
}

static void what_is_no_number_is_refused(void **state)
{
    (void)state;
    const char *const wrong[] = {"x", "-1", "+1", "0x10", ".5", "1.", "1.x", "1e3", "NaN"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char line[80];
        snprintf(line, sizeof line, "--pipeline=%s", wrong[i]);
        refuses("call", line, "--pipeline", wrong[i], "like 64, 10k");
    }
    assert_int_equal(framed_options_parse(&options, framed_command_find("call"), 1, (char *[]){"--pipeline="}),
                     FRAMED_USAGE);
}

static void parts_of_a_byte_or_a_millisecond_are_refused(void **state)
{
    (void)state;
    refuses("serve", "--max-frame 1.5", "--max-frame", "1.5", "not a whole number");
    refuses("call", "-t 0.5ms", "-t", "0.5ms", "not a whole number");
    refuses("call", "-t 1.0000001s", "-t", "1.0000001s", "not a whole number");
}

static void values_out_of_range_are_refused_with_the_range(void **state)
{
    (void)state;
    accepts("serve", "--max-frame 2147483647", OPT_MAX_FRAME, 2147483647);
    refuses("serve", "--max-frame 2147483648", "--max-frame", "2147483648", "1 to 2147483647 bytes");
    refuses("serve", "--max-frame 2GiB", "--max-frame", "2GiB", "1 to 2147483647 bytes");
    refuses("serve", "--max-frame 0", "--max-frame", "0", "1 to 2147483647 bytes");
    refuses("serve", "--drain 0", "--drain", "0", "1ms to 1000h, or never");
    refuses("serve", "--drain 1001h", "--drain", "1001h", "1ms to 1000h, or never");
    refuses("call", "--pipeline 99999999999999999999999999", "--pipeline", "99999", "1 to 1000000");
    refuses("call", "-t 1125899906842624h", "-t", "1125899906842624h", "1ms to 1000h");
    refuses("serve", "--delay never", "--delay", "never", "durations are like");
}

static void choices_are_taken_by_name_and_others_refused(void **state)
{
    (void)state;
    accepts("call", "-o auto", OPT_OUTPUT, 0);
    accepts("call", "-o json", OPT_OUTPUT, 5);
    accepts("call", "--output=hex", OPT_OUTPUT, 2);
    refuses("call", "-o xml", "-o", "xml", "auto, text, hex, raw, framed, json");
    refuses("call", "-o tex", "-o", "tex", "auto");
    refuses("call", "-o text|hex", "-o", "text|hex", "auto");
    assert_int_equal(framed_options_parse(&options, framed_command_find("call"), 2, (char *[]){"-o", ""}), FRAMED_USAGE);
}

static void values_may_be_attached(void **state)
{
    (void)state;
    assert_int_equal(parse("call", "-mhello --message=there -m=x"), FRAMED_OK);
    const char *const texts[] = {"hello", "there", "=x"};
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    for (size_t i = 0; i < 3; i++) {
        assert_true(framed_options_next(&options, &cursor, &id, &text));
        assert_int_equal(id, OPT_MESSAGE);
        assert_string_equal(text, texts[i]);
    }
    assert_false(framed_options_next(&options, &cursor, &id, &text));
}

static void order_of_repeated_options_and_operands_is_kept(void **state)
{
    (void)state;
    static const struct {
        enum cli_option_id id;
        const char *text;
    } expected[] = {
        {OPT_FILE, "a"}, {OPT_OPERAND, "host:1"}, {OPT_MESSAGE, "b"}, {OPT_FILE, "--lines"}, {OPT_OUTPUT, "hex"}};
    assert_int_equal(parse("call", "-f a host:1 -m b -f --lines -o hex"), FRAMED_OK);
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(framed_options_next(&options, &cursor, &id, &text));
        assert_int_equal(id, expected[i].id);
        assert_string_equal(text, expected[i].text);
    }
    assert_false(framed_options_next(&options, &cursor, &id, &text));
    assert_int_equal(options.operands, 1);
    assert_false(options.value[OPT_LINES].given);
}

static void everything_behind_two_dashes_is_an_operand(void **state)
{
    (void)state;
    assert_int_equal(parse("serve", "-- --echo -- -"), FRAMED_OK);
    assert_int_equal(options.operands, 3);
    assert_false(options.value[OPT_ECHO].given);
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    assert_true(framed_options_next(&options, &cursor, &id, &text));
    assert_string_equal(text, "--echo");
    assert_true(framed_options_next(&options, &cursor, &id, &text));
    assert_string_equal(text, "--");
    assert_true(framed_options_next(&options, &cursor, &id, &text));
    assert_string_equal(text, "-");
    assert_false(framed_options_next(&options, &cursor, &id, &text));

    assert_int_equal(parse("serve", "a:1 -- b:2"), FRAMED_OK);
    assert_int_equal(options.operands, 2);
}

static void unknown_options_and_those_of_other_commands_are_refused(void **state)
{
    (void)state;
    refuses("serve", "--bogus", "--bogus", "no such option", "framed serve --help");
    refuses("serve", "-m hello", "-m", "no such option", "framed serve --help");
    refuses("call", "--echo", "--echo", "no such option", "framed call --help");
    refuses("call", "-z", "-z", "no such option", "framed call --help");
    refuses("call", "--time 1s", "--time", "no such option",
            ""); /* no abbreviations: they would break when options are added */
    refuses("version", "--max-frame 1", "--max-frame", "no such option", "framed version --help");
}

static void slips_in_a_name_are_understood(void **state)
{
    (void)state;
    refuses("serve", "--max-fram 1", "--max-fram:", "no such option of serve", "did you mean --max-frame?"); /* left out */
    refuses("serve", "--max-framee=1", "--max-framee:", "did you mean --max-frame?", "");                    /* added */
    refuses("call", "--pipelime 1", "--pipelime:", "did you mean --pipeline?", "");                          /* changed */
    refuses("call", "--tiemotu 1", "--tiemotu:", "did you mean --timeout?", ""); /* swapped, twice */
    refuses("call", "--follwo", "--follwo:", "did you mean --follow?", "");
    refuses("call", "--out hex", "--out:", "did you mean --output?", ""); /* its beginning */
    refuses("serve", "-echo", "-echo:", "did you mean --echo?", "");      /* a dash */
    refuses("serve", "---echo", "---echo:", "did you mean --echo?", "");
    refuses("version", "--hlep", "--hlep:", "did you mean --help?", "");
    refuses("inspect", "--statistics", "--statistics:", "see framed inspect --help", ""); /* five slips */
}

static void what_is_like_nothing_is_not_guessed(void **state)
{
    (void)state;
    const char *const odd[] = {
        "--x", "--xyz", "--qu", "--=", "--=help", "--echoechoechoechoechoechoechoechoechoechoecho", "--frmaxe"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        if (parse("version", odd[i]) != FRAMED_USAGE) fail_msg("%s: accepted", odd[i]);
        if (strstr(options.error, "mean") != NULL) fail_msg("%s: %s", odd[i], options.error);
    }
}

static void an_option_of_another_command_is_told_as_such(void **state)
{
    (void)state;
    refuses("call", "--echo", "--echo:", "no such option of call, but of serve;", "framed call --help");
    refuses("serve", "-m x", "-m:", "no such option of serve, but of call, ping;", "framed serve --help");
    refuses("version", "--max-frame=1", "--max-frame:", "but of serve, call, inspect, ping, bench;",
            "framed version --help");
}

static void slips_in_the_name_of_a_command_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *typed, *meant;
    } names[] = {{"srve", "serve"},  {"sevre", "serve"},  {"pign", "ping"},
                 {"pings", "ping"},  {"insp", "inspect"}, {"verison", "version"},
                 {"caller", "call"}, {"serve", "serve"},  {"xyzzy", NULL},
                 {"", NULL},         {"-", NULL},         {"server-for-everything", NULL},
                 {"zall", "call"},   {"zz", NULL},        {"cat", NULL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct cli_command *found = framed_command_near(names[i].typed);
        if (names[i].meant == NULL) {
            if (found != NULL) fail_msg("%s: %s", names[i].typed, found->name);
        } else {
            if (found == NULL) fail_msg("%s: nothing", names[i].typed);
            assert_string_equal(found->name, names[i].meant);
        }
    }
}

static void a_very_long_name_is_an_error_like_any_other(void **state)
{
    (void)state;
    static char name[5000];
    memset(name, 'e', sizeof name - 1);
    name[0] = name[1] = '-';
    assert_int_equal(framed_options_parse(&options, framed_command_find("serve"), 1, (char *[]){name}), FRAMED_USAGE);
    assert_non_null(strstr(options.error, "see framed serve --help"));
    assert_null(framed_command_near(name));
}

static void missing_and_unwanted_values_are_refused(void **state)
{
    (void)state;
    refuses("call", "-m", "-m", "TEXT", "missing");
    refuses("serve", "--max-frame", "--max-frame", "SIZE", "missing");
    refuses("serve", "--echo=yes", "--echo=yes", "takes no value", "");
    refuses("call", "-hx", "-hx", "takes no value", "");
}

static void too_many_operands_are_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("serve", "a:1 b:2 c:3"), FRAMED_OK);
    assert_int_equal(options.operands, 3);
    refuses("call", "a:1 b:2", "b:2", "too many", "framed call --help");
    refuses("version", "x", "x", "too many", "framed version --help");
}

static void options_of_one_group_exclude_each_other(void **state)
{
    (void)state;
    refuses("serve", "--echo --discard", "--echo", "--discard", "exclude");
    refuses("serve", "--reply x --echo", "--echo", "--reply", "exclude");
    refuses("call", "--whole --lines", "--lines", "--whole", "exclude");
    refuses("call", "--null --framed", "--null", "--framed", "exclude");
    refuses("call", "--no-reply --follow", "--no-reply", "--follow", "exclude");
    assert_int_equal(parse("call", "--null --follow"), FRAMED_OK);
}

static void help_is_given_whatever_follows(void **state)
{
    (void)state;
    assert_int_equal(parse("serve", "--help --bogus"), FRAMED_OK);
    assert_true(options.value[OPT_HELP].given);
    assert_int_equal(parse("serve", "-h"), FRAMED_OK);
    assert_true(options.value[OPT_HELP].given);
}

static void last_of_a_repeated_value_counts(void **state)
{
    (void)state;
    accepts("call", "-t 1s -t 2s", OPT_TIMEOUT, 2000);
}

static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    assert_int_equal(parse("serve", ""), FRAMED_OK);
    assert_int_equal(options.value[OPT_MAX_FRAME].number, 16u << 20);
    assert_int_equal(options.value[OPT_MAX_CONNS].number, 10000);
    assert_int_equal(options.value[OPT_MAX_CALLS].number, 64);
    assert_int_equal(options.value[OPT_MAX_UNSENT].number, 1u << 20);
    assert_int_equal(options.value[OPT_IDLE_TIMEOUT].number, 300000);
    assert_int_equal(options.value[OPT_FRAME_TIMEOUT].number, 10000);
    assert_int_equal(options.value[OPT_CALL_TIMEOUT].number, 300000);
    assert_int_equal(options.value[OPT_SEND_TIMEOUT].number, 30000);
    assert_int_equal(options.value[OPT_DRAIN].number, 30000);
    assert_int_equal(options.value[OPT_TIMEOUT].number, 30000);
    assert_int_equal(options.value[OPT_PIPELINE].number, 16);
    assert_false(options.value[OPT_MAX_FRAME].given);
}

static void table_is_indexed_by_id_and_complete(void **state)
{
    (void)state;
    for (int i = 0; i < CLI_OPTIONS; i++) {
        const struct cli_option *o = &framed_option_table[i];
        assert_int_equal(o->id, i);
        assert_non_null(o->name);
        assert_non_null(o->help);
        assert_true(o->commands != 0);
        assert_int_equal(o->kind == CLI_FLAG, o->value == NULL);
        assert_int_equal(o->kind == CLI_CHOICE, o->choices != NULL);
        for (int k = 0; k < i; k++) {
            const struct cli_option *other = &framed_option_table[k];
            if ((o->commands & other->commands) == 0) continue;
            assert_string_not_equal(o->name, other->name);
            assert_true(o->letter == 0 || o->letter != other->letter);
        }
    }
    for (int i = 0; i < CLI_COMMANDS; i++) assert_int_equal(framed_command_table[i].id, i);
}

static char *help_of(const struct cli_command *command)
{
    static char text[16 << 10];
    FILE *to = tmpfile();
    assert_non_null(to);
    framed_options_help(to, command);
    rewind(to);
    size_t n = fread(text, 1, sizeof text - 1, to);
    text[n] = '\0';
    fclose(to);
    return text;
}

static void help_names_every_option_of_the_command_and_no_other(void **state)
{
    (void)state;
    for (int c = 0; c < CLI_COMMANDS; c++) {
        const char *text = help_of(&framed_command_table[c]);
        for (int i = 0; i < CLI_OPTIONS; i++) {
            const struct cli_option *o = &framed_option_table[i];
            char begin[80], letter[20] = "      ";
            if (o->letter != 0) snprintf(letter, sizeof letter, "  -%c, ", o->letter);
            snprintf(begin, sizeof begin, "\n%s--%s %s", letter, o->name, o->value != NULL ? o->value : " ");
            bool takes = (o->commands & 1u << c) != 0;
            if ((strstr(text, begin) != NULL) != takes) fail_msg("%s: \"%s\"", framed_command_table[c].name, begin);
        }
    }
}

static void help_leads_with_examples(void **state)
{
    (void)state;
    for (int c = -1; c < CLI_COMMANDS; c++) {
        const char *text = help_of(c < 0 ? NULL : &framed_command_table[c]);
        const char *examples = strstr(text, "Examples:");
        assert_non_null(examples);
        assert_true(examples < strstr(text, "Usage:"));
        assert_non_null(strstr(text, "Exit codes:"));
    }
}

static void help_fits_eighty_columns(void **state)
{
    (void)state;
    for (int c = -1; c < CLI_COMMANDS; c++) {
        char *text = help_of(c < 0 ? NULL : &framed_command_table[c]);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
            if (strlen(line) > 80) fail_msg("%zu columns: %s", strlen(line), line);
    }
}

static void sizes_and_durations_are_written_for_people(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 bytes"},
                 {1, "1 byte"},
                 {1000, "1000 bytes"},
                 {1024, "1 KiB"},
                 {16u << 20, "16 MiB"},
                 {1025, "1025 bytes"},
                 {1u << 30, "1 GiB"},
                 {0x7fffffff, "2147483647 bytes"},
                 {UINT64_C(1) << 42, "4096 GiB"}};
    char text[40];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        framed_size_text(sizes[i].bytes, text, sizeof text);
        assert_string_equal(text, sizes[i].text);
    }
    framed_duration_text(250, text, sizeof text);
    assert_string_equal(text, "250 ms");
    framed_duration_text(30000, text, sizeof text);
    assert_string_equal(text, "30 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_binary_and_decimal_units),
        cmocka_unit_test(counts_have_decimal_units),
        cmocka_unit_test(durations_have_units_and_bare_numbers_are_seconds),
        cmocka_unit_test(unknown_units_are_refused_with_the_allowed_ones),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(parts_of_a_byte_or_a_millisecond_are_refused),
        cmocka_unit_test(values_out_of_range_are_refused_with_the_range),
        cmocka_unit_test(choices_are_taken_by_name_and_others_refused),
        cmocka_unit_test(values_may_be_attached),
        cmocka_unit_test(order_of_repeated_options_and_operands_is_kept),
        cmocka_unit_test(everything_behind_two_dashes_is_an_operand),
        cmocka_unit_test(unknown_options_and_those_of_other_commands_are_refused),
        cmocka_unit_test(slips_in_a_name_are_understood),
        cmocka_unit_test(what_is_like_nothing_is_not_guessed),
        cmocka_unit_test(an_option_of_another_command_is_told_as_such),
        cmocka_unit_test(slips_in_the_name_of_a_command_are_understood),
        cmocka_unit_test(a_very_long_name_is_an_error_like_any_other),
        cmocka_unit_test(missing_and_unwanted_values_are_refused),
        cmocka_unit_test(too_many_operands_are_refused),
        cmocka_unit_test(options_of_one_group_exclude_each_other),
        cmocka_unit_test(help_is_given_whatever_follows),
        cmocka_unit_test(last_of_a_repeated_value_counts),
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(table_is_indexed_by_id_and_complete),
        cmocka_unit_test(help_names_every_option_of_the_command_and_no_other),
        cmocka_unit_test(help_leads_with_examples),
        cmocka_unit_test(help_fits_eighty_columns),
        cmocka_unit_test(sizes_and_durations_are_written_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
