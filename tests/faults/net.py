#!/usr/bin/env python3
"""framed on two hosts: network namespaces, and between them a cable (tun.c) that delays, loses, doubles and reorders packets,
is cut and mended; bytes that it changes behind TCP's back; resets from a packet filter; addresses that cannot be reached. Plain, with
checksums, and with keys.

    net.py FRAMED TUN [--short]      prints "N checks, N failed"

Checked are outcomes and counts, never times: every reply is right, every call ends in one of its three ways, the server lets a
dead peer go by its own deadlines and serves on. Owns: the two hosts and the scenarios. Must not know: how tun.c does it.
Invariant: whatever was started or made is ended and removed, also after a signal.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import keys

PATIENCE_S = 120  # a hang; nothing is measured against it
NEAR, FAR = f"framed-{os.getpid()}-near", f"framed-{os.getpid()}-far"  # clients, servers
NEAR_IP, FAR_IP, FAR_IP6 = "10.77.0.1", "10.77.0.2", "fd77::2"
EPOLL, POLL = 4464, 4465
READY = re.compile(r"^framed: listening on ", re.M)

started = []
checks = failed = 0


class Broken(Exception):
    """The rig itself: nothing can be said of framed."""


def check(holds, what, detail=""):
    global checks, failed
    checks += 1
    if not holds:
        failed += 1
        print(f"FAILED  {what}: {detail}", flush=True)
    return holds


# ---- hosts and processes ----


def ip(*args):
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"ip {' '.join(args)}: {done.stderr.strip()}")


def nft(host, script):
    done = subprocess.run(["ip", "netns", "exec", host, "nft", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Broken(f"nft: {done.stderr.strip()}")


@contextlib.contextmanager
def packet_filter(host, hook, rule):
    nft(host, f"add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; add rule inet t c {rule}")
    try:
        yield
    finally:
        nft(host, "delete table inet t")


class Process:
    """On one of the hosts; what it says goes into files."""

    def __init__(self, host, *command, stdin=subprocess.DEVNULL):
        self.command = command
        self._files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
        inside = ["ip", "netns", "exec", host] if host else []  # which becomes the command
        self.process = subprocess.Popen([*inside, *command], stdin=stdin, stdout=self._files[0], stderr=self._files[1])
        started.append(self)

    def _read(self, i):
        fd = self._files[i].fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0)

    @property
    def out(self):
        return self._read(0)

    @property
    def err(self):
        return self._read(1).decode("utf-8", "replace")

    def wait_for(self, what, holds):
        until = time.monotonic() + PATIENCE_S
        while not holds():
            if self.process.poll() is not None or time.monotonic() > until:
                return check(holds(), what, f"{self.command[1:]} said {self.err!r}")
            time.sleep(0.01)
        return check(True, what)

    def feed(self, data):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def wait(self):
        """The exit code; a hang has the code None."""
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)


class Cable:
    """Between the hosts, while the `with` lasts. `packets`, `lost`, `doubled`, `overtaken` and `spoilt` are known behind it."""

    def __init__(self, tun, **how):
        options = [part for name, value in how.items() for part in (f"--{name}", str(value))]
        self._tun = Process(None, tun, NEAR, FAR, *options)

    def __enter__(self):
        until = time.monotonic() + PATIENCE_S
        while b"ready" not in self._tun.out:
            if self._tun.process.poll() is not None or time.monotonic() > until:
                raise Broken(f"no cable: {self._tun.err.strip()}")
            time.sleep(0.01)
        for host, address, address6 in ((NEAR, NEAR_IP, "fd77::1"), (FAR, FAR_IP, FAR_IP6)):
            ip("-n", host, "address", "add", address + "/24", "dev", "cable")
            ip("-n", host, "address", "add", address6 + "/64", "dev", "cable", "nodad")
            ip("-n", host, "link", "set", "cable", "up")
        return self

    def cut(self):
        self._tun.signal(signal.SIGUSR1)

    def mend(self):
        self._tun.signal(signal.SIGUSR2)

    def __exit__(self, *_):
        self._tun.signal(signal.SIGTERM)
        self._tun.wait()
        counts = re.search(rb"(\d+) packets, (\d+) lost, (\d+) doubled, (\d+) overtaken, (\d+) spoilt", self._tun.out)
        if not counts:
            raise Broken(f"the cable did not say what it did: {self._tun.err}")
        self.packets, self.lost, self.doubled, self.overtaken, self.spoilt = map(int, counts.groups())


def near_socket(port):
    """A connection from the near host to the far one: a thread goes there to make the socket."""
    made = []

    def make():
        with open(f"/run/netns/{NEAR}", "rb") as host:
            if ctypes.CDLL(None, use_errno=True).setns(host.fileno(), 0x40000000) == 0:  # CLONE_NEWNET
                made.append(socket.socket())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise Broken("setns failed")
    made[0].settimeout(PATIENCE_S)
    made[0].connect((FAR_IP, port))
    return made[0]


class Test:
    """The programs, and how they speak: `way` is "plain" or one of keys.ways, with its options of a server and of a client."""

    def __init__(self, framed, tun, way="plain", options=((), ())):
        self.framed = framed
        self.tun = tun
        self.way = way
        self._serves, self._calls = options

    def serve(self, *args):
        server = Process(FAR, self.framed, "serve", *args, *self._serves)
        server.wait_for("a server starts", lambda: READY.search(server.err))
        return server

    def call(self, *args, stdin=subprocess.PIPE):
        return Process(NEAR, self.framed, "call", *args, *self._calls, stdin=stdin)

    def ping(self, *args):
        return Process(NEAR, self.framed, "ping", *args, *self._calls)

    def drain(self, server):
        server.signal(signal.SIGTERM)
        code = server.wait()
        check(code == 0, "a server drains", f"exit {code}, {server.err!r}")

    def assert_serves(self, port, when):
        call = self.call(f"{FAR_IP}:{port}", "-m", "hello", "-m", "again", "-o", "text", stdin=subprocess.DEVNULL)
        code = call.wait()
        check((code, call.out) == (0, b"hello\nagain\n"), f"served {when}", f"exit {code}, {call.out!r}, {call.err!r}")


# ---- a bad cable ----

SIZES = [0, 1, 4, 1447, 1448, 1449, 0, 4096, 16384, 65535, 65536, 65537, 150000]


def frames_of(seed):
    dice = random.Random(seed)
    return b"".join(struct.pack(">I", n) + dice.randbytes(n) for n in dice.sample(SIZES, len(SIZES)))


def right_replies(test, calls, name, loss, jitter):
    """Transfers, pipelined calls and pings at once, over a cable that loses, delays, doubles and reorders."""
    name = f"{name}, {test.way}"
    lines = b"".join(b"line %d\n" % i for i in range(calls))
    before = checks
    with Cable(test.tun, delay=20, jitter=jitter, loss=loss, double=1, seed=1) as cable:
        servers = [test.serve(f"{FAR_IP}:{EPOLL}", f"[{FAR_IP6}]:{EPOLL}"),
                   test.serve(f"{FAR_IP}:{POLL}", "--wait", "poll", "--max-unsent", "2KiB")]  # so that it often stops reading
        at = [f"{FAR_IP}:{EPOLL}", f"[{FAR_IP6}]:{EPOLL}", f"{FAR_IP}:{POLL}"]
        runs = []
        for i, address in enumerate(at):
            runs.append((test.call(address, "--framed", "-o", "framed", "-t", "60s"), frames_of(i)))
            runs.append((test.call(address, "-o", "text", "-t", "60s", "--pipeline", "64"), lines))
        feeders = [threading.Thread(target=lambda c, d: (c.feed(d), c.process.stdin.close()), args=run) for run in runs]
        for feeder in feeders:
            feeder.start()
        pings = [test.ping(address, "-c", "20", "-i", "20ms", "-t", "60s") for address in at]
        for feeder in feeders:
            feeder.join()
        for call, data in runs:
            code = call.wait()
            check(code == 0 and call.out == data, f"{name}: every reply of {call.command[2:]} is right",
                  f"exit {code}, {len(call.out)} bytes of {len(data)}, {call.err!r}")
        for ping in pings:
            code = ping.wait()
            check(code == 0 and b"20 sent, 20 replied, 0 lost" in ping.out, f"{name}: pings", f"exit {code}, {ping.out!r}")
        for server in servers:
            test.drain(server)
    check(min(cable.lost, cable.doubled, cable.overtaken) > 0, f"{name}: the cable was as bad as was asked", vars(cable))
    print(f"{name}: {checks - before} checks; {sum(len(data) for _, data in runs)} bytes each way; {cable.packets} packets, "
          f"{cable.lost} lost, {cable.doubled} doubled, {cable.overtaken} overtaken", flush=True)


# ---- a cable that changes what passes ----


def spoilt(test):
    """Each call has its right replies, in order, until it fails and says so. Plain frames show that TCP notices nothing."""
    before = checks
    data = b"".join(struct.pack(">I", 1000) + random.Random(i).randbytes(1000) for i in range(20))
    whole = failed_calls = wrong = 0
    with Cable(test.tun, delay=1, spoil=2, seed=2) as cable:
        server = test.serve(f"{FAR_IP}:{EPOLL}")
        for _ in range(40):
            call = test.call(f"{FAR_IP}:{EPOLL}", "--framed", "-o", "framed", "-t", "10s")
            call.feed(data)
            code = call.wait()
            whole += (code, call.out) == (0, data)
            wrong += not data.startswith(call.out) or (code == 0 and call.out != data)
            failed_calls += code in (1, 3, 4, 5) and len(call.err.splitlines()) == 1
        test.drain(server)
    if test.way == "plain":
        check(wrong > 0, "what the cable changes passes TCP's checksum", vars(cable))
    else:
        check(wrong == 0, f"spoilt, {test.way}: no reply is wrong", f"{wrong} are")
        check(whole > 0 and failed_calls > 0 and whole + failed_calls == 40, f"spoilt, {test.way}: each call ends well or says why not",
              f"{whole} and {failed_calls} of 40")
    print(f"spoilt, {test.way}: {checks - before} checks; {cable.packets} packets, {cable.spoilt} spoilt; of 40 calls {whole} "
          f"had all replies, {failed_calls} failed, {wrong} had wrong ones", flush=True)


# ---- a cut ----


def outcomes(call):
    return [json.loads(line)["outcome"] for line in call.out.decode().splitlines()]


def begun(test, port, *args):
    """A call with one reply already there."""
    call = test.call(f"{FAR_IP}:{port}", "-o", "json", *args)
    call.feed(b"before\n")
    call.wait_for("the first reply", lambda: call.out.count(b"\n") == 1)
    return call


def raw(port, sends, least):
    sock = near_socket(port)
    sock.sendall(sends)
    got = b""
    while len(got) < least:
        piece = sock.recv(65536)
        if not piece:
            raise Broken("a raw connection ended too soon")
        got += piece
    return sock


def ended(call, code, outcome, words, what):
    """Its first message was answered, the others were not; one line says why."""
    got = call.wait()
    said = call.err.splitlines()
    check(got == code and len(said) == 1 and words in said[0], f"{what}: exit {code}, {words!r}", f"exit {got}, {call.err!r}")
    found = outcomes(call)
    check(found[:1] == ["reply"] and len(found) > 1 and set(found[1:]) <= outcome, f"{what}: outcomes", found)


def cut_cable(test, port, wait):
    before = checks
    hello = struct.pack(">I", 5) + b"hello"
    with Cable(test.tun, delay=20, rate=20000) as cable:
        server = test.serve(f"{FAR_IP}:{port}", "--wait", wait, "--send-timeout", "5s", "--idle-timeout", "10s",
                            "--frame-timeout", "5s")
        # A short cut harms nobody: what was lost is sent again.
        call = begun(test, port, "-t", "60s")
        cable.cut()
        call.feed(b"during\n" * 50)
        time.sleep(1)
        cable.mend()
        code = call.wait()
        check(code == 0 and outcomes(call) == ["reply"] * 51, "a cut of a second: all is answered", f"exit {code}, {call.err!r}")

        # A long one.
        call = begun(test, port, "-t", "5s")
        socks = []  # which speak plain frames
        if test.way == "plain":
            socks = [raw(port, hello, 9), raw(port, hello + struct.pack(">I", 4000) + b"x" * 2000, 9)]
            socks.append(raw(port, struct.pack(">I", 2 << 20) + bytes(2 << 20), 100000))  # most of the reply is still there
        ping = test.ping(f"{FAR_IP}:{port}", "-c", "60", "-i", "100ms", "-t", "2s")
        ping.wait_for("two pings", lambda: ping.out.count(b"\n") >= 2)
        cable.cut()
        call.feed(b"after\nafter\n")
        late = test.call(f"{FAR_IP}:{port}", "-m", "x", "-t", "2s", stdin=subprocess.DEVNULL)
        ended(call, 4, {"maybe_executed", "not_executed"}, "no reply within 5 s", "a call cut off")
        code = late.wait()
        check(code == 4 and "not connected within 2 s" in late.err, "a call begun in the cut", f"exit {code}, {late.err!r}")
        code = ping.wait()
        check(code == 1 and b" replied, " in ping.out, "ping loses some", f"exit {code}, {ping.out[-200:]!r}")
        left = (("idle for too long", 3), ("a frame was not finished in time", 1), ("does not take what is sent", 1))
        for words, n in left if socks else (("idle for too long", 2),):
            server.wait_for(f"the server gives a dead peer up: {words}", lambda w=words, n=n: server.err.count(w) == n)
        check(server.err.count(" closed: ") == 3 + len(socks), "every connection was let go", server.err)
        for sock in socks:
            sock.close()
        cable.mend()
        test.assert_serves(port, "after the cut")
        test.drain(server)
    check(cable.lost > 0, "the cable was cut", vars(cable))
    print(f"cut, --wait {wait}, {test.way}: {checks - before} checks; {cable.packets} packets, {cable.lost} lost", flush=True)


# ---- resets ----


def resets(test, port, wait):
    before = checks
    with Cable(test.tun, delay=5):
        server = test.serve(f"{FAR_IP}:{port}", "--wait", wait)
        call = begun(test, port)
        with packet_filter(NEAR, "output", f"tcp dport {port} reject with tcp reset"):
            call.feed(b"after\n")
            ended(call, 1, {"maybe_executed", "not_executed"}, "reset", "a call that is reset")
        call = begun(test, port)
        with packet_filter(NEAR, "input", f"tcp sport {port} reject with tcp reset"):
            call.feed(b"after\n")
            server.wait_for("the server notices a reset", lambda: "closed: the connection was reset" in server.err)
        call.signal(signal.SIGKILL)
        test.assert_serves(port, "after the resets")
        test.drain(server)
    print(f"resets, --wait {wait}, {test.way}: {checks - before} checks", flush=True)


# ---- nobody there ----


def unreachable(test):
    before = checks
    for kind, net in (("blackhole", "10.99.0.0/16"), ("unreachable", "10.98.0.0/16"), ("prohibit", "10.97.0.0/16")):
        ip("-n", NEAR, "route", "add", kind, net)
    cases = [
        ("a blackhole route", "10.99.0.1:80", [], 3, "unreachable"),
        ("an unreachable route", "10.98.0.1:80", [], 3, "unreachable"),
        ("a prohibited route", "10.97.0.1:80", [], 3, "permission denied"),
        ("no route", "10.96.0.1:80", [], 3, "unreachable"),
        ("no IPv6 route", "[fd99::1]:80", [], 3, "unreachable"),
        ("nobody listens", f"{FAR_IP}:9", [], 3, "refused"),
        ("packets vanish", f"{FAR_IP}:{EPOLL}", ["-t", "1s"], 4, "not connected within 1 s"),
        ("packets vanish, TCP gives up first", f"{FAR_IP}:{EPOLL}", [], 4, "timed out"),
    ]
    with Cable(test.tun, delay=5), packet_filter(FAR, "input", f"tcp dport {EPOLL} drop"):
        retries = ["ip", "netns", "exec", NEAR, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1"]
        subprocess.run(retries, check=True)  # three seconds instead of two minutes
        for what, address, options, code, words in cases:
            for command in (["call", "-m", "x"], ["ping", "-c", "1"]):
                run = Process(NEAR, test.framed, command[0], address, *command[1:], *options)
                got = run.wait()
                said = run.err.splitlines()
                check(got == code and len(said) == 1 and words in said[0], f"{command[0]}, {what}: exit {code}, {words!r}",
                      f"exit {got}, {run.err!r}")
    print(f"nobody there: {checks - before} checks", flush=True)


# ---- all of it ----


def hosts():
    for host in (NEAR, FAR):
        try:
            ip("netns", "add", host)
        except (Broken, OSError) as failure:
            raise Broken(f"no network namespaces here: {failure}") from None
        ip("-n", host, "link", "set", "lo", "up")


def clean_up():
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()
    for host in (NEAR, FAR):
        subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("framed")
    parser.add_argument("tun")
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    programs = os.path.abspath(options.framed), os.path.abspath(options.tun)
    test = Test(*programs)
    folder = tempfile.TemporaryDirectory()  # of keys
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        hosts()
        guarded = [Test(*programs, way, both) for way, both in keys.ways(programs[0], folder.name).items()]
        right_replies(test, 300, "loss 2 %", 2, 15)
        resets(test, POLL, "poll")
        unreachable(test)
        for each in (test, *guarded):
            spoilt(each)
        for each in guarded[-1:] if options.short else guarded:
            right_replies(each, 300, "loss 2 %", 2, 15)
            resets(each, EPOLL, "epoll")
        if not options.short:
            right_replies(test, 1000, "loss 1 %", 1, 5)
            right_replies(test, 1000, "loss 5 %", 5, 30)
            resets(test, EPOLL, "epoll")
            cut_cable(test, EPOLL, "epoll")
            cut_cable(test, POLL, "poll")
            for each in guarded[1:]:
                cut_cable(each, EPOLL, "epoll")
    except Broken as failure:
        check(False, "the rig", failure)
    finally:
        clean_up()
        folder.cleanup()
    print(f"{checks} checks, {failed} failed")
    return 0 if checks > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
