"""`edge run`: the service."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Level(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class Form(StrEnum):
    auto = "auto"
    text = "text"
    json = "json"


def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration, usually site.yaml.")],
    state: Annotated[Path | None, typer.Option(help="Folder of the gateway's state, else state_dir:")] = None,
    log_level: Annotated[Level, typer.Option(help="What the log tells.")] = Level.info,
    log_format: Annotated[Form, typer.Option(help="auto: for the journal where it reads along.")] = Form.auto,
) -> int:
    """Watch the cameras of a site until told to stop: cases, evidence, alerts.

    SIGTERM and Ctrl-C end it in order; SIGHUP, or a change of the file, takes the new configuration.

    Example: edge run --config site.yaml

    Exit status: 0 stopped in order, 1 failed, 2 misused.
    """
    from edge import logs
    from edge.config.state_folder import state_folder
    from edge.wiring.live import run_gateway
    from edge.wiring.process_order import LogSettings

    logs.set_up(process="supervisor", level=log_level, form=log_format.value)
    folder = state_folder(named=state, config=config, environ=os.environ)
    run_gateway(
        config, folder=folder, environ=os.environ, log_settings=LogSettings(level=log_level, form=log_format.value)
    )
    return 0
