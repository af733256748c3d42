#!/usr/bin/env python3
"""
What docs/framed.1 must say of commands and options, made from `framed COMMAND --help`.

    tests/manpage.py [FRAMED]      writes the parts between the marks of docs/framed.1 anew

The rest of the page is written by hand. tests/tool/test_docs.py checks that nothing differs.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, "docs", "framed.1")
BEGIN, END = '.\\" made by tests/manpage.py: %s\n', '.\\" end\n'


def said(framed, *args):
    return subprocess.run([framed, *args], capture_output=True, timeout=60, check=True, text=True).stdout


def commands(framed):
    return re.findall(r"^  ([a-z]+) +\S", said(framed, "--help").split("Usage:")[1], re.M)


def text(words):
    """A line of running text."""
    words = words.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + words if words[:1] in (".", "'") else words


def options(help_text):
    """[(letter, name, value, text)]"""
    found = []
    for line in help_text.split("Usage:")[1].splitlines():
        match = re.match(r"  (?:-(.), |    )--([a-z-]+)(?: (\S+))?(?: +|$)(.*)", line)
        if match:
            found.append([*match.groups()])
        elif found and line.startswith(" " * 26):
            found[-1][3] = (found[-1][3] + " " + line.strip()).strip()
        elif found and not line:
            break
    return found


def option_list(help_text):
    lines = [".Bl -tag -width Ds"]
    for letter, name, value, words in options(help_text):
        short = f"Fl {letter} , " if letter else ""
        lines += [f".It {short}Fl Fl {name}" + (f" Ar {value}" if value else ""), text(words)]
    return "\n".join([*lines, ".El", ""])


def usage_words(words):
    """"[ADDR...] [--record FILE]" as arguments of a macro line."""
    out = []
    for word in re.findall(r"[^\s\[\]]+", words):
        if word.startswith("--"):
            out.append("Fl Fl " + word[2:])
        elif re.match(r"-[A-Za-z]$", word):
            out.append("Fl " + word[1:])
        elif word == "-":
            out.append("Fl")
        elif word == "|":
            out.append("|")
        elif word.endswith("..."):
            out.append(f"Ar {word[:-3]} ...")
        else:
            out.append(("Cm " if re.match(r"[a-z]+$", word) and word != "options" else "Ar ") + word)
    return " ".join(out)


def synopsis(framed):
    lines = []
    for command in commands(framed):
        usage = re.search(r"Usage: (.*?)\n\n", said(framed, command, "--help"), re.S).group(1)
        for line in usage.splitlines():
            name, rest = re.match(r" *framed ([a-z]+) ?(.*)", line).groups()
            lines += [".Nm", f".Cm {name}"]
            for optional, needed in re.findall(r"\[(.*?)\]|([^\[\]]+)", rest):
                if (optional or needed).strip():
                    lines.append((".Op " if optional else ".") + usage_words(optional or needed))
    return "\n".join([*lines, ".Nm", ".Fl Fl help | Fl Fl version", ""])


def parts(framed):
    """The marked parts: what each must be."""
    made = {"synopsis": synopsis(framed)}
    for command in commands(framed):
        made["options of " + command] = option_list(said(framed, command, "--help"))
    return made


def replaced(page, made):
    """The page with these parts in it; those for which it has no mark are left out."""
    for name, part in made.items():
        begin = BEGIN % name
        before, mark, rest = page.partition(begin)
        if mark:
            page = before + mark + part + END + rest.partition(END)[2]
    return page


def main():
    framed = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "framed")
    with open(PAGE, encoding="utf-8") as f:
        page = f.read()
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write(replaced(page, parts(framed)))


if __name__ == "__main__":
    main()
