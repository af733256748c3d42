#!/usr/bin/env python3
"""
Owns: what only Windows has: framed.exe against the native tool both ways round, with keys, too, `--exec` with cmd, the way out by
control events, the words of failures, the DLL with README's own programs.
Must not know: how Wine is set up (run.sh). FRAMED runs framed.exe, NATIVE is the folder of the native tool, WINDOWS that of
framed.exe.
Invariants: sizes and contents come from a seed that a failure tells; nothing is measured against the clock.
"""
import contextlib
import glob
import itertools
import os
import random
import re
import signal
import subprocess
import tempfile
import unittest

import toolkit
from test_keygen import SODIUM
from toolkit import PATIENCE_S, ROOT, ToolTest, closed_port, frame, frames, read_frame, read_to_end

WINE = toolkit.FRAMED
NATIVE = os.path.join(os.environ["NATIVE"], "framed")
WINDOWS = os.environ["WINDOWS"]
with open(NATIVE, "rb") as native:
    KEYED = SODIUM and b"sodium_" in native.read()
PAIRS = ((NATIVE, WINE), (WINE, NATIVE), (WINE, WINE))  # server, client
HOSTILE = b"\r\n\x1a\x00\xff\n\r\x1a"


@contextlib.contextmanager
def tool(path):
    """What is started meanwhile is this tool."""
    before, toolkit.FRAMED = toolkit.FRAMED, path
    try:
        yield
    finally:
        toolkit.FRAMED = before


def payloads(seed, n, largest):
    chance = random.Random(seed)
    sizes = [0, 1, 65535, 65536, largest] + [int(largest ** chance.random()) for _ in range(n)]
    return [chance.randbytes(size) for size in sizes]


class RoundTrip(ToolTest):
    def round_trip(self, server_tool, client_tool, *args, serving=()):
        for seed in range(2):
            with self.subTest(seed=seed):
                sent = payloads(seed, 200, 300_000)
                with tool(server_tool):
                    server = self.serve(*serving)
                with tool(client_tool):
                    done = self.run_tool("call", server.address, "--framed", *args, stdin=b"".join(map(frame, sent)))
                self.assert_code(done, 0)
                self.assertEqual(frames(done.stdout), sent)
                self.drain(server)


class BothWays(RoundTrip):
    def test_windows_calls_native(self):
        self.round_trip(NATIVE, WINE, "--pipeline", "64")

    def test_native_calls_windows(self):
        self.round_trip(WINE, NATIVE, "--pipeline", "64")

    def test_windows_calls_windows(self):
        self.round_trip(WINE, WINE)

    def test_checksums(self):
        for kind, (server_tool, client_tool) in itertools.product(("crc32c", "blake2b") if KEYED else ("crc32c",), PAIRS):
            with self.subTest(kind=kind, server=server_tool, client=client_tool):
                self.round_trip(server_tool, client_tool, "--checksum", kind, serving=("--checksum", kind, "--echo"))

    def test_server_with_checksums_takes_nothing_plain(self):
        server = self.serve("--checksum", "crc32c")
        with tool(NATIVE):
            self.assert_code(self.run_tool("call", server.address, "-m", "x"), 1, "closed the connection")

    def test_one_large_frame_each_way(self):
        large = random.Random(1).randbytes(16 << 20)
        for server_tool, client_tool in ((NATIVE, WINE), (WINE, NATIVE)):
            with tool(server_tool):
                server = self.serve()
            with tool(client_tool):
                done = self.run_tool("call", server.address, "--whole", "-o", "raw", stdin=large)
            self.assert_code(done, 0)
            self.assertTrue(done.stdout == large)

    def test_native_pings_windows_and_back(self):
        for server_tool, client_tool in ((NATIVE, WINE), (WINE, NATIVE)):
            with tool(server_tool):
                server = self.serve()
            with tool(client_tool):
                done = self.run_tool("ping", server.address, "-c", "3", "-i", "10ms")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"3", done.stdout)

    def test_ipv6(self):
        server = self.serve(address="[::1]:0")
        with tool(NATIVE):
            self.assertEqual(self.run_tool("call", server.address, "-m", "six").stdout, b"six")


