"""An HTTP server on the loopback, for as long as a block runs."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def serve(
    handler: type[BaseHTTPRequestHandler], over: threading.Event, *, waits: bool = True
) -> Iterator[str]:
    """Let requests be answered until the end of the block.

    Args:
        handler: What answers them; its log is silenced.
        over: Set at the end, so that an answer which waits for it ends.
        waits: Whether the end of the block waits for answers that are under way.

    Yields:
        The address, without a slash at its end.
    """

    class Silent(handler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = not waits
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
