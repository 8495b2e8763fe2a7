"""Whatever breaks between a gateway and its brain, the brain has every alert once, and the gateway its proof of each.

The long form, with NATS more than 300 faults over 10,000 alerts: `scripts/faults mosquitto nats`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import need_program
from tests.delivery.campaign import BOUND
from tests.delivery.runs import suffered

pytestmark = [pytest.mark.delivery, pytest.mark.slow]


def test_a_broker_that_is_stopped_killed_hung_cut_off_or_full_costs_no_alert_and_doubles_none(tmp_path: Path) -> None:
    need_program("mosquitto")
    if os.environ.get("CI") == "true":
        need_program("ip")  # elsewhere a relay does: it shuts the port, and fills no disk
    outcome = suffered("mosquitto", tmp_path, faults=15, alerts=420)
    assert outcome["problems"] == []
    assert outcome["faults"] >= 15
    assert outcome["alerts"] >= 420
    assert outcome["left_in_outbox"] == 0
    assert outcome["uploaded"] > outcome["alerts"]
    assert outcome["receipts"] + outcome["replaced"] >= outcome["alerts"]
    assert outcome["replaced"] > 0
    assert outcome["waiting_max"] <= BOUND
