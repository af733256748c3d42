"""`framed serve --exec`: what a command is given, how its end becomes a reply or a failure, what is left running: nothing."""

import ctypes
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from toolkit import PATIENCE_S, READY, SERVE_OPTIONS, ToolTest, frame, frames, read_frame, read_to_end

AT_ONCE = 16
LONG_S = 100  # a command that is not killed ends after this, and fails its test by what it answers then
HANG = f"sleep {LONG_S}"
SOON = ("--call-timeout", "300ms")
LATE = r"the command was not done after 300 ms \(--call-timeout\)"
MIB = 1 << 20


def wait_until(what, holds):
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > limit:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.01)


def processes():
    """(pid, state, parent, group) of all there are."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent, group = file.read().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((int(name), state, int(parent), int(group)))
    return found


def children(pid):
    return [p for p in processes() if p[2] == pid]


def alive(group):
    """Members of the group that run. (Zombies are the business of whoever inherited them.)"""
    return [p for p in processes() if p[3] == group and p[1] not in "ZX"]


class ExecTest(ToolTest):
    """In the environment of the server, and so of its commands, D is a folder of this test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.environment = dict(os.environ, D=folder.name)

    def exec(self, command, *args, **more):
        server = self.serve("--exec", command, *args, env=self.environment, **more)
        self.addCleanup(self.end, server)
        return server

    @staticmethod
    def end(server):
        """Also after a failed test no command is left, holding the server's stderr."""
        if server.process.poll() is None:
            server.signal(signal.SIGTERM)
            server.signal(signal.SIGINT)
            server.wait()

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def make_gate(self):
        os.mkfifo(self.path("gate"))

    def open_gate(self, n):
        """Lets n commands pass that read a line of the FIFO, now or later: held open both ways, it waits for nobody and keeps
        what is not read yet."""
        gate = open(self.path("gate"), "r+b", buffering=0)
        self.addCleanup(gate.close)
        gate.write(b"\n" * n)

    def ask(self, server, *requests):
        """Sends all requests on one connection, then its end; returns the payloads that came back until the end."""
        sock = self.connect(server.address)
        sock.settimeout(PATIENCE_S)
        sender = threading.Thread(target=self._send, args=(sock, b"".join(map(frame, requests))), daemon=True)
        sender.start()
        data = read_to_end(sock)
        sender.join(PATIENCE_S)
        return frames(data)

    @staticmethod
    def _send(sock, data):
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server closed first

    def answers(self, command, request, *args):
        """The one reply to the one request."""
        server = self.exec(command, *args)
        replies = self.ask(server, request)
        self.assertEqual(len(replies), 1, server.stderr)
        self.assertEqual(children(server.process.pid), [])  # a command is reaped before it is answered
        return replies[0]

    def group(self):
        """Of the command that began with LEAD."""
        wait_until("a command to say its group", lambda: os.path.exists(self.path("group")) and self.read("group").endswith("\n"))
        return int(self.read("group"))

    def assert_nothing_left(self, server, group):
        wait_until(f"the end of {alive(group)}", lambda: not alive(group))  # killed is not gone in the same instant
        if server.process.poll() is None:
            self.assertEqual(children(server.process.pid), [])


LEAD = 'echo $$ > "$D/group"; '  # the shell leads the group


