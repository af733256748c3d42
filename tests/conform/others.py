#!/usr/bin/env python3
"""What Erlang and Twisted do where a row wants something else, in words, as the table of docs/conformance.md.

  others.py           observes it, and fails if it is not what the table says
  others.py --write   observes it, and writes the table
  others.py --rows    prints each row that differs instead

Owns: which differences there are, and their words. A difference that has no name yet is a failure, not a line of the table.
Invariants: a line of the table is compared with what is observed now, difference by difference and clause by clause; how many
rows of a clause show it may depend on timing, and is not told.
"""

import argparse
import os
import re
import subprocess
import sys

import run
import rows as conformance
import subjects

PAGE = os.path.join(conformance.ROOT, "docs", "conformance.md")
BEGIN, END = "<!-- others.py: begin -->", "<!-- others.py: end -->"
MOST_CUTS = 2  # for each row, besides whole and byte by byte
NAMES = {
    "resets": "resets what still comes when it closes",
    "loses replies": "drops unsent replies at the other side's end",
    "cut is clean": "takes the end inside a frame for a clean one",
    "reset is clean": "takes a reset for a clean end",
    "surplus": "delivers a frame that nobody asked for",
}
WHO = {
    "server": (("Erlang", "plain"), ("Twisted", "plain"), ("Twisted", "careful")),
    "client": (("Erlang", "plain"), ("Twisted", "plain")),
}
CAREFUL = {"Twisted": "`IHalfCloseableProtocol`"}


def server_difference(row, seen):
    """The names of what differs; None: something that has no name."""
    if "resets" in seen.then and row.then == "ends" and row.out.startswith(seen.out):
        return {"resets"}
    if seen.then == "ends" and row.half_closes and len(seen.out) < len(row.out) and row.out.startswith(seen.out):
        return {"loses replies"}
    return None


def client_difference(expected, seen):
    names = set()
    if (expected.word, seen.word) == ("truncated", "closed") or (expected.word == "truncated" and seen.word == "ok"):
        names.add("cut is clean")
    elif (expected.word, seen.word) == ("reset", "closed") or (expected.word == "reset" and seen.word == "ok"):
        names.add("reset is clean")
    elif (expected.word, seen.word) == ("malformed", "surplus"):
        names.add("surplus")
    elif expected.word != seen.word:
        return None
    if seen.end == "resets" and expected.end == "ends":
        names.add("resets")
    elif seen.end != expected.end:
        return None
    same = seen.outcomes == expected.outcomes or ("surplus" in names and seen.outcomes[:-1] == expected.outcomes)
    return names if names and same and seen.requests else None


def differences(role):
    """[(row, way, Seen, names)]"""
    found = []
    for row, wrong in role.differing():
        for way, seen in wrong.items():
            names = server_difference(row, seen) if role.name == "server" else client_difference(role.expected(row), seen)
            found.append((row, way, seen, names))
    return found


def observe(role_name, language, manner, rows):
    if role_name == "server":
        role = run.ServerRole(subjects.OtherServers(language, manner, rows), rows, MOST_CUTS)
    else:
        role = run.ClientRole(subjects.OtherClient([*subjects.OTHERS[language], "ask"]), rows, MOST_CUTS)
    try:
        return role.run()
    finally:
        role.subject.close()


def versions():
    erlang = ["erl", "-noshell", "-eval", 'io:format("~s", [erlang:system_info(otp_release)]), halt().']
    twisted = [subjects.TWISTED_PYTHON, "-c", "import twisted; print(twisted.__version__)"]
    said = [subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout.strip()
            for command in (erlang, twisted)]
    return f"Erlang/OTP {said[0]} and Twisted {said[1]}"


def clause_order(clause):
    return [int(n) for n in re.findall(r"\d+", clause)]


def table_of(role_name, observed):
    """observed: {(language, manner): Role}. The lines of one table, and the differences that have no name."""
    who = WHO[role_name]
    clauses = {column: {} for column in who}
    nameless = []
    for column in who:
        for row, way, seen, names in differences(observed[column]):
            if names is None:
                nameless.append(f"{column} {row.name}, {way}: {run.short(seen)}, instead of {run.short(observed[column].expected(row))}")
            for name in names or ():
                clauses[column].setdefault(name, set()).add(row.clause)
    heads = [language + (f", {CAREFUL[language]}" if manner == "careful" else "") for language, manner in who]
    lines = [f"| as a {role_name} | {' | '.join(heads)} |", "|---" * (len(who) + 1) + "|"]
    lines.append(f"| rows asked | {' | '.join(str(len(observed[column].rows)) for column in who)} |")
    for name, words in NAMES.items():
        cells = [" ".join(sorted(clauses[column].get(name, ()), key=clause_order)) or "–" for column in who]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {words} | {' | '.join(cells)} |")
    return lines, nameless


def published():
    with open(PAGE, encoding="utf-8") as page:
        return page.read().split(BEGIN)[1].split(END)[0].strip()


def write(text):
    with open(PAGE, encoding="utf-8") as page:
        before, rest = page.read().split(BEGIN)
    with open(PAGE, "w", encoding="utf-8") as page:
        page.write(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def print_rows(observed):
    for (role_name, *who), role in observed.items():
        for row, way, seen, names in differences(role):
            print(f"{' '.join(who)}, {role_name}: {row.name} ({row.clause}), {way}: {', '.join(sorted(names or ['?']))}: {run.short(seen)}")


def compare(text):
    """The lines that are not in both."""
    was, now = published().splitlines(), text.splitlines()
    return [f"published: {line}" for line in was if line not in now] + [f"observed:  {line}" for line in now if line not in was]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rows", action="store_true")
    args = parser.parse_args()
    observed, lines, nameless = {}, [f"Observed with {versions()}."], []
    for role_name, who in WHO.items():
        rows = conformance.read(role_name)
        for column in who:
            observed[(role_name, *column)] = role = observe(role_name, *column, rows)
            print(f"{column[0]}, {column[1]}, as a {role_name}: {len(role.rows)} rows, {role.checks} checks", flush=True)
        table, wrong = table_of(role_name, {column: observed[(role_name, *column)] for column in who})
        lines += ["", *table]
        nameless += wrong
    text = "\n".join(lines)
    if args.rows:
        print_rows(observed)
    for line in nameless:
        print(f"DIFFERS, and has no name in others.py: {line}")
    if args.write and not nameless:
        write(text)
    if versions() not in published().splitlines()[0]:
        print(f"the table is not compared: it was {published().splitlines()[0].lower()} Here are {versions()}.")
        return 1 if nameless else 0
    changed = compare(text)
    print("\n".join(changed) if changed else f"the table in docs/conformance.md is what {versions()} do")
    return 1 if nameless or changed else 0


if __name__ == "__main__":
    sys.exit(main())
