"""The configuration: read without secrets, checked, and written as a whole."""

from __future__ import annotations

import codecs
import contextlib
import difflib
import errno
import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from edge import config_file
from edge.atomic_file import replace_file
from edge.errors import ConfigError, EdgeError, list_errors
from edge.input_file import read_input
from edge.permissions import choose_remedy
from edge.redaction import redact
from edge.web.endpoint import Call, Endpoint
from edge.web.hidden_secrets import SecretKeeper
from edge.web.ports import ConfigurationFile, Node
from edge.web.problem import Mistake, RequestError
from edge.web.schema import Check, ConfigurationText, NewText, Query, Role


def require_configuration(node: Node) -> ConfigurationFile:
    """The file.

    Raises:
        RequestError: There is none.
    """
    if node.configuration is None:
        raise RequestError(HTTPStatus.NOT_FOUND, "this node runs without a configuration file")
    return node.configuration


def find_mistakes(file: ConfigurationFile, text: str) -> tuple[Mistake, ...]:
    """What is wrong with a text as the configuration; nothing if it can be used."""
    name = file.path.name
    try:
        tree = config_file.read_tree(text)
        settings = config_file.parse(tree, name, text)
        if file.classes and file.detector in (None, settings.models.detector):
            config_file.check_labels(tree, file.classes, name, text)
    except EdgeError as error:
        return tuple(
            Mistake(each.line, each.key, redact(each.problem)) for each in list_errors(error)
        )
    return ()


