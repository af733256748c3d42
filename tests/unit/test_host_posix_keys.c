/*
 * test_host_posix_keys.c: whose files of keys the tool believes, and how it makes one (src/cli/host.h), on a real file system.
 * Must not know what is in such files. tests/tool/test_keygen.py has what a user sees of it.
 * Invariant: everything happens in a folder of the test's, which is gone afterwards.
 */
#define _DEFAULT_SOURCE 1 /* mkdtemp */
#include "cli/host.h"
#include "meter.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 1000 };

static char folder[] = "/tmp/framed-keys-XXXXXX";
static char path[64];
static struct meter meter;
static struct framed_buf buf;
static const char *reason;

static void (*meanwhile)(void); /* between the look at a file and the reading of it, when its memory is asked for */

static void *only_once(void *ctx, void *at, size_t old_size, size_t new_size)
{
    assert_true(at == NULL || new_size == 0); /* a move would leave a copy */
    if (at == NULL && meanwhile != NULL) meanwhile();
    return meter.allocator.resize(ctx, at, old_size, new_size);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int begin(void **state)
{
    (void)state;
    meter_init(&meter);
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    framed_buf_fini(&buf, &meter.allocator);
    meter_fini(&meter);
    return unlink(path);
}

static void write_file(size_t n, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(write(fd, &"abcdefg"[i % 7], 1), 1);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static enum framed_status load(const char *from, enum host_keys kind)
{
    struct framed_allocator allocator = {only_once, meter.allocator.ctx};
    framed_buf_fini(&buf, &meter.allocator);
    reason = NULL;
    enum framed_status st = framed_host_load_keys(from, kind, MOST, &buf, &allocator, &reason);
    assert_true((st == FRAMED_DENIED) == (reason != NULL));
    assert_true(st == FRAMED_OK || (buf.at == NULL && buf.len == 0 && meter_in_use(&meter) == 0));
    return st;
}

static void a_file_is_loaded_whole_into_one_block(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 57, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
            write_file(sizes[i], 0600);
            assert_int_equal(load(path, (enum host_keys)kind), FRAMED_OK);
            assert_int_equal(buf.len, sizes[i]);
            for (size_t k = 0; k < buf.len; k++) assert_int_equal(buf.at[k], "abcdefg"[k % 7]);
        }
    write_file(MOST + 1, 0600);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_TOO_LARGE);
}

static void without_memory_nothing_is_loaded(void **state)
{
    (void)state;
    write_file(57, 0600);
    meter_fail_at(&meter, 1, METER_ONCE);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_NOMEM);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_OK); /* there was no second to fail */
}

static void nobody_else_may_read_a_secret_or_write_a_list(void **state)
{
    (void)state;
    for (mode_t others = 0; others < 0100; others++) {
        write_file(57, 0600 | others);
        assert_int_equal(load(path, HOST_KEYS_SECRET), others == 0 ? FRAMED_OK : FRAMED_DENIED);
        if (others != 0)
            assert_string_equal(
                reason, "others than its owner have rights to it, which has secrets in it; chmod 600 takes them away");
        bool writable = (others & 022) != 0;
        assert_int_equal(load(path, HOST_KEYS_PUBLIC), writable ? FRAMED_DENIED : FRAMED_OK);
        if (writable) assert_string_equal(reason, "others than its owner may write it; chmod go-w takes that away");
    }
}

static void a_list_may_be_a_symbolic_link_and_a_secret_may_not(void **state)
{
    (void)state;
    char link[64];
    snprintf(link, sizeof link, "%s/link", folder);
    write_file(57, 0600);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(load(link, HOST_KEYS_PUBLIC), FRAMED_OK);
    assert_int_equal(load(link, HOST_KEYS_SECRET), FRAMED_DENIED);
    assert_string_equal(reason, "a symbolic link, where the file itself is wanted");
    write_file(57, 0622); /* what it leads to is looked at */
    assert_int_equal(load(link, HOST_KEYS_PUBLIC), FRAMED_DENIED);
    assert_int_equal(unlink(link), 0);
}

static void what_is_no_file_is_refused_without_waiting(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
        assert_int_equal(load(path, (enum host_keys)kind), FRAMED_DENIED); /* nobody writes it: who waited would hang here */
        assert_string_equal(reason, "not a regular file");
        assert_int_equal(load(folder, (enum host_keys)kind), FRAMED_DENIED);
        assert_string_equal(reason, "not a regular file");
        assert_int_equal(load("/nowhere/at/all", (enum host_keys)kind), FRAMED_OS);
    }
}

static void another_takes_its_name(void)
{
    char other[64];
    snprintf(other, sizeof other, "%s/other", folder);
    assert_int_equal(rename(path, other), 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    assert_int_equal(write(fd, "evil", 4), 4);
    close(fd);
    assert_int_equal(unlink(other), 0);
}

static void it_is_cut(void)
{
    assert_int_equal(truncate(path, 3), 0);
}

static void it_grows(void)
{
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "more", 4), 4);
    close(fd);
}

/* What is read is what was looked at, and as it was then. */
static void nothing_can_be_put_in_its_place_while_it_is_loaded(void **state)
{
    (void)state;
    for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
        write_file(7, 0600);
        meanwhile = another_takes_its_name;
        assert_int_equal(load(path, (enum host_keys)kind), FRAMED_OK);
        assert_true(buf.len == 7 && memcmp(buf.at, "abcdefg", 7) == 0);
        static void (*const changes[])(void) = {it_is_cut, it_grows};
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            meanwhile = NULL;
            write_file(7, 0600);
            meanwhile = changes[i];
            assert_int_equal(load(path, (enum host_keys)kind), FRAMED_DENIED);
            assert_string_equal(reason, "was changed while it was read");
        }
        meanwhile = NULL;
    }
}

static void a_file_must_be_ours_or_roots(void **state)
{
    (void)state;
    write_file(57, 0600);
    if (geteuid() != 0) {
        enum framed_status st = load("/etc/passwd", HOST_KEYS_PUBLIC); /* root's */
        assert_true(st == FRAMED_OK || st == FRAMED_TOO_LARGE);
        return;
    }
    assert_int_equal(chown(path, 12345, 0), 0);
    for (unsigned kind = HOST_KEYS_SECRET; kind <= HOST_KEYS_PUBLIC; kind++) {
        assert_int_equal(load(path, (enum host_keys)kind), FRAMED_DENIED);
        assert_string_equal(reason, "belongs to another user; it must be ours or root's");
    }
}

static void a_file_is_made_once_for_its_owner_alone(void **state)
{
    (void)state;
    struct stat about;
    mode_t before = umask(0);
    assert_int_equal(framed_host_create_keys(path, framed_bytes_str("abcdefg"), &reason), FRAMED_OK);
    umask(before);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode, S_IFREG | 0600);
    assert_int_equal(framed_host_create_keys(path, framed_bytes_str("other"), &reason), FRAMED_IN_USE);
    assert_int_equal(load(path, HOST_KEYS_SECRET), FRAMED_OK);
    assert_int_equal(buf.len, 7);
    assert_memory_equal(buf.at, "abcdefg", 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_loaded_whole_into_one_block),         TEST(without_memory_nothing_is_loaded),
        TEST(nobody_else_may_read_a_secret_or_write_a_list), TEST(a_list_may_be_a_symbolic_link_and_a_secret_may_not),
        TEST(what_is_no_file_is_refused_without_waiting),    TEST(a_file_must_be_ours_or_roots),
        TEST(a_file_is_made_once_for_its_owner_alone),       TEST(nothing_can_be_put_in_its_place_while_it_is_loaded),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
