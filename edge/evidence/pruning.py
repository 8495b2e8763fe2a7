"""What was removed of a case's evidence on purpose: `pruned.json` in its folder, signed with the gateway's key.

Manifests and signatures stay for ever; pictures and clips go when their time is over. The record is written before
the first file is deleted, and replaced as a whole, so that after a kill at any point nothing is missing that it does
not name. `edge evidence verify` takes for removed exactly what it names, by name and hash, and nothing else.

    record_removals(root, case_id, [Removal(...)], key)  ->  pruned.json, synced; only then: unlink the files
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.errors import EvidenceError
from edge.evidence.chain import earlier_keys
from edge.evidence.keys import SigningKey, sealed, sealed_by, unsealed
from edge.evidence.manifest import evidence_path
from edge.evidence.store import EVIDENCE, write_atomically

PRUNED = "pruned.json"
RECORD_BYTES_MAX = 1 << 24
_KIND = "pruned"
_REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class Removal:
    """One file that is no more."""

    name: str  # in its case's folder, as in the manifest's path
    sha256: str  # as its manifest names it
    bytes: int
    removed_at: str  # ISO 8601
    reason: str  # such as "older than 30 days"


def record_removals(root: Path, case_id: str, removals: Sequence[Removal], key: SigningKey) -> None:
    """Add what is about to be deleted to what was. Raises EvidenceError; then nothing may be deleted.

    One process at a time may do this for a case. What is named already keeps its first time and reason.
    """
    path = root / EVIDENCE / case_id / PRUNED
    known = recorded_removals(root, case_id, key)
    for removal in removals:
        known.setdefault(removal.name, removal)
    rows = [asdict(known[name]) for name in sorted(known)]
    rows = [{**row, "reason": str(row["reason"])[:_REASON_MAX]} for row in rows]
    try:
        write_atomically(path, sealed({"kind": _KIND, "case_id": case_id, "removed": rows}, key))
    except OSError as error:
        raise EvidenceError(
            f"{evidence_path(case_id, PRUNED)}: not written: {error.strerror or error}: nothing of the case is removed"
        ) from error


def recorded_removals(root: Path, case_id: str, key: SigningKey) -> dict[str, Removal]:
    """What a case's record names, by file name; nothing where there is none. Raises EvidenceError for a false one."""
    where = evidence_path(case_id, PRUNED)
    try:
        content = (root / where).read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EvidenceError(f"{where}: cannot be read: {error.strerror or error}") from error
    document = unsealed(content)
    if document is None or sealed_by(document, [key.public, *earlier_keys(root, key.public)]) is None:
        raise EvidenceError(f"{where}: is not as this gateway signed it: look at it, then move it away")
    return parse_record(document, case_id)


def parse_record(document: Mapping[str, Any], case_id: str) -> dict[str, Removal]:
    """What a record names, by file name; the signature is the caller's to check. Raises EvidenceError."""
    rows = document.get("removed")
    if document.get("kind") != _KIND or document.get("case_id") != case_id or not isinstance(rows, list):
        raise EvidenceError(f"{evidence_path(case_id, PRUNED)}: is no record of what was removed of this case")
    if not all(_is_removal(row) for row in rows):
        raise EvidenceError(f"{evidence_path(case_id, PRUNED)}: names something that is no removal")
    return {row["name"]: Removal(**row) for row in rows}


def _is_removal(row: object) -> bool:
    kinds = {"name": str, "sha256": str, "bytes": int, "removed_at": str, "reason": str}
    return (
        isinstance(row, dict) and row.keys() == kinds.keys() and all(type(row[name]) is kinds[name] for name in kinds)
    )
