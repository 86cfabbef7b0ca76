"""A listening socket for an endpoint in ZeroMQ's notation: `tcp://HOST:PORT` or `ipc://PATH`."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BACKLOG = 128
_SIOCGIFADDR = 0x8915


@contextmanager
def listen(endpoint: str) -> Iterator[tuple[socket.socket, str]]:
    """Listen; yields the socket and the endpoint with its real port. Removes a Unix socket's file.

    Raises:
        OSError: The address is in use, not of this machine, or cannot be created.
    """
    transport, _, address = endpoint.partition("://")
    listener = _listen_unix(address) if transport == "ipc" else _listen_tcp(address)
    with listener:
        if transport == "tcp":
            yield listener, _format_tcp(*listener.getsockname()[:2])
        elif address.startswith("@"):
            yield listener, endpoint
        else:
            with _remove_at_end(address):
                yield listener, endpoint


def make_reachable(endpoint: str) -> str:
    """The endpoint by which this machine reaches a socket that is bound to all addresses."""
    return endpoint.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:").replace(
        "tcp://[::]:", "tcp://[::1]:"
    )


def _listen_tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    host = "0.0.0.0" if host == "*" else _find_interface(host)  # noqa: S104 - as configured
    number = 0 if port == "*" else int(port)
    family, *_, where = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _find_interface(host: str) -> str:
    """The address of a network interface; any other host is returned as it is."""
    if host not in {name for _, name in socket.if_nameindex()}:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", host.encode()[:15]))
    return socket.inet_ntoa(answer[20:24])


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("@"):
            listener.bind("\0" + path[1:])
        else:
            _remove_stale(path)
            listener.bind(path)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


@contextmanager
def _remove_at_end(path: str) -> Iterator[None]:
    """Remove the socket that is bound now, unless something else has taken its name by then."""
    bound = os.lstat(path)
    try:
        yield
    finally:
        with suppress(OSError):
            if os.path.samestat(bound, os.lstat(path)):
                os.unlink(path)  # noqa: PTH108 - a socket, by the name it was bound to


def _remove_stale(path: str) -> None:
    """Remove the socket of a process that is gone; one that answers is in use.

    Raises:
        OSError: It is in use, or is no socket: a file, folder, pipe, device or link stays.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "there is something else than a socket, which stays", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if os.path.samestat(found, os.lstat(path)):
                os.unlink(path)  # noqa: PTH108 - a socket
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _format_tcp(host: str, port: int) -> str:
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
