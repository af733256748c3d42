# shellcheck shell=bash disable=SC2154
# stages.sh, to be sourced by a script that checks in stages (check.sh, check-long.sh), with `build` and `log` set: a stage is
# a function stage_NAME whose output is a log of its own in $log, whose status is its verdict, and whose last line is what is
# said about it. ONLY="NAME NAME" runs just these.
jobs=$(nproc 2>/dev/null || echo 2)
export -n ONLY # it is about stages: what they run has choices of the same name
export MAKEFLAGS="${MAKEFLAGS:-} --no-print-directory"
mkdir -p "$log"
rm -rf "$log"/*.verdict "$log"/*.taken

stage() {
    local name=$1 began=$SECONDS verdict=ok
    if [ -n "${ONLY:-}" ] && ! grep -qw -- "$name" <<<"$ONLY"; then return; fi
    "stage_$name" >"$log/$name.log" 2>&1 || verdict=FAILED
    echo "$verdict" >"$log/$name.verdict"
    if [ $verdict = ok ]; then
        printf 'ok      %-10s %4d s  %s\n' "$name" $((SECONDS - began)) "$(tail -n 1 "$log/$name.log")"
    else
        printf 'FAILED  %-10s %4d s  %s\n%s\n' "$name" $((SECONDS - began)) "$log/$name.log:" "$(tail -n 80 "$log/$name.log")"
    fi
}

# Stages one after the other, of those that no other lane has begun: several lanes with the same stages, & and `wait` share
# them. "a,b" is one after the other too, but in the same lane.
lane() {
    local together name
    for together in "$@"; do
        mkdir "$log/$together.taken" 2>/dev/null || continue
        for name in ${together//,/ }; do stage "$name"; done
    done
}

# What all stages need, built before they begin: make's targets.
build_first() {
    make -j"$jobs" BUILD="$build" "$@" >"$log/build.log" 2>&1 || tail -n 40 "$log/build.log"
}

# The closing lines, after all lanes; the status of the whole.
verdict() { # NAME
    local passed failed
    passed=$(cat "$log"/*.verdict 2>/dev/null | grep -c '^ok$')
    failed=$(cat "$log"/*.verdict 2>/dev/null | grep -c '^FAILED$')
    echo "$1: $SECONDS s"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
