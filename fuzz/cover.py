#!/usr/bin/env python3
"""cover.py EXPORT UNREACHABLE FILE...: branches of these files that an llvm-cov export says were never taken.

UNREACHABLE has a line for each side of a branch that cannot be taken: FILE | CONDITION | true or false | why. One that is taken
after all, or does not exist, is a failure too, so that the list stays honest. (Entries of other files are for tests/cover.)
"""
import json
import os
import sys


def excuses(path, wanted):
    found = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                file, condition, side, _why = (field.strip() for field in line.split(" | ", 3))
                if file in wanted:
                    found[(file, condition, side)] = False
    return found


def source_of(text, branch):
    """The condition, as it is written, on one line."""
    first, from_column, last, to_column = branch[:4]
    lines = text[first - 1:last]
    lines[-1] = lines[-1][:to_column - 1]
    lines[0] = lines[0][from_column - 1:]
    return " ".join(" ".join(lines).split())


def main():
    export, unreachable, *wanted = sys.argv[1:]
    excused = excuses(unreachable, wanted)
    with open(export, encoding="utf-8") as file:
        functions = json.load(file)["data"][0]["functions"]
    branches = {file: {} for file in wanted}
    for function in functions:  # an inline function occurs once for each unit that has it: together they count
        names = [os.path.relpath(name) for name in function["filenames"]]
        for branch in function["branches"]:
            name = names[branch[6]]  # the file in which it is written
            if name in branches:
                taken = branches[name].setdefault(tuple(branch[:4]), [0, 0])
                taken[0] += branch[4]
                taken[1] += branch[5]
    failed = False
    for file in wanted:
        with open(file, encoding="utf-8") as source:
            text = source.read().split("\n")
        sides = [(place, side, n) for place, taken in sorted(branches[file].items())
                 for side, n in zip(("true", "false"), taken)]
        open_sides = []
        excused_here = 0
        for place, side, n in sides:
            key = (file, source_of(text, place), side)
            if n == 0 and key in excused:
                excused[key] = True
                excused_here += 1
            elif n == 0:
                open_sides.append((place, key))
        reached = sum(n > 0 for _, _, n in sides)
        share = 100 * (reached + excused_here) / len(sides) if sides else 100
        print(f"{file:24} {reached:4d} of {len(sides):4d} branches, {excused_here:2d} cannot be taken: {share:6.2f} %")
        for place, (_, condition, side) in open_sides:
            print(f"    {file}:{place[0]}: never {side}: {condition}")
            failed = True
    for key, used in excused.items():
        if not used:
            print(f"{unreachable}: does not hold any more: {' | '.join(key)}")
            failed = True
    if not any(branches.values()):
        print("no branch was found at all")
        failed = True
    print("cover: " + ("there are branches that no input reaches" if failed else "every branch that can be taken is"))
    sys.exit(failed)


main()
