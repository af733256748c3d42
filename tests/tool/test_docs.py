#!/usr/bin/env python3
"""
Owns: the man pages: that mandoc takes them, that they say what the tool and the headers say, that their examples run.
Must not know: any option or function by name.
Invariants: what is run and compiled is the page's own text; everything happens in a folder of the test's.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

from toolkit import FRAMED, PATIENCE_S, ROOT, Process, ToolTest, linked_statically

sys.path.insert(0, os.path.join(ROOT, "tests"))
import manpage  # noqa: E402

BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD", "build")))
CC = os.environ.get("CC", "cc")
PAGES = ("framed.1", "framed.3", "framed.7")


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def plain(text):
    """Literal lines of a page as a reader sees them."""
    return re.sub(r"\\(e|-|&)", lambda m: {"e": "\\", "-": "-", "&": ""}[m.group(1)], text)


def literal_blocks(page, mark=""):
    return [plain(block) for block in re.findall(mark + r"\.Bd -literal[^\n]*\n(.*?)\.Ed\n", text_of("docs", page), re.S)]


class Pages(ToolTest):
    def test_mandoc_has_nothing_to_say(self):
        for page in PAGES:
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", os.path.join(ROOT, "docs", page)], capture_output=True,
                                  timeout=PATIENCE_S, check=False, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_commands_and_options_are_those_of_the_help(self):
        page = text_of("docs", "framed.1")
        made = manpage.parts(FRAMED)
        self.assertEqual(re.findall(r"^" + re.escape(manpage.BEGIN[:-3]) + r"(.*)$", page, re.M), list(made))
        self.assertEqual(manpage.replaced(page, made), page, "tests/manpage.py %s mends it" % FRAMED)

    def test_no_other_option_is_spoken_of(self):
        page = text_of("docs", "framed.1")
        names, letters = {"help", "version"}, set()
        for command in manpage.commands(FRAMED):
            for letter, name, _, _ in manpage.options(manpage.said(FRAMED, command, "--help")):
                names.add(name)
                letters.add(letter)
        self.assertLessEqual(set(re.findall(r"\bFl Fl ([a-z][a-z-]*)", page)), names)
        self.assertLessEqual(set(re.findall(r"\bFl ([a-z])\b(?!-)", page)), letters)
        self.assertLessEqual(set(re.findall(r"(?<!\w)--([a-z][a-z-]*)", plain(text_of("docs", "framed.7")))), names)

    def test_exit_codes_are_those_of_the_help(self):
        codes = re.search(r"Exit codes: (.*)", manpage.said(FRAMED, "--help"), re.S).group(1)
        part = re.search(r"\.Sh EXIT STATUS\n(.*?)\.Sh", text_of("docs", "framed.1"), re.S).group(1)
        self.assertEqual(re.findall(r"^\.It (\S+)$", part, re.M), re.findall(r"(?:^|; )\s*([0-9]+(?:\+N)?)", codes))

    def test_limits_are_those_of_the_tool(self):
        page = text_of("docs", "framed.7")
        fallback = {name: re.search(r"\(default (\S+)\)", words) for _, name, _, words in
                    manpage.options(manpage.said(FRAMED, "serve", "--help"))}
        for said, name in (("length of a frame", "max-frame"), ("connections", "max-conns"),
                           ("unanswered requests on a connection", "max-calls"),
                           ("bytes waiting to be sent on a connection", "max-unsent"), ("a frame, from its first byte", "frame-timeout"),
                           ("a request, until its answer", "call-timeout"), ("silence with nothing to answer", "idle-timeout"),
                           ("taking 64 KiB of what waits to be sent", "send-timeout"), ("draining", "drain")):
            value = re.search(r"^\.It %s Ta (.*)$" % re.escape(said), page, re.M).group(1)
            self.assertEqual(value.split(" +")[0].replace(" ", ""), fallback[name].group(1), said)

    def test_the_record_is_the_one_that_is_written(self):
        header = text_of("src", "cli", "record.h")
        magic = re.search(r"^ \*     ((?:[0-9a-f]{8} ){1}[0-9a-f]{32})$", header, re.M).group(1).replace(" ", "")
        self.assertIn(".Dl " + " ".join(re.findall("..", magic)) + "\n", text_of("docs", "framed.7"))
        types = re.findall(r"^ \*     ([0-9]+)  ([a-z]+) ", header, re.M)
        self.assertEqual(re.findall(r"^\.It ([0-9]+)\n([a-z]+)", text_of("docs", "framed.7"), re.M), types)


class Examples(ToolTest):
    """The blocks of framed(1) that are marked: `$ command`, then what it prints; `...` stands for anything."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        os.mkdir(os.path.join(self.folder, "bin"))
        os.symlink(FRAMED, os.path.join(self.folder, "bin", "framed"))
        self.env = {**os.environ, "PATH": os.path.join(self.folder, "bin") + ":" + os.environ["PATH"]}
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        self.status = 0

    def begin(self, command, expected):
        """A command in the background: we go on when it has said what it should."""
        command, _, log = command.partition(" > ")
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", command)]
        self.assertEqual(words[0], "framed")
        with open(log or os.devnull, "wb") as out:
            process = Process(*words[1:], stdin=subprocess.DEVNULL, stdout=out)
        self.addCleanup(process.close)
        process.wait_line("^" + self.pattern(expected) + "$")
        return process

    def run_command(self, command, expected):
        done = subprocess.run(["bash", "-c", f"(exit {self.status}); {command}"], env=self.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False, text=True)
        self.status = done.returncode
        self.assertRegex(done.stdout, "^" + self.pattern(expected) + r"\n?\Z" if expected else r"\A\Z", command)

    @staticmethod
    def pattern(expected):
        return ".*".join(re.escape(part) for part in "\n".join(expected).split("..."))

    def test_every_marked_example_prints_what_it_says(self):
        blocks = literal_blocks("framed.1", r'\.\\" run\n')
        self.assertGreaterEqual(len(blocks), 3)
        for block in blocks:
            jobs = []
            for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, *expected = step.rstrip("\n").split("\n")
                if command.endswith(" &"):
                    jobs.append(self.begin(command[:-2], expected))
                elif command.startswith("kill %"):
                    job = jobs[int(command[6:]) - 1]
                    job.signal(signal.SIGTERM)
                    self.assertEqual(job.wait(), 0, job.stderr)
                else:
                    self.run_command(command, expected)


