/*
 * Owns: `framed keygen`, `framed pubkey` and `framed scan`.
 * Must not know: how a key is written (framed/secure.h), or a file made or checked (host.h).
 * Invariants: a secret goes into a file, and nowhere else; it is wiped on every way out; nothing is made before all of it is
 * known; no message repeats what may be a key.
 */
#include "commands.h"
#include "host.h"
#include "keyring.h"
#include "os.h"
#include <framed/secure.h>
#include <stdio.h>
#include <string.h>

enum { LINE_ROOM = KEYFILE_NAME_MOST + FRAMED_KEY_TEXT_SIZE + 2 };

static int failed(enum framed_status st)
{
    if (st == FRAMED_UNSUPPORTED) return (int)framed_say_not_built("keys need");
    framed_host_say("no key could be made: %s", framed_status_text(st));
    return CLI_LOCAL;
}

/* ---- keygen ---- */

static int make_file(const char *path, struct framed_bytes content)
{
    const char *reason;
    enum framed_status st = framed_host_create_keys(path, content, &reason);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    if (st == FRAMED_IN_USE)
        framed_host_say("%.200s: is there already, and is not overwritten", path);
    else
        framed_host_say("%.200s: %s", path, st == FRAMED_DENIED ? reason : framed_host_error());
    return CLI_LOCAL;
}

/* A key, and its line in the file; `id` is NULL for a secret one. */
struct made {
    struct framed_key key;
    char text[FRAMED_KEY_TEXT_SIZE];
    char line[LINE_ROOM];
};

static enum framed_status make_key(struct made *made, const char *id)
{
    enum framed_status st = framed_os_random(made->key.bytes, sizeof made->key.bytes);
    if (st != FRAMED_OK) return st;
    st = framed_key_format(made->text, id != NULL ? FRAMED_KEY_SHARED : FRAMED_KEY_SECRET, &made->key);
    if (st != FRAMED_OK) return st;
    snprintf(made->line, sizeof made->line, "%s%s%s\n", id != NULL ? id : "", id != NULL ? " " : "", made->text);
    return FRAMED_OK;
}

/* Behind the text of a key. */
static void end_line(char line[FRAMED_KEY_TEXT_SIZE + 1])
{
    memcpy(line + FRAMED_KEY_TEXT_SIZE - 1, "\n", 2);
}

static enum framed_status public_line(const struct framed_key *secret, char line[FRAMED_KEY_TEXT_SIZE + 1])
{
    struct framed_key key;
    enum framed_status st = framed_key_public(&key, secret);
    if (st == FRAMED_OK) st = framed_key_format(line, FRAMED_KEY_PUBLIC, &key);
    if (st == FRAMED_OK) end_line(line);
    return st;
}

static int print(const char *line)
{
    enum framed_status st = framed_host_write((const uint8_t *)line, strlen(line));
    if (st != FRAMED_OS) return CLI_SUCCESS; /* also when the reader has gone */
    framed_host_say("cannot write to standard output: %s", framed_host_error());
    return CLI_LOCAL;
}

static int make_secret(const char *path, struct made *made)
{
    char line[FRAMED_KEY_TEXT_SIZE + 1];
    enum framed_status st = make_key(made, NULL);
    if (st == FRAMED_OK) st = public_line(&made->key, line);
    if (st != FRAMED_OK) return failed(st);
    int code = make_file(path, framed_bytes_str(made->line));
    return code == CLI_SUCCESS ? print(line) : code;
}

static int make_shared(const char *path, const char *id, struct made *made)
{
    enum framed_status st = make_key(made, id);
    if (st != FRAMED_OK) return failed(st);
    return make_file(path, framed_bytes_str(made->line));
}

static int wrong_usage(const struct cli_options *options)
{
    const struct cli_value *value = options->value;
    const char *reason;
    if (!value[OPT_KEY_FILE].given) {
        framed_host_say("the file for the key is missing: -o FILE");
        return CLI_USAGE;
    }
    if (value[OPT_PSK].given != value[OPT_ID].given) {
        framed_host_say("--psk and --id ID go together: a shared key is found by its id");
        return CLI_USAGE;
    }
    if (value[OPT_ID].given && !framed_keyfile_name_ok(framed_bytes_str(value[OPT_ID].text), &reason)) {
        framed_host_say("--id: %s", reason);
        return CLI_USAGE;
    }
    if (strcmp(value[OPT_KEY_FILE].text, "-") == 0) {
        framed_host_say("-o -: secrets go into files, not to standard output");
        return CLI_USAGE;
    }
    return framed_is_path(value[OPT_KEY_FILE].text) ? CLI_SUCCESS : CLI_USAGE;
}

