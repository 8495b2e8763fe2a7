"""`edge place`: the picture of a camera's empty place, against which things that were put down are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The picture of a camera's empty place: begin it anew.", rich_markup_mode=None)

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

    The gateway must run. Exit status: 0 done, 1 the gateway or the camera's worker does not answer, 2 misused.
    """
    import os

    from edge.config.state_folder import running_state_folder
    from edge.wiring.place import reset_place

    folder = running_state_folder(named=state, config=config, environ=os.environ)
    print(f"{camera}: {reset_place(folder, camera)}")
