"""CPU seconds per camera-minute of the public-parts pipeline and of `edge replay`, in turns, with the cases found.

Run by scripts/compare-public. Each clip is measured whole and cut short; the difference of both takes start-up out. CPU
seconds are user and system time of the whole process tree, so threads count for what they do. A ratio is the median of
the rounds' own ratios: what runs beside us meets both sides of a round alike. The public parts run twice: as they come,
and with onnxruntime threads that rest while they wait, as ours do: awake on a busy machine they burn CPU for nothing.

The clips, and what is true of them: compare_streets.py. Whoever has a bar, and `all` beside, must find what is true and
nothing else in every round: who looks at less is cheap.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import compare_streets  # noqa: E402
from compare_streets import STREETS  # noqa: E402

MODEL = ROOT / "models" / "yolox-nano" / "model.onnx"
INPUT_PX = (640, 384)
FPS = 5
START = "2026-01-05T08:00:00+00:00"
ONSET_S = 2.0  # how far apart two onsets of one case may lie
PUBLIC, ULTRALYTICS = "public parts", "public parts, ultralytics' tracker"
RESTING = "public parts, resting threads"  # onnxruntime's threads wait asleep, which is not how they come
ALL, SKIPPING, KEYFRAMES, AUTO = "all", "all, still zones skipped", "keyframes", "auto"
SAMPLING: dict[str, dict[str, Any]] = {
    ALL: {"decode": "all", "fps": FPS, "still_s": 0},  # the model on every analysed picture
    SKIPPING: {"decode": "all", "fps": FPS},
    KEYFRAMES: {"decode": "keyframes", "fps": FPS},
    AUTO: {"decode": "auto", "fps": FPS},
}
# Ratio to the public parts, at most: configuration, streets, bar.
BARS = (
    (AUTO, ("parking", "goods"), 0.1),
    (ALL, ("parking", "goods"), 0.9),
    (SKIPPING, ("quiet",), 0.6),
)


def needed(street: str) -> set[str]:
    """Who must be measured there, for the bars to be judged."""
    return {PUBLIC, RESTING, ALL, *(contestant for contestant, streets, _ in BARS if street in streets)}


@dataclass(frozen=True)
class Spent:
    """One run over one clip."""

    cpu_s: float
    cases: list[dict[str, Any]]


class Bench:
    """The clips and configurations in a folder, and the runs over them."""

    def __init__(self, folder: Path, media: Path, streets: list[str], parts: dict[str, Path]) -> None:
        self._folder, self._parts = folder, parts
        self._scenes = {name: compare_streets.scene_of(STREETS[name], media) for name in streets}
        self.truth = {name: scene.truth for name, scene in self._scenes.items()}
        self.seconds = {name: self._make(name, media) for name in streets}

    def slope(self, street: str, contestant: str) -> tuple[float, list[dict[str, Any]]]:
        """CPU seconds per camera-minute without start-up, and the cases of the whole clip."""
        short, whole = (self._run(street, contestant, length) for length in ("short", "whole"))
        short_s, whole_s = self.seconds[street]
        return (whole.cpu_s - short.cpu_s) / (whole_s - short_s) * 60, whole.cases

    def _make(self, name: str, media: Path) -> tuple[float, float]:
        """Writes both clips and the configurations; returns how long the clips are, in seconds."""
        whole, short = self._clip(name, "whole"), self._clip(name, "short")
        if not short.exists():
            compare_streets.make_clips(STREETS[name], media, whole, short)
        for contestant, sampling in SAMPLING.items():
            self._site(name, contestant).write_text(json.dumps(self._config(name, sampling)), encoding="utf-8")
        return length_s(short), length_s(whole)

    def _clip(self, street: str, length: str) -> Path:
        return self._folder / f"{street}-{compare_streets.VERSION}-{length}.mp4"

    def _config(self, street: str, sampling: dict[str, Any]) -> dict[str, Any]:
        """A configuration; JSON is YAML."""
        scene = self._scenes[street]
        camera = {
            "id": "c",
            "name": "C",
            "source": "none.mp4",
            "sampling": sampling,
            "zones": scene.zones,
            "scenarios": scene.scenarios,
        }
        site = {"id": "compare", "name": "Compare", "timezone": "UTC"}
        return {"version": 1, "site": site, "gateway": {"id": "g"}, "model": "yolox-nano", "cameras": [camera]}

    def _site(self, street: str, contestant: str) -> Path:
        return self._folder / f"{street}-{contestant.replace(' ', '-').replace(',', '')}.yaml"

    def _run(self, street: str, contestant: str, length: str) -> Spent:
        clip = self._clip(street, length)
        if contestant in self._parts:
            return self._run_parts(street, contestant, clip)
        out = self._folder / "out"
        order = ["--config", str(self._site(street, contestant)), "--out", str(out), "--start", START]
        cpu_s, _ = spend([sys.executable, "-m", "edge", "replay", str(clip), *order])
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
        return Spent(cpu_s, [case_of(data, summary["started_at"]) for data in opened(lines)])

    def _run_parts(self, street: str, contestant: str, clip: Path) -> Spent:
        config = self._config(street, {})["cameras"][0]
        waited = {use["use"]: use["after_s"] for use in config["scenarios"]}
        scenario = STREETS[street].scenario
        zone = {**config["zones"][0], "labels": STREETS[street].labels, "after_s": waited[scenario]}
        pipeline = "ultralytics" if contestant == ULTRALYTICS else "supervision"
        order = {"pipeline": pipeline, "spin": contestant != RESTING, "fps": FPS, "input_px": INPUT_PX, "zones": [zone]}
        script = str(ROOT / "scripts" / "public_parts.py")
        command = [str(self._parts[contestant]), script, str(clip), "--model", str(MODEL), "--order", json.dumps(order)]
        cpu_s, printed = spend(command)
        return Spent(cpu_s, json.loads(printed.splitlines()[-1])["cases"])


def spend(command: list[str]) -> tuple[float, str]:
    """CPU seconds of a command and all its children, and what it printed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as printed:
        child = subprocess.Popen(command, stdout=printed, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"compare-public: exit status {child.returncode} of {' '.join(command)}")
        printed.seek(0)
        return used.ru_utime + used.ru_stime, printed.read()


