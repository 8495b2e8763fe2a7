"""Why a camera does not open: every reason against a real server, socket or file."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.capture import probe
from edge.capture.asking import Login, prove
from edge.capture.look_up import LookUp, UnknownHostError
from edge.capture.packets import open_video
from edge.capture.probe import WORDS, find_reason
from edge.errors import CaptureError
from tests.bench.cameras import StreetCameras
from tests.bench.streams import Recipe, Stream, make_stream
from tests.clips import regular_times, write_clip

SECRET = "ge/heim@1"


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Stream:
    folder = tmp_path_factory.mktemp("probe")
    clip = write_clip(folder / "a.mp4", regular_times(frames=30, fps=15), rate=15)
    return make_stream(folder, Recipe(clip, width=320, height=240, duration_s=2.0))


@pytest.fixture(scope="module")
def cameras() -> Iterator[StreetCameras]:
    with StreetCameras() as running:
        yield running


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A server that says the same to whatever it is told, or nothing and keeps the line open; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(4096):
                if answer is not None:
                    self.request.sendall(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def reason_of(source: str) -> str:
    """The reason after a real failure to open, its words held to what an installer may be shown."""
    with pytest.raises(CaptureError) as failed:
        open_video(source)
    return explained(source, failed.value)


def explained(source: str, error: CaptureError) -> str:
    reason, words = find_reason(source, error)
    print(f"{reason}: {words}")
    assert reason in WORDS
    assert "\n" not in words
    assert "heim" not in words
    assert "{" not in words
    return reason


def test_wrong_passwords_are_told_from_missing_ones(cameras: StreetCameras, stream: Stream) -> None:
    for scheme in ("basic", "digest"):
        good = cameras.add(f"/{scheme}", stream, user="admin", password=SECRET, schemes=[scheme])
        wrong = cameras.url(f"/{scheme}", user="admin", password="ge/heim@2")
        assert reason_of(wrong) == "wrong-password"
        assert reason_of(cameras.url(f"/{scheme}")) == "password-missing"
        assert probe._ask_address(good) == "other", "with the right password nothing is left to be found"


class LockingCamera(socketserver.BaseRequestHandler):
    """Counts the logins that it refuses, as cameras do that lock."""

    logins: list[str]
    answer: bytes

    def handle(self) -> None:
        while question := self.request.recv(4096).decode():
            lines = question.split("\r\n")
            self.logins += [line for line in lines if line.startswith("Authorization")]
            number = next(line for line in lines if line.lower().startswith("cseq"))
            if question.startswith("OPTIONS"):
                self.request.sendall(f"RTSP/1.0 200 OK\r\n{number}\r\nPublic: DESCRIBE\r\n\r\n".encode())
            else:
                self.request.sendall(self.answer.replace(b"CSEQ", number.encode()))


@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Digest realm="x", nonce="abc"'])
def test_a_wrong_password_is_sent_once_and_not_again_to_find_out(challenge: str) -> None:
    answer = f"RTSP/1.0 401 Unauthorized\r\nCSEQ\r\nWWW-Authenticate: {challenge}\r\n\r\n".encode()
    handler = type("Handler", (LockingCamera,), {"logins": [], "answer": answer})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{server.server_address[1]}/stream"
        assert reason_of(f"rtsp://admin:ge%2Fheim@{where}") == "wrong-password"
        print(f"logins seen by the camera: {len(handler.logins)}")
        assert len(handler.logins) == 1
        assert reason_of(f"rtsp://{where}") == "password-missing"
        assert len(handler.logins) == 1
        server.shutdown()


def test_a_name_server_that_is_away_costs_a_bounded_time_and_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's look-up takes 20 to 40 s then; here it takes for ever."""
    over = threading.Event()
    asked: list[str] = []

    def hang(host: str, port: object) -> list[object]:
        asked.append(host)
        over.wait(60)
        return ["an address"]

    monkeypatch.setattr("edge.capture.look_up.socket.getaddrinfo", hang)
    beats: list[int] = []
    looking = LookUp()
    for _ in range(2):
        with pytest.raises(UnknownHostError) as failed:
            looking.check("rtsp://admin:ge%2Fheim@gate.example/stream", limit_s=1.0, beat=lambda: beats.append(1))
        assert explained("rtsp://admin:ge%2Fheim@gate.example/stream", failed.value) == "unknown-host"
    assert len(beats) == 4
    assert asked == ["gate.example"], "a look-up that hangs is not doubled"
    over.set()
    looking.check("rtsp://admin:ge%2Fheim@gate.example/stream")
    assert asked in (["gate.example"], ["gate.example"] * 2)


