/*
 * status.c: names and words for statuses, codes and outcomes.
 * Must not know where they occur.
 * Invariant: every value of each enum has a name; a number that is none has one too.
 */
#include <framed/base.h>

static const struct {
    enum framed_status status;
    const char *name;
    const char *text;
} statuses[] = {
    {FRAMED_OK, "OK", "success"},
    {FRAMED_MORE, "MORE", "more input is needed"},
    {FRAMED_FULL, "FULL", "a limit is reached for now"},
    {FRAMED_CLOSED, "CLOSED", "the peer closed the connection"},
    {FRAMED_TOO_LARGE, "TOO_LARGE", "a length above the limit"},
    {FRAMED_TRUNCATED, "TRUNCATED", "the stream ended inside a frame"},
    {FRAMED_MALFORMED, "MALFORMED", "the peer broke the protocol"},
    {FRAMED_AUTH, "AUTH", "the peer could not prove who it is"},
    {FRAMED_RESET, "RESET", "the connection was reset"},
    {FRAMED_REFUSED, "REFUSED", "connection refused"},
    {FRAMED_NOMEM, "NOMEM", "out of memory"},
    {FRAMED_OS, "OS", "the operating system failed"},
    {FRAMED_TIMEOUT, "TIMEOUT", "timed out"},
    {FRAMED_LIMIT, "LIMIT", "out of descriptors or kernel buffers"},
    {FRAMED_IN_USE, "IN_USE", "address already in use"},
    {FRAMED_DENIED, "DENIED", "permission denied"},
    {FRAMED_UNREACHABLE, "UNREACHABLE", "address not available or unreachable"},
    {FRAMED_NOT_FOUND, "NOT_FOUND", "no such host, service or path"},
    {FRAMED_USAGE, "USAGE", "wrong usage"},
    {FRAMED_UNSUPPORTED, "UNSUPPORTED", "not supported by this build or platform"},
};

const char *framed_status_name(enum framed_status status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status) return statuses[i].name;
    return "UNKNOWN_STATUS";
}

const char *framed_status_text(enum framed_status status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status) return statuses[i].text;
    return "unknown status";
}

/* In the order of their numbers, which are gRPC's. */
static const char *const codes[] = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

const char *framed_code_name(unsigned code)
{
    if (code < sizeof codes / sizeof *codes) return codes[code];
    return code >= FRAMED_CODE_APPLICATION ? "APPLICATION" : "UNKNOWN_CODE";
}

const char *framed_outcome_name(enum framed_outcome outcome)
{
    switch (outcome) {
    case FRAMED_REPLY: return "REPLY";
    case FRAMED_NOT_EXECUTED: return "NOT_EXECUTED";
    case FRAMED_MAYBE_EXECUTED: return "MAYBE_EXECUTED";
    }
    return "UNKNOWN_OUTCOME";
}
