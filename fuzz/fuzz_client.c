/*
 * fuzz_client.c: a client in the simulated world, under a program of calls, and a server that sends the stream as the input
 * says.
 * Must not know anything private to the client.
 * Invariants: every call that was begun is reported exactly once, in one of the three ways; a reply is the frame in its
 * place in the order; what was NOT_EXECUTED never left; all is over a bounded time after the server has finished.
 *
 * Input: setup (`setup_read`), a program in pairs (what the client or the server does, how much), the stream.
 */
#include "fuzz.h"
#include "sim.h"
#include <framed/net.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "127.0.0.1:4464"

enum { MOST_CALLS = 256, MOST_CONNECTIONS = 8, MOST_ASKED = 1 << 20, SLACK = 1 << 20, WORD = 4 };

enum setup {
    SETUP_NO_REPLIES = 1, /* frames each way as they please */
    SETUP_NO_MEMORY = 2,
    SETUP_SLOW_CONNECT = 4, /* connecting is only begun */
    SETUP_LEAVE = 8,        /* freed in the middle of it all */
    SETUP_RESET = 16,       /* the server ends with a reset */
    SETUP_SHORT = 32,       /* deadlines that pass soon */
    SETUP_LONG = 128        /* what follows the program makes large frames: fuzz_long_frames */
};

enum act {
    ACT_START,
    ACT_START_SHORT, /* with a short timeout */
    ACT_NEXT,
    ACT_SEND,
    ACT_SEND_LATER,
    ACT_READ,
    ACT_FINISH, /* the server's end */
    ACT_RESET,
    ACT_CLIENT_FINISH,
    ACT_CALL, /* blocking */
    ACT_RECONNECT,
    ACT_TIME,
    ACT_STEP, /* as in somebody else's loop */
    ACT_WAKE,
    ACT_ECHO, /* asks with the bytes that came last */
    ACT_COUNT
};

struct call {
    uint64_t id;
    size_t connection;
    size_t place;  /* among the calls of its connection */
    uint64_t from; /* bytes of that connection's requests before it */
    bool ended;
    bool not_executed;
};

/* What one connection of the client saw. */
struct connection {
    struct sim_peer *peer;
    size_t from; /* in the stream: what the server sent begins here ... */
    size_t sent;
    bool finished;
    size_t calls;
    uint8_t *asked; /* the requests, as they must come */
    size_t asked_len;
    size_t messages;
};

struct run {
    struct framed_client_config config;
    struct framed_client *client;
    struct sim_acceptor *acceptor;
    struct framed_bytes stream;
    size_t at; /* in the stream: what was sent */
    unsigned setup;
    struct connection connections[MOST_CONNECTIONS];
    size_t connection; /* the one at hand */
    struct call calls[MOST_CALLS];
    size_t call_count;
    size_t open;
    bool ended;
    size_t asked;             /* bytes, on all connections */
    struct framed_bytes last; /* the payload of the last event, while it is lent */
    uint8_t *memory;          /* of a stream that was made here */
};

static struct connection *current(struct run *r)
{
    return &r->connections[r->connection];
}

/* ---- the server's side ---- */

static void accept_if_there(struct run *r)
{
    struct connection *c = current(r);
    if (c->peer != NULL) return;
    c->peer = sim_accept(r->acceptor);
    c->from = r->at;
}

static void send_stream(struct run *r, size_t n)
{
    struct connection *c = current(r);
    accept_if_there(r);
    if (n > r->stream.len - r->at) n = r->stream.len - r->at;
    if (c->peer == NULL || c->finished || n == 0) return;
    sim_peer_send(c->peer, r->stream.at + r->at, n);
    r->at += n;
    c->sent += n;
}

static void send_later(void *ctx)
{
    send_stream(ctx, 1 + ((struct run *)ctx)->at % 13);
}

static void finish_server(struct run *r, bool reset)
{
    struct connection *c = current(r);
    accept_if_there(r);
    if (c->peer == NULL || c->finished) return;
    c->finished = true;
    if (reset)
        sim_peer_reset(c->peer);
    else
        sim_peer_finish(c->peer);
}

/* ---- what must hold ---- */

static struct framed_bytes frame_of(struct run *r, const struct connection *c, size_t i)
{
    struct fuzz_frames frames;
    fuzz_frames_read(&frames, framed_bytes_of(r->stream.at + c->from, c->sent), r->config.max_frame);
    fuzz_must(i < frames.n, "no more replies come than were sent");
    struct framed_bytes frame = frames.at[i];
    fuzz_frames_free(&frames);
    return frame;
}

