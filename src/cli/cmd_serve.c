/*
 * Owns: `framed serve`: its handlers (but --exec's), the line of delayed calls and the thread that answers them, the ready line.
 * Must not know: how sockets, signals or threads are made; the wire.
 * Invariants: the loop never waits for a delay; every deferred call is answered exactly once, also after the server has stopped.
 */
#include "commands.h"
#include "exec.h"
#include "host.h"
#include "keyring.h"
#include "os.h"
#include <framed/framed.h>
#include <inttypes.h>

/* Standard streams, listeners, what a loop needs; and what each further loop does. */
enum { DESCRIPTOR_MARGIN = 32, DESCRIPTORS_A_WORKER = 3 /* one to wait, two to be woken */ };

struct delayed {
    struct delayed *next;
    struct framed_call *call;
    struct framed_bytes body;
    uint64_t due_ns;
};

struct serve {
    const struct cli_options *options;
    const struct framed_allocator *alloc;
    struct framed_server *server;
    struct keyring keys;
    struct os_thread *hangups; /* reads them anew at a SIGHUP; NULL: nobody does */
    bool canned;
    struct framed_bytes reply; /* when canned; else the request is the reply */
    struct exec *exec;         /* with --exec, else NULL */

    uint64_t delay_ns;
    struct host_bell *bell; /* rings when the line was empty, or at the end */
    struct os_thread *thread;
    struct os_lock *lock; /* guards what follows */
    struct delayed *head; /* all delays are equal, so the first come is the first due */
    struct delayed **tail;
    bool stopping;
};

/* ---- answering ---- */

static void answer(const struct serve *s, struct framed_call *call, struct framed_bytes body)
{
    framed_call_reply(call, s->canned ? s->reply : body);
}

static void answer_canned(void *ctx, struct framed_call *call)
{
    framed_call_reply(call, ((const struct serve *)ctx)->reply);
}

static void answer_echo(void *ctx, struct framed_call *call)
{
    (void)ctx;
    framed_call_reply(call, framed_call_body(call));
}

static void answer_nothing(void *ctx, struct framed_call *call)
{
    (void)ctx;
    (void)call;
}

static void answer_later(void *ctx, struct framed_call *call)
{
    struct serve *s = ctx;
    struct delayed *d = s->alloc->resize(s->alloc->ctx, NULL, 0, sizeof *d);
    if (d == NULL || framed_call_defer(call, &d->call, &d->body) != FRAMED_OK) {
        if (d != NULL) s->alloc->resize(s->alloc->ctx, d, sizeof *d, 0);
        framed_call_fail(call, FRAMED_CODE_RESOURCE_EXHAUSTED, "no memory to delay the reply");
        return;
    }
    d->next = NULL;
    d->due_ns = framed_os_clock_ns() + s->delay_ns;
    framed_os_lock(s->lock);
    bool was_empty = s->head == NULL;
    *s->tail = d;
    s->tail = &d->next;
    framed_os_unlock(s->lock);
    if (was_empty) framed_host_bell_ring(s->bell);
}

/* Takes the first of the line if it is due. NULL: *wait_ms says how long to sleep; *over, that there will be no more. */
static struct delayed *take_due(struct serve *s, uint64_t *wait_ms, bool *over)
{
    uint64_t now = framed_os_clock_ns();
    framed_os_lock(s->lock);
    struct delayed *d = s->head;
    *over = s->stopping && d == NULL;
    *wait_ms = OS_FOREVER;
    if (d != NULL && !s->stopping && d->due_ns > now) {
        *wait_ms = (d->due_ns - now + 999999) / 1000000;
        d = NULL;
    }
    if (d != NULL) {
        s->head = d->next;
        if (s->head == NULL) s->tail = &s->head;
    }
    framed_os_unlock(s->lock);
    return d;
}

