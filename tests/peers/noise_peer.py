"""
An end of encrypted connections that is none of framed's code: Debian's python3-dissononce does the handshake, the bare cipher the
records. Blocking, and over any connected socket.

Owns: what PROTOCOL.md §7 and §9 say, told once more from the page alone. Must not know anything of proto/ and src/ but that page.
Invariants: what is not as the page says raises Fault, by the page's name; every key but those handed in is made anew.
"""

import os
import socket
import sys
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from dissononce.dh.x25519.private import PrivateKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.exceptions.decrypt import DecryptFailedException

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "noise"))

import answers  # noqa: E402

PATTERNS = {8: "NNpsk0", 9: "XX", 10: "XXpsk0"}  # §7.2
FIRST = {8: 48, 9: 32, 10: 48}  # lengths of messages, §9.1
SECOND = {8: 48, 9: 96, 10: 96}
THIRD = 64
PARAMETERS_MOST, KEY_ID_MOST, BODY_MOST, RECORD_MOST, PADS_MOST = 96, 64, 65518, 65535, 16
DATA, CLOSE, PAD = 0, 1, 2
RENEWED_AFTER = 65536
NOT_TRUSTED = 1
MAX_FRAME, KEY_ID = 1, 4


class Fault(Exception):
    """AUTH, MALFORMED, TRUNCATED, TOO_LARGE; or IMPOSTOR: the key is none of the pins."""


def frame(payload):
    return len(payload).to_bytes(4, "big") + payload


def parameter(key, value):
    return bytes([key, len(value)]) + value


def max_frame(n):
    return parameter(MAX_FRAME, n.to_bytes(4, "big"))


def public_of(secret):
    return X25519DH().generate_keypair(PrivateKey(secret)).public.data


@dataclass
class Keys:
    """What an end has, and whom it trusts. `psks` has one for a connector."""

    secret: bytes = b""
    pins: list = field(default_factory=list)
    psks: dict = field(default_factory=dict)


class Wire:
    """The bytes of a socket, and how many were received. `one_by_one`: each is sent and asked for by itself."""

    def __init__(self, sock, one_by_one=False):
        self.sock, self.one_by_one, self.kept, self.at, self.received = sock, one_by_one, b"", 0, 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        for i in range(0, len(data), 1 if self.one_by_one else max(1, len(data))):
            self.sock.sendall(data[i : i + 1] if self.one_by_one else data)

    def read(self, n):
        while len(self.kept) - self.at < n:
            piece = self.sock.recv(1 if self.one_by_one else 1 << 18)
            if not piece:
                raise Fault("TRUNCATED")
            self.received += len(piece)
            self.kept, self.at = self.kept[self.at :] + piece, 0
        self.at += n
        return self.kept[self.at - n : self.at]

    def frame(self, least, most):
        n = int.from_bytes(self.read(4), "big")
        if not least <= n <= most:
            raise Fault("TOO_LARGE" if n > most else "MALFORMED")
        return self.read(n)

    def rest(self):
        """All that still comes until the end."""
        data, self.kept, self.at = self.kept[self.at :], b"", 0
        while piece := self.sock.recv(65536):
            data += piece
        return data

    def end(self):
        self.sock.shutdown(socket.SHUT_WR)


class Direction(answers.Direction):
    """A key, and how many records it has seen; §9.3.2 and 3."""

    def __init__(self, key):
        super().__init__(key)
        self.cipher = ChaCha20Poly1305(key)

    def _count(self):
        self.n += 1
        if self.n % RENEWED_AFTER == 0:
            self.rekey()
            self.cipher = ChaCha20Poly1305(self.key)

    def seal(self, kind, body):
        record = self.cipher.encrypt(self.nonce(self.n), bytes([kind]) + body, b"")
        self._count()
        return frame(record)

    def open(self, record):
        try:
            plain = self.cipher.decrypt(self.nonce(self.n), record, b"")
        except InvalidTag:
            raise Fault("AUTH") from None
        self._count()
        return plain[0], plain[1:]


class Session:
    """An established connection. `records` counts those that came, by type."""

    def __init__(self, wire, handshake, out, into, parameters, peer=None):
        self.wire, self.hash, self.out, self.into = wire, handshake.hash(), Direction(out), Direction(into)
        self.parameters, self.peer = parameters, peer
        self.records, self.pads, self.reason, self.inner = [0, 0, 0], 0, None, bytearray()

    def seal(self, stream, bodies=None, pads=None):
        """Records of this piece of the inner stream: with bodies as long as the iterator says, and PADs before as it says."""
        out, at = [], 0
        while at < len(stream):
            n = next(bodies) if bodies else BODY_MOST
            out += [self.out.seal(PAD, body) for body in (next(pads) if pads else ())]
            out.append(self.out.seal(DATA, stream[at : at + n]))
            at += n
        return b"".join(out)

    def send(self, *payloads, **how):
        """Frames, behind each other, in records that know nothing of them."""
        self.wire.send(self.seal(b"".join(map(frame, payloads)), **how))

    def pad(self, body=b""):
        self.wire.send(self.out.seal(PAD, body))

    def close(self, reason=0):
        self.wire.send(self.out.seal(CLOSE, bytes([reason])))
        self.wire.end()

    def record(self):
        """The next record: its type and body. None at a clean end."""
        if self.reason is not None:
            if self.wire.rest():
                raise Fault("MALFORMED")
            return None
        kind, body = self.into.open(self.wire.frame(17, RECORD_MOST))
        if kind > PAD or (kind == DATA and not body) or (kind == CLOSE and len(body) != 1):
            raise Fault("MALFORMED")
        self.records[kind] += 1
        self.pads = self.pads + 1 if kind == PAD else 0
        if self.pads > PADS_MOST:
            raise Fault("MALFORMED")
        if kind == CLOSE:
            self.reason = body[0]
        return kind, body

    def receive(self):
        """The next frame of the inner stream; None at a clean end."""
        while True:
            if len(self.inner) >= 4:
                n = int.from_bytes(self.inner[:4], "big")
                if len(self.inner) >= 4 + n:
                    payload = bytes(self.inner[4 : 4 + n])
                    del self.inner[: 4 + n]
                    return payload
            record = self.record()
            if record is None:
                if self.inner:
                    raise Fault("TRUNCATED")
                return None
            if record[0] == DATA:
                self.inner += record[1]


