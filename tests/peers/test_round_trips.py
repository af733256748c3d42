"""Frames go to foreign ends and come back, whoever calls: any size, any split, any number at once."""

import json
import unittest

from ends import SEED, EndsTest, payloads, summary
from toolkit import frame, frames, read_frame, read_to_end

SIX_MIB = 6 << 20


class FramedServes:
    def test_calls_of_every_size_come_back(self):
        server = self.serve()
        self.assertEqual(self.foreign("call", self.port(server), 200, SEED, SIX_MIB, "one"), (0, ["ok 200"]))
        self.drain(server)

    def test_calls_all_sent_before_any_reply_is_read(self):
        server = self.serve()
        self.assertEqual(self.foreign("call", self.port(server), 1000, SEED, SIX_MIB, "pipelined"), (0, ["ok 1000"]))
        self.drain(server)

    def test_calls_in_pieces_of_a_few_bytes(self):
        server = self.serve()
        self.assertEqual(self.foreign("call", self.port(server), 60, SEED, 3000, "dribble"), (0, ["ok 60"]))
        self.drain(server)

    def test_three_hundred_connections_at_once(self):
        server = self.serve()
        self.assertEqual(self.foreign("connections", self.port(server), 300), (0, ["ok 300"]))
        self.drain(server)

    def test_no_connection_and_no_frame_is_too_few(self):
        server = self.serve()
        self.assertEqual(self.foreign("call", self.port(server), 0, SEED, 10, "one"), (0, ["ok 0"]))
        self.assertEqual(self.foreign("call", self.port(server), 1, SEED, 0, "pipelined"), (0, ["ok 1"]))
        self.drain(server)

    def test_a_wrong_reply_is_seen_by_the_peer(self):
        """That the foreign callers can fail."""
        wrong = {
            "another": frame(b"x"),
            "swapped": b"\1\0\0\0",
            "cut": b"\0\0\0",
            "nothing": b"",
            "two": frame(b"") * 2,
            "illegal": b"\xff\xff\xff\xff",
        }
        for name, answer in wrong.items():
            with self.subTest(name):

                def talk(sock, answer=answer):
                    read_frame(sock)
                    sock.sendall(answer)
                    sock.shutdown(1)
                    read_to_end(sock)

                code, lines = self.foreign("call", self.port(self.peer(talk)), 1, SEED, 10, "one")
                self.assertEqual((code, lines[-1].split()[0]), (1, "FAILED"), lines)


class FramedCalls:
    def check(self, manner, sent, *options):
        server = self.foreign_server(*manner)
        code, replies, said = self.call(server.address, sent, *options)
        self.assertEqual((code, said), (0, ""), server.lines)
        self.assertTrue(replies == sent, f"{manner}: {summary(sent)} came back as {summary(replies)}")

    def test_calls_of_every_size_come_back(self):
        self.check(["echo"], payloads(200, SEED, SIX_MIB), "--pipeline", "1")

    def test_calls_pipelined(self):
        self.check(["echo"], payloads(1000, SEED, SIX_MIB))
        self.check(["echo"], payloads(1000, SEED, SIX_MIB), "--pipeline", "1000")

    def test_replies_in_pieces_of_a_few_bytes(self):
        self.check(["dribble", SEED], payloads(60, SEED, 3000))

    def test_the_stream_cut_anywhere(self):
        self.check(["bytes", SEED], payloads(100, SEED, 100000))

    def test_empty_frames(self):
        self.check(["echo"], [b""] * 500)

    def test_many_callers_at_once(self):
        server = self.foreign_server("echo")
        callers = [self.start("call", server.address, "--framed", "-o", "framed") for _ in range(12)]
        for n, caller in enumerate(callers):
            caller.write(frame(b"%d" % n))  # all are in before any is over
        for n, caller in enumerate(callers):
            sent = payloads(50, SEED + n, 100000)
            code, out = caller.finish(b"".join(map(frame, sent)))
            self.assertEqual(code, 0, caller.stderr)
            self.assertTrue(frames(out) == [b"%d" % n, *sent])

    def test_what_a_server_pushes_is_printed(self):
        server = self.foreign_server("push", 300, SEED, SIX_MIB)
        done = self.run_tool("call", server.address, "--follow", "-o", "framed", "--framed")
        self.assert_code(done, 0)
        self.assertEqual("pushed " + summary(frames(done.stdout)), server.wait_line("pushed "))

    def test_what_wants_no_reply_arrives_whole(self):
        server = self.foreign_server("sink")
        sent = payloads(1000, SEED, SIX_MIB)
        self.assertEqual(self.call(server.address, sent, "--no-reply"), (0, [], ""))
        self.assertEqual(server.wait_line("took "), "took " + summary(sent))

    def test_the_half_close_waits_for_the_last_reply(self):
        """These peers answer nothing once the end has come."""
        server = self.foreign_server("late", 3, 300)
        sent = [b"a", b"", b"ccc"]
        self.assertEqual(self.call(server.address, sent), (0, sent, ""), server.lines)
        self.assertEqual(server.wait_line("answered"), "answered 3")

    def test_a_peer_that_meets_the_end_first_answers_nothing(self):
        """The same peer and a requester that does not wait: what the test above would see."""
        server = self.foreign_server("late", 1, 60000)
        sock = self.connect(server.address)
        sock.sendall(frame(b"a"))
        sock.shutdown(1)
        server.wait_line("the end came first:")
        self.assertEqual(read_to_end(sock), b"")

    def test_a_peer_that_expects_the_end_first_answers_then(self):
        """{exit_on_close, false} and IHalfCloseableProtocol do what the pages say."""
        sent = payloads(100, SEED, 100000)
        sock = self.connect(self.foreign_server("patient", 100).address)
        sock.sendall(b"".join(map(frame, sent)))
        sock.shutdown(1)
        self.assertTrue(frames(read_to_end(sock)) == sent)

    def outcomes(self, manner, count, pipeline):
        """What became of each of `count` calls, one letter each: Reply, Not executed, Maybe executed."""
        server = self.foreign_server(*manner)
        data = b"".join(frame(b"%d" % n) for n in range(count))
        done = self.run_tool("call", server.address, "--framed", "-o", "json", "--pipeline", str(pipeline), stdin=data)
        self.assert_code(done, 1, server.address)
        results = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([r["seq"] for r in results], list(range(1, len(results) + 1)))
        return "".join(r["outcome"][0].upper() for r in results)

    def test_a_peer_that_closes_after_some_replies(self):
        self.assertRegex(self.outcomes(["first", 3], 10, 1), "^RRR[MN]?$")
        # It closes upon unread requests: the reset may overtake replies. What did arrive came in order.
        self.assertRegex(self.outcomes(["first", 3], 10, 10), "^R{0,3}M*N*$")

    def test_a_peer_that_closes_without_reading(self):
        self.assertRegex(self.outcomes(["close"], 5, 5), "^M*N*$")

    def test_a_wrong_peer_is_seen(self):
        """That the comparison can fail: whatever the fault, the replies are not what was sent."""
        for fault in ("swapped", "altered", "dropped", "reordered"):
            with self.subTest(fault):
                server = self.foreign_server(fault)
                sent = [b"one", b"three", b"fourteen bytes"]
                code, replies, _ = self.call(server.address, sent, "-t", "500ms")
                self.assertNotEqual((code, replies), (0, sent))


class Erlang(FramedServes, FramedCalls, EndsTest):
    language = "erlang"


class Twisted(FramedServes, FramedCalls, EndsTest):
    language = "twisted"


if __name__ == "__main__":
    unittest.main()
