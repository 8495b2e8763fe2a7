"""The readable sheet of an exported case: one HTML page a case, in Chinese and English, to look at or to print.

    manifests, pictures, chain.json, keys (all of the export itself) -> sheet.html.j2 -> case-<case_id>.html

Nothing stands on it that is not in the export, and the same export gives the same bytes, so that a sheet that somebody
changed is found. It embeds the pictures as they are, makes none, and carries out nothing: no script, no link outside.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from edge.errors import EvidenceError
from edge.evidence.chain import NOTE_BYTES_MAX, Head, parse_note
from edge.evidence.keys import KEYS, parse_public_key, unsealed
from edge.evidence.manifest import MANIFEST_BYTES_MAX, Manifest, manifest_number, read_manifest
from edge.evidence.pruning import PRUNED, RECORD_BYTES_MAX, Removal, parse_record
from edge.evidence.reading import EvidenceReader, found_key_files, read_whole
from edge.evidence.report import CHINESE
from edge.evidence.store import CHAIN, EVIDENCE

PICTURES_MAX = 16
PICTURE_BYTES_MAX = 4 << 20
STILL_APART_S = 10.0  # GA/T 832-2014
CLOCK_OFF_S = 1.0
WIDTH_MIN_PX, HEIGHT_MIN_PX = 1280, 720
_WHOLE = ("overview", "original", "still", "after")  # roles that show the whole frame
_TEMPLATE = Path(__file__).with_name("sheet.html.j2")


@dataclass(frozen=True, slots=True)
class SheetFile:
    role: str
    name: str
    link: str  # "" where the file was removed
    sha256: str
    size: str
    taken_at: str
    masked: bool
    private: bool
    removed: Removal | None
    picture: bytes = b""  # that is shown
    size_px: tuple[int, int] = (0, 0)  # width and height, of a picture that is shown

    @property
    def data_uri(self) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(self.picture).decode()}"


@dataclass(frozen=True, slots=True)
class SheetAlert:
    """One manifest: what was told of the case then."""

    number: int
    kind: str
    reason: str
    taken_at: str
    position: int
    sha256: str
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Point:
    """What GA/T 832-2014 asks of pictures of a static violation, and what is so here."""

    english: str
    chinese: str
    value: str
    holds: bool | None  # None: not known


def sheet_name(case_id: str) -> str:
    return f"case-{case_id}.html"


def case_of_sheet(name: str) -> str:
    """The case that a sheet is of, "" for any other file."""
    return name[len("case-") : -len(".html")] if name.startswith("case-") and name.endswith(".html") else ""


@cache
def sheet_form() -> str:
    """Which program made a sheet: only the same one can make it again, byte for byte."""
    digest = hashlib.sha256()
    for path in (_TEMPLATE, Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def stated_form(sheet: bytes) -> str:
    """What a sheet says made it, "" where it says nothing."""
    before, found, after = sheet.partition(b'<meta name="edge-sheet" content="')
    return after.partition(b'"')[0].decode("ascii", errors="replace") if found and b"<body" not in before else ""


def make_sheet(reader: EvidenceReader, case_id: str) -> bytes:
    """The page of one case of an export, or of a folder that is to become one. Raises EvidenceError."""
    manifests = list(_manifests(reader, case_id))
    if not manifests:
        raise EvidenceError(f"{EVIDENCE}/{case_id}: has no manifest")
    files = _files(reader, case_id, manifests)
    newest = manifests[-1].document
    page = (
        _environment()
        .get_template(_TEMPLATE.name)
        .render(
            form=sheet_form(),
            case_id=case_id,
            newest=newest,
            place=_mapping(newest.get("place")),
            category=_mapping(newest.get("category")),
            label=str(_mapping(newest.get("object")).get("label", "")),
            box_px=_whole_numbers(newest, "box_px"),
            frame_px=_whole_numbers(newest, "frame_px"),
            model=_mapping(newest.get("model")),
            zone=_mapping(newest.get("zone")),
            alerts=[_alert(manifest) for manifest in manifests],
            files=files,
            pictures=[file for file in files if file.picture],
            points=_points(manifests, [file.size_px for file in files if file.picture and file.role in _WHOLE]),
            key_ids=sorted({manifest.key_id for manifest in manifests if manifest.key_id}),
            key_files=_key_files(reader),
            signed=sum(bool(manifest.key_id) for manifest in manifests),
            head=_head(reader),
        )
    )
    return page.encode()


def _manifests(reader: EvidenceReader, case_id: str) -> list[Manifest]:
    folder = f"{EVIDENCE}/{case_id}"
    found = []
    for number, name in sorted((manifest_number(name), name) for name in reader.names(folder)):
        if number:
            content = read_whole(reader, f"{folder}/{name}", bytes_max=MANIFEST_BYTES_MAX)
            manifest = read_manifest(case_id, number, content)
            if manifest is None:
                raise EvidenceError(f"{folder}/{name}: not a manifest in canonical JSON")
            found.append(manifest)
    return found


def _files(reader: EvidenceReader, case_id: str, manifests: Sequence[Manifest]) -> list[SheetFile]:
    folder = f"{EVIDENCE}/{case_id}"
    there, removed = set(reader.names(folder)), dict[str, Removal]()
    if PRUNED in there:
        document = unsealed(read_whole(reader, f"{folder}/{PRUNED}", bytes_max=RECORD_BYTES_MAX))
        removed = parse_record(document or {}, case_id)
    files: list[SheetFile] = []
    embedded = 0
    for entry in (entry for manifest in manifests for entry in manifest.entries):
        name = str(entry.get("path", "")).rpartition("/")[2]
        picture = b""
        if name in there and embedded < PICTURES_MAX and entry.get("media_type") == "image/jpeg":
            picture = _picture(reader, f"{folder}/{name}")
            embedded += bool(picture)
        files.append(
            SheetFile(
                role=str(entry.get("role", "")),
                name=name,
                link=quote(f"{folder}/{name}") if name in there else "",
                sha256=str(entry.get("sha256", "")),
                size=f"{size:,}" if isinstance(size := entry.get("bytes"), int) else "?",
                taken_at=_moment(entry.get("taken_at")),
                masked=entry.get("masked") is True,
                private=entry.get("private") is True,
                removed=removed.get(name),
                picture=picture,
                size_px=_jpeg_px(picture),
            )
        )
    return files


def _picture(reader: EvidenceReader, path: str) -> bytes:
    try:
        return read_whole(reader, path, bytes_max=PICTURE_BYTES_MAX)
    except EvidenceError:  # too large to show; verification tells of a damaged one
        return b""


def _jpeg_px(content: bytes) -> tuple[int, int]:
    """Width and height by a JPEG's frame header; zeros where there is none."""
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # tables and extensions, no frame
            height, width = (int.from_bytes(content[at + row : at + row + 2]) for row in (5, 7))
            return width, height
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return 0, 0


