/*
 * test_win_host.c: host.h on Windows: commands, control events, standard input, files. The program is its own child: with an
 * argument it plays a part (see `parts`).
 * Must not know what the tool does with any of this.
 * Invariant: no outcome depends on how fast a child is.
 */
#include "host_win.h"
/* after windows.h */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <framed/net.h>

#include "os.h"

enum { LONG_MS = 60000, LARGE = 1 << 20, TEXT = 600 };

static char self[MAX_PATH];

/* ---- the parts a child plays ---- */

/* Gives back what it is given. */
static int play_cat(const char *name)
{
    (void)name;
    static uint8_t at[3000]; /* so that its pieces do not fall together with ours */
    size_t n;
    enum framed_status st = FRAMED_OK;
    while ((st = framed_host_read(at, sizeof at, &n)) == FRAMED_OK || st == FRAMED_MORE)
        if (st == FRAMED_OK && framed_host_write(at, n) != FRAMED_OK) return 2;
    return st == FRAMED_CLOSED ? 0 : 3;
}

static int play_flood(const char *name)
{
    (void)name;
    while (framed_host_write((const uint8_t *)"0123456789", 10) == FRAMED_OK) continue;
    return 0;
}

/* Is there, says so in five bytes, and never ends. While it lives, the event NAME exists. */
static int play_hold(const char *name)
{
    if (CreateEventA(NULL, TRUE, FALSE, name) == NULL || framed_host_write((const uint8_t *)"here!", 5) != FRAMED_OK)
        return 2;
    Sleep(INFINITE);
    return 0;
}

