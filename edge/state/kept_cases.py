"""Kept cases on the disk: `kept/<camera>/<case_id>.npz`, whole or not at all, and never more than a camera may have.

No pickles: arrays and one JSON text. A file that cannot be read is passed over and counted, never an error: it is only
one case less to learn from.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.ground import Ground, Scale
from edge.core.kept import KeptCase, Look, Window
from edge.core.scenarios import Rule, rule_class
from edge.core.types import StaticRegions, Tracks, UInt8
from edge.errors import StateError

FOLDER = "kept"
VERSION = 1
_JPEG_QUALITY = 85
_TRACKS = tuple(field.name for field in fields(Tracks))
_REGIONS = tuple(field.name for field in fields(StaticRegions))

Arrays = Mapping[str, npt.NDArray[Any]]


class KeptCases:
    """Those of one gateway, below its state folder."""

    def __init__(self, folder: Path) -> None:
        self._root = folder / FOLDER
        self.unreadable = 0

    def save(self, case: KeptCase, *, bytes_max: int, judged: Collection[str] = ()) -> None:
        """Keep a case, and give up older ones of its camera for it: first those that nobody has judged.

        Raises StateError, and for a case that is larger than all the room before any other is given up for it.
        """
        content = encoded(case)
        folder = self._root / case.camera
        path = folder / f"{case.case_id}.npz"
        if len(content) > bytes_max:
            raise StateError(f"{path}: a case of {len(content) / 1e6:.2f} MB is not kept; raise `review.kept_mb`")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._make_room(folder, bytes_max - len(content), judged)
            part = path.with_suffix(".part")
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            raise StateError(f"{path}: a case is not kept: {error.strerror or error}; check the disk") from error

    def read(self, camera: str, case_ids: Iterable[str] | None = None) -> Iterator[KeptCase]:
        """Those of a camera that are kept, in the order of `case_ids`, one at a time: each takes some MB."""
        folder = self._root / camera
        names = sorted(path.stem for path in folder.glob("*.npz")) if case_ids is None else case_ids
        for name in names:
            case = self._read(folder / f"{name}.npz")
            if case is not None:
                yield case

    def forget_cameras(self, configured: Collection[str], *, before_wall_ns: int) -> int:
        """Delete what is kept of cameras that are not configured any more and was last written before that.

        Returns how many cases.
        """
        gone = 0
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            if folder.name in configured or not folder.is_dir():
                continue
            paths = list(folder.iterdir())
            if max((path.stat().st_mtime_ns for path in paths), default=0) < before_wall_ns:
                for path in paths:
                    path.unlink(missing_ok=True)
                    gone += path.suffix == ".npz"
                folder.rmdir()
        return gone

    def _read(self, path: Path) -> KeptCase | None:
        try:
            return decoded(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
            self.unreadable += 1
            return None

    @staticmethod
    def _make_room(folder: Path, room: int, judged: Collection[str]) -> None:
        files = []
        for path in folder.iterdir():
            with suppress(FileNotFoundError):  # another process has given it up
                files.append((path.stem in judged, path.stat().st_mtime_ns, path, path.stat().st_size))
        used = sum(size for *_, size in files)
        for _, _, path, size in sorted(files):
            if used <= room:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            used -= size


def encoded(case: KeptCase) -> bytes:
    """The same case is the same bytes."""
    told = {
        "version": VERSION,
        "case_id": case.case_id,
        "camera": case.camera,
        "scenario": case.scenario,
        "zone": case.zone,
        "started_ns": case.started_ns,
        "found_ns": case.found_ns,
        "opened_ns": case.opened_ns,
        "opened_wall_ns": case.opened_wall_ns,
        "footprint": list(case.footprint),
        "over": case.over,
        "rule": _written(case.rule),
        "own_labels": None if case.own_labels is None else case.own_labels.tolist(),
        "zones": {name: np.asarray(polygon, np.float64).tolist() for name, polygon in case.zones.items()},
        "window": [*case.window.corner, *case.window.size, case.window.scale],
    }
    looks = case.looks
    pictures = [_jpeg(cut) for _, cut in case.cuts]
    arrays = {
        "told": np.frombuffer(json.dumps(told, ensure_ascii=False, sort_keys=True).encode(), np.uint8),
        "look_ns": np.array([(look.mono_ns, look.wall_ns) for look in looks], np.int64).reshape(-1, 2),
        "look_px": np.array([look.frame_px for look in looks], np.int32).reshape(-1, 2),
        "look_flags": np.array([(look.blind, look.resumed) for look in looks], np.bool_).reshape(-1, 2),
        **_joined("tracks", _TRACKS, [look.tracks for look in looks], Tracks.empty()),
        **_joined("regions", _REGIONS, [look.regions for look in looks], StaticRegions.empty()),
        "cut_ns": np.array([mono_ns for mono_ns, _ in case.cuts], np.int64),
        "cut_bytes": np.array([len(picture) for picture in pictures], np.int64),
        "cuts": np.frombuffer(b"".join(pictures), np.uint8),
        "earlier": np.frombuffer(b"" if case.earlier is None else _jpeg(case.earlier), np.uint8),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def decoded(content: bytes) -> KeptCase:
    """Raises ValueError, KeyError or BadZipFile for what is no kept case of this version."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        told = json.loads(arrays["told"].tobytes())
        if told.pop("version") != VERSION:
            raise ValueError("a kept case of another version")
        tracks = [Tracks(**rows) for rows in _parted("tracks", _TRACKS, arrays)]
        regions = [StaticRegions(**rows) for rows in _parted("regions", _REGIONS, arrays)]
        looks = [
            Look(int(ns[0]), int(ns[1]), (int(px[0]), int(px[1])), seen, found, bool(flags[0]), bool(flags[1]))
            for ns, px, flags, seen, found in zip(
                arrays["look_ns"], arrays["look_px"], arrays["look_flags"], tracks, regions, strict=True
            )
        ]
        ends = np.cumsum(arrays["cut_bytes"])
        pictures = np.split(arrays["cuts"], ends[:-1]) if len(ends) else []
        cuts = [(int(ns), _picture(jpeg)) for ns, jpeg in zip(arrays["cut_ns"], pictures, strict=True)]
        earlier = _picture(arrays["earlier"]) if len(arrays["earlier"]) else None
    left, top, width, height, scale = told.pop("window")
    zones = {name: np.array(polygon, np.float32) for name, polygon in told.pop("zones").items()}
    x1, y1, x2, y2 = told.pop("footprint")
    own_labels = told.pop("own_labels")
    return KeptCase(
        **told | {"rule": _rule(told["rule"])},
        own_labels=None if own_labels is None else np.array(own_labels, np.bool_),
        footprint=(x1, y1, x2, y2),
        zones=zones,
        looks=looks,
        window=Window((left, top), (width, height), scale),
        cuts=cuts,
        earlier=earlier,
    )


