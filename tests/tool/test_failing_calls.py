"""Every call of the system that the tool makes fails once, the first times it is made: the tool ends with a line and a code, or goes
on, and never hangs or says what is not so. One that was only interrupted changes nothing.
"""

import errno
import os
import shlex
import signal
import subprocess
import tempfile
import unittest

from test_keygen import PUBLIC_LINE, SODIUM, decoded, public_of
from test_keys import KeysTest
from toolkit import PATIENCE_S, Process, READY, frame

HERE = os.path.dirname(os.path.abspath(__file__))
TIMES = 3  # of each call, the first so many fail, one in a run
# What each can fail with, so that every class is met; EINTR is tried with all of INTERRUPTED.
FAILURES = {
    "accept4": ("EMFILE", "ECONNABORTED"), "access": ("EACCES",), "bind": ("EADDRNOTAVAIL",), "close": ("EIO",),
    "connect": ("ECONNREFUSED",), "dup2": ("EMFILE",), "epoll_create1": ("EMFILE",), "epoll_ctl": ("ENOMEM",),
    "epoll_wait": ("EFAULT",), "fchmod": ("EPERM",), "fcntl": ("EINVAL",), "flock": ("ENOLCK", "EIO"), "fork": ("EAGAIN", "ENOMEM"), "fstat": ("EIO",), "fsync": ("EIO",),
    "ftruncate": ("EIO",), "getaddrinfo": ("EIO",), "getentropy": ("EIO",), "getpeername": ("ENOTCONN",), "getrlimit": ("EPERM",),
    "getsockname": ("ENOBUFS",), "getsockopt": ("ENOBUFS",), "listen": ("EADDRINUSE",), "open": ("EMFILE",),
    "pipe": ("EMFILE", "ENFILE", "ENOMEM"), "pipe2": ("EMFILE",), "poll": ("ENOMEM",), "pthread_create": ("EAGAIN",),
    "pthread_mutex_init": ("ENOMEM",), "read": ("EIO",), "recv": ("ECONNRESET",), "send": ("ENOBUFS",), "sendmsg": ("EPIPE", "ENOBUFS"),
    "setrlimit": ("EPERM",), "shutdown": ("ENOTCONN",), "socket": ("EMFILE", "EAFNOSUPPORT"), "waitid": ("EINVAL",),
    "write": ("ENOSPC", "EPIPE"),
}
INTERRUPTED = ("accept4", "connect", "epoll_wait", "close", "poll", "read", "recv", "send", "sendmsg", "waitpid", "write", "nanosleep")


