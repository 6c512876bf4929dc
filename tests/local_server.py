"""A web server on this machine for tests of downloads, which fails in the ways that the network does."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site(ThreadingHTTPServer):
    """Serves ``files`` by path.

    Attributes:
        url: of its root, without the last slash.
        requests: path and ``Range`` header of each request, in order.
        cut: paths whose answer ends halfway, and how often it still does.
        refusals: paths that answer with a status, and how often they still do.
        slow: paths that answer only after so many seconds.
        tags: whether files have an ``ETag``, without which nothing is resumed.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.cut: dict[str, int] = {}
        self.refusals: dict[str, list[int]] = {}
        self.slow: dict[str, float] = {}
        self.tags = True


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path, wanted = self.path.split("?")[0], self.headers.get("Range", "")
        self.server.requests.append((path, wanted))
        time.sleep(self.server.slow.get(path, 0))
        if self.server.refusals.get(path):
            self.send_error(self.server.refusals[path].pop(0))
            return
        if path not in self.server.files:
            self.send_error(404)
            return
        body = self.server.files[path]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.tags:
            self.send_header("ETag", '"one"')
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.server.cut.get(path, 0):
            self.server.cut[path] -= 1
            rest = rest[: len(rest) // 2]
        with contextlib.suppress(OSError):  # a client that gave up
            self.wfile.write(rest)

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@contextlib.contextmanager
def serve() -> Iterator[Site]:
    """Run a `Site` in a thread for as long as the block takes."""
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
