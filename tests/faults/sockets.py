"""Real faults on real sockets: serve, call and inspect --tap, and the rig's own server and clients (server.c, swarm.c).

    sockets.py [--short] [RIG...]        a line for each rig, then "N passed, N failed"

Checked are outcomes, counts and bytes of memory; never how long something took, but that it ends at all, and that no deadline
came too early. The rigs are in crowds.py and ends.py.
"""

import argparse
import os
import subprocess
import sys
import time

import crowds
import ends
import rig

RIGS = (crowds.no_descriptors, crowds.slowloris, crowds.strangers, crowds.never_read, ends.sigkill, ends.resets, ends.full_disk)


def processor_s():
    return sum(os.times()[:4])


def run(function, short):
    bounds = rig.Bounds(function.__name__)
    began, used = time.monotonic(), processor_s()
    try:
        figures = function(bounds, short)
    except (OSError, EOFError, RuntimeError, IndexError, subprocess.SubprocessError, ValueError, KeyError) as failure:
        bounds.hold(False, f"the rig: {failure!r}")
        figures = ""
    verdict = "FAILED" if bounds.broken else "ok    "
    print(f"{verdict} {function.__name__:14} {figures} [{time.monotonic() - began:.0f} s, processors "
          f"{processor_s() - used:.0f} s]", flush=True)
    return not bounds.broken


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("rig", nargs="*")
    options = parser.parse_args()
    chosen = [function for function in RIGS if not options.rig or function.__name__ in options.rig]
    passed = sum(run(function, options.short) for function in chosen)
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return 0 if passed == len(chosen) and chosen else 1


sys.exit(main())
