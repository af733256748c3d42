"""A page of docs/ as a test: its scripts are written to a folder, its commands run there and print what the page shows.

A fenced block with a comment among its first three lines that begins with a file's name is that file. In a `console` block "$ "
begins a command, and what follows is its output. All commands of a page run in one shell. One that ends in " &" runs on: the
lines shown below it are waited for, what it prints later is not looked at. A `cat` is repeated until it shows what the page does.
Port numbers from 7000 to 7099 stand for free ones: the first time, a server is given port 0 and its line says the number. Times,
durations and ports of clients are not compared.
"""

import os
import re
import select
import shutil
import signal
import subprocess
import time

from ends import TWISTED_PYTHON
from toolkit import FRAMED, PATIENCE_S, ROOT

MARK = "\x01"
PORT = re.compile(r"\b70\d\d\b")


def read(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as page:
        return page.read()


def blocks(text):
    """(language, lines) of each fenced block."""
    return [(found[1], found[2].splitlines()) for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)]


def files(text):
    """name: content."""
    found = {}
    for language, lines in blocks(text):
        name = re.search(r"^(?:%%|#|//) (\w+\.\w+)\b", "\n".join(lines[:3]), re.M)
        if name and language != "console":
            found[name[1]] = "\n".join(lines) + "\n"
    return found


def commands(text):
    """(command, lines that it prints) in the order of the page."""
    found = []
    for language, lines in blocks(text):
        for line in lines if language == "console" else []:
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def write_files(text, folder):
    for name, content in files(text).items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)


def environment(folder):
    """`framed` and `python3` are the ones that are tested."""
    tools = os.path.join(folder, "bin")
    os.makedirs(tools, exist_ok=True)
    for name, target in (("framed", FRAMED), ("python3", TWISTED_PYTHON)):
        with open(os.path.join(tools, name), "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{shutil.which(target)}" "$@"\n')
        os.chmod(file.name, 0o755)
    return {**os.environ, "PATH": tools + os.pathsep + os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}


class Shell:
    """One shell for all commands of a page; whatever it started ends with it, by its process group."""

    def __init__(self, folder):
        self.folder, self.running, self.ports = folder, 0, {}  # ports: as in the page, as they are
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env=environment(folder), start_new_session=True,
        )

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def run(self, command, lines):
        """Its exit code, and what it prints; of one that runs on, as many lines as the page shows."""
        runs_on = command.endswith(" &")
        typed = PORT.sub(lambda port: self.ports.get(port[0], "0" if runs_on else port[0]), command)
        if not runs_on:
            limit = time.monotonic() + PATIENCE_S
            while True:
                code, printed = self._run(f"{{ {typed}\n}} < /dev/null")
                if not command.startswith("cat ") or self.shows(printed, lines) or time.monotonic() > limit:
                    return code, printed
                time.sleep(0.01)
        self.running += 1
        log = os.path.join(self.folder, f".log{self.running}")
        with open(log, "w", encoding="utf-8"):
            pass
        code, printed = self._run(f"{{ exec {typed.removesuffix(' &')}; }} > {log} 2>&1 < /dev/null &")
        printed += self._first_lines(log, len(lines))
        self._learn_ports(lines, printed.splitlines())
        return code, printed

    def _run(self, typed):
        self.process.stdin.write(f"{typed}\nprintf '{MARK}%d\\n' $?\n".encode())
        self.process.stdin.flush()
        printed, limit = "", time.monotonic() + PATIENCE_S
        while not (end := re.search(MARK + r"(\d+)\n$", printed)):
            ready = select.select([self.process.stdout], [], [], max(0, limit - time.monotonic()))[0]
            piece = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                raise AssertionError(f"{typed}: no end in time: {printed!r}")
            printed += piece.decode("utf-8", "replace")
        return int(end[1]), printed[: end.start()]

    @staticmethod
    def _first_lines(log, count):
        limit = time.monotonic() + PATIENCE_S
        while True:
            with open(log, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines(keepends=True)
            if len(lines) >= count and all(line.endswith("\n") for line in lines[:count]):
                return "".join(lines[:count])
            if time.monotonic() > limit:
                raise AssertionError(f"only these lines: {lines}")
            time.sleep(0.01)

    def _learn_ports(self, shown, printed):
        for line, real in zip(shown, printed):
            pattern = PORT.sub(lambda port: rf"(?P<p{port[0]}>\d+)", re.escape(line))
            found = re.fullmatch(pattern, real) if len(set(PORT.findall(line))) == len(PORT.findall(line)) else None
            for name, number in (found.groupdict() if found else {}).items():
                self.ports.setdefault(name[1:], number)

    def shows(self, printed, lines):
        return comparable(self.as_in_page(printed)) == comparable("\n".join(lines))

    def as_in_page(self, text):
        for shown, real in self.ports.items():
            text = re.sub(rf"\b{real}\b", shown, text)
        return text


def comparable(text):
    text = re.sub(r"\b\d\d:\d\d:\d\d\.\d{3}\b", "CLOCK", text)
    text = re.sub(r'("\w+_ns"):\d+', r"\1:0", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(ns|us|µs|ms|s)\b", "TIME", text)
    text = re.sub(r"\b(127\.0\.0\.1):(?!70\d\d\b)\d+", r"\1:PORT", text)
    return re.sub(r"[ \t]+$", "", re.sub(r"[ \t]+", " ", text), flags=re.M).rstrip("\n")
