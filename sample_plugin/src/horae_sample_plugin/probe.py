"""One HTTP request, measured: the mechanics of a probe, which know nothing of horae."""

import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import attrs

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BODY_LIMIT: Final = 1024 * 1024
"""How many bytes of a body are read at most; the rest is left to the server."""

_PORTS: Final = {"http": 80, "https": 443}
_PRINTABLE_ASCII: Final = re.compile("[!-~]+")


class ProbeFailed(Exception):
    """A probe did not get the answer it expected.

    ``status`` is None when no complete answer came. ``latency`` is in seconds.
    """

    def __init__(self, url: str, reason: str, status: int | None, latency: float) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason
        self.status = status
        self.latency = latency


@attrs.frozen
class Answer:
    """A complete answer; ``latency`` is in seconds, from name look-up to the end of the body."""

    status: int
    latency: float


def parse_url(url: str) -> SplitResult:
    """The parts of ``url``. Raises ValueError unless it is an absolute http or https URL."""
    try:
        parts = urlsplit(url)
        complete = parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:  # a port out of range, a broken IPv6 address
        complete = False
    if not complete or parts.scheme not in _PORTS or not _PRINTABLE_ASCII.fullmatch(url):
        raise ValueError(
            f"{url!r} cannot be probed: give an absolute http or https URL without spaces, user "
            "name or password, such as 'https://example.com/health'."
        )
    return parts


def probe(
    url: str,
    *,
    method: str = "GET",
    timeout: float = 10.0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request to ``url`` and read the answer; a redirect is an answer like any other.

    ``timeout`` is in seconds and covers everything but the name look-up, which cannot be
    interrupted. Raises ValueError when ``url`` is none, ProbeFailed when no complete answer came.
    """
    parts = parse_url(url)
    # Reading the certificates takes longer than many a request: not the server's latency.
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    started = time.monotonic()
    try:
        status = _exchange(parts, tls, method, headers or {}, started + timeout)
    # ValueError: names and chunk sizes that cannot be decoded.
    except (OSError, HTTPException, ValueError) as error:
        reason = (
            f"expected a complete answer within {timeout:g} s, got {type(error).__name__}: {error}"
        )
        raise ProbeFailed(url, reason, None, _seconds_since(started)) from error
    return Answer(status, _seconds_since(started))


def _exchange(
    parts: SplitResult,
    tls: ssl.SSLContext | None,
    method: str,
    headers: Mapping[str, str],
    deadline: float,
) -> int:
    with ExitStack() as stack:
        sock = stack.enter_context(_connect(parts, deadline))
        if tls is not None:
            sock.settimeout(_left(deadline))
            sock = stack.enter_context(tls.wrap_socket(sock, server_hostname=parts.hostname))
        sock.settimeout(_left(deadline))
        _send(sock, parts, method, headers)
        return _receive(sock, method, deadline)


def _connect(parts: SplitResult, deadline: float) -> socket.socket:
    """A connection to the first address that takes one.

    ``socket.create_connection`` would grant every address of the host the whole time again.
    """
    failure = OSError(f"{parts.hostname} has no address")
    port = parts.port or _PORTS[parts.scheme]
    for family, kind, protocol, _, address in socket.getaddrinfo(
        parts.hostname, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            return sock
    raise failure


def _send(sock: socket.socket, parts: SplitResult, method: str, headers: Mapping[str, str]) -> None:
    connection = HTTPConnection(parts.netloc)
    connection.sock = sock
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    own = {"Host": parts.netloc, "Connection": "close"}
    connection.request(method, target, headers={**own, **headers})


def _receive(sock: socket.socket, method: str, deadline: float) -> int:
    """The status of the answer, once its body has been read as well."""
    response = HTTPResponse(sock, method=method)
    response.fp = io.BufferedReader(_DeadlineReader(sock, deadline))
    response.begin()
    body = response.read(BODY_LIMIT)
    if response.length and len(body) < BODY_LIMIT:
        raise IncompleteRead(body, response.length)
    return response.status


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until ``deadline``, in however small pieces the data come.

    A socket's own timeout starts again with every piece, so that a server which sends one byte
    a second, of the headers even, would never meet it.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._sock.settimeout(_left(self._deadline))
        return self._sock.recv_into(buffer)


def _left(deadline: float) -> float:
    """The seconds left until ``deadline``. Raises TimeoutError when there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds


def _seconds_since(started: float) -> float:
    return round(time.monotonic() - started, 6)
