"""framed inspect --tap with a target that wants checksums or keys: clients speak plain frames, and see and say what they would without."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import unittest

from test_keys import SODIUM, KeysTest, pass_on
from test_tap import TapTest, exchange, noise, peer_sums, recorded
from toolkit import frame, read_exactly, read_frame, read_to_end

SIZES = (0, 1, 2, 64, 1000, 65514, 65518, 65519, 65535, 65536, 300000)


class CrossingTest(TapTest, KeysTest):
    def behind(self, options, *more, mine=None, **process):
        """A server with these options and a tap before it."""
        server = self.serve(*options)
        return server, self.tap(server.address, *(options if mine is None else mine), *more, **process)

    def relay(self, server, spoil):
        """Passes on what a client and the server say; one byte of the server's is changed."""

        def talk(client):
            with socket.create_connection(tuple(server.address.split(":"))) as target:
                threading.Thread(target=pass_on, args=(client, target, [], None), daemon=True).start()
                pass_on(target, client, [], spoil)

        return self.peer(talk)

    def closed(self, sock):
        """What came until the end, however it came."""
        try:
            return read_to_end(sock)
        except ConnectionError:
            return b""


class WhatPasses(CrossingTest):
    def test_frames_of_every_size(self):
        for options, mine in self.ways().values():
            _, tap = self.behind(options, mine=mine)
            sock = self.connect(tap.address)
            data = b"".join(frame(noise(n, n)) for n in SIZES)
            self.assertEqual(exchange(sock, data), data)

    def test_byte_by_byte(self):
        for options, mine in self.ways().values():
            _, tap = self.behind(options, mine=mine)
            sock = self.connect(tap.address)
            for size in (0, 1, 5):
                for byte in frame(noise(size)):
                    sock.sendall(bytes([byte]))
                self.assertEqual(read_frame(sock), noise(size))

    def test_a_client_that_does_not_read_for_a_while_loses_nothing(self):
        for options, mine in self.ways().values():
            _, tap = self.behind(options, mine=mine)
            sock = self.connect(tap.address)
            data = b"".join(frame(noise(1 << 20, n)) for n in range(12))
            sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
            sender.start()
            sender.join(0.3)
            self.assertEqual(read_exactly(sock, len(data)), data)
            sender.join()

    def test_both_ends_hear_of_each_others_orderly_end(self):
        for options, mine in self.ways().values():
            server, tap = self.behind(options, mine=mine)
            sock, other = self.connect(tap.address), self.connect(tap.address)
            sock.sendall(frame(b"last"))
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(sock), frame(b"last"))
            server.wait_line(r"closed: the peer closed the connection$")
            other.sendall(frame(b"one"))
            self.assertEqual(read_frame(other), b"one")
            self.drain(server)
            self.assertEqual(read_to_end(other), b"")
            other.close()
            self.stop(tap)
            for text in (server.stderr, tap.stderr):
                self.assertNotIn("cut off", text)
                self.assertNotIn("checksum was wrong", text)

    def test_what_is_seen_and_recorded_is_what_the_client_sees(self):
        for options, mine in self.ways().values():
            record = self.path("record")
            _, tap = self.behind(options, "--record", record, mine=mine, stdout=subprocess.PIPE)
            call = self.run_tool("call", tap.address, "-m", "a question")
            self.assertEqual((call.returncode, call.stdout), (0, b"a question"), call.stderr)
            shown = "\n".join(self.shown(tap))
            self.assertEqual(shown.count("a question"), 2)
            kept = self.read_back(tap, record)
            self.assertEqual((recorded(kept, 1, 0), recorded(kept, 1, 1)), (frame(b"a question"),) * 2)

    def read_back(self, tap, record):
        """The bytes of a record in which inspect finds nothing wrong."""
        self.stop(tap)
        read = self.run_tool("inspect", record)
        self.assertEqual((read.returncode, read.stderr), (0, ""), read.stdout)
        with open(record, "rb") as file:
            kept = file.read()
        os.remove(record)
        return kept

    def test_long_replies_are_recorded_whole_and_read_back(self):
        path, sent = self.path("sent"), random.Random(1).randbytes(900_000)
        with open(path, "wb") as file:
            file.write(sent)
        for options, mine in self.ways().values():
            record = self.path("record")
            _, tap = self.behind(options, "--record", record, mine=mine)
            call = self.run_tool("call", tap.address, "-f", path, "-f", path, "-f", path)
            self.assertEqual((call.returncode, len(call.stdout)), (0, 3 * len(sent)), call.stderr)
            kept = self.read_back(tap, record)
            for way in (0, 1):
                self.assertEqual(recorded(kept, 1, way), frame(sent) * 3)

    def test_ready_line_says_how_the_target_is_spoken_to(self):
        _, tap = self.behind(("--checksum", "crc32c"))
        self.assertIn(", crc32c)", tap.stderr)

    def test_many_connections_at_once_are_opened_as_fast_as_the_target_lets_one_address(self):
        for options, mine in self.ways().values():
            _, tap = self.behind(options, mine=mine)
            socks = [self.connect(tap.address) for _ in range(100 if "--key" not in mine else 70)]
            for i, sock in enumerate(socks):
                sock.sendall(frame(b"%d" % i))
            for i, sock in enumerate(socks):
                self.assertEqual(read_frame(sock), b"%d" % i)

    def test_frames_above_the_limit_of_what_is_shown(self):
        for options, mine in list(self.ways().values())[:3]:
            _, tap = self.behind((*options, "--max-frame", "64MiB"), mine=mine)
            sock = self.connect(tap.address)
            data = frame(noise(17 << 20))
            self.assertEqual(exchange(sock, data), data)

    def test_a_tap_that_stops_ends_connections_in_order(self):
        for options, mine in self.ways().values():
            server, tap = self.behind(options, mine=mine)
            sock = self.connect(tap.address)
            self.assertEqual(exchange(sock, frame(b"x")), frame(b"x"))
            self.stop(tap)
            server.wait_line("closed: the peer closed the connection$")
            self.assertNotIn("cut off", server.stderr)


