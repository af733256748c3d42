#!/bin/sh
# make layers: proves what the house promises.
#   1. proto/ builds with only include/ and proto/ on the include path, and needs nothing from outside but mem* and the
#      compiler's own runtime; what encrypts libsodium, too (SODIUM=0: there is none, and of these only those are looked at that do without).
#   2. Nothing outside src/os and the tool's host files includes a header of an operating system.
#   3. Nothing in src/os includes anything of the protocol but the contract's own headers.
#   4. The tool uses public headers, its own, os.h, loop.h and address.h.
#   5. Every public header compiles alone, as C11 and as C++17.
#   6. The libraries export framed_ names and nothing else.
set -u
build=${BUILD:-build}
cc=${CC:-cc}
dir=$build/layers
failed=0
rm -rf "$dir"
mkdir -p "$dir"

bad() {
    failed=$((failed + 1))
    echo "layers: $*" >&2
}

only='proto/noise.c proto/channel_noise.c' # without libsodium there is nothing of them
encrypts="$only proto/keys.c proto/channel_sum.c"
with=
[ "${SODIUM:-1}" = 0 ] || with=-DFRAMED_SODIUM
for f in proto/*.c; do
    if [ -z "$with" ]; then case " $only " in *" $f "*) continue ;; esac; fi
    # shellcheck disable=SC2086
    $cc -std=c11 -O2 $with -ffreestanding -Iinclude -Iproto -c "$f" -o "$dir/$(basename "$f" .c).o" || bad "$f does not build by itself"
done
sodium='crypto_[a-z0-9_]*|sodium_[a-z0-9_]*'
undefined=$(
    for o in "$dir"/*.o; do
        foreign=
        case " $encrypts " in *" proto/$(basename "$o" .o).c "*) foreign=$sodium ;; esac
        nm -u "$o" | sed -n 's/^ *U //p' | grep -vxE "$foreign"
    done | sort -u
)
defined=$(nm --defined-only "$dir"/*.o | awk 'NF == 3 {print $3}' | sort -u)
for s in $undefined; do
    case $s in
    memcpy | memmove | memset | memcmp | __stack_chk_fail | _GLOBAL_OFFSET_TABLE_) ;;
    __cpu_model) ;; # what the compiler's runtime has found out about the processor: __builtin_cpu_supports
    *) echo "$defined" | grep -qx "$s" || bad "proto/ needs $s from outside" ;;
    esac
done
for h in $(sed -n 's/^ *# *include *<\([^>]*\)>.*/\1/p' proto/*.[ch] | sort -u); do
    case $h in
    stddef.h | stdint.h | stdbool.h | string.h | limits.h | framed/base.h | framed/frame.h | framed/secure.h) ;;
    arm_acle.h) ;; # the compiler's own
    sodium.h) ;;   # see below
    *) bad "proto/ includes <$h>" ;;
    esac
done
for f in $(grep -lE '# *include *[<"]sodium' include/framed/*.h proto/*.[ch] src/*.[ch] src/os/*.[ch] src/cli/*.[ch]); do
    case " $encrypts " in *" $f "*) ;; *) bad "$f includes libsodium's headers, which is for $encrypts" ;; esac
done

# The compiler's and C's own; sanitizer/: what ASan is told, where it is the compiler's.
free='sanitizer/asan_interface.h|assert.h|stddef.h|stdint.h|stdbool.h|stdarg.h|stdatomic.h|string.h|limits.h|stdio.h|stdlib.h|inttypes.h|errno.h|signal.h|time.h|math.h|locale.h'
for f in src/*.[ch] src/cli/*.[ch]; do
    case $f in src/cli/host*) continue ;; esac
    for h in $(sed -n 's/^ *# *include *<\([^>]*\)>.*/\1/p' "$f"); do
        echo "$h" | grep -qE "^(framed/.*|$free)\$" || bad "$f includes <$h>, which is for src/os"
    done
    case $f in
    src/cli/*) ;;
    *) grep -nE '# *include *<(errno|time|signal)\.h>' "$f" && bad "$f has errno, time or signals of its own" ;;
    esac
    grep -nE '_WIN32|__linux__|__APPLE__' "$f" && bad "$f knows its platform"
done
for f in src/os/*.[ch]; do
    for h in $(sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$f"); do
        case $h in
        os.h | os_posix.h | os_win.h | */proto/alloc.h | */proto/be.h) ;;
        *) bad "$f includes \"$h\"" ;;
        esac
    done
done
for f in src/cli/*.[ch]; do
    for h in $(sed -n 's/^ *# *include *"\([^"]*\)".*/\1/p' "$f"); do
        case $h in
        os.h | loop.h | address.h | channel.h) ;;
        *) [ -e "src/cli/$h" ] || bad "$f includes \"$h\"" ;;
        esac
    done
done

for h in include/framed/*.h; do
    name=${h#include/}
    echo "#include <$name>" >"$dir/alone.c"
    $cc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -c "$dir/alone.c" -o "$dir/alone.o" || bad "$name does not compile alone as C11"
    if command -v c++ >/dev/null 2>&1; then
        c++ -x c++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -c "$dir/alone.c" -o "$dir/alone.o" || bad "$name does not compile alone as C++17"
    else
        bad "no C++ compiler: $name was not tried as C++17"
    fi
done

foreign=$(nm --defined-only -g "$build/libframed.a" | awk 'NF == 3 {print $3}' | grep -v '^framed_' | sort -u)
[ -z "$foreign" ] || bad "libframed.a defines $foreign"
inner=$(nm -D --defined-only "$build/libframed.so.0" | awk 'NF == 3 {print $3}' | grep -E '^framed_(os|loop|pool|wheel|conn|guest|inbox|hosts|log|ordered|address|tunnel|channel|strangers)_' | sort -u)
[ -z "$inner" ] || bad "libframed.so.0 exports $inner"

[ "$failed" -eq 0 ] && echo "layers: proto computes, src/os acts, headers stand alone"
[ "$failed" -eq 0 ]
