"""A camera's view over restarts: it survives, it belongs to the zones, and no damage to its file ends a worker."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.config.models import CameraConfig
from edge.core.sight import VIEW_SHAPE, Sight
from edge.core.types import NS_PER_S, Float32, Frame
from edge.wiring.sight_file import SightFile

SQUARE = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9))


class HandClock(SystemClock):
    now_ns = 1000 * NS_PER_S

    def mono_ns(self) -> int:
        return self.now_ns


def a_camera(name: str = "gate", source: str = "rtsp://gate/1", **changes: Any) -> CameraConfig:
    zones = changes.pop("zones", ({"id": "kerb", "polygon": SQUARE},))
    return CameraConfig.model_validate({"id": name, "source": source, "zones": zones, **changes})


def a_view(seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=VIEW_SHAPE).astype(np.float32)


def learned(view: Float32) -> Sight:
    sight = Sight()
    sight.restore(view)
    return sight


def keep(folder: Path, view: Float32, camera: CameraConfig | None = None) -> None:
    file = SightFile(folder, camera or a_camera(), Sight(), clock=HandClock())
    file._sight.restore(view)
    file.save(True)


def found(folder: Path, camera: CameraConfig | None = None) -> Float32 | None:
    sight = Sight()
    SightFile(folder, camera or a_camera(), sight, clock=HandClock())
    return sight.view


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sight").iterdir())


def test_a_view_survives_the_restart(tmp_path: Path) -> None:
    assert found(tmp_path) is None
    keep(tmp_path, a_view())
    view = found(tmp_path)
    assert view is not None
    assert np.array_equal(view, a_view())


def test_a_view_that_is_not_learned_yet_is_known_as_such(tmp_path: Path) -> None:
    SightFile(tmp_path, a_camera(), Sight(), clock=HandClock()).save(True)
    assert len(names(tmp_path)) == 1
    assert found(tmp_path) is None


def street(seed: int) -> Frame:
    """A picture with shapes of its own everywhere."""
    dice = np.random.default_rng(seed)
    bgr = np.full((360, 640, 3), 90, np.uint8)
    for x, y, width, height, shade in dice.integers([0, 0, 15, 15, 0], [640, 360, 160, 120, 255], (60, 5)).tolist():
        cv2.rectangle(bgr, (x, y), (x + width, y + height), (shade, shade // 2, 255 - shade), -1)
    return Frame("gate", 0, 0, 0, bgr)


def seen(number: int) -> Float32:
    sight = Sight()
    noise = np.random.default_rng(0)
    for second in range(70):
        bgr = street(number).bgr
        noisy = np.clip(bgr + noise.normal(0, 3, bgr.shape), 0, 255).astype(np.uint8)  # else it would be frozen
        sight.judge(Frame("gate", 0, second * NS_PER_S, 0, noisy))
    assert sight.view is not None
    return sight.view


@pytest.mark.parametrize("changes", [{"source": "rtsp://gate/2"}, {"zones": ({"id": "lane", "polygon": SQUARE},)}])
def test_another_source_is_the_same_street_if_it_is_recognised(tmp_path: Path, changes: dict[str, Any]) -> None:
    for picture, same in ((street(1), True), (street(2), False)):
        keep(tmp_path / str(same), seen(1))
        sight = Sight()
        file = SightFile(tmp_path / str(same), a_camera(**changes), sight, clock=HandClock())
        black = replace(picture, picture=np.zeros_like(picture.bgr))
        assert file.same_street(black) is None
        assert file.same_street(picture) is same
        assert (sight.view is not None) is same
        assert file.same_street(street(3)) is True  # it was told once, and from then on it is this street


def test_another_source_before_a_view_was_learned_may_be_any_street(tmp_path: Path) -> None:
    SightFile(tmp_path, a_camera(), Sight(), clock=HandClock())
    assert SightFile(tmp_path, a_camera(), Sight(), clock=HandClock()).same_street(street(1)) is True
    other = SightFile(tmp_path, a_camera(source="rtsp://gate/2"), Sight(), clock=HandClock())
    assert other.same_street(street(1)) is False


@pytest.mark.parametrize(
    "camera",
    [
        a_camera(source="rtsp://gate/2"),
        a_camera(zones=({"id": "kerb", "polygon": SQUARE[::-1]},)),
        a_camera(zones=({"id": "lane", "polygon": SQUARE},)),
    ],
    ids=["source", "polygon", "name"],
)
def test_who_draws_the_zones_anew_says_that_the_camera_looks_where_it_should(
    tmp_path: Path, camera: CameraConfig
) -> None:
    keep(tmp_path, a_view())
    assert found(tmp_path, camera) is None


def test_another_channel_is_another_view_and_another_password_is_not(tmp_path: Path) -> None:
    url = "rtsp://{}@recorder/cam/realmonitor?channel={}&subtype=1&password={}"
    keep(tmp_path, a_view(), a_camera(source=url.format("admin:first", 1, "first-one")))
    assert found(tmp_path, a_camera(source=url.format("admin:second", 1, "second-one"))) is not None
    assert found(tmp_path, a_camera(source=url.format("admin:first", 2, "first-one"))) is None


def test_other_changes_leave_the_view(tmp_path: Path) -> None:
    keep(tmp_path, a_view())
    assert found(tmp_path, a_camera(road="Qiaonong", sampling={"fps": 1.0})) is not None


def test_views_of_former_zones_do_not_pile_up_and_other_cameras_keep_theirs(tmp_path: Path) -> None:
    others = [a_camera("gate-2"), a_camera("gate-0123456789ab"), a_camera("gat"), a_camera("the-gate")]
    for other in others:
        keep(tmp_path, a_view(), other)
    before = names(tmp_path)
    for number in range(5):
        camera = a_camera(source=f"rtsp://gate/{number}")
        SightFile(tmp_path, camera, Sight(), clock=HandClock()).same_street(street(1))
        keep(tmp_path, a_view(), camera)
    assert len(names(tmp_path)) == len(before) + 1
    assert set(before) < set(names(tmp_path))
    assert found(tmp_path, a_camera(source="rtsp://gate/4")) is not None


def test_it_is_kept_every_five_minutes_and_at_the_end(tmp_path: Path) -> None:
    clock = HandClock()
    file = SightFile(tmp_path, a_camera(), learned(a_view()), clock=clock)
    (tmp_path / "sight" / names(tmp_path)[0]).unlink()
    for now, passes_s, kept in ((False, 299, False), (False, 2, True), (False, 10, False), (True, 0, True)):
        clock.now_ns += passes_s * NS_PER_S
        file.save(now)
        path = tmp_path / "sight"
        assert (path.exists() and bool(names(tmp_path))) == kept
        for old in path.glob("*") if path.exists() else ():
            old.unlink()


def test_no_damage_to_the_file_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bits flipped in header and numbers, cut off, another file in its place: known as it was, or learned anew."""
    keep(tmp_path, a_view())
    [path] = (tmp_path / "sight").iterdir()
    whole, dice, taken = path.read_bytes(), random.Random(1), 0
    damaged = [
        b"",
        b"PK\x03\x04" + whole,
        whole[:100],
        whole + b"x",
        whole.replace(b"(3, 36, 64)", b"(3, 36, 9999999999999)"),
    ]
    for _ in range(400):
        flipped = bytearray(whole)
        flipped[dice.randrange(140)] ^= 1 << dice.randrange(8)
        damaged.append(bytes(flipped))
    nothing = np.full(VIEW_SHAPE, np.nan, np.float32).tobytes()
    damaged.append(whole[: -len(nothing)] + nothing)
    for content in damaged:
        path.write_bytes(content)
        view = found(tmp_path)
        taken += view is not None
        assert view is None or np.isfinite(view).all()
    print(f"{len(damaged)} damaged files: {taken} taken (a number changed a little), {len(caplog.records)} refused")
    assert "learned anew" in caplog.text


def test_a_place_that_cannot_be_written_or_read_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "sight").write_text("a file where the folder should be")
    file = SightFile(tmp_path, a_camera(), learned(a_view()), clock=HandClock())
    file.save(True)
    assert "not saved" in caplog.text
