"""A web server on this machine for tests of downloads, which fails in the ways that the network does."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site(ThreadingHTTPServer):
    """Serves ``files`` by path.

    Attributes:
        url: of its root, without the last slash.
        requests: path and ``Range`` header of each GET, in order. heads: path of each HEAD. agents: every ``User-Agent``.
        most: how many requests were answered at the same time at most.
        cut: paths whose answer ends halfway, and how often it still does.
        stalled: paths whose answer stops halfway until ``release`` is set.
        refusals: paths that answer with a status, and how often they still do.
        retry_after: ``Retry-After`` of these refusals; empty for none.
        slow: paths that answer only after so many seconds.
        lengths: paths that say another ``Content-Length``; ``None`` for none at all.
        tags: whether files have an ``ETag``, without which nothing is resumed.
        ranges: whether a part can be asked for. head: whether HEAD is known.
        queries: whether the query is part of the path.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.heads: list[str] = []
        self.agents: set[str] = set()
        self.now = self.most = 0
        self.cut: dict[str, int] = {}
        self.stalled: set[str] = set()
        self.release = threading.Event()
        self.refusals: dict[str, list[int]] = {}
        self.retry_after = ""
        self.slow: dict[str, float] = {}
        self.lengths: dict[str, int | None] = {}
        self.tags = self.ranges = self.head = True
        self.queries = False
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        site = self.server
        path = self.path if site.queries else self.path.split("?")[0]
        with site.lock:
            site.now += 1
            site.most = max(site.most, site.now)
            site.agents.add(self.headers.get("User-Agent", ""))
            if head:
                site.heads.append(path)
            else:
                site.requests.append((path, self.headers.get("Range", "")))
        try:
            self._send(path, head)
        finally:
            with site.lock:
                site.now -= 1

    def _send(self, path: str, head: bool) -> None:
        site = self.server
        time.sleep(site.slow.get(path, 0))
        if head and not site.head:
            self.send_error(405)
            return
        if not head and site.refusals.get(path):
            self._refuse(site.refusals[path].pop(0))
            return
        if path not in site.files:
            self.send_error(404)
            return
        body = site.files[path]
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        wanted = self.headers.get("Range", "") if site.ranges and self.headers.get("If-Range") == tag else ""
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if site.tags:
            self.send_header("ETag", tag)
        rest = body[start:]
        length = site.lengths.get(path, len(rest))
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if head:
            return
        if site.cut.get(path, 0):
            site.cut[path] -= 1
            rest = rest[: len(rest) // 2]
        with contextlib.suppress(OSError):  # a client that gave up
            if path in site.stalled:
                self.wfile.write(rest[: len(rest) // 2])
                site.release.wait(30)
                return
            self.wfile.write(rest)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

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
            site.release.set()
            site.shutdown()
            thread.join()
