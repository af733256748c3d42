"""`framed call` through pipes: every way in, every way out, every way to end."""

import base64
import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from toolkit import (FRAMED, PATIENCE_S, ToolTest, closed_port, frame, frames, read_frame, read_to_end)

BINARY = bytes(range(256)) * 3 + b"\r\n\x00\xff\n\n"
PIECES = [b"", b"x", b"\r", b"a\rb\x00c\xff\xfe", bytes(b for b in range(256) if b != 10), b"  spaces\t", b"y" * 70000]


def until_end(sock):
    """A peer that takes everything and answers nothing."""
    read_to_end(sock)


def replies(*each):
    """A peer that answers the n-th request with each[n] (raw bytes of its own making), and then ends the connection."""

    def talk(sock):
        for answer in each:
            if read_frame(sock) is None:
                return
            sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        read_to_end(sock)

    return talk


def read_exactly_from(pipe, n):
    data = b""
    while len(data) < n:
        piece = os.read(pipe.fileno(), n - len(data))
        if not piece:
            raise EOFError(f"the stream ended after {len(data)} of {n} bytes")
        data += piece
    return data


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Echo(ToolTest):
    """What goes in comes back."""

    def setUp(self):
        self.server = self.serve("--max-frame", "64MiB")

    def call(self, *args, stdin=b"", code=0, **more):
        done = self.run_tool("call", self.server.address, *args, stdin=stdin, **more)
        self.assert_code(done, code)
        return done.stdout


