#!/usr/bin/env python3
"""What the help of the tool says, for those who compare it with something else, and a shell at a terminal of its own.

Run by itself (tests/completions.sh does) it tests the scripts in a zsh and a fish, which must be there.
"""

import collections
import os
import pty
import re
import select
import subprocess
import tempfile
import time
import unittest

from toolkit import FRAMED, PATIENCE_S, ToolTest

Option = collections.namedtuple("Option", "letter name value text")


def said(*args):
    return subprocess.run([FRAMED, *args], capture_output=True, timeout=PATIENCE_S, check=False, text=True)


def commands():
    return re.findall(r"^  ([a-z]+) +\S", said("--help").stdout.split("Usage:")[1], re.M)


def options_of(command):
    """As the help of the command has them; `text` has no line breaks."""
    found = []
    for line in said(command, "--help").stdout.split("Usage:")[1].splitlines():
        match = re.match(r"  (?:-(.), |    )--([a-z-]+)(?: ([A-Z=]+))?(?: +|$)(.*)", line)
        if match:
            found.append([*match.groups()])
        elif found and line.startswith(" " * 26):
            found[-1][3] = (found[-1][3] + " " + line.strip()).strip()
        elif found and not line:
            break
    return [Option(*fields) for fields in found]


def choices(command, option):
    """The words that are allowed, [] when it is not a choice."""
    match = re.search(r"no such choice; allowed are (.*)$", said(command, "--" + option.name, "@", "--no-such-option").stderr, re.M)
    return match.group(1).split(", ") if match else []


class Terminal:
    """An interactive shell that believes it has a user."""

    def __init__(self, command, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(HOME=folder, ZDOTDIR=folder, TERM="dumb", LC_ALL="C", HISTFILE="/dev/null")
            os.execvp(command[0], command)
        self.seen = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)  # hangs up
        os.waitpid(self.pid, 0)

    def type(self, text):
        os.write(self.fd, text.encode())

    def answer(self, typed):
        """Types a line; returns the line made of <words> that it caused."""
        self.type(typed)
        limit = time.monotonic() + PATIENCE_S
        while not (match := re.search(r"(?:^|[\r\n])((?:<[^<>\r\n]*>)+)\r?\n", self.seen)):
            ready = select.select([self.fd], [], [], max(0, limit - time.monotonic()))[0]
            if not ready:
                raise AssertionError(f"no answer to {typed!r}: {self.seen!r}")
            self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
        self.seen = self.seen[match.end():]
        return match.group(1)


class Zsh(ToolTest):
    def test_a_user_at_a_terminal_gets_it(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "_framed"), "wb") as f:
                f.write(self.run_tool("completion", "zsh").stdout)
            open(os.path.join(folder, "two words"), "wb").close()
            self.assertEqual(subprocess.run(["zsh", "-n", f.name], timeout=PATIENCE_S, check=False).returncode, 0)
            for way in ("fpath=(%s $fpath); autoload -Uz compinit; compinit -u -D", "autoload -Uz compinit; compinit -u -D; . %s/_framed"):
                with Terminal(["zsh", "-f", "-i"], folder) as terminal:
                    terminal.type("PS1=; %s; zstyle ':completion:*' insert-tab false; framed() { printf '<%%s>' \"$@\"; echo }\n" % (way % folder))
                    for typed, got in (("framed comp\tz\t", "<completion><zsh>"), ("framed call --outp\tjs\t", "<call><--output=json>"),
                                       ("framed call --output js\t", "<call><--output><json>"), ("framed call -o js\t", "<call><-o><json>"),
                                       ("framed inspect tw\t", "<inspect><two words>"), ("framed call a:1 --foll\t", "<call><a:1><--follow>"),
                                       ("framed serve --wa\tepo\t", "<serve><--wait=epoll>")):
                        self.assertEqual(terminal.answer(typed + "\n"), got)


class Fish(ToolTest):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home, self.here = os.path.join(folder.name, "home"), os.path.join(folder.name, "here")
        os.mkdir(self.here)
        self.script = os.path.join(self.here, "framed.fish")
        with open(self.script, "wb") as f:
            f.write(self.run_tool("completion", "fish").stdout)

    def fish(self, *args):
        return subprocess.run(["fish", *args], capture_output=True, timeout=PATIENCE_S, check=False, text=True,
                              cwd=self.here, env={**os.environ, "HOME": self.home, "XDG_CONFIG_HOME": self.home})

    def offered(self, line):
        done = self.fish("--no-config", "-c", "source $argv[1]; complete -C $argv[2]", self.script, line)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return sorted(word.split("\t")[0] for word in done.stdout.splitlines())

    def test_fish_takes_the_script(self):
        self.assertEqual(self.fish("--no-execute", self.script).returncode, 0)

    def test_it_offers_what_the_help_says(self):
        self.assertEqual(self.offered("framed "), sorted(commands()))
        for command in commands():
            self.assertEqual(self.offered(f"framed {command} --"), sorted("--" + o.name for o in options_of(command)))
            for option in options_of(command):
                if option.value is None:
                    continue
                words = ["framed.fish"] if option.value == "FILE" else sorted(choices(command, option))
                self.assertEqual(self.offered(f"framed {command} --{option.name} "), words, (command, option))
        self.assertEqual(self.offered("framed completion "), ["bash", "fish", "zsh"])
        self.assertEqual(self.offered("framed inspect "), ["framed.fish"])
        self.assertEqual(self.offered("framed call "), [])


if __name__ == "__main__":
    unittest.main()
