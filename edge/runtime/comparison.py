"""What changed between two replays of the same footage: cases that came, went, or were told at another time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.core import boxes
from edge.core.types import Float32
from edge.errors import UsageError

Alert = Mapping[str, Any]
SAME_PLACE_IOU = 0.3


def read_alerts(folder: Path) -> list[dict[str, Any]]:
    """The alerts of an earlier replay. Raises UsageError where the folder holds none that can be read."""
    path = folder / "alerts.jsonl"
    try:
        alerts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        differences(alerts, alerts)  # what cannot be compared with itself is told now, not after the replay
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name the folder of a replay") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: not the alerts of a replay; name the folder of a replay") from error
    return alerts


def differences(before: Sequence[Alert], after: Sequence[Alert]) -> list[str]:
    """One line a case that is not the same in both; none where every case opened and ended alike."""
    old, new = _opened(before), _opened(after)
    pairs = _paired(old, new)
    gone = [f"- {_told(alert)}" for row, alert in enumerate(old) if row not in pairs]
    come = [f"+ {_told(alert)}" for row, alert in enumerate(new) if row not in pairs.values()]
    changed = [line for row, match in pairs.items() if (line := _change(old[row], new[match], before, after))]
    return gone + come + changed


def _opened(alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert["data"]["state"] == "opened" and ".opened." in alert["type"]]


def _paired(old: Sequence[Alert], new: Sequence[Alert]) -> dict[int, int]:
    """Old row -> new row: the same id, or the same scenario and zone at the same place, nearest in time first."""
    candidates = [
        (_distance_s(first, second), row, match)
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


def _distance_s(first: Alert, second: Alert) -> float:
    return abs(float(first["data"].get("media_time_s", 0)) - float(second["data"].get("media_time_s", 0)))


def _change(old: Alert, new: Alert, before: Sequence[Alert], after: Sequence[Alert]) -> str:
    was, now = _life(old, before), _life(new, after)
    return "" if was == now else f"~ {_told(new)}: was {was}, is {now}"


def _life(opened: Alert, alerts: Sequence[Alert]) -> str:
    """`opened 9.8 s, cleared 20.0 s (seen-empty)`: every alert of the case but its updates."""
    case_id = opened["data"]["case_id"]
    steps = [
        alert["data"] for alert in alerts if alert["data"]["case_id"] == case_id and ".updated." not in alert["type"]
    ]
    return ", ".join(
        f"{step['state']} {step.get('media_time_s', 0):.1f} s" + (f" ({step['reason']})" if "reason" in step else "")
        for step in steps
    )


def _told(alert: Alert) -> str:
    data = alert["data"]
    return (
        f"{data['camera']['id']} {data['scenario']} in {data['zone']['id']}: {data['object']['label']} "
        f"at {data['object']['box_px']}, opened at {data.get('media_time_s', 0):.1f} s"
    )
