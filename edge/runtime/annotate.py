"""What the worker knew, drawn on each analysed frame: one playable video a clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.core.scene import Scene
from edge.core.types import Float32, Frame
from edge.evidence.drawing import clock, draw_scene
from edge.evidence.video import AnnotatedVideo
from edge.runtime.replay import Clip
from edge.runtime.worker import Worker


class Annotator:
    """Writes `annotated.mp4` into a folder, `annotated-2.mp4` for the second clip, and so on."""

    def __init__(self, folder: Path, *, fps: float, labels: tuple[str, ...], zones: Mapping[str, Float32]) -> None:
        self._folder = folder
        self._fps = fps
        self._labels = labels
        self._zones = zones
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
            frame.bgr,
            zones=self._zones,
            tracks=scene.tracks,
            labels=self._labels,
            cases=worker.cases,
            now_ns=frame.mono_ns,
            caption=(frame.camera, clock(frame.media_ns / 1e9)),
        )
        self._video.write(picture, frame.media_ns)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None
