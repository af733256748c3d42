/*
 * swarm.c: many clients of one server, each a process that uses the library in one of its ways:
 *
 *   swarm LEDGER ADDRESS SECONDS MODE[/WAY][:COUNT][@ADDRESS]...     swarm LEDGER show     swarm LEDGER hush|go
 *
 * blocking     a call at a time           pipelined   many at once            foreign   several clients in a poll loop of ours
 * victims      as pipelined, killed with SIGKILL and replaced all the time    rude      peers that do what should not be done
 * good, steady as blocking and pipelined, with nothing asked that fails: every call must have its reply
 * WAY is how it speaks (ways.h); without one it is plain, and rude peers have none.
 * SECONDS 0: until SIGTERM. Then calls under way may end, and what has not ended a minute after its deadline is lost.
 * Exit code 1: the ledger has losses.
 * Must not know: what stands between it and the server.
 */
#define _GNU_SOURCE
#include "swarm.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FOREIGN = 6, WORKERS_MOST = 64 };

static atomic_bool stop;
static struct ledger *ledger;

static void on_term(int number)
{
    (void)number;
    atomic_store(&stop, true);
}

static bool quiet_wanted(void)
{
    return atomic_load(&stop) || atomic_load(&ledger->hush) != 0;
}

static void wait_for_noise(void)
{
    while (!atomic_load(&stop) && atomic_load(&ledger->hush) != 0) ledger_pause(20);
}

/* ---- blocking ---- */

static void converse(struct caller *c)
{
    uint64_t calls = c->gentle ? 1000 : 1 + ledger_below(&c->seed, 300);
    while (calls-- > 0 && !quiet_wanted())
        if (!caller_call(c)) return;
}

static void blocking(struct caller *c)
{
    while (!quiet_wanted() && caller_connect(c, 3000) == FRAMED_OK) {
        converse(c);
        if (c->gentle || ledger_below(&c->seed, 3) == 0) return; /* a client of its own next time */
        struct framed_event event;
        if (framed_client_next(c->client, 0, &event) == FRAMED_MORE) return; /* it goes on: no reconnecting */
    }
}

/* ---- pipelined ---- */

/* Events until there is none for wait_ms. False: the connection is over. */
static bool take_events(struct caller *c, uint32_t wait_ms)
{
    struct framed_event event;
    enum framed_status st;
    while ((st = framed_client_next(c->client, wait_ms, &event)) == FRAMED_OK) {
        if (!caller_event(c, &event)) return false;
        wait_ms = 0;
    }
    caller_look(c);
    return st == FRAMED_MORE;
}

static bool start_calls(struct caller *c, size_t depth)
{
    while (c->n < depth) {
        enum framed_status st = caller_start(c);
        if (st == FRAMED_FULL) return true;
        if (st != FRAMED_OK) return false; /* its end is told by `next` */
    }
    return true;
}

/* One connection's calls. False: it is still open. */
static bool pipeline(struct caller *c)
{
    size_t depth = 1 + (size_t)ledger_below(&c->seed, CALLER_OPEN);
    uint64_t turns = 1 + ledger_below(&c->seed, 400);
    bool open = true;
    while (open && turns-- > 0 && !quiet_wanted()) {
        (void)start_calls(c, depth);
        open = take_events(c, 20);
    }
    if (open && !quiet_wanted() && !c->gentle && ledger_below(&c->seed, 4) == 0) return false; /* freed as it is */
    bool finish = open && framed_client_finish(c->client) == FRAMED_OK;
    while (open && (c->n > 0 || finish)) open = take_events(c, 50);
    if (c->n > 0) (void)take_events(c, 0);
    return true;
}

static void pipelined(struct caller *c)
{
    while (!quiet_wanted() && caller_connect(c, 3000) == FRAMED_OK) {
        if (!pipeline(c) || c->n > 0 || ledger_below(&c->seed, 3) == 0) return;
    }
}

