"""What a sparser look finds, against every analysed frame: labelled footage, its keyframes spaced as cameras send them.

Each clip is encoded anew, evaluated twice with the scenarios of its truth, and the cases are compared one by one.
See scripts/pace.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from edge.capture.packets import inspect
from edge.core import boxes
from edge.errors import EdgeError
from edge.runtime.evaluation import closing_line
from edge.wiring.recorded import EVALUATION_START, evaluate

ROOT = Path(__file__).resolve().parent.parent
ONSET_MAX_S = 2.0  # how far apart the same case may begin in both
SAME_PLACE = 0.2  # IoU, as in core/scoring.py


@dataclass(frozen=True)
class Told:
    """One case, in seconds into its clip."""

    scenario: str
    zone: str
    box_px: tuple[float, ...]
    started_s: float
    opened_s: float
    cleared_s: float | None

    def is_at(self, other: Told) -> bool:
        one, two = np.array([self.box_px], np.float32), np.array([other.box_px], np.float32)
        place = self.scenario, self.zone
        return place == (other.scenario, other.zone) and bool(boxes.iou(one, two)[0, 0] >= SAME_PLACE)


def main() -> int:
    asked = _arguments()
    truth = next((asked.media / name for name in ("truth.json", "events.json") if (asked.media / name).exists()), None)
    if truth is None:
        raise SystemExit(f"{asked.media}: holds neither events.json nor truth.json; name a folder of labelled clips")
    with tempfile.TemporaryDirectory() as folder:
        worse = []
        for apart_s in asked.apart or [2.0]:
            lines, faults = report(truth, asked, apart_s, asked.work or Path(folder))
            print("\n".join(lines), flush=True)
            worse += faults
    print("\n".join(f"WORSE {fault}" for fault in worse))
    return 1 if worse else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("media", type=Path, help="folder of clips with events.json or truth.json")
    parser.add_argument("--apart", type=float, action="append", default=[], help="seconds between keyframes (2)")
    parser.add_argument("--first", type=float, default=0.0, help="seconds from the clip's first picture to the next")
    parser.add_argument("--decode", default="keyframes", choices=("keyframes", "auto"), help="against decode: all")
    parser.add_argument("--only", action="append", default=[], help="clips whose name holds this")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--work", type=Path, help="folder for the encoded clips and the replays, which stay there")
    asked = parser.parse_args()
    if any(not 0.1 <= apart_s <= 60 for apart_s in asked.apart):
        parser.error("--apart: choose 0.1 to 60 seconds")
    return asked


def report(truth: Path, asked: argparse.Namespace, apart_s: float, work: Path) -> tuple[list[str], list[str]]:
    """The comparison at one distance of keyframes, in lines; and what the sparser look does worse."""
    clips = work / f"clips-{apart_s:g}-{asked.first:g}"
    encode_all(truth, clips, asked.only, apart_s=apart_s, first_s=asked.first)
    outs = {decode: work / f"{decode}-{apart_s:g}-{asked.first:g}" for decode in ("all", asked.decode)}
    found = {
        decode: evaluate(truth, media=clips, out=out, only=asked.only, jobs=asked.jobs, evidence=False, decode=decode)
        for decode, out in outs.items()
    }
    lines = [f"keyframes {apart_s:g} s apart, on commit {_commit()}", ""]
    lines += [f"{decode:9} {closing_line(evaluation.totals)}" for decode, evaluation in found.items()]
    rows = [row for clip in found["all"].clips for row in _rows(clip.name, outs["all"], outs[asked.decode])]
    apart = [abs(one.started_s - other.started_s) for _, one, other in rows if one and other]
    alone = [sum(one is None for _, one, _ in rows), sum(other is None for _, _, other in rows)]
    lines += [
        "",
        f"{len(apart)} cases in both, begun at most {max(apart, default=0):.1f} s apart, "
        f"{sum(one > ONSET_MAX_S for one in apart)} of them more than {ONSET_MAX_S:g} s; "
        f"{alone[1]} only with all, {alone[0]} only with {asked.decode}",
        "",
        f"| clip | scenario | zone | begun, told, cleared with all | with {asked.decode} | begun later by s |",
        "|---|---|---|---|---|---|",
        *(_line(*row) for row in rows),
        "",
    ]
    dense, sparse = (evaluation.totals for evaluation in found.values())
    worse = [f"{apart_s:g} s: {sparse.found} events found, {dense.found} with all"] * (sparse.found < dense.found)
    worse += [f"{apart_s:g} s: {sparse.false_alarms} false alarms, {dense.false_alarms} with all"] * (
        sparse.false_alarms > dense.false_alarms
    )
    late = [one for one in apart if one > ONSET_MAX_S]
    worse += [f"{apart_s:g} s: {len(late)} cases begun over {ONSET_MAX_S:g} s apart"] * bool(late)
    return lines, worse


def _rows(clip: str, all_out: Path, other_out: Path) -> Iterator[tuple[str, Told | None, Told | None]]:
    """The clip's cases of both, side by side; those that begin nearest to one another first."""
    ones, others = ([*told(out / Path(clip).stem / "alerts.jsonl")] for out in (all_out, other_out))
    pairs = [(abs(a.started_s - b.started_s), i, j) for i, a in enumerate(ones) for j, b in enumerate(others)
             if a.is_at(b)]  # fmt: skip
    partner: dict[int, int] = {}
    for _, one, other in sorted(pairs):
        if one not in partner and other not in partner.values():
            partner[one] = other
    yield from ((clip, one, others[partner[row]] if row in partner else None) for row, one in enumerate(ones))
    yield from ((clip, None, other) for row, other in enumerate(others) if row not in partner.values())


