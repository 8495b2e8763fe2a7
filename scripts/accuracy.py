"""How right the alerts are: composited and recorded streets through `edge evaluate`. See scripts/accuracy.

Clips are made, replayed and deleted in batches, so that hours of footage need the disk of some minutes. With --work an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the renderer is part of the tests, which are not installed

from edge.core.scoring import Totals  # noqa: E402
from edge.resources import configs_dir  # noqa: E402
from edge.runtime.evaluation import ClipResult, Evaluation, closing_line, false_alarm_rate, joined  # noqa: E402
from edge.wiring.recorded import evaluate  # noqa: E402
from tests.composites import library, recipes  # noqa: E402
from tests.composites.directing import Take  # noqa: E402

PAGE = ROOT / "docs" / "accuracy.md"
BLOCK = re.compile(r"(<!-- accuracy: written by scripts/accuracy -->\n).*?(<!-- end of accuracy -->)", re.DOTALL)
BATCH = 8  # clips
EVENTS_MIN, HOURS = 200, 3.0
F1_MIN, ONSET_RMSE_MAX_S = 0.95, 3.0
NAMED = {  # clip of the shared media -> scenario whose event must be found there
    "kr_noparking_overlay.mp4": ("illegal-parking", "the parked car under burnt-in overlays"),
    "aboda_video1_cut.mp4": ("piled-goods", "the backpack in the corridor"),
    "pets2006_3.mp4": ("piled-goods", "the rucksack in the hall"),
}


def main() -> None:
    asked = _arguments()
    takes, unknown = _of_the_catalogue(_asked_takes(asked), asked.only)
    with tempfile.TemporaryDirectory() as folder:
        work = asked.work or Path(folder)
        composited = joined([_batch(work, batch, asked) for batch in _batches(takes)])
        recorded = _recorded(work, asked)
    text = report(composited, recorded, unknown, asked)
    print(text)
    if not (asked.short or asked.only):
        PAGE.write_text(BLOCK.sub(lambda match: f"{match[1]}{text}\n{match[2]}", PAGE.read_text(encoding="utf-8")))


def _asked_takes(asked: argparse.Namespace) -> list[Take]:
    if asked.short:
        return recipes.short(asked.media)
    events_min = asked.events if asked.takes is None else 0
    takes_max = 100 if asked.takes is None else asked.takes
    takes = recipes.standard(asked.media, seed=asked.seed, events_min=events_min, takes_max=takes_max)
    return takes + recipes.empty_hours(asked.hours, asked.media, seed=asked.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="some minutes' worth; prints only")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other clips")
    parser.add_argument("--events", type=int, default=EVENTS_MIN, help="so many composited events at least")
    parser.add_argument("--takes", type=int, help="at most so many of each recipe")
    parser.add_argument("--hours", type=float, default=HOURS, help="so much footage without a case")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--only", action="append", default=[], choices=recipes.NAMES, help="only this recipe; prints only"
    )
    parser.add_argument(
        "--work", type=Path, help="folder for what is measured so far; a run that names it again goes on"
    )
    parser.add_argument("--clips", type=Path, help="folder of clips that scripts/composite made of the same seed")
    parser.add_argument("--keep", type=Path, help="folder for the clips and replays of misses and false alarms")
    parser.add_argument(
        "--media", type=Path, default=os.environ.get("EDGE_MEDIA") or ROOT.parent / "shared" / "media",
        help="folder of clips and cut-outs",
    )  # fmt: skip
    return parser.parse_args()


def _of_the_catalogue(takes: Sequence[Take], only: Sequence[str]) -> tuple[list[Take], list[str]]:
    """What can be watched for, and the scenarios that no file of the catalogue has."""
    known = {path.stem for path in (configs_dir() / "scenarios").glob("*.yaml")}
    wanted = [take for take in takes if not only or take.recipe in only]
    lacking = sorted({use["use"] for take in wanted for use in take.uses} - known)
    return [take for take in wanted if all(use["use"] in known for use in take.uses)], lacking


def _batches(takes: Sequence[Take]) -> list[Sequence[Take]]:
    return [takes[row : row + BATCH] for row in range(0, len(takes), BATCH)]


def _batch(work: Path, takes: Sequence[Take], asked: argparse.Namespace) -> Evaluation:
    """Made, replayed and scored, and only the score kept; and the clips of what went wrong, if asked for."""
    kept = work / f"{_commit()}-{takes[0].clip}-{len(takes)}.pickle"
    if kept.exists():
        return _unpickled(kept)
    clips, out = work / "clips", work / "replays"
    truth = library.make(takes, clips, asked.media, seed=asked.seed, jobs=asked.jobs, ready=asked.clips)
    evaluation = evaluate(truth, media=clips, out=out, only=(), jobs=asked.jobs, evidence=asked.keep is not None)
    for clip in evaluation.clips if asked.keep else ():
        if _is_wrong(clip):
            stem = Path(clip.name).stem
            asked.keep.mkdir(parents=True, exist_ok=True)
            shutil.copytree(out / stem, asked.keep / stem, dirs_exist_ok=True)
            shutil.copy(out / f"{stem}.yaml", asked.keep)
            shutil.copy(clips / clip.name, asked.keep)
    for folder in (clips, out):
        shutil.rmtree(folder)
    kept.write_bytes(pickle.dumps(evaluation))
    print(f"{takes[0].clip} and {len(takes) - 1} more: {closing_line(evaluation.totals)}", file=sys.stderr, flush=True)
    return evaluation


def _recorded(work: Path, asked: argparse.Namespace) -> Evaluation:
    kept = work / f"{_commit()}-recorded.pickle"
    if asked.only:
        return joined([])
    if not kept.exists():
        truth, out = asked.media / "events.json", work / "recorded"
        evaluation = evaluate(truth, media=asked.media, out=out, only=(), jobs=asked.jobs, evidence=False)
        shutil.rmtree(out)
        kept.write_bytes(pickle.dumps(evaluation))
    return _unpickled(kept)


def _unpickled(path: Path) -> Evaluation:
    evaluation: Evaluation = pickle.loads(path.read_bytes())
    return evaluation


def _is_wrong(clip: ClipResult) -> bool:
    events = clip.score.events
    late = any(event.cleared_in_time is False or event.duplicates for event in events)
    return late or bool(clip.score.false_alarms) or any(event.found is None for event in events)


def _recipe(clip: ClipResult) -> str:
    return clip.name.rpartition("_")[0]


# The page


def report(composited: Evaluation, recorded: Evaluation, unknown: Sequence[str], asked: argparse.Namespace) -> str:
    both = joined([composited, recorded])
    commit = _commit()
    dirty = (
        " with uncommitted changes"
        if _output("git", "status", "--porcelain", "--", "edge", "configs", "models")
        else ""
    )
    takes = f", at most {asked.takes} takes of a recipe" if asked.takes else ""
    hours = f"{asked.hours:g} hours of clips that hold nothing but what may not be told"
    form = "in its short form" if asked.short else f"with seed {asked.seed}{takes} and {hours}"
    lines = [
        f"Measured by `./scripts/accuracy` {form} on commit {commit}{dirty}: {_machine()}, Python "
        f"{platform.python_version()}; the catalogue's defaults for all that the truth leaves open.",
        "",
        *(f"Not measured, since no file of the catalogue has it: {name}." for name in unknown),
        "",
        "## What must be shown",
        "",
        "| what | measured | |",
        "|---|---|---|",
        *_must_show(composited, recorded, both),
        "",
        "## By scenario",
        "",
        *_table("scenario", [*both.by_scenario.items(), ("all", both.totals)]),
        "",
        "## By recipe",
        "",
        *_table("recipe", _by_recipe(composited)),
        *_table("", [("recorded clips", recorded.totals)])[2:],
        "",
        "## What went wrong",
        "",
        "Each can be looked at again: `./scripts/composite --out DIR --take RECIPE:SEED`, then `edge evaluate`.",
        "",
        *_wrongs(both),
    ]
    return "\n".join(lines)


def _must_show(composited: Evaluation, recorded: Evaluation, both: Evaluation) -> list[str]:
    totals = both.totals
    events = f"{composited.totals.events} composited and {recorded.totals.events} recorded events"
    empty = joined([both], only=lambda clip: not clip.score.events).totals
    rows = [
        _row(f"event F1 >= {F1_MIN} over at least {EVENTS_MIN} events", f"{_number(totals.f1)} over {events}",
             totals.f1 >= F1_MIN and composited.totals.events >= EVENTS_MIN),
        _row(f"onset RMSE <= {ONSET_RMSE_MAX_S:g} s", f"{_number(totals.onset_rmse_s)} s",
             totals.onset_rmse_s <= ONSET_RMSE_MAX_S),
        _row("no duplicate", str(totals.duplicates), totals.duplicates == 0),
        _row(f"no false alarm on clips without a case, {HOURS:g} camera-hours and more",
             f"{empty.false_alarms} in {empty.camera_hours:.2f} hours: {false_alarm_rate(empty)}",
             empty.false_alarms == 0 and empty.camera_hours >= HOURS),
    ]  # fmt: skip
    for clip, (scenario, words) in NAMED.items():
        events_there = [
            event for result in recorded.clips if result.name == clip for event in result.score.events
            if event.event.scenario == scenario
        ]  # fmt: skip
        found = sum(event.found is not None for event in events_there)
        rows.append(
            _row(f"{words} ({clip}) is found", f"{found} of {len(events_there)}", 0 < found == len(events_there))
        )
    shown = (
        ("a queue at a light for 40 s with after_s 20: nothing", ("queue-at-light",)),
        ("a car parked beside that queue is found, and nothing else", ("queue-and-parked",)),
        ("the frame dimmed to a half over 2 s: no alert", ("light-dimmed",)),
        ("headlights over the zone: no alert", ("light-headlights",)),
        ("a lamp switched on: no alert", ("light-lamp",)),
        ("from colour to infra-red: no alert", ("light-infra-red",)),
        ("somebody who stands still for 90 s is no goods", ("person-stands-still",)),
        ("28 % of the car covered by a pedestrian: one case", ("parking-hidden-28",)),
        ("a lorry before the car for 30 s: one case", ("parking-behind-lorry",)),
        ("the car leaves and another takes its place within 20 s: two cases", ("parking-replaced",)),
    )
    for words, names in shown:
        part = joined([composited], only=lambda clip, names=names: _recipe(clip) in names)  # type: ignore[misc]
        wrong = part.totals.false_alarms + part.totals.duplicates
        measured = (
            f"{part.totals.found} of {part.totals.events} found, {part.totals.duplicates} doubled, "
            f"{part.totals.false_alarms} false alarms in {len(part.clips)} clips"
        )
        rows.append(_row(words, measured, wrong == 0 and part.totals.found == part.totals.events and bool(part.clips)))
    return rows


def _row(words: str, measured: str, passed: bool) -> str:
    return f"| {words} | {measured} | {'PASS' if passed else '**FAIL**'} |"


def _by_recipe(composited: Evaluation) -> list[tuple[str, Totals]]:
    names = dict.fromkeys(_recipe(clip) for clip in composited.clips)
    return [(name, joined([composited], only=lambda clip, name=name: _recipe(clip) == name).totals) for name in names]  # type: ignore[misc]


def _table(first: str, rows: Sequence[tuple[str, Totals]]) -> list[str]:
    columns: dict[str, Callable[[Totals], str]] = {
        "hours": lambda totals: f"{totals.camera_hours:.2f}",
        "events": lambda totals: str(totals.events),
        "found": lambda totals: str(totals.found),
        "doubled": lambda totals: str(totals.duplicates),
        "false alarms": lambda totals: str(totals.false_alarms),
        "precision": lambda totals: _interval(totals.precision, totals.precision_interval),
        "recall": lambda totals: _interval(totals.recall, totals.recall_interval),
        "F1": lambda totals: _number(totals.f1),
        "onset RMSE s": lambda totals: _number(totals.onset_rmse_s),
        "cleared in time": lambda totals: f"{totals.cleared_in_time} of {totals.clearances}",
    }
    head = [f"| {first} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return [*head, *(f"| {name} | {' | '.join(cell(totals) for cell in columns.values())} |" for name, totals in rows)]


def _wrongs(both: Evaluation) -> list[str]:
    lines: list[str] = []
    for clip in both.clips:
        name = (
            clip.name
            if "_" not in clip.name
            else f"{_recipe(clip)}:{clip.name.rpartition('_')[2][:-4].lstrip('0') or '0'}"
        )
        for scored in clip.score.events:
            event = scored.event
            place = f"{name}: {event.scenario} from {event.start_s:.1f} s at {_corners(event.box_px)}"
            if scored.found is None:
                lines.append(f"- {place}: missed")
            elif scored.cleared_in_time is False:
                cleared = "never" if scored.found.cleared_s is None else f"at {scored.found.cleared_s:.1f} s"
                lines.append(f"- {place}: ended at {event.end_s} s, cleared {cleared}")
            if scored.duplicates:
                lines.append(f"- {place}: told {scored.duplicates + 1} times")
        lines += [
            f"- {name}: false alarm of {case.scenario} at {case.opened_s:.1f} s, {_corners(case.box_px)}"
            for case in clip.score.false_alarms
        ]
    return lines or ["Nothing."]


def _corners(box: Sequence[float]) -> str:
    return "[" + ", ".join(str(round(edge)) for edge in box) + "]"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _interval(value: float, interval: tuple[float, float]) -> str:
    return "-" if math.isnan(value) else f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def _commit() -> str:
    return _output("git", "rev-parse", "--short", "HEAD")


def _machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}"


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
