#!/bin/bash
# make cover: which branches of proto/ and src/ are taken by what `make test` runs. Lines and branches of each file, then of both
# parts; fails below 100 % of proto/ and 90 % of src/. tests/cover/branches.py judges. What is Windows' is not built here and
# does not count. The figures are one run's: $BUILD/cover/cover.json has them all, SHOW=1 lists what was not taken.
set -u
build=${BUILD:-build}
root=$build/cover
tests/deps.sh gcovr=gcovr libcmocka-dev:cmocka.h libsodium-dev:sodium.h python3 mandoc=mandoc || exit 1

mkdir -p "$root"
export COVER=1 CFLAGS=-g LDFLAGS="--coverage -Wl,--wrap=_exit $root/exit.o" FRAMED_FEW_CUTS=1
export CC=gcc # whose counts gcovr reads
$CC -std=gnu11 -Wall -Wextra -O1 -fPIC -c tests/cover/exit.c -o "$root/exit.o" || exit 1
make -j2 --no-print-directory BUILD="$root" all tests >"$root/log" 2>&1 || { tail -n 40 "$root/log"; exit 1; }

# Several programs at once add to the same counts: they lock them.
find "$root" -name '*.gcda' -delete
BUILD=$root tests/run.sh || exit 1
gcovr --root . --branches --filter proto/ --filter src/ --filter include/ --json "$root/cover.json" "$root/obj" || exit 1
"${PYTHON:-python3}" -B tests/cover/branches.py "$root/cover.json" fuzz/unreachable.txt
