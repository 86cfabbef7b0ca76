"""HTTP answers of cameras, one kept-alive connection each: bounded, in time, with a login.

FFmpeg's own HTTP is not used: it bounds neither what it stores nor how long an answer trickles,
and it computes no digest but MD5.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import secrets
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from edge.errors import SourceDeniedError, SourceError
from edge.sources._address import remove_login

_MAX_REDIRECTS = 5
_MAX_DRAINED_BYTES = 1 << 16  # of an answer that is not wanted
_CHUNK_BYTES = 1 << 16
_MAX_QUOTED = 80  # characters of a header that a message may repeat
_PORTS = {"http": 80, "https": 443}
_HASHES = {"MD5": "md5", "SHA": "sha1", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


@dataclass(slots=True)
class Authorizer:
    """Answers a camera's challenge: Digest (RFC 7616) before Basic (RFC 7617).

    Attributes:
        user: Empty for no login.
    """

    user: str
    password: str = field(repr=False)
    _challenge: dict[str, str] = field(default_factory=dict, repr=False)
    _count: int = 0

    def accept(self, challenges: list[str]) -> str:
        """Choose among challenges; return why none can be answered, or nothing."""
        offered = [_parse_challenge(text) for text in challenges]
        digests = [c for c in offered if c["scheme"] == "digest" and "nonce" in c]
        known = [c for c in digests if _hash_name(c) in hashlib.algorithms_available]
        basic = [c for c in offered if c["scheme"] == "basic"]
        strongest = sorted(known, key=lambda c: c.get("algorithm", "MD5").upper() != "MD5")
        if not (chosen := strongest[-1:] or basic[:1]):
            names = ", ".join(c.get("algorithm", c["scheme"]) for c in offered) or "no scheme"
            return (
                f"asks for a login by {names[:_MAX_QUOTED]}, which is not supported: set it to "
                "Digest with MD5 or SHA-256, or to Basic"
            )
        self._challenge, self._count = chosen[0], 0
        return ""

    def header(self, method: str, target: str) -> str:
        """The Authorization header of the next request; empty before a challenge."""
        c = self._challenge
        if not c:
            return ""
        if c["scheme"] == "basic":
            login = f"{self.user}:{self.password}".encode()
            return f"Basic {base64.b64encode(login).decode()}"
        return self._digest(c, method, target)

    def _digest(self, c: dict[str, str], method: str, target: str) -> str:
        realm, nonce, name = c.get("realm", ""), c["nonce"], _hash_name(c)

        def h(text: str) -> str:
            return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

        self._count += 1
        count, own_nonce = f"{self._count:08x}", secrets.token_hex(8)
        ha1, ha2 = h(f"{self.user}:{realm}:{self.password}"), h(f"{method}:{target}")
        if c.get("algorithm", "").lower().endswith("-sess"):
            ha1 = h(f"{ha1}:{nonce}:{own_nonce}")
        qop = "auth" if "auth" in c.get("qop", "").replace(",", " ").split() else ""
        middle = f"{nonce}:{count}:{own_nonce}:{qop}" if qop else nonce
        fields = {
            "username": self.user.replace("\\", "\\\\").replace('"', '\\"'),
            "realm": realm, "nonce": nonce, "uri": target, "response": h(f"{ha1}:{middle}:{ha2}"),
        }  # fmt: skip
        if "opaque" in c:
            fields["opaque"] = c["opaque"]
        text = ", ".join(f'{key}="{value}"' for key, value in fields.items())
        if "algorithm" in c:
            text += f", algorithm={c['algorithm']}"
        return f"Digest {text}" + (f', qop=auth, nc={count}, cnonce="{own_nonce}"' if qop else "")


def _parse_challenge(text: str) -> dict[str, str]:
    scheme, _, rest = text.strip().partition(" ")
    fields: dict[str, str] = {}
    with contextlib.suppress(ValueError, IndexError):
        fields = {
            key.lower(): value for key, value in parse_keqv_list(parse_http_list(rest)).items()
        }
    return fields | {"scheme": scheme.lower()}


def _hash_name(challenge: dict[str, str]) -> str:
    return _HASHES.get(challenge.get("algorithm", "MD5").upper().removesuffix("-SESS"), "")


class HttpClient:
    """Requests to one camera. `interrupt` may come from another thread.

    Args:
        address: What is asked, as it may be shown.
        url: The camera; a login in it serves where no other is given.
        login: User and password; ("", "") for those in ``url``.
        timeouts_s: For a connection, and for any other wait.
        verify_tls: Whether a certificate must be trusted.
    """

    def __init__(
        self,
        address: str,
        url: str,
        login: tuple[str, str],
        timeouts_s: tuple[float, float],
        verify_tls: bool,
    ) -> None:
        self.url, userinfo = remove_login(url)
        user, _, password = userinfo.partition(":")
        self._address = address
        self._auth = Authorizer(*(login if login[0] else (unquote(user), unquote(password))))
        self._open_timeout_s, self._read_timeout_s = timeouts_s
        self._tls = ssl.create_default_context()
        if not verify_tls:
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        self._connections: set[http.client.HTTPConnection] = set()
        self._interrupted = False

    def interrupt(self) -> None:
        """Make every call that waits for the camera fail, now and from here on."""
        self._interrupted = True
        for connection in self._connections.copy():
            if connection.sock:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.copy():
            self.hang_up(connection)

    @contextlib.contextmanager
    def connect(self, url: str) -> Iterator[HttpConnection]:
        """A connection to the host of ``url``, closed at the end of the block."""
        with contextlib.closing(HttpConnection(self, url)) as connection:
            yield connection

    def open(self, url: str) -> HttpBody:
        """Request ``url`` on a connection of its own, which ends with the body.

        Raises:
            SourceDeniedError: The login is refused or missing.
            SourceError: It does not answer, or with an error.
        """
        connection = HttpConnection(self, url)
        try:
            return connection.get(url)
        except SourceError:
            connection.close()
            raise

    # --- used by HttpConnection -----------------------------------------------------------------

    def dial(self, url: str) -> http.client.HTTPConnection:
        """Open a connection to the host of ``url``."""
        scheme, host, port = self.parse_origin(url)
        if self._interrupted:
            raise self.error("is not asked any more")
        timeout_s = self._open_timeout_s
        with self.translate():
            connection = (
                http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
                if scheme == "https"
                else http.client.HTTPConnection(host, port, timeout=timeout_s)
            )
            self._connections.add(connection)
            connection.connect()
            connection.sock.settimeout(self._read_timeout_s)
        return connection

    def hang_up(self, connection: http.client.HTTPConnection) -> None:
        """Close a connection."""
        self._connections.discard(connection)
        connection.close()

    def sign(self, url: str) -> dict[str, str]:
        """Headers of a request; the login goes to the camera's own scheme, host and port only."""
        headers = {"User-Agent": "edge", "Accept": "*/*", "Connection": "keep-alive"}
        if not self.is_own(url):
            return headers
        authorization = self._auth.header("GET", get_target(url))
        return headers | ({"Authorization": authorization} if authorization else {})

    def parse_origin(self, url: str) -> tuple[str, str, int]:
        """Scheme, host and port of an address, which a camera may have given.

        Raises:
            SourceError: It is not one of HTTP.
        """
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            if parts.scheme in _PORTS and parts.hostname:
                port = _PORTS[parts.scheme] if parts.port is None else parts.port
                return parts.scheme, parts.hostname, port
        raise self.error("leads to an address that is not http or https")

    def is_own(self, url: str) -> bool:
        """Whether an address is the camera's own: the same scheme, host and port."""
        return self.parse_origin(url) == self.parse_origin(self.url)

    def follow(self, url: str, location: str) -> str:
        """The address that a redirect from ``url`` leads to.

        Raises:
            SourceError: It is not one of HTTP.
        """
        try:
            target = urljoin(url, location)
        except ValueError:
            target = ""
        self.parse_origin(target)
        return target

    def accept_challenge(
        self, url: str, response: http.client.HTTPResponse, *, signed: bool
    ) -> None:
        """Prepare for another request after a 401.

        Raises:
            SourceDeniedError: There will be no other answer.
        """
        challenges = response.headers.get_all("WWW-Authenticate") or []
        stale = any("stale=true" in text.lower() for text in challenges)
        if not self.is_own(url):
            raise SourceDeniedError(
                f"{self._address} leads to another host or port, which asks for a login that is "
                "not sent there: set url to where it leads"
            )
        if not self._auth.user:
            raise SourceDeniedError(f"{self._address} asks for a login: set user and password")
        if signed and not stale:
            raise SourceDeniedError(
                f"{self._address} refused the login ({response.status}): check user and password"
            )
        if problem := self._auth.accept(challenges):
            raise SourceDeniedError(f"{self._address} {problem}")

    def error(self, problem: str) -> SourceError:
        """An error whose subject is the camera."""
        return SourceError(f"{self._address} {problem}")

    def refuse(self, response: http.client.HTTPResponse) -> SourceError:
        """The error of an answer that is none of 200, 401 and a redirect."""
        said = f"{self._address} answers {response.status} {response.reason[:_MAX_QUOTED]!r}"
        if response.status in (403, 407):
            return SourceDeniedError(f"{said}: check what the user may see")
        if response.status == 404:
            return SourceError(f"{said}: there is nothing at this path: check url")
        return SourceError(f"{said}: check the camera")

    @contextlib.contextmanager
    def translate(self) -> Iterator[None]:
        """Turn what a socket and http.client raise into one sentence, without their context."""
        try:
            yield
        except SourceError:
            raise
        except ssl.SSLCertVerificationError as error:
            problem = (
                f"its certificate is not trusted ({error.verify_message}): add it to this "
                "machine's, or set verify_tls = false"
            )
        except TimeoutError:
            problem = f"was silent for {self._read_timeout_s:g} s (read_timeout_s)"
        except socket.gaierror:
            problem = "the name cannot be resolved: check the host"
        except OSError as error:
            problem = f"{error.strerror or type(error).__name__}: is the camera on?"
        except (http.client.HTTPException, ValueError) as error:
            problem = f"answers with something that is not HTTP ({type(error).__name__})"
        else:
            return
        raise SourceError(f"{self._address}: {problem}")


