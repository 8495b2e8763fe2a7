"""Views in which a vehicle stands from the first picture to the last: an endless loop always shows it parked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.bench.streams import Recipe

PLAZA_CLIP = Path(__file__).resolve().parents[2] / "configs" / "demo" / "plaza.mp4"


@dataclass(frozen=True, slots=True)
class ParkedScene:
    """A recipe for a view of 640x360 and where the vehicle is in it."""

    recipe: Recipe
    box_px: tuple[int, int, int, int]  # x1, y1, x2, y2 as the model in `models/` sees it, +-4 px
    zone: tuple[tuple[float, float], ...]  # fractions of the view


def plaza() -> ParkedScene:
    """The demo's white van on the verge, people crossing; yolox-nano gives it 0.72. The loop jumps after 20 s."""
    return ParkedScene(
        Recipe(PLAZA_CLIP, crop="768:432:0:0", duration_s=20.0),
        box_px=(542, 36, 602, 87),
        zone=((0.80, 0.067), (0.945, 0.067), (0.945, 0.267), (0.80, 0.267)),
    )


def car_park(media: Path) -> ParkedScene:
    """A white car in its bay, score 0.90, between others that stand too. Played there and back: no jump at all."""
    clip = media / "carpark_leaving_car6.mp4"
    return ParkedScene(
        Recipe(clip, crop="480:270:80:50", start_s=4.0, duration_s=12.0, there_and_back=True),
        box_px=(358, 53, 446, 136),
        zone=((0.53, 0.12), (0.74, 0.12), (0.74, 0.41), (0.53, 0.41)),
    )
