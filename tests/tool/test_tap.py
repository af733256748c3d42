"""framed inspect --tap: what passes is not changed or held up, whatever happens to what is shown of it."""

import contextlib
import json
import os
import random
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

from test_keygen import SODIUM
from toolkit import PATIENCE_S, READY, ToolTest, closed_port, frame, frames, read_exactly, read_frame, read_to_end

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import peer_sums  # noqa: E402

RECORD_MAGIC = frame(b"framed record 1\n")
OPENED, DATA, END, CLOSED, LOST = 1, 2, 3, 4, 5


def noise(n, seed=1):
    return random.Random(seed).randbytes(n)


def echo(sock):
    """Sends back whatever comes, until its end."""
    while data := sock.recv(65536):
        sock.sendall(data)


def swallow(sock):
    while sock.recv(1 << 20):
        pass


def echo_frames(sock):
    while (payload := read_frame(sock)) is not None:
        sock.sendall(frame(payload))


def open_text(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def exchange(sock, data):
    """Sends data while it reads as much; returns what came."""
    sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    sender.start()
    back = read_exactly(sock, len(data))
    sender.join(PATIENCE_S)
    return back


def entries(record):
    """(type, way, connection, bytes) of each entry of a record; none of our code took part in reading it."""
    if not record.startswith(RECORD_MAGIC):
        raise ValueError(f"not a record: {record[:40]!r}")
    for entry in frames(record[len(RECORD_MAGIC) :]):
        kind, way, connection, _ = struct.unpack_from(">BBIQ", entry)
        yield kind, way, connection, entry[14:]


def recorded(record, connection, way):
    return b"".join(data for kind, w, c, data in entries(record) if (kind, w, c) == (DATA, way, connection))


class TapTest(ToolTest):
    def tap(self, target, *more, listen="127.0.0.1:0", **process):
        process.setdefault("stdout", subprocess.DEVNULL)
        tap = self.start("inspect", "--tap", f"{listen}={target}", *more, stdin=subprocess.DEVNULL, **process)
        tap.address, tap.said = tap.wait_line(READY.pattern).groups()
        return tap

    def through(self, talk, *more, **process):
        """A connection through a tap to a peer that talks so. Returns it, the tap and the peer."""
        peer = self.peer(talk)
        tap = self.tap(peer.address, *more, **process)
        return self.connect(tap.address), tap, peer

    def stop(self, tap, code=0):
        self.drain(tap, code)

    def shown(self, tap):
        """Ends the tap; the lines it has shown."""
        tap.signal(signal.SIGTERM)
        out = tap.process.stdout.read()
        self.assertEqual(tap.wait(), 0, tap.stderr)
        return out.decode().splitlines()

    def folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name


class WhatPasses(TapTest):
    def assert_untouched(self, data):
        sock, _, _ = self.through(echo)
        self.assertEqual(exchange(sock, data), data)

    def test_frames(self):
        self.assert_untouched(b"".join(frame(noise(n, n)) for n in (0, 1, 2, 64, 1000, 65535, 65536, 200000)))

    def test_bytes_that_are_no_frames(self):
        self.assert_untouched(noise(300000))

    def test_http(self):
        self.assert_untouched(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)

    def test_frame_above_the_limit(self):
        self.assert_untouched(frame(noise(100)) + struct.pack(">I", 1 << 31) + noise(100000))

    def test_byte_by_byte(self):
        sock, _, _ = self.through(echo_frames)
        for size in (0, 1, 5):
            for byte in frame(noise(size)):
                sock.sendall(bytes([byte]))
            self.assertEqual(read_frame(sock), noise(size))

    def test_8_mib_both_ways_at_once(self):
        there, back = noise(8 << 20, 1), noise(8 << 20, 2)
        got = []

        def talk(sock):
            sender = threading.Thread(target=sock.sendall, args=(back,), daemon=True)
            sender.start()
            got.append(read_exactly(sock, len(there)))
            sender.join(PATIENCE_S)

        sock, _, peer = self.through(talk)
        sender = threading.Thread(target=sock.sendall, args=(there,), daemon=True)
        sender.start()
        self.assertEqual(read_exactly(sock, len(back)), back)
        sender.join(PATIENCE_S)
        peer.close()
        self.assertEqual(got, [there])

    def test_sender_is_held_up_by_a_reader_who_does_not_read(self):
        data = noise(1 << 20)
        sent = []
        stuck = threading.Event()

        def talk(sock):
            sock.settimeout(1)
            with contextlib.suppress(socket.timeout):
                while len(sent) < 200:
                    sock.sendall(data)
                    sent.append(1)
            stuck.set()
            sock.recv(1)

        sock, _, _ = self.through(talk)
        self.assertTrue(stuck.wait(PATIENCE_S))
        self.assertLess(len(sent), 100, "what nobody reads was taken all the same")
        for _ in sent:
            self.assertEqual(read_exactly(sock, len(data)), data)

    def test_half_close_by_the_client(self):
        sock, _, _ = self.through(lambda peer: peer.sendall(read_to_end(peer)[::-1]))
        sock.sendall(b"all there is")
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(sock), b"si ereht lla")

    def test_half_close_by_the_target(self):
        got = []

        def talk(sock):
            sock.sendall(b"enough")
            sock.shutdown(socket.SHUT_WR)
            got.append(read_to_end(sock))

        sock, _, peer = self.through(talk)
        self.assertEqual(read_to_end(sock), b"enough")
        sock.sendall(b"still here")
        sock.close()
        peer.close()
        self.assertEqual((got, peer.failures), ([b"still here"], []))

    def test_reset_by_the_client_ends_the_target(self):
        got = []

        def talk(sock):
            got.append(read_exactly(sock, 6))
            sock.sendall(b"x")
            try:
                got.append(sock.recv(1))
            except ConnectionResetError:
                got.append(b"")

        sock, tap, peer = self.through(talk)
        sock.sendall(b"before")
        read_exactly(sock, 1)
        reset(sock)
        peer.close()
        self.assertEqual((got, peer.failures), ([b"before", b""], []))
        tap.wait_line(r"^framed: #1: client: the connection was reset")

    def test_reset_by_the_target_ends_the_client_after_what_came_before(self):
        ready = threading.Event()

        def talk(sock):
            sock.sendall(b"before")
            ready.wait(PATIENCE_S)
            reset(sock)

        sock, tap, _ = self.through(talk)
        self.assertEqual(read_exactly(sock, 6), b"before")
        ready.set()
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(sock.recv(1), b"")
        tap.wait_line(r"^framed: #1: target: the connection was reset")

    def test_reply_sent_before_a_reset_for_unread_input_arrives(self):
        sock, _, _ = self.through(lambda peer: (peer.recv(1), peer.sendall(b"no"), peer.shutdown(socket.SHUT_WR)))
        sock.sendall(noise(1000))
        self.assertEqual(read_exactly(sock, 2), b"no")

    def test_target_that_closes_at_once(self):
        sock, tap, _ = self.through(lambda _: None)
        self.assertEqual(sock.recv(1), b"")
        self.stop(tap)

    def test_two_hundred_connections(self):
        tap = self.tap(self.peer(echo_frames).address)
        socks = [self.connect(tap.address) for _ in range(200)]
        for i, sock in enumerate(socks):
            sock.sendall(frame(noise(i, i)))
        for i, sock in enumerate(socks):
            self.assertEqual(read_frame(sock), noise(i, i))
        self.stop(tap)

    def test_unix_sockets_ipv6_and_an_inherited_listener(self):
        folder = self.folder()
        inner = self.serve(address=f"unix:{folder}/inner")
        middle = self.tap(f"unix:{folder}/inner", listen="[::1]:0")
        outer = self.tap(middle.address, listen=f"unix:{folder}/outer")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            last = self.tap(f"unix:{folder}/outer", listen=f"fd:{listener.fileno()}", pass_fds=[listener.fileno()])
        self.assertEqual(self.run_tool("call", last.address, "-m", "far").stdout, b"far")
        self.stop(outer)
        self.assertEqual(os.listdir(folder), ["inner"])
        self.drain(inner)


