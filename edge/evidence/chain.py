"""How manifests follow one another, so that a changed, removed or inserted one shows; the newest ones too.

    evidence/<case_id>/manifest-1.json <- manifest-2.json <- ..    previous_in_case
    any case's manifest               <- the next one told <- ..   previous, and its position from 1

`chain.json` names the newest manifest and how many there are, signed with the gateway's key. It is replaced as a whole;
what is about to be written is noted in it first, so that a process killed at any point leaves neither a fork nor a
gap. What no file of ours can show is a state folder that was put back as a whole to an older day: whoever was told the
head of a later day sees it (the status notice tells it; `edge evidence verify --head`).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from edge.errors import EvidenceError
from edge.evidence.keys import (
    KEYS,
    PublicKey,
    SigningKey,
    gateway_key,
    is_published,
    parse_public_key,
    publish_key,
    sealed,
    sealed_by,
    unsealed,
)
from edge.evidence.manifest import (
    Manifest,
    canonical_manifest,
    manifest_number,
    read_manifest,
    signature_name,
)
from edge.evidence.store import CHAIN, EVIDENCE, write_atomically
from edge.ports import EvidenceFile

NOTE_BYTES_MAX = 1 << 16
_KIND = "chain"
_log = logging.getLogger(__name__)

Save = Callable[[bytes, bytes], Sequence[EvidenceFile]]  # a manifest and its signature, b"" where it has none


@dataclass(frozen=True, slots=True)
class Head:
    """The chain's end."""

    count: int = 0  # manifests up to it; -1 in a note of before there were signatures, which does not count
    sha256: str | None = None  # of the newest


@dataclass(frozen=True, slots=True)
class ChainNote:
    """What `chain.json` says."""

    head: Head
    following: tuple[str, str] | None = None  # path and sha256 of the manifest that is being written
    rebuilt: tuple[int, ...] = ()  # counts at which the note was lost, and the end looked for
    earlier: tuple[str, ...] = ()  # ids of this gateway's keys before the one that signs it
    key_id: str = ""  # of the key that signs it, "" where none does

    def document(self) -> dict[str, object]:
        path, sha256 = self.following or ("", "")
        document: dict[str, object] = {
            "kind": _KIND,
            "count": self.head.count,
            "head": self.head.sha256,
            "next": {"path": path, "sha256": sha256} if self.following else None,
            "rebuilt": list(self.rebuilt),
        }
        return {**document, "earlier": list(self.earlier)} if self.earlier else document


class ManifestChain(Protocol):
    """Who gives each manifest its place and its signature."""

    def link(self, path: str, document: Mapping[str, object], save: Save) -> Sequence[EvidenceFile]:
        """Seal what a manifest says as the one that follows the head, and `save` it at `path` (relative to the root).

        Raises EvidenceError; the chain is then as it was, without the manifest.
        """


class Chain:
    """The chain of one replay, kept in memory; its head is laid down at the end."""

    def __init__(self, head: Head | None = None, *, key: SigningKey | None = None) -> None:
        self.head = head or Head()
        self._key = key

    def link(self, path: str, document: Mapping[str, object], save: Save) -> Sequence[EvidenceFile]:
        """As `ManifestChain.link`."""
        manifest, signature, head = _sealed_after(self.head, document, self._key)
        files = save(manifest, signature)
        self.head = head
        return files

    def conclude(self, root: Path) -> None:
        """Lay down the head, and the public key. Raises OSError."""
        write_atomically(root / CHAIN, sealed(ChainNote(self.head).document(), self._key))
        if self._key is not None:
            publish_key(root, self._key.public)