static uint64_t arrived(const struct connection *c)
{
    return c->peer != NULL ? sim_peer_received(c->peer).len : 0;
}

/* What has come of the requests is the requests. */
static void requests_hold(struct run *r)
{
    for (size_t i = 0; i <= r->connection; i++) {
        const struct connection *c = &r->connections[i];
        uint64_t n = arrived(c);
        fuzz_must(n <= c->asked_len, "no more is sent than was asked");
        fuzz_must(n == 0 || memcmp(sim_peer_received(c->peer).at, c->asked, (size_t)n) == 0,
                  "what is sent is what was asked");
    }
    for (size_t i = 0; i < r->call_count; i++) {
        const struct call *call = &r->calls[i];
        if (call->not_executed)
            fuzz_must(arrived(&r->connections[call->connection]) <= call->from, "what was NOT_EXECUTED never left");
    }
}

static void call_ended(struct run *r, const struct framed_event *event)
{
    struct call *call = NULL;
    for (size_t i = 0; i < r->call_count; i++)
        if (r->calls[i].id == event->call) call = &r->calls[i];
    fuzz_must(call != NULL, "only calls that were begun are reported");
    if (call == NULL) return; /* for who reads this file alone: fuzz_must has ended it */
    fuzz_must(!call->ended, "a call is reported once");
    call->ended = true;
    r->open--;
    switch (event->outcome) {
    case FRAMED_REPLY:
        fuzz_must(event->status == FRAMED_OK, "a reply has the status OK");
        fuzz_must(fuzz_same(event->payload, frame_of(r, &r->connections[call->connection], call->place)),
                  "a reply is the frame in its place");
        break;
    case FRAMED_NOT_EXECUTED:
        fuzz_must(event->status != FRAMED_OK, "NOT_EXECUTED has a reason");
        call->not_executed = true;
        break;
    case FRAMED_MAYBE_EXECUTED: fuzz_must(event->status != FRAMED_OK, "MAYBE_EXECUTED has a reason"); break;
    default: fuzz_must(false, "there are three ways in which a call ends");
    }
}

static void event_holds(struct run *r, const struct framed_event *event)
{
    struct connection *c = current(r);
    r->last =
        event->kind == FRAMED_EVENT_REPLY || event->kind == FRAMED_EVENT_MESSAGE ? event->payload : (struct framed_bytes){0};
    fuzz_must(!r->ended, "nothing is reported after ENDED");
    switch (event->kind) {
    case FRAMED_EVENT_REPLY: call_ended(r, event); break;
    case FRAMED_EVENT_MESSAGE:
        fuzz_must((r->setup & SETUP_NO_REPLIES) != 0, "messages come where nothing is answered");
        fuzz_must(fuzz_same(event->payload, frame_of(r, c, c->messages++)), "messages are the frames, in order");
        break;
    case FRAMED_EVENT_WRITABLE: break;
    case FRAMED_EVENT_ENDED:
        r->ended = true;
        fuzz_must(r->open == 0, "every call was reported before ENDED");
        fuzz_must(event->status != FRAMED_OK && event->status != FRAMED_MORE, "ENDED has a reason");
        break;
    default: fuzz_must(false, "there are four kinds of events");
    }
    requests_hold(r);
}

/* ---- the client's side ---- */

/* A frame that the server must get, or the beginning of it. */
static void asked(struct run *r, struct framed_bytes request)
{
    struct connection *c = current(r);
    size_t n = request.len;
    const uint8_t word[WORD] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    c->asked = realloc(c->asked, c->asked_len + WORD + n);
    fuzz_must(c->asked != NULL, "there is memory for the harness");
    memcpy(c->asked + c->asked_len, word, WORD);
    if (n > 0) memcpy(c->asked + c->asked_len + WORD, request.at, n);
    c->asked_len += WORD + n;
    r->asked += WORD + n;
}

static void begun(struct run *r, uint64_t id, struct framed_bytes request)
{
    struct connection *c = current(r);
    fuzz_must(r->call_count == 0 || id > r->calls[r->call_count - 1].id, "ids ascend");
    r->calls[r->call_count++] =
        (struct call){.id = id, .connection = r->connection, .place = c->calls++, .from = c->asked_len};
    asked(r, request);
    r->open++;
}