class Library(ToolTest):
    def test_functions_and_constants_are_those_of_the_headers(self):
        code = "".join(text_of("include", "framed", name) for name in sorted(os.listdir(os.path.join(ROOT, "include", "framed"))))
        code = re.sub(r"/\*.*?\*/|^typedef[^;]*;", "", code, flags=re.S | re.M)
        functions = set(re.findall(r"\b(framed_[a-z0-9_]+)\(", code))
        page = text_of("docs", "framed.3")
        self.assertEqual(set(re.findall(r"\bFn (framed_[a-z0-9_]+)", page)), functions)
        self.assertGreater(len(functions), 50)
        for name in re.findall(r"\b(FRAMED_[A-Z0-9_]+)\b", page):
            self.assertRegex(code, r"\b%s\b" % name)
        for kind, name in re.findall(r"^\.Vt (struct|enum) (framed_[a-z_]+)", page, re.M):
            self.assertRegex(code, r"\b%s %s\b" % (kind, name))

    def test_the_programs_compile_and_do_what_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            programs = {}
            for block in literal_blocks("framed.3"):
                name = re.match(r"/\* (\w+)\.c \*/", block).group(1)
                programs[name] = os.path.join(folder, name)
                with open(programs[name] + ".c", "w", encoding="utf-8") as f:
                    f.write(block)
                with open(os.path.join(BUILD, "flags"), encoding="utf-8") as f:
                    sanitize = [word for word in f.read().split() if word.startswith(("-fsanitize", "--coverage"))]
                done = subprocess.run([CC, "-std=c11", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L", *sanitize,
                                       "-I" + os.path.join(ROOT, "include"), programs[name] + ".c", "-o", programs[name],
                                       *linked_statically(os.path.join(BUILD, "libframed.a"))], capture_output=True,
                                      timeout=PATIENCE_S, check=False, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(set(programs), {"server", "client", "frames"})
            self.talk(programs, "unix:" + os.path.join(folder, "socket"))
            for data, lines, code in ((b"\0\0\0\5hello\0\0\0\0", "5 bytes\n0 bytes\n", 0), (b"\0\0\0\5hel", "", 1)):
                done = subprocess.run([programs["frames"]], input=data, capture_output=True, timeout=PATIENCE_S, check=False)
                self.assertTrue(done.stdout.decode().startswith(lines), done)
                self.assertEqual(done.returncode, code, done)

    def talk(self, programs, address):
        server = subprocess.Popen([programs["server"], address])
        try:
            self.wait_until_it_listens(server, address)
            done = subprocess.run([programs["client"], address, "one", "", "three"], capture_output=True, timeout=PATIENCE_S, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"one\n\nthree\n", b""))
            server.terminate()
            self.assertEqual(server.wait(PATIENCE_S), 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            server.wait()

    def wait_until_it_listens(self, server, address):
        """Asks until somebody answers."""
        while self.run_tool("ping", "-c", "1", address).returncode != 0:
            self.assertIsNone(server.poll(), "the server has ended")


if __name__ == "__main__":
    unittest.main()
