#!/bin/sh
# Runs every test program in $BUILD/tests and every Python test in tests/tool, one line each; ends with "N passed, N failed".
# RUN_ONLY=c or RUN_ONLY=tool: only these. RUN_WITHOUT="NAME...": all but those. RUNNER=PROGRAM: what runs the test programs, if
# this machine cannot. FRAMED=PROGRAM: the tool, instead of $BUILD/framed.
set -u
build=${BUILD:-build}
python=${PYTHON:-python3}
log=$build/tests/log
passed=0
failed=0
mkdir -p "$log"

left_out() {
    # shellcheck disable=SC2086
    case " $(echo ${RUN_WITHOUT:-}) " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# NAME STATUS PASSED FAILED LOGFILE
report() {
    passed=$((passed + $3))
    failed=$((failed + $4))
    # A program that died, or ran nothing, has failed whatever it printed.
    if [ "$2" -ne 0 ] && [ "$4" -eq 0 ] || [ $(($3 + $4)) -eq 0 ]; then
        failed=$((failed + 1))
        set -- "$1" "$2" "$3" 1 "$5"
    fi
    printf '%-28s %4d passed' "$1" "$3"
    if [ "$4" -gt 0 ]; then
        printf ', %d FAILED (status %d)\n' "$4" "$2"
        tail -n 60 "$5"
    else
        printf '\n'
    fi
}

for program in "$build"/tests/test_*; do
    [ "${RUN_ONLY:-}" != tool ] && [ -x "$program" ] || continue
    name=$(basename "$program")
    left_out "$name" && continue
    # shellcheck disable=SC2086
    timeout -k 5 "${TEST_SECONDS:-300}" ${RUNNER:-} "$program" >"$log/$name" 2>&1
    status=$?
    p=$(grep -c '^\[       OK \]' "$log/$name")
    f=$(sed '/listed below/,$d' "$log/$name" | grep -c '^\[  FAILED  \] [a-z]')
    report "$name" "$status" "$p" "$f" "$log/$name"
done

if [ "${RUN_ONLY:-}" != c ]; then
    for script in tests/tool/test_*.py; do
        name=$(basename "$script" .py)
        left_out "$name" && continue
        FRAMED=${FRAMED:-$build/framed} BUILD=$build timeout -k 5 "${TEST_SECONDS:-300}" "$python" -B "$script" -v >"$log/$name" 2>&1
        status=$?
        # "Ran 9 tests in 1.2s", then "OK" or "FAILED (failures=1, errors=1, skipped=1)"
        ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in.*/\1/p' "$log/$name" | tail -n 1)
        f=$(tail -n 1 "$log/$name" | tr '(,)' '\n\n\n' | sed -n 's/^ *\(failures\|errors\)=//p' | awk '{n += $1} END {print n + 0}')
        skipped=$(tail -n 1 "$log/$name" | sed -n 's/.*skipped=\([0-9]*\).*/\1/p')
        p=$((${ran:-0} - f - ${skipped:-0}))
        report "tool/$name" "$status" "$p" "$f" "$log/$name"
    done
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
