"""What the networks answer, made into boxes: one decoder for each family of outputs.

| format     | outputs                                               | score                       |
| yolox      | (B, M, 5 + C) raw grid cells of stride 8, 16, 32      | objectness x class          |
| yolo       | (B, M, 5 + C) cxcywh (v5), or (B, 4 + C, M) (v8, v11) | objectness x class, class   |
| yolo-e2e   | (B, K, 6) xyxy, score, label                          | as given                    |
| detr       | logits (B, Q, C), boxes (B, Q, 4) cxcywh in 0..1      | sigmoid, or softmax (C + 1) |
| classes    | (B, C), no boxes                                      | sigmoid, softmax, as given  |

Each that has boxes throws out what is below `score_min` before any arithmetic on them; comparisons are written so that
NaN falls too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.core.types import Bool, Float32, Int16, Int64
from edge.detect.manifest import CLASSES, DETR, SIGMOID, SOFTMAX, YOLO, YOLO_E2E, YOLOX, ModelManifest

Shape = tuple[int, ...]

_STRIDES_PX = (8, 16, 32)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The answers for a whole batch in flat rows, before suppression. Pixels of the input."""

    picture: Int64  # (N,) row of the batch
    xyxy: Float32  # (N, 4)
    score: Float32  # (N,)
    label: Int16  # (N,)

    def take(self, rows: Bool | Int64) -> Boxes:
        return Boxes(self.picture[rows], self.xyxy[rows], self.score[rows], self.label[rows])


@dataclass(frozen=True, slots=True)
class Request:
    """What a decoder must know beside the outputs."""

    input_px: tuple[int, int]  # (width, height)
    labels: int
    score_min: float
    softmax: bool


