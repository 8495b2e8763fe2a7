"""Labelled footage through the replay, and the score of what it told.

TRUTH.json: {"clips": [{"clip", "zones": {id: polygon}, "scenarios": [...], "events": [{"scenario", "zone", "start_s",
"end_s" or null, "box_px"}]}]}. A clip without scenarios is not scored. The rule of scoring is `core/scoring.py`'s.
Each clip is replayed by a configuration that is written beside its replay, with the catalogue's defaults for all that
the truth leaves open: nothing is tuned to a clip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.core.scoring import ClipScore, EventScore, ToldCase, Totals, TrueEvent, score, total
from edge.errors import UsageError

# Seconds, by (scenario, zone): after_s and clear_after_s as the replay used them.
Dwells = Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class TruthClip:
    """One clip of the truth, as written."""

    path: Path
    zones: Mapping[str, Any]
    scenarios: Sequence[Any]
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ClipReplay:
    """What came of one clip."""

    alerts: Sequence[Mapping[str, Any]]
    media_s: float
    dwells: Dwells


@dataclass(frozen=True, slots=True)
class ClipResult:
    name: str
    media_s: float
    scenarios: tuple[str, ...]
    score: ClipScore


@dataclass(frozen=True, slots=True)
class Evaluation:
    clips: tuple[ClipResult, ...]
    totals: Totals
    by_scenario: Mapping[str, Totals]


def read_truth(path: Path, media: Path, only: Sequence[str]) -> list[TruthClip]:
    """The clips that are to be scored. Raises UsageError on a file that is not of this form, before any is replayed."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["clips"]
        chosen = [clip for clip in listed if clip["scenarios"] and _is_named(clip["clip"], only)]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a truth file") from error
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON ({error.msg}); correct it") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        form = '{"clips": [{"clip", "zones", "scenarios", "events"}]}'
        raise UsageError(f"{path}: not a truth file: expected {form}") from error
    if not chosen:
        raise UsageError(f"{path}: no clip to score" + (f" whose name holds {' or '.join(only)}" if only else ""))
    clips = [_truth_clip(clip, media, f"{path}: {clip['clip']}") for clip in chosen]
    names = [clip.path.stem for clip in clips]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{path}: {name}: two clips have this name, and each replay needs its own folder; rename one")
    return clips


def _is_named(name: str, only: Sequence[str]) -> bool:
    return not only or any(word in name for word in only)


