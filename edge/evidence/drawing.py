"""Drawing on pictures: zones, boxes, dwell clocks, captions, the grid of `edge snapshot`, and privacy masks.

Pictures are (H, W, 3) uint8 BGR; every function returns a new one of the same size. Lines and letters grow with the
picture, so that 320x240 and 4K read alike. OpenCV's letters are ASCII: only ids and labels are written, never names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.polygons import to_pixels
from edge.core.types import NS_PER_S, OPENED, Case, Float32, Tracks, UInt8

Color = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # x1, y1, x2, y2 px

ZONE: Color = (255, 191, 0)
VIOLATION: Color = (48, 48, 230)
WAITING: Color = (0, 165, 255)
CLEAR: Color = (80, 175, 60)
TRACK: Color = (235, 235, 235)

_INK: Color = (20, 20, 20)
_PAPER: Color = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BLUR_STEP = 16  # grey levels that a masked block is rounded to
_RESTING_S = 1.0  # a track that has been still for less shows no clock


def load_letters() -> None:
    """OpenCV unpacks its fonts at the first letter, 9 MB of them. Done before a fork, once is enough."""
    cv2.putText(np.zeros((16, 16, 3), np.uint8), "0", (0, 15), _FONT, 0.5, _INK)


def clock(seconds: float) -> str:
    """`4:07`, or `1:02:09` from an hour on; whole seconds, rounded down."""
    whole = max(0, math.floor(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def draw_overview(
    bgr: UInt8,
    *,
    polygon: Float32 | None,
    box: Sequence[float],
    label: str,
    caption: Sequence[str] = (),
    color: Color = VIOLATION,
) -> UInt8:
    """One case: its zone (V, 2) in fractions, its box xyxy px with a label, and a caption in a free corner."""
    picture = bgr.copy()
    pen = _Pen.for_picture(picture)
    if polygon is not None and len(polygon):
        _zone(picture, polygon, pen)
    rectangle = _rectangle(box, picture)
    _box(picture, rectangle, color, pen)
    placed = [_tag(picture, label, beside=rectangle, color=color, pen=pen, avoid=[])] if label else []
    _caption(picture, caption, pen, avoid=[rectangle, *placed])
    return picture


def draw_after(bgr: UInt8, *, polygon: Float32 | None, box: Sequence[float], caption: Sequence[str] = ()) -> UInt8:
    """The place after clearance: the zone's outline, and only corners where the thing was, so that the ground shows."""
    picture = bgr.copy()
    pen = _Pen.for_picture(picture)
    if polygon is not None and len(polygon):
        _outline(picture, polygon, ZONE, pen.thin)
    rectangle = _rectangle(box, picture)
    _corners(picture, rectangle, CLEAR, pen)
    _caption(picture, caption, pen, avoid=[rectangle])
    return picture


def draw_scene(
    bgr: UInt8,
    *,
    zones: Mapping[str, Float32],
    tracks: Tracks,
    labels: Sequence[str],
    cases: Sequence[Case],
    now_ns: int,
    caption: Sequence[str] = (),
) -> UInt8:
    """What the worker knows in one frame: zones, tracks with the clock of their rest, cases with state and dwell."""
    picture = bgr.copy()
    pen = _Pen.for_picture(picture)
    for polygon in zones.values():
        _zone(picture, polygon, pen)
    placed: list[Rectangle] = []
    for row in range(len(tracks)):  # each row is drawn by its own calls
        rectangle = _rectangle(tracks.xyxy[row], picture)
        cv2.rectangle(picture, rectangle[:2], rectangle[2:], TRACK, pen.thin, cv2.LINE_AA)
        text = _track_text(tracks, row, labels, now_ns)
        placed.append(_tag(picture, text, beside=rectangle, color=TRACK, pen=pen.smaller(), avoid=placed))
    for case in cases:
        rectangle = _rectangle(case.footprint, picture)
        color = VIOLATION if case.state == OPENED else WAITING
        _box(picture, rectangle, color, pen)
        text = f"{case.scenario} {case.state} {clock((now_ns - case.started_ns) / NS_PER_S)}"
        placed.append(_tag(picture, text, beside=rectangle, color=color, pen=pen, avoid=placed))
    for name, polygon in zones.items():
        _zone_name(picture, name, polygon, pen)
    _caption(picture, caption, pen, avoid=placed)
    return picture