/* The same with a child that does the same. */
static int play_nest(const char *name)
{
    char line[TEXT], other[TEXT];
    STARTUPINFOA start = {.cb = sizeof start};
    PROCESS_INFORMATION made;
    (void)snprintf(line, sizeof line, "\"%s\" hold %s-nested", self, name);
    if (!CreateProcessA(NULL, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &made)) return 2;
    (void)snprintf(other, sizeof other, "%s", name);
    return play_hold(other);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static int play_say(const char *text)
{
    return framed_host_write((const uint8_t *)text, strlen(text)) == FRAMED_OK ? 0 : 2;
}

/* Sets the event whose handle has this number, if it was inherited. */
static int play_set(const char *number)
{
    (void)SetEvent((HANDLE)(uintptr_t)strtoull(number, NULL, 10));
    return 0;
}

static int play_twice(const char *name)
{
    (void)name;
    if (framed_host_on_stop(nothing, NULL) != FRAMED_OK) return 2;
    (void)framed_host_control(CTRL_C_EVENT);
    (void)framed_host_control(CTRL_C_EVENT);
    return 0;
}

static int play_unarmed(const char *name)
{
    (void)name;
    if (framed_host_on_stop(nothing, NULL) != FRAMED_OK) return 2;
    framed_host_off_stop();
    (void)framed_host_control(CTRL_BREAK_EVENT);
    return 0;
}

static void control_close(void *ctx)
{
    (void)ctx;
    (void)framed_host_control(CTRL_CLOSE_EVENT);
    framed_host_quit(1); /* returning ends the process, with a status of the system's */
}

/* The console is closed: the end is ours to choose, with other threads asleep. */
static int play_close(const char *name)
{
    (void)name;
    struct os_thread *thread;
    struct host_wait wait = {.socket = {.socket = -1, .timeout_ms = LONG_MS}};
    if (framed_host_on_stop(nothing, NULL) != FRAMED_OK) return 2;
    if (framed_os_thread_start(&thread, control_close, NULL) != FRAMED_OK) return 3;
    while (framed_host_stopped() == 0)
        if (framed_host_wait(&wait) != FRAMED_OK) return 4;
    framed_host_off_stop();
    return framed_host_stopped() == SIGTERM ? 7 : 5;
}

static int play_logoff(const char *name)
{
    (void)name;
    if (framed_host_on_stop(nothing, NULL) != FRAMED_OK) return 2;
    return framed_host_control(CTRL_LOGOFF_EVENT) && framed_host_stopped() == 0 ? 7 : 3;
}

static const struct {
    const char *name;
    int (*play)(const char *name);
} parts[] = {{"say", play_say},     {"set", play_set},      {"cat", play_cat},     {"flood", play_flood},
             {"hold", play_hold},   {"nest", play_nest},    {"twice", play_twice}, {"unarmed", play_unarmed},
             {"close", play_close}, {"logoff", play_logoff}};

/* ---- commands ---- */

static struct host_run new_run(const char *command)
{
    return (struct host_run){
        .command = command, .most = LARGE, .timeout_ms = LONG_MS, .alloc = framed_os_allocator(), .end = HOST_NOT_STARTED};
}

/* This program in a part. */
static struct host_run part(char command[TEXT], const char *what)
{
    (void)snprintf(command, TEXT, "\"%s\" %s", self, what);
    return new_run(command);
}

static void assert_output(const struct host_run *run, const void *at, size_t n)
{
    assert_int_equal(run->output.len, n);
    if (n > 0) assert_memory_equal(run->output.at, at, n);
}

static bool exists(const char *event)
{
    HANDLE handle = OpenEventA(SYNCHRONIZE, FALSE, event);
    if (handle != NULL) (void)CloseHandle(handle);
    return handle != NULL;
}

static void a_command_goes_through_cmd(void **state)
{
    (void)state;
    struct host_run run = new_run("echo one \"two\" & echo three");
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_equal(run.code, 0);
    assert_output(&run, "one \"two\" \r\nthree\r\n", 19);
    framed_buf_fini(&run.output, run.alloc);
}

/* More than two quotes: cmd takes some away unless it is told not to. */
static void a_command_keeps_its_quotes(void **state)
{
    (void)state;
    char command[TEXT];
    struct host_run run = part(command, "say \"one & two\"");
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_equal(run.code, 0);
    assert_output(&run, "one & two", 9);
    framed_buf_fini(&run.output, run.alloc);
}

static void input_and_output_pass_unaltered(void **state)
{
    (void)state;
    static const uint8_t hostile[] = {0x0d, 0x0a, 0x1a, 0x00, 0xff, 0x0a, 0x0d, 0x1a};
    char command[TEXT];
    for (size_t n = 0; n <= sizeof hostile; n++) {
        struct host_run run = part(command, "cat");
        run.input = framed_bytes_of(hostile, n);
        framed_host_run(&run);
        assert_int_equal(run.end, HOST_EXITED);
        assert_int_equal(run.code, 0);
        assert_output(&run, hostile, n);
        framed_buf_fini(&run.output, run.alloc);
    }
}

static void a_large_input_flows_while_output_comes(void **state)
{
    (void)state;
    char command[TEXT];
    uint8_t *large = malloc(LARGE);
    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++) large[i] = (uint8_t)(i * 2654435761u >> 13);
    struct host_run run = part(command, "cat"); /* and as much as is allowed is not too much */
    run.input = framed_bytes_of(large, LARGE);
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_output(&run, large, LARGE);
    framed_buf_fini(&run.output, run.alloc);
    free(large);
}

static void a_command_need_not_read(void **state)
{
    (void)state;
    uint8_t *large = calloc(1, LARGE);
    struct host_run run = new_run("echo no, thank you& exit 3");
    run.input = framed_bytes_of(large, LARGE);
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_equal(run.code, 3);
    assert_output(&run, "no, thank you\r\n", 15);
    framed_buf_fini(&run.output, run.alloc);
    free(large);
}

static void a_command_that_there_is_not_says_so_with_its_status(void **state)
{
    (void)state;
    struct host_run run = new_run("no-such-command-here 2>nul");
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_not_equal(run.code, 0);
    assert_output(&run, "", 0);
    framed_buf_fini(&run.output, run.alloc);
}

static void output_one_byte_too_long_ends_it(void **state)
{
    (void)state;
    struct host_run run = new_run("echo 12345");
    run.most = 6;
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_TOO_LONG);
    assert_null(run.output.at);
    run.most = 7;
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    framed_buf_fini(&run.output, run.alloc);
}

static void a_flood_is_cut_off(void **state)
{
    (void)state;
    char command[TEXT];
    struct host_run run = part(command, "flood");
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_TOO_LONG);
    assert_null(run.output.at);
}

static void what_hangs_is_killed_at_the_deadline(void **state)
{
    (void)state;
    char command[TEXT];
    struct host_run run = part(command, "hold framed-test-late");
    run.timeout_ms = 100;
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_TOO_LATE);
    assert_false(exists("framed-test-late"));
    assert_null(run.output.at);
}

