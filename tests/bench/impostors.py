"""What else may answer where a camera was expected, and a camera that speaks HTTP, each on a loopback port."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence

_BOUNDARY = "picture"
_SEEN_MAX = 100  # requests that an impostor remembers


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Accepts every connection and never says a word."""
    with _answering(greeting=b"", reply=b"") as port:
        yield port


@contextlib.contextmanager
def http_port() -> Iterator[int]:
    """A web server: whatever is asked, 400 in HTTP."""
    text = b"<html><body>400 Bad Request</body></html>"
    reply = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
    with _answering(greeting=b"", reply=reply % (len(text), text)) as port:
        yield port


@contextlib.contextmanager
def ssh_port() -> Iterator[int]:
    """Greets like an SSH server before anything is asked."""
    with _answering(
        greeting=b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", reply=b"Invalid SSH identification string.\r\n"
    ) as port:
        yield port


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Refuses: bound, so that nobody else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@contextlib.contextmanager
def mjpeg_camera(pictures: Sequence[bytes], *, fps: float = 10.0) -> Iterator[str]:
    """The URL of a camera that sends these JPEGs in turn for ever, as multipart/x-mixed-replace."""
    stop = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                for picture in itertools.cycle(pictures):
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    if stop.wait(1 / fps):
                        return

        def log_message(self, *_: object) -> None:
            """Says nothing: the tests' output is for figures."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/video.mjpg"
        finally:
            stop.set()
            server.shutdown()
            thread.join(5.0)


@contextlib.contextmanager
def _answering(*, greeting: bytes, reply: bytes) -> Iterator[int]:
    """A port where every connection hears `greeting`, and `reply` once it has said something."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peers: list[socket.socket] = []

        def talk(peer: socket.socket) -> None:
            with contextlib.suppress(OSError):
                peer.sendall(greeting)
                if peer.recv(4096) and reply:
                    peer.sendall(reply)
                    peer.close()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while len(peers) < _SEEN_MAX:
                    peer, _ = listener.accept()
                    peers.append(peer)
                    threading.Thread(target=talk, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # close alone would not wake accept
            thread.join(5.0)
            for peer in peers:
                peer.close()
