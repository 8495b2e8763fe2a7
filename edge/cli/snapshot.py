"""`edge snapshot`: one picture of a camera or a recording, with a grid to write polygons from."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.capture.packets import PacketCapture
    from edge.core.types import Frame, UInt8

_JPEG_QUALITY = 92
_LOOK_S = 2.0  # a recording may fade in from black: that long we look for a picture with something in it
_LOOK_FPS = 25.0
_AT_MAX_S = 1e6  # eleven days: no recording is longer
_FLAT_LEVELS = 3.0  # a picture whose grey levels deviate by less shows nothing


def snapshot(
    source: Annotated[str, typer.Argument(metavar="CAMERA-or-URL", help="A camera id with --config, a file or a URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write: .jpg or .png.")],
    grid: Annotated[bool, typer.Option("--grid", help="Draw lines at every tenth, numbered 0.1 to 0.9.")] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The site.yaml that CAMERA stands in.")] = None,
    at: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=_AT_MAX_S, help="How far into the recording.")
    ] = 0.0,
) -> None:
    """Take one picture of a camera or a recording; the grid gives the fractions that zones are written in.

    Example: edge snapshot monday.mp4 -o monday.jpg --grid

    Exit status: 0 done, 1 the source gives no picture, 2 misused.
    """
    take_snapshot(source_of(source, config), output, grid=grid, at_s=at)
    typer.echo(output)


def source_of(name: str, config: Path | None) -> str:
    """The source of a configured camera; without a configuration, the name itself."""
    if config is None:
        return name
    from edge.config.loader import load_site
    from edge.errors import UsageError

    cameras = {camera.id: camera.source for camera in load_site(config, environ=os.environ).config.cameras}
    if name not in cameras:
        raise UsageError(f"{config}: has no camera {name!r}; it has {', '.join(cameras)}")
    return cameras[name]


def take_snapshot(source: str, output: Path, *, grid: bool, at_s: float) -> None:
    """Write the picture at `at_s` seconds, whole or not at all; at 0 the first that shows something."""
    from edge.errors import OutputError, UsageError
    from edge.evidence.drawing import draw_grid
    from edge.evidence.store import write_atomically

    if output.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UsageError(f"{output}: a picture is written as .jpg or .png; give the output such a name")
    bgr = _picture_at(source, at_s) if at_s > 0 else _first_good_picture(source)
    content = _encoded(draw_grid(bgr) if grid else bgr, output)
    try:
        write_atomically(output, content)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror}); name another place") from error


def _first_good_picture(source: str) -> UInt8:
    first: Frame | None = None
    with closing(_open(source, fps=_LOOK_FPS)) as capture:
        for frame in capture:
            first = first or frame
            if float(frame.bgr.std(axis=(0, 1)).max()) >= _FLAT_LEVELS:
                return frame.bgr
            if frame.media_ns >= first.media_ns + _LOOK_S * 1e9:
                break
    return _found(first, source, 0.0).bgr


def _picture_at(source: str, at_s: float) -> UInt8:
    with closing(_open(source, fps=1 / at_s)) as capture:  # at that rate the second frame is the one wanted
        frames = iter(capture)
        next(frames, None)
        return _found(next(frames, None), source, at_s).bgr


def _open(source: str, *, fps: float) -> PacketCapture:
    from edge.capture.packets import PacketCapture
    from edge.capture.timeline import FrameOrigin

    return PacketCapture(source, camera="snapshot", fps=fps, origin=FrameOrigin(mono_ns=0, wall_ns=0, index=0))


def _found(frame: Frame | None, source: str, at_s: float) -> Frame:
    from edge.errors import UsageError, redact

    if frame is None:
        raise UsageError(f"{redact(source)}: ends before {at_s:g} s; choose a smaller --at")
    return frame


def _encoded(bgr: UInt8, output: Path) -> bytes:
    import cv2

    from edge.errors import OutputError

    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if output.suffix.lower() != ".png" else []
    done, content = cv2.imencode(output.suffix.lower(), bgr, options)
    if not done:
        raise OutputError(f"{output}: {bgr.shape[1]}x{bgr.shape[0]} px cannot be written so; choose .png")
    return content.tobytes()
