"""Runs `edge bench` in rounds, keeps the figures per commit, and finds what has become worse. See scripts/bench.

Beside every round stands a fixed piece of work: CPU figures are compared as ratios to it, so that a machine that is
busy or slow today is not taken for a regression.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the tests are not installed, and the test bench is among them

from edge.bench import history  # noqa: E402
from edge.bench.history import Entry, Figure, figure  # noqa: E402
from edge.errors import EdgeError  # noqa: E402
from edge.resources import configs_dir  # noqa: E402

HISTORY = ROOT / "docs" / "bench-history.json"
PUBLIC = ROOT / "docs" / "bench-public.json"
PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- figures: written by scripts/bench -->\n).*?(<!-- end of figures -->)", re.DOTALL)
CLIP_S = 24
SAMPLINGS: dict[str, dict[str, Any]] = {
    "all, every look": {"decode": "all", "fps": 5, "still_s": 0},
    "all": {"decode": "all", "fps": 5},
    "keyframes": {"decode": "keyframes", "fps": 5},
    "auto": {"decode": "auto", "fps": 5},
}
THINGS = 50
FULL_HD = (
    *(
        "-vf",
        "scale=1920:1080:flags=bicubic,fps=25",
        "-t",
        str(CLIP_S),
        "-an",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
    ),
    *("-b:v", "4M", "-maxrate", "4M", "-bufsize", "8M", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Figures of this machine and commit.")
    parser.add_argument(
        "--check", action="store_true", help="compare with the best of the last entries, and append nothing"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live", action="store_true", help="also search how many live cameras hold: half an hour")
    parser.add_argument("--page", action="store_true", help="only write docs/performance.md anew")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: one at least")
    history.read(HISTORY)  # what is no history is told now, and not after all rounds
    if arguments.page:
        write_page()
        return 0
    entry = Entry(
        commit(), datetime.now(UTC).date().isoformat(), history.machine(), measured(arguments.rounds, arguments.live)
    )
    print("\n".join(f"{name:44}{told(one)}" for name, one in entry.figures.items()))
    before = history.best_of(history.read(HISTORY), entry.machine)
    worse = history.regressions(before, entry) if before is not None else []
    if arguments.check:
        if before is None:
            print(f"bench: no entry of this kind of machine ({entry.machine}) to compare with: run scripts/bench")
            return 1
        print("\n".join(f"WORSE {one}" for one in worse) or f"nothing is worse than on {before.commit}, beyond noise")
        return 1 if worse else 0
    history.add(HISTORY, entry)
    write_page()
    print(f"{HISTORY}: {entry.commit} is kept", *worse, sep="\n")
    return 0


def measured(rounds: int, live: bool) -> dict[str, Figure]:
    """Everything once a round, in turns."""
    values: dict[str, list[float]] = defaultdict(list)
    units: dict[str, str] = {}
    reference_s: list[float] = []

    def note(name: str, unit: str, value: float) -> None:
        values[name].append(value)
        units[name] = unit

    with tempfile.TemporaryDirectory(prefix="edge-bench-") as folder:
        clip = make_clip(Path(folder))
        for nth in range(rounds):
            reference_s.append(history.reference_work_s())
            for name, sampling in SAMPLINGS.items():
                order = ["replay", str(clip), "--config", str(site(Path(folder), sampling)), "--rounds", "1"]
                note(f"replay, {name}", "CPU s / camera-minute", edge_bench(*order)["cpu_s_per_minute"])
            found = edge_bench("hotpath", "--cameras", "1,64", "--objects", str(THINGS), "--seconds", "0")
            note(f"frame path, 64 cameras, {THINGS} things", "us a picture", found["rows"][-1]["total_us"])
            note(f"frame path, 64 cameras to 1, {THINGS} things", "ratio", found["growth"][str(THINGS)])
            # Raw memory and delays do not follow the machine's speed; they are few, for they wait most of the time.
            if nth < 3:
                found = edge_bench("memory", "--source", str(clip), "--cameras", "4", "--seconds", "20")
                note("memory of one more camera", "MiB", found["extra_camera_mib"])
                note("memory of the detector", "MiB", found["detector_mib"])
                note("alert delay, p50", "s", edge_bench("latency", "--seconds", "20")["p50_s"])
            print(f"round {nth + 1} of {rounds} is done", file=sys.stderr, flush=True)
        if live:
            note("live cameras, keyframes", "cores a camera", live_cameras(Path(folder), clip))
    fast = ("CPU s / camera-minute", "us a picture")
    return {
        name: figure(units[name], each, reference_s if units[name] in fast else ()) for name, each in values.items()
    }


def make_clip(folder: Path) -> Path:
    clip = folder / "full-hd.mp4"
    source = configs_dir() / "demo" / "plaza.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(source), *FULL_HD, str(clip)], check=True)
    return clip


def site(folder: Path, sampling: dict[str, Any]) -> Path:
    """Parking and goods on the demo's verge. JSON is YAML."""
    verge = [[0.80, 0.05], [0.945, 0.05], [0.945, 0.20], [0.80, 0.20]]
    uses = [{"use": use, "zones": ["verge"], "after_s": 5} for use in ("illegal-parking", "piled-goods")]
    camera = {
        "id": "c",
        "source": "none.mp4",
        "sampling": sampling,
        "zones": [{"id": "verge", "polygon": verge}],
        "scenarios": uses,
    }
    path = folder / "site.yaml"
    config = {"version": 1, "site": {"id": "b", "timezone": "UTC"}, "gateway": {"id": "b"}, "cameras": [camera]}
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def edge_bench(*order: str) -> dict[str, Any]:
    """One `edge bench` command. Its verdict is not ours: a bar that is missed is still a figure."""
    command = [sys.executable, "-m", "edge", "bench", *order, "--json", "-"]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if not done.stdout.strip():
        raise SystemExit(f"bench: {' '.join(command)} ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def live_cameras(folder: Path, clip: Path) -> float:
    """Prints what holds, and returns what a camera costs at the most that hold, in cores."""
    from tests.bench.cameras import StreetCameras
    from tests.bench.streams import Recipe, make_stream

    recipe = Recipe(source=clip, width=1920, height=1080, fps=25, group_s=2.0, kbit_s=4000, there_and_back=True)
    stream = make_stream(folder / "streams", recipe)
    most = 128
    with StreetCameras() as cameras:
        urls = [cameras.add(f"/cam{number}", stream) for number in range(most)]
        pattern = urls[0].removesuffix("0") + "{n}"
        found = edge_bench(
            "live", "--source", pattern, "--decode", "keyframes", "--cameras-max", str(most), "--seconds", "60"
        )
    print(json.dumps(found, indent=1))
    held = [trial for trial in found["trials"] if trial["cameras"] == found["cameras"] and trial["held"]]
    return held[-1]["cores"] / found["cameras"] if held else float("inf")


def commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "edge", "configs", "models")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def told(one: Figure) -> str:
    return f"{one.median:.4g} {one.unit} (+-{one.mad:.2g})"


