"""ONVIF's event broker (Core 25.12, "Event Broker"): alerts and flow measures as `onvif-ej` events over our own MQTT.

    <prefix>/onvif-ej/RuleEngine/<Detector>/<Event>/&<VideoSource>/<Rule>   {"UtcTime", "Source", "Data"}

A rule is a scenario in a zone, an object is a case. What stays or loiters is a property that is there while a case is
open; being inside and a count are properties that change; crossing a line is a moment. Properties are retained, and one
that is no more is deleted by an empty message. A scenario that fits no rule of the standard (absence) is not told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edge.delivery.bridges.follower import FollowerState, WaitingRelays
from edge.delivery.bridges.rules import Rule, Rules
from edge.delivery.bridges.webhook import happened
from edge.delivery.courier import MeasureQueue
from edge.delivery.letters import Letter
from edge.delivery.message import dumps

log = logging.getLogger(__name__)

Alert = Mapping[str, Any]

STANDING_MAX = 10_000  # open cases that are remembered; beyond, the oldest are forgotten
TAKEN_MAX = 64  # alerts that are taken from the relays ahead of the broker's word
# Analytics 25.12, annex A: what stays longer than a threshold loiters, whatever it is.
_STAYS = {"stationary", "left_object", "heap", "occupation"}
_INSIDE = {"gathering", "repeated_gathering"}
# Analytics 25.12, A.1.2.2; things of another class are told without one.
_CLASSES = {"person": "Human", "bicycle": "Bicycle", "car": "Vehicle", "truck": "Vehicle", "bus": "Vehicle"}
_CLASSES |= {"motorcycle": "Vehicle"}
_UNFIT = (KeyError, ValueError, TypeError)  # what is of another version may lie in the queue
_RULE_GONE = {"not-watched", "camera-removed"}


@dataclass(frozen=True, slots=True)
class Event:
    """One MQTT message; an empty body deletes a property."""

    topic: str
    body: str
    retain: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """An open case of a rule."""

    case_id: str
    label: str
    since: str  # RFC 3339


def events_of(prefix: str, rule: Rule | None, alert: Alert, standing: Sequence[Standing]) -> list[Event]:
    """What an alert says in ONVIF's words. `standing`: the rule's open cases after it, oldest first."""
    data = alert["data"]
    source = {"VideoSource": data["camera"]["id"], "Rule": f"{data['scenario']}.{data['zone']['id']}"}
    what = happened(alert)
    if rule is None or what == "updated":
        return []
    if rule.kind == "crossing":
        own = [Standing(data["case_id"], data["object"]["label"], data["started_at"])]
        told = _event(prefix, "LineDetector/Crossed", alert["time"], source, _objects(own), retain=False)
        return [told] if what == "opened" else []
    if rule.kind in _INSIDE or (rule.kind == "loitering" and rule.moment):
        gone = data.get("reason") in _RULE_GONE and not standing
        inside = {"IsInside": bool(standing), **_objects(standing)}
        return [_event(prefix, "FieldDetector/ObjectsInside", alert["time"], source, None if gone else inside)]
    if rule.kind in _STAYS or rule.kind == "loitering":
        stays = {**_objects(standing), "Since": _utc(standing[0].since)} if standing else None
        return [_event(prefix, "LoiteringDetector/ObjectIsLoitering", alert["time"], source, stays)]
    return []


def counters_of(prefix: str, measure: Mapping[str, Any]) -> list[Event]:
    """A flow's counts, one rule a direction. Each interval begins anew, which the standard calls a reset."""
    data = measure["data"]
    values = data["values"]
    if not {"in", "out"} <= values.keys() or values["in"] is None:
        return []  # an occupancy is no counter; a blind interval has no count
    place = data.get("line", data.get("zone"))["id"]
    return [
        _event(
            prefix,
            "CountAggregation/Counter",
            data["to"],
            {"VideoSource": data["camera"]["id"], "Rule": f"{place}.{way}"},
            {"Count": int(values[way])},
        )
        for way in ("in", "out")
    ]


