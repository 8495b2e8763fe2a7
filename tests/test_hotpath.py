"""`edge.bench.hotpath`: that what is timed is the work of a street, and that it can be read by a program."""

from __future__ import annotations

import json

from edge.bench.hotpath import STAGES, measure


def test_every_stage_is_timed_on_streets_with_tracks_and_cases() -> None:
    figures = json.loads(json.dumps(measure(cameras=(1, 3), objects=(1, 40), seconds=0)))
    rows = figures["rows"]
    print(*rows, figures["growth"], sep="\n")
    assert [(row["cameras"], row["objects"]) for row in rows] == [(1, 1), (1, 40), (3, 1), (3, 40)]
    assert all(set(row["stages_us"]) == set(STAGES) and min(row["stages_us"].values()) > 0 for row in rows)
    assert rows[0]["cases"] == 1
    assert rows[1]["cases"] > 1
    assert rows[1]["stages_us"]["cases"] > rows[0]["stages_us"]["cases"], "more cases cost more"
    assert set(figures["growth"]) == {"1", "40"}
