"""What the rigs of this folder share: processes that end with the rig, ledgers, what /proc says, and the closing line.

Programs are $BUILD/framed and $BUILD/faults/*. A rig prints one line of figures at its end and exits 1 when a bound is broken;
nothing is measured against a clock but that things end at all (PATIENCE_S).
"""

import atexit
import os
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

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
FRAMED = os.path.join(BUILD, "framed")
PATIENCE_S = 180
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


def listening(*command):
    """A program of this folder that prints where it listens: (process, "HOST:PORT")."""
    process = start(*command, stdout=subprocess.PIPE)
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
        self.address = next(line.split()[3] for line in self.lines if "listening" in line)
        self.port = int(self.address.rsplit(":", 1)[1])

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def end(self, number=signal.SIGTERM):
        code = end(self.process, number)
        self._reader.join(PATIENCE_S)
        return code


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


def waits(pid):
    """How often its threads have gone to sleep of their own accord."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
    return total


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


def dial(port, patience_s=PATIENCE_S):
    return socket.create_connection(("127.0.0.1", port), patience_s)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


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
