"""What `--against` prints: cases are paired by when and where they were, whatever clip they were in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.errors import UsageError
from edge.runtime.comparison import differences, read_earlier

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
CLIP_S = 600.0


def an_alert(case: str, second: float, *, kind: str = "opened", box: tuple[int, ...] = (10, 10, 50, 40)) -> Any:
    """An alert at a second of successive clips of ten minutes each."""
    data = {
        "case_id": case,
        "state": "cleared" if kind == "cleared" else "opened",
        "scenario": "illegal-parking",
        "camera": {"id": "gate"},
        "zone": {"id": "kerb"},
        "object": {"label": "car", "box_px": list(box)},
        "media_time_s": second % CLIP_S,
        **({"reason": "seen-empty"} if kind == "cleared" else {}),
    }
    at = (START + timedelta(seconds=second)).isoformat(timespec="milliseconds")
    return {"type": f"cityeye.case.{kind}.v1", "time": at, "data": data}


def test_the_same_alerts_do_not_differ() -> None:
    alerts = [an_alert("a", 60), an_alert("a", 90, kind="updated"), an_alert("a", 120, kind="cleared")]
    for one_clip in (True, False):
        assert differences(alerts, alerts, one_clip=one_clip) == []


def test_what_went_came_and_changed_is_told() -> None:
    before = [an_alert("a", 60), an_alert("b", 70, box=(100, 10, 150, 40)), an_alert("b", 90, kind="cleared")]
    after = [an_alert("b2", 72, box=(102, 10, 152, 40)), an_alert("b2", 90, kind="cleared"), an_alert("c", 300)]
    after[2]["data"]["zone"] = {"id": "gate"}
    told = differences(before, after, one_clip=True)
    assert [line[0] for line in told] == ["-", "+", "~"]
    assert "opened 70.0 s, cleared 90.0 s (seen-empty), is opened 72.0 s, cleared 90.0 s" in told[2]


def test_cases_at_one_position_of_two_clips_are_not_mixed_up() -> None:
    """Two cars in the same bay, each a minute into its clip: the first is lost in the later replay."""
    before = [an_alert("a", 60), an_alert("b", CLIP_S + 60.4)]
    after = [an_alert("b2", CLIP_S + 60)]
    told = differences(before, after, one_clip=False)
    assert [line[0] for line in told] == ["-", "~"]
    assert "09:01:00.000" in told[0]
    assert "09:11:00.400" in told[1]
    assert " s" not in told[0].partition("opened at")[2]


def test_one_clip_that_is_given_another_start_does_not_differ() -> None:
    later = an_alert("a", 60)
    later["time"] = "2027-01-01T00:00:00.000+00:00"
    assert differences([an_alert("a", 60)], [later], one_clip=True) == []


@pytest.mark.parametrize(
    ("summary", "one_clip"),
    [('{"clips": [{}]}', True), ('{"clips": [{}, {}]}', False), ("{}", False), ("[]", False), ("", False)],
)
def test_an_earlier_replay_says_whether_it_was_of_one_clip(tmp_path: Path, summary: str, one_clip: bool) -> None:
    (tmp_path / "alerts.jsonl").write_text(json.dumps(an_alert("a", 60)) + "\n")
    (tmp_path / "summary.json").write_text(summary)
    earlier = read_earlier(tmp_path)
    assert earlier.one_clip is one_clip
    assert earlier.alerts == [an_alert("a", 60)]


def test_alerts_without_a_time_cannot_be_compared(tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").write_text(json.dumps(an_alert("a", 60) | {"time": "noon"}))
    with pytest.raises(UsageError, match="not the alerts of a replay"):
        read_earlier(tmp_path)
