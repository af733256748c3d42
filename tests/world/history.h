/*
 * history.h: what happened in a world of clients and servers, in plain words, and what must be true of it.
 *
 * It knows calls, connections and bytes by number, and nothing else: not framed, not the simulator, not who wrote it down.
 * Records are appended in the order in which things happened.
 */
#ifndef FRAMED_TESTS_HISTORY_H
#define FRAMED_TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_kind {
    /* client `who` begins `call`, to end within limit_ms (0: no matter when); len, digest: the request */
    HISTORY_BEGUN = 1,
    /* a handler of server `who` gets the nth request of `conn`, which says that it is `call` (0: too short to say) */
    HISTORY_SAW,
    /* it has answered that: `answer`, and what with */
    HISTORY_ANSWERED,
    /* client `who` is told how `call` ended: `outcome`, and with HISTORY_REPLY what came; `conn`: where it went */
    HISTORY_TOLD,
    /* client `who` is told that `conn` is over */
    HISTORY_ENDED,
    /* something befalls `conn`, and excuses what becomes of its calls */
    HISTORY_HIT,
    /* anything else, for people: `by` (with its number `who`, if any) does `text`, for limit_ms */
    HISTORY_NOTE
};

enum history_answer {
    HISTORY_GIVEN = 1, /* this reply may arrive */
    HISTORY_VOID,      /* whoever answered was told that it will not */
    HISTORY_FAILED     /* no reply to this one, nor to any later one of the connection */
};

enum history_outcome { HISTORY_REPLY = 1, HISTORY_NOT_EXECUTED, HISTORY_MAYBE_EXECUTED };

struct record {
    uint64_t at_us;
    enum history_kind kind;
    uint32_t who;
    uint32_t conn; /* from 1; 0: none */
    uint32_t call; /* from 1 */
    uint32_t nth;  /* from 0 */
    enum history_answer answer;
    enum history_outcome outcome;
    uint32_t limit_ms;
    uint32_t len;
    uint64_t digest; /* of the bytes */
    /* for people; not part of the hash */
    const char *by;
    const char *text;
    const char *status; /* NULL: none worth a word */
};

struct history {
    struct record *at;
    size_t n, cap;
};

void history_add(struct history *h, const struct record *r);
void history_forget(struct history *h); /* empty again, with its memory */
void history_free(struct history *h);

/* Over everything: equal for equal histories. */
uint64_t history_hash(const struct history *h);

/* One line, without newline. */
void history_text(const struct record *r, char *line, size_t size);

/* What may become of a call on a connection that was not hit. */
enum history_excuse {
    HISTORY_ANY,     /* anything: all of the world was hit */
    HISTORY_UNGIVEN, /* no reply, if none was given */
    HISTORY_NONE     /* a reply */
};

struct history_rules {
    uint32_t slack_ms; /* how much later than its limit a call may be told */
    enum history_excuse excuse;
};

/*
 * The first rule that the history breaks, said in `why`; true when there is none.
 *   - every call that was begun is told exactly once, after it was begun, and not later than its limit and the slack;
 *   - what handlers of a connection see is, in this order, a beginning of what was begun on it and not told NOT_EXECUTED; the
 *     bytes are the same; nothing is seen twice, nor before it was begun;
 *   - everything seen is answered exactly once;
 *   - a reply told is what was given for that very request, and was given before; everything before it on its connection was
 *     given too; replies of one connection are told in the order of their requests;
 *   - nothing is told of a connection after its end;
 *   - no call is without a reply that has no excuse.
 */
bool history_holds(const struct history *h, const struct history_rules *rules, char *why, size_t size);

/* How many records tell that outcome. */
size_t history_count(const struct history *h, enum history_outcome outcome);

#endif