class ConfigurationDesk:
    """The configuration file, changed by one at a time."""

    def __init__(self) -> None:
        self._secrets = SecretKeeper()
        self._lock = threading.Lock()

    # --- what is served -------------------------------------------------------------------------

    def show(self, call: Call[Query, None]) -> ConfigurationText:
        """The text, without secrets."""
        text, revision = self.read(require_configuration(call.node))
        return ConfigurationText(self._secrets.hide(text), revision)

    def check(self, call: Call[Query, NewText]) -> Check:
        """What a text would do."""
        file = require_configuration(call.node)
        present, _ = self.read(file)
        return self.compare(file, present, self.restore(call.body.text, present))

    def write(self, call: Call[Query, NewText]) -> ConfigurationText:
        """Put a text in the place of the present one."""
        file = require_configuration(call.node)
        present, revision = self.read(file)
        self.require_revision(call.request.headers, revision)
        text = self.restore(call.body.text, present)
        return self.replace(file, text, revision)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What is served."""
        return (
            Endpoint("GET", "/configuration", self.show,
                     "The configuration file; secrets are hidden.", role=Role.ADMIN,
                     answer=ConfigurationText),
            Endpoint("POST", "/configuration/check", self.check,
                     "Say what is wrong with a configuration, and how it differs.",
                     role=Role.ADMIN, answer=Check, body=NewText, max_bytes=2 << 20),
            Endpoint("PUT", "/configuration", self.write,
                     "Write the configuration file and let the node read it. The header `if-match` "
                     "must give the revision that was read.", role=Role.ADMIN,
                     answer=ConfigurationText, body=NewText, max_bytes=2 << 20),
        )  # fmt: skip

    # --- what the editor of places uses as well -------------------------------------------------

    def read(self, file: ConfigurationFile) -> tuple[str, str]:
        """The text and its revision.

        Raises:
            RequestError: It cannot be read.
        """
        try:
            content = read_input(file.path, config_file.MAX_BYTES)
            text = content.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(
                HTTPStatus.CONFLICT, f"the configuration cannot be read: {_get_reason(error)}"
            ) from error
        try:
            config_file.read_tree(text)
        except ConfigError as error:
            raise RequestError(
                HTTPStatus.CONFLICT,
                f"the configuration {error.problem} by hand",
            ) from error
        return text.replace("\r\n", "\n"), hashlib.sha256(content).hexdigest()

    def restore(self, text: str, present: str) -> str:
        """A text as it will be written, with the secrets of the present one.

        Raises:
            RequestError: Something hidden was edited.
        """
        try:
            return self._secrets.restore(text, present)
        except ConfigError as error:
            raise refuse([Mistake(error.line, error.key, error.problem)]) from error

    def compare(self, file: ConfigurationFile, present: str, text: str) -> Check:
        """What a text would change; of what is not TOML, where secrets are not found, nothing."""
        mistakes = find_mistakes(file, text)
        try:
            config_file.read_tree(text)
        except ConfigError:
            return Check(mistakes, "", "")
        before, after = self._secrets.hide(present), self._secrets.hide(text)
        lines = difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True),
            "now", "then",
        )  # fmt: skip
        return Check(mistakes, "".join(lines), after)

    def require_revision(self, headers: Mapping[str, str], revision: str) -> None:
        """Check that what is changed is what was read.

        Raises:
            RequestError: The file was changed meanwhile, or nobody said which was read.
        """
        given = headers.get("if-match", "").strip().removeprefix("W/").strip('"')
        if not given:
            raise RequestError(
                HTTPStatus.PRECONDITION_REQUIRED,
                "send the revision of the configuration that was read in the header if-match",
            )
        if given != revision:
            raise RequestError(
                HTTPStatus.PRECONDITION_FAILED,
                "the configuration was changed by somebody else meanwhile: read it again",
            )

    def replace(self, file: ConfigurationFile, text: str, revision: str) -> ConfigurationText:
        """Write a text if it can be used and the file is still the one of that revision.

        Raises:
            RequestError: It has mistakes, the file was changed meanwhile, or cannot be written.
        """
        if mistakes := find_mistakes(file, text):
            raise refuse(mistakes)
        with self._lock:
            if self.read(file)[1] != revision:
                raise RequestError(
                    HTTPStatus.PRECONDITION_FAILED,
                    "the configuration was changed by somebody else meanwhile: read it again",
                )
            _write(file.path, _restore_line_ends(text, file.path.read_bytes()))
        file.reload()
        waiting = tuple(file.list_waiting(config_file.parse(config_file.read_tree(text))))
        text, revision = self.read(file)
        return ConfigurationText(self._secrets.hide(text), revision, waiting)


def refuse(mistakes: Sequence[Mistake]) -> RequestError:
    """The answer to a configuration that does not check."""
    return RequestError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "the configuration has mistakes: nothing was written",
        mistakes=mistakes,
    )


def _restore_line_ends(text: str, former: bytes) -> bytes:
    """A text as it is written, with the line ends of what it replaces, and its byte order mark."""
    mark = codecs.BOM_UTF8 if former.startswith(codecs.BOM_UTF8) else b""
    if b"\r\n" not in former:
        return mark + text.encode()
    old, new = former[len(mark) :].decode().split("\n"), text.split("\n")
    usual = "\r" if 2 * former.count(b"\r\n") > former.count(b"\n") else ""
    matcher = difflib.SequenceMatcher(None, [line.removesuffix("\r") for line in old], new)
    lines = list[str]()
    for kind, begin, end, at, to in matcher.get_opcodes():
        lines += old[begin:end] if kind == "equal" else [line + usual for line in new[at:to]]
    lines[-1] = new[-1]
    return mark + "\n".join(lines).encode()


def _write(path: Path, content: bytes) -> None:
    """Replace the file, and leave to it whom it belongs and who may read it."""
    try:
        about = path.stat()
        with replace_file(path, sync=True, mode=0o600) as part:
            part.write_bytes(content)
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.chown(part, about.st_uid, about.st_gid)
            part.chmod(about.st_mode & 0o777)
    except OSError as error:
        raise RequestError(
            HTTPStatus.CONFLICT,
            f"the configuration cannot be written: {_explain_write(error, path)}",
        ) from error


def _explain_write(error: OSError, path: Path) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        folder = path.resolve().parent  # the file is replaced by one beside it
        return (
            f"the node may not write into {folder} ({error.strerror}): change the file by hand, or "
            'see "Let the page save" in docs/how-to/systemd.md'
        )
    return f"{error.strerror}: change it by hand"


def _get_reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    return f"{error.strerror}: {choose_remedy(error, 'read it', 'look at the file by hand')}"