int framed_command_keygen(const struct cli_options *options)
{
    const char *path = options->value[OPT_KEY_FILE].text, *id = options->value[OPT_ID].text;
    struct made made = {0};
    int code = wrong_usage(options);
    if (code != CLI_SUCCESS) return code;
    code = id != NULL ? make_shared(path, id, &made) : make_secret(path, &made);
    framed_wipe(&made, sizeof made);
    return code;
}

/* ---- pubkey ---- */

static const char *operand(const struct cli_options *options)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    while (framed_options_next(options, &cursor, &id, &text))
        if (id == OPT_OPERAND) return text;
    return NULL;
}

static int print_public(const char *path, struct framed_bytes text)
{
    struct framed_key secret;
    char error[KEYFILE_ERROR_ROOM], line[FRAMED_KEY_TEXT_SIZE + 1];
    enum framed_status st = framed_keyfile_one(&secret, FRAMED_KEY_SECRET, path, text, error);
    if (st != FRAMED_OK) {
        framed_host_say("%s", error);
        return CLI_LOCAL;
    }
    st = public_line(&secret, line);
    framed_wipe(&secret, sizeof secret);
    return st == FRAMED_OK ? print(line) : failed(st);
}

int framed_command_pubkey(const struct cli_options *options)
{
    const char *path = operand(options);
    struct framed_buf text = {0};
    if (path == NULL) {
        framed_host_say("the file of the secret key is missing: framed pubkey FILE");
        return CLI_USAGE;
    }
    if (!framed_is_path(path)) return CLI_USAGE;
    if (TUNNEL_BUILT == 0) return failed(FRAMED_UNSUPPORTED);
    enum cli_exit loaded = framed_load_keys(path, HOST_KEYS_SECRET, &text);
    if (loaded != CLI_SUCCESS) return (int)loaded;
    int code = print_public(path, framed_bytes_of(text.at, text.len));
    framed_forget_keys(&text);
    return code;
}

/* ---- scan ---- */

static int print_peer(const struct framed_client *client, enum framed_status st, const char *address)
{
    struct framed_peer peer;
    struct framed_key key;
    char line[FRAMED_KEY_TEXT_SIZE + 1];
    if (st == FRAMED_USAGE) {
        framed_say_wrong_address(address, "connected");
        return CLI_USAGE;
    }
    if (!framed_client_identity(client, &peer)) {
        framed_host_say("%s", framed_client_error(client));
        return (int)framed_exit_of_opening(st);
    }
    memcpy(key.bytes, peer.key, sizeof key.bytes);
    st = framed_key_format(line, FRAMED_KEY_PUBLIC, &key);
    if (st != FRAMED_OK) return failed(st);
    framed_host_say(
        "whoever answers there has this key; whether he is the right one tells `framed pubkey` on the server itself");
    end_line(line);
    return print(line);
}

/* A stranger who trusts nobody: the handshake ends before he would show who he is. */
static int scan(const struct cli_options *options, const struct keyring *ring, const char *address)
{
    uint64_t ms = options->value[OPT_TIMEOUT].number;
    struct framed_key secret, nobody;
    struct framed_client *client = NULL;
    struct framed_client_config config;
    framed_client_config_init(&config, sizeof config);
    framed_keyring_calls(ring, &config);
    config.protection = ring->protection == FRAMED_SHARED_KEY ? FRAMED_SHARED_AND_PINNED : FRAMED_PINNED_KEYS;
    config.secret_key = &secret;
    config.peer_keys = &nobody;
    config.peer_key_count = 1;
    enum framed_status st = framed_os_random(secret.bytes, sizeof secret.bytes);
    if (st == FRAMED_OK) st = framed_os_random(nobody.bytes, sizeof nobody.bytes);
    if (st == FRAMED_OK) st = framed_client_new(&config, &client);
    framed_wipe(&secret, sizeof secret);
    if (st != FRAMED_OK) return failed(st);
    st = framed_client_connect(client, address, ms < FRAMED_NEVER ? (uint32_t)ms : FRAMED_NEVER);
    int code = print_peer(client, st, address);
    framed_client_free(client);
    return code;
}

int framed_command_scan(const struct cli_options *options)
{
    const char *address = operand(options);
    struct keyring ring = {0};
    if (address == NULL) address = FRAMED_ADDRESS_DEFAULT;
    int code = (int)framed_keyring_load(&ring, options, address);
    if (code == CLI_SUCCESS) code = scan(options, &ring, address);
    framed_keyring_free(&ring);
    return code;
}
