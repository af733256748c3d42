#!/usr/bin/env python3
"""make compare: framed and others on the same work, in turn; prints what it finds and writes docs/performance.md.

Installs the peers' packages (tests/deps.sh) and builds them; one that cannot be had is a row that says so. The server is on one
core and the load on another. A round runs every server once, in an order that rotates; the bare echo (bench/floor.c) runs twice,
so that its figures against its own tell the noise. Every ratio is one of figures of the same round.
"""

import argparse
import contextlib
import ctypes
import fcntl
import glob
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import textwrap
import time

BUILD = os.environ.get("BUILD", "build")
HERE = os.path.dirname(os.path.abspath(__file__))
MAKE = os.environ.get("MAKE", "make")
JARS = [f"/usr/share/java/netty-{part}.jar" for part in ("buffer", "common", "codec", "transport", "resolver", "handler")]
READY_S, PATIENCE_S = 20, 60
DISTURBED = 0.10  # of one core: a run during which others took more is made again
UNSTEADY = 0.05  # noise above this is no excuse for missing a target
SELDOM = 3  # servers that no target names run in every third round


class Missing(Exception):
    """What a table says in place of figures."""


def built(*path):
    return os.path.join(BUILD, *path)


# ---- who is compared ----


class Side:
    """A server: `name` for people; `needs`: arguments of tests/deps.sh; `make`: builds it; `load`: what speaks to it."""

    def __init__(self, key, name, command, needs=(), make=None, load=("bench/loadgen",), often=False, fresh=True, cores=1,
                 idle=True):
        self.key, self.name, self.command, self.needs, self.make = key, name, command, needs, make
        self.load, self.often, self.fresh, self.cores, self.idle = [built(load[0]), *load[1:]], often, fresh, cores, idle
        self.missing = None


def make_c(name):
    def make():
        run([MAKE, "--no-print-directory", f"BUILD={BUILD}", built("compare", name)], f"{name}.log")

    return make


def make_tokio():
    """With the crates that Debian ships, in a copy, so that cargo leaves nothing in the tree."""
    there = built("compare", "tokio")
    shutil.copytree(os.path.join(HERE, "tokio"), there, dirs_exist_ok=True)
    debian = ['source.crates-io.replace-with="debian"', 'source.debian.directory="/usr/share/cargo/registry"']
    options = [word for setting in debian for word in ("--config", setting)]
    run(["cargo", "build", "--release", "--offline", *options], "tokio.log", cwd=there)


def make_netty():
    run(["javac", "-cp", ":".join(JARS), "-d", built("compare"), os.path.join(HERE, "Netty.java")], "netty.log")


def python_with_twisted():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import twisted"], capture_output=True).returncode == 0:
            return python
    return sys.executable


OURS = [built("framed"), "serve", "127.0.0.1:0", "--echo", "--max-conns", "19000"]
TOKIO = ("librust-tokio-dev", "librust-tokio-util-dev", "librust-futures-dev", "librust-bytes-dev", "cargo=cargo")
SIDES = [
    Side("floor", "bare echo", lambda: [built("bench/floor"), "0"], often=True),
    Side("again", "bare echo, once more", lambda: [built("bench/floor"), "0"], often=True, idle=False),
    Side("framed", "**framed**", lambda: OURS, often=True),
    Side("spin", "framed --spin 50us", lambda: [*OURS, "--spin", "50us"], often=True, idle=False),
    Side("both", "framed --spin 50us, and a load that never sleeps", lambda: [*OURS, "--spin", "50us"], load=("bench/loadgen", "-b"),
         often=True, idle=False),
    Side("limit", "a bare echo and a load that never sleep", lambda: [built("bench/floor"), "0", "busy"], load=("bench/loadgen", "-b"),
         often=True, idle=False),
    Side("workers", "framed --workers 2, on both cores", lambda: [*OURS, "--workers", "2"], cores=2, idle=False),
    Side("zmq", "ZeroMQ, ROUTER and DEALER", lambda: [built("compare/zmq"), "serve"], ["libzmq3-dev:zmq.h"], make_c("zmq"),
         ("compare/zmq", "load"), often=True),
    Side("nng", "nng, REP with 256 contexts and REQ", lambda: [built("compare/nng"), "serve"], ["libnng-dev:nng/nng.h"],
         make_c("nng"), ("compare/nng", "load"), often=True),
    Side("uv", "libuv, by hand", lambda: [built("compare/uv")], ["libuv1-dev:uv.h"], make_c("uv")),
    Side("tokio", "tokio, LengthDelimitedCodec", lambda: [built("compare/tokio/target/release/echo")], TOKIO, make_tokio),
    Side("netty", "Netty, LengthFieldBasedFrameDecoder", lambda: ["java", "-cp", ":".join([built("compare"), *JARS]), "Netty"],
         ["libnetty-java", "default-jdk-headless=javac"], make_netty, fresh=False),
    Side("erlang", "Erlang, {packet, 4}", lambda: ["escript", os.path.join(HERE, "erlang.escript")], ["erlang-base=escript"],
         fresh=False),
    Side("twisted", "Twisted, Int32StringReceiver", lambda: [python_with_twisted(), os.path.join(HERE, "twisted_echo.py")],
         ["python3-twisted"], fresh=False),
]
SIDE = {side.key: side for side in SIDES}


