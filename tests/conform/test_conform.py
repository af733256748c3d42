"""The rows and the runner themselves: what is wrong is seen to be wrong.

  test_conform.py                 the tests
  test_conform.py client FAULT    a client with one thing wrong with it, as subjects.OtherClient wants one
"""

import os
import re
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import others
import peer
import rows as conformance
import run
import subjects
from rows import RowError, ServerRow, frame
from ends import End
from toolkit import Peer, read_to_end

PEER = [sys.executable, os.path.join(conformance.ROOT, "tests", "peer.py")]
CLAUSES = ["§2.%d" % n for n in range(1, 10)] + ["§3.%d" % n for n in range(1, 8)] + ["§3.9"]  # §3.8, drain, takes a signal


def streams(row):
    return [stream.data for stream in (row.parts if isinstance(row, conformance.ClientRow) else [row.sent])]


class Rows(unittest.TestCase):
    def test_there_are_at_least_500_and_every_clause_has_some(self):
        both = conformance.read("server") + conformance.read("client")
        self.assertGreaterEqual(len(both), 500)
        self.assertEqual(sorted({row.clause for row in both}), sorted(CLAUSES))

    def test_no_two_rows_are_the_same(self):
        for role in conformance.FILES:
            seen = {}
            for row in conformance.read(role):
                told = str({**vars(row), "name": "", "clause": "", "file": "", "sent": "", "parts": "", "streams": streams(row)})
                self.assertFalse(told in seen, f"{row.name} and {seen.get(told)}")
                seen[told] = row.name

    def test_what_is_not_well_formed_is_refused(self):
        good = ["x", "§2.1", "any", "00000001 61", "same", "open"]
        ServerRow.parse("", good)
        for place, bad in ((2, "max_fram=1"), (3, "0000001 61"), (3, "6G"), (3, "61*0"), (3, "00000001 61 end"), (4, "sam"),
                           (5, "opens")):
            with self.assertRaises(RowError, msg=bad):
                ServerRow.parse("", good[:place] + [bad] + good[place + 1 :])

    def test_every_short_row_is_cut_at_every_place(self):
        for row in conformance.read("server"):
            size = len(row.sent.data)
            if 1 < size <= 60:
                self.assertEqual(len(list(conformance.ways(row.sent))), 1 + 1 + size - 1, row.name)
            for way, pieces in conformance.ways(row.sent):
                self.assertEqual(b"".join(pieces), row.sent.data, (row.name, way))
                self.assertTrue(all(pieces) or not row.sent.data, (row.name, way))

    def test_rows_named_in_the_page_exist(self):
        with open(others.PAGE, encoding="utf-8") as page:
            text = page.read().split("What it means")[1]
        names = {row.name for role in conformance.FILES for row in conformance.read(role)}
        named = re.findall("`([a-z0-9]+(?:_[a-z0-9]+)+)`", text)
        self.assertGreaterEqual(len(named), 4)
        self.assertEqual([name for name in named if name not in names], [])


class SecondImplementation(unittest.TestCase):
    def test_peer_py_passes_every_row_that_an_echo_can_be_asked(self):
        server = End([*PEER, "serve", "127.0.0.1:0"])
        self.addCleanup(server.close)
        address = server.wait_line("listening on ").removeprefix("listening on ")
        role = run.ServerRole(subjects.Target(address, "16777216"), conformance.read("server"), others.MOST_CUTS).run()
        self.assertGreater(len(role.rows), 450)
        self.assertEqual([row.name for row, _ in role.differing()], [])


def faulty_echo(fault):
    """An echo with one thing wrong with it."""

    def talk(sock):
        sock.settimeout(20)
        held, kept = b"", None
        while True:
            piece = sock.recv(65536)
            held = piece if fault == "forgets parts" else held + piece
            while len(held) >= 4:
                n = int.from_bytes(held[:4], "little" if fault == "swaps" else "big")
                if n > 99999:
                    return error(sock)
                if len(held) < 4 + n:
                    break
                payload, held = held[4 : 4 + n], held[4 + n :]
                if fault == "holds one back":
                    payload, kept = kept, payload
                if payload is not None and (payload or fault != "skips empty ones"):
                    sock.sendall(frame(payload[::-1] if fault == "alters" else payload))
            if not piece:
                if held and fault == "answers cut frames":
                    sock.sendall(frame(held[4:]))
                return None

    def error(sock):
        if fault == "resets":
            return
        if fault == "answers errors":
            sock.sendall(frame(b"error"))
        if fault != "ends late":
            sock.shutdown(socket.SHUT_WR)
        while fault != "does not wait" and sock.recv(65536):
            pass

    return talk


