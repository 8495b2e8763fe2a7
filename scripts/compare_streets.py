"""The clips of scripts/compare-public, their scenarios, and what is true of them.

Composed of real streets, cars, people and things, so that their truth is known to the picture; 1920x1080, 25 fps, a
keyframe every 2 s, 4 Mbit/s, with a sensor's mild noise over all of it. Each is measured from `short_s` on to its end:
    parking   a car stops and drives off, and another takes its place
    goods     somebody puts a crate down, then somebody a bag
    quiet     another car passes, then the street is empty; before what is measured one stops and drives off
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the renderer is part of the tests, which are not installed

from tests.composites.composition import Renderer  # noqa: E402
from tests.composites.directing import Director, Take  # noqa: E402
from tests.composites.footage import BY_NAME  # noqa: E402
from tests.composites.library import write_clip  # noqa: E402

VERSION = 2  # of the clips; kept ones of another are made again
FPS = 25
VEHICLES, BAGS = [2, 5, 7], [24, 26, 28]  # rows of the network
ENCODED = (
    *("-an", "-c:v", "libx264", "-preset", "veryfast", "-b:v", "4M", "-maxrate", "4M", "-bufsize", "8M", "-g", "50"),
    *("-keyint_min", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-threads", "2"),
)
_FULL_HD = "scale=1920:1080:flags=bicubic,noise=alls=4:allf=t"


@dataclass(frozen=True)
class Street:
    """One clip, and what is looked for in it."""

    made: Callable[[Path], Take]  # of the footage in a folder
    short_s: int
    labels: list[int]  # that the public parts, which know no other things, wait for
    scenario: str  # whose time they wait


@dataclass(frozen=True)
class Scene:
    """What a configuration of a street needs, and what must be found."""

    zones: list[dict[str, Any]]
    scenarios: list[dict[str, Any]]
    truth: list[dict[str, Any]]  # {"scenario", "zone", "onset_s"}


def scene_of(street: Street, media: Path) -> Scene:
    take = street.made(media)
    noted = [(event.scenario, event.zone, event.start_s) for event in take.events]
    zones = [{"id": name, "polygon": [list(point) for point in polygon]} for name, polygon in take.zones.items()]
    truth = [{"scenario": scenario, "zone": zone, "onset_s": onset_s} for scenario, zone, onset_s in noted]
    return Scene(zones, [dict(use) for use in take.uses], truth)


def make_clips(street: Street, media: Path, whole: Path, short: Path) -> None:
    """Writes the clip and its beginning; both are there whole or not at all."""
    composed = whole.with_suffix(".composed.mp4")
    write_clip(composed, Renderer(street.made(media).composition, media).pictures(), fps=FPS)
    for out, order in (
        (whole, ["-i", str(composed), "-vf", _FULL_HD, *ENCODED]),
        (short, ["-i", str(whole), "-t", str(street.short_s), "-c", "copy"]),
    ):
        part = out.with_suffix(".part.mp4")
        subprocess.run(["ffmpeg", "-v", "error", "-y", *order, str(part)], check=True)
        part.rename(out)
    composed.unlink(missing_ok=True)


def _parking(media: Path) -> Take:
    director = _empty_street("compare-parking", 34, media)
    _parks(director, "dark-saloon", 6, 18)
    _parks(director, "white-sedan", 25, float("inf"))
    return director.take()


def _quiet(media: Path) -> Take:
    """Measured from 20 s to 42 s: the one that passes is gone by 24 s, and nothing moves from then on."""
    director = _empty_street("compare-quiet", 42, media)
    _parks(director, "dark-saloon", 5, 13)
    director.drives_through("white-sedan", 21)
    return director.take()


def _parks(director: Director, car: str, at_s: float, until_s: float) -> None:
    placed = director.parks(car, director.stage.kerb[1], at_s, until_s=until_s)
    director.note("illegal-parking", "kerb", at_s, until_s, placed, look_s=at_s + 1)


def _goods(media: Path) -> Take:
    """A case begins when whoever brought the thing goes from it: until then nobody can see it."""
    director = _empty_street("compare-goods", 36, media, stage="wall")
    for thing, place, at_s in (("crate-1", (0.35, 0.75), 12.0), ("grey-bag", (0.65, 0.80), 24.0)):
        placed = director.put_down(thing, place, at_s)
        leaves_s = director.things[-1].way[2].at_s
        director.note("piled-goods", "kerb", leaves_s, None, placed, look_s=leaves_s + 1)
    return director.take()


def _empty_street(name: str, duration_s: float, media: Path, *, stage: str = "overpass") -> Director:
    """Its noise is laid over the full size when it is coded, not blown up with the picture."""
    director = Director(name, 0, replace(BY_NAME[stage], noise=0.0), duration_s, media, fps=FPS)
    for use in ("illegal-parking", "piled-goods"):
        director.watch(use, "kerb", director.stage.kerb_zone or director.stage.ground, after_s=5, clear_after_s=6)
    return director


STREETS = {
    "parking": Street(_parking, 10, VEHICLES, "illegal-parking"),
    "goods": Street(_goods, 10, BAGS, "piled-goods"),
    "quiet": Street(_quiet, 20, VEHICLES, "illegal-parking"),
}
