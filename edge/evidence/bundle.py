"""Cases to pass on: one zip with their files, manifests, signatures, public keys and a readable sheet each.

    case-<id>.html  evidence/<id>/...  links/<sha256>.json + .sig  chain.json  keys/*.pub

`links` are the manifests just before and after theirs in the chain: they show the place of each. Of other cases that
tells a camera and a time, and no picture. What is handed out has been verified: an export that would not verify is
not made. The same evidence gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EvidenceError, UsageError
from edge.evidence.chain import NOTE_BYTES_MAX, ChainNote, last_position, parse_note
from edge.evidence.keys import KEYS, parse_public_key, unsealed
from edge.evidence.manifest import MANIFEST_BYTES_MAX, Manifest, manifest_number, read_manifest
from edge.evidence.pruning import PRUNED
from edge.evidence.reading import EXPORT, LINKS, EvidenceReader, FoundKey, found_key_files, open_reader, read_whole
from edge.evidence.sheet import make_sheet, sheet_name
from edge.evidence.store import CHAIN, EVIDENCE
from edge.evidence.verify import Verdict, verify
from edge.evidence.zipped import ZipWriter

_ID_LETTERS_MIN = 8


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was exported."""

    path: Path
    cases: Sequence[str]
    verdict: Verdict


def export(root: Path, case_ids: Sequence[str], output: Path) -> Bundle:
    """Write the cases of a state or replay folder to a new zip.

    A case may be named by its first 8 letters. Raises UsageError where there is none, EvidenceError where what there
    is does not verify; then no zip is left.
    """
    if output.exists():
        raise UsageError(f"{output}: is there already; name another file")
    staged = output.with_name(f".{output.name}.unverified")
    reader = open_reader(root)
    try:
        if CHAIN not in reader.names(""):
            raise UsageError(f"{root}: has no {CHAIN}; name a state folder, or one that `edge replay` wrote")
        chosen = sorted({_chosen(reader, wanted) for wanted in case_ids})
        with ZipWriter(staged) as zipped:
            for name, blocks in _parts(reader, chosen):
                zipped.add(name, blocks)
        verdict = verify(staged)
        if not verdict.sound:
            raise EvidenceError(f"not exported, for it does not verify: {verdict.problems[0]}")
        staged.rename(output)
    except OSError as error:
        raise EvidenceError(f"{output}: cannot be written: {error.strerror or error}") from error
    finally:
        reader.close()
        with suppress(OSError):
            staged.unlink()
    return Bundle(output, chosen, verdict)


def _chosen(reader: EvidenceReader, wanted: str) -> str:
    folders = reader.folders()
    if wanted in folders:
        return wanted
    begun = [name for name in folders if len(wanted) >= _ID_LETTERS_MIN and name.startswith(wanted)]
    if len(begun) != 1:
        why = "is no case that has evidence here" if not begun else f"could be each of {len(begun)} cases"
        raise UsageError(f"{wanted!r}: {why}; give the id as its alerts name it, or its first 8 letters")
    return begun[0]


