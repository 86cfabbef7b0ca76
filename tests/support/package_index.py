"""A package index on the loopback with one package, and an archive to put into it."""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from edge.models.package import Package
from tests.support.loopback import serve

NAME, VERSION = "face_networks", "0.3.0"
FOLDER = f"{NAME}-{VERSION}"
MEMBER = f"{FOLDER}/{NAME}/models/network.dat"
SETUP = f"""
from setuptools import setup

setup(name="{NAME}", version="{VERSION}", packages=["{NAME}"],
      package_data={{"{NAME}": ["models/*.dat"]}})
"""


def make_archive(content: bytes, **others: bytes | tarfile.TarInfo) -> bytes:
    """A source package whose `MEMBER` has this content; ``others`` are members too, by path."""
    members = {
        f"{FOLDER}/setup.py": SETUP.encode(),
        f"{FOLDER}/PKG-INFO": f"Metadata-Version: 1.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
        f"{FOLDER}/{NAME}/__init__.py": b"",
        MEMBER: content,
        **others,
    }
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for path, member in members.items():
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(path)
            info.size = len(member)
            archive.addfile(info, io.BytesIO(member))
    return packed.getvalue()


def describe(archive: bytes) -> Package:
    """The package of an archive."""
    return Package(
        name=NAME,
        version=VERSION,
        sha256=hashlib.sha256(archive).hexdigest(),
        size_bytes=len(archive),
        member=MEMBER,
    )


@dataclass
class PackageIndex:
    """Serves one archive as a package index does.

    Attributes:
        archive: what it serves.
        cut: bytes of the archive after which it breaks off; 0 is never.
        endless: what it sends as the archive never ends.
        silent: it takes the request for the archive and never answers.
        asked: the paths that were asked for.
    """

    archive: bytes
    cut: int = 0
    endless: bool = False
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["PackageIndex"]:
        """Serve until the end of the block."""
        over = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                if self.path.endswith(".tar.gz"):
                    if owner.silent:
                        over.wait(20)
                    elif owner.endless:
                        self.send_without_end()
                    else:
                        self.send(owner.archive, owner.archive[: owner.cut or None])
                elif self.path.strip("/") == "simple/face-networks":
                    page = f'<a href="/files/{FOLDER}.tar.gz">{FOLDER}.tar.gz</a>'.encode()
                    self.send(page, page)
                else:
                    self.send_error(404)

            def send(self, content: bytes, sent: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(sent)

            def send_without_end(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 40))
                self.end_headers()
                with contextlib.suppress(OSError):
                    while not over.wait(0.01):
                        self.wfile.write(bytes(1 << 16))

        with serve(Handler, over) as address:
            self.url = f"{address}/simple"
            yield self


def point_pip_to(url: str, monkeypatch) -> None:
    """Let pip know this index only, and ask it once."""
    pytest.importorskip("pip", reason="this environment has no pip")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
