"""A gateway that is killed anywhere between a case and the street brain starts again with everything in its place.

The whole walks: `scripts/faults lines syscalls courier`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery.runs import walked

pytestmark = [pytest.mark.delivery, pytest.mark.slow]

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is some: SIGKILL loses nothing that was written, on a disk or elsewhere."""
    made = Path(tempfile.mkdtemp(prefix="edge-walk-", dir=_MEMORY if _MEMORY.is_dir() else tmp_path))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_killed_at_any_line_a_gateway_has_each_case_with_its_alerts_and_their_evidence(folder: Path) -> None:
    result = walked("lines", folder)
    assert result["deaths"] == result["killed"] == result["points"] > 80  # every eighth line
    assert result["missed"] == []
    assert result["problems"] == []


def test_killed_between_any_two_system_calls_the_evidence_that_an_alert_names_verifies(folder: Path) -> None:
    result = walked("syscalls", folder)
    assert result["deaths"] > 80
    assert result["problems"] == []
