#!/bin/sh
# linear.sh: 16 MiB in 1-byte receives cost linear time. Counts the instructions (valgrind) of one frame fed byte by byte, at
# 1 KiB, 32 KiB, 1 MiB and 16 MiB, and fails unless the instructions per byte are flat within 5 %. No clock is involved.
# Run from the root of the repository; CC and CFLAGS are honoured.
set -eu

: "${CC:=cc}" "${CFLAGS:=-O2}"
command -v valgrind >/dev/null || { echo "linear: valgrind is missing (apt-get install valgrind)" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2086
$CC -std=c11 $CFLAGS -Iinclude -Iproto tests/linear.c proto/scan.c proto/reader.c -o "$dir/linear"

instructions() {
    valgrind --tool=cachegrind --cache-sim=no --branch-sim=no --cachegrind-out-file=/dev/null "$dir/linear" "$1" "$2" 2>&1 |
        awk '/I +refs:/ { gsub(",", "", $NF); print $NF }'
}

bad=0
for way in scan lent direct; do
    none=$(instructions "$way" 0)
    least='' most=''
    for size in 1024 32768 1048576 16777216; do
        all=$(instructions "$way" "$size")
        each=$(awk "BEGIN { printf \"%.3f\", ($all - $none) / $size }")
        echo "linear: $way, $size bytes one by one: $each instructions a byte"
        least=$(printf '%s\n' $least "$each" | sort -n | head -n 1)
        most=$(printf '%s\n' $most "$each" | sort -n | tail -n 1)
    done
    awk "BEGIN { exit !($least > 0 && $most <= 1.05 * $least) }" || { echo "linear: $way is not flat: $least to $most" >&2; bad=1; }
done
exit $bad
