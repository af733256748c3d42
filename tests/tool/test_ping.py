#!/usr/bin/env python3
"""
Owns: `framed ping`: what it sends and when, its lines, its summary, its exit codes.
Must not know: how quick anything is.
Invariants: nothing is compared with a clock; what must not wait is made to wait for ever if it does.
"""

import json
import os
import re
import signal
import tempfile
import threading
import time
import unittest

from toolkit import ToolTest, closed_port, frame, read_frame

REPLY = re.compile(r"^reply from (\S+): seq (\d+)  (\d+) B  (\S+) (us|ms|s)$")
LOST = re.compile(r"^(no reply from|not sent to) (\S+): seq (\d+)  (.*)$")
SUMMARY = re.compile(r"^--- (\S+): (\d+) sent, (\d+) replied, (\d+) lost(.*?)(?:, \d+ sent late)?$")
KEYS = ["schema", "address", "len", "interval_ns", "sent", "replies", "lost", "not_sent", "pending", "late_sends",
        "interrupted", "end", "min_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"]


def echo(sock):
    while (payload := read_frame(sock)) is not None:
        sock.sendall(frame(payload))


def swallow(sock):
    while read_frame(sock) is not None:
        pass


def first_reply(process):
    """Waits for its line."""
    if not REPLY.match(process.read_line().decode().rstrip("\n")):
        raise AssertionError(process.stderr)


