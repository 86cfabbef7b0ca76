#!/usr/bin/env bash
# Runs tests on every Python that Edgewatch supports and this machine has, each in an environment of
# its own in .cache/pythons, installed from .ci/test.lock: pythons.sh UV [pytest's arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=$1
shift

# pyenv offers one version at a time unless it is asked for all.
if command -v pyenv >/dev/null; then
    PYENV_VERSION=$(pyenv versions --bare | paste --serial --delimiters=:)
    export PYENV_VERSION
fi

missing=() failed=()
for version in 3.10 3.11 3.12 3.13; do
    if ! python=$("python$version" -c 'import sys; print(sys.executable)' 2>/dev/null); then
        missing+=("$version")
        continue
    fi
    environment=.cache/pythons/$version
    if [ ! "$environment/installed" -nt .ci/test.lock ]; then
        rm -rf "$environment"
        "$uv" venv --quiet --python "$python" "$environment"
        "$uv" pip install --quiet --python "$environment/bin/python" --require-hashes \
            --requirement .ci/test.lock
        touch "$environment/installed"
    fi
    echo "Python $version"
    rm -f .pytest_cache/v/cache/lastfailed
    (
        export PYENV_VERSION=
        python=$environment/bin/python
        "$python" -m pytest "$@" || bash tests/again.sh "$python"
    ) || failed+=("$version")
done
if [ ${#missing[@]} -gt 0 ]; then echo "not tested, because not found: Python ${missing[*]}"; fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed with Python ${failed[*]}"
    exit 1
fi
