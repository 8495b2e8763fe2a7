"""Configurations of the cameras that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from edge.resources import configs_dir

INTERVAL_S = 10  # the shortest of a measure
_MIDDLE = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.8], [0.3, 0.8]]


def demo_clip() -> str:
    """Footage that is always there; as a camera it is played over and over."""
    return str(configs_dir() / "demo" / "plaza.mp4")


def dwelling(name: str, source: str, *, uses: Sequence[str], decode: str, fps: float = 5.0) -> dict[str, Any]:
    """A camera with one zone and these scenarios in it, each as it is in stock."""
    return {
        "id": name,
        "source": source,
        "sampling": {"decode": decode, "fps": fps},
        "frozen_after_s": 3600,  # a recording that is played over and over is no broken camera
        "zones": [{"id": "middle", "polygon": _MIDDLE}],
        "scenarios": [{"use": use, "zones": ["middle"]} for use in uses],
    }


def watching(name: str, source: str, *, decode: str, fps: float = 5.0) -> dict[str, Any]:
    """One that waits for parked cars and for goods, and tells every ten seconds how many people are there."""
    camera = dwelling(name, source, uses=["illegal-parking", "piled-goods", "occupancy"], decode=decode, fps=fps)
    parking, goods, occupancy = camera["scenarios"]
    parking["after_s"] = goods["after_s"] = 60
    occupancy["every_s"] = INTERVAL_S
    return camera


def busy(name: str, source: str, *, columns: int, rows: int) -> dict[str, Any]:
    """A camera whose every part nobody may enter: alerts all the time wherever people walk."""
    across, down = ([place / count for place in range(count + 1)] for count in (columns, rows))
    cells = [
        [[left, top], [right, top], [right, bottom], [left, bottom]]
        for top, bottom in pairwise(down)
        for left, right in pairwise(across)
    ]
    zones = [{"id": f"part-{number}", "polygon": cell} for number, cell in enumerate(cells)]
    use = {"use": "intrusion", "zones": [zone["id"] for zone in zones], "after_s": 0, "clear_after_s": 1}
    return {
        "id": name,
        "source": source,
        "sampling": {"decode": "all", "fps": 5},
        "frozen_after_s": 3600,
        "zones": zones,
        "scenarios": [use],
    }
