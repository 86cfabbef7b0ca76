#!/usr/bin/env bash
# Builds the image of deploy/Containerfile and runs it: container.sh UV PYTHON [BASE]
# BASE is the name of an image with Python, as for the Containerfile, and is fetched from its registry.
# Without it, Debian with Python is the base, made by mmdebstrap; the wheels are fetched outside, and the
# build has no network. Images and containers are in .cache/container, apart from those of the machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=$1 python=$2 base=${3:-} is_of_registry=${3:+yes}
cache=$PWD/.cache/container
suite=bookworm version=3.11
PATH=$PATH:/usr/sbin

skip() {
    echo "the container is not checked: $*"
    exit
}
command -v podman >/dev/null || skip "no podman"
if [ -z "$base" ] && ! command -v mmdebstrap >/dev/null; then
    skip "no mmdebstrap; BASE= names an image of a registry instead"
fi

# runc, because crun refuses machines that mount both versions of cgroups.
options=(--root "$cache/images" --runroot "$cache/run" --tmpdir "$cache/tmp" --log-level error
    --cgroup-manager cgroupfs --events-backend none)
if runtime=$(command -v runc); then options+=(--runtime "$runtime"); fi
podman() { command podman "${options[@]}" "$@"; }

clean_up() {
    podman rm --all --force --volumes --time 0 >/dev/null 2>&1 || true
    podman image rm --force edgewatch >/dev/null 2>&1 || true
    podman image prune --force >/dev/null 2>&1 || true
    podman volume prune --force >/dev/null 2>&1 || true
    rm -rf "$cache/stage"
}

# Without what the slim images of registries leave out as well, and without Perl for merging /usr.
make_base() {
    timeout 240 mmdebstrap --quiet --variant=minbase --include=python3-venv,usr-is-merged \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$suite" 2>"$cache/log" |
        podman import - "$base" >/dev/null 2>&1 || {
        podman image rm --force "$base" >/dev/null 2>&1 # it may be half
        return 1
    }
}

fetch_wheels() {
    local platforms=() glibc
    for glibc in 5 12 17 24 26 27 28; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    platforms+=(--platform manylinux1_x86_64 --platform manylinux2010_x86_64 --platform manylinux2014_x86_64)
    rm -rf "$cache/wheels"
    # pip takes the markers of requirements from the Python it runs on, so uv decides about them.
    "$uv" pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes \
        --python-version "$version" --python-platform x86_64-manylinux_2_28 .ci/runtime.lock \
        --output-file "$cache/stage/wheels.lock" >/dev/null
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: --no-binary nkeys --require-hashes --requirement "$cache/stage/wheels.lock" --dest "$cache/wheels" \
        --python-version "$version" "${platforms[@]}" &&
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$cache/wheels" \
            setuptools wheel && # nkeys comes as source
        touch "$cache/wheels/made"
}

build_image() {
    local offline=()
    if [ -z "$is_of_registry" ]; then
        printf '%s\n' '[global]' 'no-index = true' 'find-links = /wheels' >"$cache/stage/pip.conf"
        offline=(--pull=never --network none --volume "$cache/wheels:/wheels:ro"
            --volume "$cache/stage/pip.conf:/etc/pip.conf:ro")
    fi
    podman build --format docker --isolation oci --layers=false "${offline[@]}" --build-arg "BASE=$base" --quiet \
        --file deploy/Containerfile --tag edgewatch .
}

mkdir -p "$cache"
trap clean_up EXIT
clean_up
mkdir "$cache/stage"
began=$SECONDS
if [ -z "$is_of_registry" ]; then
    base=localhost/edgewatch-base
    if ! podman image exists "$base" && ! make_base; then skip "$(tail -n 1 "$cache/log")"; fi
    if [ ! "$cache/wheels/made" -nt .ci/runtime.lock ] && ! fetch_wheels >"$cache/log" 2>&1; then
        skip "the locked wheels cannot be fetched: $(tail -n 1 "$cache/log")"
    fi
fi
echo "base and wheels are there ($((SECONDS - began)) s)"
began=$SECONDS
build_image >"$cache/log" 2>&1 || { tail -n 20 "$cache/log"; exit 1; }
echo "built ($((SECONDS - began)) s)"
"$python" -m tests.container "$base" podman "${options[@]}"
