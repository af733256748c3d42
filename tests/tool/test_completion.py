#!/usr/bin/env python3
"""
Owns: `framed completion`: that the scripts offer what the help says, in a bash that really completes; for zsh and fish the
words of their scripts (tests/completions.sh runs those shells).
Must not know: any option by name; all is read from the help.
Invariants: no file of the user's is read, no shell outlives its test.
"""

import os
import re
import subprocess
import tempfile
import unittest

from shells import Terminal, choices, commands, options_of
from toolkit import FRAMED, PATIENCE_S, ToolTest


class Bash(ToolTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.script = os.path.join(cls.folder.name, "framed.bash")
        with open(cls.script, "wb") as f:
            f.write(subprocess.run([FRAMED, "completion", "bash"], stdout=subprocess.PIPE, check=True, timeout=PATIENCE_S).stdout)
        for name in ("plain", "two words", "st*r"):
            open(os.path.join(cls.folder.name, name), "wb").close()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def bash(self, *more):
        return subprocess.run(["bash", "--norc", "--noprofile", "-u", *more], capture_output=True, timeout=PATIENCE_S,
                              check=False, text=True, cwd=self.folder.name, stdin=subprocess.DEVNULL)

    def offered(self, *words):
        """What is offered for the last of the words behind `framed`."""
        done = self.bash("-c", '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); set +u; _framed; printf "%s\\n" "${COMPREPLY[@]}"',
                         self.script, "framed", *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return sorted(line.rstrip(" ") for line in done.stdout.splitlines() if line)

    def test_bash_takes_the_script(self):
        done = self.bash("-c", '. "$0" && complete -p framed', self.script)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "complete -F _framed framed\n", ""))

    def test_commands_are_offered_first(self):
        self.assertEqual(self.offered(""), sorted([*commands(), "--help", "--version"]))
        self.assertEqual(self.offered("ser"), ["serve"])
        self.assertEqual(self.offered("--v"), ["--version"])
        self.assertEqual(self.offered("nonsense"), [])
        self.assertEqual(self.offered("nonsense", "--"), [])

    def test_each_command_offers_its_options_and_no_other(self):
        for command in commands():
            expected = sorted("--" + option.name for option in options_of(command))
            self.assertEqual(self.offered(command, "-"), expected)
            self.assertEqual(self.offered(command, "a:1", "--m"), [name for name in expected if name.startswith("--m")])

    def test_values_are_choices_or_files_or_the_users_own(self):
        files = sorted(os.listdir(self.folder.name))
        asked = set()
        for command in commands():
            for option in options_of(command):
                if option.value is None:
                    continue
                words = choices(command, option)
                expected = files if option.value == "FILE" else sorted(words)
                asked.add("file" if option.value == "FILE" else "choice" if words else "own")
                for name in ["--" + option.name] + (["-" + option.letter] if option.letter else []):
                    self.assertEqual(self.offered(command, name, ""), expected, (command, name))
                self.assertEqual(self.offered(command, "--" + option.name, "="), expected, (command, option))
                self.assertEqual(self.offered(command, "--" + option.name, "=", expected[0][:2] if expected else "x"),
                                 expected[:1], (command, option))
        self.assertEqual(asked, {"file", "choice", "own"})

    def test_arguments_are_what_the_command_takes(self):
        self.assertEqual(self.offered("completion", ""), ["bash", "fish", "zsh"])
        self.assertEqual(self.offered("inspect", "t"), ["two words"])
        self.assertEqual(self.offered("inspect", "--stats", "st"), ["st*r"])
        self.assertEqual(self.offered("call", ""), [])

    def test_a_user_at_a_terminal_gets_it(self):
        with Terminal(["bash", "--norc", "--noprofile", "-i"], self.folder.name) as terminal:
            terminal.type(". %s; framed() { printf '<%%s>' \"$@\"; echo; }; PS1=\n" % self.script)
            for typed, got in (("framed comp\tz\t", "<completion><zsh>"), ("framed call --outp\tjs\t", "<call><--output><json>"),
                               ("framed call --output=js\t", "<call><--output=json>"),
                               ("framed inspect tw\t", "<inspect><two words>"), ("framed serve --wa\tepo\t", "<serve><--wait><epoll>")):
                self.assertEqual(terminal.answer(typed + "\n"), got)


class OtherShells(ToolTest):
    def script(self, shell):
        done = self.run_tool("completion", shell)
        self.assert_code(done, 0)
        return done.stdout.decode()

    def test_every_command_and_option_is_in_the_script_for_zsh(self):
        text = self.script("zsh")
        self.assertTrue(text.startswith("#compdef framed\n"))
        for command in commands():
            self.assertIn("\n        '%s:" % command, text)
            part = re.search(r"\n        %s\)\n(.*?) ;;\n" % command, text, re.S).group(1)
            names = re.findall(r"--([a-z-]+)(=?)[\[}]", part)
            self.assertEqual(names, [(o.name, "=" if o.value else "") for o in options_of(command)])

    def test_every_command_and_option_is_in_the_script_for_fish(self):
        text = self.script("fish")
        for command in commands():
            self.assertIn("\ncomplete -c framed -n __framed_command -a %s -d '" % command, text)
            names = re.findall(r"\ncomplete -c framed -n '__framed_command %s'(?: -s (.))? -l ([a-z-]+)" % command, text)
            self.assertEqual(names, [(o.letter or "", o.name) for o in options_of(command)])

    def test_a_shell_that_is_missing_or_unknown(self):
        self.assert_code(self.run_tool("completion"), 2, "bash, zsh or fish")
        self.assert_code(self.run_tool("completion", "tcsh"), 2, "tcsh", "bash, zsh and fish")
        self.assert_code(self.run_tool("completion", "bash|zsh"), 2, "bash|zsh")
        self.assert_code(self.run_tool("completion", ""), 2, "bash, zsh and fish")
        self.assert_code(self.run_tool("completion", "bash", "zsh"), 2, "zsh", "too many")

    def test_a_script_that_cannot_be_written_is_a_failure(self):
        for shell in ("bash", "zsh", "fish"):
            with open("/dev/full", "wb") as full:
                process = self.start("completion", shell, stdout=full)
                self.assertEqual(process.wait(), 6)
            self.assertIn("standard output", process.stderr)

    def test_a_reader_that_has_gone_is_none(self):
        for args in (("completion", "bash"), ("--help",), ("bench", "--help"), ("version",)):
            reading, writing = os.pipe()
            os.close(reading)
            process = self.start(*args, stdout=writing)
            os.close(writing)
            self.assertEqual(process.wait(), 0, args)
            self.assertEqual(process.stderr, "")


if __name__ == "__main__":
    unittest.main()
