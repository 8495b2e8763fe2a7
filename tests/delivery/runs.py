"""Walks and campaigns as tests run them: each in a process of its own, for its lives are forks of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.delivery.campaign import table

_LIMIT_S = 280


def walked(name: str, folder: Path) -> dict[str, Any]:
    """The short form of a walk."""
    result = _run("walk", name, folder, "--short")
    print(
        f"{name}: {result['deaths']} deaths at {result['killed']} of {result['points']} points, "
        f"{result['alerts']} alerts, {result['checks']} checks, {result['seconds']} s: {result['by_file']}"
    )
    return result


def suffered(broker: str, folder: Path, *, faults: int, alerts: int) -> dict[str, Any]:
    """A campaign, in a network of its own where that is allowed."""
    outcome = _run("campaign", broker, folder, "--json", "--faults", str(faults), "--alerts", str(alerts))
    print(table(outcome))
    return outcome


def _run(module: str, what: str, folder: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"tests.delivery.{module}", what, "--folder", str(folder), *more]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_LIMIT_S, check=False)
    assert said.stdout, f"{module} {what} broke off"
    found: dict[str, Any] = json.loads(said.stdout)
    return found