static bool is_excused(const struct run *r, enum framed_status st)
{
    return st == FRAMED_NOMEM && (r->setup & SETUP_NO_MEMORY);
}

/* A copy of what will be asked: the bytes given may be gone when the call returns. */
static struct framed_bytes copied(struct framed_bytes request)
{
    uint8_t *at = malloc(request.len > 0 ? request.len : 1);
    fuzz_must(at != NULL, "there is memory for the harness");
    if (request.len > 0) memcpy(at, request.at, request.len);
    return framed_bytes_of(at, request.len);
}

static void start_with(struct run *r, struct framed_bytes request, uint32_t timeout_ms)
{
    uint64_t id = 0;
    enum framed_status st = framed_client_start(r->client, request, timeout_ms, &id);
    fuzz_must((st == FRAMED_OK) == (id != 0), "a call that was begun has an id, no other has");
    fuzz_must(st != FRAMED_OK || r->config.max_send == 0 || request.len <= r->config.max_send,
              "what is too large is refused");
    fuzz_must(st != FRAMED_NOMEM || is_excused(r, st) || r->ended, "NOMEM has a reason");
    if (st == FRAMED_OK) begun(r, id, request);
}

static void send_with(struct run *r, struct framed_bytes request, uint32_t timeout_ms)
{
    struct framed_bytes copy = copied(request);
    enum framed_status st = framed_client_send(r->client, request, timeout_ms);
    /* When the connection ended meanwhile, it may have left or not; nothing follows it there. */
    if (st == FRAMED_OK || framed_client_error(r->client)[0] != '\0') asked(r, copy);
    free((void *)(uintptr_t)copy.at);
}

/* Bytes that differ from request to request. */
static struct framed_bytes request_of(struct run *r, size_t n)
{
    static uint8_t text[70000 + 256];
    if (text[1] == 0)
        for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7 + i / 251);
    if (n > 5000) n = 70000;
    return framed_bytes_of(text + current(r)->asked_len % 256, n);
}

static void start(struct run *r, struct framed_bytes request, uint32_t timeout_ms)
{
    if (r->call_count == MOST_CALLS || r->asked > MOST_ASKED) return;
    if (r->setup & SETUP_NO_REPLIES)
        send_with(r, request, timeout_ms);
    else
        start_with(r, request, timeout_ms);
    r->last = (struct framed_bytes){0};
    requests_hold(r);
}

static void next(struct run *r, uint32_t wait_ms)
{
    struct framed_event event;
    uint64_t before = sim_now_ms();
    r->last = (struct framed_bytes){0};
    enum framed_status st = framed_client_next(r->client, wait_ms, &event);
    fuzz_must(sim_now_ms() <= before + wait_ms + 5, "next() does not wait longer than it may");
    accept_if_there(r);
    if (st == FRAMED_OK)
        event_holds(r, &event);
    else
        fuzz_must(st == FRAMED_MORE || r->ended, "next() fails only after ENDED");
}

static void receive(struct run *r, uint32_t wait_ms)
{
    struct connection *c = current(r);
    struct framed_bytes frame;
    enum framed_status st = framed_client_recv(r->client, wait_ms, &frame);
    r->last = st == FRAMED_OK ? frame : (struct framed_bytes){0};
    if (st == FRAMED_OK) fuzz_must(fuzz_same(frame, frame_of(r, c, c->messages++)), "frames are received in order");
    if (st != FRAMED_OK && framed_client_error(r->client)[0] != '\0') r->ended = true;
    fuzz_must(st == FRAMED_OK || st == FRAMED_MORE || r->ended, "recv() fails only at the end");
    requests_hold(r);
}

static void call_with(struct run *r, struct framed_bytes request, struct framed_bytes copy, uint32_t timeout_ms)
{
    struct framed_event event = {.kind = FRAMED_EVENT_ENDED};
    uint64_t before = sim_now_ms();
    enum framed_status st = framed_client_call(r->client, request, timeout_ms, &event);
    r->last = (struct framed_bytes){0};
    fuzz_must(sim_now_ms() <= before + timeout_ms + 5, "call() does not wait longer than it may");
    if (st == FRAMED_USAGE) return;
    fuzz_must(event.kind == FRAMED_EVENT_REPLY && event.status == st, "the event of a call says how it ended");
    if (event.call == 0) {
        fuzz_must(st != FRAMED_OK && event.outcome == FRAMED_NOT_EXECUTED, "what was not begun was not executed");
        return;
    }
    begun(r, event.call, copy);
    call_ended(r, &event);
    requests_hold(r);
    r->last = event.payload;
}

