#!/bin/sh
# source.sh cmocka|libsodium DIR CC...: a library for another machine, for which Debian has only the source: DIR/cmocka.o or
# DIR/libsodium.a, and DIR/include, built once from the source package with this compiler and its options (AR: what makes archives).
# Switches source packages on in apt's lists, in a file of its own, if they are off; needs root for that.
set -u
package=$1
dir=$2
shift 2
list=/etc/apt/sources.list.d/framed-source.sources

fail() {
    echo "tests/source.sh: $*" >&2
    exit 1
}

root=
[ "$(id -u)" -eq 0 ] || root='sudo -n'

download() {
    ls "${package}"_*.orig.tar.?z "${package}"_*.debian.tar.?z >/dev/null 2>&1 || apt-get source --download-only "$package" >log 2>&1
}

# "Types: deb" of Debian's own list becomes "Types: deb-src"; older systems have one-line lists. One at a time, like apt itself.
switch_on() {
    $root true 2>/dev/null || return 1
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources | $root tee "$list" >/dev/null
    else
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list | $root tee "${list%.sources}.list" >/dev/null
    fi
    $root flock /var/lib/dpkg apt-get update >log 2>&1
}

# The source as Debian builds it: with its patches. Always anew, so that none is there already.
unpack() {
    rm -rf source include debian
    mkdir source && tar xf "${package}"_*.orig.tar.?z -C source --strip-components=1 && tar xf "${package}"_*.debian.tar.?z || return 1
    [ -f debian/patches/series ] || return 0
    sed 's/[ #].*//; /^$/d' debian/patches/series | while read -r name; do
        patch -s -p1 -d source <"debian/patches/$name" || exit 1
    done
}

build_cmocka() { # COMPILER...
    cp -r source/include include && "$@" -O2 -w -DCMOCKA_STATIC -Iinclude -c source/src/cmocka.c -o new
}

# Its configure script is not in the package: what it would have found out of MinGW-w64 on x86-64.
build_libsodium() {
    own=source/src/libsodium/include
    cp -r $own include && cp source/builds/msvc/version.h include/sodium/ && mkdir -p objects || return 1
    for header in MMINTRIN EMMINTRIN PMMINTRIN TMMINTRIN SMMINTRIN AVXINTRIN AVX2INTRIN; do set -- "$@" "-DHAVE_${header}_H=1"; done
    set -- "$@" -O2 -w -DSODIUM_STATIC -DCONFIGURED=1 -DNATIVE_LITTLE_ENDIAN=1 -DHAVE_TI_MODE=1 -DHAVE_CPUID=1 -Iinclude/sodium -Iinclude
    find source/src/libsodium -name '*.c' -print0 | xargs -0 -P "$(nproc)" -I {} sh -c \
        'file=$1; shift; exec "$@" -c "$file" -o "objects/$(echo "${file#source/src/libsodium/}" | tr / -).o"' - {} "$@" || return 1
    ${AR:-ar} rcs new objects/*.o
}

case $package in
cmocka) made=cmocka.o ;;
libsodium) made=libsodium.a ;;
*) fail "$package is none of cmocka, libsodium" ;;
esac
[ -f "$dir/$made" ] && exit 0
"$(dirname "$0")/deps.sh" xz-utils=xz patch || exit 1
mkdir -p "$dir" && cd "$dir" || exit 1
exec 9>lock && flock 9 || fail "$dir cannot be locked" # whoever else builds it here is waited for
[ -f $made ] && exit 0
download || { switch_on && download; } || fail "no source package of $package (apt-get source $package); see $dir/log"
rm -f new
{ unpack && "build_$package" "$@"; } >log 2>&1 || fail "$package does not build from its source package; see $dir/log"
mv new $made && rm -rf source debian objects || fail "$dir/$made cannot be made"
