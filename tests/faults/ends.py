"""Sudden ends: the server is killed, connections are reset at every byte, the disk is full.

Each rig takes Bounds to hold and whether it is to be short, and returns its figures. The last one mounts: in a mount namespace
of our own (sockets.sh). Must not know: the insides of the library.
"""

import contextlib
import fcntl
import json
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import rig


# ---- SIGKILL ----

OUTCOMES = ("reply", "not_executed", "maybe_executed")
KILLED = {1: "reset|closed the connection", 5: "cut off"}  # 5: with keys the end is known not to be the server's
TALLY = dict.fromkeys(OUTCOMES, 0)


class Caller:
    """`framed call` with more lines than it can send before the server is killed."""

    LINES = 100000

    def __init__(self, address, name, pipeline, mine):
        self.path = os.path.join(rig.DIRECTORY, f"call-{name}")
        self.text = f"{name} " + "x" * random.choice((0, 0, 300, 3000)) + " "
        with open(self.path + ".in", "w", encoding="ascii") as lines:
            self.lines = self.LINES // (1 + len(self.text) // 100)
            lines.writelines(f"{self.text}{i}\n" for i in range(1, 1 + self.lines))
        with open(self.path + ".in", "rb") as data, open(self.path, "wb") as out:
            command = [rig.FRAMED, "call", address, "-o", "json", "-t", "60s", "--pipeline", str(pipeline), *mine]
            self.process = subprocess.Popen(command, stdin=data, stdout=out, stderr=subprocess.PIPE)

    def has_replies(self):
        return os.path.getsize(self.path) > 0 or self.process.poll() is not None

    def judge(self, bounds):
        """Each message that was taken ended in one way, once; exit code and line agree with it. How they ended."""
        _, err = self.process.communicate(timeout=rig.PATIENCE_S)
        with open(self.path, encoding="utf-8") as out:
            ends = [json.loads(line) for line in out]
        tally = {outcome: sum(e["outcome"] == outcome for e in ends) for outcome in OUTCOMES}
        said = err.decode().splitlines()
        replies, code = tally["reply"], self.process.returncode
        bounds.hold([e["seq"] for e in ends] == list(range(1, len(ends) + 1)), f"{self.text[:20]}: not each message once")
        bounds.hold(sum(tally.values()) == len(ends), f"{self.text[:20]}: an end of another kind")
        bounds.hold(all(e["outcome"] == "reply" and e["text"] == f"{self.text}{i}" for i, e in enumerate(ends[:replies], 1)),
                    f"{self.text[:20]}: replies that are not the calls' own, or not the first")
        well = code == 0 and said == [] if replies == self.lines else code in (1, 5) and len(said) == 1
        bounds.hold(well and all(re.search(KILLED[code], line) for line in said),
                    f"{self.text[:20]}: exit {code}, {said}")
        counted = re.search(r"; (\d+) of (\d+) messages unanswered", err.decode())
        unanswered = (int(counted.group(1)), int(counted.group(2))) if counted else (0, len(ends))
        bounds.hold(unanswered == (len(ends) - replies, len(ends)), f"{self.text[:20]}: {said}, but {tally} of {len(ends)}")
        for outcome in OUTCOMES:
            TALLY[outcome] += tally[outcome]


def kill_tool(bounds, address, i, way):
    """A round with the tool on both sides. The address, from then on."""
    options, mine = way
    server = rig.Serve(*random.choice(((), ("--delay", "2ms"), ("--wait", "poll"))), *options, address=address)
    callers = [Caller(server.address, f"{i}-{pipeline}", pipeline, mine) for pipeline in (1, 16, 64, 1000)]
    rig.wait_until(lambda: all(c.has_replies() for c in callers), "replies before the kill")
    time.sleep(random.uniform(0, 0.03))
    code = server.end(signal.SIGKILL)
    bounds.hold(code == -signal.SIGKILL, f"the server had ended with {code} before it was killed")
    for caller in callers:
        caller.judge(bounds)
    done = rig.run_call(server.address, "-m", "x", *mine)
    bounds.hold(done.returncode == 3 and done.stderr.count("\n") == 1, f"nobody there: exit {done.returncode}, {done.stderr}")
    return server.address


