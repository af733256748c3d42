/*
 * Owns: the options about connections that several commands have: --congestion, and what is said if it cannot be; --checksum.
 * Must not know: which command it is for.
 */
#include "commands.h"
#include "host.h"
#include "os.h"
#include <framed/secure.h>

enum framed_protection framed_option_protection(const struct cli_options *options)
{
    const struct cli_value *value = &options->value[OPT_CHECKSUM];
    if (!value->given) return FRAMED_UNPROTECTED;
    return value->number == 0 ? FRAMED_CRC32C : FRAMED_BLAKE2B; /* as the choices stand in the table */
}

enum cli_exit framed_option_is_built(enum framed_protection protection)
{
    struct framed_opening any;
    if (framed_opening_connect(&any, framed_mode(protection, FRAMED_ORDERED)) == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("not built in: --checksum blake2b needs libsodium");
    return CLI_NOT_BUILT;
}

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
