"""A car that comes and goes on each camera, and what the brain must have been told of it: the truth of the kill drill.

The view is one camera's own: the same stream with the blue car of `PARKED` in its corner, or with bricks in its place.
A switch waits for what came of the one before, so cases open and clear all the time, however slow the machine is.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.delivery.message import uuid5_of
from tests.bench.cameras import StreetCameras
from tests.bench.streams import Stream
from tests.brokers import Inbox

LEFT = "split[here][there];[there]crop=74:80:372:100[bricks];[here][bricks]overlay=458:45"  # a `view` of `PARKED`
TAKEN_ZONE, STANDING_ZONE = "corner", "bays"
AFTER_S = 5.0  # dwell until a case, see `camera_config`
TOLD_WITHIN_S = 60.0  # two kills in a row may each cost all dwell, and a start
KINDS_OF_A_CASE = re.compile(r"opened( updated)*( cleared)?")
Alert = dict[str, Any]


@dataclass
class _Bay:
    taken: bool
    since_s: float
    appearances: int
    go_on_s: float | None = None  # what is so has been told: when it changes


class Bays:
    """Switches the cameras' views in a thread of its own, from `start` until `finish`."""

    def __init__(self, cameras: StreetCameras, inbox: Inbox, names: Sequence[str], *, taken: Stream, left: Stream):
        self._cameras, self._inbox, self._views = cameras, inbox, {True: taken, False: left}
        self._chance = random.Random(2)
        self._bays = {name: _Bay(taken=True, since_s=time.monotonic(), appearances=1) for name in names}
        self._lock = threading.Lock()
        self._finishing = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._drive, name="bays", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> int:
        """Let every car go, and compare with the truth; returns how many appearances there were."""
        self._finishing.set()
        self._thread.join(3 * TOLD_WITHIN_S)
        assert not self._failure, self._failure
        assert not self._thread.is_alive(), "the bays did not come to an end"
        time.sleep(AFTER_S + 3)  # what is told twice may be told late
        truth = {name: bay.appearances for name, bay in self._bays.items()}
        check_told(self._inbox.alerts[:], truth)
        return sum(truth.values())

    def camera_to_open(self, *, but: str) -> tuple[str, float]:
        """The camera, other than `but`, whose case is to be opened next, and about when, in seconds; 0 if none is."""
        now_s = time.monotonic()
        with self._lock:
            due = {
                name: bay.since_s + AFTER_S - now_s
                for name, bay in self._bays.items()
                if name != but and bay.taken and bay.go_on_s is None
            }
        if not due:
            return next(name for name in self._bays if name != but), 0.0
        name = min(due, key=lambda one: due[one])
        return name, max(due[name], 0.0)

    def _drive(self) -> None:
        while not self._failure:
            with self._lock:
                going = [self._turn(name, bay) for name, bay in self._bays.items()]
            if not any(going):
                return
            time.sleep(0.1)

    def _turn(self, name: str, bay: _Bay) -> bool:
        """Whether it goes on: at the end every bay is left, and that has been told."""
        now_s = time.monotonic()
        if bay.go_on_s is None:
            kind = "opened" if bay.taken else "cleared"
            alerts = self._inbox.alerts[:]
            told = {alert["data"]["case_id"] for alert in alerts if _is(alert, name, kind)}
            if len(told) >= bay.appearances:
                bay.go_on_s = now_s + self._chance.uniform(0, 4)
            elif now_s - bay.since_s > TOLD_WITHIN_S:
                self._failure = f"{name}: appearance {bay.appearances} was not {kind} within {TOLD_WITHIN_S} s"
        elif self._finishing.is_set() and not bay.taken:
            return False
        elif now_s >= bay.go_on_s:
            bay.taken, bay.since_s, bay.go_on_s = not bay.taken, now_s, None
            bay.appearances += bay.taken
            self._cameras.switch(f"/{name}", self._views[bay.taken], drop=False)
        return True


def _is(alert: Alert, name: str, kind: str) -> bool:
    data = alert["data"]
    return (kind_of(alert), data["camera"]["id"], data["zone"]["id"]) == (kind, name, TAKEN_ZONE)


def kind_of(alert: Alert) -> str:
    return str(alert["type"]).split(".")[2]


def check_told(alerts: Sequence[Alert], appearances: dict[str, int]) -> None:
    """What arrived, against the truth: each appearance is one case, opened once and cleared once; nobody's else is.

    A delivery may be repeated, with the same id and the same number. Within a case nothing is left out or told twice:
    an alert's id is made of its place among those of its case.
    """
    first = {alert["id"]: alert for alert in reversed(alerts)}
    for alert in alerts:
        assert alert == first[alert["id"]], f"two different alerts of one id: {alert} {first[alert['id']]}"
    ordered = sorted(first.values(), key=lambda alert: alert["sequence"])
    assert [alert["sequence"] for alert in ordered] == list(range(1, len(ordered) + 1)), "a gap, or a number twice"
    cases: dict[str, list[Alert]] = defaultdict(list)
    for alert in ordered:
        cases[alert["data"]["case_id"]].append(alert)
    found: Counter[tuple[str, str, str]] = Counter()
    for case_id, own in cases.items():
        kinds = [kind_of(alert) for alert in own]
        assert KINDS_OF_A_CASE.fullmatch(" ".join(kinds)), f"{own[0]['data']['camera']['id']} {case_id}: {kinds}"
        ids = [uuid5_of(one["source"], case_id, kind_of(one), str(turn)) for turn, one in enumerate(own, 1)]
        assert [one["id"] for one in own] == ids, f"{case_id}: one of {kinds} is missing or twice"
        data = own[0]["data"]
        found.update((data["camera"]["id"], data["zone"]["id"], kind) for kind in kinds if kind != "updated")
    wanted = {(name, STANDING_ZONE, "opened"): 1 for name in appearances}
    for kind in ("opened", "cleared"):
        wanted |= {(name, TAKEN_ZONE, kind): count for name, count in appearances.items()}
    assert dict(found) == wanted, f"told {dict(found)}, true is {wanted}"
