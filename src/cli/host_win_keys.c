/*
 * Owns: files of keys on Windows: who may have rights to a file before a byte of it is believed, and how one is made.
 * Must not know: what is in them.
 * Invariants: what is checked is the open handle: a file on a disk, of at most so many bytes, with secrets in it no link, which
 * belongs to us, SYSTEM or the administrators, and whose access list allows nobody else what its kind does not bear (what the list
 * denies is not reckoned with). A secret lies in one block of memory, which is wiped unless it is handed out; nothing that was
 * there is overwritten, and nothing half made stays.
 */
#include "host_win.h"
/* after windows.h */
#include <aclapi.h>
#include <framed/secure.h>
#include <stdlib.h>

static enum framed_status refuse(const char **reason, const char *why)
{
    *reason = why;
    return FRAMED_DENIED;
}

/* ---- who may have rights ---- */

static const DWORD to_change = FILE_WRITE_DATA | FILE_APPEND_DATA | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL;
static const DWORD to_read = FILE_READ_DATA | GENERIC_READ;

/* The first two are what root is elsewhere. */
enum { SYSTEM, ADMINISTRATORS, OURSELVES, TRUSTED };

union sid {
    SID sid;
    BYTE room[SECURITY_MAX_SID_SIZE];
};

static bool find_ourselves(union sid *sid)
{
    union {
        TOKEN_USER user;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } told;
    HANDLE token;
    DWORD size;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) return false;
    bool found = GetTokenInformation(token, TokenUser, &told, sizeof told, &size) &&
                 CopySid(sizeof *sid, &sid->sid, told.user.User.Sid);
    (void)CloseHandle(token);
    return found;
}

static bool find_trusted(union sid trusted[TRUSTED])
{
    DWORD size = sizeof *trusted, room = size;
    return CreateWellKnownSid(WinLocalSystemSid, NULL, &trusted[SYSTEM].sid, &size) &&
           CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, &trusted[ADMINISTRATORS].sid, &room) &&
           find_ourselves(&trusted[OURSELVES]);
}

static bool is_trusted(union sid trusted[TRUSTED], PSID sid)
{
    for (int i = 0; i < TRUSTED; i++)
        if (EqualSid(&trusted[i].sid, sid)) return true;
    return false;
}

/* Whether a list allows somebody else any of these rights. No list allows everybody everything. */
static bool others_may(PACL list, DWORD rights, union sid trusted[TRUSTED])
{
    if (list == NULL) return true;
    for (DWORD i = 0; i < list->AceCount; i++) {
        void *at;
        if (!GetAce(list, i, &at)) return true;
        ACCESS_ALLOWED_ACE *entry = at;
        BYTE type = entry->Header.AceType;
        if (type == ACCESS_DENIED_ACE_TYPE || type == ACCESS_DENIED_CALLBACK_ACE_TYPE) continue;
        if ((entry->Header.AceFlags & INHERIT_ONLY_ACE) != 0) continue; /* it is for what is in a folder */
        if (type != ACCESS_ALLOWED_ACE_TYPE && type != ACCESS_ALLOWED_CALLBACK_ACE_TYPE) return true; /* no file's */
        if ((entry->Mask & rights) != 0 && !is_trusted(trusted, &entry->SidStart)) return true;
    }
    return false;
}

static enum framed_status judge(PSID owner, PACL list, enum host_keys kind, const char **reason)
{
    union sid trusted[TRUSTED];
    if (!find_trusted(trusted)) return framed_host_failed_last();
    if (owner == NULL || !is_trusted(trusted, owner))
        return refuse(reason, "belongs to another user; it must be ours or the administrators'");
    if (kind == HOST_KEYS_SECRET && others_may(list, to_read | to_change, trusted))
        return refuse(reason, "others than its owner have rights to it, which has secrets in it; "
                              "icacls FILE /inheritance:r /grant:r USER:F takes them away");
    if (kind != HOST_KEYS_SECRET && others_may(list, to_change, trusted))
        return refuse(reason,
                      "others than its owner may write it; icacls FILE /inheritance:r /grant:r USER:F takes that away");
    return FRAMED_OK;
}

static enum framed_status suits(HANDLE file, enum host_keys kind, const char **reason)
{
    PSID owner;
    PACL list;
    PSECURITY_DESCRIPTOR about;
    DWORD error = GetSecurityInfo(file, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner, NULL,
                                  &list, NULL, &about);
    if (error != ERROR_SUCCESS) return framed_host_failed(error);
    enum framed_status st = judge(owner, list, kind, reason);
    (void)LocalFree(about);
    return st;
}

