/*
 * Owns: `framed completion`: the scripts for bash, zsh and fish, written from the tables of commands and options.
 * Must not know: what any option does; the name of a single one.
 * Invariants: what the tables have, every script has; a script is plain data and shell builtins, runs nothing, and asks nobody.
 */
#include "commands.h"
#include "host.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void each_command(void (*put)(const struct cli_command *command))
{
    for (size_t i = 0; i < CLI_COMMANDS; i++) put(&framed_command_table[i]);
}

static void each_option(const struct cli_command *command,
                        void (*put)(const struct cli_command *command, const struct cli_option *option))
{
    for (size_t i = 0; i < CLI_OPTIONS; i++)
        if ((framed_option_table[i].commands & 1u << command->id) != 0) put(command, &framed_option_table[i]);
}

static bool is_file(const char *what)
{
    return what != NULL && strcmp(what, CLI_FILES) == 0;
}

/* "auto|text|hex" as "auto text hex". */
static void put_words(const char *choices)
{
    for (; *choices != '\0'; choices++) putchar(*choices == '|' ? ' ' : *choices);
}

/* The help up to its first semicolon, `escaped` characters behind a backslash, for single quotes. */
static void put_help(const char *help, const char *escaped, const char *quote)
{
    for (; *help != '\0' && *help != ';'; help++) {
        if (*help == '\'') {
            fputs(quote, stdout);
            continue;
        }
        if (strchr(escaped, *help) != NULL) putchar('\\');
        putchar(*help);
    }
}

/* ---- bash ---- */

/* What may stand there: words, or files. */
static void put_bash_answer(const char *name, const char *choices)
{
    if (is_file(name)) {
        puts(") files=yes ;;");
        return;
    }
    printf(") words='");
    if (choices != NULL) put_words(choices);
    puts("' ;;");
}

static void put_bash_value(const struct cli_command *command, const struct cli_option *option)
{
    if (option->value == NULL) return;
    printf("    %s:--%s", command->name, option->name);
    if (option->letter != 0) printf(" | %s:-%c", command->name, option->letter);
    put_bash_answer(option->value, option->choices);
}

static void put_bash_values(const struct cli_command *command)
{
    each_option(command, put_bash_value);
}

static void put_bash_option(const struct cli_command *command, const struct cli_option *option)
{
    (void)command;
    printf(" --%s", option->name);
}

static void put_bash_command(const struct cli_command *command)
{
    printf("    %s:-*) words='", command->name);
    each_option(command, put_bash_option);
    puts("' ;;");
    if (command->operands == NULL) return;
    printf("    %s:*", command->name);
    put_bash_answer(command->operands, command->operands);
}

static void put_bash_name(const struct cli_command *command)
{
    printf(" %s", command->name);
}

static void put_bash(void)
{
    printf("# framed completion bash\n"
           "_framed() {\n"
           "    local IFS=$' \\t\\n' at=$COMP_CWORD words= files= word\n"
           "    local cur=${COMP_WORDS[at]} prev=${COMP_WORDS[at - 1]} command=${COMP_WORDS[1]}\n"
           "    COMPREPLY=()\n"
           "    # bash parts --output=json into three words\n"
           "    if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=${COMP_WORDS[at - 2]}; fi\n"
           "    if ((at == 1)); then command=; fi\n"
           "    case $command:$prev in\n"
           "    :*) words='--help --version");
    each_command(put_bash_name);
    puts("' ;;");
    each_command(put_bash_values);
    puts("    *)\n"
         "    case $command:$cur in");
    each_command(put_bash_command);
    puts("    esac ;;\n"
         "    esac\n"
         "    if [[ $files ]]; then\n"
         "        compopt -o filenames 2>/dev/null\n"
         "        while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -f -- \"$cur\")\n"
         "    else\n"
         "        while IFS= read -r word; do COMPREPLY+=(\"$word\"); done < <(compgen -W \"$words\" -- \"$cur\")\n"
         "    fi\n"
         "}\n"
         "complete -F _framed framed");
}

/* ---- zsh ---- */

static void put_zsh_action(const char *name, const char *choices)
{
    if (is_file(name))
        printf(":%s:_files", name);
    else if (choices != NULL) {
        printf(":%s:(", name);
        put_words(choices);
        putchar(')');
    } else {
        printf(":%s: ", name);
    }
}

