#!/bin/bash
# fuzz/merge.sh [HARNESS...]: brings fuzz/corpus up to date with what `make fuzz` has found since (in $BUILD/fuzz): the fewest
# and shortest inputs, named by their hash, that reach what all of them reach and the vectors do not.
set -u
build=${BUILD:-build}
root=$build/fuzz
longest=1024 # bytes of an input that is kept
kept=150     # inputs of a harness

names=${*:-$("$root/replay" --names)}
for harness in $names; do
    fuzzer=$root/libfuzzer/fuzz/$harness
    [ -x "$fuzzer" ] || { echo "first: make fuzz" >&2; exit 1; }
    new=$root/merge/$harness
    rm -rf "$new"
    mkdir -p "$new/all" "$new/least" "fuzz/corpus/$harness"
    # What the vectors reach counts as reached: their seeds go first, and out again at the end.
    find "fuzz/corpus/$harness" "$root/queue/$harness" "$root/afl-out/$harness/default/queue" -maxdepth 1 -type f -size -3 2>/dev/null |
        while read -r file; do [ "$(stat -c %s "$file")" -le $longest ] && cp "$file" "$new/all/$(sha1sum <"$file" | cut -c1-40)"; done
    mkdir -p "$new/vectors"
    "$root/replay" --seeds "$harness" "$new/vectors"
    cp "$new/vectors/"* "$new/least/"
    "$fuzzer" -merge=1 -max_len=$longest -timeout=20 "$new/least" "$new/all" >"$new/log" 2>&1 || { tail "$new/log"; exit 1; }
    for file in "$new/vectors/"*; do rm -f "$new/least/$(basename "$file")"; done
    rm -f "fuzz/corpus/$harness/"*
    # Shortest first: when there are too many, the long ones go.
    find "$new/least" -type f -printf '%s %f\n' | sort -n | head -n $kept |
        while read -r _ name; do cp "$new/least/$name" "fuzz/corpus/$harness/$(sha1sum <"$new/least/$name" | cut -c1-40)"; done
    echo "$harness: $(find "fuzz/corpus/$harness" -type f | wc -l) inputs, $(du -sb "fuzz/corpus/$harness" | cut -f1) bytes"
done