class FailingCalls(KeysTest):
    @classmethod
    def setUpClass(cls):
        cls.built = tempfile.TemporaryDirectory()
        cls.preload = os.path.join(cls.built.name, "failing_calls.so")
        subprocess.run([*shlex.split(os.environ.get("CC", "cc")), "-std=gnu11", "-O1", "-fPIC", "-shared", "-fno-builtin", "-o",
                        cls.preload, os.path.join(HERE, "failing_calls.c")], check=True, timeout=PATIENCE_S)

    @classmethod
    def tearDownClass(cls):
        cls.built.cleanup()

    def each(self, least, run, without=()):
        """run(environment, whether all must be well) for every call and failure; at least so many were met."""
        reached = self.path("reached")
        met = 0
        tries = [(name, error) for name, errors in FAILURES.items() if name not in without for error in errors] + [(name, "EINTR") for name in INTERRUPTED]
        for name, error in tries:
            for n in range(1, TIMES + 1):
                environment = dict(os.environ, LD_PRELOAD=self.preload, FAIL_CALL=name, FAIL_AT=str(n), FAIL_REACHED=reached,
                                   FAIL_ERRNO=str(getattr(errno, error)))
                with self.subTest(call=name, error=error, n=n):
                    run(environment, error == "EINTR")
                if not os.path.exists(reached):
                    break
                os.unlink(reached)
                met += 1
        print(f"{met} calls failed", flush=True)
        self.assertGreaterEqual(met, least)

    def assert_ended_properly(self, code, stderr, codes):
        self.assertIn(code, codes, stderr)
        for line in stderr.splitlines():
            self.assertTrue(line.startswith("framed: "), stderr)
        if code != 0:
            self.assertNotEqual(stderr, "")

    def run_once(self, least, *args, stdin=b"", expected=None):
        def run(environment, well):
            done = self.run_tool(*args, stdin=stdin, env=environment)
            self.assert_ended_properly(done.returncode, done.stderr, (0,) if well else (0, 1, 3, 6, 7))
            gone = environment["FAIL_ERRNO"] == str(errno.EPIPE)  # who reads our output: that is no failure
            if done.returncode == 0 and not gone and expected is not None:
                self.assertEqual(done.stdout, expected)

        self.each(least, run)

    def run_server(self, least, args, reply, mine=()):
        def run(environment, well):
            server = Process(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
            try:
                server.wait_line("^framed: ")
                found = [m for m in map(READY.match, (line for line in server.lines if line)) if m]
                for _ in range(2 if found else 0):
                    done = self.run_tool("call", found[0].group(1), "-m", "x", "-t", "20s", *mine)
                    good = (done.returncode, done.stdout) == (0, reply)
                    bad = (1, 3, 5) if mine else (1, 3)  # a stream that was protected, or was to be, has no end but its own
                    self.assertTrue(good or not well and done.returncode in bad and done.stdout == b"", (done, server.stderr))
                if found:
                    server.signal(signal.SIGTERM)
                codes = (0,) if well else (0, 3, 6, 7)
                if environment["FAIL_CALL"] == "write":
                    codes += (128 + signal.SIGTERM,)  # a write that was interrupted after the signal is not waited for again
                self.assert_ended_properly(server.wait(), server.stderr, codes)
            finally:
                server.close()

        self.each(least, run, without=("write",))  # what it says would be lost; pipes of its own do not fail

    def test_call(self):
        server = self.serve()
        self.run_once(20, "call", server.address, stdin=b"one\ntwo\n", expected=b"one\ntwo\n")

    def test_call_of_a_file(self):
        server = self.serve()
        path = self.path("message")
        with open(path, "wb") as file:
            file.write(b"x" * 100_000)
        self.run_once(20, "call", server.address, "-f", path, expected=b"x" * 100_000)

    def test_call_with_checksums_and_keys(self):
        for way, (options, mine) in self.few_ways():
            with self.subTest(way):
                server = self.serve(*options, address=self.local(way))
                self.run_once(20, "call", server.address, "-m", "one", "-m", "x" * 100_000, *mine, expected=b"one" + b"x" * 100_000)

    def test_ping(self):
        server = self.serve()
        self.run_once(20, "ping", server.address, "-c", "2", "-i", "0")

    def test_bench(self):
        server = self.serve()

        def run(environment, well):
            done = self.run_tool("bench", server.address, "-n", "20", "-c", "2", "-T", "2", "-t", "20s", env=environment)
            told = "" if b"  failed 0  " in done.stdout else done.stdout.decode()  # the report has what failed
            self.assert_ended_properly(done.returncode, done.stderr or ("framed: " + told.replace("\n", "\nframed: ") if done.returncode else ""), (0,) if well else (0, 1, 3, 6, 7))
            if done.returncode in (0, 1) and environment["FAIL_CALL"] != "write":
                self.assertIn(b"  ok 20  failed 0  " if done.returncode == 0 else b"  ok ", done.stdout)

        self.each(25, run)

    def test_inspect_of_a_file(self):
        path = self.path("frames")
        with open(path, "wb") as file:
            file.write(frame(b"x" * 100))
        self.run_once(5, "inspect", path)

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_keygen_makes_a_whole_file_or_none(self):
        path = self.path("key")

        def run(environment, well):
            done = self.run_tool("keygen", "-o", path, env=environment)
            self.assert_ended_properly(done.returncode, done.stderr, (0,) if well else (0, 6))
            self.assertTrue(done.returncode != 0 or os.path.exists(path))
            if not os.path.exists(path):
                self.assertEqual(done.stdout, b"")
                return
            with open(path, "rb") as file:
                key = file.read()
            os.unlink(path)
            self.assertRegex(key, rb"\Aframed-sec-1:[A-Za-z0-9_-]{43}\n\Z")
            if done.stdout or well:
                self.assertRegex(done.stdout, PUBLIC_LINE)
                self.assertEqual(decoded(done.stdout), public_of(decoded(key)))

        self.each(10, run)

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_pubkey(self):
        path = self.path("secret")
        self.assert_code(self.run_tool("keygen", "-o", path), 0)
        with open(path, "rb") as file:
            public = public_of(decoded(file.read()))
        printed = self.run_tool("pubkey", path).stdout
        self.assertEqual(decoded(printed), public)
        self.run_once(5, "pubkey", path, expected=printed)

    def test_serve(self):
        self.run_server(40, ("serve", "127.0.0.1:0", "--delay", "1ms"), b"x")

    def test_serve_with_checksums_and_keys(self):
        for way, (options, mine) in self.few_ways():
            with self.subTest(way):
                self.run_server(40, ("serve", "127.0.0.1:0", *options), b"x", mine=mine)

    def test_serve_on_a_unix_socket_waiting_with_poll(self):
        self.run_server(20, ("serve", "unix:" + self.path("socket"), "--wait", "poll"), b"x")

    def test_serve_exec(self):
        self.run_server(60, ("serve", "127.0.0.1:0", "--exec", "cat; echo y"), b"xy\n")

    def test_tap_with_a_record(self):
        server = self.serve()
        record = self.path("record")
        self.run_server(40, ("inspect", "--tap", "127.0.0.1:0=" + server.address, "--record", record), b"x")

    @unittest.skipUnless(SODIUM, "built without libsodium")
    def test_tap_of_a_server_with_keys(self):
        options, mine = self.ways()["pinned"]
        server = self.serve(*options, address=self.local("tapped"))
        self.run_server(40, ("inspect", "--tap", "127.0.0.1:0=" + server.address, *mine), b"x")


if __name__ == "__main__":
    unittest.main()
