#!/bin/bash
# make check: the slow checks, each a stage with a log of its own in $BUILD/check, and each as much of it as 15 minutes of two
# cores have room for: what is done in part here, make check-long does whole. Ends with "N passed, N failed" (stages).
# ONLY="asan layers" runs just these.
set -u
build=${BUILD:-build}
log=$build/check
. tests/stages.sh
export FRAMED_FEW_CUTS=1 # make test has made them all, on this machine
# What is freed is kept aside for 16 MiB, not 256: with pages that are always fresh test_vectors takes six times as long.
export ASAN_OPTIONS=quarantine_size_mb=16
sanitize='-O1 -g1 -fno-omit-frame-pointer -fno-sanitize-recover=all'

# Another compiler, every warning an error. What it builds runs in make check-long, and in the fuzzers here.
stage_clang() {
    tests/deps.sh clang=clang || return 1
    make -j"$jobs" BUILD="$build/clang" CC=clang CFLAGS=-O0 WERROR=1 all tests && echo "clang: nothing to warn of"
}

# The tests once more, with the sanitizers looking on, and whatever serves waiting with poll instead of epoll. Not those that
# preload what the sanitizers have, too; nor the worlds, which stage_sim runs with them; nor, for their time, every single failure and
# most of the tool: make check-long does.
stage_asan() {
    local without="test_memory test_failing_calls test_readme test_sim_faults test_world_seeds test_bench test_docs
        test_completion test_inspect test_ping test_make test_exec test_call test_tap test_keygen test_peer test_net_flow"
    make -j"$jobs" BUILD="$build/asan" CC=gcc WERROR=1 CFLAGS="$sanitize -fsanitize=address,undefined" all tests &&
        FRAMED_SERVE_OPTIONS='--wait poll' BUILD=$build/asan ASAN_OPTIONS=$ASAN_OPTIONS:detect_stack_use_after_return=1 RUN_WITHOUT=$without \
            tests/run.sh
}

# Whole worlds in simulated time, from seeds that nobody has tried yet, with the sanitizers.
stage_sim() {
    local first=$((RANDOM * 32768 + RANDOM + 1)) count=${SIM_SEEDS:-200}
    make -j"$jobs" BUILD="$build/asan" CC=gcc WERROR=1 CFLAGS="$sanitize -fsanitize=address,undefined" "$build/asan/tests/sim" || return 1
    echo "again: make sim FIRST=$first SEEDS=$count"
    "$build/asan/tests/sim" "$first" "$count"
}

# Where threads are: the server's inbox, and what other threads may do.
stage_tsan() {
    local programs
    rm -rf "$build/tsan/tests" # what other programs were built there earlier
    mapfile -t programs < <(basename -s .c -a tests/unit/test_net*.c tests/unit/test_os*.c | grep -vxE 'test_net_(flow|secrets)' |
        sed "s,^,$build/tsan/tests/,")
    make -j"$jobs" BUILD="$build/tsan" CC=gcc CFLAGS="$sanitize -fsanitize=thread" "${programs[@]}" || return 1
    RUN_ONLY=c BUILD=$build/tsan TSAN_OPTIONS=halt_on_error=1 tests/run.sh
}

stage_layers() {
    tests/deps.sh g++=c++ && make BUILD="$build" layers
}

# The planted bugs still are what they were: each applies and compiles. That they are found: make recall.
stage_recall() {
    BUILD=$build tests/recall/recall.py --apply
}

stage_format() {
    tests/deps.sh clang-format=clang-format || return 1
    git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror && echo "format: $(git ls-files '*.c' '*.h' | wc -l) files"
}

# Of all that reads the code the quicker half; make lint has clang-tidy and scan-build too, and reads the tests.
stage_lint() {
    QUICK=1 ONLY='python shellcheck cppcheck analyzer' BUILD=$build tests/lint.sh
}

# One in 241 of the 2^32 length words.
stage_words() {
    make -j"$jobs" BUILD="$build" "$build/tests/words" && "$build/tests/words" 241
}

# The library, the tool and most of their tests on Windows, as Wine has it; the others in make check-long.
stage_windows() {
    QUICK=1 make -j"$jobs" BUILD="$build" SIM= WORLD= test-windows
}

# Every harness under libFuzzer and AFL++; then that the kept inputs reach every branch of scan, reader and writer.
stage_fuzz() {
    make -j"$jobs" BUILD="$build" fuzz SECONDS="${FUZZ_SECONDS:-60}" && make -j"$jobs" BUILD="$build" fuzz-cover
}

# Erlang's and Twisted's own implementations, both ways round.
stage_peers() {
    make -j"$jobs" BUILD="$build" all && BUILD=$build tests/peers/run.sh
}

# What the protocol wants, row by row, of framed.
stage_conform() {
    make -j"$jobs" BUILD="$build" all && QUICK=1 BUILD=$build tests/conform/run.sh
}

# The completion scripts, in the shells they are for.
stage_shells() {
    make -j"$jobs" BUILD="$build" all && BUILD=$build tests/completions.sh
}

# Other machines: the test programs, but the long ones; make check-long runs those and the tools' tests too.
stage_m32() {
    RUN_ONLY=c QUICK=1 make -j"$jobs" BUILD="$build" test-32
}

stage_musl() {
    RUN_ONLY=c QUICK=1 make -j"$jobs" BUILD="$build" test-musl
}

stage_big_endian() {
    RUN_ONLY=c QUICK=1 make -j"$jobs" BUILD="$build" test-big-endian
}

# Without libsodium: what needs it says so, and everything else goes on. (make SODIUM=0 test is all of it.)
stage_bare() {
    local bare=$build/bare test
    make -j"$jobs" BUILD="$bare" SODIUM=0 WERROR=1 all || return 1
    for test in keys keygen crossing; do
        BUILD=$bare FRAMED=$bare/framed "${PYTHON:-python3}" -B "tests/tool/test_$test.py" || return 1
    done
}

# Instructions per message against the recorded figures.
stage_count() {
    BUILD=$build tests/count/count.sh
}

# Errors injected by strace at a choice of the system calls of serve, call, ping and inspect.
stage_strace() {
    make -j"$jobs" BUILD="$build" all && BUILD=$build tests/faults/strace.sh --sample 30
}

# Server and clients on two hosts (network namespaces) with a bad cable between them.
stage_net() {
    make -j"$jobs" BUILD="$build" all && BUILD=$build tests/faults/net.sh --short
}

# Three at a time: most use one core, and several wait most of their time. The long ones first; what several need is built before.
build_first test-deps all tests "$build/tests/words"
share() {
    lane windows asan,sim words lint peers clang m32 tsan fuzz conform big_endian musl strace net count bare recall format shells \
        layers
}
share &
share &
share
wait
verdict check
