"""A CURVE key pair in a file: a certificate as `zmq.auth` and CZMQ write and read it (ZPL).

::

    metadata
    curve
        public-key = "oYD>xTzN+Xd1O1$cpiy5?Gzz/PPQV(P8.NRbrRJ2"
        secret-key = "..."

Keys are 32 bytes, written as 40 characters of Z85 (https://rfc.zeromq.org/spec/32/). Commands that
only say what they would do must not load libzmq, which has a codec as well.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass, field
from pathlib import Path

from nacl.bindings import crypto_box_keypair, crypto_scalarmult_base

from edge.atomic_file import write_file
from edge.compat import Self
from edge.errors import ConfigError
from edge.input_file import read_input
from edge.permissions import choose_remedy

MAX_BYTES = 64 << 10
_LETTERS = string.digits + string.ascii_letters + ".-:+=^!/*?&<>()[]{}@%$#"
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
            public, secret = map(encode_key, crypto_box_keypair())
            if not public.startswith("-"):
                return cls(public, secret)


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key in Z85.

    Raises:
        ConfigError: It is none.
    """
    numbers = [
        sum(_LETTERS.index(letter) * 85**place for place, letter in enumerate(reversed(five)))
        for five in re.findall(".{5}", text if re.fullmatch(Z85, text) else "")
    ]
    if not numbers or max(numbers) >= 1 << 32:
        problem = "is no CURVE key: it has 40 characters, as edge keys new prints it"
        raise ConfigError(f"{text!r} {problem}")
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def encode_key(key: bytes) -> str:
    """A key of 32 bytes in Z85."""
    numbers = [int.from_bytes(key[at : at + 4], "big") for at in range(0, len(key), 4)]
    return "".join(
        _LETTERS[number // 85**place % 85] for number in numbers for place in (4, 3, 2, 1, 0)
    )


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
    if encode_key(crypto_scalarmult_base(decode_key(pair.secret))) != pair.public:
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
