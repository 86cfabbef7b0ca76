"""Connections to NATS servers, for the sink, for replay and for fleets."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client

from edge.config import is_loopback
from edge.redaction import redact, show_address
from edge.wire.nats_credentials import choose_options

CONNECT_S: Final = 5.0
FAILURES: Final = (OSError, nats.errors.Error, ssl.SSLError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class NatsServers:
    """Where to connect, and as whom.

    Attributes:
        urls: `nats://HOST:PORT` or `tls://HOST:PORT`, tried in turn.
        credentials_file: Credentials (.creds) or a key (.nk); empty sends none.
        tls_ca: Certificate authority of the servers; empty uses those of the system.
        inbox: How the subjects of answers begin; whoever may listen to them can read the answers.
    """

    urls: tuple[str, ...]
    credentials_file: str = ""
    tls_ca: str = ""
    inbox: str = "_INBOX"

    async def connect(self) -> Client:
        """A connection that is never made anew by itself.

        Raises:
            OSError, ssl.SSLError, TimeoutError, nats.errors.Error: Of `FAILURES`: none can be made.
        """
        more: dict[str, Any] = choose_options(self.credentials_file)
        if any(url.startswith("tls:") for url in self.urls):
            more["tls"] = self._trust()
        client = Client()
        try:
            await asyncio.wait_for(
                client.connect(
                    list(self.urls), allow_reconnect=False, connect_timeout=int(CONNECT_S),
                    max_reconnect_attempts=1, error_cb=_ignore, name="edge",
                    inbox_prefix=self.inbox, **more,
                ),
                2 * CONNECT_S,
            )  # fmt: skip
        except BaseException:
            if client._transport:  # noqa: SLF001 - the library leaves open what was refused
                client._transport.close()  # type: ignore[no-untyped-call]  # noqa: SLF001
            raise
        return client

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.tls_ca or None)
        except ssl.SSLError as error:
            raise OSError(
                f"{self.tls_ca} holds no certificate (PEM): give that of the authority that signed "
                "the server's"
            ) from error
        except OSError as error:
            raise OSError(f"{self.tls_ca}: {error.strerror}: check the path") from error

    def explain(self, error: BaseException) -> str:
        """What went wrong with the servers, without passwords."""
        what = redact(str(error).strip()) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            what = (
                f"its certificate is not trusted ({error.verify_message}): give the certificate of "
                "its authority (tls_ca), and use a host name that the server's names"
            )
        return f"{', '.join(map(show_address, self.urls))}: {what}"


def check_urls(urls: Sequence[str]) -> None:
    """Check that addresses are of NATS servers.

    Raises:
        ValueError: One is not.
    """
    for url in urls:
        parts = urlsplit(url)
        try:
            valid = parts.scheme in ("nats", "tls") and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"{show_address(url)!r} is no server: use nats://HOST:PORT or tls://")


def check_encryption(urls: Sequence[str]) -> None:
    """Check that nothing crosses the network in plain text.

    Raises:
        ValueError: It would.
    """
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme == "nats" and not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"{show_address(url)!r} would show everything to the network: "
                "use tls://, or set insecure = true"
            )


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether asyncio says more than that a server closed an encrypted connection.

    It warns of the library's own choice there, which nobody who reads the log can change.
    """
    return not record.getMessage().startswith("returning true from eof_received")


logging.getLogger("asyncio").addFilter(_is_worth_telling)


async def _ignore(_: BaseException) -> None:
    """What the client library would print by itself."""
