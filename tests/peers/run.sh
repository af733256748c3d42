#!/bin/bash
# framed against ends that know nothing of it: Erlang, Twisted and the Noise of dissononce, both ways round, and the pages of docs/
# that show how; and the answers in proto/vectors against dissononce, which made them.
# FRAMED is the tool (build/framed by default). Ends with "N passed, N failed". PEERS_SEED=N: other random sizes and contents.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
python=${PYTHON:-python3}
export BUILD=$build FRAMED=${FRAMED:-$build/framed} PEERS_SEED=${PEERS_SEED:-1}
log=$build/peers
passed=0
failed=0
mkdir -p "$log"

tests/deps.sh erlang-base=escript python3-twisted python3-dissononce || exit 1
. tests/peers/twisted_python.sh || exit 1
echo "PEERS_SEED=$PEERS_SEED, Erlang $(erl -noshell -eval 'io:format("~s", [erlang:system_info(otp_release)]), halt().' </dev/null)," \
    "Twisted $("$TWISTED_PYTHON" -c 'import twisted; print(twisted.__version__)')," \
    "dissononce $(dpkg-query -W -f '${Version}' python3-dissononce)"

sodium=
if nm -u "$build/libframed.a" | grep -q crypto_; then sodium=-lsodium; fi
# shellcheck disable=SC2086
${CC:-cc} -std=c11 -Wall -Wextra -Werror -D_POSIX_C_SOURCE=200809L -Iinclude tests/peers/who.c -o "$log/who" "$build/libframed.a" \
    -pthread $sodium || exit 1

for script in tests/peers/test_*.py; do
    name=$(basename "$script" .py)
    runs=$python
    case $name in test_noise | test_answers) runs=/usr/bin/python3 ;; esac # dissononce belongs to Debian's Python
    timeout -k 5 "${TEST_SECONDS:-300}" "$runs" -B "$script" -v >"$log/$name" 2>&1
    status=$?
    # "Ran 9 tests in 1.2s", then "OK" or "FAILED (failures=1, errors=1)"
    ran=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in.*/\1/p' "$log/$name" | tail -n 1)
    bad=$(tail -n 1 "$log/$name" | tr '(,)' '\n\n\n' | sed -n 's/^ *\(failures\|errors\|skipped\)=//p' | awk '{n += $1} END {print n + 0}')
    # A program that died, or ran nothing, has failed whatever it printed. Nothing here is skipped.
    if [ "${ran:-0}" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; }; then bad=$((bad + 1)) ran=$((${ran:-0} + 1)); fi
    passed=$((passed + ran - bad))
    failed=$((failed + bad))
    printf '%-28s %4d passed' "peers/$name" $((ran - bad))
    if [ "$bad" -gt 0 ]; then
        printf ', %d FAILED (status %d)\n' "$bad" "$status"
        tail -n 60 "$log/$name"
    else
        printf '\n'
    fi
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