def _truth_clip(clip: Mapping[str, Any], media: Path, where: str) -> TruthClip:
    try:
        truth = TruthClip(media / clip["clip"], dict(clip["zones"]), list(clip["scenarios"]), list(clip["events"]))
        watched = {(use["use"], zone) for use in truth.scenarios for zone in use["zones"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: needs zones {{id: polygon}}, scenarios [{{use, zones}}] and events [..]") from error
    for row, event in enumerate(truth.events):
        if problem := _problem(event, watched):
            raise UsageError(f"{where}: events[{row}]: {problem}")
    return truth


def _problem(event: Mapping[str, Any], watched: set[tuple[str, str]]) -> str:
    """What is wrong with an event of the truth; "" where it can be scored."""
    try:
        place = event["scenario"], event["zone"]
        known = place in watched
        x1, y1, x2, y2 = _box(event["box_px"])
        start_s = float(event["start_s"])
        end_s = math.inf if event["end_s"] is None else float(event["end_s"])
    except (KeyError, TypeError, ValueError):
        return "needs scenario, zone, start_s, end_s (or null) and box_px [x1, y1, x2, y2]"
    if not known:
        return f"{place[0]} in zone {place[1]} is not among the clip's scenarios"
    if not (x1 < x2 and y1 < y2):
        return "box_px must be [x1, y1, x2, y2] with x1 < x2 and y1 < y2"
    return "" if 0 <= start_s < end_s else "start_s must be 0 or more, and end_s later (or null)"


def evaluate(clips: Sequence[TruthClip], replays: Iterable[ClipReplay]) -> Evaluation:
    """`replays`: one for each clip, in order. Of each only the score is kept, so thousands of clips need no memory."""
    results: list[ClipResult] = []
    for clip, replayed in zip(clips, replays, strict=True):
        clip_score = score([_event(event, replayed.dwells) for event in clip.events], told_cases(replayed.alerts))
        names = tuple(dict.fromkeys(scenario for scenario, _ in replayed.dwells))
        results.append(ClipResult(clip.path.name, replayed.media_s, names, clip_score))
    return _summed(results)


def joined(parts: Sequence[Evaluation], *, only: Callable[[ClipResult], bool] = lambda clip: True) -> Evaluation:
    """Some evaluations as one, or a choice of their clips."""
    return _summed([clip for part in parts for clip in part.clips if only(clip)])


def _summed(results: Sequence[ClipResult]) -> Evaluation:
    return Evaluation(tuple(results), _totals(results), _totals_by_scenario(results))


def told_cases(alerts: Sequence[Mapping[str, Any]]) -> list[ToldCase]:
    """The cases that a list of alerts tells of, by their opening."""
    ended = {
        alert["data"]["case_id"]: float(alert["data"]["media_time_s"])
        for alert in alerts
        if alert["data"]["state"] == "cleared"
    }
    return [
        ToldCase(
            case_id=data["case_id"],
            scenario=data["scenario"],
            box_px=_box(data["object"]["box_px"]),
            opened_s=float(data["media_time_s"]),
            cleared_s=ended.get(data["case_id"]),
        )
        for data in (alert["data"] for alert in alerts if alert["type"] == "cityeye.case.opened.v1")
    ]


def _box(corners: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(edge) for edge in corners)
    return x1, y1, x2, y2


def as_document(evaluation: Evaluation) -> dict[str, object]:
    """What `evaluation.json` holds."""
    return {
        "totals": _totals_document(evaluation.totals),
        "by_scenario": {name: _totals_document(totals) for name, totals in evaluation.by_scenario.items()},
        "clips": [_clip_document(clip) for clip in evaluation.clips],
    }


def as_text(evaluation: Evaluation) -> str:
    rows = [_COLUMNS, *_rows(evaluation)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_closing(evaluation)])


def as_markdown(evaluation: Evaluation) -> str:
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *_rows(evaluation)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in _closing(evaluation))])


_COLUMNS = ("clip", "scenario", "event s", "found at s", "onset error s", "cleared at s", "doubled", "false alarms")


def _rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for clip in evaluation.clips:
        for name in clip.scenarios:
            events = [event for event in clip.score.events if event.event.scenario == name]
            wrong = sum(case.scenario == name for case in clip.score.false_alarms)
            rows += [_event_row(clip.name, name, event, wrong) for event in events]
            if not events:
                rows.append((clip.name, name, "none", "", "", "", "", str(wrong)))
    return rows


def _event_row(clip: str, name: str, scored: EventScore, wrong: int) -> tuple[str, ...]:
    event, found = scored.event, scored.found
    span = f"{event.start_s:.1f} to {'the end' if event.end_s is None else f'{event.end_s:.1f}'}"
    if found is None:
        return (clip, name, span, "MISSED", "", "", "0", str(wrong))
    cleared = "" if found.cleared_s is None else f"{found.cleared_s:.1f}"
    if scored.cleared_in_time is False:
        cleared = f"{cleared or 'never'} (WRONG)"
    told = (f"{found.opened_s:.1f}", f"{scored.onset_error_s:+.1f}", cleared, str(scored.duplicates))
    return (clip, name, span, *told, str(wrong))


def _closing(evaluation: Evaluation) -> list[str]:
    """One line a scenario, and one for all."""
    named = [*evaluation.by_scenario.items(), ("all", evaluation.totals)]
    return [f"{name}: {closing_line(totals)}" for name, totals in named]


