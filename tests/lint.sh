#!/bin/bash
# make lint: programs that read the code without running it: cppcheck, clang-tidy (.clang-tidy), gcc -fanalyzer, scan-build; for
# the scripts shellcheck, for Python pyflakes. None may have anything to say. What one is wrong about is suppressed in that line,
# with the reason; what a whole family is wrong about, here or in .clang-tidy, with the reason.
# ONLY="cppcheck shellcheck" runs just these. QUICK=1: cppcheck reads only what is installed. A line for each, with its seconds.
set -u
build=${BUILD:-build}
log=$build/lint
mkdir -p "$log"
jobs=$(nproc 2>/dev/null || echo 2)
include=(-DFRAMED_SODIUM -Iinclude -Iproto -Isrc -Isrc/os -Isrc/cli)
mapfile -t ours < <(git ls-files 'proto/*.c' 'src/*.c' | grep -v '_win[_a-z]*\.c$')
mapfile -t windows < <(git ls-files 'src/*.c' | grep '_win[_a-z]*\.c$')
mapfile -t around < <(git ls-files 'bench/*.c' 'fuzz/*.c' 'tests/*.c' | grep -v '^tests/win/')
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
mapfile -t python < <(git ls-files '*.py')

lint_cppcheck() {
    local options=(--quiet --std=c11 '--enable=warning,portability,performance' --inline-suppr --error-exitcode=1
        --suppress=missingIncludeSystem "${include[@]}" # what it needs of the system it knows itself
        -DSODIUM_LIBRARY_VERSION_MAJOR=10 -DSODIUM_LIBRARY_VERSION_MINOR=3)
    cppcheck "${options[@]}" "${ours[@]}" && cppcheck "${options[@]}" --platform=win64 -D_WIN32 -D_WIN64 "${windows[@]}" &&
        if [ -n "${QUICK:-}" ]; then around=(); else cppcheck "${options[@]}" -Itests/support -Itests/noise -Ifuzz "${around[@]}"; fi &&
        echo "$((${#ours[@]} + ${#windows[@]} + ${#around[@]})) files"
}

# It says how many warnings it kept to itself; only those it shows count.
lint_tidy() {
    printf '%s\n' "${ours[@]}" | xargs -P "$jobs" -n 6 sh -c 'clang-tidy --quiet --warnings-as-errors="*" "$@" -- '"-std=c11 ${include[*]}"' 2>/dev/null' - ||
        return 1
    echo "${#ours[@]} files"
}

analyze() { # COMPILER FILE...: with -O1 it sees through inlined functions
    local compiler=$1
    shift
    printf '%s\n' "$@" | xargs -P "$jobs" -n 1 "$compiler" -std=c11 -O1 -fanalyzer -Werror "${include[@]}" -c -o /dev/null
}

# Not of the tests: it does not know that their assertions do not come back.
lint_analyzer() {
    analyze gcc "${ours[@]}" && analyze x86_64-w64-mingw32-gcc "${windows[@]}" && echo "$((${#ours[@]} + ${#windows[@]})) files"
}

# The whole build, as make does it; the same limit.
lint_scan() {
    rm -rf "$log/scan"
    scan-build --status-bugs -o "$log/found" --use-cc=gcc make -s -j"$jobs" BUILD="$log/scan" CFLAGS=-O0 "$log/scan/framed" \
        "$log/scan/bench/loadgen" "$log/scan/bench/bench" >"$log/scan.log" 2>&1 || { grep -A5 'warning:' "$log/scan.log"; tail -n 5 "$log/scan.log"; return 1; }
    echo 'the library, the tool, bench'
}

# Its notes are about words that are split, which is mostly meant.
lint_shellcheck() {
    shellcheck --severity=warning "${scripts[@]}" && echo "${#scripts[@]} scripts"
}

lint_python() {
    pyflakes3 "${python[@]}" && echo "${#python[@]} files"
}

tests/deps.sh cppcheck=cppcheck clang-tidy=clang-tidy clang-tools=scan-build shellcheck=shellcheck pyflakes3=pyflakes3 \
    gcc-mingw-w64-x86-64-win32=x86_64-w64-mingw32-gcc libsodium-dev:sodium.h || exit 1
ran=0
failed=0
programs="python shellcheck cppcheck analyzer tidy scan"
for name in $programs; do
    if [ -n "${ONLY:-}" ] && ! grep -qw -- "$name" <<<"$ONLY"; then continue; fi
    began=$SECONDS
    ran=$((ran + 1))
    if "lint_$name" >"$log/$name.log" 2>&1; then
        printf '%-12s %4d s  %s\n' "$name" $((SECONDS - began)) "$(tail -n 1 "$log/$name.log")"
    else
        printf '%-12s %4d s  FAILED\n%s\n' "$name" $((SECONDS - began)) "$(tail -n 80 "$log/$name.log")"
        failed=$((failed + 1))
    fi
done
if [ $ran -eq 0 ]; then
    echo "tests/lint.sh: ONLY=\"$ONLY\" names none of: $programs" >&2
    exit 2
fi
[ $failed -eq 0 ] && echo "lint: nobody has anything to say"
