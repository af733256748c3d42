"""Shared by the tests of the tool: running it, servers of ours and of others, and what must be cleaned up.

The tool is build/framed, or what the environment variable FRAMED names; where that is a script, FRAMED_PROGRAM names the program.
PATIENCE_S bounds what must not hang; nothing is measured against it.
"""

import contextlib
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FRAMED = os.path.abspath(os.environ.get("FRAMED", os.path.join(ROOT, "build", "framed")))
PROGRAM = os.environ.get("FRAMED_PROGRAM", FRAMED)
SERVE_OPTIONS = os.environ.get("FRAMED_SERVE_OPTIONS", "").split()  # to run everything again in another way
PATIENCE_S = 120
GRACE_S = 5  # for who talks to a tool that has gone: Wine keeps a socket of a program that was killed, now and then
READY = re.compile(r"^framed: listening on (\S+) \((.*)\)$")

LENGTH = struct.Struct(">I")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else whoever is run by nohup runs tools that a SIGHUP does not end


def frame(payload):
    return LENGTH.pack(len(payload)) + payload


def frames(data):
    """The payloads of a stream of whole frames."""
    found, at = [], 0
    while at < len(data):
        (n,) = LENGTH.unpack_from(data, at)
        if at + 4 + n > len(data):
            raise ValueError(f"cut frame: {data[at:at + 40]!r}")
        found.append(data[at + 4 : at + 4 + n])
        at += 4 + n
    return found


def read_exactly(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError(f"the stream ended after {len(data)} of {n} bytes")
        data += piece
    return data


def read_frame(sock):
    """One frame's payload; None at the end of the stream."""
    first = sock.recv(1)
    if not first:
        return None
    (n,) = LENGTH.unpack(first + read_exactly(sock, 3))
    return read_exactly(sock, n)


def linked_statically(archive):
    """What a program is linked with besides its own, for this libframed.a."""
    needs = subprocess.run(["nm", "-u", archive], capture_output=True, check=True, text=True).stdout
    return [archive, "-pthread", *(["-lsodium"] if "crypto_" in needs else [])]


def read_to_end(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def closed_port():
    """A port of 127.0.0.1 where nobody listens: bound, so that nobody else takes it. Keep the socket."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


class Process:
    """A running tool. stderr is read all the time, so that it never blocks; stdout by `read_line` and `finish`."""

    def __init__(self, *args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **more):
        self.args = args
        self.lines = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen([FRAMED, *args], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, **more)
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()

    def _read_stderr(self):
        for raw in self.process.stderr:
            with self._changed:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append(None)
            self._changed.notify_all()

    @property
    def stderr(self):
        return "\n".join(line for line in self.lines if line is not None)

    def wait_line(self, pattern, count=1):
        """Waits until `count` lines of stderr match; returns the last match."""
        limit = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                found = [m for m in (re.search(pattern, line) for line in self.lines if line is not None) if m]
                if len(found) >= count:
                    return found[count - 1]
                if self.lines and self.lines[-1] is None:
                    raise AssertionError(f"{self.args} ended without {pattern!r}: {self.stderr}")
                if not self._changed.wait(max(0, limit - time.monotonic())):
                    raise AssertionError(f"{self.args}: no line {pattern!r} in time: {self.stderr}")

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read_line(self):
        """A line of stdout, waiting for it; b"" at the end."""
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], PATIENCE_S)[0]:
                raise AssertionError(f"{self.args}: no line on stdout in time, only {line!r}; {self.stderr}")
            piece = os.read(self.process.stdout.fileno(), 1)
            if not piece:
                return line
            line += piece
        return line

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def finish(self, data=b""):
        """Writes the rest of stdin, ends it, reads stdout to its end. Returns (code, stdout)."""

        def feed():
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(data)
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        out = self.process.stdout.read()
        feeder.join(PATIENCE_S)
        return self.wait(), out

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Peer:
    """A server of somebody else: `talk(socket)` runs for each connection in a thread of its own, then it is closed."""

    def __init__(self, talk):
        self._talk = talk
        self.failures = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._talks = []  # (thread, socket)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._talks.append((thread, sock))
            thread.start()

    def _serve(self, sock):
        with sock:
            sock.settimeout(PATIENCE_S)
            try:
                self._talk(sock)
            except Exception as failure:  # told to the test in `close`
                self.failures.append(failure)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept; closing alone would not
        self._listener.close()
        self._acceptor.join(PATIENCE_S)
        for thread, sock in self._talks:
            thread.join(GRACE_S)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)


class ToolTest(unittest.TestCase):
    """Whatever a test starts ends with it."""

    def start(self, *args, **more):
        process = Process(*args, **more)
        self.addCleanup(process.close)
        return process

    def serve(self, *args, address="127.0.0.1:0", **more):
        """A server that listens already; `.address` says where."""
        server = self.start("serve", *([address] if address else []), *args, *SERVE_OPTIONS, stdin=subprocess.DEVNULL, **more)
        server.address = server.wait_line(READY.pattern).group(1)
        return server

    def peer(self, talk):
        peer = Peer(talk)
        self.addCleanup(peer.close)
        return peer

    def run_tool(self, *args, stdin=b"", **more):
        """Runs it to its end: a CompletedProcess whose stderr is text."""
        done = subprocess.run([FRAMED, *args], input=stdin, capture_output=True, timeout=PATIENCE_S, check=False, **more)
        done.stderr = done.stderr.decode("utf-8", "replace")
        return done

    def connect(self, address):
        host, port = address.rsplit(":", 1)
        sock = socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S)
        self.addCleanup(sock.close)
        return sock

    def assert_code(self, done, code, *said):
        """The exit code, and words that its one line on stderr has (no words: no line)."""
        self.assertEqual(done.returncode, code, done.stderr)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1 if said else 0, done.stderr)
        for word in said:
            self.assertIn(word, lines[0])
        if said:
            self.assertTrue(lines[0].startswith("framed: "), lines[0])

    def drain(self, server, code=0):
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), code, server.stderr)