/* Ten bytes come only when both are there. */
static void children_of_children_are_killed_with_it(void **state)
{
    (void)state;
    char command[TEXT];
    struct host_run run = part(command, "nest framed-test");
    run.most = 9;
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_TOO_LONG);
    assert_false(exists("framed-test"));
    assert_false(exists("framed-test-nested"));
}

static void *no_memory(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx, (void)old_size, (void)new_size;
    assert_null(at);
    return NULL;
}

static const struct framed_allocator no_allocator = {.resize = no_memory};

static void a_failing_allocator_ends_it(void **state)
{
    (void)state;
    char command[TEXT];
    struct host_run run = part(command, "hold framed-test-memory");
    run.alloc = &no_allocator;
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_TOO_LONG); /* it was started; what it would write has no room */
    assert_int_equal(run.status, FRAMED_NOMEM);
    assert_false(exists("framed-test-memory"));
}

static void run_it(void *ctx)
{
    struct host_run *run = ctx;
    framed_host_run(run);
}

static void several_run_at_once(void **state)
{
    (void)state;
    enum { RUNS = 6 };
    static char commands[RUNS][TEXT];
    static struct host_run runs[RUNS];
    struct os_thread *threads[RUNS];
    for (unsigned i = 0; i < RUNS; i++) {
        runs[i] = part(commands[i], "cat");
        runs[i].input = framed_bytes_str(commands[i]);
        assert_int_equal(framed_os_thread_start(&threads[i], run_it, &runs[i]), FRAMED_OK);
    }
    for (unsigned i = 0; i < RUNS; i++) {
        framed_os_thread_join(threads[i]);
        assert_int_equal(runs[i].end, HOST_EXITED);
        assert_output(&runs[i], commands[i], strlen(commands[i]));
        framed_buf_fini(&runs[i].output, runs[i].alloc);
    }
}

/* The highest number that so many new handles get, of the lowest that are free: one more for each handle that is in use. */
static uintptr_t highest_handle(void)
{
    HANDLE handles[256];
    uintptr_t highest = 0;
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) {
        handles[i] = CreateEventW(NULL, TRUE, FALSE, NULL);
        assert_non_null(handles[i]);
        if ((uintptr_t)handles[i] > highest) highest = (uintptr_t)handles[i];
    }
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++) (void)CloseHandle(handles[i]);
    return highest;
}

static void a_run_leaves_no_handle_behind(void **state)
{
    (void)state;
    uintptr_t before = 0;
    for (int i = 0; i < 3; i++) {
        if (i == 1) before = highest_handle(); /* the first time the system may take some of its own */
        struct host_run run = new_run("echo x");
        framed_host_run(&run);
        framed_buf_fini(&run.output, run.alloc);
        run.most = 0;
        framed_host_run(&run);
        assert_int_equal(run.end, HOST_TOO_LONG);
    }
    assert_int_equal(highest_handle(), before);
}

/* Else a child that runs long would keep open what another one must see the end of. */
static void a_command_inherits_nothing_else(void **state)
{
    (void)state;
    char command[TEXT], what[40];
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE event = CreateEventW(&inherited, TRUE, FALSE, NULL);
    (void)snprintf(what, sizeof what, "set %llu", (unsigned long long)(uintptr_t)event);
    struct host_run run = part(command, what);
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_equal(WaitForSingleObject(event, 0), WAIT_TIMEOUT);
    (void)CloseHandle(event);
}

static void stopping(void *ctx)
{
    (void)ctx;
    while (!exists("framed-test-stop")) Sleep(1);
    framed_host_stop_runs();
}

/* The last of these tests: nothing runs afterwards. */
static void stopping_ends_what_runs_and_what_begins_later(void **state)
{
    (void)state;
    char command[TEXT];
    struct os_thread *thread;
    struct host_run run = part(command, "hold framed-test-stop");
    assert_int_equal(framed_os_thread_start(&thread, stopping, NULL), FRAMED_OK);
    framed_host_run(&run);
    framed_os_thread_join(thread);
    assert_int_equal(run.end, HOST_STOPPED);
    assert_false(exists("framed-test-stop"));
    run.alloc = &no_allocator; /* it is not even begun */
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_STOPPED);
    assert_null(run.output.at);
}

