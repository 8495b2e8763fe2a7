"""Where evidence lies: `evidence/<case_id>/<name>` under one root, each file written once and whole.

A file appears under its name only when every byte of it is on the disk, so a power cut or a full disk leaves
nothing half-written that looks complete. A stored file is never changed. One worker writes one case.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

from edge.errors import EvidenceError
from edge.ports import EvidenceFile

EVIDENCE = "evidence"
CHAIN = "chain.json"

_NAME = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_REMEDY = {
    errno.ENOSPC: "free some space or prune evidence",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EACCES: "make the folder writable for this user",
    errno.EPERM: "make the folder writable for this user",
    errno.EROFS: "mount the disk writable",
}


class EvidenceStore:
    """The evidence of one gateway or of one replay. Paths that it returns are relative to `root`, with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(
        self, *, case_id: str, name: str, content: bytes, role: str, media_type: str, taken_wall_ns: int
    ) -> EvidenceFile:
        """Store one file. The same bytes under the same name are stored already; other bytes are an error."""
        path = self.case_folder(case_id) / _checked_name(name)
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            self._write_once(path, content, sha256)
        except OSError as error:
            self._remove_if_empty(path.parent)
            raise EvidenceError(f"{self._relative(path)}: not stored: {_reason(error)}") from error
        return EvidenceFile(
            role=role,
            media_type=media_type,
            sha256=sha256,
            bytes=len(content),
            path=self._relative(path),
            taken_wall_ns=taken_wall_ns,
        )

    def names(self, case_id: str) -> list[str]:
        """The names of a case's finished files, sorted; none for a case that has no evidence yet."""
        folder = self.case_folder(case_id)
        try:
            return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EvidenceError(f"{self._relative(folder)}: cannot be listed: {_reason(error)}") from error

    def read(self, case_id: str, name: str) -> bytes:
        path = self.case_folder(case_id) / _checked_name(name)
        try:
            return path.read_bytes()
        except OSError as error:
            raise EvidenceError(f"{self._relative(path)}: cannot be read: {_reason(error)}") from error

    def discard(self, case_id: str, names: list[str]) -> None:
        """Remove the files of an alert whose manifest was never written: no one has been told of them."""
        folder = self.case_folder(case_id)
        for name in names:
            with contextlib.suppress(OSError):  # what cannot be removed stays, unnamed by any manifest
                (folder / _checked_name(name)).unlink()
        self._remove_if_empty(folder)

    def discard_parts(self, case_id: str) -> None:
        """Remove what was being written when the program was killed: it never got its name."""
        folder = self.case_folder(case_id)
        for part in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                part.unlink()
        self._remove_if_empty(folder)

    def case_folder(self, case_id: str) -> Path:
        """The folder of one case. A case id is a UUID in its usual form, so that no path leaves the store."""
        try:
            canonical: str | None = str(uuid.UUID(case_id))
        except ValueError:
            canonical = None
        if canonical != case_id:
            raise EvidenceError(f"case id {case_id!r}: expected a UUID in lower case: no evidence is stored for it")
        return self.root / EVIDENCE / case_id

    def _write_once(self, path: Path, content: bytes, sha256: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                raise EvidenceError(f"{self._relative(path)}: exists with other content and is never overwritten")
            return
        write_atomically(path, content)
        sync_folder(path.parent.parent)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    @staticmethod
    def _remove_if_empty(folder: Path) -> None:
        with contextlib.suppress(OSError):
            folder.rmdir()


def canonical(document: Mapping[str, object]) -> bytes:
    """JSON with sorted keys, UTF-8, no spaces, a newline at the end; NaN is an error."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def write_atomically(path: Path, content: bytes) -> None:
    """The whole file under its name, or nothing. Raises OSError and leaves no temporary file."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # also Ctrl-C: it is raised again
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot sync a folder, and keep it in order anyway
            raise
    finally:
        os.close(descriptor)


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise EvidenceError(f"evidence file name {name!r}: expected lower-case letters, digits, single '-' and '.'")
    return name


def _reason(error: OSError) -> str:
    words = error.strerror or type(error).__name__
    remedy = _REMEDY.get(error.errno or 0)
    return f"{words}: {remedy}" if remedy else words
