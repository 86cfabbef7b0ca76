#!/usr/bin/env bash
# Measures Edgewatch on one GPU in less than 12 minutes, without a network:
#
#   bash tests/gpu_day.sh [--fake] [--quick] [FOLDER]
#
# FOLDER ($OUT by default) gets gpu_day.json, gpu_day.md and a log of each step. --fake runs all
# steps on a card made of functions, --quick makes them small. PYTHON names the interpreter, GPU_DAY_S
# the seconds for everything. What cannot be measured here is a row that says why. Exits with 0 when
# everything was measured, 3 when something was not, 1 when something failed.
set -uo pipefail

python=${PYTHON:-python3} total=${GPU_DAY_S:-700}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
path=$root
while [[ ${1:-} == --* ]]; do
    case $1 in
        --fake) export GPU_DAY_CARD=fake path=$root/tests/gpu_day/fake_card:$root ;;
        --quick) export GPU_DAY_SIZE=quick ;;
        *) echo "$1 is unknown: see $0" >&2; exit 2 ;;
    esac
    shift
done
out=${1:-${OUT:?name the folder of the results}}
mkdir -p "$out" && out=$(cd "$out" && pwd) && work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
rm -f "$out"/gpu_day.*
export PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH}
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
cd "$root" || exit 1

step() { # NAME SECONDS
    local name=$1 limit=$2 left=$((total - SECONDS)) status=0
    if ((left < limit)); then limit=$left; fi
    if ((limit < 1)); then
        "$python" -m tests.gpu_day.results "$out" "$name" "not measured" "no time was left"
        return
    fi
    echo "$name, at most $limit s"
    timeout --kill-after=5 "$limit" "$python" -m tests.gpu_day "$name" "$out" "$work" \
        >"$out/$name.log" 2>&1 </dev/null || status=$?
    cat "$out/$name.log"
    case $status in
        0) return ;;
        124 | 137) reason="cut off after $limit s" ;;
        *) reason="exit status $status: $(tail -n 1 "$out/$name.log")" ;;
    esac
    "$python" -m tests.gpu_day.results "$out" "$name" failed "$reason"
}

step machine 30
step bare 40
step precisions 60
step engines 210
step compare 60
step service 150
step throughput 100
step decode 50
"$python" -m tests.gpu_day.results "$out"
