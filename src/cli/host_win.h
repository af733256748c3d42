/* host_win.h: what the files of the tool's Windows side know of each other. */
#ifndef FRAMED_CLI_HOST_WIN_H
#define FRAMED_CLI_HOST_WIN_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
/* after winsock2.h */
#include <windows.h>

#include "host.h"
#include <framed/base.h>

/* FRAMED_OS, and framed_host_error tells this error from now on (in this thread). */
enum framed_status framed_host_failed(DWORD error);

/* The same with GetLastError(). */
enum framed_status framed_host_failed_last(void);

/* The one told last in this thread. */
DWORD framed_host_last_error(void);

/* UTF-8 as the system wants it; free() it. NULL: no memory. */
wchar_t *framed_host_wide(const char *text);

/* The handle of a standard stream, INVALID_HANDLE_VALUE when there is none. `which` is STD_INPUT_HANDLE and so on. */
HANDLE framed_host_standard(DWORD which);

/* ReadFile and what its results mean. FRAMED_MORE: nothing yet, ask again. */
enum framed_status framed_host_read_handle(HANDLE handle, uint8_t *at, size_t room, size_t *n);

/* The console's control handler: CTRL_C_EVENT and so on. Comes on a thread of the system's. */
BOOL WINAPI framed_host_control(DWORD event);

/* Before anything else: the events below are made. */
bool framed_host_begin_wait(void);
bool framed_host_begin_run(void);

#endif
