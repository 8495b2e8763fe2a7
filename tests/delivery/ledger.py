"""What must hold of a gateway's state folder whenever its process has been killed and started again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from edge.evidence.verify import verify

# The outbox forgets what was delivered; this does not. One row for each body that a number ever had.
_COPIES = """
CREATE TABLE IF NOT EXISTS test_copies (sequence INTEGER, id TEXT, body TEXT, UNIQUE (sequence, body));
CREATE TRIGGER IF NOT EXISTS test_copied_new AFTER INSERT ON outbox WHEN new.body != '' BEGIN
    INSERT OR IGNORE INTO test_copies VALUES (new.sequence, new.id, new.body);
END;
CREATE TRIGGER IF NOT EXISTS test_copied AFTER UPDATE OF body ON outbox WHEN new.body != '' BEGIN
    INSERT OR IGNORE INTO test_copies VALUES (new.sequence, new.id, new.body);
END;
"""


def keep_copies(folder: Path) -> None:
    """Of every alert, in the transaction that stores it."""
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        database.executescript(_COPIES)


def copies(folder: Path) -> dict[int, list[str]]:
    """Number -> each body that it was ever stored with."""
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        rows = database.execute("SELECT sequence, body FROM test_copies").fetchall()
    found: dict[int, list[str]] = defaultdict(list)
    for sequence, body in rows:
        found[sequence].append(body)
    return found


_FIRST = (
    "SELECT sequence, id, body FROM test_copies WHERE rowid IN (SELECT MIN(rowid) FROM test_copies GROUP BY sequence)"
)


def waiting(folder: Path) -> int:
    """Rows of the outbox."""
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        return int(database.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])


def relayed(folder: Path) -> int:
    """Alerts of which evidence is still to be uploaded."""
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        return int(database.execute("SELECT COUNT(*) FROM relays").fetchone()[0])


def store_problems(folder: Path, store: Path) -> tuple[int, list[str]]:
    """How many files an alert names that may leave the gateway, and what is wrong with them in the store."""
    alerts = [json.loads(bodies[0]) for bodies in copies(folder).values()]
    wanted = {entry["sha256"] for alert in alerts for entry in alert["data"]["evidence"] if entry["role"] != "original"}
    found = []
    stored = {path.name.partition(".")[0]: path for path in store.rglob("*") if path.is_file()}
    for name, path in stored.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != name:
            found.append(f"store: {path.name} is not what its name says")
    if missing := wanted - stored.keys():
        found.append(f"store: {len(missing)} of {len(wanted)} files are not there: {sorted(missing)[:3]}")
    return len(wanted), found


def last(folder: Path) -> int:
    """The highest number that was given."""
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        rows = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchall()
    return int(rows[0][0]) if rows else 0


def problems_of(folder: Path, *, delivered: bool = False) -> list[str]:
    """One line each, none where all holds: the alerts, the cases, and the evidence of all cases that an alert names.

    `delivered`: the outbox holds the rest, copies hold all of them as they were when they were new.
    """
    with contextlib.closing(sqlite3.connect(folder / "edge.db")) as database:
        query = _FIRST if delivered else "SELECT sequence, id, body FROM outbox"
        rows = database.execute(f"{query} ORDER BY sequence").fetchall()
        cases = database.execute("SELECT case_id, state, alerts FROM cases WHERE state != 'pending'").fetchall()
    alerts = [json.loads(body) for _, _, body in rows]
    found = _outbox_problems(rows, alerts)
    found += _case_problems(cases, alerts)
    for alert in alerts:
        found += _evidence_problems(folder, alert)
    named = {str(alert["data"]["case_id"]) for alert in alerts}
    if (folder / "chain.json").exists():
        verdict = verify(folder)
        unfinished = [f"{path}: named by no manifest: unfinished" for path in verdict.unfinished_files]
        found += [problem for problem in (*verdict.problems, *unfinished) if _concerns(problem, named)]
    return found


def _concerns(problem: str, named: set[str]) -> bool:
    """All but what is said of a case whose first alert is still to be told."""
    parts = problem.split("/")
    return len(parts) < 2 or parts[0] != "evidence" or parts[1] in named


def _outbox_problems(rows: list[tuple[Any, ...]], alerts: list[dict[str, Any]]) -> list[str]:
    sequences = [row[0] for row in rows]
    found = []
    if sequences != list(range(1, len(rows) + 1)):
        found.append(f"outbox: numbers {sequences} are not 1 to {len(rows)}")
    for (sequence, name, _), alert in zip(rows, alerts, strict=True):
        if (alert["sequence"], alert["id"]) != (sequence, name):
            found.append(f"outbox: row {sequence} holds alert {alert['sequence']}")
    return found


def _case_problems(cases: list[tuple[Any, ...]], alerts: list[dict[str, Any]]) -> list[str]:
    """A case and its alerts are stored together: each has as many as it says, opened first, nothing after its end."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for alert in alerts:
        kinds[alert["data"]["case_id"]].append(alert["type"].split(".")[2])
    found = []
    for case_id, state, count in cases:
        told = kinds.pop(case_id, [])
        if len(told) != count or told[:1] != ["opened"] or Counter(told)["opened"] != 1:
            found.append(f"case {case_id}: {count} alerts by the case, {told} in the outbox")
        elif state in ("cleared", "withdrawn") and told[-1] != state:
            found.append(f"case {case_id}: is {state}, told as {told}")
    return [*found, *(f"case {case_id}: told as {told} and not stored" for case_id, told in kinds.items())]


def _evidence_problems(folder: Path, alert: dict[str, Any]) -> list[str]:
    found = []
    for entry in alert["data"]["evidence"]:
        path = folder / entry["path"]
        try:
            content = path.read_bytes()
        except OSError as error:
            found.append(f"alert {alert['sequence']} names {entry['path']}: {error.strerror}")
            continue
        if (len(content), hashlib.sha256(content).hexdigest()) != (entry["bytes"], entry["sha256"]):
            found.append(f"alert {alert['sequence']} names {entry['path']}, which is another file")
    return found