def closing_line(totals: Totals) -> str:
    """What was measured in one line; limits are those of 95 % confidence."""
    return (
        f"{totals.found} of {totals.events} events found, {totals.duplicates} doubled, "
        f"{totals.false_alarms} false alarms in {totals.camera_hours * 3600:.0f} s of footage "
        f"({false_alarm_rate(totals)}); "
        f"precision {_share(totals.precision, totals.precision_interval)}, "
        f"recall {_share(totals.recall, totals.recall_interval)}, F1 {_number(totals.f1)}; "
        f"onset RMSE {_number(totals.onset_rmse_s)} s; cleared in time {totals.cleared_in_time} of {totals.clearances}"
    )


def false_alarm_rate(totals: Totals) -> str:
    """The rate, and what the true one is below: 3 / hours where no false alarm was seen."""
    return (
        f"{_number(totals.false_alarms_per_camera_hour)} an hour, "
        f"below {_number(totals.false_alarms_per_camera_hour_max)} with 95 % confidence"
    )


def _share(value: float, interval: tuple[float, float]) -> str:
    return "-" if math.isnan(value) else f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _event(event: Mapping[str, Any], dwells: Dwells) -> TrueEvent:
    after_s, clear_after_s = dwells[event["scenario"], event["zone"]]
    end_s = None if event["end_s"] is None else float(event["end_s"])
    start_s = float(event["start_s"])
    return TrueEvent(event["scenario"], start_s, end_s, _box(event["box_px"]), after_s, clear_after_s)


def _totals(results: Sequence[ClipResult]) -> Totals:
    return total([result.score for result in results], media_s=sum(result.media_s for result in results))


def _totals_by_scenario(results: Sequence[ClipResult]) -> dict[str, Totals]:
    names = sorted({name for result in results for name in result.scenarios})
    return {name: _totals([_only(result, name) for result in results if name in result.scenarios]) for name in names}


def _only(result: ClipResult, name: str) -> ClipResult:
    events = tuple(event for event in result.score.events if event.event.scenario == name)
    wrong = tuple(case for case in result.score.false_alarms if case.scenario == name)
    return ClipResult(result.name, result.media_s, (name,), ClipScore(events, wrong))


def _totals_document(totals: Totals) -> dict[str, object]:
    named = {
        "events": totals.events,
        "found": totals.found,
        "duplicates": totals.duplicates,
        "false_alarms": totals.false_alarms,
        "clearances": totals.clearances,
        "cleared_in_time": totals.cleared_in_time,
        "precision": totals.precision,
        "recall": totals.recall,
        "f1": totals.f1,
        "onset_rmse_s": totals.onset_rmse_s,
        "false_alarms_per_camera_hour": totals.false_alarms_per_camera_hour,
        "false_alarms_per_camera_hour_max": totals.false_alarms_per_camera_hour_max,
        "precision_low": totals.precision_interval[0],
        "precision_high": totals.precision_interval[1],
        "recall_low": totals.recall_interval[0],
        "recall_high": totals.recall_interval[1],
        "camera_hours": totals.camera_hours,
    }
    return {name: _plain(value) for name, value in named.items()}


def _clip_document(clip: ClipResult) -> dict[str, object]:
    return {
        "clip": clip.name,
        "media_s": clip.media_s,
        "events": [
            {
                "scenario": scored.event.scenario,
                "start_s": scored.event.start_s,
                "end_s": scored.event.end_s,
                "found": None if scored.found is None else scored.found.case_id,
                "onset_error_s": _plain(scored.onset_error_s),
                "cleared_in_time": scored.cleared_in_time,
                "duplicates": scored.duplicates,
            }
            for scored in clip.score.events
        ],
        "false_alarms": [
            {"scenario": case.scenario, "case_id": case.case_id, "opened_s": case.opened_s, "box_px": case.box_px}
            for case in clip.score.false_alarms
        ],
    }


def _plain(value: float | int) -> float | int | None:
    """JSON knows no NaN."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value
