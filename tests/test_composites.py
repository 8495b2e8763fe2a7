"""Composited streets: the renderer is deterministic and true, and the rules are right on a short set of its clips.

The long form is scripts/accuracy. Thresholds are the catalogue's; figures are printed.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.core.scoring import Totals
from edge.runtime.evaluation import Evaluation, as_text, joined
from edge.wiring.recorded import evaluate
from tests.composites import library, light, people, recipes, streets
from tests.composites.composition import Composition, Placed, Renderer, Waypoint
from tests.composites.directing import Take
from tests.composites.footage import BY_NAME

# The fixture that replays the short set may be slow where other tests run beside it.
pytestmark = pytest.mark.timeout(900)
SEED = 5


def digest(composition: Composition, media: Path) -> str:
    return hashlib.sha256(
        b"".join(picture.tobytes() for picture in Renderer(composition, media).pictures())
    ).hexdigest()


def test_the_same_seed_draws_the_same_pixels_and_another_seed_others(media: Path) -> None:
    takes = [streets.goods_under_light(seed, media) for seed in (SEED, SEED, SEED + 9)]
    short = [replace(take.composition, duration_s=3.0) for take in takes]
    first, again, other = (digest(composition, media) for composition in short)
    assert first == again
    assert first != other
    assert takes[0].truth(media) == takes[1].truth(media)


@pytest.mark.parametrize("stage", ["overpass", "bricks", "wall", "yard"])
def test_the_true_box_is_where_the_thing_is_drawn(media: Path, stage: str) -> None:
    """What differs from the street without it, shadow apart, is what the truth says."""
    view = BY_NAME[stage]
    x, y = np.mean(view.ground, axis=0)
    thing = Placed("crate-5", (Waypoint(0, float(x), float(y)),), scale=1.5)
    empty = Composition(view, 0.2, SEED)
    with_it = replace(empty, things=(thing,))
    renderer = Renderer(with_it, media)
    drawn = next(renderer.pictures()).astype(np.int16) - next(Renderer(empty, media).pictures())
    true = renderer.box(thing, 0.0)
    above = drawn[: int(true[3]) - 4]  # where the shadow does not reach
    rows, columns = np.nonzero(np.abs(above).max(axis=2) > 12)
    seen = (columns.min(), rows.min(), columns.max() + 1)
    print(stage, [round(edge, 1) for edge in true], seen)
    assert np.abs(np.array(seen) - true[:3]).max() <= 2.5


def test_a_thing_has_no_box_before_it_is_put_down_and_after_it_is_taken(media: Path) -> None:
    thing = Placed("crate-0", (Waypoint(2, 0.3, 0.8),), until_s=4)
    renderer = Renderer(Composition(BY_NAME["plaza"], 6, SEED, (thing,)), media)
    assert [renderer.box(thing, time_s) != (0, 0, 0, 0) for time_s in (1.9, 2.0, 3.9, 4.0)] == [
        False,
        True,
        True,
        False,
    ]


def test_dimming_halves_the_picture_within_two_seconds_and_infra_red_takes_the_colour(media: Path) -> None:
    street = np.asarray(next(Renderer(Composition(BY_NAME["plaza"], 0.2, SEED), media).pictures()), np.float32)
    dimmed = light.Dimming(10).apply(street.copy(), 12.0)
    assert np.allclose(dimmed, street / 2)
    assert np.allclose(light.Dimming(10).apply(street.copy(), 9.9), street)
    night = light.InfraRed(10).apply(street.copy(), 20.0)
    assert np.ptp(night, axis=2).max() == 0
    assert light.InfraRed(10).apply(street.copy(), 10.2).mean() < 5


def test_truth_is_what_was_directed(media: Path) -> None:
    """A crowd begins with its fourth person; the car hides by 28 %."""
    crowd = people.gathering(SEED, media)
    event = crowd.events[0]
    arrivals = sorted(placed.way[1].at_s for placed in event.things)
    assert event.start_s == arrivals[people.PEOPLE_MIN - 1]
    hidden = streets.parking_half_hidden(SEED, media)
    renderer = Renderer(hidden.composition, media)
    car = np.array(renderer.box(hidden.events[0].things[0], 38))
    person = np.array(renderer.box(hidden.composition.things[-1], 38))
    shared = np.minimum(car[2:], person[2:]) - np.maximum(car[:2], person[:2])
    share = float(np.prod(shared) / np.prod(car[2:] - car[:2]))
    print(f"hidden: {share:.3f}")
    assert abs(share - 0.28) < 0.04


# The rules on a short set. Three pictures a second are enough for things that stand, and cost half of five.

FPS = 3
LIGHT_S = 42.0  # the light changes at 25 s, and goods are told of 12 s after they appeared
SET = (
    ("parking-hidden-28", 2),
    ("queue-and-parked", 1),
    ("goods", 4),
    ("goods-under-light", 2),
    ("person-stands-still", 3),
    ("crowd-gathering", 2),
    ("light-dimmed", 0),
    ("light-infra-red", 3),
)


@pytest.fixture(scope="module")
def measured(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The short set, made and replayed once for all tests here."""
    folder = tmp_path_factory.mktemp("composites")
    takes = [_short(recipes.one(name, seed, media)) for name, seed in SET]
    truth = library.make(takes, folder / "clips", media, seed=0, jobs=2)
    evaluation = evaluate(truth, media=folder / "clips", out=folder / "out", only=(), jobs=2, evidence=False)
    print("\n" + as_text(evaluation))
    return evaluation


