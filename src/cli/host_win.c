/*
 * Owns: the tool's side of Windows but waiting (host_win_wait.c) and commands (host_win_run.c): arguments, standard streams,
 * files, time, the bell.
 * Must not know: frames, options, what a command does.
 * Invariants: all text of ours is UTF-8; bytes pass streams and files unaltered; no descriptor of the C library is opened, so
 * that none takes the place of a missing standard stream.
 */
#include "host_win.h"
/* after windows.h */
#include <fcntl.h>
#include <io.h>

#include "os.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 32 << 10,         /* older consoles take no more than 64 KiB at once */
    IS_DIRECTORY = 0x20000001 /* an error of our own: opening one is just denied */
};

/* ---- errors ---- */

static _Thread_local DWORD last_error;

DWORD framed_host_last_error(void)
{
    return last_error;
}

enum framed_status framed_host_failed(DWORD error)
{
    last_error = error;
    return FRAMED_OS;
}

enum framed_status framed_host_failed_last(void)
{
    return framed_host_failed(GetLastError());
}

const char *framed_host_error(void)
{
    static _Thread_local char text[400];
    wchar_t wide[200];
    if (last_error == IS_DIRECTORY) return "is a directory";
    DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK,
                             NULL, last_error, 0, wide, sizeof wide / sizeof *wide, NULL);
    while (n > 0 && (wide[n - 1] == L' ' || wide[n - 1] == L'.')) n--;
    int bytes = n > 0 ? WideCharToMultiByte(CP_UTF8, 0, wide, (int)n, text, sizeof text - 1, NULL, NULL) : 0;
    text[bytes] = '\0';
    if (bytes == 0) (void)snprintf(text, sizeof text, "error %lu of Windows", last_error);
    return text;
}

/* ---- text ---- */

wchar_t *framed_host_wide(const char *text)
{
    int n = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof *wide) : NULL;
    if (wide != NULL) (void)MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, n);
    return wide;
}

int main(int argc, char **argv);
int _dowildcard = 0; /* the C library's start would replace `*` by the names of files */

/* The program begins here (-municode): main gets its arguments in UTF-8, whatever the system's code page. */
int wmain(int argc, wchar_t **wide)
{
    char **argv = calloc((size_t)argc + 1, sizeof *argv);
    for (int i = 0; argv != NULL && i < argc; i++) {
        int n = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        argv[i] = n > 0 ? malloc((size_t)n) : NULL;
        if (argv[i] == NULL) ExitProcess(6);
        (void)WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, argv[i], n, NULL, NULL);
    }
    return argv != NULL ? main(argc, argv) : 6;
}

/* ---- beginning and end ---- */

void framed_host_begin(void)
{
    static const DWORD streams[3] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
    for (int i = 0; i < 3; i++) {
        (void)_setmode(i, _O_BINARY);
        HANDLE handle = GetStdHandle(streams[i]);
        DWORD flags;
        /* A number that stands for nothing now would stand for one of our sockets later. */
        if (handle == NULL || !GetHandleInformation(handle, &flags)) (void)SetStdHandle(streams[i], INVALID_HANDLE_VALUE);
    }
    if (!framed_host_begin_wait() || !framed_host_begin_run()) framed_host_quit(6);
}

_Noreturn void framed_host_quit(int code)
{
    (void)TerminateProcess(GetCurrentProcess(), (UINT)code); /* exit would wait for locks that other threads hold */
    abort();
}

/* ---- reading and writing ---- */

HANDLE framed_host_standard(DWORD which)
{
    HANDLE handle = GetStdHandle(which);
    return handle != NULL ? handle : INVALID_HANDLE_VALUE;
}

bool framed_host_is_terminal(enum host_stream stream)
{
    static const DWORD streams[] = {
        [HOST_INPUT] = STD_INPUT_HANDLE, [HOST_OUTPUT] = STD_OUTPUT_HANDLE, [HOST_ERROR] = STD_ERROR_HANDLE};
    DWORD mode;
    return GetConsoleMode(framed_host_standard(streams[stream]), &mode) != 0;
}