/* ---- control events ---- */

static void assert_part_ends(const char *what, int code)
{
    char command[TEXT];
    struct host_run run = part(command, what);
    framed_host_run(&run);
    assert_int_equal(run.end, HOST_EXITED);
    assert_int_equal(run.code, code);
    framed_buf_fini(&run.output, run.alloc);
}

static void a_second_control_event_ends_the_process(void **state)
{
    (void)state;
    assert_part_ends("twice", 128 + SIGINT);
}

static void a_control_event_that_nobody_waits_for_ends_the_process(void **state)
{
    (void)state;
    assert_part_ends("unarmed", 128 + SIGTERM);
}

static void closing_the_console_leaves_the_end_to_us(void **state)
{
    (void)state;
    assert_part_ends("close", 7);
}

static void somebody_logging_off_is_nothing_to_a_service(void **state)
{
    (void)state;
    assert_part_ends("logoff", 7);
}

/* ---- standard streams ---- */

static void standard_input_is_waited_for_and_comes_unaltered(void **state)
{
    (void)state;
    static const uint8_t sent[] = {0x0d, 0x0a, 0x1a, 0x00, 'x', 'y'};
    uint8_t at[16];
    size_t n = 0;
    DWORD written;
    HANDLE ours, theirs, before = GetStdHandle(STD_INPUT_HANDLE);
    assert_true(CreatePipe(&ours, &theirs, NULL, 0));
    assert_true(SetStdHandle(STD_INPUT_HANDLE, ours));
    struct host_wait wait = {.socket = {.socket = -1, .timeout_ms = 20}, .want_input = true};
    assert_int_equal(framed_host_wait(&wait), FRAMED_OK);
    assert_false(wait.input);
    assert_int_equal(framed_host_read(at, sizeof at, &n), FRAMED_MORE);

    assert_true(WriteFile(theirs, sent, sizeof sent, &written, NULL));
    wait.socket.timeout_ms = LONG_MS;
    assert_int_equal(framed_host_wait(&wait), FRAMED_OK);
    assert_true(wait.input);
    assert_int_equal(framed_host_read(at, 4, &n), FRAMED_OK);
    assert_int_equal(n, 4);
    assert_memory_equal(at, sent, 4);
    assert_int_equal(framed_host_read(at, sizeof at, &n), FRAMED_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(at, sent + 4, 2);
    assert_int_equal(framed_host_read(at, sizeof at, &n), FRAMED_MORE);

    assert_true(CloseHandle(theirs));
    assert_int_equal(framed_host_wait(&wait), FRAMED_OK);
    assert_true(wait.input);
    assert_int_equal(framed_host_read(at, sizeof at, &n), FRAMED_CLOSED);
    assert_int_equal(framed_host_wait(&wait), FRAMED_OK);
    assert_true(wait.input); /* the end stays the end */
    assert_int_equal(framed_host_read(at, sizeof at, &n), FRAMED_CLOSED);
    assert_true(SetStdHandle(STD_INPUT_HANDLE, before));
    assert_true(CloseHandle(ours));
}

static void a_socket_is_waited_for_as_often_as_it_is_ready(void **state)
{
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET};
    int len = sizeof a;
    char byte;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SOCKET listener = socket(AF_INET, SOCK_STREAM, 0), left = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    assert_int_equal(connect(left, (struct sockaddr *)&a, sizeof a), 0);
    SOCKET right = accept(listener, NULL, NULL);

    struct host_wait wait = {.socket = {.socket = (intptr_t)left, .events = FRAMED_WANT_READ, .timeout_ms = LONG_MS}};
    assert_int_equal(send(right, "ab", 2, 0), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(framed_host_wait(&wait), FRAMED_OK); /* the second time nothing has happened, yet a byte is there */
        assert_int_equal(recv(left, &byte, 1, 0), 1);
    }
    wait.socket.events = FRAMED_WANT_READ | FRAMED_WANT_WRITE;
    for (int i = 0; i < 2; i++)
        assert_int_equal(framed_host_wait(&wait), FRAMED_OK); /* it can be written to, again and again */

    wait.socket.events = FRAMED_WANT_READ;
    assert_int_equal(closesocket(right), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(framed_host_wait(&wait), FRAMED_OK);
    assert_int_equal(recv(left, &byte, 1, 0), 0);
    assert_int_equal(closesocket(left), 0);
    assert_int_equal(closesocket(listener), 0);
}

static void an_output_whose_reader_has_gone_is_noticed(void **state)
{
    (void)state;
    HANDLE ours, theirs, before = GetStdHandle(STD_OUTPUT_HANDLE);
    assert_true(CreatePipe(&theirs, &ours, NULL, 0));
    assert_true(SetStdHandle(STD_OUTPUT_HANDLE, ours));
    struct host_wait wait = {.socket = {.socket = -1, .timeout_ms = 0}, .watch_output = true};
    enum framed_status first = framed_host_wait(&wait);
    bool gone_at_first = wait.output_gone;
    (void)CloseHandle(theirs);
    enum framed_status second = framed_host_wait(&wait);
    enum framed_status written = framed_host_write((const uint8_t *)"x", 1);
    (void)SetStdHandle(STD_OUTPUT_HANDLE, before);
    (void)CloseHandle(ours);
    assert_int_equal(first, FRAMED_OK);
    assert_false(gone_at_first);
    assert_int_equal(second, FRAMED_OK);
    assert_true(wait.output_gone);
    assert_int_equal(written, FRAMED_CLOSED);
}

static void a_stream_that_is_missing_fails(void **state)
{
    (void)state;
    HANDLE before = GetStdHandle(STD_OUTPUT_HANDLE);
    (void)SetStdHandle(STD_OUTPUT_HANDLE, NULL);
    enum framed_status st = framed_host_write((const uint8_t *)"x", 1);
    bool terminal = framed_host_is_terminal(HOST_OUTPUT);
    (void)SetStdHandle(STD_OUTPUT_HANDLE, before);
    assert_int_equal(st, FRAMED_OS);
    assert_false(terminal);
}

/* ---- files ---- */

static void files_keep_their_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x0d, 0x0a, 0x1a, 0x00, 0x0a, 0x1a};
    uint8_t at[16];
    size_t n;
    uint64_t size = 0;
    intptr_t file;
    char path[TEXT];
    (void)snprintf(path, sizeof path, "%s.\xc3\xa4.tmp", self); /* a name outside of ASCII */
    assert_int_equal(framed_host_create(path, &file), FRAMED_OK);
    assert_int_equal(framed_host_write_file(file, bytes, sizeof bytes), FRAMED_OK);
    assert_int_equal(framed_host_close_file(file), FRAMED_OK);

    assert_int_equal(framed_host_check_file(path, sizeof bytes, &size), FRAMED_OK);
    assert_int_equal(framed_host_check_file(path, sizeof bytes - 1, &size), FRAMED_TOO_LARGE);
    assert_int_equal(size, sizeof bytes);
    assert_int_equal(framed_host_open(path, &file), FRAMED_OK);
    assert_int_equal(framed_host_read_file(file, at, sizeof at, &n), FRAMED_OK);
    assert_int_equal(n, sizeof bytes);
    assert_memory_equal(at, bytes, n);
    assert_int_equal(framed_host_read_file(file, at, sizeof at, &n), FRAMED_CLOSED);
    assert_int_equal(framed_host_close_file(file), FRAMED_OK);

    struct framed_buf buf = {0};
    assert_int_equal(framed_host_load_file(path, sizeof bytes, &buf, framed_os_allocator()), FRAMED_OK);
    assert_int_equal(framed_host_load_file(path, sizeof bytes, &buf, framed_os_allocator()), FRAMED_OK);
    assert_int_equal(buf.len, 2 * sizeof bytes);
    assert_memory_equal(buf.at + sizeof bytes, bytes, sizeof bytes);
    assert_int_equal(framed_host_load_file(path, sizeof bytes - 1, &buf, framed_os_allocator()), FRAMED_TOO_LARGE);
    framed_buf_fini(&buf, framed_os_allocator());

    wchar_t *wide = framed_host_wide(path);
    assert_true(DeleteFileW(wide));
    free(wide);
    assert_int_equal(framed_host_open(path, &file), FRAMED_OS);
    assert_string_not_equal(framed_host_error(), "");
}

