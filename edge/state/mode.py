"""Whether the gateway is in its normal or its emergency mode (平时/战时), kept over restarts."""

from __future__ import annotations

from edge.state.database import Database

NORMAL, EMERGENCY = "normal", "emergency"
MODES = (NORMAL, EMERGENCY)


def mode_of(database: Database) -> str:
    rows = database.read("SELECT value FROM meta WHERE key = 'mode'")
    return str(rows[0][0]) if rows and rows[0][0] in MODES else NORMAL


def set_mode(database: Database, mode: str) -> None:
    assert mode in MODES
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO meta (key, value) VALUES ('mode', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (mode,),
        )