def _written(rule: Rule) -> dict[str, object]:
    named = {field.name: getattr(rule, field.name) for field in fields(rule)}
    rows = {name: {"rows": value.tolist()} for name, value in named.items() if isinstance(value, np.ndarray)}
    grounds = [
        {"scale": None if ground.scale is None else astuple(ground.scale), "front": ground.front}
        for ground in rule.grounds
    ]
    return {"kind": rule.kind, **named, **rows, "grounds": grounds}


def _rule(told: dict[str, Any]) -> Rule:
    """Raises KeyError or TypeError for a rule of another version of the program."""
    kind = rule_class(told.pop("kind"))
    return kind(**{name: _of_rule(value) for name, value in told.items()})


def _of_rule(value: Any) -> Any:
    """What a rule holds: rows of labels, what is known of a zone's ground, numbers, words, and tuples of such."""
    if isinstance(value, dict) and "rows" in value:
        return np.array(value["rows"], np.int16)
    if isinstance(value, dict):
        scale = None if value["scale"] is None else Scale(*value["scale"])
        return Ground(scale, _of_rule(value["front"]))
    return tuple(_of_rule(member) for member in value) if isinstance(value, list) else value


def _joined(name: str, columns: Collection[str], parts: list[Any], empty: Any) -> dict[str, npt.NDArray[Any]]:
    """Tables of all looks one under the other, each column by itself, and how many rows each look has."""
    joined: dict[str, npt.NDArray[Any]] = {f"{name}_count": np.array([len(part) for part in parts], np.int64)}
    for column in columns:
        joined[f"{name}_{column}"] = np.concatenate(
            [getattr(empty, column), *(getattr(part, column) for part in parts)]
        )
    return joined


def _parted(name: str, columns: Collection[str], arrays: Arrays) -> Iterator[dict[str, npt.NDArray[Any]]]:
    whole = {column: arrays[f"{name}_{column}"] for column in columns}
    end = 0
    for count in arrays[f"{name}_count"].tolist():
        begin, end = end, end + count
        yield {column: rows[begin:end] for column, rows in whole.items()}


def _jpeg(cut: UInt8) -> bytes:
    done, jpeg = cv2.imencode(".jpg", cut, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise StateError(f"a cut of {cut.shape[1]}x{cut.shape[0]} px cannot be kept as JPEG")
    return jpeg.tobytes()


def _picture(jpeg: UInt8) -> UInt8:
    picture = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise ValueError("a cut is no picture")
    return np.asarray(picture, np.uint8)
