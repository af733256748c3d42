/*
 * fuzz_server.c: a whole server in the simulated world, and a peer that sends the stream as the input says.
 * Must not know anything private to the server.
 * Invariants: one world per input; every call that was deferred is answered, some only after the server is gone; a bounded
 * time after the peer has finished the server has let it go, serves others, and can be drained with nothing left over.
 *
 * Input: setup (`setup_read`), a program in pairs (what the peer or the world does, how much), the stream. What the program
 * leaves of the stream is sent at its end. The first byte of a request says what the handler does with it.
 *
 * A stream that begins with a preface's first byte is sent as it is: whatever it means, the server must bear it. One that begins with
 * another byte above 7f is sealed: what follows that byte is sent with an opening before it and trailers behind its frames.
 */
#include "fuzz.h"
#include "sim.h"
#include <framed/net.h>
#include <framed/secure.h>
#include <stdlib.h>
#include <string.h>

#define WHERE "127.0.0.1:4464"

enum { MOST_CALLS = 512, SLACK = 512 << 10, END_MS = 10000 };

enum setup {
    SETUP_NO_DEADLINES = 1, /* then a patient peer gets every reply */
    SETUP_NO_REPLIES = 2,
    SETUP_NO_MEMORY = 4, /* one allocation fails */
    SETUP_LATE = 8,      /* what is deferred to the end is answered when the server is gone */
    SETUP_SMALL_SENDS = 16,
    SETUP_NO_FINISH = 32, /* the peer never says that it has finished */
    SETUP_SHORT = 64,     /* deadlines that pass soon */
    SETUP_LONG = 128      /* what follows the program makes large frames: fuzz_long_frames */
};

enum act { ACT_SEND, ACT_TIME, ACT_ANSWER, ACT_FAIL, ACT_READ, ACT_FINISH, ACT_RESET, ACT_DRAIN, ACT_COUNT };

/* What one request will be answered with. */
struct call {
    struct framed_call *kept;
    struct framed_bytes body;
    uint8_t *reply; /* a copy */
    size_t len;
    bool answered;
    bool failed;
};

struct run {
    struct framed_server_config config;
    struct framed_server *server;
    struct sim_actor *actor;
    enum framed_status run_status;
    struct sim_peer *peer;
    struct framed_bytes stream;
    size_t sent;
    struct fuzz_frames frames;
    struct call calls[MOST_CALLS];
    size_t call_count;
    size_t kept_count;
    unsigned setup;
    uint8_t *memory;                     /* of a stream that was made here */
    uint8_t *sealed;                     /* likewise, of a sealed one */
    uint8_t answer[FRAMED_OPENING_MOST]; /* then what the server opens with */
    size_t answer_len;
    bool raw;       /* nobody knows what the stream means */
    bool over;      /* a call has failed inside the handler: no further one may start */
    bool probing;   /* another peer asks */
    bool impatient; /* the peer did something for which replies may be lost */
    bool drained;
    bool finished; /* the peer will not send any more */
};

static void logged(void *ctx, enum framed_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    fuzz_must(*line != '\0', "a line of the log says something");
    for (; *line != '\0'; line++) fuzz_must(*line >= 0x20 && *line < 0x7f, "the log is one line, fit for a terminal");
}

/* ---- the handler ---- */

static void answered(struct call *call, enum framed_status st, struct framed_bytes with)
{
    call->answered = true;
    call->failed = st != FRAMED_OK;
    if (call->failed) return;
    call->reply = malloc(with.len > 0 ? with.len : 1);
    fuzz_must(call->reply != NULL, "there is memory for the harness");
    if (with.len > 0) memcpy(call->reply, with.at, with.len);
    call->len = with.len;
}