static void directories_are_refused_by_name(void **state)
{
    (void)state;
    intptr_t file;
    uint64_t size;
    assert_int_equal(framed_host_open(".", &file), FRAMED_OS);
    assert_string_equal(framed_host_error(), "is a directory");
    assert_int_equal(framed_host_check_file(".", 1, &size), FRAMED_OS);
    assert_int_equal(framed_host_create(".", &file), FRAMED_OS);
}

/* ---- the rest ---- */

static void a_bell_that_rang_before_is_heard(void **state)
{
    (void)state;
    struct host_bell *bell;
    assert_int_equal(framed_host_bell_new(&bell, framed_os_allocator()), FRAMED_OK);
    framed_host_bell_wait(bell, 1); /* silent */
    framed_host_bell_ring(bell);
    framed_host_bell_ring(bell);
    framed_host_bell_wait(bell, OS_FOREVER);
    framed_host_bell_free(bell, framed_os_allocator());
    framed_host_bell_free(NULL, framed_os_allocator());
}

static void time_is_told_in_both_ways(void **state)
{
    (void)state;
    char text[40];
    unsigned h, m, s, ms;
    framed_host_time_text(text, sizeof text);
    assert_int_equal(strlen(text), 12);
    assert_int_equal(sscanf(text, "%2u:%2u:%2u.%3u", &h, &m, &s, &ms), 4);
    assert_true(h < 24 && m < 60 && s < 61 && ms < 1000);
    uint64_t now = framed_host_time_ns();
    assert_true(now > UINT64_C(1700000000) * 1000000000 && now < UINT64_C(4102444800) * 1000000000); /* 2023 to 2100 */
}

