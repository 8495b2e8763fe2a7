"""`edge check` and `edge schema`: is this configuration right, and what may stand in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, usually site.yaml.")],
) -> None:
    """Validate a configuration and the models it names; a fault is told with its file and line.

    Example: edge check site.yaml

    What is allowed and still better not left so, such as a password in clear, is told as a caution.

    Exit status: 0 it is right, 1 a model cannot be used, 2 it is not right, or cannot be read. Variables such as
    ${MQTT_PASSWORD} must be set.
    """
    import os

    from edge.config.cautions import cautions_of
    from edge.config.loader import load_site
    from edge.wiring.credentials import check_credentials
    from edge.wiring.frame_path import check_models

    site = load_site(file, environ=os.environ)
    check_models(site)
    check_credentials(site)
    for caution in cautions_of(site):
        typer.echo(f"caution: {caution}", err=True)
    cameras = site.config.cameras
    counts = (
        _count(len(cameras), "camera"),
        _count(sum(len(camera.zones) for camera in cameras), "zone"),
        _count(sum(len(uses) for uses in site.scenarios.values()), "scenario"),
    )
    typer.echo(f"{file}: ok: {', '.join(counts)}")


def schema(
    messages: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead, write asyncapi.yaml and schemas/ of the messages into this folder."),
    ] = None,
) -> None:
    """Print the JSON Schema of site.yaml, for editors; or write those of the messages.

    Example: edge schema > site.schema.json

    Exit status: 0 done, 1 the folder cannot be written.
    """
    import json

    from edge.config.schema import json_schema
    from edge.delivery.asyncapi import documents

    if messages is None:
        typer.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))
        return
    for name, text in documents().items():
        path = messages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