def get_target(url: str) -> str:
    """Path and query, as they stand in a request."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class HttpConnection:
    """A connection that is kept alive between requests, and opened again when it was closed."""

    def __init__(self, client: HttpClient, url: str) -> None:
        self._client = client
        self._url = url
        self._connection: http.client.HTTPConnection | None = None
        self._origin = ("", "", 0)

    def get(self, url: str) -> HttpBody:
        """Request ``url``, following redirects and answering one challenge.

        Raises:
            SourceDeniedError: The login is refused or missing.
            SourceError: It does not answer, or with an error.
        """
        signed = False
        for _ in range(_MAX_REDIRECTS + 2):
            headers = self._client.sign(url)
            response = self._request(url, headers)
            if response.status == 200:
                return HttpBody(self._client, self, response)
            if response.status == 401:
                self._drain(response)
                self._client.accept_challenge(url, response, signed=signed)
                signed = True
            elif response.status in (301, 302, 303, 307, 308) and response.headers["Location"]:
                self._drain(response)
                url = self._client.follow(url, response.headers["Location"])
            else:
                response.close()  # it may own the socket
                self.close()
                raise self._client.refuse(response)
        raise self._client.error("redirects in a circle: check url")

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        if self._connection:
            self._client.hang_up(self._connection)
        self._connection = None

    def _request(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        origin = self._client.parse_origin(url)
        if self._connection and origin != self._origin:
            self.close()
        kept = self._connection is not None
        self._origin = origin
        if not self._connection:
            self._connection = self._client.dial(url)
        try:
            with self._client.translate():
                self._connection.request("GET", get_target(url), headers=headers)
                return self._connection.getresponse()
        except SourceError:
            self.close()
            if not kept:
                raise
        return self._request(url, headers)  # the camera closed it since the last request

    def _drain(self, response: http.client.HTTPResponse) -> None:
        """Read an answer that is not wanted, so that the connection can be used again."""
        with self._client.translate():
            # read() would take a chunk of any length that is told, a negative one without end.
            left = _MAX_DRAINED_BYTES
            while left > 0 and (part := response.read1(left)):
                left -= len(part)
            if left > 0:
                response.read()  # nothing is left, but only this makes the connection free
            over = response.isclosed()
        if not over or response.will_close:
            response.close()
            self.close()


class HttpBody:
    """The body of an answer, read piece by piece.

    Attributes:
        content_type: Its media type in lower case, without parameters.
    """

    def __init__(
        self,
        client: HttpClient,
        connection: HttpConnection,
        response: http.client.HTTPResponse,
    ) -> None:
        self.content_type = response.headers.get_content_type().lower()[:_MAX_QUOTED]
        self._client, self._connection, self._response = client, connection, response
        self._peeked = b""

    def peek(self, size: int) -> bytes:
        """The next bytes, at least ``size`` unless it ends before, without taking them."""
        while len(self._peeked) < size:
            with self._client.translate():
                part = self._response.read1(_CHUNK_BYTES)
            if not part:
                break
            self._peeked += part
        return self._peeked

    def read(self, size: int = _CHUNK_BYTES) -> bytes:
        """Some bytes, at most ``size``; none at the end."""
        if self._peeked:
            part, self._peeked = self._peeked[:size], self._peeked[size:]
            return part
        with self._client.translate():
            return self._response.read1(min(size, _CHUNK_BYTES))

    def read_all(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            SourceError: It is longer than ``limit``.
        """
        whole = bytearray()
        while part := self.read():
            whole += part
            if len(whole) > limit:
                self.close()
                raise self._client.error(f"sends more than {limit >> 20} MiB: is it one picture?")
        with self._client.translate():
            self._response.read()  # nothing is left, but only this makes the connection free
        if self._response.will_close:
            self._connection.close()
        return bytes(whole)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()  # it may own the socket
        self._connection.close()