/* The reply's bytes are copied here before: afterwards the body may be gone. */
static void reply(struct run *r, struct call *call, struct framed_call *to, struct framed_bytes with)
{
    answered(call, FRAMED_OK, with);
    enum framed_status st = framed_call_reply(to, with);
    fuzz_must(st == FRAMED_OK || st == FRAMED_CLOSED || st == FRAMED_TOO_LARGE || st == FRAMED_NOMEM, "how reply() ends");
    fuzz_must(st != FRAMED_TOO_LARGE || with.len > r->config.max_frame, "only what is too large is refused");
    fuzz_must(st != FRAMED_NOMEM || (r->setup & SETUP_NO_MEMORY), "NOMEM has a reason");
    call->failed = st != FRAMED_OK;
}

static void reply_doubled(struct run *r, struct call *call, struct framed_call *to, struct framed_bytes body)
{
    uint8_t *two = malloc(2 * body.len);
    fuzz_must(two != NULL, "there is memory for the harness");
    memcpy(two, body.at, body.len);
    memcpy(two + body.len, body.at, body.len);
    reply(r, call, to, framed_bytes_of(two, 2 * body.len));
    memset(two, 0xdd, 2 * body.len);
    free(two);
}

static void handle(void *ctx, struct framed_call *to)
{
    struct run *r = ctx;
    struct framed_bytes body = framed_call_body(to);
    if (r->probing || r->raw) {
        (void)framed_call_reply(to, body);
        return;
    }
    fuzz_must(!r->over, "nothing is started after a call that failed");
    fuzz_must(r->call_count < r->frames.n && fuzz_same(body, r->frames.at[r->call_count]),
              "the requests are the frames of the stream, in their order");
    fuzz_must(strlen(framed_call_peer(to)) > 0, "a call says who asks");
    if (r->setup & SETUP_NO_REPLIES) {
        r->call_count++;
        return;
    }
    if (r->call_count == MOST_CALLS) {
        r->over = true;
        return; /* not answered: fails */
    }
    struct call *call = &r->calls[r->call_count++];
    switch (body.len > 0 ? body.at[0] % 16 : 1) {
    case 4:
    case 5:
    case 6: /* 'D', 'd', and more: deferred */
        if (framed_call_defer(to, &call->kept, &call->body) == FRAMED_OK) {
            fuzz_must(fuzz_same(call->body, r->frames.at[r->call_count - 1]), "a kept body stays as it was");
            r->kept_count++;
            return;
        }
        fuzz_must((r->setup & SETUP_NO_MEMORY) != 0, "a call can be deferred");
        r->over = true;
        call->answered = call->failed = true;
        break;
    case 14:
        answered(call, FRAMED_OS, (struct framed_bytes){0});
        r->over = true;
        (void)framed_call_fail(to, FRAMED_CODE_INTERNAL, "as was asked\n");
        break;
    case 15: /* neither answered nor deferred */
        answered(call, FRAMED_OS, (struct framed_bytes){0});
        r->over = true;
        break;
    case 2: reply_doubled(r, call, to, body); break;
    case 3: /* a part of it, from where it lies */
        reply(r, call, to, framed_bytes_of(body.at + body.len / 3, body.len - body.len / 3));
        break;
    default: reply(r, call, to, body); break;
    }
    r->over |= call->failed;
}

static struct call *kept_call(struct run *r, size_t i)
{
    struct call *call = r->calls;
    for (;; call++) {
        if (call->kept == NULL) continue;
        if (i-- == 0) return call;
    }
}

