"""Owns: one check of a server: a row's bytes are sent in one of the ways, and what came back is compared.
Must not know: which server it is, and how many checks run at once.
Invariants: a verdict that hangs on a second having passed says so (`late`), so that it can be asked again when nothing else runs.
"""

import socket
from dataclasses import dataclass

from rows import frame
from talk import Talk

PROBE = frame(b"") + frame(b"?")  # a server's limit may be 1
A_SECOND = 1.0  # within which an end must be read (PROTOCOL.md §2.9: at once, not after the linger time)
PAUSE_S = 0.002  # between two pieces, so that they mostly arrive as two
QUIET_S = 0.2  # in which nothing may come
MORE = b"\xff" * 1000  # what is still sent behind the other end's end, and must be thrown away


@dataclass(frozen=True)
class Seen:
    """What a server did: the bytes, how it went on, and whether time had a part in that."""

    out: bytes
    then: str  # open, waits, ends; or else: resets; ends, then resets; stays; silent; answers otherwise; does not accept
    late: bool = False


def send_pieces(talk, pieces, patience):
    for n, piece in enumerate(pieces):
        if n > 0 and talk.over is None:  # behind the end there is nothing to keep apart, and the linger time runs
            talk.pause(PAUSE_S)
        if not talk.send(piece, patience):
            return False
    return True


def see_open(talk, row, answer, patience):
    """Between frames: it answers once more."""
    if not talk.until(lambda: len(talk.got) >= len(row.out), patience):
        return "silent"
    talk.send(PROBE, patience)
    if not talk.until(lambda: len(talk.got) >= len(row.out) + len(answer), patience):
        return "silent"
    if not talk.got.endswith(answer):
        return "answers otherwise"
    del talk.got[-len(answer) :]
    return see_end_after_ours(talk, patience, "open")


def see_waits(talk, row, patience):
    """Inside a frame: nothing comes and nothing ends, until we do."""
    if not talk.until(lambda: len(talk.got) >= len(row.out), patience):
        return "silent"
    talk.pause(QUIET_S)
    return see_end_after_ours(talk, patience, "waits") if talk.over is None else talk.over


def see_end_after_ours(talk, patience, name):
    talk.half_close()
    talk.until_over(patience)
    return name if talk.over == "ends" else talk.over or "stays"


def see_end(talk, row):
    """Its end; behind it, what we still send must be read, and thrown away."""
    talk.until_over(A_SECOND)
    first = talk.over or "stays"
    if first == "ends" and not row.half_closes:
        talk.send(MORE, A_SECOND)
        talk.half_close()
    return first


def see(talk, row, answer, patience):
    if row.then == "ends":
        return see_end(talk, row)
    if talk.over:
        return talk.over
    return see_open(talk, row, answer, patience) if row.then == "open" else see_waits(talk, row, patience)


def check(row, pieces, address, answer, patience):
    """What the server at this address does with a row sent in these pieces. answer: what it makes of the probe."""
    try:
        sock = socket.create_connection(address, patience)
    except OSError as why:
        return Seen(b"", f"does not accept: {why.strerror or why}")
    talk = Talk(sock)
    try:
        if not send_pieces(talk, pieces, patience):
            return Seen(bytes(talk.got), talk.over or "silent", talk.over is None)
        ended = talk.over == "ends"
        if row.half_closes:
            talk.half_close()
        then = see(talk, row, answer, patience)
        if talk.over == "ends":
            talk.settle(patience)
        if talk.over == "resets":
            then = "ends, then resets" if ended or then == "ends" else "resets"
        elif talk.over == "ends" and then == "silent":
            then = "ends"
        return Seen(bytes(talk.got), then, talk.over is None and then in ("silent", "stays"))
    finally:
        talk.close()