class SharedChain:
    """A gateway's chain, which its cameras' processes lengthen in turn: a lock, and the head in `chain.json`.

    A state folder of before there were signatures goes on: the first signed manifest names the last of those without.
    Where `chain.json` is lost, alerts must not wait for somebody to find it: the end is looked for, and the note says
    for ever that whether something was removed before then cannot be told.

    A new key goes on after an earlier one's note only while it has sealed nothing here, and names it in its own note
    from then on: a public key that somebody lays into `keys/` makes nothing true.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._note = root / CHAIN
        self._key: SigningKey | None = None

    def begin(self) -> None:
        """When the gateway starts: its key, its note, and what a killed one left settled. Raises EvidenceError."""
        with self._written(), self._turn():
            note, key = self._present()
            self._write(note, key)

    def link(self, path: str, document: Mapping[str, object], save: Save) -> Sequence[EvidenceFile]:
        """As `ManifestChain.link`."""
        with self._written(), self._turn():
            note, key = self._present()
            manifest, signature, head = _sealed_after(note.head, document, key)
            self._write(replace(note, following=(path, str(head.sha256))), key)
            files = self._saved(path, manifest, signature, save)
            with suppress(OSError):  # it is written: what comes after finds it by the note that was made before
                self._write(replace(note, head=head), key)
            return files

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EvidenceError(f"{self._note}: not written: {error.strerror or error}: check the disk") from error

    def _saved(self, path: str, manifest: bytes, signature: bytes, save: Save) -> Sequence[EvidenceFile]:
        """A manifest that stands but was not surely saved is taken back before another camera can follow it."""
        try:
            return save(manifest, signature)
        except EvidenceError:
            place = self._root / path
            place.unlink(missing_ok=True)
            place.with_name(signature_name(manifest_number(place.name))).unlink(missing_ok=True)
            raise

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock ends with the process that holds it, however that ends."""
        with chain_lock(self._root):
            yield

    def _present(self) -> tuple[ChainNote, SigningKey]:
        """What is so now, with nothing half-done, and the key to go on with."""
        if self._key is not None:
            return self._settled(self._key), self._key
        key = gateway_key(self._root)
        published = is_published(self._root)
        note = self._settled(key)
        if not published:  # from then on `chain.json` is missed when it is gone
            self._write(note, key)
        publish_key(self._root, key.public)
        self._key = key
        return note, key

    def _settled(self, key: SigningKey) -> ChainNote:
        note = self._read(key)
        if note.following is not None and self._is_stored(*note.following):
            return replace(note, head=Head(note.head.count + 1, note.following[1]), following=None)
        return replace(note, following=None)

    def _read(self, key: SigningKey) -> ChainNote:
        published = is_published(self._root) or self._has_sealed(key)
        try:
            content = self._note.read_bytes()
        except FileNotFoundError:
            return self._rebuilt("is gone") if published else ChainNote(chain_end(self._root))
        document = unsealed(content)
        note = None if document is None else parse_note(document)
        if document is None or note is None:
            return self._rebuilt("is damaged")
        if not note.key_id and not published:  # of before there were signatures, or of a replay without them
            return replace(note, head=Head(_stored_count(self._root, note), note.head.sha256))
        if sealed_by(document, [key.public]) is not None:
            return note
        earlier = None if published else sealed_by(document, found_keys(self._root))
        if earlier is None or not self._sealed_the_newest(earlier):
            return self._rebuilt("is not as this gateway signed it")
        return replace(note, earlier=(*note.earlier, earlier.key_id))

    def _has_sealed(self, key: SigningKey) -> bool:
        return any(manifest.key_id == key.key_id for manifest in stored_manifests(self._root))

    def _sealed_the_newest(self, key: PublicKey) -> bool:
        """Whether the newest signed manifest is this key's too, as it is where the key was the gateway's own."""
        signed = [manifest for manifest in stored_manifests(self._root) if manifest.key_id]
        newest = max(signed, key=lambda manifest: manifest.position, default=None)
        if newest is None:
            return True
        place = self._root / newest.path
        try:
            signature = place.with_name(signature_name(newest.number)).read_bytes()
            return newest.key_id == key.key_id and key.signed(place.read_bytes(), signature)
        except OSError:
            return False

    def _rebuilt(self, why: str) -> ChainNote:
        end = chain_end(self._root)
        _log.error(
            "%s: %s: the chain goes on after manifest %d, the newest that is left; whether others were removed "
            "cannot be told any more",
            self._note,
            why,
            end.count,
        )
        with suppress(FileNotFoundError):
            self._note.replace(self._note.with_name(f"{CHAIN}.damaged"))
        return ChainNote(end, rebuilt=(end.count,))

    def _is_stored(self, path: str, sha256: str) -> bool:
        try:
            return hashlib.sha256((self._root / path).read_bytes()).hexdigest() == sha256
        except OSError:
            return False

    def _write(self, note: ChainNote, key: SigningKey) -> None:
        write_atomically(self._note, sealed(note.document(), key))


def signing_key(root: Path) -> SigningKey:
    """The key of a state folder, for who signs beside its gateway, as a replay does. Raises EvidenceError."""
    if not is_published(root):
        gateway_key(root)  # makes the folder, too
        SharedChain(root).begin()
    return gateway_key(root)


