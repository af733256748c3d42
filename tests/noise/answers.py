#!/usr/bin/python3
"""answers.py [--check FILE]: known answers of the Noise handshakes that framed has, made by Debian's python3-dissononce, whose
code is none of ours (and which only /usr/bin/python3 finds). Prints proto/vectors/noise.txt; with --check says whether FILE is
what it would print.

Owns: which cases there are, and the format's head. Must not know proto/noise.c. Every case is played by two ends of dissononce that
have to agree. Its cipher state is not asked: its rekey() resets the counter and keeps 48 bytes, where the specification keeps the
counter and 32 bytes; the records here are made with the bare cipher. Keys come of SHA-256 over their names: the same in every run.
"""
import hashlib
import sys

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from dissononce.cipher.chachapoly import ChaChaPolyCipher
from dissononce.dh.x25519.private import PrivateKey
from dissononce.dh.x25519.x25519 import X25519DH
from dissononce.extras.dh.dangerous.dh_nogen import NoGenDH
from dissononce.hash.sha256 import SHA256Hash
from dissononce.processing.handshakepatterns.interactive.NN import NNHandshakePattern
from dissononce.processing.handshakepatterns.interactive.XX import XXHandshakePattern
from dissononce.processing.impl.cipherstate import CipherState
from dissononce.processing.impl.handshakestate import HandshakeState
from dissononce.processing.impl.symmetricstate import SymmetricState
from dissononce.processing.modifiers.psk import PSKPatternModifier

HEAD = """\
# Noise: handshakes and records of Noise_*_25519_ChaChaPoly_SHA256, revision 34 of the specification, byte for byte.
# Made by tests/noise/answers.py with python3-dissononce.
#
# One case a line. Lines that are empty or begin with '#' are skipped. A case has eight fields, separated by '|'; spaces around
# a field do not count, and every space inside one separates two tokens:
#
#   name | pattern | prologue | psk | initiator | responder | hash | messages
#
#   name       lower-case letters, digits and '_'; each occurs once
#   pattern    NNpsk0, XX or XXpsk0
#   prologue   BYTES, the same at both ends
#   psk        BYTES; '-' with XX
#   initiator  its secret keys: BYTES static ('-' with NNpsk0), BYTES ephemeral
#   responder  likewise
#   hash       BYTES: the handshake hash of both ends when the last handshake message is through
#   messages   first those of the handshake, in their order, then records. Each is '>' (initiator to responder) or '<' (back)
#              and PAYLOAD:MESSAGE, both BYTES. A record has no associated data. '>rekey' and '<rekey': both ends replace the
#              key of that direction (Rekey(), the counter goes on).
#
#   BYTES      '-' no bytes, else an even number of lower-case hex digits"""

PATTERNS = {
    "NNpsk0": lambda: PSKPatternModifier(0).modify(NNHandshakePattern()),
    "XX": XXHandshakePattern,
    "XXpsk0": lambda: PSKPatternModifier(0).modify(XXHandshakePattern()),
}


def some(label, n=32):
    """n bytes that depend on the label alone."""
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"{label} {len(out)}".encode()).digest()
    return out[:n]


def text(data):
    return data.hex() or "-"


class Direction:
    """One direction's key and counter, as the specification has them (4.2, 5.1, 11.3)."""

    def __init__(self, key):
        self.key, self.n = key, 0

    @staticmethod
    def nonce(n):
        return bytes(4) + n.to_bytes(8, "little")

    def encrypt(self, payload):
        self.n += 1
        return ChaCha20Poly1305(self.key).encrypt(self.nonce(self.n - 1), payload, b"")

    def rekey(self):
        self.key = ChaCha20Poly1305(self.key).encrypt(self.nonce(2**64 - 1), bytes(32), b"")[:32]


class End:
    def __init__(self, pattern, initiator, prologue, psk, static, ephemeral):
        self.state = HandshakeState(SymmetricState(CipherState(ChaChaPolyCipher()), SHA256Hash()),
                                    NoGenDH(X25519DH(), PrivateKey(ephemeral)))
        pair = X25519DH().generate_keypair(PrivateKey(static)) if static else None
        self.state.initialize(PATTERNS[pattern](), initiator, prologue, s=pair, psks=[psk] if psk else None)

    def hash(self):
        return self.state.symmetricstate.get_handshake_hash()


def case(name, pattern, prologue, payloads, records):
    psk = some(f"{name} psk") if "psk" in pattern else b""
    keys = {end: (some(f"{name} {end} static") if pattern != "NNpsk0" else b"", some(f"{name} {end} ephemeral"))
            for end in ("initiator", "responder")}
    ends = [End(pattern, end == "initiator", prologue, psk, *keys[end]) for end in ("initiator", "responder")]
    shown = []
    for i, payload in enumerate(payloads):
        message, came = bytearray(), bytearray()
        keys_of_writer = ends[i % 2].state.write_message(payload, message)
        keys_of_reader = ends[1 - i % 2].state.read_message(bytes(message), came)
        assert came == payload
        shown.append("><"[i % 2] + f"{text(payload)}:{text(bytes(message))}")
    assert ends[0].hash() == ends[1].hash()
    assert [k._key for k in keys_of_writer] == [k._key for k in keys_of_reader]
    directions = dict(zip("><", (Direction(k._key) for k in keys_of_writer)))
    for where, payload in records:
        if payload is None:
            directions[where].rekey()
            shown.append(f"{where}rekey")
        else:
            shown.append(f"{where}{text(payload)}:{text(directions[where].encrypt(payload))}")
    fields = [name, pattern, text(prologue), text(psk)]
    fields += [f"{text(static)} {text(ephemeral)}" for static, ephemeral in keys.values()]
    return " | ".join(fields + [text(ends[0].hash()), " ".join(shown)])


def cases():
    for pattern in PATTERNS:
        name = pattern.lower()
        count = 2 if pattern == "NNpsk0" else 3
        yield case(f"{name}_with_nothing_in_it", pattern, b"", [b""] * count, [(">", b""), ("<", b"")])
        yield case(f"{name}_with_payloads", pattern, b"a prologue", [b"first", b"second", b"third"][:count],
                   [(">", b"fourth"), ("<", b"fifth"), ("<", b"sixth"), (">", b"seventh")])
        # Lengths on both sides of the blocks of SHA-256 (64) and ChaCha20 (64).
        yield case(f"{name}_with_long_payloads", pattern, some("prologue", 300), [some(f"payload {i}", 63 + i) for i in range(count)],
                   [(where, some(f"record {n}", n)) for n in (1, 15, 16, 17, 63, 64, 65, 255) for where in "><"])
        # One direction gets a new key twice, the other once, both while the counter goes on.
        yield case(f"{name}_with_new_keys", pattern, b"rekey", [b""] * count,
                   [(">", b"a"), (">", b"b"), (">", None), (">", b"c"), ("<", b"d"), ("<", None), ("<", b"e"), (">", None), (">", b"f")])


def main():
    out = "\n".join([HEAD, "", *cases()]) + "\n"
    if sys.argv[1:2] != ["--check"]:
        sys.stdout.write(out)
        return 0
    with open(sys.argv[2], encoding="ascii") as file:
        same = file.read() == out
    print("answers: as they are" if same else f"answers: {sys.argv[2]} is not what dissononce says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
