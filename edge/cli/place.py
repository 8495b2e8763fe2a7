"""`edge place`: the picture of a camera's empty place, against which things that were put down are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The picture of a camera's empty place: begin it anew, give another, look at it.", rich_markup_mode=None
)

_CAMERA = typer.Argument(metavar="CAMERA", help="The camera's id.")
_CONFIG = typer.Option("--config", "-c", help="The gateway's site.yaml; only its `state_dir:` is read.")
_STATE = typer.Option("--state", help="The gateway's state folder.")


@app.callback(invoke_without_command=True)
def place(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


@app.command("reset")
def reset(
    camera: Annotated[str, _CAMERA],
    config: Annotated[Path | None, _CONFIG] = None,
    state: Annotated[Path | None, _STATE] = None,
) -> None:
    """Say that what stands before the camera now belongs there: nothing of it is a left object from now on.

    Example: edge place reset qiaonong-03

    Without a running gateway what is kept of the place is deleted, and the next start learns it anew.
    Exit status: 0 done, 1 the camera's worker does not answer, 2 misused.
    """
    from edge.wiring.place import reset_place

    print(f"{camera}: {reset_place(_folder(config, state), camera)}")


@app.command("set")
def set_to(
    camera: Annotated[str, _CAMERA],
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A .jpg or .png of the whole frame.")],
    config: Annotated[Path | None, _CONFIG] = None,
    state: Annotated[Path | None, _STATE] = None,
) -> None:
    """Say what the place looks like empty: what stands there now, and not in the picture, has appeared.

    Example: edge snapshot qiaonong-03 --config site.yaml -o empty.jpg; edge place set qiaonong-03 empty.jpg

    The gateway must run, and be allowed to read the picture. Exit status: 0 done, 1 refused or not answered, 2 misused.
    """
    from edge.wiring.place import set_place

    print(f"{camera}: {set_place(_folder(config, state), camera, picture)}")


@app.command("show")
def show(
    camera: Annotated[str, _CAMERA],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write: .jpg or .png.")],
    config: Annotated[Path | None, _CONFIG] = None,
    state: Annotated[Path | None, _STATE] = None,
) -> None:
    """Write the empty place as it is remembered, at most five minutes old: the zones' surroundings, without things.

    Example: edge place show qiaonong-03 -o place.png

    Exit status: 0 written, 1 nothing is kept of such a camera, 2 misused.
    """
    from edge.wiring.place import show_place

    show_place(_folder(config, state), camera, output)
    print(output)


def _folder(config: Path | None, state: Path | None) -> Path:
    import os

    from edge.config.state_folder import running_state_folder

    return running_state_folder(named=state, config=config, environ=os.environ)
