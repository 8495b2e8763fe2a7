"""What an alert's evidence is, in one file: `manifest-<n>.json` beside the pictures, for alert n of its case.

Or for an earlier one: evidence of an alert that was never told, because another took its number, keeps its place.

Canonical JSON, so that the same evidence is the same bytes. It names the manifest before it in the case and in the
chain of the whole gateway or replay, so that a missing or changed one shows. It holds no key, no present time and
no absolute path. A signature is 64 raw bytes over exactly these bytes, in `manifest-<n>.sig`.

    evidence/<case_id>/manifest-1.json <- manifest-2.json <- ..    previous_in_case
    any case's manifest               <- the next one told <- ..   previous
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from edge.clock import iso
from edge.core.types import CaseChange
from edge.errors import EvidenceError
from edge.evidence.store import EVIDENCE, write_atomically
from edge.ports import EvidenceFile

VERSION = 1

_MANIFEST = re.compile(r"manifest-([1-9][0-9]*)\.json")
_BLOCK_BYTES = 1 << 20


def manifest_name(number: int) -> str:
    return f"manifest-{number}.json"


def signature_name(number: int) -> str:
    return f"manifest-{number}.sig"


def manifest_number(name: str) -> int:
    """The number in a manifest's file name, 0 for any other file."""
    match = _MANIFEST.fullmatch(name)
    return int(match[1]) if match else 0


def canonical(document: Mapping[str, object]) -> bytes:
    """Sorted keys, UTF-8, no spaces, a newline at the end; NaN is an error."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def file_entry(file: EvidenceFile, zone: tzinfo, *, masked: bool) -> dict[str, object]:
    """How a manifest names a file; `masked` says that the camera's privacy masks are blurred in it."""
    return {
        "role": file.role,
        "path": file.path,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "media_type": file.media_type,
        "taken_at": iso(file.taken_wall_ns, zone),
        "masked": masked,
    }


def alert_entry(change: CaseChange) -> dict[str, object]:
    """How a manifest names the alert that it belongs to."""
    return {"number": change.case.alerts, "kind": change.kind, "reason": change.reason}


def proves(manifest: bytes, change: CaseChange) -> bool:
    """Whether a stored manifest belongs to this very alert."""
    try:
        document = json.loads(manifest)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("alert") == alert_entry(change)


def listed_files(case_id: str, name: str, manifest: bytes) -> list[EvidenceFile]:
    """The files of an alert as its stored manifest names them, itself the last; times to the millisecond."""
    document = json.loads(manifest)
    listed = [
        EvidenceFile(
            role=entry["role"],
            media_type=entry["media_type"],
            sha256=entry["sha256"],
            bytes=entry["bytes"],
            path=entry["path"],
            taken_wall_ns=_wall_ns(entry["taken_at"]),
        )
        for entry in document["files"]
    ]
    own = EvidenceFile(
        role="manifest",
        media_type="application/json",
        sha256=hashlib.sha256(manifest).hexdigest(),
        bytes=len(manifest),
        path=f"{EVIDENCE}/{case_id}/{name}",
        taken_wall_ns=_wall_ns(document["taken_at"]),
    )
    return [*listed, own]


def _wall_ns(stated: str) -> int:
    since = datetime.fromisoformat(stated) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1) * 1_000_000


class Chain:
    """A replay's chain: each manifest names the one written before it, None before the first."""

    def __init__(self, head: str | None = None) -> None:
        self.head = head  # SHA-256 of the manifest written last

    def link(
        self, path: str, make: Callable[[str | None], bytes], save: Callable[[bytes], EvidenceFile]
    ) -> EvidenceFile:
        """`make` the manifest that follows the head, and `save` it at `path` (relative to the root)."""
        manifest = make(self.head)
        file = save(manifest)
        self.head = file.sha256
        return file


