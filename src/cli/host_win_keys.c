/*
 * Owns: files of keys on Windows.
 * Must not know: what is in them.
 * Invariants: what is checked is the open handle: a file on a disk, of at most so many bytes, and, with secrets in it, no link.
 * Who else may read or write a file is not looked at: its folder says that, and inherits it to what is made there. A secret lies
 * in one block of memory, which is wiped unless it is handed out; nothing that was there is overwritten, and nothing half made
 * stays. Builds for Windows have no libsodium so far, so that the tool gets here only to be told what is wrong with a file.
 */
#include "host_win.h"
/* after windows.h */
#include <framed/secure.h>
#include <stdlib.h>

static enum framed_status refuse(const char **reason, const char *why)
{
    *reason = why;
    return FRAMED_DENIED;
}

/* One byte more than there should be tells whether somebody is writing it. */
static enum framed_status read_all(HANDLE file, size_t size, struct framed_buf *buf, const char **reason)
{
    while (buf->len <= size) {
        size_t got;
        enum framed_status st = framed_host_read_file((intptr_t)file, buf->at + buf->len, size + 1 - buf->len, &got);
        if (st == FRAMED_CLOSED) break;
        if (st != FRAMED_OK) return st;
        buf->len += got;
    }
    return buf->len == size ? FRAMED_OK : refuse(reason, "was changed while it was read");
}

static enum framed_status load(HANDLE file, enum host_keys kind, size_t most, struct framed_buf *buf,
                               const struct framed_allocator *alloc, const char **reason)
{
    BY_HANDLE_FILE_INFORMATION about;
    if (GetFileType(file) != FILE_TYPE_DISK) return refuse(reason, "not a regular file");
    if (!GetFileInformationByHandle(file, &about)) return framed_host_failed_last();
    if (kind == HOST_KEYS_SECRET && (about.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
        return refuse(reason, "a symbolic link, where the file itself is wanted");
    if (about.nFileSizeHigh != 0 || about.nFileSizeLow > most) return FRAMED_TOO_LARGE;
    size_t size = about.nFileSizeLow;
    enum framed_status st = framed_buf_reserve(buf, size + 1, size + 1, alloc);
    if (st != FRAMED_OK) return st;
    st = read_all(file, size, buf, reason);
    if (st == FRAMED_OK) return FRAMED_OK;
    framed_wipe(buf->at, buf->cap);
    framed_buf_fini(buf, alloc);
    return st;
}

enum framed_status framed_host_load_keys(const char *path, enum host_keys kind, size_t most, struct framed_buf *buf,
                                         const struct framed_allocator *alloc, const char **reason)
{
    wchar_t *wide = framed_host_wide(path);
    if (wide == NULL) return framed_host_failed(ERROR_NOT_ENOUGH_MEMORY);
    DWORD flags = FILE_ATTRIBUTE_NORMAL | (kind == HOST_KEYS_SECRET ? FILE_FLAG_OPEN_REPARSE_POINT : 0);
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, flags, NULL);
    enum framed_status st = file != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
    free(wide);
    if (st != FRAMED_OK) return st;
    st = load(file, kind, most, buf, alloc, reason);
    (void)CloseHandle(file);
    return st;
}

enum framed_status framed_host_create_keys(const char *path, struct framed_bytes content, const char **reason)
{
    (void)reason;
    wchar_t *wide = framed_host_wide(path);
    if (wide == NULL) return framed_host_failed(ERROR_NOT_ENOUGH_MEMORY);
    HANDLE file = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    enum framed_status st = FRAMED_OK;
    if (file == INVALID_HANDLE_VALUE) {
        st = GetLastError() == ERROR_FILE_EXISTS ? FRAMED_IN_USE : framed_host_failed_last();
        free(wide);
        return st;
    }
    st = framed_host_write_file((intptr_t)file, content.at, content.len);
    if (st == FRAMED_OK && !FlushFileBuffers(file)) st = framed_host_failed_last();
    if (!CloseHandle(file) && st == FRAMED_OK) st = framed_host_failed_last();
    if (st != FRAMED_OK) (void)DeleteFileW(wide);
    free(wide);
    return st;
}
