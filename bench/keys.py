#!/usr/bin/env python3
"""make keys: what checksums and encryption cost over TCP, as ratios to plain frames of the same round, and to libsodium's own time.

`framed serve --echo` is on one core, `framed bench` on another, so both ends check, seal and open. A round runs every protection once,
each with a fresh server, in an order that rotates. A ratio is the median of its rounds, in brackets half the range of their middle half.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build")
FRAMED = os.path.join(BUILD, "framed")
TICK = os.sysconf("SC_CLK_TCK")

WORKS = {
    "64 B, 1 connection, 256 in flight": ("-c", "1", "--pipeline", "256", "--size", "64"),
    "64 B, 64 connections, 4 in flight": ("-c", "64", "--pipeline", "4", "--size", "64"),
    "1 MiB, 1 connection, 8 in flight": ("-c", "1", "--pipeline", "8", "--size", "1MiB"),
}
LONG = "1 MiB, 1 connection, 8 in flight"
LEAST = {"crc32c": 0.95, "encrypted": 0.6}  # of the rate of plain frames, at 64 B
SIZES = {name: (1 << 20 if name == LONG else 64) + 4 for name in WORKS}  # of a frame
WARMUP_S = 0.3
UNSTEADY = 0.05  # a spread above this is no excuse for missing a target
MOST = 1.10  # of libsodium's time and that of plain frames together, at 1 MiB


def protections(folder):
    """{name: options of both ends}, whose keys are made there; libsodium may not be there."""
    ways = {"plain": (), "crc32c": ("--checksum", "crc32c")}
    path = os.path.join(folder, "psk")
    made = subprocess.run([FRAMED, "keygen", "--psk", "--id", "bench", "-o", path], capture_output=True, check=False)
    if made.returncode == 0:
        ways["encrypted"] = ("--psk", path)
    return ways


def cubic():
    """One congestion control for all, where it can be had: with the system's, long frames may measure nothing else."""
    tried = subprocess.run([FRAMED, "call", "127.0.0.1:9", "--congestion", "cubic", "-m", "x"], capture_output=True, text=True, check=False)
    return () if "--congestion" in tried.stderr else ("--congestion", "cubic")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def run(work, options, seconds):
    """(messages a second, server's processor time of a message in ns)"""
    with subprocess.Popen(["taskset", "-c", "0", FRAMED, "serve", "127.0.0.1:0", "--echo", *options], stderr=subprocess.PIPE, text=True) as server:
        try:
            address = server.stderr.readline().split()[3]
            began = cpu_s(server.pid)
            load = ["taskset", "-c", "1", FRAMED, "bench", address, *work, *options, "-d", f"{seconds * 1000:.0f}ms", "--warmup", f"{WARMUP_S * 1000:.0f}ms", "--json"]
            said = json.loads(subprocess.run(load, stdout=subprocess.PIPE, check=True).stdout)
            if said["failed"] > 0:
                sys.exit(f"keys: {said['failed']} requests failed: {said['failures']}")
            return said["rate"], (cpu_s(server.pid) - began) / (said["sent"] + said["rate"] * WARMUP_S) * 1e9
        finally:
            server.terminate()


def libsodium_s():
    """To seal 1 MiB in records, and to open it, on the slower of the two cores while both do, as both ends have to."""
    seal = os.path.join(BUILD, "bench/seal")
    both = [subprocess.Popen(["taskset", "-c", core, seal, "own"], stdout=subprocess.PIPE, text=True) for core in "01"]
    said = [one.communicate()[0].split() for one in both]
    if any(one.returncode != 0 for one in both):
        sys.exit("keys: bench/seal failed")
    return max(sum(float(word) for word in words) for words in said) / 1e9


def told(values):
    values = sorted(values)
    quarter = (values[len(values) * 3 // 4] - values[len(values) // 4]) / 2
    return statistics.median(values), quarter, f"{statistics.median(values):.3f} ({quarter:.3f})"


def judge(beyond, spread):
    """In the words of bench/bench.c: how far it is beyond its target."""
    if beyond <= 0:
        return "met"
    if beyond > spread:
        return "missed"
    return "met, within the spread" if spread <= UNSTEADY else "unclear, too unsteady here"


def one_round(work, ways, same, seconds, turn):
    """{way: (rate, processor time)}, and libsodium's own time for 1 MiB, as it was before and behind the encrypted run."""
    order = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
    found, own = {}, 0.0
    for way in order:
        before = libsodium_s() if way == "encrypted" else 0.0
        found[way] = run(work, (*ways[way], *same), seconds)
        own = (before + libsodium_s()) / 2 if way == "encrypted" else own
    return found, own


def tell_encrypted(name, rounds, own):
    """What of it is libsodium's: an end seals a message and opens one."""
    size = SIZES[name] / (1 << 20)
    if name == LONG:
        sums = [(1 / found["encrypted"][0]) / (sodium * size + 1 / found["plain"][0]) for found, sodium in zip(rounds, own)]
        ratio, spread, text = told(sums)
        print(f"    encrypted  {text} of the time of libsodium (to seal and to open, {statistics.median(own) * size * 1e3:.2f} ms) and plain frames together; "
              f"target <= {MOST:.2f}: {judge(ratio - MOST, spread)}", flush=True)
    else:
        share = told([sodium * size * found["encrypted"][0] for found, sodium in zip(rounds, own)])[2]
        print(f"    encrypted  {share} of its time is what libsodium alone takes at each end, to seal a frame and to open one", flush=True)


def measure(args, ways, same):
    for name, work in WORKS.items():
        rounds, own = zip(*(one_round(work, ways, same, args.seconds, i) for i in range(args.rounds)))
        print(f"{name}: plain {statistics.median(found['plain'][0] for found in rounds):,.0f} messages a second", flush=True)
        for way in list(ways)[1:]:
            ratio, spread, text = told([found[way][0] / found["plain"][0] for found in rounds])
            cpu = told([found[way][1] / found["plain"][1] for found in rounds])[2]
            target = f"; target >= {LEAST[way]}: {judge(LEAST[way] - ratio, spread)}" if name != LONG else ""
            print(f"    {way:10} {text} of plain's rate{target}; {cpu} of its processor time at the server", flush=True)
        if "encrypted" in ways:
            tell_encrypted(name, rounds, own)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(args, protections(folder), cubic())


if __name__ == "__main__":
    main()
