"""The second implementation (tests/peer.py) against the vectors, against itself, and against the tool, both ways.

The tool is build/framed, or what the environment variable FRAMED names.
"""

import fnmatch
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import peer  # noqa: E402

FRAMED = os.path.abspath(os.environ.get("FRAMED", os.path.join(ROOT, "build", "framed")))
PEER = [sys.executable, os.path.join(ROOT, "tests", "peer.py")]
VECTORS = os.path.join(ROOT, "proto", "vectors")
PROTOCOL = os.path.join(ROOT, "proto", "PROTOCOL.md")
PATIENCE_S = 120  # for what must not hang; nothing is measured against it


def run(command, **more):
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False, **more)


class Server:
    """A server process that says where it listens, in a line on stdout or stderr."""

    def __init__(self, command, ready, stream):
        self.lines = []
        self._ready = threading.Event()
        self._pattern = re.compile(ready)
        self.address = None
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        pipes[stream] = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, **pipes)
        self._stream = getattr(self.process, stream)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(PATIENCE_S) or self.address is None:
            self.kill()
            raise AssertionError(f"{command[0]} did not say that it listens: {self.lines}")

    def _read(self):
        for line in self._stream:  # to the end, so that the server never blocks on a full pipe
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            found = self._pattern.match(self.lines[-1])
            if found and self.address is None:
                self.address = found.group(1)
                self._ready.set()
        self._ready.set()

    def wait(self):
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            self.kill()
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        self._stream.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def peer_serve(*options):
    return Server([*PEER, "serve", "127.0.0.1:0", *options], r"listening on (\S+:\d+)$", "stdout")


def framed_serve(*options):
    command = [FRAMED, "serve", "127.0.0.1:0", *options]
    return Server(command, r"framed: listening on (127\.0\.0\.1:\d+)(?= |$)", "stderr")


class PeerTest(unittest.TestCase):
    maxDiff = 500

    def serve(self, start, *options):
        server = start(*options)
        self.addCleanup(server.kill)
        return server

    def assert_passes(self, result, message=None):
        self.assertEqual(result.returncode, 0, message or result.stdout + result.stderr)

    def call(self, address, *options):
        return run([*PEER, "call", address, *options])


