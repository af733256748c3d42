#!/bin/bash
# make test-windows: the tests that make windows has built, and the tool tests, under Wine; ends with "N passed, N failed".
# Everything of Wine's lies in a scratch folder and goes away again with all its processes. RUN_ONLY=c or RUN_ONLY=tool: only
# these. QUICK=1: not what takes long and has little to do with Windows. Which C tests are left out is said in tests.mk, which tool tests in tool.py.
set -u
cd "$(dirname "$0")/../.." || exit 1
native=$(realpath "${BUILD:-build}")
build=$native/windows
python=${PYTHON:-python3}
log=$build/log
passed=0
failed=0
mkdir -p "$log"

PATH="$PATH:/usr/lib/wine" # where Debian keeps wine64 and wineserver
tests/deps.sh wine64=wine64 python3 || exit 1

scratch=$(mktemp -d)
export WINEPREFIX="$scratch/prefix" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=,winemenubuilder.exe="
clean_up() {
    wineserver -k >/dev/null 2>&1
    timeout 30 wineserver -w >/dev/null 2>&1
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$WINEPREFIX"
timeout -k 5 180 wine64 wineboot -i >/dev/null 2>&1 || {
    echo "tests/win/run.sh: Wine could not make its prefix" >&2
    exit 1
}
# Keeps Wine's services up: else the first program of each test would start them, and they keep its pipes.
timeout 3600 wine64 "$build/framed.exe" serve 127.0.0.1:0 </dev/null >/dev/null 2>&1 &

# What the tool tests run as FRAMED.
cat >"$scratch/framed" <<EOF
#!/bin/sh
exec wine64 "$build/framed.exe" "\$@"
EOF
chmod +x "$scratch/framed"

# NAME STATUS PASSED FAILED: a program that died, or ran nothing, has failed whatever it printed.
report() {
    local failures=$4
    if [ "$2" -ne 0 ] && [ "$4" -eq 0 ] || [ $(($3 + $4)) -eq 0 ]; then failures=$(($4 + 1)); fi
    passed=$((passed + $3))
    failed=$((failed + failures))
    printf '%-28s %4d passed' "$1" "$3"
    if [ "$failures" -gt 0 ]; then
        printf ', %d FAILED (status %d)\n' "$failures" "$2"
        tail -n 60 "$log/$1"
    else
        printf '\n'
    fi
}

# Wine itself fails now and then: a program that did is run once more, three at most, and that is said.
again=3

c_test() {
    local status
    timeout -k 5 180 wine64 "$1" </dev/null >"$log/$2" 2>&1
    status=$?
    if [ $status -ne 0 ] && [ $((again--)) -gt 0 ]; then
        echo "$2: status $status, once more, for it may have been Wine: $(tail -n 1 "$log/$2")"
        timeout -k 5 180 wine64 "$1" </dev/null >"$log/$2" 2>&1
        status=$?
    fi
    report "$2" $status "$(grep -c '^\[       OK \]' "$log/$2")" "$(sed '/listed below/,$d' "$log/$2" | grep -c '^\[  FAILED  \] [a-z]')"
}

tool_test() {
    local name=tool_$1 status ran='' bad=''
    NATIVE="$native" WINDOWS="$build" FRAMED="$scratch/framed" FRAMED_PROGRAM="$build/framed.exe" \
        timeout -k 5 900 "$python" -B tests/win/tool.py "$1" >"$log/$name" 2>&1
    status=$?
    read -r ran bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$log/$name")
    report "$name" $status "${ran:-0}" "${bad:-0}"
    grep 'once more, for' "$log/$name"
}

if [ "${RUN_ONLY:-}" != tool ]; then
    for program in "$build"/tests/test_*.exe; do
        name=$(basename "$program" .exe)
        case ${QUICK:+$name} in test_sim_* | test_world_*) continue ;; esac
        c_test "$program" "$name"
    done
fi
if [ "${RUN_ONLY:-}" != c ]; then
    modules="test_windows test_keygen test_keys test_call test_ping"
    [ -n "${QUICK:-}" ] || modules="$modules test_serve test_inspect test_tap test_crossing test_bench"
    for module in ${MODULES:-$modules}; do tool_test "$module"; done
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