def parse(data, allowed):
    """A HELLO's parameters, by key. `allowed`: those below 128 that may be there, none of which belong to sessions (§7.4)."""
    found, at = {}, 0
    while at < len(data):
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data) or data[at] <= max(found, default=0):
            raise Fault("MALFORMED")
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    if any(key < 128 and key not in allowed for key in found) or len(found.get(KEY_ID, b"")) > KEY_ID_MOST:
        raise Fault("MALFORMED")
    if MAX_FRAME in found and (len(found[MAX_FRAME]) != 4 or not 1 << 14 <= int.from_bytes(found[MAX_FRAME], "big") < 1 << 31):
        raise Fault("MALFORMED")
    return found


def read_message(end, message):
    """Its payload and, behind the last one, the two ciphers."""
    payload = bytearray()
    try:
        ciphers = end.state.read_message(message, payload)
    except (DecryptFailedException, InvalidTag):
        raise Fault("AUTH") from None
    return bytes(payload), ciphers


def write_message(end, payload=b""):
    message = bytearray()
    ciphers = end.state.write_message(payload, message)
    return frame(bytes(message)), ciphers


def keys_of(ciphers):
    return [cipher._key for cipher in ciphers]  # it has no name for who wants to use them himself


def connect(wire, protection, keys, parameters=b"", silent=False):
    """A connector's side of §9.1. `parameters` are those of its HELLO, key id included. `silent`: nothing is said behind it."""
    preface, hello = bytes([0xF7, 0x46, 1, protection << 4]), frame(parameters)
    psk = next(iter(keys.psks.values()), b"")
    end = answers.End(PATTERNS[protection], True, b"framed/1 noise" + preface + hello, psk, keys.secret, os.urandom(32))
    message, _ = write_message(end)
    wire.send(preface + hello + message)
    if wire.read(4) != bytes([0xF7, 0x66, 1, protection << 4]):
        raise Fault("MALFORMED")
    payload, ciphers = read_message(end, wire.frame(SECOND[protection], SECOND[protection] + PARAMETERS_MOST))
    theirs, peer = parse(payload, {MAX_FRAME}), None
    if protection != 8:
        peer = end.state.rs.data
        if peer not in keys.pins:
            raise Fault("IMPOSTOR")
        message, ciphers = write_message(end)
        wire.send(message)
    out, into = keys_of(ciphers)
    session = Session(wire, end, out, into, theirs, peer)
    if protection == 8 and not silent:
        session.pad()  # §9.2.7: the first record is a short one
    return session


def accept(wire, protection, keys, parameters=b""):
    """An acceptor's side. A peer that is not trusted is told so, and raises IMPOSTOR."""
    preface = wire.read(4)
    if preface != bytes([0xF7, 0x46, 1, protection << 4]):
        raise Fault("MALFORMED")
    hello = frame(wire.frame(0, PARAMETERS_MOST))
    theirs = parse(hello[4:], {MAX_FRAME} if protection == 9 else {MAX_FRAME, KEY_ID})
    psk = b""
    if protection != 9:
        if KEY_ID not in theirs:
            raise Fault("MALFORMED")
        psk = keys.psks.get(theirs[KEY_ID], os.urandom(32))
    end = answers.End(PATTERNS[protection], False, b"framed/1 noise" + preface + hello, psk, keys.secret, os.urandom(32))
    nothing, _ = read_message(end, wire.frame(FIRST[protection], FIRST[protection]))
    message, ciphers = write_message(end, parameters)
    wire.send(bytes([0xF7, 0x66, 1, protection << 4]) + message)
    if protection != 8:
        payload, ciphers = read_message(end, wire.frame(THIRD, THIRD))
        nothing += payload
    if nothing:
        raise Fault("MALFORMED")
    into, out = keys_of(ciphers)
    session = Session(wire, end, out, into, theirs, end.state.rs.data if protection != 8 else None)
    if protection != 8 and session.peer not in keys.pins:
        session.close(NOT_TRUSTED)
        raise Fault("IMPOSTOR")
    return session
