#!/usr/bin/env python3
"""make scale: many connections, and frames of every size, for which some GiB of memory are needed; prints what it finds and writes
docs/scale.md.

How memory, the rate of accepting and the times of replies grow with the connections, against the bare echo (floor.c) in turn; as
many as five processes may hold; frames from nothing to 1 GiB. The load is `framed bench` in an open loop, so that every size of
the crowd is asked as often, and every connection is used. Memory is what the server has resident of its own (smaps_rollup).
"""

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "compare"))
from compare import built, say, table

FRAMED = built("framed")
CROWD = 19000  # what 20,000 descriptors have room for
PROCESSES = 5
RATE = 5000
READY_S, PATIENCE_S = 20, 300
START_S = 0.5  # within which a load has begun to connect
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def resident(pid):
    """Bytes, and the most there ever were."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        now = int(re.search(r"^Rss: +(\d+) kB", f.read(), re.M).group(1)) * KIB
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return now, int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M).group(1)) * KIB


class Server:
    """A server that echoes, by its port; ended with the block it is used in."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        late = threading.Timer(READY_S, self.process.kill)
        late.start()
        line = self.process.stderr.readline()
        late.cancel()
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", line)
        if found is None:
            raise SystemExit(f"scale: no ready line from {command[0]}: {line}")
        self.address, self.pid = found.group(1), self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def serve(name):
    if name == "floor":
        return Server(built("bench", "floor"), "0")
    return Server(FRAMED, "serve", "127.0.0.1:0", "--echo", "--max-conns", str(CROWD))