static void call(struct run *r, struct framed_bytes request, uint32_t timeout_ms)
{
    if (r->call_count == MOST_CALLS || r->asked > MOST_ASKED) return;
    struct framed_bytes copy = copied(request);
    call_with(r, request, copy, timeout_ms);
    free((void *)(uintptr_t)copy.at);
}

/* With the bytes that came last, which are lent until the client is called again. */
static void echo(struct run *r, uint8_t how, uint32_t time)
{
    struct framed_bytes request = framed_bytes_of(r->last.at, how % 2 ? r->last.len : r->last.len / 2);
    if (how >= 128 && !(r->setup & SETUP_NO_REPLIES))
        call(r, request, time);
    else
        start(r, request, time);
}

static void reconnect(struct run *r, uint32_t wait_ms)
{
    if (r->connection + 1 == MOST_CONNECTIONS || r->open > 0 || !r->ended) return;
    accept_if_there(r); /* what still waits is the last connection */
    r->last = (struct framed_bytes){0};
    enum framed_status st = framed_client_reconnect(r->client, wait_ms);
    if (st == FRAMED_USAGE) return;
    if (current(r)->peer != NULL) sim_peer_close(current(r)->peer);
    r->connection++;
    r->ended = false; /* an attempt that failed ends, too */
    accept_if_there(r);
}

/* Somebody else's loop: ask, wait, step, take what there is. */
static void step(struct run *r)
{
    struct framed_want want;
    r->last = (struct framed_bytes){0};
    fuzz_must(framed_client_want(r->client, &want) == FRAMED_OK, "one can always ask what to wait for");
    if (want.timeout_ms > 5000) want.timeout_ms = 5000;
    sim_wait_want(&want);
    fuzz_must(framed_client_step(r->client) == FRAMED_OK, "one can always step");
    accept_if_there(r);
}

static void read_as_server(struct run *r, uint8_t how)
{
    struct connection *c = current(r);
    accept_if_there(r);
    if (c->peer == NULL) return;
    if (how % 4 == 0)
        sim_peer_stop_reading(c->peer);
    else if (how % 4 == 1)
        sim_peer_start_reading(c->peer);
    else
        sim_peer_read_more(c->peer, how);
}

static void act(struct run *r, enum act what, uint8_t how)
{
    static const uint32_t times[] = {0, 1, 9, 100, 900, 2500, 11000, 29000, 61000};
    uint32_t time = times[how % (sizeof times / sizeof *times)];
    switch (what) {
    case ACT_START: start(r, request_of(r, fuzz_length(how)), 60000); break;
    case ACT_START_SHORT: start(r, request_of(r, how), how); break;
    case ACT_NEXT:
        if ((r->setup & SETUP_NO_REPLIES) && how >= 128)
            receive(r, time);
        else
            next(r, time);
        break;
    case ACT_SEND: send_stream(r, fuzz_length(how)); break;
    case ACT_SEND_LATER: sim_at(time, send_later, r); break;
    case ACT_READ: read_as_server(r, how); break;
    case ACT_FINISH:
        if (how >= 64) finish_server(r, false);
        break;
    case ACT_RESET:
        if (how >= 192) finish_server(r, true);
        break;
    case ACT_CLIENT_FINISH:
        r->last = (struct framed_bytes){0};
        if (how >= 128) fuzz_must(framed_client_finish(r->client) != FRAMED_USAGE, "one can always finish");
        break;
    case ACT_CALL: call(r, request_of(r, how), time); break;
    case ACT_RECONNECT: reconnect(r, how >= 128 ? 1000 : 0); break;
    case ACT_TIME: sim_run_ms(time); break;
    case ACT_STEP: step(r); break;
    case ACT_WAKE: framed_client_wake(r->client); break;
    default: echo(r, how, time); break;
    }
}

/* The server ends: then everything does. */
static void finish(struct run *r)
{
    accept_if_there(r);
    if (current(r)->peer != NULL) sim_peer_start_reading(current(r)->peer);
    send_stream(r, SIZE_MAX);
    finish_server(r, (r->setup & SETUP_RESET) != 0);
    uint64_t began = sim_now_ms();
    for (size_t i = 0; i < 4 * MOST_CALLS + r->stream.len && !r->ended; i++) {
        next(r, 1000);
        if (current(r)->peer != NULL && !current(r)->finished) finish_server(r, (r->setup & SETUP_RESET) != 0);
    }
    fuzz_must(r->ended && r->open == 0, "when the server has finished, every call ends, and then the connection");
    fuzz_must(sim_now_ms() - began <= 70000, "and that does not take long");
    for (size_t i = 0; i < r->call_count; i++) fuzz_must(r->calls[i].ended, "each call was reported");
}

