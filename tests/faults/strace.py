#!/usr/bin/env python3
"""Errors injected by strace at each system call of `framed serve`, `call`, `ping` and `inspect`, one in each run.

Counting runs of each role tell which system calls it makes after main has begun, and how often. Then every occurrence of
every call (of calls made more than MOST times, a choice) fails with every errno that fits it (injections.py), and the run is
judged: no crash, no hang, a documented exit code, at most one line that says what failed, no wrong or doubled reply, exit 0
only if all came; an error at one connection harms at most that one; the side without injections ends orderly.

    strace.py FRAMED [--sample N] [--only ROLE] [--sanitized]      prints "N injections, N failed"

Owns: runs and verdicts. Must not know: which errors are fitting. Invariant: a run counts as an injection only if strace says
that it injected.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import injections
import keys
from keys import MINE, PINNED, SHARED, placed

PATIENCE_S = 60  # a hang; nothing is measured against it
MOST = 24  # of the occurrences of one call in one role
JOBS = 2
COUNTED = 3  # runs that count
AGAIN = 3  # runs until an occurrence is given up as not reached: how bytes are cut into receives is not ours to say

BIG = "abcdefghij" * 15000
LINES = ["one", "", "three", "x" * 70000, "five"]
SAID = re.compile(rb"^framed: \S.*\n$")
READY = re.compile(rb"^framed: listening on ")
LOGGED = re.compile(rb"^framed: (\S+( \(\S+\))? closed: .|\S+ refused: .|accepting failed: .+; trying again$|\d+ log lines were left out$)")
UNSUPPORTED = ("EAFNOSUPPORT", "EOPNOTSUPP")

Injection = collections.namedtuple("Injection", "name n what")
NOTHING = Injection("nothing", 0, "")
running = set()
stopping = threading.Event()


class Failed(Exception):
    pass


def fresh_address(host=None):
    """A loopback address that nobody has used: what an earlier server left in TIME_WAIT is of no matter here."""
    host = host or f"127.{random.randrange(64, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    return f"{host}:{random.randrange(10000, 30000)}"


# ---- processes ----


class Run:
    """A framed under strace (or, without `injection`, as it is), in a folder of its own."""

    def __init__(self, framed, folder, args, injection, stdin=subprocess.DEVNULL):
        self.args = args
        self.path = tempfile.mkdtemp(dir=folder)
        self.log = os.path.join(self.path, "strace")
        command = [framed, *args]
        self.traced = injection is not None
        if self.traced:
            command = ["strace", "-D", "-f", "-q", "-o", self.log, *self._which(injection), "--", *command]
        with open(self._file("out"), "wb") as out, open(self._file("err"), "wb") as err:
            self.process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, start_new_session=True)
        running.add(self)

    @staticmethod
    def _which(injection):
        if injection == NOTHING:
            return ["-e", "trace=all"]
        what = f"retval={injection.what[1:]}" if injection.what[0] == "=" else f"error={injection.what}"
        return ["--seccomp-bpf", "-e", f"trace={injection.name}", "-e", f"inject={injection.name}:{what}:when={injection.n}"]

    def _file(self, name):
        return os.path.join(self.path, name)

    def _read(self, name):
        try:
            with open(self._file(name), "rb") as file:
                return file.read()
        except FileNotFoundError:  # strace has not begun yet
            return b""

    @property
    def out(self):
        return self._read("out")

    @property
    def err(self):
        return self._read("err")

    def trace(self):
        return self._read("strace").decode("utf-8", "replace")

    def wait(self):
        """The exit code, once strace has written everything too."""
        try:
            code = self.process.wait(PATIENCE_S)
            until = time.monotonic() + PATIENCE_S
            while self.traced and not re.search(r"\+\+\+ (exited with \d+|killed by .*) \+\+\+\s*$", self.trace()):
                if time.monotonic() > until or stopping.is_set():
                    raise Failed("strace did not end")
                time.sleep(0.001)
        except subprocess.TimeoutExpired:
            raise Failed(f"hangs: {' '.join(self.args)[:80]} did not end within {PATIENCE_S} s; it said {self.err!r}") from None
        else:
            running.discard(self)
        finally:
            self.close()
        if code < 0:
            raise Failed(f"crash: {' '.join(self.args)[:80]} ended by {signal.Signals(-code).name}; it said {self.err!r}")
        return code

    def kill(self):
        """With its strace, which -D has made a child's child in the same group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self):
        if self in running:
            self.kill()
            self.process.wait()
            running.discard(self)

    def wait_ready(self):
        """True: it listens. False: it has ended."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and not stopping.is_set():
            if READY.search(self.err):
                return True
            if self.process.poll() is not None:
                return False
            if self.traced and re.search(r"write\(2, .*\(INJECTED\)", self.trace()):
                return True  # the line was lost; it is said behind the listen
            time.sleep(0.001)
        raise Failed("hangs: neither ready nor ended")


def injected_args(trace):
    """The arguments of the call that was injected, or None."""
    found = re.search(r"\w+\((.*)\) += .*\(INJECTED\)", trace)
    return found.group(1) if found else None


# ---- judging ----


def say_once(err, who, injection=None):
    if not SAID.match(err) or err.count(b"\n") != 1:
        raise Failed(f"{who}: not one line on stderr: {err!r}")
    if injection and not injections.explained(injection.what, err.decode()):
        raise Failed(f"{who}: the line does not say what failed: {err!r}")


def judge_call(code, out, err, sent, injection=None, output_failed=False):
    """Of `call -o json`. Returns whether all was answered."""
    lines = out.decode().split("\n")
    if lines.pop() != "" and not output_failed:
        raise Failed(f"call: a cut line on stdout, exit {code}: {out[-80:]!r}")
    results = [json.loads(line) for line in lines]
    if len(results) > len(sent):
        raise Failed(f"call: {len(results)} results of {len(sent)} messages")
    replies = [r["outcome"] == "reply" for r in results]
    for i, result in enumerate(results):
        if result["seq"] != i + 1:
            raise Failed(f"call: result {i + 1} has number {result['seq']}")
        if replies[i] and result["text"] != sent[i]:
            raise Failed(f"call: a wrong reply to message {i + 1}: {result['text'][:60]!r}")
        if replies[i] and not all(replies[:i]):
            raise Failed(f"call: a reply behind a failed one: {replies}")
    if code == 0 and (err or len(results) != len(sent) or not all(replies)):
        if not (output_failed and not err):
            raise Failed(f"call: exit 0 with {sum(replies)} of {len(sent)} replies, saying {err!r}")
    if code != 0:
        if code not in (1, 3, 4, 5, 6) and not (code == 7 and injection and injection.what in UNSUPPORTED):
            raise Failed(f"call: exit {code}, {err!r}")
        say_once(err, "call", injection)
    return code == 0


def judge_log(err, code, who, injection=None):
    """Of a server: its lines but at most one are log lines, that one only if it failed."""
    rest = [line for line in err.splitlines(True) if not READY.match(line) and not LOGGED.match(line)]
    if code == 0 and rest:
        raise Failed(f"{who}: exit 0 and {rest}")
    if code != 0:
        say_once(b"".join(rest), who, injection)


# ---- a server with injections ----


class Server:
    def __init__(self, name, args, unix=False, keys=()):
        self.name = name
        self._args = args
        self._unix = unix
        self._keys = keys  # of both ends; without one a plain peer comes, too

    def _address(self, folder):
        if not self._unix:
            return fresh_address()
        path = tempfile.mkdtemp(dir=folder) + "/stale.sock"  # left behind by a server that died
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        return f"unix:{path}"

    def run(self, framed, folder, injection):
        address = self._address(folder)
        server = Run(framed, folder, ["serve", address, *self._args, *placed(self._keys, folder)], injection)
        try:
            ready = server.wait_ready()
            harmed = self._converse(framed, folder, address) if ready else 0
            ended = server.process.poll() is not None or b"the server failed" in server.err
            if not ended:
                server.process.send_signal(signal.SIGTERM)
            code = server.wait()
        finally:
            server.close()
        return server, lambda: self._judge(server, injection, code, ready, ended, harmed)

    def _converse(self, framed, folder, address):
        """Three clients, one after the other; how many of them were not served."""
        big = os.path.join(folder, "big")
        return (self._call(framed, folder, address, ["-f", big, "-m", "x", "-m", ""], [BIG, "x", ""])
                + (0 if self._keys else self._illegal(address))
                + self._call(framed, folder, address, ["-m", "next"], ["next"]))

    def _call(self, framed, folder, address, args, sent):
        call = Run(framed, folder, ["call", address, "-o", "json", "-t", "20s", *args, *placed(self._keys, folder)], None)
        code = call.wait()
        if code == 4:
            raise Failed(f"the client is left waiting: {call.err!r}")
        return 0 if judge_call(code, call.out, call.err, sent) else 1

    @staticmethod
    def _illegal(address):
        """One request, then a length that no frame may have: the reply, then the end."""
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            where = address[5:]
        else:
            sock = socket.socket()
            host, port = address.split(":")
            where = (host, int(port))
        with sock:
            sock.settimeout(PATIENCE_S)
            frame = struct.pack(">I", 5) + b"hello"
            got = b""
            try:
                sock.connect(where)
                sock.sendall(frame)
                while len(got) < len(frame) and (piece := sock.recv(100)):
                    got += piece
                sock.sendall(b"\xff\xff\xff\xff")
                while piece := sock.recv(100):
                    got += piece
            except TimeoutError:
                raise Failed("hangs: a peer that sent an illegal length is neither answered nor ended") from None
            except OSError:
                pass  # reset: it was harmed
        if got not in (frame, frame[: len(got)]):
            raise Failed(f"a wrong reply: {got!r}")
        return 0 if got == frame else 1

    def _judge(self, server, injection, code, ready, ended, harmed):
        name, _, what = injection
        in_use = self._unix and b"address already in use" in server.err  # who cannot tell that a path is stale leaves it
        judge_log(server.err, code, "serve", None if in_use else injection)
        may_end = not ready or name in ("epoll_wait", "poll")
        if code == 128 + signal.SIGTERM and b"the server failed" in server.err:
            code = 6  # the signal came while it ended for the other reason
        if code not in (0, 3, 6) and not (code == 7 and what in UNSUPPORTED):
            raise Failed(f"serve: exit {code}")
        if injections.is_harmless(name, what) or (name, what) == ("poll", "ENOMEM"):
            if code != 0 or harmed:
                raise Failed(f"harmless, but exit {code} and {harmed} clients not served: {server.err!r}")
        elif (ended or code != 0) and not may_end:
            raise Failed(f"serve: ended with {code}: {server.err!r}")
        elif not ended and harmed > 1:
            raise Failed(f"{harmed} clients not served: {server.err!r}")


# ---- clients with injections, served by one that has none ----


class Client:
    def __init__(self, name, args, sent, stdin=b"", judge=None, serve=(), host=None, resolves=()):
        self.name = name
        self._resolves = resolves  # what libc calls to find a name: not its connection's
        self._serve = serve
        self._host = host
        self._args = args
        self._sent = sent
        self._stdin = stdin
        self._judge_end = judge or self._judge_call

    def run(self, framed, folder, injection):
        address = fresh_address(self._host)
        server = Run(framed, folder, ["serve", address, *placed(self._serve, folder)], None)
        try:
            if not server.wait_ready():
                raise Failed(f"the server did not start: {server.err!r}")
            client = self._client(framed, folder, address, injection)
            code = client.wait()
            server.process.send_signal(signal.SIGTERM)
            server_code = server.wait()
        finally:
            server.close()
        return client, lambda: self._judge(client, injection, code, server, server_code)

    def _client(self, framed, folder, address, injection):
        words = {"ADDRESS": address, "LOCALHOST": address.replace("127.0.0.1", "localhost")}
        args = [words.get(arg, arg) for arg in placed(self._args, folder)]
        stdin, feed = os.pipe()
        os.set_blocking(feed, False)
        os.set_inheritable(feed, False)
        try:
            client = Run(framed, folder, args, injection, stdin=stdin)
        finally:
            os.close(stdin)
        until = time.monotonic() + PATIENCE_S
        rest = self._stdin
        try:
            while rest and client.process.poll() is None and time.monotonic() < until:
                try:
                    rest = rest[os.write(feed, rest):]
                except BlockingIOError:
                    time.sleep(0.001)
        except BrokenPipeError:
            pass
        finally:
            os.close(feed)
        return client

    def _judge(self, client, injection, code, server, server_code):
        if server_code != 0:
            raise Failed(f"the server ended with {server_code}: {server.err!r}")
        judge_log(server.err, 0, "the server")
        args = injected_args(client.trace()) or ""
        self._judge_end(client, code, injection, injection.name == "write" and args.startswith("1,"))
        resolving = injection.name in self._resolves and not args.startswith("0,")
        if injections.is_harmless(injection.name, injection.what) and code != 0 and not (resolving and code == 3):
            raise Failed(f"harmless, but exit {code}: {client.err!r}")

    def _judge_call(self, client, code, injection, output_failed):
        sent = list(self._sent)
        if (injection.name, injection.what) == ("read", "=0"):  # the input, or the file of a message, ends earlier
            texts = [json.loads(line)["text"] for line in client.out.splitlines()]
            shorter = [s[: len(t)] for s, t in zip(sent, texts)]
            whole = len(sent) - len(texts) + sum(a == b for a, b in zip(sent, shorter))
            sent = shorter if whole >= len(sent) - 1 else sent
        judge_call(code, client.out, client.err, sent, injection, output_failed)


def judge_ping(client, code, injection, output_failed):
    """Three lines and a summary; what is lost is said on stdout."""
    if code not in (0, 1, 3, 4, 5, 6) and not (code == 7 and injection.what in UNSUPPORTED):
        raise Failed(f"ping: exit {code}, {client.err!r}")
    seqs = [int(n) for n in re.findall(rb"^reply from \S+: seq (\d+)  4 B", client.out, re.M)]
    if seqs != list(range(1, len(seqs) + 1)):
        raise Failed(f"ping: replies {seqs}")
    if code == 0 and not output_failed and (b": 3 sent, 3 replied, 0 lost" not in client.out or len(seqs) != 3 or client.err):
        raise Failed(f"ping: exit 0 with {client.out!r}, {client.err!r}")
    if code != 0 and b" lost" not in client.out or client.err:
        say_once(client.err, "ping", injection)


def judge_no_reply(client, code, injection, _output_failed):
    if code not in (0, 1, 3, 4, 5, 6) and not (code == 7 and injection.what in UNSUPPORTED):
        raise Failed(f"call: exit {code}, {client.err!r}")
    if client.out or (code == 0 and client.err):
        raise Failed(f"call: exit {code}, {client.out!r}, {client.err!r}")
    if code != 0:
        say_once(client.err, "call")  # resolving has reasons of its own


class Inspect:
    """No connection: a file of three frames."""

    name = "inspect"

    def __init__(self):
        self._whole = None

    def run(self, framed, folder, injection):
        inspect = Run(framed, folder, ["inspect", "--json", os.path.join(folder, "frames")], injection)
        code = inspect.wait()
        if injection == NOTHING:
            self._whole = inspect.out
        return inspect, lambda: self._judge(inspect, injection, code)

    def _judge(self, run, injection, code):
        name, _, what = injection
        shorter = name == "read" and what == "=0"  # the file ends earlier: perhaps inside a frame
        if code not in (0, 6) and not (shorter and code == 5):
            raise Failed(f"inspect: exit {code}, {run.err!r}")
        if code == 6:
            say_once(run.err, "inspect", injection)
        elif run.err:
            raise Failed(f"inspect: exit {code}, {run.err!r}")
        found, whole = run.out.split(b"\n"), self._whole.split(b"\n")
        if code == 5:
            found = found[:-2]
        if found[:-1] != whole[: len(found) - 1] or (code == 0 and what != "EPIPE" and not shorter and found != whole):
            raise Failed(f"inspect: exit {code}, printed {run.out[-200:]!r}")
        if injections.is_harmless(name, what) and code != 0:
            raise Failed(f"harmless, but exit {code}: {run.err!r}")


# ---- roles and cases ----

CALL = ["call", "ADDRESS", "-o", "json", "-t", "20s"]
ROLES = [
    Server("serve --wait epoll", ["--wait", "epoll"]),
    Server("serve --wait poll", ["--wait", "poll"]),
    Server("serve unix:PATH, stale", ["--wait", "epoll"], unix=True),
    Client("call, lines", CALL, LINES, stdin="".join(line + "\n" for line in LINES).encode()),
    Client("call -f FILE -m TEXT", [*CALL, "--pipeline", "2", "-f", "FOLDER/big", "-m", "x", "-m", "", "-m", "y"],
           [BIG, "x", "", "y"]),
    Client("call --no-reply, to localhost", ["call", "LOCALHOST", "--no-reply", "-t", "20s"], [], stdin=b"one\ntwo\n",
           judge=judge_no_reply, serve=["--discard"], host="127.0.0.1", resolves=("openat", "read")),
    Client("ping -c 3", ["ping", "ADDRESS", "-c", "3", "-i", "2ms", "-t", "20s"], [], judge=judge_ping),
    Inspect(),
]
# With libsodium:
KEYED_ROLES = [
    Server("serve --psk", ["--wait", "epoll"], keys=SHARED),
    Client("call --psk", [*CALL, *SHARED, "-f", "FOLDER/big", "-m", "x", "-m", ""], [BIG, "x", ""], serve=SHARED),
    Client("call --key", [*CALL, *MINE, "-m", "x"], ["x"], serve=PINNED),
]


def calls_of(trace):
    """What the process calls after main has begun: NAME: [(n, arguments)], n being strace's count from the exec on."""
    seen = collections.Counter()
    calls = collections.defaultdict(list)
    begun = False
    for line in trace.splitlines():
        found = re.match(r"\d+ +(\w+)\((.*)\) += ", line) or re.match(r"\d+ +(\w+)\((.*)$", line)
        if not found:
            continue
        name, args = found.groups()
        seen[name] += 1
        begun = begun or (name == "fcntl" and args.startswith("0, F_GETFD"))  # the first thing that main does
        if begun and name not in injections.CANNOT_FAIL:
            calls[name].append((seen[name], args))
    if not begun:
        raise Failed("the counting run never came to main")
    return calls


