"""The probe against real servers on loopback, and the plugin around it without a host."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pluggy
import pytest

import horae_hookspecs.specs
import horae_sample_plugin
from horae_hookspecs import RunContext
from horae_sample_plugin import LONGEST_TIMEOUT, HttpProbe
from horae_sample_plugin.probe import ProbeFailed, parse_url, probe

PATIENCE = 3.0
"""Seconds after which a server ends what a probe should have ended long before."""


class Site(ThreadingHTTPServer):
    """A server that remembers its requests, and whether a client hung up on it."""

    daemon_threads = False  # so that closing the server waits for its handlers

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.scheme = "http"
        self.requests: list[tuple[str, str, Message]] = []
        self.hung_up = threading.Event()

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients that hang up are what is tested here."""


class Page(BaseHTTPRequestHandler):
    """Answers a path with the function in ``PAGES``."""

    server: Site

    def do_GET(self) -> None:
        self.server.requests.append((self.command, self.path, self.headers))
        PAGES[self.path.partition("?")[0]](self)

    do_HEAD = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Keep the output of the tests clean."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def trickle(self, piece: bytes, pause: float) -> None:
        """Send ``piece`` again and again until the client hangs up or patience ends."""
        silence = threading.Event()
        try:
            for _ in range(int(PATIENCE / pause)):
                self.wfile.write(piece)
                silence.wait(pause)
        except OSError:
            self.server.hung_up.set()


def slow(page: Page) -> None:
    threading.Event().wait(0.05)
    page.answer(200)


def garbage(page: Page) -> None:
    page.wfile.write(b"\x00\xff this is no HTTP\r\n\r\n")


def trickling_headers(page: Page) -> None:
    page.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    page.trickle(b".", pause=0.01)


def trickling_body(page: Page) -> None:
    page.answer(200, Content_Length="1000000")
    page.trickle(b".", pause=0.01)


def endless(page: Page) -> None:
    page.answer(200, Content_Length=str(10**12))
    page.trickle(b"." * 65536, pause=0.001)


PAGES: dict[str, Callable[[Page], None]] = {
    "/good": lambda page: page.answer(200, b"fine"),
    "/slow": slow,
    "/failing": lambda page: page.answer(503, b"down"),
    "/moved": lambda page: page.answer(302, Location="/good"),
    "/truncated": lambda page: page.answer(200, b"short", Content_Length="100"),
    "/chunked": lambda page: page.answer(200, b"-2\r\n", Transfer_Encoding="chunked"),
    "/garbage": garbage,
    "/trickling-headers": trickling_headers,
    "/trickling-body": trickling_body,
    "/endless": endless,
}


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as running:
        yield running


@pytest.fixture
def context() -> RunContext:
    return cast(RunContext, SimpleNamespace(event_id=7, idempotency_key="7:2026-01-01"))