class Answering(ExecTest):
    def test_reply_is_what_the_command_writes(self):
        self.assertEqual(self.answers("cat", b"as it is"), b"as it is")
        self.assertEqual(self.answers("tr a-z A-Z", b"hello"), b"HELLO")
        self.assertEqual(self.answers("wc -c", b"12345"), b"5\n")
        self.assertEqual(self.answers("printf '%s' \"a b\" | tr -d ' '; printf c", b""), b"abc")

    def test_tool_calls_it(self):
        server = self.exec("tr a-z A-Z")
        self.assertEqual(self.run_tool("call", server.address, stdin=b"a\nb\nc\n").stdout, b"A\nB\nC\n")

    def test_bytes_are_not_altered(self):
        every = bytes(range(256)) * 3
        self.assertEqual(self.answers("cat", every), every)

    def test_empty_request_and_empty_reply(self):
        self.assertEqual(self.answers("cat", b""), b"")
        self.assertEqual(self.answers(":", b"not read"), b"")

    def test_large_request_and_large_reply_at_once(self):
        large = os.urandom(MIB)
        self.assertTrue(self.answers("cat", large) == large)
        self.assertTrue(self.answers("tee /dev/null | cat", large * 8) == large * 8)

    def test_command_that_ignores_a_large_request(self):
        self.assertEqual(self.answers("echo done", bytes(MIB)), b"done\n")

    def test_command_that_closes_its_input_early(self):
        self.assertEqual(self.answers("exec <&-; echo done", bytes(MIB)), b"done\n")
        self.assertEqual(self.answers("head -c 5", b"12345" + bytes(MIB)), b"12345")

    def test_input_nobody_reads_is_let_go_of_at_once(self):
        self.make_gate()
        server = self.exec('read x; exec <&-; echo >> "$D/closed"; read x < "$D/gate"; echo done')
        folder = f"/proc/{server.process.pid}/fd"
        sock = self.connect(server.address)
        sock.sendall(frame(b"\n"))  # the first command makes what all of them need
        self.open_gate(1)
        self.assertEqual(read_frame(sock), b"done\n")
        idle = len(os.listdir(folder))
        sock.sendall(frame(b"\n" + bytes(MIB)))
        wait_until("the second to close its input", lambda: self.read("closed") == "\n\n")
        wait_until("its output and its end to be all that is watched", lambda: len(os.listdir(folder)) <= idle + 2)
        self.open_gate(1)
        self.assertEqual(read_frame(sock), b"done\n")

    def test_command_that_closes_its_output_and_reads_on(self):
        self.assertEqual(self.answers('printf early; exec >&-; wc -c > "$D/size"', bytes(MIB)), b"early")
        self.assertEqual(int(self.read("size")), MIB)

    def test_command_that_looks_like_an_option(self):
        server = self.exec("-x", "--on-error", "failed")
        self.assertEqual(self.ask(server, b""), [b"failed"])
        server.wait_line("ended with status 127")

    def test_reply_of_just_the_limit(self):
        self.assertEqual(self.answers("head -c 1024 /dev/zero", b"", "--max-frame", "1KiB"), bytes(1024))

    def test_command_in_the_background_ends_with_the_shell(self):
        server = self.exec(LEAD + f"{HANG} > /dev/null & echo done")
        self.assertEqual(self.ask(server, b""), [b"done\n"])
        self.assert_nothing_left(server, self.group())

    def test_server_that_is_init_reaps_what_it_inherits(self):
        def be_init():
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become its children

        server = self.exec(f"{HANG} > /dev/null & echo done", preexec_fn=be_init)

        def reaped():
            self.assertEqual(self.ask(server, b""), [b"done\n"])
            return len(children(server.process.pid)) <= 1  # the last may still be ending

        for _ in range(5):
            wait_until("the inherited to be reaped", reaped)


