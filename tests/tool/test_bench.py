#!/usr/bin/env python3
"""
Owns: `framed bench`: what it sends and when, what it counts, its report, its exit codes.
Must not know: how quick anything is.
Invariants: every request is told as answered, failed or pending; what must not wait is made to wait for ever if it does; times
are compared with each other only where a peer has made them differ by much.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree

from toolkit import FRAMED, PATIENCE_S, ROOT, ToolTest, closed_port, frame, read_frame

KINDS = ["connect", "timeout", "closed", "reset", "protocol", "mismatch", "not_sent", "unasked"]
TIMES = ["count", "min_ns", "mean_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns"]
KEYS = ["schema", "version", "address", "connections", "threads", "pipeline", "loop", "target_rate", "size_min", "size_max",
        "planned_ns", "planned_count", "warmup_ns", "verify", "interrupted", "elapsed_ns", "opened", "connected_ns", "sent", "ok", "pending", "failed",
        "failures", "rate", "bytes_payload", "warmup_ok", "late_sends", "late_sends_full", "late_replies", "reconnected",
        "generator_busy_percent", "generator_may_be_the_limit", "response", "service", "series"]


def echo(sock):
    while (payload := read_frame(sock)) is not None:
        sock.sendall(frame(payload))


def swallow(sock):
    while read_frame(sock) is not None:
        pass


def until_gone(sock):
    """Reads what comes; a reset, too, is an end."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass


class Case(ToolTest):
    def bench(self, talk, *options):
        peer = self.peer(talk)
        done = self.run_tool("bench", peer.address, *options)
        self.assertEqual(peer.failures, [])
        return done

    def said(self, done):
        """The JSON, whose counts must add up."""
        said = json.loads(done.stdout)
        failures = said["failures"]
        self.assertEqual(said["failed"], sum(failures.values()))
        of_requests = sum(failures[kind] for kind in ("timeout", "closed", "reset", "protocol", "mismatch"))
        self.assertEqual(said["sent"], said["ok"] + of_requests + said["pending"])
        self.assertEqual(said["response"]["count"], said["ok"])
        self.assertEqual(sum(said["series"]["ok"]), said["ok"])
        return said

    def summary(self, talk, *options):
        done = self.bench(talk, "--json", *options)
        self.assertEqual(done.stderr, "")
        return done.returncode, self.said(done)

    def failures(self, talk, *options):
        """(code, replies, {kind: count} of what failed)"""
        code, said = self.summary(talk, *options)
        return code, said["ok"], {kind: n for kind, n in said["failures"].items() if n > 0}


