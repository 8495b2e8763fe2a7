"""Small clips made on the spot: every kind of file that an installer may hand us, whole or broken.

The picture is a grey ramp with a bright square that moves with time, so that two readers that disagree
about the moment of a frame disagree about its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

_TICKS_PER_S = 90_000


def picture(time_s: float, *, width: int = 320, height: int = 240) -> npt.NDArray[np.uint8]:
    """What the synthetic camera sees at `time_s`: (H, W, 3) BGR."""
    ramp = np.linspace(40, 160, width, dtype=np.float32).astype(np.uint8)
    bgr = np.repeat(np.repeat(ramp[None, :, None], height, axis=0), 3, axis=2)
    side = height // 4
    left = int(time_s * width / 4) % (width - side)
    bgr[side : 2 * side, left : left + side] = (60, 200, 240)
    return np.ascontiguousarray(bgr)


def regular_times(*, frames: int, fps: float) -> list[float]:
    return [index / fps for index in range(frames)]


def write_clip(
    path: Path,
    times_s: Sequence[float],
    *,
    width: int = 320,
    height: int = 240,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction | int = 25,
    keyframe_every: int = 25,
    b_frames: int = 2,
    metadata: dict[str, str] | None = None,
    front_index: bool = True,
) -> Path:
    """One video track with a picture at each time; the container follows from the file's name.

    With `front_index` an mp4 has its index (moov) before the pictures, so that cutting the end leaves it readable.
    """
    options = {"movflags": "faststart"} if front_index and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if path.suffix != ".avi":  # an AVI counts frames; it has no other clock
            stream.codec_context.time_base = Fraction(1, _TICKS_PER_S)
        base = stream.codec_context.time_base or 1 / Fraction(rate)
        stream.codec_context.gop_size = keyframe_every
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "18", "bf": str(b_frames), "x264-params": "scenecut=0"}
        elif codec == "mpeg4":
            stream.codec_context.max_b_frames = b_frames
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(picture(time_s, width=width, height=height), format="bgr24")
            frame.pts, frame.time_base = round(Fraction(time_s) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, *, duration_s: float = 1.0) -> Path:
    """A file with an audio track and no picture."""
    rate = 8000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        wave = (0.1 * np.sin(np.arange(int(rate * duration_s)) / 10)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_end(source: Path, path: Path, *, keep: float) -> Path:
    """The first part of a file: a copy that stopped, a full disk."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def cut_front(source: Path, path: Path, *, drop: float) -> Path:
    data = source.read_bytes()
    path.write_bytes(data[int(len(data) * drop) :])
    return path


def spoil(source: Path, path: Path, *, begin: float, end: float) -> Path:
    """Overwrite a part of a file, given in fractions of its length, with noise: a failing memory card."""
    data = bytearray(source.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = np.random.default_rng(7).bytes(last - first)
    path.write_bytes(data)
    return path


def rename_codec(source: Path, path: Path, *, old: bytes = b"avc1", new: bytes = b"zz99") -> Path:
    """An mp4 that names a codec nobody has."""
    path.write_bytes(source.read_bytes().replace(old, new))
    return path


def turn(source: Path, path: Path) -> Path:
    """An mp4 whose header asks the player to turn the picture by 90 degrees clockwise."""
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # ISO/IEC 14496-12, 8.3.2: version 0, nine 32-bit numbers
    clockwise = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    data[matrix : matrix + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in clockwise)
    path.write_bytes(data)
    return path


def join(path: Path, *parts: Path) -> Path:
    """Transport streams one after the other in one file, as a recorder that restarted writes them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