class Surroundings(ExecTest):
    """What a command finds around it."""

    def test_environment_is_passed_on(self):
        self.environment["COLOUR"] = "a b"
        self.assertEqual(self.answers('printf %s "$COLOUR"', b""), b"a b")

    def test_stderr_is_the_servers(self):
        server = self.exec("echo talk >&2")
        self.assertEqual(self.ask(server, b""), [b""])
        server.wait_line("^talk$")

    def test_stdin_is_not_the_servers(self):
        server = self.start("serve", "127.0.0.1:0", "--exec", "cat", *SERVE_OPTIONS)
        server.address = server.wait_line(READY.pattern).group(1)
        server.write(b"the server's")
        self.assertEqual(self.ask(server, b"", b"the request"), [b"", b"the request"])

    def test_descriptors_are_three(self):
        self.make_gate()
        with open(os.devnull, "rb") as foreign:
            os.set_inheritable(foreign.fileno(), True)
            server = self.exec('read kind; [ "$kind" ] && read x < "$D/gate"; ls /proc/$$/fd; :', pass_fds=[foreign.fileno()])
        others = [self.connect(server.address) for _ in range(4)]
        for sock in others:
            sock.sendall(frame(b"wait\n"))
        wait_until("the others to run", lambda: len(children(server.process.pid)) == len(others))
        self.assertEqual(self.ask(server, b"\n"), [b"0\n1\n2\n"])
        self.open_gate(len(others))
        for sock in others:
            self.assertEqual(read_frame(sock), b"0\n1\n2\n")

    def test_signals_are_as_they_are_by_default(self):
        def ignore():
            for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGALRM])

        server = self.exec("grep -E '^Sig(Blk|Ign)' /proc/self/status", preexec_fn=ignore)
        said = self.ask(server, b"")[0].decode()  # with SIGCHLD ignored there would be no status, and so no reply
        masks = {name: int(mask, 16) for name, mask in re.findall(r"^(\w+):\s*([0-9a-f]+)$", said, re.M)}
        libc = 3 << 31  # signals 32 and 33 are libc's own: nobody can set them, and whoever starts us may ignore them
        self.assertEqual({name: mask & ~libc for name, mask in masks.items()}, {"SigBlk": 0, "SigIgn": 0}, said)


class Failing(ExecTest):
    """Without --on-error the connection is closed, nothing of the failed reply having been sent."""

    def fails(self, command, why, *args, request=b"request"):
        server = self.exec(command, *args)
        self.assertEqual(self.ask(server, request), [])
        server.wait_line("a call failed: .*" + why)
        return server

    def fails_and_leaves_nothing(self, command, why, *args, request=b""):
        server = self.fails(LEAD + command, why, *args, request=request)
        self.assert_nothing_left(server, self.group())

    def test_status(self):
        self.fails("echo half; exit 3", "the command ended with status 3")

    def test_signal(self):
        self.fails("echo half; kill -9 $$", "the command was killed by signal 9")

    def test_missing_command(self):
        self.fails("/nowhere/to/be/found", "the command ended with status 127")

    def test_no_syntax(self):
        self.fails("echo (", "the command ended with status 2")

    def test_earlier_replies_are_sent_and_nothing_later_runs(self):
        server = self.exec('read x; echo "$x" >> "$D/log"; [ "$x" = good ] && echo yes')
        self.assertEqual(self.ask(server, b"good\n", b"good\n", b"bad\n", b"good\n"), [b"yes\n"] * 2)
        self.assertEqual(self.read("log"), "good\ngood\nbad\n")

    def test_server_goes_on(self):
        server = self.exec('read x && echo "$x"')
        self.assertEqual(self.ask(server, b"no newline"), [])
        self.assertEqual(self.ask(server, b"newline\n"), [b"newline\n"])

    def test_hang(self):
        self.fails_and_leaves_nothing(f"echo half; {HANG}; echo done", LATE, *SOON)

    def test_hang_that_does_not_mind_signals(self):
        self.fails_and_leaves_nothing(f"trap '' TERM INT HUP; {HANG}; {HANG}", LATE, *SOON)

    def test_hang_with_a_large_request_unread(self):
        self.fails_and_leaves_nothing(HANG, LATE, *SOON, request=bytes(MIB))

    def test_hang_of_the_stopped(self):
        self.fails_and_leaves_nothing("kill -STOP $$", LATE, *SOON)

    def test_hang_after_the_output_is_closed(self):
        self.fails_and_leaves_nothing(f"echo done; exec >&-; {HANG}; :", LATE, *SOON)

    def test_hang_in_the_background(self):
        self.fails_and_leaves_nothing(f"{HANG} & echo done", LATE, *SOON)

    def test_slow_trickle(self):
        self.fails_and_leaves_nothing("while echo x; do sleep 0.01; done", LATE, *SOON)

    def test_flood(self):
        self.fails_and_leaves_nothing("yes", r"the command wrote more than 1 KiB \(--max-frame\)", "--max-frame", "1KiB")
        self.fails_and_leaves_nothing("cat /dev/zero", r"the command wrote more than 16 MiB \(--max-frame\)")

    def test_one_byte_more_than_the_limit(self):
        self.fails("head -c 1025 /dev/zero", "the command wrote more than 1 KiB", "--max-frame", "1KiB")

    def test_client_that_is_gone(self):
        self.make_gate()
        server = self.exec(LEAD + 'read x < "$D/gate"; echo done')
        sock = self.connect(server.address)
        sock.sendall(frame(b""))
        group = self.group()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()  # a reset
        self.open_gate(1)
        self.assert_nothing_left_soon(server, group)
        self.drain(server)

    def assert_nothing_left_soon(self, server, group):
        wait_until("the command to be reaped", lambda: not children(server.process.pid))
        self.assert_nothing_left(server, group)