class SharedChain:
    """A gateway's chain, which its cameras' processes lengthen in turn: a lock, and the head in a file.

    What is about to be written is noted first, so that a process killed between the manifest and the head leaves
    neither a fork nor a gap. Without the file (an older state folder) the head is looked for among the manifests.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._note = root / "chain.json"

    def link(
        self, path: str, make: Callable[[str | None], bytes], save: Callable[[bytes], EvidenceFile]
    ) -> EvidenceFile:
        """As `Chain.link`. Raises EvidenceError; the chain is then as it was, without the manifest."""
        try:
            with self._turn():
                head = self._head()
                manifest = make(head)
                self._write({"head": head, "next": {"path": path, "sha256": hashlib.sha256(manifest).hexdigest()}})
                file = self._saved(path, manifest, save)
                with suppress(OSError):  # it is written: what comes after finds it by the note that was made before
                    self._write({"head": file.sha256})
                return file
        except OSError as error:
            raise EvidenceError(f"{self._note}: not written: {error.strerror or error}: check the disk") from error

    def _saved(self, path: str, manifest: bytes, save: Callable[[bytes], EvidenceFile]) -> EvidenceFile:
        """A manifest that stands but was not surely saved is taken back before another camera can follow it."""
        try:
            return save(manifest)
        except EvidenceError:
            (self._root / path).unlink(missing_ok=True)
            raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock ends with the process that holds it, however that ends."""
        with (self._root / "chain.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _head(self) -> str | None:
        try:
            note = json.loads(self._note.read_bytes())
            head, following = note["head"], note.get("next")
        except FileNotFoundError:
            return chain_head(self._root)
        except (ValueError, KeyError, TypeError) as error:
            raise EvidenceError(f"{self._note}: is damaged; remove it, and the chain's end is looked for") from error
        if following and self._is_stored(following["path"], following["sha256"]):
            return str(following["sha256"])
        return None if head is None else str(head)

    def _is_stored(self, path: str, sha256: str) -> bool:
        try:
            return hashlib.sha256((self._root / path).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def _write(self, note: Mapping[str, object]) -> None:
        write_atomically(self._note, canonical(note))


def chain_head(root: Path) -> str | None:
    """The stored manifest that no other one names as `previous`: where a gateway goes on after a restart."""
    links = list(_links(root))
    named = {link.previous for link in links}
    heads = sorted(link.sha256 for link in links if link.sha256 not in named)
    return heads[-1] if heads else None


def verify_chain(root: Path) -> list[str]:
    """Check every file's hash and both chains under a replay's or a state folder.

    One line a problem, none if all holds. What was removed at the very end of the chain cannot be seen from here:
    the gateway's sequence shows that.
    """
    problems: list[str] = []
    links = list(_links(root, problems))
    for folder in sorted({link.path.parent for link in links} | set(_case_folders(root))):
        in_case = [link for link in links if link.path.parent == folder]
        problems.extend(_case_problems(root, folder, in_case))
    return [*problems, *_chain_problems(root, links)]


@dataclass(frozen=True, slots=True)
class _Link:
    path: Path
    number: int
    sha256: str
    document: dict[str, Any]

    @property
    def previous(self) -> str | None:
        stated = self.document.get("previous")
        return None if stated is None else str(stated)


def _case_folders(root: Path) -> list[Path]:
    top = root / EVIDENCE
    return sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []


def _links(root: Path, problems: list[str] | None = None) -> Iterator[_Link]:
    """Every readable manifest, by case and then by alert; unreadable ones are added to the problems."""
    for folder in _case_folders(root):
        numbered = sorted((manifest_number(path.name), path) for path in folder.iterdir())
        for number, path in numbered:
            if number == 0:
                continue
            link = _read_link(path, number)
            if link is not None:
                yield link
            elif problems is not None:
                problems.append(f"{_name(root, path)}: not a manifest in canonical JSON")


def _read_link(path: Path, number: int) -> _Link | None:
    try:
        content = path.read_bytes()
        document = json.loads(content)
        if not isinstance(document, dict) or canonical(document) != content:
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return _Link(path, number, hashlib.sha256(content).hexdigest(), document)


def _case_problems(root: Path, folder: Path, links: Sequence[_Link]) -> Iterator[str]:
    named = {signature_name(link.number) for link in links}
    before: str | None = None
    for link in links:
        where = _name(root, link.path)
        yield from (f"{where}: {problem}" for problem in _identity_problems(link))
        if link.document.get("previous_in_case") != before:
            yield f"{where}: does not follow the case's manifest before it: one was changed, removed or put in"
        before = link.sha256
        for entry in _entries(link.document):
            named.add(str(entry.get("path", "")).rpartition("/")[2])
            yield from _file_problems(root, folder, entry, where)
    for path in sorted(folder.iterdir()):
        if manifest_number(path.name) == 0 and path.name not in named:
            yield f"{_name(root, path)}: named by no manifest: unfinished or foreign"


def _identity_problems(link: _Link) -> Iterator[str]:
    if link.document.get("version") != VERSION:
        yield f"version {link.document.get('version')!r}: this program reads version {VERSION}"
    if link.document.get("case_id") != link.path.parent.name:
        yield f"belongs to case {link.document.get('case_id')!r}"
    alert = link.document.get("alert")
    number = alert.get("number") if isinstance(alert, dict) else None
    if not isinstance(number, int) or not 1 <= number <= link.number:
        yield "its name has a lower number than its alert, or its alert has none"


def _entries(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = document.get("files")
    return [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []


def _file_problems(root: Path, folder: Path, entry: Mapping[str, Any], where: str) -> Iterator[str]:
    stated = str(entry.get("path", ""))
    path = folder / stated.rpartition("/")[2]
    if stated != _name(root, path) or path.is_symlink():
        yield f"{where}: names {stated!r}, which is not a file of this case"
        return
    try:
        with path.open("rb") as file:
            sha256 = _digest(iter(lambda: file.read(_BLOCK_BYTES), b""))
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        yield f"{stated!r}: cannot be read: {error.strerror if isinstance(error, OSError) else error}"
        return
    if size != entry.get("bytes") or sha256 != entry.get("sha256"):
        yield f"{stated}: is not the file that {where} names: its content has changed"


def _digest(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _chain_problems(root: Path, links: Sequence[_Link]) -> Iterator[str]:
    known = {link.sha256 for link in links}
    followers: dict[str | None, str] = {}
    for link in links:
        where = _name(root, link.path)
        previous = link.previous
        if previous is not None and previous not in known:
            yield f"{where}: the manifest before it in the chain was changed or removed"
        elif previous in followers:
            yield f"{where}: follows the same manifest as {followers[previous]}: the chain has two ends"
        else:
            followers[previous] = where


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
