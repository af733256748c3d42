#!/bin/bash
# fuzz/cover.sh: what the inputs kept in fuzz/corpus and those made of the vectors reach: the branches of scan, reader and writer,
# file by file. Fails unless all are reached that can be (fuzz/unreachable.txt says which cannot, and why).
set -u
build=${BUILD:-build}
root=$build/fuzz/cover
tests/deps.sh libcmocka-dev:cmocka.h python3 clang=clang llvm=llvm-cov || exit 1

mkdir -p "$root"
make -j2 BUILD="$root" CC=clang CFLAGS='-O0 -g -fprofile-instr-generate -fcoverage-mapping' "$root/fuzz/replay" >"$root/log" 2>&1 ||
    { tail -n 40 "$root/log"; exit 1; }

rm -f "$root"/*.profraw
names=$(LLVM_PROFILE_FILE=/dev/null "$root/fuzz/replay" --names)
for harness in $names; do
    LLVM_PROFILE_FILE=$root/$harness-vectors.profraw "$root/fuzz/replay" --vectors "$harness" >>"$root/log" &&
        LLVM_PROFILE_FILE=$root/$harness.profraw "$root/fuzz/replay" "$harness" fuzz/corpus/"$harness"/* || exit 1
done
llvm-profdata merge -sparse "$root"/*.profraw -o "$root/all.profdata" || exit 1
llvm-cov export "$root/fuzz/replay" -instr-profile="$root/all.profdata" >"$root/export.json" || exit 1
"${PYTHON:-python3}" -B fuzz/cover.py "$root/export.json" fuzz/unreachable.txt proto/scan.c proto/reader.c proto/writer.c \
    include/framed/frame.h proto/writer.h proto/length.h proto/be.h
