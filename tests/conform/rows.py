"""Owns: the rows of proto/conformance, as that folder's files describe them, and the pieces in which a row's bytes are sent.
Must not know: sockets, and who is tested.
Invariants: a row that is not well formed is an error, never skipped; each name occurs once in a role.
"""

import os
import re
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "proto", "conformance")
FILES = {"server": ("server.txt", "server_errors.txt"), "client": ("client.txt",)}
CLAUSE = re.compile(r"§[1-6](\.[1-9])?$")
NAME = re.compile(r"[a-z0-9_]+$")
TOKEN = re.compile(r'"([^"|]*)"(?:\*(\d+))?|(\S+)')
ENDS = ("open", "waits", "ends")
WORDS = ("ok", "closed", "reset", "truncated", "too-large", "malformed")


class RowError(Exception):
    pass


def length_word(n):
    return n.to_bytes(4, "big")


def frame(payload):
    return length_word(len(payload)) + payload


def one_token(text):
    """The bytes of one BYTES token."""
    found = TOKEN.fullmatch(text)
    if found is None:
        raise RowError(f"not a BYTES token: {text!r}")
    quoted, times, other = found.groups()
    if quoted is not None:
        return quoted.encode("ascii") * int(times or 1)
    if other == "-":
        return b""
    what, star, times = other.partition("*")
    if star and not re.fullmatch("[1-9][0-9]*", times):
        raise RowError(f"not a number of times: {text!r}")
    count = int(times) if star else 1
    if what == "numbered":
        return b"".join(frame(length_word(n)) for n in range(count))
    if not re.fullmatch("([0-9a-f]{2})+", what):
        raise RowError(f"not hexadecimal: {text!r}")
    return bytes.fromhex(what) * count


def tokens(text):
    return [found[0] for found in TOKEN.finditer(text)]


@dataclass
class Stream:
    """Bytes on their way, and the places where a token of theirs begins: where a cut may matter."""

    data: bytes = b""
    marks: list = field(default_factory=list)

    def add(self, text):
        self.marks.append(len(self.data))
        self.data += one_token(text)


def stream_of(words):
    stream = Stream()
    for word in words:
        stream.add(word)
    return stream


def options_of(text, known):
    """"any", or "name=value name": as a dictionary."""
    options = {}
    for word in [] if text == "any" else text.split():
        name, _, value = word.partition("=")
        if name not in known or name in options:
            raise RowError(f"not an option: {word!r}")
        options[name] = value
    return options


@dataclass
class ServerRow:
    file: str
    name: str
    clause: str
    options: dict
    sent: Stream
    half_closes: bool
    out: bytes
    then: str

    KNOWN = ("max_frame", "max_calls", "max_unsent", "delay", "reply", "replies", "fails", "error_reply")

    @classmethod
    def parse(cls, file, fields):
        name, clause, options, sent, out, then = fields
        words = tokens(sent)
        half_closes = words[-1] == "end"
        stream = stream_of(words[:-1] if half_closes else words)
        out = stream.data if out == "same" else stream_of(tokens(out)).data
        if then not in ENDS or (half_closes and then != "ends"):
            raise RowError(f"not an end: {then!r}")
        return cls(file, name, clause, options_of(options, cls.KNOWN), stream, half_closes, out, then)


@dataclass
class ClientRow:
    file: str
    name: str
    clause: str
    options: dict
    requests: list
    stays: bool
    parts: list
    last: str
    outcomes: list
    then: str
    hint: str

    KNOWN = ("max_frame", "max_calls", "replies")

    @classmethod
    def parse(cls, file, fields):
        name, clause, options, requests, sent, outcomes, then = fields
        requests = tokens(requests)
        stays = requests[-1] == "stay"
        requests = [one_token(word) for word in (requests[:-1] if stays else requests) if word != "none"]
        words = tokens(sent)
        last = words.pop() if words[-1] in ("end", "reset") else ""
        parts = [[]]
        for word in words:
            if word == "/":
                parts.append([])
            else:
                parts[-1].append(word)
        outcomes = [] if outcomes == "none" else tokens(outcomes)
        outcomes = [word if word in ("maybe", "not") else one_token(word) for word in outcomes]
        then, _, hint = then.partition(" ")
        if then not in WORDS:
            raise RowError(f"not an end: {then!r}")
        options = options_of(options, cls.KNOWN)
        return cls(file, name, clause, options, requests, stays, [stream_of(p) for p in parts], last, outcomes, then, hint)

    @property
    def size(self):
        return sum(len(part.data) for part in self.parts)


def read(role):
    """All rows of a role."""
    kind, width = (ServerRow, 6) if role == "server" else (ClientRow, 7)
    rows, names = [], set()
    for file in FILES[role]:
        with open(os.path.join(FOLDER, file), encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                fields = [part.strip() for part in line.split("|")]
                try:
                    if len(fields) != width or not all(fields):
                        raise RowError(f"not {width} fields")
                    if not NAME.match(fields[0]) or not CLAUSE.match(fields[1]) or fields[0] in names:
                        raise RowError("a name or a clause that is none, or a name that was there before")
                    names.add(fields[0])
                    rows.append(kind.parse(file, fields))
                except RowError as wrong:
                    raise RowError(f"proto/conformance/{file}:{number}: {wrong}") from None
    return rows


# ---- pieces ----

ONE_BY_ONE = 64  # up to so many bytes are sent one by one from end to end
EVERY_SPLIT = 64  # up to so many bytes are cut at every place
LARGE = 256 << 10  # from here on a few cuts must do


def places(stream, every, most):
    """Where a stream is cut: everywhere if it is short, else around every place where something begins or turns over."""
    size = len(stream.data)
    if size <= every:
        return list(range(1, size))
    near = {1, 2, 3, 4, 5, size - 1}
    for at in stream.marks[:8] + stream.marks[-2:] + [4096, 65536]:
        near |= {at - 1, at, at + 1, at + 3}
    found = sorted(at for at in near if 0 < at < size)
    return found[:: -(-len(found) // most)]


def cut(data, at):
    ends = [0, *at, len(data)]
    return [data[a:b] for a, b in zip(ends, ends[1:])]


def ways(stream, several=False):
    """(name, pieces) for each way of sending: whole, byte by byte, cut in two at each place. With `several` parts of a row no
    cuts: each part comes alone already."""
    data = stream.data
    yield "whole", [data]
    if len(data) < 2:
        return
    if len(data) <= ONE_BY_ONE:
        yield "byte by byte", cut(data, range(1, len(data)))
    elif len(data) < LARGE:
        single = {n for at in places(stream, 0, 8) for n in (at, at + 1)} | set(range(1, 16)) | set(range(len(data) - 4, len(data)))
        yield "byte by byte where it matters", cut(data, sorted(n for n in single if n < len(data)))
    for at in [] if several else places(stream, EVERY_SPLIT, 20 if len(data) < LARGE else 2):
        yield f"cut at {at}", cut(data, [at])