static void delay_thread(void *ctx)
{
    struct serve *s = ctx;
    for (;;) {
        uint64_t wait_ms;
        bool over;
        struct delayed *d = take_due(s, &wait_ms, &over);
        if (over) return;
        if (d == NULL) {
            framed_host_bell_wait(s->bell, wait_ms);
            continue;
        }
        answer(s, d->call, d->body);
        s->alloc->resize(s->alloc->ctx, d, sizeof *d, 0);
    }
}

static enum framed_status delay_start(struct serve *s)
{
    s->tail = &s->head;
    enum framed_status st = framed_os_lock_new(&s->lock, s->alloc);
    if (st != FRAMED_OK) return st;
    st = framed_host_bell_new(&s->bell, s->alloc);
    if (st != FRAMED_OK) return st;
    return framed_os_thread_start(&s->thread, delay_thread, s);
}

/* What still waits is answered at once: the server has closed every connection, so it only frees them. */
static void delay_stop(struct serve *s)
{
    if (s->thread != NULL) {
        framed_os_lock(s->lock);
        s->stopping = true;
        framed_os_unlock(s->lock);
        framed_host_bell_ring(s->bell);
        framed_os_thread_join(s->thread);
    }
    framed_host_bell_free(s->bell, s->alloc);
    if (s->lock != NULL) framed_os_lock_free(s->lock, s->alloc);
}

/* ---- the server ---- */

static void log_line(void *ctx, enum framed_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    framed_host_say("%s", line);
}

static uint32_t number32(const struct serve *s, enum cli_option_id id)
{
    return (uint32_t)s->options->value[id].number;
}

static void configure(struct serve *s, struct framed_server_config *config)
{
    const struct cli_value *value = s->options->value;
    framed_server_config_init(config, sizeof *config);
    config->handler = s->delay_ns > 0 ? answer_later : s->canned ? answer_canned : answer_echo;
    if (value[OPT_DISCARD].given) {
        config->handler = answer_nothing;
        config->replies = FRAMED_REPLIES_NONE;
    }
    config->handler_ctx = s;
    config->log = log_line;
    if (value[OPT_WAIT].given) config->wait = value[OPT_WAIT].number == 0 ? FRAMED_WAIT_EPOLL : FRAMED_WAIT_POLL;
    config->workers = number32(s, OPT_WORKERS);
    config->spin_us = number32(s, OPT_SPIN);
    config->max_frame = number32(s, OPT_MAX_FRAME);
    config->max_conns = number32(s, OPT_MAX_CONNS);
    config->max_calls = number32(s, OPT_MAX_CALLS);
    config->max_unsent = (size_t)value[OPT_MAX_UNSENT].number;
    config->max_memory = value[OPT_MAX_MEMORY].number < SIZE_MAX ? (size_t)value[OPT_MAX_MEMORY].number : SIZE_MAX;
    config->idle_ms = framed_option_ms(s->options, OPT_IDLE_TIMEOUT);
    config->frame_ms = framed_option_ms(s->options, OPT_FRAME_TIMEOUT);
    config->call_ms = framed_option_ms(s->options, OPT_CALL_TIMEOUT);
    config->send_ms = framed_option_ms(s->options, OPT_SEND_TIMEOUT);
    config->drain_ms = framed_option_ms(s->options, OPT_DRAIN);
    framed_keyring_serves(&s->keys, config);
    if (value[OPT_EXEC].given) {
        config->handler = framed_exec_answer;
        config->max_calls = 1; /* the commands of a connection run one after the other */
        config->call_ms = framed_exec_call_ms(config->call_ms);
    }
}

static enum cli_exit exec_start(struct serve *s, struct framed_server_config *config)
{
    const struct cli_value *value = s->options->value;
    struct exec_config exec = {
        .command = value[OPT_EXEC].text,
        .on_error = value[OPT_ON_ERROR].given ? value[OPT_ON_ERROR].text : NULL,
        .most = config->max_frame,
        .timeout_ms = framed_option_ms(s->options, OPT_CALL_TIMEOUT),
        .alloc = s->alloc,
    };
    enum framed_status st = framed_exec_start(&s->exec, &exec);
    config->handler_ctx = s->exec;
    if (st != FRAMED_OK)
        framed_host_say("--exec: cannot start %d threads: %s", EXEC_AT_ONCE,
                        st == FRAMED_LIMIT ? "the system allows no more" : framed_status_text(st));
    return framed_exit_of(st);
}