class Load:
    """`framed bench` against a server, whose memory is looked at meanwhile."""

    def __init__(self, server, *options):
        self.server, self.before, self.most, self.began = server, resident(server.pid)[0], 0, time.monotonic()
        self.process = subprocess.Popen([FRAMED, "bench", server.address, "--json", "--verify", *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def said(self):
        """Its report, once it is over; what failed is an error, not a figure."""
        limit = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self.most = max(self.most, resident(self.server.pid)[0])
            if time.monotonic() > limit:
                self.process.kill()
                raise SystemExit("scale: a load does not end")
            time.sleep(0.05)
        self.ended = time.monotonic()
        out, talk = self.process.communicate()
        if self.process.returncode != 0:
            raise SystemExit(f"scale: framed bench ended with {self.process.returncode}: {talk}{out}")
        return json.loads(out)


def crowd_of(name, conns, messages):
    """One run: memory per connection, connections a second, p50 and p99 in us."""
    with serve(name) as server:
        load = Load(server, "-c", str(conns), "-R", str(RATE), "-n", str(messages))
        said = load.said()
        if said["opened"] != conns or said["ok"] != messages:
            raise SystemExit(f"scale: {name}: {said['opened']} of {conns} connections, {said['ok']} of {messages} answered")
        return {"memory": (load.most - load.before) / conns, "resident": load.most, "accept": conns * 1e9 / said["connected_ns"],
                "p50": said["response"]["p50_ns"] / 1e3, "p99": said["response"]["p99_ns"] / 1e3}


def median_of(runs, what):
    return statistics.median(run[what] for run in runs)


def ratio_of(ours, floor, what):
    ratios = [a[what] / b[what] for a, b in zip(ours, floor)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def growth(counts, rounds, seconds):
    rows = []
    for conns in counts:
        runs = {"framed": [], "floor": []}
        for i in range(rounds):
            for name in ("framed", "floor") if i % 2 == 0 else ("floor", "framed"):
                runs[name].append(crowd_of(name, conns, max(RATE * seconds, 2 * conns)))
        ours, floor = runs["framed"], runs["floor"]
        rows.append([f"{conns:,}", f"{median_of(ours, 'resident') / KIB:,.0f}",
                     f"{median_of(ours, 'memory'):,.0f}" if conns >= 1000 else "–",
                     f"{median_of(ours, 'accept'):,.0f}", ratio_of(ours, floor, "accept"),
                     f"{median_of(ours, 'p50'):,.0f}", ratio_of(ours, floor, "p50"),
                     f"{median_of(ours, 'p99'):,.0f}", ratio_of(ours, floor, "p99")])
        say(" | ".join(rows[-1]))
    return table(["connections", "server's memory, KiB", "bytes a connection", "connections a second", "÷ bare echo", "p50, µs",
                  "÷ bare echo", "p99, µs", "÷ bare echo"], rows)


def crowd_of_processes(conns, processes):
    """All open at once, each connection asked at least three times: at least once while all the others are open, too."""
    servers = [serve("framed") for _ in range(processes)]
    try:
        loads = [Load(server, "-c", str(conns), "-R", str(RATE // processes), "-n", str(3 * conns)) for server in servers]
        reports = [None] * processes

        def wait_for(i):
            try:
                reports[i] = loads[i].said()
            except SystemExit as reason:
                say(reason)

        threads = [threading.Thread(target=wait_for, args=(i,)) for i in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for server in servers:
            server.__exit__()
    if any(report is None for report in reports):
        raise SystemExit("scale: a load failed")
    all_open = max(load.began + START_S + r["connected_ns"] / 1e9 for load, r in zip(loads, reports))
    last_round = min(load.ended - r["elapsed_ns"] / 3e9 for load, r in zip(loads, reports))
    if all_open >= last_round:
        raise SystemExit("scale: not all were open while each was asked for the last time")
    opened, sent, ok, failed = (sum(r[key] for r in reports) for key in ("opened", "sent", "ok", "failed"))
    memory = sum(load.most - load.before for load in loads) / opened
    text = (f"{opened:,} connections to {processes} processes at once: {sent:,} requests, {ok:,} replies that were right, {failed} failed; each "
            f"connection was asked three times, the last time while all were open. {memory:,.0f} bytes of the servers' memory a connection.")
    say(text)
    return text


def sizes_of(sizes):
    rows = []
    for size in sizes:
        with Server(FRAMED, "serve", "127.0.0.1:0", "--echo", "--max-frame", "1GiB", "--max-memory", "4GiB") as server:
            messages = max(3, min(20000, 2 * GIB // max(size, 1)))
            began = time.monotonic()
            said = Load(server, "-n", str(messages), "--size", str(size), "--max-frame", "1GiB", "-t", "120s").said()
            if said["ok"] != messages:
                raise SystemExit(f"scale: {said['ok']} of {messages} frames of {size} bytes")
            most = resident(server.pid)[1]
        rows.append([f"{size:,}", f"{messages:,}", f"{said['ok'] * 1e9 / said['elapsed_ns']:,.1f}", f"{said['bytes_payload'] / said['elapsed_ns'] * 1e9 / MIB:,.1f}",
                     f"{most / MIB:,.1f}"])
        say(" | ".join(rows[-1]) + f"   ({time.monotonic() - began:.1f} s)")
    return table(["payload, bytes", "messages", "echoed a second", "MiB a second", "most memory of the server, MiB"], rows)


PAGE = """<!-- Written by `make scale` (bench/scale.py). What is changed here by hand is lost. -->
# Scale

`make scale` prints these tables and writes this page, in {took:.0f} s here. Server and load share {cores} cores, and a process
may have {files:,} descriptors. Everything is verified: a reply that is missing or wrong ends the program with an error.

## Connections in one process

`framed serve --echo`, and the bare echo (`bench/floor.c`) in turn, {rounds} times each: medians; ratios of the same round, with
the least and the greatest. All connections are open while {rate:,} requests of 64 bytes a second are spread over them (open loop,
timed from when each was due); every connection is asked at least twice. Connections a second are as `framed bench` makes
them, one address to another: its own work is in it, and the kernel's search for a free port, which grows long when most are
taken. Memory is resident and the server's own; the kernel's is not in it.

{growth}

## Many processes

{many}

## Sizes of frames

One in flight, `framed serve --max-frame 1GiB --max-memory 4GiB`, `framed bench --verify --max-frame 1GiB`. A frame that is
echoed is sent from where it was received: the server needs one of it. What the large ones take is mostly the kernel's: memory
of that size is given back each time and comes anew, page by page, on both ends.

{sizes}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="whether it works: few of everything")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", help="the page")
    options = parser.parse_args()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = min(CROWD, hard - 500) if hard != resource.RLIM_INFINITY else CROWD
    rounds = 1 if options.quick else max(1, options.rounds)
    say(f"connections, {rounds} rounds")
    counts = (10, 1000) if options.quick else (10, 100, 1000, 10000, CROWD)
    grown = growth(sorted({min(n, crowd) for n in counts}), rounds, 1 if options.quick else 4)
    many = crowd_of_processes(1000, 2) if options.quick else crowd_of_processes(crowd, PROCESSES)
    say("sizes")
    sizes = sizes_of((0, 64, MIB) if options.quick else (0, 1, 64, KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, GIB))
    write = options.write or (built("scale-quick.md") if options.quick else "docs/scale.md")
    with open(write, "w", encoding="utf-8") as f:
        f.write(PAGE.format(took=time.monotonic() - began, cores=len(os.sched_getaffinity(0)), files=hard, rounds=rounds, rate=RATE,
                            growth="\n".join(grown), many=many, sizes="\n".join(sizes)))
    say(f"scale: {write} written, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
