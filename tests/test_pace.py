"""Which rules are content with a camera's keyframes, and that they then find what five looks a second find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.config.catalogue import stock_catalogue
from edge.config.loader import load_site
from edge.core.scenarios import Rule
from edge.core.tracker import Tracker
from edge.core.types import NS_PER_S, Detections, seconds_to_ns
from edge.wiring.camera_models import models_of
from edge.wiring.frame_path import names_that_need_motion
from tests.street import parking_rule, person_rule
from tests.test_people_scenes import row, stream
from tests.traffic import Driver, Traffic, View, queue_of
from tests.walkers import Pavement

SITE = """
version: 1
site: {{id: s, timezone: UTC}}
gateway: {{id: g}}
cameras:
  - id: c
    source: clip.mp4
    zones: [{{id: kerb, polygon: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}}]
    scenarios:
{uses}
"""
KEYFRAMES = 0.5  # looks a second
ONSET_S = 2.5  # a look, and the half second in which a car still rolls
VIEWS = {"behind": View(0), "across": View(90)}
KERB_M = 3.2  # beside the lane
LINE = "line: [[0.1, 0.5], [0.9, 0.5]], direction: up"


def needing_motion(folder: Path, *uses: str, look_s: float = 2) -> tuple[str, ...]:
    """Of a camera with these uses, looked at so many seconds apart."""
    (folder / "site.yaml").write_text(SITE.format(uses="\n".join(f"      - {{{use}}}" for use in uses)))
    site = load_site(folder / "site.yaml", environ={})
    camera = site.config.cameras[0]
    models = models_of(site, [camera])[camera.id]
    return names_that_need_motion(site, camera, models, look_ns=round(look_s * NS_PER_S))


# What is still, and lasts, is content; who walks, what passes a line and what is counted is not.
STAYING = ("crowd-gathering", "mobile-vendor")  # with a look a second
CONTENT = (
    "illegal-parking",
    "piled-goods",
    "out-of-store-trading",
    "post-unattended",
)
MOVING = ("loitering", "intrusion", "no-activity", "occupancy", "person-on-carriageway")


def test_scenarios_of_what_stays_are_content_with_keyframes_and_those_of_what_passes_are_not(tmp_path: Path) -> None:
    zones = [f"use: {name}, zones: [kerb]" for name in (*CONTENT, *MOVING)]
    people = [f"use: {name}, zones: [kerb]" for name in STAYING]
    assert needing_motion(tmp_path, *people, look_s=1) == ()
    assert needing_motion(tmp_path, *people) == STAYING
    lines = [f"use: wrong-way, {LINE}", f"use: people-flow, id: door, {LINE}"]
    assert needing_motion(tmp_path, *zones[: len(CONTENT)]) == ()
    assert set(needing_motion(tmp_path, *zones, *lines)) == {*MOVING, "wrong-way", "door"}


@pytest.mark.parametrize(("look_s", "needs"), [(1, ()), (2, ()), (2.5, ()), (4, ("illegal-parking",))])
def test_a_dwell_must_hold_three_looks(look_s: float, needs: tuple[str, ...], tmp_path: Path) -> None:
    use = "use: illegal-parking, zones: [kerb], after_s: 5, queue_max_s: 0"
    assert needing_motion(tmp_path, use, look_s=look_s) == needs
    use = "use: illegal-parking, zones: [kerb], queue_max_s: 0"
    assert needing_motion(tmp_path, use, look_s=look_s) == ()


def test_where_cars_may_queue_keyframes_four_seconds_apart_are_too_few(tmp_path: Path) -> None:
    uses = ["use: illegal-parking, zones: [kerb]", "use: non-motor-parking, zones: [kerb]"]
    assert needing_motion(tmp_path, *uses, look_s=2.04) == ()
    assert needing_motion(tmp_path, *uses, look_s=4) == ("illegal-parking",)


def test_keyframes_further_apart_than_four_seconds_are_too_few_for_anybody(tmp_path: Path) -> None:
    uses = [f"use: {name}, zones: [kerb]" for name in CONTENT]
    assert len(needing_motion(tmp_path, *uses, look_s=4.1)) == len(CONTENT)


def test_the_page_names_scenarios_that_are_in_the_catalogue() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "scenarios.md").read_text(encoding="utf-8")
    told = page[page.index("- **Keyframes.**") : page.index("- **Measures**")]
    for name in ("loitering", "intrusion", "no-activity"):
        assert f"`{name}`" in told
        assert name in stock_catalogue().scenarios


def rule(after_s: int, *, queue_max_s: int = 180) -> Rule:
    return parking_rule(after_ns=after_s * NS_PER_S, queue_max_ns=queue_max_s * NS_PER_S)


def began(traffic: Traffic, seconds: float) -> list[tuple[int, float]]:
    """Whose case opened, and since when it had stood by that case, in the order of the drivers."""
    traffic.play(seconds)
    told = [(traffic.drivers.index(driver), change.case.started_ns / NS_PER_S) for _, change, driver in traffic.changes
            if change.kind == "opened"]  # fmt: skip
    print(f"{traffic.fps:g} looks a second: {told}")
    return sorted(told)


def parks(*, at_z: float, enters_s: float, seed: int = 77, beside: bool = True) -> Driver:
    return Driver(seed, 0, -60, enters_s=enters_s, parks_at=at_z, parks_x=KERB_M if beside else None)


@pytest.mark.parametrize("view", ["behind", "across"])
def test_cars_that_park_while_others_pass_have_stood_since_they_came_by_keyframes_alone(view: str) -> None:
    drivers = [parks(at_z=2, enters_s=1), parks(at_z=-5, enters_s=20, seed=78), *queue_of(6, first_s=4, headway_s=7)]
    told = began(Traffic(rule(10), VIEWS[view], drivers, fps=KEYFRAMES), 55)
    assert told == [(row, pytest.approx(drivers[row].stopped_s, abs=ONSET_S)) for row in (0, 1)]


@pytest.mark.parametrize(
    ("headway_s", "view", "fps"), [(4, "across", KEYFRAMES), (2, "behind", KEYFRAMES), (3, "behind", 1)]
)
def test_cars_that_pass_in_time_with_the_looks_are_no_parked_car(headway_s: float, view: str, fps: float) -> None:
    """At every other look, or at each, there is a car at the very same place, and never the same one."""
    traffic = Traffic(rule(5, queue_max_s=0), VIEWS[view], queue_of(round(80 / headway_s), headway_s=headway_s),
                      fps=fps)  # fmt: skip
    assert began(traffic, 80) == []


@pytest.mark.parametrize("view", ["behind", "across"])
def test_a_queue_at_a_red_light_raises_nothing_at_keyframes_and_the_parked_car_beside_it_is_found(view: str) -> None:
    drivers = [*queue_of(5, first_s=4, headway_s=4), Driver(seed=77, x=KERB_M, z=-7, parks_at=-7)]
    traffic = Traffic(rule(20), VIEWS[view], drivers, red=lambda now_s: 8 <= now_s < 48, fps=KEYFRAMES)
    assert began(traffic, 65) == [(5, pytest.approx(0, abs=2))]


def test_another_car_in_the_place_of_one_that_left_is_a_case_of_its_own_at_keyframes() -> None:
    first = Driver(seed=77, x=0, z=-60, enters_s=1, parks_at=0, parks_s=26)
    second = Driver(seed=78, x=0, z=-60, enters_s=42, parks_at=0)
    traffic = Traffic(rule(10), VIEWS["behind"], [first, second], fps=KEYFRAMES)
    told = began(traffic, 75)
    assert told == [(0, pytest.approx(first.stopped_s, abs=ONSET_S)), (1, pytest.approx(second.stopped_s, abs=ONSET_S))]
    assert sum(change.kind == "cleared" for _, change, _ in traffic.changes) == 1


def test_four_who_stay_are_told_from_a_stream_of_people_by_a_look_a_second() -> None:
    told = {}
    for name, people in (("stay", row(4, 30)), ("pass", stream(100, 0.5))):
        gathers = person_rule("gathering", people_min=4, spacing=1.5, after_ns=20 * NS_PER_S)
        street = Pavement(gathers, step_s=1, missed=0.05, tremble=1)
        street.play(50, people)
        told[name] = street.changes
    assert [change.kind for _, change in told["stay"]] == ["opened"]
    assert told["stay"][0][1].case.started_ns / NS_PER_S == pytest.approx(4, abs=2)
    assert told["pass"] == []


def rest_of(scores: list[float], *, step_s: float) -> list[float]:
    """Since when a thing that is seen with these scores, look by look, is told to stand; -1 while it is not told of."""
    tracker, told = Tracker(), []
    for look, score in enumerate(scores):
        box = np.array([[100, 100, 160, 140]], np.float32)
        seen = Detections(box, np.array([score], np.float32), np.zeros(1, np.int16))
        tracks = tracker.update(seen.take(np.flatnonzero(seen.score > 0)), seconds_to_ns(look * step_s))
        told.append(tracks.rest_since_ns[0] / NS_PER_S if len(tracks) else -1.0)
    return told


def test_a_dim_car_that_stays_is_told_of_at_its_third_keyframe_and_has_stood_since_the_first() -> None:
    assert rest_of([0, 0.14, 0.17, 0.24, 0.22, 0.28], step_s=2) == [-1, -1, -1, 2, 2, 2]
    assert rest_of([0, 0.14, 0.35, 0.15], step_s=2) == [-1, -1, 2, 2]
    assert rest_of([0, 0.14, 0.35, 0.15, 0.15], step_s=0.2)[-1] == pytest.approx(0.4)  # near looks: as it ever was


def test_what_is_seen_dimly_once_or_never_surely_is_not_told_of_at_keyframes() -> None:
    assert set(rest_of([0, 0.28, 0, 0, 0.28, 0, 0, 0.25, 0, 0], step_s=2)) == {-1}
    assert set(rest_of([0.15] * 10, step_s=2)) == {-1}
    assert set(rest_of([0.28] * 30, step_s=0.2)) == {-1}


def test_a_box_off_its_place_in_one_keyframe_ends_no_rest_and_one_that_stays_off_began_it_there() -> None:
    tracker, told = Tracker(), []
    for look, x in enumerate((100, 100, 100, 140, 100, 100, 160, 160)):
        box = np.array([[x, 100, x + 60, 140]], np.float32)
        tracks = tracker.update(Detections(box, np.ones(1, np.float32), np.zeros(1, np.int16)), look * 2 * NS_PER_S)
        told.append(tracks.rest_since_ns[0] / NS_PER_S if len(tracks) else -1.0)
    assert told == [-1, 0, 0, 6, 0, 0, 12, 12]


def test_a_flicker_too_dim_to_be_told_of_asks_for_no_look_at_keyframes() -> None:
    tracker, box = Tracker(), np.array([[100, 100, 160, 140]], np.float32)
    for look in range(8):
        score = np.array([0.15 if look % 2 else 0.12], np.float32)
        tracker.update(Detections(box + 40 * (look % 3), score, np.zeros(1, np.int16)), look * 2 * NS_PER_S)
        assert len(tracker.doubtful) == 0
    tracker.update(Detections(box, np.array([0.25], np.float32), np.zeros(1, np.int16)), 16 * NS_PER_S)
    assert len(tracker.doubtful) == 1