/* ---- in a loop of ours ---- */

static void foreign_start(struct caller *c)
{
    if (framed_client_open_calls(c->client) == 0 && !c->tried) {
        (void)caller_connect(c, 0);
        return;
    }
    (void)start_calls(c, 1 + (size_t)ledger_below(&c->seed, CALLER_OPEN));
}

/* Waits and steps once, for all of them. */
static void foreign_turn(struct caller *all)
{
    struct pollfd fds[FOREIGN];
    int wait_ms = 50;
    for (size_t i = 0; i < FOREIGN; i++) {
        struct framed_want want;
        if (framed_client_want(all[i].client, &want) != FRAMED_OK) ledger_add(&ledger->misuses, 1);
        fds[i] = (struct pollfd){.fd = (int)want.socket};
        if ((want.events & FRAMED_WANT_READ) != 0) fds[i].events |= POLLIN;
        if ((want.events & FRAMED_WANT_WRITE) != 0) fds[i].events |= POLLOUT;
        if (want.timeout_ms < (uint32_t)wait_ms) wait_ms = (int)want.timeout_ms;
    }
    (void)poll(fds, FOREIGN, wait_ms);
    for (size_t i = 0; i < FOREIGN; i++)
        if (framed_client_step(all[i].client) != FRAMED_OK) ledger_add(&ledger->misuses, 1);
}

static void renew(struct caller *c)
{
    bool again = ledger_below(&c->seed, 2) == 0;
    if (again && framed_client_open_calls(c->client) == 0) {
        (void)caller_connect(c, 0);
        return;
    }
    caller_end(c);
    caller_begin(c, ledger, c->to, c->worker);
}

static void foreign_round(struct caller *all)
{
    size_t left = 0;
    do {
        for (size_t i = 0; i < FOREIGN && !quiet_wanted(); i++) foreign_start(&all[i]);
        foreign_turn(all);
        left = 0;
        for (size_t i = 0; i < FOREIGN; i++) {
            if (!take_events(&all[i], 0) && !quiet_wanted()) renew(&all[i]);
            left += all[i].n;
        }
    } while (!quiet_wanted() || left > 0);
}

static void foreign(const struct target *to, uint32_t worker)
{
    struct caller *all = calloc(FOREIGN, sizeof *all);
    if (all == NULL) exit(2);
    while (!atomic_load(&stop)) {
        for (size_t i = 0; i < FOREIGN; i++) caller_begin(&all[i], ledger, to, worker);
        foreign_round(all);
        for (size_t i = 0; i < FOREIGN; i++) caller_end(&all[i]);
        wait_for_noise();
    }
    free(all);
}

/* ---- workers ---- */

static void callers(const char *mode, const struct target *to, uint32_t worker)
{
    struct caller *c = malloc(sizeof *c);
    if (c == NULL) exit(2);
    bool good = strcmp(mode, "good") == 0 || strcmp(mode, "steady") == 0;
    while (!atomic_load(&stop)) {
        caller_begin(c, ledger, to, worker);
        c->gentle = c->good = good;
        if (strcmp(mode, "blocking") == 0 || strcmp(mode, "good") == 0)
            blocking(c);
        else
            pipelined(c);
        caller_end(c);
        wait_for_noise();
    }
    free(c);
}

static pid_t fork_callers(const char *mode, const struct target *to, uint32_t worker)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    callers(mode, to, worker);
    _exit(0);
}

/* Kills a client again and again; what it had begun died with it. */
static void victims(const struct target *to, uint32_t worker)
{
    struct ledger_worker *w = &ledger->workers[worker];
    uint64_t seed = ledger_seed();
    while (!atomic_load(&stop)) {
        pid_t pid = fork_callers("pipelined", to, worker);
        if (pid < 0) exit(2);
        uint64_t until = ledger_clock_ms() + 20 + ledger_below(&seed, 1500);
        while (ledger_clock_ms() < until && !quiet_wanted()) ledger_pause(10);
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
        uint64_t open = atomic_load(&w->started) - atomic_load(&w->ended);
        ledger_add(&ledger->killed, open);
        ledger_add(&w->ended, open);
        ledger_add(&ledger->kills, 1);
        wait_for_noise();
    }
}