class OnError(ExecTest):
    def test_text_is_the_reply_and_the_connection_goes_on(self):
        server = self.exec('read x; echo half; exit "$x"', "--on-error", "sorry")
        self.assertEqual(self.ask(server, b"1\n", b"0\n", b"2\n"), [b"sorry", b"half\n", b"sorry"])
        server.wait_line(r"127\.0\.0\.1:\d+ answered with --on-error: the command ended with status 1")
        server.wait_line(r"127\.0\.0\.1:\d+ answered with --on-error: the command ended with status 2")

    def test_text_may_be_empty(self):
        self.assertEqual(self.ask(self.exec("exit 1", "--on-error", ""), b"x", b"y"), [b"", b""])

    def test_every_kind_of_failure(self):
        for command, args, why in (
            ("kill -15 $$", (), "killed by signal 15"),
            (HANG, SOON, LATE),
            ("yes", ("--max-frame", "1KiB"), "wrote more than 1 KiB"),
        ):
            with self.subTest(command):
                server = self.exec('echo >> "$D/begun"; ' + command, "--on-error", "sorry", *args)
                self.assertEqual(self.ask(server, b"", b""), [b"sorry"] * 2)
                server.wait_line("answered with --on-error: .*" + why, 2)
                self.assertEqual(self.read("begun"), "\n\n")
                os.unlink(self.path("begun"))

    def test_request_that_waits_too_long_for_its_turn(self):
        server = self.exec(HANG, "--on-error", "sorry", *SOON)
        socks = [self.connect(server.address) for _ in range(AT_ONCE + 5)]
        for sock in socks:
            sock.sendall(frame(b""))
        for sock in socks:
            self.assertEqual(read_frame(sock), b"sorry")

    def test_log_is_bounded(self):
        server = self.exec("exit 1", "--on-error", "sorry")
        began = time.monotonic()
        self.assertEqual(self.ask(server, *[b""] * 200), [b"sorry"] * 200)
        self.drain(server)
        lines = [line for line in server.stderr.splitlines() if "answered with" in line]
        seconds = int(time.monotonic() - began) + 2  # of the clock, begun ones counted
        self.assertLessEqual(len(lines), 10 * seconds)
        left_out = sum(int(n) for n in re.findall(r"(\d+) lines about failed commands were left out", server.stderr))
        self.assertEqual(len(lines) + left_out, 200)


