"""Where evidence lies that somebody wants verified: a folder or a zip, read without trusting anything in it.

Links are never followed, pipes and devices never opened, and nothing is read as a whole without a limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge.errors import EvidenceError, UsageError
from edge.evidence.keys import KEYS
from edge.evidence.manifest import manifest_number, read_manifest
from edge.evidence.store import CHAIN, EVIDENCE
from edge.evidence.zipped import BLOCK_BYTES, ZipContent

CASE, REPLAY, STATE, EXPORT = "case folder", "replay folder", "state folder", "export"
LINKS = "links"
_STATE_NAMES = ("edge.db", "chain.lock", KEYS)
_KEYS_MAX = 16
_LIST_BYTES_MAX = 1 << 20


class EvidenceReader(Protocol):
    """Paths are those that alerts and manifests name, with slashes."""

    kind: str

    def folders(self) -> list[str]:
        """The names of the case folders, sorted."""

    def names(self, folder: str) -> list[str]:
        """What lies in `folder` ("evidence/<case_id>", "links", "keys", ""), hidden files too, sorted."""

    def strays(self) -> list[str]:
        """What lies where no evidence belongs."""

    def blocks(self, path: str) -> Iterator[bytes]:
        """A file's content. Raises EvidenceError."""

    def close(self) -> None: ...


def read_whole(reader: EvidenceReader, path: str, *, bytes_max: int) -> bytes:
    """A small file. Raises EvidenceError, also for a larger one."""
    content = b""
    for block in reader.blocks(path):
        content += block
        if len(content) > bytes_max:
            raise EvidenceError(f"{path}: is larger than {bytes_max} bytes, which no such file is")
    return content


