"""What leaves the gateway: the files that a manifest names, each known to be what was told before its last byte goes.

In a store a file goes by its content: `sha256/ab/abcd...jpg`. So whoever has an alert knows where its evidence lies,
and a repeat is recognised. The ending is for people and for servers that tell a file's type by it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edge.errors import DeliveryError

BLOCK_BYTES = 16 * 1024  # what goes before alerts are asked for again, and the grain of the pace
MANIFEST_BYTES_MAX = 4 << 20
PARTS_MAX = 900  # a listing of S3 names a thousand
EVIDENCE = "evidence"  # the folder of all cases
_SIGNATURE = "application/octet-stream"
_ENDINGS = {
    "image/jpeg": ".jpg",
    "application/json": ".json",
    "video/mp4": ".mp4",
    "video/x-matroska": ".mkv",
    _SIGNATURE: ".sig",
}


class ChangedError(DeliveryError):
    """A file is not what its manifest or its alert names: it never leaves."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file that travels in one request."""

    number: int  # from 1
    offset: int
    bytes: int
    sha256: str
    md5: str  # what S3 calls a part by

    @property
    def end(self) -> int:
        return self.offset + self.bytes


@dataclass(frozen=True, slots=True)
class Leaving:
    """One file that is to leave, as its manifest names it."""

    path: Path
    name: str  # of the object in the store, with slashes
    media_type: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """A file that was hashed and is what was told."""

    file: Leaving
    parts: tuple[Part, ...]
    passing: Callable[[int], None]  # waits until so many bytes may go

    @property
    def whole(self) -> Part:
        return Part(1, 0, self.file.bytes, self.file.sha256, "")

    def blocks(self, part: Part, *, skip: int = 0) -> Iterator[bytes]:
        """The bytes of a part without the first `skip`, in the pace that is allowed.

        Raises ChangedError before the last of them where they are not those that were hashed.
        """
        digest, at = hashlib.sha256(), 0
        with opened(self.file.path) as file:
            file.seek(part.offset)
            while at < part.bytes:
                block = file.read(min(BLOCK_BYTES, part.bytes - at))
                digest.update(block)
                before, at = at, at + len(block)
                if not block or (at == part.bytes and digest.hexdigest() != part.sha256):
                    raise ChangedError(f"{self.file.path}: changed while it was read; it was not uploaded")
                if rest := block[max(skip - before, 0) :]:
                    self.passing(len(rest))
                    yield rest


def parcel_of(file: Leaving, *, part_bytes: int, passing: Callable[[int], None]) -> Parcel:
    """Raises ChangedError where the file is not what was told, FileNotFoundError where it is gone."""
    size = max(part_bytes, -(-file.bytes // PARTS_MAX))
    whole, parts = hashlib.sha256(), []
    with opened(file.path) as source:
        for number, offset in enumerate(range(0, file.bytes, size), start=1):
            digest, md5, at = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
            while at < size and (block := source.read(min(BLOCK_BYTES, size - at))):
                at += len(block)
                for one in (whole, digest, md5):
                    one.update(block)
            parts.append(Part(number, offset, at, digest.hexdigest(), md5.hexdigest()))
        longer = source.read(1)
    if longer or whole.hexdigest() != file.sha256:
        raise ChangedError(f"{file.path}: is not the file that its manifest names; it was not uploaded")
    return Parcel(file, tuple(parts), passing)


def manifest_named_in(alert: str) -> tuple[str, str] | None:
    """Path and SHA-256 of the manifest that an alert's body names; None for an alert without evidence."""
    evidence = json.loads(alert)["data"].get("evidence", ())
    return next(((one["path"], one["sha256"]) for one in evidence if one["role"] == "manifest"), None)


def files_of(root: Path, manifest: Path, sha256: str, *, originals: bool) -> tuple[list[Leaving], int]:
    """What leaves of the files that a manifest names, its signature and itself the last; and how many stay behind.

    What shows what is hidden in published pictures stays, unless `originals`; in an older manifest that is whatever is
    not masked beside something that is.

    `sha256` is the manifest's own, "" where nobody has told it. Raises ChangedError or FileNotFoundError.
    """
    with opened(manifest) as file:
        content = file.read(MANIFEST_BYTES_MAX + 1)
    told = hashlib.sha256(content).hexdigest()
    entries = _entries(content)
    if entries is None or (sha256 and told != sha256):
        raise ChangedError(f"{manifest}: is not the manifest that its alert names; nothing of it was uploaded")
    masked = any(entry.get("masked") for entry in entries)
    shown = [entry for entry in entries if not entry.get("private", masked and not entry.get("masked"))]
    leaving = entries if originals else shown
    files = [
        Leaving(
            local(root, entry["path"]),
            object_name(entry["sha256"], _ENDINGS.get(entry["media_type"], "")),
            entry["media_type"],
            entry["sha256"],
            entry["bytes"],
        )
        for entry in leaving
    ]
    files += _signature(manifest)
    files.append(Leaving(manifest, object_name(told, ".json"), "application/json", told, len(content)))
    return files, len(entries) - len(leaving)


def manifests_of(root: Path, case_id: str) -> list[Path]:
    """All that a case has, none where its evidence is gone."""
    return sorted(local(root, f"{EVIDENCE}/{case_id}/manifest").parent.glob("manifest-*.json"))


def object_name(sha256: str, ending: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}{ending}"


def local(root: Path, stated: str) -> Path:
    """The file of a path as alerts and manifests write it: `evidence/<case>/<file>`, and never anything else."""
    top, _, rest = stated.partition("/")
    case, _, name = rest.partition("/")
    if top != EVIDENCE or any(not part or part.startswith(".") or set(part) & set("/\\\0") for part in (case, name)):
        raise ChangedError(f"{stated!r}: is no path of evidence; it was not uploaded")
    return root / EVIDENCE / case / name


def opened(path: Path) -> BinaryIO:
    """A plain file, for reading: no link, no device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ChangedError(f"{path}: is a link; it was not uploaded") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ChangedError(f"{path}: is no plain file; it was not uploaded")
    return open(descriptor, "rb", buffering=0)


def _signature(manifest: Path) -> list[Leaving]:
    """It is in no manifest, for it is made last; what it proves, it proves by itself."""
    path = manifest.with_suffix(".sig")
    try:
        with opened(path) as file:
            content = file.read(1024)
    except FileNotFoundError:
        return []
    sha256 = hashlib.sha256(content).hexdigest()
    return [Leaving(path, object_name(sha256, _ENDINGS[_SIGNATURE]), _SIGNATURE, sha256, len(content))]


def _entries(manifest: bytes) -> list[dict[str, Any]] | None:
    """None where it is no manifest. What its entries need not be checked for, the alert's hash of it has settled."""
    try:
        files = json.loads(manifest)["files"]
        known = [
            {key: entry[key] for key in ("path", "sha256", "bytes", "media_type", "masked")}
            | {key: entry[key] for key in ("private",) if key in entry}  # older manifests have none
            for entry in files
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    right = all(
        isinstance(entry["sha256"], str) and len(entry["sha256"]) == 64 and isinstance(entry["bytes"], int)
        for entry in known
    )
    return known if right else None
