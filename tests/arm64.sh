#!/usr/bin/env bash
# Installs the package for ARM in .cache/arm64 and compares what it finds with what this machine
# finds: arm64.sh UV PYTHON
# The root is a folder of unpacked Debian packages, and `python` of its environment a script that
# runs Python emulated, children included: nothing is booted, mounted or registered in the kernel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv=$1 python=$2
cache=$PWD/.cache/arm64
root=$cache/root environment=$cache/environment
suite=bookworm version=3.11
PATH=$PATH:/usr/sbin

for tool in debootstrap dpkg-deb qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "ARM is not checked: no $tool"
        exit
    fi
done

make_root() {
    rm -rf "$root"
    mkdir -p "$root"
    timeout 240 debootstrap --download-only --arch=arm64 --variant=minbase \
        --include="python$version,libgomp1,libstdc++6" "$suite" "$root" >"$cache/log" 2>&1 || return
    for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    # What is emulated reads a path of the root where there is one, else this machine's.
    find "$root" -mindepth 1 -maxdepth 1 ! -name usr ! -name lib -exec rm -rf {} +
    # ONNX Runtime crashes where this file describes no ARM processor.
    mkdir "$root/proc"
    for ((row = 0; row < $(nproc); row++)); do
        printf '%s\n' "processor : $row" 'Features : fp asimd crc32 atomics fphp asimdhp asimddp' \
            'CPU implementer : 0x41' 'CPU architecture: 8' 'CPU variant : 0x4' 'CPU part : 0xd0b' \
            'CPU revision : 1' ''
    done >"$root/proc/cpuinfo"
    touch "$root/made"
}

make_environment() {
    rm -rf "$environment"
    mkdir -p "$environment/bin" "$environment/lib/python$version/site-packages"
    cat >"$environment/bin/python" <<END
#!/bin/sh
unset PYTHONHOME PYTHONPATH
exec qemu-aarch64 -cpu cortex-a76 -L '$root' -0 "\$0" '$root/usr/bin/python$version' "\$@"
END
    chmod +x "$environment/bin/python"
    printf '%s\n' "home = $root/usr/bin" 'include-system-site-packages = false' \
        >"$environment/pyvenv.cfg"
    "$uv" pip install --quiet --python "$environment/bin/python" --only-binary :all: \
        --require-hashes --requirement .ci/runtime.lock && touch "$environment/made"
}

install_package() {
    rm -rf "$cache/wheels" build/lib build/bdist.*
    "$uv" build --quiet --wheel --no-build-isolation --python "$python" --out-dir "$cache/wheels"
    rm -rf build/lib build/bdist.*
    "$uv" pip install --quiet --python "$environment/bin/python" --no-deps --reinstall \
        "$cache"/wheels/*.whl
}

began=$SECONDS
if [ ! "$root/made" -nt "${BASH_SOURCE[0]}" ] && ! make_root; then
    echo "ARM is not checked: $(tail -n 1 "$cache/log")"
    exit
fi
if [ ! "$environment/made" -nt .ci/runtime.lock ] || [ ! "$environment/made" -nt "$root/made" ]; then
    make_environment >"$cache/log" 2>&1 || true
    if [ ! -e "$environment/made" ]; then
        echo "ARM is not checked, the locked wheels cannot be installed: $(tail -n 1 "$cache/log")"
        exit
    fi
fi
install_package
echo "installed for ARM ($((SECONDS - began)) s)"
"$python" -m tests.arm64 "$environment/bin/edge"
