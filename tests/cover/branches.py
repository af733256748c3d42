#!/usr/bin/env python3
"""branches.py REPORT UNREACHABLE: what a gcovr report says of the branches of proto/ and src/, file by file, then of both parts.

Fails when a part has fewer than PARTS asks for. UNREACHABLE is the list that fuzz/cover.py has too: FILE | CONDITION | SIDE | why.
gcov knows lines, not conditions: an entry stands for one branch, never taken, of a line that has CONDITION in it. Where FILE is *,
CONDITION begins a check or an assertion, and up to half of such a line's branches is excused. An entry that excuses nothing is
a failure. With SHOW=1 in the environment each line with a branch not taken is shown.
"""
import json
import os
import re
import sys

PARTS = {"proto": 100.0, "src": 90.0}


def excuses(path):
    found = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                file, condition, side, _why = (field.strip() for field in line.split(" | ", 3))
                found.append({"file": file, "condition": condition, "side": side, "used": False})
    return found


def excused(entries, file, text, branches, missing):
    """How many of the branches of this line that were not taken cannot be."""
    for entry in entries:
        if entry["file"] == "*" and re.search(r"(?<!\w)" + re.escape(entry["condition"]), text) and 2 * missing <= branches:
            entry["used"] = True
            return missing
    n = 0
    for entry in entries:
        if entry["file"] == file and n < missing and entry["condition"] in " ".join(text.split()):
            entry["used"] = True
            n += 1
    return n


class Count:
    def __init__(self):
        self.lines = self.reached_lines = self.branches = self.taken = self.excused = 0

    def add(self, other):
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def share(self):
        return 100 * (self.taken + self.excused) / self.branches if self.branches else 100.0

    def row(self, name):
        return (f"{name:28} {self.reached_lines:5d} of {self.lines:5d} lines {self.taken:5d} of {self.branches:5d} branches, "
                f"{self.excused:3d} cannot be taken: {self.share():6.2f} %")


def count_file(file, entries):
    """The counts of a file, and the lines that have branches which were not taken but might be."""
    count, still = Count(), []
    with open(file["file"], encoding="utf-8") as source:
        text = source.read().split("\n")
    for line in file["lines"]:
        if line.get("gcovr/noncode"):
            continue
        count.lines += 1
        count.reached_lines += line["count"] > 0
        branches = len(line["branches"])
        taken = sum(branch["count"] > 0 for branch in line["branches"])
        here = text[line["line_number"] - 1].strip()
        n = excused(entries, file["file"], here, branches, branches - taken)
        count.branches += branches
        count.taken += taken
        count.excused += n
        if taken + n < branches:
            still.append(f"    {file['file']}:{line['line_number']}: {branches - taken - n} of {branches}: {here}")
    return count, still


def main():
    report, unreachable = sys.argv[1:]
    entries = excuses(unreachable)
    with open(report, encoding="utf-8") as file:
        files = json.load(file)["files"]
    parts = {part: Count() for part in PARTS}
    for file in sorted(files, key=lambda file: file["file"]):
        part = file["file"].split("/")[0]
        count, still = count_file(file, entries)
        print(count.row(file["file"]))
        if os.environ.get("SHOW") or PARTS.get(part) == 100.0:
            print(*still, sep="\n", end="\n" if still else "")
        if part in parts:
            parts[part].add(count)
    failed = False
    ours = {file["file"] for file in files} | {"*"}
    for entry in entries:
        if entry["file"] in ours and entry["side"] and not entry["used"] and not is_macro_of(entry):
            print(f"{unreachable}: excuses nothing: {entry['file']} | {entry['condition']}")
            failed = True
    for part, count in parts.items():
        print(count.row(part + "/"))
        if not count.branches or count.share() < PARTS[part]:
            print(f"cover: {part}/ needs {PARTS[part]:.0f} %")
            failed = True
    print("cover: " + ("too few branches are taken" if failed else
                       "of the branches that can be taken " + ", ".join(f"{c.share():.2f} % in {p}/" for p, c in parts.items())))
    sys.exit(failed)


def is_macro_of(entry):
    """A macro's branches are where it is used, for gcov: check() has its entry with *, and one where clang sees it."""
    return entry["file"].endswith(".h") and "truth" in entry["condition"]


main()
