"""Owns: whom the rows are held against: how servers and clients are started, asked and ended, and which rows they can be asked.
Must not know: what is expected of them.
Invariants: whatever was started ends with `close`; a row that somebody cannot be asked is said to be so, not passed.
"""

import base64
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading

from rows import ROOT, frame
from server_role import PROBE

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(ROOT, "tests", "tool"), os.path.join(ROOT, "tests", "peers")]

import toolkit  # noqa: E402
from ends import TWISTED_PYTHON, End  # noqa: E402

DELAY = "20ms"
MOST_OF_OTHERS = 16 << 20  # some take memory for whatever is claimed, at once
OTHERS = {
    "Erlang": ["escript", os.path.join(HERE, "erlang_ends.escript")],
    "Twisted": [TWISTED_PYTHON, "-B", os.path.join(HERE, "twisted_ends.py")],
}


def host_and_port(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


# ---- servers ----


class FramedServers:
    """`framed serve`, with the options of the row."""

    patience = 10

    def __init__(self):
        self._running = {}
        self._lock = threading.Lock()

    def can(self, row):
        return True

    def address(self, row):
        key = tuple(sorted(row.options.items()))
        with self._lock:
            if key not in self._running:
                command = ["serve", "127.0.0.1:0", *framed_options(row.options)]
                self._running[key] = toolkit.Process(*command, stdin=subprocess.DEVNULL)
            server = self._running[key]
        return host_and_port(server.wait_line(toolkit.READY.pattern)[1])

    def answer(self, row):
        """To the probe."""
        reply = row.options.get("reply")
        return PROBE if reply is None else frame(bytes.fromhex(reply.strip("-"))) * 2

    def close(self):
        """What does not drain at once, or not well, has failed all its rows."""
        for server in self._running.values():
            server.signal(signal.SIGTERM)
        codes = [server.wait() for server in self._running.values()]
        for server in self._running.values():
            server.close()
        if any(codes):
            raise AssertionError(f"framed serve ended with {codes}")


def framed_options(options):
    text = {name: bytes.fromhex(value.strip("-")).decode() for name, value in options.items() if name in ("reply", "fails", "error_reply")}
    words = []
    for name in ("max_frame", "max_calls", "max_unsent"):
        if name in options:
            words += ["--" + name.replace("_", "-"), options[name]]
    if "delay" in options:
        words += ["--delay", DELAY]
    if options.get("replies") == "none":
        words += ["--discard"]
    if "reply" in text:
        words += ["--reply", text["reply"]]
    if "fails" in text:
        words += ["--exec", f'x=$(cat); [ "$x" = {text["fails"]} ] && exit 1; printf %s "$x"']
    if "error_reply" in text:
        words += ["--on-error", text["error_reply"]]
    return words


def echo_can(row):
    """Can an echo server be asked that has no options but its limit?"""
    return not set(row.options) - {"max_frame", "max_calls", "max_unsent"}


class OtherServers:
    """An echo of somebody else, in one process with a listener for every limit."""

    patience = 10

    def __init__(self, language, manner, rows):
        self._limits = sorted({limit_of(row) for row in rows if self.can(row)})
        self._end = End([*OTHERS[language], "serve", manner, *map(str, self._limits)])
        self._ready = False

    def can(self, row):
        return echo_can(row) and limit_of(row) <= MOST_OF_OTHERS

    def address(self, row):
        while not self._ready:
            with self._end._changed:
                said = [line for line in self._end.lines if line and line.startswith("listening on ")]
                if len(said) == len(self._limits):
                    self._ready = True
                elif not self._end._changed.wait(toolkit.PATIENCE_S) or self._end.lines[-1] is None:
                    raise AssertionError(f"it does not listen: {self._end.lines}")
        lines = [line for line in self._end.lines if line and line.startswith("listening on ")]
        return host_and_port(lines[self._limits.index(limit_of(row))].removeprefix("listening on "))

    def answer(self, row):
        return PROBE

    def close(self):
        self._end.close()


class Target:
    """An echo server that runs already. max_frame: its limit, if known; without it only what any echo server can be asked."""

    patience = 10

    def __init__(self, address, max_frame):
        self._address, self._max_frame = host_and_port(address), max_frame

    def can(self, row):
        return echo_can(row) and row.options.get("max_frame") in (None, self._max_frame)

    def address(self, row):
        return self._address

    def answer(self, row):
        return PROBE

    def close(self):
        pass


def limit_of(row):
    return int(row.options.get("max_frame", 0))


# ---- clients ----


class FramedClient:
    """`framed call`, a process for each check."""

    patience = 10

    def can(self, row):
        return True

    def begin(self, row, address):
        return FramedCall(row, address)

    def close(self):
        pass


class FramedCall:
    SAYS = (
        ("malformed", 5, "a reply came that nobody asked for"),
        ("truncated", 5, "the stream ended inside a frame"),
        ("too-large", 5, "bytes was claimed|bytes were claimed"),
        ("reset", 1, "the connection was reset"),
        ("reset", 3, "cannot connect to .*: the connection was reset"),  # before the system had said that it was there
        ("closed", 1, "closed the connection"),
    )
    HINT = re.compile("; this looks like ([^;\n]*)")

    def __init__(self, row, address):
        manner = {None: [], "none": ["--follow"], "ignored": ["--no-reply"]}[row.options.get("replies")]
        command = [toolkit.FRAMED, "call", "%s:%d" % address, "-o", "json", "-t", "40s", *manner]
        for name, option in (("max_frame", "--max-frame"), ("max_calls", "--pipeline")):
            if name in row.options:
                command += [option, row.options[name]]
        self.ignored = row.options.get("replies") == "ignored"
        self.out = tempfile.TemporaryFile()
        if "not" in row.outcomes:  # then each message must be known beforehand
            command += [word for request in row.requests for word in ("-m", request.decode())]
            self._start(command, subprocess.DEVNULL)
        elif row.stays:
            self._start([*command, "--framed"], subprocess.PIPE)
            self.process.stdin.write(b"".join(map(frame, row.requests)))
            self.process.stdin.flush()
        else:
            with tempfile.TemporaryFile() as messages:
                messages.write(b"".join(map(frame, row.requests)))
                messages.seek(0)
                self._start([*command, "--framed"], messages)

    def _start(self, command, stdin):
        self.process = subprocess.Popen(command, stdin=stdin, stdout=self.out, stderr=subprocess.PIPE, close_fds=False)

    def _stderr(self, patience):
        """To its end, which is that of the process."""
        said, pipe = b"", self.process.stderr
        while select.select([pipe], [], [], patience)[0]:
            piece = os.read(pipe.fileno(), 65536)
            if not piece:
                return said.decode()
            said += piece
        self.process.kill()
        return said.decode() + "(killed: it did not end)"

    def finish(self, patience):
        """(outcomes, last word, hint)"""
        said = self._stderr(patience)
        code = self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe:
                pipe.close()
        self.out.seek(0)
        outcomes = [self._outcome(line) for line in self.out]
        self.out.close()
        hint = self.HINT.search(said)
        return outcomes, self._word(code, said), hint[1] if hint else ""

    @staticmethod
    def _outcome(line):
        told = json.loads(line)
        if told["outcome"] in ("reply", "message"):
            return told["text"].encode() if "text" in told else base64.b64decode(told["base64"])
        return {"maybe_executed": "maybe", "not_executed": "not"}[told["outcome"]]

    def _word(self, code, said):
        if code == 0 and not said:
            return "ok"
        for word, expected, pattern in self.SAYS:
            if code == expected and re.search(pattern, said) and len(said.splitlines()) == 1:
                return word
        return f"exit code {code}: {said}"


class OtherClient:
    """A process that is told each call in a line, and says in a line what came of it (erlang_ends.escript)."""

    patience = 10

    def __init__(self, command):
        self._end = End(command)
        self._lock, self._next = threading.Lock(), 0

    def can(self, row):
        return "max_calls" not in row.options and limit_of(row) <= MOST_OF_OTHERS and row.size <= 2 << 20

    def begin(self, row, address):
        with self._lock:
            self._next += 1
            name = f"call{self._next}"
            words = [name, address[1], limit_of(row), row.options.get("replies", "ordered"), "stays" if row.stays else "ends"]
            line = " ".join([*map(str, words), *(request.hex() or "-" for request in row.requests)])
            self._end.process.stdin.write(line.encode() + b"\n")
            self._end.process.stdin.flush()
        return OtherCall(self._end, name, uncorrelated=row.options.get("replies") is not None)

    def close(self):
        self._end.close()


class OtherCall:
    WORDS = {"emsgsize": "too-large", "econnreset": "reset"}

    def __init__(self, end, name, uncorrelated):
        self._end, self._name, self._uncorrelated = end, name, uncorrelated

    def finish(self, patience):
        try:
            line = self._end.wait_line(self._name + " ")
        except AssertionError:  # its text is all that was ever said
            return [], "says nothing", ""
        *outcomes, word = line.split()[1:]
        if word == "closed" and self._uncorrelated:
            word = "ok"  # that is the good end there (§3.6)
        return outcomes, self.WORDS.get(word, word), ""


def shown(outcome):
    """An outcome as an OtherClient says it."""
    if isinstance(outcome, str):
        return outcome
    return (outcome.hex() or "-") if len(outcome) <= 64 else f"{len(outcome)}:{hashlib.md5(outcome).hexdigest()}"