/* Answers the i-th of those kept, if there is one. */
static void answer(struct run *r, size_t i, bool fails)
{
    if (r->kept_count == 0) return;
    struct call *call = kept_call(r, i % r->kept_count--);
    struct framed_call *kept = call->kept;
    fuzz_must(fuzz_same(call->body, r->frames.at[call - r->calls]), "a kept body stays as it was");
    call->kept = NULL;
    uint32_t left = framed_call_left_ms(kept);
    fuzz_must(left == FRAMED_NEVER || left <= 300000, "a deadline was in the future when the request came");
    fuzz_must(strlen(framed_call_peer(kept)) > 0, "a call says who asks");
    if (fails) {
        answered(call, FRAMED_OS, (struct framed_bytes){0});
        (void)framed_call_fail(kept, FRAMED_CODE_UNKNOWN, "as\twas asked\x1b");
    } else if (call->body.len > 0 && call->body.at[0] % 16 == 6) {
        reply_doubled(r, call, kept, call->body);
    } else if (call->body.len > 0 && call->body.at[0] % 16 == 5) {
        reply(r, call, kept, framed_bytes_of(call->body.at + call->body.len * 7 / 8, call->body.len / 8));
    } else {
        reply(r, call, kept, call->body);
    }
}

static void answer_all(struct run *r)
{
    while (r->kept_count > 0) answer(r, r->kept_count / 2, false);
}

/* ---- what must hold ---- */

/* Takes what must come off what has come. False: it has not all come. */
static bool came(struct framed_bytes *got, const void *what, size_t n, const char *property)
{
    size_t k = got->len < n ? got->len : n;
    fuzz_must(k == 0 || memcmp(got->at, what, k) == 0, property);
    if (k > 0) *got = framed_bytes_of(got->at + k, got->len - k);
    return k == n;
}

static bool trailer_came(struct framed_bytes *got, const struct call *call, uint64_t counter)
{
    uint32_t sum = framed_sum_of(framed_bytes_of(call->reply, call->len),
                                 &(struct framed_sum_place){.from = FRAMED_ACCEPTOR, .counter = counter});
    const uint8_t trailer[FRAMED_SUM_SIZE] = {(uint8_t)(sum >> 24), (uint8_t)(sum >> 16), (uint8_t)(sum >> 8), (uint8_t)sum};
    return came(got, trailer, sizeof trailer, "a reply has its trailer");
}

