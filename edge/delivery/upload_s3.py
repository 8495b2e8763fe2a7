"""Any store that speaks S3: AWS, OSS, COS, OBS, Ceph, Garage, SeaweedFS, with Signature Version 4.

A small file is one PUT. A large one is a multipart upload, and what a killed process or a lost network has left of it
is looked up in the store and gone on with. The content's hash is part of each signature, so the store refuses bytes
that are not those.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree import ElementTree

from edge.clock import SystemClock
from edge.core.types import NS_PER_S
from edge.delivery.upload_files import Parcel, Part
from edge.delivery.upload_http import TIMEOUT_S, Answer, HttpClient, failed
from edge.errors import DeliveryError

log = logging.getLogger(__name__)

_EMPTY = hashlib.sha256(b"").hexdigest()
_MD5_DIGITS = 32  # an ETag of another length is no MD5: the store encrypts


@dataclass(frozen=True, slots=True)
class S3Keys:
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str


def signed(
    keys: S3Keys,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    content_sha256: str,
    wall_ns: int,
) -> dict[str, str]:
    """The headers of a request with its signature among them. `path` is percent-encoded; `headers` hold Host.

    AWS Signature Version 4, "Authenticating Requests: Using the Authorization Header".
    """
    moment = datetime.fromtimestamp(wall_ns // NS_PER_S, UTC)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    given = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": content_sha256}
    lowered = {name.lower(): value.strip() for name, value in given.items()}
    names = ";".join(sorted(lowered))
    canonical = "\n".join(
        [
            method,
            path,
            encoded(query),
            *(f"{name}:{lowered[name]}" for name in sorted(lowered)),
            "",
            names,
            content_sha256,
        ]
    )
    scope = f"{stamp[:8]}/{keys.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_key}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{keys.access_key}/{scope}"
    words = f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}"
    return {**given, "Authorization": words}


def encoded(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


class S3Target:
    """Objects below a prefix of one bucket."""

    part_bytes = 8 << 20  # S3 takes no less than 5 MiB

    def __init__(
        self,
        endpoint: str,
        *,
        bucket: str,
        prefix: str,
        keys: S3Keys,
        ca_file: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._client = HttpClient(endpoint, ca_file=ca_file, timeout_s=timeout_s)
        self.address = f"s3://{bucket}/{prefix}".rstrip("/") + f" at {self._client.host}"
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._keys = keys
        self._clock = SystemClock()

    def store(self, parcel: Parcel) -> bool:
        key = self._prefix + parcel.file.name
        answer = self._ask("HEAD", key)
        if answer.good and answer.length == parcel.file.bytes:
            return False
        if not answer.good and answer.status not in {403, 404}:  # who may only write gets 403 for what is not there
            raise failed(self.address, "HEAD", answer)
        if len(parcel.parts) > 1:
            self._put_parts(parcel, key)
        else:
            self._checked("PUT", self._send(parcel, parcel.whole, key))
        return True

    def close(self) -> None:
        self._client.close()

    def _put_parts(self, parcel: Parcel, key: str) -> None:
        upload = self._begun(key) or self._begin(parcel, key)
        stored = self._stored_parts(key, upload)
        tags: dict[int, str] = {}
        for part in parcel.parts:
            size, tag = stored.get(part.number, (-1, ""))
            if size == part.bytes and (len(tag.strip('"')) != _MD5_DIGITS or tag.strip('"') == part.md5):
                tags[part.number] = tag
                continue
            query = {"partNumber": str(part.number), "uploadId": upload}
            answer = self._checked("PUT of a part", self._send(parcel, part, key, query))
            tags[part.number] = answer.headers.get("etag", "")
        self._complete(key, upload, tags)

    def _send(self, parcel: Parcel, part: Part, key: str, query: Mapping[str, str] | None = None) -> Answer:
        path, headers = self._path(key), {"Content-Type": parcel.file.media_type}
        given = self._signed("PUT", path, query or {}, headers, part.sha256)
        target = f"{path}?{encoded(query)}" if query else path
        return self._client.ask("PUT", target, given, blocks=parcel.blocks(part), length=part.bytes)

    def _begun(self, key: str) -> str | None:
        """The newest upload of this object that was begun and not ended. One that may not look begins anew."""
        answer = self._ask("GET", "", {"uploads": "", "prefix": key})
        if not answer.good:
            return None
        found = [
            (_text(one, "Initiated"), _text(one, "UploadId"))
            for one in _parsed(self.address, answer)
            if _tag(one) == "Upload" and _text(one, "Key") == key
        ]
        return max(found)[1] if found else None

    def _begin(self, parcel: Parcel, key: str) -> str:
        answer = self._ask("POST", key, {"uploads": ""}, headers={"Content-Type": parcel.file.media_type})
        return _text(_parsed(self.address, self._checked("the begin of an upload", answer)), "UploadId")

    def _stored_parts(self, key: str, upload: str) -> dict[int, tuple[int, str]]:
        """Number -> size and ETag of each part that the store has."""
        answer = self._checked("the list of parts", self._ask("GET", key, {"uploadId": upload}))
        try:
            return {
                int(_text(one, "PartNumber")): (int(_text(one, "Size")), _text(one, "ETag"))
                for one in _parsed(self.address, answer)
                if _tag(one) == "Part"
            }
        except ValueError as error:
            raise DeliveryError(f"{self.address}: lists parts without numbers: is this an S3 store?") from error

    def _complete(self, key: str, upload: str, tags: Mapping[int, str]) -> None:
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{tag}</ETag></Part>" for n, tag in tags.items())
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._checked("the end of an upload", self._ask("POST", key, {"uploadId": upload}, body=body))
        if _tag(_parsed(self.address, answer)) == "Error":  # S3 says 200 first, and then whether it is true
            raise DeliveryError(f"{self.address}: could not put the parts together: {_code(answer)}")

    def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        path, query = self._path(key), query or {}
        sha256 = hashlib.sha256(body).hexdigest() if body else _EMPTY
        given = self._signed(method, path, query, headers or {}, sha256)
        target = f"{path}?{encoded(query)}" if query else path
        if body is None:
            length = 0 if method == "POST" else None
            return self._client.ask(method, target, given, length=length)
        return self._client.ask(method, target, given, blocks=[body], length=len(body))

    def _signed(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], sha256: str
    ) -> dict[str, str]:
        given = {"Host": self._client.host, **headers}
        wall_ns = self._clock.wall_ns()
        return signed(self._keys, method, path, query, given, content_sha256=sha256, wall_ns=wall_ns)

    def _path(self, key: str) -> str:
        return quote(f"/{self._bucket}/{key}".rstrip("/"), safe="/-_.~")

    def _checked(self, doing: str, answer: Answer) -> Answer:
        if not answer.good:
            raise failed(self.address, doing, answer, _code(answer))
        return answer


def _parsed(address: str, answer: Answer) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(answer.body)
    except ElementTree.ParseError as error:
        raise DeliveryError(f"{address}: answers what is no XML: is this an S3 store?") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    return next((one.text or "" for one in element if _tag(one) == name), "")


def _code(answer: Answer) -> str:
    """The store's own word for what went wrong, "" where it gives none."""
    try:
        return _text(ElementTree.fromstring(answer.body), "Code")
    except ElementTree.ParseError:
        return ""
