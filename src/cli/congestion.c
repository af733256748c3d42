/*
 * Owns: --congestion, which several commands have, and what is said if it cannot be.
 * Must not know: which command it is for.
 */
#include "commands.h"
#include "host.h"
#include "os.h"

enum cli_exit framed_option_congestion(const struct cli_options *options, const char **name)
{
    const struct cli_value *value = &options->value[OPT_CONGESTION];
    *name = value->given ? value->text : NULL;
    enum framed_status st = value->given ? framed_os_congestion_check(value->text) : FRAMED_OK;
    if (st == FRAMED_OK) return CLI_SUCCESS;
    if (st == FRAMED_UNSUPPORTED)
        framed_host_say("--congestion %.40s: the system has none of that name, or does not permit it", value->text);
    else
        framed_host_say("--congestion: %s", framed_status_text(st));
    return framed_exit_of(st);
}