/* What has come is the answers, in the order of the requests, up to the first that failed or is not there yet. */
static bool replies_hold(struct run *r)
{
    struct framed_bytes got = sim_peer_received(r->peer);
    size_t trailer = r->sealed != NULL ? FRAMED_SUM_SIZE : 0;
    if (r->raw) return true;
    if (!came(&got, r->answer, r->answer_len, "the server opens in the mode that it was asked for"))
        return r->call_count == 0;
    for (size_t i = 0; i < r->call_count && i < MOST_CALLS; i++) {
        const struct call *call = &r->calls[i];
        if (!call->answered || call->failed || (r->setup & SETUP_NO_REPLIES)) break;
        size_t len = call->len + trailer;
        uint8_t word[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
        if (!came(&got, word, 4, "the lengths of the replies are those of the answers, in order")) return false;
        if (!came(&got, call->reply, call->len, "the replies are the answers, in order")) return false;
        if (trailer > 0 && !trailer_came(&got, call, i + 1)) return false;
    }
    fuzz_must(got.len == 0, "nothing comes that was not answered");
    return true;
}

static void memory_holds(struct run *r, size_t idle)
{
    size_t peak = meter_read(sim_meter()).peak;
    fuzz_must(peak <= idle + SLACK + 32 * r->sent, "memory follows what was received, not what was claimed");
}

/* ---- what is done ---- */

static void send_stream(struct run *r, size_t n)
{
    if (n > r->stream.len - r->sent) n = r->stream.len - r->sent;
    if (n == 0 || r->finished) return;
    sim_peer_send(r->peer, r->stream.at + r->sent, n);
    r->sent += n;
}

static void act(struct run *r, enum act what, uint8_t how)
{
    static const uint32_t times[] = {0, 1, 9, 100, 900, 2500, 11000, 29000, 61000, 301000};
    switch (what) {
    case ACT_SEND: send_stream(r, fuzz_length(how)); break;
    case ACT_TIME: sim_run_ms(times[how % (sizeof times / sizeof *times)]); break;
    case ACT_ANSWER: answer(r, how, false); break;
    case ACT_FAIL: answer(r, how, true); break;
    case ACT_READ:
        if (how % 4 == 0)
            sim_peer_start_reading(r->peer);
        else if (how % 4 == 1)
            sim_peer_stop_reading(r->peer);
        else
            sim_peer_read_more(r->peer, how);
        break;
    case ACT_FINISH:
        if (r->finished) break;
        r->finished = true;
        sim_peer_finish(r->peer);
        break;
    case ACT_RESET:
        if (how < 128) break; /* a rarer thing */
        r->finished = r->impatient = true;
        if (how % 2)
            sim_peer_reset(r->peer);
        else
            sim_peer_close(r->peer);
        break;
    default:
        if (how < 200) break;
        r->impatient = r->drained = true;
        framed_server_drain(r->server);
        break;
    }
}

static void run_server(void *ctx)
{
    struct run *r = ctx;
    r->run_status = framed_server_run(r->server);
}

static bool is_let_go(void *ctx)
{
    struct run *r = ctx;
    return sim_peer_let_go(r->peer) || sim_actor_done(r->actor);
}

static bool is_done(void *ctx)
{
    return sim_actor_done(((struct run *)ctx)->actor);
}

/* The peer ends in order, and gets what is due to it. */
static void finish_peer(struct run *r)
{
    send_stream(r, SIZE_MAX);
    sim_peer_start_reading(r->peer);
    sim_run_ms(0);
    if (!(r->setup & SETUP_LATE)) answer_all(r);
    if (!(r->setup & SETUP_NO_FINISH) && !r->finished) {
        r->finished = true;
        sim_peer_finish(r->peer);
    }
    sim_run_ms(1);
    while (!(r->setup & SETUP_LATE) && r->kept_count > 0) { /* answers make room for more, which may be deferred again */
        answer_all(r);
        sim_run_ms(1);
    }
    bool all_answered = r->kept_count == 0;
    bool gone = sim_run_until(is_let_go, r, END_MS);
    fuzz_must(gone || !r->finished || !all_answered, "a peer that has finished is let go");
    bool whole = replies_hold(r);
    bool patient = (r->setup & SETUP_NO_DEADLINES) && !r->impatient && !(r->setup & SETUP_NO_MEMORY);
    if (!patient || !all_answered || r->raw) return;
    fuzz_must(whole, "a patient peer gets every reply");
    bool stopped = r->over || (r->setup & SETUP_NO_REPLIES);
    for (size_t i = 0; i < r->call_count && i < MOST_CALLS; i++) stopped |= r->calls[i].failed;
    if (r->sealed != NULL) {
        fuzz_must(stopped || r->sent < r->stream.len || r->call_count == r->frames.n,
                  "every request of a patient peer is handled");
        return;
    }
    struct fuzz_frames sent;
    fuzz_frames_read(&sent, framed_bytes_of(r->stream.at, r->sent), r->config.max_frame);
    fuzz_must(stopped || r->call_count == sent.n, "every request of a patient peer is handled");
    fuzz_frames_free(&sent);
}

static void probe(struct run *r)
{
    struct framed_bytes reply;
    struct sim_peer *other = sim_connect(WHERE);
    fuzz_must(other != NULL, "the server listens as long as it runs");
    r->probing = true;
    sim_peer_send_frame_text(other, "?");
    sim_run_ms(1);
    if (!(r->setup & SETUP_NO_REPLIES))
        fuzz_must(sim_peer_frame(other, &reply) && fuzz_same(reply, framed_bytes_str("?")), "others are served");
    sim_peer_finish(other);
    sim_run_ms(1);
    fuzz_must(sim_peer_let_go(other), "others are let go");
}

static void setup_read(struct run *r, struct framed_bytes *in)
{
    static const uint32_t frames[] = {16, 1, 100, 4096, 65536, 0, FRAMED_FRAME_MOST};
    static const uint32_t few[] = {0, 1, 2, 3, 7};
    static const uint32_t unsent[] = {0, 1, 20, 300, 5000};
    static const uint32_t room[] = {65536, 1, 5, 64, 1000};
    static const size_t small_sends[] = {1, 3, 0, 7, 200}, larger_sends[] = {64, 200, 0, 500, 12000};
    static size_t receives[1];
    r->setup = fuzz_byte(in);
    uint64_t seed = fuzz_byte(in);
    sim_start(seed);
    framed_server_config_init(&r->config, sizeof r->config);
    r->config.handler = handle;
    r->config.handler_ctx = r;
    r->config.log = logged;
    r->config.max_frame = fuzz_choice(in, frames, sizeof frames / sizeof *frames);
    r->config.max_calls = fuzz_choice(in, few, sizeof few / sizeof *few);
    r->config.max_unsent = fuzz_choice(in, unsent, sizeof unsent / sizeof *unsent);
    if (r->setup & SETUP_NO_REPLIES) r->config.replies = FRAMED_REPLIES_NONE;
    if (r->setup & SETUP_NO_DEADLINES) {
        r->config.frame_ms = r->config.idle_ms = r->config.call_ms = r->config.send_ms = r->config.handshake_ms =
            FRAMED_NEVER;
        r->config.linger_ms = 1000000000;
    } else if (r->setup & SETUP_SHORT) {
        r->config.frame_ms = r->config.call_ms = r->config.handshake_ms = 50;
        r->config.idle_ms = 200;
        r->config.send_ms = r->config.linger_ms = 100;
    }
    size_t scale = r->setup & SETUP_LONG ? 64 : 1; /* large frames in tiny pieces would take for ever */
    sim_capacity(scale * fuzz_choice(in, room, sizeof room / sizeof *room));
    receives[0] = scale * fuzz_byte(in);
    struct sim_script script = {.receives = receives, .receive_count = receives[0] > 0};
    if (r->setup & SETUP_SMALL_SENDS) {
        script.sends = scale > 1 ? larger_sends : small_sends;
        script.send_count = sizeof small_sends / sizeof *small_sends;
    }
    sim_script(SIM_ACCEPTOR, &script);
    uint8_t fails_at = fuzz_byte(in);
    if (r->setup & SETUP_NO_MEMORY) meter_fail_at(sim_meter(), 1 + fails_at, METER_ONCE);
}

/* ---- the stream ---- */

static size_t put(uint8_t *to, struct framed_bytes bytes)
{
    if (bytes.len > 0) memcpy(to, bytes.at, bytes.len);
    return bytes.len;
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Plain frames as a connector sends them that asked for checksums: an opening, and a trailer behind each. What is cut, or no frame, stays so. */
static struct framed_bytes sealed(struct run *r, struct framed_bytes in)
{
    struct framed_fault fault;
    const struct framed_hello asks = {0},
                              answers = {.max_frame = r->config.max_frame == 0                       ? 0
                                                      : r->config.max_frame < FRAMED_PARAMETER_LEAST ? FRAMED_PARAMETER_LEAST
                                                                                                     : r->config.max_frame};
    const uint8_t mode = framed_mode(FRAMED_CRC32C, FRAMED_ORDERED);
    size_t n;
    fuzz_must(framed_opening_encode(r->answer, &r->answer_len, FRAMED_ACCEPTOR, mode, &answers, &fault) == FRAMED_OK,
              "an answer");
    uint8_t *to = malloc(FRAMED_OPENING_MOST + 2 * in.len + FRAMED_SUM_SIZE);
    fuzz_must(to != NULL, "there is memory for the harness");
    fuzz_must(framed_opening_encode(to, &n, FRAMED_CONNECTOR, mode, &asks, &fault) == FRAMED_OK, "an opening");
    for (uint64_t counter = 1; in.len >= FRAMED_LENGTH_SIZE; counter++) {
        uint32_t len = word_at(in.at), summed = len <= FRAMED_FRAME_MOST - FRAMED_SUM_SIZE ? len + FRAMED_SUM_SIZE : len;
        const uint8_t word[4] = {(uint8_t)(summed >> 24), (uint8_t)(summed >> 16), (uint8_t)(summed >> 8), (uint8_t)summed};
        n += put(to + n, framed_bytes_of(word, 4));
        in = framed_bytes_of(in.at + 4, in.len - 4);
        if (len > in.len) break;
        n += put(to + n, framed_bytes_of(in.at, len));
        fuzz_must(framed_sum_add(to + n - len, len, &(struct framed_sum_place){.counter = counter}) == FRAMED_OK,
                  "a trailer");
        n += FRAMED_SUM_SIZE;
        in = framed_bytes_of(in.at + len, in.len - len);
    }
    n += put(to + n, in);
    r->sealed = to;
    return framed_bytes_of(to, n);
}

static void read_stream(struct run *r, struct framed_bytes in)
{
    bool extended = in.len > 0 && in.at[0] >= 0x80;
    r->raw = extended && in.at[0] == 0xf7;
    if (extended && !r->raw) (void)fuzz_byte(&in);
    r->stream = r->setup & SETUP_LONG && !r->raw ? fuzz_long_frames(in, &r->memory) : in;
    fuzz_frames_read(&r->frames, r->stream, r->config.max_frame);
    if (extended && !r->raw) r->stream = sealed(r, r->stream);
    if (!extended) r->config.protections = 1u << FRAMED_UNPROTECTED;
}

static bool begin(struct run *r)
{
    enum framed_status st = framed_server_new(&r->config, &r->server);
    if (st == FRAMED_OK) st = framed_server_listen(r->server, WHERE);
    if (st != FRAMED_OK) {
        fuzz_must(st == FRAMED_NOMEM && (r->setup & SETUP_NO_MEMORY), "a server can be had");
        return false;
    }
    r->actor = sim_add_actor(run_server, r);
    r->peer = sim_connect(WHERE);
    fuzz_must(r->peer != NULL, "one can connect");
    return true;
}

static void serve(struct run *r, struct framed_bytes program)
{
    size_t idle = meter_in_use(sim_meter());
    while (program.len >= 2) {
        enum act what = (enum act)(fuzz_byte(&program) % ACT_COUNT);
        act(r, what, fuzz_byte(&program));
        (void)replies_hold(r);
    }
    finish_peer(r);
    sim_peer_close(r->peer);
    memory_holds(r, idle);
    meter_fail_at(sim_meter(), 0, METER_ONCE);
    sim_run_ms(1);
    if (!sim_actor_done(r->actor) && !r->drained) probe(r);
    if (!(r->setup & SETUP_LATE)) answer_all(r);
    framed_server_drain(r->server);
    fuzz_must(sim_run_until(is_done, r, 60000), "a drain ends");
    fuzz_must(r->run_status == FRAMED_OK || r->run_status == FRAMED_TIMEOUT || (r->setup & SETUP_NO_MEMORY),
              "run() ends well");
}

int framed_fuzz_server(const uint8_t *at, size_t n)
{
    static struct run run; /* large, and the world is one anyway */
    struct framed_bytes in = framed_bytes_of(at, n);
    run = (struct run){.server = NULL};
    setup_read(&run, &in);
    struct framed_bytes program = fuzz_program(&in);
    read_stream(&run, in);
    if (begin(&run)) serve(&run, program);
    framed_server_free(run.server);
    answer_all(&run);
    sim_stop();
    for (size_t i = 0; i < MOST_CALLS; i++) free(run.calls[i].reply);
    fuzz_frames_free(&run.frames);
    free(run.memory);
    free(run.sealed);
    return 0;
}