class Load(Case):
    def test_it_sends_as_many_as_it_is_told_and_no_more(self):
        for options in ((), ("-c", "3"), ("-c", "4", "-T", "3", "--pipeline", "5"), ("-R", "50k/s"), ("-R", "50k/s", "-c", "3", "-T", "2")):
            lock, seen = threading.Lock(), []

            def count(sock, lock=lock, seen=seen):
                while (payload := read_frame(sock)) is not None:
                    with lock:
                        seen.append(payload)
                    sock.sendall(frame(payload))

            code, said = self.summary(count, "-n", "101", "--verify", *options)
            self.assertEqual((code, said["ok"], said["failed"], len(seen)), (0, 101, 0, 101))
            self.assertEqual(len(set(seen)), 101)  # no two alike
            self.assertEqual({len(payload) for payload in seen}, {64})

    def test_it_opens_as_many_connections_as_it_is_told_before_it_begins(self):
        barrier = threading.Barrier(7)  # would wait for ever

        def all_there(sock):
            barrier.wait(PATIENCE_S)
            echo(sock)

        code, said = self.summary(all_there, "-c", "7", "-T", "2", "-n", "20", "-t", "never")
        self.assertEqual((code, said["ok"], said["connections"], said["threads"]), (0, 20, 7, 2))

    def test_so_many_requests_are_under_way_and_no_more(self):
        def five_at_a_time(sock):
            sock.settimeout(PATIENCE_S)
            for _ in range(4):
                got = [read_frame(sock) for _ in range(5)]  # would wait for ever
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    raise AssertionError(f"one more than five: {sock.recv(1)!r}")
                sock.settimeout(PATIENCE_S)
                sock.sendall(b"".join(map(frame, got)))
            until_gone(sock)

        code, said = self.summary(five_at_a_time, "--pipeline", "5", "-n", "20", "-t", "never")
        self.assertEqual((code, said["ok"]), (0, 20))

    def test_sizes_with_checksums(self):
        server = self.serve("--checksum", "crc32c")
        for size in ("0", "10215", "10216", "10217", "10220", "10240", "12KiB", "16KiB", "16385", "1KiB-17KiB"):
            for more in (("-c", "1"), ("-c", "2", "--threads", "2"), ("-c", "1", "--pipeline", "8")):
                done = self.run_tool("bench", server.address, "--checksum", "crc32c", "--size", size, "-n", "40", "--verify", "--json", *more)
                self.assertEqual((done.returncode, json.loads(done.stdout)["ok"]), (0, 40), (size, more, done.stderr))

    def test_sizes(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"GET /a\r\n")
            file.flush()
            for size, least, most in (("0", 0, 0), ("1", 1, 1), ("7", 7, 7), ("8", 8, 8), ("9", 9, 9), ("3-30", 3, 30), ("16KiB", 16384, 16384),
                                      ("16385", 16385, 16385), ("100kB-200kB", 100000, 200000), ("@" + file.name, 8, 8)):
                seen = []

                def note(sock, seen=seen):
                    while (payload := read_frame(sock)) is not None:
                        seen.append(payload)
                        sock.sendall(frame(payload))

                code, said = self.summary(note, "-n", "60", "--pipeline", "4", "--size", size, "--verify")
                self.assertEqual((code, said["ok"], said["size_min"], said["size_max"]), (0, 60, least, most), size)
                self.assertEqual(said["bytes_payload"], sum(map(len, seen)))
                self.assertTrue(all(least <= len(payload) <= most for payload in seen), size)
                self.assertEqual(len({len(payload) for payload in seen}) > 1, least < most, size)
                if size.startswith("@"):
                    self.assertEqual(set(seen), {b"GET /a\r\n"})

    def test_what_a_socket_does_not_take_at_once_is_sent_as_it_was(self):
        barrier = threading.Barrier(3)

        def slow_echo(sock):
            first = read_frame(sock)
            barrier.wait(PATIENCE_S)  # by now each connection has sent what it could
            sock.sendall(frame(first))
            echo(sock)

        for size in ("16KiB", "20000"):  # in batches, and each by itself
            code, said = self.summary(slow_echo, "-c", "3", "--pipeline", "500", "-n", "1500", "--size", size, "--verify")
            self.assertEqual((code, said["ok"], said["failed"]), (0, 1500, 0))

    def test_the_open_loop_does_not_wait_for_replies(self):
        def all_at_the_end(sock):
            got = [read_frame(sock) for _ in range(50)]  # would wait for ever
            sock.sendall(b"".join(map(frame, got)))
            until_gone(sock)

        code, said = self.summary(all_at_the_end, "-R", "5k", "-n", "50", "-t", "never", "--verify")
        self.assertEqual((code, said["ok"], said["loop"], said["target_rate"]), (0, 50, "open", 5000))

    def test_a_stall_is_seen_by_every_request_that_was_due_in_it(self):
        stall = threading.Event()  # which nobody sets

        def stall_once(sock):
            for n in range(400):
                payload = read_frame(sock)
                if n == 5:
                    stall.wait(0.4)
                sock.sendall(frame(payload))
            until_gone(sock)

        code, said = self.summary(stall_once, "-R", "1k", "-n", "400", "--pipeline", "1")
        self.assertEqual((code, said["ok"], said["service"]["count"]), (0, 400, 400))
        # All but a few of the 395 behind it waited; on its own connection each was quick once it left.
        self.assertGreater(said["response"]["p50_ns"], 2 * said["service"]["p50_ns"])
        self.assertGreaterEqual(said["service"]["max_ns"], 400_000_000)
        self.assertGreater(said["late_sends_full"], 100)

    def test_a_duration_is_kept(self):
        for options in ((), ("-R", "100")):
            code, said = self.summary(echo, "-d", "300ms", *options)
            self.assertEqual(code, 0)
            self.assertGreaterEqual(said["elapsed_ns"], 300_000_000)
            self.assertEqual((said["planned_ns"], said["planned_count"]), (300_000_000, None))
        self.assertEqual(said["ok"], 30)  # of the schedule, however late

    def test_the_warm_up_is_not_counted(self):
        code, said = self.summary(echo, "--warmup", "200ms", "-n", "5")
        self.assertEqual((code, said["ok"], said["failed"]), (0, 5, 0))
        self.assertGreater(said["warmup_ok"], 0)
        code, said = self.summary(echo, "--warmup", "200ms", "-n", "5", "-R", "100")
        self.assertEqual((code, said["ok"], said["warmup_ok"]), (0, 5, 20))

    def test_a_server_of_its_own(self):
        done = self.run_tool("bench", "--self", "-n", "500", "-c", "8", "-T", "2", "--pipeline", "4", "--verify", "--json")
        self.assert_code(done, 0)
        self.assertEqual(self.said(done)["ok"], 500)

    def test_unix_sockets_and_descriptors(self):
        with tempfile.TemporaryDirectory() as folder:
            path = "unix:" + os.path.join(folder, 'a"b')
            self.serve(address=path)
            done = self.run_tool("bench", path, "-n", "10", "-c", "2", "--json")
            self.assert_code(done, 0)
            self.assertEqual(self.said(done)["address"], path)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            server = threading.Thread(target=echo, args=(ours,), daemon=True)
            server.start()
            done = self.run_tool("bench", f"fd:{theirs.fileno()}", "-n", "10", "--json", pass_fds=[theirs.fileno()])
            theirs.close()
            server.join(PATIENCE_S)
        self.assert_code(done, 0)
        self.assertEqual(self.said(done)["ok"], 10)

    def test_a_descriptor_that_ends_is_not_replaced(self):
        for options in ((), ("-R", "1k")):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.shutdown(socket.SHUT_WR)
                done = self.run_tool("bench", f"fd:{theirs.fileno()}", "-n", "10", "--json", *options, pass_fds=[theirs.fileno()])
            self.assert_code(done, 1)
            self.assertEqual(self.said(done)["ok"] + self.said(done)["failed"] - self.said(done)["failures"]["connect"], 10)


    def test_a_descriptor_that_does_not_open_is_given_up(self):
        for says_nothing, code in ((False, 5), (True, 4)):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                if not says_nothing:
                    ours.shutdown(socket.SHUT_WR)
                done = self.run_tool("bench", f"fd:{theirs.fileno()}", "-n", "10", "--checksum", "crc32c", "--timeout", "200ms", pass_fds=[theirs.fileno()])
            self.assert_code(done, code, "cannot connect to fd:")