def test_a_number_needs_no_look_up_and_nonsense_is_left_to_who_opens() -> None:
    for source in ("rtsp://127.0.0.1/x", "rtsp://[::1]:554/x", "rtsp://", "rtsp://[::1/stream"):
        LookUp().check(source)


def test_a_wrong_path_is_told(cameras: StreetCameras, stream: Stream) -> None:
    cameras.add("/right", stream)
    assert reason_of(cameras.url("/wrong")) == "wrong-path"


def test_a_name_that_nobody_knows_is_told() -> None:
    assert reason_of("rtsp://admin:ge%2Fheim@camera.invalid/stream") == "unknown-host"


def test_a_closed_port_is_told() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening
        assert reason_of(f"rtsp://127.0.0.1:{reserved.getsockname()[1]}/stream") == "refused"


def test_no_way_to_a_host_is_told() -> None:
    error = OSError(113, "No route to host")
    assert probe._of_socket(error) == "unreachable"
    assert probe._of_socket(TimeoutError()) == "no-answer"


@pytest.mark.parametrize("source", ["rtsp://", "rtsp://host:port/x", "rtsp:///stream", "rtsp://[::1/stream"])
def test_half_an_address_is_told(source: str) -> None:
    assert explained(source, CaptureError("x")) == "bad-address"


def test_a_server_that_hangs_is_told_within_its_limit() -> None:
    with answering(None) as port:
        assert explained(f"rtsp://127.0.0.1:{port}/stream", CaptureError("x")) == "no-answer"


SDP = "v=0\r\ns=x\r\nm={media} 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\n"


def described(media: str, codec: str) -> bytes:
    body = SDP.format(media=media, codec=codec).encode()
    return b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-rtsp"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "not-rtsp"),
        (b"RTSP/1.0 404 Not Found\r\n\r\n", "wrong-path"),
        (b"RTSP/1.0 403 Forbidden\r\n\r\n", "wrong-password"),
        (b"RTSP/1.0 453 Not Enough Bandwidth\r\n\r\n", "busy"),
        (b"RTSP/1.0 503 Service Unavailable\r\n\r\n", "busy"),
        (b"RTSP/1.0 500 Internal Server Error\r\n\r\n", "camera-fault"),
        (described("audio", "PCMU"), "no-video"),
        (described("video", "SVAC"), "unsupported-codec"),
        (described("video", "H265"), "other"),
    ],
)
def test_what_a_server_answers_becomes_a_reason(answer: bytes, reason: str) -> None:
    with answering(answer) as port:
        assert explained(f"rtsp://a:ge%2Fheim@127.0.0.1:{port}/stream", CaptureError("x")) == reason


def test_a_server_without_encryption_is_told() -> None:
    with answering(b"RTSP/1.0 200 OK\r\n\r\n") as port:
        assert explained(f"rtsps://127.0.0.1:{port}/stream", CaptureError("x")) == "not-encrypted"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "wrong-path"),
        (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", "password-missing"),
        (b"RTSP/1.0 200 OK\r\n\r\n", "not-http"),
    ],
)
def test_http_has_reasons_too(answer: bytes, reason: str) -> None:
    with answering(answer) as port:
        assert reason_of(f"http://127.0.0.1:{port}/video.mjpg") == reason


def test_a_digest_is_proven_as_the_standard_shows() -> None:
    """The examples of RFC 7616, 3.9.1, with its own nonce of the client taken from the answer."""
    login = Login("Mufasa", "Circle of Life")
    challenge = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    both = [challenge.format("MD5"), challenge.format("SHA-256")]
    known = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    for offered, response in (
        (both[:1], "8ca523f5e9506fed4657c9700eebdbec"),
        (both, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edge.capture.asking.secrets.token_hex", lambda _: known)
            assert f'response="{response}"' in prove(offered, login, method="GET", target="/dir/index.html")


def test_devices_have_reasons(tmp_path: Path) -> None:
    assert explained("/dev/video-that-is-not-there", CaptureError("x")) == "missing"
    assert explained("/dev/null", CaptureError("x")) == "not-a-camera"
    assert explained("/dev/shm", CaptureError("x")) == "not-a-camera"


@pytest.mark.parametrize(("number", "reason"), [(13, "no-rights"), (16, "in-use"), (19, "missing")])
def test_a_device_that_refuses_says_why(number: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("edge.capture.probe.os.open", refuse)  # root may open everything
    assert explained("/dev/null", CaptureError("x")) == reason


def test_a_file_keeps_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video\n" * 100, encoding="utf-8")
    with pytest.raises(CaptureError, match="is a text file"):
        open_video(str(path))
    assert reason_of(str(path)) == "unreadable-file"


def test_every_word_says_what_to_do() -> None:
    for reason, words in WORDS.items():
        assert ";" in words or reason in ("unreadable-file",)
