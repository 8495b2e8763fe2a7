"""CPU seconds per camera-minute of the public-parts pipeline and of `edge replay`, in turns, with the cases found.

Run by scripts/compare-public. Each clip is measured whole and cut short; the difference of both takes start-up out. CPU
seconds are user and system time of the whole process tree, so threads count for what they do. A ratio is the median of
the rounds' own ratios: what runs beside us meets both sides of a round alike. The public parts run twice: as they come,
and with onnxruntime threads that rest while they wait, as ours do: awake on a busy machine they burn CPU for nothing.

The clips are made of the shared footage, at 1920x1080, 25 fps, a keyframe every 2 s, 4 Mbit/s:
    parking   a no-parking street, thrice in a row (it begins and ends empty): three cars, 12 s each
    goods     a corridor in which a bag is left
    quiet     the street twice, then its last picture with sensor noise for 84 s: four fifths of what is measured
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "yolox-nano" / "model.onnx"
INPUT_PX = (640, 384)
FPS = 5
START = "2026-01-05T08:00:00+00:00"
ONSET_S = 2.0  # how far apart two onsets of one case may lie
ENCODED = (
    *("-an", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "4M", "-maxrate", "4M", "-bufsize", "8M", "-g", "50"),
    *("-keyint_min", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-threads", "2"),
)

PUBLIC, ULTRALYTICS = "public parts", "public parts, ultralytics' tracker"
RESTING = "public parts, resting threads"  # onnxruntime's threads wait asleep, which is not how they come
ALL, SKIPPING, KEYFRAMES, AUTO = "all", "all, still zones skipped", "keyframes", "auto"
SAMPLING: dict[str, dict[str, Any]] = {
    ALL: {"decode": "all", "fps": FPS, "still_s": 0},  # the model on every analysed picture
    SKIPPING: {"decode": "all", "fps": FPS},
    KEYFRAMES: {"decode": "keyframes", "fps": FPS},
    AUTO: {"decode": "auto", "fps": FPS},
}
VEHICLES, BAGS = [2, 5, 7], [24, 26, 28]  # rows of the network


@dataclass(frozen=True)
class Street:
    """One clip, and what is looked for in it."""

    source: str
    filters: str
    short_s: int
    zone: str
    labels: list[int]  # that the public parts, which know no other things, wait for
    scenarios: dict[str, dict[str, Any]]  # beside those of events.json
    truth: list[dict[str, Any]]  # what happens in it


_SCALED = "scale=1920:1080:flags=bicubic"
_KR = "kr_noparking_overlay.mp4"
_KR_S = 20.48  # of the street, once
_GOODS = {"piled-goods": {"after_s": 5}}
_CAR = {"scenario": "illegal-parking", "zone": "kerb"}
_BAG = {"scenario": "piled-goods", "zone": "floor", "onset_s": 11.3}
STREETS = {
    "parking": Street(
        _KR,
        f"fps=25,loop=2:512,setpts=N/25/TB,{_SCALED}",
        20,
        "kerb",
        VEHICLES,
        _GOODS,
        [_CAR | {"onset_s": 4.8 + nth * _KR_S} for nth in range(3)],
    ),
    "goods": Street(
        "aboda_video1_cut.mp4", f"fps=25,{_SCALED}", 12, "floor", BAGS, {"illegal-parking": {"after_s": 5}}, [_BAG]
    ),
    "quiet": Street(
        _KR,
        f"fps=25,loop=1:512,setpts=N/25/TB,tpad=stop_mode=clone:stop_duration=84,{_SCALED},"
        "noise=alls=5:allf=t:enable='gte(t,40.96)'",
        20,
        "kerb",
        VEHICLES,
        _GOODS,
        [_CAR | {"onset_s": 4.8 + nth * _KR_S} for nth in range(2)],
    ),
}
# Ratio to the public parts, at most: configuration, streets, bar.
BARS = (
    (AUTO, ("parking", "goods"), 0.1),
    (ALL, ("parking", "goods"), 0.9),
    (SKIPPING, ("quiet",), 0.6),
)


@dataclass(frozen=True)
class Spent:
    """One run over one clip."""

    cpu_s: float
    cases: list[dict[str, Any]]


class Bench:
    """The clips and configurations in a folder, and the runs over them."""

    def __init__(self, folder: Path, media: Path, streets: list[str], parts: dict[str, Path]) -> None:
        self._folder, self._parts = folder, parts
        truth = json.loads((media / "events.json").read_text(encoding="utf-8"))
        self._truth = {clip["clip"]: clip for clip in truth["clips"]}
        self.seconds = {name: self._make(name, media) for name in streets}

    def slope(self, street: str, contestant: str) -> tuple[float, list[dict[str, Any]]]:
        """CPU seconds per camera-minute without start-up, and the cases of the whole clip."""
        short, whole = (self._run(street, contestant, length) for length in ("short", "whole"))
        short_s, whole_s = self.seconds[street]
        return (whole.cpu_s - short.cpu_s) / (whole_s - short_s) * 60, whole.cases

    def _make(self, name: str, media: Path) -> tuple[float, float]:
        """Writes both clips and the configurations; returns how long the clips are, in seconds."""
        street = STREETS[name]
        whole, short = self._folder / f"{name}-whole.mp4", self._folder / f"{name}-short.mp4"
        if not short.exists():
            source = ["ffmpeg", "-v", "error", "-y", "-i", str(media / street.source), "-vf", street.filters]
            subprocess.run([*source, *ENCODED, str(whole)], check=True)
            cut = ["ffmpeg", "-v", "error", "-y", "-i", str(whole), "-t", str(street.short_s), "-c", "copy", str(short)]
            subprocess.run(cut, check=True)
        for contestant, sampling in SAMPLING.items():
            self._site(name, contestant).write_text(json.dumps(self._config(street, sampling)), encoding="utf-8")
        return length_s(short), length_s(whole)

    def _config(self, street: Street, sampling: dict[str, Any]) -> dict[str, Any]:
        """A configuration; JSON is YAML."""
        truth = self._truth[street.source]
        own = [use for use in truth["scenarios"] if use["use"] != "loitering"]
        more = [{"use": use, "zones": [street.zone], **values} for use, values in street.scenarios.items()]
        camera = {
            "id": "c",
            "name": "C",
            "source": "none.mp4",
            "sampling": sampling,
            "zones": [{"id": street.zone, "polygon": truth["zones"][street.zone]}],
            "scenarios": own + more,
        }
        site = {"id": "compare", "name": "Compare", "timezone": "UTC"}
        return {"version": 1, "site": site, "gateway": {"id": "g"}, "model": "yolox-nano", "cameras": [camera]}

    def _site(self, street: str, contestant: str) -> Path:
        return self._folder / f"{street}-{contestant.replace(' ', '-').replace(',', '')}.yaml"

    def _run(self, street: str, contestant: str, length: str) -> Spent:
        clip = self._folder / f"{street}-{length}.mp4"
        if contestant in self._parts:
            return self._run_parts(street, contestant, clip)
        out = self._folder / "out"
        order = ["--config", str(self._site(street, contestant)), "--out", str(out), "--start", START]
        cpu_s, _ = spend([sys.executable, "-m", "edge", "replay", str(clip), *order])
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        lines = (out / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
        return Spent(cpu_s, [case_of(data, summary["started_at"]) for data in opened(lines)])

    def _run_parts(self, street: str, contestant: str, clip: Path) -> Spent:
        config = self._config(STREETS[street], {})["cameras"][0]
        waited = {use["use"]: use["after_s"] for use in config["scenarios"]}
        scenario = "piled-goods" if STREETS[street].labels == BAGS else "illegal-parking"
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


def unlike(expected: list[dict[str, Any]], found: list[dict[str, Any]], truth: list[dict[str, Any]]) -> list[str]:
    """What of the expected cases is missing or more than 2 s off, and what there is beside that did not happen."""
    missing, beside = unpaired(expected, found)
    _, untrue = unpaired(truth, beside)
    return [f"misses {worded(case)}" for case in missing] + [f"adds {worded(case)}" for case in untrue]


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


def judge(rounds: Rounds) -> dict[str, Any]:
    """Medians, ratios and cases of every street and contestant."""
    answer: dict[str, Any] = {}
    for street in rounds[0]:
        rows = {}
        for contestant in rounds[0][street]:
            costs = [one[street][contestant]["cpu_s_per_minute"] for one in rounds]
            row = {"cpu_s_per_minute": round(statistics.median(costs), 2)}
            row["cpu_s_range"] = [round(min(costs), 2), round(max(costs), 2)]
            row["cases"] = rounds[0][street][contestant]["cases"]
            for ratio, yardstick in (("ratio", PUBLIC), ("ratio_resting", RESTING)):
                if yardstick in rounds[0][street]:
                    base = [one[street][yardstick]["cpu_s_per_minute"] for one in rounds]
                    row[ratio] = round(statistics.median(c / b for c, b in zip(costs, base, strict=True)), 3)
            if contestant in SAMPLING and ALL in rounds[0][street]:
                row["unlike_all"] = unlike(rounds[0][street][ALL]["cases"], row["cases"], STREETS[street].truth)
            rows[contestant] = row
        answer[street] = rows
    return answer


def missed(judged: dict[str, Any]) -> list[str]:
    """The bars that do not hold, and the cases that differ where they must not."""
    faults = []
    for contestant, streets, bar in BARS:
        for street in streets:
            row = judged.get(street, {}).get(contestant)
            if row is None or "ratio" not in row:
                faults.append(f"{street}, {contestant}: was not measured")
                continue
            ratio = max(
                row["ratio"], row.get("ratio_resting", 0.0)
            )  # the harder yardstick: what spins is no merit of ours
            if ratio > bar:
                faults.append(f"{street}, {contestant}: {ratio:.3f} of the public parts, may be {bar}")
            faults += [f"{street}, {contestant}: {fault}" for fault in row.get("unlike_all", [])]
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
            unlike_all = f"   AGAINST all: {'; '.join(row['unlike_all'])}" if row.get("unlike_all") else ""
            ratios = "".join(f"{row.get(key, float('nan')):>{width}.3f}" for key, width in _RATIOS.items())
            lines.append(f"  {contestant:34}{cost:>24}{ratios}   {cases}{unlike_all}")
    return "\n".join(lines)


def machine() -> str:
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{named[0].partition(':')[2].strip() if named else platform.machine()}, {os.cpu_count()} cores"


def earlier(path: Path | None) -> Rounds:
    return json.loads(path.read_text(encoding="utf-8"))["rounds"] if path is not None and path.exists() else []


def main() -> int:
    parser = argparse.ArgumentParser(description="edge replay beside the pipeline that public parts make.")
    parser.add_argument("media", type=Path, help="folder of the shared footage, with events.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streets", default="parking,goods,quiet", help=f"of {', '.join(STREETS)}")
    parser.add_argument("--only", default="", help="some of the configurations, by name, parted by semicolons")
    parser.add_argument("--work", type=Path, help="keep the clips here, for the next time")
    parser.add_argument("--json", type=Path, help="write rounds, medians and ratios here")
    parser.add_argument("--append", type=Path, help="as --json, and judge the rounds that are in it too")
    parser.add_argument("--figures", type=Path, help="write medians and ratios alone here: docs/bench-public.json")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    parser.add_argument("--ultralytics", action="store_true", help="ultralytics' tracker too")
    parser.add_argument("--parts", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ultralytics-parts", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not (arguments.media / "events.json").is_file():
        raise SystemExit(f"compare-public: {arguments.media}: holds no events.json; name a folder of labelled clips")
    parts = {PUBLIC: arguments.parts, RESTING: arguments.parts}
    if arguments.ultralytics:
        parts[ULTRALYTICS] = arguments.ultralytics_parts
    wanted = [name.strip() for name in arguments.only.split(";") if name.strip()]
    contestants = [name for name in (*parts, *SAMPLING) if not wanted or name in wanted]
    strange = [name for name in arguments.streets.split(",") if name not in STREETS]
    strange += [name for name in wanted if name not in contestants]
    if strange:
        raise SystemExit(f"compare-public: no {' and no '.join(strange)}; streets {', '.join(STREETS)}; {contestants}")

    rounds = earlier(arguments.append)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, arguments.media, arguments.streets.split(","), parts)
        for _ in range(arguments.rounds):
            rounds.append(one_round(bench, contestants, turn=len(rounds)))
            print(f"round {len(rounds)} is done", file=sys.stderr, flush=True)
    judged = judge(rounds)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    faults = missed(judged)
    print(f"commit {commit.stdout.strip()}, {machine()}, {len(rounds)} rounds\n{told(judged)}")
    document = {
        "commit": commit.stdout.strip(),
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


def one_round(bench: Bench, contestants: list[str], *, turn: int) -> dict[str, Any]:
    """Everybody once on every street; each round begins with another one."""
    order = contestants[turn % len(contestants) :] + contestants[: turn % len(contestants)]
    answer: dict[str, Any] = {}
    for street in bench.seconds:
        slopes = {name: bench.slope(street, name) for name in order}
        answer[street] = {name: {"cpu_s_per_minute": slopes[name][0], "cases": slopes[name][1]} for name in contestants}
    return answer


if __name__ == "__main__":
    sys.exit(main())