/* Makes sure that max_conns connections can have their descriptors, or says that they cannot, and lowers it. */
static enum cli_exit fit_descriptors(struct framed_server_config *config)
{
    uint64_t margin = DESCRIPTOR_MARGIN + (uint64_t)(config->workers - 1) * DESCRIPTORS_A_WORKER +
                      (config->handler == framed_exec_answer ? EXEC_DESCRIPTORS : 0);
    uint64_t have, need = config->max_conns + margin;
    framed_host_descriptors(need, &have);
    if (have >= need) return CLI_SUCCESS;
    if (have <= margin) {
        framed_host_say("a limit of %" PRIu64 " open files leaves none for connections", have);
        return CLI_LOCAL;
    }
    uint32_t fits = (uint32_t)(have - margin);
    framed_host_say("the limit of %" PRIu64 " open files allows %" PRIu32 " connections at once, not %" PRIu32, have, fits,
                    config->max_conns);
    config->max_conns = fits;
    return CLI_SUCCESS;
}

static enum cli_exit listen_on(struct serve *s, const char *address)
{
    enum framed_status st = framed_server_listen(s->server, address);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    if (st == FRAMED_USAGE)
        framed_say_wrong_address(address, "listening");
    else
        framed_host_say("cannot listen on %.120s: %s", address, framed_status_text(st));
    return framed_exit_of_opening(st);
}

static enum cli_exit listen_on_all(struct serve *s)
{
    int cursor = 0;
    enum cli_option_id id;
    const char *text;
    if (s->options->operands == 0) return listen_on(s, FRAMED_ADDRESS_DEFAULT);
    while (framed_options_next(s->options, &cursor, &id, &text)) {
        if (id != OPT_OPERAND) continue;
        enum cli_exit code = listen_on(s, text);
        if (code != CLI_SUCCESS) return code;
    }
    return CLI_SUCCESS;
}

static void say_ready(const struct serve *s, uint32_t max_frame)
{
    char address[OS_ADDRESS_TEXT_SIZE], size[40];
    framed_size_text(max_frame, size, sizeof size);
    for (size_t i = 0; framed_server_address(s->server, i, address, sizeof address) == FRAMED_OK; i++)
        framed_host_say("listening on %s (%s; max frame %s)", address, framed_keyring_speaks(&s->keys), size);
}

static void reread_keys(void *ctx)
{
    struct serve *s = ctx;
    while (framed_host_hangup())
        if (framed_keyring_reload(&s->keys)) framed_server_recheck(s->server);
}

static void drain(void *server)
{
    framed_server_drain(server);
}

/* A SIGHUP is caught only with keys: without, it ends us as it ends any process. */
static enum cli_exit watch_signals(struct serve *s)
{
    enum framed_status st = framed_host_on_stop(drain, s->server);
    bool hangups = st == FRAMED_OK && framed_encrypts(s->keys.protection);
    if (hangups) st = framed_host_catch_hangup();
    if (st == FRAMED_UNSUPPORTED) return CLI_SUCCESS;
    if (st != FRAMED_OK) {
        framed_host_say("cannot catch signals: %s", framed_host_error());
        return CLI_LOCAL;
    }
    if (hangups) st = framed_os_thread_start(&s->hangups, reread_keys, s);
    if (st == FRAMED_OK) return CLI_SUCCESS;
    framed_host_say("cannot start a thread: %s", framed_status_text(st));
    return framed_exit_of(st);
}

