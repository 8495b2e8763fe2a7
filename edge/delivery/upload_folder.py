"""A folder as the store: a second disk, or one that is mounted from elsewhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from edge.delivery.upload_files import Parcel
from edge.errors import DeliveryError


class FolderTarget:
    """Files appear whole or not at all. What a killed process left half written is checked and gone on with."""

    part_bytes = 1 << 20

    def __init__(self, root: Path, *, address: str) -> None:
        """`root` must be there already: a folder below a disk that is not mounted would fill the wrong one."""
        self.address = address
        self._root = root

    def store(self, parcel: Parcel) -> bool:
        path = self._root / parcel.file.name
        partial = path.with_name(f".{path.name}.part")
        if not self._root.is_dir():
            raise DeliveryError(f"{self.address}: is not there: mount it, or make the folder")
        try:
            if path.exists() and path.stat().st_size == parcel.file.bytes:
                return False
            path.parent.mkdir(parents=True, exist_ok=True)
            _complete(partial, parcel)
            partial.replace(path)
            _sync(path.parent)
        except FileNotFoundError as error:
            if error.filename == str(parcel.file.path):
                raise
            raise DeliveryError(f"{self.address}: has vanished: mount it again") from error
        except OSError as error:
            raise DeliveryError(f"{self.address}: not stored: {error.strerror or error}") from error
        return True

    def close(self) -> None:
        """Nothing is held."""


def _complete(partial: Path, parcel: Parcel) -> None:
    """The parts that are there and right stay, the others are written."""
    with partial.open("ab+") as file:
        for part in parcel.parts:
            file.seek(part.offset)
            if hashlib.sha256(file.read(part.bytes)).hexdigest() == part.sha256:
                continue
            file.truncate(part.offset)
            for block in parcel.blocks(part):
                file.write(block)
        file.truncate(parcel.file.bytes)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
