"""What was said of a gateway's cases: precision by camera and scenario, and the words themselves; as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from edge.clock import iso
from edge.config.state_folder import running_state_folder
from edge.core.scoring import wilson_interval
from edge.errors import StateError
from edge.runtime.status_socket import NotRunningError, fetch_status
from edge.state.database import Database
from edge.state.judgements import DISMISSED, Judgement, Tally
from edge.wiring.process_order import DATABASE


@contextmanager
def opened_state(
    *, state: Path | None, config: Path | None, environ: Mapping[str, str]
) -> Iterator[tuple[Path, Database, bool]]:
    """A gateway's folder and database, and whether the gateway runs now. Raises StateError where there is none."""
    folder = running_state_folder(named=state, config=config, environ=environ)
    if not (folder / DATABASE).is_file():
        raise StateError(f"{folder}: no gateway has its state there; name its folder with --state")
    with Database.open(folder / DATABASE) as database:
        yield folder, database, _runs(folder)


def _runs(folder: Path) -> bool:
    try:
        fetch_status(folder)
    except NotRunningError:
        return False
    return True


def precision_document(tallies: Sequence[Tally]) -> dict[str, object]:
    """Shares are of judged cases alone: what nobody judged is counted neither right nor wrong."""
    return {"scenarios": [_tally_document(tally) for tally in [*tallies, *_in_all(tallies)]]}


def _tally_document(tally: Tally) -> dict[str, object]:
    judged = tally.confirmed + tally.dismissed
    low, high = wilson_interval(tally.confirmed, judged)
    return {
        "camera": tally.camera,
        "scenario": tally.scenario,
        "opened": tally.opened,
        "judged": judged,
        "confirmed": tally.confirmed,
        "dismissed": tally.dismissed,
        "reasons": dict(tally.reasons),
        "unjudged_share": round(1 - judged / tally.opened, 4) if tally.opened else None,
        "precision": round(tally.confirmed / judged, 4) if judged else None,
        "precision_95": [round(low, 4), round(high, 4)] if judged else None,
    }


def precision_text(tallies: Sequence[Tally]) -> str:
    if not tallies:
        return "no case was opened"
    rows = [
        (
            "camera",
            "scenario",
            "opened",
            "judged",
            "confirmed",
            "dismissed",
            "precision",
            "95 % interval",
            "dismissed as",
        ),
        *(_tally_row(tally) for tally in [*tallies, *_in_all(tallies)]),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    opened = sum(tally.opened for tally in tallies)
    judged = sum(tally.confirmed + tally.dismissed for tally in tallies)
    share = f"{judged} of {opened} cases were judged"
    return "\n".join([*lines, "", f"{share}; the others count neither as right nor as wrong"])


def _tally_row(tally: Tally) -> tuple[str, ...]:
    judged = tally.confirmed + tally.dismissed
    low, high = wilson_interval(tally.confirmed, judged)
    return (
        tally.camera,
        tally.scenario,
        str(tally.opened),
        str(judged),
        str(tally.confirmed),
        str(tally.dismissed),
        f"{tally.confirmed / judged:.2f}" if judged else "-",
        f"{low:.2f} to {high:.2f}" if judged else "-",
        ", ".join(f"{reason} {count}" for reason, count in tally.reasons),
    )


def _in_all(tallies: Sequence[Tally]) -> list[Tally]:
    """One more row, where there are several to add up."""
    if len(tallies) < 2:
        return []
    reasons: dict[str, int] = {}
    for tally in tallies:
        for reason, count in tally.reasons:
            reasons[reason] = reasons.get(reason, 0) + count
    opened, confirmed, dismissed = (
        sum(getattr(tally, name) for tally in tallies) for name in ("opened", "confirmed", "dismissed")
    )
    return [Tally("all", "all", opened, confirmed, dismissed, tuple(reasons.items()))]


def words_document(words: Sequence[tuple[Judgement, bool]]) -> dict[str, object]:
    return {
        "judgements": [
            {
                "case_id": word.case_id,
                "camera": word.camera,
                "scenario": word.scenario,
                "zone": word.zone,
                "opened_at": iso(word.opened_wall_ns, UTC),
                "verdict": word.verdict,
                "reason": word.reason,
                "note": word.note,
                "by": word.judged_by,
                "judged_at": iso(word.judged_wall_ns, UTC),
                "left_alone": standing,
            }
            for word, standing in words
        ]
    }


def words_text(words: Sequence[tuple[Judgement, bool]]) -> str:
    if not words:
        return "no case was judged"
    return "\n".join(_word_line(word, standing) for word, standing in words)


def _word_line(word: Judgement, standing: bool) -> str:
    reason = f" ({word.reason})" if word.verdict == DISMISSED else ""
    by = f" by {word.judged_by}" if word.judged_by else ""
    note = f": {word.note}" if word.note else ""
    when = datetime.fromtimestamp(word.judged_wall_ns // 1_000_000_000).astimezone().strftime("%Y-%m-%d %H:%M")
    left = "  [its thing is left alone while it stays]" if standing else ""
    return f"{when}  {word.case_id}  {word.camera}  {word.scenario}  {word.verdict}{reason}{by}{note}{left}"