static enum cli_exit run(struct serve *s)
{
    enum framed_status st = framed_server_run(s->server);
    char limit[40];
    framed_duration_text(s->options->value[OPT_DRAIN].number, limit, sizeof limit);
    if (st == FRAMED_TIMEOUT)
        framed_host_say("stopped; connections that were still open after %s (--drain) were closed", limit);
    else if (st != FRAMED_OK)
        framed_host_say("the server failed: %s", framed_status_text(st));
    return st == FRAMED_TIMEOUT ? CLI_SUCCESS : framed_exit_of(st);
}

static enum cli_exit start_and_run(struct serve *s)
{
    struct framed_server_config config;
    enum cli_exit code = framed_keyring_load(&s->keys, s->options, NULL);
    if (code != CLI_SUCCESS) return code;
    configure(s, &config);
    code = framed_option_congestion(s->options, &config.congestion);
    if (code == CLI_SUCCESS) code = fit_descriptors(&config);
    if (code == CLI_SUCCESS && config.handler == framed_exec_answer) code = exec_start(s, &config);
    if (code != CLI_SUCCESS) return code;

    enum framed_status st = framed_server_new(&config, &s->server);
    if (st == FRAMED_OK && s->delay_ns > 0) st = delay_start(s);
    if (st != FRAMED_OK) {
        framed_host_say("cannot start a server: %s", framed_status_text(st));
        return framed_exit_of(st);
    }
    code = watch_signals(s);
    if (code == CLI_SUCCESS) code = listen_on_all(s);
    if (code != CLI_SUCCESS) return code;
    say_ready(s, config.max_frame);
    return run(s);
}

/* Answers that are no frames, and options that say nothing together. */
static enum cli_exit check_options(const struct cli_value *value)
{
    static const enum cli_option_id texts[] = {OPT_REPLY, OPT_ON_ERROR};
    const char *wrong = NULL;
    if (value[OPT_DISCARD].given && value[OPT_DELAY].given)
        wrong = "--delay: there is no reply to delay with --discard";
    else if (value[OPT_EXEC].given && value[OPT_EXEC].text[0] == '\0')
        wrong = "--exec: the command is empty";
    else if (value[OPT_EXEC].given && value[OPT_DELAY].given)
        wrong = "--delay: not with --exec, whose command takes the time it takes";
    else if (value[OPT_EXEC].given && value[OPT_MAX_CALLS].given)
        wrong = "--max-calls: not with --exec, which runs the requests of a connection one by one";
    else if (value[OPT_ON_ERROR].given && !value[OPT_EXEC].given)
        wrong = "--on-error: only with --exec can a request fail";
    if (wrong != NULL) {
        framed_host_say("%s", wrong);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const struct cli_value *text = &value[texts[i]];
        size_t len = text->given ? framed_bytes_str(text->text).len : 0;
        if (len <= value[OPT_MAX_FRAME].number) continue;
        framed_host_say("--%s: a text of %zu bytes; at most %" PRIu64 " are allowed (--max-frame)",
                        framed_option_table[texts[i]].name, len, value[OPT_MAX_FRAME].number);
        return CLI_USAGE;
    }
    return CLI_SUCCESS;
}

int framed_command_serve(const struct cli_options *options)
{
    const struct cli_value *value = options->value;
    if (check_options(value) != CLI_SUCCESS) return CLI_USAGE;
    struct serve s = {.options = options, .alloc = framed_os_allocator()};
    s.canned = value[OPT_REPLY].given;
    if (s.canned) s.reply = framed_bytes_str(value[OPT_REPLY].text);
    s.delay_ns = value[OPT_DELAY].number * 1000000;
    enum cli_exit code = start_and_run(&s);
    framed_host_off_stop();
    framed_exec_stop(s.exec);
    delay_stop(&s);
    if (s.hangups != NULL) {
        framed_host_end_hangup();
        framed_os_thread_join(s.hangups);
    }
    framed_server_free(s.server);
    framed_keyring_free(&s.keys);
    return (int)code;
}
