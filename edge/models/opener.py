"""Openers of http and https addresses: what a server sends before a file has an end."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.request
from contextlib import suppress
from typing import IO


def build_opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only, through the environment's proxy.

    The timeout of a request bounds how long its headers may take, too.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _HttpHandler(),
        _HttpsHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _RedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Answer(http.client.HTTPResponse):
    """An answer whose headers are complete within the timeout of its socket."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self._socket, self._is_late = sock, False

    def begin(self) -> None:
        """Read the headers.

        Raises:
            HTTPException: They did not end in time.
        """
        timeout_s = self._socket.gettimeout()
        timer = threading.Timer(timeout_s or threading.TIMEOUT_MAX, self._stop)
        timer.daemon = True
        timer.start()
        try:
            super().begin()
        except (http.client.HTTPException, OSError):
            if not self._is_late:
                raise
        finally:
            timer.cancel()
        if self._is_late:
            raise http.client.HTTPException(f"its headers did not end within {timeout_s:g} s")

    def _stop(self) -> None:
        self._is_late = True
        with suppress(OSError):  # it is closed
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS is the other thread's


class _Connection(http.client.HTTPConnection):
    response_class = _Answer


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Answer


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    """Follows without reading what comes with a redirection, which may have no end."""

    def http_error_302(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
    ) -> http.client.HTTPResponse | None:
        fp.close()
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
