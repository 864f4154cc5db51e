"""The demo's web server: real pages on loopback, and a log that is the judge of what ran."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import attrs

PAGES: Final = {"/good": (200, 0.0), "/slow": (200, 0.4), "/failing": (500, 0.0)}
"""Status and delay in seconds of each page."""


@attrs.frozen
class Hit:
    """One request, as the server saw it arrive; ``key`` names event and occurrence."""

    event_id: int
    key: str
    path: str


@attrs.define
class Log:
    """Every request so far, and how many are being answered right now."""

    url: str = ""
    hits: list[Hit] = attrs.field(factory=list)
    in_flight: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)

    def arrive(self, hit: Hit) -> None:
        """Note a request before it is answered."""
        with self._lock:
            self.hits.append(hit)
            self.in_flight += 1

    def leave(self) -> None:
        """Note that it was answered, or could not be."""
        with self._lock:
            self.in_flight -= 1

    def requests_of(self, event_ids: set[int]) -> Counter[str]:
        """How often each occurrence of these events was asked for."""
        with self._lock:
            return Counter(hit.key for hit in self.hits if hit.event_id in event_ids)


@contextmanager
def web_server() -> Iterator[Log]:
    """Serve the pages on a free port of 127.0.0.1 for as long as the block runs."""
    log = Log()

    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            log.arrive(
                Hit(int(self.headers["X-Horae-Event"]), self.headers["Idempotency-Key"], self.path)
            )
            try:
                status, delay = PAGES[self.path]
                time.sleep(delay)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            finally:
                log.leave()

        do_GET = do_HEAD = _answer  # noqa: N815 (the names are http.server's)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The log is ours."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed in mid-request is what the demo is about."""

    server = Server(("127.0.0.1", 0), Page)
    log.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield log
    finally:
        server.shutdown()
        server.server_close()