@contextmanager
def chain_lock(root: Path) -> Iterator[None]:
    """While held, nobody adds a manifest. Raises OSError."""
    with (root / "chain.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_head(root: Path) -> Head | None:
    """What `chain.json` says, without regard to its signature; None where there is none to read."""
    try:
        document = unsealed((root / CHAIN).read_bytes())
    except OSError:
        return None
    note = None if document is None else parse_note(document)
    return None if note is None else note.head


def parse_note(document: Mapping[str, Any]) -> ChainNote | None:
    """What a note says, without regard to its signature; None where it says nothing that can be used."""
    head, count = document.get("head"), document.get("count", -1)
    following, rebuilt, earlier = document.get("next"), document.get("rebuilt", []), document.get("earlier", [])
    if not (head is None or isinstance(head, str)) or not isinstance(count, int) or not isinstance(rebuilt, list):
        return None
    if not isinstance(earlier, list) or not all(isinstance(row, str) for row in earlier):
        return None
    if "head" not in document or not all(isinstance(row, int) for row in rebuilt):
        return None
    if following is not None and not _is_following(following):
        return None
    return ChainNote(
        Head(count, head),
        following=(following["path"], following["sha256"]) if following else None,
        rebuilt=tuple(rebuilt),
        earlier=tuple(earlier),
        key_id=str(document.get("key_id") or ""),
    )


def last_position(note: ChainNote) -> int:
    """The highest position that a note knows of; below 0 where it does not count."""
    return note.head.count + (note.following is not None) if note.head.count >= 0 else -1


def _is_following(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("path"), str) and isinstance(value.get("sha256"), str)


def found_keys(root: Path) -> list[PublicKey]:
    """The public keys that lie in a folder, the gateway's own first; what is none is left out."""
    folder = root / KEYS
    try:
        paths = sorted(folder.glob("*.pub"), key=lambda path: (path.name != "gateway.pub", path.name))
        keys = [parse_public_key(path.read_bytes()) for path in paths if path.is_file() and not path.is_symlink()]
    except OSError:
        return []
    return [key for key in keys if key is not None]


def earlier_keys(root: Path, key: PublicKey) -> list[PublicKey]:
    """Those that the gateway had before this one, as this one's own note says."""
    try:
        document = unsealed((root / CHAIN).read_bytes())
    except OSError:
        return []
    note = None if document is None else parse_note(document)
    if document is None or note is None or sealed_by(document, [key]) is None:
        return []
    return [found for found in found_keys(root) if found.key_id in note.earlier]


def chain_end(root: Path) -> Head:
    """The stored manifest that no other one names as `previous`: where a gateway goes on that has lost its note."""
    named: set[str | None] = set()
    ends: dict[str, int] = {}  # sha256 -> position, 0 where it does not say
    count = 0
    for manifest in stored_manifests(root):
        count += 1
        named.add(manifest.previous)
        ends[manifest.sha256] = manifest.position
    last = max(((position, sha256) for sha256, position in ends.items() if sha256 not in named), default=None)
    return Head() if last is None else Head(last[0] or count, last[1])


def stored_manifests(root: Path) -> Iterator[Manifest]:
    """Every readable manifest, by case and then by alert."""
    top = root / EVIDENCE
    folders = sorted(path for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
    for folder in folders:
        for number, path in sorted((manifest_number(path.name), path) for path in folder.iterdir()):
            manifest = None
            if number:
                with suppress(OSError):
                    manifest = read_manifest(folder.name, number, path.read_bytes())
            if manifest is not None:
                yield manifest


def _stored_count(root: Path, note: ChainNote) -> int:
    """How many manifests there are up to the head of a note that does not count."""
    following = note.following[1] if note.following else None
    return sum(manifest.sha256 != following for manifest in stored_manifests(root))


def _sealed_after(head: Head, document: Mapping[str, object], key: SigningKey | None) -> tuple[bytes, bytes, Head]:
    """A manifest's bytes, its signature, and the head that it makes."""
    position = head.count + 1
    key_id = None if key is None else key.key_id
    manifest = canonical_manifest(document, previous=head.sha256, position=position, key_id=key_id)
    signature = b"" if key is None else key.sign(manifest)
    return manifest, signature, Head(position, hashlib.sha256(manifest).hexdigest())
