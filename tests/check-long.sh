#!/bin/bash
# make check-long: what takes longer than `make check` may: the faults on real sockets, and an hour of all of them at once.
# Stages as there, each with a log of its own in $BUILD/check-long. Ends with "N passed, N failed" (stages).
# ONLY="fuzz" runs just that one.
set -u
build=${BUILD:-build}
log=$build/check-long
. tests/stages.sh

# Every harness, for longer than `make check` has time.
stage_fuzz() {
    make -j"$jobs" BUILD="$build" fuzz SECONDS="${FUZZ_SECONDS:-300}"
}

build_first all
lane fuzz &
wait
verdict check-long
