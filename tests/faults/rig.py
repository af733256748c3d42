"""What the rigs of this folder share: processes that end with the rig, ledgers, what /proc says, and the closing line.

Programs are $BUILD/framed and $BUILD/faults/*. A rig prints one line of figures at its end and exits 1 when a bound is broken;
nothing is measured against a clock but that things end at all (PATIENCE_S).
"""

import atexit
import functools
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import keys

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
FRAMED = os.path.join(BUILD, "framed")
PATIENCE_S = 180
OF_THE_PROCESS_KIB = 4096  # its stacks and its program's own memory
LATEST_MS = 20000  # after its deadline; 6 s were seen beside all else of check-long: a thread that waits for its turn is no defect
RECEIVE = 64 << 10  # FRAMED_RECEIVE_SIZE: what one receive brings at most
LENGTH = struct.Struct(">I")

DIRECTORY = tempfile.mkdtemp(prefix="framed-faults-")
_running = []


def _end():
    for process in reversed(_running):
        if process.poll() is None:
            process.kill()
        process.wait()
    shutil.rmtree(DIRECTORY, ignore_errors=True)


atexit.register(_end)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def program(name):
    return os.path.join(BUILD, "faults", name)


@functools.cache
def ways():
    """{NAME: (options of serve, options of call)} of what is built besides plain frames."""
    return keys.ways(FRAMED, DIRECTORY)


def start(*command, **more):
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, **more)
    _running.append(process)
    return process


