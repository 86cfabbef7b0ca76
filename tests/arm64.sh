#!/usr/bin/env bash
# Installs the package for ARM in .cache/arm64 and compares what it finds with what this machine
# finds: arm64.sh PYTHON [FILE.deb]. It is built first if none is named, or one for another Python.
# The root is a folder of unpacked Debian packages, ours among them. In ours, `python` is replaced by a
# script that runs Python emulated, children included: nothing is booted, mounted or registered in the
# kernel.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$1 package=${2:-}
cache=$PWD/.cache/arm64
root=$cache/root environment=$cache/package/opt/edgewatch
suite=bookworm version=3.11
PATH=$PATH:/usr/sbin

for tool in debootstrap dpkg-deb qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "ARM is not checked: no $tool"
        exit
    fi
done

make_root() {
    local archive
    rm -rf "$root"
    mkdir -p "$root"
    timeout 240 debootstrap --download-only --arch=arm64 --variant=minbase \
        --include="python$version,libstdc++6" "$suite" "$root" >"$cache/log" 2>&1 || return
    for archive in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$archive" "$root"; done
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

# A package is for one Python, so it is built on the one that the root has.
find_builder() {
    local candidate
    for candidate in "/usr/bin/python$version" "python$version"; do
        if "$candidate" -c 'import ensurepip' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

build_package() {
    local builder
    builder=$(find_builder)
    if [ -z "$builder" ]; then
        echo "ARM is not checked: no Python $version with its venv module to build the package on"
        exit
    fi
    make --no-print-directory deb deb-check ARCH=arm64 PYTHON="$builder" >"$cache/log" 2>&1 || {
        tail -n 20 "$cache/log"
        exit 1
    }
    tail -n 1 "$cache/log"
    package=$(echo build/edgewatch_*_arm64.deb)
}

install_package() {
    rm -rf "$cache/package"
    dpkg-deb -x "$package" "$cache/package"
    rm "$environment"/bin/python*
    cat >"$environment/bin/python" <<END
#!/bin/sh
unset PYTHONHOME PYTHONPATH
exec qemu-aarch64 -cpu cortex-a76 -L '$root' -0 "\$0" '$root/usr/bin/python$version' "\$@"
END
    chmod +x "$environment/bin/python"
    sed -i "s|^home = .*|home = $root/usr/bin|" "$environment/pyvenv.cfg"
    sed -i "1s|^#!/opt/edgewatch/bin/python.*|#!$environment/bin/python|" "$environment/bin/edge"
}

began=$SECONDS
if [ ! "$root/made" -nt "${BASH_SOURCE[0]}" ] && ! make_root; then
    echo "ARM is not checked: $(tail -n 1 "$cache/log")"
    exit
fi
case $(if [ -n "$package" ]; then dpkg-deb --field "$package" Depends; fi) in
*"python3 (>= $version)"*) ;;
*) build_package ;;
esac
install_package
echo "installed for ARM ($((SECONDS - began)) s)"
"$python" -m tests.arm64 "$environment/bin/edge"
