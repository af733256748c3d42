/*
 * Owns: the console's control events, and waiting for standard input, a socket and such an event at once.
 * Must not know: frames, options, what a command does.
 * Invariants: `stop` is called at most once, and never after framed_host_off_stop has returned; one thread reads standard
 * input, and only when it was asked to.
 */
#include "host_win.h"
/* after windows.h */
#include <winternl.h>

#include "os.h"
#include <framed/frame.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* What no event tells is looked at this often. */
enum { LOOK_MS = 200 };

static HANDLE stop_event; /* stays set */

/* ---- control events ---- */

static SRWLOCK stop_lock = SRWLOCK_INIT; /* guards stop_call and stop_ctx */
static void (*stop_call)(void *ctx);
static void *stop_ctx;
static atomic_int stop_signal;

static bool is_first_stop(int number)
{
    AcquireSRWLockExclusive(&stop_lock);
    bool first = stop_call != NULL && atomic_load(&stop_signal) == 0;
    if (first) {
        atomic_store(&stop_signal, number);
        stop_call(stop_ctx);
        (void)SetEvent(stop_event);
    }
    ReleaseSRWLockExclusive(&stop_lock);
    return first;
}

BOOL WINAPI framed_host_control(DWORD event)
{
    if (event == CTRL_LOGOFF_EVENT) return TRUE; /* only services see it, of any user, and it is nothing to them */
    int number = event == CTRL_C_EVENT ? SIGINT : SIGTERM;
    if (!is_first_stop(number)) framed_host_quit(128 + number);
    /* When the console is closed or the system shut down, returning would end the process; so it has some seconds. */
    if (event == CTRL_CLOSE_EVENT || event == CTRL_SHUTDOWN_EVENT) Sleep(INFINITE);
    return TRUE;
}

enum framed_status framed_host_catch_hangup(void)
{
    return FRAMED_UNSUPPORTED;
}

bool framed_host_hangup(void)
{
    return false;
}

void framed_host_end_hangup(void)
{
}

enum framed_status framed_host_on_stop(void (*stop)(void *ctx), void *ctx)
{
    AcquireSRWLockExclusive(&stop_lock);
    stop_call = stop;
    stop_ctx = ctx;
    ReleaseSRWLockExclusive(&stop_lock);
    return FRAMED_OK;
}

void framed_host_off_stop(void)
{
    AcquireSRWLockExclusive(&stop_lock);
    stop_call = NULL;
    ReleaseSRWLockExclusive(&stop_lock);
}

int framed_host_stopped(void)
{
    return atomic_load(&stop_signal);
}

/* ---- standard input ---- */

/*
 * Consoles and pipes cannot be waited for together with a socket: a thread reads instead, and an event tells. It reads ahead
 * no further than its buffer, and ends with the process.
 */
static struct {
    struct os_thread *thread; /* NULL until somebody waits for input */
    HANDLE wanted;            /* main to thread: read; resets itself */
    HANDLE ready;             /* thread to main: what follows is yours; until all is taken */
    bool asked;               /* main's: the thread is reading, or has read */
    enum framed_status status;
    DWORD error;
    size_t pos, len;
    uint8_t bytes[FRAMED_RECEIVE_SIZE];
} input;

static void read_input(void *ctx)
{
    (void)ctx;
    for (;;) {
        (void)WaitForSingleObject(input.wanted, INFINITE);
        input.pos = 0;
        do {
            input.status =
                framed_host_read_handle(framed_host_standard(STD_INPUT_HANDLE), input.bytes, sizeof input.bytes, &input.len);
            input.error = framed_host_last_error();
        } while (input.status == FRAMED_MORE);
        (void)SetEvent(input.ready);
    }
}

static bool ask_for_input(void)
{
    if (input.thread == NULL && framed_os_thread_start(&input.thread, read_input, NULL) != FRAMED_OK) return false;
    if (!input.asked) (void)SetEvent(input.wanted);
    input.asked = true;
    return true;
}

