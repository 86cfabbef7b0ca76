"""A line between two machines that can be cut: a TCP relay on the loopback."""

import contextlib
import socket
import threading


class Line:
    """Relays what connects to `port`, to another port, while it is whole.

    Attributes:
        port: Where it listens.
        carried_bytes: In both directions, so far.
    """

    def __init__(self, to_port):
        self._to_port = to_port
        self.carried_bytes = 0
        self._is_whole, self._is_over = True, False
        self._ends = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over = True
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def cut(self):
        """End all connections, and take none."""
        with self._lock:
            self._is_whole = False
            for end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._ends.clear()

    def mend(self):
        """Take connections again."""
        self._is_whole = True

    def _accept(self):
        while not self._is_over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port), 5)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                if not self._is_whole:
                    near.close()
                    far.close()
                    continue
                self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._relay, args=(source, target), daemon=True).start()

    def _relay(self, source, target):
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                target.sendall(content)
                with self._lock:
                    self.carried_bytes += len(content)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