def draw_grid(bgr: UInt8) -> UInt8:
    """Lines at every tenth of width and height, numbered along all four edges: to read off a polygon's fractions."""
    lines = bgr.copy()
    height, width = lines.shape[:2]
    pen = _Pen.for_picture(lines)
    for tenth in range(1, 10):
        x, y = round(tenth * width / 10), round(tenth * height / 10)
        thickness = 2 * pen.thin if tenth == 5 else pen.thin
        for start, end in (((x, 0), (x, height - 1)), ((0, y), (width - 1, y))):
            shadow = (start[0] + thickness, start[1] + thickness), (end[0] + thickness, end[1] + thickness)
            cv2.line(lines, *shadow, _INK, pen.thin)
            cv2.line(lines, start, end, _PAPER, thickness)
    picture = np.asarray(cv2.addWeighted(lines, 0.5, bgr, 0.5, 0), np.uint8)
    for tenth in range(1, 10):
        text = f"0.{tenth}"
        text_width, text_height = pen.size(text)
        x, y = round(tenth * width / 10), round(tenth * height / 10)
        for left in (0, width - text_width):
            pen.write(picture, text, left, y - text_height // 2, ink=_PAPER, paper=_INK)
        for top in (0, height - text_height):
            pen.write(picture, text, x - text_width // 2, top, ink=_PAPER, paper=_INK)
    return picture


def blur(bgr: UInt8, polygons: Sequence[Float32]) -> UInt8:
    """Each polygon (V, 2) in fractions as blocks of one colour, too few and too coarse to be reversed.

    A block is a quarter of the polygon's short side and at least a thirtieth of the picture's, and its mean is rounded
    to 16 levels: what a face or a plate was made of is not in the bytes any more.
    """
    picture = bgr.copy()
    for polygon in polygons:
        points = _points(polygon, picture)
        left, top = points.min(axis=0)
        right, bottom = points.max(axis=0) + 1
        block = max(min(right - left, bottom - top) / 4, min(picture.shape[:2]) / 30)
        part = picture[top:bottom, left:right]
        mask = np.zeros(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [points - (left, top)], 255)
        part[mask > 0] = _blocks(part, block)[mask > 0]
    return picture


def _blocks(part: UInt8, block_px: float) -> UInt8:
    height, width = part.shape[:2]
    columns, rows = max(1, math.floor(width / block_px)), max(1, math.floor(height / block_px))
    means = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    coarse = means // _BLUR_STEP * _BLUR_STEP + _BLUR_STEP // 2
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Line widths and letters for one size of picture."""

    thin: int  # px
    line: int  # px
    scale: float  # of OpenCV's letters, 22 px high at 1.0
    stroke: int  # px

    @classmethod
    def for_picture(cls, picture: UInt8) -> _Pen:
        short = min(picture.shape[:2])
        scale = max(0.36, short / 1150)
        return cls(
            thin=max(1, round(short / 700)),
            line=max(1, round(short / 300)),
            scale=scale,
            stroke=max(1, round(scale * 1.5)),
        )

    def smaller(self) -> _Pen:
        scale = max(0.33, self.scale * 0.8)
        return _Pen(thin=self.thin, line=self.line, scale=scale, stroke=max(1, round(scale * 1.5)))

    @property
    def margin(self) -> int:
        return max(2, round(self.scale * 6))

    def size(self, text: str) -> tuple[int, int]:
        """(width, height) px of a line of text with its paper."""
        (width, height), baseline = cv2.getTextSize(text, _FONT, self.scale, self.stroke)
        return width + 2 * self.margin, height + baseline + self.margin

    def write(self, picture: UInt8, text: str, x: int, y: int, *, ink: Color, paper: Color | None) -> None:
        """A line of text whose paper has its top left corner at x, y."""
        width, height = self.size(text)
        if paper is not None:
            cv2.rectangle(picture, (x, y), (x + width - 1, y + height - 1), paper, cv2.FILLED)
        (_, letters), _ = cv2.getTextSize(text, _FONT, self.scale, self.stroke)
        at = (x + self.margin, y + self.margin // 2 + letters + 1)
        cv2.putText(picture, text, at, _FONT, self.scale, ink, self.stroke, cv2.LINE_AA)


def _points(polygon: Float32, picture: UInt8) -> npt.NDArray[np.int32]:
    """(V, 2) fractions -> (V, 2) pixels inside the picture."""
    height, width = picture.shape[:2]
    pixels = np.rint(to_pixels(polygon, width=width, height=height))
    return np.clip(pixels, 0, [width - 1, height - 1]).astype(np.int32)


def _rectangle(box: Sequence[float] | Float32, picture: UInt8) -> Rectangle:
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(float(edge)) for edge in box)
    return (
        min(max(x1, 0), width - 1),
        min(max(y1, 0), height - 1),
        min(max(x2, 0), width - 1),
        min(max(y2, 0), height - 1),
    )


def _outline(picture: UInt8, polygon: Float32, color: Color, thickness: int) -> None:
    cv2.polylines(picture, [_points(polygon, picture)], True, color, thickness, cv2.LINE_AA)


def _zone(picture: UInt8, polygon: Float32, pen: _Pen) -> None:
    """A fill that lets the ground through, and a clear outline."""
    points = _points(polygon, picture)
    left, top = points.min(axis=0)
    right, bottom = points.max(axis=0) + 1
    part = picture[top:bottom, left:right]
    filled = part.copy()
    cv2.fillPoly(filled, [points - (left, top)], ZONE)
    part[:] = cv2.addWeighted(filled, 0.18, part, 0.82, 0)
    _outline(picture, polygon, ZONE, pen.line)


def _zone_name(picture: UInt8, name: str, polygon: Float32, pen: _Pen) -> None:
    points = _points(polygon, picture)
    x, y = points[points[:, 1].argmax()]
    small = pen.smaller()
    width, height = small.size(_ascii(name))
    x, y = _inside(picture, int(x) - width // 2, int(y) - height, width, height)
    small.write(picture, _ascii(name), x, y, ink=_INK, paper=ZONE)


def _box(picture: UInt8, rectangle: Rectangle, color: Color, pen: _Pen) -> None:
    cv2.rectangle(picture, rectangle[:2], rectangle[2:], _INK, pen.line + 2 * pen.thin, cv2.LINE_AA)
    cv2.rectangle(picture, rectangle[:2], rectangle[2:], color, pen.line, cv2.LINE_AA)


def _corners(picture: UInt8, rectangle: Rectangle, color: Color, pen: _Pen) -> None:
    x1, y1, x2, y2 = rectangle
    arm = max(3, min(x2 - x1, y2 - y1) // 4)
    for x, y, right, down in ((x1, y1, 1, 1), (x2, y1, -1, 1), (x1, y2, 1, -1), (x2, y2, -1, -1)):
        for end in ((x + right * arm, y), (x, y + down * arm)):
            cv2.line(picture, (x, y), end, color, pen.line, cv2.LINE_AA)


def _tag(
    picture: UInt8, text: str, *, beside: Rectangle, color: Color, pen: _Pen, avoid: Sequence[Rectangle]
) -> Rectangle:
    """Text on coloured paper at the box: above, below or inside, where other tags leave room. Returns its place."""
    text = _ascii(text)
    width, height = pen.size(text)
    x1, y1, x2, y2 = beside
    places = [
        (x1, y1 - height),
        (x1, y2 + 1),
        (x2 - width, y1 - height),
        (x2 - width, y2 + 1),
        (x1, y1),
        (x1, y2 - height),
    ]
    candidates = [_placed(picture, x, y, width, height) for x, y in places if 0 <= y <= picture.shape[0] - height]
    # In a crowd no place is free: then the one that hides least.
    place = min(
        candidates or [_placed(picture, x1, y1, width, height)],
        key=lambda candidate: sum(_overlap(candidate, other) for other in avoid),
    )
    ink = _INK if sum(color) > 380 else _PAPER
    pen.write(picture, text, place[0], place[1], ink=ink, paper=color)
    return place


def _caption(picture: UInt8, lines: Sequence[str], pen: _Pen, *, avoid: Sequence[Rectangle]) -> None:
    """Dark half-transparent bar in the corner that covers least of what matters; too long lines get smaller letters."""
    texts = [_ascii(line) for line in lines if line]
    if not texts:
        return
    height, width = picture.shape[:2]
    widest = max(pen.size(text)[0] for text in texts)
    if widest > width:
        pen = _Pen(thin=pen.thin, line=pen.line, scale=pen.scale * width / widest * 0.98, stroke=1)
    sizes = [pen.size(text) for text in texts]
    bar_width, bar_height = min(width, max(size[0] for size in sizes)), min(height, sum(size[1] for size in sizes))
    corners = [(0, height - bar_height), (0, 0), (width - bar_width, height - bar_height), (width - bar_width, 0)]
    bars = [(x, y, x + bar_width, y + bar_height) for x, y in corners]
    x, y, right, bottom = min(bars, key=lambda bar: sum(_overlap(bar, other) for other in avoid))
    part = picture[y:bottom, x:right]
    part[:] = (part * 0.3).astype(np.uint8)
    for text, (_, line_height) in zip(texts, sizes, strict=True):
        pen.write(picture, text, x, y, ink=_PAPER, paper=None)
        y += line_height


def _track_text(tracks: Tracks, row: int, labels: Sequence[str], now_ns: int) -> str:
    label = int(tracks.label[row])
    name = labels[label] if 0 <= label < len(labels) else "?"
    rest_s = (now_ns - int(tracks.rest_since_ns[row])) / NS_PER_S
    rest = f" {clock(rest_s)}" if rest_s >= _RESTING_S else ""
    unseen = "" if tracks.detection[row] >= 0 else " ~"
    return f"{name} {tracks.track_id[row]}{rest}{unseen}"


def _placed(picture: UInt8, x: int, y: int, width: int, height: int) -> Rectangle:
    left, top = _inside(picture, x, y, width, height)
    return left, top, left + width, top + height


def _inside(picture: UInt8, x: int, y: int, width: int, height: int) -> tuple[int, int]:
    """The nearest place where the whole rectangle is in the picture; its top left corner, where it is too big."""
    return max(0, min(x, picture.shape[1] - width)), max(0, min(y, picture.shape[0] - height))


def _overlap(first: Rectangle, second: Rectangle) -> int:
    """px² that both cover."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, width) * max(0, height)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