def run(command, log, cwd=None):
    """A command to its end, its output in a log; Missing if it fails."""
    path = os.path.abspath(built("compare", log))
    with open(path, "w") as out:
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd).returncode != 0:
            sys.stderr.write("".join(open(path).readlines()[-20:]))
            raise Missing(f"not here: `{os.path.basename(command[0])}` could not build it")


def install(needs):
    """What could not be installed, in the words of a table; or None."""
    done = subprocess.run(["tests/deps.sh", *needs], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return None
    names = re.search(r"apt-get install (.*)", done.stderr)
    return "not here: package " + (names.group(1).strip() if names else "").replace(" ", ", ")


def prepare(sides):
    os.makedirs(built("compare"), exist_ok=True)
    together = install(["iproute2=ip"] + [need for side in sides for need in side.needs])  # one apt-get for all
    for side in sides:
        try:
            side.missing = install(side.needs) if together and side.needs else None
            if side.make and not side.missing:
                side.make()
        except Missing as missing:
            side.missing = str(missing)
        if side.missing:
            say(f"{side.name}: {side.missing}")


# ---- the work ----


class Work:
    """What a load does; `sides`: only these take part."""

    def __init__(self, key, name, conns, inflight, size, seconds, one_core=False, rate=None, congestion=None, sides=None):
        self.key, self.name, self.conns, self.inflight, self.size = key, name, conns, inflight, size
        self.seconds, self.one_core, self.rate, self.congestion, self.sides = seconds, one_core, rate, congestion, sides
        self.figures = {}  # side: round: figures
        self.failures = {}
        self.others = []

    def options(self, shrink):
        words = ["-c", self.conns, "-p", self.inflight, "-s", self.size, "-d", self.seconds * shrink, "-w", 0.1]
        return [str(word) for word in words + (["-r", self.rate] if self.rate else [])]


FRAMED_ONLY = ("floor", "again", "framed", "spin")
SLEEPERS = tuple(key for key in SIDE if key not in ("both", "limit"))
ONE_CORE = tuple(key for key in SLEEPERS if key != "workers")


def works(congestions):
    listed = [
        Work("one", "64 B, one in flight", 1, 1, "64", 0.9),
        Work("core", "64 B, one in flight, server and load on one core", 1, 1, "64", 0.5, one_core=True, sides=ONE_CORE),
        Work("deep", "64 B, 1 connection, 256 in flight", 1, 256, "64", 0.5),
        Work("wide", "64 B, 64 connections, 16 in flight", 64, 16, "64", 0.5, sides=SLEEPERS),
        Work("kilo", "1 KiB, 64 connections, 16 in flight", 64, 16, "1KiB", 0.5, sides=SLEEPERS),
    ]
    for congestion in congestions:
        name = f"1 MiB, 1 connection, 8 in flight, congestion control {congestion}"
        listed.append(Work(f"mega-{congestion}", name, 1, 8, "1MiB", 0.7, congestion=congestion, sides=SLEEPERS))
    listed.append(Work("calm", "64 B, 1,000 messages a second", 1, 16, "64", 1.0, rate=1000, sides=FRAMED_ONLY))
    return listed


# work, metric, ours, against, bound: a ratio; the sign says on which side of it is good
def targets(listed):
    yield from [
        ("one", "p50", "framed", "floor", "<= 1.03"),
        ("one", "p50", "both", "floor", "<= 0.30"),
        ("one", "p50", "limit", "floor", ""),
        ("core", "p50", "framed", "floor", "<= 1.10"),
        ("one", "p50", "framed", "zmq", "<= 0.85"),
        ("one", "p50", "both", "zmq", "<= 0.25"),
        ("one", "p50", "framed", "nng", "<= 0.77"),
        ("deep", "rate", "framed", "floor", ">= 0.97"),
        ("deep", "rate", "both", "floor", ">= 2.5"),
        ("deep", "rate", "limit", "floor", ""),
        ("deep", "rate", "framed", "zmq", ">= 2.2"),
        ("deep", "rate", "both", "zmq", ">= 5.5"),
        ("deep", "rate", "framed", "nng", ">= 18"),
        ("wide", "cpu", "framed", "floor", "<= 1.03"),
        ("kilo", "cpu", "framed", "floor", "<= 1.05"),
    ]
    for work in listed:
        if work.congestion:
            yield (work.key, "rate", "framed", "floor", ">= 1.0")
            yield (work.key, "cpu", "framed", "floor", "<= 1.0")
            yield (work.key, "rate", "framed", "zmq", ">= 1.6")
            yield (work.key, "rate", "framed", "nng", ">= 1.9")
    yield ("calm", "cpu", "spin", "framed", "<= 1.10")


METRICS = {
    "rate": ("messages/s", lambda f: f["messages"] / f["seconds"]),
    "p50": ("p50, µs", lambda f: f["p50_us"]),
    "p99": ("p99, µs", lambda f: f["p99_us"]),
    "p999": ("p99.9, µs", lambda f: f["p999_us"]),
    "cpu": ("server's processor time, ns/message", lambda f: f["cpu_ns"] / f["messages"]),
}

# ---- the machine ----


def first_line(path, default=""):
    try:
        return open(path).readline().strip()
    except OSError:
        return default


CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"


def congestion_in_use():
    """Of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as s:
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def set_congestion(name):
    """On a loopback of our own: by its routes, since not every one that the system has may be a namespace's default."""
    for to in ("127.0.0.0/8", "127.0.0.1"):
        route = ["local", to, "dev", "lo", "proto", "kernel", "scope", "host", "src", "127.0.0.1", "table", "local"]
        subprocess.run(["ip", "route", "replace", *route, "congctl", name], capture_output=True)
    return congestion_in_use() == name


def loopback_of_our_own():
    """A network namespace, where the congestion control can be chosen without changing it for others. False: not allowed."""
    clone_newnet, siocgifflags, siocsifflags, iff_up = 0x40000000, 0x8913, 0x8914, 1
    if ctypes.CDLL(None, use_errno=True).unshare(clone_newnet) != 0:
        return False
    with socket.socket() as s:
        name = struct.pack("16s24x", b"lo")
        flags = struct.unpack_from("16xH", fcntl.ioctl(s, siocgifflags, name))[0]
        fcntl.ioctl(s, siocsifflags, struct.pack("16sH22x", b"lo", flags | iff_up))
    return True


def choose_cores():
    """The server's and the load's; the same one, unpinned, where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (cores[0], cores[0])


class Processors:
    """Seconds that all were busy so far, and those that were ours."""

    def __init__(self, server):
        fields = [int(n) for n in open("/proc/stat").readline().split()[1:9]]
        self.busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        self.own = sum(u.ru_utime + u.ru_stime for u in mine) + server.cpu_seconds()
        self.at = time.monotonic()

    def others_since(self, then):
        return max(0.0, (self.busy - then.busy) - (self.own - then.own)) / (self.at - then.at)


# ---- one server ----

LIBC = ctypes.CDLL(None)


def child_on(cores):
    pr_set_pdeathsig = 1

    def prepare_child():
        LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)
        os.sched_setaffinity(0, cores)

    return prepare_child


class Server:
    """A process of ours, ended by its id; its stderr in a file, where it says on which port it listens."""

    def __init__(self, side, cores):
        self.log = built("compare", f"{side.key}.stderr")
        with open(self.log, "w") as err:
            self.process = subprocess.Popen(side.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                                            preexec_fn=child_on(cores))
        try:
            self.address = self.wait_until_ready()
        except Missing:
            self.stop()
            raise

    def wait_until_ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end and self.process.poll() is None:
            ready = re.search(r"listening on (127\.0\.0\.1:\d+)\b.*\n", open(self.log, errors="replace").read())
            if ready:
                return ready.group(1)
            time.sleep(0.005)
        raise Missing("failed: it does not say that it listens")

    def cpu_seconds(self):
        total = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            total += int((first_line(path, "0").split() or ["0"])[0])
        return total / 1e9

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/smaps_rollup"):
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise Missing("failed: no Rss")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resume_on(self, cores):
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task), cores)
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, sides, congestions, rounds, shrink):
        self.sides, self.congestions, self.rounds, self.shrink = sides, congestions, rounds, shrink
        self.server_core, self.load_core = choose_cores()
        self.steady = {}  # side: a server that is not started anew for every run, and the works it is warm in
        self.failed = 0

    def cores_of(self, side, work):
        if work.one_core:
            return {self.load_core}
        return {self.server_core, self.load_core} if side.cores == 2 else {self.server_core}

    def load(self, side, server, work, seconds=None):
        command = [*side.load, server.address, *work.options(self.shrink), "-P", str(server.process.pid), "-j"]
        if seconds:
            command += ["-d", str(seconds)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S,
                              preexec_fn=child_on({self.load_core}))
        if done.returncode != 0:
            raise Missing("failed: " + (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
        return json.loads(done.stdout)

    def steady_server(self, side, work):
        """Awake, on its cores, and warm in this work: it compiles while it runs."""
        if side.key not in self.steady:
            self.steady[side.key] = (Server(side, self.cores_of(side, work)), set())
        server, warm_in = self.steady[side.key]
        server.resume_on(self.cores_of(side, work))
        if work.key not in warm_in:
            self.load(side, server, work, seconds=(1.5 if warm_in else 4) * self.shrink)
            warm_in.add(work.key)
        return server

    def run_once(self, side, work):
        """Figures, and which share of a core others took."""
        server = Server(side, self.cores_of(side, work)) if side.fresh else self.steady_server(side, work)
        try:
            before = Processors(server)
            figures = self.load(side, server, work)
            return figures, Processors(server).others_since(before)
        finally:
            if side.fresh:
                server.stop()
            else:
                server.process.send_signal(signal.SIGSTOP)

    def run_undisturbed(self, side, work):
        while True:
            figures, others = self.run_once(side, work)
            work.others.append(others)
            if others <= DISTURBED or self.again == 0:
                return figures
            self.again -= 1

    def stop_steady(self, keys):
        for key in self.steady.keys() & set(keys):
            self.steady.pop(key)[0].stop()

    def run_work(self, work):
        if work.congestion and len(self.congestions) > 1:
            set_congestion(work.congestion)
        sides = [s for s in self.sides if not work.sides or s.key in work.sides]
        self.again = 0 if self.shrink < 1 else self.rounds * 2
        for turn in range(self.rounds):
            for i in range(len(sides)):
                side = sides[(i + turn) % len(sides)]
                if side.missing or side.key in work.failures or not (side.often or turn % SELDOM == 0):
                    continue
                try:
                    work.figures.setdefault(side.key, {})[turn] = self.run_undisturbed(side, work)
                except (Missing, OSError, ValueError, subprocess.SubprocessError) as failure:
                    self.failed += 1
                    work.failures[side.key] = str(failure)
                    self.stop_steady([side.key])
                    say(f"{work.name}: {side.name}: {failure}")


# ---- figures ----


def spread(values):
    """Half of the range in which the middle half lies."""
    if len(values) < 2:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def values(work, key, metric):
    of = {turn: METRICS[metric][1](figures) for turn, figures in work.figures.get(key, {}).items()}
    return {turn: x for turn, x in of.items() if x is not None}


def ratios(work, key, against, metric):
    ours, theirs = values(work, key, metric), values(work, against, metric)
    return [ours[turn] / theirs[turn] for turn in ours if turn in theirs]


def number(x):
    if x >= 1000:
        return f"{x:,.0f}"
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}"


def ratio_text(x):
    if x < 0.05:
        return f"1/{1 / x:.0f}"
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def spread_text(x):
    return "–" if x is None else f"{x:.2f}" if x >= 0.1 else f"{x:.3f}"


def ratio_with_spread(of):
    if not of:
        return "–"
    apart = spread(of)
    return ratio_text(statistics.median(of)) + (f" ({spread_text(apart)})" if apart is not None else "")


def table(head, rows):
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]


def work_table(work, sides):
    head = ["server"] + [word for title, _ in METRICS.values() for word in (title, "÷ floor")]
    rows = []
    for side in sides:
        if work.sides and side.key not in work.sides:
            continue
        missing = side.missing or work.failures.get(side.key)
        row = [side.name]
        if missing:
            row += [missing] + [""] * (2 * len(METRICS) - 1)
        else:
            for metric in METRICS:
                here = list(values(work, side.key, metric).values())
                row += [number(statistics.median(here)) if here else "–",
                        "1" if side.key == "floor" else ratio_with_spread(ratios(work, side.key, "floor", metric))]
        rows.append(row)
    return table(head, rows)


# ---- idle connections ----


def hold_frames(server, steps):
    """Connections from several addresses, since ports of one may be few; each is used for one echo. Yields at each step."""
    host, port = server.address.split(":")
    held = []
    frame = struct.pack(">I", 8) + b"one echo"
    ip_bind_address_no_port = 24
    try:
        for step in steps:
            while len(held) < step:
                s = socket.socket()
                held.append(s)
                s.settimeout(PATIENCE_S)
                s.setsockopt(socket.IPPROTO_IP, ip_bind_address_no_port, 1)
                s.bind((f"127.0.0.{1 + len(held) % 16}", 0))
                s.connect((host, int(port)))
                s.sendall(frame)
                if s.recv(len(frame), socket.MSG_WAITALL) != frame:
                    raise Missing("failed: no echo")
            yield
    except OSError as error:
        raise Missing(f"failed: {error.strerror or error}") from error
    finally:
        for s in held:
            s.close()


def hold_others(side, server, steps):
    command = [side.load[0], "hold", server.address, *map(str, steps)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              preexec_fn=child_on(os.sched_getaffinity(0)))
    try:
        for _ in steps:
            if not holder.stdout.readline().startswith("held"):
                raise Missing("failed: " + holder.stderr.readline().strip())
            yield
            holder.stdin.write("\n")
            holder.stdin.flush()
    finally:
        holder.kill()
        holder.wait()
        for pipe in (holder.stdin, holder.stdout, holder.stderr):
            try:
                pipe.close()
            except OSError:
                pass


def idle_bytes(bench, side, steps):
    """Resident bytes that a connection costs, between the two steps."""
    server = Server(side, {bench.server_core})
    try:
        memory = []
        holder = hold_frames(server, steps) if side.load[0].endswith("loadgen") else hold_others(side, server, steps)
        for step, _ in zip(steps, holder):
            time.sleep(0.2)
            if server.open_files() < step:
                raise Missing(f"failed: it holds {server.open_files()} of {step} connections")
            memory.append(server.resident())
        return (memory[1] - memory[0]) / (steps[1] - steps[0])
    finally:
        server.stop()


def measure_idle(bench, steps, rounds):
    found = {}
    for turn in range(rounds):
        for side in bench.sides:
            if side.missing or not side.idle or not (side.often or turn == 0):
                continue
            try:
                figure = idle_bytes(bench, side, steps)
                found.setdefault(side.key, []).append(figure)
            except (Missing, OSError) as failure:
                bench.failed += 1
                side.idle_failure = str(failure)
                say(f"idle: {side.name}: {failure}")
    return found


def idle_table(sides, found):
    floor = statistics.median(found["floor"])
    rows = []
    for side in sides:
        if side.idle and side.key in found:
            here = statistics.median(found[side.key])
            apart = spread(found[side.key])
            rows.append([side.name, number(here), number(apart) if apart is not None else "–", ratio_text(here / floor)])
        elif side.idle:
            rows.append([side.name, side.missing or getattr(side, "idle_failure", "–"), "", ""])
    return table(["server", "bytes a connection", "spread", "÷ floor"], rows)


# ---- decoding in memory ----

SIZES = ["16", "64", "256", "1024"]
DECODERS = {"framed": "`framed_reader_next`", "memcpy": "memcpy of all of it", "tokio": "tokio, `LengthDelimitedCodec`",
            "python": "Python, `struct` and a memoryview"}


def lines_of(command, core):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * PATIENCE_S,
                          preexec_fn=child_on({core}))
    if done.returncode != 0:
        raise Missing("failed: " + done.stderr.strip()[-200:])
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure_decoders(bench, rounds):
    """size: decoder: ns a frame, round by round; and what walk says of itself."""
    tokio = built("compare/tokio/target/release/decode")
    ns = {size: {key: [] for key in ("bare", *DECODERS)} for size in SIZES}
    walked = {size: [] for size in SIZES}
    for _ in range(rounds):
        for line in lines_of([built("bench/walk"), "-j"], bench.load_core):
            size = str(line["payload"])
            walked[size].append(line)
            for key in ("bare", "framed", "memcpy"):
                ns[size][key].append(line[f"{key}_ns"])
        for key, command in (("tokio", [tokio]), ("python", [sys.executable, os.path.join(HERE, "decode.py")])):
            if key == "tokio" and SIDE["tokio"].missing:
                continue
            for line in lines_of([*command, *SIZES], bench.load_core):
                ns[str(line["payload"])][key].append(line["ns"])
    return ns, walked


def decoder_table(ns, walked):
    head = ["ns a frame"] + [word for size in SIZES for word in (f"{size} B", "÷ bare")]
    rows = [["a bare walk over the length words"] + [w for s in SIZES for w in (f"{statistics.median(ns[s]['bare']):.2f}", "1")]]
    for key, name in DECODERS.items():
        row = [name]
        for size in SIZES:
            here = ns[size][key]
            if not here:
                row += [SIDE["tokio"].missing or "–", ""]
                continue
            of = [a / b for a, b in zip(here, ns[size]["bare"])]
            if key == "framed":
                of = [line["ratio"] for line in walked[size]]
            row += [f"{statistics.median(here):.2f}", ratio_with_spread(of)]
        rows.append(row)
    return table(head, rows)


# ---- targets ----


def holds(bound, x):
    sign, limit = bound.split()
    return x <= float(limit) if sign == "<=" else x >= float(limit)


def verdict(bound, x, noise):
    if holds(bound, x):
        return "met"
    beyond = abs(x - float(bound.split()[1]))
    if beyond > noise:
        return "**missed**"
    return "met within the noise" if noise <= UNSTEADY else "unclear, too unsteady"


def judge(bench, listed, idle, walked):
    """Rows of the table, and what was missed: work and sides."""
    rows, missed = [], []
    by_key = {work.key: work for work in listed}
    for key, metric, ours, against, bound in targets(listed):
        work = by_key[key]
        of = ratios(work, ours, against, metric)
        what = f"{work.name}: {METRICS[metric][0]}"
        names = [SIDE[ours].name.strip("*"), SIDE[against].name.split(",")[0].strip("*")]
        why = SIDE[against].missing or work.failures.get(ours) or work.failures.get(against) or ("" if of else "not measured")
        if why:
            rows.append([what, *names, bound, "–", "–", why])
            continue
        again = ratios(work, "again", "floor", metric)
        noise = spread(again)
        said = verdict(bound, statistics.median(of), noise or 0) if bound else "what spinning can give here"
        rows.append([what, *names, bound, ratio_with_spread(of), spread_text(noise), said])
        if said == "**missed**":
            missed.append((work, ours, against))
    ours = statistics.median(idle["framed"]) if "framed" in idle else None
    if ours is not None:
        rows.append(["idle connection, bytes", "framed", "", "<= 160", number(ours), "", verdict("<= 160", ours, 0)])
        for key, limit in (("zmq", 75), ("nng", 24)):
            said = verdict(f"<= {1 / limit}", ours / statistics.median(idle[key]), 0) if key in idle else ""
            here = ratio_text(ours / statistics.median(idle[key])) if key in idle else "–"
            rows.append(["idle connection", "framed", SIDE[key].name.split(",")[0], f"<= 1/{limit}", here, "",
                         said or SIDE[key].missing or "not measured"])
    for size in SIZES if walked else []:
        ratio = statistics.median(line["ratio"] for line in walked[size])
        noise = statistics.median(line["noise"] for line in walked[size])
        rows.append([f"`framed_reader_next`, {size} B", "framed", "bare walk", "<= 1.10", ratio_text(ratio), spread_text(noise),
                     verdict("<= 1.10", ratio, noise)])
    return table(["work", "", "against", "target", "ratio (spread)", "noise", ""], rows), missed


def profile(bench, work, key):
    """The symbols in which a server is, with perf; or why not."""
    side, record = SIDE[key], built("compare", f"{key}.perf")
    if not shutil.which("perf"):
        return ["perf is not here."]
    if work.congestion and len(bench.congestions) > 1:
        set_congestion(work.congestion)
    server = Server(side, bench.cores_of(side, work))
    try:
        command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "999", "-p", str(server.process.pid), "-o", record]
        perf = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        bench.load(side, server, work, seconds=1.5)
        perf.send_signal(signal.SIGINT)
        perf.wait(timeout=PATIENCE_S)
    except (Missing, subprocess.TimeoutExpired) as failure:
        return [str(failure)]
    finally:
        server.stop()
    report = subprocess.run(["perf", "report", "-q", "--stdio", "--sort", "symbol", "-i", record], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True)
    lines = [re.sub(r"[\s-]+$", "", line) for line in report.stdout.splitlines() if "%" in line]
    return lines[:14] or ["perf saw nothing."]


def profiles(bench, missed):
    text = []
    if bench.shrink < 1:
        return text
    sides = {}
    for work, ours, against in missed:
        sides.setdefault(work, {}).update({against: True, ours: True})
    for work, keys in sides.items():
        text += [f"### Where the time goes: {work.name}", ""]
        for key in keys:
            text += [f"{SIDE[key].name.strip('*')}, shares of its processor time by symbol (`perf`, `cpu-clock`):", "", "```",
                     *profile(bench, work, key), "```", ""]
    return text


# ---- the page ----


def version_of(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}", package], capture_output=True, text=True)
    return done.stdout.strip()


def said_by(*command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_S)
        return (done.stdout or done.stderr).splitlines()[0].strip()
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def machine(bench):
    cpuinfo = open("/proc/cpuinfo").read()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    kib = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read()).group(1))
    system = re.search(r'PRETTY_NAME="(.*)"', open("/etc/os-release").read() if os.path.exists("/etc/os-release") else "")
    virtual = ", virtual" if re.search(r"^flags.*\bhypervisor\b", cpuinfo, re.M) else ""
    versions = [said_by(os.environ.get("CC", "cc"), "--version")]
    for side in bench.sides:
        if side.needs and not side.missing:
            versions.append(version_of(re.split("[:=]", side.needs[0])[0]))
    versions += [said_by("rustc", "--version")] if SIDE["tokio"] in bench.sides and not SIDE["tokio"].missing else []
    versions += [said_by("javac", "-version")] if SIDE["netty"] in bench.sides and not SIDE["netty"].missing else []
    name = model.group(1) if model else platform.machine()
    release = re.match(r"[\d.]*\d|", platform.release()).group()
    distribution = system.group(1) if system else platform.system()
    return [f"{name}, {os.cpu_count()} cores{virtual}, {kib / (1 << 20):.0f} GiB; {distribution}, Linux {release}. "
            + "; ".join(filter(None, versions)) + "."]


METHOD = """\
<!-- Written by `make compare` (bench/compare/compare.py). What is changed here by hand is lost. -->
# Performance

`make compare` installs the peers (Debian packages), builds them and runs them in turn on the same work; then it writes this page.

## Method

- Every server echoes, each as people write it with what it is made of, TCP_NODELAY on: the sources are in `bench/compare/`, one
  file each. The *bare echo* (`bench/floor.c`) is one thread, epoll, a 64 KiB buffer, no limit, deadline or handler: the floor that
  figures are divided by. framed is `framed serve --echo` with every limit and deadline on.
{cores}
- One closed-loop load for all that speak 4-byte frames (`bench/load.c`). ZeroMQ and nng speak their own protocols, so their loads
  are made of their own libraries; requests on the way, sizes and counting are the same (`bench/tally.c`). Every reply is checked.
  A latency is from sending a request to having its reply.
- {rounds} rounds; each runs every server once, in an order that rotates, and those that no target names in every third round. A
  figure is the median of its rounds; a ratio is the median of the ratios to the bare echo of the same round, and in brackets half
  the range of its middle half. *Once more* is the bare echo against itself: what differs there is noise.
- A server is a fresh process in each run, warmed up for 0.1 s. Netty, Erlang and Twisted keep theirs, since they compile while
  they run: warmed up for 4 s, for 1.5 s more when the work changes, and stopped (SIGSTOP) while others run.
- Processor time is the server's, of all its threads, kernel included, between two moments at which it sleeps, if it does.
- Spinning is for both ends: its targets are held against `framed serve --spin 50us` and a load that looks for replies again and
  again. What that can give on a machine, a bare echo that never sleeps shows; the processor time of such a one means nothing.
- A percentile with fewer than ten replies beyond it is not told (–).
{congestion}
- A run during which others took more than 10 % of a core is made again, as long as there are not too many of them.
"""


def point(text):
    return textwrap.fill(text, width=128, initial_indent="- ", subsequent_indent="  ")


def page(bench, listed, idle, steps, decoders, congestion, began):
    if bench.server_core == bench.load_core:
        cores = "There is only one core: server and load share it, and the targets do not apply as they stand."
    else:
        cores = ("The server is on one core and the load on another, unless said otherwise. With many connections the load is the "
                 "limit for the fast ones: then the server's processor time tells, not the rate.")
    text = METHOD.format(cores=point(cores), rounds=bench.rounds, congestion=point(congestion)).splitlines()
    disturbed = statistics.median([share for work in listed for share in work.others] or [0])
    if disturbed > DISTURBED:
        text += ["", f"**Others took {disturbed * 100:.0f} % of a core meanwhile (median of all runs): these figures are provisional.**"]
    text += ["", "## Machine", "", *machine(bench), ""]
    rows, missed = judge(bench, listed, idle, decoders[1] if decoders else {})
    text += ["## Targets", "", "Ratios of framed to who stands beside it. A target is met when the median is within it; *within the "
             "noise* when it is but for the spread of the bare echo against itself.", "", *rows, ""]
    for work in listed:
        others = statistics.median(work.others) * 100 if work.others else 0
        text += [f"## {work.name}", "", *work_table(work, bench.sides), "",
                 f"Others took {others:.0f} % of a core meanwhile (median of the runs).", ""]
    if "floor" in idle:
        text += ["## Idle connections", "", f"Resident user memory of the server, between {steps[0]:,} and {steps[1]:,} connections "
                 "that have been used for one echo, divided by their number. (Where memory is collected now and then, what the heap "
                 "had free already is not in it.)", "", *idle_table(bench.sides, idle), ""]
    if decoders:
        text += ["## Decoding in memory", "", "64 KiB of whole frames that lie in memory, walked to the last; no receive, no echo. "
                 "memcpy is what it costs to have the bytes elsewhere.", "", *decoder_table(*decoders), ""]
    text += profiles(bench, missed)
    text += [f"Written after {(time.monotonic() - began) / 60:.1f} minutes of installing, building and measuring.", ""]
    return "\n".join(text)


def say(text):
    print(text, flush=True)


def congestions(quick):
    """Those to measure with, the system's first, and what the page says of it."""
    system = first_line(CONGESTION, "unknown")
    if not loopback_of_our_own():
        return [system], f"Congestion control: {system}, the system's; another could not be chosen here."
    able = [system] + [name for name in ("cubic",) if name != system and not quick and set_congestion(name)]
    set_congestion(system)
    return able, (f"All run on a loopback of their own (a network namespace). Congestion control: {system}, the system's, unless "
                  "said otherwise; it is the same for all, on both ends.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="whether it works: floor, framed and libuv, in less than a minute")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sides", help="zmq,nng: only these peers")
    parser.add_argument("--write", help="the page")
    options = parser.parse_args()
    began = time.monotonic()
    wanted = "uv" if options.quick else options.sides
    sides = [s for s in SIDES if wanted is None or not s.needs or s.key in wanted.split(",")]
    for side in SIDES:
        side.missing = None if side in sides else "left out"
    write = options.write or (built("compare", "quick.md") if options.quick else "docs/performance.md")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    prepare(sides)
    able, congestion = congestions(options.quick)
    listed = works(able)
    bench = Bench(sides, able, 2 if options.quick else options.rounds, 0.2 if options.quick else 1)
    if bench.server_core != bench.load_core:
        os.sched_setaffinity(0, {bench.load_core})
    say(f"ready after {time.monotonic() - began:.0f} s")
    try:
        for work in listed:
            bench.run_work(work)
            say("\n".join([f"\n{work.name}", *work_table(work, sides)]))
    finally:
        bench.stop_steady(SIDE)
    most = min(10000, hard - 500) if hard != resource.RLIM_INFINITY else 10000
    steps = (100, 1000) if options.quick else (most // 5, most)
    idle = measure_idle(bench, steps, 1 if options.quick else 3)
    say("\n".join(["\nidle connections", *idle_table(sides, idle)]) if "floor" in idle else "")
    decoders = None
    try:
        decoders = None if options.quick else measure_decoders(bench, 3)
    except (Missing, subprocess.TimeoutExpired) as failure:
        bench.failed += 1
        say(f"decoding: {failure}")
    text = page(bench, listed, idle, steps, decoders, congestion, began)
    with open(write, "w") as f:
        f.write(text)
    say(text[text.index("## Targets") :].split("\n## ")[0])
    say(f"compare: {write} written, {time.monotonic() - began:.0f} s, {bench.failed} runs failed")
    return 1 if bench.failed or (options.quick and any(side.missing for side in sides)) else 0


if __name__ == "__main__":
    sys.exit(main())
