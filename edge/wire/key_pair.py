"""A CURVE key pair in a file: a certificate as `zmq.auth` and CZMQ write and read it (ZPL).

::

    metadata
    curve
        public-key = "oYD>xTzN+Xd1O1$cpiy5?Gzz/PPQV(P8.NRbrRJ2"
        secret-key = "..."

Keys are 32 bytes, written as 40 characters of Z85 (https://rfc.zeromq.org/spec/32/).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from edge.atomic_file import write_file
from edge.compat import Self
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.permissions import choose_remedy

MAX_BYTES = 64 << 10
Z85 = r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}"
_FIELD = re.compile(rf'^\s+(public|secret)-key = "({Z85})"\s*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair of CURVE, in Z85; the secret is left out of its repr."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """A new one."""
        while True:  # one that begins with - looks like an option of a command
            public, secret = zmq.curve_keypair()
            if not public.startswith(b"-"):
                return cls(public.decode(), secret.decode())


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key in Z85.

    Raises:
        ConfigError: It is none.
    """
    try:
        if re.fullmatch(Z85, text):
            return z85.decode(text)
    except struct.error:  # five characters of more than 32 bits
        pass
    raise ConfigError(f"{text!r} is no CURVE key: it has 40 characters, as edge keys new prints it")


def encode_key(key: bytes) -> str:
    """A key of 32 bytes in Z85."""
    return z85.encode(key).decode()


def read_key_pair(path: Path) -> KeyPair:
    """Read a secret certificate.

    Raises:
        ConfigError: It cannot be read, others may read it, or it has no pair of keys.
    """
    try:
        content = read_input(path, MAX_BYTES)
        mode = path.stat().st_mode
    except OSError as error:
        create = f"make it with edge keys new --curve {path}"
        remedy = choose_remedy(error, "read it", create)
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    if mode & 0o077:
        raise ConfigError(f"others may read the secret key: chmod 600 {path}", file=path)
    found = dict(_FIELD.findall(content.decode(errors="replace")))
    if found.keys() != {"public", "secret"}:
        problem = "is no CURVE certificate with a secret key: make one with edge keys new --curve"
        raise ConfigError(problem, file=path)
    pair = KeyPair(found["public"], found["secret"])
    decode_key(pair.public)
    decode_key(pair.secret)
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise ConfigError("its keys do not belong together: make others", file=path)
    return pair


def create_key_pair(path: Path) -> KeyPair:
    """Write a new secret certificate that only its owner may read.

    Raises:
        ConfigError: The file exists or cannot be written.
    """
    pair = KeyPair.generate()
    text = (
        "# Secret, written by edge keys new --curve. Only the public key may be given away.\n"
        "metadata\n"
        f'curve\n    public-key = "{pair.public}"\n    secret-key = "{pair.secret}"\n'
    )
    try:
        write_file(path, text, sync=True, mode=0o600, keep=True)
        written = path.read_text()
    except OSError as error:
        remedy = choose_remedy(error, "write there", "choose another path")
        raise ConfigError(f"{error.strerror}: {remedy}", file=path) from error
    if written != text:
        raise ConfigError("it exists: choose another path, no key is replaced", file=path)
    return pair
