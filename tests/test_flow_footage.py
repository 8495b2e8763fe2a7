"""Crossings counted on recorded footage, against a count by eye of the same frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.cli.main import run

pytestmark = pytest.mark.slow

SITE = """\
version: 1
site: {id: s, timezone: UTC}
gateway: {id: g}
cameras:
  - id: c
    source: clip.mp4
    scenarios:
      - {use: people-flow, line: [[0, 0.65], [1, 0.65]], direction: down, every_s: 60}
"""


def test_people_who_cross_a_lane_are_counted_as_by_eye(media: Path, tmp_path: Path) -> None:
    """jetyey_overpass. Down over the line: a white shirt at 12 s, a pair at 15.5, a grey shirt at 22. Up: a rider at 6,
    a woman at 13.5, a brown shirt at 16. Their shadows move with them, and are taken for skateboards.
    """
    (tmp_path / "site.yaml").write_text(SITE)
    clip, out = str(media / "jetyey_overpass.mp4"), tmp_path / "out"
    start = "2026-01-05T08:00:00+00:00"
    assert run(["replay", clip, "--config", str(tmp_path / "site.yaml"), "--out", str(out), "--start", start]) == 0
    (told,) = [json.loads(line)["data"] for line in (out / "measures.jsonl").read_text().splitlines()]
    print(f"counted {told['values']} of 4 in and 3 out, {told['seen_s']} s seen")
    assert told["values"] == {"in": 4, "out": 3}
    assert told["seen_s"] == pytest.approx(30.4, abs=0.5)
    assert (told["from"][11:19], told["to"][11:19]) == ("08:00:00", "08:01:00")
    assert (out / "alerts.jsonl").read_text() == ""
    assert "people-flow" in (out / "report.html").read_text(encoding="utf-8")
