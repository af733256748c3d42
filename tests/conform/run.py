#!/usr/bin/env python3
"""The rows of proto/conformance against a live socket: whole, byte by byte, and cut in two at every place.

  run.py                      framed: `framed serve` and `framed call`
  run.py --target HOST:PORT   an echo server that runs already; --max-frame N: its limit, if it is known
  run.py --client COMMAND     a client that reads calls from its standard input (tests/conform/erlang_ends.escript says how)
  run.py --only NAME          rows whose name contains NAME; --verbose: every check that differs

Ends with "N rows, N checks" and "N passed, N failed" (rows).
Owns: which checks there are, how many run at once, and what is counted.
Invariants: every row is counted: passed, failed, or not asked; a check that failed only because time passed is asked again alone.
"""

import argparse
import collections
import concurrent.futures
import socket
import sys

import client_role
import rows as conformance
import server_role
import subjects

AT_ONCE = {"server": 48, "client": 12}
ALONE = 2  # how often a check is asked again that was late
ENOUGH = 3  # so many late checks of a row are enough


class Role:
    """All checks of one role against one subject."""

    def __init__(self, name, subject, rows, most_cuts=None):
        self.name, self.subject, self.most_cuts = name, subject, most_cuts
        self.rows = [row for row in rows if subject.can(row)]
        self.not_asked = [row for row in rows if not subject.can(row)]
        self.seen = collections.defaultdict(dict)  # row name: {way: Seen}
        self.checks = 0
        self._waited = collections.Counter()

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE[self.name]) as pool:
            waiting = [(row, way, pool.submit(self._check_in_time, row, pieces)) for row in self.rows for way, pieces in self.ways(row)]
            for row, way, check in waiting:
                if check.result() is not None:
                    self.seen[row.name][way] = check.result()
                    self.checks += 1
        for row, way, pieces in self._unsure():
            for _ in range(ALONE):
                if self._is_unsure(row, way):
                    self.checks += way not in self.seen[row.name]
                    self.seen[row.name][way] = self._check(row, pieces)
            if self._is_unsure(row, way):
                break  # so it was no accident, nor need the others be
        return self

    def _check_in_time(self, row, pieces):
        """None: this row has been waited for in vain so often that it is not asked further, but perhaps alone."""
        if self._waited[row.name] >= ENOUGH:
            return None
        seen = self._check(row, pieces)
        self._waited[row.name] += self.is_late(seen)
        return seen

    def ways(self, row):
        """All ways of sending it; or whole, byte by byte, and most_cuts of the cuts."""
        ways = list(self._ways(row))
        if self.most_cuts is None or len(ways) <= 2 + self.most_cuts:
            return ways
        cuts = ways[2:]
        return ways[:2] + [cuts[n * len(cuts) // self.most_cuts] for n in range(self.most_cuts)]

    def _is_unsure(self, row, way):
        seen = self.seen[row.name].get(way)
        return seen is None or self.is_late(seen)

    def _unsure(self):
        return ((row, way, pieces) for row in self.rows for way, pieces in self.ways(row) if self._is_unsure(row, way))

    def differing(self):
        """(row, {way: Seen}) of each row where something else was seen than expected."""
        for row in self.rows:
            wrong = {way: seen for way, seen in self.seen[row.name].items() if seen != self.expected(row)}
            if wrong:
                yield row, wrong


class ServerRole(Role):
    def __init__(self, subject, rows, most_cuts=None):
        super().__init__("server", subject, rows, most_cuts)

    def _ways(self, row):
        return conformance.ways(row.sent)

    def _check(self, row, pieces):
        return server_role.check(row, pieces, self.subject.address(row), self.subject.answer(row), self.subject.patience)

    @staticmethod
    def is_late(seen):
        return seen.late

    @staticmethod
    def expected(row):
        return server_role.Seen(row.out, row.then)


class ClientRole(Role):
    def __init__(self, subject, rows, most_cuts=None):
        super().__init__("client", subject, rows, most_cuts)

    def _ways(self, row):
        """The n-th way of a row with several parts is the n-th of each."""
        several = len(row.parts) > 1
        each = [list(conformance.ways(part, several)) for part in row.parts]
        for n in range(max(map(len, each))):
            ways = [part[min(n, len(part) - 1)] for part in each]
            yield max(ways, key=lambda way: len(way[1]))[0], [pieces for _, pieces in ways]

    def _check(self, row, pieces):
        return client_role.check(row, pieces, self.subject, self.subject.patience)

    @staticmethod
    def is_late(seen):
        return seen.end == "stays"

    def expected(self, row):
        if isinstance(self.subject, subjects.FramedClient):
            return client_role.expected(row)
        came = tuple(subjects.shown(outcome) for outcome in row.outcomes if outcome not in ("maybe", "not"))
        return client_role.Seen(came, row.then, "", True, client_role.expected(row).end)


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-80:]}"


def report(role, verbose=False):
    """What is said of one role; the number of rows that failed."""
    failed = list(role.differing())
    for row, wrong in failed:
        some = list(wrong.items())
        print(f"DIFFERS {row.name} ({row.clause}), {len(wrong)} of {len(role.seen[row.name])} ways")
        for way, seen in some if verbose else some[:1]:
            print(f"    {way}: {short(seen)}\n    instead of {short(role.expected(row))}")
    counts = collections.Counter(row.file for row in role.rows)
    bad = collections.Counter(row.file for row, _ in failed)
    left = collections.Counter(row.file for row in role.not_asked)
    for file in conformance.FILES[role.name]:
        if counts[file] + left[file]:
            not_asked = f", {left[file]} cannot be asked" if left[file] else ""
            print(f"{file:<20} {counts[file] - bad[file]:4} passed, {bad[file]} failed{not_asked}")
    return len(failed)


def roles_of(args):
    rows = {role: [row for row in conformance.read(role) if args.only in row.name] for role in conformance.FILES}
    if args.target:
        reached(args.target)
        return [ServerRole(subjects.Target(args.target, args.max_frame), rows["server"])]
    if args.client:
        return [ClientRole(subjects.OtherClient(["sh", "-c", args.client]), rows["client"])]
    return [ServerRole(subjects.FramedServers(), rows["server"]), ClientRole(subjects.FramedClient(), rows["client"])]


def reached(target):
    try:
        socket.create_connection(subjects.host_and_port(target), 10).close()
    except (OSError, ValueError) as why:
        sys.exit(f"cannot connect to {target} (HOST:PORT): {why}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target")
    parser.add_argument("--max-frame")
    parser.add_argument("--client")
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    asked = checks = failed = 0
    for role in roles_of(args):
        try:
            role.run()
        finally:
            role.subject.close()
        failed += report(role, args.verbose)
        asked += len(role.rows)
        checks += role.checks
    print(f"{asked} rows, {checks} checks")
    print(f"{asked - failed} passed, {failed} failed")
    return 0 if asked > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
