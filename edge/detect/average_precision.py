"""How well a detector finds what is labelled: average precision by COCO's own evaluator, as edge runs the detector.

Labels are in YOLO format: beside the pictures a folder `labels/` with a text file for each, a line a box:
class, and centre and size as fractions of the picture. Classes are the model's, by number.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.core.types import Detections, UInt8
from edge.errors import UsageError
from edge.ports import Detector

SCORE_MIN = 0.01  # what is less sure moves the average by less than 0.001
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_PICTURES_AT_ONCE = 8

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Precision:
    """0..1. `ap` is the mean over IoU 0.50 to 0.95, `ap50` that at 0.50; of the classes that are labelled."""

    ap: float
    ap50: float
    pictures: int
    boxes: int


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """The paths of the pictures, and of each its labels (N, 5): class, centre x and y, width, height."""

    paths: tuple[Path, ...]
    labels: tuple[Float64, ...]

    @classmethod
    def read(cls, folder: Path) -> LabelledPictures:
        """Raises UsageError."""
        root = folder / "images" if (folder / "images").is_dir() else folder
        paths = tuple(sorted(path for path in root.glob("*") if path.suffix.lower() in _SUFFIXES))
        if not paths:
            raise UsageError(f"{folder}: holds no pictures (.jpg, .png): name a folder in YOLO format")
        labels = tuple(_labels_of(folder / "labels" / f"{path.stem}.txt") for path in paths)
        if not sum(map(len, labels)):
            raise UsageError(f"{folder}: no box in {folder / 'labels'}: name a folder in YOLO format")
        return cls(paths, labels)

    def read_pictures(self) -> Iterator[UInt8]:
        for path in self.paths:
            picture = cv2.imread(str(path))
            if picture is None:
                raise UsageError(f"{path}: is no picture that can be read")
            yield np.asarray(picture, np.uint8)


def measure_precision(detector: Detector, pictures: LabelledPictures) -> Precision:
    """`detector` must tell of boxes down to SCORE_MIN. Raises UsageError where the labels are not the model's."""
    highest = max(int(rows[:, 0].max()) for rows in pictures.labels if len(rows))
    if highest >= len(detector.labels):
        raise UsageError(
            f"{pictures.paths[0].parent}: has class {highest}, {detector.name} has {len(detector.labels)} labels: "
            "the pictures must be labelled with the model's own classes"
        )
    sizes, found, batch = [], [], []
    for picture in pictures.read_pictures():
        sizes.append((picture.shape[1], picture.shape[0]))
        batch.append(picture)
        if len(batch) == _PICTURES_AT_ONCE:
            found += detector.detect(batch)
            batch = []
    found += detector.detect(batch)
    ap, ap50 = _evaluate(_truth(pictures, sizes, len(detector.labels)), found)
    return Precision(ap=ap, ap50=ap50, pictures=len(sizes), boxes=sum(map(len, pictures.labels)))


def _labels_of(path: Path) -> Float64:
    """(N, 5); a picture without a file shows nothing."""
    if not path.is_file():
        return np.zeros((0, 5))
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise UsageError(f"{path}: {error}: a line is class, centre x and y, width, height") from None
    if not len(rows):
        return np.zeros((0, 5))
    if rows.shape[1] != 5 or (rows[:, 0] < 0).any():
        raise UsageError(f"{path}: {rows.shape[1]} numbers in a line: expected class, centre x and y, width, height")
    return rows


def _truth(pictures: LabelledPictures, sizes: Sequence[tuple[int, int]], classes: int) -> dict[str, Any]:
    """In COCO's own words, where boxes are left, top, width, height in px."""
    annotations: list[dict[str, Any]] = []
    for number, (rows, (width, height)) in enumerate(zip(pictures.labels, sizes, strict=True), 1):
        wanted = rows[:, 1:] * (width, height, width, height)
        for label, (x, y, box_width, box_height) in zip(rows[:, 0], wanted, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(label),
                    "bbox": [x - box_width / 2, y - box_height / 2, box_width, box_height],
                    "area": box_width * box_height,
                    "iscrowd": 0,
                }
            )
    return {
        "images": [{"id": number} for number in range(1, len(sizes) + 1)],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": annotations,
        "info": {},
    }


def _evaluate(truth: dict[str, Any], found: Sequence[Detections]) -> tuple[float, float]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise UsageError(
            "average precision needs pycocotools: install it with pip install 'cityeye-edge[precision]'"
        ) from None
    rows = [
        np.column_stack([np.full(len(boxes.score), number), _xywh(boxes), boxes.score, boxes.label])
        for number, boxes in enumerate(found, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it speaks of its progress
        known = COCO()
        known.dataset = truth
        known.createIndex()
        if not sum(map(len, rows)):
            return 0.0, 0.0
        evaluation = COCOeval(known, known.loadRes(np.concatenate(rows)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def _xywh(boxes: Detections) -> Float64:
    return np.concatenate([boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]], axis=1).astype(np.float64)