/* ---- reading ---- */

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
    if ((about.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) return refuse(reason, "not a regular file");
    if (kind == HOST_KEYS_SECRET && (about.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0)
        return refuse(reason, "a symbolic link, where the file itself is wanted");
    enum framed_status st = suits(file, kind, reason);
    if (st != FRAMED_OK) return st;
    if (about.nFileSizeHigh != 0 || about.nFileSizeLow > most) return FRAMED_TOO_LARGE;
    size_t size = about.nFileSizeLow;
    st = framed_buf_reserve(buf, size + 1, size + 1, alloc);
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
    /* With FILE_FLAG_BACKUP_SEMANTICS a folder opens, too, and is told from a file that we may not read. */
    DWORD flags = FILE_FLAG_BACKUP_SEMANTICS | (kind == HOST_KEYS_SECRET ? FILE_FLAG_OPEN_REPARSE_POINT : 0);
    HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, flags, NULL);
    enum framed_status st = file != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
    free(wide);
    if (st != FRAMED_OK) return st;
    st = load(file, kind, most, buf, alloc, reason);
    (void)CloseHandle(file);
    return st;
}

/* ---- making ---- */

/* What a file is made with: rights for SYSTEM and us, and nothing of what its folder hands down. The administrators can take all
 * they want, and need not be named. */
static const DWORD to_have = FILE_GENERIC_READ | FILE_GENERIC_WRITE | DELETE | WRITE_DAC | WRITE_OWNER;

struct alone {
    union sid trusted[TRUSTED];
    union {
        ACL list;
        BYTE room[sizeof(ACL) + 2 * (sizeof(ACCESS_ALLOWED_ACE) + SECURITY_MAX_SID_SIZE)];
    } acl;
    SECURITY_DESCRIPTOR descriptor;
    SECURITY_ATTRIBUTES attributes;
};

static bool only_for_us(struct alone *a)
{
    if (!find_trusted(a->trusted) || !InitializeAcl(&a->acl.list, sizeof a->acl, ACL_REVISION)) return false;
    if (!AddAccessAllowedAce(&a->acl.list, ACL_REVISION, to_have, &a->trusted[SYSTEM].sid) ||
        !AddAccessAllowedAce(&a->acl.list, ACL_REVISION, to_have, &a->trusted[OURSELVES].sid))
        return false;
    a->attributes = (SECURITY_ATTRIBUTES){.nLength = sizeof a->attributes, .lpSecurityDescriptor = &a->descriptor};
    return InitializeSecurityDescriptor(&a->descriptor, SECURITY_DESCRIPTOR_REVISION) &&
           SetSecurityDescriptorDacl(&a->descriptor, TRUE, &a->acl.list, FALSE) &&
           SetSecurityDescriptorControl(&a->descriptor, SE_DACL_PROTECTED, SE_DACL_PROTECTED);
}

static enum framed_status fill(HANDLE file, struct framed_bytes content, const char **reason)
{
    enum framed_status st = suits(file, HOST_KEYS_SECRET, reason);
    if (st == FRAMED_DENIED) *reason = "nothing can be kept from others in this file system";
    if (st == FRAMED_OK) st = framed_host_write_file((intptr_t)file, content.at, content.len);
    if (st == FRAMED_OK && !FlushFileBuffers(file)) st = framed_host_failed_last();
    return st;
}

enum framed_status framed_host_create_keys(const char *path, struct framed_bytes content, const char **reason)
{
    struct alone alone;
    wchar_t *wide = framed_host_wide(path);
    if (wide == NULL) return framed_host_failed(ERROR_NOT_ENOUGH_MEMORY);
    HANDLE file = INVALID_HANDLE_VALUE;
    if (only_for_us(&alone)) /* neither is what a link leads to made */
        file =
            CreateFileW(wide, GENERIC_WRITE | DELETE, 0, &alone.attributes, CREATE_NEW, FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    enum framed_status st = file != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
    free(wide);
    if (st != FRAMED_OK) return framed_host_last_error() == ERROR_FILE_EXISTS ? FRAMED_IN_USE : st;
    st = fill(file, content, reason);
    /* What we have made, and nothing that has taken its name since. */
    FILE_DISPOSITION_INFO gone = {.DeleteFile = TRUE};
    if (st != FRAMED_OK) (void)SetFileInformationByHandle(file, FileDispositionInfo, &gone, sizeof gone);
    if (!CloseHandle(file) && st == FRAMED_OK) st = framed_host_failed_last();
    return st;
}