class Vectors(PeerTest):
    def vectors(self, frames, words):
        with tempfile.TemporaryDirectory() as where:
            for name, text in (("frames.txt", frames), ("words.txt", words)):
                with open(os.path.join(where, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return run([*PEER, "vectors", where])

    def test_peer_passes_every_vector(self):
        result = run([*PEER, "vectors", VECTORS])
        self.assert_passes(result)
        summary = re.fullmatch(r"(\d+) passed, 0 failed\n", result.stdout.decode())
        self.assertIsNotNone(summary, result.stdout)
        cases = sum(1 for name in ("frames.txt", "words.txt") for _ in peer.vector_lines(os.path.join(VECTORS, name)))
        self.assertEqual(int(summary.group(1)), cases)
        self.assertGreaterEqual(cases, 200)

    def test_each_vector_has_a_name_of_its_own(self):
        names = [fields[0] for _, fields in peer.vector_lines(os.path.join(VECTORS, "frames.txt"))]
        self.assertEqual(sorted(set(names)), sorted(names))
        for name in names:
            self.assertRegex(name, r"^[a-z0-9_]+$")

    def test_a_wrong_expectation_fails(self):
        frame, word = "a | 16 | 00000001 61 | 61 closed\n", "00000001 | 16 | length 1 | -\n"
        self.assert_passes(self.vectors(frame, word))
        for frames, words in (
            (frame.replace("| 61", "| 62"), word),
            (frame.replace("closed", "truncated"), word),
            (frame.replace("closed", "too-large"), word),
            (frame.replace(" 61 closed", " closed"), word),
            (frame.replace("16", "0"), word),
            (frame, word.replace("length 1", "length 2")),
            (frame, word.replace("length 1", "too-large")),
            (frame, "47455420 | 16 | too-large | TLS\n"),
            ("# nothing\n", word),
            (frame, ""),
        ):
            with self.subTest(frames=frames, words=words):
                result = self.vectors(frames, words)
                self.assertEqual(result.returncode, 1)
                self.assertIn(b"1 passed, 1 failed\n", result.stdout)


class Page(unittest.TestCase):
    """What PROTOCOL.md says in tables is held against the vectors."""

    def setUp(self):
        with open(PROTOCOL, encoding="utf-8") as file:
            self.text = file.read()

    def rows(self, heading):
        section = self.text.split(f"\n{heading}", 1)[1].split("\n#", 1)[0]
        lines = [line for line in section.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    def test_the_first_line_says_what_proto_means(self):
        self.assertRegex(self.text.splitlines()[0], "proto/.*means protocol, not Protobuf")

    def test_the_frames_of_the_layout_are_frames(self):
        whole = [frame.strip("`") for _, frame in self.rows("### 2.1") if "…" not in frame]
        self.assertGreaterEqual(len(whole), 4)
        for frame in whole:
            decoder = peer.Decoder()
            self.assertEqual((len(decoder.feed(bytes.fromhex(frame))), decoder.end()), (1, peer.CLOSED), frame)

    def test_the_hints_are_those_of_the_vectors(self):
        names = {row[-1] for row in self.rows("### 2.8")} - {"no name, no hint"}
        hints = {fields[3] for _, fields in peer.vector_lines(os.path.join(VECTORS, "words.txt"))} - {"-"}
        self.assertEqual(names, hints)

    def test_the_cases_named_for_malformed_input_exist(self):
        names = [fields[0] for _, fields in peer.vector_lines(os.path.join(VECTORS, "frames.txt"))]
        patterns = [pattern for row in self.rows("## 4") for pattern in re.findall("`([^`]+)`", row[3])]
        self.assertGreaterEqual(len(patterns), 15)
        for pattern in patterns:
            self.assertTrue(fnmatch.filter(names, pattern), pattern)


class PeerWithPeer(PeerTest):
    def test_call_checks_the_echo_of_serve(self):
        server = self.serve(peer_serve)
        self.assert_passes(self.call(server.address, "--count", "300", "--seed", "1"))
        self.assert_passes(self.call(server.address, "--count", "0"))
        self.assert_passes(self.call(server.address, "--count", "1"))

    def test_both_dribbling(self):
        server = self.serve(peer_serve, "--dribble")
        self.assert_passes(self.call(server.address, "--count", "100", "--seed", "2", "--largest", "2000", "--dribble"))

    def test_serve_ends_when_its_stdin_does(self):
        server = self.serve(peer_serve)
        server.process.stdin.close()
        self.assertEqual(server.wait(), 0)

    def test_call_fails_when_the_server_closes_early(self):
        server = self.serve(peer_serve, "--max-frame", "50")  # rejects the first longer one
        result = self.call(server.address, "--count", "100", "--seed", "3")
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"replies", result.stderr)

    def test_call_fails_on_an_altered_a_superfluous_and_a_cut_reply(self):
        for answer in (
            b"\0\0\0\x01x",  # not what was asked
            peer.encode(next(peer.payloads(1, 4, 99999))) + b"\0\0\0\0",  # one more than was asked
            peer.encode(next(peer.payloads(1, 4, 99999))) + b"\0\0",  # ends inside a length word
            b"\0\0\0\x09cut",  # ends inside a payload
            b"\xff\xff\xff\xff",  # no length
            b"",  # nothing at all
        ):
            with self.subTest(answer=answer[:20]), peer.socket.create_server(("127.0.0.1", 0)) as listener:
                scripted = threading.Thread(target=answer_once, args=(listener, answer), daemon=True)
                scripted.start()
                result = self.call("127.0.0.1:%d" % listener.getsockname()[1], "--count", "1", "--seed", "4")
                scripted.join(PATIENCE_S)
                self.assertEqual(result.returncode, 1, result.stderr)
                self.assertIn(b"FAILED", result.stderr)

    def test_the_examples_of_the_protocol_hold(self):
        for options in ((), ("--dribble",)):
            server = self.serve(peer_serve, *options)
            result = run([*PEER, "examples", PROTOCOL, server.address])
            self.assert_passes(result)
            self.assertEqual(result.stdout, b"%d passed, 0 failed\n" % len(list(peer.wire_blocks(PROTOCOL))))

    def test_an_example_that_does_not_hold_fails(self):
        server = self.serve(peer_serve)
        for steps in (
            "> 00000001 61\n< 00000001 62",
            "> 00000001 61\n> end\n< end",
            "> 00000001 61\n> end\n< 00000001 61 00",
        ):
            with self.subTest(steps=steps), tempfile.NamedTemporaryFile("w", suffix=".md") as file:
                file.write(f"# wrong\n```wire\n{steps}\n```\n")
                file.flush()
                result = run([*PEER, "examples", file.name, server.address])
                self.assertEqual(result.returncode, 1)
                self.assertTrue(result.stdout.endswith(b"0 passed, 1 failed\n"), result.stdout)


def answer_once(listener, answer):
    """Whatever the first connection asks, it gets this answer and the end."""
    sock, _ = listener.accept()
    sock.recv(65536)
    sock.sendall(answer)
    peer.close_in_order(sock)


class ToolServes(PeerTest):
    def drained(self, server):
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0, server.lines)

    def test_peer_calls_the_tool(self):
        server = self.serve(framed_serve, "--echo")
        for seed in (11, 12):
            self.assert_passes(self.call(server.address, "--count", "500", "--seed", str(seed)), server.lines)
        self.drained(server)

    def test_peer_calls_the_tool_in_small_pieces(self):
        server = self.serve(framed_serve, "--echo")
        self.assert_passes(self.call(server.address, "--count", "200", "--seed", "13", "--largest", "3000", "--dribble"))
        self.drained(server)

    def test_three_peers_at_once(self):
        server = self.serve(framed_serve, "--echo")
        command = [*PEER, "call", server.address, "--count", "200", "--seed"]
        callers = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in (21, 22, 23)]
        for caller in callers:
            _, errors = caller.communicate(timeout=PATIENCE_S)
            self.assertEqual(caller.returncode, 0, errors)
        self.drained(server)

    def test_the_examples_of_the_protocol_hold_for_the_tool(self):
        server = self.serve(framed_serve, "--echo")
        result = run([*PEER, "examples", PROTOCOL, server.address])
        self.assert_passes(result)
        self.drained(server)
        self.assertIn("HTTP", "\n".join(server.lines))

    def test_a_frame_of_16_mib_comes_back_and_one_byte_more_does_not(self):
        server = self.serve(framed_serve, "--echo")
        with peer.socket.create_connection(peer.parse_address(server.address), timeout=PATIENCE_S) as sock:
            payload = random.Random(5).randbytes(peer.DEFAULT_MAX_FRAME)
            sender = threading.Thread(target=sock.sendall, args=(peer.encode(payload),), daemon=True)
            sender.start()
            self.assertEqual(peer.receive_exactly(sock, 4), peer.encode(payload)[:4])
            self.assertTrue(peer.receive_exactly(sock, len(payload)) == payload)
            sender.join()
            sock.sendall((len(payload) + 1).to_bytes(4, "big"))
            self.assertEqual(sock.recv(1), b"")
        self.drained(server)
        self.assertTrue(any("16777217" in line and "16777216" in line for line in server.lines), server.lines)


