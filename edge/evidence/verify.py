"""Whether evidence is as it was sealed: every file's hash, every manifest's signature, and both chains.

    reader (folder or zip), keys -> Verdict: what was checked, and what does not hold, the first of it first

Each file is read once, in blocks; of each manifest a few dozen bytes stay in memory. What a running gateway adds
meanwhile is no fault: files of the alert that is being written, and manifests that its head names by the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge.errors import EvidenceError
from edge.evidence.chain import NOTE_BYTES_MAX, ChainNote, Head, last_position, parse_note
from edge.evidence.keys import (
    KEYS,
    PRIVATE_KEY,
    PUBLIC_KEY,
    SIGNATURE_BYTES,
    PublicKey,
    parse_public_key,
    sealed_by,
    unsealed,
)
from edge.evidence.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    alert_of,
    identity_problems,
    manifest_number,
    read_manifest,
    signature_name,
)
from edge.evidence.pruning import PRUNED, RECORD_BYTES_MAX, Removal, parse_record
from edge.evidence.reading import (
    CASE,
    EXPORT,
    LINKS,
    STATE,
    EvidenceReader,
    found_key_files,
    open_reader,
    read_whole,
)
from edge.evidence.sheet import case_of_sheet, make_sheet, sheet_form, stated_form
from edge.evidence.store import CHAIN, EVIDENCE

PROBLEMS_TOLD = 20  # the rest is counted
SHEET_BYTES_MAX = 128 << 20
NOT_SIGNED = "nothing here is signed: this proves that the files are complete and fit, not whose they are"


@dataclass(slots=True)
class Verdict:
    """What was checked, and what does not hold."""

    kind: str
    cases: int = 0
    manifests: int = 0
    signatures: int = 0  # that hold
    files: int = 0  # whose hash holds
    bytes: int = 0
    removed: int = 0  # files that were pruned on record
    unfinished: int = 0  # files of an alert that was being written
    unfinished_files: list[str] = field(default_factory=list)  # at most PROBLEMS_TOLD of them
    first_at: str = ""
    last_at: str = ""
    keys: dict[str, int] = field(default_factory=dict)  # id -> manifests' signatures that hold; all that is relied on
    keys_named: bool = False  # given by whoever asks, not found with the evidence
    head: str | None = None
    count: int = 0  # of the chain, as its head says
    problems: list[str] = field(default_factory=list)  # at most PROBLEMS_TOLD
    problem_count: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.problem_count == 0

    def fail(self, problem: str) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_TOLD:
            self.problems.append(problem)

    def leave(self, path: str) -> None:
        self.unfinished += 1
        if len(self.unfinished_files) < PROBLEMS_TOLD:
            self.unfinished_files.append(path)


@dataclass(frozen=True, slots=True)
class _Link:
    """What stays in memory of a manifest."""

    path: str
    sha256: str
    previous: str | None
    position: int  # 0: it does not say
    is_signed: bool


def verify(path: Path, *, keys: Sequence[PublicKey] = (), head: str | None = None) -> Verdict:
    """Check a case folder, a replay folder, a state folder or an export.

    `keys`: those that may have signed; without them the ones that lie there, and then only integrity is proved, not
    origin. `head`: the SHA-256 of a manifest that was once told as the newest: the chain must hold it, and be whole.

    Raises UsageError for what holds no evidence.
    """
    try:
        reader = open_reader(path)
    except EvidenceError as error:
        verdict = Verdict(EXPORT)
        verdict.fail(str(error))
        return verdict
    try:
        return _Check(reader, keys, head).run()
    finally:
        reader.close()


class _Check:
    """One verification."""

    def __init__(self, reader: EvidenceReader, keys: Sequence[PublicKey], head: str | None) -> None:
        self._reader = reader
        self._verdict = Verdict(reader.kind, keys_named=bool(keys))
        self._named_head = head
        self._keys = {key.key_id: key for key in keys}
        self._present = set(self._keys)  # who may sign the chain's head, and name the gateway's earlier keys
        self._head_key = ""  # that signed the head
        self._earlier_records: set[str] = set()  # cases whose record another key signed
        self._links: list[_Link] = []

    def run(self) -> Verdict:
        verdict = self._verdict
        try:
            self._find_keys()
            before = self._note() if verdict.kind != CASE else None
            self._find_earlier_keys(before)
            self._check_layout()
            for case_id in self._reader.folders():
                self._check_case(case_id)
            if verdict.kind == EXPORT:
                self._check_export(before)
            elif verdict.kind != CASE:
                self._check_chain(before)
            else:
                verdict.notes.append("a case alone: its place among all cases was not checked")
            self._check_named_head()
            self._tell_keys()
        except EvidenceError as error:  # a folder that cannot be listed
            verdict.fail(str(error))
        return verdict

    # Keys

    def _find_keys(self) -> None:
        if self._verdict.kind not in (STATE, CASE) and PRIVATE_KEY in self._reader.names(KEYS):
            self._verdict.fail(
                f"{KEYS}/{PRIVATE_KEY}: is secret and must not be passed on: whoever has it can sign anything"
            )
        if self._keys:
            return
        found_files = found_key_files(self._reader)
        for found in found_files:
            key = parse_public_key(found.content)
            if key is None or key.pem != found.content:
                self._verdict.fail(f"{KEYS}/{found.path}: is no Ed25519 public key as edge writes it")
                continue
            self._keys[key.key_id] = key
            if found.path == PUBLIC_KEY or len(found_files) == 1:
                self._present.add(key.key_id)

    def _find_earlier_keys(self, note: ChainNote | None) -> None:
        """Of the keys that lie here only those count that the gateway's own one names: anybody can lay one down."""
        if self._verdict.keys_named:
            return
        if self._verdict.kind == CASE:
            with suppress(EvidenceError):
                document = unsealed(read_whole(self._reader, CHAIN, bytes_max=NOTE_BYTES_MAX))
                sealer = None if document is None else sealed_by(document, self._present_keys())
                if document is not None and sealer is not None:
                    note, self._head_key = parse_note(document), sealer.key_id
        trusted = self._present | set(note.earlier if note is not None else ())
        self._keys = {key_id: key for key_id, key in self._keys.items() if key_id in trusted}

    def _present_keys(self) -> list[PublicKey]:
        return [key for key_id, key in self._keys.items() if key_id in self._present]

    def _rely_on(self, key: PublicKey) -> None:
        self._verdict.keys.setdefault(key.key_id, 0)

    def _tell_keys(self) -> None:
        verdict = self._verdict
        if len(verdict.keys) > 1:
            verdict.notes.append(f"{len(verdict.keys)} keys are relied on: make sure that each was this gateway's")
        if self._earlier_records:
            verdict.notes.append(f"{len(self._earlier_records)} records of removals are signed with an earlier key")
        lying = [parse_public_key(found.content) for found in found_key_files(self._reader) if found.path == PUBLIC_KEY]
        if self._head_key and lying and (lying[0] is None or lying[0].key_id != self._head_key):
            verdict.notes.append(f"{CHAIN} is signed with another key than {KEYS}/{PUBLIC_KEY}")

    # The files of a case

    def _check_layout(self) -> None:
        for name in self._reader.strays():
            self._verdict.fail(f"{_shown(name)}: does not belong here: foreign, or put in")

    def _check_case(self, case_id: str) -> None:
        folder = f"{EVIDENCE}/{case_id}"
        names = self._reader.names(folder)
        self._verdict.cases += 1
        removed = self._removed(case_id) if PRUNED in names else {}
        named = {PRUNED}
        before: str | None = None
        newest = 0
        for number, name in sorted((manifest_number(name), name) for name in names):
            if number == 0:
                continue
            newest = number
            named.add(name)
            manifest = self._read(case_id, number, f"{folder}/{name}")
            if manifest is None or manifest.key_id:
                named.add(signature_name(number))
            if manifest is None:
                continue
            self._check_manifest(manifest, before)
            before = manifest.sha256
            for entry in manifest.entries:
                named.add(str(entry.get("path", "")).rpartition("/")[2])
                self._check_file(manifest, entry, removed)
        for name in names:
            if name not in named:
                self._check_unnamed(folder, name, newest)

    def _read(self, case_id: str, number: int, path: str) -> Manifest | None:
        try:
            content = read_whole(self._reader, path, bytes_max=MANIFEST_BYTES_MAX)
        except EvidenceError as error:
            self._verdict.fail(str(error))
            return None
        manifest = read_manifest(case_id, number, content)
        if manifest is None:
            self._verdict.fail(f"{path}: not a manifest in canonical JSON")
            return None
        self._verdict.manifests += 1
        self._verdict.bytes += len(content)
        self._links.append(_Link(path, manifest.sha256, manifest.previous, manifest.position, bool(manifest.key_id)))
        self._check_signature(manifest, content, path)
        return manifest

    def _check_manifest(self, manifest: Manifest, before: str | None) -> None:
        verdict, where = self._verdict, manifest.path
        for problem in identity_problems(manifest):
            verdict.fail(f"{where}: {problem}")
        if manifest.document.get("previous_in_case") != before:
            verdict.fail(f"{where}: does not follow the case's manifest before it: one was changed, removed or put in")
        if manifest.taken_at:
            verdict.first_at = min(verdict.first_at or manifest.taken_at, manifest.taken_at)
            verdict.last_at = max(verdict.last_at, manifest.taken_at)

    def _check_signature(self, manifest: Manifest, content: bytes, path: str) -> None:
        where = path.removesuffix(".json") + ".sig"
        if not manifest.key_id:
            if self._verdict.keys_named:
                self._verdict.fail(f"{path}: is not signed")
            return
        key = self._keys.get(manifest.key_id)
        if key is None:
            missing = f"which does not lie in {KEYS}, or is not named by the gateway's own one: name it with --key"
            why = "not the one named" if self._verdict.keys_named else missing
            self._verdict.fail(f"{path}: signed with the key {manifest.key_id[:16]}…, {why}")
            return
        try:
            signature = read_whole(self._reader, where, bytes_max=SIGNATURE_BYTES)
        except EvidenceError as error:
            self._verdict.fail(str(error))
            return
        if len(signature) != SIGNATURE_BYTES or not key.signed(content, signature):
            self._verdict.fail(f"{where}: is not the signature of {path.rpartition('/')[2]}")
            return
        self._verdict.signatures += 1
        self._verdict.keys[key.key_id] = self._verdict.keys.get(key.key_id, 0) + 1

    def _check_file(self, manifest: Manifest, entry: Mapping[str, Any], removed: Mapping[str, Removal]) -> None:
        verdict, stated = self._verdict, str(entry.get("path", ""))
        name = stated.rpartition("/")[2]
        if stated != f"{EVIDENCE}/{manifest.case_id}/{name}" or name in ("", ".", ".."):
            verdict.fail(f"{manifest.path}: names {stated!r}, which is not a file of this case")
            return
        digest, size = hashlib.sha256(), 0
        try:
            for block in self._reader.blocks(stated):
                digest.update(block)
                size += len(block)
        except EvidenceError as error:
            if "is missing" in str(error) and self._was_removed(manifest.case_id, name, entry, removed):
                verdict.removed += 1
            else:
                verdict.fail(str(error))
            return
        if size != entry.get("bytes") or digest.hexdigest() != entry.get("sha256"):
            verdict.fail(f"{stated}: is not the file that {manifest.path} names: its content has changed")
            return
        verdict.files += 1
        verdict.bytes += size

    def _removed(self, case_id: str) -> dict[str, Removal]:
        where = f"{EVIDENCE}/{case_id}/{PRUNED}"
        try:
            document = unsealed(read_whole(self._reader, where, bytes_max=RECORD_BYTES_MAX))
            key = None if document is None else sealed_by(document, self._keys.values())
            if document is None or key is None:
                raise EvidenceError(f"{where}: is not signed with the gateway's key")
            self._rely_on(key)
            if self._head_key not in ("", key.key_id):
                self._earlier_records.add(case_id)
            return parse_record(document, case_id)
        except EvidenceError as error:
            self._verdict.fail(str(error))
            return {}

    def _was_removed(self, case_id: str, name: str, entry: Mapping[str, Any], removed: Mapping[str, Removal]) -> bool:
        """On record, by now: a gateway may prune while we look."""
        removal = removed.get(name)
        if removal is None and PRUNED in self._reader.names(f"{EVIDENCE}/{case_id}"):
            removal = self._removed(case_id).get(name)
        return removal is not None and removal.sha256 == entry.get("sha256")

    def _check_unnamed(self, folder: str, name: str, newest: int) -> None:
        """Where the chain tells of every manifest, what belongs to the next one is an alert that is being written."""
        is_next = alert_of(name.strip(".").removesuffix(".part")) > newest or name == f".{PRUNED}.part"
        if is_next and self._verdict.kind == STATE:
            self._verdict.leave(f"{folder}/{name}")
        else:
            self._verdict.fail(f"{_shown(f'{folder}/{name}')}: named by no manifest: unfinished or foreign")

    # The chain

    def _note(self) -> ChainNote | None:
        """What `chain.json` says; None where there is none, or a false one."""
        verdict = self._verdict
        if CHAIN not in self._reader.names(""):
            return None
        try:
            document = unsealed(read_whole(self._reader, CHAIN, bytes_max=NOTE_BYTES_MAX))
        except EvidenceError as error:
            verdict.fail(str(error))
            return None
        note = None if document is None else parse_note(document)
        if document is None or note is None:
            verdict.fail(f"{CHAIN}: is damaged")
            return None
        is_new = note.head == Head() and note.following is None and not self._keys  # its key is not laid down yet
        if (note.key_id or self._keys) and not is_new:
            key = sealed_by(document, self._present_keys())
            if key is None:
                wanted = "the key named" if verdict.keys_named else f"{KEYS}/{PUBLIC_KEY}, the gateway's present key"
                verdict.fail(f"{CHAIN}: is not signed with {wanted}")
                return None
            self._rely_on(key)
            self._head_key = key.key_id
        return note

    def _check_chain(self, note: ChainNote | None) -> None:
        """From the first manifest to the head: nothing changed, nothing missing, nothing put in."""
        verdict = self._verdict
        if note is None:
            self._walk(self._links)
            if verdict.sound and (self._keys or any(link.is_signed for link in self._links)):
                verdict.fail(f"{CHAIN}: is missing: without it nobody can tell whether the newest cases are")
            elif verdict.sound:
                verdict.notes.append("no head of the chain lies here: removal of the newest manifests would not show")
            return
        counted = note.head.count
        newer = [link for link in self._links if link.position > counted >= 0]
        walked = self._walk([link for link in self._links if not link.position > counted >= 0])
        if note.head.count < 0:  # of before there were signatures: it says which is the newest, not how many there are
            place = next((row for row, link in enumerate(walked, start=1) if link.sha256 == note.head.sha256), 0)
            note = replace(note, head=Head(place, note.head.sha256))
        verdict.count, verdict.head = note.head.count, note.head.sha256
        head = walked[note.head.count - 1].sha256 if 0 < note.head.count <= len(walked) else None
        if head != note.head.sha256:
            verdict.fail(
                f"{CHAIN}: the newest of {note.head.count} manifests that it names is not in its place: "
                "the newest were changed or removed"
            )
        elif (len(walked), walked[-1].sha256 if walked else None) not in _ends(note):
            verdict.fail(f"{walked[note.head.count].path}: is not counted by {CHAIN}: it was put in, or that is older")
        if newer:
            self._check_newer(newer, note)
        if note.rebuilt:
            counts = ", ".join(str(count) for count in note.rebuilt)
            verdict.fail(
                f"{CHAIN}: was lost and made anew after manifest {counts}: whether the newest of then were removed "
                "cannot be told from here"
            )

    def _check_newer(self, newer: Sequence[_Link], before: ChainNote) -> None:
        """What a running gateway has added since we began is counted by its head as it is now.

        Also in the place of what was about to be written when we began: its writer may have been killed before.
        """
        now = self._note()
        last = last_position(now) if now is not None else 0
        ends = dict(_ends(now)) if now is not None else {}
        for link in newer:
            is_counted = link.position <= last and ends.get(link.position, link.sha256) == link.sha256
            if not is_counted or (before.key_id and not link.is_signed):
                self._verdict.fail(f"{link.path}: is not counted by {CHAIN}: it was put in, or that is older")
        came = sum((link.position, link.sha256) not in _ends(before) for link in newer)
        if came:
            self._verdict.notes.append(f"{came} manifests came while this was checked")

    def _walk(self, links: Sequence[_Link]) -> list[_Link]:
        """The chain from its first manifest on; what does not hang on it is told."""
        verdict = self._verdict
        known = {link.sha256 for link in links}
        followers: dict[str | None, _Link] = {}
        for link in links:
            if link.previous is not None and link.previous not in known:
                verdict.fail(f"{link.path}: the manifest before it in the chain was changed or removed")
            elif link.previous in followers:
                other = followers[link.previous].path
                verdict.fail(f"{link.path}: follows the same manifest as {other}: the chain has two ends")
            else:
                followers[link.previous] = link
        walked = list(_follow(followers))
        signed = False
        for position, link in enumerate(walked, start=1):
            if link.position not in (0, position):
                verdict.fail(f"{link.path}: is manifest {position} of the chain, but says {link.position}")
            if signed and not link.is_signed:
                verdict.fail(f"{link.path}: is not signed, though one before it in the chain is")
            signed = signed or link.is_signed
        unsigned = sum(not link.is_signed for link in walked)
        if unsigned and signed:
            verdict.notes.append(f"{unsigned} manifests of before there were signatures: held by the chain alone")
        elif unsigned:
            verdict.notes.append(NOT_SIGNED)
        return walked

    def _check_export(self, note: ChainNote | None) -> None:
        """An export holds some of the chain: each manifest with the one before it and the one after."""
        verdict = self._verdict
        exported = list(self._links)
        self._check_links()
        by_hash = {link.sha256: link for link in self._links}
        followed = {link.previous: link for link in self._links}
        wanted = {link.sha256 for link in exported}
        for link in exported:
            before, after = by_hash.get(link.previous or ""), followed.get(link.sha256)
            wanted |= {other.sha256 for other in (before, after) if other is not None}
            if link.previous is not None and before is None:
                verdict.fail(f"{link.path}: the manifest before it in the chain is not among the links")
            if after is None and not (note and _is_end(note, link)):
                verdict.fail(f"{link.path}: neither the manifest after it nor the chain's head follows it")
        for link in self._links:
            before = by_hash.get(link.previous or "")
            if (
                before is not None
                and 0 not in (before.position, link.position)
                and before.position + 1 != link.position
            ):
                verdict.fail(f"{link.path}: says {link.position}, but follows manifest {before.position} of the chain")
            if note is not None and 0 <= last_position(note) < link.position:
                verdict.fail(f"{link.path}: is not counted by {CHAIN}")
            if link.sha256 not in wanted:
                verdict.fail(
                    f"{link.path}: is no neighbour of a manifest of these cases: foreign, or a case was taken out"
                )
        if note is None:
            if CHAIN not in self._reader.names(""):
                verdict.fail(f"{CHAIN}: is missing")
        else:
            verdict.count, verdict.head = note.head.count, note.head.sha256
        self._check_sheets()
        if not any(link.is_signed for link in exported):
            verdict.notes.append(NOT_SIGNED)
        verdict.notes.append(
            "an export: these cases alone, with their neighbours in the chain; of others it cannot tell"
        )

    def _check_sheets(self) -> None:
        """A sheet is not signed, but says nothing that is not in the export: so it can be made again."""
        for name in self._reader.names(""):
            case_id = case_of_sheet(name)
            if name == CHAIN or name in (EVIDENCE, KEYS, LINKS):
                continue
            if case_id not in self._reader.folders():
                self._verdict.fail(f"{_shown(name)}: does not belong here: foreign, or put in")
                continue
            try:
                sheet = read_whole(self._reader, name, bytes_max=SHEET_BYTES_MAX)
                if stated_form(sheet) != sheet_form():
                    self._verdict.notes.append(
                        f"{name}: made by another version, or changed: NOT checked; trust the files"
                    )
                elif sheet != make_sheet(self._reader, case_id):
                    self._verdict.fail(f"{name}: does not say what the files say: it was changed")
            except EvidenceError as error:
                self._verdict.fail(str(error))

    def _check_links(self) -> None:
        names = self._reader.names(LINKS)
        for name in names:
            if not name.endswith((".json", ".sig")) or (name.endswith(".sig") and f"{name[:-4]}.json" not in names):
                self._verdict.fail(f"{_shown(f'{LINKS}/{name}')}: is no link: foreign, or put in")
            elif name.endswith(".json"):
                before = self._verdict.manifests
                manifest = self._read("", 1, f"{LINKS}/{name}")
                self._verdict.manifests = before
                if manifest is not None and name != f"{manifest.sha256}.json":
                    self._verdict.fail(f"{LINKS}/{name}: is not the manifest that its name says")

    def _check_named_head(self) -> None:
        head = self._named_head
        if head is None:
            return
        if self._verdict.kind in (EXPORT, CASE):
            self._verdict.fail(
                f"--head: an {EXPORT} or a {CASE} is a part of the chain and cannot tell that no case is missing: "
                "verify the whole state or replay folder, or leave the head out"
            )
            return
        place = next((link for link in self._links if link.sha256 == head), None)
        if place is None:
            self._verdict.fail(
                f"{head}: was once told as the newest manifest, and is not here: what is here is older, or changed"
            )
        else:
            self._verdict.notes.append(f"holds the head that was named: manifest {place.position or '?'} of the chain")


def _shown(path: str) -> str:
    """A name that somebody else chose, without what a terminal takes for orders."""
    return path if path.isascii() and path.isprintable() and " " not in path else repr(path)


def _ends(note: ChainNote) -> list[tuple[int, str | None]]:
    """Where the chain may end by a note: at its head, or at what was being written after it."""
    ends = [(note.head.count, note.head.sha256)]
    return [*ends, (note.head.count + 1, note.following[1])] if note.following else ends


def _is_end(note: ChainNote, link: _Link) -> bool:
    return any(link.sha256 == sha256 and link.position in (0, count) for count, sha256 in _ends(note))


def _follow(followers: Mapping[str | None, _Link]) -> Iterator[_Link]:
    link = followers.get(None)
    while link is not None:
        yield link
        link = followers.get(link.sha256)
