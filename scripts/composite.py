"""Labelled clips composited from real backgrounds and real cut-outs. See scripts/composite and tests/composites."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the renderer is part of the tests, which are not installed

from tests.composites import library, recipes  # noqa: E402
from tests.composites.directing import Take  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the clips; one that is there goes on")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other clips")
    parser.add_argument(
        "--events", type=int, default=0, help="so many events at least (default: one round of all recipes)"
    )
    parser.add_argument("--hours", type=float, default=0.0, help="so much footage without a case besides")
    parser.add_argument("--only", action="append", default=[], choices=recipes.NAMES, help="only this recipe")
    parser.add_argument("--take", action="append", default=[], help="only this, written RECIPE:SEED; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--media", type=Path, default=os.environ.get("EDGE_MEDIA") or ROOT.parent / "shared" / "media",
        help="folder of clips and cut-outs",
    )  # fmt: skip
    asked = parser.parse_args()
    if asked.take:
        named = [text.rpartition(":") for text in asked.take]
        takes = [recipes.one(name, int(number), asked.media) for name, _, number in named]
    else:
        takes = chosen(asked)
    truth = library.make(takes, asked.out, asked.media, seed=asked.seed, jobs=asked.jobs)
    events = sum(len(take.events) for take in takes)
    seconds = sum(take.composition.duration_s for take in takes)
    print(f"{truth}: {len(takes)} clips, {events} events, {seconds / 3600:.2f} hours")


def chosen(asked: argparse.Namespace) -> list[Take]:
    takes = recipes.standard(asked.media, seed=asked.seed, events_min=asked.events, only=asked.only)
    return takes + recipes.empty_hours(asked.hours, asked.media, seed=asked.seed, only=asked.only)


if __name__ == "__main__":
    main()
