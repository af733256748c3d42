#!/bin/sh
# cmocka.sh DIR CC...: cmocka for another machine, for which Debian has only the source: DIR/cmocka.o and DIR/include, built from
# the source package with this compiler and its options. Switches source packages on in apt's lists, in a file of its own, if they
# are off; needs root for that.
set -u
dir=$1
shift
list=/etc/apt/sources.list.d/framed-cmocka-source.sources

[ -f "$dir/cmocka.o" ] && exit 0
"$(dirname "$0")/deps.sh" xz-utils=xz || exit 1
mkdir -p "$dir" && cd "$dir" || exit 1

fail() {
    echo "tests/cmocka.sh: $*" >&2
    exit 1
}

root=
[ "$(id -u)" -eq 0 ] || root='sudo -n'

# One at a time, like apt itself: several machines may be built for at once.
download() {
    ls cmocka_*.orig.tar.?z >/dev/null 2>&1 || apt-get source --download-only cmocka >log 2>&1
}

# "Types: deb" of Debian's own list becomes "Types: deb-src"; older systems have one-line lists.
switch_on() {
    $root true 2>/dev/null || return 1
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources | $root tee "$list" >/dev/null
    else
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list | $root tee "${list%.sources}.list" >/dev/null
    fi
    $root flock /var/lib/dpkg apt-get update >log 2>&1
}

download || { switch_on && download; } || fail "no source package of cmocka (apt-get source cmocka); see $dir/log"
tar xf cmocka_*.orig.tar.?z || fail "cmocka's source package is not what it was"
mkdir -p include && cp cmocka-*/include/*.h include/ || fail "cmocka's source package has no headers"
"$@" -O2 -w -DCMOCKA_STATIC -Iinclude -c cmocka-*/src/cmocka.c -o cmocka.o ||
    fail "cmocka does not compile"
