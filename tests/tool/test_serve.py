"""`framed serve`: where it listens, what it answers, its limits, its signals, its help; and the tool's usage errors."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from toolkit import (FRAMED, PATIENCE_S, READY, ToolTest, frame, read_frame, read_to_end)

FOR_EVER = "1h"  # longer than any test: what is delayed this long does not come


def wait_until(what, holds):
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > limit:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.01)


def refused(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), PATIENCE_S).close()
    except OSError:
        return True
    return False


class Listening(ToolTest):
    def test_ready_line_names_the_real_port(self):
        server = self.serve()
        line = next(line for line in server.lines if READY.match(line))
        self.assertRegex(line, r"^framed: listening on 127\.0\.0\.1:[1-9][0-9]* \(plain or with checksums; max frame 16 MiB\)$")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")

    def test_ready_line_names_the_frame_limit(self):
        for given, said in (("64KiB", "64 KiB"), ("1000", "1000 bytes"), ("2147483647", "2147483647 bytes")):
            server = self.serve("--max-frame", given)
            self.assertEqual(READY.match(server.lines[0]).group(2), f"plain or with checksums; max frame {said}")

    def test_without_address_it_listens_on_loopback_4464(self):
        server = self.start("serve", stdin=subprocess.DEVNULL)
        server.wait_line(r"listening on 127\.0\.0\.1:4464 |cannot listen on 127\.0\.0\.1:4464")

    def test_several_addresses_have_a_line_each(self):
        with tempfile.TemporaryDirectory() as folder:
            server = self.serve("127.0.0.1:0", f"unix:{folder}/s")
            server.wait_line(READY.pattern, 3)
            found = [READY.match(line).group(1) for line in server.lines if READY.match(line)]
            self.assertEqual(len(set(found)), 3)
            for address in found:
                self.assertEqual(self.run_tool("call", address, "-m", address).stdout.decode(), address)

    def test_ipv6(self):
        server = self.serve(address="[::1]:0")
        self.assertRegex(server.address, r"^\[::1\]:[1-9][0-9]*$")
        self.assertEqual(self.run_tool("call", server.address, "-m", "six").stdout, b"six")

    def test_host_name(self):
        server = self.serve(address="localhost:0")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")

    def test_unix_socket_is_removed_at_the_end(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = self.serve(address=f"unix:{path}")
            self.assertEqual(server.address, f"unix:{path}")
            self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")
            self.drain(server)
            self.assertFalse(os.path.exists(path))

    def test_stale_unix_socket_is_replaced_and_a_live_one_is_not(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(path)
            server = self.serve(address=f"unix:{path}")
            self.assert_code(self.run_tool("serve", f"unix:{path}"), 3, "cannot listen on", path, "in use")
            self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")

    def test_listening_descriptor_is_taken_over(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fd = listener.fileno()
            server = self.serve(address=f"fd:{fd}", pass_fds=[fd])
            self.assertEqual(server.address, f"127.0.0.1:{listener.getsockname()[1]}")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")

    def test_descriptor_that_is_no_listening_socket_is_refused(self):
        self.assert_code(self.run_tool("serve", "fd:77"), 2, "fd:77", "not a listening socket")
        with open(os.devnull, "rb") as file:
            done = self.run_tool("serve", f"fd:{file.fileno()}", pass_fds=[file.fileno()])
            self.assert_code(done, 2, f"fd:{file.fileno()}", "not a listening socket")

    def test_port_in_use(self):
        server = self.serve()
        self.assert_code(self.run_tool("serve", server.address), 3, "cannot listen on", server.address, "in use")

    def test_second_address_in_use_means_no_server_at_all(self):
        server = self.serve()
        self.assert_code(self.run_tool("serve", "127.0.0.1:0", server.address), 3, server.address, "in use")

    def test_address_of_another_machine(self):
        self.assert_code(self.run_tool("serve", "192.0.2.1:7000"), 3, "cannot listen on 192.0.2.1:7000")

    def test_unknown_host(self):
        self.assert_code(self.run_tool("serve", "nowhere.invalid:7000"), 3, "nowhere.invalid:7000", "no such host")

    def test_what_is_no_address(self):
        for wrong in ("nonsense", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:65536", "::1:80", "unix:", "fd:x", ""):
            with self.subTest(wrong):
                self.assert_code(self.run_tool("serve", wrong), 2, "HOST:PORT")

    def test_both_ways_of_waiting_serve(self):
        for how in ("epoll", "poll"):
            server = self.serve("--wait", how)
            self.assertEqual(self.run_tool("call", server.address, "-m", how).stdout.decode(), how)
            self.drain(server)

    def test_workers_share_the_connections_and_drain_together(self):
        for action in (["--echo"], ["--delay", "1ms"]):
            server = self.serve("--workers", "3", *action)
            socks = [self.connect(server.address) for _ in range(6)]
            for sock in socks:
                sock.sendall(frame(b"x"))
            for sock in socks:
                self.assertEqual(read_frame(sock), b"x")
                sock.close()
            self.drain(server)


class Answering(ToolTest):
    def test_echo(self):
        server = self.serve("--echo")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"x")

    def test_canned_reply(self):
        server = self.serve("--reply", "it is \u20ac")
        done = self.run_tool("call", server.address, stdin=b"a\nb\n")
        self.assertEqual(done.stdout.decode(), "it is \u20ac\nit is \u20ac\n")

    def test_empty_canned_reply(self):
        server = self.serve("--reply", "")
        sock = self.connect(server.address)
        sock.sendall(frame(b"question"))
        self.assertEqual(read_frame(sock), b"")

    def test_discard_answers_nothing_and_reads_everything(self):
        server = self.serve("--discard", "--max-unsent", "1", "--max-calls", "1")
        sock = self.connect(server.address)
        sock.sendall(frame(b"x" * 100000) * 100)
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(read_to_end(sock), b"")

    def test_delayed_replies_come_no_earlier_and_in_order(self):
        server = self.serve("--delay", "200ms")
        sock = self.connect(server.address)
        begun = time.monotonic()
        for i in range(10):
            sock.sendall(frame(b"%d" % i))
        first = read_frame(sock)
        self.assertGreaterEqual(time.monotonic() - begun, 0.19)
        self.assertEqual([first] + [read_frame(sock) for _ in range(9)], [b"%d" % i for i in range(10)])

    def test_delayed_canned_reply(self):
        server = self.serve("--delay", "10ms", "--reply", "later")
        self.assertEqual(self.run_tool("call", server.address, "-m", "x").stdout, b"later")

    def test_server_goes_on_while_replies_are_delayed(self):
        server = self.serve("--delay", FOR_EVER)
        waiting = self.connect(server.address)
        waiting.sendall(frame(b"x"))
        other = self.connect(server.address)
        other.sendall(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(read_to_end(other), b"")  # it was looked at, and turned away

    def test_delayed_call_may_outlive_its_connection(self):
        server = self.serve("--delay", "50ms")
        for _ in range(20):
            sock = self.connect(server.address)
            sock.sendall(frame(b"x" * 1000) * 10)
            sock.close()
        self.assertEqual(self.run_tool("call", server.address, "-m", "still here").stdout, b"still here")
        self.drain(server)


class Limits(ToolTest):
    def test_frame_above_the_limit_is_refused_with_both_sizes(self):
        server = self.serve("--max-frame", "1000")
        sock = self.connect(server.address)
        sock.sendall(frame(b"a" * 1000) + (1001).to_bytes(4, "big"))
        self.assertEqual(read_frame(sock), b"a" * 1000)
        self.assertEqual(read_to_end(sock), b"")
        line = server.wait_line(r"1001").string
        self.assertIn("1000", line.replace("1001", ""))

    def test_other_protocols_are_named(self):
        server = self.serve()
        for opening, name in ((b"GET / HTTP/1.1\r\n\r\n", "HTTP"), (b"\x16\x03\x01\x02\x00", "TLS"), (b"SSH-2.0-x\r\n", "SSH")):
            sock = self.connect(server.address)
            sock.sendall(opening)
            self.assertEqual(read_to_end(sock), b"")
            server.wait_line(name)

    def test_connections_above_the_limit_wait(self):
        server = self.serve("--max-conns", "1")
        first = self.connect(server.address)
        first.sendall(frame(b"1"))
        self.assertEqual(read_frame(first), b"1")
        second = self.connect(server.address)
        second.sendall(frame(b"2"))
        second.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(PATIENCE_S)
        self.assertEqual(read_frame(second), b"2")

    def test_calls_above_the_limit_wait(self):
        server = self.serve("--max-calls", "2", "--delay", "20ms")
        sock = self.connect(server.address)
        sock.sendall(b"".join(frame(b"%d" % i) for i in range(7)))
        self.assertEqual([read_frame(sock) for _ in range(7)], [b"%d" % i for i in range(7)])

    def test_idle_connection_is_closed(self):
        server = self.serve("--idle-timeout", "50ms")
        self.assertEqual(read_to_end(self.connect(server.address)), b"")
        server.wait_line("idle")

    def test_cut_frame_is_not_waited_for_for_ever(self):
        server = self.serve("--frame-timeout", "50ms")
        sock = self.connect(server.address)
        sock.sendall(frame(b"hello")[:-1])
        self.assertEqual(read_to_end(sock), b"")
        server.wait_line("frame")

    def test_call_that_is_not_answered_in_time_ends_its_connection(self):
        server = self.serve("--call-timeout", "50ms", "--delay", FOR_EVER)
        sock = self.connect(server.address)
        sock.sendall(frame(b"hello"))
        self.assertEqual(read_to_end(sock), b"")

    def test_peer_that_takes_no_replies_is_ended(self):
        server = self.serve("--send-timeout", "100ms")
        sock = self.connect(server.address)
        sock.settimeout(PATIENCE_S)
        with self.assertRaises(OSError):  # it stops taking requests, then closes
            for _ in range(200):
                sock.sendall(frame(b"x" * (1 << 20)))
        server.wait_line("does not take")

    def test_soft_descriptor_limit_is_raised(self):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 4096))

        server = self.serve("--max-conns", "1000", preexec_fn=lower)
        with open(f"/proc/{server.process.pid}/limits", encoding="ascii") as file:
            soft = int(re.search(r"Max open files\s+(\d+)", file.read()).group(1))
        self.assertGreater(soft, 1000)
        self.assertLessEqual(soft, 4096)
        self.assertEqual(len(server.lines), 1)

    def test_what_the_hard_descriptor_limit_does_not_allow_is_said(self):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

        server = self.serve("--max-conns", "1k", preexec_fn=lower)
        allowed = int(re.search(r"limit of 64 open files allows (\d+) connections at once, not 1000", server.lines[0]).group(1))
        self.assertLess(allowed, 64)
        sockets = [self.connect(server.address) for _ in range(allowed)]
        for sock in sockets:  # all of them are served, which takes a descriptor each
            sock.sendall(frame(b"x"))
            self.assertEqual(read_frame(sock), b"x")
        extra = self.connect(server.address)
        extra.sendall(frame(b"y"))
        extra.settimeout(0.3)
        with self.assertRaises(TimeoutError):  # it waits although there are descriptors left: those are for the rest
            extra.recv(1)
        sockets[0].close()
        extra.settimeout(PATIENCE_S)
        self.assertEqual(read_frame(extra), b"y")

    def test_memory_limit_closes_whoever_would_exceed_it(self):
        server = self.serve("--max-memory", "1MiB", "--max-frame", "8MiB")
        small, large = self.connect(server.address), self.connect(server.address)
        with contextlib.suppress(ConnectionError):
            large.sendall(frame(bytes(4 << 20)))
        with contextlib.suppress(ConnectionError):
            self.assertEqual(read_to_end(large), b"")
        small.sendall(frame(b"x"))
        self.assertEqual(read_frame(small), b"x")
        server.wait_line("closed: .*memory")

    def test_congestion_control_that_there_is_not_is_said(self):
        for command in ("serve", "127.0.0.1:0"), ("call", "127.0.0.1:1", "-m", "x"), ("bench", "--self"):
            done = self.run_tool(*command, "--congestion", "cubix")
            self.assert_code(done, 7, "--congestion cubix: the system has none of that name, or does not permit it")

    @unittest.skipIf("qemu" in os.environ.get("RUNNER", ""), "the emulator takes the name for a number")
    def test_congestion_control_is_that_of_the_connection(self):
        server = self.serve("--congestion", "reno")
        done = self.run_tool("call", server.address, "--congestion", "reno", "-m", "x")
        self.assertEqual((done.returncode, done.stdout), (0, b"x"), done.stderr)

    def test_workers_take_descriptors_too(self):
        server = self.serve("--max-conns", "1k", "--workers", "40",
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300)))
        allowed = int(re.search(r"limit of 300 open files allows (\d+) connections at once, not 1000", server.lines[0]).group(1))
        self.assertGreater(allowed, 100)
        sockets = [self.connect(server.address) for _ in range(allowed)]
        for sock in sockets:
            sock.sendall(frame(b"x"))
            self.assertEqual(read_frame(sock), b"x")

    def test_too_low_a_descriptor_limit_is_an_error(self):
        done = self.run_tool("serve", "127.0.0.1:0",
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)))
        self.assert_code(done, 6, "limit of 20 open files")


class Signals(ToolTest):
    def test_either_signal_ends_an_idle_server_with_0(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            server = self.serve()
            sock = self.connect(server.address)
            sock.sendall(frame(b"x"))
            self.assertEqual(read_frame(sock), b"x")
            server.signal(number)
            self.assertEqual(read_to_end(sock), b"")
            sock.close()
            self.assertEqual(server.wait(), 0)

    def test_request_in_flight_gets_its_reply(self):
        server = self.serve("--delay", "300ms")
        sock = self.connect(server.address)
        sock.sendall(frame(b"one") + frame(b"two"))
        other = self.connect(server.address)
        other.sendall(b"GET ")
        self.assertEqual(read_to_end(other), b"")  # so one and two, which came before, are in flight
        server.signal(signal.SIGTERM)
        self.assertEqual(read_frame(sock), b"one")
        self.assertEqual(read_frame(sock), b"two")
        self.assertEqual(read_to_end(sock), b"")
        sock.close()
        self.assertEqual(server.wait(), 0)
        self.assertNotIn("--drain", server.stderr)

    def test_drain_deadline_closes_what_is_left_and_says_so(self):
        server = self.serve("--delay", FOR_EVER, "--drain", "100ms")
        sock = self.connect(server.address)
        sock.sendall(frame(b"x"))
        other = self.connect(server.address)
        other.sendall(b"GET ")
        self.assertEqual(read_to_end(other), b"")  # so x, which came before, is in flight
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        server.wait_line(r"still open after 100 ms \(--drain\) were closed")

    def test_second_signal_ends_it_at_once(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            server = self.serve("--delay", FOR_EVER, "--drain", FOR_EVER)
            sock = self.connect(server.address)
            sock.sendall(frame(b"x"))
            other = self.connect(server.address)
            other.sendall(b"GET ")
            self.assertEqual(read_to_end(other), b"")
            server.signal(signal.SIGTERM)
            wait_until("the server stops accepting", lambda: refused(server.address))
            self.assertIsNone(server.process.poll())
            server.signal(number)
            self.assertEqual(server.wait(), code)

    def test_signal_ignored_by_the_parent_drains_all_the_same(self):
        # a script's background jobs ignore SIGINT; `kill -INT` is meant nevertheless
        server = self.serve(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)


COMMANDS = ("serve", "call", "inspect", "ping", "bench", "keygen", "pubkey", "scan", "completion", "version")


class Usage(ToolTest):
    def help_of(self, *command):
        done = self.run_tool(*command, "--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.decode()

    def test_help_leads_with_examples(self):
        for command in ((), *((name,) for name in COMMANDS)):
            text = self.help_of(*command)
            self.assertLess(text.index("Examples:"), text.index("Usage:"))
            self.assertIn("Exit codes:", text)
            self.assertIn("  framed ", text[text.index("Examples:") : text.index("Usage:")])

    def test_short_help_is_the_same(self):
        for command in ((), *((name,) for name in COMMANDS)):
            self.assertEqual(self.run_tool(*command, "-h").stdout.decode(), self.help_of(*command))

    def test_overall_help_names_every_command(self):
        text = self.help_of()
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")

    def test_every_option_in_the_help_is_taken(self):
        for command, least in (("serve", 12), ("call", 12), ("inspect", 6), ("ping", 6)):
            found = re.findall(r"(?m)^  (?:-(\w), |    )--([a-z-]+)( [A-Z]+)?", self.help_of(command))
            self.assertGreater(len(found), least)
            for letter, name, value in found:
                for option in [f"--{name}"] + ([f"-{letter}"] if letter else []):
                    with self.subTest(option):
                        if value:  # without its value: known, but incomplete
                            self.assert_code(self.run_tool(command, option), 2, option, "missing")
                        else:  # known, so the next one is what is wrong
                            done = self.run_tool(command, option, "--bogus")
                            if name == "help":
                                self.assertEqual(done.returncode, 0)
                            else:
                                self.assert_code(done, 2, "--bogus")

    def test_nothing_is_promised_that_does_not_work_yet(self):
        self.assert_code(self.run_tool("serve", "--session"), 2, "--session", "no such option")
        self.assert_code(self.run_tool("serve", "--checksum", "md5"), 2, "--checksum md5", "allowed are crc32c")
        self.assert_code(self.run_tool("frobnicate"), 2, "frobnicate", "no such command", ", ".join(COMMANDS))

    def test_bad_values_name_option_value_and_what_is_allowed(self):
        cases = (
            (("--max-frame", "64K"), "--max-frame", "64K", "64KiB"),
            (("--max-frame", "3GiB"), "--max-frame", "3GiB", "1 to 2147483647 bytes"),
            (("--max-frame", "0"), "--max-frame", "1 to 2147483647 bytes"),
            (("--idle-timeout", "10parsecs"), "--idle-timeout", "10parsecs", "250ms"),
            (("--idle-timeout=0"), "--idle-timeout", "1ms to 1000h, or never"),
            (("--max-conns", "many"), "--max-conns", "many", "10k"),
            (("--wait", "select"), "--wait", "select", "epoll, poll"),
            (("--reply",), "--reply", "TEXT"),
            (("--echo=1",), "--echo", "no value"),
            (("--bogus",), "--bogus", "no such option", "framed serve --help"),
            (("-m", "x"), "-m", "no such option"),
            (("--echo", "--discard"), "--echo", "--discard", "exclude"),
            (("--discard", "--delay", "1s"), "--delay", "--discard"),
            (("--reply", "long", "--max-frame", "3"), "--reply", "4 bytes", "3"),
        )
        for args, *said in cases:
            with self.subTest(args):
                self.assert_code(self.run_tool("serve", *([args] if isinstance(args, str) else args)), 2, *said)

    def test_no_command_and_unknown_command(self):
        self.assert_code(self.run_tool(), 2, ", ".join(COMMANDS), "framed --help")
        self.assert_code(self.run_tool("srve"), 2, "srve", "did you mean serve")
        self.assert_code(self.run_tool("version", "x"), 2, "x", "too many")

    def test_what_is_said_is_one_line_and_tells_the_terminal_nothing(self):
        for args in (("serve", "--max-frame=a\nb\x1b[31mX"), ("se\x07rve\n",), ("call", "not\r\nan\x7faddress")):
            done = self.run_tool(*args)
            self.assertRegex(done.stderr, r"\Aframed: [^\x00-\x1f\x7f]+\n\Z")
            self.assertIn("?", done.stderr)

    def test_version(self):
        for args in (("version",), ("--version",)):
            done = self.run_tool(*args)
            self.assertRegex(done.stdout.decode(), r"^framed \d+\.\d+\.\d+\n$")
            self.assert_code(done, 0)

    def test_output_that_cannot_be_written_is_a_failure(self):
        for args in (("version",), ("--help",), ("serve", "--help")):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([FRAMED, *args], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE_S, check=False)
            self.assertEqual(done.returncode, 6)
            self.assertIn(b"cannot write to standard output", done.stderr)


if __name__ == "__main__":
    unittest.main()
