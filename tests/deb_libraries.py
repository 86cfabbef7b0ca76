"""Says whether the libraries of an unpacked package fit its machine and its dependencies.

python3 tests/deb_libraries.py FOLDER ARCHITECTURE DEPENDS, the last two as the package's fields
have them. Needs no package of Python's, and runs nothing of what it looks at.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MACHINES = {"amd64": 62, "arm64": 183}  # e_machine of the ELF specification
MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
ELF = b"\x7fELF"
LOAD, DYNAMIC = 1, 2  # p_type
NEEDED, STRTAB = 1, 5  # d_tag
SYSTEM = {  # what Debian's packages have
    "libc6": (
        "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1",
        "libresolv.so.2", "libmvec.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
    ),
    "libstdc++6": ("libstdc++.so.6", "libgcc_s.so.1"),  # the latter by its own dependency
    "python3": ("libz.so.1",),  # the same
}  # fmt: skip


@dataclass(frozen=True)
class Library:
    """An ELF file.

    Attributes:
        machine: Number of the processor it is for.
        needed: Names of the libraries that it is linked with.
    """

    path: Path
    machine: int
    needed: tuple[str, ...]


def find_libraries(folder: Path) -> Iterator[Library]:
    """The ELF files below a folder, whatever they are called.

    Raises:
        ValueError: One is for 32 bits, or big-endian.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) != ELF:
                continue
        yield read_library(path)


def read_library(path: Path) -> Library:
    """Read one ELF file.

    Raises:
        ValueError: It is for 32 bits, or big-endian.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ValueError(f"{path}: expected 64 bits, little-endian")
    (machine,) = struct.unpack_from("<H", content, 18)
    return Library(path, machine, tuple(_list_needed(content)))


def _list_needed(content: bytes) -> Iterator[str]:
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    headers = [struct.unpack_from("<IIQQQQ", content, table + row * size) for row in range(count)]
    loads = [(address, offset, length) for kind, _, offset, address, _, length in headers
             if kind == LOAD]  # fmt: skip
    for kind, _, offset, _, _, length in headers:
        if kind != DYNAMIC:
            continue
        entries = list(struct.iter_unpack("<qQ", content[offset : offset + length]))
        (names,) = [value for tag, value in entries if tag == STRTAB]
        (start,) = [o + names - a for a, o, n in loads if a <= names < a + n]
        for tag, value in entries:
            if tag == NEEDED:
                end = content.index(b"\0", start + value)
                yield content[start + value : end].decode()


def list_problems(folder: Path, architecture: str, depends: str) -> list[str]:
    """What is wrong with the libraries, a sentence each."""
    libraries = list(find_libraries(folder))
    if not libraries:
        return [f"{folder} has no libraries"]
    packages = set(re.findall(r"(?:^|,)\s*([a-z0-9+.-]+)", depends))
    known = {name for package in packages for name in SYSTEM.get(package, ())}
    known |= {library.path.name for library in libraries}
    known |= {path.name for path in folder.rglob("*.so*") if path.is_symlink()}
    problems = []
    missing: dict[str, Path] = {}
    for library in libraries:
        if library.machine != MACHINES[architecture]:
            problems.append(f"{library.path} is not for {architecture}: machine {library.machine}")
        for name in library.needed:
            if name not in known:
                missing.setdefault(name, library.path)
    problems += [f"{path} needs {name}, of no package in Depends" for name, path in missing.items()]
    return problems


def main() -> int:
    """Print what is wrong, or how many libraries are right; 1 if something is wrong."""
    folder, architecture, depends = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    problems = list_problems(folder, architecture, depends)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{sum(1 for _ in find_libraries(folder))} libraries for {architecture}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
