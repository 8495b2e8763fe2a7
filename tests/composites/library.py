"""Recipes to a folder: clips, truth.json in the form of `edge evaluate`, and manifest.json.

Clips that are there already, made by the same seed and versions, are not made again: an interrupted run goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tests.composites.composition import Renderer, UInt8
from tests.composites.directing import Take

VERSION = 2  # of the recipes; another one makes other clips
CLIPS_MAX = 2000


def write_clip(path: Path, pictures: Iterator[UInt8], *, fps: int) -> None:
    """H.264 as a street camera sends it: modest rate, a keyframe every four seconds. Whole or not at all."""
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
                stream.options = {"crf": "25", "preset": "veryfast", "g": str(4 * fps)}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        assert stream is not None, path
        container.mux(stream.encode(None))
    part.rename(path)


def make(
    takes: Sequence[Take], folder: Path, media: Path, *, seed: int, jobs: int = 1, ready: Path | None = None
) -> Path:
    """Writes the clips of `takes` and what is true of them. `ready`: a folder that has them."""
    if len(takes) > CLIPS_MAX:
        raise ValueError(f"{len(takes)} clips: at most {CLIPS_MAX} a folder")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(takes, seed)
    listed = folder / "manifest.json"
    if not listed.exists() or json.loads(listed.read_text(encoding="utf-8")) != manifest:
        for clip in folder.glob("*.mp4"):
            clip.unlink()
    _write(listed, manifest)
    for take in takes if ready is not None else ():
        if (ready / take.clip).exists() and not (folder / take.clip).exists():
            os.link(ready / take.clip, folder / take.clip)
    orders = [(take, folder, media) for take in takes]
    if jobs == 1:
        clips = [_made(order) for order in orders]
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            clips = pool.map(_made, orders, chunksize=1)
    _write(folder / "truth.json", {"note": f"Composited by seed {seed}.", "clips": clips})
    return folder / "truth.json"


def _made(order: tuple[Take, Path, Path]) -> dict[str, Any]:
    take, folder, media = order
    cv2.setNumThreads(1)
    path = folder / take.clip
    if not path.exists():
        write_clip(path, Renderer(take.composition, media).pictures(), fps=take.composition.fps)
    return take.truth(media)


def _manifest(takes: Sequence[Take], seed: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "seed": seed,
        "versions": {"av": av.__version__, "cv2": cv2.__version__, "numpy": np.__version__},
        "clips": [{"clip": take.clip, "recipe": take.recipe, "seed": take.seed} for take in takes],
    }


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
