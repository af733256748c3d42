#!/usr/bin/env python3
"""
Owns: what --key, --authorized-peers, --peer-key, --known-servers and --psk do on serve, call, ping and bench: who gets in, who does not, and
what each is told.
Must not know: how a handshake looks; a relay counts and changes bytes without understanding them.
Invariants: a request that must not get in is one that the command behind the server never saw (it writes down what it sees).
"""
import contextlib
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from toolkit import FRAMED, PATIENCE_S, PROGRAM, ToolTest

with open(PROGRAM, "rb") as program:
    SODIUM = b"sodium_" in program.read()  # its symbols: not asked of what is tested


class KeysTest(ToolTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write(text)
        return self.path(name)

    def pair(self, name):
        """Makes NAME.key and NAME.pub; returns the public key."""
        done = self.run_tool("keygen", "-o", self.path(name + ".key"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.write(name + ".pub", done.stdout.decode())
        return done.stdout.decode().strip()

    def shared(self, name, identity):
        self.assert_code(self.run_tool("keygen", "--psk", "--id", identity, "-o", self.path(name)), 0)
        return self.path(name)

    def key(self, name):
        return ("--key", self.path(name + ".key"))

    def ways(self):
        """NAME: (options of a server, options of who talks to it) for each protection that is built."""
        ways = {"crc32c": (("--checksum", "crc32c"),) * 2}
        if SODIUM:
            shared = ("--psk", self.shared("psk", "me"))
            key, peer = self.key("server"), self.pair("server")
            mine = (*self.key("me"), "--peer-key", peer)
            peers = ("--authorized-peers", self.write("peers", self.pair("me") + " me\n"))
            ways |= {"blake2b": (("--checksum", "blake2b"),) * 2, "psk": (shared, shared), "pinned": ((*key, *peers), mine),
                     "both": ((*key, *peers, *shared), (*mine, *shared))}
        return ways

    def few_ways(self):
        """(NAME, options of both ends) of a checksum and of either kind of key, for who tries all of something with each."""
        if not SODIUM:
            print("\nnote: built without libsodium: with checksums, not with keys", flush=True)
        return [(name, options) for name, options in self.ways().items() if name in ("crc32c", "psk", "pinned")]

    def local(self, name):
        """An address for a server that many talk to: of one IP address only 63 a second may begin with pinned keys."""
        return "unix:" + self.path(name + ".sock")

    def serve_pinned(self, *more, peers=None):
        """A server whose key is server.key, that lets in alice."""
        self.server_public = self.pair("server")
        self.alice = self.pair("alice")
        peers = self.write("peers", (f"{self.alice} alice\n" if peers is None else peers))
        return self.serve(*self.key("server"), "--authorized-peers", peers, *more)

    def call(self, server, *args, **more):
        return self.run_tool("call", server.address, "-m", "hello", *args, **more)


@unittest.skipUnless(SODIUM, "built without libsodium")
class Pinned(KeysTest):
    def test_who_is_known_is_answered(self):
        server = self.serve_pinned()
        for peer_key in (self.server_public, self.path("server.pub")):
            done = self.call(server, *self.key("alice"), "--peer-key", peer_key)
            self.assert_code(done, 0)
            self.assertEqual(done.stdout, b"hello")
        self.assertIn("(encrypted, pinned keys; ", server.stderr)

    def test_large_and_many_messages_arrive_unchanged(self):
        server = self.serve_pinned()
        data = os.urandom(3_000_000)
        done = self.run_tool("call", server.address, "--whole", *self.key("alice"), "--peer-key", self.server_public, stdin=data)
        self.assertEqual((done.returncode, done.stdout == data), (0, True), done.stderr)
        lines = b"".join(b"%d\n" % i for i in range(5000))
        done = self.run_tool("call", server.address, "--pipeline", "100", *self.key("alice"), "--peer-key", self.server_public, stdin=lines)
        self.assertEqual((done.returncode, done.stdout == lines), (0, True), done.stderr)

    def test_who_is_not_known_is_told_so_and_asks_nothing(self):
        seen = self.path("seen")
        server = self.serve_pinned("--exec", f"cat >> {seen}")
        mallory = self.pair("mallory")
        done = self.call(server, *self.key("mallory"), "--peer-key", self.server_public)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, b"")
        server.wait_line(f"closed: the peer's key is not allowed here: {re.escape(mallory)}$")
        self.assertFalse(os.path.exists(seen))

    def test_server_with_another_key_is_not_talked_to(self):
        server = self.serve_pinned()
        other = self.pair("other")
        done = self.call(server, *self.key("alice"), "--peer-key", other)
        self.assert_code(done, 5, "another key than it must have", "not executed")
        done = self.run_tool("ping", server.address, "-c", "1", *self.key("alice"), "--peer-key", other)
        self.assert_code(done, 5, "another key than it must have")
        server.wait_line(r"closed: it ended inside the handshake")

    def test_plain_checked_and_foreign_calls_get_nothing(self):
        server = self.serve_pinned()
        shared = self.shared("psk", "me")
        for args in ((), ("--checksum", "crc32c"), ("--psk", shared), ("--psk", shared, *self.key("alice"), "--peer-key", self.server_public)):
            done = self.call(server, *args)
            self.assertIn(done.returncode, (1, 5), done.stderr)
            self.assertEqual(done.stdout, b"")
        server = self.serve(*self.key("server"), "--authorized-peers", self.path("peers"))  # a log has five lines of strangers a second
        for said, word in ((b"GET / HTTP/1.1\r\n\r\n", "no preface, .*HTTP"), (b"\xff" * 9, "neither a length nor a preface: ffffffff")):
            sock = self.connect(server.address)
            sock.sendall(said)
            self.assertEqual(sock.recv(100), b"")  # nothing is answered
            server.wait_line(f"closed: byte 0: {word}")

    def test_server_that_speaks_plain_is_not_talked_to(self):
        server = self.serve()
        self.pair("alice")
        done = self.call(server, *self.key("alice"), "--peer-key", self.pair("server"))
        self.assert_code(done, 5, "no framed peer here", "not executed")

    def test_expired_is_not_known_and_tomorrow_is_not_expired(self):
        for date, code in (("1971-01-01", None), ("2999-12-31", 0)):
            with self.subTest(date):
                self.alice = self.pair("a" + date)
                server_public = self.pair("s" + date)
                peers = self.write("peers" + date, f"{self.alice} alice expires={date}\n")
                server = self.serve(*self.key("s" + date), "--authorized-peers", peers)
                done = self.call(server, *self.key("a" + date), "--peer-key", server_public)
                self.assertEqual(done.returncode == 0, code == 0, done.stderr)
                if code is None:
                    self.assertEqual((done.returncode, done.stdout), (5, b""))
                    self.assertIn("not allowed there", done.stderr)

    def test_limit_of_a_peer_is_its_own(self):
        self.alice = self.pair("alice")
        self.bob = self.pair("bob")
        public = self.pair("server")
        peers = self.write("peers", f"{self.alice} alice max-frame=20000B\n{self.bob} bob\n".replace("20000B", "20000"))
        server = self.serve(*self.key("server"), "--authorized-peers", peers)
        for name, size, good in (("alice", 20000, True), ("alice", 20001, False), ("bob", 20001, True)):
            done = self.run_tool("call", server.address, "--whole", *self.key(name), "--peer-key", public, stdin=b"x" * size)
            self.assertEqual((done.returncode == 0, len(done.stdout) == size), (good, good), (name, size, done.stderr))
        server.wait_line(r"a frame of 20001 bytes was claimed, at most 20000 are allowed")

    def test_known_servers_are_found_by_their_address_and_have_two_keys_while_they_change(self):
        server = self.serve_pinned()
        other = self.pair("other")
        for line, code in ((f"{server.address} {self.server_public}", 0), (f"{server.address} {other} {self.server_public}", 0),
                           (f"{server.address} {other}", 5), (f"localhost:1 {self.server_public}", 6)):
            known = self.write("known", f"# mine\n{line}\n")
            done = self.call(server, *self.key("alice"), "--known-servers", known)
            self.assertEqual(done.returncode, code, done.stderr)
            if code == 6:
                self.assertIn("nobody knows its key", done.stderr)
        for address in ("unix:/tmp/s", "fd:3"):
            done = self.run_tool("call", address, "-m", "x", *self.key("alice"), "--known-servers", known)
            self.assert_code(done, 2, f"the key of {address} is told by --peer-key")

    def test_our_own_key_is_not_trusted_to_be_another(self):
        """Whoever has it would be ourselves, reflected."""
        server = self.serve_pinned()
        said = "that is our own key"
        peers = self.write("peers", f"{self.alice} alice\n{self.server_public} me\n")
        done = self.run_tool("serve", "127.0.0.1:0", *self.key("server"), "--authorized-peers", peers)
        self.assert_code(done, 6, f"{peers}:2: {said}")
        server.signal(signal.SIGHUP)
        server.wait_line("^framed: the keys stay what they were$")
        known = self.write("known", f"{server.address} {self.server_public} {self.alice}\n")
        for args, code, where in (("--peer-key", self.alice), 2, "--peer-key"), (("--peer-key", self.path("alice.pub")), 6, "alice.pub"), \
                (("--known-servers", known), 6, "known:1"):
            done = self.call(server, *self.key("alice"), *args)
            self.assert_code(done, code, f"{where}: {said}")

    def replies(self, address, name):
        """A ping that has had a reply, and goes on."""
        ping = self.start("ping", address, "-i", "10ms", *self.key(name), "--peer-key", self.server_public)
        self.assertIn(b"reply from", ping.read_line())
        return ping

    def test_keys_are_read_anew_at_a_hangup_and_who_is_gone_is_closed(self):
        bob = self.pair("bob")
        server = self.serve_pinned()
        self.write("peers", f"{self.alice} alice\n{bob} bob\n")
        server.signal(signal.SIGHUP)
        server.wait_line("^framed: keys read anew: 2$")
        alice, bob_pings = self.replies(server.address, "alice"), self.replies(server.address, "bob")
        self.write("peers", f"{self.alice} alice\n")
        server.signal(signal.SIGHUP)
        server.wait_line(r"\(bob\) closed: the peer's key is not allowed here")
        self.assertNotEqual(bob_pings.finish()[0], 0)
        self.assertIn(b"reply from", alice.read_line())
        self.assertNotEqual(self.call(server, *self.key("bob"), "--peer-key", self.server_public).returncode, 0)
        self.write("peers", f"{self.alice} alice expires=1971-01-01\n")
        server.signal(signal.SIGHUP)
        server.wait_line(r"\(alice\) closed: the peer's key is not allowed here")
        self.assertNotEqual(alice.finish()[0], 0)

    def test_keys_that_cannot_be_read_anew_stay_what_they_were(self):
        server = self.serve_pinned()
        alice = self.replies(server.address, "alice")
        self.write("peers", "nonsense\n")
        server.signal(signal.SIGHUP)
        server.wait_line("the keys stay what they were")
        self.assertIn(b"reply from", alice.read_line())
        self.assert_code(self.call(server, *self.key("alice"), "--peer-key", self.server_public), 0)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def test_who_is_ended_has_his_name_in_the_log(self):
        server = self.serve_pinned("--max-frame", "16KiB")
        done = self.run_tool("call", server.address, "--whole", *self.key("alice"), "--peer-key", self.server_public, stdin=b"x" * 16384)
        self.assertEqual(done.returncode, 0, done.stderr)
        server.wait_line(r"^framed: 127\.0\.0\.1:\d+ \(alice\) closed: the peer closed the connection$")

    def test_the_last_shared_key_can_be_taken_out_too(self):
        shared = self.shared("psk", "me")
        with open(shared, encoding="ascii") as f:
            copy = self.write("copy", f.read())
        os.chmod(copy, 0o600)
        server = self.serve("--psk", shared)
        self.assert_code(self.call(server, "--psk", copy), 0)
        ping = self.start("ping", server.address, "-i", "10ms", "--psk", copy)
        self.assertIn(b"reply from", ping.read_line())
        self.write("psk", "# nobody any more\n")
        server.signal(signal.SIGHUP)
        server.wait_line("^framed: keys read anew: 0$")
        self.assertNotEqual(ping.finish()[0], 0)
        self.assertEqual(self.call(server, "--psk", copy).returncode, 5)

    def test_hangup_ends_a_server_without_keys(self):
        server = self.serve()
        server.signal(signal.SIGHUP)
        self.assertEqual(server.wait(), -signal.SIGHUP)

    def test_ping_goes_too(self):
        server = self.serve_pinned()
        done = self.run_tool("ping", server.address, "-c", "2", "-i", "1ms", *self.key("alice"), "--peer-key", self.server_public)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"2 sent, 2 replied", done.stdout)


@unittest.skipUnless(SODIUM, "built without libsodium")
class Shared(KeysTest):
    def test_who_has_the_key_is_answered(self):
        shared = self.shared("psk", "me")
        server = self.serve("--psk", shared)
        done = self.call(server, "--psk", shared)
        self.assert_code(done, 0)
        self.assertEqual(done.stdout, b"hello")
        self.assertIn("(encrypted, shared keys; ", server.stderr)

    def test_an_end_behind_requests_is_said_by_both_and_no_cut(self):
        """The reply and the end behind it are ready at the same time."""
        shared = self.shared("psk", "me")
        server = self.serve("--psk", shared)
        for _ in range(20):
            self.assert_code(self.call(server, "--psk", shared, "--no-reply"), 0)
        self.drain(server)
        self.assertNotIn("cut off", server.stderr)

    def test_a_cut_behind_the_last_answer_is_no_failure_and_any_before_is(self):
        shared = ("--psk", self.shared("psk", "me"))
        server = self.serve(*shared)
        lengths, over = [], threading.Event()

        def relay(most):
            def talk(client):
                with socket.create_connection(tuple(server.address.split(":"))) as target:
                    threading.Thread(target=pass_on, args=(client, target, [], None), daemon=True).start()
                    lengths.append(0)
                    while more := target.recv(65536 if most is None else most - lengths[-1]):
                        client.sendall(more)
                        lengths[-1] += len(more)
                    client.shutdown(socket.SHUT_RDWR)
                over.set()

            return talk

        call = ("-m", "hello", *shared)
        self.assert_code(self.run_tool("call", self.peer(relay(None)).address, *call), 0)
        self.assertTrue(over.wait(PATIENCE_S))
        behind = lengths[0] - 22  # a record of CLOSE
        for cut in (behind - 29, behind - 1):
            done = self.run_tool("call", self.peer(relay(cut)).address, *call)
            self.assert_code(done, 5, "the stream was cut off", "1 of 1 messages unanswered")
            self.assertEqual(done.stdout, b"")
        for cut, more in itertools.product((behind, behind + 1) * 5, ((), ("--pipeline", "1"))):
            done = self.run_tool("call", self.peer(relay(cut)).address, *call, *more)
            self.assert_code(done, 0)
            self.assertEqual(done.stdout, b"hello")
            done = self.run_tool("call", self.peer(relay(cut)).address, *shared, *more, stdin=b"hello\n")
            self.assert_code(done, 0)
            self.assertEqual(done.stdout, b"hello\n")
        done = self.run_tool("call", self.peer(relay(behind)).address, *call, "-m", "more")
        self.assert_code(done, 5, "the stream was cut off")

    def test_each_id_has_its_key(self):
        one, two = self.shared("one", "one"), self.shared("two", "two")
        with open(one, encoding="ascii") as a, open(two, encoding="ascii") as b:
            both = self.write("both", a.read() + b.read())
        os.chmod(both, 0o600)
        server = self.serve("--psk", both)
        for name in (one, two):
            self.assert_code(self.call(server, "--psk", name), 0)
        self.assert_code(self.call(server, "--psk", both), 6, "2 keys")

    def test_wrong_key_and_unknown_id_are_told_the_same(self):
        server = self.serve("--psk", self.shared("psk", "me"))
        said = []
        for identity in ("me", "nobody"):
            done = self.call(server, "--psk", self.shared("wrong-" + identity, identity))
            self.assertEqual(done.returncode, 5)
            said.append(done.stderr.replace(server.address, "ADDRESS"))
        self.assertEqual(said[0], said[1])
        self.assertIn("not executed", said[0])
        server.wait_line(r"closed: the handshake failed", 2)

    def test_both_kinds_of_keys_are_both_wanted(self):
        shared = self.shared("psk", "me")
        server = self.serve_pinned("--psk", shared)
        pinned = (*self.key("alice"), "--peer-key", self.server_public)
        self.assert_code(self.call(server, "--psk", shared, *pinned), 0)
        for args in (("--psk", shared), pinned, ("--psk", self.shared("wrong", "me"), *pinned)):
            self.assertEqual(self.call(server, *args).returncode, 5)

    def test_nothing_that_is_said_can_be_read_or_changed_on_its_way(self):
        shared = self.shared("psk", "me")
        server = self.serve("--psk", shared)
        word = b"a word that nobody else writes"
        for spoil in (False, True):
            passed = []

            def relay(client, spoil=spoil, passed=passed):
                with socket.create_connection(tuple(server.address.split(":"))) as target:
                    back = threading.Thread(target=pass_on, args=(target, client, passed, None), daemon=True)
                    back.start()
                    pass_on(client, target, passed, 300 if spoil else None)
                    back.join()

            done = self.run_tool("call", self.peer(relay).address, "--psk", shared, "-m", (word * 10).decode())
            if spoil:
                self.assertNotEqual(done.returncode, 0)
                self.assertEqual(done.stdout, b"")
            else:
                self.assert_code(done, 0)
                self.assertEqual(done.stdout, word * 10)
            self.assertGreater(len(b"".join(passed)), 300)
            self.assertNotIn(word[:8], b"".join(passed))


@unittest.skipUnless(SODIUM, "built without libsodium")
class Scan(KeysTest):
    def test_the_key_of_a_server_is_shown_alone_and_the_server_learns_nothing(self):
        seen = self.path("seen")
        server = self.serve_pinned("--exec", f"cat >> {seen}")
        done = self.run_tool("scan", server.address)
        self.assert_code(done, 0, "framed pubkey")
        self.assertEqual(done.stdout.decode(), self.server_public + "\n")
        server.wait_line("closed: it ended inside the handshake")
        self.assertFalse(os.path.exists(seen))

    def test_with_a_shared_key_only_who_has_it_is_shown_the_other(self):
        shared = ("--psk", self.shared("psk", "me"))
        public, mine = self.pair("server"), self.write("peers", self.pair("alice") + " alice\n")
        server = self.serve(*self.key("server"), "--authorized-peers", mine, *shared)
        self.assertEqual(self.run_tool("scan", server.address, *shared).stdout.decode(), public + "\n")
        for wrong in ((), ("--psk", self.shared("psk2", "me"))):
            done = self.run_tool("scan", server.address, *wrong)
            self.assertEqual((done.returncode, done.stdout), (5, b""), done.stderr)

    def test_who_has_no_key_shows_none(self):
        for server, code in ((self.serve().address, 5), (self.serve("--psk", self.shared("psk", "me")).address, 5), ("127.0.0.1:1", 3)):
            done = self.run_tool("scan", server)
            self.assertEqual((done.returncode, done.stdout), (code, b""), done.stderr)
            self.assertIn("cannot connect to", done.stderr)
        silent = self.peer(lambda sock: sock.recv(1000) and sock.recv(1))
        self.assert_code(self.run_tool("scan", silent.address, "-t", "100ms"), 4, "timed out")
        self.assert_code(self.run_tool("scan", "nowhere"), 2, "nowhere")


@unittest.skipUnless(SODIUM, "built without libsodium")
class Bench(KeysTest):
    def bench(self, address, *args):
        done = self.run_tool("bench", address, "--json", "--verify", *args)
        return done, json.loads(done.stdout) if done.stdout else None

    def test_it_loads_a_server_with_every_kind_of_keys(self):
        shared = ("--psk", self.shared("psk", "me"))
        pinned = self.serve_pinned()
        mine = (*self.key("alice"), "--peer-key", self.server_public)
        both = self.serve(*self.key("server"), "--authorized-peers", self.path("peers"), *shared)
        for server, keys in ((pinned, mine), (self.serve(*shared), shared), (both, mine + shared)):
            for sizes in (("--size", "64", "-n", "20000", "-c", "3", "-T", "2", "--pipeline", "300"), ("--size", "0-40KiB", "-n", "600", "--pipeline", "5"),
                          ("--size", "1MiB", "-n", "40", "-c", "2", "--pipeline", "8"), ("-R", "5k/s", "-n", "1000")):
                done, said = self.bench(server.address, *keys, *sizes)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual((said["ok"], said["failed"]), (int(sizes[sizes.index("-n") + 1]), 0))
            server.wait_line(r"^framed: \S+ \((alice|me)\) closed: the peer closed the connection$")
            self.assertNotIn("cut off", server.stderr)

    def test_as_many_connections_as_it_is_told_though_handshakes_are_limited(self):
        shared = ("--psk", self.shared("psk", "me"))
        done, said = self.bench(self.serve(*shared).address, *shared, "-c", "300", "-T", "2", "-n", "3000")
        self.assertEqual((done.returncode, said["ok"], said["failed"]), (0, 3000, 0), done.stderr)

    def test_public_keys_are_not_shown_faster_than_a_server_lets_one_address(self):
        server = self.serve_pinned()
        mine = (*self.key("alice"), "--peer-key", self.server_public)
        done, said = self.bench(server.address, *mine, "-c", "80", "-T", "2", "-n", "800")
        self.assertEqual((done.returncode, said["ok"], said["failed"]), (0, 800, 0), done.stderr)

    def test_connections_that_were_cut_ask_what_is_still_due_when_all_is_released(self):
        server = self.serve_pinned("--exec", "sleep 0.3; cat")
        ends = []

        def relay(client):
            with socket.create_connection(tuple(server.address.split(":"))) as target:
                ends.append((client, target))
                if len(ends) == 3:
                    threading.Timer(0.2, cut).start()
                back = threading.Thread(target=pass_on, args=(target, client, [], None), daemon=True)
                back.start()
                pass_on(client, target, [], None)
                back.join()

        def cut():
            for end in itertools.chain(*ends[1:3]):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        done, said = self.bench(self.peer(relay).address, *self.key("alice"), "--peer-key", self.server_public, "-c", "3", "--pipeline", "1",
                                "-R", "300", "-n", "9", "--timeout", "never", "--threads", "1")
        self.assertEqual((done.returncode, said["ok"] + said["failed"]), (5, 9), done.stderr)
        self.assertEqual((said["ok"], said["reconnected"]), (7, 2))  # two were cut in their first request

    def test_it_loads_nobody_else_and_says_why(self):
        server = self.serve_pinned()
        mallory = self.pair("mallory")
        for keys, word in (((*self.key("alice"), "--peer-key", mallory), "another key than it must have"),
                           (("--psk", self.shared("psk", "me")), "perhaps it wants no such keys")):
            done, said = self.bench(server.address, *keys, "-n", "10")
            self.assertEqual((done.returncode, said), (5, None))
            self.assertIn(word, done.stderr)
        done, said = self.bench(server.address, *self.key("mallory"), "--peer-key", self.server_public, "-n", "3", "--timeout", "1s")
        self.assertEqual((done.returncode, said["ok"] if said else 0), (5, 0), done.stderr)
        self.assertIn("our key is not allowed there", done.stderr)
        done, said = self.bench(server.address, *self.key("mallory"), "--peer-key", self.server_public, "-c", "10", "-d", "1s", "--timeout", "1s")
        self.assertIn("our key is not allowed there", done.stderr)
        self.assertEqual((said["ok"], said["failures"]["unasked"]), (0, 0))
        self.assertLess(said["sent"], 500)  # who is not let in does not try again at once
        silent = self.peer(lambda sock: sock.recv(1000) and sock.recv(1))
        done, said = self.bench(silent.address, *self.key("alice"), "--peer-key", self.server_public, "-n", "10", "--timeout", "200ms")
        self.assertEqual((done.returncode, said), (4, None))

    def test_what_was_changed_or_cut_on_its_way_is_a_failure(self):
        shared = self.shared("psk", "me")
        server = self.serve("--psk", shared)
        for spoil, cut in ((3000, None), (None, 3000)):

            def relay(client, spoil=spoil, cut=cut):
                with socket.create_connection(tuple(server.address.split(":"))) as target:
                    threading.Thread(target=pass_on, args=(client, target, [], None), daemon=True).start()
                    pass_on(target, client, [], spoil, cut)

            done, said = self.bench(self.peer(relay).address, "--psk", shared, "-n", "100", "--pipeline", "100", "--size", "1KiB", "--timeout", "2s")
            self.assertEqual(done.returncode, 5, done.stderr)
            self.assertGreater(said["failures"]["protocol"], 0)

    def test_what_does_not_go_together(self):
        self.assert_code(self.run_tool("bench", "--self", "--psk", self.shared("psk", "me")), 2, "--self")


def pass_on(source, to, passed, spoil, cut=None):
    """To the end of the source, or of `cut` bytes; the byte number `spoil` is changed."""
    at = 0
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passed.append(data)
            if spoil is not None and at <= spoil < at + len(data):
                data = bytes(data[: spoil - at]) + bytes([data[spoil - at] ^ 1]) + data[spoil - at + 1 :]
            at += len(data)
            to.sendall(data if cut is None or at <= cut else data[: len(data) - (at - cut)])
            if cut is not None and at >= cut:
                break
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)  # also where the source was reset


