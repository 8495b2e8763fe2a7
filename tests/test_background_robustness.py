"""The static-object model under light, weather and a shaken camera: nothing is invented, and a thing is found once.

Drawn and real streets under synthetic changes, a few pictures a second. A region counts as invented when it has stood
for twelve seconds, a tenth of what piled goods need.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.core.background import BackgroundModel
from edge.core.types import NS_PER_S, Float32, StaticRegions, Tracks, UInt8, seconds_to_ns
from tests.test_background import ground, thing

WIDTH, HEIGHT = 288, 216
CHANGE_S, INVENTED_S = 12.0, 12.0
ZONE: Float32 = np.array([[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98]], np.float32)
BAG = thing(26, 22)
BAG_XY = (86, 134)
PLACE = np.s_[BAG_XY[1] : BAG_XY[1] + 22, BAG_XY[0] : BAG_XY[0] + 26]
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
NOISE = [
    cv2.GaussianBlur(np.random.default_rng(row).normal(0, 3, (HEIGHT, WIDTH, 3)).astype(np.float32), (0, 0), 0.6)
    for row in range(5)
]
Change = Callable[[Float32, float], Float32]  # of a picture in grey levels, so many seconds after it begins


def lit(picture: Float32, gain: Float32 | float) -> Float32:
    """More light on the street, as a camera with its tone curve shows it."""
    return np.asarray(255 * np.clip((picture / 255) ** 2.2 * gain, 0, 1) ** (1 / 2.2), np.float32)


def dimmed_over_two_seconds(picture: Float32, s: float) -> Float32:
    return picture * np.float32(1 - 0.5 * min(s / 2, 1))


def a_cloud(picture: Float32, s: float) -> Float32:
    edge = 1 / (1 + np.exp(-(WIDTH * (s / 20 - 0.3) - X * 0.95 - 0.3 * Y) / 18))
    return np.asarray(picture * (1 - 0.45 * edge[..., None]), np.float32)


def lamp(picture: Float32, s: float) -> Float32:
    """A pool of coloured light with a sharp rim over a third of the zone."""
    radius = np.sqrt(((X - 0.33 * WIDTH) / (0.3 * WIDTH)) ** 2 + ((Y - 0.6 * HEIGHT) / (0.42 * HEIGHT)) ** 2)
    pool = (1 - 0.45 * np.clip(radius, 0, 1) ** 2) / (1 + np.exp((radius - 1) * 30))
    return lit(picture, 1 + 1.2 * pool[..., None] * np.array([0.75, 0.95, 1.1], np.float32))


def lamp_on_and_off(picture: Float32, s: float) -> Float32:
    return lamp(picture, s) if s < 18 else picture


def headlights(picture: Float32, s: float) -> Float32:
    at = -0.3 + 0.2 * s
    spot = np.exp(-(((X / WIDTH - at) / 0.15) ** 4) - ((Y / HEIGHT - 0.6) / 0.3) ** 4)
    return lit(picture, 1 + 6 * spot[..., None])


def exposure_steps(picture: Float32, s: float) -> Float32:
    return lit(picture, (1.6, 0.7, 1.25, 0.55, 1.0, 1.4)[int(s // 6) % 6])


def infra_red(picture: Float32, s: float) -> Float32:
    """Some black pictures, then grey with other weights, another curve, and a lamp that fades to the corners."""
    if s < 0.8:
        return picture * 0
    grey = picture @ np.array([0.15, 0.25, 0.6], np.float32)
    fades = 1 - 0.35 * ((2 * X / WIDTH - 1) ** 2 + (2 * Y / HEIGHT - 1) ** 2) / 2
    return np.repeat(((204 * (grey / 255) ** 0.8 + 10) * fades)[..., None], 3, axis=2).astype(np.float32)


def infra_red_and_back(picture: Float32, s: float) -> Float32:
    if s < 18:
        return infra_red(picture, s)
    return picture * 0 if s < 18.8 else picture


def shade_of_leaves(picture: Float32, s: float) -> Float32:
    fleck = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 9)
    return lit(picture, 1 - 0.65 / (1 + np.exp(-(fleck / fleck.std() - 0.2) * 12))[..., None])


def patches() -> Float32:
    field = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 20)
    return np.asarray(1 / (1 + np.exp(-4 * field / field.std())), np.float32)[..., None]


def ground_that_gets_wet_and_dries(picture: Float32, s: float) -> Float32:
    wet = min(s / 12, 1) * np.clip(1 - np.clip((s - 12) / 10 - patches(), 0, 1), 0, 1)
    return np.asarray(picture * (1 - 0.4 * wet * patches()), np.float32)


def rain(picture: Float32, s: float) -> Float32:
    dice, streaks = np.random.default_rng(int(10 * s)), np.zeros((HEIGHT, WIDTH), np.float32)
    for x, y, length in dice.integers([0, 0, 6], [WIDTH, HEIGHT, 18], (100, 3)).tolist():
        cv2.line(streaks, (x, y), (x + length // 7, y + length), 1.0, 1)
    cover = 0.5 * cv2.GaussianBlur(streaks, (0, 0), 0.7)[..., None]
    return np.asarray(picture * (1 - cover) + 200 * cover, np.float32)


def shaken(cells: float) -> Change:
    def change(picture: Float32, s: float) -> Float32:
        x, y = np.random.default_rng(int(10 * s)).uniform(-cells, cells, 2)
        return moved(picture, x, y)

    return change


def pushed(picture: Float32, s: float) -> Float32:
    return moved(picture, 2.6, -1.7)


def moved(picture: Float32, x: float, y: float) -> Float32:
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return np.asarray(cv2.warpAffine(picture, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.float32)


CHANGES: dict[str, Change] = {
    "dimmed to a half": dimmed_over_two_seconds,
    "a cloud": a_cloud,
    "a lamp on": lamp,
    "a lamp on and off": lamp_on_and_off,
    "headlights": headlights,
    "exposure steps": exposure_steps,
    "infra-red": infra_red,
    "infra-red and back": infra_red_and_back,
    "shade of leaves": shade_of_leaves,
    "wet and dry": ground_that_gets_wet_and_dries,
    "rain": rain,
    "shaken by a cell": shaken(1),
    "shaken by three cells": shaken(3),
    "pushed for good": pushed,
}
REAL = ("a lamp on", "headlights", "shade of leaves", "shaken by three cells")


def drawn() -> UInt8:
    return np.asarray(cv2.resize(ground(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def recorded(media: Path, name: str) -> UInt8:
    """The street of a clip without what moves in it."""
    clip, pictures = cv2.VideoCapture(str(media / name)), []
    for _ in range(60):
        if clip.grab() and len(pictures) < 60:
            pictures.append(cv2.resize(clip.retrieve()[1], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return np.median(np.stack(pictures[::6]), axis=0).astype(np.uint8)


def watched(street: UInt8, change: Change, *, put_down_s: float, seconds: float) -> list[tuple[float, StaticRegions]]:
    model = BackgroundModel([ZONE])
    answers = []
    for index in range(int(2 * seconds)):
        now = index / 2
        picture = street.astype(np.float32)
        if now >= put_down_s:
            picture[PLACE] = BAG
        if now >= CHANGE_S:
            picture = change(picture, now - CHANGE_S)
        seen = np.clip(picture + NOISE[index % len(NOISE)], 0, 255).astype(np.uint8)
        answers.append((now, model.update(seen, Tracks.empty(), seconds_to_ns(now))))
    return answers


def told(now: float, regions: StaticRegions) -> list[tuple[list[float], float, float]]:
    """(box, since, age) of what has appeared and is in view."""
    rows = np.flatnonzero(regions.appeared & (regions.explained_by < 0) & (regions.score >= 0.5))
    since = [float(regions.since_ns[row]) / NS_PER_S for row in rows]
    return [(regions.xyxy[row].tolist(), begun, now - begun) for row, begun in zip(rows, since, strict=True)]


def is_bag(box: list[float]) -> bool:
    x, y = BAG_XY
    width = min(box[2], x + 26) - max(box[0], x)
    height = min(box[3], y + 22) - max(box[1], y)
    shared = max(width, 0) * max(height, 0)
    return shared > 0.35 * ((box[2] - box[0]) * (box[3] - box[1]) + 26 * 22 - shared)


def assert_nothing_invented(answers: list[tuple[float, StaticRegions]], *, bag: bool) -> None:
    invented = [
        (now, box)
        for now, regions in answers
        for box, _, age in told(now, regions)
        if age >= INVENTED_S and not (bag and is_bag(box))
    ]
    assert invented == []


def assert_bag_found_once(answers: list[tuple[float, StaticRegions]], put_down_s: float) -> None:
    """In the last five seconds, by its own box and time."""
    last = [told(now, regions) for now, regions in answers[-10:]]
    bags = [[begun for box, begun, _ in rows if is_bag(box)] for rows in last]
    print(f"put down at {put_down_s:g} s; told since {sorted({begun for rows in bags for begun in rows})}")
    assert [len(rows) for rows in bags] == [1] * 10
    assert all(abs(begun - put_down_s) <= 4 for rows in bags for begun in rows)
    assert_nothing_invented(answers, bag=True)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_light_weather_or_mast_invents_nothing(name: str) -> None:
    assert_nothing_invented(watched(drawn(), CHANGES[name], put_down_s=1e9, seconds=45), bag=False)


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_put_down_during_a_change_is_found_once(name: str) -> None:
    put_down_s = CHANGE_S + 1
    assert_bag_found_once(
        watched(drawn(), CHANGES[name], put_down_s=put_down_s, seconds=52 if "back" in name else 45), put_down_s
    )


@pytest.mark.parametrize("put_down_s", [6.0, 28.0], ids=["before", "after"])
@pytest.mark.parametrize("name", ["dimmed to a half", "a lamp on", "infra-red", "pushed for good"])
def test_what_is_put_down_before_or_after_a_change_is_found_once_with_its_time(name: str, put_down_s: float) -> None:
    assert_bag_found_once(
        watched(drawn(), CHANGES[name], put_down_s=put_down_s, seconds=52 if "back" in name else 45), put_down_s
    )


@pytest.mark.media
@pytest.mark.parametrize("clip", ["aboda_video1_cut.mp4", "vtest_pets09_s2l1.avi"])
@pytest.mark.parametrize("name", REAL)
def test_on_a_real_street_a_change_invents_nothing_and_hides_nothing(media: Path, clip: str, name: str) -> None:
    street = recorded(media, clip)
    assert_nothing_invented(watched(street, CHANGES[name], put_down_s=1e9, seconds=40), bag=False)
    assert_bag_found_once(watched(street, CHANGES[name], put_down_s=CHANGE_S + 1, seconds=40), CHANGE_S + 1)


@pytest.mark.media
@pytest.mark.parametrize("clip", ["aboda_video1_cut.mp4", "vtest_pets09_s2l1.avi"])
def test_on_a_real_street_infra_red_invents_nothing_and_what_is_put_down_after_it_is_found(
    media: Path, clip: str
) -> None:
    """Not claimed here: what is put down within the seconds of the change. In the second clip it is missed."""
    street, put_down_s = recorded(media, clip), CHANGE_S + 16
    assert_nothing_invented(watched(street, infra_red, put_down_s=1e9, seconds=40), bag=False)
    assert_bag_found_once(watched(street, infra_red, put_down_s=put_down_s, seconds=45), put_down_s)


@pytest.mark.media
def test_few_people_who_stand_without_a_track_are_taken_for_things(media: Path) -> None:
    """One after the other stands at a table for 10 to 25 s, and the detector is not asked at all: their sway must tell.

    One of the seven leans so still that he is told; a case of piled goods would need 120 s of him.
    """
    clip, model = cv2.VideoCapture(str(media / "intel_one-by-one.mp4")), BackgroundModel([ZONE])
    fps, index, looks, mistaken = clip.get(cv2.CAP_PROP_FPS), 0, 0, 0
    while clip.grab():
        index += 1
        if index % 5 == 0:
            small = cv2.resize(clip.retrieve()[1], (384, 216), interpolation=cv2.INTER_AREA)
            now = index / fps
            regions = model.update(np.asarray(small, np.uint8), Tracks.empty(), seconds_to_ns(now))
            looks += 1
            mistaken += any(age >= 8 for _, _, age in told(now, regions))
    print(f"somebody was told as a thing in {mistaken} of {looks} looks")
    assert looks > 200
    assert mistaken < 0.2 * looks