def assert_seen(test, fault, for_it, failed):
    """Who has no fault fails in nothing. Who has one may fail in more, where the machine is slow."""
    test.assertEqual(failed & for_it if fault else failed, for_it)


class Faults(unittest.TestCase):
    """Each fault is seen by the rows that are for it."""

    ROWS = ("two_frames", "size_0", "second_payload_cut_at_2_of_5", "error_then_a_legal_frame", "top_bit_behind_a_frame",
            "end_behind_two")
    SEEN = {
        None: set(),
        "swaps": set(ROWS),
        "alters": {"numbered_16"},
        "holds one back": {"two_frames", "size_0", "second_payload_cut_at_2_of_5", "top_bit_behind_a_frame", "end_behind_two"},
        "skips empty ones": {"size_0", "two_frames"},  # "open" asks with one
        "answers cut frames": {"second_payload_cut_at_2_of_5"},
        "answers errors": {"error_then_a_legal_frame", "top_bit_behind_a_frame"},
        "ends late": {"error_then_a_legal_frame", "top_bit_behind_a_frame"},
        "does not wait": {"error_then_a_legal_frame", "top_bit_behind_a_frame"},
        "resets": {"error_then_a_legal_frame", "top_bit_behind_a_frame"},
    }

    def failing(self, fault, names):
        peer = Peer(faulty_echo(fault))
        self.addCleanup(peer.close)
        every = conformance.read("server")
        target = subjects.Target(peer.address, None)
        target.patience = 2 if fault else 20
        role = run.ServerRole(target, [row for row in every if row.name in names]).run()
        self.assertEqual(len(role.rows), len(names))
        return role, {row.name for row, _ in role.differing()}

    def test_each_fault_of_a_server_is_seen(self):
        for fault, seen in self.SEEN.items():
            with self.subTest(fault):
                names = self.ROWS + (("numbered_16",) if fault in (None, "alters") else ())
                assert_seen(self, fault, seen, self.failing(fault, names)[1])

    def test_a_server_that_forgets_parts_is_seen_only_where_they_are_apart(self):
        """Not in every way: two pieces may arrive as one."""
        role, seen = self.failing("forgets parts", [f"size_{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16)])
        self.assertNotEqual(seen, set())
        self.assertNotIn("whole", {way for _, wrong in role.differing() for way in wrong})


def faulty_client(fault):
    for line in sys.stdin:
        threading.Thread(target=faulty_call, args=(fault, *line.split())).start()


def faulty_call(fault, name, port, limit, _, stays, *requests):
    with socket.create_connection(("127.0.0.1", int(port)), 20) as sock:
        for request in requests:
            sock.sendall(frame(b"" if request == "-" else bytes.fromhex(request)))
        if fault == "ends early":
            sock.shutdown(socket.SHUT_WR)
        said = hear(sock, peer.Decoder(int(limit) or 99999), len(requests), stays == "stays", fault)
        print(f"{name} {' '.join(said)}\n", end="", flush=True)


def hear(sock, decoder, count, stays, fault):
    came = []
    while len(came) < count or stays:
        data = sock.recv(65536)
        came += [payload.hex() or "-" for payload in decoder.feed(data)]
        if len(came) > count and fault != "takes all":
            break
        if not data or decoder.rejected:
            if fault == "takes parts" and not decoder.rejected:
                return [*came, "closed"]
            close(sock, fault)
            return [*came, decoder.end()]
    if fault == "swaps" and count > 1:
        came[:2] = came[1::-1]
    close(sock, fault)
    return [*came[:count], "malformed" if len(came) > count else "ok"]


def close(sock, fault):
    if fault == "does not wait":
        return
    if fault != "ends early":
        sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


class ClientFaults(unittest.TestCase):
    ROWS = ("two_replies", "second_reply_cut_at_2_of_5", "second_reply_to_one", "top_bit_then_replies")
    SEEN = {
        "": set(),
        "ends early": set(ROWS[:1]),
        "takes all": {"second_reply_to_one"},
        "takes parts": {"second_reply_cut_at_2_of_5"},
        "swaps": {"two_replies"},
        "does not wait": {"top_bit_then_replies", "second_reply_to_one"},
    }

    def test_each_fault_of_a_client_is_seen(self):
        for fault, seen in self.SEEN.items():
            with self.subTest(fault):
                client = subjects.OtherClient([sys.executable, "-B", os.path.abspath(__file__), "client", fault])
                client.patience = 2 if fault else 20
                self.addCleanup(client.close)
                rows = [row for row in conformance.read("client") if row.name in self.ROWS]
                assert_seen(self, fault, seen, {row.name for row, _ in run.ClientRole(client, rows).run().differing()})


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        faulty_client(sys.argv[2])
    else:
        unittest.main()