with open(FRAMED, "rb") as program:
    KINDS = ("crc32c", "blake2b") if b"sodium_" in program.read() else ("crc32c",)


class Checksums(PeerTest):
    """Both kinds both ways round: the peer is written from the page, not from the code."""

    def test_peer_calls_the_tool_with_checksums(self):
        for kind in KINDS:
            server = self.serve(framed_serve, "--checksum", kind)
            self.assertIn(f"({kind}; ", server.lines[0])
            self.assert_passes(self.call(server.address, "--checksum", kind, "--count", "200", "--seed", "41"), server.lines)
            self.assert_passes(
                self.call(server.address, "--checksum", kind, "--count", "100", "--seed", "42", "--largest", "2000", "--dribble"))
            refused = self.call(server.address, "--count", "1")
            self.assertEqual(refused.returncode, 1, refused.stderr)

    def test_plain_and_checked_peers_call_one_server(self):
        server = self.serve(framed_serve)
        self.assertIn("(plain or with checksums; ", server.lines[0])
        self.assert_passes(self.call(server.address, "--count", "50", "--seed", "43"))
        for kind in KINDS:
            self.assert_passes(self.call(server.address, "--checksum", kind, "--count", "50", "--seed", "43"))

    def test_tool_calls_the_peer_with_checksums(self):
        for kind in KINDS:
            for options in ((), ("--dribble",)):
                server = self.serve(peer_serve, "--checksum", kind, *options)
                data = b"".join(peer.encode(payload) for payload in peer.payloads(100, 44, 5000))
                result = run([FRAMED, "call", server.address, "--checksum", kind, "--framed", "-o", "framed"], input=data)
                self.assertEqual((result.returncode, result.stdout == data), (0, True), result.stderr)

    def test_every_command_that_asks_does_so_with_checksums(self):
        for kind in KINDS:
            server = self.serve(framed_serve, "--checksum", kind)
            for command in (("ping", "--count", "2"), ("bench", "-n", "2000", "--verify", "--size", "0-70000", "-c", "3"),
                            ("bench", "-n", "2000", "--verify", "--pipeline", "16")):
                result = run([FRAMED, command[0], server.address, "--checksum", kind, *command[1:]])
                self.assert_passes(result)
                result = run([FRAMED, command[0], server.address, *command[1:], "-t", "5s"])
                self.assertNotEqual(result.returncode, 0, result.stdout)

    def test_a_kind_that_is_not_built_is_said(self):
        if "blake2b" in KINDS:
            self.skipTest("it is")
        for command in (("serve", "127.0.0.1:0"), ("call", "127.0.0.1:1", "-m", "x"), ("ping", "127.0.0.1:1"), ("bench", "127.0.0.1:1")):
            result = run([FRAMED, *command, "--checksum", "blake2b"])
            self.assertEqual(result.returncode, 7, result.stderr)
            self.assertIn(b"libsodium", result.stderr)

    def test_wrong_checksum_is_named_and_not_believed(self):
        for changed in range(4, 13):
            address, thread = self.lying_server(changed)
            result = run([FRAMED, "call", address, "--checksum", "crc32c", "-m", "hello"])
            thread.join(PATIENCE_S)
            self.assertEqual((result.returncode, result.stdout), (5, b""), result.stderr)
            self.assertIn(b"a checksum was wrong", result.stderr)

    def lying_server(self, changed):
        """Echoes one frame, of which it changes one byte."""
        listener = peer.socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            sock, _ = listener.accept()
            link = peer.open_link(sock, "acceptor", "crc32c", None)
            size = int.from_bytes(peer.receive_exactly(sock, 4), "big")
            reply = bytearray(peer.encode(link.ours.seal(link.theirs.unseal(peer.receive_exactly(sock, size)))))
            reply[changed] ^= 1
            sock.sendall(reply)
            peer.close_in_order(sock)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        return "127.0.0.1:%d" % listener.getsockname()[1], thread

    def test_message_longer_than_the_peer_accepts_is_refused(self):
        server = self.serve(framed_serve, "--max-frame", "20000")
        for manner in ((), ("--no-reply",), ("--whole",)):
            result = run([FRAMED, "call", server.address, "--checksum", "crc32c", *manner], input=b"x" * 30000)
            self.assertEqual(result.returncode, 6, result.stderr)
            self.assertIn(b"message 1 has 30000 bytes; the other end accepts at most 20000", result.stderr)
        result = run([FRAMED, "ping", server.address, "--checksum", "crc32c", "--count", "1", "-m", "x" * 30000])
        self.assertEqual(result.returncode, 6)
        self.assertEqual(result.stderr.splitlines()[0], b"framed: the message has 30000 bytes; the other end accepts at most 20000")
        result = run([FRAMED, "bench", server.address, "--checksum", "crc32c", "-n", "5", "--size", "30000"])
        self.assertEqual(result.returncode, 6, result.stderr)
        self.assertIn(b"a frame has up to 30000 bytes; the other end accepts at most 20000", result.stderr)

    def test_silent_peer_is_given_up(self):
        with peer.socket.create_server(("127.0.0.1", 0)) as silent:
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            commands = [[FRAMED, *words, address, "--checksum", "crc32c", "-t", "never"]
                        for words in (("call", "-m", "x"), ("ping", "--count", "1"), ("bench", "-c", "1", "-n", "1"))]
            tools = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
            for tool in tools:
                self.assertEqual((tool.communicate(timeout=PATIENCE_S), tool.returncode)[1], 4)

    def test_peer_that_knows_no_checksums_is_named(self):
        server = self.serve(peer_serve)
        for command in (("call", "-m", "x"), ("ping", "--count", "1"), ("bench", "-n", "1")):
            result = run([FRAMED, command[0], server.address, "--checksum", "crc32c", *command[1:]])
            self.assertEqual(result.returncode, 5, result.stdout + result.stderr)
            self.assertIn(b"no framed peer here: it ended", result.stderr)

    def test_sums_of_the_protocol_are_the_peers_too(self):
        self.assertEqual(peer.peer_sums.crc32c(b"123456789"), 0xE3069283)
        link = peer.peer_sums.Checked("connector")
        self.assertEqual(link.opening().hex(), "f7460110000000043b44c192")
        self.assertEqual(peer.encode(link.ours.seal(b"hello")).hex(), "0000000968656c6c6f524608fe")
        with open(PROTOCOL, encoding="utf-8") as f:
            page = f.read()
        link = peer.peer_sums.Checked("connector", "blake2b")
        for hexed in (link.opening().hex(), peer.encode(link.ours.seal(b"hello")).hex(), peer.encode(link.ours.seal(b"")).hex()):
            self.assertIn(hexed, page.replace(" ", ""))