static void put_zsh_option(const struct cli_command *command, const struct cli_option *option)
{
    (void)command;
    const char *next = option->value != NULL ? "=" : "";
    printf(" \\\n            '*");
    if (option->letter != 0)
        printf("'{-%c%s,--%s%s}'", option->letter, option->value != NULL ? "+" : "", option->name, next);
    if (option->letter == 0) printf("--%s%s", option->name, next);
    putchar('[');
    put_help(option->help, "[]\\", "'\\''");
    putchar(']');
    if (option->value != NULL) put_zsh_action(option->value, option->choices);
    putchar('\'');
}

/* An address has no words: none at all, since a message there would keep zsh from completing options. */
static void put_zsh_operand(const struct cli_command *command)
{
    const char *what = command->operands;
    printf(" \\\n            '%s", command->max_operands > 1 ? "*" : "1");
    if (what == NULL)
        put_zsh_action("ADDR", "");
    else
        put_zsh_action(is_file(what) ? what : "word", what);
    putchar('\'');
}

static void put_zsh_command(const struct cli_command *command)
{
    printf("        %s)\n            _arguments", command->name);
    each_option(command, put_zsh_option);
    if (command->max_operands > 0) put_zsh_operand(command);
    puts(" ;;");
}

static void put_zsh_name(const struct cli_command *command)
{
    printf("        '%s:", command->name);
    put_help(command->summary, ":\\", "'\\''");
    puts("'");
}

static void put_zsh(void)
{
    puts("#compdef framed\n"
         "# framed completion zsh\n"
         "_framed() {\n"
         "    local curcontext=$curcontext state state_descr line\n"
         "    typeset -A opt_args\n"
         "    local -a commands\n"
         "    commands=(");
    each_command(put_zsh_name);
    puts("    )\n"
         "    _arguments -C '(- *)'{-h,--help}'[print help]' '(- *)--version[print the version]' '1: :->command' '*:: "
         ":->rest'\n"
         "    case $state in\n"
         "    command) _describe command commands ;;\n"
         "    rest)\n"
         "        curcontext=${curcontext%:*:*}:framed-$words[1]:\n"
         "        case $words[1] in");
    each_command(put_zsh_command);
    puts("        esac ;;\n"
         "    esac\n"
         "}\n"
         "if [[ $funcstack[1] == _framed ]]; then _framed \"$@\"; else compdef _framed framed; fi");
}

/* ---- fish ---- */

static void put_fish_option(const struct cli_command *command, const struct cli_option *option)
{
    printf("complete -c framed -n '__framed_command %s'", command->name);
    if (option->letter != 0) printf(" -s %c", option->letter);
    printf(" -l %s", option->name);
    if (is_file(option->value)) {
        printf(" -r -F");
    } else if (option->choices != NULL) {
        printf(" -x -a '");
        put_words(option->choices);
        putchar('\'');
    } else if (option->value != NULL) {
        printf(" -x");
    }
    printf(" -d '");
    put_help(option->help, "\\", "\\'");
    puts("'");
}

static void put_fish_command(const struct cli_command *command)
{
    printf("complete -c framed -n __framed_command -a %s -d '", command->name);
    put_help(command->summary, "\\", "\\'");
    puts("'");
    each_option(command, put_fish_option);
    if (command->operands == NULL) return;
    printf("complete -c framed -n '__framed_command %s' ", command->name);
    if (is_file(command->operands)) {
        puts("-F");
    } else {
        printf("-a '");
        put_words(command->operands);
        puts("'");
    }
}

static void put_fish(void)
{
    puts("# framed completion fish\n"
         "# Whether the command of this line is the one named; none named: whether it is still missing.\n"
         "function __framed_command\n"
         "    set -l words (commandline -opc)\n"
         "    test \"$words[2]\" = \"$argv[1]\"\n"
         "end\n"
         "complete -c framed -f\n"
         "complete -c framed -n __framed_command -s h -l help -d 'print help'\n"
         "complete -c framed -n __framed_command -l version -d 'print the version'");
    each_command(put_fish_command);
}

int framed_command_completion(const struct cli_options *options)
{
    static void (*const scripts[])(void) = {put_bash, put_zsh, put_fish}; /* in the order of the command's operands */
    int cursor = 0;
    enum cli_option_id id;
    const char *shell = NULL;
    uint64_t which = 0;
    while (framed_options_next(options, &cursor, &id, &shell) && id != OPT_OPERAND) continue;
    if (options->operands == 0) {
        framed_host_say("the shell is missing: bash, zsh or fish");
        return CLI_USAGE;
    }
    if (!framed_choice_find(options->command->operands, shell, &which)) {
        framed_host_say("%.80s: no completion for that shell; there are bash, zsh and fish", shell);
        return CLI_USAGE;
    }
    scripts[which]();
    return CLI_SUCCESS;
}
