"""How the outbox bears a long outage: start-up, append and drain of a full one against an empty one.

Everything is measured in one run on one machine, by turns: the ratios count, not the numbers. `plain` is paho that
publishes the same bodies at QoS 1 to the same Mosquitto, out of memory, with nothing behind it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.delivery.courier import Courier
from edge.delivery.message import uuid5_of
from edge.delivery.mqtt import MqttPublisher
from edge.state.database import Database
from edge.state.outbox import append
from tests.alerts import EVIDENCE, a_change, alert_of, topic_of
from tests.brokers import Mosquitto

APPENDS = 300
OPENINGS = 15
BATCH = 5000  # rows of the backlog in one transaction: how they came there is not what is measured


def measure(folder: Path, broker: Mosquitto, *, rows: int, messages: int, over: int) -> dict[str, Any]:
    """Figures by name; `ratios` compare the full outbox with the empty one, and the drain with plain paho.

    `over`: ended cases that the full one remembers.
    """
    empty, full = folder / "empty.db", folder / "full.db"
    for path in (empty, full):
        with Database.open(path) as database:
            database.bound_outbox(alerts_max=2 * rows, bytes_max=1 << 40)
    fill(full, rows)
    end_cases(full, over)
    found = {"rows": rows, "full_mb": round(full.stat().st_size / 1e6, 1), "bytes_counted_mb": counted_mb(full)}
    pairs = [(open_ms(empty), open_ms(full)) for _ in range(OPENINGS)]
    found["open_ms"] = middle(pairs)
    with Database.open(empty) as one, Database.open(full) as other:
        # By turns, so that the machine's other work falls upon both.
        halves = [(append_ms(one, number), append_ms(other, number)) for number in range(APPENDS)]
        found["append_ms"] = middle(halves)
        ends = [(append_ms(one, number, "cleared"), append_ms(other, number, "cleared")) for number in range(APPENDS)]
        found["end_ms"] = middle(ends)
        found["state_ms"] = middle([(state_ms(one), state_ms(other)) for _ in range(APPENDS)])
        bodies = [row.body for row in one.next_unsent(0, 100)]
    small = folder / "small.db"
    fill(small, messages)
    rates: dict[str, list[float]] = {"plain": [], "drain_few": [], "drain": []}
    turns = 3
    for _ in range(turns):
        rates["plain"].append(
            max(
                plain_rate(broker, bodies, messages // turns, inflight=20),
                plain_rate(broker, bodies, messages // turns, inflight=0),
            )
        )
        rates["drain_few"].append(drain_rate(broker, small, messages // turns))
        rates["drain"].append(drain_rate(broker, full, messages // turns))
    found["rate"] = {name: round(statistics.median(values)) for name, values in rates.items()}
    found["ratios"] = {
        "open": round(found["open_ms"]["full"] / found["open_ms"]["empty"], 2),
        "append": round(found["append_ms"]["full"] / found["append_ms"]["empty"], 2),
        "end": round(found["end_ms"]["full"] / found["end_ms"]["empty"], 2),
        "state": round(found["state_ms"]["full"] / found["state_ms"]["empty"], 2),
        "drain": round(found["rate"]["drain"] / found["rate"]["drain_few"], 2),
        "drain_to_plain": round(found["rate"]["drain"] / found["rate"]["plain"], 2),
    }
    return found


def fill(path: Path, rows: int) -> None:
    """Alerts with three pieces of evidence each: an opening, an update and an end of each case."""
    change = a_change(1)
    template = alert_of(change, evidence=[EVIDENCE] * 3)
    topic = topic_of(change)
    kinds = ("opened", "updated", "cleared")
    with Database.open(path) as database:
        for first in range(0, rows, BATCH):
            with database.writing() as connection:
                for number in range(first, min(first + BATCH, rows)):
                    case_id = f"{number // 3:036d}"
                    alert = {**template, "id": uuid5_of("measured", path.name, str(number))}
                    append(connection, alert, topic, case_id=case_id, kind=kinds[number % 3])


def end_cases(path: Path, count: int) -> None:
    """So many cases that are over, and one more."""
    with Database.open(path) as database:
        append_ms(database, 999_999, "cleared")
        row = database.read("SELECT * FROM cases")[0]
        place = [name for _, name, *_ in database.read("PRAGMA table_info(cases)")].index("case_id")
        rows = ((*row[:place], f"{number:036d}", *row[place + 1 :]) for number in range(count))
        with database.writing() as connection:
            connection.executemany(f"INSERT INTO cases VALUES ({', '.join('?' * len(row))})", rows)


def counted_mb(path: Path) -> float:
    with Database.open(path) as database:
        return round(database.backlog().bytes / 1e6, 1)


def open_ms(path: Path) -> float:
    begin = time.perf_counter()
    Database.open(path).close()
    return 1000 * (time.perf_counter() - begin)


def append_ms(database: Database, number: int, kind: str = "opened") -> float:
    change = a_change(number, kind, state=kind, alerts=1 if kind == "opened" else 2)
    alert = alert_of(change, evidence=[EVIDENCE] * 3)
    topic = topic_of(change)
    begin = time.perf_counter()
    database.commit(change, alert, topic)
    return 1000 * (time.perf_counter() - begin)


def state_ms(database: Database) -> float:
    begin = time.perf_counter()
    database.backlog()
    database.unsent_count()
    return 1000 * (time.perf_counter() - begin)


def middle(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    empty, full = (statistics.median(values) for values in zip(*pairs, strict=True))
    return {"empty": round(empty, 3), "full": round(full, 3)}


def plain_rate(broker: Mosquitto, bodies: Sequence[str], messages: int, *, inflight: int) -> float:
    """Messages a second that Mosquitto confirms to paho, which holds them all in memory. `inflight` 0: no limit."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="plain")
    confirmed = threading.Semaphore(0)
    client.on_publish = lambda *_: confirmed.release()
    client.max_inflight_messages_set(inflight)
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    connected.wait(10)
    topic = topic_of(a_change(1))
    begin = time.perf_counter()
    for number in range(messages):
        client.publish(topic, bodies[number % len(bodies)].encode(), qos=1)
    for _ in range(messages):
        confirmed.acquire()
    took_s = time.perf_counter() - begin
    client.disconnect()
    client.loop_stop()
    return messages / took_s


def drain_rate(broker: Mosquitto, path: Path, messages: int) -> float:
    """Alerts a second that leave the outbox, `confirm: puback`: read, published, confirmed and deleted."""
    with Database.open(path) as database:
        before = database.unsent_count()
        left = max(before - messages, 0)
        begin = time.perf_counter()
        with Courier(database, MqttPublisher(broker.url, client_id="gw-01", version5=False)):
            while database.unsent_count() > left:
                time.sleep(0.005)
            took_s = time.perf_counter() - begin
        return (before - left) / took_s