class Beginning(TapTest):
    def test_ready_line_names_both_ends(self):
        tap = self.tap("127.0.0.1:9")
        self.assertRegex(tap.lines[0], r"^framed: listening on 127\.0\.0\.1:[1-9][0-9]* \(tap of 127\.0\.0\.1:9\)$")

    def test_what_is_not_two_addresses(self):
        for wrong in ("127.0.0.1:0", "=127.0.0.1:1", "127.0.0.1:0=", "=", "", "127.0.0.1:0=" + "x" * 300):
            with self.subTest(wrong):
                self.assert_code(self.run_tool("inspect", "--tap", wrong), 2, "LISTEN=TARGET")
        for wrong in ("127.0.0.1=127.0.0.1:1", "127.0.0.1:0=nonsense", "127.0.0.1:0=127.0.0.1:1=2", "127.0.0.1:0=unix:",
                      ":0=127.0.0.1:1", "127.0.0.1:0=:1"):
            with self.subTest(wrong):
                self.assert_code(self.run_tool("inspect", "--tap", wrong), 2, "HOST:PORT")

    def test_descriptor_cannot_be_the_target(self):
        self.assert_code(self.run_tool("inspect", "--tap", "127.0.0.1:0=fd:0"), 2, "fd:0", "target")

    def test_descriptor_that_does_not_listen(self):
        self.assert_code(self.run_tool("inspect", "--tap", "fd:77=127.0.0.1:1"), 2, "fd:77", "not a listening socket")

    def test_file_and_tap(self):
        self.assert_code(self.run_tool("inspect", "--tap", "127.0.0.1:0=127.0.0.1:1", "file"), 2, "--tap")

    def test_tap_of_itself(self):
        sock, address = closed_port()
        sock.close()
        self.assert_code(self.run_tool("inspect", "--tap", f"{address}={address}"), 2, "itself")

    def test_address_in_use_leaves_the_record_alone(self):
        server = self.serve()
        path = os.path.join(self.folder(), "record")
        with open(path, "wb") as file:
            file.write(b"precious")
        done = self.run_tool("inspect", "--tap", f"{server.address}=127.0.0.1:1", "--record", path)
        self.assert_code(done, 3, "cannot listen on", server.address, "in use")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_unknown_hosts(self):
        self.assert_code(self.run_tool("inspect", "--tap", "127.0.0.1:0=nowhere.invalid:7000"), 3, "nowhere.invalid", "no such host")
        self.assert_code(self.run_tool("inspect", "--tap", "nowhere.invalid:7000=127.0.0.1:1"), 3, "nowhere.invalid", "no such host")

    def test_record_that_cannot_be_made(self):
        folder = self.folder()
        for path in (folder, f"{folder}/none/record"):
            done = self.run_tool("inspect", "--tap", "127.0.0.1:0=127.0.0.1:1", "--record", path)
            self.assert_code(done, 6, "cannot write", path)

    def test_refused_target_closes_the_client_and_the_tap_goes_on(self):
        port, nowhere = closed_port()
        tap = self.tap(nowhere)
        self.assertEqual(self.connect(tap.address).recv(1), b"")
        tap.wait_line(rf"^framed: #1: cannot connect to {nowhere}: ")
        port.listen()
        sock = self.connect(tap.address)
        with port, port.accept()[0] as there:
            sock.sendall(b"now")
            self.assertEqual(read_exactly(there, 3), b"now")

    def test_connections_beyond_the_descriptors_wait(self):
        peer = self.peer(echo)
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (36, 36))  # noqa: E731
        tap = self.tap(peer.address, preexec_fn=limit)
        tap.wait_line("36 open files allows 2 connections")
        socks = [self.connect(tap.address) for _ in range(3)]
        for sock in socks:
            sock.sendall(b"x")
        self.assertEqual([read_exactly(sock, 1) for sock in socks[:2]], [b"x", b"x"])
        socks[2].setblocking(False)
        self.assertRaises(BlockingIOError, socks[2].recv, 1)
        socks[2].settimeout(PATIENCE_S)
        socks[0].close()
        self.assertEqual(read_exactly(socks[2], 1), b"x")