def end(process, number=signal.SIGTERM, patience_s=PATIENCE_S):
    """Its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    code = process.wait(patience_s)
    _running.remove(process)
    return code


def wait_until(condition, what, patience_s=PATIENCE_S):
    limit = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(f"in vain: {what}")
        time.sleep(0.02)


def listening(*command, **more):
    """A program of this folder that prints where it listens: (process, "HOST:PORT")."""
    process = start(*command, stdout=subprocess.PIPE, **more)
    words = process.stdout.readline().decode().split()
    if len(words) != 3:
        raise RuntimeError(f"{command} does not listen")
    return process, words[2]


class Serve:
    """`framed serve`; its lines are in `.lines`, read by a thread."""

    def __init__(self, *options, address="127.0.0.1:0", **more):
        self.lines = []
        self.process = start(FRAMED, "serve", address, *options, stderr=subprocess.PIPE, **more)
        self.pid = self.process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: any("listening" in line for line in self.lines) or self.process.poll() is not None, "listening")
        self.address = next((line.split()[3] for line in self.lines if "listening" in line), None)
        if self.address is None:
            raise RuntimeError(f"serve does not listen: {self.lines}")
        self.port = int(self.address.rsplit(":", 1)[1])

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def end(self, number=signal.SIGTERM):
        code = end(self.process, number)
        self._reader.join(PATIENCE_S)
        return code

    def said(self, words):
        return sum(words in line for line in self.lines)

    def accounted(self):
        """Connections of whose end there is a line, or that are among those left out."""
        left_out = (re.fullmatch(r"framed: (\d+) log lines were left out", line) for line in self.lines)
        return self.said(" closed: ") + sum(int(match.group(1)) for match in left_out if match)


class Ledger:
    """The file that swarm, server and proxy share."""

    def __init__(self, name):
        self.path = os.path.join(DIRECTORY, name)

    def command(self, word):
        return subprocess.run([program("swarm"), self.path, word], capture_output=True, check=True, text=True).stdout

    def figures(self):
        return {name: int(value) for name, value in (line.split() for line in self.command("show").splitlines())}

    def swarm(self, address, *modes, seconds=0):
        return start(program("swarm"), self.path, address, seconds, *modes)


def losses(figures):
    """What must be 0, with its names: "" when it is."""
    names = ("unended", "ended_twice", "wrong_replies", "executed_twice", "denied", "invented", "misuses", "leaked")
    return ", ".join(f"{figures[name]} {name}" for name in names if figures[name] != 0)


# ---- /proc ----


def memory_kib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field + ":"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def count_system_calls(pid, seconds, *names):
    """How often its threads make each of these meanwhile, and how long that was (not shorter than it was)."""
    path = os.path.join(DIRECTORY, f"counted-{pid}")
    began = time.monotonic()
    strace = start("strace", "-f", "-c", "-U", "calls,name", "-e", "trace=" + ",".join(names), "-o", path, "-p", pid,
                   stderr=subprocess.PIPE)
    if b"attached" not in strace.stderr.readline():
        raise RuntimeError("strace does not attach")
    time.sleep(seconds)
    end(strace, signal.SIGINT)
    strace.stderr.close()
    passed = time.monotonic() - began
    with open(path, encoding="ascii") as table:
        rows = [line.split() for line in table]
    counts = {row[1]: int(row[0]) for row in rows if len(row) == 2 and row[1] in names}
    return {name: counts.get(name, 0) for name in names}, passed


def limit_descriptors(pid, soft):
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(soft, hard), hard))


def raise_own_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ---- sockets ----


def frame(payload):
    return LENGTH.pack(len(payload)) + payload


def dial(port, patience_s=PATIENCE_S, source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), patience_s, (source, 0))


def receive(sock, n):
    data = b""
    while len(data) < n:
        piece = sock.recv(n - len(data))
        if not piece:
            raise EOFError(f"the end after {len(data)} of {n} bytes")
        data += piece
    return data


def is_echoed(sock, payload):
    """A call on a connection that stays."""
    sock.sendall(frame(payload))
    return receive(sock, 4 + len(payload)) == frame(payload)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# ---- clients ----


def run_call(address, *options, data=b"", **more):
    """`framed call` to its end: a CompletedProcess whose stderr is text."""
    done = subprocess.run([FRAMED, "call", address, *options], input=data, capture_output=True, close_fds=False,
                          timeout=PATIENCE_S, check=False, **more)
    done.stderr = done.stderr.decode("utf-8", "replace")
    return done


class Good:
    """Who wants nothing but replies, all the time: `framed call` again and again, and a connection that stays (with the options
    `mine` a `framed ping`)."""

    def __init__(self, server, bounds, callers=2, mine=()):
        self.replies = 0
        self.connections = 1
        self._server = server
        self._bounds = bounds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._mine = mine
        talks = [self._call] * callers
        if mine:
            self._said = os.path.join(DIRECTORY, "ping")
            with open(self._said, "wb") as out:
                self._stays = start(FRAMED, "ping", server.address, "-i", "5ms", "-t", f"{PATIENCE_S}s", *mine, stdout=out)
            wait_until(lambda: os.path.getsize(self._said) > 0, "the first ping's reply")
        else:
            self._stays = dial(server.port)
            talks.append(self._talk)
        self._threads = [threading.Thread(target=self._repeat, args=(talk,), daemon=True) for talk in talks]
        for thread in self._threads:
            thread.start()

    def _repeat(self, talk):
        try:
            while not self._over.is_set():
                talk()
                self._over.wait(0.1)  # others want the processors too
        except (OSError, EOFError, subprocess.TimeoutExpired) as failure:
            self._bounds.hold(False, f"a good client: {failure!r}")

    def _call(self):
        sizes = [random.choice((0, 1, 100, 4096, 70000)) for _ in range(50)]
        data = b"".join(frame(os.urandom(n)) for n in sizes)
        done = run_call(self._server.address, "--framed", "-o", "framed", "-t", f"{PATIENCE_S}s", *self._mine, data=data)
        self._bounds.hold((done.returncode, done.stdout) == (0, data),
                          f"a good client: exit {done.returncode}, {len(done.stdout)} of {len(data)} bytes, {done.stderr}")
        with self._lock:
            self.replies += len(sizes)
            self.connections += 1

    def _talk(self):
        for _ in range(20):
            self._bounds.hold(is_echoed(self._stays, os.urandom(random.randrange(5000))), "a good client: a wrong reply")
        with self._lock:
            self.replies += 20

    def end(self):
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        if self._mine:
            code = end(self._stays, signal.SIGINT)
            with open(self._said, "rb") as out:
                said = out.read()[-400:]
            self._bounds.hold(code == 0 and b", 0 lost" in said, f"a ping that stays: exit {code}, {said}")
        else:
            self._stays.close()
        self._bounds.hold(self.replies > 0, "the good clients had no reply at all")


def serves_on(server, bounds, when, *mine):
    done = run_call(server.address, "-m", "hello", "-m", "again", "-o", "text", *mine)
    bounds.hold((done.returncode, done.stdout) == (0, b"hello\nagain\n"), f"{when}: exit {done.returncode}, {done.stderr}")


def drains(server, bounds):
    code = server.end()
    bounds.hold(code == 0, f"the server ended with {code}: {server.lines[-3:]}")


def has_descriptors(server, n, what):
    try:
        wait_until(lambda: descriptors(server.pid) == n, what)
    except TimeoutError:
        raise TimeoutError(f"{what}: {descriptors(server.pid)} descriptors, not {n}") from None


# ---- the end ----


class Bounds:
    """Collects what is broken; `finish` prints the line of figures and exits."""

    def __init__(self, name):
        self.name = name
        self.broken = []

    def hold(self, condition, what):
        if not condition:
            self.broken.append(what)
            print(f"{self.name}: BROKEN: {what}", flush=True)

    def finish(self, line):
        print(f"{self.name}: {line}{'; BROKEN: ' + '; '.join(self.broken) if self.broken else ''}", flush=True)
        sys.exit(1 if self.broken else 0)
