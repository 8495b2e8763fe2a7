"""What the worker knew, drawn on each analysed frame: one playable video a clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.core.scene import Scene
from edge.core.types import NS_PER_S, Float32, Frame, Int16
from edge.evidence.drawing import clock, draw_scene
from edge.evidence.hiding import Hiding
from edge.evidence.video import AnnotatedVideo
from edge.runtime.replay import Clip
from edge.runtime.worker import Worker


class Annotator:
    """Writes `annotated.mp4` into a folder, `annotated-2.mp4` for the second clip, and so on.

    What is hidden in published pictures is hidden here too. Of the tracks only those are drawn whose label can make or
    explain a case.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fps: float,
        labels: tuple[str, ...],
        drawn_labels: Int16,
        zones: Mapping[str, Float32],
        hiding: Hiding,
    ) -> None:
        self._folder = folder
        self._fps = fps
        self._labels = labels
        self._drawn_labels = drawn_labels
        self._zones = zones
        self._hiding = hiding
        self._clips = 0
        self._video: AnnotatedVideo | None = None

    def begin(self, clip: Clip) -> None:
        self.close()
        self._clips += 1
        name = "annotated.mp4" if self._clips == 1 else f"annotated-{self._clips}.mp4"
        size = (clip.info.width_px, clip.info.height_px)
        self._video = AnnotatedVideo(self._folder / name, min(self._fps, clip.info.fps or self._fps), size)

    def add(self, frame: Frame, scene: Scene, worker: Worker) -> None:
        if self._video is None:
            raise RuntimeError("Annotator.add before begin")
        picture = draw_scene(
            self._hiding.published(frame.bgr, scene.things),
            zones=self._zones,
            tracks=scene.tracks.take(np.isin(scene.tracks.label, self._drawn_labels)),
            labels=self._labels,
            cases=worker.cases,
            now_ns=frame.mono_ns,
            caption=(frame.camera, clock(frame.media_ns / NS_PER_S)),
        )
        self._video.write(picture, frame.media_ns)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
