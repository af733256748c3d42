#!/bin/bash
# soak.sh SECONDS: clients and servers under every fault at once (soak.py says which, and what must hold).
set -u
tests/deps.sh python3 || exit 1
BUILD=${BUILD:-build} exec "${PYTHON:-python3}" -B tests/faults/soak.py "$1"
