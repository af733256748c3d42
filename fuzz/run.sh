#!/bin/bash
# fuzz/run.sh SECONDS: every harness under libFuzzer and under AFL++, with the address and undefined-behaviour sanitizers, for
# SECONDS in all. A line for each, then one with the sum; fails on any finding. What is found lies in $BUILD/fuzz/findings, and
# is asked again by the next run until it holds. JOBS=2 fuzzers at a time; ONLY="reader client" runs just these.
set -u
build=${BUILD:-build}
root=$build/fuzz
findings=$root/findings
longest=4096 # bytes of an input
unset ASAN_OPTIONS UBSAN_OPTIONS
ulimit -c 0

# ---- one harness under one engine: run.sh --one SECONDS HARNESS libfuzzer|afl ----

found() { # HARNESS KIND FILE: keeps it under a name of its own
    cp "$3" "$findings/$1-$2-$(sha1sum "$3" | cut -c1-40)"
}

result() { # HARNESS ENGINE EXECUTIONS INPUTS WORD
    printf '%-9s %-10s %10d executions %6d inputs found  %s\n' "$1" "$2" "$3" "$4" "$5" | tee "$root/results/$1.$2"
}

holds() { # HARNESS FILE
    timeout -k 5 60 "$root/libfuzzer/fuzz/$1" -timeout=20 "$2" >/dev/null 2>&1
}

libfuzzer() { # SECONDS HARNESS
    local log=$root/log/$2.libfuzzer word=ok
    mkdir -p "$root/queue/$2"
    timeout -k 10 $(($1 + 120)) "$root/libfuzzer/fuzz/$2" -max_total_time="$1" -max_len=$longest -dict="$root/dictionary" \
        -timeout=20 -report_slow_units=3600 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$findings/$2-" \
        "$root/queue/$2" "$root/in/$2" >"$log" 2>&1 || word="FOUND something: $log"
    result "$2" libFuzzer "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)" \
        "$(sed -n 's/^stat::new_units_added: *//p' "$log" | tail -n 1)" "$word"
}

afl() { # SECONDS HARNESS
    local log=$root/log/$2.afl out=$root/afl-out/$2 word=ok file
    rm -rf "$out"
    mkdir -p "$root/afl-out"
    AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_UI=1 AFL_NO_AFFINITY=1 \
        timeout -k 10 $(($1 + 120)) afl-fuzz -i "$root/in/$2" -o "$out" -V "$1" -m none -t 5000 -G $longest \
        -x "$root/dictionary" -- "$root/afl/fuzz/$2" >"$log" 2>&1 || word="FAILED: $log"
    [ -r "$out/default/fuzzer_stats" ] || word="FAILED: $log"
    grep -qa 'results in a crash' "$log" && word="FOUND that a seed crashes: $log" # it goes on without it
    for file in "$out"/default/crashes/id*; do
        [ -e "$file" ] && found "$2" crash "$file" && word="FOUND something: $log"
    done
    for file in "$out"/default/hangs/id*; do # on a busy machine a slow run may look like one that hangs: asked again
        [ -e "$file" ] && ! holds "$2" "$file" && found "$2" hang "$file" && word="FOUND something: $log"
    done
    stat() { sed -n "s/^$1  *: //p" "$out/default/fuzzer_stats" 2>/dev/null; }
    result "$2" AFL++ "$(stat execs_done)" "$(stat corpus_found)" "$word"
}

if [ "$1" = --one ]; then
    "$4" "$2" "$3"
    exit 0
fi

# ---- all of them ----

tests/deps.sh libcmocka-dev:cmocka.h clang=clang afl++=afl-fuzz || exit 1
tests/deps.sh "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" || exit 1

sanitize='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
quiet_make() { # FOLDER ARGUMENTS...
    local folder=$1
    shift
    mkdir -p "$root/log"
    make -j2 BUILD="$root/$folder" LDFLAGS=-fsanitize=fuzzer "$root/$folder/fuzz/fuzzer" "$@" >"$root/log/build.$folder" 2>&1 ||
        { tail -n 40 "$root/log/build.$folder"; exit 1; }
}
quiet_make libfuzzer CC=clang CFLAGS="$sanitize -fsanitize=fuzzer-no-link -fsanitize-coverage-ignorelist=fuzz/uninstrumented.txt"
AFL_QUIET=1 AFL_LLVM_DENYLIST=$PWD/fuzz/uninstrumented.txt quiet_make afl CC=afl-clang-fast CFLAGS="$sanitize"
make BUILD="$build" "$root/replay" >"$root/log/build.replay" 2>&1 || { tail -n 40 "$root/log/build.replay"; exit 1; }

harnesses=${ONLY:-$("$root/replay" --names)}
"$root/replay" --dictionary >"$root/dictionary"
rm -rf "$root/results" "$root/in"
mkdir -p "$findings" "$root/results"
runs=()
for harness in $harnesses; do
    mkdir -p "$root/in/$harness"
    "$root/replay" --seeds "$harness" "$root/in/$harness"
    cp fuzz/corpus/"$harness"/* "$root/in/$harness/" 2>/dev/null
    for engine in libfuzzer afl; do ln -f "$root/$engine/fuzz/fuzzer" "$root/$engine/fuzz/$harness"; done
    runs+=("$harness libfuzzer" "$harness afl")
done
for file in "$findings"/*; do
    name=$(basename "$file")
    [ -x "$root/libfuzzer/fuzz/${name%%-*}" ] && holds "${name%%-*}" "$file" && rm "$file"
done

each=$(($1 / ${#runs[@]}))
[ $each -ge 2 ] || each=2
printf '%s\n' "${runs[@]}" | BUILD=$build xargs -P "${JOBS:-2}" -L 1 "$0" --one $each

count=0
for file in "$findings"/*; do
    [ -e "$file" ] || continue
    count=$((count + 1))
    name=$(basename "$file")
    echo "finding: $file"
    echo "    again: $root/libfuzzer/fuzz/${name%%-*} $file"
done
cat "$root"/results/* | awk -v count=$count -v runs=${#runs[@]} '{ n += $3; bad += $NF != "ok" }
    END { printf "fuzz: %d executions in %d runs, %d of them not well, %d findings\n", n, NR, bad, count
          exit bad > 0 || count > 0 || NR != runs || n == 0 }'
