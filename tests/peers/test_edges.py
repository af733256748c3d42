"""What foreign ends do where the rules end, and framed then: what the tables in docs/erlang.md and docs/twisted.md say."""

import struct
import unittest

from ends import EndsTest
from toolkit import frame, read_frame, read_to_end

EXACTLY, ABOVE = b"x" * 1000, b"y" * 1001


def word(n):
    return struct.pack(">I", n)


class Edges:
    """For every language; each says in `words` how it tells of things."""

    words = None

    def told(self, stream, limit=1000):
        """What a foreign client is told when it is sent this, then the end."""

        def talk(sock):
            sock.sendall(stream)
            sock.shutdown(1)
            read_to_end(sock)

        _, lines = self.foreign("hear", self.port(self.peer(talk)), limit)
        return lines

    def test_empty_and_longest_frames_are_delivered(self):
        self.assertEqual(self.told(frame(b"") + frame(EXACTLY)), [self.words["empty"], self.words["1000"], *self.words["end"]])

    def test_a_length_above_its_limit(self):
        self.assertEqual(self.told(frame(b"") + word(1001)), [self.words["empty"], *self.words["too long"](1001)])

    def test_a_length_of_2_to_the_31_or_more(self):
        for n in (1 << 31, (1 << 32) - 1):
            self.assertEqual(self.told(word(n), limit=2**31 - 1), self.words["too long"](n))

    def test_a_cut_frame_looks_like_a_clean_end(self):
        for cut in (word(10) + b"abc", word(10), b"\0\0", b""):
            self.assertEqual(self.told(frame(b"") + cut), [self.words["empty"], *self.words["end"]])

    # framed and a peer with a smaller limit

    def test_framed_calls_up_to_the_limit_of_the_peer(self):
        server = self.foreign_server("limit", 1000)
        self.assertEqual(self.call(server.address, [EXACTLY, b""]), (0, [EXACTLY, b""], ""))

    def test_framed_calls_above_the_limit_of_the_peer(self):
        server = self.foreign_server("limit", 1000)
        sent = frame(b"a") + frame(ABOVE)
        done = self.run_tool("call", server.address, "--framed", "--pipeline", "1", "-o", "framed", stdin=sent)
        self.assert_code(done, 1, server.address, "1 of 2 messages unanswered (may have been executed)")
        self.assertEqual(done.stdout, frame(b"a"))

    def test_framed_serves_a_peer_whose_limit_the_reply_exceeds(self):
        server = self.serve()
        code, lines = self.foreign("ask", self.port(server), 1000, 10, 1000, 1001)
        self.assertEqual((code, lines), (0, self.words["asked, reply too long"]))
        self.assertEqual(self.call(server.address, [ABOVE])[:2], (0, [ABOVE]))  # nobody else is disturbed
        self.drain(server)

    def test_framed_serves_a_peer_that_exceeds_its_limit(self):
        server = self.serve("--max-frame", "1000")
        code, lines = self.foreign("ask", self.port(server), 100000, 10, 1000, 1001)
        self.assertEqual((code, lines), (0, self.words["asked, request too long"]))
        server.wait_line("1001.*1000")
        self.drain(server)

    def test_a_frame_too_long_costs_no_earlier_reply(self):
        """More than fits into the buffers of the system: what nobody wants must be read, or a reset takes the replies along."""
        server = self.serve("--max-frame", "10000")
        code, lines = self.foreign("overstep", self.port(server), 60, 10000, 8 << 20)
        self.assertEqual((code, lines), (0, ["60 replies, then " + self.words["clean end"]]))
        self.drain(server)


class Erlang(Edges, EndsTest):
    language = "erlang"
    words = {
        "clean end": "{error,closed}",
        "empty": "{ok,<<>>}",
        "1000": "{ok,1000}",
        "end": ["{error,closed}", "then {error,enotconn}"],
        "too long": lambda n: ["{error,emsgsize}", "then {error,enotconn}"],
        "asked, reply too long": ['ok {ok,<<"xxxxxxxxxx">>}', "ok {ok,1000}", "ok {error,emsgsize}"],
        "asked, request too long": ['ok {ok,<<"xxxxxxxxxx">>}', "ok {ok,1000}", "ok {error,closed}"],
    }

    def test_active_sockets_are_told_in_messages(self):
        for stream, told in (
            (frame(b"a"), ["{tcp,<<\"a\">>}", "{tcp_closed}"]),
            (frame(b"a") + word(1001), ["{tcp,<<\"a\">>}", "{tcp_error,emsgsize}", "{tcp_closed}"]),
            (word(1 << 31), ["{tcp_error,emsgsize}", "{tcp_closed}"]),
            (word(10) + b"cut", ["{tcp_closed}"]),
        ):

            def talk(sock, stream=stream):
                sock.sendall(stream)
                sock.shutdown(1)
                read_to_end(sock)

            self.assertEqual(self.foreign("listen", self.port(self.peer(talk)), 1000)[1], told)

    def test_the_longest_length_it_believes_is_2147483643(self):
        for limit in (0, 2**31 - 1):  # 0: as if it were not set
            self.assertEqual(self.told(word(2147483644), limit), self.words["too long"](0))

    def test_a_timeout_loses_nothing(self):
        def talk(sock):
            sock.sendall(frame(b"late")[:5])
            assert read_frame(sock) == b"timed out"
            sock.sendall(frame(b"late")[5:])

        peer = self.peer(talk)
        self.assertEqual(self.foreign("impatient", self.port(peer))[1], ["{error,timeout}", '{ok,<<"late">>}'])


class Twisted(Edges, EndsTest):
    language = "twisted"
    words = {
        "clean end": "ConnectionDone",
        "empty": "received b''",
        "1000": "received 1000",
        "end": ["lost ConnectionDone"],
        "too long": lambda n: [f"lengthLimitExceeded {n}", "lost ConnectionDone"],
        "asked, reply too long": ["received b'xxxxxxxxxx'", "received 1000", "lengthLimitExceeded 1001", "lost ConnectionDone"],
        "asked, request too long": ["received b'xxxxxxxxxx'", "received 1000", "lost ConnectionDone"],
    }

    def test_without_max_length_99999_bytes_pass_and_100000_do_not(self):
        server = self.foreign_server("careless")
        longest = b"z" * 99999
        self.assertEqual(self.call(server.address, [longest]), (0, [longest], ""))
        code, replies, said = self.call(server.address, [longest + b"z"])
        self.assertEqual((code, replies), (1, []))
        self.assertIn("1 of 1 messages unanswered (may have been executed)", said)
        server.wait_line("lengthLimitExceeded 100000")


if __name__ == "__main__":
    unittest.main()