def fewest_calls(role, framed, folder):
    """Of several counting runs, each call as seldom as it was made: how often it waits and receives depends on when bytes come."""
    runs = []
    for _ in range(COUNTED):
        run, judge = role.run(framed, folder, NOTHING)
        judge()
        runs.append(calls_of(run.trace()))
    return {name: min((calls[name] for calls in runs if name in calls), key=len) for name in set().union(*runs)}


def cases_of(calls, sanitized):
    unknown = sorted(set(calls) - set(injections.ERRNOS))
    if sanitized:
        for name in injections.SANITIZERS.union(unknown) & set(calls):
            del calls[name]
    elif unknown:
        raise Failed(f"no errnos known for: {', '.join(unknown)} (tests/faults/injections.py)")
    for name, made in sorted(calls.items()):
        for i in injections.occurrences(len(made), MOST):
            n, args = made[i - 1]
            for what in injections.ERRNOS[name]:
                if injections.fits(name, what, args):
                    yield Injection(name, n, what)


def inject(role, framed, folder, injection):
    """"injected", "not reached", or what is wrong."""
    if stopping.is_set():
        return "interrupted"
    mine = tempfile.mkdtemp(dir=folder)
    try:
        for entry in os.scandir(folder):
            if entry.is_file():
                os.link(entry.path, os.path.join(mine, entry.name))
        for _ in range(AGAIN):
            run, judge = role.run(framed, mine, injection)
            args = injected_args(run.trace())
            if args is not None and injections.fits(injection.name, injection.what, args):
                judge()
                return "injected"
            if args is None and run.process.returncode != 0:
                raise Failed(f"nothing was injected, and exit {run.process.returncode}: {run.err!r}")
        return "not reached"
    except Failed as failure:
        return str(failure)
    except Exception as failure:  # the rig's own: a failure too, never a pass
        return f"{type(failure).__name__}: {failure}"
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def report(role, injection, problem):
    name, n, what = injection
    print(f"FAILED  {role.name}: {name} number {n}, {what}: {problem}", flush=True)


