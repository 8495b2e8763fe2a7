"""A zip of stored files, byte for byte the same for the same files, and a reader that takes nothing else.

Nothing is compressed (pictures and clips are already), dates are the oldest that zip knows, names are plain ASCII, and
there is no zip64: so nothing can be hidden between the parts, no small file unfolds into a large one, and a single
byte changed anywhere is found. Every unzip program opens it.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from edge.errors import EvidenceError

ZIP_BYTES_MAX = (1 << 32) - (1 << 24)  # with room for the directory below what 32 bits can address
ENTRIES_MAX = 65_000
BLOCK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}")
_NAME_BYTES_MAX = 200
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _OLDEST_DAY = 20, 0x21  # 1980-01-01
_FILE_MODE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    offset: int  # of its header
    size: int  # bytes of its content
    crc: int

    @property
    def header(self) -> bytes:
        name = self.name.encode()
        sizes = (self.crc, self.size, self.size, len(name), 0)
        return _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _OLDEST_DAY, *sizes) + name

    @property
    def directory(self) -> bytes:
        name = self.name.encode()
        sizes = (self.crc, self.size, self.size, len(name), 0, 0, 0, 0)
        made_by = 3 << 8 | _VERSION  # Unix
        packed = _CENTRAL.pack(b"PK\x01\x02", made_by, _VERSION, 0, 0, 0, _OLDEST_DAY, *sizes, _FILE_MODE, self.offset)
        return packed + name

    @property
    def begin(self) -> int:
        """Of its content."""
        return self.offset + _LOCAL.size + len(self.name)


class ZipWriter:
    """Adds files one after the other; the zip appears under its name when it is closed without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.part")
        self._file: BinaryIO = self._temporary.open("wb")
        self._entries: list[Entry] = []

    def __enter__(self) -> ZipWriter:
        return self

    def add(self, name: str, blocks: Iterator[bytes]) -> None:
        """Raises EvidenceError where the zip would become too large."""
        offset, size, crc = self._file.tell(), 0, 0
        self._file.write(Entry(name, offset, 0, 0).header)
        for block in blocks:
            size, crc = size + len(block), zlib.crc32(block, crc)
            self._file.write(block)
            if offset + size > ZIP_BYTES_MAX or len(self._entries) >= ENTRIES_MAX:
                raise EvidenceError(
                    f"{self._path}: would hold more than 4 GB or 65,000 files: export fewer cases at once"
                )
        entry = Entry(name, offset, size, crc)
        self._file.seek(offset)
        self._file.write(entry.header)
        self._file.seek(0, os.SEEK_END)
        self._entries.append(entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file as file:
                if error is None:
                    file.write(_end_of(self._entries, file.tell()))
                    file.flush()
                    os.fsync(file.fileno())
            if error is None:
                self._temporary.replace(self._path)
        finally:
            with suppress(OSError):
                self._temporary.unlink()


class ZipContent:
    """What lies in a zip that `ZipWriter` wrote. Raises EvidenceError for any other, or a damaged one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")
        try:
            self.entries = {entry.name: entry for entry in self._read()}
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()

    def blocks(self, name: str) -> Iterator[bytes]:
        """The content of one file. Raises EvidenceError at its end where it is not what was written."""
        entry = self.entries[name]
        left, crc, place = entry.size, 0, entry.begin
        while left:
            self._file.seek(place)
            block = self._file.read(min(left, BLOCK_BYTES))
            if not block:
                break
            left, place, crc = left - len(block), place + len(block), zlib.crc32(block, crc)
            yield block
        if left or crc != entry.crc:
            raise EvidenceError(f"{name}: its content has changed")

    def _read(self) -> list[Entry]:
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - _END.size))
        end = self._file.read(_END.size)
        if size > 1 << 32 or len(end) < _END.size or not end.startswith(b"PK\x05\x06"):
            raise self._foreign("its end is missing")
        *_, count, directory_bytes, directory_at, _ = _END.unpack(end)
        if directory_at + directory_bytes + _END.size != size or directory_bytes > count * (_CENTRAL.size + 200):
            raise self._foreign("its directory is not where its end says")
        self._file.seek(directory_at)
        entries = list(self._listed(self._file.read(directory_bytes), count))
        if _end_of(entries, directory_at) != self._tail(directory_at):
            raise self._foreign("its directory is not as edge writes it")
        self._check_headers(entries, directory_at)
        return entries

    def _listed(self, directory: bytes, count: int) -> Iterator[Entry]:
        place, seen = 0, set[str]()
        for _ in range(count):
            if place + _CENTRAL.size > len(directory):
                raise self._foreign("its directory is cut short")
            fields = _CENTRAL.unpack_from(directory, place)
            crc, size, name_bytes, offset = fields[7], fields[8], fields[10], fields[16]
            place += _CENTRAL.size + name_bytes
            raw = directory[place - name_bytes : place]
            name = raw.decode("ascii", errors="replace")
            if len(raw) > _NAME_BYTES_MAX or not _NAME.fullmatch(name) or name in seen:
                raise self._foreign(f"holds a file called {name!r}")
            seen.add(name)
            yield Entry(name, offset, size, crc)

    def _tail(self, directory_at: int) -> bytes:
        self._file.seek(directory_at)
        return self._file.read()

    def _check_headers(self, entries: list[Entry], directory_at: int) -> None:
        place = 0
        for entry in entries:
            self._file.seek(entry.offset)
            if entry.offset != place or self._file.read(len(entry.header)) != entry.header:
                raise self._foreign(f"the header of {entry.name} is not as edge writes it")
            place = entry.begin + entry.size
        if place != directory_at:
            raise self._foreign("holds something beside its files")

    def _foreign(self, why: str) -> EvidenceError:
        return EvidenceError(
            f"{self._path}: is cut short, was changed, or is no zip of `edge evidence export`: {why} "
            "(what another program packed: unpack it and verify the folder)"
        )


def _end_of(entries: list[Entry], directory_at: int) -> bytes:
    directory = b"".join(entry.directory for entry in entries)
    end = _END.pack(b"PK\x05\x06", 0, 0, len(entries), len(entries), len(directory), directory_at, 0)
    return directory + end
