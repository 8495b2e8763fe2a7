#!/usr/bin/env python3
"""What a decoding device of this machine shows and spares: clips through the software and through `hwaccel`.

    scripts/measure_hwaccel.py clip.mp4 [clip.mp4 ...] [--hwaccel cuda]

Of each clip: whether the device gives the same pictures at the same times, and the CPU seconds of both, 5 pictures a
second taken. Needs a machine with such a device; fails where the software had to decode.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np

from edge.capture.gate import ALL, KEYFRAMES
from edge.capture.hardware import CUDA, NONE, VAAPI
from edge.capture.packets import PacketCapture
from edge.capture.timeline import FrameOrigin
from edge.clock import cpu_s
from edge.core.types import UInt8
from edge.errors import EdgeError

FPS = 5.0
EVERY_PICTURE = 1000.0
SMALL_PX = (320, 180)


@dataclass(frozen=True)
class Seen:
    """What came of a clip."""

    decoder: str
    pictures: list[tuple[int, UInt8, UInt8]]  # media_ns, luma, BGR
    cpu_s: float
    wall_s: float


def run(clip: str, hwaccel: str, *, decode: str, fps: float, kept: bool) -> Seen:
    """`kept`: the pictures, too."""
    begin_cpu_s, begin_s = cpu_s(), time.perf_counter()
    origin = FrameOrigin(mono_ns=0, wall_ns=0, index=0)
    capture = PacketCapture(clip, camera="clip", fps=fps, origin=origin, hwaccel=hwaccel, decode=decode)
    pictures = []
    for frame in capture:
        luma = frame.pixels.luma(SMALL_PX)
        if kept:
            pictures.append((frame.media_ns, luma.copy(), frame.scaled(SMALL_PX).copy()))
    decoder = capture.info.decoder
    capture.close()
    return Seen(decoder, pictures, cpu_s() - begin_cpu_s, time.perf_counter() - begin_s)


def apart(first: Seen, second: Seen) -> tuple[bool, int]:
    """Whether the pictures have the same times, and by how many levels they differ at most."""
    if [one[0] for one in first.pictures] != [other[0] for other in second.pictures]:
        return False, 255
    pairs = zip(first.pictures, second.pictures, strict=True)
    most = [
        int(np.abs(a.astype(np.int16) - b).max())
        for one, other in pairs
        for a, b in zip(one[1:], other[1:], strict=True)
    ]
    return True, max(most, default=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--hwaccel", default=CUDA, choices=(CUDA, VAAPI))
    asked = parser.parse_args()
    failed = False
    for clip in asked.clips:
        for decode in (ALL, KEYFRAMES):
            software, device = (
                run(clip, how, decode=decode, fps=EVERY_PICTURE, kept=True) for how in (NONE, asked.hwaccel)
            )
            same, levels = apart(software, device)
            failed |= device.decoder != asked.hwaccel or not same or levels > 0
            said = "the same times" if same else "OTHER TIMES"
            print(f"{clip}, {decode}: {device.decoder}, {len(device.pictures)} pictures, {said}, {levels} levels apart")
        spent = [run(clip, how, decode=ALL, fps=FPS, kept=False) for how in (NONE, asked.hwaccel)]
        for one in spent:
            print(f"{clip}, {FPS:.0f} a second: {one.decoder} {one.cpu_s:.2f} CPU s, {one.wall_s:.2f} s")
    return int(failed)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EdgeError as error:
        raise SystemExit(f"measure_hwaccel: {error}") from None
