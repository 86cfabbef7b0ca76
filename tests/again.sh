#!/usr/bin/env bash
# Runs the tests that failed in the last run once more, one after another: again.sh PYTHON. A test that
# fails beside others and passes alone is told, to be mended, and stops nobody's change. One that
# fails twice does, and so do more than three, or a run that broke and tells of none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

count=$("$1" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' \
    .pytest_cache/v/cache/lastfailed)
if [ "$count" -lt 1 ] || [ "$count" -gt 3 ]; then exit 1; fi
echo "=== FLAKY, unless they fail again: $count of the last run ==="
"$1" -m pytest --last-failed --last-failed-no-failures none
