"""The long form of the drills in tests/bench/drills.py: prints what each measured, ends with 1 where one failed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.bench.drills import damage_drill, kill_drill, memory_drill, quiet_run, street

REPOSITORY = Path(__file__).resolve().parent.parent
GROWTH_MAX = 0.02


def load(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Many cameras on one machine with their server: every case found, every picture accounted for."""
    with street(folder, media, cameras=arguments.cameras) as place:
        return quiet_run(place, arguments.minutes * 60)


def kills(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """SIGKILL to each kind of process, again and again, while alerts go out all the time."""
    with street(folder, media, cameras=4, use={"repeat_s": 3}) as place:
        told = kill_drill(place, rounds=arguments.rounds, apart_s=arguments.apart_s)
        return {"kills": told, "alerts delivered, each once by id": place.check_delivery()}


def memory(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Cameras that lose their connection all the time."""
    with street(folder, media, cameras=8) as place:
        result = memory_drill(place, warm_up_s=120, seconds=arguments.memory_minutes * 60)
        assert max(result.growth, result.own_growth) < GROWTH_MAX, result
        assert result.descriptors[0] == result.descriptors[1], result
        return result


def damage(folder: Path, media: Path, arguments: argparse.Namespace) -> object:
    """Bit flips, truncated and reordered packets through the real decoders."""
    return damage_drill(folder, media, mutated=arguments.mutated, limit_s=1200)


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
    parser.add_argument("--rounds", type=int, default=5, help="of kills: each kind of process so often")
    parser.add_argument("--apart-s", type=float, default=30, help="from kill to kill")
    parser.add_argument("--memory-minutes", type=float, default=10, help="of memory, after two minutes of warm-up")
    parser.add_argument("--mutated", type=int, default=10_000, help="of damage: access units")
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
                print(_told(DRILLS[name](Path(folder) / "gateway", media, arguments)), flush=True)
            except AssertionError as error:
                failed.append(name)
                print(f"{name} FAILED: {error}", flush=True)
    print(f"{len(failed)} of {len(arguments.drill or DRILLS)} drills failed" if failed else "all drills held")
    return 1 if failed else 0


def _told(result: object) -> str:
    def plain(value: object) -> object:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return str(value)

    return json.dumps(result, default=plain, indent=2)


if __name__ == "__main__":
    sys.exit(main())