class Input(Echo):
    def test_messages_and_files_come_back_exactly_and_in_order(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(BINARY)
            file.flush()
            got = self.call("-m", "one", "-f", file.name, "-mtwo", "--message=", "--file", file.name)
        self.assertEqual(got, b"one" + BINARY + b"two" + BINARY)

    def test_lines_lose_their_newline_and_nothing_else(self):
        self.assertEqual(frames(self.call("--lines", "-o", "framed", stdin=b"\n".join(PIECES) + b"\n")), PIECES)

    def test_last_line_without_newline_counts(self):
        self.assertEqual(frames(self.call("-o", "framed", stdin=b"a\nb")), [b"a", b"b"])
        self.assertEqual(self.call(stdin=b"a\nb"), b"a\nb\n")

    def test_no_line_no_message(self):
        self.assertEqual(self.call(stdin=b""), b"")
        self.assertEqual(frames(self.call("-o", "framed", stdin=b"\n")), [b""])

    def test_zero_bytes_part_messages(self):
        pieces = [b"", b"a\nb\n", BINARY.replace(b"\0", b""), b"\r\n"]
        self.assertEqual(frames(self.call("--null", "-o", "framed", stdin=b"\0".join(pieces) + b"\0")), pieces)
        self.assertEqual(self.call("--null", stdin=b"a\nb\0c"), b"a\nb\0c\0")

    def test_frames_go_through_as_they_are(self):
        stream = b"".join(frame(piece) for piece in PIECES + [BINARY])
        self.assertEqual(self.call("--framed", stdin=stream), stream)

    def test_whole_input_is_one_message(self):
        self.assertEqual(self.call("--whole", stdin=BINARY), BINARY)
        self.assertEqual(frames(self.call("--whole", "-o", "framed", stdin=b"")), [b""])

    def test_five_megabytes_whole(self):
        data = os.urandom(5_000_000)
        self.assertEqual(self.call("--whole", stdin=data), data)

    def test_file_from_a_pipe(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipe")
            os.mkfifo(path)

            def write():
                with open(path, "wb") as pipe:
                    pipe.write(BINARY * 1000)

            writer = threading.Thread(target=write, daemon=True)
            writer.start()
            self.assertEqual(self.call("-f", path), BINARY * 1000)
            writer.join(PATIENCE_S)

    def test_a_signal_ends_the_wait_for_who_writes_into_a_pipe(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "pipe")
            os.mkfifo(path)
            call = self.start("call", self.server.address, "-f", path)
            wchan = f"/proc/{call.process.pid}/wchan"
            limit = time.monotonic() + PATIENCE_S
            while "partner" not in (where := pathlib.Path(wchan).read_text("ascii")):  # the kernel's wait_for_partner
                self.assertLess(time.monotonic(), limit, where)
            call.signal(signal.SIGTERM)
            self.assertEqual(call.wait(), 128 + signal.SIGTERM, call.stderr)
            self.assertEqual(call.stderr, "")

    def test_input_and_output_may_be_files(self):
        lines = b"".join(b"%d\n" % i for i in range(50000))
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
            source.write(lines)
            source.seek(0)
            done = subprocess.run([FRAMED, "call", self.server.address], stdin=source, stdout=target, timeout=PATIENCE_S,
                                  check=False)
            self.assertEqual(done.returncode, 0)
            target.seek(0)
            self.assertEqual(target.read(), lines)

    def test_any_depth_of_pipeline_gives_the_same_replies(self):
        lines = b"".join(b"line %d\n" % i for i in range(1000))
        for depth in ("1", "2", "64", "65", "1000", "10k"):
            self.assertEqual(self.call("--pipeline", depth, stdin=lines), lines)

    def test_large_messages_in_a_deep_pipeline_do_not_deadlock(self):
        data = b"".join(frame(os.urandom(300_000)) for _ in range(60))
        self.assertEqual(self.call("--framed", "--pipeline", "60", stdin=data), data)

    def test_reply_comes_while_input_is_quiet(self):
        tool = self.start("call", self.server.address)
        for i in range(5):
            tool.write(b"question %d\n" % i)
            self.assertEqual(tool.read_line(), b"question %d\n" % i)
        tool.write(b"no new")
        tool.write(b"line\n")
        self.assertEqual(tool.read_line(), b"no newline\n")
        self.assertEqual(tool.finish(b"last"), (0, b"last\n"))

    def test_connected_descriptor(self):
        sock = self.connect(self.server.address)
        fd = sock.fileno()
        done = self.run_tool("call", f"fd:{fd}", "-m", "x", pass_fds=[fd])
        self.assertEqual((done.returncode, done.stdout), (0, b"x"), done.stderr)

    def test_options_may_stand_on_both_sides_of_the_address(self):
        done = self.run_tool("call", "-m", "a", self.server.address, "-o", "hex", "-m", "b")
        self.assertEqual((done.returncode, done.stdout), (0, b"61\n62\n"), done.stderr)
        done = self.run_tool("call", "-o", "hex", "-m", "-x", "--", self.server.address)
        self.assertEqual((done.returncode, done.stdout), (0, b"2d78\n"), done.stderr)


class Output(Echo):
    """Every input in every format: the two are independent."""

    def decoders(self):
        def text(data):
            def one(m):
                named = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}
                return named[m[1]] if m[1] in named else bytes([int(m[1][1:], 16)])

            return [re.sub(rb"\\(x[0-9a-f]{2}|[nrt\\])", one, line) for line in data.split(b"\n")[:-1]]

        def as_json(data):
            found = []
            for i, line in enumerate(data.decode().split("\n")[:-1]):
                o = json.loads(line)
                self.assertEqual((o["schema"], o["seq"], o["outcome"]), ("framed.call/1", i + 1, "reply"))
                self.assertGreater(o["rtt_ns"], 0)
                payload = o["text"].encode() if "text" in o else base64.b64decode(o["base64"], validate=True)
                self.assertEqual("text" in o, is_utf8(payload))
                self.assertEqual(o["len"], len(payload))
                self.assertEqual(list(o), ["schema", "seq", "outcome", "len", "text" if "text" in o else "base64", "rtt_ns"])
                found.append(payload)
            return found

        def is_utf8(data):
            with contextlib.suppress(UnicodeDecodeError):
                data.decode()
                return True
            return False

        return {"text": text, "json": as_json, "framed": frames,
                "hex": lambda data: [bytes.fromhex(line.decode()) for line in data.split(b"\n")[:-1]]}

    def test_every_input_mode_in_every_format(self):
        pieces = PIECES + ["h\u00e9\u20ac\U0001f600\u0085\"\\".encode(), b"\x1b[2J"]
        pieces = [p.replace(b"\0", b"") for p in pieces]
        inputs = (
            (("--lines",), b"\n".join(pieces) + b"\n", pieces),
            (("--null",), b"\0".join(pieces + [b"a\nb"]) + b"\0", pieces + [b"a\nb"]),
            (("--framed",), b"".join(frame(p) for p in pieces + [BINARY]), pieces + [BINARY]),
            (("--whole",), BINARY, [BINARY]),
        )
        for mode, stdin, expected in inputs:
            for form, decode in self.decoders().items():
                with self.subTest(mode=mode, form=form):
                    self.assertEqual(decode(self.call(*mode, "-o", form, stdin=stdin)), expected)
            self.assertEqual(self.call(*mode, "-o", "raw", stdin=stdin), b"".join(expected))

    def test_text_holds_no_control_bytes(self):
        got = self.call("--whole", "-o", "text", stdin=bytes(range(256)) + "\u009b\u0085".encode())
        self.assertEqual(got[-1:], b"\n")
        self.assertFalse(re.search(rb"[\x00-\x1f\x7f]", got[:-1]))
        self.assertFalse(re.search("[\u0080-\u009f]", got.decode()))

    def test_terminal_gets_text_each_on_a_line(self):
        master, slave = pty.openpty()
        with open(master, "rb", 0) as screen:
            with open(slave, "wb", 0) as terminal:
                tool = self.start("call", self.server.address, "-m", "a\x1b[2J\n", "-m", "b", stdout=terminal)
                self.assertEqual(tool.wait(), 0)
            got = b""
            with contextlib.suppress(OSError):  # how a terminal without writers ends
                while piece := screen.read(1000):
                    got += piece
        self.assertEqual(got, b"a\\x1b[2J\\n\r\nb\r\n")

    def test_reader_that_has_enough_ends_it_quietly(self):
        with subprocess.Popen([FRAMED, "call", self.server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as tool:
            writer = threading.Thread(target=self.feed_for_ever, args=(tool.stdin,), daemon=True)
            writer.start()
            self.assertEqual(tool.stdout.readline(), b"y\n")
            time.sleep(0.3)  # most likely it is in the middle of writing then
            tool.stdout.close()
            self.assertEqual(tool.stderr.read(), b"")
            self.assertEqual(tool.wait(PATIENCE_S), 0)
            writer.join(PATIENCE_S)
            with contextlib.suppress(BrokenPipeError):
                tool.stdin.close()

    @staticmethod
    def feed_for_ever(pipe):
        with contextlib.suppress(OSError, ValueError):
            while True:
                pipe.write(b"y\n" * 10000)

    def test_reader_that_has_gone_ends_it_while_nothing_happens(self):
        tool = self.start("call", self.server.address)
        tool.write(b"x\n")
        self.assertEqual(tool.read_line(), b"x\n")
        tool.process.stdout.close()
        self.assertEqual(tool.wait(), 0)  # its stdin is open and quiet
        self.assertEqual(tool.stderr, "")
        tool.process.stdout = None

    def test_full_disk_is_a_failure(self):
        for args, stdin in ((("-m", "x"), b""), ((), b"a\nb\n"), (("-o", "json"), b"a\n")):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([FRAMED, "call", self.server.address, *args], input=stdin, stdout=full,
                                      stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
            done.stderr = done.stderr.decode()
            self.assert_code(done, 6, "cannot write to standard output", "No space left on device")

    def test_closed_streams_are_errors_and_never_the_socket(self):
        for closed, said in ((">&-", "cannot write to standard output"), ("<&-", "cannot read standard input")):
            done = subprocess.run(["sh", "-c", f'exec "$0" call "$1" {closed}', FRAMED, self.server.address], input=b"x\n",
                                  capture_output=True, timeout=PATIENCE_S, check=False)
            done.stderr = done.stderr.decode()
            self.assert_code(done, 6, said)

    def test_time_in_which_nobody_reads_is_no_timeout(self):
        has_read = threading.Event()
        big = b"x" * (1 << 20)  # more than a pipe holds: printing it blocks

        def talk(sock):
            read_frame(sock)
            read_frame(sock)
            sock.sendall(frame(big))
            has_read.wait(PATIENCE_S)
            sock.sendall(frame(b"late"))
            read_to_end(sock)

        tool = self.start("call", self.peer(talk).address, "-t", "2s", "-m", "1", "-m", "2", "-o", "framed")
        time.sleep(2.5)
        got = read_exactly_from(tool.process.stdout, 4 + len(big))
        time.sleep(0.1)  # it sees that time has passed before the reply comes
        has_read.set()
        self.assertTrue(got + tool.process.stdout.read() == frame(big) + frame(b"late"))
        self.assertEqual(tool.wait(), 0, tool.stderr)


class EndOfInput(ToolTest):
    def test_replies_that_are_outstanding_are_waited_for(self):
        server = self.serve("--delay", "150ms")
        lines = b"".join(b"%d\n" % i for i in range(40))
        done = self.run_tool("call", server.address, stdin=lines)
        self.assert_code(done, 0)
        self.assertEqual(done.stdout, lines)

    def test_peer_sees_the_end_only_after_its_last_reply(self):
        seen = []

        def talk(sock):
            read_frame(sock)
            sock.settimeout(0.2)
            try:
                seen.append(sock.recv(1))
            except TimeoutError:
                seen.append("still open")
            sock.settimeout(PATIENCE_S)
            sock.sendall(frame(b"answer"))
            seen.append(read_to_end(sock))

        peer = self.peer(talk)
        done = self.run_tool("call", peer.address, "-m", "x")
        self.assertEqual((done.returncode, done.stdout), (0, b"answer"))
        peer.close()
        self.assertEqual(seen, ["still open", b""])

    def test_input_is_read_no_faster_than_it_can_be_sent(self):
        peer = self.peer(until_end)
        tool = self.start("call", peer.address, "--pipeline", "4", "-t", "never")
        fd = tool.process.stdin.fileno()
        os.set_blocking(fd, False)
        taken, quiet = 0, 0
        while quiet < 20 and taken < 100 << 20:
            try:
                taken += os.write(fd, b"x" * 999 + b"\n")
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.01)
        self.assertLess(taken, 1 << 20)
        used = processor_seconds(tool.process.pid)
        time.sleep(0.5)
        self.assertLess(processor_seconds(tool.process.pid) - used, 0.1)  # it sleeps, input or not
        tool.signal(signal.SIGINT)
        self.assertEqual(tool.wait(), 130)


class PeerThatFails(ToolTest):
    def test_peer_that_closes_leaves_requests_unanswered(self):
        peer = self.peer(replies(frame(b"one")))
        done = self.run_tool("call", peer.address, stdin=b"1\n2\n3\n")
        self.assertEqual(done.stdout, b"one\n")
        self.assert_code(done, 1, peer.address, "closed the connection", "2 of 3 messages unanswered", "may have been executed")

    def test_peer_that_closes_behind_its_last_reply_has_answered_all(self):
        """Reply and end come together, before it has looked whether its input goes on."""
        started = threading.Event()

        def talk(sock):
            request = read_frame(sock)
            started.wait(PATIENCE_S)
            tool.process.send_signal(signal.SIGSTOP)
            sock.sendall(frame(request))
            sock.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            tool.process.send_signal(signal.SIGCONT)
            read_to_end(sock)

        for lines, code in ((b"one\n", 0), (b"one\ntwo\n", 1), (b"one\ntw", 1)):
            started.clear()
            peer = self.peer(talk)
            with tempfile.TemporaryFile() as file:
                file.write(lines)
                file.seek(0)
                tool = self.start("call", peer.address, "--pipeline", "1", stdin=file)
                started.set()
                self.assertEqual(tool.read_line(), b"one\n")
                self.assertEqual(tool.wait(), code, tool.stderr)
            self.assertEqual("1 of 2 messages unanswered (not executed)" in tool.stderr, code == 1, tool.stderr)

    def test_peer_that_resets_behind_its_last_reply_has_answered_all(self):
        def talk(sock):
            sock.sendall(frame(read_frame(sock)))
            answered.wait(PATIENCE_S)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        answered = threading.Event()
        peer = self.peer(talk)
        tool = self.start("call", peer.address, "--pipeline", "1")
        tool.write(b"one\n")
        self.assertEqual(tool.read_line(), b"one\n")
        tool.process.send_signal(signal.SIGSTOP)
        tool.process.stdin.close()
        answered.set()
        time.sleep(0.05)
        tool.process.send_signal(signal.SIGCONT)
        self.assertEqual(tool.wait(), 0, tool.stderr)

    def test_peer_that_closes_ends_it_although_input_goes_on(self):
        peer = self.peer(replies(frame(b"one")))
        tool = self.start("call", peer.address)
        tool.write(b"1\n")
        self.assertEqual(tool.read_line(), b"one\n")
        self.assertEqual(tool.wait(), 1)
        self.assertIn("closed the connection", tool.stderr)

    def test_peer_that_closes_at_once(self):
        peer = self.peer(lambda sock: None)
        tool = self.start("call", peer.address)
        self.assertEqual(tool.wait(), 1)
        self.assertIn("closed the connection", tool.stderr)

    def test_peer_that_resets(self):
        def talk(sock):
            read_frame(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        done = self.run_tool("call", self.peer(talk).address, "-m", "x")
        self.assert_code(done, 1, "1 of 1 messages unanswered")

    def test_reply_above_the_limit(self):
        peer = self.peer(replies(frame(b"x" * 1001)))
        done = self.run_tool("call", peer.address, "-m", "x", "--max-frame", "1000")
        self.assert_code(done, 5, "1001", "1000", "1 of 1 messages unanswered")
        self.assertEqual(done.stdout, b"")

    def test_reply_that_is_no_frame(self):
        peer = self.peer(replies(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        self.assert_code(self.run_tool("call", peer.address, "-m", "x"), 5, "HTTP")

    def test_reply_that_is_cut(self):
        for cut in (b"\0", b"\0\0\0\5", frame(b"hello")[:-1]):
            peer = self.peer(replies(frame(b"whole"), cut))
            done = self.run_tool("call", peer.address, stdin=b"1\n2\n")
            self.assertEqual(done.stdout, b"whole\n")
            self.assert_code(done, 5, "1 of 2 messages unanswered")

    def test_reply_that_nobody_asked_for(self):
        def talk(sock):
            sock.sendall(frame(b"hello!"))
            read_to_end(sock)

        tool = self.start("call", self.peer(talk).address)
        self.assertEqual(tool.wait(), 5)
        self.assertIn("nobody asked for", tool.stderr)

    def test_no_reply_in_time_names_the_message(self):
        peer = self.peer(until_end)
        self.assert_code(self.run_tool("call", peer.address, "-m", "x", "-t", "50ms"), 4, "message 1", "50 ms")

        def talk(sock):
            sock.sendall(frame(read_frame(sock)))
            read_to_end(sock)

        done = self.run_tool("call", self.peer(talk).address, "-t", "200ms", stdin=b"1\n2\n3\n")
        self.assertEqual(done.stdout, b"1\n")
        self.assert_code(done, 4, "message 2", "2 of 3 messages unanswered")

    def test_no_timeout_while_nothing_is_asked(self):
        server = self.serve()
        tool = self.start("call", server.address, "-t", "50ms")
        time.sleep(0.3)
        tool.write(b"x\n")
        self.assertEqual(tool.read_line(), b"x\n")
        self.assertEqual(tool.finish(), (0, b""))

    def test_nobody_listens(self):
        keep, address = closed_port()
        with keep:
            self.assert_code(self.run_tool("call", address, "-m", "x"), 3, "cannot connect to", address, "refused")
            tool = self.start("call", address)  # without any input
            self.assertEqual(tool.wait(), 3)

    def test_unknown_host(self):
        self.assert_code(self.run_tool("call", "nowhere.invalid:1", "-m", "x"), 3, "nowhere.invalid:1", "no such host")

    def test_unix_socket_that_is_not_there(self):
        self.assert_code(self.run_tool("call", "unix:/nowhere/socket", "-m", "x"), 3, "unix:/nowhere/socket")

    def test_connecting_is_bounded_too(self):
        # A listener whose queue is full answers nothing to a connection attempt.
        with socket.socket() as listener, contextlib.ExitStack() as others:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):
                filler = others.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            done = self.run_tool("call", "127.0.0.1:%d" % listener.getsockname()[1], "-m", "x", "-t", "200ms")
        self.assert_code(done, 4, "not connected within 200 ms")

    def test_json_tells_failures_too(self):
        def outcomes(done):
            return [(o["seq"], o["outcome"], o.get("text")) for o in map(json.loads, done.stdout.splitlines())]

        peer = self.peer(replies(frame(b"one")))
        done = self.run_tool("call", peer.address, "-o", "json", stdin=b"1\n2\n")
        self.assertEqual(outcomes(done), [(1, "reply", "one"), (2, "maybe_executed", None)])
        self.assertIn("error", json.loads(done.stdout.splitlines()[1]))

        keep, address = closed_port()
        with keep:
            done = self.run_tool("call", address, "-o", "json", "-m", "a", "-m", "b")
        self.assertEqual(outcomes(done), [(1, "not_executed", None), (2, "not_executed", None)])
        self.assertIn("2 of 2 messages unanswered (not executed)", done.stderr)

        done = self.run_tool("call", self.peer(until_end).address, "-o", "json", "-t", "100ms", "--pipeline", "2", "-m", "a",
                             "-m", "b", "-m", "c")
        self.assertEqual(outcomes(done), [(1, "maybe_executed", None), (2, "maybe_executed", None), (3, "not_executed", None)])
        self.assertIn("3 of 3 messages unanswered (1 not executed, 2 may have been)", done.stderr)

    def test_every_message_is_accounted_for_when_the_peer_takes_nothing(self):
        stop = threading.Event()
        peer = self.peer(lambda sock: stop.wait(PATIENCE_S))
        self.addCleanup(stop.set)
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(3 << 20)
            args = [word for _ in range(9) for word in ("-f", file.name)]
            done = self.run_tool("call", peer.address, "-o", "json", "-t", "300ms", *args)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([o["seq"] for o in found], list(range(1, 10)))
        self.assertEqual(found[0]["outcome"], "maybe_executed")
        self.assertEqual(found[-1]["outcome"], "not_executed")
        self.assert_code(done, 4, "message 1", "9 of 9 messages unanswered")


class LocalFailures(ToolTest):
    def test_file_that_cannot_be_read(self):
        with tempfile.TemporaryDirectory() as folder:
            asked = []
            peer = self.peer(lambda sock: asked.append(read_frame(sock)))
            missing = os.path.join(folder, "missing")
            self.assert_code(self.run_tool("call", peer.address, "-m", "x", "-f", missing), 6, missing, "No such file")
            self.assert_code(self.run_tool("call", peer.address, "-f", folder), 6, folder, "Is a directory")
            self.assertEqual(asked, [])  # nothing was sent before

    def test_standard_input_that_cannot_be_read(self):
        server = self.serve()
        fd = os.open("/", os.O_RDONLY)
        try:
            done = subprocess.run([FRAMED, "call", server.address], stdin=fd, capture_output=True, timeout=PATIENCE_S, check=False)
        finally:
            os.close(fd)
        done.stderr = done.stderr.decode()
        self.assert_code(done, 6, "cannot read standard input", "Is a directory")

    def test_message_above_the_limit_is_refused_with_both_sizes(self):
        server = self.serve()
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 1001)
            file.flush()
            self.assert_code(self.run_tool("call", server.address, "-f", file.name, "--max-frame", "1000"), 6, file.name,
                             "1001 bytes", "1000")
        self.assert_code(self.run_tool("call", server.address, "-m", "x" * 11, "--max-frame", "10"), 2, "message 1", "11 bytes",
                         "10 are allowed")
        self.assert_code(self.run_tool("call", server.address, "--whole", "--max-frame", "10", stdin=b"x" * 11), 6, "message 1",
                         "11 bytes", "10 are allowed")
        self.assert_code(self.run_tool("call", server.address, "--framed", "--max-frame", "10", stdin=frame(b"x" * 11)), 6,
                         "message 1", "11 bytes", "10 are allowed")

    def test_line_above_the_limit_is_named_and_those_before_it_are_answered(self):
        server = self.serve("--delay", "50ms")
        done = self.run_tool("call", server.address, "--max-frame", "10", stdin=b"one\ntwo\n" + b"x" * 11 + b"\nfour\n")
        self.assertEqual(done.stdout, b"one\ntwo\n")
        self.assert_code(done, 6, "line 3", "11 bytes", "10 are allowed")

    def test_endless_line_is_refused_although_it_does_not_end(self):
        server = self.serve()
        tool = self.start("call", server.address, "--max-frame", "100kB")
        with contextlib.suppress(BrokenPipeError):
            tool.write(b"x" * 500_000)
        self.assertEqual(tool.wait(), 6)
        self.assertRegex(tool.stderr, r"line 1 has \d+ bytes or more; at most 100000 are allowed")

    def test_line_of_exactly_the_limit_passes(self):
        server = self.serve()
        done = self.run_tool("call", server.address, "--max-frame", "10", stdin=b"x" * 10 + b"\n" + b"y" * 10)
        self.assertEqual((done.returncode, done.stdout), (0, b"x" * 10 + b"\n" + b"y" * 10 + b"\n"))

    def test_frames_on_input_that_are_cut(self):
        server = self.serve()
        done = self.run_tool("call", server.address, "--framed", stdin=frame(b"whole") + frame(b"cut off")[:-1])
        self.assertEqual(done.stdout, frame(b"whole"))
        self.assert_code(done, 6, "standard input ends inside message 2")

    def test_usage_errors(self):
        cases = (
            (("-o", "xml"), "-o", "xml", "auto, text, hex, raw, framed, json"),
            (("-t", "soon"), "-t", "soon", "250ms"),
            (("-t", "0"), "-t", "0", "1ms to 1000h, or never"),
            (("--pipeline", "0"), "--pipeline", "1 to 1000000"),
            (("--no-reply", "--follow"), "--no-reply", "--follow", "exclude"),
            (("--lines", "--null"), "--lines", "--null", "exclude"),
            (("-m", "x", "--lines"), "--lines", "-m"),
            (("-f", "x", "--whole"), "--whole", "-f"),
            (("-m",), "-m", "TEXT", "missing"),
            (("--echo",), "--echo", "no such option", "framed call --help"),
            (("127.0.0.1:1", "127.0.0.1:2"), "127.0.0.1:2", "too many"),
            (("nonsense", "-m", "x"), "nonsense", "HOST:PORT"),
            (("fd:77", "-m", "x"), "fd:77", "not a connected socket"),
        )
        for args, *said in cases:
            with self.subTest(args):
                self.assert_code(self.run_tool("call", *args), 2, *said)


class Signals(ToolTest):
    def test_signal_ends_it_with_its_code_and_counts(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            asked = threading.Event()

            def talk(sock, asked=asked):
                read_frame(sock)
                asked.set()
                read_to_end(sock)

            tool = self.start("call", self.peer(talk).address, "-m", "x")
            self.assertTrue(asked.wait(PATIENCE_S))
            tool.signal(number)
            self.assertEqual(tool.wait(), code)
            self.assertIn("interrupted; 1 of 1 messages unanswered (may have been executed)", tool.stderr)

    def test_signal_while_input_is_quiet(self):
        server = self.serve()
        tool = self.start("call", server.address)
        tool.write(b"x\n")
        self.assertEqual(tool.read_line(), b"x\n")
        tool.signal(signal.SIGINT)
        self.assertEqual(tool.wait(), 130)
        self.assertEqual(tool.stderr, "")


class NoReply(ToolTest):
    def test_everything_is_sent_and_the_end_of_the_peer_awaited(self):
        got = []

        def talk(sock):
            got.append(frames(read_to_end(sock)))
            sock.sendall(frame(b"this is discarded") * 3)

        peer = self.peer(talk)
        done = self.run_tool("call", peer.address, "--no-reply", stdin=b"a\n\nb\n")
        self.assert_code(done, 0)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(got, [[b"a", b"", b"b"]])

    def test_much_is_sent_while_the_peer_talks_too(self):
        received = []

        def talk(sock):
            writer = threading.Thread(target=lambda: sock.sendall(frame(b"noise" * 1000) * 400), daemon=True)
            writer.start()
            time.sleep(0.1)
            received.append(len(read_to_end(sock)))
            writer.join(PATIENCE_S)

        line = b"z" * 9999 + b"\n"
        done = self.run_tool("call", self.peer(talk).address, "--no-reply", stdin=line * 1000)
        self.assert_code(done, 0)
        self.assertEqual(received, [1000 * (len(line) + 3)])

    def test_against_our_own_server(self):
        server = self.serve("--discard")
        self.assert_code(self.run_tool("call", server.address, "--no-reply", stdin=b"a\n" * 100000), 0)

    def test_no_message_at_all(self):
        self.assert_code(self.run_tool("call", self.peer(until_end).address, "--no-reply"), 0)

    def test_peer_that_never_closes_is_a_timeout(self):
        def talk(sock):
            read_to_end(sock)
            stop.wait(PATIENCE_S)

        stop = threading.Event()
        peer = self.peer(talk)
        self.addCleanup(stop.set)
        self.assert_code(self.run_tool("call", peer.address, "--no-reply", "-m", "x", "-t", "100ms"), 4, "did not close", "100 ms")

    def test_peer_that_takes_nothing_is_a_timeout(self):
        stop = threading.Event()
        peer = self.peer(lambda sock: stop.wait(PATIENCE_S))
        self.addCleanup(stop.set)
        data = b"x" * (8 << 20)
        done = self.run_tool("call", peer.address, "--no-reply", "--whole", "-t", "200ms", stdin=data)
        self.assertEqual(done.returncode, 4, done.stderr)

    def test_peer_that_closes_before_all_is_sent(self):
        def talk(sock):
            read_frame(sock)

        tool = self.start("call", self.peer(talk).address, "--no-reply")
        tool.write(b"x\n")
        self.assertEqual(tool.wait(), 1)
        self.assertIn("framed: ", tool.stderr)


class Follow(ToolTest):
    def test_frames_are_printed_until_the_peer_ends(self):
        peer = self.peer(lambda sock: sock.sendall(frame(b"one") + frame(b"") + frame(b"three")))
        tool = self.start("call", peer.address, "--follow")
        self.assertEqual(tool.process.stdout.read(), b"one\n\nthree\n")
        self.assertEqual(tool.wait(), 0)
        self.assertEqual(tool.stderr, "")

    def test_end_of_input_does_not_end_the_connection(self):
        go_on = threading.Event()

        def talk(sock):
            asked = [read_frame(sock), read_frame(sock)]
            go_on.wait(PATIENCE_S)
            sock.sendall(frame(b"got " + b" ".join(asked)))

        tool = self.start("call", self.peer(talk).address, "--follow", "-m", "a", "-m", "b", "-o", "text")
        tool.process.stdin.close()
        go_on.set()
        self.assertEqual(tool.read_line(), b"got a b\n")
        self.assertEqual(tool.wait(), 0)
        tool.process.stdin = None

    def test_frames_are_sent_while_others_come(self):
        server = self.serve()
        tool = self.start("call", server.address, "--follow")
        for i in range(3):
            tool.write(b"%d\n" % i)
            self.assertEqual(tool.read_line(), b"%d\n" % i)
        tool.process.stdin.close()
        tool.process.stdin = None
        self.drain(server)
        self.assertEqual(tool.wait(), 0)

    def test_silence_is_no_timeout(self):
        def talk(sock):
            read_frame(sock)
            sock.sendall(frame(b"one"))
            time.sleep(0.4)
            sock.sendall(frame(b"two"))

        tool = self.start("call", self.peer(talk).address, "--follow", "-t", "50ms", "-m", "x")
        self.assertEqual(tool.finish(), (0, b"onetwo"))

    def test_json_calls_them_messages(self):
        tool = self.start("call", self.peer(lambda sock: sock.sendall(frame(b"a") + frame(b"\xff"))).address, "--follow", "-o", "json")
        out = [json.loads(line) for line in tool.process.stdout]
        self.assertEqual(out, [{"schema": "framed.call/1", "seq": 1, "outcome": "message", "len": 1, "text": "a"},
                               {"schema": "framed.call/1", "seq": 2, "outcome": "message", "len": 1, "base64": "/w=="}])
        self.assertEqual(tool.wait(), 0)

    def test_flood_does_not_keep_signals_out(self):
        floods = threading.Event()

        def talk(sock):
            with contextlib.suppress(OSError):
                for _ in range(40):  # 4 MB
                    sock.sendall(frame(b"x" * 100) * 1000)
                floods.set()
                while True:
                    sock.sendall(frame(b"x" * 100) * 1000)

        tool = self.start("call", self.peer(talk).address, "--follow", stdout=subprocess.DEVNULL)
        self.assertTrue(floods.wait(PATIENCE_S))
        tool.signal(signal.SIGINT)
        self.assertEqual(tool.wait(), 130)

    def test_cut_frame_at_the_end_is_a_failure(self):
        tool = self.start("call", self.peer(lambda sock: sock.sendall(frame(b"one") + b"\0\0\0\5x")).address, "--follow")
        self.assertEqual(tool.process.stdout.read(), b"one\n")
        self.assertEqual(tool.wait(), 5)


if __name__ == "__main__":
    unittest.main()