class Protected(TapTest):
    """Connections that begin with an opening: the tap and its record show the same of them."""

    def shown_and_read(self, target, *call, calls=1, more=()):
        """The lines of a tap between calls and the target; inspect says the same of its record."""
        path = os.path.join(self.folder(), "record")
        tap = self.tap(target.address, "--record", path, *more, stdout=subprocess.PIPE)
        for _ in range(calls):
            done = self.run_tool("call", tap.address, "-m", "hello", "-m", "again", *call)
            self.assert_code(done, 0)
        shown = self.shown(tap)
        read = self.run_tool("inspect", path, *more)
        self.assert_code(read, 0)
        self.assertEqual(read.stdout.decode().splitlines(), shown)
        return shown

    def of_way(self, lines, way):
        """What text lines say of one way, without times."""
        found = [line.split(f" #1 {way} ", 1)[1] for line in lines if f" #1 {way} " in line]
        return [re.sub(r"  [0-9.]+ (ns|us|ms|s)$", "  TIME", line) for line in found]

    def test_checksums_are_left_out_and_replies_timed(self):
        server = self.serve("--checksum", "crc32c")
        shown = self.shown_and_read(server, "--checksum", "crc32c")
        frames_ = [' 5 B  "hello"', ' 5 B  "again"']
        self.assertEqual(self.of_way(shown, ">"), ["opening of a connector: crc32c; max frame 16 MiB", *frames_, "ended"])
        self.assertEqual(self.of_way(shown, "<"), ["opening of an acceptor: crc32c; max frame 16 MiB",
                                                   *(line + "  TIME" for line in frames_), "ended"])
        self.assertTrue(shown[-1].endswith("#1 closed"), shown)

    def test_large_frames_with_checksums_are_checked(self):
        server = self.serve("--checksum", "crc32c")
        path = os.path.join(self.folder(), "large")
        with open(path, "wb") as file:
            file.write(noise(3 << 20))
        tap = self.tap(server.address, "--json", stdout=subprocess.PIPE)
        done = self.run_tool("call", tap.address, "--checksum", "crc32c", "-f", path, "-o", "raw")
        self.assert_code(done, 0)
        self.assertEqual(done.stdout, noise(3 << 20))
        events = [json.loads(line) for line in self.shown(tap)]
        self.assertEqual([e["len"] for e in events if e["event"] == "frame"], [3 << 20] * 2)
        self.assertNotIn("wrong_checksum", {e["event"] for e in events})

    def test_wrong_checksum_is_shown_and_passed_on(self):
        data = bytes.fromhex("f7460110000000043b44c192 00000009 68656c6c6f 524608ff 00")
        sock, tap, _ = self.through(echo, stdout=subprocess.PIPE)
        self.assertEqual(exchange(sock, data), data)
        sock.close()
        self.assertIn("off 12  len 5  CHECKSUM WRONG: 524608ff came, 524608fe would be right here", self.of_way(self.shown(tap), ">"))

    def test_checksums_are_checked_on_behind_frames_that_found_no_room(self):
        """The opening may be among them: nobody reads what is shown until a full spool has passed."""
        tap = self.tap(self.peer(swallow).address, "--json", stdout=subprocess.PIPE)
        sock, other = self.connect(tap.address), self.connect(tap.address)
        sent = peer_sums.Direction("connector", "crc32c")
        other.sendall(frame(noise(4096)) * 4096)
        sock.sendall(sent.preface + b"".join(frame(sent.seal(text)) for text in (b"", bytes(200000), b"two")))
        events, enough = [], threading.Event()

        def read():
            for line in tap.process.stdout:
                events.append(json.loads(line))
                if events[-1]["conn"] == 1 and (events[-1]["event"] == "wrong_checksum" or "number" in events[-1].get("text", "")):
                    enough.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for number in range(100 * PATIENCE_S):
            sock.sendall(frame(sent.seal(b"number %d" % number)))
            if enough.wait(0.01):
                break
        sock.close()
        other.close()
        tap.signal(signal.SIGTERM)
        reader.join(PATIENCE_S)
        self.assertEqual(tap.wait(), 0, tap.stderr)
        kinds = [event["event"] for event in events if event["conn"] == 1]
        self.assertIn("not_shown", kinds)
        self.assertIn("frame", kinds)
        self.assertNotIn("wrong_checksum", kinds)
        shown = [event for event in events if event["conn"] == 1 and event["event"] == "frame"]
        self.assertTrue(any(event["text"].startswith("number ") for event in shown), shown)

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_of_encrypted_connections_lengths_are_shown_and_no_text(self):
        key = os.path.join(self.folder(), "key")
        self.assert_code(self.run_tool("keygen", "--psk", "--id", "me", "-o", key), 0)
        server = self.serve("--psk", key)
        shown = self.shown_and_read(server, "--psk", key)
        requests, replies = self.of_way(shown, ">"), self.of_way(shown, "<")
        self.assertEqual(requests[:2], ['opening of a connector: encrypted, shared key; max frame 16 MiB; key id "me"',
                                        " 48 B  handshake message 1"])
        self.assertEqual(replies[0], "opening of an acceptor: encrypted, shared key")
        self.assertRegex(replies[1], r"\A \d+ B  handshake message 2\Z")
        for lines in (requests, replies):
            self.assertEqual(lines[-1], "ended")
            self.assertGreater(len(lines), 3)
            for line in lines[2:-1]:
                self.assertRegex(line, r"\A \d+ B  encrypted\Z")
        self.assertNotIn("hello", "".join(shown))

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_json_and_stats_of_encrypted_connections(self):
        key = os.path.join(self.folder(), "key")
        self.assert_code(self.run_tool("keygen", "--psk", "--id", "me", "-o", key), 0)
        server = self.serve("--psk", key)
        events = [json.loads(line) for line in self.shown_and_read(server, "--psk", key, more=["--json"])]
        for way, messages in (">", [1]), ("<", [2]):
            self.assertEqual([e["message"] for e in events if e["event"] == "handshake" and e["way"] == way], messages)
        self.assertFalse([e for e in events if {"text", "base64", "hex", "reply_ns"} & set(e)])
        self.assertEqual([e["key_id"] for e in events if "key_id" in e], ["me"])
        (line,) = self.shown_and_read(server, "--psk", key, calls=2, more=["--json", "--stats"])
        stats = json.loads(line)
        self.assertEqual((stats["connections"], stats["openings"]), (2, {"shared_key": 2}))
        for way in "requests", "replies":
            self.assertGreaterEqual(stats[way]["encrypted_records"], 2)
            self.assertEqual(stats[way]["frames"], 0)


