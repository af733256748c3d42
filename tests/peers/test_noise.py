"""Encrypted connections between framed and dissononce (noise_peer.py), over TCP, each on either side, with either kind of key and both.

Owns: what is said on them, and what of it both ends must see. Must not know how framed does it: bytes come from PROTOCOL.md §7 and §9.
Invariants: files and keys are made anew for each test. PEERS_SEED chooses contents and how the inner stream is cut.
"""

import base64
import itertools
import os
import random
import re
import signal
import subprocess
import tempfile
import unittest

import noise_peer
from ends import SEED, End, EndsTest
from noise_peer import CLOSE, DATA, PAD, Fault, Keys, Wire
from toolkit import frame

SIZES = [0, 1, 5, 1000, 65500, 65514, 65515, 200000, 3 << 20]
PINNED = "framed-pub-1:"
EVERY_BYTE_ITS_RECORD = itertools.repeat(1)
WHO = os.path.join(os.path.abspath(os.environ.get("BUILD", "build")), "peers", "who")  # run.sh makes it


def decoded(text):
    return base64.urlsafe_b64decode(text.strip().split(":")[1] + "=")


def encoded(prefix, key):
    return prefix + base64.urlsafe_b64encode(key).decode().rstrip("=")


class NoiseTest(EndsTest):
    """Keys of both ends in files for framed and in `Keys` for dissononce. `protection` says which."""

    protection = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.draw = folder.name, random.Random(SEED)
        self.psk, self.ours = os.urandom(32), os.urandom(32)
        self.shared = self.file("shared.keys", "db " + encoded("framed-psk-1:", self.psk))
        done = self.run_tool("keygen", "-o", self.path("framed.key"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.theirs_text = done.stdout.decode().strip()
        self.theirs, self.ours_text = decoded(self.theirs_text), encoded(PINNED, noise_peer.public_of(self.ours))

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, *lines):
        with open(self.path(name), "w", encoding="ascii", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.writelines(line + "\n" for line in lines)
        return self.path(name)

    def options(self, *pinned):
        """What framed is told, and `pinned` with keys that are pinned."""
        shared = [] if self.protection == 9 else ["--psk", self.shared]
        return shared + (["--key", self.path("framed.key"), *pinned] if self.protection != 8 else [])

    def keys(self):
        return Keys(b"" if self.protection == 8 else self.ours, [self.theirs], {} if self.protection == 9 else {b"db": self.psk})

    def payloads(self, *sizes):
        return [self.draw.randbytes(n) for n in sizes]

    def bodies(self, most):
        while True:
            yield self.draw.randint(1, most)

    def pads(self, most):
        """Before each DATA but the first none, some, or as many PADs as may be."""
        yield ()
        while True:
            count = self.draw.choice([0, 0, 0, 1, 2, noise_peer.PADS_MOST])
            yield [self.draw.randbytes(self.draw.randint(0, most)) for _ in range(count)]

    def assert_same(self, got, sent):
        self.assertEqual([len(p) for p in got], [len(p) for p in sent])
        self.assertTrue(got == sent)


class Served(NoiseTest):
    """dissononce connects to framed serve."""

    def serve_encrypted(self, *more):
        peers = self.file("peers", self.ours_text + " dissononce")
        return self.serve(*self.options("--authorized-peers", peers), *more)

    def wire(self, server, **how):
        return Wire(self.connect(server.address), **how)

    def hello(self, *more):
        return b"".join(sorted([*more, *([] if self.protection == 9 else [noise_peer.parameter(noise_peer.KEY_ID, b"db")])]))

    def session(self, server, *parameters, **how):
        return noise_peer.connect(self.wire(server, **how), self.protection, self.keys(), self.hello(*parameters))

    def ends(self, session):
        """Both say that they have nothing more to say."""
        session.close()
        self.assertIsNone(session.receive())
        self.assertEqual((session.reason, session.records[CLOSE]), (0, 1))


class Connector:
    """dissononce connects. For every protection."""

    def test_frames_of_every_size_come_back(self):
        session = self.session(self.serve_encrypted())
        for payload in self.payloads(*SIZES):
            session.send(payload)
            self.assert_same([session.receive()], [payload])
        self.ends(session)

    def test_many_frames_in_one_record(self):
        session, sent = self.session(self.serve_encrypted()), self.payloads(*range(60), *[3] * 500)
        before = session.out.n
        session.send(*sent)
        self.assertEqual(session.out.n, before + 1)
        self.assert_same([session.receive() for _ in sent], sent)
        self.ends(session)

    def test_one_frame_in_records_of_one_byte_each_and_pads_between(self):
        session, sent = self.session(self.serve_encrypted()), self.payloads(5000, 0, 1)
        session.send(*sent, bodies=EVERY_BYTE_ITS_RECORD, pads=self.pads(20))
        self.assert_same([session.receive() for _ in sent], sent)
        self.ends(session)

    def test_frames_cut_anywhere_and_pads_of_every_size_between(self):
        session, sent = self.session(self.serve_encrypted()), self.payloads(200000, 0, 5, 65515)
        session.send(*sent, bodies=self.bodies(9000), pads=self.pads(noise_peer.BODY_MOST // 8))
        session.pad(bytes(noise_peer.BODY_MOST))
        self.assert_same([session.receive() for _ in sent], sent)
        self.ends(session)

    def test_the_bytes_come_and_go_one_by_one(self):
        session, sent = self.session(self.serve_encrypted(), one_by_one=True), self.payloads(0, 1, 5, 300)
        session.send(*sent, bodies=self.bodies(40), pads=self.pads(3))
        self.assert_same([session.receive() for _ in sent], sent)
        self.ends(session)

    def test_100_calls_are_pipelined(self):
        session, sent = self.session(self.serve_encrypted()), self.payloads(*(self.draw.randint(0, 3000) for _ in range(100)))
        session.wire.send(b"".join(session.seal(frame(payload)) for payload in sent))
        self.assert_same([session.receive() for _ in sent], sent)
        self.ends(session)

    def test_close_and_the_end_behind_requests_cost_no_reply(self):
        session, sent = self.session(self.serve_encrypted()), self.payloads(1, 100000, 0)
        session.send(*sent)
        session.close()
        self.assert_same([session.receive() for _ in sent], sent)
        self.assertIsNone(session.receive())
        self.assertEqual(session.reason, 0)

    def test_a_reason_that_nobody_knows_means_nothing_more_to_say(self):
        server = self.serve_encrypted()
        session = self.session(server)
        session.close(200)
        self.assertIsNone(session.receive())
        self.assertEqual(session.reason, 0)
        self.assertNotIn("cut off", self.log_of(server))

    def test_an_end_without_close_is_logged_as_cut_off(self):
        server = self.serve_encrypted()
        session = self.session(server)
        session.send(b"a")
        self.assertEqual(session.receive(), b"a")
        session.wire.end()
        server.wait_line("cut off")

    def test_a_close_inside_a_frame_is_logged_as_such(self):
        server = self.serve_encrypted()
        session = self.session(server)
        session.wire.send(session.seal(frame(b"hello")[:6]))
        session.close()
        server.wait_line("the peer ended inside a frame")

    def test_a_drained_server_says_close(self):
        server = self.serve_encrypted()
        session = self.session(server)
        session.send(b"a")
        self.assertEqual(session.receive(), b"a")
        server.signal(signal.SIGTERM)
        self.assertIsNone(session.receive())
        self.assertEqual(session.reason, 0)
        session.close()
        self.assertEqual(server.wait(), 0, server.stderr)

    def test_parameters_of_the_hello_are_heard_and_those_of_later_versions_ignored(self):
        server = self.serve_encrypted("--exec", "head -c 16385 /dev/zero")
        session = self.session(server, noise_peer.max_frame(16385), noise_peer.parameter(128, b""), noise_peer.parameter(255, b"xyz"))
        session.send(b"")
        self.assertEqual(session.receive(), bytes(16385))
        self.ends(session)
        session = self.session(server, noise_peer.max_frame(16384))
        session.send(b"")
        self.assertIsNone(session.receive())  # no reply is longer than that (§7.4)

    def test_the_server_says_what_it_accepts(self):
        session = self.session(self.serve_encrypted("--max-frame", "100000"))
        self.assertEqual(session.parameters, {noise_peer.MAX_FRAME: (100000).to_bytes(4, "big")})
        self.assertEqual(self.session(self.serve_encrypted()).parameters.get(noise_peer.MAX_FRAME, (1 << 24).to_bytes(4, "big")),
                         (1 << 24).to_bytes(4, "big"))

    def log_of(self, server):
        self.drain(server)
        return server.stderr


class SharedKeyIds:
    """dissononce connects with a shared key, with or without others."""

    def test_each_key_id_has_its_key(self):
        others = [(f"id-{i}-{'x' * 58}", os.urandom(32)) for i in range(3)]
        self.file("shared.keys", "# all", "db " + encoded("framed-psk-1:", self.psk),
                  *(f"{name} {encoded('framed-psk-1:', key)}" for name, key in others))
        server = self.serve_encrypted()
        for name, key in [("db", self.psk), *others]:
            hello = noise_peer.parameter(noise_peer.KEY_ID, name.encode())
            session = noise_peer.connect(self.wire(server), self.protection, Keys(self.ours, [self.theirs], {name: key}), hello)
            session.send(name.encode())
            self.assertEqual(session.receive(), name.encode())
            self.ends(session)

    def refused(self, key_id, psk):
        """How many bytes a stranger with this key gets: no more than the preface, which may leave before message 1 is judged."""
        wire = self.wire(self.serve_encrypted())
        with self.assertRaisesRegex(Fault, "TRUNCATED"):
            hello = noise_peer.parameter(noise_peer.KEY_ID, key_id)
            noise_peer.connect(wire, self.protection, Keys(self.ours, [self.theirs], {key_id: psk}), hello)
        self.assertIn(wire.received, (0, 4))
        return wire.received

    def test_an_unknown_key_id_looks_like_a_wrong_key(self):
        wrong = self.refused(b"db", os.urandom(32))
        for key_id in (b"", b"nobody", b"d", b"db\n", bytes(64)):
            self.assertEqual(self.refused(key_id, self.psk), wrong)

    def test_no_key_id_at_all_is_refused(self):
        wire = self.wire(self.serve_encrypted())
        with self.assertRaisesRegex(Fault, "TRUNCATED"):
            noise_peer.connect(wire, self.protection, self.keys(), b"")
        self.assertEqual(wire.received, 0)


class AuthorizedPeers:
    """dissononce connects with a key pair, with or without a shared key."""

    def test_a_key_that_is_not_authorized_is_told_so_and_nothing_else(self):
        server = self.serve_encrypted()
        keys = self.keys()
        keys.secret = os.urandom(32)
        session = noise_peer.connect(self.wire(server), self.protection, keys, self.hello())
        session.send(b"hello")
        self.assertIsNone(session.receive())
        self.assertEqual((session.reason, session.records), (noise_peer.NOT_TRUSTED, [0, 1, 0]))
        server.wait_line("not allowed")

    def test_the_server_has_the_key_that_keygen_printed(self):
        session = self.session(self.serve_encrypted())
        self.assertEqual(session.peer, self.theirs)
        self.assertEqual(self.run_tool("pubkey", self.path("framed.key")).stdout.decode().strip(), encoded(PINNED, session.peer))


class Known:
    """dissononce asks who.c, a server made with the library, what it knows of it."""

    def test_both_ends_have_the_same_hash_and_the_server_knows_key_and_key_id(self):
        hashes = set()
        with open(self.path("framed.key"), encoding="ascii") as file:
            secret = re.search(r"framed-sec-1:\S+", file.read())[0] if self.protection != 8 else "-"
        shared = encoded("framed-psk-1:", self.psk) if self.protection != 9 else "-"
        who = End([WHO, secret, shared], stdin=subprocess.DEVNULL)
        self.addCleanup(who.close)
        self.addCleanup(who.process.terminate)
        who.address = who.wait_line("listening on ").removeprefix("listening on ")
        for _ in range(2):
            session = self.session(who)
            session.send(b"")
            public = bytes(32) if self.protection == 8 else noise_peer.public_of(self.ours)
            key_id = b"" if self.protection == 9 else b"db"
            self.assertEqual(session.receive(), bytes([self.protection]) + session.hash + public + key_id)
            self.ends(session)
            hashes.add(session.hash)
        self.assertEqual(len(hashes), 2)


class SharedKeyServed(Known, SharedKeyIds, Connector, Served):
    protection = 8

    def test_before_the_first_record_has_come_nothing_follows_message_2(self):
        """Message 1 may be a recorded one (§9.2.6): not even the end is said."""
        server = self.serve_encrypted()
        session = noise_peer.connect(self.wire(server), 8, self.keys(), self.hello(), silent=True)
        server.signal(signal.SIGTERM)
        self.assertEqual(session.wire.rest(), b"")

    def test_the_first_record_has_192_bytes_at_most(self):
        server = self.serve_encrypted()
        for n, heard in ((192, True), (193, False)):
            session = noise_peer.connect(self.wire(server), 8, self.keys(), self.hello(), silent=True)
            session.pad(bytes(n - 17))
            if heard:
                session.send(b"a")
                self.assertEqual(session.receive(), b"a")
                self.ends(session)
            else:
                self.assertEqual(session.wire.rest(), b"")
                server.wait_line("no record, where one must come")


class PinnedKeysServed(Known, AuthorizedPeers, Connector, Served):
    protection = 9

    # Of a direction's 65,536 records in the two tests of this kind there is nothing that depends on the protection.
    def test_keys_are_renewed_in_both_directions_when_each_has_its_65536_records(self):
        """Two records a request, and one a reply because the next request waits for it: ours are renewed twice, theirs once."""
        session = self.session(self.serve_encrypted())
        for i in range(noise_peer.RENEWED_AFTER + 50):
            payload = bytes([i % 251])
            session.wire.send(session.seal(frame(payload), bodies=iter([2, 3])))
            if session.receive() != payload:
                self.fail(f"another reply to request {i}")
        self.assertGreater(session.into.n, noise_peer.RENEWED_AFTER)
        self.assertGreater(session.out.n, 2 * noise_peer.RENEWED_AFTER)
        self.ends(session)


class BothKeysServed(Known, SharedKeyIds, AuthorizedPeers, Connector, Served):
    protection = 10


class Called(NoiseTest):
    """framed call connects to dissononce."""

    pin = "--peer-key"

    def setUp(self):
        super().setUp()
        self.seen = []

    def keys(self):
        keys = super().keys()
        keys.pins = [self.theirs]
        return keys

    def acceptor(self, answer=None, keys=None, parameters=b"", **how):
        """An end of dissononce; `answer` gets each session, and by default echoes. All sessions and faults are in `seen`."""

        def talk(sock):
            wire = Wire(sock, **how)
            try:
                session = noise_peer.accept(wire, self.protection, keys or self.keys(), parameters)
                self.seen.append(session)
                (answer or self.echo)(session)
            except Fault as fault:
                self.seen.append((str(fault), wire.kept[wire.at :]))

        return self.peer(talk)

    @staticmethod
    def echo(session, **how):
        while (payload := session.receive()) is not None:
            session.send(payload, **how)
        session.close()

    def pinned(self, address, *keys):
        keys = keys or [self.ours_text]
        if self.pin == "--known-servers":
            return ["--known-servers", self.file("servers", f"{address} {' '.join(keys)}", f"other:1 {encoded(PINNED, os.urandom(32))}")]
        return ["--peer-key", *keys]

    def calls(self, peer, messages, *more):
        done = self.call(peer.address, messages, *self.options(*self.pinned(peer.address)), *more)
        peer.close()
        self.assertEqual(peer.failures, [])
        return done

    def assert_echoed(self, peer, messages, *more):
        code, replies, said = self.calls(peer, messages, *more)
        self.assert_same(replies, messages)
        self.assertEqual((code, said), (0, ""))
        self.assertEqual((self.seen[-1].reason, self.seen[-1].inner), (0, b""))


class Acceptor:
    """framed call connects. For every protection."""

    def test_frames_of_every_size_come_back(self):
        self.assert_echoed(self.acceptor(), self.payloads(*SIZES))

    def test_many_frames_in_one_record(self):
        messages = self.payloads(*range(60), *[3] * 500)

        def answer(session):
            session.send(*[session.receive() for _ in messages])
            self.assertEqual(session.out.n, 1)
            self.echo(session)

        self.assert_echoed(self.acceptor(answer), messages, "--pipeline", str(len(messages)))

    def test_one_frame_in_records_of_one_byte_each_and_pads_between(self):
        self.assert_echoed(self.acceptor(lambda s: self.echo(s, bodies=EVERY_BYTE_ITS_RECORD, pads=self.pads(20))),
                           self.payloads(5000, 0, 1))

    def test_frames_cut_anywhere_and_pads_of_every_size_between(self):
        self.assert_echoed(
            self.acceptor(lambda s: self.echo(s, bodies=self.bodies(9000), pads=self.pads(noise_peer.BODY_MOST // 8))),
            self.payloads(200000, 0, 5, 65515))

    def test_the_bytes_come_and_go_one_by_one(self):
        self.assert_echoed(self.acceptor(lambda s: self.echo(s, bodies=self.bodies(40), pads=self.pads(3)), one_by_one=True),
                           self.payloads(0, 1, 5, 300))

    def test_100_calls_are_pipelined(self):
        messages = self.payloads(*(self.draw.randint(0, 3000) for _ in range(100)))

        def answer(session):
            for reply in [session.receive() for _ in messages]:  # none before all have come
                session.send(reply)
            self.echo(session)

        self.assert_echoed(self.acceptor(answer), messages, "--pipeline", "100")

    def test_ping_is_answered(self):
        peer = self.acceptor()
        done = self.run_tool("ping", peer.address, "-c", "2", "-i", "0", *self.options(*self.pinned(peer.address)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"2 sent, 2 replied, 0 lost", done.stdout)

    def test_the_end_without_close_says_that_the_stream_was_cut_off(self):
        def answer(session):
            session.send(session.receive())
            session.wire.end()
            session.wire.rest()

        messages = self.payloads(5, 6)
        code, replies, said = self.calls(self.acceptor(answer), messages, "--pipeline", "1")
        self.assertEqual((code, replies), (5, messages[:1]), said)
        self.assertIn("cut off", said)

    def test_frames_that_are_followed_end_with_close_and_not_without(self):
        sent = self.payloads(5, 70000, 0)

        def answer(session):
            session.send(*sent)
            if clean:
                session.close()
            else:
                session.wire.end()
            session.wire.rest()

        for clean in (True, False):
            code, replies, said = self.calls(self.acceptor(answer), [], "--follow")
            self.assertEqual((code, replies), (0 if clean else 5, sent), said)
            self.assertEqual("cut off" in said, not clean)

    def test_who_wants_no_reply_says_close_and_wants_one(self):
        def answer(session):
            while session.receive() is not None:
                pass
            if clean:
                session.close()

        for clean in (True, False):
            code, _, said = self.calls(self.acceptor(answer), self.payloads(5, 70000), "--no-reply")
            self.assertEqual((self.seen[-1].reason, "cut off" in said), (0, not clean), said)
            self.assertEqual(code, 0 if clean else 5, said)

    def test_a_close_inside_a_frame_is_a_failure(self):
        def answer(session):
            session.wire.send(session.seal(frame(session.receive())[:-1]))
            session.close()

        code, replies, said = self.calls(self.acceptor(answer), self.payloads(5))
        self.assertEqual((code, replies), (5, []), said)
        self.assertIn("the peer ended inside a frame", said)

    def test_a_close_while_calls_are_outstanding_leaves_them_unanswered(self):
        def answer(session):
            session.send(session.receive())
            session.close()

        messages = self.payloads(5, 6, 7)
        code, replies, said = self.calls(self.acceptor(answer), messages)
        self.assertEqual((code, replies), (1, messages[:1]), said)
        self.assertIn("2 of 3 messages unanswered", said)

    def test_the_acceptor_says_what_it_accepts_and_is_sent_no_more(self):
        peer = self.acceptor(parameters=noise_peer.max_frame(16384) + noise_peer.parameter(200, b"later"))
        code, replies, said = self.calls(peer, self.payloads(16385))
        self.assertEqual((code, replies), (6, []), said)
        self.assertEqual(self.seen[0].records[DATA], 0)
        self.assert_echoed(self.acceptor(parameters=noise_peer.max_frame(16384)), self.payloads(16384))

    def test_the_connector_says_what_it_accepts(self):
        self.assert_echoed(self.acceptor(), self.payloads(1), "--max-frame", "100000")
        self.assertEqual(self.seen[0].parameters.get(noise_peer.MAX_FRAME), (100000).to_bytes(4, "big"))


class SharedKeyOfCall:
    """framed call has a shared key, with or without others."""

    def test_its_key_id_comes_with_the_hello(self):
        self.assert_echoed(self.acceptor(), self.payloads(1))
        self.assertEqual(self.seen[0].parameters[noise_peer.KEY_ID], b"db")

    def test_with_a_wrong_shared_key_the_first_message_does_not_open_and_no_byte_of_the_call_follows(self):
        keys = self.keys()
        keys.psks = {b"db": os.urandom(32)}
        code, replies, said = self.calls(self.acceptor(keys=keys), self.payloads(5))
        self.assertEqual((code, replies), (5, []), said)
        self.assertEqual(self.seen, [("AUTH", b"")])


class PinnedServer:
    """framed call has a key pair, with or without a shared key."""

    def test_a_server_with_another_key_sees_no_third_message(self):
        keys, rest = self.keys(), []
        keys.secret = os.urandom(32)

        def talk(sock):
            wire = Wire(sock)
            with self.assertRaisesRegex(Fault, "TRUNCATED"):  # where message 3 would be
                noise_peer.accept(wire, self.protection, keys)
            rest.append(wire.kept[wire.at :])

        code, replies, said = self.calls(self.peer(talk), self.payloads(5))
        self.assertEqual((code, replies), (5, []), said)
        self.assertEqual(rest, [b""])

    def test_a_server_that_does_not_trust_it_says_so(self):
        keys = self.keys()
        keys.pins = [os.urandom(32)]
        code, replies, said = self.calls(self.acceptor(keys=keys), self.payloads(5))
        self.assertEqual((code, replies, self.seen[0][0]), (5, [], "IMPOSTOR"), said)
        self.assertIn("our key is not allowed there", said)  # before or behind the first request: both are right


class SharedKeyCalls(SharedKeyOfCall, Acceptor, Called):
    protection = 8

    def test_with_nothing_to_say_yet_it_sends_an_empty_pad_at_once(self):
        first = []

        def answer(session):
            first.append(session.record())
            process.process.stdin.close()
            self.echo(session)

        peer = self.acceptor(answer)
        process = self.start("call", peer.address, *self.options())
        self.assertEqual((process.wait(), process.stderr), (0, ""))
        self.assertEqual(first, [(PAD, b"")])


class PinnedKeysCall(PinnedServer, Acceptor, Called):
    protection = 9

    def test_keys_are_renewed_in_both_directions_when_each_has_its_65536_records(self):
        """One record a request, because each waits for its reply, and two a reply."""

        def answer(session):
            while (payload := session.receive()) is not None:
                session.wire.send(session.seal(frame(payload), bodies=iter([2, 9])))
            session.close()

        messages = [b"%d" % (i % 10) for i in range(noise_peer.RENEWED_AFTER + 50)]
        code, replies, said = self.calls(self.acceptor(answer), messages, "--pipeline", "1")
        self.assertEqual((code, said), (0, ""))
        self.assertTrue(replies == messages)
        self.assertGreater(self.seen[0].into.n, noise_peer.RENEWED_AFTER)
        self.assertGreater(self.seen[0].out.n, 2 * noise_peer.RENEWED_AFTER)


class BothKeysCall(SharedKeyOfCall, PinnedServer, Acceptor, Called):
    protection = 10


class KnownServersCall(PinnedServer, Acceptor, Called):
    protection, pin = 9, "--known-servers"

    def test_the_next_key_of_a_server_is_as_good(self):
        peer = self.acceptor()
        options = self.options(*self.pinned(peer.address, encoded(PINNED, os.urandom(32)), self.ours_text))
        self.assertEqual(self.call(peer.address, [b"a"], *options), (0, [b"a"], ""))


del NoiseTest, Served, Called

if __name__ == "__main__":
    unittest.main()
