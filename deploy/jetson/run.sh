#!/bin/sh
# Builds and measures every model of this bundle on this device. Run it again to go on where it was
# stopped; what is done is not done again. See README.md for what it needs and what it writes.
#
#   sh run.sh                 everything
#   RETRY=1 sh run.sh         again what failed
#   SECONDS_PER_CASE=30 sh run.sh
set -u

here=$(cd "$(dirname "$0")" && pwd)
cd "$here" || exit 1
work=work
mkdir -p "$work" || exit 1
RETRY=${RETRY:-0}
duration=${SECONDS_PER_CASE:-10}
python=${PYTHON:-python3}
monitor=""
child=""

say() { printf '%s\n' "$*"; }
fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

# Stop what was started here, and nothing else; a half-written engine is not kept.
stop() {
    for process in "$child" "$monitor"; do
        if [ -n "$process" ]; then
            kill "$process" 2>/dev/null
            wait "$process" 2>/dev/null
        fi
    done
    rm -f "$work"/*/engine.part
    child=""
    monitor=""
}
trap 'stop; say "stopped: run it again to go on"; exit 130' INT TERM HUP

find_trtexec() {
    for candidate in "${TRTEXEC:-}" "$(command -v trtexec 2>/dev/null)" \
        /usr/src/tensorrt/bin/trtexec; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            printf '%s' "$candidate"
            return
        fi
    done
}

# trtexec on the pinned cores, its output in a log; the exit status is its own.
pinned() {
    log=$1
    shift
    if [ -n "$cores" ]; then
        taskset -c "$cores" "$trtexec" "$@" >"$log" 2>&1 &
    else
        "$trtexec" "$@" >"$log" 2>&1 &
    fi
    child=$!
    wait "$child"
    status=$?
    child=""
    return $status
}

start_monitor() {
    if command -v tegrastats >/dev/null 2>&1; then
        tegrastats --interval 500 >"$1" 2>/dev/null &
        monitor=$!
    else
        : >"$1"
    fi
}

stop_monitor() {
    if [ -n "$monitor" ]; then
        kill "$monitor" 2>/dev/null
        wait "$monitor" 2>/dev/null
        monitor=""
    fi
}

# What the device is set to: recorded, never changed. Both tools may want more rights than we have.
record() {
    out="$work/$1.txt"
    if ! command -v "$1" >/dev/null 2>&1; then
        printf 'not installed\n' >"$out"
        return
    fi
    # The file is ours, the command alone needs the rights.
    # shellcheck disable=SC2024
    if ! "$@" >"$out" 2>&1 && ! sudo -n "$@" >"$out" 2>&1; then
        printf 'no permission: run it as root to record it\n' >"$out"
    fi
}

command -v "$python" >/dev/null 2>&1 || fail "python3 is not here; install it, or give PYTHON=…"
trtexec=$(find_trtexec)
[ -n "$trtexec" ] || fail "trtexec is not here; install TensorRT (JetPack has it), or give TRTEXEC=…"
cores=$("$python" scripts/cases.py --cores) || exit 1
if [ -n "$cores" ]; then
    if ! command -v taskset >/dev/null 2>&1; then
        say "note: taskset is not here, so no cores are pinned"
        cores=""
    elif ! taskset -c "$cores" true 2>/dev/null; then
        say "note: the cores $cores cannot be pinned (a power mode may have them off), so none are"
        cores=""
    fi
fi
command -v tegrastats >/dev/null 2>&1 || say "note: no tegrastats: no power, memory or clocks"
record nvpmodel -q
record jetson_clocks --show
"$python" scripts/facts.py "$work" "$trtexec" "$cores" || exit 1
"$python" scripts/cases.py >"$work/cases.txt" || exit 1

total=$(wc -l <"$work/cases.txt" | tr -d " ")
number=0
while IFS='	' read -r id model build shapes inputs; do
    number=$((number + 1))
    folder="$work/$id"
    if [ -f "$folder/result.json" ]; then
        if [ "$RETRY" = 1 ] && grep -q '"failed"' "$folder/result.json"; then
            rm -f "$folder/result.json"
        else
            continue
        fi
    fi
    say "[$number/$total] $id"
    mkdir -p "$folder" || exit 1
    "$python" scripts/check.py inputs "$id" || exit 1
    # The words of these three are flags without blanks, made by cases.py.
    # shellcheck disable=SC2086
    if [ ! -f "$folder/engine" ]; then
        started=$(date +%s)
        if pinned "$folder/build.log" --onnx="$model" $build \
            --timingCacheFile="$work/timing.cache" --saveEngine="$folder/engine.part"; then
            echo $(($(date +%s) - started)) >"$folder/build.seconds"
            mv "$folder/engine.part" "$folder/engine"
        else
            rm -f "$folder/engine.part"
            "$python" scripts/collect.py failed "$id" build "$folder/build.log"
            continue
        fi
    fi
    # shellcheck disable=SC2086
    if ! pinned "$folder/check.log" --loadEngine="$folder/engine" $shapes $inputs \
        --iterations=1 --duration=0 --warmUp=0 --exportOutput="$folder/output.json"; then
        "$python" scripts/collect.py failed "$id" check "$folder/check.log"
        continue
    fi
    if ! "$python" scripts/check.py outputs "$id" >"$folder/check.txt" 2>&1; then
        "$python" scripts/collect.py failed "$id" outputs "$folder/check.txt"
        continue
    fi
    start_monitor "$folder/tegrastats.txt"
    # shellcheck disable=SC2086
    pinned "$folder/time.log" --loadEngine="$folder/engine" $shapes $inputs \
        --iterations=50 --duration="$duration" --warmUp=2000 --exportTimes="$folder/times.json"
    timed=$?
    stop_monitor
    if [ $timed -ne 0 ]; then
        "$python" scripts/collect.py failed "$id" time "$folder/time.log"
        continue
    fi
    # shellcheck disable=SC2086
    pinned "$folder/profile.log" --loadEngine="$folder/engine" $shapes $inputs \
        --iterations=50 --duration=0 --warmUp=500 --exportProfile="$folder/profile.json" ||
        say "note: $id has no times of layers"
    "$python" scripts/collect.py timed "$id" || exit 1
done <"$work/cases.txt"

"$python" scripts/collect.py finish