def _short(take: Take) -> Take:
    seconds = LIGHT_S if take.recipe.startswith("light-") else take.composition.duration_s
    return replace(take, composition=replace(take.composition, fps=FPS, duration_s=seconds))


def _of(measured: Evaluation, *names: str) -> Totals:
    totals = joined([measured], only=lambda clip: clip.name.rpartition("_")[0] in names).totals
    print(f"{names}: {totals}")
    return totals


@pytest.mark.slow
def test_two_processes_measure_what_one_does_and_leave_no_pictures_where_none_are_wanted(
    media: Path, tmp_path: Path
) -> None:
    takes = [recipes.one("parking-from-start", seed, media) for seed in (0, 2)]
    short = [replace(take, composition=replace(take.composition, fps=FPS, duration_s=15.0)) for take in takes]
    clips = tmp_path / "clips"
    truth = library.make(short, clips, media, seed=0)
    for out, jobs, evidence in ((tmp_path / "one", 1, True), (tmp_path / "two", 2, False)):
        evaluation = evaluate(truth, media=clips, out=out, only=(), jobs=jobs, evidence=evidence)
        assert evaluation.totals.found == 2
    documents = [(tmp_path / out / "evaluation.json").read_text() for out in ("one", "two")]
    assert documents[0] == documents[1]
    assert list((tmp_path / "one").glob("*/evidence/*/*.jpg"))
    assert not list((tmp_path / "two").glob("**/*.jpg"))
    assert len(list((tmp_path / "two").glob("*/alerts.jsonl"))) == 2


@pytest.mark.slow
def test_a_parked_car_that_is_hidden_by_28_of_a_hundred_is_one_case(measured: Evaluation) -> None:
    totals = _of(measured, "parking-hidden-28")
    assert totals.events == 1
    assert (totals.found, totals.duplicates, totals.false_alarms) == (totals.events, 0, 0)


@pytest.mark.slow
def test_of_a_queue_at_a_light_and_a_parked_car_beside_it_only_the_car_is_a_case(measured: Evaluation) -> None:
    totals = _of(measured, "queue-and-parked")
    assert (totals.events, totals.found, totals.duplicates, totals.false_alarms) == (1, 1, 0, 0)


@pytest.mark.slow
def test_goods_are_found_and_somebody_who_stands_still_is_none(measured: Evaluation) -> None:
    totals = _of(measured, "goods", "goods-under-light", "person-stands-still")
    assert totals.events >= 3
    assert (totals.found, totals.duplicates, totals.false_alarms) == (totals.events, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["light-dimmed", "light-infra-red"])  # scripts/accuracy: the others
def test_a_change_of_light_raises_nothing(measured: Evaluation, change: str) -> None:
    totals = _of(measured, change)
    assert totals.camera_hours > 0
    assert totals.false_alarms == 0


@pytest.mark.slow
def test_a_crowd_is_one_case(measured: Evaluation) -> None:
    totals = _of(measured, "crowd-gathering")
    assert (totals.events, totals.found, totals.duplicates, totals.false_alarms) == (1, 1, 0, 0)
