"""A street brain as the documentation wants it: it acknowledges what it has stored, and may be killed at any moment.

A fixed client id, a kept session, QoS 1; an alert is committed to its own database, known by its id, before the broker
is told that it has come; then the gateway is told by a receipt. A repeat gets another receipt.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

_CLIENT_ID = "street-brain"


@dataclass(frozen=True, slots=True)
class Kept:
    """What it has stored so far."""

    alerts: int
    repeats: int
    receipts: int  # ids that it has sent


def make_ledger(path: Path) -> None:
    database = _opened(path)
    database.execute(
        "CREATE TABLE alerts (id TEXT PRIMARY KEY, sequence INTEGER, body TEXT, times INTEGER, receipts INTEGER)"
    )
    database.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")  # that have come, or that one stands for
    database.close()


def listen(url_host: str, port: int, path: Path, *, site: str, gateway: str) -> None:
    """Until it is killed."""
    root = f"cityeye/v1/{site}/{gateway}"
    database = _opened(path)
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=_CLIENT_ID,
        clean_session=False,
        protocol=paho.MQTTv311,
        manual_ack=True,
    )
    client.connect_timeout = 2
    client.reconnect_delay_set(0.1, 0.5)  # type: ignore[arg-type]

    def connected(_client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            client.subscribe(f"{root}/alert/#", qos=1)

    def received(_client: Any, _userdata: Any, message: paho.MQTTMessage) -> None:
        alert = json.loads(message.payload)
        database.execute("BEGIN")
        database.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, 1, 0) ON CONFLICT (id) DO UPDATE SET times = times + 1",
            (alert["id"], alert["sequence"], message.payload.decode()),
        )
        numbers = [alert["sequence"], *alert["data"].get("replaces", ())]
        database.executemany("INSERT OR IGNORE INTO numbers VALUES (?)", [(number,) for number in numbers])
        database.execute("COMMIT")
        client.ack(message.mid, message.qos)
        client.publish(f"{root}/receipt", json.dumps({"ids": [alert["id"]]}), qos=1)
        database.execute("UPDATE alerts SET receipts = receipts + 1 WHERE id = ?", (alert["id"],))

    client.on_connect = connected
    client.on_message = received
    client.connect_async(url_host, port, keepalive=2)
    client.loop_forever(retry_first_connection=True)


def kept(path: Path) -> Kept:
    with contextlib.closing(_opened(path)) as database:
        alerts, times, receipts = database.execute(
            "SELECT COUNT(*), COALESCE(SUM(times), 0), COALESCE(SUM(receipts), 0) FROM alerts"
        ).fetchone()
    return Kept(alerts, times - alerts, receipts)


def missing(path: Path, after: int, last: int) -> int:
    """How many of the numbers above `after`, up to `last`, have not come and are covered by none that has."""
    query = "SELECT COUNT(*) FROM numbers WHERE number > ? AND number <= ?"
    with contextlib.closing(_opened(path)) as database:
        return last - after - int(database.execute(query, (after, last)).fetchone()[0])


def stored(path: Path) -> dict[str, tuple[int, str]]:
    """Id -> number and body."""
    with contextlib.closing(_opened(path)) as database:
        rows = database.execute("SELECT id, sequence, body FROM alerts").fetchall()
    return {name: (sequence, body) for name, sequence, body in rows}


def problems_of(path: Path, committed: Mapping[int, Collection[str]], last: int) -> list[str]:
    """What a brain must not see: `committed` is number -> each body as the gateway stored it, `last` the highest."""
    alerts = stored(path)
    found = []
    sequences = sorted(sequence for sequence, _ in alerts.values())
    if len(set(sequences)) != len(sequences):
        twice = sorted({one for one in sequences if sequences.count(one) > 1})
        found.append(f"numbers {twice[:10]} name two alerts each")
    replaced: set[int] = set()
    for sequence, body in alerts.values():
        replaced.update(json.loads(body)["data"].get("replaces", ()))
        if body not in committed.get(sequence, ()):
            found.append(f"alert {sequence} is not what the gateway stored")
    missing = sorted(set(range(1, last + 1)) - set(sequences) - replaced)
    if missing:
        found.append(f"{len(missing)} of {last} alerts never came: {missing[:10]}")
    if beyond := [one for one in sequences if one > last]:
        found.append(f"numbers {beyond[:10]} were never given")
    return found


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database