class WhatDoesNot(CrossingTest):
    def test_a_target_that_does_not_agree_is_said_and_the_client_is_closed(self):
        for options, mine in self.ways().values():
            plain = self.peer(lambda sock: sock.recv(100))
            targets = [(plain.address, "ended inside the ")]
            if SODIUM:  # one that wants something else
                targets.append((self.serve("--checksum", "blake2b" if "crc32c" in mine else "crc32c").address, ""))
            for target, words in targets:
                tap = self.tap(target, *mine)
                sock = self.connect(tap.address)
                sock.sendall(frame(b"nobody sees this"))
                self.assertEqual(self.closed(sock), b"")
                tap.wait_line(r"cannot connect to .*" + words)
                self.stop(tap)

    def test_a_target_that_says_nothing_has_five_seconds(self):
        silent = self.peer(lambda sock: sock.recv(1 << 20) and sock.recv(1))
        tap = self.tap(silent.address, "--checksum", "crc32c")
        sock = self.connect(tap.address)
        self.assertEqual(self.closed(sock), b"")
        tap.wait_line("the opening was not finished in time")

    def test_a_target_that_does_not_even_accept_has_as_long(self):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as queue:
            for _ in range(4):  # more than its queue takes: whoever comes now is not answered by its system
                sock = queue.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            tap = self.tap("%s:%d" % full.getsockname(), "--checksum", "crc32c")
            self.assertEqual(self.closed(self.connect(tap.address)), b"")
            tap.wait_line("cannot connect to .*timed out")

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_another_server_is_told_nothing(self):
        options, mine = self.ways()["pinned"]
        other = self.pair("other")
        server = self.serve(*options)
        tap = self.tap(server.address, *mine[:2], "--peer-key", other)
        sock = self.connect(tap.address)
        sock.sendall(frame(b"a secret"))
        self.assertEqual(self.closed(sock), b"")
        tap.wait_line("another key than it must have")

    def test_what_was_changed_on_its_way_ends_the_connection(self):
        for options, mine in self.ways().values():
            server = self.serve(*options)
            tap = self.tap(self.relay(server, 5000).address, *mine)
            sock = self.connect(tap.address)
            data = b"".join(frame(noise(1000, n)) for n in range(10))
            sock.sendall(data)
            came = self.closed(sock)
            self.assertLess(len(came), len(data))
            if "--checksum" not in options:  # of a frame with a checksum its payload has passed already
                self.assertEqual(came, data[: len(came)])
            tap.wait_line(r"target: (a checksum was wrong|a record that did not open)")

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_a_stream_that_is_cut_is_no_orderly_end(self):
        options, mine = self.ways()["psk"]
        server, tap = self.behind(options, mine=mine)
        sock = self.connect(tap.address)
        self.assertEqual(exchange(sock, frame(b"x")), frame(b"x"))
        server.signal(signal.SIGKILL)
        server.wait()
        self.assertEqual(self.closed(sock), b"")
        tap.wait_line("target: (the stream was cut off|connection reset)")

    def test_a_frame_before_anything_was_asked_is_refused_and_said(self):
        def talk(sock):
            checked = peer_sums.Checked("acceptor")
            checked.read_opening(lambda n: read_exactly(sock, n))
            sock.sendall(checked.opening() + frame(checked.ours.seal(b"nobody asked")))
            sock.recv(1)

        tap = self.tap(self.peer(talk).address, "--checksum", "crc32c")
        self.assertEqual(self.closed(self.connect(tap.address)), b"")
        tap.wait_line("a frame came before anything was asked")

    def test_a_client_that_speaks_no_frames_is_closed_where_checksums_are_wanted(self):
        _, tap = self.behind(("--checksum", "crc32c"))
        sock = self.connect(tap.address)
        sock.sendall(b"\xf7F\x01\x10 and so on")
        self.assertEqual(self.closed(sock), b"")
        tap.wait_line("client: ")

    def test_what_does_not_go_together(self):
        self.assert_code(self.run_tool("inspect", "--checksum", "crc32c"), 2, "--checksum goes with --tap")
        self.assert_code(self.run_tool("inspect", "--psk", "x"), 2, "--psk goes with --tap")
        if SODIUM:
            self.assert_code(self.run_tool("inspect", "--tap", "127.0.0.1:0=127.0.0.1:1", "--key", self.path("x")), 2, "--peer-key")


@unittest.skipIf(SODIUM, "built with libsodium")
class Without(CrossingTest):
    def test_keys_are_not_built_in(self):
        for more in (("--checksum", "blake2b"), ("--psk", self.write("psk", "me framed-psk-1:XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os\n"))):
            os.chmod(self.path("psk"), 0o600) if os.path.exists(self.path("psk")) else None
            self.assert_code(self.run_tool("inspect", "--tap", "127.0.0.1:0=127.0.0.1:1", *more), 7, "libsodium")


if __name__ == "__main__":
    unittest.main()
