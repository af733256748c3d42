"""Everything that can go wrong between clients and servers, all the time: soak.py SECONDS.

Two worlds, each a server with clients of every kind (swarm.c), plain, with checksums and with keys on one port, some of them
behind a proxy that cuts, stalls, resets and spoils connections, and with peers that misbehave. One server waits with epoll, has two workers and lives as long as the rig;
the other waits with poll, has one, and is drained and replaced, in its process, every half a minute or so. Both run out of
descriptors now and then. At times all are hushed: then no connection may be left, and what the server still holds is a sample.

Bounds: no loss of any kind (ledger.h); as many descriptors in each quiet moment as in the first; after a warm-up (a sixth of
the time) the memory of the server that lives, in quiet moments, does not grow: lines fitted to what it has allocated, and to what
malloc has given out to anybody else in its process, rise by less than SLOPE_KIB an hour beyond twice their standard errors. One leaked
word per connection would be some 100 times as much. Short runs have too few samples for a line: there it is only printed. What is
resident, the heap trimmed before, is more: of a page that holds one block all is. It must stay below five quarters of the most that
was in use.
"""

import contextlib
import os
import random
import signal
import statistics
import sys
import time

import rig

SLOPE_KIB = 64
BLUNT_KIB = 250  # the error of an hour's slopes
SAMPLES_LEAST = 20
# MODE/WAY: swarm.c and ways.h; to the server, and once more through the proxy.
CLIENTS = ["blocking", "pipelined", "foreign", "victims", "blocking/crc32c", "pipelined/crc32c"]
CLIENTS_WITH_KEYS = ["blocking/pinned", "pipelined/psk", "foreign/both", "victims/pinned"]


class World:
    def __init__(self, name, wait, workers, clients):
        self.name = name
        self.ledger = rig.Ledger(name)
        # One arena, and no caches: what the C library keeps for each thread, of ever more sizes, would look like a leak for hours.
        self.server, address = rig.listening(rig.program("server"), self.ledger.path, "127.0.0.1:0", wait, str(workers),
                                             env=dict(os.environ, MALLOC_ARENA_MAX="1", GLIBC_TUNABLES="glibc.malloc.tcache_count=0"))
        self.proxy, behind = rig.listening(rig.program("proxy"), self.ledger.path, "0", address.rsplit(":", 1)[1])
        self.fds = rig.descriptors(self.server.pid)
        self.fds_worst = self.fds
        self.limit = None
        # The server's port is a fixed one from now on: it is bound again after each restart.
        self.swarm = self.ledger.swarm(address, *clients, "rude:2", *(f"{client}@{behind}" for client in clients))
        self.samples = []

    def starve(self):
        """No descriptors for whoever comes next."""
        rig.limit_descriptors(self.server.pid, rig.descriptors(self.server.pid) + random.randrange(3))

    def feed(self):
        rig.limit_descriptors(self.server.pid, 1 << 20)

    def sample(self, began):
        """Everybody is quiet: what is left?"""
        self.feed()
        self.ledger.command("hush")
        rig.wait_until(self.is_quiet, f"{self.name}: quiet", 240)
        looks = self.ledger.figures()["looks"]
        rig.wait_until(lambda: self.ledger.figures()["looks"] >= looks + 2, f"{self.name}: looked at", 240)
        # Who waited to be accepted while descriptors were short, and has gone, may come only now: for a moment.
        with contextlib.suppress(TimeoutError):
            rig.wait_until(lambda: rig.descriptors(self.server.pid) == self.fds, "as many descriptors as at first", 20)
        figures = self.ledger.figures()
        fds = rig.descriptors(self.server.pid)
        if fds != self.fds:
            self.fds_worst = fds
        rss = rig.memory_kib(self.server.pid, "RssAnon")  # the ledger, a file, is in VmRSS as far as it was touched
        allocated, in_use = figures["allocated"], figures["in_use"]
        self.samples.append((time.monotonic() - began, rss, allocated / 1024, (in_use - allocated) / 1024, in_use / 1024))
        print(f"{self.name} {time.monotonic() - began:.0f} s: RSS {rss} KiB, allocated {allocated} bytes, in use {in_use}, "
              f"{fds} descriptors, calls {figures['started']}, {figures['servers']} servers before", flush=True)
        self.ledger.command("go")

    def is_quiet(self):
        figures = self.ledger.figures()
        return figures["connections"] == 0 and figures["open_calls"] == 0


def slope(samples, column):
    """KiB an hour, and its standard error, of the samples after the warm-up; None: too few."""
    at = [s[0] / 3600 for s in samples]
    kib = [s[column] for s in samples]
    if len(at) < 3:
        return None
    line = statistics.linear_regression(at, kib)
    mean = statistics.fmean(at)
    spread = sum((x - mean) ** 2 for x in at)
    rest = sum((y - line.slope * x - line.intercept) ** 2 for x, y in zip(at, kib))
    return line.slope, (rest / (len(at) - 2) / spread) ** 0.5


