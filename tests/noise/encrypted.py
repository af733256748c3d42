#!/usr/bin/python3
"""encrypted.py [--check FILE]: known answers of whole encrypted connections (PROTOCOL.md §9), made as answers.py makes those of
the handshakes. Prints proto/vectors/encrypted.txt; with --check says whether FILE is what it would print.

Owns: which cases there are, the format's head, and what framed puts round a handshake: the opening, the prologue, frames, records.
Must not know proto/channel_noise.c. Keys come of SHA-256 over their names: the same in every run.
"""
import sys

from answers import Direction, End, some, text

HEAD = """\
# Encrypted connections: openings, handshakes and records, byte for byte. PROTOCOL.md §7 and §9 are the text that these cases make
# precise. No released build speaks this yet. Made by tests/noise/encrypted.py with python3-dissononce.
#
# One case a line. Lines that are empty or begin with '#' are skipped. A case has nine fields, separated by '|'; spaces around
# a field do not count, and every space inside one separates two tokens:
#
#   name | mode | psk | connector | acceptor | hash | connector's flight | acceptor's flight | then
#
#   name       lower-case letters, digits and '_'; each occurs once
#   mode       two hex digits
#   psk        BYTES; '-' with protection 9
#   connector  its secret keys: BYTES static ('-' with protection 8), BYTES ephemeral
#   acceptor   likewise
#   hash       BYTES: the handshake hash of both ends
#   flights    BYTES that are sent before anything else, in three tokens: the preface; the HELLO frame of the connector, of the
#              acceptor its parameters, which travel inside message 2; the handshake message as a frame
#   then       frames in the order in which they are sent, each '>' (from the connector) or '<' (back) and either
#              'message' ':' BYTES, message 3 of protections 9 and 10, or a record: TYPE ':' BODY ':' BYTES of the whole frame.
#              TYPE is data, close or pad.
#
#   BYTES      '-' no bytes, else an even number of lower-case hex digits"""

PATTERNS = {8: "NNpsk0", 9: "XX", 10: "XXpsk0"}
TYPES = {"data": 0, "close": 1, "pad": 2}


def frame(payload):
    return len(payload).to_bytes(4, "big") + payload


def parameter(key, value):
    return bytes([key, len(value)]) + value


def number(key, size, value):
    return parameter(key, value.to_bytes(size, "big"))


class Talk:
    """The two ends of a connection, and what they have said."""

    def __init__(self, name, mode, key_id, connector, acceptor):
        pattern = PATTERNS[mode >> 4]
        self.psk = some(f"{name} psk") if "psk" in pattern else b""
        self.keys = [(some(f"{name} {end} static") if pattern != "NNpsk0" else b"", some(f"{name} {end} ephemeral"))
                     for end in ("connector", "acceptor")]
        parameters = sorted(connector + ([parameter(4, key_id)] if self.psk else []))
        self.preface = [bytes([0xF7, 0x46, 1, mode]), bytes([0xF7, 0x66, 1, mode])]
        self.hello = [frame(b"".join(parameters)), b"".join(acceptor)]
        prologue = b"framed/1 noise" + self.preface[0] + self.hello[0]
        self.ends = [End(pattern, side == 0, prologue, self.psk, *self.keys[side]) for side in (0, 1)]
        self.messages, ciphers = [], None
        for i in range(2 if pattern == "NNpsk0" else 3):
            self.messages.append(frame(self.message(i, self.hello[1] if i == 1 else b"")))
            ciphers = self.split
        self.directions = dict(zip("><", (Direction(k._key) for k in ciphers)))

    def message(self, i, payload):
        written, read = bytearray(), bytearray()
        self.split = self.ends[i % 2].state.write_message(payload, written)
        other = self.ends[1 - i % 2].state.read_message(bytes(written), read)
        assert read == payload
        assert [k._key for k in self.split or []] == [k._key for k in other or []]
        return bytes(written)

    def record(self, where, kind, body):
        sealed = frame(self.directions[where].encrypt(bytes([TYPES[kind]]) + body))
        return f"{where}{kind}:{text(body)}:{text(sealed)}"


def case(name, mode, connector, acceptor, records, key_id=b"alice"):
    talk = Talk(name, mode, key_id, connector, acceptor)
    then = [f">message:{text(message)}" for message in talk.messages[2:]]
    then += [talk.record(*record) for record in records]
    fields = [name, f"{mode:02x}", text(talk.psk)] + [f"{text(static)} {text(ephemeral)}" for static, ephemeral in talk.keys]
    assert talk.ends[0].hash() == talk.ends[1].hash()
    fields.append(text(talk.ends[0].hash()))
    fields += [" ".join(map(text, (talk.preface[i], talk.hello[i], talk.messages[i]))) for i in (0, 1)]
    return " | ".join(fields + [" ".join(then)])


def cases():
    names = {8: "shared_key", 9: "pinned_keys", 10: "both_keys"}
    for protection, name in names.items():
        # With nothing to say a connector with a shared key sends an empty PAD at once; the others may.
        yield case(f"{name}_least", protection * 16, [], [],
                   [(">", "pad", b""), (">", "data", frame(b"hello")), ("<", "data", frame(b"hello")), ("<", "pad", b"zzz"),
                    (">", "close", b"\0"), ("<", "close", b"\0")])
        session = [number(1, 4, 65536), number(3, 4, 32768)]
        yield case(f"{name}_session", protection * 16 + 1, session, [number(1, 4, 1 << 20), number(2, 2, 10), number(5, 4, 65536)],
                   [("<", "data", some("inner stream", 50)), (">", "data", b"\0"), ("<", "pad", b""), (">", "pad", bytes(9)),
                    ("<", "close", b"\1"), (">", "close", b"\0")], some("key id", 64))


def main():
    out = "\n".join([HEAD, "", *cases()]) + "\n"
    if sys.argv[1:2] != ["--check"]:
        sys.stdout.write(out)
        return 0
    with open(sys.argv[2], encoding="utf-8") as file:
        same = file.read() == out
    print("encrypted: as they are" if same else f"encrypted: {sys.argv[2]} is not what dissononce says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
