"""The pages of docs/ hold: their commands print what they show, and their servers and clients bear more than the page asks."""

import os
import select
import shutil
import tempfile
import unittest

import pages
from ends import COMMANDS, SEED, End, EndsTest, payloads
from toolkit import frame, frames, read_to_end

SIX_MIB = 6 << 20
MAX_FRAME = 16 << 20


class Page:
    """A page with commands."""

    name = None
    scripts = ()  # further pages whose scripts are used

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = pages.read(self.name)
        for page in (self.name, *self.scripts):
            pages.write_files(pages.read(page), self.folder)

    def test_commands_print_what_the_page_shows(self):
        shell = pages.Shell(self.folder)
        self.addCleanup(shell.close)
        commands = pages.commands(self.text)
        self.assertGreaterEqual(len(commands), 4)
        for command, lines in commands:
            code, printed = shell.run(command, lines)
            self.assertEqual(pages.comparable(shell.as_in_page(printed)), pages.comparable("\n".join(lines)), command)
            self.assertEqual(code, 0, command)


class Recipe(Page):
    """A page with a server and a client."""

    server = client = None
    prefix = b""  # what its server puts before each request

    def script(self, name, *arguments, **more):
        end = End([COMMANDS[self.language][0], os.path.join(self.folder, name), *arguments], **more)
        self.addCleanup(end.process.kill)
        self.addCleanup(end.close)
        return end

    def recipe_server(self, **more):
        server = self.script(self.server, "0", **more)
        server.address = server.wait_line("listening on ").removeprefix("listening on ")
        self.addCleanup(server.process.kill)
        return server

    def answers(self, sent):
        return [self.prefix + payload for payload in sent]

    def test_its_server_answers_whatever_comes(self):
        server = self.recipe_server()
        sent = payloads(300, SEED, SIX_MIB)
        code, replies, said = self.call(server.address, sent)
        self.assertEqual((code, said), (0, ""), server.lines)
        self.assertTrue(replies == self.answers(sent))

    def test_its_server_answers_who_has_half_closed(self):
        sent = payloads(300, SEED, 100000)
        sock = self.connect(self.recipe_server().address)
        sock.setblocking(False)
        self.assertTrue(self.exchange(sock, b"".join(map(frame, sent))) == self.answers(sent))

    def test_its_server_stops_reading_from_who_takes_no_replies(self):
        sock = self.connect(self.recipe_server().address)
        sock.setblocking(False)
        request = frame(b"r" * 65536)
        written = 0
        while written < 200 << 20 and select.select([], [sock], [], 1)[1]:
            written += sock.send((request * 2)[written % len(request) :][: len(request)])
        self.assertLess(written, 200 << 20)
        replies = self.exchange(sock, request[written % len(request) :] if written % len(request) else b"")
        self.assertTrue(replies == self.answers([b"r" * 65536]) * -(-written // len(request)))

    def exchange(self, sock, data):
        """Writes, half-closes and reads at the same time: the replies."""
        came, data, finished = [], memoryview(data), False
        while True:
            if not data and not finished:
                sock.shutdown(1)
                finished = True
            readable, writable, _ = select.select([sock], [sock] if data else [], [], 60)
            self.assertTrue(readable or writable, "nothing moves")
            if writable:
                data = data[sock.send(data[: 1 << 20]) :]
            if readable:
                came.append(sock.recv(1 << 20))
                if not came[-1]:
                    return frames(b"".join(came))

    def test_its_server_takes_16_mib_and_no_more(self):
        server = self.recipe_server()
        longest = b"l" * MAX_FRAME
        more = ["--max-frame", "17MiB", "-o", "framed", "-t", "300s"]  # Twisted copies all of it for each piece that comes
        code, replies, said = self.call(server.address, [longest], *more)
        self.assertEqual((code, said), (0, ""))
        self.assertTrue(replies == self.answers([longest]))
        self.assertEqual(self.call(server.address, [longest + b"!"], *more)[:2], (1, []))
        self.assertEqual(self.call(server.address, [b"still there"])[:2], (0, self.answers([b"still there"])))

    def test_its_server_runs_in_the_background_of_a_terminal(self):
        """The system stops whoever reads from the terminal there: so nothing that is typed may be taken."""
        typed, keyboard = os.pipe()
        with open(typed, "rb") as stdin, open(keyboard, "wb", buffering=0) as out:
            out.write(b"typed")
            server = self.recipe_server(stdin=stdin)
            self.assertEqual(self.call(server.address, [b"a"])[:2], (0, self.answers([b"a"])))
            out.close()
            self.assertEqual(os.read(typed, 10), b"typed")

    def test_its_server_ends_a_connection_that_speaks_otherwise(self):
        sock = self.connect(self.recipe_server().address)
        sock.sendall(frame(b"a") + b"\xff\xff\xff\xff")
        self.assertEqual(frames(read_to_end(sock)), self.answers([b"a"]))

    def test_its_client_calls_many_at_once(self):
        server = self.serve()
        words = [f"message {n}" for n in range(500)]
        code, lines = self.script(self.client, self.port(server), *words).finish()
        self.assertEqual((code, lines), (0, [self.shown(word) for word in words]))
        self.drain(server)

    def test_its_client_fails_when_replies_are_missing(self):
        def talk(sock):
            sock.sendall(frame(b"one"))
            sock.shutdown(1)
            read_to_end(sock)

        code, lines = self.script(self.client, self.port(self.peer(talk)), "a", "b").finish()
        self.assertNotEqual(code, 0, lines)


class ErlangPage(Recipe, EndsTest):
    language, name, server, client, prefix = "erlang", "erlang.md", "server.escript", "client.escript", b"Erlang: "

    @staticmethod
    def shown(word):
        return f'<<"{word}">>'


class TwistedPage(Recipe, EndsTest):
    language, name, server, client, prefix = "twisted", "twisted.md", "server.py", "client.py", b"Twisted: "

    @staticmethod
    def shown(word):
        return f"b'{word}'"


class TourPage(Page, EndsTest):
    name, scripts = "tour.md", ["erlang.md"]


if __name__ == "__main__":
    unittest.main()
