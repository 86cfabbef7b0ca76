"""Logins of cameras: user and password from keys, files, credentials and the environment."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, ConfigDict, SecretStr, model_validator

from edge.compat import Self
from edge.config import Table
from edge.errors import SourceError

CREDENTIAL = "credential:"
_MAX_PASSWORD_BYTES = 4096
_VARIABLE = re.compile(r"\$(?P<escaped>\$)?\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}")


def expand(text: str, *, encode: bool = False) -> str:
    """Replace each ``${NAME}`` by the environment's value; ``$${NAME}`` is ``${NAME}`` itself.

    Args:
        text: May contain any number of names.
        encode: Percent-encode values, as parts of a URL; a name that is all of it is a URL itself.

    Raises:
        ValueError: A variable is not set.
    """
    whole = _VARIABLE.fullmatch(text)

    def look_up(match: re.Match[str]) -> str:
        name = match["name"]
        if match["escaped"]:
            return match[0][1:]
        if name not in os.environ:
            raise ValueError(
                f"needs the environment variable {name}, which is not set: set it (in a unit: "
                f"Environment= or EnvironmentFile=), or write $${{{name}}} for the text itself"
            )
        return quote(os.environ[name], safe="") if encode and not whole else os.environ[name]

    return _VARIABLE.sub(look_up, text)


def escape(text: str) -> str:
    """Text that `expand` makes ``text`` of: a ``${NAME}`` in it is meant literally."""
    return re.sub(r"\$\{(?=[A-Za-z_][A-Za-z0-9_]*\})", r"$\g<0>", text)


def _expand_secret(value: object) -> object:
    return expand(value) if isinstance(value, str) else value


def _expand_url(value: object) -> object:
    return expand(value, encode=True) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_expand_secret)]
Secret = Annotated[SecretStr, BeforeValidator(_expand_secret)]
SecretUrl = Annotated[SecretStr, BeforeValidator(_expand_url)]


def _is_credential_name(where: str) -> str:
    name = where.removeprefix(CREDENTIAL)
    if where.startswith(CREDENTIAL) and not re.fullmatch(r"[^/.\x00][^/\x00]{0,254}", name):
        raise ValueError(f"{where!r} names no credential: use credential:NAME, without slashes")
    return where


PasswordFile = Annotated[str, AfterValidator(_is_credential_name)]


class Login(Table):
    """Keys that every camera with a login has."""

    model_config = ConfigDict(hide_input_in_errors=True)

    user: Text = ""
    password: Secret = SecretStr("")
    password_file: Annotated[
        PasswordFile, BeforeValidator(lambda v: str(v) if isinstance(v, Path) else v)
    ] = ""

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.password_file and self.password.get_secret_value():
            raise ValueError("give password or password_file, not both")
        if (self.password_file or self.password.get_secret_value()) and not self.user:
            raise ValueError("a password needs a user")
        return self

    def read_password(self) -> str:
        """The password; a file is read anew each time, so that it can be changed.

        Raises:
            SourceError: The file cannot be read.
        """
        if not self.password_file:
            return self.password.get_secret_value()
        return _read_password(_locate(self.password_file))


def _locate(where: str) -> Path:
    if not where.startswith(CREDENTIAL):
        return Path(where)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SourceError(
            f"{where} exists only in a service for which systemd loads it: elsewhere set "
            "password_file to the path of a file"
        )
    return Path(folder) / where.removeprefix(CREDENTIAL)


def _read_password(path: Path) -> str:
    try:
        if not path.is_file():  # a FIFO would block
            path.stat()  # tells what stands in the way, if anything does
            raise OSError(errno.EINVAL, "it is not a file")
        with path.open("rb") as file:
            content = file.read(_MAX_PASSWORD_BYTES + 1)
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or "it is not a text file"
        raise SourceError(
            f"cannot read the password file {path} ({why}): check the path and who may read it"
        ) from error
    if len(content) > _MAX_PASSWORD_BYTES:
        raise SourceError(f"the password file {path} is too long: it holds only the password")
    return text