class Concurrency(ExecTest):
    def test_sixteen_run_at_once_and_no_more(self):
        self.make_gate()
        os.mkdir(self.path("run"))
        server = self.exec('touch "$D/run/$$"; ls "$D/run" | wc -l; read x < "$D/gate"; rm "$D/run/$$"')
        socks = [self.connect(server.address) for _ in range(AT_ONCE + 8)]
        for sock in socks:
            sock.sendall(frame(b""))
        wait_until("16 commands", lambda: len(os.listdir(self.path("run"))) >= AT_ONCE)
        self.assertEqual(len(children(server.process.pid)), AT_ONCE)
        self.open_gate(len(socks))
        counts = [int(read_frame(sock)) for sock in socks]
        self.assertLessEqual(max(counts), AT_ONCE)

    def test_connections_do_not_wait_for_each_other(self):
        self.make_gate()
        server = self.exec('read x; case $x in in) cat "$D/gate";; out) echo met > "$D/gate";; esac')
        first, second = self.connect(server.address), self.connect(server.address)
        first.sendall(frame(b"in\n"))
        second.sendall(frame(b"out\n"))
        self.assertEqual(read_frame(second), b"")
        self.assertEqual(read_frame(first), b"met\n")

    def test_requests_of_a_connection_run_in_order_one_by_one(self):
        server = self.exec('read x; echo "begin $x" >> "$D/log"; cat; echo "end $x" >> "$D/log"; echo $x')
        numbers = [b"%d\n" % i for i in range(20)]
        self.assertEqual(self.ask(server, *numbers), numbers)
        self.assertEqual(self.read("log"), "".join(f"begin {i}\nend {i}\n" for i in range(20)))

    def test_many_connections(self):
        server = self.exec("tr a-z A-Z")
        failures = []

        def client(i):
            sent = [b"client %d request %d" % (i, j) for j in range(3)]
            if self.ask(server, *sent) != [text.upper() for text in sent]:
                failures.append(i)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        self.assertEqual(failures, [])
        self.assertEqual(children(server.process.pid), [])


class Descriptors(ExecTest):
    def test_no_descriptors_fails_the_call_and_not_the_server(self):
        server = self.exec("cat", "--on-error", "sorry")
        pid = server.process.pid
        sock = self.connect(server.address)

        def ask(text):
            sock.sendall(frame(text))
            return read_frame(sock)

        def used():
            return sorted(map(int, os.listdir(f"/proc/{pid}/fd")))

        def limit(n):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (n, before[1]))

        self.assertEqual(ask(b"before"), b"before")
        idle, before = used(), resource.prlimit(pid, resource.RLIMIT_NOFILE)
        self.assertEqual(idle, list(range(len(idle))))  # so that the limit says how many more there are
        for more in range(4):  # two pipes
            limit(len(idle) + more)
            self.assertEqual(ask(b"x"), b"sorry")
            self.assertEqual(used(), idle)
        server.wait_line("the command could not be started: no more descriptors", 4)
        limit(len(idle) + 4)  # enough, but nothing to wait for a command's end with
        self.assertEqual(ask(b"just enough"), b"just enough")
        limit(before[0])
        self.assertEqual(ask(b"after"), b"after")
        self.assertEqual(used(), idle)

    def test_server_keeps_descriptors_for_the_commands(self):
        few = 132  # 32 of its own, 84 for commands, 16 connections
        server = self.exec("cat", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (few, few)))
        server.wait_line(f"the limit of {few} open files allows 16 connections at once")
        socks = [self.connect(server.address) for _ in range(20)]
        for sock in socks[:AT_ONCE]:
            sock.sendall(frame(b"x"))
        for sock in socks[:AT_ONCE]:
            self.assertEqual(read_frame(sock), b"x")


