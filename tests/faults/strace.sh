#!/bin/bash
# strace.sh [--sample N] [--sanitized]: errors injected by strace at each system call of serve, call, ping and inspect; strace.py
# says what is checked. Ends with "N injections, N failed".
set -u
tests/deps.sh strace=strace python3=python3 || exit 1
# A leak checker cannot look at a process that strace does.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
exec "${PYTHON:-python3}" -B tests/faults/strace.py "${BUILD:-build}/framed" "$@"
