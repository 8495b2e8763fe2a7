"""A gateway that is killed anywhere between a case and the street brain starts again with everything in its place.

The whole walks: `scripts/faults lines syscalls`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.delivery

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is some: SIGKILL loses nothing that was written, on a disk or elsewhere."""
    made = Path(tempfile.mkdtemp(prefix="edge-walk-", dir=_MEMORY if _MEMORY.is_dir() else tmp_path))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def walked(name: str, folder: Path) -> dict[str, Any]:
    """In a process of its own, for lives are forks of it."""
    command = [sys.executable, "-m", "tests.delivery.walk", name, "--folder", str(folder), "--short"]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=250, check=False)
    assert said.stdout, f"{name}: the walk broke off"
    result: dict[str, Any] = json.loads(said.stdout)
    print(f"{name}: {result['deaths']} deaths at {result['points']} points in {result['seconds']} s; {said.stdout}")
    return result


@pytest.mark.slow
def test_killed_at_any_line_a_gateway_has_each_case_with_its_alerts_and_their_evidence(folder: Path) -> None:
    result = walked("lines", folder)
    assert result["deaths"] > 100
    assert result["missed"] == []
    assert result["problems"] == []


@pytest.mark.slow
def test_killed_between_any_two_system_calls_the_evidence_that_an_alert_names_verifies(folder: Path) -> None:
    result = walked("syscalls", folder)
    assert result["deaths"] > 100
    assert result["problems"] == []
