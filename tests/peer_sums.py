"""Openings and checksums for peer.py (proto/PROTOCOL.md §7, §8), written from that page. Standard library only."""

import hashlib

MODES = {"crc32c": 0x10, "blake2b": 0x20}  # protections 1 and 2, application 0
LETTERS = {"connector": 0x46, "acceptor": 0x66}
TRAILERS = {"crc32c": 4, "blake2b": 16}  # bytes
HELLO_MOST = 96
SIZES = {1: 4, 2: 2, 3: 4, 5: 4}  # of the numbers in a HELLO (§7.4)


class SumError(Exception):
    """What was wrong with an opening or a trailer, in words."""


def _table():
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return rows


TABLE = _table()


def crc32c(data):
    """§8.2."""
    register = 0xFFFFFFFF
    for byte in data:
        register = register >> 8 ^ TABLE[(register ^ byte) & 0xFF]
    return register ^ 0xFFFFFFFF


class Direction:
    """The frames that one side sends: each has its place (§8.1)."""

    def __init__(self, side, kind):
        self.side = side
        self.kind = kind
        self.size = TRAILERS[kind]
        self.preface = bytes((0xF7, LETTERS[side], 1, MODES[kind]))
        self.counter = 0

    def _sum(self, payload):
        before = self.preface if self.counter == 0 else b""
        place = bytes((self.side == "acceptor",)) + self.counter.to_bytes(8, "big") + (len(payload) + self.size).to_bytes(4, "big")
        if self.kind == "blake2b":
            return hashlib.blake2b(before + place + payload, digest_size=16).digest()
        return crc32c(before + place + payload).to_bytes(4, "big")

    def seal(self, payload):
        """The payload and its trailer: what goes into a frame."""
        sealed = payload + self._sum(payload)
        self.counter += 1
        return sealed

    def unseal(self, sealed):
        payload, trailer = sealed[: -self.size], sealed[-self.size :]
        if len(sealed) < self.size or trailer != self._sum(payload):
            raise SumError(f"frame {self.counter} has a wrong checksum")
        self.counter += 1
        return payload


class Checked:
    """A connection with checksums, once it is open."""

    def __init__(self, side, kind="crc32c"):
        other = "acceptor" if side == "connector" else "connector"
        self.ours, self.theirs = Direction(side, kind), Direction(other, kind)

    def opening(self, parameters=b""):
        """What we say first: the preface, and a HELLO (§7.3)."""
        sealed = self.ours.seal(parameters)
        return self.ours.preface + len(sealed).to_bytes(4, "big") + sealed

    def read_opening(self, receive):
        """The other's, from receive(n), which gives exactly n bytes. Returns its max_frame."""
        preface = receive(4)
        if preface != self.theirs.preface:
            raise SumError(f"no preface of mode {self.theirs.preface[3]:02x}: {preface.hex()}")
        length, size = int.from_bytes(receive(4), "big"), self.theirs.size
        if not size <= length <= HELLO_MOST + size:
            raise SumError(f"a HELLO of {length} bytes")
        return self._max_frame(self.theirs.unseal(receive(length)))

    @staticmethod
    def _max_frame(hello):
        found, last, at = 16 << 20, 0, 0
        while at < len(hello):
            if len(hello) - at < 2 or len(hello) - at - 2 < hello[at + 1]:
                raise SumError("a parameter behind the end of the HELLO")
            key, size = hello[at], hello[at + 1]
            if key <= last or (key < 128 and SIZES.get(key) != size):
                raise SumError(f"parameter {key} of {size} bytes")
            if key == 1:
                found = int.from_bytes(hello[at + 2 : at + 6], "big")
            last, at = key, at + 2 + size
        return found


class Plain:
    """A connection without: frames are payloads."""

    class _Direction:
        @staticmethod
        def seal(payload):
            return payload

        @staticmethod
        def unseal(payload):
            return payload

    ours = theirs = _Direction