@pytest.fixture
def refusing() -> Iterator[str]:
    """The URL of a port that is taken, so nobody else gets it, and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


# The request.


@pytest.mark.parametrize(("path", "status"), [("/good", 200), ("/failing", 503), ("/moved", 302)])
def test_the_status_is_that_of_the_url_itself(site: Site, path: str, status: int) -> None:
    """Any status is an answer, and a redirect is not followed."""
    assert probe(site.url(path)).status == status
    assert [requested for _, requested, _ in site.requests] == [path]


def test_method_query_and_headers_are_sent(site: Site) -> None:
    """The server sees the request as asked for, and that no other will follow it."""
    probe(site.url("/good?full=1#part"), method="HEAD", headers={"X-Mark": "m"})
    [(method, path, headers)] = site.requests
    assert (method, path) == ("HEAD", "/good?full=1")
    assert headers["X-Mark"] == "m"
    assert headers["Connection"] == "close"
    assert headers["Host"] == f"127.0.0.1:{site.server_port}"


def test_latency_lasts_until_the_answer_is_complete(site: Site) -> None:
    """The time that a server takes counts, in seconds and to the microsecond."""
    latency = probe(site.url("/slow")).latency
    assert 0.05 <= latency < PATIENCE
    assert latency == round(latency, 6)


@pytest.mark.parametrize("path", ["/trickling-headers", "/trickling-body"])
def test_the_timeout_is_one_for_the_whole_answer(site: Site, path: str) -> None:
    """A server that never pauses for long is left all the same when the time is up."""
    with pytest.raises(ProbeFailed, match=r"within 0\.1 s, got TimeoutError") as caught:
        probe(site.url(path), timeout=0.1)
    assert 0.1 <= caught.value.latency < PATIENCE / 2
    assert site.hung_up.wait(PATIENCE)


def test_a_body_is_read_up_to_a_limit(site: Site) -> None:
    """An endless body neither fails a probe nor fills the memory."""
    assert probe(site.url("/endless")).status == 200
    assert site.hung_up.wait(PATIENCE)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/garbage", "BadStatusLine"),
        ("/truncated", "IncompleteRead"),
        ("/chunked", "(ValueError|IncompleteRead)"),  # which one depends on the Python version
    ],
)
def test_half_an_answer_is_none(site: Site, path: str, error: str) -> None:
    """What is no HTTP, or ends too early, fails the probe and names the reason."""
    with pytest.raises(ProbeFailed, match=f"expected a complete answer .* got {error}") as caught:
        probe(site.url(path))
    assert caught.value.status is None


def test_a_refused_connection_fails(refusing: str) -> None:
    """The failure carries the URL, the reason and the time it took as data."""
    with pytest.raises(ProbeFailed, match="ConnectionRefusedError") as caught:
        probe(refusing, timeout=2)
    failure = caught.value
    assert (failure.url, failure.status) == (refusing, None)
    assert str(failure) == f"{refusing}: {failure.reason}"
    assert 0 <= failure.latency < 2


def test_every_address_of_a_host_is_tried(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first address refuses is reached at its second."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", address)
            for address in (taken.getsockname(), site.server_address)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
        assert probe(site.url("/good")).status == 200


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_https_wants_a_certificate_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server is refused with an unknown certificate, and answers with a trusted one."""
    certificate = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    secured = Site()
    secured.scheme = "https"
    secured.socket = tls.wrap_socket(secured.socket, server_side=True)
    with serving(secured):
        with pytest.raises(ProbeFailed, match="SSLCertVerificationError"):
            probe(secured.url("/good"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert probe(secured.url("/good")).status == 200


def self_signed(folder: Path) -> Path:
    """A file with a fresh key and certificate for 127.0.0.1."""
    file = folder / "server.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    extensions = ("subjectAltName=IP:127.0.0.1", "keyUsage=critical,digitalSignature,keyCertSign")
    added = [word for extension in extensions for word in ("-addext", extension)]
    names = ["-subj", "/CN=127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run([*command.split(), *added, *names], check=True, capture_output=True)
    file.write_text((folder / "key").read_text() + (folder / "crt").read_text())
    return file


# The job.


def test_a_good_answer_is_the_result(site: Site, context: RunContext) -> None:
    """A run returns what was measured, as plain JSON values."""
    result = HttpProbe(site.url("/good"), latency_limit=PATIENCE).run(context)
    latency = result.pop("latency")
    assert result == {"url": site.url("/good"), "status": 200, "ok": True}
    assert 0 < latency < PATIENCE


def test_the_server_can_tell_events_apart(site: Site, context: RunContext) -> None:
    """Event and idempotency key of the run stand in the request's headers."""
    HttpProbe(site.url("/good")).run(context)
    headers = site.requests[0][2]
    assert headers["User-Agent"] == "horae-sample-plugin"
    assert headers["Idempotency-Key"] == "7:2026-01-01"
    assert headers["X-Horae-Event"] == "7"


def test_an_unexpected_status_fails_the_run(site: Site, context: RunContext) -> None:
    """The failure says which status was expected and which one came."""
    with pytest.raises(ProbeFailed, match="expected status 200, got 503") as caught:
        HttpProbe(site.url("/failing")).run(context)
    assert (caught.value.url, caught.value.status) == (site.url("/failing"), 503)


def test_another_status_can_be_the_expected_one(site: Site, context: RunContext) -> None:
    """A redirect is a good answer where one is expected."""
    assert HttpProbe(site.url("/moved"), expected_status=302).run(context)["status"] == 302


def test_a_late_answer_fails_the_run(site: Site, context: RunContext) -> None:
    """An answer over the latency limit is a failure that still knows its status."""
    with pytest.raises(ProbeFailed, match=r"within 0\.01 s, got one after 0\.") as caught:
        HttpProbe(site.url("/slow"), latency_limit=0.01).run(context)
    assert caught.value.status == 200
    assert caught.value.latency >= 0.05


def test_the_timeout_of_the_job_is_that_of_the_request(site: Site, context: RunContext) -> None:
    """The argument reaches the probe."""
    with pytest.raises(ProbeFailed, match=r"within 0\.05 s, got TimeoutError"):
        HttpProbe(site.url("/trickling-body"), timeout=0.05).run(context)


# The arguments.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/health",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///health",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:http/",
        "http://[::1/",
        "http://user:secret@example.com/",
        "http://example.com/a b",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com/ä",
    ],
)
def test_what_cannot_be_probed_is_refused_early(url: str) -> None:
    """A wrong URL is refused when the event is scheduled, with an example of a right one."""
    with pytest.raises(ValueError, match="give an absolute http or https URL"):
        HttpProbe(url)


@pytest.mark.parametrize("url", ["http://a", "HTTPS://a.b:8443/c?d#e", "http://[::1]:80/%C3%A4"])
def test_absolute_web_addresses_are_accepted(url: str) -> None:
    """The scheme may be in capitals, and ports, queries and IPv6 addresses are fine."""
    assert parse_url(url).scheme in ("http", "https")


@pytest.mark.parametrize(
    "limits", [{"timeout": 0.0}, {"timeout": LONGEST_TIMEOUT + 1}, {"latency_limit": 0.0}]
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    """Times are positive, and a timeout ends before the type's own."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        HttpProbe("http://a", **limits)


# The plugin.


def test_the_hook_contributes_the_event_type() -> None:
    """The module is a valid plugin that hands over the registered job."""
    plugins = pluggy.PluginManager("horae")
    plugins.add_hookspecs(horae_hookspecs.specs)
    plugins.register(horae_sample_plugin)
    plugins.check_pending()
    [events] = plugins.hook.horae_event_types()
    [registration, _] = events.registrations
    assert (registration.event_type, registration.target) == ("sample.http_probe", HttpProbe)


def test_the_policy_leaves_a_probe_its_time() -> None:
    """A failed probe is news and not tried again, and the host does not cut the longest short."""
    [registration, _] = horae_sample_plugin.events.registrations
    assert registration.policy.version == 1
    assert registration.policy.retry.attempts == 1
    assert registration.policy.timeout is not None
    assert registration.policy.timeout > timedelta(seconds=LONGEST_TIMEOUT)