class Failures(Case):
    def test_a_wrong_reply_is_a_mismatch_if_replies_are_compared(self):
        def wrong(payload):
            return {"changed at the end": payload[:-1] + bytes([payload[-1] ^ 1]), "changed at the front": bytes([payload[0] ^ 1]) + payload[1:],
                    "short": payload[:-1], "long": payload + b"x", "empty": b"", "the one before": b"\0" * 8 + payload[8:]}

        for kind in wrong(b"x" * 8):
            for size in ("64", "100kB"):

                def answer(sock, kind=kind):
                    for n in range(3):
                        payload = read_frame(sock)
                        sock.sendall(frame(wrong(payload)[kind] if n == 1 else payload))
                    until_gone(sock)

                with self.subTest(kind=kind, size=size):
                    self.assertEqual(self.failures(answer, "-n", "3", "--verify", "--size", size), (1, 2, {"mismatch": 1}))
                    self.assertEqual(self.failures(answer, "-n", "3", "--size", size), (0, 3, {}))

    def test_replies_to_one_another_are_mismatches(self):
        def swapped(sock):
            one, two = read_frame(sock), read_frame(sock)
            sock.sendall(frame(two) + frame(one))
            until_gone(sock)

        self.assertEqual(self.failures(swapped, "-n", "2", "--pipeline", "2", "--verify"), (1, 0, {"mismatch": 2}))

    def test_a_silent_server_times_out_and_its_connections_are_replaced(self):
        code, said = self.summary(swallow, "-n", "7", "-c", "2", "-t", "50ms")
        self.assertEqual((code, said["ok"], said["failures"]["timeout"], said["failed"]), (1, 0, 7, 7))
        self.assertGreater(said["reconnected"], 0)
        self.assertEqual(self.failures(swallow, "-n", "9", "--pipeline", "9", "-t", "50ms"), (1, 0, {"timeout": 9}))

    def test_a_late_reply_is_a_timeout_and_is_taken_for_no_other(self):
        def late(sock):
            got, first = [read_frame(sock)], time.monotonic()
            while time.monotonic() < first + 0.5 and (payload := read_frame(sock)) is not None:
                got.append(payload)
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"".join(map(frame, got)))
                echo(sock)

        code, said = self.summary(late, "-R", "50", "-n", "40", "-t", "200ms", "--verify")
        self.assertEqual((code, said["failures"]["mismatch"]), (1, 0))
        self.assertGreater(said["failures"]["timeout"], 0)
        self.assertGreater(said["late_replies"], 0)
        self.assertEqual(said["ok"] + said["failed"], 40)

    def test_a_reply_that_is_seen_too_late_is_a_timeout(self):
        asked, frozen = threading.Event(), threading.Event()

        def answer(sock):
            payload, since = read_frame(sock), time.monotonic()
            asked.set()
            frozen.wait(PATIENCE_S)
            with contextlib.suppress(ConnectionError):
                sock.sendall(frame(payload))
            threading.Event().wait(max(0, since + 0.3 - time.monotonic()))
            process.signal(signal.SIGCONT)
            until_gone(sock)

        process = self.start("bench", self.peer(answer).address, "-n", "1", "-t", "200ms", "--json")
        self.assertTrue(asked.wait(PATIENCE_S))
        process.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.process.pid, os.WSTOPPED | os.WNOWAIT)
        frozen.set()
        code, out = process.finish()
        said = json.loads(out)
        self.assertEqual((code, said["ok"], said["failures"]["timeout"]), (1, 0, 1))

    def test_a_server_that_closes(self):
        def close_at_once(sock):
            pass

        def close_after_three(sock):
            for _ in range(3):
                if (payload := read_frame(sock)) is None:
                    return
                sock.sendall(frame(payload))

        def close_instead(sock):
            read_frame(sock)

        def close_on_four(sock):
            for _ in range(4):
                read_frame(sock)

        self.assertEqual(self.failures(close_instead, "-n", "5"), (1, 0, {"closed": 5}))
        self.assertEqual(self.failures(close_on_four, "-n", "8", "--pipeline", "4"), (1, 0, {"closed": 8}))
        code, said = self.summary(close_after_three, "-n", "10", "--pipeline", "1")
        self.assertEqual(said["ok"] + said["failed"], 10)
        self.assertLessEqual(set(k for k, n in said["failures"].items() if n), {"closed", "reset"})
        self.assertGreaterEqual(said["reconnected"], 2)
        code, ok, kinds = self.failures(close_at_once, "-n", "5", "-c", "2")
        self.assertEqual((code, ok, sum(kinds.values())), (1, 0, 5))
        self.assertLessEqual(set(kinds), {"closed", "reset"})

    def test_a_server_that_resets(self):
        def reset(sock):
            read_frame(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        self.assertEqual(self.failures(reset, "-n", "3"), (1, 0, {"reset": 3}))

    def test_what_is_no_frame(self):
        answers = {"HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n", "half a word": b"\0\0", "half a frame": b"\0\0\0\x40abc", "too long": b"\0\0\1\0" + bytes(256)}
        for name, answer in answers.items():

            def say(sock, answer=answer):
                read_frame(sock)
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_WR)
                until_gone(sock)

            with self.subTest(answer=name):
                self.assertEqual(self.failures(say, "-n", "2", "--max-frame", "255"), (5, 0, {"protocol": 2}))

    def test_a_reply_that_nothing_asked_for(self):
        def twice(sock):
            sock.sendall(frame(read_frame(sock)) * 2)
            until_gone(sock)

        self.assertEqual(self.failures(twice, "-n", "3"), (5, 3, {"unasked": 3}))

    def test_a_server_that_does_not_read(self):
        stop = threading.Event()
        self.addCleanup(stop.set)

        def deaf(sock):
            stop.wait(PATIENCE_S)

        for options in ((), ("-R", "1k")):
            peer = self.peer(deaf)
            done = self.run_tool("bench", peer.address, "--size", "1MiB", "--pipeline", "16", "-n", "32", "-t", "200ms", "--json", *options)
            said = self.said(done)
            self.assertEqual((done.returncode, said["ok"], said["failed"]), (1, 0, 32))
            self.assertLessEqual(set(k for k, n in said["failures"].items() if n), {"timeout", "not_sent"})
        stop.set()

    def test_a_server_that_goes_for_good(self):
        for options in (("-n", "50"), ("-n", "50", "-R", "1k"), ("-d", "300ms"), ("-d", "300ms", "-R", "1k")):
            listener = socket.create_server(("127.0.0.1", 0))

            def once(listener=listener):
                sock, _ = listener.accept()
                listener.close()
                with sock:
                    sock.sendall(frame(read_frame(sock)))
                    read_frame(sock)

            server = threading.Thread(target=once, daemon=True)
            server.start()
            done = self.run_tool("bench", f"127.0.0.1:{listener.getsockname()[1]}", "-t", "150ms", "--json", *options)
            server.join(PATIENCE_S)
            said = self.said(done)
            self.assertEqual((done.returncode, done.stderr), (1, ""))
            self.assertGreater(said["failures"]["connect"], 0)
            requests = said["ok"] + said["failed"] - said["failures"]["connect"]
            if "-n" in options:
                self.assertEqual(requests, 50)
            elif "-R" in options:
                self.assertEqual(requests, 300)

    def test_nobody_there(self):
        kept, nobody = closed_port()
        with kept:
            for options in ((), ("--json",), ("-c", "300", "-T", "3"), ("-R", "100")):
                done = self.run_tool("bench", nobody, *options)
                self.assert_code(done, 3, "refused", nobody)
                self.assertEqual(done.stdout, b"")
        self.assert_code(self.run_tool("bench", "nonsense"), 2, "nonsense", "not an address")

    def test_nobody_there_by_a_path_or_descriptor(self):
        self.assert_code(self.run_tool("bench", "unix:/nonexistent/socket"), 3, "/nonexistent/socket")
        self.assert_code(self.run_tool("bench", "fd:99"), 2, "fd:99")