def sigkill(bounds, short):
    """4. kill -9 of the server with many calls open: each ends in one of its three ways; the next server takes the port."""
    rounds = 5 if short else 100
    ways = [((), ()), *rig.ways().values()]
    ledger = rig.Ledger("sigkill")
    served, at = rig.listening(rig.program("server"), ledger.path, "127.0.0.1:0")
    with_keys = ("pipelined/psk", "blocking/pinned", "foreign/both") if len(ways) > 2 else ()
    swarm = ledger.swarm(at, "blocking", "pipelined:2", "foreign", "pipelined/crc32c", *with_keys)
    address = "127.0.0.1:0"
    for i in range(rounds):
        address = kill_tool(bounds, address, i, ways[i % len(ways)])
        before = ledger.figures()["replies"]
        rig.wait_until(lambda b=before: ledger.figures()["replies"] > b, "the swarm's replies")
        rig.end(served, signal.SIGKILL)
        served.stdout.close()
        served, _ = rig.listening(rig.program("server"), ledger.path, at)
    code = rig.end(swarm)
    rig.end(served)
    served.stdout.close()
    figures = ledger.figures()
    bounds.hold(code == 0 and rig.losses(figures) == "", f"the swarm: exit {code}, {rig.losses(figures)}")
    ends = sum(figures[name] for name in ("replies", "not_executed", "maybe_executed", "abandoned"))
    bounds.hold(figures["latest_ms"] < rig.LATEST_MS, f"the swarm: a call ended {figures['latest_ms']} ms after its deadline")
    bounds.hold(ends == figures["started"], f"the swarm: {ends} ends of {figures['started']} calls")
    bounds.hold(min(figures["maybe_executed"], TALLY["reply"], TALLY["maybe_executed"]) > 0, "no call was open at any kill")
    tool = ", ".join(f"{n} {outcome}" for outcome, n in TALLY.items())
    names = ("replies", "checked", "sealed", "not_executed", "maybe_executed", "timeouts", "abandoned")
    bounds.hold(figures["checked"] > 0 and (figures["sealed"] > 0) == (len(ways) > 2), "not every way had replies")
    library = ", ".join(f"{figures[name]} {name}" for name in names)
    return (f"{rounds} + {rounds} kills; framed call: {tool}; the library: {library}; "
            f"at most {figures['latest_ms']} ms after a deadline")


# ---- resets ----

SIOCOUTQ = termios.TIOCOUTQ
REQUEST, REPLY = 0, 1  # ways


