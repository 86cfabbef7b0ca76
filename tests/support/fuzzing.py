"""Fuzzing: valid content that is changed a little, again and again, for as long as is asked.

`make test` tries the same few hundred examples of each target, `make fuzz` new ones for
FUZZ_SECONDS each. An example that fails is shrunk and printed; `make fuzz` keeps it in .hypothesis
until it passes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
HANG_S = 60  # no example takes a hundredth of it, so a busy machine does not matter
MAX_GROWTH_BYTES = 512 << 20  # by one example; what is read has kilobytes
SECRET = "hunter2-secret"
HOSTILE = (
    b"", b"\0", b"\n", b"\r\n\r\n", b"\xff\xfe", b"-1", b"0", b"1e999", b"nan", b"9" * 20,
    b"'", b'"', b"../" * 20, b"%s%n", b"[" * 200, b"{" * 200, b"A" * 5000, "\u202e\u0130".encode(),
    b"\x1b[2J", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\x80" * 12, b"null", b"true",
)  # fmt: skip


@st.composite
def mutate(
    draw: Callable[..., Any],
    seeds: Sequence[bytes],
    words: Sequence[bytes] = (),
    most: int = 6,
    edits: Sequence[str] = ("replace", "flip", "delete", "repeat", "cut", "splice"),
) -> bytes:
    """Content of one of ``seeds`` after up to ``most`` edits; ``words`` may come in."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, most))):
        size = len(content)
        begin = draw(st.integers(0, size))
        length = draw(st.integers(0, min(64, size - begin)))
        edit = draw(st.sampled_from(edits))
        before, part, after = (
            content[:begin],
            content[begin : begin + length],
            content[begin + length :],
        )
        if edit == "replace":
            part = draw(st.sampled_from((*HOSTILE, *words)) | st.binary(max_size=16))
        elif edit == "flip":
            part = bytes(byte ^ draw(st.integers(1, 255)) for byte in part[:8]) + part[8:]
        elif edit == "delete":
            part = b""
        elif edit == "repeat":
            part *= draw(st.sampled_from((2, 3, 50)))
        elif edit == "cut":
            part, after = b"", b""
        else:
            other = draw(st.sampled_from(seeds))
            after = other[draw(st.integers(0, len(other))) :]
        content = before + part + after
    return content


def fuzz(examples: int, **strategies: st.SearchStrategy[Any]) -> Callable[..., Callable[..., None]]:
    """Try a test with ``examples`` examples; under `make fuzz` with ever new ones."""

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(check)
        def guarded(*args: object, **kwargs: object) -> None:
            with guard():
                check(*args, **kwargs)

        test = settings(
            max_examples=examples,
            deadline=None,
            derandomize=not SECONDS,
            database=None if not SECONDS else settings().database,
            print_blob=True,
            phases=[p for p in Phase if p is not Phase.explain],
            suppress_health_check=list(HealthCheck),
        )(given(**strategies)(guarded))
        if not SECONDS:
            return test

        @functools.wraps(test)
        def repeat(*args: object, **kwargs: object) -> None:
            end_s = time.monotonic() + SECONDS
            while time.monotonic() < end_s:
                test(*args, **kwargs)

        return repeat

    return decorate


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Fail where the block hangs, or takes memory that no content of its size may cost."""

    def tell(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it hangs: {HANG_S} s have passed")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    former = signal.signal(signal.SIGALRM, tell)
    signal.alarm(HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    growth_bytes = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert growth_bytes < MAX_GROWTH_BYTES


@contextlib.contextmanager
def expect(*errors: type[Exception]) -> Iterator[None]:
    """Let these errors pass, whose message must be one that can be shown."""
    try:
        yield
    except errors as error:
        check_message(str(error))


def check_message(message: str) -> None:
    """A message says something, is printable, of reasonable length, and no traceback or secret."""
    assert message.strip()
    assert "Traceback" not in message
    assert SECRET not in message
    assert len(message) < 20_000, len(message)
    hidden = [c for c in message if not c.isprintable() and c != "\n"]
    assert not hidden, message
