#!/usr/bin/env python3
"""peer.py: a second implementation of the framed protocol, in plain Python.

It was written from proto/PROTOCOL.md, not from the C code, so that the page and the code can be held against each other.
Standard library only.

  peer.py vectors DIR                   check frames.txt and words.txt: whole, byte by byte, and at every cut point
  peer.py serve HOST:PORT               echo every frame; says "listening on HOST:PORT"; ends when stdin closes
  peer.py call HOST:PORT                send frames of random sizes, pipelined, and check the echo
                                        (--checksum, both: as §7 and §8 have it)
  peer.py examples FILE HOST:PORT       replay the wire blocks of PROTOCOL.md against an echo server
"""

import argparse
import os
import random
import socket
import sys
import threading
import time

import peer_sums

MOST = 2**31 - 1  # the longest payload there can be (§2.2)
DEFAULT_MAX_FRAME = 16 << 20  # §2.3
LINGER_S = 2.0  # §2.9
PATIENCE_S = 60.0  # a hung peer fails a test instead of hanging it

CLOSED = "closed"
TRUNCATED = "truncated"
TOO_LARGE = "too-large"


class ProtocolError(Exception):
    """What the peer did wrong, in words."""


# ---- frames (§2) ----


def encode(payload, max_send=MOST):
    """One frame: the length word and the payload. Refuses what is longer than max_send (§2.3.5)."""
    if len(payload) > min(max_send, MOST):
        raise ProtocolError(f"a payload of {len(payload)} bytes, and {max_send} are allowed")
    return len(payload).to_bytes(4, "big") + payload


class Decoder:
    """Bytes in, whole payloads out, however they were cut (§2.5)."""

    def __init__(self, max_frame=DEFAULT_MAX_FRAME):
        self.max_frame = max_frame
        self.rejected = None  # the length word that was TOO_LARGE
        self._word = bytearray()  # 0 to 3 bytes of a length word
        self._left = None  # payload bytes still to come; None between frames
        self._payload = bytearray()

    def feed(self, data):
        """The payloads that became whole with these bytes. After an error: none, ever (§2.7)."""
        frames = []
        at = 0
        while at < len(data) and self.rejected is None:
            if self._left is None:
                at = self._take_word(data, at)
            else:
                piece = data[at : at + self._left]
                self._payload += piece
                self._left -= len(piece)
                at += len(piece)
            if self._left == 0:  # an empty payload is whole with its word (§2.4)
                frames.append(bytes(self._payload))
                self._payload = bytearray()
                self._left = None
        return frames

    def _take_word(self, data, at):
        piece = data[at : at + 4 - len(self._word)]
        self._word += piece
        if len(self._word) == 4:  # judged whole, not earlier (§2.5)
            length = int.from_bytes(self._word, "big")
            if length > min(self.max_frame, MOST):
                self.rejected = bytes(self._word)
            else:
                self._left = length
            self._word.clear()
        return at + len(piece)

    def end(self):
        """What the end of the stream means here (§2.6)."""
        if self.rejected is not None:
            return TOO_LARGE
        if self._word or self._left is not None:
            return TRUNCATED
        return CLOSED

    def error_text(self):
        """The rejected length, the allowed one, and what it looks like (§2.3.6, §2.8)."""
        text = f"a length of {int.from_bytes(self.rejected, 'big')}, and {self.max_frame} is allowed"
        looks_like = hint(self.rejected)
        return text + (f": this looks like {looks_like}" if looks_like else "")


