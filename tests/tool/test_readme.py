#!/usr/bin/env python3
"""
Owns: what README.md promises: its two programs, its install lines, its table of defaults, the demo's input.
Must not know: anything that README.md does not say.
Invariants: what is compiled is README's own text; nothing is installed outside a folder of the test's.
"""
import os
import re
import subprocess
import tempfile
import unittest

from toolkit import PATIENCE_S, ROOT, linked_statically

BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD", "build")))
CC = os.environ.get("CC", "cc")


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def run(*args, **more):
    return subprocess.run(args, capture_output=True, timeout=PATIENCE_S, check=False, text=True, **more)


def program(name):
    found = re.search(r"```c\n(/\* %s \*/\n.*?)```" % re.escape(name), text_of("README.md"), re.S)
    assert found, name
    return found.group(1)


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.prefix = os.path.join(cls.dir.name, "stage", "some", "where")
        # An installation that is moved afterwards: the .pc file must find its way.
        staged = os.path.join(cls.dir.name, "destdir")
        done = run("make", "-s", "install", "PREFIX=/opt/f", "DESTDIR=" + staged, "BUILD=" + BUILD, "CC=" + CC, *cls.flags(), cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
        os.makedirs(os.path.dirname(cls.prefix))
        os.rename(os.path.join(staged, "opt", "f"), cls.prefix)
        for name in ("server.c", "client.c"):
            with open(os.path.join(cls.dir.name, name), "w", encoding="utf-8") as f:
                f.write(program(name))

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    @staticmethod
    def flags():
        """What BUILD was built with, so that install does not build it anew."""
        with open(os.path.join(BUILD, "flags"), encoding="utf-8") as f:
            words = f.read().split()
        at, end = words.index("-pthread"), words.index("-MMD")
        return ["CFLAGS=" + " ".join(words[at + 1:end]), "LDFLAGS=" + " ".join(words[end + 2:])]

    def compile(self, name, *more):
        out = os.path.join(self.dir.name, name)
        words = [word for flag in self.flags() for word in flag.partition("=")[2].split()]
        sanitize = [w for w in words if w.startswith(("-fsanitize", "--coverage"))]
        done = run(CC, "-std=c11", "-Wall", "-Wextra", "-Werror", *sanitize, out + ".c", "-o", out,
                   "-I" + os.path.join(self.prefix, "include"), *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def talk(self, *link, env=None):
        server = self.compile("server", *link)
        client = self.compile("client", *link)
        address = "unix:" + os.path.join(self.dir.name, "socket")
        serving = subprocess.Popen([server, address], env=env)
        try:
            for _ in range(200):
                if os.path.exists(address[5:]) or serving.poll() is not None:
                    break
                run("sleep", "0.05")
            done = run(client, address, env=env)
        finally:
            serving.kill()
            serving.wait()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "hello\n", ""))
        os.unlink(address[5:])

    def test_the_two_programs_compile_and_talk_linked_statically(self):
        self.talk(*linked_statically(os.path.join(self.prefix, "lib", "libframed.a")))

    def test_the_two_programs_compile_and_talk_linked_to_the_shared_library(self):
        lib = os.path.join(self.prefix, "lib")
        self.talk("-L" + lib, "-lframed", env={**os.environ, "LD_LIBRARY_PATH": lib})

    def test_the_server_is_twenty_lines(self):
        self.assertLessEqual(len([line for line in program("server.c").splitlines() if line.strip()]), 20)

    def test_the_pc_file_finds_a_moved_installation(self):
        pc = os.path.join(self.prefix, "lib", "pkgconfig", "framed.pc")
        with open(pc, encoding="utf-8") as f:
            text = f.read()
        self.assertIn("prefix=${pcfiledir}/../..", text)
        self.assertIn("libdir=${prefix}/lib", text)
        self.assertNotIn("/opt/f", text)
        self.assertRegex(text, r"Version: \d+\.\d+\.\d+")

    def test_what_is_installed_is_what_is_said(self):
        found = sorted(os.path.relpath(os.path.join(d, f), self.prefix) for d, _, files in os.walk(self.prefix) for f in files)
        self.assertEqual(found, ["bin/framed", "include/framed/base.h", "include/framed/frame.h", "include/framed/framed.h",
                                 "include/framed/net.h", "include/framed/secure.h", "lib/libframed.a", "lib/libframed.so", "lib/libframed.so.0",
                                 "lib/pkgconfig/framed.pc", "share/bash-completion/completions/framed",
                                 "share/fish/vendor_completions.d/framed.fish", "share/man/man1/framed.1",
                                 "share/man/man3/framed.3", "share/man/man7/framed.7", "share/zsh/site-functions/_framed"])

    def test_every_function_of_the_headers_is_in_the_library(self):
        folder = os.path.join(self.prefix, "include", "framed")
        code = "".join(text_of(folder, name) for name in sorted(os.listdir(folder)))
        declared = set(re.findall(r"^FRAMED_API[^;{]*?\b(framed_[a-z0-9_]+)\(", code, re.M))
        all_names = set(re.findall(r"^(?!static|typedef)[a-zA-Z][^;{()]*\b(framed_[a-z0-9_]+)\([^;{]*\);", code, re.M))
        self.assertEqual(all_names - declared, set())  # without FRAMED_API nobody could link with it
        symbols = run("nm", "-D", "--defined-only", os.path.join(self.prefix, "lib", "libframed.so.0")).stdout
        self.assertEqual(declared - set(re.findall(r" T (framed_[a-z0-9_]+)$", symbols, re.M)), set())
        self.assertGreater(len(declared), 80)

    def test_the_defaults_are_those_of_the_code(self):
        code = text_of("src", "server.c")
        readme = text_of("README.md")
        header = text_of("include", "framed", "net.h")
        for field, value, said, documented in [
                ("max_conns", "10000", "| connections | 10,000 |", "10,000"),
                ("max_calls", "64", "| unanswered calls on a connection | 64 |", "64"),
                ("max_log_lines", "10", "| log lines | 10 a second |", "10"),
                ("frame_ms", "10000", "| frame | 10 s, plus its length at 4 KiB/s |", "10 s"),
                ("frame_rate", "4096", "4 KiB/s", "4096"),
                ("idle_ms", "300000", "| idle | 300 s |", "300 s"),
                ("call_ms", "300000", "| call | 300 s |", "300 s"),
                ("send_ms", "30000", "| send | 30 s per 64 KiB |", "30 s"),
                ("drain_ms", "30000", "| drain | 30 s |", "30 s"),
                ("linger_ms", "2000", "| linger | 2 s |", "2 s"),
                ("keepalive_ms", "60000", "| keepalive | 60 s, then 30 s |", "60 s")]:
            self.assertIn("default_to(&c->%s, %s);" % (field, value), code)
            self.assertIn(said, readme)
            self.assertRegex(header, r"%s;\s+/\*[^*]*%s" % (field, re.escape(documented)))
        self.assertIn("c->max_unsent = 1u << 20", code)
        self.assertIn("c->max_memory = 1u << 30", code)
        self.assertIn("| 1 MiB |", readme)
        self.assertIn("| 1 GiB |", readme)

    def test_figures_are_those_of_the_page(self):
        lines = re.findall(r"^\| .*$", re.search(r"## How fast\n(.*?)\n## ", text_of("README.md"), re.S).group(1), re.M)
        self.assertEqual(len(lines), 5)
        page = text_of("docs", "performance.md").splitlines()
        for line in lines:
            self.assertIn(line, page)

    def test_links_lead_somewhere(self):
        for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
            for link in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
                self.assertTrue(os.path.exists(os.path.join(ROOT, link)), link)


if __name__ == "__main__":
    unittest.main()
