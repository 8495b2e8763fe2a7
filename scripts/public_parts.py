"""The pipeline that public parts make when they are put together the usual way. Run by scripts/compare-public.

    cv2.VideoCapture, every frame -> at 5 fps: letterbox -> onnxruntime -> NMS -> tracker -> zone -> time in zone

The same ONNX file as ours. Threads are left as they come: FFmpeg's and OpenCV's, and onnxruntime's, one a core each.
Prints one JSON object: how many frames were read and looked at, and who stayed in a zone for how long.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

PAD = 114
STRIDES_PX = (8, 16, 32)
SCORE_MIN, OVERLAP_MAX = 0.25, 0.45  # what both projects' examples use
Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]  # xyxy (N, 4) px of the frame, score (N,), label (N,)
Follow = Callable[[Boxes, float, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]  # -> xyxy, label, track id


class Network:
    """YOLOX in onnxruntime with its defaults, but for `spin`: threads that wait for work burn CPU, as they come."""

    def __init__(self, path: Path, input_px: tuple[int, int], *, spin: bool) -> None:
        options = onnxruntime.SessionOptions()
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name
        self._input_px = input_px
        cells = []
        for stride in STRIDES_PX:
            across, down = np.meshgrid(np.arange(input_px[0] // stride), np.arange(input_px[1] // stride))
            cells.append(np.stack([across.ravel(), down.ravel(), np.full(across.size, stride)], axis=1))
        grid = np.concatenate(cells).astype(np.float32)
        self._cell, self._stride = grid[:, :2], grid[:, 2:]

    def detect(self, bgr: np.ndarray) -> Boxes:
        height, width = bgr.shape[:2]
        scale = min(self._input_px[0] / width, self._input_px[1] / height)
        content = cv2.resize(bgr, (round(width * scale), round(height * scale)))
        right, below = self._input_px[0] - content.shape[1], self._input_px[1] - content.shape[0]
        padded = cv2.copyMakeBorder(content, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(PAD, PAD, PAD))
        raw = self._session.run(None, {self._name: padded[None]})[0][0]
        centre = (raw[:, :2] + self._cell) * self._stride
        half = np.exp(raw[:, 2:4]) * self._stride / 2
        scores = raw[:, 4:5] * raw[:, 5:]
        label = scores.argmax(axis=1)
        score = scores[np.arange(len(scores)), label]
        kept = score >= SCORE_MIN
        xyxy = np.concatenate([centre - half, centre + half], axis=1)[kept] / scale
        return xyxy.astype(np.float32), score[kept], label[kept]


def with_supervision(fps: float) -> Follow:
    import supervision
    from trackers import ByteTrackTracker

    # As it comes it starts a track at 0.7, of which this small network is seldom sure.
    tracker = ByteTrackTracker(
        frame_rate=fps, track_activation_threshold=0.3, high_conf_det_threshold=0.3, minimum_consecutive_frames=1
    )

    def follow(boxes: Boxes, time_s: float, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        xyxy, score, label = boxes
        detections = supervision.Detections(xyxy, confidence=score, class_id=label).with_nms(OVERLAP_MAX)
        tracked = tracker.update(detections)
        named = tracked[tracked.tracker_id >= 0] if len(tracked) else tracked
        empty = np.empty(0, np.int64)
        return named.xyxy, _or(named.class_id, empty), _or(named.tracker_id, empty)

    return follow


def with_ultralytics(fps: float) -> Follow:
    from ultralytics.engine.results import Boxes as UltralyticsBoxes
    from ultralytics.trackers.byte_tracker import BYTETracker
    from ultralytics.utils import YAML, IterableSimpleNamespace
    from ultralytics.utils.checks import check_yaml

    tracker = BYTETracker(IterableSimpleNamespace(**YAML.load(check_yaml("bytetrack.yaml"))), frame_rate=round(fps))

    def follow(boxes: Boxes, time_s: float, bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        xyxy, score, label = boxes
        corner_and_size = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
        kept = np.asarray(
            cv2.dnn.NMSBoxesBatched(corner_and_size.tolist(), score.tolist(), label.tolist(), SCORE_MIN, OVERLAP_MAX),
            np.int64,
        ).ravel()
        rows = np.concatenate([xyxy[kept], score[kept, None], label[kept, None]], axis=1).astype(np.float32)
        tracks = np.asarray(tracker.update(UltralyticsBoxes(rows, bgr.shape[:2]), bgr), np.float32).reshape(-1, 8)
        return tracks[:, :4], tracks[:, 6].astype(np.int64), tracks[:, 4].astype(np.int64)

    return follow


def _or(given: np.ndarray | None, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if given is None else given


class TimeInZone:
    """As in supervision's example: since when each track has been in the zone. A track that is lost starts anew."""

    def __init__(self, zone: dict[str, Any], size_px: tuple[int, int]) -> None:
        import supervision

        polygon = np.array(zone["polygon"]) * size_px
        self._zone = supervision.PolygonZone(polygon.round().astype(np.int64))
        self._detections = supervision.Detections
        self._since_s: dict[int, float] = {}
        self._told: set[int] = set()
        self._after_s, self._labels = zone["after_s"], zone["labels"]
        self.name = zone["id"]

    def look(self, xyxy: np.ndarray, label: np.ndarray, track: np.ndarray, time_s: float) -> list[dict[str, Any]]:
        if not len(xyxy):
            return []
        wanted = np.isin(label, self._labels)
        inside = self._zone.trigger(self._detections(xyxy)) & wanted
        found = []
        for one in track[inside].tolist():
            since_s = self._since_s.setdefault(one, time_s)
            if time_s - since_s >= self._after_s and one not in self._told:
                self._told.add(one)
                found.append({"scenario": "time in zone", "zone": self.name, "onset_s": round(since_s, 2)})
        return found


def run(clip: Path, model: Path, order: dict[str, Any]) -> dict[str, Any]:
    capture = cv2.VideoCapture(str(clip))
    if not capture.isOpened():
        raise SystemExit(f"{clip}: cannot be opened")
    size_px = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    source_fps = capture.get(cv2.CAP_PROP_FPS)
    network = Network(model, tuple(order["input_px"]), spin=order["spin"])
    follow = {"supervision": with_supervision, "ultralytics": with_ultralytics}[order["pipeline"]](order["fps"])
    zones = [TimeInZone(zone, size_px) for zone in order["zones"]]
    every = round(source_fps / order["fps"])
    frames = looks = 0
    spent_s = dict.fromkeys(("decode", "detect", "track", "zones"), 0.0)
    cases: list[dict[str, Any]] = []
    mark_s = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal mark_s
        now_s = time.perf_counter()
        spent_s[stage] += now_s - mark_s
        mark_s = now_s

    while True:
        read, bgr = capture.read()
        lap("decode")
        if not read:
            break
        if frames % every == 0:
            time_s = frames / source_fps
            boxes = network.detect(bgr)
            lap("detect")
            xyxy, label, track = follow(boxes, time_s, bgr)
            lap("track")
            for zone in zones:
                cases += zone.look(xyxy, label, track, time_s)
            lap("zones")
            looks += 1
        frames += 1
    stages = {name: round(span_s, 3) for name, span_s in spent_s.items()}
    return {"frames": frames, "looks": looks, "stages_wall_s": stages, "cases": cases}


def main() -> None:
    parser = argparse.ArgumentParser(description="The public-parts pipeline over one clip.")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--order", required=True, help="JSON: pipeline, spin, fps, input_px, zones")
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.clip, arguments.model, json.loads(arguments.order))))


if __name__ == "__main__":
    main()
