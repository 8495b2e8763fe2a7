"""What a camera's worker does when the street brain wants to look: is the thing of a case still there, and a picture of
now. Both leave a file behind: the one evidence of the case, sealed like all of it, the other a snapshot, no evidence.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import numpy as np

from edge.clock import iso
from edge.core.cases import IS_EMPTY, IS_HIDDEN, IS_SEEN, IS_UNKNOWN
from edge.core.scene import Scene
from edge.core.types import OPENED, Frame, UInt8
from edge.evidence.hiding import Hiding
from edge.evidence.store import write_atomically
from edge.runtime.requests import Take
from edge.runtime.telling import Telling
from edge.runtime.worker import Worker
from edge.state.database import Answer
from edge.wiring.request_kinds import LOOK, TAKE_SNAPSHOT

SNAPSHOTS = "snapshots"
SNAPSHOTS_MAX = 32  # of each camera; the oldest go
OVER = "over"  # the place of a case that has ended
_INLINE_SIDES_PX = (1280, 960, 640, 480, 320)
_INLINE_QUALITY = 75
_QUALITY = 92

_WORDS = {
    IS_SEEN: "the thing is there",
    IS_HIDDEN: "something stands before the place: the thing can neither be seen nor be missed",
    IS_EMPTY: "the place is visible, and the thing is not there",
    IS_UNKNOWN: "the camera cannot tell now",
}


def looking_takes(
    camera: str,
    worker: Worker,
    telling: Telling,
    *,
    scene: Callable[[], Scene | None],
    hiding: Hiding,
    folder: Path,
    timezone: ZoneInfo,
) -> dict[str, Take]:
    """`scene`: what was seen last; `hiding`: what no picture shows; `folder`: of the gateway's state."""

    def look(body: Mapping[str, Any], frame: Frame) -> Answer:
        return _looked(worker, telling, scene(), str(body["case_id"]))

    def snapshot(body: Mapping[str, Any], frame: Frame) -> Answer:
        taken_at = iso(frame.wall_ns, timezone)
        seen = scene()
        picture = hiding.published(frame.bgr, seen.things if seen is not None and seen.frame is frame else None)
        try:
            kept = _Snapshots(folder, camera).keep(picture, str(body["name"]))
        except OSError as error:
            return Answer(done=False, words=f"the picture is not stored: {error.strerror or error}")
        inline = _inline(picture, int(body["inline_max_bytes"]))
        result = {
            "camera": camera,
            "taken_at": taken_at,
            "blind": worker.blind,
            "frame_px": list(frame.size_px),
            "file": kept,
            **({"inline": inline} if inline else {}),
        }
        return Answer(done=True, words=f"the picture of {taken_at}", result=result)

    return {LOOK: look, TAKE_SNAPSHOT: snapshot}


def _looked(worker: Worker, telling: Telling, scene: Scene | None, case_id: str) -> Answer:
    """The look goes out as an update of the case, too: that is how its evidence is sealed and sent."""
    blind = worker.blind
    known = [(watch, case) for watch in worker.watches for case in watch.cases.live]
    watch = next((watch for watch, case in known if case.case_id == case_id and case.state == OPENED), None)
    if watch is None:
        return Answer(done=True, words="the case is over", result={"case_id": case_id, "place": OVER})
    if scene is None or blind:
        words = f"the camera is blind ({blind or 'no picture yet'}): nobody can tell"
        return Answer(done=True, words=words, result={"case_id": case_id, "place": IS_UNKNOWN, "blind": blind})
    place = watch.cases.place_of(case_id, scene)
    change = watch.cases.tell_again(case_id, reason="verified")
    (told,) = telling.publish([change] if change else [], scene.frame, blind="")
    data = told.alert["data"]
    assert isinstance(data, dict)
    result = {
        "case_id": case_id,
        "place": place,
        "alert": {"id": told.alert["id"], "sequence": told.alert["sequence"], "time": told.alert["time"]},
        "evidence": data["evidence"],
        **({"evidence_error": data["evidence_error"]} if "evidence_error" in data else {}),
    }
    return Answer(done=True, words=_WORDS[place], result=result)


class _Snapshots:
    """The newest snapshots of one camera."""

    def __init__(self, folder: Path, camera: str) -> None:
        self._root = folder
        self._folder = folder / SNAPSHOTS / camera

    def keep(self, bgr: UInt8, name: str) -> dict[str, object]:
        """Store one. Raises OSError."""
        content = _jpeg(bgr, _QUALITY)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.jpg"
        write_atomically(path, content)
        known = sorted(self._folder.glob("*.jpg"), key=lambda one: one.stat().st_mtime_ns)
        for old in known[:-SNAPSHOTS_MAX]:
            old.unlink(missing_ok=True)
        return {
            "media_type": "image/jpeg",
            "path": path.relative_to(self._root).as_posix(),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }


def _inline(bgr: UInt8, limit_bytes: int) -> dict[str, object] | None:
    """The biggest picture of a few sizes that fits, in base64."""
    height, width = bgr.shape[:2]
    for side_px in _INLINE_SIDES_PX:
        share = min(side_px / max(height, width), 1.0)
        size_px = (max(round(width * share), 1), max(round(height * share), 1))
        small = bgr if share == 1.0 else np.asarray(cv2.resize(bgr, size_px, interpolation=cv2.INTER_AREA), np.uint8)
        content = _jpeg(small, _INLINE_QUALITY)
        if len(content) <= limit_bytes:
            return {
                "media_type": "image/jpeg",
                "frame_px": list(size_px),
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "base64": base64.b64encode(content).decode(),
            }
    return None


def _jpeg(bgr: UInt8, quality: int) -> bytes:
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return content.tobytes()