def write_page() -> None:
    text = figures_text(history.read(HISTORY), public_figures())
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda match: f"{match[1]}{text}{match[2]}", page), encoding="utf-8")


def public_figures() -> dict[str, Any]:
    """Of the last scripts/compare-public that was kept, or none."""
    answer: dict[str, Any] = json.loads(PUBLIC.read_text(encoding="utf-8")) if PUBLIC.exists() else {}
    return answer


def figures_text(entries: list[Entry], public: dict[str, Any]) -> str:
    """The generated part of docs/performance.md."""
    lines = []
    for machine in dict.fromkeys(entry.machine for entry in entries):
        entry = history.last_of(entries, machine)
        assert entry is not None
        lines += [f"`scripts/bench` on commit {entry.commit}, {entry.date}, {machine}:", ""]
        lines += ["| figure | median | unit | scatter (MAD) |", "|---|---|---|---|"]
        lines += [f"| {name} | {one.median:.4g} | {one.unit} | {one.mad:.2g} |" for name, one in entry.figures.items()]
        lines.append("")
    if public:
        lines += [
            f"`scripts/compare-public` on commit {public['commit']}, {public['machine']}, {public['rounds']} rounds: "
            "CPU seconds per camera-minute, and the ratio to the public parts as they come, and with resting threads. "
            "Each is the median of the rounds, the ratios those of what ran in the same round: "
            "they are no quotients of the medians.",
            "",
            "| clip | pipeline | CPU s | range | ratio | to resting | cases |",
            "|---|---|---|---|---|---|---|",
        ]
        for street, rows in public["streets"].items():
            for name, row in rows.items():
                low, high = row["cpu_s_range"]
                ratios = " | ".join(f"{row[key]:.3f}" if key in row else "" for key in ("ratio", "ratio_resting"))
                cases = len(row["cases"])
                cost = f"{row['cpu_s_per_minute']:.2f} | {low:.2f} to {high:.2f}"
                lines.append(f"| {street} | {name} | {cost} | {ratios} | {cases} |")
        lines += ["", *(f"- missed: {fault}" for fault in public["missed"])]
        lines += [] if not public["missed"] else [""]
    return "\n".join(lines) + "\n" if lines else ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeError as error:
        sys.exit(f"bench: {error}")
