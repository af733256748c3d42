#!/bin/bash
# sockets.sh [--short] [RIG...]: real servers and clients against what is rare and hard: no descriptors, thousands of peers that
# stall, peers that never read, SIGKILL, resets at every byte, a full disk; sockets.py says what is checked. Linux, root (of a
# mount namespace of its own, for the disk). Ends with "N passed, N failed" (rigs).
set -u
tests/deps.sh python3=python3 strace=strace util-linux=unshare || exit 1
root=
[ "$(id -u)" -eq 0 ] || root='sudo -n'
exec $root env BUILD="${BUILD:-build}" unshare -m "${PYTHON:-python3}" -B tests/faults/sockets.py "$@"
