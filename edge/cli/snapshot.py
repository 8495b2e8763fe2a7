"""`edge snapshot`: one picture of a camera or a recording, with a grid to write polygons from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_AT_MAX_S = 1e6  # eleven days: no recording is longer


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
    from edge.config.loader import load_site
    from edge.wiring.recorded import snapshot as take_snapshot

    site = load_site(config, environ=os.environ) if config is not None else None
    take_snapshot(source, output, site=site, grid=grid, at_s=at)
    typer.echo(output)