def _alert(manifest: Manifest) -> SheetAlert:
    told = _mapping(manifest.document.get("alert"))
    return SheetAlert(
        number=manifest.number,
        kind=str(told.get("kind", "")),
        reason=str(told.get("reason", "")),
        taken_at=_moment(manifest.taken_at),
        position=manifest.position,
        sha256=manifest.sha256,
        is_signed=bool(manifest.key_id),
    )


def _points(manifests: Sequence[Manifest], sizes_px: Sequence[tuple[int, int]]) -> list[Point]:
    offsets = [manifest.document.get("clock_offset_s") for manifest in manifests]
    known = [float(offset) for offset in offsets if isinstance(offset, int | float)]
    worst = max(known, key=abs, default=None)
    stills = _times(manifests, ("still",))
    whole = _times(manifests, _WHOLE)
    gaps = [later - earlier for earlier, later in pairwise(stills)]
    width, height = min(sizes_px, default=(0, 0))
    originals = sum(entry.get("role") == "original" for manifest in manifests for entry in manifest.entries)
    return [
        Point(
            f"clock off by at most {CLOCK_OFF_S} s",
            f"时钟误差不大于 {CLOCK_OFF_S} 秒",
            "not recorded 未记录" if worst is None else f"{worst:+.3f} s",
            None if worst is None else abs(worst) <= CLOCK_OFF_S,
        ),
        Point(
            "at least 2 pictures of the whole scene at different times",
            "不同时刻的全景图片不少于 2 幅",
            str(len(set(whole))),
            len(set(whole)) >= 2,
        ),
        Point(
            f"stills at least {STILL_APART_S:.0f} s apart",
            f"留证图片间隔不小于 {STILL_APART_S:.0f} 秒",
            f"{len(stills)} stills, {min(gaps):.1f} s apart or more" if gaps else f"{len(stills)} stills",
            min(gaps) >= STILL_APART_S - 0.001 if gaps else None,
        ),
        Point(
            f"pictures of at least {WIDTH_MIN_PX} x {HEIGHT_MIN_PX} px",
            f"图片不小于 {WIDTH_MIN_PX} x {HEIGHT_MIN_PX} 像素",
            f"{width} x {height} px" if width else "no picture 无图片",
            width >= WIDTH_MIN_PX and height >= HEIGHT_MIN_PX if width else None,
        ),
        Point("an original beside the annotated copy", "附未经标注的原图", str(originals), originals > 0),
    ]


def _times(manifests: Sequence[Manifest], roles: Sequence[str]) -> list[float]:
    """Seconds, ascending; a time that cannot be read is left out."""
    entries = (entry for manifest in manifests for entry in manifest.entries if entry.get("role") in roles)
    moments = (_parsed(entry.get("taken_at")) for entry in entries)
    return sorted(moment.timestamp() for moment in moments if moment is not None)


def _parsed(stated: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(stated))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _moment(stated: object) -> str:
    moment = _parsed(stated)
    if moment is None:
        return str(stated or "")
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} {moment:%z}"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole_numbers(document: Mapping[str, Any], name: str) -> list[int]:
    """Of the object; none where it says something else."""
    stated = _mapping(document.get("object")).get(name)
    return stated if isinstance(stated, list) and all(isinstance(number, int) for number in stated) else []


def _key_files(reader: EvidenceReader) -> list[tuple[str, str]]:
    """Path and id of the public keys that travel with it."""
    parsed = ((found.path, parse_public_key(found.content)) for found in found_key_files(reader))
    return [(f"{KEYS}/{name}", key.key_id) for name, key in parsed if key is not None]


def _head(reader: EvidenceReader) -> Head:
    if CHAIN not in reader.names(""):
        return Head()
    document = unsealed(read_whole(reader, CHAIN, bytes_max=NOTE_BYTES_MAX))
    note = parse_note(document) if document is not None else None
    return note.head if note is not None else Head()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"zh": lambda word: CHINESE.get(str(word), ""), "moment": _moment}
    return environment
