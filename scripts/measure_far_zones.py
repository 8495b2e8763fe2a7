"""What a larger input and a closer look gain for far things and what they cost: recall of small things.

Each of the labelled pictures of `coco_val128` is shrunk into the far zone of a Full HD picture, as the end of a street
is, and looked at in each way. Run: .venv/bin/python scripts/measure_far_zones.py [PICTURES]
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from edge.core import boxes
from edge.core.types import Float32, Int16, UInt8
from edge.detect.closer import CloserDetector, crop_round
from edge.detect.manifest import load_manifest
from edge.detect.session import OnnxDetector
from edge.ports import Detector
from edge.resources import models_dir

FRAME_PX = (1920, 1080)
ZONE = np.array([(0.4, 0.15), (0.6, 0.15), (0.6, 0.35), (0.4, 0.35)], np.float32)
SCORE_MIN = 0.25
SAME = 0.5  # IoU
SMALL_PX = 6  # of the large picture: smaller ones nobody sees


def placed(path: Path) -> tuple[UInt8, Float32, Int16]:
    """The large picture, and the true boxes (N, 4) px with their labels (N,)."""
    small = cv2.imread(str(path))
    low, high = ZONE.min(axis=0) * FRAME_PX, ZONE.max(axis=0) * FRAME_PX
    scale = float(((high - low) / (small.shape[1], small.shape[0])).min())
    small = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.full((FRAME_PX[1], FRAME_PX[0], 3), 114, np.uint8)
    left, top = (int(edge) for edge in low)
    height, width = small.shape[:2]
    picture[top : top + height, left : left + width] = small
    label_path = path.parent / "labels" / f"{path.stem}.txt"
    rows = np.loadtxt(label_path, ndmin=2) if label_path.is_file() else np.zeros((0, 5))
    centre, size = rows[:, 1:3] * (width, height) + (left, top), rows[:, 3:] * (width, height)
    xyxy = np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
    seen = size.min(axis=1, initial=FRAME_PX[0]) >= SMALL_PX
    return picture, xyxy[seen], rows[seen, 0].astype(np.int16)


def main() -> None:
    media = Path(os.environ.get("EDGE_MEDIA") or Path(__file__).resolve().parent.parent.parent / "shared" / "media")
    paths = sorted((media / "coco_val128").glob("*.jpg"))[: int(sys.argv[1]) if len(sys.argv) > 1 else None]
    manifest = load_manifest(models_dir() / "yolox-nano")
    plain = OnnxDetector(manifest, threads=1)
    ways: dict[str, Detector] = {
        "as it comes, 640": plain,
        "input_px: 960": OnnxDetector(manifest, threads=1, longest_side=960),
        "input_px: 1280": OnnxDetector(manifest, threads=1, longest_side=1280),
        "closer: [far], 640": CloserDetector(plain, [crop_round(ZONE)], iou_max=manifest.overlap_max),
    }
    scenes = [placed(path) for path in paths]
    true = sum(len(labels) for _, _, labels in scenes)
    print(f"{len(scenes)} pictures, {true} things of {SMALL_PX} px and more in a far zone of {FRAME_PX}")
    for name, detector in ways.items():
        found = wrong = 0
        spent_s = []
        for picture, xyxy, labels in scenes:
            begin_s = time.perf_counter()
            answer = detector.detect([picture])[0]
            spent_s.append(time.perf_counter() - begin_s)
            sure = answer.take(answer.score >= SCORE_MIN)
            same = boxes.iou(xyxy, sure.xyxy) >= SAME
            same &= plain.groups[labels][:, None] == plain.groups[sure.label][None, :]
            # Each found box is one thing at most: greedy, the surest first, as the answer is sorted.
            taken = np.zeros(len(labels), np.bool_)
            for column in range(len(sure)):
                free = np.flatnonzero(same[:, column] & ~taken)
                taken[free[:1]] = True
                wrong += len(free) == 0
            found += int(taken.sum())
        print(
            f"{name:20s} recall {found / true:.3f}  precision {found / max(found + wrong, 1):.3f}  "
            f"{np.median(spent_s) * 1e3:.0f} ms a look"
        )


if __name__ == "__main__":
    main()