static void run_worker(const char *mode, const struct target *to, uint32_t worker)
{
    static const char *const modes[] = {"blocking", "pipelined", "good", "steady"};
    if (strcmp(mode, "victims") == 0) {
        victims(to, worker);
    } else if (strcmp(mode, "foreign") == 0) {
        foreign(to, worker);
    } else if (strcmp(mode, "rude") == 0) {
        while (!atomic_load(&stop)) {
            rude(ledger, to->address, &stop);
            wait_for_noise();
        }
    } else {
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
            if (strcmp(mode, modes[i]) == 0) callers(mode, to, worker);
    }
}

static size_t start_workers(char *spec, const char *address, pid_t *pids, uint32_t *workers)
{
    char *at = strchr(spec, '@');
    if (at != NULL) *at++ = '\0';
    char *colon = strchr(spec, ':');
    if (colon != NULL) *colon++ = '\0';
    size_t n = colon != NULL ? strtoul(colon, NULL, 10) : 1;
    char *way = strchr(spec, '/');
    if (way != NULL) *way++ = '\0';
    const struct target to = {.address = at != NULL ? at : address, .way = way_named(way != NULL ? way : "plain")};
    for (size_t i = 0; i < n; i++) {
        workers[i] = (uint32_t)(atomic_fetch_add(&ledger->workers_used, 1) % LEDGER_WORKERS);
        pids[i] = fork();
        if (pids[i] < 0) exit(2);
        if (pids[i] > 0) continue;
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        run_worker(spec, &to, workers[i]);
        _exit(0);
    }
    return n;
}

/* Waits for a worker; what it has begun must have ended. */
static void join(pid_t pid, uint32_t worker)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    struct ledger_worker *w = &ledger->workers[worker];
    uint64_t open = atomic_load(&w->started) - atomic_load(&w->ended);
    if (status == 0 && open == 0) return;
    fprintf(stderr, "worker %u ended with status %d and %lld open calls\n", (unsigned)worker, status, (long long)open);
    ledger_add(&ledger->unended, open == 0 ? 1 : open);
}

static int command(const char *word)
{
    if (strcmp(word, "show") == 0)
        ledger_show(ledger);
    else if (strcmp(word, "hush") == 0 || strcmp(word, "go") == 0)
        atomic_store(&ledger->hush, word[0] == 'h');
    else
        return 2;
    return 0;
}

int main(int argc, char **argv)
{
    pid_t pids[WORKERS_MOST];
    uint32_t workers[WORKERS_MOST];
    size_t n = 0;
    if (argc < 3) {
        fprintf(stderr, "swarm LEDGER ADDRESS SECONDS MODE[/WAY][:COUNT][@ADDRESS]... | show | hush | go\n");
        return 2;
    }
    ledger = ledger_open(argv[1]);
    if (argc == 3) return command(argv[2]);
    struct sigaction act = {.sa_handler = on_term};
    (void)sigaction(SIGTERM, &act, NULL);
    (void)sigaction(SIGINT, &act, NULL);
    uint64_t until = ledger_clock_ms() + 1000 * strtoul(argv[3], NULL, 10);
    bool for_ever = strcmp(argv[3], "0") == 0;
    for (int i = 4; i < argc; i++) n += start_workers(argv[i], argv[2], pids + n, workers + n);
    while (!atomic_load(&stop) && (for_ever || ledger_clock_ms() < until)) ledger_pause(20);
    for (size_t i = 0; i < n; i++) (void)kill(pids[i], SIGTERM);
    for (size_t i = 0; i < n; i++) join(pids[i], workers[i]);
    return ledger_losses(ledger) > 0;
}