@unittest.skipUnless(SODIUM, "built without libsodium")
class Usage(KeysTest):
    def test_what_does_not_go_together_is_said(self):
        key, shared = self.pair("a"), self.shared("psk", "me")
        file = self.path("a.key")
        for args, word in ((("--key", file), "--peer-key"), (("--peer-key", key), "--key"), (("--known-servers", "x"), "--key"),
                           (("--psk", shared, "--checksum", "crc32c"), "--checksum"),
                           (("--key", file, "--peer-key", key, "--known-servers", "x"), "one of them"),
                           (("--key", file, "--peer-key", "framed-pub-1:short"), "--peer-key")):
            self.assert_code(self.run_tool("call", "127.0.0.1:1", "-m", "x", *args), 2, word)
        for args, word in ((("--key", file), "--authorized-peers"), (("--authorized-peers", "x"), "--key")):
            self.assert_code(self.run_tool("serve", "127.0.0.1:0", *args), 2, word)

    def test_a_secret_in_the_place_of_a_public_key_is_refused_and_not_repeated(self):
        self.pair("a")
        with open(self.path("a.key"), encoding="ascii") as f:
            secret = f.read().strip()
        done = self.run_tool("call", "127.0.0.1:1", "-m", "x", *self.key("a"), "--peer-key", secret)
        self.assert_code(done, 2, "secret key")
        self.assertNotIn(secret[13:21], done.stderr)
        self.assert_code(self.run_tool("call", "127.0.0.1:1", "-m", "x", *self.key("a"), "--peer-key", self.path("a.key")), 6, "secret key")

    def test_no_key_is_repeated_wherever_it_was_put(self):
        self.pair("a")
        shared = self.shared("psk", "me")
        with open(self.path("a.key"), encoding="ascii") as f:
            secret = f.read().strip()
        with open(shared, encoding="ascii") as f:
            line = f.read().strip()
        key = self.key("a")
        for args in (("call", "127.0.0.1:1", "-m", "x", "--key", secret, "--peer-key", self.path("a.pub")),
                     ("call", "127.0.0.1:1", "-m", "x", "--psk", line), ("call", "127.0.0.1:1", "-m", "x", "--psk", line.split()[1]),
                     ("call", "127.0.0.1:1", "-m", "x", *key, "--known-servers", secret), ("call", secret, "-m", "x"),
                     ("call", "127.0.0.1:1", "-f", secret), ("call", "--" + secret), ("serve", secret), (secret,), ("inspect", secret),
                     ("serve", "127.0.0.1:0", *key, "--authorized-peers", secret), ("pubkey", secret), ("keygen", "-o", secret),
                     ("call", "127.0.0.1:1", "-f", line.split()[1] + "+" + secret)):
            done = self.run_tool(*args)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            for word in (secret, line.split()[1]):
                self.assertNotIn(word[13:21], done.stderr + done.stdout.decode())

    def dumps_core(self, *options):
        def allow():
            most = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (most, most))

        with subprocess.Popen([FRAMED, "serve", "127.0.0.1:0", *options], cwd=self.folder, preexec_fn=allow, stderr=subprocess.PIPE) as server:
            self.assertIn(b"listening", server.stderr.readline())
            server.send_signal(signal.SIGABRT)
            _, status = os.waitpid(server.pid, 0)
            server.returncode = -os.WTERMSIG(status)
            self.assertEqual(server.returncode, -signal.SIGABRT)
            return os.WCOREDUMP(status)

    def test_a_process_with_a_secret_leaves_no_core_dump(self):
        if not self.dumps_core():
            self.skipTest("none are made here")
        self.assertFalse(self.dumps_core("--psk", self.shared("psk", "me")))

    def test_a_file_may_be_called_like_the_beginning_of_a_key(self):
        self.pair("a")
        os.rename(self.path("a.key"), self.path("framed-sec-1"))
        os.chmod(self.write("framed-psk-of:me", "x\n"), 0o600)
        self.assertEqual(self.run_tool("pubkey", self.path("framed-sec-1")).returncode, 0)
        done = self.run_tool("call", "127.0.0.1:1", "-m", "x", "--psk", self.path("framed-psk-of:me"))
        self.assert_code(done, 6, self.path("framed-psk-of:me:1"))

    def test_a_file_of_a_public_key_may_have_comments(self):
        server = self.serve_pinned()
        commented = self.write("commented", f"# the server's\n\n  {self.server_public}\n\n")
        self.assert_code(self.call(server, *self.key("alice"), "--peer-key", commented), 0)
        twice = self.write("twice", f"{self.server_public}\n{self.alice}\n")
        self.assert_code(self.call(server, *self.key("alice"), "--peer-key", twice), 6, f"{twice}:2", "one key")

    def test_files_that_are_refused(self):
        public, shared = self.pair("a"), self.shared("psk", "me")
        peers = self.write("peers", f"{public} a\n")
        for path, args in ((self.path("a.key"), (*self.key("a"), "--authorized-peers", peers)),
                           (peers, (*self.key("a"), "--authorized-peers", peers)), (shared, ("--psk", shared))):
            mode = os.stat(path).st_mode & 0o777
            os.chmod(path, 0o666)
            self.assert_code(self.run_tool("serve", "127.0.0.1:0", *args), 6, path)
            os.chmod(path, mode)
        for text in (f"{public}\n", f"{public} a b\n", f"{public} a\n{public} b\n", "x\n", f"{public} a\r\n"):
            self.write("peers", text)
            self.assert_code(self.run_tool("serve", "127.0.0.1:0", *self.key("a"), "--authorized-peers", peers), 6, f"{peers}:")
        self.assert_code(self.run_tool("serve", "127.0.0.1:0", *self.key("a"), "--authorized-peers", self.path("none")), 6, "none")


@unittest.skipIf(SODIUM, "built with libsodium")
class Without(KeysTest):
    def test_keys_are_not_built_in(self):
        file = self.write("key", "framed-sec-1:XasIfmJKikt54X-Lg4AO5m87sSkmGLb9HC-LJ_-I4Os\n")
        os.chmod(file, 0o600)
        peers = self.write("peers", "")
        self.assert_code(self.run_tool("serve", "127.0.0.1:0", "--key", file, "--authorized-peers", peers), 7, "libsodium")
        for psk in (file, self.path("nothing")):
            self.assert_code(self.run_tool("serve", "127.0.0.1:0", "--psk", psk), 7, "libsodium")
        self.assert_code(self.run_tool("call", "127.0.0.1:1", "-m", "x", "--psk", file), 7, "libsodium")
        self.assert_code(self.run_tool("bench", "127.0.0.1:1", "--psk", file), 7, "libsodium")
        self.assert_code(self.run_tool("scan", "127.0.0.1:1"), 7, "libsodium")


if __name__ == "__main__":
    unittest.main()