def _parts(reader: EvidenceReader, case_ids: Sequence[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Name and content of all that goes into the zip, as of what `chain.json` says now."""
    note_bytes = read_whole(reader, CHAIN, bytes_max=NOTE_BYTES_MAX)
    document = unsealed(note_bytes)
    note = None if document is None else parse_note(document)
    if note is None:
        raise EvidenceError(f"{CHAIN}: is damaged")
    told = {case_id: [m for m in _manifests(reader, case_id) if _is_counted(m, note)] for case_id in case_ids}
    links = _neighbours(reader, told, note)
    names = {case_id: _names(reader, case_id, manifests) for case_id, manifests in told.items()}
    keys = _keys(reader, note, [*(m for manifests in told.values() for m in manifests), *links.values()])
    view = _View(reader, names, note_bytes, keys)
    for case_id in case_ids:
        yield sheet_name(case_id), iter([make_sheet(view, case_id)])
    yield CHAIN, iter([note_bytes])
    for case_id in case_ids:
        for name in names[case_id]:
            yield f"{EVIDENCE}/{case_id}/{name}", reader.blocks(f"{EVIDENCE}/{case_id}/{name}")
    for found in keys:
        yield f"{KEYS}/{found.path}", iter([found.content])
    for sha256, link in sorted(links.items()):
        yield f"{LINKS}/{sha256}.json", reader.blocks(link.path)
        if link.key_id:
            yield f"{LINKS}/{sha256}.sig", reader.blocks(link.path.removesuffix(".json") + ".sig")


def _is_counted(manifest: Manifest, note: ChainNote) -> bool:
    """Not what a running gateway adds while we look."""
    return not 0 <= last_position(note) < manifest.position


def _manifests(reader: EvidenceReader, case_id: str) -> Iterator[Manifest]:
    """As they can be read; the verification at the end tells of those that cannot."""
    folder = f"{EVIDENCE}/{case_id}"
    for number, name in sorted((manifest_number(name), name) for name in reader.names(folder)):
        if number:
            content = read_whole(reader, f"{folder}/{name}", bytes_max=MANIFEST_BYTES_MAX)
            manifest = read_manifest(case_id, number, content)
            if manifest is not None:
                yield manifest


def _neighbours(reader: EvidenceReader, told: Mapping[str, Sequence[Manifest]], note: ChainNote) -> dict[str, Manifest]:
    """The manifests of other cases just before and after these in the chain, by their hash."""
    own = {manifest.sha256 for manifests in told.values() for manifest in manifests}
    before = {manifest.previous for manifests in told.values() for manifest in manifests} - own
    found: dict[str, Manifest] = {}
    for case_id in reader.folders():
        if case_id not in told:
            near = (m for m in _manifests(reader, case_id) if m.sha256 in before or m.previous in own)
            found.update({manifest.sha256: manifest for manifest in near if _is_counted(manifest, note)})
    return found


def _names(reader: EvidenceReader, case_id: str, manifests: Sequence[Manifest]) -> list[str]:
    """Of the case's files, all that its manifests name, with signatures and the record of what was removed."""
    there = reader.names(f"{EVIDENCE}/{case_id}")
    wanted = {PRUNED}
    for manifest in manifests:
        name = manifest.path.rpartition("/")[2]
        wanted |= {name, name.removesuffix(".json") + ".sig"}
        wanted |= {str(entry.get("path", "")).rpartition("/")[2] for entry in manifest.entries}
    return [name for name in there if name in wanted]


def _keys(reader: EvidenceReader, note: ChainNote, manifests: Sequence[Manifest]) -> list[FoundKey]:
    """Those public keys that signed any of it."""
    used = {note.key_id, *(manifest.key_id for manifest in manifests)}
    parsed = ((found, parse_public_key(found.content)) for found in found_key_files(reader))
    return [found for found, key in parsed if key is not None and key.key_id in used]


class _View:
    """What the zip will hold, before it does: the sheet must say the same of both."""

    kind = EXPORT

    def __init__(
        self, reader: EvidenceReader, names: Mapping[str, list[str]], note: bytes, keys: Sequence[FoundKey]
    ) -> None:
        self._reader = reader
        self._names = names
        self._note = note
        self._keys = {f"{KEYS}/{found.path}": found.content for found in keys}

    def folders(self) -> list[str]:
        return sorted(self._names)

    def names(self, folder: str) -> list[str]:
        if folder == KEYS:
            return sorted(path.rpartition("/")[2] for path in self._keys)
        return [CHAIN] if not folder else self._names.get(folder.rpartition("/")[2], [])

    def strays(self) -> list[str]:
        return []

    def blocks(self, path: str) -> Iterator[bytes]:
        content = self._note if path == CHAIN else self._keys.get(path)
        return self._reader.blocks(path) if content is None else iter([content])

    def close(self) -> None:
        pass
