"""Asking an RTSP or HTTP server one thing at a time, over a plain socket: enough to learn why a stream does not open.

Each step is bounded; what cannot be understood raises NotUnderstoodError. Passwords are hashed or sent, never shown.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Self

STEP_S = 3.0
_ANSWER_BYTES_MAX = 65_536
_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}
_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class NotUnderstoodError(Exception):
    """The other side speaks something else."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]  # names in lower case; one may come more than once
    body: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str


class Dialogue:
    """A connection over which questions are asked in turn. Raises OSError from every step."""

    def __init__(self, host: str, port: int, *, protocol: str, encrypted: bool) -> None:
        self._protocol = protocol  # RTSP/1.0 | HTTP/1.1
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._number = 0
        self._socket = socket.create_connection((host, port), timeout=STEP_S)
        if encrypted:
            # A camera's certificate is its own: here it only matters whether somebody answers.
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket, server_hostname=host)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, method: str, target: str, *, login: Login | None = None, headers: tuple[str, ...] = ()) -> Answer:
        """One question; asked again with the login where the server wants one."""
        answer = self._ask_once(method, target, headers)
        if answer.status == 401 and login is not None:
            challenges = [value for name, value in answer.headers if name == "www-authenticate"]
            proof = prove(challenges, login, method=method, target=target)
            if proof:
                answer = self._ask_once(method, target, (*headers, f"Authorization: {proof}"))
        return answer

    def _ask_once(self, method: str, target: str, headers: tuple[str, ...]) -> Answer:
        self._number += 1
        own = (f"CSeq: {self._number}",) if self._protocol.startswith("RTSP") else (f"Host: {self._host}",)
        lines = [f"{method} {target} {self._protocol}", *own, "User-Agent: cityeye-edge", *headers, "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        return self._read_answer()

    def _read_answer(self) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more(data)
            if not b"RTSP/HTTP/".startswith(data[:5]) and data[:5] not in (b"RTSP/", b"HTTP/"):
                raise NotUnderstoodError
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("utf-8", "replace").split("\r\n")
        status = re.match(rf"{self._protocol.partition('/')[0]}/\d\.\d (\d{{3}})", first)
        if status is None:
            raise NotUnderstoodError
        pairs = (line.partition(":") for line in rest)
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        length = next((value for name, value in headers if name == "content-length"), "0")
        answer = Answer(int(status[1]), headers, "")
        if self._protocol.startswith("RTSP") or answer.status == 401:
            wanted = min(int(length) if length.isdigit() else 0, _ANSWER_BYTES_MAX)
            while len(body) < wanted:
                body += self._more(body)
        return Answer(answer.status, headers, body.decode("utf-8", "replace"))

    def _more(self, so_far: bytes) -> bytes:
        if len(so_far) > _ANSWER_BYTES_MAX:
            raise NotUnderstoodError
        more = self._socket.recv(4096)
        if not more:
            raise NotUnderstoodError if so_far else ConnectionResetError("closed without an answer")
        return more


def prove(challenges: list[str], login: Login, *, method: str, target: str) -> str:
    """The Authorization header for the strongest challenge that we know (RFC 7617, RFC 7616), "" for none."""
    digests = [
        fields
        for challenge in challenges
        if challenge.lower().startswith("digest ")
        and (fields := _fields(challenge)).get("algorithm", "md5").lower() in _HASHES
    ]
    if digests:
        strongest = max(digests, key=lambda fields: fields.get("algorithm", "md5").lower() == "sha-256")
        return _digest(strongest, login, method=method, target=target)
    if any(challenge.lower().startswith("basic") for challenge in challenges):
        return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    return ""


def _digest(fields: dict[str, str], login: Login, *, method: str, target: str) -> str:
    algorithm = fields.get("algorithm", "MD5")

    def hashed(text: str) -> str:
        return _HASHES[algorithm.lower()](text.encode()).hexdigest()

    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    who, what = hashed(f"{login.user}:{realm}:{login.password}"), hashed(f"{method}:{target}")
    told = {"username": login.user, "realm": realm, "nonce": nonce, "uri": target}
    plain = ""
    if "auth" in re.split(r"[\s,]+", fields.get("qop", "")):
        count, own = "00000001", secrets.token_hex(8)
        told |= {"response": hashed(f"{who}:{nonce}:{count}:{own}:auth:{what}"), "cnonce": own}
        plain = f", qop=auth, nc={count}"
    else:
        told["response"] = hashed(f"{who}:{nonce}:{what}")
    if "opaque" in fields:
        told["opaque"] = fields["opaque"]
    if "algorithm" in fields:
        plain += f", algorithm={algorithm}"
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in told.items()) + plain


def _fields(challenge: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(challenge)}