enum framed_status framed_host_read(uint8_t *at, size_t room, size_t *n)
{
    if (input.thread == NULL) return framed_host_read_handle(framed_host_standard(STD_INPUT_HANDLE), at, room, n);
    if (WaitForSingleObject(input.ready, 0) != WAIT_OBJECT_0) return FRAMED_MORE;
    if (input.status == FRAMED_OS) return framed_host_failed(input.error);
    if (input.status != FRAMED_OK) return input.status;
    size_t left = input.len - input.pos;
    *n = room < left ? room : left;
    memcpy(at, input.bytes + input.pos, *n);
    input.pos += *n;
    if (input.pos == input.len) {
        (void)ResetEvent(input.ready);
        input.asked = false;
    }
    return FRAMED_OK;
}

/* ---- waiting ---- */

static HANDLE socket_event;

bool framed_host_begin_wait(void)
{
    stop_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    socket_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    input.ready = CreateEventW(NULL, TRUE, FALSE, NULL);
    input.wanted = CreateEventW(NULL, FALSE, FALSE, NULL);
    (void)SetConsoleCtrlHandler(NULL, FALSE); /* a process group of its own is born deaf to Ctrl+C */
    (void)SetConsoleCtrlHandler(framed_host_control, TRUE);
    return stop_event != NULL && socket_event != NULL && input.ready != NULL && input.wanted != NULL;
}

/* FILE_PIPE_LOCAL_INFORMATION of the driver kit. */
struct pipe_information {
    ULONG before[8];
    ULONG state;
    ULONG side;
};

/* A pipe whose reader has gone. Nothing tells so but a write, and this. */
static bool output_is_gone(HANDLE output)
{
    enum { PIPE_LOCAL_INFORMATION = 24, CLOSING = 4 };
    IO_STATUS_BLOCK block;
    struct pipe_information about = {.state = 0};
    NTSTATUS st =
        NtQueryInformationFile(output, &block, &about, sizeof about, (FILE_INFORMATION_CLASS)PIPE_LOCAL_INFORMATION);
    return st == 0 && about.state == CLOSING;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/*
 * An event is set at once for what is already true when it is asked for, so it may be asked for anew each time. The peer's end
 * is not asked for by a socket that only writes, since it stays true; such a socket is looked at now and then.
 */
static enum framed_status watch_socket(const struct framed_want *want, bool *watched)
{
    long events = 0;
    if ((want->events & FRAMED_WANT_READ) != 0) events |= FD_READ | FD_ACCEPT | FD_CLOSE;
    if ((want->events & FRAMED_WANT_WRITE) != 0) events |= FD_WRITE | FD_CONNECT;
    *watched = events != 0;
    if (events == 0) return FRAMED_OK;
    (void)ResetEvent(socket_event);
    if (WSAEventSelect((SOCKET)want->socket, socket_event, events) == 0) return FRAMED_OK;
    return framed_host_failed((DWORD)WSAGetLastError());
}

enum framed_status framed_host_wait(struct host_wait *wait)
{
    HANDLE events[3] = {stop_event}, output = framed_host_standard(STD_OUTPUT_HANDLE);
    DWORD n = 1;
    uint32_t timeout_ms = wait->socket.timeout_ms; /* FRAMED_NEVER is INFINITE */
    bool watched, watch_output = wait->watch_output && GetFileType(output) == FILE_TYPE_PIPE;
    bool threaded = wait->want_input && ask_for_input();
    if (wait->want_input && !threaded) timeout_ms = 0; /* no thread to be had: the read will wait */
    if (watch_output || wait->socket.events == FRAMED_WANT_WRITE) timeout_ms = least(timeout_ms, LOOK_MS);

    enum framed_status st = watch_socket(&wait->socket, &watched);
    if (st != FRAMED_OK) return st;
    if (threaded) events[n++] = input.ready;
    if (watched) events[n++] = socket_event;
    DWORD got = WaitForMultipleObjects(n, events, FALSE, timeout_ms);
    if (got == WAIT_FAILED) st = framed_host_failed_last();
    if (watched) (void)WSAEventSelect((SOCKET)wait->socket.socket, NULL, 0);

    wait->input = wait->want_input && (!threaded || WaitForSingleObject(input.ready, 0) == WAIT_OBJECT_0);
    wait->output_gone = watch_output && output_is_gone(output);
    return st;
}