def open_reader(path: Path) -> EvidenceReader:
    """What `path` is. Raises UsageError for what holds no evidence, EvidenceError for a damaged zip."""
    try:
        if path.is_dir():
            return _folder_reader(path)
        if not path.exists():
            raise UsageError(f"{path}: is not there")
        if not path.is_file():
            raise UsageError(f"{path}: is neither a folder nor a zip")
        with path.open("rb") as file:
            begins = file.read(2)
        if begins != b"PK" and path.suffix.lower() != ".zip":
            raise UsageError(
                f"{path}: is neither a folder nor a zip; name a case, replay or state folder, or an export"
            )
        return ZipReader(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _folder_reader(path: Path) -> EvidenceReader:
    names = set(os.listdir(path))
    if EVIDENCE in names or CHAIN in names:
        if LINKS in names or any(name.startswith("case-") and name.endswith(".html") for name in names):
            return FolderReader(path, EXPORT)
        is_replay = names & {"summary.json", "alerts.jsonl"}
        return FolderReader(path, REPLAY if is_replay else STATE)
    if any(manifest_number(name) for name in names):
        return CaseReader(path)
    if names & set(_STATE_NAMES):
        return FolderReader(path, STATE)
    if path.resolve().name == EVIDENCE:
        raise UsageError(f"{path}: name the folder above it, where {CHAIN} lies")
    raise UsageError(f"{path}: holds no evidence; name a case, replay or state folder, or an exported zip")


class FolderReader:
    """A state folder, a replay folder, or an unpacked export."""

    def __init__(self, root: Path, kind: str) -> None:
        self.kind = kind
        self._root = root

    def folders(self) -> list[str]:
        return sorted(entry.name for entry in self._entries(EVIDENCE) if entry.is_dir(follow_symlinks=False))

    def names(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in self._entries(folder))

    def strays(self) -> list[str]:
        strays = [
            f"{EVIDENCE}/{entry.name}" for entry in self._entries(EVIDENCE) if not entry.is_dir(follow_symlinks=False)
        ]
        return sorted(strays)

    def blocks(self, path: str) -> Iterator[bytes]:
        return _file_blocks(self._root / path, path)

    def close(self) -> None:
        pass

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        place = self._root / folder
        try:
            if folder and place.is_symlink():
                raise EvidenceError(f"{folder}: is a link, which is not followed: verify the folder that it leads to")
            with os.scandir(place) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EvidenceError(f"{folder}: cannot be listed: {error.strerror or error}") from error


class CaseReader:
    """One case's folder, whatever it is called now, and the keys of the folder that it may still lie in."""

    kind = CASE

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._above = FolderReader(self._folder.parent.parent, STATE)
        self._is_in_place = self._folder.parent.name == EVIDENCE
        self._case_id = self._folder.name if self._is_in_place else self._stated_id()

    def folders(self) -> list[str]:
        return [self._case_id]

    def names(self, folder: str) -> list[str]:
        if folder == f"{EVIDENCE}/{self._case_id}":
            return sorted(os.listdir(self._folder))
        return self._above.names(KEYS) if folder == KEYS and self._is_in_place else []

    def strays(self) -> list[str]:
        return []

    def blocks(self, path: str) -> Iterator[bytes]:
        if path.startswith(f"{KEYS}/") or (path == CHAIN and self._is_in_place):
            return self._above.blocks(path)
        return _file_blocks(self._folder / path.rpartition("/")[2], path)

    def close(self) -> None:
        pass

    def _stated_id(self) -> str:
        """As its first manifest that can be read says; each is held to it."""
        for number, name in sorted((manifest_number(name), name) for name in os.listdir(self._folder)):
            if number:
                content = b"".join(_first(_file_blocks(self._folder / name, name)))
                manifest = read_manifest("", number, content)
                if manifest is not None and isinstance(manifest.document.get("case_id"), str):
                    return str(manifest.document["case_id"])
        return self._folder.name


class ZipReader:
    """An exported zip."""

    kind = EXPORT

    def __init__(self, path: Path) -> None:
        self._zip = ZipContent(path)

    def folders(self) -> list[str]:
        parts = [name.split("/") for name in self._zip.entries]
        return sorted({part[1] for part in parts if len(part) == 3 and part[0] == EVIDENCE})

    def names(self, folder: str) -> list[str]:
        placed = (name.rpartition("/") for name in self._zip.entries)
        return sorted(name for place, _, name in placed if place == folder)

    def strays(self) -> list[str]:
        known = {"", LINKS, KEYS, *(f"{EVIDENCE}/{case}" for case in self.folders())}
        return sorted(name for name in self._zip.entries if name.rpartition("/")[0] not in known)

    def blocks(self, path: str) -> Iterator[bytes]:
        if path not in self._zip.entries:
            raise EvidenceError(f"{path}: is missing")
        return self._zip.blocks(path)

    def close(self) -> None:
        self._zip.close()


def _file_blocks(place: Path, path: str) -> Iterator[bytes]:
    """Only of a plain file. The errors speak of `path`."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise EvidenceError(f"{path}: is missing") from None
    except (OSError, ValueError) as error:
        why = "is a link, which is not followed" if place.is_symlink() else getattr(error, "strerror", "") or str(error)
        raise EvidenceError(f"{path}: cannot be read: {why}") from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise EvidenceError(f"{path}: is no file")
        try:
            while block := file.read(BLOCK_BYTES):
                yield block
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be read: {error.strerror or error}") from error


def _first(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Up to the limit of a list; an unreadable file is an empty one here."""
    size = 0
    try:
        for block in blocks:
            size += len(block)
            if size > _LIST_BYTES_MAX:
                return
            yield block
    except EvidenceError:
        return


@dataclass(frozen=True, slots=True)
class FoundKey:
    path: str
    content: bytes


def found_key_files(reader: EvidenceReader) -> list[FoundKey]:
    """The public keys that lie with the evidence, the gateway's own first; unreadable ones are left out."""
    names = [name for name in reader.names(KEYS) if name.endswith(".pub")]
    names.sort(key=lambda name: (name != "gateway.pub", name))
    found = []
    for name in names[:_KEYS_MAX]:
        try:
            found.append(FoundKey(name, read_whole(reader, f"{KEYS}/{name}", bytes_max=4096)))
        except EvidenceError:
            continue
    return found
