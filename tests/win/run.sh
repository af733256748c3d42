#!/bin/sh
# run.sh [BUILD]: builds the library for Windows with MinGW-w64 and runs tests/unit/test_os.c and tests/win/echo.c under Wine.
# As root it installs what is missing through apt-get; else it names it and fails. BUILD, from the root of
# the tree, is build/windows unless given.
set -eu

cd "$(dirname "$0")/../.."
build=${1:-build/windows}
PATH="$PATH:/usr/lib/wine" # where Debian keeps wine64 and wineserver

missing() {
    packages=
    command -v x86_64-w64-mingw32-gcc >/dev/null || packages="gcc-mingw-w64-x86-64-win32"
    command -v wine64 >/dev/null && command -v wineserver >/dev/null || packages="$packages wine64"
    [ -n "$packages" ]
}

if missing && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -qy --no-install-recommends $packages; } >&2 || true
fi
if missing; then
    echo "tests/win/run.sh: missing, install it first: $packages" >&2
    exit 1
fi

flags="-std=c11 -O2 -g -static -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Werror"
paths="-Iinclude -Iproto -Isrc -Isrc/os"
mkdir -p "$build"

# compile PROGRAM SOURCES AND FLAGS...
compile() {
    program=$build/$1.exe
    shift
    x86_64-w64-mingw32-gcc $flags $paths "$@" -o "$program" -lws2_32 -lbcrypt
}
compile test_os -Itests/win/cmocka tests/unit/test_os.c src/os/os_win.c
compile echo proto/*.c src/*.c src/os/os_win.c tests/win/echo.c

# Wine's idea of a Windows, 700 MB of it, in a folder of its own that goes away again with all its processes.
scratch=$(mktemp -d)
export TMPDIR="$scratch" WINEPREFIX="$scratch/prefix" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
clean_up() {
    wineserver -k >/dev/null 2>&1 || true
    timeout 30 wineserver -w >/dev/null 2>&1 || true
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
timeout -k 5 180 wine64 wineboot -i >/dev/null 2>&1 || {
    echo "tests/win/run.sh: Wine could not make its prefix" >&2
    exit 1
}

# The last line counts as well as the status: Wine lets some crashed programs end with 0.
failed=0
for program in test_os echo; do
    status=0
    timeout -k 5 180 wine64 "$build/$program.exe" </dev/null >"$scratch/output" || status=$?
    tr -d '\r' <"$scratch/output"
    if [ "$status" != 0 ] || ! tail -n 1 "$scratch/output" | grep -q ' passed, 0 failed'; then
        echo "tests/win/run.sh: $program.exe failed, its status was $status" >&2
        failed=1
    fi
done
exit "$failed"