enum framed_status framed_host_read_handle(HANDLE handle, uint8_t *at, size_t room, size_t *n)
{
    DWORD got = 0;
    SetLastError(0);
    if (ReadFile(handle, at, room < MAXLONG ? (DWORD)room : MAXLONG, &got, NULL)) {
        *n = got;
        if (got > 0) return FRAMED_OK;
        /* Ctrl+C ends a read from the console like this; and somebody may write nothing to a pipe, which is no end of it. */
        if (GetLastError() == ERROR_OPERATION_ABORTED) return FRAMED_MORE;
        bool open_pipe = GetFileType(handle) == FILE_TYPE_PIPE && PeekNamedPipe(handle, NULL, 0, NULL, NULL, NULL);
        return open_pipe ? FRAMED_MORE : FRAMED_CLOSED;
    }
    switch (GetLastError()) {
    case ERROR_HANDLE_EOF:
    case ERROR_BROKEN_PIPE: return FRAMED_CLOSED;
    case ERROR_OPERATION_ABORTED: return FRAMED_MORE;
    default: return framed_host_failed_last();
    }
}

static enum framed_status write_all(HANDLE handle, const uint8_t *at, size_t n)
{
    while (n > 0) {
        DWORD done = 0;
        if (!WriteFile(handle, at, n < PIECE ? (DWORD)n : PIECE, &done, NULL)) {
            DWORD error = GetLastError();
            if (error == ERROR_BROKEN_PIPE || error == ERROR_NO_DATA || error == ERROR_PIPE_NOT_CONNECTED)
                return FRAMED_CLOSED;
            return framed_host_failed(error);
        }
        if (done == 0) Sleep(1); /* a full pipe that somebody has made non-blocking */
        at += done;
        n -= done;
    }
    return FRAMED_OK;
}

enum framed_status framed_host_write(const uint8_t *at, size_t n)
{
    return write_all(framed_host_standard(STD_OUTPUT_HANDLE), at, n);
}

void framed_host_write_error(const uint8_t *at, size_t n)
{
    enum framed_status st = write_all(framed_host_standard(STD_ERROR_HANDLE), at, n);
    (void)st; /* there is nowhere left to tell it */
}

/* ---- files ---- */

static enum framed_status open_file(const wchar_t *path, HANDLE *file)
{
    DWORD about = GetFileAttributesW(path);
    if (about != INVALID_FILE_ATTRIBUTES && (about & FILE_ATTRIBUTE_DIRECTORY) != 0) return framed_host_failed(IS_DIRECTORY);
    *file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                        FILE_ATTRIBUTE_NORMAL, NULL);
    return *file != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
}

enum framed_status framed_host_open(const char *path, intptr_t *file)
{
    wchar_t *wide = framed_host_wide(path);
    if (wide == NULL) return framed_host_failed(ERROR_NOT_ENOUGH_MEMORY);
    HANDLE handle;
    enum framed_status st = open_file(wide, &handle);
    free(wide);
    if (st == FRAMED_OK) *file = (intptr_t)handle;
    return st;
}

enum framed_status framed_host_create(const char *path, intptr_t *file)
{
    wchar_t *wide = framed_host_wide(path);
    if (wide == NULL) return framed_host_failed(ERROR_NOT_ENOUGH_MEMORY);
    HANDLE handle = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    enum framed_status st = handle != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
    free(wide);
    if (st == FRAMED_OK) *file = (intptr_t)handle;
    return st;
}

enum framed_status framed_host_read_file(intptr_t file, uint8_t *at, size_t room, size_t *n)
{
    enum framed_status st;
    do st = framed_host_read_handle((HANDLE)file, at, room, n);
    while (st == FRAMED_MORE);
    return st;
}

enum framed_status framed_host_write_file(intptr_t file, const uint8_t *at, size_t n)
{
    return write_all((HANDLE)file, at, n);
}

enum framed_status framed_host_close_file(intptr_t file)
{
    return CloseHandle((HANDLE)file) ? FRAMED_OK : framed_host_failed_last();
}

/* Paths of devices, \\.\pipe\NAME among them, would be disturbed by a look at them. */
static bool is_device(const char *path)
{
    return strncmp(path, "\\\\.\\", 4) == 0 || strncmp(path, "//./", 4) == 0;
}

