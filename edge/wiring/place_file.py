"""The picture of a camera's empty place, and what stood there, kept over restarts: a thing that was put down while the
gateway was off has appeared, and one that stood already keeps its time.

A file holds one line that says what it is, the hash of the rest, and the layers in a byte a number, compressed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.background import BackgroundModel
from edge.core.place.layers import Place
from edge.core.types import Float32, UInt8
from edge.wiring.kept_file import SAVE_NS, KeptFile

log = logging.getLogger(__name__)

KIND, ENDING = "place", ".place"
BYTES_MAX = 8 << 20
_FORMAT = "city-eye place 1"
_HEADER_BYTES_MAX = 1000
_CELLS_MAX = 1 << 20
# Least and step of what one byte holds; a difference counts from 0.1 on.
_LUMA, _CHROMA, _NOISE = (2.7, 0.0115), (-1.6, 0.0125), (0.0, 0.002)
_CELL_BYTES = 9 + 2 + 8  # three pictures of three channels, known and has_thing, since


class PlaceFile:
    """`place/<camera>-<fingerprint>.place` in the state folder."""

    def __init__(self, folder: Path, camera: CameraConfig, background: BackgroundModel, *, clock: SystemClock) -> None:
        """Goes on with what an earlier process has kept."""
        self._background = background
        self._camera = camera.id
        self._clock = clock
        self._told_unfit = background.unfit
        self._saved_ns = clock.mono_ns()
        self._file = KeptFile(folder, kind=KIND, ending=ENDING, camera=camera, bytes_max=BYTES_MAX)
        place = self._file.load(unpacked)
        self._has_file = place is not None
        if place is not None:
            now_ns = clock.mono_ns()
            since_ns = place.thing_since_ns - (clock.wall_ns() - now_ns)
            background.restore(replace(place, thing_since_ns=np.minimum(since_ns, now_ns)))

    def save(self, now: bool) -> None:
        """When five minutes have passed, for the first time as soon as there is something to keep, or `now`."""
        self._tell_unfit()
        mono_ns = self._clock.mono_ns()
        if self._has_file and not now and mono_ns - self._saved_ns < SAVE_NS:
            return
        place = self._background.place()
        if place is not None:
            self._saved_ns = mono_ns
            self._has_file = True
            since_ns = place.thing_since_ns + (self._clock.wall_ns() - mono_ns)
            self._file.write(packed(replace(place, thing_since_ns=np.where(place.has_thing, since_ns, 0))))

    def forget(self) -> None:
        """What is kept is not the place any more; the next one is kept as soon as it is learned."""
        self._file.delete()
        self._has_file = False

    def _tell_unfit(self) -> None:
        if self._background.unfit == self._told_unfit:
            return
        self._told_unfit = self._background.unfit
        log.warning(
            "%s: its kept place was seen in pictures of another size or in other cells, as an earlier version made "
            "them, and is not used: what stands there now is taken for the empty place; if a thing stands there, take "
            "it away and run `edge place reset %s`, or give a picture without it with `edge place set`",
            *(self._camera, self._camera),
        )


def packed(place: Place) -> bytes:
    """`thing_since_ns` by the wall clock."""
    rows, columns = place.known.shape
    thing = np.where(place.has_thing, place.thing, 0)
    layers = [
        *(_as_bytes(plane, scale) for plane, scale in zip(place.empty, (_LUMA, _CHROMA, _CHROMA), strict=True)),
        *(_as_bytes(plane, _NOISE) for plane in place.noise),
        *(_as_bytes(plane, scale) for plane, scale in zip(thing, (_LUMA, _CHROMA, _CHROMA), strict=True)),
        place.known.astype(np.uint8),
        place.has_thing.astype(np.uint8),
    ]
    content = np.stack(layers).tobytes() + place.thing_since_ns.astype("<i8").tobytes()
    body = zlib.compress(content, 1)
    header = {
        "format": _FORMAT,
        "frame_hw": place.frame_hw,
        "window_px": place.window_px,
        "shape": [rows, columns],
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(header).encode() + b"\n" + body


def unpacked(content: bytes) -> Place:
    """Raises ValueError where it is no place, or a damaged one; asks for no more memory than its cells need."""
    line, _, body = content.partition(b"\n")
    header = _header(line)
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise ValueError("damaged: its hash is another one")
    rows, columns = header["shape"]
    expander = zlib.decompressobj()
    try:
        raw = expander.decompress(body, rows * columns * _CELL_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from error
    if len(raw) != rows * columns * _CELL_BYTES:
        raise ValueError("damaged: of another length than its cells need")
    planes = np.frombuffer(raw, np.uint8, count=11 * rows * columns).reshape(11, rows, columns)
    colours = (_LUMA, _CHROMA, _CHROMA)
    return Place(
        frame_hw=tuple(header["frame_hw"]),
        window_px=tuple(header["window_px"]),
        empty=_as_numbers(planes[:3], colours),
        noise=_as_numbers(planes[3:6], (_NOISE,) * 3),
        thing=_as_numbers(planes[6:9], colours),
        known=planes[9] != 0,
        has_thing=planes[10] != 0,
        thing_since_ns=np.frombuffer(raw, "<i8", offset=11 * rows * columns).reshape(rows, columns).astype(np.int64),
    )


def _header(line: bytes) -> dict[str, Any]:
    if len(line) > _HEADER_BYTES_MAX:
        raise ValueError("not a place")
    header = json.loads(line)
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("not a place, or one of another version")
    lengths = {"frame_hw": 2, "window_px": 3, "shape": 2}
    for name, length in lengths.items():
        numbers = header.get(name)
        if not isinstance(numbers, list) or len(numbers) != length or not all(type(n) is int for n in numbers):
            raise ValueError(f"damaged: {name}")
    if not 0 < math.prod(header["shape"]) <= _CELLS_MAX or min(header["shape"]) <= 0:
        raise ValueError("damaged: shape")
    return header


def _as_bytes(plane: Float32, scale: tuple[float, float]) -> UInt8:
    least, step = scale
    return np.asarray(np.clip(np.round((plane - least) / step), 0, 255), np.uint8)


def _as_numbers(planes: UInt8, scales: tuple[tuple[float, float], ...]) -> Float32:
    pairs = zip(planes, scales, strict=True)
    return np.stack([(least + step * plane).astype(np.float32) for plane, (least, step) in pairs])
