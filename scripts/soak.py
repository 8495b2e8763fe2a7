"""The long form of the drills in tests/bench/drills.py: prints what each measured, ends with 1 where one failed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.bench.drills import Damage, Kills, Memory, Run, damage_drill, kill_drill, memory_drill, quiet_run, street

REPOSITORY = Path(__file__).resolve().parent.parent
GROWTH_MAX = 0.02
BLOCK = re.compile(r"(<!-- live figures -->\n)(.*?)(<!-- end of live figures -->)", re.DOTALL)


def load(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Many cameras on one machine with their server: every case found, every picture accounted for."""
    with street(folder, media, cameras=arguments.cameras, own=_sampled(arguments, arguments.cameras)) as place:
        return quiet_run(place, arguments.minutes * 60)


def kills(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """SIGKILL to each kind of process, again and again, while cars come and go and alerts go out all the time."""
    return kill_drill(folder, media, rounds=arguments.rounds, apart_s=arguments.apart_s)


def memory(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Cameras that lose their connection all the time."""
    with street(folder, media, cameras=8, own=_sampled(arguments, 8)) as place:
        result = memory_drill(place, warm_up_s=120, seconds=arguments.memory_minutes * 60)
        assert max(result.growth, result.own_growth) < GROWTH_MAX, result
        assert result.descriptors[0] == result.descriptors[1], result
        return result


def damage(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Bit flips, truncated and reordered packets through the real decoders."""
    return damage_drill(folder, media, mutated=arguments.mutated, limit_s=1200)


def _sampled(arguments: argparse.Namespace, cameras: int) -> dict[str, dict[str, Any]]:
    return {f"cam-{number:02d}": {"sampling": {"decode": arguments.decode, "fps": 2}} for number in range(cameras)}


DRILLS: dict[str, Callable[[Path, Path, argparse.Namespace], object]] = {
    "load": load,
    "kills": kills,
    "memory": memory,
    "damage": damage,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("drill", nargs="*", help=f"which: {', '.join(DRILLS)}; all without one")
    parser.add_argument("--cameras", type=int, default=16, help="of load")
    parser.add_argument("--minutes", type=float, default=3, help="of load")
    parser.add_argument("--decode", default="all", choices=("all", "auto", "keyframes"), help="of load and memory")
    parser.add_argument("--rounds", type=int, default=5, help="of kills: each kind of process so often")
    parser.add_argument("--apart-s", type=float, default=30, help="from kill to kill")
    parser.add_argument("--memory-minutes", type=float, default=10, help="of memory, after two minutes of warm-up")
    parser.add_argument("--mutated", type=int, default=10_000, help="of damage: access units")
    parser.add_argument("--readme", action="store_true", help="write what held into the README")
    parser.add_argument("--media", type=Path, help="the shared clips, else EDGE_MEDIA, else beside the repository")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.drill) - set(DRILLS)):
        parser.error(f"no drill {unknown[0]}; there are {', '.join(DRILLS)}")
    media = arguments.media or Path(os.environ.get("EDGE_MEDIA") or REPOSITORY.parent / "shared" / "media")
    if not (media / "events.json").is_file():
        parser.error(f"no shared clips in {media}; name their folder with --media")
    failed = []
    for name in arguments.drill or DRILLS:
        with tempfile.TemporaryDirectory(prefix=f"edge-{name}-") as folder:
            print(f"{name}: {DRILLS[name].__doc__}", flush=True)
            try:
                result = DRILLS[name](Path(folder) / "gateway", media, arguments)
                print(_told(result), flush=True)
                if arguments.readme:
                    _write_down(name, _sentence(result))
            except AssertionError as error:
                failed.append(name)
                print(f"{name} FAILED: {error}", flush=True)
    print(f"{len(failed)} of {len(arguments.drill or DRILLS)} drills failed" if failed else "all drills held")
    return 1 if failed else 0


def _sentence(result: object) -> str:
    """What was measured, for people."""
    match result:
        case Run():
            return (
                f"{result.cameras} cameras (640x360 at 15 fps, analysed at 2 fps) for {result.seconds:.0f} s on "
                f"{os.cpu_count()} cores with the RTSP server beside them: every case found, {result.analysed} "
                f"pictures analysed, {result.dropped} dropped, the slowest camera at {result.fps_lowest} fps; "
                f"{result.gateway_cpu_cores} cores and {result.memory_mib:.0f} MiB for the whole gateway, of them "
                f"{result.camera_uss_mib:.0f} MiB for one camera alone at the most; stopped in "
                f"{result.stop_s} s"
            )
        case Kills():
            worst = {kind: max(kill.back_s for kill in result.kills if kill.kind == kind) for kind in _kinds(result)}
            pause_s = max(kill.pause_s for kill in result.kills if kill.kind in ("camera", "courier"))
            times = len(result.kills) // len(worst)
            told = ", ".join(f"{kind} {back_s} s" for kind, back_s in worst.items())
            return (
                f"SIGKILL, {times} times each; slowest to be at work again: {told}; no other camera paused for more "
                f"than {pause_s} s when a worker or the courier was killed; a car came and went "
                f"{result.appearances} times meanwhile, and each time one case was opened and cleared once: "
                f"{result.alerts} alerts, none lost, none twice"
            )
        case Memory():
            return (
                f"8 cameras and {result.reconnects} reconnects: memory grew by {result.growth:.2%} (sum of PSS) in "
                f"{result.minutes:.0f} minutes after warm-up, {result.descriptors[0]} descriptors before and "
                f"{result.descriptors[1]} after"
            )
        case Damage():
            return (
                f"{result.mutated} damaged access units (bits flipped, cut short, out of order; H.264 and H.265) among "
                f"{result.units}: {result.restarts} crashes, no wrong case, {result.withheld} pictures withheld"
            )
    raise TypeError(f"no sentence for {type(result).__name__}")


def _kinds(result: Kills) -> list[str]:
    return list(dict.fromkeys(kill.kind for kill in result.kills))


def _write_down(name: str, sentence: str) -> None:
    """One line a drill, with the commit on which it was measured."""
    git = ("git", "-C", str(REPOSITORY))
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "edge"], check=True, capture_output=True, text=True)
    state = f"{commit.stdout.strip()}{' with uncommitted changes' if changed.stdout else ''}"
    line = f"- `./scripts/soak {name}` on {state}: {sentence}.\n"
    readme = REPOSITORY / "README.md"

    def with_line(match: re.Match[str]) -> str:
        others = [told for told in match[2].splitlines(keepends=True) if f"soak {name}`" not in told]
        return match[1] + "".join(sorted([*others, line], key=_place)) + match[3]

    readme.write_text(BLOCK.sub(with_line, readme.read_text(encoding="utf-8")), encoding="utf-8")


def _place(line: str) -> int:
    return next((place for place, name in enumerate(DRILLS) if f"soak {name}`" in line), len(DRILLS))


def _told(result: object) -> str:
    def plain(value: object) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return str(value)

    return json.dumps(result, default=plain, indent=2)


if __name__ == "__main__":
    sys.exit(main())