class Ping(ToolTest):
    def ping(self, talk, *options):
        peer = self.peer(talk)
        done = self.run_tool("ping", peer.address, *options)
        self.assertEqual(peer.failures, [])
        done.lines = done.stdout.decode().splitlines()
        return done

    def summary(self, talk, *options):
        done = self.ping(talk, "--json", *options)
        self.assertEqual(len(done.lines), 1, done)
        return done.returncode, json.loads(done.lines[0])

    def test_a_line_for_each_reply_and_a_summary(self):
        server = self.serve()
        done = self.run_tool("ping", server.address, "-c", "3", "-i", "0")
        self.assert_code(done, 0)
        lines = done.stdout.decode().splitlines()
        for seq, line in enumerate(lines[:3], 1):
            match = REPLY.match(line)
            self.assertTrue(match, line)
            self.assertEqual(match.groups()[:3], (server.address, str(seq), "4"))
        self.assertEqual(SUMMARY.match(lines[3]).groups(), (server.address, "3", "3", "0", ""))
        self.assertRegex(lines[4], r"^min \S+ \w+  mean \S+ \w+  p50 \S+ \w+  p90 -  p99 -  max \S+ \w+$")
        self.assertEqual(len(lines), 5)

    def test_it_sends_ping_or_what_it_is_told_even_nothing(self):
        for options, sent in ((), b"ping"), (("-m", "hello"), b"hello"), (("-m", ""), b""), (("-m", "a", "-m", "b"), b"b"):
            seen = []

            def note(sock, seen=seen):
                while (payload := read_frame(sock)) is not None:
                    seen.append(payload)
                    sock.sendall(frame(payload))

            self.assertEqual(self.ping(note, "-c", "2", "-i", "0", *options).returncode, 0)
            self.assertEqual(seen, [sent, sent])

    def test_any_reply_will_do(self):
        def other(sock):
            for size in (0, 1000, 7):
                read_frame(sock)
                sock.sendall(frame(bytes(size)))
            sock.recv(1)

        done = self.ping(other, "-c", "3", "-i", "0")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual([REPLY.match(line).group(3) for line in done.lines[:3]], ["0", "1000", "7"])

    def test_a_missing_reply_does_not_delay_the_next_message(self):
        def all_at_the_end(sock):
            requests = [read_frame(sock) for _ in range(5)]  # would wait for ever
            for request in requests:
                sock.sendall(frame(request))
            sock.recv(1)

        done = self.ping(all_at_the_end, "-c", "5", "-i", "1ms", "-t", "never")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual([REPLY.match(line).group(2) for line in done.lines[:5]], list("12345"))

    def test_without_an_interval_the_next_goes_when_the_reply_is_there(self):
        def one_at_a_time(sock):
            for _ in range(50):
                got = sock.recv(65536)
                if got != frame(b"ping"):
                    raise AssertionError(got)
                sock.sendall(got)
            sock.recv(1)

        self.assertEqual(self.ping(one_at_a_time, "-c", "50", "-i", "0").returncode, 0)

    def test_more_than_may_be_on_their_way_wait_their_turn(self):
        def late(sock):
            for count in (1024, 76):
                for _ in range(count):
                    read_frame(sock)
                sock.sendall(frame(b"") * count)
            sock.recv(1)

        code, said = self.summary(late, "-c", "1100", "-i", "1ms", "-t", "never")
        self.assertEqual((code, said["sent"], said["replies"], said["lost"]), (0, 1100, 1100, 0))

    def test_a_silent_peer_is_told_by_the_timeout(self):
        done = self.ping(swallow, "-c", "2", "-i", "0", "-t", "20ms")
        self.assertEqual(done.returncode, 4, done)
        self.assertEqual([LOST.match(line).groups()[2:] for line in done.lines[:2]],
                         [("1", "within 20 ms"), ("2", "within 20 ms")])
        self.assertEqual(SUMMARY.match(done.lines[2]).groups()[1:], ("2", "0", "2", ""))
        self.assertEqual(len([line for line in done.lines if line.startswith("min")]), 0)
        self.assertEqual(done.stderr, "")

    def test_what_no_longer_fits_is_not_sent_and_said_so(self):
        # 1024 may be on their way, and a late reply would still have to be counted off: they stay so for ever
        code, said = self.summary(swallow, "-c", "1030", "-i", "1ms", "-t", "20ms")
        self.assertEqual((code, said["sent"], said["replies"], said["lost"], said["not_sent"]), (4, 1024, 0, 1024, 6))
        self.assertIsNone(said["min_ns"])
        done = self.ping(swallow, "-c", "1026", "-i", "1ms", "-t", "20ms")
        self.assertEqual([LOST.match(line).groups()[::2] for line in done.lines[1024:1026]],
                         [("not sent to", "1025"), ("not sent to", "1026")])
        self.assertEqual(SUMMARY.match(done.lines[1026]).groups()[1:], ("1024", "0", "1024", ", 2 not sent"))

    def test_a_late_reply_is_not_taken_for_the_next_one(self):
        def late(sock):
            read_frame(sock)
            read_frame(sock)  # comes when the first has been given up
            sock.sendall(frame(b"to the first") + frame(b"2nd"))
            sock.recv(1)

        done = self.ping(late, "-c", "2", "-i", "0", "-t", "2s")
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(LOST.match(done.lines[0]).group(3), "1")
        self.assertEqual(REPLY.match(done.lines[1]).groups()[1:3], ("2", "3"))

    def test_a_server_that_goes_away(self):
        def one_reply(sock):
            sock.sendall(frame(read_frame(sock)))
            read_frame(sock)

        done = self.ping(one_reply, "-c", "2", "-i", "1ms", "-t", "never")
        self.assert_code(done, 1, "closed the connection")
        self.assertTrue(REPLY.match(done.lines[0]), done)
        self.assertEqual(LOST.match(done.lines[1]).groups()[2:], ("2", "the connection ended"))
        self.assertEqual(SUMMARY.match(done.lines[2]).groups()[1:], ("2", "1", "1", ""))

    def test_a_server_that_leaves_after_the_last_reply_has_done_its_work(self):
        def leave(sock):
            sock.sendall(frame(read_frame(sock)))

        code, said = self.summary(leave, "-c", "1")
        self.assertEqual((code, said["replies"], said["end"]), (0, 1, "OK"))

    def test_a_peer_that_breaks_the_protocol(self):
        def answer(data):
            def talk(sock):
                read_frame(sock)
                sock.sendall(data)
                sock.recv(1)
            return talk

        for data, end, said in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "TOO_LARGE", "HTTP"),
                                (frame(b"a") + frame(b"b"), "MALFORMED", "nobody asked")):
            done = self.ping(answer(data), "-c", "2", "-i", "1000h", "--json", "-t", "never")
            self.assert_code(done, 5, said)
            self.assertEqual(json.loads(done.lines[0])["end"], end)

        done = self.ping(answer(frame(b"a") + frame(b"b")), "-c", "1")  # also behind the last reply that counts
        self.assert_code(done, 5, "nobody asked")

        def cut(sock):
            read_frame(sock)
            sock.sendall(frame(b"hello")[:7])

        self.assert_code(self.ping(cut, "-c", "1"), 5, "inside a frame")

    def test_messages_that_were_due_while_it_was_stopped_are_made_up_for(self):
        started, enough, stopped = threading.Event(), threading.Event(), []

        def stop_it_once(sock):
            for _ in range(5):
                sock.sendall(frame(read_frame(sock)))
            started.wait(60)
            stopped[0].signal(signal.SIGSTOP)
            os.waitid(os.P_PID, stopped[0].process.pid, os.WSTOPPED | os.WNOWAIT)
            time.sleep(0.03)  # what is measured, not what is waited for: longer does no harm
            stopped[0].signal(signal.SIGCONT)
            for _ in range(100):
                sock.sendall(frame(read_frame(sock)))
            enough.set()
            echo(sock)

        process = self.start("ping", self.peer(stop_it_once).address, "-i", "1ms", "--json")
        stopped.append(process)
        started.set()
        self.assertTrue(enough.wait(60))
        process.signal(signal.SIGINT)
        _, out = process.finish()
        self.assertGreaterEqual(json.loads(out)["late_sends"], 20)

    def interrupted(self, talk, number, ready):
        peer = self.peer(talk)
        process = self.start("ping", peer.address, "-i", "1000h")
        ready(process)
        process.signal(number)
        code, out = process.finish()
        return code, out.decode().splitlines(), process.stderr

    def test_a_signal_ends_it_with_the_summary(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            code, lines, said = self.interrupted(echo, number, first_reply)
            self.assertEqual((code, said), (0, ""))
            self.assertEqual(SUMMARY.match(lines[0]).groups()[1:], ("1", "1", "0", ""))

    def test_a_signal_before_any_reply_leaves_messages_pending(self):
        came = threading.Event()

        def silent(sock):
            read_frame(sock)
            came.set()
            sock.recv(1)

        code, lines, said = self.interrupted(silent, signal.SIGINT, lambda _: came.wait(60))
        self.assertEqual((code, said), (4, ""))
        self.assertEqual(SUMMARY.match(lines[0]).groups()[1:], ("1", "0", "0", ", 1 pending"))

    def test_json_is_one_object_that_adds_up(self):
        peer = self.peer(echo)
        done = self.run_tool("ping", peer.address, "--json", "-c", "1000", "-i", "0", "-m", "\"\\\u00e9")
        self.assert_code(done, 0)
        self.assertEqual(done.stdout.count(b"\n"), 1)
        said = json.loads(done.stdout)
        self.assertEqual(list(said), KEYS)
        self.assertEqual({key: said[key] for key in KEYS[:12] if key != "late_sends"},
                         {"schema": "framed.ping/1", "address": peer.address, "len": 4, "interval_ns": 0, "sent": 1000,
                          "replies": 1000, "lost": 0, "not_sent": 0, "pending": 0, "interrupted": False, "end": "OK"})
        times = [said[key] for key in ("min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns")]
        self.assertEqual(times, sorted(times))
        self.assertTrue(0 < said["min_ns"] <= said["mean_ns"] <= said["max_ns"])

    def test_percentiles_with_a_thin_tail_are_not_told(self):
        for count, known in ((99, ["p50_ns"]), (100, ["p50_ns", "p90_ns"]), (999, ["p50_ns", "p90_ns"])):
            _, said = self.summary(echo, "-c", str(count), "-i", "0")
            self.assertEqual([key for key in ("p50_ns", "p90_ns", "p99_ns") if said[key] is not None], known, count)

    def test_addresses_are_quoted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'a"b\\c')
            self.serve(address="unix:" + path)
            done = self.run_tool("ping", "unix:" + path, "-c", "1", "--json")
        self.assertEqual(json.loads(done.stdout)["address"], "unix:" + path)

    def test_what_cannot_be_reached_or_sent(self):
        kept, nobody = closed_port()
        with kept:
            for options in ((), ("--json",)):
                done = self.run_tool("ping", nobody, *options)
                self.assert_code(done, 3, "refused")
                self.assertEqual(done.stdout, b"")
        self.assert_code(self.run_tool("ping", "nonsense"), 2, "nonsense", "not an address")
        self.assert_code(self.run_tool("ping", "unix:/nonexistent/socket"), 3, "/nonexistent/socket")
        self.assert_code(self.run_tool("ping", "-m", "hello", "--max-frame", "4"), 2, "5 bytes", "4")
        self.assert_code(self.run_tool("ping", "-c", "0"), 2, "-c", "1 to")
        self.assert_code(self.run_tool("ping", "a:1", "b:2"), 2, "b:2")

    def test_a_reply_above_the_limit_is_a_failure_of_the_peer(self):
        def long(sock):
            read_frame(sock)
            sock.sendall(frame(bytes(100)))
            sock.recv(1)

        self.assert_code(self.ping(long, "-c", "1", "--max-frame", "99"), 5, "100")

    def test_it_ends_when_nobody_reads_any_more(self):
        peer = self.peer(echo)
        for interval in ("1ms", "1000h"):
            process = self.start("ping", peer.address, "-i", interval)
            first_reply(process)
            process.process.stdout.close()
            self.assertEqual(process.wait(), 0)
        with open("/dev/full", "wb") as full:
            process = self.start("ping", peer.address, "-c", "1", stdout=full)
            self.assertEqual(process.wait(), 6)
        self.assertIn("standard output", process.stderr)


if __name__ == "__main__":
    unittest.main()
