"""Owns: one check of a client: a server that sends a row's bytes in one of the ways, and what the client made of them.
Must not know: which client it is, and how many checks run at once.
Invariants: nothing is sent before the requests that the row wants have come whole, so that every check means the same.
"""

import socket
from dataclasses import dataclass

from rows import frame
from server_role import MORE, PAUSE_S
from talk import Talk


@dataclass(frozen=True)
class Seen:
    """What a client did: the outcome of each call, its last word, what it named the other protocol; then, from its server's
    side: whether the requests were as they should be, and its end: ends, resets, stays, or ends early."""

    outcomes: tuple
    word: str
    hint: str = ""
    requests: bool = True
    end: str = "ends"


def expected(row):
    """A client cannot end what was reset."""
    return Seen(tuple(row.outcomes), row.then, row.hint, True, "" if row.last == "reset" else "ends")


def bytes_of(requests):
    return b"".join(map(frame, requests))


def wanted_before(row, part):
    """The requests that must have come before this part is sent."""
    if len(row.parts) > 1:
        return row.requests[: part + 1]
    return row.requests[: int(row.options.get("max_calls", len(row.requests)))]


def send(talk, row, pieces_of, patience):
    """None, or how the client's end came too early."""
    whole = row.then == "ok" and not row.stays and row.options.get("replies") is None
    for n, pieces in enumerate(pieces_of):
        wanted = bytes_of(wanted_before(row, n))
        if not talk.until(lambda wanted=wanted: len(talk.got) >= len(wanted), patience):
            return "ends early" if talk.over == "ends" else talk.over or "stays"
        for m, piece in enumerate(pieces):
            if m > 0 and talk.over is None:
                talk.pause(PAUSE_S)
            if whole and piece and talk.over:
                return "ends early" if talk.over == "ends" else talk.over
            if not talk.send(piece, patience):
                return talk.over or "stays"
    return None


def converse(talk, row, pieces_of, patience):
    wrong = send(talk, row, pieces_of, patience)
    if row.last == "reset":
        talk.reset()
        return wrong or ""
    if row.last == "end":
        if row.options.get("replies") == "ignored":
            talk.until_over(patience)  # it half-closes whatever comes; should ours be first, it could not know that all was read
        talk.half_close()
    talk.until_over(patience)
    if not row.last:
        if row.then in ("too-large", "malformed") and talk.over == "ends":
            talk.send(MORE, patience)  # must be read, and thrown away (§2.9)
        talk.half_close()
    if talk.over == "ends":
        talk.settle(patience)
    return wrong or talk.over or "stays"


def check(row, pieces_of, client, patience):
    """What the client does when its server sends the parts of the row in these pieces."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(patience)
        run = client.begin(row, listener.getsockname())
        try:
            sock, _ = listener.accept()
        except TimeoutError:
            return Seen((), "did not connect", end="stays")
    talk = Talk(sock)
    try:
        end = converse(talk, row, pieces_of, patience)
        requests = row.requests[: row.outcomes.index("not")] if "not" in row.outcomes else row.requests
        right = bytes(talk.got) == bytes_of(requests)
    finally:
        talk.close()
    outcomes, word, hint = run.finish(patience)
    return Seen(tuple(outcomes), word, hint, right, end)