class Cutter:
    """Passes a connection on, until so many bytes have gone one way; then resets one end or both (the other is closed)."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(rig.PATIENCE_S)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def pass_one(self, way, n, resets):
        # From one address too few a second may begin with keys.
        ends = [self._listener.accept()[0], rig.dial(self._port, source=f"127.0.0.{random.randrange(2, 250)}")]
        for end in ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        left, self.passed = n, [0, 0]
        while left > 0:
            for end in select.select(ends, [], [], rig.PATIENCE_S)[0]:
                here = ends.index(end)
                data = end.recv(min(left, rig.RECEIVE) if here == way else rig.RECEIVE)
                ends[1 - here].sendall(data)
                self.passed[here] += len(data)
                left -= len(data) if here == way else 0
                if not data:
                    left = 0  # the client, with all it wanted
                if left == 0:
                    break
        limit = time.monotonic() + rig.PATIENCE_S
        while any(struct.unpack("i", fcntl.ioctl(end, SIOCOUTQ, bytes(4)))[0] for end in ends) and time.monotonic() < limit:
            time.sleep(0.001)
        for i, end in enumerate(ends):
            if i in resets:
                rig.reset(end)
            else:
                end.close()

    def close(self):
        self._listener.close()


class Shape:
    """How a client speaks, and where its frames are in the bytes that pass: behind so many of an opening, with so many around each."""

    def __init__(self, cutter, name, mine):
        self.name = name
        self.mine = mine
        self.around = 8 if name == "crc32c" else 4
        self.is_known = name in ("plain", "crc32c")  # records may hold any number of frames, whole or in part
        payloads = SMALL
        call_through(cutter, payloads, REPLY, 1 << 30, (), mine)
        self.small = list(cutter.passed)
        self.front = [n - sum(self.around + len(p) for p in payloads) if self.is_known else 0 for n in self.small]

    def within(self, way, n, payloads):
        """How many of these frames are whole in the first n bytes; with keys as many at most."""
        n -= self.front[way]
        whole = 0
        for payload in payloads:
            n -= self.around + len(payload)
            whole += n >= 0
        return whole


def call_through(cutter, payloads, way, n, resets, mine):
    """One call of all payloads through the cutter."""
    thread = threading.Thread(target=cutter.pass_one, args=(way, n, resets), daemon=True)
    thread.start()
    words = [word for payload in payloads for word in ("-m", payload.decode())]
    done = rig.run_call(cutter.address, *words, "-o", "json", "-t", "60s", *mine)
    thread.join(rig.PATIENCE_S)
    return done


def cut_call(cutter, bounds, shape, payloads, way, n, resets):
    """Its outcomes."""
    done = call_through(cutter, payloads, way, n, resets, shape.mine)
    ends = [json.loads(line) for line in done.stdout.decode().splitlines()]
    outcomes = [e["outcome"] for e in ends]
    replies = outcomes.count("reply")
    what = f"{shape.name}: {n} bytes one way ({way}), {resets} reset"
    bounds.hold([e["seq"] for e in ends] == [1, 2, 3] and set(outcomes) <= set(OUTCOMES), f"{what}: {ends}")
    bounds.hold([e.get("text", "").encode() for e in ends[:replies]] == payloads[:replies], f"{what}: wrong replies")
    whole = shape.within(way, n, payloads)
    # Bytes that were delivered before the reset are not lost with it.
    exact = way == REPLY and shape.is_known
    bounds.hold(replies == whole if exact else replies <= whole, f"{what}: {replies} replies, {whole} frames had passed")
    codes = (0,) if replies == 3 else (1, 3, 5) if shape.name != "plain" else (1,) if REQUEST in resets else (1, 5)
    if n == 0 and outcomes == ["not_executed"] * 3 and shape.name == "plain":
        codes = (1, 3)  # it may learn of its connection and of its end at once
    bounds.hold(done.returncode in codes and done.stderr.count("\n") == (done.returncode != 0),
                f"{what}: exit {done.returncode}, {done.stderr}")
    return outcomes


SMALL, LARGE = [b"", b"hello", b"z" * 20], [b"a" * 70000, b"", b"b" * 60000]


def cut_everywhere(bounds, short, name, options, mine):
    server = rig.Serve(*options)
    at_first = rig.descriptors(server.pid)
    rig.serves_on(server, bounds, "before", *mine)
    cutter = Cutter(server.port)
    shape = Shape(cutter, name, mine)
    outcomes = []
    cuts = 0
    for way in (REQUEST, REPLY):
        edges = [shape.front[way] + shape.around + 70000, shape.front[way] + 2 * shape.around + 70000]
        points = [(SMALL, n) for n in range(shape.small[way] + 1)]
        points += [(LARGE, n + d) for n in edges + [2**i for i in range(10, 17)] for d in (-1, 0, 1)]
        for payloads, n in points[:: 3 if short else 1]:
            for resets in ((0, 1),) if short else ((0, 1), (0,), (1,)):
                outcomes += cut_call(cutter, bounds, shape, payloads, way, n, resets)
                cuts += 1
    cutter.close()
    rig.has_descriptors(server, at_first, "after all resets")
    rig.serves_on(server, bounds, "after", *mine)
    rig.drains(server, bounds)
    bounds.hold(server.accounted() == cuts + 3, f"{name}: {server.accounted()} ends of {cuts + 3} connections")
    bounds.hold(set(outcomes) == set(OUTCOMES), f"{name}: {options}: only {set(outcomes)}")
    return cuts, outcomes


def resets(bounds, short):
    """5. A reset after every byte, either way: replies that had come are told, the other calls ended; the server goes on."""
    cuts, outcomes = 0, []
    kinds = [("plain", options, ()) for options in ((), ("--wait", "poll"), ("--delay", "5ms"), ("--workers", "2"))[:: 2 if short else 1]]
    kinds += [(name, *both) for name, both in rig.ways().items()]
    for name, options, mine in kinds:
        more, found = cut_everywhere(bounds, short, name, options, mine)
        cuts += more
        outcomes += found
    ends = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in OUTCOMES)
    return f"{cuts} resets; of {len(outcomes)} calls {ends}; no descriptor left over"


# ---- a full disk ----


@contextlib.contextmanager
def small_disk(kib):
    path = os.path.join(rig.DIRECTORY, "disk")
    os.mkdir(path)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "framed", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
        os.rmdir(path)


def is_full(path):
    return os.statvfs(path).f_bavail == 0


NO_SPACE = "No space left on device"


def full_output(bounds, server):
    """`call` and `inspect FILE` with more to print than there is room for."""
    data = b"".join(rig.frame(os.urandom(1000)) for _ in range(2000))
    for command in (["call", server.address, "--framed", "-o", "framed"], ["call", server.address, "--framed", "-o", "json"],
                    ["inspect", "-"], ["inspect", "-", "--json"]):
        with small_disk(64) as disk, open(os.path.join(disk, "out"), "w+b") as out:
            done = subprocess.run([rig.FRAMED, *command], input=data, stdout=out, stderr=subprocess.PIPE,
                                  timeout=rig.PATIENCE_S, check=False)
            said = done.stderr.decode().splitlines()
            bounds.hold(is_full(disk), f"{command}: there is room left")
            bounds.hold(done.returncode == 6 and len(said) == 1 and "standard output" in said[0] and NO_SPACE in said[0],
                        f"{command}: exit {done.returncode}, {said}")
            out.seek(0)
            wrote = out.read()
            if "-o" in command and "framed" in command:
                bounds.hold(data.startswith(wrote) and len(wrote) > 0, f"{command}: not the beginning of the output")


def full_tap(bounds, server, what):
    """A tap whose record, or whose standard output, has no room: it relays on. The replies that passed."""
    with small_disk(64) as disk:
        path = os.path.join(disk, "file")
        record = ("--record", path) if what == "record" else ()
        with open(os.devnull if record else path, "wb") as shown:
            tap = rig.start(rig.FRAMED, "inspect", "--tap", f"127.0.0.1:0={server.address}", *record, stdout=shown,
                            stderr=subprocess.PIPE)
        address = tap.stderr.readline().decode().split()[3]
        sock = rig.dial(int(address.rsplit(":", 1)[1]))
        replies = 0
        while replies < 500 or not is_full(disk):
            bounds.hold(rig.is_echoed(sock, os.urandom(1000)), f"{what}: a wrong reply through the tap")
            replies += 1
            if replies > 100000:
                raise TimeoutError("the disk does not become full")
        tap.stderr.flush()
        said = tap.stderr.readline().decode()
        for _ in range(500):
            bounds.hold(rig.is_echoed(sock, os.urandom(1000)), f"{what}: a wrong reply through the tap, later")
        sock.close()
        tap.send_signal(signal.SIGTERM)
        rest = tap.stderr.read().decode().splitlines()
        code = rig.end(tap)
        name = path if record else "standard output"
        bounds.hold(NO_SPACE in said and name in said and rest == [] and code == 6, f"{what}: exit {code}, {said!r}, {rest}")
        if record:
            done = subprocess.run([rig.FRAMED, "inspect", path], capture_output=True, timeout=rig.PATIENCE_S, check=False)
            bounds.hold(done.returncode in (0, 5) and done.stdout.count(b"\n") > 10,
                        f"the record that is cut: exit {done.returncode}, {done.stdout[-200:]}, {done.stderr}")
    return replies + 500


def full_log(bounds):
    """A server that cannot say a word: it serves, and drains; what it says when there is room again is there."""
    with small_disk(64) as disk:
        ballast, log = os.path.join(disk, "ballast"), os.path.join(disk, "log")
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        address = "unix:" + os.path.join(rig.DIRECTORY, "quiet.sock")
        with open(log, "wb") as file:
            server = rig.start(rig.FRAMED, "serve", address, stderr=file)
        rig.wait_until(lambda: os.path.exists(address[5:]), "the socket")
        for i in range(50):
            done = rig.run_call(address, "-m", f"{i}")
            bounds.hold((done.returncode, done.stdout) == (0, b"%d" % i), f"no log: exit {done.returncode}, {done.stderr}")
        bounds.hold(os.path.getsize(log) == 0 and is_full(disk), "there was room for a line")
        os.unlink(ballast)
        rig.run_call(address, "-m", "x")
        code = rig.end(server)
        with open(log, encoding="utf-8") as file:
            lines = file.read().splitlines()
        whole = all(re.fullmatch(r"framed: (unix closed: .*|\d+ log lines were left out)", line) for line in lines)
        bounds.hold(code == 0 and len(lines) > 0 and whole, f"no log: exit {code}, {lines}")


def full_disk(bounds, _short):
    """6. No room for what is printed, recorded or logged: one clear line, exit code 6, and whoever is served is served on."""
    server = rig.Serve()
    full_output(bounds, server)
    relayed = [full_tap(bounds, server, what) for what in ("record", "output")]
    full_log(bounds)
    rig.drains(server, bounds)
    return f"call, inspect: exit 6 and a line; taps relayed {relayed[0]} and {relayed[1]} replies; serve without a log served"