class Reports(Case):
    def test_the_fields_are_those_that_are_documented(self):
        with open(os.path.join(ROOT, "docs", "framed.1"), encoding="utf-8") as file:
            page = re.search(r"prints one object instead\.\n(.*?)\n\.Pp", file.read(), re.S).group(1)
        documented = [word for line in re.findall(r"^(?:\.It )?\.?Li (.*)$", page, re.M) for word in line.split() if word != ","]
        for options in (("-n", "10"), ("-n", "10", "-R", "1k", "-c", "2")):
            code, said = self.summary(echo, *options)
            self.assertEqual(list(said), KEYS)
            self.assertEqual(said["opened"], 2 if "-c" in options else 1)
            self.assertGreater(said["connected_ns"], 0)
            self.assertEqual(said["schema"], "framed.bench/1")
            self.assertEqual(list(said["failures"]), KINDS)
            self.assertEqual(list(said["response"]), TIMES)
            self.assertEqual(said["service"] and list(said["service"]), TIMES if "-R" in options else None)
            self.assertEqual(list(said["series"]), ["width_ns", "ok", "p99_ns"])
        self.assertLessEqual({*KEYS, *TIMES, "width_ns", "ok"}, set(documented))

    def test_percentiles_need_a_tail(self):
        for count, known in ((1, 1), (99, 1), (100, 2), (999, 2), (1000, 3)):
            _, said = self.summary(echo, "-n", str(count), "--pipeline", "16")
            self.assertEqual([said["response"][key] is not None for key in TIMES[3:8]], [n < known for n in range(5)], count)

    def test_the_table_and_the_picture(self):
        for language, bar in (("C.UTF-8", "\u2588"), ("C", "#")):
            peer = self.peer(echo)
            done = self.run_tool("bench", peer.address, "-n", "200", "-R", "10k", "--verify", env={**os.environ, "LC_ALL": language})
            self.assert_code(done, 0)
            text = done.stdout.decode()
            self.assertRegex(text, rf"^bench {re.escape(peer.address)}  1 connection  1 thread  64 B  open loop 10000/s  200 requests\n")
            self.assertRegex(text, r"\n +response +service   \(response: from the intended send; service: from the actual send\)\n")
            self.assertRegex(text, r"\n  p50 +\S+ [mu]?s +\S+ [mu]?s\n  p90 +\S+ [mu]?s +\S+ [mu]?s\n  p99 +-  +-\n")
            self.assertRegex(text, rf"\n  [0-9.]+-[0-9.]+ [mu]?s +{bar}+ +100\.0%\n|\n  [0-9.]+-[0-9.]+ [mu]?s +{bar}.* [0-9.]+%\n")
            self.assertIn("\n  sent 200  ok 200  failed 0  verified yes  achieved ", text)
            self.assertIn("\n  generator busy ", text)
            self.assertEqual("\u2588" in text, bar != "#")

    def ends_with_the_report_so_far(self, number):
        for options in (("-d", "1000h"), ("-n", "1M", "-R", "100")):
            answered = threading.Event()

            def some(sock, answered=answered):
                for _ in range(5):
                    sock.sendall(frame(read_frame(sock)))
                read_frame(sock)
                answered.set()
                until_gone(sock)

            peer = self.peer(some)
            process = self.start("bench", peer.address, "--json", *options)
            self.assertTrue(answered.wait(PATIENCE_S))
            process.signal(number)
            code, out = process.finish()
            self.assertEqual((code, process.stderr), (128 + number, ""))
            said = json.loads(out)
            self.assertEqual((said["interrupted"], said["ok"], said["failed"]), (True, 5, said["failures"]["not_sent"]))
            self.assertGreater(said["pending"], 0)
            self.assertEqual(said["sent"], 5 + said["pending"])

    def test_an_interrupt_ends_it_with_the_report_so_far(self):
        self.ends_with_the_report_so_far(signal.SIGINT)

    def test_termination_does_the_same(self):
        self.ends_with_the_report_so_far(signal.SIGTERM)

    def test_a_signal_before_it_is_connected_ends_it(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.addCleanup(listener.close)
        address = listener.getsockname()
        fillers = []
        for _ in range(8):  # until the queue of the listener is full, so that nobody is connected any more
            sock = socket.socket()
            sock.setblocking(False)
            self.addCleanup(sock.close)
            fillers.append(sock)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address)
        process = self.start("bench", f"127.0.0.1:{address[1]}", "-c", "64", "-n", "1M")
        while len(os.listdir(f"/proc/{process.process.pid}/fd")) < 40:  # it is connecting
            self.assertIsNone(process.process.poll(), process.stderr)
        process.signal(signal.SIGINT)
        code, out = process.finish()
        self.assertEqual((code, out), (130, b""), process.stderr)

    def test_percentiles_for_plotters(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.hgrm")
            self.assertEqual(self.bench(echo, "-n", "300", "--hdr", path).returncode, 0)
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        self.assertEqual(lines[:2], ["       Value     Percentile TotalCount 1/(1-Percentile)", ""])
        rows = [line.split() for line in lines[2:] if not line.startswith("#")]
        self.assertEqual((rows[0][1], rows[-1][1:]), ("0.000000000000", ["1.000000000000", "300"]))
        self.assertEqual([float(row[1]) for row in rows], sorted(float(row[1]) for row in rows))
        self.assertRegex(lines[-2], r"^#\[Max     = +\S+, Total count    = +300\]$")

    def test_a_drawing(self):
        with tempfile.TemporaryDirectory() as folder:
            path, before = os.path.join(folder, "x.svg"), os.path.join(folder, "before")
            with open(before, "wb") as file:
                file.write(self.bench(echo, "-n", "300", "--json").stdout)
            for options, lines in (((), ["latency"]), (("-R", "10k"), ["response", "service"]),
                                   (("--baseline", before), ["latency", "baseline"])):
                self.assertEqual(self.bench(echo, "-n", "300", "--plot", path, *options).returncode, 0)
                root = xml.etree.ElementTree.parse(path).getroot()
                self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg")
                texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
                self.assertTrue(texts[0].startswith("framed bench 127.0.0.1:"), texts)
                self.assertTrue(texts[1].startswith("ok 300, failed 0, "), texts)
                for name in (*lines, "p50", "p99", "max", "replies"):
                    self.assertIn(name, texts)

    def test_an_earlier_run_stands_beside_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "before")
            before = self.bench(echo, "-n", "300", "--json").stdout
            with open(path, "wb") as file:
                file.write(before)
            done = self.bench(echo, "-n", "300", "--baseline", path)
            self.assert_code(done, 0)
            text = done.stdout.decode()
            self.assertRegex(text, r"latency +baseline")
            self.assertRegex(text, r"\n  p50 +\S+ [mu]?s +\S+ [mu]?s\n")
            self.assertIn(f"(baseline {json.loads(before)['rate']}/s)", text)
            with open(path, "wb") as file:
                file.write(b"{}")
            self.assert_code(self.bench(echo, "--baseline", path), 6, path, "--json")
        self.assert_code(self.bench(echo, "--baseline", "/nonexistent/file"), 6, "/nonexistent/file")

    def test_limits(self):
        for limits, code, words in ((("p50>1000s", "failed>0", "rate<1"), 0, []), (("p50<1000s",), 99, ["p50<1000s", "it is "]),
                                    (("p50>1000s", "max<=1000s"), 99, ["max<=1000s"]), (("p99.99>1000s",), 99, ["too few replies"]),
                                    (("failed>=0%",), 99, ["failed>=0%", "0.0000%"])):
            done = self.bench(echo, "-n", "50", *[word for limit in limits for word in ("--fail-if", limit)])
            self.assert_code(done, code, *words)
            self.assertIn(b"sent 50  ok 50", done.stdout)
        self.assert_code(self.bench(swallow, "-n", "2", "-t", "50ms", "--fail-if", "failed>1"), 99, "it is 2")
        self.assert_code(self.bench(swallow, "-n", "2", "-t", "50ms", "--fail-if", "failed>2"), 1)

    def test_a_terminal_sees_how_far_it_is(self):
        main, side = os.openpty()
        self.addCleanup(os.close, main)
        seen = threading.Event()

        def slow(sock):
            sock.sendall(frame(read_frame(sock)))
            seen.wait(PATIENCE_S)
            echo(sock)

        peer = self.peer(slow)
        for term, drawn in (("xterm", True), ("dumb", False)):
            seen.clear()
            process = subprocess.Popen([FRAMED, "bench", peer.address, "-n", "2"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=side,
                                       env={**os.environ, "TERM": term})
            self.addCleanup(process.kill)
            text = b""
            while drawn and b"ok 1  failed 0" not in text:
                text += os.read(main, 4096)
            seen.set()
            self.assertIn(b"sent 2  ok 2", process.communicate(timeout=PATIENCE_S)[0])
            if drawn:
                self.assertRegex(text, rb"\r\d+ s  ok 1  failed 0 +\r")
        os.close(side)
        with contextlib.suppress(OSError):
            while piece := os.read(main, 4096):
                text += piece
        self.assertNotIn(b"framed:", text)


class Usage(Case):
    def test_what_cannot_be(self):
        for options, words in ((("--self", "a:1"), ["--self"]), (("-T", "2"), ["-T"]), (("-c", "3", "-T", "4"), ["-T"]),
                               (("-d", "1s", "-n", "5"), ["--duration", "--number"]), (("-c", "0"), ["-c", "1 to"]),
                               (("-R", "0"), ["-R", "1 to"]), (("-R", "fast"), ["-R", "10k/s"]), (("-n", "0"), ["-n"]), (("-d", "0"), ["-d"]),
                               (("--pipeline", "0"), ["--pipeline"]), (("--size", "x"), ["--size", "x"]), (("--size", "9-3"), ["--size"]),
                               (("--size", "-3"), ["--size"]), (("--size", "3-"), ["--size"]), (("--size", "3GiB"), ["--size"]),
                               (("--size", "17MiB"), ["--size", "--max-frame"]), (("--size", "1-200", "--max-frame", "100"), ["200", "100"]),
                               (("fd:3", "-c", "2"), ["-c"]), (("--fail-if", "p98>1s"), ["--fail-if", "p98>1s"]),
                               (("--fail-if", "p99=1s"), ["--fail-if"]), (("--fail-if", "late>5"), ["--fail-if"]),
                               (("--fail-if", "p99>1s") * 17, ["16"]), (("--baseline", "x", "--json"), ["--baseline"]),
                               (("a:1", "b:2"), ["b:2"])):
            with self.subTest(options=options):
                done = self.run_tool("bench", *options)
                self.assert_code(done, 2, *words)
                self.assertEqual(done.stdout, b"")

    def test_what_an_earlier_run_wrote_stays_when_nobody_is_there(self):
        keep, address = closed_port()
        with keep, tempfile.NamedTemporaryFile() as file:
            file.write(b"precious")
            file.flush()
            for option in ("--hdr", "--plot"):
                self.assert_code(self.run_tool("bench", address, option, file.name), 3, "refused")
                with open(file.name, "rb") as again:
                    self.assertEqual(again.read(), b"precious")

    def test_files_that_cannot_be_had(self):
        for option in ("--hdr", "--plot"):
            self.assert_code(self.bench(echo, option, "/nonexistent/x"), 6, "/nonexistent/x")
        self.assert_code(self.bench(echo, "--size", "@/nonexistent/x"), 6, "/nonexistent/x")
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(200))
            file.flush()
            self.assert_code(self.bench(echo, "--size", "@" + file.name, "--max-frame", "100"), 2, "200", "100")

    def test_output_that_cannot_be_written(self):
        peer = self.peer(echo)
        with open("/dev/full", "wb") as full:
            process = self.start("bench", peer.address, "-n", "1", stdout=full)
            self.assertEqual(process.wait(), 6)
        self.assertIn("standard output", process.stderr)
        for option in ("--hdr", "--plot"):
            self.assert_code(self.bench(echo, "-n", "5", option, "/dev/full"), 6, "/dev/full")


if __name__ == "__main__":
    unittest.main()