def length_s(clip: Path) -> float:
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(clip)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def opened(lines: list[str]) -> list[dict[str, Any]]:
    alerts = [json.loads(line) for line in lines]
    return [alert["data"] for alert in alerts if alert["type"] == "cityeye.case.opened.v1"]


def case_of(data: dict[str, Any], begun_at: str) -> dict[str, Any]:
    from datetime import datetime

    onset = datetime.fromisoformat(data["started_at"]) - datetime.fromisoformat(begun_at)
    return {"scenario": data["scenario"], "zone": data["zone"]["id"], "onset_s": round(onset.total_seconds(), 2)}


def untrue(truth: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """What is true and missing or more than 2 s off, and what was found that is not true."""
    missing, beside = unpaired(truth, found)
    return [f"misses {worded(case)}" for case in missing] + [f"adds {worded(case)}" for case in beside]


def unpaired(
    expected: list[dict[str, Any]], found: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those of each that have no partner in the other: the same scenario and zone, onsets within 2 s, nearest first."""
    left, missing = list(found), []
    for case in expected:
        alike = [one for one in left if (one["scenario"], one["zone"]) == (case["scenario"], case["zone"])]
        near = min(alike, key=lambda one: abs(one["onset_s"] - case["onset_s"]), default=None)
        if near is None or abs(near["onset_s"] - case["onset_s"]) > ONSET_S:
            missing.append(case)
        else:
            left.remove(near)
    return missing, left


def worded(case: dict[str, Any]) -> str:
    return f"{case['scenario']} from {case['onset_s']:.1f} s"


Rounds = list[dict[str, Any]]  # each: street -> contestant -> {"cpu_s_per_minute", "cases"}


def judge(rounds: Rounds, truth: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians, ratios and cases of every street and contestant; `untrue`: of all rounds."""
    answer: dict[str, Any] = {}
    for street in rounds[0]:
        rows = {}
        for contestant in rounds[0][street]:
            costs = [one[street][contestant]["cpu_s_per_minute"] for one in rounds]
            row: dict[str, Any] = {"cpu_s_per_minute": round(statistics.median(costs), 2)}
            row["cpu_s_range"] = [round(min(costs), 2), round(max(costs), 2)]
            row["cases"] = rounds[0][street][contestant]["cases"]
            for ratio, yardstick in (("ratio", PUBLIC), ("ratio_resting", RESTING)):
                if yardstick in rounds[0][street]:
                    base = [one[street][yardstick]["cpu_s_per_minute"] for one in rounds]
                    row[ratio] = round(statistics.median(c / b for c, b in zip(costs, base, strict=True)), 3)
            if contestant in SAMPLING:
                faults = [fault for one in rounds for fault in untrue(truth[street], one[street][contestant]["cases"])]
                row["untrue"] = list(dict.fromkeys(faults))
            rows[contestant] = row
        answer[street] = rows
    return answer


def missed(judged: dict[str, Any]) -> list[str]:
    """The bars that do not hold, what is not true, and what was not measured."""
    faults = []
    for contestant, streets, bar in BARS:
        for street in streets:
            row = judged.get(street, {}).get(contestant, {})
            if not {"ratio", "ratio_resting", "untrue"} <= set(row):
                faults.append(f"{street}, {contestant}: was not measured")
                continue
            ratio = max(row["ratio"], row["ratio_resting"])  # the harder yardstick: what spins is no merit of ours
            if ratio > bar:
                faults.append(f"{street}, {contestant}: {ratio:.3f} of the public parts, may be {bar}")
    for street in STREETS:
        for contestant in sorted(needed(street) & set(SAMPLING)):
            row = judged.get(street, {}).get(contestant, {"untrue": ["its cases were not judged"]})
            faults += [f"{street}, {contestant}: {fault}" for fault in row["untrue"]]
    return faults


_RATIOS = {"ratio": 8, "ratio_resting": 9}  # columns, and how wide


def told(judged: dict[str, Any]) -> str:
    lines = []
    for street, rows in judged.items():
        lines.append(f"{street:10}{'':26}{'CPU s / camera-minute':>24}{'ratio':>8}{'resting':>9}   cases")
        for contestant, row in rows.items():
            low, high = row["cpu_s_range"]
            cost = f"{row['cpu_s_per_minute']:.2f} ({low:.2f} - {high:.2f})"
            cases = ", ".join(worded(case) for case in row["cases"]) or "none"
            faults = f"   AGAINST the truth: {'; '.join(row['untrue'])}" if row.get("untrue") else ""
            ratios = "".join(f"{row.get(key, float('nan')):>{width}.3f}" for key, width in _RATIOS.items())
            lines.append(f"  {contestant:34}{cost:>24}{ratios}   {cases}{faults}")
    return "\n".join(lines)


def machine() -> str:
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{named[0].partition(':')[2].strip() if named else platform.machine()}, {os.cpu_count()} cores"


def earlier(path: Path | None) -> Rounds:
    return json.loads(path.read_text(encoding="utf-8"))["rounds"] if path is not None and path.exists() else []


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="edge replay beside the pipeline that public parts make.")
    parser.add_argument("media", type=Path, help="folder of the shared footage, with events.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round that would end later than this")
    parser.add_argument("--streets", default="parking,goods,quiet", help=f"of {', '.join(STREETS)}")
    parser.add_argument(
        "--only", default="", help="these alone, by name, parted by semicolons (default: who has a bar)"
    )
    parser.add_argument("--work", type=Path, help="keep clips and rounds here: a run that was interrupted goes on")
    parser.add_argument("--json", type=Path, help="write rounds, medians and ratios here")
    parser.add_argument("--append", type=Path, help="as --json, and judge the rounds that are in it too")
    parser.add_argument("--figures", type=Path, help="write medians and ratios alone here: docs/bench-public.json")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--ultralytics", action="store_true", help="ultralytics' tracker too")
    parser.add_argument("--parts", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ultralytics-parts", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    arguments = asked()
    if not (arguments.media / "events.json").is_file():
        raise SystemExit(
            f"compare-public: {arguments.media}: holds no events.json; name the folder of the shared footage"
        )
    parts = {PUBLIC: arguments.parts, RESTING: arguments.parts}
    if arguments.ultralytics:
        parts[ULTRALYTICS] = arguments.ultralytics_parts
    wanted = [name.strip() for name in arguments.only.split(";") if name.strip()]
    contestants = [name for name in (*parts, *SAMPLING) if not wanted or name in wanted]
    strange = [name for name in arguments.streets.split(",") if name not in STREETS]
    strange += [name for name in wanted if name not in contestants]
    if strange:
        raise SystemExit(f"compare-public: no {' and no '.join(strange)}; streets {', '.join(STREETS)}; {contestants}")

    begun_s = time.monotonic()
    mark = {"commit": commit(), "contestants": sorted(wanted), "streets": arguments.streets, "machine": machine()}
    rounds = earlier(arguments.append)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, arguments.media, arguments.streets.split(","), parts)
        kept = folder / "rounds.json"
        done = interrupted(kept, mark)
        while len(done) < arguments.rounds:
            round_s = time.monotonic()
            done.append(one_round(bench, contestants, turn=len(rounds) + len(done), whom=wanted))
            kept.write_text(json.dumps(mark | {"rounds": done}), encoding="utf-8")
            now_s = time.monotonic()
            print(f"round {len(done)} is done, in {now_s - round_s:.0f} s", file=sys.stderr, flush=True)
            if 2 * now_s - round_s - begun_s > arguments.minutes * 60:
                break
        rounds += done
        kept.unlink(missing_ok=True)
    judged = judge(rounds, bench.truth)
    faults = missed(judged)
    print(f"commit {commit()}, {machine()}, {len(rounds)} rounds\n{told(judged)}")
    document = {
        "commit": commit(),
        "machine": machine(),
        "streets": judged,
        "missed": faults,
        "rounds": rounds,
    }
    for path in filter(None, (arguments.json, arguments.append)):
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if arguments.figures:
        figures = {key: value for key, value in document.items() if key != "rounds"} | {"rounds": len(rounds)}
        arguments.figures.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.check:
        print("\n".join(f"MISSED {fault}" for fault in faults) or "every bar holds")
    return 1 if arguments.check and faults else 0


def one_round(bench: Bench, contestants: list[str], *, turn: int, whom: list[str]) -> dict[str, Any]:
    """Once on every street those who are wanted, else those who must; each round begins with another one."""
    order = contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]
    answer: dict[str, Any] = {}
    for street in bench.seconds:
        there = set(whom or needed(street)) | ({ULTRALYTICS} & set(contestants))
        slopes = {name: bench.slope(street, name) for name in order if name in there}
        answer[street] = {
            name: {"cpu_s_per_minute": slopes[name][0], "cases": slopes[name][1]}
            for name in contestants
            if name in there
        }
    return answer


def interrupted(path: Path, mark: dict[str, Any]) -> Rounds:
    """The rounds that a run with the same orders left behind."""
    if not path.exists():
        return []
    left = json.loads(path.read_text(encoding="utf-8"))
    rounds: Rounds = left.pop("rounds")
    return rounds if left == mark else []


def commit() -> str:
    """With + where the sources have changed since."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "edge", "configs", "models")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main())
