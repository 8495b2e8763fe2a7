"""What changed between two replays of the same footage: cases that came, went, or were told at another time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge.core import boxes
from edge.core.types import Float32
from edge.errors import UsageError

Alert = Mapping[str, Any]
Clock = Callable[[Alert], tuple[float, str]]  # when an alert was: seconds to compare, and words to print
SAME_PLACE_IOU = 0.3


@dataclass(frozen=True, slots=True)
class Earlier:
    """What there is to compare with."""

    alerts: list[dict[str, Any]]
    one_clip: bool  # False where the replay does not say


def read_earlier(folder: Path) -> Earlier:
    """An earlier replay. Raises UsageError where the folder holds no alerts that can be read."""
    path = folder / "alerts.jsonl"
    try:
        alerts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for one_clip in (True, False):  # what cannot be compared with itself is told now, not after the replay
            differences(alerts, alerts, one_clip=one_clip)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name the folder of a replay") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not the alerts of a replay; name the folder of a replay") from error
    return Earlier(alerts, _of_one_clip(folder / "summary.json"))


def _of_one_clip(summary: Path) -> bool:
    try:
        return len(json.loads(summary.read_text(encoding="utf-8"))["clips"]) == 1
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def differences(before: Sequence[Alert], after: Sequence[Alert], *, one_clip: bool) -> list[str]:
    """One line a case that is not the same in both; none where every case opened and ended alike.

    `one_clip`: both are of a single recording, so that seconds into it say when something was, whatever start it was
    given. Over several recordings only the clock does.
    """
    clock = _media_clock if one_clip else _wall_clock
    old, new = _opened(before), _opened(after)
    pairs = _paired(old, new, clock)
    gone = [f"- {_told(alert, clock)}" for row, alert in enumerate(old) if row not in pairs]
    come = [f"+ {_told(alert, clock)}" for row, alert in enumerate(new) if row not in pairs.values()]
    changed = [line for row, match in pairs.items() if (line := _change(old[row], new[match], before, after, clock))]
    return gone + come + changed


def _media_clock(alert: Alert) -> tuple[float, str]:
    second = float(alert["data"].get("media_time_s", 0))
    return second, f"{second:.1f} s"


def _wall_clock(alert: Alert) -> tuple[float, str]:
    return datetime.fromisoformat(alert["time"]).timestamp(), str(alert["time"])


def _opened(alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert["data"]["state"] == "opened" and ".opened." in alert["type"]]


def _paired(old: Sequence[Alert], new: Sequence[Alert], clock: Clock) -> dict[int, int]:
    """Old row -> new row: the same id, or the same scenario and zone at the same place, nearest in time first."""
    candidates = [
        (abs(clock(first)[0] - clock(second)[0]), row, match)
        for row, first in enumerate(old)
        for match, second in enumerate(new)
        if _same_place(first["data"], second["data"])
    ]
    pairs: dict[int, int] = {}
    for _, row, match in sorted(candidates):
        if row not in pairs and match not in pairs.values():
            pairs[row] = match
    return pairs


def _same_place(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    if first["scenario"] != second["scenario"] or first["zone"]["id"] != second["zone"]["id"]:
        return False
    overlap = boxes.iou(_box(first), _box(second))[0, 0]
    return first["case_id"] == second["case_id"] or bool(overlap >= SAME_PLACE_IOU)


def _box(data: Mapping[str, Any]) -> Float32:
    return np.array([data["object"]["box_px"]], np.float32)


def _change(old: Alert, new: Alert, before: Sequence[Alert], after: Sequence[Alert], clock: Clock) -> str:
    was, now = _life(old, before, clock), _life(new, after, clock)
    return "" if was == now else f"~ {_told(new, clock)}: was {was}, is {now}"


def _life(opened: Alert, alerts: Sequence[Alert], clock: Clock) -> str:
    """`opened 9.8 s, cleared 20.0 s (seen-empty)`: every alert of the case but its updates."""
    case_id = opened["data"]["case_id"]
    steps = [alert for alert in alerts if alert["data"]["case_id"] == case_id and ".updated." not in alert["type"]]
    return ", ".join(_step(alert, clock) for alert in steps)


def _step(alert: Alert, clock: Clock) -> str:
    data = alert["data"]
    return f"{data['state']} {clock(alert)[1]}" + (f" ({data['reason']})" if "reason" in data else "")


def _told(alert: Alert, clock: Clock) -> str:
    data = alert["data"]
    return (
        f"{data['camera']['id']} {data['scenario']} in {data['zone']['id']}: {data['object']['label']} "
        f"at {data['object']['box_px']}, opened at {clock(alert)[1]}"
    )
