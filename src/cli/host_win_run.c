/*
 * Owns: commands of the shell: cmd, its job object, and the two pipes to it.
 * Must not know: frames, options, who wants the command.
 * Invariants: nothing of a job is left running when framed_host_run returns, nor when this process ends, however it does
 * (the job dies with its handle); a child inherits its two pipes and our standard error, and no other handle.
 */
#include "host_win.h"
#include "os.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_LEAST = 4 << 10,
    READ_MOST = 64 << 10,
    GRACE_MS = 1000 /* for what was killed to be gone; longer only if the system does not let it go */
};

static HANDLE stop_runs; /* an event that stays set */

bool framed_host_begin_run(void)
{
    stop_runs = CreateEventW(NULL, TRUE, FALSE, NULL);
    return stop_runs != NULL;
}

void framed_host_stop_runs(void)
{
    (void)SetEvent(stop_runs);
}

/* One end of a pipe, ours, and what is under way on it. */
struct end {
    HANDLE pipe;
    OVERLAPPED io; /* its event is set when that is done */
    bool busy;
};

struct child {
    struct host_run *run;
    HANDLE job;
    HANDLE process;
    struct end to;   /* its standard input; closed when it has all */
    struct end from; /* its standard output; closed at its end */
    size_t given;    /* of the input */
    uint64_t due_ns; /* OS_FOREVER: never */
    bool ended;      /* run->end is known */
};

/* ---- pipes ---- */

/*
 * Anonymous pipes cannot be waited for, named ones can. Only the first instance of its random name will do, and only from this
 * machine; if a stranger connects first, our own opening fails, and so does the run.
 */
static enum framed_status open_pipe(DWORD ours, DWORD theirs, struct end *end, HANDLE *other)
{
    uint64_t random[2];
    wchar_t name[64];
    enum framed_status st = framed_os_random(random, sizeof random);
    if (st != FRAMED_OK) return st;
    (void)swprintf(name, sizeof name / sizeof *name, L"\\\\.\\pipe\\framed-%016llx%016llx", random[0], random[1]);
    end->io.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (end->io.hEvent == NULL) return framed_host_failed_last();
    end->pipe = CreateNamedPipeW(name, ours | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                 PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS, 1, READ_MOST, READ_MOST, 0, NULL);
    if (end->pipe == INVALID_HANDLE_VALUE) return framed_host_failed_last();
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    *other = CreateFileW(name, theirs, 0, &inherited, OPEN_EXISTING, 0, NULL);
    return *other != INVALID_HANDLE_VALUE ? FRAMED_OK : framed_host_failed_last();
}

static void shut(HANDLE *handle)
{
    if (*handle != NULL && *handle != INVALID_HANDLE_VALUE) (void)CloseHandle(*handle);
    *handle = INVALID_HANDLE_VALUE;
}

/* Whatever is under way stops before its memory goes. */
static void end_close(struct end *end)
{
    DWORD n;
    if (end->busy) {
        (void)CancelIoEx(end->pipe, &end->io); /* or it is done already */
        (void)GetOverlappedResult(end->pipe, &end->io, &n, TRUE);
    }
    end->busy = false;
    shut(&end->pipe);
}

static bool is_open(const struct end *end)
{
    return end->pipe != INVALID_HANDLE_VALUE;
}

/* ---- starting ---- */

/* "C:\Windows\System32\cmd.exe", and `cmd /d /s /c "COMMAND"`: of the outer quotes /s takes away those two and no others. */
static wchar_t *shell_line(const char *command, wchar_t shell[MAX_PATH + 16])
{
    UINT n = GetSystemDirectoryW(shell, MAX_PATH);
    wchar_t *wide = framed_host_wide(command);
    if (wide == NULL || n == 0 || n > MAX_PATH) {
        free(wide);
        return NULL;
    }
    (void)wcscat(shell, L"\\cmd.exe");
    size_t room = wcslen(wide) + 32;
    wchar_t *line = malloc(room * sizeof *line);
    if (line != NULL) (void)swprintf(line, room, L"cmd /d /s /c \"%ls\"", wide);
    free(wide);
    return line;
}

/* A job that ends with its last handle. */
static HANDLE job_new(void)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {.BasicLimitInformation.LimitFlags =
                                                       JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE |
                                                       JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION};
    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (job != NULL && !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits)) shut(&job);
    return job;
}

