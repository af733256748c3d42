#!/bin/bash
# make check-long: what takes longer than `make check` may: what that does in part, whole; the faults on real sockets; and an
# hour of all of them at once.
# Stages as there, each with a log of its own in $BUILD/check-long. Ends with "N passed, N failed" (stages).
# ONLY="soak" runs just that one; SOAK_SECONDS=60 makes the hour shorter.
set -u
build=${BUILD:-build}
log=$build/check-long
. tests/stages.sh
export TEST_SECONDS=900
sanitize='-O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all -fsanitize=address,undefined'

# Every harness, for longer than `make check` has time.
stage_fuzz() {
    make -j"$jobs" BUILD="$build" fuzz SECONDS="${FUZZ_SECONDS:-300}"
}

# Each planted bug is found by some test.
stage_recall() {
    make BUILD="$build" recall
}

# Whole worlds of clients, servers and faults, from seeds that nobody has tried; the first is said, so that they can be again.
stage_sim() {
    make -j"$jobs" BUILD="$build" sim FIRST=$((RANDOM * 32768 + RANDOM + 1)) SEEDS="${SIM_SEEDS:-150000}"
}

# Every error at every system call; then with the sanitizers looking on.
stage_strace() {
    BUILD=$build tests/faults/strace.sh &&
        make -j"$jobs" BUILD="$build/asan" CC=gcc CFLAGS="$sanitize" all &&
        BUILD=$build/asan tests/faults/strace.sh --sanitized
}

# Two hosts with a bad cable between them, all of it.
stage_net() {
    BUILD=$build tests/faults/net.sh
}

# No descriptors, thousands that stall or never read, SIGKILL, resets at every byte, a full disk.
stage_sockets() {
    BUILD=$build tests/faults/sockets.sh
}

# What the tests reach: all branches of proto/, and most of src/.
stage_cover() {
    make -j"$jobs" BUILD="$build" cover
}

# Every one of the 2^32 length words; every vector, also the large ones, cut at every point.
stage_words() {
    make -j"$jobs" BUILD="$build" "$build/tests/words" "$build/tests/test_vectors" || return 1
    FRAMED_EVERY_CUT=1 "$build/tests/test_vectors" || return 1
    "$build/tests/words"
}

# Byte by byte costs as much a byte for 16 MiB as for 1 KiB: instructions counted.
stage_linear() {
    tests/deps.sh valgrind=valgrind && BUILD=$build tests/linear.sh
}

# All tests with the sanitizers, but two that preload what those have too; and with clang.
stage_asan() {
    make -j"$jobs" BUILD="$build/asan" CC=gcc CFLAGS="$sanitize" all tests &&
        BUILD=$build/asan ASAN_OPTIONS=detect_stack_use_after_return=1 RUN_WITHOUT="test_memory test_failing_calls test_readme" \
            tests/run.sh
}

stage_clang() {
    tests/deps.sh clang=clang || return 1
    make -j"$jobs" BUILD="$build/clang" CC=clang all tests && RUN_ONLY=c BUILD=$build/clang tests/run.sh
}

# Whatever serves once more, waiting with poll instead of epoll.
stage_poll() {
    FRAMED_SERVE_OPTIONS='--wait poll' RUN_ONLY=tool BUILD=$build \
        RUN_WITHOUT="test_completion test_docs test_inspect test_failing_calls" tests/run.sh
}

# All that reads the code.
stage_lint() {
    BUILD=$build tests/lint.sh
}

# What the protocol wants, row by row: of framed, and what Erlang and Twisted do otherwise.
stage_conform() {
    BUILD=$build tests/conform/run.sh
}

stage_windows() {
    make -j"$jobs" BUILD="$build" test-windows
}

# Other machines, with all tests that can run there.
stage_machines() {
    make -j"$jobs" BUILD="$build" test-32 && make -j"$jobs" BUILD="$build" test-musl && make -j"$jobs" BUILD="$build" test-big-endian
}

# That `make compare` and `make scale` work: a few of everything, for an instant. What they find then means nothing.
stage_compare() {
    make -j"$jobs" BUILD="$build" compare QUICK=1 && make -j"$jobs" BUILD="$build" scale QUICK=1
}

# Everything that can go wrong between clients and servers, all the time, for an hour: nothing is lost, nothing leaks.
stage_soak() {
    make -j"$jobs" BUILD="$build" faults && BUILD=$build tests/faults/soak.sh "${SOAK_SECONDS:-3600}"
}

build_first test-deps all faults
lane soak &
lane words linear asan clang poll lint conform windows machines fuzz sim recall strace net sockets cover compare
wait
verdict check-long
