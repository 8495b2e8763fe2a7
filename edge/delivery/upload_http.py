"""HTTP PUT to the street brain, or to any server that takes it: WebDAV, nginx, a plain bucket.

    HEAD name -> has it: nothing is sent
              -> has a part of it, or it is large: PUT with Content-Range, from where the server is, in parts
              -> else: PUT

Parts are for servers that take them (RFC 9110, 14.5) and then say in HEAD how much they have; the others get files in
one piece. Written on `http.client`, since a body must be let go of block by block: alerts go first, in the middle too.
"""

from __future__ import annotations

import base64
import http.client
import logging
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from edge.delivery.upload import RefusedError
from edge.delivery.upload_files import Parcel, Part
from edge.errors import DeliveryError, redact

log = logging.getLogger(__name__)

ANSWER_BYTES_MAX = 1 << 20
_DIGITS_MAX = 18  # of a length: a number of thousands of digits is no answer
TIMEOUT_S = 30.0  # for each step of the network
# ValueError: a name that cannot be a host's, a line that cannot be an answer's.
_NETWORK = (OSError, http.client.HTTPException, ValueError)
_NO_PARTS = {400, 405, 411, 416, 501}  # how servers say that they know no partial PUT
_MISSING = {404, 410}
_REMEDY = {
    401: "check the token or the keys",
    403: "check the token or the keys, and what they may do",
    404: "check the address",
    413: "the file is too large for it",
    507: "the store is full",
}
# Of one file; what is not listed may be of any, and passes: the store is asked again and again.
_REFUSALS = {400, 405, 406, 409, 411, 412, 413, 414, 415, 422, 451}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    words: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def length(self) -> int | None:
        stated = self.headers.get("content-length", "")
        return int(stated) if stated.isdecimal() and len(stated) <= _DIGITS_MAX else None


class HttpClient:
    """One connection to one server, made anew when it breaks. Redirections are not followed: a token stays here."""

    def __init__(self, url: str, *, ca_file: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self.address = redact(url)
        self.host = parts.netloc
        self._name, self._port = parts.hostname or "", parts.port
        self._timeout_s = timeout_s
        self._secure = parts.scheme == "https"
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        *,
        blocks: Iterable[bytes] = (),
        length: int | None = None,
    ) -> Answer:
        """One request. `length`: of the body, None where there is none. Raises DeliveryError."""
        try:
            return self._exchange(method, target, headers, blocks, length)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            if length is not None:  # a body cannot be told twice; the others may have met a connection that was closed
                raise self._broken(error) from error
        except _NETWORK as error:
            self.close()
            raise self._broken(error) from error
        except BaseException:  # half a body is out: the connection is of no use any more
            self.close()
            raise
        try:
            return self._exchange(method, target, headers, (), None)
        except _NETWORK as error:
            self.close()
            raise self._broken(error) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], blocks: Iterable[bytes], length: int | None
    ) -> Answer:
        connection = self._connection = self._connection or self._connect()
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        given = {"Host": self.host, **headers}
        if length is not None:
            given["Content-Length"] = str(length)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        try:
            for block in blocks:
                connection.send(block)
        except (BrokenPipeError, ConnectionResetError):
            answer = self._early_answer(connection)
            self.close()
            if answer is None:
                raise
            return answer
        return self._answer(connection)

    def _early_answer(self, connection: http.client.HTTPConnection) -> Answer | None:
        """What a server said before it hung up on the body."""
        try:
            return self._answer(connection)
        except _NETWORK:
            return None

    def _answer(self, connection: http.client.HTTPConnection) -> Answer:
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX)
        headers = {name.lower(): value for name, value in response.getheaders()}
        if not response.isclosed() or response.will_close:
            self.close()
        return Answer(response.status, response.reason, headers, body)

    def _connect(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._name, self._port, timeout=self._timeout_s)
        try:
            self._tls = self._tls or ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise DeliveryError(f"{self._ca_file}: is no file of certificates: {error.strerror or error}") from error
        return http.client.HTTPSConnection(self._name, self._port, timeout=self._timeout_s, context=self._tls)

    def _broken(self, error: Exception) -> DeliveryError:
        return DeliveryError(f"{self.address}: {_reason(error, self._timeout_s)}")