/* Begins suspended, so that nothing of it runs outside of the job. */
static enum framed_status create(struct child *c, const wchar_t *shell, wchar_t *line, STARTUPINFOEXW *start)
{
    PROCESS_INFORMATION made;
    /* Deaf to the Ctrl+C that is meant for us; and where we have no console, none flashes up. */
    DWORD flags = GetConsoleCP() != 0 ? CREATE_NEW_PROCESS_GROUP : CREATE_NO_WINDOW;
    if (!CreateProcessW(shell, line, NULL, NULL, TRUE, flags | CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                        &start->StartupInfo, &made))
        return framed_host_failed_last();
    enum framed_status st = FRAMED_OK;
    if (!AssignProcessToJobObject(c->job, made.hProcess) || ResumeThread(made.hThread) == (DWORD)-1) {
        st = framed_host_failed_last();
        (void)TerminateProcess(made.hProcess, 1);
    }
    (void)CloseHandle(made.hThread);
    c->process = made.hProcess;
    return st;
}

static HANDLE inheritable_error(void)
{
    HANDLE copy = INVALID_HANDLE_VALUE, self = GetCurrentProcess();
    if (!DuplicateHandle(self, framed_host_standard(STD_ERROR_HANDLE), self, &copy, 0, TRUE, DUPLICATE_SAME_ACCESS))
        return INVALID_HANDLE_VALUE; /* there is none */
    return copy;
}

/* Exactly these handles are inherited: another thread may be starting another command. */
static enum framed_status create_with(struct child *c, const wchar_t *shell, wchar_t *line, HANDLE in, HANDLE out)
{
    HANDLE error = inheritable_error();
    HANDLE handles[3] = {in, out, error};
    size_t n = error != INVALID_HANDLE_VALUE ? 3 : 2, size = 0;
    STARTUPINFOEXW start = {
        .StartupInfo = {
            .cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES, .hStdInput = in, .hStdOutput = out, .hStdError = error}};
    (void)InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    start.lpAttributeList = malloc(size);
    enum framed_status st = FRAMED_NOMEM;
    if (start.lpAttributeList != NULL && InitializeProcThreadAttributeList(start.lpAttributeList, 1, 0, &size)) {
        bool listed = UpdateProcThreadAttribute(start.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles,
                                                n * sizeof *handles, NULL, NULL) != 0;
        st = listed ? create(c, shell, line, &start) : framed_host_failed_last();
        DeleteProcThreadAttributeList(start.lpAttributeList);
    }
    free(start.lpAttributeList);
    shut(&error);
    return st;
}

static enum framed_status start(struct child *c)
{
    HANDLE in = INVALID_HANDLE_VALUE, out = INVALID_HANDLE_VALUE;
    wchar_t shell[MAX_PATH + 16], *line = shell_line(c->run->command, shell);
    if (line == NULL) return FRAMED_NOMEM;
    enum framed_status st = FRAMED_OK;
    c->job = job_new();
    if (c->job == NULL || c->job == INVALID_HANDLE_VALUE) st = framed_host_failed_last();
    if (st == FRAMED_OK) st = open_pipe(PIPE_ACCESS_OUTBOUND, GENERIC_READ, &c->to, &in);
    if (st == FRAMED_OK) st = open_pipe(PIPE_ACCESS_INBOUND, GENERIC_WRITE | FILE_READ_ATTRIBUTES, &c->from, &out);
    if (st == FRAMED_OK) st = create_with(c, shell, line, in, out);
    shut(&in);
    shut(&out);
    free(line);
    return st;
}

/* ---- while it runs ---- */

static void give_up(struct child *c, enum host_end end, enum framed_status status)
{
    c->run->end = end;
    c->run->status = status;
    c->ended = true;
}

/* Gives it more of the input, or the end of it. A child that wants no more has closed its end; that is its right. */
static void feed(struct child *c)
{
    struct framed_bytes input = c->run->input;
    size_t left = input.len - c->given;
    if (left > READ_MOST) left = READ_MOST;
    if (left > 0 &&
        (WriteFile(c->to.pipe, input.at + c->given, (DWORD)left, NULL, &c->to.io) || GetLastError() == ERROR_IO_PENDING))
        c->to.busy = true;
    else
        end_close(&c->to);
}

static void fed(struct child *c)
{
    DWORD n = 0;
    c->to.busy = false;
    if (!GetOverlappedResult(c->to.pipe, &c->to.io, &n, FALSE)) {
        end_close(&c->to);
        return;
    }
    c->given += n;
    feed(c);
}

