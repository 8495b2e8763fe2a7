"""HTTP to other people's systems: one POST at a time, verified, bounded, and without surprises.

TLS is verified, no proxy is taken from the environment, no redirect is followed (it would carry our message and its
secret elsewhere), and an answer is read up to a bound. An address may be a secret: errors name host and port only.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from edge.errors import DeliveryError

ANSWER_MAX_BYTES = 64 * 1024


class RefusedError(DeliveryError):
    """They will never take this message, whenever it is sent."""


class BusyError(DeliveryError):
    """They ask for a pause; of 0 s where they do not say how long."""

    def __init__(self, words: str, pause_s: float = 0.0) -> None:
        super().__init__(words)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


class HttpClient:
    """Posts to one host. Not thread-safe."""

    def __init__(self, url: str, *, timeout_s: float = 10.0, ca_file: Path | None = None) -> None:
        """`timeout_s` bounds each wait for the host: to connect, to take our bytes, to answer."""
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.shown = f"{parts.scheme}://{self.host}" + (f":{parts.port}" if parts.port else "")
        self._timeout_s = timeout_s
        self._ca_file = ca_file
        self._opener: urllib.request.OpenerDirector | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Any status is an answer. Raises DeliveryError where there is none."""
        request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
        self._opener = self._opener or self._made()
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return _answer(response.status, response.headers, response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeliveryError(f"{self.shown}: {_advice(error)}") from None  # its words may hold the address

    def _made(self) -> urllib.request.OpenerDirector:
        """Only what is named here: a default opener would follow redirects and ask the environment for proxies."""
        try:
            context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
        except OSError as error:  # ssl's own errors are some
            raise DeliveryError(f"{self._ca_file}: no file of authorities ({error.strerror or error})") from error
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        return opener

    def check(self, answer: Answer) -> None:
        """Raises for a status that is no success, by whether it is about this message or about us."""
        status = answer.status
        if 200 <= status < 300:
            return
        words = f"{self.shown}: answered {status} {http.client.responses.get(status, '')}".rstrip()
        if status in (401, 403, 407):
            raise DeliveryError(f"{words}; check user, password and rights")
        if status in (404, 405) or 300 <= status < 400:
            raise DeliveryError(f"{words}; check the address")
        if status in (408, 425, 429) or status >= 500:
            raise BusyError(words, _retry_after_s(answer))
        raise RefusedError(words)


def _answer(status: int, headers: Message, response: IO[bytes]) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, response.read(ANSWER_MAX_BYTES))


def _retry_after_s(answer: Answer) -> float:
    """As they ask, within an hour; 0 where they do not."""
    asked = answer.headers.get("retry-after", "")
    return float(min(int(asked[:6]), 3600)) if asked.isascii() and asked.isdecimal() else 0.0


# The first that fits; a narrower error stands before the wider one that it belongs to.
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLCertVerificationError, "its certificate does not verify; check its authority and the host name"),
    (ssl.SSLError, "no TLS with this port; check the address"),
    (socket.gaierror, "the host name is not known; check the address and the name server"),
    (ConnectionRefusedError, "nothing listens on that port; check the address"),
    (TimeoutError, "no answer in time; check the address and the network"),
    (http.client.HTTPException, "the answer is not HTTP; check the address"),
    (ValueError, "the answer is not HTTP; check the address"),
    (Exception, "cannot be reached; check the address and the network"),
)


def _advice(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return next((words for kind, words in _ADVICE if isinstance(reason, kind)), _ADVICE[-1][1])