@unittest.skipUnless(KEYED, "one of the two was built without libsodium")
class Keys(RoundTrip):
    """Keys that framed.exe has made, of both ends; a server and a client of either system use them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        with tool(WINE):
            self.public = {name: self.pair(name) for name in ("server", "client", "other")}
            for name in ("shared", "wrong"):
                self.assert_code(self.run_tool("keygen", "--psk", "--id", "me", "-o", self.path(name)), 0)
        for name in os.listdir(self.folder):
            self.assertEqual(os.stat(self.path(name)).st_mode & 0o007, 0)
            os.chmod(self.path(name), 0o600)  # what is allowed to us Wine allows the group, too
        with open(self.path("peers"), "w", encoding="ascii") as file:
            file.write(self.public["client"] + " client\n")

    def path(self, name):
        return os.path.join(self.folder, name)

    def pair(self, name):
        done = self.run_tool("keygen", "-o", self.path(name))
        self.assert_code(done, 0)
        return done.stdout.decode().strip()

    def shared(self, name="shared"):
        return ("--psk", self.path(name))

    def pinned_server(self):
        return ("--key", self.path("server"), "--authorized-peers", self.path("peers"))

    def pinned_client(self, key="client", server="server"):
        return ("--key", self.path(key), "--peer-key", self.public[server])

    def round_trips(self, serving, calling):
        for server_tool, client_tool in PAIRS:
            with self.subTest(server=server_tool, client=client_tool):
                self.round_trip(server_tool, client_tool, *calling, serving=serving)

    def refused(self, serving, calling, code, said, logged):
        """Both ends say so, whichever system they are on."""
        for server_tool, client_tool in PAIRS[:2]:
            with self.subTest(server=server_tool, client=client_tool):
                with tool(server_tool):
                    server = self.serve(*serving)
                with tool(client_tool):
                    done = self.run_tool("call", server.address, "-m", "x", *calling)
                self.assertEqual((done.returncode, done.stdout), (code, b""), done.stderr)
                self.assertIn(said, done.stderr)
                server.wait_line(logged)
                self.drain(server)

    def test_public_key_of_a_file_is_the_same_on_both(self):
        for name, public in self.public.items():
            for each in (WINE, NATIVE):
                with tool(each):
                    done = self.run_tool("pubkey", self.path(name))
                self.assert_code(done, 0)
                self.assertEqual(done.stdout.decode().strip(), public)

    def test_a_key_that_is_there_is_not_overwritten(self):
        with open(self.path("server"), "rb") as file:
            before = file.read()
        self.assert_code(self.run_tool("keygen", "-o", self.path("server")), 6, "is there already, and is not overwritten")
        with open(self.path("server"), "rb") as file:
            self.assertEqual(file.read(), before)

    def test_files_that_everybody_may_read_or_write_are_refused(self):
        peer = ("call", "127.0.0.1:1", "-m", "x")
        os.chmod(self.path("client"), 0o604)
        self.assert_code(self.run_tool(*peer, *self.pinned_client()), 6, self.path("client"), "others than its owner have rights to it")
        os.chmod(self.path("shared"), 0o604)
        self.assert_code(self.run_tool(*peer, *self.shared()), 6, self.path("shared"), "others than its owner have rights to it")
        os.chmod(self.path("peers"), 0o602)
        self.assert_code(self.run_tool("serve", "127.0.0.1:0", *self.pinned_server()), 6, self.path("peers"), "others than its owner may write it")

    def test_shared_key(self):
        self.round_trips(self.shared(), self.shared())

    def test_pinned_keys(self):
        self.round_trips(self.pinned_server(), self.pinned_client())

    def test_both(self):
        self.round_trips(self.pinned_server() + self.shared(), self.pinned_client() + self.shared())

    def test_wrong_shared_key_is_refused(self):
        self.refused(self.shared(), self.shared("wrong"), 5, "not executed", "closed: the handshake failed")

    def test_wrong_key_of_the_client_is_refused(self):
        self.refused(self.pinned_server(), self.pinned_client(key="other"), 5, "our key is not allowed there",
                     "closed: the peer's key is not allowed here: " + re.escape(self.public["other"]))

    def test_wrong_key_of_the_server_is_refused(self):
        self.refused(self.pinned_server(), self.pinned_client(server="other"), 5, "another key than it must have",
                     "closed: it ended inside the handshake")

    def test_wrong_one_of_both_is_refused(self):
        self.refused(self.pinned_server() + self.shared(), self.pinned_client() + self.shared("wrong"), 5, "not executed",
                     "closed: the handshake failed")


class Bytes(ToolTest):
    def test_pass_through_standard_streams_unchanged(self):
        server = self.serve()
        for option in ("--whole", "--framed", "--null"):
            given = frame(HOSTILE) if option == "--framed" else HOSTILE
            done = self.run_tool("call", server.address, option, stdin=given)
            self.assert_code(done, 0)
            self.assertEqual(done.stdout, given + b"\0" * (option == "--null"))

    def test_pass_through_files_unchanged(self):
        server = self.serve()
        with tempfile.NamedTemporaryFile() as file:
            file.write(HOSTILE)
            file.flush()
            done = self.run_tool("call", server.address, "-f", file.name)
        self.assertEqual((done.returncode, done.stdout), (0, HOSTILE))

    def test_lines_are_ended_by_newline_alone(self):
        self.assertEqual(self.run_tool("--version").stdout.count(b"\r"), 0)
        self.assertEqual(self.run_tool("serve", "--help").stdout.count(b"\r"), 0)

    def test_arguments_are_utf_8_and_no_patterns_of_files(self):
        server = self.serve()
        for text in ("*", "M*", "\u00fc\u20ac\U0001f600", 'a "quoted" \\ word'):
            self.assertEqual(self.run_tool("call", server.address, "-m", text).stdout, text.encode())

    def test_file_names_are_utf_8(self):
        server = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "\u00fc\u20ac.bin")
            with open(path, "wb") as file:
                file.write(b"found")
            self.assertEqual(self.run_tool("call", server.address, "-f", path).stdout, b"found")


class Refusals(ToolTest):
    def test_unix_addresses_and_descriptors_are_not_built_in(self):
        for address in ("unix:/tmp/x", "fd:3"):
            self.assert_code(self.run_tool("serve", address), 7, address, "not supported")
            self.assert_code(self.run_tool("call", address, "-m", "x"), 7, address, "not supported")

    def test_epoll_is_not_built_in(self):
        done = self.run_tool("serve", "127.0.0.1:0", "--wait", "epoll")
        self.assert_code(done, 7, "not supported")

    def test_port_in_use(self):
        server = self.serve()
        self.assert_code(self.run_tool("serve", server.address), 3, server.address, "in use")

    def test_nobody_listens(self):
        sock, address = closed_port()
        with sock:
            self.assert_code(self.run_tool("call", address, "-m", "x"), 3, address, "refused")

    def test_file_that_is_missing_or_a_directory(self):
        server = self.serve()
        self.assert_code(self.run_tool("call", server.address, "-f", "nowhere"), 6, "nowhere: ")
        self.assert_code(self.run_tool("call", server.address, "-f", "."), 6, "is a directory")

    def test_full_disk(self):
        server = self.serve()
        with open("/dev/full", "wb") as full:
            done = subprocess.run([WINE, "call", server.address, "-m", "x"], stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 6)
        self.assertIn(b"framed: cannot write to standard output: ", done.stderr)

    def test_silence_is_a_timeout(self):
        peer = self.peer(read_to_end)
        self.assert_code(self.run_tool("call", peer.address, "-m", "x", "-t", "200ms"), 4, "no reply within 200 ms")

    def test_what_is_no_frame_is_the_peers_failure(self):
        peer = self.peer(lambda sock: (read_frame(sock), sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        self.assert_code(self.run_tool("call", peer.address, "-m", "x"), 5, "HTTP")


class ControlEvents(ToolTest):
    """Wine makes a Ctrl+C of SIGINT."""

    def test_server_answers_what_it_has_and_ends_with_0(self):
        server = self.serve("--delay", "300ms")
        with tool(NATIVE):
            call = self.start("call", server.address, "-m", "under way")
        with self.connect(server.address) as sock:
            sock.sendall(frame(b"x"))
            self.assertEqual(read_frame(sock), b"x")  # what the call sent has been read before that, too
            sock.sendall(frame(b"cut")[:5])
            server.signal(signal.SIGINT)
            self.assertEqual(read_to_end(sock), b"")
        self.assertEqual(server.wait(), 0)
        self.assertEqual(call.finish(), (0, b"under way"))

    def test_second_one_ends_it_at_once(self):
        server = self.serve("--delay", "1h", "--call-timeout", "never", "--drain", "1h")
        sock = self.connect(server.address)
        sock.sendall(frame(b"x"))
        idle = self.connect(server.address)
        server.signal(signal.SIGINT)
        self.assertEqual(read_to_end(idle), b"")  # the first one has come through
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 130)

    def test_call_counts_what_is_unanswered(self):
        came = []
        peer = self.peer(lambda sock: (came.append(read_frame(sock)), call.signal(signal.SIGINT), read_to_end(sock)))
        call = self.start("call", peer.address, "-m", "x", stdin=subprocess.DEVNULL)
        self.assertEqual(call.wait(), 130)
        self.assertIn("1 of 1 messages unanswered", call.stderr)
        self.assertEqual(came, [b"x"])


class Exec(ToolTest):
    """Commands are cmd's. CAT gives back what it is given: a part of the program that tests the host."""

    CAT = '"Z:' + os.path.join(WINDOWS, "tests", "test_win_host.exe").replace("/", "\\") + '" cat'

    def exec(self, command, *args):
        return self.serve("--exec", command, *args)

    def test_request_in_reply_out(self):
        server = self.exec(self.CAT + " & echo done")
        with tool(NATIVE):
            done = self.run_tool("call", server.address, "--null", stdin=HOSTILE)
        self.assertEqual((done.returncode, done.stdout), (0, b"\r\n\x1adone\r\n\0\xff\n\r\x1adone\r\n\0"))
        self.drain(server)

    def test_command_that_fails_fails_the_call(self):
        server = self.exec("exit 3")
        with tool(NATIVE):
            done = self.run_tool("call", server.address, "-m", "x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("unanswered", done.stderr)
        server.wait_line("3")

    def test_command_that_hangs_is_killed_at_the_deadline(self):
        server = self.exec("ping -n 1000 127.0.0.1 >nul", "--call-timeout", "300ms", "--on-error", "sorry")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"sorry")
        self.drain(server)

    def test_several_at_once(self):
        server = self.exec(self.CAT)
        with tool(NATIVE):
            calls = [self.start("call", server.address, "-m", f"number {i}") for i in range(4)]
            for i, call in enumerate(calls):
                self.assertEqual(call.finish(), (0, b"number %d" % i))


