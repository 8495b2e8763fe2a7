"""A small HTTP server for machines: /metrics, /healthz and /status, read only.

One request a connection. The head must come within `request_s` and `HEAD_MAX_BYTES`; a thread serves each connection,
and there are at most `connections_max`: who comes then waits until the slowest has been shown the door. The status is
read at most twice a second, however many ask. Who asks by a name that is not ours is a web page that has turned its own
name to this machine, and is refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any

from edge.clock import SystemClock
from edge.console.metrics import exposition
from edge.console.verdict import verdict
from edge.core.types import seconds_to_ns
from edge.errors import EdgeError, UsageError
from edge.runtime.health import GatewayStatus, as_document
from edge.state.judgements import Tally

log = logging.getLogger(__name__)

HEAD_MAX_BYTES = 8192
PATHS = ("/metrics", "/healthz", "/status")
_JSON = "application/json; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_POLL_S = 0.1
_PATIENCE_NS = seconds_to_ns(0.5)  # how long a request's head may take while others wait outside
_HOST = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::\d*)?")
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]/@]*)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen. Port 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`host:port`, `[ipv6]:port`, or `:port` for this machine alone. Raises UsageError."""
        found = _LISTEN.fullmatch(text)
        if not found:
            raise UsageError(f"console.listen: {text!r} is not host:port; write 127.0.0.1:9480")
        if int(found["port"]) > 65_535:
            raise UsageError(f"console.listen: {text!r} has no such port; take one below 65536")
        return cls(found["six"] or found["host"] or "127.0.0.1", int(found["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[str, ...] = ()

    def bytes(self, *, with_body: bool) -> bytes:
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *self.headers,
        ]
        return "\r\n".join([*head, "", ""]).encode("ascii") + (self.body if with_body else b"")


class ConsoleServer:
    """Listens from the moment it is made, answers from `start` to `close`."""

    def __init__(
        self,
        status: Callable[[], GatewayStatus],
        listen: Listen,
        *,
        connections_max: int = 64,
        request_s: float = 5.0,
        fresh_s: float = 0.5,
        tallies: Callable[[], Sequence[Tally]] = lambda: (),
    ) -> None:
        """Raises EdgeError where the address cannot be listened on. `request_s` bounds a whole connection;
        `fresh_s` is how old a status may be that is given out; `tallies`: what was said of the gateway's cases.
        """
        pages = _Pages(status, fresh_s, tallies)
        try:
            self._server = _Server(listen, pages, connections_max=connections_max, request_s=request_s)
        except (OSError, UnicodeError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise EdgeError(
                f"console: cannot listen on {listen}: {words}; end what listens there or change console.listen"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="console", daemon=True)

    @property
    def listen(self) -> Listen:
        """With the port that was taken."""
        host, port = self._server.server_address[:2]
        return Listen(str(host), int(port))

    @property
    def evicted(self) -> int:
        """Connections that were closed because they took too long."""
        return self._server.evicted

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> ConsoleServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class _Names:
    """The names by which this server may be asked: a page from elsewhere has neither these nor an IP address."""

    def __init__(self, listen: Listen) -> None:
        self._own = {_plain(name) for name in ("localhost", listen.host, socket.gethostname())}

    def know(self, host: str) -> bool:
        """`host` is the value of a Host header."""
        found = _HOST.fullmatch(host)
        if not found:
            return False
        try:
            ipaddress.ip_address(found["six"] or found["host"] or "")
        except ValueError:
            return found["six"] is None and _plain(found["host"]) in self._own
        return True


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


class _Pages:
    """What each path answers. The status, and the metrics made of it, are shared by all who ask in the same moment."""

    def __init__(
        self, status: Callable[[], GatewayStatus], fresh_s: float, tallies: Callable[[], Sequence[Tally]]
    ) -> None:
        self._read = status
        self._tallies = tallies
        self._fresh_ns = seconds_to_ns(fresh_s)
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._status: GatewayStatus | None = None
        self._read_ns = 0
        self._metrics: dict[str, tuple[bytes, str]] = {}  # by what was accepted; of the present status alone

    def answer(self, method: str, path: str, accept: str) -> _Answer:
        path = path.partition("?")[0]
        if path not in PATHS:
            return _said(HTTPStatus.NOT_FOUND, f"nothing here; there are {', '.join(PATHS)}")
        if method not in ("GET", "HEAD"):
            return _said(HTTPStatus.METHOD_NOT_ALLOWED, "this can only be read", ("Allow: GET, HEAD",))
        with self._lock:
            status = self._fresh()
            if path == "/metrics":
                body, content_type = self._exposed(status, accept)
                return _Answer(HTTPStatus.OK, content_type, body)
        if path == "/status":
            return _document(HTTPStatus.OK, as_document(status))
        well, document = verdict(status)
        return _document(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, document)

    def _fresh(self) -> GatewayStatus:
        now_ns = self._clock.mono_ns()
        if self._status is None or now_ns - self._read_ns >= self._fresh_ns:
            self._status, self._read_ns = self._read(), now_ns
            self._metrics.clear()
        return self._status

    def _exposed(self, status: GatewayStatus, accept: str) -> tuple[bytes, str]:
        kind = "openmetrics" if "application/openmetrics-text" in accept else ""
        if kind not in self._metrics:
            asked = "application/openmetrics-text; version=1.0.0" if kind else ""
            self._metrics[kind] = exposition(status, asked, self._tallies())
        return self._metrics[kind]


def _said(status: HTTPStatus, words: str, headers: tuple[str, ...] = ()) -> _Answer:
    return _Answer(status, _TEXT, f"{words}\n".encode(), headers)


def _document(status: HTTPStatus, document: dict[str, Any]) -> _Answer:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _Answer(status, _JSON, f"{text}\n".encode())


@dataclass(slots=True)
class _Visit:
    """A connection that is being served."""

    since_ns: int
    asked: bool = False
    cut: bool = False


class _Server(socketserver.ThreadingTCPServer):
    """Threads, but not more than it may have; and a watch on how long each connection takes."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, listen: Listen, pages: _Pages, *, connections_max: int, request_s: float) -> None:
        self.pages = pages
        self.names = _Names(listen)
        self.request_s = request_s
        self.evicted = 0
        self._request_ns = seconds_to_ns(request_s)
        self._clock = SystemClock()
        self._room = threading.BoundedSemaphore(connections_max)
        self._lock = threading.Lock()
        self._served: dict[socket.socket, _Visit] = {}  # at most `connections_max`
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        super().__init__((listen.host, listen.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._room.acquire(timeout=_POLL_S):
            self._evict(hurried=True)
        with self._lock:
            self._served[request] = _Visit(self._clock.mono_ns())
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            served = self._served.pop(request, None) is not None
        super().shutdown_request(request)
        if served:
            self._room.release()

    def service_actions(self) -> None:
        self._evict(hurried=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("console: a request from %s failed", client_address)

    def has_asked(self, request: socket.socket) -> None:
        """The head of its request is here: if it takes long now, that is our doing."""
        with self._lock:
            if request in self._served:
                self._served[request].asked = True

    def _evict(self, *, hurried: bool) -> None:
        """Cut the connections that take too long: their thread then ends by itself."""
        now_ns = self._clock.mono_ns()
        with self._lock:
            for request, visit in self._served.items():
                limit_ns = _PATIENCE_NS if hurried and not visit.asked else self._request_ns
                if not visit.cut and now_ns - visit.since_ns > limit_ns:
                    visit.cut = True
                    self.evicted += 1
                    with contextlib.suppress(OSError):  # it ends in this moment
                        request.shutdown(socket.SHUT_RDWR)


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        try:
            self.request.settimeout(self.server.request_s)
            head = self._head()
            if head is None:
                return
            self.server.has_asked(self.request)
            answer, with_body = self._answered(head)
            self.request.sendall(answer.bytes(with_body=with_body))
        except OSError as error:  # the other side has gone, or was too slow
            log.debug("console: %s", error)

    def _head(self) -> bytes | None:
        """All before the empty line, or as much as is allowed; None when the other side said nothing."""
        head = b""
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= HEAD_MAX_BYTES:
            piece = self.request.recv(4096)
            if not piece:
                return None
            head += piece
        return head

    def _answered(self, head: bytes) -> tuple[_Answer, bool]:
        line, *rest = re.split(r"\r?\n", head.decode("latin-1"))
        words = line.split(" ")
        if len(head) > HEAD_MAX_BYTES:
            return _said(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long"), True
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _said(HTTPStatus.BAD_REQUEST, "this is not HTTP"), True
        method, path, _ = words
        headers = [header.partition(":") for header in rest]
        if not all(self.server.names.know(value.strip()) for name, _, value in headers if name.lower() == "host"):
            return _said(HTTPStatus.FORBIDDEN, "ask by IP address, localhost or the host of console.listen"), True
        accept = ",".join(value.strip() for name, _, value in headers if name.lower() == "accept")
        return self.server.pages.answer(method, path, accept), method != "HEAD"