int main(int argc, char **argv)
{
    (void)GetModuleFileNameA(NULL, self, sizeof self);
    framed_host_begin();
    for (size_t i = 0; argc > 1 && i < sizeof parts / sizeof *parts; i++)
        if (strcmp(argv[1], parts[i].name) == 0) return parts[i].play(argc > 2 ? argv[2] : "");

    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_goes_through_cmd),
        cmocka_unit_test(a_command_keeps_its_quotes),
        cmocka_unit_test(input_and_output_pass_unaltered),
        cmocka_unit_test(a_large_input_flows_while_output_comes),
        cmocka_unit_test(a_command_need_not_read),
        cmocka_unit_test(a_command_that_there_is_not_says_so_with_its_status),
        cmocka_unit_test(output_one_byte_too_long_ends_it),
        cmocka_unit_test(a_flood_is_cut_off),
        cmocka_unit_test(what_hangs_is_killed_at_the_deadline),
        cmocka_unit_test(children_of_children_are_killed_with_it),
        cmocka_unit_test(a_failing_allocator_ends_it),
        cmocka_unit_test(several_run_at_once),
        cmocka_unit_test(a_run_leaves_no_handle_behind),
        cmocka_unit_test(a_command_inherits_nothing_else),
        cmocka_unit_test(a_second_control_event_ends_the_process),
        cmocka_unit_test(a_control_event_that_nobody_waits_for_ends_the_process),
        cmocka_unit_test(closing_the_console_leaves_the_end_to_us),
        cmocka_unit_test(somebody_logging_off_is_nothing_to_a_service),
        cmocka_unit_test(standard_input_is_waited_for_and_comes_unaltered),
        cmocka_unit_test(a_socket_is_waited_for_as_often_as_it_is_ready),
        cmocka_unit_test(an_output_whose_reader_has_gone_is_noticed),
        cmocka_unit_test(a_stream_that_is_missing_fails),
        cmocka_unit_test(files_keep_their_bytes),
        cmocka_unit_test(directories_are_refused_by_name),
        cmocka_unit_test(a_bell_that_rang_before_is_heard),
        cmocka_unit_test(time_is_told_in_both_ways),
        cmocka_unit_test(stopping_ends_what_runs_and_what_begins_later),
    };
    struct os_poller *p = NULL; /* starts Winsock */
    if (framed_os_poller_open(&p, FRAMED_WAIT_BEST, framed_os_allocator()) != FRAMED_OK) return 1;
    framed_os_poller_close(p);
    return cmocka_run_group_tests_name("host.h, Windows", tests, NULL, NULL);
}