/* All other paths may be opened for a look. */
enum framed_status framed_host_check_file(const char *path, uint64_t most, uint64_t *size)
{
    if (is_device(path)) return FRAMED_OK;
    intptr_t file;
    enum framed_status st = framed_host_open(path, &file);
    if (st != FRAMED_OK) return st;
    LARGE_INTEGER found;
    if (GetFileType((HANDLE)file) == FILE_TYPE_DISK && GetFileSizeEx((HANDLE)file, &found) &&
        (uint64_t)found.QuadPart > most) {
        *size = (uint64_t)found.QuadPart;
        st = FRAMED_TOO_LARGE;
    }
    (void)CloseHandle((HANDLE)file);
    return st;
}

static enum framed_status load(intptr_t file, size_t most, struct framed_buf *buf, const struct framed_allocator *alloc)
{
    size_t base = buf->len;
    for (;;) {
        /* One byte more than is allowed tells a file that is just long enough from one that is too long. */
        size_t left = most - (buf->len - base) + 1, n;
        enum framed_status st = framed_buf_reserve(buf, left < (64u << 10) ? left : (64u << 10), base + most + 1, alloc);
        if (st != FRAMED_OK) return st;
        size_t room = buf->cap - buf->len;
        st = framed_host_read_file(file, buf->at + buf->len, room < left ? room : left, &n);
        if (st == FRAMED_CLOSED) return FRAMED_OK;
        if (st != FRAMED_OK) return st;
        buf->len += n;
        if (buf->len - base > most) return FRAMED_TOO_LARGE;
    }
}

enum framed_status framed_host_load_file(const char *path, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc)
{
    intptr_t file;
    enum framed_status st = framed_host_open(path, &file);
    if (st != FRAMED_OK) return st;
    st = load(file, most, buf, alloc);
    (void)CloseHandle((HANDLE)file);
    return st;
}

/* ---- time ---- */

static uint64_t file_time(FILETIME *now)
{
    GetSystemTimePreciseAsFileTime(now);
    return (uint64_t)now->dwHighDateTime << 32 | now->dwLowDateTime;
}

void framed_host_time_text(char *text, size_t room)
{
    FILETIME now;
    SYSTEMTIME utc, here;
    (void)file_time(&now);
    if (!FileTimeToSystemTime(&now, &utc) || !SystemTimeToTzSpecificLocalTime(NULL, &utc, &here)) GetLocalTime(&here);
    (void)snprintf(text, room, "%02u:%02u:%02u.%03u", here.wHour, here.wMinute, here.wSecond, here.wMilliseconds);
}

uint64_t framed_host_time_ns(void)
{
    static const uint64_t from_1601_to_1970 = 116444736000000000; /* in 100 ns, as file times are */
    FILETIME now;
    return (file_time(&now) - from_1601_to_1970) * 100;
}

/* ---- the rest ---- */

/* Windows has no such limit: handles are bounded by memory alone. */
void framed_host_descriptors(uint64_t need, uint64_t *have)
{
    *have = need;
}

/* An event that resets itself. */
struct host_bell {
    HANDLE event;
};

enum framed_status framed_host_bell_new(struct host_bell **bell, const struct framed_allocator *alloc)
{
    struct host_bell *b = alloc->resize(alloc->ctx, NULL, 0, sizeof *b);
    if (b == NULL) return FRAMED_NOMEM;
    b->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    if (b->event == NULL) {
        alloc->resize(alloc->ctx, b, sizeof *b, 0);
        return framed_host_failed_last();
    }
    *bell = b;
    return FRAMED_OK;
}

void framed_host_bell_ring(struct host_bell *bell)
{
    (void)SetEvent(bell->event);
}

void framed_host_bell_wait(struct host_bell *bell, uint64_t timeout_ms)
{
    (void)WaitForSingleObject(bell->event, timeout_ms < INFINITE ? (DWORD)timeout_ms : INFINITE);
}

void framed_host_bell_free(struct host_bell *bell, const struct framed_allocator *alloc)
{
    if (bell == NULL) return;
    (void)CloseHandle(bell->event);
    alloc->resize(alloc->ctx, bell, sizeof *bell, 0);
}