class WhatIsShown(TapTest):
    def calls(self, tap, *messages):
        args = [arg for message in messages for arg in ("-m", message)]
        return self.run_tool("call", tap.address, "-o", "text", *args).stdout.decode().splitlines()

    def test_each_frame_and_how_long_its_reply_took(self):
        tap = self.tap(self.serve().address, stdout=subprocess.PIPE)
        self.assertEqual(self.calls(tap, "hello"), ["hello"])
        lines = self.shown(tap)
        self.assertTrue(any(re.search(r'^\d\d:\d\d:\d\d\.\d{3} #1 > +5 B +"hello"$', line) for line in lines), lines)
        self.assertTrue(any(re.search(r'^\d\d:\d\d:\d\d\.\d{3} #1 < +5 B +"hello" +[0-9.]+ (us|ms|s)$', line) for line in lines), lines)

    def test_json_lines(self):
        tap = self.tap(self.serve().address, "--json", stdout=subprocess.PIPE)
        self.calls(tap, "one", "two", "three")
        shown = [json.loads(line) for line in self.shown(tap)]
        for way in "><":
            self.assertEqual([line["text"] for line in shown if "text" in line and line["way"] == way], ["one", "two", "three"])

    def test_stats(self):
        tap = self.tap(self.serve().address, "--stats", "--json", stdout=subprocess.PIPE)
        self.calls(tap, *(str(n) for n in range(100)))
        (line,) = self.shown(tap)
        self.assertIn("100", line)
        json.loads(line)

    def test_large_payload_is_shown_by_its_beginning(self):
        tap = self.tap(self.peer(echo).address, "--hex", "8", "--json", stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(1 << 20)) + frame(b"small")
        self.assertEqual(exchange(sock, data), data)
        sock.close()
        shown = [json.loads(line) for line in self.shown(tap)]
        self.assertEqual([line["hex"] for line in shown if "hex" in line], [noise(8).hex(), b"small".hex()] * 2)

    def wait_until_asleep(self, tap):
        """No thread of it has run for a while. If it was only kept from running, the test finds less, not more."""
        before = None
        tasks = f"/proc/{tap.process.pid}/task"
        for _ in range(20):  # a sanitizer's thread never sleeps for long
            slept = [open_text(f"{tasks}/{task}/status").split("voluntary_ctxt_switches:")[1] for task in os.listdir(tasks)]
            if slept == before:
                return
            before = slept
            select.select([], [], [], 0.1)

    def test_line_comes_without_waiting_for_the_next(self):
        tap = self.tap(self.peer(echo).address, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        for text in (b"first", b"second"):
            self.wait_until_asleep(tap)
            sock.sendall(frame(text))
            while text not in tap.read_line():
                pass

    def test_terminal_that_stands_still_holds_nothing_up(self):
        tap = self.tap(self.peer(echo).address, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(4096)) * 4096  # four times what may wait to be shown
        self.assertEqual(exchange(sock, data), data)
        # Whoever looks again learns how much he missed, and sees the next frames whole.
        seen = b""
        while b"not shown" not in seen:
            sock.sendall(frame(b"look"))
            read_frame(sock)
            seen = tap.read_line()
        sock.sendall(frame(b"at last"))
        read_frame(sock)
        while b'"at last"' not in seen:
            seen = tap.read_line()

    def test_terminal_that_stands_still_does_not_keep_the_tap_from_ending(self):
        tap = self.tap(self.peer(echo).address, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(4096)) * 4096
        self.assertEqual(exchange(sock, data), data)
        self.stop(tap)
        tap.wait_line("standard output takes nothing: what was still to be shown is left out")

    def count_frames(self, shown):
        """Frames by way, those that were only counted included."""
        ways = {">": 0, "<": 0}
        for line in shown:
            if line["event"] == "frame":
                ways[line["way"]] += 1
            elif line["event"] == "not_shown":
                ways[line["way"]] += line["frames"]
        return ways

    def test_frames_that_found_no_room_are_counted(self):
        tap = self.tap(self.peer(echo).address, "--json", stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(4096)) * 4096
        self.assertEqual(exchange(sock, data), data)
        sock.close()
        shown = [json.loads(line) for line in self.shown(tap)]
        self.assertIn("not_shown", [line["event"] for line in shown])
        self.assertEqual(self.count_frames(shown), {">": 4096, "<": 4096})

    def test_more_frames_than_anybody_reads_are_counted(self):
        with tempfile.TemporaryFile() as out:
            tap = self.tap(self.peer(echo).address, "--json", stdout=out)
            sock = self.connect(tap.address)
            data = frame(b"x") * 200000
            self.assertEqual(exchange(sock, data), data)
            sock.close()
            self.stop(tap)
            out.seek(0)
            shown = [json.loads(line) for line in out]
        self.assertIn("not_shown", [line["event"] for line in shown])
        self.assertEqual(self.count_frames(shown), {">": 200000, "<": 200000})

    def test_connections_that_close_while_nothing_can_be_shown_are_shown_to_have_closed(self):
        with socket.create_server(("127.0.0.1", 0), backlog=400) as listener:  # nobody accepts all but the first
            tap = self.tap("127.0.0.1:%d" % listener.getsockname()[1], "--json", stdout=subprocess.PIPE)
            sock = self.connect(tap.address)
            there, _ = listener.accept()
            others = [self.connect(tap.address) for _ in range(300)]
            for _ in range(1200):  # receives of 4 KiB, until no more fits
                sock.sendall(frame(noise(4096)))
                read_exactly(there, 4100)
            for other in others:
                other.close()
            there.close()
        self.assertEqual(sock.recv(1), b"")
        sock.close()
        shown = [json.loads(line) for line in self.shown(tap)]
        for event in ("opened", "closed"):
            self.assertEqual(sorted(line["conn"] for line in shown if line["event"] == event), list(range(1, 302)))

    def test_closed_output_ends_the_tap(self):
        tap = self.tap(self.peer(echo).address, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        tap.process.stdout.close()
        with contextlib.suppress(ConnectionError):
            while sock.send(frame(b"x")) and sock.recv(65536):
                pass
        self.assertEqual(tap.wait(), 0, tap.stderr)

    def test_closed_output_does_not_end_a_record(self):
        path = os.path.join(self.folder(), "record")
        tap = self.tap(self.peer(echo).address, "--record", path, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        tap.process.stdout.close()
        data = frame(noise(1000)) * 1000
        for _ in range(3):
            self.assertEqual(exchange(sock, data), data)
        self.stop(tap)
        with open(path, "rb") as file:
            self.assertEqual(recorded(file.read(), 1, 0), data * 3)

    def test_full_output_is_said_once_and_relaying_goes_on(self):
        with open("/dev/full", "wb") as full:
            tap = self.tap(self.peer(echo).address, stdout=full)
        sock = self.connect(tap.address)
        for _ in range(2):
            data = frame(noise(1000)) * 1000
            self.assertEqual(exchange(sock, data), data)
        tap.wait_line("cannot write to standard output: No space")
        self.stop(tap, 6)
        self.assertEqual(tap.stderr.count("cannot write"), 1)


class Record(TapTest):
    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_holds_what_passed_exactly(self):
        path = os.path.join(self.folder(), "record")
        sock, tap, _ = self.through(echo, "--record", path)
        data = b"".join(frame(noise(n, n)) for n in (0, 1, 70000, 5, 200000)) + b"GET / and more"
        self.assertEqual(exchange(sock, data), data)
        other = self.connect(tap.address)
        self.assertEqual(exchange(other, b"another"), b"another")
        for one in (sock, other):
            one.shutdown(socket.SHUT_WR)
            self.assertEqual(one.recv(1), b"")
        self.stop(tap)
        record = self.read(path)
        for connection, bytes_ in ((1, data), (2, b"another")):
            for way in (0, 1):
                self.assertEqual(recorded(record, connection, way), bytes_)
        for connection in (1, 2):
            kinds = [(kind, way) for kind, way, c, _ in entries(record) if c == connection and kind != DATA]
            self.assertEqual((kinds[0], kinds[-1]), ((OPENED, 0), (CLOSED, 0)))
            self.assertEqual(sorted(kinds[1:-1]), [(END, 0), (END, 1)])

    def test_is_read_by_inspect(self):
        path = os.path.join(self.folder(), "record")
        tap = self.tap(self.serve().address, "--record", path, stdout=subprocess.PIPE)
        sent = [str(n) for n in range(50)]
        self.run_tool("call", tap.address, *(arg for text in sent for arg in ("-m", text)))
        self.shown(tap)
        done = self.run_tool("inspect", path, "--json")
        self.assert_code(done, 0)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([line["text"] for line in lines if "text" in line and line["way"] == ">"], sent)
        self.assertEqual([line["text"] for line in lines if "text" in line and line["way"] == "<"], sent)

    def test_shows_the_same_as_the_tap_did(self):
        path = os.path.join(self.folder(), "record")
        tap = self.tap(self.peer(echo).address, "--record", path, stdout=subprocess.PIPE)
        for data in (frame(b"hello") + frame(noise(100000)), b"GET / HTTP/1.1\r\n", frame(b"cut")[:5]):
            with self.connect(tap.address) as sock:
                self.assertEqual(exchange(sock, data), data)
                sock.shutdown(socket.SHUT_WR)
                self.assertEqual(sock.recv(1), b"")
        shown = self.shown(tap)
        self.assertEqual(self.run_tool("inspect", path).stdout.decode().splitlines(), shown)

    def test_of_nothing_is_a_record(self):
        path = os.path.join(self.folder(), "record")
        self.stop(self.tap("127.0.0.1:9", "--record", path))
        self.assertEqual(self.read(path), RECORD_MAGIC)

    def test_is_kept_while_the_terminal_stands_still(self):
        path = os.path.join(self.folder(), "record")
        tap = self.tap(self.peer(echo).address, "--record", path, stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(4096)) * 4096
        for _ in range(2):
            self.assertEqual(exchange(sock, data), data)
        sock.close()
        self.stop(tap, code := 0 if not (lost := self.lost(path)) else 6)
        self.assertEqual(len(recorded(self.read(path), 1, 0)) + lost.get(0, 0), 2 * len(data), code)

    def lost(self, path):
        """Bytes by way that the record says are missing. A slow disk may lose some: then it must say so."""
        found = {}
        for kind, way, _, data in entries(self.read(path)):
            if kind == LOST:
                found[way] = found.get(way, 0) + struct.unpack(">Q", data)[0]
        return found

    def test_record_that_another_tap_writes_is_refused_and_stays(self):
        server = self.serve()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "record")
        first = self.tap(server.address, "--record", path)
        self.run_tool("call", first.address, "-m", "kept")
        done = self.run_tool("inspect", "--tap", "127.0.0.1:0=" + server.address, "--record", path)
        self.assert_code(done, 6, path, "busy")
        self.stop(first)
        self.assertIn('"kept"', self.run_tool("inspect", path).stdout.decode())
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)  # it holds what was said

    def test_full_disk_ends_the_record_and_nothing_else(self):
        tap = self.tap(self.peer(echo).address, "--record", "/dev/full", stdout=subprocess.PIPE)
        sock = self.connect(tap.address)
        data = frame(noise(1000)) * 300
        self.assertEqual(exchange(sock, data), data)
        tap.wait_line(r"^framed: cannot write /dev/full: No space")
        sock.sendall(frame(b"and on"))
        self.assertEqual(read_frame(sock), b"and on")
        while b'"and on"' not in tap.read_line():
            pass
        self.stop(tap, 6)
        self.assertEqual(tap.stderr.count("cannot write"), 1)

    def test_file_that_takes_nothing_loses_bytes_and_says_so(self):
        path = os.path.join(self.folder(), "pipe")
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        tap = self.tap(self.peer(echo).address, "--record", path)
        sock = self.connect(tap.address)
        data = frame(noise(4096)) * 4096
        self.assertEqual(exchange(sock, data), data)
        record = []
        drainer = threading.Thread(target=lambda: record.append(read_all(reader)), daemon=True)
        drainer.start()
        sock.sendall(frame(b"the last"))
        self.assertEqual(read_frame(sock), b"the last")
        sock.close()
        self.stop(tap, 6)
        self.assertIn("bytes are not in the record", tap.stderr)
        drainer.join(PATIENCE_S)
        for way in (0, 1):
            lost = sum(struct.unpack(">Q", d)[0] for k, w, _, d in entries(record[0]) if (k, w) == (LOST, way))
            self.assertGreater(lost, 0)
            self.assertEqual(len(recorded(record[0], 1, way)) + lost, len(data) + len(frame(b"the last")))


def read_all(fd):
    with open(fd, "rb") as file:
        return file.read()


class Ending(TapTest):
    def wait_until_it_stops(self, tap):
        """It has seen the signal once it listens no more."""
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                with contextlib.suppress(ConnectionResetError):
                    self.connect(tap.address).close()

    def test_signal_ends_it_at_once_when_no_call_is_under_way(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            sock, tap, _ = self.through(echo)
            self.assertEqual(exchange(sock, frame(b"x")), frame(b"x"))
            tap.signal(number)
            self.assertEqual(sock.recv(1), b"")
            self.assertEqual(tap.wait(), 0, tap.stderr)
            self.assertNotIn("were closed", tap.stderr)  # which would be said after five seconds
            self.assertRaises(ConnectionRefusedError, self.connect, tap.address)

    def test_signal_lets_a_call_end(self):
        asked, answer = threading.Event(), threading.Event()

        def talk(sock):
            payload = read_frame(sock)
            asked.set()
            answer.wait(PATIENCE_S)
            sock.sendall(frame(payload))
            sock.recv(1)

        sock, tap, _ = self.through(talk)
        sock.sendall(frame(b"slow"))
        self.assertTrue(asked.wait(PATIENCE_S))
        tap.signal(signal.SIGTERM)
        self.wait_until_it_stops(tap)
        answer.set()
        self.assertEqual(read_frame(sock), b"slow")
        self.assertEqual(sock.recv(1), b"")
        self.assertEqual(tap.wait(), 0, tap.stderr)

    def test_second_signal_ends_it_whatever_is_under_way(self):
        asked = threading.Event()
        sock, tap, _ = self.through(lambda sock: (read_frame(sock), asked.set(), sock.recv(1)))
        sock.sendall(frame(b"never answered"))
        self.assertTrue(asked.wait(PATIENCE_S))
        tap.signal(signal.SIGTERM)
        self.wait_until_it_stops(tap)
        tap.signal(signal.SIGTERM)
        self.assertEqual(tap.wait(), 128 + signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
