"""What was said of a gateway's cases, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edge.config.state_folder import running_state_folder
from edge.errors import StateError
from edge.runtime.status_socket import NotRunningError, fetch_status
from edge.state.database import Database
from edge.wiring.process_order import DATABASE


@contextmanager
def opened_state(
    *, state: Path | None, config: Path | None, environ: Mapping[str, str]
) -> Iterator[tuple[Database, bool]]:
    """A gateway's database, and whether the gateway runs now. Raises StateError where there is none."""
    folder = running_state_folder(named=state, config=config, environ=environ)
    if not (folder / DATABASE).is_file():
        raise StateError(f"{folder}: no gateway has its state there; name its folder with --state")
    with Database.open(folder / DATABASE) as database:
        yield database, _runs(folder)


def _runs(folder: Path) -> bool:
    try:
        fetch_status(folder)
    except NotRunningError:
        return False
    return True