HTTP = (b"GET ", b"POST", b"HTTP", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")


def hint(word):
    """What a rejected length word looks like, or None (§2.8). The first row that fits."""
    if word in HTTP:
        return "HTTP"
    if word[:2] == b"\x16\x03" and word[2] <= 4:
        return "TLS"
    if word == b"SSH-":
        return "SSH"
    if word in (b"PROX", b"\r\n\r\n"):
        return "the PROXY protocol"
    if word[:3] in (b"\xf7\x46\x01", b"\xf7\x66\x01"):
        return "an extended framed connection"
    if 1 <= int.from_bytes(word, "little") <= 65535:
        return "a little-endian length"
    if all(0x20 <= byte <= 0x7E or byte in b"\r\n\t" for byte in word):
        return "text"
    return None


# ---- vectors ----


def parse_bytes(token):
    """A BYTES token: '-', HEX or HEX*N."""
    if token == "-":
        return b""
    digits, star, times = token.partition("*")
    if not digits or digits.lower() != digits or (star and int(times) < 1):
        raise ValueError(f"not a BYTES token: {token!r}")
    return bytes.fromhex(digits) * (int(times) if star else 1)


def vector_lines(path):
    """The four fields of every case in the file, with the number of its line."""
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not line.startswith("#"):
                fields = [field.strip() for field in line.split("|")]
                if len(fields) != 4 or not all(fields):
                    raise ValueError(f"{path}:{number}: not four fields")
                yield number, fields


def decode_pieces(pieces, max_frame):
    decoder = Decoder(max_frame)
    frames = []
    for piece in pieces:
        frames += decoder.feed(piece)
    return frames, decoder.end()


def cut_points(size):
    """Every place to cut a small input; the ends and powers of two of a large one."""
    if size <= 16 << 10:
        return range(size + 1)
    near = {0, size} | {1 << n for n in range(20)} | {(1 << n) + 4 for n in range(20)}
    return sorted({at + d for at in near for d in range(-6, 7) if 0 <= at + d <= size})


def check_frames(fields):
    """None, or what is wrong."""
    _, limit, data, expected = fields
    limit = int(limit)
    data = b"".join(parse_bytes(token) for token in data.split())
    *payloads, last = expected.split()
    payloads = [parse_bytes(token) for token in payloads]
    if last not in (CLOSED, TRUNCATED, TOO_LARGE):
        return f"unknown last word {last!r}"
    want = (payloads, last)
    if decode_pieces([data], limit) != want:
        return "differs when read at once"
    if decode_pieces([data[i : i + 1] for i in range(len(data))], limit) != want:
        return "differs when read byte by byte"
    for at in cut_points(len(data)):
        if decode_pieces([data[:at], data[at:]], limit) != want:
            return f"differs when cut at {at}"
    sent = b"".join(encode(payload, limit) for payload in payloads)
    if not data.startswith(sent) or (last == CLOSED and data != sent):
        return "is not what encoding its frames gives"
    return None


def check_word(fields):
    """None, or what is wrong."""
    word, limit, expected, name = fields
    word = bytes.fromhex(word)
    decoder = Decoder(int(limit))
    frames = decoder.feed(word)
    if decoder.rejected is not None:
        got = (TOO_LARGE, hint(word) or "-")
    elif frames:
        got = ("length 0", "-")
    else:
        got = (f"length {int.from_bytes(word, 'big')}", "-")
    return None if got == (expected, name) else f"gives {got[0]!r}, {got[1]!r}"


def run_vectors(args):
    passed = failed = 0
    for name, check in (("frames.txt", check_frames), ("words.txt", check_word)):
        path = os.path.join(args.dir, name)
        seen = 0
        for number, fields in vector_lines(path):
            seen += 1
            try:
                wrong = check(fields)
            except (ValueError, ProtocolError) as error:
                wrong = str(error)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(f"{path}:{number}: {fields[0]} {wrong}")
        if seen == 0:
            failed += 1
            print(f"{path}: no cases")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


# ---- connections (§3) ----


def parse_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def send_bytes(sock, data, dribble):
    """All of it at once, or in pieces of 1 to 13 bytes that `dribble` chooses."""
    if dribble is None:
        sock.sendall(data)
        return
    at = 0
    while at < len(data):
        piece = data[at : at + dribble.randint(1, 13)]
        sock.sendall(piece)
        at += len(piece)


def dribbler(wanted, seed=0):
    return random.Random(seed) if wanted else None


def say(text):
    print(f"peer: {text}", file=sys.stderr, flush=True)


def close_in_order(sock):
    """What was sent is flushed; half-close, read and discard until the peer's end or the linger time, close (§2.9)."""
    try:
        sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + LINGER_S
        sock.settimeout(LINGER_S)
        while sock.recv(65536) and time.monotonic() < until:
            pass
    except OSError:
        pass
    finally:
        sock.close()


def open_link(sock, side, checksum, dribble):
    """What guards the frames of a connection from now on: "crc32c", "blake2b", or None."""
    if not checksum:
        return peer_sums.Plain()
    link = peer_sums.Checked(side, checksum)
    if side == "connector":
        send_bytes(sock, link.opening(), dribble)
        link.read_opening(lambda n: receive_exactly(sock, n))
    else:
        link.read_opening(lambda n: receive_exactly(sock, n))
        send_bytes(sock, link.opening(), dribble)
    return link


def echo(sock, args, dribble):
    """Answers each request with itself, in order, until the peer's end or an error."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(PATIENCE_S)
    decoder = Decoder(min(args.max_frame + peer_sums.TRAILERS.get(args.checksum, 0), MOST))
    try:
        link = open_link(sock, "acceptor", args.checksum, dribble)
        while decoder.rejected is None:
            data = sock.recv(65536)
            for payload in decoder.feed(data):
                send_bytes(sock, encode(link.ours.seal(link.theirs.unseal(payload))), dribble)
            if not data:
                break
        if decoder.rejected is not None:
            say(decoder.error_text())
        elif decoder.end() != CLOSED:
            say("the stream ended inside a frame")
    except (OSError, ProtocolError, peer_sums.SumError) as error:
        say(str(error))
    close_in_order(sock)


def accept_for_ever(listener, args):
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return  # the listener was closed
        worker = (sock, args, dribbler(args.dribble))
        threading.Thread(target=echo, args=worker, daemon=True).start()


def run_serve(args):
    host, port = parse_address(args.address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    shown = f"[{host}]" if ":" in host else host
    print(f"listening on {shown}:{listener.getsockname()[1]}", flush=True)
    threading.Thread(target=accept_for_ever, args=(listener, args), daemon=True).start()
    while sys.stdin.buffer.read(4096):
        pass
    listener.close()
    return 0


def payloads(count, seed, largest):
    """The same sequence for the same seed: empty, tiny, middling and, now and then, as large as allowed."""
    rng = random.Random(seed)
    for _ in range(count):
        bound = rng.choice((0, 1, 5, 100, 100, 1000, 1000, min(5000, largest), largest))
        yield rng.randbytes(rng.randint(0, min(bound, largest)))


class Sender(threading.Thread):
    """Sends all requests while the main thread reads: who writes before he reads may wait for ever (§3.7)."""

    def __init__(self, sock, args, link):
        super().__init__(daemon=True)
        self.sock = sock
        self.args = args
        self.link = link
        self.error = None

    def run(self):
        dribble = dribbler(self.args.dribble, self.args.seed)
        try:
            for payload in payloads(self.args.count, self.args.seed, self.args.largest):
                send_bytes(self.sock, encode(self.link.ours.seal(payload)), dribble)
        except OSError as error:
            self.error = error


def receive_until_end(sock, decoder):
    """Every payload until the peer's end, which must be clean."""
    while True:
        data = sock.recv(65536)
        yield from decoder.feed(data)
        if decoder.rejected is not None:
            raise ProtocolError(decoder.error_text())
        if not data:
            if decoder.end() != CLOSED:
                raise ProtocolError("the stream ended inside a frame")
            return


def check_echo(sock, args):
    """The n-th reply must be the n-th request; then we half-close, and the peer's clean end must come (§3.2, §3.5)."""
    link = open_link(sock, "connector", args.checksum, dribbler(args.dribble, args.seed))
    sender = Sender(sock, args, link)
    sender.start()
    expected = payloads(args.count, args.seed, args.largest)
    seen = total = 0
    if args.count == 0:
        sock.shutdown(socket.SHUT_WR)
    for reply in receive_until_end(sock, Decoder(MOST)):
        if seen == args.count:
            raise ProtocolError("a reply that nobody asked for")
        reply = link.theirs.unseal(reply)
        if reply != next(expected):
            raise ProtocolError(f"reply {seen} is not request {seen}")
        seen += 1
        total += len(reply)
        if seen == args.count:
            sender.join()  # its last frame was answered, so it has been sent
            sock.shutdown(socket.SHUT_WR)
    if seen < args.count:
        why = f" ({sender.error})" if sender.error else ""
        raise ProtocolError(f"the end came after {seen} of {args.count} replies{why}")
    return total


def run_call(args):
    try:
        with socket.create_connection(parse_address(args.address), timeout=PATIENCE_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            total = check_echo(sock, args)
    except (OSError, ProtocolError, peer_sums.SumError) as error:
        say(f"FAILED: {error}")
        return 1
    say(f"{args.count} replies, {total} bytes, all as they should be")
    return 0


# ---- the examples of PROTOCOL.md ----


def wire_blocks(path):
    """(title, steps) of every ```wire block; a step is (direction, bytes), or (direction, None) for the end."""
    title, steps = "", None
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("#"):
                title = line.lstrip("# ")
            elif line == "```wire":
                steps = []
            elif line == "```" and steps is not None:
                yield title, steps
                steps = None
            elif steps is not None:
                direction, _, rest = line.partition("#")[0].strip().partition(" ")
                if direction not in ("<", ">"):
                    raise ValueError(f"{title}: not a step: {line!r}")
                rest = rest.strip()
                steps.append((direction, None if rest == "end" else bytes.fromhex(rest)))


def receive_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def replay(address, steps):
    with socket.create_connection(address, timeout=PATIENCE_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for direction, data in steps:
            if direction == ">" and data is None:
                sock.shutdown(socket.SHUT_WR)
            elif direction == ">":
                sock.sendall(data)
            else:
                got = sock.recv(1) if data is None else receive_exactly(sock, len(data))
                if got != (data or b""):
                    raise ProtocolError(f"got {got.hex() or 'the end'}, not {data.hex() if data else 'the end'}")


def run_examples(args):
    passed = failed = 0
    for title, steps in wire_blocks(args.file):
        try:
            replay(parse_address(args.address), steps)
            passed += 1
        except (OSError, ProtocolError) as error:
            failed += 1
            print(f"{title}: {error}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def main():
    parser = argparse.ArgumentParser(description="a second implementation of the framed protocol")
    commands = parser.add_subparsers(required=True)

    vectors = commands.add_parser("vectors")
    vectors.add_argument("dir", metavar="DIR")
    vectors.set_defaults(run=run_vectors)

    serve = commands.add_parser("serve")
    serve.add_argument("address", metavar="HOST:PORT")
    serve.add_argument("--dribble", action="store_true", help="send in pieces of 1 to 13 bytes")
    serve.add_argument("--checksum", choices=list(peer_sums.MODES), help="a checksum behind every frame; nothing else is accepted")
    serve.add_argument("--max-frame", type=int, default=DEFAULT_MAX_FRAME, metavar="BYTES")
    serve.set_defaults(run=run_serve)

    call = commands.add_parser("call")
    call.add_argument("address", metavar="HOST:PORT")
    call.add_argument("--count", type=int, default=100, metavar="N")
    call.add_argument("--seed", type=int, default=1, metavar="S")
    call.add_argument("--largest", type=int, default=99999, metavar="BYTES", help="no frame is longer")
    call.add_argument("--checksum", choices=list(peer_sums.MODES), help="a checksum behind every frame")
    call.add_argument("--dribble", action="store_true", help="send in pieces of 1 to 13 bytes")
    call.set_defaults(run=run_call)

    examples = commands.add_parser("examples")
    examples.add_argument("file", metavar="FILE")
    examples.add_argument("address", metavar="HOST:PORT")
    examples.set_defaults(run=run_examples)

    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