def decode(
    manifest: ModelManifest, outputs: Sequence[Float32], *, input_px: tuple[int, int], score_min: float
) -> Boxes:
    """The model's outputs for a batch -> boxes of score >= `score_min`, finite and with an area."""
    request = Request(
        input_px=input_px,
        labels=len(manifest.labels),
        score_min=score_min,
        softmax=manifest.activation == SOFTMAX,
    )
    boxes = _DECODERS[manifest.format](outputs, request)
    sound = np.isfinite(boxes.xyxy).all(axis=1) & (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all(axis=1)
    return boxes.take(np.asarray(sound, np.bool_))


def probabilities(manifest: ModelManifest, outputs: Sequence[Float32]) -> Float32:
    """A classifier's outputs for a batch -> (B, C) 0..1. What is no number is 0: it agrees with nothing."""
    scores = outputs[0]
    with np.errstate(invalid="ignore", over="ignore"):
        if manifest.activation == SOFTMAX:
            scores = _softmax(scores)
        elif manifest.activation == SIGMOID:
            scores = np.asarray(1 / (1 + np.exp(-scores)), np.float32)
    return np.clip(np.nan_to_num(scores, nan=0.0), 0, 1).astype(np.float32, copy=False)


def misfit(manifest: ModelManifest, shapes: Sequence[Shape], *, batch: int, input_px: tuple[int, int]) -> str:
    """ "" when the outputs of a run have the shapes of the manifest's format, else what was expected and what came."""
    expected = _expected_shapes(manifest, batch, input_px)
    for alternative in expected:
        if len(shapes) >= len(alternative) and all(map(_matches, shapes, alternative)):
            return ""
    wanted = " or ".join(_written(alternative) for alternative in expected)
    return f"expected outputs {wanted}, got {_written(shapes)}"


def _expected_shapes(manifest: ModelManifest, batch: int, input_px: tuple[int, int]) -> list[list[Shape]]:
    """The sets of output shapes that the format allows; -1 is any length."""
    labels = len(manifest.labels)
    if manifest.format == YOLOX:
        return [[(batch, len(_cells(input_px)[0]), 5 + labels)]]
    if manifest.format == YOLO:
        return [[(batch, -1, 5 + labels)], [(batch, 4 + labels, -1)]]
    if manifest.format == YOLO_E2E:
        return [[(batch, -1, 6)]]
    if manifest.format == CLASSES:
        return [[(batch, labels)]]
    logits = (batch, -1, labels + (manifest.activation == SOFTMAX))
    boxes = (batch, -1, 4)
    return [[logits, boxes], [boxes, logits]]


def _matches(shape: Shape, wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(want in (-1, have) for have, want in zip(shape, wanted, strict=True))


def _written(shapes: Sequence[Shape]) -> str:
    return " + ".join("(" + ", ".join("*" if side < 0 else str(side) for side in shape) + ")" for shape in shapes)


def _decode_yolox(outputs: Sequence[Float32], request: Request) -> Boxes:
    raw = outputs[0]
    picture, cell = np.nonzero(raw[..., 4] >= request.score_min)
    rows = raw[picture, cell]
    label, score = _best_class(rows[:, 5:])
    score = score * rows[:, 4]
    keep = score >= request.score_min
    picture, cell, rows, label, score = picture[keep], cell[keep], rows[keep], label[keep], score[keep]
    corner, stride = _cells(request.input_px)
    centre = (rows[:, :2] + corner[cell]) * stride[cell]
    with np.errstate(over="ignore"):  # an endless box is not finite and falls out in `decode`
        size = np.exp(rows[:, 2:4]) * stride[cell]
    return _boxes(picture, _corners(centre, size), score, label)


def _decode_yolo(outputs: Sequence[Float32], request: Request) -> Boxes:
    raw = outputs[0]
    if raw.shape[2] == 5 + request.labels:
        picture, cell = np.nonzero(raw[..., 4] >= request.score_min)
        rows = raw[picture, cell]
        label, score = _best_class(rows[:, 5:])
        score = score * rows[:, 4]
        keep = score >= request.score_min
        picture, rows, label, score = picture[keep], rows[keep], label[keep], score[keep]
    else:
        picture, cell = np.nonzero(raw[:, 4:].max(axis=1) >= request.score_min)
        rows = raw[picture, :, cell]
        label, score = _best_class(rows[:, 4:])
    return _boxes(picture, _corners(rows[:, :2], rows[:, 2:4]), score, label)


def _decode_yolo_e2e(outputs: Sequence[Float32], request: Request) -> Boxes:
    raw = outputs[0]
    named = (raw[..., 5] > -0.5) & (raw[..., 5] < request.labels - 0.5)
    picture, row = np.nonzero((raw[..., 4] >= request.score_min) & named)
    rows = raw[picture, row]
    return _boxes(picture, rows[:, :4], rows[:, 4], np.rint(rows[:, 5]).astype(np.int16))


def _decode_detr(outputs: Sequence[Float32], request: Request) -> Boxes:
    logits, box = outputs[:2] if outputs[1].shape[2] == 4 else (outputs[1], outputs[0])
    score = _softmax(logits)[..., : request.labels] if request.softmax else logits
    # The sigmoid rises with its logit, so the threshold is moved instead of 300 x C logits.
    floor = request.score_min if request.softmax else _logit(request.score_min)
    picture, query = np.nonzero(score.max(axis=2) >= floor)
    label, best = _best_class(score[picture, query])
    if not request.softmax:
        best = np.asarray(1 / (1 + np.exp(-best)), np.float32)
    rows = box[picture, query] * np.array(request.input_px * 2, np.float32)
    return _boxes(picture, _corners(rows[:, :2], rows[:, 2:]), best, label)


_DECODERS: dict[str, Callable[[Sequence[Float32], Request], Boxes]] = {
    YOLOX: _decode_yolox,
    YOLO: _decode_yolo,
    YOLO_E2E: _decode_yolo_e2e,
    DETR: _decode_detr,
}


def _cells(input_px: tuple[int, int]) -> tuple[Float32, Float32]:
    """(M, 2) column and row of each cell, (M, 1) its stride in px, in the order of the network's output."""
    width, height = input_px
    corners, strides = [], []
    for stride in _STRIDES_PX:
        row, column = np.indices((height // stride, width // stride), np.float32).reshape(2, -1)
        corners.append(np.stack([column, row], axis=1))
        strides.append(np.full((len(row), 1), stride, np.float32))
    return np.concatenate(corners), np.concatenate(strides)


def _best_class(scores: Float32) -> tuple[Int16, Float32]:
    """(N, C) -> (N,) label and its score."""
    label = scores.argmax(axis=1)
    return label.astype(np.int16), scores[np.arange(len(label)), label]


def _corners(centre: Float32, size: Float32) -> Float32:
    half = size * np.float32(0.5)
    return np.concatenate([centre - half, centre + half], axis=1)


def _boxes(picture: Int64, xyxy: Float32, score: Float32, label: Int16) -> Boxes:
    return Boxes(
        picture.astype(np.int64, copy=False), xyxy.astype(np.float32, copy=False), score.astype(np.float32), label
    )


def _softmax(logits: Float32) -> Float32:
    """Over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(clipped / (1 - clipped)))