class Inspect(ToolTest):
    def test_file_and_standard_input(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(frame(b"one") + frame(HOSTILE))
            file.flush()
            with tool(NATIVE):
                wanted = self.run_tool("inspect", file.name).stdout
            self.assertIn(b"one", wanted)
            self.assertEqual(self.run_tool("inspect", file.name).stdout, wanted)
            file.seek(0)
            self.assertEqual(self.run_tool("inspect", "-", stdin=file.read()).stdout, wanted)

    def test_cut_frame_is_a_failure(self):
        done = self.run_tool("inspect", "-", stdin=frame(b"one") + b"\0\0\0\5x")
        self.assertEqual(done.returncode, 5, done.stderr)

    def test_tap_shows_and_records_what_passes(self):
        with tool(NATIVE):
            server = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            record = os.path.join(folder, "record")
            tap = self.start("inspect", "--tap", f"127.0.0.1:0={server.address}", "--record", record)
            address = tap.wait_line(r"(127\.0\.0\.1:\d+)").group(1)
            with tool(NATIVE):
                self.assertEqual(self.run_tool("call", address, "-m", "through").stdout, b"through")
            self.assertIn(b"through", tap.read_line() + tap.read_line() + tap.read_line())
            tap.signal(signal.SIGINT)
            self.assertEqual(tap.finish()[0], 0, tap.stderr)
            with tool(NATIVE):
                self.assertIn(b"through", self.run_tool("inspect", record).stdout)


    def test_record_that_another_tap_writes_is_refused_and_stays(self):
        with tool(NATIVE):
            server = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            record = os.path.join(folder, "record")
            tap = self.start("inspect", "--tap", f"127.0.0.1:0={server.address}", "--record", record)
            address = tap.wait_line(r"(127\.0\.0\.1:\d+)").group(1)
            with tool(NATIVE):
                self.run_tool("call", address, "-m", "kept")
            done = self.run_tool("inspect", "--tap", "127.0.0.1:0=" + server.address, "--record", record)
            self.assert_code(done, 6, record, "Sharing violation")
            tap.signal(signal.SIGINT)
            self.assertEqual(tap.finish()[0], 0, tap.stderr)
            self.assertIn(b"kept", self.run_tool("inspect", record).stdout)


class Dll(ToolTest):
    def test_readmes_programs_work_with_it(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            programs = dict(re.findall(r"```c\n/\* (server\.c|client\.c) \*/\n(.*?)```", file.read(), re.S))
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(os.path.join(WINDOWS, "libframed.dll"), os.path.join(folder, "libframed.dll"))
            for name, text in programs.items():
                source, made = os.path.join(folder, name), os.path.join(folder, name.replace(".c", ".exe"))
                with open(source, "w", encoding="utf-8") as file:
                    file.write(text)
                subprocess.run(["x86_64-w64-mingw32-gcc", "-I" + os.path.join(ROOT, "include"), source, "-o", made,
                                os.path.join(WINDOWS, "libframed.dll.a")], check=True, timeout=PATIENCE_S)
            sock, address = closed_port()
            sock.close()
            server = subprocess.Popen(["wine64", os.path.join(folder, "server.exe"), address], stdin=subprocess.DEVNULL)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            with tool(NATIVE):
                while self.run_tool("call", address, "-m", "up?").returncode != 0:
                    self.assertIsNone(server.poll(), "the server ended")
            done = subprocess.run(["wine64", os.path.join(folder, "client.exe"), address], capture_output=True,
                                  timeout=PATIENCE_S, check=False)
            self.assertEqual(done.stdout.strip(), b"hello", done.stderr)

    def test_shows_what_the_headers_declare_and_nothing_else(self):
        symbols = subprocess.run(["x86_64-w64-mingw32-nm", os.path.join(WINDOWS, "libframed.dll.a")], capture_output=True,
                                 check=True, timeout=PATIENCE_S, text=True).stdout
        shown = set(re.findall(r" T (framed_\w+)", symbols))
        declared = set()
        for header in glob.glob(os.path.join(ROOT, "include", "framed", "*.h")):
            with open(header, encoding="utf-8") as file:
                declared |= set(re.findall(r"^FRAMED_API[^;]*?\b(framed_\w+)\(", file.read(), re.M))
        self.assertIn("framed_version", declared)
        self.assertEqual(sorted(shown), sorted(declared))
