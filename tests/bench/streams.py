"""Access units for the cameras of the test bench, made from clips by ffmpeg: a raw stream and an index with true times.

The settings are fixed, one thread encodes, and a finished stream is found again by what it was made of.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from tests.conftest import need_program

WAIT_S = 120.0  # for one encoding
# What may happen to a camera's view; give one as `view`.
BLACK = "drawbox=color=black:t=fill"
# A hand or a bag over the lens: no shape is left, the sensor's noise stays.
COVERED = (
    "scale=8:6,scale={width}:{height}:flags=bilinear,eq=brightness=-0.25:contrast=0.15,noise=alls=4:allf=t:all_seed=1"
)
MOVED = "rotate=0.12:bilinear=0,crop=iw*0.5:ih*0.5:iw*0.05:ih*0.45,scale={width}:{height}"
FROZEN = "loop=loop=-1:size=1:start=0"
_ENCODERS = {"h264": "libx264", "h265": "libx265"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a stream is made of. Of the source `duration_s` from `start_s` on are taken, or all from there."""

    source: Path
    codec: str = "h264"
    width: int = 640
    height: int = 360
    fps: int = 15
    group_s: float = 2.0  # from keyframe to keyframe
    b_frames: int = 0
    start_s: float = 0.0
    duration_s: float = 10.0
    there_and_back: bool = False  # then played backwards, so that the loop has no jump
    crop: str = ""  # ffmpeg's width:height:x:y, before scaling
    view: str = ""  # more ffmpeg filters, after scaling
    kbit_s: int = 0  # as a camera with bitrate control sends; 0 for whatever a steady quality takes


@dataclass(frozen=True, slots=True)
class Stream:
    """A finished stream. `index` is what the server is given."""

    index: Path
    codec: str
    width: int
    height: int
    fps: int
    duration_s: float
    pts_ns: tuple[int, ...]  # of each unit in the order of decoding
    keys: tuple[bool, ...]

    def units(self) -> list[bytes]:
        """The access units as the encoder made them, in the order of decoding."""
        written = json.loads(self.index.read_text(encoding="utf-8"))
        data = self.index.with_name(written["file"]).read_bytes()
        return [data[at : at + size] for at, size, *_ in written["units"]]


def make_stream(folder: Path, recipe: Recipe) -> Stream:
    """The stream of a recipe, from `folder` if it has been made before."""
    facts = {**asdict(recipe), "source": str(recipe.source), "bytes": recipe.source.stat().st_size}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    index = folder / f"{name}.json"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        coded = folder / f"{name}-{os.getpid()}.nut"  # keeps Annex B, and the times that a raw stream has not
        try:
            _encode(recipe, coded)
            _write_raw(recipe, coded, index)
        finally:
            coded.unlink(missing_ok=True)
    written = json.loads(index.read_text(encoding="utf-8"))
    return Stream(
        index=index,
        codec=recipe.codec,
        width=recipe.width,
        height=recipe.height,
        fps=recipe.fps,
        duration_s=written["duration_ns"] / 1e9,
        pts_ns=tuple(unit[2] for unit in written["units"]),
        keys=tuple(bool(unit[4]) for unit in written["units"]),
    )


def _encode(recipe: Recipe, coded: Path) -> None:
    group = max(1, round(recipe.group_s * recipe.fps))
    settings = f"keyint={group}:min-keyint={group}:scenecut=0:open-gop=0:repeat-headers=1:bframes={recipe.b_frames}"
    if recipe.codec == "h265":
        settings += ":pools=none:frame-threads=1:log-level=error"
    encoder = _ENCODERS[recipe.codec]
    command = [need_program("ffmpeg"), "-v", "error", "-nostdin", "-y", "-filter_threads", "1"]
    command += ["-ss", str(recipe.start_s), "-t", str(recipe.duration_s), "-i", str(recipe.source)]
    command += ["-an", "-filter_complex", f"[0:v]{_filters(recipe)}[out]", "-map", "[out]", "-pix_fmt", "yuv420p"]
    command += ["-c:v", encoder, "-preset", "ultrafast", "-threads", "1"]
    rate = f"{recipe.kbit_s}k"
    command += ["-b:v", rate, "-maxrate", rate, "-bufsize", rate] if recipe.kbit_s else ["-crf", "26"]
    command += [
        f"-{encoder.removeprefix('lib')}-params",
        settings,
        "-t",
        str(_length_s(recipe)),
        "-f",
        "nut",
        str(coded),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, f"ffmpeg on {recipe.source.name}: {done.stderr.strip()}"


def _filters(recipe: Recipe) -> str:
    steps = [f"fps={recipe.fps}"]
    if recipe.crop:
        steps.append(f"crop={recipe.crop}")
    steps += [f"scale={recipe.width}:{recipe.height}", "setsar=1"]
    if recipe.view:
        steps.append(recipe.view.format(width=recipe.width, height=recipe.height))
    chain = ",".join(steps)
    if recipe.there_and_back:
        chain += ",split[there][again];[again]reverse[back];[there][back]concat=n=2:v=1"
    return chain


def _length_s(recipe: Recipe) -> float:
    return recipe.duration_s * (2 if recipe.there_and_back else 1)


def _write_raw(recipe: Recipe, coded: Path, index: Path) -> None:
    with av.open(str(coded)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        base = packets[0].time_base
        shown = [round(packet.pts * base * recipe.fps) for packet in packets]  # numbers of pictures
    # A unit is decoded at its turn; the picture numbers move so that none is shown before that.
    delay = max(turn - picture for turn, picture in enumerate(shown))
    data, units = bytearray(), []
    for turn, (packet, picture) in enumerate(zip(packets, shown, strict=True)):
        times_ns = [number * 1_000_000_000 // recipe.fps for number in (picture + delay, turn)]
        units.append([len(data), packet.size, *times_ns, packet.is_keyframe])
        data += bytes(packet)
    raw = index.with_suffix(f".{recipe.codec}")
    duration_ns = len(units) * 1_000_000_000 // recipe.fps
    written: dict[str, Any] = {"codec": recipe.codec, "file": raw.name, "duration_ns": duration_ns, "units": units}
    _put(raw, bytes(data))
    _put(index, json.dumps(written).encode())


def _put(path: Path, data: bytes) -> None:
    """All or nothing: two tests may make the same stream."""
    half = path.with_name(f"{path.name}-{os.getpid()}")
    half.write_bytes(data)
    half.replace(path)
