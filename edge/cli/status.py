"""`edge status`: how the running gateway does, asked of its supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edge.runtime.health import GatewayStatus

_EVERY_S = 1.0
_IN_A_PIPE = 1000  # columns: one line a camera, for grep
_LEAVE = "qQ\x03\x04"  # Ctrl-C and Ctrl-D, which are keys like others here


def status(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The gateway's site.yaml; only its `state_dir:` is read.")
    ] = None,
    state: Annotated[Path | None, typer.Option("--state", help="The gateway's state folder.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it fresh, with rates; q leaves.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, or with --watch one a second.")] = False,
) -> int:
    """Show the running gateway: cameras, detectors, courier, processes, and what is wrong.

    Example: edge status --watch

    Without --state or --config: $STATE_DIRECTORY, the user's state folder, the installed service's.
    Exit status: 0 healthy, 1 it has a problem, is not running or does not answer, 2 misused. A blind camera alone is no
    problem of the gateway. --watch goes on through all of that, and ends with 0.
    """
    import os

    from edge.config.state_folder import running_state_folder
    from edge.runtime.status_socket import fetch_status

    folder = running_state_folder(named=state, config=config, environ=os.environ)
    if watch:
        _watch(folder, as_json)
        return 0
    found = fetch_status(folder)
    _print(found, as_json)
    return 1 if found.problems else 0


def _print(found: GatewayStatus, as_json: bool) -> None:
    from rich.console import Console

    from edge.cli.status_view import Sample, view

    if as_json:
        print(_document(found, indent=2))
    else:
        console = Console(width=_pipe_width())
        console.print(view(Sample(found), console.width), highlight=False)


def _watch(folder: Path, as_json: bool) -> None:
    """Once a second, whatever becomes of the gateway meanwhile."""
    import sys

    if as_json or not sys.stdout.isatty():
        _repeat(folder, as_json)
    else:
        _keep_fresh(folder)


def _repeat(folder: Path, as_json: bool) -> None:
    import sys
    import time

    from rich.console import Console

    from edge.cli.status_view import Sample, view
    from edge.errors import StateError
    from edge.runtime.status_socket import fetch_status

    console = Console(width=_pipe_width())
    before: GatewayStatus | None = None
    while True:
        try:
            found = fetch_status(folder)
        except StateError as error:
            print(f"edge: {error}", file=sys.stderr, flush=True)
        else:
            if as_json:
                print(_document(found))
            else:
                console.print(view(Sample(found, before), console.width), "", highlight=False)
            sys.stdout.flush()
            before = found
        time.sleep(_EVERY_S)


def _keep_fresh(folder: Path) -> None:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from edge.cli.keys import Keys
    from edge.cli.status_view import Sample, view
    from edge.errors import StateError
    from edge.runtime.status_socket import fetch_status

    console = Console()
    before: GatewayStatus | None = None
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            shown: RenderableType
            try:
                found = fetch_status(folder)
                shown, before = view(Sample(found, before), console.width), found
            except StateError as error:
                shown = Text(str(error), "bold red")
            live.update(shown, refresh=True)
            if keys.pressed(_LEAVE, within_s=_EVERY_S):
                return


def _document(found: GatewayStatus, indent: int | None = None) -> str:
    import json

    from edge.runtime.health import as_document

    return json.dumps({**as_document(found), "problems": found.problems}, ensure_ascii=False, indent=indent)


def _pipe_width() -> int | None:
    """None, where rich knows better: on a terminal, and where COLUMNS is set."""
    import os
    import sys

    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _IN_A_PIPE
