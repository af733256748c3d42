#!/bin/sh
# count.sh [--record]: instructions per message of 64 bytes (callgrind) for decoding, for the server's echo and for the client's
# pipelined call, in batches of 256, against the figures recorded beside it. More than 5 % worse fails; more than 5 % better
# asks for --record. Only with Debian 12's gcc (12), since every compiler counts differently. No clock is involved.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}/count
figures=tests/count/figures
cc=gcc-12
tests/deps.sh $cc=$cc valgrind=valgrind

make -s BUILD="$build" CC=$cc CFLAGS='-O2 -g' CPPFLAGS= LDFLAGS= V= "$build/libframed.a" >/dev/null
sodium=
nm -u "$build/libframed.a" | grep -q crypto_ && sodium=-lsodium
# shellcheck disable=SC2086
$cc -std=c11 -O2 -g -Iinclude -Iproto -Isrc -Isrc/os tests/count/count.c "$build/libframed.a" $sodium -pthread -o "$build/count"

# The same code of libc on every machine.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM

collected() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$build/count" "$1" "$2" 2>&1 | sed -n 's/.*Collected : \([0-9]*\)$/\1/p'
}

bad=0
fresh=
for way in decode echo call; do
    few=$(collected $way 20)
    many=$(collected $way 220)
    each=$(awk "BEGIN { printf \"%.1f\", ($many - $few) / (200 * 256) }")
    fresh="$fresh$way $each
"
    known=$(awk -v way=$way '$1 == way { print $2 }' $figures)
    echo "count: $way: $each instructions a message (recorded: ${known:-none})"
    [ "${1:-}" = --record ] || awk "BEGIN { exit !(${known:-0} > 0 && $each > 1 && $each <= 1.05 * ${known:-0}) }" || {
        echo "count: $way is more than 5 % worse than recorded" >&2
        bad=1
    }
    awk "BEGIN { exit !($each < 0.95 * ${known:-0}) }" && echo "count: $way is better than recorded: tests/count/count.sh --record"
done
if [ "${1:-}" = --record ]; then printf '%s' "$fresh" >$figures; fi
exit $bad