static void setup_read(struct run *r, struct framed_bytes *in)
{
    static const uint32_t frames[] = {0, 1, 16, 100, 4096, FRAMED_FRAME_MOST};
    static const uint32_t few[] = {0, 1, 2, 7};
    static const uint32_t unsent[] = {0, 1, 20, 300};
    static const uint32_t room[] = {65536, 1, 5, 64, 1000};
    static const size_t small_sends[] = {1, 3, 0, 7, 200}, larger_sends[] = {64, 200, 0, 500, 12000};
    static size_t receives[1];
    r->setup = fuzz_byte(in);
    uint64_t seed = fuzz_byte(in);
    sim_start(seed);
    framed_client_config_init(&r->config, sizeof r->config);
    r->config.max_frame = fuzz_choice(in, frames, sizeof frames / sizeof *frames);
    r->config.max_send = r->setup & SETUP_LONG ? 0 : 4000;
    if (r->setup & SETUP_SHORT) {
        r->config.frame_ms = r->config.send_ms = r->config.linger_ms = 100;
        r->config.idle_ms = 500;
    }
    r->config.max_calls = fuzz_choice(in, few, sizeof few / sizeof *few);
    r->config.max_unsent = fuzz_choice(in, unsent, sizeof unsent / sizeof *unsent);
    if (r->setup & SETUP_NO_REPLIES) r->config.replies = FRAMED_REPLIES_NONE;
    size_t scale = r->setup & SETUP_LONG ? 64 : 1; /* large frames in tiny pieces would take for ever */
    sim_capacity(scale * fuzz_choice(in, room, sizeof room / sizeof *room));
    uint8_t pieces = fuzz_byte(in);
    receives[0] = scale * pieces;
    struct sim_script script = {.receives = receives, .receive_count = pieces > 0};
    if (pieces >= 128) {
        script.sends = scale > 1 ? larger_sends : small_sends;
        script.send_count = sizeof small_sends / sizeof *small_sends;
    }
    sim_script(SIM_CONNECTOR, &script);
    uint8_t fails_at = fuzz_byte(in);
    if (r->setup & SETUP_NO_MEMORY) meter_fail_at(sim_meter(), 1 + fails_at, METER_ONCE);
}

static bool begin(struct run *r)
{
    r->acceptor = sim_listen(WHERE);
    enum framed_status st = framed_client_new(&r->config, &r->client);
    if (st == FRAMED_OK) {
        st = framed_client_connect(r->client, WHERE, r->setup & SETUP_SLOW_CONNECT ? 0 : 1000);
        if (st == FRAMED_MORE) st = FRAMED_OK;
    }
    fuzz_must(st == FRAMED_OK || is_excused(r, st), "one can connect");
    accept_if_there(r);
    return st == FRAMED_OK;
}

int framed_fuzz_client(const uint8_t *at, size_t n)
{
    static struct run run;
    struct framed_bytes in = framed_bytes_of(at, n);
    run = (struct run){.client = NULL};
    setup_read(&run, &in);
    struct framed_bytes program = fuzz_program(&in);
    run.stream = run.setup & SETUP_LONG ? fuzz_long_frames(in, &run.memory) : in;
    if (begin(&run)) {
        size_t idle = meter_in_use(sim_meter());
        while (program.len >= 2) {
            enum act what = (enum act)(fuzz_byte(&program) % ACT_COUNT);
            act(&run, what, fuzz_byte(&program));
        }
        if (!(run.setup & SETUP_LEAVE)) finish(&run);
        fuzz_must(meter_read(sim_meter()).peak <= idle + SLACK + 8 * (run.at + run.asked),
                  "memory follows what was received, not what was claimed");
    }
    uint64_t before = sim_now_ms();
    framed_client_free(run.client);
    fuzz_must(sim_now_ms() - before <= 2100, "free() waits no longer than the linger time");
    requests_hold(&run);
    sim_acceptor_close(run.acceptor);
    sim_stop();
    for (size_t i = 0; i < MOST_CONNECTIONS; i++) free(run.connections[i].asked);
    free(run.memory);
    return 0;
}
