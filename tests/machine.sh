#!/bin/bash
# machine.sh test-32|test-big-endian|test-musl: library, tool and tests for another machine than this one, and what of the tests runs
# there; ends with "N passed, N failed". What is left out is left out by name, with its reason. QUICK=1: also what takes long,
# which is not built either.
set -u
cd "$(dirname "$0")/.." || exit 1
native=$(realpath "${BUILD:-build}")
jobs=$(nproc 2>/dev/null || echo 2)

# Of the tool tests: two compile programs for this machine, two preload what was made for it.
here_only="test_readme test_docs test_memory test_failing_calls"
# What takes long, and has little to do with the machine: many seeds, threads, clocks.
long="test_net_stress test_net_threads test_net_flow test_net_close test_net_copies test_rigs test_options test_pool
    test_writer test_inspect test_wheel test_reader test_record test_hosts test_tool_histogram test_tool_input test_tool_output"
goals=()
unbuilt=

# Some kernels run no 32-bit programs.
runs_32() {
    local program status
    program=$(mktemp) || return 1
    echo 'int main(void) { return 0; }' | $cc -x c -o "$program" - && "$program"
    status=$?
    rm -f "$program"
    return $status
}

case $1 in
test-32)
    if [ "$(uname -m)" != x86_64 ]; then
        echo "tests/machine.sh: 32 bits are tried on x86-64, this is $(uname -m)" >&2
        exit 1
    fi
    # Not gcc-multilib: that conflicts with every cross compiler. It lacks one link to the system's headers, hence -idirafter.
    packages="gcc-$(gcc -dumpversion | cut -d. -f1)-multilib"
    cc="gcc -m32 -idirafter /usr/include/x86_64-linux-gnu"
    ar="ar"
    cflags='-O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all -fsanitize=address,undefined -Wno-psabi'
    ldflags=
    runner=
    without=$here_only
    # What is freed is kept aside only briefly: 4 GiB of addresses are few.
    export ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=1:thread_local_quarantine_size_kb=64
    # shellcheck disable=SC2086
    tests/deps.sh $packages || exit 1
    if ! runs_32 2>/dev/null; then
        echo "test-32: this kernel runs no 32-bit programs: emulated, and without AddressSanitizer, which the emulator does not bear"
        packages="$packages qemu-user-static=qemu-i386-static"
        cflags=${cflags/address,/}
        runner=qemu-i386-static
        # There a thread that has had a signal is taken for another, which test_net joins.
        without="$here_only test_net ${QUICK:+test_vectors}"
    fi
    ;;
test-big-endian)
    packages="gcc-s390x-linux-gnu=s390x-linux-gnu-gcc libc6-dev-s390x-cross qemu-user-static=qemu-s390x-static"
    cc=s390x-linux-gnu-gcc
    ar=s390x-linux-gnu-ar
    cflags='-O2 -g'
    ldflags=
    runner="qemu-s390x-static -L /usr/s390x-linux-gnu"
    without=$here_only
    ;;
test-musl)
    packages="musl-tools=musl-gcc"
    # musl has no ucontext, on which the simulator's actors stand; and what brings system calls of its own cannot be linked statically.
    unbuilt="test_os_posix test_os_posix_calls"
    goals=(SIM= WORLD=)
    cc=musl-gcc
    ar="ar"
    cflags='-O1 -g1'
    ldflags=-static
    runner=
    # Its malloc maps and unmaps every large buffer, of which there are many in that one.
    without="$here_only ${QUICK:+test_vectors}"
    ;;
*)
    echo "usage: tests/machine.sh test-32|test-big-endian|test-musl" >&2
    exit 2
    ;;
esac

if [ -n "${QUICK:-}" ]; then
    without="$without $long $(basename -s .c -a tests/sim/test_*.c tests/world/test_*.c)" # there may be older ones
    unbuilt="$unbuilt $without"
    goals=(SIM= WORLD=)
fi
units=
for unit in tests/unit/test_*.c; do
    # shellcheck disable=SC2086
    case " $(echo $unbuilt) " in *" $(basename -s .c "$unit") "*) ;; *) units="$units $unit" ;; esac
done
goals+=(UNIT="$units")

export BUILD=$native/${1#test-}
# shellcheck disable=SC2086
tests/deps.sh python3 $packages && tests/source.sh cmocka "$BUILD/cmocka" $cc -DHAVE_SIGNAL_H || exit 1
# shellcheck disable=SC2086
make -j"$jobs" --no-print-directory TARGET=machine BUILD="$BUILD" CC="$cc" AR="$ar" CFLAGS="$cflags" LDFLAGS="$ldflags" SODIUM=0 WERROR=1 \
    all tests "${goals[@]}" || exit 1

# What the tool tests run.
printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$runner" "$BUILD/framed" >"$BUILD/tool" && chmod +x "$BUILD/tool" || exit 1
RUNNER=$runner RUN_WITHOUT="$without ${RUN_WITHOUT:-}" FRAMED=$BUILD/tool tests/run.sh
