"""An outbox with much in it is as quick as an empty one.

The short form; `scripts/measure_outbox.py --rows 1000000` is the long one. Figures are printed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.backlog import measure
from tests.brokers import Mosquitto

ROWS, OVER = 10_000, 20_000


@pytest.mark.delivery
@pytest.mark.alone
def test_start_append_and_drain_are_flat_and_no_less_than_a_third_of_plain_publishing(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    try:
        found = measure(tmp_path, broker, rows=ROWS, messages=3_000, over=OVER)
    finally:
        broker.kill()
    print(json.dumps(found))
    ratios = found["ratios"]
    # A scan of all rows would show: it takes 40 times an empty outbox's start at this size.
    assert ratios["open"] < 3
    assert ratios["append"] < 2
    assert ratios["end"] < 2
    assert ratios["state"] < 3
    assert ratios["drain"] > 0.5
    assert ratios["drain_to_plain"] >= 0.3
