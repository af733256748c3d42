#!/bin/bash
# strace.sh [--sample N]: errors injected by strace at each system call of serve, call, ping and inspect (strace.py says what is
# checked). Ends with "N injections, N failed".
set -u
tests/deps.sh strace=strace python3=python3 || exit 1
exec "${PYTHON:-python3}" -B tests/faults/strace.py "${BUILD:-build}/framed" "$@"