def check_role(role, framed, folder, sample, sanitized, pool):
    """Injections made and failed."""
    calls = fewest_calls(role, framed, folder)
    cases = list(cases_of(calls, sanitized))
    if sample and sample < len(cases):
        cases = [cases[i * len(cases) // sample] for i in range(sample)]
    verdicts = pool.map(lambda case: inject(role, framed, folder, case), cases)
    count = collections.Counter()
    for injection, verdict in zip(cases, verdicts):
        kind = verdict if verdict in ("injected", "not reached") else "failed"
        count[kind] += 1
        if kind == "failed":
            report(role, injection, verdict)
    made = count["injected"] + count["failed"]
    choice = [name for name in calls if len(calls[name]) > MOST]
    print(f"{role.name}: {len(calls)} system calls, {sum(map(len, calls.values()))} occurrences; {made} injections, "
          f"{count['not reached']} not reached, {count['failed']} failed"
          + (f" (of {', '.join(choice)}: {MOST} occurrences)" if choice else ""), flush=True)
    if count["not reached"] * 10 > len(cases):
        print(f"FAILED  {role.name}: more than a tenth was not reached")
        return made, count["failed"] + 1
    return made, count["failed"]


def end(*_):
    stopping.set()  # the cases that wait are over at once
    for run in list(running):
        run.kill()
    sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("framed")
    parser.add_argument("--sample", type=int, default=0, help="so many injections of each role; 0: all")
    parser.add_argument("--only", default="", help="roles with this in their name")
    parser.add_argument("--sanitized", action="store_true", help="FRAMED has a sanitizer, whose own calls are left alone")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    made = failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        with open(os.path.join(folder, "big"), "w", encoding="ascii") as file:
            file.write(BIG)
        with open(os.path.join(folder, "frames"), "wb") as file:
            file.write(b"".join(struct.pack(">I", len(p)) + p for p in (b"one", b"", BIG.encode(), b"last")))
        keyed = keys.make(os.path.abspath(options.framed), folder)
        for role in ROLES + (KEYED_ROLES if keyed else []):
            if options.only in role.name:
                try:
                    m, f = check_role(role, os.path.abspath(options.framed), folder, options.sample, options.sanitized, pool)
                except Failed as failure:
                    print(f"FAILED  {role.name}: {failure}")
                    m, f = 0, 1
                made, failed = made + m, failed + f
    print(f"{made} injections, {failed} failed")
    return 0 if made > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
