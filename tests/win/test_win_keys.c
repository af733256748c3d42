/*
 * test_win_keys.c: whose files of keys the tool believes on Windows, and how it makes one (src/cli/host.h), on a real file system.
 * Must not know what is in such files. Of access lists Wine keeps what the mode of a file can say: whether everybody may read, and
 * whether everybody may write.
 * Invariant: everything happens in a folder of the test's, which is gone afterwards.
 */
#include "host_win.h"
/* after windows.h */
#include <aclapi.h>
#include <sddl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "os.h"
#include <sys/mman.h>

enum { MOST = 1000 };

static char folder[MAX_PATH], path[MAX_PATH + 8];
static struct framed_buf buf;
static const char *reason;

static int begin(void **state)
{
    (void)state;
    char temporary[MAX_PATH - 14];
    if (GetTempPathA(sizeof temporary, temporary) == 0 || GetTempFileNameA(temporary, "key", 0, folder) == 0) return -1;
    (void)snprintf(path, sizeof path, "%s\\file", folder);
    return DeleteFileA(folder) && CreateDirectoryA(folder, NULL) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    framed_buf_fini(&buf, framed_os_allocator());
    (void)DeleteFileA(path);
    return RemoveDirectoryA(folder) ? 0 : -1;
}

static HANDLE open_file(DWORD rights, DWORD how)
{
    return CreateFileA(path, rights, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, how, FILE_ATTRIBUTE_NORMAL, NULL);
}

/* "(A;;FR;;;WD)" and so on, of the language of security descriptors, besides all for SYSTEM and the administrators. */
static void allow(const char *more)
{
    char text[200];
    PSECURITY_DESCRIPTOR about;
    (void)snprintf(text, sizeof text, "D:P(A;;FA;;;SY)(A;;FA;;;BA)%s", more);
    assert_true(ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1, &about, NULL));
    assert_true(SetFileSecurityA(path, DACL_SECURITY_INFORMATION, about));
    (void)LocalFree(about);
}

static void write_file(size_t n)
{
    DWORD written;
    (void)DeleteFileA(path);
    assert_int_equal(framed_host_create_keys(path, framed_bytes_of(NULL, 0), &reason), FRAMED_OK);
    HANDLE file = open_file(GENERIC_WRITE, OPEN_EXISTING);
    assert_true(file != INVALID_HANDLE_VALUE);
    for (size_t i = 0; i < n; i++) assert_true(WriteFile(file, &"abcdefg"[i % 7], 1, &written, NULL));
    (void)CloseHandle(file);
}

static enum framed_status load_with(const char *from, enum host_keys kind, const struct framed_allocator *alloc)
{
    framed_buf_fini(&buf, framed_os_allocator());
    reason = NULL;
    enum framed_status st = framed_host_load_keys(from, kind, MOST, &buf, alloc, &reason);
    assert_true((st == FRAMED_DENIED) == (reason != NULL));
    assert_true(st == FRAMED_OK || (buf.at == NULL && buf.len == 0));
    return st;
}

static enum framed_status load(const char *from, enum host_keys kind)
{
    return load_with(from, kind, framed_os_allocator());
}

static void a_file_is_loaded_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 57, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
            write_file(sizes[i]);
            assert_int_equal(load(path, (enum host_keys)kind), FRAMED_OK);
            assert_int_equal(buf.len, sizes[i]);
            for (size_t k = 0; k < buf.len; k++) assert_int_equal(buf.at[k], "abcdefg"[k % 7]);
        }
    write_file(MOST + 1);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_TOO_LARGE);
}

static void *never(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx, (void)old_size, (void)new_size;
    assert_null(at);
    return NULL;
}

static void without_memory_nothing_is_loaded(void **state)
{
    (void)state;
    static const struct framed_allocator none = {.resize = never};
    write_file(57);
    assert_int_equal(load_with(path, HOST_KEYS_SECRET, &none), FRAMED_NOMEM);
}

static void *while_another_writes(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx;
    if (at == NULL) assert_true(open_file(GENERIC_WRITE, OPEN_EXISTING) == INVALID_HANDLE_VALUE);
    const struct framed_allocator *alloc = framed_os_allocator();
    return alloc->resize(alloc->ctx, at, old_size, new_size);
}