def misadventures(worlds, bounds, seconds):
    began = time.monotonic()
    pause = 5 if seconds < 120 else 60
    next_sample, next_restart, next_starving, fed = pause, 3.0, 2.0, None
    while (now := time.monotonic() - began) < seconds:
        time.sleep(0.2)
        if now >= next_sample:
            for world in worlds:
                world.sample(began)
            next_sample = now + pause
        if now >= next_restart:
            worlds[1].server.send_signal(signal.SIGUSR2)
            next_restart = now + random.uniform(3, 60 if seconds > 120 else 8)
        if fed is not None and now >= fed:
            for world in worlds:
                world.feed()
            fed = None
        if now >= next_starving:
            random.choice(worlds).starve()
            fed = now + random.uniform(0.2, 3)
            next_starving = now + random.uniform(5, 60 if seconds > 120 else 10)
        for world in worlds:
            for process in (world.server, world.proxy, world.swarm):
                if process.poll() is not None:
                    bounds.hold(False, f"{world.name}: {process.args[0]} ended with {process.returncode}")
                    return
    for world in worlds:
        world.sample(began)


def end_world(world, bounds, keyed):
    world.feed()
    code = rig.end(world.swarm, patience_s=300)
    rig.end(world.proxy)
    server_code = rig.end(world.server)
    figures = world.ledger.figures()
    bounds.hold(code in (0, 1) and server_code == 0, f"{world.name}: swarm ended with {code}, server with {server_code}")
    bounds.hold(rig.losses(figures) == "", f"{world.name}: {rig.losses(figures)}")
    bounds.hold(figures["latest_ms"] < rig.LATEST_MS, f"{world.name}: a call ended {figures['latest_ms']} ms after its deadline")
    bounds.hold(world.fds == world.fds_worst, f"{world.name}: {world.fds} descriptors at first, later {world.fds_worst}")
    ends = sum(figures[name] for name in ("replies", "not_executed", "maybe_executed", "abandoned"))
    # A victim may have been killed between what it did and the account of it.
    bounds.hold(abs(figures["started"] - ends - figures["killed"]) <= figures["kills"] * 2,
                f"{world.name}: {figures['started']} calls, {ends} ends, {figures['killed']} killed")
    for name in ("replies", "checked", *(["sealed"] if keyed else []), "not_executed", "maybe_executed", "timeouts", "kills",
                 "faults", "rudeness", "framing_errors", "deadlines"):
        bounds.hold(figures[name] > 0, f"{world.name}: no {name}: the rig does not do what it should")
    return figures


def main():
    seconds = float(sys.argv[1])
    bounds = rig.Bounds("soak")
    keyed = "psk" in rig.ways()
    clients = CLIENTS + (CLIENTS_WITH_KEYS if keyed else [])
    worlds = [World("lives", "epoll", 2, clients), World("restarts", "poll", 1, clients)]
    misadventures(worlds, bounds, seconds)
    warm = [[s for s in world.samples if s[0] > seconds / 6] for world in worlds]
    fits = [slope(warm[0], column) for column in (2, 3, 1)]
    for what, fit in zip(("what the server allocated", "what others in its process did"), fits):
        if len(warm[0]) >= SAMPLES_LEAST:
            bounds.hold(seconds < 3600 or fit[1] < BLUNT_KIB, f"what {what} is known to {fit[1]:.0f} KiB an hour only")
            bounds.hold(fit[0] - 2 * fit[1] < SLOPE_KIB, f"{what} grows by {fit[0]:.0f} KiB an hour (error {fit[1]:.0f})")
    for world in worlds:
        most = max(s[4] for s in world.samples)
        for sample in world.samples:
            bounds.hold(sample[1] < most * 5 / 4 + rig.OF_THE_PROCESS_KIB, f"{world.name}: {sample[1]} KiB resident, {most:.0f} in use at most")
    figures = [end_world(world, bounds, keyed) for world in worlds]
    both = {name: sum(f[name] for f in figures) for name in figures[0]}
    bounds.hold(figures[1]["servers"] > 1, "no server was replaced")
    words = " ".join(f"{name} {both[name]}," for name in (
        "started", "replies", "checked", "sealed", "not_executed", "maybe_executed", "timeouts", "abandoned", "killed", "kills",
        "faults", "rudeness", "servers", "late_drains", "accepted", "accept_failures", "framing_errors", "deadlines", "latest_ms"))
    grows = "; ".join(f"{what} {fit[0]:+.0f} +- {fit[1]:.0f} KiB/h" for what, fit in zip(
        ("allocated", "by others", "RSS"), fits) if fit is not None)
    bounds.finish(f"{seconds:.0f} s, {words} losses {rig.losses(both) or 0}; {grows} over {len(warm[0])} samples; "
                  f"descriptors {worlds[0].fds} at first, {worlds[0].fds_worst} in every quiet moment")


main()
