"""The gateway's Ed25519 key: made once in the state folder, read by whoever seals evidence, and told to nobody.

    keys/gateway.key   PKCS8, PEM, 0600 in a 0700 folder: never copied, exported, logged or published
    keys/gateway.pub   SubjectPublicKeyInfo, PEM: what a verifier needs; travels with replays and exports
    keys/*.pub         those of earlier keys of the same gateway, if an operator keeps them there

A key that others may read proves nothing any more, so it is refused, not mended. Notes of our own (the chain's head,
what was pruned) carry their signature inside, so that note and signature cannot be torn apart by a kill.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.errors import EvidenceError, UsageError
from edge.evidence.store import canonical, sync_folder, write_atomically

KEYS = "keys"
PRIVATE_KEY = "gateway.key"
PUBLIC_KEY = "gateway.pub"
SIGNATURE_BYTES = 64
_KEY_FILE_BYTES_MAX = 4096
_HEX = re.compile("[0-9a-f]{128}")
_RAW_KEY_BYTES = 32
_REMEDY = "put it back from a backup, or move it away with gateway.pub (kept as another *.pub) and a new one is made"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What tells whether a signature is its gateway's."""

    raw: bytes  # 32 bytes

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw key, in hex: which key it is, without being it."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def pem(self) -> bytes:
        public = Ed25519PublicKey.from_public_bytes(self.raw)
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def signed(self, content: bytes, signature: bytes) -> bool:
        """Whether this key's holder signed exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, content)
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A gateway's key in memory. The same bytes get the same signature, always."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = PublicKey(private.public_key().public_bytes_raw())

    @classmethod
    def new(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @property
    def key_id(self) -> str:
        return self.public.key_id

    def sign(self, content: bytes) -> bytes:
        return self._private.sign(content)

    @property
    def pem(self) -> bytes:
        """The secret itself, for its own file alone."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"


def gateway_key(root: Path) -> SigningKey:
    """The key of a state folder, made where there is none. Processes that ask at once get the same one.

    Raises EvidenceError for one that others may read, that is damaged, or that is gone while its public half is there.
    """
    folder = root / KEYS
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(folder):
            _refuse_shared(folder, os.stat(folder, follow_symlinks=False), writable_only=True)
            return _read_private(folder / PRIVATE_KEY) or _made(folder)
    except OSError as error:
        raise EvidenceError(
            f"{folder}: the gateway's key cannot be used: {error.strerror or error}: check the rights and the disk"
        ) from error


def publish_key(root: Path, key: PublicKey) -> None:
    """Lay the public key where a verifier looks for it. Raises OSError."""
    path = root / KEYS / PUBLIC_KEY
    path.parent.mkdir(parents=True, exist_ok=True)  # in a state folder it is there, for its user alone
    with suppress(FileNotFoundError):
        if path.read_bytes() == key.pem:
            return
    write_atomically(path, key.pem)


def is_published(root: Path) -> bool:
    """Whether evidence may have been sealed here: the public key is laid down last of all."""
    return (root / KEYS / PUBLIC_KEY).exists()


def read_public_key(path: Path) -> PublicKey:
    """A key that somebody names: PEM as in gateway.pub, or 32 raw bytes. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(_KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    key = parse_public_key(content)
    if key is None:
        raise UsageError(f"{path}: is no Ed25519 public key; name a gateway.pub")
    return key


def parse_public_key(content: bytes) -> PublicKey | None:
    """None for what is no public key of ours."""
    if len(content) == _RAW_KEY_BYTES:
        return PublicKey(content)
    if len(content) > _KEY_FILE_BYTES_MAX:
        return None
    try:
        public = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return PublicKey(public.public_bytes_raw()) if isinstance(public, Ed25519PublicKey) else None


def sealed(document: Mapping[str, object], key: SigningKey | None) -> bytes:
    """A note of ours with its signature inside; without a key, without one."""
    if key is None:
        return canonical(document)
    named = {**document, "key_id": key.key_id}
    return canonical({**named, "signature": key.sign(canonical(named)).hex()})


def unsealed(content: bytes) -> dict[str, Any] | None:
    """A note without regard to its signature; None where it is none in canonical JSON."""
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or canonical(document) != content:
            return None
    except (ValueError, RecursionError):
        return None
    return document


def sealed_by(document: Mapping[str, object], keys: Iterable[PublicKey]) -> PublicKey | None:
    """Which of the keys signed a note; None where none of them did."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    stated = document.get("signature")
    if not isinstance(stated, str) or not _HEX.fullmatch(stated):  # fromhex would take capitals and blanks as well
        return None
    signature = bytes.fromhex(stated)
    content = canonical(unsigned)
    return next((key for key in keys if key.key_id == document.get("key_id") and key.signed(content, signature)), None)


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """One maker at a time; the lock ends with the process that holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _made(folder: Path) -> SigningKey:
    if (folder / PUBLIC_KEY).exists():
        raise EvidenceError(
            f"{folder / PRIVATE_KEY}: is gone, but {PUBLIC_KEY} is there: put it back from a backup, or rename "
            f"{PUBLIC_KEY} (it still proves the evidence of before) and a new key is made"
        )
    key = SigningKey.new()
    temporary = folder / f".{PRIVATE_KEY}.part"
    temporary.unlink(missing_ok=True)  # of a maker that was killed: nothing was signed with it
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.pem)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / PRIVATE_KEY)
    except BaseException:  # also Ctrl-C: it is raised again
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)
    sync_folder(folder.parent)
    return key


def _read_private(path: Path) -> SigningKey | None:
    """None where there is none yet."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise EvidenceError(f"{path}: is no file: {_REMEDY}")
        _refuse_shared(path, status)
        content = file.read(_KEY_FILE_BYTES_MAX)
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise EvidenceError(f"{path}: is damaged, or no Ed25519 key: {_REMEDY}")
    return SigningKey(private)


def _refuse_shared(path: Path, status: os.stat_result, *, writable_only: bool = False) -> None:
    others = stat.S_IWGRP | stat.S_IWOTH if writable_only else stat.S_IRWXG | stat.S_IRWXO
    if status.st_mode & others:
        can, wanted = ("write", "700") if writable_only else ("read", "600")
        raise EvidenceError(
            f"{path}: others may {can} it (mode {stat.S_IMODE(status.st_mode):o}), so its signatures prove nothing: "
            f"make sure that nobody did, then chmod {wanted}; else move it away and a new key is made"
        )