class OnvifLetters:
    """The courier's letter box of ONVIF events. Used from the courier's thread, but for `state`."""

    def __init__(
        self,
        name: str,
        relays: WaitingRelays,
        *,
        prefix: str,
        rules: Rules,
        standing: Iterable[tuple[tuple[str, ...], Standing]],
    ) -> None:
        """`standing`: the open cases of the start, each with its camera, scenario and zone."""
        self.name = name
        self._relays = relays
        self._prefix = prefix
        self._rules = rules
        self._standing: dict[str, tuple[tuple[str, ...], Standing]] = {}  # by case, oldest first
        for place, case in standing:
            self._add(place, case)
        self._pending: dict[int, dict[str, Event]] = {}  # sequence -> key -> what is not confirmed, at most TAKEN_MAX
        self._after = 0
        self._sent = self._refused = 0

    def unposted(self, limit: int) -> Sequence[Letter]:
        if len(self._pending) < TAKEN_MAX:
            self._take(min(limit, TAKEN_MAX - len(self._pending)))
        letters = [
            Letter(key, event.topic, event.body, event.retain)
            for events in self._pending.values()
            for key, event in events.items()
        ]
        return letters[:limit]

    def mark_posted(self, keys: Iterable[str]) -> None:
        over = []
        for key in keys:
            sequence = int(key.partition(".")[0])
            events = self._pending.get(sequence, {})
            events.pop(key, None)
            if not events and self._pending.pop(sequence, None) is not None:
                over.append(sequence)
        self._relays.done(self.name, over)
        self._sent += len(over)

    def state(self) -> FollowerState:
        return FollowerState(self.name, self._relays.waiting_count(self.name), self._sent, self._refused)

    def _take(self, limit: int) -> None:
        untold = []
        for row in self._relays.waiting(self.name, after=self._after, limit=limit):
            self._after = row.sequence
            try:
                events = self._events(json.loads(row.body))
            except _UNFIT as error:
                log.error(
                    "%s: alert %d is given up: it cannot be put into its words (%r)", self.name, row.sequence, error
                )
                events = []
                self._refused += 1
            if events:
                self._pending[row.sequence] = {f"{row.sequence}.{n}": event for n, event in enumerate(events)}
            else:
                untold.append(row.sequence)
        if untold:
            self._relays.done(self.name, untold)

    def _events(self, alert: Alert) -> list[Event]:
        data = alert["data"]
        place = (data["camera"]["id"], data["scenario"], data["zone"]["id"])
        if data["state"] == "opened":
            self._add(place, Standing(data["case_id"], data["object"]["label"], data["started_at"]))
        else:
            self._standing.pop(data["case_id"], None)
        standing = [case for where, case in self._standing.values() if where == place]
        return events_of(self._prefix, self._rules.of(place[0], place[1]), alert, standing)

    def _add(self, place: tuple[str, ...], case: Standing) -> None:
        self._standing.setdefault(case.case_id, (place, case))
        if len(self._standing) > STANDING_MAX:
            del self._standing[next(iter(self._standing))]


class Counters:
    """Passes measures on, and remembers the newest count of each flow as a retained property."""

    def __init__(self, measures: MeasureQueue, prefix: str) -> None:
        self._measures = measures
        self._prefix = prefix
        self._counts: dict[str, str] = {}  # topic -> body, two for each line of a camera

    def take_measures(self, limit: int) -> Sequence[tuple[str, str]]:
        taken = self._measures.take_measures(limit)
        for _, body in taken:
            with suppress(*_UNFIT):
                for event in counters_of(self._prefix, json.loads(body)):
                    self._counts[event.topic] = event.body
        return taken

    def waiting_measures(self) -> int:
        return self._measures.waiting_measures()

    def notices(self) -> Mapping[str, str]:
        return dict(self._counts)


def _event(
    prefix: str,
    name: str,
    moment: str,
    source: Mapping[str, str],
    data: Mapping[str, object] | None,
    *,
    retain: bool = True,
) -> Event:
    """`data` is None for a property that is no more."""
    topic = f"{prefix}/onvif-ej/RuleEngine/{name}/&{'/'.join(source.values())}"
    if data is None:
        return Event(topic, "", retain)
    return Event(topic, dumps({"UtcTime": _utc(moment), "Source": dict(source), "Data": dict(data)}), retain)


def _objects(standing: Sequence[Standing]) -> dict[str, object]:
    """Lists in XML's way: one word each, in the same order. Classes only where all are known."""
    if not standing:
        return {}
    classes = [_CLASSES.get(case.label) for case in standing]
    ids = " ".join(case.case_id for case in standing)
    return {"ObjectId": ids, **({"ClassTypes": " ".join(filter(None, classes))} if all(classes) else {})}


def _utc(moment: str) -> str:
    text = datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
