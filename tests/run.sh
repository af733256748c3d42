#!/bin/sh
# Runs every test program in $BUILD/tests and every Python test in tests/tool, one line each; ends with "N passed, N failed".
# RUN_ONLY=c or RUN_ONLY=tool: only these. RUN_WITHOUT="NAME...": all but those. RUNNER=PROGRAM: what runs the test programs, if
# this machine cannot. FRAMED=PROGRAM: the tool, instead of $BUILD/framed. RUN_LANES=2: so many at a time.
# What a test says behind "note: " is shown.
set -u
build=${BUILD:-build}
python=${PYTHON:-python3}
log=$build/tests/log
mkdir -p "$log"
rm -rf "$log"/*.taken "$log"/*.counts

left_out() {
    # shellcheck disable=SC2086
    case " $(echo ${RUN_WITHOUT:-}) " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# NAME STATUS PASSED FAILED LOGFILE
report() {
    # A program that died, or ran nothing, has failed whatever it printed.
    if [ "$2" -ne 0 ] && [ "$4" -eq 0 ] || [ $(($3 + $4)) -eq 0 ]; then set -- "$1" "$2" "$3" $(($4 + 1)) "$5"; fi
    echo "$3 $4" >"$5.counts"
    if [ "$4" -gt 0 ]; then
        printf '%-28s %4d passed, %d FAILED (status %d)\n%s\n' "$1" "$3" "$4" "$2" "$(tail -n 60 "$5")"
    else
        printf '%-28s %4d passed\n' "$1" "$3"
        sed -n 's/^note: /    /p' "$5"
    fi
}

run_program() { # PROGRAM NAME; its log has that name
    # shellcheck disable=SC2086
    timeout -k 5 "${TEST_SECONDS:-300}" ${RUNNER:-} "$1" >"$log/$2" 2>&1
    status=$?
    p=$(grep -c '^\[       OK \]' "$log/$2")
    f=$(sed '/listed below/,$d' "$log/$2" | grep -c '^\[  FAILED  \] [a-z]')
    report "$2" "$status" "$p" "$f" "$log/$2"
}

run_script() { # SCRIPT NAME; its log has that name
    FRAMED=${FRAMED:-$build/framed} BUILD=$build timeout -k 5 "${TEST_SECONDS:-300}" "$python" -B "$1" -v >"$log/$2" 2>&1
    status=$?
    # "Ran 9 tests in 1.2s", then "OK" or "FAILED (failures=1, errors=1, skipped=1)"
    ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in.*/\1/p' "$log/$2" | tail -n 1)
    f=$(tail -n 1 "$log/$2" | tr '(,)' '\n\n\n' | sed -n 's/^ *\(failures\|errors\)=//p' | awk '{n += $1} END {print n + 0}')
    skipped=$(tail -n 1 "$log/$2" | sed -n 's/.*skipped=\([0-9]*\).*/\1/p')
    report "tool/${2#tool_}" "$status" $((${ran:-0} - f - ${skipped:-0})) "$f" "$log/$2"
}

# All that is to be run, a name each; a script of the tool may have the name of a program, and tool_ before it.
wanted() {
    for test in "$build"/tests/test_* tests/tool/test_*.py; do
        name=$(basename "$test" .py)
        left_out "$name" && continue
        case $test in
        *.py) [ "${RUN_ONLY:-}" != c ] && echo "tool_$name" ;;
        *) [ "${RUN_ONLY:-}" != tool ] && [ -x "$test" ] && echo "$name" ;;
        esac
    done
}

# One after the other what no other lane has begun.
lane() {
    for name in $(wanted); do
        kill -0 $$ 2>/dev/null || return # who asked has gone: what is in the background does not hear ^C
        mkdir "$log/$name.taken" 2>/dev/null || continue
        case $name in
        tool_*) run_script "tests/tool/${name#tool_}.py" "$name" ;;
        *) run_program "$build/tests/$name" "$name" ;;
        esac
    done
}

lanes=${RUN_LANES:-1}
while [ "$lanes" -gt 0 ]; do
    lane &
    lanes=$((lanes - 1))
done
wait

lost=0
for name in $(wanted); do
    [ -s "$log/$name.counts" ] && continue
    echo "$name: nobody knows how it ended"
    lost=$((lost + 1))
done
set -- "$(cat "$log"/*.counts 2>/dev/null | awk -v lost="$lost" '{p += $1; f += $2} END {printf "%d passed, %d failed", p, f + lost}')"
echo "$1"
case $1 in "0 passed, "*) exit 1 ;; *", 0 failed") ;; *) exit 1 ;; esac
