#!/bin/bash
# make check-long: what takes longer than `make check` may: the faults on real sockets, and an hour of all of them at once.
# Stages as there, each with a log of its own in $BUILD/check-long. Ends with "N passed, N failed" (stages).
# ONLY="soak" runs just that one; SOAK_SECONDS=60 makes the hour shorter.
set -u
build=${BUILD:-build}
log=$build/check-long
. tests/stages.sh

# Every harness, for longer than `make check` has time.
stage_fuzz() {
    make -j"$jobs" BUILD="$build" fuzz SECONDS="${FUZZ_SECONDS:-300}"
}

# Everything that can go wrong between clients and servers, all the time, for an hour: nothing is lost, nothing leaks.
stage_soak() {
    make -j"$jobs" BUILD="$build" faults && BUILD=$build tests/faults/soak.sh "${SOAK_SECONDS:-3600}"
}

build_first all faults
lane soak &
lane fuzz
wait
verdict check-long
