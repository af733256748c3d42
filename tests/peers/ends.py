"""The foreign ends: how they are started, what they say, and that they end with the test that started them.

PEERS_SEED chooses all random sizes and contents. TWISTED_PYTHON is a Python that has Twisted (tests/peers/run.sh finds it).
"""

import contextlib
import hashlib
import os
import random
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tool"))

import toolkit  # noqa: E402
from toolkit import PATIENCE_S  # noqa: E402

os.environ["ERL_CRASH_DUMP_SECONDS"] = "0"  # no file in the folder where the tests run
SEED = int(os.environ.get("PEERS_SEED", "1"))
TWISTED_PYTHON = os.environ.get("TWISTED_PYTHON", "/usr/bin/python3")
COMMANDS = {
    "erlang": ["escript", os.path.join(HERE, "erlang_peer.escript")],
    "twisted": [TWISTED_PYTHON, "-B", os.path.join(HERE, "twisted_peer.py")],
}


def payloads(count, seed, largest):
    """Every size where something might break, as long as count and largest allow; then any, small ones as often as large."""
    draw = random.Random(seed)
    edges = [0, 1, 2, 3, 4, 5, 0, 0, 63, 255, 256, 257, 4091, 4092, 4096, 65531, 65532, 65533, 65535, 65536, 65537]
    edges += [99999, 3 << 20, (5 << 20) + 1]
    sizes = [n for n in edges if n <= largest]
    sizes += [min(largest, draw.randrange(1 << draw.randrange(17))) for _ in range(count)]
    return [draw.randbytes(n) for n in sizes[:count]]


def summary(payloads):
    """As the peers say it: each frame counts, its bytes, and where it stands."""
    total = b""
    for payload in payloads:
        total = hashlib.md5(total + payload).digest()
    return f"{len(payloads)} frames, {sum(map(len, payloads))} bytes, {total.hex()}"


class End:
    """A foreign process. What it prints is read all the time; it is told to end by the end of its input."""

    def __init__(self, command, **more):
        self.command, self.lines, self._changed = command, [], threading.Condition()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **{"stdin": subprocess.PIPE, **more}
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for raw in self.process.stdout:
            with self._changed:
                self.lines.append(raw.decode("utf-8", "replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append(None)
            self._changed.notify_all()

    def wait_line(self, beginning):
        """The first line that begins so, as soon as it is there."""

        def found():
            return next((n for n in self.lines if n is None or n.startswith(beginning)), "")

        with self._changed:
            if not self._changed.wait_for(lambda: found() != "", PATIENCE_S) or found() is None:
                raise AssertionError(f"{self.command}: no line {beginning!r}: {self.lines}")
            return found()

    def finish(self):
        """Its exit code and lines, when it has ended by itself."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code, self.lines[:-1]

    def close(self):
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        self.process.stdout.close()


class EndsTest(toolkit.ToolTest):
    """The tool and a foreign end on the two sides of a connection."""

    language = None
    maxDiff = 1000

    def end(self, *arguments):
        end = End([*COMMANDS[self.language], *map(str, arguments)])
        self.addCleanup(end.close)
        return end

    def foreign_server(self, *manner):
        server = self.end("serve", *manner)
        server.address = server.wait_line("listening on ").removeprefix("listening on ")
        return server

    def foreign(self, *arguments):
        """Runs a foreign client to its end: code and lines."""
        return self.end(*arguments).finish()

    def call(self, address, messages, *options):
        """The tool calls with these messages as frames: code, replies as frames, what it said."""
        data = b"".join(map(toolkit.frame, messages))
        done = self.run_tool("call", address, "--framed", "-o", "framed", *options, stdin=data)
        return done.returncode, toolkit.frames(done.stdout), done.stderr

    @staticmethod
    def port(server):
        return server.address.rsplit(":", 1)[1]
