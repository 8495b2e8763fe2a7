"""Posting to other people's servers: verified, bounded, sent where it was told to and nowhere else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.delivery.bridges.http import ANSWER_MAX_BYTES, Answer, BusyError, HttpClient, RefusedError
from edge.errors import DeliveryError
from tests.brokers import free_port
from tests.certificates import Authority
from tests.platforms import Platform, Request, json_reply

pytestmark = pytest.mark.delivery


@contextmanager
def server(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answers the first connection with these bytes, whatever it asks."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)

    def serve() -> None:
        try:
            connection, _ = listening.accept()
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                connection.settimeout(5)
                asked = connection.recv(65_536)
                while asked.startswith(b"POST") and not asked.endswith(b"{}"):  # who hangs up on unread bytes resets
                    asked += connection.recv(65_536)
                connection.sendall(answer)
        except OSError:  # the client has hung up, which is what a test wants of it
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1]
    thread.join()
    listening.close()


def post(url: str, **options: object) -> Answer:
    return HttpClient(url, timeout_s=5, **options).post(url, b"{}", {})  # type: ignore[arg-type]


def refusal(url: str, **options: object) -> str:
    with pytest.raises(DeliveryError) as caught:
        post(url, **options)
    assert "token" not in str(caught.value)
    return str(caught.value)


FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def test_a_certificate_is_verified_against_the_authority_that_is_named(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    files = authority.certify("platform", "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with server(FINE, context) as port:
        assert post(f"https://localhost:{port}/token", ca_file=authority.files.certificate).status == 200
    for options in ({}, {"ca_file": stranger.files.certificate}):
        with server(FINE, context) as port:
            assert "its certificate does not verify" in refusal(f"https://localhost:{port}/token", **options)
    with server(FINE, context) as port:
        by_address = refusal(f"https://127.0.0.1:{port}/token", ca_file=authority.files.certificate)
        assert "its certificate does not verify" in by_address
    assert "no file of authorities" in refusal("https://localhost/token", ca_file=tmp_path / "none.pem")


def test_no_proxy_of_the_environment_is_used_and_no_redirect_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.delenv("no_proxy", raising=False)

    def answer(request: Request) -> tuple[int, dict[str, str], bytes]:
        return (302, {"Location": "/elsewhere"}, b"") if request.path == "/token" else json_reply({})

    with Platform(answer) as platform:
        client = HttpClient(platform.url)
        moved = client.post(f"{platform.url}/token", b"{}", {})
        assert moved.status == 302
        assert [request.path for request in platform.requests] == ["/token"]
        with pytest.raises(DeliveryError, match="check the address"):
            client.check(moved)


def test_an_endless_answer_is_read_up_to_a_bound_and_nonsense_is_named() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000) as port:
        assert len(post(f"http://127.0.0.1:{port}/token").body) == ANSWER_MAX_BYTES
    with server(b"SSH-2.0-OpenSSH\r\n") as port:
        assert "the answer is not HTTP" in refusal(f"http://127.0.0.1:{port}/token")
    with server(FINE) as port:
        assert "no TLS with this port" in refusal(f"https://127.0.0.1:{port}/token")
    assert "nothing listens on that port" in refusal(f"http://127.0.0.1:{free_port()}/token")
    assert "the host name is not known" in refusal("http://nowhere.invalid/token")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, None) for status in (200, 201, 204)),
        *((status, DeliveryError) for status in (301, 401, 403, 404, 405)),
        *((status, RefusedError) for status in (400, 413, 422)),
        *((status, BusyError) for status in (408, 429, 500, 503)),
    ],
)
def test_a_status_says_whether_it_is_about_the_message_about_us_or_about_now(
    status: int, kind: type[DeliveryError] | None
) -> None:
    client = HttpClient("https://robot.example:8443/send?token=geheim")
    if kind is None:
        client.check(Answer(status, {}, b""))
        return
    with pytest.raises(DeliveryError) as caught:
        client.check(Answer(status, {}, b""))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"https://robot.example:8443: answered {status}")


@pytest.mark.parametrize(
    ("asked", "pause_s"), [("7", 7), ("86400", 3600), ("soon", 0), ("-5", 0), ("9" * 5000, 3600), ("²", 0), (None, 0)]
)
def test_a_pause_is_as_long_as_they_ask_within_an_hour(asked: str | None, pause_s: float) -> None:
    headers = {} if asked is None else {"retry-after": asked}
    with pytest.raises(BusyError) as caught:
        HttpClient("https://robot").check(Answer(429, headers, b""))
    assert caught.value.pause_s == pause_s