def _reason(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"does not answer within {timeout_s:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}; name its authority with ca_file"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words or f"broke off ({type(error).__name__})"


def failed(address: str, doing: str, answer: Answer, said: str = "") -> DeliveryError:
    """What an answer that is no success means."""
    remedy = _REMEDY.get(answer.status)
    words = f"{address}: {doing} was answered {answer.status} {said or answer.words}{f': {remedy}' if remedy else ''}"
    return RefusedError(words) if answer.status in _REFUSALS else DeliveryError(words)


class PutTarget:
    """Objects below a URL, with a token where one is given."""

    part_bytes = 4 << 20

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca_file: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = HttpClient(url, ca_file=ca_file, timeout_s=timeout_s)
        self.address = self._client.address
        self._path = urlsplit(url).path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._takes_parts = True
        self._wants_folders = False
        self._folders: set[str] = set()  # that are there, at most 257

    def store(self, parcel: Parcel) -> bool:
        size = parcel.file.bytes
        there = self._stored(parcel)
        if there == size:
            return False
        if len(parcel.parts) > 1 and self._takes_parts and self._put_parts(parcel, there if there < size else 0):
            return True
        self._put(parcel, parcel.whole, {})
        return True

    def close(self) -> None:
        self._client.close()

    def _stored(self, parcel: Parcel) -> int:
        """How many bytes of the file the server has; 0 where it does not tell, or has others."""
        answer = self._client.ask("HEAD", self._target(parcel), self._headers)
        if answer.status in {401, 403}:
            raise failed(self.address, "HEAD", answer)
        told = answer.headers.get("repr-digest", "")
        other = told.startswith("sha-256=") and told != _digest(parcel.file.sha256)
        return (answer.length or 0) if answer.good and not other else 0

    def _put_parts(self, parcel: Parcel, there: int) -> bool:
        """False where the server turns out to take no parts: then it has them in one piece."""
        size = parcel.file.bytes
        for part in parcel.parts:
            if part.end <= there:
                continue
            skip = max(there - part.offset, 0)
            span = {"Content-Range": f"bytes {part.offset + skip}-{part.end - 1}/{size}"}
            answer = self._send(parcel, part, span, skip=skip)
            if answer.status not in _NO_PARTS and not answer.good:
                raise failed(self.address, "PUT of a part", answer)
            there = self._stored(parcel) if answer.good else 0
            if there != part.end:
                log.info("%s takes no parts of files: they are sent in one piece", self.address)
                self._takes_parts = False
                return False
        return True

    def _put(self, parcel: Parcel, part: Part, headers: Mapping[str, str]) -> None:
        answer = self._send(parcel, part, headers)
        if not answer.good:
            raise failed(self.address, "PUT", answer)

    def _send(self, parcel: Parcel, part: Part, headers: Mapping[str, str], *, skip: int = 0) -> Answer:
        """A WebDAV server wants folders made first, and says 409 or 404: from then on they are."""

        def send() -> Answer:
            return self._client.ask(
                "PUT",
                self._target(parcel),
                {**self._headers, **headers, **described},
                blocks=parcel.blocks(part, skip=skip),
                length=part.bytes - skip,
            )

        described = {"Content-Type": parcel.file.media_type, "Repr-Digest": _digest(parcel.file.sha256)}
        if self._wants_folders:
            self._make_folders(parcel)
            return send()
        answer = send()
        if answer.status in {404, 409} and self._make_folders(parcel):
            self._wants_folders = True
            answer = send()
        return answer

    def _make_folders(self, parcel: Parcel) -> bool:
        """Whether the server knows how to make a folder."""
        steps = parcel.file.name.split("/")[:-1]
        for depth in range(1, len(steps) + 1):
            folder = quote(f"{self._path}/{'/'.join(steps[:depth])}/")
            if folder in self._folders:
                continue
            answer = self._client.ask("MKCOL", folder, self._headers)
            if not answer.good and answer.status != 405:  # 405: it is there
                return False
            self._folders.add(folder)
        return True

    def _target(self, parcel: Parcel) -> str:
        return quote(f"{self._path}/{parcel.file.name}")


def _digest(sha256: str) -> str:
    """As RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"
