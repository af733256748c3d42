"""Every allocation of the tool fails once, and from then on: it ends with a line and a code, or goes on, and never hangs."""

import os
import shlex
import signal
import subprocess
import tempfile
import unittest

from test_keys import KeysTest
from toolkit import FRAMED, PATIENCE_S, Process, READY, frame

HERE = os.path.dirname(os.path.abspath(__file__))
MOST = 2000  # allocations; a run that makes more is a defect


def sanitized():
    """A sanitizer brings an allocator of its own, which nothing can be preloaded before."""
    with open(FRAMED, "rb") as file:
        binary = file.read()
    return b"__asan_init" in binary or b"__tsan_init" in binary


@unittest.skipIf(sanitized(), "the build under test has the allocator of a sanitizer; the plain build runs this")
class NoMemory(KeysTest):
    def setUp(self):
        super().setUp()
        self.reached = self.path("reached")
        self.preload = self.path("failing_malloc.so")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run([*compiler, "-std=gnu11", "-O1", "-fPIC", "-shared", "-fno-builtin", "-o", self.preload,
                        os.path.join(HERE, "failing_malloc.c")], check=True, timeout=PATIENCE_S)

    def each(self, what, run):
        """run(environment) for n = 1, 2, ... until a run ends without reaching n, both ways of failing."""
        for mode in ("once", "onward"):
            for n in range(1, MOST):
                environment = dict(os.environ, LD_PRELOAD=self.preload, FAIL_AT=str(n), FAIL_REACHED=self.reached)
                if mode == "onward":
                    environment["FAIL_ONWARD"] = "1"
                with self.subTest(n=n, mode=mode):
                    run(environment)
                if not os.path.exists(self.reached):
                    break
                os.unlink(self.reached)
            else:
                self.fail(f"{what}: more than {MOST} allocations")
            print(f"{what}: {n - 1} allocations failed {mode}", flush=True)
            self.assertGreater(n, 3)  # the shim works

    def assert_ended_properly(self, code, stderr):
        self.assertIn(code, (0, 1, 3, 6), stderr)
        for line in stderr.splitlines():
            self.assertTrue(line.startswith("framed: "), stderr)
        if code != 0:
            self.assertNotEqual(stderr, "")

    def test_call_with_input_of_every_kind(self):
        server = self.serve()
        lines = b"".join(b"%d " % i * 1000 + b"\n" for i in range(100))
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * 200_000)
            file.flush()
            for what, args, stdin, expected in (
                ("call --lines", (), lines, lines),
                ("call --whole", ("--whole",), lines, lines),
                ("call --framed", ("--framed",), frame(lines) + frame(b"x"), frame(lines) + frame(b"x")),
                ("call -f", ("-m", "a", "-f", file.name), b"", b"a" + b"x" * 200_000),
                ("call --no-reply", ("--no-reply",), b"a\nb\n", b""),
            ):

                def run(environment, args=args, stdin=stdin, expected=expected):
                    done = self.run_tool("call", server.address, *args, stdin=stdin, env=environment)
                    self.assert_ended_properly(done.returncode, done.stderr)
                    if done.returncode == 0:
                        self.assertTrue(done.stdout == expected)

                self.each(what, run)

    def test_ping_and_inspect(self):
        server = self.serve()
        with tempfile.NamedTemporaryFile() as file:
            file.write(frame(b"x" * 5000) + frame(b"y"))
            file.flush()
            for what, args in (
                ("ping", ("ping", server.address, "-c", "2", "-i", "0")),
                ("inspect", ("inspect", file.name)),
                ("inspect --stats", ("inspect", "--stats", file.name)),
            ):
                expected = None if what == "ping" else self.run_tool(*args).stdout

                def run(environment, args=args, expected=expected):
                    done = self.run_tool(*args, env=environment)
                    self.assert_ended_properly(done.returncode, done.stderr)
                    if done.returncode == 0 and expected is not None:
                        self.assertEqual(len(done.stdout.splitlines()), len(expected.splitlines()))  # previews may be missing

                self.each(what, run)

    def test_bench(self):
        server = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            for options in (("-n", "40", "-c", "2", "-T", "2", "--pipeline", "20"), ("-n", "20", "-R", "1k", "--size", "100kB", "--hdr", os.path.join(folder, "x")),
                            ("--self", "-n", "10")):

                def run(environment, options=options):
                    done = self.run_tool("bench", *(() if "--self" in options else (server.address,)), *options, env=environment)
                    told = "" if b"  failed 0  " in done.stdout else done.stdout.decode()  # the report has what failed
                    self.assert_ended_properly(done.returncode, done.stderr or ("framed: " + told.replace("\n", "\nframed: ") if done.returncode else ""))
                    if done.returncode == 0:
                        self.assertIn(f"  ok {options[options.index('-n') + 1]}  failed 0  ".encode(), done.stdout)

                self.each("bench " + " ".join(options[:4]), run)

    def test_tap_with_a_record(self):
        server = self.serve()
        with tempfile.TemporaryDirectory() as folder:
            self.server_runs("tap", ("inspect", "--tap", "127.0.0.1:0=" + server.address, "--record", os.path.join(folder, "r")), b"x")

    def test_serve(self):
        self.server_runs("serve", ("serve", "127.0.0.1:0", "--delay", "1ms"), b"x")

    def test_serve_exec(self):
        self.server_runs("serve --exec", ("serve", "127.0.0.1:0", "--exec", "cat; echo y"), b"xy\n")

    def test_call_and_serve_with_checksums_and_keys(self):
        for way, (options, mine) in self.few_ways():
            server = self.serve(*options, address=self.local(way))

            def run(environment, address=server.address, mine=mine):
                done = self.run_tool("call", address, "-m", "one", "-m", "x" * 100_000, *mine, env=environment)
                self.assert_ended_properly(done.returncode, done.stderr)
                if done.returncode == 0:
                    self.assertTrue(done.stdout == b"one" + b"x" * 100_000)

            self.each("call, " + way, run)
            self.server_runs("serve, " + way, ("serve", "127.0.0.1:0", *options), b"x", mine)

    def server_runs(self, what, args, reply, mine=()):
        def run(environment):
            server = Process(*args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
            try:
                server.wait_line(READY.pattern + "|^framed: ")
                if READY.match(server.lines[0]):
                    address = READY.match(server.lines[0]).group(1)
                    for _ in range(3):
                        done = self.run_tool("call", address, "-m", "x", *mine)
                        # What ends inside an opening is no framed peer, and a stream with keys has no end but its own.
                        failed = [(code, b"") for code in ((1, 3, 5) if mine else (1,))]
                        self.assertIn((done.returncode, done.stdout), [(0, reply), *failed], done.stderr)
                    server.signal(signal.SIGTERM)
                    self.assertIn(server.wait(), (0, 6) if what == "tap" else (0,), server.stderr)  # 6: its record has a gap
                else:
                    self.assertIn(server.wait(), (3, 6), server.stderr)
                self.assert_ended_properly(server.wait(), server.stderr)
            finally:
                server.close()

        self.each(what, run)


if __name__ == "__main__":
    unittest.main()