def told(alerts: Path) -> Iterator[Told]:
    """The cases that a replay's alerts tell of."""
    bodies = [json.loads(line) for line in alerts.read_text(encoding="utf-8").splitlines()]
    cleared = {
        one["data"]["case_id"]: one["data"]["media_time_s"] for one in bodies if one["data"]["state"] == "cleared"
    }
    for data in (one["data"] for one in bodies if one["type"] == "cityeye.case.opened.v1"):
        begun = datetime.fromisoformat(data["started_at"]) - datetime.fromisoformat(EVALUATION_START)
        yield Told(
            scenario=data["scenario"],
            zone=data["zone"]["id"],
            box_px=tuple(data["object"]["box_px"]),
            started_s=begun.total_seconds(),
            opened_s=data["media_time_s"],
            cleared_s=cleared.get(data["case_id"]),
        )


def _line(clip: str, one: Told | None, other: Told | None) -> str:
    known = one or other
    assert known is not None
    later = f"{other.started_s - one.started_s:+.1f}" if one and other else "DIFFERS"
    return f"| {clip} | {known.scenario} | {known.zone} | {_times(one)} | {_times(other)} | {later} |"


def _times(case: Told | None) -> str:
    if case is None:
        return "none"
    cleared = "-" if case.cleared_s is None else f"{case.cleared_s:.1f}"
    return f"{case.started_s:.1f}, {case.opened_s:.1f}, {cleared}"


def encode_all(truth: Path, folder: Path, only: Sequence[str], *, apart_s: float, first_s: float) -> None:
    """The truth's scored clips with keyframes so far apart; those that are there already are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in json.loads(truth.read_text(encoding="utf-8"))["clips"]:
        path = folder / clip["clip"]
        named = not only or any(word in path.name for word in only)
        if clip["scenarios"] and named and not path.exists():
            encode(truth.parent / path.name, path, apart_s=apart_s, first_s=first_s)


def encode(source: Path, path: Path, *, apart_s: float, first_s: float = 0.0) -> None:
    """As a camera sends it: no keyframe but the regular ones. Whole or not at all."""
    rate = inspect(str(source)).fps or 25
    begun = f"n_forced*{apart_s}" if not first_s else f"(n_forced-1)*{apart_s}+{first_s}"
    part = path.with_name(f"part-{path.stem}.mp4")
    options = "-c:v libx264 -preset veryfast -crf 23 -bf 0 -g 100000 -sc_threshold 0 -pix_fmt yuv420p -force_key_frames"
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-an", "-r", f"{rate:.6g}", *options.split()]
    subprocess.run([*command, f"expr:gte(t,{begun})", str(part)], check=True)
    os.rename(part, path)


def _commit() -> str:
    run = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except EdgeError as error:
        raise SystemExit(f"pace: {error}") from None
