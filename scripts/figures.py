"""The README's figures: `edge evaluate` over labelled footage, and a full-HD clip's replay. See scripts/figures."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from edge.resources import configs_dir
from edge.runtime.evaluation import as_markdown
from edge.wiring.recorded import evaluate

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- figures: written by scripts/figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
RUNS = 5
SITE = """
version: 1
site: {id: figures, timezone: UTC}
gateway: {id: gw-01}
cameras:
  - id: cam
    source: hd.mp4
    sampling: {decode: all, fps: 5}
    zones: [{id: verge, polygon: [[0.80, 0.05], [0.945, 0.05], [0.945, 0.20], [0.80, 0.20]]}]
    scenarios: [{use: illegal-parking, zones: [verge], after_s: 10}]
"""


def main(media: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = as_markdown(evaluate(media / "events.json", media=media, out=Path(folder) / "evaluation", only=()))
        speed = full_hd(Path(folder))
    commit = output("git", "rev-parse", "--short", "HEAD")
    dirty = (
        " with uncommitted changes" if output("git", "status", "--porcelain", "--", "edge", "configs", "models") else ""
    )
    text = (
        f"Measured by `./scripts/figures` on commit {commit}{dirty}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, with the catalogue's defaults for all that the truth leaves open."
        f"\n\n{table}\n\n{speed}\n"
    )
    readme = ROOT / "README.md"
    readme.write_text(BLOCK.sub(lambda match: f"{match[1]}{text}{match[2]}", readme.read_text(encoding="utf-8")))
    print(text)


def full_hd(folder: Path) -> str:
    """1920x1080 at 25 fps, decode: all, five analysed frames a second: the median of some replays."""
    clip, site = folder / "hd.mp4", folder / "site.yaml"
    site.write_text(SITE)
    plaza = configs_dir() / "demo" / "plaza.mp4"
    options = "-vf scale=1920:1080:flags=bicubic,fps=25 -c:v libx264 -preset veryfast -b:v 4M -g 50"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(plaza), *options.split(), str(clip)], check=True)
    summaries = [replay(clip, site, folder / f"out-{run}") for run in range(RUNS)]
    middle = sorted(summaries, key=lambda summary: summary["times_real_time"])[RUNS // 2]
    spent = ", ".join(
        f"{name} {stage['wall_s']:.1f}" for name, stage in middle["stages"].items() if stage["wall_s"] >= 0.05
    )
    per_minute = statistics.median(summary["cpu_s"] / summary["media_s"] * 60 for summary in summaries)
    return (
        "A 1080p clip at 25 fps (`decode: all`, `fps: 5`) replays at "
        f"**{middle['times_real_time']:.1f} times real time**, "
        f"{per_minute:.1f} CPU seconds a camera-minute, start-up included (median of {RUNS} replays of "
        f"{middle['media_s']:.0f} s). Where the {middle['wall_s']:.1f} s went: {spent}."
    )


def replay(clip: Path, site: Path, out: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "edge", "replay", str(clip), "--config", str(site), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, float] = json.loads((out / "summary.json").read_text())
    return summary


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