/* Asks for more output: at most one byte more than is allowed, which tells a long one from one too long. */
static void listen_to(struct child *c)
{
    struct host_run *run = c->run;
    size_t left = run->most - run->output.len + 1;
    size_t want = run->output.len < READ_LEAST ? READ_LEAST : run->output.len;
    if (want > READ_MOST) want = READ_MOST;
    if (want > left) want = left;
    enum framed_status st = framed_buf_reserve(&run->output, want, run->most + 1, run->alloc);
    if (st != FRAMED_OK) {
        give_up(c, HOST_TOO_LONG, st);
        return;
    }
    if (ReadFile(c->from.pipe, run->output.at + run->output.len, (DWORD)want, NULL, &c->from.io) ||
        GetLastError() == ERROR_IO_PENDING)
        c->from.busy = true;
    else
        end_close(&c->from);
}

static void heard(struct child *c)
{
    DWORD n = 0;
    c->from.busy = false;
    if (!GetOverlappedResult(c->from.pipe, &c->from.io, &n, FALSE)) {
        end_close(&c->from); /* ERROR_BROKEN_PIPE: nobody has its end any more */
        return;
    }
    c->run->output.len += n;
    if (c->run->output.len > c->run->most)
        give_up(c, HOST_TOO_LONG, FRAMED_OK);
    else
        listen_to(c);
}

static void exited(struct child *c)
{
    DWORD code = 0;
    (void)GetExitCodeProcess(c->process, &code);
    c->run->code = (int)code;
    give_up(c, HOST_EXITED, FRAMED_OK);
}

static DWORD ms_left(const struct child *c)
{
    if (c->due_ns == OS_FOREVER) return INFINITE;
    uint64_t now = framed_os_clock_ns();
    return now < c->due_ns ? (DWORD)((c->due_ns - now) / 1000000 + 1) : 0;
}

/* Waits for one thing and does it. Once its output is closed, its end is waited for. */
static void turn(struct child *c)
{
    HANDLE events[3] = {stop_runs, is_open(&c->from) ? c->from.io.hEvent : c->process, c->to.io.hEvent};
    DWORD left = ms_left(c);
    if (left == 0) {
        give_up(c, HOST_TOO_LATE, FRAMED_OK);
        return;
    }
    switch (WaitForMultipleObjects(is_open(&c->to) ? 3 : 2, events, FALSE, left)) {
    case WAIT_OBJECT_0: give_up(c, HOST_STOPPED, FRAMED_OK); break;
    case WAIT_OBJECT_0 + 1:
        if (is_open(&c->from))
            heard(c);
        else
            exited(c);
        break;
    case WAIT_OBJECT_0 + 2: fed(c); break;
    case WAIT_FAILED: give_up(c, HOST_NOT_STARTED, framed_host_failed_last()); break;
    default: break; /* ms_left will tell */
    }
}

/* ---- the end ---- */

static bool job_is_empty(HANDLE job)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION about;
    return !QueryInformationJobObject(job, JobObjectBasicAccountingInformation, &about, sizeof about, NULL) ||
           about.ActiveProcesses == 0;
}

/* Killing takes a moment; whoever is told that it is over may count on it. */
static void kill_job(struct child *c)
{
    if (c->job == NULL || c->job == INVALID_HANDLE_VALUE) return;
    (void)TerminateJobObject(c->job, 1);
    for (int ms = 0; ms < GRACE_MS && !job_is_empty(c->job); ms++) Sleep(1);
    shut(&c->job);
}

void framed_host_run(struct host_run *run)
{
    struct child c = {.run = run, .due_ns = OS_FOREVER};
    c.to.pipe = c.from.pipe = INVALID_HANDLE_VALUE;
    run->output = (struct framed_buf){0};
    run->status = FRAMED_OK;
    run->code = 0;
    if (run->timeout_ms != FRAMED_NEVER) c.due_ns = framed_os_clock_ns() + (uint64_t)run->timeout_ms * 1000000;
    if (WaitForSingleObject(stop_runs, 0) == WAIT_OBJECT_0) {
        give_up(&c, HOST_STOPPED, FRAMED_OK);
        return;
    }
    enum framed_status st = start(&c);
    if (st != FRAMED_OK) give_up(&c, HOST_NOT_STARTED, st);
    if (!c.ended) listen_to(&c);
    if (!c.ended) feed(&c);
    while (!c.ended) turn(&c);

    kill_job(&c);
    end_close(&c.to);
    end_close(&c.from);
    shut(&c.to.io.hEvent);
    shut(&c.from.io.hEvent);
    shut(&c.process);
    if (run->end != HOST_EXITED) framed_buf_fini(&run->output, run->alloc);
}
