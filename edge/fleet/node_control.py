"""The node of a box, as its agent has it checked, loaded and watched."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Final

from edge import __version__, config_file
from edge.config import Http
from edge.errors import EdgeError
from edge.redaction import redact

CHECK_S: Final = 300.0
COMMAND_S: Final = 180.0
UPGRADE_S: Final = 1800.0
ASK_S: Final = 3.0
POLL_S: Final = 0.2
LOADED: Final = "edge_config_last_reload_success_timestamp_seconds"
SUCCESSFUL: Final = "edge_config_last_reload_successful"
MAX_BYTES: Final = 8 << 20
_VERSION: Final = re.compile(r'^edge_build_info\{version="([^"]*)"\} 1', re.MULTILINE)


class NodeControl:
    """Commands to the node of a box, and what it answers.

    Args:
        configuration: Its file.
        reload: Command that has it read the file.
        restart: Command that starts it anew.
        patience_s: How long it may take to become ready, in seconds.
        upgrade: Command that installs a version; empty where there is none.
    """

    def __init__(
        self,
        configuration: Path,
        reload: Sequence[str],
        restart: Sequence[str],
        patience_s: float,
        upgrade: Sequence[str] = (),
    ) -> None:
        self.configuration = configuration
        self.can_upgrade = bool(upgrade)
        self._upgrade = tuple(upgrade)
        self._reload, self._restart, self._patience_s = tuple(reload), tuple(restart), patience_s

    def check(self, candidate: Path) -> str:
        """Why a configuration cannot work on this box, or nothing.

        A camera that does not answer is no reason: it may be off.
        """
        if problem := self._find_blindness(candidate):
            return problem
        command = [sys.executable, "-m", "edge", "check", "--json", "--running", str(candidate)]
        try:
            done = subprocess.run(  # noqa: S603 - ourselves
                command, capture_output=True, text=True, timeout=CHECK_S, check=False,
                errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"checking it took more than {CHECK_S:g} s"
        if done.returncode == 0:
            return ""
        problems = [
            f"{finding['part']}: {finding['detail']}"
            for finding in map(_read_finding, done.stdout.splitlines())
            if finding and not finding["ok"] and not finding["part"].startswith("cameras.")
        ]
        is_checked = any(map(_read_finding, done.stdout.splitlines()))
        if problems or is_checked:
            return redact("; ".join(problems))
        said = done.stderr.strip() or f"edge check ended with {done.returncode}"
        return redact(said.replace(str(candidate), self.configuration.name))

    def _find_blindness(self, candidate: Path) -> str:
        """Why the agent could not see whether the node is ready, or nothing."""
        try:
            http = config_file.load(candidate).http
        except EdgeError:
            return ""  # edge check says more
        if http.needs_token and not http.token_file:
            return "the agent cannot see whether the node is ready: set http.token_file"
        if not http.port:
            return "the agent cannot find the node: set http.port"
        return ""

    def load(self) -> str:
        """Have the node take its file, by starting it anew if need be; why it does not, or nothing.

        It does once it has read it and is ready.
        """
        before_s, was_well = self._read_loaded_s(), self._read_metric(SUCCESSFUL) == 1
        problem = self._run(self._reload)
        if not problem and before_s is not None:
            deadline_s = time.monotonic() + self._patience_s
            while time.monotonic() < deadline_s:
                loaded_s = self._read_loaded_s()
                if loaded_s not in (None, before_s):  # whoever sets the clock
                    return self._await_readiness()
                if was_well and self._read_metric(SUCCESSFUL) == 0:
                    break  # refused: something in it takes effect at a start
                time.sleep(POLL_S)
        if problem := self._run(self._restart):
            return problem
        return self._await_readiness()

    def install(self, version: str) -> str:
        """Install a version of Edgewatch; why that failed, or nothing."""
        command = [word.replace("{version}", version) for word in self._upgrade]
        return self._run(command, UPGRADE_S)

    def start_as(self, version: str) -> str:
        """Start the node anew; why it is not ready as that version, or nothing."""
        if problem := self._run(self._restart):
            return problem
        deadline_s = time.monotonic() + self._patience_s
        while time.monotonic() < deadline_s:
            if self.read_version() == version and self.is_ready():
                return ""
            time.sleep(POLL_S)
        if (stated := self.read_version()) not in (None, version):
            return f"the node says that it is version {stated}, and not {version}"
        return f"the node was not ready within {self._patience_s:g} s: see its log"

    def read_version(self) -> str | None:
        """The version that the node states; None if it does not answer."""
        match = _VERSION.search(self._ask("/metrics") or "")
        return match[1] if match else None

    def was_replaced(self) -> bool:
        """Whether the program on the disk is another version than the one that runs here."""
        command = [sys.executable, "-m", "edge", "--version"]
        try:
            done = subprocess.run(  # noqa: S603 - ourselves
                command, capture_output=True, text=True, timeout=CHECK_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0 and done.stdout.split()[-1:] != [__version__]

    def is_ready(self) -> bool:
        """Whether the node says that it is."""
        return self._ask("/readyz") is not None

    def _await_readiness(self) -> str:
        deadline_s = time.monotonic() + self._patience_s
        while time.monotonic() < deadline_s:
            if self.is_ready():
                return ""
            time.sleep(POLL_S)
        return f"the node was not ready within {self._patience_s:g} s: see its log"

    def _run(self, command: Sequence[str], timeout_s: float = COMMAND_S) -> str:
        name = " ".join(command)
        try:
            done = subprocess.run(  # noqa: S603 - of the settings
                command, capture_output=True, text=True, timeout=timeout_s, check=False,
                errors="replace",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"{name} took more than {timeout_s:g} s"
        except OSError as error:
            return f"{name}: {error.strerror}"
        if done.returncode:
            return redact(f"{name} ended with {done.returncode}: {done.stderr.strip()}")
        return ""

    def _read_loaded_s(self) -> float | None:
        """When the running node last loaded its configuration; None if it does not answer."""
        return self._read_metric(LOADED)

    def _read_metric(self, name: str) -> float | None:
        for line in (self._ask("/metrics") or "").splitlines():
            if line.startswith(name + " "):
                with contextlib.suppress(ValueError):
                    return float(line.removeprefix(name))
        return None

    def _ask(self, path: str) -> str | None:
        """What the node answers with success, by the address and token of its present file."""
        try:
            http = config_file.load(self.configuration).http
            request = urllib.request.Request(_locate(http) + path)  # noqa: S310 - http or https
            if http.token_file:
                token_file = self.configuration.parent / http.token_file
                request.add_header("authorization", f"Bearer {_read_token(token_file)}")
            context = ssl._create_unverified_context() if http.tls_cert else None  # noqa: S323, SLF001 - it is this machine
            with urllib.request.urlopen(request, timeout=ASK_S, context=context) as answer:  # noqa: S310
                content: bytes = answer.read(MAX_BYTES)
        except (OSError, ValueError, EdgeError, HTTPException):  # or something else is there
            return None
        return content.decode(errors="replace")


def _read_token(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _locate(http: Http) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(http.host, http.host)  # noqa: S104 - compared
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{'https' if http.tls_cert else 'http'}://{host}:{http.port}"


def _read_finding(line: str) -> dict[str, str] | None:
    try:
        finding = json.loads(line)
    except ValueError:
        return None
    known = isinstance(finding, dict) and {"part", "ok", "detail"} <= finding.keys()
    return finding if known else None
