"""What an alert's evidence is, in one file: `manifest-<n>.json` beside the pictures, for alert n of its case.

Or for an earlier one: evidence of an alert that was never told, because another took its number, keeps its place.

Canonical JSON, so that the same evidence is the same bytes. It holds no key (it names the one that signs by its id),
no present time and no absolute path. Its signature is 64 raw bytes over exactly these bytes, in `manifest-<n>.sig`,
which is stored before the manifest is, so that no manifest ever stands without one. What follows what: chain.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from edge.clock import iso
from edge.core.types import CaseChange
from edge.evidence.keys import unsealed
from edge.evidence.store import EVIDENCE, canonical
from edge.ports import ANALYSED, EvidenceFile

VERSION = 2
UNSIGNED_VERSION = 1  # of before there were signatures: without position and key_id
MANIFEST_BYTES_MAX = 1 << 20
JSON = "application/json"
BYTES = "application/octet-stream"

_MANIFEST = re.compile(r"manifest-([1-9][0-9]{0,8})\.json")
_EVIDENCE_NAME = re.compile(r"[a-z]+-([1-9][0-9]{0,8})(?:-[1-9][0-9]*)?\.[a-z0-9]+")


def manifest_name(number: int) -> str:
    return f"manifest-{number}.json"


def signature_name(number: int) -> str:
    return f"manifest-{number}.sig"


def manifest_number(name: str) -> int:
    """The number in a manifest's file name, 0 for any other file."""
    match = _MANIFEST.fullmatch(name)
    return int(match[1]) if match else 0


def alert_of(name: str) -> int:
    """The number of the manifest that an evidence file belongs to, 0 for a file that is not ours."""
    match = _EVIDENCE_NAME.fullmatch(name)
    return int(match[1]) if match else 0


def evidence_path(case_id: str, name: str) -> str:
    return f"{EVIDENCE}/{case_id}/{name}"


def file_entry(
    file: EvidenceFile, zone: tzinfo, *, masked: bool, private: bool, source: str = ANALYSED
) -> dict[str, object]:
    """How a manifest names a file. `masked`: what privacy masks cover, and faces and plates where that is asked for, is
    hidden in it; `private`: it shows what is hidden in the others, and is not to leave the gateway; `source`: of which
    of the camera's streams it is."""
    return {
        "role": file.role,
        "path": file.path,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "media_type": file.media_type,
        "taken_at": iso(file.taken_wall_ns, zone),
        "masked": masked,
        "private": private,
        "source": source,
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


def is_signed(manifest: bytes) -> bool:
    return bool(json.loads(manifest).get("key_id"))


def listed_files(case_id: str, name: str, manifest: bytes, signature: bytes) -> list[EvidenceFile]:
    """The files of an alert as its stored manifest names them, then its signature (b"": it has none), itself the last.

    Times to the millisecond.
    """
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

    def own(role: str, name: str, media_type: str, content: bytes) -> EvidenceFile:
        return EvidenceFile(
            role=role,
            media_type=media_type,
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            path=evidence_path(case_id, name),
            taken_wall_ns=_wall_ns(document["taken_at"]),
        )

    if signature:
        listed.append(own("signature", signature_name(manifest_number(name)), BYTES, signature))
    return [*listed, own("manifest", name, JSON, manifest)]


def _wall_ns(stated: str) -> int:
    since = datetime.fromisoformat(stated) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1) * 1_000_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """One as it was read: its bytes were canonical JSON, and no more is known of it."""

    case_id: str  # of the folder that it lies in
    number: int  # in its file name
    sha256: str
    document: Mapping[str, Any]

    @property
    def path(self) -> str:
        return evidence_path(self.case_id, manifest_name(self.number))

    @property
    def previous(self) -> str | None:
        stated = self.document.get("previous")
        return None if stated is None else str(stated)

    @property
    def position(self) -> int:
        """In the chain, from 1; 0 where it does not say."""
        stated = self.document.get("position")
        return stated if isinstance(stated, int) and not isinstance(stated, bool) and stated > 0 else 0

    @property
    def key_id(self) -> str:
        """Of the key that signs it, "" for one without a signature."""
        return str(self.document.get("key_id") or "")

    @property
    def taken_at(self) -> str:
        return str(self.document.get("taken_at") or "")

    @property
    def entries(self) -> list[dict[str, Any]]:
        files = self.document.get("files")
        return [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []


def read_manifest(case_id: str, number: int, content: bytes) -> Manifest | None:
    """None for what is no manifest in canonical JSON."""
    document = unsealed(content)
    if document is None:
        return None
    return Manifest(case_id, number, hashlib.sha256(content).hexdigest(), document)


def identity_problems(manifest: Manifest) -> Sequence[str]:
    """What a manifest says of itself that cannot be so."""
    problems, document = [], manifest.document
    version = document.get("version")
    if version not in (UNSIGNED_VERSION, VERSION):
        problems.append(f"version {version!r}: this program reads version {VERSION}")
    elif (version == VERSION) != ("key_id" in document and manifest.position > 0):
        problems.append("its version does not fit what it says of key and position")
    if document.get("case_id") != manifest.case_id:
        problems.append(f"belongs to case {document.get('case_id')!r}")
    alert = document.get("alert")
    number = alert.get("number") if isinstance(alert, dict) else None
    if document.get("number", manifest.number) != manifest.number:  # one of an earlier version does not say it
        problems.append(f"was sealed as number {document['number']!r} of its case: it was renamed")
    if not isinstance(number, int) or not 1 <= number <= manifest.number:
        problems.append("its name has a lower number than its alert, or its alert has none")
    return problems


def canonical_manifest(
    document: Mapping[str, object], *, previous: str | None, position: int, key_id: str | None
) -> bytes:
    """The bytes that are stored and signed: what the recorder says, and its place in the chain."""
    place = {"version": VERSION, "previous": previous, "position": position, "key_id": key_id}
    return canonical({**document, **place})