class Ending(ExecTest):
    """Signals to the server while a command runs."""

    def running(self, rest, *args):
        """A server whose first command runs, and the connection that waits for it."""
        server = self.exec(LEAD + rest, *args)
        sock = self.connect(server.address)
        sock.sendall(frame(b""))
        self.group()
        return server, sock

    def test_drain_lets_what_runs_and_waits_finish(self):
        self.make_gate()
        server, sock = self.running('read x < "$D/gate"; echo done')
        others = [self.connect(server.address) for _ in range(AT_ONCE + 4)]
        for other in others:
            other.sendall(frame(b""))
        probe = self.connect(server.address)
        probe.sendall(b"HTTP")
        self.assertEqual(read_to_end(probe), b"")  # closed for that, so what was sent before it has been read
        wait_until("16 commands", lambda: len(children(server.process.pid)) == AT_ONCE)
        server.signal(signal.SIGTERM)
        wait_until("the drain", lambda: self.refused(server.address))
        self.open_gate(1 + len(others))
        for waiting in (sock, *others):
            self.assertEqual(read_frame(waiting), b"done\n")
            self.assertIsNone(read_frame(waiting))
            waiting.close()
        self.assertEqual(server.wait(), 0, server.stderr)

    def refused(self, address):
        try:
            self.connect(address).close()
        except OSError:
            return True
        return False

    def test_drain_deadline_kills(self):
        for hang in (HANG, f"{HANG} & {HANG}; :"):
            with self.subTest(hang):
                server, sock = self.running(hang, "--drain", "300ms")
                self.drain(server)
                self.assertIn("still open after 300 ms (--drain)", server.stderr)
                self.assertEqual(read_to_end(sock), b"")
                self.assert_nothing_left(server, self.group())
                os.unlink(self.path("group"))

    def test_drain_deadline_does_not_wait_for_what_left_the_group(self):
        server, _ = self.running(f"exec 2> /dev/null; setsid sh -c 'echo $$ > \"$D/escaped\"; exec {HANG}' & sleep 0; :",
                                 "--call-timeout", "never", "--drain", "300ms")
        wait_until("the escape", lambda: os.path.exists(self.path("escaped")) and self.read("escaped"))
        self.addCleanup(os.kill, int(self.read("escaped")), signal.SIGKILL)
        self.drain(server)

    def test_second_signal_ends_at_once_and_kills(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server, _ = self.running(f"{HANG}; {HANG}")
            server.signal(number)
            wait_until("the drain", lambda: self.refused(server.address))
            server.signal(number)
            self.assertEqual(server.wait(), 128 + number)
            self.assert_nothing_left(server, self.group())
            os.unlink(self.path("group"))

    def test_every_signal_that_ends_us_kills(self):
        for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2):
            server, _ = self.running(f"{HANG}; {HANG}")
            server.signal(number)
            self.assertEqual(server.wait(), -number)
            self.assert_nothing_left(server, self.group())
            os.unlink(self.path("group"))

    def test_interrupt_of_the_terminal_is_not_for_the_command(self):
        self.make_gate()
        server = self.start("serve", "127.0.0.1:0", "--exec", LEAD + 'read x < "$D/gate"; echo done', *SERVE_OPTIONS,
                            stdin=subprocess.DEVNULL, env=self.environment, start_new_session=True)
        sock = self.connect(server.wait_line(READY.pattern).group(1))
        sock.sendall(frame(b""))
        self.assertNotEqual(self.group(), server.process.pid)
        os.killpg(server.process.pid, signal.SIGINT)  # as Ctrl-C does
        self.open_gate(1)
        self.assertEqual(read_frame(sock), b"done\n")
        sock.close()
        self.assertEqual(server.wait(), 0)


class Usage(ToolTest):
    def test_empty_command(self):
        self.assert_code(self.run_tool("serve", "--exec", ""), 2, "--exec", "empty")

    def test_on_error_without_exec(self):
        self.assert_code(self.run_tool("serve", "--echo", "--on-error", "x"), 2, "--on-error", "--exec")

    def test_on_error_longer_than_a_frame(self):
        done = self.run_tool("serve", "--exec", "cat", "--on-error", "12345", "--max-frame", "4")
        self.assert_code(done, 2, "--on-error", "5 bytes", "at most 4")

    def test_what_does_not_go_together(self):
        for args in (("--echo",), ("--discard",), ("--reply", "x"), ("--delay", "1s"), ("--max-calls", "2")):
            with self.subTest(args):
                self.assert_code(self.run_tool("serve", "--exec", "cat", *args), 2, args[0], "--exec")


if __name__ == "__main__":
    unittest.main()
