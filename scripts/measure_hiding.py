"""How many heads and plates' places stay visible in a published picture, by their size: what no detector finds.

Over the labelled pictures of `coco_val128` a head is taken to be in the uppermost eighth of a person's true box, and it
is hidden where its middle is. Run: .venv/bin/python scripts/measure_hiding.py [FOLDER FOR PICTURES]
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from edge.core.types import Bool, Detections, Float32, Int16
from edge.detect.manifest import load_manifest
from edge.detect.session import OnnxDetector
from edge.evidence.hiding import HiddenPart, Hiding, heads_of, plates_of_cars
from edge.resources import models_dir

PERSON, CARS = 0, (2, 5, 7)  # of COCO
SIZES_PX = (0, 40, 80, 160, 320, 10_000)  # of a person's height, or a vehicle's width


def true_boxes(path: Path, *, width: int, height: int) -> tuple[Float32, Int16]:
    """(N, 4) px and the labels (N,) of one picture."""
    label_path = path.parent / "labels" / f"{path.stem}.txt"
    rows = np.loadtxt(label_path, ndmin=2) if label_path.is_file() else np.zeros((0, 5))
    centre, size = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height)
    xyxy = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    return xyxy, rows[:, 0].astype(np.int16)


def is_hidden(points: Float32, hidden: Float32) -> Bool:
    """(N, 2), (M, 4) -> (N,)"""
    x, y = points[:, :1], points[:, 1:]
    inside = (hidden[:, 0] <= x) & (x <= hidden[:, 2]) & (hidden[:, 1] <= y) & (y <= hidden[:, 3])
    return np.asarray(inside.any(axis=1), np.bool_)


def main() -> None:
    media = Path(os.environ.get("EDGE_MEDIA") or Path(__file__).resolve().parent.parent.parent / "shared" / "media")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    manifest = load_manifest(models_dir() / "yolox-nano")
    detector = OnnxDetector(manifest, threads=1)
    people, cars = np.array([PERSON], np.int16), np.array(CARS, np.int16)
    hiding = Hiding(
        parts=[HiddenPart(people, heads_of, spares_own=False), HiddenPart(cars, plates_of_cars, spares_own=True)]
    )
    found: dict[str, list[tuple[float, bool]]] = {"heads": [], "plates": []}
    for path in sorted((media / "coco_val128").glob("*.jpg")):
        bgr = np.asarray(cv2.imread(str(path)), np.uint8)
        xyxy, label = true_boxes(path, width=bgr.shape[1], height=bgr.shape[0])
        things: Detections = detector.detect([bgr])[0]
        person, car = xyxy[label == PERSON], xyxy[np.isin(label, cars)]
        size = person[:, 2:] - person[:, :2]
        head = np.stack([(person[:, 0] + person[:, 2]) / 2, person[:, 1] + size[:, 1] / 16], axis=1)
        hidden = is_hidden(head, heads_of(things.xyxy[things.label == PERSON]))
        found["heads"] += zip(size[:, 1].tolist(), hidden.tolist(), strict=True)
        wide = car[:, 2] - car[:, 0]
        plate = np.stack([(car[:, 0] + car[:, 2]) / 2, car[:, 1] + 0.75 * (car[:, 3] - car[:, 1])], axis=1)
        hidden = is_hidden(plate, plates_of_cars(things.xyxy[np.isin(things.label, cars)]))
        found["plates"] += zip(wide.tolist(), hidden.tolist(), strict=True)
        if out is not None and len(person) + len(car):
            out.mkdir(parents=True, exist_ok=True)
            published = hiding.published(bgr, things)
            cv2.imwrite(str(out / path.name), np.hstack([bgr, published]))
    for name, rows in found.items():
        for low, high in pairwise(SIZES_PX):
            of = [is_so for size_px, is_so in rows if low <= size_px < high]
            print(f"{name:7} {low:4}..{high:5} px: {sum(of):4} of {len(of):4} hidden")


if __name__ == "__main__":
    main()
