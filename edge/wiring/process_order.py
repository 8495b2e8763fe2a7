"""What every process of the service is given at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import logs
from edge.config.loader import Site
from edge.runtime.board import SUPERVISOR_ROW, Board, Row
from edge.runtime.health import SupervisorReport, read_report

DATABASE = "edge.db"
GATEWAY_LOCK = "gateway.lock"  # held by whoever runs in a state folder


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"
    form: logs.Form = "auto"


@dataclass(frozen=True, slots=True)
class ProcessOrder:
    """Travels to the new process; the board's descriptor with it."""

    site: Site
    folder: Path  # of the gateway's state
    board: Board
    row_number: int
    log: LogSettings

    @property
    def row(self) -> Row:
        return self.board.row(self.row_number)

    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    def config_sha256(self) -> str:
        """Of the configuration in force: a reload does not restart a process that it does not change."""
        return read_report(self.board.row(SUPERVISOR_ROW), SupervisorReport).config_sha256 or self.site.config_sha256

    def set_up_log(self, process: str, *, camera: str = "", secret: str | None = None) -> None:
        """`secret`: one that came from a file, besides those from the environment."""
        secrets = (*self.site.secrets, *([secret] if secret else []))
        logs.set_up(process=process, camera=camera, level=self.log.level, form=self.log.form, secrets=secrets)
