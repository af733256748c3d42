"""Openings and checksums for peer.py (proto/PROTOCOL.md §7, §8), written from that page. Standard library only."""

MODE = 0x10  # protection 1, application 0
PREFACES = {"connector": bytes((0xF7, 0x46, 1, MODE)), "acceptor": bytes((0xF7, 0x66, 1, MODE))}
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

    def __init__(self, side):
        self.side = side
        self.counter = 0

    def _sum(self, payload):
        before = PREFACES[self.side] if self.counter == 0 else b""
        place = bytes((self.side == "acceptor",)) + self.counter.to_bytes(8, "big") + (len(payload) + 4).to_bytes(4, "big")
        return crc32c(before + place + payload).to_bytes(4, "big")

    def seal(self, payload):
        """The payload and its trailer: what goes into a frame."""
        sealed = payload + self._sum(payload)
        self.counter += 1
        return sealed

    def unseal(self, sealed):
        if len(sealed) < 4 or sealed[-4:] != self._sum(sealed[:-4]):
            raise SumError(f"frame {self.counter} has a wrong checksum")
        self.counter += 1
        return sealed[:-4]


class Checked:
    """A connection with checksums, once it is open."""

    def __init__(self, side):
        other = "acceptor" if side == "connector" else "connector"
        self.ours, self.theirs = Direction(side), Direction(other)

    def opening(self, parameters=b""):
        """What we say first: the preface, and a HELLO (§7.3)."""
        sealed = self.ours.seal(parameters)
        return PREFACES[self.ours.side] + len(sealed).to_bytes(4, "big") + sealed

    def read_opening(self, receive):
        """The other's, from receive(n), which gives exactly n bytes. Returns its max_frame."""
        preface = receive(4)
        if preface != PREFACES[self.theirs.side]:
            raise SumError(f"no preface of mode {MODE:02x}: {preface.hex()}")
        length = int.from_bytes(receive(4), "big")
        if not 4 <= length <= HELLO_MOST + 4:
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
