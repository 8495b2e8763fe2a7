"""How well what is found now continues a case that is already known: by place, by ground, by nearness.

Boxes in, numbers 0..1 out; nothing is remembered here, and nothing decided. The shares that cases and the pieces of an
occupation both go by are here as well; which measure a kind of scenario goes by is the case book's.
"""

from __future__ import annotations

import numpy as np

from edge.core import appearance, boxes
from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Bool, Findings, Float32

# A case opens only if the finder itself saw it in this share of the looks, and for a second at least: pixels alone
# would carry one false box on a wall for ever, and a painted kerb that is a bus in every fifth look is no bus.
FOUND_SHARE = 0.3
# A sign or a caption that the detector takes for a bus has always been there; a car has come. What was there before
# the first look, or looks as it did minutes ago, must therefore be a surer thing: the mean score that it needs.
FIXTURE_SCORE_MIN = 0.5
FOLLOW_GAP_NS = 2 * NS_PER_S  # a lost walker is the same one if met again this soon and near
# The same after a gap in which nobody looked, for a track that must be confirmed first: a process that was killed is
# back within 5 s.
FOLLOW_BLANK_NS = 10 * NS_PER_S
FOLLOW_SPEED = 1.0  # body heights a second that a lost walker may have moved
# Two things cannot stand on the same ground. Lower edges this near, in heights of the lower box, stand at one depth:
# a car is about as deep as it is high, and even a camera that looks down by only ten degrees sees a sixth of it.
SAME_DEPTH = 0.15
HIDDEN_SHARE = 0.25  # of a footprint, covered by what stands nearer: of an empty place so much cannot be said
IN_VIEW_SHARE = 0.1  # covered by no more than this, a thing may be learned by its looks
SAME_PLACE = 0.4  # overlap from which what is found there now may be what stood there
PART_SHARE = 0.8  # of a thing within a larger one that has grown out of it
SAME_WIDTH = 0.6  # of the narrower lower edge that lies on the wider one; parked side by side it is a third at most


def place_overlap(footprints: Float32, xyxy: Float32) -> Float32:
    """(L, 4), (N, 4) -> (L, N): IoU, or how much of a box cut short by an occluder lies in the footprint."""
    iou = boxes.iou(footprints, xyxy)
    within = boxes.coverage(xyxy, footprints).T
    share = boxes.coverage(footprints, xyxy)
    cut_short = np.where((share >= SAME_PLACE) & (within >= 0.8), 0.8 * within, 0)
    return np.asarray(np.maximum(iou, cut_short), np.float32)


def has_grown(footprint: Float32, xyxy: Float32) -> Bool:
    """(4,), (N, 4) -> (N,): whether what stood there is part of a box now."""
    return np.asarray(boxes.coverage(footprint[None], xyxy)[0] >= PART_SHARE)


def same_ground(one: Float32, xyxy: Float32) -> Bool:
    """(4,), (N, 4) -> (N,): whether both boxes stand on the same ground, and so on one thing; of several (4, A, 1)
    -> (A, N)."""
    shared = np.minimum(one[2], xyxy[:, 2]) - np.maximum(one[0], xyxy[:, 0])
    narrower = np.minimum(one[2] - one[0], xyxy[:, 2] - xyxy[:, 0])
    lower = np.minimum(one[3] - one[1], xyxy[:, 3] - xyxy[:, 1])
    one_depth = np.abs(one[3] - xyxy[:, 3]) <= SAME_DEPTH * lower
    return np.asarray(one_depth & (shared >= SAME_WIDTH * narrower) & (shared > 0))


def covered_share(footprints: Float32, others: Float32) -> Float32:
    """(L, 4), (N, 4) -> (L,) how much of each the others cover, before it or behind; overlaps of theirs count twice."""
    return np.asarray(np.minimum(boxes.coverage(footprints, others).sum(axis=1), 1), np.float32)


def hidden_share(footprints: Float32, others: Float32) -> Float32:
    """(L, 4), (N, 4) -> (L,) the same for those that stand before it: a bench behind a place hides nothing of it.

    What stands nearer has its lower edge lower in the picture, or at the same depth.
    """
    height, other_height = footprints[:, 3] - footprints[:, 1], others[:, 3] - others[:, 1]
    lower = np.minimum(height[:, None], other_height[None, :])
    before = others[None, :, 3] >= footprints[:, None, 3] - SAME_DEPTH * lower
    return np.asarray(np.minimum((boxes.coverage(footprints, others) * before).sum(axis=1), 1), np.float32)


def ground_shared(footprint: Float32, xyxy: Float32) -> Float32:
    """(4,), (N, 4) -> (N,): the larger share that one box has in the other, 0 below a third; of several the likest."""
    one = footprint[None]
    share: Float32 = np.maximum(boxes.coverage(one, xyxy)[0], boxes.coverage(xyxy, one)[:, 0])
    return np.asarray(np.where(share >= 1 / 3, share * (3 + boxes.iou(one, xyxy)[0]) / 4, 0), np.float32)


def nearness(
    footprint: Float32, findings: Findings, scene: Scene, *, lost_ns: int, within_ns: int = FOLLOW_GAP_NS
) -> Float32:
    """(N,) 0..1 for walkers whose track began when this one was lost, soon and near enough to be the same.

    Who walks in from elsewhere has an older track, and is somebody else.
    """
    gap_ns = scene.frame.mono_ns - lost_ns
    height = max(float(footprint[3] - footprint[1]), 1.0)
    reach = height * (0.5 + FOLLOW_SPEED * min(gap_ns, FOLLOW_GAP_NS) / NS_PER_S)
    foot = boxes.anchors(footprint[None])
    distance = np.hypot(*(boxes.anchors(findings.xyxy) - foot).T)
    row = np.searchsorted(scene.tracks.track_id, findings.track_id)
    began_then = scene.tracks.first_seen_ns[row] >= lost_ns - NS_PER_S
    soon = gap_ns <= within_ns
    return np.where(began_then & soon & (distance <= reach), 1 - distance / (reach + 1), 0).astype(np.float32)


def has_arrived(box: Float32, patch: Float32, since_ns: int, scene: Scene) -> bool:
    """The place looked different some seconds before the thing was there."""
    earlier = scene.patch_before(box, since_ns)
    return earlier is not None and appearance.agreement(earlier, patch) < appearance.SAME_THING
