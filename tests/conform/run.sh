#!/bin/bash
# The rows of proto/conformance against framed, both roles; then against Erlang and Twisted, whose differences must be those that
# docs/conformance.md tells; and the tests of the runner. QUICK=1: only against framed. Ends with "N rows, N checks" and "N passed, N failed".
# TARGET=HOST:PORT [MAX_FRAME=N]: only against that echo server. CLIENT=COMMAND: only against that client. WRITE=1: write the table.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
python=${PYTHON:-python3}
export FRAMED=${FRAMED:-$build/framed}

if [ -n "${TARGET:-}" ]; then
    exec "$python" -B tests/conform/run.py --target "$TARGET" ${MAX_FRAME:+--max-frame "$MAX_FRAME"}
fi
if [ -n "${CLIENT:-}" ]; then exec "$python" -B tests/conform/run.py --client "$CLIENT"; fi

tests/deps.sh erlang-base=escript python3-twisted || exit 1
. tests/peers/twisted_python.sh || exit 1
if [ -n "${WRITE:-}" ]; then exec "$python" -B tests/conform/others.py --write; fi

log=$build/conform
mkdir -p "$log"
parts=0
failed=0

# NAME COMMAND...: what took part, a line; all that it said when it failed
part() {
    local name=$1
    shift
    parts=$((parts + 1))
    if "$@" >"$log/$name" 2>&1; then
        printf '%-10s %s\n' "$name" "$(tail -n 1 "$log/$name")"
    else
        failed=$((failed + 1))
        printf '%-10s FAILED\n%s\n' "$name" "$(tail -n 60 "$log/$name" | cut -c1-600)"
    fi
}

if [ -z "${QUICK:-}" ]; then
    part runner "$python" -B tests/conform/test_conform.py
    part others "$python" -B tests/conform/others.py
fi
"$python" -B tests/conform/run.py >"$log/framed" 2>&1 || failed=$((failed + 1))
head -n -1 "$log/framed" | tail -n 100
# The rows, and the parts above.
tail -n 1 "$log/framed" | awk -v bad="$failed" -v parts="$parts" '
    /^[0-9]+ passed, [0-9]+ failed$/ { others = bad - ($3 > 0); $1 += parts - others; $3 += others; print $1 " passed, " $3 " failed"; said = 1 }
    END { if (!said) print "0 passed, " bad " failed" }'
[ "$failed" -eq 0 ]