static void nobody_can_write_a_file_while_it_is_loaded(void **state)
{
    (void)state;
    static const struct framed_allocator alloc = {.resize = while_another_writes};
    write_file(57);
    assert_int_equal(load_with(path, HOST_KEYS_SECRET, &alloc), FRAMED_OK);
    assert_int_equal(buf.len, 57);
    HANDLE file = open_file(GENERIC_WRITE, OPEN_EXISTING); /* but afterwards; and who writes it is not read */
    assert_true(file != INVALID_HANDLE_VALUE);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_OS);
    (void)CloseHandle(file);
}

static void nobody_else_may_read_a_secret_or_write_a_list(void **state)
{
    (void)state;
    write_file(57);
    allow("(A;;FR;;;WD)");
    assert_int_equal(load(path, HOST_KEYS_PUBLIC), FRAMED_OK);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_DENIED);
    assert_non_null(strstr(reason, "others than its owner have rights to it, which has secrets in it; icacls"));
    allow("(A;;FRFW;;;WD)");
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_DENIED);
    assert_int_equal(load(path, HOST_KEYS_PUBLIC), FRAMED_DENIED);
    assert_non_null(strstr(reason, "others than its owner may write it; icacls"));
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
        assert_int_equal(load(folder, (enum host_keys)kind), FRAMED_DENIED);
        assert_string_equal(reason, "not a regular file");
        assert_int_equal(load("NUL", (enum host_keys)kind), FRAMED_DENIED);
        assert_string_equal(reason, "not a regular file");
        assert_int_equal(load(path, (enum host_keys)kind), FRAMED_OS);
    }
}

/* Whether the list names somebody but SYSTEM and its owner. */
static bool is_for_others(void)
{
    PSID owner;
    PACL list;
    PSECURITY_DESCRIPTOR about;
    bool others = false;
    assert_int_equal(GetNamedSecurityInfoA(path, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                                           &owner, NULL, &list, NULL, &about),
                     ERROR_SUCCESS);
    assert_non_null(list);
    for (DWORD i = 0; i < list->AceCount; i++) {
        void *at;
        assert_true(GetAce(list, i, &at));
        PSID sid = &((ACCESS_ALLOWED_ACE *)at)->SidStart;
        if (!IsWellKnownSid(sid, WinLocalSystemSid) && !EqualSid(sid, owner)) others = true;
    }
    (void)LocalFree(about);
    return others;
}

static void a_file_is_made_once_for_its_owner_alone(void **state)
{
    (void)state;
    (void)CloseHandle(open_file(GENERIC_WRITE, CREATE_NEW));
    assert_true(is_for_others()); /* as files are made here */
    assert_true(DeleteFileA(path));
    assert_int_equal(framed_host_create_keys(path, framed_bytes_str("abcdefg"), &reason), FRAMED_OK);
    assert_false(is_for_others());
    assert_int_equal(framed_host_create_keys(path, framed_bytes_str("other"), &reason), FRAMED_IN_USE);
    assert_int_equal(framed_host_create_keys(folder, framed_bytes_str("other"), &reason), FRAMED_IN_USE);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_OK);
    assert_int_equal(buf.len, 7);
    assert_memory_equal(buf.at, "abcdefg", 7);
}

/* The system cannot read what is to be written; a full disk would be another reason. */
static void what_cannot_be_written_leaves_no_file(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *at = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(mprotect(at, page, PROT_NONE), 0);
    assert_int_equal(framed_host_create_keys(path, framed_bytes_of(at, 57), &reason), FRAMED_OS);
    assert_int_equal(GetFileAttributesA(path), INVALID_FILE_ATTRIBUTES);
    assert_int_equal(munmap(at, page), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_loaded_whole),
        TEST(without_memory_nothing_is_loaded),
        TEST(nobody_can_write_a_file_while_it_is_loaded),
        TEST(nobody_else_may_read_a_secret_or_write_a_list),
        TEST(what_is_no_file_is_refused),
        TEST(a_file_is_made_once_for_its_owner_alone),
        TEST(what_cannot_be_written_leaves_no_file),
    };
    return cmocka_run_group_tests_name("files of keys on Windows", tests, NULL, NULL);
}