class ToolCalls(PeerTest):
    def check(self, server, count, seed, largest, feed=None):
        """The tool sends the frames it reads on stdin, and writes the replies as frames on stdout: the same bytes."""
        data = b"".join(peer.encode(payload) for payload in peer.payloads(count, seed, largest))
        command = [FRAMED, "call", server.address, "--framed", "-o", "framed"]
        if feed is None:
            result = run(command, input=data)
        else:
            result = feed(command, data)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(result.stdout), len(data))
        self.assertTrue(result.stdout == data, "the frames came back changed")

    def test_tool_calls_the_peer(self):
        server = self.serve(peer_serve)
        self.check(server, 500, 31, 99999)
        self.check(server, 1, 32, 10)
        self.check(server, 0, 33, 10)

    def test_tool_calls_a_peer_that_dribbles(self):
        self.check(self.serve(peer_serve, "--dribble"), 200, 34, 3000)

    def test_tool_takes_stdin_in_small_pieces(self):
        self.check(self.serve(peer_serve), 60, 35, 500, feed=dribble_stdin)

    def test_empty_frames_are_called_and_come_back(self):
        server = self.serve(peer_serve)
        result = run([FRAMED, "call", server.address, "--framed", "-o", "framed"], input=b"\0\0\0\0" * 100)
        self.assertEqual((result.returncode, result.stdout), (0, b"\0\0\0\0" * 100), result.stderr)

    def scripted(self, serve, *more):
        """A listener whose first connection is given to serve(sock, *more); its address, and how to wait for its end."""
        listener = peer.socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        thread = threading.Thread(target=serve, args=(listener, *more), daemon=True)
        thread.start()
        return "127.0.0.1:%d" % listener.getsockname()[1], thread

    def test_tool_half_closes_only_after_its_last_reply(self):
        seen = []
        address, thread = self.scripted(answer_late, 3, seen)
        result = run([FRAMED, "call", address, "--framed", "-o", "framed"], input=peer.encode(b"abc") * 3)
        thread.join(PATIENCE_S)
        self.assertEqual((result.returncode, result.stdout), (0, peer.encode(b"abc") * 3), result.stderr)
        self.assertEqual(seen, ["silence before the replies", "the end behind them"])

    def test_tool_names_what_is_wrong_with_a_reply(self):
        for answer, says in (
            (b"\xff\xff\xff\xff", b"4294967295"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP"),
            (b"\0\0\0\x09cut", b""),
            (b"\0\0", b""),
        ):
            with self.subTest(answer=answer):
                address, thread = self.scripted(answer_once, answer)
                result = run([FRAMED, "call", address, "-m", "x"])
                thread.join(PATIENCE_S)
                self.assertEqual((result.returncode, result.stdout), (5, b""), result.stderr)
                self.assertIn(says, result.stderr)
                self.assertTrue(result.stderr.startswith(b"framed: "), result.stderr)


def answer_late(listener, count, seen):
    """Reads `count` requests, gives the client a moment to half-close too early (§3.5), then answers them all."""
    sock, _ = listener.accept()
    decoder = peer.Decoder()
    requests = []
    while len(requests) < count:
        requests += decoder.feed(sock.recv(65536))
    sock.settimeout(0.3)
    try:
        seen.append("the end" if sock.recv(1) == b"" else "more bytes")
    except peer.socket.timeout:
        seen.append("silence before the replies")
    sock.settimeout(PATIENCE_S)
    sock.sendall(b"".join(peer.encode(request) for request in requests))
    seen.append("the end behind them" if sock.recv(1) == b"" else "more bytes")
    sock.close()


def dribble_stdin(command, data):
    """As run(), with stdin written in pieces of 1 to 13 bytes."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )

    def write():
        rng = random.Random(6)
        at = 0
        try:
            while at < len(data):
                at += process.stdin.write(data[at : at + rng.randint(1, 13)])
        except BrokenPipeError:
            pass  # the exit code and the output tell
        process.stdin.close()

    out = []
    writer = threading.Thread(target=write, daemon=True)
    reader = threading.Thread(target=lambda: out.append(process.stdout.read()), daemon=True)
    writer.start()
    reader.start()
    try:
        code = process.wait(PATIENCE_S)
    finally:
        process.kill()
    writer.join()
    reader.join()
    with process.stdout, process.stderr:
        return subprocess.CompletedProcess(command, code, out[0], process.stderr.read())


if __name__ == "__main__":
    unittest.main()
