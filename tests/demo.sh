#!/bin/sh
# make demo: the whole way, with nothing but what was just built: serve, call with real input, compare, measure, stop.
set -eu
build=${BUILD:-build}
framed=$build/framed
dir=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n$ %s\n' "$*"; }
same() {
    if cmp -s "$1" "$2"; then
        echo "came back unchanged: $3"
    else
        echo "CHANGED on the way: $3"
        exit 1
    fi
}

say "framed serve 127.0.0.1:0 --echo"
: >"$dir/server"
"$framed" serve 127.0.0.1:0 --echo 2>"$dir/server" &
server=$!
i=0
until grep -q 'listening on' "$dir/server"; do
    i=$((i + 1))
    if [ $i -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
        cat "$dir/server"
        exit 1
    fi
    sleep 0.1
done
head -n 1 "$dir/server"
at=$(sed -n 's/.*listening on \([^ ]*\).*/\1/p' "$dir/server" | head -n 1)

say "framed call $at < README.md        # a line is a message"
"$framed" call "$at" <README.md >"$dir/lines"
same README.md "$dir/lines" "every line of README.md"

say "framed call $at --whole < 5 MB     # a file is a message"
dd if=/dev/urandom of="$dir/big" bs=100000 count=50 2>/dev/null
"$framed" call "$at" --whole <"$dir/big" >"$dir/big.back"
same "$dir/big" "$dir/big.back" "$(wc -c <"$dir/big") random bytes in one message"

say "framed call $at --pipeline 1000 < 1,000 lines"
i=0
while [ $i -lt 1000 ]; do
    i=$((i + 1))
    echo "message $i"
done >"$dir/many"
"$framed" call "$at" --pipeline 1000 <"$dir/many" >"$dir/many.back"
same "$dir/many" "$dir/many.back" "1000 messages, all sent before the first reply was waited for"

say "the load generator of make bench, two seconds, 64 connections, 16 messages of 64 bytes in flight on each"
"$build/bench/loadgen" "$at" -c 64 -p 16 -s 64 -d 2

say "kill -TERM: drain and stop"
kill -TERM "$server"
wait "$server"
server=
echo "the server answered what it had, closed, and ended with status 0"
